//! Made-up catalogues for tests: any shape that the columns accept.

use std::sync::Arc;

use models::{Capabilities, PicoUsd, Prices, Rates, Task, Tier, Tokens, Verdict};
use proptest::prelude::*;

use crate::{
    Ask, Columns, Exclusion, FailureKind, HealthTable, ModelIx, OfferIx, OfferRow, Prior,
    ProviderIx, Strategy as Goal, Target,
};

/// A price list without tiers, in pico-dollars per token.
pub(crate) fn prices(input: u64, output: u64) -> Prices {
    Prices::new(rates(input, output), &[])
}

pub(crate) fn rates(input: u64, output: u64) -> Rates {
    Rates {
        input: PicoUsd(input),
        output: PicoUsd(output),
        cache_read: PicoUsd(input),
        cache_write_5m: PicoUsd(input),
        cache_write_1h: PicoUsd(input),
        reasoning: PicoUsd(output),
    }
}

/// An ordinary offer: a dollar per million tokens in, four out, of mean ability.
pub(crate) fn offer(model: u32, offer: u32, provider: u16) -> OfferRow {
    OfferRow {
        offer: OfferIx(offer),
        model: ModelIx(model),
        provider: ProviderIx(provider),
        caps: Capabilities::STREAMING | Capabilities::TOOLS,
        context: 128_000,
        max_input: 128_000,
        max_output: 16_384,
        prices: Some(prices(1_000_000, 4_000_000)),
        uplift: 1_000,
        thinks: false,
        ability: [0.0; Task::COUNT],
        ability_overall: 0.0,
        auto: true,
        prior: Prior::HOSTED,
        excluded: None,
    }
}

/// Columns of those offers, and their untouched health.
pub(crate) fn world(offers: impl IntoIterator<Item = OfferRow>) -> (Arc<Columns>, HealthTable) {
    let columns = Arc::new(Columns::from_rows(offers));
    let health = HealthTable::new(columns.clone());
    (columns, health)
}

fn any_offer() -> impl Strategy<Value = OfferRow> {
    let limits = (1_000u32..200_000, 1_000u32..200_000, 100u32..20_000);
    let money = (
        prop::option::weighted(0.9, (0u64..100_000_000, 0u64..400_000_000)),
        prop::option::weighted(0.3, 1_000u64..100_000),
    );
    let kind = (0u16..6, 0u32..1 << 17, any::<bool>(), prop::bool::weighted(0.9));
    let ability = -2.5f32..2.5;
    let excluded = prop::option::weighted(
        0.1,
        prop::sample::select(vec![Exclusion::ProviderDisabled, Exclusion::DialectUnsupported]),
    );
    (limits, money, kind, ability, excluded).prop_map(
        |((context, max_input, max_output), (price, tier), kind, ability, excluded)| {
            let (provider, caps, thinks, auto) = kind;
            let prices = price.map(|(input, output)| {
                let tier = tier.map(|above| Tier {
                    above_input: Tokens(above),
                    rates: rates(input * 2, output * 2),
                });
                Prices::new(rates(input, output), tier.as_slice())
            });
            OfferRow {
                provider: ProviderIx(provider),
                caps: Capabilities(caps | Capabilities::STREAMING.0),
                context,
                max_input,
                max_output,
                prices,
                thinks,
                ability: [ability; Task::COUNT],
                ability_overall: ability / 2.0,
                auto,
                excluded,
                ..offer(0, 0, 0)
            }
        },
    )
}

/// Up to 80 offers of up to 30 models, with positions and models in the catalogue's order.
pub(crate) fn any_offers() -> impl Strategy<Value = Vec<OfferRow>> {
    prop::collection::vec((any_offer(), prop::bool::weighted(0.4)), 1..80).prop_map(|rows| {
        let mut model = 0;
        let numbered = rows.into_iter().enumerate().map(|(position, (row, next))| {
            model += u32::from(next);
            OfferRow { offer: OfferIx(position as u32), model: ModelIx(model), ..row }
        });
        numbered.collect()
    })
}

/// Any request; few capabilities, so that some offers have them.
pub(crate) fn any_ask() -> impl Strategy<Value = Ask> {
    let target = prop_oneof![
        3 => Just(Target::Auto),
        1 => (0u32..32).prop_map(|model| Target::Model(ModelIx(model))),
    ];
    let needs = prop::sample::select(vec![
        Capabilities::NONE,
        Capabilities::TOOLS,
        Capabilities::VISION | Capabilities::STREAMING,
    ]);
    let verdict = (0usize..Task::COUNT, 0f32..=1.0, 1f32..5_000.0, 0f32..=1.0);
    let size = (0u32..150_000, prop::option::of(1u32..20_000), any::<bool>());
    (target, prop::sample::select(Goal::ALL.to_vec()), needs, verdict, size).prop_map(
        |(target, strategy, needs, verdict, (input_tokens, max_output, stream))| {
            let (task, difficulty, output_tokens, confidence) = verdict;
            Ask {
                strategy,
                needs,
                verdict: Verdict {
                    task: Task::from_index(task).expect("in range"),
                    difficulty,
                    sensitivity: 0.0,
                    output_tokens,
                    confidence,
                },
                max_output,
                stream,
                ..Ask::new(target, input_tokens)
            }
        },
    )
}

/// Something that happens to an offer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Start,
    Success(u32),
    Failure,
    RateLimited,
    Credential,
    Abandoned,
}

/// Events with offers and the time that passes before each, in microseconds.
pub(crate) fn any_history() -> impl Strategy<Value = Vec<(u32, u64, Event)>> {
    let event = prop_oneof![
        1 => Just(Event::Start),
        1 => (1_000u32..3_000_000).prop_map(Event::Success),
        5 => Just(Event::Failure),
        1 => Just(Event::RateLimited),
        1 => Just(Event::Credential),
        1 => Just(Event::Abandoned),
    ];
    prop::collection::vec((0u32..80, 0u64..2_000_000, event), 0..200)
}

/// Lets a history happen; gives the time at its end.
pub(crate) fn live(health: &mut HealthTable, history: &[(u32, u64, Event)]) -> u64 {
    let mut now = 1_000_000;
    for (offer, pause, event) in history {
        let offer = OfferIx(*offer);
        now += pause;
        match *event {
            Event::Start => {
                health.on_start(offer, now, true);
            }
            Event::Success(ttft_us) => health.on_success(offer, now, ttft_us, ttft_us * 2, 100),
            Event::Failure => health.on_failure(offer, now, FailureKind::Server),
            Event::RateLimited => health.on_rate_limited(offer, now, None),
            Event::Credential => health.on_failure(offer, now, FailureKind::Credential),
            Event::Abandoned => health.on_abandoned(offer, now),
        }
    }
    now
}

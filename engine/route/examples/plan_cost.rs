//! What one plan costs on this machine: `cargo run --release -p route --example plan_cost`.
//!
//! Out: the median of batches, in microseconds per plan, by catalogue size and kind of request.

#![allow(clippy::print_stdout)] // this program speaks to a person

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use models::{Capabilities, PicoUsd, Prices, Rates, Task, Tier, Tokens};
use route::{
    Ask, Columns, FailureKind, HealthTable, ModelIx, OfferIx, OfferRow, Prior, ProviderIx, Scratch,
    Strategy, Target, plan,
};

/// Offers as a real catalogue has them: four to a model, one in eight with a price tier, prices
/// over four decades, abilities over four standard deviations.
fn offers(count: u32) -> impl Iterator<Item = OfferRow> {
    (0..count).map(|at| {
        let model = at / 4;
        let spread = |salt: u32, range: u32| (model.wrapping_mul(2_654_435_761) ^ salt) % range;
        let input = 10_000 * u64::from(1 + spread(1, 1_500)) + u64::from(at % 4);
        let rates = Rates {
            input: PicoUsd(input),
            output: PicoUsd(input * 4),
            reasoning: PicoUsd(input * 4),
            ..Rates::FREE
        };
        let tier = Tier { above_input: Tokens(200_000), rates };
        let tiers = if model.is_multiple_of(8) { vec![tier] } else { Vec::new() };
        OfferRow {
            offer: OfferIx(at),
            model: ModelIx(model),
            provider: ProviderIx((at % 39) as u16),
            caps: Capabilities(0x1ffff ^ (spread(2, 2) << 4)),
            context: 32_000 << spread(3, 5),
            max_input: u32::MAX,
            max_output: 4_096 << spread(4, 4),
            prices: Some(Prices::new(rates, &tiers)),
            uplift: 1_000,
            thinks: model.is_multiple_of(3),
            ability: [spread(5, 400) as f32 / 100.0 - 2.0; Task::COUNT],
            ability_overall: 0.0,
            auto: true,
            prior: Prior::HOSTED,
            excluded: None,
        }
    })
}

fn main() {
    let auto = Ask::new(Target::Auto, 700);
    let asks = [
        ("auto, balanced", auto),
        ("auto, cost", Ask { strategy: Strategy::Cost, ..auto }),
        (
            "auto, vision and 8,000 output",
            Ask { needs: Capabilities::VISION, max_output: Some(8_000), ..auto },
        ),
        ("auto, 250,000 input, tiers", Ask { input_tokens: 250_000, ..auto }),
        ("named model", Ask { target: Target::Model(ModelIx(17)), ..auto }),
    ];
    for count in [200, 2_000, 4_000] {
        let columns = Arc::new(Columns::from_rows(offers(count)));
        let mut health = HealthTable::new(columns.clone());
        for at in 0..count {
            let offer = OfferIx(at);
            health.on_success(offer, 1, 200_000 + at * 37 % 900_000, 3_000_000, 300);
            if at % 50 == 0 {
                (0..5).for_each(|_| health.on_failure(offer, 2, FailureKind::Server));
            }
        }
        for (name, ask) in &asks {
            let micros = median_us(&columns, &health, ask);
            println!("{count:>5} offers  {micros:>7.2} us  {name}");
        }
    }
}

fn median_us(columns: &Columns, health: &HealthTable, ask: &Ask) -> f64 {
    const BATCH: u32 = 200;
    let mut scratch = Scratch::default();
    let mut batches: Vec<f64> = (0..101)
        .map(|_| {
            let start = Instant::now();
            for now in 0..BATCH {
                let decided =
                    plan(columns, health, black_box(ask), u64::from(now) + 3, &mut scratch);
                let _ = black_box(decided);
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches[batches.len() / 10]
}

//! What a plan promises: properties over any catalogue, and tables of single choices.

use models::{Capabilities, Task, Verdict};
use proptest::prelude::*;

use super::*;
use crate::fixture::{any_ask, any_history, any_offers, live, offer, prices, world};
use crate::{Exclusion, FailureKind, Gate, OfferRow, Prior, Strategy, explain};

fn offers_of(plan: &Plan) -> Vec<u32> {
    plan.attempts.iter().map(|attempt| attempt.offer.0).collect()
}

fn plan_of(offers: Vec<OfferRow>, ask: &Ask) -> Result<Plan, NoCandidate> {
    let (columns, health) = world(offers);
    plan(&columns, &health, ask, 0, &mut Scratch::default())
}

fn able(row: OfferRow, ability: f32) -> OfferRow {
    OfferRow { ability: [ability; Task::COUNT], ability_overall: ability, ..row }
}

fn priced(row: OfferRow, input: u64, output: u64) -> OfferRow {
    OfferRow { prices: Some(prices(input, output)), ..row }
}

fn ask(strategy: Strategy, difficulty: f32) -> Ask {
    let verdict = Verdict { difficulty, confidence: 1.0, ..Verdict::UNKNOWN };
    Ask { strategy, verdict, ..Ask::new(Target::Auto, 500) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_plan_holds_no_excluded_offer_and_explain_agrees(
        offers in any_offers(),
        ask in any_ask(),
        history in any_history(),
    ) {
        let (columns, mut health) = world(offers.clone());
        let now = live(&mut health, &history);
        let explained = explain(&columns, &health, &ask, now);
        let planned = plan(&columns, &health, &ask, now, &mut Scratch::default());
        prop_assert_eq!(&explained.plan, &planned);

        // Every offer that the target concerns is explained exactly once.
        let concerned = offers.iter().filter(|row| match ask.target {
            Target::Auto => true,
            Target::Model(model) => row.model == model,
        });
        let mut seen: Vec<u32> = explained.candidates.iter().map(|one| one.offer.0).collect();
        seen.extend(explained.excluded.iter().map(|one| one.offer.0));
        seen.sort_unstable();
        prop_assert_eq!(seen, concerned.map(|row| row.offer.0).collect::<Vec<_>>());

        let excluded = |offer| explained.excluded.iter().find(|one| one.offer == offer);
        match planned {
            Err(refusal) => {
                prop_assert!(explained.candidates.is_empty());
                prop_assert_eq!(refusal.considered as usize, explained.excluded.len());
                prop_assert_eq!(refusal.is_temporary(), refusal.retry_at_us.is_some());
            }
            Ok(plan) => {
                prop_assert!(!plan.attempts.is_empty());
                prop_assert_eq!(plan.candidates as usize, explained.candidates.len());
                prop_assert!(plan.dearest_capable.is_some());
                let mut offers = offers_of(&plan);
                for attempt in &plan.attempts {
                    match excluded(attempt.offer) {
                        None => prop_assert_ne!(health.admits(attempt.offer, now), Gate::No { until: 0 }),
                        Some(left) => {
                            let unwell = matches!(left.why, Exclusion::Unhealthy { .. });
                            prop_assert!(unwell && plan.reason == Why::LastResort && attempt.probe);
                        }
                    }
                    prop_assert!((0.0..=1.0).contains(&attempt.expected_quality));
                }
                offers.sort_unstable();
                offers.dedup();
                prop_assert_eq!(offers.len(), plan.attempts.len(), "an offer comes twice");
            }
        }
    }

    /// The attempts are the candidates by rank, but for the one that was moved up because it is of
    /// another provider; and that one is the first such by rank.
    #[test]
    fn auto_follows_the_ranks(offers in any_offers(), ask in any_ask(), history in any_history()) {
        let ask = Ask { target: Target::Auto, ..ask };
        let (columns, mut health) = world(offers);
        let now = live(&mut health, &history);
        let explained = explain(&columns, &health, &ask, now);
        let Ok(plan) = explained.plan else { return Ok(()) };
        if plan.reason == Why::LastResort {
            return Ok(());
        }
        let mut expected: Vec<_> = explained.candidates.iter().collect();
        prop_assert!(expected.is_sorted_by(|a, b| a.score >= b.score));
        let first = expected[0].provider;
        if let Some(other) = expected.iter().position(|one| one.provider != first) {
            let moved = expected.remove(other);
            expected.insert(1, moved);
        }
        let expected: Vec<_> = expected.iter().map(|one| one.offer.0).take(Plan::ATTEMPTS_MAX).collect();
        prop_assert_eq!(offers_of(&plan), expected);
    }

    #[test]
    fn a_named_model_is_served_in_the_catalogues_order(offers in any_offers(), ask in any_ask(), model in 0u32..32) {
        let ask = Ask { target: Target::Model(ModelIx(model)), ..ask };
        if let Ok(plan) = plan_of(offers, &ask) {
            prop_assert!(offers_of(&plan).is_sorted());
            prop_assert!(plan.attempts.iter().all(|attempt| attempt.model == ModelIx(model)));
            prop_assert_eq!(plan.reason, Why::Named);
        }
    }

    #[test]
    fn a_used_scratch_changes_nothing(
        offers in any_offers(),
        asks in prop::collection::vec(any_ask(), 2..6),
    ) {
        let (columns, health) = world(offers);
        let mut used = Scratch::default();
        for ask in &asks {
            let again = plan(&columns, &health, ask, 0, &mut used);
            prop_assert_eq!(again, plan(&columns, &health, ask, 0, &mut Scratch::default()));
        }
    }

    /// No better model at the same offer, and no lower price, ever loses a place.
    #[test]
    fn better_and_cheaper_never_rank_lower(
        offers in any_offers(),
        ask in any_ask(),
        better in 0f32..1.0,
        cheaper in 0u64..100,
    ) {
        let twin = |row: &OfferRow, offer: u32, model: u32| OfferRow {
            offer: OfferIx(offer),
            model: ModelIx(model),
            excluded: None,
            ..row.clone()
        };
        let Some(Some(list)) = offers.first().map(|row| row.prices) else { return Ok(()) };
        let (input, output) = (list.base.input.0, list.base.output.0);
        let plain = able(priced(twin(&offers[0], 0, 0), input, output), 0.0);
        let scaled = |price: u64| price * (100 - cheaper) / 100;
        let other = able(priced(twin(&offers[0], 1, 1), scaled(input), scaled(output)), better);
        let ask = Ask { target: Target::Auto, ..ask };
        let (columns, health) = world([plain, other]);
        let explained = explain(&columns, &health, &ask, 0);
        if let [first, second] = &explained.candidates[..] {
            let tie = first.score == second.score;
            prop_assert!(first.offer == OfferIx(1) || tie, "{:?}", explained.candidates);
        }
    }
}

#[test]
fn each_strategy_takes_what_it_is_for() {
    // A weak one for little, a middling one, the best for much, one nearly as good for less.
    let offers = || {
        vec![
            able(priced(offer(0, 0, 0), 20_000, 80_000), -1.5),
            able(priced(offer(1, 1, 1), 200_000, 800_000), 0.3),
            able(priced(offer(2, 2, 2), 15_000_000, 75_000_000), 2.0),
            able(priced(offer(3, 3, 3), 1_500_000, 7_500_000), 1.96),
        ]
    };
    let table = [
        ("easy, cost: the weak one does", Strategy::Cost, 0.05, 0),
        ("middling, cost: the weak one would fail", Strategy::Cost, 0.3, 1),
        ("hard, cost: only good ones are in question", Strategy::Cost, 0.9, 3),
        ("hard, balanced", Strategy::Balanced, 0.8, 3),
        ("near tie, quality: the cheaper", Strategy::Quality, 0.5, 3),
        ("easy, balanced: the middling one is enough", Strategy::Balanced, 0.15, 1),
    ];
    for (name, strategy, difficulty, expected) in table {
        let plan = plan_of(offers(), &ask(strategy, difficulty)).expect(name);
        assert_eq!(plan.attempts[0].offer, OfferIx(expected), "{name}: {:#?}", plan.attempts);
    }
    // Clearly better is worth any price to `quality`.
    let two = vec![
        able(priced(offer(0, 0, 0), 15_000_000, 75_000_000), 2.0),
        able(priced(offer(1, 1, 1), 20_000, 80_000), 1.0),
    ];
    let plan = plan_of(two, &ask(Strategy::Quality, 0.8)).expect("two");
    assert_eq!(plan.attempts[0].offer, OfferIx(0));
}

#[test]
fn the_fast_one_wins_on_latency_as_measured() {
    let (columns, mut health) = world([offer(0, 0, 0), offer(1, 1, 1)]);
    for _ in 0..20 {
        health.on_success(OfferIx(0), 0, 2_000_000, 8_000_000, 400);
        health.on_success(OfferIx(1), 0, 200_000, 2_000_000, 400);
    }
    let asked = ask(Strategy::Latency, 0.3);
    let plan = plan(&columns, &health, &asked, 0, &mut Scratch::default()).expect("both are well");
    assert_eq!(offers_of(&plan), [1, 0]);
}

#[test]
fn thinking_costs_time_and_money() {
    let thinker = OfferRow { thinks: true, ..offer(0, 0, 0) };
    let (columns, health) = world([thinker, offer(1, 1, 1)]);
    let explained = explain(&columns, &health, &ask(Strategy::Balanced, 0.5), 0);
    let [plain, thinker] = &explained.candidates[..] else { panic!("two candidates") };
    assert_eq!(plain.offer, OfferIx(1));
    // 500 in at 1, 400 out at 4; thinking adds 1,700 at 4. Estimates keep seven digits.
    assert_eq!(plain.cost.0, 2_100_000_000);
    let expected = 2_100_000_000 + 4_000_000 * 1_700;
    assert!(thinker.cost.0.abs_diff(expected) < expected / 1_000_000);
    assert!(thinker.latency_us > plain.latency_us);
}

#[test]
fn output_limits_bound_the_expected_cost() {
    let asked = Ask { max_output: Some(10), ..ask(Strategy::Balanced, 0.5) };
    let thinker = OfferRow { thinks: true, ..offer(0, 0, 0) };
    let plan = plan_of(vec![thinker], &asked).expect("one");
    assert_eq!(plan.attempts[0].expected_cost.0, 500_000_000 + 10 * 4_000_000);
    assert_eq!(plan.reason, Why::OnlyCandidate);
}

#[test]
fn ties_go_to_the_cheaper_then_to_the_catalogues_first() {
    let free = crate::Weights { cost: 0.0, ..Strategy::Balanced.weights() };
    let asked = Ask { weights: Some(free), ..ask(Strategy::Balanced, 0.5) };
    let dear = |model| priced(offer(model, model, model as u16), 9_000_000, 9_000_000);
    let offers = vec![dear(0), dear(1), offer(2, 2, 2), offer(3, 3, 3)];
    let plan = plan_of(offers, &asked).expect("four");
    assert_eq!(offers_of(&plan), [2, 3, 0, 1]);
}

#[test]
fn the_second_attempt_is_at_another_provider_however_far_down() {
    let cheap = |at: u32| priced(offer(at, at, 0), 1_000_000 + u64::from(at), 4_000_000);
    let mut offers: Vec<OfferRow> = (0..40).map(cheap).collect();
    offers.push(priced(offer(40, 40, 1), 90_000_000, 90_000_000));
    offers.push(priced(offer(41, 41, 2), 80_000_000, 80_000_000));
    let plan = plan_of(offers, &ask(Strategy::Balanced, 0.5)).expect("many");
    assert_eq!(offers_of(&plan), [0, 41, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_is_unwell_comes_only_when_nothing_else_is_left() {
    let (columns, mut health) = world([offer(0, 0, 0), offer(0, 1, 1)]);
    let mut scratch = Scratch::default();
    let named = Ask::new(Target::Model(ModelIx(0)), 100);
    let mut at = |health: &HealthTable, now| {
        plan(&columns, health, &named, now, &mut scratch)
            .map(|plan| (offers_of(&plan), plan.reason))
    };

    health.on_rate_limited(OfferIx(0), 1_000_000, Some(30_000_000));
    assert_eq!(at(&health, 1_000_000), Ok((vec![1], Why::Named)));

    // Both rest: the one that is back soonest goes first, and only one request a second tries.
    health.on_rate_limited(OfferIx(1), 1_000_000, Some(60_000_000));
    assert_eq!(at(&health, 2_000_000), Ok((vec![0, 1], Why::LastResort)));
    assert!(health.on_start(OfferIx(0), 2_000_000, true));
    assert!(health.on_start(OfferIx(1), 2_000_000, true));
    let refusal = at(&health, 2_500_000).expect_err("both were tried just now");
    assert_eq!((refusal.unhealthy, refusal.retry_at_us), (2, Some(31_000_000)));
    assert!(at(&health, 3_000_000).is_ok());

    // The times are over.
    assert_eq!(at(&health, 61_000_000), Ok((vec![0, 1], Why::Named)));
}

#[test]
fn tiers_count_in_expected_cost() {
    use models::{Tier, Tokens};
    let tier =
        Tier { above_input: Tokens(10_000), rates: crate::fixture::rates(2_000_000, 8_000_000) };
    let tiered = OfferRow {
        prices: Some(Prices::new(crate::fixture::rates(1_000_000, 4_000_000), &[tier])),
        ..offer(1, 1, 1)
    };
    use models::Prices;
    let (columns, health) = world([priced(offer(0, 0, 0), 1, 1), tiered]);
    for (input_tokens, expected) in [(10_000, 11_600_000_000u64), (10_001, 23_202_000_000)] {
        let asked = Ask { input_tokens, ..ask(Strategy::Balanced, 0.5) };
        let explained = explain(&columns, &health, &asked, 0);
        let tiered =
            explained.candidates.iter().find(|one| one.offer == OfferIx(1)).expect("is one");
        let error = tiered.cost.0.abs_diff(expected) as f64 / expected as f64;
        assert!(error < 1e-6, "{input_tokens}: {} for {expected}", tiered.cost.0);
    }
}

#[test]
fn refusals_count_by_reason() {
    let row = offer(0, 0, 0);
    let off = OfferRow { excluded: Some(Exclusion::ProviderDisabled), ..offer(5, 5, 5) };
    let offers = vec![
        row.clone(),
        OfferRow { auto: false, ..offer(1, 1, 1) },
        OfferRow { prices: None, ..offer(2, 2, 2) },
        OfferRow { caps: Capabilities::VISION, context: 5_000, ..offer(3, 3, 3) },
        OfferRow { caps: Capabilities::VISION, max_output: 100, ..offer(4, 4, 4) },
        off,
    ];
    let asked = Ask {
        needs: Capabilities::VISION,
        max_output: Some(200),
        input_tokens: 9_000,
        ..ask(Strategy::Balanced, 0.5)
    };
    let refusal = plan_of(offers.clone(), &asked).expect_err("nobody can");
    let counts = [
        refusal.considered,
        refusal.lacking,
        refusal.not_in_auto,
        refusal.unknown_price,
        refusal.context,
        refusal.max_output,
        refusal.provider_disabled,
        refusal.unhealthy,
    ];
    assert_eq!(counts, [6, 1, 1, 1, 1, 1, 1, 0]);
    assert_eq!(refusal.lacks, Capabilities::VISION);
    assert_eq!(refusal.max_output_max, 100);

    // A named model's refusal is about its own offers.
    let named = Ask { target: Target::Model(ModelIx(5)), ..asked };
    let refusal = plan_of(offers.clone(), &named).expect_err("is off");
    assert_eq!((refusal.considered, refusal.provider_disabled), (1, 1));
    let unknown = Ask { target: Target::Model(ModelIx(99)), ..asked };
    assert_eq!(plan_of(offers, &unknown).expect_err("is not there").considered, 0);
}

#[test]
fn the_dearest_capable_offer_may_be_unwell_but_not_unfit() {
    let (columns, mut health) = world([
        priced(offer(0, 0, 0), 1, 1),
        priced(offer(1, 1, 1), 500, 500),
        OfferRow { caps: Capabilities::NONE, ..priced(offer(2, 2, 2), 900, 900) },
    ]);
    health.on_failure(OfferIx(1), 0, FailureKind::Credential);
    let asked = Ask { needs: Capabilities::TOOLS, ..ask(Strategy::Cost, 0.1) };
    let plan = plan(&columns, &health, &asked, 0, &mut Scratch::default()).expect("one is well");
    assert_eq!(offers_of(&plan), [0]);
    assert_eq!(plan.dearest_capable, Some(OfferIx(1)));
    assert_eq!((plan.capable, plan.candidates), (2, 1));
}

#[test]
fn a_weak_model_gets_easy_work_when_it_is_free() {
    let local = OfferRow { prior: Prior::LOCAL, ..able(priced(offer(0, 0, 0), 0, 0), -1.0) };
    let hosted = able(priced(offer(1, 1, 1), 250_000, 2_000_000), 0.8);
    for (difficulty, expected) in [(0.1, 0), (0.8, 1)] {
        let plan = plan_of(vec![local.clone(), hosted.clone()], &ask(Strategy::Cost, difficulty));
        assert_eq!(plan.expect("two").attempts[0].offer, OfferIx(expected), "{difficulty}");
    }
}

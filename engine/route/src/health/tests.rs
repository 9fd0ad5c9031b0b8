//! The breaker as tables: what happens, and what the gate says after it.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::fixture::{any_history, any_offers, live, offer, world};
use crate::{Columns, HealthTable, OfferIx};

const S: u64 = 1_000_000;

fn fresh() -> Health {
    Health::new(Prior::HOSTED)
}

fn fail(health: &mut Health, now: u64) {
    health.on_failure(now, FailureKind::Server, true);
}

fn succeed(health: &mut Health, now: u64) {
    health.on_success(now, 500_000, 2 * 1_000_000, 100);
}

fn opened(now: u64) -> Health {
    let mut health = fresh();
    (0..5).for_each(|_| fail(&mut health, now));
    assert!(health.is_open());
    health
}

#[test]
fn failures_in_a_row_or_by_share_open_it() {
    // (seconds between outcomes in ms, outcomes: F failed, . succeeded), open after them
    let table = [
        ("four in a row", 100, "FFFF", false),
        ("five in a row", 100, "FFFFF", true),
        ("five in a row, hours apart", 7_200_000, "FFFFF", true),
        ("a success between", 100, "FFFF.FFFF", false),
        ("half of nineteen", 100, "F.F.F.F.F.F.F.F.F.F", false),
        ("half of twenty", 100, ".F.F.F.F.F.F.F.F.F.F", true),
        ("two fifths of twenty-five", 100, "F.F..F.F..F.F..F.F..F.F..", false),
        ("half of twenty, spread over a minute", 3_000, ".F.F.F.F.F.F.F.F.F.F", false),
    ];
    for (name, pause_ms, outcomes, expected) in table {
        let mut health = fresh();
        let mut now = 0;
        for outcome in outcomes.bytes() {
            now += pause_ms * 1_000;
            match outcome {
                b'F' => fail(&mut health, now),
                _ => succeed(&mut health, now),
            }
        }
        assert_eq!(health.is_open(), expected, "{name}");
    }
}

#[test]
fn only_faults_of_the_target_count() {
    for _ in 0..2 {
        let mut health = fresh();
        for now in 0..50 {
            health.on_rate_limited(now, None);
            health.on_failure(now, FailureKind::Credential, true);
            health.on_abandoned(now);
        }
        assert!(!health.is_open());
    }
    for kind in [
        FailureKind::Connect,
        FailureKind::Timeout,
        FailureKind::Server,
        FailureKind::Overloaded { retry_after_us: None },
        FailureKind::Protocol,
        FailureKind::Interrupted,
    ] {
        let mut health = fresh();
        (0..5).for_each(|now| health.on_failure(now, kind, true));
        assert!(health.is_open(), "{kind:?}");
    }
}

#[test]
fn the_wait_doubles_with_each_failed_probe_to_five_minutes() {
    let mut now = 0;
    let mut health = opened(now);
    for wait in [10, 20, 40, 80, 160, 300, 300] {
        assert_eq!(health.admits(now), Gate::No { until: now + wait * S });
        assert_eq!(health.admits(now + wait * S - 1), Gate::No { until: now + wait * S });
        now += wait * S;
        assert_eq!(health.admits(now), Gate::Probe, "after {wait} s");
        assert!(health.on_start(now, true));
        fail(&mut health, now);
    }
}

#[test]
fn one_probe_at_a_time_and_three_successes_close_it() {
    let mut health = opened(0);
    let now = 10 * S;
    for success in 1..=3 {
        assert_eq!(health.breaker_name() == "closed", success > 3);
        assert!(health.on_start(now, true));
        assert!(!health.on_start(now, false), "a second one while the first is under way");
        succeed(&mut health, now);
    }
    assert_eq!(health.admits(now), Gate::Yes);
    // Closed for good: the next opening waits ten seconds again, and needs five failures.
    (0..4).for_each(|_| fail(&mut health, now));
    assert_eq!(health.admits(now), Gate::Yes);
    fail(&mut health, now);
    assert_eq!(health.admits(now), Gate::No { until: now + 10 * S });
}

#[test]
fn a_probe_that_tells_nothing_gives_its_place_back() {
    let mut health = opened(0);
    let now = 10 * S;
    assert!(health.on_start(now, true));
    health.on_abandoned(now);
    assert_eq!(health.admits(now), Gate::Probe);
    // And one that never comes back blocks for a minute at most.
    assert!(health.on_start(now, true));
    assert_eq!(health.admits(now + 60 * S - 1), Gate::No { until: now + 60 * S });
    assert_eq!(health.admits(now + 60 * S), Gate::Probe);
}

#[test]
fn late_outcomes_of_before_it_opened() {
    let mut health = opened(0);
    fail(&mut health, S);
    assert_eq!(health.admits(S), Gate::No { until: 10 * S }, "a late failure does not prolong");
    succeed(&mut health, 2 * S);
    assert_eq!(health.admits(2 * S), Gate::Probe, "a late success is as good as a probe");
}

#[test]
fn cool_downs_follow_retry_after_or_double_to_a_minute() {
    let mut health = fresh();
    let mut now = 0;
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        health.on_rate_limited(now, None);
        assert_eq!(health.admits(now), Gate::No { until: now + wait * S });
        // Others that were under way are refused too; that is one refusal.
        health.on_rate_limited(now, None);
        health.on_rate_limited(now, None);
        now = health.cool_until();
        assert_eq!(health.admits(now), Gate::Yes, "after {wait} s");
    }
    succeed(&mut health, now);
    health.on_rate_limited(now, None);
    assert_eq!(health.cool_until(), now + S, "a success forgets");

    let mut health = fresh();
    health.on_rate_limited(0, Some(7 * S));
    health.on_rate_limited(0, Some(3 * S));
    assert_eq!(health.cool_until(), 7 * S, "the longest wins");
    health.on_rate_limited(0, Some(u64::MAX));
    assert_eq!(health.cool_until(), 3_600 * S, "an hour is believed");

    let mut health = fresh();
    let overloaded = FailureKind::Overloaded { retry_after_us: Some(5 * S) };
    health.on_failure(0, overloaded, true);
    assert_eq!(health.admits(0), Gate::No { until: 5 * S });
}

#[test]
fn latency_follows_what_is_measured_and_fades() {
    let mut health = fresh();
    for now in 0..100 {
        health.on_success(now, 100_000, 1_100_000, 100);
    }
    assert!((health.ttft_us() - 100_000.0).abs() < 1_000.0);
    assert!((health.us_per_token() - 10_000.0).abs() < 100.0);
    assert_eq!(health.availability(), 1.0);
    // Short answers tell nothing of the pace.
    health.on_success(100, 100_000, 5_000_000, 3);
    assert!((health.us_per_token() - 10_000.0).abs() < 100.0);

    (0..4).for_each(|now| fail(&mut health, now));
    let failing = health.availability();
    assert!(failing < 0.7);
    health.relax(60 * S, Prior::HOSTED);
    let after = health.availability();
    assert!((1.0 - after - (1.0 - failing) / 2.0).abs() < 1e-3, "half in a minute: {after}");
    for _ in 0..100 {
        health.relax(600 * S, Prior::HOSTED);
    }
    assert!((health.ttft_us() - Prior::HOSTED.ttft_us).abs() < 1_000.0);
}

#[test]
fn cores_learn_from_each_other() {
    let now = 1_000 * S;
    let (mut here, mut there) = (opened(now), fresh());
    there.absorb(here.pack(), true);
    assert_eq!(there.admits(now), Gate::No { until: now + 10 * S });
    let mut unwilling = fresh();
    unwilling.absorb(here.pack(), false);
    assert_eq!(unwilling.admits(now), Gate::Yes, "half of the equal targets are open already");

    // A probe under way there is a wait here.
    let probing = now + 10 * S;
    assert!(here.on_start(probing, true));
    there.absorb(here.pack(), true);
    assert!(matches!(there.admits(probing), Gate::No { .. }));

    // Closed there is closed here.
    for step in 1..=3 {
        succeed(&mut here, probing + step * 1_000);
    }
    there.absorb(here.pack(), true);
    assert_eq!(there.admits(probing + 3_000), Gate::Yes);
    assert!(there.availability() < 1.0, "errors are learnt too");

    // Old news do not undo new ones.
    let stale = fresh().pack();
    let mut open = opened(now);
    open.absorb(stale, true);
    assert!(open.is_open());

    // Cool-downs travel; damaged words do no harm.
    let mut limited = fresh();
    limited.on_rate_limited(now, Some(9 * S));
    open.absorb(limited.pack(), true);
    assert_eq!(open.cool_until(), now + 9 * S);
    let mut sturdy = fresh();
    sturdy.absorb([3, 0, u64::MAX, u64::MAX], true);
    assert!(sturdy.ttft_us().is_finite() && sturdy.availability().is_finite());
}

#[test]
fn half_of_the_equal_targets_stay_closed() {
    // Offers per model; offers that fail; how many may be open.
    let table: [(&[u32], u32); 4] = [(&[1], 1), (&[2], 1), (&[5], 2), (&[1, 1, 1, 1, 4], 4)];
    for (models, open_max) in table {
        let mut rows = Vec::new();
        for (model, count) in models.iter().enumerate() {
            for _ in 0..*count {
                rows.push(offer(model as u32, rows.len() as u32, 0));
            }
        }
        let count = rows.len() as u32;
        let (_, mut health) = world(rows);
        for round in 0..10 {
            for offer in 0..count {
                health.on_failure(OfferIx(offer), round, FailureKind::Connect);
            }
        }
        assert!(health.open_count() <= open_max && health.open_count() >= 1, "{models:?}");
        // Explicit refusals are not bounded.
        (0..count).for_each(|offer| health.on_rate_limited(OfferIx(offer), 10, None));
        let resting = (0..count).all(|offer| health.admits(OfferIx(offer), 10) != Gate::Yes);
        assert!(resting);
    }
}

#[test]
fn a_new_snapshot_keeps_what_is_known() {
    let (_, mut old) = world([offer(0, 0, 0), offer(1, 1, 1)]);
    old.on_rate_limited(OfferIx(1), 0, Some(S));
    let columns = Arc::new(Columns::from_rows([offer(0, 0, 1), offer(1, 1, 2)]));
    let new = old.carried_over(columns, |offer| (offer == OfferIx(0)).then_some(OfferIx(1)));
    assert_eq!(new.admits(OfferIx(0), 0), Gate::No { until: S });
    assert_eq!(new.admits(OfferIx(1), 0), Gate::Yes);
}

proptest! {
    #[test]
    fn columns_mirror_the_states_and_the_count_holds(
        offers in any_offers(),
        history in any_history(),
    ) {
        let (columns, mut health) = world(offers);
        let now = live(&mut health, &history);
        health.relax(now);
        let mut open = 0;
        for (row, offer) in columns.offers().iter().enumerate() {
            let state = *health.health(*offer).expect("is in the columns");
            open += u32::from(state.is_open());
            prop_assert_eq!(health.admits_from[row], state.admits_from());
            prop_assert_eq!(health.ttft_us[row], state.ttft_us());
            prop_assert_eq!(health.ln_availability[row], state.availability().ln());
            prop_assert!(state.ttft_us().is_finite() && state.availability() > 0.0);
        }
        prop_assert_eq!(health.open_count(), open);
        prop_assert!(open <= (columns.len() as u32 / 2).max(1));
    }

    #[test]
    fn own_words_change_no_gate(history in any_history(), later in 0u64..100_000_000) {
        let (_, mut health): (_, HealthTable) = world([offer(0, 0, 0)]);
        let history: Vec<_> = history.into_iter().map(|(_, pause, event)| (0, pause, event)).collect();
        let now = live(&mut health, &history) + later;
        let before = health.admits(OfferIx(0), now);
        let words = health.pack(OfferIx(0)).expect("is there");
        health.absorb(OfferIx(0), words);
        prop_assert_eq!(health.admits(OfferIx(0), now), before);
    }
}

//! What the store's tests share: records that can be told apart, and what the store made of them.
#![allow(dead_code)] // each test binary uses a part

use std::path::Path;

use models::{PicoUsd, Task, Tokens, Usage, UsageSource};
use store::{
    Asked, Attribution, Decided, Journal, JournalLimits, Money, Outcome, Record, RecordRef, Served,
    Store, Timing,
};

/// Segments so small that a few hundred records fill one.
pub(crate) const SMALL: JournalLimits =
    JournalLimits { room_bytes: 64 << 20, segment_bytes: JournalLimits::SEGMENT_BYTES_MIN };

/// Records that differ in the columns by which one groups.
pub(crate) const MODELS: [&str; 3] = ["lab/large", "lab/small", "other/huge"];

/// Record number `n`: everything in it follows from `n`.
pub(crate) fn record(n: u64) -> RecordRef<'static> {
    let input = 100 + n % 977;
    let output = 10 + n % 89;
    let total = input * 75_000 + output * 300_000;
    Record {
        entry: u128::from(n),
        started_at_us: 1_795_000_000_000_000 + n * 1_000,
        core: (n % 2) as u16,
        who: Attribution {
            key_id: 1 + n % 5,
            key_name: ["ci", "laptop", "batch", "web", "app"][(n % 5) as usize],
            org: "acme",
            team: ["search", "ads"][(n % 2) as usize],
            project: "ranking",
            user: "",
        },
        asked: Asked {
            dialect: "openai_chat",
            requested: "auto",
            strategy: "balanced",
            stream: n.is_multiple_of(2),
        },
        decided: Decided {
            task: Task::from_index((n % 18) as usize),
            difficulty: 0.25,
            confidence: 0.5,
            expected_quality: 0.75,
            expected_cost: PicoUsd(total),
            expected_latency_us: 400_000,
            candidates: 300,
            classified_by: "model",
            reason: "best_score",
        },
        served: Served {
            model: MODELS[(n % 3) as usize],
            provider: ["lab", "other"][(n % 3 / 2) as usize],
            wire_id: "wire-model-2026-01-01",
            attempts: 1,
            failures: "",
            outcome: Outcome::Complete,
            http_status: 200,
        },
        timing: Timing {
            ttft_us: Some(100_000 + (n % 1000) as u32),
            duration_us: 900_000,
            classify_us: 30,
        },
        usage: Usage {
            input: Tokens(input),
            cached: Tokens(input / 2),
            output: Tokens(output),
            source: UsageSource::Provider,
            ..Usage::default()
        },
        money: Money {
            input: PicoUsd(input * 75_000),
            output: PicoUsd(output * 300_000),
            total: PicoUsd(total),
            own_cost: PicoUsd(total),
            dearest: PicoUsd(total * 20),
            price_version: "1f0c9a7be2",
            ..Money::default()
        },
    }
}

/// Opens both ends in one folder.
pub(crate) fn open(folder: &Path, limits: JournalLimits) -> (Journal, Store) {
    (
        Journal::open(folder, limits).expect("the journal opens"),
        Store::open(folder).expect("the store opens"),
    )
}

/// All records in the store, oldest first.
pub(crate) fn all(store: &Store) -> Vec<Record> {
    let mut records = store.recent(u32::MAX).expect("reads");
    records.reverse();
    records
}

/// The entry numbers in the store, sorted, doubles and all.
pub(crate) fn entries(store: &Store) -> Vec<u64> {
    let mut entries: Vec<u64> =
        all(store).iter().map(|record| u64::try_from(record.entry).expect("small")).collect();
    entries.sort_unstable();
    entries
}

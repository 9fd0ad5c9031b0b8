//! What a core counts. One writer, no atomics: each second the core hands its counts to the control
//! thread and goes on with an empty set, so that neither waits for the other.

use crate::judge::Asked;
use crate::snapshot::Snapshot;
use classifier::{Stage, TurnType};
use hdrhistogram::Histogram;
use models::catalogue::OfferIx;
use models::{PicoUsd, Task, Usage};
use std::collections::HashMap;
use std::sync::Arc;
use store::Outcome;
use wire::refusal::Kind;

/// Longest time that a histogram tells apart, in microseconds: one hour.
const MICROS_MAX: u64 = 3_600_000_000;
/// Decimal digits that a histogram keeps: 1 % is finer than any alert needs.
const DIGITS: u8 = 2;

/// Times in microseconds.
pub struct Times(pub Histogram<u32>);

impl Times {
    /// Counts one time.
    #[inline]
    pub fn record(&mut self, micros: u32) {
        self.0.saturating_record(u64::from(micros).max(1));
    }
}

impl Default for Times {
    fn default() -> Times {
        let histogram = Histogram::new_with_bounds(1, MICROS_MAX, DIGITS);
        Times(histogram.expect("the bounds are constants that a histogram takes"))
    }
}

/// How one attempt ended, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// A complete answer.
    Success,
    /// 429.
    RateLimited,
    /// The request itself was refused.
    Rejected,
    /// No connection.
    Connect,
    /// Too slow.
    Timeout,
    /// 5xx.
    Server,
    /// 503 or 529.
    Overloaded,
    /// No valid answer.
    Protocol,
    /// Broke off.
    Interrupted,
    /// Our credential was refused.
    Credential,
    /// The client left.
    Abandoned,
}

impl AttemptResult {
    /// All results; `ALL[i] as usize == i`.
    pub const ALL: [AttemptResult; 11] = [
        AttemptResult::Success,
        AttemptResult::RateLimited,
        AttemptResult::Rejected,
        AttemptResult::Connect,
        AttemptResult::Timeout,
        AttemptResult::Server,
        AttemptResult::Overloaded,
        AttemptResult::Protocol,
        AttemptResult::Interrupted,
        AttemptResult::Credential,
        AttemptResult::Abandoned,
    ];

    /// The label in the metrics, and the word in the ledger's list of failures.
    pub fn name(self) -> &'static str {
        match self {
            AttemptResult::Success => "success",
            AttemptResult::RateLimited => "rate_limited",
            AttemptResult::Rejected => "rejected",
            AttemptResult::Connect => "connect",
            AttemptResult::Timeout => "timeout",
            AttemptResult::Server => "server_error",
            AttemptResult::Overloaded => "overloaded",
            AttemptResult::Protocol => "protocol",
            AttemptResult::Interrupted => "interrupted",
            AttemptResult::Credential => "credential",
            AttemptResult::Abandoned => "abandoned",
        }
    }
}

/// What is counted for one offer.
#[derive(Default)]
pub struct OfferStats {
    /// Attempts by result.
    pub attempts: [u64; AttemptResult::ALL.len()],
    /// Input tokens that were neither read from a cache nor written to one.
    pub tokens_input: u64,
    /// Input tokens from the cache.
    pub tokens_cached: u64,
    /// Input tokens to the cache.
    pub tokens_written: u64,
    /// Output tokens, reasoning included.
    pub tokens_output: u64,
    /// Reasoning tokens.
    pub tokens_reasoning: u64,
    /// Charged, in pico-dollars.
    pub cost: u128,
    /// Time to the first content.
    pub ttft: Times,
    /// Time to the end.
    pub duration: Times,
}

impl OfferStats {
    /// Counts what a request used and cost.
    pub fn charge(&mut self, usage: &Usage, total: PicoUsd) {
        let written = usage.written_5m.0 + usage.written_1h.0;
        self.tokens_input += usage.input.0.saturating_sub(usage.cached.0 + written);
        self.tokens_cached += usage.cached.0;
        self.tokens_written += written;
        self.tokens_output += usage.output.0;
        self.tokens_reasoning += usage.reasoning.0;
        self.cost += u128::from(total.0);
    }
}

/// Everything that a core counts between two exchanges.
#[derive(Default)]
pub struct CoreStats {
    /// The catalogue that offers and models below refer to.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Requests by how they ended.
    pub requests: [u64; Outcome::ALL.len()],
    /// Refusals by code.
    pub refusals: Vec<u64>,
    /// Verdicts by stage.
    pub stages: [u64; Stage::ALL.len()],
    /// Judged requests by the part they play, in the order of [`TurnType::ALL`].
    pub turns: [u64; TurnType::ALL.len()],
    /// Verdicts that were remembered.
    pub cache_hits: u64,
    /// Verdicts that were looked for in vain.
    pub cache_misses: u64,
    /// Questions to classifier threads by how they ended.
    pub asked: [u64; Asked::ALL.len()],
    /// Answers of classifier threads that changed the task.
    pub asked_changed: u64,
    /// Decisions of `auto` by task and model.
    pub decisions: HashMap<(Task, u32), u64>,
    /// By offer.
    pub offers: HashMap<u32, OfferStats>,
    /// Time between two pieces of a stream.
    pub gaps: Times,
    /// Time in the classifier.
    pub classify: Times,
    /// Time from the last byte of a request to the first byte towards a provider.
    pub decide: Times,
    /// Connections that were accepted.
    pub accepted: u64,
}

impl CoreStats {
    /// Counts a refusal.
    pub fn refuse(&mut self, kind: Kind) {
        self.refusals.resize(Kind::ALL.len(), 0);
        self.refusals[kind as usize] += 1;
    }

    /// The counts of one offer.
    pub fn offer(&mut self, offer: OfferIx) -> &mut OfferStats {
        self.offers.entry(offer.0).or_default()
    }

    /// Empties everything and keeps the memory.
    pub fn clear(&mut self) {
        self.snapshot = None;
        self.requests = Default::default();
        self.refusals.fill(0);
        self.stages = Default::default();
        self.turns = Default::default();
        self.cache_hits = 0;
        self.cache_misses = 0;
        self.asked = Default::default();
        self.asked_changed = 0;
        self.decisions.clear();
        for offer in self.offers.values_mut() {
            let (mut ttft, mut duration) =
                (std::mem::take(&mut offer.ttft), std::mem::take(&mut offer.duration));
            ttft.0.reset();
            duration.0.reset();
            *offer = OfferStats { ttft, duration, ..OfferStats::default() };
        }
        self.gaps.0.reset();
        self.classify.0.reset();
        self.decide.0.reset();
        self.accepted = 0;
    }
}

//! The last stage: what was used becomes a charge, and the charge a journal record, before the last
//! byte of the answer leaves.

use crate::accept::Arrived;
use crate::core::{Core, Routing, unix_now};
use crate::decide::{Admitted, Judged, Understood};
use crate::forward::{Attempts, Served};
use crate::stats::AttemptResult;
use crate::target::Target;
use govern::{Charge, UPLIFT_NONE};
use models::catalogue::OfferIx;
use models::{PicoUsd, Tokens, Usage, UsageSource};
use route::{Attempt, Plan};
use std::time::Instant;
use store::{Asked, Attribution, Decided, JournalError, Money, Outcome, RecordRef, Timing};

/// A request on its way through the stages, as far as it has to be accounted for.
pub struct Entry<'r> {
    /// Its id: that of the decision and of the ledger's entry.
    pub id: u128,
    /// When it arrived, in microseconds of Unix time.
    pub unix_us: u64,
    /// The request.
    pub arrived: &'r Arrived,
    /// What it says.
    pub understood: &'r Understood,
    /// What it may.
    pub admitted: &'r Admitted,
    /// What was made of its content.
    pub judged: &'r Judged,
    /// What was planned.
    pub plan: &'r Plan,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// How.
    pub outcome: Outcome,
    /// The status that the client saw.
    pub status: u16,
    /// When its first content was there.
    pub first_content: Option<Instant>,
    /// The provider's count, if it gave one.
    pub usage: Option<Usage>,
    /// Bytes of generated text, for an own count.
    pub content_bytes: u32,
}

/// The usage, counted by ourselves when the provider did not: four bytes a token, as for the input.
fn usage_of(entry: &Entry<'_>, ending: &Ending) -> Usage {
    ending.usage.unwrap_or_else(|| Usage {
        input: Tokens(u64::from(entry.understood.parsed.input_tokens())),
        output: Tokens(u64::from(ending.content_bytes.div_ceil(4))),
        source: UsageSource::Estimated,
        ..Usage::default()
    })
}

/// Whether the client pays: for a complete answer, and for what was delivered before it left.
fn is_billed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Complete | Outcome::ClientClosed)
}

/// Accounts for a request that a target answered.
pub fn account(
    core: &Core,
    routing: &Routing,
    entry: &Entry<'_>,
    served: (&Target, &Attempt),
    attempts: &Attempts,
    ending: Ending,
) -> Result<(), JournalError> {
    let (target, attempt) = served;
    let usage = usage_of(entry, &ending);
    let unix_s = entry.unix_us / 1_000_000;
    let cost = |offer: OfferIx| -> Charge {
        let prices = routing.snapshot.prices(offer, unix_s);
        // A charge beyond every bound cannot come from counts that were found plausible; should it,
        // it is recorded as the largest there is and seen, not dropped.
        govern::charge(&usage, &prices, UPLIFT_NONE)
            .unwrap_or(Charge { total: store::MONEY_MAX, ..Charge::ZERO })
    };
    let own = cost(attempt.offer);
    let billed = if is_billed(ending.outcome) { own } else { Charge::ZERO };
    let dearest = match entry.plan.dearest_capable {
        Some(offer) if is_billed(ending.outcome) => cost(offer).total.max(billed.total),
        _ => billed.total,
    };

    let now = Instant::now();
    let micros = |at: Instant| {
        at.saturating_duration_since(entry.arrived.at).as_micros().min(u32::MAX.into()) as u32
    };
    let (ttft_us, duration_us) = (ending.first_content.map(micros), micros(now));
    core.stats.borrow_mut().requests[ending.outcome as usize] += 1;
    core.count_offer(routing, attempt.offer, |stats| {
        if ending.outcome == Outcome::Complete {
            stats.attempts[AttemptResult::Success as usize] += 1;
        }
        stats.charge(&usage, billed.total);
        stats.duration.record(duration_us);
        if let Some(ttft_us) = ttft_us {
            stats.ttft.record(ttft_us);
        }
    });
    let price_version = routing.snapshot.catalogue.version();
    let served = store::Served {
        model: target.model.as_str(),
        provider: target.provider.as_str(),
        wire_id: target.wire_id.as_str(),
        attempts: attempts.made,
        failures: attempts.failures.as_str(),
        outcome: ending.outcome,
        http_status: ending.status,
    };
    let timing = Timing { ttft_us, duration_us, classify_us: entry.judged.micros };
    let money = Money {
        input: billed.input,
        cached: billed.cached,
        written: billed.written,
        output: billed.output,
        reasoning: billed.reasoning,
        total: billed.total,
        own_cost: own.total,
        dearest,
        price_version,
    };
    write(core, entry, served, timing, usage, money)
}

/// Accounts for a request that nobody answered: nothing is charged.
pub fn account_failure(
    core: &Core,
    routing: &Routing,
    entry: &Entry<'_>,
    attempts: &Attempts,
    outcome: Outcome,
    status: u16,
) -> Result<(), JournalError> {
    core.stats.borrow_mut().requests[outcome as usize] += 1;
    let served = store::Served {
        model: "",
        provider: "",
        wire_id: "",
        attempts: attempts.made,
        failures: attempts.failures.as_str(),
        outcome,
        http_status: status,
    };
    let duration = entry.arrived.at.elapsed().as_micros().min(u32::MAX.into()) as u32;
    let timing = Timing { ttft_us: None, duration_us: duration, classify_us: entry.judged.micros };
    let money = Money {
        input: PicoUsd::ZERO,
        cached: PicoUsd::ZERO,
        written: PicoUsd::ZERO,
        output: PicoUsd::ZERO,
        reasoning: PicoUsd::ZERO,
        total: PicoUsd::ZERO,
        own_cost: PicoUsd::ZERO,
        dearest: PicoUsd::ZERO,
        price_version: routing.snapshot.catalogue.version(),
    };
    let usage = Usage { source: UsageSource::Estimated, ..Usage::default() };
    write(core, entry, served, timing, usage, money)
}

fn write(
    core: &Core,
    entry: &Entry<'_>,
    served: store::Served<&str>,
    timing: Timing,
    usage: Usage,
    money: Money<&str>,
) -> Result<(), JournalError> {
    let key = entry.arrived.key.as_deref();
    let text = |field: fn(&govern::KeyRecord) -> &str| key.map_or("", field);
    let first = entry.plan.attempts.first();
    let record = RecordRef {
        entry: entry.id,
        started_at_us: entry.unix_us,
        core: core.index,
        who: Attribution {
            key_id: key.map_or(0, |key| key.id),
            key_name: text(|key| &key.name),
            org: text(|key| &key.org),
            team: text(|key| &key.team),
            project: text(|key| &key.project),
            user: text(|key| key.user.as_deref().unwrap_or("")),
        },
        asked: Asked {
            dialect: entry.understood.codec.dialect().name(),
            requested: entry.understood.requested.as_str(),
            strategy: entry.admitted.strategy.name(),
            stream: entry.understood.parsed.stream,
        },
        decided: Decided {
            task: entry.judged.stage.map(|_| entry.judged.verdict.task),
            difficulty: entry.judged.verdict.difficulty,
            confidence: entry.judged.verdict.confidence,
            expected_quality: first.map_or(0.0, |first| first.expected_quality),
            expected_cost: first.map_or(PicoUsd::ZERO, |first| first.expected_cost),
            expected_latency_us: first.map_or(0, |first| first.expected_latency_us),
            candidates: entry.plan.candidates,
            classified_by: entry.judged.stage.map_or("", |stage| stage.name()),
            reason: entry.plan.reason.code(),
        },
        served,
        timing,
        usage,
        money,
    };
    core.journal.borrow_mut().append(&record)
}

/// Tells the health table of an answer that came through.
pub fn succeeded(
    core: &Core,
    routing: &Routing,
    served: &Served<'_>,
    arrived: &Arrived,
    ending: &Ending,
) {
    let now = Instant::now();
    let micros = |at: Instant| {
        at.saturating_duration_since(arrived.at).as_micros().min(u32::MAX.into()) as u32
    };
    let output = ending.usage.map_or(ending.content_bytes.div_ceil(4), |usage| {
        usage.output.0.min(u32::MAX.into()) as u32
    });
    let offer = served.attempt.offer;
    let duration_us = micros(now);
    let ttft_us = ending.first_content.map_or(duration_us, micros);
    routing.learn(offer, |health| {
        health.on_success(offer, core.micros(now), ttft_us, duration_us, output);
    });
}

/// Microseconds of Unix time at which a request arrived.
pub fn arrival_unix_us(arrived: &Arrived) -> u64 {
    let (_, now_us) = unix_now();
    now_us.saturating_sub(arrived.at.elapsed().as_micros() as u64)
}

//! What is kept of one request, and its form in the journal.
//!
//! In: a [`RecordRef`], which borrows its texts from the request that is just ending. Out: bytes of
//! one journal frame, and from such bytes a [`RecordRef`] again, checked. Money is in pico-USD,
//! durations are in microseconds, points in time are microseconds of Unix time. Never: text of a
//! prompt or an answer; there is no field that could take it.

use models::{PicoUsd, Task, Tokens, Usage, UsageSource};
use rkyv::rancor::Failure;
use rkyv::ser::{Serializer, writer::Buffer};
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

/// Longest text of a record in bytes; longer ones are cut at a character's edge. It bounds the
/// frame, so that the journal knows before it writes that a record fits.
pub const TEXT_BYTES_MAX: usize = 200;

/// Longest list of failed attempts in bytes.
pub const FAILURES_BYTES_MAX: usize = 500;

/// The greatest sum of money in one record: what a signed 64-bit column holds, 9.2 million dollars.
pub const MONEY_MAX: PicoUsd = PicoUsd(i64::MAX as u64);

/// Number of texts in a record, `failures` not counted.
const TEXTS: usize = 14;

/// The longest encoded record: all texts at their limit and the fixed part.
pub(crate) const ENCODED_BYTES_MAX: usize =
    TEXTS * TEXT_BYTES_MAX + FAILURES_BYTES_MAX + size_of::<ArchivedFrame<'_>>() + 16;

/// Everything that the ledger keeps of one request. With borrowed texts it is a [`RecordRef`].
///
/// An empty text means "none", except that a request always has `requested` and `dialect`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Record<S = String> {
    /// The request's id: unique over all nodes and times, made before the first attempt.
    pub entry: u128,
    /// When the request was accepted, Unix time in microseconds.
    pub started_at_us: u64,
    /// The core that served it.
    pub core: u16,
    /// Who asked.
    pub who: Attribution<S>,
    /// What was asked for.
    pub asked: Asked<S>,
    /// What was decided, and why.
    pub decided: Decided<S>,
    /// Who answered, and how it ended.
    pub served: Served<S>,
    /// How long it took.
    pub timing: Timing,
    /// Tokens of the answer that the client got.
    pub usage: Usage,
    /// What it cost.
    pub money: Money<S>,
}

/// A record whose texts are borrowed: what the data plane appends.
pub type RecordRef<'a> = Record<&'a str>;

/// Who asked: the columns by which cost is attributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attribution<S = String> {
    /// Number of the key in the key table; 0 when keys are not demanded.
    pub key_id: u64,
    /// The key's name.
    pub key_name: S,
    /// Organisation.
    pub org: S,
    /// Team.
    pub team: S,
    /// Project.
    pub project: S,
    /// End user.
    pub user: S,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked<S = String> {
    /// The client's dialect: `openai_chat`.
    pub dialect: S,
    /// The model or alias as the client wrote it, cut to [`TEXT_BYTES_MAX`].
    pub requested: S,
    /// The strategy in force: `balanced`.
    pub strategy: S,
    /// Whether the answer was streamed.
    pub stream: bool,
}

/// What was decided, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decided<S = String> {
    /// The task that the classifier saw; none when it was not asked.
    pub task: Option<Task>,
    /// Difficulty, 0 to 1. The store keeps four decimals of this and of the next two.
    pub difficulty: f32,
    /// The classifier's confidence, 0 to 1.
    pub confidence: f32,
    /// Expected quality of the chosen offer, 0 to 1.
    pub expected_quality: f32,
    /// Expected cost of the chosen offer.
    pub expected_cost: PicoUsd,
    /// Expected time of the chosen offer in microseconds.
    pub expected_latency_us: u32,
    /// Offers among which the router chose.
    pub candidates: u32,
    /// Which stage of the classifier spoke: `structure`, `model`, `rules`.
    pub classified_by: S,
    /// Short code of the reason for the choice.
    pub reason: S,
}

/// Who answered, and how it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served<S = String> {
    /// The model's id in the catalogue; empty when none answered.
    pub model: S,
    /// The provider's id.
    pub provider: S,
    /// The model's name at the provider.
    pub wire_id: S,
    /// Attempts made, the last one included.
    pub attempts: u8,
    /// Causes of the failed attempts, `provider:cause` joined by commas.
    pub failures: S,
    /// How it ended.
    pub outcome: Outcome,
    /// The status that the client got; 0 when it left before.
    pub http_status: u16,
}

/// How a request ended. The numbers are part of the data format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Not known: the gateway died under it.
    #[default]
    Unknown = 0,
    /// The client got a complete answer.
    Complete = 1,
    /// The client left before the end.
    ClientClosed = 2,
    /// No attempt brought an answer.
    UpstreamFailed = 3,
    /// The provider broke off after the client had seen content.
    UpstreamBroke = 4,
    /// Refused before an attempt: malformed, not allowed, no candidate, over a limit.
    Refused = 5,
    /// A deadline of ours ended it.
    TimedOut = 6,
    /// A fault of the gateway itself.
    GatewayFailed = 7,
}

impl Outcome {
    /// All outcomes; `ALL[i] as usize == i`.
    pub const ALL: [Outcome; 8] = [
        Outcome::Unknown,
        Outcome::Complete,
        Outcome::ClientClosed,
        Outcome::UpstreamFailed,
        Outcome::UpstreamBroke,
        Outcome::Refused,
        Outcome::TimedOut,
        Outcome::GatewayFailed,
    ];

    /// The name in tables and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Unknown => "unknown",
            Outcome::Complete => "complete",
            Outcome::ClientClosed => "client_closed",
            Outcome::UpstreamFailed => "upstream_failed",
            Outcome::UpstreamBroke => "upstream_broke",
            Outcome::Refused => "refused",
            Outcome::TimedOut => "timed_out",
            Outcome::GatewayFailed => "gateway_failed",
        }
    }

    /// The outcome with that number; numbers of a newer version read as unknown.
    pub fn from_index(index: u8) -> Outcome {
        Outcome::ALL.get(usize::from(index)).copied().unwrap_or_default()
    }
}

/// How long it took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// From acceptance to the first content; none when there was none.
    pub ttft_us: Option<u32>,
    /// From acceptance to the end.
    pub duration_us: u32,
    /// Spent in the classifier.
    pub classify_us: u32,
}

/// What it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Money<S = String> {
    /// Charged for input that was neither read from nor written to a cache.
    pub input: PicoUsd,
    /// Charged for input read from the cache.
    pub cached: PicoUsd,
    /// Charged for input written to the cache.
    pub written: PicoUsd,
    /// Charged for output, reasoning not counted where it has a price of its own.
    pub output: PicoUsd,
    /// Charged for reasoning where it has a price of its own.
    pub reasoning: PicoUsd,
    /// Charged to the client in all.
    pub total: PicoUsd,
    /// What the providers will bill us for all attempts, failed ones included.
    pub own_cost: PicoUsd,
    /// What the dearest capable model would have cost.
    pub dearest: PicoUsd,
    /// Version of the prices in force at the start of the request.
    pub price_version: S,
}

impl Record<String> {
    /// The same record with borrowed texts.
    pub fn borrowed(&self) -> RecordRef<'_> {
        self.map_texts(String::as_str)
    }
}

impl<'a> RecordRef<'a> {
    /// The same record with texts of its own.
    pub fn to_owned_texts(&self) -> Record {
        self.map_texts(|text| String::from(*text))
    }
}

impl<S> Record<S> {
    /// The same record with every text made anew.
    fn map_texts<'s, T>(&'s self, text: impl Fn(&'s S) -> T) -> Record<T> {
        Record {
            entry: self.entry,
            started_at_us: self.started_at_us,
            core: self.core,
            who: Attribution {
                key_id: self.who.key_id,
                key_name: text(&self.who.key_name),
                org: text(&self.who.org),
                team: text(&self.who.team),
                project: text(&self.who.project),
                user: text(&self.who.user),
            },
            asked: Asked {
                dialect: text(&self.asked.dialect),
                requested: text(&self.asked.requested),
                strategy: text(&self.asked.strategy),
                stream: self.asked.stream,
            },
            decided: Decided {
                task: self.decided.task,
                difficulty: self.decided.difficulty,
                confidence: self.decided.confidence,
                expected_quality: self.decided.expected_quality,
                expected_cost: self.decided.expected_cost,
                expected_latency_us: self.decided.expected_latency_us,
                candidates: self.decided.candidates,
                classified_by: text(&self.decided.classified_by),
                reason: text(&self.decided.reason),
            },
            served: Served {
                model: text(&self.served.model),
                provider: text(&self.served.provider),
                wire_id: text(&self.served.wire_id),
                attempts: self.served.attempts,
                failures: text(&self.served.failures),
                outcome: self.served.outcome,
                http_status: self.served.http_status,
            },
            timing: self.timing,
            usage: self.usage,
            money: Money {
                input: self.money.input,
                cached: self.money.cached,
                written: self.money.written,
                output: self.money.output,
                reasoning: self.money.reasoning,
                total: self.money.total,
                own_cost: self.money.own_cost,
                dearest: self.money.dearest,
                price_version: text(&self.money.price_version),
            },
        }
    }
}

/// The record as it lies in the journal, layout 1. A change of this struct is a new layout: the
/// segment header names it, and a new binary must still read what an old one left behind.
#[derive(Archive, Serialize)]
pub(crate) struct Frame<'a> {
    entry_high: u64,
    entry_low: u64,
    started_at_us: u64,
    key_id: u64,
    input: u64,
    cached: u64,
    written_5m: u64,
    written_1h: u64,
    output: u64,
    reasoning: u64,
    cost_input: u64,
    cost_cached: u64,
    cost_written: u64,
    cost_output: u64,
    cost_reasoning: u64,
    cost_total: u64,
    own_cost: u64,
    dearest: u64,
    expected_cost: u64,
    difficulty: f32,
    confidence: f32,
    expected_quality: f32,
    expected_latency_us: u32,
    candidates: u32,
    /// `u32::MAX` when there was no content.
    ttft_us: u32,
    duration_us: u32,
    classify_us: u32,
    core: u16,
    http_status: u16,
    /// `u8::MAX` when the classifier was not asked.
    task: u8,
    outcome: u8,
    attempts: u8,
    usage_source: u8,
    stream: bool,
    #[rkyv(with = InlineAsBox)]
    key_name: &'a str,
    #[rkyv(with = InlineAsBox)]
    org: &'a str,
    #[rkyv(with = InlineAsBox)]
    team: &'a str,
    #[rkyv(with = InlineAsBox)]
    project: &'a str,
    #[rkyv(with = InlineAsBox)]
    user: &'a str,
    #[rkyv(with = InlineAsBox)]
    dialect: &'a str,
    #[rkyv(with = InlineAsBox)]
    requested: &'a str,
    #[rkyv(with = InlineAsBox)]
    strategy: &'a str,
    #[rkyv(with = InlineAsBox)]
    classified_by: &'a str,
    #[rkyv(with = InlineAsBox)]
    reason: &'a str,
    #[rkyv(with = InlineAsBox)]
    model: &'a str,
    #[rkyv(with = InlineAsBox)]
    provider: &'a str,
    #[rkyv(with = InlineAsBox)]
    wire_id: &'a str,
    #[rkyv(with = InlineAsBox)]
    price_version: &'a str,
    #[rkyv(with = InlineAsBox)]
    failures: &'a str,
}

/// Number for "no task" in the journal.
const NO_TASK: u8 = u8::MAX;
/// Number for "no first content" in the journal.
const NO_TTFT: u32 = u32::MAX;

/// Writes the record to the start of `out`, which must be aligned to 16 bytes and
/// [`ENCODED_BYTES_MAX`] long, and gives its length. None when it does not fit, which with that
/// length cannot be.
pub(crate) fn encode(record: &RecordRef<'_>, out: &mut [u8]) -> Option<usize> {
    let text = |text| cut(text, TEXT_BYTES_MAX);
    let frame = Frame {
        entry_high: (record.entry >> 64) as u64,
        entry_low: record.entry as u64,
        started_at_us: record.started_at_us,
        key_id: record.who.key_id,
        input: record.usage.input.0,
        cached: record.usage.cached.0,
        written_5m: record.usage.written_5m.0,
        written_1h: record.usage.written_1h.0,
        output: record.usage.output.0,
        reasoning: record.usage.reasoning.0,
        cost_input: record.money.input.0,
        cost_cached: record.money.cached.0,
        cost_written: record.money.written.0,
        cost_output: record.money.output.0,
        cost_reasoning: record.money.reasoning.0,
        cost_total: record.money.total.0,
        own_cost: record.money.own_cost.0,
        dearest: record.money.dearest.0,
        expected_cost: record.decided.expected_cost.0,
        difficulty: record.decided.difficulty,
        confidence: record.decided.confidence,
        expected_quality: record.decided.expected_quality,
        expected_latency_us: record.decided.expected_latency_us,
        candidates: record.decided.candidates,
        ttft_us: record.timing.ttft_us.unwrap_or(NO_TTFT),
        duration_us: record.timing.duration_us,
        classify_us: record.timing.classify_us,
        core: record.core,
        http_status: record.served.http_status,
        task: record.decided.task.map_or(NO_TASK, |task| task as u8),
        outcome: record.served.outcome as u8,
        attempts: record.served.attempts,
        usage_source: record.usage.source as u8,
        stream: record.asked.stream,
        key_name: text(record.who.key_name),
        org: text(record.who.org),
        team: text(record.who.team),
        project: text(record.who.project),
        user: text(record.who.user),
        dialect: text(record.asked.dialect),
        requested: text(record.asked.requested),
        strategy: text(record.asked.strategy),
        classified_by: text(record.decided.classified_by),
        reason: text(record.decided.reason),
        model: text(record.served.model),
        provider: text(record.served.provider),
        wire_id: text(record.served.wire_id),
        price_version: text(record.money.price_version),
        failures: cut(record.served.failures, FAILURES_BYTES_MAX),
    };
    let mut serializer = Serializer::new(Buffer::from(out), (), ());
    rkyv::api::serialize_using::<_, Failure>(&frame, &mut serializer).ok()?;
    Some(serializer.writer.len())
}

/// Reads what [`encode`] wrote; `bytes` must be aligned to 16. None when it is not a record.
pub(crate) fn decode(bytes: &[u8]) -> Option<RecordRef<'_>> {
    let frame = rkyv::access::<ArchivedFrame<'_>, Failure>(bytes).ok()?;
    let ttft_us = frame.ttft_us.to_native();
    Some(Record {
        entry: u128::from(frame.entry_high.to_native()) << 64
            | u128::from(frame.entry_low.to_native()),
        started_at_us: frame.started_at_us.to_native(),
        core: frame.core.to_native(),
        who: Attribution {
            key_id: frame.key_id.to_native(),
            key_name: frame.key_name.get(),
            org: frame.org.get(),
            team: frame.team.get(),
            project: frame.project.get(),
            user: frame.user.get(),
        },
        asked: Asked {
            dialect: frame.dialect.get(),
            requested: frame.requested.get(),
            strategy: frame.strategy.get(),
            stream: frame.stream,
        },
        decided: Decided {
            task: Task::from_index(usize::from(frame.task)),
            difficulty: frame.difficulty.to_native(),
            confidence: frame.confidence.to_native(),
            expected_quality: frame.expected_quality.to_native(),
            expected_cost: PicoUsd(frame.expected_cost.to_native()),
            expected_latency_us: frame.expected_latency_us.to_native(),
            candidates: frame.candidates.to_native(),
            classified_by: frame.classified_by.get(),
            reason: frame.reason.get(),
        },
        served: Served {
            model: frame.model.get(),
            provider: frame.provider.get(),
            wire_id: frame.wire_id.get(),
            attempts: frame.attempts,
            failures: frame.failures.get(),
            outcome: Outcome::from_index(frame.outcome),
            http_status: frame.http_status.to_native(),
        },
        timing: Timing {
            ttft_us: (ttft_us != NO_TTFT).then_some(ttft_us),
            duration_us: frame.duration_us.to_native(),
            classify_us: frame.classify_us.to_native(),
        },
        usage: Usage {
            input: Tokens(frame.input.to_native()),
            cached: Tokens(frame.cached.to_native()),
            written_5m: Tokens(frame.written_5m.to_native()),
            written_1h: Tokens(frame.written_1h.to_native()),
            output: Tokens(frame.output.to_native()),
            reasoning: Tokens(frame.reasoning.to_native()),
            source: usage_source(frame.usage_source),
        },
        money: Money {
            input: PicoUsd(frame.cost_input.to_native()),
            cached: PicoUsd(frame.cost_cached.to_native()),
            written: PicoUsd(frame.cost_written.to_native()),
            output: PicoUsd(frame.cost_output.to_native()),
            reasoning: PicoUsd(frame.cost_reasoning.to_native()),
            total: PicoUsd(frame.cost_total.to_native()),
            own_cost: PicoUsd(frame.own_cost.to_native()),
            dearest: PicoUsd(frame.dearest.to_native()),
            price_version: frame.price_version.get(),
        },
    })
}

/// Whether every sum of money and every count fits a signed 64-bit column.
pub(crate) fn fits_columns(record: &RecordRef<'_>) -> bool {
    let money = &record.money;
    let usage = &record.usage;
    // One OR over all instead of many comparisons: only the top bit matters.
    let all = money.input.0
        | money.cached.0
        | money.written.0
        | money.output.0
        | money.reasoning.0
        | money.total.0
        | money.own_cost.0
        | money.dearest.0
        | record.decided.expected_cost.0
        | usage.input.0
        | usage.cached.0
        | usage.written_5m.0
        | usage.written_1h.0
        | usage.output.0
        | usage.reasoning.0
        | record.who.key_id
        | record.started_at_us;
    all <= MONEY_MAX.0
}

/// The counter with that number in the journal and in the table.
pub(crate) fn usage_source(index: u8) -> UsageSource {
    if index == UsageSource::Provider as u8 {
        UsageSource::Provider
    } else {
        UsageSource::Estimated
    }
}

/// The start of `text` that is at most `bytes_max` long and ends between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rkyv::util::AlignedVec;

    /// A record in which every field has a value of its own, so that a swapped pair shows.
    pub(crate) fn sample(n: u64) -> Record {
        Record {
            entry: u128::from(n) << 64 | 7,
            started_at_us: 1_790_000_000_000_000 + n,
            core: 3,
            who: Attribution {
                key_id: 42,
                key_name: "laptop".into(),
                org: "acme".into(),
                team: "search".into(),
                project: "ranking".into(),
                user: "u-17".into(),
            },
            asked: Asked {
                dialect: "openai_chat".into(),
                requested: "auto:cost".into(),
                strategy: "cost".into(),
                stream: true,
            },
            decided: Decided {
                task: Some(Task::Math),
                difficulty: 0.25,
                confidence: 0.75,
                expected_quality: 0.5,
                expected_cost: PicoUsd(11),
                expected_latency_us: 12,
                candidates: 13,
                classified_by: "model".into(),
                reason: "cheapest_good".into(),
            },
            served: Served {
                model: "lab/model".into(),
                provider: "vendor".into(),
                wire_id: "model-2026".into(),
                attempts: 2,
                failures: "other:http_429".into(),
                outcome: Outcome::Complete,
                http_status: 200,
            },
            timing: Timing {
                ttft_us: Some(150_000 + n as u32 % 1000),
                duration_us: 900_000,
                classify_us: 40,
            },
            usage: Usage {
                input: Tokens(1000 + n),
                cached: Tokens(300),
                written_5m: Tokens(200),
                written_1h: Tokens(100),
                output: Tokens(50),
                reasoning: Tokens(20),
                source: UsageSource::Provider,
            },
            money: Money {
                input: PicoUsd(21),
                cached: PicoUsd(22),
                written: PicoUsd(23),
                output: PicoUsd(24),
                reasoning: PicoUsd(25),
                total: PicoUsd(115),
                own_cost: PicoUsd(116),
                dearest: PicoUsd(9000 + n),
                price_version: "v-abc".into(),
            },
        }
    }

    fn round_trip(record: &RecordRef<'_>) -> Record {
        let mut bytes = AlignedVec::<16>::new();
        bytes.resize(ENCODED_BYTES_MAX, 0);
        let length = encode(record, &mut bytes).expect("a bounded record fits");
        decode(&bytes[..length]).expect("what was written reads").to_owned_texts()
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        for record in [sample(5), Record::default()] {
            assert_eq!(round_trip(&record.borrowed()), record);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters_and_still_fit() {
        let long = "ü".repeat(5_000);
        let record = sample(1);
        let all_long = record.map_texts(|_| long.as_str());
        let back = round_trip(&all_long);
        assert_eq!(back.asked.requested, "ü".repeat(TEXT_BYTES_MAX / 2));
        assert_eq!(back.served.failures, "ü".repeat(FAILURES_BYTES_MAX / 2));
    }

    #[test]
    fn outcomes_keep_their_numbers() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
            assert_eq!(Outcome::from_index(index as u8), outcome);
        }
        assert_eq!(Outcome::from_index(200), Outcome::Unknown);
    }
}

//! Counts and distributions of one run, and how they are told.
//!
//! Latencies count from the moment a request was due, not from the moment it was sent: a request
//! that waits because the target stands still has waited, whoever held it back. Without that, a
//! target that freezes for a second shows one slow request in place of a thousand ("coordinated
//! omission"). The uncorrected time is kept beside it as `service`.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::judge::{Failure, Seen};

/// Longest time that is told apart: ten minutes, in microseconds.
const TIME_MAX_US: u64 = 600_000_000;
const DIGITS: u8 = 3;
/// Models that are told apart.
const MODELS_MAX: usize = 1000;

/// One request from due to over, in microseconds of one clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// When it was to be sent.
    pub due: u64,
    /// When it was.
    pub sent: u64,
    /// When it was over.
    pub over: u64,
}

/// Gathers a run.
#[derive(Debug)]
pub(crate) struct Recorder {
    latency: Histogram<u64>,
    service: Histogram<u64>,
    lateness: Histogram<u64>,
    ttft: Histogram<u64>,
    gap: Histogram<u64>,
    errors: BTreeMap<Failure, u64>,
    models: BTreeMap<String, u64>,
    completed: u64,
    chunks: u64,
    bytes_in: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        let histogram = || {
            Histogram::new_with_max(TIME_MAX_US, DIGITS).expect("the bounds are constants and fit")
        };
        Recorder {
            latency: histogram(),
            service: histogram(),
            lateness: histogram(),
            ttft: histogram(),
            gap: histogram(),
            errors: BTreeMap::new(),
            models: BTreeMap::new(),
            completed: 0,
            chunks: 0,
            bytes_in: 0,
            prompt_tokens: 0,
            completion_tokens: 0,
        }
    }

    /// An answer that is whole.
    pub(crate) fn complete(&mut self, times: Times, seen: &Seen, model: &[u8]) {
        self.time(times);
        let model = String::from_utf8_lossy(model);
        // Names come from outside: above the limit only the sum is told.
        let may_add = self.models.len() < MODELS_MAX;
        if let Some(count) = self.models.get_mut(&*model) {
            *count += 1;
        } else if may_add {
            self.models.insert(model.into_owned(), 1);
        }
        self.completed += 1;
        self.chunks += u64::from(seen.chunks);
        self.bytes_in += seen.bytes;
        self.prompt_tokens += seen.prompt_tokens;
        self.completion_tokens += seen.completion_tokens;
        if let Some(first) = seen.first_us {
            self.ttft.saturating_record(first.saturating_sub(times.due));
        }
    }

    /// A request that failed. Its time counts: a time-out that left the distribution would make a
    /// slow target look fast.
    pub(crate) fn failed(&mut self, times: Times, failure: Failure) {
        self.time(times);
        *self.errors.entry(failure).or_default() += 1;
    }

    /// A request that was due and never sent had waited until now at least.
    pub(crate) fn unsent(&mut self, due: u64, now: u64) {
        self.latency.saturating_record(now.saturating_sub(due));
        *self.errors.entry(Failure::Unsent).or_default() += 1;
    }

    /// Time between two content events of a stream.
    pub(crate) fn gap(&mut self, gap_us: u64) {
        self.gap.saturating_record(gap_us);
    }

    fn time(&mut self, times: Times) {
        self.latency.saturating_record(times.over.saturating_sub(times.due));
        self.service.saturating_record(times.over.saturating_sub(times.sent));
        self.lateness.saturating_record(times.sent.saturating_sub(times.due));
    }

    /// The run in figures; `seconds` and `cpu_us` are of its measured part.
    pub(crate) fn report(&self, seconds: f64, cpu_us: u64) -> Report {
        let failed: u64 = self.errors.values().sum();
        let requests = (self.completed + failed).max(1);
        Report {
            seconds,
            completed: self.completed,
            failed,
            errors: self.errors.iter().map(|(kind, count)| (kind.name(), *count)).collect(),
            models: self.models.clone(),
            requests_per_s: self.completed as f64 / seconds,
            chunks: self.chunks,
            chunks_per_s: self.chunks as f64 / seconds,
            bytes_in: self.bytes_in,
            latency: Summary::of(&self.latency),
            service: Summary::of(&self.service),
            lateness: Summary::of(&self.lateness),
            ttft: Summary::of(&self.ttft),
            gap: Summary::of(&self.gap),
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            generator_cpu_s: cpu_us as f64 / 1e6,
            generator_cpu_us_per_request: cpu_us as f64 / requests as f64,
        }
    }
}

/// A run in figures. Times are microseconds; everything is of the measured part, without warm-up.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Length of the measured part.
    pub seconds: f64,
    /// Answers that were whole and in order.
    pub completed: u64,
    /// All others.
    pub failed: u64,
    /// The others by kind.
    pub errors: BTreeMap<String, u64>,
    /// Whole answers by the model that they name.
    pub models: BTreeMap<String, u64>,
    /// Whole answers per second.
    pub requests_per_s: f64,
    /// Events with text in whole streams.
    pub chunks: u64,
    /// The same per second.
    pub chunks_per_s: f64,
    /// Bytes of whole answers, heads included.
    pub bytes_in: u64,
    /// From when a request was due until it was over (corrected for coordinated omission). In a
    /// run without a rate nothing is due, and this equals `service`.
    pub latency: Summary,
    /// From when it was sent until it was over (not corrected).
    pub service: Summary,
    /// How late requests were sent.
    pub lateness: Summary,
    /// From when a request was due until its first content.
    pub ttft: Summary,
    /// Between content events of a stream; events that came in one read count 0.
    pub gap: Summary,
    /// Sum of the `prompt_tokens` that whole answers reported.
    pub prompt_tokens: u64,
    /// Sum of their `completion_tokens`.
    pub completion_tokens: u64,
    /// CPU time of the generator's thread.
    pub generator_cpu_s: f64,
    /// The same per request.
    pub generator_cpu_us_per_request: f64,
}

/// A distribution in a few figures, microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// Least.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90 of 100 are not above it.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p999: u64,
    /// Greatest.
    pub max: u64,
}

impl Summary {
    fn of(histogram: &Histogram<u64>) -> Summary {
        Summary {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that takes 1 ms per request, one at a time, and freezes once for a second; requests
    /// are due every 2 ms over ten seconds.
    fn frozen_once(freeze_us: u64) -> Recorder {
        let (mut recorder, mut free_at) = (Recorder::new(), 0);
        for due in (0..10_000_000).step_by(2_000) {
            let sent = free_at.max(due);
            let freeze = if due == 4_000_000 { freeze_us } else { 0 };
            free_at = sent + 1_000 + freeze;
            let over = free_at;
            let seen = Seen::default();
            recorder.complete(Times { due, sent, over }, &seen, b"m");
        }
        recorder
    }

    #[test]
    fn a_frozen_target_shows_in_the_corrected_times_and_hides_in_the_others() {
        // The queue of 500 drains at 1 ms a request while one more comes every 2 ms: requests due
        // within two seconds of the freeze are late, in a straight line from 1 s down to 0.
        let table = [
            // (freeze µs, slower than, corrected count, uncorrected count)
            (0, 1_500, 0, 0),
            (1_000_000, 1_500, 1_000, 1),
            (1_000_000, 501_500, 500, 1),
            (1_000_000, 901_500, 100, 1),
        ];
        for (freeze, limit, corrected, uncorrected) in table {
            let recorder = frozen_once(freeze);
            let above = |h: &Histogram<u64>| h.len() - h.count_between(0, limit);
            let close = above(&recorder.latency).abs_diff(corrected) <= corrected / 50 + 1;
            assert!(close, "{limit}: {}", above(&recorder.latency));
            assert_eq!(above(&recorder.service), uncorrected, "{limit}");
        }
        let report = frozen_once(1_000_000).report(10.0, 0);
        assert!(report.latency.p99 > 900_000 && report.service.p99 < 1_100);
    }

    #[test]
    fn requests_never_sent_stay_in_the_picture() {
        let mut recorder = Recorder::new();
        recorder.complete(Times { due: 0, sent: 0, over: 10 }, &Seen::default(), b"m");
        recorder.unsent(5, 1_000_005);
        let report = recorder.report(1.0, 0);
        assert_eq!((report.completed, report.failed), (1, 1));
        assert_eq!(report.errors.get("unsent"), Some(&1));
        assert!(report.latency.max >= 999_000);
    }
}

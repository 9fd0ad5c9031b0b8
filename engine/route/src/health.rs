//! The health of one offer, as a state machine over what its attempts came to.
//!
//! In: outcomes with a `now` in microseconds of a monotonic clock that all cores share. Out: whether
//! it may be tried ([`Gate`]), and how fast and reliable it is. Never: a clock, a lock, an
//! allocation; it is plain data, so that a copy is a snapshot.
//!
//! ```text
//!            5 in a row, or half of 20 in 30 s           wait is over, one attempt
//!   Closed ───────────────────────────────────▶ Open ─────────────────────────────▶ HalfOpen
//!     ▲                                           ▲                                    │
//!     │                                           └──── it fails; the wait doubles ────┤
//!     └──────────────────────────── three in a row succeed ────────────────────────────┘
//! ```
//!
//! Beside the breaker, and told apart from it, stands the cool-down: the provider itself said that
//! it wants no more for a while (429, 503 with `Retry-After`, a refused credential).

const SECOND_US: u64 = 1_000_000;

/// Consecutive failures that open the breaker.
pub(crate) const OPEN_AFTER_CONSECUTIVE: u16 = 5;
/// Attempts in the window before a share of failures opens it.
const WINDOW_ATTEMPTS_MIN: u32 = 20;
/// Share of failures in the window that opens it, in percent.
const WINDOW_FAILURES_PERCENT: u32 = 50;
/// Length of one sixth of the window; a count is forgotten in steps of it.
const WINDOW_BUCKET_US: u64 = 5 * SECOND_US;
const WINDOW_BUCKETS: usize = 6;
/// First wait of an open breaker; it doubles with each probe that fails.
const OPEN_FIRST_US: u64 = 10 * SECOND_US;
const OPEN_MAX_US: u64 = 300 * SECOND_US;
/// Successes in a row that close a half-open breaker.
const CLOSE_AFTER: u8 = 3;
/// A probe that has not come back by then is given up, so that a lost one blocks nothing for ever.
const PROBE_MAX_US: u64 = 60 * SECOND_US;
/// While nothing else is left, one request in this time tries an offer that rests.
const LAST_RESORT_US: u64 = SECOND_US;
/// Cool-down after a 429 that names no time; it doubles with each in a row.
const COOL_FIRST_US: u64 = SECOND_US;
const COOL_MAX_US: u64 = 60 * SECOND_US;
/// The longest `Retry-After` that is believed.
const RETRY_AFTER_MAX_US: u64 = 3_600 * SECOND_US;
/// How long an offer rests whose credential was refused. A new credential comes with a new
/// snapshot; this is for what is mended at the provider.
const CREDENTIAL_US: u64 = 300 * SECOND_US;
/// Weight of a new measurement once there are many.
const EWMA_WEIGHT_MIN: f32 = 0.1;
/// Measurements beyond this count no more when findings of two cores meet.
const SAMPLES_MAX: u32 = 64;
/// The half-lives of an error rate and of a latency that nothing new confirms: a target that was
/// bad an hour ago deserves to be tried.
const ERROR_HALF_LIFE_US: f32 = 60e6;
const LATENCY_HALF_LIFE_US: f32 = 600e6;

/// How far a host's own measurements may move the priors of what it has not measured.
const SCALE_MIN: f32 = 0.001;
const SCALE_MAX: f32 = 4.0;

/// What went wrong with an attempt, as far as the health of its target is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection: refused, reset, unreachable, name or TLS failure, or too slow.
    Connect,
    /// No head, no content or no next byte in time.
    Timeout,
    /// 5xx other than overload, and 408.
    Server,
    /// 503 or 529, with the provider's `Retry-After` in microseconds if it gave one.
    Overloaded {
        /// How long it asks us to wait.
        retry_after_us: Option<u64>,
    },
    /// Bytes that make no answer: broken HTTP, wrong status, cut or empty body.
    Protocol,
    /// A stream that broke off.
    Interrupted,
    /// 401, 402 or 403: our credential was refused. Counts for no breaker; the offer rests.
    Credential,
}

/// Whether an offer may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Yes,
    /// One attempt may, to see whether it works again.
    Probe,
    /// It may not, before then (microseconds).
    No {
        /// The earliest time.
        until: u64,
    },
}

/// Latency that is assumed before anything was measured, and approached again when nothing is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// Time to the first content byte in microseconds.
    pub ttft_us: f32,
    /// Microseconds per output token after it.
    pub us_per_token: f32,
}

impl Prior {
    /// A hosted model of middle size: 0.8 s to the first token, then 60 tokens a second.
    pub const HOSTED: Prior = Prior { ttft_us: 800_000.0, us_per_token: 16_667.0 };
}

impl Prior {
    /// The prior where everything differs from what was assumed by these factors.
    pub(crate) fn scaled(self, scale: Scale) -> Prior {
        Prior {
            ttft_us: self.ttft_us * scale.ttft.clamp(SCALE_MIN, SCALE_MAX),
            us_per_token: self.us_per_token * scale.pace.clamp(SCALE_MIN, SCALE_MAX),
        }
    }
}

/// Measured latency over assumed latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// Of the time to the first content byte.
    pub(crate) ttft: f32,
    /// Of the time per token.
    pub(crate) pace: f32,
}

impl Default for Prior {
    fn default() -> Prior {
        Prior::HOSTED
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaker {
    Closed,
    Open {
        until: u64,
    },
    /// `probe_until` is when the attempt under way is given up; 0 with none under way.
    HalfOpen {
        successes: u8,
        probe_until: u64,
    },
}

/// Everything known about one offer's health.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Health {
    breaker: Breaker,
    /// When the breaker last changed, on whichever core.
    changed_at: u64,
    /// Times it opened without closing in between.
    openings: u8,
    failures_in_a_row: u16,
    window: Window,
    cool_until: u64,
    cool_downs_in_a_row: u8,
    last_resort_at: u64,
    ttft_us: f32,
    us_per_token: f32,
    error: f32,
    samples: u32,
}

/// What one core tells the others about an offer: four words, each of which makes sense by itself,
/// so that they can be read from atomics while another core writes them.
pub type HealthWords = [u64; 4];

impl Health {
    /// An offer of which nothing was measured.
    pub fn new(prior: Prior) -> Health {
        Health {
            breaker: Breaker::Closed,
            changed_at: 0,
            openings: 0,
            failures_in_a_row: 0,
            window: Window::default(),
            cool_until: 0,
            cool_downs_in_a_row: 0,
            last_resort_at: 0,
            ttft_us: prior.ttft_us,
            us_per_token: prior.us_per_token,
            error: 0.0,
            samples: 0,
        }
    }

    /// Whether it may be tried.
    pub fn admits(&self, now: u64) -> Gate {
        let until = self.admits_from();
        if until > now {
            return Gate::No { until };
        }
        match self.breaker {
            Breaker::Closed => Gate::Yes,
            Breaker::Open { .. } | Breaker::HalfOpen { .. } => Gate::Probe,
        }
    }

    /// From when on [`Health::admits`] says other than no; 0 if it has nothing against it.
    pub fn admits_from(&self) -> u64 {
        let breaker = match self.breaker {
            Breaker::Closed => 0,
            Breaker::Open { until } => until,
            Breaker::HalfOpen { probe_until, .. } => probe_until,
        };
        breaker.max(self.cool_until)
    }

    /// Whether it may be tried although it rests, because nothing else is left: one request a
    /// second may, unless a probe is under way.
    pub fn admits_as_last_resort(&self, now: u64) -> bool {
        let probing =
            matches!(self.breaker, Breaker::HalfOpen { probe_until, .. } if probe_until > now);
        !probing && now >= self.last_resort_at.saturating_add(LAST_RESORT_US)
    }

    /// Takes the place for an attempt, of which the plan said whether it is a `probe`. False if it
    /// may not be made any more: the offer has failed, or another request probes it, since then.
    pub fn on_start(&mut self, now: u64, probe: bool) -> bool {
        match self.admits(now) {
            Gate::Yes => true,
            Gate::Probe => {
                let successes = match self.breaker {
                    Breaker::HalfOpen { successes, .. } => successes,
                    Breaker::Closed | Breaker::Open { .. } => 0,
                };
                let probe_until = now + PROBE_MAX_US;
                self.change(now, Breaker::HalfOpen { successes, probe_until });
                true
            }
            Gate::No { .. } if probe && self.admits_as_last_resort(now) => {
                self.last_resort_at = now.max(1);
                true
            }
            Gate::No { .. } => false,
        }
    }

    /// The attempt ended without telling anything about the target: the client left, the request
    /// itself was refused. Gives the probe's place back.
    pub fn on_abandoned(&mut self, now: u64) {
        if let Breaker::HalfOpen { successes, probe_until } = self.breaker
            && probe_until != 0
        {
            self.change(now, Breaker::HalfOpen { successes, probe_until: 0 });
        }
    }

    /// A complete answer: time to its first content byte, time in all, tokens of output.
    pub fn on_success(&mut self, now: u64, ttft_us: u32, duration_us: u32, output_tokens: u32) {
        self.failures_in_a_row = 0;
        self.cool_downs_in_a_row = 0;
        self.window.add(now, false);
        let weight = self.next_weight();
        blend(&mut self.error, 0.0, weight);
        blend(&mut self.ttft_us, ttft_us as f32, weight);
        // A short answer tells the length of a network packet, not the pace of a model.
        if output_tokens >= 8 {
            let pace = duration_us.saturating_sub(ttft_us) as f32 / output_tokens as f32;
            blend(&mut self.us_per_token, pace, weight);
        }
        match self.breaker {
            Breaker::Closed => {}
            // An attempt from before it opened, or a last resort, worked: as good as a probe.
            Breaker::Open { .. } => {
                self.change(now, Breaker::HalfOpen { successes: 1, probe_until: 0 })
            }
            Breaker::HalfOpen { successes, .. } if successes + 1 >= CLOSE_AFTER => self.close(now),
            Breaker::HalfOpen { successes, .. } => {
                let successes = successes + 1;
                self.change(now, Breaker::HalfOpen { successes, probe_until: 0 });
            }
        }
    }

    /// A failed attempt. `may_open` is false while as many equal targets as may be are open by
    /// statistics: then this one stays closed, so that a fault on our side cannot lock out all.
    pub fn on_failure(&mut self, now: u64, kind: FailureKind, may_open: bool) {
        match kind {
            FailureKind::Credential => {
                self.cool_until = self.cool_until.max(now + CREDENTIAL_US);
                return self.on_abandoned(now);
            }
            FailureKind::Overloaded { retry_after_us: Some(wait) } => {
                self.cool_until = self.cool_until.max(now + wait.min(RETRY_AFTER_MAX_US));
            }
            FailureKind::Overloaded { retry_after_us: None }
            | FailureKind::Connect
            | FailureKind::Timeout
            | FailureKind::Server
            | FailureKind::Protocol
            | FailureKind::Interrupted => {}
        }
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.window.add(now, true);
        let weight = self.next_weight();
        blend(&mut self.error, 1.0, weight);
        let trips = match self.breaker {
            Breaker::Closed => may_open && self.is_failing(now),
            // A failure of before it opened tells nothing new.
            Breaker::Open { .. } => false,
            Breaker::HalfOpen { .. } => true,
        };
        if trips {
            self.open(now);
        }
    }

    /// A 429, with the provider's `Retry-After` in microseconds if it gave one. No failure: the
    /// target works, for others.
    pub fn on_rate_limited(&mut self, now: u64, retry_after_us: Option<u64>) {
        let wait = match retry_after_us {
            Some(wait) => wait.min(RETRY_AFTER_MAX_US),
            None => doubled(COOL_FIRST_US, self.cool_downs_in_a_row, COOL_MAX_US),
        };
        // Answers to requests that were under way together are one refusal, not many.
        if self.cool_until <= now {
            self.cool_downs_in_a_row = self.cool_downs_in_a_row.saturating_add(1);
        }
        self.cool_until = self.cool_until.max(now + wait);
        self.on_abandoned(now);
    }

    /// Whether statistics hold it open or half-open.
    pub fn is_open(&self) -> bool {
        self.breaker != Breaker::Closed
    }

    /// Name of the breaker's state, for metrics: `closed`, `open`, `half_open`.
    pub fn breaker_name(&self) -> &'static str {
        match self.breaker {
            Breaker::Closed => "closed",
            Breaker::Open { .. } => "open",
            Breaker::HalfOpen { .. } => "half_open",
        }
    }

    /// Until when the provider wants no more (microseconds); 0 if it never said so.
    pub fn cool_until(&self) -> u64 {
        self.cool_until
    }

    /// Expected time to the first content byte, in microseconds.
    pub fn ttft_us(&self) -> f32 {
        self.ttft_us
    }

    /// Expected microseconds per output token after the first.
    pub fn us_per_token(&self) -> f32 {
        self.us_per_token
    }

    /// Share of attempts that come through, 0.02 to 1: nobody is given up for good.
    pub fn availability(&self) -> f32 {
        (1.0 - self.error).clamp(0.02, 1.0)
    }

    /// Whether a complete answer has been seen.
    pub(crate) fn is_measured(&self) -> bool {
        self.samples > 0
    }

    /// Moves what nothing confirmed for `elapsed_us` back to the prior; without any measurement the
    /// prior is all there is.
    pub fn relax(&mut self, elapsed_us: u64, prior: Prior) {
        if self.samples == 0 {
            (self.ttft_us, self.us_per_token) = (prior.ttft_us, prior.us_per_token);
        }
        if self.samples == 0 && self.error == 0.0 {
            return;
        }
        let elapsed = elapsed_us as f32;
        let forget = |half_life: f32| 1.0 - (-elapsed / half_life).exp2();
        blend(&mut self.error, 0.0, forget(ERROR_HALF_LIFE_US));
        blend(&mut self.ttft_us, prior.ttft_us, forget(LATENCY_HALF_LIFE_US));
        blend(&mut self.us_per_token, prior.us_per_token, forget(LATENCY_HALF_LIFE_US));
    }

    /// What other cores should know.
    pub fn pack(&self) -> HealthWords {
        // State and time in one word, so that no reader sees one without the other. Milliseconds
        // in 40 bits last 34 years, tenths of a second in 16 bits 109 minutes.
        let (state, until) = match self.breaker {
            Breaker::Closed => (0u64, 0),
            Breaker::Open { until } => (1, until),
            Breaker::HalfOpen { probe_until, .. } => (2, probe_until),
        };
        let wait = until.saturating_sub(self.changed_at).div_ceil(100_000).min(0xffff);
        let breaker = ((self.changed_at / 1_000) << 24)
            | wait << 8
            | u64::from(self.openings.min(63)) << 2
            | state;
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        [
            breaker,
            self.cool_until,
            pair(self.ttft_us.to_bits(), self.us_per_token.to_bits()),
            pair(self.error.to_bits(), self.samples),
        ]
    }

    /// Takes in what another core found: the newer breaker, the later cool-down, the mean of the
    /// measurements. `may_open` is as in [`Health::on_failure`]. Own words taken in change nothing.
    pub fn absorb(&mut self, words: HealthWords, may_open: bool) {
        let [breaker, cool_until, pace, reliability] = words;
        let changed_at = (breaker >> 24) * 1_000;
        if changed_at / 1_000 > self.changed_at / 1_000 {
            let until = changed_at + (breaker >> 8 & 0xffff) * 100_000;
            let theirs = match breaker & 3 {
                0 => Some(Breaker::Closed),
                // Somebody else's probe is a wait for us.
                1 | 2 => (may_open || self.is_open()).then_some(Breaker::Open { until }),
                _ => None,
            };
            if let Some(theirs) = theirs {
                if theirs == Breaker::Closed && self.is_open() {
                    self.failures_in_a_row = 0;
                    self.window = Window::default();
                }
                self.breaker = theirs;
                self.openings = (breaker >> 2 & 63) as u8;
                self.changed_at = changed_at;
            }
        }
        self.cool_until = self.cool_until.max(cool_until);

        let samples = (reliability as u32).min(SAMPLES_MAX);
        if samples == 0 {
            return;
        }
        let weight = samples as f32 / (samples + self.samples) as f32;
        let take = |own: &mut f32, bits: u64| {
            let theirs = f32::from_bits(bits as u32);
            // A torn or foreign word must not spread a NaN over all cores.
            if theirs.is_finite() && theirs >= 0.0 {
                blend(own, theirs, weight);
            }
        };
        take(&mut self.ttft_us, pace >> 32);
        take(&mut self.us_per_token, pace);
        take(&mut self.error, reliability >> 32);
        self.error = self.error.min(1.0);
        self.samples = self.samples.max(samples);
    }

    fn is_failing(&self, now: u64) -> bool {
        let (attempts, failures) = self.window.counts(now);
        self.failures_in_a_row >= OPEN_AFTER_CONSECUTIVE
            || attempts >= WINDOW_ATTEMPTS_MIN
                && failures * 100 >= attempts * WINDOW_FAILURES_PERCENT
    }

    fn open(&mut self, now: u64) {
        let wait = doubled(OPEN_FIRST_US, self.openings, OPEN_MAX_US);
        self.openings = self.openings.saturating_add(1);
        self.change(now, Breaker::Open { until: now + wait });
    }

    fn close(&mut self, now: u64) {
        self.openings = 0;
        self.window = Window::default();
        self.change(now, Breaker::Closed);
    }

    fn change(&mut self, now: u64, breaker: Breaker) {
        self.breaker = breaker;
        self.changed_at = now;
    }

    /// The prior counts as one measurement, and the first ones weigh more than those after many.
    fn next_weight(&mut self) -> f32 {
        self.samples = (self.samples + 1).min(SAMPLES_MAX);
        (1.0 / (self.samples + 1) as f32).max(EWMA_WEIGHT_MIN)
    }
}

fn blend(value: &mut f32, new: f32, weight: f32) {
    *value += (new - *value) * weight;
}

/// `first`, doubled `times` times, at most `most`.
fn doubled(first: u64, times: u8, most: u64) -> u64 {
    first.saturating_mul(1 << times.min(32)).min(most)
}

/// Attempts and failures of the last 30 seconds, in six buckets of five.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    attempts: [u16; WINDOW_BUCKETS],
    failures: [u16; WINDOW_BUCKETS],
    /// Number of the newest bucket since the clock's zero.
    newest: u64,
}

impl Window {
    fn add(&mut self, now: u64, failed: bool) {
        let bucket = now / WINDOW_BUCKET_US;
        let passed = bucket.saturating_sub(self.newest).min(WINDOW_BUCKETS as u64);
        for step in 0..passed {
            let stale = ((bucket - step) % WINDOW_BUCKETS as u64) as usize;
            self.attempts[stale] = 0;
            self.failures[stale] = 0;
        }
        self.newest = self.newest.max(bucket);
        let here = (self.newest % WINDOW_BUCKETS as u64) as usize;
        self.attempts[here] = self.attempts[here].saturating_add(1);
        self.failures[here] = self.failures[here].saturating_add(u16::from(failed));
    }

    fn counts(&self, now: u64) -> (u32, u32) {
        let bucket = now / WINDOW_BUCKET_US;
        let live = (0..WINDOW_BUCKETS as u64)
            .filter_map(|age| self.newest.checked_sub(age))
            .filter(|number| number + (WINDOW_BUCKETS as u64) > bucket)
            .map(|number| (number % WINDOW_BUCKETS as u64) as usize);
        live.fold((0, 0), |(attempts, failures), at| {
            (attempts + u32::from(self.attempts[at]), failures + u32::from(self.failures[at]))
        })
    }
}

#[cfg(test)]
mod tests;

//! What a model costs, and where it may therefore run.
//!
//! In: a session, and the probes of its folder. Out: microseconds per verdict over these and over
//! texts of all lengths and several scripts, excerpt included. The time of a text is the lower quartile
//! of several rounds, so that what else runs on the machine does not count. Never: a text of a client.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::manifest::Probe;
use crate::{ClassifierError, CoreClassifier, Excerpt, Input, Structure};

/// Slowest p99 of a model that runs on the core of the connections: others wait that long.
pub const INLINE_US_MAX: f32 = 200.0;
/// How often each text is judged, where time allows.
const ROUNDS: usize = 9;
/// No further round is begun after this time.
const MEASURE_TIME: Duration = Duration::from_millis(200);

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// On the core that has the connection: nothing is handed over.
    Inline,
    /// On threads of its own, behind a queue.
    Threads,
}

impl Placement {
    /// The name in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Placement::Inline => "inline",
            Placement::Threads => "threads",
        }
    }
}

/// Microseconds per verdict; percentiles are over texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Of the middle text.
    pub p50_us: f32,
    /// Of the slowest texts but one in a hundred.
    pub p99_us: f32,
    /// Texts that were judged.
    pub texts: usize,
    /// How often each.
    pub rounds: usize,
    /// By length of the text.
    pub by_length: Vec<LengthSpeed>,
}

/// [`Speed`] for texts of some length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthSpeed {
    /// Bytes from which on, before the excerpt is cut.
    pub bytes_from: usize,
    /// Of the middle text.
    pub p50_us: f32,
    /// Of the slowest texts but one in a hundred.
    pub p99_us: f32,
    /// Texts that were judged.
    pub texts: usize,
}

/// Where each class of lengths begins, in bytes.
const LENGTHS: [usize; 5] = [0, 80, 300, 1200, 10_000];

impl Speed {
    /// Where a model of this speed runs: inline up to [`INLINE_US_MAX`].
    pub fn placement(&self) -> Placement {
        if self.p99_us <= INLINE_US_MAX { Placement::Inline } else { Placement::Threads }
    }

    /// Refuses a model that is too slow for `placement`.
    pub fn must_fit(&self, placement: Placement) -> Result<(), ClassifierError> {
        match (placement, self.placement()) {
            (Placement::Inline, Placement::Threads) => {
                Err(ClassifierError::TooSlow { found_us: self.p99_us, most_us: INLINE_US_MAX })
            }
            _ => Ok(()),
        }
    }
}

/// Measures a session. It takes up to some hundred milliseconds, longer where one round does.
pub(crate) fn measure(core: &mut CoreClassifier, probes: &[Probe]) -> Speed {
    let texts = texts(probes);
    let mut excerpt = Excerpt::default();
    let mut times = vec![Vec::with_capacity(ROUNDS); texts.len()];
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS && (rounds == 0 || begun.elapsed() < MEASURE_TIME) {
        for (text, times) in texts.iter().zip(&mut times) {
            let started = Instant::now();
            let text = excerpt.build(None, text);
            let classified = core.classify(&Input { text, structure: Structure::default() });
            std::hint::black_box(&classified);
            times.push(started.elapsed().as_nanos() as f32 / 1e3);
        }
        rounds += 1;
    }
    let quartile = |mut times: Vec<f32>| {
        times.sort_unstable_by(f32::total_cmp);
        times.get(times.len() / 4).copied().unwrap_or(f32::INFINITY)
    };
    let times: Vec<(usize, f32)> =
        texts.iter().map(String::len).zip(times.into_iter().map(quartile)).collect();
    let of = |from: usize, below: usize| {
        let within = times.iter().filter(|(bytes, _)| (from..below).contains(bytes));
        let mut sorted: Vec<f32> = within.map(|(_, us)| *us).collect();
        sorted.sort_unstable_by(f32::total_cmp);
        sorted
    };
    let at = |sorted: &[f32], share: f32| {
        let index = (sorted.len().saturating_sub(1) as f32 * share) as usize;
        sorted.get(index).copied().unwrap_or(0.0)
    };
    let ends = LENGTHS.into_iter().skip(1).chain([usize::MAX]);
    let by_length = LENGTHS.into_iter().zip(ends).map(|(bytes_from, below)| {
        let us = of(bytes_from, below);
        LengthSpeed { bytes_from, p50_us: at(&us, 0.5), p99_us: at(&us, 0.99), texts: us.len() }
    });
    let by_length = by_length.filter(|length| length.texts > 0).collect();
    let all = of(0, usize::MAX);
    Speed { p50_us: at(&all, 0.5), p99_us: at(&all, 0.99), texts: all.len(), rounds, by_length }
}

/// The probes, and texts of all lengths in which tokens are words, marks, or single characters.
fn texts(probes: &[Probe]) -> Vec<String> {
    const SAMPLES: [&str; 6] = [
        "Please look at the following notes and tell me what was decided about the budget. ",
        "let total = rows.iter().map(|row| row.price * row.count).sum::<f64>(); // sum\n",
        "请看下面的会议记录，并告诉我关于预算做了什么决定。",
        "Пожалуйста, посмотрите эти заметки и скажите, что решили о бюджете. ",
        "| 2024-03-01 | north | 1,204.50 | 17 % |\n",
        "https://example.org/a?b=c&d=%20e {\"k\": [1, 2, {\"x\": null}]} $\\alpha^2$ ",
    ];
    let mut texts: Vec<String> = probes.iter().map(|probe| probe.text.clone()).collect();
    for bytes in [40, 200, 800, 2_000, 40_000, 1_000_000] {
        for sample in SAMPLES {
            let mut text = sample.repeat(bytes / sample.len() + 1);
            text.truncate(text.floor_char_boundary(bytes));
            texts.push(text);
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(p99_us: f32) -> Speed {
        Speed { p50_us: 10.0, p99_us, texts: 1, rounds: 1, by_length: Vec::new() }
    }

    #[test]
    fn a_slow_model_is_refused_inline_and_taken_by_threads() {
        for (p99_us, placement, fits) in [
            (INLINE_US_MAX, Placement::Inline, true),
            (INLINE_US_MAX + 1.0, Placement::Inline, false),
            (INLINE_US_MAX + 1.0, Placement::Threads, true),
            (10.0, Placement::Threads, true),
            (f32::INFINITY, Placement::Inline, false),
        ] {
            assert_eq!(speed(p99_us).must_fit(placement).is_ok(), fits, "{p99_us} {placement:?}");
        }
        let error = speed(950.0).must_fit(Placement::Inline).expect_err("slow").to_string();
        assert!(error.contains("950") && error.contains("200") && error.contains("threads"));
    }

    #[test]
    fn every_length_is_measured() {
        let probe = Probe { text: "hello".into(), task: "general_chat".into() };
        let speed = measure(&mut CoreClassifier::rules_only(), &[probe]);
        assert_eq!(speed.by_length.len(), LENGTHS.len());
        assert_eq!(speed.by_length.iter().map(|length| length.texts).sum::<usize>(), speed.texts);
        assert!(speed.rounds >= 1 && speed.p50_us <= speed.p99_us);
    }
}

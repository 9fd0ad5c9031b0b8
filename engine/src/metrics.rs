//! The process's counts, merged from all cores, as Prometheus text.
//!
//! In: [`CoreStats`] as the cores hand them over, and what the control thread knows of the journal.
//! Out: text in the OpenMetrics format. Names of models and providers are labels; keys, prompts and
//! users never are.

use crate::core::Shared;
use crate::judge::Asked;
use crate::stats::{AttemptResult, CoreStats, OfferStats, Times};
use classifier::{Stage, TurnType};
use models::Task;
use models::catalogue::{ModelIx, OfferIx};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use store::{FoldReport, Outcome};
use wire::refusal::Kind;

/// Upper bounds of the buckets for answers, in seconds: those that OpenTelemetry's GenAI conventions
/// advise for `gen_ai.server.request.duration` and `time_to_first_token`.
const ANSWER_BUCKETS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.96, 81.92,
];
/// Upper bounds for our own work, in seconds.
const WORK_BUCKETS: &[f64] =
    &[0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.005, 0.05];

/// Everything that is counted, since the start.
pub struct Metrics {
    totals: Mutex<Totals>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Totals {
    requests: [u64; Outcome::ALL.len()],
    /// By kind; empty before the first.
    refusals: Vec<u64>,
    stages: [u64; Stage::ALL.len()],
    judging: JudgingTotals,
    decisions: BTreeMap<(Task, String), u64>,
    /// By model and provider.
    offers: BTreeMap<(String, String), OfferStats>,
    gaps: Times,
    classify: Times,
    decide: Times,
    accepted: u64,
    journal: JournalState,
}

/// What cores count about judging, beside the stages.
#[derive(Clone, Copy, Debug, Default)]
pub struct JudgingTotals {
    /// Requests by the part they play.
    pub turns: [u64; TurnType::ALL.len()],
    /// Verdicts that were remembered.
    pub cache_hits: u64,
    /// Verdicts that were looked for in vain.
    pub cache_misses: u64,
    /// Questions to classifier threads by how they ended.
    pub asked: [u64; Asked::ALL.len()],
    /// Answers that changed the task.
    pub asked_changed: u64,
}

/// What the control thread knows of journal and fold.
#[derive(Clone, Copy, Debug, Default)]
pub struct JournalState {
    /// Records folded.
    pub folded: u64,
    /// Records that were found damaged.
    pub lost: u64,
    /// Age of the oldest record at the last fold that found one, in microseconds.
    pub lag_us: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Folds that failed.
    pub failures: u64,
    /// Records appended by the cores and not folded yet.
    pub pending: u64,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new(shared: Arc<Shared>) -> Metrics {
        Metrics { totals: Mutex::default(), shared }
    }

    /// Takes in what all cores have handed over, and gives the emptied sets back.
    pub fn collect(&self) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        for (full, empty) in self.shared.stats_full.iter().zip(&self.shared.stats_empty) {
            while let Some(mut stats) = full.pop() {
                totals.add(&stats);
                stats.clear();
                // With enough empty sets on the way this one is dropped.
                drop(empty.push(stats));
            }
        }
    }

    /// What was counted about judging, as of the last second.
    pub fn judging(&self) -> JudgingTotals {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).judging
    }

    /// Notes what a fold did.
    pub fn folded(&self, report: &FoldReport, pending: u64) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let journal = &mut totals.journal;
        journal.folded += report.records;
        journal.lost += report.lost;
        journal.lag_us = report.lag_us;
        journal.bytes = report.journal_bytes;
        journal.pending = pending;
    }

    /// Notes that a fold failed.
    pub fn fold_failed(&self) {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).journal.failures += 1;
    }

    /// The text for a scrape.
    pub fn text(self: &Arc<Self>) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(Collected(Arc::clone(self))));
        let mut text = String::new();
        // Writing to a string does not fail; a collector that reported an error would leave out the
        // rest, which a scraper sees by the missing end mark.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

impl Totals {
    fn add(&mut self, stats: &CoreStats) {
        add_all(&mut self.requests, &stats.requests);
        self.refusals.resize(Kind::ALL.len(), 0);
        add_all(&mut self.refusals, &stats.refusals);
        add_all(&mut self.stages, &stats.stages);
        add_all(&mut self.judging.turns, &stats.turns);
        self.judging.cache_hits += stats.cache_hits;
        self.judging.cache_misses += stats.cache_misses;
        add_all(&mut self.judging.asked, &stats.asked);
        self.judging.asked_changed += stats.asked_changed;
        self.accepted += stats.accepted;
        for (total, times) in [
            (&mut self.gaps, &stats.gaps),
            (&mut self.classify, &stats.classify),
            (&mut self.decide, &stats.decide),
        ] {
            total.add(times);
        }
        let Some(snapshot) = &stats.snapshot else { return };
        for ((task, model), count) in &stats.decisions {
            let model = snapshot.catalogue.model(ModelIx(*model)).id().to_owned();
            *self.decisions.entry((*task, model)).or_default() += count;
        }
        for (&offer, stats) in &stats.offers {
            let Some(target) = snapshot.target(OfferIx(offer)) else { continue };
            let key = (target.model.clone(), target.provider.clone());
            self.offers.entry(key).or_default().add(stats);
        }
    }
}

impl OfferStats {
    fn add(&mut self, other: &OfferStats) {
        add_all(&mut self.attempts, &other.attempts);
        self.tokens_input += other.tokens_input;
        self.tokens_cached += other.tokens_cached;
        self.tokens_written += other.tokens_written;
        self.tokens_output += other.tokens_output;
        self.tokens_reasoning += other.tokens_reasoning;
        self.cost += other.cost;
        self.ttft.add(&other.ttft);
        self.duration.add(&other.duration);
    }
}

impl Times {
    fn add(&mut self, other: &Times) {
        if !other.0.is_empty() {
            self.0.add(&other.0).expect("all histograms have the same bounds");
        }
    }
}

fn add_all(totals: &mut [u64], counts: &[u64]) {
    for (total, count) in totals.iter_mut().zip(counts) {
        *total += count;
    }
}

struct Collected(Arc<Metrics>);

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected")
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let totals = self.0.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &self.0.shared;
        encode_requests(&mut encoder, &totals)?;
        encode_offers(&mut encoder, &totals)?;
        encode_times(&mut encoder, &totals)?;
        encode_judging(&mut encoder, &totals.judging, shared)?;
        encode_state(&mut encoder, &totals, shared)
    }
}

fn encode_requests(encoder: &mut DescriptorEncoder<'_>, totals: &Totals) -> fmt::Result {
    let outcomes = Outcome::ALL.map(|outcome| (outcome.name(), totals.requests[outcome as usize]));
    counters(encoder, "pointsman_requests", "Requests by how they ended", "outcome", &outcomes)?;
    let counted = |kind: &Kind| totals.refusals.get(*kind as usize).copied().unwrap_or(0);
    let refusals: Vec<_> = Kind::ALL.iter().map(|kind| (kind.code(), counted(kind))).collect();
    counters(encoder, "pointsman_refusals", "Refusals by error code", "code", &refusals)?;
    let stages = Stage::ALL.map(|stage| (stage.name(), totals.stages[stage as usize]));
    let help = "Verdicts by the stage that decided the task";
    counters(encoder, "pointsman_classifier_verdicts", help, "stage", &stages)?;
    let mut family = encoder.encode_descriptor(
        "pointsman_decisions",
        "Choices of auto by task and model",
        None,
        MetricType::Counter,
    )?;
    for ((task, model), count) in &totals.decisions {
        let labels = [("task", task.name()), ("model", model.as_str())];
        ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_offers(encoder: &mut DescriptorEncoder<'_>, totals: &Totals) -> fmt::Result {
    let help = "Attempts by model, provider and result";
    let mut family =
        encoder.encode_descriptor("pointsman_attempts", help, None, MetricType::Counter)?;
    for ((model, provider), offer) in &totals.offers {
        for result in AttemptResult::ALL {
            let count = offer.attempts[result as usize];
            if count > 0 {
                let labels = [
                    ("model", model.as_str()),
                    ("provider", provider.as_str()),
                    ("result", result.name()),
                ];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    let help = "Tokens by model, provider and type; reasoning is part of output";
    let mut family =
        encoder.encode_descriptor("pointsman_tokens", help, None, MetricType::Counter)?;
    for ((model, provider), offer) in &totals.offers {
        for (kind, count) in [
            ("input", offer.tokens_input),
            ("cached", offer.tokens_cached),
            ("written", offer.tokens_written),
            ("output", offer.tokens_output),
            ("reasoning", offer.tokens_reasoning),
        ] {
            let labels =
                [("model", model.as_str()), ("provider", provider.as_str()), ("type", kind)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Charged, in US dollars; the ledger has the exact sums";
    let mut family =
        encoder.encode_descriptor("pointsman_cost_usd", help, None, MetricType::Counter)?;
    for ((model, provider), offer) in &totals.offers {
        let labels = [("model", model.as_str()), ("provider", provider.as_str())];
        let dollars = offer.cost as f64 / 1e12;
        ConstCounter::new(dollars).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_times(encoder: &mut DescriptorEncoder<'_>, totals: &Totals) -> fmt::Result {
    /// Which of an offer's histograms a family shows.
    type Shown = fn(&OfferStats) -> &Times;
    let by_offer: [(&str, &str, Shown); 2] = [
        (
            "gen_ai_server_time_to_first_token_seconds",
            "Time from the request to the first content",
            |offer| &offer.ttft,
        ),
        (
            "gen_ai_server_request_duration_seconds",
            "Time from the request to the end of the answer",
            |offer| &offer.duration,
        ),
    ];
    for (name, help, times) in by_offer {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for ((model, provider), offer) in &totals.offers {
            let labels = [
                ("gen_ai_request_model", model.as_str()),
                ("gen_ai_provider_name", provider.as_str()),
            ];
            histogram(times(offer), ANSWER_BUCKETS, |sum, count, buckets| {
                family
                    .encode_family(&labels)?
                    .encode_histogram::<NoLabelSet>(sum, count, buckets, None)
            })?;
        }
    }
    for (name, help, times, bounds) in [
        (
            "pointsman_inter_chunk_gap_seconds",
            "Time between two pieces of a stream from a provider",
            &totals.gaps,
            ANSWER_BUCKETS,
        ),
        (
            "pointsman_classifier_seconds",
            "Time in the classifier per verdict",
            &totals.classify,
            WORK_BUCKETS,
        ),
        (
            "pointsman_decision_seconds",
            "Time from the head of a request to the first attempt",
            &totals.decide,
            WORK_BUCKETS,
        ),
    ] {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        histogram(times, bounds, |sum, count, buckets| {
            metric.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
        })?;
    }
    Ok(())
}

fn encode_judging(
    encoder: &mut DescriptorEncoder<'_>,
    totals: &JudgingTotals,
    shared: &Shared,
) -> fmt::Result {
    let turns = TurnType::ALL.map(|turn| (turn.name(), totals.turns[turn as usize]));
    let help = "Judged requests by the part they play in their client's work";
    counters(encoder, "pointsman_turns", help, "turn", &turns)?;
    let lookups = [("hit", totals.cache_hits), ("miss", totals.cache_misses)];
    let help = "Verdicts looked for among those given before";
    counters(encoder, "pointsman_classifier_cache_lookups", help, "result", &lookups)?;
    let asked = Asked::ALL.map(|asked| (asked.name(), totals.asked[asked as usize]));
    let help = "Questions to classifier threads by how they ended";
    counters(encoder, "pointsman_classifier_second", help, "result", &asked)?;
    let counts = &shared.judge_counts;
    let swaps = [
        ("done", counts.swaps.load(Ordering::Relaxed)),
        ("refused", counts.refusals.load(Ordering::Relaxed)),
    ];
    let help = "Classifiers put in force while requests ran, and folders that were refused";
    counters(encoder, "pointsman_classifier_swaps", help, "result", &swaps)?;
    let observed = &counts.observed;
    for (name, help, value) in [
        (
            "pointsman_classifier_second_changed",
            "Answers of classifier threads that changed the task",
            totals.asked_changed,
        ),
        ("pointsman_classifier_faults", "Verdicts that a model failed to give", {
            counts.faults.load(Ordering::Relaxed)
        }),
        (
            "pointsman_classifier_observed",
            "Verdicts of the observed model that were compared with those in force",
            observed.compared(),
        ),
        (
            "pointsman_classifier_observed_dropped",
            "Verdicts that were not compared, since the observed model was behind",
            observed.dropped.load(Ordering::Relaxed),
        ),
    ] {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)?;
    }
    let name = "pointsman_classifier_observed_difficulty_difference";
    let help = "Sum of |difficulty in force - observed|; divide by those compared for the mean";
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(observed.difficulty_difference()).encode(metric)?;
    let name = "pointsman_classifier_observed_disagreements";
    let help = "Comparisons with different tasks, by the task in force and the observed one";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (in_force, observed, count) in observed.disagreements() {
        let labels = [("task", in_force.name()), ("observed", observed.name())];
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    let name = "pointsman_classifier_info";
    let help = "1 for each model in force, with what it is called and where it runs";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (role, model) in shared.in_force.load().models() {
        let manifest = model.classifier.manifest();
        let labels = [
            ("role", role.name()),
            ("name", manifest.name.as_str()),
            ("version", manifest.version.as_str()),
            ("placement", model.placement()),
            ("device", model.classifier.runs_on().name()),
        ];
        ConstGauge::new(1.0).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_state(
    encoder: &mut DescriptorEncoder<'_>,
    totals: &Totals,
    shared: &Shared,
) -> fmt::Result {
    let connections: u32 =
        shared.connections.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let has_model = shared.in_force.load().main_model().is_some();
    let journal = &totals.journal;
    for (name, help, value) in [
        ("pointsman_connections", "Open client connections", f64::from(connections)),
        (
            "pointsman_classifier_model_loaded",
            "1 when a model judges prompts, 0 when only the rules do",
            f64::from(u8::from(has_model)),
        ),
        (
            "pointsman_journal_lag_seconds",
            "Age of the oldest record at the last fold",
            journal.lag_us as f64 / 1e6,
        ),
        ("pointsman_journal_bytes", "Bytes of the journal on disk", journal.bytes as f64),
        ("pointsman_journal_pending", "Records not folded yet", journal.pending as f64),
    ] {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)?;
    }
    for (name, help, value) in [
        ("pointsman_connections_accepted", "Client connections accepted", totals.accepted),
        ("pointsman_journal_folded", "Records folded into the store", journal.folded),
        ("pointsman_journal_lost", "Journal records found damaged", journal.lost),
        ("pointsman_journal_fold_failures", "Folds that failed", journal.failures),
    ] {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)?;
    }

    let snapshot = shared.published.snapshot.load();
    let health = shared.breakers.load();
    let help = "Breaker per offer that is not closed: 1 is open, 0.5 half-open";
    let mut family =
        encoder.encode_descriptor("pointsman_breaker_open", help, None, MetricType::Gauge)?;
    for breaker in health.iter().filter(|breaker| breaker.generation == snapshot.generation) {
        let Some(target) = snapshot.target(breaker.offer) else { continue };
        let labels = [("model", target.model.as_str()), ("provider", target.provider.as_str())];
        ConstGauge::new(breaker.openness).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    rows: &[(&str, u64)],
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in rows {
        ConstCounter::new(*count).encode(family.encode_family(&[(label, *value)])?)?;
    }
    Ok(())
}

/// Sums up `times` in buckets with the upper `bounds` (seconds), and one for the rest.
fn histogram(
    times: &Times,
    bounds: &[f64],
    encode: impl FnOnce(f64, u64, &[(f64, u64)]) -> fmt::Result,
) -> fmt::Result {
    let mut buckets: Vec<(f64, u64)> = bounds.iter().map(|&bound| (bound, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let (mut sum, mut count) = (0.0, 0);
    for value in times.0.iter_recorded() {
        let seconds = value.value_iterated_to() as f64 / 1e6;
        let here = value.count_since_last_iteration();
        let bucket = bounds.partition_point(|&bound| bound < seconds);
        buckets[bucket].1 += here;
        sum += seconds * here as f64;
        count += here;
    }
    encode(sum, count, &buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_every_time_once() {
        let mut times = Times::default();
        for micros in [1, 900, 1_000, 2_000_000, 400_000_000] {
            times.record(micros);
        }
        histogram(&times, ANSWER_BUCKETS, |sum, count, buckets| {
            assert_eq!(count, 5);
            assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 5);
            assert_eq!(buckets.last().unwrap().1, 1, "above the last bound");
            assert!((sum - 402.0).abs() < 5.0, "{sum}");
            Ok(())
        })
        .unwrap();
    }
}

//! The figures by which a classifier is judged. Pure: numbers in, numbers out.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

/// Bins of equal width over which confidence is compared with truth.
const BINS: usize = 10;
/// The share of harmless prompts that may be called sensitive where recall is read off.
const FALSE_POSITIVES: f64 = 0.01;

/// How often a label was right.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grades {
    /// Prompts.
    pub n: usize,
    /// Share that is right.
    pub accuracy: f64,
    /// Mean of F1 over the labels that occur.
    pub macro_f1: f64,
}

impl Grades {
    /// Of `(right, said)`.
    pub fn of(pairs: &[(usize, usize)]) -> Grades {
        let mut counts: BTreeMap<usize, [usize; 3]> = BTreeMap::new(); // hits, right, said
        for &(right, said) in pairs {
            counts.entry(right).or_default()[1] += 1;
            counts.entry(said).or_default()[2] += 1;
            counts.entry(right).or_default()[0] += usize::from(right == said);
        }
        let occur = counts.values().filter(|[_, right, _]| *right > 0);
        let scores: Vec<f64> =
            occur.map(|[hits, right, said]| 2.0 * *hits as f64 / (right + said) as f64).collect();
        let hits = pairs.iter().filter(|(right, said)| right == said).count();
        Grades { n: pairs.len(), accuracy: share(hits, pairs.len()), macro_f1: mean(&scores) }
    }
}

/// Confidence against truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error: |mean confidence - share right| over ten bins, weighted by their size.
    pub error: f64,
    /// Per bin that is not empty: prompts, mean confidence, share right.
    pub bins: Vec<(usize, f64, f64)>,
}

impl Calibration {
    /// Of `(confidence, right)`.
    pub fn of(sure: impl Iterator<Item = (f32, bool)>) -> Calibration {
        let mut bins = [(0, 0.0, 0); BINS];
        let mut count = 0;
        for (confidence, right) in sure {
            let bin = &mut bins[((confidence * BINS as f32) as usize).min(BINS - 1)];
            *bin = (bin.0 + 1, bin.1 + f64::from(confidence), bin.2 + usize::from(right));
            count += 1;
        }
        let bins: Vec<(usize, f64, f64)> = bins
            .into_iter()
            .filter(|(size, ..)| *size > 0)
            .map(|(size, sum, right)| (size, sum / size as f64, share(right, size)))
            .collect();
        let gap = |(size, sure, right): &(usize, f64, f64)| *size as f64 * (sure - right).abs();
        let error = bins.iter().map(gap).sum::<f64>() / f64::from(count.max(1));
        Calibration { error, bins }
    }
}

/// A number against its label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// Prompts.
    pub n: usize,
    /// Spearman's rank correlation; ties share their mean rank.
    pub spearman: f64,
    /// Mean of the absolute difference.
    pub mean_error: f64,
}

impl Ranked {
    /// Of `(said, label)`; `None` for less than two.
    pub fn of(pairs: &[(f32, f32)]) -> Option<Ranked> {
        if pairs.len() < 2 {
            return None;
        }
        let said = ranks(pairs.iter().map(|pair| pair.0));
        let label = ranks(pairs.iter().map(|pair| pair.1));
        let errors: Vec<f64> =
            pairs.iter().map(|(said, label)| f64::from((said - label).abs())).collect();
        Some(Ranked {
            n: pairs.len(),
            spearman: correlation(&said, &label),
            mean_error: mean(&errors),
        })
    }
}

/// How well a score tells two classes apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Separation {
    /// Prompts of the first class.
    pub positive: usize,
    /// Of the other.
    pub negative: usize,
    /// Area under the ROC curve: how often a positive one scores above a negative one.
    pub auroc: f64,
    /// Share of the positive ones above the score that one in a hundred negative ones exceeds.
    pub recall_at_1_percent: f64,
}

impl Separation {
    /// Of `(score, positive)`; `None` unless there are both.
    pub fn of(pairs: &[(f32, bool)]) -> Option<Separation> {
        let positive = pairs.iter().filter(|pair| pair.1).count();
        let negative = pairs.len() - positive;
        if positive == 0 || negative == 0 {
            return None;
        }
        let rank = ranks(pairs.iter().map(|pair| pair.0));
        let sum: f64 =
            rank.iter().zip(pairs).filter(|(_, pair)| pair.1).map(|(rank, _)| rank).sum();
        let least = (positive * (positive + 1)) as f64 / 2.0;
        let mut harmless: Vec<f32> =
            pairs.iter().filter(|pair| !pair.1).map(|pair| pair.0).collect();
        harmless.sort_by(f32::total_cmp);
        // As many harmless ones as are allowed may lie strictly above the threshold.
        let allowed = (negative as f64 * FALSE_POSITIVES) as usize;
        let threshold = harmless[negative - 1 - allowed.min(negative - 1)];
        let above = pairs.iter().filter(|pair| pair.1 && pair.0 > threshold).count();
        Some(Separation {
            positive,
            negative,
            auroc: (sum - least) / (positive as f64 * negative as f64),
            recall_at_1_percent: share(above, positive),
        })
    }
}

/// Times of single calls, in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Times {
    /// Calls.
    pub n: usize,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Mean.
    pub mean: f64,
}

impl Times {
    /// Of nanoseconds.
    pub fn of(nanos: impl Iterator<Item = u64>) -> Times {
        let mut micros: Vec<f64> = nanos.map(|nanos| nanos as f64 / 1e3).collect();
        micros.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            let index = (micros.len() as f64 * quantile).ceil() as usize;
            micros.get(index.clamp(1, micros.len().max(1)) - 1).copied().unwrap_or(0.0)
        };
        Times { n: micros.len(), p50: at(0.5), p99: at(0.99), mean: mean(&micros) }
    }
}

/// Values by the name of their group, sorted; groups below `least` are thrown together as `other`.
pub fn grouped<T>(named: impl Iterator<Item = (String, T)>, least: usize) -> Vec<(String, Vec<T>)> {
    let mut groups: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (name, value) in named {
        groups.entry(name).or_default().push(value);
    }
    let mut other = Vec::new();
    let mut out = Vec::new();
    for (name, values) in groups {
        if values.len() < least { other.extend(values) } else { out.push((name, values)) }
    }
    if !other.is_empty() {
        out.push(("other".to_owned(), other));
    }
    out
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: impl Iterator<Item = f32>) -> Vec<f64> {
    let values: Vec<f32> = values.collect();
    let mut counts: HashMap<u32, (usize, usize)> = HashMap::new(); // last place, how many
    let mut sorted = values.clone();
    sorted.sort_by(f32::total_cmp);
    for (place, value) in sorted.iter().enumerate() {
        let entry = counts.entry(value.to_bits()).or_default();
        *entry = (place + 1, entry.1 + 1);
    }
    let rank = |value: &f32| {
        let (last, count) = counts[&value.to_bits()];
        last as f64 - (count - 1) as f64 / 2.0
    };
    values.iter().map(rank).collect()
}

/// Pearson's correlation; 0 where one side does not vary.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    if aa * bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
    }

    #[test]
    fn grades_are_those_of_the_textbook() {
        // Label 0: two of three found, one false alarm; label 1: one of two found, one false alarm.
        let grades = Grades::of(&[(0, 0), (0, 0), (0, 1), (1, 1), (1, 0)]);
        near(grades.accuracy, 0.6);
        near(grades.macro_f1, (4.0 / 6.0 + 2.0 / 4.0) / 2.0);
        // What is said but never right has no F1 of its own: it only costs the others.
        near(Grades::of(&[(0, 0), (0, 7)]).macro_f1, 2.0 / 3.0);
        assert_eq!(Grades::of(&[]).n, 0);
    }

    #[test]
    fn calibration_is_the_weighted_gap() {
        let sure = [(0.95, true), (0.95, true), (0.95, false), (0.95, true), (0.15, false)];
        let calibration = Calibration::of(sure.into_iter());
        assert_eq!(calibration.bins.len(), 2);
        assert!((calibration.error - (4.0 * 0.2 + 0.15) / 5.0).abs() < 1e-6);
        near(Calibration::of([(1.0, true)].into_iter()).error, 0.0);
    }

    #[test]
    fn ranks_share_ties_and_correlate() {
        assert_eq!(ranks([3.0, 1.0, 3.0, 2.0].into_iter()), [3.5, 1.0, 3.5, 2.0]);
        let ranked = Ranked::of(&[(0.1, 1.0), (0.2, 2.0), (0.9, 3.0)]).expect("three");
        near(ranked.spearman, 1.0);
        let falling = Ranked::of(&[(0.9, 1.0), (0.5, 2.0), (0.1, 3.0)]).expect("three");
        near(falling.spearman, -1.0);
        near(Ranked::of(&[(0.5, 1.0), (0.5, 2.0)]).expect("two").spearman, 0.0);
        assert_eq!(Ranked::of(&[(0.5, 1.0)]), None);
    }

    #[test]
    fn separation_counts_pairs_in_order() {
        let found = Separation::of(&[(0.9, true), (0.4, true), (0.5, false), (0.1, false)]);
        let found = found.expect("both classes");
        near(found.auroc, 0.75);
        // None of two harmless ones may be above: only 0.9 is.
        near(found.recall_at_1_percent, 0.5);
        let tied = Separation::of(&[(0.5, true), (0.5, false)]).expect("both classes");
        near(tied.auroc, 0.5);
        assert_eq!(Separation::of(&[(0.5, true)]), None);
    }

    #[test]
    fn times_are_nearest_ranks() {
        let times = Times::of((1..=200).map(|n| n * 1_000));
        assert_eq!((times.n, times.p50, times.p99), (200, 100.0, 198.0));
        assert_eq!(Times::of(std::iter::empty()).p99, 0.0);
    }

    #[test]
    fn small_groups_are_thrown_together() {
        let named = [("a", 1), ("b", 2), ("a", 3), ("c", 4)].map(|(name, n)| (name.to_owned(), n));
        let groups = grouped(named.into_iter(), 2);
        assert_eq!(groups, [("a".to_owned(), vec![1, 3]), ("other".to_owned(), vec![2, 4])]);
    }
}

//! Two verdicts to one: when a second model is worth asking, and what the two say together.
//!
//! In: the verdict of the inline model, and that of a stronger one on the same input. Out: one verdict.
//! The errors of two kinds of model differ, so the mean of their log-probabilities is right more often
//! than either; with weights that sum to 1 it stays as calibrated as they are. Never: a clock, a queue.

use models::Task;

use crate::core::{Classified, Stage};
use crate::manifest::Head;

/// Least probability that counts: a task that one model rules out is not out for ever.
const PROB_MIN: f32 = 1e-6;

/// Whether the choice between the two most probable tasks is closer than `margin`, a difference of
/// probabilities in 0..=1. Never where the form of the request decided, or a second model has spoken.
pub fn needs_second(inline: &Classified, margin: f32) -> bool {
    match inline.stage {
        Stage::Structure | Stage::Second | Stage::Cache => false,
        Stage::Model | Stage::Rules => self::margin(&inline.probs) < margin,
    }
}

/// How much more probable the first task is than the next.
pub fn margin(probs: &[f32; Task::COUNT]) -> f32 {
    let (mut first, mut next) = (0.0f32, 0.0f32);
    for &prob in probs {
        if prob > first {
            (first, next) = (prob, first);
        } else {
            next = next.max(prob);
        }
    }
    first - next
}

/// What `inline` and `second` say together; `weight` is the second's share, in 0..=1. Heads and tasks
/// that the second model does not have stay as inline; where the form decided, or the second model
/// failed on the input (then its verdict is that of rules), all does.
pub fn combine(inline: &Classified, second: &Classified, weight: f32) -> Classified {
    let spoke = matches!(second.stage, Stage::Model | Stage::Second);
    if inline.stage == Stage::Structure || !spoke || weight.is_nan() {
        return inline.clone();
    }
    let weight = weight.clamp(0.0, 1.0);
    let mut out = inline.clone();
    out.stage = Stage::Second;
    out.micros = inline.micros.saturating_add(second.micros);
    if second.covers.has(Head::Task) {
        out.probs = mix_tasks(inline, second, weight);
        let best = (0..Task::COUNT).max_by(|&a, &b| out.probs[a].total_cmp(&out.probs[b]));
        let best = best.unwrap_or(0);
        out.verdict.task = Task::ALL[best];
        out.verdict.confidence = out.probs[best];
    }
    let mix = |head: Head, one: f32, other: f32| match second.covers.has(head) {
        true if inline.covers.has(head) => one + (other - one) * weight,
        true => other,
        false => one,
    };
    let (one, other) = (&inline.verdict, &second.verdict);
    out.verdict.difficulty = mix(Head::Difficulty, one.difficulty, other.difficulty);
    out.verdict.sensitivity = mix(Head::Sensitivity, one.sensitivity, other.sensitivity);
    for (index, kind) in out.kinds.iter_mut().enumerate() {
        *kind = mix(Head::Kinds, inline.kinds[index], second.kinds[index]);
    }
    // Tokens are compared by their logarithm, as the models were trained.
    let tokens = mix(Head::Length, one.output_tokens.ln(), other.output_tokens.ln()).exp();
    out.verdict.output_tokens = tokens;
    out.spread = mix(Head::Length, inline.spread, second.spread);
    let surer = second.domain_confidence * weight > inline.domain_confidence * (1.0 - weight);
    if second.covers.has(Head::Domain) && (surer || !inline.covers.has(Head::Domain)) {
        (out.domain, out.domain_confidence) = (second.domain, second.domain_confidence);
    }
    out.covers = inline.covers.union(second.covers);
    out.verdict = out.verdict.sane();
    out
}

/// Probabilities proportional to `inline^(1 − weight) × second^weight`, over the tasks that the second
/// model has labels for; these keep the share that inline gave to all of them together.
fn mix_tasks(inline: &Classified, second: &Classified, weight: f32) -> [f32; Task::COUNT] {
    let mut mixed = inline.probs;
    let (mut before, mut after) = (0.0, 0.0);
    for (task, prob) in Task::ALL.into_iter().zip(&mut mixed) {
        if second.covers.has_task(task) {
            let other = second.probs[task.index()].max(PROB_MIN);
            before += *prob;
            *prob = prob.max(PROB_MIN).powf(1.0 - weight) * other.powf(weight);
            after += *prob;
        }
    }
    if after <= 0.0 || before <= 0.0 {
        return inline.probs;
    }
    for (task, prob) in Task::ALL.into_iter().zip(&mut mixed) {
        if second.covers.has_task(task) {
            *prob *= before / after;
        }
    }
    mixed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::Coverage;
    use crate::{CoreClassifier, Input, Structure};

    /// A verdict of a model with these probabilities for the first tasks, the rest shared evenly.
    fn said(first: &[f32], covers: Coverage) -> Classified {
        let input = Input { text: "x", structure: Structure::default() };
        let mut classified = CoreClassifier::rules_only().classify(&input);
        let rest = (1.0 - first.iter().sum::<f32>()) / (Task::COUNT - first.len()) as f32;
        classified.probs = std::array::from_fn(|at| first.get(at).copied().unwrap_or(rest));
        let best = (0..Task::COUNT)
            .max_by(|&a, &b| classified.probs[a].total_cmp(&classified.probs[b]))
            .expect("tasks");
        classified.verdict.task = Task::ALL[best];
        classified.verdict.confidence = classified.probs[best];
        (classified.stage, classified.covers) = (Stage::Model, covers);
        classified
    }

    #[test]
    fn a_close_choice_asks_for_a_second_opinion() {
        let close = said(&[0.4, 0.38], Coverage::ALL);
        let clear = said(&[0.9], Coverage::ALL);
        for (classified, stage, needs) in [
            (&close, Stage::Model, true),
            (&close, Stage::Rules, true),
            (&close, Stage::Structure, false),
            (&close, Stage::Second, false),
            (&close, Stage::Cache, false),
            (&clear, Stage::Model, false),
        ] {
            let classified = Classified { stage, ..classified.clone() };
            assert_eq!(needs_second(&classified, 0.2), needs, "{stage:?}");
        }
        assert!(!needs_second(&close, 0.0));
    }

    #[test]
    fn the_surer_model_wins_and_agreement_stays() {
        let unsure = said(&[0.45, 0.40], Coverage::ALL);
        let sure = said(&[0.05, 0.90], Coverage::ALL);
        let both = combine(&unsure, &sure, 0.5);
        assert_eq!(both.verdict.task, Task::ALL[1]);
        assert_eq!(both.stage, Stage::Second);
        assert_eq!(combine(&unsure, &sure, 0.0).verdict.task, Task::ALL[0]);
        let same = combine(&sure, &sure, 0.5);
        assert!((same.verdict.confidence - sure.verdict.confidence).abs() < 1e-4);
    }

    #[test]
    fn a_second_model_says_nothing_of_what_it_has_no_head_for() {
        let inline = said(&[0.45, 0.40], Coverage::ALL);
        let mut second = said(&[0.05, 0.90], Coverage::of(&[Head::Task], Task::ALL));
        second.verdict.difficulty = 0.99;
        second.verdict.output_tokens = 9.0;
        let both = combine(&inline, &second, 0.5);
        assert_eq!(both.verdict.difficulty, inline.verdict.difficulty);
        assert!((both.verdict.output_tokens / inline.verdict.output_tokens - 1.0).abs() < 1e-4);

        // It has no label for the first task, so that keeps its share.
        let covers = Coverage::of(&[Head::Task], Task::ALL.into_iter().skip(1));
        let both = combine(&inline, &Classified { covers, ..second }, 0.5);
        assert_eq!(both.probs[0], inline.probs[0]);
        assert!((both.probs.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }

    #[test]
    fn a_second_model_that_failed_changes_nothing() {
        let inline = said(&[0.45, 0.40], Coverage::ALL);
        let failed = Classified { stage: Stage::Rules, ..said(&[0.05, 0.9], Coverage::NONE) };
        assert_eq!(combine(&inline, &failed, 0.5), inline);
        let form = Classified { stage: Stage::Structure, ..inline };
        assert_eq!(combine(&form, &said(&[0.05, 0.9], Coverage::ALL), 0.5), form);
    }

    proptest! {
        #[test]
        fn any_two_verdicts_make_a_sane_one(
            one in prop::array::uniform17(0.0f32..1.0),
            other in prop::array::uniform17(0.0f32..1.0),
            weight in any::<f32>(),
        ) {
            let normal = |probs: [f32; Task::COUNT]| {
                let sum = probs.iter().sum::<f32>().max(1e-9);
                probs.map(|prob| prob / sum)
            };
            let (mut inline, mut second) = (said(&[], Coverage::ALL), said(&[], Coverage::ALL));
            (inline.probs, second.probs) = (normal(one), normal(other));
            let both = combine(&inline, &second, weight);
            prop_assert_eq!(both.verdict, both.verdict.sane());
            prop_assert!(both.probs.iter().all(|prob| (0.0..=1.0 + 1e-4).contains(prob)));
            prop_assert!((both.probs.iter().sum::<f32>() - 1.0).abs() < 1e-3);
        }
    }
}

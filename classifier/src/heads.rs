//! What the numbers of a graph mean.
//!
//! In: one row of numbers, and the heads that a manifest says it holds. Out: a [`Classified`]; what
//! the model has no head for comes from the rules. A number that is none is an error. Never: a graph.

use models::{Task, Verdict};

use crate::ClassifierError;
use crate::core::{Classified, Coverage, Input, Stage};
use crate::labels::{Domain, Kind};
use crate::manifest::{Head, Manifest};
use crate::ngrams::Ngrams;
use crate::rules::{
    Rules, decide, grown_tokens, logistic, output_tokens, prior_difficulty, softmax,
};
use crate::sensitivity::{self, Sensitive};

/// Bounds of the logarithm of the spread, as in training.
const LOG_SPREAD: (f32, f32) = (-1.5, 1.0);
/// Bound of the logarithm of the expected tokens: e^11 is 60,000.
const LOG_TOKENS_MAX: f32 = 11.0;

/// Where each head stands in a row.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The task of each number of the head `task`; several labels may mean one task, some none.
    tasks: Vec<Option<Task>>,
    /// Each label is a yes or no of its own, instead of one choice among all.
    multi_label: bool,
    /// Where each head begins, by its number.
    starts: [Option<usize>; Head::ALL.len()],
    len: usize,
    covers: Coverage,
}

impl Layout {
    /// The layout of a checked manifest.
    pub(crate) fn new(manifest: &Manifest) -> Layout {
        let tasks = manifest.tasks();
        let mut starts = [None; Head::ALL.len()];
        let mut len = 0;
        for &head in &manifest.heads {
            starts[head as usize] = Some(len);
            len += head.width(tasks.len());
        }
        let covers = Coverage::of(&manifest.heads, tasks.iter().copied().flatten());
        Layout { tasks, multi_label: manifest.multi_label, starts, len, covers }
    }

    /// Numbers in a row.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Reads a row. `ngrams` has read the text; `rules` stand in for heads that are not there.
    pub(crate) fn judge(
        &self,
        row: &[f32],
        rules: &Rules,
        ngrams: &Ngrams,
        input: &Input<'_>,
    ) -> Result<Classified, ClassifierError> {
        if row.len() != self.len {
            return Err(ClassifierError::Model(format!(
                "the graph gave {} numbers, expected {}",
                row.len(),
                self.len
            )));
        }
        if !row.iter().all(|number| number.is_finite()) {
            return Err(ClassifierError::Model("an output is not a number".into()));
        }
        let mut probs = self.task_probs(row);
        input.structure.shift(&mut probs);
        let (task, confidence, stage) = decide(&mut probs, &input.structure, Stage::Model);

        let difficulty = match self.head::<1>(row, Head::Difficulty) {
            Some([logit]) => logistic(logit),
            None => prior_difficulty(task, ngrams),
        };
        let difficulty = input.structure.harder(difficulty);
        let sensitive = self.sensitive(row, rules, ngrams);
        let (domain, domain_confidence) = self.domain(row);
        let (output_tokens, spread) = match self.head::<2>(row, Head::Length) {
            Some([mean, log_spread]) => {
                let spread = log_spread.clamp(LOG_SPREAD.0, LOG_SPREAD.1).exp();
                // The mean of a log-normal lies above its median.
                let tokens = (mean + spread * spread / 2.0).min(LOG_TOKENS_MAX).exp();
                (tokens + grown_tokens(task, input), spread)
            }
            None => (output_tokens(task, difficulty, input), 1.0),
        };
        let verdict = Verdict {
            task,
            difficulty,
            sensitivity: sensitive.sensitivity,
            output_tokens,
            confidence,
        };
        Ok(Classified {
            verdict: verdict.sane(),
            probs,
            domain,
            domain_confidence,
            kinds: sensitive.kinds,
            spread,
            covers: self.covers,
            stage,
            micros: 0,
        })
    }

    fn task_probs(&self, row: &[f32]) -> [f32; Task::COUNT] {
        let logits = self.part(row, Head::Task, self.tasks.len()).unwrap_or_default();
        let most = logits.iter().copied().fold(f32::MIN, f32::max);
        let mut probs = [0.0; Task::COUNT];
        for (task, &logit) in self.tasks.iter().zip(logits) {
            let share = if self.multi_label { logistic(logit) } else { (logit - most).exp() };
            if let Some(task) = task {
                probs[task.index()] += share;
            }
        }
        let sum: f32 = probs.iter().sum();
        if sum > 0.0 {
            probs.map(|prob| prob / sum)
        } else {
            // Every label of a task was refused: nobody knows.
            [1.0 / Task::COUNT as f32; Task::COUNT]
        }
    }

    fn sensitive(&self, row: &[f32], rules: &Rules, ngrams: &Ngrams) -> Sensitive {
        let kinds = self.head::<{ Kind::COUNT }>(row, Head::Kinds).map(|kinds| kinds.map(logistic));
        let sensitivity = match (self.head::<1>(row, Head::Sensitivity), kinds) {
            (Some([logit]), _) => logistic(logit),
            (None, Some(kinds)) => kinds.into_iter().fold(0.0, f32::max),
            (None, None) => rules.sensitivity(ngrams),
        };
        let said = Sensitive { sensitivity, kinds: kinds.unwrap_or_default() };
        sensitivity::with_findings(said, &ngrams.findings())
    }

    fn domain(&self, row: &[f32]) -> (Domain, f32) {
        let Some(logits) = self.head::<{ Domain::COUNT }>(row, Head::Domain) else {
            return (Domain::Other, 0.0);
        };
        let probs = softmax(&logits);
        let best = (0..Domain::COUNT).max_by(|&a, &b| probs[a].total_cmp(&probs[b])).unwrap_or(0);
        (Domain::ALL[best], probs[best])
    }

    fn head<const N: usize>(&self, row: &[f32], head: Head) -> Option<[f32; N]> {
        self.part(row, head, N)?.try_into().ok()
    }

    fn part<'a>(&self, row: &'a [f32], head: Head, width: usize) -> Option<&'a [f32]> {
        let start = self.starts[head as usize]?;
        row.get(start..start + width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Structure;

    fn layout(heads: &[Head], labels: &[Task], multi_label: bool) -> Layout {
        let mut starts = [None; Head::ALL.len()];
        let mut len = 0;
        for &head in heads {
            starts[head as usize] = Some(len);
            len += head.width(labels.len());
        }
        let covers = Coverage::of(heads, labels.iter().copied());
        let tasks = labels.iter().copied().map(Some).collect();
        Layout { tasks, multi_label, starts, len, covers }
    }

    fn judge(layout: &Layout, row: &[f32], text: &str) -> Result<Classified, ClassifierError> {
        let mut ngrams = Ngrams::default();
        ngrams.read(text);
        let input = Input { text, structure: Structure::default() };
        layout.judge(row, &Rules::default(), &ngrams, &input)
    }

    #[test]
    fn outputs_that_are_no_numbers_are_errors_and_extreme_ones_are_not() {
        let layout = layout(&Head::ALL, &Task::ALL, false);
        let values = [
            (f32::NAN, false),
            (f32::INFINITY, false),
            (f32::NEG_INFINITY, false),
            (f32::MAX, true),
            (f32::MIN, true),
            (0.0, true),
        ];
        for multi_label in [false, true] {
            let layout = Layout { multi_label, ..layout.clone() };
            for (value, good) in values {
                for at in 0..layout.len() {
                    let mut row = vec![0.0; layout.len()];
                    row[at] = value;
                    let judged = judge(&layout, &row, "x");
                    assert_eq!(judged.is_ok(), good, "{value} at {at}");
                    if let Ok(classified) = judged {
                        assert_eq!(classified.verdict, classified.verdict.sane());
                        assert!((classified.probs.iter().sum::<f32>() - 1.0).abs() < 1e-4);
                    }
                }
            }
        }
        let all = vec![f32::MIN; layout.len()];
        let classified =
            judge(&Layout { multi_label: true, ..layout }, &all, "x").expect("numbers");
        assert!((classified.probs.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }

    #[test]
    fn a_row_of_another_length_is_an_error() {
        let layout = layout(&[Head::Task], &[Task::Math, Task::OpenQa], false);
        for row in [&[][..], &[1.0], &[1.0; 3]] {
            let error = judge(&layout, row, "x").expect_err("another length").to_string();
            assert!(error.contains("expected 2"), "{error}");
        }
    }

    #[test]
    fn outputs_follow_the_labels_of_the_model() {
        let labels = [Task::Translation, Task::Math, Task::Translation];
        let layout = layout(&[Head::Difficulty, Head::Task], &labels, false);
        let classified = judge(&layout, &[0.0, 1.0, 1.2, 1.0], "x").expect("numbers");
        assert_eq!(classified.verdict.task, Task::Translation, "two labels of one task add up");
        assert_eq!(classified.verdict.difficulty, 0.5);
        assert!(
            classified.covers.has_task(Task::Math) && !classified.covers.has_task(Task::OpenQa)
        );
    }

    #[test]
    fn heads_that_are_missing_come_from_the_rules() {
        let layout = layout(&[Head::Task], &[Task::Math, Task::Translation], false);
        let text = "confidential: the password of the patient";
        let classified = judge(&layout, &[0.0, 3.0], text).expect("numbers");
        assert!(!classified.covers.has(Head::Difficulty) && classified.covers.has(Head::Task));
        let mut rules = Rules::default();
        let by_rules = rules.classify(&Input { text, structure: Structure::default() });
        assert_eq!(classified.verdict.sensitivity, by_rules.verdict.sensitivity);
        assert!((0.2..0.5).contains(&classified.verdict.difficulty), "{classified:?}");
        assert!(classified.verdict.output_tokens > 30.0);
    }
}

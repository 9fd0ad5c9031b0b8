//! What is counted about judging by several threads at once: atomics that anybody may add to.
//!
//! What only cores count stands in [`crate::stats::CoreStats`]. In: verdicts, swaps. Out: sums since
//! the start. Never: texts.

use classifier::Classified;
use models::Task;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counts of cores, classifier threads and the control thread.
#[derive(Debug, Default)]
pub struct JudgeCounts {
    /// Inputs that a model failed on, so that the rules judged.
    pub faults: AtomicU64,
    /// Swaps that were done, the first model apart.
    pub swaps: AtomicU64,
    /// Folders or settings that were refused, so that the old ones stayed.
    pub refusals: AtomicU64,
    /// What the observed model says beside the one in force.
    pub observed: Observed,
}

/// An observed model against the one in force.
#[derive(Debug, Default)]
pub struct Observed {
    compared: AtomicU64,
    /// Not compared, since the queue was full.
    pub dropped: AtomicU64,
    /// By the task of the model in force, then by that of the observed one.
    disagreements: [[AtomicU64; Task::COUNT]; Task::COUNT],
    /// Sum of the differences of difficulty, in millionths.
    difficulty_millionths: AtomicU64,
}

impl Observed {
    /// Counts two verdicts on the same input.
    pub fn compare(&self, in_force: &Classified, observed: &Classified) {
        let (one, other) = (&in_force.verdict, &observed.verdict);
        if one.task != other.task {
            self.disagreements[one.task.index()][other.task.index()].fetch_add(1, Relaxed);
        }
        let difference = (one.difficulty - other.difficulty).abs();
        self.difficulty_millionths.fetch_add((difference * 1e6) as u64, Relaxed);
        self.compared.fetch_add(1, Relaxed);
    }

    /// Pairs of verdicts.
    pub fn compared(&self) -> u64 {
        self.compared.load(Relaxed)
    }

    /// Sum of |difference of difficulty|.
    pub fn difficulty_difference(&self) -> f64 {
        self.difficulty_millionths.load(Relaxed) as f64 / 1e6
    }

    /// Pairs of different tasks that came up, with how often: in force, observed, count.
    pub fn disagreements(&self) -> impl Iterator<Item = (Task, Task, u64)> {
        let pairs = Task::ALL.into_iter().flat_map(|one| Task::ALL.map(|other| (one, other)));
        pairs.filter_map(|(one, other)| {
            let count = self.disagreements[one.index()][other.index()].load(Relaxed);
            (count > 0).then_some((one, other, count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use classifier::{CoreClassifier, Input, Structure};

    #[test]
    fn only_different_tasks_disagree() {
        let verdict = |text, difficulty| {
            let input = Input { text, structure: Structure::default() };
            let mut classified = CoreClassifier::rules_only().classify(&input);
            classified.verdict.difficulty = difficulty;
            classified
        };
        let observed = Observed::default();
        let summary = verdict("Summarize this thread", 0.5);
        observed.compare(&summary, &verdict("Summarize this thread", 0.25));
        observed.compare(&summary, &verdict("Translate into German", 0.5));
        assert_eq!(observed.compared(), 2);
        assert_eq!(observed.difficulty_difference(), 0.25);
        let pairs: Vec<_> = observed.disagreements().collect();
        assert_eq!(pairs, [(Task::Summarization, Task::Translation, 1)]);
    }
}

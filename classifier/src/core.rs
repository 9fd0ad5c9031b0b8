//! A loaded classifier, and what each core does with it.
//!
//! In: a model folder, then one [`Input`] per request. Out: [`Classified`]. The order per request is
//! read (features) → model → structure; whatever goes wrong in the model (an error, a NaN) becomes
//! the verdict of the rules and is counted. Never: a lock, or a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use models::{Task, Verdict};

use crate::ngrams::{Buckets, Ngrams};
use crate::onnx::{Graph, GraphSession};
use crate::rules::{Rules, decide, logistic, output_tokens, softmax};
use crate::{ClassifierError, Manifest, OnnxRuntime, Structure};

/// Outputs of the graph: the tasks, difficulty, sensitivity.
const OUTPUTS: usize = Task::COUNT + 2;

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// A bounded excerpt, as [`crate::Excerpt`] cuts it; of a longer text only the head is read.
    pub text: &'a str,
    /// The form of the request.
    pub structure: Structure,
}

/// A verdict and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Classified {
    /// What the router is told.
    pub verdict: Verdict,
    /// Probability per task, in the order of [`Task::ALL`].
    pub probs: [f32; Task::COUNT],
    /// Who decided the task.
    pub stage: Stage,
    /// Time spent, in microseconds.
    pub micros: u32,
}

/// Who decided the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The form of the request left no doubt.
    Structure,
    /// The inline model.
    Model,
    /// Cue words: no model is loaded, or it failed on this input.
    Rules,
}

impl Stage {
    /// All stages.
    pub const ALL: [Stage; 3] = [Stage::Structure, Stage::Model, Stage::Rules];

    /// The name in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Structure => "structure",
            Stage::Model => "model",
            Stage::Rules => "rules",
        }
    }
}

/// A checked model, ready to make sessions on any thread. Cheap to clone: weights are shared.
#[derive(Clone, Debug)]
pub struct Classifier {
    manifest: Arc<Manifest>,
    graph: Arc<Graph>,
    runtime: OnnxRuntime,
}

impl Classifier {
    /// Loads a model folder: checks the manifest and the hashes, builds a session, and asks every
    /// probe. A folder that fails any of it is refused whole.
    pub fn load(folder: &Path, runtime: &OnnxRuntime) -> Result<Classifier, ClassifierError> {
        let manifest = Manifest::load(folder)?;
        let shape = [manifest.buckets().rows(), manifest.ngrams.width];
        let model = manifest.files.model.read(folder)?;
        let table = manifest.files.table.read(folder)?;
        let classifier = Classifier {
            manifest: Arc::new(manifest),
            graph: Arc::new(Graph::new(runtime, model, table, shape)?),
            runtime: runtime.clone(),
        };
        classifier.session()?.ask_probes(&classifier.manifest)?;
        Ok(classifier)
    }

    /// A session for one thread.
    pub fn session(&self) -> Result<CoreClassifier, ClassifierError> {
        let session = GraphSession::new(&self.runtime, &self.graph)?;
        let model = Model {
            session,
            buckets: self.manifest.buckets(),
            tasks: self.manifest.tasks(),
            weights: Vec::new(),
        };
        Ok(CoreClassifier { model: Some(model), ..CoreClassifier::rules_only() })
    }

    /// What the folder says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

/// The classifier of one core: session, rules, and their buffers.
#[derive(Debug)]
pub struct CoreClassifier {
    ngrams: Ngrams,
    rules: Rules,
    model: Option<Model>,
    faults: u64,
}

impl CoreClassifier {
    /// A classifier without a model: for a host without ONNX Runtime.
    pub fn rules_only() -> CoreClassifier {
        CoreClassifier {
            ngrams: Ngrams::default(),
            rules: Rules::default(),
            model: None,
            faults: 0,
        }
    }

    /// Judges one request. There is always a verdict, and every number in it is in its range.
    pub fn classify(&mut self, input: &Input<'_>) -> Classified {
        let started = Instant::now();
        self.ngrams.read(input.text);
        let by_model = self.model.as_mut().map(|model| model.judge(&mut self.ngrams, input));
        let mut classified = match by_model {
            Some(Ok(classified)) => classified,
            Some(Err(_)) => {
                self.faults += 1;
                self.rules.judge(&self.ngrams, input)
            }
            None => self.rules.judge(&self.ngrams, input),
        };
        classified.micros = started.elapsed().as_micros().min(u32::MAX.into()) as u32;
        classified
    }

    /// Whether a model is loaded.
    pub fn has_model(&self) -> bool {
        self.model.is_some()
    }

    /// How often the model failed and the rules stood in.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    fn ask_probes(&mut self, manifest: &Manifest) -> Result<(), ClassifierError> {
        let model = self.model.as_mut().expect("made by Classifier::session");
        // Even without probes one run must show that shapes fit and numbers are numbers.
        self.ngrams.read("");
        model.judge(&mut self.ngrams, &Input { text: "", structure: Structure::default() })?;
        for probe in &manifest.probes {
            self.ngrams.read(&probe.text);
            let input = Input { text: &probe.text, structure: Structure::default() };
            let found = model.judge(&mut self.ngrams, &input)?.verdict.task.name();
            if found != probe.task {
                return Err(ClassifierError::Probe {
                    text: probe.text.clone(),
                    expected: probe.task.clone(),
                    found: found.into(),
                });
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Model {
    session: GraphSession,
    buckets: Buckets,
    /// The task of each output.
    tasks: [Task; Task::COUNT],
    /// `[groups, ids]`: what makes the mean of each group, see [`group_means`].
    weights: Vec<f32>,
}

impl Model {
    fn judge(
        &mut self,
        ngrams: &mut Ngrams,
        input: &Input<'_>,
    ) -> Result<Classified, ClassifierError> {
        ngrams.hash(self.buckets);
        group_means(ngrams, &mut self.weights);
        let outputs = self.session.run(ngrams.ids(), &self.weights, ngrams.dense())?;
        judge_outputs(&outputs, &self.tasks, input)
    }
}

/// What the numbers of the graph mean; an error when one of them is none.
fn judge_outputs(
    outputs: &[f32; OUTPUTS],
    tasks: &[Task; Task::COUNT],
    input: &Input<'_>,
) -> Result<Classified, ClassifierError> {
    if !outputs.iter().all(|output| output.is_finite()) {
        return Err(ClassifierError::Model("an output is not a number".into()));
    }
    let mut logits = [0.0; Task::COUNT];
    for (task, logit) in tasks.iter().zip(outputs) {
        logits[task.index()] = *logit;
    }
    let mut probs = softmax(&logits);
    input.structure.shift(&mut probs);
    let (task, confidence, stage) = decide(&mut probs, &input.structure, Stage::Model);
    let difficulty = input.structure.harder(logistic(outputs[Task::COUNT]));
    let verdict = Verdict {
        task,
        difficulty,
        sensitivity: logistic(outputs[Task::COUNT + 1]),
        output_tokens: output_tokens(task, difficulty, input),
        confidence,
    };
    Ok(Classified { verdict: verdict.sane(), probs, stage, micros: 0 })
}

/// One row per group with `1 / size` where the group's ids stand and 0 elsewhere, so that one matrix
/// product in the graph makes all means.
fn group_means(ngrams: &Ngrams, weights: &mut Vec<f32>) {
    let count = ngrams.ids().len();
    weights.clear();
    let mut start = 0;
    for end in ngrams.group_ends() {
        let share = 1.0 / (end - start).max(1) as f32;
        weights.resize(weights.len() + start, 0.0);
        weights.resize(weights.len() + end - start, share);
        weights.resize(weights.len() + count - end, 0.0);
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_its_mean() {
        let mut ngrams = Ngrams::default();
        ngrams.read("two words");
        ngrams.hash(Buckets::new(8, 8).expect("in range"));
        let mut weights = vec![9.0; 3];
        group_means(&ngrams, &mut weights);
        let count = ngrams.ids().len();
        assert_eq!(weights.len(), 3 * count);
        for (row, (start, end)) in
            [(0, 5), (5, count - 4), (count - 4, count)].into_iter().enumerate()
        {
            let row = &weights[row * count..(row + 1) * count];
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(row[start..end].iter().all(|&weight| weight > 0.0));
        }
    }

    #[test]
    fn outputs_that_are_no_numbers_are_errors_and_extreme_ones_are_not() {
        let input = Input { text: "x", structure: Structure::default() };
        for (value, good) in [
            (f32::NAN, false),
            (f32::INFINITY, false),
            (f32::NEG_INFINITY, false),
            (f32::MAX, true),
            (f32::MIN, true),
            (0.0, true),
        ] {
            for at in [0, Task::COUNT, Task::COUNT + 1] {
                let mut outputs = [0.0; OUTPUTS];
                outputs[at] = value;
                let judged = judge_outputs(&outputs, &Task::ALL, &input);
                assert_eq!(judged.is_ok(), good, "{value} at {at}");
                if let Ok(classified) = judged {
                    assert_eq!(classified.verdict, classified.verdict.sane());
                    assert!((classified.probs.iter().sum::<f32>() - 1.0).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn outputs_follow_the_labels_of_the_model() {
        let mut tasks = Task::ALL;
        tasks.reverse();
        let mut outputs = [0.0; OUTPUTS];
        outputs[0] = 5.0;
        let input = Input { text: "x", structure: Structure::default() };
        let classified = judge_outputs(&outputs, &tasks, &input).expect("numbers");
        assert_eq!(classified.verdict.task, Task::Multimodal);
    }

    #[test]
    fn without_a_model_the_rules_speak() {
        let mut core = CoreClassifier::rules_only();
        let input = Input { text: "Summarize this thread", structure: Structure::default() };
        let classified = core.classify(&input);
        assert_eq!(classified.stage, Stage::Rules);
        assert_eq!(classified.verdict.task, Task::Summarization);
        assert!(!core.has_model());
        assert_eq!(core.faults(), 0);
    }
}

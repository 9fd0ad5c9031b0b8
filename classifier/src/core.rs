//! A loaded classifier, and what each core does with it.
//!
//! In: a model folder, then one [`Input`] per request. Out: [`Classified`]. The order per request is
//! read (features) → model → structure; whatever goes wrong in the model (an error, a NaN) becomes
//! the verdict of the rules and is counted. Never: a lock, or a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use models::{Task, Verdict};

use crate::labels::{Domain, Kind};
use crate::ngrams::{Buckets, DENSE_COUNT, GROUPS, Ngrams};
use crate::onnx::GraphSession;
use crate::rules::{Rules, decide, grown_tokens, logistic, softmax};
use crate::sensitivity::{self, Sensitive};
use crate::table::Table;
use crate::{ClassifierError, Manifest, OnnxRuntime, Structure};

// Where the heads stand in the output of the graph.
const DIFFICULTY: usize = Task::COUNT;
const SENSITIVITY: usize = DIFFICULTY + 1;
const DOMAINS: usize = SENSITIVITY + 1;
const KINDS: usize = DOMAINS + Domain::COUNT;
const LENGTH: usize = KINDS + Kind::COUNT;
/// Outputs of the graph; the last two are the mean of the logarithm of the tokens and the logarithm
/// of its standard deviation.
const OUTPUTS: usize = LENGTH + 2;
/// Bounds of the logarithm of the spread, as in training.
const LOG_SPREAD: (f32, f32) = (-1.5, 1.0);
/// Bound of the logarithm of the expected tokens: e^11 is 60,000.
const LOG_TOKENS_MAX: f32 = 11.0;

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
    /// What the text is about.
    pub domain: Domain,
    /// How sure the domain is, 0..1.
    pub domain_confidence: f32,
    /// Probability per kind of sensitive content, in the order of [`Kind::ALL`].
    pub kinds: [f32; Kind::COUNT],
    /// Standard deviation of the logarithm of the expected output tokens.
    pub spread: f32,
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
    model: Arc<[u8]>,
    table: Arc<Table>,
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
            model: model.into(),
            table: Arc::new(Table::new(table, shape)?),
            runtime: runtime.clone(),
        };
        classifier.session()?.ask_probes(&classifier.manifest)?;
        Ok(classifier)
    }

    /// A session for one thread.
    pub fn session(&self) -> Result<CoreClassifier, ClassifierError> {
        let session = GraphSession::new(&self.runtime, &self.model)?;
        let model = Model {
            session,
            buckets: self.manifest.buckets(),
            tasks: self.manifest.tasks(),
            features: vec![0.0; GROUPS * self.table.width() + DENSE_COUNT],
            table: Arc::clone(&self.table),
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
    table: Arc<Table>,
    /// What the graph is given: means of the groups, dense features.
    features: Vec<f32>,
}

impl Model {
    fn judge(
        &mut self,
        ngrams: &mut Ngrams,
        input: &Input<'_>,
    ) -> Result<Classified, ClassifierError> {
        ngrams.hash(self.buckets);
        let (means, dense) = self.features.split_at_mut(GROUPS * self.table.width());
        self.table.means(ngrams.ids(), ngrams.group_ends(), means);
        dense.copy_from_slice(ngrams.dense());
        let outputs = self.session.run(&self.features)?;
        judge_outputs(&outputs, &self.tasks, ngrams, input)
    }
}

/// What the numbers of the graph mean; an error when one of them is none.
fn judge_outputs(
    outputs: &[f32; OUTPUTS],
    tasks: &[Task; Task::COUNT],
    ngrams: &Ngrams,
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

    let domains: [f32; Domain::COUNT] = std::array::from_fn(|index| outputs[DOMAINS + index]);
    let domains = softmax(&domains);
    let domain = (0..Domain::COUNT).max_by(|&a, &b| domains[a].total_cmp(&domains[b])).unwrap_or(0);

    let by_model = Sensitive {
        sensitivity: logistic(outputs[SENSITIVITY]),
        kinds: std::array::from_fn(|index| logistic(outputs[KINDS + index])),
    };
    let sensitive = sensitivity::with_findings(by_model, &ngrams.findings());

    let spread = outputs[LENGTH + 1].clamp(LOG_SPREAD.0, LOG_SPREAD.1).exp();
    // The mean of a log-normal lies above its median.
    let tokens = (outputs[LENGTH] + spread * spread / 2.0).min(LOG_TOKENS_MAX).exp();
    let verdict = Verdict {
        task,
        difficulty: input.structure.harder(logistic(outputs[DIFFICULTY])),
        sensitivity: sensitive.sensitivity,
        output_tokens: tokens + grown_tokens(task, input),
        confidence,
    };
    Ok(Classified {
        verdict: verdict.sane(),
        probs,
        domain: Domain::ALL[domain],
        domain_confidence: domains[domain],
        kinds: sensitive.kinds,
        spread,
        stage,
        micros: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            for at in 0..OUTPUTS {
                let mut outputs = [0.0; OUTPUTS];
                outputs[at] = value;
                let judged = judge_outputs(&outputs, &Task::ALL, &Ngrams::default(), &input);
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
        let classified =
            judge_outputs(&outputs, &tasks, &Ngrams::default(), &input).expect("numbers");
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

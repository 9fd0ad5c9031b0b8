//! A loaded classifier, and what each core does with it.
//!
//! In: a model folder, then one [`Input`] per request. Out: [`Classified`]. The order per request is
//! read (features) → model → structure; whatever goes wrong in the model (an error, a NaN) becomes
//! the verdict of the rules and is counted. Never: a lock, or a thread of its own.

use std::iter;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use models::{Task, Verdict};

use crate::bag::BagModel;
use crate::check::{self, LoadOptions};
use crate::device::RunsOn;
use crate::heads::Layout;
use crate::labels::{Domain, Kind};
use crate::manifest::Head;
use crate::ngrams::{Buckets, Ngrams};
use crate::onnx::GraphSession;
use crate::rules::Rules;
use crate::speed::{self, Speed};
use crate::table::Table;
use crate::tokens::{TextCutter, TokenModel};
use crate::{ClassifierError, Manifest, OnnxRuntime, Structure};

/// Most texts of one run: what they take of memory has a bound.
const BATCH_MAX: usize = 64;

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
    /// Which heads and tasks a model spoke for; the rest comes from the rules.
    pub covers: Coverage,
    /// Who decided the task.
    pub stage: Stage,
    /// Time spent, in microseconds.
    pub micros: u32,
}

/// Which heads a model has, and for which tasks it has a label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    heads: u8,
    tasks: u32,
}

impl Coverage {
    /// Nothing: the verdict is that of rules.
    pub const NONE: Coverage = Coverage { heads: 0, tasks: 0 };
    /// Every head and every task.
    pub const ALL: Coverage =
        Coverage { heads: (1 << Head::ALL.len()) - 1, tasks: (1 << Task::COUNT) - 1 };

    /// These heads and tasks.
    pub fn of(heads: &[Head], tasks: impl IntoIterator<Item = Task>) -> Coverage {
        Coverage {
            heads: heads.iter().fold(0, |set, &head| set | 1 << head as u8),
            tasks: tasks.into_iter().fold(0, |set, task| set | 1 << task.index()),
        }
    }

    /// Whether a model has the head.
    pub fn has(self, head: Head) -> bool {
        self.heads >> (head as u8) & 1 == 1
    }

    /// Whether a model has a label for the task.
    pub fn has_task(self, task: Task) -> bool {
        self.tasks >> task.index() & 1 == 1
    }

    /// What either has.
    pub fn union(self, other: Coverage) -> Coverage {
        Coverage { heads: self.heads | other.heads, tasks: self.tasks | other.tasks }
    }
}

/// Who decided the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The form of the request left no doubt.
    Structure,
    /// The model.
    Model,
    /// Cue words: no model is loaded, or it failed on this input.
    Rules,
    /// A second model together with the first: [`crate::combine`].
    Second,
    /// A verdict given before on the same input: [`crate::VerdictCache`].
    Cache,
}

impl Stage {
    /// All stages.
    pub const ALL: [Stage; 5] =
        [Stage::Structure, Stage::Model, Stage::Rules, Stage::Second, Stage::Cache];

    /// The name in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Structure => "structure",
            Stage::Model => "model",
            Stage::Rules => "rules",
            Stage::Second => "second",
            Stage::Cache => "cache",
        }
    }
}

/// A checked model, ready to make sessions on any thread. Cheap to clone: weights are shared.
#[derive(Clone, Debug)]
pub struct Classifier {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) model: Arc<[u8]>,
    pub(crate) feed: Feed,
    pub(crate) layout: Arc<Layout>,
    pub(crate) runs_on: RunsOn,
    pub(crate) runtime: OnnxRuntime,
}

/// What a model needs beside its graph.
#[derive(Clone, Debug)]
pub(crate) enum Feed {
    Ngrams { table: Arc<Table>, buckets: Buckets },
    Tokens(Arc<TextCutter>),
}

impl Classifier {
    /// Loads a model folder to run on the processor: [`Classifier::load_with`] with the defaults.
    pub fn load(folder: &Path, runtime: &OnnxRuntime) -> Result<Classifier, ClassifierError> {
        Classifier::load_with(folder, runtime, LoadOptions::default())
    }

    /// Loads a model folder: checks manifest, hashes and shapes, builds a session where `options` say,
    /// and asks every probe. A folder that fails any of it is refused whole.
    pub fn load_with(
        folder: &Path,
        runtime: &OnnxRuntime,
        options: LoadOptions,
    ) -> Result<Classifier, ClassifierError> {
        check::load(folder, runtime, options, &mut |_, _| {})
    }

    /// A session for one thread. It takes milliseconds, and may be made on one thread for another.
    pub fn session(&self) -> Result<CoreClassifier, ClassifierError> {
        self.session_on(self.runs_on.gpu)
    }

    pub(crate) fn session_on(&self, gpu: bool) -> Result<CoreClassifier, ClassifierError> {
        let session = GraphSession::new(&self.runtime, &self.model, gpu)?;
        let model = match &self.feed {
            Feed::Ngrams { table, buckets } => {
                let table = Arc::clone(table);
                Model::Bag(BagModel::new(session, table, *buckets, self.layout.len())?)
            }
            Feed::Tokens(cutter) => {
                Model::Tokens(TokenModel::new(session, Arc::clone(cutter), &self.manifest)?)
            }
        };
        let loaded = Loaded { model, layout: Arc::clone(&self.layout), row: Vec::new() };
        Ok(CoreClassifier { loaded: Some(loaded), ..CoreClassifier::rules_only() })
    }

    /// What the folder says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it runs, and why not elsewhere.
    pub fn runs_on(&self) -> &RunsOn {
        &self.runs_on
    }

    /// Measures a new session: microseconds per verdict, and thereby where it may run. Takes some
    /// tenths of a second.
    pub fn measure(&self) -> Result<Speed, ClassifierError> {
        let mut core = self.session()?;
        let speed = speed::measure(&mut core, &self.manifest.probes);
        match core.faults() {
            0 => Ok(speed),
            faults => Err(ClassifierError::Model(format!("failed on {faults} texts"))),
        }
    }
}

/// The classifier of one core: session, rules, and their buffers.
#[derive(Debug)]
pub struct CoreClassifier {
    ngrams: Ngrams,
    rules: Rules,
    loaded: Option<Loaded>,
    faults: u64,
}

#[derive(Debug)]
struct Loaded {
    model: Model,
    layout: Arc<Layout>,
    /// What the graph gave.
    row: Vec<f32>,
}

#[derive(Debug)]
enum Model {
    Bag(BagModel),
    Tokens(TokenModel),
}

impl CoreClassifier {
    /// A classifier without a model: for a host without ONNX Runtime.
    pub fn rules_only() -> CoreClassifier {
        CoreClassifier {
            ngrams: Ngrams::default(),
            rules: Rules::default(),
            loaded: None,
            faults: 0,
        }
    }

    /// Judges one request. There is always a verdict, and every number in it is in its range.
    pub fn classify(&mut self, input: &Input<'_>) -> Classified {
        let started = Instant::now();
        let mut classified = match self.by_model(input) {
            Some(Ok(classified)) => classified,
            Some(Err(_)) => {
                self.faults += 1;
                self.rules.judge(&self.ngrams, input)
            }
            None => self.rules.judge(&self.ngrams, input),
        };
        classified.micros = micros(started);
        classified
    }

    /// Judges several requests at once, one verdict for each in their order, appended to `into`. The
    /// graph runs once for all where it can, which pays on a GPU; `micros` is each one's share.
    pub fn classify_batch(&mut self, inputs: &[Input<'_>], into: &mut Vec<Classified>) {
        for inputs in inputs.chunks(BATCH_MAX) {
            let started = Instant::now();
            let first = into.len();
            if !self.by_tokens(inputs, into) {
                into.truncate(first);
                into.extend(inputs.iter().map(|input| self.classify(input)));
                continue;
            }
            let share = micros(started) / inputs.len() as u32;
            for classified in &mut into[first..] {
                classified.micros = share;
            }
        }
    }

    /// Judges all inputs by one run of a graph over tokens; `false` when there is none, or when the
    /// run failed: then each is to be judged on its own, so that one bad text does not spoil the rest.
    fn by_tokens(&mut self, inputs: &[Input<'_>], into: &mut Vec<Classified>) -> bool {
        let Some(Loaded { model: Model::Tokens(tokens), layout, row: rows }) = &mut self.loaded
        else {
            return false;
        };
        if tokens.run(inputs.iter().map(|input| input.text), rows).is_err() {
            return false;
        }
        for (input, row) in inputs.iter().zip(rows.chunks_exact(layout.len())) {
            self.ngrams.read(input.text);
            let judged = layout.judge(row, &self.rules, &self.ngrams, input);
            into.push(judged.unwrap_or_else(|_| {
                self.faults += 1;
                self.rules.judge(&self.ngrams, input)
            }));
        }
        true
    }

    /// Whether a model is loaded.
    pub fn has_model(&self) -> bool {
        self.loaded.is_some()
    }

    /// How often the model failed and the rules stood in.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// What the graph takes and gives, for people.
    pub(crate) fn ports(&self) -> String {
        match &self.loaded {
            Some(Loaded { model: Model::Bag(bag), .. }) => bag.ports(),
            Some(Loaded { model: Model::Tokens(tokens), .. }) => tokens.ports(),
            None => String::new(),
        }
    }

    /// Reads the text, and asks the model where there is one.
    pub(crate) fn by_model(
        &mut self,
        input: &Input<'_>,
    ) -> Option<Result<Classified, ClassifierError>> {
        self.ngrams.read(input.text);
        let Loaded { model, layout, row } = self.loaded.as_mut()?;
        let ran = match model {
            Model::Bag(bag) => bag.run(&mut self.ngrams, row),
            Model::Tokens(tokens) => tokens.run(iter::once(input.text), row),
        };
        Some(ran.and_then(|()| layout.judge(row, &self.rules, &self.ngrams, input)))
    }
}

fn micros(since: Instant) -> u32 {
    since.elapsed().as_micros().min(u32::MAX.into()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_model_the_rules_speak() {
        let mut core = CoreClassifier::rules_only();
        let input = Input { text: "Summarize this thread", structure: Structure::default() };
        let classified = core.classify(&input);
        assert_eq!(classified.stage, Stage::Rules);
        assert_eq!(classified.verdict.task, Task::Summarization);
        assert_eq!(classified.covers, Coverage::NONE);
        assert!(!core.has_model());
        assert_eq!(core.faults(), 0);
    }

    #[test]
    fn coverage_is_a_set() {
        let some = Coverage::of(&[Head::Task, Head::Length], [Task::Math]);
        assert!(some.has(Head::Length) && !some.has(Head::Domain));
        assert!(some.has_task(Task::Math) && !some.has_task(Task::OpenQa));
        assert_eq!(Coverage::of(&Head::ALL, Task::ALL), Coverage::ALL);
        assert_eq!(some.union(Coverage::ALL), Coverage::ALL);
        assert_eq!(some.union(Coverage::NONE), some);
    }

    #[test]
    fn a_session_may_be_made_for_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<CoreClassifier>();
        is_send::<Classifier>();
    }
}

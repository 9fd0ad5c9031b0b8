//! The description of a model folder: `manifest.toml`.
//!
//! In: a folder. Out: what the model is called, what it takes and gives, its limits, the hashes of
//! its files and the probes it must pass; all checked. Never: loads weights into a session.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use models::Task;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::ClassifierError;
use crate::excerpt::EXCERPT_BYTES_MAX;
use crate::labels::{Domain, Kind};
use crate::ngrams::{self, Buckets};
use crate::table::LANES;

/// Largest file of a model folder that is read: a transformer of some hundred million parameters.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Most labels of the head `task`.
const LABELS_MAX: usize = 1024;
/// Most tokens that a graph is given.
const TOKENS_MAX: usize = 8192;
/// What stands in `tasks` for a label that means no task.
const NO_TASK: &str = "none";

/// What a model folder says of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name for logs and metrics.
    pub name: String,
    /// Version for logs and metrics.
    pub version: String,
    /// SPDX expression of the weights.
    pub licence: String,
    /// What the graph is fed with.
    pub input: InputKind,
    /// The parts of the output, in order.
    pub heads: Vec<Head>,
    /// Labels in the order of the head `task`: names of tasks, or what [`Manifest::tasks`] maps to them.
    pub labels: Vec<String>,
    /// The task that each label means, where the label is not its name; `none` for no task.
    #[serde(default, rename = "tasks")]
    pub meanings: BTreeMap<String, String>,
    /// Each label is a yes or no of its own, instead of one choice among all.
    #[serde(default)]
    pub multi_label: bool,
    /// The graph's output of each head, where heads do not stand in one row of one output.
    #[serde(default)]
    pub outputs: BTreeMap<Head, String>,
    /// Parameters of the input kind `ngrams`.
    pub ngrams: Option<NgramParameters>,
    /// Parameters of the input kind `tokenizer`.
    pub tokenizer: Option<TokenizerParameters>,
    /// Files and their SHA-256.
    pub files: Files,
    /// Prompts with the verdict that they must get.
    #[serde(default)]
    pub probes: Vec<Probe>,
}

/// What a graph is fed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// `features` f32 `[1, groups × width + dense]`: see [`crate::ngrams`].
    Ngrams,
    /// `input_ids` and, where the graph has them, `attention_mask` and `token_type_ids`, i64 or i32,
    /// `[batch, tokens]`, as a `tokenizer.json` of Hugging Face makes them.
    Tokenizer,
}

/// The parameters of an input kind, with the file that goes with them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parameters<'a> {
    Ngrams(&'a NgramParameters, &'a FileHash),
    Tokenizer(&'a TokenizerParameters, &'a FileHash),
}

/// A part of the output row, in logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// One logit per label.
    Task,
    /// One logit; its logistic is the difficulty.
    Difficulty,
    /// One logit; its logistic is the sensitivity.
    Sensitivity,
    /// One logit per [`crate::Domain`], in its order.
    Domain,
    /// One logit per [`crate::Kind`], in its order; the logistic of each.
    Kinds,
    /// Mean and logarithm of the standard deviation of the logarithm of the tokens of an answer.
    Length,
}

impl Head {
    /// All, in the order in which a graph of kind `ngrams` gives them.
    pub const ALL: [Head; 6] =
        [Head::Task, Head::Difficulty, Head::Sensitivity, Head::Domain, Head::Kinds, Head::Length];

    /// Numbers in a row, for that many labels of the task.
    pub(crate) fn width(self, labels: usize) -> usize {
        match self {
            Head::Task => labels,
            Head::Difficulty | Head::Sensitivity => 1,
            Head::Domain => Domain::COUNT,
            Head::Kinds => Kind::COUNT,
            Head::Length => 2,
        }
    }

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Head::Task => "task",
            Head::Difficulty => "difficulty",
            Head::Sensitivity => "sensitivity",
            Head::Domain => "domain",
            Head::Kinds => "kinds",
            Head::Length => "length",
        }
    }
}

/// Parameters of the n-grams; all but the table's size are fixed by the code and stand here so that
/// a model made with others is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NgramParameters {
    /// Must equal [`ngrams::FEATURES`].
    pub features: u32,
    /// Binary logarithm of the rows for words.
    pub words_log2: u32,
    /// Binary logarithm of the rows for characters.
    pub chars_log2: u32,
    /// Numbers per row.
    pub width: usize,
    /// Must equal [`ngrams::TOKENS_MAX`].
    pub tokens_max: usize,
    /// Must equal [`ngrams::IDS_MAX`].
    pub ids_max: usize,
}

/// What is cut before and after a tokenizer. Lower-casing, special tokens and the vocabulary are the
/// tokenizer's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerParameters {
    /// Most tokens that the graph is given, special tokens included; of more, the middle goes.
    pub tokens_max: usize,
    /// Bytes of a long excerpt's head that are tokenised.
    #[serde(default = "head_bytes")]
    pub head_bytes: usize,
    /// Bytes of a long excerpt's tail that are tokenised.
    #[serde(default = "tail_bytes")]
    pub tail_bytes: usize,
    /// To which length rows are filled.
    #[serde(default)]
    pub padding: Padding,
    /// The id that rows are filled with; that of the tokenizer's own padding, else 0, when not given.
    pub pad_id: Option<u32>,
}

/// To which length the rows of a graph are filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// To the longest of those that run together; a row that runs alone is not filled.
    #[default]
    Longest,
    /// To `tokens_max`, for a graph of fixed shape.
    Max,
}

fn head_bytes() -> usize {
    300
}

fn tail_bytes() -> usize {
    300
}

/// The files of a folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The graph with its weights.
    pub model: FileHash,
    /// Of kind `ngrams`: the embedding table, i8 row by row; kept apart so that all sessions share
    /// one copy.
    pub table: Option<FileHash>,
    /// Of kind `tokenizer`: the tokenizer, as Hugging Face writes it.
    pub tokenizer: Option<FileHash>,
}

/// A file and what it must contain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileHash {
    /// Name inside the folder.
    pub file: String,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

/// A prompt and the task that the model must see in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The prompt.
    pub text: String,
    /// The name of the task.
    pub task: String,
}

impl Manifest {
    /// Reads and checks `folder/manifest.toml`; the files it names are read by [`FileHash::read`].
    pub fn load(folder: &Path) -> Result<Manifest, ClassifierError> {
        let path = folder.join("manifest.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ClassifierError::Read { path: path.clone(), source })?;
        Manifest::parse(&text).map_err(|what| ClassifierError::Manifest { path, what })
    }

    /// Reads and checks the text of a manifest.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The parameters of its input kind.
    pub(crate) fn parameters(&self) -> Result<Parameters<'_>, String> {
        let lacks =
            |field: &str, kind: &str| format!("{field} is missing; input {kind:?} needs it");
        let idle = |field: &str, kind: &str| format!("{field} means nothing for input {kind:?}");
        match self.input {
            InputKind::Ngrams => {
                let kind = "ngrams";
                if self.tokenizer.is_some() || self.files.tokenizer.is_some() {
                    return Err(idle("tokenizer", kind));
                }
                let parameters = self.ngrams.as_ref().ok_or_else(|| lacks("[ngrams]", kind))?;
                let table = self.files.table.as_ref().ok_or_else(|| lacks("files.table", kind))?;
                Ok(Parameters::Ngrams(parameters, table))
            }
            InputKind::Tokenizer => {
                let kind = "tokenizer";
                if self.ngrams.is_some() || self.files.table.is_some() {
                    return Err(idle("[ngrams] or files.table", kind));
                }
                let parameters = self.tokenizer.as_ref();
                let file = self.files.tokenizer.as_ref();
                Ok(Parameters::Tokenizer(
                    parameters.ok_or_else(|| lacks("[tokenizer]", kind))?,
                    file.ok_or_else(|| lacks("files.tokenizer", kind))?,
                ))
            }
        }
    }

    /// The task of each number of the head `task`; `None` for a label that means none.
    pub fn tasks(&self) -> Vec<Option<Task>> {
        self.labels.iter().map(|label| self.task(label).ok().flatten()).collect()
    }

    fn task(&self, label: &str) -> Result<Option<Task>, String> {
        let meaning = self.meanings.get(label).map_or(label, String::as_str);
        match Task::from_name(meaning) {
            Some(task) => Ok(Some(task)),
            None if meaning == NO_TASK => Ok(None),
            None => Err(format!(
                "labels: {label:?} is no task; say in [tasks] which one it means, or \"{NO_TASK}\" \
                 (tasks are {})",
                Task::ALL.map(|task| task.name()).join(", ")
            )),
        }
    }

    fn check(&self) -> Result<(), String> {
        match self.parameters()? {
            Parameters::Ngrams(parameters, _) => {
                parameters.check()?;
                self.check_ngram_heads()?;
            }
            Parameters::Tokenizer(parameters, _) => parameters.check()?,
        }
        self.check_heads()?;
        for probe in &self.probes {
            Task::from_name(&probe.task).ok_or(format!("probes: {:?} is no task", probe.task))?;
        }
        Ok(())
    }

    fn check_heads(&self) -> Result<(), String> {
        if !self.heads.contains(&Head::Task) {
            return Err("heads: \"task\" is missing; a classifier has at least that".into());
        }
        for (at, head) in self.heads.iter().enumerate() {
            if self.heads[..at].contains(head) {
                return Err(format!("heads: {:?} stands twice", head.name()));
            }
            if !self.outputs.is_empty() && !self.outputs.contains_key(head) {
                let name = head.name();
                return Err(format!("outputs.{name} is missing; say which output has that head"));
            }
        }
        if let Some(head) = self.outputs.keys().find(|head| !self.heads.contains(head)) {
            return Err(format!("outputs.{} is not among heads", head.name()));
        }
        if self.labels.is_empty() || self.labels.len() > LABELS_MAX {
            let count = self.labels.len();
            return Err(format!("labels: there are {count}; 1 to {LABELS_MAX} can be"));
        }
        for (at, label) in self.labels.iter().enumerate() {
            self.task(label)?;
            if self.labels[..at].contains(label) {
                return Err(format!("labels: {label:?} stands twice"));
            }
        }
        if let Some(label) = self.meanings.keys().find(|label| !self.labels.contains(label)) {
            return Err(format!("tasks: {label:?} is not among labels"));
        }
        if self.tasks().iter().all(Option::is_none) {
            return Err("tasks: no label means a task".into());
        }
        Ok(())
    }

    /// A graph of kind `ngrams` is made for this program: all heads, each task once.
    fn check_ngram_heads(&self) -> Result<(), String> {
        if self.heads != Head::ALL {
            let names = Head::ALL.map(Head::name).join(", ");
            return Err(format!("heads must be {names} for input \"ngrams\""));
        }
        if !self.meanings.is_empty() || !self.outputs.is_empty() || self.multi_label {
            return Err("tasks, outputs and multi_label are for input \"tokenizer\"".into());
        }
        if self.labels.len() != Task::COUNT {
            return Err(format!("labels: {} of {} tasks", self.labels.len(), Task::COUNT));
        }
        Ok(())
    }
}

impl NgramParameters {
    /// The rows of the embedding table; `None` when there are too many.
    pub(crate) fn buckets(&self) -> Option<Buckets> {
        Buckets::new(self.words_log2, self.chars_log2)
    }

    fn check(&self) -> Result<(), String> {
        if self.buckets().is_none() {
            return Err(format!(
                "ngrams.words_log2 and ngrams.chars_log2 may be at most {}",
                Buckets::LOG2_MAX
            ));
        }
        if !(1..=1024).contains(&self.width) || !self.width.is_multiple_of(LANES) {
            return Err(format!("ngrams.width must be a multiple of {LANES}, at most 1024"));
        }
        for (field, found, expected) in [
            ("features", self.features as usize, ngrams::FEATURES as usize),
            ("tokens_max", self.tokens_max, ngrams::TOKENS_MAX),
            ("ids_max", self.ids_max, ngrams::IDS_MAX),
        ] {
            if found != expected {
                return Err(format!("ngrams.{field} is {found}; this build computes {expected}"));
            }
        }
        Ok(())
    }
}

impl TokenizerParameters {
    fn check(&self) -> Result<(), String> {
        if !(4..=TOKENS_MAX).contains(&self.tokens_max) {
            let found = self.tokens_max;
            return Err(format!("tokenizer.tokens_max is {found}; 4 to {TOKENS_MAX} can be"));
        }
        let bytes = self.head_bytes.saturating_add(self.tail_bytes);
        if !(16..=EXCERPT_BYTES_MAX).contains(&bytes) {
            return Err(format!(
                "tokenizer.head_bytes and tokenizer.tail_bytes are {bytes} together; 16 to \
                 {EXCERPT_BYTES_MAX} can be, the length of an excerpt"
            ));
        }
        Ok(())
    }
}

impl FileHash {
    /// The file's content, once its hash is right.
    pub fn read(&self, folder: &Path) -> Result<Vec<u8>, ClassifierError> {
        let path: PathBuf = folder.join(&self.file);
        let read = |source| ClassifierError::Read { path: path.clone(), source };
        let inside = Path::new(&self.file).components().count() == 1;
        let size = std::fs::metadata(&path).map_err(read)?.len();
        if !inside || size > FILE_BYTES_MAX {
            let what = format!(
                "{:?} must be a file inside the folder, at most {FILE_BYTES_MAX} bytes",
                self.file
            );
            return Err(ClassifierError::Manifest { path, what });
        }
        let bytes = std::fs::read(&path).map_err(read)?;
        let found = hex(&Sha256::digest(&bytes));
        if found != self.sha256.to_ascii_lowercase() {
            return Err(ClassifierError::Hash { path, expected: self.sha256.clone(), found });
        }
        Ok(bytes)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NGRAMS: &str = r#"
        name = "m"
        version = "1"
        licence = "Apache-2.0"
        input = "ngrams"
        heads = ["task", "difficulty", "sensitivity", "domain", "kinds", "length"]
        labels = ["general_chat", "open_qa", "closed_qa", "summarization", "code_generation",
          "code_edit_debug", "data_analysis", "math", "logical_reasoning", "translation",
          "creative_writing", "rewriting", "classification", "extraction", "agent_tool_use",
          "brainstorming", "multimodal"]
        [ngrams]
        features = 2
        words_log2 = 16
        chars_log2 = 16
        width = 32
        tokens_max = 512
        ids_max = 2048
        [files]
        model = { file = "model.onnx", sha256 = "00" }
        table = { file = "table.i8", sha256 = "00" }
        [[probes]]
        text = "hello"
        task = "general_chat"
    "#;

    const TOKENIZER: &str = r#"
        name = "m"
        version = "1"
        licence = "Apache-2.0"
        input = "tokenizer"
        heads = ["task", "difficulty"]
        labels = ["math", "LABEL_1", "Other"]
        [tasks]
        LABEL_1 = "translation"
        Other = "none"
        [outputs]
        task = "logits"
        difficulty = "hardness"
        [tokenizer]
        tokens_max = 128
        [files]
        model = { file = "model.onnx", sha256 = "00" }
        tokenizer = { file = "tokenizer.json", sha256 = "00" }
    "#;

    #[test]
    fn a_wrong_manifest_names_the_field() {
        for (good, changes) in [
            (
                NGRAMS,
                &[
                    ("words_log2 = 16", "words_log2 = 31", "words_log2"),
                    ("features = 2", "features = 1", "features"),
                    ("tokens_max = 512", "tokens_max = 64", "tokens_max"),
                    ("\"math\"", "\"maths\"", "maths"),
                    ("\"math\"", "\"open_qa\"", "twice"),
                    ("\"math\",", "", "16 of 17"),
                    ("\"sensitivity\"", "\"task\"", "heads"),
                    ("width = 32", "width = 0", "width"),
                    ("input = \"ngrams\"", "input = \"smell\"", "smell"),
                    ("input = \"ngrams\"", "input = \"tokenizer\"", "[ngrams]"),
                    ("table = {", "tokenizer = {", "tokenizer"),
                    ("name = \"m\"", "nam = \"m\"", "nam"),
                    ("task = \"general_chat\"", "task = \"x\"", "probes"),
                ][..],
            ),
            (
                TOKENIZER,
                &[
                    ("heads = [\"task\", ", "heads = [", "\"task\" is missing"),
                    ("\"difficulty\"]", "\"difficulty\", \"task\"]", "twice"),
                    ("\"difficulty\"]", "\"difficulty\", \"length\"]", "outputs.length"),
                    ("hardness\"", "hardness\"\nlength = \"x\"", "outputs.length"),
                    ("LABEL_1 =", "LABEL_2 =", "LABEL_1"),
                    ("Other = \"none\"", "", "Other"),
                    ("\"translation\"", "\"babel\"", "LABEL_1"),
                    ("\"Other\"]", "\"Other\", \"math\"]", "twice"),
                    ("tokens_max = 128", "tokens_max = 1", "tokens_max"),
                    ("tokens_max = 128", "tokens_max = 8\nhead_bytes = 1000000", "head_bytes"),
                    ("[tokenizer]\n        tokens_max = 128", "", "[tokenizer]"),
                    ("tokenizer = {", "table = {", "files.table"),
                    ("labels = [\"math\", \"LABEL_1\", \"Other\"]", "labels = []", "labels"),
                ][..],
            ),
        ] {
            Manifest::parse(good).expect("good");
            for (from, to, named) in changes {
                assert!(good.contains(from), "{from}");
                let error = Manifest::parse(&good.replace(from, to)).expect_err(to);
                assert!(error.contains(named), "{to}: {error}");
            }
        }
    }

    #[test]
    fn labels_mean_tasks_by_name_or_by_map() {
        let manifest = Manifest::parse(TOKENIZER).expect("good");
        assert_eq!(manifest.tasks(), [Some(Task::Math), Some(Task::Translation), None]);
        let parameters = manifest.tokenizer.expect("given");
        assert_eq!((parameters.head_bytes, parameters.padding), (300, Padding::Longest));
    }

    #[test]
    fn a_changed_or_outside_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("model.onnx"), "x").expect("written");
        let mut file = FileHash { file: "model.onnx".into(), sha256: "00".into() };
        assert!(matches!(file.read(folder.path()), Err(ClassifierError::Hash { .. })));
        file.sha256 = hex(&Sha256::digest("x"));
        assert_eq!(file.read(folder.path()).expect("read"), b"x");
        file.file = "../model.onnx".into();
        assert!(file.read(folder.path()).is_err());
    }
}

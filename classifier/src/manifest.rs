//! The description of a model folder: `manifest.toml`.
//!
//! In: a folder. Out: what the model is called, what it takes and gives, its limits, the hashes of
//! its files and the probes it must pass; all checked. Never: loads weights into a session.

use std::path::{Path, PathBuf};

use models::Task;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::ClassifierError;
use crate::ngrams::{self, Buckets};
use crate::table::LANES;

/// Largest file of a model folder that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;

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
    /// Task names in the order of the head `task`.
    pub labels: Vec<String>,
    /// Parameters of the n-grams.
    pub ngrams: NgramParameters,
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
}

/// A part of the output row, in logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
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

/// The heads that this build reads, in their order.
const HEADS: [Head; 6] =
    [Head::Task, Head::Difficulty, Head::Sensitivity, Head::Domain, Head::Kinds, Head::Length];

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

/// The files of a folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The graph with its small weights.
    pub model: FileHash,
    /// The embedding table, i8 row by row; kept apart so that all sessions share one copy.
    pub table: FileHash,
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
        let manifest: Manifest = toml::from_str(&text).map_err(|error| {
            ClassifierError::Manifest { path: path.clone(), what: error.to_string() }
        })?;
        manifest.check().map_err(|what| ClassifierError::Manifest { path, what })?;
        Ok(manifest)
    }

    /// The rows of the embedding table.
    pub fn buckets(&self) -> Buckets {
        Buckets::new(self.ngrams.words_log2, self.ngrams.chars_log2)
            .expect("the manifest was checked")
    }

    /// The task of each output of the head `task`.
    pub fn tasks(&self) -> [Task; Task::COUNT] {
        let mut tasks = Task::ALL;
        for (task, label) in tasks.iter_mut().zip(&self.labels) {
            *task = Task::from_name(label).expect("the manifest was checked");
        }
        tasks
    }

    fn check(&self) -> Result<(), String> {
        let parameters = &self.ngrams;
        if Buckets::new(parameters.words_log2, parameters.chars_log2).is_none() {
            return Err(format!(
                "ngrams.words_log2 and ngrams.chars_log2 may be at most {}",
                Buckets::LOG2_MAX
            ));
        }
        if !(1..=1024).contains(&parameters.width) || !parameters.width.is_multiple_of(LANES) {
            return Err(format!("ngrams.width must be a multiple of {LANES}, at most 1024"));
        }
        for (field, found, expected) in [
            ("features", parameters.features as usize, ngrams::FEATURES as usize),
            ("tokens_max", parameters.tokens_max, ngrams::TOKENS_MAX),
            ("ids_max", parameters.ids_max, ngrams::IDS_MAX),
        ] {
            if found != expected {
                return Err(format!("ngrams.{field} is {found}; this build computes {expected}"));
            }
        }
        if self.heads != HEADS {
            return Err(format!("heads must be {HEADS:?}, in small letters").to_lowercase());
        }
        let mut seen = [false; Task::COUNT];
        for label in &self.labels {
            let task = Task::from_name(label).ok_or(format!("labels: {label:?} is no task"))?;
            if std::mem::replace(&mut seen[task.index()], true) {
                return Err(format!("labels: {label:?} stands twice"));
            }
        }
        if self.labels.len() != Task::COUNT {
            return Err(format!("labels: {} of {} tasks", self.labels.len(), Task::COUNT));
        }
        for probe in &self.probes {
            Task::from_name(&probe.task).ok_or(format!("probes: {:?} is no task", probe.task))?;
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

    const GOOD: &str = r#"
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

    fn load(text: &str) -> Result<Manifest, ClassifierError> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("manifest.toml"), text).expect("written");
        Manifest::load(folder.path())
    }

    #[test]
    fn a_wrong_manifest_names_the_field() {
        load(GOOD).expect("good");
        for (from, to, named) in [
            ("words_log2 = 16", "words_log2 = 31", "words_log2"),
            ("features = 2", "features = 1", "features"),
            ("tokens_max = 512", "tokens_max = 64", "tokens_max"),
            ("\"math\"", "\"maths\"", "maths"),
            ("\"math\"", "\"open_qa\"", "twice"),
            ("\"math\",", "", "16 of 17"),
            ("\"sensitivity\"", "\"task\"", "heads"),
            ("width = 32", "width = 0", "width"),
            ("input = \"ngrams\"", "input = \"smell\"", "smell"),
            ("name = \"m\"", "nam = \"m\"", "nam"),
            ("task = \"general_chat\"", "task = \"x\"", "probes"),
        ] {
            let error = load(&GOOD.replace(from, to)).expect_err(to).to_string();
            assert!(error.contains(named), "{to}: {error}");
        }
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

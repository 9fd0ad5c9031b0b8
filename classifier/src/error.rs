//! Why a classifier cannot be used. Each message names what was found and what would do.

use std::io;
use std::path::PathBuf;

/// A failure while loading; classifying itself has none, it falls back to the rules.
#[derive(Debug, thiserror::Error)]
pub enum ClassifierError {
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is wrong.
    #[error("{path}: {what}", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Field and remedy.
        what: String,
    },
    /// A file is not what the manifest says.
    #[error("{path}: SHA-256 is {found}, the manifest says {expected}", path = path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// From the manifest.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// There is no ONNX Runtime, or it is not one.
    #[error("no ONNX Runtime: {0} (fetch it with `cargo run -p tools -- onnxruntime fetch`)")]
    Runtime(String),
    /// ONNX Runtime refused the graph or a run of it.
    #[error("model: {0}")]
    Model(String),
    /// A GPU was asked for and there is none to use.
    #[error(
        "device cuda: {0} (device \"auto\" would run on the processor then; \"cuda\" does not)"
    )]
    Device(String),
    /// The model is too slow for where it shall run.
    #[error(
        "too slow to run inline: p99 is {found_us:.0} µs, at most {most_us:.0} µs hold up no other \
         request; run it on classifier threads, as second stage or main model"
    )]
    TooSlow {
        /// Measured.
        found_us: f32,
        /// The bound.
        most_us: f32,
    },
    /// A probe got another task.
    #[error("probe {text:?}: expected {expected}, the model says {found}")]
    Probe {
        /// The probe's prompt, which stands in the manifest.
        text: String,
        /// From the manifest.
        expected: String,
        /// From the model.
        found: String,
    },
}

//! Text to verdict: excerpt, rules, hashed n-grams or tokens, ONNX session.
//!
//! In: a bounded excerpt of a conversation ([`Excerpt`]) and what the request's structure says
//! ([`Structure`]). Out: a [`Classified`]: task, difficulty, sensitivity and its kinds, domain, expected
//! length, confidence, and which stage said so. Structure decides where it is certain (an image is there, a
//! tool loop runs), else the model, else the rules, which need no runtime. A model is a folder of either
//! kind ([`InputKind`]), loaded in steps that must all hold ([`Check`]), on a [`Device`], and placed by its
//! [`Speed`]. Around it: two verdicts to one ([`combine`]), verdicts given before ([`VerdictCache`]), the
//! part that a request plays ([`turn_type`]). Never: text kept after the call, an allocation per call of
//! our own after the first (models over tokens apart), a panic on any input.
//!
//! ```no_run
//! use classifier::{Classifier, Excerpt, Input, OnnxRuntime, Structure};
//!
//! let runtime = OnnxRuntime::init(None)?;
//! let classifier = Classifier::load("models/task-v1".as_ref(), &runtime)?;
//! let mut core = classifier.session()?; // one per thread
//! let mut excerpt = Excerpt::default();
//! let text = excerpt.build(None, "Translate \"good morning\" into French");
//! let classified = core.classify(&Input { text, structure: Structure::default() });
//! assert_eq!(classified.verdict.task, models::Task::Translation);
//! # Ok::<(), classifier::ClassifierError>(())
//! ```

mod bag;
mod cache;
mod cascade;
mod check;
mod core;
mod cues;
pub mod detect;
mod device;
mod error;
mod excerpt;
mod heads;
mod labels;
mod lexicon;
pub mod lines;
mod manifest;
pub mod ngrams;
mod onnx;
mod rules;
mod sensitivity;
mod shape;
mod speed;
mod structure;
mod table;
mod tokens;
mod turn;

pub use crate::core::{Classified, Classifier, CoreClassifier, Coverage, Input, Stage};
pub use cache::{CacheKey, VerdictCache};
pub use cascade::{combine, margin, needs_second};
pub use check::{Check, LoadOptions, Step};
pub use device::{Device, RunsOn};
pub use error::ClassifierError;
pub use excerpt::{EXCERPT_BYTES_MAX, Excerpt};
pub use labels::{Domain, Kind};
pub use manifest::{
    FileHash, Files, Head, InputKind, Manifest, NgramParameters, Padding, Probe,
    TokenizerParameters,
};
pub use onnx::OnnxRuntime;
pub use rules::Rules;
pub use speed::{INLINE_US_MAX, LengthSpeed, Placement, Speed};
pub use structure::Structure;
pub use turn::{Turn, TurnType, turn_type};

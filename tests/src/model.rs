//! Model folders for the classifier: the one that ships, small ones, and changed copies of either.
//!
//! In: what shall be different. Out: a temporary folder that a gateway can load, or must refuse. They
//! need ONNX Runtime; without it their tests say so and are left out.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::repository;

/// A model folder of its own.
#[derive(Debug)]
pub struct ModelFolder {
    folder: TempDir,
}

/// The library, where it is named or fetched.
///
/// # Panics
/// On a build server, where a test that is left out would go unnoticed.
pub fn onnxruntime() -> Option<PathBuf> {
    let fetched = repository().join(".cache/onnxruntime/1.31.1/libonnxruntime.so");
    let named = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let found = named.or_else(|| fetched.is_file().then_some(fetched));
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "no ONNX Runtime; fetch it with `cargo run -p tools -- onnxruntime fetch`"
    );
    if found.is_none() {
        eprintln!("SKIPPED: no ONNX Runtime; `cargo run -p tools -- onnxruntime fetch` fetches it");
    }
    found
}

impl ModelFolder {
    /// A copy of the model that ships.
    pub fn shipped() -> ModelFolder {
        ModelFolder::copied(&repository().join("models/task-v1"))
    }

    /// A copy of one of the classifier's small models over tokens: `topics`, which is like any export
    /// of a text classifier, `slow`, which takes milliseconds, or `faulty`, which fails on long texts.
    pub fn fixture(name: &str) -> ModelFolder {
        ModelFolder::copied(&repository().join("classifier/tests/fixtures").join(name))
    }

    fn copied(from: &Path) -> ModelFolder {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for entry in std::fs::read_dir(from).expect("a model folder") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
        }
        ModelFolder { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Exchanges two tasks: what was one is called the other from now on. The probes follow.
    #[must_use]
    pub fn exchanging(self, one: &str, other: &str) -> ModelFolder {
        let (one, other) = (format!("\"{one}\""), format!("\"{other}\""));
        self.manifest(|text| {
            text.replace(&one, "\"\0\"").replace(&other, &one).replace("\"\0\"", &other)
        });
        self
    }

    /// Calls it another version.
    #[must_use]
    pub fn version(self, version: &str) -> ModelFolder {
        self.manifest(|text| {
            let lines = text.lines().map(|line| match line.starts_with("version = ") {
                true => format!("version = \"{version}\""),
                false => line.to_owned(),
            });
            lines.collect::<Vec<_>>().join("\n")
        });
        self
    }

    /// Changes the manifest.
    pub fn manifest(&self, change: impl FnOnce(String) -> String) {
        let path = self.path().join("manifest.toml");
        let text = std::fs::read_to_string(&path).expect("a manifest");
        std::fs::write(&path, change(text)).expect("written");
    }

    /// Damages a file.
    #[must_use]
    pub fn damaged(self, file: &str) -> ModelFolder {
        let path = self.path().join(file);
        let mut bytes = std::fs::read(&path).expect("a file");
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        self
    }
}

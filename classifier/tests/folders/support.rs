//! What the tests of model folders share: the library, the folders, copies with a fault.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use classifier::{Input, OnnxRuntime, Structure};
use sha2::{Digest, Sha256};

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// The folder that ships with the program.
pub(crate) fn shipped() -> PathBuf {
    Path::new(CRATE).join("../models/task-v1")
}

/// A folder of `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(CRATE).join("tests/fixtures").join(name)
}

/// ONNX Runtime, or a line that says what is left out. Written past the capture of the test runner:
/// who reads its output should see what was not tested.
pub(crate) fn runtime() -> Option<OnnxRuntime> {
    let fetched = Path::new(CRATE).join("../.cache/onnxruntime/1.31.1/libonnxruntime.so");
    let named = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let path = named.or_else(|| fetched.is_file().then_some(fetched));
    if path.is_none() {
        skipped("no ONNX Runtime; fetch it with `cargo run -p tools -- onnxruntime fetch`");
    }
    path.map(|path| OnnxRuntime::init(Some(&path)).expect("the library loads"))
}

/// Says that something is not tested.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// A text without any form around it.
pub(crate) fn input(text: &str) -> Input<'_> {
    Input { text, structure: Structure::default() }
}

/// A copy of `folder` in which one file is changed; with `rehash` the manifest says the new hash.
pub(crate) fn changed(
    folder: &Path,
    file: &str,
    rehash: bool,
    change: impl Fn(Vec<u8>) -> Vec<u8>,
) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    let mut hashes = None;
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_owned();
        let mut bytes = fs::read(&path).expect("the file");
        if name == file {
            let before = hex(&bytes);
            bytes = change(bytes);
            hashes = Some((before, hex(&bytes)));
        }
        fs::write(copy.path().join(name), bytes).expect("written");
    }
    let (before, after) = hashes.expect("the file is there");
    if rehash {
        let path = copy.path().join("manifest.toml");
        let manifest = fs::read_to_string(&path).expect("the manifest");
        fs::write(path, manifest.replace(&before, &after)).expect("written");
    }
    copy
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

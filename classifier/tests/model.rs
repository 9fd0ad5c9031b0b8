//! The shipped model through the real ONNX Runtime. Without the library these tests say so and pass:
//! `cargo run -p tools -- onnxruntime fetch` puts it where they look.

use std::fs;
use std::path::{Path, PathBuf};

use classifier::{Classifier, ClassifierError, Input, OnnxRuntime, Stage, Structure};
use models::Task;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn folder() -> PathBuf {
    Path::new(ROOT).join("models/task-v1")
}

fn runtime() -> Option<OnnxRuntime> {
    let fetched = Path::new(ROOT).join(".cache/onnxruntime/1.31.1/libonnxruntime.so");
    let named = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let path = named.or_else(|| fetched.is_file().then_some(fetched));
    if path.is_none() {
        eprintln!(
            "SKIPPED: no ONNX Runtime; fetch it with `cargo run -p tools -- onnxruntime fetch`"
        );
    }
    path.map(|path| OnnxRuntime::init(Some(&path)).expect("the fetched library loads"))
}

fn input(text: &str) -> Input<'_> {
    Input { text, structure: Structure::default() }
}

#[test]
fn the_shipped_model_passes_its_probes_and_needs_no_rules() {
    let Some(runtime) = runtime() else { return };
    let classifier = Classifier::load(&folder(), &runtime).expect("a good folder");
    assert!(classifier.manifest().probes.len() >= Task::COUNT);
    let mut core = classifier.session().expect("a session");
    for text in [
        "",
        " ",
        "\n\n",
        "?",
        "🎉",
        "a",
        "\u{0}\u{fffd}",
        &"漢".repeat(40_000),
        &"x ".repeat(90_000),
    ] {
        let classified = core.classify(&input(text));
        assert_eq!(classified.stage, Stage::Model);
        assert_eq!(classified.verdict, classified.verdict.sane());
        assert!((classified.probs.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }
    assert_eq!(core.faults(), 0);
}

#[test]
fn hard_prompts_are_harder_than_easy_ones() {
    let Some(runtime) = runtime() else { return };
    let classifier = Classifier::load(&folder(), &runtime).expect("a good folder");
    let mut core = classifier.session().expect("a session");
    let easy = core.classify(&input("hi there")).verdict.difficulty;
    let hard = "Prove that every finite group of order p^2, for p prime, is abelian, and classify all \
                such groups up to isomorphism.";
    assert!(core.classify(&input(hard)).verdict.difficulty > easy + 0.2);
}

#[test]
fn every_thread_has_a_session_and_all_agree() {
    let Some(runtime) = runtime() else { return };
    let classifier = Classifier::load(&folder(), &runtime).expect("a good folder");
    let text = "Translate the following into German: the train is late";
    let verdicts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope
                    .spawn(|| classifier.session().expect("a session").classify(&input(text)).probs)
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(verdicts[0], verdicts[1]);
}

/// A copy of the shipped folder with one change to one file.
fn changed(file: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["manifest.toml", "model.onnx", "table.i8"] {
        let mut bytes = fs::read(folder().join(name)).expect("the shipped file");
        if name == file {
            bytes = change(bytes);
        }
        fs::write(copy.path().join(name), bytes).expect("written");
    }
    copy
}

#[test]
fn a_folder_with_a_fault_is_refused_whole() {
    let Some(runtime) = runtime() else { return };
    let flipped = |mut bytes: Vec<u8>| {
        bytes[100] ^= 1;
        bytes
    };
    let wrong_probe = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("text");
        text.replace("task = \"multimodal\"", "task = \"math\"").into_bytes()
    };
    let other_shape = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("text");
        let text = text.replace("_log2 = 17", "_log2 = 16").replace("width = 32", "width = 64");
        text.split("[[probes]]").next().expect("a head").as_bytes().to_vec()
    };
    let copy = changed("manifest.toml", other_shape);
    let error = Classifier::load(copy.path(), &runtime).expect_err("a table of another shape");
    assert!(matches!(error, ClassifierError::Model(_)), "{error}");

    for (file, change) in [
        ("model.onnx", &flipped as &dyn Fn(Vec<u8>) -> Vec<u8>),
        ("table.i8", &flipped),
        ("manifest.toml", &wrong_probe),
    ] {
        let copy = changed(file, change);
        let error = Classifier::load(copy.path(), &runtime).expect_err(file);
        match file {
            "manifest.toml" => assert!(matches!(error, ClassifierError::Probe { .. }), "{error}"),
            _ => assert!(matches!(error, ClassifierError::Hash { .. }), "{error}"),
        }
    }
}

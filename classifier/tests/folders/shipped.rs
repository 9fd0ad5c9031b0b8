//! The shipped model.

use crate::support::{changed, input, runtime, shipped as folder};
use classifier::{
    Check, Classifier, ClassifierError, Device, Input, LoadOptions, Placement, Stage, Structure,
};
use models::Task;

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
    let copy = changed(&folder(), "manifest.toml", false, other_shape);
    let error = Classifier::load(copy.path(), &runtime).expect_err("a table of another shape");
    assert!(matches!(error, ClassifierError::Model(_)), "{error}");

    for (file, change) in [
        ("model.onnx", &flipped as &dyn Fn(Vec<u8>) -> Vec<u8>),
        ("table.i8", &flipped),
        ("manifest.toml", &wrong_probe),
    ] {
        let copy = changed(&folder(), file, false, change);
        let error = Classifier::load(copy.path(), &runtime).expect_err(file);
        match file {
            "manifest.toml" => assert!(matches!(error, ClassifierError::Probe { .. }), "{error}"),
            _ => assert!(matches!(error, ClassifierError::Hash { .. }), "{error}"),
        }
    }
}

#[test]
fn a_check_says_what_was_found_at_each_step() {
    let Some(runtime) = runtime() else { return };
    let library = Some(runtime.path());
    let options = LoadOptions { device: Device::Cpu, placement: Some(Placement::Inline) };
    let check = Check::run(&folder(), library, options);
    assert!(check.passed(), "{:?}", check.steps);
    let names: Vec<_> = check.steps.iter().map(|step| step.name).collect();
    let all = ["runtime", "manifest", "files", "device", "graph", "texts", "probes", "speed"];
    assert_eq!(names, all);
    assert_eq!(check.placement, Some(Placement::Inline));
    assert_eq!(check.name.as_deref(), Some("task"));

    for (file, step) in
        [("manifest.toml", "manifest"), ("table.i8", "files"), ("model.onnx", "device")]
    {
        let copy = changed(&folder(), file, true, |mut bytes| {
            bytes.truncate(bytes.len() / 2);
            bytes
        });
        let check = Check::run(copy.path(), library, options);
        let last = check.steps.last().expect("a step");
        assert!(!check.passed() && !last.ok && last.name == step, "{file}: {:?}", check.steps);
        assert!(check.steps.iter().rev().skip(1).all(|step| step.ok));
    }
}

#[test]
fn the_shipped_model_fits_inline_and_auto_leaves_it_on_the_processor() {
    let Some(runtime) = runtime() else { return };
    let options = LoadOptions { device: Device::Auto, placement: Some(Placement::Inline) };
    let classifier = Classifier::load_with(&folder(), &runtime, options).expect("a good folder");
    let runs_on = classifier.runs_on();
    assert!(!runs_on.gpu && runs_on.fallback.is_some(), "{runs_on:?}");
    let speed = classifier.measure().expect("it runs");
    assert_eq!(speed.placement(), Placement::Inline, "{speed:?}");
}

#[test]
fn a_batch_gives_what_single_calls_give() {
    let Some(runtime) = runtime() else { return };
    let mut core =
        Classifier::load(&folder(), &runtime).expect("good").session().expect("a session");
    let looped = Structure { tool_results: 1, ..Structure::default() };
    let inputs = [input("hello"), input(""), Input { text: "go on", structure: looped }];
    let mut batch = Vec::new();
    core.classify_batch(&inputs, &mut batch);
    let singles = inputs.map(|input| core.classify(&input));
    assert_eq!(batch.len(), singles.len());
    for (one, other) in batch.iter().zip(&singles) {
        assert_eq!((one.verdict, one.stage), (other.verdict, other.stage));
    }
}

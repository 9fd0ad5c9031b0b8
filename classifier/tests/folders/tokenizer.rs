//! Models over tokens, as an export of Hugging Face is: the folders of `fixtures`.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use crate::support::{changed, fixture, input, runtime, shipped, skipped};
use classifier::{
    Check, Classified, Classifier, ClassifierError, CoreClassifier, Device, Head, Input,
    LoadOptions, Placement, Stage, Structure, combine, needs_second,
};
use models::Task;
use proptest::prelude::*;

/// Forty tokens and more: beyond what the fixture `faulty` can take.
const LONG: &str = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen \
                    fifteen sixteen seventeen eighteen nineteen twenty and as many again, please";

fn session(name: &str) -> Option<CoreClassifier> {
    let classifier = Classifier::load(&fixture(name), &runtime()?);
    Some(classifier.expect("a good folder").session().expect("a session"))
}

#[test]
fn the_manifest_of_the_page_is_the_one_that_is_tested() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/classifier.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, rest) = page.split_once("```toml\n").expect("a manifest on the page");
    let (shown, _) = rest.split_once("```").expect("its end");
    let tested = fs::read_to_string(fixture("topics").join("manifest.toml")).expect("the manifest");
    assert_eq!(shown, tested, "run classifier/tests/fixtures/make.py");
}

#[test]
fn an_export_of_hugging_face_works_by_its_manifest() {
    let Some(mut core) = session("topics") else { return };
    for (text, task) in [
        ("Translate this sentence into French: I lost my umbrella", Task::Translation),
        ("TRANSLATE THIS SENTENCE INTO FRENCH: I LOST MY UMBRELLA", Task::Translation),
        ("Summarize the following text in one sentence.", Task::Summarization),
        ("Write a Python function that reverses a list", Task::CodeGeneration),
    ] {
        let classified = core.classify(&input(text));
        assert_eq!((classified.verdict.task, classified.stage), (task, Stage::Model), "{text}");
        assert!((classified.probs.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        assert!(classified.covers.has(Head::Task) && !classified.covers.has(Head::Domain));
        assert_eq!(classified.probs[Task::DataAnalysis.index()], 0.0, "there is no label for it");
    }
    let structure = Structure { images: 1, ..Structure::default() };
    let classified = core.classify(&Input { text: "Translate this", structure });
    assert_eq!((classified.verdict.task, classified.stage), (Task::Multimodal, Stage::Structure));
    let key = format!("Translate: -----BEGIN {} PRIVATE KEY-----\nMIIEow", "RSA");
    assert!(core.classify(&input(&key)).verdict.sensitivity > 0.9, "detectors look all the same");
    assert_eq!(core.faults(), 0);
}

#[test]
fn a_graph_of_fixed_shape_narrow_ids_and_named_outputs_works() {
    let Some(mut core) = session("heads") else { return };
    for text in ["", "hello", LONG] {
        let classified = core.classify(&input(text));
        assert_eq!(classified.stage, Stage::Model, "{text}");
        assert!(classified.covers.has(Head::Difficulty), "{text}");
    }
    let mut batch = Vec::new();
    core.classify_batch(&[input("hello"), input(LONG)], &mut batch);
    assert_eq!(batch[1].probs, core.classify(&input(LONG)).probs, "one row at a time");
}

#[test]
fn a_batch_gives_what_single_calls_give() {
    let Some(mut core) = session("topics") else { return };
    let texts: Vec<String> = (0..100).map(|count| "please ".repeat(count)).collect();
    let inputs: Vec<_> = texts.iter().map(|text| input(text)).collect();
    let mut batch = Vec::new();
    core.classify_batch(&inputs, &mut batch);
    assert_eq!(batch.len(), inputs.len());
    for (input, batched) in inputs.iter().zip(&batch) {
        let single = core.classify(input);
        assert_eq!(single.verdict.task, batched.verdict.task);
        let close = |(one, other): (&f32, &f32)| (one - other).abs() < 1e-4;
        assert!(single.probs.iter().zip(&batched.probs).all(close));
    }
    core.classify_batch(&[], &mut batch);
    assert_eq!(batch.len(), inputs.len());
}

#[test]
fn a_model_that_fails_on_a_text_leaves_it_to_the_rules() {
    let Some(mut core) = session("faulty") else { return };
    assert_eq!(core.classify(&input("Summarize this")).stage, Stage::Model);
    assert_eq!(core.classify(&input(LONG)).stage, Stage::Rules);
    assert_eq!(core.faults(), 1);
    let mut batch = Vec::new();
    core.classify_batch(&[input("hello"), input(LONG), input("Translate this")], &mut batch);
    let stages: Vec<_> = batch.iter().map(|classified| classified.stage).collect();
    assert_eq!(stages, [Stage::Model, Stage::Rules, Stage::Model]);
    assert_eq!(core.faults(), 2);
}

#[test]
fn a_slow_model_is_refused_inline_and_taken_by_threads() {
    let Some(runtime) = runtime() else { return };
    let on = |placement| LoadOptions { device: Device::Cpu, placement: Some(placement) };
    let refused = Classifier::load_with(&fixture("slow"), &runtime, on(Placement::Inline));
    let error = refused.expect_err("too slow");
    assert!(matches!(error, ClassifierError::TooSlow { .. }), "{error}");
    let taken = Classifier::load_with(&fixture("slow"), &runtime, on(Placement::Threads));
    let speed = taken.expect("threads may wait").measure().expect("it runs");
    assert_eq!(speed.placement(), Placement::Threads);
    let check = Check::run(&fixture("slow"), Some(runtime.path()), on(Placement::Inline));
    assert!(!check.passed() && check.speed.is_some(), "{:?}", check.steps);
}

#[test]
fn two_stages_agree_on_one_verdict() {
    let Some(runtime) = runtime() else { return };
    let mut inline =
        Classifier::load(&shipped(), &runtime).expect("good").session().expect("a session");
    let mut second = session("topics").expect("the runtime is there");
    let text = input("Translate this sentence into French: I lost my umbrella");
    let (one, other) = (inline.classify(&text), second.classify(&text));
    let both = combine(&one, &other, 0.5);
    assert_eq!((both.verdict.task, both.stage), (Task::Translation, Stage::Second));
    assert_eq!(both.verdict.difficulty, one.verdict.difficulty);
    assert!(needs_second(&one, 1.0) && !needs_second(&both, 1.0));
}

#[test]
fn a_folder_that_does_not_fit_its_manifest_is_refused_whole() {
    let Some(runtime) = runtime() else { return };
    // Fixture, what is changed in its manifest, and what the refusal names.
    for (name, from, to, named) in [
        ("topics", "\"Math\",", "", "13]"),
        ("topics", "heads = [\"task\"]", "heads = [\"task\", \"length\"]", "16]"),
        ("topics", "[tokenizer]", "[outputs]\ntask = \"scores\"\n\n[tokenizer]", "\"scores\""),
        ("topics", "task = \"translation\"", "task = \"math\"", "expected math"),
        ("heads", "tokens_max = 16", "tokens_max = 17", "tokens_max = 16"),
        ("heads", "padding = \"max\"", "padding = \"longest\"", "padding"),
        ("heads", "difficulty = \"how_hard\"", "difficulty = \"which\"", "difficulty"),
    ] {
        let change = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("text");
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
                .replace(
                    "\"Math\" = \"math\"\n",
                    match from {
                        "\"Math\"," => "",
                        _ => "\"Math\" = \"math\"\n",
                    },
                )
                .into_bytes()
        };
        let copy = changed(&fixture(name), "manifest.toml", false, change);
        let error = Classifier::load(copy.path(), &runtime).expect_err(to).to_string();
        assert!(error.contains(named), "{from} -> {to}: {error}");
    }
    // Files that are not what they should be, with hashes that are right.
    for (file, named) in [("tokenizer.json", "tokenizer"), ("model.onnx", "model")] {
        for cut in [0, 1, 1000] {
            let copy = changed(&fixture("topics"), file, true, |bytes| bytes[..cut].to_vec());
            let error = Classifier::load(copy.path(), &runtime).expect_err(file).to_string();
            assert!(error.contains(named), "{file} {cut}: {error}");
        }
    }
    // A graph of the other input kind.
    let graph = fs::read(shipped().join("model.onnx")).expect("the shipped graph");
    let copy = changed(&fixture("topics"), "model.onnx", true, |_| graph.clone());
    let error = Classifier::load(copy.path(), &runtime).expect_err("other").to_string();
    assert!(error.contains("\"features\" is not known"), "{error}");
}

#[test]
fn cuda_is_strict_and_auto_says_why_not() {
    let Some(runtime) = runtime() else { return };
    let load = |device| {
        Classifier::load_with(&fixture("topics"), &runtime, LoadOptions { device, placement: None })
    };
    let auto = load(Device::Auto).expect("auto always loads");
    match load(Device::Cuda) {
        Ok(on_gpu) => {
            assert!(auto.runs_on().gpu && auto.runs_on().fallback.is_none());
            same_verdicts(&on_gpu, &load(Device::Cpu).expect("the processor"));
        }
        Err(error) => {
            skipped(&format!("no GPU ({error})"));
            assert!(matches!(error, ClassifierError::Device(_)), "{error}");
            assert!(error.to_string().contains("auto"), "{error}");
            let reason = auto.runs_on().fallback.as_deref().expect("a reason");
            assert!(!auto.runs_on().gpu, "{reason}");
            assert!(error.to_string().contains(reason), "{error}: {reason}");
        }
    }
}

fn same_verdicts(one: &Classifier, other: &Classifier) {
    let texts: Vec<String> = (1..200).map(|count| format!("{LONG} ").repeat(count % 7)).collect();
    let inputs: Vec<_> = texts.iter().map(|text| input(text)).collect();
    let run = |classifier: &Classifier| {
        let mut classified = Vec::new();
        let mut core = classifier.session().expect("a session");
        core.classify_batch(&inputs, &mut classified);
        classified
    };
    let tasks = |all: Vec<Classified>| -> Vec<Task> {
        all.iter().map(|classified| classified.verdict.task).collect()
    };
    assert_eq!(tasks(run(one)), tasks(run(other)));
}

#[test]
fn any_bytes_get_a_sane_verdict_from_every_kind_of_model() {
    let Some(runtime) = runtime() else { return };
    let core = |folder: &Path| {
        Classifier::load(folder, &runtime).expect("good").session().expect("a session")
    };
    let folders = [shipped(), fixture("topics"), fixture("heads"), fixture("faulty")];
    let cores: Vec<_> = folders.iter().map(|folder| RefCell::new(core(folder))).collect();
    let text = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..3000),
        "\\PC{0,500}".prop_map(String::into_bytes),
        ("[\\x00-\\x20\\u{300}-\\u{36f}\\u{200b}-\\u{202e}가-힣]{0,8}", 0usize..2000)
            .prop_map(|(unit, count)| unit.repeat(count).into_bytes()),
    ];
    let form = (any::<[u32; 6]>(), any::<bool>(), any::<bool>());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let ran = runner.run(&(text, form), |(bytes, (counts, has_tools, json_schema))| {
        let [tool_results, images, audio, turns, system_chars, total_chars] = counts;
        let structure = Structure {
            has_tools,
            tool_results: tool_results & tool_results >> 7 & 1,
            images: images & images >> 7 & 1,
            audio: audio & audio >> 7 & 1,
            json_schema,
            turns,
            system_chars,
            total_chars,
        };
        let text = String::from_utf8_lossy(&bytes);
        for core in &cores {
            let classified = core.borrow_mut().classify(&Input { text: &text, structure });
            prop_assert_eq!(classified.verdict, classified.verdict.sane());
            prop_assert!((classified.probs.iter().sum::<f32>() - 1.0).abs() < 1e-3);
            prop_assert!(classified.spread.is_finite());
            prop_assert!(classified.kinds.iter().all(|kind| (0.0..=1.0).contains(kind)));
        }
        Ok(())
    });
    ran.expect("no text breaks a model");
}

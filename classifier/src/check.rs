//! Loading a model folder, step by step; each must hold before the next is tried.
//!
//! In: a folder, and where it shall run. Out: a [`Classifier`], or the first thing that is wrong; and
//! for people a [`Check`] that says what was found at each step. Never: a folder that is half used.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::core::{Classifier, CoreClassifier, Feed, Input};
use crate::device::{Device, RunsOn};
use crate::heads::Layout;
use crate::manifest::{InputKind, Manifest, Parameters};
use crate::speed::{Placement, Speed};
use crate::table::Table;
use crate::tokens::TextCutter;
use crate::{ClassifierError, OnnxRuntime, Structure};

/// How a folder is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Where the graph shall run.
    pub device: Device,
    /// Where it must fit. `None` does not measure.
    pub placement: Option<Placement>,
}

/// The steps in their order.
const STEPS: [&str; 7] = ["manifest", "files", "device", "graph", "texts", "probes", "speed"];

/// Texts that people send by accident and programs on purpose.
const ODD_TEXTS: [&str; 8] =
    ["", " ", "\n\n\n", "?", "🎉", "\u{0}\u{fffd}\u{202e}", "漢字", "<script>%00\\u0000"];

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Name of the model, when the manifest could be read.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The steps that were tried; only the last can have failed.
    pub steps: Vec<Step>,
    /// What it costs, when it came so far.
    pub speed: Option<Speed>,
    /// Where it may run.
    pub placement: Option<Placement>,
}

/// One step of a check.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// What was found; for a failure, what would do.
    pub found: String,
}

impl Check {
    /// Loads the folder and says what was found on the way; `library` as for [`OnnxRuntime::init`].
    pub fn run(folder: &Path, library: Option<&Path>, options: LoadOptions) -> Check {
        let mut check =
            Check { name: None, version: None, steps: Vec::new(), speed: None, placement: None };
        let runtime = match OnnxRuntime::init(library) {
            Ok(runtime) => runtime,
            Err(error) => {
                check.steps.push(Step::failed("runtime", &error));
                return check;
            }
        };
        check.push("runtime", runtime.path().display().to_string());
        let loaded = load(
            folder,
            &runtime,
            LoadOptions { placement: None, ..options },
            &mut |name, found| {
                check.push(name, found);
            },
        );
        let failed = |check: &mut Check, error: &ClassifierError| {
            // The first step is the runtime's.
            let name = STEPS.get(check.steps.len() - 1).copied().unwrap_or("model");
            check.steps.push(Step::failed(name, error));
        };
        let classifier = match loaded {
            Ok(classifier) => classifier,
            Err(error) => {
                failed(&mut check, &error);
                return check;
            }
        };
        check.name = Some(classifier.manifest().name.clone());
        check.version = Some(classifier.manifest().version.clone());
        let measured = classifier.measure().and_then(|speed| {
            check.placement = Some(speed.placement());
            check.speed = Some(speed.clone());
            speed.must_fit(options.placement.unwrap_or(Placement::Threads))?;
            Ok(speed)
        });
        match measured {
            Ok(speed) => check.push("speed", said(&speed)),
            Err(error) => failed(&mut check, &error),
        }
        check
    }

    /// Whether every step holds.
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    fn push(&mut self, name: &'static str, found: String) {
        self.steps.push(Step { name, ok: true, found });
    }
}

impl Step {
    fn failed(name: &'static str, error: &ClassifierError) -> Step {
        Step { name, ok: false, found: error.to_string() }
    }
}

fn said(speed: &Speed) -> String {
    format!(
        "p50 {:.0} µs, p99 {:.0} µs over {} texts; fits {}",
        speed.p50_us,
        speed.p99_us,
        speed.texts,
        speed.placement().name()
    )
}

/// Loads a folder; `seen` is told each step that holds and what was found.
pub(crate) fn load(
    folder: &Path,
    runtime: &OnnxRuntime,
    options: LoadOptions,
    seen: &mut dyn FnMut(&'static str, String),
) -> Result<Classifier, ClassifierError> {
    let [manifest_step, files_step, device_step, graph_step, texts_step, probes_step, speed_step] =
        STEPS;
    let manifest = Manifest::load(folder)?;
    seen(manifest_step, describe(&manifest));

    let (classifier, bytes) = read(folder, runtime, manifest)?;
    seen(files_step, format!("{:.1} MB, hashes are right", bytes as f64 / 1e6));

    let (classifier, mut core) = place(classifier, options.device)?;
    seen(
        device_step,
        match &classifier.runs_on.fallback {
            Some(reason) => format!("{}, for {reason}", classifier.runs_on.name()),
            None => classifier.runs_on.name().into(),
        },
    );
    seen(graph_step, core.ports());

    for text in ODD_TEXTS {
        ask(&mut core, text)?;
    }
    seen(texts_step, format!("{} odd texts, every number is one", ODD_TEXTS.len()));

    ask_probes(&mut core, &classifier.manifest)?;
    seen(probes_step, format!("{} of {0} right", classifier.manifest.probes.len()));

    if let Some(placement) = options.placement {
        let speed = classifier.measure()?;
        speed.must_fit(placement)?;
        seen(speed_step, said(&speed));
    }
    Ok(classifier)
}

fn describe(manifest: &Manifest) -> String {
    let heads: Vec<_> = manifest.heads.iter().map(|head| head.name()).collect();
    let Manifest { name, version, licence, labels, .. } = manifest;
    let labels = labels.len();
    format!("{name} {version}, {licence}, heads {}, {labels} labels", heads.join(" "))
}

/// Reads the files, and says how many bytes they are.
fn read(
    folder: &Path,
    runtime: &OnnxRuntime,
    manifest: Manifest,
) -> Result<(Classifier, usize), ClassifierError> {
    let wrong = |what| ClassifierError::Manifest { path: folder.join("manifest.toml"), what };
    let model = manifest.files.model.read(folder)?;
    let mut bytes = model.len();
    let feed = match manifest.parameters().map_err(wrong)? {
        Parameters::Ngrams(parameters, table) => {
            let table = table.read(folder)?;
            bytes += table.len();
            let buckets =
                parameters.buckets().ok_or_else(|| wrong("ngrams: too many rows".into()))?;
            let table = Table::new(table, [buckets.rows(), parameters.width])?;
            Feed::Ngrams { table: Arc::new(table), buckets }
        }
        Parameters::Tokenizer(parameters, tokenizer) => {
            let tokenizer = tokenizer.read(folder)?;
            bytes += tokenizer.len();
            Feed::Tokens(Arc::new(TextCutter::new(&tokenizer, parameters)?))
        }
    };
    let classifier = Classifier {
        layout: Arc::new(Layout::new(&manifest)),
        manifest: Arc::new(manifest),
        model: model.into(),
        feed,
        runs_on: RunsOn::CPU,
        runtime: runtime.clone(),
    };
    Ok((classifier, bytes))
}

/// Builds the first session, on the device that was asked for, or for `auto` on one that works.
fn place(
    mut classifier: Classifier,
    device: Device,
) -> Result<(Classifier, CoreClassifier), ClassifierError> {
    let on_gpu = |classifier: &Classifier| {
        let mut core = classifier.session_on(true)?;
        // Some graphs fit the GPU only until they run.
        ask(&mut core, "hello")?;
        Ok::<_, ClassifierError>(core)
    };
    let fallback = match device {
        Device::Cpu => None,
        Device::Cuda => {
            let core = on_gpu(&classifier)?;
            classifier.runs_on = RunsOn { gpu: true, fallback: None };
            return Ok((classifier, core));
        }
        Device::Auto if classifier.manifest.input == InputKind::Ngrams => {
            Some("a graph this small runs faster there".to_owned())
        }
        Device::Auto => match on_gpu(&classifier) {
            Ok(core) => {
                classifier.runs_on = RunsOn { gpu: true, fallback: None };
                return Ok((classifier, core));
            }
            Err(ClassifierError::Device(reason)) => Some(reason),
            Err(error) => Some(error.to_string()),
        },
    };
    let core = classifier.session_on(false)?;
    classifier.runs_on = RunsOn { gpu: false, fallback };
    Ok((classifier, core))
}

/// The model's own verdict on a text; never that of the rules.
fn ask(core: &mut CoreClassifier, text: &str) -> Result<crate::Classified, ClassifierError> {
    let input = Input { text, structure: Structure::default() };
    let none = || ClassifierError::Model("no session".into());
    core.by_model(&input).ok_or_else(none)?
}

fn ask_probes(core: &mut CoreClassifier, manifest: &Manifest) -> Result<(), ClassifierError> {
    for probe in &manifest.probes {
        let found = ask(core, &probe.text)?.verdict.task.name();
        if found != probe.task {
            return Err(ClassifierError::Probe {
                text: probe.text.clone(),
                expected: probe.task.clone(),
                found: found.into(),
            });
        }
    }
    Ok(())
}

//! `pointsman classify` and `pointsman classifier`: judge prompts, try models, and swap them.

use super::client::{self, Answer};
use super::{Common, Done, load, table};
use crate::config::Config;
use crate::judge::Role;
use crate::judge::force::model_folder;
use clap::{Args, Subcommand};
use classifier::{
    Check, Classifier, CoreClassifier, Device, Excerpt, LoadOptions, OnnxRuntime, Speed,
};
use comfy_table::CellAlignment;
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const ADMIN_PATH: &str = "/v1/admin/classifier";

#[derive(Subcommand)]
pub(super) enum ClassifierCommand {
    /// Load a model folder step by step and say what was found; the exit status says whether it is good
    Check(FolderArgs),
    /// What a verdict takes, in microseconds, by length of the prompt
    Bench(FolderArgs),
    /// Put a model folder in force in the running gateway, without losing a request
    Use {
        /// Folder with `manifest.toml`
        folder: PathBuf,
        #[command(flatten)]
        at: AtArgs,
    },
    /// What is in force in the running gateway
    Show {
        #[command(flatten)]
        at: AtArgs,
    },
}

#[derive(Args)]
pub(super) struct FolderArgs {
    /// Folder with `manifest.toml` [default: the configured one]
    folder: Option<PathBuf>,
    /// Where it shall compute: cpu, cuda or auto [default: the configured device]
    #[arg(long)]
    device: Option<Device>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct AtArgs {
    /// Admin address of the gateway [default: the configured one]; a token is taken from `[admin]` or
    /// `POINTSMAN_ADMIN_TOKEN`
    #[arg(long = "admin", value_name = "ADDR")]
    address: Option<SocketAddr>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn classifier(common: &Common, command: ClassifierCommand) -> Done {
    match command {
        ClassifierCommand::Check(args) => check(common, &args),
        ClassifierCommand::Bench(args) => bench(common, &args),
        ClassifierCommand::Use { folder, at } => put_in_force(common, &folder, &at),
        ClassifierCommand::Show { at } => show(common, &at),
    }
}

/// `pointsman classify`: JSON lines in, verdicts out.
pub(super) fn classify(common: &Common) -> Done {
    let config = load(common)?;
    let mut core = match configured(&config) {
        Ok(core) => core,
        Err(error) => {
            eprintln!("pointsman: {error}; judging by rules alone");
            CoreClassifier::rules_only()
        }
    };
    let mut excerpt = Excerpt::default();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| format!("standard input: {error}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = classifier::lines::classify_line(&mut core, &mut excerpt, &line);
        // A reader that has gone needs no more lines.
        if writeln!(out, "{answer}").is_err() {
            return Ok(());
        }
    }
    let _ = out.flush();
    Ok(())
}

fn configured(config: &Config) -> Result<CoreClassifier, String> {
    if config.classifier.rules_only {
        return Ok(CoreClassifier::rules_only());
    }
    let folder = model_folder(&config.classifier)?;
    let runtime = OnnxRuntime::init(config.classifier.onnxruntime.as_deref())
        .map_err(|error| error.to_string())?;
    let options = LoadOptions { device: config.classifier.device.0, placement: None };
    let classifier = Classifier::load_with(&folder, &runtime, options);
    classifier.and_then(|classifier| classifier.session()).map_err(|error| error.to_string())
}

fn check(common: &Common, args: &FolderArgs) -> Done {
    let config = load(common)?;
    let (folder, options) = chosen(&config, args)?;
    let check = Check::run(&folder, config.classifier.onnxruntime.as_deref(), options);
    if args.json {
        let mut shown = json!(check);
        shown["folder"] = json!(folder);
        shown["ok"] = json!(check.passed());
        println!("{shown}");
    } else {
        let mut steps = table(&["step", "", "found"]);
        for step in &check.steps {
            steps.add_row([step.name, if step.ok { "ok" } else { "refused" }, &step.found]);
        }
        println!("{steps}");
    }
    match check.passed() {
        true => Ok(()),
        false => Err(format!("{}: not fit for use", folder.display())),
    }
}

/// A line for each model that the configuration names; an error when one of them would be refused.
/// Without ONNX Runtime the gateway serves by rules, which is no error unless a GPU is insisted on.
pub(super) fn check_configured(config: &Config) -> Result<Vec<String>, String> {
    let classifier = &config.classifier;
    if classifier.rules_only {
        return Ok(vec!["classifier: rules alone, as configured".to_owned()]);
    }
    let main = match (&classifier.model, model_folder(classifier)) {
        (_, Ok(folder)) => Some(folder),
        (None, Err(why)) => return Ok(vec![format!("classifier: rules alone: {why}")]),
        (Some(_), Err(why)) => return Err(why),
    };
    let options = LoadOptions { device: classifier.device.0, placement: None };
    let models = [
        (Role::Main, main),
        (Role::Second, classifier.second.clone()),
        (Role::Observe, classifier.observe.clone()),
    ];
    let mut lines = Vec::new();
    for (role, folder) in models {
        let Some(folder) = folder else { continue };
        let check = Check::run(&folder, classifier.onnxruntime.as_deref(), options);
        let setting = role.setting();
        match check.steps.iter().find(|step| !step.ok) {
            None => lines.push(format!(
                "{setting}: {} {}, p99 {:.0} µs",
                check.name.unwrap_or_default(),
                check.version.unwrap_or_default(),
                check.speed.map_or(0.0, |speed| speed.p99_us)
            )),
            Some(step) if step.name == "runtime" && options.device != Device::Cuda => {
                lines.push(format!("classifier: rules alone: {}", step.found));
                break;
            }
            Some(step) => return Err(format!("{setting}: {}: {}", folder.display(), step.found)),
        }
    }
    Ok(lines)
}

fn bench(common: &Common, args: &FolderArgs) -> Done {
    let config = load(common)?;
    let (folder, options) = chosen(&config, args)?;
    let runtime = OnnxRuntime::init(config.classifier.onnxruntime.as_deref())
        .map_err(|error| error.to_string())?;
    let classifier = Classifier::load_with(&folder, &runtime, options)
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let speed = classifier.measure().map_err(|error| error.to_string())?;
    let manifest = classifier.manifest();
    let device = classifier.runs_on().name();
    if args.json {
        let mut shown = json!(speed);
        shown["name"] = json!(manifest.name);
        shown["version"] = json!(manifest.version);
        shown["device"] = json!(device);
        shown["placement"] = json!(speed.placement());
        println!("{shown}");
        return Ok(());
    }
    println!("{} {} on {device}, microseconds per verdict:", manifest.name, manifest.version);
    println!("{}", speed_table(&speed));
    println!("placement: {}", speed.placement().name());
    Ok(())
}

fn speed_table(speed: &Speed) -> comfy_table::Table {
    let mut shown = table(&["prompt bytes", "texts", "p50 µs", "p99 µs"]);
    for column in 0..4 {
        if let Some(column) = shown.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let row = |bytes: String, texts: usize, p50: f32, p99: f32| {
        [bytes, texts.to_string(), format!("{p50:.1}"), format!("{p99:.1}")]
    };
    for length in &speed.by_length {
        let bytes = format!("from {}", length.bytes_from);
        shown.add_row(row(bytes, length.texts, length.p50_us, length.p99_us));
    }
    shown.add_row(row("all".to_owned(), speed.texts, speed.p50_us, speed.p99_us));
    shown
}

/// The folder and the device of a command, by its arguments, else as configured.
fn chosen(config: &Config, args: &FolderArgs) -> Result<(PathBuf, LoadOptions), String> {
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => model_folder(&config.classifier)?,
    };
    let device = args.device.unwrap_or(config.classifier.device.0);
    Ok((folder, LoadOptions { device, placement: None }))
}

fn put_in_force(common: &Common, folder: &Path, at: &AtArgs) -> Done {
    let config = load(common)?;
    // The gateway may have another working directory.
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let body = json!({ "folder": folder });
    let in_force = call(&config, at, "POST", Some(&body))?;
    if at.json {
        println!("{in_force}");
        return Ok(());
    }
    let main = &in_force["main"];
    println!(
        "in force: {} {}, {}, {} (p50 {:.0} µs, p99 {:.0} µs)",
        text(&main["name"]),
        text(&main["version"]),
        text(&main["placement"]),
        text(&main["device"]),
        main["p50_us"].as_f64().unwrap_or_default(),
        main["p99_us"].as_f64().unwrap_or_default()
    );
    if config.classifier.model.as_ref().and_then(|model| model.canonicalize().ok())
        != Some(folder.clone())
    {
        println!(
            "until the configuration is read anew; to keep it, write this into pointsman.toml:\n\n  \
             [classifier]\n  model = {}",
            toml::Value::from(folder.display().to_string())
        );
    }
    Ok(())
}

fn show(common: &Common, at: &AtArgs) -> Done {
    let config = load(common)?;
    let in_force = call(&config, at, "GET", None)?;
    if at.json {
        println!("{in_force}");
        return Ok(());
    }
    let mut shown = table(&["role", "name", "version", "placement", "device", "p50 µs", "folder"]);
    for role in ["main", "second", "observe"] {
        let model = &in_force[role];
        if model.is_null() {
            continue;
        }
        shown.add_row([
            role,
            text(&model["name"]),
            text(&model["version"]),
            text(&model["placement"]),
            text(&model["device"]),
            &format!("{:.1}", model["p50_us"].as_f64().unwrap_or_default()),
            text(&model["folder"]),
        ]);
    }
    println!("{shown}");
    if let Some(why) = in_force["rules_only_because"].as_str() {
        println!("rules judge: {why}");
    }
    let (threads, cache) = (&in_force["threads"], &in_force["cache"]);
    println!(
        "second stage: asked {}, answered {}, late {}, queue full {}, changed {}; cache: {} hits, {} misses",
        threads["asked"],
        threads["answered"],
        threads["late"],
        threads["queue_full"],
        threads["changed"],
        cache["hits"],
        cache["misses"]
    );
    Ok(())
}

/// Asks the running gateway; a problem that it names becomes the error.
fn call(config: &Config, at: &AtArgs, method: &str, body: Option<&Value>) -> Result<Value, String> {
    let address = at.address.unwrap_or(config.server.admin);
    let Answer { status, body } = client::call(address, &config.admin, method, ADMIN_PATH, body)?;
    match status {
        200 => Ok(body),
        _ => Err(format!("{}: {}", text(&body["title"]), text(&body["detail"]))),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

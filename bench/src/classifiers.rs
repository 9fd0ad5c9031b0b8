//! `bench classifier`: models, and two stages of them, on labelled prompts.

use std::error::Error;
use std::path::PathBuf;

use bench::judge::{self, Judge, Judgement, Row};
use clap::Args;
use classifier::{Classified, Classifier, CoreClassifier, OnnxRuntime, combine, needs_second};
use indicatif::{ProgressBar, ProgressStyle};

#[derive(Args)]
pub(crate) struct ClassifierArgs {
    /// JSON lines (.jsonl, .jsonl.gz): a prompt as `text` or `messages`, and any of the labels `task`,
    /// `difficulty`, `domain`, `sensitive`, `out_tokens`, with `lang` and `source` to group by.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A model folder; can be repeated. The shipped one when not given.
    #[arg(long, value_name = "FOLDER")]
    model: Vec<PathBuf>,
    /// A stronger model: judged alone, and as the second stage behind each of the others.
    #[arg(long, value_name = "FOLDER")]
    second: Option<PathBuf>,
    /// The second stage is asked where the first one's two best tasks are closer than this; can be
    /// repeated.
    #[arg(long, value_name = "0..1", default_values_t = [0.2], requires = "second")]
    second_margin: Vec<f32>,
    /// Its share of the verdict.
    #[arg(long, value_name = "0..1", default_value_t = 0.5, requires = "second")]
    second_weight: f32,
    /// Judge the rules as well, which need no model.
    #[arg(long)]
    rules: bool,
    /// The ONNX Runtime library; looked for as the gateway does when not given.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Only the line of each contender, not its parts.
    #[arg(long, conflicts_with = "json")]
    brief: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The model that comes with the program, below the root of the repository.
const SHIPPED_MODEL: &str = "models/task-v1";

/// Who is judged.
enum Contender<'a> {
    Rules,
    Model(&'a Classifier),
    Stages { first: &'a Classifier, second: &'a Classifier, margin: f32, weight: f32 },
}

/// Judges and prints.
pub(crate) fn judge_classifiers(args: &ClassifierArgs) -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::new();
    for file in &args.files {
        rows.extend(judge::read(file)?);
    }
    let shipped = [PathBuf::from(SHIPPED_MODEL)];
    let folders = if args.model.is_empty() { shipped.as_slice() } else { &args.model };
    let runtime = OnnxRuntime::init(args.onnxruntime.as_deref())?;
    let load = |folder: &PathBuf| Classifier::load(folder, &runtime);
    let models = folders.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let second = args.second.as_ref().map(load).transpose()?;

    let mut contenders = Vec::new();
    if args.rules {
        contenders.push(("rules".to_owned(), Contender::Rules));
    }
    let named = |folder: &PathBuf, model: &Classifier| {
        format!("{} {}", folder.display(), model.manifest().version)
    };
    for (folder, model) in folders.iter().zip(&models) {
        contenders.push((named(folder, model), Contender::Model(model)));
    }
    if let (Some(folder), Some(second)) = (&args.second, &second) {
        contenders.push((named(folder, second), Contender::Model(second)));
        for (first_folder, first) in folders.iter().zip(&models) {
            for &margin in &args.second_margin {
                let name = format!(
                    "{}, then {} below {margin}",
                    named(first_folder, first),
                    folder.display()
                );
                let weight = args.second_weight;
                contenders.push((name, Contender::Stages { first, second, margin, weight }));
            }
        }
    }

    let bar = ProgressBar::new((rows.len() * contenders.len()) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {elapsed} {msg}")?);
    let mut judgements = Vec::new();
    for (index, (name, contender)) in contenders.iter().enumerate() {
        bar.set_message(name.clone());
        let progress = |done| bar.set_position((index * rows.len() + done) as u64);
        judgements.push(judge_one(name, contender, &rows, progress)?);
    }
    bar.finish_and_clear();
    print(args, &judgements)
}

fn judge_one(
    name: &str,
    contender: &Contender<'_>,
    rows: &[Row],
    progress: impl FnMut(usize),
) -> Result<Judgement, Box<dyn Error>> {
    let judgement = match contender {
        Contender::Rules => {
            let mut judge = Judge::new(CoreClassifier::rules_only());
            judge::judge(name, rows, |row| judge.verdict(row), progress)
        }
        Contender::Model(model) => {
            let mut judge = Judge::new(model.session()?);
            judge::judge(name, rows, |row| judge.verdict(row), progress)
        }
        Contender::Stages { first, second, margin, weight } => {
            let mut first = Judge::new(first.session()?);
            let mut second = Judge::new(second.session()?);
            let verdict = |row: &Row| -> Result<Classified, &'static str> {
                let inline = first.verdict(row)?;
                match needs_second(&inline, *margin) {
                    true => Ok(combine(&inline, &second.verdict(row)?, *weight)),
                    false => Ok(inline),
                }
            };
            judge::judge(name, rows, verdict, progress)
        }
    };
    Ok(judgement?)
}

fn print(args: &ClassifierArgs, judgements: &[Judgement]) -> Result<(), Box<dyn Error>> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(judgements)?);
    } else if args.brief {
        println!("{}", judge::table::overview(judgements));
    } else {
        println!("{}", judge::table::render(judgements));
    }
    Ok(())
}

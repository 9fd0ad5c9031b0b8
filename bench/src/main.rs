//! The command `bench`: runs beside other gateways, judging of classifiers.

#![allow(clippy::print_stdout)] // it speaks to a person, or to a pipe with --json

mod classifiers;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use bench::compare::case::{CASES, Case};
use bench::compare::contender::Kind;
use bench::compare::priority::Precedence;
use bench::compare::{self, Machine, Options, more, table};
use clap::{Args, Parser, Subcommand};
use classifiers::{ClassifierArgs, judge_classifiers};
use indicatif::{ProgressBar, ProgressStyle};

#[derive(Parser)]
#[command(about = "Benchmarks of the whole gateway; for one per stage: cargo bench -p bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Our gateway beside others on this machine: CPU time, added latency, memory, start-up.
    Compare(CompareArgs),
    /// Classifiers on labelled prompts: accuracy, calibration, confusion, microseconds.
    Classifier(ClassifierArgs),
}

#[derive(Args)]
struct CompareArgs {
    /// What to measure; can be repeated: plain-1k, plain-40k, stream-64, stream-64-paced, auto-1k,
    /// auto-40k, or idle, streams, cores. The first five when not given.
    #[arg(long, value_name = "NAME", value_parser = parse_case)]
    case: Vec<String>,
    /// Who takes part besides `direct`; can be repeated. All that are installed when not given,
    /// but for litellm.
    #[arg(long, value_name = "NAME")]
    only: Vec<Kind>,
    /// Who takes part as well.
    #[arg(long, value_name = "NAME")]
    with: Vec<Kind>,
    /// Turns that each contender has in each case.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds at full speed per turn.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Our program; the release build beside this one when not given.
    #[arg(long, value_name = "FILE")]
    pointsman: Option<PathBuf>,
    /// A further argument of our program; can be repeated.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    argument: Vec<String>,
    /// The core of the contender whose turn it is.
    #[arg(long, default_value_t = 0)]
    gateway_core: usize,
    /// The core of load generator and provider.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Take precedence over other work on this machine; only root can.
    #[arg(long)]
    precedence: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is measured apart from the cases.
const APART: [&str; 3] = ["idle", "streams", "cores"];

fn main() {
    let done = match Cli::parse().command {
        Command::Compare(args) => compare(&args),
        Command::Classifier(args) => judge_classifiers(&args),
    };
    if let Err(error) = done {
        complain(&format!("bench: {error}"));
        std::process::exit(1);
    }
}

fn compare(args: &CompareArgs) -> Result<(), Box<dyn Error>> {
    let options = options(args)?;
    let _precedence = match args.precedence {
        true => Some(Precedence::take().map_err(|error| format!("--precedence: {error}"))?),
        false => None,
    };
    let bar = ProgressBar::new(1);
    bar.set_style(ProgressStyle::with_template("{bar:30} {elapsed} {msg}")?);
    let mut progress = |step: usize, steps: usize, what: &str| {
        bar.set_length(steps as u64);
        bar.set_position(step as u64);
        bar.set_message(what.to_owned());
    };
    let heading = table::heading(&Machine::this());
    let mut texts = Vec::new();
    let mut parts = serde_json::Map::new();
    if !options.cases.is_empty() {
        let result = compare::run(&options, &mut progress)?;
        texts.push(table::render(&result));
        parts.insert("compare".to_owned(), serde_json::to_value(&result)?);
    }
    for apart in APART.iter().filter(|apart| args.case.iter().any(|case| case == *apart)) {
        let (text, value) = match *apart {
            "idle" => {
                let starts = more::idle(&options, &mut progress)?;
                (more::idle_table(&starts).to_string(), serde_json::to_value(&starts)?)
            }
            "streams" => {
                let results = more::streams(&options, &mut progress)?;
                (more::streams_table(&results).to_string(), serde_json::to_value(&results)?)
            }
            _ => match more::cores(&options, &mut progress)? {
                Some(results) => {
                    (more::cores_table(&results).to_string(), serde_json::to_value(&results)?)
                }
                None => {
                    let text = "this machine has too few cores: two for the gateway and two for the \
                                load are needed";
                    (text.to_owned(), serde_json::Value::Null)
                }
            },
        };
        texts.push(format!("{heading}{apart}\n{text}\n"));
        parts.insert((*apart).to_owned(), value);
    }
    bar.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&parts)?);
    } else {
        println!("{}", texts.join("\n"));
    }
    Ok(())
}

fn options(args: &CompareArgs) -> Result<Options, Box<dyn Error>> {
    let ours = match &args.pointsman {
        Some(path) => path.clone(),
        None => beside()?,
    };
    let mut contenders = vec![Kind::Direct];
    let wanted = match args.only.as_slice() {
        [] => &[Kind::Pointsman, Kind::Nginx, Kind::Haproxy],
        only => only,
    };
    for &kind in wanted.iter().chain(&args.with) {
        if contenders.contains(&kind) {
            continue;
        }
        if kind.version(&ours).is_none() {
            let named = args.only.contains(&kind) || args.with.contains(&kind);
            if named || kind == Kind::Pointsman {
                let what = if kind == Kind::Pointsman {
                    ours.display().to_string()
                } else {
                    kind.name().to_owned()
                };
                return Err(format!("{what} cannot be run; install it, or leave it out").into());
            }
            complain(&format!("{} is not installed: left out", kind.name()));
            continue;
        }
        contenders.push(kind);
    }
    let mut cases: Vec<&'static Case> = CASES.iter().take(5).collect();
    if !args.case.is_empty() {
        cases = args.case.iter().filter_map(|name| Case::named(name)).collect();
    }
    if args.rounds == 0 {
        return Err("--rounds: at least 1".into());
    }
    Ok(Options {
        ours,
        contenders,
        cases,
        rounds: args.rounds,
        duration: Duration::try_from_secs_f64(args.seconds)?,
        gateway_core: args.gateway_core,
        load_core: args.load_core,
        arguments: args.argument.clone(),
    })
}

/// Our program where cargo puts it: in the folder of this one.
fn beside() -> Result<PathBuf, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let found = own.parent().map(|folder| folder.join("pointsman")).filter(|path| path.is_file());
    Ok(found.ok_or("there is no `pointsman` beside this program: build it with --release, or name it with --pointsman")?)
}

fn parse_case(text: &str) -> Result<String, String> {
    let names: Vec<&str> = CASES.iter().map(|case| case.name).chain(APART).collect();
    if names.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("one of {} would do", names.join(", ")))
}

#[allow(clippy::print_stderr)]
fn complain(text: &str) {
    eprintln!("{text}");
}

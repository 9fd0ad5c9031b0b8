//! Fuzzes for longer than the tests do: `cargo run --release -p tests --bin fuzz -- --seconds 600 json`.
//!
//! In: targets and a time. Out: a line per target; a finding is written beside the corpus, where the tests replay
//! it from then on.

#![allow(clippy::print_stdout)] // it speaks to a person

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tests::fuzz::{Campaign, TARGETS, Target, target};

/// Mutations between two looks at the clock.
const BATCH: usize = 500;

#[derive(Parser)]
#[command(about = "Mutations of the corpus against the readers of bytes from outside")]
struct Cli {
    /// Targets; all when none is named.
    #[arg(value_name = "TARGET", value_parser = parse_target)]
    targets: Vec<&'static str>,
    /// Seconds per target.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Where the mutations begin; the same seed gives the same ones.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The corpus: a folder per target.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"))]
    corpus: PathBuf,
}

fn parse_target(name: &str) -> Result<&'static str, String> {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    target(name).map(|target| target.name).ok_or(format!("one of {} would do", names.join(", ")))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let named: Vec<Target> = cli.targets.iter().filter_map(|name| target(name)).collect();
    let targets = if named.is_empty() { TARGETS } else { &named };
    let mut clean = true;
    for &target in targets {
        match fuzz(target, &cli) {
            Ok(line) => println!("{:15} {line}", target.name),
            Err(error) => {
                clean = false;
                println!("{:15} {error}", target.name);
            }
        }
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fuzz(target: Target, cli: &Cli) -> Result<String, String> {
    let folder = |error| format!("{}: {error}", cli.corpus.display());
    let mut campaign = Campaign::new(target, &cli.corpus, cli.seed).map_err(folder)?;
    let limit = Duration::try_from_secs_f64(cli.seconds).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let mut count = campaign.corpus_len();
    let mut done = campaign.replay();
    while done.is_ok() && begun.elapsed() < limit {
        done = campaign.run(BATCH);
        count += BATCH;
    }
    match done {
        Ok(()) => Ok(format!("{count} inputs, none breaks a promise")),
        Err(finding) => {
            let kept = keep(&cli.corpus.join(target.name), &finding.input)?;
            let input = finding.input.escape_ascii();
            Err(format!("{}\n    input: {input}\n    kept as {}", finding.message, kept.display()))
        }
    }
}

fn keep(folder: &Path, input: &[u8]) -> Result<PathBuf, String> {
    let number = input
        .iter()
        .fold(0_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let path = folder.join(format!("found-{number:016x}"));
    std::fs::write(&path, input).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

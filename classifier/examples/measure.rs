//! What a classifier costs on given prompts, and how often it is right when they are labelled.
//!
//! `cargo run --release -p classifier --example measure -- FOLDER PROMPTS.jsonl [cold]`; `FOLDER` may
//! be `rules`. Prompts are lines of `{"text", "task"?}`. Prints microseconds per verdict, excerpt
//! included, accuracy, and the memory of the process. Every prompt is judged by two sessions in
//! eight rounds; its time is the median, so that what else runs on the machine does not count, and
//! the percentiles are over prompts. With `cold`, 32 MiB are read before each verdict, so that caches
//! hold nothing of the model, as after much work for others.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::time::Instant;

use classifier::{Classifier, CoreClassifier, Excerpt, Input, OnnxRuntime, Structure};
use serde_json::Value;

const ROUNDS: usize = 8;
/// More than the caches that a core has for itself.
const COLD_BYTES: usize = 32 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(prompts)) = (arguments.next(), arguments.next()) else {
        return Err("usage: measure FOLDER PROMPTS.jsonl [cold]".into());
    };
    let cold = match arguments.next().as_deref() {
        None => Vec::new(),
        Some("cold") => vec![1u64; COLD_BYTES / size_of::<u64>()],
        Some(other) => return Err(format!("{other:?} is neither nothing nor \"cold\"").into()),
    };
    println!("memory at start: {:.1} MiB", resident_mib());
    let started = Instant::now();
    let mut sessions = Vec::new();
    if folder == "rules" {
        sessions.push(CoreClassifier::rules_only());
    } else {
        let runtime = OnnxRuntime::init(None)?;
        println!("library loaded:  {:.1} MiB, {:?}", resident_mib(), started.elapsed());
        let classifier = Classifier::load(Path::new(&folder), &runtime)?;
        println!("model probed:    {:.1} MiB, {:?}", resident_mib(), started.elapsed());
        for count in 1..=2 {
            sessions.push(classifier.session()?);
            println!("session {count}:       {:.1} MiB, {:?}", resident_mib(), started.elapsed());
        }
    }

    let text = std::fs::read_to_string(prompts)?;
    let rows: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let before = resident_mib();
    let mut excerpt = Excerpt::default();
    let mut times = vec![(0, Vec::new()); rows.len()];
    let (mut right, mut labelled) = (0, 0);
    for round in 0..ROUNDS {
        for (row, (size, times)) in rows.iter().zip(&mut times) {
            let text = row["text"].as_str().ok_or("a line has no \"text\"")?;
            for core in &mut sessions {
                std::hint::black_box(cold.iter().sum::<u64>());
                let started = Instant::now();
                let text = excerpt.build(None, text);
                let classified = core.classify(&Input { text, structure: Structure::default() });
                times.push(started.elapsed().as_nanos() as u64);
                *size = text.len();
                if let (0, Some(task)) = (round, row["task"].as_str()) {
                    labelled += 1;
                    right += usize::from(classified.verdict.task.name() == task);
                }
            }
        }
    }
    println!("after {ROUNDS} rounds of {}: {:+.1} MiB", rows.len(), resident_mib() - before);
    let times: Vec<(usize, u64)> = times
        .into_iter()
        .map(|(size, mut of)| {
            of.sort_unstable();
            (size, of[of.len() / 2])
        })
        .collect();
    if labelled > 0 {
        println!("accuracy {:.3} of {labelled}", right as f64 / labelled as f64);
    }
    for (name, from, to) in [
        ("all", 0, usize::MAX),
        ("< 80 B", 0, 80),
        ("< 300 B", 80, 300),
        ("< 1200 B", 300, 1200),
        ("longer", 1200, usize::MAX),
    ] {
        let mut of: Vec<u64> =
            times.iter().filter(|(size, _)| (from..to).contains(size)).map(|(_, ns)| *ns).collect();
        of.sort_unstable();
        if !of.is_empty() {
            let at = |share: f64| of[((of.len() - 1) as f64 * share) as usize] as f64 / 1e3;
            println!(
                "{name:>9}: p50 {:.1}  p90 {:.1}  p99 {:.1} us  (n {})",
                at(0.5),
                at(0.9),
                at(0.99),
                of.len()
            );
        }
    }
    Ok(())
}

fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4096.0 / (1024.0 * 1024.0)
}

//! Chores of the repository: `cargo run -p tools -- <task>`.

#![allow(clippy::print_stdout)] // a command speaks to a person

mod onnxruntime;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the repository.
#[derive(Debug, Parser)]
#[command(name = "tools")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// The ONNX Runtime that the classifier loads.
    #[command(subcommand)]
    Onnxruntime(onnxruntime::OnnxRuntimeCommand),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Onnxruntime(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("tools: {what}");
            ExitCode::FAILURE
        }
    }
}

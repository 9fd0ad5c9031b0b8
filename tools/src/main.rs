//! Chores of the repository: `cargo run -p tools -- <task>`.

#![allow(clippy::print_stdout)] // a command speaks to a person

mod catalogue;
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
    /// The model catalogue: fetch its sources, write it again, check it.
    #[command(subcommand)]
    Catalogue(catalogue::CatalogueCommand),
    /// The ONNX Runtime that the classifier loads.
    #[command(subcommand)]
    Onnxruntime(onnxruntime::OnnxRuntimeCommand),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Catalogue(command) => command.run(),
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

//! Chores of the repository: `cargo run -p tools -- <task>`.

#![allow(clippy::print_stdout)] // a command speaks to a person

mod catalogue;
mod onnxruntime;
mod tidy;

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
    /// Check the structure of the repository against its rules.
    Tidy {
        /// Print the rules and their reasons instead.
        #[arg(long)]
        list: bool,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Catalogue(command) => command.run(),
        Task::Onnxruntime(command) => command.run(),
        Task::Tidy { list } => tidy::run(list),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("tools: {what}");
            ExitCode::FAILURE
        }
    }
}

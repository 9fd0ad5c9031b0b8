//! The commands: a fake provider to run beside, a load run, and the self-test of both.

#![allow(clippy::print_stdout)] // it speaks to a person, or to a pipe with --json

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use loadtest::generator::{
    Arrival, Body, Load, Progress, Report, Summary, Template, parse_url, prompts_from_jsonl,
};
use loadtest::provider::{Config, Fault, Provider, Script};
use loadtest::selftest;

#[derive(Parser)]
#[command(about = "Scripted fake providers and an open-loop load generator, over loopback only")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a fake provider until it is killed.
    Provider(ProviderArgs),
    /// Send load to a server on this machine and judge its answers.
    Run(RunArgs),
    /// Set the generator straight against the provider on one core.
    Selftest(SelftestArgs),
}

#[derive(Args)]
struct ProviderArgs {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Default behaviour, as JSON: the members of a request's x_script.
    #[arg(long, value_name = "JSON")]
    script: Option<String>,
    /// Behaviour of one model; can be repeated.
    #[arg(long, value_name = "NAME=JSON")]
    model: Vec<String>,
    /// Answer in readable sentences, as long as the prompt calls for.
    #[arg(long)]
    demo: bool,
    /// Core to pin to.
    #[arg(long)]
    pin: Option<usize>,
    /// List what a script can say, and end.
    #[arg(long)]
    help_script: bool,
}

#[derive(Args)]
struct RunArgs {
    /// Where: http://127.0.0.1:PORT/v1 or a whole path.
    #[arg(long)]
    url: String,
    /// Requests per second, whatever the answers do.
    #[arg(long, conflicts_with = "saturate")]
    rate: Option<f64>,
    /// As many as the target answers, each connection asking again at once (the default).
    #[arg(long)]
    saturate: bool,
    /// Connections: all in use when saturating, the most to open at a rate.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Measured seconds.
    #[arg(long, default_value_t = 10.0)]
    duration: f64,
    /// Seconds before, not measured.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Stop after this many requests.
    #[arg(long)]
    requests: Option<u64>,
    /// Seconds that one request may take.
    #[arg(long, default_value_t = 60.0)]
    timeout: f64,
    /// Bytes of the JSON body: 1k, 40k, 400k, 1m.
    #[arg(long, default_value = "1k", value_parser = parse_size)]
    body: usize,
    /// Prompts in place of a sized body: JSON lines with "text", "prompt" or "messages"; - reads
    /// them from standard input.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Model to ask for.
    #[arg(long, default_value = "fake-1")]
    model: String,
    /// Ask for streams.
    #[arg(long)]
    stream: bool,
    /// Ask for the usage at the end of streams.
    #[arg(long)]
    include_usage: bool,
    /// Instructions for a fake provider, sent as x_script.
    #[arg(long, value_name = "JSON")]
    script: Option<String>,
    /// Pieces of text that each stream must have.
    #[arg(long)]
    expect_chunks: Option<u32>,
    /// Key for Authorization: Bearer.
    #[arg(long, env = "LOADTEST_KEY", hide_env_values = true)]
    key: Option<String>,
    /// A further header; can be repeated.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Core to pin to.
    #[arg(long)]
    pin: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SelftestArgs {
    /// Core for both threads.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Seconds per case.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let done = match Cli::parse().command {
        Command::Provider(args) => provider(&args),
        Command::Run(args) => run(&args),
        Command::Selftest(args) => self_test(&args),
    };
    // Debug, as `main` would print it, puts quotes round a sentence.
    done.unwrap_or_else(|error| {
        complain(&*error);
        std::process::exit(1)
    });
    Ok(())
}

#[allow(clippy::print_stderr)]
fn complain(error: &dyn Error) {
    eprintln!("loadtest: {error}");
}

fn provider(args: &ProviderArgs) -> Result<(), Box<dyn Error>> {
    if args.help_script {
        println!("{}", serde_json::to_string_pretty(&Script::default())?);
        println!("fault: one of {}", serde_json::to_string(&Fault::ALL)?);
        println!("usage: derived, missing, wrong, twice, or {{\"prompt\":…,\"completion\":…}}");
        return Ok(());
    }
    let base = Script { demo: args.demo, ..Script::default() };
    let read = |json: &str| base.overlaid(json.as_bytes());
    let script = args.script.as_deref().map_or(Ok(base.clone()), read)?;
    let models = args.model.iter().map(|text| {
        let (name, json) = text.split_once('=').ok_or(format!("--model {text}: NAME=JSON"))?;
        Ok((name.to_owned(), read(json)?))
    });
    let config = Config {
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)),
        script,
        models: models.collect::<Result<_, String>>()?,
        pin: args.pin,
        ..Config::default()
    };
    let handle = Provider::start(config)?;
    println!("{}", handle.base_url());
    handle.wait()?;
    Ok(())
}

fn run(args: &RunArgs) -> Result<(), Box<dyn Error>> {
    let (target, path) = parse_url(&args.url)?;
    let body = match &args.prompts {
        Some(file) => {
            let lines = if file.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin())
            } else {
                std::fs::read_to_string(file)
            };
            let lines = lines.map_err(|e| format!("--prompts {}: {e}", file.display()))?;
            Body::Prompts(prompts_from_jsonl(&lines)?)
        }
        None => Body::Sized(args.body),
    };
    let headers = args.header.iter().map(|text| {
        let (name, value) = text.split_once(':').ok_or(format!("--header {text}: NAME: VALUE"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    let template = Template {
        path,
        model: args.model.clone(),
        stream: args.stream,
        include_usage: args.include_usage,
        body,
        script: args.script.as_deref().map(serde_json::from_str).transpose()?,
        key: args.key.clone(),
        headers: headers.collect::<Result<_, String>>()?,
    };
    let seconds = |value: f64| Duration::try_from_secs_f64(value);
    let load = Load {
        arrival: args.rate.map_or(Arrival::Saturate, Arrival::Rate),
        connections: args.concurrency,
        duration: seconds(args.duration)?,
        warm_up: seconds(args.warm_up)?,
        requests_max: args.requests,
        timeout: seconds(args.timeout)?,
        chunks_expected: args.expect_chunks,
        pin: args.pin,
        ..Load::new(target, template)
    };
    let total = load.duration + load.warm_up;
    let bar = progress_bar(total.as_millis() as u64);
    let report = load.run_with(&mut |p: Progress| {
        bar.set_position(p.elapsed.as_millis() as u64);
        bar.set_message(format!("{} answered, {} under way", p.answered, p.in_flight));
    });
    bar.finish_and_clear();
    let report = report?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_report(&report);
    }
    Ok(())
}

fn self_test(args: &SelftestArgs) -> Result<(), Box<dyn Error>> {
    let bar = progress_bar(selftest::case_count() as u64);
    let duration = Duration::try_from_secs_f64(args.seconds)?;
    let rows = selftest::run(Some(args.core), duration, &mut |name| {
        bar.inc(1);
        bar.set_message(name.to_owned());
    });
    bar.finish_and_clear();
    let rows = rows?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    let mut table = table(&[
        "case",
        "requests/s",
        "chunks/s",
        "core used",
        "requests/CPU s",
        "chunks/CPU s",
        "generator µs",
        "provider µs",
        "in kernel",
        "failed",
    ]);
    for row in &rows {
        let report = &row.report;
        table.add_row([
            row.case.to_owned(),
            format!("{:.0}", report.requests_per_s),
            format!("{:.0}", report.chunks_per_s),
            format!("{:.0} %", row.core_share * 100.0),
            format!("{:.0}", row.requests_per_cpu_s),
            format!("{:.0}", row.chunks_per_cpu_s),
            format!("{:.1}", report.generator_cpu_us_per_request),
            format!("{:.1}", row.provider_cpu_us_per_request),
            format!("{:.0} %", row.kernel_share * 100.0),
            report.failed.to_string(),
        ]);
    }
    println!("{table}");
    println!(
        "Both threads on core {}. µs: CPU per request. \"Per CPU s\" is what the core gives when \
         nobody else uses it.",
        args.core
    );
    Ok(())
}

fn print_report(report: &Report) {
    println!(
        "{} answers whole, {} failed in {:.1} s: {:.0} requests/s, {:.0} chunks/s",
        report.completed, report.failed, report.seconds, report.requests_per_s, report.chunks_per_s
    );
    for (kind, count) in &report.errors {
        println!("  {kind}: {count}");
    }
    for (model, count) in report.models.iter().filter(|_| report.models.len() > 1) {
        println!("  by {model}: {count}");
    }
    println!(
        "tokens: {} in, {} out; generator CPU {:.1} µs per request",
        report.prompt_tokens, report.completion_tokens, report.generator_cpu_us_per_request
    );
    let mut table = table(&["ms", "count", "min", "mean", "p50", "p90", "p99", "p99.9", "max"]);
    let rows: [(&str, &Summary); 5] = [
        ("latency, from due", &report.latency),
        ("service, from sent", &report.service),
        ("first content, from due", &report.ttft),
        ("gap between chunks", &report.gap),
        ("sent late by", &report.lateness),
    ];
    for (name, s) in rows.into_iter().filter(|(_, s)| s.count > 0) {
        table.add_row([
            name.to_owned(),
            s.count.to_string(),
            millis(s.min),
            millis(s.mean as u64),
            millis(s.p50),
            millis(s.p90),
            millis(s.p99),
            millis(s.p999),
            millis(s.max),
        ]);
    }
    println!("{table}");
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(header.to_vec());
    table
}

fn millis(us: u64) -> String {
    format!("{:.3}", us as f64 / 1000.0)
}

/// Shown on a terminal only, so that pipes stay clean.
fn progress_bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn parse_size(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, shift) = match lower.strip_suffix(['k', 'm']) {
        Some(digits) if lower.ends_with('k') => (digits, 10),
        Some(digits) => (digits, 20),
        None => (lower.as_str(), 0),
    };
    let number: usize = digits.parse().map_err(|e| format!("{text}: {e}"))?;
    let bytes = number.checked_shl(shift).filter(|bytes| *bytes <= 64 << 20);
    bytes.ok_or(format!("{text}: at most 64m"))
}

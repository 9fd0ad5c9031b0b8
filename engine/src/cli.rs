//! The command line: what a person types, and tables that a person reads or a program parses.
#![allow(clippy::print_stdout, reason = "speaking to a person is what this file is for")]

mod classifier;
mod client;
mod key;
mod usage;

use crate::config::Config;
use crate::control::{self, Options, Started};
use crate::rt::DriverChoice;
use clap::{Args, Parser, Subcommand};
use classifier::ClassifierCommand;
use comfy_table::{Table, presets};
use key::KeyCommand;
use models::PicoUsd;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;
use store::Store;
use usage::UsageArgs;

/// The routing and control layer between applications and language models.
#[derive(Parser)]
#[command(name = "pointsman", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Common {
    /// Configuration file [default: pointsman.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "POINTSMAN_CONFIG")]
    config: Option<PathBuf>,
    /// Where keys and the ledger are kept
    #[arg(long, global = true, value_name = "DIR", env = "POINTSMAN_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Args, Default)]
struct ServeArgs {
    /// Start scripted local providers: no account needed
    #[arg(long)]
    demo: bool,
    /// Address for clients [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address for metrics and administration [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Data-plane threads [default: one per core]
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Event loop [default: auto]
    #[arg(long, value_enum)]
    driver: Option<DriverChoice>,
    /// Form of the log, which goes to standard error
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Serve requests (the default)
    Serve(ServeArgs),
    /// Check the configuration and say what would be served
    Check,
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// What was used and what it cost
    Usage(UsageArgs),
    /// The models that can be called with the present configuration
    Models {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Every model of the catalogue, also those without an enabled provider
        #[arg(long)]
        all: bool,
    },
    /// Judge prompts: JSON lines from standard input to standard output
    Classify,
    /// Try models that judge prompts, and swap them in the running gateway
    #[command(subcommand)]
    Classifier(ClassifierCommand),
}

/// What only the binary itself can do for its process.
pub struct Host {
    /// Called when a server has started, and later after work that took much memory for a moment.
    pub give_back_memory: fn(),
    /// Called before a command that only prints.
    pub end_on_broken_pipe: fn(),
}

/// Does what the command line says. Gives the process's exit code.
pub fn run(begun: Instant, host: &Host) -> i32 {
    let cli = Cli::parse();
    match dispatch(cli, begun, host) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("pointsman: {error}");
            1
        }
    }
}

type Done = Result<(), String>;

fn dispatch(cli: Cli, begun: Instant, host: &Host) -> Done {
    let common = cli.common;
    if !matches!(cli.command, None | Some(Command::Serve(_))) {
        (host.end_on_broken_pipe)();
    }
    match cli.command {
        None => serve(&common, &cli.serve, begun, host),
        Some(Command::Serve(args)) => serve(&common, &args, begun, host),
        Some(Command::Check) => check(&common),
        Some(Command::Key(command)) => key::key(&common, command),
        Some(Command::Usage(args)) => usage::usage(&common, &args),
        Some(Command::Models { json, all }) => list_models(&common, json, all),
        Some(Command::Classifier(command)) => classifier::classifier(&common, command),
        Some(Command::Classify) => classifier::classify(&common),
    }
}

fn load(common: &Common) -> Result<Config, String> {
    const DEFAULT: &str = "pointsman.toml";
    let default = Path::new(DEFAULT).is_file().then(|| PathBuf::from(DEFAULT));
    let path = common.config.clone().or(default);
    let mut config = Config::load(path.as_deref()).map_err(|error| error.to_string())?;
    if let Some(data_dir) = &common.data_dir {
        config.server.data_dir.clone_from(data_dir);
    }
    Ok(config)
}

fn serve(common: &Common, args: &ServeArgs, begun: Instant, host: &Host) -> Done {
    start_log(args.log_format);
    let mut config = load(common)?;
    if args.demo && common.data_dir.is_none() {
        config.server.data_dir.push("demo");
    }
    let server = &mut config.server;
    server.listen = args.listen.unwrap_or(server.listen);
    server.admin = args.admin.unwrap_or(server.admin);
    server.cores = args.cores.unwrap_or(server.cores);
    server.driver = args.driver.unwrap_or(server.driver);
    let options = Options { demo: args.demo, give_back_memory: host.give_back_memory };
    let data_dir = config.server.data_dir.clone();
    let tell = |started: &Started| {
        (options.give_back_memory)();
        welcome(started, args.demo, &data_dir);
    };
    let reload = || {
        let mut fresh = load(common)?;
        // What was bound at the start stays as it is.
        fresh.server = config.server.clone();
        Ok(fresh)
    };
    control::run(config.clone(), &options, begun, tell, reload).map_err(|error| error.to_string())
}

fn start_log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("POINTSMAN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// What a person needs next: the address, a key, a line that works.
fn welcome(started: &Started, demo: bool, data_dir: &Path) {
    let Started { listen, admin, models, providers, first_key, took } = started;
    let mut text = format!(
        "listening on http://{listen} (admin http://{admin}), ready in {} ms\n",
        took.as_millis()
    );
    match providers.as_slice() {
        [] => text.push_str(
            "no provider is enabled: set a key (OPENAI_API_KEY, GROQ_API_KEY, MISTRAL_API_KEY, …), \
             add a [[provider]]\nto pointsman.toml, or try --demo\n",
        ),
        some => text.push_str(&format!("{models} models of {}\n", some.join(", "))),
    }
    if let Some(key) = first_key {
        let kept = if demo { "made for this run" } else { "shown this once" };
        text.push_str(&format!(
            "\nAPI key ({kept}): {key}\n\n  \
             curl http://{listen}/v1/chat/completions \\\n    \
             -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n    \
             -d '{{\"model\":\"auto\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Write a haiku about trains\"}}]}}'\n\n  \
             {} usage --data-dir {} --by model\n",
            std::env::args().next().unwrap_or_else(|| "pointsman".to_owned()),
            data_dir.display()
        ));
    }
    print!("{text}");
    // A pipe would hold the lines back; a reader that is gone is no reason not to serve.
    let _ = std::io::stdout().flush();
}

fn check(common: &Common) -> Done {
    let config = load(common)?;
    let catalogue = config
        .catalogue()
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let mut builder = crate::snapshot::Builder::new(&config)
        .map_err(|error| format!("upstream.roots: {error}"))?;
    let (snapshot, states) = builder.build(&config, catalogue, |name| std::env::var(name).ok())?;
    let catalogue = &snapshot.catalogue;
    println!(
        "configuration is good: {} models, {} offers, {} providers known; {} models callable",
        catalogue.model_count(),
        catalogue.offer_count(),
        catalogue.provider_count(),
        snapshot.callable_models()
    );
    for (provider, state) in &states {
        use crate::snapshot::ProviderState as State;
        match state {
            State::Enabled => println!("  {provider}: enabled"),
            State::NoKey { env } => println!("  {provider}: disabled, {env} is not set"),
            State::BadKey { env } => println!("  {provider}: disabled, {env} holds no valid key"),
            State::BadFile { env, why } => {
                println!("  {provider}: disabled, the file that {env} names {why}");
            }
            State::Off => println!("  {provider}: not in service"),
        }
    }
    for line in classifier::check_configured(&config)? {
        println!("{line}");
    }
    Ok(())
}

fn open_store(common: &Common) -> Result<(Config, Store), String> {
    let config = load(common)?;
    let data_dir = &config.server.data_dir;
    std::fs::create_dir_all(data_dir)
        .map_err(|error| format!("{}: {error}", data_dir.display()))?;
    let store = Store::open(data_dir).map_err(|error| error.to_string())?;
    Ok((config, store))
}

fn list_models(common: &Common, as_json: bool, all: bool) -> Done {
    let config = load(common)?;
    let catalogue = config
        .catalogue()
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let mut builder = crate::snapshot::Builder::new(&config)
        .map_err(|error| format!("upstream.roots: {error}"))?;
    let (snapshot, _) = builder.build(&config, catalogue, |name| std::env::var(name).ok())?;
    let mut shown = table(&["model", "context", "input $/M", "output $/M", "providers", "can"]);
    let mut rows = Vec::new();
    for model in snapshot.catalogue.models() {
        let offers: Vec<_> =
            models::catalogue::OfferIx::each(snapshot.catalogue.offers_of(model.ix()))
                .filter(|&offer| all || snapshot.target(offer).is_some())
                .collect();
        let Some(&best) = offers.first() else { continue };
        let offer = snapshot.catalogue.offer(best);
        // Pico-dollars per token are micro-dollars per million tokens.
        let per_million = |price: PicoUsd| format!("{:.3}", price.0 as f64 / 1e6);
        let prices = offer.prices().map(|prices| prices.base);
        let providers: Vec<_> = offers
            .iter()
            .map(|&offer| {
                snapshot.catalogue.provider(snapshot.catalogue.offer(offer).provider()).id()
            })
            .collect();
        if as_json {
            rows.push(json!({
                "id": model.id(),
                "lab": model.lab(),
                "context": offer.context(),
                "max_output": offer.max_output(),
                "input_pico_usd": prices.map(|rates| rates.input.0),
                "output_pico_usd": prices.map(|rates| rates.output.0),
                "providers": providers,
                "capabilities": offer.caps().names().collect::<Vec<_>>(),
            }));
        } else {
            shown.add_row([
                model.id().to_owned(),
                offer.context().to_string(),
                prices.map_or("?".into(), |rates| per_million(rates.input)),
                prices.map_or("?".into(), |rates| per_million(rates.output)),
                providers.join(" "),
                offer.caps().to_string(),
            ]);
        }
    }
    if as_json {
        println!("{}", json!(rows));
    } else {
        println!("{shown}");
    }
    Ok(())
}

fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(heads.to_vec());
    table
}

fn moment(unix_s: i64) -> String {
    let time = jiff::Timestamp::from_second(unix_s).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}

//! The command line: what a person types, and tables that a person reads or a program parses.
#![allow(clippy::print_stdout, reason = "speaking to a person is what this file is for")]

use crate::config::Config;
use crate::control::{self, Options, Started};
use crate::rt::DriverChoice;
use clap::{Args, Parser, Subcommand};
use classifier::{Classifier, CoreClassifier, Excerpt, OnnxRuntime};
use comfy_table::{CellAlignment, Table, presets};
use govern::KeyRecord;
use models::PicoUsd;
use serde_json::json;
use std::io::{BufRead, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;
use store::{Dimension, Journal, JournalError, JournalLimits, NewKey, Store, Totals, UsageQuery};

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
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key; its secret is shown this once
    Create {
        /// What to call it
        #[arg(long)]
        name: String,
        /// Organisation that pays
        #[arg(long, default_value = "")]
        org: String,
        /// Team
        #[arg(long, default_value = "")]
        team: String,
        /// Project
        #[arg(long, default_value = "")]
        project: String,
        /// The person it is for
        #[arg(long)]
        user: Option<String>,
        /// Strategy of its `auto` requests: cost, quality, latency or balanced
        #[arg(long, value_parser = strategy_name)]
        strategy: Option<String>,
        /// Day from which on it is refused, YYYY-MM-DD in UTC
        #[arg(long, value_name = "DAY", value_parser = day)]
        expires: Option<i64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List all keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse a key from now on
    Revoke {
        /// Its number
        id: u64,
    },
}

#[derive(Args)]
struct UsageArgs {
    /// What to group by, several with commas: model, provider, key, task, org, team, project, user,
    /// strategy, outcome, dialect, price_version, day
    #[arg(long, value_delimiter = ',', value_parser = dimension, default_value = "model")]
    by: Vec<Dimension>,
    /// Only the last … of time: 30m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = span_us)]
    since: Option<u64>,
    /// The last N requests instead of sums
    #[arg(long, value_name = "N")]
    recent: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What only the binary itself can do for its process.
pub struct Host {
    /// Called once when a server has started.
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
        Some(Command::Key(command)) => key(&common, command),
        Some(Command::Usage(args)) => usage(&common, &args),
        Some(Command::Models { json, all }) => list_models(&common, json, all),
        Some(Command::Classify) => classify(&common),
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
    let options = Options { demo: args.demo };
    let data_dir = config.server.data_dir.clone();
    let tell = |started: &Started| {
        (host.give_back_memory)();
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
            State::Off => println!("  {provider}: not in service"),
        }
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

fn key(common: &Common, command: KeyCommand) -> Done {
    let (_, mut store) = open_store(common)?;
    match command {
        KeyCommand::Create { name, org, team, project, user, strategy, expires, json } => {
            if name.is_empty() || name.len() > 100 || name.contains(char::is_control) {
                return Err("--name: 1 to 100 printable characters would do".into());
            }
            let new = NewKey { name, org, team, project, user, strategy, expires_at: expires };
            let (secret, record) = store.create_key(&new).map_err(|error| error.to_string())?;
            if json {
                let mut row = key_json(&record);
                row["secret"] = json!(secret.reveal());
                println!("{row}");
            } else {
                println!(
                    "key {} \"{}\", shown this once:\n{}",
                    record.id,
                    record.name,
                    secret.reveal()
                );
            }
        }
        KeyCommand::List { json } => {
            let keys = store.list_keys().map_err(|error| error.to_string())?;
            if json {
                println!("{}", json!(keys.iter().map(key_json).collect::<Vec<_>>()));
            } else {
                println!("{}", key_table(&keys));
            }
        }
        KeyCommand::Revoke { id } => {
            let record = store.revoke_key(id).map_err(|error| error.to_string())?;
            println!(
                "key {} \"{}\" is revoked; running gateways refuse it within a second",
                id, record.name
            );
        }
    }
    Ok(())
}

fn key_json(key: &KeyRecord) -> serde_json::Value {
    json!({
        "id": key.id,
        "name": key.name,
        "org": key.org,
        "team": key.team,
        "project": key.project,
        "user": key.user,
        "strategy": key.strategy,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
        "expires_at": key.expires_at,
    })
}

fn key_table(keys: &[KeyRecord]) -> Table {
    let mut table =
        table(&["id", "name", "org", "team", "project", "user", "strategy", "created", "state"]);
    for key in keys {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {}", moment(at)),
            (None, Some(at)) => format!("expires {}", moment(at)),
            (None, None) => "active".to_owned(),
        };
        let id = key.id.to_string();
        let created = moment(key.created_at);
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        table.add_row([
            id,
            key.name.clone(),
            key.org.clone(),
            key.team.clone(),
            key.project.clone(),
            or_none(&key.user),
            or_none(&key.strategy),
            created,
            state,
        ]);
    }
    table
}

fn usage(common: &Common, args: &UsageArgs) -> Done {
    let (config, mut store) = open_store(common)?;
    // Without a running server the last records may still be in the journal.
    match Journal::open(&config.server.data_dir, JournalLimits::default()) {
        Ok(journal) => drop(store.fold(&journal).map_err(|error| error.to_string())?),
        Err(JournalError::InUse { .. }) => {}
        Err(error) => return Err(error.to_string()),
    }
    if let Some(count) = args.recent {
        return recent(&store, count, args.json);
    }
    let (_, now_us) = crate::core::unix_now();
    let since_us = args.since.map(|span| now_us.saturating_sub(span));
    let query = UsageQuery { by: args.by.clone(), since_us, until_us: None };
    let rows = store.usage(&query).map_err(|error| error.to_string())?;
    let all = store.totals(since_us).map_err(|error| error.to_string())?;
    let heads: Vec<&str> = args.by.iter().map(|dimension| dimension.name()).collect();
    if args.json {
        let groups: Vec<_> = rows
            .iter()
            .map(|row| {
                let group: serde_json::Map<_, _> = heads
                    .iter()
                    .zip(&row.group)
                    .map(|(head, label)| ((*head).to_owned(), json!(label)))
                    .collect();
                let mut value = totals_json(&row.totals);
                value["group"] = group.into();
                value
            })
            .collect();
        println!("{}", json!({"groups": groups, "total": totals_json(&all)}));
        return Ok(());
    }
    let figures =
        ["calls", "input", "cached", "output", "cost", "dearest", "saved", "ttft p50", "ttft p95"];
    let mut table = table(&[&heads[..], &figures[..]].concat());
    for column in heads.len()..heads.len() + figures.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in &rows {
        let labels = row.group.iter().map(|label| or_dash(label));
        table.add_row(labels.chain(figures_of(&row.totals)).collect::<Vec<_>>());
    }
    let mut sum = vec!["total".to_owned()];
    sum.resize(heads.len(), String::new());
    sum.extend(figures_of(&all));
    table.add_row(sum);
    println!("{table}");
    println!(
        "\"dearest\" is what the dearest model that could have served each request would have cost."
    );
    Ok(())
}

fn recent(store: &Store, count: u32, as_json: bool) -> Done {
    let records = store.recent(count.clamp(1, 10_000)).map_err(|error| error.to_string())?;
    if as_json {
        for record in &records {
            println!(
                "{}",
                json!({
                    "id": crate::serve::hex(record.entry).as_str(),
                    "started_at_us": record.started_at_us,
                    "key": record.who.key_name,
                    "requested": record.asked.requested,
                    "strategy": record.asked.strategy,
                    "stream": record.asked.stream,
                    "task": record.decided.task.map(|task| task.name()),
                    "difficulty": record.decided.difficulty,
                    "reason": record.decided.reason,
                    "model": record.served.model,
                    "provider": record.served.provider,
                    "attempts": record.served.attempts,
                    "failures": record.served.failures,
                    "outcome": record.served.outcome.name(),
                    "ttft_us": record.timing.ttft_us,
                    "duration_us": record.timing.duration_us,
                    "classify_us": record.timing.classify_us,
                    "input_tokens": record.usage.input.0,
                    "cached_tokens": record.usage.cached.0,
                    "output_tokens": record.usage.output.0,
                    "estimated": record.usage.source == models::UsageSource::Estimated,
                    "cost_pico_usd": record.money.total.0,
                    "dearest_pico_usd": record.money.dearest.0,
                    "price_version": record.money.price_version,
                })
            );
        }
        return Ok(());
    }
    let mut table = table(&[
        "time",
        "requested",
        "task",
        "model",
        "provider",
        "why",
        "tries",
        "outcome",
        "ttft",
        "tokens",
        "cost",
    ]);
    for record in &records {
        let task = record.decided.task.map_or("", |task| task.name());
        table.add_row([
            moment(record.started_at_us as i64 / 1_000_000),
            record.asked.requested.clone(),
            or_dash(task),
            or_dash(&record.served.model),
            or_dash(&record.served.provider),
            record.decided.reason.clone(),
            record.served.attempts.to_string(),
            record.served.outcome.name().to_owned(),
            record.timing.ttft_us.map_or("-".to_owned(), |us| milliseconds(us.into())),
            format!("{}+{}", record.usage.input.0, record.usage.output.0),
            record.money.total.to_string(),
        ]);
    }
    println!("{table}");
    Ok(())
}

fn totals_json(totals: &Totals) -> serde_json::Value {
    // Sums may exceed what a JSON number keeps exactly in every reader, so money is text.
    json!({
        "calls": totals.calls,
        "complete": totals.complete,
        "estimated": totals.estimated,
        "input_tokens": totals.input as u64,
        "cached_tokens": totals.cached as u64,
        "written_tokens": totals.written as u64,
        "output_tokens": totals.output as u64,
        "reasoning_tokens": totals.reasoning as u64,
        "cost_pico_usd": totals.cost_pico.to_string(),
        "own_cost_pico_usd": totals.own_cost_pico.to_string(),
        "dearest_pico_usd": totals.dearest_pico.to_string(),
        "ttft_p50_us": totals.ttft.p50_us,
        "ttft_p95_us": totals.ttft.p95_us,
    })
}

fn figures_of(totals: &Totals) -> Vec<String> {
    let saved = match totals.dearest_pico {
        0 => "-".to_owned(),
        dearest => {
            let saved = dearest.saturating_sub(totals.cost_pico);
            format!("{:.0} %", saved as f64 / dearest as f64 * 100.0)
        }
    };
    vec![
        totals.calls.to_string(),
        totals.input.to_string(),
        totals.cached.to_string(),
        totals.output.to_string(),
        dollars(totals.cost_pico),
        dollars(totals.dearest_pico),
        saved,
        milliseconds(totals.ttft.p50_us),
        milliseconds(totals.ttft.p95_us),
    ]
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

fn classify(common: &Common) -> Done {
    let config = load(common)?;
    let mut core = match classifier(&config) {
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

fn classifier(config: &Config) -> Result<CoreClassifier, String> {
    if config.classifier.rules_only {
        return Ok(CoreClassifier::rules_only());
    }
    let folder = control::model_folder(config)?;
    let runtime = OnnxRuntime::init(config.classifier.onnxruntime.as_deref())
        .map_err(|error| error.to_string())?;
    let classifier = Classifier::load(&folder, &runtime).map_err(|error| error.to_string())?;
    classifier.session().map_err(|error| error.to_string())
}

fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(heads.to_vec());
    table
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn milliseconds(micros: u64) -> String {
    match micros {
        0 => "-".to_owned(),
        _ => format!("{:.1} ms", micros as f64 / 1_000.0),
    }
}

fn dollars(pico: u128) -> String {
    match u64::try_from(pico) {
        Ok(pico) => PicoUsd(pico).to_string(),
        // Above 18 million dollars nobody asks for the last decimals.
        Err(_) => format!("${}", pico / u128::from(PicoUsd::ONE_USD.0)),
    }
}

fn moment(unix_s: i64) -> String {
    let time = jiff::Timestamp::from_second(unix_s).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn strategy_name(text: &str) -> Result<String, String> {
    let names: Vec<_> = route::Strategy::ALL.iter().map(|strategy| strategy.name()).collect();
    match route::Strategy::from_name(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("one of {} would do", names.join(", "))),
    }
}

fn dimension(text: &str) -> Result<Dimension, String> {
    let names: Vec<_> = Dimension::ALL.iter().map(|dimension| dimension.name()).collect();
    Dimension::from_name(text).ok_or_else(|| format!("one of {} would do", names.join(", ")))
}

fn day(text: &str) -> Result<i64, String> {
    let date: jiff::civil::Date = text.parse().map_err(|_| "a day like 2027-01-31 would do")?;
    let start = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(start.timestamp().as_second())
}

fn span_us(text: &str) -> Result<u64, String> {
    let help = || "a time like 30m, 24h or 7d would do".to_owned();
    let unit_at =
        text.len().checked_sub(1).filter(|&at| text.is_char_boundary(at)).ok_or_else(help)?;
    let (digits, unit) = text.split_at(unit_at);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(help()),
    };
    let count: u64 = digits.parse().map_err(|_| help())?;
    count.checked_mul(seconds * 1_000_000).ok_or_else(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn spans_and_days_are_read() {
        assert_eq!(span_us("24h"), Ok(86_400_000_000));
        assert_eq!(day("1970-01-02"), Ok(86_400));
        for bad in ["", "h", "1", "1y", "-1h", "1é", "99999999999999999999d"] {
            assert!(span_us(bad).is_err(), "{bad}");
        }
        assert!(day("tomorrow").is_err());
    }
}

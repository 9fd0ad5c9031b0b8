//! `pointsman.toml`: what it may hold, its defaults, and errors that name file, line and key.
//!
//! Everything has a default, so no file is needed. What is not known is refused: a misspelled key
//! that is silently ignored costs more than one that stops the start.

use crate::rt::DriverChoice;
use crate::tls::Roots;
use models::catalogue::{CatalogueSource, ModelSource, ProviderSource};
use route::Strategy;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[admin]`
    pub admin: Admin,
    /// `[limits]`
    pub limits: Limits,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[classifier]`
    pub classifier: ClassifierConfig,
    /// `[routing]`
    pub routing: Routing,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[[provider]]`: additions to and changes of the catalogue.
    #[serde(rename = "provider")]
    pub providers: Vec<ProviderSource>,
    /// `[[model]]`: the same for models.
    #[serde(rename = "model")]
    pub models: Vec<ModelSource>,
}

/// Where and how to listen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address for clients.
    pub listen: SocketAddr,
    /// Address for metrics and administration. What changes something there needs `[admin] token`,
    /// or comes from this machine; metrics are open to whoever reaches it.
    pub admin: SocketAddr,
    /// Data-plane threads; 0 is one for each core that the process may use.
    pub cores: usize,
    /// Event loop.
    pub driver: DriverChoice,
    /// Where keys and the ledger are kept.
    pub data_dir: PathBuf,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9090)),
            cores: 0,
            driver: DriverChoice::Auto,
            data_dir: PathBuf::from("pointsman-data"),
        }
    }
}

/// Who may change something through the admin port.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// What `Authorization: Bearer` must carry. Without one only this machine may, through loopback.
    pub token: Option<String>,
}

impl Admin {
    /// The variable that stands in for `token`, so that no file has to hold a secret.
    pub const TOKEN_VARIABLE: &str = "POINTSMAN_ADMIN_TOKEN";
    /// A token that can be guessed is none.
    const TOKEN_BYTES_MIN: usize = 16;

    /// The token of the file, else that of the environment.
    pub fn token(&self) -> Option<String> {
        let from_environment = || std::env::var(Admin::TOKEN_VARIABLE).ok();
        self.token.clone().or_else(from_environment).filter(|token| !token.is_empty())
    }

    /// What is wrong with a token, if anything is.
    pub fn problem_of(token: &str) -> Option<String> {
        let is_shown = token.bytes().all(|byte| byte.is_ascii_graphic());
        (token.len() < Admin::TOKEN_BYTES_MIN || !is_shown).then(|| {
            let least = Admin::TOKEN_BYTES_MIN;
            format!("{least} or more printable ASCII characters without spaces would do")
        })
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("token", &self.token.as_ref().map(|_| "…")).finish()
    }
}

/// What one client may cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Largest answer of a provider, in bytes.
    pub answer_bytes: usize,
    /// Client connections per core.
    pub connections: usize,
    /// Attempts per request, the first included.
    pub attempts: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { body_bytes: 32 << 20, answer_bytes: 64 << 20, connections: 10_000, attempts: 3 }
    }
}

/// The bound of every wait, in milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a client's whole request head.
    pub head_ms: u32,
    /// Between two pieces of a client's body.
    pub body_gap_ms: u32,
    /// Between two requests on one connection.
    pub idle_ms: u32,
    /// For a client that does not read.
    pub write_ms: u32,
    /// For a connection to a provider, name and handshake included.
    pub connect_ms: u32,
    /// For the first content of a stream.
    pub first_byte_ms: u32,
    /// For a whole answer that is not streamed: it comes only when all of it was generated.
    pub whole_answer_ms: u32,
    /// Between two pieces of an answer.
    pub gap_ms: u32,
    /// For a request as a whole, all attempts included.
    pub total_ms: u32,
    /// For running requests after SIGTERM.
    pub drain_ms: u32,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            head_ms: 10_000,
            body_gap_ms: 10_000,
            idle_ms: 75_000,
            write_ms: 20_000,
            connect_ms: 2_000,
            first_byte_ms: 30_000,
            whole_answer_ms: 300_000,
            gap_ms: 30_000,
            total_ms: 600_000,
            drain_ms: 120_000,
        }
    }
}

/// What judges prompts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierConfig {
    /// Folder with `manifest.toml`; the one that ships with the program when not given.
    pub model: Option<PathBuf>,
    /// The ONNX Runtime library; searched for when not given.
    pub onnxruntime: Option<PathBuf>,
    /// Judge by rules alone.
    pub rules_only: bool,
    /// Where models compute: `cuda` is a GPU or no start, `auto` a GPU if there is one.
    pub device: DeviceName,
    /// Where the first model runs.
    pub placement: PlacementChoice,
    /// Verdicts that each core remembers; 0 is none.
    pub cache_entries: usize,
    /// Folder of a stronger model, asked where the first one is unsure.
    pub second: Option<PathBuf>,
    /// It is asked when the first model's two best tasks are nearer than this, 0..1.
    pub second_margin: f32,
    /// Its share of a verdict, 0..1.
    pub second_weight: f32,
    /// How long a request waits for it, in microseconds; then the first verdict stands. A clock of
    /// whole milliseconds ends the wait. Holds for a first model that runs on threads, too.
    pub second_deadline_us: u32,
    /// Requests that may wait for it; one more is not sent to it.
    pub second_queue: usize,
    /// Threads that it runs on.
    pub second_threads: usize,
    /// Folder of a model that is only watched: it judges beside the one in force and decides nothing.
    pub observe: Option<PathBuf>,
    /// The share of requests that it judges, 0..1.
    pub observe_share: f32,
}

impl Default for ClassifierConfig {
    fn default() -> ClassifierConfig {
        ClassifierConfig {
            model: None,
            onnxruntime: None,
            rules_only: false,
            device: DeviceName::default(),
            placement: PlacementChoice::default(),
            cache_entries: 4_096,
            second: None,
            second_margin: 0.2,
            second_weight: 0.5,
            second_deadline_us: 1_000,
            second_queue: 64,
            second_threads: 1,
            observe: None,
            observe_share: 0.05,
        }
    }
}

/// A device by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceName(pub classifier::Device);

impl<'de> Deserialize<'de> for DeviceName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<DeviceName, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map(DeviceName).map_err(serde::de::Error::custom)
    }
}

/// Where the first model shall run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementChoice {
    /// On the cores if it is fast enough, else on threads: measured when it is loaded.
    #[default]
    Auto,
    /// On the cores; a model that is too slow for that is refused.
    Inline,
    /// On threads, with the rules' verdict until they answer.
    Threads,
}

/// How models are chosen.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// Strategy of plain `auto`: cost, quality, latency or balanced.
    pub strategy: Option<StrategyName>,
    /// Names for `auto` with a strategy: `fast = "latency"`.
    pub aliases: BTreeMap<String, StrategyName>,
}

/// A strategy by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrategyName(pub Strategy);

impl<'de> Deserialize<'de> for StrategyName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<StrategyName, D::Error> {
        let name = String::deserialize(deserializer)?;
        Strategy::from_name(&name).map(StrategyName).ok_or_else(|| {
            let known: Vec<_> = Strategy::ALL.iter().map(|strategy| strategy.name()).collect();
            serde::de::Error::custom(format!(
                "unknown strategy \"{name}\"; one of {} would do",
                known.join(", ")
            ))
        })
    }
}

/// How providers are called.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Trusted authorities: "bundled", "system", or { file = "ca.pem" }.
    pub roots: Roots,
}

/// What is wrong with a configuration, all of it.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file at `path`, or gives the defaults when there is no path.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        let Some(path) = path else { return Ok(Config::default()) };
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            problems: vec![format!("{shown}: cannot be read: {error}")],
        })?;
        Config::parse(&text, &shown)
    }

    /// Reads `text`; `file` is named in errors.
    pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let message = error.message().trim_end();
            let found = shown(text.lines().nth(line - 1).unwrap_or_default().trim());
            ConfigError { problems: vec![format!("{file}:{line}: {message}\n    found: {found}")] }
        })?;
        let mut problems = config.check(text, file);
        if let Err(errors) = config.catalogue().map_err(|errors| {
            errors.into_iter().map(|error| {
                // Errors of the catalogue know the table's id; the line is where that id stands.
                let line = line_naming(text, &error.subject).unwrap_or(1);
                format!("{file}:{line}: {error}")
            })
        }) {
            problems.extend(errors);
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }

    /// The built-in catalogue with this configuration's additions.
    pub fn catalogue(
        &self,
    ) -> Result<models::catalogue::Catalogue, Vec<models::catalogue::CatalogueError>> {
        let source = CatalogueSource::builtin().map_err(|error| vec![error])?;
        source.overlay(self.additions()).compile()
    }

    /// What this configuration adds to the catalogue.
    pub fn additions(&self) -> CatalogueSource {
        CatalogueSource { providers: self.providers.clone(), models: self.models.clone() }
    }

    fn check(&self, text: &str, file: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let mut complain = |key: &str, message: String| {
            let line = line_of_key(text, key).unwrap_or(1);
            problems.push(format!("{file}:{line}: {key}: {message}"));
        };
        let limits = &self.limits;
        if !(1024..=1 << 30).contains(&limits.body_bytes) {
            let found = limits.body_bytes;
            complain("body_bytes", format!("found {found}; from 1024 to 1073741824 would do"));
        }
        if !(1024..=1 << 30).contains(&limits.answer_bytes) {
            let found = limits.answer_bytes;
            complain("answer_bytes", format!("found {found}; from 1024 to 1073741824 would do"));
        }
        if !(1..=8).contains(&limits.attempts) {
            complain("attempts", format!("found {}; from 1 to 8 would do", limits.attempts));
        }
        if limits.connections == 0 {
            complain("connections", "found 0; at least 1 is needed to serve anyone".into());
        }
        let timeouts = &self.timeouts;
        for (key, value) in [
            ("head_ms", timeouts.head_ms),
            ("body_gap_ms", timeouts.body_gap_ms),
            ("idle_ms", timeouts.idle_ms),
            ("write_ms", timeouts.write_ms),
            ("connect_ms", timeouts.connect_ms),
            ("first_byte_ms", timeouts.first_byte_ms),
            ("whole_answer_ms", timeouts.whole_answer_ms),
            ("gap_ms", timeouts.gap_ms),
            ("total_ms", timeouts.total_ms),
        ] {
            if !(50..=3_600_000).contains(&value) {
                complain(key, format!("found {value}; from 50 ms to 3600000 ms would do"));
            }
        }
        let classifier = &self.classifier;
        for (key, share) in [
            ("second_margin", classifier.second_margin),
            ("second_weight", classifier.second_weight),
            ("observe_share", classifier.observe_share),
        ] {
            if !(0.0..=1.0).contains(&share) {
                complain(key, format!("found {share}; from 0 to 1 would do"));
            }
        }
        for (key, count, least, most) in [
            ("cache_entries", classifier.cache_entries, 0, 1 << 20),
            ("second_deadline_us", classifier.second_deadline_us as usize, 100, 1_000_000),
            ("second_queue", classifier.second_queue, 1, 65_536),
            ("second_threads", classifier.second_threads, 1, 64),
        ] {
            if !(least..=most).contains(&count) {
                complain(key, format!("found {count}; from {least} to {most} would do"));
            }
        }
        if let Some(what) = self.admin.token.as_deref().and_then(Admin::problem_of) {
            complain("token", what);
        }
        for alias in self.routing.aliases.keys() {
            if alias.is_empty() || alias.len() > 100 || alias.contains(char::is_control) {
                complain(alias, "an alias must have 1 to 100 printable characters".into());
            }
        }
        if self.server.listen == self.server.admin && self.server.listen.port() != 0 {
            complain("admin", "is the same address as listen; give it a port of its own".into());
        }
        problems
    }
}

impl Timeouts {
    /// Milliseconds as a duration.
    pub fn of(milliseconds: u32) -> Duration {
        Duration::from_millis(milliseconds.into())
    }
}

/// A line for an error; of one that holds a secret, only its key.
fn shown(line: &str) -> &str {
    match line.split_once('=') {
        Some((key, _)) if key.trim() == "token" => key,
        _ => line,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1)
}

fn line_of_key(text: &str, key: &str) -> Option<usize> {
    text.lines().position(|line| line.trim_start().starts_with(key)).map(|index| index + 1)
}

fn line_naming(text: &str, subject: &str) -> Option<usize> {
    let id = subject.rsplit(' ').next().unwrap_or(subject).trim_matches(['"', '`']);
    text.lines().position(|line| line.contains(&format!("\"{id}\""))).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_needed() {
        let config = Config::parse("", "x.toml").unwrap();
        assert_eq!(config.limits.attempts, 3);
        assert!(config.catalogue().unwrap().model_count() > 300);
    }

    #[test]
    fn a_secret_stands_in_no_error_and_no_debug_output() {
        let text = "[admin]\ntoken = \"hidden-hidden-hidden";
        let error = Config::parse(text, "x.toml").expect_err("no end").to_string();
        assert!(error.contains("token") && !error.contains("hidden"), "{error}");
        let config = Config::parse(&format!("{text}\""), "x.toml").expect("good");
        assert!(!format!("{config:?}").contains("hidden"));
    }

    #[test]
    fn a_local_server_takes_four_lines() {
        let text = "[[provider]]\nid = \"ollama\"\nbase_url = \"http://127.0.0.1:11434/v1\"\nmodels = [\"llama3.2\"]\n";
        let catalogue = Config::parse(text, "x.toml").unwrap().catalogue().unwrap();
        let model = catalogue.find_model("llama3.2").expect("the model is in the catalogue");
        let offers: Vec<_> = models::catalogue::OfferIx::each(catalogue.offers_of(model)).collect();
        let first = catalogue.offer(offers[0]);
        assert_eq!(catalogue.provider(first.provider()).id(), "ollama");
        assert_eq!(first.wire_id(), "llama3.2");
    }

    /// One row per mistake: the text, and what the error must name.
    #[test]
    fn errors_name_file_line_and_key() {
        let rows: &[(&str, &[&str])] = &[
            ("[server]\nlisten = \"nowhere\"", &["x.toml:2", "listen", "nowhere"]),
            ("[server]\n\nlissten = \"a\"", &["x.toml:3", "lissten", "listen"]),
            ("[limits]\nattempts = 0", &["x.toml:2", "attempts", "1 to 8"]),
            ("[limits]\nbody_bytes = -1", &["x.toml:2", "body_bytes"]),
            ("[timeouts]\ngap_ms = 1", &["x.toml:2", "gap_ms", "50"]),
            ("[routing]\nstrategy = \"cheap\"", &["x.toml:2", "cheap", "cost, quality"]),
            ("[routing.aliases]\nfast = \"x\"", &["x.toml:2", "\"x\"", "latency"]),
            ("[server]\nlisten = \"1.2.3.4:1\"\nadmin = \"1.2.3.4:1\"", &["x.toml:3", "admin"]),
            ("[classifier]\nsecond_margin = 1.5", &["x.toml:2", "second_margin", "0 to 1"]),
            ("[classifier]\nsecond_threads = 0", &["x.toml:2", "second_threads", "1 to 64"]),
            ("[classifier]\nobserve_share = nan", &["x.toml:2", "observe_share", "0 to 1"]),
            ("[classifier]\ndevice = \"tpu\"", &["x.toml:2", "tpu", "cuda"]),
            ("[admin]\ntoken = \"secret\"", &["x.toml:2", "token", "16"]),
            ("a = = b", &["x.toml:1"]),
            (
                "\n[[provider]]\nid = \"p\"\nbase_url = \"nowhere\"\nmodels = [\"m\"]",
                &["x.toml:3", "base_url"],
            ),
        ];
        for (text, named) in rows {
            let error = Config::parse(text, "x.toml").expect_err(text).to_string();
            for part in *named {
                assert!(error.contains(part), "{text:?} gave {error:?}, which lacks {part:?}");
            }
        }
    }
}

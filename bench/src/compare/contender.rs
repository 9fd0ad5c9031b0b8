//! The programs that are compared, each with the configuration that does the same work: take a
//! request on loopback, pass it to one provider over kept connections, pass the answer back at once.
//!
//! In: where the provider listens, which core to use. Out: a [`Running`] contender that has answered
//! a first request. Configurations and data live in a temporary folder that goes with it.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use models::catalogue::CatalogueSource;
use tempfile::TempDir;

use super::process::Process;

/// How long a contender may take to its first answer.
const READY_WAIT: Duration = Duration::from_secs(60);
/// The model that every provider answers to.
pub const MODEL: &str = "bench-1";

/// What programs complain of, in their folder.
const COMPLAINTS: &str = "stderr.log";
/// What our program says when it has no classifier.
const BY_RULES: &str = "by rules alone";

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nobody between: what latency is added to.
    Direct,
    /// Ours.
    Pointsman,
    /// `proxy_pass`: neither key nor body is looked at.
    Nginx,
    /// The same in `HAProxy`.
    Haproxy,
    /// A gateway for models in Python.
    Litellm,
}

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Pointsman => "pointsman",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Litellm => "litellm",
        }
    }

    /// What its program says of its version; `None` when it is not there.
    pub fn version(self, ours: &Path) -> Option<String> {
        let (program, flag) = match self {
            Kind::Direct => return Some(String::new()),
            Kind::Pointsman => (ours, "--version"),
            Kind::Nginx => (Path::new("nginx"), "-v"),
            Kind::Haproxy => (Path::new("haproxy"), "-v"),
            Kind::Litellm => (Path::new("litellm"), "--version"),
        };
        let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let version = said.split(|c: char| c.is_whitespace() || c == '/');
        version
            .map(|word| word.trim_matches(['(', ')', ',']))
            .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))
            .map(str::to_owned)
    }
}

/// What a contender is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Our program.
    pub ours: PathBuf,
    /// Where the provider listens.
    pub provider: SocketAddr,
    /// The core that it may use; `None`: all.
    pub core: Option<usize>,
    /// Threads for its data plane.
    pub threads: usize,
    /// Further arguments of our program.
    pub arguments: Vec<String>,
}

/// A contender that answers.
#[derive(Debug)]
pub struct Running {
    /// Who.
    pub kind: Kind,
    /// Where it listens.
    pub addr: SocketAddr,
    /// The key that it wants.
    pub key: Option<String>,
    /// From its start to its first complete answer.
    pub ready_in: Duration,
    /// What it lacks that a case may need.
    pub warning: Option<String>,
    /// Its process; nobody's for [`Kind::Direct`].
    pub process: Option<Process>,
    /// Last, so that it goes when the process has ended.
    _folder: TempDir,
}

/// Starts a contender and waits for its first answer.
pub fn start(kind: Kind, setup: &Setup) -> io::Result<Running> {
    let folder = tempfile::Builder::new().prefix("bench-compare-").tempdir()?;
    let at = folder.path();
    let addr = free_address()?;
    let begun = Instant::now();
    let (process, addr, key, begun) = match kind {
        Kind::Direct => (None, setup.provider, None, begun),
        Kind::Nginx => {
            let config = at.join("nginx.conf");
            fs::write(&config, nginx(at, addr, setup))?;
            let mut command = quiet("nginx", at);
            command.arg("-p").arg(at).arg("-c").arg(&config).arg("-e").arg(at.join("error.log"));
            (Some(Process::start(command, setup.core)?), addr, None, begun)
        }
        Kind::Haproxy => {
            let config = at.join("haproxy.cfg");
            fs::write(&config, haproxy(addr, setup))?;
            let mut command = quiet("haproxy", at);
            command.arg("-f").arg(&config).arg("-db");
            (Some(Process::start(command, setup.core)?), addr, None, begun)
        }
        Kind::Litellm => {
            let config = at.join("litellm.yaml");
            fs::write(&config, litellm(setup))?;
            let mut command = quiet("litellm", at);
            command.arg("--config").arg(&config).args([
                "--host",
                "127.0.0.1",
                "--num_workers",
                "1",
            ]);
            command.arg("--port").arg(addr.port().to_string());
            let key = Some("sk-bench".to_owned());
            (Some(Process::start(command, setup.core)?), addr, key, begun)
        }
        Kind::Pointsman => {
            let config = at.join("pointsman.toml");
            fs::write(&config, pointsman(setup.provider)?)?;
            let data = at.join("data");
            let key = create_key(&setup.ours, &data)?;
            let begun = Instant::now();
            let mut command = quiet(&setup.ours, at);
            command.arg("--config").arg(&config).arg("--data-dir").arg(&data);
            command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
            command.arg("--cores").arg(setup.threads.to_string()).args(&setup.arguments);
            command.stdout(Stdio::piped());
            let mut process = Process::start(command, setup.core)?;
            let addr = told_address(&mut process).map_err(|error| last_words(error, at))?;
            (Some(process), addr, Some(key), begun)
        }
    };
    let mut running = Running {
        kind,
        addr,
        key,
        ready_in: Duration::ZERO,
        warning: None,
        process,
        _folder: folder,
    };
    wait_for_answer(&mut running, begun)?;
    // `auto` by rules is other work than `auto` by the model.
    let said = fs::read_to_string(running._folder.path().join(COMPLAINTS)).unwrap_or_default();
    running.warning = said.lines().find(|line| line.contains(BY_RULES)).map(str::to_owned);
    Ok(running)
}

/// A port that was free a moment ago, for programs that cannot tell which one they got.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// A command whose complaints go to a file in `folder`.
fn quiet(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(log) = fs::File::create(folder.join(COMPLAINTS)) {
        command.stderr(log);
    }
    command
}

/// One worker; connections to the provider are kept; streams are passed on at once; a body is held
/// in memory, as we hold it, not in a file.
fn nginx(folder: &Path, addr: SocketAddr, setup: &Setup) -> String {
    let mut text = String::from("daemon off;\nerror_log stderr crit;\npid nginx.pid;\n");
    // A worker of root would change to a user who cannot enter the folder.
    if fs::metadata(folder).is_ok_and(|folder| folder.uid() == 0) {
        text.push_str("user root;\n");
    }
    let Setup { provider, threads, .. } = setup;
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        // Writing to a string does not fail.
        let _ = writeln!(temporary, "  {kind}_temp_path {kind};");
    }
    text + &format!(
        "worker_processes {threads};
events {{ worker_connections 8192; }}
http {{
  access_log off;
{temporary}  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  client_body_buffer_size 1m;
  client_max_body_size 64m;
  upstream provider {{
    server {provider};
    keepalive 1024;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {addr} reuseport;
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
      proxy_read_timeout 300s;
    }}
  }}
}}
"
    )
}

fn haproxy(addr: SocketAddr, setup: &Setup) -> String {
    let Setup { provider, threads, .. } = setup;
    format!(
        "global
  nbthread {threads}
  maxconn 8192
defaults
  mode http
  option http-keep-alive
  option http-no-delay
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
frontend clients
  bind {addr}
  default_backend provider
backend provider
  http-reuse always
  server provider {provider} pool-max-conn -1
"
    )
}

fn litellm(setup: &Setup) -> String {
    format!(
        "model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_base: http://{}/v1
      api_key: none
general_settings:
  master_key: sk-bench
litellm_settings:
  telemetry: false
",
        setup.provider
    )
}

/// All providers of the catalogue that speak our dialect point at the fake one, so that `auto` has
/// the whole catalogue to choose from, and one more of which the named model is.
fn pointsman(provider: SocketAddr) -> io::Result<String> {
    let catalogue = CatalogueSource::builtin().map_err(io::Error::other)?;
    let url = format!("http://{provider}/v1");
    // Each request is the same; one that is remembered would cost no verdict.
    let mut text =
        String::from("[classifier]\ncache_entries = 0\n[routing]\nstrategy = \"balanced\"\n");
    for known in catalogue.providers {
        let speaks = known.dialects.as_deref().unwrap_or_default();
        if !speaks.is_empty() && !speaks.contains(&models::Dialect::OpenAiChat) {
            continue;
        }
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n[[provider]]\nid = \"{}\"\nbase_url = \"{url}\"\nauth = \"none\"\n\
             endpoints = {{ openai-chat = {{ base_url = \"{url}\", auth = \"none\" }} }}\n",
            known.id
        );
    }
    let _ = write!(
        text,
        "\n[[provider]]\nid = \"bench\"\nbase_url = \"{url}\"\nmodels = [\"{MODEL}\"]\n"
    );
    Ok(text)
}

fn create_key(ours: &Path, data: &Path) -> io::Result<String> {
    let mut command = Command::new(ours);
    command.args(["key", "create", "--name", "bench", "--json", "--data-dir"]).arg(data);
    let output = command.stdin(Stdio::null()).output()?;
    let told: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
    let secret = told.and_then(|told| told["secret"].as_str().map(str::to_owned));
    secret.ok_or_else(|| {
        io::Error::other(format!(
            "`{} key create` made no key: {}{}",
            ours.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    })
}

/// The address in the line `listening on http://…` that our program prints.
fn told_address(process: &mut Process) -> io::Result<SocketAddr> {
    let ended = || io::Error::other("it ended without saying where it listens");
    let mut lines = BufReader::new(process.child().stdout.take().ok_or_else(ended)?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        if let Some(rest) = line.split("listening on http://").nth(1) {
            let addr = rest.split(|c: char| c.is_whitespace() || c == '/').next();
            let addr = addr.and_then(|addr| addr.parse().ok()).ok_or_else(ended)?;
            // A full pipe would stop it; what else it says is nobody's.
            std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));
            return Ok(addr);
        }
        line.clear();
    }
    Err(ended())
}

/// Asks until an answer is complete. Every contender is asked the same, once a millisecond.
fn wait_for_answer(running: &mut Running, begun: Instant) -> io::Result<()> {
    loop {
        let answered = ask_once(running.addr, running.key.as_deref());
        let error = match answered {
            Ok(()) => {
                running.ready_in = begun.elapsed();
                return Ok(());
            }
            Err(error) => error,
        };
        let ended = match &mut running.process {
            Some(process) => process.child().try_wait()?,
            None => None,
        };
        if begun.elapsed() > READY_WAIT || ended.is_some() {
            let text = format!("{} does not answer: {error}", running.kind.name());
            return Err(last_words(io::Error::other(text), running._folder.path()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn ask_once(addr: SocketAddr, key: Option<&str>) -> io::Result<()> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let body = format!(
        "{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Are you there?\"}}]}}"
    );
    let mut request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    if let Some(key) = key {
        // Writing to a string does not fail.
        let _ = write!(request, "Authorization: Bearer {key}\r\n");
    }
    request += "\r\n";
    request += &body;
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Err(io::Error::other(String::from_utf8_lossy(line).into_owned()))
}

/// The error with the end of what the program complained of.
fn last_words(error: io::Error, folder: &Path) -> io::Error {
    let said = fs::read_to_string(folder.join(COMPLAINTS)).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    let end = lines[lines.len().saturating_sub(8)..].join("\n");
    if end.is_empty() { error } else { io::Error::other(format!("{error}\n{end}")) }
}

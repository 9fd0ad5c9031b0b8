//! Starts, asks and ends gateways.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use loadtest::provider::Handle;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, Connection};
use crate::{pointsman, repository};

/// For how long anything of the gateway is waited for. Far above what it takes: a bound against
/// hanging, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A model that a fake provider serves, with what the router needs to know of it.
#[derive(Clone, Copy, Debug)]
pub struct FakeModel {
    /// As clients and the provider call it: `lab/name`.
    pub id: &'static str,
    /// Standard deviations from the mean model.
    pub ability: f32,
    /// Pico-dollars per input token.
    pub input: u64,
    /// Pico-dollars per output token.
    pub output: u64,
}

/// What a gateway is started with.
#[derive(Debug, Default)]
pub struct Setup {
    config: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// One core, rules instead of a classifier, no provider.
    pub fn new() -> Setup {
        Setup::default()
    }

    /// Adds a provider with its models, which speaks OpenAI chat completions.
    #[must_use]
    pub fn provider(self, id: &str, provider: &Handle, models: &[FakeModel]) -> Setup {
        self.provider_in("openai-chat", id, provider, models)
    }

    /// Adds a provider with its models, which speaks that dialect.
    #[must_use]
    pub fn provider_in(
        mut self,
        dialect: &str,
        id: &str,
        provider: &Handle,
        models: &[FakeModel],
    ) -> Setup {
        self.config.push_str(&format!(
            "[[provider]]\nid = \"{id}\"\nbase_url = \"{}\"\nauth = \"none\"\ndialects = [\"{dialect}\"]\n\n",
            provider.base_url()
        ));
        for FakeModel { id: model, ability, input, output } in models {
            self.config.push_str(&format!(
                "[[model]]\nid = \"{model}\"\ncontext = 128000\nmax_output = 16384\n\
                 can = [\"tools\", \"parallel_tools\", \"tool_choice\", \"json_schema\", \"vision\", \"streaming\", \"system_messages\"]\n\
                 ability = {{ basis = \"assumed\", overall = {ability:.2} }}\n\
                 [[model.offers]]\nprovider = \"{id}\"\nwire_id = \"{model}\"\n\
                 price = {{ input = {input}, output = {output} }}\n\n"
            ));
        }
        self
    }

    /// Adds lines to the configuration, in front of the providers' tables.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Setup {
        self.config.insert_str(0, &format!("{lines}\n"));
        self
    }

    /// Adds tables to the configuration, behind those of the providers so far.
    #[must_use]
    pub fn config_after(mut self, lines: &str) -> Setup {
        self.config.push_str(&format!("{lines}\n"));
        self
    }

    /// Judges prompts by the model that ships, when there is an ONNX Runtime to run it.
    #[must_use]
    pub fn classifier(self) -> Setup {
        let folder = repository().join("models/task-v1");
        // A busy machine must not lead to another stage than the tests name.
        let place = "placement = \"inline\"";
        self.config(&format!("[classifier]\nmodel = \"{}\"\n{place}", folder.display()))
    }

    /// Adds a command line argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets an environment variable. No other than these are passed on.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the gateway and waits until it serves.
    pub fn start(self) -> Gateway {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let setup = match self.config.contains("[classifier]") {
            true => self,
            false => self.config("[classifier]\nrules_only = true"),
        };
        std::fs::write(folder.path().join("pointsman.toml"), &setup.config).expect("written");
        let key = create_key(folder.path(), &["--name", "story"]);
        let process = Process::start(folder.path(), &setup);
        Gateway { folder, setup, key, process }
    }
}

/// An API key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its number, for `key revoke`.
    pub id: u64,
    /// What clients send.
    pub secret: String,
}

/// A running gateway with its folder; killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    folder: TempDir,
    setup: Setup,
    key: Key,
    process: Process,
}

impl Gateway {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.process.listen
    }

    /// Base URL as an OpenAI client takes it.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.process.listen)
    }

    /// Where metrics and administration are.
    pub fn admin(&self) -> SocketAddr {
        self.process.admin
    }

    /// A request to the admin port, with more header fields (`Name: value\r\n`) and a body.
    pub fn administer(&self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        let mut connection = Connection::open(self.process.admin);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             {fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.send(request.as_bytes());
        connection.answer()
    }

    /// A key that was made before the start.
    pub fn key(&self) -> &str {
        &self.key.secret
    }

    /// A new connection to the data port.
    pub fn connect(&self) -> Connection {
        Connection::open(self.process.listen)
    }

    /// Makes another key, with further arguments of `key create`.
    pub fn create_key(&self, arguments: &[&str]) -> Key {
        create_key(self.folder.path(), arguments)
    }

    /// Runs another command of the binary on the same folder; its standard output.
    pub fn command(&self, arguments: &[&str]) -> String {
        command(self.folder.path(), arguments)
    }

    /// Runs another command of the binary on the same folder, whether it succeeds or not.
    pub fn attempt(&self, arguments: &[&str]) -> Output {
        program(self.folder.path()).args(arguments).output().expect("the binary can be started")
    }

    /// The folder of configuration and data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The sum of all samples of a metric whose labels hold each of `labels` (`model="x"`). Cores hand
    /// their counts over once a second: wait with [`Gateway::until`].
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum_of(&self.metrics(), name, labels)
    }

    /// The whole page of metrics.
    pub fn metrics(&self) -> String {
        let mut connection = Connection::open(self.process.admin);
        connection.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    /// What `usage --json` says, by the given dimensions.
    pub fn usage(&self, by: &str) -> Value {
        let text = self.command(&["usage", "--json", "--by", by]);
        serde_json::from_str(&text).expect("usage prints JSON")
    }

    /// Everything that was printed so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until `done`; asks again every few milliseconds.
    ///
    /// # Panics
    /// When it takes unreasonably long; `what` says what was waited for.
    pub fn until(&self, what: &str, mut done: impl FnMut(&Gateway) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal by its name, `TERM` or `HUP`.
    pub fn signal(&self, name: &str) {
        let id = self.process.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} cannot be sent");
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.process.wait()
    }

    /// Waits until it has stopped, after a signal that asked it to.
    pub fn stop_was_asked(mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Ends it as a crash would, then starts it again on the same folder.
    #[must_use]
    pub fn crash_and_restart(self) -> Gateway {
        let Gateway { folder, setup, key, mut process } = self;
        // Who has killed it already finds it dead.
        let _ = process.child.kill();
        assert_eq!(process.wait().signal(), Some(9), "it was gone before");
        let process = Process::start(folder.path(), &setup);
        Gateway { folder, setup, key, process }
    }
}

/// The process and what it says.
#[derive(Debug)]
struct Process {
    child: Child,
    listen: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    fn start(folder: &Path, setup: &Setup) -> Process {
        let mut child = program(folder)
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(if setup.arguments.iter().any(|a| a == "--cores") {
                vec![]
            } else {
                vec!["--cores", "1"]
            })
            .args(&setup.arguments)
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway can be started");
        let log = Arc::<Mutex<String>>::default();
        let (first_line, listening) = channel();
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let readers = vec![
            keep_log(out, Arc::clone(&log), move |line| {
                if line.starts_with("listening on ") {
                    // Who has stopped listening has failed for a reason of its own.
                    let _ = first_line.send(line.to_owned());
                }
            }),
            keep_log(errors, Arc::clone(&log), |_| {}),
        ];
        let (listen, admin) = addresses(&mut child, &listening, &log);
        Process { child, listen, admin, log, readers }
    }

    fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not stop; it said:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("reading a log does not fail");
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the gateway said:\n{}---", self.log());
        }
    }
}

/// Collects lines, and shows each to `hear`.
fn keep_log(
    lines: impl BufRead + Send + 'static,
    log: Arc<Mutex<String>>,
    hear: impl Fn(&str) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            hear(&line);
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            // Writing to a string does not fail.
            let _ = writeln!(log, "{line}");
        }
    })
}

/// Reads `listening on http://ADDR (admin http://ADDR), …`.
fn addresses(
    child: &mut Child,
    listening: &Receiver<String>,
    log: &Mutex<String>,
) -> (SocketAddr, SocketAddr) {
    let line = listening.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let _ = child.kill();
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        panic!("the gateway did not start; it said:\n{log}")
    });
    let mut found = line.split("http://").skip(1).map(|rest| {
        let end = rest.find([' ', ')', ',']).unwrap_or(rest.len());
        rest[..end].parse().unwrap_or_else(|error| panic!("{line}: {error}"))
    });
    match (found.next(), found.next()) {
        (Some(listen), Some(admin)) => (listen, admin),
        _ => panic!("two addresses are expected in: {line}"),
    }
}

/// The binary on `folder`, with nothing of our environment that could lead it to a real provider.
fn program(folder: &Path) -> Command {
    let mut program = Command::new(pointsman());
    program.current_dir(folder).env_clear().stdin(Stdio::null());
    for name in ["PATH", "ORT_DYLIB_PATH", "RUST_BACKTRACE", "POINTSMAN_LOG"] {
        program.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    program
}

fn command(folder: &Path, arguments: &[&str]) -> String {
    let child = program(folder).args(arguments).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("the binary can be started");
    let mut text = String::new();
    let mut out = child.stdout.take().expect("piped");
    out.read_to_string(&mut text).expect("it prints text");
    let status = child.wait().expect("a child can be waited for");
    assert!(status.success(), "pointsman {} ended with {status}", arguments.join(" "));
    text
}

fn create_key(folder: &Path, arguments: &[&str]) -> Key {
    let text = command(folder, &[&["key", "create", "--json"], arguments].concat());
    let made: Value = serde_json::from_str(&text).expect("key create prints JSON");
    let (id, secret) = (made["id"].as_u64(), made["secret"].as_str());
    Key { id: id.expect("an id"), secret: secret.expect("a secret").to_owned() }
}

fn sum_of(page: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        let matches = found == name && labels.iter().all(|label| rest.contains(label));
        matches.then(|| value.parse::<f64>().ok())?
    });
    samples.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let page =
            "# HELP a_total x\na_total{m=\"x\",o=\"1\"} 2\na_total{m=\"y\"} 3\nab_total 7\nb 1.5\n";
        assert_eq!(sum_of(page, "a_total", &[]), 5.0);
        assert_eq!(sum_of(page, "a_total", &["m=\"x\""]), 2.0);
        assert_eq!(sum_of(page, "b", &[]), 1.5);
        assert_eq!(sum_of(page, "c", &[]), 0.0);
    }
}

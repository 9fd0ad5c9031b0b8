//! Our gateway beside others: the same work, in the same run, in turns.
//!
//! In: which contenders and cases, how many rounds. Out: a [`Comparison`]: for each case and
//! contender CPU time per request and chunk, throughput, added latency, memory, start-up time; medians
//! over the rounds with their spread.
//!
//! Each contender has one core; load generator and fake provider share another one. In every round
//! each contender has its turn, the order rotates, and ratios are taken within a round: so what else
//! happens on the machine strikes all alike. CPU time is that of all processes and threads of a
//! contender, and what it does after the last answer (our ledger's folding, say) counts too.

pub mod case;
pub mod contender;
pub mod more;
pub mod priority;
pub mod process;
pub mod table;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use loadtest::generator::{LoadError, Report};
use loadtest::provider::{Config, Handle, Provider};
use serde::Serialize;

use case::Case;
use contender::{Kind, Running, Setup};
use process::Memory;

/// After its load a contender has this long to finish what it put off, on the clock that counts.
const SETTLE: Duration = Duration::from_millis(1_300);

/// What is to be compared, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our program.
    pub ours: PathBuf,
    /// Who, [`Kind::Direct`] included.
    pub contenders: Vec<Kind>,
    /// What.
    pub cases: Vec<&'static Case>,
    /// How often.
    pub rounds: usize,
    /// Length of a load at full speed; latency is measured for a third of it.
    pub duration: Duration,
    /// The core of the contender whose turn it is.
    pub gateway_core: usize,
    /// The core of generator and provider.
    pub load_core: usize,
    /// Further arguments of our program.
    pub arguments: Vec<String>,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// On what.
    pub machine: Machine,
    /// Versions of the programs.
    pub versions: BTreeMap<&'static str, String>,
    /// The cases in order.
    pub cases: Vec<CaseResult>,
    /// Memory and start-up of each program, in this run.
    pub programs: Vec<ProgramResult>,
}

/// Where and when something was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Its cores.
    pub cores: usize,
    /// Version of the kernel.
    pub kernel: String,
    /// When, in UTC.
    pub date: String,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseResult {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Who did it.
    pub contenders: Vec<CaseContender>,
}

/// One contender in one case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseContender {
    /// Who.
    pub kind: Kind,
    /// Its rounds in order.
    pub rounds: Vec<Sample>,
}

/// One contender, one case, one round. Times are microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// CPU time per request; 0 for [`Kind::Direct`].
    pub cpu_us_per_request: f64,
    /// CPU time per chunk of a stream, everything included; 0 when it is none.
    pub cpu_us_per_chunk: f64,
    /// Whole answers per second at full speed.
    pub requests_per_s: f64,
    /// Latency at a moderate rate, from when a request was due.
    pub latency_p50: f64,
    /// The same.
    pub latency_p99: f64,
    /// Time to the first content at a moderate rate; 0 when there is no stream.
    pub ttft_p50: f64,
    /// The same.
    pub ttft_p99: f64,
    /// Requests that failed.
    pub failed: u64,
}

/// A program as such.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramResult {
    /// Who.
    pub kind: Kind,
    /// Milliseconds from its start to its first answer.
    pub ready_ms: f64,
    /// Memory before any load.
    pub memory_idle: Memory,
    /// Memory after all of it.
    pub memory_after: Memory,
    /// What it lacked, so that its figures are not what they could be.
    pub warning: Option<String>,
}

/// Compares. `progress` hears of each step: how many of how many, and what comes.
pub fn run(
    options: &Options,
    progress: &mut dyn FnMut(usize, usize, &str),
) -> Result<Comparison, CompareError> {
    let provider = start_provider(options.load_core)?;
    let mut running = Vec::new();
    let mut programs = Vec::new();
    for &kind in &options.contenders {
        progress(0, 1, &format!("starting {}", kind.name()));
        let contender = contender::start(kind, &setup(options, &provider))
            .map_err(|error| CompareError::Start(kind, error))?;
        running.push(contender);
    }
    thread::sleep(SETTLE);
    for contender in &running {
        let memory = contender.process.as_ref().map(process::Process::memory).transpose()?;
        programs.push(ProgramResult {
            kind: contender.kind,
            ready_ms: contender.ready_in.as_secs_f64() * 1e3,
            memory_idle: memory.unwrap_or_default(),
            memory_after: Memory::default(),
            warning: contender.warning.clone(),
        });
    }

    let steps: usize = options.cases.iter().map(|case| takers(case, &running).len()).sum();
    let steps = steps * options.rounds;
    let mut step = 0;
    let mut cases = Vec::new();
    for case in &options.cases {
        let takers = takers(case, &running);
        let mut rounds: Vec<Vec<Sample>> = vec![Vec::new(); takers.len()];
        for round in 0..options.rounds {
            for turn in 0..takers.len() {
                let at = (turn + round) % takers.len();
                let taker = takers[at];
                let what = format!("{}, round {}, {}", case.name, round + 1, taker.kind.name());
                progress(step, steps, &what);
                rounds[at].push(sample(case, taker, &provider, options)?);
                step += 1;
            }
        }
        let contenders = takers.iter().zip(rounds);
        let contenders =
            contenders.map(|(taker, rounds)| CaseContender { kind: taker.kind, rounds });
        cases.push(CaseResult {
            name: case.name,
            about: case.about,
            contenders: contenders.collect(),
        });
    }
    for (contender, program) in running.iter().zip(&mut programs) {
        let memory = contender.process.as_ref().map(process::Process::memory).transpose()?;
        program.memory_after = memory.unwrap_or_default();
    }
    let versions = options.contenders.iter().filter(|kind| **kind != Kind::Direct);
    let versions = versions.map(|kind| {
        (kind.name(), kind.version(&options.ours).unwrap_or_else(|| "unknown".to_owned()))
    });
    Ok(Comparison { machine: Machine::this(), versions: versions.collect(), cases, programs })
}

fn takers<'r>(case: &Case, running: &'r [Running]) -> Vec<&'r Running> {
    running.iter().filter(|contender| case.is_for(contender.kind)).collect()
}

fn sample(
    case: &Case,
    taker: &Running,
    provider: &Handle,
    options: &Options,
) -> Result<Sample, CompareError> {
    provider.set_script(case.script());
    let run = |load: loadtest::generator::Load| on_core(options.load_core, move || load.run());
    let cpu = || taker.process.as_ref().map_or(Ok(0), process::Process::cpu_ns);

    let (cpu_before, asked_before) = (cpu()?, provider.counters().requests);
    let full = run(case.saturate(taker, options.duration))?;
    if taker.process.is_some() {
        thread::sleep(SETTLE);
    }
    let requests = (provider.counters().requests - asked_before).max(1);
    let cpu_us = (cpu()? - cpu_before) as f64 / 1e3;
    let paced = run(case.paced(taker, options.duration / 3))?;

    let cpu_us_per_request = cpu_us / requests as f64;
    Ok(Sample {
        cpu_us_per_request,
        cpu_us_per_chunk: case
            .chunks()
            .map_or(0.0, |chunks| cpu_us_per_request / f64::from(chunks)),
        requests_per_s: full.requests_per_s,
        latency_p50: paced.latency.p50 as f64,
        latency_p99: paced.latency.p99 as f64,
        ttft_p50: if case.chunks().is_some() { paced.ttft.p50 as f64 } else { 0.0 },
        ttft_p99: if case.chunks().is_some() { paced.ttft.p99 as f64 } else { 0.0 },
        failed: full.failed + paced.failed,
    })
}

fn setup(options: &Options, provider: &Handle) -> Setup {
    Setup {
        ours: options.ours.clone(),
        provider: provider.addr(),
        core: Some(options.gateway_core),
        threads: 1,
        arguments: options.arguments.clone(),
    }
}

fn start_provider(core: usize) -> io::Result<Handle> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Provider::start(Config { addr, pin: Some(core), ..Config::default() })
}

/// Runs the generator in a thread of its own on that core: this thread stays free to start programs
/// elsewhere.
fn on_core(
    core: usize,
    run: impl FnOnce() -> Result<Report, LoadError> + Send,
) -> Result<Report, CompareError> {
    let report = thread::scope(|scope| {
        let load = scope.spawn(move || {
            loadtest::pin_to_core(core).map_err(LoadError::Io)?;
            run()
        });
        load.join()
    });
    let report = report.map_err(|_| io::Error::other("the load generator panicked"))?;
    report.map_err(CompareError::Load)
}

impl Machine {
    /// This one, now.
    pub fn this() -> Machine {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name"));
        let model =
            model.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
        Machine {
            processor: model.to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }
}

/// Why nothing could be compared.
#[derive(Debug)]
pub enum CompareError {
    /// A contender does not start.
    Start(Kind, io::Error),
    /// A load cannot be run.
    Load(LoadError),
    /// The system refused something.
    Io(io::Error),
}

impl std::fmt::Display for CompareError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CompareError::Start(kind, error) => write!(f, "{}: {error}", kind.name()),
            CompareError::Load(error) => write!(f, "load: {error}"),
            CompareError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for CompareError {}

impl From<io::Error> for CompareError {
    fn from(error: io::Error) -> CompareError {
        CompareError::Io(error)
    }
}

//! The generator straight against the provider, both threads on one core: the most that the pair
//! can drive, and who of them uses the core.
//!
//! In: a core and a time per case. Out: a row per case. A gateway measured with this pair on the
//! other core is measured well as long as it stays below these figures.

use std::time::Duration;

use serde::Serialize;

use crate::generator::{Body, Load, LoadError, Report, Template};
use crate::provider::{Config, Provider, Script};
use crate::sys::CpuTime;

/// A case: what is asked, over how many connections.
struct Case {
    name: &'static str,
    body_bytes: usize,
    connections: usize,
    /// Pieces of a stream, and how many share one write; `None`: a plain answer.
    stream: Option<(u32, u32)>,
}

const CASES: [Case; 6] = [
    Case { name: "1 KB plain", body_bytes: 1 << 10, connections: 64, stream: None },
    Case { name: "40 KB plain", body_bytes: 40 << 10, connections: 32, stream: None },
    Case { name: "400 KB plain", body_bytes: 400 << 10, connections: 8, stream: None },
    Case { name: "stream of 64", body_bytes: 1 << 10, connections: 64, stream: Some((64, 1)) },
    Case {
        name: "stream of 64, 4 per write",
        body_bytes: 1 << 10,
        connections: 64,
        stream: Some((64, 4)),
    },
    Case {
        name: "stream of 64, 16 per write",
        body_bytes: 1 << 10,
        connections: 64,
        stream: Some((64, 16)),
    },
];

/// What one case reached.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the case.
    pub case: &'static str,
    /// What the generator saw.
    pub report: Report,
    /// CPU µs per request: the provider's part, in user and kernel mode together.
    pub provider_cpu_us_per_request: f64,
    /// Share of both threads' CPU time that was spent in the kernel, 0 to 1.
    pub kernel_share: f64,
    /// Share of the core that both used, 0 to 1: near 1, the core was the limit. Less means that
    /// others ran on it, too, for the pair never waits.
    pub core_share: f64,
    /// Requests per second of CPU time that both used: what the core gives when nobody else has it.
    pub requests_per_cpu_s: f64,
    /// Chunks per second of the same.
    pub chunks_per_cpu_s: f64,
}

/// How many cases there are, for progress.
pub fn case_count() -> usize {
    CASES.len()
}

/// Runs all cases, each for `duration` after a tenth of it as warm-up; `begins` hears each name.
pub fn run(
    core: Option<usize>,
    duration: Duration,
    begins: &mut dyn FnMut(&str),
) -> Result<Vec<Row>, LoadError> {
    let rows = CASES.iter().map(|case| {
        begins(case.name);
        run_case(case, core, duration)
    });
    rows.collect()
}

fn run_case(case: &Case, core: Option<usize>, duration: Duration) -> Result<Row, LoadError> {
    let config = Config { pin: core, ..Config::default() };
    let provider = Provider::start(config).map_err(LoadError::Io)?;
    if let Some((chunks, coalesce)) = case.stream {
        provider.set_script(Script { chunks, coalesce, ..Script::default() });
    }
    let template = Template {
        body: Body::Sized(case.body_bytes),
        stream: case.stream.is_some(),
        include_usage: case.stream.is_some(),
        ..Template::default()
    };
    let load = Load {
        connections: case.connections,
        duration,
        warm_up: duration / 10,
        chunks_expected: case.stream.map(|(chunks, _)| chunks),
        pin: core,
        ..Load::new(provider.addr(), template)
    };
    let (process, thread) = (CpuTime::of_process(), CpuTime::of_thread());
    let started = std::time::Instant::now();
    let report = load.run()?;
    let seconds = started.elapsed().as_secs_f64();
    let process = CpuTime::of_process().since(process);
    let generator = CpuTime::of_thread().since(thread);
    let counters = provider.stop().map_err(LoadError::Io)?;
    let provider_us = process.total_us().saturating_sub(generator.total_us());
    let cpu_s = process.total_us() as f64 / 1e6;
    let per_request = cpu_s / counters.requests.max(1) as f64;
    let chunks = case.stream.map_or(0, |(chunks, _)| chunks);
    Ok(Row {
        case: case.name,
        report,
        requests_per_cpu_s: 1.0 / per_request,
        chunks_per_cpu_s: f64::from(chunks) / per_request,
        provider_cpu_us_per_request: provider_us as f64 / counters.requests.max(1) as f64,
        kernel_share: process.system_us as f64 / process.total_us().max(1) as f64,
        core_share: cpu_s / seconds,
    })
}

//! Comparisons beside the main table: start-up and idle memory, many slow streams at once, more cores.

use std::time::Duration;

use comfy_table::Table;
use loadtest::generator::{Body, Load, Template};
use loadtest::provider::Script;
use serde::Serialize;

use super::contender::{self, Kind, MODEL, Setup};
use super::process::Memory;
use super::table::{Spread, new_table};
use super::{CompareError, Options, SETTLE, on_core, setup, start_provider};

/// One start of one program.
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    /// Who.
    pub kind: Kind,
    /// Milliseconds from its start to its first answer.
    pub ready_ms: f64,
    /// Memory a while after.
    pub memory: Memory,
    /// CPU time that it uses when nobody asks, in microseconds per second.
    pub idle_cpu_us_per_s: f64,
}

/// Starts each program as often as there are rounds.
pub fn idle(
    options: &Options,
    progress: &mut dyn FnMut(usize, usize, &str),
) -> Result<Vec<Start>, CompareError> {
    let provider = start_provider(options.load_core)?;
    let kinds: Vec<Kind> = programs(options);
    let steps = options.rounds * kinds.len();
    let mut starts = Vec::new();
    for round in 0..options.rounds {
        for &kind in &kinds {
            progress(starts.len(), steps, &format!("round {}, {}", round + 1, kind.name()));
            let running = contender::start(kind, &setup(options, &provider))
                .map_err(|error| CompareError::Start(kind, error))?;
            std::thread::sleep(SETTLE);
            let Some(process) = &running.process else { continue };
            let before = process.cpu_ns()?;
            std::thread::sleep(SETTLE);
            let idle_ns = process.cpu_ns()? - before;
            starts.push(Start {
                kind,
                ready_ms: running.ready_in.as_secs_f64() * 1e3,
                memory: process.memory()?,
                idle_cpu_us_per_s: idle_ns as f64 / 1e3 / SETTLE.as_secs_f64(),
            });
        }
    }
    Ok(starts)
}

/// The starts as a table.
pub fn idle_table(starts: &[Start]) -> Table {
    let mut table = new_table();
    table.set_header([
        "",
        "start to first answer",
        "memory (shared pages divided)",
        "memory (resident)",
        "idle CPU",
    ]);
    let mut seen: Vec<Kind> = Vec::new();
    for kind in starts.iter().map(|start| start.kind) {
        if seen.contains(&kind) {
            continue;
        }
        seen.push(kind);
        let of = |figure: fn(&Start) -> f64| {
            let own = starts.iter().filter(|start| start.kind == kind);
            Spread::of(&own.map(figure).collect::<Vec<f64>>())
        };
        let ready = of(|start| start.ready_ms);
        const MIB: f64 = 1_048_576.0;
        table.add_row([
            kind.name().to_owned(),
            format!("{:.0} ms ({:.0}–{:.0})", ready.median, ready.least, ready.greatest),
            format!("{:.1} MiB", of(|start| start.memory.proportional as f64 / MIB).median),
            format!("{:.1} MiB", of(|start| start.memory.resident as f64 / MIB).median),
            format!("{:.0} µs/s", of(|start| start.idle_cpu_us_per_s).median),
        ]);
    }
    table
}

/// Many slow streams through one program.
#[derive(Clone, Debug, Serialize)]
pub struct Streams {
    /// Who.
    pub kind: Kind,
    /// Streams that were whole and in order.
    pub completed: u64,
    /// All others.
    pub failed: u64,
    /// Chunks per second.
    pub chunks_per_s: f64,
    /// Time between chunks, milliseconds: median and 99th of 100.
    pub gap_ms: (f64, f64),
    /// Time to the first content, milliseconds: the same.
    pub ttft_ms: (f64, f64),
    /// CPU time per chunk, microseconds.
    pub cpu_us_per_chunk: f64,
}

/// Streams at once.
const STREAMS: usize = 500;
/// Chunks of each.
const STREAM_CHUNKS: u32 = 200;
/// Between two chunks.
const STREAM_GAP_MS: u32 = 5;

/// 500 streams at once with a chunk every 5 ms, each checked for completeness and order.
pub fn streams(
    options: &Options,
    progress: &mut dyn FnMut(usize, usize, &str),
) -> Result<Vec<Streams>, CompareError> {
    let provider = start_provider(options.load_core)?;
    provider.set_script(Script {
        chunks: STREAM_CHUNKS,
        gap_ms: STREAM_GAP_MS,
        ..Script::default()
    });
    let mut results = Vec::new();
    for (step, &kind) in options.contenders.iter().enumerate() {
        progress(step, options.contenders.len(), kind.name());
        let running = contender::start(kind, &setup(options, &provider))
            .map_err(|error| CompareError::Start(kind, error))?;
        let load = Load {
            connections: STREAMS,
            duration: options.duration.max(Duration::from_secs(3)),
            chunks_expected: Some(STREAM_CHUNKS),
            ..Load::new(running.addr, template(running.key.clone(), true))
        };
        let cpu = || running.process.as_ref().map_or(Ok(0), super::process::Process::cpu_ns);
        let (cpu_before, before) = (cpu()?, provider.counters().requests);
        let report = on_core(options.load_core, move || load.run())?;
        std::thread::sleep(SETTLE);
        let chunks = (provider.counters().requests - before) * u64::from(STREAM_CHUNKS);
        let ms = |us: u64| us as f64 / 1e3;
        results.push(Streams {
            kind,
            completed: report.completed,
            failed: report.failed,
            chunks_per_s: report.chunks_per_s,
            gap_ms: (ms(report.gap.p50), ms(report.gap.p99)),
            ttft_ms: (ms(report.ttft.p50), ms(report.ttft.p99)),
            cpu_us_per_chunk: (cpu()? - cpu_before) as f64 / 1e3 / chunks.max(1) as f64,
        });
    }
    Ok(results)
}

/// The streams as a table.
pub fn streams_table(results: &[Streams]) -> Table {
    let mut table = new_table();
    table.set_header([
        "",
        "whole, in order",
        "failed",
        "chunks/s",
        "gap p50, p99 ms",
        "TTFT p50, p99 ms",
        "CPU µs/chunk",
    ]);
    for row in results {
        table.add_row([
            row.kind.name().to_owned(),
            row.completed.to_string(),
            row.failed.to_string(),
            format!("{:.0}", row.chunks_per_s),
            format!("{:.1}, {:.1}", row.gap_ms.0, row.gap_ms.1),
            format!("{:.1}, {:.1}", row.ttft_ms.0, row.ttft_ms.1),
            if row.cpu_us_per_chunk > 0.0 {
                format!("{:.2}", row.cpu_us_per_chunk)
            } else {
                String::new()
            },
        ]);
    }
    table
}

/// Throughput with a number of cores.
#[derive(Clone, Debug, Serialize)]
pub struct Cores {
    /// Who.
    pub kind: Kind,
    /// Data-plane threads.
    pub cores: usize,
    /// Small requests per second, median of the rounds.
    pub requests_per_s: f64,
    /// CPU time per request, microseconds, median of the rounds.
    pub cpu_us_per_request: f64,
}

/// One core against two. `None` when the machine has too few cores to tell: generator and provider
/// need one that no gateway uses, and they should not be what limits two.
pub fn cores(
    options: &Options,
    progress: &mut dyn FnMut(usize, usize, &str),
) -> Result<Option<Vec<Cores>>, CompareError> {
    let machine = std::thread::available_parallelism()?.get();
    if machine < 4 {
        return Ok(None);
    }
    let provider = start_provider(machine - 1)?;
    let kinds = programs(options);
    let mut results = Vec::new();
    for &kind in &kinds {
        for threads in [1, 2] {
            progress(results.len(), kinds.len() * 2, &format!("{}, {threads}", kind.name()));
            // All cores are allowed: the programs place their threads themselves.
            let setup = Setup { core: None, threads, ..setup(options, &provider) };
            let running =
                contender::start(kind, &setup).map_err(|error| CompareError::Start(kind, error))?;
            let (mut speeds, mut costs) = (Vec::new(), Vec::new());
            for _ in 0..options.rounds {
                let load = Load {
                    connections: 128,
                    duration: options.duration,
                    warm_up: Duration::from_millis(200),
                    ..Load::new(running.addr, template(running.key.clone(), false))
                };
                let cpu =
                    || running.process.as_ref().map_or(Ok(0), super::process::Process::cpu_ns);
                let (cpu_before, before) = (cpu()?, provider.counters().requests);
                let report = on_core(machine - 2, move || load.run())?;
                let requests = (provider.counters().requests - before).max(1);
                speeds.push(report.requests_per_s);
                costs.push((cpu()? - cpu_before) as f64 / 1e3 / requests as f64);
            }
            results.push(Cores {
                kind,
                cores: threads,
                requests_per_s: Spread::of(&speeds).median,
                cpu_us_per_request: Spread::of(&costs).median,
            });
        }
    }
    Ok(Some(results))
}

/// The cores as a table.
pub fn cores_table(results: &[Cores]) -> Table {
    let mut table = new_table();
    table.set_header(["", "cores", "requests/s", "CPU µs/request"]);
    for row in results {
        table.add_row([
            row.kind.name().to_owned(),
            row.cores.to_string(),
            format!("{:.0}", row.requests_per_s),
            format!("{:.1}", row.cpu_us_per_request),
        ]);
    }
    table
}

fn programs(options: &Options) -> Vec<Kind> {
    options.contenders.iter().copied().filter(|kind| *kind != Kind::Direct).collect()
}

fn template(key: Option<String>, stream: bool) -> Template {
    Template {
        model: MODEL.to_owned(),
        stream,
        body: Body::Sized(1 << 10),
        key,
        ..Template::default()
    }
}

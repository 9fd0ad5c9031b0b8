//! What the journal and the fold cost on this machine:
//! `cargo run --release -p store --example cost [folder]`.
//!
//! In: a folder on the disk to measure (the system's folder for temporary files by default). Out: a
//! table: nanoseconds per append with the control thread syncing every 10 ms, CPU microseconds per
//! record of the fold, and of a report. Never: anything left behind.

#![allow(clippy::print_stdout)] // it speaks to a person

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use models::{PicoUsd, Task, Tokens, Usage, UsageSource};
use store::{
    Asked, Attribution, Decided, Dimension, Journal, JournalLimits, Money, Outcome, Record,
    RecordRef, Served, Store, Timing, UsageQuery,
};

const RECORDS: u64 = 200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = parent.join(format!("pointsman-cost-{}", std::process::id()));
    let journal = Journal::open(&folder, JournalLimits::default())?;
    let mut store = Store::open(&folder)?;

    append(&journal, "append, one after the other", 0, Duration::ZERO)?;
    append(&journal, "append, every 50 µs", 1, Duration::from_micros(50))?;
    fold(&mut store, &journal, "fold")?;
    append(&journal, "append again", 2, Duration::ZERO)?;
    fold(&mut store, &journal, "fold again")?;
    for by in [vec![], vec![Dimension::Model], vec![Dimension::Key, Dimension::Task]] {
        let started = Instant::now();
        let rows = store.usage(&UsageQuery { by, ..UsageQuery::default() })?;
        let calls: u64 = rows.iter().map(|row| row.totals.calls).sum();
        let per_row = started.elapsed().as_secs_f64() * 1e6 / calls as f64;
        println!("report of {calls} requests in {} groups: {per_row:.2} µs a request", rows.len());
    }
    let bytes = std::fs::metadata(store.path())?.len();
    println!("store: {:.0} bytes a request", bytes as f64 / (3 * RECORDS) as f64);
    drop((store, journal));
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn append(
    journal: &Journal,
    what: &str,
    core: u16,
    pause: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut writer = journal.writer(core)?;
    journal.tend()?;
    let stop = AtomicBool::new(false);
    let before = interruptions();
    let mut times: Vec<u32> = Vec::with_capacity(RECORDS as usize);
    let total = std::thread::scope(|scope| -> Result<Duration, store::JournalError> {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Err(error) = journal.tend() {
                    println!("tend: {error}");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let mut total = Duration::ZERO;
        for n in 0..RECORDS {
            let record = record(n);
            let started = Instant::now();
            writer.append(&record)?;
            let took = started.elapsed();
            total += took;
            times.push(took.as_nanos() as u32);
            while started.elapsed() < pause {
                std::hint::spin_loop();
            }
        }
        stop.store(true, Ordering::Relaxed);
        Ok(total)
    })?;
    let happened: Vec<i64> =
        interruptions().iter().zip(before).map(|(after, before)| after - before).collect();
    times.sort_unstable();
    let at = |share: f64| times[(share * (times.len() - 1) as f64) as usize];
    println!(
        "{what}: mean {} ns, p50 {}, p99 {}, p99.9 {}, p99.99 {}, max {} (clock reads included)",
        total.as_nanos() / u128::from(RECORDS),
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        at(1.0)
    );
    println!("    page faults, waits, preemptions by other processes: {happened:?}");
    Ok(())
}

fn fold(
    store: &mut Store,
    journal: &Journal,
    what: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let (started, cpu) = (Instant::now(), thread_cpu());
    let report = store.fold(journal)?;
    let per_record = |time: Duration| time.as_secs_f64() * 1e6 / report.records as f64;
    println!(
        "{what}: {} records, {:.2} µs of CPU and {:.2} µs of time each",
        report.records,
        per_record(thread_cpu() - cpu),
        per_record(started.elapsed())
    );
    Ok(())
}

/// Page faults, waits and preemptions of this thread so far: what a long append was about.
fn interruptions() -> [i64; 3] {
    // SAFETY: zeros are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a rusage of our own, which the call fills.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    [usage.ru_minflt, usage.ru_nvcsw, usage.ru_nivcsw]
}

fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of our own, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A record like those of a busy team: few models, some keys, many end users.
fn record(n: u64) -> RecordRef<'static> {
    const USERS: [&str; 8] = ["ada", "bo", "cy", "dee", "eli", "flo", "gus", "hal"];
    const MODELS: [&str; 5] = ["lab/small-3", "lab/large-4", "other/huge-2", "free/mini", "b/code"];
    let total = (1 + n % 4000) * 750_000;
    Record {
        entry: u128::from(n) << 64 | u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        started_at_us: 1_795_000_000_000_000 + n * 1_000,
        core: (n % 2) as u16,
        who: Attribution {
            key_id: 1 + n % 8,
            key_name: ["ci", "laptop", "batch", "web", "app"][(n % 5) as usize],
            org: "acme",
            team: ["search", "ads", "mail"][(n % 3) as usize],
            project: "ranking",
            user: USERS[(n * 5 % 8) as usize],
        },
        asked: Asked {
            dialect: "openai_chat",
            requested: ["auto", "auto:cost", "lab/large-4"][(n % 3) as usize],
            strategy: ["balanced", "cost"][(n % 2) as usize],
            stream: n.is_multiple_of(2),
        },
        decided: Decided {
            task: Task::from_index((n % 17) as usize),
            difficulty: (n % 100) as f32 / 100.0,
            confidence: 0.8,
            expected_quality: 0.75,
            expected_cost: PicoUsd(total),
            expected_latency_us: 400_000,
            candidates: 1_874,
            classified_by: "model",
            reason: "best_score",
        },
        served: Served {
            model: MODELS[(n * 7 % 5) as usize],
            provider: ["lab", "other", "cloud"][(n % 3) as usize],
            wire_id: ["small-3-2026-05-01", "large-4", "huge-2-latest"][(n % 3) as usize],
            attempts: 1,
            failures: "",
            outcome: Outcome::Complete,
            http_status: 200,
        },
        timing: Timing {
            ttft_us: Some(100_000 + (n * 7919 % 900_000) as u32),
            duration_us: 900_000 + (n * 104_729 % 9_000_000) as u32,
            classify_us: 30,
        },
        usage: Usage {
            input: Tokens(1 + n % 4000),
            cached: Tokens(n % 1000),
            output: Tokens(n % 800),
            reasoning: Tokens(n % 300),
            source: UsageSource::Provider,
            ..Usage::default()
        },
        money: Money {
            input: PicoUsd(total / 2),
            cached: PicoUsd(total / 10),
            output: PicoUsd(total / 10 * 4),
            total: PicoUsd(total),
            own_cost: PicoUsd(total),
            dearest: PicoUsd(total * 20),
            price_version: "1f0c9a7be2d4",
            ..Money::default()
        },
    }
}

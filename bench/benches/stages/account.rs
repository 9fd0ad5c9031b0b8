//! Usage to a charge, a record in the journal, and counts.

use crate::fixture;
use criterion::Criterion;
use engine::stats::Times;
use govern::{UPLIFT_NONE, charge};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use store::{Journal, JournalLimits, JournalWriter};

/// Records in one journal before a fresh one is taken, so that any number fits on the disk.
const RECORDS_MAX: u64 = 100_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("account");
    let (usage, prices) = (fixture::usage(), fixture::prices());
    group.bench_function("charge", |bencher| {
        bencher.iter(|| charge(black_box(&usage), &prices, UPLIFT_NONE).expect("plausible counts"));
    });
    group.bench_function("journal append", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut left = iterations;
            let mut taken = Duration::ZERO;
            while left > 0 {
                let records = left.min(RECORDS_MAX);
                taken += with_journal(|writer| {
                    let begun = Instant::now();
                    for number in 0..records {
                        writer.append(black_box(&fixture::record(number))).expect("there is room");
                    }
                    begun.elapsed()
                });
                left -= records;
            }
            taken
        });
    });
    let mut times = Times::default();
    let mut micros = 1_u32;
    group.bench_function("histogram record", |bencher| {
        bencher.iter(|| {
            micros = micros.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            times.record(micros >> 12);
        });
    });
    let mut sum = Times::default();
    group.bench_function("histogram merge", |bencher| {
        bencher.iter(|| sum.0.add(black_box(&times.0)).expect("the same bounds"));
    });
    group.finish();
}

/// A journal whose control thread does its part, as in the program.
fn with_journal(work: impl FnOnce(&mut JournalWriter) -> Duration) -> Duration {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let limits = JournalLimits::default();
    let journal = Journal::open(folder.path(), limits).expect("a journal");
    let mut writer = journal.writer(0).expect("a writer");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                journal.tend().expect("the disk takes it");
                thread::sleep(Duration::from_millis(10));
            }
        });
        let taken = work(&mut writer);
        done.store(true, Ordering::Relaxed);
        taken
    })
}

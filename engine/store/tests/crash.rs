//! `kill -9` at any instant: what was acknowledged is in the store once, whatever was going on.
//!
//! The test starts itself again as a child that appends, tends and folds, and reports each record
//! after `append` has returned. The parent kills it at a random instant, again and again over one
//! and the same folder.

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{SMALL, entries, open, record};
use store::JournalLimits;

const FOLDER: &str = "STORE_CRASH_FOLDER";
const FIRST: &str = "STORE_CRASH_FIRST";
const FOLDS: &str = "STORE_CRASH_FOLDS";
const CORES: u64 = 2;
const ROUNDS: u64 = 30;
/// Entries of a round are below this above those of the round before.
const ROUND_ENTRIES: u64 = 1 << 32;
const CORE_ENTRIES: u64 = 1 << 28;
/// Records of a core and life. A fast machine gets to the end of them before it is killed.
const LIFE_ENTRIES: u64 = 8_000;
/// Room for all records of all lives, at 512 bytes each: a full journal is another test's subject.
const ROOMY: JournalLimits =
    JournalLimits { room_bytes: ROUNDS * CORES * LIFE_ENTRIES * 512, ..SMALL };
/// Where a child that panics leaves its message: its standard error is taken.
const PANICKED: &str = "panicked.txt";

#[test]
fn records_survive_the_death_of_a_process_that_appends() {
    kill_again_and_again(false, 1);
}

#[test]
fn records_survive_the_death_of_a_process_that_appends_and_folds() {
    kill_again_and_again(true, 2);
}

fn kill_again_and_again(folds: bool, seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = seed;
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let life = Duration::from_micros((random >> 33) % if folds { 150_000 } else { 60_000 });
        acknowledged.extend(one_life(folder.path(), folds, round * ROUND_ENTRIES, life));
    }
    assert!(acknowledged.len() > 500, "the children lived too short to show anything");

    let (journal, mut store) = open(folder.path(), ROOMY);
    let folded_by_the_dead = entries(&store).len();
    assert_eq!(folded_by_the_dead > 100, folds, "{folded_by_the_dead}: not what was to be shown");
    let report = store.fold(&journal).expect("folds");
    assert_eq!((report.lost, &report.unreadable), (0, &Vec::new()));
    assert_eq!(report.journal_bytes, 0);
    let found = entries(&store);
    assert!(found.is_sorted_by(|a, b| a < b), "no record is there twice");
    for entry in &acknowledged {
        assert!(found.binary_search(entry).is_ok(), "record {entry:#x} was acknowledged");
    }
    // A record may have been committed in the instant before its acknowledgement: one a core and
    // life, and none from anywhere else.
    acknowledged.sort_unstable();
    let beyond = found.iter().filter(|entry| acknowledged.binary_search(entry).is_err()).count();
    assert!(beyond as u64 <= ROUNDS * CORES, "{beyond} records that nobody appended");
}

/// Runs a child until it has acknowledged something and `life` has passed, kills it, and gives back
/// what it acknowledged.
fn one_life(folder: &Path, folds: bool, first: u64, life: Duration) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().expect("has a path"))
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .env(FOLDS, if folds { "1" } else { "0" })
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut pipe = child.stderr.take().expect("is piped");
    let mut bytes = vec![0; 8];
    pipe.read_exact(&mut bytes).expect("the child begins");
    // Emptied while it runs: a full pipe would stop the child between append and append.
    let reader = std::thread::spawn(move || {
        pipe.read_to_end(&mut bytes).map(|_| bytes).expect("reads to the end")
    });
    std::thread::sleep(life);
    child.kill().expect("SIGKILL"); // on Unix it is this signal and no other
    child.wait().expect("is gone");
    let bytes = reader.join().expect("reads");
    if let Ok(message) = std::fs::read_to_string(folder.join(PANICKED)) {
        panic!("the child panicked: {message}");
    }
    bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().expect("8"))).collect()
}

/// Not a test: the process that is killed. It ends by itself when it is not.
#[test]
#[ignore = "started by the tests above"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let number = |name| std::env::var(name).expect("is set").parse::<u64>().expect("a number");
    let (first, folds) = (number(FIRST), number(FOLDS) == 1);
    let panicked = Path::new(&folder).join(PANICKED);
    std::panic::set_hook(Box::new(move |panic| {
        std::fs::write(&panicked, panic.to_string()).expect("writes");
        std::process::abort();
    }));
    let (journal, mut store) = open(Path::new(&folder), ROOMY);
    std::thread::scope(|scope| {
        for core in 0..CORES {
            let mut writer = journal.writer(core as u16).expect("a writer");
            scope.spawn(move || {
                let start = first + core * CORE_ENTRIES;
                for entry in start..start + LIFE_ENTRIES {
                    let mut kept = record(entry % 1000);
                    kept.entry = entry.into();
                    writer.append(&kept).expect("takes it");
                    // One write of eight bytes to a pipe is whole or not at all.
                    std::io::stderr().write_all(&entry.to_le_bytes()).expect("the parent reads");
                    if folds && entry % 8 == 0 {
                        // Slow enough that many small folds are committed in a life.
                        std::thread::sleep(Duration::from_micros(500));
                    }
                }
            });
        }
        for _ in 0..100_000 {
            journal.tend().expect("tends");
            if folds {
                store.fold(&journal).expect("folds");
            }
        }
    });
}

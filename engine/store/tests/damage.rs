//! Damaged files: the fold never fails on them, never makes a record up, and loses no more than was
//! hit.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{SMALL, all, open, record};
use proptest::prelude::*;
use store::{Record, Store};

const RECORDS: u64 = 60;

/// What is done to a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip { at: f64, bit: u8 },
    Cut { at: f64 },
    ZeroTail { at: f64 },
    ZeroPage { at: f64 },
    Noise { at: f64, bytes: Vec<u8> },
    Copy { from: f64, to: f64, length: usize },
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || 0.0..1.0f64;
    prop_oneof![
        4 => (place(), 0..8u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        1 => place().prop_map(|at| Damage::Cut { at }),
        1 => place().prop_map(|at| Damage::ZeroTail { at }),
        1 => place().prop_map(|at| Damage::ZeroPage { at }),
        1 => (place(), prop::collection::vec(any::<u8>(), 1..200))
            .prop_map(|(at, bytes)| Damage::Noise { at, bytes }),
        2 => (place(), place(), 16..2000usize)
            .prop_map(|(from, to, length)| Damage::Copy { from, to, length }),
    ]
}

impl Damage {
    /// Places are shares of the part of the file that was written.
    fn apply(&self, file: &mut Vec<u8>, written: usize) {
        let place = |share: f64| ((written as f64 * share) as usize).min(file.len() - 1);
        match self {
            Damage::Flip { at, bit } => {
                let at = place(*at);
                file[at] ^= 1 << bit;
            }
            Damage::Cut { at } => {
                let at = place(*at).max(1);
                file.truncate(at);
            }
            Damage::ZeroTail { at } => {
                let at = place(*at);
                file[at..].fill(0);
            }
            Damage::ZeroPage { at } => {
                let at = place(*at) / 4096 * 4096;
                let end = (at + 4096).min(file.len());
                file[at..end].fill(0);
            }
            Damage::Noise { at, bytes } => {
                let at = place(*at);
                let end = (at + bytes.len()).min(file.len());
                file[at..end].copy_from_slice(&bytes[..end - at]);
            }
            Damage::Copy { from, to, length } => {
                // To a frame's place, from a frame's place: the most likely to be taken for one.
                let (from, to) = (place(*from) / 16 * 16, place(*to) / 16 * 16);
                let length = (*length).min(file.len() - from.max(to));
                file.copy_within(from..from + length, to);
            }
        }
    }
}

/// One segment with records, by a process that is gone.
fn leave_a_segment(folder: &Path) -> (PathBuf, Vec<u8>, usize) {
    let (journal, store) = open(folder, SMALL);
    let mut writer = journal.writer(0).expect("a writer");
    for n in 0..RECORDS {
        writer.append(&record(n)).expect("takes it");
    }
    drop((writer, journal, store));
    let path = segments(folder).pop().expect("one is there");
    let bytes = fs::read(&path).expect("reads");
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("is not empty") + 1;
    (path, bytes, written)
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("journal")).expect("reads");
    let paths = entries.map(|entry| entry.expect("reads").path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "journal")).collect()
}

/// Folds twice, and gives back what is there and how many were lost.
fn fold(folder: &Path) -> (Vec<Record>, u64) {
    let (journal, mut store) = open(folder, SMALL);
    let report = store.fold(&journal).expect("damage is no failure");
    assert!(report.unreadable.is_empty(), "{:?}", report.unreadable);
    let again = store.fold(&journal).expect("folds again");
    assert_eq!((again.records, again.lost), (0, 0), "the second fold finds nothing");
    let records = all(&Store::open(folder).expect("opens"));
    assert_eq!(records.len() as u64, report.records);
    (records, report.lost)
}

/// Every record is one that was appended, and none is there twice.
fn only_true_records(records: &[Record]) {
    let mut numbers: Vec<u64> = Vec::new();
    for found in records {
        let number = u64::try_from(found.entry).expect("small");
        assert!(number < RECORDS);
        assert_eq!(*found, record(number).to_owned_texts());
        numbers.push(number);
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_file_nothing_is_made_up(
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, mut bytes, written) = leave_a_segment(folder.path());
        for damage in &damages {
            damage.apply(&mut bytes, written);
        }
        fs::write(&path, &bytes).expect("writes");
        let (records, lost) = fold(folder.path());
        only_true_records(&records);
        prop_assert!(records.len() as u64 + lost <= RECORDS);
    }

    #[test]
    fn a_flipped_bit_costs_one_record_at_most(at in 0.0..1.0f64, bit in 0..8u8) {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, mut bytes, written) = leave_a_segment(folder.path());
        Damage::Flip { at, bit }.apply(&mut bytes, written);
        fs::write(&path, &bytes).expect("writes");
        let (records, lost) = fold(folder.path());
        only_true_records(&records);
        prop_assert!(lost <= 1);
        prop_assert_eq!(records.len() as u64 + lost, RECORDS);
        let kept = path.with_extension("damaged").exists();
        prop_assert_eq!(kept, lost > 0, "a damaged file is kept, a whole one is not");
    }
}

#[test]
fn a_page_that_never_reached_the_disk_costs_its_records_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, mut bytes, written) = leave_a_segment(folder.path());
    assert!(written > 5 * 4096);
    bytes[2 * 4096..3 * 4096].fill(0);
    fs::write(&path, &bytes).expect("writes");
    let (records, lost) = fold(folder.path());
    only_true_records(&records);
    assert!((1..20).contains(&lost), "{lost}");
    assert_eq!(records.len() as u64 + lost, RECORDS);
}

#[test]
fn damage_in_a_live_file_does_not_stop_the_fold() {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, mut store) = open(folder.path(), SMALL);
    let mut writer = journal.writer(0).expect("a writer");
    for n in 0..10 {
        writer.append(&record(n)).expect("takes it");
    }
    let path = segments(folder.path()).pop().expect("one is there");
    let file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
    std::os::unix::fs::FileExt::write_all_at(&file, b"damage", 64 + 100).expect("writes");
    let report = store.fold(&journal).expect("folds");
    assert_eq!((report.records, report.lost), (9, 1));
    writer.append(&record(10)).expect("takes it");
    let report = store.fold(&journal).expect("folds");
    assert_eq!((report.records, report.lost), (1, 0), "what is lost is counted once");
    drop(writer);
    store.fold(&journal).expect("folds");
    assert!(path.with_extension("damaged").exists());
}

#[test]
fn foreign_and_half_made_files_are_not_taken_for_segments() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, bytes, _) = leave_a_segment(folder.path());
    let journal = path.parent().expect("a folder");
    fs::write(journal.join("notes.txt"), &bytes).expect("writes");
    fs::write(path.with_extension("new"), &bytes).expect("writes");
    fs::write(journal.join("1-2-3.journal"), &bytes).expect("writes");
    let (records, lost) = fold(folder.path());
    assert_eq!((records.len() as u64, lost), (RECORDS, 0));
    assert!(journal.join("notes.txt").exists() && !path.with_extension("new").exists());
}

#[test]
fn a_segment_in_an_unknown_layout_is_reported_and_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, mut bytes, _) = leave_a_segment(folder.path());
    bytes[8..12].copy_from_slice(&99u32.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).expect("writes");
    let (journal, mut store) = open(folder.path(), SMALL);
    let report = store.fold(&journal).expect("folds the rest");
    assert_eq!(report.records, 0);
    assert_eq!(report.unreadable.len(), 1);
    assert!(report.unreadable[0].1.contains("another version"), "{report:?}");
    assert!(path.exists());
}

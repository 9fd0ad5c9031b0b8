//! What is appended comes into the store, once and unchanged, and reports add up to the pico-dollar.

mod common;

use common::{MODELS, SMALL, all, entries, open, record};
use models::PicoUsd;
use store::{
    Dimension, Journal, JournalError, JournalLimits, MONEY_MAX, Record, Store, UsageQuery,
};

#[test]
fn records_come_into_the_store_unchanged_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, mut store) = open(folder.path(), JournalLimits::default());
    let mut writer = journal.writer(0).expect("a writer");
    for n in 0..1000 {
        writer.append(&record(n)).expect("takes it");
    }
    assert_eq!(store.fold(&journal).expect("folds").records, 1000);
    let expected: Vec<Record> = (0..1000).map(|n| record(n).to_owned_texts()).collect();
    assert_eq!(all(&store), expected);
    assert_eq!(store.recent(2).expect("reads"), [expected[999].clone(), expected[998].clone()]);
}

#[test]
fn folding_again_adds_only_what_is_new() {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, mut store) = open(folder.path(), SMALL);
    let mut writers = [0, 1].map(|core| journal.writer(core).expect("a writer"));
    let mut next = 0;
    for round in 0..20u64 {
        let count = round * 17 % 400;
        for _ in 0..count {
            writers[(next % 2) as usize].append(&record(next)).expect("takes it");
            next += 1;
        }
        journal.tend().expect("tends");
        assert_eq!(store.fold(&journal).expect("folds").records, count);
    }
    assert_eq!(store.fold(&journal).expect("folds").records, 0);
    assert_eq!(entries(&store), (0..next).collect::<Vec<_>>());
}

#[test]
fn a_new_start_folds_what_the_last_one_left() {
    let folder = tempfile::tempdir().expect("a folder");
    for start in 0..3 {
        let (journal, mut store) = open(folder.path(), SMALL);
        let report = store.fold(&journal).expect("folds");
        assert_eq!(report.records, if start == 0 { 0 } else { 500 });
        assert_eq!(report.lost, 0);
        let mut writer = journal.writer(0).expect("a writer");
        for n in start * 500..(start + 1) * 500 {
            writer.append(&record(n)).expect("takes it");
        }
        journal.tend().expect("tends");
    }
    let (journal, mut store) = open(folder.path(), SMALL);
    let report = store.fold(&journal).expect("folds");
    assert_eq!(entries(&store), (0..1500).collect::<Vec<_>>());
    assert_eq!(report.journal_bytes, 0, "everything folded is removed");
    assert_eq!(report, store::FoldReport { lag_us: report.lag_us, ..report.clone() });
    let left: Vec<_> = std::fs::read_dir(folder.path().join("journal")).expect("reads").collect();
    assert_eq!(left.len(), 1, "only the lock is left: {left:?}");
}

#[test]
fn a_full_journal_refuses_and_takes_again_after_the_fold() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = JournalLimits { room_bytes: 4 * SMALL.segment_bytes, ..SMALL };
    let (journal, mut store) = open(folder.path(), limits);
    let mut writer = journal.writer(0).expect("a writer");
    let mut taken = 0;
    let refusal = loop {
        match writer.append(&record(taken)) {
            Ok(()) => taken += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refusal, JournalError::Full { used_bytes, limit_bytes }
        if used_bytes == limits.room_bytes && limit_bytes == limits.room_bytes));
    assert!(!writer.has_room());
    assert_eq!(store.fold(&journal).expect("folds").records, taken);
    assert!(writer.has_room());
    writer.append(&record(taken)).expect("there is room again");
    assert_eq!(store.fold(&journal).expect("folds").records, 1);
    assert_eq!(entries(&store), (0..=taken).collect::<Vec<_>>());
}

#[test]
fn one_process_at_a_time_has_the_journal_and_one_writer_a_core() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = Journal::open(folder.path(), SMALL).expect("opens");
    let second = Journal::open(folder.path(), SMALL).err().expect("refuses");
    assert!(second.to_string().contains("another pointsman is running"), "{second}");

    let writer = journal.writer(3).expect("a writer");
    assert!(matches!(journal.writer(3), Err(JournalError::CoreTaken { core: 3 })));
    drop(writer);
    let writer = journal.writer(3).expect("a core's thread may start again");
    drop((writer, journal));
    Journal::open(folder.path(), SMALL).expect("the lock is given back");
}

#[test]
fn numbers_above_a_column_are_refused_before_they_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, mut store) = open(folder.path(), SMALL);
    let mut writer = journal.writer(0).expect("a writer");
    let mut dear = record(1);
    dear.money.total = PicoUsd(MONEY_MAX.0 + 1);
    assert!(matches!(writer.append(&dear), Err(JournalError::TooLarge)));
    dear.money.total = MONEY_MAX;
    writer.append(&dear).expect("takes it");
    store.fold(&journal).expect("folds");
    assert_eq!(all(&store)[0].money.total, MONEY_MAX);
}

#[test]
fn sums_are_exact_beyond_64_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, mut store) = open(folder.path(), SMALL);
    let mut writer = journal.writer(0).expect("a writer");
    let mut dear = record(1);
    dear.money.total = MONEY_MAX;
    for _ in 0..9 {
        writer.append(&dear).expect("takes it");
    }
    store.fold(&journal).expect("folds");
    let totals = store.totals(None).expect("sums");
    assert_eq!(totals.cost_pico, 9 * u128::from(MONEY_MAX.0));
}

#[test]
fn groups_and_spans_add_up_to_the_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, mut store) = open(folder.path(), SMALL);
    let mut writer = journal.writer(0).expect("a writer");
    let records: Vec<_> = (0..3000).map(record).collect();
    for record in &records {
        writer.append(record).expect("takes it");
    }
    store.fold(&journal).expect("folds");

    let since_us = records[1000].started_at_us;
    let until_us = records[2000].started_at_us;
    let spans = [
        (None, None, 0..3000),
        (Some(since_us), None, 1000..3000),
        (Some(since_us + 1), None, 1001..3000),
        (Some(since_us), Some(until_us), 1000..2000),
        (Some(u64::MAX), None, 0..0),
    ];
    for (since_us, until_us, expected) in spans {
        let expected = &records[expected];
        for by in Dimension::ALL {
            let query = UsageQuery { by: vec![by, Dimension::Model], since_us, until_us };
            let rows = store.usage(&query).expect("sums");
            let calls: u64 = rows.iter().map(|row| row.totals.calls).sum();
            assert_eq!(calls, expected.len() as u64, "{by:?}");
            let cost: u128 = rows.iter().map(|row| row.totals.cost_pico).sum();
            assert_eq!(
                cost,
                expected.iter().map(|r| u128::from(r.money.total.0)).sum::<u128>(),
                "{by:?}"
            );
        }
        let query = UsageQuery { by: vec![Dimension::Model], since_us, until_us };
        for row in store.usage(&query).expect("sums") {
            let of_model: Vec<_> =
                expected.iter().filter(|record| record.served.model == row.group[0]).collect();
            assert_eq!(row.totals.calls, of_model.len() as u64);
            assert_eq!(row.totals.complete, row.totals.calls);
            let sum = |part: fn(&Record<&str>) -> u64| -> u128 {
                of_model.iter().map(|record| u128::from(part(record))).sum()
            };
            assert_eq!(row.totals.input, sum(|r| r.usage.input.0));
            assert_eq!(row.totals.cached, sum(|r| r.usage.cached.0));
            assert_eq!(row.totals.output, sum(|r| r.usage.output.0));
            assert_eq!(row.totals.cost_pico, sum(|r| r.money.total.0));
            assert_eq!(row.totals.dearest_pico, sum(|r| r.money.dearest.0));
            assert!(row.totals.ttft.p50_us.abs_diff(100_500) < 3_200, "{:?}", row.totals.ttft);
            assert!(row.totals.duration.p95_us.abs_diff(900_000) < 30_000);
        }
    }
    let query = UsageQuery { by: vec![Dimension::Model], ..UsageQuery::default() };
    let mut labels: Vec<_> = store.usage(&query).expect("sums");
    labels.sort_by(|a, b| a.group.cmp(&b.group));
    assert!(labels.iter().map(|row| row.group[0].as_str()).eq(MODELS));
}

#[test]
fn a_command_line_reads_and_makes_keys_while_a_server_folds() {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, mut server) = open(folder.path(), SMALL);
    let mut cli = Store::open(folder.path()).expect("opens beside the server");
    let mut writer = journal.writer(0).expect("a writer");
    for n in 0..2000 {
        writer.append(&record(n)).expect("takes it");
        if n % 200 == 0 {
            server.fold(&journal).expect("folds");
            cli.create_key(&store::NewKey::default()).expect("makes a key");
            assert_eq!(cli.totals(None).expect("sums").calls, n + 1);
        }
    }
}

//! From the journal into the table of requests.
//!
//! In: the journal's files. Out: one row per record, exactly once. A transaction holds rows and the
//! places in the files up to which they go, so whatever instant the process dies at, the next fold
//! goes on where the last commit ended. Files are removed after the commit that holds their end.
//! Never: a record dropped without being counted in [`FoldReport::lost`].

use std::collections::HashMap;
use std::path::PathBuf;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::clock::unix_us;
use crate::journal::{Journal, SegmentState};
use crate::record::RecordRef;
use crate::segment::{Next, Position, SegmentName, SegmentReader, Window};
use crate::store::{Store, StoreError, sqlite_error};
use crate::texts::Texts;

/// Rows per transaction: readers and other writers wait for none for longer than a tenth of a second.
const BATCH_ROWS: u64 = 50_000;
/// Requests per row of `block`.
const BLOCK_ROWS: i64 = 10_000;

/// What one fold did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldReport {
    /// Records that are in the store now and were not before.
    pub records: u64,
    /// Records that had been committed to the journal and are damaged. Their files are kept, renamed
    /// to end in `.damaged`.
    pub lost: u64,
    /// Files of the journal that were folded to the end and removed.
    pub segments_removed: u64,
    /// Files that could not be read, with the reason; they are left where they are.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Age of the oldest record when it came into the store, in microseconds since it ended.
    pub lag_us: u64,
    /// Bytes that the journal takes after the fold.
    pub journal_bytes: u64,
}

/// How far a file has been folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Track {
    position: Position,
    lost: u64,
}

impl Track {
    const START: Track = Track { position: Position::START, lost: 0 };
}

/// The table `segment` in memory.
#[derive(Default)]
pub(crate) struct Tracks {
    of: HashMap<SegmentName, Track>,
}

impl Tracks {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Tracks> {
        let mut statement =
            connection.prepare_cached("SELECT name, offset, sequence, lost FROM segment")?;
        let mut rows = statement.query([])?;
        let mut of = HashMap::new();
        while let Some(row) = rows.next()? {
            // A name that is none was not written by us, and no file will ask for it.
            if let Some(name) = SegmentName::parse(row.get_ref(0)?.as_str()?) {
                let position = Position { offset: row.get(1)?, sequence: row.get(2)? };
                let lost = row.get(3)?;
                of.insert(name, Track { position, lost });
            }
        }
        Ok(Tracks { of })
    }
}

impl Store {
    /// Takes into the store what the journal holds. Idempotent; called every second, and once at the
    /// start for what an earlier process left.
    ///
    /// On an error nothing is lost: what was committed stays, the rest is still in the journal.
    pub fn fold(&mut self, journal: &Journal) -> Result<FoldReport, StoreError> {
        let mut window = self.window.take().unwrap_or_else(Window::new);
        let result = self.fold_all(journal, &mut window);
        self.window = Some(window);
        if result.is_err() {
            self.start_over();
        }
        result
    }

    /// After an error: the transaction goes, and with it what we remembered of it.
    fn start_over(&mut self) {
        if !self.connection.is_autocommit() {
            // When even this fails, the connection is broken, and the next statement says so.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.texts.forget();
        // On failure the old tracks stay. They are never behind the store, as they change after the
        // commit only.
        if let Ok(tracks) = Tracks::load(&self.connection) {
            self.tracks = tracks;
        }
    }

    fn fold_all(
        &mut self,
        journal: &Journal,
        window: &mut Window,
    ) -> Result<FoldReport, StoreError> {
        let segments = journal.segments()?;
        self.forget_gone(&segments)?;
        let mut fold = Fold {
            connection: &self.connection,
            // Held for all rows: to look it up by its text costs as much as half a row.
            insert: self.connection.prepare_cached(INSERT).map_err(sqlite_error(&self.path))?,
            path: &self.path,
            texts: &mut self.texts,
            tracks: &mut self.tracks,
            journal,
            batch: None,
            finished: Vec::new(),
            report: FoldReport::default(),
        };
        for (name, state) in segments {
            if state != SegmentState::Standby {
                fold.segment(name, state == SegmentState::Sealed, window)?;
            }
        }
        fold.commit()?;
        let mut report = fold.report;
        report.journal_bytes = journal.used_bytes();
        Ok(report)
    }

    /// Drops tracks of files that are gone: a crash came between removing the file and the row.
    fn forget_gone(&mut self, segments: &[(SegmentName, SegmentState)]) -> Result<(), StoreError> {
        let is_there = |name: &SegmentName| segments.iter().any(|(there, _)| there == name);
        let gone: Vec<SegmentName> =
            self.tracks.of.keys().filter(|name| !is_there(name)).copied().collect();
        for name in gone {
            forget(&self.connection, name).map_err(sqlite_error(&self.path))?;
            self.tracks.of.remove(&name);
        }
        Ok(())
    }
}

fn forget(connection: &Connection, name: SegmentName) -> rusqlite::Result<usize> {
    connection.prepare_cached("DELETE FROM segment WHERE name = ?1")?.execute([name.file_name()])
}

/// A fold under way.
struct Fold<'s> {
    connection: &'s Connection,
    insert: CachedStatement<'s>,
    path: &'s std::path::Path,
    texts: &'s mut Texts,
    tracks: &'s mut Tracks,
    journal: &'s Journal,
    batch: Option<Batch>,
    /// Files whose end the open batch holds.
    finished: Vec<(SegmentName, bool)>,
    report: FoldReport,
}

/// An open transaction.
struct Batch {
    first_position: i64,
    next_position: i64,
    started_min_us: u64,
    started_max_us: u64,
    ended_min_us: u64,
    /// Files read in this transaction, and how far.
    tracks: Vec<(SegmentName, Track)>,
}

impl Batch {
    fn rows(&self) -> i64 {
        self.next_position - self.first_position
    }
}

impl Fold<'_> {
    fn segment(
        &mut self,
        name: SegmentName,
        sealed: bool,
        window: &mut Window,
    ) -> Result<(), StoreError> {
        let before = self.tracks.of.get(&name).copied().unwrap_or(Track::START);
        let path = self.journal.path(name);
        let mut reader = match SegmentReader::open(&path, name, sealed, before.position, window) {
            Ok(reader) => reader,
            Err(error) => {
                self.report.unreadable.push((path, error.to_string()));
                return Ok(());
            }
        };
        loop {
            match reader.next() {
                Ok(Next::Record(record)) => self.insert(&record)?,
                Ok(Next::Unreadable) => continue,
                Ok(Next::End) => break,
                Err(error) => {
                    self.report.unreadable.push((path, error.to_string()));
                    break;
                }
            }
            if self.batch.as_ref().is_some_and(|batch| batch.rows() as u64 >= BATCH_ROWS) {
                let track =
                    Track { position: reader.position(), lost: before.lost + reader.lost() };
                self.note(name, track)?;
                self.commit()?;
            }
        }
        let track = Track { position: reader.position(), lost: before.lost + reader.lost() };
        self.report.lost += reader.lost();
        if track != self.tracks.of.get(&name).copied().unwrap_or(Track::START) {
            self.note(name, track)?;
        }
        if reader.finished() {
            self.finished.push((name, track.lost > 0));
        }
        Ok(())
    }

    fn note(&mut self, name: SegmentName, track: Track) -> Result<(), StoreError> {
        self.batch()?.tracks.push((name, track));
        Ok(())
    }

    /// The open transaction; one is begun when there is none.
    fn batch(&mut self) -> Result<&mut Batch, StoreError> {
        if self.batch.is_none() {
            let begin = || {
                self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
                self.connection
                    .prepare_cached("SELECT coalesce(max(position), 0) + 1 FROM request")?
                    .query_row([], |row| row.get(0))
            };
            let next_position = begin().map_err(sqlite_error(self.path))?;
            self.batch = Some(Batch {
                first_position: next_position,
                next_position,
                started_min_us: u64::MAX,
                started_max_us: 0,
                ended_min_us: u64::MAX,
                tracks: Vec::new(),
            });
        }
        Ok(self.batch.get_or_insert_with(|| unreachable!("set above")))
    }

    fn insert(&mut self, record: &RecordRef<'_>) -> Result<(), StoreError> {
        let batch = self.batch()?;
        let position = batch.next_position;
        batch.next_position += 1;
        batch.started_min_us = batch.started_min_us.min(record.started_at_us);
        batch.started_max_us = batch.started_max_us.max(record.started_at_us);
        let ended_us = record.started_at_us + u64::from(record.timing.duration_us);
        batch.ended_min_us = batch.ended_min_us.min(ended_us);
        insert_row(self.connection, &mut self.insert, self.texts, position, record)
            .map_err(sqlite_error(self.path))
    }

    /// Commits what is open, then removes the files that are done with.
    fn commit(&mut self) -> Result<(), StoreError> {
        if let Some(batch) = self.batch.take() {
            self.write(&batch).map_err(sqlite_error(self.path))?;
            self.tracks.of.extend(batch.tracks.iter().copied());
            self.report.records += batch.rows() as u64;
            if batch.rows() > 0 {
                let lag_us = unix_us().saturating_sub(batch.ended_min_us);
                self.report.lag_us = self.report.lag_us.max(lag_us);
            }
        }
        for (name, damaged) in std::mem::take(&mut self.finished) {
            self.journal.retire(name, damaged)?;
            self.report.segments_removed += 1;
            if self.tracks.of.remove(&name).is_some() {
                forget(self.connection, name).map_err(sqlite_error(self.path))?;
            }
        }
        Ok(())
    }

    fn write(&self, batch: &Batch) -> rusqlite::Result<()> {
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO segment (name, offset, sequence, lost) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET offset = ?2, sequence = ?3, lost = ?4",
        )?;
        for (name, track) in &batch.tracks {
            let Position { offset, sequence } = track.position;
            upsert.execute(params![name.file_name(), offset, sequence, track.lost])?;
        }
        if batch.rows() > 0 {
            write_block(self.connection, batch)?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

/// Adds the batch to the last block, or starts a new one when that one is full.
fn write_block(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let last = connection
        .prepare_cached("SELECT first_position FROM block ORDER BY first_position DESC LIMIT 1")?
        .query_row([], |row| row.get::<_, i64>(0))
        .optional()?;
    let last_position = batch.next_position - 1;
    match last {
        Some(first) if last_position - first < BLOCK_ROWS => connection
            .prepare_cached(
                "UPDATE block SET last_position = ?2, started_min_us = min(started_min_us, ?3),
                 started_max_us = max(started_max_us, ?4) WHERE first_position = ?1",
            )?
            .execute(params![first, last_position, batch.started_min_us, batch.started_max_us])?,
        _ => connection
            .prepare_cached(
                "INSERT INTO block (first_position, last_position, started_min_us, started_max_us)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                batch.first_position,
                last_position,
                batch.started_min_us,
                batch.started_max_us
            ])?,
    };
    Ok(())
}

/// Ten-thousandths of a share; what is no number is 0.
fn e4(share: f32) -> i64 {
    (share * 1e4).round() as i64
}

const INSERT: &str = "INSERT INTO request (
    position, started_at_us, org, team, project, key_name, user, task, model, provider,
    strategy, price_version, dialect, outcome, input, cached, written_5m, written_1h, output, reasoning,
    usage_source, cost_total, own_cost, dearest, ttft_us, duration_us, key_id, cost_input, cost_cached, cost_written,
    cost_output, cost_reasoning, classify_us, http_status, core, stream, requested, wire_id, attempts, failures,
    classified_by, reason, candidates, difficulty_e4, confidence_e4, expected_quality_e4, expected_cost,
    expected_latency_us, entry)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
            ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

fn insert_row(
    connection: &Connection,
    statement: &mut CachedStatement<'_>,
    texts: &mut Texts,
    position: i64,
    record: &RecordRef<'_>,
) -> rusqlite::Result<()> {
    let mut id = |column, text| texts.id(connection, column, text);
    let RecordRef { who, asked, decided, served, timing, usage, money, .. } = record;
    // `append` lets no number pass that does not fit a column, so `as i64` keeps the value.
    let values: [Option<i64>; 48] = [
        Some(position),
        Some(record.started_at_us as i64),
        Some(id(0, who.org)?),
        Some(id(1, who.team)?),
        Some(id(2, who.project)?),
        Some(id(3, who.key_name)?),
        Some(id(4, who.user)?),
        decided.task.map(|task| task.index() as i64),
        Some(id(5, served.model)?),
        Some(id(6, served.provider)?),
        Some(id(7, asked.strategy)?),
        Some(id(8, money.price_version)?),
        Some(id(9, asked.dialect)?),
        Some(served.outcome as i64),
        Some(usage.input.0 as i64),
        Some(usage.cached.0 as i64),
        Some(usage.written_5m.0 as i64),
        Some(usage.written_1h.0 as i64),
        Some(usage.output.0 as i64),
        Some(usage.reasoning.0 as i64),
        Some(usage.source as i64),
        Some(money.total.0 as i64),
        Some(money.own_cost.0 as i64),
        Some(money.dearest.0 as i64),
        timing.ttft_us.map(i64::from),
        Some(timing.duration_us.into()),
        Some(who.key_id as i64),
        Some(money.input.0 as i64),
        Some(money.cached.0 as i64),
        Some(money.written.0 as i64),
        Some(money.output.0 as i64),
        Some(money.reasoning.0 as i64),
        Some(timing.classify_us.into()),
        Some(served.http_status.into()),
        Some(record.core.into()),
        Some(asked.stream.into()),
        Some(id(10, asked.requested)?),
        Some(id(11, served.wire_id)?),
        Some(served.attempts.into()),
        Some(id(12, served.failures)?),
        Some(id(13, decided.classified_by)?),
        Some(id(14, decided.reason)?),
        Some(decided.candidates.into()),
        Some(e4(decided.difficulty)),
        Some(e4(decided.confidence)),
        Some(e4(decided.expected_quality)),
        Some(decided.expected_cost.0 as i64),
        Some(decided.expected_latency_us.into()),
    ];
    for (index, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, value)?;
    }
    statement.raw_bind_parameter(values.len() + 1, record.entry.to_be_bytes())?;
    statement.raw_execute()?;
    Ok(())
}

//! Numbers for texts: a request row holds a number where a name repeats a million times.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

/// Texts of which the number is remembered. Names of models are few; names of end users may be
/// many, and at this number all are forgotten and looked up again.
const REMEMBERED_MAX: usize = 100_000;
/// Columns of a request that hold texts.
pub(crate) const COLUMNS: usize = 15;

/// What is known of the table `text`.
#[derive(Default)]
pub(crate) struct Texts {
    ids: HashMap<Box<str>, i64>,
    /// The last text of each column: most often the next one is the same, and comparing is cheaper
    /// than hashing.
    last: [(String, i64); COLUMNS],
}

impl Texts {
    /// The text's number; a new text gets one.
    pub(crate) fn id(
        &mut self,
        connection: &Connection,
        column: usize,
        text: &str,
    ) -> rusqlite::Result<i64> {
        if text.is_empty() {
            return Ok(0);
        }
        let (last, last_id) = &mut self.last[column];
        if last == text {
            return Ok(*last_id);
        }
        let id = match self.ids.get(text) {
            Some(id) => *id,
            None => {
                let id = find_or_insert(connection, text)?;
                if self.ids.len() >= REMEMBERED_MAX {
                    self.ids.clear();
                }
                self.ids.insert(text.into(), id);
                id
            }
        };
        last.clear();
        last.push_str(text);
        *last_id = id;
        Ok(id)
    }

    /// Forgets all: after a rollback, numbers given in the transaction are nobody's.
    pub(crate) fn forget(&mut self) {
        *self = Texts::default();
    }
}

fn find_or_insert(connection: &Connection, text: &str) -> rusqlite::Result<i64> {
    let found = connection
        .prepare_cached("SELECT id FROM text WHERE text = ?1")?
        .query_row([text], |row| row.get(0))
        .optional()?;
    match found {
        Some(id) => Ok(id),
        None => connection.prepare_cached("INSERT INTO text (text) VALUES (?1)")?.insert([text]),
    }
}

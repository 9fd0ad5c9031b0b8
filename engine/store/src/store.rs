//! The embedded store: one SQLite file under the data directory, and the server's secret beside it.
//!
//! In: folded records, keys. Out: reports. One connection per [`Store`]; several processes may have
//! the file open at once (a server that folds, a command line that makes keys and reads reports),
//! which SQLite's write-ahead log and a patient lock allow. Never: text of a prompt or an answer.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::fold::Tracks;
use crate::journal::JournalError;
use crate::segment::Window;
use crate::texts::Texts;

/// How long a statement waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The schema that this program reads and writes.
const SCHEMA_VERSION: i64 = 1;
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [include_str!("schema.sql")];
const FILE_NAME: &str = "pointsman.sqlite";
const SECRET_FILE_NAME: &str = "secret";
const SECRET_BYTES: usize = 32;

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the store at {} failed: {source}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is of a newer program.
    #[error("{} has schema version {found}, and this pointsman knows versions up to {SCHEMA_VERSION}; start the newer pointsman that wrote it", path.display())]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal failed under the fold.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The secret is not the one that the keys were made with, or damaged.
    #[error("{}: {problem}; put the file back from a backup, or remove it and make all keys anew", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no such key.
    #[error("there is no key with id {id}")]
    NoSuchKey {
        /// The id asked for.
        id: u64,
    },
}

/// The store. Owned by one thread.
pub struct Store {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    pub(crate) texts: Texts,
    pub(crate) tracks: Tracks,
    pub(crate) window: Option<Window>,
    data_dir: PathBuf,
}

impl Store {
    /// Opens the store in a data directory; both are made when they are not there.
    pub fn open(data_dir: &Path) -> Result<Store, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .map_err(io_error("create", data_dir))?;
        let path = data_dir.join(FILE_NAME);
        let at = sqlite_error(&path);
        let mut connection = Connection::open(&path).map_err(&at)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(&at)?;
        // FULL: one flush per commit, that is one a second. Segments of the journal are removed once
        // their records are committed, so a commit must not be lost with the power.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 PRAGMA temp_store = MEMORY;
                 PRAGMA cache_size = -4096;",
            )
            .map_err(&at)?;
        migrate(&mut connection, &path)?;
        connection.set_prepared_statement_cache_capacity(16);
        let tracks = Tracks::load(&connection).map_err(&at)?;
        drop(at);
        Ok(Store {
            connection,
            texts: Texts::default(),
            tracks,
            window: None,
            path,
            data_dir: data_dir.to_path_buf(),
        })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The 32 random bytes with which keys are hashed: read from the data directory, or made there
    /// when there is no key yet. Two processes that start at once get the same.
    pub fn server_secret(&self) -> Result<[u8; SECRET_BYTES], StoreError> {
        let path = self.data_dir.join(SECRET_FILE_NAME);
        match read_secret(&path) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        if self.key_count()? > 0 {
            return Err(StoreError::Secret {
                path,
                problem: "the server's secret is missing, and without it no existing key can be recognised",
            });
        }
        make_secret(&path)?;
        read_secret(&path)
    }

    /// 256 random bits from the system.
    pub(crate) fn entropy(&self) -> Result<[u8; 32], StoreError> {
        random().map_err(io_error("make a key for", &self.path))
    }

    fn key_count(&self) -> Result<i64, StoreError> {
        self.connection
            .query_row("SELECT count(*) FROM api_key", [], |row| row.get(0))
            .map_err(sqlite_error(&self.path))
    }

    /// All texts by number, for reports.
    pub(crate) fn texts_by_id(&self) -> rusqlite::Result<HashMap<i64, String>> {
        let mut statement = self.connection.prepare("SELECT id, text FROM text")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let at = sqlite_error(path);
    // Immediate: of two processes that start at once, one migrates and the other finds it done.
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(&at)?;
    let found: i64 =
        transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(&at)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::TooNew { path: path.to_path_buf(), found });
    }
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    for migration in &MIGRATIONS[found.max(0) as usize..] {
        transaction.execute_batch(migration).map_err(&at)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(&at)?;
    transaction.commit().map_err(&at)
}

fn read_secret(path: &Path) -> Result<[u8; SECRET_BYTES], StoreError> {
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    bytes.try_into().map_err(|_| StoreError::Secret {
        path: path.to_path_buf(),
        problem: "the server's secret must have 32 bytes and does not",
    })
}

/// Makes the secret whole or not at all, and leaves one alone that another process made first.
fn make_secret(path: &Path) -> Result<(), StoreError> {
    let secret = random().map_err(io_error("make", path))?;
    let unfinished = path.with_extension(format!("new-{}", std::process::id()));
    let made = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(&secret)?;
        file.sync_all()?;
        match fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    // Left behind, it would hold a secret that is nobody's.
    let removed = fs::remove_file(&unfinished);
    made.and(removed).map_err(io_error("make", path))
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

pub(crate) fn sqlite_error(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
    move |source| StoreError::Sqlite { path: path.to_path_buf(), source }
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_secret_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Store::open(folder.path()).expect("opens");
        let second = Store::open(folder.path()).expect("opens beside the first");
        let secret = first.server_secret().expect("makes a secret");
        assert_eq!(second.server_secret().expect("reads it"), secret);
        let mode = fs::metadata(folder.path().join(SECRET_FILE_NAME))
            .expect("is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(secret, [0; 32]);
    }

    #[test]
    fn a_store_of_a_newer_program_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opens");
        store.connection.pragma_update(None, "user_version", 99).expect("writes");
        drop(store);
        let error = Store::open(folder.path()).err().expect("refuses");
        assert!(error.to_string().contains("schema version 99"), "{error}");
    }
}

//! Keys at rest: made, listed, revoked.
//!
//! In: names and limits of a key. Out: [`govern::KeyRecord`]s, and the secret of a new key, once.
//! Every change moves [`Store::keys_version`], also one made by another process, so a server learns
//! of it with one small read. Never: a key's text in the store.

use govern::{KeyHash, KeyHasher, KeyRecord, KeySecret};
use rusqlite::{OptionalExtension, Row, params};

use crate::clock::unix_us;
use crate::store::{Store, StoreError, sqlite_error};

/// What a new key is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewKey {
    /// What its owner calls it.
    pub name: String,
    /// Organisation that pays.
    pub org: String,
    /// Team within it.
    pub team: String,
    /// Project within that.
    pub project: String,
    /// The person it is made for.
    pub user: Option<String>,
    /// Strategy of its `auto` requests that name none.
    pub strategy: Option<String>,
    /// From when on it is refused, seconds of Unix time.
    pub expires_at: Option<i64>,
}

const COLUMNS: &str =
    "id, hash, name, org, team, project, user, strategy, created_at, revoked_at, expires_at";

impl Store {
    /// Makes a key. Its secret is in the answer and nowhere else, to be shown to its owner once.
    pub fn create_key(&mut self, key: &NewKey) -> Result<(KeySecret, KeyRecord), StoreError> {
        let hasher = KeyHasher::new(self.server_secret()?);
        let secret = KeySecret::from_entropy(self.entropy()?);
        let hash = hasher.hash(&secret);
        let created_at = unix_seconds();
        let id = self.change_keys(|transaction| {
            transaction
                .prepare(
                    "INSERT INTO api_key
                     (hash, name, org, team, project, user, strategy, created_at, expires_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .insert(params![
                    hash.0,
                    key.name,
                    key.org,
                    key.team,
                    key.project,
                    key.user,
                    key.strategy,
                    created_at,
                    key.expires_at
                ])
        })?;
        let record = KeyRecord {
            id: id as u64,
            hash,
            name: key.name.clone(),
            org: key.org.clone(),
            team: key.team.clone(),
            project: key.project.clone(),
            user: key.user.clone(),
            strategy: key.strategy.clone(),
            created_at,
            revoked_at: None,
            expires_at: key.expires_at,
        };
        Ok((secret, record))
    }

    /// All keys, revoked and expired ones too, oldest first.
    pub fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let list = || -> rusqlite::Result<Vec<KeyRecord>> {
            self.connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM api_key ORDER BY id"))?
                .query_map([], key_record)?
                .collect()
        };
        list().map_err(sqlite_error(&self.path))
    }

    /// Revokes a key from now on. A key that was revoked before keeps its date. The record is given
    /// back as it is now.
    pub fn revoke_key(&mut self, id: u64) -> Result<KeyRecord, StoreError> {
        // Numbers above the column's range belong to no key.
        let column = i64::try_from(id).map_err(|_| StoreError::NoSuchKey { id })?;
        let now = unix_seconds();
        let revoked = self.change_keys(|transaction| {
            transaction.execute(
                "UPDATE api_key SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1",
                params![column, now],
            )?;
            transaction
                .query_row(
                    &format!("SELECT {COLUMNS} FROM api_key WHERE id = ?1"),
                    [column],
                    key_record,
                )
                .optional()
        })?;
        revoked.ok_or(StoreError::NoSuchKey { id })
    }

    /// A number that moves with every change of the keys, by whatever process.
    pub fn keys_version(&self) -> Result<u64, StoreError> {
        self.connection
            .prepare_cached("SELECT value FROM setting WHERE name = 'keys_version'")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(sqlite_error(&self.path))
    }

    /// Runs a change together with the step of the version.
    fn change_keys<T>(
        &mut self,
        change: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let at = sqlite_error(&self.path);
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(&at)?;
        let result = change(&transaction).map_err(&at)?;
        transaction
            .execute("UPDATE setting SET value = value + 1 WHERE name = 'keys_version'", [])
            .map_err(&at)?;
        transaction.commit().map_err(&at)?;
        Ok(result)
    }
}

fn unix_seconds() -> i64 {
    (unix_us() / 1_000_000) as i64
}

fn key_record(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    Ok(KeyRecord {
        id: row.get(0)?,
        hash: KeyHash(row.get(1)?),
        name: row.get(2)?,
        org: row.get(3)?,
        team: row.get(4)?,
        project: row.get(5)?,
        user: row.get(6)?,
        strategy: row.get(7)?,
        created_at: row.get(8)?,
        revoked_at: row.get(9)?,
        expires_at: row.get(10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_listed_and_revoked_across_processes() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut cli = Store::open(folder.path()).expect("opens");
        let server = Store::open(folder.path()).expect("opens beside it");
        let version = server.keys_version().expect("reads");

        let wanted = NewKey {
            name: "laptop".into(),
            org: "acme".into(),
            user: Some("u-1".into()),
            expires_at: Some(2_000_000_000),
            ..NewKey::default()
        };
        let (secret, made) = cli.create_key(&wanted).expect("makes a key");
        assert_ne!(server.keys_version().expect("reads"), version);
        assert_eq!(server.list_keys().expect("lists"), std::slice::from_ref(&made));
        let hasher = KeyHasher::new(server.server_secret().expect("reads"));
        assert_eq!(hasher.hash_presented(secret.reveal().as_bytes()), Some(made.hash));

        let version = server.keys_version().expect("reads");
        let revoked = cli.revoke_key(made.id).expect("revokes");
        assert!(revoked.revoked_at.is_some());
        assert_ne!(server.keys_version().expect("reads"), version);
        assert_eq!(cli.revoke_key(made.id).expect("again"), revoked);
        for id in [made.id + 1, u64::MAX] {
            assert!(matches!(cli.revoke_key(id), Err(StoreError::NoSuchKey { .. })));
        }
    }

    #[test]
    fn a_lost_secret_is_not_replaced_while_keys_depend_on_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path()).expect("opens");
        store.create_key(&NewKey::default()).expect("makes a key");
        std::fs::remove_file(folder.path().join("secret")).expect("removes");
        assert!(matches!(store.server_secret(), Err(StoreError::Secret { .. })));
    }
}

//! All keys, for lookup on the hot path.
//!
//! In: key records when a snapshot is built, hashes of presented keys when it is read. Out: the
//! record, or why the key is refused. Never: a change after it is built, a lookup that allocates.

use std::fmt;
use std::sync::Arc;

use crate::{KeyHash, KeyRecord};

/// An immutable table of keys: open addressing by the first bytes of the hash, at most half full.
/// A keyed hash is uniform and cannot be chosen by a client, so it is its own hash function and
/// runs of neighbours stay short.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    /// Position in `records` plus one; zero is free. A power of two long, or empty.
    slots: Vec<u32>,
    records: Vec<Arc<KeyRecord>>,
}

/// Why a table was not built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyTableError {
    /// Two records have one hash.
    Duplicate {
        /// Number of the record that came first.
        first: u64,
        /// Number of the other.
        second: u64,
    },
    /// More keys than [`KeyTable::KEYS_MAX`].
    TooMany {
        /// How many came.
        count: usize,
    },
}

impl fmt::Display for KeyTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyTableError::Duplicate { first, second } => {
                write!(f, "keys {first} and {second} have the same hash; remove one from the store")
            }
            KeyTableError::TooMany { count } => {
                let most = KeyTable::KEYS_MAX;
                write!(f, "{count} keys, at most {most} fit; delete revoked ones")
            }
        }
    }
}

impl std::error::Error for KeyTableError {}

/// Why a key is refused. Clients are told the same for all three; the log tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// There is no such key.
    Unknown,
    /// It was revoked, then (seconds of Unix time).
    Revoked(i64),
    /// It has expired, then (seconds of Unix time).
    Expired(i64),
}

impl fmt::Display for KeyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyRefusal::Unknown => f.write_str("no such key"),
            KeyRefusal::Revoked(at) => write!(f, "revoked at {at}"),
            KeyRefusal::Expired(at) => write!(f, "expired at {at}"),
        }
    }
}

impl std::error::Error for KeyRefusal {}

impl KeyTable {
    /// The most keys of one table: ten million take about 2 GB, far above one node's need.
    pub const KEYS_MAX: usize = 10_000_000;

    /// A table of those keys.
    pub fn build(records: Vec<KeyRecord>) -> Result<KeyTable, KeyTableError> {
        let count = records.len();
        if count > KeyTable::KEYS_MAX {
            return Err(KeyTableError::TooMany { count });
        }
        if records.is_empty() {
            return Ok(KeyTable::default());
        }
        let mut table = KeyTable {
            slots: vec![0; (count * 2).next_power_of_two()],
            records: Vec::with_capacity(count),
        };
        for record in records {
            let slot = match table.find(&record.hash) {
                Err(free) => free,
                Ok(first) => {
                    return Err(KeyTableError::Duplicate { first: first.id, second: record.id });
                }
            };
            table.records.push(Arc::new(record));
            table.slots[slot] = table.records.len() as u32;
        }
        Ok(table)
    }

    /// The record of that key if it is good at `now` (seconds of Unix time). A key revoked or
    /// expiring at this very second is refused.
    pub fn lookup(&self, hash: &KeyHash, now_unix: i64) -> Result<&Arc<KeyRecord>, KeyRefusal> {
        if self.records.is_empty() {
            return Err(KeyRefusal::Unknown);
        }
        let record = self.find(hash).map_err(|_| KeyRefusal::Unknown)?;
        let due = |at: &Option<i64>| at.filter(|at| *at <= now_unix);
        if let Some(at) = due(&record.revoked_at) {
            return Err(KeyRefusal::Revoked(at));
        }
        if let Some(at) = due(&record.expires_at) {
            return Err(KeyRefusal::Expired(at));
        }
        Ok(record)
    }

    /// Number of keys, refused ones included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The record with that hash, or the free slot where it would go. The table must have a free
    /// slot, which half full guarantees.
    fn find(&self, hash: &KeyHash) -> Result<&Arc<KeyRecord>, usize> {
        let mask = self.slots.len() - 1;
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = hash.0;
        let mut slot = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]) as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return Err(slot),
                position => {
                    let record = &self.records[position as usize - 1];
                    if record.hash.equals(hash) {
                        return Ok(record);
                    }
                }
            }
            slot = (slot + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(id: u64, hash: [u8; 32]) -> KeyRecord {
        KeyRecord {
            id,
            hash: KeyHash(hash),
            name: format!("key {id}"),
            org: "org".into(),
            team: "team".into(),
            project: "project".into(),
            user: None,
            strategy: None,
            created_at: 0,
            revoked_at: None,
            expires_at: None,
        }
    }

    #[test]
    fn revoked_and_expired_keys_are_refused_from_their_second_on() {
        let limited =
            KeyRecord { revoked_at: Some(100), expires_at: Some(50), ..record(1, [1; 32]) };
        let table = KeyTable::build(vec![limited]).expect("one key");
        for (now, expected) in [
            (49, Ok(1)),
            (50, Err(KeyRefusal::Expired(50))),
            (99, Err(KeyRefusal::Expired(50))),
            (100, Err(KeyRefusal::Revoked(100))),
        ] {
            let found = table.lookup(&KeyHash([1; 32]), now).map(|key| key.id);
            assert_eq!(found, expected, "at {now}");
        }
    }

    #[test]
    fn an_empty_table_knows_nobody() {
        let table = KeyTable::build(Vec::new()).expect("no keys");
        assert!(table.is_empty());
        assert_eq!(table.lookup(&KeyHash([0; 32]), 0), Err(KeyRefusal::Unknown));
    }

    #[test]
    fn one_hash_twice_is_an_error() {
        let twice = vec![record(1, [5; 32]), record(2, [5; 32])];
        let expected = KeyTableError::Duplicate { first: 1, second: 2 };
        assert_eq!(KeyTable::build(twice).err(), Some(expected));
    }

    proptest! {
        /// Few distinct leading bytes, so that slots collide and wrap round.
        #[test]
        fn lookup_finds_exactly_what_was_put_in(
            inside in prop::collection::btree_set(prop::array::uniform32(0u8..3), 0..200),
            asked in prop::collection::vec(prop::array::uniform32(0u8..3), 0..50),
        ) {
            let records: Vec<KeyRecord> = inside
                .iter()
                .enumerate()
                .map(|(id, hash)| record(id as u64, *hash))
                .collect();
            let table = KeyTable::build(records.clone()).expect("distinct");
            prop_assert_eq!(table.len(), records.len());
            for expected in &records {
                let found = table.lookup(&expected.hash, 0).expect("was put in");
                prop_assert_eq!(&**found, expected);
            }
            for hash in asked {
                let found = table.lookup(&KeyHash(hash), 0).is_ok();
                prop_assert_eq!(found, inside.contains(&hash));
            }
        }

        #[test]
        fn colliding_slots_are_told_apart(tails in prop::collection::btree_set(1u8.., 1..60)) {
            let hash = |tail: u8| {
                let mut hash = [0xff; 32];
                hash[31] = tail;
                hash
            };
            let records = tails.iter().map(|tail| record(u64::from(*tail), hash(*tail)));
            let table = KeyTable::build(records.collect()).expect("distinct");
            for tail in 1..=255 {
                let found = table.lookup(&KeyHash(hash(tail)), 0).map(|key| key.id);
                let expected = tails.get(&tail).map(|tail| u64::from(*tail));
                prop_assert_eq!(found.ok(), expected);
            }
        }
    }
}

//! The wall clock of the store: names of segments, age of records, dates of keys.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in microseconds; 0 on a machine whose clock stands before 1970.
pub(crate) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

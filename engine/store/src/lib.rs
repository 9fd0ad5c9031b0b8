//! Journal and SQLite: what must outlive the process.
//!
//! A core appends one [`RecordRef`] per request to its [`JournalWriter`]; from then on the record
//! survives `kill -9`. The control thread calls [`Journal::tend`] every few milliseconds and
//! [`Store::fold`] every second, which moves the records into SQLite, each exactly once. Keys and
//! reports live in the same store, which command lines may open while a server runs.
//!
//! In: records of requests, keys. Out: sums, lists. Money is integer pico-USD. Never: text of a
//! prompt or an answer, which has no field, column or file here.

mod clock;
mod fold;
mod journal;
mod keys;
mod record;
mod segment;
mod store;
mod texts;
mod usage;

pub use fold::FoldReport;
pub use journal::{Journal, JournalError, JournalLimits, JournalWriter};
pub use keys::NewKey;
pub use record::{
    Asked, Attribution, Decided, FAILURES_BYTES_MAX, MONEY_MAX, Money, Outcome, Record, RecordRef,
    Served, TEXT_BYTES_MAX, Timing,
};
pub use store::{Store, StoreError};
pub use usage::{Dimension, Percentiles, Totals, UsageQuery, UsageRow};

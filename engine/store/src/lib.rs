//! Journal and SQLite: what must outlive the process.

mod clock;
mod journal;
mod record;
mod segment;

pub use journal::{Journal, JournalError, JournalLimits, JournalWriter};
pub use record::{
    Asked, Attribution, Decided, FAILURES_BYTES_MAX, MONEY_MAX, Money, Outcome, Record, RecordRef,
    Served, TEXT_BYTES_MAX, Timing,
};

//! Who may ask, and what it costs: keys and charges.
//!
//! In: secrets, key records, token counts, price lists, a `now` in seconds of Unix time. Out: who a
//! key belongs to or why it is refused, and charges in pico-dollars. Never: I/O, clocks, locks,
//! randomness (entropy is an argument), and no floating point near money.

mod charge;
mod key;
mod table;

pub use charge::{Bounds, Charge, ChargeError, UPLIFT_NONE, charge, worst_case};
pub use key::{KeyHash, KeyHasher, KeyRecord, KeySecret};
pub use table::{KeyRefusal, KeyTable, KeyTableError};

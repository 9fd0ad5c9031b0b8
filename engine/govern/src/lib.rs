//! Who may ask, how much, and what it costs: keys, budgets, limits and charges.
//!
//! In: secrets, key records, token counts, price lists, budgets, a `now`. Out: who a key belongs to or why it is
//! refused, charges in pico-dollars, holds on budgets. Never: I/O, clocks, locks, randomness (entropy is an
//! argument), and no floating point near money.

mod budget;
mod charge;
mod key;
pub mod limit;
mod purse;
mod table;

pub use budget::{Budget, OnExhausted, Owner, Period, Window};
pub use charge::{Bounds, Charge, ChargeError, UPLIFT_NONE, charge, worst_case};
pub use key::{KeyHash, KeyHasher, KeyRecord, KeySecret};
pub use purse::{BUDGET_MAX, BUDGETS_MAX, Exhausted, Hold, Purse};
pub use table::{KeyRefusal, KeyTable, KeyTableError};

//! The vocabulary that every other crate speaks, and the catalogue of models.
//!
//! In: data files about providers and models. Out: units ([`Tokens`], [`PicoUsd`], …), names of
//! tasks and capabilities, prices, and the compiled catalogue that the data plane reads without
//! parsing. Never: sockets, clocks, threads; no I/O beyond reading its own files.

mod capability;
pub mod catalogue;
mod dialect;
mod price;
mod task;
mod units;
mod usage;
mod verdict;

pub use capability::Capabilities;
pub use dialect::Dialect;
pub use price::{Prices, Rates, Tier};
pub use task::Task;
pub use units::{Micros, Millis, PicoUsd, Tokens};
pub use usage::{Usage, UsageSource};
pub use verdict::Verdict;

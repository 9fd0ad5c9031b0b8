//! Candidates to a plan: filter, score, order.
//!
//! In: the catalogue as columns, the health of its offers, what is asked, a `now` in microseconds of
//! a monotonic clock that all cores share. Out: a [`Plan`], ordered attempts and why; or
//! [`NoCandidate`], what stood in the way. Never: I/O, clocks, locks, randomness; and no allocation
//! in [`plan()`], whose working memory is a [`Scratch`] that each core keeps.
//!
//! ```text
//!   filter   what can serve it at all: context, output limit, capabilities, price, health
//!   score    expected quality (ability against difficulty), cost, latency, availability
//!   plan     the best few, the second at another provider than the first
//! ```

mod approx;
mod ask;
mod build;
mod columns;
mod exclusion;
mod explain;
#[cfg(test)]
mod fixture;
mod health;
mod health_table;
mod plan;
mod quality;
mod score;
mod strategy;

pub use ask::{Ask, Target};
pub use columns::{Columns, LeftOut, OfferRow};
pub use exclusion::{Exclusion, NoCandidate};
pub use explain::{Candidate, Explanation, explain};
pub use health::{FailureKind, Gate, Health, HealthWords, Prior};
pub use health_table::HealthTable;
pub use models::catalogue::{ModelIx, OfferIx, ProviderIx};
pub use plan::{Attempt, Plan, Scratch, Why, plan};
pub use quality::{expected_reasoning_tokens, success_probability};
pub use strategy::{Strategy, Weights};

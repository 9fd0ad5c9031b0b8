//! Scripted fake providers and an open-loop load generator: the two ends between which a gateway
//! is tested and measured, over loopback only.
//!
//! [`provider`] does what it is told, request by request, and keeps the true count of what it
//! delivered. [`generator`] asks at a fixed rate whatever the answers do, and judges every answer:
//! complete, in order, how late against the moment it was due.

mod buffer;
mod http;
mod json;
pub mod provider;
mod sys;

pub use sys::pin_to_core;

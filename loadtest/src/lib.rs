//! Scripted fake providers and an open-loop load generator: the two ends between which a gateway
//! is tested and measured, over loopback only.
//!
//! [`provider`] does what it is told, request by request, and keeps the true count of what it
//! delivered. [`generator`] asks at a fixed rate whatever the answers do, and judges every answer:
//! complete, in order, how late against the moment it was due. [`selftest`] sets one straight
//! against the other, to know what the pair can do before it judges anybody else.

mod buffer;
pub mod generator;
mod http;
mod json;
pub mod provider;
pub mod selftest;
mod sys;

pub use sys::{CpuTime, pin_to_core};

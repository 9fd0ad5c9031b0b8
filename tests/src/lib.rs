//! What the stories stand on: the real `pointsman` binary between a client and scripted providers,
//! all on loopback, each gateway with a folder of its own.
//!
//! In: a [`Setup`]. Out: a running [`Gateway`], and [`http`] to talk to it byte by byte. Never: a fixed
//! port, a sleep that decides a test, or anything outside a temporary folder. A gateway that is
//! dropped by a failing test prints its log.

mod binary;
pub mod fuzz;
mod gateway;
pub mod http;
mod model;

pub use binary::{pointsman, python, repository};
pub use gateway::{FakeModel, Gateway, Key, Setup};
pub use model::{ModelFolder, onnxruntime};

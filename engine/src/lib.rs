//! The engine of Pointsman: threads, sockets and order. A request goes through [`serve`]; what it
//! needs to know stands in a [`snapshot::Snapshot`]; what cores and the control thread tell each other
//! stands in [`core::Shared`].

pub mod accept;
pub mod account;
pub mod admin;
pub mod body;
pub mod cli;
pub mod config;
pub mod control;
pub mod core;
pub mod count;
pub mod credential;
pub mod decide;
pub mod demo;
pub mod explain;
pub mod forward;
pub mod hop;
pub mod judge;
pub mod metrics;
pub mod models_list;
pub mod relay;
pub mod reply;
pub mod rt;
pub mod serve;
pub mod snapshot;
pub mod stats;
pub mod target;
pub mod tls;
pub mod translate;
pub mod upstream;
pub mod watch;

//! Bytes to meaning and back: HTTP/1.1 heads and framing, server-sent events, JSON spans and
//! patches, the dialects of clients and providers, and refusals.
//!
//! In: bytes. Out: spans, facts, and bytes appended to a buffer of the caller. Never: sockets,
//! clocks, locks, tasks.

pub mod chat;
pub mod chunked;
pub mod dialect;
pub mod embed;
pub mod endpoint;
pub mod http1;
pub mod json;
pub mod limits;
pub mod refusal;
pub mod request;
pub mod sse;

//! Bytes from outside, many of them: one function per reader of such bytes, and what must hold for any.
//!
//! In: bytes. Out: nothing; a target panics where a promise is broken. A target promises more than "no
//! panic": what is cut into pieces reads like the whole, what we accept a second parser accepts too, what we
//! write can be read again. Driven by [`Campaign`], bounded in the tests, longer by the command `fuzz`.

mod campaign;
mod targets;

pub use campaign::{Campaign, Finding};

/// A reader of bytes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name on the command line, and of its folder in the corpus.
    pub name: &'static str,
    /// Reads the bytes, and panics where a promise is broken.
    pub check: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "request_head", check: targets::request_head },
    Target { name: "response_head", check: targets::response_head },
    Target { name: "chunked", check: targets::chunked },
    Target { name: "sse", check: targets::sse },
    Target { name: "json", check: targets::json },
    Target { name: "path", check: targets::path },
    Target { name: "request", check: targets::request },
    Target { name: "answer", check: targets::answer },
    Target { name: "translate", check: targets::translate },
    Target { name: "translate_answer", check: targets::translate_answer },
    Target { name: "classify", check: targets::classify },
    Target { name: "config", check: targets::config },
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

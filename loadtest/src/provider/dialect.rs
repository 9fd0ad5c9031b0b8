//! The seam between the server and the protocols that it speaks. A protocol is one file with an
//! `impl Dialect` and one line in [`DIALECTS`]; the server knows none of them by name.

use super::answer::{Answer, Ask, Piece};
use super::chat::Chat;
use super::embeddings::{Contents, Embeddings};
use super::gemini::Gemini;
use super::messages::Messages;
use super::responses::Responses;

/// Every protocol the fake provider speaks.
pub(crate) const DIALECTS: &[&dyn Dialect] =
    &[&Chat, &Messages, &Responses, &Gemini, &Embeddings, &Contents];

/// A protocol: how requests read and how answers look. Appends bytes; knows no socket and no time.
pub(crate) trait Dialect: Sync {
    /// Whether a request line is for this protocol. The path comes without its query.
    fn takes(&self, method: &str, path: &str) -> bool;

    /// Reads what concerns the answer; an error is the message for a 400.
    fn read(&self, path: &str, body: &[u8]) -> Result<Ask, String>;

    /// What was asked, as the JSON that [`super::Script::echo`] answers with.
    fn echo(&self, body: &[u8]) -> serde_json::Value;

    /// The prompt's text, for answers that depend on it.
    fn prompt(&self, body: &[u8]) -> String;

    /// A plain answer.
    fn whole(&self, answer: &Answer, out: &mut Vec<u8>);

    /// What all events of this answer share; called once before the first [`Dialect::event`].
    fn prefix(&self, answer: &mut Answer);

    /// One piece of a stream as server-sent events, blank lines included. Nothing where the
    /// protocol says nothing for a piece.
    fn event(&self, answer: &Answer, piece: Piece, out: &mut Vec<u8>);

    /// An error inside a stream, as an event.
    fn error_event(&self, out: &mut Vec<u8>);

    /// The body of an error.
    fn error(&self, status: u16, code: Option<&str>, message: &str, out: &mut Vec<u8>);
}

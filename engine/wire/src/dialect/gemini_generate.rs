//! Gemini: `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`.
//!
//! The model and whether the answer is streamed stand in the path: who reads a request fills in what
//! the path said. In: a client's body, a provider's body or event. Out: [`Parsed`], [`Answer`],
//! [`Event`], and the body as it came, since nothing in it names a model; the neutral form and back.
//! Never: a call without an id handed to a client that needs one, or a made-up id shown to Google.

mod answer;
mod array;
mod error;
mod form;
mod logprobs;
mod provider_request;
mod request;
mod scan;
mod schema;
mod state;
mod stream;
mod tools;
mod usage;

use super::{Answer, AnswerFault, Codec, ErrorFacts, Event, EventKind, Outgoing, UsageRules};
use crate::chat::{
    self, Chat, Dropped, ReadRules, Request, Shown, StreamReader, StreamWriter, Target,
};
use crate::json;
use crate::refusal::Refusal;
use crate::request::Parsed;
pub use array::EventArray;

use answer::{Candidate, Envelope};
use form::Ending;
use models::{Dialect, Usage};
use std::borrow::Cow;

/// The dialect.
pub struct GeminiGenerate;

impl Codec for GeminiGenerate {
    fn dialect(&self) -> Dialect {
        Dialect::GeminiGenerate
    }

    fn path(&self, model: &str, streams: bool) -> Cow<'static, str> {
        let verb = if streams { "streamGenerateContent?alt=sse" } else { "generateContent" };
        Cow::Owned(format!("/models/{}:{verb}", path_encoded(model)))
    }

    fn read_request(&self, body: &[u8]) -> Result<Parsed, Refusal> {
        scan::read(body)
    }

    fn patch_request(
        &self,
        parsed: &Parsed,
        body: &[u8],
        _: &Outgoing<'_>,
        out: &mut Vec<u8>,
    ) -> usize {
        parsed.with_cuts(&[], |all| json::patch_into(body, all, out))
    }

    fn patched_len(&self, parsed: &Parsed, body: &[u8], _: &Outgoing<'_>) -> usize {
        parsed.with_cuts(&[], |all| json::patched_len(body, all))
    }

    fn read_answer(&self, body: &[u8], _: UsageRules) -> Result<Answer, AnswerFault> {
        let piece = Judged::read(body).map_err(|_| AnswerFault::Malformed)?;
        match piece {
            Judged { has_error: true, .. } => Err(AnswerFault::Error),
            // Another attempt may do better, and nothing is lost with this one.
            Judged { has_failed: true, content_bytes: 0, .. } => Err(AnswerFault::Error),
            Judged { is_answer: false, .. } => Err(AnswerFault::Malformed),
            Judged { usage, content_bytes, .. } => Ok(Answer { usage, content_bytes }),
        }
    }

    fn read_event(&self, data: &[u8], _: UsageRules, _: Option<&Usage>) -> Event {
        let unknown =
            Event { kind: EventKind::Unknown, usage: None, finish: false, content_bytes: 0 };
        let Ok(piece) = Judged::read(data) else { return unknown };
        let kind = match piece {
            Judged { has_error: true, .. } => EventKind::Error,
            Judged { has_failed: true, content_bytes: 0, .. } => EventKind::Error,
            Judged { finish, content_bytes, .. } if finish || content_bytes > 0 => {
                EventKind::Content
            }
            Judged { is_answer: true, .. } => EventKind::Preamble,
            // The dialect has no event for the count alone, and one that came belongs to the answer.
            Judged { usage: Some(_), .. } => EventKind::Preamble,
            _ => EventKind::Unknown,
        };
        let Judged { usage, finish, content_bytes, .. } = piece;
        Event { kind, usage, finish, content_bytes }
    }

    fn read_error(&self, body: &[u8]) -> ErrorFacts {
        error::read(body).unwrap_or_default()
    }

    fn write_refusal(&self, refusal: &Refusal, _: &str, out: &mut Vec<u8>) {
        error::write(refusal, out);
    }

    fn write_stream_error(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        self.write_refusal(refusal, request_id, out);
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// A stream just ends.
    fn end_mark(&self) -> &'static [u8] {
        b""
    }

    /// Empty lines. Google's SDK for Python takes every line that is no `data:` for JSON, comments too;
    /// and in an array they are white space.
    fn keep_alive(&self, chunked: bool) -> &'static [u8] {
        if chunked { b"2\r\n\n\n\r\n" } else { b"\n\n" }
    }
}

impl Chat for GeminiGenerate {
    fn neutral_request<'b>(&self, body: &'b [u8]) -> Result<Request<'b>, Refusal> {
        request::read(body)
    }

    fn provider_request(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Dropped, Refusal> {
        provider_request::write(request, target, out)
    }

    fn neutral_answer<'b>(
        &self,
        body: &'b [u8],
        rules: &ReadRules,
    ) -> Result<chat::Answer<'b>, AnswerFault> {
        answer::read(body, rules)
    }

    fn client_answer(
        &self,
        answer: &chat::Answer<'_>,
        request: &Request<'_>,
        shown: &Shown<'_>,
        out: &mut Vec<u8>,
    ) {
        answer::write(answer, request, shown, out);
    }

    fn stream_reader(&self, rules: &ReadRules) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(rules))
    }

    fn stream_writer(&self, request: &Request<'_>, shown: &Shown<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream::Writer::new(request, shown))
    }
}

/// What is to be known of an answer or a piece of one that passes.
#[derive(Default)]
struct Judged {
    has_error: bool,
    /// It says that the model made a mess of it.
    has_failed: bool,
    /// It has candidates, or says why there are none.
    is_answer: bool,
    finish: bool,
    content_bytes: u32,
    usage: Option<Usage>,
}

impl Judged {
    fn read(body: &[u8]) -> form::Result<Judged> {
        let Envelope { id: _, usage, candidates, is_blocked, has_error } = Envelope::read(body)?;
        let mut judged = Judged {
            has_error,
            usage,
            is_answer: is_blocked,
            finish: is_blocked,
            ..Judged::default()
        };
        if let Some(mut cursor) = candidates {
            cursor.array(|cursor| {
                judged.is_answer = true;
                let bytes = &mut judged.content_bytes;
                let candidate = Candidate::read_each(cursor, |piece| {
                    *bytes = bytes.saturating_add(piece.bytes());
                })?;
                judged.finish |= candidate.ending.is_some();
                judged.has_failed |= candidate.ending == Some(Ending::Failed);
                Ok(())
            })?;
        }
        Ok(judged)
    }
}

/// A model's name as a path takes it. Slashes stay: they part the name of who published a model.
pub(super) fn path_encoded(model: &str) -> String {
    let mut encoded = String::with_capacity(model.len());
    for byte in model.bytes() {
        match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'/'
            | b':'
            | b'@' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod neutral_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

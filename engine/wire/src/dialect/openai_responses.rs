//! OpenAI responses: `POST /v1/responses`, the only protocol of Codex.
//!
//! In: a client's body, a provider's body or event. Out: [`Parsed`], [`Answer`], [`Event`], and the
//! body with its few patches; the neutral form and back. Never: an answer that a provider keeps
//! (`store` goes out as `false`), and so no reference to one: who asks for that is refused.

mod answer;
mod echo;
mod items;
mod provider_request;
mod request;
mod scan;
mod stream_reader;
mod stream_writer;
mod usage;

use super::openai_chat::OpenAiChat;
use super::{Answer, AnswerFault, Codec, Event, EventKind, Outgoing, UsageRules};
use crate::chat::{
    self, Chat, Dropped, ReadRules, Request, Shown, StreamReader, StreamWriter, Target,
};
use crate::json::write::Object;
use crate::json::{self, Cursor, JsonError, Kind, Patch};
use crate::refusal::Refusal;
use crate::request::Parsed;
use models::{Capabilities, Dialect, Usage};
use std::borrow::Cow;

/// The dialect.
pub struct OpenAiResponses;

impl Codec for OpenAiResponses {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAiResponses
    }

    fn path(&self, _: &str, _: bool) -> Cow<'static, str> {
        Cow::Borrowed("/responses")
    }

    fn read_request(&self, body: &[u8]) -> Result<Parsed, Refusal> {
        scan::read(body)
    }

    fn patch_request(
        &self,
        parsed: &Parsed,
        body: &[u8],
        outgoing: &Outgoing<'_>,
        out: &mut Vec<u8>,
    ) -> usize {
        parsed.with_cuts(&patches(parsed, outgoing), |all| json::patch_into(body, all, out))
    }

    fn patched_len(&self, parsed: &Parsed, body: &[u8], outgoing: &Outgoing<'_>) -> usize {
        parsed.with_cuts(&patches(parsed, outgoing), |all| json::patched_len(body, all))
    }

    fn read_answer(&self, body: &[u8], rules: UsageRules) -> Result<Answer, AnswerFault> {
        read_answer(body, rules).unwrap_or(Err(AnswerFault::Malformed))
    }

    fn read_event(&self, data: &[u8], rules: UsageRules, _: Option<&Usage>) -> Event {
        read_event(data, rules).unwrap_or(Event {
            kind: EventKind::Unknown,
            usage: None,
            finish: false,
            content_bytes: 0,
        })
    }

    fn write_refusal(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        // All of OpenAI's endpoints share one error object.
        OpenAiChat.write_refusal(refusal, request_id, out);
    }

    /// The failed response. Its number is beyond every other, since those that went by unchanged were
    /// not counted.
    fn write_stream_error(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: response.failed\ndata: ");
        let mut event = Object::begin(out);
        event.text("type", "response.failed").number("sequence_number", i32::MAX as u64);
        event.object("response", |response| {
            response.text("id", &format!("resp_{request_id}")).text("object", "response");
            response.text("status", "failed");
            echo::write_error(refusal, response);
            response.raw("incomplete_details", "null").raw("output", "[]").raw("usage", "null");
        });
        event.end();
        out.extend_from_slice(b"\n\n");
    }

    /// Whatever says why a response ended also ends its stream.
    fn end_mark(&self) -> &'static [u8] {
        b""
    }
}

impl Chat for OpenAiResponses {
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
        Box::new(stream_reader::Reader::new(rules))
    }

    fn stream_writer(&self, request: &Request<'_>, shown: &Shown<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream_writer::Writer::new(request, shown))
    }

    fn cannot(&self) -> Capabilities {
        Capabilities::ALTERNATIVES | Capabilities::AUDIO_IN | Capabilities::AUDIO_OUT
    }
}

fn patches<'p>(parsed: &Parsed, outgoing: &Outgoing<'p>) -> [Patch<'p>; 1] {
    [Patch { span: parsed.model.span, with: outgoing.model.as_bytes() }]
}

fn read_answer(body: &[u8], rules: UsageRules) -> Result<Result<Answer, AnswerFault>, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let mut answer = Answer::default();
    let (mut has_output, mut has_error) = (false, false);
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"output", Kind::Array) => {
                has_output = true;
                // With the few names in it: an own count need not be exact.
                answer.content_bytes = cursor.skip()?.len().saturating_sub(2) as u32;
            }
            (b"usage", _) => answer.usage = usage::read(cursor, rules)?,
            (b"error", Kind::Null) => drop(cursor.skip()?),
            (b"error", _) => {
                has_error = true;
                cursor.skip()?;
            }
            (b"status", Kind::String) => has_error |= cursor.string()?.is("failed"),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    cursor.end()?;
    Ok(match (has_error, has_output) {
        (true, _) => Err(AnswerFault::Error),
        (false, false) => Err(AnswerFault::Malformed),
        (false, true) => Ok(answer),
    })
}

fn read_event(data: &[u8], rules: UsageRules) -> Result<Event, JsonError> {
    let mut cursor = Cursor::new(data)?;
    let mut event =
        Event { kind: EventKind::Preamble, usage: None, finish: false, content_bytes: 0 };
    let mut kind: &[u8] = b"";
    let mut is_call = false;
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"type", Kind::String) => kind = cursor.string()?.bytes,
            (b"delta", Kind::String) => event.content_bytes = cursor.string()?.bytes.len() as u32,
            (b"item", Kind::Object) => {
                cursor.object(|key, cursor| {
                    match (key.bytes, cursor.kind()?) {
                        (b"type", Kind::String) => {
                            is_call = matches!(
                                cursor.string()?.bytes,
                                b"function_call" | b"custom_tool_call"
                            );
                        }
                        _ => drop(cursor.skip()?),
                    }
                    Ok(())
                })?;
            }
            (b"response", Kind::Object) => {
                cursor.object(|key, cursor| {
                    match key.bytes {
                        b"usage" => event.usage = usage::read(cursor, rules)?,
                        _ => drop(cursor.skip()?),
                    }
                    Ok(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    cursor.end()?;
    event.kind = match kind {
        b"response.completed" | b"response.incomplete" | b"response.done" => {
            event.finish = true;
            EventKind::End
        }
        b"response.failed" | b"response.cancelled" | b"error" => EventKind::Error,
        // A call that begins is content by itself; reasoning that begins may still come to nothing.
        b"response.output_item.added" if is_call => EventKind::Content,
        b"response.output_item.done" => EventKind::Content,
        _ if kind.starts_with(b"response.") && kind.ends_with(b".delta") => EventKind::Content,
        // What is new passes; it begins no answer.
        _ if kind.starts_with(b"response.") || kind == b"keepalive" => EventKind::Preamble,
        // What some servers mix in for their own clients.
        _ => EventKind::Unknown,
    };
    if event.kind != EventKind::Content {
        event.content_bytes = 0;
    }
    Ok(event)
}

#[cfg(test)]
mod neutral_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

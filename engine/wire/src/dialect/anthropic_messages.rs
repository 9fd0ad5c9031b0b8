//! Anthropic messages: `POST /v1/messages`, in the API versions `2023-06-01` and `2026-10-21`, which
//! differ in what a request may say and not in form.
//!
//! In: a client's body, a provider's body or event. Out: [`Parsed`], [`Answer`], [`Event`], and the
//! body with its few patches; the neutral form and back. Never: a thread: state is kept by nobody, so
//! those requests are refused in the way that makes an SDK send the whole history.

mod answer;
mod provider_request;
mod request;
mod scan;
mod stream;
mod usage;

use super::{Answer, AnswerFault, Codec, Event, EventKind, Outgoing, UsageRules};
use crate::chat::{
    self, Chat, Dropped, ReadRules, Request, Shown, StreamReader, StreamWriter, Target,
};
use crate::json::write::Object;
use crate::json::{self, Cursor, JsonError, Kind, Patch};
use crate::refusal::{self, Refusal};
use crate::request::Parsed;
use arrayvec::ArrayVec;
use models::{Capabilities, Dialect, Usage};
use std::borrow::Cow;

/// The dialect.
pub struct AnthropicMessages;

impl Codec for AnthropicMessages {
    fn dialect(&self) -> Dialect {
        Dialect::AnthropicMessages
    }

    fn path(&self, _: &str, _: bool) -> Cow<'static, str> {
        Cow::Borrowed("/v1/messages")
    }

    fn count_path(&self) -> Option<&'static str> {
        Some("/v1/messages/count_tokens")
    }

    fn read_count(&self, body: &[u8]) -> Option<u64> {
        read_count(body).ok().flatten()
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
        let mut digits = itoa::Buffer::new();
        let patches = patches(parsed, outgoing, &mut digits);
        parsed.with_cuts(&patches, |all| json::patch_into(body, all, out))
    }

    fn patched_len(&self, parsed: &Parsed, body: &[u8], outgoing: &Outgoing<'_>) -> usize {
        let mut digits = itoa::Buffer::new();
        let patches = patches(parsed, outgoing, &mut digits);
        parsed.with_cuts(&patches, |all| json::patched_len(body, all))
    }

    fn read_answer(&self, body: &[u8], _: UsageRules) -> Result<Answer, AnswerFault> {
        read_answer(body).unwrap_or(Err(AnswerFault::Malformed))
    }

    fn read_event(&self, data: &[u8], _: UsageRules, seen: Option<&Usage>) -> Event {
        read_event(data, seen).unwrap_or(Event {
            kind: EventKind::Unknown,
            usage: None,
            finish: false,
            content_bytes: 0,
        })
    }

    fn refusal_status(&self, refusal: &Refusal) -> u16 {
        // Anthropic's own status for it, which its SDKs wait longer for.
        if refusal.kind == refusal::Kind::Overloaded { 529 } else { refusal.status }
    }

    fn write_refusal(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.text("type", "error").object("error", |error| {
            error.text("type", error_type(self.refusal_status(refusal)));
            error.text("message", &refusal.message);
            let code = refusal.kind.code();
            error.object("details", |details| {
                details.text("error_code", code);
                if let Some(param) = &refusal.param {
                    details.text("field", param);
                }
                if refusal.kind == refusal::Kind::ThreadUnsupported {
                    details.raw("unsupported", "[\"thread\"]");
                }
            });
        });
        object.text("request_id", request_id);
        object.end();
    }

    fn write_stream_error(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: error\ndata: ");
        self.write_refusal(refusal, request_id, out);
        out.extend_from_slice(b"\n\n");
    }

    fn end_mark(&self) -> &'static [u8] {
        b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    }

    fn keep_alive(&self, chunked: bool) -> &'static [u8] {
        match chunked {
            true => b"24\r\nevent: ping\ndata: {\"type\": \"ping\"}\n\n\r\n",
            false => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
        }
    }
}

impl Chat for AnthropicMessages {
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

    fn cannot(&self) -> Capabilities {
        Capabilities::ALTERNATIVES | Capabilities::AUDIO_IN | Capabilities::AUDIO_OUT
    }
}

/// The error type that Anthropic pairs with a status.
fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}

/// The patches in the order of their places.
fn patches<'p>(
    parsed: &Parsed,
    outgoing: &Outgoing<'p>,
    digits: &'p mut itoa::Buffer,
) -> ArrayVec<Patch<'p>, 2> {
    let mut patches = ArrayVec::new();
    patches.push(Patch { span: parsed.model.span, with: outgoing.model.as_bytes() });
    if let (Some(asked), Some(member)) = (parsed.max_output, parsed.max_output_member)
        && asked > outgoing.max_output
    {
        let with = digits.format(outgoing.max_output).as_bytes();
        patches.push(Patch { span: member.value, with });
    }
    patches.sort_by_key(|patch| patch.span.start);
    patches
}

fn read_count(body: &[u8]) -> Result<Option<u64>, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let mut tokens = None;
    cursor.object(|key, cursor| match key.bytes {
        b"input_tokens" => {
            tokens = Some(cursor.unsigned("a count of tokens")?);
            Ok(())
        }
        _ => cursor.skip().map(drop),
    })?;
    cursor.end()?;
    Ok(tokens)
}

fn read_answer(body: &[u8]) -> Result<Result<Answer, AnswerFault>, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let mut answer = Answer::default();
    let (mut is_message, mut has_error) = (false, false);
    cursor.object(|key, cursor| match key.bytes {
        b"content" if cursor.kind()? == Kind::Array => {
            is_message = true;
            // What stands between the brackets, with its few names: an own count need not be exact.
            let bytes = cursor.skip()?.len().saturating_sub(2) as u32;
            answer.content_bytes = bytes;
            Ok(())
        }
        b"usage" => {
            answer.usage = usage::read(cursor, None)?;
            Ok(())
        }
        b"error" => {
            has_error = !cursor.null()?;
            if has_error { cursor.skip().map(drop) } else { Ok(()) }
        }
        _ => cursor.skip().map(drop),
    })?;
    cursor.end()?;
    Ok(match (has_error, is_message) {
        (true, _) => Err(AnswerFault::Error),
        (false, false) => Err(AnswerFault::Malformed),
        (false, true) => Ok(answer),
    })
}

fn read_event(data: &[u8], seen: Option<&Usage>) -> Result<Event, JsonError> {
    let mut cursor = Cursor::new(data)?;
    let mut event =
        Event { kind: EventKind::Preamble, usage: None, finish: false, content_bytes: 0 };
    let mut kind: &[u8] = b"";
    let mut is_call = false;
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"type", Kind::String) => kind = cursor.string()?.bytes,
            (b"usage", _) => event.usage = usage::read(cursor, seen)?,
            (b"message", Kind::Object) => {
                cursor.object(|key, cursor| match key.bytes {
                    b"usage" => {
                        event.usage = usage::read(cursor, seen)?;
                        Ok(())
                    }
                    _ => cursor.skip().map(drop),
                })?;
            }
            (b"content_block", Kind::Object) => {
                cursor.object(|key, cursor| match (key.bytes, cursor.kind()?) {
                    (b"type", Kind::String) => {
                        // A block that is no text is content by itself.
                        is_call = !matches!(cursor.string()?.bytes, b"text" | b"thinking");
                        Ok(())
                    }
                    _ => cursor.skip().map(drop),
                })?;
            }
            (b"delta", Kind::Object) => {
                cursor.object(|key, cursor| {
                    match (key.bytes, cursor.kind()?) {
                        (b"type", _) => drop(cursor.skip()?),
                        (b"stop_reason", Kind::String) => {
                            event.finish = true;
                            cursor.skip()?;
                        }
                        _ => {
                            let bytes = cursor.skip()?.len().saturating_sub(2) as u32;
                            event.content_bytes = event.content_bytes.saturating_add(bytes);
                        }
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
        b"content_block_delta" => EventKind::Content,
        b"message_delta" => {
            event.content_bytes = 0;
            EventKind::Content
        }
        b"content_block_start" if is_call => EventKind::Content,
        b"message_stop" => EventKind::End,
        b"error" => EventKind::Error,
        b"" => EventKind::Unknown,
        // What is new passes; it begins no answer.
        _ => EventKind::Preamble,
    };
    Ok(event)
}

#[cfg(test)]
mod neutral_tests;
#[cfg(test)]
mod tests;

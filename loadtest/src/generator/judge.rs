//! Reads one answer and judges it: well framed, complete, in order.
//!
//! In: bytes as they come, and the time they came. Out: what was seen ([`Seen`]) and, at the end,
//! either nothing to say or a [`Failure`]. Pure: no socket, no clock. Text numbered by the fake
//! provider (`[n] …`) is checked for order; other text is not.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

use crate::buffer::Buffer;
use crate::http::{Dechunker, length, lists};

const HEADERS_MAX: usize = 128;
const HEAD_BYTES_MAX: usize = 256 << 10;
const LINE_BYTES_MAX: usize = 32 << 20;

/// Searches that are made for every event, prepared once: preparing costs more than searching.
struct Needles {
    model: Finder<'static>,
    choices: Finder<'static>,
    content: Finder<'static>,
    tool_calls: Finder<'static>,
    reasoning: Finder<'static>,
    finish: Finder<'static>,
    error: Finder<'static>,
    usage: Finder<'static>,
    prompt_tokens: Finder<'static>,
    completion_tokens: Finder<'static>,
}

static NEEDLES: LazyLock<Needles> = LazyLock::new(|| Needles {
    model: Finder::new("\"model\":\""),
    choices: Finder::new("\"choices\""),
    content: Finder::new("\"content\":\""),
    tool_calls: Finder::new("\"tool_calls\":["),
    reasoning: Finder::new("\"reasoning_content\":\""),
    finish: Finder::new("\"finish_reason\":\""),
    error: Finder::new("\"error\":{"),
    usage: Finder::new("\"usage\":{"),
    prompt_tokens: Finder::new("\"prompt_tokens\":"),
    completion_tokens: Finder::new("\"completion_tokens\":"),
});

/// Why an answer counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection.
    Connect,
    /// Closed or reset before the first byte of an answer.
    NoAnswer,
    /// Closed or reset inside the framing.
    Cut,
    /// No HTTP, or bad framing.
    BadHttp,
    /// A plain answer that is no complete chat completion.
    BadBody,
    /// A stream that ends well framed without a finish reason and an end mark.
    Incomplete,
    /// A stream whose numbered pieces come in another order, twice, or not at all.
    Order,
    /// An error event in the stream.
    ErrorEvent,
    /// Fewer or more pieces of text than the load expects.
    Count,
    /// Not over in time.
    Timeout,
    /// Due, but never sent: all connections were busy until the end.
    Unsent,
    /// An error status.
    Status(u16),
}

impl Failure {
    /// Name in reports; statuses as `status_429`.
    pub fn name(self) -> String {
        let name = match self {
            Failure::Connect => "connect",
            Failure::NoAnswer => "no_answer",
            Failure::Cut => "cut",
            Failure::BadHttp => "bad_http",
            Failure::BadBody => "bad_body",
            Failure::Incomplete => "incomplete",
            Failure::Order => "order",
            Failure::ErrorEvent => "error_event",
            Failure::Count => "count",
            Failure::Timeout => "timeout",
            Failure::Unsent => "unsent",
            Failure::Status(status) => return format!("status_{status}"),
        };
        name.to_owned()
    }
}

/// What an answer has shown so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub status: u16,
    /// When the first content came; of a plain answer, its first byte.
    pub first_us: Option<u64>,
    last_us: u64,
    /// Events with content.
    pub chunks: u32,
    pub done: bool,
    pub finished: bool,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub bytes: u64,
    /// Some byte of an answer came.
    begun: bool,
    /// Next number expected of numbered text; `None` until the first, or when it has none.
    next_number: Option<u32>,
    disorder: bool,
    error_event: bool,
}

/// Reads answers, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    stage: Stage,
    /// The answer is an event stream.
    events: bool,
    keep_alive: bool,
    /// Beginning of a line whose end has not come; of a plain answer, the body.
    carry: Vec<u8>,
    /// Name of the model that the answer gives, as it stands there.
    pub model: Vec<u8>,
    pub seen: Seen,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Head,
    Length(u64),
    Chunked(Dechunker),
    UntilClose,
    Over,
}

/// What can be said after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// More is to come.
    More,
    /// The answer is over and the connection can be used again, or not.
    Over { reusable: bool },
}

impl Judge {
    /// Forgets the last answer.
    pub(crate) fn reset(&mut self) {
        self.stage = Stage::Head;
        self.carry.clear();
        self.model.clear();
        self.seen = Seen::default();
    }

    /// Eats what is there. Gaps between content events go to `gap` in microseconds.
    pub(crate) fn feed(
        &mut self,
        buffer: &mut Buffer,
        now_us: u64,
        gap: &mut impl FnMut(u64),
    ) -> Result<Said, Failure> {
        while matches!(self.stage, Stage::Head) {
            if !self.read_head(buffer, now_us)? {
                return Ok(Said::More);
            }
        }
        let input = buffer.bytes();
        let mut lines = Lines {
            carry: &mut self.carry,
            model: &mut self.model,
            seen: &mut self.seen,
            events: self.events,
            now_us,
            gap,
        };
        let eaten = match &mut self.stage {
            Stage::Length(left) => {
                let count = (*left).min(input.len() as u64) as usize;
                lines.take(&input[..count])?;
                *left -= count as u64;
                if *left == 0 {
                    self.stage = Stage::Over;
                }
                count
            }
            Stage::Chunked(reader) => {
                let mut taken = Ok(());
                let fed = reader.feed(input, |data| {
                    if taken.is_ok() {
                        taken = lines.take(data);
                    }
                });
                taken?;
                let count = fed.map_err(|_| Failure::BadHttp)?;
                if reader.is_done() {
                    self.stage = Stage::Over;
                }
                count
            }
            Stage::UntilClose => {
                lines.take(input)?;
                input.len()
            }
            Stage::Head | Stage::Over => 0,
        };
        buffer.eat(eaten);
        self.seen.bytes += eaten as u64;
        if matches!(self.stage, Stage::Over) {
            self.read_whole();
            // Bytes after the end belong to nobody: such a connection is not used again.
            let reusable = self.keep_alive && buffer.is_empty();
            return Ok(Said::Over { reusable });
        }
        Ok(Said::More)
    }

    /// The connection ended; an answer may have been meant to end so.
    pub(crate) fn ended(&mut self) -> Result<(), Failure> {
        match self.stage {
            Stage::UntilClose | Stage::Over => {
                self.read_whole();
                Ok(())
            }
            Stage::Head if !self.seen.begun => Err(Failure::NoAnswer),
            _ => Err(Failure::Cut),
        }
    }

    /// What a plain answer says, once it is all there.
    fn read_whole(&mut self) {
        if !self.events {
            self.seen.usage(&self.carry);
            read_model(&self.carry, &mut self.model);
        }
    }

    /// The verdict over an answer that is over.
    pub(crate) fn verdict(&self, chunks_expected: Option<u32>) -> Result<(), Failure> {
        let seen = &self.seen;
        if seen.status != 200 {
            return Err(Failure::Status(seen.status));
        }
        if !self.events {
            return self.plain_verdict();
        }
        if seen.error_event {
            return Err(Failure::ErrorEvent);
        }
        if !seen.done || !seen.finished {
            return Err(Failure::Incomplete);
        }
        if seen.disorder {
            return Err(Failure::Order);
        }
        if chunks_expected.is_some_and(|expected| expected != seen.chunks) {
            return Err(Failure::Count);
        }
        Ok(())
    }

    fn plain_verdict(&self) -> Result<(), Failure> {
        let body = self.carry.trim_ascii();
        let is_object = body.starts_with(b"{") && body.ends_with(b"}");
        let has = |needle: &Finder<'_>| needle.find(body).is_some();
        if is_object && has(&NEEDLES.choices) && has(&NEEDLES.finish) {
            Ok(())
        } else {
            Err(Failure::BadBody)
        }
    }

    fn read_head(&mut self, buffer: &mut Buffer, now_us: u64) -> Result<bool, Failure> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut fields);
        self.seen.begun |= !buffer.is_empty();
        let bytes = match parsed.parse(buffer.bytes()) {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) if buffer.bytes().len() < HEAD_BYTES_MAX => {
                return Ok(false);
            }
            _ => return Err(Failure::BadHttp),
        };
        let status = parsed.code.unwrap_or_default();
        if (100..200).contains(&status) {
            buffer.eat(bytes);
            return Ok(!buffer.is_empty());
        }
        self.keep_alive = parsed.version == Some(1);
        self.events = false;
        let mut stage = Stage::UntilClose;
        for field in parsed.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                if matches!(stage, Stage::Chunked(_)) {
                    return Err(Failure::BadHttp);
                }
                stage = Stage::Length(length(field.value).ok_or(Failure::BadHttp)?);
            } else if is("transfer-encoding") {
                if matches!(stage, Stage::Length(_)) {
                    return Err(Failure::BadHttp);
                }
                stage = Stage::Chunked(Dechunker::default());
            } else if is("connection") && lists(field.value, "close") {
                self.keep_alive = false;
            } else if is("content-type") {
                self.events = field.value.starts_with(b"text/event-stream");
            }
        }
        if matches!(status, 204 | 304) || matches!(stage, Stage::Length(0)) {
            stage = Stage::Over;
        }
        self.stage = stage;
        self.seen.status = status;
        if !self.events {
            self.seen.first_us = Some(now_us);
        }
        buffer.eat(bytes);
        self.seen.bytes += bytes as u64;
        Ok(true)
    }
}

/// Payload on its way into lines and events.
struct Lines<'j, G> {
    carry: &'j mut Vec<u8>,
    model: &'j mut Vec<u8>,
    seen: &'j mut Seen,
    events: bool,
    now_us: u64,
    gap: &'j mut G,
}

impl<G: FnMut(u64)> Lines<'_, G> {
    fn take(&mut self, mut data: &[u8]) -> Result<(), Failure> {
        if !self.events {
            if self.carry.len() + data.len() > LINE_BYTES_MAX {
                return Err(Failure::BadBody);
            }
            self.carry.extend_from_slice(data);
            return Ok(());
        }
        while let Some(end) = memchr(b'\n', data) {
            let (line, rest) = data.split_at(end);
            if self.carry.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(self.carry);
                whole.extend_from_slice(line);
                self.line(&whole);
                whole.clear();
                *self.carry = whole;
            }
            data = &rest[1..];
        }
        if self.carry.len() + data.len() > LINE_BYTES_MAX {
            return Err(Failure::BadHttp);
        }
        self.carry.extend_from_slice(data);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) {
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let data = data.trim_ascii();
        if self.seen.done {
            return;
        }
        if data == b"[DONE]" {
            self.seen.done = true;
            return;
        }
        if data.starts_with(b"{\"error\"") || find(data, &NEEDLES.error).is_some() {
            self.seen.error_event = true;
            return;
        }
        if self.model.is_empty() {
            read_model(data, self.model);
        }
        let text = find(data, &NEEDLES.content).map(|at| &data[at..]);
        let text = text.filter(|text| !text.starts_with(b"\""));
        if let Some(text) = text {
            self.number(text);
        }
        let other = || {
            find(data, &NEEDLES.tool_calls).is_some() || find(data, &NEEDLES.reasoning).is_some()
        };
        if text.is_some() {
            self.seen.chunks += 1;
        }
        if text.is_some() || other() {
            if self.seen.first_us.is_none() {
                self.seen.first_us = Some(self.now_us);
            } else {
                (self.gap)(self.now_us.saturating_sub(self.seen.last_us));
            }
            self.seen.last_us = self.now_us;
            return;
        }
        if find(data, &NEEDLES.finish).is_some() {
            self.seen.finished = true;
        }
        self.seen.usage(data);
    }

    /// Numbered text counts up from 0 without gaps. Text whose first piece has no number is not
    /// checked.
    fn number(&mut self, text: &[u8]) {
        let number = text
            .strip_prefix(b"[")
            .and_then(|rest| Some(&rest[..memchr(b']', rest)?]))
            .and_then(digits);
        let expected = self.seen.next_number;
        match (number, expected) {
            (None, None) => {}
            (Some(number), None) if self.seen.chunks == 0 => {
                self.seen.disorder |= number != 0;
                self.seen.next_number = Some(number as u32 + 1);
            }
            (Some(number), Some(wanted)) => {
                self.seen.disorder |= number != u64::from(wanted);
                self.seen.next_number = Some(number as u32 + 1);
            }
            (Some(_), None) => {}
            (None, Some(_)) => self.seen.disorder = true,
        }
    }
}

impl Seen {
    /// The figures of an event or of a whole body.
    fn usage(&mut self, data: &[u8]) {
        let Some(at) = find(data, &NEEDLES.usage) else {
            return;
        };
        let count = |name: &Finder<'_>| {
            let rest = &data[at..];
            let rest = &rest[find(rest, name)?..];
            digits(&rest[..rest.iter().position(|b| !b.is_ascii_digit())?])
        };
        self.prompt_tokens = count(&NEEDLES.prompt_tokens).unwrap_or_default();
        self.completion_tokens = count(&NEEDLES.completion_tokens).unwrap_or_default();
    }
}

/// Where `needle` ends in `data`.
fn find(data: &[u8], needle: &Finder<'_>) -> Option<usize> {
    let start = needle.find(data)?;
    Some(start + needle.needle().len())
}

fn read_model(data: &[u8], model: &mut Vec<u8>) {
    let name = find(data, &NEEDLES.model).map(|at| &data[at..]);
    if let Some(name) = name.and_then(|name| Some(&name[..memchr(b'"', name)?])) {
        model.clear();
        model.extend_from_slice(name);
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    length(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> String {
        let choice =
            format!("{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}");
        format!("data: {{\"choices\":[{choice}]}}\n\n")
    }

    const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn judge(answer: &str, step: usize, closes: bool) -> Result<Seen, Failure> {
        let (mut judge, mut buffer) = (Judge::default(), Buffer::default());
        let mut over = false;
        for mut piece in answer.as_bytes().chunks(step) {
            while !piece.is_empty() {
                buffer.read(&mut piece, false).expect("a slice reads");
            }
            over |= judge.feed(&mut buffer, 0, &mut |_| {})? != Said::More;
        }
        if !over && closes {
            judge.ended()?;
        }
        judge.verdict(None).map(|()| judge.seen)
    }

    fn stream(events: &[&str]) -> String {
        let body = events.concat();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn streams_are_judged_the_same_however_they_are_cut() {
        let [a, b, c] = ["[0] a", "[1] b", "[2] c"].map(event);
        let free = event("hello [7] ");
        let error = "data: {\"error\":{\"message\":\"m\"}}\n\n";
        let table: [(&str, Vec<&str>, Result<u32, Failure>); 10] = [
            ("in order", vec![&a, &b, &c, FINISH, DONE], Ok(3)),
            ("text without numbers", vec![&free, &a, FINISH, DONE], Ok(2)),
            ("comments and blank lines", vec![": hi\n\n", &a, "\n", FINISH, DONE], Ok(1)),
            ("after the end mark", vec![&a, FINISH, DONE, &c, DONE], Ok(1)),
            ("no end mark", vec![&a, &b, FINISH], Err(Failure::Incomplete)),
            ("no finish reason", vec![&a, &b, DONE], Err(Failure::Incomplete)),
            ("changed places", vec![&b, &a, FINISH, DONE], Err(Failure::Order)),
            ("one left out", vec![&a, &c, FINISH, DONE], Err(Failure::Order)),
            ("one twice", vec![&a, &a, FINISH, DONE], Err(Failure::Order)),
            ("error event", vec![&a, error], Err(Failure::ErrorEvent)),
        ];
        for (name, events, expected) in table {
            let answer = stream(&events);
            for step in [1, 2, 7, 64, answer.len()] {
                let got = judge(&answer, step, true).map(|seen| seen.chunks);
                assert_eq!(got, expected, "{name}, {step} bytes at a time");
            }
        }
    }

    #[test]
    fn a_stream_cut_anywhere_is_never_complete() {
        let answer = stream(&[&event("[0] a"), &event("[1] b"), FINISH, DONE]);
        for end in 1..answer.len() {
            let failure = judge(&answer[..end], end, true).expect_err("it is cut");
            assert_eq!(failure, Failure::Cut, "cut at {end}");
        }
    }

    #[test]
    fn plain_answers_are_judged() {
        let good = "{\"choices\":[{\"finish_reason\":\"stop\"}],\
                    \"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}";
        let table = [
            (200, good, Ok((5, 7))),
            (200, "null", Err(Failure::BadBody)),
            (200, "<html></html>", Err(Failure::BadBody)),
            (200, "", Err(Failure::BadBody)),
            (429, "{}", Err(Failure::Status(429))),
        ];
        for (status, body, expected) in table {
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
            let got = judge(&answer, answer.len(), true)
                .map(|seen| (seen.prompt_tokens, seen.completion_tokens));
            assert_eq!(got, expected, "{status} {body}");
        }
    }
}

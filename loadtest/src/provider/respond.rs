//! Turns an answer into HTTP bytes, with whatever fault the script asks for.
//!
//! In: an [`Answer`] and its dialect. Out: bytes appended to the connection's output and what the
//! connection does [`Then`]. No socket, no time.

use super::answer::{Answer, Piece, digits_into};
use super::dialect::Dialect;
use super::script::Fault;

const HUGE_EVENT_BYTES: usize = 17 << 20;
const EARLY_HINTS: usize = 64;

/// What the connection does when the bytes are out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The answer is over: the next request.
    Next,
    /// Events follow.
    Stream,
    /// Nothing more, connection open.
    Silence,
    /// An orderly close.
    Close,
    /// A reset.
    Reset,
    /// A head without an end.
    EndlessHead,
}

/// How the answer may be framed and whether the connection stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Framing {
    pub chunked: bool,
    pub keep_alive: bool,
}

impl Framing {
    fn after(self) -> Then {
        if self.keep_alive { Then::Next } else { Then::Close }
    }
}

/// Starts the answer: all of a plain one, the head of a stream.
pub(crate) fn start(
    answer: &mut Answer,
    dialect: &dyn Dialect,
    framing: Framing,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Then {
    match answer.fault {
        Some(Fault::Refuse) => return Then::Close,
        Some(Fault::StallHead) => return Then::Silence,
        Some(Fault::CutHead) => {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: applica");
            return Then::Close;
        }
        Some(Fault::EndlessHead) => {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
            return Then::EndlessHead;
        }
        Some(Fault::Garbage) => {
            out.extend_from_slice(b"\x16\x03\x01\x02\x00\x01\x00 this is not HTTP\r\n\r\n");
            return Then::Close;
        }
        Some(Fault::Flood1xx) => {
            for _ in 0..EARLY_HINTS {
                out.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            }
        }
        _ => {}
    }
    if answer.status != 200 {
        return refusal(answer, dialect, framing, scratch, out);
    }
    scratch.clear();
    match answer.fault {
        Some(Fault::Html) => {
            scratch
                .extend_from_slice(b"<!doctype html><html><body><h1>It works</h1></body></html>\n");
            return plain(200, "text/html", answer, framing, scratch, out);
        }
        Some(Fault::Empty) => return plain(200, JSON, answer, framing, scratch, out),
        Some(Fault::Null) => {
            scratch.extend_from_slice(b"null");
            return plain(200, JSON, answer, framing, scratch, out);
        }
        Some(Fault::ErrorObject) => {
            dialect.error(500, None, "The server had an error", scratch);
            return plain(200, JSON, answer, framing, scratch, out);
        }
        _ => {}
    }
    if answer.stream {
        dialect.prefix(answer);
        stream_head(answer, framing, out);
        return Then::Stream;
    }
    whole(answer, dialect, framing, scratch, out)
}

const JSON: &str = "application/json";

/// A plain body without a script: model lists, refusals of requests that cannot be read.
pub(crate) fn fixed(status: u16, body: &[u8], keep_alive: bool, out: &mut Vec<u8>) {
    status_line(status, out);
    out.extend_from_slice(b"Content-Type: application/json\r\n");
    body_with_length(body, keep_alive, out);
}

fn whole(
    answer: &Answer,
    dialect: &dyn Dialect,
    framing: Framing,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Then {
    match answer.fault {
        Some(Fault::BadJson) => scratch.extend_from_slice(b"{\"id\":\"chatcmpl-\",,}"),
        Some(Fault::ErrorEvent) => dialect.error(500, None, "The server had an error", scratch),
        _ => dialect.whole(answer, scratch),
    }
    let after = (answer.script.after as usize).min(scratch.len().saturating_sub(1));
    match answer.fault {
        Some(fault @ (Fault::Reset | Fault::Cut | Fault::Stall)) => {
            let start = out.len();
            let then = plain(200, JSON, answer, framing, scratch, out);
            let body_start = out.len() - scratch.len();
            debug_assert!(body_start > start && then != Then::Stream);
            out.truncate(body_start + after);
            return broken(fault);
        }
        Some(Fault::Eof) => scratch.truncate(after),
        Some(Fault::BadChunk) => {
            status_line(200, out);
            fields(answer, JSON, true, out);
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\nzz\r\n");
            out.extend_from_slice(scratch);
            return Then::Close;
        }
        Some(Fault::BothLengths) => {
            status_line(200, out);
            fields(answer, JSON, true, out);
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\nContent-Length: ");
            digits_into(scratch.len() as u64, out);
            out.extend_from_slice(b"\r\n\r\n");
            chunk(scratch, true, out);
            out.extend_from_slice(LAST_CHUNK);
            return Then::Close;
        }
        _ => {}
    }
    plain(200, JSON, answer, framing, scratch, out)
}

fn broken(fault: Fault) -> Then {
    match fault {
        Fault::Reset => Then::Reset,
        Fault::Stall => Then::Silence,
        _ => Then::Close,
    }
}

fn refusal(
    answer: &Answer,
    dialect: &dyn Dialect,
    framing: Framing,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Then {
    scratch.clear();
    let bodiless = matches!(answer.status, 100..=199 | 204 | 304);
    if !bodiless {
        let code = answer.script.error_code.as_deref();
        dialect.error(answer.status, code, "scripted refusal", scratch);
    }
    plain(answer.status, JSON, answer, framing, scratch, out)
}

fn plain(
    status: u16,
    kind: &str,
    answer: &Answer,
    framing: Framing,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Then {
    status_line(status, out);
    fields(answer, kind, framing.keep_alive, out);
    if (300..400).contains(&status) {
        // The discard port: whoever follows a redirect with a credential is caught by nobody else.
        out.extend_from_slice(b"Location: http://127.0.0.1:9/elsewhere\r\n");
    }
    if let Some(value) = &answer.script.retry_after {
        out.extend_from_slice(b"Retry-After: ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"Content-Length: ");
    digits_into(body.len() as u64, out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
    if answer.fault == Some(Fault::Trailing) {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nunasked!\n");
    }
    framing.after()
}

fn stream_head(answer: &Answer, framing: Framing, out: &mut Vec<u8>) {
    status_line(200, out);
    fields(answer, "text/event-stream", framing.keep_alive && framing.chunked, out);
    out.extend_from_slice(b"Cache-Control: no-cache\r\n");
    if answer.fault == Some(Fault::BothLengths) {
        out.extend_from_slice(b"Content-Length: 40\r\n");
    }
    if framing.chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Sends the event of step `*step` and goes on to the next. What comes back is [`Then::Stream`]
/// while there is more.
pub(crate) fn event(
    answer: &Answer,
    dialect: &dyn Dialect,
    framing: Framing,
    step: &mut u32,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Then {
    let Some(piece) = answer.piece(*step) else {
        return over(answer, framing, out);
    };
    scratch.clear();
    if *step == answer.script.after
        && let Some(then) = spoil(answer, dialect, framing, scratch, out)
    {
        return then;
    }
    *step += 1;
    if answer.script.comments {
        scratch.extend_from_slice(b": still here\n\n");
    }
    let at_text = piece == Piece::Text(answer.script.after);
    match (answer.fault, piece) {
        (Some(Fault::Skip), _) if at_text => {}
        (Some(Fault::NoFinish), Piece::Finish) | (Some(Fault::NoDone), Piece::Done) => {}
        (Some(Fault::Repeat), _) if at_text => {
            dialect.event(answer, piece, scratch);
            dialect.event(answer, piece, scratch);
        }
        (Some(Fault::DoneTwice), Piece::Done) => {
            dialect.event(answer, piece, scratch);
            dialect.event(answer, Piece::Start, scratch);
            dialect.event(answer, piece, scratch);
        }
        _ => dialect.event(answer, piece, scratch),
    }
    chunk(scratch, framing.chunked, out);
    if answer.piece(*step).is_some() {
        return Then::Stream;
    }
    // The end of the body goes out with the last event, as one write.
    over(answer, framing, out)
}

fn over(answer: &Answer, framing: Framing, out: &mut Vec<u8>) -> Then {
    if framing.chunked {
        out.extend_from_slice(LAST_CHUNK);
    }
    if answer.fault == Some(Fault::Trailing) {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nunasked!\n");
    }
    let stays = framing.chunked && answer.fault != Some(Fault::BothLengths);
    if stays { framing.after() } else { Then::Close }
}

/// The fault that strikes in place of an event, if there is one.
fn spoil(
    answer: &Answer,
    dialect: &dyn Dialect,
    framing: Framing,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Option<Then> {
    let end = |out: &mut Vec<u8>| {
        if framing.chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
        if framing.chunked { framing.after() } else { Then::Close }
    };
    match answer.fault? {
        fault @ (Fault::Reset | Fault::Stall) => Some(broken(fault)),
        Fault::Cut => {
            // Half an event, so that the end falls inside the framing.
            dialect.event(answer, Piece::Start, scratch);
            let start = out.len();
            chunk(scratch, framing.chunked, out);
            out.truncate(start + (out.len() - start) / 2);
            Some(Then::Close)
        }
        Fault::Eof => Some(end(out)),
        Fault::BadChunk => {
            out.extend_from_slice(b"-5\r\ndata: x\n\n\r\n");
            Some(Then::Close)
        }
        Fault::BadJson => {
            chunk(b"data: {\"id\":\"chatcmpl-\",,}\n\n", framing.chunked, out);
            Some(end(out))
        }
        Fault::ErrorEvent => {
            dialect.error_event(scratch);
            chunk(scratch, framing.chunked, out);
            Some(end(out))
        }
        Fault::HugeEvent => {
            scratch.extend_from_slice(b"data: \"");
            scratch.resize(HUGE_EVENT_BYTES, b'x');
            scratch.extend_from_slice(b"\"\n\n");
            chunk(scratch, framing.chunked, out);
            scratch.clear();
            scratch.shrink_to_fit();
            Some(end(out))
        }
        _ => None,
    }
}

fn chunk(payload: &[u8], chunked: bool, out: &mut Vec<u8>) {
    if payload.is_empty() {
        return;
    }
    if !chunked {
        out.extend_from_slice(payload);
        return;
    }
    let digits = (payload.len().ilog2() / 4 + 1) as usize;
    for place in (0..digits).rev() {
        let digit = (payload.len() >> (place * 4)) & 15;
        out.push(b"0123456789abcdef"[digit]);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

fn fields(answer: &Answer, kind: &str, keep_alive: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Type: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\r\nx-request-id: req_fake_");
    digits_into(answer.number, out);
    out.extend_from_slice(b"\r\n");
    for part in answer.script.fields.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]) {
        out.extend_from_slice(part.as_bytes());
    }
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
}

fn body_with_length(body: &[u8], keep_alive: bool, out: &mut Vec<u8>) {
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"Content-Length: ");
    digits_into(body.len() as u64, out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

fn status_line(status: u16, out: &mut Vec<u8>) {
    if status == 200 {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    digits_into(u64::from(status), out);
    out.extend_from_slice(b" ");
    let reason = match status {
        101 => "Switching Protocols",
        204 => "No Content",
        300..=399 => "Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Status", // the number is what counts
    };
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

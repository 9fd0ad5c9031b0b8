//! HTTP/1.1 heads: bytes to facts, facts to bytes. RFC 9110 and RFC 9112, read strictly: a message
//! that two peers could understand differently is refused, never repaired.
//!
//! In: the bytes of one head. Out: [`RequestHead`] or [`ResponseHead`], which hold everything that
//! decides framing, routing and rights, read once. Never: bodies (see [`crate::chunked`]) or I/O.

use crate::limits::RateLimits;
use crate::refusal::{Kind, Refusal};
use arrayvec::ArrayVec;
use std::mem::MaybeUninit;

/// Largest head, request or response, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most field lines in a head.
pub const FIELDS_MAX: usize = 128;
/// Longest field line (name and value), in bytes.
pub const FIELD_BYTES_MAX: usize = 16 * 1024;
/// Most fields of a client that go along to a provider.
pub const FORWARDED_MAX: usize = 24;
/// Longest request target, in bytes.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// The methods that some path of ours answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// A method that HTTP knows and no path here answers.
    Other,
}

/// How a body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// That many bytes.
    Length(u64),
    /// Chunks up to the one of size zero.
    Chunked,
    /// Until the peer closes (responses only).
    UntilClose,
}

/// The facts of a request head.
#[derive(Debug)]
pub struct RequestHead<'b> {
    /// What to do.
    pub method: Method,
    /// The path as it was sent, without query: routing and rights both use this one value.
    pub path: &'b str,
    /// The query behind it, without its mark; mostly empty. May hold a key: never shown or logged.
    pub query: &'b str,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the client may send another request on this connection.
    pub keep_alive: bool,
    /// Whether the client understands chunks: HTTP/1.0 does not.
    pub takes_chunks: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The one credential: the value of `Authorization: Bearer`, `x-api-key` or `x-goog-api-key`.
    pub credential: Option<&'b str>,
    /// `x-pointsman-strategy`.
    pub strategy: Option<&'b str>,
    /// `x-openai-subagent`, by which Codex says that an agent of its own asks.
    pub agent: Option<&'b str>,
    /// `x-request-id`, when it is short and harmless enough to be given back.
    pub request_id: Option<&'b str>,
    /// Whether the credential is an `x-goog-api-key`: who sends it speaks Gemini, whatever the path.
    pub has_google_key: bool,
    /// `anthropic-version`: who sends it speaks Anthropic's dialect, whatever the path.
    pub anthropic_version: Option<&'b str>,
    /// Fields that go along to a provider of Anthropic's dialect as they are: see [`FORWARDED`].
    pub forwarded: ArrayVec<(&'b str, &'b str), FORWARDED_MAX>,
    /// Bytes of the head, the empty line included.
    pub len: usize,
}

/// The facts of a provider's response head.
#[derive(Debug)]
pub struct ResponseHead {
    /// 200..=599; informational responses are skipped by the caller.
    pub status: u16,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the connection can be used again after the body.
    pub keep_alive: bool,
    /// Whether the body is `text/event-stream`.
    pub is_event_stream: bool,
    /// Whether the body is encoded in a way that we did not ask for.
    pub is_encoded: bool,
    /// `retry-after` in seconds, when given as such.
    pub retry_after_s: Option<u32>,
    /// What it says of rate limits.
    pub limits: RateLimits,
    /// Bytes of the head, the empty line included.
    pub len: usize,
}

/// Finds the end of a head: the offset behind `CRLF CRLF`. `searched` is how many bytes an earlier
/// call has looked at. Leading empty lines must have been cut off (see [`leading_crlf`]).
pub fn head_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3).min(bytes.len());
    memchr::memmem::find(&bytes[from..], b"\r\n\r\n").map(|at| from + at + 4)
}

/// Bytes of the one empty line that may precede a request (RFC 9112 section 2.2).
pub fn leading_crlf(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") { 2 } else { 0 }
}

/// Checks what is there of a head that has not ended yet, so that garbage is refused when it is
/// seen and not when a time-out ends it. `searched` is how many bytes an earlier call has looked at:
/// a head that comes byte by byte is not searched anew with each.
pub fn check_partial(bytes: &[u8], searched: usize) -> Result<(), Refusal> {
    if bytes.len() > HEAD_BYTES_MAX {
        return Err(head_too_large("the request head is larger than 64 KiB"));
    }
    // The last byte that was seen may be a CR, of which only now is to be told whether it stands
    // alone; an LF there has been judged with the CR before it.
    let last = searched.saturating_sub(1);
    let from = last + usize::from(bytes.get(last) == Some(&b'\n'));
    match bytes.first() {
        Some(byte) if !byte.is_ascii_alphabetic() && *byte != b'\r' => {
            Err(bad("the request line does not begin with a method"))
        }
        _ if has_bare_line_end(bytes.get(from..).unwrap_or_default()) => {
            Err(bad("bare CR or LF in the request head"))
        }
        _ => Ok(()),
    }
}

/// Reads a whole request head: `bytes` ends with its empty line.
pub fn request<'b>(bytes: &'b [u8]) -> Result<RequestHead<'b>, Refusal> {
    if bytes.len() > HEAD_BYTES_MAX {
        return Err(head_too_large("the request head is larger than 64 KiB"));
    }
    if has_bare_line_end(bytes) {
        return Err(bad("bare CR or LF in the request head"));
    }
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let (method, target, version_minor) = request_line(line)?;
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the request head is not complete")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(head_too_large("more than 128 header fields"));
        }
        Err(error) => return Err(bad_owned(format!("malformed request head: {error}"))),
    }

    let mut facts = FieldFacts::default();
    let mut expects_continue = false;
    let mut credential: Option<&'b str> = None;
    let mut has_google_key = false;
    let (mut strategy, mut request_id, mut anthropic_version) = (None, None, None);
    let mut agent = None;
    let mut forwarded = ArrayVec::new();
    let path = path_of(target)?;
    let forwards = path.ends_with("/messages") || path.ends_with("/messages/count_tokens");
    let mut hosts = 0;
    for field in parsed.headers.iter() {
        let (name, value) = checked_field(field.name, field.value)?;
        if facts.take(name, value)? {
            continue;
        }
        if is(name, "host") {
            hosts += 1;
            if !is_authority(value) {
                return Err(bad("the Host field is not a valid authority"));
            }
        } else if is(name, "authorization") || KEY_FIELDS.iter().any(|known| is(name, known)) {
            let value = visible(value).ok_or_else(|| bad("the credential is not printable"))?;
            has_google_key |= is(name, "x-goog-api-key");
            let token = if is(name, "authorization") { bearer(value) } else { Some(value) };
            let Some(token) = token else {
                return Err(Refusal::new(Kind::BadCredential)
                    .with_message("the Authorization field must be \"Bearer <key>\""));
            };
            match credential {
                // Some SDKs send the same key in both fields.
                Some(earlier) if earlier != token => {
                    return Err(bad("more than one credential was sent; send exactly one"));
                }
                _ => credential = Some(token),
            }
        } else if is(name, "expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::new(Kind::ExpectationFailed));
            }
            expects_continue = version_minor == 1;
        } else if is(name, "content-encoding") {
            if !value.eq_ignore_ascii_case(b"identity") {
                return Err(Refusal::new(Kind::UnsupportedEncoding));
            }
        } else if is(name, "x-pointsman-strategy") {
            strategy = visible(value);
        } else if is(name, "x-openai-subagent") {
            agent = visible(value);
        } else if is(name, "x-request-id") {
            request_id = visible(value).filter(|id| is_request_id(id));
        } else if is(name, "anthropic-version") {
            anthropic_version = visible(value);
        } else if forwards && is_forwarded(name) {
            // What does not fit says nothing that a provider must know.
            let _ = visible(value).map(|value| forwarded.try_push((name, value)));
        }
    }
    if hosts > 1 || (hosts == 0 && version_minor == 1) {
        return Err(bad("exactly one Host field is needed"));
    }
    let framing = facts.request_framing(version_minor)?;
    Ok(RequestHead {
        method,
        path,
        query: target.split_once('?').map_or("", |(_, query)| query),
        framing,
        keep_alive: facts.keep_alive(version_minor),
        takes_chunks: version_minor == 1,
        expects_continue: expects_continue && framing != Framing::None,
        credential,
        strategy,
        agent,
        request_id,
        has_google_key,
        anthropic_version,
        forwarded,
        len: bytes.len(),
    })
}

/// Fields that hold nothing but a key: Anthropic's and Google's.
const KEY_FIELDS: [&str; 2] = ["x-api-key", "x-goog-api-key"];

/// The value of a parameter in a query, as it stands there.
pub fn query_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
    parameters.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Names, or with a `*` beginnings of names, of fields that a provider of Anthropic's dialect gets as
/// the client sent them: which features it wants, and what it is.
const FORWARDED: [&str; 4] = ["anthropic-beta", "user-agent", "x-app", "x-stainless-*"];

fn is_forwarded(name: &str) -> bool {
    FORWARDED.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => {
            name.get(..start.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(start))
        }
        None => is(name, known),
    })
}

/// Why a provider's response head cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadResponse(pub &'static str);

/// Reads a whole response head to a POST or GET: `bytes` ends with its empty line.
pub fn response(bytes: &[u8]) -> Result<ResponseHead, BadResponse> {
    if bytes.len() > HEAD_BYTES_MAX {
        return Err(BadResponse("head larger than 64 KiB"));
    }
    if has_bare_line_end(bytes) {
        return Err(BadResponse("bare CR or LF in the head"));
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err(BadResponse("malformed head")),
    }
    let status = parsed.code.unwrap_or(0);
    let minor = parsed.version.unwrap_or(1);
    if !(100..=599).contains(&status) {
        return Err(BadResponse("status out of range"));
    }
    let mut facts = FieldFacts::default();
    let (mut is_event_stream, mut is_encoded, mut retry_after_s) = (false, false, None);
    let mut limits = RateLimits::default();
    for field in parsed.headers.iter() {
        let (name, value) =
            checked_field(field.name, field.value).map_err(|_| BadResponse("malformed field"))?;
        if facts.take(name, value).map_err(|_| BadResponse("ambiguous framing"))? {
            continue;
        }
        if is(name, "content-type") {
            const SSE: &[u8] = b"text/event-stream";
            is_event_stream = value.get(..SSE.len()).is_some_and(|v| v.eq_ignore_ascii_case(SSE));
        } else if is(name, "content-encoding") {
            is_encoded = !value.eq_ignore_ascii_case(b"identity");
        } else if is(name, "retry-after") {
            retry_after_s = visible(value).and_then(|text| text.parse().ok());
        } else if RateLimits::knows(name)
            && let Some(value) = visible(value)
        {
            limits.take(name, value);
        }
    }
    let framing = if status < 200 || status == 204 || status == 304 {
        Framing::None
    } else {
        match (facts.chunked, facts.length) {
            (true, Some(_)) => {
                return Err(BadResponse("both Content-Length and Transfer-Encoding"));
            }
            (true, None) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        }
    };
    Ok(ResponseHead {
        status,
        framing,
        keep_alive: facts.keep_alive(minor) && framing != Framing::UntilClose,
        is_event_stream,
        is_encoded,
        retry_after_s,
        limits,
        len: bytes.len(),
    })
}

/// What both directions read from field lines: framing and connection handling.
#[derive(Default)]
struct FieldFacts {
    length: Option<u64>,
    chunked: bool,
    /// A transfer coding other than chunked.
    unknown_coding: bool,
    close: bool,
    keep_alive: bool,
}

impl FieldFacts {
    /// Takes a field that concerns framing; tells whether it was one.
    fn take(&mut self, name: &str, value: &[u8]) -> Result<bool, Refusal> {
        // Most names are told apart by their length alone.
        match name.len() {
            10 if is(name, "connection") => {
                for option in value.split(|&byte| byte == b',') {
                    let option = option.trim_ascii();
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is(name, "content-length") => {
                let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                match length {
                    Some(length) if digits && self.length.is_none() => self.length = Some(length),
                    _ => return Err(bad("Content-Length must be one decimal number")),
                }
            }
            17 if is(name, "transfer-encoding") => {
                if self.chunked || self.unknown_coding {
                    return Err(bad("Transfer-Encoding must stand once"));
                }
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
                self.unknown_coding = !self.chunked;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn request_framing(&self, version_minor: u8) -> Result<Framing, Refusal> {
        if self.unknown_coding {
            return Err(Refusal::new(Kind::UnknownTransferCoding));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(bad("both Content-Length and Transfer-Encoding were sent")),
            (true, None) if version_minor == 0 => {
                Err(bad("Transfer-Encoding is not part of HTTP/1.0"))
            }
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0)) | (false, None) => Ok(Framing::None),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }

    fn keep_alive(&self, version_minor: u8) -> bool {
        !self.close && !self.unknown_coding && (version_minor == 1 || self.keep_alive)
    }
}

fn request_line(line: &[u8]) -> Result<(Method, &str, u8), Refusal> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("the request line must be: method, target, HTTP/1.1"));
    };
    let version_minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        _ if version.starts_with(b"HTTP/") => return Err(Refusal::new(Kind::VersionNotSupported)),
        _ => return Err(bad("the request line must end with HTTP/1.1")),
    };
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refusal::new(Kind::TargetTooLong));
    }
    let method = match method {
        b"GET" => Method::Get,
        b"POST" => Method::Post,
        b"HEAD" => Method::Head,
        b"PUT" | b"DELETE" | b"PATCH" | b"OPTIONS" | b"CONNECT" | b"TRACE" => Method::Other,
        [] => return Err(bad("the request line begins with a blank")),
        _ if method.iter().all(|&byte| is_token_byte(byte)) => {
            return Err(Refusal::new(Kind::UnknownMethod));
        }
        _ => return Err(bad("the method is not a token")),
    };
    let target = visible(target)
        .filter(|target| !target.is_empty() && !target.contains(['#', '\\', '"', '<', '>']))
        .ok_or_else(|| bad("the request target has characters that must be percent-encoded"))?;
    Ok((method, target, version_minor))
}

/// The path of a target in origin or absolute form. What host an absolute form names is of no
/// concern here: nothing is fetched from it and no right follows from it.
fn path_of(target: &str) -> Result<&str, Refusal> {
    let path = match target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) {
        Some(rest) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
        None => target,
    };
    let path = path.split('?').next().unwrap_or_default();
    match path.as_bytes().first() {
        Some(b'/') => Ok(path),
        // `http://host?query` has an empty path, which means the root.
        None => Ok("/"),
        _ => Err(bad("the request target must be a path or an absolute URI")),
    }
}

fn checked_field<'b>(name: &'b str, value: &'b [u8]) -> Result<(&'b str, &'b [u8]), Refusal> {
    if name.len() + value.len() > FIELD_BYTES_MAX {
        return Err(head_too_large("a header field is larger than 16 KiB"));
    }
    if value.iter().any(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
        return Err(bad("control character in a header field"));
    }
    Ok((name, value))
}

/// Whether a CR or LF stands without its partner. Every line end of a head is `CRLF`; `httparse`
/// also takes a lone LF.
fn has_bare_line_end(bytes: &[u8]) -> bool {
    memchr::memchr2_iter(b'\r', b'\n', bytes).any(|at| match bytes[at] {
        b'\r' => bytes.get(at + 1).is_some_and(|&next| next != b'\n'),
        _ => at == 0 || bytes[at - 1] != b'\r',
    })
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let valid = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
    (valid && !token.contains([' ', ','])).then_some(token)
}

/// A field value as text when it is printable ASCII.
fn visible(value: &[u8]) -> Option<&str> {
    let printable = value.iter().all(|&byte| (0x20..0x7f).contains(&byte));
    if printable { std::str::from_utf8(value).ok() } else { None }
}

fn is_request_id(id: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !id.is_empty() && id.len() <= 128 && id.bytes().all(harmless)
}

/// `host`, `host:port` or `[v6]:port` (RFC 3986 section 3.2, without user information).
fn is_authority(value: &[u8]) -> bool {
    let Some(text) = visible(value) else { return false };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address, port),
            None => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let host_ok = !host.is_empty()
        && host.bytes().all(|byte| {
            byte.is_ascii_alphanumeric()
                || b"-._~!$&'()*+,;=%".contains(&byte)
                || (text.starts_with('[') && byte == b':')
        });
    let port_ok = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            digits.is_empty() || (digits.parse::<u16>().is_ok() && !digits.starts_with('+'))
        });
    host_ok && port_ok
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is(name: &str, known: &str) -> bool {
    name.eq_ignore_ascii_case(known)
}

#[cold]
fn bad(message: &'static str) -> Refusal {
    Refusal::new(Kind::BadHttp).with_message(message)
}

#[cold]
fn bad_owned(message: String) -> Refusal {
    Refusal::new(Kind::BadHttp).with_message(message)
}

#[cold]
fn head_too_large(message: &'static str) -> Refusal {
    Refusal::new(Kind::HeadTooLarge).with_message(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &str) -> Vec<u8> {
        format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).into_bytes()
    }

    fn status_of(bytes: &[u8]) -> u16 {
        match request(bytes) {
            Ok(_) => 200,
            Err(refusal) => refusal.kind.status(),
        }
    }

    /// One row per rule: a request head, and the status that it gets.
    #[test]
    fn a_head_is_judged_the_same_however_it_is_cut() {
        let rows = [
            ("GET / HTTP/1.1\r\nA: b\r\n", true),
            ("GET / HTTP/1.1\r\nA: b\nC", false),
            ("GET /\rX", false),
        ];
        for (head, is_good) in rows {
            for cut in 0..head.len() {
                let seen = check_partial(&head.as_bytes()[..cut], 0);
                let all = seen.and_then(|()| check_partial(head.as_bytes(), cut));
                assert_eq!(all.is_ok(), is_good, "{head:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn heads_are_read_strictly() {
        let long_field = format!("GET / HTTP/1.1\nHost: h\nX: {}", "a".repeat(FIELD_BYTES_MAX));
        let long_target = format!("GET /{} HTTP/1.1\nHost: h", "a".repeat(TARGET_BYTES_MAX));
        let many = format!("GET / HTTP/1.1\nHost: h{}", "\nX: 1".repeat(FIELDS_MAX));
        let rows: &[(u16, &str)] = &[
            (200, "GET / HTTP/1.1\nHost: h"),
            (200, "GET / HTTP/1.1\nhost: h:80\nX:1\nY:\t2 "),
            (200, "GET / HTTP/1.0"),
            (200, "GET http://other/v1/models?key=1 HTTP/1.1\nHost: h"),
            (200, "GET / HTTP/1.1\nHost: [::1]:8080"),
            (200, "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: Chunked"),
            (200, "GET / HTTP/1.1\nHost: h\nUpgrade: h2c\nConnection: Upgrade"),
            (200, "POST / HTTP/1.1\nHost: h\nContent-Length: 5\nExpect: 100-Continue"),
            (400, "GET  / HTTP/1.1\nHost: h"),
            (400, "GET / HTTP/1.1 \nHost: h"),
            (400, " GET / HTTP/1.1\nHost: h"),
            (400, "GET /\nHost: h"),
            (505, "GET / HTTP/2.0\nHost: h"),
            (505, "GET / HTTP/1.2\nHost: h"),
            (400, "GET / http/1.1\nHost: h"),
            (501, "get / HTTP/1.1\nHost: h"),
            (501, "FETCH / HTTP/1.1\nHost: h"),
            (400, "G(T / HTTP/1.1\nHost: h"),
            (200, "TRACE / HTTP/1.1\nHost: h"),
            (400, "GET /#a HTTP/1.1\nHost: h"),
            (400, "GET /a\\b HTTP/1.1\nHost: h"),
            (400, "GET * HTTP/1.1\nHost: h"),
            (400, "GET v1/models HTTP/1.1\nHost: h"),
            (414, &long_target),
            (400, "GET / HTTP/1.1"),
            (400, "GET / HTTP/1.1\nHost: h\nHost: h"),
            (400, "GET / HTTP/1.1\nHost: a b"),
            (400, "GET / HTTP/1.1\nHost: user@h"),
            (400, "GET / HTTP/1.1\nHost: h:99999"),
            (400, "GET / HTTP/1.1\nHost: h\nX : 1"),
            (400, "GET / HTTP/1.1\nHost: h\n: 1"),
            (400, "GET / HTTP/1.1\nHost: h\nX: 1\n folded"),
            (400, "GET / HTTP/1.1\nHost: h\nX: a\u{0}b"),
            (400, "GET / HTTP/1.1\nHost: h\nX: a\u{1}b"),
            (400, "GET / HTTP/1.1\nHost: h\nN\u{e4}me: 1"),
            (431, &long_field),
            (431, &many),
            (400, "POST / HTTP/1.1\nHost: h\nContent-Length: +5"),
            (400, "POST / HTTP/1.1\nHost: h\nContent-Length: 5, 5"),
            (400, "POST / HTTP/1.1\nHost: h\nContent-Length: 5\nContent-Length: 5"),
            (400, "POST / HTTP/1.1\nHost: h\nContent-Length: 0x5"),
            (400, "POST / HTTP/1.1\nHost: h\nContent-Length: 5 5"),
            (400, "POST / HTTP/1.1\nHost: h\nContent-Length:"),
            (400, "POST / HTTP/1.1\nHost: h\nContent-Length: 99999999999999999999"),
            (400, "POST / HTTP/1.1\nHost: h\nContent-Length: 5\nTransfer-Encoding: chunked"),
            (
                400,
                "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked",
            ),
            (501, "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: gzip, chunked"),
            (501, "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: xchunked"),
            (400, "POST / HTTP/1.0\nTransfer-Encoding: chunked"),
            (417, "POST / HTTP/1.1\nHost: h\nExpect: 200-ok"),
            (415, "POST / HTTP/1.1\nHost: h\nContent-Encoding: gzip"),
            (200, "GET / HTTP/1.1\nHost: h\nAuthorization: bearer k"),
            (401, "GET / HTTP/1.1\nHost: h\nAuthorization: Basic k"),
            (401, "GET / HTTP/1.1\nHost: h\nAuthorization: Bearer a,b"),
            (200, "GET / HTTP/1.1\nHost: h\nAuthorization: Bearer k\nx-api-key: k"),
            (400, "GET / HTTP/1.1\nHost: h\nAuthorization: Bearer k\nx-api-key: l"),
            (400, "GET / HTTP/1.1\nHost: h\nAuthorization: Bearer k\nAuthorization: Bearer l"),
        ];
        for (status, lines) in rows {
            let shown = &lines[..lines.len().min(90)];
            assert_eq!(status_of(&head(lines)), *status, "{shown:?}");
        }
        assert_eq!(status_of(b"GET / HTTP/1.1\nHost: h\r\n\r\n"), 400, "bare LF");
        assert_eq!(status_of(b"GET / HTTP/1.1\r\nHost: h\rX: 1\r\n\r\n"), 400, "bare CR");
        assert_eq!(
            status_of(&head(&format!("GET / HTTP/1.1\nHost: h{}", "\nX: 1".repeat(20_000)))),
            431
        );
    }

    #[test]
    fn facts_are_what_was_sent() {
        let bytes = head(
            "POST /v1/chat/completions?beta=true HTTP/1.1\nHost: h\nAuthorization: Bearer pm-1\n\
             Content-Length: 12\nConnection: close, x\nX-Request-Id: abc-1\nx_api_key: twin",
        );
        let head = request(&bytes).unwrap();
        assert_eq!(head.path, "/v1/chat/completions");
        assert_eq!(head.framing, Framing::Length(12));
        assert!(!head.keep_alive);
        assert_eq!(head.credential, Some("pm-1"));
        assert_eq!(head.request_id, Some("abc-1"));
        assert_eq!(head.len, bytes.len());
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_reads_cut_it() {
        let bytes = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nbody";
        for cut in 0..bytes.len() {
            let expected = (cut >= 27).then_some(27);
            assert_eq!(head_end(&bytes[..cut], 0), expected);
            assert_eq!(head_end(bytes, cut.min(26)), Some(27));
        }
    }

    #[test]
    fn response_heads_are_read_strictly() {
        let good = |lines: &str| response(&head(lines)).unwrap();
        let answer = good("HTTP/1.1 200 OK\nContent-Length: 3\nContent-Type: application/json");
        assert_eq!((answer.status, answer.framing), (200, Framing::Length(3)));
        assert!(answer.keep_alive);
        let stream = good(
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: Text/Event-Stream; charset=utf-8",
        );
        assert_eq!((stream.framing, stream.is_event_stream), (Framing::Chunked, true));
        assert_eq!(
            good("HTTP/1.1 429 No\nRetry-After: 7\nContent-Length: 0").retry_after_s,
            Some(7)
        );
        assert_eq!(good("HTTP/1.1 200 OK\nA: 1").framing, Framing::UntilClose);
        assert!(!good("HTTP/1.0 200 OK\nContent-Length: 1").keep_alive);
        assert!(good("HTTP/1.1 200 OK\nContent-Length: 1\nContent-Encoding: gzip").is_encoded);
        for lines in [
            "HTTP/1.1 200 OK\nContent-Length: 3\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 4",
            "HTTP/1.1 999 OK\nContent-Length: 3",
            "HTP/1.1 200 OK\nContent-Length: 3",
            "HTTP/1.1 200 OK\nX: a\u{1}b",
            "HTTP/1.1 200 OK\nX : a",
        ] {
            assert!(response(&head(lines)).is_err(), "{lines:?}");
        }
    }
}

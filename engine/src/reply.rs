//! Response heads towards clients, written by hand into a buffer that is kept.

use std::io::Write;
use wire::limits::RateLimits;
use wire::refusal::{self, Refusal};

/// A response head in the making.
pub struct Head<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Head<'o> {
    /// Begins a response in `out`, which is cleared.
    pub fn begin(out: &'o mut Vec<u8>, status: u16, date: &[u8]) -> Head<'o> {
        out.clear();
        out.extend_from_slice(b"HTTP/1.1 ");
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(refusal::reason(status).as_bytes());
        out.extend_from_slice(b"\r\nDate: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
        Head { out }
    }

    /// Adds a field. `value` must be fit for one: our own text, or checked when it was read.
    pub fn field(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(value.bytes().all(|byte| byte >= 0x20 && byte != 0x7f), "{name}: {value:?}");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a field with a number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        let mut digits = itoa::Buffer::new();
        self.field(name, digits.format(value))
    }

    /// Adds what a provider says of its rate limits.
    pub fn limits(&mut self, limits: &RateLimits) -> &mut Self {
        self.out.extend_from_slice(limits.as_bytes());
        self
    }

    /// Says that the connection ends after this response.
    pub fn close(&mut self, closes: bool) -> &mut Self {
        if closes { self.field("Connection", "close") } else { self }
    }

    /// Ends the head of a response with a body of that length, which has to follow.
    pub fn body_of(&mut self, length: usize) {
        self.number("Content-Length", length as u64);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Ends the head of an event stream.
    pub fn event_stream(&mut self, chunked: bool) {
        self.stream("text/event-stream; charset=utf-8", chunked);
    }

    /// Ends the head of an array that grows.
    pub fn json_stream(&mut self, chunked: bool) {
        self.stream("application/json; charset=utf-8", chunked);
    }

    fn stream(&mut self, kind: &str, chunked: bool) {
        self.field("Content-Type", kind)
            .field("Cache-Control", "no-cache, no-transform")
            .field("X-Accel-Buffering", "no");
        if chunked {
            self.field("Transfer-Encoding", "chunked");
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Writes a whole response with a JSON body.
pub fn json(out: &mut Vec<u8>, date: &[u8], closes: bool, body: &[u8], without_body: bool) {
    let mut head = Head::begin(out, 200, date);
    head.field("Content-Type", "application/json").close(closes).body_of(body.len());
    if !without_body {
        out.extend_from_slice(body);
    }
}

/// Writes a refusal as a whole response. `body` is the dialect's form of it.
pub fn refuse(
    out: &mut Vec<u8>,
    date: &[u8],
    closes: bool,
    request_id: &str,
    refusal: &Refusal,
    allow: Option<&str>,
    body: &[u8],
) {
    let mut head = Head::begin(out, refusal.status, date);
    // Anthropic's SDKs look for the one, OpenAI's for the other.
    head.field("Content-Type", "application/json")
        .field("Request-Id", request_id)
        .field("X-Request-Id", request_id);
    if let Some(seconds) = refusal.retry_after_s {
        head.number("Retry-After", seconds.into());
    }
    head.limits(&refusal.limits);
    if let Some(methods) = allow {
        head.field("Allow", methods);
    }
    if refusal.status == 401 {
        head.field("WWW-Authenticate", "Bearer");
    }
    // We have been through the targets already: the client's SDK would only multiply the attempts.
    if refusal.kind.side() == refusal::Side::Upstream && refusal.retry_after_s.is_none() {
        head.field("X-Should-Retry", "false");
    }
    head.close(closes).body_of(body.len());
    out.extend_from_slice(body);
}

/// A time as RFC 3339 writes it: `2026-11-20T22:15:00Z`.
pub fn rfc3339(unix_s: i64) -> String {
    jiff::Timestamp::from_second(unix_s).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// The current date as HTTP writes it: `Fri, 20 Nov 2026 22:15:00 GMT`.
pub fn http_date(unix_s: i64, out: &mut Vec<u8>) {
    out.clear();
    let time = jiff::Timestamp::from_second(unix_s).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let utc = time.to_zoned(jiff::tz::TimeZone::UTC);
    // Writing to a vector does not fail.
    let _ = write!(out, "{}", utc.strftime("%a, %d %b %Y %H:%M:%S GMT"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        let mut out = Vec::new();
        http_date(784_111_777, &mut out);
        assert_eq!(out, b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(rfc3339(784_111_777), "1994-11-06T08:49:37Z");
    }
}

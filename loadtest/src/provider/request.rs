//! Reads requests from a connection's buffer: head, `Content-Length` and chunked bodies, pipelined
//! or cut anywhere. Keeps what it has seen between calls, so that a body of many reads is looked at
//! once. Never answers.

use crate::buffer::Buffer;
use crate::http::{Dechunker, length, lists};

/// Limits of the fake provider, all far above what a gateway should let through.
const HEADERS_MAX: usize = 128;
const HEAD_BYTES_MAX: usize = 256 << 10;
const BODY_BYTES_MAX: u64 = 256 << 20;

/// Reads one request after the other.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    head: Option<Head>,
    /// The body of a chunked request, unchunked.
    chunked_body: Vec<u8>,
    /// Method and target of the current request; reused.
    pub method: String,
    pub path: String,
}

#[derive(Debug)]
struct Head {
    bytes: usize,
    framing: Framing,
    request: Request,
    /// The client waits for a `100 Continue` that it has not got.
    expects: bool,
}

#[derive(Debug)]
enum Framing {
    Length(usize),
    Chunked { reader: Dechunker, eaten: usize },
}

/// What the server needs to know of a request beside method, path and body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub keep_alive: bool,
    /// The client understands chunked answers.
    pub chunked: bool,
    /// Instructions in the `x-script` field.
    pub script: Option<Vec<u8>>,
}

/// How far the next request is.
#[derive(Debug)]
pub(crate) enum Next {
    /// More bytes are needed; `true`: and a `100 Continue` is due first.
    Partial(bool),
    /// Here it is.
    Ready(Request),
    /// This is no request: the status and the reason.
    Bad(u16, &'static str),
}

impl Reader {
    /// Looks at what is buffered.
    pub(crate) fn next(&mut self, buffer: &mut Buffer) -> Next {
        if self.head.is_none() {
            match self.read_head(buffer) {
                Ok(true) => {}
                Ok(false) => return Next::Partial(false),
                Err((status, why)) => return Next::Bad(status, why),
            }
        }
        let Some(head) = &mut self.head else {
            return Next::Partial(false);
        };
        let complete = match &mut head.framing {
            Framing::Length(length) => {
                let total = head.bytes + *length;
                if buffer.bytes().len() < total {
                    buffer.expect(total);
                    false
                } else {
                    true
                }
            }
            Framing::Chunked { reader, eaten } => {
                let fresh = &buffer.bytes()[head.bytes + *eaten..];
                let body = &mut self.chunked_body;
                match reader.feed(fresh, |data| body.extend_from_slice(data)) {
                    Ok(count) => *eaten += count,
                    Err(_) => return Next::Bad(400, "bad chunk framing"),
                }
                if body.len() as u64 > BODY_BYTES_MAX {
                    return Next::Bad(413, "body too large");
                }
                reader.is_done()
            }
        };
        if complete {
            return Next::Ready(head.request.clone());
        }
        Next::Partial(std::mem::take(&mut head.expects))
    }

    /// Head and body of the request that [`Reader::next`] found ready.
    pub(crate) fn parts<'b>(&'b self, buffer: &'b Buffer) -> (&'b [u8], &'b [u8]) {
        let Some(head) = &self.head else {
            return (&[], &[]);
        };
        let bytes = buffer.bytes();
        let body = match &head.framing {
            Framing::Length(length) => &bytes[head.bytes..head.bytes + length],
            Framing::Chunked { .. } => &self.chunked_body,
        };
        (&bytes[..head.bytes], body)
    }

    /// Forgets the current request and its bytes.
    pub(crate) fn finish(&mut self, buffer: &mut Buffer) {
        if let Some(head) = self.head.take() {
            let body = match head.framing {
                Framing::Length(length) => length,
                Framing::Chunked { eaten, .. } => eaten,
            };
            buffer.eat(head.bytes + body);
        }
        self.chunked_body.clear();
    }

    fn read_head(&mut self, buffer: &Buffer) -> Result<bool, (u16, &'static str)> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut fields);
        let bytes = match parsed.parse(buffer.bytes()) {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) if buffer.bytes().len() > HEAD_BYTES_MAX => {
                return Err((431, "head too large"));
            }
            Ok(httparse::Status::Partial) => return Ok(false),
            Err(_) => return Err((400, "the request head is no HTTP/1.1")),
        };
        let is_new = parsed.version == Some(1);
        let mut request = Request { keep_alive: is_new, chunked: is_new, script: None };
        let mut framing = Framing::Length(0);
        let mut expects = false;
        for field in parsed.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                let value = length(field.value).ok_or((400, "bad Content-Length"))?;
                if value > BODY_BYTES_MAX {
                    return Err((413, "body too large"));
                }
                framing = Framing::Length(value as usize);
            } else if is("transfer-encoding") {
                let reader = Dechunker::default();
                framing = Framing::Chunked { reader, eaten: 0 };
            } else if is("connection") {
                if lists(field.value, "close") {
                    request.keep_alive = false;
                } else if lists(field.value, "keep-alive") {
                    request.keep_alive = true;
                }
            } else if is("expect") {
                expects = lists(field.value, "100-continue");
            } else if is("x-script") {
                request.script = Some(field.value.to_vec());
            }
        }
        self.method.clear();
        self.method.push_str(parsed.method.unwrap_or_default());
        self.path.clear();
        self.path.push_str(parsed.path.unwrap_or_default());
        self.head = Some(Head { bytes, framing, request, expects });
        Ok(true)
    }
}

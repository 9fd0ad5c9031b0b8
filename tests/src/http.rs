//! A client of HTTP/1.1 that says exactly what it is told and reads exactly what comes: for
//! questions that no library would ask.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A bound against hanging, not a measure.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Read and not yet used.
    buffer: Vec<u8>,
}

/// One response.
#[derive(Clone)]
pub struct Answer {
    /// 100 to 599.
    pub status: u16,
    /// Names in lower case, values trimmed, in order.
    pub fields: Vec<(String, String)>,
    /// Without chunk framing.
    pub body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 2000;
        let shown: String = self.text().chars().take(SHOWN_MAX).collect();
        write!(f, "{} {:?}\n{shown}", self.status, self.fields)
    }
}

/// A request for an answer in a conversation, word for word.
pub fn chat(key: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Answer {
    /// The value of a field, by its lower-case name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out can be set");
        stream.set_nodelay(true).expect("delays can be turned off");
        Connection { stream, buffer: Vec::new() }
    }

    /// Sends bytes. A peer that has refused already may have closed; what it said is still read.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(closed.contains(&error.kind()), "sending failed: {error}");
        }
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        // Whoever has closed already knows.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Reads one response that has a body where its head says so.
    ///
    /// # Panics
    /// When none comes, or none that is well formed.
    pub fn answer(&mut self) -> Answer {
        let answer = self.head();
        self.with_body(answer)
    }

    /// Reads one response to a `HEAD`, or an informational one: they have no body.
    ///
    /// # Panics
    /// When none comes, or none that is well formed.
    pub fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(), "closed within a head: {:?}", lossy(&self.buffer));
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).expect("heads are ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {first:?}"));
        let fields = lines.map(|line| {
            let (name, value) =
                line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Answer { status, fields: fields.collect(), body: Vec::new() }
    }

    /// Reads the body behind a head.
    pub fn with_body(&mut self, mut answer: Answer) -> Answer {
        match (answer.field("content-length"), answer.field("transfer-encoding")) {
            (Some(length), None) => {
                let length = length.parse().expect("Content-Length is a number");
                answer.body = self.exactly(length);
            }
            (None, Some("chunked")) => loop {
                let size = self.line();
                let size = usize::from_str_radix(&size, 16).expect("a chunk size");
                answer.body.extend(self.exactly(size));
                assert_eq!(self.line(), "", "CRLF after a chunk");
                if size == 0 {
                    break;
                }
            },
            (None, None) if answer.field("connection") == Some("close") => {
                while self.fill() {}
                answer.body = std::mem::take(&mut self.buffer);
            }
            framing => panic!("ambiguous framing {framing:?}: {answer:?}"),
        }
        answer
    }

    /// Reads to the end of the connection: true when it comes in order and nothing stands before it.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill()
    }

    fn line(&mut self) -> String {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                break at;
            }
            assert!(self.fill(), "closed within a line");
        };
        let line = self.buffer.drain(..end + 2).take(end).collect();
        String::from_utf8(line).expect("framing is ASCII")
    }

    fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill(), "closed after {} of {count} bytes", self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads what there is; false at the end of the connection. A reset is no end: it takes away
    /// what was sent before it.
    fn fill(&mut self) -> bool {
        let mut piece = [0; 16 << 10];
        let count = self.stream.read(&mut piece).unwrap_or_else(|error| {
            panic!("reading failed: {error}; before it came {:?}", lossy(&self.buffer))
        });
        self.buffer.extend_from_slice(&piece[..count]);
        count > 0
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

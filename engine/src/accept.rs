//! The first stage: from a connection to a request that is whole, bounded, and from somebody known.

use crate::body::{BodyError, BodyReader};
use crate::config::Timeouts;
use crate::core::Core;
use crate::rt;
use crate::watch::{Ended, Watch};
use arrayvec::ArrayString;
use govern::{KeyRecord, KeyRefusal};
use models::Dialect;
use route::Strategy;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::endpoint::{self, Endpoint};
use wire::http1::{self, Framing, Method};
use wire::refusal::{Kind, Refusal};

/// Room for a request head and a small body; most requests are read at once.
const READ_ROOM: usize = 8 * 1024;
/// A larger buffer is given back between two requests.
const KEEP_BYTES: usize = 256 * 1024;
/// Least speed of a body after [`SLOW_AFTER`], in bytes a second.
const BODY_RATE_MIN: u64 = 1024;
/// For how long a body may be slower.
const SLOW_AFTER: Duration = Duration::from_secs(10);
/// Unread body that is read and dropped to keep a connection.
const DRAIN_BYTES_MAX: u64 = 256 * 1024;
/// For how long a connection that ends with unread bytes is read on, so that the client gets to
/// read its response before a reset takes it away.
const LINGER: Duration = Duration::from_secs(1);

/// A client's connection and its buffers.
pub struct Client {
    /// The socket.
    pub stream: rt::Stream,
    /// Its deadlines.
    pub watch: Watch,
    /// What was read: the current request, then what follows it.
    pub incoming: Vec<u8>,
    /// What is being written.
    pub outgoing: Vec<u8>,
    /// Whether the connection must end after the current response.
    pub must_close: bool,
    /// Whether a byte of the current response has been handed to the socket.
    pub has_answered: bool,
    /// Whether the current request is a `HEAD`: its response has no body, a refusal's no more than
    /// another's, or the client would read the body as its next response.
    pub head_only: bool,
    /// In which dialect the current request is answered, also when it is refused.
    pub dialect: Dialect,
    /// Bytes at the front of `incoming` that belong to the current request.
    request_len: usize,
    /// The body of the current request as far as nobody has read it.
    unread: Unread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    Nothing,
    Bytes(u64),
    /// Nobody knows how much, or whether it comes at all.
    Unknown,
}

/// Longest name of an agent that is kept: known ones are words.
pub const AGENT_BYTES_MAX: usize = 32;

/// A request that has arrived.
pub struct Arrived {
    /// What it wants.
    pub wants: Wants,
    /// Who sent it; `None` only on paths that are open to all.
    pub key: Option<Arc<KeyRecord>>,
    /// The strategy that the head asks for.
    pub strategy: Option<Strategy>,
    /// Which agent of the client's own asks, by its word; a longer one is cut off.
    pub agent: Option<ArrayString<AGENT_BYTES_MAX>>,
    /// The client's own id of the request.
    pub request_id: Option<ArrayString<128>>,
    /// Fields of its head that go along to a provider of the same dialect, each with its line end.
    /// Mostly none.
    pub forwarded: Vec<u8>,
    /// Whether the client understands chunks.
    pub takes_chunks: bool,
    /// What its path says of a conversation, in dialects that say it there.
    pub by_path: Option<ByPath>,
    /// Where in [`Client::incoming`] the body stands.
    pub body: Range<usize>,
    /// When its head was there.
    pub at: Instant,
}

/// What a path says of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByPath {
    /// The model that the client names, or an alias.
    pub model: String,
    /// Whether the answer is streamed.
    pub streams: bool,
    /// Whether the pieces of a stream are the elements of an array instead of events.
    pub as_array: bool,
}

/// What a request wants, by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// An answer in a conversation.
    Chat(Dialect),
    /// The decision without the answer.
    Route,
    /// How long a conversation is, in tokens.
    CountTokens(Dialect),
    /// The list of models, in the form of that dialect.
    Models(Dialect),
    /// One model, in the form of that dialect.
    Model(Dialect, String),
    /// Whether anybody is there.
    Root,
    /// Whether the process lives.
    Health,
    /// Whether it takes requests.
    Ready,
}

/// Why a stage does not hand over to the next.
#[derive(Debug)]
pub enum Stop {
    /// The client is told no.
    Refused(Refusal),
    /// There is nobody to tell.
    Gone,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl Client {
    /// A connection that has just been accepted.
    pub fn new(stream: rt::Stream, watch: Watch) -> Client {
        Client {
            stream,
            watch,
            incoming: Vec::with_capacity(READ_ROOM),
            outgoing: Vec::with_capacity(READ_ROOM),
            must_close: false,
            has_answered: false,
            head_only: false,
            dialect: Dialect::OpenAiChat,
            request_len: 0,
            unread: Unread::Nothing,
        }
    }

    /// Writes what stands in `outgoing` from `start` on.
    pub async fn send(&mut self, start: usize, limit: Duration) -> Result<(), Stop> {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let range = start..outgoing.len();
        let sent = self.send_from(&mut outgoing, range, limit).await;
        self.outgoing = outgoing;
        sent
    }

    /// Writes the bytes of `range` of `buffer`; `limit` is for each piece of [`rt::WRITE_PIECE`].
    pub async fn send_from(
        &mut self,
        buffer: &mut Vec<u8>,
        range: Range<usize>,
        limit: Duration,
    ) -> Result<(), Stop> {
        self.has_answered = true;
        let socket = self.stream.as_raw_fd();
        let mut from = range.start;
        while from < range.end {
            let to = range.end.min(from + rt::WRITE_PIECE);
            let writing = self.stream.write_all(buffer, from..to);
            match self.watch.guard(socket, limit, writing).await {
                Ok(Ok(())) => from = to,
                _ => return Err(Stop::Gone),
            }
        }
        Ok(())
    }

    /// Decides, before a head is written that may have to say so, whether the connection ends after
    /// it: body that nobody reads is dropped up to a limit and when its length is known.
    pub fn settle_close(&mut self) {
        self.must_close |= match self.unread {
            Unread::Nothing => false,
            Unread::Bytes(bytes) => bytes > DRAIN_BYTES_MAX,
            Unread::Unknown => true,
        };
    }

    /// Makes ready for the next request. False when the connection has to end.
    pub async fn finish_request(&mut self) -> bool {
        if self.must_close {
            return false;
        }
        let reusable = match self.unread {
            Unread::Nothing => true,
            Unread::Bytes(bytes) => bytes <= DRAIN_BYTES_MAX && self.drop_unread(bytes).await,
            Unread::Unknown => false,
        };
        if !reusable {
            return false;
        }
        self.incoming.drain(..self.request_len.min(self.incoming.len()));
        self.request_len = 0;
        self.unread = Unread::Nothing;
        self.has_answered = false;
        for buffer in [&mut self.incoming, &mut self.outgoing] {
            if buffer.capacity() > KEEP_BYTES && buffer.len() <= READ_ROOM {
                buffer.shrink_to(READ_ROOM);
            }
        }
        true
    }

    /// Ends the connection in order: our side first, then whatever the client still sends is read
    /// for a while. Closing with unread bytes would make the kernel send a reset, which can overtake
    /// the response.
    pub async fn linger(&mut self) {
        let socket = self.stream.as_raw_fd();
        rt::end_writing(socket);
        let until = Instant::now() + LINGER;
        let mut dropped = 0;
        while dropped < DRAIN_BYTES_MAX {
            let left = until.saturating_duration_since(Instant::now());
            self.incoming.clear();
            let reading = self.stream.read(&mut self.incoming, READ_ROOM);
            match self.watch.guard(socket, left, reading).await {
                Ok(Ok(count @ 1..)) if !left.is_zero() => dropped += count as u64,
                _ => return,
            }
        }
    }

    async fn drop_unread(&mut self, bytes: u64) -> bool {
        let socket = self.stream.as_raw_fd();
        let mut left = bytes;
        let after_head = (self.incoming.len() - self.request_len) as u64;
        if after_head >= left {
            self.request_len += left as usize;
            return true;
        }
        left -= after_head;
        let until = Instant::now() + LINGER;
        while left > 0 {
            let time = until.saturating_duration_since(Instant::now());
            if time.is_zero() {
                return false;
            }
            self.incoming.clear();
            self.request_len = 0;
            let reading = self.stream.read(&mut self.incoming, READ_ROOM);
            match self.watch.guard(socket, time, reading).await {
                Ok(Ok(count @ 1..)) => {
                    self.request_len = (count as u64).min(left) as usize;
                    left -= self.request_len as u64;
                }
                _ => return false,
            }
        }
        true
    }

    async fn read(&mut self, room: usize, limit: Duration) -> Result<usize, Ended> {
        let socket = self.stream.as_raw_fd();
        let reading = self.stream.read(&mut self.incoming, room);
        // An error of the socket is the client's end as well.
        self.watch.guard_reading(socket, limit, reading).await.map(|result| result.unwrap_or(0))
    }
}

/// Reads one request: head, rights, body, in this order, so that nobody unknown can make us wait for
/// a body or hold one.
pub async fn accept(core: &Core, client: &mut Client) -> Result<Arrived, Stop> {
    let timeouts = core.routing().snapshot.timeouts.clone();
    // Until a head was understood, nothing behind it can be trusted to be a request.
    client.must_close = true;
    client.head_only = false;
    client.dialect = Dialect::OpenAiChat;
    let head_len = read_head(client, &timeouts).await?;
    client.watch.begin_request(Timeouts::of(timeouts.total_ms));
    client.request_len = head_len;
    let (mut arrived, framing, expects_continue) = {
        let head = http1::request(&client.incoming[..head_len])?;
        client.head_only = head.method == Method::Head;
        client.dialect = dialect_of(&head);
        client.must_close = !head.keep_alive || core.shared.phase.is_leaving();
        client.unread = match head.framing {
            // A client that waits for our word may send the body or not once it is refused.
            _ if head.expects_continue => Unread::Unknown,
            Framing::Length(length) => Unread::Bytes(length),
            Framing::Chunked | Framing::UntilClose => Unread::Unknown,
            Framing::None => Unread::Nothing,
        };
        (admitted(core, &head)?, head.framing, head.expects_continue)
    };
    if !matches!(arrived.wants, Wants::Chat(_) | Wants::CountTokens(_) | Wants::Route) {
        return Ok(arrived);
    }

    let bytes_max = core.routing().snapshot.limits.body_bytes;
    let mut body = BodyReader::new(framing, head_len, bytes_max)
        .map_err(|error| body_refusal(error, bytes_max))?;
    if expects_continue && client.incoming.len() == head_len {
        client.outgoing.clear();
        client.outgoing.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        client.send(0, Timeouts::of(timeouts.write_ms)).await?;
        client.has_answered = false;
    }
    read_body(client, &mut body, &timeouts, bytes_max).await?;
    arrived.body = body.range();
    client.request_len = arrived.body.end;
    client.unread = Unread::Nothing;
    Ok(arrived)
}

/// Checks path, method and key: what decides whether anything more is read.
fn admitted(core: &Core, head: &http1::RequestHead<'_>) -> Result<Arrived, Refusal> {
    let endpoint = Endpoint::of(head.path);
    // A path that does not exist is told from one that does only to those who may know.
    let key = match endpoint {
        Some(endpoint) if !endpoint.is_protected() => None,
        _ => Some(key_of(core, credential_of(head))?),
    };
    let Some(endpoint) = endpoint else { return Err(Refusal::new(Kind::NotFound)) };
    if !endpoint.takes(head.method) {
        let allow = endpoint.allow();
        return Err(Refusal::new(Kind::MethodNotAllowed)
            .with_message(format!("This path answers {allow} only."))
            .with_param(allow));
    }
    let strategy = match head.strategy {
        None => None,
        Some(name) => Some(Strategy::from_name(name).ok_or_else(|| {
            Refusal::new(Kind::BadField)
                .with_message(format!(
                    "unknown strategy \"{}\"; one of {} would do",
                    wire::refusal::shown(name),
                    Strategy::ALL.map(Strategy::name).join(", ")
                ))
                .with_param("x-pointsman-strategy")
        })?),
    };
    Ok(Arrived {
        wants: match endpoint {
            Endpoint::Chat(dialect) | Endpoint::ChatByPath(dialect, _) => Wants::Chat(dialect),
            Endpoint::CountTokens(dialect) => Wants::CountTokens(dialect),
            Endpoint::Root => Wants::Root,
            Endpoint::Route => Wants::Route,
            Endpoint::Models => Wants::Models(dialect_of(head)),
            Endpoint::Model(name) => Wants::Model(dialect_of(head), name.to_owned()),
            Endpoint::Healthz => Wants::Health,
            Endpoint::Readyz => Wants::Ready,
        },
        key,
        strategy,
        agent: head.agent.map(|agent| {
            let mut short = ArrayString::new();
            short.push_str(&agent[..agent.floor_char_boundary(AGENT_BYTES_MAX)]);
            short
        }),
        request_id: head.request_id.and_then(|id| ArrayString::from(id).ok()),
        forwarded: match endpoint {
            Endpoint::Chat(Dialect::AnthropicMessages)
            | Endpoint::CountTokens(Dialect::AnthropicMessages) => forwarded(head),
            _ => Vec::new(),
        },
        takes_chunks: head.takes_chunks,
        by_path: match endpoint {
            Endpoint::ChatByPath(_, by_path) => Some(said_by(by_path, head.query)?),
            _ => None,
        },
        body: 0..0,
        at: Instant::now(),
    })
}

fn said_by(by_path: endpoint::ByPath<'_>, query: &str) -> Result<ByPath, Refusal> {
    let endpoint::ByPath { model, streams } = by_path;
    let model = endpoint::percent_decoded(model).ok_or_else(|| {
        Refusal::new(Kind::BadField)
            .with_message("the model's name in the path is badly encoded")
            .with_param("model")
    })?;
    let as_array = streams && http1::query_value(query, "alt") != Some("sse");
    Ok(ByPath { model, streams, as_array })
}

/// The credential of a request. Clients of Gemini may send it in the query.
fn credential_of<'h>(head: &http1::RequestHead<'h>) -> Option<&'h str> {
    let in_query = || match dialect_of(head) {
        Dialect::GeminiGenerate | Dialect::GeminiEmbed => http1::query_value(head.query, "key"),
        _ => None,
    };
    head.credential.or_else(in_query)
}

/// The dialect in which a request is answered: its path's, else the one that its head betrays.
fn dialect_of(head: &http1::RequestHead<'_>) -> Dialect {
    let by_path = Endpoint::of(head.path).and_then(Endpoint::dialect);
    let by_path = by_path.or_else(|| endpoint::dialect_below(head.path));
    by_path.unwrap_or(match head.anthropic_version {
        Some(_) => Dialect::AnthropicMessages,
        None if head.has_google_key => Dialect::GeminiGenerate,
        None => Dialect::OpenAiChat,
    })
}

/// The fields of a head that go along. A version is always among them: the provider wants one.
fn forwarded(head: &http1::RequestHead<'_>) -> Vec<u8> {
    let mut lines = Vec::with_capacity(256);
    let mut add = |name: &str, value: &str| {
        for part in [name, ": ", value, "\r\n"] {
            lines.extend_from_slice(part.as_bytes());
        }
    };
    add("anthropic-version", head.anthropic_version.unwrap_or("2023-06-01"));
    head.forwarded.iter().for_each(|(name, value)| add(name, value));
    lines
}

fn key_of(core: &Core, credential: Option<&str>) -> Result<Arc<KeyRecord>, Refusal> {
    let credential = credential.ok_or_else(|| Refusal::new(Kind::MissingCredential))?;
    let keys = core.keys();
    let hash = keys.hasher.hash_presented(credential.as_bytes());
    let hash = hash.ok_or_else(|| Refusal::new(Kind::BadCredential))?;
    match keys.table.lookup(&hash, core.unix_s()) {
        Ok(record) => Ok(Arc::clone(record)),
        Err(KeyRefusal::Unknown) => Err(Refusal::new(Kind::BadCredential)),
        Err(KeyRefusal::Revoked(_)) => Err(Refusal::new(Kind::RevokedCredential)),
        Err(KeyRefusal::Expired(_)) => Err(Refusal::new(Kind::ExpiredCredential)),
    }
}

/// Reads until a head is there. Gives its length.
async fn read_head(client: &mut Client, timeouts: &Timeouts) -> Result<usize, Stop> {
    let mut searched = 0;
    let mut head_until: Option<Instant> = None;
    let mut skipped_crlf = false;
    loop {
        if !skipped_crlf && client.incoming.len() >= 2 {
            let crlf = http1::leading_crlf(&client.incoming);
            client.incoming.drain(..crlf);
            skipped_crlf = true;
        }
        if let Some(end) = http1::head_end(&client.incoming, searched) {
            client.watch.begin_head();
            if end > http1::HEAD_BYTES_MAX {
                return Err(Refusal::new(Kind::HeadTooLarge).into());
            }
            return Ok(end);
        }
        if !client.incoming.is_empty() {
            client.watch.begin_head();
            http1::check_partial(&client.incoming, searched)?;
        }
        searched = client.incoming.len();
        let limit = if client.incoming.is_empty() {
            Timeouts::of(timeouts.idle_ms)
        } else {
            let limit = Timeouts::of(timeouts.head_ms);
            let until = *head_until.get_or_insert_with(|| Instant::now() + limit);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refusal::new(Kind::RequestTimeout).into());
            }
            left
        };
        match client.read(READ_ROOM, limit).await {
            Ok(1..) => {}
            Err(Ended::Overdue) if !client.incoming.is_empty() => {
                return Err(Refusal::new(Kind::RequestTimeout).into());
            }
            // Between two requests nobody waits for an answer.
            _ => return Err(Stop::Gone),
        }
    }
}

async fn read_body(
    client: &mut Client,
    body: &mut BodyReader,
    timeouts: &Timeouts,
    bytes_max: usize,
) -> Result<(), Stop> {
    let mut begun: Option<Instant> = None;
    let refused = |client: &mut Client, error| {
        // Framing that we do not understand hides where the next request begins.
        client.must_close = true;
        body_refusal(error, bytes_max)
    };
    loop {
        match body.advance(&mut client.incoming) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(refused(client, error).into()),
        }
        let begun = *begun.get_or_insert_with(Instant::now);
        let elapsed = begun.elapsed();
        if elapsed > SLOW_AFTER && (body.range().len() as u64) < BODY_RATE_MIN * elapsed.as_secs() {
            client.must_close = true;
            return Err(Refusal::new(Kind::RequestTimeout).into());
        }
        match client.read(body.room(), Timeouts::of(timeouts.body_gap_ms)).await {
            Ok(1..) => {}
            Err(Ended::Overdue) => {
                client.must_close = true;
                return Err(Refusal::new(Kind::RequestTimeout).into());
            }
            _ => return Err(Stop::Gone),
        }
    }
}

fn body_refusal(error: BodyError, bytes_max: usize) -> Refusal {
    match error {
        BodyError::TooLarge => Refusal::new(Kind::BodyTooLarge).with_message(format!(
            "the request body is larger than {bytes_max} bytes; send less, or raise limits.body_bytes"
        )),
        BodyError::Malformed(what) => Refusal::new(Kind::BadHttp)
            .with_message(format!("the request body is not framed as it should be: {what}")),
    }
}

//! One hop to a provider: connect, write a request, read the head and the body of the answer.
//!
//! In: a request and whom to ask, a connection, and bounds for each wait. Out: bytes on the connection
//! and the facts of what came back, or why nothing did ([`Failed`]). Never: a decision about another
//! target, news for the health table, or a byte to the client.

use crate::accept::{Arrived, Client, Stop};
use crate::body::{BodyError, BodyReader};
use crate::config::Timeouts;
use crate::core::{Routing, unix_now};
use crate::credential::Credential;
use crate::decide::Understood;
use crate::forward::{Fault, HealthNews};
use crate::rt;
use crate::stats::AttemptResult;
use crate::target::{Target, Wanted, Way};
use crate::translate::{Asked, Translated};
use crate::upstream::{Connection, Origin, Transport};
use crate::watch::{Ended, Watch};
use route::FailureKind;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use wire::http1::{self, ResponseHead};
use wire::json::Document;
use wire::refusal::Kind;

/// Room for an answer's head and the first of its body.
pub const READ_ROOM: usize = 16 * 1024;
/// A body up to this size is sent in one piece with its head.
const ONE_WRITE_MAX: usize = 256 * 1024;
/// Informational responses that are skipped before an answer.
const INFORMATIONAL_MAX: u32 = 16;
/// Of an error answer no more than this is read.
const ERROR_BYTES_MAX: usize = Document::BYTES_MAX;

/// Why a step towards a provider failed.
pub enum Failed {
    /// It is the provider's fault, or may be.
    Fault(Fault),
    /// There is nobody to answer any more.
    Stop(Stop),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Failed {
        Failed::Fault(fault)
    }
}

impl From<Ended> for Failed {
    fn from(ended: Ended) -> Failed {
        match Fault::ended(ended) {
            Ok(fault) => Failed::Fault(fault),
            Err(stop) => Failed::Stop(stop),
        }
    }
}

/// One request to one target.
pub struct Call<'c> {
    /// What arrived.
    pub arrived: &'c Arrived,
    /// What it says.
    pub understood: &'c Understood,
    /// Whom to ask.
    pub target: &'c Target,
    /// In which dialect.
    pub way: &'c Way,
    /// For what.
    pub wanted: Wanted,
    /// The request's id.
    pub id: u128,
}

impl<'c> Call<'c> {
    /// The request for a translator.
    pub fn asked<'a>(&'a self, client: &'a Client) -> Asked<'a> {
        let body = &client.incoming[self.arrived.body.clone()];
        let Call { understood, target, way, id, .. } = *self;
        Asked { body, understood, target, way, id }
    }
}

/// A new connection to a provider.
pub async fn connect(
    client: &Client,
    origin: &Origin,
    timeouts: &Timeouts,
) -> Result<Connection, Failed> {
    let limit = Timeouts::of(timeouts.connect_ms);
    let begun = Instant::now();
    let socket = match Transport::connect(origin, limit).await {
        Ok(socket) => socket,
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            return Err(Fault::timeout().into());
        }
        Err(_) => return Err(Fault::connect().into()),
    };
    let left = limit.saturating_sub(begun.elapsed());
    let fd = socket.as_raw_fd();
    let securing = Transport::secure(socket, origin);
    let transport = match client.watch.guard_for_client(fd, left, securing).await? {
        Ok(transport) => transport,
        Err(_) => return Err(Fault::connect().into()),
    };
    let incoming = Vec::with_capacity(READ_ROOM);
    Ok(Connection { transport, incoming, is_unproven: false })
}

/// Sends the request: the client's own body with its patches, or the translated one.
pub async fn send(
    client: &mut Client,
    call: &Call<'_>,
    translated: Option<&mut Translated>,
    connection: &mut Connection,
    timeouts: &Timeouts,
) -> Result<(), Failed> {
    let &Call { arrived, understood, target, way, wanted, .. } = call;
    let limit = Timeouts::of(timeouts.write_ms);
    let out = &mut client.outgoing;
    out.clear();
    if let Some(Translated { body, .. }) = translated {
        // The fields of the client's head belong to its own dialect.
        way.write_head(wanted, b"", out);
        write_length(body.len(), out);
        let head_len = out.len();
        let separate = body.len() > ONE_WRITE_MAX;
        if !separate {
            out.extend_from_slice(body);
        }
        authorize(way, wanted, out, head_len, if separate { body } else { b"" })?;
        let range = 0..client.outgoing.len();
        write(&client.watch, connection, &mut client.outgoing, range, limit).await?;
        if separate {
            let range = 0..body.len();
            write(&client.watch, connection, body, range, limit).await?;
        }
        return Ok(());
    }
    let outgoing = target.outgoing();
    let codec = understood.codec;
    let body = &client.incoming[arrived.body.clone()];
    way.write_head(wanted, &arrived.forwarded, out);
    write_length(codec.patched_len(&understood.parsed, body, &outgoing), out);
    let head_len = out.len();
    let rest = codec.patch_request(&understood.parsed, body, &outgoing, out);
    // A long rest is written from where it stands: a copy would double the memory of the request.
    let separate = body.len() - rest > ONE_WRITE_MAX;
    if !separate {
        out.extend_from_slice(&body[rest..]);
    }
    authorize(way, wanted, out, head_len, if separate { &body[rest..] } else { b"" })?;
    let range = 0..client.outgoing.len();
    write(&client.watch, connection, &mut client.outgoing, range, limit).await?;
    if separate {
        let range = arrived.body.start + rest..arrived.body.end;
        write(&client.watch, connection, &mut client.incoming, range, limit).await?;
    }
    Ok(())
}

/// Adds to a head of `head_len` bytes what shows who we are, where that depends on the time or on the
/// body, which follows the head and then `rest`.
fn authorize(
    way: &Way,
    wanted: Wanted,
    out: &mut Vec<u8>,
    head_len: usize,
    rest: &[u8],
) -> Result<(), Failed> {
    if matches!(way.credential, Credential::InHead) {
        return Ok(());
    }
    let (now, _) = unix_now();
    let body = [out.get(head_len..).unwrap_or_default(), rest];
    let lines = way.credential.lines(way.path(wanted), &body, now).map_err(|_| no_token())?;
    // Before the empty line that ends the head.
    let at = head_len - b"\r\n".len();
    out.splice(at..at, lines);
    Ok(())
}

/// There is no token to show yet.
pub fn no_token() -> Fault {
    let health = HealthNews::Failed(FailureKind::Connect);
    Fault::new(AttemptResult::Credential, health, Kind::UpstreamCredentials)
}

/// Ends a head with the length of its body.
fn write_length(length: usize, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(length).as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

/// Writes to the provider; `limit` is for each piece of [`rt::WRITE_PIECE`].
async fn write(
    watch: &Watch,
    connection: &mut Connection,
    buffer: &mut Vec<u8>,
    range: Range<usize>,
    limit: Duration,
) -> Result<(), Failed> {
    let fd = connection.transport.as_raw_fd();
    let mut from = range.start;
    while from < range.end {
        let to = range.end.min(from + rt::WRITE_PIECE);
        let writing = connection.transport.write_all(buffer, from..to);
        let written = watch.guard_for_client(fd, limit, writing).await?;
        written.map_err(|_| Fault::interrupted())?;
        from = to;
    }
    Ok(())
}

/// Reads the head of an answer; informational ones before it are skipped.
pub async fn read_head(
    client: &Client,
    connection: &mut Connection,
    until: Instant,
) -> Result<ResponseHead, Failed> {
    let mut searched = 0;
    let mut informational = 0;
    loop {
        if let Some(end) = http1::head_end(&connection.incoming, searched) {
            let head = http1::response(&connection.incoming[..end])
                .map_err(|_| Fault::protocol(Kind::UpstreamInvalid))?;
            if head.status >= 200 {
                return Ok(head);
            }
            informational += 1;
            if head.status == 101 || informational > INFORMATIONAL_MAX {
                return Err(Fault::protocol(Kind::UpstreamInvalid).into());
            }
            connection.incoming.drain(..end);
            searched = 0;
            continue;
        }
        searched = connection.incoming.len();
        if searched > http1::HEAD_BYTES_MAX {
            return Err(Fault::protocol(Kind::UpstreamInvalid).into());
        }
        let left = until.saturating_duration_since(Instant::now());
        if read(client, connection, READ_ROOM, left).await? == 0 {
            return Err(Fault::interrupted().into());
        }
    }
}

/// Reads from the provider; the end of the connection and its failure are both zero.
pub async fn read(
    client: &Client,
    connection: &mut Connection,
    room: usize,
    limit: Duration,
) -> Result<usize, Ended> {
    let fd = connection.transport.as_raw_fd();
    let reading = connection.transport.read(&mut connection.incoming, room);
    let count = client.watch.guard_for_client(fd, limit, reading).await?.unwrap_or(0);
    connection.is_unproven &= count == 0;
    Ok(count)
}

/// Reads a whole body behind its head.
pub async fn read_whole(
    routing: &Routing,
    client: &Client,
    connection: &mut Connection,
    head: &ResponseHead,
) -> Result<Range<usize>, Failed> {
    let snapshot = &routing.snapshot;
    let broken = |error| match error {
        BodyError::TooLarge => Fault { retry: false, ..Fault::protocol(Kind::UpstreamInvalid) },
        BodyError::Malformed(_) => Fault::protocol(Kind::UpstreamInvalid),
    };
    let mut body =
        BodyReader::new(head.framing, head.len, snapshot.limits.answer_bytes).map_err(broken)?;
    let gap = Timeouts::of(snapshot.timeouts.gap_ms);
    while !body.advance(&mut connection.incoming).map_err(broken)? {
        if read(client, connection, body.room(), gap).await? == 0 {
            if body.close() {
                break;
            }
            return Err(Fault::interrupted().into());
        }
    }
    Ok(body.range())
}

/// Reads what an error answer says, if it can be had; why it cannot does not matter.
pub async fn read_error(
    client: &Client,
    connection: &mut Connection,
    head: &ResponseHead,
    timeouts: &Timeouts,
) -> Vec<u8> {
    let Ok(mut body) = BodyReader::new(head.framing, head.len, ERROR_BYTES_MAX) else {
        return Vec::new();
    };
    let until = Instant::now() + Timeouts::of(timeouts.connect_ms);
    while let Ok(false) = body.advance(&mut connection.incoming) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match read(client, connection, body.room(), left).await {
            Ok(1..) => {}
            _ => break,
        }
    }
    connection.incoming.get(body.range()).unwrap_or_default().to_vec()
}

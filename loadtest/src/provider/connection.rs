//! One connection of the fake provider: its buffers and where it stands.
//!
//! Holds no clock and no poll; the server drives it and keeps the timers.

use std::io::{self, Write};
use std::sync::Arc;

use mio::net::TcpStream;

use super::answer::Answer;
use super::dialect::Dialect;
use super::request::{Reader, Request};
use super::respond::Framing;
use super::script::Script;
use crate::buffer::{Buffer, Filled, ReadOnce};

/// What a client may have sent ahead while an answer runs.
const AHEAD_BYTES_MAX: usize = 300 << 20;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for a request, or has part of one.
    Reading,
    /// Has a request; the delay before the head runs.
    Delayed,
    /// Sends events; `waiting`: a gap's delay runs.
    Streaming { waiting: bool },
    /// Says nothing until the client goes.
    Silent,
    /// Sends a head without an end: fields so far.
    EndlessHead(u32),
    /// Closes when everything is sent; `reset`: with a reset.
    Closing { reset: bool },
}

/// See the module.
pub(crate) struct Connection {
    pub socket: TcpStream,
    pub input: Buffer,
    pub reader: Reader,
    pub request: Request,
    pub answer: Answer,
    pub dialect: &'static dyn Dialect,
    pub state: State,
    pub step: u32,
    /// Events of the current stream, added to the counters at its end.
    pub events: u64,
    /// Told apart from an earlier timer of this slot.
    pub timer: u64,
    /// When the timer rings or rang; 0: none in this answer.
    pub due_us: u64,
    /// The client sends no more.
    pub ended: bool,
    /// It stands in the server's queue of turns.
    pub queued: bool,
    pub out: Vec<u8>,
    sent: usize,
}

/// How flushing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything is with the system.
    All,
    /// The socket is full; an event will tell.
    Blocked,
    /// A piece is out as the script wants it; the rest in the next turn.
    Piece,
}

impl Connection {
    pub(crate) fn new(
        socket: TcpStream,
        script: Arc<Script>,
        dialect: &'static dyn Dialect,
    ) -> Self {
        Connection {
            socket,
            input: Buffer::default(),
            reader: Reader::default(),
            request: Request::default(),
            answer: Answer::new(script),
            dialect,
            state: State::Reading,
            step: 0,
            events: 0,
            timer: 0,
            due_us: 0,
            ended: false,
            queued: false,
            out: Vec::new(),
            sent: 0,
        }
    }

    pub(crate) fn framing(&self) -> Framing {
        Framing {
            chunked: self.request.chunked,
            keep_alive: self.request.keep_alive && !self.answer.script.close,
        }
    }

    /// Whether a request has been taken and its answer, such as it is, not been given.
    pub(crate) fn has_request(&self) -> bool {
        !matches!(self.state, State::Reading | State::Closing { .. })
    }

    /// Whether an answer is under way that would have come to its end.
    pub(crate) fn is_answering(&self) -> bool {
        matches!(self.state, State::Delayed | State::Streaming { .. })
    }

    /// Takes in what the socket has.
    pub(crate) fn fill(&mut self, closing: bool) -> io::Result<()> {
        loop {
            match self.input.read(&mut self.socket, closing)? {
                ReadOnce::More if self.input.bytes().len() > AHEAD_BYTES_MAX => {
                    return Err(io::Error::other("more ahead than is ever read"));
                }
                ReadOnce::More => {}
                ReadOnce::Ended(Filled::Drained) => return Ok(()),
                ReadOnce::Ended(Filled::Eof) => {
                    self.ended = true;
                    return Ok(());
                }
            }
        }
    }

    /// Sends what is due.
    pub(crate) fn flush(&mut self) -> io::Result<Flushed> {
        while self.sent < self.out.len() {
            let rest = &self.out[self.sent..];
            let piece = match self.answer.script.split as usize {
                0 => rest,
                bytes => &rest[..bytes.min(rest.len())],
            };
            match self.socket.write(piece) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(e) => return Err(e),
            }
            if self.answer.script.split > 0 && self.sent < self.out.len() {
                return Ok(Flushed::Piece);
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(Flushed::All)
    }
}

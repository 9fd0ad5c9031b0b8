//! A byte queue: filled at the end from a socket, eaten at the front by a parser.
//!
//! Grows to what one message needs and is reused for the next, so that a kept connection allocates
//! nothing per message. Never shrinks below what it holds and never copies but to close the gap at
//! its front.

use std::io::{self, Read};

/// Room offered to one read, so that a 400 KB body takes few system calls and a small one no memory.
const READ_SMALL: usize = 4 << 10;
const READ_LARGE: usize = 256 << 10;

/// The queue. `data[start..end]` is what is held.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read filled all the room, so the next one gets more.
    full: bool,
}

/// How one round of reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// The socket is empty for now.
    Drained,
    /// The peer sends no more.
    Eof,
}

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn eat(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "a parser eats what it was shown");
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Makes room for a message of `total` bytes from the front on.
    pub(crate) fn expect(&mut self, total: usize) {
        let held = self.end - self.start;
        self.make_room(total.saturating_sub(held).max(1));
    }

    /// Reads once. `Ok(true)`: there may be more to read at once.
    ///
    /// A read that did not fill its room has emptied the socket; epoll's edge will tell of later
    /// bytes, so the read that would only say `WouldBlock` is saved. Where the end of the stream
    /// was announced (`closing`), it is read up to the end all the same.
    pub(crate) fn read(&mut self, source: &mut impl Read, closing: bool) -> io::Result<ReadOnce> {
        let room = if self.full { READ_LARGE } else { READ_SMALL };
        if self.data.len() - self.end < READ_SMALL {
            self.make_room(room);
        }
        loop {
            match source.read(&mut self.data[self.end..]) {
                Ok(0) => return Ok(ReadOnce::Ended(Filled::Eof)),
                Ok(count) => {
                    self.full = self.end + count == self.data.len();
                    self.end += count;
                    let more = self.full || closing;
                    return Ok(if more {
                        ReadOnce::More
                    } else {
                        ReadOnce::Ended(Filled::Drained)
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(ReadOnce::Ended(Filled::Drained));
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn make_room(&mut self, room: usize) {
        if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.data.len() - self.end < room {
            self.data.resize(self.end + room, 0);
        }
    }
}

/// What one read did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOnce {
    /// Bytes came and there may be more.
    More,
    /// Nothing more for now, or ever.
    Ended(Filled),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_over_many_sizes() {
        let text: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let mut source = text.as_slice();
        let (mut buffer, mut out) = (Buffer::default(), Vec::new());
        loop {
            let read = buffer.read(&mut source, true).expect("a slice reads");
            let half = buffer.bytes().len() / 2;
            out.extend_from_slice(&buffer.bytes()[..half]);
            buffer.eat(half);
            if read == ReadOnce::Ended(Filled::Eof) {
                break;
            }
        }
        out.extend_from_slice(buffer.bytes());
        assert!(out == text);
    }
}

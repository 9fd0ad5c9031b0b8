//! Collects a message body in the buffer that it is read into: chunks are joined in place, so a
//! body is contiguous and nothing is copied twice.

use std::ops::Range;
use wire::chunked::{Decoder, Step};
use wire::http1::Framing;

/// Wire bytes that chunk framing may cost on top of [`FRAMING_RATIO_MAX`] times the data.
const FRAMING_BYTES_FREE: u64 = 64 * 1024;
/// Most wire bytes for one byte of data: chunks of one byte cost six.
const FRAMING_RATIO_MAX: u64 = 8;

/// Why a body cannot be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than allowed.
    TooLarge,
    /// It is not framed as it should be.
    Malformed(&'static str),
}

/// Collects one body.
#[derive(Debug)]
pub struct BodyReader {
    start: usize,
    /// End of the data so far.
    end: usize,
    kind: Kind,
    bytes_max: usize,
    is_done: bool,
}

#[derive(Debug)]
enum Kind {
    Length(usize),
    Chunked { decoder: Decoder, wire_bytes: u64 },
    UntilClose,
}

impl BodyReader {
    /// A reader for a body that begins at `start` of its buffer and may have `bytes_max` bytes.
    pub fn new(framing: Framing, start: usize, bytes_max: usize) -> Result<BodyReader, BodyError> {
        let kind = match framing {
            Framing::None => Kind::Length(0),
            Framing::Length(length) => match usize::try_from(length) {
                Ok(length) if length <= bytes_max => Kind::Length(length),
                _ => return Err(BodyError::TooLarge),
            },
            Framing::Chunked => Kind::Chunked { decoder: Decoder::default(), wire_bytes: 0 },
            Framing::UntilClose => Kind::UntilClose,
        };
        Ok(BodyReader { start, end: start, kind, bytes_max, is_done: false })
    }

    /// Takes what has been read into `buffer` since the last call. True when the body is complete;
    /// what follows it then begins at the end of [`BodyReader::range`].
    pub fn advance(&mut self, buffer: &mut Vec<u8>) -> Result<bool, BodyError> {
        match &mut self.kind {
            Kind::Length(length) => {
                self.end = buffer.len().min(self.start + *length);
                self.is_done = self.end - self.start == *length;
            }
            Kind::UntilClose => {
                self.end = buffer.len();
                if self.end - self.start > self.bytes_max {
                    return Err(BodyError::TooLarge);
                }
            }
            Kind::Chunked { decoder, wire_bytes } => {
                let mut at = self.end;
                *wire_bytes += (buffer.len() - at) as u64;
                loop {
                    let base = at;
                    let mut used = 0;
                    let step = decoder.step(&buffer[base..], &mut used);
                    at = base + used;
                    match step.map_err(|bad| BodyError::Malformed(bad.0))? {
                        Step::Data { start, end } => {
                            buffer.copy_within(base + start..base + end, self.end);
                            self.end += end - start;
                        }
                        Step::More => {
                            buffer.truncate(self.end);
                            break;
                        }
                        Step::End => {
                            buffer.drain(self.end..at);
                            self.is_done = true;
                            break;
                        }
                    }
                }
                let data = (self.end - self.start) as u64;
                // What a chunk promises counts before it comes.
                if data.saturating_add(decoder.promised()) > self.bytes_max as u64 {
                    return Err(BodyError::TooLarge);
                }
                if *wire_bytes > data * FRAMING_RATIO_MAX + FRAMING_BYTES_FREE {
                    return Err(BodyError::Malformed("chunks are too small"));
                }
            }
        }
        Ok(self.is_done)
    }

    /// The peer has closed. True when that is how this body ends.
    pub fn close(&mut self) -> bool {
        self.is_done |= matches!(self.kind, Kind::UntilClose);
        self.is_done
    }

    /// Where the body stands.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Room to make for the next read: what is known to come, but never far ahead of what has come,
    /// so that a promise of many bytes costs nothing.
    pub fn room(&self) -> usize {
        const LEAST: usize = 16 * 1024;
        let arrived = self.end - self.start;
        match self.kind {
            Kind::Length(length) => (length - arrived).clamp(1, LEAST.max(arrived)),
            _ => LEAST.max(arrived),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(framing: Framing, wire: &[u8], cut: usize) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
        let mut buffer = b"HEAD".to_vec();
        let mut reader = BodyReader::new(framing, 4, 100)?;
        for piece in [&wire[..cut], &wire[cut..]] {
            buffer.extend_from_slice(piece);
            if reader.advance(&mut buffer)? {
                continue;
            }
        }
        reader.close();
        let range = reader.range();
        Ok((buffer[range.clone()].to_vec(), buffer[range.end..].to_vec()))
    }

    #[test]
    fn bodies_are_contiguous_whatever_the_framing_and_the_cut() {
        let chunked = b"5\r\nhello\r\n6;x\r\n world\r\n0\r\n\r\nNEXT";
        for cut in 0..chunked.len() - 4 {
            let (body, rest) = collect(Framing::Chunked, chunked, cut).unwrap();
            assert_eq!((&body[..], &rest[..]), (&b"hello world"[..], &b"NEXT"[..]), "cut {cut}");
        }
        let (body, rest) = collect(Framing::Length(5), b"helloNEXT", 2).unwrap();
        assert_eq!((&body[..], &rest[..]), (&b"hello"[..], &b"NEXT"[..]));
        let (body, _) = collect(Framing::UntilClose, b"hello", 2).unwrap();
        assert_eq!(body, b"hello");
        assert_eq!(collect(Framing::None, b"NEXT", 0).unwrap().1, b"NEXT");
    }

    #[test]
    fn limits_hold_before_the_bytes_are_there() {
        let promise = Framing::Length(101);
        assert_eq!(BodyReader::new(promise, 0, 100).unwrap_err(), BodyError::TooLarge);
        let promise = Framing::Length(u64::MAX);
        assert_eq!(BodyReader::new(promise, 0, 100).unwrap_err(), BodyError::TooLarge);
        let wire = format!("65\r\n{}\r\n0\r\n\r\n", "a".repeat(101));
        assert_eq!(collect(Framing::Chunked, wire.as_bytes(), 0), Err(BodyError::TooLarge));
        assert_eq!(collect(Framing::UntilClose, &[b'a'; 101], 0), Err(BodyError::TooLarge));
        let drip = "000000000000001\r\na\r\n".repeat(6_000);
        let mut buffer = drip.into_bytes();
        let mut reader = BodyReader::new(Framing::Chunked, 0, 1 << 20).unwrap();
        assert!(matches!(reader.advance(&mut buffer), Err(BodyError::Malformed(_))));
    }
}

//! The little of HTTP/1.1 that both ends here need: chunked framing, read piece by piece.
//!
//! In: bytes as they come, cut anywhere. Out: the payload and where it ended. Strict about sizes and
//! line ends, because the generator must notice a gateway that frames badly.

/// Longest chunk-size line that is read, extensions included.
const LINE_MAX: usize = 256;

/// Why a chunked body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadChunk;

/// Reads a chunked body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dechunker {
    state: State,
    left: u64,
    line: usize,
    digits: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerLine,
    TrailerLf,
    EndLf,
    Done,
}

impl Dechunker {
    /// Eats from `input`, hands payload to `sink`, says how many bytes were eaten: all of them, or
    /// fewer when the body ended ([`Dechunker::is_done`]).
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let count = (input.len() - at).min(self.left as usize);
                sink(&input[at..at + count]);
                at += count;
                self.left -= count as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.step(input[at])?;
            at += 1;
        }
        Ok(at)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn step(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.line += 1;
        if self.line > LINE_MAX {
            return Err(BadChunk);
        }
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digits += 1;
                if self.digits > 15 {
                    return Err(BadChunk);
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.left = self.left * 16 + u64::from(digit);
                State::Size
            }
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\n') => return Err(BadChunk),
            (State::Extension, _) => State::Extension,
            (State::SizeLf, b'\n') if self.left == 0 => self.turn(State::TrailerStart),
            (State::SizeLf, b'\n') => self.turn(State::Data),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => self.turn(State::Size),
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::TrailerLine, b'\n') => return Err(BadChunk),
            (State::TrailerLine, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::TrailerLine, _) => State::TrailerLine,
            (State::TrailerLf, b'\n') => self.turn(State::TrailerStart),
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(BadChunk),
        };
        Ok(())
    }

    fn turn(&mut self, state: State) -> State {
        self.line = 0;
        self.digits = 0;
        state
    }
}

/// Whether a header value holds `token` in its comma list, in any case.
pub(crate) fn lists(value: &[u8], token: &str) -> bool {
    value.split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The digits of a `Content-Length`.
pub(crate) fn length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8], step: usize) -> Result<(Vec<u8>, bool, usize), BadChunk> {
        let (mut reader, mut out, mut eaten) = (Dechunker::default(), Vec::new(), 0);
        for piece in input.chunks(step) {
            eaten += reader.feed(piece, |data| out.extend_from_slice(data))?;
        }
        Ok((out, reader.is_done(), eaten))
    }

    #[test]
    fn chunked_bodies_read_the_same_however_they_are_cut() {
        let cases: [(&[u8], &[u8], bool, usize); 5] = [
            (b"3\r\nabc\r\n0\r\n\r\n", b"abc", true, 13),
            (
                b"0003;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\nrest",
                b"abc0123456789",
                true,
                41,
            ),
            (b"3\r\nabc\r\n", b"abc", false, 8),
            (b"5\r\nab", b"ab", false, 5),
            (b"0\r\n\r\n", b"", true, 5),
        ];
        for (input, payload, done, eaten) in cases {
            for step in 1..=input.len() {
                let got = read(input, step).expect("well framed");
                assert_eq!(got, (payload.to_vec(), done, eaten), "step {step}");
            }
        }
    }

    #[test]
    fn bad_framing_is_refused() {
        let cases: [&[u8]; 7] = [
            b"zz\r\n",
            b"\r\n",
            b"-3\r\nabc",
            b"3\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n",
            b"1234567890abcdef0\r\n",
        ];
        for input in cases {
            assert_eq!(read(input, 1), Err(BadChunk), "{input:?}");
        }
    }
}

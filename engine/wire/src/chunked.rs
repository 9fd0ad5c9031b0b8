//! The chunked transfer coding (RFC 9112 section 7.1), both ways.
//!
//! In: bytes of a body as they arrive, cut anywhere. Out: where the data stands in them. Never:
//! copies or buffers of its own. `CRLF` is exact everywhere and a size is 1 to 16 hexadecimal digits;
//! extensions are skipped and trailers are checked and dropped, each against a limit.

/// Most bytes of chunk extensions in one body.
pub const EXTENSION_BYTES_MAX: u32 = 16 * 1024;
/// Most bytes of trailers after one body.
pub const TRAILER_BYTES_MAX: u32 = 16 * 1024;

/// The bytes are not chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChunk(pub &'static str);

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// Body data: this range of the input.
    Data {
        /// First byte.
        start: usize,
        /// After the last byte.
        end: usize,
    },
    /// The body has ended.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        digits: u8,
    },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the first byte of a trailer line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

/// Reads chunks, a piece at a time.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    remaining: u64,
    extension_bytes: u32,
    trailer_bytes: u32,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder {
            state: State::Size { digits: 0 },
            remaining: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }
}

impl Decoder {
    /// Reads on at `*at` in `input` and moves `*at` behind what was read. [`Step::More`] is given
    /// when `input` is used up; after [`Step::End`] the rest of `input` is not part of the body.
    pub fn step(&mut self, input: &[u8], at: &mut usize) -> Result<Step, BadChunk> {
        while let Some(&byte) = input.get(*at) {
            if self.state == State::Data {
                let available = (input.len() - *at) as u64;
                let taken = self.remaining.min(available) as usize;
                let (start, end) = (*at, *at + taken);
                *at = end;
                self.remaining -= taken as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Step::Data { start, end });
            }
            if self.state == State::End {
                return Ok(Step::End);
            }
            *at += 1;
            self.state = self.next(byte)?;
        }
        Ok(if self.state == State::End { Step::End } else { Step::More })
    }

    /// Bytes that the current chunk has promised and that have not come yet.
    pub fn promised(&self) -> u64 {
        if self.state == State::Data { self.remaining } else { 0 }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::End
    }

    fn next(&mut self, byte: u8) -> Result<State, BadChunk> {
        let crlf = |wanted: u8, then: State| {
            if byte == wanted { Ok(then) } else { Err(BadChunk("CRLF expected")) }
        };
        match self.state {
            State::Size { digits } => match (char::from(byte).to_digit(16), byte) {
                (Some(digit), _) if digits < 16 => {
                    // Sixteen digits fill 64 bits exactly, so the shift never loses one.
                    self.remaining = (self.remaining << 4) | u64::from(digit);
                    Ok(State::Size { digits: digits + 1 })
                }
                (Some(_), _) => Err(BadChunk("chunk size has more than 16 digits")),
                (None, b'\r') if digits > 0 => Ok(State::SizeLf),
                (None, b';') if digits > 0 => Ok(State::Extension),
                _ => Err(BadChunk("chunk size is not a hexadecimal number")),
            },
            State::Extension => {
                self.extension_bytes += 1;
                match byte {
                    _ if self.extension_bytes > EXTENSION_BYTES_MAX => {
                        Err(BadChunk("chunk extensions are larger than 16 KiB"))
                    }
                    b'\r' => Ok(State::SizeLf),
                    b'\t' | 0x20..=0x7e | 0x80.. => Ok(State::Extension),
                    _ => Err(BadChunk("control character in a chunk extension")),
                }
            }
            State::SizeLf => {
                crlf(b'\n', if self.remaining == 0 { State::Trailer } else { State::Data })
            }
            State::DataCr => crlf(b'\r', State::DataLf),
            State::DataLf => crlf(b'\n', State::Size { digits: 0 }),
            State::EndLf => crlf(b'\n', State::End),
            State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > TRAILER_BYTES_MAX {
                    return Err(BadChunk("trailers are larger than 16 KiB"));
                }
                self.trailer(byte)
            }
            State::Data | State::End => Ok(self.state),
        }
    }

    fn trailer(&self, byte: u8) -> Result<State, BadChunk> {
        match (self.state, byte) {
            (State::Trailer, b'\r') => Ok(State::EndLf),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::Trailer | State::TrailerName, _)
                if byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte) =>
            {
                Ok(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, b'\t' | 0x20..=0x7e | 0x80..) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::Trailer),
            _ => Err(BadChunk("malformed trailer")),
        }
    }
}

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Room for the size line in front of a chunk, see [`seal`].
pub const SIZE_ROOM: usize = 10;

/// Turns the bytes that `out` holds behind `room` (an offset at which [`SIZE_ROOM`] bytes were left
/// free) into one chunk, so that what is collected over several events goes out as one chunk
/// without being moved. Returns the offset at which the chunk begins. There must be at least one
/// byte of data and less than 4 GiB.
pub fn seal(out: &mut Vec<u8>, room: usize) -> usize {
    let mut length = out.len() - room - SIZE_ROOM;
    debug_assert!(length > 0, "an empty chunk would end the body");
    let mut at = room + SIZE_ROOM;
    out[at - 2..at].copy_from_slice(b"\r\n");
    at -= 2;
    while length > 0 {
        at -= 1;
        out[at] = b"0123456789abcdef"[length & 15];
        length >>= 4;
    }
    out.extend_from_slice(b"\r\n");
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes `wire` in pieces that end at `cuts`; gives the data and how many bytes were used.
    fn decode(wire: &[u8], cuts: &[usize]) -> Result<Option<(Vec<u8>, usize)>, BadChunk> {
        let mut decoder = Decoder::default();
        let mut data = Vec::new();
        let mut from = 0;
        for &to in cuts.iter().chain([&wire.len()]) {
            let input = &wire[from..to.max(from)];
            let mut at = 0;
            loop {
                match decoder.step(input, &mut at)? {
                    Step::More => break,
                    Step::Data { start, end } => data.extend_from_slice(&input[start..end]),
                    Step::End => return Ok(Some((data, from + at))),
                }
            }
            from = to.max(from);
        }
        Ok(None)
    }

    #[test]
    fn bodies_are_read_whatever_the_cut() {
        let wire = b"5;a=b\r\nhello\r\n6 \r\n world\r\n0\r\nX: y\r\n\r\nNEXT";
        assert!(decode(wire, &[]).is_err(), "a blank behind the size");
        let wire = b"5;a=b\r\nhello\r\n06\r\n world\r\n0\r\nX: y\r\n\r\nNEXT";
        for cut in 0..wire.len() {
            let (data, used) = decode(wire, &[cut]).unwrap().unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(&wire[used..], b"NEXT");
        }
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        for wire in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b"5\nhello",
            b"5\rhello",
            b"5\r\nhelloX",
            b"5\r\nhello\n",
            b"00000000000000001\r\n",
            b"1;\x01\r\n",
            b"0\r\nX y\r\n",
            b"0\r\n: y\r\n\r\n",
            b"0\r\n folded\r\n",
            b"0\r\nX: \x00\r\n\r\n",
        ] {
            assert!(decode(wire, &[]).is_err(), "{:?}", String::from_utf8_lossy(wire));
        }
        let bomb = format!("1;{}\r\n", "a".repeat(EXTENSION_BYTES_MAX as usize + 1));
        assert!(decode(bomb.as_bytes(), &[]).is_err());
        let bomb = format!("0\r\nX: {}\r\n", "a".repeat(TRAILER_BYTES_MAX as usize));
        assert!(decode(bomb.as_bytes(), &[]).is_err());
        assert_eq!(decode(b"ffffffffffffffff\r\nabc", &[]), Ok(None));
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 0..6),
            mut cuts in prop::collection::vec(0usize..2000, 0..8),
        ) {
            let mut wire = Vec::new();
            for piece in &pieces {
                let mut out = vec![0; 3 + SIZE_ROOM];
                out.extend_from_slice(piece);
                let start = seal(&mut out, 3);
                wire.extend_from_slice(&out[start..]);
            }
            wire.extend_from_slice(LAST_CHUNK);
            cuts.retain(|&cut| cut <= wire.len());
            cuts.sort_unstable();
            let (data, used) = decode(&wire, &cuts).unwrap().unwrap();
            prop_assert_eq!(data, pieces.concat());
            prop_assert_eq!(used, wire.len());
        }

        #[test]
        fn hostile_bytes_end(wire in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&wire, &[]);
        }
    }
}

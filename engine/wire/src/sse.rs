//! Server-sent events: bytes to events, as the HTML standard (section 9.2.6) reads them.
//!
//! In: the bytes of an event stream, collected in a buffer of the caller, cut anywhere. Out: where
//! each whole event ends, and its data. Never: copies, but for the rare event with several `data`
//! lines. Line ends are LF, CRLF or CR; U+2028 and U+2029 are not line ends.

use std::borrow::Cow;

/// Largest event, in bytes.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Finds event ends in a buffer that grows. It remembers what it has looked at, so that an event
/// that arrives in many pieces is not searched again with each of them.
#[derive(Clone, Debug, Default)]
pub struct Splitter {
    /// Bytes already searched, counted from the start of the current event.
    searched: usize,
}

impl Splitter {
    /// Length of the first whole event in `bytes`, with the empty line that ends it, or `None` when
    /// it has not ended yet. `bytes` must begin where the last event ended.
    ///
    /// A CR at the very end may be half of a CRLF, so it is not judged before the next byte is there.
    pub fn next(&mut self, bytes: &[u8]) -> Option<usize> {
        // The last bytes that were searched may be the first half of an empty line.
        let mut from = self.searched.saturating_sub(3);
        while let Some(found) = memchr::memchr2(b'\n', b'\r', bytes.get(from..)?) {
            let line_end = from + found;
            let Some(next_line) = after_line_end(bytes, line_end) else { break };
            // An event that begins with an empty line is an empty event.
            if line_end == 0 {
                self.searched = 0;
                return Some(next_line);
            }
            if let Some(&byte) = bytes.get(next_line)
                && (byte == b'\n' || byte == b'\r')
            {
                let Some(end) = after_line_end(bytes, next_line) else { break };
                self.searched = 0;
                return Some(end);
            }
            from = next_line;
        }
        self.searched = bytes.len();
        None
    }
}

/// Offset behind the line end at `at`; `None` when a CR is the last byte there is.
fn after_line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'\r', Some(b'\n')) => Some(at + 2),
        (b'\r', None) => None,
        _ => Some(at + 1),
    }
}

/// One event as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'b> {
    /// The value of the last `event` field; empty when there is none.
    pub name: &'b [u8],
    /// The values of the `data` fields, joined by LF; `None` when there is none, as in a comment.
    pub data: Option<Cow<'b, [u8]>>,
}

/// Reads the fields of one whole event.
pub fn read(event: &[u8]) -> Event<'_> {
    // Nearly every event that passes here is one `data:` line.
    if let Some(data) = single_data_line(event) {
        return Event { name: b"", data: Some(Cow::Borrowed(data)) };
    }
    // And nearly every other one is that behind its name.
    if let Some((name, data)) = named_data_line(event) {
        return Event { name, data: Some(Cow::Borrowed(data)) };
    }
    let mut name: &[u8] = b"";
    let mut data: Option<Cow<'_, [u8]>> = None;
    let event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
    for line in
        event.split(|&byte| byte == b'\n').flat_map(|line| line.split(|&byte| byte == b'\r'))
    {
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => name = value,
            b"data" => {
                data = Some(match data {
                    None => Cow::Borrowed(value),
                    Some(earlier) => Cow::Owned([&earlier, value].join(&b'\n')),
                });
            }
            _ => {}
        }
    }
    Event { name, data }
}

fn single_data_line(event: &[u8]) -> Option<&[u8]> {
    let value = event.strip_prefix(b"data:")?;
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let end = memchr::memchr2(b'\n', b'\r', value)?;
    matches!(&value[end..], b"\n\n" | b"\r\n\r\n" | b"\r\r").then_some(&value[..end])
}

fn named_data_line(event: &[u8]) -> Option<(&[u8], &[u8])> {
    let value = event.strip_prefix(b"event:")?;
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let end = memchr::memchr2(b'\n', b'\r', value)?;
    let rest = &value[end..];
    let rest = rest.strip_prefix(b"\r\n").unwrap_or_else(|| &rest[1..]);
    single_data_line(rest).map(|data| (&value[..end], data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Splits `stream`, of which the bytes up to each of `cuts` arrive at a time.
    fn split(stream: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::default();
        let (mut start, mut events) = (0, Vec::new());
        for &cut in cuts.iter().chain([&stream.len()]) {
            while let Some(length) = splitter.next(&stream[start..cut.max(start)]) {
                events.push(stream[start..start + length].to_vec());
                start += length;
            }
        }
        events
    }

    #[test]
    fn events_are_found_whatever_the_line_end_and_the_cut() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = format!(
                "data: a{end}{end}: note{end}{end}event: x{end}data:b{end}data: c{end}{end}"
            );
            // After a lone CR only a further byte tells that no LF belongs to it.
            let stream = stream + ":";
            for cut in 0..stream.len() {
                let events = split(stream.as_bytes(), &[cut]);
                assert_eq!(events.len(), 3, "{end:?} cut at {cut}");
                assert_eq!(read(&events[0]).data.as_deref(), Some(&b"a"[..]));
                assert_eq!(read(&events[1]).data, None);
                let last = read(&events[2]);
                assert_eq!((last.name, last.data.as_deref()), (&b"x"[..], Some(&b"b\nc"[..])));
            }
        }
    }

    #[test]
    fn a_name_before_the_data_is_read_either_way() {
        for event in ["event: x\ndata: y\n\n", "event:x\r\ndata:y\r\n\r\n", "data: y\nevent: x\n\n"]
        {
            let read = read(event.as_bytes());
            assert_eq!(
                (read.name, read.data.as_deref()),
                (&b"x"[..], Some(&b"y"[..])),
                "{event:?}"
            );
        }
    }

    #[test]
    fn separators_of_unicode_are_text() {
        let stream = "data: a\u{2028}b\u{2029}c\n\n";
        let events = split(stream.as_bytes(), &[]);
        assert_eq!(read(&events[0]).data.as_deref(), Some("a\u{2028}b\u{2029}c".as_bytes()));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            stream in r"(data: ?[a-z]{0,6}(\n|\r\n)|:x\n|\n|\r\n){0,24}",
            mut cuts in prop::collection::vec(0usize..200, 0..10),
        ) {
            cuts.retain(|&cut| cut <= stream.len());
            cuts.sort_unstable();
            prop_assert_eq!(split(stream.as_bytes(), &cuts), split(stream.as_bytes(), &[]));
        }
    }
}

//! A stream as one JSON array, which is what clients get that do not ask for `alt=sse`.
//!
//! In: whole events. Out: their data as elements. Never: an array that is whole when the stream was not
//! and nobody has said why.

use crate::sse;

/// An array in the making.
#[derive(Debug, Default)]
pub struct EventArray {
    has_begun: bool,
}

impl EventArray {
    /// Appends the data of `events`, which are whole, as elements.
    pub fn elements(&mut self, events: &[u8], out: &mut Vec<u8>) {
        let mut splitter = sse::Splitter::default();
        let mut at = 0;
        while let Some(length) = splitter.next(&events[at..]) {
            if let Some(data) = sse::read(&events[at..at + length]).data {
                let begun = std::mem::replace(&mut self.has_begun, true);
                out.extend_from_slice(if begun { b",\r\n" } else { b"[" });
                out.extend_from_slice(&data);
            }
            at += length;
        }
    }

    /// Closes it.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.has_begun { b"]" } else { b"[]" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_events_become_elements() {
        let mut array = EventArray::default();
        let mut out = Vec::new();
        for events in ["data: {\"a\":1}\r\n\r\n", "", ": note\n\n\r\n", "data: {}\n\ndata: 2\n\n"] {
            array.elements(events.as_bytes(), &mut out);
        }
        array.end(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), "[{\"a\":1},\r\n{},\r\n2]");
        let mut out = Vec::new();
        EventArray::default().end(&mut out);
        assert_eq!(out, b"[]");
    }
}

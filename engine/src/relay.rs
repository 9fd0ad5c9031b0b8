//! A provider's event stream on its way to the client: framing off, events judged, framing on.
//!
//! In: bytes as they come from the provider. Out: chunks of whole events for the client, and the
//! [`Facts`] of the stream. In one dialect the events themselves are not changed and, but for the move
//! out of the provider's chunks, not copied; between two each is translated when it is whole. Never:
//! I/O; an allocation per event once the buffers have grown.

use std::borrow::Cow;
use wire::chat::{Event, StreamReader, StreamWriter};
use wire::chunked::{self, Decoder, Step};
use wire::dialect::gemini_generate::EventArray;
use wire::dialect::{Codec, EventKind, UsageRules};
use wire::http1::Framing;
use wire::refusal::Refusal;
use wire::sse::{self, Splitter};

/// Why a stream cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// Broken framing, or an event beyond every limit.
    Malformed(&'static str),
    /// The provider sent an error object.
    Error,
    /// It ended without the mark of a complete answer.
    Interrupted,
}

/// What is known of a stream so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Whether anything that the model generated has come.
    pub has_content: bool,
    /// Whether the model has said why it stopped.
    pub finish: bool,
    /// Whether the end mark has come, or was supplied.
    pub ended: bool,
    /// Whether the provider's message has ended.
    pub body_done: bool,
    /// The provider's count, the last one given.
    pub usage: Option<models::Usage>,
    /// Bytes of generated text and tool arguments.
    pub content_bytes: u32,
    /// Events passed on.
    pub events: u32,
}

/// Puts the events of one dialect into another.
pub struct Translator {
    reader: Box<dyn StreamReader>,
    writer: Box<dyn StreamWriter>,
    /// Bytes of the provider's events that are not whole yet.
    source: Vec<u8>,
}

impl Translator {
    /// A translator for one stream.
    pub fn new(reader: Box<dyn StreamReader>, writer: Box<dyn StreamWriter>) -> Translator {
        Translator { reader, writer, source: Vec::with_capacity(8 * 1024) }
    }
}

/// One stream.
pub struct Relay {
    /// The client's dialect.
    codec: &'static dyn Codec,
    rules: UsageRules,
    /// Where the provider speaks another one.
    translator: Option<Translator>,
    /// Whether the event that only holds the usage is kept from the client.
    hides_usage: bool,
    /// Whether the client understands chunks.
    chunked_out: bool,
    /// Where the client gets the elements of an array instead of events.
    array: Option<EventArray>,
    body: Body,
    splitter: Splitter,
    /// Room for the line of a chunk's size, then `ready` bytes of whole events, then the beginning
    /// of the next event.
    out: Vec<u8>,
    ready: usize,
    /// The beginning of the next event while `out` is sealed and sent.
    tail: Vec<u8>,
    facts: Facts,
}

enum Body {
    Chunked(Decoder),
    Length(u64),
    UntilClose,
}

impl Relay {
    /// A relay for a stream that is framed as `framing` says.
    pub fn new(
        codec: &'static dyn Codec,
        rules: UsageRules,
        framing: Framing,
        hides_usage: bool,
        chunked_out: bool,
    ) -> Relay {
        let body = match framing {
            Framing::Chunked => Body::Chunked(Decoder::default()),
            Framing::Length(length) => Body::Length(length),
            Framing::None => Body::Length(0),
            Framing::UntilClose => Body::UntilClose,
        };
        let mut out = Vec::with_capacity(8 * 1024);
        out.resize(chunked::SIZE_ROOM, 0);
        Relay {
            codec,
            rules,
            translator: None,
            hides_usage,
            chunked_out,
            array: None,
            body,
            splitter: Splitter::default(),
            out,
            ready: 0,
            tail: Vec::new(),
            facts: Facts::default(),
        }
    }

    /// The same for a provider of another dialect.
    pub fn translating(mut self, translator: Translator) -> Relay {
        self.translator = Some(translator);
        self
    }

    /// The same for a client that wants an array.
    pub fn as_array(mut self) -> Relay {
        self.array = Some(EventArray::default());
        self
    }

    /// What is known so far.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Takes what was read from the provider. What does not belong to this stream stays in `incoming`.
    pub fn take(&mut self, incoming: &mut Vec<u8>) -> Result<(), StreamFault> {
        let used = self.unframe(incoming)?;
        if used == incoming.len() {
            incoming.clear();
        } else {
            incoming.drain(..used);
        }
        match self.translator.is_some() {
            true => self.translate()?,
            false => self.judge()?,
        }
        if self.facts.body_done { self.finish_up() } else { Ok(()) }
    }

    /// The provider has closed its side. An answer that said why it stopped is complete even when
    /// the end mark is missing; then the mark is supplied.
    pub fn close(&mut self) -> Result<(), StreamFault> {
        if matches!(self.body, Body::UntilClose) {
            self.facts.body_done = true;
        }
        self.finish_up()
    }

    /// Whether whole events wait to be sent.
    pub fn has_ready(&self) -> bool {
        self.ready > 0
    }

    /// Makes the waiting events, and the end of the body if `last`, ready to be sent: the bytes of
    /// [`Relay::out`] from the offset that is given. To be followed by [`Relay::sent`].
    pub fn seal(&mut self, last: bool) -> usize {
        let events_end = chunked::SIZE_ROOM + self.ready;
        self.tail.clear();
        self.tail.extend_from_slice(&self.out[events_end..]);
        self.out.truncate(events_end);
        if let Some(array) = &mut self.array {
            let events = self.out.split_off(chunked::SIZE_ROOM);
            array.elements(&events, &mut self.out);
            if last {
                array.end(&mut self.out);
            }
            self.ready = self.out.len() - chunked::SIZE_ROOM;
        }
        let mut start = chunked::SIZE_ROOM;
        if self.chunked_out {
            if self.ready > 0 {
                start = chunked::seal(&mut self.out, 0);
            }
            if last {
                self.out.extend_from_slice(chunked::LAST_CHUNK);
            }
        }
        start
    }

    /// The buffer that is sent.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// What [`Relay::seal`] made ready has been sent.
    pub fn sent(&mut self) {
        self.out.clear();
        self.out.resize(chunked::SIZE_ROOM, 0);
        self.out.extend_from_slice(&self.tail);
        self.ready = 0;
    }

    /// Puts an event of our own in the place of whatever has not been sent.
    pub fn replace_rest(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.truncate(chunked::SIZE_ROOM + self.ready);
        write(&mut self.out);
        self.ready = self.out.len() - chunked::SIZE_ROOM;
    }

    /// Moves the data of `incoming` out of its framing, behind what `out` holds, or to the translator.
    /// Gives the number of bytes used.
    fn unframe(&mut self, incoming: &[u8]) -> Result<usize, StreamFault> {
        let out = match &mut self.translator {
            Some(translator) => &mut translator.source,
            None => &mut self.out,
        };
        match &mut self.body {
            Body::UntilClose => {
                out.extend_from_slice(incoming);
                Ok(incoming.len())
            }
            Body::Length(remaining) => {
                let taken = incoming.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                *remaining -= taken as u64;
                self.facts.body_done = *remaining == 0;
                out.extend_from_slice(&incoming[..taken]);
                Ok(taken)
            }
            Body::Chunked(decoder) => {
                let mut at = 0;
                loop {
                    match decoder.step(incoming, &mut at) {
                        Ok(Step::More) => return Ok(at),
                        Ok(Step::Data { start, end }) => {
                            out.extend_from_slice(&incoming[start..end]);
                        }
                        Ok(Step::End) => {
                            self.facts.body_done = true;
                            return Ok(at);
                        }
                        Err(bad) => return Err(StreamFault::Malformed(bad.0)),
                    }
                }
            }
        }
    }

    /// Judges every event that is whole now.
    fn judge(&mut self) -> Result<(), StreamFault> {
        let mut at = chunked::SIZE_ROOM + self.ready;
        while !self.facts.ended {
            let Some(length) = self.splitter.next(&self.out[at..]) else { break };
            if self.keeps(at, length)? {
                at += length;
                self.facts.events += 1;
            } else {
                self.out.drain(at..at + length);
            }
            self.ready = at - chunked::SIZE_ROOM;
        }
        if self.facts.ended {
            // Nothing counts after the end mark.
            self.out.truncate(at);
        } else if self.out.len() - at > sse::EVENT_BYTES_MAX {
            return Err(StreamFault::Malformed("event larger than 1 MiB"));
        } else if !self.facts.has_content && self.ready > sse::EVENT_BYTES_MAX {
            // Nothing is sent before the first content, so what opens the answer is collected.
            return Err(StreamFault::Malformed("more than 1 MiB before the first content"));
        }
        Ok(())
    }

    /// Translates every event that is whole now.
    fn translate(&mut self) -> Result<(), StreamFault> {
        let Some(Translator { reader, writer, source }) = &mut self.translator else {
            return Ok(());
        };
        let (facts, out) = (&mut self.facts, &mut self.out);
        let mut at = 0;
        let mut fault = None;
        while !facts.ended && fault.is_none() {
            let Some(length) = self.splitter.next(&source[at..]) else { break };
            let event = sse::read(&source[at..at + length]);
            at += length;
            let Some(data) = event.data else { continue };
            facts.events += 1;
            reader.read(event.name, &data, &mut |choice, event| {
                // Nothing counts after a fault or the end.
                if fault.is_none() && !facts.ended {
                    match facts.note(&event) {
                        Ok(()) => writer.write(choice, &event, out),
                        Err(found) => fault = Some(found),
                    }
                }
            });
        }
        source.drain(..at);
        self.ready = out.len() - chunked::SIZE_ROOM;
        let is_endless = !facts.has_content && self.ready > sse::EVENT_BYTES_MAX;
        match fault {
            Some(fault) => Err(fault),
            None if source.len() > sse::EVENT_BYTES_MAX && !facts.ended => {
                Err(StreamFault::Malformed("event larger than 1 MiB"))
            }
            None if is_endless => {
                Err(StreamFault::Malformed("more than 1 MiB before the first content"))
            }
            None => Ok(()),
        }
    }

    /// Whether the event of `length` bytes at `at` goes to the client.
    fn keeps(&mut self, at: usize, length: usize) -> Result<bool, StreamFault> {
        let event = sse::read(&self.out[at..at + length]);
        let Some(data) = event.data else {
            // A comment keeps a client's connection alive; before the first content there is no
            // response to keep.
            return Ok(self.facts.has_content && self.out[at] == b':');
        };
        let is_plain = matches!(data, Cow::Borrowed(_));
        let event = self.codec.read_event(&data, self.rules, self.facts.usage.as_ref());
        let facts = &mut self.facts;
        if event.usage.is_some() {
            facts.usage = event.usage;
        }
        facts.finish |= event.finish;
        facts.content_bytes = facts.content_bytes.saturating_add(event.content_bytes);
        match event.kind {
            EventKind::Content => {
                facts.has_content = true;
                Ok(true)
            }
            EventKind::Preamble => Ok(true),
            EventKind::Usage => Ok(!self.hides_usage),
            // An end mark without a reason why the model stopped ends nothing.
            EventKind::End if !facts.finish => Err(StreamFault::Interrupted),
            // Text in several data lines is legal and never an end mark worth repeating.
            EventKind::End if is_plain => {
                facts.ended = true;
                Ok(true)
            }
            EventKind::End | EventKind::Unknown => Ok(false),
            EventKind::Error => Err(StreamFault::Error),
        }
    }

    fn finish_up(&mut self) -> Result<(), StreamFault> {
        if self.facts.ended {
            return Ok(());
        }
        if !self.facts.finish {
            return Err(StreamFault::Interrupted);
        }
        self.facts.ended = true;
        match &mut self.translator {
            Some(translator) => {
                translator.writer.write(0, &Event::End, &mut self.out);
                self.ready = self.out.len() - chunked::SIZE_ROOM;
            }
            None => {
                let mark = self.codec.end_mark();
                self.replace_rest(|out| out.extend_from_slice(mark));
            }
        }
        Ok(())
    }

    /// Puts a refusal in the place of whatever has not been sent: the stream's last event.
    pub fn refuse(&mut self, refusal: &Refusal, request_id: &str) {
        let mut event = Vec::new();
        let is_written = match &mut self.translator {
            Some(translator) => translator.writer.write_error(refusal, &mut event),
            None => false,
        };
        if !is_written {
            self.codec.write_stream_error(refusal, request_id, &mut event);
        }
        self.replace_rest(|out| out.extend_from_slice(&event));
    }
}

impl Facts {
    /// Takes note of a neutral event.
    fn note(&mut self, event: &Event<'_>) -> Result<(), StreamFault> {
        let bytes = match event {
            Event::Text(piece) | Event::Refusal(piece) | Event::Reasoning(piece) => piece.len(),
            Event::CallInput { piece, .. } => piece.len(),
            Event::CallStart { name, .. } => name.len(),
            Event::ReasoningEnd(_) | Event::Logprobs(_) | Event::CallEnd { .. } => 0,
            Event::Finish { .. } => {
                self.finish = true;
                0
            }
            Event::Usage(usage) => {
                self.usage = Some(*usage);
                return Ok(());
            }
            Event::Start { .. } => return Ok(()),
            Event::Error => return Err(StreamFault::Error),
            // An end mark without a reason why the model stopped ends nothing.
            Event::End if !self.finish => return Err(StreamFault::Interrupted),
            Event::End => {
                self.ended = true;
                return Ok(());
            }
        };
        self.has_content = true;
        self.content_bytes = self.content_bytes.saturating_add(bytes as u32);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::dialect::openai_chat::OpenAiChat;

    const HELLO: &str =
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    const TEXT: &str =
        "data: {\"choices\":[{\"delta\":{\"content\":\"h\u{e9}\"}}],\"usage\":null}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const USAGE: &str =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn relay(hides_usage: bool) -> Relay {
        Relay::new(&OpenAiChat, UsageRules::default(), Framing::UntilClose, hides_usage, true)
    }

    /// Sends `stream` through in pieces of `size` bytes; gives what the client reads.
    fn through(
        mut relay: Relay,
        stream: &str,
        size: usize,
    ) -> Result<(String, Facts), StreamFault> {
        let mut sent = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            relay.take(&mut piece.to_vec())?;
            if relay.has_ready() {
                let start = relay.seal(false);
                sent.extend_from_slice(&relay.out()[start..]);
                relay.sent();
            }
        }
        relay.close()?;
        let start = relay.seal(true);
        sent.extend_from_slice(&relay.out()[start..]);
        let mut reader =
            crate::body::BodyReader::new(Framing::Chunked, 0, 1 << 20).expect("a small body");
        assert_eq!(reader.advance(&mut sent), Ok(true), "the client's body ends");
        assert_eq!(reader.range().end, sent.len(), "nothing follows it");
        Ok((String::from_utf8(sent).expect("events are text"), *relay.facts()))
    }

    #[test]
    fn events_pass_unchanged_however_they_are_cut() {
        let stream = [HELLO, TEXT, TEXT, STOP, USAGE, DONE].concat();
        for size in 1..stream.len() {
            let (read, facts) = through(relay(true), &stream, size).unwrap();
            assert_eq!(read, [HELLO, TEXT, TEXT, STOP, DONE].concat(), "pieces of {size}");
            assert_eq!(facts.usage.unwrap().output.0, 2);
            assert!(facts.has_content && facts.finish && facts.ended);
            let (read, _) = through(relay(false), &stream, size).unwrap();
            assert_eq!(read, stream, "a client who asked sees the usage");
        }
    }

    #[test]
    fn an_end_is_never_invented() {
        type Events = &'static [&'static str];
        let rows: &[(Events, Result<Events, StreamFault>)] = &[
            (&[HELLO, TEXT], Err(StreamFault::Interrupted)),
            (&[HELLO, TEXT, DONE], Err(StreamFault::Interrupted)),
            (&[], Err(StreamFault::Interrupted)),
            (&[HELLO, TEXT, STOP], Ok(&[HELLO, TEXT, STOP, DONE])),
            (&[HELLO, TEXT, STOP, "data: {\"choi"], Ok(&[HELLO, TEXT, STOP, DONE])),
            (&[TEXT, STOP, DONE, DONE, TEXT], Ok(&[TEXT, STOP, DONE])),
            (&[TEXT, "data: {\"error\":{\"message\":\"x\"}}\n\n", STOP], Err(StreamFault::Error)),
            (
                &[TEXT, "data: nonsense\n\n", ": note\n\n", STOP, DONE],
                Ok(&[TEXT, ": note\n\n", STOP, DONE]),
            ),
            (&[": early\n\n", TEXT, STOP, DONE], Ok(&[TEXT, STOP, DONE])),
            (&[TEXT, STOP, "event: x\ndata: {}\n\n", DONE], Ok(&[TEXT, STOP, DONE])),
        ];
        for (sent, expected) in rows {
            for size in [1, 7, 10_000] {
                let read = through(relay(true), &sent.concat(), size).map(|(read, _)| read);
                let expected = expected.map(|events| events.concat());
                assert_eq!(read, expected, "{sent:?}");
            }
        }
    }

    #[test]
    fn an_endless_event_is_cut() {
        let mut relay = relay(true);
        let mut result = Ok(());
        for _ in 0..=sse::EVENT_BYTES_MAX / 4096 {
            result = result.and_then(|()| relay.take(&mut vec![b'a'; 4096]));
        }
        assert!(matches!(result, Err(StreamFault::Malformed(_))));
    }

    #[test]
    fn an_endless_preamble_is_cut() {
        let mut relay = relay(true);
        let piece = HELLO.repeat(200);
        let rounds = sse::EVENT_BYTES_MAX / piece.len() + 1;
        let result = (0..rounds).try_for_each(|_| relay.take(&mut piece.clone().into_bytes()));
        assert!(matches!(result, Err(StreamFault::Malformed(_))));
    }

    #[test]
    fn chunks_of_the_provider_are_taken_off() {
        let stream = [TEXT, STOP, DONE].concat();
        let mut wire = format!("{:x}\r\n{stream}\r\n0\r\n\r\nX", stream.len()).into_bytes();
        let mut relay =
            Relay::new(&OpenAiChat, UsageRules::default(), Framing::Chunked, true, true);
        relay.take(&mut wire).unwrap();
        assert!(relay.facts().body_done && relay.facts().ended);
        assert_eq!(wire, b"X", "what follows the body stays");
    }
}

//! Streams: a provider's events, read into neutral ones, and a client's, written from them.

use super::answer::{finish_name, finish_of, id_of, is_own, signature_of};
use super::usage;
use crate::chat::names::ToolNames;
use crate::chat::{
    Event, Finish, Input, KEPT_BYTES_MAX, ReadRules, Request, Shown, State, Str, StreamReader,
    StreamWriter,
};
use crate::json::write::Object;
use crate::json::{Cursor, JsonError, Kind};
use models::{Tokens, Usage};

type Result<T> = std::result::Result<T, JsonError>;
type Sink<'s> = dyn FnMut(u32, Event<'_>) + 's;

/// Reads the events of a provider. Blocks never interleave, so there is one at a time.
pub(super) struct Reader {
    rules: ReadRules,
    block: Block,
    calls: u32,
    usage: Option<Usage>,
}

/// The block that goes on.
enum Block {
    None,
    Text,
    /// With the signature so far.
    Thinking(Vec<u8>),
    /// With its data.
    Redacted(Vec<u8>),
    Call(u32),
    /// Of a kind that means nothing elsewhere.
    Other,
}

/// What an event says, as far as it is looked at.
#[derive(Default)]
struct Said<'e> {
    kind: &'e [u8],
    block: Option<Cursor<'e>>,
    delta: Option<Cursor<'e>>,
    message: Option<Cursor<'e>>,
    usage: Option<Cursor<'e>>,
}

impl Reader {
    pub(super) fn new(rules: &ReadRules) -> Reader {
        Reader { rules: *rules, block: Block::None, calls: 0, usage: None }
    }

    fn event(&mut self, data: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        let mut cursor = Cursor::new(data)?;
        let mut said = Said::default();
        cursor.object(|key, cursor| {
            if cursor.kind()? == Kind::Object {
                let at = Some(cursor.clone());
                match key.bytes {
                    b"content_block" => said.block = at,
                    b"delta" => said.delta = at,
                    b"message" => said.message = at,
                    b"usage" => said.usage = at,
                    _ => {}
                }
            } else if key.bytes == b"type" {
                said.kind = cursor.string()?.bytes;
                return Ok(());
            }
            cursor.skip().map(drop)
        })?;
        cursor.end()?;
        match said.kind {
            b"content_block_delta" => {
                if let Some(mut delta) = said.delta {
                    self.delta(&mut delta, sink)?;
                }
            }
            b"message_start" => {
                let mut id = None;
                if let Some(mut message) = said.message {
                    message.object(|key, cursor| {
                        match (key.bytes, cursor.kind()?) {
                            (b"id", Kind::String) => id = Some(Str::from(cursor.string()?)),
                            (b"usage", _) => self.usage = usage::read(cursor, None)?,
                            _ => drop(cursor.skip()?),
                        }
                        Ok(())
                    })?;
                }
                sink(0, Event::Start { id });
                if let Some(usage) = self.usage {
                    sink(0, Event::Usage(usage));
                }
            }
            b"content_block_start" => {
                self.stop(sink);
                if let Some(mut block) = said.block {
                    self.start(&mut block, sink)?;
                }
            }
            b"content_block_stop" => self.stop(sink),
            b"message_delta" => {
                if let Some(mut counts) = said.usage {
                    self.usage = usage::read(&mut counts, self.usage.as_ref())?;
                    if let Some(usage) = self.usage {
                        sink(0, Event::Usage(usage));
                    }
                }
                if let Some(mut delta) = said.delta {
                    self.finish(&mut delta, sink)?;
                }
            }
            b"message_stop" => sink(0, Event::End),
            b"error" => sink(0, Event::Error),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) -> Result<()> {
        let (mut kind, mut id, mut name, mut text) = (None, None, None, None);
        let (mut secret, mut input) = (Vec::new(), None);
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"type", Kind::String) => kind = Some(cursor.string()?.bytes),
                (b"id", Kind::String) => id = Some(Str::from(cursor.string()?)),
                (b"name", Kind::String) => name = Some(Str::from(cursor.string()?)),
                (b"text" | b"thinking", Kind::String) => text = Some(Str::from(cursor.string()?)),
                (b"data" | b"signature", Kind::String) => {
                    secret.extend_from_slice(cursor.string()?.bytes);
                }
                (b"input", Kind::Object) => input = Some(cursor.raw()?),
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let text = text.filter(|text| !text.is_empty());
        self.block = match kind.unwrap_or_default() {
            b"text" => {
                text.into_iter().for_each(|text| sink(0, Event::Text(text)));
                Block::Text
            }
            b"thinking" => {
                text.into_iter().for_each(|text| sink(0, Event::Reasoning(text)));
                Block::Thinking(secret)
            }
            b"redacted_thinking" => Block::Redacted(secret),
            b"tool_use" => {
                let call = self.calls;
                self.calls += 1;
                let (id, name) = (id.unwrap_or(Str::EMPTY), name.unwrap_or(Str::EMPTY));
                sink(0, Event::CallStart { call, id, name, is_free: false, state: None });
                // Some servers give the input at once.
                if let Some(input) = input.filter(|input| !is_empty_object(input)) {
                    let piece = Str::from_text(&String::from_utf8_lossy(input));
                    sink(0, Event::CallInput { call, piece });
                }
                Block::Call(call)
            }
            _ => Block::Other,
        };
        Ok(())
    }

    fn delta(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) -> Result<()> {
        let mut piece = None;
        let mut signature = None;
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"text" | b"thinking" | b"partial_json", Kind::String) => {
                    piece = Some(Str::from(cursor.string()?));
                }
                (b"signature", Kind::String) => signature = Some(cursor.string()?),
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let piece = piece.filter(|piece| !piece.is_empty());
        match (&mut self.block, piece, signature) {
            (Block::Thinking(whole), _, Some(signature)) => {
                whole.extend_from_slice(signature.bytes);
            }
            (Block::Text, Some(piece), _) => sink(0, Event::Text(piece)),
            (Block::Thinking(_), Some(piece), _) => sink(0, Event::Reasoning(piece)),
            (Block::Call(call), Some(piece), _) => {
                sink(0, Event::CallInput { call: *call, piece });
            }
            _ => {}
        }
        Ok(())
    }

    fn stop(&mut self, sink: &mut Sink<'_>) {
        let issuer = self.rules.issuer;
        let state = |data: Vec<u8>, is_redacted| {
            let data = Str::escaped_from(data);
            (!data.is_empty()).then_some(State { issuer, is_redacted, id: Str::EMPTY, data })
        };
        match std::mem::replace(&mut self.block, Block::None) {
            Block::Thinking(signature) => sink(0, Event::ReasoningEnd(state(signature, false))),
            Block::Redacted(data) => sink(0, Event::ReasoningEnd(state(data, true))),
            Block::Call(call) => sink(0, Event::CallEnd { call }),
            Block::None | Block::Text | Block::Other => {}
        }
    }

    fn finish(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) -> Result<()> {
        let (mut why, mut stop_sequence) = (None, None);
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"stop_reason", Kind::String) => why = Some(finish_of(&cursor.string()?.text())),
                (b"stop_sequence", Kind::String) => stop_sequence = Some(cursor.string()?.into()),
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        if let Some(why) = why {
            self.stop(sink);
            sink(0, Event::Finish { why, stop_sequence });
        }
        Ok(())
    }
}

impl StreamReader for Reader {
    fn read(&mut self, _: &[u8], data: &[u8], sink: &mut dyn FnMut(u32, Event<'_>)) {
        if self.event(data, sink).is_err() {
            sink(0, Event::Error);
        }
    }
}

fn is_empty_object(text: &[u8]) -> bool {
    matches!(text, [b'{', inside @ .., b'}'] if inside.trim_ascii().is_empty())
}

/// Writes events for a client: one block after the other, however the provider mixes them.
pub(super) struct Writer {
    id: String,
    model: String,
    input_tokens: u32,
    names: ToolNames,
    has_begun: bool,
    /// Index of the next block.
    index: u32,
    open: Open,
    /// Calls that began while another one went on.
    waiting: Vec<Waiting>,
    usage: Option<Usage>,
    finish: Option<(Finish, Option<Str<'static>>)>,
}

/// The block that goes on.
enum Open {
    None,
    Text,
    Thinking,
    Call {
        call: u32,
        /// Its input so far, to know when it is whole. A provider that gives calls in turns does not
        /// say so.
        input: Str<'static>,
    },
}

/// A call that has to wait for its turn.
struct Waiting {
    call: u32,
    id: Str<'static>,
    name: Str<'static>,
    input: Str<'static>,
}

impl Writer {
    pub(super) fn new(request: &Request<'_>, shown: &Shown<'_>) -> Writer {
        Writer {
            id: format!("msg_{}", shown.id),
            model: shown.model.to_owned(),
            input_tokens: shown.input_tokens,
            names: ToolNames::of(request),
            has_begun: false,
            index: 0,
            open: Open::None,
            waiting: Vec::new(),
            usage: None,
            finish: None,
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        // What the provider has not counted yet is estimated; the last event corrects it.
        let input = Tokens(self.input_tokens.into());
        let usage = self.usage.unwrap_or(Usage { input, ..Usage::default() });
        event("message_start", out, |data| {
            data.object("message", |message| {
                message.text("id", &self.id).text("type", "message").text("role", "assistant");
                message.text("model", &self.model).raw("content", "[]");
                message.raw("stop_reason", "null").raw("stop_sequence", "null");
                usage::write(&usage, message.key("usage"));
            });
        });
    }

    /// Begins a block; `fill` writes the members of it.
    fn start(&mut self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        let index = self.index;
        event("content_block_start", out, |data| {
            data.number("index", index.into()).object("content_block", fill);
        });
    }

    fn delta(&self, kind: &str, member: &str, piece: &Str<'_>, out: &mut Vec<u8>) {
        event("content_block_delta", out, |data| {
            data.number("index", self.index.into()).object("delta", |delta| {
                delta.text("type", kind);
                piece.write(delta.key(member));
            });
        });
    }

    /// Ends the block that goes on.
    fn stop(&mut self, out: &mut Vec<u8>) {
        if matches!(self.open, Open::None) {
            return;
        }
        self.open = Open::None;
        let index = self.index;
        self.index += 1;
        event("content_block_stop", out, |data| {
            data.number("index", index.into());
        });
    }

    fn text(&mut self, piece: &Str<'_>, out: &mut Vec<u8>) {
        if !matches!(self.open, Open::Text) {
            self.end_block(out);
            self.start(out, |block| {
                block.text("type", "text").text("text", "");
            });
            self.open = Open::Text;
        }
        self.delta("text_delta", "text", piece, out);
    }

    fn thinking(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.open, Open::Thinking) {
            self.end_block(out);
            self.start(out, |block| {
                block.text("type", "thinking").text("thinking", "").text("signature", "");
            });
            self.open = Open::Thinking;
        }
    }

    fn end_thinking(&mut self, state: Option<&State<'_>>, out: &mut Vec<u8>) {
        match state {
            Some(state) if state.is_redacted && is_own(state) => {
                self.end_block(out);
                self.start(out, |block| {
                    block.text("type", "redacted_thinking");
                    state.data.write(block.key("data"));
                });
                self.open = Open::Text;
            }
            state => {
                self.thinking(out);
                self.delta("signature_delta", "signature", &signature_of(state), out);
            }
        }
        self.stop(out);
    }

    /// Ends the block that goes on so that another one can begin. Thinking that nobody signed gets a
    /// signature of ours: clients refuse it without. Calls that wait have their turn.
    fn end_block(&mut self, out: &mut Vec<u8>) {
        match self.open {
            Open::Thinking => self.end_thinking(None, out),
            Open::Call { .. } => self.end_calls(out),
            Open::Text => self.stop(out),
            Open::None => {}
        }
    }

    fn call_start(&mut self, call: u32, id: Str<'static>, name: &Str<'_>, out: &mut Vec<u8>) {
        let name = self.names.find(name).map_or(name.borrowed(), |tool| tool.name.borrowed());
        let name = name.into_owned();
        match &self.open {
            Open::Call { input, .. } if !is_whole(input) => {
                self.waiting.push(Waiting { call, id, name, input: Str::EMPTY });
                return;
            }
            // The one that waits is the one that goes on.
            Open::Call { .. } => self.stop(out),
            _ => self.end_block(out),
        }
        self.open_call(call, &id, &name, out);
    }

    fn open_call(&mut self, call: u32, id: &Str<'_>, name: &Str<'_>, out: &mut Vec<u8>) {
        self.start(out, |block| {
            block.text("type", "tool_use");
            id.write(block.key("id"));
            name.write(block.key("name"));
            block.raw("input", "{}");
        });
        self.open = Open::Call { call, input: Str::EMPTY };
    }

    fn call_input(&mut self, call: u32, piece: &Str<'_>, out: &mut Vec<u8>) {
        match &mut self.open {
            Open::Call { call: open, input } if *open == call => {
                keep(input, piece);
                self.delta("input_json_delta", "partial_json", piece, out);
            }
            _ => {
                if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.call == call)
                {
                    keep(&mut waiting.input, piece);
                }
            }
        }
    }

    fn call_end(&mut self, call: u32, out: &mut Vec<u8>) {
        if matches!(self.open, Open::Call { call: open, .. } if open == call) {
            self.stop(out);
            self.next_call(out);
        }
    }

    /// The next call that waits goes on.
    fn next_call(&mut self, out: &mut Vec<u8>) {
        if self.waiting.is_empty() {
            return;
        }
        let Waiting { call, id, name, input } = self.waiting.remove(0);
        self.open_call(call, &id, &name, out);
        if !input.is_empty() {
            self.call_input(call, &input, out);
        }
    }

    fn end_calls(&mut self, out: &mut Vec<u8>) {
        while matches!(self.open, Open::Call { .. }) {
            self.stop(out);
            self.next_call(out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.end_block(out);
        let (finish, sequence) = self.finish.take().unwrap_or((Finish::Stop, None));
        event("message_delta", out, |data| {
            data.object("delta", |delta| {
                delta.text("stop_reason", finish_name(finish, sequence.is_some()));
                match &sequence {
                    Some(text) => text.write(delta.key("stop_sequence")),
                    None => drop(delta.raw("stop_sequence", "null")),
                }
            });
            let input = Tokens(self.input_tokens.into());
            let usage = self.usage.unwrap_or(Usage { input, ..Usage::default() });
            usage::write(&usage, data.key("usage"));
        });
        event("message_stop", out, |_| {});
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, choice: u32, event: &Event<'_>, out: &mut Vec<u8>) {
        // There is one answer in this dialect.
        if choice > 0 {
            return;
        }
        match event {
            Event::Start { id: _ } => {}
            Event::Usage(usage) => {
                self.usage = Some(*usage);
                return;
            }
            _ => self.begin(out),
        }
        match event {
            Event::Text(piece) | Event::Refusal(piece) => self.text(piece, out),
            Event::Reasoning(piece) => {
                self.thinking(out);
                self.delta("thinking_delta", "thinking", piece, out);
            }
            Event::ReasoningEnd(state) => self.end_thinking(state.as_ref(), out),
            Event::CallStart { call, id, name, is_free: _, state } => {
                self.call_start(*call, id_of(id, state.as_ref()), name, out);
            }
            Event::CallInput { call, piece } => self.call_input(*call, piece, out),
            Event::CallEnd { call } => self.call_end(*call, out),
            Event::Finish { why, stop_sequence } => {
                self.end_block(out);
                self.finish = Some((*why, stop_sequence.clone().map(Str::into_owned)));
            }
            Event::End => self.end(out),
            Event::Start { .. } | Event::Usage(_) | Event::Logprobs(_) | Event::Error => {}
        }
    }
}

/// Appends an event; `fill` writes the members of its data after the type.
fn event(kind: &str, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let mut data = Object::begin(out);
    data.text("type", kind);
    fill(&mut data);
    data.end();
    out.extend_from_slice(b"\n\n");
}

fn keep(whole: &mut Str<'static>, piece: &Str<'_>) {
    if whole.len() + piece.len() <= KEPT_BYTES_MAX {
        whole.push(piece);
    }
}

fn is_whole(input: &Str<'_>) -> bool {
    Input::Text(input.borrowed()).is_whole()
}

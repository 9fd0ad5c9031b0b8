//! A provider's stream, read into neutral events.
//!
//! Servers differ in how much they tell twice: each piece of an answer comes as deltas, again in the
//! event that ends them, in the item, and in the response. It is taken from where it comes first.

use super::answer::Whole;
use super::items::{Item, PARAGRAPH};
use crate::chat::{Event, Input, Json, Part, ReadRules, Str, StreamReader};
use crate::json::{Cursor, JsonError, Kind, RawStr};

type Result<T> = std::result::Result<T, JsonError>;
type Sink<'s> = dyn FnMut(u32, Event<'_>) + 's;

/// Reads the events of a provider.
pub(super) struct Reader {
    rules: ReadRules,
    has_started: bool,
    items: Vec<ItemRead>,
    calls: u32,
    has_refusal: bool,
}

/// What is known of an item.
struct ItemRead {
    /// Where it stands in the output, as the provider counts.
    index: u32,
    /// Its number among the calls, if it is one.
    call: Option<u32>,
    /// Whether any of it has been handed over.
    has_piece: bool,
    is_done: bool,
}

/// What an event may hold.
#[derive(Default)]
struct Fields<'d> {
    kind: &'d [u8],
    index: u32,
    part_index: u32,
    delta: Option<RawStr<'d>>,
    text: Option<RawStr<'d>>,
    logprobs: Option<&'d [u8]>,
    item: Option<Cursor<'d>>,
    response: Option<Cursor<'d>>,
}

impl<'d> Fields<'d> {
    fn read(data: &'d [u8]) -> Result<Fields<'d>> {
        let mut fields = Fields::default();
        let mut cursor = Cursor::new(data)?;
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"type", Kind::String) => fields.kind = cursor.string()?.bytes,
                (b"output_index", Kind::Number) => {
                    fields.index = cursor.unsigned("an index")? as u32;
                }
                (b"summary_index" | b"content_index", Kind::Number) => {
                    fields.part_index = cursor.unsigned("an index")? as u32;
                }
                (b"delta", Kind::String) => fields.delta = Some(cursor.string()?),
                (b"arguments" | b"input" | b"text" | b"refusal", Kind::String) => {
                    fields.text = Some(cursor.string()?);
                }
                (b"logprobs", Kind::Array) => fields.logprobs = Some(cursor.raw()?),
                (b"item", Kind::Object) => {
                    fields.item = Some(cursor.clone());
                    cursor.skip()?;
                }
                (b"response", Kind::Object) => {
                    fields.response = Some(cursor.clone());
                    cursor.skip()?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        cursor.end()?;
        Ok(fields)
    }
}

impl Reader {
    pub(super) fn new(rules: &ReadRules) -> Reader {
        Reader {
            rules: *rules,
            has_started: false,
            items: Vec::new(),
            calls: 0,
            has_refusal: false,
        }
    }

    fn event(&mut self, name: &[u8], data: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        let mut fields = Fields::read(data)?;
        if fields.kind.is_empty() {
            fields.kind = name;
        }
        match fields.kind {
            b"response.created" | b"response.in_progress" => self.start(&mut fields, sink)?,
            b"response.output_item.added" => {
                if let Some(cursor) = &mut fields.item {
                    let item = Item::read(cursor)?;
                    self.begin(fields.index, &item, sink);
                }
            }
            b"response.output_item.done" => {
                if let Some(cursor) = &mut fields.item {
                    let item = Item::read(cursor)?;
                    self.end(fields.index, item, sink);
                }
            }
            b"response.output_text.delta" => {
                self.piece(&fields, sink, |_, piece| Event::Text(piece));
                if let Some(logprobs) = fields.logprobs.filter(|logprobs| logprobs.len() > 2) {
                    sink(0, Event::Logprobs(Json::checked(logprobs)));
                }
            }
            b"response.refusal.delta" => {
                self.has_refusal = true;
                self.piece(&fields, sink, |_, piece| Event::Refusal(piece));
            }
            b"response.reasoning_summary_text.delta" | b"response.reasoning_text.delta" => {
                self.piece(&fields, sink, |_, piece| Event::Reasoning(piece));
            }
            b"response.reasoning_summary_part.added" if fields.part_index > 0 => {
                sink(0, Event::Reasoning(Str::escaped_from(PARAGRAPH)));
            }
            b"response.function_call_arguments.delta"
            | b"response.custom_tool_call_input.delta" => {
                self.piece(&fields, sink, |call, piece| Event::CallInput { call, piece });
            }
            b"response.function_call_arguments.done" | b"response.custom_tool_call_input.done"
                if !self.item(fields.index).has_piece =>
            {
                fields.delta = fields.text;
                self.piece(&fields, sink, |call, piece| Event::CallInput { call, piece });
            }
            b"response.completed" | b"response.incomplete" | b"response.done" => {
                self.finish(&mut fields, sink)?;
            }
            b"response.failed" | b"response.cancelled" | b"error" => sink(0, Event::Error),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, fields: &mut Fields<'_>, sink: &mut Sink<'_>) -> Result<()> {
        if std::mem::replace(&mut self.has_started, true) {
            return Ok(());
        }
        let mut id = None;
        if let Some(cursor) = &mut fields.response {
            cursor.object(|key, cursor| {
                match (key.bytes, cursor.kind()?) {
                    (b"id", Kind::String) => id = Some(cursor.string()?.into()),
                    _ => drop(cursor.skip()?),
                }
                Ok(())
            })?;
        }
        sink(0, Event::Start { id });
        Ok(())
    }

    fn item(&mut self, index: u32) -> &mut ItemRead {
        let known = self.items.iter().rposition(|item| item.index == index && !item.is_done);
        let at = known.unwrap_or_else(|| {
            let item = ItemRead { index, call: None, has_piece: false, is_done: false };
            self.items.push(item);
            self.items.len() - 1
        });
        &mut self.items[at]
    }

    fn begin(&mut self, index: u32, item: &Item<'_>, sink: &mut Sink<'_>) {
        let calls = self.calls;
        let known = self.item(index);
        if !item.is_call() || known.call.is_some() {
            return;
        }
        known.call = Some(calls);
        self.calls += 1;
        let (id, name) = (item.result_id(), item.name.clone());
        sink(0, Event::CallStart { call: calls, id, name, is_free: item.is_free(), state: None });
    }

    fn piece<'d>(
        &mut self,
        fields: &Fields<'d>,
        sink: &mut Sink<'_>,
        event: impl FnOnce(u32, Str<'d>) -> Event<'d>,
    ) {
        let Some(piece) = fields.delta.filter(|piece| !piece.bytes.is_empty()) else { return };
        let item = self.item(fields.index);
        item.has_piece = true;
        let event = event(item.call.unwrap_or(u32::MAX), piece.into());
        // Input of a call that has not begun belongs to nothing.
        if !matches!(event, Event::CallInput { call: u32::MAX, .. }) {
            sink(0, event);
        }
    }

    /// An item is whole: whatever of it has not been handed over is now.
    fn end(&mut self, index: u32, item: Item<'_>, sink: &mut Sink<'_>) {
        self.begin(index, &item, sink);
        let known = self.item(index);
        let had_piece = std::mem::replace(&mut known.has_piece, true);
        known.is_done = true;
        match (item.kind, known.call) {
            (_, Some(call)) => {
                if !had_piece && !item.input.is_empty() {
                    sink(0, Event::CallInput { call, piece: item.input });
                }
                sink(0, Event::CallEnd { call });
            }
            (b"reasoning", _) => {
                let words = item.words();
                if !had_piece && !words.is_empty() {
                    sink(0, Event::Reasoning(words));
                }
                let state = item.state(&self.rules);
                sink(0, Event::ReasoningEnd(state));
            }
            (b"message", _) if !had_piece => {
                for part in item.content {
                    self.whole_part(part, sink);
                }
            }
            _ => {}
        }
    }

    fn whole_part(&mut self, part: Part<'_>, sink: &mut Sink<'_>) {
        match part {
            Part::Text(text) if !text.is_empty() => sink(0, Event::Text(text)),
            Part::Refusal(text) if !text.is_empty() => {
                self.has_refusal = true;
                sink(0, Event::Refusal(text));
            }
            Part::Reasoning(reasoning) => {
                if !reasoning.text.is_empty() {
                    sink(0, Event::Reasoning(reasoning.text));
                }
                sink(0, Event::ReasoningEnd(reasoning.state));
            }
            Part::Call(called) => {
                let call = self.calls;
                self.calls += 1;
                let is_free = matches!(called.input, Input::Free(_));
                let (id, name) = (called.id, called.name);
                sink(0, Event::CallStart { call, id, name, is_free, state: None });
                if let Input::Text(piece) | Input::Free(piece) = called.input {
                    sink(0, Event::CallInput { call, piece });
                }
                sink(0, Event::CallEnd { call });
            }
            _ => {}
        }
    }

    fn finish(&mut self, fields: &mut Fields<'_>, sink: &mut Sink<'_>) -> Result<()> {
        let Some(cursor) = &mut fields.response else {
            sink(0, Event::Error);
            return Ok(());
        };
        let mut whole = Whole::read(cursor, &self.rules)?;
        if self.items.is_empty() {
            // A server that only streams the frame.
            for part in std::mem::take(&mut whole.parts) {
                self.whole_part(part, sink);
            }
        }
        let mut why = whole.finish(self.calls > 0, self.has_refusal);
        if fields.kind == b"response.incomplete" && why != crate::chat::Finish::Filter {
            why = crate::chat::Finish::Length;
        }
        sink(0, Event::Finish { why, stop_sequence: None });
        if let Some(usage) = whole.answer.usage {
            sink(0, Event::Usage(usage));
        }
        sink(0, Event::End);
        Ok(())
    }
}

impl StreamReader for Reader {
    fn read(&mut self, name: &[u8], data: &[u8], sink: &mut dyn FnMut(u32, Event<'_>)) {
        if self.event(name, data, sink).is_err() {
            sink(0, Event::Error);
        }
    }
}

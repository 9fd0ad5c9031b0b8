//! Streams: a provider's chunks, read into neutral events, and a client's, written from them.

use super::answer::{finish_name, finish_of};
use super::tools::read_call;
use super::usage;
use crate::chat::names::{Named, ToolNames};
use crate::chat::{
    Event, Finish, Input, Json, KEPT_BYTES_MAX, ReadRules, Reasoning, Request, Shown, State, Str,
    StreamReader, StreamWriter, carry,
};
use crate::json::write::Object;
use crate::json::{Cursor, JsonError, Kind};
use models::Usage;

type Result<T> = std::result::Result<T, JsonError>;
type Sink<'s> = dyn FnMut(u32, Event<'_>) + 's;

/// Reads the chunks of a provider.
pub(super) struct Reader {
    rules: ReadRules,
    has_started: bool,
    id: Vec<u8>,
    choices: Vec<ChoiceRead>,
}

/// What is known of one alternative.
#[derive(Default)]
struct ChoiceRead {
    is_reasoning: bool,
    has_refusal: bool,
    calls: Vec<CallRead>,
}

/// A call that has begun: how its provider counts it, and by which id.
struct CallRead {
    index: Option<u32>,
    id: Vec<u8>,
}

impl Reader {
    pub(super) fn new(rules: &ReadRules) -> Reader {
        Reader { rules: *rules, has_started: false, id: Vec::new(), choices: Vec::new() }
    }

    fn chunk(&mut self, data: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        let mut cursor = Cursor::new(data)?;
        let mut choices = None;
        let mut counts = None;
        let mut id = None;
        let mut has_error = false;
        cursor.object(|key, cursor| {
            match key.bytes {
                b"choices" if cursor.kind()? == Kind::Array => {
                    choices = Some(cursor.clone());
                    cursor.skip()?;
                }
                b"usage" => counts = usage::read(cursor, self.rules.usage)?,
                b"id" if cursor.kind()? == Kind::String => id = Some(cursor.string()?),
                b"error" => {
                    has_error = !cursor.null()?;
                    if has_error {
                        cursor.skip()?;
                    }
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        cursor.end()?;
        if has_error {
            sink(0, Event::Error);
            return Ok(());
        }
        if !self.has_started && choices.is_some() {
            self.has_started = true;
            self.id.extend_from_slice(id.map_or(b"", |id| id.bytes));
            sink(0, Event::Start { id: id.map(Str::from) });
        }
        if let Some(mut cursor) = choices {
            cursor.array(|cursor| self.choice(cursor, sink))?;
        }
        if let Some(usage) = counts {
            sink(0, Event::Usage(usage));
        }
        Ok(())
    }

    fn choice(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) -> Result<()> {
        let (mut index, mut delta, mut finish, mut logprobs) = (0, None, None, None);
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"index", Kind::Number) => index = cursor.unsigned("an index")? as u32,
                (b"delta", Kind::Object) => {
                    delta = Some(cursor.clone());
                    cursor.skip()?;
                }
                (b"finish_reason", Kind::String) => finish = Some(cursor.string()?),
                (b"logprobs", Kind::Object) => {
                    cursor.object(|key, cursor| {
                        match key.bytes == b"content" && cursor.kind()? == Kind::Array {
                            true => logprobs = Some(cursor.raw()?),
                            false => drop(cursor.skip()?),
                        }
                        Ok(())
                    })?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        // What no request can have asked for would only cost memory.
        let index = index.min(127);
        if self.choices.len() <= index as usize {
            self.choices.resize_with(index as usize + 1, ChoiceRead::default);
        }
        let state = &mut self.choices[index as usize];
        if let Some(mut cursor) = delta {
            state.delta(index, &mut cursor, &self.rules, &self.id, sink)?;
        }
        if let Some(logprobs) = logprobs.filter(|logprobs| logprobs.len() > 2) {
            sink(index, Event::Logprobs(Json::checked(logprobs)));
        }
        if let Some(finish) = finish {
            state.end_reasoning(index, sink);
            let why = match finish_of(&finish.text()) {
                Finish::Stop if !state.calls.is_empty() => Finish::Calls,
                Finish::Stop if state.has_refusal => Finish::Refusal,
                why => why,
            };
            sink(index, Event::Finish { why, stop_sequence: None });
        }
        Ok(())
    }
}

impl StreamReader for Reader {
    fn read(&mut self, _: &[u8], data: &[u8], sink: &mut dyn FnMut(u32, Event<'_>)) {
        if data.trim_ascii() == b"[DONE]" {
            return sink(0, Event::End);
        }
        if self.chunk(data, sink).is_err() {
            sink(0, Event::Error);
        }
    }
}

impl ChoiceRead {
    fn delta(
        &mut self,
        choice: u32,
        cursor: &mut Cursor<'_>,
        rules: &ReadRules,
        answer: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let (mut text, mut reasoning, mut refusal, mut calls) = (None, None, None, None);
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"content", Kind::String) => text = Some(cursor.string()?),
                (b"reasoning_content" | b"reasoning", Kind::String) => {
                    reasoning = Some(cursor.string()?);
                }
                (b"refusal", Kind::String) => refusal = Some(cursor.string()?),
                (b"tool_calls", Kind::Array) => {
                    calls = Some(cursor.clone());
                    cursor.skip()?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        if let Some(reasoning) = reasoning.filter(|piece| !piece.bytes.is_empty()) {
            self.is_reasoning = true;
            sink(choice, Event::Reasoning(reasoning.into()));
        }
        if let Some(text) = text.filter(|piece| !piece.bytes.is_empty()) {
            self.end_reasoning(choice, sink);
            sink(choice, Event::Text(text.into()));
        }
        if let Some(refusal) = refusal.filter(|piece| !piece.bytes.is_empty()) {
            self.end_reasoning(choice, sink);
            self.has_refusal = true;
            sink(choice, Event::Refusal(refusal.into()));
        }
        if let Some(mut cursor) = calls {
            cursor.array(|cursor| self.call(choice, cursor, rules, answer, sink))?;
        }
        Ok(())
    }

    fn end_reasoning(&mut self, choice: u32, sink: &mut Sink<'_>) {
        if std::mem::take(&mut self.is_reasoning) {
            sink(choice, Event::ReasoningEnd(None));
        }
    }

    fn call(
        &mut self,
        choice: u32,
        cursor: &mut Cursor<'_>,
        rules: &ReadRules,
        answer: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let piece = read_call(cursor)?;
        self.end_reasoning(choice, sink);
        let id = piece.id.filter(|id| !id.is_empty());
        let call = match self.known(piece.index, id.as_ref()) {
            Some(call) => call,
            None => {
                let call = self.calls.len();
                // A provider that gives no id gets one made, for the result to lead back by.
                let id = id.unwrap_or_else(|| {
                    let answer = String::from_utf8_lossy(answer);
                    let fit = |c: &char| c.is_ascii_alphanumeric();
                    let answer: String = answer.chars().filter(fit).take(24).collect();
                    Str::from_text(&format!("call_{answer}_{choice}_{call}"))
                });
                self.calls.push(CallRead { index: piece.index, id: id.escaped().to_vec() });
                let state = piece.state.map(|state| State { issuer: rules.issuer, ..state });
                let name = piece.name.unwrap_or(Str::EMPTY);
                let is_free = piece.is_free;
                sink(choice, Event::CallStart { call: call as u32, id, name, is_free, state });
                call
            }
        };
        let input = match piece.input {
            Input::Text(text) | Input::Free(text) => text,
            Input::Object(json) => Str::from_text(&String::from_utf8_lossy(json.bytes())),
        };
        if !input.is_empty() {
            sink(choice, Event::CallInput { call: call as u32, piece: input });
        }
        Ok(())
    }

    /// Which call a piece belongs to. Some servers count all calls as the first, and tell them apart
    /// by their ids; some do not count.
    fn known(&self, index: Option<u32>, id: Option<&Str<'_>>) -> Option<usize> {
        let found = match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index),
            None => self.calls.len().checked_sub(1),
        }?;
        match id {
            Some(id) if self.calls[found].id != id.escaped() => None,
            _ => Some(found),
        }
    }
}

/// Writes chunks for a client.
pub(super) struct Writer {
    /// Everything of a chunk before its choices.
    head: Vec<u8>,
    includes_usage: bool,
    names: ToolNames,
    usage: Option<Usage>,
    choices: Vec<ChoiceWritten>,
}

/// What the client has of one alternative.
#[derive(Default)]
struct ChoiceWritten {
    has_begun: bool,
    has_refusal: bool,
    carried: carry::Carried<'static>,
    /// The words of the reasoning that goes on.
    thought: Str<'static>,
    calls: Vec<CallWritten>,
}

/// What the client has of one call.
struct CallWritten {
    /// Its input so far, when it is told only once whole.
    free: Option<Str<'static>>,
    has_input: bool,
}

impl Writer {
    pub(super) fn new(request: &Request<'_>, shown: &Shown<'_>) -> Writer {
        let mut head = b"data: ".to_vec();
        let mut object = Object::begin(&mut head);
        object.text("id", &format!("chatcmpl-{}", shown.id));
        object.text("object", "chat.completion.chunk").number("created", shown.created_s);
        object.text("model", shown.model).key("choices");
        Writer {
            head,
            includes_usage: request.usage_in_stream,
            names: ToolNames::of(request),
            usage: None,
            choices: Vec::new(),
        }
    }

    fn choice(&mut self, choice: u32) -> &mut ChoiceWritten {
        let index = choice as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, ChoiceWritten::default);
        }
        &mut self.choices[index]
    }

    /// A chunk with one choice. `delta` writes the members of its delta.
    fn chunk(
        &self,
        choice: u32,
        logprobs: Option<&Json<'_>>,
        finish: Option<&str>,
        out: &mut Vec<u8>,
        delta: impl FnOnce(&mut Object<'_>),
    ) {
        out.extend_from_slice(&self.head);
        out.push(b'[');
        let mut object = Object::begin(out);
        object.number("index", choice.into()).object("delta", delta);
        match logprobs {
            Some(logprobs) => {
                object.object("logprobs", |object| {
                    object.raw("content", logprobs).raw("refusal", "null");
                });
            }
            None => drop(object.raw("logprobs", "null")),
        }
        match finish {
            Some(finish) => drop(object.text("finish_reason", finish)),
            None => drop(object.raw("finish_reason", "null")),
        }
        object.end();
        let usage: &[u8] = if self.includes_usage { b"],\"usage\":null}\n\n" } else { b"]}\n\n" };
        out.extend_from_slice(usage);
    }

    fn begin(&mut self, choice: u32, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.choice(choice).has_begun, true) {
            self.chunk(choice, None, None, out, |delta| {
                delta.text("role", "assistant").text("content", "").raw("refusal", "null");
            });
        }
    }

    fn piece(&mut self, choice: u32, name: &str, piece: &Str<'_>, out: &mut Vec<u8>) {
        self.begin(choice, out);
        self.chunk(choice, None, None, out, |delta| piece.write(delta.key(name)));
    }

    fn call_start(
        &mut self,
        choice: u32,
        (id, name): (&Str<'_>, &Str<'_>),
        state: Option<&State<'_>>,
        is_free: bool,
        out: &mut Vec<u8>,
    ) {
        self.begin(choice, out);
        let state = state.cloned().map(State::into_owned);
        let written = self.choice(choice);
        let carried = carry::Carried { call: state, ..std::mem::take(&mut written.carried) };
        let call = written.calls.len() as u64;
        let renamed = self.names.find(name).cloned();
        let is_free = is_free || renamed.as_ref().is_some_and(|tool| tool.is_free);
        let free = is_free.then_some(Str::EMPTY);
        self.choice(choice).calls.push(CallWritten { free, has_input: false });
        let name = renamed.as_ref().map_or(name, |Named { name, .. }| name);
        let id = carry::id_with(id, &carried);
        self.chunk(choice, None, None, out, |delta| {
            delta.array("tool_calls", |array| {
                array.object(|object| {
                    object.number("index", call);
                    id.write(object.key("id"));
                    let (kind, input) =
                        if is_free { ("custom", "input") } else { ("function", "arguments") };
                    object.text("type", kind).object(kind, |tool| {
                        name.write(tool.key("name"));
                        tool.text(input, "");
                    });
                });
            });
        });
    }

    fn call_piece(
        &self,
        choice: u32,
        call: u32,
        is_free: bool,
        piece: &Str<'_>,
        out: &mut Vec<u8>,
    ) {
        let (kind, input) = if is_free { ("custom", "input") } else { ("function", "arguments") };
        self.chunk(choice, None, None, out, |delta| {
            delta.array("tool_calls", |array| {
                array.object(|object| {
                    object.number("index", call.into());
                    object.object(kind, |tool| piece.write(tool.key(input)));
                });
            });
        });
    }

    fn call_input(&mut self, choice: u32, call: u32, piece: &Str<'_>, out: &mut Vec<u8>) {
        let Some(written) = self.choice(choice).calls.get_mut(call as usize) else { return };
        written.has_input = true;
        match &mut written.free {
            Some(whole) if whole.len() + piece.len() <= KEPT_BYTES_MAX => whole.push(piece),
            Some(_) => {}
            None => self.call_piece(choice, call, false, piece, out),
        }
    }

    /// What had to wait for the end of a call. A call without input has none to concatenate, and
    /// clients read `{}` where there is nothing to give.
    fn call_end(&mut self, choice: u32, call: u32, out: &mut Vec<u8>) {
        let Some(written) = self.choice(choice).calls.get_mut(call as usize) else { return };
        let had_input = std::mem::replace(&mut written.has_input, true);
        match written.free.take() {
            Some(whole) => {
                let whole = Input::Text(whole);
                self.call_piece(choice, call, true, &whole.free(), out);
            }
            None if !had_input => self.call_piece(choice, call, false, &Str::plain("{}"), out),
            None => {}
        }
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, choice: u32, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id: _ } => self.begin(choice, out),
            Event::Text(piece) => {
                let carried = &mut self.choice(choice).carried;
                carried.before_text = carried.reasoning.len().min(255) as u8;
                self.piece(choice, "content", piece, out);
            }
            Event::Refusal(piece) => {
                self.choice(choice).has_refusal = true;
                self.piece(choice, "refusal", piece, out);
            }
            Event::Reasoning(piece) => {
                let thought = &mut self.choice(choice).thought;
                if thought.len() + piece.len() <= KEPT_BYTES_MAX {
                    thought.push(piece);
                }
                self.piece(choice, "reasoning_content", piece, out);
            }
            Event::ReasoningEnd(state) => {
                let written = self.choice(choice);
                let text = std::mem::take(&mut written.thought);
                let state = state.clone().map(State::into_owned);
                written.carried.reasoning.push(Reasoning { text, state });
            }
            Event::Logprobs(logprobs) => self.chunk(choice, Some(logprobs), None, out, |_| {}),
            Event::CallStart { call: _, id, name, is_free, state } => {
                self.call_start(choice, (id, name), state.as_ref(), *is_free, out);
            }
            Event::CallInput { call, piece } => self.call_input(choice, *call, piece, out),
            Event::CallEnd { call } => self.call_end(choice, *call, out),
            Event::Finish { why, stop_sequence: _ } => {
                self.begin(choice, out);
                for call in 0..self.choice(choice).calls.len() {
                    self.call_end(choice, call as u32, out);
                }
                let finish = finish_name(*why, self.choice(choice).has_refusal);
                self.chunk(choice, None, Some(finish), out, |_| {});
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Error => {}
            Event::End => {
                if let Some(usage) = self.usage.filter(|_| self.includes_usage) {
                    out.extend_from_slice(&self.head);
                    out.extend_from_slice(b"[],\"usage\":");
                    usage::write(&usage, out);
                    out.extend_from_slice(b"}\n\n");
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
        }
    }
}

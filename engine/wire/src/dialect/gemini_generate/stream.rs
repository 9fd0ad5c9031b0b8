//! Streams: a provider's pieces of an answer, read into neutral events, and a client's, written from
//! them. Each piece has the form of a whole answer; nothing marks the end but the end.

use super::answer::{Candidate, Envelope, Piece, made_up, write_call, write_tail, write_text};
use super::form::{Ending, Result, finish_name};
use super::request::answered;
use super::{logprobs, usage};
use crate::chat::names::ToolNames;
use crate::chat::{
    Event, Finish, Input, Json, KEPT_BYTES_MAX, ReadRules, Reasoning, Request, Shown, State, Str,
    StreamReader, StreamWriter, carry,
};
use crate::json::write::{Array, Object};
use models::Usage;

type Sink<'s> = dyn FnMut(u32, Event<'_>) + 's;

/// Reads the events of a provider.
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
    has_finished: bool,
    calls: u32,
}

impl Reader {
    pub(super) fn new(rules: &ReadRules) -> Reader {
        Reader { rules: *rules, has_started: false, id: Vec::new(), choices: Vec::new() }
    }

    fn event(&mut self, data: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        let Envelope { id, usage, candidates, is_blocked, has_error } = Envelope::read(data)?;
        if has_error {
            sink(0, Event::Error);
            return Ok(());
        }
        if !std::mem::replace(&mut self.has_started, true) {
            self.id.extend_from_slice(id.as_ref().map_or(&b""[..], Str::escaped));
            sink(0, Event::Start { id });
        }
        let mut is_answered = false;
        if let Some(mut cursor) = candidates {
            cursor.array(|cursor| {
                is_answered = true;
                let candidate = Candidate::read(cursor)?;
                self.candidate(candidate, sink);
                Ok(())
            })?;
        }
        if is_blocked && !is_answered {
            self.finish(0, Ending::Finish(Finish::Filter), sink);
        }
        if let Some(usage) = usage {
            sink(0, Event::Usage(usage));
        }
        Ok(())
    }

    fn choice(&mut self, index: u32) -> &mut ChoiceRead {
        let index = index as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, ChoiceRead::default);
        }
        &mut self.choices[index]
    }

    fn candidate(&mut self, candidate: Candidate<'_>, sink: &mut Sink<'_>) {
        let Candidate { index, pieces, ending, logprobs } = candidate;
        if self.choice(index).has_finished {
            return;
        }
        for piece in pieces {
            self.piece(index, piece, sink);
        }
        if let Some(logprobs) = logprobs {
            sink(index, Event::Logprobs(logprobs));
        }
        if let Some(ending) = ending {
            self.finish(index, ending, sink);
        }
    }

    fn piece(&mut self, index: u32, piece: Piece<'_>, sink: &mut Sink<'_>) {
        let issuer = self.rules.issuer;
        match piece {
            Piece::Thought(text, signature) => {
                let state = answered(signature, issuer);
                self.choice(index).is_reasoning = state.is_none();
                if !text.is_empty() {
                    sink(index, Event::Reasoning(text));
                }
                if state.is_some() {
                    sink(index, Event::ReasoningEnd(state));
                }
            }
            Piece::Text(text, signature) => {
                if !text.is_empty() {
                    self.end_reasoning(index, sink);
                    sink(index, Event::Text(text));
                }
                if let Some(state) = answered(signature, issuer) {
                    self.choice(index).is_reasoning = false;
                    sink(index, Event::ReasoningEnd(Some(state)));
                }
            }
            Piece::Call { id, name, input, signature } => {
                self.end_reasoning(index, sink);
                let choice = self.choice(index);
                let call = choice.calls;
                choice.calls += 1;
                let id = id.unwrap_or_else(|| made_up(&self.id, index, call, &name));
                let state = answered(signature, issuer);
                sink(index, Event::CallStart { call, id, name, is_free: false, state });
                sink(index, Event::CallInput { call, piece: input.text() });
                sink(index, Event::CallEnd { call });
            }
            // No other dialect has a place for what was drawn in mid-stream.
            Piece::Blob { .. } => self.end_reasoning(index, sink),
        }
    }

    fn end_reasoning(&mut self, index: u32, sink: &mut Sink<'_>) {
        if std::mem::take(&mut self.choice(index).is_reasoning) {
            sink(index, Event::ReasoningEnd(None));
        }
    }

    fn finish(&mut self, index: u32, ending: Ending, sink: &mut Sink<'_>) {
        self.end_reasoning(index, sink);
        let choice = self.choice(index);
        choice.has_finished = true;
        let why = match ending {
            Ending::Failed => return sink(index, Event::Error),
            Ending::Finish(Finish::Stop) if choice.calls > 0 => Finish::Calls,
            Ending::Finish(why) => why,
        };
        sink(index, Event::Finish { why, stop_sequence: None });
    }
}

impl StreamReader for Reader {
    fn read(&mut self, _: &[u8], data: &[u8], sink: &mut dyn FnMut(u32, Event<'_>)) {
        if self.event(data, sink).is_err() {
            sink(0, Event::Error);
        }
    }
}

/// Writes events for a client.
pub(super) struct Writer {
    /// Everything of an event behind its candidates and counts.
    tail: Vec<u8>,
    shows_thoughts: bool,
    names: ToolNames,
    usage: Option<Usage>,
    choices: Vec<ChoiceWritten>,
}

/// What the client has of one alternative, and what it gets once that is whole.
#[derive(Default)]
struct ChoiceWritten {
    carried: carry::Carried<'static>,
    /// The words of the reasoning that goes on.
    thought: Str<'static>,
    calls: Vec<Option<KeptCall>>,
    finish: Option<Finish>,
}

/// A call that is not whole yet: the client gets its arguments as an object.
struct KeptCall {
    id: Str<'static>,
    name: Str<'static>,
    input: Str<'static>,
    is_free: bool,
    carried: carry::Carried<'static>,
}

impl Writer {
    pub(super) fn new(request: &Request<'_>, shown: &Shown<'_>) -> Writer {
        let mut tail = Vec::new();
        let mut object = Object::begin(&mut tail);
        write_tail(shown, &mut object);
        object.end();
        // A comma in the place of the brace: the tail goes on with an object.
        tail[0] = b',';
        tail.extend_from_slice(b"\r\n\r\n");
        Writer {
            tail,
            shows_thoughts: request.thinking.shown == Some(true),
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

    /// An event with one candidate; `parts` writes what it says.
    fn event(&self, choice: u32, out: &mut Vec<u8>, parts: impl FnOnce(&mut Array<'_>)) {
        out.extend_from_slice(b"data: {\"candidates\":[");
        let mut candidate = Object::begin(out);
        candidate.object("content", |content| {
            content.array("parts", parts).text("role", "model");
        });
        candidate.number("index", choice.into());
        candidate.end();
        out.push(b']');
        out.extend_from_slice(&self.tail);
    }

    fn logprobs(&self, choice: u32, logprobs: &Json<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: {\"candidates\":[");
        let mut candidate = Object::begin(out);
        candidate.number("index", choice.into());
        logprobs::write(logprobs, &mut candidate);
        candidate.end();
        out.push(b']');
        out.extend_from_slice(&self.tail);
    }

    fn call_start(&mut self, choice: u32, event: &Event<'_>) {
        let Event::CallStart { call: _, id, name, is_free, state } = event else { return };
        let renamed = self.names.find(name).map(|tool| tool.name.clone());
        let written = self.choice(choice);
        let state = state.clone().map(State::into_owned);
        let carried = carry::Carried { call: state, ..std::mem::take(&mut written.carried) };
        written.calls.push(Some(KeptCall {
            id: id.clone().into_owned(),
            name: renamed.unwrap_or_else(|| name.clone().into_owned()),
            input: Str::EMPTY,
            is_free: *is_free,
            carried,
        }));
    }

    fn call_end(&mut self, choice: u32, call: u32, out: &mut Vec<u8>) {
        let kept = self.choice(choice).calls.get_mut(call as usize).and_then(Option::take);
        let Some(KeptCall { id, name, input, is_free, carried }) = kept else { return };
        let input = if is_free { Input::Free(input) } else { Input::Text(input) };
        self.event(choice, out, |array| write_call(&id, &name, &input, &carried, array));
    }

    /// The last event: why each alternative ended, and the count.
    fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: {\"candidates\":");
        let mut array = Array::begin(out);
        for (index, choice) in self.choices.iter().enumerate() {
            let Some(finish) = choice.finish else { continue };
            array.object(|candidate| {
                candidate.object("content", |content| {
                    content.array("parts", |array| write_text(&Str::EMPTY, false, array));
                    content.text("role", "model");
                });
                candidate.text("finishReason", finish_name(finish));
                candidate.number("index", index as u64);
            });
        }
        array.end();
        if let Some(usage) = &self.usage {
            out.extend_from_slice(b",\"usageMetadata\":");
            usage::write(usage, out);
        }
        out.extend_from_slice(&self.tail);
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, choice: u32, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            // There is nothing to say yet.
            Event::Start { id: _ } => {}
            Event::Text(piece) | Event::Refusal(piece) => {
                let carried = &mut self.choice(choice).carried;
                carried.before_text = carried.reasoning.len().min(255) as u8;
                self.event(choice, out, |array| write_text(piece, false, array));
            }
            Event::Reasoning(piece) => {
                let thought = &mut self.choice(choice).thought;
                if thought.len() + piece.len() <= KEPT_BYTES_MAX {
                    thought.push(piece);
                }
                if self.shows_thoughts {
                    self.event(choice, out, |array| write_text(piece, true, array));
                }
            }
            Event::ReasoningEnd(state) => {
                let written = self.choice(choice);
                let text = std::mem::take(&mut written.thought);
                let state = state.clone().map(State::into_owned);
                written.carried.reasoning.push(Reasoning { text, state });
            }
            Event::Logprobs(logprobs) => self.logprobs(choice, logprobs, out),
            Event::CallStart { .. } => self.call_start(choice, event),
            Event::CallInput { call, piece } => {
                let calls = &mut self.choice(choice).calls;
                if let Some(Some(kept)) = calls.get_mut(*call as usize)
                    && kept.input.len() + piece.len() <= KEPT_BYTES_MAX
                {
                    kept.input.push(piece);
                }
            }
            Event::CallEnd { call } => self.call_end(choice, *call, out),
            Event::Finish { why, stop_sequence: _ } => {
                for call in 0..self.choice(choice).calls.len() {
                    self.call_end(choice, call as u32, out);
                }
                self.choice(choice).finish = Some(*why);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Error => {}
            Event::End => self.end(out),
        }
    }
}

//! A client's stream, written from neutral events.
//!
//! Items are opened when their first piece comes, and closed in full when something else follows, so
//! that each delta has an item and a part to belong to. The last event repeats all of it.

use super::echo::{self, Echo};
use super::items::{ClientCall, write_message, write_part, write_reasoning, write_summary};
use crate::chat::names::ToolNames;
use crate::chat::{Event, Finish, Input, Json, Request, Shown, State, Str, StreamWriter};
use crate::json::write::{Array, Object};
use crate::refusal::Refusal;
use models::Usage;

/// Most bytes of one answer that are kept to be repeated. Deltas go on beyond it; no model of today
/// writes that much in one answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes events for a client.
pub(super) struct Writer {
    echo: Echo,
    id: String,
    names: ToolNames,
    has_begun: bool,
    events: Events,
    /// Whole items by their place in the output; empty while they are open.
    output: Vec<Vec<u8>>,
    kept_bytes: usize,
    open: Open,
    /// By their numbers; taken out when they are whole.
    calls: Vec<Option<CallWritten>>,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

/// Writes events and counts them.
#[derive(Default)]
struct Events {
    sequence: u64,
}

impl Events {
    /// One event; `fill` writes its members.
    fn write(&mut self, name: &str, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        let mut object = Object::begin(out);
        object.text("type", name).number("sequence_number", self.sequence);
        self.sequence += 1;
        fill(&mut object);
        object.end();
        out.extend_from_slice(b"\n\n");
    }
}

/// The item that pieces are added to. Calls are apart: several can be open.
#[derive(Default)]
enum Open {
    #[default]
    Nothing,
    Message(Message),
    Reasoning {
        index: usize,
        text: Str<'static>,
    },
}

/// A message in the making.
struct Message {
    index: usize,
    /// Parts that are whole, as JSON with commas between them.
    parts: Vec<u8>,
    part_count: u64,
    /// The part that is open.
    part: Option<Said>,
}

struct Said {
    is_refusal: bool,
    text: Str<'static>,
    /// The elements of `logprobs`, with commas between them.
    logprobs: Vec<u8>,
}

/// A call in the making.
struct CallWritten {
    index: usize,
    /// The item's.
    id: String,
    call: ClientCall,
    /// Its input so far.
    input: Str<'static>,
    /// Whether the input is JSON around free text, which is told only once it is whole.
    is_wrapped: bool,
    /// Whether any of the input has been told.
    is_told: bool,
}

impl CallWritten {
    /// An event about its input; `fill` writes what it tells.
    fn tell(
        &self,
        (name, free_name): (&str, &str),
        events: &mut Events,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Object<'_>),
    ) {
        let name = if self.call.is_free { free_name } else { name };
        events.write(name, out, |event| {
            event.text("item_id", &self.id).number("output_index", self.index as u64);
            fill(event);
        });
    }

    fn tell_piece(&self, piece: &Str<'_>, events: &mut Events, out: &mut Vec<u8>) {
        const NAMES: (&str, &str) =
            ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta");
        self.tell(NAMES, events, out, |event| piece.write(event.key("delta")));
    }

    fn tell_whole(&self, whole: &Str<'_>, events: &mut Events, out: &mut Vec<u8>) {
        const NAMES: (&str, &str) =
            ("response.function_call_arguments.done", "response.custom_tool_call_input.done");
        self.tell(NAMES, events, out, |event| match self.call.is_free {
            true => whole.write(event.key("input")),
            false => {
                whole.write(event.key("arguments"));
                self.call.name.write(event.key("name"));
            }
        });
    }
}

impl Writer {
    pub(super) fn new(request: &Request<'_>, shown: &Shown<'_>) -> Writer {
        Writer {
            echo: Echo::new(request, shown),
            id: shown.id.to_owned(),
            names: ToolNames::of(request),
            has_begun: false,
            events: Events::default(),
            output: Vec::new(),
            kept_bytes: 0,
            open: Open::Nothing,
            calls: Vec::new(),
            finish: None,
            usage: None,
        }
    }

    fn response(&mut self, name: &str, state: &echo::State<'_>, out: &mut Vec<u8>) {
        let whole = self.output.iter().filter(|item| !item.is_empty());
        self.events.write(name, out, |event| {
            let output = |array: &mut Array<'_>| {
                whole.for_each(|item| array.element().extend_from_slice(item));
            };
            self.echo.write(state, output, self.usage.as_ref(), event.key("response"));
        });
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.response("response.created", &echo::State::InProgress, out);
            self.response("response.in_progress", &echo::State::InProgress, out);
        }
    }

    fn item_id(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}_{}_{index}", self.id)
    }

    /// Opens the next item of the output. `write` writes it as it is at its beginning.
    fn add_item(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) -> usize {
        let index = self.output.len();
        self.output.push(Vec::new());
        self.events.write("response.output_item.added", out, |event| {
            event.number("output_index", index as u64).object("item", write);
        });
        index
    }

    /// Closes an item. `write` writes it as it is at its end.
    fn end_item(&mut self, index: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        let mut whole = Vec::new();
        let mut item = Object::begin(&mut whole);
        write(&mut item);
        item.end();
        self.events.write("response.output_item.done", out, |event| {
            event.number("output_index", index as u64).raw("item", &whole);
        });
        self.kept_bytes += whole.len();
        if self.kept_bytes <= ANSWER_BYTES_MAX {
            self.output[index] = whole;
        }
    }

    /// Closes whatever message or reasoning is open.
    fn close(&mut self, state: Option<&State<'_>>, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.open) {
            Open::Nothing => {}
            Open::Message(mut message) => {
                self.end_part(&mut message, out);
                let id = self.item_id("msg", message.index);
                let status = self.item_status();
                self.end_item(message.index, out, |item| {
                    write_message(&id, status, item, |content| {
                        content.element().extend_from_slice(&message.parts);
                    });
                });
            }
            Open::Reasoning { index, text } => {
                let id = self.item_id("rs", index);
                if !text.is_empty() {
                    self.summary_event(
                        "response.reasoning_summary_text.done",
                        index,
                        out,
                        |event| {
                            text.write(event.key("text"));
                        },
                    );
                    self.summary_event(
                        "response.reasoning_summary_part.done",
                        index,
                        out,
                        |event| {
                            event.object("part", |part| write_summary(&text, part));
                        },
                    );
                }
                self.end_item(index, out, |item| write_reasoning(&id, &text, state, item));
            }
        }
    }

    /// The status of an item that ends now: cut short when the answer is.
    fn item_status(&self) -> &'static str {
        match self.finish {
            Some(Finish::Length | Finish::Context | Finish::Filter) => "incomplete",
            _ => "completed",
        }
    }

    fn summary_event(
        &mut self,
        name: &str,
        index: usize,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Object<'_>),
    ) {
        let id = self.item_id("rs", index);
        self.events.write(name, out, |event| {
            event.text("item_id", &id).number("output_index", index as u64);
            event.number("summary_index", 0);
            fill(event);
        });
    }

    fn part_event(
        &mut self,
        name: &str,
        (index, part): (usize, u64),
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Object<'_>),
    ) {
        let id = self.item_id("msg", index);
        self.events.write(name, out, |event| {
            event.text("item_id", &id).number("output_index", index as u64);
            event.number("content_index", part);
            fill(event);
        });
    }

    /// More of a message.
    fn say(&mut self, is_refusal: bool, piece: &Str<'_>, out: &mut Vec<u8>) {
        self.open_part(is_refusal, out);
        let Open::Message(message) = &mut self.open else { return };
        let at = (message.index, message.part_count);
        if let Some(said) = &mut message.part
            && self.kept_bytes + said.text.len() + piece.len() <= ANSWER_BYTES_MAX
        {
            said.text.push(piece);
        }
        match is_refusal {
            true => self.part_event("response.refusal.delta", at, out, |event| {
                piece.write(event.key("delta"));
            }),
            false => self.part_event("response.output_text.delta", at, out, |event| {
                piece.write(event.key("delta"));
                event.raw("logprobs", "[]");
            }),
        }
    }

    /// Log probabilities of text that went out already: said without text of their own.
    fn logprobs(&mut self, logprobs: &Json<'_>, out: &mut Vec<u8>) {
        let Open::Message(Message { index, part_count, part: Some(said), .. }) = &mut self.open
        else {
            return;
        };
        let at = (*index, *part_count);
        let elements = logprobs.bytes().trim_ascii();
        let elements = elements.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
        let Some(elements) = elements.filter(|rest| !rest.trim_ascii().is_empty()) else { return };
        if self.kept_bytes + said.logprobs.len() + elements.len() <= ANSWER_BYTES_MAX {
            if !said.logprobs.is_empty() {
                said.logprobs.push(b',');
            }
            said.logprobs.extend_from_slice(elements);
        }
        self.part_event("response.output_text.delta", at, out, |event| {
            event.text("delta", "").raw("logprobs", logprobs);
        });
    }

    /// Makes sure that a part for text or for a refusal is open.
    fn open_part(&mut self, is_refusal: bool, out: &mut Vec<u8>) {
        let mut message = match std::mem::take(&mut self.open) {
            Open::Message(message) => message,
            other => {
                self.open = other;
                self.close(None, out);
                let id = self.item_id("msg", self.output.len());
                let index = self.add_item(out, |item| {
                    write_message(&id, "in_progress", item, |_| {});
                });
                Message { index, parts: Vec::new(), part_count: 0, part: None }
            }
        };
        if message.part.as_ref().is_some_and(|said| said.is_refusal != is_refusal) {
            self.end_part(&mut message, out);
        }
        if message.part.is_none() {
            let at = (message.index, message.part_count);
            self.part_event("response.content_part.added", at, out, |event| {
                event.object("part", |part| write_part(is_refusal, &Str::EMPTY, None, part));
            });
            let text = Str::EMPTY;
            message.part = Some(Said { is_refusal, text, logprobs: Vec::new() });
        }
        self.open = Open::Message(message);
    }

    fn end_part(&mut self, message: &mut Message, out: &mut Vec<u8>) {
        let Some(Said { is_refusal, text, logprobs }) = message.part.take() else { return };
        let at = (message.index, message.part_count);
        let logprobs = Json::checked([&b"["[..], &logprobs, b"]"].concat());
        match is_refusal {
            true => self.part_event("response.refusal.done", at, out, |event| {
                text.write(event.key("refusal"));
            }),
            false => self.part_event("response.output_text.done", at, out, |event| {
                text.write(event.key("text"));
                event.raw("logprobs", &logprobs);
            }),
        }
        let mut whole = Vec::with_capacity(text.len() + 64);
        let mut part = Object::begin(&mut whole);
        write_part(is_refusal, &text, Some(&logprobs), &mut part);
        part.end();
        self.part_event("response.content_part.done", at, out, |event| {
            event.raw("part", &whole);
        });
        if message.part_count > 0 {
            message.parts.push(b',');
        }
        message.parts.append(&mut whole);
        message.part_count += 1;
    }

    fn think(&mut self, piece: &Str<'_>, out: &mut Vec<u8>) {
        self.open_reasoning(out);
        let Open::Reasoning { index, text } = &mut self.open else { return };
        let index = *index;
        let is_first = text.is_empty();
        if self.kept_bytes + text.len() + piece.len() <= ANSWER_BYTES_MAX {
            text.push(piece);
        }
        if is_first {
            self.summary_event("response.reasoning_summary_part.added", index, out, |event| {
                event.object("part", |part| write_summary(&Str::EMPTY, part));
            });
        }
        self.summary_event("response.reasoning_summary_text.delta", index, out, |event| {
            piece.write(event.key("delta"));
        });
    }

    fn open_reasoning(&mut self, out: &mut Vec<u8>) {
        if matches!(self.open, Open::Reasoning { .. }) {
            return;
        }
        self.close(None, out);
        let id = self.item_id("rs", self.output.len());
        let index = self.add_item(out, |item| write_reasoning(&id, &Str::EMPTY, None, item));
        self.open = Open::Reasoning { index, text: Str::EMPTY };
    }

    fn call_start(&mut self, call: ClientCall, is_free: bool, out: &mut Vec<u8>) {
        self.close(None, out);
        let id = self.item_id(call.id_prefix(), self.output.len());
        let index = self.add_item(out, |item| call.write(&id, "in_progress", &Str::EMPTY, item));
        let is_wrapped = call.is_free && !is_free;
        let input = Str::EMPTY;
        self.calls.push(Some(CallWritten { index, id, call, input, is_wrapped, is_told: false }));
    }

    fn call_input(&mut self, call: u32, piece: &Str<'_>, out: &mut Vec<u8>) {
        let Some(Some(written)) = self.calls.get_mut(call as usize) else { return };
        if self.kept_bytes + written.input.len() + piece.len() <= ANSWER_BYTES_MAX {
            written.input.push(piece);
        }
        if !written.is_wrapped {
            written.is_told = true;
            written.tell_piece(piece, &mut self.events, out);
        }
    }

    fn call_end(&mut self, call: u32, out: &mut Vec<u8>) {
        let Some(mut written) = self.calls.get_mut(call as usize).and_then(Option::take) else {
            return;
        };
        let input = std::mem::take(&mut written.input);
        let whole = match (written.is_wrapped, written.call.is_free) {
            (true, _) => Input::Text(input).free().into_owned(),
            // A call without input has none to concatenate, and clients read JSON.
            (false, false) if input.is_empty() => Str::plain("{}"),
            (false, _) => input,
        };
        if !written.is_told && !whole.is_empty() {
            written.tell_piece(&whole, &mut self.events, out);
        }
        written.tell_whole(&whole, &mut self.events, out);
        let status = self.item_status();
        self.end_item(written.index, out, |item| {
            written.call.write(&written.id, status, &whole, item);
        });
    }

    /// Closes all that is open.
    fn close_all(&mut self, out: &mut Vec<u8>) {
        self.close(None, out);
        for call in 0..self.calls.len() {
            self.call_end(call as u32, out);
        }
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, choice: u32, event: &Event<'_>, out: &mut Vec<u8>) {
        // A request of this dialect cannot ask for several.
        if choice > 0 {
            return;
        }
        self.begin(out);
        match event {
            Event::Start { id: _ } | Event::Error => {}
            Event::Text(piece) => self.say(false, piece, out),
            Event::Refusal(piece) => self.say(true, piece, out),
            Event::Reasoning(piece) => self.think(piece, out),
            Event::ReasoningEnd(state) => {
                if state.is_some() {
                    self.open_reasoning(out);
                }
                if matches!(self.open, Open::Reasoning { .. }) {
                    self.close(state.as_ref(), out);
                }
            }
            Event::Logprobs(logprobs) => self.logprobs(logprobs, out),
            Event::CallStart { call: _, id, name, is_free, state } => {
                let call = ClientCall::new((id, name), *is_free, state.as_ref(), &self.names);
                self.call_start(call, *is_free, out);
            }
            Event::CallInput { call, piece } => self.call_input(*call, piece, out),
            Event::CallEnd { call } => self.call_end(*call, out),
            Event::Finish { why, stop_sequence: _ } => {
                self.finish = Some(*why);
                self.close_all(out);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::End => {
                if let Some(why) = self.finish {
                    self.response(echo::end_event(why), &echo::State::Ended(why), out);
                }
            }
        }
    }

    fn write_error(&mut self, refusal: &Refusal, out: &mut Vec<u8>) -> bool {
        self.begin(out);
        self.response("response.failed", &echo::State::Failed(refusal), out);
        true
    }
}

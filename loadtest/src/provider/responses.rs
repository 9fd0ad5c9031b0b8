//! OpenAI responses, as a provider speaks them.
//!
//! In: the body of `POST …/responses`. Out: `response` bodies, or named events whose last one,
//! `response.completed` or `response.incomplete`, holds the whole response with its usage; it is the
//! finish and the end mark at once. Never validates more than it needs.

use std::ops::Range;

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Piece, digits_into};
use super::chat::{Chat, unquoted};
use super::dialect::Dialect;
use super::script::UsageRule;
use crate::json::members;

/// See the module.
pub(crate) struct Responses;

impl Dialect for Responses {
    fn takes(&self, method: &str, path: &str) -> bool {
        method == "POST" && path.ends_with("/responses")
    }

    fn read(&self, _path: &str, body: &[u8]) -> Result<Ask, String> {
        let mut ask = Ask { include_usage: true, ..Ask::default() };
        let mut model: Option<Range<usize>> = None;
        for (key, value) in members(body) {
            match key {
                b"model" => {
                    model = Some(unquoted(body, value).ok_or("model: a string is needed")?);
                }
                b"input" => ask.prompt = value,
                b"stream" => ask.stream = body[value].starts_with(b"true"),
                b"x_script" => ask.script = Some(value),
                _ => {}
            }
        }
        ask.model = model.ok_or("you must provide a model parameter")?;
        if ask.prompt.is_empty() {
            return Err("missing required parameter: 'input'".to_owned());
        }
        Ok(ask)
    }

    fn echo(&self, body: &[u8]) -> Value {
        let Ok(doc) = serde_json::from_slice::<Value>(body) else {
            return json!({ "error": "the body is no JSON" });
        };
        let items = doc["input"].as_array().map_or(&[][..], Vec::as_slice);
        let of_role = |role: &str| items.iter().filter(|item| item["role"] == role).count();
        let kind = |item: &Value| item["type"].as_str().unwrap_or("message").to_owned();
        let parts_of = |kind: &str| {
            let parts = items.iter().filter_map(|item| {
                item["content"].as_array().or_else(|| item["output"].as_array())
            });
            parts.flatten().filter(|part| part["type"] == kind).count()
        };
        let tools = doc["tools"].as_array().map_or(&[][..], Vec::as_slice);
        let fields: Vec<&String> = doc.as_object().map_or(Vec::new(), |o| o.keys().collect());
        json!({
            "model": doc["model"],
            "messages": items.len().max(usize::from(doc["input"].is_string())),
            "system": of_role("system") + of_role("developer")
                + usize::from(doc["instructions"].is_string()),
            "tool_results": items.iter().filter(|item| kind(item).ends_with("_output")).count(),
            "images": parts_of("input_image"),
            "files": parts_of("input_file"),
            "items": items.iter().map(kind).collect::<Vec<_>>(),
            "tools": tools.len(),
            "stream": doc["stream"],
            "store": doc["store"],
            "fields": fields,
            "bytes": body.len(),
        })
    }

    fn prompt(&self, body: &[u8]) -> String {
        let doc: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(text) = doc["input"].as_str() {
            return text.to_owned();
        }
        let items = doc["input"].as_array();
        let last_user = items.and_then(|all| all.iter().rfind(|item| item["role"] == "user"));
        match last_user.map(|message| &message["content"]) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                let texts = parts.iter().filter_map(|part| part["text"].as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        }
    }

    fn whole(&self, answer: &Answer, out: &mut Vec<u8>) {
        response(answer, Some(finish(answer)), out);
    }

    fn prefix(&self, _answer: &mut Answer) {}

    fn event(&self, answer: &Answer, piece: Piece, out: &mut Vec<u8>) {
        let mut events = Events { answer, sequence: sequence_of(answer, piece), out };
        let has_text = answer.chunks() > 0;
        let reasonings = answer.script.reasoning_chunks;
        match piece {
            Piece::Start => {
                for name in ["response.created", "response.in_progress"] {
                    events.event(name, |out| {
                        out.extend_from_slice(b",\"response\":");
                        response(answer, None, out);
                    });
                }
                match (reasonings > 0, has_text) {
                    (true, _) => events.open_reasoning(),
                    (false, true) => events.open_message(),
                    (false, false) => {}
                }
            }
            Piece::Reasoning(index) => {
                events.delta("response.reasoning_summary_text.delta", 0, "summary_index", |out| {
                    answer.reasoning_into(index, out);
                });
                if index + 1 == reasonings {
                    events.close_reasoning();
                    if has_text {
                        events.open_message();
                    }
                }
            }
            Piece::Text(index) => {
                let at = message_index(answer);
                events.delta("response.output_text.delta", at, "content_index", |out| {
                    answer.text_into(index, out);
                });
            }
            Piece::Tool(call) => {
                if call == 0 && has_text {
                    events.close_message();
                }
                events.open_call(call);
                if answer.script.tool_calls[call as usize].fragments == 0 {
                    events.close_call(call);
                }
            }
            Piece::Arguments(call, fragment) => {
                let at = call_index(answer, call);
                events.delta("response.function_call_arguments.delta", at, "", |out| {
                    answer.arguments_into(call, fragment, out);
                });
                if fragment + 1 == answer.script.tool_calls[call as usize].fragments {
                    events.close_call(call);
                }
            }
            Piece::Finish => {
                if has_text && answer.script.tool_calls.is_empty() {
                    events.close_message();
                }
                let finish = finish(answer);
                let name = match finish {
                    Finish::Completed => "response.completed",
                    Finish::Incomplete(_) => "response.incomplete",
                };
                events.event(name, |out| {
                    out.extend_from_slice(b",\"response\":");
                    response(answer, Some(finish), out);
                });
            }
            Piece::Usage | Piece::Done => {}
        }
    }

    fn error_event(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":\"server_error\",\
              \"message\":\"The server had an error while generating\",\"param\":null}\n\n",
        );
    }

    fn error(&self, status: u16, code: Option<&str>, message: &str, out: &mut Vec<u8>) {
        Chat.error(status, code, message, out);
    }
}

/// How an answer ends.
#[derive(Clone, Copy)]
enum Finish {
    Completed,
    Incomplete(&'static str),
}

fn finish(answer: &Answer) -> Finish {
    match answer.finish() {
        Some("length" | "max_output_tokens") => Finish::Incomplete("max_output_tokens"),
        Some("content_filter") => Finish::Incomplete("content_filter"),
        _ => Finish::Completed,
    }
}

fn message_index(answer: &Answer) -> u64 {
    u64::from(answer.script.reasoning_chunks > 0)
}

fn call_index(answer: &Answer, call: u32) -> u64 {
    message_index(answer) + u64::from(answer.chunks() > 0) + u64::from(call)
}

/// Events that opening and closing an item with text take.
const OPEN: u64 = 2;
const CLOSE: u64 = 3;

/// The number of the first event of a piece.
fn sequence_of(answer: &Answer, piece: Piece) -> u64 {
    let (reasonings, texts) = (answer.script.reasoning_chunks, answer.chunks());
    let opens = |count: u32| if count > 0 { OPEN } else { 0 };
    let closes = |count: u32| if count > 0 { CLOSE } else { 0 };
    let first_open = opens(reasonings.max(texts));
    let second_open = if reasonings > 0 { opens(texts) } else { 0 };
    let thinking = 2 + first_open;
    let saying = thinking + u64::from(reasonings) + closes(reasonings) + second_open;
    let said = saying + u64::from(texts);
    let calls_before = |count: usize| -> u64 {
        let calls = answer.script.tool_calls.iter().take(count);
        // Opened by one event, closed by two.
        calls.map(|call| 1 + u64::from(call.fragments) + 2).sum()
    };
    let closed = said + closes(texts);
    match piece {
        Piece::Start => 0,
        Piece::Reasoning(index) => thinking + u64::from(index),
        Piece::Text(index) => saying + u64::from(index),
        Piece::Tool(0) => said,
        Piece::Tool(call) => closed + calls_before(call as usize),
        Piece::Arguments(call, fragment) => {
            closed + calls_before(call as usize) + 1 + u64::from(fragment)
        }
        Piece::Finish | Piece::Usage | Piece::Done => {
            let calls = answer.script.tool_calls.len();
            if calls == 0 { said } else { closed + calls_before(calls) }
        }
    }
}

/// Writes the events of a piece.
struct Events<'e> {
    answer: &'e Answer,
    sequence: u64,
    out: &'e mut Vec<u8>,
}

impl Events<'_> {
    fn event(&mut self, name: &str, members: impl FnOnce(&mut Vec<u8>)) {
        let ends: (&[u8], &[u8]) =
            if self.answer.script.crlf { (b"\r\n", b"\r\n\r\n") } else { (b"\n", b"\n\n") };
        self.out.extend_from_slice(b"event: ");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(ends.0);
        self.out.extend_from_slice(b"data: {\"type\":\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\",\"sequence_number\":");
        digits_into(self.sequence, self.out);
        self.sequence += 1;
        members(self.out);
        self.out.push(b'}');
        self.out.extend_from_slice(ends.1);
    }

    /// An event about an item; `part` is the name of the index of a part, which is always the first.
    fn about(&mut self, name: &str, at: u64, part: &str, members: impl FnOnce(&mut Vec<u8>)) {
        let number = self.answer.number;
        self.event(name, |out| {
            out.extend_from_slice(b",\"item_id\":\"");
            item_id(number, at, out);
            out.extend_from_slice(b"\",\"output_index\":");
            digits_into(at, out);
            if !part.is_empty() {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(part.as_bytes());
                out.extend_from_slice(b"\":0");
            }
            members(out);
        });
    }

    fn delta(&mut self, name: &str, at: u64, part: &str, text: impl FnOnce(&mut Vec<u8>)) {
        self.about(name, at, part, |out| {
            out.extend_from_slice(b",\"delta\":\"");
            text(out);
            out.push(b'"');
            if name == "response.output_text.delta" {
                out.extend_from_slice(b",\"logprobs\":[]");
            }
        });
    }

    fn item(&mut self, name: &str, at: u64, item: impl FnOnce(&mut Vec<u8>)) {
        self.event(name, |out| {
            out.extend_from_slice(b",\"output_index\":");
            digits_into(at, out);
            out.extend_from_slice(b",\"item\":");
            item(out);
        });
    }

    fn open_reasoning(&mut self) {
        let number = self.answer.number;
        self.item("response.output_item.added", 0, |out| reasoning_item(number, "", out));
        self.about("response.reasoning_summary_part.added", 0, "summary_index", |out| {
            out.extend_from_slice(b",\"part\":{\"type\":\"summary_text\",\"text\":\"\"}");
        });
    }

    fn close_reasoning(&mut self) {
        let text = reasoning_text(self.answer);
        self.about("response.reasoning_summary_text.done", 0, "summary_index", |out| {
            member("text", &text, out);
        });
        self.about("response.reasoning_summary_part.done", 0, "summary_index", |out| {
            out.extend_from_slice(b",\"part\":{\"type\":\"summary_text\"");
            member("text", &text, out);
            out.push(b'}');
        });
        let number = self.answer.number;
        self.item("response.output_item.done", 0, |out| reasoning_item(number, &text, out));
    }

    fn open_message(&mut self) {
        let (number, at) = (self.answer.number, message_index(self.answer));
        self.item("response.output_item.added", at, |out| {
            message_item(number, at, None, "in_progress", out);
        });
        self.about("response.content_part.added", at, "content_index", |out| {
            out.extend_from_slice(b",\"part\":");
            text_part("", out);
        });
    }

    fn close_message(&mut self) {
        let (number, at) = (self.answer.number, message_index(self.answer));
        let text = text(self.answer);
        self.about("response.output_text.done", at, "content_index", |out| {
            member("text", &text, out);
            out.extend_from_slice(b",\"logprobs\":[]");
        });
        self.about("response.content_part.done", at, "content_index", |out| {
            out.extend_from_slice(b",\"part\":");
            text_part(&text, out);
        });
        self.item("response.output_item.done", at, |out| {
            message_item(number, at, Some(&text), "completed", out);
        });
    }

    fn open_call(&mut self, call: u32) {
        let answer = self.answer;
        self.item("response.output_item.added", call_index(answer, call), |out| {
            call_item(answer, call, false, out);
        });
    }

    fn close_call(&mut self, call: u32) {
        let answer = self.answer;
        let at = call_index(answer, call);
        self.about("response.function_call_arguments.done", at, "", |out| {
            out.extend_from_slice(b",\"arguments\":\"");
            arguments(answer, call, out);
            out.extend_from_slice(b"\",\"name\":\"");
            crate::json::escape_into(&answer.script.tool_calls[call as usize].name, out);
            out.push(b'"');
        });
        self.item("response.output_item.done", at, |out| call_item(answer, call, true, out));
    }
}

/// Appends a member whose value is escaped already.
fn member(name: &str, escaped: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!(",\"{name}\":\"{escaped}\"").as_bytes());
}

fn item_id(number: u64, at: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"item_fake_");
    digits_into(number, out);
    out.push(b'_');
    digits_into(at, out);
}

/// All of the text, escaped.
fn text(answer: &Answer) -> String {
    let mut text = Vec::new();
    (0..answer.chunks()).for_each(|index| answer.text_into(index, &mut text));
    String::from_utf8_lossy(&text).into_owned()
}

/// All of the reasoning, escaped.
fn reasoning_text(answer: &Answer) -> String {
    let mut text = Vec::new();
    let pieces = 0..answer.script.reasoning_chunks;
    pieces.for_each(|index| answer.reasoning_into(index, &mut text));
    String::from_utf8_lossy(&text).into_owned()
}

fn arguments(answer: &Answer, call: u32, out: &mut Vec<u8>) {
    let fragments = 0..answer.script.tool_calls[call as usize].fragments;
    fragments.for_each(|fragment| answer.arguments_into(call, fragment, out));
}

fn item_head(number: u64, at: u64, kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"");
    item_id(number, at, out);
    out.extend_from_slice(b"\",\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
}

fn text_part(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"output_text\"");
    member("text", text, out);
    out.extend_from_slice(b",\"annotations\":[],\"logprobs\":[]}");
}

fn message_item(number: u64, at: u64, text: Option<&str>, status: &str, out: &mut Vec<u8>) {
    item_head(number, at, "message", out);
    member("status", status, out);
    out.extend_from_slice(b",\"role\":\"assistant\",\"content\":[");
    if let Some(text) = text {
        text_part(text, out);
    }
    out.extend_from_slice(b"]}");
}

/// A reasoning item. Its state says which answer it belongs to, so that a test can see it come back.
fn reasoning_item(number: u64, text: &str, out: &mut Vec<u8>) {
    item_head(number, 0, "reasoning", out);
    out.extend_from_slice(b",\"summary\":[");
    if !text.is_empty() {
        out.extend_from_slice(b"{\"type\":\"summary_text\"");
        member("text", text, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"encrypted_content\":\"gAAAAfake");
    digits_into(number, out);
    out.extend_from_slice(b"==\"}");
}

fn call_item(answer: &Answer, call: u32, is_whole: bool, out: &mut Vec<u8>) {
    item_head(answer.number, call_index(answer, call), "function_call", out);
    member("status", if is_whole { "completed" } else { "in_progress" }, out);
    out.extend_from_slice(b",\"call_id\":\"call_");
    digits_into(answer.number, out);
    out.push(b'_');
    digits_into(u64::from(call), out);
    out.extend_from_slice(b"\",\"name\":\"");
    crate::json::escape_into(&answer.script.tool_calls[call as usize].name, out);
    out.extend_from_slice(b"\",\"arguments\":\"");
    if is_whole {
        arguments(answer, call, out);
    }
    out.extend_from_slice(b"\"}");
}

/// A response; in progress when it has no finish.
fn response(answer: &Answer, finish: Option<Finish>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"resp_fake_");
    digits_into(answer.number, out);
    // A fixed time of creation: answers are the same bytes run after run.
    out.extend_from_slice(b"\",\"object\":\"response\",\"created_at\":1790000000,\"status\":\"");
    let (status, details) = match finish {
        None => ("in_progress", "null".to_owned()),
        Some(Finish::Completed) => ("completed", "null".to_owned()),
        Some(Finish::Incomplete(reason)) => ("incomplete", format!("{{\"reason\":\"{reason}\"}}")),
    };
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(b"\",\"error\":null,\"incomplete_details\":");
    out.extend_from_slice(details.as_bytes());
    out.extend_from_slice(b",\"instructions\":null,\"metadata\":{},\"model\":\"");
    out.extend_from_slice(&answer.model);
    out.extend_from_slice(b"\",\"output\":[");
    if finish.is_some() {
        output(answer, out);
    }
    out.extend_from_slice(
        b"],\"parallel_tool_calls\":true,\"store\":false,\"temperature\":1.0,\"tool_choice\":\"auto\",\
          \"tools\":[],\"top_p\":1.0,\"truncation\":\"disabled\",\"usage\":",
    );
    match answer.usage.filter(|_| finish.is_some()) {
        Some(usage) if answer.usage_rule() != UsageRule::Wrong => {
            let usage = json!({
                "input_tokens": usage.prompt,
                "input_tokens_details": {
                    "cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write,
                },
                "output_tokens": usage.completion,
                "output_tokens_details": { "reasoning_tokens": usage.reasoning },
                "total_tokens": usage.prompt + usage.completion,
            });
            out.extend_from_slice(usage.to_string().as_bytes());
        }
        Some(_) => out.extend_from_slice(
            b"{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":11},\
              \"output_tokens\":-3,\"total_tokens\":7}",
        ),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

fn output(answer: &Answer, out: &mut Vec<u8>) {
    let mut is_first = true;
    let mut comma = |out: &mut Vec<u8>| {
        if !std::mem::replace(&mut is_first, false) {
            out.push(b',');
        }
    };
    if answer.script.reasoning_chunks > 0 {
        comma(out);
        reasoning_item(answer.number, &reasoning_text(answer), out);
    }
    if answer.chunks() > 0 {
        comma(out);
        let text = text(answer);
        message_item(answer.number, message_index(answer), Some(&text), "completed", out);
    }
    for (call, _) in (0..).zip(&answer.script.tool_calls) {
        comma(out);
        call_item(answer, call, true, out);
    }
}

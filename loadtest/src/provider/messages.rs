//! Anthropic messages, as a provider speaks them.
//!
//! In: the body of `POST …/messages`, or of `…/messages/count_tokens`. Out: `message` bodies, or named events from `message_start` to
//! `message_stop`, one block after the other. Never validates more than it needs.

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Piece, digits_into};
use super::chat::unquoted;
use super::dialect::Dialect;
use super::script::{UsageCounts, UsageRule};
use crate::json::members;

/// See the module.
pub(crate) struct Messages;

/// What the reasoning is signed with; a gateway has to bring it back unchanged.
pub(crate) const SIGNATURE: &str = "EqQBCkYICxgCKkBmYWtl+/=";

const COUNT_PATH: &str = "/messages/count_tokens";

impl Dialect for Messages {
    fn takes(&self, method: &str, path: &str) -> bool {
        method == "POST" && (path.ends_with("/messages") || path.ends_with(COUNT_PATH))
    }

    fn read(&self, path: &str, body: &[u8]) -> Result<Ask, String> {
        let counts = path.ends_with(COUNT_PATH);
        let mut ask = Ask { include_usage: true, counts, ..Ask::default() };
        let (mut seen_model, mut seen_limit) = (false, false);
        for (key, value) in members(body) {
            match key {
                b"model" => {
                    ask.model = unquoted(body, value).ok_or("model: a string is needed")?;
                    seen_model = true;
                }
                b"max_tokens" => seen_limit = true,
                b"messages" => ask.prompt = value,
                b"stream" => ask.stream = body[value].starts_with(b"true"),
                b"x_script" => ask.script = Some(value),
                _ => {}
            }
        }
        match (seen_model, seen_limit, ask.prompt.is_empty()) {
            (false, ..) => Err("model: Field required".to_owned()),
            (_, false, _) if !counts => Err("max_tokens: Field required".to_owned()),
            (.., true) => Err("messages: Field required".to_owned()),
            _ => Ok(ask),
        }
    }

    fn echo(&self, body: &[u8]) -> Value {
        let Ok(doc) = serde_json::from_slice::<Value>(body) else {
            return json!({ "error": "the body is no JSON" });
        };
        let messages = doc["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let blocks_of = |kind: &str| {
            let blocks = messages.iter().filter_map(|message| message["content"].as_array());
            blocks.flatten().filter(|block| block["type"] == kind).count()
        };
        let signatures = messages.iter().filter_map(|message| message["content"].as_array());
        let signatures: Vec<&Value> = signatures
            .flatten()
            .map(|block| &block["signature"])
            .filter(|s| !s.is_null())
            .collect();
        let count = |value: &Value| value.as_array().map_or(0, Vec::len);
        let fields: Vec<&String> = doc.as_object().map_or(Vec::new(), |o| o.keys().collect());
        json!({
            "model": doc["model"],
            "messages": messages.len(),
            "system": count(&doc["system"]),
            "tool_results": blocks_of("tool_result"),
            "images": blocks_of("image"),
            "files": blocks_of("document"),
            "tools": count(&doc["tools"]),
            "stream": doc["stream"],
            "signatures": signatures,
            "fields": fields,
            "bytes": body.len(),
        })
    }

    fn prompt(&self, body: &[u8]) -> String {
        let doc: Value = serde_json::from_slice(body).unwrap_or_default();
        let last_user =
            doc["messages"].as_array().and_then(|all| all.iter().rfind(|m| m["role"] == "user"));
        match last_user.map(|message| &message["content"]) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(blocks)) => {
                let texts = blocks.iter().filter_map(|block| block["text"].as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        }
    }

    fn whole(&self, answer: &Answer, out: &mut Vec<u8>) {
        if answer.counts {
            out.extend_from_slice(b"{\"input_tokens\":");
            digits_into(answer.usage.unwrap_or_default().prompt, out);
            return out.push(b'}');
        }
        head(answer, out);
        let mut is_first = true;
        let mut separate = |out: &mut Vec<u8>| {
            if !std::mem::replace(&mut is_first, false) {
                out.push(b',');
            }
        };
        if answer.script.reasoning_chunks > 0 {
            separate(out);
            out.extend_from_slice(b"{\"type\":\"thinking\",\"thinking\":\"");
            (0..answer.script.reasoning_chunks).for_each(|index| answer.reasoning_into(index, out));
            out.extend_from_slice(b"\",\"signature\":\"");
            out.extend_from_slice(SIGNATURE.as_bytes());
            out.extend_from_slice(b"\"}");
        }
        if answer.chunks() > 0 {
            separate(out);
            out.extend_from_slice(b"{\"type\":\"text\",\"text\":\"");
            (0..answer.chunks()).for_each(|index| answer.text_into(index, out));
            out.extend_from_slice(b"\"}");
        }
        for (call, tool) in (0..).zip(&answer.script.tool_calls) {
            separate(out);
            tool_head(answer, call, out);
            out.extend_from_slice(tool.arguments.as_bytes());
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"stop_reason\":\"");
        crate::json::escape_into(finish(answer), out);
        out.extend_from_slice(b"\",\"stop_sequence\":null");
        if let Some(usage) = answer.usage {
            out.extend_from_slice(b",\"usage\":");
            usage_into(usage, answer.usage_rule(), out);
        }
        out.push(b'}');
    }

    fn prefix(&self, _: &mut Answer) {}

    fn event(&self, answer: &Answer, piece: Piece, out: &mut Vec<u8>) {
        let block = |index: u32, out: &mut Vec<u8>, opens: &str| {
            begin("content_block_start", out);
            index_into(index, out);
            out.extend_from_slice(b"\"content_block\":");
            out.extend_from_slice(opens.as_bytes());
            end(answer, out);
        };
        let delta = |index: u32, out: &mut Vec<u8>, kind: &str, member: &str| {
            begin("content_block_delta", out);
            index_into(index, out);
            out.extend_from_slice(b"\"delta\":{\"type\":\"");
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(b"\",\"");
            out.extend_from_slice(member.as_bytes());
            out.extend_from_slice(b"\":\"");
        };
        let close = |out: &mut Vec<u8>| {
            out.extend_from_slice(b"\"}");
            end(answer, out);
        };
        let stop = |index: u32, out: &mut Vec<u8>| {
            begin("content_block_stop", out);
            index_into(index, out);
            out.pop();
            end(answer, out);
        };
        let script = &answer.script;
        let thinks = u32::from(script.reasoning_chunks > 0);
        let speaks = u32::from(answer.chunks() > 0);
        match piece {
            Piece::Start => {
                begin("message_start", out);
                out.extend_from_slice(b"\"message\":");
                head(answer, out);
                out.extend_from_slice(b"],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
                let counts = answer.usage.unwrap_or_default();
                usage_into(
                    UsageCounts { completion: 1, reasoning: 0, ..counts },
                    UsageRule::Derived,
                    out,
                );
                out.push(b'}');
                end(answer, out);
                out.extend_from_slice(b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
            }
            Piece::Reasoning(index) => {
                if index == 0 {
                    block(0, out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
                }
                delta(0, out, "thinking_delta", "thinking");
                answer.reasoning_into(index, out);
                close(out);
                if index + 1 == script.reasoning_chunks {
                    delta(0, out, "signature_delta", "signature");
                    out.extend_from_slice(SIGNATURE.as_bytes());
                    close(out);
                    stop(0, out);
                }
            }
            Piece::Text(index) => {
                if index == 0 {
                    block(thinks, out, "{\"type\":\"text\",\"text\":\"\"}");
                }
                delta(thinks, out, "text_delta", "text");
                answer.text_into(index, out);
                close(out);
                if index + 1 == answer.chunks() {
                    stop(thinks, out);
                }
            }
            Piece::Tool(call) => {
                let index = thinks + speaks + call;
                begin("content_block_start", out);
                index_into(index, out);
                out.extend_from_slice(b"\"content_block\":");
                tool_head(answer, call, out);
                out.extend_from_slice(b"{}}");
                end(answer, out);
                if script.tool_calls[call as usize].fragments == 0 {
                    stop(index, out);
                }
            }
            Piece::Arguments(call, fragment) => {
                let index = thinks + speaks + call;
                delta(index, out, "input_json_delta", "partial_json");
                answer.arguments_into(call, fragment, out);
                close(out);
                if fragment + 1 == script.tool_calls[call as usize].fragments {
                    stop(index, out);
                }
            }
            Piece::Finish => {
                begin("message_delta", out);
                out.extend_from_slice(b"\"delta\":{\"stop_reason\":\"");
                crate::json::escape_into(finish(answer), out);
                out.extend_from_slice(b"\",\"stop_sequence\":null}");
                if let Some(usage) = answer.usage {
                    out.extend_from_slice(b",\"usage\":");
                    usage_into(usage, answer.usage_rule(), out);
                }
                end(answer, out);
            }
            // The counts came with the reason.
            Piece::Usage => {}
            Piece::Done => {
                begin("message_stop", out);
                out.pop();
                end(answer, out);
            }
        }
    }

    fn error_event(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: error\ndata: ");
        self.error(529, None, "Overloaded", out);
        out.extend_from_slice(b"\n\n");
    }

    fn error(&self, status: u16, code: Option<&str>, message: &str, out: &mut Vec<u8>) {
        let kind = match status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            500..=599 => "api_error",
            _ => "invalid_request_error",
        };
        let error = json!({ "type": kind, "message": message, "details": { "error_code": code } });
        let body = json!({ "type": "error", "error": error, "request_id": "req_fake" });
        out.extend_from_slice(body.to_string().as_bytes());
    }
}

/// A message up to the bracket that opens its content.
fn head(answer: &Answer, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"msg_fake_");
    digits_into(answer.number, out);
    out.extend_from_slice(b"\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"");
    out.extend_from_slice(&answer.model);
    out.extend_from_slice(b"\",\"content\":[");
}

/// A call up to its input, which has to follow.
fn tool_head(answer: &Answer, call: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"tool_use\",\"id\":\"toolu_");
    digits_into(answer.number, out);
    out.push(b'_');
    digits_into(u64::from(call), out);
    out.extend_from_slice(b"\",\"name\":\"");
    crate::json::escape_into(&answer.script.tool_calls[call as usize].name, out);
    out.extend_from_slice(b"\",\"input\":");
}

/// The scripted reason in this protocol's words.
fn finish(answer: &Answer) -> &str {
    let usual = if answer.script.tool_calls.is_empty() { "end_turn" } else { "tool_use" };
    match answer.finish() {
        None => usual,
        Some("stop") => "end_turn",
        Some("length") => "max_tokens",
        Some("tool_calls") => "tool_use",
        Some("content_filter") => "refusal",
        Some(other) => other,
    }
}

fn begin(kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: {\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",");
}

fn index_into(index: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"index\":");
    digits_into(u64::from(index), out);
    out.push(b',');
}

/// Closes an event's data.
fn end(answer: &Answer, out: &mut Vec<u8>) {
    out.push(b'}');
    out.extend_from_slice(if answer.script.crlf { b"\r\n\r\n" } else { b"\n\n" });
}

fn usage_into(usage: UsageCounts, rule: UsageRule, out: &mut Vec<u8>) {
    if rule == UsageRule::Wrong {
        return out.extend_from_slice(b"{\"input_tokens\":-10,\"output_tokens\":7}");
    }
    let plain = usage.prompt.saturating_sub(usage.cached + usage.cache_write);
    let mut field = |name: &str, count: u64| {
        out.extend_from_slice(name.as_bytes());
        digits_into(count, out);
    };
    field("{\"input_tokens\":", plain);
    field(",\"cache_read_input_tokens\":", usage.cached);
    field(",\"cache_creation_input_tokens\":", usage.cache_write);
    field(",\"cache_creation\":{\"ephemeral_5m_input_tokens\":", usage.cache_write);
    field(",\"ephemeral_1h_input_tokens\":", 0);
    field("},\"output_tokens\":", usage.completion);
    field(",\"output_tokens_details\":{\"thinking_tokens\":", usage.reasoning);
    out.extend_from_slice(b"}}");
}

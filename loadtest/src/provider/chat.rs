//! OpenAI chat completions, as a provider speaks them.
//!
//! In: the body of `POST …/chat/completions`. Out: `chat.completion` bodies, or `data:` events that
//! end with `[DONE]`; with `stream_options.include_usage`, `"usage":null` in every event and one
//! more event with empty `choices` and the figures. Never validates more than it needs.

use std::ops::Range;

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Piece, digits_into};
use super::dialect::Dialect;
use super::script::{UsageCounts, UsageRule};
use crate::json::members;

/// See the module.
pub(crate) struct Chat;

/// A fixed time of creation: answers are the same bytes run after run.
const CREATED: &[u8] = b",\"created\":1790000000,\"model\":\"";

impl Dialect for Chat {
    fn takes(&self, method: &str, path: &str) -> bool {
        method == "POST" && path.ends_with("/chat/completions")
    }

    fn read(&self, _path: &str, body: &[u8]) -> Result<Ask, String> {
        let mut ask = Ask::default();
        let mut seen_model = false;
        for (key, value) in members(body) {
            match key {
                b"model" => {
                    ask.model = unquoted(body, value).ok_or("model: a string is needed")?;
                    seen_model = true;
                }
                b"messages" => ask.prompt = value,
                b"stream" => ask.stream = body[value].starts_with(b"true"),
                b"stream_options" => {
                    ask.include_usage = members(&body[value.clone()]).any(|(key, inner)| {
                        key == b"include_usage" && body[value.clone()][inner].starts_with(b"true")
                    });
                }
                b"x_script" => ask.script = Some(value),
                _ => {}
            }
        }
        if !seen_model {
            return Err("you must provide a model parameter".to_owned());
        }
        if ask.prompt.is_empty() {
            return Err("missing required parameter: 'messages'".to_owned());
        }
        Ok(ask)
    }

    fn echo(&self, body: &[u8]) -> Value {
        let Ok(doc) = serde_json::from_slice::<Value>(body) else {
            return json!({ "error": "the body is no JSON" });
        };
        let messages = doc["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let of_role = |role: &str| messages.iter().filter(|m| m["role"] == role).count();
        let parts_of = |kind: &str| {
            messages
                .iter()
                .filter_map(|m| m["content"].as_array())
                .flatten()
                .filter(|part| part["type"] == kind)
                .count()
        };
        let count = |value: &Value| value.as_array().map_or(0, Vec::len);
        let fields: Vec<&String> = doc.as_object().map_or(Vec::new(), |o| o.keys().collect());
        json!({
            "model": doc["model"],
            "messages": messages.len(),
            "system": of_role("system") + of_role("developer"),
            "tool_results": of_role("tool"),
            "images": parts_of("image_url"),
            "audio": parts_of("input_audio"),
            "files": parts_of("file"),
            "tools": count(&doc["tools"]),
            "stream": doc["stream"],
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
            Some(Value::Array(parts)) => {
                let texts = parts.iter().filter_map(|part| part["text"].as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        }
    }

    fn whole(&self, answer: &Answer, out: &mut Vec<u8>) {
        head(answer, "chat.completion", out);
        out.extend_from_slice(
            b"\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":",
        );
        if answer.chunks() == 0 {
            out.extend_from_slice(b"null");
        } else {
            out.push(b'"');
            (0..answer.chunks()).for_each(|index| answer.text_into(index, out));
            out.push(b'"');
        }
        if answer.script.reasoning_chunks > 0 {
            out.extend_from_slice(b",\"reasoning_content\":\"");
            (0..answer.script.reasoning_chunks).for_each(|index| answer.reasoning_into(index, out));
            out.push(b'"');
        }
        out.extend_from_slice(b",\"refusal\":null");
        if !answer.script.tool_calls.is_empty() {
            out.extend_from_slice(b",\"tool_calls\":[");
            for (call, tool) in (0..).zip(&answer.script.tool_calls) {
                if call > 0 {
                    out.push(b',');
                }
                out.push(b'{');
                tool_head(answer, call, out);
                for fragment in 0..tool.fragments {
                    answer.arguments_into(call, fragment, out);
                }
                out.extend_from_slice(b"\"}}");
            }
            out.push(b']');
        }
        out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":\"");
        crate::json::escape_into(finish(answer), out);
        out.extend_from_slice(b"\"}]");
        if let Some(usage) = answer.usage {
            out.extend_from_slice(b",\"usage\":");
            usage_into(usage, answer.usage_rule(), out);
        }
        out.push(b'}');
    }

    fn prefix(&self, answer: &mut Answer) {
        let mut prefix = std::mem::take(&mut answer.prefix);
        prefix.clear();
        prefix.extend_from_slice(b"data: ");
        head(answer, "chat.completion.chunk", &mut prefix);
        prefix.extend_from_slice(b"\"choices\":[");
        answer.prefix = prefix;
    }

    fn event(&self, answer: &Answer, piece: Piece, out: &mut Vec<u8>) {
        let delta = |out: &mut Vec<u8>, open: &[u8]| {
            out.extend_from_slice(&answer.prefix);
            out.extend_from_slice(b"{\"index\":0,\"delta\":{");
            out.extend_from_slice(open);
        };
        let close = |out: &mut Vec<u8>, close: &[u8], finish: Option<&str>| {
            out.extend_from_slice(close);
            out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
            match finish {
                None => out.extend_from_slice(b"null}]"),
                Some(reason) => {
                    out.push(b'"');
                    crate::json::escape_into(reason, out);
                    out.extend_from_slice(b"\"}]");
                }
            }
            let usage = answer.include_usage && answer.usage.is_some();
            out.extend_from_slice(if usage { b",\"usage\":null}" } else { b"}" });
            end(answer, out);
        };
        match piece {
            Piece::Start => {
                delta(out, b"\"role\":\"assistant\",\"content\":\"\"");
                close(out, b"", None);
            }
            Piece::Text(index) => {
                delta(out, b"\"content\":\"");
                answer.text_into(index, out);
                close(out, b"\"", None);
            }
            Piece::Reasoning(index) => {
                delta(out, b"\"reasoning_content\":\"");
                answer.reasoning_into(index, out);
                close(out, b"\"", None);
            }
            Piece::Tool(call) => {
                delta(out, b"\"tool_calls\":[{\"index\":");
                digits_into(u64::from(call), out);
                out.push(b',');
                tool_head(answer, call, out);
                close(out, b"\"}}]", None);
            }
            Piece::Arguments(call, fragment) => {
                delta(out, b"\"tool_calls\":[{\"index\":");
                digits_into(u64::from(call), out);
                out.extend_from_slice(b",\"function\":{\"arguments\":\"");
                answer.arguments_into(call, fragment, out);
                close(out, b"\"}}]", None);
            }
            Piece::Finish => {
                delta(out, b"");
                close(out, b"", Some(finish(answer)));
            }
            Piece::Usage => usage_event(answer, out),
            Piece::Done => {
                out.extend_from_slice(b"data: [DONE]");
                end(answer, out);
            }
        }
    }

    fn error_event(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        self.error(500, None, "The server had an error while generating", out);
        out.extend_from_slice(b"\n\n");
    }

    fn error(&self, status: u16, code: Option<&str>, message: &str, out: &mut Vec<u8>) {
        let (kind, usual) = match status {
            401 => ("invalid_request_error", Some("invalid_api_key")),
            404 => ("invalid_request_error", Some("model_not_found")),
            429 => ("requests", Some("rate_limit_exceeded")),
            400..=499 => ("invalid_request_error", None),
            _ => ("server_error", None),
        };
        let body = json!({ "error": {
            "message": message, "type": kind, "param": null, "code": code.or(usual),
        }});
        out.extend_from_slice(body.to_string().as_bytes());
    }
}

/// A JSON string without its quotes.
pub(super) fn unquoted(body: &[u8], value: Range<usize>) -> Option<Range<usize>> {
    let raw = &body[value.clone()];
    let is_string = raw.len() >= 2 && raw.starts_with(b"\"") && raw.ends_with(b"\"");
    is_string.then(|| value.start + 1..value.end - 1)
}

fn head(answer: &Answer, object: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"chatcmpl-fake-");
    digits_into(answer.number, out);
    out.extend_from_slice(b"\",\"object\":\"");
    out.extend_from_slice(object.as_bytes());
    out.push(b'"');
    out.extend_from_slice(CREATED);
    out.extend_from_slice(&answer.model);
    out.extend_from_slice(b"\",\"system_fingerprint\":\"fp_fake\",");
}

fn tool_head(answer: &Answer, call: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"id\":\"call_");
    digits_into(answer.number, out);
    out.push(b'_');
    digits_into(u64::from(call), out);
    out.extend_from_slice(b"\",\"type\":\"function\",\"function\":{\"name\":\"");
    crate::json::escape_into(&answer.script.tool_calls[call as usize].name, out);
    out.extend_from_slice(b"\",\"arguments\":\"");
}

fn finish(answer: &Answer) -> &str {
    let usual = if answer.script.tool_calls.is_empty() { "stop" } else { "tool_calls" };
    answer.finish().unwrap_or(usual)
}

fn end(answer: &Answer, out: &mut Vec<u8>) {
    let ends: &[u8] = if answer.script.crlf { b"\r\n\r\n" } else { b"\n\n" };
    out.extend_from_slice(ends);
}

fn usage_event(answer: &Answer, out: &mut Vec<u8>) {
    let (true, Some(usage)) = (answer.include_usage, answer.usage) else {
        return;
    };
    let mut one = |usage: UsageCounts| {
        out.extend_from_slice(&answer.prefix);
        out.extend_from_slice(b"],\"usage\":");
        usage_into(usage, answer.usage_rule(), out);
        out.push(b'}');
        end(answer, out);
    };
    if answer.usage_rule() == UsageRule::Twice {
        one(UsageCounts {
            prompt: usage.prompt / 2,
            completion: usage.completion / 2,
            ..UsageCounts::default()
        });
    }
    one(usage);
}

fn usage_into(usage: UsageCounts, rule: UsageRule, out: &mut Vec<u8>) {
    if rule == UsageRule::Wrong {
        out.extend_from_slice(
            b"{\"prompt_tokens\":10,\"completion_tokens\":-3,\"total_tokens\":7,\
              \"prompt_tokens_details\":{\"cached_tokens\":11}}",
        );
        return;
    }
    let mut field = |name: &str, count: u64| {
        out.extend_from_slice(name.as_bytes());
        digits_into(count, out);
    };
    field("{\"prompt_tokens\":", usage.prompt);
    field(",\"completion_tokens\":", usage.completion);
    field(",\"total_tokens\":", usage.prompt + usage.completion);
    field(",\"prompt_tokens_details\":{\"cached_tokens\":", usage.cached);
    field(",\"cache_write_tokens\":", usage.cache_write);
    field("},\"completion_tokens_details\":{\"reasoning_tokens\":", usage.reasoning);
    out.extend_from_slice(b"}}");
}

//! Gemini, as Google speaks it.
//!
//! In: the body of `POST …/models/{model}:generateContent` or `:streamGenerateContent`. Out: whole
//! answers, or `data:` events that end with the body: no end mark, calls whole and without ids, the
//! first of them signed, the figures with the finish. Never validates more than it needs.

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Piece, digits_into};
use super::dialect::Dialect;
use super::script::{UsageCounts, UsageRule};
use crate::json::members;

/// See the module.
pub(crate) struct Gemini;

const WHOLE: &str = ":generateContent";
const STREAM: &str = ":streamGenerateContent";

impl Dialect for Gemini {
    fn takes(&self, method: &str, path: &str) -> bool {
        method == "POST"
            && path.contains("/models/")
            && (path.ends_with(WHOLE) || path.ends_with(STREAM))
    }

    fn read(&self, path: &str, body: &[u8]) -> Result<Ask, String> {
        let start = path.find("/models/").map_or(0, |at| at + "/models/".len());
        let end = path.rfind(':').unwrap_or(path.len());
        let mut ask = Ask {
            model: start..end.max(start),
            model_in_path: true,
            stream: path.ends_with(STREAM),
            include_usage: true,
            ..Ask::default()
        };
        for (key, value) in members(body) {
            match key {
                b"contents" => ask.prompt = value,
                b"x_script" => ask.script = Some(value),
                _ => {}
            }
        }
        if ask.prompt.is_empty() {
            return Err("* GenerateContentRequest.contents: contents is not specified".to_owned());
        }
        Ok(ask)
    }

    fn echo(&self, body: &[u8]) -> Value {
        let Ok(doc) = serde_json::from_slice::<Value>(body) else {
            return json!({ "error": "the body is no JSON" });
        };
        let contents = doc["contents"].as_array().map_or(&[][..], Vec::as_slice);
        let parts = || contents.iter().filter_map(|content| content["parts"].as_array()).flatten();
        let having = |name: &str| parts().filter(|part| part.get(name).is_some()).count();
        let media = |kind: &str| {
            let mimes = parts().filter_map(|part| part["inlineData"]["mimeType"].as_str());
            mimes.filter(|mime| mime.starts_with(kind)).count()
        };
        let signatures: Vec<&Value> =
            parts().filter_map(|part| part.get("thoughtSignature")).collect();
        let declared = doc["tools"].as_array().into_iter().flatten();
        let tools: usize =
            declared.filter_map(|tool| Some(tool["functionDeclarations"].as_array()?.len())).sum();
        let fields: Vec<&String> = doc.as_object().map_or(Vec::new(), |o| o.keys().collect());
        json!({
            "messages": contents.len(),
            "system": usize::from(doc.get("systemInstruction").is_some()),
            "tool_results": having("functionResponse"),
            "calls": having("functionCall"),
            "signatures": signatures,
            "images": media("image/"),
            "audio": media("audio/"),
            "files": media("application/"),
            "tools": tools,
            "config": doc["generationConfig"],
            "fields": fields,
            "bytes": body.len(),
        })
    }

    fn prompt(&self, body: &[u8]) -> String {
        let doc: Value = serde_json::from_slice(body).unwrap_or_default();
        let last_user =
            doc["contents"].as_array().and_then(|all| all.iter().rfind(|c| c["role"] != "model"));
        let parts = last_user.and_then(|content| content["parts"].as_array());
        let texts = parts.into_iter().flatten().filter_map(|part| part["text"].as_str());
        texts.collect::<Vec<_>>().join("\n")
    }

    fn whole(&self, answer: &Answer, out: &mut Vec<u8>) {
        out.extend_from_slice(OPEN);
        let mut separator = Separator::default();
        if answer.script.reasoning_chunks > 0 {
            separator.write(out);
            out.extend_from_slice(b"{\"text\":\"");
            (0..answer.script.reasoning_chunks).for_each(|index| answer.reasoning_into(index, out));
            out.extend_from_slice(b"\",\"thought\":true}");
        }
        if answer.chunks() > 0 {
            separator.write(out);
            out.extend_from_slice(b"{\"text\":\"");
            (0..answer.chunks()).for_each(|index| answer.text_into(index, out));
            out.extend_from_slice(b"\"}");
        }
        for call in 0..answer.script.tool_calls.len() as u32 {
            separator.write(out);
            call_into(answer, call, out);
        }
        close(answer, true, out);
    }

    fn prefix(&self, answer: &mut Answer) {
        answer.prefix.clear();
        answer.prefix.extend_from_slice(b"data: ");
        answer.prefix.extend_from_slice(OPEN);
    }

    fn event(&self, answer: &Answer, piece: Piece, out: &mut Vec<u8>) {
        let is_last_fragment = |call: u32, fragments: u32| {
            answer
                .script
                .tool_calls
                .get(call as usize)
                .is_some_and(|tool| tool.fragments == fragments)
        };
        let is_told = match piece {
            // A call comes whole, with the last of its fragments.
            Piece::Tool(call) => is_last_fragment(call, 0),
            Piece::Arguments(call, fragment) => is_last_fragment(call, fragment + 1),
            // The figures come with the finish, and nothing marks the end.
            Piece::Usage | Piece::Done => false,
            _ => true,
        };
        if !is_told {
            return;
        }
        out.extend_from_slice(&answer.prefix);
        match piece {
            Piece::Text(index) => {
                out.extend_from_slice(b"{\"text\":\"");
                answer.text_into(index, out);
                out.extend_from_slice(b"\"}");
            }
            Piece::Reasoning(index) => {
                out.extend_from_slice(b"{\"text\":\"");
                answer.reasoning_into(index, out);
                out.extend_from_slice(b"\",\"thought\":true}");
            }
            Piece::Tool(call) | Piece::Arguments(call, _) => call_into(answer, call, out),
            _ => out.extend_from_slice(b"{\"text\":\"\"}"),
        }
        close(answer, piece == Piece::Finish, out);
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn error_event(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        self.error(500, None, "The server had an error while generating", out);
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn error(&self, status: u16, code: Option<&str>, message: &str, out: &mut Vec<u8>) {
        let name = match status {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            400..=499 => "INVALID_ARGUMENT",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            _ => "INTERNAL",
        };
        let mut error = json!({ "code": status, "message": message, "status": name });
        if let Some(reason) = code {
            error["details"] = json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason,
                "domain": "googleapis.com",
            }]);
        }
        out.extend_from_slice(json!({ "error": error }).to_string().as_bytes());
    }
}

/// Up to the first part.
const OPEN: &[u8] = b"{\"candidates\":[{\"content\":{\"parts\":[";

/// Writes a comma between two parts.
#[derive(Default)]
struct Separator {
    is_needed: bool,
}

impl Separator {
    fn write(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.is_needed, true) {
            out.push(b',');
        }
    }
}

/// A call as a part. The first of an answer is signed, as those of the newer models are.
fn call_into(answer: &Answer, call: u32, out: &mut Vec<u8>) {
    let Some(tool) = answer.script.tool_calls.get(call as usize) else { return };
    out.extend_from_slice(b"{\"functionCall\":{\"name\":\"");
    crate::json::escape_into(&tool.name, out);
    out.extend_from_slice(b"\",\"args\":");
    let args = if tool.arguments.is_empty() { "{}" } else { &tool.arguments };
    out.extend_from_slice(args.as_bytes());
    out.push(b'}');
    if call == 0 {
        out.extend_from_slice(b",\"thoughtSignature\":\"");
        out.extend_from_slice(signature(answer.number).as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}

/// The signature of the answer of that number: base 64 with every character that needs care.
fn signature(number: u64) -> String {
    format!("c2ln{number:04}+/8=")
}

/// From the last part to the end of the object.
fn close(answer: &Answer, finishes: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"],\"role\":\"model\"}");
    if finishes {
        out.extend_from_slice(b",\"finishReason\":\"");
        crate::json::escape_into(answer.finish().unwrap_or("STOP"), out);
        out.push(b'"');
    }
    out.extend_from_slice(b",\"index\":0}]");
    if let Some(usage) = answer.usage {
        let rule = answer.usage_rule();
        match (finishes, rule) {
            (true, _) => usage_into(usage, rule, out),
            // Figures so far, in every event.
            (false, UsageRule::Twice) => {
                let half = UsageCounts {
                    prompt: usage.prompt / 2,
                    completion: usage.completion / 2,
                    ..UsageCounts::default()
                };
                usage_into(half, rule, out);
            }
            (false, _) => {}
        }
    }
    out.extend_from_slice(b",\"modelVersion\":\"");
    out.extend_from_slice(&answer.model);
    out.extend_from_slice(b"\",\"responseId\":\"fake");
    digits_into(answer.number, out);
    out.extend_from_slice(b"\"}");
}

fn usage_into(usage: UsageCounts, rule: UsageRule, out: &mut Vec<u8>) {
    if rule == UsageRule::Wrong {
        out.extend_from_slice(
            b",\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":-3,\
              \"totalTokenCount\":7,\"cachedContentTokenCount\":11}",
        );
        return;
    }
    let mut field = |name: &str, count: u64| {
        out.extend_from_slice(name.as_bytes());
        digits_into(count, out);
    };
    field(",\"usageMetadata\":{\"promptTokenCount\":", usage.prompt);
    field(",\"candidatesTokenCount\":", usage.completion.saturating_sub(usage.reasoning));
    field(",\"totalTokenCount\":", usage.prompt + usage.completion);
    if usage.cached > 0 {
        field(",\"cachedContentTokenCount\":", usage.cached);
    }
    if usage.reasoning > 0 {
        field(",\"thoughtsTokenCount\":", usage.reasoning);
    }
    out.push(b'}');
}

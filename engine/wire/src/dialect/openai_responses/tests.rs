//! What is read from a client's body and a provider's bytes, and how a body goes on unchanged.

use super::OpenAiResponses;
use crate::chat::{Issuer, State, Str, carry};
use crate::dialect::{AnswerFault, Codec, EventKind, Outgoing, UsageRules};
use crate::request::Parsed;
use models::{Capabilities, Dialect};
use proptest::prelude::*;
use serde_json::{Value, json};

static CODEC: &dyn Codec = &OpenAiResponses;

const OUTGOING: Outgoing<'static> =
    Outgoing { model: "gpt-x", asks_usage: true, max_output_field: None, max_output: u32::MAX };

fn patched(parsed: &Parsed, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let rest = CODEC.patch_request(parsed, body, &OUTGOING, &mut out);
    out.extend_from_slice(&body[rest..]);
    assert_eq!(out.len(), CODEC.patched_len(parsed, body, &OUTGOING));
    out
}

fn through(body: &str) -> String {
    let parsed = CODEC.read_request(body.as_bytes()).expect("a sound request");
    String::from_utf8(patched(&parsed, body.as_bytes())).unwrap()
}

#[test]
fn facts_are_read_from_items() {
    let body = json!({
        "model": "auto",
        "instructions": "be brief",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "rules"}]},
            {"role": "user", "content": "first"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": [
                {"type": "input_image", "image_url": "data:image/png;base64,iVBO"}]},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "and "}, {"type": "input_text", "text": "this?"},
                {"type": "input_file", "file_data": "JVBE", "filename": "a.pdf"}]},
        ],
        "tools": [
            {"type": "function", "name": "a"}, {"type": "custom", "name": "b"},
            {"type": "web_search"},
            {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "c"}]},
        ],
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {}}},
        "max_output_tokens": 9,
        "stream": true,
        "store": false,
    })
    .to_string();
    let parsed = CODEC.read_request(body.as_bytes()).unwrap();
    let shape = &parsed.shape;
    assert_eq!(parsed.dialect, Dialect::OpenAiResponses);
    assert_eq!((shape.messages, shape.user_turns, shape.tool_results), (6, 2, 1));
    assert_eq!((shape.images, shape.files, shape.turn_images, shape.turn_media), (1, 1, 0, 1));
    assert_eq!((shape.tools, shape.json_schema, shape.ends_with_tool_result), (3, true, false));
    assert_eq!(shape.system_bytes, 13);
    assert!(parsed.stream && parsed.usage_in_stream);
    assert_eq!(parsed.max_output, Some(9));
    let needed = Capabilities::TOOLS
        | Capabilities::VISION
        | Capabilities::PDF_IN
        | Capabilities::JSON_SCHEMA;
    assert_eq!(parsed.needs, needed);
    assert_eq!(parsed.system.unwrap().read(body.as_bytes()), "be brief");
    let last: Vec<_> = parsed.last_user.iter().map(|text| text.read(body.as_bytes())).collect();
    assert_eq!(last, ["and ", "this?"]);

    let text = br#"{"model":"m","input":"hello"}"#;
    let parsed = CODEC.read_request(text).unwrap();
    assert_eq!((parsed.shape.messages, parsed.shape.user_turns), (1, 1));
    assert_eq!(parsed.last_user[0].read(text), "hello");
}

/// One row per way in which a body must change: what comes in, and what the provider gets.
#[test]
fn only_what_must_change_changes() {
    let foreign = carry::value_of(Some(&State {
        issuer: Issuer::any(Dialect::AnthropicMessages),
        is_redacted: false,
        id: Str::EMPTY,
        data: Str::plain("sig"),
    }));
    let ours = format!(r#"{{"type":"reasoning","summary":[],"encrypted_content":"{foreign}"}}"#);
    let bare = r#"{"id":"rs_1","type":"reasoning","summary":[]}"#;
    let real = r#"{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"gAAA"}"#;
    let open =
        r#"{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"x"}]}"#;
    let user = r#"{"role": "user", "content": "x"}"#;
    let call = r#"{"type":"function_call","call_id":"c_1_pmst1_AAAA","name":"f","arguments":"{}"}"#;
    let clean = r#"{"type":"function_call","call_id":"c_1","name":"f","arguments":"{}"}"#;
    let input = |items: &[&str]| {
        let items = items.join(" , ");
        (
            format!(r#"{{"model":"auto","store":false,"input":[{items} ],"new":[1]}}"#),
            format!(r#"{{"model":"gpt-x","store":false,"input":[{items} ],"new":[1]}}"#),
        )
    };
    let rows = [
        (
            r#"{ "model":"auto", "input":"x" }"#.to_owned(),
            r#"{"store":false, "model":"gpt-x", "input":"x" }"#.to_owned(),
        ),
        (
            r#"{"model":"auto","store": true ,"input":"x"}"#.to_owned(),
            r#"{"model":"gpt-x","store": false ,"input":"x"}"#.to_owned(),
        ),
        (
            r#"{"model":"auto","store":null,"input":"x"}"#.to_owned(),
            r#"{"model":"gpt-x","store":false,"input":"x"}"#.to_owned(),
        ),
        (input(&[user, real, open, user]).0, input(&[user, real, open, user]).1),
        (input(&[&ours, bare, user]).0, input(&[user]).1),
        (input(&[user, bare, clean, &ours, user]).0, input(&[user, clean, user]).1),
        (input(&[user, &ours, bare]).0, input(&[user]).1),
        (input(&[user, call]).0, input(&[user, clean]).1),
    ];
    for (given, expected) in &rows {
        assert_eq!(&through(given), expected, "{given}");
    }
    let nothing_left = format!(r#"{{"model":"auto","store":false,"input":[{ours},{bare}]}}"#);
    let refusal = CODEC.read_request(nothing_left.as_bytes()).expect_err("nothing is left");
    assert_eq!(refusal.param.as_deref(), Some("input"));
}

#[test]
fn a_refusal_names_the_field_and_the_remedy() {
    let rows: &[(&str, Option<&str>, &str)] = &[
        ("[]", None, "an object"),
        (r#"{"input":"x"}"#, Some("model"), "auto"),
        (r#"{"model":"","input":"x"}"#, Some("model"), "empty"),
        (r#"{"model":"m"}"#, Some("input"), "send the conversation"),
        (r#"{"model":"m","input":[]}"#, Some("input"), "empty"),
        (r#"{"model":"m","input":7}"#, Some("input"), "string or an array"),
        (r#"{"model":"m","input":"x","max_output_tokens":0}"#, Some("max_output_tokens"), "1"),
        (r#"{"model":"m","input":"x","mod\u0065l":"n"}"#, Some("model"), "twice"),
        (r#"{"model":"m","input":"x","store":true,"store":false}"#, Some("store"), "twice"),
        (r#"{"model":"m","input":[{"content":"x"}]}"#, Some("input[0].role"), "user"),
        (
            r#"{"model":"m","input":[{"role":"user","content":[{"text":"x"}]}]}"#,
            Some("input[0].content[0].type"),
            "type",
        ),
        (
            r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":1}]}]}"#,
            Some("input[0].content[0].text"),
            "a string",
        ),
        (
            r#"{"model":"m","input":"x","previous_response_id":"resp_1"}"#,
            Some("previous_response_id"),
            "not kept",
        ),
        (r#"{"model":"m","input":"x","conversation":{"id":"c"}}"#, Some("conversation"), "kept"),
        (r#"{"model":"m","input":"x","background":true}"#, Some("background"), "kept"),
        (
            r#"{"model":"m","input":[{"type":"item_reference","id":"msg_1"}]}"#,
            Some("input[0]"),
            "whole conversation",
        ),
    ];
    for (body, param, says) in rows {
        let refusal = CODEC.read_request(body.as_bytes()).expect_err(body);
        assert_eq!(refusal.param.as_deref(), *param, "{body}: {}", refusal.message);
        assert!(refusal.message.contains(says), "{body}: {}", refusal.message);
        let mut out = Vec::new();
        CODEC.write_refusal(&refusal, "0a", &mut out);
        let error: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(error["error"].as_object().unwrap().len(), 4);
    }
    for harmless in [
        r#"{"model":"m","input":"x","previous_response_id":null,"conversation":null}"#,
        r#"{"model":"m","input":"x","background":false,"max_output_tokens":null,"tools":null}"#,
        r#"{"model":"m","input":[{"type":"new_thing","data":{"a":[1]}}]}"#,
    ] {
        assert!(CODEC.read_request(harmless.as_bytes()).is_ok(), "{harmless}");
    }
}

#[test]
fn events_are_judged_by_their_type() {
    use EventKind::*;
    let rows: &[(&str, EventKind, bool, u32)] = &[
        (r#"{"type":"response.created","response":{"usage":null}}"#, Preamble, false, 0),
        (r#"{"type":"response.in_progress"}"#, Preamble, false, 0),
        (r#"{"type":"response.output_item.added","item":{"type":"message"}}"#, Preamble, false, 0),
        (
            r#"{"item":{"type":"function_call"},"type":"response.output_item.added"}"#,
            Content,
            false,
            0,
        ),
        (r#"{"type":"response.output_text.delta","delta":"héy"}"#, Content, false, 4),
        (r#"{"type":"response.reasoning_summary_text.delta","delta":"ab"}"#, Content, false, 2),
        (r#"{"type":"response.function_call_arguments.delta","delta":"{"}"#, Content, false, 1),
        (r#"{"type":"response.output_text.done","text":"hey"}"#, Preamble, false, 0),
        (r#"{"type":"response.output_item.done","item":{"type":"message"}}"#, Content, false, 0),
        (r#"{"type":"response.web_search_call.searching"}"#, Preamble, false, 0),
        (r#"{"type":"response.completed","response":{}}"#, End, true, 0),
        (r#"{"type":"response.incomplete","response":{}}"#, End, true, 0),
        (r#"{"type":"response.failed","response":{}}"#, Error, false, 0),
        (r#"{"type":"error","code":"x","message":"y"}"#, Error, false, 0),
        (r#"{"type":"keepalive","sequence_number":3}"#, Preamble, false, 0),
        (r#"{"type":"codex.rate_limits"}"#, Unknown, false, 0),
        (r#"{"delta":"x"}"#, Unknown, false, 0),
        ("[DONE]", Unknown, false, 0),
        ("{\"type\":\"response.completed\"", Unknown, false, 0),
    ];
    for (data, kind, finish, bytes) in rows {
        let event = CODEC.read_event(data.as_bytes(), UsageRules::default(), None);
        assert_eq!((event.kind, event.finish, event.content_bytes), (*kind, *finish, *bytes));
    }
    let end = r#"{"type":"response.completed","response":{"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":4},"output_tokens":2}}}"#;
    let usage = CODEC.read_event(end.as_bytes(), UsageRules::default(), None).usage.unwrap();
    assert_eq!((usage.input.0, usage.cached.0, usage.output.0), (5, 4, 2));
}

#[test]
fn answers_are_told_from_errors() {
    let read = |body: &str| CODEC.read_answer(body.as_bytes(), UsageRules::default());
    let good = r#"{"object":"response","status":"completed","error":null,"output":[{"type":"message"}],"usage":{"input_tokens":1,"output_tokens":2}}"#;
    assert_eq!(read(good).unwrap().usage.unwrap().output.0, 2);
    let failed = r#"{"status":"failed","output":[],"error":{"code":"server_error"}}"#;
    assert_eq!(read(failed), Err(AnswerFault::Error));
    for malformed in ["", "null", "{}", r#"{"choices":[]}"#, r#"{"output":[}"#] {
        assert_eq!(read(malformed), Err(AnswerFault::Malformed), "{malformed}");
    }
}

#[test]
fn a_stream_that_breaks_ends_with_a_failed_response() {
    let refusal = crate::refusal::Refusal::new(crate::refusal::Kind::UpstreamInterrupted);
    let mut out = Vec::new();
    CODEC.write_stream_error(&refusal, "0a", &mut out);
    let event = crate::sse::read(&out);
    assert_eq!(event.name, b"response.failed");
    let data: Value = serde_json::from_slice(&event.data.unwrap()).unwrap();
    assert_eq!(data["type"], "response.failed");
    assert_eq!(data["response"]["error"]["code"], "upstream_interrupted");
    assert_eq!(data["response"]["status"], "failed");
}

proptest! {
    /// Whatever stands in a history, what goes on is JSON, and holds every item but the reasoning
    /// that nobody could read.
    #[test]
    fn cuts_leave_everything_else(kinds in prop::collection::vec(0u8..5, 1..12)) {
        let items: Vec<Value> = kinds.iter().enumerate().map(|(index, kind)| match kind {
            0 => json!({"role": "user", "content": format!("u{index}")}),
            1 => json!({"type": "reasoning", "summary": []}),
            2 => json!({"type": "reasoning", "summary": [], "encrypted_content": "pmst1_AAAA"}),
            3 => json!({"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}),
            _ => json!({"type": "function_call_output", "call_id": format!("c{index}"), "output": ""}),
        }).collect();
        let body = json!({"model": "auto", "input": items}).to_string();
        prop_assume!(kinds.iter().any(|kind| !matches!(kind, 1 | 2)));
        let sent: Value = serde_json::from_str(&through(&body)).unwrap();
        let kept: Vec<&Value> = kinds.iter().zip(&items)
            .filter(|(kind, _)| !matches!(kind, 1 | 2)).map(|(_, item)| item).collect();
        let found: Vec<&Value> = sent["input"].as_array().unwrap().iter().collect();
        prop_assert_eq!(found, kept);
        prop_assert_eq!(&sent["store"], &Value::Bool(false));
    }
}

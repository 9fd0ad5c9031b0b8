//! A client's body as it is, a provider's answers and events, refusals.

use super::AnthropicMessages;
use crate::chat::{Issuer, State, Str, carry};
use crate::dialect::{Answer, AnswerFault, Codec, EventKind, Outgoing, UsageRules};
use crate::refusal::{Kind, Refusal};
use models::{Capabilities, Dialect};
use serde_json::{Value, json};

static CODEC: &dyn Codec = &AnthropicMessages;

fn patched(body: &str) -> String {
    patched_for(body, u32::MAX)
}

fn patched_for(body: &str, max_output: u32) -> String {
    let parsed = CODEC.read_request(body.as_bytes()).expect("a sound request");
    let outgoing =
        Outgoing { model: "claude-x", asks_usage: false, max_output_field: None, max_output };
    let mut out = Vec::new();
    let rest = CODEC.patch_request(&parsed, body.as_bytes(), &outgoing, &mut out);
    out.extend_from_slice(&body.as_bytes()[rest..]);
    assert_eq!(out.len(), CODEC.patched_len(&parsed, body.as_bytes(), &outgoing));
    String::from_utf8(out).expect("text")
}

#[test]
fn a_limit_above_the_models_own_is_lowered() {
    let rows = [
        (r#"{"model":"m","max_tokens":32000,"messages":[{"role":"user","content":"x"}]}"#, 8192),
        (r#"{"max_tokens": 32000 ,"model":"m","messages":[{"role":"user","content":"x"}]}"#, 8192),
        (r#"{"max_tokens":8000,"model":"m","messages":[{"role":"user","content":"x"}]}"#, 8000),
    ];
    for (body, sent) in rows {
        let asked: Value = serde_json::from_str(body).expect("JSON");
        let mut expected = asked.clone();
        expected["model"] = json!("claude-x");
        expected["max_tokens"] = json!(sent);
        let out: Value = serde_json::from_str(&patched_for(body, 8192)).expect("JSON");
        assert_eq!(out, expected, "{body}");
    }
}

#[test]
fn facts_are_found() {
    let body = r#"{"model":"auto","max_tokens":50,"stream":true,"system":[{"type":"text","text":"be kind"}],
        "tools":[{"name":"a","input_schema":{}},{"type":"web_search_20250305","name":"web_search"}],
        "output_config":{"effort":"low","format":{"type":"json_schema","schema":{}}},
        "messages":[{"role":"user","content":"hello"},
          {"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"a","input":{"x":1}}]},
          {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"image","source":{"type":"url","url":"u"}}]}]}]}"#;
    let parsed = CODEC.read_request(body.as_bytes()).unwrap();
    let read = |text: crate::request::Text| text.read(body.as_bytes()).into_owned();
    assert_eq!(read(parsed.model), "auto");
    assert!(parsed.stream);
    assert_eq!(parsed.max_output, Some(50));
    assert_eq!(parsed.system.map(read).as_deref(), Some("be kind"));
    assert_eq!(parsed.last_user.iter().map(|text| read(*text)).collect::<Vec<_>>(), ["hello"]);
    let needs = Capabilities::TOOLS | Capabilities::VISION | Capabilities::JSON_SCHEMA;
    assert_eq!(parsed.needs, needs);
    let shape = &parsed.shape;
    assert_eq!((shape.messages, shape.user_turns, shape.tools, shape.tool_results), (3, 1, 1, 1));
    assert!(shape.ends_with_tool_result && shape.json_schema);
}

#[test]
fn a_refusal_names_the_field() {
    let rows = [
        ("[]", None, 400),
        (r#"{"messages":[]}"#, Some("model"), 400),
        (r#"{"model":"m"}"#, Some("messages"), 400),
        (r#"{"model":"m","messages":[]}"#, Some("messages"), 400),
        (
            r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#,
            Some("messages[0].role"),
            400,
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"text":"x"}]}]}"#,
            Some("messages[0].content[0].type"),
            400,
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":1}]}"#,
            Some("messages[0].content"),
            400,
        ),
        (r#"{"model":"m","system":1,"messages":[]}"#, Some("system"), 400),
        (
            r#"{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"x"}]}"#,
            Some("max_tokens"),
            400,
        ),
        (r#"{"model":"m","\u006dodel":"n"}"#, Some("model"), 400),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"thread":{"type":"create"}}"#,
            Some("thread"),
            400,
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"thread":{"type":"continue","previous_message_id":"msg_1"}}"#,
            Some("thread"),
            404,
        ),
    ];
    for (body, param, status) in rows {
        let refusal = CODEC.read_request(body.as_bytes()).expect_err(body);
        assert_eq!(refusal.param.as_deref(), param, "{body}: {}", refusal.message);
        assert_eq!(refusal.status, status, "{body}");
    }
}

#[test]
fn refusals_have_anthropics_form() {
    let rows = [
        (Kind::BadField, 400, "invalid_request_error"),
        (Kind::BadCredential, 401, "authentication_error"),
        (Kind::UnknownModel, 404, "not_found_error"),
        (Kind::BodyTooLarge, 413, "request_too_large"),
        (Kind::RateLimited, 429, "rate_limit_error"),
        (Kind::Internal, 500, "api_error"),
        (Kind::NoCandidate, 503, "api_error"),
        (Kind::UpstreamTimeout, 504, "timeout_error"),
        (Kind::Overloaded, 529, "overloaded_error"),
    ];
    for (kind, status, name) in rows {
        let refusal = Refusal::new(kind);
        assert_eq!(CODEC.refusal_status(&refusal), status);
        let mut out = Vec::new();
        CODEC.write_refusal(&refusal, "req_1", &mut out);
        let error: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(error["type"], "error");
        assert_eq!(error["error"]["type"], name);
        assert_eq!(error["request_id"], "req_1");
    }
    let mut out = Vec::new();
    CODEC.write_refusal(&Refusal::new(Kind::ThreadUnsupported), "r", &mut out);
    let error: Value = serde_json::from_slice(&out).unwrap();
    let details = json!({"error_code": "thread_unsupported_request", "unsupported": ["thread"]});
    assert_eq!(error["error"]["details"], details);
}

#[test]
fn answers_are_counted_or_refused() {
    let read = |body: &str| CODEC.read_answer(body.as_bytes(), UsageRules::default());
    let answer = read(
        r#"{"type":"message","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":3,"output_tokens":2}}"#,
    );
    assert!(
        matches!(answer, Ok(Answer { usage: Some(usage), content_bytes: 25.. }) if usage.input.0 == 3)
    );
    assert_eq!(read("{}"), Err(AnswerFault::Malformed));
    assert_eq!(read("x"), Err(AnswerFault::Malformed));
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
    assert_eq!(read(error), Err(AnswerFault::Error));
}

#[test]
fn events_are_told_apart() {
    use EventKind::*;
    let rows = [
        (
            r#"{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}"#,
            Preamble,
            false,
        ),
        (
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            Preamble,
            false,
        ),
        (
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a"}}"#,
            Content,
            false,
        ),
        (r#"{"type":"ping"}"#, Preamble, false),
        (
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}"#,
            Content,
            false,
        ),
        (r#"{"type":"content_block_stop","index":0}"#, Preamble, false),
        (
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#,
            Content,
            true,
        ),
        (r#"{"type":"message_stop"}"#, End, false),
        (r#"{"type":"error","error":{"type":"overloaded_error"}}"#, Error, false),
        (r#"{"type":"something_new"}"#, Preamble, false),
        ("nonsense", Unknown, false),
    ];
    let mut seen = None;
    for (data, kind, finish) in rows {
        let event = CODEC.read_event(data.as_bytes(), UsageRules::default(), seen.as_ref());
        assert_eq!((event.kind, event.finish), (kind, finish), "{data}");
        seen = event.usage.or(seen);
    }
    let seen = seen.unwrap();
    assert_eq!((seen.input.0, seen.output.0), (9, 7), "counts come in pieces");
}

/// What another provider left in the history is taken out; the rest passes byte for byte.
#[test]
fn only_what_is_ours_is_taken_out_of_a_history() {
    let foreign = State {
        issuer: Issuer::of(Dialect::OpenAiResponses, "openai"),
        is_redacted: false,
        id: Str::plain("rs_1"),
        data: Str::plain("gAAA"),
    };
    let ours = format!(
        r#"{{"type":"thinking","thinking":"x","signature":"{}"}}"#,
        carry::value_of(Some(&foreign))
    );
    let theirs = r#"{"type":"thinking","thinking":"","signature":"EqQB"}"#;
    let text = r#"{ "type":"text","text":"t" }"#;
    let body = |content: &str, model: &str| {
        format!(
            r#"{{"model":"{model}", "x":1.50, "messages":[{{"role":"assistant","content":[{content}]}}]}}"#
        )
    };
    let rows = [
        (format!("{theirs}, {text}"), format!("{theirs}, {text}")),
        (format!("{ours}, {text}"), text.to_owned()),
        (format!("{ours},{ours} , {text}"), text.to_owned()),
        (format!("{text}, {ours}"), text.to_owned()),
        (format!("{theirs},{ours},{ours}, {text}"), format!("{theirs}, {text}")),
        (format!("{ours}, {text},{ours}"), text.to_owned()),
        (ours.clone(), r#"{"type":"text","text":"(thinking left out)"}"#.to_owned()),
    ];
    for (content, expected) in rows {
        assert_eq!(patched(&body(&content, "auto")), body(&expected, "claude-x"), "{content}");
    }
    let carried = carry::Carried { call: Some(foreign), ..carry::Carried::default() };
    let long = carry::id_with(&Str::plain("toolu_1"), &carried).text().into_owned();
    let call = |id: &str| format!(r#"{{"type":"tool_use","id":"{id}","name":"a","input":{{}}}}"#);
    assert_eq!(patched(&body(&call(&long), "auto")), body(&call("toolu_1"), "claude-x"));
}

//! Gemini: bodies in, what is read out; what passes is not changed.

use super::*;
use crate::dialect::codec;
use models::Capabilities;
use serde_json::{Value, json};

const CODEC: GeminiGenerate = GeminiGenerate;
const RULES: UsageRules = UsageRules { reasoning_apart: false };
const OUTGOING: Outgoing<'static> = Outgoing {
    model: "gemini-x",
    asks_usage: true,
    max_output_field: Some("max_tokens"),
    max_output: u32::MAX,
};

fn patched(body: &str) -> String {
    let parsed = CODEC.read_request(body.as_bytes()).expect("a sound request");
    let mut out = Vec::new();
    let rest = CODEC.patch_request(&parsed, body.as_bytes(), &OUTGOING, &mut out);
    out.extend_from_slice(&body.as_bytes()[rest..]);
    assert_eq!(out.len(), CODEC.patched_len(&parsed, body.as_bytes(), &OUTGOING));
    String::from_utf8(out).expect("text")
}

#[test]
fn the_list_knows_the_dialect() {
    let dialect = Dialect::GeminiGenerate;
    assert_eq!(codec(dialect).unwrap().dialect(), dialect);
    assert_eq!(crate::dialect::chat(dialect).unwrap().dialect(), dialect);
}

#[test]
fn facts_are_found_in_both_spellings() {
    let camel = r#"{"contents":[
        {"role":"user","parts":[{"text":"Look"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]},
        {"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},
        {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"result":"42"}}}]}],
        "systemInstruction":{"parts":[{"text":"Be brief."}]},
        "tools":[{"functionDeclarations":[{"name":"f"},{"name":"g"}]}],
        "generationConfig":{"maxOutputTokens":100,"candidateCount":2,"responseMimeType":"application/json","responseSchema":{"type":"OBJECT"}},
        "xUnknown":{"a":[1]}}"#;
    let snake = camel
        .replace("inlineData", "inline_data")
        .replace("mimeType", "mime_type")
        .replace("systemInstruction", "system_instruction")
        .replace("functionDeclarations", "function_declarations")
        .replace("generationConfig", "generation_config")
        .replace("maxOutputTokens\":100", "max_output_tokens\":\"100\"")
        .replace("candidateCount", "candidate_count")
        .replace("responseSchema", "response_schema");
    for body in [camel, &snake] {
        let parsed = CODEC.read_request(body.as_bytes()).unwrap();
        let text = body.as_bytes();
        assert!(parsed.model.span.is_empty(), "the path names the model");
        assert_eq!((parsed.max_output, parsed.alternatives), (Some(100), 2));
        let needs = Capabilities::TOOLS | Capabilities::VISION | Capabilities::JSON_SCHEMA;
        assert_eq!(parsed.needs, needs | Capabilities::ALTERNATIVES);
        assert_eq!(parsed.system.unwrap().read(text), "Be brief.");
        assert_eq!(parsed.last_user[0].read(text), "Look");
        let shape = &parsed.shape;
        assert_eq!((shape.messages, shape.user_turns, shape.images), (4, 1, 1));
        assert_eq!((shape.tools, shape.tool_results, shape.ends_with_tool_result), (2, 1, true));
        assert!(shape.json_schema && !shape.json_object);
        assert_eq!(patched(body), *body, "what passes is not changed");
    }
}

/// One row per mistake: a body, the field that the refusal names, and what its message must say.
#[test]
fn a_refusal_names_the_field_and_the_remedy() {
    let rows: &[(&str, Option<&str>, &str)] = &[
        ("", None, "ends unexpectedly"),
        ("[]", None, "must be an object"),
        ("{}", Some("contents"), "send the conversation"),
        (r#"{"contents":[]}"#, Some("contents"), "at least one"),
        (r#"{"contents":null}"#, Some("contents"), "an array"),
        (r#"{"contents":"x"}"#, Some("contents"), "an array"),
        (r#"{"contents":[1]}"#, Some("contents[0]"), "an object"),
        (r#"{"contents":[{"parts":[{"text":1}]}]}"#, Some("contents[0].parts[0].text"), "a string"),
        (r#"{"contents":[{"role":"assistant"}]}"#, Some("contents[0].role"), "\"model\""),
        (r#"{"contents":[{}],"contents":[{}]}"#, Some("contents"), "stands twice"),
        (
            r#"{"contents":[{}],"generationConfig":{},"generation_config":{}}"#,
            Some("generationConfig"),
            "stands twice",
        ),
        (
            r#"{"contents":[{}],"generationConfig":{"maxOutputTokens":1,"max_output_tokens":2}}"#,
            Some("generationConfig"),
            "stands twice",
        ),
        (
            r#"{"contents":[{}],"generationConfig":{"maxOutputTokens":-1}}"#,
            Some("generationConfig.maxOutputTokens"),
            "a whole number",
        ),
        (
            r#"{"contents":[{}],"generationConfig":{"candidateCount":0}}"#,
            Some("generationConfig.candidateCount"),
            "between 1 and 128",
        ),
    ];
    for (body, param, says) in rows {
        let refusal = CODEC.read_request(body.as_bytes()).expect_err(body);
        assert_eq!(refusal.param.as_deref(), *param, "{body}: {}", refusal.message);
        assert!(refusal.message.contains(says), "{body}: {}", refusal.message);
        let mut out = Vec::new();
        CODEC.write_refusal(&refusal, "id", &mut out);
        let error: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(error["error"]["code"], 400);
        assert_eq!(error["error"]["status"], "INVALID_ARGUMENT");
    }
}

#[test]
fn state_of_others_does_not_reach_google() {
    let state = chat::State {
        issuer: chat::Issuer::of(Dialect::AnthropicMessages, "anthropic"),
        is_redacted: false,
        id: chat::Str::EMPTY,
        data: chat::Str::plain("EqQB"),
    };
    let carried = chat::carry::Carried { call: Some(state), ..Default::default() };
    let ours = state::signature_of(&carried).unwrap().text().into_owned();
    let with = |signature: &str| {
        format!(
            r#"{{"contents":[{{"role":"model","parts":[{{"functionCall":{{"name":"f"}},"thoughtSignature":"{signature}"}}]}}]}}"#
        )
    };
    assert_eq!(patched(&with(&ours)), with(state::NO_SIGNATURE));
    assert_eq!(patched(&with("CiQB0e2Kb/+w==")), with("CiQB0e2Kb/+w=="));
}

#[test]
fn answers_are_judged() {
    let content = |part: &str, finish: &str| {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{part}],"role":"model"}}{finish},"index":0}}],"usageMetadata":{{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":3,"thoughtsTokenCount":2,"toolUsePromptTokenCount":1,"totalTokenCount":16}}}}"#
        )
    };
    let text = content(r#"{"text":"hello"}"#, r#","finishReason":"STOP""#);
    let answer = CODEC.read_answer(text.as_bytes(), RULES).unwrap();
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input.0, usage.cached.0), (11, 4));
    assert_eq!((usage.output.0, usage.reasoning.0, answer.content_bytes), (5, 2, 5));

    let blocked =
        r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}"#;
    assert_eq!(CODEC.read_answer(blocked.as_bytes(), RULES).unwrap().usage.unwrap().input.0, 4);
    let broken = content("", r#","finishReason":"MALFORMED_FUNCTION_CALL""#);
    let error = r#"[{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}]"#;
    for fault in [&broken, error] {
        assert_eq!(CODEC.read_answer(fault.as_bytes(), RULES), Err(AnswerFault::Error), "{fault}");
        assert_eq!(CODEC.read_event(fault.as_bytes(), RULES, None).kind, EventKind::Error);
    }
    for fault in ["", "{}", "[]", "null", "{\"candidates\":[]}"] {
        let read = CODEC.read_answer(fault.as_bytes(), RULES);
        assert_eq!(read, Err(AnswerFault::Malformed), "{fault}");
    }

    let event = CODEC.read_event(text.as_bytes(), RULES, None);
    assert_eq!((event.kind, event.finish, event.content_bytes), (EventKind::Content, true, 5));
    let event = CODEC.read_event(content("", "").as_bytes(), RULES, None);
    assert_eq!((event.kind, event.finish), (EventKind::Preamble, false));
    let call = content(r#"{"functionCall":{"name":"f","args":{"a":1}}}"#, "");
    assert_eq!(CODEC.read_event(call.as_bytes(), RULES, None).kind, EventKind::Content);
    // A lie is no count.
    let lie = text.replace("\"cachedContentTokenCount\":4", "\"cachedContentTokenCount\":40");
    assert_eq!(CODEC.read_answer(lie.as_bytes(), RULES).unwrap().usage, None);
}

#[test]
fn the_path_to_a_provider_names_the_model() {
    let rows = [
        ("gemini-x", false, "/models/gemini-x:generateContent"),
        ("gemini-x", true, "/models/gemini-x:streamGenerateContent?alt=sse"),
        ("lab/a b?", false, "/models/lab/a%20b%3F:generateContent"),
    ];
    for (model, streams, path) in rows {
        assert_eq!(CODEC.path(model, streams), path);
    }
}

#[test]
fn errors_have_googles_form() {
    use crate::refusal::Kind;
    let refusal = Refusal::new(Kind::RateLimited).with_retry_after(Some(17)).with_param("model");
    let mut out = Vec::new();
    CODEC.write_stream_error(&refusal, "id", &mut out);
    let text = String::from_utf8(out).unwrap();
    // The SDK for Python looks for these very bytes.
    let data = text.strip_prefix("data: ").unwrap().strip_suffix("\r\n\r\n").unwrap();
    assert!(data.starts_with("{\"error\":"), "{data}");
    let error: Value = serde_json::from_str(data).unwrap();
    let error = &error["error"];
    assert_eq!((&error["code"], &error["status"]), (&json!(429), &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(error["details"][0]["reason"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(error["details"][1]["fieldViolations"][0]["field"], "model");
    assert_eq!(error["details"][2]["retryDelay"], "17s");
}

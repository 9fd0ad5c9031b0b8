//! OpenAI chat completions: bodies in, what is read and patched out.

use super::*;
use crate::dialect::codec;

const CODEC: OpenAiChat = OpenAiChat;
const RULES: UsageRules = UsageRules { reasoning_apart: false };

fn parsed(body: &str) -> Parsed {
    CODEC.read_request(body.as_bytes()).unwrap()
}

fn patched(body: &str, outgoing: &Outgoing<'_>) -> String {
    let parsed = parsed(body);
    let mut out = Vec::new();
    let rest = CODEC.patch_request(&parsed, body.as_bytes(), outgoing, &mut out);
    out.extend_from_slice(&body.as_bytes()[rest..]);
    assert_eq!(out.len(), CODEC.patched_len(&parsed, body.as_bytes(), outgoing));
    serde_json::from_slice::<serde_json::Value>(&out).expect("a patched body is JSON");
    String::from_utf8(out).unwrap()
}

#[test]
fn the_list_knows_the_dialect() {
    assert_eq!(codec(Dialect::OpenAiChat).unwrap().dialect(), Dialect::OpenAiChat);
}

#[test]
fn facts_are_found_wherever_they_stand() {
    let body = r#"{"messages":[
        {"role":"system","content":"Be brief."},
        {"role":"user","content":[{"type":"text","text":"Look"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"1","content":"42"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{}}}],
        "response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}},
        "max_completion_tokens":100,"n":2,"stream":true,"temperature":null,"x_unknown":{"a":[1]},"model":"auto"}"#;
    let parsed = parsed(body);
    let text = body.as_bytes();
    assert_eq!(parsed.model.read(text), "auto");
    assert!(parsed.stream && !parsed.usage_in_stream);
    assert_eq!((parsed.max_output, parsed.alternatives), (Some(100), 2));
    assert_eq!(
        parsed.needs,
        Capabilities::TOOLS
            | Capabilities::VISION
            | Capabilities::JSON_SCHEMA
            | Capabilities::ALTERNATIVES
    );
    assert_eq!(parsed.system.unwrap().read(text), "Be brief.");
    assert_eq!(parsed.last_user[0].read(text), "Look");
    let shape = &parsed.shape;
    assert_eq!((shape.messages, shape.user_turns, shape.images), (4, 1, 1));
    assert_eq!((shape.tools, shape.tool_results, shape.ends_with_tool_result), (1, 1, true));
    assert!(parsed.input_tokens() > 1_000 && parsed.input_tokens() < 1_200);
}

/// One row per mistake: a body, the field that the refusal names, and what its message must say.
#[test]
fn a_refusal_names_the_field_and_the_remedy() {
    let nested = format!(r#"{{"model":"m","x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let rows: &[(&str, Option<&str>, &str)] = &[
        ("", None, "ends unexpectedly"),
        ("[]", None, "must be an object"),
        ("{}", Some("model"), "\"auto\""),
        (r#"{"model":1}"#, Some("model"), "a string"),
        (r#"{"model":null,"messages":[]}"#, Some("model"), "a string"),
        (r#"{"model":"","messages":[{"role":"user","content":"x"}]}"#, Some("model"), "empty"),
        (r#"{"model":"m"}"#, Some("messages"), "missing"),
        (r#"{"model":"m","messages":[]}"#, Some("messages"), "empty"),
        (r#"{"model":"m","messages":{}}"#, Some("messages"), "an array"),
        (r#"{"model":"m","messages":["x"]}"#, Some("messages[0]"), "an object"),
        (r#"{"model":"m","messages":[{"role":"user"},{}]}"#, Some("messages[1].role"), "a role"),
        (
            r#"{"model":"m","messages":[{"role":"boss","content":"x"}]}"#,
            Some("messages[0].role"),
            "developer",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":7}]}"#,
            Some("messages[0].content"),
            "a string or",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":7}]}]}"#,
            Some("messages[0].content[0].text"),
            "a string",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"text":"x"}]}]}"#,
            Some("messages[0].content[0].type"),
            "type",
        ),
        (r#"{"model":"m","stream":"yes"}"#, Some("stream"), "a boolean"),
        (r#"{"model":"m","max_tokens":-1}"#, Some("max_tokens"), "a whole number"),
        (r#"{"model":"m","max_tokens":1.5}"#, Some("max_tokens"), "a whole number"),
        (
            r#"{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"x"}]}"#,
            Some("max_tokens"),
            "at least 1",
        ),
        (r#"{"model":"m","tools":[1]}"#, Some("tools[0]"), "an object"),
        (r#"{"model":"m","n":0,"messages":[{"role":"user","content":"x"}]}"#, Some("n"), "between"),
        (r#"{"model":"m","model":"n"}"#, Some("model"), "twice"),
        (r#"{"model":"m","\u006dodel":"n"}"#, Some("model"), "twice"),
        (
            r#"{"model":"m","messages":[{"role":"user","role":"tool"}]}"#,
            Some("messages[0].role"),
            "twice",
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage":1}}"#,
            Some("stream_options.include_usage"),
            "a boolean",
        ),
        (r#"{"model":"m","x":01}"#, None, "number"),
        (r#"{"model":"m","x":1e999}"#, None, "number"),
        ("{\"model\":\"a\u{1}\"}", Some("model"), "control character"),
        (r#"{"model":"m"} x"#, None, "after the JSON value"),
        (&nested, None, "deeper"),
    ];
    for (body, param, says) in rows {
        let shown = &body[..body.len().min(80)];
        let refusal = CODEC.read_request(body.as_bytes()).expect_err(shown);
        assert_eq!(refusal.status, 400, "{shown}");
        assert_eq!(refusal.param.as_deref(), *param, "{shown}: {}", refusal.message);
        assert!(refusal.message.contains(says), "{shown}: {}", refusal.message);
        let mut out = Vec::new();
        CODEC.write_refusal(&refusal, "id", &mut out);
        let error: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(error["error"].as_object().unwrap().len(), 4);
    }
}

/// One row per way in which a client writes its stream options.
#[test]
fn only_what_must_change_changes() {
    let openai =
        Outgoing { model: "gpt-x", asks_usage: true, max_output_field: None, max_output: u32::MAX };
    let messages = r#""messages":[{"role":"user","content":"a\u00e9 1e2"}]"#;
    let rows = [
        (r#"{"model":"auto",M}"#, r#"{"model":"gpt-x",M}"#),
        (r#"{"model":"\u0061uto","x":1.50,M}"#, r#"{"model":"gpt-x","x":1.50,M}"#),
        (
            r#"{"model":"auto","stream":true,M}"#,
            r#"{"stream_options":{"include_usage":true},"model":"gpt-x","stream":true,M}"#,
        ),
        (
            r#"{M,"stream":true,"stream_options":{},"model":"auto"}"#,
            r#"{M,"stream":true,"stream_options":{"include_usage":true},"model":"gpt-x"}"#,
        ),
        (
            r#"{"model":"auto","stream":true,"stream_options":null,M}"#,
            r#"{"model":"gpt-x","stream":true,"stream_options":{"include_usage":true},M}"#,
        ),
        (
            r#"{"model":"auto","stream":true,"stream_options":{"include_usage": false},M}"#,
            r#"{"model":"gpt-x","stream":true,"stream_options":{"include_usage": true},M}"#,
        ),
        (
            r#"{"model":"auto","stream":true,"stream_options":{"include_obfuscation":false},M}"#,
            r#"{"model":"gpt-x","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false},M}"#,
        ),
        (
            r#"{"model":"auto","stream":true,"stream_options":{"include_usage":true},M}"#,
            r#"{"model":"gpt-x","stream":true,"stream_options":{"include_usage":true},M}"#,
        ),
        (
            r#"{"model":"auto","stream":false,"stream_options":null,M}"#,
            r#"{"model":"gpt-x","stream":false,"stream_options":null,M}"#,
        ),
    ];
    for (body, expected) in rows {
        let body = body.replace('M', messages);
        assert_eq!(patched(&body, &openai), expected.replace('M', messages));
    }
    let old = Outgoing {
        model: "m",
        asks_usage: false,
        max_output_field: Some("max_tokens"),
        max_output: u32::MAX,
    };
    let body =
        r#"{"model":"auto","stream":true,"max_completion_tokens":5,M}"#.replace('M', messages);
    let expected = r#"{"model":"m","stream":true,"max_tokens":5,M}"#.replace('M', messages);
    assert_eq!(patched(&body, &old), expected);
}

#[test]
fn answers_are_counted_or_refused() {
    let read = |body: &str| CODEC.read_answer(body.as_bytes(), RULES);
    let choices = r#""choices":[{"index":0,"message":{"role":"assistant","content":"four"},"finish_reason":"stop"}]"#;
    let answer = read(&format!(
        r#"{{{choices},"usage":{{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{{"cached_tokens":4,"cache_write_tokens":1}},"completion_tokens_details":{{"reasoning_tokens":3}}}}}}"#
    ))
    .unwrap();
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input.0, usage.cached.0, usage.written_5m.0), (10, 4, 1));
    assert_eq!((usage.output.0, usage.reasoning.0), (5, 3));
    assert_eq!(answer.content_bytes, 4);

    let apart = UsageRules { reasoning_apart: true };
    let body = format!(
        r#"{{{choices},"usage":{{"prompt_tokens":1,"completion_tokens":5,"completion_tokens_details":{{"reasoning_tokens":30}}}}}}"#
    );
    assert_eq!(CODEC.read_answer(body.as_bytes(), apart).unwrap().usage.unwrap().output.0, 35);
    assert_eq!(read(&body).unwrap().usage, None, "more reasoning than output cannot be");

    for usage in [
        "null",
        "{}",
        r#"{"prompt_tokens":-1,"completion_tokens":1}"#,
        r#"{"prompt_tokens":1.5,"completion_tokens":1}"#,
        r#"{"prompt_tokens":"1","completion_tokens":1}"#,
        r#"{"prompt_tokens":2000000000,"completion_tokens":1}"#,
        "7",
        r#"{"prompt_tokens":1,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":2}}"#,
    ] {
        let answer = read(&format!(r#"{{{choices},"usage":{usage}}}"#)).unwrap();
        assert_eq!(answer.usage, None, "{usage}");
    }
    for (body, fault) in [
        ("", AnswerFault::Malformed),
        ("null", AnswerFault::Malformed),
        ("<html>", AnswerFault::Malformed),
        (r#"{"choices":[]}"#, AnswerFault::Malformed),
        (r#"{"choices":[{"#, AnswerFault::Malformed),
        (r#"{"error":{"message":"no"}}"#, AnswerFault::Error),
    ] {
        assert_eq!(read(body), Err(fault), "{body}");
    }
}

#[test]
fn events_are_told_apart() {
    let rows: &[(&str, EventKind, bool)] = &[
        (
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#,
            EventKind::Preamble,
            false,
        ),
        (
            r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}],"usage":null}"#,
            EventKind::Content,
            false,
        ),
        (
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":"x"}}]}"#,
            EventKind::Content,
            false,
        ),
        (
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a"}]}}]}"#,
            EventKind::Content,
            false,
        ),
        (r#"{"choices":[{"index":0,"delta":{"tool_calls":[]}}]}"#, EventKind::Preamble, false),
        (
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
            EventKind::Content,
            true,
        ),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
            EventKind::Usage,
            false,
        ),
        (r#"{"choices":[],"prompt_filter_results":[]}"#, EventKind::Preamble, false),
        (r#"{"error":{"message":"no"}}"#, EventKind::Error, false),
        ("[DONE]", EventKind::End, false),
        (" [DONE] ", EventKind::End, false),
        ("{", EventKind::Unknown, false),
        ("null", EventKind::Unknown, false),
        (r#"{"type":"ping"}"#, EventKind::Unknown, false),
    ];
    for (data, kind, finish) in rows {
        let event = CODEC.read_event(data.as_bytes(), RULES, None);
        assert_eq!((event.kind, event.finish), (*kind, *finish), "{data}");
    }
    let last = CODEC.read_event(br#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#, RULES, None);
    assert_eq!((last.kind, last.usage.unwrap().output.0), (EventKind::Content, 2));
}

#[test]
fn one_output_limit_is_sent_under_one_name() {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":5,"max_completion_tokens":9}"#;
    assert!(OpenAiChat.read_request(body).is_err());
}

#[test]
fn an_empty_object_of_stream_options_gets_no_comma() {
    for options in ["{}", "{ }", "{ \n\t  }", "null", r#"{"x":1}"#, r#"{ "x" : 1 }"#] {
        let body = format!(
            r#"{{"model":"m","stream":true,"stream_options":{options},"messages":[{{"role":"user","content":"x"}}]}}"#
        );
        let parsed = OpenAiChat.read_request(body.as_bytes()).unwrap();
        let outgoing =
            Outgoing { model: "m", asks_usage: true, max_output_field: None, max_output: u32::MAX };
        let mut out = Vec::new();
        let rest = OpenAiChat.patch_request(&parsed, body.as_bytes(), &outgoing, &mut out);
        out.extend_from_slice(&body.as_bytes()[rest..]);
        let sent: serde_json::Value = serde_json::from_slice(&out).expect(options);
        assert_eq!(sent["stream_options"]["include_usage"], true, "{options}");
    }
}

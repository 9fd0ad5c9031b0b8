//! Through the neutral form: into the same dialect without loss, and from and to chat completions.

use super::AnthropicMessages;
use crate::chat::{
    Chat, Efforts, Event, Finish, Issuer, ReadRules, Request, Shown, State, Str, Target,
};
use crate::dialect::UsageRules;
use crate::dialect::openai_chat::OpenAiChat;
use models::catalogue::{MaxTokensField, Quirks, ThinkingFormat};
use models::{Capabilities, Dialect};
use serde_json::{Value, json};

static ANTHROPIC: &dyn Chat = &AnthropicMessages;
static OPENAI: &dyn Chat = &OpenAiChat;

fn target(dialect: Dialect, provider: &str) -> Target<'static> {
    let quirks = Quirks {
        max_tokens_field: MaxTokensField::MaxTokens,
        developer_role: true,
        usage_in_stream: true,
        cached_tokens_reported: true,
        strict_schema: true,
        store: false,
        sampling_params: true,
        reasoning_effort: true,
        needs_reasoning_back: false,
        adaptive_thinking: true,
        system_anywhere: true,
        long_cache: true,
        session_affinity: false,
        reasoning_apart: false,
        thinking: ThinkingFormat::Openai,
    };
    Target {
        model: "m",
        issuer: Issuer::of(dialect, provider),
        quirks,
        caps: Capabilities(u32::MAX),
        max_output: 64_000,
        efforts: Efforts::of(["low", "medium", "high", "max"]),
    }
}

fn claude() -> Target<'static> {
    target(Dialect::AnthropicMessages, "anthropic")
}

fn translated(
    from: &dyn Chat,
    to: &dyn Chat,
    body: &Value,
    target: &Target<'_>,
) -> (Value, String) {
    let text = body.to_string();
    let request = from.neutral_request(text.as_bytes()).expect("a sound request");
    let mut out = Vec::new();
    let dropped = to.provider_request(&request, target, &mut out).expect("it fits");
    (serde_json::from_slice(&out).expect("JSON"), dropped.header())
}

#[test]
fn nothing_is_lost_on_the_way_to_anthropic() {
    let body = json!({
        "model": "m",
        "max_tokens": 100,
        "tools": [
            {"name": "a", "description": "does a", "input_schema": {"type": "object"}, "strict": true, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "system": [{"type": "text", "text": "be\nkind", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}, "title": "t"},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "", "signature": "EqQB+/="},
                {"type": "redacted_thinking", "data": "Emw"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {"x": [1.50, "é"]}},
                {"type": "tool_use", "id": "toolu_2", "name": "a", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}], "is_error": true, "cache_control": {"type": "ephemeral", "ttl": "5m"}},
                {"type": "text", "text": "go on"},
            ]},
        ],
        "stream": true,
        "stop_sequences": ["END"],
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u"},
    });
    let (read, dropped) = translated(ANTHROPIC, ANTHROPIC, &body, &claude());
    assert_eq!(read, body);
    assert_eq!(dropped, "");
}

#[test]
fn an_openai_client_reaches_anthropic() {
    let body = json!({
        "model": "auto",
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "functions.a:0", "type": "function", "function": {"name": "a", "arguments": "{\"x\":1}"}},
                {"id": "call_2", "type": "function", "function": {"name": "a", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "functions.a:0", "content": "sun"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "rain"}]},
            {"role": "user", "content": [{"type": "text", "text": "and?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "a", "parameters": {"properties": {}}}}],
        "tool_choice": "required",
        "parallel_tool_calls": false,
        "stop": "END",
        "temperature": 1.7,
        "seed": 1,
        "presence_penalty": 0,
        "response_format": {"type": "json_object"},
        "user": "ada",
    });
    let plain = Target { quirks: Quirks { strict_schema: false, ..claude().quirks }, ..claude() };
    let (read, dropped) = translated(OPENAI, ANTHROPIC, &body, &plain);
    let id = read["messages"][1]["content"][0]["id"].as_str().unwrap().to_owned();
    assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{id}");
    let expected = json!({
        "model": "m",
        "max_tokens": 64_000,
        "tools": [{"name": "a", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "system": [
            {"type": "text", "text": "be kind"},
            {"type": "text", "text": "be brief"},
            {"type": "text", "text": "Answer with one JSON object and nothing else."},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": id, "name": "a", "input": {"x": 1}},
                {"type": "tool_use", "id": "call_2", "name": "a", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": id, "content": "sun"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "rain"},
                {"type": "text", "text": "and?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
            ]},
        ],
        "stop_sequences": ["END"],
        "temperature": 1,
        "metadata": {"user_id": "ada"},
    });
    assert_eq!(read, expected);
    assert_eq!(dropped, "response_format.json_object, temperature, seed");
}

#[test]
fn an_anthropic_client_reaches_openai() {
    let body = json!({
        "model": "auto",
        "max_tokens": 100,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cch=1f"},
            {"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {"x": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": [
                    {"type": "text", "text": "sun"}, {"type": "image", "source": {"type": "url", "url": "u"}}]},
                {"type": "text", "text": "and?"},
            ]},
        ],
        "tools": [{"name": "a", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "tool", "name": "a"},
        "thinking": {"type": "enabled", "budget_tokens": 3000},
        "context_management": {"edits": []},
        "top_k": 5,
    });
    let openai = target(Dialect::OpenAiChat, "openai");
    let (read, dropped) = translated(ANTHROPIC, OPENAI, &body, &openai);
    let expected = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": "I look.", "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "a", "arguments": "{\"x\":1}"}}]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "sun"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "u"}}, {"type": "text", "text": "and?"}]},
        ],
        "max_tokens": 100,
        "tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "a"}},
        "reasoning_effort": "low",
    });
    assert_eq!(read, expected);
    let told = "context_management, tools.web_search_20250305, cache_control, reasoning_state, \
                tool_result.is_error, top_k";
    assert_eq!(dropped, told);
}

/// One row per way to say how hard to think: what a model gets that thinks within a budget.
#[test]
fn thinking_is_said_in_the_targets_words() {
    let call = json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "a", "arguments": "{}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "c", "content": "x"});
    let user = json!({"role": "user", "content": "x"});
    let budget =
        Target { quirks: Quirks { adaptive_thinking: false, ..claude().quirks }, ..claude() };
    let rows = [
        (
            json!({"reasoning_effort": "medium"}),
            vec![&user],
            json!({"type": "enabled", "budget_tokens": 8192}),
            "",
        ),
        (
            json!({"reasoning_effort": "max", "max_tokens": 9000}),
            vec![&user],
            json!({"type": "enabled", "budget_tokens": 8999}),
            "",
        ),
        (
            json!({"reasoning_effort": "high", "max_tokens": 900}),
            vec![&user],
            json!({"type": "disabled"}),
            "reasoning_effort",
        ),
        (json!({"reasoning_effort": "none"}), vec![&user], json!({"type": "disabled"}), ""),
        (json!({}), vec![&user], Value::Null, ""),
        (
            json!({"reasoning_effort": "low"}),
            vec![&user, &call, &result],
            json!({"type": "disabled"}),
            "reasoning_effort",
        ),
    ];
    for (given, messages, expected, told) in rows {
        let mut body = json!({"model": "auto", "messages": messages});
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        let (read, dropped) = translated(OPENAI, ANTHROPIC, &body, &budget);
        assert_eq!(read["thinking"], expected, "{given}");
        assert_eq!(dropped, told, "{given}");
    }
    let body = json!({"model": "auto", "messages": [user], "reasoning_effort": "xhigh"});
    let (read, _) = translated(OPENAI, ANTHROPIC, &body, &claude());
    assert_eq!(read["thinking"], json!({"type": "adaptive"}));
    assert_eq!(read["output_config"], json!({"effort": "high"}));
}

#[test]
fn what_must_not_be_left_out_is_refused_with_its_place() {
    let user = |part: Value| json!({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [part]}]});
    let rows = [
        (
            user(json!({"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}})),
            "messages[1]",
        ),
        (user(json!({"type": "file", "file": {"file_id": "file-1"}})), "messages[1]"),
        (json!({"n": 2, "messages": [{"role": "user", "content": "x"}]}), "n"),
    ];
    for (body, path) in rows {
        let text = body.to_string();
        let request = OPENAI.neutral_request(text.as_bytes()).unwrap();
        let refusal = ANTHROPIC.provider_request(&request, &claude(), &mut Vec::new());
        let refusal = refusal.expect_err(path);
        assert_eq!((refusal.status, refusal.param.as_deref()), (400, Some(path)));
    }
}

const SHOWN: Shown<'static> =
    Shown { id: "0a", model: "lab/model", created_s: 1_700_000_000, input_tokens: 9 };

fn rules(dialect: Dialect, provider: &str) -> ReadRules {
    ReadRules { usage: UsageRules::default(), issuer: Issuer::of(dialect, provider) }
}

#[test]
fn whole_answers_are_translated_both_ways() {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
            {"type": "text", "text": "I \"look\"."},
            {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {"x": 1}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 3, "output_tokens": 7},
    })
    .to_string();
    let rules = rules(Dialect::AnthropicMessages, "anthropic");
    let answer = ANTHROPIC.neutral_answer(message.as_bytes(), &rules).unwrap();
    let request = Request::default();
    let mut out = Vec::new();
    OPENAI.client_answer(&answer, &request, &SHOWN, &mut out);
    let read: Value = serde_json::from_slice(&out).unwrap();
    let id = read["choices"][0]["message"]["tool_calls"][0]["id"].clone();
    assert!(id.as_str().unwrap().starts_with("toolu_1_pmst1_"), "{id}");
    assert_eq!(
        read,
        json!({
            "id": "chatcmpl-0a", "object": "chat.completion", "created": 1_700_000_000, "model": "lab/model",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "I \"look\".", "refusal": null,
                "reasoning_content": "hm",
                "tool_calls": [{"id": id, "type": "function", "function": {"name": "a", "arguments": "{\"x\":1}"}}]},
                "logprobs": null, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 18, "completion_tokens": 7, "total_tokens": 25,
                "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 0}},
        })
    );

    // And the answer of an OpenAI provider, as Anthropic clients get it.
    let openai = self::rules(Dialect::OpenAiChat, "openai");
    let answer = OPENAI.neutral_answer(&out, &openai).unwrap();
    let mut back = Vec::new();
    ANTHROPIC.client_answer(&answer, &request, &SHOWN, &mut back);
    let back: Value = serde_json::from_slice(&back).unwrap();
    assert_eq!(back["stop_reason"], "tool_use");
    assert_eq!(back["content"][0]["thinking"], "hm");
    assert!(back["content"][0]["signature"].as_str().unwrap().starts_with("pmst1_"));
    assert_eq!(back["content"][1], json!({"type": "text", "text": "I \"look\"."}));
    assert_eq!(back["content"][2]["input"], json!({"x": 1}));
    assert_eq!(back["usage"]["input_tokens"], 5);
    assert_eq!(back["usage"]["cache_read_input_tokens"], 10);
}

/// An Anthropic stream and what an OpenAI client reads of it.
#[test]
fn an_anthropic_stream_reaches_an_openai_client() {
    let events = [
        r#"{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":5,"cache_read_input_tokens":10,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"h\u00e9"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQB"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"a\nb"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_2","name":"g","input":{}}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":20}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let request = Request { usage_in_stream: true, ..Request::default() };
    let rules = rules(Dialect::AnthropicMessages, "anthropic");
    let chunks = translated_stream(ANTHROPIC, OPENAI, &rules, &request, &events);
    let deltas: Vec<Value> = chunks
        .iter()
        .filter(|chunk| !chunk["choices"][0].is_null())
        .map(|chunk| chunk["choices"][0]["delta"].clone())
        .collect();
    let call = |index: u32, id: &Value, name: &str| json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]});
    let piece = |index: u32, text: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]});
    let id = &deltas[3]["tool_calls"][0]["id"];
    assert!(id.as_str().unwrap().starts_with("toolu_1_pmst1_"));
    let expected = [
        json!({"role": "assistant", "content": "", "refusal": null}),
        json!({"reasoning_content": "hé"}),
        json!({"content": "a\nb"}),
        call(0, id, "f"),
        piece(0, "{\"x\":"),
        piece(0, "1}"),
        call(1, &json!("toolu_2"), "g"),
        piece(1, "{}"),
        json!({}),
    ];
    assert_eq!(deltas, expected);
    let last = chunks.last().unwrap();
    assert_eq!(last["usage"]["prompt_tokens"], 15);
    assert_eq!(last["usage"]["completion_tokens"], 20);
}

fn translated_stream(
    from: &dyn Chat,
    to: &dyn Chat,
    rules: &ReadRules,
    request: &Request<'_>,
    events: &[&str],
) -> Vec<Value> {
    let mut reader = from.stream_reader(rules);
    let mut writer = to.stream_writer(request, &SHOWN);
    let mut out = Vec::new();
    for data in events {
        reader.read(b"", data.as_bytes(), &mut |choice, event| {
            assert_ne!(event, Event::Error, "{data}");
            writer.write(choice, &event, &mut out);
        });
    }
    let text = String::from_utf8(out).expect("text");
    text.split_terminator("\n\n")
        .map(|event| crate::sse::read(event.as_bytes()).data.expect("data").into_owned())
        .filter_map(|data| serde_json::from_slice(&data).ok())
        .collect()
}

/// An OpenAI stream with calls that take turns, and what an Anthropic client reads of it: legal order,
/// one block at a time.
#[test]
fn an_openai_stream_reaches_an_anthropic_client() {
    let call = |index: u32, id: &str, arguments: &str| {
        let head = if id.is_empty() { String::new() } else { format!("\"id\":\"{id}\",") };
        let name = if id.is_empty() { "" } else { "\"name\":\"f\"," };
        format!(
            "{{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{\"index\":{index},{head}\"function\":{{{name}\"arguments\":\"{arguments}\"}}}}]}},\"finish_reason\":null}}]}}"
        )
    };
    let events = [
        r#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#.to_owned(),
        r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}"#.to_owned(),
        r#"{"choices":[{"index":0,"delta":{"content":"hi","tool_calls":[]}}]}"#.to_owned(),
        call(0, "call_1", "{\\\"x\\\":"),
        call(1, "call_2", "{"),
        call(0, "", "1}"),
        call(1, "", "}"),
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned(),
        r#"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":6,"prompt_tokens_details":{"cached_tokens":4}}}"#.to_owned(),
        "[DONE]".to_owned(),
    ];
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let rules = rules(Dialect::OpenAiChat, "openai");
    let read = translated_stream(OPENAI, ANTHROPIC, &rules, &Request::default(), &events);
    let shown: Vec<String> = read
        .iter()
        .map(|event| {
            let index =
                event["index"].as_u64().map(|index| format!(" {index}")).unwrap_or_default();
            let kind = event["content_block"]["type"].as_str().unwrap_or_default();
            let delta = &event["delta"];
            let delta = ["text", "thinking", "partial_json", "stop_reason"]
                .iter()
                .find_map(|name| delta[name].as_str())
                .unwrap_or_default();
            format!("{}{index} {kind}{delta}", event["type"].as_str().unwrap()).trim().to_owned()
        })
        .collect();
    let expected = [
        "message_start",
        "content_block_start 0 thinking",
        "content_block_delta 0 hm",
        "content_block_delta 0",
        "content_block_stop 0",
        "content_block_start 1 text",
        "content_block_delta 1 hi",
        "content_block_stop 1",
        "content_block_start 2 tool_use",
        "content_block_delta 2 {\"x\":",
        "content_block_delta 2 1}",
        "content_block_stop 2",
        "content_block_start 3 tool_use",
        "content_block_delta 3 {}",
        "content_block_stop 3",
        "message_delta tool_use",
        "message_stop",
    ];
    assert_eq!(shown, expected);
    assert_eq!(read[0]["message"]["usage"]["input_tokens"], 9, "an estimate, until it is counted");
    let usage = &read[read.len() - 2]["usage"];
    assert_eq!((&usage["input_tokens"], &usage["cache_read_input_tokens"]), (&json!(7), &json!(4)));
    assert_eq!(read[8]["content_block"]["id"], "toolu_call_1");
}

/// State of one provider through a client of the other dialect, and back to it byte for byte.
#[test]
fn state_of_others_is_opaque_to_anthropic_clients_and_comes_back() {
    let issuer = Issuer::of(Dialect::OpenAiResponses, "openai");
    let state =
        State { issuer, is_redacted: false, id: Str::plain("rs_1"), data: Str::plain("gAAA=") };
    let mut writer = ANTHROPIC.stream_writer(&Request::default(), &SHOWN);
    let mut out = Vec::new();
    for event in [
        Event::Start { id: None },
        Event::ReasoningEnd(Some(state.clone())),
        Event::Text(Str::plain("x")),
        Event::Finish { why: Finish::Stop, stop_sequence: None },
        Event::End,
    ] {
        writer.write(0, &event, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let signature = text.split("\"signature\":\"").nth(2).unwrap().split('"').next().unwrap();
    let body = json!({"model": "m", "messages": [{"role": "assistant", "content": [
        {"type": "thinking", "thinking": "", "signature": signature}, {"type": "text", "text": "x"}]}]})
    .to_string();
    let request = ANTHROPIC.neutral_request(body.as_bytes()).unwrap();
    let crate::chat::Part::Reasoning(block) = &request.turns[0].parts[0] else { panic!() };
    assert_eq!(block.state.as_ref(), Some(&state));
    assert_eq!(ANTHROPIC.dialect(), Dialect::AnthropicMessages);
}

//! Through the neutral form and back into the same dialect.

use super::OpenAiChat;
use crate::chat::{Chat, Efforts, Event, Issuer, ReadRules, Request, Shown, State, Str, Target};
use crate::dialect::UsageRules;
use models::catalogue::{MaxTokensField, Quirks, ThinkingFormat};
use models::{Capabilities, Dialect};
use serde_json::{Value, json};

static CHAT: &dyn Chat = &OpenAiChat;

/// OpenAI itself.
fn openai() -> Target<'static> {
    let quirks = Quirks {
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        developer_role: true,
        usage_in_stream: true,
        cached_tokens_reported: true,
        strict_schema: true,
        store: true,
        sampling_params: true,
        reasoning_effort: true,
        needs_reasoning_back: false,
        adaptive_thinking: false,
        system_anywhere: true,
        long_cache: false,
        session_affinity: false,
        reasoning_apart: false,
        thinking: ThinkingFormat::Openai,
    };
    Target {
        model: "gpt-x",
        issuer: Issuer::of(Dialect::OpenAiChat, "openai"),
        quirks,
        caps: Capabilities(u32::MAX),
        max_output: 128_000,
        efforts: Efforts::default(),
    }
}

/// A small server that knows little beyond the text.
fn plain() -> Target<'static> {
    let quirks = Quirks {
        max_tokens_field: MaxTokensField::MaxTokens,
        developer_role: false,
        strict_schema: false,
        store: false,
        sampling_params: false,
        reasoning_effort: false,
        system_anywhere: false,
        ..openai().quirks
    };
    let caps = Capabilities::TOOLS | Capabilities::VISION;
    Target { model: "small", quirks, caps, ..openai() }
}

fn through(body: &Value, target: &Target<'_>) -> (Value, String) {
    let text = body.to_string();
    let request = CHAT.neutral_request(text.as_bytes()).expect("a sound request");
    let mut out = Vec::new();
    let dropped = CHAT.provider_request(&request, target, &mut out).expect("it fits");
    (serde_json::from_slice(&out).expect("JSON"), dropped.header())
}

#[test]
fn nothing_is_lost_on_the_way_to_openai() {
    let body = json!({
        "model": "gpt-x",
        "messages": [
            {"role": "developer", "content": "be\nbrief"},
            {"role": "user", "content": [
                {"type": "text", "text": "what is \"this\"?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO/+=", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
            ], "name": "ada"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "a", "arguments": "{\"x\": [1, \"é\"]}"}},
                {"id": "call_2", "type": "function", "function": {"name": "b", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "one"},
            {"role": "tool", "tool_call_id": "call_2", "content": "two"},
            {"role": "user", "content": "and?"},
            {"role": "assistant", "content": "so"},
            {"role": "user", "content": "go on"},
        ],
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_completion_tokens": 100,
        "stop": ["END", "\n"],
        "temperature": 0.70,
        "top_p": 1,
        "presence_penalty": -1.5,
        "frequency_penalty": 0.5,
        "seed": 7,
        "logit_bias": {"50256": -100},
        "n": 2,
        "logprobs": true,
        "top_logprobs": 3,
        "tools": [
            {"type": "function", "function": {"name": "a", "description": "does a", "parameters": {"type": "object", "properties": {}}, "strict": true}},
            {"type": "function", "function": {"name": "b", "parameters": {"type": "object"}}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "a"}},
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "description": "d", "schema": {"type": "object"}, "strict": true}},
        "reasoning_effort": "low",
        "verbosity": "low",
        "prompt_cache_key": "k",
        "user": "u",
    });
    let (read, dropped) = through(&body, &openai());
    assert_eq!(read, body);
    assert_eq!(dropped, "");
}

/// One row per thing that this target has no place for: what the client sends, what arrives in its
/// place, and what the client is told.
#[test]
fn what_a_target_does_not_take_is_changed_or_named() {
    let rows = [
        (json!({"max_completion_tokens": 5}), json!({"max_tokens": 5}), ""),
        (json!({"temperature": 1, "seed": 1}), json!({"seed": 1}), "temperature"),
        (json!({"reasoning_effort": "high"}), json!({}), "reasoning_effort"),
        (json!({"some_new_field": 1, "store": false}), json!({}), "some_new_field"),
        (json!({"store": true, "metadata": {"a": "b"}}), json!({}), "store, metadata"),
        (json!({"user": "u", "stop": null, "tools": null}), json!({}), ""),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}}),
            json!({"response_format": {"type": "json_object"}}),
            "response_format.json_schema",
        ),
        (
            json!({"tools": [{"type": "web_search"}, {"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}}]}),
            json!({"tools": [{"type": "function", "function": {"name": "patch", "parameters": {
                "type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}}}]}),
            "tools.web_search",
        ),
    ];
    for (given, expected, told) in rows {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        let (read, dropped) = through(&body, &plain());
        let mut whole = json!({"model": "small", "messages": [{"role": "user", "content": "x"}]});
        whole.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        assert_eq!(read, whole, "{given}");
        assert_eq!(dropped, told, "{given}");
    }
}

#[test]
fn a_refusal_names_the_field() {
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let rows = [
        (part(json!({"type": "hologram"})), "messages[0].content[0].type"),
        (part(json!({"type": "image_url"})), "messages[0].content[0].type"),
        (part(json!({"type": "text", "text": 1})), "messages[0].content[0].text"),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}]}),
            "messages[0].tool_calls[0].function",
        ),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].tool_call_id"),
        (json!({"tools": [{"type": "function", "function": {}}]}), "tools[0].function.name"),
        (json!({"tool_choice": "perhaps"}), "tool_choice"),
        (json!({"response_format": {"type": "xml"}}), "response_format.type"),
        (json!({"reasoning_effort": "extreme"}), "reasoning_effort"),
        (json!({"temperature": "hot"}), "temperature"),
    ];
    for (body, path) in rows {
        let refusal = CHAT.neutral_request(body.to_string().as_bytes()).expect_err(path);
        assert_eq!(refusal.param.as_deref(), Some(path), "{body}: {}", refusal.message);
        assert_eq!(refusal.status, 400);
    }
}

fn rules() -> ReadRules {
    ReadRules { usage: UsageRules::default(), issuer: Issuer::of(Dialect::OpenAiChat, "openai") }
}

const SHOWN: Shown<'static> =
    Shown { id: "0a", model: "lab/model", created_s: 1_700_000_000, input_tokens: 9 };

fn write_all(events: &[Event<'_>], request: &Request<'_>) -> String {
    let mut writer = CHAT.stream_writer(request, &SHOWN);
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.write(0, event, &mut out));
    String::from_utf8(out).expect("text")
}

#[test]
fn a_stream_comes_out_as_it_went_in() {
    let chunk = |delta: &str, finish: &str| {
        format!(
            "{{\"id\":\"chatcmpl-0a\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"lab/model\",\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":{finish}}}],\"usage\":null}}"
        )
    };
    let head = "{\"id\":\"chatcmpl-0a\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"lab/model\",\"choices\":";
    let events = [
        chunk("\"role\":\"assistant\",\"content\":\"\",\"refusal\":null", "null"),
        chunk("\"reasoning_content\":\"hm\"", "null"),
        chunk("\"content\":\"h\\u00e9\\ud83d\"", "null"),
        chunk("\"content\":\"\\ude00 \\\"x\\\"\"", "null"),
        chunk(
            "\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"a\",\"arguments\":\"\"}}]",
            "null",
        ),
        chunk(
            "\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"x\\\":\"}}]",
            "null",
        ),
        chunk("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]", "null"),
        chunk("", "\"tool_calls\""),
        format!(
            "{head}[],\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13,\"prompt_tokens_details\":{{\"cached_tokens\":2,\"cache_write_tokens\":1}},\"completion_tokens_details\":{{\"reasoning_tokens\":3}}}}}}"
        ),
        "[DONE]".to_owned(),
    ];
    let request = Request { usage_in_stream: true, ..Request::default() };
    let mut reader = CHAT.stream_reader(&rules());
    let mut writer = CHAT.stream_writer(&request, &SHOWN);
    let mut out = Vec::new();
    for event in &events {
        reader.read(b"", event.as_bytes(), &mut |choice, event| {
            writer.write(choice, &event, &mut out);
        });
    }
    let expected: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn calls_are_told_apart_however_a_server_counts() {
    let call = |index: &str, id: &str, name: &str, arguments: &str| {
        format!(
            "{{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{{index}{id}\"function\":{{{name}\"arguments\":\"{arguments}\"}}}}]}}}}]}}"
        )
    };
    let (a, b) = ("\"id\":\"a\",", "\"id\":\"b\",");
    let rows = [
        [
            call("\"index\":0,", a, "\"name\":\"f\",", "1"),
            call("\"index\":1,", b, "\"name\":\"f\",", "2"),
            call("\"index\":1,", "", "", "3"),
        ],
        [
            call("\"index\":0,", a, "\"name\":\"f\",", "1"),
            call("\"index\":0,", b, "\"name\":\"f\",", "2"),
            call("\"index\":0,", "", "", "3"),
        ],
        [
            call("", a, "\"name\":\"f\",", "1"),
            call("", b, "\"name\":\"f\",", "2"),
            call("", "", "", "3"),
        ],
    ];
    for row in rows {
        let mut reader = CHAT.stream_reader(&rules());
        let mut inputs = [String::new(), String::new()];
        for data in &row {
            reader.read(b"", data.as_bytes(), &mut |_, event| {
                if let Event::CallInput { call, piece } = event {
                    inputs[call as usize].push_str(&piece.text());
                }
            });
        }
        assert_eq!(inputs, ["1".to_owned(), "23".to_owned()], "{row:?}");
    }
}

#[test]
fn state_travels_in_the_id_of_a_call_and_comes_back() {
    let issuer = Issuer::of(Dialect::AnthropicMessages, "anthropic");
    let signed =
        State { issuer, is_redacted: false, id: Str::EMPTY, data: Str::plain("EqQBCkYIBR+/=") };
    let events = [
        Event::Start { id: None },
        Event::Reasoning(Str::plain("I shall ")),
        Event::Reasoning(Str::plain("look.")),
        Event::ReasoningEnd(Some(signed.clone())),
        Event::Text(Str::plain("Looking.")),
        Event::CallStart {
            call: 0,
            id: Str::plain("toolu_1"),
            name: Str::plain("look"),
            is_free: false,
            state: None,
        },
        Event::CallEnd { call: 0 },
        Event::Finish { why: crate::chat::Finish::Calls, stop_sequence: None },
        Event::End,
    ];
    let text = write_all(&events, &Request::default());
    let ids: Vec<Value> = text
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .map(|chunk: Value| chunk["choices"][0]["delta"]["tool_calls"][0]["id"].clone())
        .filter(|id| !id.is_null())
        .collect();
    assert!(text.contains("\"arguments\":\"{}\""), "a call without input gets an empty object");
    let body = json!({"messages": [
        {"role": "assistant", "content": "Looking.", "reasoning_content": "an echo", "tool_calls": [
            {"id": ids[0], "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": ids[0], "content": "seen"},
    ]})
    .to_string();
    let request = CHAT.neutral_request(body.as_bytes()).unwrap();
    use crate::chat::{Part, Reasoning};
    let parts = &request.turns[0].parts;
    let thought = Reasoning { text: Str::plain("I shall look."), state: Some(signed) };
    assert_eq!(parts[0], Part::Reasoning(thought));
    assert_eq!(parts[1], Part::Text(Str::plain("Looking.")));
    let Part::Call(call) = &parts[2] else { panic!("{parts:?}") };
    assert!(call.id.is("toolu_1"));
    let Part::Result(result) = &request.turns[1].parts[0] else { panic!("{request:?}") };
    assert_eq!(result.id, call.id);
    // Another provider gets the words it may need, and never the state.
    let mut out = Vec::new();
    let dropped = CHAT.provider_request(&request, &openai(), &mut out).unwrap();
    assert_eq!(dropped.header(), "reasoning_state");
    assert!(!String::from_utf8(out).unwrap().contains("EqQB"));
}

//! Through the neutral form: into other dialects, out of them, and back into this one.

use super::OpenAiResponses;
use crate::chat::{Chat, Efforts, Issuer, Part, ReadRules, Request, Shown, State, Str, Target};
use crate::dialect::UsageRules;
use crate::dialect::openai_chat::OpenAiChat;
use models::catalogue::{MaxTokensField, Quirks, ThinkingFormat};
use models::{Capabilities, Dialect};
use serde_json::{Value, json};

pub(super) static RESPONSES: &dyn Chat = &OpenAiResponses;
pub(super) static CHAT: &dyn Chat = &OpenAiChat;

pub(super) const SHOWN: Shown<'static> =
    Shown { id: "0a", model: "lab/model", created_s: 1_700_000_000, input_tokens: 9 };

/// OpenAI itself.
pub(super) fn openai(dialect: Dialect) -> Target<'static> {
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
        issuer: Issuer::of(dialect, "openai"),
        quirks,
        caps: Capabilities(u32::MAX),
        max_output: 128_000,
        efforts: Efforts::default(),
    }
}

pub(super) fn rules(dialect: Dialect) -> ReadRules {
    ReadRules { usage: UsageRules::default(), issuer: Issuer::of(dialect, "openai") }
}

fn through(from: &dyn Chat, to: &dyn Chat, body: &Value, target: &Target<'_>) -> (Value, String) {
    let text = body.to_string();
    let request = from.neutral_request(text.as_bytes()).expect("a sound request");
    let mut out = Vec::new();
    let dropped = to.provider_request(&request, target, &mut out).expect("it fits");
    (serde_json::from_slice(&out).expect("JSON"), dropped.header())
}

#[test]
fn nothing_is_lost_on_the_way_to_openai() {
    let text = |kind: &str, text: &str| json!({"type": kind, "text": text});
    let body = json!({
        "model": "gpt-x",
        "input": [
            {"type": "message", "role": "system", "content": "be\nbrief"},
            {"type": "message", "role": "developer", "content": "rules"},
            {"type": "message", "role": "user", "content": [
                text("input_text", "what is \"this\"?"),
                {"type": "input_image", "image_url": "data:image/png;base64,iVBO/+=", "detail": "low"},
                {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
                {"type": "input_image", "file_id": "file-1", "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
                {"type": "input_file", "file_url": "https://example.org/a.pdf"},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [text("summary_text", "hm")], "encrypted_content": "gAAA="},
            {"type": "message", "role": "assistant", "content": [text("output_text", "let me"), text("output_text", " see")]},
            {"type": "function_call", "call_id": "call_1", "name": "a", "arguments": "{\"x\": [1, \"é\"]}"},
            {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "*** Begin\n"},
            {"type": "function_call_output", "call_id": "call_1", "output": "one"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
            {"type": "function_call", "call_id": "call_3", "name": "a", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_3", "output": [
                text("input_text", "see"), {"type": "input_image", "image_url": "https://example.org/b.png", "detail": "auto"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"type": "message", "role": "user", "content": [text("input_text", "go on")]},
        ],
        "store": false,
        "top_logprobs": 3,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "stream": true,
        "max_output_tokens": 100,
        "temperature": 0.70,
        "top_p": 1,
        "tools": [
            {"type": "function", "name": "a", "description": "does a", "parameters": {"type": "object", "properties": {}}, "strict": true},
            {"type": "custom", "name": "patch", "description": "edits", "format": {"type": "grammar", "syntax": "lark", "definition": "start: \"x\""}},
        ],
        "tool_choice": {"type": "custom", "name": "patch"},
        "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "s", "description": "d", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "prompt_cache_key": "k",
        "user": "u",
    });
    let (read, dropped) = through(RESPONSES, RESPONSES, &body, &openai(Dialect::OpenAiResponses));
    assert_eq!(read, body);
    assert_eq!(dropped, "");
}

/// One row per thing that chat completions have no place for: what the client sends, what arrives in
/// its place, and what the client is told.
#[test]
fn what_a_chat_target_does_not_take_is_changed_or_named() {
    let function = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
    let flat =
        |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}});
    let rows = [
        (json!({"max_output_tokens": 5}), json!({"max_completion_tokens": 5}), ""),
        (json!({"include": ["reasoning.encrypted_content"], "store": false}), json!({}), ""),
        (
            json!({"store": true, "client_metadata": {"a": "b"}}),
            json!({}),
            "client_metadata, store",
        ),
        (
            json!({"truncation": "auto", "max_tool_calls": 3}),
            json!({}),
            "max_tool_calls, truncation",
        ),
        (
            json!({"reasoning": {"effort": "high", "summary": "auto"}}),
            json!({"reasoning_effort": "high"}),
            "",
        ),
        (
            json!({"text": {"format": {"type": "text"}}, "reasoning": {"summary": null}}),
            json!({}),
            "",
        ),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "s", "schema": {}, "strict": true}}}),
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}, "strict": true}}}),
            "",
        ),
        (
            json!({"tools": [flat("a"), {"type": "web_search"}], "tool_choice": {"type": "function", "name": "a"}}),
            json!({"tools": [function("a")], "tool_choice": {"type": "function", "function": {"name": "a"}}}),
            "tools.web_search",
        ),
        (
            json!({"tools": [{"type": "namespace", "name": "files", "description": "of files", "tools": [flat("read"), flat("find")]}]}),
            json!({"tools": [function("files__read"), function("files__find")]}),
            "tools.namespace.description",
        ),
        (
            json!({"tools": [{"type": "custom", "name": "patch", "format": {"type": "text"}}]}),
            json!({"tools": [{"type": "function", "function": {"name": "patch", "parameters": {
                "type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}}}]}),
            "",
        ),
    ];
    for (given, expected, told) in rows {
        let mut body = json!({"model": "m", "input": "x"});
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        let (read, dropped) = through(RESPONSES, CHAT, &body, &openai(Dialect::OpenAiChat));
        let mut whole = json!({"model": "gpt-x", "messages": [{"role": "user", "content": "x"}]});
        whole.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        assert_eq!(read, whole, "{given}");
        assert_eq!(dropped, told, "{given}");
    }
}

/// One row per kind of item: what a client sends, the messages that a chat target gets, and what the
/// client is told.
#[test]
fn every_item_finds_its_message() {
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let rows = [
        (
            json!([{"role": "developer", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}]),
            json!([{"role": "developer", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}]),
            "",
        ),
        (
            json!([
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [{"type": "output_text", "text": "so", "annotations": []}]},
                {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "", "status": "completed"},
                {"type": "function_call", "call_id": "c2", "name": "read", "namespace": "files", "arguments": "{\"a\":1}"},
                {"type": "function_call_output", "call_id": "c1", "output": "1"},
                {"type": "function_call_output", "call_id": "c2", "output": {"any": ["thing"]}},
            ]),
            json!([
                {"role": "assistant", "content": "so", "tool_calls": [call("c1", "f", "{}"), call("c2", "files__read", "{\"a\":1}")]},
                {"role": "tool", "tool_call_id": "c1", "content": "1"},
                {"role": "tool", "tool_call_id": "c2", "content": "{\"any\":[\"thing\"]}"},
            ]),
            "",
        ),
        (
            json!([
                {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin\n"},
                {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
                {"type": "local_shell_call", "id": "lsh_1", "call_id": "c2", "action": {"type": "exec", "command": ["ls"]}, "status": "completed"},
                {"type": "local_shell_call_output", "call_id": "c2", "output": "a b"},
            ]),
            json!([
                {"role": "assistant", "content": null, "tool_calls": [call("c1", "apply_patch", "{\"input\":\"*** Begin\\n\"}")]},
                {"role": "tool", "tool_call_id": "c1", "content": "ok"},
                {"role": "assistant", "content": null, "tool_calls": [call("c2", "local_shell", "{\"command\":[\"ls\"],\"type\":\"exec\"}")]},
                {"role": "tool", "tool_call_id": "c2", "content": "a b"},
            ]),
            "",
        ),
        (
            json!([
                {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
                {"type": "mcp_list_tools", "id": "m", "server_label": "x", "tools": []},
                {"type": "agent_message", "author": "a", "recipient": "b", "content": [
                    {"type": "input_text", "text": "hi"}, {"type": "encrypted_content", "encrypted_content": "gAAA"}]},
            ]),
            json!([{"role": "user", "content": "hi"}]),
            "input.web_search_call, input.mcp_list_tools, input.encrypted_content",
        ),
        (
            json!([{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}, {"role": "assistant", "content": "so"}]),
            json!([{"role": "assistant", "content": "so"}, {"role": "user", "content": "Go on."}]),
            "reasoning_state",
        ),
        (
            json!([{"type": "function_call_output", "call_id": "c1", "output": [
                {"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "https://example.org/a.png"}]}]),
            json!([
                {"role": "tool", "tool_call_id": "c1", "content": "see"},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]},
            ]),
            "",
        ),
    ];
    for (input, messages, told) in rows {
        let body = json!({"model": "m", "input": input});
        let (read, dropped) = through(RESPONSES, CHAT, &body, &openai(Dialect::OpenAiChat));
        assert_eq!(read["messages"], messages, "{input}");
        assert_eq!(dropped, told, "{input}");
    }
}

#[test]
fn instructions_come_first_wherever_they_stand() {
    let body = json!({"input": [{"role": "user", "content": "x"}], "instructions": "be brief"});
    let (read, _) = through(RESPONSES, CHAT, &body, &openai(Dialect::OpenAiChat));
    let messages =
        json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "x"}]);
    assert_eq!(read["messages"], messages);
}

/// One row per way in which a history can end without the user: what follows the question, and the
/// messages that a chat target gets behind it.
#[test]
fn an_answer_that_broke_off_is_asked_for_again() {
    let thought = json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"});
    let said = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]});
    let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    let assistant = json!({"role": "assistant", "content": "so"});
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let rows = [
        (json!([thought]), json!([])),
        (
            json!([thought, said, thought]),
            json!([assistant, {"role": "user", "content": "Go on."}]),
        ),
        (json!([thought, call]), json!([calls])),
    ];
    for (items, expected) in rows {
        let mut input = vec![json!({"role": "user", "content": "x"})];
        input.extend(items.as_array().unwrap().iter().cloned());
        let body = json!({"model": "m", "input": input});
        let (read, _) = through(RESPONSES, CHAT, &body, &openai(Dialect::OpenAiChat));
        let messages = read["messages"].as_array().unwrap();
        assert_eq!(messages[1..], expected.as_array().unwrap()[..], "{items}");
    }
}

#[test]
fn tools_that_a_search_found_may_be_called() {
    let found = json!([{"type": "function", "name": "late", "parameters": {"type": "object"}}]);
    let body = json!({"model": "m", "input": [
        {"type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {"query": "x"}},
        {"type": "tool_search_output", "call_id": "c1", "execution": "client", "tools": found},
        {"role": "user", "content": "go"},
    ]});
    let (read, _) = through(RESPONSES, CHAT, &body, &openai(Dialect::OpenAiChat));
    assert_eq!(read["tools"][0]["function"]["name"], "late");
    assert_eq!(read["messages"][0]["tool_calls"][0]["function"]["name"], "tool_search");
    assert_eq!(read["messages"][1]["tool_call_id"], "c1");
}

#[test]
fn a_refusal_names_the_field() {
    let item = |item: Value| json!({"input": [item]});
    let part = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let rows = [
        (item(json!({"type": "hologram"})), "input[0].type"),
        (item(json!({"role": "tool", "content": "x"})), "input[0].role"),
        (item(json!({"type": "function_call", "call_id": "a"})), "input[0].name"),
        (item(json!({"type": "function_call", "name": "a"})), "input[0].call_id"),
        (item(json!({"type": "function_call_output", "output": "x"})), "input[0].call_id"),
        (item(json!({"type": "compaction", "encrypted_content": "x"})), "input[0]"),
        (part(json!({"type": "hologram"})), "input[0].content[0].type"),
        (part(json!({"type": "input_image"})), "input[0].content[0].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (
            json!({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}),
            "tools[0].tools[0].name",
        ),
        (json!({"tool_choice": "perhaps"}), "tool_choice"),
        (json!({"tool_choice": {"type": "web_search"}}), "tool_choice"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type"),
        (json!({"reasoning": {"effort": "extreme"}}), "reasoning.effort"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
        (json!({"temperature": "hot"}), "temperature"),
    ];
    for (body, path) in rows {
        let refusal = RESPONSES.neutral_request(body.to_string().as_bytes()).expect_err(path);
        assert_eq!(refusal.param.as_deref(), Some(path), "{body}: {}", refusal.message);
        assert_eq!(refusal.status, 400);
    }
}

/// One row per thing that responses have no place for: what a chat client sends, what arrives in its
/// place, and what the client is told.
#[test]
fn chat_clients_reach_models_that_only_have_responses() {
    let rows = [
        (json!({"max_tokens": 3}), json!({"max_output_tokens": 16}), ""),
        (json!({"stop": "END", "seed": 1, "n": 1}), json!({}), "stop, seed"),
        (
            json!({"logprobs": true, "top_logprobs": 2}),
            json!({"top_logprobs": 2, "include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}),
            "",
        ),
        (
            json!({"response_format": {"type": "json_object"}}),
            json!({"text": {"format": {"type": "json_object"}}}),
            "",
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "a"}}], "tool_choice": "required"}),
            json!({"tools": [{"type": "function", "name": "a", "parameters": {"type": "object", "properties": {}}, "strict": false}], "tool_choice": "required"}),
            "",
        ),
    ];
    for (given, expected, told) in rows {
        let mut body = json!({"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        let (read, dropped) = through(CHAT, RESPONSES, &body, &openai(Dialect::OpenAiResponses));
        let mut whole = json!({
            "model": "gpt-x", "store": false,
            "input": [{"type": "message", "role": "system", "content": "s"}, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}],
            "include": ["reasoning.encrypted_content"],
        });
        whole.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        assert_eq!(read, whole, "{given}");
        let mut told: Vec<&str> = told.split(", ").collect();
        let mut dropped: Vec<&str> = dropped.split(", ").collect();
        told.sort_unstable();
        dropped.sort_unstable();
        assert_eq!(dropped, told, "{given}");
    }
}

#[test]
fn state_comes_back_to_its_issuer_and_to_nobody_else() {
    let issuer = Issuer::of(Dialect::AnthropicMessages, "anthropic");
    let signed =
        State { issuer, is_redacted: false, id: Str::EMPTY, data: Str::plain("EqQBCkYIBR+/=") };
    let google = Issuer::of(Dialect::GeminiGenerate, "google");
    let thought =
        State { issuer: google, is_redacted: false, id: Str::EMPTY, data: Str::plain("sig") };
    let answer = crate::chat::Answer {
        choices: vec![crate::chat::Choice {
            parts: vec![
                Part::Reasoning(crate::chat::Reasoning {
                    text: Str::plain("I shall\nlook."),
                    state: Some(signed.clone()),
                }),
                Part::Call(crate::chat::Call {
                    id: Str::plain("toolu_1"),
                    name: Str::plain("look"),
                    namespace: None,
                    input: crate::chat::Input::Text(Str::plain("{}")),
                    state: Some(thought.clone()),
                }),
            ],
            finish: crate::chat::Finish::Calls,
            stop_sequence: None,
            logprobs: None,
        }],
        ..Default::default()
    };
    let mut out = Vec::new();
    RESPONSES.client_answer(&answer, &Request::default(), &SHOWN, &mut out);
    let shown: Value = serde_json::from_slice(&out).unwrap();
    let mut input = shown["output"].as_array().unwrap().clone();
    let call_id = input[1]["call_id"].clone();
    input.push(json!({"type": "function_call_output", "call_id": call_id, "output": "seen"}));
    let body = json!({"model": "m", "input": input}).to_string();
    let request = RESPONSES.neutral_request(body.as_bytes()).unwrap();
    let Part::Reasoning(reasoning) = &request.turns[0].parts[0] else { panic!("{request:?}") };
    assert_eq!((reasoning.text.text(), &reasoning.state), ("I shall\nlook.".into(), &Some(signed)));
    let Part::Call(call) = &request.turns[0].parts[1] else { panic!("{request:?}") };
    assert!(call.id.is("toolu_1"));
    assert_eq!(call.state, Some(thought));
    let Part::Result(result) = &request.turns[1].parts[0] else { panic!("{request:?}") };
    assert_eq!(result.id, call.id);
    let mut out = Vec::new();
    let target = openai(Dialect::OpenAiResponses);
    let dropped = RESPONSES.provider_request(&request, &target, &mut out).unwrap();
    assert_eq!(dropped.header(), "reasoning_state");
    let sent = String::from_utf8(out).unwrap();
    assert!(!sent.contains("EqQB") && !sent.contains("pmst1"), "{sent}");
}

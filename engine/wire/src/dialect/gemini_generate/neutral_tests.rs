//! Through the neutral form: into the same dialect without loss, and from and to the others.

use super::{GeminiGenerate, state};
use crate::chat::{
    Chat, Efforts, Finish, Issuer, Part, ReadRules, Request, Shown, Str, Target, Thinking,
};
use crate::dialect::UsageRules;
use crate::dialect::anthropic_messages::AnthropicMessages;
use crate::dialect::openai_chat::OpenAiChat;
use models::catalogue::{MaxTokensField, Quirks, ThinkingFormat};
use models::{Capabilities, Dialect};
use proptest::prelude::*;
use serde_json::{Value, json};

pub(super) static GEMINI: &dyn Chat = &GeminiGenerate;
pub(super) static OPENAI: &dyn Chat = &OpenAiChat;
pub(super) static ANTHROPIC: &dyn Chat = &AnthropicMessages;

const QUIRKS: Quirks = Quirks {
    max_tokens_field: MaxTokensField::MaxCompletionTokens,
    developer_role: true,
    usage_in_stream: true,
    cached_tokens_reported: true,
    strict_schema: true,
    store: true,
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

fn target(dialect: Dialect) -> Target<'static> {
    Target {
        model: "m",
        issuer: Issuer::of(dialect, "provider"),
        quirks: QUIRKS,
        caps: Capabilities(u32::MAX),
        max_output: 64_000,
        efforts: Efforts::of(["minimal", "low", "medium", "high"]),
    }
}

/// A Gemini that thinks by level, and one that knows a budget.
pub(super) fn gemini_3() -> Target<'static> {
    target(Dialect::GeminiGenerate)
}

fn gemini_2() -> Target<'static> {
    Target { efforts: Efforts::default(), ..gemini_3() }
}

pub(super) fn translated(
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

pub(super) fn rules() -> ReadRules {
    let issuer = Issuer::of(Dialect::GeminiGenerate, "google");
    ReadRules { usage: UsageRules::default(), issuer }
}

pub(super) const SHOWN: Shown<'static> =
    Shown { id: "0a", model: "lab/model", created_s: 1_700_000_000, input_tokens: 9 };

#[test]
fn nothing_is_lost_on_the_way_to_gemini() {
    let body = json!({
        "systemInstruction": {"parts": [{"text": "be\nbrief"}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "what is \"this\"?"},
                {"inlineData": {"mimeType": "image/png", "data": "iVBO/+=="}},
                {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}},
                {"fileData": {"mimeType": "image/png", "fileUri": "https://example.org/a.png"}},
            ]},
            {"role": "model", "parts": [
                {"text": "let me see", "thought": true, "thoughtSignature": "c2ln"},
                {"text": "Looking.", "thoughtSignature": "dGV4dA=="},
                {"functionCall": {"id": "a1", "name": "a", "args": {"x": [1, "é"]}}, "thoughtSignature": "Y2FsbA=="},
                {"functionCall": {"name": "b", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "a1", "name": "a", "response": {"result": "one"}}},
                {"functionResponse": {"name": "b", "response": {"error": "two"}}},
            ]},
            {"role": "model", "parts": [{"text": "so"}]},
            {"role": "user", "parts": [{"text": "go on"}]},
        ],
        "tools": [{"functionDeclarations": [
            {"name": "a", "description": "does a", "parametersJsonSchema": {"type": "object", "properties": {}}},
            {"name": "b"},
        ]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a"]}},
        "generationConfig": {
            "maxOutputTokens": 100,
            "stopSequences": ["END", "\n"],
            "temperature": 0.70,
            "topP": 1,
            "topK": 40,
            "presencePenalty": -1.5,
            "frequencyPenalty": 0.5,
            "seed": 7,
            "candidateCount": 2,
            "responseLogprobs": true,
            "logprobs": 3,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": true},
        },
    });
    let (read, dropped) = translated(GEMINI, GEMINI, &body, &gemini_3());
    assert_eq!(read, body);
    assert_eq!(dropped, "");
}

/// One row per member of the configuration: what an OpenAI client sends, and what arrives at a Gemini
/// that thinks by level and at one that knows a budget.
#[test]
fn settings_find_their_place() {
    let effort = |name: &str| json!({"reasoning_effort": name});
    let thinks =
        |level: &str| json!({"thinkingConfig": {"thinkingLevel": level, "includeThoughts": true}});
    let budget = |tokens: u32, shown: bool| json!({"thinkingConfig": {"thinkingBudget": tokens, "includeThoughts": shown}});
    let rows = [
        (
            json!({"max_tokens": 5, "n": 2}),
            json!({"maxOutputTokens": 5, "candidateCount": 2}),
            None,
        ),
        (effort("high"), thinks("HIGH"), Some(budget(16_384, true))),
        (effort("max"), thinks("HIGH"), Some(budget(24_576, true))),
        (effort("medium"), thinks("MEDIUM"), Some(budget(8_192, true))),
        (
            effort("none"),
            json!({"thinkingConfig": {"thinkingLevel": "MINIMAL", "includeThoughts": false}}),
            Some(budget(0, false)),
        ),
        (
            json!({"response_format": {"type": "json_object"}}),
            json!({"responseMimeType": "application/json"}),
            None,
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema": {"const": 1}}}}),
            json!({"responseMimeType": "application/json", "responseJsonSchema": {"enum": [1]}}),
            None,
        ),
    ];
    for (given, by_level, by_budget) in rows {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        let by_budget = by_budget.unwrap_or_else(|| by_level.clone());
        for (target, expected) in [(gemini_3(), by_level), (gemini_2(), by_budget)] {
            let (read, dropped) = translated(OPENAI, GEMINI, &body, &target);
            assert_eq!(read["generationConfig"], expected, "{given}");
            assert_eq!(dropped, "", "{given}");
        }
    }
}

#[test]
fn what_gemini_has_no_place_for_is_named_or_refused() {
    let rows = [
        (json!({"logit_bias": {"1": 2}, "verbosity": "low"}), "logit_bias, verbosity"),
        (json!({"metadata": {"a": "b"}, "service_tier": "flex"}), "service_tier, metadata"),
        (json!({"x_new": 1, "user": "u", "prompt_cache_key": "k"}), "x_new"),
        (
            json!({"parallel_tool_calls": false, "tools": [{"type": "function", "function": {"name": "a", "strict": true}}]}),
            "tools.strict, parallel_tool_calls",
        ),
    ];
    for (given, told) in rows {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        assert_eq!(translated(OPENAI, GEMINI, &body, &gemini_3()).1, told, "{given}");
    }
    let tools = json!([{"type": "function", "function": {"name": "a"}}]);
    let rows = [
        (json!({"stop": ["1", "2", "3", "4", "5", "6"]}), "stop"),
        (json!({"tools": tools, "response_format": {"type": "json_object"}}), "response_format"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}),
            "messages[0]",
        ),
        (
            json!({"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}),
            "messages[0]",
        ),
    ];
    for (given, field) in rows {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        let text = body.to_string();
        let request = OPENAI.neutral_request(text.as_bytes()).unwrap();
        let refusal = GEMINI.provider_request(&request, &gemini_2(), &mut Vec::new());
        assert_eq!(refusal.expect_err(field).param.as_deref(), Some(field));
    }
}

#[test]
fn what_others_have_no_place_for_is_named_or_refused() {
    let contents = json!([{"parts": [{"text": "x"}]}]);
    let rows = [
        (json!({"safetySettings": [{}], "labels": {"a": "b"}}), "labels, safetySettings"),
        (
            json!({"tools": [{"googleSearch": {}}, {"code_execution": {}}]}),
            "tools.googleSearch, tools.codeExecution",
        ),
        (
            json!({"generationConfig": {"speechConfig": {}, "topK": 3}}),
            "generationConfig.speechConfig, top_k",
        ),
        (json!({"toolConfig": {"retrievalConfig": {}}}), "toolConfig.retrievalConfig"),
    ];
    for (given, told) in rows {
        let mut body = json!({"contents": contents});
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        let (read, dropped) = translated(GEMINI, OPENAI, &body, &target(Dialect::OpenAiChat));
        assert_eq!(dropped, told, "{given}");
        assert_eq!(read["messages"], json!([{"role": "user", "content": "x"}]));
    }
    let bodies = [
        (json!({"cachedContent": "cachedContents/1", "contents": contents}), "cachedContent"),
        (json!({"contents": [{"parts": [{"hologram": {}}]}]}), "contents[0].parts[0]"),
        (
            json!({"contents": [{"parts": [{"inlineData": {"data": "x"}}]}]}),
            "contents[0].parts[0].inlineData",
        ),
        (
            json!({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]}),
            "contents[0].parts[0].functionResponse",
        ),
        (
            json!({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": "x"}}]}]}),
            "contents[0].parts[0].functionResponse",
        ),
        (
            json!({"tools": [{"functionDeclarations": [{}]}]}),
            "tools[0].functionDeclarations[0].name",
        ),
        (json!({"toolConfig": {"functionCallingConfig": {"mode": "PERHAPS"}}}), "toolConfig"),
        (
            json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "EXTREME"}}}),
            "generationConfig.thinkingConfig",
        ),
        (json!({"generationConfig": {"temperature": "hot"}}), "generationConfig.temperature"),
    ];
    for (body, field) in bodies {
        let text = body.to_string();
        let refusal = GEMINI.neutral_request(text.as_bytes()).expect_err(field);
        assert_eq!(refusal.param.as_deref(), Some(field), "{}", refusal.message);
        assert_eq!(refusal.status, 400);
    }
}

/// A whole turn of an agent: what a Gemini client sends arrives at the others with ids for its calls.
#[test]
fn calls_without_ids_get_some_and_results_find_them() {
    let body = json!({
        "contents": [
            {"role": "user", "parts": [{"text": "weather?"}]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "w", "args": {"city": "Bern"}}},
                {"functionCall": {"name": "w", "args": {"city": "Rome"}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "w", "response": {"output": "rain"}}},
                {"functionResponse": {"name": "w", "response": {"degrees": 31}}},
            ]},
        ],
        "tools": [{"function_declarations": [{"name": "w", "parameters": {
            "type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}}]}],
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}},
    });
    let (read, dropped) = translated(GEMINI, OPENAI, &body, &target(Dialect::OpenAiChat));
    assert_eq!(dropped, "");
    let call = |id: &str, city: &str| json!({"id": id, "type": "function", "function": {"name": "w", "arguments": format!("{{\"city\":\"{city}\"}}")}});
    assert_eq!(
        read["messages"],
        json!([
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": null, "tool_calls": [call("gemcall_1_0", "Bern"), call("gemcall_1_1", "Rome")]},
            {"role": "tool", "tool_call_id": "gemcall_1_0", "content": "rain"},
            {"role": "tool", "tool_call_id": "gemcall_1_1", "content": "{\"degrees\":31}"},
        ])
    );
    assert_eq!(
        read["tools"][0]["function"]["parameters"],
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
    );
    assert_eq!(read["reasoning_effort"], "minimal");
    let (read, _) = translated(GEMINI, ANTHROPIC, &body, &target(Dialect::AnthropicMessages));
    assert_eq!(read["messages"][1]["content"][1]["id"], "gemcall_1_1");
    assert_eq!(read["messages"][2]["content"][1]["tool_use_id"], "gemcall_1_1");
    // And back: nobody at Google sees a made-up id.
    let (back, _) = translated(GEMINI, GEMINI, &body, &gemini_2());
    assert!(!back.to_string().contains("gemcall_"), "{back}");
}

/// A call that another model made goes to Google with the word that stands for a signature, once a
/// step, and only where signatures are asked for.
#[test]
fn a_foreign_call_goes_to_gemini_without_its_state() {
    let body = json!({"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
            {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {}},
            {"type": "tool_use", "id": "toolu_2", "name": "b", "input": {"y": 1}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true, "content": [
                {"type": "text", "text": "two"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
            {"type": "text", "text": "go on"},
        ]},
    ], "max_tokens": 10});
    let (read, dropped) = translated(ANTHROPIC, GEMINI, &body, &gemini_3());
    assert_eq!(dropped, "reasoning_state");
    assert_eq!(
        read["contents"],
        json!([
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": [
                {"functionCall": {"id": "toolu_1", "name": "a", "args": {}}, "thoughtSignature": state::NO_SIGNATURE},
                {"functionCall": {"id": "toolu_2", "name": "b", "args": {"y": 1}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "toolu_1", "name": "a", "response": {"result": "one"}}},
                {"functionResponse": {"id": "toolu_2", "name": "b", "response": {"error": "two"}}},
            ]},
            {"role": "user", "parts": [
                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                {"text": "go on"},
            ]},
        ])
    );
    let (read, _) = translated(ANTHROPIC, GEMINI, &body, &gemini_2());
    assert!(!read.to_string().contains(state::NO_SIGNATURE));
}

fn answer_body() -> Value {
    json!({
        "candidates": [{
            "content": {"role": "model", "parts": [
                {"text": "I shall look.", "thought": true},
                {"text": "Looking."},
                {"functionCall": {"name": "look", "args": {"at": "\u{e9}"}}, "thoughtSignature": "CiQB0e2Kb/+w=="},
                {"functionCall": {"name": "look", "args": {}}},
            ]},
            "finishReason": "STOP", "index": 0,
        }],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 15},
        "modelVersion": "gemini-x", "responseId": "r-1",
    })
}

/// The answer of a Gemini, given by a client of each dialect back to the same Gemini: the calls bring
/// their signatures with them, byte for byte.
#[test]
fn signatures_come_back_through_every_client() {
    let text = answer_body().to_string();
    let answer = GEMINI.neutral_answer(text.as_bytes(), &rules()).unwrap();
    assert_eq!(answer.choices[0].finish, Finish::Calls);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.output.0, usage.reasoning.0), (5, 2));

    let mut out = Vec::new();
    OPENAI.client_answer(&answer, &Request::default(), &SHOWN, &mut out);
    let openai: Value = serde_json::from_slice(&out).unwrap();
    let message = &openai["choices"][0]["message"];
    assert_eq!(openai["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(message["content"], "Looking.");
    assert_eq!(message["reasoning_content"], "I shall look.");
    let result =
        |call: &Value| json!({"role": "tool", "tool_call_id": call["id"], "content": "seen"});
    let calls = message["tool_calls"].as_array().unwrap();
    let history = json!({"messages": [message, result(&calls[0]), result(&calls[1])]});
    let (back, dropped) = translated(OPENAI, GEMINI, &history, &gemini_3());
    assert_eq!(dropped, "");
    let expected = json!([
        {"role": "model", "parts": [
            {"text": "Looking."},
            {"functionCall": {"name": "look", "args": {"at": "\u{e9}"}}, "thoughtSignature": "CiQB0e2Kb/+w=="},
            {"functionCall": {"name": "look", "args": {}}},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "look", "response": {"result": "seen"}}},
            {"functionResponse": {"name": "look", "response": {"result": "seen"}}},
        ]},
    ]);
    assert_eq!(back["contents"], expected);

    let mut out = Vec::new();
    ANTHROPIC.client_answer(&answer, &Request::default(), &SHOWN, &mut out);
    let anthropic: Value = serde_json::from_slice(&out).unwrap();
    let content = anthropic["content"].as_array().unwrap();
    let results: Vec<Value> = content
        .iter()
        .filter(|block| block["type"] == "tool_use")
        .map(|block| json!({"type": "tool_result", "tool_use_id": block["id"], "content": "seen"}))
        .collect();
    let history = json!({"max_tokens": 9, "messages": [
        {"role": "assistant", "content": content}, {"role": "user", "content": results}]});
    let (back, _) = translated(ANTHROPIC, GEMINI, &history, &gemini_3());
    assert_eq!(back["contents"], expected);
}

/// The reverse: what Anthropic signed travels through a Gemini client inside of a call's signature.
#[test]
fn the_state_of_others_comes_back_through_a_gemini_client() {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "c",
        "content": [
            {"type": "thinking", "thinking": "I shall look.", "signature": "EqQBCkYIBR+/="},
            {"type": "text", "text": "Looking."},
            {"type": "redacted_thinking", "data": "b64"},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 1}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 7},
    })
    .to_string();
    let issuer = Issuer::of(Dialect::AnthropicMessages, "anthropic");
    let rules = ReadRules { usage: UsageRules::default(), issuer };
    let answer = ANTHROPIC.neutral_answer(body.as_bytes(), &rules).unwrap();
    let shows = Thinking { shown: Some(true), ..Thinking::default() };
    for thinking in [Thinking::default(), shows] {
        let request = Request { thinking, ..Request::default() };
        let mut out = Vec::new();
        GEMINI.client_answer(&answer, &request, &SHOWN, &mut out);
        let gemini: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(gemini["candidates"][0]["finishReason"], "STOP");
        assert_eq!(gemini["modelVersion"], "lab/model");
        assert_eq!(
            gemini["usageMetadata"],
            json!({"promptTokenCount": 7, "cachedContentTokenCount": 2, "candidatesTokenCount": 7, "totalTokenCount": 14})
        );
        let content = &gemini["candidates"][0]["content"];
        let thoughts = thinking.shown.map_or(0, |_| 1);
        assert_eq!(content["parts"].as_array().unwrap().len(), 2 + thoughts);
        let asked = json!({"role": "user", "parts": [{"text": "look"}]});
        let history = json!({"contents": [asked, content, {"role": "user", "parts": [
            {"functionResponse": {"name": "look", "response": {"result": "seen"}}}]}]});
        let (back, dropped) =
            translated(GEMINI, ANTHROPIC, &history, &target(Dialect::AnthropicMessages));
        assert_eq!(dropped, "");
        assert_eq!(
            back["messages"],
            json!([
                {"role": "user", "content": [{"type": "text", "text": "look"}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "I shall look.", "signature": "EqQBCkYIBR+/="},
                    {"type": "text", "text": "Looking."},
                    {"type": "redacted_thinking", "data": "b64"},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 1}},
                ]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}]},
            ])
        );
    }
}

#[test]
fn bad_answers_are_faults() {
    use crate::dialect::AnswerFault::{Error, Malformed};
    let rows = [
        ("{", Malformed),
        ("{}", Malformed),
        ("{\"candidates\":[]}", Malformed),
        ("{\"candidates\":[1]}", Malformed),
        ("{\"error\":{\"code\":500}}", Error),
        ("{\"candidates\":[{\"finishReason\":\"MALFORMED_FUNCTION_CALL\"}]}", Error),
    ];
    for (body, fault) in rows {
        assert_eq!(GEMINI.neutral_answer(body.as_bytes(), &rules()), Err(fault), "{body}");
    }
    let blocked = b"{\"promptFeedback\":{\"blockReason\":\"OTHER\"}}";
    let answer = GEMINI.neutral_answer(blocked, &rules()).unwrap();
    assert_eq!(answer.choices[0].finish, Finish::Filter);
}

#[test]
fn log_probabilities_keep_their_values() {
    let result = json!({
        "topCandidates": [{"candidates": [{"token": "a", "logProbability": -0.1}, {"token": "\u{e9}", "logProbability": -2.5}]}],
        "chosenCandidates": [{"token": "a", "tokenId": 7, "logProbability": -0.1}],
    });
    let body = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "logprobsResult": result}]});
    let text = body.to_string();
    let answer = GEMINI.neutral_answer(text.as_bytes(), &rules()).unwrap();
    let logprobs = answer.choices[0].logprobs.clone().unwrap();
    let read: Value = serde_json::from_slice(logprobs.bytes()).unwrap();
    assert_eq!(
        read[0]["top_logprobs"][1],
        json!({"token": "\u{e9}", "logprob": -2.5, "bytes": [195, 169]})
    );
    let mut out = Vec::new();
    GEMINI.client_answer(&answer, &Request::default(), &SHOWN, &mut out);
    let back: Value = serde_json::from_slice(&out).unwrap();
    let back = &back["candidates"][0]["logprobsResult"];
    assert_eq!(back["topCandidates"], result["topCandidates"]);
    assert_eq!(back["chosenCandidates"], json!([{"token": "a", "logProbability": -0.1}]));
}

#[test]
fn a_picture_by_address_has_a_type() {
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://example.org/a.webp?x=1"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a"}},
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lG"}},
    ]}]});
    let (read, _) = translated(OPENAI, GEMINI, &body, &gemini_3());
    let file = |mime: &str, uri: &str| json!({"fileData": {"mimeType": mime, "fileUri": uri}});
    assert_eq!(
        read["contents"][0]["parts"],
        json!([
            file("image/webp", "https://example.org/a.webp?x=1"),
            file("image/jpeg", "https://example.org/a"),
            {"inlineData": {"mimeType": "image/gif", "data": "R0lG"}},
        ])
    );
    // An address that only Google can read stays with Google.
    let own = json!({"contents": [{"parts": [{"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/a.pdf"}}]}]});
    let text = own.to_string();
    let request = GEMINI.neutral_request(text.as_bytes()).unwrap();
    assert!(matches!(request.turns[0].parts[0], Part::File { .. }));
    let openai = target(Dialect::OpenAiChat);
    let refusal = OPENAI.provider_request(&request, &openai, &mut Vec::new()).unwrap_err();
    assert_eq!(refusal.param.as_deref(), Some("contents[0]"));
    assert!(GEMINI.provider_request(&request, &gemini_3(), &mut Vec::new()).is_ok());
    // Google's SDKs write the alphabet for addresses.
    let body = json!({"contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "-_8"}}]}]});
    let (read, _) = translated(GEMINI, OPENAI, &body, &openai);
    assert_eq!(read["messages"][0]["content"][0]["image_url"]["url"], "data:image/png;base64,+/8=");
    assert!(Str::plain("+/8=").is("+/8="));
}

/// A history as an agent leaves it: calls and their results, in turns.
fn history() -> impl Strategy<Value = Value> {
    let call = ("[a-c]", "\\PC{0,6}", any::<bool>(), any::<bool>());
    let turn = (prop::collection::vec(call, 0..4), "\\PC{0,8}");
    prop::collection::vec(turn, 1..5).prop_map(|turns| {
        let mut contents = Vec::new();
        for (turn, (calls, said)) in turns.iter().enumerate() {
            contents.push(json!({"role": "user", "parts": [{"text": format!("q{said}")}]}));
            if calls.is_empty() {
                continue;
            }
            let id = |at: usize| format!("id{turn}_{at}");
            let parts = calls.iter().enumerate().map(|(at, (name, value, has_id, is_signed))| {
                let mut part = json!({"functionCall": {"name": name, "args": {"v": value}}});
                if *has_id {
                    part["functionCall"]["id"] = json!(id(at));
                }
                if *is_signed || at == 0 {
                    part["thoughtSignature"] = json!("c2ln");
                }
                part
            });
            contents.push(json!({"role": "model", "parts": parts.collect::<Vec<_>>()}));
            let results = calls.iter().enumerate().map(|(at, (name, value, has_id, _))| {
                let mut part =
                    json!({"functionResponse": {"name": name, "response": {"result": value}}});
                if *has_id {
                    part["functionResponse"]["id"] = json!(id(at));
                }
                part
            });
            contents.push(json!({"role": "user", "parts": results.collect::<Vec<_>>()}));
        }
        json!({"contents": contents})
    })
}

proptest! {
    #[test]
    fn histories_come_back_without_loss(body in history()) {
        let (back, dropped) = translated(GEMINI, GEMINI, &body, &gemini_3());
        prop_assert_eq!(dropped, "");
        // Results by id may stand in another order than those by name; each is there once.
        prop_assert_eq!(&back["contents"], &body["contents"]);
    }

    #[test]
    fn every_call_keeps_its_one_result_in_other_dialects(body in history()) {
        let (openai, _) = translated(GEMINI, OPENAI, &body, &target(Dialect::OpenAiChat));
        let mut open: Vec<Value> = Vec::new();
        for message in openai["messages"].as_array().unwrap() {
            match message["role"].as_str() {
                Some("assistant") => {
                    prop_assert!(open.is_empty());
                    let calls = message["tool_calls"].as_array().unwrap();
                    open.extend(calls.iter().map(|call| call["id"].clone()));
                    let unique: std::collections::HashSet<String> =
                        open.iter().map(Value::to_string).collect();
                    prop_assert_eq!(unique.len(), open.len());
                }
                Some("tool") => {
                    let at = open.iter().position(|id| *id == message["tool_call_id"]);
                    prop_assert!(at.is_some());
                    open.remove(at.unwrap());
                }
                _ => prop_assert!(open.is_empty()),
            }
        }
        prop_assert!(open.is_empty());
    }

    #[test]
    fn whatever_comes_is_read_without_a_panic(body in "\\PC{0,40}", cut in 0usize..600) {
        let whole = answer_body().to_string();
        let mut cut = cut.min(whole.len());
        while !whole.is_char_boundary(cut) { cut -= 1; }
        for text in [&*body, &whole[..cut]] {
            let _ = GEMINI.neutral_request(text.as_bytes());
            let _ = GEMINI.neutral_answer(text.as_bytes(), &rules());
            let _ = GEMINI.read_request(text.as_bytes());
            GEMINI.stream_reader(&rules()).read(b"", text.as_bytes(), &mut |_, _| {});
        }
    }
}

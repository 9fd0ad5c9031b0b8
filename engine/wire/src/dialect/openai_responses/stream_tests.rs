//! Streams: a provider's events read, and a client's written.

use super::neutral_tests::{RESPONSES, SHOWN, rules};
use crate::chat::{Event, Finish, Json, Request, State, Str};
use crate::refusal::{Kind, Refusal};
use crate::sse::{self, Splitter};
use models::{Dialect, Tokens, Usage, UsageSource};
use proptest::prelude::*;
use serde_json::{Value, json};

const USAGE: Usage = Usage {
    input: Tokens(9),
    cached: Tokens(2),
    written_5m: Tokens(1),
    written_1h: Tokens(0),
    output: Tokens(4),
    reasoning: Tokens(3),
    source: UsageSource::Provider,
};

/// What a client of this dialect may rely on, whatever it is told.
fn assert_lawful(stream: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    let (mut splitter, mut start) = (Splitter::default(), 0);
    while let Some(length) = splitter.next(&stream[start..]) {
        let event = sse::read(&stream[start..start + length]);
        start += length;
        let data: Value = serde_json::from_slice(&event.data.expect("data")).expect("JSON");
        assert_eq!(data["type"].as_str().map(str::as_bytes), Some(event.name));
        assert_eq!(data["sequence_number"], events.len());
        events.push(data);
    }
    assert_eq!(start, stream.len());
    assert_eq!(events[0]["type"], "response.created");
    assert_eq!(events[1]["type"], "response.in_progress");
    let mut open: Vec<(u64, String)> = Vec::new();
    let mut output = Vec::new();
    for event in &events[2..] {
        let kind = event["type"].as_str().unwrap();
        let index = event["output_index"].as_u64();
        match kind {
            "response.output_item.added" => {
                assert_eq!(index, Some((open.len() + output.len()) as u64));
                open.push((index.unwrap(), event["item"]["id"].as_str().unwrap().to_owned()));
            }
            "response.output_item.done" => {
                let at = open.iter().position(|(known, _)| Some(*known) == index).expect("open");
                assert_eq!(event["item"]["id"], open.remove(at).1);
                output.push((index, event["item"].clone()));
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                assert!(open.is_empty() || kind == "response.failed");
                output.sort_by_key(|(index, _)| *index);
                let items: Vec<Value> = output.iter().map(|(_, item)| item.clone()).collect();
                assert_eq!(event["response"]["output"], Value::Array(items));
            }
            _ => {
                let known = open.iter().find(|(known, _)| Some(*known) == index).expect(kind);
                assert_eq!(event["item_id"], known.1, "{kind}");
            }
        }
    }
    events
}

fn told(request: &Request<'_>, events: &[Event<'_>]) -> Vec<Value> {
    let mut writer = RESPONSES.stream_writer(request, &SHOWN);
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.write(0, event, &mut out));
    assert_lawful(&out)
}

fn finish(why: Finish) -> [Event<'static>; 3] {
    [Event::Finish { why, stop_sequence: None }, Event::Usage(USAGE), Event::End]
}

#[test]
fn every_delta_has_an_item_and_the_end_repeats_all() {
    let issuer = crate::chat::Issuer::any(Dialect::AnthropicMessages);
    let data = Str::plain("sig");
    let state = State { issuer, is_redacted: false, id: Str::EMPTY, data };
    let mut events = vec![
        Event::Start { id: None },
        Event::Reasoning(Str::plain("h")),
        Event::Reasoning(Str::plain("m")),
        Event::ReasoningEnd(Some(state)),
        Event::Text(Str::plain("so")),
        Event::Refusal(Str::plain("no")),
        Event::CallStart {
            call: 0,
            id: Str::plain("call_1"),
            name: Str::plain("a"),
            is_free: false,
            state: None,
        },
        Event::CallStart {
            call: 1,
            id: Str::plain("call_2"),
            name: Str::plain("b"),
            is_free: true,
            state: None,
        },
        Event::CallInput { call: 1, piece: Str::plain("fr") },
        Event::CallInput { call: 0, piece: Str::plain("{}") },
        Event::CallInput { call: 1, piece: Str::plain("ee") },
        Event::CallEnd { call: 1 },
    ];
    events.extend(finish(Finish::Calls));
    let told = told(&Request::default(), &events);
    let end = &told.last().unwrap()["response"];
    assert_eq!(end["status"], "completed");
    assert_eq!(end["usage"]["output_tokens_details"]["reasoning_tokens"], 3);
    let output = end["output"].as_array().unwrap();
    let kinds: Vec<&str> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "custom_tool_call"]);
    assert_eq!(output[0]["summary"][0]["text"], "hm");
    assert!(output[0]["encrypted_content"].is_string());
    assert_eq!(output[1]["content"][0]["text"], "so");
    assert_eq!(output[1]["content"][1]["refusal"], "no");
    assert_eq!(output[2]["arguments"], "{}");
    assert_eq!(output[3]["input"], "free");
}

#[test]
fn tools_are_told_by_the_clients_own_names() {
    let body = json!({"model": "m", "input": "x", "tools": [
        {"type": "namespace", "name": "files", "tools": [{"type": "function", "name": "read"}]},
        {"type": "custom", "name": "apply_patch"},
    ]})
    .to_string();
    let request = RESPONSES.neutral_request(body.as_bytes()).unwrap();
    let call = |call: u32, name: &'static str| Event::CallStart {
        call,
        id: Str::plain("call_1"),
        name: Str::plain(name),
        is_free: false,
        state: None,
    };
    let mut events = vec![
        call(0, "files__read"),
        Event::CallEnd { call: 0 },
        call(1, "apply_patch"),
        Event::CallInput { call: 1, piece: Str::plain("{\"inp").into_owned() },
        Event::CallInput { call: 1, piece: Str::plain("ut\":\"*** Begin\\n\"}").into_owned() },
    ];
    events.extend(finish(Finish::Calls));
    let told = told(&request, &events);
    let output = &told.last().unwrap()["response"]["output"];
    assert_eq!(output[0]["name"], "read");
    assert_eq!(output[0]["namespace"], "files");
    assert_eq!(output[0]["arguments"], "{}", "a call without input gets an empty object");
    assert_eq!(output[1]["type"], "custom_tool_call");
    assert_eq!(output[1]["input"], "*** Begin\n");
    let pieces = |kind: &str| -> String {
        let of_kind = told.iter().filter(|event| event["type"] == kind);
        of_kind.filter_map(|event| event["delta"].as_str()).collect()
    };
    assert_eq!(pieces("response.custom_tool_call_input.delta"), "*** Begin\n");
    assert_eq!(pieces("response.function_call_arguments.delta"), "{}");
}

/// One row per reason to end: the last event, and what it says.
#[test]
fn the_end_says_why() {
    let rows = [
        (Finish::Stop, "response.completed", Value::Null),
        (Finish::StopSequence, "response.completed", Value::Null),
        (Finish::Calls, "response.completed", Value::Null),
        (Finish::Refusal, "response.completed", Value::Null),
        (Finish::Pause, "response.completed", Value::Null),
        (Finish::Length, "response.incomplete", json!({"reason": "max_output_tokens"})),
        (Finish::Context, "response.incomplete", json!({"reason": "max_output_tokens"})),
        (Finish::Filter, "response.incomplete", json!({"reason": "content_filter"})),
    ];
    for (why, name, details) in rows {
        let mut events = vec![Event::Text(Str::plain("a"))];
        events.extend(finish(why));
        let told = told(&Request::default(), &events);
        let end = told.last().unwrap();
        assert_eq!(
            (&end["type"], &end["response"]["incomplete_details"]),
            (&json!(name), &details)
        );
    }
}

#[test]
fn a_stream_that_breaks_fails_and_keeps_what_was_whole() {
    let mut writer = RESPONSES.stream_writer(&Request::default(), &SHOWN);
    let mut out = Vec::new();
    for event in [
        Event::Reasoning(Str::plain("hm")),
        Event::ReasoningEnd(None),
        Event::Text(Str::plain("so")),
        Event::Error,
    ] {
        writer.write(0, &event, &mut out);
    }
    assert!(writer.write_error(&Refusal::new(Kind::UpstreamInterrupted), &mut out));
    let told = assert_lawful(&out);
    let end = told.last().unwrap();
    assert_eq!(end["type"], "response.failed");
    assert_eq!(end["response"]["error"]["code"], "upstream_interrupted");
    assert_eq!(end["response"]["output"].as_array().unwrap().len(), 1);
}

#[test]
fn log_probabilities_stay_with_their_text() {
    let one = r#"[{"token":"a","logprob":-0.1,"bytes":[97],"top_logprobs":[]}]"#;
    let mut events = vec![
        Event::Text(Str::plain("a")),
        Event::Logprobs(Json::checked(one.as_bytes())),
        Event::Text(Str::plain("a")),
        Event::Logprobs(Json::checked(one.as_bytes())),
    ];
    events.extend(finish(Finish::Stop));
    let told = told(&Request::default(), &events);
    let part = &told.last().unwrap()["response"]["output"][0]["content"][0];
    assert_eq!(part["logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(part["text"], "aa");
}

fn read(events: &[Value]) -> Vec<String> {
    let mut reader = RESPONSES.stream_reader(&rules(Dialect::OpenAiResponses));
    let mut found = Vec::new();
    for event in events {
        reader.read(b"", event.to_string().as_bytes(), &mut |_, event| {
            found.push(match event {
                Event::Text(text) => format!("text {}", text.text()),
                Event::Reasoning(text) => format!("reasoning {}", text.text()),
                Event::ReasoningEnd(state) => {
                    format!(
                        "reasoning end {}",
                        state.map_or(String::new(), |s| s.data.text().into())
                    )
                }
                Event::Refusal(text) => format!("refusal {}", text.text()),
                Event::CallStart { call, id, name, is_free, .. } => {
                    format!("call {call} {} {} {is_free}", id.text(), name.text())
                }
                Event::CallInput { call, piece } => format!("input {call} {}", piece.text()),
                Event::CallEnd { call } => format!("end {call}"),
                Event::Finish { why, .. } => format!("finish {why:?}"),
                Event::Usage(usage) => format!("usage {}", usage.output.0),
                Event::Logprobs(_) => "logprobs".to_owned(),
                Event::Start { id } => {
                    format!("start {}", id.map_or(String::new(), |id| id.text().into()))
                }
                Event::Error => "error".to_owned(),
                Event::End => "done".to_owned(),
            });
        });
    }
    found
}

/// Servers tell an answer by deltas, by whole items, or all at once; each is read once.
#[test]
fn an_answer_is_read_from_where_it_comes_first() {
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"});
    let message = json!({"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "so"}]});
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"});
    let free = json!({"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "p", "input": "x"});
    let hosted = json!({"type": "web_search_call", "id": "ws_1"});
    let added = |index: u32, item: &Value| json!({"type": "response.output_item.added", "output_index": index, "item": item});
    let done = |index: u32, item: &Value| json!({"type": "response.output_item.done", "output_index": index, "item": item});
    let delta = |kind: &str, index: u32, delta: &str| json!({"type": format!("response.{kind}.delta"), "output_index": index, "delta": delta});
    let created =
        json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}});
    let end = |output: Value| json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "error": null, "output": output, "usage": {"input_tokens": 1, "output_tokens": 4}}});
    let all = json!([reasoning, message, call, free]);
    let whole = [
        "start resp_1",
        "reasoning hm",
        "reasoning end gAAA",
        "text so",
        "call 0 c1 f false",
        "input 0 {}",
        "end 0",
        "call 1 c2 p true",
        "input 1 x",
        "end 1",
        "finish Calls",
        "usage 4",
        "done",
    ];
    let empty = |item: &Value, field: &str| {
        let mut item = item.clone();
        item[field] = json!("");
        item
    };
    let rows: [Vec<Value>; 4] = [
        vec![
            created.clone(),
            added(0, &json!({"type": "reasoning", "id": "rs_1", "summary": []})),
            delta("reasoning_summary_text", 0, "hm"),
            done(0, &reasoning),
            added(1, &hosted),
            done(1, &hosted),
            added(2, &json!({"type": "message", "content": []})),
            delta("output_text", 2, "so"),
            done(2, &message),
            added(3, &empty(&call, "arguments")),
            delta("function_call_arguments", 3, "{}"),
            json!({"type": "response.function_call_arguments.done", "output_index": 3, "arguments": "{}"}),
            done(3, &call),
            added(4, &empty(&free, "input")),
            json!({"type": "response.custom_tool_call_input.done", "output_index": 4, "input": "x"}),
            done(4, &free),
            end(all.clone()),
        ],
        vec![
            created.clone(),
            done(0, &reasoning),
            done(1, &message),
            done(2, &call),
            done(3, &free),
            end(json!([])),
        ],
        vec![created.clone(), end(all.clone())],
        vec![
            created.clone(),
            json!({"type": "response.in_progress"}),
            json!({"type": "codex.extra"}),
            end(all),
        ],
    ];
    for row in rows {
        let found = read(&row);
        assert_eq!(found, whole, "{row:?}");
    }
    let incomplete = json!({"type": "response.incomplete", "response": {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}});
    assert_eq!(read(&[incomplete]), ["finish Filter", "done"]);
    for broken in [
        json!({"type": "response.failed", "response": {}}),
        json!({"type": "error"}),
        json!({"type": "response.completed"}),
        json!([]),
    ] {
        assert_eq!(read(&[broken]), ["error"]);
    }
}

/// An answer to draw from: what a model may say, in any order.
fn pieces() -> impl Strategy<Value = Vec<(u8, String)>> {
    prop::collection::vec((0u8..6, "[a-zé\"\\\\\n]{0,8}"), 0..24)
}

fn events_of(pieces: &[(u8, String)]) -> Vec<Event<'_>> {
    let mut events = vec![Event::Start { id: None }];
    let mut calls = 0;
    for (kind, text) in pieces {
        let piece = Str::plain(text);
        match kind {
            0 if !text.is_empty() => events.push(Event::Text(piece)),
            1 if !text.is_empty() => events.push(Event::Reasoning(piece)),
            2 => events.push(Event::ReasoningEnd(None)),
            3 if !text.is_empty() => events.push(Event::Refusal(piece)),
            4 => {
                let (id, name) = (Str::from_text(&format!("call_{calls}")), Str::plain("f"));
                events.push(Event::CallStart {
                    call: calls,
                    id,
                    name,
                    is_free: false,
                    state: None,
                });
                calls += 1;
            }
            5 if calls > 0 && !text.is_empty() => {
                events.push(Event::CallInput { call: calls - 1, piece });
            }
            _ => {}
        }
    }
    events.extend(finish(Finish::Stop));
    events
}

/// All text, all reasoning, all refusals, and the calls with their input.
type Said = (String, String, String, Vec<(String, String)>);

fn said<'e>(events: impl IntoIterator<Item = Event<'e>>) -> Said {
    let mut said = Said::default();
    for event in events {
        match event {
            Event::Text(text) => said.0.push_str(&text.text()),
            Event::Reasoning(text) => said.1.push_str(&text.text()),
            Event::Refusal(text) => said.2.push_str(&text.text()),
            Event::CallStart { id, .. } => said.3.push((id.text().into(), String::new())),
            Event::CallInput { call, piece } => said.3[call as usize].1.push_str(&piece.text()),
            _ => {}
        }
    }
    for (_, input) in &mut said.3 {
        if input.is_empty() {
            input.push_str("{}");
        }
    }
    said
}

proptest! {
    /// Whatever a model says comes out lawful, and is read back as it was said.
    #[test]
    fn a_stream_says_what_was_said(pieces in pieces()) {
        let events = events_of(&pieces);
        let mut writer = RESPONSES.stream_writer(&Request::default(), &SHOWN);
        let mut out = Vec::new();
        events.iter().for_each(|event| writer.write(0, event, &mut out));
        let told = assert_lawful(&out);
        let mut reader = RESPONSES.stream_reader(&rules(Dialect::OpenAiResponses));
        let mut back: Vec<Event<'static>> = Vec::new();
        for event in &told {
            reader.read(b"", event.to_string().as_bytes(), &mut |_, event| {
                back.push(match event {
                    Event::Text(text) => Event::Text(text.into_owned()),
                    Event::Reasoning(text) => Event::Reasoning(text.into_owned()),
                    Event::Refusal(text) => Event::Refusal(text.into_owned()),
                    Event::CallStart { call, id, name, is_free, .. } => Event::CallStart {
                        call, id: id.into_owned(), name: name.into_owned(), is_free, state: None,
                    },
                    Event::CallInput { call, piece } => {
                        Event::CallInput { call, piece: piece.into_owned() }
                    }
                    _ => return,
                });
            });
        }
        prop_assert_eq!(said(back), said(events));
    }

    /// Nothing that a provider may send makes the reader panic, and what the writer makes of it is
    /// lawful.
    #[test]
    fn hostile_events_are_survived(
        events in prop::collection::vec((0usize..14, 0u32..4, "\\PC{0,6}"), 0..30),
    ) {
        const KINDS: [&str; 14] = [
            "response.created", "response.output_item.added", "response.output_item.done",
            "response.output_text.delta", "response.refusal.delta", "response.reasoning_text.delta",
            "response.reasoning_summary_part.added", "response.function_call_arguments.delta",
            "response.function_call_arguments.done", "response.custom_tool_call_input.delta",
            "response.completed", "error", "response.output_text.done", "x",
        ];
        let mut reader = RESPONSES.stream_reader(&rules(Dialect::OpenAiResponses));
        let mut writer = RESPONSES.stream_writer(&Request::default(), &SHOWN);
        let mut out = Vec::new();
        let mut ended = false;
        for (kind, index, text) in &events {
            let item = ["message", "function_call", "custom_tool_call", "reasoning"][*index as usize];
            let data = json!({
                "type": KINDS[*kind], "output_index": index, "delta": text, "arguments": text,
                "summary_index": index, "item": {"type": item, "call_id": "c", "name": text},
                "response": {"status": "completed", "output": []},
            });
            reader.read(b"", data.to_string().as_bytes(), &mut |choice, event| {
                if !ended {
                    writer.write(choice, &event, &mut out);
                }
                ended |= matches!(event, Event::End | Event::Error);
            });
        }
        if !out.is_empty() {
            assert_lawful(&out);
        }
    }
}

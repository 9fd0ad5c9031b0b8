//! Clients of each dialect before providers of each: what is said arrives, whole and streamed, and
//! what cannot be said is told.

use std::collections::BTreeMap;

use loadtest::provider::{
    Config, Fault, Handle, Provider, Script, ToolCall, UsageCounts, UsageScript,
};
use serde_json::{Value, json};
use tests::http::Answer;
use tests::{FakeModel, Gateway, Setup};

const OPEN: FakeModel = FakeModel { id: "fake/open", ability: 0.0, input: 1_000, output: 2_000 };
const CLAUDE: FakeModel =
    FakeModel { id: "fake/claude", ability: 0.0, input: 1_000, output: 2_000 };
const CODEX: FakeModel = FakeModel { id: "fake/codex", ability: 0.0, input: 1_000, output: 2_000 };

const GEMINI: FakeModel =
    FakeModel { id: "fake/gemini", ability: 0.0, input: 1_000, output: 2_000 };

const PROVIDERS: [(&str, FakeModel); 4] = [
    ("openai-chat", OPEN),
    ("anthropic-messages", CLAUDE),
    ("openai-responses", CODEX),
    ("gemini-generate", GEMINI),
];

fn start(script: &Script) -> (Gateway, Vec<Handle>) {
    let mut setup = Setup::new();
    let mut handles = Vec::new();
    for (dialect, model) in PROVIDERS {
        let models = BTreeMap::from([(model.id.to_owned(), script.clone())]);
        let config = Config { models, record: 64, ..Config::default() };
        let provider = Provider::start(config).expect("a provider");
        setup = setup.provider_in(dialect, dialect, &provider, &[model]);
        handles.push(provider);
    }
    (setup.start(), handles)
}

fn post(gateway: &Gateway, path: &str, fields: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{fields}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = gateway.connect();
    connection.send(&[head.as_bytes(), body.as_bytes()].concat());
    connection.answer()
}

fn openai(gateway: &Gateway, body: &Value) -> Answer {
    let key = format!("Authorization: Bearer {}\r\n", gateway.key());
    post(gateway, "/v1/chat/completions", &key, body)
}

fn anthropic(gateway: &Gateway, body: &Value) -> Answer {
    let fields = format!("x-api-key: {}\r\nanthropic-version: 2023-06-01\r\n", gateway.key());
    post(gateway, "/v1/messages?beta=true", &fields, body)
}

/// The data of all events of a stream that are JSON, and whether the end mark was there.
fn events(answer: &Answer) -> (Vec<Value>, bool) {
    assert_eq!(
        answer.field("content-type"),
        Some("text/event-stream; charset=utf-8"),
        "{answer:?}"
    );
    let text = answer.text().replace("\r\n", "\n");
    let data: Vec<&str> =
        text.split("\n\n").filter_map(|e| e.split("data: ").nth(1)).map(str::trim).collect();
    let ends = text.ends_with("data: [DONE]\n\n") || text.contains("event: message_stop");
    (data.iter().filter_map(|data| serde_json::from_str(data).ok()).collect(), ends)
}

/// What a client of either dialect has in the end, however it came.
#[derive(Debug, Default, PartialEq)]
struct Got {
    text: String,
    reasoning: String,
    calls: Vec<(String, String)>,
    finish: String,
    input: u64,
    cached: u64,
    output: u64,
}

fn got_openai(answer: &Answer, streamed: bool) -> Got {
    let mut got = Got::default();
    let mut add = |holder: &Value, finish: &Value| {
        got.text += holder["content"].as_str().unwrap_or_default();
        got.reasoning += holder["reasoning_content"].as_str().unwrap_or_default();
        for call in holder["tool_calls"].as_array().into_iter().flatten() {
            let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
            match call["function"]["name"].as_str() {
                Some(name) => got.calls.push((name.to_owned(), arguments.to_owned())),
                None => got.calls[call["index"].as_u64().unwrap() as usize].1 += arguments,
            }
        }
        got.finish += finish.as_str().unwrap_or_default();
    };
    let usage = if streamed {
        let (chunks, ends) = events(answer);
        assert!(ends, "{answer:?}");
        for chunk in &chunks {
            let choice = &chunk["choices"][0];
            add(&choice["delta"], &choice["finish_reason"]);
        }
        chunks.last().unwrap()["usage"].clone()
    } else {
        let body = answer.json();
        let choice = &body["choices"][0];
        add(&choice["message"], &choice["finish_reason"]);
        body["usage"].clone()
    };
    got.input = usage["prompt_tokens"].as_u64().unwrap_or_default();
    got.cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or_default();
    got.output = usage["completion_tokens"].as_u64().unwrap_or_default();
    got
}

fn got_anthropic(answer: &Answer, streamed: bool) -> Got {
    let mut got = Got::default();
    let mut usage = Value::Null;
    if streamed {
        let (events, ends) = events(answer);
        assert!(ends, "{answer:?}");
        assert_eq!(events[0]["type"], "message_start");
        let mut open: Option<u64> = None;
        let mut next = 0;
        for event in &events {
            match event["type"].as_str().unwrap() {
                "content_block_start" => {
                    assert_eq!(open, None, "one block at a time: {answer:?}");
                    assert_eq!(event["index"], next, "without a gap");
                    open = Some(next);
                    let block = &event["content_block"];
                    if let Some(name) = block["name"].as_str() {
                        got.calls.push((name.to_owned(), String::new()));
                    }
                }
                "content_block_delta" => {
                    assert_eq!(event["index"].as_u64(), open);
                    let delta = &event["delta"];
                    got.text += delta["text"].as_str().unwrap_or_default();
                    got.reasoning += delta["thinking"].as_str().unwrap_or_default();
                    if let Some(piece) = delta["partial_json"].as_str() {
                        got.calls.last_mut().unwrap().1 += piece;
                    }
                }
                "content_block_stop" => {
                    assert_eq!(event["index"].as_u64(), open.take());
                    next += 1;
                }
                "message_delta" => {
                    got.finish += event["delta"]["stop_reason"].as_str().unwrap();
                    usage = event["usage"].clone();
                }
                _ => {}
            }
        }
    } else {
        let body = answer.json();
        for block in body["content"].as_array().unwrap() {
            got.text += block["text"].as_str().unwrap_or_default();
            got.reasoning += block["thinking"].as_str().unwrap_or_default();
            if let Some(name) = block["name"].as_str() {
                got.calls.push((name.to_owned(), block["input"].to_string()));
            }
        }
        got.finish += body["stop_reason"].as_str().unwrap();
        usage = body["usage"].clone();
    }
    let count = |name: &str| usage[name].as_u64().unwrap_or_default();
    got.cached = count("cache_read_input_tokens");
    got.input = count("input_tokens") + got.cached + count("cache_creation_input_tokens");
    got.output = count("output_tokens");
    got
}

/// Every client before every provider, whole and streamed, however the stream is cut: text, reasoning,
/// parallel calls, the reason of the end, and the counts.
#[test]
fn every_pair_says_the_same() {
    let call = |name: &str, arguments: &str, fragments| ToolCall {
        name: name.into(),
        arguments: arguments.into(),
        fragments,
    };
    let counts =
        UsageCounts { prompt: 100, completion: 40, cached: 30, cache_write: 20, reasoning: 7 };
    for (split, crlf) in [(0, false), (1, false), (7, true)] {
        let script = Script {
            text: Some("Grüße, \"Welt\"\n👋 und mehr".to_owned()),
            chunk_bytes: 5,
            reasoning_chunks: 2,
            tool_calls: vec![
                call("weather", r#"{"city":"Zürich","days":[1,2]}"#, 4),
                call("time", "{}", 1),
            ],
            usage: UsageScript::Exact(counts),
            split,
            crlf,
            comments: crlf,
            ..Script::default()
        };
        let (gateway, _providers) = start(&script);
        let mut seen: Option<Got> = None;
        for (dialect, model) in PROVIDERS {
            for streamed in [false, true] {
                let question = json!([{"role": "user", "content": "Hello"}]);
                let answer = openai(
                    &gateway,
                    &json!({
                        "model": model.id, "messages": question, "stream": streamed,
                        "stream_options": {"include_usage": true},
                    }),
                );
                assert_eq!(answer.status, 200, "{answer:?}");
                let mut got = got_openai(&answer, streamed);
                assert_eq!(got.finish, "tool_calls", "{dialect} {streamed}");
                got.finish.clear();
                let first = seen.get_or_insert_with(|| Got {
                    text: got.text.clone(),
                    reasoning: got.reasoning.clone(),
                    calls: got.calls.clone(),
                    finish: String::new(),
                    input: 100,
                    cached: 30,
                    output: 40,
                });
                assert_eq!(first.text, "Grüße, \"Welt\"\n👋 und mehr");
                assert_eq!(first.calls[0].1, r#"{"city":"Zürich","days":[1,2]}"#);
                assert_eq!(&got, first, "OpenAI client, {dialect}, streamed {streamed}");

                let answer = anthropic(
                    &gateway,
                    &json!({
                        "model": model.id, "messages": question, "stream": streamed, "max_tokens": 100,
                    }),
                );
                assert_eq!(answer.status, 200, "{answer:?}");
                assert!(answer.field("request-id").is_some());
                let mut got = got_anthropic(&answer, streamed);
                assert_eq!(got.finish, "tool_use", "{dialect} {streamed}");
                got.finish.clear();
                assert_eq!(&got, first, "Anthropic client, {dialect}, streamed {streamed}");
            }
        }
        gateway.until("the journal is folded", |gateway| {
            gateway.usage("model")["total"]["calls"].as_u64() == Some(4 * PROVIDERS.len() as u64)
        });
    }
}

/// Thinking that Anthropic signed travels through an OpenAI client inside of a call's id, comes back byte
/// for byte, and goes to nobody else.
#[test]
fn signed_thinking_comes_back_through_an_openai_client() {
    let look = ToolCall { name: "look".into(), arguments: "{}".into(), fragments: 1 };
    let script = Script { reasoning_chunks: 2, tool_calls: vec![look], ..Script::default() };
    let (gateway, providers) = start(&script);
    for streamed in [false, true] {
        let question = json!({"role": "user", "content": "Look"});
        let body = json!({"model": CLAUDE.id, "messages": [question], "stream": streamed});
        let answer = openai(&gateway, &body);
        let id = if streamed {
            let (chunks, _) = events(&answer);
            let ids =
                chunks.iter().map(|c| c["choices"][0]["delta"]["tool_calls"][0]["id"].clone());
            ids.into_iter().find(Value::is_string).expect("a call")
        } else {
            answer.json()["choices"][0]["message"]["tool_calls"][0]["id"].clone()
        };
        for model in [CLAUDE, OPEN] {
            let call = json!({"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}});
            let answer = openai(
                &gateway,
                &json!({"model": model.id, "messages": [
                    question,
                    {"role": "assistant", "content": null, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": id, "content": "seen"},
                ]}),
            );
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let sent: Value =
            serde_json::from_slice(&providers[1].recorded().last().unwrap().body).unwrap();
        let blocks = sent["messages"][1]["content"].as_array().unwrap();
        assert_eq!(blocks[0]["type"], "thinking", "{sent}");
        assert_eq!(blocks[0]["signature"], "EqQBCkYICxgCKkBmYWtl+/=");
        assert!(blocks[0]["thinking"].as_str().unwrap().len() > 20);
        assert_eq!(blocks[1]["id"], sent["messages"][2]["content"][0]["tool_use_id"]);
        let elsewhere =
            String::from_utf8(providers[0].recorded().last().unwrap().body.clone()).unwrap();
        assert!(!elsewhere.contains("_pmst1_") && elsewhere.contains("toolu_"), "{elsewhere}");
    }
}

/// In one dialect a body passes as it came, with the fields of its head that the provider wants.
#[test]
fn anthropic_to_anthropic_passes_byte_for_byte() {
    let (gateway, providers) = start(&Script::default());
    let body = r#"{ "model":"fake/claude","max_tokens":5, "context_management":{"edits":[1.50]},
        "messages":[{"role":"user","content":[{"type":"text","text":"\u00e9","cache_control":{"type":"ephemeral"}}]}] }"#;
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nanthropic-version: 2026-10-21\r\n\
         anthropic-beta: a-1,b-2\r\nanthropic-beta: c-3\r\nUser-Agent: claude-cli/2\r\nX-Stainless-Lang: js\r\n\
         Cookie: secret\r\nContent-Length: {}\r\n\r\n",
        gateway.key(),
        body.len()
    );
    let mut connection = gateway.connect();
    connection.send(&[head.as_bytes(), body.as_bytes()].concat());
    let answer = connection.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["id"], "msg_fake_1", "the answer passes as it is");
    let recorded = providers[1].recorded();
    assert_eq!(String::from_utf8_lossy(&recorded[0].body), body);
    let head = String::from_utf8_lossy(&recorded[0].head).to_lowercase();
    for line in [
        "anthropic-version: 2026-10-21",
        "anthropic-beta: a-1,b-2",
        "anthropic-beta: c-3",
        "user-agent: claude-cli/2",
        "x-stainless-lang: js",
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{line}: {head}");
    }
    assert!(!head.contains("cookie") && !head.contains(gateway.key()), "{head}");
}

#[test]
fn what_is_lost_is_told_and_what_cannot_be_lost_is_refused() {
    let (gateway, _providers) = start(&Script::default());
    let body = json!({"model": CLAUDE.id, "messages": [{"role": "user", "content": "x"}],
        "seed": 1, "some_new_field": true});
    let answer = openai(&gateway, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.field("x-pointsman-dropped"), Some("some_new_field, seed"));
    let several =
        json!({"model": CLAUDE.id, "n": 2, "messages": [{"role": "user", "content": "x"}]});
    let answer = openai(&gateway, &several);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json()["error"]["param"], "n", "{answer:?}");
    let unknown = json!({"model": OPEN.id, "max_tokens": 5,
        "messages": [{"role": "user", "content": [{"type": "hologram"}]}]});
    let answer = anthropic(&gateway, &unknown);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json()["error"]["details"]["field"], "messages[0].content[0].type");
}

/// Refusals have the client's form, on every path that its SDK asks.
#[test]
fn anthropic_clients_are_refused_in_their_own_form() {
    let (gateway, _providers) = start(&Script::default());
    let question = json!([{"role": "user", "content": "x"}]);
    let body = json!({"model": "nobody", "max_tokens": 5, "messages": question});
    let answer = anthropic(&gateway, &body);
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (404, &json!("not_found_error")));
    let body = json!({"model": OPEN.id, "max_tokens": 5, "messages": question});
    let answer = post(&gateway, "/v1/messages", "x-api-key: wrong\r\n", &body);
    let error = answer.json();
    assert_eq!((answer.status, &error["error"]["type"]), (401, &json!("authentication_error")));
    assert_eq!(error["type"], "error");
    let thread = json!({"model": OPEN.id, "max_tokens": 5, "messages": question, "thread": {"type": "create"}});
    let answer = anthropic(&gateway, &thread);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["details"]["error_code"], "thread_unsupported_request");
}

/// A fault before the first content is seen by nobody, whichever dialect the next provider speaks; one
/// after it is an event of the client's own dialect, and never an end.
#[test]
fn faults_are_the_same_in_translation() {
    for (dialect, model) in PROVIDERS {
        let cut = Script { fault: Some(Fault::Cut), after: 4, ..Script::default() };
        let provider = Provider::start(Config { script: cut, ..Config::default() }).unwrap();
        let down = Script { status: 503, ..Script::default() };
        let broken = Provider::start(Config { script: down, ..Config::default() }).unwrap();
        let sound = Provider::start(Config::default()).unwrap();
        let other = PROVIDERS.iter().find(|(other, _)| *other != dialect).unwrap();
        let offers = "[[model]]\nid = \"fake/both\"\ncontext = 128000\nmax_output = 16384\ncan = [\"streaming\"]\n\
             [[model.offers]]\nprovider = \"broken\"\nwire_id = \"b\"\nprice = { input = 1, output = 1 }\n\
             [[model.offers]]\nprovider = \"sound\"\nwire_id = \"s\"\nprice = { input = 2, output = 2 }\n";
        let gateway = Setup::new()
            .provider_in(dialect, "cut", &provider, &[model])
            .provider_in(other.0, "broken", &broken, &[])
            .provider_in(dialect, "sound", &sound, &[])
            .config_after(offers)
            .start();
        let body = |model: &str| {
            json!({"model": model, "max_tokens": 50, "stream": true,
                "messages": [{"role": "user", "content": "x"}]})
        };
        let answer = anthropic(&gateway, &body(model.id));
        let (events, ends) = events(&answer);
        assert!(!ends, "{answer:?}");
        assert_eq!(events.last().unwrap()["type"], "error", "{answer:?}");
        let answer = openai(&gateway, &body(model.id));
        let (chunks, ends) = self::events(&answer);
        assert!(!ends && chunks.last().unwrap()["error"].is_object(), "{answer:?}");
        for answer in
            [openai(&gateway, &body("fake/both")), anthropic(&gateway, &body("fake/both"))]
        {
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.field("x-pointsman-provider"), Some("sound"), "{answer:?}");
        }
    }
}

#[test]
fn models_and_counts_have_the_clients_form() {
    let (gateway, _providers) = start(&Script::default());
    let get = |path: &str, fields: &str| {
        let mut connection = gateway.connect();
        let key = gateway.key();
        connection.send(
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\n{fields}\r\n")
                .as_bytes(),
        );
        connection.answer()
    };
    let version = "anthropic-version: 2023-06-01\r\n";
    let list = get("/v1/models?limit=1000", version).json();
    assert_eq!((&list["has_more"], &list["first_id"]), (&json!(false), &list["data"][0]["id"]));
    let rows = list["data"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["id"] == "claude-auto" && row["type"] == "model"), "{list}");
    let claude = rows.iter().find(|row| row["id"] == CLAUDE.id).expect("it is listed");
    assert_eq!((&claude["max_tokens"], &claude["lifecycle"]), (&json!(16384), &json!("active")));
    assert_eq!(get("/v1/models/fake/claude", version).json()["type"], "model");
    assert_eq!(get("/v1/models", "").json()["object"], "list");
    let body = json!({"model": CLAUDE.id, "messages": [{"role": "user", "content": "four words are here"}]});
    let fields = format!("x-api-key: {}\r\n{version}", gateway.key());
    let answer = post(&gateway, "/v1/messages/count_tokens?beta=true", &fields, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!((5..20).contains(&answer.json()["input_tokens"].as_u64().unwrap()), "{answer:?}");
}

//! Clients of OpenAI responses before providers of every dialect, and a body on its way to one that
//! speaks responses itself.

use std::collections::BTreeMap;
use std::process::Command;

use loadtest::provider::{
    Config, Fault, Handle, Provider, Script, ToolCall, UsageCounts, UsageScript,
};
use serde_json::{Value, json};
use tests::http::Answer;
use tests::{FakeModel, Gateway, Setup, python, repository};

const fn model(id: &'static str) -> FakeModel {
    FakeModel { id, ability: 0.0, input: 1_000, output: 2_000 }
}

const PROVIDERS: [(&str, FakeModel); 4] = [
    ("openai-chat", model("fake/open")),
    ("anthropic-messages", model("fake/claude")),
    ("openai-responses", model("fake/codex")),
    ("gemini-generate", model("fake/gemini")),
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

fn post(gateway: &Gateway, path: &str, body: &str) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        gateway.key(),
        body.len()
    );
    let mut connection = gateway.connect();
    connection.send(&[head.as_bytes(), body.as_bytes()].concat());
    connection.answer()
}

fn ask(gateway: &Gateway, body: &Value) -> Answer {
    post(gateway, "/v1/responses", &body.to_string())
}

/// The data of all events, whose names and numbers are right.
fn events(answer: &Answer) -> Vec<Value> {
    let kind = answer.field("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/event-stream"), "{answer:?}");
    let text = answer.text().replace("\r\n", "\n");
    let events = text.split("\n\n").filter(|event| event.contains("data:"));
    let read = |event: &str| {
        let event: Vec<&str> = event.lines().filter(|line| !line.starts_with(':')).collect();
        let data = event[1].strip_prefix("data: ").expect("data");
        let data: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(event[0].strip_prefix("event: "), data["type"].as_str());
        data
    };
    let events: Vec<Value> = events.map(read).collect();
    assert_eq!(events[0]["type"], "response.created");
    assert_eq!(events[1]["type"], "response.in_progress");
    events
}

/// What a client has in the end: by the pieces of a stream, or by the response.
#[derive(Debug, Default, PartialEq)]
struct Got {
    text: String,
    reasoning: String,
    calls: Vec<(String, String)>,
    status: String,
    usage: Value,
}

fn got_whole(response: &Value) -> Got {
    let mut got = Got::default();
    for item in response["output"].as_array().expect("items") {
        match item["type"].as_str() {
            Some("message") => got.text += item["content"][0]["text"].as_str().expect("text"),
            Some("reasoning") => {
                got.reasoning += item["summary"][0]["text"].as_str().unwrap_or_default();
            }
            _ => got.calls.push((
                item["name"].as_str().expect("a name").to_owned(),
                item["arguments"].as_str().expect("arguments").to_owned(),
            )),
        }
    }
    got.status = response["status"].as_str().expect("a status").to_owned();
    got.usage = response["usage"].clone();
    got
}

fn got_streamed(events: &[Value]) -> Got {
    let mut got = Got::default();
    let mut calls: BTreeMap<u64, (String, String)> = BTreeMap::new();
    for event in events {
        let delta = event["delta"].as_str().unwrap_or_default();
        let index = event["output_index"].as_u64().unwrap_or_default();
        match event["type"].as_str().unwrap_or_default() {
            "response.output_text.delta" => got.text += delta,
            "response.reasoning_summary_text.delta" => got.reasoning += delta,
            "response.output_item.added" if event["item"]["type"] == "function_call" => {
                let name = event["item"]["name"].as_str().expect("a name").to_owned();
                calls.insert(index, (name, String::new()));
            }
            "response.function_call_arguments.delta" => {
                calls.get_mut(&index).expect("a call that began").1 += delta;
            }
            _ => {}
        }
    }
    let end = &events.last().expect("events")["response"];
    got.calls = calls.into_values().collect();
    got.status = end["status"].as_str().unwrap_or_default().to_owned();
    got.usage = end["usage"].clone();
    got
}

/// Whole and streamed, however the stream is cut: text, reasoning, parallel calls and the counts are
/// the same from every provider, by the pieces and by the last event.
#[test]
fn every_provider_says_the_same() {
    let call = |name: &str, arguments: &str, fragments| ToolCall {
        name: name.into(),
        arguments: arguments.into(),
        fragments,
    };
    let counts =
        UsageCounts { prompt: 100, completion: 40, cached: 30, cache_write: 20, reasoning: 7 };
    let mut seen: Option<Got> = None;
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
        for (dialect, model) in PROVIDERS {
            let answer = ask(&gateway, &json!({"model": model.id, "input": "Hello"}));
            assert_eq!(answer.status, 200, "{answer:?}");
            let mut whole = got_whole(&answer.json());
            let answer =
                ask(&gateway, &json!({"model": model.id, "input": "Hello", "stream": true}));
            assert_eq!(answer.status, 200, "{answer:?}");
            let events = events(&answer);
            let streamed = got_streamed(&events);
            assert_eq!(streamed, whole, "{dialect}");
            assert_eq!(got_whole(&events.last().expect("events")["response"]), whole, "{dialect}");
            assert_eq!(whole.text, "Grüße, \"Welt\"\n👋 und mehr", "{dialect}");
            assert_eq!(whole.calls[0].1, r#"{"city":"Zürich","days":[1,2]}"#);
            assert_eq!(whole.calls[1], ("time".to_owned(), "{}".to_owned()));
            // Gemini writes to its cache by itself and counts nothing of it.
            let written = &mut whole.usage["input_tokens_details"]["cache_write_tokens"];
            assert_eq!(*written == 0, dialect == "gemini-generate", "{dialect}");
            *written = json!(20);
            let usage = json!({
                "input_tokens": 100, "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
                "output_tokens": 40, "output_tokens_details": {"reasoning_tokens": 7}, "total_tokens": 140,
            });
            assert_eq!(whole.usage, usage, "{dialect}");
            match &seen {
                Some(first) => assert_eq!(&whole, first, "{dialect}"),
                None => seen = Some(whole),
            }
        }
        gateway.until("the journal is folded", |gateway| {
            gateway.usage("model")["total"]["calls"].as_u64() == Some(2 * PROVIDERS.len() as u64)
        });
    }
}

/// In one dialect a body passes as it came, but for the name of the model, what is kept, and reasoning
/// that the provider could not resolve.
#[test]
fn responses_pass_byte_for_byte() {
    let (gateway, providers) = start(&Script::default());
    let body = r#"{ "model":"fake/codex", "client_metadata":{"a":[1.50]}, "include":["reasoning.encrypted_content"],
        "input":[{"type":"reasoning","id":"rs_1","summary":[]}, {"type":"message","role":"user","content":[{"type":"input_text","text":"\u00e9"}]}],
        "tools":[{"type":"web_search"},{"type":"namespace","name":"n","tools":[]}] }"#;
    let answer = post(&gateway, "/responses", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["id"], "resp_fake_1", "the answer passes as it is");
    assert_eq!(answer.field("x-pointsman-dropped"), None);
    let sent = String::from_utf8(providers[2].recorded()[0].body.clone()).expect("text");
    let expected = body
        .replacen('{', "{\"store\":false,", 1)
        .replace(r#"{"type":"reasoning","id":"rs_1","summary":[]}, "#, "");
    assert_eq!(sent, expected);
}

/// A provider's state comes back to it byte for byte through this client's own fields, and goes to
/// nobody else.
#[test]
fn state_comes_back_to_its_issuer_only() {
    let look = ToolCall { name: "look".into(), arguments: "{}".into(), fragments: 1 };
    let script = Script { reasoning_chunks: 2, tool_calls: vec![look], ..Script::default() };
    let (gateway, providers) = start(&script);
    let question = json!({"role": "user", "content": "Look"});
    for (from, state) in [(1, "EqQBCkYICxgCKkBmYWtl+/="), (2, "gAAAAfake")] {
        let answer = ask(&gateway, &json!({"model": PROVIDERS[from].1.id, "input": [question]}));
        let output = answer.json()["output"].as_array().expect("items").clone();
        for (to, (dialect, model)) in PROVIDERS.iter().enumerate() {
            let mut input = vec![question.clone()];
            input.extend(output.iter().cloned());
            let call = output.iter().find(|item| item["type"] == "function_call").expect("a call");
            input.push(json!({"type": "function_call_output", "call_id": call["call_id"], "output": "seen"}));
            let answer = ask(&gateway, &json!({"model": model.id, "input": input}));
            assert_eq!(answer.status, 200, "{answer:?}");
            let sent = providers[to].recorded().last().expect("a request").body.clone();
            let sent = String::from_utf8(sent).expect("text");
            assert_eq!(sent.contains(state), from == to, "from {from} to {dialect}: {sent}");
            assert!(!sent.contains("pmst1_"), "{sent}");
            let dropped = answer.field("x-pointsman-dropped").unwrap_or_default();
            // What passes in its own dialect is only cut; there is nothing to name it by.
            if to != 2 {
                assert_eq!(dropped.contains("reasoning_state"), from != to, "{dropped}");
            }
        }
    }
}

/// What only OpenAI has is named in a header or refused with its path, in the form of this dialect.
#[test]
fn what_is_lost_is_told_and_what_cannot_be_lost_is_refused() {
    let (gateway, _providers) = start(&Script::default());
    let function = json!({"type": "function", "name": "a", "parameters": {"type": "object"}});
    let answer = ask(
        &gateway,
        &json!({"model": "fake/open", "input": "x", "client_metadata": {"a": "b"},
            "tools": [{"type": "web_search"}, {"type": "namespace", "name": "n", "tools": [function]}]}),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.field("x-pointsman-dropped"), Some("client_metadata, tools.web_search"));
    let rows = [
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"background": true}), "background"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"tool_choice": {"type": "web_search"}}), "tool_choice"),
        (json!({"input": [{"type": "hologram"}]}), "input[0].type"),
        (json!({"input": [{"type": "compaction", "encrypted_content": "x"}]}), "input[0]"),
    ];
    for (more, path) in rows {
        let mut body = json!({"model": "fake/open", "input": "x", "stream": true});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        let answer = ask(&gateway, &body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["error"]["param"], path, "{answer:?}");
    }
    let answer = ask(&gateway, &json!({"model": "nobody", "input": "x"}));
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("model_not_found")));
}

/// A fault after the first content is a failed response, and never an end that did not happen; one
/// before it is seen by nobody.
#[test]
fn a_stream_that_breaks_is_a_failed_response() {
    for (dialect, model) in PROVIDERS {
        // Time between the pieces, so that the first is out before the fault comes.
        let script =
            |fault| Script { fault: Some(fault), after: 4, gap_ms: 20, ..Script::default() };
        for fault in [Fault::Cut, Fault::ErrorEvent, Fault::Eof] {
            let models = BTreeMap::from([(model.id.to_owned(), script(fault))]);
            let cut = Provider::start(Config { models, ..Config::default() }).expect("a provider");
            let down = Script { status: 503, ..Script::default() };
            let down = Provider::start(Config { script: down, ..Config::default() });
            let down = down.expect("a provider");
            let sound = Provider::start(Config::default()).expect("a provider");
            let offers = "[[model]]\nid = \"fake/both\"\ncontext = 128000\nmax_output = 16384\ncan = [\"streaming\"]\n\
                 [[model.offers]]\nprovider = \"down\"\nwire_id = \"b\"\nprice = { input = 1, output = 1 }\n\
                 [[model.offers]]\nprovider = \"sound\"\nwire_id = \"s\"\nprice = { input = 2, output = 2 }\n";
            let gateway = Setup::new()
                .provider_in(dialect, "cut", &cut, &[model])
                .provider_in("openai-responses", "down", &down, &[])
                .provider_in(dialect, "sound", &sound, &[])
                .config_after(offers)
                .start();
            let answer = ask(&gateway, &json!({"model": model.id, "input": "x", "stream": true}));
            assert_eq!(answer.status, 200, "{dialect} {fault:?} {answer:?}");
            let events = events(&answer);
            let end = events.last().expect("events");
            assert_eq!(end["type"], "response.failed", "{dialect} {fault:?}: {answer:?}");
            let code = end["response"]["error"]["code"].as_str().unwrap_or_default();
            assert!(code.starts_with("upstream_"), "{end}");
            let number = |event: &Value| event["sequence_number"].as_u64();
            let (last, before) = events.split_last().expect("events");
            assert!(
                before.iter().all(|event| number(event) < number(last)),
                "{dialect} {events:?}"
            );
            let answer =
                ask(&gateway, &json!({"model": "fake/both", "input": "x", "stream": true}));
            assert_eq!(answer.field("x-pointsman-provider"), Some("sound"), "{answer:?}");
            assert_eq!(got_streamed(&self::events(&answer)).status, "completed");
        }
    }
}

/// One row per reason that a provider gives for its end.
#[test]
fn the_end_says_why() {
    let rows = [
        ("openai-chat", "length", "incomplete", "max_output_tokens"),
        ("openai-chat", "content_filter", "incomplete", "content_filter"),
        ("anthropic-messages", "max_tokens", "incomplete", "max_output_tokens"),
        ("openai-responses", "length", "incomplete", "max_output_tokens"),
    ];
    for (dialect, finish, status, reason) in rows {
        let script = Script { finish: Some(finish.to_owned()), ..Script::default() };
        let provider = Provider::start(Config { script, ..Config::default() }).expect("a provider");
        let gateway =
            Setup::new().provider_in(dialect, "p", &provider, &[model("fake/short")]).start();
        for stream in [false, true] {
            let answer =
                ask(&gateway, &json!({"model": "fake/short", "input": "x", "stream": stream}));
            let response = match stream {
                true => events(&answer).last().expect("events")["response"].clone(),
                false => answer.json(),
            };
            assert_eq!(response["status"], status, "{dialect} {finish}: {response}");
            assert_eq!(response["incomplete_details"]["reason"], reason);
        }
    }
}

/// The responses of the OpenAI SDK, before providers of every dialect.
#[test]
fn the_openai_sdk_finds_what_it_expects() {
    let Some(python) = python() else {
        eprintln!("LEFT OUT: no Python SDKs here; ./tools/test installs them and runs this test");
        return;
    };
    let weather = ToolCall {
        name: "weather".into(),
        arguments: r#"{"city":"Bern","unit":"celsius"}"#.into(),
        fragments: 5,
    };
    let signal = r#"{"name":"north","is_green":true}"#.to_owned();
    let scripts = |lab: &str| {
        let caller = Script {
            chunks: 0,
            reasoning_chunks: 2,
            tool_calls: vec![weather.clone()],
            ..Script::default()
        };
        let rows = [
            ("small", Script::default()),
            ("thinker", Script { reasoning_chunks: 2, ..Script::default() }),
            ("caller", caller),
            ("echo", Script { echo: true, ..Script::default() }),
            ("signal", Script { text: Some(signal.clone()), ..Script::default() }),
            ("cut", Script { fault: Some(Fault::Cut), after: 4, gap_ms: 20, ..Script::default() }),
        ];
        rows.into_iter().map(|(name, script)| (format!("{lab}/{name}"), script)).collect()
    };
    let labs = [
        (
            "openai-chat",
            "open",
            ["open/small", "open/thinker", "open/caller", "open/echo", "open/signal", "open/cut"],
        ),
        (
            "anthropic-messages",
            "claude",
            [
                "claude/small",
                "claude/thinker",
                "claude/caller",
                "claude/echo",
                "claude/signal",
                "claude/cut",
            ],
        ),
        (
            "openai-responses",
            "codex",
            [
                "codex/small",
                "codex/thinker",
                "codex/caller",
                "codex/echo",
                "codex/signal",
                "codex/cut",
            ],
        ),
    ];
    let mut setup = Setup::new();
    let mut handles = Vec::new();
    for (dialect, lab, ids) in labs {
        let config = Config { models: scripts(lab), ..Config::default() };
        let provider = Provider::start(config).expect("a provider");
        // `auto` is to choose a model that answers in words.
        let able = |id: &'static str| FakeModel {
            ability: if id.ends_with("small") { 1.0 } else { -2.0 },
            ..model(id)
        };
        setup = setup.provider_in(dialect, lab, &provider, &ids.map(able));
        handles.push(provider);
    }
    let gateway = setup.start();
    let output = Command::new(python)
        .arg(repository().join("tests/python/openai_responses.py"))
        .args(labs.map(|(_, lab, _)| lab))
        .env("OPENAI_BASE_URL", gateway.base_url())
        .env("OPENAI_API_KEY", gateway.key())
        .output()
        .expect("python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(said.trim_end().ends_with("all good"), "{said}\n{complaints}");
}

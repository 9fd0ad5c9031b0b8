//! Clients of Gemini before providers of every dialect, and clients of the others before a provider
//! that speaks Gemini.

use std::collections::BTreeMap;
use std::process::Command;

use loadtest::provider::{
    Config, Fault, Handle, Provider, Script, ToolCall, UsageCounts, UsageScript,
};
use serde_json::{Value, json};
use tests::http::Answer;
use tests::{FakeModel, Gateway, Setup, python, repository};

const PROVIDERS: [(&str, FakeModel); 4] = [
    ("openai-chat", model("fake/open")),
    ("anthropic-messages", model("fake/claude")),
    ("gemini-generate", model("fake/gemini")),
    ("openai-responses", model("fake/responses")),
];
const GEMINI: &str = "fake/gemini";

const fn model(id: &'static str) -> FakeModel {
    FakeModel { id, ability: 0.0, input: 1_000, output: 2_000 }
}

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

fn post(gateway: &Gateway, path: &str, fields: &str, body: &str) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{fields}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = gateway.connect();
    connection.send(&[head.as_bytes(), body.as_bytes()].concat());
    connection.answer()
}

fn gemini(gateway: &Gateway, model: &str, verb: &str, body: &Value) -> Answer {
    let key = format!("x-goog-api-key: {}\r\n", gateway.key());
    post(gateway, &format!("/v1beta/models/{model}:{verb}"), &key, &body.to_string())
}

fn other(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    post(gateway, path, &format!("x-api-key: {}\r\n", gateway.key()), &body.to_string())
}

const STREAM: &str = "streamGenerateContent?alt=sse";

fn question() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": true}}})
}

/// The data of all events of a stream.
fn events(answer: &Answer) -> Vec<Value> {
    let kind = answer.field("content-type");
    assert_eq!(kind, Some("text/event-stream; charset=utf-8"), "{answer:?}");
    let text = answer.text();
    let datas = text.split("data: ").skip(1).map(str::trim_end);
    datas.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

/// What a client of Gemini has in the end, however it came.
#[derive(Debug, Default, PartialEq)]
struct Got {
    text: String,
    thoughts: String,
    calls: Vec<(String, Value)>,
    finish: Vec<String>,
    /// All input, cached input, output without thoughts, thoughts.
    counts: [u64; 4],
}

fn got(pieces: &[Value]) -> Got {
    let mut got = Got::default();
    for piece in pieces {
        let candidate = &piece["candidates"][0];
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            let text = part["text"].as_str().unwrap_or_default();
            let holder = if part["thought"] == true { &mut got.thoughts } else { &mut got.text };
            holder.push_str(text);
            if let Some(name) = part["functionCall"]["name"].as_str() {
                got.calls.push((name.to_owned(), part["functionCall"]["args"].clone()));
            }
        }
        got.finish.extend(candidate["finishReason"].as_str().map(str::to_owned));
        let usage = &piece["usageMetadata"];
        let names = [
            "promptTokenCount",
            "cachedContentTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
        ];
        if usage.is_object() {
            got.counts = names.map(|name| usage[name].as_u64().unwrap_or_default());
        }
    }
    got
}

fn call(name: &str, arguments: &str) -> ToolCall {
    ToolCall { name: name.into(), arguments: arguments.into(), fragments: 3 }
}

/// Every provider, whole, streamed and as an array, however the stream is cut: text, thoughts, calls,
/// the reason of the end, and the counts.
#[test]
fn every_provider_answers_a_gemini_client_alike() {
    let counts =
        UsageCounts { prompt: 100, completion: 40, cached: 30, cache_write: 0, reasoning: 7 };
    for (split, crlf) in [(0, false), (1, false), (7, true)] {
        let script = Script {
            text: Some("Grüße, \"Welt\"\n👋 und mehr".to_owned()),
            chunk_bytes: 5,
            reasoning_chunks: 2,
            tool_calls: vec![
                call("weather", r#"{"city":"Zürich","days":[1,2]}"#),
                call("time", "{}"),
            ],
            usage: UsageScript::Exact(counts),
            split,
            crlf,
            ..Script::default()
        };
        let (gateway, _providers) = start(&script);
        let mut seen: Option<Got> = None;
        for (dialect, model) in PROVIDERS {
            let whole = gemini(&gateway, model.id, "generateContent", &question());
            assert_eq!(whole.status, 200, "{whole:?}");
            let events = events(&gemini(&gateway, model.id, STREAM, &question()));
            let array = gemini(&gateway, model.id, "streamGenerateContent", &question());
            assert_eq!(array.field("content-type"), Some("application/json; charset=utf-8"));
            let array = array.json().as_array().expect("an array").clone();
            for pieces in [vec![whole.json()], events, array] {
                let got = got(&pieces);
                let first = seen.get_or_insert_with(|| Got {
                    text: "Grüße, \"Welt\"\n👋 und mehr".to_owned(),
                    thoughts: got.thoughts.clone(),
                    calls: vec![
                        ("weather".to_owned(), json!({"city": "Zürich", "days": [1, 2]})),
                        ("time".to_owned(), json!({})),
                    ],
                    finish: vec!["STOP".to_owned()],
                    counts: [100, 30, 33, 7],
                });
                assert!(!first.thoughts.is_empty());
                assert_eq!(&got, first, "{dialect}");
            }
        }
        gateway.until("the journal is folded", |gateway| {
            gateway.usage("model")["total"]["calls"].as_u64() == Some(12)
        });
    }
}

/// In one dialect a body passes as it came, and so does the answer; the model goes into the path.
#[test]
fn gemini_to_gemini_passes_byte_for_byte() {
    let (gateway, providers) = start(&Script::default());
    let body = r#"{ "contents":[{"parts":[{"text":"\u00e9"}]}], "safety_settings":[{"threshold" : "OFF"}], "x":1.50 }"#;
    let key = format!("x-goog-api-key: {}\r\n", gateway.key());
    let path = format!("/v1beta/models/{GEMINI}");
    let answer = post(&gateway, &format!("{path}:generateContent"), &key, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["responseId"], "fake1", "the answer passes as it is");
    let answer = post(&gateway, &format!("{path}:{STREAM}"), &key, body);
    assert!(events(&answer).iter().all(|event| event["responseId"] == "fake2"), "{answer:?}");
    let recorded = providers[2].recorded();
    for (request, verb) in recorded.iter().zip(["generateContent", STREAM]) {
        assert_eq!(String::from_utf8_lossy(&request.body), body);
        let head = String::from_utf8_lossy(&request.head);
        assert!(
            head.starts_with(&format!("POST /v1/models/{GEMINI}:{verb} HTTP/1.1\r\n")),
            "{head}"
        );
        assert!(!head.contains(gateway.key()), "{head}");
    }
}

/// A signature of Google's comes back through a client of each dialect, byte for byte.
#[test]
fn signatures_come_back_through_every_client() {
    let look = Script { tool_calls: vec![call("look", r#"{"at":1}"#)], ..Script::default() };
    let (gateway, providers) = start(&look);
    let signature = |request: usize| format!("c2ln{request:04}+/8=");
    let sent = || -> Value {
        serde_json::from_slice(&providers[2].recorded().last().unwrap().body).unwrap()
    };
    let signatures = |body: &Value| -> Vec<Value> {
        let parts = body["contents"].as_array().unwrap().iter().flat_map(|c| c["parts"].as_array());
        parts.flatten().filter_map(|part| part.get("thoughtSignature").cloned()).collect()
    };

    let asked = json!({"role": "user", "content": "Look"});
    let body = json!({"model": GEMINI, "messages": [asked]});
    let answer = other(&gateway, "/v1/chat/completions", &body).json();
    let message = &answer["choices"][0]["message"];
    let id = &message["tool_calls"][0]["id"];
    let result = json!({"role": "tool", "tool_call_id": id, "content": "seen"});
    let body = json!({"model": GEMINI, "messages": [asked, message, result]});
    assert_eq!(other(&gateway, "/v1/chat/completions", &body).status, 200);
    assert_eq!(signatures(&sent()), [signature(1)]);
    assert!(!sent().to_string().contains("gemcall"), "{}", sent());

    let body = json!({"model": GEMINI, "messages": [asked], "max_tokens": 99});
    let answer = other(&gateway, "/v1/messages", &body).json();
    let id = &answer["content"].as_array().unwrap().last().unwrap()["id"];
    let result = json!({"type": "tool_result", "tool_use_id": id, "content": "seen"});
    let body = json!({"model": GEMINI, "max_tokens": 99, "messages": [asked,
        {"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [result]}]});
    let answer = other(&gateway, "/v1/messages", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(signatures(&sent()), [signature(3)]);

    let answer = gemini(&gateway, GEMINI, "generateContent", &question()).json();
    let content = &answer["candidates"][0]["content"];
    let result = json!({"functionResponse": {"name": "look", "response": {"result": "seen"}}});
    let body = json!({"contents": [question()["contents"][0], content, {"role": "user", "parts": [result]}]});
    assert_eq!(gemini(&gateway, GEMINI, "generateContent", &body).status, 200);
    assert_eq!(signatures(&sent()), [signature(5)]);
    // The same history before another provider: Google's signature stays behind.
    let answer = gemini(&gateway, "fake/open", "generateContent", &body);
    assert_eq!(answer.field("x-pointsman-dropped"), Some("reasoning_state"), "{answer:?}");
}

/// The key may stand where Google's clients put it, and nowhere is it shown.
#[test]
fn a_key_is_taken_from_the_header_or_the_query() {
    let (gateway, _providers) = start(&Script::default());
    let body = question().to_string();
    let path = "/v1beta/models/auto:generateContent";
    let key = gateway.key().to_owned();
    let rows = [
        (path.to_owned(), format!("x-goog-api-key: {key}\r\n"), 200),
        (path.to_owned(), format!("Authorization: Bearer {key}\r\n"), 200),
        (format!("{path}?key={key}"), String::new(), 200),
        (format!("{path}?alt=json&key={key}&x=1"), String::new(), 200),
        (format!("{path}?key=pm-wrong"), String::new(), 401),
        (path.to_owned(), String::new(), 401),
        (format!("{path}?key={key}"), "x-goog-api-key: pm-wrong\r\n".to_owned(), 401),
        (format!("/v1/models/auto:generateContent?key={key}"), String::new(), 200),
    ];
    for (path, fields, status) in rows {
        let answer = post(&gateway, &path, &fields, &body);
        assert_eq!(answer.status, status, "{path} {fields} {answer:?}");
        if status == 401 {
            assert_eq!(answer.json()["error"]["status"], "UNAUTHENTICATED");
        }
    }
    // In the other dialects a query opens nothing.
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "x"}]}).to_string();
    let answer = post(&gateway, &format!("/v1/chat/completions?key={key}"), "", &body);
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(!gateway.log().contains(&key), "a key is in the log");
}

#[test]
fn refusals_and_lists_have_googles_form() {
    let (gateway, _providers) = start(&Script::default());
    let rows = [
        ("nobody", question(), 404, "NOT_FOUND"),
        ("fake/open", json!({"contents": []}), 400, "INVALID_ARGUMENT"),
        (
            "fake/open",
            json!({"contents": [{"parts": [{"text": "x"}]}], "cachedContent": "cachedContents/1"}),
            400,
            "INVALID_ARGUMENT",
        ),
    ];
    for (model, body, code, status) in rows {
        let answer = gemini(&gateway, model, "generateContent", &body);
        let error = answer.json();
        assert_eq!(answer.status, code, "{answer:?}");
        assert_eq!(
            (&error["error"]["code"], &error["error"]["status"]),
            (&json!(code), &json!(status))
        );
    }
    let mut lossy = question();
    lossy["safetySettings"] = json!([]);
    lossy["tools"] = json!([{"googleSearch": {}}]);
    let answer = gemini(&gateway, "fake/open", "generateContent", &lossy);
    let dropped = answer.field("x-pointsman-dropped").unwrap_or_default();
    assert!(
        dropped.contains("safetySettings") && dropped.contains("tools.googleSearch"),
        "{dropped}"
    );

    let count =
        gemini(&gateway, "auto", "countTokens", &json!({"generateContentRequest": question()}));
    assert!(count.json()["totalTokens"].as_u64().is_some_and(|tokens| tokens > 3), "{count:?}");
    let get = |path: &str| {
        let mut connection = gateway.connect();
        let key = gateway.key();
        connection.send(
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nx-goog-api-key: {key}\r\n\r\n").as_bytes(),
        );
        connection.answer()
    };
    let list = get("/v1beta/models?pageSize=1000").json();
    let names: Vec<&str> =
        list["models"].as_array().unwrap().iter().filter_map(|row| row["name"].as_str()).collect();
    assert!(names.contains(&"models/auto") && names.contains(&"models/fake/gemini"), "{names:?}");
    assert_eq!(get("/v1/models").json(), list, "the key's field tells who asks");
    assert_eq!(get("/v1beta/models/fake/open").json()["name"], "models/fake/open");
    assert_eq!(get("/v1beta/models/nobody").json()["error"]["status"], "NOT_FOUND");
    assert_eq!(get("/v1beta/nothing").json()["error"]["status"], "NOT_FOUND");
}

/// What a provider that speaks Gemini does wrong is judged as that of any other.
#[test]
fn faults_are_judged_alike() {
    let rows = [
        (Script { fault: Some(Fault::ErrorObject), ..Script::default() }, 502),
        (Script { fault: Some(Fault::BadJson), ..Script::default() }, 502),
        (
            Script {
                finish: Some("MALFORMED_FUNCTION_CALL".into()),
                chunks: 0,
                ..Script::default()
            },
            502,
        ),
        (
            Script { status: 400, error_code: Some("API_KEY_INVALID".into()), ..Script::default() },
            502,
        ),
        (Script { status: 400, ..Script::default() }, 400),
        (Script { status: 429, ..Script::default() }, 429),
        (Script { status: 503, ..Script::default() }, 503),
    ];
    for (script, status) in rows {
        let openai = json!({"model": GEMINI, "messages": [{"role": "user", "content": "x"}]});
        // A gateway for each: after some faults a provider is left alone for a while.
        let (gateway, _providers) = start(&script);
        let answer = gemini(&gateway, GEMINI, "generateContent", &question());
        assert_eq!(answer.status, status, "{script:?} {answer:?}");
        let (gateway, _providers) = start(&script);
        let answer = other(&gateway, "/v1/chat/completions", &openai);
        assert_eq!(answer.status, status, "{script:?} {answer:?}");
    }
    let cut = Script { fault: Some(Fault::Cut), after: 3, ..Script::default() };
    let (gateway, _providers) = start(&cut);
    for (_, model) in PROVIDERS {
        let pieces = events(&gemini(&gateway, model.id, STREAM, &question()));
        let last = pieces.last().expect("events");
        assert_eq!(last["error"]["status"], "UNAVAILABLE", "{pieces:?}");
        assert!(got(&pieces).finish.is_empty(), "no finish that nobody sent: {pieces:?}");
        let array = gemini(&gateway, model.id, "streamGenerateContent", &question()).json();
        assert!(array.as_array().unwrap().last().unwrap()["error"].is_object(), "{array}");
    }
}

/// Google's SDK for Python before providers of every dialect.
#[test]
fn googles_sdk_for_python_finds_what_it_expects() {
    let Some(python) = python() else {
        eprintln!("LEFT OUT: no Python SDKs here; ./tools/test installs them and runs this test");
        return;
    };
    let caller = Script {
        chunks: 0,
        reasoning_chunks: 2,
        tool_calls: vec![call("weather", r#"{"city":"Bern","unit":"celsius"}"#)],
        ..Script::default()
    };
    let cut = Script { fault: Some(Fault::Cut), after: 3, ..Script::default() };
    let down = Script { status: 500, ..Script::default() };
    const IDS: [[&str; 3]; 4] = [
        ["fake/open", "fake/open-caller", "fake/open-cut"],
        ["fake/claude", "fake/claude-caller", "fake/claude-cut"],
        ["fake/gemini", "fake/gemini-caller", "fake/gemini-cut"],
        ["fake/responses", "fake/responses-caller", "fake/responses-cut"],
    ];
    let mut setup = Setup::new();
    let mut handles = Vec::new();
    for ((dialect, _), ids) in PROVIDERS.into_iter().zip(IDS) {
        let scripts = [Script::default(), caller.clone(), cut.clone()];
        let mut models: BTreeMap<String, Script> =
            ids.into_iter().map(str::to_owned).zip(scripts).collect();
        models.insert("fake/broken".to_owned(), down.clone());
        let provider = Provider::start(Config { models, ..Config::default() }).expect("a provider");
        let mut served = ids.map(|id| FakeModel { ability: -2.0, ..model(id) }).to_vec();
        // The one that "auto" takes.
        served[0].ability = 1.0;
        if dialect == "gemini-generate" {
            served.push(FakeModel { ability: -3.0, ..model("fake/broken") });
        }
        setup = setup.provider_in(dialect, dialect, &provider, &served);
        handles.push(provider);
    }
    let gateway = setup.start();
    let output = Command::new(python)
        .arg(repository().join("tests/python/gemini_sdk.py"))
        .env("GOOGLE_GEMINI_BASE_URL", gateway.base_url().trim_end_matches("/v1"))
        .env("GEMINI_API_KEY", gateway.key())
        .output()
        .expect("python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(said.trim_end().ends_with("all good"), "{said}\n{complaints}");
}

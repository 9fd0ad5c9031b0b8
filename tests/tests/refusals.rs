//! Every no has a form that OpenAI's SDKs read: status, type, code, the field, and what to do about it.

use std::collections::BTreeMap;

use loadtest::provider::{Config, Fault, Provider, Script};
use serde_json::{Value, json};
use tests::http::{self, Answer};
use tests::{FakeModel, Gateway, Setup};

const MODEL: FakeModel = FakeModel { id: "fake/one", ability: 0.0, input: 1_000, output: 2_000 };

fn post(gateway: &Gateway, body: &[u8]) -> Answer {
    let mut connection = gateway.connect();
    connection.send(&http::chat(gateway.key(), body));
    connection.answer()
}

/// A good body with other members.
fn with(members: Value) -> Vec<u8> {
    let mut body = json!({"model": "fake/one", "messages": [{"role": "user", "content": "Hello"}]});
    let Value::Object(members) = members else { panic!("members are an object") };
    let map = body.as_object_mut().expect("an object");
    for (name, value) in members {
        // `null` takes a member away.
        if value.is_null() {
            map.remove(&name)
        } else {
            map.insert(name, value)
        };
    }
    body.to_string().into_bytes()
}

/// A good body with other messages.
fn saying(messages: Value) -> Vec<u8> {
    with(json!({ "messages": messages }))
}

/// One row: the body; status, code and field of the refusal; and a part of what it says.
type Row = (&'static str, Vec<u8>, u16, &'static str, Option<&'static str>, &'static str);

#[test]
fn a_request_that_cannot_be_served_is_told_which_field_and_what_would_do() {
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    let rows: Vec<Row> = vec![
        ("nothing", b"".to_vec(), 400, "invalid_json", None, "not valid JSON"),
        (
            "half a body",
            b"{\"model\":".to_vec(),
            400,
            "invalid_json",
            Some("model"),
            "not valid JSON",
        ),
        (
            "more than a body",
            [with(json!({})), b"x".to_vec()].concat(),
            400,
            "invalid_json",
            None,
            "not valid JSON",
        ),
        (
            "a comma too many",
            b"{\"model\":\"fake/one\",}".to_vec(),
            400,
            "invalid_json",
            Some("model"),
            "not valid JSON",
        ),
        ("no UTF-8", b"{\"model\":\"\xff\"}".to_vec(), 400, "invalid_json", None, "not valid JSON"),
        (
            "too deep",
            [&b"{\"a\":"[..], &[b'['; 100_000][..]].concat(),
            400,
            "invalid_json",
            None,
            "not valid JSON",
        ),
        ("a list", b"[]".to_vec(), 400, "invalid_value", None, "must be an object"),
        (
            "no model",
            with(json!({"model": null})),
            400,
            "missing_required_parameter",
            Some("model"),
            "\"model\" is missing",
        ),
        (
            "a number for a model",
            with(json!({"model": 7})),
            400,
            "invalid_value",
            Some("model"),
            "must be a string",
        ),
        (
            "a model twice",
            br#"{"model":"fake/one","model":"fake/two","messages":[]}"#.to_vec(),
            400,
            "invalid_value",
            Some("model"),
            "stands twice",
        ),
        (
            "a model twice, in disguise",
            br#"{"model":"fake/one","\u006dodel":"fake/two","messages":[]}"#.to_vec(),
            400,
            "invalid_value",
            Some("model"),
            "stands twice",
        ),
        (
            "a model that is not there",
            with(json!({"model": "fake/none"})),
            404,
            "model_not_found",
            Some("model"),
            "GET /v1/models",
        ),
        (
            "a strategy that is not there",
            with(json!({"model": "auto:cheap"})),
            404,
            "model_not_found",
            Some("model"),
            "auto:cheap",
        ),
        (
            "no messages",
            with(json!({"messages": null})),
            400,
            "missing_required_parameter",
            Some("messages"),
            "\"messages\" is missing",
        ),
        (
            "an empty conversation",
            saying(json!([])),
            400,
            "invalid_value",
            Some("messages"),
            "messages",
        ),
        (
            "messages as text",
            saying(json!("Hello")),
            400,
            "invalid_value",
            Some("messages"),
            "must be an array",
        ),
        (
            "a message as text",
            saying(json!(["Hello"])),
            400,
            "invalid_value",
            Some("messages[0]"),
            "must be an object",
        ),
        (
            "no role",
            saying(json!([{"content": "Hello"}])),
            400,
            "invalid_value",
            Some("messages[0].role"),
            "role",
        ),
        (
            "a strange role",
            saying(json!([{"role": "user", "content": "a"}, {"role": "robot", "content": "b"}])),
            400,
            "invalid_value",
            Some("messages[1].role"),
            "one of system",
        ),
        (
            "content as a number",
            saying(user(json!(7))),
            400,
            "invalid_value",
            Some("messages[0].content"),
            "a string or an array",
        ),
        (
            "a part without a type",
            saying(user(json!([{"type": "text", "text": "a"}, {"text": "b"}]))),
            400,
            "invalid_value",
            Some("messages[0].content[1].type"),
            "type",
        ),
        (
            "text as a number",
            saying(user(json!([{"type": "text", "text": 7}]))),
            400,
            "invalid_value",
            Some("messages[0].content[0].text"),
            "must be a string",
        ),
        (
            "stream as text",
            with(json!({"stream": "yes"})),
            400,
            "invalid_value",
            Some("stream"),
            "must be a boolean",
        ),
        (
            "a negative limit",
            with(json!({"max_tokens": -1})),
            400,
            "invalid_value",
            Some("max_tokens"),
            "a whole number",
        ),
        (
            "a broken limit",
            with(json!({"max_completion_tokens": 1.5})),
            400,
            "invalid_value",
            Some("max_completion_tokens"),
            "a whole number",
        ),
        (
            "tools that are no list",
            with(json!({"tools": "hammer"})),
            400,
            "invalid_value",
            Some("tools"),
            "must be an array",
        ),
        (
            "more output than anyone gives",
            with(json!({"max_tokens": 100_000})),
            400,
            "invalid_value",
            Some("max_tokens"),
            "16384",
        ),
        (
            "more input than anyone takes",
            saying(user(json!("word ".repeat(400_000)))),
            400,
            "context_length_exceeded",
            Some("messages"),
            "128000",
        ),
        (
            "what nobody can do",
            saying(user(
                json!([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]),
            )),
            400,
            "unsupported_value",
            Some("messages"),
            "audio",
        ),
    ];
    let provider = Provider::start(Config::default()).expect("a provider");
    let gateway = Setup::new().provider("fake", &provider, &[MODEL]).start();
    let mut wrong = Vec::new();
    for (name, body, status, code, param, says) in rows {
        let answer = post(&gateway, &body);
        let error = answer.json()["error"].clone();
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        let is_as_told = answer.status == status
            && error["code"] == code
            && error["param"].as_str() == param
            && error["type"] == "invalid_request_error"
            && message.contains(says);
        if !is_as_told {
            wrong.push(format!("{name}: {} {error}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(provider.counters().requests, 0, "a refused request reached the provider");
    assert_eq!(
        post(&gateway, &with(json!({}))).status,
        200,
        "a good request is served after all that"
    );
}

#[test]
fn what_a_provider_does_wrong_is_told_without_giving_its_secrets_away() {
    let status = |status: u16| Script { status, ..Script::default() };
    let fault = |fault: Fault| Script { fault: Some(fault), ..Script::default() };
    let limited = Script { retry_after: Some("7".into()), ..status(429) };
    let rows: Vec<(&'static str, Script, u16, &str)> = vec![
        ("fake/rejects", status(400), 400, "upstream_rejected"),
        ("fake/unknown", status(404), 404, "upstream_rejected"),
        ("fake/too-large", status(413), 413, "upstream_rejected"),
        ("fake/credential", status(401), 502, "upstream_credentials"),
        ("fake/forbidden", status(403), 502, "upstream_credentials"),
        ("fake/limited", limited, 429, "rate_limit_exceeded"),
        ("fake/broken", status(500), 502, "upstream_unavailable"),
        ("fake/overloaded", status(503), 503, "upstream_overloaded"),
        ("fake/redirects", status(302), 502, "upstream_invalid_response"),
        ("fake/refuses", fault(Fault::Refuse), 502, "upstream_interrupted"),
        ("fake/resets", fault(Fault::Reset), 502, "upstream_interrupted"),
        ("fake/cuts", fault(Fault::Cut), 502, "upstream_interrupted"),
        ("fake/garbage", fault(Fault::Garbage), 502, "upstream_invalid_response"),
        ("fake/html", fault(Fault::Html), 502, "upstream_invalid_response"),
        ("fake/empty", fault(Fault::Empty), 502, "upstream_invalid_response"),
        ("fake/null", fault(Fault::Null), 502, "upstream_invalid_response"),
        ("fake/error-in-200", fault(Fault::ErrorObject), 502, "upstream_unavailable"),
        ("fake/two-lengths", fault(Fault::BothLengths), 502, "upstream_invalid_response"),
    ];
    let scripts: BTreeMap<_, _> =
        rows.iter().map(|(model, script, ..)| ((*model).to_owned(), script.clone())).collect();
    let models: Vec<_> = rows.iter().map(|(id, ..)| FakeModel { id, ..MODEL }).collect();
    let provider =
        Provider::start(Config { models: scripts, ..Config::default() }).expect("a provider");
    let gateway = Setup::new().provider("fake", &provider, &models).start();
    let mut wrong = Vec::new();
    for (model, _, status, code) in &rows {
        let answer = post(&gateway, &with(json!({ "model": model })));
        let error = &answer.json()["error"];
        let shows_address = error.to_string().contains(&provider.addr().to_string());
        if answer.status != *status || error["code"] != *code || shows_address {
            wrong.push(format!("{model}: {} {error}", answer.status));
        }
        if *model == "fake/limited" {
            assert_eq!(answer.field("retry-after"), Some("7"), "{answer:?}");
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    gateway.until("failures are in the ledger", |gateway| {
        gateway.usage("outcome")["total"]["calls"].as_u64() == Some(rows.len() as u64)
    });
    assert_eq!(
        gateway.usage("model")["total"]["cost_pico_usd"],
        json!("0"),
        "a failure costs nothing"
    );
}

//! Embeddings: named models only, bytes as they came to a provider of the client's dialect, translated
//! to others, billed by the provider's count, and never another model's vectors.

use std::collections::BTreeMap;
use std::process::Command;

use loadtest::provider::{Config, Fault, Handle, Provider, Script, UsageRule, UsageScript};
use serde_json::{Value, json};
use tests::http::Answer;
use tests::{Gateway, Setup, python, repository};

/// Pico-dollars per token of every model here.
const PRICE: u64 = 20_000;

/// Providers `one` and `two` of OpenAI's form, `three` of Gemini's, and who serves what: `fake/small`
/// the first two, `fake/large` the second alone, `fake/gemini` the third, `fake/both` the third and then
/// the first.
fn world() -> (Gateway, [Handle; 3]) {
    let start =
        || Provider::start(Config { record: 100, ..Config::default() }).expect("a provider");
    let providers = [start(), start(), start()];
    let mut config = String::new();
    let dialects = ["openai-embeddings", "openai-embeddings", "gemini-embed"];
    for ((id, provider), dialect) in ["one", "two", "three"].iter().zip(&providers).zip(dialects) {
        let url = provider.base_url();
        config.push_str(&format!(
            "[[provider]]\nid = \"{id}\"\nbase_url = \"{url}\"\nauth = \"none\"\n\
             dialects = [\"{dialect}\", \"openai-chat\"]\n"
        ));
    }
    let models = [
        ("fake/small", "embedding", vec![("one", "small-1"), ("two", "small-2")]),
        ("fake/large", "embedding", vec![("two", "large")]),
        ("fake/gemini", "embedding", vec![("three", "gemini-embedding-x")]),
        ("fake/both", "embedding", vec![("three", "both"), ("one", "both")]),
        ("fake/chat", "chat", vec![("one", "chat")]),
    ];
    for (id, kind, offers) in models {
        let context = if kind == "chat" { 100_000 } else { 100 };
        config.push_str(&format!(
            "[[model]]\nid = \"{id}\"\nkind = \"{kind}\"\ncontext = {context}\ndimensions = 8\n"
        ));
        for (provider, wire_id) in offers {
            config.push_str(&format!(
                "[[model.offers]]\nprovider = \"{provider}\"\nwire_id = \"{wire_id}\"\n\
                 price = {{ input = {PRICE} }}\n"
            ));
        }
    }
    (Setup::new().config(&config).start(), providers)
}

fn post(gateway: &Gateway, path: &str, body: &str) -> Answer {
    let mut connection = gateway.connect();
    connection.send(
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            gateway.key(),
            body.len()
        )
        .as_bytes(),
    );
    connection.answer()
}

fn embed(gateway: &Gateway, body: &Value) -> Answer {
    post(gateway, "/v1/embeddings", &body.to_string())
}

#[test]
fn the_body_arrives_as_it_was_sent_but_for_the_model() {
    let (gateway, [one, ..]) = world();
    let bodies = [
        r#"{"model":"fake/small","input":"a"}"#,
        r#" { "input" : [ "a\u0041", "\ud83d\ude00" ] , "model" : "fake/small" , "encoding_format" : null } "#,
        r#"{"input":[[1,2],[3]],"model":"fake/small","dimensions":4,"encoding_format":"base64","x":[1.50]}"#,
        r#"{"model":"fake/small","input":[1,2,3],"user":"u"}"#,
    ];
    for (path, body) in ["/v1/embeddings", "/embeddings"].iter().cycle().zip(bodies) {
        let answer = post(&gateway, path, body);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("x-pointsman-provider"), Some("one"));
        assert_eq!(answer.field("x-pointsman-model"), Some("fake/small"));
        assert_eq!(answer.field("x-pointsman-dropped"), None);
    }
    let sent: Vec<_> =
        one.recorded().iter().map(|r| String::from_utf8_lossy(&r.body).into_owned()).collect();
    let expected: Vec<_> =
        bodies.iter().map(|body| body.replace("fake/small", "small-1")).collect();
    assert_eq!(sent, expected);
}

#[test]
fn only_offers_of_the_same_model_stand_in_for_each_other() {
    let (gateway, [one, two, three]) = world();
    let broken = [
        Script { status: 503, ..Script::default() },
        Script { fault: Some(Fault::Reset), ..Script::default() },
        Script { fault: Some(Fault::Empty), ..Script::default() },
        Script { fault: Some(Fault::ErrorObject), ..Script::default() },
    ];
    for (at, script) in broken.into_iter().enumerate() {
        one.set_script(script);
        let answer =
            embed(&gateway, &json!({"model": "fake/small", "input": format!("text {at}")}));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("x-pointsman-provider"), Some("two"), "script {at}");
        assert_eq!(answer.field("x-pointsman-model"), Some("fake/small"));
    }
    // Nobody else has the large one: its vectors are not replaced by the small one's.
    two.set_script(Script { status: 503, ..Script::default() });
    let answer = embed(&gateway, &json!({"model": "fake/large", "input": "a"}));
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.json()["error"]["code"].is_string());
    assert_eq!(three.counters().requests, 0);
}

#[test]
fn what_one_dialect_cannot_say_goes_to_an_offer_in_another() {
    let (gateway, [one, _, three]) = world();
    let texts = json!({"model": "fake/both", "input": ["a", "b"]});
    assert_eq!(embed(&gateway, &texts).field("x-pointsman-provider"), Some("three"));
    let token_ids = json!({"model": "fake/both", "input": [[1, 2], [3]]});
    let answer = embed(&gateway, &token_ids);
    assert_eq!(answer.field("x-pointsman-provider"), Some("one"), "{answer:?}");
    let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    let answer = embed(&gateway, &json!({"model": "fake/both", "input": many}));
    assert_eq!(answer.field("x-pointsman-provider"), Some("one"), "{answer:?}");
    assert_eq!(answer.json()["data"].as_array().map(Vec::len), Some(101));
    assert_eq!((three.counters().requests, one.counters().requests), (1, 2));
}

#[test]
fn a_translated_answer_is_the_same_in_either_form() {
    let (gateway, [_, _, three]) = world();
    let ask = |format: &str| {
        let body = json!({
            "model": "fake/gemini", "input": ["one", "two", "three"], "dimensions": 5,
            "encoding_format": format, "user": "u",
        });
        let answer = embed(&gateway, &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("x-pointsman-dropped"), Some("user"));
        answer.json()
    };
    let (floats, packed) = (ask("float"), ask("base64"));
    for index in 0..3 {
        assert_eq!(floats["data"][index]["index"], index);
        assert_eq!(floats["data"][index]["embedding"].as_array().map(Vec::len), Some(5));
        // Five floats of four bytes.
        let text = packed["data"][index]["embedding"].as_str().expect("Base64");
        assert_eq!(text.len(), 28, "{text}");
    }
    assert_eq!(floats["model"], "fake/gemini");
    assert_eq!(floats["object"], "list");
    let sent: Value = serde_json::from_slice(&three.recorded()[0].body).expect("JSON");
    let expected = json!({
        "model": "models/gemini-embedding-x", "content": {"parts": [{"text": "two"}]},
        "outputDimensionality": 5,
    });
    assert_eq!(sent["requests"][1], expected);
    let head = String::from_utf8_lossy(&three.recorded()[0].head).into_owned();
    assert!(
        head.starts_with("POST /v1/models/gemini-embedding-x:batchEmbedContents HTTP/1.1\r\n"),
        "{head}"
    );
}

#[test]
fn geminis_clients_ask_for_one_or_for_many() {
    let (gateway, [one, _, three]) = world();
    let content = json!({"parts": [{"text": "a"}]});
    let single = json!({"content": content, "taskType": "X"});
    // To Gemini's dialect the body goes as it came, to the path that it came by.
    let named = json!({"content": content, "model": "models/fake/gemini", "taskType": "X"});
    let answer = post(&gateway, "/v1beta/models/fake/gemini:embedContent", &named.to_string());
    assert_eq!(
        answer.json()["embedding"]["values"].as_array().map(Vec::len),
        Some(8),
        "{answer:?}"
    );
    let sent = three.recorded().pop().expect("a request");
    let head = String::from_utf8_lossy(&sent.head).into_owned();
    assert!(head.starts_with("POST /v1/models/gemini-embedding-x:embedContent "), "{head}");
    let expected = named.to_string().replace("fake/gemini", "gemini-embedding-x");
    assert_eq!(String::from_utf8_lossy(&sent.body), expected);
    // To OpenAI's it is translated, and what that cannot say is named.
    let answer = post(&gateway, "/v1beta/models/fake/small:embedContent", &single.to_string());
    assert_eq!(
        answer.json()["embedding"]["values"].as_array().map(Vec::len),
        Some(8),
        "{answer:?}"
    );
    assert_eq!(answer.field("x-pointsman-dropped"), Some("taskType"));
    let many = json!({"requests": [{"content": content}, {"content": content}]});
    let answer = post(&gateway, "/v1/models/fake/small:batchEmbedContents", &many.to_string());
    assert_eq!(answer.json()["embeddings"].as_array().map(Vec::len), Some(2), "{answer:?}");
    let sent: Value = serde_json::from_slice(&one.recorded()[1].body).expect("JSON");
    assert_eq!(sent, json!({"model": "small-1", "input": ["a", "a"], "encoding_format": "float"}));
    let answer = post(&gateway, "/v1beta/models/auto:embedContent", &single.to_string());
    assert_eq!(answer.json()["error"]["status"], "INVALID_ARGUMENT", "{answer:?}");
}

/// One row per request that nobody can serve: the body, then status, code and field of the refusal,
/// and a word of its message.
#[test]
fn refusals_say_what_would_do() {
    let (gateway, [one, two, three]) = world();
    let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    let long: Vec<u32> = (0..101).collect();
    let rows = [
        (json!({"model": "auto", "input": "a"}), 400, "unsupported_value", "model", "fake/small"),
        (
            json!({"model": "auto:cost", "input": "a"}),
            400,
            "unsupported_value",
            "model",
            "compared",
        ),
        (
            json!({"model": "fake/chat", "input": "a"}),
            400,
            "unsupported_value",
            "model",
            "not vectors",
        ),
        (json!({"model": "none/such", "input": "a"}), 404, "model_not_found", "model", "exist"),
        (json!({"model": "fake/small"}), 400, "missing_required_parameter", "input", "missing"),
        (json!({"model": "fake/small", "input": []}), 400, "invalid_value", "input", "empty"),
        (
            json!({"model": "fake/small", "input": ["a", 1]}),
            400,
            "invalid_value",
            "input[1]",
            "type",
        ),
        (
            json!({"model": "fake/small", "input": long}),
            400,
            "context_length_exceeded",
            "input",
            "100",
        ),
        (
            json!({"model": "fake/gemini", "input": [[1]]}),
            400,
            "unsupported_value",
            "input",
            "token_input",
        ),
        (
            json!({"model": "fake/gemini", "input": many}),
            400,
            "unsupported_value",
            "input",
            "at most 100",
        ),
    ];
    for (body, status, code, param, word) in rows {
        let answer = embed(&gateway, &body);
        let error = &answer.json()["error"];
        let found = (answer.status, error["code"].as_str(), error["param"].as_str());
        assert_eq!(found, (status, Some(code), Some(param)), "{body}: {answer:?}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(word), "{body}: {message}");
    }
    let chat = json!({"model": "fake/small", "messages": [{"role": "user", "content": "Hello"}]});
    let answer = post(&gateway, "/v1/chat/completions", &chat.to_string());
    let error = &answer.json()["error"];
    assert_eq!((answer.status, error["param"].as_str()), (400, Some("model")), "{answer:?}");
    assert!(error["message"].as_str().is_some_and(|m| m.contains("/v1/embeddings")), "{answer:?}");
    for provider in [one, two, three] {
        assert_eq!(provider.counters().requests, 0, "nobody was asked");
    }
}

#[test]
fn the_providers_count_is_billed_and_an_own_one_where_there_is_none() {
    let (gateway, [one, _, three]) = world();
    for input in [json!("12345678"), json!(["a", "bb", "ccc"]), json!([[1, 2, 3], [4]])] {
        let answer = embed(&gateway, &json!({"model": "fake/small", "input": input}));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let answer = embed(&gateway, &json!({"model": "fake/gemini", "input": ["a", "b"]}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let missing = Script { usage: UsageScript::Named(UsageRule::Missing), ..Script::default() };
    one.set_script(missing);
    // Four token ids, exactly; and ten bytes of text, which are counted as three tokens.
    for input in [json!([[1, 2, 3], [4]]), json!("0123456789")] {
        embed(&gateway, &json!({"model": "fake/both", "input": input}));
    }
    gateway.until("the ledger has every request", |gateway| {
        gateway.usage("model")["total"]["calls"] == 6
    });
    let truth = |provider: &Handle, model: &str| {
        provider.counters().models.get(model).map_or(0, |model| model.tokens.prompt)
    };
    let expected = BTreeMap::from([
        ("fake/small", (truth(&one, "small-1"), 0)),
        ("fake/gemini", (truth(&three, "gemini-embedding-x"), 0)),
        ("fake/both", (4 + truth(&three, "both"), 1)),
    ]);
    let usage = gateway.usage("model");
    let rows = usage["groups"].as_array().expect("groups");
    assert_eq!(rows.len(), expected.len(), "{usage}");
    for row in rows {
        let model = row["group"]["model"].as_str().expect("a name");
        let (tokens, estimated) = expected[model];
        assert!(tokens > 0);
        assert_eq!(row["input_tokens"].as_u64(), Some(tokens), "{model}: {row}");
        assert_eq!(row["output_tokens"].as_u64(), Some(0), "{model}");
        assert_eq!(row["estimated"].as_u64(), Some(estimated), "{model}");
        let cost =
            row["cost_pico_usd"].as_str().map(|digits| digits.parse::<u64>().expect("digits"));
        let cost = cost.or(row["cost_pico_usd"].as_u64());
        assert_eq!(cost, Some(tokens * PRICE), "{model}: {row}");
    }
}

#[test]
fn the_models_are_listed_and_auto_never_takes_them() {
    let (gateway, _providers) = world();
    let mut connection = gateway.connect();
    connection.send(
        format!(
            "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            gateway.key()
        )
        .as_bytes(),
    );
    let list = connection.answer().json();
    let ids: Vec<_> =
        list["data"].as_array().expect("rows").iter().map(|row| row["id"].clone()).collect();
    assert!(ids.contains(&json!("fake/small")) && ids.contains(&json!("fake/chat")), "{ids:?}");
    for model in ["auto", "auto:cost", "auto:quality", "auto:latency"] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
        let answer = post(&gateway, "/v1/chat/completions", &body.to_string());
        assert_eq!(answer.field("x-pointsman-model"), Some("fake/chat"), "{answer:?}");
    }
}

#[test]
fn real_sdks_find_what_they_expect() {
    let Some(python) = python() else {
        eprintln!("LEFT OUT: no Python SDKs here; ./tools/test installs them and runs this test");
        return;
    };
    let (gateway, providers) = world();
    let output = Command::new(python)
        .arg(repository().join("tests/python/embeddings.py"))
        .env("OPENAI_BASE_URL", gateway.base_url())
        .env("OPENAI_API_KEY", gateway.key())
        .output()
        .expect("python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(said.trim_end().ends_with("all good"), "{said}\n{complaints}");
    let delivered: u64 = providers.iter().map(|provider| provider.counters().completed).sum();
    gateway.until("the journal is folded", |gateway| {
        gateway.usage("model")["total"]["calls"].as_u64() == Some(delivered)
    });
}

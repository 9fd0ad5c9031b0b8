//! What providers say of their limits reaches clients of their own dialect, and a client that is
//! limited is always told when to come back; tokens are counted by who can count them.

use std::collections::BTreeMap;

use loadtest::provider::{Config, Fault, Handle, Provider, Script, UsageCounts, UsageScript};
use serde_json::{Value, json};
use tests::http::Answer;
use tests::{FakeModel, Gateway, Setup};

const OPEN: FakeModel = FakeModel { id: "fake/open", ability: 0.0, input: 1_000, output: 2_000 };
const CLAUDE: FakeModel = FakeModel { id: "fake/claude", ..OPEN };

const ANTHROPIC: [(&str, &str); 3] = [
    ("anthropic-ratelimit-requests-remaining", "49"),
    ("anthropic-ratelimit-requests-reset", "2026-11-21T03:00:00Z"),
    ("anthropic-ratelimit-input-tokens-limit", "400000"),
];
const OPENAI: [(&str, &str); 3] = [
    ("x-ratelimit-limit-requests", "5000"),
    ("x-ratelimit-remaining-tokens", "149984"),
    ("x-ratelimit-reset-requests", "12ms"),
];
/// What is nobody's business but the operator's.
const PRIVATE: [(&str, &str); 3] = [
    ("anthropic-organization-id", "0b3c"),
    ("openai-organization", "acme"),
    ("set-cookie", "__cf_bm=abc"),
];

fn with_fields(script: Script) -> Script {
    let all = [ANTHROPIC, OPENAI, PRIVATE].concat();
    let fields = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Script { fields: fields.collect(), ..script }
}

fn provider(model: &str, script: Script) -> Handle {
    let models = BTreeMap::from([(model.to_owned(), script)]);
    Provider::start(Config { models, record: 16, ..Config::default() }).expect("a provider")
}

/// A gateway before a provider of each dialect that follow the same script.
fn start(script: &Script) -> (Gateway, [Handle; 2]) {
    let open = provider(OPEN.id, script.clone());
    let claude = provider(CLAUDE.id, script.clone());
    let gateway = Setup::new()
        .provider("open", &open, &[OPEN])
        .provider_in("anthropic-messages", "claude", &claude, &[CLAUDE])
        .start();
    (gateway, [open, claude])
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    let (key, body) = (gateway.key(), body.to_string());
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nanthropic-beta: some-beta\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = gateway.connect();
    connection.send(request.as_bytes());
    connection.answer()
}

fn asking(model: &str, stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    json!({"model": model, "max_tokens": 100, "stream": stream, "messages": messages})
}

fn has(answer: &Answer, fields: &[(&str, &str)]) -> bool {
    fields.iter().all(|(name, value)| answer.field(name) == Some(value))
}

fn has_none(answer: &Answer, fields: &[(&str, &str)]) -> bool {
    fields.iter().all(|(name, _)| answer.field(name).is_none())
}

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";

#[test]
fn limits_are_told_to_clients_of_the_providers_own_dialect() {
    let (gateway, _providers) = start(&with_fields(Script::default()));
    for stream in [false, true] {
        let rows = [
            (MESSAGES, CLAUDE.id, true, false),
            (MESSAGES, OPEN.id, false, false),
            (CHAT, OPEN.id, false, true),
            (CHAT, CLAUDE.id, false, false),
        ];
        for (path, model, anthropic, openai) in rows {
            let answer = post(&gateway, path, &asking(model, stream));
            assert_eq!(answer.status, 200, "{answer:?}");
            for (is_told, fields) in [(anthropic, ANTHROPIC), (openai, OPENAI)] {
                let is_as_told = if is_told { has } else { has_none };
                assert!(is_as_told(&answer, &fields), "{path} {model} {stream}: {answer:?}");
            }
            assert!(has_none(&answer, &PRIVATE), "{path} {model} {stream}: {answer:?}");
        }
    }
}

/// The times that a refusal names are those of the provider that refused, or made here.
#[test]
fn who_is_limited_is_told_when_to_come_back() {
    let limited = Script { status: 429, retry_after: Some("7".into()), ..Script::default() };
    let rows = [
        (MESSAGES, CLAUDE.id, Some(ANTHROPIC)),
        (CHAT, OPEN.id, Some(OPENAI)),
        (MESSAGES, OPEN.id, None),
        (CHAT, CLAUDE.id, None),
    ];
    for (path, model, relayed) in rows {
        let (gateway, _providers) = start(&with_fields(limited.clone()));
        let answer = post(&gateway, path, &asking(model, false));
        assert_eq!((answer.status, answer.field("retry-after")), (429, Some("7")), "{answer:?}");
        assert!(has_none(&answer, &PRIVATE), "{answer:?}");
        match relayed {
            Some(fields) => assert!(has(&answer, &fields), "{path} {model}: {answer:?}"),
            None => assert_eq!(
                answer.field("anthropic-ratelimit-requests-reset").is_some_and(is_time),
                path == MESSAGES,
                "{path} {model}: {answer:?}"
            ),
        }
    }
    // Without a word of when.
    let (gateway, _providers) = start(&Script { status: 429, ..Script::default() });
    let answer = post(&gateway, MESSAGES, &asking(CLAUDE.id, true));
    assert_eq!((answer.status, answer.field("retry-after")), (429, Some("1")), "{answer:?}");
    let reset = answer.field("anthropic-ratelimit-requests-reset");
    assert!(reset.is_some_and(is_time), "{answer:?}");
}

/// Whether it has the form `2026-11-21T03:00:00Z`.
fn is_time(text: &str) -> bool {
    let form = |byte: u8| if byte.is_ascii_digit() { '0' } else { char::from(byte) };
    text.bytes().map(form).collect::<String>() == "0000-00-00T00:00:00Z"
}

const COUNT: &str = "/v1/messages/count_tokens?beta=true";

fn question(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "four words are here"}]})
}

#[test]
fn tokens_are_counted_by_the_models_own_provider() {
    let counts = UsageCounts { prompt: 4321, ..UsageCounts::default() };
    let script = Script { usage: UsageScript::Exact(counts), ..Script::default() };
    let (gateway, [open, claude]) = start(&script);
    for _ in 0..2 {
        let answer = post(&gateway, COUNT, &question(CLAUDE.id));
        assert_eq!((answer.status, answer.json()), (200, json!({"input_tokens": 4321})));
        assert_eq!(answer.field("x-pointsman-count"), Some("provider"), "{answer:?}");
        assert_eq!(answer.field("x-pointsman-provider"), Some("claude"), "{answer:?}");
    }
    for model in [OPEN.id, "auto", "claude-auto", "nobody"] {
        let answer = post(&gateway, COUNT, &question(model));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("x-pointsman-count"), Some("estimate"), "{model}: {answer:?}");
        assert!((5..20).contains(&answer.json()["input_tokens"].as_u64().unwrap_or(0)), "{model}");
    }
    let asked = claude.recorded();
    let head = String::from_utf8_lossy(&asked[0].head).to_ascii_lowercase();
    assert!(head.contains("/v1/messages/count_tokens http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nanthropic-beta: some-beta\r\n"), "{head}");
    assert!(head.contains("\r\nanthropic-version: "), "{head}");
    assert_eq!(asked[0].body, question(CLAUDE.id).to_string().into_bytes());
    assert_eq!((claude.counters().connections, open.counters().requests), (1, 0));

    // The only call in the ledger is the one that got an answer.
    assert_eq!(post(&gateway, MESSAGES, &asking(CLAUDE.id, false)).status, 200);
    gateway.until("the journal is folded", |gateway| {
        gateway.usage("model")["total"]["calls"].as_u64().is_some_and(|calls| calls > 0)
    });
    assert_eq!(gateway.usage("model")["total"]["calls"], 1);
}

/// However a provider fails at it, the client gets a number, and conversations go on to that provider.
#[test]
fn counting_that_fails_costs_nobody_anything() {
    let status = |status| Script { status, ..Script::default() };
    let fault = |fault| Script { fault: Some(fault), ..Script::default() };
    let rows = [
        ("fake/unknown", status(404)),
        ("fake/credential", status(401)),
        ("fake/limited", Script { retry_after: Some("60".into()), ..status(429) }),
        ("fake/broken", status(500)),
        ("fake/refuses", fault(Fault::Refuse)),
        ("fake/resets", fault(Fault::Reset)),
        ("fake/html", fault(Fault::Html)),
        ("fake/null", fault(Fault::Null)),
        ("fake/error-in-200", fault(Fault::ErrorObject)),
        ("fake/stalls", fault(Fault::Stall)),
    ];
    let models = rows.iter().map(|(model, script)| ((*model).to_owned(), script.clone()));
    let config = Config { models: models.collect(), ..Config::default() };
    let claude = Provider::start(config).expect("a provider");
    let models = rows.each_ref().map(|(id, _)| FakeModel { id, ..CLAUDE });
    let setup = Setup::new().provider_in("anthropic-messages", "claude", &claude, &models);
    let gateway = setup.start();
    for (model, script) in &rows {
        // More than it takes to open a breaker, but for the one that each time takes seconds.
        let times = if script.fault == Some(Fault::Stall) { 1 } else { 8 };
        for _ in 0..times {
            let answer = post(&gateway, COUNT, &question(model));
            assert_eq!(answer.status, 200, "{model}: {answer:?}");
            assert_eq!(answer.field("x-pointsman-count"), Some("estimate"), "{model}: {answer:?}");
            assert!(answer.json()["input_tokens"].as_u64().is_some_and(|tokens| tokens > 3));
        }
        let asked = claude.counters().models[*model].requests;
        assert!(asked >= times, "{model}: asked {asked} times");
        claude.set_model_script(model, Script::default());
        let answer = post(&gateway, MESSAGES, &asking(model, false));
        assert_eq!(answer.status, 200, "{model}: {answer:?}");
    }
    gateway.until("the journal is folded", |gateway| {
        gateway.usage("model")["total"]["calls"].as_u64() >= Some(rows.len() as u64)
    });
    assert_eq!(gateway.usage("model")["total"]["calls"], rows.len(), "counting is no call");
}

//! Money: what the ledger says is what the providers delivered, request by request, also when the
//! process is killed in the middle.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use loadtest::provider::{Config, Handle, Provider, Script};
use serde_json::Value;
use tests::http::Connection;
use tests::{FakeModel, Gateway, Setup, repository};

const SMALL: FakeModel =
    FakeModel { id: "fake/small", ability: -1.5, input: 50_000, output: 200_000 };
const MIDDLE: FakeModel =
    FakeModel { id: "fake/middle", ability: 0.3, input: 400_000, output: 1_600_000 };
const LARGE: FakeModel =
    FakeModel { id: "fake/large", ability: 2.0, input: 3_000_000, output: 15_000_000 };

fn provider(first_ms: u32) -> Handle {
    let script = Script { demo: true, first_ms, chunk_bytes: 24, ..Script::default() };
    Provider::start(Config { script, ..Config::default() }).expect("a provider")
}

/// Prompts of all kinds: those of the file that `POINTSMAN_TEST_PROMPTS` names (JSON lines with a
/// `text`), else the ones that stand beside this test.
fn prompts(count: usize) -> Vec<String> {
    let path = std::env::var_os("POINTSMAN_TEST_PROMPTS")
        .map_or_else(|| repository().join("tests/prompts.jsonl"), std::path::PathBuf::from);
    let text = std::fs::read_to_string(&path).expect("the prompts are there");
    let read = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("a JSON line");
        row["text"].as_str().expect("a text").to_owned()
    };
    let all: Vec<String> = text.lines().map(read).collect();
    all.iter().cycle().take(count).cloned().collect()
}

fn request(key: &str, model: &str, prompt: &str, stream: bool) -> Vec<u8> {
    let body = serde_json::json!({
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": prompt}],
    })
    .to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

fn number(value: &Value) -> u128 {
    match value {
        Value::String(text) => text.parse().expect("digits"),
        number => number.as_u64().expect("a count").into(),
    }
}

#[test]
fn two_hundred_prompts_add_up_to_the_providers_own_count() {
    const REQUESTS: usize = 200;
    let models = [SMALL, MIDDLE, LARGE];
    let providers = [provider(1), provider(3), provider(6)];
    let gateway = Setup::new()
        .provider("one", &providers[0], &[SMALL])
        .provider("two", &providers[1], &[MIDDLE])
        .provider("three", &providers[2], &[LARGE])
        .classifier()
        .start();
    let strategies = ["auto", "auto:cost", "auto:quality", "auto:latency"];
    let mut served: BTreeMap<String, u64> = BTreeMap::new();
    let mut connection = gateway.connect();
    for (at, prompt) in prompts(REQUESTS).iter().enumerate() {
        let (model, stream) = (strategies[at % strategies.len()], at % 2 == 0);
        connection.send(&request(gateway.key(), model, prompt, stream));
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{prompt:?}: {}", answer.text());
        if stream {
            assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
            assert!(!answer.text().contains("\"choices\":[]"), "nobody asked for the usage");
        }
        let model = answer.field("x-pointsman-model").expect("the model is told").to_owned();
        *served.entry(model).or_default() += 1;
    }
    gateway.until("the ledger has every request", |gateway| {
        gateway.usage("model")["total"]["calls"] == REQUESTS
    });

    let usage = gateway.usage("model");
    let (mut cost_in_all, mut calls_in_all) = (0, 0);
    for (model, provider) in models.iter().zip(&providers) {
        let counters = provider.counters();
        let truth = counters.models.get(model.id).copied().unwrap_or_default();
        let groups = usage["groups"].as_array().expect("groups");
        let row = groups.iter().find(|row| row["group"]["model"] == model.id);
        let told = served.get(model.id).copied().unwrap_or_default();
        assert_eq!(told, truth.completed, "{}: what clients were told", model.id);
        let Some(row) = row else {
            assert_eq!(truth.completed, 0, "{} is missing in the ledger", model.id);
            continue;
        };
        assert_eq!(number(&row["calls"]), u128::from(truth.completed), "{}", model.id);
        assert_eq!(number(&row["input_tokens"]), u128::from(truth.tokens.prompt), "{}", model.id);
        assert_eq!(
            number(&row["output_tokens"]),
            u128::from(truth.tokens.completion),
            "{}",
            model.id
        );
        assert_eq!(number(&row["estimated"]), 0, "the provider's own count was there");
        // Cached input stands in the prompt's count and costs the same here, as nothing else is known.
        let cost = u128::from(truth.tokens.prompt) * u128::from(model.input)
            + u128::from(truth.tokens.completion) * u128::from(model.output);
        assert_eq!(number(&row["cost_pico_usd"]), cost, "{}", model.id);
        cost_in_all += cost;
        calls_in_all += truth.completed;
    }
    assert_eq!(calls_in_all, REQUESTS as u64);
    assert_eq!(number(&usage["total"]["cost_pico_usd"]), cost_in_all);
    assert!(number(&usage["total"]["dearest_pico_usd"]) >= cost_in_all);
    assert!(served.len() > 1, "one model got everything: {served:?}");
    // Cores hand their counts over once a second.
    gateway.until("the counts have them all", |gateway| {
        gateway.metric("pointsman_requests_total", &["outcome=\"complete\""]) == 200.0
            && gateway.metric("pointsman_decisions_total", &[]) == 200.0
    });
    eprintln!("served: {served:?}");
}

/// Sends requests until the gateway is gone; gives the ids of the answers that were delivered whole.
fn ask_until_gone(gateway: &Gateway, gone: &Arc<AtomicBool>, ids: &Arc<Mutex<Vec<String>>>) {
    let (address, key) = (gateway.address(), gateway.key().to_owned());
    let (gone, ids) = (Arc::clone(gone), Arc::clone(ids));
    let mut at = 0;
    while !gone.load(Ordering::Relaxed) {
        let Ok(stream) = std::net::TcpStream::connect(address) else { return };
        drop(stream);
        let asked = std::panic::catch_unwind(|| {
            let mut connection = Connection::open(address);
            connection.send(&request(&key, "fake/small", "Hello", at % 2 == 0));
            let answer = connection.answer();
            let whole = answer.status == 200
                && (at % 2 == 1 || answer.text().ends_with("data: [DONE]\n\n"));
            let id = answer.field("x-pointsman-decision-id").map(str::to_owned);
            whole.then_some(id).flatten()
        });
        if let Ok(Some(id)) = asked {
            ids.lock().expect("nobody panics with it").push(id);
        }
        at += 1;
    }
}

#[test]
fn kill_9_loses_no_delivered_request_and_doubles_none() {
    let provider = provider(0);
    let mut gateway = Setup::new().provider("one", &provider, &[SMALL]).start();
    let ids: Arc<Mutex<Vec<String>>> = Arc::default();
    for round in 0..3 {
        let gone = Arc::new(AtomicBool::new(false));
        let before = ids.lock().expect("sound").len();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ask_until_gone(&gateway, &gone, &ids));
            }
            // Enough that folds, segments and answers in flight are all under way.
            while ids.lock().expect("sound").len() < before + 150 + round * 40 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            gateway.signal("KILL");
            gone.store(true, Ordering::Relaxed);
        });
        gateway = gateway.crash_and_restart();
    }
    gateway.until("the journal is folded", |gateway| {
        gateway.metric("pointsman_journal_folded_total", &[]) > 0.0
            || gateway.usage("model")["total"]["calls"].as_u64() > Some(0)
    });
    let delivered = ids.lock().expect("sound").clone();
    let lines = gateway.command(&["usage", "--recent", "10000", "--json"]);
    let mut seen = HashSet::new();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON lines");
        let id = row["id"].as_str().expect("an id").to_owned();
        assert!(seen.insert(id), "a request stands twice in the ledger");
    }
    let lost: Vec<_> = delivered.iter().filter(|id| !seen.contains(*id)).collect();
    assert!(lost.is_empty(), "{} of {} delivered requests are lost", lost.len(), delivered.len());
    assert!(delivered.len() >= 450);
}

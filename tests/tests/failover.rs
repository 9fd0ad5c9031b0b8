//! Faults of providers: before the first content another target answers and the client sees nothing of
//! it; after it the client gets an error event, and never an end that did not happen.

use loadtest::provider::{Config, Fault, Handle, Provider, Script};
use tests::http::Answer;
use tests::{Gateway, Setup};

/// Deadlines short enough to wait for, each of its own length.
const TIMEOUTS: &str =
    "[timeouts]\nconnect_ms = 500\nfirst_byte_ms = 700\nwhole_answer_ms = 900\ngap_ms = 600\n";

fn name_of(fault: Fault) -> String {
    serde_json::to_value(fault).expect("a fault has a name").as_str().expect("text").to_owned()
}

/// A gateway with one model per fault, served by a provider with that fault first and a sound one
/// second, so that no fault opens the breaker of another.
fn world(script: impl Fn(Fault) -> Script) -> (Gateway, Vec<Handle>) {
    let mut providers = Vec::new();
    let mut setup = Setup::new().config(TIMEOUTS);
    let sound = Provider::start(Config::default()).expect("a provider");
    let mut config = provider_table("sound", &sound);
    for fault in Fault::ALL {
        let name = name_of(fault);
        let bad = Provider::start(Config { script: script(fault), ..Config::default() });
        let bad = bad.expect("a provider");
        config.push_str(&provider_table(&format!("bad-{name}"), &bad));
        config.push_str(&format!(
            "[[model]]\nid = \"fake/{name}\"\ncontext = 128000\nmax_output = 16384\ncan = [\"streaming\"]\n\
             [[model.offers]]\nprovider = \"bad-{name}\"\nwire_id = \"{name}\"\nprice = {{ input = 1000, output = 2000 }}\n\
             [[model.offers]]\nprovider = \"sound\"\nwire_id = \"{name}\"\nprice = {{ input = 1000, output = 2000 }}\n"
        ));
        providers.push(bad);
    }
    providers.push(sound);
    setup = setup.config(&config);
    (setup.start(), providers)
}

fn provider_table(id: &str, provider: &Handle) -> String {
    let url = provider.base_url();
    format!(
        "[[provider]]\nid = \"{id}\"\nbase_url = \"{url}\"\nauth = \"none\"\ndialects = [\"openai-chat\"]\n"
    )
}

fn ask(gateway: &Gateway, model: &str, stream: bool) -> Answer {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"Hello"}}]}}"#
    );
    let mut connection = gateway.connect();
    connection.send(
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            gateway.key(),
            body.len()
        )
        .as_bytes(),
    );
    connection.answer()
}

/// Faults that leave an answer that can be used, and those that are not there without a stream.
fn is_harmless(fault: Fault, stream: bool) -> bool {
    // A flood of 1xx is beyond what is read before an answer.
    (fault.completes() && fault != Fault::Flood1xx)
        || (!stream && [Fault::NoFinish, Fault::HugeEvent].contains(&fault))
}

#[test]
fn before_the_first_content_another_target_answers() {
    let (gateway, _providers) =
        world(|fault| Script { fault: Some(fault), after: 0, ..Script::default() });
    let mut wrong = Vec::new();
    for fault in Fault::ALL {
        for stream in [false, true] {
            let name = name_of(fault);
            let answer = ask(&gateway, &format!("fake/{name}"), stream);
            let text = answer.text();
            let complete = if stream {
                text.ends_with("data: [DONE]\n\n")
                    && text.matches("finish_reason\":\"stop").count() == 1
            } else {
                text.contains("\"finish_reason\":\"stop\"")
            };
            if stream && fault == Fault::NoFinish {
                // This one strikes at the end, after the content.
                continue;
            }
            let provider = answer.field("x-pointsman-provider").unwrap_or_default();
            let expected =
                if is_harmless(fault, stream) { format!("bad-{name}") } else { "sound".into() };
            if answer.status != 200 || !complete || provider != expected {
                wrong.push(format!(
                    "{name}, stream {stream}: {} from {provider:?}, complete {complete}: {}",
                    answer.status,
                    &text[..text.len().min(300)]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn after_the_first_content_no_end_is_invented() {
    let (gateway, providers) = world(|fault| {
        // Time between the pieces, so that the first is out before the fault comes.
        Script { fault: Some(fault), after: 3, gap_ms: 20, ..Script::default() }
    });
    let sound = providers.last().expect("the sound one");
    let broken = [
        Fault::Reset,
        Fault::Cut,
        Fault::Eof,
        Fault::Stall,
        Fault::BadChunk,
        Fault::ErrorEvent,
        Fault::NoFinish,
        Fault::HugeEvent,
    ];
    for fault in broken {
        let name = name_of(fault);
        let answer = ask(&gateway, &format!("fake/{name}"), true);
        let text = answer.text();
        assert_eq!(answer.status, 200, "{name}");
        let error = text.rsplit("data: ").next().unwrap_or_default();
        let error: serde_json::Value =
            serde_json::from_str(error.trim()).unwrap_or_else(|e| panic!("{name}: {e} in {text}"));
        assert!(
            error["error"]["code"].as_str().is_some_and(|code| code.starts_with("upstream_")),
            "{name}: {error}"
        );
        assert!(!text.contains("[DONE]"), "{name}: an end was invented");
    }
    assert_eq!(sound.counters().requests, 0, "no second provider after the first content");
    let usage = gateway_settled(&gateway, broken.len() as u64);
    assert_eq!(usage["total"]["cost_pico_usd"], "0", "what broke off is not charged: {usage}");
}

/// The usage, once that many requests are in the ledger.
fn gateway_settled(gateway: &Gateway, calls: u64) -> serde_json::Value {
    gateway.until("the ledger has every request", |gateway| {
        gateway.usage("outcome")["total"]["calls"].as_u64() >= Some(calls)
    });
    gateway.usage("outcome")
}

#[test]
fn statuses_lead_to_another_target_or_to_the_client() {
    // Status of the provider, status for the client, whether the other target answered.
    let rows = [
        (400, 400, false),
        (401, 200, true),
        (403, 200, true),
        (404, 404, false),
        (408, 200, true),
        (413, 413, false),
        (422, 422, false),
        (429, 200, true),
        (500, 200, true),
        (502, 200, true),
        (503, 200, true),
        (529, 200, true),
        (301, 200, true),
    ];
    let sound = Provider::start(Config::default()).expect("a provider");
    let mut config = provider_table("sound", &sound);
    let mut providers = Vec::new();
    for (status, ..) in rows {
        let script = Script { status, ..Script::default() };
        let bad = Provider::start(Config { script, ..Config::default() }).expect("a provider");
        config.push_str(&provider_table(&format!("bad-{status}"), &bad));
        config.push_str(&format!(
            "[[model]]\nid = \"fake/s{status}\"\ncontext = 128000\nmax_output = 16384\ncan = [\"streaming\"]\n\
             [[model.offers]]\nprovider = \"bad-{status}\"\nwire_id = \"s{status}\"\nprice = {{ input = 1000, output = 2000 }}\n\
             [[model.offers]]\nprovider = \"sound\"\nwire_id = \"s{status}\"\nprice = {{ input = 1000, output = 2000 }}\n"
        ));
        providers.push(bad);
    }
    let gateway = Setup::new().config(&config).start();
    for (status, client, failed_over) in rows {
        for stream in [false, true] {
            let answer = ask(&gateway, &format!("fake/s{status}"), stream);
            assert_eq!(answer.status, client, "{status}, stream {stream}: {}", answer.text());
            let by_sound = answer.field("x-pointsman-provider") == Some("sound");
            assert_eq!(by_sound, failed_over, "{status}, stream {stream}");
            if client != 200 {
                let error = answer.json();
                assert_eq!(error["error"].as_object().map(|e| e.len()), Some(4), "{error}");
            }
        }
    }
}

#[test]
fn when_every_target_fails_the_client_is_told_when_to_come_back() {
    let limited = Script { status: 429, retry_after: Some("7".into()), ..Script::default() };
    let provider = Provider::start(Config { script: limited, ..Config::default() }).expect("one");
    let model = tests::FakeModel { id: "fake/one", ability: 0.0, input: 1, output: 1 };
    let gateway = Setup::new().provider("fake", &provider, &[model]).start();
    let answer = ask(&gateway, "fake/one", false);
    assert_eq!(answer.status, 429);
    assert_eq!(answer.field("retry-after"), Some("7"));
    // The offer rests, and whoever comes meanwhile is told without a call.
    let before = provider.counters().requests;
    let mut refused = 0;
    for _ in 0..5 {
        let answer = ask(&gateway, "fake/one", false);
        assert!([429, 503].contains(&answer.status), "{answer:?}");
        assert!(answer.field("retry-after").is_some(), "{answer:?}");
        refused += u32::from(answer.status == 503);
    }
    assert!(
        refused >= 4,
        "a resting offer was called {} times",
        provider.counters().requests - before
    );
    let usage = gateway_settled(&gateway, 1);
    assert_eq!(usage["total"]["cost_pico_usd"], "0");
}

//! The generator against the fake provider over real sockets: what it calls a failure, and that it
//! counts a target's pauses as its users would.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use loadtest::generator::{Arrival, Body, Load, Report, Template, prompts_from_jsonl};
use loadtest::provider::{Config, Provider, Script};
use serde_json::json;

const REQUESTS: u64 = 6;

/// A few requests over two connections, ended by their count.
fn few(target: SocketAddr, script: serde_json::Value, stream: bool) -> Load {
    let template = Template { stream, script: Some(script), ..Template::default() };
    Load {
        connections: 2,
        requests_max: Some(REQUESTS),
        duration: Duration::from_secs(60),
        timeout: Duration::from_secs(30),
        ..Load::new(target, template)
    }
}

fn errors(report: &Report) -> Vec<(&str, u64)> {
    report.errors.iter().map(|(kind, count)| (kind.as_str(), *count)).collect()
}

#[test]
fn every_way_of_being_incomplete_is_told_apart() {
    let provider = Provider::start(Config::default()).expect("a free port");
    let table = [
        // (stream, fault, what the generator calls it)
        (true, "eof", "incomplete"),
        (true, "no_done", "incomplete"),
        (true, "no_finish", "incomplete"),
        (true, "cut", "cut"),
        (true, "reset", "cut"),
        (true, "swap", "order"),
        (true, "skip", "order"),
        (true, "repeat", "order"),
        (true, "error_event", "error_event"),
        (true, "bad_chunk", "bad_http"),
        (true, "both_lengths", "bad_http"),
        (true, "html", "bad_body"),
        (false, "garbage", "bad_http"),
        (false, "refuse", "no_answer"),
        (false, "cut", "cut"),
        (false, "reset", "cut"),
        (false, "eof", "bad_body"),
        (false, "null", "bad_body"),
        (false, "empty", "bad_body"),
        (false, "error_object", "bad_body"),
        (false, "html", "bad_body"),
    ];
    for (stream, fault, expected) in table {
        let script = json!({ "fault": fault, "after": 2 });
        let report = few(provider.addr(), script, stream).run().expect("it runs");
        assert_eq!(errors(&report), [(expected, REQUESTS)], "{fault}, stream {stream}");
    }
    let whole = [
        json!({}),
        json!({ "split": 3 }),
        json!({ "coalesce": 99 }),
        json!({ "close": true }),
        json!({ "fault": "flood1xx" }),
    ];
    for script in whole {
        for stream in [false, true] {
            let report = few(provider.addr(), script.clone(), stream).run().expect("it runs");
            assert_eq!((report.completed, report.failed), (REQUESTS, 0), "{script}: {report:?}");
        }
    }
}

#[test]
fn statuses_counts_timeouts_and_deaf_targets_are_told_apart() {
    let provider = Provider::start(Config::default()).expect("a free port");
    let run = |load: Load| load.run().expect("it runs");
    let report = run(few(provider.addr(), json!({ "status": 429 }), true));
    assert_eq!(errors(&report), [("status_429", REQUESTS)]);
    let report = run(Load {
        chunks_expected: Some(9),
        ..few(provider.addr(), json!({ "chunks": 8 }), true)
    });
    assert_eq!(errors(&report), [("count", REQUESTS)]);
    for fault in ["stall", "stall_head"] {
        let report = run(Load {
            timeout: Duration::from_millis(50),
            ..few(provider.addr(), json!({ "fault": fault, "after": 1 }), true)
        });
        assert_eq!(errors(&report), [("timeout", REQUESTS)], "{fault}");
    }
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let deaf = free.local_addr().expect("it has one");
    drop(free);
    let report = run(few(deaf, json!({}), false));
    assert_eq!(errors(&report), [("connect", REQUESTS)]);
}

#[test]
fn a_paused_target_is_late_for_everybody_who_was_due() {
    // Every 400th request stops the whole provider for 600 ms; one is due every 2 ms. Whoever was
    // due in the first half of the pause waits 300 ms and more: at least 150 of 700 requests. Only
    // the two that were under way show it in the uncorrected times.
    let provider = Provider::start(Config::default()).expect("a free port");
    let script = json!({ "fault": "pause", "after": 600, "fail_every": 400 });
    let load = Load {
        arrival: Arrival::Rate(500.0),
        connections: 2,
        requests_max: Some(700),
        ..few(provider.addr(), script, false)
    };
    let report = load.run().expect("it runs");
    assert_eq!(report.completed, 700);
    assert!(report.latency.p90 > 290_000, "corrected: {:?}", report.latency);
    assert!(report.service.p50 < report.latency.p90, "{:?}", report.service);
    assert!(report.lateness.max > 500_000, "{:?}", report.lateness);
}

#[test]
fn a_rate_sends_what_is_due_and_accounts_for_the_rest() {
    let provider = Provider::start(Config::default()).expect("a free port");
    let script = json!({ "first_ms": 200 });
    let base = few(provider.addr(), script, false);
    // One connection at five answers per second can never serve 1,000 requests per second.
    let load = Load {
        arrival: Arrival::Rate(1_000.0),
        connections: 1,
        requests_max: None,
        duration: Duration::from_millis(700),
        warm_up: Duration::from_millis(100),
        ..base
    };
    let report = load.run().expect("it runs");
    let unsent = report.errors.get("unsent").copied().unwrap_or_default();
    assert_eq!(report.completed + report.failed, 700, "{report:?}");
    assert!(report.completed <= 4 && unsent >= 695, "{report:?}");
    assert!(report.latency.p50 > 100_000, "they waited: {:?}", report.latency);
}

#[test]
fn what_the_generator_counts_is_what_the_provider_delivered() {
    let provider = Provider::start(Config::default()).expect("a free port");
    provider.set_script(Script { demo: true, ..Script::default() });
    let lines = "{\"text\":\"What is a pointsman?\"}\n{\"prompt\":\"Tell me \\\"all\\\" about signals, please.\"}";
    for stream in [false, true] {
        let template = Template {
            body: Body::Prompts(prompts_from_jsonl(lines).expect("two prompts")),
            model: "auto".to_owned(),
            stream,
            include_usage: true,
            key: Some("k".to_owned()),
            ..Template::default()
        };
        let before = provider.counters().models.get("auto").copied().unwrap_or_default();
        let load = Load { requests_max: Some(40), ..Load::new(provider.addr(), template) };
        let report = Load { duration: Duration::from_secs(60), ..load }.run().expect("it runs");
        let after = provider.counters().models["auto"];
        assert_eq!((report.completed, report.failed), (40, 0), "{report:?}");
        assert_eq!(after.completed - before.completed, 40);
        assert_eq!(report.prompt_tokens, after.tokens.prompt - before.tokens.prompt);
        assert_eq!(report.completion_tokens, after.tokens.completion - before.tokens.completion);
        assert!(report.completion_tokens > 0);
        assert_eq!(report.models, [("auto".to_owned(), 40)].into());
    }
}

#[test]
fn large_bodies_and_many_streams_arrive_whole() {
    let provider = Provider::start(Config::default()).expect("a free port");
    let template = Template { body: Body::Sized(400 << 10), ..Template::default() };
    let load = Load {
        requests_max: Some(50),
        duration: Duration::from_secs(60),
        ..Load::new(provider.addr(), template)
    };
    let report = load.run().expect("it runs");
    assert_eq!((report.completed, report.failed), (50, 0), "{report:?}");
    let script = json!({ "chunks": 64, "gap_ms": 5 });
    let load = Load {
        connections: 500,
        requests_max: Some(500),
        chunks_expected: Some(64),
        ..few(provider.addr(), script, true)
    };
    let report = load.run().expect("it runs");
    assert_eq!((report.completed, report.failed, report.chunks), (500, 0, 32_000), "{report:?}");
}

//! What a connection leaves behind for the next request on it, and for whoever waits for its end.

use loadtest::provider::{Config, Fault, Provider, Script};
use std::collections::BTreeMap;
use tests::{FakeModel, Gateway, Setup};

const GOOD: FakeModel = FakeModel { id: "fake/good", ability: 0.0, input: 1_000, output: 2_000 };
const BAD: FakeModel = FakeModel { id: "fake/bad", ability: 0.0, input: 1_000, output: 2_000 };

fn request(gateway: &Gateway, model: &str) -> Vec<u8> {
    let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}"#);
    let key = gateway.key();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn world(good: Script, bad: Script) -> (loadtest::provider::Handle, Gateway) {
    let models = BTreeMap::from([(GOOD.id.to_owned(), good), (BAD.id.to_owned(), bad)]);
    let provider = Provider::start(Config { models, ..Config::default() }).expect("a provider");
    let gateway = Setup::new()
        .provider("fake", &provider, &[GOOD, BAD])
        .config("[server]\ncores = 1\n")
        .start();
    (provider, gateway)
}

#[test]
fn a_refused_head_request_has_no_body() {
    let (_provider, gateway) = world(Script::default(), Script::default());
    let mut connection = gateway.connect();
    connection.send(
        b"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert_eq!(connection.head().status, 401);
    let answer = connection.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), r#"{"status":"ok"}"#);
}

#[test]
fn a_request_goes_out_once_more_at_most_when_idle_connections_are_lost() {
    let slow = Script { first_ms: 300, ..Script::default() };
    let (provider, gateway) =
        world(slow, Script { fault: Some(Fault::Refuse), ..Script::default() });
    // Four at once, so that four connections are idle afterwards.
    let mut connections: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
    connections.iter_mut().for_each(|connection| connection.send(&request(&gateway, GOOD.id)));
    for connection in &mut connections {
        assert_eq!(connection.answer().status, 200);
    }
    assert_eq!(provider.counters().connections, 4);
    let mut connection = gateway.connect();
    connection.send(&request(&gateway, BAD.id));
    assert_eq!(connection.answer().status, 502);
    assert_eq!(provider.counters().models[BAD.id].requests, 2);
}

#[test]
fn a_client_that_leaves_is_noticed_behind_bytes_that_it_sent() {
    let stalls = Script { fault: Some(Fault::StallHead), ..Script::default() };
    let (provider, gateway) = world(Script::default(), stalls);
    let mut connection = gateway.connect();
    connection.send(&request(&gateway, BAD.id));
    gateway.until("the provider has it", |_| provider.counters().requests == 1);
    connection.send(b"\r\n");
    drop(connection);
    gateway.until("the provider's call is cancelled", |_| {
        provider.counters().cancelled == 1 || provider.counters().failed == 1
    });
    gateway.until("the client's leaving is counted", |gateway| {
        gateway.metrics().contains("client_closed")
    });
}

#[test]
fn a_connection_that_sent_nothing_does_not_hold_up_the_stop() {
    let (_provider, gateway) = world(Script::default(), Script::default());
    let connection = gateway.connect();
    assert!(gateway.stop().success());
    drop(connection);
}

//! Keys on a running gateway: made, used, revoked.

use loadtest::provider::{Config, Provider};
use tests::{FakeModel, Setup};

const MODEL: FakeModel = FakeModel { id: "fake/one", ability: 0.0, input: 1_000, output: 2_000 };

/// The status of `GET /v1/models` with a key.
fn status_with(gateway: &tests::Gateway, key: &str) -> (u16, Option<String>) {
    let mut connection = gateway.connect();
    connection.send(
        format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n")
            .as_bytes(),
    );
    let answer = connection.answer();
    let code = answer.json()["error"]["code"].as_str().map(str::to_owned);
    (answer.status, code)
}

#[test]
fn a_key_works_soon_after_it_was_made_and_no_longer_soon_after_it_was_revoked() {
    let provider = Provider::start(Config::default()).expect("a provider");
    let gateway = Setup::new().provider("fake", &provider, &[MODEL]).start();
    let key = gateway.create_key(&["--name", "second", "--team", "a"]);
    gateway.until("a new key is known", |gateway| status_with(gateway, &key.secret).0 == 200);

    gateway.command(&["key", "revoke", &key.id.to_string()]);
    let begun = std::time::Instant::now();
    gateway.until("a revoked key is refused", |gateway| status_with(gateway, &key.secret).0 == 401);
    let took = begun.elapsed();
    assert!(took.as_secs() < 5, "a revocation took {took:?}; one second is promised");
    let refused = (401, Some("revoked_api_key".to_owned()));
    assert_eq!(status_with(&gateway, &key.secret), refused);
    assert_eq!(status_with(&gateway, gateway.key()).0, 200, "the other key is untouched");
}

#[test]
fn a_revoked_key_is_refused_on_a_connection_that_it_opened() {
    let provider = Provider::start(Config::default()).expect("a provider");
    let gateway = Setup::new().provider("fake", &provider, &[MODEL]).start();
    let key = gateway.create_key(&["--name", "second"]);
    gateway.until("a new key is known", |gateway| status_with(gateway, &key.secret).0 == 200);
    let mut connection = gateway.connect();
    let request = format!(
        "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        key.secret
    );
    connection.send(request.as_bytes());
    assert_eq!(connection.answer().status, 200);
    gateway.command(&["key", "revoke", &key.id.to_string()]);
    gateway.until("the open connection is refused", |_| {
        connection.send(request.as_bytes());
        connection.answer().status == 401
    });
}

#[test]
fn a_key_survives_a_restart_and_its_secret_stands_in_no_file() {
    let gateway = Setup::new().start().crash_and_restart();
    assert_eq!(status_with(&gateway, gateway.key()).0, 200);
    let secret = gateway.key().as_bytes();
    let mut folders = vec![gateway.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the gateway's folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                // The gateway removes journal segments that it has folded.
                let Ok(bytes) = std::fs::read(entry.path()) else { continue };
                let found = bytes.windows(secret.len()).any(|window| window == secret);
                assert!(!found, "{} holds a key", entry.path().display());
            }
        }
    }
}

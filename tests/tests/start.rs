//! Starting: with a broken configuration, without a provider's key, with nothing at all.

use std::path::Path;
use std::process::{Command, Output};

use loadtest::provider::{Config, Provider};
use tests::http::{self, Answer};
use tests::{FakeModel, Gateway, Setup};

const MODEL: FakeModel = FakeModel { id: "fake/one", ability: 0.0, input: 50_000, output: 200_000 };

fn ask(gateway: &Gateway, key: &str, model: &str) -> Answer {
    let body = format!(
        r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}"#
    );
    let mut connection = gateway.connect();
    connection.send(&http::chat(key, body.as_bytes()));
    connection.answer()
}

/// Runs the binary in `folder` to its end.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(tests::pointsman())
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .output()
        .expect("it can be started")
}

#[test]
fn a_broken_configuration_names_file_line_and_key_and_starts_nothing() {
    let rows: &[(&str, &[&str])] = &[
        ("[server]\nlisten = \"nowhere\"\n", &["pointsman.toml:2", "listen"]),
        ("[server]\nlissten = \"127.0.0.1:0\"\n", &["pointsman.toml:2", "lissten"]),
        ("[limits]\nattempts = 99\n", &["pointsman.toml:2", "attempts", "1 to 8"]),
        ("[routing]\nstrategy = \"cheap\"\n", &["pointsman.toml:2", "cheap", "balanced"]),
        (
            "[[provider]]\nid = \"a\"\nbase_url = \"x\"\nmodels = [\"m\"]\n",
            &["pointsman.toml:2", "base_url"],
        ),
        ("not toml\n", &["pointsman.toml:1"]),
    ];
    for (config, named) in rows {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("pointsman.toml"), config).expect("written");
        let serve = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        for arguments in [&serve[..], &["check"]] {
            let output = run(folder.path(), arguments);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{config:?} {arguments:?}: {said}");
            for part in *named {
                assert!(said.contains(part), "{config:?} {arguments:?}: {said:?} lacks {part:?}");
            }
            let made = std::fs::read_dir(folder.path()).expect("a folder").count();
            assert_eq!(made, 1, "something was made beside the configuration");
        }
    }
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_its_address() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("pointsman.toml"), "[classifier]\nrules_only = true\n")
        .expect("written");
    let output = run(folder.path(), &["--listen", "127.0.0.1:0", "--admin", &taken]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("admin {taken}")), "{said}");
}

#[test]
fn a_provider_key_that_is_missing_disables_that_provider_only() {
    const KEY: &str = "locked-key-0123456789";
    let provider = Provider::start(Config { record: 2, ..Config::default() }).expect("a provider");
    let locked = format!(
        "[[provider]]\nid = \"locked\"\nbase_url = \"{}\"\nenv = \"LOCKED_API_KEY\"\nmodels = [\"secret\"]\n",
        provider.base_url()
    );
    let setup = || Setup::new().provider("fake", &provider, &[MODEL]).config(&locked);

    let gateway = setup().start();
    let log = gateway.log();
    let lines = log.lines().filter(|line| line.contains("LOCKED_API_KEY")).count();
    assert_eq!(lines, 1, "one line says so: {log}");
    assert_eq!(ask(&gateway, gateway.key(), "locked/secret").status, 404);
    assert_eq!(ask(&gateway, gateway.key(), "auto").status, 200, "the other provider serves");

    let gateway = setup().environment("LOCKED_API_KEY", KEY).start();
    assert_eq!(ask(&gateway, gateway.key(), "locked/secret").status, 200);
    let last = provider.recorded().pop().expect("a request");
    let head = String::from_utf8_lossy(&last.head);
    assert!(head.contains(&format!("Bearer {KEY}")), "the provider got its own key: {head}");
    assert!(!gateway.log().contains(KEY), "the log holds a provider's key");
}

#[test]
fn a_demo_needs_nothing_and_answers() {
    let gateway = Setup::new().argument("--demo").start();
    gateway.until("a key is shown", |gateway| gateway.log().contains("API key"));
    let log = gateway.log();
    let key = log.lines().find(|line| line.starts_with("API key")).expect("a line with the key");
    let key = key.rsplit(' ').next().unwrap_or_default();
    for _ in 0..8 {
        // One of the scripted providers fails now and then; nobody notices.
        let answer = ask(&gateway, key, "auto");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{answer:?}");
        assert!(answer.field("x-pointsman-model").is_some_and(|model| model.starts_with("demo/")));
    }
}

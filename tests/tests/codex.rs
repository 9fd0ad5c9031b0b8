//! The real Codex against the gateway: it asks, runs the command that the model calls for, and gives the
//! result back, whichever dialect the provider speaks.
//!
//! `POINTSMAN_TEST_CODEX` names the program; `POINTSMAN_TEST_CLIENTS=1 ./tools/test` installs it. Without it
//! these tests say so and pass.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use loadtest::provider::{Config, Fault, Handle, Provider, Script, ToolCall};
use serde_json::Value;
use tests::{FakeModel, Gateway, Setup};

const ANSWER: &str = "The signal stands at forty-two.";

const PROVIDERS: [(&str, &str); 3] = [
    ("openai-responses", "fake/codex"),
    ("openai-chat", "fake/open"),
    ("anthropic-messages", "fake/claude"),
];

fn codex() -> Option<PathBuf> {
    let found = std::env::var_os("POINTSMAN_TEST_CODEX").map(PathBuf::from);
    if found.is_none() {
        eprintln!("LEFT OUT: POINTSMAN_TEST_CODEX does not name a Codex program");
    }
    found
}

/// Says the answer and calls a command, until it has the command's result.
fn caller() -> Script {
    let command = r#"{"cmd":"echo signal-$((40+2))"}"#;
    Script {
        text: Some(ANSWER.to_owned()),
        chunk_bytes: 6,
        reasoning_chunks: 1,
        tool_calls: vec![ToolCall {
            name: "exec_command".to_owned(),
            arguments: command.to_owned(),
            fragments: 3,
        }],
        calls_until_result: true,
        ..Script::default()
    }
}

fn provider(models: &[(&str, Script)]) -> Handle {
    let models = models.iter().map(|(name, script)| ((*name).to_owned(), script.clone()));
    let config =
        Config { models: models.collect::<BTreeMap<_, _>>(), record: 16, ..Config::default() };
    Provider::start(config).expect("a provider")
}

fn model(id: &'static str) -> FakeModel {
    FakeModel { id, ability: 0.0, input: 1_000, output: 2_000 }
}

/// One `codex exec` with a home and a work folder of its own.
fn ask(codex: &Path, gateway: &Gateway, model: &str) -> Output {
    let home = tempfile::tempdir().expect("a temporary folder");
    let config = format!(
        "model = \"{model}\"\nmodel_provider = \"pointsman\"\nmodel_context_window = 128000\n\
         [model_providers.pointsman]\nname = \"Pointsman\"\nbase_url = \"{}\"\nenv_key = \"POINTSMAN_KEY\"\n\
         wire_api = \"responses\"\n",
        gateway.base_url()
    );
    std::fs::write(home.path().join("config.toml"), config).expect("written");
    let work = home.path().join("work");
    std::fs::create_dir(&work).expect("a folder");
    Command::new(codex)
        .args(["exec", "--skip-git-repo-check", "--json"])
        // The test itself stands between the command and the machine: it is an `echo`.
        .arg("--dangerously-bypass-approvals-and-sandbox")
        .arg("At what does the signal stand?")
        .current_dir(work)
        .env("HOME", home.path())
        .env("CODEX_HOME", home.path())
        .env("POINTSMAN_KEY", gateway.key())
        .env_remove("OPENAI_API_KEY")
        .stdin(Stdio::null())
        .output()
        .expect("Codex can be started")
}

/// The texts of all whole messages that Codex reports.
fn said(output: &Output) -> String {
    let lines = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{lines}\n{complaints}");
    let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let items = events.map(|event| event["item"].clone());
    let texts = items.filter(|item| item["type"] == "agent_message");
    texts.filter_map(|item| item["text"].as_str().map(str::to_owned)).collect()
}

#[test]
fn codex_runs_a_command_and_tells_its_result() {
    let Some(codex) = codex() else { return };
    for (dialect, id) in PROVIDERS {
        let provider = provider(&[(id, caller())]);
        let gateway = Setup::new().provider_in(dialect, "fake", &provider, &[model(id)]).start();
        let output = ask(&codex, &gateway, id);
        assert!(said(&output).contains(ANSWER), "{dialect}: {output:?}");
        let recorded = provider.recorded();
        assert_eq!(recorded.len(), 2, "{dialect}: one request with a call, one with its result");
        let first = String::from_utf8_lossy(&recorded[0].body);
        let second = String::from_utf8_lossy(&recorded[1].body);
        assert!(
            !first.contains("signal-42") && second.contains("signal-42"),
            "{dialect}: {second}"
        );
        assert!(!second.contains("pmst1_"), "{dialect}: nothing of ours reaches a provider");
        let sent: Value = serde_json::from_str(&second).expect("JSON");
        if dialect == "openai-responses" {
            assert_eq!(sent["store"], false);
        }
        gateway.until("the journal is folded", |gateway| {
            gateway.usage("model")["total"]["calls"].as_u64() == Some(2)
        });
    }
}

#[test]
fn codex_asks_auto_and_never_sees_a_provider_that_is_down() {
    let Some(codex) = codex() else { return };
    let down = Script { status: 503, ..Script::default() };
    let down = provider(&[("fake/codex", down)]);
    let sound = provider(&[("fake/claude", caller())]);
    // The one that is down is better and cheaper, so it is always asked first.
    let better = FakeModel { id: "fake/codex", ability: 2.0, input: 10, output: 20 };
    let gateway = Setup::new()
        .provider_in("openai-responses", "down", &down, &[better])
        .provider_in("anthropic-messages", "sound", &sound, &[model("fake/claude")])
        .start();
    let output = ask(&codex, &gateway, "auto");
    assert!(said(&output).contains(ANSWER), "{output:?}");
    assert!(down.counters().requests > 0, "it was asked");
    assert_eq!(sound.counters().completed, 2);
}

#[test]
fn codex_asks_again_when_a_stream_broke_off() {
    let Some(codex) = codex() else { return };
    // The second request, which brings the result of the command, breaks off after its first content.
    let breaks =
        Script { fault: Some(Fault::Cut), after: 4, gap_ms: 20, fail_every: 2, ..caller() };
    for (dialect, id) in PROVIDERS {
        let provider = provider(&[(id, breaks.clone())]);
        let gateway = Setup::new().provider_in(dialect, "fake", &provider, &[model(id)]).start();
        let output = ask(&codex, &gateway, id);
        assert!(said(&output).contains(ANSWER), "{dialect}: {output:?}");
        assert_eq!(provider.counters().requests, 3, "{dialect}");
    }
}

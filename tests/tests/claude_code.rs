//! The real Claude Code against the gateway: it asks, runs the command that the model calls for, and
//! gives the result back, whichever dialect the provider speaks.
//!
//! `POINTSMAN_TEST_CLAUDE` names the program (`npm install @anthropic-ai/claude-code@2.1.329`). Without it
//! this test says so and passes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use loadtest::provider::{Config, Provider, Script, ToolCall};
use tests::{FakeModel, Setup};

const ANSWER: &str = "The signal stands at forty-two.";

/// Calls a command in the first request, and says the answer in all others.
fn caller() -> Script {
    let command = r#"{"command":"echo signal-$((40+2))","description":"Looks at the signal"}"#;
    Script {
        text: Some(ANSWER.to_owned()),
        chunk_bytes: 6,
        reasoning_chunks: 1,
        tool_calls: vec![ToolCall {
            name: "Bash".to_owned(),
            arguments: command.to_owned(),
            fragments: 3,
        }],
        calls_in_first: 1,
        ..Script::default()
    }
}

#[test]
fn claude_code_runs_a_command_and_tells_its_result() {
    let Some(claude) = std::env::var_os("POINTSMAN_TEST_CLAUDE").map(PathBuf::from) else {
        eprintln!("LEFT OUT: POINTSMAN_TEST_CLAUDE does not name a Claude Code program");
        return;
    };
    let model = |id| FakeModel { id, ability: 0.0, input: 1_000, output: 2_000 };
    let providers = [
        ("anthropic-messages", "fake/claude"),
        ("openai-chat", "fake/open"),
        ("openai-responses", "fake/codex"),
    ];
    for (dialect, id) in providers {
        let models = BTreeMap::from([
            (id.to_owned(), caller()),
            ("fake/small".to_owned(), Script::default()),
        ]);
        let config = Config { models, record: 32, ..Config::default() };
        let provider = Provider::start(config).expect("a provider");
        let gateway = Setup::new()
            .provider_in(dialect, "fake", &provider, &[model(id), model("fake/small")])
            .start();
        let home = tempfile::tempdir().expect("a temporary folder");
        let base_url = gateway.base_url();
        let output = Command::new(&claude)
            .args(["-p", "At what does the signal stand?", "--allowedTools", "Bash"])
            .current_dir(home.path())
            .env("HOME", home.path())
            .env("ANTHROPIC_BASE_URL", base_url.trim_end_matches("/v1"))
            .env("ANTHROPIC_API_KEY", gateway.key())
            .env("ANTHROPIC_MODEL", id)
            .env("ANTHROPIC_DEFAULT_HAIKU_MODEL", "fake/small")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env_remove("ANTHROPIC_AUTH_TOKEN")
            .stdin(Stdio::null())
            .output()
            .expect("Claude Code can be started");
        let said = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{dialect}: {said}\n{complaints}");
        assert!(said.contains(ANSWER), "{dialect}: {said}\n{complaints}");
        let recorded = provider.recorded();
        let bodies: Vec<String> = recorded
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body).into_owned())
            .collect();
        let last = bodies.iter().rfind(|body| body.contains(id)).expect("it was asked");
        assert!(last.contains("signal-42"), "{dialect}: the result goes back: {last}");
        assert!(bodies.iter().all(|body| !body.contains("pmst1_")), "{dialect}: ours stays here");
        if dialect != "anthropic-messages" {
            assert!(!last.contains("x-anthropic-billing-header"), "{last}");
        }
    }
}

//! The real Claude Code against the gateway: it asks, runs the command that the model calls for, and
//! gives the result back, whichever dialect the provider speaks.
//!
//! `POINTSMAN_TEST_CLAUDE` names the program; `POINTSMAN_TEST_CLIENTS=1 ./tools/test` installs it. Without it
//! these tests say so and pass.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use loadtest::provider::{Config, Handle, Provider, Script, ToolCall};
use serde_json::Value;
use tests::{FakeModel, Gateway, Setup};

const ANSWER: &str = "The signal stands at forty-two.";

fn claude_code() -> Option<PathBuf> {
    let found = std::env::var_os("POINTSMAN_TEST_CLAUDE").map(PathBuf::from);
    if found.is_none() {
        eprintln!("LEFT OUT: POINTSMAN_TEST_CLAUDE does not name a Claude Code program");
    }
    found
}

/// Says the answer and calls a command, until it has the command's result.
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
        calls_until_result: true,
        ..Script::default()
    }
}

fn provider(id: &str, script: Script) -> Handle {
    let models = BTreeMap::from([(id.to_owned(), script)]);
    Provider::start(Config { models, record: 16, ..Config::default() }).expect("a provider")
}

fn model(id: &'static str) -> FakeModel {
    FakeModel { id, ability: 0.0, input: 1_000, output: 2_000 }
}

/// One question to Claude Code, with a home and a work folder of its own.
fn ask(program: &Path, gateway: &Gateway, model: &str) -> Output {
    let home = tempfile::tempdir().expect("a temporary folder");
    let work = home.path().join("work");
    std::fs::create_dir(&work).expect("a folder");
    Command::new(program)
        .args(["-p", "At what does the signal stand?", "--model", model])
        // The one command that the scripts call for.
        .args(["--allowedTools", "Bash(echo:*)", "--output-format", "json"])
        .current_dir(work)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("ANTHROPIC_BASE_URL", gateway.base_url().trim_end_matches("/v1"))
        .env("ANTHROPIC_AUTH_TOKEN", gateway.key())
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .stdin(Stdio::null())
        .output()
        .expect("Claude Code can be started")
}

#[test]
fn claude_code_runs_a_command_and_tells_its_result() {
    let Some(program) = claude_code() else { return };
    let rows = [
        ("anthropic-messages", "fake/claude", "fake/claude"),
        ("anthropic-messages", "fake/claude", "claude-auto"),
        ("openai-chat", "fake/open", "fake/open"),
        ("openai-chat", "fake/open", "claude-auto"),
        ("openai-responses", "fake/codex", "fake/codex"),
        ("gemini-generate", "fake/gemini", "fake/gemini"),
    ];
    for (dialect, id, asked) in rows {
        let fake = provider(id, caller());
        let gateway = Setup::new().provider_in(dialect, "fake", &fake, &[model(id)]).start();
        let output = ask(&program, &gateway, asked);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{dialect}, {asked}: {said}");
        let end: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(end["result"], ANSWER, "{dialect}, {asked}: {end}");
        assert_eq!(end["num_turns"], 2, "{dialect}, {asked}: {end}");

        // Only the request after the command holds what it printed.
        let recorded = fake.recorded();
        let bodies: Vec<_> =
            recorded.iter().map(|one| String::from_utf8_lossy(&one.body)).collect();
        let with_result: Vec<_> = bodies.iter().filter(|body| body.contains("signal-42")).collect();
        assert_eq!(with_result.len(), 1, "{dialect}, {asked}: {} requests", bodies.len());
        assert!(!with_result[0].contains("pmst1_"), "nothing of ours reaches a provider");
        // It asks for 32,000 tokens of every model, and this one gives 16,384.
        let sent: Value = serde_json::from_str(with_result[0]).expect("JSON");
        let limits = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        let limit = limits.iter().find_map(|name| sent[*name].as_u64());
        let limit = limit.or(sent["generationConfig"]["maxOutputTokens"].as_u64());
        assert_eq!(limit, Some(16_384), "{dialect}, {asked}");
        let is_claude = dialect == "anthropic-messages";
        // Who is billed is Anthropic's business, and would spoil the caches of others.
        let keeps = with_result[0].contains("x-anthropic-billing-header");
        assert_eq!(keeps, is_claude, "{dialect}, {asked}");
        let head = String::from_utf8_lossy(&recorded[0].head).to_ascii_lowercase();
        for field in ["anthropic-beta: ", "user-agent: claude-cli", "x-app: cli"] {
            assert_eq!(head.contains(field), is_claude, "{dialect}, {asked}: {field}");
        }
    }
}

#[test]
fn claude_code_tells_its_user_what_went_wrong() {
    let Some(program) = claude_code() else { return };
    let refusing = Script { status: 400, ..Script::default() };
    let fake = provider("fake/small", refusing);
    let gateway = Setup::new().provider("fake", &fake, &[model("fake/small")]).start();
    let rows = [("fake/small", "The provider rejected the request"), ("nobody", "nobody")];
    for (asked, part) in rows {
        let output = ask(&program, &gateway, asked);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains(part), "{asked}: {said}");
    }
}

//! Real SDKs against the gateway: what users do, with what users have.

use std::collections::BTreeMap;
use std::process::Command;

use loadtest::provider::{Config, Fault, Provider, Script, ToolCall};
use tests::{FakeModel, Setup, python, repository};

const SMALL: FakeModel =
    FakeModel { id: "fake/small", ability: -1.0, input: 50_000, output: 200_000 };
const LARGE: FakeModel =
    FakeModel { id: "fake/large", ability: 2.0, input: 3_000_000, output: 15_000_000 };
const ECHO: FakeModel = FakeModel { id: "fake/echo", ability: -2.0, input: 1_000, output: 1_000 };
const CALLER: FakeModel =
    FakeModel { id: "fake/caller", ability: -2.0, input: 1_000, output: 1_000 };

#[test]
fn the_openai_sdk_for_python_finds_what_it_expects() {
    let Some(python) = python() else {
        eprintln!("LEFT OUT: no Python SDKs here; ./tools/test installs them and runs this test");
        return;
    };
    let weather = ToolCall {
        name: "weather".into(),
        arguments: r#"{"city":"Bern","unit":"celsius"}"#.into(),
        fragments: 5,
    };
    let models = BTreeMap::from([
        ("fake/small".to_owned(), Script::default()),
        ("fake/large".to_owned(), Script::default()),
        ("fake/echo".to_owned(), Script { echo: true, ..Script::default() }),
        (
            "fake/caller".to_owned(),
            Script { chunks: 0, tool_calls: vec![weather], ..Script::default() },
        ),
    ]);
    let provider = Provider::start(Config { models, ..Config::default() }).expect("a provider");
    let gateway = Setup::new()
        .classifier()
        .provider("fake", &provider, &[SMALL, LARGE, ECHO, CALLER])
        .start();
    let output = Command::new(python)
        .arg(repository().join("tests/python/openai_sdk.py"))
        .env("OPENAI_BASE_URL", gateway.base_url())
        .env("OPENAI_API_KEY", gateway.key())
        .output()
        .expect("python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(said.trim_end().ends_with("all good"), "{said}\n{complaints}");

    // What the ledger says agrees with what the provider delivered.
    let delivered = provider.counters();
    assert_eq!(delivered.completed, delivered.requests, "{delivered:?}");
    gateway.until("the journal is folded", |gateway| {
        gateway.usage("model")["total"]["calls"].as_u64() == Some(delivered.completed)
    });
}

/// The Anthropic SDK before providers of both dialects, and the OpenAI SDK before one that speaks
/// Anthropic messages.
#[test]
fn the_sdks_for_python_reach_providers_of_the_other_dialect() {
    let Some(python) = python() else {
        eprintln!("LEFT OUT: no Python SDKs here; ./tools/test installs them and runs this test");
        return;
    };
    let weather = ToolCall {
        name: "weather".into(),
        arguments: r#"{"city":"Bern","unit":"celsius"}"#.into(),
        fragments: 5,
    };
    let caller =
        Script { chunks: 0, reasoning_chunks: 2, tool_calls: vec![weather], ..Script::default() };
    let cut = Script { fault: Some(Fault::Cut), after: 3, ..Script::default() };
    let start = |models: &[(&str, Script)]| {
        let models = models.iter().map(|(name, script)| ((*name).to_owned(), script.clone()));
        let config = Config { models: models.collect(), ..Config::default() };
        Provider::start(config).expect("a provider")
    };
    let open = start(&[
        ("fake/small", Script::default()),
        ("fake/caller", caller.clone()),
        ("fake/cut", cut.clone()),
        ("fake/broken", Script { status: 500, ..Script::default() }),
    ]);
    let claude = start(&[
        ("fake/claude", Script::default()),
        ("fake/claude-caller", caller),
        ("fake/claude-cut", cut),
    ]);
    let model = |id| FakeModel { id, ..SMALL };
    let gateway = Setup::new()
        .provider("open", &open, &[SMALL, CALLER, model("fake/cut"), model("fake/broken")])
        .provider_in(
            "anthropic-messages",
            "claude",
            &claude,
            &[model("fake/claude"), model("fake/claude-caller"), model("fake/claude-cut")],
        )
        .start();
    for script in ["anthropic_sdk.py", "openai_to_anthropic.py"] {
        let output = Command::new(&python)
            .arg(repository().join("tests/python").join(script))
            .env("OPENAI_BASE_URL", gateway.base_url())
            .env("OPENAI_API_KEY", gateway.key())
            .env("ANTHROPIC_BASE_URL", gateway.base_url().trim_end_matches("/v1"))
            .env("ANTHROPIC_API_KEY", gateway.key())
            .output()
            .expect("python can be started");
        let said = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{complaints}");
        assert!(said.trim_end().ends_with("all good"), "{said}\n{complaints}");
    }
}

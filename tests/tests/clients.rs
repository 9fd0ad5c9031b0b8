//! Clients that people use, unmodified, before providers of either dialect: frameworks, and SDKs for
//! JavaScript.
//!
//! The frameworks take minutes to install. `POINTSMAN_TEST_CLIENTS=1 ./tools/test` does it and names
//! them to these tests; without it they say that they are left out, and pass.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use loadtest::provider::{Config, Handle, Provider, Script, ToolCall};
use tests::{FakeModel, Gateway, Setup, repository};

/// What every model says; the scripts expect it.
const TEXT: &str = "The sun shines in Bern.";

/// What the environment variable `name` leads to, or a line that says what is left out.
fn installed(name: &str, what: &str) -> Option<PathBuf> {
    let found = std::env::var_os(name).map(PathBuf::from);
    if found.is_none() {
        eprintln!("LEFT OUT: {what}; {name} does not say where it is");
    }
    found
}

fn model(id: &'static str) -> FakeModel {
    FakeModel { id, ability: -1.0, input: 1_000, output: 2_000 }
}

fn provider(models: &[(&'static str, Script)]) -> Handle {
    let models = models.iter().map(|(id, script)| ((*id).to_owned(), script.clone()));
    let config = Config { models: models.collect::<BTreeMap<_, _>>(), ..Config::default() };
    Provider::start(config).expect("a provider")
}

fn plain() -> Script {
    Script { text: Some(TEXT.to_owned()), chunk_bytes: 5, ..Script::default() }
}

fn calling(name: &str, arguments: &[&str]) -> Script {
    let call = |arguments: &&str| ToolCall {
        name: name.to_owned(),
        arguments: (*arguments).to_owned(),
        fragments: 4,
    };
    let tool_calls = arguments.iter().map(call).collect();
    Script { tool_calls, calls_until_result: true, ..plain() }
}

/// A provider of each dialect, with the models that the scripts name.
fn house() -> (Gateway, [Handle; 2]) {
    const BERN: &str = r#"{"city":"Bern","unit":"celsius"}"#;
    const CHUR: &str = r#"{"city":"Chur"}"#;
    let scripts = || {
        let json = Script {
            text: Some(r#"{"city":"Bern","degrees":21}"#.to_owned()),
            chunk_bytes: 5,
            ..Script::default()
        };
        [plain(), calling("weather", &[BERN]), calling("weather", &[BERN, CHUR]), json]
    };
    let open = ["fake/open-plain", "fake/open-agent", "fake/open-two", "fake/open-json"];
    let claude = ["fake/claude-plain", "fake/claude-agent", "fake/claude-two", "fake/claude-json"];
    let start = |ids: [&'static str; 4]| {
        let models: Vec<_> = ids.into_iter().zip(scripts()).collect();
        provider(&models)
    };
    let (opens, claudes) = (start(open), start(claude));
    // The better one, so that `auto` takes it.
    let best = FakeModel { ability: 2.0, ..model("fake/claude-plain") };
    let rest = claude[1..].iter().map(|id| model(id));
    let gateway = Setup::new()
        // LlamaIndex's Anthropic client takes only names that it knows.
        .config("[routing.aliases]\nclaude-haiku-4-5 = \"balanced\"")
        .provider("open", &opens, &open.map(model))
        .provider_in(
            "anthropic-messages",
            "claude",
            &claudes,
            &[&[best], &rest.collect::<Vec<_>>()[..]].concat(),
        )
        .start();
    (gateway, [opens, claudes])
}

/// Runs a program that ends with "all good" when it found all that it expects.
fn run(mut program: Command, gateway: &Gateway) {
    let output = program
        .env("OPENAI_BASE_URL", gateway.base_url())
        .env("OPENAI_API_KEY", gateway.key())
        .env("ANTHROPIC_BASE_URL", gateway.base_url().trim_end_matches("/v1"))
        .env("ANTHROPIC_API_KEY", gateway.key())
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(said.trim_end().ends_with("all good"), "{said}\n{complaints}");
}

#[test]
fn agents_of_langchain_langgraph_and_llama_index_take_their_turns() {
    let rows = [
        ("POINTSMAN_TEST_LANGCHAIN", "LangChain and LangGraph", "langchain_agents.py"),
        ("POINTSMAN_TEST_LLAMA_INDEX", "LlamaIndex", "llama_index_agents.py"),
    ];
    for (name, what, script) in rows {
        let Some(python) = installed(name, what) else { continue };
        let (gateway, _providers) = house();
        let mut program = Command::new(python);
        program.arg("-W").arg("ignore").arg(repository().join("tests/python").join(script));
        run(program, &gateway);
    }
}

#[test]
fn the_sdks_for_javascript_find_what_they_expect() {
    let what = "the SDKs for JavaScript";
    let Some(packages) = installed("POINTSMAN_TEST_NODE", what) else { return };
    let (gateway, _providers) = house();
    let mut program = Command::new("node");
    program.arg(repository().join("tests/js/sdks.mjs")).env("NODE_PACKAGES", packages);
    run(program, &gateway);
}

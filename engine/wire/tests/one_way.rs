//! Golden wire files of one direction: bytes in, bytes out, for each pair of dialects.
//!
//! A file `one_way/KIND/FROM--TO--CASE.in` holds what one side sent, and the `.out` beside it what the
//! other side gets, byte for byte. `request`: a client's body to a provider's; `answer` and `stream`: a
//! provider's to a client's. To add a case, write its `.in` and run with `POINTSMAN_BLESS=1`; then
//! read the `.out` before it is committed.

use std::path::{Path, PathBuf};

use models::catalogue::{MaxTokensField, Quirks, ThinkingFormat};
use models::{Capabilities, Dialect};
use wire::chat::{Chat, Efforts, Event, Issuer, ReadRules, Request, Shown, Target};
use wire::dialect::UsageRules;
use wire::sse::{self, Splitter};

const SHOWN: Shown<'static> = Shown {
    id: "0123456789abcdef0123456789abcdef",
    model: "lab/model",
    created_s: 1_790_000_000,
    input_tokens: 12,
};

/// A target that takes everything its dialect has a place for.
fn target(dialect: Dialect) -> Target<'static> {
    let quirks = Quirks {
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        developer_role: true,
        usage_in_stream: true,
        cached_tokens_reported: true,
        strict_schema: true,
        store: true,
        sampling_params: true,
        reasoning_effort: true,
        needs_reasoning_back: false,
        adaptive_thinking: true,
        system_anywhere: true,
        long_cache: true,
        session_affinity: false,
        reasoning_apart: false,
        thinking: ThinkingFormat::Openai,
    };
    Target {
        model: "model-1",
        issuer: Issuer::of(dialect, "provider"),
        quirks,
        caps: Capabilities(u32::MAX),
        max_output: 32_000,
        efforts: Efforts::of(["low", "medium", "high"]),
    }
}

fn rules(dialect: Dialect) -> ReadRules {
    ReadRules { usage: UsageRules::default(), issuer: Issuer::of(dialect, "provider") }
}

struct Case {
    file: PathBuf,
    from: &'static dyn Chat,
    to: &'static dyn Chat,
    sent: Vec<u8>,
}

fn cases(kind: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/one_way").join(kind);
    let files = std::fs::read_dir(&folder).expect("golden files are there");
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "in"));
    files.sort();
    assert!(!files.is_empty(), "no golden files in {}", folder.display());
    let chat = |name: &str, file: &Path| {
        let dialect = Dialect::from_name(name);
        let chat = dialect.and_then(wire::dialect::chat);
        chat.unwrap_or_else(|| panic!("{}: nobody speaks {name}", file.display()))
    };
    let case = |file: PathBuf| {
        let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut parts = stem.split("--");
        let (from, to) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let sent = std::fs::read(&file).expect("readable");
        Case { from: chat(from, &file), to: chat(to, &file), sent, file }
    };
    files.into_iter().map(case).collect()
}

/// Compares with the file, or writes it.
fn check(case: &Case, got: &[u8]) {
    let file = case.file.with_extension("out");
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        return std::fs::write(&file, got).expect("writable");
    }
    let expected = std::fs::read(&file).unwrap_or_default();
    let shown = String::from_utf8_lossy;
    assert_eq!(shown(got), shown(&expected), "{}", case.file.display());
}

#[test]
fn requests_reach_the_other_side() {
    for case in cases("request") {
        let name = case.file.display();
        let request = case.from.neutral_request(&case.sent);
        let request = request.unwrap_or_else(|refusal| panic!("{name}: {}", refusal.message));
        let mut out = Vec::new();
        let dropped = case.to.provider_request(&request, &target(case.to.dialect()), &mut out);
        let dropped = dropped.unwrap_or_else(|refusal| panic!("{name}: {}", refusal.message));
        serde_json::from_slice::<serde_json::Value>(&out)
            .unwrap_or_else(|error| panic!("{name}: no JSON is sent: {error}"));
        out.extend_from_slice(format!("\n\ndropped: {}\n", dropped.header()).as_bytes());
        check(&case, &out);
    }
}

#[test]
fn answers_reach_the_other_side() {
    for case in cases("answer") {
        let name = case.file.display();
        let answer = case.from.neutral_answer(&case.sent, &rules(case.from.dialect()));
        let answer = answer.unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        let mut out = Vec::new();
        case.to.client_answer(&answer, &Request::default(), &SHOWN, &mut out);
        serde_json::from_slice::<serde_json::Value>(&out)
            .unwrap_or_else(|error| panic!("{name}: no JSON is sent: {error}"));
        out.push(b'\n');
        check(&case, &out);
    }
}

#[test]
fn streams_reach_the_other_side_however_they_are_cut() {
    for case in cases("stream") {
        let whole = translated(&case, case.sent.len());
        check(&case, &whole);
        for cut in 0..case.sent.len() {
            assert_eq!(translated(&case, cut), whole, "{} cut at {cut}", case.file.display());
        }
    }
}

/// The stream in two pieces.
fn translated(case: &Case, cut: usize) -> Vec<u8> {
    let request = Request { usage_in_stream: true, stream: true, ..Request::default() };
    let mut reader = case.from.stream_reader(&rules(case.from.dialect()));
    let mut writer = case.to.stream_writer(&request, &SHOWN);
    let mut out = Vec::new();
    let mut splitter = Splitter::default();
    let mut at = 0;
    let mut has_ended = false;
    for end in [cut, case.sent.len()] {
        while let Some(length) = splitter.next(&case.sent[at..end.max(at)]) {
            let event = sse::read(&case.sent[at..at + length]);
            at += length;
            let Some(data) = event.data else { continue };
            reader.read(event.name, &data, &mut |choice, event| {
                assert_ne!(event, Event::Error, "{}", case.file.display());
                has_ended |= event == Event::End;
                writer.write(choice, &event, &mut out);
            });
        }
    }
    if !has_ended {
        // A dialect without an end mark just ends.
        writer.write(0, &Event::End, &mut out);
    }
    out
}

//! Golden turns: a client's request and a provider's stream as they come in, and both as they go out
//! in the other dialect, byte for byte. `POINTSMAN_BLESS=1 cargo test -p wire --test golden` writes
//! what goes out anew; look at the difference before it is committed.
//!
//! A turn is four files in `golden/`: `NAME.request.json` and `NAME.stream` come in, `NAME.sent.json`
//! (set out for people, with what was dropped) and `NAME.told` go out.

use models::catalogue::{MaxTokensField, Quirks, ThinkingFormat};
use models::{Capabilities, Dialect};
use std::path::PathBuf;
use wire::chat::{Chat, Efforts, Event, Issuer, ReadRules, Request, Shown, Target};
use wire::dialect::UsageRules;
use wire::sse::{self, Splitter};

/// The turns: a name, the client's dialect, the provider's.
const TURNS: &[(&str, Dialect, Dialect)] = &[
    ("codex-to-chat", Dialect::OpenAiResponses, Dialect::OpenAiChat),
    ("codex-answer-from-chat", Dialect::OpenAiResponses, Dialect::OpenAiChat),
    ("codex-to-messages", Dialect::OpenAiResponses, Dialect::AnthropicMessages),
    ("chat-to-responses", Dialect::OpenAiChat, Dialect::OpenAiResponses),
    ("messages-to-responses", Dialect::AnthropicMessages, Dialect::OpenAiResponses),
    ("gemini-to-chat", Dialect::GeminiGenerate, Dialect::OpenAiChat),
    ("gemini-to-messages", Dialect::GeminiGenerate, Dialect::AnthropicMessages),
    ("chat-to-gemini", Dialect::OpenAiChat, Dialect::GeminiGenerate),
    ("messages-to-gemini", Dialect::AnthropicMessages, Dialect::GeminiGenerate),
    ("codex-to-gemini", Dialect::OpenAiResponses, Dialect::GeminiGenerate),
];

const SHOWN: Shown<'static> =
    Shown { id: "0a", model: "lab/model", created_s: 1_700_000_000, input_tokens: 9 };

/// A provider that can do everything its dialect can say.
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
        model: "model-x",
        issuer: Issuer::of(dialect, "provider"),
        quirks,
        caps: Capabilities(u32::MAX),
        max_output: 128_000,
        efforts: Efforts::default(),
    }
}

fn chat(dialect: Dialect) -> &'static dyn Chat {
    wire::dialect::chat(dialect).expect("a dialect of conversations")
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn input(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn check(name: &str, made: &[u8]) {
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        std::fs::write(path(name), made).expect("a golden file can be written");
    }
    let expected = input(name);
    let (made, expected) = (String::from_utf8_lossy(made), String::from_utf8_lossy(&expected));
    assert_eq!(made, expected, "{name}");
}

/// A provider's stream, which arrives in pieces that end at `cuts`, as the client gets it.
fn told(
    client: &dyn Chat,
    provider: &dyn Chat,
    request: &Request<'_>,
    stream: &[u8],
    cuts: &[usize],
) -> Vec<u8> {
    let issuer = Issuer::of(provider.dialect(), "provider");
    let mut reader = provider.stream_reader(&ReadRules { usage: UsageRules::default(), issuer });
    let mut writer = client.stream_writer(request, &SHOWN);
    let mut out = Vec::new();
    let mut has_ended = false;
    let (mut splitter, mut start) = (Splitter::default(), 0);
    for &cut in cuts.iter().chain([&stream.len()]) {
        while let Some(length) = splitter.next(&stream[start..cut.max(start)]) {
            let event = sse::read(&stream[start..start + length]);
            start += length;
            let Some(data) = event.data else { continue };
            reader.read(event.name, &data, &mut |choice, event| {
                has_ended |= event == Event::End;
                writer.write(choice, &event, &mut out);
            });
        }
    }
    // Some dialects have no mark for the end: then it is the end of the bytes.
    if !has_ended {
        writer.write(0, &Event::End, &mut out);
    }
    out
}

#[test]
fn every_turn_goes_out_as_it_is_written_down() {
    for &(name, client, provider) in TURNS {
        let body = input(&format!("{name}.request.json"));
        let request = chat(client).neutral_request(&body).expect(name);
        let mut sent = Vec::new();
        let target = target(provider);
        let dropped = chat(provider).provider_request(&request, &target, &mut sent).expect(name);
        let sent: serde_json::Value = serde_json::from_slice(&sent).expect("what is sent is JSON");
        let sent = serde_json::to_string_pretty(&sent).expect("a value");
        let sent = format!("{sent}\ndropped: {}\n", dropped.header());
        check(&format!("{name}.sent.json"), sent.as_bytes());
        let stream = input(&format!("{name}.stream"));
        let whole = told(chat(client), chat(provider), &request, &stream, &[]);
        check(&format!("{name}.told"), &whole);
        for cut in 0..stream.len() {
            let in_two = told(chat(client), chat(provider), &request, &stream, &[cut]);
            assert_eq!(in_two, whole, "{name} cut at {cut}");
        }
    }
}

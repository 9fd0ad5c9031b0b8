//! What must hold for any bytes, reader by reader.

use classifier::{CoreClassifier, EXCERPT_BYTES_MAX, Excerpt, Input, Structure};
use engine::config::Config;
use models::catalogue::{MaxTokensField, Quirks, ThinkingFormat};
use models::{Capabilities, Dialect};
use wire::chat::{Efforts, Issuer, ReadRules, Request, Shown, Target};
use wire::chunked::{Decoder, Step};
use wire::dialect::{CHATS, CODECS, Outgoing, UsageRules};
use wire::endpoint::{Endpoint, percent_decoded};
use wire::http1;
use wire::json::Cursor;
use wire::sse::{self, Splitter};

pub(super) fn request_head(bytes: &[u8]) {
    let _ = http1::check_partial(bytes, 0);
    let _ = http1::leading_crlf(bytes);
    let Some(end) = http1::head_end(bytes, 0) else { return };
    assert!(end <= bytes.len(), "the head ends behind the bytes");
    // Bytes that arrive one by one show the same end, each looked at once.
    let arriving = (1..=end).find_map(|len| http1::head_end(&bytes[..len], len - 1));
    assert_eq!(arriving, Some(end));
    if let Ok(head) = http1::request(&bytes[..end]) {
        assert_eq!(head.len, end);
        assert!(http1::check_partial(&bytes[..end], 0).is_ok(), "refused while it arrives");
    }
}

pub(super) fn response_head(bytes: &[u8]) {
    if let Ok(head) = http1::response(bytes) {
        assert!((100..=599).contains(&head.status), "status {}", head.status);
    }
}

/// The first byte says into which pieces the rest is cut.
pub(super) fn chunked(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let whole = decoded(bytes, bytes.len().max(1));
    let pieces = decoded(bytes, usize::from(cut) + 1);
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces),
        (Err(()), Err(())) => {}
        (whole, pieces) => panic!("whole {whole:?}, in pieces {pieces:?}"),
    }
}

/// The body's data and whether it has ended.
fn decoded(bytes: &[u8], piece_bytes: usize) -> Result<(Vec<u8>, bool), ()> {
    let mut decoder = Decoder::default();
    let mut data = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        let mut at = 0;
        loop {
            match decoder.step(piece, &mut at).map_err(drop)? {
                Step::More => break,
                Step::Data { start, end } => data.extend_from_slice(&piece[start..end]),
                Step::End => return Ok((data, true)),
            }
        }
        assert_eq!(at, piece.len(), "more is asked for while something is left");
    }
    Ok((data, false))
}

/// The first byte says into which pieces the rest is cut.
pub(super) fn sse(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    assert_eq!(events(bytes, bytes.len().max(1)), events(bytes, usize::from(cut) + 1));
}

fn events(bytes: &[u8], piece_bytes: usize) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut splitter = Splitter::default();
    let mut held = Vec::new();
    let mut events = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        held.extend_from_slice(piece);
        while let Some(end) = splitter.next(&held) {
            assert!((1..=held.len()).contains(&end), "an event of {end} bytes");
            let event = sse::read(&held[..end]);
            events.push((event.name.to_vec(), event.data.map(|data| data.into_owned())));
            held.drain(..end);
        }
    }
    events
}

pub(super) fn json(bytes: &[u8]) {
    let ours = Cursor::new(bytes).and_then(|mut cursor| {
        cursor.skip()?;
        cursor.end()
    });
    let theirs: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(bytes);
    // We may be stricter, as in depth, and never laxer.
    if let (Ok(()), Err(error)) = (ours, theirs) {
        panic!("we accept what serde_json refuses: {error}");
    }
    let mut text = String::new();
    wire::json::unescape_into(bytes, 64, &mut text);
    assert!(text.len() <= 64 + 4, "{} bytes came out, 64 were asked for", text.len());
    let mut written = Vec::new();
    let lossy = String::from_utf8_lossy(bytes);
    wire::json::write_string(&lossy, &mut written);
    let read: String = serde_json::from_slice(&written).expect("what we write is JSON");
    assert_eq!(read, lossy);
}

pub(super) fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(decoded) = percent_decoded(text) {
        assert!(decoded.len() <= text.len(), "a name grew");
    }
    if let Some(Endpoint::Model(name)) = Endpoint::of(text) {
        assert!(!name.is_empty(), "a model without a name");
    }
}

/// A body that some dialect accepts is accepted again after it was patched, and says the same but for what was
/// to change.
pub(super) fn request(bytes: &[u8]) {
    for codec in CODECS {
        let Ok(parsed) = codec.read_request(bytes) else { continue };
        assert!(
            std::str::from_utf8(bytes).is_ok(),
            "{:?} accepts what is no UTF-8",
            codec.dialect()
        );
        let _ = parsed.input_tokens();
        let outgoing = Outgoing {
            model: "other-model",
            asks_usage: true,
            max_output_field: None,
            max_output: u32::MAX,
        };
        let mut patched = Vec::new();
        let rest = codec.patch_request(&parsed, bytes, &outgoing, &mut patched);
        patched.extend_from_slice(&bytes[rest..]);
        assert_eq!(patched.len(), codec.patched_len(&parsed, bytes, &outgoing));
        let again = codec.read_request(&patched);
        let again = again.unwrap_or_else(|error| panic!("patched, it is refused: {error:?}"));
        // In some dialects the path names the model.
        let model = if parsed.model.span.is_empty() { "" } else { "other-model" };
        assert_eq!(again.model.read(&patched), model);
        assert_eq!(again.stream, parsed.stream);
        assert_eq!(again.shape, parsed.shape);
    }
}

pub(super) fn answer(bytes: &[u8]) {
    for codec in CODECS {
        for reasoning_apart in [false, true] {
            let rules = UsageRules { reasoning_apart };
            if let Ok(answer) = codec.read_answer(bytes, rules) {
                assert!(answer.usage.is_none_or(|usage| usage.is_plausible()), "{answer:?}");
                assert!(answer.content_bytes as usize <= bytes.len(), "{answer:?}");
            }
            let event = codec.read_event(bytes, rules, None);
            assert!(event.usage.is_none_or(|usage| usage.is_plausible()), "{event:?}");
        }
    }
}

/// A provider that can do everything its dialect can say.
fn provider(dialect: Dialect) -> Target<'static> {
    let quirks = Quirks {
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        developer_role: true,
        usage_in_stream: true,
        cached_tokens_reported: true,
        strict_schema: true,
        store: true,
        sampling_params: true,
        reasoning_effort: true,
        needs_reasoning_back: true,
        adaptive_thinking: true,
        system_anywhere: true,
        long_cache: true,
        session_affinity: false,
        reasoning_apart: false,
        thinking: ThinkingFormat::Openai,
    };
    Target {
        model: "other-model",
        issuer: Issuer::of(dialect, "provider"),
        quirks,
        caps: Capabilities(u32::MAX),
        max_output: 1_000,
        efforts: Efforts::default(),
    }
}

/// What is read from a client and written for a provider of any dialect is JSON, and holds nothing of what
/// only we can read.
pub(super) fn translate(bytes: &[u8]) {
    for client in CHATS {
        if client.read_request(bytes).is_err() {
            continue;
        }
        let Ok(request) = client.neutral_request(bytes) else { continue };
        for chat in CHATS {
            let mut sent = Vec::new();
            if chat.provider_request(&request, &provider(chat.dialect()), &mut sent).is_ok() {
                assert_is_json(&sent, &format!("{} to {}", client.dialect(), chat.dialect()));
            }
        }
    }
}

/// What any bytes in the place of a provider's event and answer become for a client is events and JSON.
pub(super) fn translate_answer(bytes: &[u8]) {
    let shown = Shown { id: "0a", model: "lab/model", created_s: 1, input_tokens: 1 };
    let request = Request::default();
    for chat in CHATS {
        let issuer = Issuer::of(chat.dialect(), "provider");
        let rules = ReadRules { usage: UsageRules::default(), issuer };
        for client in CHATS {
            let pair = format!("{} to {}", chat.dialect(), client.dialect());
            if let Ok(answer) = chat.neutral_answer(bytes, &rules) {
                let mut told = Vec::new();
                client.client_answer(&answer, &request, &shown, &mut told);
                assert_is_json(&told, &pair);
            }
            let mut reader = chat.stream_reader(&rules);
            let mut writer = client.stream_writer(&request, &shown);
            let mut told = Vec::new();
            for data in bytes.split(|byte| *byte == b'\n') {
                reader
                    .read(b"", data, &mut |choice, event| writer.write(choice, &event, &mut told));
            }
            let mut splitter = Splitter::default();
            let mut rest = &told[..];
            while let Some(length) = splitter.next(rest) {
                let event = sse::read(&rest[..length]);
                if let Some(data) = event.data.filter(|data| **data != *b"[DONE]") {
                    assert_is_json(&data, &pair);
                }
                rest = &rest[length..];
            }
            assert!(rest.is_empty(), "{pair}: half an event");
        }
    }
}

fn assert_is_json(bytes: &[u8], pair: &str) {
    let read = Cursor::new(bytes).and_then(|mut cursor| {
        cursor.skip()?;
        cursor.end()
    });
    assert!(read.is_ok(), "{pair}: {read:?} in {}", String::from_utf8_lossy(bytes));
}

/// Any text gets a verdict within its bounds, whatever stands in it.
pub(super) fn classify(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (system, user) = text.split_at(text.floor_char_boundary(text.len() / 3));
    let mut excerpt = Excerpt::default();
    let looked_at = excerpt.build(Some(system), user);
    assert!(looked_at.len() <= EXCERPT_BYTES_MAX, "an excerpt of {} bytes", looked_at.len());
    let structure = Structure {
        has_tools: bytes.len().is_multiple_of(3),
        json_schema: bytes.len().is_multiple_of(5),
        turns: bytes.len() as u32,
        ..Structure::default()
    };
    let input = Input { text: looked_at, structure };
    let classified = CoreClassifier::rules_only().classify(&input);
    assert_eq!(classified.verdict, classified.verdict.sane());
    let sum: f32 = classified.probs.iter().sum();
    assert!((sum - 1.0).abs() < 1e-3, "probabilities sum to {sum}");
}

/// A configuration is taken or refused with the file's name and a line; compiling what it adds to the catalogue
/// is part of reading it.
pub(super) fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = Config::parse(text, "pointsman.toml") {
        let said = error.to_string();
        assert!(said.contains("pointsman.toml:"), "no file is named: {said}");
    }
}

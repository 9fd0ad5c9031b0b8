//! What the stages are fed with: requests, streams, offers and records as real traffic has them.

use std::path::{Path, PathBuf};

use govern::{KeyHash, KeyRecord};
use models::{Capabilities, PicoUsd, Prices, Rates, Task, Tier, Tokens, Usage, UsageSource};
use route::{ModelIx, OfferIx, OfferRow, Prior, ProviderIx};
use store::{Asked, Attribution, Decided, Money, Outcome, Record, RecordRef, Served, Timing};

/// A chat request of about that many bytes: a system prompt, some turns, a long last one with what
/// text has in it (line ends, quotes, some letters beyond ASCII).
pub(crate) fn chat_request(bytes: usize) -> Vec<u8> {
    let sentence = "Explain how the points of a railway are set, and why \"facing\" ones are \
                    locked.\nUse short sentences – for readers in Zürich. ";
    let frame = serde_json::json!({
        "model": "auto",
        "temperature": 0.2,
        "max_tokens": 700,
        "messages": [
            { "role": "system", "content": "You are a patient teacher. Answer in plain words." },
            { "role": "user", "content": "What is a railway?" },
            { "role": "assistant", "content": "Rails, and trains on them." },
            { "role": "user", "content": "" },
        ],
        "stream": true,
    });
    let mut request = frame;
    let room = bytes.saturating_sub(request.to_string().len());
    // Escapes make the text longer on the wire; one part in fifty is close enough.
    let text: String = sentence.chars().cycle().take(room - room / 50).collect();
    request["messages"][3]["content"] = text.into();
    request.to_string().into_bytes()
}

/// The head of such a request as an OpenAI SDK sends it.
pub(crate) fn request_head(key: &str, body_bytes: usize) -> Vec<u8> {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
         Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nUser-Agent: OpenAI/Python 2.8.0\r\n\
         X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 2.8.0\r\nX-Stainless-OS: Linux\r\n\
         X-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n\
         X-Stainless-Runtime-Version: 3.12.3\r\nAuthorization: Bearer {key}\r\n\
         x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\n\
         Content-Length: {body_bytes}\r\n\r\n"
    )
    .into_bytes()
}

/// One event of a provider's stream, in a chunk of its own.
pub(crate) fn stream_chunk() -> Vec<u8> {
    let event = "data: {\"id\":\"chatcmpl-BkTq3vTzEqZy\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1795000000,\"model\":\"gpt-5.2-2025-12-11\",\"system_fingerprint\":\
                 \"fp_51db84afab\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" points\"},\
                 \"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n";
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

/// Keys of that many customers, with hashes that are spread as real ones are.
pub(crate) fn keys(count: u64) -> Vec<KeyRecord> {
    (0..count)
        .map(|id| KeyRecord {
            id,
            hash: KeyHash(spread_bytes(id)),
            name: format!("key {id}"),
            org: "acme".to_owned(),
            team: "search".to_owned(),
            project: "ranking".to_owned(),
            user: None,
            strategy: None,
            created_at: 1_795_000_000,
            revoked_at: None,
            expires_at: None,
        })
        .collect()
}

fn spread_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut word = seed;
    for part in bytes.chunks_mut(8) {
        word = (word ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31);
        part.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Offers as a real catalogue has them: four to a model, one in eight with a price tier, prices
/// over four decades, abilities over four standard deviations.
pub(crate) fn offers(count: u32) -> impl Iterator<Item = OfferRow> {
    (0..count).map(|at| {
        let model = at / 4;
        let spread = |salt: u32, range: u32| (model.wrapping_mul(2_654_435_761) ^ salt) % range;
        let input = 10_000 * u64::from(1 + spread(1, 1_500)) + u64::from(at % 4);
        let rates = Rates {
            input: PicoUsd(input),
            output: PicoUsd(input * 4),
            reasoning: PicoUsd(input * 4),
            ..Rates::FREE
        };
        let tier = Tier { above_input: Tokens(200_000), rates };
        let tiers = if model.is_multiple_of(8) { vec![tier] } else { Vec::new() };
        OfferRow {
            offer: OfferIx(at),
            model: ModelIx(model),
            provider: ProviderIx((at % 39) as u16),
            caps: Capabilities(0x1ffff ^ (spread(2, 2) << 4)),
            context: 32_000 << spread(3, 5),
            max_input: u32::MAX,
            max_output: 4_096 << spread(4, 4),
            prices: Some(Prices::new(rates, &tiers)),
            uplift: 1_000,
            thinks: model.is_multiple_of(3),
            ability: [spread(5, 400) as f32 / 100.0 - 2.0; Task::COUNT],
            ability_overall: 0.0,
            auto: true,
            prior: Prior::HOSTED,
            excluded: None,
        }
    })
}

/// What a provider counted for one request.
pub(crate) fn usage() -> Usage {
    Usage {
        input: Tokens(1_300),
        cached: Tokens(1_024),
        output: Tokens(350),
        reasoning: Tokens(128),
        source: UsageSource::Provider,
        ..Usage::default()
    }
}

/// A price list with a tier.
pub(crate) fn prices() -> Prices {
    let rates = |factor: u64| Rates {
        input: PicoUsd(1_250_000 * factor),
        cache_read: PicoUsd(125_000 * factor),
        output: PicoUsd(10_000_000 * factor),
        reasoning: PicoUsd(10_000_000 * factor),
        ..Rates::FREE
    };
    Prices::new(rates(1), &[Tier { above_input: Tokens(200_000), rates: rates(2) }])
}

/// One request for the ledger.
pub(crate) fn record(number: u64) -> RecordRef<'static> {
    Record {
        entry: u128::from(number) << 64 | 7,
        started_at_us: 1_795_000_000_000_000 + number,
        core: 0,
        who: Attribution {
            key_id: 7,
            key_name: "laptop",
            org: "acme",
            team: "search",
            project: "ranking",
            user: "",
        },
        asked: Asked {
            dialect: "openai-chat",
            requested: "auto",
            strategy: "balanced",
            stream: true,
        },
        decided: Decided {
            task: Task::from_index(4),
            difficulty: 0.25,
            confidence: 0.5,
            expected_quality: 0.75,
            expected_cost: PicoUsd(3_000_000_000),
            expected_latency_us: 400_000,
            candidates: 300,
            classified_by: "model",
            reason: "best_score",
        },
        served: Served {
            model: "openai/gpt-5.2",
            provider: "openai",
            wire_id: "gpt-5.2-2025-12-11",
            attempts: 1,
            failures: "",
            outcome: Outcome::Complete,
            http_status: 200,
        },
        timing: Timing { ttft_us: Some(410_000), duration_us: 2_900_000, classify_us: 30 },
        usage: usage(),
        money: Money {
            input: PicoUsd(345_000_000),
            cached: PicoUsd(128_000_000),
            output: PicoUsd(3_500_000_000),
            total: PicoUsd(3_973_000_000),
            own_cost: PicoUsd(3_973_000_000),
            dearest: PicoUsd(39_730_000_000),
            price_version: "1f0c9a7be2",
            ..Money::default()
        },
    }
}

/// The folder of the classifier that ships with the program.
pub(crate) fn classifier_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/task-v1")
}

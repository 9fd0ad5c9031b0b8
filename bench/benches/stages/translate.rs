//! What it costs to bring a request and an answer into another dialect, on top of what `parse` and
//! `stream` show for one that passes as it is.

use crate::fixture;
use criterion::{Criterion, Throughput};
use engine::relay::{Relay, Translator};
use models::catalogue::CatalogueSource;
use models::{Capabilities, Dialect};
use std::hint::black_box;
use wire::chat::{Efforts, Issuer, ReadRules, Request, Shown, Target};
use wire::dialect::{UsageRules, chat, codec};
use wire::http1::Framing;

const SHOWN: Shown<'static> = Shown {
    id: "0123456789abcdef0123456789abcdef",
    model: "anthropic/claude-sonnet-5-5",
    created_s: 1_795_000_000,
    input_tokens: 200,
};

/// Dialects that have a translator, with what one of their providers sends as a piece of text.
fn pieces() -> Vec<(Dialect, Vec<u8>)> {
    let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
                 \"delta\":{\"type\":\"text_delta\",\"text\":\" points\"}}\n\n";
    let text = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\
                \"sequence_number\":9,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\
                \"delta\":\" points\",\"logprobs\":[]}\n\n";
    let chunk = |event: &str| format!("{:x}\r\n{event}\r\n", event.len()).into_bytes();
    vec![
        (Dialect::OpenAiChat, fixture::stream_chunk()),
        (Dialect::AnthropicMessages, chunk(delta)),
        (Dialect::OpenAiResponses, chunk(text)),
    ]
}

pub(crate) fn bench(criterion: &mut Criterion) {
    requests(criterion);
    streams(criterion);
}

fn requests(criterion: &mut Criterion) {
    let source = CatalogueSource::builtin().expect("the shipped data parse");
    let catalogue = source.compile().expect("the shipped catalogue is valid");
    let offer = catalogue.offers().next().expect("it has offers");
    let from = chat(Dialect::OpenAiChat).expect("it is translated");
    let to = chat(Dialect::AnthropicMessages).expect("it is translated");
    let target = Target {
        model: "claude-sonnet-5-5",
        issuer: Issuer::of(Dialect::AnthropicMessages, "anthropic"),
        quirks: offer.quirks(),
        caps: Capabilities(u32::MAX),
        max_output: 64_000,
        efforts: Efforts::default(),
    };
    let mut group = criterion.benchmark_group("translate");
    for kilobytes in [1, 40] {
        let body = fixture::chat_request(kilobytes << 10);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("request of {kilobytes} KB"), |bencher| {
            bencher.iter(|| {
                let mut out = Vec::with_capacity(body.len() + 512);
                let request = from.neutral_request(black_box(&body)).expect("a good request");
                to.provider_request(&request, &target, &mut out).expect("it fits");
                out.len()
            });
        });
    }
    group.finish();
}

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("translate");
    group.throughput(Throughput::Elements(1));
    for (provider, piece) in pieces() {
        for (client, _) in pieces() {
            let rules = ReadRules { usage: UsageRules::default(), issuer: Issuer::any(provider) };
            let own = codec(client).expect("it is spoken");
            let relay = Relay::new(own, UsageRules::default(), Framing::Chunked, true, true);
            let mut relay = match provider == client {
                true => relay,
                false => {
                    let reader = chat(provider).expect("it is translated").stream_reader(&rules);
                    let writer = chat(client).expect("it is translated");
                    let writer = writer.stream_writer(&Request::default(), &SHOWN);
                    relay.translating(Translator::new(reader, writer))
                }
            };
            let opening: &[u8] = match provider {
                Dialect::AnthropicMessages => {
                    b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
                }
                _ => b"",
            };
            let mut incoming = Vec::with_capacity(16 * 1024);
            if !opening.is_empty() {
                incoming.extend_from_slice(format!("{:x}\r\n", opening.len()).as_bytes());
                incoming.extend_from_slice(opening);
                incoming.extend_from_slice(b"\r\n");
                relay.take(&mut incoming).expect("a good stream");
            }
            let name = format!("a chunk from {provider} to {client}");
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    incoming.extend_from_slice(&piece);
                    relay.take(&mut incoming).expect("a good stream");
                    let start = relay.seal(false);
                    let length = relay.out().len() - start;
                    relay.sent();
                    length
                });
            });
        }
    }
    group.finish();
}

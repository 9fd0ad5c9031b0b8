//! Bytes of a request to what we act on, and the request as the provider gets it.

use crate::fixture;
use criterion::{Criterion, Throughput};
use models::Dialect;
use std::hint::black_box;
use wire::dialect::{Outgoing, codec};
use wire::http1;

pub(crate) fn bench(criterion: &mut Criterion) {
    let codec = codec(Dialect::OpenAiChat).expect("the dialect is spoken");
    let mut group = criterion.benchmark_group("parse");
    let head = fixture::request_head(&"k".repeat(46), 1024);
    group.throughput(Throughput::Bytes(head.len() as u64));
    group.bench_function("head", |bencher| {
        bencher.iter(|| http1::request(black_box(&head)).expect("a good head").len);
    });
    for kilobytes in [1, 40, 400] {
        let body = fixture::chat_request(kilobytes << 10);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("read {kilobytes} KB"), |bencher| {
            bencher.iter(|| codec.read_request(black_box(&body)).expect("a good request"));
        });
        let parsed = codec.read_request(&body).expect("a good request");
        let outgoing = Outgoing {
            model: "gpt-5.2-2025-12-11",
            asks_usage: true,
            max_output_field: Some("max_completion_tokens"),
            max_output: u32::MAX,
        };
        let mut out = Vec::new();
        group.bench_function(format!("patch {kilobytes} KB"), |bencher| {
            bencher.iter(|| {
                out.clear();
                let length = codec.patched_len(&parsed, &body, &outgoing);
                let rest = codec.patch_request(&parsed, &body, &outgoing, &mut out);
                // What follows is copied up to the size at which it is written from where it is.
                out.extend_from_slice(&body[rest..]);
                assert_eq!(out.len(), length);
            });
        });
    }
    group.finish();
}

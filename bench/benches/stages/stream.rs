//! A provider's event to the client's: unframed, judged, framed again.

use crate::fixture;
use criterion::{Criterion, Throughput};
use engine::relay::Relay;
use models::Dialect;
use wire::dialect::{UsageRules, codec};
use wire::http1::Framing;

pub(crate) fn bench(criterion: &mut Criterion) {
    let codec = codec(Dialect::OpenAiChat).expect("the dialect is spoken");
    let mut group = criterion.benchmark_group("stream");
    for per_read in [1, 8] {
        let piece = fixture::stream_chunk().repeat(per_read);
        group.throughput(Throughput::Elements(per_read as u64));
        let mut relay = Relay::new(codec, UsageRules::default(), Framing::Chunked, true, true);
        let mut incoming = Vec::with_capacity(16 * 1024);
        group.bench_function(format!("{per_read} chunks in a read"), |bencher| {
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
    group.finish();
}

//! A presented key to whom it stands for.

use crate::fixture;
use criterion::Criterion;
use govern::{KeyHasher, KeySecret, KeyTable};
use std::hint::black_box;

pub(crate) fn bench(criterion: &mut Criterion) {
    let hasher = KeyHasher::new([7; 32]);
    let secret = KeySecret::from_entropy([9; 32]);
    let mut records = fixture::keys(10_000);
    records[5_000].hash = hasher.hash(&secret);
    let table = KeyTable::build(records).expect("different keys");
    let presented = secret.reveal().as_bytes();
    let mut group = criterion.benchmark_group("admit");
    group.bench_function("hash and look up among 10,000 keys", |bencher| {
        bencher.iter(|| {
            let hash = hasher.hash_presented(black_box(presented)).expect("a key by its form");
            table.lookup(&hash, 1_795_000_001).expect("a good key").id
        });
    });
    group.finish();
}

//! Each stage of a request by itself: `cargo bench -p bench`, or `cargo bench -p bench -- parse`.
//!
//! What a stage costs here is its floor: caches are warm and branches are known. What it costs among
//! the others, `bench compare` shows.

mod account;
mod admit;
mod classify;
mod fixture;
mod parse;
mod score;
mod stream;
mod translate;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    stages,
    parse::bench,
    admit::bench,
    classify::bench,
    score::bench,
    stream::bench,
    translate::bench,
    account::bench
);
criterion_main!(stages);

//! What the hot path allocates: nothing for a chunk of a stream, and for the rest of a request a
//! number that is printed (`cargo test -p bench --test allocations -- --nocapture`) and bounded.

#![allow(clippy::print_stdout)] // figures for a person

#[allow(dead_code)]
#[path = "../benches/stages/fixture.rs"]
mod fixture;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

use engine::relay::Relay;
use govern::{KeyHasher, KeySecret, KeyTable, UPLIFT_NONE, charge};
use models::Dialect;
use route::{Ask, Columns, HealthTable, Scratch, Target, plan};
use store::{Journal, JournalLimits};
use wire::dialect::{Outgoing, UsageRules, codec};
use wire::http1::{self, Framing};

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; counting neither allocates (the cell
// needs no initialising and no destructor) nor touches the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations per call of `work`, after some calls that do not count.
fn per_call(calls: u64, mut work: impl FnMut()) -> f64 {
    (0..1_000).for_each(|_| work());
    let before = COUNT.get();
    (0..calls).for_each(|_| work());
    (COUNT.get() - before) as f64 / calls as f64
}

#[test]
fn a_chunk_of_a_stream_allocates_nothing() {
    let codec = codec(Dialect::OpenAiChat).expect("the dialect is spoken");
    let chunk = fixture::stream_chunk();
    // A read may end anywhere: pieces that do not fit the chunks leave a tail each time.
    for piece_bytes in [chunk.len(), 1_000, 17] {
        for framing in [Framing::Chunked, Framing::UntilClose] {
            let stream = match framing {
                Framing::Chunked => chunk.repeat(10_000),
                _ => {
                    let data = chunk.windows(2).position(|pair| pair == b"\r\n").expect("a size");
                    chunk[data + 2..chunk.len() - 2].repeat(10_000)
                }
            };
            let mut relay = Relay::new(codec, UsageRules::default(), framing, true, true);
            let mut incoming = Vec::with_capacity(16 * 1024);
            let mut pieces = stream.chunks(piece_bytes);
            let count = per_call(9_000, || {
                incoming.extend_from_slice(pieces.next().unwrap_or_default());
                relay.take(&mut incoming).expect("a good stream");
                if relay.has_ready() {
                    relay.seal(false);
                    relay.sent();
                }
            });
            assert_eq!(count, 0.0, "pieces of {piece_bytes} bytes, {framing:?}");
        }
    }
}

#[test]
fn a_request_allocates_little() {
    let codec = codec(Dialect::OpenAiChat).expect("the dialect is spoken");
    let body = fixture::chat_request(1 << 10);
    let hasher = KeyHasher::new([7; 32]);
    let secret = KeySecret::from_entropy([9; 32]);
    let head = fixture::request_head(secret.reveal(), body.len());
    let mut records = fixture::keys(100);
    records[50].hash = hasher.hash(&secret);
    let table = KeyTable::build(records).expect("different keys");
    let columns = Arc::new(Columns::from_rows(fixture::offers(2_000)));
    let health = HealthTable::new(Arc::clone(&columns));
    let mut scratch = Scratch::default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let journal = Journal::open(folder.path(), JournalLimits::default()).expect("a journal");
    let mut writer = journal.writer(0).expect("a writer");

    let parsed = codec.read_request(&body).expect("a good request");
    let outgoing = Outgoing {
        model: "gpt-5.2",
        asks_usage: true,
        max_output_field: Some("max_tokens"),
        max_output: u32::MAX,
    };
    let mut out = Vec::new();
    let ask = Ask::new(Target::Auto, 700);
    let (usage, prices) = (fixture::usage(), fixture::prices());
    let mut number = 0;
    let rows: [(&str, f64, f64); 7] = [
        ("head", 0.0, per_call(1_000, || _ = black_box(http1::request(&head)))),
        (
            "admit",
            0.0,
            per_call(1_000, || {
                let hash = hasher.hash_presented(secret.reveal().as_bytes()).expect("a key");
                assert!(table.lookup(&hash, 1).is_ok());
            }),
        ),
        ("parse", 0.0, per_call(1_000, || _ = black_box(codec.read_request(&body)))),
        (
            "patch",
            0.0,
            per_call(1_000, || {
                out.clear();
                let rest = codec.patch_request(&parsed, &body, &outgoing, &mut out);
                out.extend_from_slice(&body[rest..]);
            }),
        ),
        (
            "plan",
            0.0,
            per_call(1_000, || _ = black_box(plan(&columns, &health, &ask, 3, &mut scratch))),
        ),
        ("charge", 0.0, per_call(1_000, || _ = black_box(charge(&usage, &prices, UPLIFT_NONE)))),
        (
            "append",
            0.0,
            per_call(1_000, || {
                number += 1;
                writer.append(&fixture::record(number)).expect("there is room");
            }),
        ),
    ];
    for (stage, _, count) in rows {
        println!("{stage:>8}: {count:.2} allocations per request");
    }
    for (stage, limit, count) in rows {
        assert!(count <= limit, "{stage}: {count} allocations, {limit} are allowed");
    }
}

//! Features of texts for training: the same code that serves, so that both agree on every bit.
//!
//! `cargo run --release -p classifier --example features -- WORDS_LOG2 CHARS_LOG2 < IN.jsonl > OUT`:
//! one line `{"system"?, "user"}` each, of which the excerpt is read. OUT begins with two u32 (ids
//! groups, dense features); then per line the ends of the groups (u32), the ids (i32), the dense
//! features (f32), all little-endian.

use std::io::{BufRead, BufWriter, Write, stdin, stdout};

use classifier::Excerpt;
use classifier::ngrams::{Buckets, DENSE_COUNT, GROUPS, Ngrams};
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut log2 = || {
        arguments
            .next()
            .ok_or("usage: features WORDS_LOG2 CHARS_LOG2")?
            .parse()
            .map_err(|_| "not a number")
    };
    let buckets = Buckets::new(log2()?, log2()?).ok_or("a table that large is not possible")?;
    let mut out = BufWriter::new(stdout().lock());
    let mut put = |word: [u8; 4]| out.write_all(&word);
    put((GROUPS as u32).to_le_bytes())?;
    put((DENSE_COUNT as u32).to_le_bytes())?;
    let (mut excerpt, mut ngrams) = (Excerpt::default(), Ngrams::default());
    for line in stdin().lock().lines() {
        let row: Value = serde_json::from_str(&line?)?;
        let user = row["user"].as_str().ok_or("a line has no \"user\"")?;
        ngrams.read(excerpt.build(row["system"].as_str(), user));
        ngrams.hash(buckets);
        for end in ngrams.group_ends() {
            put((end as u32).to_le_bytes())?;
        }
        for id in ngrams.ids() {
            put(id.to_le_bytes())?;
        }
        for feature in ngrams.dense() {
            put(feature.to_le_bytes())?;
        }
    }
    Ok(())
}

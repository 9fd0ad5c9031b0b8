//! The features of a version never change: models were trained on them.
//!
//! Whoever changes them on purpose raises `ngrams::FEATURES`, trains again, and writes the vectors
//! anew: `UPDATE_GOLDEN=1 cargo test -p classifier --test golden`.

use std::collections::BTreeMap;
use std::path::Path;

use classifier::Excerpt;
use classifier::ngrams::{Buckets, FEATURES, Ngrams};
use serde::{Deserialize, Serialize};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ngrams.json");

#[derive(Deserialize, Serialize)]
struct Golden {
    features: u32,
    words_log2: u32,
    chars_log2: u32,
    ngrams: Vec<Features>,
    excerpts: Vec<Cut>,
}

#[derive(Deserialize, Serialize)]
struct Features {
    text: String,
    ends: [usize; 3],
    /// FNV steps over all ids, begun with 0.
    digest: u32,
    /// Those that are not 0, by index.
    dense: BTreeMap<usize, f32>,
}

#[derive(Deserialize, Serialize)]
struct Cut {
    system: Option<String>,
    user: String,
    excerpt: String,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(FILE).expect("testdata/ngrams.json");
    serde_json::from_str(&text).expect("testdata/ngrams.json")
}

fn features(text: &str, buckets: Buckets) -> Features {
    let mut ngrams = Ngrams::default();
    ngrams.read(text);
    ngrams.hash(buckets);
    let step = |hash: u32, &id: &i32| (hash ^ id as u32).wrapping_mul(0x0100_0193);
    Features {
        text: text.into(),
        ends: ngrams.group_ends(),
        digest: ngrams.ids().iter().fold(0, step),
        dense: ngrams.dense().iter().copied().enumerate().filter(|(_, x)| *x != 0.0).collect(),
    }
}

#[test]
fn ids_and_dense_features_are_those_of_this_version() {
    let mut golden = golden();
    let buckets = Buckets::new(golden.words_log2, golden.chars_log2).expect("in range");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        golden.features = FEATURES;
        golden.ngrams = golden.ngrams.iter().map(|row| features(&row.text, buckets)).collect();
        let text = serde_json::to_string_pretty(&golden).expect("plain data");
        std::fs::write(Path::new(FILE), text + "\n").expect("written");
        return;
    }
    assert_eq!(golden.features, FEATURES, "another version: write the vectors anew");
    for expected in golden.ngrams {
        let found = features(&expected.text, buckets);
        let start: String = expected.text.chars().take(40).collect();
        assert_eq!(found.ends, expected.ends, "{start}");
        assert_eq!(found.digest, expected.digest, "{start}");
        assert!(found.dense.keys().eq(expected.dense.keys()), "{start}");
        for (found, expected) in found.dense.values().zip(expected.dense.values()) {
            assert!((found - expected).abs() < 1e-5, "{start}: {found} {expected}");
        }
    }
}

#[test]
fn excerpts_are_those_of_this_version() {
    let mut excerpt = Excerpt::default();
    for expected in golden().excerpts {
        let found = excerpt.build(expected.system.as_deref(), &expected.user);
        assert_eq!(found, expected.excerpt);
    }
}

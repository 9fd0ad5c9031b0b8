//! Serving and training see the same features: the vectors that `train/ngrams.py` wrote.

use classifier::Excerpt;
use classifier::ngrams::{Buckets, Ngrams};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    words_log2: u32,
    chars_log2: u32,
    ngrams: Vec<Features>,
    excerpts: Vec<Cut>,
}

#[derive(Deserialize)]
struct Features {
    text: String,
    ends: [usize; 3],
    /// FNV steps over all ids, begun with 0.
    digest: u32,
    /// The first ids.
    ids: Vec<i32>,
    dense: Vec<f32>,
}

#[derive(Deserialize)]
struct Cut {
    system: Option<String>,
    user: String,
    excerpt: String,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../testdata/ngrams.json")).expect("testdata/ngrams.json")
}

#[test]
fn ids_and_dense_features_are_those_of_training() {
    let golden = golden();
    let buckets = Buckets::new(golden.words_log2, golden.chars_log2).expect("in range");
    let mut ngrams = Ngrams::default();
    for expected in golden.ngrams {
        ngrams.read(&expected.text);
        ngrams.hash(buckets);
        let start: String = expected.text.chars().take(40).collect();
        assert_eq!(ngrams.group_ends(), expected.ends, "{start}");
        assert_eq!(ngrams.ids()[..expected.ids.len()], expected.ids, "{start}");
        let digest = ngrams
            .ids()
            .iter()
            .fold(0, |hash: u32, &id| (hash ^ id as u32).wrapping_mul(0x0100_0193));
        assert_eq!(digest, expected.digest, "{start}");
        for (found, expected) in ngrams.dense().iter().zip(expected.dense) {
            assert!((found - expected).abs() < 1e-5, "{start}: {found} {expected}");
        }
    }
}

#[test]
fn excerpts_are_those_of_training() {
    let mut excerpt = Excerpt::default();
    for expected in golden().excerpts {
        let found = excerpt.build(expected.system.as_deref(), &expected.user);
        assert_eq!(found, expected.excerpt);
    }
}

//! Hashed n-grams: the features of the inline model, and the tokens that the cue rules look at.
//!
//! In: text of any script and length. Out: at most [`IDS_MAX`] row numbers of the model's embedding
//! table in three groups (words, characters, edges) and [`DENSE_COUNT`] numbers around 0..1; both in
//! buffers that are reused, so a call allocates nothing after the first. Never: a locale, or a
//! Unicode table that could change with a library: a model must see in serving what it saw in training
//! (which calls this code through `examples/features.rs`), so the rules below are the whole definition,
//! and `testdata/ngrams.json` holds them still.
//!
//! **Fold.** Each code point is mapped on its own ([`fold`]): full-width ASCII to ASCII, the usual
//! foreign punctuation to ASCII, capitals of Latin, Greek and Cyrillic to small letters, every ASCII
//! digit to `0`.
//!
//! **Tokens.** A maximal run of word characters is a token; a CJK character is one; a punctuation
//! mark is one; a line break is one (`\n`), unless the token before is one already; other white
//! space only separates. Thai, Lao, Burmese and Khmer, which do not part words, are read as CJK. At most [`TOKENS_MAX`] tokens of the first [`TEXT_BYTES_MAX`] bytes are
//! taken.
//!
//! **Hashes.** FNV-1a over code points (32 bits, one step per code point), begun with the seed of
//! its kind and finished by [`mix`]. A token's hash runs over its first [`WORD_CHARS_MAX`] characters.
//!
//! **Ids.** Group *words*: each token, and each pair of neighbours, with [`EDGE`] before the first and
//! after the last; rows `0..words`. Group *characters*: of each run of word characters, written
//! `<run>` and cut to its first [`WORD_CHARS_MAX`], the sequences of 3, 4 and 5 in the order of their
//! start, until [`IDS_MAX`] is reached; rows `words..words + chars`. Group *edges*: the first and the
//! last [`EDGE_TOKENS`] tokens, and the pairs among them, hashed again by side; rows `0..words`.
//!
//! **Dense.** What [`crate::shape`] counts, what [`crate::detect`] finds, where the concepts of
//! [`crate::lexicon`] occur. Whoever changes a feature raises [`FEATURES`]: a model trained on others
//! is refused.

use crate::detect::{FINDING_FEATURES, Findings};
use crate::lexicon::{CONCEPT_FEATURES, Hits, STEM_CHARS, lexicon};
use crate::shape::{SHAPE_FEATURES, Shape};

/// Version of all features together; stands in the manifest of a model.
pub const FEATURES: u32 = 2;

/// Bytes of a text that are read, cut down to a whole character: a bound on the work for texts that
/// are not excerpts.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Tokens taken from a text; what follows is not looked at.
pub const TOKENS_MAX: usize = 512;
/// Ids given to the model at most, all groups together.
pub const IDS_MAX: usize = 2048;
/// Characters of one run that count.
pub const WORD_CHARS_MAX: usize = 24;
/// Tokens at either end that get an id of their own in the group *edges*.
pub const EDGE_TOKENS: usize = 8;
/// Numbers beside the ids, see [`Ngrams::dense`].
pub const DENSE_COUNT: usize = SHAPE_FEATURES + FINDING_FEATURES + CONCEPT_FEATURES;
/// Groups of ids; the model keeps one mean per group.
pub const GROUPS: usize = 3;

/// Hash that stands before the first and after the last token.
pub const EDGE: u32 = 0x5bd1_e995;

const SEED_TOKEN: u32 = 0x811c_9dc5;
const SEED_CHARS: u32 = 0x9747_b28c;
const SEED_FIRST: u32 = 0x1b87_3593;
const SEED_LAST: u32 = 0xcc9e_2d51;
const FNV_PRIME: u32 = 0x0100_0193;

/// Rows of the embedding table: both counts are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    words: u32,
    chars: u32,
}

impl Buckets {
    /// Most rows per part: an id must fit an `i32` with room to spare.
    pub const LOG2_MAX: u32 = 24;

    /// `2^words_log2` rows for words and edges, then `2^chars_log2` for characters; `None` beyond
    /// [`Buckets::LOG2_MAX`].
    pub fn new(words_log2: u32, chars_log2: u32) -> Option<Buckets> {
        let fits = words_log2 <= Buckets::LOG2_MAX && chars_log2 <= Buckets::LOG2_MAX;
        fits.then(|| Buckets { words: 1 << words_log2, chars: 1 << chars_log2 })
    }

    /// Rows of the whole table.
    pub fn rows(self) -> usize {
        (self.words + self.chars) as usize
    }
}

/// The features of one text, and the buffers for the next.
#[derive(Debug)]
pub struct Ngrams {
    /// Hash per token, in order.
    tokens: Vec<u32>,
    /// Folded characters of all runs, one after the other, each as `<run>`.
    runs: Vec<u32>,
    /// Where each run ends in `runs`.
    run_ends: Vec<u32>,
    ids: Vec<i32>,
    group_ends: [usize; GROUPS],
    dense: [f32; DENSE_COUNT],
    hits: Hits,
    findings: Findings,
}

impl Default for Ngrams {
    fn default() -> Ngrams {
        Ngrams {
            tokens: Vec::with_capacity(TOKENS_MAX),
            runs: Vec::with_capacity(TOKENS_MAX * 8),
            run_ends: Vec::with_capacity(TOKENS_MAX),
            ids: Vec::with_capacity(IDS_MAX),
            group_ends: [0; GROUPS],
            dense: [0.0; DENSE_COUNT],
            hits: Hits::default(),
            findings: Findings::default(),
        }
    }
}

impl Ngrams {
    /// Reads `text`: tokens and dense features are there afterwards, ids after [`Ngrams::hash`].
    pub fn read(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        let lexicon = lexicon();
        let mut shape = self.tokenize(text, |hits, state, token| {
            if lexicon.may_be_stem(state) {
                hits.push_beginning(state, token);
            }
        });
        self.findings = Findings::find(text);
        self.hits.find(&self.tokens);
        let (shape_features, others) = self.dense.split_at_mut(SHAPE_FEATURES);
        let (finding_features, concept_features) = others.split_at_mut(FINDING_FEATURES);
        shape.features(text.len(), &self.tokens, shape_features);
        self.findings.features(finding_features);
        self.hits.features(concept_features);
    }

    /// Fills [`Ngrams::tokens`] alone; for the lexicon, which [`Ngrams::read`] needs itself.
    pub(crate) fn tokenize_only(&mut self, text: &str) {
        self.tokenize(text, |_, _, _| {});
    }

    /// What stands in the text by its form.
    pub fn findings(&self) -> Findings {
        self.findings
    }

    /// The hash of each token that was read, for looking up words: [`token_hash`] of the word.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Numbers around 0..1: the look of the text, exact findings, concepts.
    pub fn dense(&self) -> &[f32; DENSE_COUNT] {
        &self.dense
    }

    /// Ids of the last [`Ngrams::hash`], groups one after the other.
    pub fn ids(&self) -> &[i32] {
        &self.ids
    }

    /// Where each group ends in [`Ngrams::ids`].
    pub fn group_ends(&self) -> [usize; GROUPS] {
        self.group_ends
    }

    /// Fills the ids for a table of that size. There is at least one, whatever was read.
    pub fn hash(&mut self, buckets: Buckets) {
        let words = buckets.words - 1;
        self.ids.clear();
        let mut before = EDGE;
        for &token in &self.tokens {
            self.ids.push((token & words) as i32);
            self.ids.push((pair_hash(before, token) & words) as i32);
            before = token;
        }
        self.ids.push((pair_hash(before, EDGE) & words) as i32);
        self.group_ends[0] = self.ids.len();

        let edge = self.tokens.len().min(EDGE_TOKENS);
        let room = IDS_MAX - self.ids.len() - 4 * edge;
        self.hash_runs(room, buckets);
        self.group_ends[1] = self.ids.len();

        let sides = [
            (SEED_FIRST, &self.tokens[..edge]),
            (SEED_LAST, &self.tokens[self.tokens.len() - edge..]),
        ];
        for (seed, tokens) in sides {
            let mut before = seed;
            for &token in tokens {
                self.ids.push((pair_hash(seed, token) & words) as i32);
                self.ids.push((pair_hash(pair_hash(seed, before), token) & words) as i32);
                before = token;
            }
        }
        self.group_ends[2] = self.ids.len();
    }

    fn hash_runs(&mut self, mut room: usize, buckets: Buckets) {
        let mut start = 0;
        for &end in &self.run_ends {
            let run = &self.runs[start..end as usize];
            start = end as usize;
            for first in 0..run.len() - 2 {
                let mut hash = SEED_CHARS;
                for (count, &c) in run[first..].iter().take(5).enumerate() {
                    hash = step(hash, c);
                    if count >= 2 {
                        if room == 0 {
                            return;
                        }
                        room -= 1;
                        let row = buckets.words + (mix(hash) & (buckets.chars - 1));
                        self.ids.push(row as i32);
                    }
                }
            }
        }
    }

    /// Fills tokens and runs, and shows `beginning` each beginning of a word: the state of its hash
    /// and the index of its token.
    fn tokenize(&mut self, text: &str, mut beginning: impl FnMut(&mut Hits, u32, usize)) -> Shape {
        const NEWLINE: u32 = '\n' as u32;
        let newline = token_hash("\n");
        self.tokens.clear();
        self.runs.clear();
        self.run_ends.clear();
        self.ids.clear();
        self.group_ends = [0; GROUPS];
        self.hits.clear();
        let mut shape = Shape::default();
        let mut run_hash = SEED_TOKEN;
        let mut run_chars = 0; // of the open run; 0 = none is open
        for c in text.chars() {
            if self.tokens.len() >= TOKENS_MAX {
                run_chars = 0;
                break;
            }
            let (folded, class) = match ASCII.get(c as usize) {
                Some(&(folded, class)) => (u32::from(folded), class),
                None => {
                    let folded = fold(c as u32);
                    (folded, class(folded))
                }
            };
            shape.see(c, folded);
            if class == Class::Word {
                if run_chars == 0 {
                    self.runs.push('<' as u32);
                    run_hash = SEED_TOKEN;
                }
                run_chars += 1;
                if run_chars <= WORD_CHARS_MAX {
                    run_hash = step(run_hash, folded);
                    self.runs.push(folded);
                    if STEM_CHARS.contains(&run_chars) {
                        beginning(&mut self.hits, run_hash, self.tokens.len());
                    }
                }
                continue;
            }
            if run_chars > 0 {
                self.close_run(run_hash);
                run_chars = 0;
                if self.tokens.len() >= TOKENS_MAX {
                    break;
                }
            }
            match class {
                Class::Cjk => self.tokens.push(mix(step(SEED_TOKEN, folded))),
                Class::Punctuation => {
                    shape.punctuation += 1;
                    self.tokens.push(mix(step(SEED_TOKEN, folded)));
                }
                Class::Space if folded == NEWLINE && self.tokens.last() != Some(&newline) => {
                    shape.newlines += 1;
                    self.tokens.push(newline);
                }
                _ => {}
            }
        }
        if run_chars > 0 {
            self.close_run(run_hash);
        }
        shape
    }

    fn close_run(&mut self, hash: u32) {
        self.runs.push('>' as u32);
        self.run_ends.push(self.runs.len() as u32);
        self.tokens.push(mix(hash));
    }
}

/// The hash of a single token: a word, a CJK character, a punctuation mark. Folds first.
pub fn token_hash(token: &str) -> u32 {
    let chars = token.chars().take(WORD_CHARS_MAX);
    mix(chars.fold(SEED_TOKEN, |hash, c| step(hash, fold(c as u32))))
}

/// The state of a word's hash after the characters of `stem`.
pub(crate) fn stem_hash(stem: &str) -> u32 {
    stem.chars().fold(SEED_TOKEN, |hash, c| step(hash, fold(c as u32)))
}

/// The hash of two neighbours.
pub fn pair_hash(first: u32, second: u32) -> u32 {
    mix(first.wrapping_mul(0x9e37_79b1) ^ second)
}

fn step(hash: u32, c: u32) -> u32 {
    (hash ^ c).wrapping_mul(FNV_PRIME)
}

/// The finish of murmur3: FNV's low bits alone are poor row numbers.
fn mix(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// What a folded code point is to the tokenizer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Word,
    Cjk,
    Punctuation,
    Space,
}

/// What ASCII characters fold to, and what that is: most characters of most texts.
const ASCII: [(u8, Class); 128] = {
    let mut table = [(0, Class::Space); 128];
    let mut c = 0;
    while c < table.len() {
        let folded = fold(c as u32);
        table[c] = (folded as u8, class(folded));
        c += 1;
    }
    table
};

pub(crate) const fn class(c: u32) -> Class {
    match c {
        0x30 | 0x61..=0x7a | 0x5f => Class::Word,
        0..=0x20 | 0x7f..=0xa0 => Class::Space,
        0x21..=0x7e | 0xa1..=0xa9 | 0xab..=0xb4 | 0xb6..=0xb9 | 0xbb..=0xbf => Class::Punctuation,
        0xd7 | 0xf7 => Class::Punctuation,
        0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f | 0x3000 | 0xfeff => Class::Space,
        0x2010..=0x2bff | 0x3001..=0x303f => Class::Punctuation,
        0xe00..=0xeff | 0x1000..=0x109f | 0x1780..=0x17ff => Class::Cjk,
        0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff => Class::Cjk,
        0xac00..=0xd7a3 | 0xf900..=0xfaff | 0x20000..=0x3ffff => Class::Cjk,
        0x1f000..=0x1ffff => Class::Punctuation,
        _ => Class::Word,
    }
}

/// Small letters, one digit, ASCII punctuation: the whole case and width folding.
const fn fold(c: u32) -> u32 {
    match c {
        0x30..=0x39 => 0x30,
        0x41..=0x5a => c + 0x20,
        0..=0x7f => c,
        0x85 | 0x2028 | 0x2029 => 0x0a,
        0xc0..=0xd6 | 0xd8..=0xde => c + 0x20,
        0x100..=0x137 | 0x14a..=0x177 => c | 1,
        0x139..=0x148 | 0x179..=0x17e => c + (c & 1),
        0x391..=0x3a1 | 0x3a3..=0x3ab => c + 0x20,
        0x400..=0x40f => c + 0x50,
        0x410..=0x42f => c + 0x20,
        0x2018 | 0x2019 => 0x27,
        0x201c | 0x201d => 0x22,
        0x2013 | 0x2014 => 0x2d,
        0x60c | 0x3001 => 0x2c,
        0x61f => 0x3f,
        0x3002 => 0x2e,
        0xff01..=0xff5e => fold(c - 0xfee0),
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small() -> Buckets {
        Buckets::new(16, 16).expect("in range")
    }

    #[test]
    fn case_width_and_digits_do_not_matter() {
        for (one, other) in [
            ("Hello World", "hello  world"),
            ("ＨＥＬＬＯ！", "hello!"),
            ("ПРИВЕТ, ЁЖ", "привет, ёж"),
            ("ΑΒΓ", "αβγ"),
            ("Žluťoučký KŮŇ", "žluťoučký kůň"),
            ("in 1999", "in 2024"),
            ("你好。", "你好."),
            ("a\n\n \nb", "a\nb"),
        ] {
            let (mut left, mut right) = (Ngrams::default(), Ngrams::default());
            left.read(one);
            right.read(other);
            assert_eq!(left.tokens(), right.tokens(), "{one:?} {other:?}");
        }
    }

    #[test]
    fn words_of_a_text_are_found_by_their_hash() {
        let mut ngrams = Ngrams::default();
        ngrams.read("Please, translate: 翻译");
        let expected = ["please", ",", "translate", ":", "翻", "译"].map(token_hash);
        assert_eq!(ngrams.tokens(), expected);
    }

    #[test]
    fn an_empty_text_still_has_an_id() {
        let mut ngrams = Ngrams::default();
        ngrams.read("");
        ngrams.hash(small());
        assert_eq!(ngrams.ids().len(), 1);
        assert_eq!(ngrams.group_ends(), [1, 1, 1]);
    }

    #[test]
    fn buffers_do_not_grow_after_the_first_long_text() {
        let mut ngrams = Ngrams::default();
        let long = "extraordinary words; ".repeat(4000);
        ngrams.read(&long);
        ngrams.hash(small());
        let capacity = |n: &Ngrams| (n.tokens.capacity(), n.runs.capacity(), n.ids.capacity());
        let before = capacity(&ngrams);
        for text in [long.as_str(), "", "короткий"] {
            ngrams.read(text);
            ngrams.hash(small());
            assert_eq!(capacity(&ngrams), before);
        }
    }

    proptest! {
        #[test]
        fn any_text_stays_within_its_bounds(text in "\\PC{0,900}|[\\x00-\\x7f]{0,3000}|[一-龥あ-ん]{0,900}") {
            let mut ngrams = Ngrams::default();
            ngrams.read(&text);
            ngrams.hash(small());
            prop_assert!(ngrams.tokens().len() <= TOKENS_MAX);
            prop_assert!((1..=IDS_MAX).contains(&ngrams.ids().len()));
            prop_assert_eq!(ngrams.group_ends()[GROUPS - 1], ngrams.ids().len());
            prop_assert!(ngrams.ids().iter().all(|&id| (0..small().rows() as i32).contains(&id)));
            prop_assert!(ngrams.dense().iter().all(|x| (0.0..=8.0).contains(x)));
        }
    }
}

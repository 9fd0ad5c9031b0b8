//! Concepts: what words mean to a router, in two dozen languages, as features of the model.
//!
//! In: the tokens of a text, and the word beginnings met while they were read. Out: per concept of
//! `data/lexicon.txt` two numbers in 0..1, how often it occurs and how near to either end of the text
//! (that is where people say what they want). The file is compiled in and read once per process.
//! Never: an allocation per text, or more than [`HITS_MAX`] hits looked at.

use std::sync::LazyLock;

use crate::ngrams::{Ngrams, pair_hash};

/// Concepts in the lexicon; each gives two features.
pub(crate) const CONCEPTS: usize = 83;
/// Features that [`Hits::features`] writes.
pub(crate) const CONCEPT_FEATURES: usize = 2 * CONCEPTS;
/// Hits that count; the head of a text has them first.
const HITS_MAX: usize = 1024;
/// Tokens of a phrase that are compared; the rest of a longer one is taken for granted.
const PHRASE_TOKENS_MAX: usize = 4;
/// Shortest and longest `stem*`, in characters.
pub(crate) const STEM_CHARS: std::ops::RangeInclusive<usize> = 2..=14;

static LEXICON: LazyLock<Lexicon> =
    LazyLock::new(|| Lexicon::parse(include_str!("../data/lexicon.txt")));

/// The lexicon of this build.
pub(crate) fn lexicon() -> &'static Lexicon {
    &LEXICON
}

/// Phrases and stems by hash, with a filter in front that most words do not pass.
#[derive(Debug)]
pub(crate) struct Lexicon {
    phrases: Keys,
    stems: Keys,
}

/// Sorted hashes with their concepts, and 2^16 bits of which hashes occur at all.
#[derive(Debug, Default)]
struct Keys {
    /// Hash, and concept or [`Keys::GOES_ON`]; sorted.
    rows: Vec<(u32, u8)>,
    filter: Vec<u64>,
}

impl Keys {
    /// Not a concept: a longer phrase begins with this hash.
    const GOES_ON: u8 = u8::MAX;

    fn build(mut rows: Vec<(u32, u8)>) -> Keys {
        rows.sort_unstable();
        rows.dedup();
        let mut filter = vec![0; 1 << 10];
        for (hash, _) in &rows {
            filter[(hash >> 22) as usize] |= 1 << (hash >> 16 & 63);
        }
        Keys { rows, filter }
    }

    fn may_hold(&self, hash: u32) -> bool {
        self.filter[(hash >> 22) as usize] >> (hash >> 16 & 63) & 1 == 1
    }

    fn of(&self, hash: u32) -> impl Iterator<Item = u8> {
        let start = self.rows.partition_point(|row| row.0 < hash);
        self.rows[start..].iter().take_while(move |row| row.0 == hash).map(|row| row.1)
    }
}

impl Lexicon {
    fn parse(text: &str) -> Lexicon {
        let (mut phrases, mut stems) = (Vec::new(), Vec::new());
        let mut ngrams = Ngrams::default();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        for (concept, line) in lines.enumerate() {
            let concept = concept as u8;
            let (_, listed) = line.split_once(": ").unwrap_or((line, ""));
            for phrase in listed.split(", ") {
                if let Some(stem) = phrase.strip_suffix('*').filter(|stem| !stem.contains(' ')) {
                    stems.push((crate::ngrams::stem_hash(stem), concept));
                    continue;
                }
                // Any digit is read as 0, so a number of one to three digits is 0, 00 or 000.
                let has_zero = phrase.split(' ').any(|word| word == "0");
                for zeros in if has_zero { &["0", "00", "000"][..] } else { &["0"] } {
                    let words =
                        phrase.split(' ').map(|word| if word == "0" { zeros } else { word });
                    ngrams.tokenize_only(&words.collect::<Vec<_>>().join(" "));
                    push_phrase(ngrams.tokens(), concept, &mut phrases);
                }
            }
        }
        Lexicon { phrases: Keys::build(phrases), stems: Keys::build(stems) }
    }

    /// Whether some stem could have this state of the hash.
    pub(crate) fn may_be_stem(&self, state: u32) -> bool {
        self.stems.may_hold(state)
    }
}

fn push_phrase(tokens: &[u32], concept: u8, into: &mut Vec<(u32, u8)>) {
    let tokens = &tokens[..tokens.len().min(PHRASE_TOKENS_MAX)];
    let Some((&first, rest)) = tokens.split_first() else { return };
    let mut hash = first;
    for &token in rest {
        into.push((hash, Keys::GOES_ON));
        hash = pair_hash(hash, token);
    }
    into.push((hash, concept));
}

/// Where concepts occur in one text.
#[derive(Debug)]
pub(crate) struct Hits {
    /// Word beginnings that may be stems: state of the hash, index of the token.
    beginnings: Vec<(u32, u16)>,
    count: [u8; CONCEPTS],
    near: [f32; CONCEPTS],
}

impl Default for Hits {
    fn default() -> Hits {
        Hits {
            beginnings: Vec::with_capacity(HITS_MAX),
            count: [0; CONCEPTS],
            near: [0.0; CONCEPTS],
        }
    }
}

impl Hits {
    pub(crate) fn clear(&mut self) {
        self.beginnings.clear();
        self.count = [0; CONCEPTS];
        self.near = [0.0; CONCEPTS];
    }

    /// A word beginning that passed [`Lexicon::may_be_stem`].
    pub(crate) fn push_beginning(&mut self, state: u32, token: usize) {
        if self.beginnings.len() < HITS_MAX {
            self.beginnings.push((state, token as u16));
        }
    }

    /// Finds all phrases and stems; `tokens` are those of the whole text.
    pub(crate) fn find(&mut self, tokens: &[u32]) {
        let lexicon = lexicon();
        let beginnings = std::mem::take(&mut self.beginnings);
        for &(state, token) in &beginnings {
            for concept in lexicon.stems.of(state) {
                self.hit(concept, token.into(), tokens.len());
            }
        }
        self.beginnings = beginnings;
        for (first, &token) in tokens.iter().enumerate() {
            let mut hash = token;
            let mut more = tokens[first + 1..].iter();
            while lexicon.phrases.may_hold(hash) {
                let mut goes_on = false;
                for concept in lexicon.phrases.of(hash) {
                    match concept {
                        Keys::GOES_ON => goes_on = true,
                        concept => self.hit(concept, first, tokens.len()),
                    }
                }
                match more.next() {
                    Some(&next) if goes_on => hash = pair_hash(hash, next),
                    _ => break,
                }
            }
        }
    }

    fn hit(&mut self, concept: u8, at: usize, tokens: usize) {
        let concept = usize::from(concept);
        self.count[concept] = self.count[concept].saturating_add(1);
        let to_end = at.min(tokens.saturating_sub(at + 1)) as f32;
        self.near[concept] = self.near[concept].max(8.0 / (8.0 + to_end));
    }

    /// Per concept: a measure of how often, then per concept how near to an end.
    pub(crate) fn features(&self, into: &mut [f32]) {
        let (often, near) = into.split_at_mut(CONCEPTS);
        for (feature, &count) in often.iter_mut().zip(&self.count) {
            *feature = f32::from(count.min(4)).sqrt() / 2.0;
        }
        near.copy_from_slice(&self.near);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concepts() -> Vec<&'static str> {
        let lines = include_str!("../data/lexicon.txt").lines();
        lines
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(':').next().expect("a name"))
            .collect()
    }

    fn found(text: &str) -> Vec<&'static str> {
        let mut ngrams = Ngrams::default();
        ngrams.read(text);
        let features = &ngrams.dense()[ngrams.dense().len() - CONCEPT_FEATURES..];
        concepts()
            .into_iter()
            .zip(features)
            .filter(|(_, often)| **often > 0.0)
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn every_line_is_a_concept() {
        assert_eq!(concepts().len(), CONCEPTS);
    }

    #[test]
    fn concepts_are_found_in_any_language() {
        for (text, concept) in [
            ("Could you TRANSLATE this", "translate"),
            ("переведите это предложение", "translate"),
            ("把下面这句话翻译成英文", "into_language"),
            ("このコードを直して", "this_code"),
            ("이 글을 요약해 줘", "summarize"),
            ("Give me 15 ideas", "ideas"),
            ("donne-moi dix idées", "ideas"),
            ("Réserve une table pour demain", "agent_verb"),
            ("what is the total for March", "which_most"),
        ] {
            assert!(found(text).contains(&concept), "{text}: {:?}", found(text));
        }
        assert_eq!(found("zzz qqq"), Vec::<&str>::new());
    }

    #[test]
    fn an_end_counts_more_than_the_middle() {
        let filler = "qqq ".repeat(60);
        let near = |text: &str| {
            let mut ngrams = Ngrams::default();
            ngrams.read(text);
            ngrams.dense()[ngrams.dense().len() - CONCEPTS..].iter().copied().fold(0.0, f32::max)
        };
        assert!(near(&format!("summarize {filler}")) > 0.9);
        assert!(near(&format!("{filler} summarize {filler}")) < 0.2);
    }
}

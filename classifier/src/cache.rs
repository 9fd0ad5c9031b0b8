//! Verdicts given before, by a keyed hash of what they were given on.
//!
//! In: an input, and the verdict on it. Out: the same verdict for the same input. A set of eight
//! entries is chosen by the hash, and within it the clock algorithm says who goes: an entry that was
//! asked for since the hand last passed stays. Memory is taken once and never grows. The key of the hash
//! is drawn per cache, so nobody can make prompts that meet in one set or pass for each other, and
//! what is stored says nothing about a text. Never: text, an allocation after the first, a lock.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::core::{Classified, Input, Stage};

/// Entries that a hash chooses among; eight tags are one cache line.
const WAYS: usize = 8;

/// A bounded cache of verdicts, for one thread.
#[derive(Debug)]
pub struct VerdictCache {
    sets: Vec<Set>,
    values: Vec<Option<Classified>>,
    key: RandomState,
    hits: u64,
    misses: u64,
}

/// What an input is stored under. Means nothing to another cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheKey(u64);

#[derive(Clone, Copy, Debug, Default)]
struct Set {
    tags: [u64; WAYS],
    /// A bit per way: asked for since the hand last passed.
    recent: u8,
    hand: u8,
}

impl VerdictCache {
    /// Room for `entries` verdicts, up to a power of two of at least eight; none for 0, and then
    /// nothing is ever found.
    pub fn new(entries: usize) -> VerdictCache {
        let sets = match entries {
            0 => 0,
            entries => entries.div_ceil(WAYS).next_power_of_two(),
        };
        VerdictCache {
            sets: vec![Set::default(); sets],
            values: vec![None; sets * WAYS],
            key: RandomState::new(),
            hits: 0,
            misses: 0,
        }
    }

    /// The key of `input`: excerpt and structure, as this cache hashes them.
    pub fn key(&self, input: &Input<'_>) -> CacheKey {
        let mut hasher = self.key.build_hasher();
        hasher.write(input.text.as_bytes());
        hasher.write_u64(input.text.len() as u64);
        let form = &input.structure;
        let flags = u64::from(form.has_tools) | u64::from(form.json_schema) << 1;
        hasher.write_u64(flags << 32 | u64::from(form.tool_results));
        hasher.write_u64(u64::from(form.images) << 32 | u64::from(form.audio));
        hasher.write_u64(u64::from(form.turns) << 32 | u64::from(form.system_chars));
        hasher.write_u64(u64::from(form.total_chars));
        // 0 marks an empty entry.
        CacheKey(hasher.finish().max(1))
    }

    /// The verdict stored under `key`, as [`Stage::Cache`] and without time spent; unless the form of
    /// the request decided, which needs no cache to say so.
    pub fn get(&mut self, key: CacheKey) -> Option<Classified> {
        let Some((at, set)) = self.set(key) else {
            self.misses += 1;
            return None;
        };
        let way = set.tags.iter().position(|&tag| tag == key.0);
        if let Some(way) = way {
            set.recent |= 1 << way;
        }
        let found = way.and_then(|way| self.values.get(at * WAYS + way)?.as_ref());
        match found {
            Some(found) => {
                self.hits += 1;
                let stage = match found.stage {
                    Stage::Structure => Stage::Structure,
                    _ => Stage::Cache,
                };
                Some(Classified { stage, micros: 0, ..found.clone() })
            }
            None => {
                self.misses += 1;
                None
            }
        }
    }

    /// Stores a verdict; an older one of its set may go.
    pub fn put(&mut self, key: CacheKey, classified: &Classified) {
        let Some((at, set)) = self.set(key) else { return };
        let free = |tag: &u64| *tag == key.0 || *tag == 0;
        let same = set.tags.iter().position(|&tag| tag == key.0);
        let way = same.or_else(|| set.tags.iter().position(free)).unwrap_or_else(|| set.evict());
        set.tags[way] = key.0;
        set.recent &= !(1 << way);
        if let Some(value) = self.values.get_mut(at * WAYS + way) {
            *value = Some(classified.clone());
        }
    }

    /// Forgets all: for a model that was replaced.
    pub fn clear(&mut self) {
        self.sets.fill(Set::default());
        self.values.fill(None);
    }

    /// Questions that found a verdict.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Questions that found none.
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// How many verdicts there is room for.
    pub fn capacity(&self) -> usize {
        self.values.len()
    }

    /// Bytes taken, once and for all.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.sets) + size_of_val(&*self.values)
    }

    fn set(&mut self, key: CacheKey) -> Option<(usize, &mut Set)> {
        // The tag is compared whole, so that the set may be chosen by any of its bits.
        let at = (key.0 >> 32) as usize & self.sets.len().checked_sub(1)?;
        Some((at, self.sets.get_mut(at)?))
    }
}

impl Set {
    /// The way to reuse: the first from the hand on that was not asked for; those passed lose their mark.
    fn evict(&mut self) -> usize {
        loop {
            let way = usize::from(self.hand);
            self.hand = (self.hand + 1) % WAYS as u8;
            if self.recent & (1 << way) == 0 {
                return way;
            }
            self.recent &= !(1 << way);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CoreClassifier, Structure};

    fn input(text: &str) -> Input<'_> {
        Input { text, structure: Structure::default() }
    }

    #[test]
    fn the_same_input_finds_its_verdict_and_no_other_does() {
        let mut cache = VerdictCache::new(64);
        let plain = Structure::default();
        let verdict = CoreClassifier::rules_only().classify(&input("Translate this"));
        let key = cache.key(&input("Translate this"));
        assert_eq!(cache.get(key), None);
        cache.put(key, &verdict);
        let found = cache.get(key).expect("stored");
        assert_eq!(found, Classified { stage: Stage::Cache, micros: 0, ..verdict });
        for (text, structure) in [
            ("Translate this ", plain),
            ("", plain),
            ("Translate this", Structure { has_tools: true, ..plain }),
            ("Translate this", Structure { json_schema: true, ..plain }),
            ("Translate this", Structure { tool_results: 1, ..plain }),
            ("Translate this", Structure { images: 1, ..plain }),
            ("Translate this", Structure { audio: 1, ..plain }),
            ("Translate this", Structure { turns: 1, ..plain }),
            ("Translate this", Structure { system_chars: 1, ..plain }),
            ("Translate this", Structure { total_chars: 1, ..plain }),
        ] {
            assert_eq!(cache.get(cache.key(&Input { text, structure })), None, "{structure:?}");
        }
        assert_eq!((cache.hits(), cache.misses()), (1, 11));
        cache.clear();
        assert_eq!(cache.get(key), None);
    }

    #[test]
    fn a_full_cache_keeps_what_is_asked_for() {
        let verdict = CoreClassifier::rules_only().classify(&input("x"));
        let mut cache = VerdictCache::new(WAYS);
        let bytes = cache.bytes();
        let favourite = cache.key(&input("favourite"));
        cache.put(favourite, &verdict);
        for count in 0..1000 {
            assert!(cache.get(favourite).is_some(), "after {count}");
            let key = cache.key(&input(&format!("other {count}")));
            cache.put(key, &verdict);
        }
        assert_eq!((cache.capacity(), cache.bytes()), (WAYS, bytes));
    }

    #[test]
    fn a_cache_of_nothing_finds_nothing() {
        let verdict = CoreClassifier::rules_only().classify(&input("x"));
        let mut cache = VerdictCache::new(0);
        let key = cache.key(&input("x"));
        cache.put(key, &verdict);
        assert_eq!(cache.get(key), None);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn keys_of_two_caches_have_nothing_in_common() {
        let (one, other) = (VerdictCache::new(8), VerdictCache::new(8));
        assert_ne!(one.key(&input("x")), other.key(&input("x")));
    }
}

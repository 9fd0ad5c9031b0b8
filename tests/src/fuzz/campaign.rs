//! Runs a target on its corpus and on mutations of it, from a seed.
//!
//! Not guided by coverage, so it needs no special compiler, takes seconds, and does the same thing every time. A finding is the input, made smaller as long as it still fails.

use std::cell::Cell;
use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use super::Target;

/// Largest input that is made, in bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// Largest number of changes to one input.
const CHANGES_MAX: u64 = 8;
/// Tries to make a finding smaller.
const SHRINK_TRIES_MAX: usize = 20_000;

/// Pieces that readers of text protocols trip over.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud83d",
    b"\\udc00",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"99999999999999999999",
    b"18446744073709551616",
    b"-1",
    b"0.1",
    b"data:",
    b"data: ",
    b"event: ",
    b": ",
    b"[DONE]",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b";a=b",
    b"chunked",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: +5\r\n",
    b"%2e",
    b"%00",
    b"%",
    b"/",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xf0\x9f\x98\x80",
    b"\xe2\x80\xa8",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"model",
    b"messages",
    b"content",
    b"usage",
    b"stream",
    b"choices",
    b"[[provider]]\n",
    b"[server]\n",
    b" = ",
    b"'''",
    b"#",
];

/// Inputs for one target.
pub struct Campaign {
    target: Target,
    corpus: Vec<Vec<u8>>,
    random: Random,
}

/// An input that breaks a promise.
#[derive(Debug)]
pub struct Finding {
    /// The smallest such input that was found.
    pub input: Vec<u8>,
    /// What the target said.
    pub message: String,
}

impl Campaign {
    /// For `target`, with the files below `corpus/<its name>`.
    pub fn new(target: Target, corpus: &Path, seed: u64) -> io::Result<Campaign> {
        let folder = corpus.join(target.name);
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.sort();
        let corpus = paths.iter().map(fs::read).collect::<io::Result<Vec<_>>>()?;
        Ok(Campaign { target, corpus, random: Random(seed) })
    }

    /// Inputs that it begins with.
    pub fn corpus_len(&self) -> usize {
        self.corpus.len()
    }

    /// Asks the target about the corpus as it is.
    pub fn replay(&self) -> Result<(), Finding> {
        self.corpus.iter().try_for_each(|input| self.ask(input))
    }

    /// Asks the target about `count` mutations.
    pub fn run(&mut self, count: usize) -> Result<(), Finding> {
        (0..count).try_for_each(|_| {
            let input = self.mutation();
            self.ask(&input)
        })
    }

    fn ask(&self, input: &[u8]) -> Result<(), Finding> {
        match quietly(|| (self.target.check)(input)) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.shrunk(input.to_vec())),
        }
    }

    /// Takes away pieces, from halves to single bytes, as long as the rest still fails.
    fn shrunk(&self, mut input: Vec<u8>) -> Finding {
        let fails = |input: &[u8]| quietly(|| (self.target.check)(input)).err();
        let mut message = fails(&input).unwrap_or_else(|| "it fails only at times".to_owned());
        let mut piece = input.len() / 2;
        let mut tries = 0;
        while piece > 0 && tries < SHRINK_TRIES_MAX {
            let mut at = 0;
            while at < input.len() && tries < SHRINK_TRIES_MAX {
                let mut shorter = input.clone();
                shorter.drain(at..(at + piece).min(input.len()));
                tries += 1;
                match fails(&shorter) {
                    Some(said) => (input, message) = (shorter, said),
                    None => at += piece,
                }
            }
            piece /= 2;
        }
        Finding { input, message }
    }

    fn mutation(&mut self) -> Vec<u8> {
        let mut input = self.pick();
        for _ in 0..1 + self.random.below(CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.random.below(self.corpus.len() as u64) as usize;
        self.corpus.get(at).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.below(input.len() as u64 + 1) as usize;
        let to = (at + 1 + self.random.below(16) as usize).min(input.len());
        match self.random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.random.below(8),
            1 if at < input.len() => input[at] = self.random.below(256) as u8,
            2 => drop(input.drain(at..to)),
            3 => input.truncate(at),
            4 => {
                let again = input[at..to].to_vec();
                let times = 1 + self.random.below(40) as usize;
                input.splice(at..at, again.repeat(times));
            }
            5 => {
                let other = self.pick();
                let from = self.random.below(other.len() as u64 + 1) as usize;
                let end = (from + self.random.below(64) as usize).min(other.len());
                input.splice(at..at, other[from..end].iter().copied());
            }
            6 => {
                // Members and lines in another order.
                let piece: Vec<u8> = input.drain(at..to).collect();
                let place = self.random.below(input.len() as u64 + 1) as usize;
                input.splice(place..place, piece);
            }
            _ => {
                let token = TOKENS[self.random.below(TOKENS.len() as u64) as usize];
                input.splice(at..at, token.iter().copied());
            }
        }
    }
}

/// Runs `check` and gives back what it panicked with, without the usual print.
fn quietly(check: impl FnOnce()) -> Result<(), String> {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let done = panic::catch_unwind(AssertUnwindSafe(check));
    QUIET.set(false);
    done.map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => {
            panic.downcast::<&str>().map_or("a panic".to_owned(), |said| said.to_string())
        }
    })
}

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    /// Below `limit`; 0 for 0.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)).checked_rem(limit).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_is_found_and_made_small() {
        let no_bang =
            Target { name: "no_bang", check: |bytes| assert!(!bytes.contains(&b'!'), "a bang") };
        let corpus = tempfile::tempdir().expect("a folder");
        fs::create_dir(corpus.path().join("no_bang")).expect("a folder");
        fs::write(corpus.path().join("no_bang/1"), "harmless words").expect("writes");
        let mut campaign = Campaign::new(no_bang, corpus.path(), 1).expect("reads");
        campaign.replay().expect("there is none yet");
        let finding = campaign.run(100_000).expect_err("some mutation has one");
        assert_eq!((finding.input.as_slice(), finding.message.as_str()), (&b"!"[..], "a bang"));
    }
}

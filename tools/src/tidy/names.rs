//! Names in Rust code: where they may stand, and where not at all.

use regex::Regex;

use super::Findings;
use super::layers::PURE;
use super::tree::{File, Tree};

/// A name that stands in few places. A place is a file, or a folder with `/` at its end.
struct Home {
    name: &'static str,
    /// What to look for in code.
    pattern: &'static str,
    places: &'static [&'static str],
    remedy: &'static str,
}

const HOMES: &[Home] = &[
    Home {
        name: "monoio",
        pattern: r"\bmonoio\b",
        places: &["engine/src/rt.rs"],
        remedy: "use what rt offers, or add to it",
    },
    Home {
        name: "io_uring",
        pattern: r"\bio_uring::",
        places: &["engine/src/rt.rs"],
        remedy: "use what rt offers, or add to it",
    },
    Home {
        name: "simd_json",
        pattern: r"\bsimd_json\b",
        places: &["engine/wire/src/json.rs"],
        remedy: "use wire::json",
    },
    Home {
        name: "ort",
        pattern: r"\bort::",
        places: &["classifier/src/onnx.rs"],
        remedy: "use classifier::OnnxRuntime, or add to onnx.rs",
    },
    Home {
        name: "rusqlite",
        pattern: r"\brusqlite\b",
        places: &["engine/store/", "tests/"],
        remedy: "ask the store, or add a question to it",
    },
];

/// SQL in a string literal, told from English by its capitals.
const SQL: &str = r"\b(SELECT\s.+\sFROM|INSERT\s(OR\s\w+\s)?INTO|DELETE\sFROM|UPDATE\s\w+\sSET|CREATE\s(TABLE|INDEX)|PRAGMA)\s";
const SQL_PLACES: &[&str] = &["engine/store/", "tests/"];

/// Where `unsafe` may stand, and the argument.
const UNSAFE_PLACES: &[(&str, &str)] = &[
    ("bench/", "measures: counting allocators and the system's clocks"),
    ("engine/route/src/score.rs", "one loop is built for AVX2 and called where the CPU has it"),
    ("engine/src/main.rs", "asks the allocator to give memory back"),
    ("engine/src/rt.rs", "system calls on sockets, rings and cores"),
    ("engine/store/examples/", "measures: the system's clocks"),
    ("engine/store/src/segment.rs", "a journal that is memory until the system writes it"),
    ("engine/store/tests/", "tests count allocations and forbid system calls"),
    ("loadtest/src/sys.rs", "system calls on timers, sockets and cores"),
    (
        "models/src/catalogue/mod.rs",
        "the catalogue's image is checked once, then read without checks",
    ),
];

/// What a pure crate does not name, and what to do instead.
const IMPURE: &[(&str, &str)] = &[
    (
        r"\bstd::(fs|net|process|env|os)\b|\b(fs|net|process|env|os)::\w",
        "do I/O in engine and pass the result",
    ),
    (
        r"\bstd::thread\b|\bthread::\w|\bspawn\s*\(|\basync\b|\.await\b",
        "pure code starts and awaits nothing",
    ),
    (r"\bInstant\b|\bSystemTime\b", "take `now` as an argument"),
    (r"\b(Mutex|RwLock|Condvar|Once|Barrier)\b", "pure code is called by one owner at a time"),
    (r"\b(tokio|monoio)\b", "runtimes belong to engine"),
    (r"\be?print(ln)?!|\bdbg!", "return it, and let the caller print"),
];

/// What a pure crate may name all the same, with the reason.
const PURE_EXCEPTIONS: &[(&str, &str, &str)] =
    &[("models/src/", "fs", "models reads its own data files")];

fn is_at(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

/// The tables above hold patterns that are known to be right.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| panic!("a rule's own pattern is wrong: {error}"))
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Adds a finding for each match of `pattern` in `text`, once a line.
fn each_match(
    findings: &mut Findings,
    file: &File,
    text: &str,
    pattern: &Regex,
    what: impl Fn(&str) -> Option<String>,
) {
    let mut last = 0;
    for found in pattern.find_iter(text) {
        let line = line_of(text, found.start());
        if line == last {
            continue;
        }
        if let Some(what) = what(found.as_str()) {
            findings.add(&file.path, line, what);
            last = line;
        }
    }
}

/// Finds names away from their place, and SQL away from the store.
pub(super) fn homes(tree: &Tree, findings: &mut Findings) {
    for home in HOMES {
        let pattern = pattern(home.pattern);
        for file in tree.rust().filter(|file| !is_at(&file.path, home.places)) {
            each_match(findings, file, &file.code, &pattern, |_| {
                let (name, places) = (home.name, home.places.join(", "));
                Some(format!("{name} is named outside {places}; {}", home.remedy))
            });
        }
    }
    let sql = pattern(SQL);
    for file in tree.rust().filter(|file| !is_at(&file.path, SQL_PLACES)) {
        each_match(findings, file, &file.strings, &sql, |_| {
            Some("SQL outside engine/store; ask the store, or add a question to it".to_owned())
        });
    }
}

/// Finds `unsafe` where nobody has argued for it.
pub(super) fn unsafe_homes(tree: &Tree, findings: &mut Findings) {
    let places: Vec<_> = UNSAFE_PLACES.iter().map(|(place, _)| *place).collect();
    let keyword = pattern(r"\bunsafe\b");
    for file in tree.rust().filter(|file| !is_at(&file.path, &places)) {
        each_match(findings, file, &file.code, &keyword, |_| {
            Some("unsafe in a file that is not listed for it; do without, or add the file and its reason to tools/src/tidy/names.rs".to_owned())
        });
    }
}

/// Finds I/O, clocks, locks and tasks in the pure crates. Tests and examples may do as they like.
pub(super) fn purity(tree: &Tree, findings: &mut Findings) {
    for (impure, remedy) in IMPURE {
        let impure = pattern(impure);
        for file in tree.rust() {
            let Some(name) = pure_crate(&file.path) else { continue };
            each_match(findings, file, &file.shipped, &impure, |found| {
                let excepted = PURE_EXCEPTIONS
                    .iter()
                    .any(|(place, word, _)| is_at(&file.path, &[place]) && found.contains(word));
                (!excepted).then(|| format!("{name} is pure, but names `{found}`; {remedy}"))
            });
        }
    }
}

fn pure_crate(path: &str) -> Option<&'static str> {
    let folder = path.split_once("/src/")?.0;
    let name = folder.rsplit('/').next()?;
    PURE.iter().find(|pure| **pure == name).copied()
}

/// Finds code that says of itself that it is not finished.
pub(super) fn stubs(tree: &Tree, findings: &mut Findings) {
    let macros = pattern(r"\b(todo|unimplemented)\s*!");
    for file in tree.rust() {
        each_match(findings, file, &file.code, &macros, |found| {
            Some(format!(
                "`{found}` is no implementation; write it, or return an error that says what is missing"
            ))
        });
    }
    // Put together, so that this file does not find itself.
    let marks = pattern(&["FIX", "ME|XX", "X\\b|TO", "DO\\b"].concat());
    for file in tree.files().iter().filter(|file| file.name() != "Cargo.lock" && !file.is_prompts())
    {
        each_match(findings, file, &file.text, &marks, |found| {
            Some(format!("{found}: do it now, or write it down where work is planned"))
        });
    }
}

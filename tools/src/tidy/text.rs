//! Rules about files as texts: heads, lengths, words that mean nothing elsewhere, data.

use regex::Regex;

use super::Findings;
use super::tree::{File, Tree};

/// What may lie at the root. Names that begin with a dot are for tools and free.
const ROOT: &[&str] = &[
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "classifier",
    "docs",
    "engine",
    "loadtest",
    "models",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "tests",
    "tools",
];

/// A file of code has at most this many lines.
const LINES_MAX: usize = 800;

/// Longer files, with the reason.
const LONG: &[(&str, &str)] = &[];

const CODE_ENDINGS: &[&str] = &[".rs", ".py", ".sh"];

/// A file may have this size unless it is listed.
const BYTES_MAX: u64 = 256 << 10;

/// Larger files, with the reason.
const LARGE: &[(&str, &str)] = &[("models/task-v1/", "the classifier that ships")];

/// Endings of data sets and of models that are not shipped as such.
const DATA_ENDINGS: &[&str] = &[
    ".arrow",
    ".bin",
    ".csv",
    ".feather",
    ".gz",
    ".npy",
    ".npz",
    ".parquet",
    ".pkl",
    ".pt",
    ".safetensors",
    ".sqlite",
    ".tar",
    ".whl",
    ".zip",
    ".zst",
];

/// Words that mean something to one machine or one group of people only. The brackets keep the
/// patterns from finding themselves.
const LOCAL: &[(&str, &str)] = &[
    (
        r"(^|[^\w.])/(work|root|farm|mnt)[/]\w",
        "a path of somebody's machine; make it relative, or an option",
    ),
    (
        r"(^|[^\w.])/(home|Users)[/]\w",
        "a path of somebody's machine; make it relative, or an option",
    ),
    (r"\.\.[/]shared\b", "a folder outside the repository; say what it is, not where it lies"),
    (r"(?i)\bissues?[ ]#?\d", "a number that means nothing here; say what it is about"),
    (r"(^|[\s(])[#]\d+\b", "a number that means nothing here; say what it is about"),
    (
        r"https?://[\w.]*(pypi\.org|pythonhosted\.org|npmjs\.(org|com)|crates\.io|proxy\.golang\.org)",
        "the address of a package registry; name the package, and let the user's client know its registry",
    ),
];

/// Finds what does not belong at the root.
pub(super) fn root_entries(tree: &Tree, findings: &mut Findings) {
    let mut last = "";
    for file in tree.files() {
        let entry = file.path.split('/').next().unwrap_or_default();
        if entry != last && !entry.starts_with('.') && !ROOT.contains(&entry) {
            findings.add(
                entry,
                0,
                "does not belong at the root; put it into the crate that needs it",
            );
        }
        last = entry;
    }
}

/// Finds files that do not begin with what they are.
pub(super) fn heads(tree: &Tree, findings: &mut Findings) {
    for file in tree.files() {
        let first =
            file.text.lines().find(|line| !line.starts_with("#!") && !line.trim().is_empty());
        let first = first.unwrap_or_default();
        let (wanted, is_there) = if file.is_rust() {
            ("`//!`", first.starts_with("//!"))
        } else if file.path.ends_with(".py") {
            ("a docstring", first.starts_with("\"\"\"") || first.starts_with("r\"\"\""))
        } else if file.text.starts_with("#!") {
            ("a comment", first.starts_with('#'))
        } else {
            continue;
        };
        if !is_there {
            findings.add(
                &file.path,
                1,
                format!(
                    "begin with {wanted}: what it is, what goes in and out, what it never does"
                ),
            );
        }
    }
}

/// Finds code files that are too long.
pub(super) fn lengths(tree: &Tree, findings: &mut Findings) {
    for file in tree.files() {
        let is_code = CODE_ENDINGS.iter().any(|ending| file.path.ends_with(ending));
        let lines = file.text.lines().count();
        if is_code && lines >= LINES_MAX && !LONG.iter().any(|(path, _)| *path == file.path) {
            findings.add(&file.path, lines, format!("{lines} lines, {LINES_MAX} are too many; split it by idea, or list it with a reason in tools/src/tidy/text.rs"));
        }
    }
}

/// Finds words that are understood only on one machine or by one group, and documents that are not
/// in the repository.
pub(super) fn portable(tree: &Tree, findings: &mut Findings) {
    let local: Vec<_> = LOCAL.iter().map(|(text, remedy)| (pattern(text), *remedy)).collect();
    let document = pattern(r"\b[A-Z][A-Z_]+\.md\b");
    let free = |file: &File| matches!(file.name(), "Cargo.lock" | "LICENSE") || file.is_prompts();
    for file in tree.files().iter().filter(|file| !free(file)) {
        for (index, line) in file.text.lines().enumerate() {
            let told = |findings: &mut Findings, found: &str, remedy: &str| {
                findings.add(&file.path, index + 1, format!("`{}`: {remedy}", found.trim()));
            };
            for (pattern, remedy) in &local {
                if let Some(found) = pattern.find(line) {
                    told(findings, found.as_str(), remedy);
                }
            }
            for found in document.find_iter(line) {
                let name = found.as_str();
                if !ROOT.contains(&name) && !tree.files().iter().any(|other| other.name() == name) {
                    told(
                        findings,
                        found.as_str(),
                        "there is no such document here; say what it says",
                    );
                }
            }
        }
    }
}

/// Finds data sets and large files.
pub(super) fn data(tree: &Tree, findings: &mut Findings) {
    for file in tree.files().iter().filter(|file| !file.is_prompts()) {
        let listed = LARGE.iter().any(|(place, _)| file.path.starts_with(place));
        if DATA_ENDINGS.iter().any(|ending| file.path.ends_with(ending)) && !listed {
            findings.add(
                &file.path,
                0,
                "data does not belong here; fetch or make it, and keep it in .cache/",
            );
        } else if file.bytes > BYTES_MAX && !listed {
            let what = format!(
                "{} bytes, {BYTES_MAX} are the most; keep it elsewhere, or list it with a reason in tools/src/tidy/text.rs",
                file.bytes
            );
            findings.add(&file.path, 0, what);
        } else if is_records(file) {
            findings.add(
                &file.path,
                0,
                "a file of records; test data is made by tests, training data lives elsewhere",
            );
        }
    }
}

/// JSON lines in bulk.
fn is_records(file: &File) -> bool {
    const RECORDS_MAX: usize = 200;
    file.path.ends_with(".jsonl") && file.text.lines().count() > RECORDS_MAX
}

/// The tables above hold patterns that are known to be right.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| panic!("a rule's own pattern is wrong: {error}"))
}

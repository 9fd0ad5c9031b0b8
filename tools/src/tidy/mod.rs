//! The structure check: what the layout of this repository promises, as rules with their reasons.
//!
//! In: the files below the root, without what `.gitignore` names. Out: findings, each with file,
//! line, rule and remedy. Reads only; knows nothing of what the code does, only where names stand.
//! A rule is one entry in [`RULES`]; what it allows stands in tables beside it, with a reason each.

mod layers;
mod mask;
mod names;
mod text;
mod tree;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use tree::Tree;

/// One promise, and the function that finds where it is broken.
struct Rule {
    name: &'static str,
    why: &'static str,
    check: fn(&Tree, &mut Findings),
}

const RULES: &[Rule] = &[
    Rule {
        name: "root",
        why: "a newcomer sees the whole system in one listing",
        check: text::root_entries,
    },
    Rule {
        name: "layers",
        why: "dependencies point down only, so every crate can be read and tested without those above",
        check: layers::directions,
    },
    Rule {
        name: "manifests",
        why: "versions and lints stand once, at the root",
        check: layers::manifests,
    },
    Rule {
        name: "pure crates",
        why: "what does no I/O, reads no clock and takes no lock is easy to test, fuzz and move",
        check: names::purity,
    },
    Rule {
        name: "one place",
        why: "what may have to be replaced one day is named in one place",
        check: names::homes,
    },
    Rule {
        name: "unsafe",
        why: "code that the compiler cannot check is kept where somebody has argued for it",
        check: names::unsafe_homes,
    },
    Rule {
        name: "no stubs",
        why: "what is here works; what does not is not here",
        check: names::stubs,
    },
    Rule {
        name: "heads",
        why: "every file says what it is before it says how",
        check: text::heads,
    },
    Rule {
        name: "length",
        why: "a file that is one idea fits in a reader's head",
        check: text::lengths,
    },
    Rule {
        name: "portable",
        why: "the repository means the same to everybody, on every machine",
        check: text::portable,
    },
    Rule {
        name: "data",
        why: "training data and large files live elsewhere; a clone stays small",
        check: text::data,
    },
];

/// One place where a promise is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    rule: &'static str,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}: {}", self.file, self.rule, self.what),
            line => write!(f, "{}:{line}: {}: {}", self.file, self.rule, self.what),
        }
    }
}

/// Collects what one rule finds.
struct Findings {
    rule: &'static str,
    found: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, file: &str, line: usize, what: impl Into<String>) {
        let (file, rule, what) = (file.to_owned(), self.rule, what.into());
        self.found.push(Finding { file, line, rule, what });
    }
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Findings { rule: "", found: Vec::new() };
    for rule in RULES {
        findings.rule = rule.name;
        (rule.check)(tree, &mut findings);
    }
    findings.found
}

/// Checks the repository that this program was built from.
pub(crate) fn run(list: bool) -> Result<(), String> {
    if list {
        for rule in RULES {
            println!("{:12} {}", rule.name, rule.why);
        }
        return Ok(());
    }
    let tree = Tree::read(repository())?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files keep {} rules", tree.files().len(), RULES.len());
            Ok(())
        }
        count => Err(format!("{count} findings; the rules and their reasons: tools tidy --list")),
    }
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

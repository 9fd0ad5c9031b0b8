//! Which crate may know which, read from the manifests.

use std::collections::BTreeMap;

use super::Findings;
use super::tree::{File, Tree};

/// A crate of the workspace, the folder of its manifest, and its layer. A crate knows only crates
/// of lower layers; crates of one layer do not know each other.
struct Member {
    name: &'static str,
    folder: &'static str,
    layer: u8,
}

const MEMBERS: &[Member] = &[
    Member { name: "models", folder: "models", layer: 0 },
    Member { name: "wire", folder: "engine/wire", layer: 1 },
    Member { name: "route", folder: "engine/route", layer: 1 },
    Member { name: "govern", folder: "engine/govern", layer: 1 },
    Member { name: "classifier", folder: "classifier", layer: 1 },
    Member { name: "loadtest", folder: "loadtest", layer: 1 },
    Member { name: "store", folder: "engine/store", layer: 2 },
    Member { name: "engine", folder: "engine", layer: 3 },
    Member { name: "bench", folder: "bench", layer: 4 },
    Member { name: "tests", folder: "tests", layer: 4 },
    Member { name: "tools", folder: "tools", layer: 4 },
];

/// Crates from outside that only some of ours may depend on.
struct Reserved {
    name: &'static str,
    members: &'static [&'static str],
    why: &'static str,
}

const RESERVED: &[Reserved] = &[
    Reserved { name: "monoio", members: &["engine"], why: "the data plane's runtime" },
    Reserved { name: "io-uring", members: &["engine"], why: "the data plane's runtime" },
    Reserved { name: "tokio", members: &["engine"], why: "the control thread's runtime" },
    Reserved { name: "axum", members: &["engine"], why: "the control thread's server" },
    Reserved { name: "simd-json", members: &["wire"], why: "JSON is read in one place" },
    Reserved { name: "ort", members: &["classifier"], why: "ONNX sessions are made in one place" },
    Reserved {
        name: "rusqlite",
        members: &["store", "tests"],
        why: "the ledger's tables are the store's; tests read them to check it",
    },
];

/// What the pure crates cannot need from outside, because they do no I/O, read no clock and lock
/// nothing.
const IMPURE: &[&str] = &[
    "arc-swap",
    "crossbeam",
    "getrandom",
    "jiff",
    "libc",
    "memmap2",
    "mio",
    "rustls",
    "tempfile",
    "tracing",
    "tracing-subscriber",
    "zip",
];

/// The crates that keep invariant 1.
pub(super) const PURE: &[&str] = &["models", "wire", "route", "govern"];

const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Dependencies of one manifest: section, name, value, line.
fn dependencies(file: &File) -> Result<Vec<(&'static str, String, toml::Value, usize)>, String> {
    let table: toml::Table = file.text.parse().map_err(|error| format!("{error}"))?;
    let mut all = Vec::new();
    for section in SECTIONS {
        let Some(toml::Value::Table(entries)) = table.get(section) else { continue };
        for (name, value) in entries {
            let line = line_of(&file.text, section, name);
            all.push((section, name.clone(), value.clone(), line));
        }
    }
    Ok(all)
}

fn line_of(text: &str, section: &str, name: &str) -> usize {
    let heading = format!("[{section}]");
    let body = text.lines().enumerate().skip_while(|(_, line)| line.trim() != heading);
    body.skip(1)
        .find(|(_, line)| line.split(['=', '.', ' ']).next() == Some(name))
        .map_or(0, |(index, _)| index + 1)
}

fn member(name: &str) -> Option<&'static Member> {
    MEMBERS.iter().find(|member| member.name == name)
}

fn member_at(path: &str) -> Option<&'static Member> {
    MEMBERS.iter().find(|member| path == format!("{}/Cargo.toml", member.folder))
}

/// Finds dependencies that do not point down.
pub(super) fn directions(tree: &Tree, findings: &mut Findings) {
    let manifests = tree.files().iter().filter(|file| file.name() == "Cargo.toml");
    for file in manifests.filter(|file| file.path != "Cargo.toml") {
        let Some(from) = member_at(&file.path) else {
            let what = "a crate without a layer; give it one in tools/src/tidy/layers.rs";
            findings.add(&file.path, 0, what);
            continue;
        };
        let Ok(dependencies) = dependencies(file) else { continue };
        for (section, name, _, line) in dependencies {
            if let Some(to) = member(&name)
                && to.layer >= from.layer
            {
                let what = format!(
                    "{} (layer {}) may not depend on {name} (layer {}); move what they share further down",
                    from.name, from.layer, to.layer
                );
                findings.add(&file.path, line, what);
            }
            let reserved = RESERVED.iter().find(|reserved| reserved.name == name);
            if let Some(Reserved { members, why, .. }) = reserved
                && !members.contains(&from.name)
            {
                let homes = members.join(" and ");
                findings.add(&file.path, line, format!("{name} belongs to {homes}: {why}"));
            }
            if PURE.contains(&from.name)
                && section == "dependencies"
                && IMPURE.contains(&name.as_str())
            {
                let what = format!("{} is pure and cannot need {name}; do it in engine", from.name);
                findings.add(&file.path, line, what);
            }
        }
    }
}

/// Finds versions and lints that a crate sets for itself, and dependencies that nobody uses.
pub(super) fn manifests(tree: &Tree, findings: &mut Findings) {
    let Some(root) = tree.get("Cargo.toml") else {
        return findings.add("Cargo.toml", 0, "the workspace has no manifest at its root");
    };
    let mut unused: BTreeMap<String, usize> = BTreeMap::new();
    match root.text.parse::<toml::Table>() {
        Err(error) => findings.add("Cargo.toml", 0, error.to_string()),
        Ok(table) => {
            let shared = table.get("workspace").and_then(|workspace| workspace.get("dependencies"));
            for name in shared.and_then(toml::Value::as_table).into_iter().flat_map(|t| t.keys()) {
                unused.insert(name.clone(), line_of(&root.text, "workspace.dependencies", name));
            }
        }
    }
    for file in tree.files().iter().filter(|file| file.name() == "Cargo.toml") {
        if file.path == "Cargo.toml" {
            continue;
        }
        let dependencies = match dependencies(file) {
            Ok(dependencies) => dependencies,
            Err(error) => {
                findings.add(&file.path, 0, error);
                continue;
            }
        };
        for (_, name, value, line) in dependencies {
            unused.remove(&name);
            if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                let what =
                    format!("{name} has a version of its own; write `{name}.workspace = true`");
                findings.add(&file.path, line, what);
            }
        }
        let lints = file.text.lines().skip_while(|line| line.trim() != "[lints]");
        if !lints.skip(1).any(|line| line.trim() == "workspace = true") {
            let what = "does not take the workspace's lints; add `[lints]` with `workspace = true`";
            findings.add(&file.path, 0, what);
        }
    }
    for (name, line) in unused {
        findings.add("Cargo.toml", line, format!("no crate uses {name}; remove it"));
    }
}

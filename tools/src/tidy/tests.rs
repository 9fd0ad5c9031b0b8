//! Each rule fires on a small bad example, and the repository keeps them all.

use super::tree::Tree;
use super::{RULES, check, mask, repository};

/// A crate that does everything right, as a frame for one mistake.
const MANIFEST: &str =
    "[package]\nname = \"x\"\n[dependencies]\nmodels.workspace = true\n[lints]\nworkspace = true\n";
const HEAD: &str = "//! What it is.\n";

/// What is found in one file, beside a root manifest that names what the file needs.
fn found(path: &str, text: &str) -> Vec<String> {
    let root = "[workspace]\n[workspace.dependencies]\nmodels = \"1\"\n";
    let used = "[dependencies]\nmodels.workspace = true\n[lints]\nworkspace = true\n";
    let mut files = vec![("Cargo.toml", root), ("tools/Cargo.toml", used)];
    files.retain(|(name, _)| *name != path);
    files.push((path, text));
    check(&Tree::of(&files)).iter().map(ToString::to_string).collect()
}

/// Puts words together that this file must not hold as such.
fn join(parts: &[&str]) -> String {
    parts.concat()
}

#[test]
fn this_repository_keeps_every_rule() {
    let tree = Tree::read(repository()).expect("the repository can be read");
    assert!(tree.files().len() > 100, "found only {} files", tree.files().len());
    let findings = check(&tree);
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn each_rule_fires() {
    let long = format!("{HEAD}{}", "// line\n".repeat(900));
    let large = "x".repeat(300 << 10);
    let records = "{}\n".repeat(500);
    let with = |line: &str| format!("{HEAD}{line}\n");
    let manifest = |line: &str| MANIFEST.replace("models.workspace = true", line);
    // Rule; path; text; what the finding must say.
    let rows: &[(&str, &str, String, &str)] = &[
        ("root", "scripts/x.py", "\"\"\"X.\"\"\"\n".into(), "scripts: root"),
        (
            "layers",
            "models/Cargo.toml",
            manifest("wire.workspace = true"),
            "models/Cargo.toml:4: layers: models (layer 0) may not depend on wire (layer 1)",
        ),
        (
            "layers",
            "engine/wire/Cargo.toml",
            manifest("route.workspace = true"),
            "wire (layer 1) may not depend on route (layer 1)",
        ),
        (
            "layers",
            "engine/store/Cargo.toml",
            manifest("engine.workspace = true"),
            "store (layer 2)",
        ),
        (
            "layers",
            "engine/govern/Cargo.toml",
            manifest("libc.workspace = true"),
            "govern is pure and cannot need libc",
        ),
        (
            "layers",
            "loadtest/Cargo.toml",
            manifest("ort.workspace = true"),
            "ort belongs to classifier",
        ),
        ("layers", "new/Cargo.toml", MANIFEST.into(), "a crate without a layer"),
        (
            "manifests",
            "engine/Cargo.toml",
            manifest("models = \"1\""),
            "engine/Cargo.toml:4: manifests: models has a version of its own",
        ),
        ("manifests", "engine/Cargo.toml", "[dependencies]\n".into(), "the workspace's lints"),
        (
            "manifests",
            "Cargo.toml",
            "[workspace.dependencies]\nmodels = \"1\"\nrand = \"1\"\n".into(),
            "Cargo.toml:3: manifests: no crate uses rand",
        ),
        (
            "pure crates",
            "engine/wire/src/a.rs",
            with("use std::net::TcpStream;"),
            "engine/wire/src/a.rs:2: pure crates: wire is pure, but names `std::net`",
        ),
        (
            "pure crates",
            "engine/route/src/a.rs",
            with("fn f() { let t = Instant::now(); }"),
            "take `now` as an argument",
        ),
        (
            "pure crates",
            "engine/govern/src/a.rs",
            with("static M: Mutex<u8> = Mutex::new(0);"),
            "one owner",
        ),
        (
            "pure crates",
            "engine/govern/src/a.rs",
            with("async fn f() {}"),
            "starts and awaits nothing",
        ),
        ("pure crates", "models/src/a.rs", with("fn f() { println!(); }"), "let the caller print"),
        (
            "pure crates",
            "engine/wire/src/a.rs",
            with("use std::{fs, io};\nfn f() { fs::read(p); }"),
            "a.rs:3",
        ),
        (
            "one place",
            "engine/src/serve.rs",
            with("use monoio::net::TcpStream;"),
            "engine/src/serve.rs:2: one place: monoio is named outside engine/src/rt.rs",
        ),
        ("one place", "engine/src/rt2.rs", with("use io_uring::IoUring;"), "io_uring"),
        (
            "one place",
            "engine/wire/src/http.rs",
            with("fn f() { simd_json::f() }"),
            "use wire::json",
        ),
        ("one place", "classifier/src/core.rs", with("use ort::session::Session;"), "onnx.rs"),
        ("one place", "engine/src/control.rs", with("use rusqlite::Connection;"), "ask the store"),
        (
            "one place",
            "engine/src/control.rs",
            with(&join(&["const Q: &str = \"SEL", "ECT a FROM b \";"])),
            "SQL outside engine/store",
        ),
        ("unsafe", "engine/src/serve.rs", with("unsafe { f() }"), "engine/src/serve.rs:2: unsafe"),
        ("no stubs", "engine/src/serve.rs", with("fn f() { todo!() }"), "is no implementation"),
        ("no stubs", "engine/src/serve.rs", with(&join(&["// FIX", "ME later"])), "do it now"),
        ("heads", "engine/src/serve.rs", "use a;\n".into(), "begin with `//!`"),
        ("heads", "classifier/train/a.py", "import a\n".into(), "begin with a docstring"),
        ("heads", "tools/go", "#!/bin/sh\nset -e\n".into(), "begin with a comment"),
        ("length", "engine/src/serve.rs", long, "901 lines"),
        ("portable", "README.md", join(&["See /wo", "rk/x.\n"]), "README.md:1: portable"),
        ("portable", "README.md", join(&["in /ho", "me/ann/x\n"]), "somebody's machine"),
        ("portable", "README.md", join(&["from ../sha", "red/x\n"]), "outside the repository"),
        ("portable", "README.md", join(&["see iss", "ue 2\n"]), "means nothing here"),
        ("portable", "README.md", join(&["fixed in #", "12\n"]), "means nothing here"),
        ("portable", "README.md", join(&["https://py", "pi.org/x\n"]), "package registry"),
        ("portable", "README.md", join(&["see DESI", "GN.", "md\n"]), "no such document"),
        ("data", "models/data/a.csv", "1,2\n".into(), "data does not belong here"),
        ("data", "models/data/a.toml", large, "307200 bytes"),
        ("data", "tests/a.jsonl", records, "a file of records"),
    ];
    for (rule, path, text, says) in rows {
        let findings = found(path, text);
        let fires =
            findings.iter().any(|line| line.contains(&format!("{rule}: ")) && line.contains(says));
        assert!(fires, "{rule} on {path} should say {says:?}; found {findings:?}");
    }
    for rule in RULES {
        assert!(rows.iter().any(|row| row.0 == rule.name), "no example breaks `{}`", rule.name);
    }
}

#[test]
fn what_only_looks_wrong_is_no_finding() {
    let with = |line: &str| format!("{HEAD}{line}\n");
    let rows: &[(&str, String)] = &[
        ("engine/src/rt.rs", with("use monoio::net::TcpStream;")),
        (
            "engine/src/serve.rs",
            with("// unlike monoio, and `unsafe`\nconst A: &str = \"monoio unsafe\";"),
        ),
        (
            "engine/wire/src/a.rs",
            with("/// Never uses `std::net` or a Mutex.\nfn f() { let network = internet::x(); }"),
        ),
        (
            "engine/wire/src/a.rs",
            with(
                "#[cfg(test)]\nmod tests {\n    use std::time::Instant;\n    fn f() { println!() }\n}",
            ),
        ),
        (
            "engine/route/examples/cost.rs",
            with("fn main() { println!(); let t = Instant::now(); }"),
        ),
        ("models/src/a.rs", with("fn f() { std::fs::read(p); }")),
        ("engine/store/src/a.rs", with(&join(&["const Q: &str = \"SEL", "ECT a FROM b \";"]))),
        ("engine/src/a.rs", with("const A: &str = \"SELECT one of the models from the list\";")),
        ("engine/src/a.rs", with("fn sort() { abort::now(); sort::by(); }")),
        ("README.md", "See # 1, https://example.com/work and docs/home.\n".into()),
        ("tools/x", "#!/bin/sh\n# What it is.\n".into()),
        ("classifier/train/a.py", "#!/usr/bin/env python3\n\"\"\"X.\"\"\"\n".into()),
    ];
    for (path, text) in rows {
        assert_eq!(found(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn code_comments_and_literals_are_told_apart() {
    let rows: &[(&str, &str, &str)] = &[
        ("a // b\nc", "a     \nc", "      \n "),
        ("a /* b /* c */ d */ e", "a                   e", "                     "),
        (r#"f("a\"b", g)"#, "f(      , g)", "   a\\\"b     "),
        (r##"f(r#"a"b"#)"##, "f(        )", "     a\"b   "),
        ("x::<'a>('b', '\\'', 'c')", "x::<'a>(   ,     ,    )", ""),
        ("let r#type = br\"z\";", "let r#type =      ;", "                z  "),
        ("'ä' b", "     b", ""),
        ("\"open", "     ", " open"),
    ];
    for (text, code, strings) in rows {
        let found = mask::split(text);
        assert_eq!(found.0, *code, "{text}");
        assert_eq!(found.1.trim_end(), strings.trim_end(), "{text}");
    }
    let code = "a;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[allow(x)]\nmod t { fn f() {} }\nb;";
    let words: Vec<_> = mask::without_tests(code).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a;", "b;"]);
}

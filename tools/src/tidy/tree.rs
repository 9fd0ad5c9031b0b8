//! The files of the repository, as the rules see them.
//!
//! In: a folder. Out: every file that `.gitignore` does not name, by its path from the root with `/`
//! between the parts; Rust files with their code and their string literals apart.

use std::fs;
use std::path::Path;

use super::mask;

/// A file is read as text up to this; a larger one is only weighed.
const TEXT_BYTES_MAX: u64 = 8 << 20;

/// One file.
pub(super) struct File {
    /// From the root: `engine/src/rt.rs`.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// What it says; empty for what is not UTF-8.
    pub(super) text: String,
    /// For Rust: the code alone; comments and literals are blank, lines stay where they are.
    pub(super) code: String,
    /// For Rust: `code` without items that are built for tests only.
    pub(super) shipped: String,
    /// For Rust: the text of string literals alone.
    pub(super) strings: String,
}

impl File {
    pub(super) fn new(path: &str, text: &str) -> File {
        let (mut code, mut shipped, mut strings) = Default::default();
        if path.ends_with(".rs") {
            (code, strings) = mask::split(text);
            shipped = if is_for_tests(path) { String::new() } else { mask::without_tests(&code) };
        }
        let (path, text) = (path.to_owned(), text.to_owned());
        File { path, bytes: text.len() as u64, text, code, shipped, strings }
    }

    /// Prompts as people type them, written for this project to train and judge the classifier:
    /// records, large, and with any word in them.
    pub(super) fn is_prompts(&self) -> bool {
        self.path.starts_with("classifier/train/prompts/") && self.path.ends_with(".jsonl")
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Whether a file is no part of what is shipped.
fn is_for_tests(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path.ends_with("/build.rs")
        || ["/tests/", "/benches/", "/examples/"].iter().any(|part| path.contains(part))
}

/// All files, sorted by path.
pub(super) struct Tree {
    files: Vec<File>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Tree, String> {
        let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let ignored: Vec<_> = ignored.lines().filter(|line| !line.trim().is_empty()).collect();
        let mut files = Vec::new();
        walk(root, "", &ignored, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { files })
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(path, text)| File::new(path, text)).collect() }
    }

    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn walk(root: &Path, at: &str, ignored: &[&str], files: &mut Vec<File>) -> Result<(), String> {
    let folder = root.join(at);
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if at.is_empty() { name.clone() } else { format!("{at}/{name}") };
        let kind = entry.file_type().map_err(failed)?;
        if name == ".git" || is_ignored(&path, &name, ignored) {
            continue;
        }
        if kind.is_dir() {
            walk(root, &path, ignored, files)?;
            continue;
        }
        let bytes = entry.metadata().map_err(failed)?.len();
        let text = if bytes <= TEXT_BYTES_MAX {
            let raw = fs::read(entry.path()).map_err(failed)?;
            String::from_utf8(raw).unwrap_or_default()
        } else {
            String::new()
        };
        files.push(File { bytes, ..File::new(&path, &text) });
    }
    Ok(())
}

/// The three forms that our `.gitignore` uses: `/from/the/root/`, `anywhere/`, `*.ending`.
fn is_ignored(path: &str, name: &str, patterns: &[&str]) -> bool {
    patterns.iter().any(|pattern| {
        let plain = pattern.trim_end_matches('/');
        match (plain.strip_prefix('/'), plain.strip_prefix('*')) {
            (Some(rooted), _) => path == rooted,
            (None, Some(ending)) => name.ends_with(ending),
            (None, None) => name == plain,
        }
    })
}

//! Turns the data files of the catalogue into one compact JSON text, which the library embeds.
//!
//! In: `data/*.toml` and `data/providers/*.toml`. Out: `$OUT_DIR/catalogue.json` with the arrays
//! `provider` and `model`. It only changes the notation, for JSON is read ten times as fast at
//! start; names and values are checked by the library.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let data = Path::new("data");
    println!("cargo::rerun-if-changed=data");

    let mut files = toml_files(data);
    files.extend(toml_files(&data.join("providers")));

    let mut providers = Vec::new();
    let mut models = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a listed data file can be read");
        let mut table: toml::Table =
            text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for (key, into) in [("provider", &mut providers), ("model", &mut models)] {
            if let Some(toml::Value::Array(entries)) = table.remove(key) {
                into.extend(entries);
            }
        }
        if let Some(key) = table.keys().next() {
            panic!("{}: `{key}` is neither [[provider]] nor [[model]]", file.display());
        }
    }

    let json = serde_json::json!({ "provider": providers, "model": models });
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("catalogue.json"), json.to_string()).expect("OUT_DIR can be written");
}

/// The TOML files of a folder, sorted, so that the build is the same everywhere.
fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder entry can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

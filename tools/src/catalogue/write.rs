//! Writes models as the data files have them: a field per line, an offer per line, nothing twice.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use models::catalogue::ModelSource;
use toml::Value;

/// Writes `<lab>.toml` for every lab and removes files of labs that are gone.
pub(super) fn models(folder: &Path, models: &[ModelSource]) -> Result<(), Box<dyn Error>> {
    let mut labs: BTreeMap<&str, Vec<&ModelSource>> = BTreeMap::new();
    for model in models {
        let lab = model.id.split('/').next().unwrap_or_default();
        labs.entry(lab).or_default().push(model);
    }
    for path in super::toml_files(folder)? {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if !stem.is_some_and(|lab| labs.contains_key(lab)) {
            fs::remove_file(path)?;
        }
    }
    for (lab, mut models) in labs {
        models.sort_by(|a, b| a.id.cmp(&b.id));
        let tables: Result<Vec<String>, _> = models.into_iter().map(table).collect();
        fs::write(folder.join(format!("{lab}.toml")), tables?.join("\n"))?;
    }
    Ok(())
}

fn table(model: &ModelSource) -> Result<String, Box<dyn Error>> {
    let mut text = String::from("[[model]]\n");
    for (key, value) in toml::Table::try_from(model)? {
        match value {
            Value::Array(offers) if key == "offers" => {
                text.push_str("offers = [\n");
                for offer in offers {
                    writeln!(text, "  {},", inline(&offer))?;
                }
                text.push_str("]\n");
            }
            value => writeln!(text, "{key} = {}", inline(&value))?,
        }
    }
    Ok(text)
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(inline).collect();
            format!("[{}]", elements.join(", "))
        }
        Value::Table(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{} = {}", key_text(key), inline(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        // An `f32` made into an `f64` shows digits that nobody wrote.
        Value::Float(float) => format!("{:?}", *float as f32),
        other => other.to_string(),
    }
}

fn key_text(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match key.bytes().all(bare) && !key.is_empty() {
        true => key.to_string(),
        false => Value::String(key.to_string()).to_string(),
    }
}

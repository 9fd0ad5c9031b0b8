//! `pointsman classify` and `pointsman classifier`: judge prompts, and try models that judge them.

use super::{Common, Done, load};
use crate::config::Config;
use crate::control;
use classifier::{Classifier, CoreClassifier, Excerpt, OnnxRuntime};
use std::io::{BufRead, Write};

pub(super) fn classify(common: &Common) -> Done {
    let config = load(common)?;
    let mut core = match classifier(&config) {
        Ok(core) => core,
        Err(error) => {
            eprintln!("pointsman: {error}; judging by rules alone");
            CoreClassifier::rules_only()
        }
    };
    let mut excerpt = Excerpt::default();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| format!("standard input: {error}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = classifier::lines::classify_line(&mut core, &mut excerpt, &line);
        // A reader that has gone needs no more lines.
        if writeln!(out, "{answer}").is_err() {
            return Ok(());
        }
    }
    let _ = out.flush();
    Ok(())
}

fn classifier(config: &Config) -> Result<CoreClassifier, String> {
    if config.classifier.rules_only {
        return Ok(CoreClassifier::rules_only());
    }
    let folder = control::model_folder(config)?;
    let runtime = OnnxRuntime::init(config.classifier.onnxruntime.as_deref())
        .map_err(|error| error.to_string())?;
    let classifier = Classifier::load(&folder, &runtime).map_err(|error| error.to_string())?;
    classifier.session().map_err(|error| error.to_string())
}

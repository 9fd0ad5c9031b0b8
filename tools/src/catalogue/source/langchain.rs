//! PyPI `langchain-*`: a dictionary from wire ids to capabilities and limits per package, derived from
//! models.dev. No prices.

use std::collections::BTreeMap;
use std::error::Error;

use super::{Fact, Source};
use crate::catalogue::fetch::Member;
use crate::catalogue::literal::Literal;

/// The packages and our providers.
const PROVIDERS: [(&str, &str); 7] = [
    ("langchain-anthropic", "anthropic"),
    ("langchain-deepseek", "deepseek"),
    ("langchain-google-genai", "google"),
    ("langchain-groq", "groq"),
    ("langchain-mistralai", "mistral"),
    ("langchain-openai", "openai"),
    ("langchain-xai", "xai"),
];

/// All profiles by provider and wire id.
#[derive(Default)]
pub(crate) struct LangChain {
    profiles: BTreeMap<(String, String), Literal>,
}

impl LangChain {
    /// Adds the profiles of one package.
    pub(crate) fn add(&mut self, package: &str, members: &[Member]) -> Result<(), Box<dyn Error>> {
        let known = PROVIDERS.iter().find(|(name, _)| *name == package);
        let (_, provider) = known.ok_or_else(|| format!("{package}: no provider is known"))?;
        for member in members {
            let Literal::Map(entries) = Literal::assigned(&member.text, "_PROFILES")? else {
                return Err(format!("{package}: `_PROFILES` is no dictionary").into());
            };
            for (key, profile) in entries {
                if let Some(wire_id) = key.text() {
                    let key = (provider.to_string(), wire_id.to_string());
                    self.profiles.insert(key, profile);
                }
            }
        }
        Ok(())
    }
}

impl Source for LangChain {
    fn name(&self) -> &'static str {
        "langchain"
    }

    fn fact(&self, provider: &str, wire_id: &str) -> Option<Fact> {
        let key = (provider.to_string(), wire_id.to_string());
        self.profiles.get(&key).map(fact)
    }

    fn wire_ids(&self) -> Vec<(String, String)> {
        self.profiles.keys().cloned().collect()
    }
}

fn fact(profile: &Literal) -> Fact {
    let text = |field: &str| profile.get(field).and_then(Literal::text);
    let tokens = |field: &str| {
        let digits = profile.get(field)?.number()?;
        digits.parse().ok().filter(|tokens| *tokens > 0)
    };
    let mut fact = Fact {
        context: tokens("max_input_tokens"),
        max_output: tokens("max_output_tokens"),
        name: text("name").map(String::from),
        released: text("release_date").map(String::from),
        ..Fact::default()
    };
    for (capability, field) in [
        ("tools", "tool_calling"),
        ("tool_choice", "tool_choice"),
        ("json_schema", "structured_output"),
        ("vision", "image_inputs"),
        ("audio_in", "audio_inputs"),
        ("audio_out", "audio_outputs"),
        ("video_in", "video_inputs"),
        ("pdf_in", "pdf_inputs"),
        ("reasoning", "reasoning_output"),
        ("sampling_params", "temperature"),
    ] {
        fact.capability(capability, profile.get(field).and_then(Literal::bool));
    }
    fact
}

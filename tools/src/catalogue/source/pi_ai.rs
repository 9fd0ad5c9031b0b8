//! npm `@earendil-works/pi-ai`: one JSON file per provider, `{api: {key: model}}`, prices in dollars
//! per million tokens.

use std::collections::BTreeMap;
use std::error::Error;

use models::catalogue::{MaxTokensField, PriceSource, QuirksSource, ThinkingFormat, TierSource};
use serde_json::Value;

use super::{Fact, Source};
use crate::catalogue::decimal::per_million;
use crate::catalogue::fetch::Member;

/// The package by provider and wire id. Its provider ids are ours.
pub(crate) struct PiAi {
    models: BTreeMap<(String, String), Value>,
}

impl PiAi {
    pub(crate) fn read(members: &[Member]) -> Result<PiAi, Box<dyn Error>> {
        let mut models = BTreeMap::new();
        for member in members {
            let provider = member.name.trim_end_matches(".json");
            let apis: BTreeMap<String, BTreeMap<String, Value>> =
                serde_json::from_str(&member.text)
                    .map_err(|error| format!("{}: {error}", member.name))?;
            for model in apis.into_values().flat_map(BTreeMap::into_values) {
                let chats = model["type"].as_str().is_none_or(|kind| kind == "chat");
                if let (true, Some(id)) = (chats, model["id"].as_str()) {
                    models.insert((provider.to_string(), id.to_string()), model);
                }
            }
        }
        Ok(PiAi { models })
    }
}

impl Source for PiAi {
    fn name(&self) -> &'static str {
        "pi-ai"
    }

    fn fact(&self, provider: &str, wire_id: &str) -> Option<Fact> {
        let key = (provider.to_string(), wire_id.to_string());
        self.models.get(&key).map(fact)
    }

    fn wire_ids(&self) -> Vec<(String, String)> {
        self.models.keys().cloned().collect()
    }
}

fn fact(model: &Value) -> Fact {
    let cost = &model["cost"];
    let tiers = cost["tiers"].as_array().into_iter().flatten();
    let mut fact = Fact {
        price: price(cost),
        tiers: tiers
            .filter_map(|tier| {
                Some(TierSource {
                    above: u32::try_from(tier["inputTokensAbove"].as_u64()?).ok()?,
                    price: price(tier)?,
                })
            })
            .collect(),
        quirks: quirks(&model["compat"]),
        context: tokens(&model["contextWindow"]),
        max_output: tokens(&model["maxTokens"]),
        name: model["name"].as_str().map(String::from),
        ..Fact::default()
    };
    fact.tiers.sort_by_key(|tier| tier.above);
    fact.capability("reasoning", model["reasoning"].as_bool());
    let inputs = model["input"].as_array();
    let sees = inputs.map(|inputs| inputs.iter().any(|input| input == "image"));
    fact.capability("vision", sees);
    fact
}

/// Zero stands for "none" in cached prices, unless the model is free.
fn price(cost: &Value) -> Option<PriceSource> {
    let input = per_million(&cost["input"])?;
    let cached = |field: &str| per_million(&cost[field]).filter(|price| *price > 0 || input == 0);
    Some(PriceSource {
        input,
        output: per_million(&cost["output"]),
        cache_read: cached("cacheRead"),
        cache_write_5m: cached("cacheWrite"),
        cache_write_1h: None,
        reasoning: None,
    })
}

fn quirks(compat: &Value) -> QuirksSource {
    let flag = |name: &str| compat[name].as_bool();
    QuirksSource {
        max_tokens_field: match compat["maxTokensField"].as_str() {
            Some("max_tokens") => Some(MaxTokensField::MaxTokens),
            Some("max_completion_tokens") => Some(MaxTokensField::MaxCompletionTokens),
            _ => None,
        },
        developer_role: flag("supportsDeveloperRole"),
        usage_in_stream: flag("supportsUsageInStreaming"),
        cached_tokens_reported: None,
        strict_schema: flag("supportsStrictMode"),
        store: flag("supportsStore"),
        sampling_params: flag("supportsTemperature"),
        reasoning_effort: flag("supportsReasoningEffort"),
        needs_reasoning_back: flag("requiresReasoningContentOnAssistantMessages"),
        adaptive_thinking: flag("forceAdaptiveThinking"),
        system_anywhere: flag("supportsMidConvoSystemMessages"),
        long_cache: flag("supportsLongCacheRetention"),
        session_affinity: flag("sendSessionAffinityHeaders"),
        reasoning_apart: None,
        thinking: match compat["thinkingFormat"].as_str() {
            Some("openai") => Some(ThinkingFormat::Openai),
            Some("openrouter") => Some(ThinkingFormat::Openrouter),
            Some("deepseek") => Some(ThinkingFormat::Deepseek),
            Some("together") => Some(ThinkingFormat::Together),
            Some("zai") => Some(ThinkingFormat::Zai),
            Some("baseten") => Some(ThinkingFormat::Template),
            _ if compat["chatTemplateArgs"].is_object() => Some(ThinkingFormat::Template),
            _ => None,
        },
    }
}

fn tokens(value: &Value) -> Option<u32> {
    let tokens = u32::try_from(value.as_u64()?).ok()?;
    Some(tokens).filter(|tokens| *tokens > 0)
}

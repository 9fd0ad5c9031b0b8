//! PyPI `litellm`: one JSON object from keys such as `azure/gpt-5` to prices in dollars per token,
//! with the tier and the service in the field's name: `input_cost_per_token_above_200k_tokens_flex`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use models::catalogue::{PriceListSource, PriceSource, QuirksSource, ServiceTier, TierSource};
use serde_json::{Map, Value};

use super::{Fact, Source};
use crate::catalogue::decimal::{per_token, scaled};
use crate::catalogue::fetch::Member;

/// The package's name of a provider and ours. A key is our wire id after the package's own name and
/// a slash are taken off.
const PROVIDERS: &[(&str, &str)] = &[
    ("amazon_nova", "nova"),
    ("anthropic", "anthropic"),
    ("azure", "azure"),
    ("azure_ai", "azure-ai"),
    ("baseten", "baseten"),
    ("bedrock", "amazon-bedrock"),
    ("bedrock_converse", "amazon-bedrock"),
    ("bigmodel", "zhipuai"),
    ("cerebras", "cerebras"),
    ("cloudflare", "cloudflare-workers-ai"),
    ("cohere", "cohere"),
    ("cohere_chat", "cohere"),
    ("dashscope", "alibaba"),
    ("deepinfra", "deepinfra"),
    ("deepseek", "deepseek"),
    ("fireworks_ai", "fireworks"),
    ("fireworks_ai-embedding-models", "fireworks"),
    ("gemini", "google"),
    ("groq", "groq"),
    ("huggingface", "huggingface"),
    ("inception", "inception"),
    ("meta", "meta"),
    ("meta_llama", "llama"),
    ("minimax", "minimax"),
    ("mistral", "mistral"),
    ("moonshot", "moonshotai"),
    ("nebius", "nebius"),
    ("novita", "novita"),
    ("nvidia_nim", "nvidia"),
    ("openai", "openai"),
    ("openrouter", "openrouter"),
    ("perplexity", "perplexity"),
    ("sarvam", "sarvam"),
    ("stepfun", "stepfun"),
    ("tencent", "tencent"),
    ("together_ai", "together"),
    ("upstage", "upstage"),
    ("voyage", "voyage"),
    ("xai", "xai"),
    ("xiaomi_mimo", "xiaomi"),
    ("zai", "zai"),
];

/// Vertex AI comes as a dozen providers of this prefix.
const VERTEX: (&str, &str) = ("vertex_ai", "google-vertex");

/// Suffixes of fields and the service that they price.
const SERVICES: [(&str, ServiceTier); 3] = [
    ("_batches", ServiceTier::Batch),
    ("_flex", ServiceTier::Flex),
    ("_priority", ServiceTier::Priority),
];

/// The package by provider and wire id.
pub(crate) struct LiteLlm {
    models: BTreeMap<(&'static str, String), Map<String, Value>>,
}

impl LiteLlm {
    pub(crate) fn read(members: &[Member]) -> Result<LiteLlm, Box<dyn Error>> {
        let text = members.first().ok_or("litellm has no price file")?;
        let all: BTreeMap<String, Map<String, Value>> = serde_json::from_str(&text.text)?;
        let mut models = BTreeMap::new();
        for (key, model) in all {
            let mode = model.get("mode").and_then(Value::as_str);
            if !matches!(mode, None | Some("chat" | "completion" | "responses" | "embedding")) {
                continue;
            }
            let Some(theirs) = model.get("litellm_provider").and_then(Value::as_str) else {
                continue;
            };
            let known = PROVIDERS.iter().find(|(name, _)| *name == theirs);
            let vertex = theirs.starts_with(VERTEX.0).then_some(&VERTEX);
            let Some((name, provider)) = known.or(vertex) else {
                continue;
            };
            let name = name.trim_end_matches("-embedding-models");
            let prefix = format!("{name}/");
            let wire_id = key.strip_prefix(&prefix).unwrap_or(&key).to_string();
            // A key with the provider's name in front comes later and says the same.
            models.entry((*provider, wire_id)).or_insert(model);
        }
        Ok(LiteLlm { models })
    }
}

impl Source for LiteLlm {
    fn name(&self) -> &'static str {
        "litellm"
    }

    fn fact(&self, provider: &str, wire_id: &str) -> Option<Fact> {
        let provider = PROVIDERS
            .iter()
            .chain([&VERTEX])
            .map(|(_, ours)| *ours)
            .find(|ours| *ours == provider)?;
        let model = self.models.get(&(provider, wire_id.to_string()))?;
        Some(fact(model))
    }

    fn wire_ids(&self) -> Vec<(String, String)> {
        let keys = self.models.keys();
        keys.map(|(provider, wire_id)| (provider.to_string(), wire_id.clone())).collect()
    }
}

fn fact(model: &Map<String, Value>) -> Fact {
    let flag = |name: &str| model.get(name).and_then(Value::as_bool);
    let tokens = |name: &str| {
        let value = model.get(name)?;
        let digits = value.as_number()?.to_string();
        u32::try_from(scaled(&digits, 0)?).ok().filter(|t| *t > 0)
    };
    let (price, tiers) = match graded(model) {
        Some((price, tiers)) => (Some(price), tiers),
        None => (price(model, ""), tiers(model, "")),
    };
    let mut fact = Fact {
        price,
        tiers,
        services: services(model),
        uplift_permille: uplift(model),
        web_search: web_search(model),
        cache_min_tokens: tokens("prompt_cache_min_tokens"),
        quirks: QuirksSource {
            sampling_params: flag("supports_sampling_params").filter(|supported| !supported),
            ..QuirksSource::default()
        },
        context: tokens("max_input_tokens"),
        max_output: tokens("max_output_tokens"),
        ..Fact::default()
    };
    for (capability, field) in [
        ("tools", "supports_function_calling"),
        ("parallel_tools", "supports_parallel_function_calling"),
        ("tool_choice", "supports_tool_choice"),
        ("json_schema", "supports_response_schema"),
        ("vision", "supports_vision"),
        ("audio_in", "supports_audio_input"),
        ("audio_out", "supports_audio_output"),
        ("video_in", "supports_video_input"),
        ("pdf_in", "supports_pdf_input"),
        ("reasoning", "supports_reasoning"),
        ("prompt_caching", "supports_prompt_caching"),
        ("system_messages", "supports_system_messages"),
        ("web_search", "supports_web_search"),
        ("assistant_prefill", "supports_assistant_prefill"),
        ("sampling_params", "supports_sampling_params"),
        ("computer_use", "supports_computer_use"),
        ("streaming", "supports_native_streaming"),
    ] {
        fact.capability(capability, flag(field));
    }
    fact
}

/// The price list whose fields end with `suffix`.
fn price(model: &Map<String, Value>, suffix: &str) -> Option<PriceSource> {
    let cost = |field: &str| model.get(&format!("{field}{suffix}")).and_then(per_token);
    Some(PriceSource {
        input: cost("input_cost_per_token")?,
        output: cost("output_cost_per_token"),
        cache_read: cost("cache_read_input_token_cost")
            .or_else(|| cost("input_cost_per_token_cache_hit")),
        cache_write_5m: cost("cache_creation_input_token_cost"),
        cache_write_1h: cost("cache_creation_input_token_cost_above_1hr"),
        reasoning: cost("output_cost_per_reasoning_token"),
    })
}

/// The tiers whose fields are `…_above_<n>k_tokens<suffix>`.
fn tiers(model: &Map<String, Value>, suffix: &str) -> Vec<TierSource> {
    let thresholds: BTreeSet<u32> = model
        .keys()
        .filter_map(|field| {
            let rest = field.strip_prefix("input_cost_per_token_above_")?;
            let thousands = rest.strip_suffix(suffix)?.strip_suffix("k_tokens")?;
            thousands.parse().ok()
        })
        .collect();
    let tier = |thousands: u32| {
        Some(TierSource {
            above: thousands * 1000,
            price: price(model, &format!("_above_{thousands}k_tokens{suffix}"))?,
        })
    };
    thresholds.into_iter().filter_map(tier).collect()
}

/// Prices as a list of ranges, which some providers have instead.
fn graded(model: &Map<String, Value>) -> Option<(PriceSource, Vec<TierSource>)> {
    let ranges = model.get("tiered_pricing")?.as_array()?;
    let mut tiers = Vec::new();
    for range in ranges {
        let from = range["range"].get(0)?.as_number()?.to_string();
        tiers.push(TierSource {
            above: u32::try_from(scaled(&from, 0)?).ok()?,
            price: price(range.as_object()?, "")?,
        });
    }
    tiers.sort_by_key(|tier| tier.above);
    let base = (!tiers.is_empty()).then(|| tiers.remove(0))?;
    Some((base.price, tiers))
}

fn services(model: &Map<String, Value>) -> BTreeMap<ServiceTier, PriceListSource> {
    let list = |(suffix, service): &(&str, ServiceTier)| {
        let price = price(model, suffix)?;
        let tiers = tiers(model, suffix);
        Some((*service, PriceListSource { price, tiers }))
    };
    SERVICES.iter().filter_map(list).collect()
}

fn uplift(model: &Map<String, Value>) -> BTreeMap<String, u32> {
    let permille = |region: &str| {
        let field = format!("regional_processing_uplift_multiplier_{region}");
        let digits = model.get(&field)?.as_number()?.to_string();
        let permille = u32::try_from(scaled(&digits, 3)?).ok()?;
        Some((region.to_string(), permille))
    };
    ["eu", "us"].into_iter().filter_map(permille).collect()
}

fn web_search(model: &Map<String, Value>) -> Option<u64> {
    let costs = model.get("search_context_cost_per_query")?;
    per_token(costs.get("search_context_size_medium")?)
}

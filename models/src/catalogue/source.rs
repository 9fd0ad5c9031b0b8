//! The catalogue as people and `tools catalogue update` write it: providers, models, offers.
//!
//! In: TOML tables `[[provider]]` and `[[model]]`, from the built-in files and from a user's
//! configuration. Prices are integer pico-dollars per token (the number that one reads as
//! micro-dollars per million tokens). Whatever is absent is unknown, never "no". Nothing is checked
//! here beyond its shape; see `validate`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CatalogueError;
use crate::{Dialect, Task};

/// Providers and models with their offers, in any order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueSource {
    /// `[[provider]]` tables.
    #[serde(default, rename = "provider", skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<ProviderSource>,
    /// `[[model]]` tables.
    #[serde(default, rename = "model", skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelSource>,
}

/// Who serves models at an address. All but `id` may be absent in an overlay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSource {
    /// Short name, lower case: `openai`.
    pub id: String,
    /// Name for people; the id when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is; `local` when absent, whose offers are free unless they have a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ProviderKind>,
    /// Where requests go, without the path that the dialect adds. `{region}` and the like are
    /// filled in by `fill`; `{model}` is the name of the model there, offer by offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// How the key travels; `bearer` when `env` is given, else `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The environment variable with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// What it speaks, preferred first; `["openai-chat"]` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialects: Option<Vec<Dialect>>,
    /// `false` takes it out of service; `true` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Short form: models served here by these wire ids, free of charge, with the facts of the
    /// known model of that name or else cautious ones. Each becomes the model `<provider>/<name>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Headers that every request carries.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Where a dialect differs from `base_url` and `auth`. One that stands here and not in `dialects`
    /// is spoken for the offers that name it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<Dialect, EndpointSource>,
    /// What stands for the `{region}` and the like in its addresses.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fill: BTreeMap<String, String>,
    /// Query parameters that every request carries: `api-version`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Base URLs of other regions by name, to choose from by hand.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<String, String>,
    /// How it departs from the dialects that it speaks; offers may differ again.
    #[serde(skip_serializing_if = "QuirksSource::is_empty")]
    pub quirks: QuirksSource,
    /// What it does with prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_policy: Option<DataPolicySource>,
}

/// Address of one dialect at a provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointSource {
    /// Instead of the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Instead of the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// `false` where the dialect is spoken at an address or in a form that the gateway does not know
    /// yet; `true` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// What a provider is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ProviderKind {
    /// Serves its own models.
    Direct = 0,
    /// A cloud's model service.
    Cloud = 1,
    /// Serves others' open models.
    Host = 2,
    /// Passes requests on to others.
    Aggregator = 3,
    /// On the user's own machines.
    #[default]
    Local = 4,
}

/// How a key travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Auth {
    /// No key.
    #[default]
    None = 0,
    /// `Authorization: Bearer KEY`.
    Bearer = 1,
    /// `x-api-key: KEY`.
    XApiKey = 2,
    /// `x-goog-api-key: KEY`.
    XGoogApiKey = 3,
    /// `api-key: KEY`.
    ApiKey = 4,
    /// `api-subscription-key: KEY`.
    ApiSubscriptionKey = 5,
    /// AWS signature version 4, over each request.
    #[serde(rename = "aws-sigv4")]
    AwsSigV4 = 6,
    /// A Google OAuth token, fetched for the credentials file that the environment variable names.
    GoogleOauth2 = 7,
}

/// Departures from a dialect. Absent means: as the provider says, and then as
/// [`super::Quirks`] documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuirksSource {
    /// Which field limits the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_field: Option<MaxTokensField>,
    /// Knows messages of role `developer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub developer_role: Option<bool>,
    /// Takes `stream_options.include_usage` and counts in the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_in_stream: Option<bool>,
    /// Reports cached tokens in its usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens_reported: Option<bool>,
    /// Takes `strict` in JSON schemas and tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_schema: Option<bool>,
    /// Takes `store`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
    /// Takes `temperature`, `top_p` and their kin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_params: Option<bool>,
    /// Takes `reasoning_effort`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<bool>,
    /// Wants the reasoning of earlier assistant turns back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs_reasoning_back: Option<bool>,
    /// Takes only adaptive thinking, no budget of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive_thinking: Option<bool>,
    /// Takes system messages in mid-conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_anywhere: Option<bool>,
    /// Keeps the prompt cache for an hour on demand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_cache: Option<bool>,
    /// Routes by a session header so that the prompt cache is found again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<bool>,
    /// Counts reasoning tokens beside the output tokens, in its chat protocol, instead of in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_apart: Option<bool>,
    /// How thinking is switched on and where it appears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<ThinkingFormat>,
}

/// The field that limits the output in OpenAI chat completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// `max_tokens`, which all but OpenAI's newer models know.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// How a model behind an OpenAI-like API is told to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ThinkingFormat {
    /// `reasoning_effort`.
    #[default]
    Openai = 0,
    /// `reasoning: {effort}`.
    Openrouter = 1,
    /// `thinking: {type}`, text in `reasoning_content`.
    Deepseek = 2,
    /// `reasoning: {enabled}`.
    Together = 3,
    /// `thinking: {type}`, streamed tool calls on demand.
    Zai = 4,
    /// Arguments of the chat template.
    Template = 5,
}

/// What a provider does with prompts, at its default settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataPolicySource {
    /// Whether prompts are kept.
    pub retention: Retention,
    /// Whether they train models.
    pub training: Training,
    /// Who can change that: `per_request`, `account`, `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_scope: Option<String>,
    /// Conditions for no training, in the provider's words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_training_requires: Vec<String>,
    /// Fields of a request that change it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<PolicyControlSource>,
    /// When somebody last read the provider's terms: `2026-08-30`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_on: Option<String>,
    /// Where they stand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub docs: Vec<String>,
}

/// Whether prompts are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Retention {
    /// Nobody knows; treat as retained.
    #[default]
    Unspecified = 0,
    /// Not kept.
    NotRetained = 1,
    /// Kept for a while against abuse.
    AbuseMonitoringOnly = 2,
    /// Kept.
    Retained = 3,
}

/// Whether prompts train models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Training {
    /// Nobody knows; treat as training.
    #[default]
    Unspecified = 0,
    /// They do not.
    DoesNotTrain = 1,
    /// They do.
    Trains = 2,
}

/// A field of the request body that changes the policy for that request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyControlSource {
    /// Path in the body, joined by dots: `provider.zdr`.
    pub field: String,
    /// The value to set, as JSON text: `false`, `"deny"`.
    pub value: String,
    /// What it changes.
    pub effect: PolicyEffect,
}

/// What a control changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum PolicyEffect {
    /// No retention.
    Retention = 0,
    /// No training.
    Training = 1,
}

/// A model, whoever serves it. All but `id` may be absent in an overlay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSource {
    /// `lab/slug`.
    pub id: String,
    /// Name for people; the slug when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Chat when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ModelKind>,
    /// Active when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Whether anybody may host it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_weights: Option<bool>,
    /// Day or month of release: `2025-08-07`, `2025-08`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released: Option<String>,
    /// Last day of its knowledge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<String>,
    /// Day on which its maker takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retires: Option<String>,
    /// Names beside the id, the slug and the offers' wire ids, which lead here anyway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Most tokens of input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// Most tokens of input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_input: Option<u32>,
    /// Most tokens of output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u32>,
    /// Names of capabilities that it is known to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can: Option<Vec<String>>,
    /// Names of capabilities that it is known to lack.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cannot: Vec<String>,
    /// What is known of its thinking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningSource>,
    /// Family of its tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Length of an embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// How good it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ability: Option<AbilitySource>,
    /// Who serves it, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offers: Vec<OfferSource>,
}

/// What a model gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ModelKind {
    /// Text.
    #[default]
    Chat = 0,
    /// Vectors.
    Embedding = 1,
}

/// Where a model or an offer is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Status {
    /// In service.
    #[default]
    Active = 0,
    /// In service only at other hosts than its maker.
    HostedOnly = 1,
    /// In service, with a day of retirement.
    Deprecating = 2,
    /// Its maker advises against it.
    Deprecated = 3,
    /// Seen in no recent source.
    Unconfirmed = 4,
    /// Out of service.
    Retired = 5,
}

impl Status {
    /// Whether routing may choose it of its own accord. A named model is served in any state but
    /// retired.
    pub fn is_current(self) -> bool {
        matches!(self, Status::Active | Status::HostedOnly | Status::Deprecating)
    }
}

/// What is known of a model's thinking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReasoningSource {
    /// Values of `reasoning_effort` that it takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub efforts: Vec<String>,
    /// The one it takes by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_effort: Option<String>,
    /// Whether it can be told not to think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_be_disabled: Option<bool>,
}

/// How good a model is: logits with mean 0 and standard deviation 1 over the scored models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbilitySource {
    /// Where the figures come from.
    pub basis: AbilityBasis,
    /// Over all tasks.
    pub overall: f32,
    /// Standard error of `overall`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f32>,
    /// Where a task differs from `overall`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<Task, f32>,
}

/// Where an ability comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum AbilityBasis {
    /// Nothing is known; a value below the average stands in.
    #[default]
    Assumed = 0,
    /// From release date, price and the like.
    Imputed = 1,
    /// From benchmark results.
    Measured = 2,
}

/// A model at a provider, with its price.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OfferSource {
    /// Id of the provider.
    pub provider: String,
    /// The model's name there.
    pub wire_id: String,
    /// What the provider speaks for this model, preferred first; as the provider when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialects: Option<Vec<Dialect>>,
    /// As the model when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// As the model when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// As the model when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_input: Option<u32>,
    /// As the model when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u32>,
    /// Capabilities of the model that this provider does not pass on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cannot: Vec<String>,
    /// When absent: free at a provider of kind `local`, else unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceSource>,
    /// Prices of requests with long input, thresholds ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierSource>,
    /// Price tables of other service tiers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<ServiceTier, PriceListSource>,
    /// Prices at some hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_peak: Option<OffPeakSource>,
    /// Permille of the whole cost when processed in a region, by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub uplift_permille: BTreeMap<String, u32>,
    /// Pico-dollars per search by the provider's own tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_search: Option<u64>,
    /// What is known of its prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSource>,
    /// Where the offer differs from its provider.
    #[serde(skip_serializing_if = "QuirksSource::is_empty")]
    pub quirks: QuirksSource,
    /// How sure the price is; agreed by several recent sources when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_confidence: Option<PriceConfidence>,
}

/// How sure a price is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum PriceConfidence {
    /// Two or more recent sources agree, or the user said so.
    #[default]
    Agreed = 0,
    /// Most sources agree.
    Majority = 1,
    /// One source.
    Single = 2,
    /// No source has it any more; the last one known.
    Stale = 3,
    /// Sources disagree; the most trusted one stands.
    Disputed = 4,
}

/// Pico-dollars per token. Filled in when absent: `output` 0, `cache_read` and `cache_write_5m` as
/// `input`, `cache_write_1h` as `cache_write_5m`, `reasoning` as `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSource {
    /// Input.
    pub input: u64,
    /// Output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Input read from the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    /// Input written to the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_5m: Option<u64>,
    /// Input written to the cache for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<u64>,
    /// Output spent on reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
}

/// Prices of a whole request whose total input is strictly above a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierSource {
    /// The threshold in tokens.
    pub above: u32,
    /// What every token costs then.
    pub price: PriceSource,
}

/// A price table with its tiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceListSource {
    /// Below every threshold.
    pub price: PriceSource,
    /// Thresholds ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierSource>,
}

/// A service tier with a price table of its own. The tier that the provider reports is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ServiceTier {
    /// Answers within a day.
    Batch = 0,
    /// Slower and cheaper.
    Flex = 1,
    /// Faster and dearer.
    Priority = 2,
    /// Faster still.
    Ultrafast = 3,
}

/// Prices at some hours. The start of the request decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffPeakSource {
    /// The price then.
    pub price: PriceSource,
    /// When it holds.
    pub windows: Vec<WindowSource>,
}

/// Hours of some weekdays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSource {
    /// 1 is Monday, 7 is Sunday, in UTC.
    pub weekdays: Vec<u8>,
    /// Spans such as `04:00-06:00` in UTC; an end of `00:00` is midnight after.
    pub hours_utc: Vec<String>,
}

/// What is known of a prompt cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSource {
    /// Prompts shorter than this are not cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<u32>,
    /// Seconds that an entry lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u32>,
    /// Seconds that it lives on demand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_long_s: Option<u32>,
}

/// The built-in files, turned into compact JSON by the build script: TOML of this size takes ten
/// times as long to read.
const BUILTIN_JSON: &str = include_str!(concat!(env!("OUT_DIR"), "/catalogue.json"));

impl CatalogueSource {
    /// The catalogue that ships with the program.
    pub fn builtin() -> Result<CatalogueSource, CatalogueError> {
        serde_json::from_str(BUILTIN_JSON).map_err(|error| CatalogueError {
            subject: "built-in catalogue".into(),
            field: format!("line {} column {}", error.line(), error.column()),
            problem: error.to_string(),
            remedy: "rebuild from an unchanged source tree, or run `tools catalogue check`".into(),
        })
    }

    /// Reads `[[provider]]` and `[[model]]` tables; `file` is named in the error.
    pub fn from_toml(text: &str, file: &str) -> Result<CatalogueSource, CatalogueError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            CatalogueError {
                subject: file.into(),
                field: format!("line {line}"),
                problem: error.message().into(),
                remedy: "correct that line; the fields are those of the files in models/data"
                    .into(),
            }
        })
    }

    /// Adds `other`'s providers and models. One with a known id changes the fields that it gives
    /// and leaves the rest; an offer with a known provider and wire id likewise; new offers come
    /// before the known ones, since who adds an offer wants it used. An alias that `other` claims
    /// leaves the model that had it.
    pub fn overlay(mut self, other: CatalogueSource) -> CatalogueSource {
        super::overlay::overlay(&mut self, other);
        self
    }
}

impl QuirksSource {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == QuirksSource::default()
    }
}

impl Serialize for Dialect {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Dialect {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Dialect, D::Error> {
        let name = String::deserialize(deserializer)?;
        Dialect::from_name(&name).ok_or_else(|| {
            let known = Dialect::ALL.map(Dialect::name).join(", ");
            serde::de::Error::custom(format!("unknown dialect `{name}`; known are {known}"))
        })
    }
}

impl Serialize for Task {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Task {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Task, D::Error> {
        let name = String::deserialize(deserializer)?;
        Task::from_name(&name).ok_or_else(|| {
            let known = Task::ALL.map(Task::name).join(", ");
            serde::de::Error::custom(format!("unknown task `{name}`; known are {known}"))
        })
    }
}

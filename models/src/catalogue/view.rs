//! Reading the compiled catalogue: what a row means, without copying it.
//!
//! A view is a position and a reference; every method is a load or two. Limits are tokens, prices
//! pico-dollars per token.

use super::image::{
    ArchivedEndpointRow, ArchivedModelRow, ArchivedOfferRow, ArchivedPriceListRow,
    ArchivedProviderRow,
};
use super::{
    AbilityBasis, Auth, MaxTokensField, ModelIx, ModelKind, OfferIx, PolicyEffect, PriceConfidence,
    ProviderIx, ProviderKind, QuirksSource, Retention, ServiceTier, Status, ThinkingFormat,
    Training,
};
use crate::{Capabilities, Dialect, PicoUsd, Prices, Rates, Task, Tier, Tokens};

/// Reads an enum back from its discriminant. An image holds only what was compiled from a value of
/// that enum; the first variant, always the cautious one, stands in for a byte of another build.
macro_rules! from_code {
    ($type:ident, $first:ident $(, $variant:ident)*) => {
        impl $type {
            pub(super) fn from_code(code: u8) -> $type {
                $(if code == $type::$variant as u8 { return $type::$variant; })*
                $type::$first
            }
        }
    };
}

from_code!(
    Auth,
    None,
    Bearer,
    XApiKey,
    XGoogApiKey,
    ApiKey,
    ApiSubscriptionKey,
    AwsSigV4,
    GoogleOauth2
);
from_code!(ProviderKind, Local, Direct, Cloud, Host, Aggregator);
from_code!(ModelKind, Chat, Embedding);
from_code!(Status, Retired, Active, HostedOnly, Deprecating, Deprecated, Unconfirmed);
from_code!(AbilityBasis, Assumed, Imputed, Measured);
from_code!(PriceConfidence, Disputed, Agreed, Majority, Single, Stale);
from_code!(Retention, Unspecified, NotRetained, AbuseMonitoringOnly, Retained);
from_code!(Training, Unspecified, DoesNotTrain, Trains);
from_code!(PolicyEffect, Retention, Training);
from_code!(ThinkingFormat, Openai, Openrouter, Deepseek, Together, Zai, Template);

impl Auth {
    /// The header that carries the key and what stands before the key in it; none where no key
    /// travels, or where what travels is made anew for each request or each hour.
    pub fn header(self) -> Option<(&'static str, &'static str)> {
        match self {
            Auth::Bearer => Some(("authorization", "Bearer ")),
            Auth::XApiKey => Some(("x-api-key", "")),
            Auth::XGoogApiKey => Some(("x-goog-api-key", "")),
            Auth::ApiKey => Some(("api-key", "")),
            Auth::ApiSubscriptionKey => Some(("api-subscription-key", "")),
            Auth::None | Auth::AwsSigV4 | Auth::GoogleOauth2 => None,
        }
    }
}

impl ServiceTier {
    /// The name in data files and in `service_tier`.
    pub fn name(self) -> &'static str {
        match self {
            ServiceTier::Batch => "batch",
            ServiceTier::Flex => "flex",
            ServiceTier::Priority => "priority",
            ServiceTier::Ultrafast => "ultrafast",
        }
    }
}

/// A model, whoever serves it.
#[derive(Clone, Copy)]
pub struct ModelView<'a> {
    at: ModelIx,
    row: &'a ArchivedModelRow,
}

impl<'a> ModelView<'a> {
    pub(super) fn new(at: ModelIx, row: &'a ArchivedModelRow) -> ModelView<'a> {
        ModelView { at, row }
    }

    /// Its position.
    pub fn ix(self) -> ModelIx {
        self.at
    }

    /// `lab/slug`.
    pub fn id(self) -> &'a str {
        self.row.id.as_str()
    }

    /// Who made it.
    pub fn lab(self) -> &'a str {
        &self.id()[..self.row.lab_len.to_native() as usize]
    }

    /// Its name for people.
    pub fn name(self) -> &'a str {
        self.row.name.as_str()
    }

    /// Text or vectors.
    pub fn kind(self) -> ModelKind {
        ModelKind::from_code(self.row.kind)
    }

    /// Where it is in its life.
    pub fn status(self) -> Status {
        Status::from_code(self.row.status)
    }

    /// Whether anybody may host it, if known.
    pub fn open_weights(self) -> Option<bool> {
        tristate(self.row.open_weights)
    }

    /// Day or month of release, `2025-08-07` or `2025-08`, if known.
    pub fn released(self) -> Option<&'a str> {
        Some(self.row.released.as_str()).filter(|day| !day.is_empty())
    }

    /// Most tokens of input and output together.
    pub fn context(self) -> u32 {
        self.row.context.to_native()
    }

    /// Most tokens of input.
    pub fn max_input(self) -> u32 {
        self.row.max_input.to_native()
    }

    /// Most tokens of output; the context where unknown.
    pub fn max_output(self) -> u32 {
        self.row.max_output.to_native()
    }

    /// Length of an embedding, if known.
    pub fn dimensions(self) -> Option<u32> {
        Some(self.row.dimensions.to_native()).filter(|length| *length > 0)
    }

    /// What it is known to be able to do.
    pub fn caps(self) -> Capabilities {
        Capabilities(self.row.caps.to_native())
    }

    /// Values of `reasoning_effort` that it takes; empty when it takes none or none are known.
    pub fn efforts(self) -> impl ExactSizeIterator<Item = &'a str> {
        self.row.efforts.iter().map(|effort| effort.as_str())
    }

    /// The effort it makes by itself, if known.
    pub fn default_effort(self) -> Option<&'a str> {
        Some(self.row.default_effort.as_str()).filter(|effort| !effort.is_empty())
    }

    /// Whether it can be told not to think, if known.
    pub fn reasoning_can_be_disabled(self) -> Option<bool> {
        tristate(self.row.reasoning_off)
    }

    /// How good it is at a task: a logit, 0 is the average model, 1 a standard deviation above.
    pub fn ability(self, task: Task) -> f32 {
        self.row.ability[task.index()].to_native()
    }

    /// How good it is over all tasks.
    pub fn ability_overall(self) -> f32 {
        self.row.ability_overall.to_native()
    }

    /// Standard error of [`ModelView::ability_overall`].
    pub fn ability_error(self) -> f32 {
        self.row.ability_error.to_native()
    }

    /// Where the ability comes from.
    pub fn ability_basis(self) -> AbilityBasis {
        AbilityBasis::from_code(self.row.ability_basis)
    }
}

/// A model at a provider, with its price.
#[derive(Clone, Copy)]
pub struct OfferView<'a> {
    at: OfferIx,
    row: &'a ArchivedOfferRow,
}

impl<'a> OfferView<'a> {
    pub(super) fn new(at: OfferIx, row: &'a ArchivedOfferRow) -> OfferView<'a> {
        OfferView { at, row }
    }

    /// Its position.
    pub fn ix(self) -> OfferIx {
        self.at
    }

    /// Whose offer: the model.
    pub fn model(self) -> ModelIx {
        ModelIx(self.row.model.to_native())
    }

    /// Where: the provider.
    pub fn provider(self) -> ProviderIx {
        ProviderIx(self.row.provider.to_native())
    }

    /// The model's name there.
    pub fn wire_id(self) -> &'a str {
        self.row.wire_id.as_str()
    }

    /// The preferred dialect.
    pub fn dialect(self) -> Dialect {
        self.dialects().next().unwrap_or(Dialect::OpenAiChat)
    }

    /// All dialects, preferred first.
    pub fn dialects(self) -> impl Iterator<Item = Dialect> + 'a {
        let codes = self.row.dialects.iter();
        codes.filter_map(|code| Dialect::from_index(usize::from(*code)))
    }

    /// Whether it can be reached in that dialect.
    pub fn speaks(self, dialect: Dialect) -> bool {
        self.row.dialects.contains(&(dialect as u8))
    }

    /// Where it is in its life.
    pub fn status(self) -> Status {
        Status::from_code(self.row.status)
    }

    /// Most tokens of input and output together.
    pub fn context(self) -> u32 {
        self.row.context.to_native()
    }

    /// Most tokens of input.
    pub fn max_input(self) -> u32 {
        self.row.max_input.to_native()
    }

    /// Most tokens of output; the context where unknown.
    pub fn max_output(self) -> u32 {
        self.row.max_output.to_native()
    }

    /// What the model can do here.
    pub fn caps(self) -> Capabilities {
        Capabilities(self.row.caps.to_native())
    }

    /// What it costs at the standard tier at peak hours, if known.
    pub fn prices(self) -> Option<Prices> {
        self.row.price.as_ref().map(prices)
    }

    /// What it costs for a request that starts at that moment, in seconds since 1970 UTC.
    pub fn prices_at(self, unix_s: u64) -> Option<Prices> {
        match self.row.off_peak.as_ref() {
            Some(off_peak) => {
                let minute = (unix_s / 60 % (24 * 60)) as u16;
                // 1970-01-01 was a Thursday.
                let weekday = 1u8 << ((unix_s / 86_400 + 3) % 7);
                let holds = off_peak.windows.iter().any(|window| {
                    window.weekdays & weekday != 0
                        && (window.from.to_native()..window.to.to_native()).contains(&minute)
                });
                let base = off_peak.base.map(|price| price.to_native());
                if holds { Some(Prices::new(rates(base), &[])) } else { self.prices() }
            }
            None => self.prices(),
        }
    }

    /// What it costs at another service tier, if that has a price table of its own.
    pub fn service_prices(self, service: ServiceTier) -> Option<Prices> {
        let of_tier = self.row.services.iter().find(|row| row.0 == service as u8);
        of_tier.map(|row| prices(&row.1))
    }

    /// How sure the price is.
    pub fn price_confidence(self) -> PriceConfidence {
        PriceConfidence::from_code(self.row.price_confidence)
    }

    /// Permille of the whole cost when processed in that region: 1000 where nothing is added.
    pub fn uplift_permille(self, region: &str) -> u32 {
        let rows = &self.row.uplift_permille;
        let of_region = rows.iter().find(|row| row.0.as_str() == region);
        of_region.map_or(1000, |row| row.1.to_native())
    }

    /// Pico-dollars per search by the provider's own tool, if known.
    pub fn web_search(self) -> Option<PicoUsd> {
        Some(PicoUsd(self.row.web_search.to_native())).filter(|price| *price > PicoUsd::ZERO)
    }

    /// Prompts shorter than this are not cached; 0 where unknown.
    pub fn cache_min_tokens(self) -> Tokens {
        Tokens(u64::from(self.row.cache_min_tokens.to_native()))
    }

    /// Seconds that a cached prompt lives, and on demand; 0 where unknown.
    pub fn cache_ttl_s(self) -> (u32, u32) {
        let row = self.row;
        (row.cache_ttl_s.to_native(), row.cache_ttl_long_s.to_native())
    }

    /// Where it departs from its dialect.
    pub fn quirks(self) -> Quirks {
        Quirks::from_row(self.row.quirks.to_native(), self.row.thinking)
    }
}

/// Who serves models at an address.
#[derive(Clone, Copy)]
pub struct ProviderView<'a> {
    at: ProviderIx,
    row: &'a ArchivedProviderRow,
}

impl<'a> ProviderView<'a> {
    pub(super) fn new(at: ProviderIx, row: &'a ArchivedProviderRow) -> ProviderView<'a> {
        ProviderView { at, row }
    }

    /// Its position.
    pub fn ix(self) -> ProviderIx {
        self.at
    }

    /// Short name: `openai`.
    pub fn id(self) -> &'a str {
        self.row.id.as_str()
    }

    /// Name for people.
    pub fn name(self) -> &'a str {
        self.row.name.as_str()
    }

    /// What it is.
    pub fn kind(self) -> ProviderKind {
        ProviderKind::from_code(self.row.kind)
    }

    /// Whether the source has it in service.
    pub fn enabled(self) -> bool {
        self.row.enabled
    }

    /// The environment variable with the key; none where no key is needed.
    pub fn env(self) -> Option<&'a str> {
        Some(self.row.env.as_str()).filter(|env| !env.is_empty())
    }

    /// Where and how to reach it, one per dialect, preferred first.
    pub fn endpoints(self) -> impl ExactSizeIterator<Item = EndpointView<'a>> {
        self.row.endpoints.iter().map(|row| EndpointView { row })
    }

    /// Where and how to reach it in that dialect.
    pub fn endpoint(self, dialect: Dialect) -> Option<EndpointView<'a>> {
        self.endpoints().find(|endpoint| endpoint.dialect() == dialect)
    }

    /// Headers that every request carries.
    pub fn headers(self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> {
        let headers = self.row.headers.iter();
        headers.map(|header| (header.0.as_str(), header.1.as_str()))
    }

    /// Query parameters that every request carries.
    pub fn query(self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> {
        let query = self.row.query.iter();
        query.map(|parameter| (parameter.0.as_str(), parameter.1.as_str()))
    }

    /// Whether it keeps prompts, at its default settings.
    pub fn retention(self) -> Retention {
        Retention::from_code(self.row.retention)
    }

    /// Whether it trains on prompts, at its default settings.
    pub fn training(self) -> Training {
        Training::from_code(self.row.training)
    }

    /// Fields of a request that change retention or training.
    pub fn policy_controls(self) -> impl ExactSizeIterator<Item = PolicyControlView<'a>> {
        self.row.controls.iter().map(|row| PolicyControlView {
            field: row.field.as_str(),
            value: row.value.as_str(),
            effect: PolicyEffect::from_code(row.effect),
        })
    }
}

/// Where and how to reach a provider in one dialect.
#[derive(Clone, Copy)]
pub struct EndpointView<'a> {
    row: &'a ArchivedEndpointRow,
}

impl<'a> EndpointView<'a> {
    /// The dialect.
    pub fn dialect(self) -> Dialect {
        Dialect::from_index(usize::from(self.row.dialect)).unwrap_or(Dialect::OpenAiChat)
    }

    /// The address, to which the dialect adds its path. No slash at the end.
    pub fn base_url(self) -> &'a str {
        self.row.base_url.as_str()
    }

    /// How the key travels.
    pub fn auth(self) -> Auth {
        Auth::from_code(self.row.auth)
    }

    /// The first `{name}` in the address that the user has to fill in; [`EndpointView::MODEL`] is not
    /// one of them.
    pub fn placeholder(self) -> Option<&'a str> {
        let pieces = self.base_url().split('{').skip(1);
        let mut names = pieces.filter_map(|piece| piece.split_once('}').map(|(name, _)| name));
        names.find(|name| *name != EndpointView::MODEL)
    }

    /// What stands in an address, between braces, for the name of the model there.
    pub const MODEL: &'static str = "model";

    /// Whether the gateway can reach it as it stands: no placeholder is left.
    pub fn is_ready(self) -> bool {
        self.row.enabled && self.placeholder().is_none()
    }
}

/// A field of the request body that changes the provider's policy for that request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyControlView<'a> {
    /// Path in the body, joined by dots.
    pub field: &'a str,
    /// The value to set, as JSON text.
    pub value: &'a str,
    /// What it changes.
    pub effect: PolicyEffect,
}

/// Where an offer departs from its dialect, with nothing left open. What is unknown is what every
/// server that calls itself compatible does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Which field limits the output. Unknown: `max_tokens`.
    pub max_tokens_field: MaxTokensField,
    /// Knows messages of role `developer`. Unknown: no.
    pub developer_role: bool,
    /// Takes `stream_options.include_usage`. Unknown: yes.
    pub usage_in_stream: bool,
    /// Reports cached tokens. Unknown: no.
    pub cached_tokens_reported: bool,
    /// Takes `strict` in JSON schemas and tools. Unknown: no.
    pub strict_schema: bool,
    /// Takes `store`. Unknown: no.
    pub store: bool,
    /// Takes `temperature` and its kin. Unknown: yes.
    pub sampling_params: bool,
    /// Takes `reasoning_effort`. Unknown: yes.
    pub reasoning_effort: bool,
    /// Wants the reasoning of earlier assistant turns back. Unknown: no.
    pub needs_reasoning_back: bool,
    /// Takes only adaptive thinking. Unknown: no.
    pub adaptive_thinking: bool,
    /// Takes system messages in mid-conversation. Unknown: no.
    pub system_anywhere: bool,
    /// Keeps the prompt cache for an hour on demand. Unknown: no.
    pub long_cache: bool,
    /// Routes by a session header. Unknown: no.
    pub session_affinity: bool,
    /// Counts reasoning tokens beside the output tokens instead of in them. Unknown: no.
    pub reasoning_apart: bool,
    /// How thinking is switched on.
    pub thinking: ThinkingFormat,
}

impl Quirks {
    pub(super) fn resolve(source: &QuirksSource) -> Quirks {
        Quirks {
            max_tokens_field: source.max_tokens_field.unwrap_or_default(),
            developer_role: source.developer_role.unwrap_or(false),
            usage_in_stream: source.usage_in_stream.unwrap_or(true),
            cached_tokens_reported: source.cached_tokens_reported.unwrap_or(false),
            strict_schema: source.strict_schema.unwrap_or(false),
            store: source.store.unwrap_or(false),
            sampling_params: source.sampling_params.unwrap_or(true),
            reasoning_effort: source.reasoning_effort.unwrap_or(true),
            needs_reasoning_back: source.needs_reasoning_back.unwrap_or(false),
            adaptive_thinking: source.adaptive_thinking.unwrap_or(false),
            system_anywhere: source.system_anywhere.unwrap_or(false),
            long_cache: source.long_cache.unwrap_or(false),
            session_affinity: source.session_affinity.unwrap_or(false),
            reasoning_apart: source.reasoning_apart.unwrap_or(false),
            thinking: source.thinking.unwrap_or_default(),
        }
    }

    /// The flags as bits; [`Quirks::from_row`] reads the same order.
    pub(super) fn bits(&self) -> u32 {
        let flags = [
            self.max_tokens_field == MaxTokensField::MaxCompletionTokens,
            self.developer_role,
            self.usage_in_stream,
            self.cached_tokens_reported,
            self.strict_schema,
            self.store,
            self.sampling_params,
            self.reasoning_effort,
            self.needs_reasoning_back,
            self.adaptive_thinking,
            self.system_anywhere,
            self.long_cache,
            self.session_affinity,
            self.reasoning_apart,
        ];
        flags.iter().enumerate().fold(0, |bits, (at, flag)| bits | u32::from(*flag) << at)
    }

    fn from_row(bits: u32, thinking: u8) -> Quirks {
        let flag = |at: u32| bits >> at & 1 == 1;
        Quirks {
            max_tokens_field: match flag(0) {
                true => MaxTokensField::MaxCompletionTokens,
                false => MaxTokensField::MaxTokens,
            },
            developer_role: flag(1),
            usage_in_stream: flag(2),
            cached_tokens_reported: flag(3),
            strict_schema: flag(4),
            store: flag(5),
            sampling_params: flag(6),
            reasoning_effort: flag(7),
            needs_reasoning_back: flag(8),
            adaptive_thinking: flag(9),
            system_anywhere: flag(10),
            long_cache: flag(11),
            session_affinity: flag(12),
            reasoning_apart: flag(13),
            thinking: ThinkingFormat::from_code(thinking),
        }
    }
}

fn prices(row: &ArchivedPriceListRow) -> Prices {
    let mut tiers = [Tier::default(); Prices::TIERS_MAX];
    let mut count = 0;
    for (tier, row) in tiers.iter_mut().zip(row.tiers.iter()) {
        *tier = Tier {
            above_input: Tokens(u64::from(row.0.to_native())),
            rates: rates(row.1.map(|price| price.to_native())),
        };
        count += 1;
    }
    let base = rates(row.base.map(|price| price.to_native()));
    Prices::new(base, &tiers[..count])
}

fn rates([input, output, read, write_5m, write_1h, reasoning]: [u64; 6]) -> Rates {
    Rates {
        input: PicoUsd(input),
        output: PicoUsd(output),
        cache_read: PicoUsd(read),
        cache_write_5m: PicoUsd(write_5m),
        cache_write_1h: PicoUsd(write_1h),
        reasoning: PicoUsd(reasoning),
    }
}

fn tristate(code: u8) -> Option<bool> {
    match code {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

//! From a source to an image: sorting, filling in what is absent, positions instead of names.

use std::collections::HashMap;

use super::image::{
    ControlRow, EndpointRow, Image, ModelRow, OffPeakRow, OfferRow, PriceListRow, ProviderRow,
    RatesRow, WindowRow,
};
use super::validate::{DEFAULT_DIALECTS, parse_span};
use super::{
    Auth, Catalogue, CatalogueError, CatalogueSource, ModelKind, ModelSource, OffPeakSource,
    OfferSource, PriceSource, ProviderKind, ProviderSource, Quirks, TierSource,
};
use crate::{Capabilities, Dialect, Task};

/// Tokens of context of a model of which nobody said.
const CONTEXT_UNKNOWN: u32 = 32_768;

/// Logit of a model of which nothing is known: an average model would be chosen over small known
/// ones, and nobody has shown that it should be.
const ABILITY_UNKNOWN: f32 = -1.0;

/// Standard error of that: as wide as the models differ.
const ABILITY_UNKNOWN_ERROR: f32 = 1.0;

impl CatalogueSource {
    /// Validates and compiles. Equal sources give equal images, whatever the order of their tables.
    pub fn compile(&self) -> Result<Catalogue, Vec<CatalogueError>> {
        let source = super::overlay::written_out(self);
        source.validate()?;
        Ok(Catalogue::from_rows(&rows(&source)))
    }
}

fn rows(source: &CatalogueSource) -> Image {
    let mut providers: Vec<&ProviderSource> = source.providers.iter().collect();
    providers.sort_by(|a, b| a.id.cmp(&b.id));
    let mut models: Vec<&ModelSource> = source.models.iter().collect();
    models.sort_by(|a, b| a.id.cmp(&b.id));

    let provider_at: HashMap<&str, u16> = providers
        .iter()
        .enumerate()
        .map(|(at, provider)| (provider.id.as_str(), at as u16))
        .collect();
    let mut image = Image::default();
    for (at, model) in models.iter().enumerate() {
        let first_offer = image.offers.len() as u32;
        for offer in &model.offers {
            let provider_at = provider_at[offer.provider.as_str()];
            let provider = providers[usize::from(provider_at)];
            image.offers.push(OfferRow {
                model: at as u32,
                provider: provider_at,
                ..offer_row(model, offer, provider)
            });
        }
        image.models.push(ModelRow {
            first_offer,
            offer_count: model.offers.len() as u32,
            ..model_row(model)
        });
    }
    image.providers = providers.into_iter().map(provider_row).collect();
    image.index_names(names_by_rank(&models));
    image
}

/// All names that lead to a model, the strongest claims first.
fn names_by_rank(models: &[&ModelSource]) -> Vec<(String, u32)> {
    let each = || models.iter().zip(0u32..);
    let ids = each().map(|(model, at)| (model.id.clone(), at));
    let aliases = each().flat_map(|(model, at)| model.aliases.iter().map(move |a| (a.clone(), at)));
    let slugs = each().filter_map(|(model, at)| {
        let (_, slug) = model.id.split_once('/')?;
        Some((slug.to_string(), at))
    });
    let wire_ids = each().flat_map(|(model, at)| {
        let wire_ids = model.offers.iter().map(|offer| offer.wire_id.clone());
        wire_ids.map(move |wire_id| (wire_id, at))
    });
    ids.chain(aliases).chain(slugs).chain(wire_ids).collect()
}

fn provider_row(provider: &ProviderSource) -> ProviderRow {
    let base_url = provider.base_url.clone().unwrap_or_default();
    let auth = provider.auth.unwrap_or(match provider.env {
        Some(_) => Auth::Bearer,
        None => Auth::None,
    });
    let dialects = provider.dialects.as_deref().unwrap_or(&DEFAULT_DIALECTS);
    let for_some = provider.endpoints.keys().filter(|dialect| !dialects.contains(dialect));
    let endpoints = dialects.iter().chain(for_some).map(|dialect| {
        let own = provider.endpoints.get(dialect);
        let base_url = own.and_then(|own| own.base_url.as_ref()).unwrap_or(&base_url);
        EndpointRow {
            dialect: *dialect as u8,
            auth: own.and_then(|own| own.auth).unwrap_or(auth) as u8,
            enabled: own.and_then(|own| own.enabled).unwrap_or(true),
            base_url: provider.fill.iter().fold(base_url.clone(), |url, (name, value)| {
                url.replace(&format!("{{{name}}}"), value)
            }),
        }
    });
    let policy = provider.data_policy.clone().unwrap_or_default();
    let controls = policy.controls.into_iter().map(|control| ControlRow {
        field: control.field,
        value: control.value,
        effect: control.effect as u8,
    });
    ProviderRow {
        id: provider.id.clone(),
        name: provider.name.clone().unwrap_or_else(|| provider.id.clone()),
        env: provider.env.clone().unwrap_or_default(),
        kind: provider.kind.unwrap_or_default() as u8,
        enabled: provider.enabled.unwrap_or(true),
        endpoints: endpoints.collect(),
        headers: provider.headers.clone().into_iter().collect(),
        query: provider.query.clone().into_iter().collect(),
        retention: policy.retention as u8,
        training: policy.training as u8,
        controls: controls.collect(),
    }
}

fn model_row(model: &ModelSource) -> ModelRow {
    let lab_len = model.id.find('/').unwrap_or(0);
    let context = model.context.unwrap_or(CONTEXT_UNKNOWN);
    let reasoning = model.reasoning.clone().unwrap_or_default();
    let overall = model.ability.as_ref().map_or(ABILITY_UNKNOWN, |a| a.overall);
    let mut ability = [overall; Task::COUNT];
    for (task, value) in model.ability.iter().flat_map(|ability| &ability.tasks) {
        ability[task.index()] = *value;
    }
    ModelRow {
        id: model.id.clone(),
        name: model.name.clone().unwrap_or_else(|| model.id[lab_len + 1..].to_string()),
        lab_len: lab_len as u32,
        kind: model.kind.unwrap_or_default() as u8,
        status: model.status.unwrap_or_default() as u8,
        open_weights: tristate(model.open_weights),
        released: model.released.clone().unwrap_or_default(),
        context,
        max_input: model.max_input.unwrap_or(context),
        max_output: model.max_output.unwrap_or(context),
        dimensions: model.dimensions.unwrap_or(0),
        caps: capabilities(model).0,
        efforts: reasoning.efforts,
        default_effort: reasoning.default_effort.unwrap_or_default(),
        reasoning_off: tristate(reasoning.can_be_disabled),
        ability,
        ability_overall: overall,
        ability_error: model
            .ability
            .as_ref()
            .and_then(|ability| ability.error)
            .unwrap_or(ABILITY_UNKNOWN_ERROR),
        ability_basis: model.ability.as_ref().map_or(0, |ability| ability.basis as u8),
        first_offer: 0,
        offer_count: 0,
    }
}

fn offer_row(model: &ModelSource, offer: &OfferSource, provider: &ProviderSource) -> OfferRow {
    let context = offer.context.or(model.context).unwrap_or(CONTEXT_UNKNOWN);
    let local = provider.kind.unwrap_or_default() == ProviderKind::Local;
    let price = offer.price.or(local.then(PriceSource::default));
    let mut quirks_source = provider.quirks;
    super::overlay::merge_quirks(&mut quirks_source, offer.quirks);
    let mut caps = capabilities(model).without(named(&offer.cannot));
    // A model that refuses `temperature` refuses it everywhere; an offer may refuse it alone.
    if named(&model.cannot).covers(Capabilities::SAMPLING_PARAMS) {
        quirks_source.sampling_params = Some(false);
    }
    if quirks_source.sampling_params == Some(false) {
        caps = caps.without(Capabilities::SAMPLING_PARAMS);
    }
    let quirks = Quirks::resolve(&quirks_source);
    let cache = offer.cache.unwrap_or_default();
    let services = offer.services.iter().map(|(service, list)| {
        let row = price_list(&list.price, &list.tiers);
        (*service as u8, row)
    });
    OfferRow {
        model: 0,
        provider: 0,
        wire_id: offer.wire_id.clone(),
        dialects: dialects_of(model, offer, provider),
        status: offer.status.or(model.status).unwrap_or_default() as u8,
        context,
        max_input: offer.max_input.or(model.max_input).unwrap_or(context),
        max_output: offer.max_output.or(model.max_output).unwrap_or(context),
        caps: caps.0,
        price: price.map(|price| price_list(&price, &offer.tiers)),
        price_confidence: offer.price_confidence.unwrap_or_default() as u8,
        services: services.collect(),
        off_peak: offer.off_peak.as_ref().map(off_peak),
        uplift_permille: offer.uplift_permille.clone().into_iter().collect(),
        web_search: offer.web_search.unwrap_or(0),
        cache_min_tokens: cache.min_tokens.unwrap_or(0),
        cache_ttl_s: cache.ttl_s.unwrap_or(0),
        cache_ttl_long_s: cache.ttl_long_s.unwrap_or(0),
        quirks: quirks.bits(),
        thinking: quirks.thinking as u8,
    }
}

/// What the provider speaks for that model: its own list, less what carries the other kind.
fn dialects_of(model: &ModelSource, offer: &OfferSource, provider: &ProviderSource) -> Vec<u8> {
    let spoken = provider.dialects.as_deref().unwrap_or(&DEFAULT_DIALECTS);
    let embeds = model.kind.unwrap_or_default() == ModelKind::Embedding;
    let inherited = spoken.iter().filter(|dialect| dialect.is_embeddings() == embeds);
    let own = offer.dialects.iter().flatten();
    let chosen: Vec<&Dialect> = match offer.dialects {
        Some(_) => own.collect(),
        None => inherited.collect(),
    };
    chosen.into_iter().map(|dialect| *dialect as u8).collect()
}

fn capabilities(model: &ModelSource) -> Capabilities {
    named(model.can.as_deref().unwrap_or_default()).without(named(&model.cannot))
}

fn named(names: &[String]) -> Capabilities {
    names
        .iter()
        .filter_map(|name| Capabilities::from_name(name))
        .fold(Capabilities::NONE, |set, one| set | one)
}

fn price_list(price: &PriceSource, tiers: &[TierSource]) -> PriceListRow {
    PriceListRow {
        base: rates(price),
        tiers: tiers.iter().map(|tier| (tier.above, rates(&tier.price))).collect(),
    }
}

/// The rule of [`PriceSource`] for absent prices: tokens that a provider does not price apart are
/// charged as what they are a part of.
fn rates(price: &PriceSource) -> RatesRow {
    let output = price.output.unwrap_or(0);
    let write_5m = price.cache_write_5m.unwrap_or(price.input);
    [
        price.input,
        output,
        price.cache_read.unwrap_or(price.input),
        write_5m,
        price.cache_write_1h.unwrap_or(write_5m),
        price.reasoning.unwrap_or(output),
    ]
}

fn off_peak(source: &OffPeakSource) -> OffPeakRow {
    let windows = source.windows.iter().flat_map(|window| {
        let weekdays = window.weekdays.iter().fold(0, |bits, day| bits | 1 << (day - 1));
        let spans = window.hours_utc.iter().filter_map(|span| parse_span(span));
        spans.map(move |(from, to)| WindowRow { weekdays, from, to })
    });
    OffPeakRow { base: rates(&source.price), windows: windows.collect() }
}

fn tristate(known: Option<bool>) -> u8 {
    known.map_or(2, u8::from)
}

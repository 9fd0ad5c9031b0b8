//! Laying one source over another, and writing out the short form of a provider's models.

use super::{CatalogueSource, ModelSource, OfferSource, PriceSource, ProviderSource, QuirksSource};
use std::borrow::Cow;

/// What a model of the short form can do when no known model has its name. Tools and schemas are
/// a matter of the server there (vLLM, Ollama, llama.cpp have both), and somebody who points us at
/// it would be astonished to have them refused; senses are a matter of the model.
const LOCAL_CAPABILITIES: [&str; 6] =
    ["json_schema", "sampling_params", "streaming", "system_messages", "tool_choice", "tools"];

/// Copies the named fields of `$from` that say something over those of `$to`.
macro_rules! replace_given {
    ($to:expr, $from:expr; $($field:ident),+ $(,)?) => {
        $(if $from.$field.is_some() { $to.$field = $from.$field; })+
    };
}

/// Lays `other` over `base`; see [`CatalogueSource::overlay`].
pub(super) fn overlay(base: &mut CatalogueSource, other: CatalogueSource) {
    for provider in other.providers {
        match base.providers.iter_mut().find(|p| p.id == provider.id) {
            Some(known) => merge_provider(known, provider),
            None => base.providers.push(provider),
        }
    }
    let mut models = take_short_forms(base);
    models.extend(other.models);
    for model in models {
        for known in base.models.iter_mut().filter(|known| known.id != model.id) {
            known.aliases.retain(|alias| !model.aliases.contains(alias));
        }
        match base.models.iter_mut().find(|known| known.id == model.id) {
            Some(known) => merge_model(known, model),
            None => base.models.push(model),
        }
    }
}

/// The source with its short forms written out; borrowed when there are none.
pub(super) fn written_out(source: &CatalogueSource) -> Cow<'_, CatalogueSource> {
    if source.providers.iter().all(|p| p.models.is_empty()) {
        return Cow::Borrowed(source);
    }
    let mut owned = source.clone();
    overlay(&mut owned, CatalogueSource::default());
    Cow::Owned(owned)
}

/// Takes the `models` of every provider and writes them out as models.
fn take_short_forms(base: &mut CatalogueSource) -> Vec<ModelSource> {
    let mut shorts = Vec::new();
    for provider in &mut base.providers {
        for name in std::mem::take(&mut provider.models) {
            shorts.push((provider.id.clone(), name));
        }
    }
    shorts.into_iter().map(|(provider, name)| short_form(base, provider, name)).collect()
}

/// The model `<provider>/<name>` with one free offer. It is a model of its own even where the name
/// is known, so that naming it never sends a prompt elsewhere; it shares the facts of the known one.
fn short_form(base: &CatalogueSource, provider: String, name: String) -> ModelSource {
    let known = find_known(base, &name).cloned().unwrap_or_else(|| {
        let can = LOCAL_CAPABILITIES.map(String::from).to_vec();
        ModelSource { can: Some(can), ..ModelSource::default() }
    });
    // An id is not taken from its owner, and an empty name is left for validation to find.
    let is_id = base.models.iter().any(|model| model.id == name);
    let aliases = if is_id || name.is_empty() { Vec::new() } else { vec![name.clone()] };
    ModelSource {
        id: format!("{provider}/{name}"),
        name: Some(name.clone()),
        status: None,
        retires: None,
        aliases,
        offers: vec![OfferSource {
            provider,
            wire_id: name,
            price: Some(PriceSource::default()),
            ..OfferSource::default()
        }],
        ..known
    }
}

/// The model that goes by that name somewhere, whatever the case of letters.
fn find_known<'a>(base: &'a CatalogueSource, name: &str) -> Option<&'a ModelSource> {
    let is = |candidate: &str| candidate.eq_ignore_ascii_case(name);
    let slug = |id: &'a str| id.split_once('/').map_or(id, |(_, slug)| slug);
    base.models.iter().find(|model| {
        is(&model.id)
            || is(slug(&model.id))
            || model.aliases.iter().any(|alias| is(alias))
            || model.offers.iter().any(|offer| is(&offer.wire_id))
    })
}

fn merge_provider(known: &mut ProviderSource, given: ProviderSource) {
    replace_given!(known, given; name, kind, base_url, auth, env, dialects, enabled);
    known.models.extend(given.models);
    known.headers.extend(given.headers);
    for (dialect, endpoint) in given.endpoints {
        let known = known.endpoints.entry(dialect).or_default();
        replace_given!(known, endpoint; base_url, auth, enabled);
    }
    known.fill.extend(given.fill);
    known.query.extend(given.query);
    known.regions.extend(given.regions);
    merge_quirks(&mut known.quirks, given.quirks);
    if let Some(policy) = given.data_policy {
        // A policy is read as a whole: half of one and half of another describes nobody.
        known.data_policy = Some(policy);
    }
}

fn merge_model(known: &mut ModelSource, given: ModelSource) {
    replace_given!(known, given; name, kind, status, open_weights, released, knowledge, retires,
        context, max_input, max_output, can, reasoning, tokenizer, dimensions, ability);
    if !given.cannot.is_empty() {
        known.cannot = given.cannot;
    }
    for alias in given.aliases {
        if !known.aliases.contains(&alias) {
            known.aliases.push(alias);
        }
    }
    let mut added = 0;
    for offer in given.offers {
        let same = |o: &OfferSource| o.provider == offer.provider && o.wire_id == offer.wire_id;
        match known.offers.iter_mut().find(|known| same(known)) {
            Some(known) => merge_offer(known, offer),
            None => {
                known.offers.insert(added, offer);
                added += 1;
            }
        }
    }
}

fn merge_offer(known: &mut OfferSource, given: OfferSource) {
    if given.price.is_some() {
        // The user's price list replaces the known one whole, tiers and hours included.
        known.price = given.price;
        known.price_confidence = given.price_confidence;
        known.tiers = given.tiers;
        known.services = given.services;
        known.off_peak = given.off_peak;
        known.uplift_permille = given.uplift_permille;
    }
    replace_given!(known, given; dialects, status, context, max_input, max_output, web_search, cache);
    if !given.cannot.is_empty() {
        known.cannot = given.cannot;
    }
    merge_quirks(&mut known.quirks, given.quirks);
}

/// Lays the quirks that are given over the known ones.
pub(super) fn merge_quirks(known: &mut QuirksSource, given: QuirksSource) {
    replace_given!(known, given; max_tokens_field, developer_role, usage_in_stream,
        cached_tokens_reported, strict_schema, store, sampling_params, reasoning_effort,
        needs_reasoning_back, adaptive_thinking, system_anywhere, long_cache, session_affinity,
        reasoning_apart, thinking);
}

//! Everything that must hold before a source is compiled, told whole: all errors, each with the
//! entry, the field, what was found and what would do.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    CatalogueError, CatalogueSource, EndpointView, ModelKind, ModelSource, OffPeakSource,
    OfferSource, PriceSource, ProviderKind, ProviderSource, TierSource,
};
use crate::{Capabilities, Dialect, Prices};

/// Most bytes of an id, a name or an alias.
const NAME_BYTES_MAX: usize = 200;

/// Most pico-dollars per token that we believe: 10,000 dollars per million tokens, about fifteen
/// times the dearest model there ever was. Above it somebody has mixed up the unit.
const PRICE_PICO_MAX: u64 = 10_000_000_000;

/// Most tokens of a context that we believe.
const CONTEXT_MAX: u32 = 100_000_000;

/// Abilities are logits of mean 0 and deviation 1: beyond this one is a slip.
const ABILITY_MAX: f32 = 8.0;

/// Names of strategies begin so; a model of that name could never be asked for.
const RESERVED_NAME: &str = "auto";

impl CatalogueSource {
    /// Checks everything and returns all errors, in the order of the source.
    pub fn validate(&self) -> Result<(), Vec<CatalogueError>> {
        let source = super::overlay::written_out(self);
        let mut report = Report::default();
        let providers = check_providers(&source.providers, &mut report);
        check_models(&source.models, &providers, &mut report);
        match report.errors.is_empty() {
            true => Ok(()),
            false => Err(report.errors),
        }
    }
}

/// Collects errors about one subject after another.
#[derive(Default)]
struct Report {
    subject: String,
    errors: Vec<CatalogueError>,
}

impl Report {
    fn error(&mut self, field: impl Into<String>, problem: impl Into<String>, remedy: &str) {
        self.errors.push(CatalogueError {
            subject: self.subject.clone(),
            field: field.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }
}

type Providers<'a> = HashMap<&'a str, &'a ProviderSource>;

fn check_providers<'a>(providers: &'a [ProviderSource], report: &mut Report) -> Providers<'a> {
    let mut known = Providers::new();
    for provider in providers {
        report.subject = format!("provider `{}`", provider.id);
        if known.insert(&provider.id, provider).is_some() {
            report.error("id", "stands twice", "give each provider an id of its own");
        }
        check_provider(provider, report);
    }
    if providers.len() > usize::from(u16::MAX) {
        report.error("id", "too many providers", "keep below 65,536");
    }
    known
}

fn check_provider(provider: &ProviderSource, report: &mut Report) {
    let id_ok = !provider.id.is_empty()
        && provider.id.len() <= NAME_BYTES_MAX
        && provider
            .id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if !id_ok {
        report.error(
            "id",
            format!("`{}` is no id", provider.id),
            "use lower-case letters, digits, `-`, `_`, `.`, as in `my-vllm`",
        );
    }
    match &provider.base_url {
        None => report.error(
            "base_url",
            "is missing",
            "give the address up to the path of the dialect, as in `http://127.0.0.1:11434/v1`",
        ),
        Some(url) => check_url("base_url", url, report),
    }
    let dialects = provider.dialects.as_deref().unwrap_or(&DEFAULT_DIALECTS);
    if dialects.is_empty() {
        report.error("dialects", "is empty", "name one, as in `[\"openai-chat\"]`");
    }
    for (dialect, endpoint) in &provider.endpoints {
        if let Some(url) = &endpoint.base_url {
            check_url(&format!("endpoints.{dialect}.base_url"), url, report);
        }
    }
    check_fill(provider, report);
    for (region, url) in &provider.regions {
        check_url(&format!("regions.{region}"), url, report);
    }
    if let Some(env) = &provider.env {
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if env.is_empty() || !env.bytes().all(plain) {
            report.error(
                "env",
                format!("`{env}` is no name of an environment variable"),
                "give the variable's name in capitals, as in `OPENAI_API_KEY`, never the key",
            );
        }
    }
    for (name, value) in &provider.headers {
        let name_ok = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !name_ok || value.bytes().any(|b| b < b' ' || b == 0x7f) {
            report.error(
                format!("headers.{name}"),
                "is no header",
                "use letters, digits and `-` in the name, and one line as the value",
            );
        }
    }
    for (position, control) in
        provider.data_policy.iter().flat_map(|policy| &policy.controls).enumerate()
    {
        if serde_json::from_str::<serde::de::IgnoredAny>(&control.value).is_err() {
            report.error(
                format!("data_policy.controls[{position}].value"),
                format!("`{}` is no JSON", control.value),
                "write the value as JSON text, as in `\"false\"`",
            );
        }
    }
}

/// Checks what is filled into the addresses, and the query.
fn check_fill(provider: &ProviderSource, report: &mut Report) {
    let own = provider.endpoints.values().filter_map(|endpoint| endpoint.base_url.as_ref());
    let urls: Vec<&String> = provider.base_url.iter().chain(own).collect();
    for (name, value) in &provider.fill {
        let field = format!("fill.{name}");
        let placeholder = format!("{{{name}}}");
        if name == EndpointView::MODEL || !urls.iter().any(|url| url.contains(&placeholder)) {
            report.error(
                field.clone(),
                format!("no address of the provider has a `{placeholder}` to fill in"),
                "give a name that stands between braces in `base_url`",
            );
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if value.is_empty() || !value.bytes().all(fits) {
            report.error(
                field,
                format!("`{value}` does not fit into an address"),
                "use letters, digits, `-`, `_` and `.`, as in `eu-central-1`",
            );
        }
    }
    for (name, value) in &provider.query {
        let fits = |text: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
            !text.is_empty() && text.bytes().all(plain)
        };
        if !fits(name) || !fits(value) {
            report.error(
                format!("query.{name}"),
                format!("`{name}={value}` is no query parameter"),
                "use letters, digits, `-`, `_` and `.`, as in `api-version = \"2024-10-21\"`",
            );
        }
    }
}

/// What a provider speaks when it does not say.
pub(super) const DEFAULT_DIALECTS: [Dialect; 1] = [Dialect::OpenAiChat];

fn check_url(field: &str, url: &str, report: &mut Report) {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let problem = match rest {
        None => "does not begin with http:// or https://",
        Some(rest) if rest.is_empty() || rest.starts_with('/') => "has no host",
        Some(_) if url.ends_with('/') => "ends with a slash",
        Some(_) if url.bytes().any(|b| b <= b' ' || b == b'"' || b > b'~') => {
            "has a character that no URL has"
        }
        Some(rest) if rest.contains(['?', '#', '@']) => "has a query, a fragment or a user in it",
        Some(_) => return,
    };
    report.error(
        field,
        format!("`{url}` {problem}"),
        "give the address up to the path of the dialect, as in `https://api.example.com/v1`",
    );
}

fn check_models(models: &[ModelSource], providers: &Providers<'_>, report: &mut Report) {
    let mut ids = HashSet::new();
    for model in models {
        report.subject = format!("model `{}`", model.id);
        if !ids.insert(model.id.as_str()) {
            report.error("id", "stands twice", "give each model an id of its own");
        }
    }
    let mut alias_owner: HashMap<&str, &str> = HashMap::new();
    let mut offer_owner: HashMap<(&str, &str), &str> = HashMap::new();
    for model in models {
        report.subject = format!("model `{}`", model.id);
        check_model(model, report);
        for (position, alias) in model.aliases.iter().enumerate() {
            let field = format!("aliases[{position}]");
            check_name(&field, alias, report);
            if ids.contains(alias.as_str()) && *alias != model.id {
                report.error(
                    field,
                    format!("`{alias}` is the id of another model"),
                    "choose another alias",
                );
            } else if let Some(owner) = alias_owner.insert(alias, &model.id) {
                report.error(
                    field,
                    format!("`{alias}` is an alias of `{owner}` too"),
                    "let an alias lead to one model only",
                );
            }
        }
        for (position, offer) in model.offers.iter().enumerate() {
            let field = format!("offers[{position}]");
            let key = (offer.provider.as_str(), offer.wire_id.as_str());
            if let Some(owner) = offer_owner.insert(key, &model.id) {
                report.error(
                    format!("{field}.wire_id"),
                    format!("`{}` at `{}` is offered by `{owner}` already", key.1, key.0),
                    "list a wire id of a provider once",
                );
            }
            check_offer(&field, model, offer, providers, report);
        }
        let first_is_free_or_priced = model
            .offers
            .first()
            .is_none_or(|offer| offer.price.is_some() || is_local(offer, providers));
        if !first_is_free_or_priced {
            report.error(
                "offers[0].price",
                "is missing",
                "give the first offer a price in pico-dollars per token, or put a priced one first",
            );
        }
    }
}

/// Whether an offer without a price is free: it runs on the user's own machines.
pub(super) fn is_local(offer: &OfferSource, providers: &Providers<'_>) -> bool {
    providers
        .get(offer.provider.as_str())
        .is_some_and(|provider| provider.kind.unwrap_or_default() == ProviderKind::Local)
}

fn check_model(model: &ModelSource, report: &mut Report) {
    check_name("id", &model.id, report);
    let both_parts =
        model.id.split_once('/').is_some_and(|(lab, slug)| !lab.is_empty() && !slug.is_empty());
    if !both_parts {
        report.error(
            "id",
            format!("`{}` is not of the form `lab/name`", model.id),
            "write who made it, a slash and its name, as in `meta/llama-3.3-70b`",
        );
    }
    if model.offers.is_empty() {
        report.error(
            "offers",
            "is empty",
            "name at least one, as in `[{ provider = \"ollama\", wire_id = \"llama3.2\" }]`",
        );
    }
    check_limits("", model.context, model.max_output, report);
    check_capabilities("can", model.can.as_deref().unwrap_or_default(), report);
    check_capabilities("cannot", &model.cannot, report);
    for (field, day) in [("released", &model.released), ("retires", &model.retires)] {
        if let Some(day) = day.as_deref().filter(|day| !is_day(day)) {
            report.error(
                field,
                format!("`{day}` is no day"),
                "write it as `2026-11-20` or `2026-11`",
            );
        }
    }
    if let Some(ability) = &model.ability {
        let overall = ("ability.overall".to_string(), ability.overall);
        let tasks =
            ability.tasks.iter().map(|(task, value)| (format!("ability.tasks.{task}"), *value));
        for (field, value) in std::iter::once(overall).chain(tasks) {
            if value.is_nan() || value.abs() > ABILITY_MAX {
                report.error(
                    field,
                    format!("{value} is out of range"),
                    "give a logit between -8 and 8; 0 is the average model",
                );
            }
        }
    }
}

fn check_offer(
    field: &str,
    model: &ModelSource,
    offer: &OfferSource,
    providers: &Providers<'_>,
    report: &mut Report,
) {
    check_name(&format!("{field}.wire_id"), &offer.wire_id, report);
    let Some(provider) = providers.get(offer.provider.as_str()) else {
        return report.error(
            format!("{field}.provider"),
            format!("there is no provider `{}`", offer.provider),
            "add a [[provider]] of that id or correct the name",
        );
    };
    let spoken = provider.dialects.as_deref().unwrap_or(&DEFAULT_DIALECTS);
    if let Some(stranger) = offer
        .dialects
        .iter()
        .flatten()
        .find(|dialect| !spoken.contains(dialect) && !provider.endpoints.contains_key(dialect))
    {
        report.error(
            format!("{field}.dialects"),
            format!("`{}` does not speak `{stranger}`", provider.id),
            "add it to the provider's `dialects` or take it out here",
        );
    }
    let wants_embeddings = model.kind.unwrap_or_default() == ModelKind::Embedding;
    let mut dialects = offer.dialects.as_deref().unwrap_or(spoken).iter();
    if wants_embeddings && offer.dialects.is_none() && !spoken.iter().any(|d| d.is_embeddings()) {
        report.error(
            format!("{field}.dialects"),
            format!("`{}` speaks no dialect that carries vectors", provider.id),
            "say in which dialect it gives embeddings",
        );
    }
    if !wants_embeddings && dialects.all(|dialect| dialect.is_embeddings()) {
        report.error(
            format!("{field}.dialects"),
            "none of them carries chat",
            "name one that does, as in `[\"openai-chat\"]`",
        );
    }
    check_limits(&format!("{field}."), offer.context, offer.max_output, report);
    check_capabilities(&format!("{field}.cannot"), &offer.cannot, report);
    check_prices(field, offer, report);
    if let Some(off_peak) = &offer.off_peak {
        check_off_peak(&format!("{field}.off_peak"), off_peak, report);
    }
    check_uplift(field, &offer.uplift_permille, report);
}

fn check_prices(field: &str, offer: &OfferSource, report: &mut Report) {
    if offer.price.is_none() && (!offer.tiers.is_empty() || !offer.services.is_empty()) {
        report.error(
            format!("{field}.price"),
            "is missing, though there are tiers or services",
            "give the base price too",
        );
    }
    if let Some(price) = &offer.price {
        check_price(&format!("{field}.price"), price, report);
    }
    check_tiers(field, &offer.tiers, report);
    for (service, list) in &offer.services {
        let field = format!("{field}.services.{}", service.name());
        check_price(&format!("{field}.price"), &list.price, report);
        check_tiers(&field, &list.tiers, report);
    }
}

fn check_tiers(field: &str, tiers: &[TierSource], report: &mut Report) {
    if tiers.len() > Prices::TIERS_MAX {
        report.error(
            format!("{field}.tiers"),
            format!("{} tiers", tiers.len()),
            "keep to four; ask for more room if a provider really has more",
        );
    }
    if !tiers.is_sorted_by(|a, b| a.above < b.above) {
        report.error(
            format!("{field}.tiers"),
            "thresholds do not ascend",
            "order them by `above`, each once",
        );
    }
    for (position, tier) in tiers.iter().enumerate() {
        check_price(&format!("{field}.tiers[{position}].price"), &tier.price, report);
    }
}

fn check_price(field: &str, price: &PriceSource, report: &mut Report) {
    let parts = [
        ("input", Some(price.input)),
        ("output", price.output),
        ("cache_read", price.cache_read),
        ("cache_write_5m", price.cache_write_5m),
        ("cache_write_1h", price.cache_write_1h),
        ("reasoning", price.reasoning),
    ];
    for (part, value) in parts {
        if let Some(value) = value.filter(|value| *value > PRICE_PICO_MAX) {
            report.error(
                format!("{field}.{part}"),
                format!("{value} is above ten thousand dollars per million tokens"),
                "give pico-dollars per token: 1 dollar per million tokens is 1000000",
            );
        }
    }
}

fn check_off_peak(field: &str, off_peak: &OffPeakSource, report: &mut Report) {
    check_price(&format!("{field}.price"), &off_peak.price, report);
    for (position, window) in off_peak.windows.iter().enumerate() {
        let field = format!("{field}.windows[{position}]");
        if window.weekdays.iter().any(|day| !(1..=7).contains(day)) {
            report.error(
                format!("{field}.weekdays"),
                format!("{:?}", window.weekdays),
                "use 1 for Monday to 7 for Sunday",
            );
        }
        for span in &window.hours_utc {
            if parse_span(span).is_none() {
                report.error(
                    format!("{field}.hours_utc"),
                    format!("`{span}` is no span of hours"),
                    "write it as `04:00-06:00`, not across midnight; `00:00` ends the day",
                );
            }
        }
    }
}

fn check_uplift(field: &str, uplift: &BTreeMap<String, u32>, report: &mut Report) {
    for (region, permille) in uplift {
        if !(1..=10_000).contains(permille) {
            report.error(
                format!("{field}.uplift_permille.{region}"),
                format!("{permille} is no uplift"),
                "give permille of the whole cost: ten per cent more is 1100",
            );
        }
    }
}

fn check_limits(field: &str, context: Option<u32>, max_output: Option<u32>, report: &mut Report) {
    let limits = [("context", context), ("max_output", max_output)];
    for (name, limit) in limits {
        if limit.is_some_and(|limit| limit == 0 || limit > CONTEXT_MAX) {
            report.error(
                format!("{field}{name}"),
                format!("{} tokens", limit.unwrap_or_default()),
                "give a number of tokens from 1 to 100000000, or leave it out",
            );
        }
    }
}

fn check_capabilities(field: &str, names: &[String], report: &mut Report) {
    for name in names {
        if Capabilities::from_name(name).is_none() {
            let known = Capabilities::NAMED.map(|(name, _)| name).join(", ");
            report.error(
                field,
                format!("there is no capability `{name}`"),
                &format!("use some of: {known}"),
            );
        }
    }
}

fn check_name(field: &str, name: &str, report: &mut Report) {
    let problem = if name.is_empty() {
        "is empty".to_string()
    } else if name.len() > NAME_BYTES_MAX {
        format!("has {} bytes", name.len())
    } else if name.bytes().any(|b| b <= b' ' || b == b'"' || b == 0x7f) {
        format!("`{name}` has a space, a quote or a control character")
    } else if name == RESERVED_NAME || name.starts_with("auto:") {
        format!("`{name}` is what routing by itself is called")
    } else {
        return;
    };
    report.error(field, problem, "give 1 to 200 bytes without spaces, other than `auto`");
}

/// A day or, where nobody said which, a month: `2026-11-20`, `2026-11`.
fn is_day(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let mut number = |digits: usize| match parts.next() {
        Some(part) if part.len() == digits => part.parse::<u32>().ok(),
        Some(_) => None,
        None => Some(1),
    };
    matches!((number(4), number(2), number(2)), (Some(1990..=2100), Some(1..=12), Some(1..=31)))
        && text.contains('-')
}

/// Minutes of the day from which and to which a span such as `04:00-06:00` goes.
pub(super) fn parse_span(span: &str) -> Option<(u16, u16)> {
    let minutes = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let (from, to) = span.split_once('-')?;
    let (from, to) = (minutes(from)?, minutes(to)?);
    let to = if to == 0 { 24 * 60 } else { to };
    (from < to).then_some((from, to))
}

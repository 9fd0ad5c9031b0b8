//! PyPI `genai-prices`: a Python module of literals, prices in dollars per million tokens as exact
//! decimals, models found by clauses that match a wire id.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use models::catalogue::{PriceListSource, PriceSource, ServiceTier, TierSource};
use regex::Regex;

use super::{Fact, Source};
use crate::catalogue::decimal::scaled;
use crate::catalogue::fetch::Member;
use crate::catalogue::literal::Literal;

/// The package's name of a provider and ours.
const PROVIDERS: &[(&str, &str)] = &[
    ("anthropic", "anthropic"),
    ("aws", "amazon-bedrock"),
    ("azure", "azure"),
    ("baseten", "baseten"),
    ("cerebras", "cerebras"),
    ("cloudflare", "cloudflare-workers-ai"),
    ("cohere", "cohere"),
    ("deepseek", "deepseek"),
    ("fireworks", "fireworks"),
    ("google", "google"),
    ("google", "google-vertex"),
    ("groq", "groq"),
    ("meta", "meta"),
    ("minimax", "minimax"),
    ("mistral", "mistral"),
    ("moonshotai", "moonshotai"),
    ("novita", "novita"),
    ("openai", "openai"),
    ("openrouter", "openrouter"),
    ("perplexity", "perplexity"),
    ("together", "together"),
    ("voyageai", "voyage"),
    ("x-ai", "xai"),
    ("zai", "zai"),
    ("zhipuai", "zhipuai"),
];

/// Variants and the service that they price.
const SERVICES: [(&str, &str, ServiceTier); 4] = [
    ("processing", "batch", ServiceTier::Batch),
    ("service_tier", "flex", ServiceTier::Flex),
    ("service_tier", "priority", ServiceTier::Priority),
    ("service_tier", "fast", ServiceTier::Priority),
];

/// The package: its models by our provider id, in its order.
pub(crate) struct GenaiPrices {
    models: BTreeMap<&'static str, Vec<Model>>,
}

struct Model {
    matches: Clause,
    fact: Fact,
}

/// A condition on a wire id in lower case.
enum Clause {
    Equals(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Regex(Regex),
    /// `^(?!…)`, the one look-ahead in use, which the regex crate does not do.
    Without(Regex),
    Any(Vec<Clause>),
    All(Vec<Clause>),
}

impl GenaiPrices {
    /// Reads the module; prices are those of `today`, `2026-11-20`.
    pub(crate) fn read(members: &[Member], today: &str) -> Result<GenaiPrices, Box<dyn Error>> {
        let module = members.first().ok_or("genai-prices has no data module")?;
        let providers = Literal::assigned(&module.text, "providers")?;
        let mut models: BTreeMap<&'static str, Vec<Model>> = BTreeMap::new();
        for provider in providers.list() {
            let id = provider.get("id").and_then(Literal::text);
            for (_, ours) in PROVIDERS.iter().filter(|(theirs, _)| Some(*theirs) == id) {
                let list = provider.get("models").map_or(&[][..], Literal::list);
                let read: Result<Vec<Model>, _> =
                    list.iter().map(|model| Model::read(model, today)).collect();
                models.insert(ours, read?);
            }
        }
        Ok(GenaiPrices { models })
    }
}

impl Source for GenaiPrices {
    fn name(&self) -> &'static str {
        "genai-prices"
    }

    fn fact(&self, provider: &str, wire_id: &str) -> Option<Fact> {
        let wire_id = wire_id.to_lowercase();
        let models = self.models.get(provider)?;
        let model = models.iter().find(|model| model.matches.accepts(&wire_id))?;
        Some(model.fact.clone())
    }

    fn wire_ids(&self) -> Vec<(String, String)> {
        // It has clauses, not wire ids.
        Vec::new()
    }
}

impl Model {
    fn read(model: &Literal, today: &str) -> Result<Model, Box<dyn Error>> {
        let clause = model.get("match").ok_or("a model without a match clause")?;
        let current = model.get("prices").and_then(|prices| current(prices, today));
        let (price, tiers) = current.map_or((None, Vec::new()), price_list);
        let mut fact = Fact {
            price,
            tiers,
            context: model
                .get("context_window")
                .and_then(Literal::number)
                .and_then(|digits| digits.replace('_', "").parse().ok()),
            ..Fact::default()
        };
        let variants = model.get("price_variants").map_or(&[][..], Literal::list);
        for variant in variants {
            let Some(service) = service(variant) else {
                continue;
            };
            let prices = variant.get("prices").and_then(|p| current_model(p, variant, today));
            if let Some((Some(price), tiers)) = prices.map(price_list) {
                fact.services.insert(service, PriceListSource { price, tiers });
            }
        }
        Ok(Model { matches: Clause::read(clause)?, fact })
    }
}

/// The price in force: the last of the list whose constraint holds. Prices at some hours only are
/// left out.
fn current<'a>(prices: &'a Literal, today: &str) -> Option<&'a Literal> {
    match prices {
        Literal::List(conditional) => conditional
            .iter()
            .rev()
            .find_map(|entry| current_model(entry.get("prices")?, entry, today)),
        price => Some(price),
    }
}

fn current_model<'a>(prices: &'a Literal, entry: &Literal, today: &str) -> Option<&'a Literal> {
    let holds = match entry.get("constraint") {
        None | Some(Literal::None) => true,
        Some(constraint) => {
            let start = constraint.get("start_date").and_then(date);
            start.is_some_and(|start| start.as_str() <= today)
        }
    };
    holds.then_some(prices)
}

/// `datetime.date(2026, 10, 14)` as `2026-10-14`.
fn date(literal: &Literal) -> Option<String> {
    let Literal::Call { positional, .. } = literal else {
        return None;
    };
    let mut numbers = positional.iter().map(|part| part.number()?.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    Some(format!("{:04}-{:02}-{:02}", next()?, next()?, next()?))
}

fn service(variant: &Literal) -> Option<ServiceTier> {
    let when = variant.get("when")?;
    let found = SERVICES
        .iter()
        .find(|(key, value, _)| when.get(key).and_then(Literal::text) == Some(value));
    found.map(|(_, _, service)| *service)
}

fn price_list(prices: &Literal) -> (Option<PriceSource>, Vec<TierSource>) {
    let thresholds: BTreeSet<u32> = FIELDS
        .iter()
        .filter_map(|field| prices.get(field)?.get("tiers"))
        .flat_map(Literal::list)
        .filter_map(start)
        .collect();
    let tiers = thresholds.into_iter().filter_map(|above| {
        let price = price(prices, Some(above))?;
        Some(TierSource { above, price })
    });
    (price(prices, None), tiers.collect())
}

const FIELDS: [&str; 6] = [
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
    "output_reasoning_mtok",
];

/// The prices of the tier that begins at that threshold, or the base prices.
fn price(prices: &Literal, above: Option<u32>) -> Option<PriceSource> {
    let cost = |field: &str| {
        let literal = prices.get(field)?;
        let decimal = match (literal.called(), above) {
            (Some("TieredPrices"), None) => literal.get("base")?,
            (Some("TieredPrices"), Some(above)) => literal
                .get("tiers")?
                .list()
                .iter()
                .rfind(|tier| start(tier).is_some_and(|start| start <= above))
                .and_then(|tier| tier.get("price"))
                .or_else(|| literal.get("base"))?,
            _ => literal,
        };
        scaled(decimal.first()?.text()?, 6)
    };
    let [input, output, cache_read, cache_write_5m, cache_write_1h, reasoning] = FIELDS.map(cost);
    Some(PriceSource {
        input: input?,
        output,
        cache_read,
        cache_write_5m,
        cache_write_1h,
        reasoning,
    })
}

fn start(tier: &Literal) -> Option<u32> {
    tier.get("start")?.number()?.replace('_', "").parse().ok()
}

impl Clause {
    fn read(clause: &Literal) -> Result<Clause, Box<dyn Error>> {
        let Literal::Call { name, named, .. } = clause else {
            return Err("a match clause that is no call".into());
        };
        let value = named.first().map(|(_, value)| value);
        let text = || {
            let text = value.and_then(Literal::text).unwrap_or_default();
            text.to_lowercase()
        };
        let parts = || value.map_or(&[][..], Literal::list).iter().map(Clause::read);
        Ok(match name.as_str() {
            "ClauseEquals" => Clause::Equals(text()),
            "ClauseStartsWith" => Clause::StartsWith(text()),
            "ClauseEndsWith" => Clause::EndsWith(text()),
            "ClauseContains" => Clause::Contains(text()),
            "ClauseRegex" => {
                // Not lower case: `\D` is not `\d`.
                let pattern = value.and_then(Literal::text).unwrap_or_default();
                let without = pattern.strip_prefix("^(?!");
                match without.and_then(|rest| rest.strip_suffix(')')) {
                    Some(inner) => Clause::Without(Regex::new(&format!("^(?:{inner})"))?),
                    None => Clause::Regex(Regex::new(pattern)?),
                }
            }
            "ClauseOr" => Clause::Any(parts().collect::<Result<_, _>>()?),
            "ClauseAnd" => Clause::All(parts().collect::<Result<_, _>>()?),
            other => return Err(format!("unknown match clause {other}").into()),
        })
    }

    fn accepts(&self, wire_id: &str) -> bool {
        match self {
            Clause::Equals(text) => wire_id == text,
            Clause::StartsWith(text) => wire_id.starts_with(text.as_str()),
            Clause::EndsWith(text) => wire_id.ends_with(text.as_str()),
            Clause::Contains(text) => wire_id.contains(text.as_str()),
            Clause::Regex(pattern) => pattern.is_match(wire_id),
            Clause::Without(pattern) => !pattern.is_match(wire_id),
            Clause::Any(parts) => parts.iter().any(|part| part.accepts(wire_id)),
            Clause::All(parts) => parts.iter().all(|part| part.accepts(wire_id)),
        }
    }
}

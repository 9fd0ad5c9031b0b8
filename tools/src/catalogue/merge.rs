//! What the packages say, laid into the models that we know.
//!
//! Identity (which wire id is which model), the order of offers and the abilities are ours and stay.
//! Prices and quirks of an offer are taken anew from the packages. Limits, capabilities and days
//! are filled in where they are absent, so that a new model is an id and its offers' wire ids.

use std::collections::BTreeSet;

use models::Prices;
use models::catalogue::{
    CatalogueSource, ModelSource, OfferSource, PriceConfidence, PriceSource, ProviderSource,
    QuirksSource,
};

use super::source::{Fact, Source};

/// A price this many times above or below the median of the model's offers is a slip.
const MEDIAN_FACTOR_MAX: u64 = 12;

/// An output price this many times the input price is a slip.
const OUTPUT_FACTOR_MAX: u64 = 40;

/// What an update did.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Offers by how sure their price is.
    pub(super) agreed: usize,
    pub(super) single: usize,
    pub(super) disputed: usize,
    /// In no package any more; the last known price stays.
    pub(super) stale: usize,
    pub(super) unpriced: usize,
    /// `provider wire_id: price` that were refused.
    pub(super) implausible: Vec<String>,
}

/// Lays the facts of `sources`, most trusted first, into `catalogue`.
pub(super) fn merge(catalogue: &mut CatalogueSource, sources: &[Box<dyn Source>]) -> Report {
    let mut report = Report::default();
    let providers = std::mem::take(&mut catalogue.providers);
    for model in &mut catalogue.models {
        let facts: Vec<Vec<Fact>> = model
            .offers
            .iter()
            .map(|offer| {
                let (provider, wire_id) = (&offer.provider, &offer.wire_id);
                let said = sources.iter().map(|source| source.fact(provider, wire_id));
                said.flatten().collect()
            })
            .collect();
        let median = median_input(&facts);
        for (offer, facts) in model.offers.iter_mut().zip(&facts) {
            merge_price(offer, facts, median, &mut report);
            let provider = providers.iter().find(|p| p.id == offer.provider);
            merge_quirks(offer, facts, provider);
        }
        fill_model(model, &facts);
    }
    catalogue.providers = providers;
    report
}

/// The middle input price of all offers of a model, free ones apart.
fn median_input(facts: &[Vec<Fact>]) -> Option<u64> {
    let mut inputs: Vec<u64> = facts
        .iter()
        .filter_map(|facts| facts.iter().find_map(|fact| fact.price))
        .map(|price| price.input)
        .filter(|input| *input > 0)
        .collect();
    inputs.sort_unstable();
    inputs.get(inputs.len() / 2).copied()
}

fn is_plausible(offer: &OfferSource, price: &PriceSource, median: Option<u64>) -> bool {
    let output = price.output.unwrap_or(0);
    if price.input == 0 {
        // Zero is how packages write "unknown" and "in preview". What is free says so.
        return output == 0 && offer.wire_id.contains("free");
    }
    let near = median.is_none_or(|median| {
        price.input <= median.saturating_mul(MEDIAN_FACTOR_MAX)
            && median <= price.input.saturating_mul(MEDIAN_FACTOR_MAX)
    });
    near && output <= price.input.saturating_mul(OUTPUT_FACTOR_MAX)
}

fn merge_price(offer: &mut OfferSource, facts: &[Fact], median: Option<u64>, report: &mut Report) {
    let mut priced = Vec::new();
    for fact in facts {
        match &fact.price {
            Some(price) if is_plausible(offer, price, median) => priced.push((fact, *price)),
            Some(PriceSource { input: 0, .. }) => {}
            Some(price) => report.implausible.push(format!(
                "{} {}: {} in, {} out",
                offer.provider,
                offer.wire_id,
                price.input,
                price.output.unwrap_or(0)
            )),
            None => {}
        }
    }
    let main = |price: &PriceSource| (price.input, price.output);
    let votes = |price: &PriceSource| {
        let same = priced.iter().filter(|(_, other)| main(other) == main(price));
        same.count()
    };
    // The most votes, and among equals the most trusted source: `max_by_key` takes the last.
    let Some((_, winner)) = priced.iter().rev().max_by_key(|(_, price)| votes(price)) else {
        match offer.price {
            Some(_) => {
                offer.price_confidence = Some(PriceConfidence::Stale);
                report.stale += 1;
            }
            None => report.unpriced += 1,
        }
        return;
    };
    let confidence = match (votes(winner), priced.len()) {
        (2.., _) => PriceConfidence::Agreed,
        (_, 1) => PriceConfidence::Single,
        _ => PriceConfidence::Disputed,
    };
    match confidence {
        PriceConfidence::Agreed => report.agreed += 1,
        PriceConfidence::Single => report.single += 1,
        _ => report.disputed += 1,
    }
    let agreeing: Vec<&(&Fact, PriceSource)> =
        priced.iter().filter(|(_, price)| main(price) == main(winner)).collect();
    let first =
        |part: fn(&PriceSource) -> Option<u64>| agreeing.iter().find_map(|(_, price)| part(price));
    offer.price = Some(PriceSource {
        input: winner.input,
        output: winner.output,
        cache_read: first(|price| price.cache_read),
        cache_write_5m: first(|price| price.cache_write_5m),
        cache_write_1h: first(|price| price.cache_write_1h),
        reasoning: first(|price| price.reasoning),
    });
    // One who knows a tier is enough: a tier too many reserves too much, one too few gives it away.
    let tiered =
        agreeing.iter().find(|(fact, _)| (1..=Prices::TIERS_MAX).contains(&fact.tiers.len()));
    offer.tiers = tiered.map_or_else(Vec::new, |(fact, _)| fact.tiers.clone());
    let facts_of = || agreeing.iter().map(|(fact, _)| fact);
    offer.services = facts_of().rev().flat_map(|fact| fact.services.clone()).collect();
    let uplift = facts_of().find(|fact| !fact.uplift_permille.is_empty());
    offer.uplift_permille = uplift.map_or_else(Default::default, |f| f.uplift_permille.clone());
    offer.web_search = facts_of().find_map(|fact| fact.web_search);
    if let Some(tokens) = facts_of().find_map(|fact| fact.cache_min_tokens) {
        offer.cache.get_or_insert_default().min_tokens = Some(tokens);
    }
    offer.price_confidence = Some(confidence).filter(|c| *c != PriceConfidence::Agreed);
}

/// Keeps what differs from the provider; an offer that no package knows keeps its own.
fn merge_quirks(offer: &mut OfferSource, facts: &[Fact], provider: Option<&ProviderSource>) {
    if facts.is_empty() {
        return;
    }
    let general = provider.map(|provider| provider.quirks).unwrap_or_default();
    macro_rules! differing {
        ($($field:ident),+ $(,)?) => {
            QuirksSource { $(
                $field: facts
                    .iter()
                    .find_map(|fact| fact.quirks.$field)
                    .filter(|own| general.$field != Some(*own)),
            )+ }
        };
    }
    offer.quirks = differing!(
        max_tokens_field,
        developer_role,
        usage_in_stream,
        cached_tokens_reported,
        strict_schema,
        store,
        sampling_params,
        reasoning_effort,
        needs_reasoning_back,
        adaptive_thinking,
        system_anywhere,
        long_cache,
        session_affinity,
        reasoning_apart,
        thinking,
    );
}

/// Fills what is absent, from the first offer that says it.
fn fill_model(model: &mut ModelSource, facts: &[Vec<Fact>]) {
    let all = || facts.iter().flatten();
    if model.context.is_none() {
        model.context = all().find_map(|fact| fact.context);
    }
    if model.max_output.is_none() {
        model.max_output = all().find_map(|fact| fact.max_output);
    }
    if model.name.is_none() {
        model.name = all().find_map(|fact| fact.name.clone());
    }
    if model.released.is_none() {
        model.released = all().find_map(|fact| fact.released.clone());
    }
    if model.can.is_none() {
        let can: BTreeSet<&str> = all().flat_map(|fact| fact.can.iter().copied()).collect();
        let cannot = all().flat_map(|fact| fact.cannot.iter().copied());
        let cannot: BTreeSet<&str> = cannot.filter(|name| !can.contains(name)).collect();
        if !can.is_empty() || !cannot.is_empty() {
            model.can = Some(can.into_iter().map(String::from).collect());
            model.cannot = cannot.into_iter().map(String::from).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::catalogue::{ModelSource, TierSource};

    struct Says(Vec<(&'static str, Fact)>);

    impl Source for Says {
        fn name(&self) -> &'static str {
            "test"
        }
        fn fact(&self, _: &str, wire_id: &str) -> Option<Fact> {
            let fact = self.0.iter().find(|(id, _)| *id == wire_id);
            fact.map(|(_, fact)| fact.clone())
        }
        fn wire_ids(&self) -> Vec<(String, String)> {
            Vec::new()
        }
    }

    fn price(input: u64, output: u64) -> Option<PriceSource> {
        Some(PriceSource { input, output: Some(output), ..PriceSource::default() })
    }

    fn fact(input: u64, output: u64) -> Fact {
        Fact { price: price(input, output), ..Fact::default() }
    }

    /// What three sources say, most trusted first, the price taken and how sure it is.
    type Case = ([Option<(u64, u64)>; 3], Option<u64>, Option<PriceConfidence>);

    #[test]
    fn prices_are_voted_on() {
        use PriceConfidence::{Disputed, Single, Stale};
        let cases: &[Case] = &[
            ([Some((10, 20)), Some((10, 20)), Some((11, 20))], Some(10), None),
            ([Some((11, 20)), Some((10, 20)), Some((10, 20))], Some(10), None),
            ([Some((11, 20)), None, None], Some(11), Some(Single)),
            ([Some((11, 20)), Some((12, 20)), None], Some(11), Some(Disputed)),
            ([None, None, None], Some(99), Some(Stale)),
            // Zero is no price, and 41 times the input is no output price.
            ([Some((0, 0)), Some((12, 20)), None], Some(12), Some(Single)),
            ([Some((1, 41)), None, None], Some(99), Some(Stale)),
        ];
        for (said, input, confidence) in cases {
            let sources: Vec<Box<dyn Source>> = said
                .iter()
                .map(|said| {
                    let facts = said.iter().map(|(input, output)| ("m", fact(*input, *output)));
                    Box::new(Says(facts.collect())) as Box<dyn Source>
                })
                .collect();
            let mut catalogue = CatalogueSource {
                models: vec![ModelSource {
                    offers: vec![OfferSource {
                        wire_id: "m".into(),
                        price: price(99, 99),
                        ..OfferSource::default()
                    }],
                    ..ModelSource::default()
                }],
                ..CatalogueSource::default()
            };
            merge(&mut catalogue, &sources);
            let offer = &catalogue.models[0].offers[0];
            assert_eq!(offer.price.map(|price| price.input), *input, "{said:?}");
            assert_eq!(offer.price_confidence, *confidence, "{said:?}");
        }
    }

    #[test]
    fn a_new_model_is_an_id_and_its_wire_ids() {
        let rich = Fact {
            context: Some(1000),
            max_output: Some(100),
            can: BTreeSet::from(["tools"]),
            cannot: BTreeSet::from(["vision"]),
            tiers: vec![TierSource { above: 500, price: PriceSource::default() }],
            ..fact(5, 6)
        };
        let mut catalogue = CatalogueSource {
            models: vec![ModelSource {
                id: "lab/m".into(),
                offers: vec![OfferSource { wire_id: "m".into(), ..OfferSource::default() }],
                ..ModelSource::default()
            }],
            ..CatalogueSource::default()
        };
        let sources: Vec<Box<dyn Source>> = vec![Box::new(Says(vec![("m", rich)]))];
        merge(&mut catalogue, &sources);
        let model = &catalogue.models[0];
        assert_eq!((model.context, model.max_output), (Some(1000), Some(100)));
        assert_eq!(model.can.as_deref(), Some(&["tools".to_string()][..]));
        assert_eq!(model.cannot, ["vision"]);
        assert_eq!(model.offers[0].price, price(5, 6));
        assert_eq!(model.offers[0].tiers.len(), 1);
    }
}

//! Whether the data files are what they should be: valid, large enough, plausible, and in agreement
//! with a reference.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use models::catalogue::{AbilityBasis, CatalogueSource, ModelKind, OfferSource, PriceConfidence};
use serde_json::Value;

/// The least that ships.
const CHAT_MODELS_MIN: usize = 300;
const LABS_MIN: usize = 15;
const PROVIDERS_MIN: usize = 30;

/// More than one price in ten without a recent source means that it is time for an update.
const STALE_PERCENT_MAX: usize = 10;

/// Validates and prints figures; fails with all errors.
pub(super) fn check(source: &CatalogueSource) -> Result<(), Box<dyn Error>> {
    if let Err(errors) = source.validate() {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(lines.join("\n").into());
    }
    let (embed, chat): (Vec<_>, Vec<_>) =
        source.models.iter().partition(|model| model.kind == Some(ModelKind::Embedding));
    let labs: BTreeSet<&str> = chat.iter().filter_map(|model| model.id.split('/').next()).collect();
    let offers: Vec<&OfferSource> = source.models.iter().flat_map(|m| &m.offers).collect();
    let with = |confidence: Option<PriceConfidence>| {
        let priced = offers.iter().filter(|offer| offer.price.is_some());
        priced.filter(|o| o.price_confidence == confidence).count()
    };
    let priced = offers.iter().filter(|offer| offer.price.is_some()).count();
    let stale = with(Some(PriceConfidence::Stale));
    let ability = |basis: Option<AbilityBasis>| {
        let of = chat.iter().map(|m| m.ability.as_ref().map(|a| a.basis));
        of.filter(|own| *own == basis).count()
    };
    println!("chat models       {:>5} of {} labs", chat.len(), labs.len());
    println!("embedding models  {:>5}", embed.len());
    println!("providers         {:>5}", source.providers.len());
    println!("offers            {:>5}, {priced} with a price", offers.len());
    println!(
        "prices            {:>5} agreed, {} from one source, {} disputed, {stale} stale",
        with(None),
        with(Some(PriceConfidence::Single)),
        with(Some(PriceConfidence::Disputed)) + with(Some(PriceConfidence::Majority)),
    );
    println!(
        "abilities         {:>5} measured, {} imputed, {} unknown",
        ability(Some(AbilityBasis::Measured)),
        ability(Some(AbilityBasis::Imputed)),
        ability(None),
    );
    for (what, found, least) in [
        ("chat models", chat.len(), CHAT_MODELS_MIN),
        ("labs", labs.len(), LABS_MIN),
        ("providers", source.providers.len(), PROVIDERS_MIN),
    ] {
        if found < least {
            return Err(format!("{found} {what}, but {least} are wanted").into());
        }
    }
    if stale * 100 > priced * STALE_PERCENT_MAX {
        return Err(format!("{stale} of {priced} prices are stale; run `catalogue update`").into());
    }
    Ok(())
}

/// Prints what a start costs with the catalogue that is built into this program.
pub(super) fn time_start() -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let source = CatalogueSource::builtin()?;
    let read = begun.elapsed();
    let catalogue = source.compile().map_err(|errors| errors[0].clone())?;
    let compiled = begun.elapsed() - read;
    println!(
        "start             {:>5.1} ms to read, {:.1} ms to compile, image of {} KiB, version {}",
        read.as_secs_f64() * 1e3,
        compiled.as_secs_f64() * 1e3,
        catalogue.image().len() / 1024,
        catalogue.version(),
    );
    Ok(())
}

/// How one provider's offers compare with the reference.
#[derive(Default)]
struct Agreement {
    equal: usize,
    differ: usize,
    /// In the reference with a price, here not.
    missing: usize,
    /// Here, in the reference not.
    extra: usize,
}

/// Prints how many offers have the reference's input and output price, by provider; `show` lists
/// those that differ.
pub(super) fn against(
    source: &CatalogueSource,
    file: &Path,
    show: bool,
) -> Result<(), Box<dyn Error>> {
    let reference: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let mut ours: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for offer in source.models.iter().flat_map(|model| &model.offers) {
        if let Some(price) = &offer.price {
            let key = (offer.provider.as_str(), offer.wire_id.as_str());
            ours.insert(key, (price.input, price.output.unwrap_or(0)));
        }
    }
    let mut table: BTreeMap<String, Agreement> = BTreeMap::new();
    let models = reference["models"].as_array();
    let offers = models
        .ok_or("the reference has no `models`")?
        .iter()
        .filter_map(|model| model["offers"].as_array())
        .flatten();
    for offer in offers {
        let (Some(provider), Some(wire_id)) =
            (offer["provider"].as_str(), offer["wire_id"].as_str())
        else {
            continue;
        };
        let price = &offer["price_pusd_per_token"];
        let Some(input) = price["input"].as_u64() else {
            continue;
        };
        let theirs = (input, price["output"].as_u64().unwrap_or(0));
        let row = table.entry(provider.to_string()).or_default();
        match ours.remove(&(provider, wire_id)) {
            None => row.missing += 1,
            Some(price) if price == theirs => row.equal += 1,
            Some(price) => {
                row.differ += 1;
                if show {
                    println!("{provider} {wire_id}: here {price:?}, there {theirs:?}");
                }
            }
        }
    }
    for (provider, _) in ours.into_keys() {
        table.entry(provider.to_string()).or_default().extra += 1;
    }
    println!("{:<24}{:>7}{:>8}{:>9}{:>7}", "provider", "equal", "differ", "missing", "extra");
    let mut total = Agreement::default();
    for (provider, row) in &table {
        print_row(provider, row);
        total.equal += row.equal;
        total.differ += row.differ;
        total.missing += row.missing;
        total.extra += row.extra;
    }
    print_row("all", &total);
    Ok(())
}

fn print_row(name: &str, row: &Agreement) {
    let Agreement { equal, differ, missing, extra } = row;
    println!("{name:<24}{equal:>7}{differ:>8}{missing:>9}{extra:>7}");
}

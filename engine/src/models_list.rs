//! What `GET /v1/models` lists, in the two forms that clients know.
//!
//! In: a snapshot. Out: JSON. Never: a model that cannot be called.

use crate::snapshot::Snapshot;
use models::Dialect;
use models::catalogue::{ModelKind, ModelView, OfferIx};
use serde_json::{Value, json};

/// The body of the list: the aliases, then every model that can be called.
pub fn whole(snapshot: &Snapshot, dialect: Dialect) -> Vec<u8> {
    let mut aliases: Vec<&String> = snapshot.aliases.keys().collect();
    aliases.sort_unstable();
    let callable = snapshot.catalogue.models().filter(|model| {
        OfferIx::each(snapshot.catalogue.offers_of(model.ix()))
            .any(|offer| snapshot.target(offer).is_some())
            // There is nothing that a client of conversations alone could ask it.
            && (dialect != Dialect::AnthropicMessages || model.kind() == ModelKind::Chat)
    });
    let alias_rows = aliases.iter().map(|name| alias(dialect, name));
    let data: Vec<Value> = alias_rows.chain(callable.map(|one| model(dialect, one))).collect();
    let list = match dialect {
        Dialect::AnthropicMessages => json!({
            "first_id": data.first().map(|row| row["id"].clone()),
            "last_id": data.last().map(|row| row["id"].clone()),
            "has_more": false,
            "data": data,
        }),
        _ => json!({"object": "list", "data": data}),
    };
    list.to_string().into_bytes()
}

/// A name that means "choose for me".
pub fn alias(dialect: Dialect, name: &str) -> Value {
    match dialect {
        Dialect::AnthropicMessages => {
            let shown = format!("Pointsman: {name}");
            anthropic_row(name, &shown, None, (None, None), true)
        }
        _ => json!({"id": name, "object": "model", "created": 0, "owned_by": "pointsman"}),
    }
}

/// A model.
pub fn model(dialect: Dialect, model: ModelView<'_>) -> Value {
    let day = model.released();
    match dialect {
        Dialect::AnthropicMessages => {
            let limits = (Some(model.max_input()), Some(model.max_output()));
            let is_current = model.status().is_current();
            anthropic_row(model.id(), model.name(), day, limits, is_current)
        }
        _ => json!({
            "id": model.id(),
            "object": "model",
            "created": unix_day(day),
            "owned_by": model.lab(),
        }),
    }
}

fn anthropic_row(
    id: &str,
    name: &str,
    day: Option<&str>,
    (max_input, max_output): (Option<u32>, Option<u32>),
    is_current: bool,
) -> Value {
    // The form wants a time; the first one stands for an unknown day.
    let day = day.filter(|day| day.parse::<jiff::civil::Date>().is_ok()).unwrap_or("1970-01-01");
    json!({
        "type": "model",
        "id": id,
        "display_name": name,
        "created_at": format!("{day}T00:00:00Z"),
        "lifecycle": if is_current { "active" } else { "deprecated" },
        "deprecated_at": null,
        "retires_at": null,
        "max_input_tokens": max_input,
        "max_tokens": max_output,
    })
}

/// Seconds of Unix time at the start of a day `YYYY-MM-DD`; 0 when unknown.
fn unix_day(day: Option<&str>) -> i64 {
    day.and_then(|day| day.parse::<jiff::civil::Date>().ok())
        .and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map_or(0, |zoned| zoned.timestamp().as_second())
}

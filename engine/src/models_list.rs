//! What `GET /v1/models` lists, in the three forms that clients know.
//!
//! In: a snapshot. Out: JSON. Never: a model that cannot be called.

use crate::snapshot::Snapshot;
use models::Dialect;
use models::catalogue::{ModelKind, ModelView, OfferIx};
use serde_json::{Value, json};

/// The dialects that have a form of their own; the first one's serves all others.
pub const FORMS: [Dialect; 3] =
    [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::GeminiGenerate];

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
        Dialect::GeminiGenerate => json!({"models": data}),
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
        Dialect::GeminiGenerate => gemini_row(name, &format!("Pointsman: {name}"), (None, None)),
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
        Dialect::GeminiGenerate => {
            let limits = (Some(model.max_input()), Some(model.max_output()));
            gemini_row(model.id(), model.name(), limits)
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

fn gemini_row(id: &str, name: &str, (max_input, max_output): (Option<u32>, Option<u32>)) -> Value {
    let mut row = json!({
        "name": format!("models/{id}"),
        "baseModelId": id,
        "version": "1",
        "displayName": name,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    });
    for (member, limit) in [("inputTokenLimit", max_input), ("outputTokenLimit", max_output)] {
        if let Some(limit) = limit {
            row[member] = json!(limit);
        }
    }
    row
}

/// Seconds of Unix time at the start of a day `YYYY-MM-DD`; 0 when unknown.
fn unix_day(day: Option<&str>) -> i64 {
    day.and_then(|day| day.parse::<jiff::civil::Date>().ok())
        .and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map_or(0, |zoned| zoned.timestamp().as_second())
}

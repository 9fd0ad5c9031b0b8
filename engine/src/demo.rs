//! `--demo`: scripted local providers, so that the first minute needs no account. They differ in
//! speed, price and ability, and one fails now and then, so that routing, failover and cost can be
//! seen. Their answers are sentences from a script and say so.

use loadtest::provider::{Config as ProviderConfig, Fault, Handle, Provider, Script};
use models::catalogue::CatalogueSource;
use std::collections::BTreeMap;
use std::io;

/// One scripted provider.
struct Part {
    id: &'static str,
    name: &'static str,
    model: &'static str,
    /// Ability on the catalogue's scale: standard deviations from the mean model.
    ability: f32,
    /// Pico-dollars per token, in and out.
    price: (u64, u64),
    first_ms: u32,
    gap_ms: u32,
    /// Every n-th request fails; 0 for none.
    fails_every: u32,
}

const PARTS: &[Part] = &[
    Part {
        id: "demo-local",
        name: "Branch Line (demo)",
        model: "demo/sprinter-small",
        ability: -1.2,
        price: (50_000, 200_000),
        first_ms: 15,
        gap_ms: 4,
        fails_every: 0,
    },
    Part {
        id: "demo-express",
        name: "Express (demo)",
        model: "demo/intercity-medium",
        ability: 0.6,
        price: (400_000, 1_600_000),
        first_ms: 60,
        gap_ms: 8,
        // Now and then it answers with 503: the next provider takes over, and the client sees only
        // one attempt more in a response header.
        fails_every: 4,
    },
    Part {
        id: "demo-mainline",
        name: "Main Line (demo)",
        model: "demo/freight-large",
        ability: 2.2,
        price: (3_000_000, 15_000_000),
        first_ms: 150,
        gap_ms: 15,
        fails_every: 0,
    },
];

/// Starts the providers. They run until the handles are dropped; the catalogue part makes them known.
pub fn start() -> io::Result<(Vec<Handle>, CatalogueSource)> {
    let mut handles = Vec::new();
    let mut text = String::new();
    for part in PARTS {
        let script = Script {
            demo: true,
            first_ms: part.first_ms,
            gap_ms: part.gap_ms,
            chunk_bytes: 12,
            ..Script::default()
        };
        let script = match part.fails_every {
            0 => script,
            every => Script { fail_every: every, status: 503, fault: None::<Fault>, ..script },
        };
        let models = BTreeMap::from([(part.model.to_owned(), script.clone())]);
        let config = ProviderConfig { script, models, ..ProviderConfig::default() };
        let handle = Provider::start(config)?;
        let (input, output) = part.price;
        text.push_str(&format!(
            r#"
[[provider]]
id = "{id}"
name = "{name}"
base_url = "{url}"
auth = "none"
dialects = ["openai-chat"]

[[model]]
id = "{model}"
name = "{model}"
context = 128000
max_output = 16384
can = ["tools", "parallel_tools", "tool_choice", "json_schema", "vision", "streaming", "system_messages"]
ability = {{ basis = "assumed", overall = {ability:.1} }}
[[model.offers]]
provider = "{id}"
wire_id = "{model}"
price = {{ input = {input}, output = {output}, cache_read = {cached} }}
"#,
            id = part.id,
            name = part.name,
            url = handle.base_url(),
            model = part.model,
            ability = part.ability,
            cached = input / 10,
        ));
        handles.push(handle);
    }
    let source = CatalogueSource::from_toml(&text, "demo").map_err(io::Error::other)?;
    Ok((handles, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_models_are_in_the_catalogue() {
        let (_handles, source) = start().unwrap();
        let catalogue = CatalogueSource::builtin().unwrap().overlay(source).compile().unwrap();
        for part in PARTS {
            let model = catalogue.find_model(part.model).expect(part.model);
            let task = models::Task::Math;
            assert!((catalogue.model(model).ability(task) - part.ability).abs() < 0.01);
        }
    }
}

//! What all cores read and none changes: catalogue, targets, names, keys. Built and checked whole by
//! the control thread, replaced whole; a request keeps the one that it began with.

use crate::config::{Config, Limits, Timeouts};
use crate::tls;
use crate::upstream::{BaseUrl, Origin};
use arc_swap::ArcSwap;
use govern::{KeyHasher, KeyTable};
use models::catalogue::{Auth, Catalogue, MaxTokensField, ModelIx, OfferIx, ProviderView};
use models::{Dialect, Prices};
use route::{Columns, Strategy};
use rustls::ClientConfig;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use wire::dialect::{Codec, Outgoing, UsageRules};

/// One consistent state of everything that routing needs.
pub struct Snapshot {
    /// Counts up with each replacement of the routing part.
    pub generation: u64,
    /// The catalogue.
    pub catalogue: Catalogue,
    /// Its usable offers, as the router reads them.
    pub columns: Arc<Columns>,
    /// By offer: how it is called; `None` for offers that cannot be.
    pub targets: Vec<Option<Target>>,
    /// Names that mean "choose for me", with the strategy that they stand for.
    pub aliases: HashMap<String, Option<Strategy>>,
    /// Strategy of plain `auto`.
    pub strategy: Strategy,
    /// The body of `GET /v1/models`.
    pub models_list: Vec<u8>,
    /// Limits of requests.
    pub limits: Limits,
    /// Limits of waits.
    pub timeouts: Timeouts,
    /// Origins that have to be resolved.
    pub origins: Vec<Arc<Origin>>,
}

/// How one offer is called.
pub struct Target {
    /// Where.
    pub origin: Arc<Origin>,
    /// The request head up to the digits of its `Content-Length`.
    pub head: Arc<[u8]>,
    /// In which dialect.
    pub codec: &'static dyn Codec,
    /// The provider's name for the model, fit to stand in a JSON string.
    pub wire_id: String,
    /// Whether the provider can tell the usage of a stream.
    pub asks_usage: bool,
    /// The provider's name for the output limit.
    pub max_output_field: &'static str,
    /// How its counts are to be read.
    pub usage_rules: UsageRules,
    /// Our name of the model.
    pub model: String,
    /// Our name of the provider.
    pub provider: String,
}

impl Target {
    /// What changes in a request to this target.
    pub fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            model: &self.wire_id,
            asks_usage: self.asks_usage,
            max_output_field: Some(self.max_output_field),
        }
    }
}

/// The keys, which change more often than the rest.
pub struct Keys {
    /// Who may ask.
    pub table: KeyTable,
    /// Turns what a client sends into what is looked up.
    pub hasher: KeyHasher,
}

/// What the client's `model` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// An alias: choose, by this strategy if it says one.
    Auto(Option<Strategy>),
    /// This model.
    Model(ModelIx),
}

impl Snapshot {
    /// The meaning of a model name.
    pub fn named(&self, name: &str) -> Option<Named> {
        match self.aliases.get(name) {
            Some(strategy) => Some(Named::Auto(*strategy)),
            None => self.catalogue.find_model(name).map(Named::Model),
        }
    }

    /// How `offer` is called.
    pub fn target(&self, offer: OfferIx) -> Option<&Target> {
        self.targets.get(offer.0 as usize)?.as_ref()
    }

    /// What `offer` costs for a request that starts at that time.
    pub fn prices(&self, offer: OfferIx, unix_s: u64) -> Prices {
        // The router leaves out offers without a price, so the other arm is never taken by one that
        // was chosen; free would be the wrong guess, and the record would show it.
        self.catalogue.offer(offer).prices_at(unix_s).unwrap_or(Prices::FREE)
    }

    /// How many models can be called.
    pub fn callable_models(&self) -> usize {
        self.catalogue
            .models()
            .filter(|model| {
                OfferIx::each(self.catalogue.offers_of(model.ix()))
                    .any(|offer| self.target(offer).is_some())
            })
            .count()
    }
}

/// Builds snapshots. Remembers the origins, so that connections outlive a replacement.
pub struct Builder {
    tls: Arc<ClientConfig>,
    origins: HashMap<(bool, String, u16), Weak<Origin>>,
    generation: u64,
}

/// What was found about a provider while a snapshot was built, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderState {
    /// In service.
    Enabled,
    /// Its key is not in the environment.
    NoKey {
        /// The variable that would hold it.
        env: String,
    },
    /// Its key has characters that cannot stand in a header.
    BadKey {
        /// The variable that holds it.
        env: String,
    },
    /// Not in service by configuration, or not reachable in a dialect that is spoken here.
    Off,
}

impl Builder {
    /// A builder that trusts what `config` says.
    pub fn new(config: &Config) -> io::Result<Builder> {
        let tls = tls::client_config(&config.upstream.roots)?;
        Ok(Builder { tls, origins: HashMap::new(), generation: 0 })
    }

    /// A snapshot of `catalogue` under `config`. `secret` gives the value of an environment variable.
    /// The second value tells for each provider what became of it.
    pub fn build(
        &mut self,
        config: &Config,
        catalogue: Catalogue,
        secret: impl Fn(&str) -> Option<String>,
    ) -> Result<(Snapshot, Vec<(String, ProviderState)>), String> {
        let mut states = Vec::with_capacity(catalogue.provider_count());
        let mut enabled = Vec::with_capacity(catalogue.provider_count());
        /// Where an endpoint is, and the head of every request to it.
        type Reached = (Arc<Origin>, Arc<[u8]>);
        let mut endpoints: HashMap<(u16, Dialect), Reached> = HashMap::new();
        for provider in catalogue.providers() {
            let key = match key_of(provider, &secret) {
                Ok(key) => key,
                Err(state) => {
                    states.push((provider.id().to_owned(), state));
                    enabled.push(false);
                    continue;
                }
            };
            let mut any = false;
            for endpoint in provider.endpoints() {
                let Some(codec) = wire::dialect::codec(endpoint.dialect()) else { continue };
                if !endpoint.is_ready() {
                    continue;
                }
                let url = BaseUrl::parse(endpoint.base_url()).map_err(|error| {
                    format!(
                        "provider \"{}\": base_url \"{}\": {error}",
                        provider.id(),
                        endpoint.base_url()
                    )
                })?;
                let origin = self.origin(&url)?;
                let head = head_of(&url, codec, endpoint.auth(), key.as_deref(), provider);
                endpoints.insert((provider.ix().0, endpoint.dialect()), (origin, head.into()));
                any = true;
            }
            enabled.push(any);
            let state = if any { ProviderState::Enabled } else { ProviderState::Off };
            states.push((provider.id().to_owned(), state));
        }

        let columns = Arc::new(Columns::build(
            &catalogue,
            |provider| enabled[usize::from(provider.0)],
            |dialect| wire::dialect::codec(dialect).is_some(),
        ));
        let targets = catalogue
            .offers()
            .map(|offer| {
                let dialect = offer
                    .dialects()
                    .find(|&dialect| endpoints.contains_key(&(offer.provider().0, dialect)))?;
                let (origin, head) = endpoints.get(&(offer.provider().0, dialect))?;
                let provider = catalogue.provider(offer.provider());
                Some(Target {
                    origin: Arc::clone(origin),
                    head: Arc::clone(head),
                    codec: wire::dialect::codec(dialect)?,
                    wire_id: json_escaped(offer.wire_id()),
                    asks_usage: offer.quirks().usage_in_stream,
                    max_output_field: match offer.quirks().max_tokens_field {
                        MaxTokensField::MaxTokens => "max_tokens",
                        MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
                    },
                    usage_rules: UsageRules { reasoning_apart: offer.quirks().reasoning_apart },
                    model: catalogue.model(offer.model()).id().to_owned(),
                    provider: provider.id().to_owned(),
                })
            })
            .collect();

        let mut aliases: HashMap<String, Option<Strategy>> = HashMap::new();
        for prefix in ["auto", "claude-auto"] {
            aliases.insert(prefix.to_owned(), None);
            for strategy in Strategy::ALL {
                aliases.insert(format!("{prefix}:{}", strategy.name()), Some(strategy));
            }
        }
        for (alias, strategy) in &config.routing.aliases {
            aliases.insert(alias.clone(), Some(strategy.0));
        }

        self.generation += 1;
        let mut origins: Vec<Arc<Origin>> = Vec::new();
        for (origin, _) in endpoints.into_values() {
            if origin.is_named() && !origins.iter().any(|known| Arc::ptr_eq(known, &origin)) {
                origins.push(origin);
            }
        }
        let mut snapshot = Snapshot {
            generation: self.generation,
            catalogue,
            columns,
            targets,
            aliases,
            strategy: config.routing.strategy.map_or(Strategy::Balanced, |name| name.0),
            models_list: Vec::new(),
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            origins,
        };
        snapshot.models_list = models_list(&snapshot);
        Ok((snapshot, states))
    }

    fn origin(&mut self, url: &BaseUrl) -> Result<Arc<Origin>, String> {
        let key = (url.is_tls, url.host.clone(), url.port);
        if let Some(known) = self.origins.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let origin = Origin::new(url, &self.tls).map_err(|error| error.to_string())?;
        let origin = Arc::new(origin);
        self.origins.insert(key, Arc::downgrade(&origin));
        Ok(origin)
    }
}

/// The key of a provider, or why it is not in service.
fn key_of(
    provider: ProviderView<'_>,
    secret: &impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, ProviderState> {
    if !provider.enabled() {
        return Err(ProviderState::Off);
    }
    let needs_key = provider.endpoints().any(|endpoint| endpoint.auth() != Auth::None);
    let Some(env) = provider.env().filter(|_| needs_key) else { return Ok(None) };
    match secret(env).map(|key| key.trim().to_owned()) {
        Some(key) if key.is_empty() => Err(ProviderState::NoKey { env: env.to_owned() }),
        Some(key) if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(key)),
        Some(_) => Err(ProviderState::BadKey { env: env.to_owned() }),
        None => Err(ProviderState::NoKey { env: env.to_owned() }),
    }
}

/// The head of every request to an endpoint, up to the digits of its `Content-Length`.
fn head_of(
    url: &BaseUrl,
    codec: &dyn Codec,
    auth: Auth,
    key: Option<&str>,
    provider: ProviderView<'_>,
) -> Vec<u8> {
    let path = match codec.dialect() {
        Dialect::OpenAiChat => "/chat/completions",
        Dialect::OpenAiResponses => "/responses",
        Dialect::OpenAiEmbeddings => "/embeddings",
        Dialect::AnthropicMessages => "/v1/messages",
        _ => "",
    };
    let mut head = format!("POST {}{path} HTTP/1.1\r\nHost: {}\r\n", url.path, url.authority());
    if let (Some(key), Some((name, prefix))) = (key, auth.header()) {
        head.push_str(&format!("{name}: {prefix}{key}\r\n"));
    }
    for (name, value) in provider.headers() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(concat!(
        "Content-Type: application/json\r\n",
        "Accept: application/json, text/event-stream\r\n",
        "Accept-Encoding: identity\r\n",
        "User-Agent: pointsman/",
        env!("CARGO_PKG_VERSION"),
        "\r\nContent-Length: "
    ));
    head.into_bytes()
}

fn json_escaped(text: &str) -> String {
    let mut quoted = Vec::new();
    wire::json::write_string(text, &mut quoted);
    String::from_utf8_lossy(&quoted[1..quoted.len() - 1]).into_owned()
}

/// The body of `GET /v1/models`: the aliases, then every model that can be called.
fn models_list(snapshot: &Snapshot) -> Vec<u8> {
    let mut aliases: Vec<&String> = snapshot.aliases.keys().collect();
    aliases.sort_unstable();
    let alias_rows = aliases.iter().map(|alias| model_row(alias, "pointsman", 0));
    let callable = snapshot.catalogue.models().filter(|model| {
        OfferIx::each(snapshot.catalogue.offers_of(model.ix()))
            .any(|offer| snapshot.target(offer).is_some())
    });
    let model_rows =
        callable.map(|model| model_row(model.id(), model.lab(), unix_day(model.released())));
    let data: Vec<_> = alias_rows.chain(model_rows).collect();
    serde_json::json!({"object": "list", "data": data}).to_string().into_bytes()
}

/// One model in OpenAI's form. `created` is in seconds of Unix time.
pub fn model_row(id: &str, owned_by: &str, created: i64) -> serde_json::Value {
    serde_json::json!({"id": id, "object": "model", "created": created, "owned_by": owned_by})
}

/// Seconds of Unix time at the start of a day `YYYY-MM-DD`; 0 when unknown.
pub fn unix_day(day: Option<&str>) -> i64 {
    day.and_then(|day| day.parse::<jiff::civil::Date>().ok())
        .and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map_or(0, |zoned| zoned.timestamp().as_second())
}

/// What the control thread publishes and the cores read.
pub struct Published {
    /// Catalogue, targets, names.
    pub snapshot: ArcSwap<Snapshot>,
    /// Who may ask.
    pub keys: ArcSwap<Keys>,
}

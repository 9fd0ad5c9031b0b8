//! What all cores read and none changes: catalogue, targets, names, keys. Built and checked whole by
//! the control thread, replaced whole; a request keeps the one that it began with.

use crate::config::{Config, Limits, Timeouts};
use crate::credential::google::Account;
use crate::credential::sigv4::Signer;
use crate::credential::{Credential, Token};
use crate::models_list;
use crate::target::{Endpoint, Target};
use crate::tls;
use crate::upstream::{BaseUrl, Origin};
use arc_swap::ArcSwap;
use govern::{KeyHasher, KeyTable};
use models::catalogue::{Auth, Catalogue, ModelIx, ModelKind, OfferIx, ProviderView};
use models::{Dialect, Prices};
use route::{Columns, Strategy};
use rustls::ClientConfig;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};

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
    /// The body of `GET /v1/models` by [`models_list::FORMS`].
    models_lists: [Vec<u8>; models_list::FORMS.len()],
    /// Limits of requests.
    pub limits: Limits,
    /// Limits of waits.
    pub timeouts: Timeouts,
    /// Origins that have to be resolved.
    pub origins: Vec<Arc<Origin>>,
    /// Tokens that have to be renewed.
    pub tokens: Vec<Arc<Token>>,
    /// The TLS settings towards providers.
    pub tls: Arc<ClientConfig>,
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

    /// The body of `GET /v1/models` for a client of that dialect.
    pub fn models_list(&self, dialect: Dialect) -> &[u8] {
        let form = models_list::FORMS.iter().position(|form| *form == dialect);
        &self.models_lists[form.unwrap_or(0)]
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
    /// By the text of the credentials file: a token outlives a reload.
    tokens: HashMap<String, Weak<Token>>,
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
    /// Its credentials file cannot be used.
    BadFile {
        /// The variable that names it.
        env: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not in service by configuration, or not reachable in a dialect that is spoken here.
    Off,
}

impl Builder {
    /// A builder that trusts what `config` says.
    pub fn new(config: &Config) -> io::Result<Builder> {
        let tls = tls::client_config(&config.upstream.roots)?;
        let (origins, tokens) = (HashMap::new(), HashMap::new());
        Ok(Builder { tls, origins, tokens, generation: 0 })
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
        // By provider and dialect: where it is, and what opens it.
        let mut endpoints: HashMap<(u16, Dialect), Endpoint<'_>> = HashMap::new();
        for provider in catalogue.providers() {
            let key = match key_of(provider, &secret) {
                Ok(key) => key,
                Err(state) => {
                    states.push((provider.id().to_owned(), state));
                    enabled.push(false);
                    continue;
                }
            };
            let (mut any, mut refused) = (false, None);
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
                let credential = match self.credential(endpoint.auth(), provider, &url, &secret) {
                    Ok(credential) => credential,
                    Err(state) => {
                        refused = Some(state);
                        continue;
                    }
                };
                let (auth, shown) = (endpoint.auth(), (key.clone(), credential));
                let reached = Endpoint::new(codec, origin, url, auth, shown, provider);
                endpoints.insert((provider.ix().0, endpoint.dialect()), reached);
                any = true;
            }
            enabled.push(any);
            let state = match any {
                true => ProviderState::Enabled,
                false => refused.unwrap_or(ProviderState::Off),
            };
            states.push((provider.id().to_owned(), state));
        }

        let columns = Arc::new(Columns::build(
            &catalogue,
            |provider| enabled[usize::from(provider.0)],
            wire::dialect::cannot,
        ));
        let targets = catalogue
            .offers()
            .map(|offer| {
                let provider = catalogue.provider(offer.provider());
                let model = catalogue.model(offer.model());
                let embeds = model.kind() == ModelKind::Embedding;
                let fitting = offer.dialects().filter(|dialect| dialect.is_embeddings() == embeds);
                let ways = fitting.filter_map(|dialect| {
                    let endpoint = endpoints.get(&(offer.provider().0, dialect))?;
                    Some(endpoint.way(offer.wire_id()))
                });
                Target::new(offer, model, provider, ways.collect())
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
        let mut tokens: Vec<Arc<Token>> = Vec::new();
        for Endpoint { origin, credential, .. } in endpoints.values() {
            if let Credential::Token(token) = credential
                && !tokens.iter().any(|known| Arc::ptr_eq(known, token))
            {
                tokens.push(Arc::clone(token));
            }
            if origin.is_named() && !origins.iter().any(|known| Arc::ptr_eq(known, origin)) {
                origins.push(Arc::clone(origin));
            }
        }
        let mut snapshot = Snapshot {
            generation: self.generation,
            catalogue,
            columns,
            targets,
            aliases,
            strategy: config.routing.strategy.map_or(Strategy::Balanced, |name| name.0),
            models_lists: Default::default(),
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            origins,
            tokens,
            tls: Arc::clone(&self.tls),
        };
        let lists = models_list::FORMS.map(|dialect| models_list::whole(&snapshot, dialect));
        snapshot.models_lists = lists;
        Ok((snapshot, states))
    }

    /// What shows an endpoint of that auth who we are, beside a key.
    fn credential(
        &mut self,
        auth: Auth,
        provider: ProviderView<'_>,
        url: &BaseUrl,
        secret: &impl Fn(&str) -> Option<String>,
    ) -> Result<Credential, ProviderState> {
        let given = |env: &str| {
            let text = secret(env).map(|text| text.trim().to_owned());
            match text.filter(|text| !text.is_empty()) {
                Some(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text),
                Some(_) => Err(ProviderState::BadKey { env: env.to_owned() }),
                None => Err(ProviderState::NoKey { env: env.to_owned() }),
            }
        };
        match auth {
            Auth::AwsSigV4 => {
                let keys = (given("AWS_ACCESS_KEY_ID")?, given("AWS_SECRET_ACCESS_KEY")?);
                let session_token = given("AWS_SESSION_TOKEN").ok();
                let region = match Signer::region_of(&url.host) {
                    Some(region) => region.to_owned(),
                    None => given("AWS_REGION")?,
                };
                let signer = Signer::new(keys, session_token, region, "bedrock", url.authority());
                Ok(Credential::Signed(Arc::new(signer)))
            }
            Auth::GoogleOauth2 => {
                let env = provider.env().unwrap_or("GOOGLE_APPLICATION_CREDENTIALS");
                let path = secret(env).filter(|path| !path.trim().is_empty());
                let path = path.ok_or_else(|| ProviderState::NoKey { env: env.to_owned() })?;
                let bad = |why: String| ProviderState::BadFile { env: env.to_owned(), why };
                let text = std::fs::read_to_string(path.trim())
                    .map_err(|error| bad(format!("cannot be read: {error}")))?;
                if let Some(known) = self.tokens.get(&text).and_then(Weak::upgrade) {
                    return Ok(Credential::Token(known));
                }
                let token = Arc::new(Token::new(Account::read(&text).map_err(bad)?));
                self.tokens.retain(|_, token| token.strong_count() > 0);
                self.tokens.insert(text, Arc::downgrade(&token));
                Ok(Credential::Token(token))
            }
            _ => Ok(Credential::InHead),
        }
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
    let needs_key = provider.endpoints().any(|endpoint| endpoint.auth().header().is_some());
    let Some(env) = provider.env().filter(|_| needs_key) else { return Ok(None) };
    match secret(env).map(|key| key.trim().to_owned()) {
        Some(key) if key.is_empty() => Err(ProviderState::NoKey { env: env.to_owned() }),
        Some(key) if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(key)),
        Some(_) => Err(ProviderState::BadKey { env: env.to_owned() }),
        None => Err(ProviderState::NoKey { env: env.to_owned() }),
    }
}

/// What the control thread publishes and the cores read.
pub struct Published {
    /// Catalogue, targets, names.
    pub snapshot: ArcSwap<Snapshot>,
    /// Who may ask.
    pub keys: ArcSwap<Keys>,
}

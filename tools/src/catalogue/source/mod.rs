//! What the packages say, in one form: a [`Fact`] per provider and wire id.

use std::collections::{BTreeMap, BTreeSet};

use models::catalogue::{PriceListSource, PriceSource, QuirksSource, ServiceTier, TierSource};

pub(super) mod genai_prices;
pub(super) mod langchain;
pub(super) mod litellm;
pub(super) mod pi_ai;

/// What one package says of one wire id at one provider. Absent is unknown.
#[derive(Clone, Debug, Default)]
pub(super) struct Fact {
    /// Base price and tiers.
    pub(super) price: Option<PriceSource>,
    pub(super) tiers: Vec<TierSource>,
    pub(super) services: BTreeMap<ServiceTier, PriceListSource>,
    pub(super) uplift_permille: BTreeMap<String, u32>,
    pub(super) web_search: Option<u64>,
    pub(super) cache_min_tokens: Option<u32>,
    pub(super) quirks: QuirksSource,
    pub(super) context: Option<u32>,
    pub(super) max_output: Option<u32>,
    pub(super) can: BTreeSet<&'static str>,
    pub(super) cannot: BTreeSet<&'static str>,
    pub(super) name: Option<String>,
    pub(super) released: Option<String>,
}

/// A package that has been read.
pub(super) trait Source {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// What it says of a wire id at a provider, both as in our files.
    fn fact(&self, provider: &str, wire_id: &str) -> Option<Fact>;

    /// The provider and wire id of everything in it that chats or embeds, where it lists them.
    fn wire_ids(&self) -> Vec<(String, String)>;
}

impl Fact {
    /// Notes that a capability is there or is not.
    fn capability(&mut self, name: &'static str, known: Option<bool>) {
        match known {
            Some(true) => self.can.insert(name),
            Some(false) => self.cannot.insert(name),
            None => return,
        };
    }
}

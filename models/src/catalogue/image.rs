//! The rows of a compiled catalogue, as they lie in memory.
//!
//! Numbers are as in the source; enums are their discriminants; absent text is empty. Offers of one
//! model are contiguous. Names lead to models through an open-addressing table of positions.

use rkyv::{Archive, Serialize};

use crate::Task;

#[derive(Archive, Serialize, Default)]
pub(super) struct Image {
    /// Ascending by id.
    pub(super) providers: Vec<ProviderRow>,
    /// Ascending by id.
    pub(super) models: Vec<ModelRow>,
    pub(super) offers: Vec<OfferRow>,
    pub(super) names: Vec<NameRow>,
    /// Position in `names` plus one, or 0; the length is a power of two, at least twice that of
    /// `names`, so that every search ends at an empty slot.
    pub(super) slots: Vec<u32>,
}

#[derive(Archive, Serialize)]
pub(super) struct ProviderRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) env: String,
    pub(super) kind: u8,
    pub(super) enabled: bool,
    /// Preferred first.
    pub(super) endpoints: Vec<EndpointRow>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) retention: u8,
    pub(super) training: u8,
    pub(super) controls: Vec<ControlRow>,
}

#[derive(Archive, Serialize)]
pub(super) struct EndpointRow {
    pub(super) dialect: u8,
    pub(super) auth: u8,
    pub(super) enabled: bool,
    pub(super) base_url: String,
}

#[derive(Archive, Serialize)]
pub(super) struct ControlRow {
    pub(super) field: String,
    pub(super) value: String,
    pub(super) effect: u8,
}

#[derive(Archive, Serialize)]
pub(super) struct ModelRow {
    pub(super) id: String,
    pub(super) name: String,
    /// Bytes of `id` before the slash.
    pub(super) lab_len: u32,
    pub(super) kind: u8,
    pub(super) status: u8,
    /// 0 no, 1 yes, 2 unknown.
    pub(super) open_weights: u8,
    pub(super) released: String,
    pub(super) context: u32,
    pub(super) max_input: u32,
    pub(super) max_output: u32,
    pub(super) dimensions: u32,
    pub(super) caps: u32,
    pub(super) efforts: Vec<String>,
    pub(super) default_effort: String,
    /// 0 no, 1 yes, 2 unknown.
    pub(super) reasoning_off: u8,
    pub(super) ability: [f32; Task::COUNT],
    pub(super) ability_overall: f32,
    pub(super) ability_error: f32,
    pub(super) ability_basis: u8,
    pub(super) first_offer: u32,
    pub(super) offer_count: u32,
}

#[derive(Archive, Serialize)]
pub(super) struct OfferRow {
    pub(super) model: u32,
    pub(super) provider: u16,
    pub(super) wire_id: String,
    /// Preferred first.
    pub(super) dialects: Vec<u8>,
    pub(super) status: u8,
    pub(super) context: u32,
    pub(super) max_input: u32,
    pub(super) max_output: u32,
    pub(super) caps: u32,
    pub(super) price: Option<PriceListRow>,
    pub(super) price_confidence: u8,
    pub(super) services: Vec<(u8, PriceListRow)>,
    pub(super) off_peak: Option<OffPeakRow>,
    pub(super) uplift_permille: Vec<(String, u32)>,
    pub(super) web_search: u64,
    pub(super) cache_min_tokens: u32,
    pub(super) cache_ttl_s: u32,
    pub(super) cache_ttl_long_s: u32,
    /// Bits as in `view::Quirks`.
    pub(super) quirks: u32,
    pub(super) thinking: u8,
}

/// Input, output, cache read, cache write 5 min, cache write 1 h, reasoning; pico-dollars.
pub(super) type RatesRow = [u64; 6];

#[derive(Archive, Serialize, Clone)]
pub(super) struct PriceListRow {
    pub(super) base: RatesRow,
    pub(super) tiers: Vec<(u32, RatesRow)>,
}

#[derive(Archive, Serialize)]
pub(super) struct OffPeakRow {
    pub(super) base: RatesRow,
    pub(super) windows: Vec<WindowRow>,
}

#[derive(Archive, Serialize)]
pub(super) struct WindowRow {
    /// Bit 0 is Monday.
    pub(super) weekdays: u8,
    /// Minutes of the day, UTC, end exclusive.
    pub(super) from: u16,
    pub(super) to: u16,
}

#[derive(Archive, Serialize)]
pub(super) struct NameRow {
    pub(super) name: String,
    pub(super) model: u32,
}

impl ArchivedImage {
    /// The position of the model of that name.
    pub(super) fn find_name(&self, name: &str) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash(name) as usize & mask;
        loop {
            let row = &self.names[self.slots[at].to_native().checked_sub(1)? as usize];
            if row.name.as_str() == name {
                return Some(row.model.to_native());
            }
            at = (at + 1) & mask;
        }
    }

    /// What `rkyv` cannot know: that positions are inside their tables, that ranges meet, that the
    /// name table has an empty slot to end at, and that discriminants are known.
    pub(super) fn check_indices(&self) -> Result<(), String> {
        let mut next_offer = 0;
        for model in self.models.iter() {
            if model.first_offer.to_native() != next_offer {
                return Err(format!("offers of {} are not contiguous", model.id));
            }
            next_offer += model.offer_count.to_native();
        }
        if next_offer as usize != self.offers.len() {
            return Err("offers without a model".into());
        }
        for offer in self.offers.iter() {
            let model_ok = (offer.model.to_native() as usize) < self.models.len();
            let provider_ok = usize::from(offer.provider.to_native()) < self.providers.len();
            if !model_ok || !provider_ok {
                return Err(format!("offer {} points outside", offer.wire_id));
            }
        }
        let slots_ok = self.slots.is_empty() && self.names.is_empty()
            || self.slots.len().is_power_of_two() && self.slots.len() > self.names.len();
        let filled = self.slots.iter().filter(|slot| slot.to_native() != 0);
        if !slots_ok || filled.count() != self.names.len() {
            return Err("name table has a wrong size".into());
        }
        let slot_outside = |slot: u32| slot as usize > self.names.len();
        let model_outside = |model: u32| model as usize >= self.models.len();
        if self.slots.iter().any(|slot| slot_outside(slot.to_native()))
            || self.names.iter().any(|name| model_outside(name.model.to_native()))
        {
            return Err("name table points outside".into());
        }
        Ok(())
    }
}

impl Image {
    /// Fills `names` and `slots`. The first to claim a name keeps it.
    pub(super) fn index_names(&mut self, claims: impl IntoIterator<Item = (String, u32)>) {
        let claims: Vec<_> = claims.into_iter().collect();
        let mask = (claims.len() * 2 + 1).next_power_of_two() - 1;
        self.slots = vec![0; mask + 1];
        for (name, model) in claims {
            let mut at = hash(&name) as usize & mask;
            while self.slots[at] != 0 && self.names[self.slots[at] as usize - 1].name != name {
                at = (at + 1) & mask;
            }
            if self.slots[at] == 0 {
                self.names.push(NameRow { name, model });
                self.slots[at] = self.names.len() as u32;
            }
        }
    }
}

/// FNV-1a: names are short and are chosen by whoever runs the gateway, so a keyed hash would buy
/// nothing.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

//! The catalogue as columns: one array per property over the offers that can be used at all.
//!
//! In: one [`OfferRow`] per offer, when a snapshot is built. Out: [`Columns`], immutable, read by
//! every core. Rows keep the catalogue's order: offers of one model together, best first. Never: an
//! offer of a disabled provider; those are only counted, so that a refusal can name them.

use std::ops::Range;

use models::{Capabilities, Prices, Rates, Task, Tokens};

use crate::health::Prior;
use crate::{Exclusion, ModelIx, OfferIx, ProviderIx};

/// What the router needs to know of one offer. Limits are in tokens; `u32::MAX` is no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferRow {
    /// Its position in the catalogue. Rows come in ascending order of it.
    pub offer: OfferIx,
    /// Its model. Rows of one model stand together.
    pub model: ModelIx,
    /// Who serves it.
    pub provider: ProviderIx,
    /// What it can do.
    pub caps: Capabilities,
    /// Input and output together.
    pub context: u32,
    /// The most input.
    pub max_input: u32,
    /// The most output.
    pub max_output: u32,
    /// What it costs; `None` is unknown, which is refused and never taken to be free.
    pub prices: Option<Prices>,
    /// Uplift of the price in permille, 1000 for none.
    pub uplift: u32,
    /// Whether the model thinks unless it is told not to.
    pub thinks: bool,
    /// Ability of the model by task, in standard deviations from the mean of scored models.
    pub ability: [f32; Task::COUNT],
    /// The same over all tasks: for when the task is not sure.
    pub ability_overall: f32,
    /// Whether `auto` may choose it: chat models that are current.
    pub auto: bool,
    /// Latency before anything was measured.
    pub prior: Prior,
    /// Why it cannot be used at all, if so: its provider is off, its dialect is not spoken here.
    pub excluded: Option<Exclusion>,
}

/// An offer that is in the catalogue and cannot be used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Which.
    pub offer: OfferIx,
    /// Of which model.
    pub model: ModelIx,
    /// Why.
    pub why: Exclusion,
}

/// Pseudo-capabilities in the high bits of the capability column: what is no ability of a model but
/// is asked of every candidate, so one comparison checks all.
pub(crate) const PRICED: u32 = 1 << 31;
/// Whether `auto` may choose it.
pub(crate) const AUTO: u32 = 1 << 30;

/// Column of the mean ability over all tasks, after those of the tasks.
pub(crate) const OVERALL: usize = Task::COUNT;

/// The usable offers, one array per property; and their models.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    pub(crate) offer: Vec<OfferIx>,
    pub(crate) provider: Vec<ProviderIx>,
    /// Position in the columns by model.
    pub(crate) slot: Vec<u32>,
    /// [`Capabilities`], [`PRICED`], [`AUTO`].
    pub(crate) caps: Vec<u32>,
    pub(crate) context: Vec<u32>,
    pub(crate) max_input: Vec<u32>,
    pub(crate) max_output: Vec<u32>,
    /// The same as a number to compute with.
    pub(crate) output_cap: Vec<f32>,
    /// Pico-dollars per input token, uplift included, and so on: for estimates.
    pub(crate) base_price: PriceColumns,
    /// 1 for models that think, 0 for others.
    pub(crate) thinks: Vec<f32>,
    /// The exact price list.
    pub(crate) prices: Vec<Prices>,
    pub(crate) uplift: Vec<u32>,
    pub(crate) prior: Vec<Prior>,
    /// The rows with price tiers, a few, and the least threshold among them.
    pub(crate) tiered: Vec<u32>,
    pub(crate) tier_threshold_min: u64,

    /// By model, ascending.
    pub(crate) model: Vec<ModelIx>,
    /// By model: its rows.
    pub(crate) rows: Vec<Range<u32>>,
    /// By task and then overall, by model.
    pub(crate) ability: [Vec<f32>; Task::COUNT + 1],

    left_out: Vec<LeftOut>,
}

/// Prices for estimates, in pico-dollars per token with the uplift. `f32` keeps seven digits, and
/// an expected cost is a guess in its first.
#[derive(Clone, Debug, Default)]
pub(crate) struct PriceColumns {
    pub(crate) input: Vec<f32>,
    pub(crate) output: Vec<f32>,
    pub(crate) reasoning: Vec<f32>,
}

impl PriceColumns {
    fn push(&mut self, prices: &Prices, uplift: u32) {
        let [input, output, reasoning] = estimates(&prices.for_input(Tokens(0)), uplift);
        self.input.push(input);
        self.output.push(output);
        self.reasoning.push(reasoning);
    }

    /// Puts the prices of a request with that much input in place of the base prices.
    pub(crate) fn at_tier(&mut self, columns: &Columns, input: Tokens) {
        self.input.clone_from(&columns.base_price.input);
        self.output.clone_from(&columns.base_price.output);
        self.reasoning.clone_from(&columns.base_price.reasoning);
        for row in columns.tiered.iter().map(|row| *row as usize) {
            let rates = columns.prices[row].for_input(input);
            let [input, output, reasoning] = estimates(&rates, columns.uplift[row]);
            self.input[row] = input;
            self.output[row] = output;
            self.reasoning[row] = reasoning;
        }
    }
}

fn estimates(rates: &Rates, uplift: u32) -> [f32; 3] {
    [rates.input, rates.output, rates.reasoning]
        .map(|price| price.0 as f32 * (uplift as f32 / 1_000.0))
}

impl Columns {
    /// The most offers: what the position of an offer can count, with room to spare.
    pub const OFFERS_MAX: usize = 1 << 20;

    /// Columns of those offers.
    ///
    /// # Panics
    /// When offers do not ascend, the offers of a model do not stand together with the models
    /// ascending, an ability is not finite, or there are more than [`Columns::OFFERS_MAX`]: the
    /// catalogue guarantees it.
    pub fn from_rows(offers: impl IntoIterator<Item = OfferRow>) -> Columns {
        let mut columns = Columns { tier_threshold_min: u64::MAX, ..Columns::default() };
        let mut last: Option<(ModelIx, OfferIx)> = None;
        for offer in offers {
            let here = (offer.model, offer.offer);
            let ascends = last.is_none_or(|last| last.0 <= here.0 && last.1 < here.1);
            assert!(ascends, "offer {:?} stands out of order", offer.offer);
            last = Some(here);
            match offer.excluded {
                Some(why) => {
                    columns.left_out.push(LeftOut { offer: offer.offer, model: offer.model, why })
                }
                None => columns.push(&offer),
            }
        }
        assert!(columns.len() <= Columns::OFFERS_MAX, "too many offers");
        columns
    }

    fn push(&mut self, offer: &OfferRow) {
        let row = self.offer.len() as u32;
        if self.model.last() != Some(&offer.model) {
            self.model.push(offer.model);
            self.rows.push(row..row);
            let abilities = offer.ability.iter().chain([&offer.ability_overall]);
            for (column, ability) in self.ability.iter_mut().zip(abilities) {
                assert!(ability.is_finite(), "ability of {:?}", offer.model);
                column.push(*ability);
            }
        }
        let slot = self.model.len() - 1;
        self.rows[slot].end = row + 1;

        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let flags = flag(offer.prices.is_some(), PRICED) | flag(offer.auto, AUTO);
        let prices = offer.prices.unwrap_or(Prices::FREE);
        if let [lowest, ..] = prices.tiers() {
            self.tiered.push(row);
            self.tier_threshold_min = self.tier_threshold_min.min(lowest.above_input.0);
        }
        self.offer.push(offer.offer);
        self.provider.push(offer.provider);
        self.slot.push(slot as u32);
        self.caps.push(offer.caps.0 & !(PRICED | AUTO) | flags);
        self.context.push(offer.context);
        self.max_input.push(offer.max_input);
        self.max_output.push(offer.max_output);
        self.output_cap.push(offer.max_output as f32);
        self.base_price.push(&prices, offer.uplift);
        self.thinks.push(if offer.thinks { 1.0 } else { 0.0 });
        self.prices.push(prices);
        self.uplift.push(offer.uplift);
        self.prior.push(offer.prior);
    }

    /// Number of usable offers.
    pub fn len(&self) -> usize {
        self.offer.len()
    }

    /// Whether no offer can be used.
    pub fn is_empty(&self) -> bool {
        self.offer.is_empty()
    }

    /// The row of an offer, if it is usable.
    pub fn row_of(&self, offer: OfferIx) -> Option<usize> {
        self.offer.binary_search(&offer).ok()
    }

    /// The offers that can be used, in the catalogue's order.
    pub fn offers(&self) -> &[OfferIx] {
        &self.offer
    }

    /// The offers that cannot, and why.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The rows of a model; none if it has no usable offer.
    pub(crate) fn rows_of(&self, model: ModelIx) -> Range<usize> {
        match self.model.binary_search(&model) {
            Ok(slot) => self.rows[slot].start as usize..self.rows[slot].end as usize,
            Err(_) => 0..0,
        }
    }
}

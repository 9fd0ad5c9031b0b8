//! What tokens cost at one offer. Only data: the file that multiplies is in `govern`.

use crate::{PicoUsd, Tokens};

/// Prices of one token by kind, in pico-dollars. Every field holds a price that can be charged:
/// where a provider has none of its own, the catalogue has filled it in (see
/// [`crate::catalogue::PriceSource`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that was neither read from nor written to the prompt cache.
    pub input: PicoUsd,
    /// Output other than reasoning.
    pub output: PicoUsd,
    /// Input read from the cache.
    pub cache_read: PicoUsd,
    /// Input written to the cache for five minutes, or for the only lifetime there is.
    pub cache_write_5m: PicoUsd,
    /// Input written to the cache for an hour.
    pub cache_write_1h: PicoUsd,
    /// Output spent on reasoning.
    pub reasoning: PicoUsd,
}

impl Rates {
    /// Nothing costs anything.
    pub const FREE: Rates = Rates {
        input: PicoUsd::ZERO,
        output: PicoUsd::ZERO,
        cache_read: PicoUsd::ZERO,
        cache_write_5m: PicoUsd::ZERO,
        cache_write_1h: PicoUsd::ZERO,
        reasoning: PicoUsd::ZERO,
    };
}

/// The rates of a whole request whose total input is *strictly above* a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tier {
    /// The threshold, on all input tokens, cached and written ones included.
    pub above_input: Tokens,
    /// What every token of such a request costs, output too.
    pub rates: Rates,
}

/// The price list of one offer: base rates and tiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    /// The rates of a request below every threshold.
    pub base: Rates,
    tiers: [Tier; Prices::TIERS_MAX],
    tier_count: u8,
}

impl Prices {
    /// The most tiers of one price list. Real ones have up to three.
    pub const TIERS_MAX: usize = 4;

    /// Nothing costs anything.
    pub const FREE: Prices = Prices {
        base: Rates::FREE,
        tiers: [Tier { above_input: Tokens(0), rates: Rates::FREE }; Prices::TIERS_MAX],
        tier_count: 0,
    };

    /// A price list of base rates and tiers, thresholds ascending.
    ///
    /// # Panics
    /// With more than [`Prices::TIERS_MAX`] tiers, or thresholds that do not ascend: the catalogue
    /// has refused such data before.
    pub fn new(base: Rates, tiers: &[Tier]) -> Prices {
        assert!(tiers.len() <= Prices::TIERS_MAX, "too many price tiers");
        assert!(
            tiers.is_sorted_by(|a, b| a.above_input < b.above_input),
            "price tiers must ascend"
        );
        let mut prices = Prices { base, tier_count: tiers.len() as u8, ..Prices::FREE };
        prices.tiers[..tiers.len()].copy_from_slice(tiers);
        prices
    }

    /// The tiers, thresholds ascending.
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers[..usize::from(self.tier_count)]
    }

    /// The rates of a request with that much input in total: one threshold, strictly above it the
    /// whole request takes the tier's rates.
    pub fn for_input(&self, input: Tokens) -> Rates {
        self.tiers()
            .iter()
            .rev()
            .find(|tier| input > tier.above_input)
            .map_or(self.base, |tier| tier.rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_begins_strictly_above_its_threshold() {
        let at = |input| Rates { input: PicoUsd(input), ..Rates::FREE };
        let tier = |above, input| Tier { above_input: Tokens(above), rates: at(input) };
        let prices = Prices::new(at(1), &[tier(1_000, 2), tier(9_000, 3)]);
        for (input, rate) in [(0, 1), (1_000, 1), (1_001, 2), (9_000, 2), (9_001, 3)] {
            assert_eq!(prices.for_input(Tokens(input)), at(rate), "input {input}");
        }
    }
}

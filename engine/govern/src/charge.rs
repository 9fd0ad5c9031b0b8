//! Tokens and prices to money: the one file that multiplies.
//!
//! In: a [`Usage`] in normal form, the [`Prices`] in force when the request began, an uplift in
//! permille. Out: a [`Charge`] in pico-dollars whose parts sum to its total, exactly. Never:
//! floating point, an amount that wrapped, a part of a request at another tier than the rest.
//!
//! The rule, for one request: its total input picks the rates (one threshold, strictly above it
//! every token takes the tier's rate). Each token is priced once, by its kind. The uplift
//! multiplies the sum, which is then divided once and rounded half up.

use models::{PicoUsd, Prices, Rates, Tokens, Usage};

/// The uplift of an offer without one, in permille.
pub const UPLIFT_NONE: u32 = 1_000;

/// What one request costs, by kind of token. The parts sum to [`Charge::total`] exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Input that was neither read from nor written to a cache.
    pub input: PicoUsd,
    /// Input read from the cache.
    pub cached: PicoUsd,
    /// Input written to the cache, for whatever time.
    pub written: PicoUsd,
    /// Output other than reasoning.
    pub output: PicoUsd,
    /// Output spent on reasoning.
    pub reasoning: PicoUsd,
    /// All of it.
    pub total: PicoUsd,
}

impl Charge {
    /// Nothing.
    pub const ZERO: Charge = Charge {
        input: PicoUsd::ZERO,
        cached: PicoUsd::ZERO,
        written: PicoUsd::ZERO,
        output: PicoUsd::ZERO,
        reasoning: PicoUsd::ZERO,
        total: PicoUsd::ZERO,
    };
}

/// Why there is no charge. Both are faults of figures from outside: the caller takes its own count
/// instead, or refuses the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeError {
    /// The usage cannot be true (see [`Usage::is_plausible`]).
    ImplausibleUsage,
    /// The amount does not fit into 64 bits: above 18 million dollars for one request.
    AboveRange,
}

impl std::fmt::Display for ChargeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ChargeError::ImplausibleUsage => {
                "a token count is above its whole or above 10^9; use an own count instead"
            }
            ChargeError::AboveRange => {
                "the charge is above 2^64 pico-dollars; check the offer's prices"
            }
        })
    }
}

impl std::error::Error for ChargeError {}

/// What `usage` costs at `prices`, with an uplift in permille ([`UPLIFT_NONE`] for none).
pub fn charge(usage: &Usage, prices: &Prices, uplift: u32) -> Result<Charge, ChargeError> {
    if !usage.is_plausible() {
        return Err(ChargeError::ImplausibleUsage);
    }
    let rates = prices.for_input(usage.input);
    // `is_plausible` holds that the parts fit into their wholes, so neither difference wraps.
    let fresh = usage.input.0 - usage.cached.0 - usage.written_5m.0 - usage.written_1h.0;
    let visible = usage.output.0 - usage.reasoning.0;

    let mut bill = Bill::new(uplift);
    let input = bill.part(times(fresh, rates.input))?;
    let cached = bill.part(times(usage.cached.0, rates.cache_read))?;
    let written = bill.part(
        times(usage.written_5m.0, rates.cache_write_5m)
            + times(usage.written_1h.0, rates.cache_write_1h),
    )?;
    let output = bill.part(times(visible, rates.output))?;
    let reasoning = bill.part(times(usage.reasoning.0, rates.reasoning))?;
    Ok(Charge { input, cached, written, output, reasoning, total: bill.total()? })
}

/// The most tokens that a request can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// All input, whether it will be cached or not.
    pub input_max: Tokens,
    /// All output, reasoning included.
    pub output_max: Tokens,
}

/// The most that a request within `bounds` can cost: what is held before an attempt. No plausible
/// usage within the bounds is charged more, whatever is cached, written or reasoned, and whichever
/// tier its input falls into. Saturates: a bound that is too high refuses, one that wrapped would
/// let anything through.
pub fn worst_case(bounds: Bounds, prices: &Prices, uplift: u32) -> PicoUsd {
    let tiers = prices.tiers();
    // A tier's input ends where the next one begins; so a cheap tier with little input and a dear
    // one with much are each bounded on their own (and a tier cheaper than the base is no trap).
    let ends = tiers.iter().map(|tier| tier.above_input.0);
    let bands = std::iter::once((0, prices.base))
        .chain(tiers.iter().map(|tier| (tier.above_input.0, tier.rates)))
        .zip(ends.chain([u64::MAX]));
    let most = bands
        .filter(|((above, _), _)| *above == 0 || bounds.input_max.0 > *above)
        .map(|((_, rates), end)| {
            let input = bounds.input_max.0.min(end);
            times(input, dearest_input(&rates))
                .saturating_add(times(bounds.output_max.0, dearest_output(&rates)))
        })
        .max()
        .unwrap_or(0);
    PicoUsd(u64::try_from(uplifted(most, uplift)).unwrap_or(u64::MAX))
}

fn dearest_input(rates: &Rates) -> PicoUsd {
    rates.input.max(rates.cache_read).max(rates.cache_write_5m).max(rates.cache_write_1h)
}

fn dearest_output(rates: &Rates) -> PicoUsd {
    rates.output.max(rates.reasoning)
}

/// Exact: the product of two 64-bit numbers fits into 128 bits, and so does a sum of a few.
fn times(tokens: u64, price: PicoUsd) -> u128 {
    u128::from(tokens) * u128::from(price.0)
}

/// `raw` × uplift ‰, rounded half up.
fn uplifted(raw: u128, uplift: u32) -> u128 {
    raw.saturating_mul(u128::from(uplift)).saturating_add(500) / 1_000
}

/// A running sum that is rounded as a whole: a part is the difference that it makes to the rounded
/// sum. So the parts add up to the total, which rounding each by itself would not give.
struct Bill {
    raw: u128,
    billed: u128,
    uplift: u32,
}

impl Bill {
    fn new(uplift: u32) -> Bill {
        Bill { raw: 0, billed: 0, uplift }
    }

    fn part(&mut self, raw: u128) -> Result<PicoUsd, ChargeError> {
        let before = self.billed;
        self.raw += raw;
        self.billed = uplifted(self.raw, self.uplift);
        pico(self.billed - before)
    }

    fn total(&self) -> Result<PicoUsd, ChargeError> {
        pico(self.billed)
    }
}

fn pico(amount: u128) -> Result<PicoUsd, ChargeError> {
    u64::try_from(amount).map(PicoUsd).map_err(|_| ChargeError::AboveRange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::{Tier, UsageSource};
    use proptest::prelude::*;

    fn rates(parts: [u64; 6]) -> Rates {
        let [input, output, read, write_5m, write_1h, reasoning] = parts.map(PicoUsd);
        Rates {
            input,
            output,
            cache_read: read,
            cache_write_5m: write_5m,
            cache_write_1h: write_1h,
            reasoning,
        }
    }

    fn usage(parts: [u64; 6]) -> Usage {
        let [input, cached, written_5m, written_1h, output, reasoning] = parts.map(Tokens);
        Usage {
            input,
            cached,
            written_5m,
            written_1h,
            output,
            reasoning,
            source: UsageSource::Provider,
        }
    }

    fn amounts(charge: &Charge) -> [u64; 6] {
        [
            charge.input.0,
            charge.cached.0,
            charge.written.0,
            charge.output.0,
            charge.reasoning.0,
            charge.total.0,
        ]
    }

    #[test]
    fn each_token_is_priced_once_by_its_kind() {
        let low = rates([1_000, 8_000, 100, 1_250, 2_000, 9_000]);
        let high = rates([2_000, 12_000, 200, 2_500, 4_000, 12_000]);
        let tiered = Prices::new(low, &[Tier { above_input: Tokens(200_000), rates: high }]);
        // usage: input, cached, written 5m, written 1h, output, reasoning
        // charge: input, cached, written, output, reasoning, total
        let table = [
            ("nothing", 1_000, [0; 6], [0; 6]),
            (
                "all kinds apart",
                1_000,
                [1_000, 400, 100, 50, 300, 100],
                [450_000, 40_000, 225_000, 1_600_000, 900_000, 3_215_000],
            ),
            (
                "at the threshold",
                1_000,
                [200_000, 0, 0, 0, 1, 0],
                [200_000_000, 0, 0, 8_000, 0, 200_008_000],
            ),
            (
                "above it, cached tokens counted, output too",
                1_000,
                [200_001, 200_000, 0, 0, 1, 0],
                [2_000, 40_000_000, 0, 12_000, 0, 40_014_000],
            ),
            (
                "uplift of a tenth",
                1_100,
                [1_000, 0, 0, 0, 10, 0],
                [1_100_000, 0, 0, 88_000, 0, 1_188_000],
            ),
        ];
        for (name, uplift, tokens, expected) in table {
            let charge = charge(&usage(tokens), &tiered, uplift).expect(name);
            assert_eq!(amounts(&charge), expected, "{name}");
        }
    }

    #[test]
    fn the_division_is_done_once_and_rounds_half_up() {
        let one = Prices::new(rates([1, 1, 1, 1, 1, 1]), &[]);
        // raw sum in pico-dollars, uplift, total
        for (tokens, uplift, total) in
            [(4, 1_100, 4), (5, 1_100, 6), (1, 1_499, 1), (1, 1_500, 2), (1, 0, 0)]
        {
            let charge = charge(&usage([tokens, 0, 0, 0, 0, 0]), &one, uplift).expect("in range");
            assert_eq!(charge.total.0, total, "{tokens} at {uplift}");
        }
        // Three parts of 0.5 after the uplift are 1.5 in all, not three times 1.
        let halves = charge(&usage([2, 1, 0, 0, 1, 0]), &one, 500).expect("in range");
        assert_eq!(halves.total.0, 2);
    }

    #[test]
    fn figures_that_cannot_be_true_are_refused() {
        let prices = Prices::new(rates([u64::MAX; 6]), &[]);
        let table = [
            ([10, 11, 0, 0, 0, 0], ChargeError::ImplausibleUsage),
            ([10, 5, 4, 2, 0, 0], ChargeError::ImplausibleUsage),
            ([0, 0, 0, 0, 5, 6], ChargeError::ImplausibleUsage),
            ([1_000_000_001, 0, 0, 0, 0, 0], ChargeError::ImplausibleUsage),
            ([2, 0, 0, 0, 0, 0], ChargeError::AboveRange),
        ];
        for (tokens, expected) in table {
            assert_eq!(charge(&usage(tokens), &prices, UPLIFT_NONE), Err(expected), "{tokens:?}");
        }
    }

    /// Any price list: up to three tiers, prices up to 100 dollars per thousand tokens.
    fn any_prices() -> impl Strategy<Value = Prices> {
        let any_rates = || prop::array::uniform6(0u64..100_000_000_000).prop_map(rates);
        let tiers = prop::collection::btree_map(1u64..2_000_000, any_rates(), 0..4);
        (any_rates(), tiers).prop_map(|(base, tiers)| {
            let tiers: Vec<Tier> = tiers
                .into_iter()
                .map(|(above, rates)| Tier { above_input: Tokens(above), rates })
                .collect();
            Prices::new(base, &tiers)
        })
    }

    /// Any usage that can be true.
    fn any_usage() -> impl Strategy<Value = Usage> {
        let parts = prop::array::uniform4(0u64..1_000_000);
        (parts, 0u64..1_000_000, 0u64..1_000_000).prop_map(|(parts, output, reasoning)| {
            let [fresh, cached, written_5m, written_1h] = parts;
            let input = fresh + cached + written_5m + written_1h;
            let reasoning = reasoning.min(output);
            usage([input, cached, written_5m, written_1h, output, reasoning])
        })
    }

    proptest! {
        #[test]
        fn the_charge_is_exact_and_its_parts_sum(
            usage in any_usage(),
            prices in any_prices(),
            uplift in 0u32..3_000,
        ) {
            // The definition, written out in wide integers and without sharing code.
            let rate = prices
                .tiers()
                .iter()
                .rfind(|tier| tier.above_input < usage.input)
                .map_or(prices.base, |tier| tier.rates);
            let kinds = [
                (usage.input.0 - usage.cached.0 - usage.written_5m.0 - usage.written_1h.0, rate.input),
                (usage.cached.0, rate.cache_read),
                (usage.written_5m.0, rate.cache_write_5m),
                (usage.written_1h.0, rate.cache_write_1h),
                (usage.output.0 - usage.reasoning.0, rate.output),
                (usage.reasoning.0, rate.reasoning),
            ];
            let raw: u128 = kinds
                .iter()
                .map(|(tokens, price)| u128::from(*tokens) * u128::from(price.0))
                .sum();
            let scaled = raw * u128::from(uplift);
            let expected = scaled / 1_000 + u128::from(scaled % 1_000 >= 500);

            match charge(&usage, &prices, uplift) {
                Ok(charge) => {
                    prop_assert_eq!(u128::from(charge.total.0), expected);
                    let [parts @ .., total] = amounts(&charge);
                    prop_assert_eq!(parts.iter().sum::<u64>(), total);
                }
                Err(error) => {
                    prop_assert_eq!(error, ChargeError::AboveRange);
                    prop_assert!(expected > u128::from(u64::MAX));
                }
            }
        }

        #[test]
        fn no_charge_exceeds_the_worst_case(
            usage in any_usage(),
            prices in any_prices(),
            uplift in 0u32..3_000,
            slack in (0u64..1_000, 0u64..1_000),
        ) {
            let bounds = Bounds {
                input_max: Tokens(usage.input.0 + slack.0),
                output_max: Tokens(usage.output.0 + slack.1),
            };
            if let Ok(charge) = charge(&usage, &prices, uplift) {
                prop_assert!(charge.total <= worst_case(bounds, &prices, uplift));
            }
        }
    }

    #[test]
    fn the_worst_case_saturates() {
        let prices = Prices::new(rates([u64::MAX; 6]), &[]);
        let bounds = Bounds { input_max: Tokens(u64::MAX), output_max: Tokens(u64::MAX) };
        assert_eq!(worst_case(bounds, &prices, u32::MAX), PicoUsd(u64::MAX));
    }
}

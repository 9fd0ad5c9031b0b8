//! Units as types, so that a price is never added to a latency.
//!
//! Money is integer pico-dollars (10⁻¹² USD): a price in micro-dollars per million tokens *is*
//! pico-dollars per token, so a charge is one multiplication without rounding.

use std::fmt;

/// A count of model tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tokens(pub u64);

/// Money in pico-dollars, 10⁻¹² USD. `u64` holds up to 18.4 million dollars, which is far above
/// any one request; sums over many requests are kept in wider integers by the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PicoUsd(pub u64);

/// A duration in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u32);

/// A duration in microseconds; `u32` holds 71 minutes, above every deadline that we allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u32);

impl PicoUsd {
    /// Nothing.
    pub const ZERO: PicoUsd = PicoUsd(0);
    /// One dollar.
    pub const ONE_USD: PicoUsd = PicoUsd(1_000_000_000_000);

    /// The sum, or the greatest amount when it would overflow: a bound that is too high refuses
    /// a request, a bound that wraps would let it through for nothing.
    pub fn saturating_add(self, other: PicoUsd) -> PicoUsd {
        PicoUsd(self.0.saturating_add(other.0))
    }
}

/// Dollars with as many decimals as are needed, at least two: `$0.000075`, `$1.50`.
impl fmt::Display for PicoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0 / PicoUsd::ONE_USD.0;
        let fraction = format!("{:012}", self.0 % PicoUsd::ONE_USD.0);
        let digits = fraction.trim_end_matches('0').len().max(2);
        f.pad(&format!("${whole}.{}", &fraction[..digits]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_prints_exactly() {
        assert_eq!(PicoUsd(75_000).to_string(), "$0.000000075");
        assert_eq!(PicoUsd(1_500_000_000_000).to_string(), "$1.50");
        assert_eq!(PicoUsd(0).to_string(), "$0.00");
        assert_eq!(PicoUsd(u64::MAX).to_string(), "$18446744.073709551615");
    }
}

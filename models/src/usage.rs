//! What one attempt used, in one normal form for all providers.

use crate::Tokens;

/// Token counts of one attempt. The parts do not overlap where they are priced apart: `input` is
/// *all* input, of which `cached`, `written_5m` and `written_1h` are subsets; `output` is all
/// output, of which `reasoning` is a subset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens, cached and written ones included.
    pub input: Tokens,
    /// Input read from the provider's prompt cache.
    pub cached: Tokens,
    /// Input written to the cache for five minutes (or the provider's only lifetime).
    pub written_5m: Tokens,
    /// Input written to the cache for an hour.
    pub written_1h: Tokens,
    /// All output tokens, reasoning included.
    pub output: Tokens,
    /// Output spent on reasoning.
    pub reasoning: Tokens,
    /// Who counted.
    pub source: UsageSource,
}

/// Who counted the tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum UsageSource {
    /// The provider's own figures.
    Provider = 0,
    /// Our own count, because the provider's was missing or implausible.
    #[default]
    Estimated = 1,
}

impl Usage {
    /// The most tokens that we believe in one count; above it a figure is a fault.
    pub const TOKENS_MAX: u64 = 1_000_000_000;

    /// Whether the figures can be true: no part above its whole, nothing above
    /// [`Usage::TOKENS_MAX`].
    pub fn is_plausible(&self) -> bool {
        let parts = [self.cached.0, self.written_5m.0, self.written_1h.0];
        let wholes_ok = self.input.0 <= Usage::TOKENS_MAX && self.output.0 <= Usage::TOKENS_MAX;
        let parts_sum = parts.iter().try_fold(0u64, |sum, part| sum.checked_add(*part));
        wholes_ok
            && parts_sum.is_some_and(|sum| sum <= self.input.0)
            && self.reasoning.0 <= self.output.0
    }
}

//! Why an offer does not come into question, and what to say when none does.
//!
//! In: a reason per offer. Out: counts and a sentence that names the remedy. Never: on the hot
//! path; a plan that succeeds does not ask why the others failed.

use std::fmt;

use models::Capabilities;

/// Why an offer is out. The order is that of the checks: the first that fails is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exclusion {
    /// Its provider is switched off or has no credential.
    ProviderDisabled,
    /// Its dialect is not spoken by this version.
    DialectUnsupported,
    /// It is not offered any more.
    Retired,
    /// `auto` does not choose it: it is no chat model, or is not current.
    NotInAuto,
    /// Its price is unknown.
    UnknownPrice,
    /// It lacks these.
    Lacks(Capabilities),
    /// The input, or input and output together, are longer than it takes.
    Context {
        /// Tokens that are needed.
        needed: u32,
        /// Tokens that it takes.
        limit: u32,
    },
    /// The client asks for more output than it gives.
    MaxOutput {
        /// What the client asks for.
        needed: u32,
        /// What it gives.
        limit: u32,
    },
    /// Its health keeps it out until then (microseconds, the clock of `now`).
    Unhealthy {
        /// When it may be tried again.
        until: u64,
    },
}

impl Exclusion {
    /// A short code for logs and the dry run.
    pub fn code(self) -> &'static str {
        match self {
            Exclusion::ProviderDisabled => "provider_disabled",
            Exclusion::DialectUnsupported => "dialect_unsupported",
            Exclusion::Retired => "retired",
            Exclusion::NotInAuto => "not_in_auto",
            Exclusion::UnknownPrice => "unknown_price",
            Exclusion::Lacks(_) => "capability",
            Exclusion::Context { .. } => "context",
            Exclusion::MaxOutput { .. } => "max_output",
            Exclusion::Unhealthy { .. } => "unhealthy",
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exclusion::ProviderDisabled => f.write_str("provider has no credential or is off"),
            Exclusion::DialectUnsupported => f.write_str("protocol is not spoken here"),
            Exclusion::Retired => f.write_str("retired by its provider"),
            Exclusion::NotInAuto => f.write_str("not among the models that auto chooses from"),
            Exclusion::UnknownPrice => f.write_str("price is unknown"),
            Exclusion::Lacks(what) => write!(f, "lacks {what}"),
            Exclusion::Context { needed, limit } => {
                write!(f, "needs {needed} tokens of context, takes {limit}")
            }
            Exclusion::MaxOutput { needed, limit } => {
                write!(f, "asked for {needed} output tokens, gives {limit}")
            }
            Exclusion::Unhealthy { .. } => f.write_str("failing or rate-limited at the moment"),
        }
    }
}

/// No offer can serve the request: how many are out for which reason, and what would have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoCandidate {
    /// Offers looked at: all, or those of the named model.
    pub considered: u32,
    /// Out because their provider is off.
    pub provider_disabled: u32,
    /// Out because their dialect is not spoken.
    pub dialect_unsupported: u32,
    /// Out because they are not offered any more.
    pub retired: u32,
    /// Out because `auto` does not choose them.
    pub not_in_auto: u32,
    /// Out because their price is unknown.
    pub unknown_price: u32,
    /// Out because they lack a capability.
    pub lacking: u32,
    /// What no offer but for that would lack: the smallest set of missing capabilities.
    pub lacks: Capabilities,
    /// Out because the input is too long.
    pub context: u32,
    /// The longest context among those that are out for it.
    pub context_max: u32,
    /// Tokens of context that were needed.
    pub context_needed: u32,
    /// Out because too much output is asked for.
    pub max_output: u32,
    /// The most output among those that are out for it.
    pub max_output_max: u32,
    /// Out because of their health: these could serve it.
    pub unhealthy: u32,
    /// The earliest time at which one of these may be tried (microseconds, the clock of `now`).
    pub retry_at_us: Option<u64>,
}

impl NoCandidate {
    /// Whether waiting helps: there are capable offers, all of them resting.
    pub fn is_temporary(&self) -> bool {
        self.unhealthy > 0
    }

    pub(crate) fn count(&mut self, why: Exclusion) {
        self.considered += 1;
        match why {
            Exclusion::ProviderDisabled => self.provider_disabled += 1,
            Exclusion::DialectUnsupported => self.dialect_unsupported += 1,
            Exclusion::Retired => self.retired += 1,
            Exclusion::NotInAuto => self.not_in_auto += 1,
            Exclusion::UnknownPrice => self.unknown_price += 1,
            Exclusion::Lacks(what) => {
                self.lacking += 1;
                let fewer = what.0.count_ones() < self.lacks.0.count_ones();
                if self.lacks.is_empty() || fewer {
                    self.lacks = what;
                }
            }
            Exclusion::Context { needed, limit } => {
                self.context += 1;
                self.context_max = self.context_max.max(limit);
                self.context_needed = self.context_needed.max(needed);
            }
            Exclusion::MaxOutput { limit, .. } => {
                self.max_output += 1;
                self.max_output_max = self.max_output_max.max(limit);
            }
            Exclusion::Unhealthy { until } => {
                self.unhealthy += 1;
                let earliest = self.retry_at_us.map_or(until, |other| other.min(until));
                self.retry_at_us = Some(earliest);
            }
        }
    }
}

/// The reason nearest to success and its remedy: what passed the most checks tells best what to
/// change.
impl fmt::Display for NoCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unhealthy > 0 {
            write!(
                f,
                "every offer that could serve this is failing or rate-limited; try again later"
            )
        } else if self.max_output > 0 {
            write!(
                f,
                "no model gives that much output; set max_tokens to {} or less",
                self.max_output_max
            )
        } else if self.context > 0 {
            write!(
                f,
                "the input needs {} tokens of context and the largest model that could serve it takes {}; shorten `messages` or enable a provider with a longer context",
                self.context_needed, self.context_max
            )
        } else if self.lacking > 0 {
            write!(
                f,
                "no enabled model can do this: {} is missing; take it out of the request or enable a provider that has it",
                self.lacks
            )
        } else if self.unknown_price > 0 {
            write!(f, "the price of the model is unknown; set it in pointsman.toml")
        } else if self.provider_disabled > 0 {
            write!(
                f,
                "no provider of this is enabled; set its API key in the environment or in pointsman.toml"
            )
        } else if self.dialect_unsupported > 0 {
            write!(
                f,
                "its providers are reached by protocols that this version does not speak; name another model"
            )
        } else if self.retired > 0 && self.not_in_auto == 0 {
            write!(f, "the model is retired; name its successor, or auto")
        } else if self.not_in_auto > 0 {
            write!(f, "no current chat model is enabled; name a model instead of auto")
        } else {
            write!(f, "no offer of this model is known; add one to pointsman.toml")
        }
    }
}

impl std::error::Error for NoCandidate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_names_the_reason_nearest_to_success() {
        let lacks = |what| Exclusion::Lacks(what);
        let both = Capabilities::TOOLS | Capabilities::VISION;
        let context = |limit| Exclusion::Context { needed: 9_000, limit };
        let output = Exclusion::MaxOutput { needed: 9_000, limit: 4_096 };
        let table: [(&[Exclusion], &str); 9] = [
            (&[], "no offer of this model is known"),
            (&[Exclusion::ProviderDisabled], "API key"),
            (&[Exclusion::DialectUnsupported], "protocols"),
            (&[Exclusion::Retired], "is retired"),
            (&[Exclusion::ProviderDisabled, Exclusion::UnknownPrice], "price"),
            (&[lacks(both), lacks(Capabilities::VISION)], "this: vision is missing"),
            (&[context(4_000), lacks(both), context(8_000)], "takes 8000"),
            (&[output, context(8_000)], "4096 or less"),
            (&[Exclusion::Unhealthy { until: 5 }, output], "try again later"),
        ];
        for (reasons, expected) in table {
            let mut refusal = NoCandidate::default();
            reasons.iter().for_each(|why| refusal.count(*why));
            let text = refusal.to_string();
            assert!(text.contains(expected), "{text:?} lacks {expected:?}");
            assert_eq!(refusal.considered as usize, reasons.len());
        }
    }
}

//! What matters in a choice, as weights by name.

use std::fmt;

/// A named set of [`Weights`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Strategy {
    /// The cheapest model that will probably succeed.
    Cost = 0,
    /// The best model; among the nearly best the cheaper one.
    Quality = 1,
    /// The fastest model that will probably succeed.
    Latency = 2,
    /// A good model at a good price, soon.
    #[default]
    Balanced = 3,
}

/// How much a candidate's qualities weigh. The score of a candidate is
///
/// `quality·ln p − cost·ln c − latency·ln t + availability·ln a`
///
/// with p the probability of success, c the expected cost, t the expected latency and a the share
/// of attempts that come through. Logarithms make it free of units and scales: a weight is a rate of
/// exchange between *ratios*: with quality 6 and cost 0.5, a model that succeeds a tenth more often
/// may cost three times as much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Of ln(probability of success).
    pub quality: f32,
    /// Of −ln(expected cost).
    pub cost: f32,
    /// Of −ln(expected latency).
    pub latency: f32,
    /// Of ln(availability).
    pub availability: f32,
    /// The least share of the best candidate's probability of success with which a candidate still
    /// competes. Those below come after all others, best first: they are for when nothing else
    /// answers. So no price is low enough to choose a model that will probably fail.
    pub quality_floor: f32,
}

impl Strategy {
    /// All strategies; `ALL[i] as usize == i`.
    pub const ALL: [Strategy; 4] =
        [Strategy::Cost, Strategy::Quality, Strategy::Latency, Strategy::Balanced];

    /// The name in aliases (`auto:cost`), headers, keys and the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Cost => "cost",
            Strategy::Quality => "quality",
            Strategy::Latency => "latency",
            Strategy::Balanced => "balanced",
        }
    }

    /// The strategy of that name.
    pub fn from_name(name: &str) -> Option<Strategy> {
        Strategy::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    /// The strategy at that position of [`Strategy::ALL`].
    pub fn from_index(index: usize) -> Option<Strategy> {
        Strategy::ALL.get(index).copied()
    }

    /// Its weights. The one table.
    ///
    /// Tried on the recorded outcomes that [`crate::success_probability`] is fitted to (prompts
    /// kept apart, difficulty known with noise, mean costs): of the best single model's quality
    /// `cost` keeps 88 to 95 % for 18 to 98 % less money, `balanced` 95 to 100 % for 4 to 97 %
    /// less, `quality` all of it for up to 74 % less. At the same cost a random mixture of models
    /// does 1 % worse on two of the three sets, and 2 % better on the easiest.
    pub fn weights(self) -> Weights {
        match self {
            // Cost per success (quality equal to cost), above the floor.
            Strategy::Cost => Weights {
                quality: 1.0,
                cost: 1.0,
                latency: 0.05,
                availability: 2.0,
                quality_floor: 0.80,
            },
            // Within 3 % of the best, a price ten times lower is worth 2.3 % of quality.
            Strategy::Quality => Weights {
                quality: 10.0,
                cost: 0.1,
                latency: 0.05,
                availability: 1.0,
                quality_floor: 0.97,
            },
            Strategy::Latency => Weights {
                quality: 1.0,
                cost: 0.1,
                latency: 1.0,
                availability: 2.0,
                quality_floor: 0.80,
            },
            Strategy::Balanced => Weights {
                quality: 6.0,
                cost: 0.5,
                latency: 0.25,
                availability: 2.0,
                quality_floor: 0.80,
            },
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_name_lead_back() {
        for (index, strategy) in Strategy::ALL.into_iter().enumerate() {
            assert_eq!(strategy as usize, index);
            assert_eq!(Strategy::from_index(index), Some(strategy));
            assert_eq!(Strategy::from_name(strategy.name()), Some(strategy));
        }
    }
}

//! How much a model shall think, in the three ways in which dialects say it: a switch, an effort, a
//! budget of tokens. In: what a client said. Out: what a target understands.

/// How much to think, in as many of the three ways to say it as the client used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thinking {
    /// Whether to think at all.
    pub mode: ThinkingMode,
    /// How hard.
    pub effort: Option<Effort>,
    /// The most tokens for it.
    pub budget: Option<u32>,
    /// Whether its words are wanted; `None` is the provider's default.
    pub shown: Option<bool>,
}

impl Thinking {
    /// How hard to think, from whatever was said; `None` when nothing was.
    pub fn level(&self) -> Option<Effort> {
        match (self.mode, self.effort, self.budget) {
            (ThinkingMode::Off, ..) => Some(Effort::None),
            (_, Some(effort), _) => Some(effort),
            (_, None, Some(tokens)) => Some(Effort::of_budget(tokens)),
            (ThinkingMode::Unset, ..) => None,
            // What models do that think as they see fit.
            (_, None, None) => Some(Effort::High),
        }
    }
}

/// Whether to think at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThinkingMode {
    /// Not said.
    #[default]
    Unset,
    /// No.
    Off,
    /// Yes, within [`Thinking::budget`].
    On,
    /// As the model sees fit.
    Adaptive,
    /// Also between calls of tools.
    BetweenTools,
}

/// How hard to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as can be.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// More.
    Xhigh,
    /// As much as can be.
    Max,
}

impl Effort {
    /// All, ascending; `ALL[i] as usize == i`.
    pub const ALL: [Effort; 7] = [
        Effort::None,
        Effort::Minimal,
        Effort::Low,
        Effort::Medium,
        Effort::High,
        Effort::Xhigh,
        Effort::Max,
    ];

    /// The name, which all dialects share.
    pub fn name(self) -> &'static str {
        ["none", "minimal", "low", "medium", "high", "xhigh", "max"][self as usize]
    }

    /// The effort of that name.
    pub fn from_name(name: &str) -> Option<Effort> {
        Effort::ALL.into_iter().find(|effort| effort.name() == name)
    }

    /// Tokens to think with, where a target only knows a budget. A convention of gateways, no
    /// specification.
    pub fn budget(self) -> u32 {
        [0, 1_024, 2_048, 8_192, 16_384, 32_768, 65_536][self as usize]
    }

    /// The effort that is nearest to a budget.
    pub fn of_budget(tokens: u32) -> Effort {
        let known = Effort::ALL.into_iter().rev().find(|effort| effort.budget() <= tokens);
        known.unwrap_or(Effort::None)
    }

    /// The nearest effort of `known`, the weaker of two; itself when nothing is known.
    pub fn among(self, known: Efforts) -> Effort {
        let weaker = Effort::ALL.into_iter().rev().find(|e| *e <= self && known.has(*e));
        let stronger = || Effort::ALL.into_iter().find(|e| *e >= self && known.has(*e));
        weaker.or_else(stronger).unwrap_or(self)
    }
}

/// A set of efforts; empty is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Efforts(u8);

impl Efforts {
    /// Those of the names that are known here.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Efforts {
        let known = names.into_iter().filter_map(Effort::from_name);
        Efforts(known.fold(0, |bits, effort| bits | 1 << effort as u8))
    }

    /// Whether `effort` is among them.
    pub fn has(self, effort: Effort) -> bool {
        self.0 >> effort as u8 & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efforts_and_budgets_lead_to_each_other() {
        for effort in Effort::ALL {
            assert_eq!(Effort::of_budget(effort.budget()), effort);
            assert_eq!(Effort::from_name(effort.name()), Some(effort));
        }
        let known = Efforts::of(["low", "medium", "high"]);
        assert_eq!(Effort::Xhigh.among(known), Effort::High);
        assert_eq!(Effort::None.among(known), Effort::Low);
        assert_eq!(Effort::Max.among(Efforts::default()), Effort::Max);
    }
}

//! Sensitivity: what the model thinks, and what stands there beyond doubt.
//!
//! In: the heads' numbers and the exact findings. Out: both as one; a finding only ever raises a number.

use crate::detect::Findings;
use crate::labels::Kind;

/// How sure a finding is: forms with a check digit or an issuer's prefix are rarely anything else.
const FOUND: f32 = 0.97;

/// How sensitive a text is, and in which ways; 0..1 each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sensitive {
    pub(crate) sensitivity: f32,
    /// In the order of [`Kind::ALL`].
    pub(crate) kinds: [f32; Kind::COUNT],
}

/// `by_model`, raised by what was found.
pub(crate) fn with_findings(by_model: Sensitive, found: &Findings) -> Sensitive {
    let mut out = by_model;
    let mut raise = |kind: Kind, when: bool| {
        if when {
            let at = &mut out.kinds[kind as usize];
            *at = at.max(FOUND);
            out.sensitivity = out.sensitivity.max(FOUND);
        }
    };
    raise(Kind::Secrets, found.has_secret());
    raise(Kind::Personal, found.has_checked_number());
    raise(Kind::Finance, found.cards > 0 || found.ibans > 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_raises_and_never_lowers() {
        let sure = Sensitive { sensitivity: 0.99, kinds: [0.99; Kind::COUNT] };
        let unsure = Sensitive { sensitivity: 0.1, kinds: [0.1; Kind::COUNT] };
        let card = Findings { cards: 1, ..Findings::default() };
        assert_eq!(with_findings(sure, &card), sure);
        assert_eq!(with_findings(unsure, &Findings::default()), unsure);
        let raised = with_findings(unsure, &card);
        assert_eq!(raised.sensitivity, FOUND);
        assert_eq!(raised.kinds, [FOUND, 0.1, 0.1, 0.1, FOUND, 0.1]);
    }
}

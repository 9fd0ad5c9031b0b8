//! What a request asks of the router.

use models::{Capabilities, Verdict};

use crate::{ModelIx, Strategy, Weights};

/// Whom the client named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nobody: the router chooses among all models.
    Auto,
    /// This model, at whichever offer.
    Model(ModelIx),
}

/// One request, as far as routing needs to know it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask {
    /// Whom the client named.
    pub target: Target,
    /// What matters, by name.
    pub strategy: Strategy,
    /// Weights of the operator's own in place of the strategy's.
    pub weights: Option<Weights>,
    /// What the classifier made of it; its numbers are in range (see [`Verdict::sane`]).
    pub verdict: Verdict,
    /// What the request cannot do without.
    pub needs: Capabilities,
    /// Input tokens, as estimated.
    pub input_tokens: u32,
    /// The client's limit on output tokens.
    pub max_output: Option<u32>,
    /// Whether the answer is streamed: then the time to its first token counts most.
    pub stream: bool,
}

impl Ask {
    /// A request of which nothing is known but its target and its size.
    pub fn new(target: Target, input_tokens: u32) -> Ask {
        Ask {
            target,
            strategy: Strategy::Balanced,
            weights: None,
            verdict: Verdict::UNKNOWN,
            needs: Capabilities::NONE,
            input_tokens,
            max_output: None,
            stream: false,
        }
    }
}

//! What the classifier says about a request, and all that the router knows about its text.
//!
//! In: nothing; this is the value that passes between the two. Difficulty, sensitivity and
//! confidence are 0..1, the expected length is in tokens. Never: the text itself, or anything from
//! which it could be read.

use crate::Task;

/// A judgement of one request. Its fields are plain numbers so that it is `Copy`, fits in a
/// journal record, and can be given by hand in a dry run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// What is asked for.
    pub task: Task,
    /// How hard it is, 0..1: the share of a broad set of models that is expected to fail.
    pub difficulty: f32,
    /// How likely it is that the text is confidential or personal, 0..1.
    pub sensitivity: f32,
    /// Expected length of the visible answer in tokens, reasoning apart.
    pub output_tokens: f32,
    /// How sure the classifier is of the task, 0..1.
    pub confidence: f32,
}

impl Verdict {
    /// The most output tokens that a verdict may expect; a larger figure is a fault of the model
    /// that said so.
    pub const OUTPUT_TOKENS_MAX: f32 = 131_072.0;

    /// What is assumed of a request of which nothing is known: a question of middle difficulty with
    /// an answer of a page, believed by nobody.
    pub const UNKNOWN: Verdict = Verdict {
        task: Task::GeneralChat,
        difficulty: 0.5,
        sensitivity: 0.0,
        output_tokens: 400.0,
        confidence: 0.0,
    };

    /// The verdict with every number inside its range, and a number that is not one (a model can
    /// answer NaN) replaced by that of [`Verdict::UNKNOWN`]. Whoever takes a verdict from a model
    /// or from a client's dry run calls this once; readers rely on it.
    pub fn sane(self) -> Verdict {
        let unknown = Verdict::UNKNOWN;
        Verdict {
            task: self.task,
            difficulty: within(self.difficulty, 0.0, 1.0, unknown.difficulty),
            sensitivity: within(self.sensitivity, 0.0, 1.0, unknown.sensitivity),
            output_tokens: within(
                self.output_tokens,
                1.0,
                Verdict::OUTPUT_TOKENS_MAX,
                unknown.output_tokens,
            ),
            confidence: within(self.confidence, 0.0, 1.0, unknown.confidence),
        }
    }
}

impl Default for Verdict {
    fn default() -> Verdict {
        Verdict::UNKNOWN
    }
}

fn within(value: f32, least: f32, most: f32, otherwise: f32) -> f32 {
    if value.is_nan() { otherwise } else { value.clamp(least, most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sane_verdicts_stay_in_range() {
        let wild = Verdict {
            task: Task::Math,
            difficulty: f32::NAN,
            sensitivity: -3.0,
            output_tokens: f32::INFINITY,
            confidence: 1.5,
        };
        let expected = Verdict {
            task: Task::Math,
            difficulty: 0.5,
            sensitivity: 0.0,
            output_tokens: Verdict::OUTPUT_TOKENS_MAX,
            confidence: 1.0,
        };
        assert_eq!(wild.sane(), expected);
        assert_eq!(expected.sane(), expected);
    }
}

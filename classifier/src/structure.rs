//! What the form of a request says about its task, before any word is read.
//!
//! In: counts that the parser has anyway. Out: a task where the form is certain, else a shift of the
//! probabilities that text gave. Never: reads text.

use models::Task;

/// The form of a request. All zero is a plain question of one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    /// Tools or functions are declared.
    pub has_tools: bool,
    /// Tool results after the last user turn: the request is a step of a running loop.
    pub tool_results: u32,
    /// Images in the last user turn.
    pub images: u32,
    /// Audio, video or file parts in the last user turn.
    pub audio: u32,
    /// The answer must follow a JSON schema.
    pub json_schema: bool,
    /// Messages of user and assistant.
    pub turns: u32,
    /// Bytes of the system prompt.
    pub system_chars: u32,
    /// Bytes of all text in the request.
    pub total_chars: u32,
}

/// Bytes from which a conversation is long: it needs a model that keeps its thread.
const LONG_CONTEXT_CHARS: u32 = 40_000;

impl Structure {
    /// The task, where the form leaves no doubt.
    pub fn certain(&self) -> Option<Task> {
        if self.tool_results > 0 {
            Some(Task::AgentToolUse)
        } else if self.images > 0 || self.audio > 0 {
            Some(Task::Multimodal)
        } else {
            None
        }
    }

    /// Weighs the probabilities by the form and makes them sum to 1 again: declared tools make an
    /// action three times as likely, a schema extraction and classification.
    pub(crate) fn shift(&self, probs: &mut [f32; Task::COUNT]) {
        if !self.has_tools && !self.json_schema {
            return;
        }
        if self.has_tools {
            probs[Task::AgentToolUse.index()] *= 3.0;
        }
        if self.json_schema {
            probs[Task::Extraction.index()] *= 3.0;
            probs[Task::Classification.index()] *= 2.0;
        }
        let sum: f32 = probs.iter().sum();
        for prob in probs {
            *prob /= sum;
        }
    }

    /// Difficulty that the form adds to that of the text.
    pub(crate) fn harder(&self, difficulty: f32) -> f32 {
        let long = if self.total_chars > LONG_CONTEXT_CHARS { 0.1 } else { 0.0 };
        let least = if self.tool_results > 0 { 0.4 } else { 0.0 };
        (difficulty + long).max(least).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_decides_where_it_is_certain() {
        let plain = Structure::default();
        for (structure, task) in [
            (plain, None),
            (Structure { has_tools: true, ..plain }, None),
            (Structure { tool_results: 1, images: 1, ..plain }, Some(Task::AgentToolUse)),
            (Structure { images: 2, ..plain }, Some(Task::Multimodal)),
            (Structure { audio: 1, ..plain }, Some(Task::Multimodal)),
        ] {
            assert_eq!(structure.certain(), task, "{structure:?}");
        }
    }

    #[test]
    fn a_shift_keeps_a_distribution() {
        let mut probs = [1.0 / Task::COUNT as f32; Task::COUNT];
        let structure = Structure { has_tools: true, json_schema: true, ..Structure::default() };
        structure.shift(&mut probs);
        assert!((probs.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(probs[Task::AgentToolUse.index()] > probs[Task::OpenQa.index()]);
    }
}

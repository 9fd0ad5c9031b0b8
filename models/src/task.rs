//! The kinds of work that prompts ask for. The classifier names one, the router weighs models by
//! it, the ledger keeps it.

use std::fmt;

/// What a prompt asks for. The order is part of the data format (columns of abilities, classifier
/// heads, the journal): new tasks go to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Task {
    /// Greetings, small talk, feelings, role play without a deliverable.
    GeneralChat,
    /// A question, explanation, how-to or advice from world knowledge.
    OpenQa,
    /// A question about a passage, document or transcript that is given.
    ClosedQa,
    /// Shorten a given text.
    Summarization,
    /// Write new code, scripts, configuration, regular expressions.
    CodeGeneration,
    /// Fix, explain, review, refactor, test or port given code.
    CodeEditDebug,
    /// Questions about a table, log figures, SQL for a data question, charts.
    DataAnalysis,
    /// Calculate, solve, prove.
    Math,
    /// Puzzles, deduction, analysis of arguments, constraints.
    LogicalReasoning,
    /// Into another language.
    Translation,
    /// Stories, poems, speeches, posts, letters.
    CreativeWriting,
    /// Rephrase, correct, change the tone of a given text.
    Rewriting,
    /// Choose a label for a given text.
    Classification,
    /// Pull fields, entities or JSON out of a given text.
    Extraction,
    /// A request that needs actions or tools.
    AgentToolUse,
    /// Many ideas, names, options.
    Brainstorming,
    /// About an image, audio, video or chart, attached or to be made.
    Multimodal,
}

impl Task {
    /// Number of tasks.
    pub const COUNT: usize = 17;

    /// All tasks, in the order of the data format: `ALL[i].index() == i`.
    pub const ALL: [Task; Task::COUNT] = [
        Task::GeneralChat,
        Task::OpenQa,
        Task::ClosedQa,
        Task::Summarization,
        Task::CodeGeneration,
        Task::CodeEditDebug,
        Task::DataAnalysis,
        Task::Math,
        Task::LogicalReasoning,
        Task::Translation,
        Task::CreativeWriting,
        Task::Rewriting,
        Task::Classification,
        Task::Extraction,
        Task::AgentToolUse,
        Task::Brainstorming,
        Task::Multimodal,
    ];

    /// Position in [`Task::ALL`], in every table with a column per task, and in the journal.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in files, headers and metrics: `code_generation`.
    pub fn name(self) -> &'static str {
        match self {
            Task::GeneralChat => "general_chat",
            Task::OpenQa => "open_qa",
            Task::ClosedQa => "closed_qa",
            Task::Summarization => "summarization",
            Task::CodeGeneration => "code_generation",
            Task::CodeEditDebug => "code_edit_debug",
            Task::DataAnalysis => "data_analysis",
            Task::Math => "math",
            Task::LogicalReasoning => "logical_reasoning",
            Task::Translation => "translation",
            Task::CreativeWriting => "creative_writing",
            Task::Rewriting => "rewriting",
            Task::Classification => "classification",
            Task::Extraction => "extraction",
            Task::AgentToolUse => "agent_tool_use",
            Task::Brainstorming => "brainstorming",
            Task::Multimodal => "multimodal",
        }
    }

    /// The task of that name.
    pub fn from_name(name: &str) -> Option<Task> {
        Task::ALL.into_iter().find(|task| task.name() == name)
    }

    /// The task at that position of [`Task::ALL`].
    pub fn from_index(index: usize) -> Option<Task> {
        Task::ALL.get(index).copied()
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_name_lead_back() {
        for (index, task) in Task::ALL.into_iter().enumerate() {
            assert_eq!(task.index(), index);
            assert_eq!(Task::from_index(index), Some(task));
            assert_eq!(Task::from_name(task.name()), Some(task));
        }
        assert_eq!(Task::from_index(Task::COUNT), None);
    }
}

//! What part a request plays in a client's work: a person's turn, or one of the client's own.
//!
//! In: the form of a request, and how its system texts and its last user turn begin. Out: a
//! [`TurnType`], by the exact strings that clients are known to write. A title or a probe needs no
//! strong model, and none of them moves a session's choice. Never: a guess from what a person wrote: a
//! mark stands where the client puts it, at the beginning of a text.

use crate::Structure;

/// Most tokens that a probe of a key or a quota asks for.
const PROBE_TOKENS_MAX: u32 = 1;
/// Longest prompt of a probe, in bytes: one word, such as `quota`. One token asked of a longer prompt
/// is an answer that somebody wants.
const PROBE_BYTES_MAX: usize = 16;
/// Bytes after its beginning in which the second half of a mark is looked for.
const MARK_BYTES: usize = 1200;

/// What part a request plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TurnType {
    /// A turn of the conversation itself.
    Main,
    /// A step of a running loop of tools.
    ToolResult,
    /// A title, tags or suggestions, shown beside the conversation.
    Title,
    /// A summary that takes the place of a long history.
    Compaction,
    /// The work of an agent that another agent started.
    SubAgent,
    /// A test whether a key, a quota or a model is good.
    Probe,
}

impl TurnType {
    /// All.
    pub const ALL: [TurnType; 6] = [
        TurnType::Main,
        TurnType::ToolResult,
        TurnType::Title,
        TurnType::Compaction,
        TurnType::SubAgent,
        TurnType::Probe,
    ];

    /// The name in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            TurnType::Main => "main",
            TurnType::ToolResult => "tool_result",
            TurnType::Title => "title",
            TurnType::Compaction => "compaction",
            TurnType::SubAgent => "sub_agent",
            TurnType::Probe => "probe",
        }
    }
}

/// What is looked at of a request; of each text, its beginning is enough.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn<'a> {
    /// The form of the request.
    pub structure: Structure,
    /// The texts of the system prompt, in their order.
    pub system: &'a [&'a str],
    /// The text of the last user turn.
    pub last_user: &'a str,
    /// Most tokens that the answer may have, where the client says so.
    pub max_output: Option<u32>,
    /// The header `x-openai-subagent`, by which Codex says that an agent of its own asks.
    pub agent_header: Option<&'a str>,
}

/// A text begins with the first string and, where there is a second, has that not far behind.
struct Mark(TurnType, &'static str, Option<&'static str>);

/// How system texts begin.
#[rustfmt::skip]
const SYSTEM_MARKS: [Mark; 12] = [
    // Claude Code.
    Mark(TurnType::Title, "Analyze if this message indicates a new conversation topic", None),
    Mark(TurnType::Title, "Summarize this coding conversation in under 50 characters", None),
    Mark(TurnType::Title, "Generate a concise, sentence-case title", None),
    Mark(TurnType::Compaction, "You are a helpful AI assistant tasked with summarizing conversations", None),
    Mark(TurnType::SubAgent, "You are an agent for Claude Code", None),
    Mark(TurnType::SubAgent, "You are a file search specialist for Claude Code", None),
    Mark(TurnType::SubAgent, "You are a software architect and planning specialist for Claude Code", None),
    Mark(TurnType::SubAgent, "You are the Claude guide agent", None),
    Mark(TurnType::SubAgent, "x-anthropic-billing-header:", Some("cc_is_subagent=true")),
    // OpenCode.
    Mark(TurnType::Title, "You are a title generator. You output ONLY a thread title", None),
    Mark(TurnType::Compaction, "Summarize what was done in this conversation", None),
    // Codex.
    Mark(TurnType::Compaction, "You are performing a CONTEXT CHECKPOINT COMPACTION", None),
];

/// How the last user turn begins.
#[rustfmt::skip]
const USER_MARKS: [Mark; 10] = [
    // Claude Code.
    Mark(TurnType::Title, "Please write a 5-10 word title", None),
    Mark(TurnType::Title, "Generate a concise, sentence-case title", None),
    Mark(TurnType::Title, "[SUGGESTION MODE:", None),
    Mark(TurnType::Compaction, "Your task is to create a detailed summary of", Some("conversation")),
    Mark(TurnType::Compaction, "CRITICAL: Respond with TEXT ONLY", Some("Your task is to create a detailed summary of")),
    // Codex.
    Mark(TurnType::Compaction, "You are performing a CONTEXT CHECKPOINT COMPACTION", None),
    // Open WebUI.
    Mark(TurnType::Title, "### Task:", Some("Generate a concise, 3-5 word title")),
    Mark(TurnType::Title, "### Task:", Some("Generate 1-3 broad tags")),
    Mark(TurnType::Title, "### Task:", Some("Suggest 3-5 relevant follow-up")),
    // OpenCode.
    Mark(TurnType::Title, "Generate a title for this conversation:", None),
];

/// Whole user turns of a client that tries whether it is let in.
const PROBE_TEXTS: [&str; 2] = ["quota", "Warmup"];

/// What part a request plays. Costs a comparison per mark.
pub fn turn_type(turn: &Turn<'_>) -> TurnType {
    let said = turn.last_user.trim();
    let one_token = turn.max_output.is_some_and(|most| most <= PROBE_TOKENS_MAX);
    let opens = turn.structure.turns <= 1;
    if opens && (one_token && said.len() <= PROBE_BYTES_MAX || PROBE_TEXTS.contains(&said)) {
        return TurnType::Probe;
    }
    let by_user = || USER_MARKS.iter().find(|mark| mark.begins(turn.last_user));
    let by_system = || {
        let marks = |text: &&str| SYSTEM_MARKS.iter().find(|mark| mark.begins(text));
        turn.system.iter().find_map(marks)
    };
    if let Some(mark) = by_user().or_else(by_system) {
        return mark.0;
    }
    match turn.agent_header {
        Some("compact") => TurnType::Compaction,
        Some(agent) if !matches!(agent, "" | "0" | "false") => TurnType::SubAgent,
        _ if turn.structure.tool_results > 0 => TurnType::ToolResult,
        _ => TurnType::Main,
    }
}

impl Mark {
    fn begins(&self, text: &str) -> bool {
        let Some(rest) = text.trim_start().strip_prefix(self.1) else { return false };
        let near = &rest[..rest.floor_char_boundary(MARK_BYTES)];
        self.2.is_none_or(|second| near.contains(second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_known_by_what_they_write() {
        let plain = Turn::default();
        let one = Structure { turns: 1, ..Structure::default() };
        let later = Structure { turns: 9, ..Structure::default() };
        let looped = Structure { tool_results: 2, ..later };
        const CLAUDE: &str = "You are Claude Code, Anthropic's official CLI for Claude.";
        for (turn, expected) in [
            (Turn { last_user: "Why is the sky blue?", ..plain }, TurnType::Main),
            (Turn { structure: looped, system: &[CLAUDE], ..plain }, TurnType::ToolResult),
            (
                Turn { last_user: "quota", max_output: Some(1), structure: one, ..plain },
                TurnType::Probe,
            ),
            (Turn { last_user: "hi", max_output: Some(1), ..plain }, TurnType::Probe),
            (Turn { last_user: "Warmup", structure: one, ..plain }, TurnType::Probe),
            (Turn { last_user: "hi", max_output: Some(64), ..plain }, TurnType::Main),
            (
                Turn {
                    last_user: "Is this comment toxic? Answer 1 or 0: you fool",
                    max_output: Some(1),
                    ..plain
                },
                TurnType::Main,
            ),
            (Turn { last_user: "quota", structure: later, ..plain }, TurnType::Main),
            (
                Turn {
                    system: &[
                        "Analyze if this message indicates a new conversation topic. If it does, …",
                    ],
                    ..plain
                },
                TurnType::Title,
            ),
            (
                Turn {
                    system: &[CLAUDE, "Generate a concise, sentence-case title (3-7 words)"],
                    ..plain
                },
                TurnType::Title,
            ),
            (
                Turn {
                    last_user: "Please write a 5-10 word title the following conversation:\n\nUser: hello",
                    ..plain
                },
                TurnType::Title,
            ),
            (
                Turn {
                    last_user: "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.",
                    ..plain
                },
                TurnType::Title,
            ),
            (Turn { last_user: "### Task:\nWrite a parser for dates", ..plain }, TurnType::Main),
            (
                Turn { last_user: "give me a title for my novel, 5-10 words", ..plain },
                TurnType::Main,
            ),
            (
                Turn {
                    system: &[
                        "You are a helpful AI assistant tasked with summarizing conversations.",
                    ],
                    ..plain
                },
                TurnType::Compaction,
            ),
            (
                Turn {
                    last_user: "Your task is to create a detailed summary of the conversation so far, paying close attention",
                    structure: later,
                    ..plain
                },
                TurnType::Compaction,
            ),
            (
                Turn {
                    last_user: "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.\n\nYour task is to create a detailed summary of the conversation so far",
                    structure: looped,
                    ..plain
                },
                TurnType::Compaction,
            ),
            (
                Turn {
                    last_user: "You are performing a CONTEXT CHECKPOINT COMPACTION. Create a handoff summary",
                    ..plain
                },
                TurnType::Compaction,
            ),
            (Turn { agent_header: Some("compact"), ..plain }, TurnType::Compaction),
            (Turn { agent_header: Some("review"), ..plain }, TurnType::SubAgent),
            (Turn { agent_header: Some("false"), ..plain }, TurnType::Main),
            (
                Turn {
                    system: &[CLAUDE, "You are an agent for Claude Code, Anthropic's official CLI"],
                    structure: looped,
                    ..plain
                },
                TurnType::SubAgent,
            ),
            (
                Turn {
                    system: &[
                        "x-anthropic-billing-header: cc_version=2.1; cc_is_subagent=true;",
                        CLAUDE,
                    ],
                    ..plain
                },
                TurnType::SubAgent,
            ),
            (
                Turn {
                    system: &[
                        "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli;",
                        CLAUDE,
                    ],
                    ..plain
                },
                TurnType::Main,
            ),
            (
                Turn {
                    last_user: "what does \"Your task is to create a detailed summary of the conversation\" do?",
                    ..plain
                },
                TurnType::Main,
            ),
        ] {
            assert_eq!(turn_type(&turn), expected, "{turn:?}");
        }
    }

    #[test]
    fn names_differ() {
        let mut names = TurnType::ALL.map(TurnType::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

//! What a model can do, as a set: a request needs some, an offer has some.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of capabilities, one bit each. Unknown in the data counts as absent: a request that needs
/// tools goes to a model of which tools are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Nothing.
    pub const NONE: Capabilities = Capabilities(0);
    /// Calls functions.
    pub const TOOLS: Capabilities = Capabilities(1 << 0);
    /// Calls several functions in one turn.
    pub const PARALLEL_TOOLS: Capabilities = Capabilities(1 << 1);
    /// Obeys `tool_choice`.
    pub const TOOL_CHOICE: Capabilities = Capabilities(1 << 2);
    /// Answers to a JSON schema.
    pub const JSON_SCHEMA: Capabilities = Capabilities(1 << 3);
    /// Reads images.
    pub const VISION: Capabilities = Capabilities(1 << 4);
    /// Reads audio.
    pub const AUDIO_IN: Capabilities = Capabilities(1 << 5);
    /// Speaks.
    pub const AUDIO_OUT: Capabilities = Capabilities(1 << 6);
    /// Reads video.
    pub const VIDEO_IN: Capabilities = Capabilities(1 << 7);
    /// Reads PDF files.
    pub const PDF_IN: Capabilities = Capabilities(1 << 8);
    /// Thinks before it answers.
    pub const REASONING: Capabilities = Capabilities(1 << 9);
    /// Gives cached input a price of its own.
    pub const PROMPT_CACHING: Capabilities = Capabilities(1 << 10);
    /// Takes system messages.
    pub const SYSTEM_MESSAGES: Capabilities = Capabilities(1 << 11);
    /// Searches the web by itself.
    pub const WEB_SEARCH: Capabilities = Capabilities(1 << 12);
    /// Continues an assistant turn that the client began.
    pub const ASSISTANT_PREFILL: Capabilities = Capabilities(1 << 13);
    /// Takes `temperature` and its kin.
    pub const SAMPLING_PARAMS: Capabilities = Capabilities(1 << 14);
    /// Operates a screen.
    pub const COMPUTER_USE: Capabilities = Capabilities(1 << 15);
    /// Streams its answer.
    pub const STREAMING: Capabilities = Capabilities(1 << 16);

    /// Gives several alternative answers at once: a matter of the dialect that an offer is reached in.
    pub const ALTERNATIVES: Capabilities = Capabilities(1 << 17);

    /// Takes token ids in place of text: a matter of the dialect, too.
    pub const TOKEN_INPUT: Capabilities = Capabilities(1 << 18);

    /// Every capability with its name in data files and messages.
    pub const NAMED: [(&'static str, Capabilities); 19] = [
        ("tools", Capabilities::TOOLS),
        ("parallel_tools", Capabilities::PARALLEL_TOOLS),
        ("tool_choice", Capabilities::TOOL_CHOICE),
        ("json_schema", Capabilities::JSON_SCHEMA),
        ("vision", Capabilities::VISION),
        ("audio_in", Capabilities::AUDIO_IN),
        ("audio_out", Capabilities::AUDIO_OUT),
        ("video_in", Capabilities::VIDEO_IN),
        ("pdf_in", Capabilities::PDF_IN),
        ("reasoning", Capabilities::REASONING),
        ("prompt_caching", Capabilities::PROMPT_CACHING),
        ("system_messages", Capabilities::SYSTEM_MESSAGES),
        ("web_search", Capabilities::WEB_SEARCH),
        ("assistant_prefill", Capabilities::ASSISTANT_PREFILL),
        ("sampling_params", Capabilities::SAMPLING_PARAMS),
        ("computer_use", Capabilities::COMPUTER_USE),
        ("streaming", Capabilities::STREAMING),
        ("alternatives", Capabilities::ALTERNATIVES),
        ("token_input", Capabilities::TOKEN_INPUT),
    ];

    /// Whether all of `needed` are here.
    pub fn covers(self, needed: Capabilities) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// Those of `self` that `other` lacks.
    pub fn without(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 & !other.0)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The capability of that name.
    pub fn from_name(name: &str) -> Option<Capabilities> {
        Capabilities::NAMED.iter().find(|(known, _)| *known == name).map(|(_, set)| *set)
    }

    /// The names in the set, in the order of [`Capabilities::NAMED`].
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Capabilities::NAMED.iter().filter(move |(_, set)| self.covers(*set)).map(|(name, _)| *name)
    }
}

impl BitOr for Capabilities {
    type Output = Capabilities;
    fn bitor(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }
}

impl BitOrAssign for Capabilities {
    fn bitor_assign(&mut self, other: Capabilities) {
        self.0 |= other.0;
    }
}

/// The names, joined by `, `.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.names().enumerate() {
            f.write_str(if position == 0 { "" } else { ", " })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_cover_and_name() {
        let has = Capabilities::TOOLS | Capabilities::VISION;
        assert!(has.covers(Capabilities::TOOLS));
        assert!(!has.covers(Capabilities::TOOLS | Capabilities::JSON_SCHEMA));
        assert_eq!(has.to_string(), "tools, vision");
        for (name, set) in Capabilities::NAMED {
            assert_eq!(Capabilities::from_name(name), Some(set));
        }
    }
}

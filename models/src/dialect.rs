//! Protocols that providers speak, as names. The code for each is in `wire`; here they only tell
//! which provider and which offer can be reached in which.

use std::fmt;

/// A protocol between a client and a model provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Dialect {
    /// OpenAI chat completions, `POST {base}/chat/completions`.
    OpenAiChat = 0,
    /// OpenAI responses, `POST {base}/responses`.
    OpenAiResponses = 1,
    /// OpenAI embeddings, `POST {base}/embeddings`.
    OpenAiEmbeddings = 2,
    /// Anthropic messages, `POST {base}/v1/messages`.
    AnthropicMessages = 3,
    /// Gemini, `POST {base}/models/{model}:generateContent`.
    GeminiGenerate = 4,
    /// Amazon Bedrock, `POST {base}/model/{model}/converse`.
    BedrockConverse = 5,
    /// Cohere, `POST {base}/chat`.
    CohereV2 = 6,
    /// Gemini embeddings, `POST {base}/models/{model}:batchEmbedContents`.
    GeminiEmbed = 7,
}

impl Dialect {
    /// Number of dialects.
    pub const COUNT: usize = 8;

    /// All dialects; `ALL[i] as usize == i`.
    pub const ALL: [Dialect; Dialect::COUNT] = [
        Dialect::OpenAiChat,
        Dialect::OpenAiResponses,
        Dialect::OpenAiEmbeddings,
        Dialect::AnthropicMessages,
        Dialect::GeminiGenerate,
        Dialect::BedrockConverse,
        Dialect::CohereV2,
        Dialect::GeminiEmbed,
    ];

    /// The name in data files, logs and the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::OpenAiChat => "openai-chat",
            Dialect::OpenAiResponses => "openai-responses",
            Dialect::OpenAiEmbeddings => "openai-embeddings",
            Dialect::AnthropicMessages => "anthropic-messages",
            Dialect::GeminiGenerate => "gemini-generate",
            Dialect::BedrockConverse => "bedrock-converse",
            Dialect::CohereV2 => "cohere-v2",
            Dialect::GeminiEmbed => "gemini-embed",
        }
    }

    /// The dialect of that name.
    pub fn from_name(name: &str) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// The dialect at that position of [`Dialect::ALL`].
    pub fn from_index(index: usize) -> Option<Dialect> {
        Dialect::ALL.get(index).copied()
    }

    /// Whether it carries vectors instead of text.
    pub fn is_embeddings(self) -> bool {
        matches!(self, Dialect::OpenAiEmbeddings | Dialect::GeminiEmbed)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_name_lead_back() {
        for (index, dialect) in Dialect::ALL.into_iter().enumerate() {
            assert_eq!(dialect as usize, index);
            assert_eq!(Dialect::from_index(index), Some(dialect));
            assert_eq!(Dialect::from_name(dialect.name()), Some(dialect));
        }
    }
}

//! The dialects, one file each. A dialect is code: how a request, an answer, a stream and a refusal
//! look on the wire. A provider is data and says which dialects it speaks.
//!
//! A [`Codec`] passes what client and provider say in the same dialect, byte for byte but for patches. A
//! [`Chat`] translates through the neutral form of [`crate::chat`] when they speak different ones, an
//! [`Embed`] through that of [`crate::embed`].
//!
//! To add one: a file beside [`openai_chat`] and a line in [`CODECS`], and in [`CHATS`] when it holds
//! conversations, in [`EMBEDS`] when it holds vectors.

pub mod anthropic_messages;
pub mod gemini_embed;
pub mod gemini_generate;
pub mod openai_chat;
pub mod openai_embeddings;
pub mod openai_responses;

use crate::chat::Chat;
use crate::embed::Embed;
use crate::refusal::Refusal;
use crate::request::Parsed;
use models::{Capabilities, Dialect, Usage};
use std::borrow::Cow;

/// One dialect, both ways. No state: what a stream has to remember stands in the caller.
pub trait Codec: Sync {
    /// Which one it is.
    fn dialect(&self) -> Dialect;

    /// The path of a request behind a provider's base URL. `model` is the provider's name for it, as
    /// it stands in the catalogue. Some dialects have a second path: for streams, or for one input
    /// that stands in no list.
    fn path(&self, model: &str, second: bool) -> Cow<'static, str>;

    /// The path behind a provider's base URL at which it counts the tokens of a conversation, in dialects
    /// that have one whose body is that of a conversation.
    fn count_path(&self) -> Option<&'static str> {
        None
    }

    /// Reads what a provider says at [`Codec::count_path`]: how many tokens.
    fn read_count(&self, body: &[u8]) -> Option<u64> {
        let _ = body;
        None
    }

    /// Reads a client's request body.
    fn read_request(&self, body: &[u8]) -> Result<Parsed, Refusal>;

    /// Appends `body` as the provider gets it, changed only where `outgoing` says so. Returns the
    /// offset in `body` from which on the rest is unchanged and still has to follow.
    fn patch_request(
        &self,
        parsed: &Parsed,
        body: &[u8],
        outgoing: &Outgoing<'_>,
        out: &mut Vec<u8>,
    ) -> usize;

    /// Length of the body after [`Codec::patch_request`], all of it.
    fn patched_len(&self, parsed: &Parsed, body: &[u8], outgoing: &Outgoing<'_>) -> usize;

    /// Reads a provider's whole answer with a good status.
    fn read_answer(&self, body: &[u8], rules: UsageRules) -> Result<Answer, AnswerFault>;

    /// Reads the data of one event of a provider's stream. `seen` is the count that earlier events
    /// gave: some dialects tell it in pieces.
    fn read_event(&self, data: &[u8], rules: UsageRules, seen: Option<&Usage>) -> Event;

    /// What a provider's error says beyond its status.
    fn read_error(&self, body: &[u8]) -> ErrorFacts {
        let _ = body;
        ErrorFacts::default()
    }

    /// The status of a refusal in this dialect.
    fn refusal_status(&self, refusal: &Refusal) -> u16 {
        refusal.status
    }

    /// Appends a refusal as the body of a response to the request of that id.
    fn write_refusal(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>);

    /// Appends a refusal as the last event of a stream that has begun.
    fn write_stream_error(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>);

    /// The event that ends a complete stream, supplied when a provider leaves it out.
    fn end_mark(&self) -> &'static [u8];

    /// What is sent to a client while its provider is silent, so that nobody in between gives up: a
    /// comment, where the dialect has nothing better. As a whole HTTP chunk, if `chunked`.
    fn keep_alive(&self, chunked: bool) -> &'static [u8] {
        if chunked { b"e\r\n: keep-alive\n\n\r\n" } else { b": keep-alive\n\n" }
    }
}

/// The dialects that are spoken with clients and providers.
pub static CODECS: &[&dyn Codec] = &[
    &openai_chat::OpenAiChat,
    &openai_responses::OpenAiResponses,
    &anthropic_messages::AnthropicMessages,
    &openai_embeddings::OpenAiEmbeddings,
    &gemini_embed::GeminiEmbed,
    &gemini_generate::GeminiGenerate,
];

/// The code of that dialect, when it is one of [`CODECS`].
pub fn codec(dialect: Dialect) -> Option<&'static dyn Codec> {
    CODECS.iter().copied().find(|codec| codec.dialect() == dialect)
}

/// The dialects that can be translated from and to.
pub static CHATS: &[&dyn Chat] = &[
    &openai_chat::OpenAiChat,
    &openai_responses::OpenAiResponses,
    &anthropic_messages::AnthropicMessages,
    &gemini_generate::GeminiGenerate,
];

/// The translator of that dialect, when it is one of [`CHATS`].
pub fn chat(dialect: Dialect) -> Option<&'static dyn Chat> {
    CHATS.iter().copied().find(|chat| chat.dialect() == dialect)
}

/// The dialects of embeddings that can be translated from and to.
pub static EMBEDS: &[&dyn Embed] =
    &[&openai_embeddings::OpenAiEmbeddings, &gemini_embed::GeminiEmbed];

/// The translator of that dialect, when it is one of [`EMBEDS`].
pub fn embed(dialect: Dialect) -> Option<&'static dyn Embed> {
    EMBEDS.iter().copied().find(|embed| embed.dialect() == dialect)
}

/// What nobody can ask a provider for in that dialect; `None` when it is not spoken here.
pub fn cannot(dialect: Dialect) -> Option<Capabilities> {
    let of_embed = || embed(dialect).map(|embed| embed.cannot());
    chat(dialect).map(|chat| chat.cannot()).or_else(of_embed)
}

/// What changes in a request on its way to one provider.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The provider's name for the model, as it stands between the quotes of a JSON string.
    pub model: &'a str,
    /// Whether the provider can tell the usage at the end of a stream.
    pub asks_usage: bool,
    /// The provider's name for the output limit, when it takes only one of the two.
    pub max_output_field: Option<&'a str>,
    /// The most output tokens of the model, for dialects in which every request states a limit.
    pub max_output: u32,
}

/// Where a provider's counts differ from the dialect's own rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageRules {
    /// Reasoning tokens are not part of the output count and have to be added.
    pub reasoning_apart: bool,
}

/// What is to be known of a whole answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The provider's count; `None` when it is missing or cannot be true.
    pub usage: Option<Usage>,
    /// Bytes of generated text and tool arguments, for an own count.
    pub content_bytes: u32,
}

/// Why an answer with a good status is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// No JSON of the dialect's form.
    Malformed,
    /// An error object.
    Error,
}

/// What a provider's error says beyond its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorFacts {
    /// When to come back, in seconds.
    pub retry_after_s: Option<u32>,
    /// Whether it concerns our own key, whatever the status says.
    pub is_credential: bool,
}

/// One event of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is for the client.
    pub kind: EventKind,
    /// The provider's count, when the event carries a sound one.
    pub usage: Option<Usage>,
    /// Whether it says why the model stopped.
    pub finish: bool,
    /// Bytes of generated text and tool arguments, for an own count.
    pub content_bytes: u32,
}

/// What an event of a stream is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Opens the answer and holds nothing of it yet.
    Preamble,
    /// Holds generated content, or the reason why there is no more.
    Content,
    /// Holds the usage and nothing else; hidden from a client who did not ask.
    Usage,
    /// The provider's error object.
    Error,
    /// The end mark.
    End,
    /// Not of the dialect: skipped.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunked::{Decoder, Step};

    #[test]
    fn keep_alives_are_whole_chunks_of_one_event() {
        for codec in CODECS {
            let chunk = codec.keep_alive(true);
            let mut at = 0;
            let Ok(Step::Data { start, end }) = Decoder::default().step(chunk, &mut at) else {
                panic!("{}: no chunk", codec.dialect());
            };
            assert_eq!(&chunk[start..end], codec.keep_alive(false), "{}", codec.dialect());
            assert!(chunk.ends_with(b"\n\n\r\n") && end + 2 == chunk.len());
        }
    }
}

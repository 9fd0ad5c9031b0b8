//! What every dialect's request comes down to for us: the few facts by which we admit, classify,
//! route and account. The rest of the body stays bytes.

use crate::json::{self, Patch, Span};
use arrayvec::ArrayVec;
use models::{Capabilities, Dialect};
use std::borrow::Cow;

/// Most pieces of the last user turn that are looked at; later ones are passed on unread.
pub const TURN_PIECES_MAX: usize = 16;

/// A string in the body, as it stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The bytes between the quotes.
    pub span: Span,
    /// Whether a backslash is among them.
    pub escaped: bool,
}

impl Text {
    /// The text that is meant.
    pub fn read<'b>(&self, body: &'b [u8]) -> Cow<'b, str> {
        json::RawStr { bytes: self.span.of(body), span: self.span, escaped: self.escaped }.text()
    }
}

impl From<json::RawStr<'_>> for Text {
    fn from(raw: json::RawStr<'_>) -> Text {
        Text { span: raw.span, escaped: raw.escaped }
    }
}

/// A member of the body's outermost object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The key, between its quotes.
    pub key: Span,
    /// The value.
    pub value: Span,
}

/// How the request is built: features for the classifier, and needs for the router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Messages of all roles.
    pub messages: u32,
    /// Messages of the user.
    pub user_turns: u32,
    /// Images anywhere in the messages.
    pub images: u32,
    /// Audio pieces.
    pub audio: u32,
    /// Files.
    pub files: u32,
    /// Images in the last user message.
    pub turn_images: u32,
    /// Audio and files in the last user message.
    pub turn_media: u32,
    /// Tools that the model may call.
    pub tools: u32,
    /// Results of earlier tool calls.
    pub tool_results: u32,
    /// Whether the last message is the result of a tool call: the middle of an agent's loop.
    pub ends_with_tool_result: bool,
    /// Whether the answer has to follow a JSON schema.
    pub json_schema: bool,
    /// Whether the answer has to be JSON of any shape.
    pub json_object: bool,
    /// Bytes of text in all messages, as they stand in the body.
    pub text_bytes: u32,
    /// Bytes of the tool definitions.
    pub tools_bytes: u32,
    /// Bytes of text in system and developer messages.
    pub system_bytes: u32,
    /// What becomes a vector each; none in a conversation.
    pub inputs: u32,
    /// Whether there is one that does not stand in a list.
    pub alone: bool,
    /// Token ids that were given in place of text.
    pub token_ids: u32,
    /// Those of the longest input.
    pub token_ids_longest: u32,
}

/// A request body that was read and found sound: the proof that later stages ask for.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// In which dialect it was written.
    pub dialect: Dialect,
    /// The model that the client names, or an alias.
    pub model: Text,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether the client wants the usage in the stream.
    pub usage_in_stream: bool,
    /// `stream_options` as it stands, for the patch that asks for usage.
    pub stream_options: Option<Member>,
    /// `include_usage` inside of it.
    pub include_usage: Option<Span>,
    /// The most output tokens that the client allows.
    pub max_output: Option<u32>,
    /// Where that stands; the newer of two spellings when both do.
    pub max_output_member: Option<Member>,
    /// How many alternative answers are asked for, at least 1.
    pub alternatives: u32,
    /// What a model must be able to do.
    pub needs: Capabilities,
    /// How the request is built.
    pub shape: Shape,
    /// The first piece of the first system or developer message.
    pub system: Option<Text>,
    /// The pieces of the last user message.
    pub last_user: ArrayVec<Text, TURN_PIECES_MAX>,
    /// Offset behind the brace that opens the body.
    pub inside: u32,
    /// What goes to no provider as it came: state of other providers that a client gave back, and what
    /// policy decides for all of them. Mostly none.
    pub cuts: Vec<Patch<'static>>,
}

impl Parsed {
    /// Whether it goes to the second of a dialect's two paths (see [`crate::dialect::Codec::path`]).
    pub fn takes_second_path(&self) -> bool {
        self.stream || self.shape.alone
    }

    /// What is known of a request for embeddings. Its `shape` holds the inputs.
    pub fn of_inputs(dialect: Dialect, model: Text, shape: Shape, inside: u32) -> Parsed {
        let needs = match shape.token_ids {
            0 => Capabilities::NONE,
            _ => Capabilities::TOKEN_INPUT,
        };
        Parsed {
            dialect,
            model,
            stream: false,
            usage_in_stream: false,
            stream_options: None,
            include_usage: None,
            max_output: None,
            max_output_member: None,
            alternatives: 1,
            needs,
            shape,
            system: None,
            last_user: ArrayVec::new(),
            inside,
            cuts: Vec::new(),
        }
    }

    /// What an image counts in tokens when nothing better is known: between the 765 tokens that
    /// OpenAI and the 1,600 that Anthropic state for a full-size image.
    pub const IMAGE_TOKENS: u32 = 1_000;

    /// Gives `use_all` the patches together with [`Parsed::cuts`], in the order of their places.
    pub fn with_cuts<R>(
        &self,
        patches: &[Patch<'_>],
        use_all: impl FnOnce(&[Patch<'_>]) -> R,
    ) -> R {
        if self.cuts.is_empty() {
            return use_all(patches);
        }
        let mut all: Vec<Patch<'_>> = patches.iter().chain(&self.cuts).copied().collect();
        all.sort_by_key(|patch| patch.span.start);
        use_all(&all)
    }

    /// Estimate of the input in tokens: four bytes of text a token (English prose in all common
    /// tokenizers; three-byte scripts come to 0.75 tokens a character, near what they measure), four
    /// tokens of framing a message, and [`Parsed::IMAGE_TOKENS`] an image.
    pub fn input_tokens(&self) -> u32 {
        let shape = &self.shape;
        if shape.inputs > 0 {
            return shape.token_ids.saturating_add(shape.text_bytes.div_ceil(4));
        }
        let text = (shape.text_bytes / 4).saturating_add(shape.tools_bytes / 4);
        let pieces = shape.images.saturating_add(shape.audio).saturating_add(shape.files);
        text.saturating_add(shape.messages.saturating_mul(4))
            .saturating_add(pieces.saturating_mul(Parsed::IMAGE_TOKENS))
            .saturating_add(3)
    }
}

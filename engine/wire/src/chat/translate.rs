//! What a dialect has to do to be translated from and to: six steps through the neutral form.
//!
//! ```text
//! client's body ── neutral_request ──▶ Request ── provider_request ──▶ provider's body
//! client's answer ◀── client_answer ── Answer ◀── neutral_answer ── provider's answer
//! client's events ◀── StreamWriter ── Event ◀── StreamReader ── provider's events
//! ```
//!
//! In and out: bytes and the types of [`super`]. Never: a look at the other side's dialect.

use super::{Answer, Dropped, Efforts, Event, Issuer, Request};
use crate::dialect::{AnswerFault, Codec, UsageRules};
use crate::refusal::Refusal;
use models::Capabilities;
use models::catalogue::Quirks;

/// A chat dialect that can be translated. No state: a stream's stands in its reader and writer.
pub trait Chat: Codec {
    /// Reads a client's request. Strict where it matters: a wrong type or a block that nobody knows
    /// is refused with the path of its field. Members of the outermost object that nobody knows are
    /// named in [`Request::unmapped`].
    ///
    /// The body has been read by [`crate::dialect::Codec::read_request`] before: it is whole JSON, and
    /// what that acts upon stands in it once.
    fn neutral_request<'b>(&self, body: &'b [u8]) -> Result<Request<'b>, Refusal>;

    /// Appends the request as `target` gets it. Tells what was left out because the target has no
    /// place for it; refuses what must not be left out, so that another target is tried.
    fn provider_request(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Dropped, Refusal>;

    /// Reads a provider's whole answer with a good status.
    fn neutral_answer<'b>(
        &self,
        body: &'b [u8],
        rules: &ReadRules,
    ) -> Result<Answer<'b>, AnswerFault>;

    /// Appends an answer as the client gets it.
    fn client_answer(
        &self,
        answer: &Answer<'_>,
        request: &Request<'_>,
        shown: &Shown<'_>,
        out: &mut Vec<u8>,
    );

    /// A reader for one stream of a provider.
    fn stream_reader(&self, rules: &ReadRules) -> Box<dyn StreamReader>;

    /// A writer for one stream to a client.
    fn stream_writer(&self, request: &Request<'_>, shown: &Shown<'_>) -> Box<dyn StreamWriter>;

    /// What some request may ask for and this dialect has no way to say, so that no provider is
    /// asked in it: taken from what its offers can do before the routing.
    fn cannot(&self) -> Capabilities {
        Capabilities::NONE
    }
}

/// Reads a provider's stream.
pub trait StreamReader {
    /// Reads one event: its name and its data. Hands over what it means, with the index of the
    /// alternative that it belongs to. An event that nobody knows means nothing; one that should be
    /// known and cannot be read is [`Event::Error`].
    fn read(&mut self, name: &[u8], data: &[u8], sink: &mut dyn FnMut(u32, Event<'_>));
}

/// Writes a client's stream.
pub trait StreamWriter {
    /// Appends the bytes of whole events that `event` of the alternative `choice` becomes, which may
    /// be none. What a dialect can only say later is kept, within [`KEPT_BYTES_MAX`].
    fn write(&mut self, choice: u32, event: &Event<'_>, out: &mut Vec<u8>);

    /// Appends a refusal as the last event of a stream that has begun, where that depends on what
    /// has been said before; `false` when the dialect's own form will do
    /// ([`crate::dialect::Codec::write_stream_error`]).
    fn write_error(&mut self, refusal: &Refusal, out: &mut Vec<u8>) -> bool {
        let _ = (refusal, out);
        false
    }
}

/// Most bytes that a [`StreamWriter`] keeps of what it can only say later; what is beyond is left out,
/// as state that cannot be carried is.
pub const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// What a writer has to know of the offer that a request goes to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The provider's name for the model, as it stands between the quotes of a JSON string.
    pub model: &'t str,
    /// Whose state may go there.
    pub issuer: Issuer,
    /// Where it departs from its dialect.
    pub quirks: Quirks,
    /// What it can do.
    pub caps: Capabilities,
    /// The most output tokens.
    pub max_output: u32,
    /// The efforts that it knows.
    pub efforts: Efforts,
}

/// What a reader has to know of the offer that an answer comes from.
#[derive(Clone, Copy, Debug)]
pub struct ReadRules {
    /// How its counts are to be read.
    pub usage: UsageRules,
    /// Who issues the state in it.
    pub issuer: Issuer,
}

/// What a client is shown beside the answer itself.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'s> {
    /// Id of the request, 32 hexadecimal digits: the answer's id after the dialect's prefix.
    pub id: &'s str,
    /// The model that served.
    pub model: &'s str,
    /// When the request came, in seconds of Unix time.
    pub created_s: u64,
    /// An estimate of the input in tokens, for dialects that tell it before the provider does.
    pub input_tokens: u32,
}

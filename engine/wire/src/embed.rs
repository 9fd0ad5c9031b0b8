//! Embeddings in a form that belongs to no dialect, for clients and providers that speak different
//! ones: inputs that become vectors, in order.
//!
//! In: what a dialect has read. Out: what another writes. Numbers travel as the text that they came
//! in, so that none is rounded on the way. Never: a vector of another model than the one that was
//! named; that is for the router to keep.

use crate::chat::{Dropped, Shown, Str};
use crate::dialect::{AnswerFault, Codec};
use crate::json::{Cursor, JsonError};
use crate::refusal::Refusal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use models::{Capabilities, Usage};
use std::io::Write;

/// What is to be embedded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request<'b> {
    /// The inputs: one vector each, in this order.
    pub inputs: Vec<Input<'b>>,
    /// How long the vectors are to be, where a model can shorten them.
    pub dimensions: Option<u32>,
    /// In which form the client wants the vectors.
    pub format: Format,
    /// Whether there is one input that does not stand in a list, nor may its vector.
    pub alone: bool,
    /// What has no place in this form.
    pub dropped: Dropped,
}

/// One input.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<'b> {
    /// Text.
    Text(Str<'b>),
    /// That many token ids of the model's own vocabulary, which nobody else can read.
    Tokens(u32),
}

/// A form of vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// An array of numbers.
    #[default]
    Numbers,
    /// 32-bit floats, little-endian, in Base64.
    Base64,
}

/// The vectors, in the order of the inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer<'b> {
    /// One for each input.
    pub vectors: Vec<Vector<'b>>,
    /// The provider's count, if it gave one.
    pub usage: Option<Usage>,
}

/// A vector as it came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Vector<'b> {
    /// A JSON array of numbers.
    Numbers(&'b [u8]),
    /// Base64 of 32-bit floats.
    Base64(&'b [u8]),
}

/// A dialect of embeddings that can be translated, as [`crate::chat::Chat`] for conversations.
pub trait Embed: Codec {
    /// Reads a client's request, which [`Codec::read_request`] has read before.
    fn neutral_request<'b>(&self, body: &'b [u8]) -> Result<Request<'b>, Refusal>;

    /// Appends the request as a provider gets it that calls the model `model` (as it stands between
    /// the quotes of a JSON string). Tells what was left out; refuses what must not be.
    fn provider_request(
        &self,
        request: &Request<'_>,
        model: &str,
        out: &mut Vec<u8>,
    ) -> Result<Dropped, Refusal>;

    /// Reads a provider's answer with a good status.
    fn neutral_answer<'b>(&self, body: &'b [u8]) -> Result<Answer<'b>, AnswerFault>;

    /// Appends the answer as the client gets it.
    fn client_answer(
        &self,
        answer: &Answer<'_>,
        request: &Request<'_>,
        shown: &Shown<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), AnswerFault>;

    /// What some request may ask for and this dialect has no way to say.
    fn cannot(&self) -> Capabilities {
        Capabilities::NONE
    }
}

impl Answer<'_> {
    /// The answer, if there is one vector for each input.
    pub fn for_inputs(self, inputs: usize) -> Result<Self, AnswerFault> {
        if self.vectors.len() == inputs { Ok(self) } else { Err(AnswerFault::Malformed) }
    }
}

impl Vector<'_> {
    /// Appends it in that form.
    pub fn write(&self, format: Format, out: &mut Vec<u8>) -> Result<(), AnswerFault> {
        match (self, format) {
            (Vector::Numbers(text), Format::Numbers) => out.extend_from_slice(text),
            (Vector::Base64(text), Format::Base64) => {
                out.push(b'"');
                out.extend_from_slice(text);
                out.push(b'"');
            }
            (Vector::Numbers(text), Format::Base64) => {
                let floats = floats(text).map_err(|_| AnswerFault::Malformed)?;
                out.push(b'"');
                out.extend_from_slice(STANDARD.encode(floats).as_bytes());
                out.push(b'"');
            }
            (Vector::Base64(text), Format::Numbers) => {
                let bytes = STANDARD.decode(text).map_err(|_| AnswerFault::Malformed)?;
                let (floats, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(AnswerFault::Malformed);
                }
                out.push(b'[');
                for (index, float) in floats.iter().enumerate() {
                    let float = f32::from_le_bytes(*float);
                    if !float.is_finite() {
                        return Err(AnswerFault::Malformed);
                    }
                    if index > 0 {
                        out.push(b',');
                    }
                    // Writing to a vector does not fail.
                    let _ = write!(out, "{float}");
                }
                out.push(b']');
            }
        }
        Ok(())
    }
}

/// The numbers of a JSON array as 32-bit floats, little-endian.
fn floats(text: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut cursor = Cursor::new(text)?;
    cursor.array(|cursor| {
        // The cursor has found a number that a 64-bit float can hold.
        let float: f32 = cursor.number()?.parse().unwrap_or_default();
        bytes.extend_from_slice(&float.to_le_bytes());
        Ok(())
    })?;
    cursor.end()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back_from_base64(numbers in prop::collection::vec(-2.0f32..2.0, 0..40)) {
            let text = serde_json::to_string(&numbers).unwrap();
            let mut packed = Vec::new();
            Vector::Numbers(text.as_bytes()).write(Format::Base64, &mut packed).unwrap();
            let inside = &packed[1..packed.len() - 1];
            let mut back = Vec::new();
            Vector::Base64(inside).write(Format::Numbers, &mut back).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Vec<f32>>(&back).unwrap(), numbers);
        }
    }

    #[test]
    fn what_is_no_vector_is_a_fault() {
        for (vector, format) in [
            (Vector::Numbers(b"[1,\"2\"]"), Format::Base64),
            (Vector::Base64(b"AAAA"), Format::Numbers),
            (Vector::Base64(b"*"), Format::Numbers),
            // A float that is no number.
            (Vector::Base64(b"AADAfw=="), Format::Numbers),
        ] {
            let faulty = vector.write(format, &mut Vec::new());
            assert_eq!(faulty, Err(AnswerFault::Malformed), "{vector:?}");
        }
    }
}

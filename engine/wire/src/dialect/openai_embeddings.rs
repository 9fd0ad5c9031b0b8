//! OpenAI embeddings: `POST /v1/embeddings`.
//!
//! In: a client's body, a provider's body. Out: [`Parsed`], [`Answer`], the body with another model's
//! name; the neutral form and back. Never: a look at the text, or a change of what was not asked for.

use super::openai_chat::OpenAiChat;
use super::{Answer, AnswerFault, Codec, Event, EventKind, Outgoing, UsageRules};
use crate::chat::{Dropped, Shown, Trail};
use crate::embed::{self, Embed, Format, Input, Vector};
use crate::json::write::Object;
use crate::json::{self, Cursor, JsonError, JsonErrorKind, Kind, Patch};
use crate::refusal::{self, Refusal};
use crate::request::{Parsed, Shape, Text};
use models::{Dialect, Tokens, Usage, UsageSource};
use std::borrow::Cow;

/// The dialect.
pub struct OpenAiEmbeddings;

impl Codec for OpenAiEmbeddings {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAiEmbeddings
    }

    fn path(&self, _model: &str, _streams: bool) -> Cow<'static, str> {
        "/embeddings".into()
    }

    fn read_request(&self, body: &[u8]) -> Result<Parsed, Refusal> {
        let mut reader = Reader::default();
        match reader.read(body, &mut |_| ()) {
            Ok(()) => reader.finish(),
            Err(error) => Err(reader.trail.refusal(&error)),
        }
    }

    fn patch_request(
        &self,
        parsed: &Parsed,
        body: &[u8],
        outgoing: &Outgoing<'_>,
        out: &mut Vec<u8>,
    ) -> usize {
        json::patch_into(body, &patches(parsed, outgoing), out)
    }

    fn patched_len(&self, parsed: &Parsed, body: &[u8], outgoing: &Outgoing<'_>) -> usize {
        json::patched_len(body, &patches(parsed, outgoing))
    }

    fn read_answer(&self, body: &[u8], _: UsageRules) -> Result<Answer, AnswerFault> {
        let mut vectors = 0;
        let usage = read_answer(body, |_, _| vectors += 1)?;
        if vectors == 0 {
            Err(AnswerFault::Malformed)
        } else {
            Ok(Answer { usage, content_bytes: 0 })
        }
    }

    fn read_event(&self, _: &[u8], _: UsageRules, _: Option<&Usage>) -> Event {
        Event { kind: EventKind::Unknown, usage: None, finish: false, content_bytes: 0 }
    }

    fn write_refusal(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        OpenAiChat.write_refusal(refusal, request_id, out);
    }

    fn write_stream_error(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        OpenAiChat.write_stream_error(refusal, request_id, out);
    }

    fn end_mark(&self) -> &'static [u8] {
        b""
    }
}

impl Embed for OpenAiEmbeddings {
    fn neutral_request<'b>(&self, body: &'b [u8]) -> Result<embed::Request<'b>, Refusal> {
        let mut reader = Reader::default();
        let mut inputs = Vec::new();
        if let Err(error) = reader.read(body, &mut |input| inputs.push(input)) {
            return Err(reader.trail.refusal(&error));
        }
        let format = match reader.format {
            None | Some(Wanted::Numbers) => Format::Numbers,
            Some(Wanted::Base64) => Format::Base64,
            Some(Wanted::Other) => {
                return Err(Refusal::new(refusal::Kind::NotCapable)
                    .with_message("\"encoding_format\" must be \"float\" or \"base64\" here")
                    .with_param("encoding_format"));
            }
        };
        let Reader { dimensions, dropped, .. } = reader;
        let dimensions = dimensions.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        Ok(embed::Request { inputs, dimensions, format, alone: false, dropped })
    }

    fn provider_request(
        &self,
        request: &embed::Request<'_>,
        model: &str,
        out: &mut Vec<u8>,
    ) -> Result<Dropped, Refusal> {
        let mut object = Object::begin(out);
        let quoted = object.key("model");
        quoted.push(b'"');
        quoted.extend_from_slice(model.as_bytes());
        quoted.push(b'"');
        if request.inputs.iter().any(|input| matches!(input, Input::Tokens(_))) {
            // Only a client of this dialect has them, and its body goes out as it came.
            return Err(Refusal::new(refusal::Kind::NotCapable).with_param("input"));
        }
        object.array("input", |array| {
            for input in &request.inputs {
                if let Input::Text(text) = input {
                    text.write(array.element());
                }
            }
        });
        if let Some(dimensions) = request.dimensions {
            object.number("dimensions", dimensions.into());
        }
        object.text(
            "encoding_format",
            match request.format {
                Format::Numbers => "float",
                Format::Base64 => "base64",
            },
        );
        object.end();
        Ok(request.dropped.clone())
    }

    fn neutral_answer<'b>(&self, body: &'b [u8]) -> Result<embed::Answer<'b>, AnswerFault> {
        let mut vectors = Vec::new();
        let usage = read_answer(body, |index, vector| vectors.push((index, vector)))?;
        // The order of the inputs is that of `index`, in which providers answer anyway.
        for (place, (index, _)) in vectors.iter_mut().enumerate() {
            index.get_or_insert(place as u64);
        }
        vectors.sort_by_key(|(index, _)| *index);
        let all = vectors.iter().zip(0..).all(|((index, _), place)| *index == Some(place));
        let vectors: Option<Vec<_>> = vectors.into_iter().map(|(_, vector)| vector).collect();
        match vectors.filter(|_| all) {
            Some(vectors) => Ok(embed::Answer { vectors, usage }),
            None => Err(AnswerFault::Malformed),
        }
    }

    fn client_answer(
        &self,
        answer: &embed::Answer<'_>,
        request: &embed::Request<'_>,
        shown: &Shown<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), AnswerFault> {
        let mut written = Ok(());
        let mut object = Object::begin(out);
        object.text("object", "list").array("data", |array| {
            for (index, vector) in answer.vectors.iter().enumerate() {
                array.object(|object| {
                    object.text("object", "embedding").number("index", index as u64);
                    let vector = vector.write(request.format, object.key("embedding"));
                    written = written.and(vector);
                });
            }
        });
        let tokens = answer.usage.map_or(shown.input_tokens.into(), |usage| usage.input.0);
        object.text("model", shown.model).object("usage", |usage| {
            usage.number("prompt_tokens", tokens).number("total_tokens", tokens);
        });
        object.end();
        written
    }
}

/// The members of the outermost object that we act upon. Each may stand once, in any spelling.
const MEMBERS: &[&str] = &["model", "input", "encoding_format", "dimensions", "user"];

/// What the client says about the form of the vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Numbers,
    Base64,
    /// A form of some provider's own.
    Other,
}

#[derive(Default)]
struct Reader {
    trail: Trail,
    seen: u32,
    model: Option<Text>,
    has_input: bool,
    format: Option<Wanted>,
    dimensions: Option<u64>,
    shape: Shape,
    dropped: Dropped,
    inside: u32,
}

impl Reader {
    /// Reads a body; `input` hears of each input.
    fn read<'b>(
        &mut self,
        body: &'b [u8],
        input: &mut dyn FnMut(Input<'b>),
    ) -> Result<(), JsonError> {
        let mut cursor = Cursor::new(body)?;
        cursor.kind()?;
        self.inside = cursor.offset() as u32 + 1;
        cursor.object(|key, cursor| {
            let name = key.text();
            let Some(index) = MEMBERS.iter().position(|known| *known == name) else {
                self.dropped.add_outside(&name);
                return cursor.skip().map(drop);
            };
            let known = MEMBERS[index];
            self.trail.field(known);
            if self.seen & (1 << index) != 0 {
                return Err(cursor.error(JsonErrorKind::RepeatedKey(known)));
            }
            self.seen |= 1 << index;
            self.member(known, cursor, input)?;
            self.trail.back();
            Ok(())
        })?;
        cursor.end()
    }

    fn member<'b>(
        &mut self,
        name: &'static str,
        cursor: &mut Cursor<'b>,
        input: &mut dyn FnMut(Input<'b>),
    ) -> Result<(), JsonError> {
        // `null` means "not given" in every SDK, for all but the two that must be there.
        if !matches!(name, "model" | "input") && cursor.null()? {
            return Ok(());
        }
        match name {
            "model" => self.model = Some(cursor.string()?.into()),
            "input" => {
                self.has_input = true;
                self.inputs(cursor, input)?;
            }
            "encoding_format" => {
                self.format = Some(match &*cursor.string()?.text() {
                    "float" => Wanted::Numbers,
                    "base64" => Wanted::Base64,
                    _ => Wanted::Other,
                });
            }
            "dimensions" => self.dimensions = Some(cursor.unsigned("a whole number")?),
            _ => {
                self.dropped.add(name);
                cursor.skip()?;
            }
        }
        Ok(())
    }

    /// A text, texts, token ids, or lists of token ids.
    fn inputs<'b>(
        &mut self,
        cursor: &mut Cursor<'b>,
        input: &mut dyn FnMut(Input<'b>),
    ) -> Result<(), JsonError> {
        const EXPECTED: &str = "a string, an array of strings, or arrays of token ids";
        match cursor.kind()? {
            Kind::String => {
                let text = cursor.string()?;
                self.text(text.bytes.len());
                input(Input::Text(text.into()));
            }
            Kind::Array => {
                let (mut first, mut ids, mut index) = (None, 0, 0);
                let mut own = |cursor: &mut Cursor<'b>| {
                    let kind = cursor.kind()?;
                    // All are of one kind: nobody could tell what a mixture means.
                    if *first.get_or_insert(kind) != kind {
                        return Err(
                            cursor.error(JsonErrorKind::WrongType("of the first one's type"))
                        );
                    }
                    match kind {
                        Kind::String => {
                            let text = cursor.string()?;
                            self.text(text.bytes.len());
                            input(Input::Text(text.into()));
                        }
                        Kind::Array => {
                            let count = tokens(cursor)?;
                            self.tokens(count);
                            input(Input::Tokens(count));
                        }
                        Kind::Number => {
                            cursor.unsigned("a token id")?;
                            ids += 1;
                        }
                        _ => return Err(cursor.error(JsonErrorKind::WrongType(EXPECTED))),
                    }
                    Ok(())
                };
                let mut at = 0;
                let read = cursor.array(|cursor| {
                    index = at;
                    at += 1;
                    own(cursor)
                });
                if let Err(error) = read {
                    self.trail.index(index);
                    return Err(error);
                }
                if ids > 0 {
                    self.tokens(ids);
                    input(Input::Tokens(ids));
                }
            }
            _ => return Err(cursor.error(JsonErrorKind::WrongType(EXPECTED))),
        }
        Ok(())
    }

    fn text(&mut self, bytes: usize) {
        let shape = &mut self.shape;
        shape.inputs += 1;
        shape.text_bytes = shape.text_bytes.saturating_add(bytes as u32);
    }

    fn tokens(&mut self, count: u32) {
        let shape = &mut self.shape;
        shape.inputs += 1;
        shape.token_ids = shape.token_ids.saturating_add(count);
        shape.token_ids_longest = shape.token_ids_longest.max(count);
    }

    fn finish(self) -> Result<Parsed, Refusal> {
        let missing = |field: &'static str, remedy: &'static str| {
            Refusal::new(refusal::Kind::MissingField)
                .with_message(format!("\"{field}\" is missing: {remedy}"))
                .with_param(field)
        };
        let invalid = |field: &'static str, message: &'static str| {
            Refusal::new(refusal::Kind::BadField).with_message(message).with_param(field)
        };
        let Reader { model, has_input, dimensions, shape, inside, .. } = self;
        let model = model.ok_or_else(|| missing("model", "name the embedding model"))?;
        if model.span.is_empty() {
            return Err(invalid("model", "\"model\" is empty: name the embedding model"));
        }
        if !has_input {
            return Err(missing("input", "send a text, or an array of texts or token ids"));
        }
        if shape.inputs == 0 {
            return Err(invalid("input", "\"input\" is empty: send at least one text"));
        }
        if dimensions == Some(0) {
            return Err(invalid("dimensions", "\"dimensions\" must be at least 1"));
        }
        Ok(Parsed::of_inputs(Dialect::OpenAiEmbeddings, model, shape, inside))
    }
}

/// Reads an array of token ids; how many.
fn tokens(cursor: &mut Cursor<'_>) -> Result<u32, JsonError> {
    let mut count = 0;
    cursor.array(|cursor| {
        cursor.unsigned("a token id")?;
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

fn patches<'p>(parsed: &Parsed, outgoing: &Outgoing<'p>) -> [Patch<'p>; 1] {
    [Patch { span: parsed.model.span, with: outgoing.model.as_bytes() }]
}

/// Reads an answer: `vector` hears of each element of `data` with its index; `None` stands for an
/// element without a vector.
fn read_answer<'b>(
    body: &'b [u8],
    mut vector: impl FnMut(Option<u64>, Option<Vector<'b>>),
) -> Result<Option<Usage>, AnswerFault> {
    let mut usage = None;
    let (mut has_data, mut has_error) = (false, false);
    let mut read = || -> Result<(), JsonError> {
        let mut cursor = Cursor::new(body)?;
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"data", Kind::Array) => {
                    has_data = true;
                    cursor.array(|cursor| {
                        let (index, found) = element(cursor)?;
                        vector(index, found);
                        Ok(())
                    })?;
                }
                (b"usage", Kind::Object) => usage = read_usage(cursor)?,
                (b"error", kind) => {
                    has_error = kind != Kind::Null;
                    cursor.skip()?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        cursor.end()
    };
    read().map_err(|_| AnswerFault::Malformed)?;
    match (has_error, has_data) {
        (true, _) => Err(AnswerFault::Error),
        (false, false) => Err(AnswerFault::Malformed),
        (false, true) => Ok(usage),
    }
}

fn element<'b>(cursor: &mut Cursor<'b>) -> Result<(Option<u64>, Option<Vector<'b>>), JsonError> {
    let (mut index, mut vector) = (None, None);
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"index", Kind::Number) => index = cursor.number()?.parse().ok(),
            (b"embedding", Kind::Array) => vector = Some(Vector::Numbers(cursor.raw()?)),
            (b"embedding", Kind::String) => vector = Some(Vector::Base64(cursor.string()?.bytes)),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok((index, vector))
}

/// The count, if there is one that can be true. Vectors are not counted as output.
fn read_usage(cursor: &mut Cursor<'_>) -> Result<Option<Usage>, JsonError> {
    let (mut prompt, mut total): (Option<u64>, Option<u64>) = (None, None);
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"prompt_tokens", Kind::Number) => prompt = cursor.number()?.parse().ok(),
            (b"total_tokens", Kind::Number) => total = cursor.number()?.parse().ok(),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    // Voyage tells the total alone.
    Ok(prompt.or(total).and_then(input_usage))
}

/// A count of input alone, when it can be true.
pub(super) fn input_usage(tokens: u64) -> Option<Usage> {
    let usage = Usage { input: Tokens(tokens), source: UsageSource::Provider, ..Usage::default() };
    usage.is_plausible().then_some(usage)
}

#[cfg(test)]
mod tests;

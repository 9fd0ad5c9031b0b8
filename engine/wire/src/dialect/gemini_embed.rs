//! Gemini embeddings: `POST …/models/{model}:embedContent` for one content, `:batchEmbedContents` for
//! several.
//!
//! In: a client's body of either kind, a provider's answer. Out: [`Parsed`], [`Answer`], the body with
//! another model's name; the neutral form and back. A translated request is always a batch: the parts
//! of one content become one vector, so each input is a content of its own. Never: a look at the text.

use super::gemini_generate::{GeminiGenerate, path_encoded};
use super::{Answer, AnswerFault, Codec, Event, EventKind, Outgoing, UsageRules};
use crate::chat::{Dropped, Shown, Str, Trail};
use crate::dialect::openai_embeddings::input_usage;
use crate::embed::{self, Embed, Format, Input, Vector};
use crate::json::write::Object;
use crate::json::{self, Cursor, JsonError, JsonErrorKind, Kind, Patch, Span};
use crate::refusal::{self, Refusal};
use crate::request::{Parsed, Shape, Text};
use models::{Capabilities, Dialect, Usage};
use std::borrow::Cow;

/// The dialect.
pub struct GeminiEmbed;

/// Most contents of one batch, by Google's word.
const BATCH_MAX: usize = 100;

/// What stands before a model's name in a body.
const MODELS: &str = "models/";

impl Codec for GeminiEmbed {
    fn dialect(&self) -> Dialect {
        Dialect::GeminiEmbed
    }

    fn path(&self, model: &str, second: bool) -> Cow<'static, str> {
        let verb = if second { "embedContent" } else { "batchEmbedContents" };
        format!("/models/{}:{verb}", path_encoded(model)).into()
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
        _: &Parsed,
        body: &[u8],
        outgoing: &Outgoing<'_>,
        out: &mut Vec<u8>,
    ) -> usize {
        json::patch_into(body, &patches(body, outgoing), out)
    }

    fn patched_len(&self, _: &Parsed, body: &[u8], outgoing: &Outgoing<'_>) -> usize {
        json::patched_len(body, &patches(body, outgoing))
    }

    fn read_answer(&self, body: &[u8], _: UsageRules) -> Result<Answer, AnswerFault> {
        let answer = self.neutral_answer(body)?;
        Ok(Answer { usage: answer.usage, content_bytes: 0 })
    }

    fn read_event(&self, _: &[u8], _: UsageRules, _: Option<&Usage>) -> Event {
        Event { kind: EventKind::Unknown, usage: None, finish: false, content_bytes: 0 }
    }

    fn write_refusal(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        GeminiGenerate.write_refusal(refusal, request_id, out);
    }

    fn write_stream_error(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        GeminiGenerate.write_stream_error(refusal, request_id, out);
    }

    fn end_mark(&self) -> &'static [u8] {
        b""
    }
}

impl Embed for GeminiEmbed {
    fn neutral_request<'b>(&self, body: &'b [u8]) -> Result<embed::Request<'b>, Refusal> {
        let mut reader = Reader::default();
        let mut inputs = Vec::new();
        if let Err(error) = reader.read(body, &mut |text| inputs.push(Input::Text(text))) {
            return Err(reader.trail.refusal(&error));
        }
        if let Some(part) = &reader.foreign {
            return Err(Refusal::new(refusal::Kind::NotCapable)
                .with_message(format!(
                    "\"{part}\" holds no text, which is all that can be embedded"
                ))
                .with_param(part.clone()));
        }
        let dimensions = reader.dimensions();
        let Reader { dropped, is_batch, .. } = reader;
        let format = Format::Numbers;
        Ok(embed::Request { inputs, dimensions: dimensions?, format, alone: !is_batch, dropped })
    }

    fn provider_request(
        &self,
        request: &embed::Request<'_>,
        model: &str,
        out: &mut Vec<u8>,
    ) -> Result<Dropped, Refusal> {
        let refused = |message: String| {
            Refusal::new(refusal::Kind::NotCapable).with_message(message).with_param("input")
        };
        if request.inputs.len() > BATCH_MAX {
            return Err(refused(format!(
                "\"input\" has {} elements, and Gemini takes at most {BATCH_MAX} in one request; send \
                 fewer at a time",
                request.inputs.len()
            )));
        }
        let mut texts = Vec::with_capacity(request.inputs.len());
        for input in &request.inputs {
            match input {
                Input::Text(text) => texts.push(text),
                Input::Tokens(_) => {
                    return Err(refused("\"input\" must be text for this model".to_owned()));
                }
            }
        }
        let mut object = Object::begin(out);
        object.array("requests", |requests| {
            for text in texts {
                requests.object(|one| {
                    let name = one.key("model");
                    name.extend_from_slice(b"\"models/");
                    name.extend_from_slice(model.as_bytes());
                    name.push(b'"');
                    one.object("content", |content| {
                        content.array("parts", |parts| {
                            parts.object(|part| text.write(part.key("text")));
                        });
                    });
                    if let Some(dimensions) = request.dimensions {
                        one.number("outputDimensionality", dimensions.into());
                    }
                });
            }
        });
        object.end();
        Ok(request.dropped.clone())
    }

    fn neutral_answer<'b>(&self, body: &'b [u8]) -> Result<embed::Answer<'b>, AnswerFault> {
        read_answer(body).unwrap_or(Err(AnswerFault::Malformed))
    }

    fn client_answer(
        &self,
        answer: &embed::Answer<'_>,
        request: &embed::Request<'_>,
        _: &Shown<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), AnswerFault> {
        let mut written = Ok(());
        let mut values = |vector: &Vector<'_>, object: &mut Object<'_>| {
            let vector = vector.write(Format::Numbers, object.key("values"));
            written = written.and(vector);
        };
        let mut object = Object::begin(out);
        match (request.alone, &answer.vectors[..]) {
            (true, [vector]) => {
                object.object("embedding", |object| values(vector, object));
            }
            _ => {
                object.array("embeddings", |array| {
                    for vector in &answer.vectors {
                        array.object(|object| values(vector, object));
                    }
                });
            }
        }
        if let Some(usage) = answer.usage {
            object.object("usageMetadata", |object| {
                object.number("promptTokenCount", usage.input.0);
                object.number("totalTokenCount", usage.input.0);
            });
        }
        object.end();
        written
    }

    fn cannot(&self) -> Capabilities {
        Capabilities::TOKEN_INPUT
    }
}

/// Reads a body of either kind: `requests` of a batch, or one request with `content`.
#[derive(Default)]
struct Reader {
    trail: Trail,
    model: Option<Text>,
    is_batch: bool,
    shape: Shape,
    dimensions: Option<u64>,
    /// Whether the requests of a batch ask for different lengths.
    differs: bool,
    /// A part that is no text: where the first of them stands.
    foreign: Option<String>,
    dropped: Dropped,
    inside: u32,
}

impl Reader {
    /// Reads a body; `input` hears of the text of each content.
    fn read<'b>(
        &mut self,
        body: &'b [u8],
        input: &mut dyn FnMut(Str<'b>),
    ) -> Result<(), JsonError> {
        let mut cursor = Cursor::new(body)?;
        cursor.kind()?;
        self.inside = cursor.offset() as u32 + 1;
        let mut has_content = false;
        cursor.object(|key, cursor| {
            if !key.is("requests") {
                return self.member(&key.text(), cursor, &mut has_content, input);
            }
            if std::mem::replace(&mut self.is_batch, true) {
                return Err(cursor.error(JsonErrorKind::RepeatedKey("requests")));
            }
            self.trail.field("requests");
            let mut index = 0;
            cursor.array(|cursor| {
                self.trail.index(index);
                let mut has_content = false;
                cursor.object(|key, cursor| {
                    self.member(&key.text(), cursor, &mut has_content, input)
                })?;
                if !has_content {
                    return Err(
                        cursor.error(JsonErrorKind::WrongType("a request with \"content\""))
                    );
                }
                self.trail.back();
                index += 1;
                Ok(())
            })?;
            self.trail.back();
            Ok(())
        })?;
        cursor.end()
    }

    /// A member of one request, in either spelling of its name.
    fn member<'b>(
        &mut self,
        name: &str,
        cursor: &mut Cursor<'b>,
        has_content: &mut bool,
        input: &mut dyn FnMut(Str<'b>),
    ) -> Result<(), JsonError> {
        match name {
            "content" => {
                if std::mem::replace(has_content, true) {
                    return Err(cursor.error(JsonErrorKind::RepeatedKey("content")));
                }
                self.trail.field("content");
                let text = self.content(cursor)?;
                self.trail.back();
                self.shape.inputs += 1;
                self.shape.text_bytes = self.shape.text_bytes.saturating_add(text.len() as u32);
                input(text);
            }
            "model" => {
                self.trail.field("model");
                if !cursor.null()? {
                    let given: Text = cursor.string()?.into();
                    self.model.get_or_insert(given);
                }
                self.trail.back();
            }
            "outputDimensionality" | "output_dimensionality" => {
                self.trail.field("outputDimensionality");
                if !cursor.null()? {
                    let wanted = cursor.unsigned("a whole number")?;
                    self.differs |= *self.dimensions.get_or_insert(wanted) != wanted;
                }
                self.trail.back();
            }
            _ => {
                if !cursor.null()? {
                    self.dropped.add_outside(name);
                    cursor.skip()?;
                }
            }
        }
        Ok(())
    }

    /// The text of a content: that of all its parts, which become one vector.
    fn content<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<Str<'b>, JsonError> {
        let mut text: Option<Str<'b>> = None;
        cursor.object(|key, cursor| {
            if !key.is("parts") {
                return cursor.skip().map(drop);
            }
            self.trail.field("parts");
            let mut index = 0;
            cursor.array(|cursor| {
                self.trail.index(index);
                let mut is_text = false;
                cursor.object(|key, cursor| {
                    if !key.is("text") {
                        return cursor.skip().map(drop);
                    }
                    self.trail.field("text");
                    let piece = Str::from(cursor.string()?);
                    is_text = true;
                    match &mut text {
                        Some(text) => text.push(&piece),
                        None => text = Some(piece),
                    }
                    self.trail.back();
                    Ok(())
                })?;
                if !is_text {
                    self.foreign.get_or_insert_with(|| self.trail.path());
                }
                self.trail.back();
                index += 1;
                Ok(())
            })?;
            self.trail.back();
            Ok(())
        })?;
        text.ok_or_else(|| cursor.error(JsonErrorKind::WrongType("an object with \"parts\"")))
    }

    fn dimensions(&self) -> Result<Option<u32>, Refusal> {
        if self.differs {
            return Err(Refusal::new(refusal::Kind::NotCapable)
                .with_message(
                    "the requests of a batch must ask for one \"outputDimensionality\" here",
                )
                .with_param("requests"));
        }
        Ok(self.dimensions.map(|count| u32::try_from(count).unwrap_or(u32::MAX)))
    }

    fn finish(self) -> Result<Parsed, Refusal> {
        if self.shape.inputs == 0 {
            let (field, message) = match self.is_batch {
                true => ("requests", "\"requests\" is empty: send at least one"),
                false => ("content", "\"content\" is missing: send it with its \"parts\""),
            };
            return Err(Refusal::new(refusal::Kind::MissingField)
                .with_message(message)
                .with_param(field));
        }
        // The path names the model, too, and always.
        let model = self.model.unwrap_or_default();
        let shape = Shape { alone: !self.is_batch, ..self.shape };
        Ok(Parsed::of_inputs(Dialect::GeminiEmbed, model, shape, self.inside))
    }
}

/// Each place that names the model, if it names another one than the provider's.
fn patches<'p>(body: &[u8], outgoing: &Outgoing<'p>) -> Vec<Patch<'p>> {
    let mut patches = Vec::new();
    let with = outgoing.model.as_bytes();
    let mut name = |cursor: &mut Cursor<'_>| {
        if cursor.kind()? != Kind::String {
            return cursor.skip().map(drop);
        }
        let given = cursor.string()?;
        let after = match given.bytes.starts_with(MODELS.as_bytes()) {
            true => MODELS.len() as u32,
            false => 0,
        };
        let span = Span { start: given.span.start + after, end: given.span.end };
        if span.of(body) != with {
            patches.push(Patch { span, with });
        }
        Ok(())
    };
    let mut read = || -> Result<(), JsonError> {
        let mut cursor = Cursor::new(body)?;
        cursor.object(|key, cursor| match (key.is("requests"), key.is("model")) {
            (true, _) => cursor
                .array(|cursor| {
                    cursor
                        .object(|key, cursor| match key.is("model") {
                            true => name(cursor),
                            false => cursor.skip().map(drop),
                        })
                        .map(drop)
                })
                .map(drop),
            (_, true) => name(cursor),
            _ => cursor.skip().map(drop),
        })?;
        Ok(())
    };
    // The body was read before; it is sound.
    let _ = read();
    patches
}

fn read_answer(body: &[u8]) -> Result<Result<embed::Answer<'_>, AnswerFault>, JsonError> {
    let mut vectors: Vec<Option<Vector<'_>>> = Vec::new();
    let (mut usage, mut has_error) = (None, false);
    let mut cursor = Cursor::new(body)?;
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"embedding", Kind::Object) => vectors.push(values(cursor)?),
            (b"embeddings", Kind::Array) => {
                cursor.array(|cursor| {
                    vectors.push(values(cursor)?);
                    Ok(())
                })?;
            }
            (b"usageMetadata", Kind::Object) => usage = read_usage(cursor)?,
            (b"error", kind) => {
                has_error = kind != Kind::Null;
                cursor.skip()?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    cursor.end()?;
    let vectors: Option<Vec<_>> = vectors.into_iter().collect();
    Ok(match (has_error, vectors) {
        (true, _) => Err(AnswerFault::Error),
        (false, Some(vectors)) if !vectors.is_empty() => Ok(embed::Answer { vectors, usage }),
        _ => Err(AnswerFault::Malformed),
    })
}

/// The numbers of one embedding, if it has any.
fn values<'b>(cursor: &mut Cursor<'b>) -> Result<Option<Vector<'b>>, JsonError> {
    let mut vector = None;
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"values", Kind::Array) => vector = Some(Vector::Numbers(cursor.raw()?)),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok(vector)
}

fn read_usage(cursor: &mut Cursor<'_>) -> Result<Option<Usage>, JsonError> {
    let mut tokens: Option<u64> = None;
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"promptTokenCount", Kind::Number) => tokens = cursor.number()?.parse().ok(),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok(tokens.and_then(input_usage))
}

#[cfg(test)]
mod tests;

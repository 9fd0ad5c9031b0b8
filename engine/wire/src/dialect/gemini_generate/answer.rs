//! Whole answers: a provider's, read into the neutral form, and a client's, written from it.

use super::form::{Ending, Result, ending_of, finish_name};
use super::request::{MADE_UP, answered, fenced, member, read_call};
use super::{logprobs, state, usage};
use crate::chat::names::ToolNames;
use crate::chat::{
    Answer, Call, Choice, Finish, Input, Json, Part, ReadRules, Reasoning, Request, Shown, Source,
    State, Str, carry,
};
use crate::dialect::AnswerFault;
use crate::json::write::{Array, Object};
use crate::json::{Cursor, Kind};
use models::Usage;

/// What an answer, or a piece of one in a stream, says beside its candidates.
#[derive(Default)]
pub(super) struct Envelope<'b> {
    pub(super) id: Option<Str<'b>>,
    pub(super) usage: Option<Usage>,
    /// Where the array of candidates stands.
    pub(super) candidates: Option<Cursor<'b>>,
    /// The prompt was not answered at all.
    pub(super) is_blocked: bool,
    pub(super) has_error: bool,
}

impl<'b> Envelope<'b> {
    pub(super) fn read(body: &'b [u8]) -> Result<Envelope<'b>> {
        let mut envelope = Envelope::default();
        let mut cursor = Cursor::new(body)?;
        if cursor.kind()? == Kind::Array {
            // Some errors come in a list of one.
            cursor.array(|cursor| envelope.object(cursor))?;
        } else {
            envelope.object(&mut cursor)?;
        }
        cursor.end()?;
        Ok(envelope)
    }

    fn object(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"candidates", Kind::Array) => {
                    self.candidates = Some(cursor.clone());
                    cursor.skip()?;
                }
                (b"usageMetadata", _) => self.usage = usage::read(cursor)?,
                (b"responseId", Kind::String) => self.id = Some(cursor.string()?.into()),
                (b"promptFeedback", Kind::Object) => {
                    cursor.object(|key, cursor| {
                        self.is_blocked |= key.bytes == b"blockReason" && !cursor.clone().null()?;
                        cursor.skip().map(drop)
                    })?;
                }
                (b"error", kind) => {
                    self.has_error = kind != Kind::Null;
                    cursor.skip()?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// One candidate, or a piece of one.
#[derive(Default)]
pub(super) struct Candidate<'b> {
    pub(super) index: u32,
    pub(super) pieces: Vec<Piece<'b>>,
    pub(super) ending: Option<Ending>,
    pub(super) logprobs: Option<Json<'b>>,
}

/// One part of a candidate.
pub(super) enum Piece<'b> {
    /// What the model thinks, with its signature.
    Thought(Str<'b>, Option<Str<'b>>),
    /// What it says; a signature behind it.
    Text(Str<'b>, Option<Str<'b>>),
    /// What it calls, with a signature.
    Call { id: Option<Str<'b>>, name: Str<'b>, input: Input<'b>, signature: Option<Str<'b>> },
    /// A picture or sound that it made.
    Blob { mime: Str<'b>, data: Str<'b> },
}

impl<'b> Candidate<'b> {
    pub(super) fn read(cursor: &mut Cursor<'b>) -> Result<Candidate<'b>> {
        let mut pieces = Vec::new();
        let candidate = Candidate::read_each(cursor, |piece| pieces.push(piece))?;
        Ok(Candidate { pieces, ..candidate })
    }

    /// The same without its pieces, which are handed over one by one.
    pub(super) fn read_each(
        cursor: &mut Cursor<'b>,
        mut take: impl FnMut(Piece<'b>),
    ) -> Result<Candidate<'b>> {
        let mut candidate = Candidate::default();
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"index", Kind::Number) => {
                    candidate.index = cursor.unsigned("an index")?.min(127) as u32;
                }
                (b"finishReason", Kind::String) => {
                    let name = cursor.string()?.text();
                    if name != "FINISH_REASON_UNSPECIFIED" {
                        candidate.ending = Some(ending_of(&name));
                    }
                }
                (b"content", Kind::Object) => {
                    cursor.object(|key, cursor| {
                        if key.bytes != b"parts" || cursor.kind()? != Kind::Array {
                            return cursor.skip().map(drop);
                        }
                        cursor.array(|cursor| {
                            if let Some(piece) = Piece::read(cursor)? {
                                take(piece);
                            }
                            Ok(())
                        })?;
                        Ok(())
                    })?;
                }
                (b"logprobsResult", Kind::Object) => candidate.logprobs = logprobs::read(cursor)?,
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(candidate)
    }
}

impl<'b> Piece<'b> {
    fn read(cursor: &mut Cursor<'b>) -> Result<Option<Piece<'b>>> {
        let (mut text, mut call, mut blob) = (None, None, None);
        let (mut is_thought, mut signature) = (false, None);
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"text", Kind::String) => text = Some(Str::from(cursor.string()?)),
                (b"thought", Kind::Bool) => is_thought = cursor.bool()?,
                (b"thoughtSignature", Kind::String) => {
                    signature = Some(Str::from(cursor.string()?)).filter(|text| !text.is_empty());
                }
                (b"functionCall", Kind::Object) => call = Some(read_call(cursor)?),
                (b"inlineData", Kind::Object) => blob = Some(read_blob(cursor)?),
                (b"executableCode", Kind::Object) => {
                    text = Some(fenced(&member(cursor, b"code")?));
                }
                (b"codeExecutionResult", Kind::Object) => {
                    text = Some(fenced(&member(cursor, b"output")?));
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(match (call, text, blob, &signature) {
            (Some(call), ..) => {
                Some(Piece::Call { id: call.id, name: call.name, input: call.input, signature })
            }
            (None, Some(text), ..) if is_thought => Some(Piece::Thought(text, signature)),
            (None, Some(text), ..) => Some(Piece::Text(text, signature)),
            (None, None, Some((mime, data)), _) => Some(Piece::Blob { mime, data }),
            (None, None, None, Some(_)) => Some(Piece::Text(Str::EMPTY, signature)),
            (None, None, None, None) => None,
        })
    }

    /// Bytes of it that were generated.
    pub(super) fn bytes(&self) -> u32 {
        let bytes = match self {
            Piece::Thought(text, _) | Piece::Text(text, _) => text.len(),
            Piece::Call { name, input, .. } => match input {
                Input::Object(json) => name.len() + json.bytes().len(),
                Input::Text(text) | Input::Free(text) => name.len() + text.len(),
            },
            Piece::Blob { data, .. } => data.len(),
        };
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

fn read_blob<'b>(cursor: &mut Cursor<'b>) -> Result<(Str<'b>, Str<'b>)> {
    let (mut mime, mut data) = (Str::EMPTY, Str::EMPTY);
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"mimeType", Kind::String) => mime = cursor.string()?.into(),
            (b"data", Kind::String) => data = cursor.string()?.into(),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok((mime, data))
}

/// The id of a call in an answer that gives none: unlike those of other answers in a conversation.
pub(super) fn made_up(answer: &[u8], choice: u32, call: u32, name: &Str<'_>) -> Str<'static> {
    let fit = answer.iter().filter(|byte| byte.is_ascii_alphanumeric()).take(24);
    let mut answer: String = fit.map(|&byte| char::from(byte)).collect();
    if answer.is_empty() {
        let fit = name.escaped().iter().filter(|byte| byte.is_ascii_alphanumeric()).take(24);
        answer = fit.map(|&byte| char::from(byte)).collect();
    }
    Str::from_text(&format!("{MADE_UP}{answer}_{choice}_{call}"))
}

/// Reads a provider's answer.
pub(super) fn read<'b>(
    body: &'b [u8],
    rules: &ReadRules,
) -> std::result::Result<Answer<'b>, AnswerFault> {
    let envelope = Envelope::read(body).map_err(|_| AnswerFault::Malformed)?;
    if envelope.has_error {
        return Err(AnswerFault::Error);
    }
    let mut answer = Answer { usage: envelope.usage, ..Answer::default() };
    let mut has_failed = false;
    if let Some(mut cursor) = envelope.candidates {
        let id = envelope.id.as_ref().map_or(&b""[..], Str::escaped);
        let read = cursor.array(|cursor| {
            let candidate = Candidate::read(cursor)?;
            has_failed |= candidate.ending == Some(Ending::Failed);
            answer.choices.push(choice_of(candidate, id, rules));
            Ok(())
        });
        read.map_err(|_| AnswerFault::Malformed)?;
    }
    if answer.choices.is_empty() && envelope.is_blocked {
        answer.choices.push(Choice {
            parts: Vec::new(),
            finish: Finish::Filter,
            stop_sequence: None,
            logprobs: None,
        });
    }
    answer.id = envelope.id;
    match (has_failed, answer.choices.is_empty()) {
        (true, _) => Err(AnswerFault::Error),
        (false, true) => Err(AnswerFault::Malformed),
        (false, false) => Ok(answer),
    }
}

fn choice_of<'b>(candidate: Candidate<'b>, answer: &[u8], rules: &ReadRules) -> Choice<'b> {
    let mut parts: Vec<Part<'b>> = Vec::with_capacity(candidate.pieces.len());
    let mut calls = 0;
    for piece in candidate.pieces {
        match piece {
            Piece::Thought(text, signature) => {
                let state = answered(signature, rules.issuer);
                parts.push(Part::Reasoning(Reasoning { text, state }));
            }
            Piece::Text(text, signature) => {
                if !text.is_empty() {
                    parts.push(Part::Text(text));
                }
                if let Some(state) = answered(signature, rules.issuer) {
                    parts.push(Part::Reasoning(Reasoning { text: Str::EMPTY, state: Some(state) }));
                }
            }
            Piece::Call { id, name, input, signature } => {
                let id = id.unwrap_or_else(|| made_up(answer, candidate.index, calls, &name));
                calls += 1;
                let state: Option<State<'b>> = answered(signature, rules.issuer);
                parts.push(Part::Call(Call { id, name, namespace: None, input, state }));
            }
            Piece::Blob { mime, data } => {
                parts.push(Part::Image { source: Source::Base64 { mime, data }, detail: None });
            }
        }
    }
    let finish = match candidate.ending {
        Some(Ending::Finish(Finish::Stop)) | None if calls > 0 => Finish::Calls,
        Some(Ending::Finish(finish)) => finish,
        Some(Ending::Failed) | None => Finish::Stop,
    };
    Choice { parts, finish, stop_sequence: None, logprobs: candidate.logprobs }
}

/// Writes an answer for a client.
pub(super) fn write(
    answer: &Answer<'_>,
    request: &Request<'_>,
    shown: &Shown<'_>,
    out: &mut Vec<u8>,
) {
    let names = ToolNames::of(request);
    let shows_thoughts = request.thinking.shown == Some(true);
    let mut body = Object::begin(out);
    body.array("candidates", |array| {
        for (index, choice) in answer.choices.iter().enumerate() {
            let Choice { parts, finish, stop_sequence: _, logprobs } = choice;
            array.object(|candidate| {
                candidate.object("content", |content| {
                    content.array("parts", |array| {
                        write_parts(parts, &names, shows_thoughts, array);
                    });
                    content.text("role", "model");
                });
                candidate.text("finishReason", finish_name(*finish));
                candidate.number("index", index as u64);
                if let Some(logprobs) = logprobs {
                    logprobs::write(logprobs, candidate);
                }
            });
        }
    });
    if let Some(usage) = &answer.usage {
        usage::write(usage, body.key("usageMetadata"));
    }
    write_tail(shown, &mut body);
    body.end();
}

/// Writes who answered, and the answer's id.
pub(super) fn write_tail(shown: &Shown<'_>, body: &mut Object<'_>) {
    body.text("modelVersion", shown.model).text("responseId", shown.id);
}

fn write_parts(parts: &[Part<'_>], names: &ToolNames, shows_thoughts: bool, array: &mut Array<'_>) {
    let mut carried = carry::Carried::default();
    for part in parts {
        match part {
            Part::Reasoning(block) => {
                if shows_thoughts && !block.text.is_empty() {
                    write_text(&block.text, true, array);
                }
                carried.reasoning.push(block.clone());
            }
            Part::Text(text) | Part::Refusal(text) => {
                carried.before_text = carried.reasoning.len().min(255) as u8;
                write_text(text, false, array);
            }
            Part::Call(call) => {
                carried.call = call.state.clone();
                let name = names.find(&call.name).map_or(&call.name, |tool| &tool.name);
                write_call(&call.id, name, &call.input, &carried, array);
                carried = carry::Carried::default();
            }
            Part::Image { source: Source::Base64 { mime, data }, .. } => {
                array.object(|part| {
                    part.object("inlineData", |blob| {
                        mime.write(blob.key("mimeType"));
                        data.write(blob.key("data"));
                    });
                });
            }
            _ => {}
        }
    }
}

/// Writes a part of text.
pub(super) fn write_text(text: &Str<'_>, is_thought: bool, array: &mut Array<'_>) {
    array.object(|part| {
        text.write(part.key("text"));
        if is_thought {
            part.bool("thought", true);
        }
    });
}

/// Writes a part with a call, and in its signature what has to come back with it.
pub(super) fn write_call(
    id: &Str<'_>,
    name: &Str<'_>,
    input: &Input<'_>,
    carried: &carry::Carried<'_>,
    array: &mut Array<'_>,
) {
    array.object(|part| {
        part.object("functionCall", |call| {
            if !id.is_empty() {
                id.write(call.key("id"));
            }
            name.write(call.key("name"));
            call.raw("args", input.object());
        });
        if let Some(signature) = state::signature_of(carried) {
            signature.write(part.key("thoughtSignature"));
        }
    });
}

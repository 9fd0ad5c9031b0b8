//! Whole answers: a provider's, read into the neutral form, and a client's, written from it.

use super::usage;
use crate::chat::names::{ToolNames, fit_id};
use crate::chat::{
    Answer, Call, Choice, Finish, Input, Json, Part, ReadRules, Reasoning, Request, Shown, State,
    Str, carry,
};
use crate::dialect::AnswerFault;
use crate::json::write::{Array, Object};
use crate::json::{Cursor, JsonError, Kind};
use models::{Dialect, Usage};

type Result<T> = std::result::Result<T, JsonError>;

/// Longest id of a call before what it carries.
const ID_BYTES_MAX: usize = 64;

/// Reads a provider's answer.
pub(super) fn read<'b>(
    body: &'b [u8],
    rules: &ReadRules,
) -> std::result::Result<Answer<'b>, AnswerFault> {
    let mut answer = Answer::default();
    let mut choice =
        Choice { parts: Vec::new(), finish: Finish::Stop, stop_sequence: None, logprobs: None };
    let (mut has_content, mut has_error) = (false, false);
    let mut whole = || -> Result<()> {
        let mut cursor = Cursor::new(body)?;
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"id", Kind::String) => answer.id = Some(cursor.string()?.into()),
                (b"content", Kind::Array) => {
                    has_content = true;
                    cursor.array(|cursor| {
                        choice.parts.extend(read_block(cursor, rules)?);
                        Ok(())
                    })?;
                }
                (b"stop_reason", Kind::String) => {
                    choice.finish = finish_of(&cursor.string()?.text())
                }
                (b"stop_sequence", Kind::String) => {
                    choice.stop_sequence = Some(cursor.string()?.into());
                }
                (b"usage", _) => answer.usage = usage::read(cursor, None)?,
                (b"error", Kind::Object) => {
                    has_error = true;
                    cursor.skip()?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        cursor.end()
    };
    match whole() {
        Err(_) => Err(AnswerFault::Malformed),
        Ok(()) if has_error => Err(AnswerFault::Error),
        Ok(()) if !has_content => Err(AnswerFault::Malformed),
        Ok(()) => {
            answer.choices.push(choice);
            Ok(answer)
        }
    }
}

/// A block of an answer. Blocks of Anthropic's own tools mean nothing elsewhere: what they found is in
/// the text.
fn read_block<'b>(cursor: &mut Cursor<'b>, rules: &ReadRules) -> Result<Option<Part<'b>>> {
    let (mut kind, mut text, mut signature) = (None, None, None);
    let (mut id, mut name, mut input) = (None, None, None);
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"type", Kind::String) => kind = Some(cursor.string()?),
            (b"text" | b"thinking", Kind::String) => text = Some(Str::from(cursor.string()?)),
            (b"signature" | b"data", Kind::String) => {
                signature = Some(Str::from(cursor.string()?));
            }
            (b"id", Kind::String) => id = Some(Str::from(cursor.string()?)),
            (b"name", Kind::String) => name = Some(Str::from(cursor.string()?)),
            (b"input", Kind::Object) => input = Some(Json::checked(cursor.raw()?)),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    let state = |is_redacted| {
        let data = signature.filter(|data: &Str<'_>| !data.is_empty())?;
        Some(State { issuer: rules.issuer, is_redacted, id: Str::EMPTY, data })
    };
    Ok(match kind.map(|kind| kind.bytes).unwrap_or_default() {
        b"text" => text.filter(|text| !text.is_empty()).map(Part::Text),
        b"thinking" => Some(Part::Reasoning(Reasoning {
            text: text.unwrap_or(Str::EMPTY),
            state: state(false),
        })),
        b"redacted_thinking" => {
            Some(Part::Reasoning(Reasoning { text: Str::EMPTY, state: state(true) }))
        }
        b"tool_use" => Some(Part::Call(Call {
            id: id.unwrap_or(Str::EMPTY),
            name: name.unwrap_or(Str::EMPTY),
            namespace: None,
            input: Input::Object(input.unwrap_or(Json::checked(&b"{}"[..]))),
            state: None,
        })),
        _ => None,
    })
}

/// The reason of that name.
pub(super) fn finish_of(name: &str) -> Finish {
    match name {
        "stop_sequence" => Finish::StopSequence,
        "max_tokens" => Finish::Length,
        "model_context_window_exceeded" => Finish::Context,
        "tool_use" => Finish::Calls,
        "refusal" => Finish::Refusal,
        "pause_turn" => Finish::Pause,
        _ => Finish::Stop,
    }
}

/// The name of a reason. Which text ended an answer is not told by all providers; then it is an end
/// like any other.
pub(super) fn finish_name(finish: Finish, tells_sequence: bool) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::StopSequence if tells_sequence => "stop_sequence",
        Finish::StopSequence => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Context => "model_context_window_exceeded",
        Finish::Calls => "tool_use",
        Finish::Filter | Finish::Refusal => "refusal",
        Finish::Pause => "pause_turn",
    }
}

/// What stands in `signature` for the state of some reasoning: Anthropic's own as it is, all else as a
/// value of ours.
pub(super) fn signature_of<'s>(state: Option<&'s State<'_>>) -> Str<'s> {
    match state {
        Some(state) if is_own(state) => state.data.borrowed(),
        state => Str::from_text(&carry::value_of(state)),
    }
}

/// Whether this dialect has a field of its own for the state.
pub(super) fn is_own(state: &State<'_>) -> bool {
    state.issuer.dialect == Dialect::AnthropicMessages
}

/// The id of a call as clients of this dialect know them, with what has to come back with it.
pub(super) fn id_of(id: &Str<'_>, state: Option<&State<'_>>) -> Str<'static> {
    const PREFIX: &[u8] = b"toolu_";
    let fit = fit_id(id, ID_BYTES_MAX);
    let whole = match fit.escaped().starts_with(PREFIX) {
        true => fit,
        false => Str::escaped_from([PREFIX, fit.escaped()].concat()),
    };
    let carried = carry::Carried { call: state.cloned(), ..carry::Carried::default() };
    carry::id_with(&whole, &carried).into_owned()
}

/// Writes an answer for a client. There is one: who asks for more is not served by this dialect.
pub(super) fn write(
    answer: &Answer<'_>,
    request: &Request<'_>,
    shown: &Shown<'_>,
    out: &mut Vec<u8>,
) {
    let names = ToolNames::of(request);
    let Some(choice) = answer.choices.first() else { return };
    let mut body = Object::begin(out);
    body.text("id", &format!("msg_{}", shown.id)).text("type", "message");
    body.text("role", "assistant").text("model", shown.model);
    body.array("content", |array| {
        choice.parts.iter().for_each(|part| write_block(part, &names, array));
    });
    let finish = finish_name(choice.finish, choice.stop_sequence.is_some());
    body.text("stop_reason", finish);
    match &choice.stop_sequence {
        Some(text) => text.write(body.key("stop_sequence")),
        None => drop(body.raw("stop_sequence", "null")),
    }
    usage::write(&answer.usage.unwrap_or_else(|| estimate(answer, shown)), body.key("usage"));
    body.end();
}

/// The counts that this dialect must tell, when the provider told none: four bytes a token.
fn estimate(answer: &Answer<'_>, shown: &Shown<'_>) -> Usage {
    Usage {
        input: models::Tokens(shown.input_tokens.into()),
        output: models::Tokens(u64::from(answer.content_bytes().div_ceil(4))),
        ..Usage::default()
    }
}

fn write_block(part: &Part<'_>, names: &ToolNames, array: &mut Array<'_>) {
    match part {
        Part::Text(text) | Part::Refusal(text) => {
            array.object(|block| {
                block.text("type", "text");
                text.write(block.key("text"));
            });
        }
        Part::Reasoning(Reasoning { text: _, state: Some(state) })
            if state.is_redacted && is_own(state) =>
        {
            array.object(|block| {
                block.text("type", "redacted_thinking");
                state.data.write(block.key("data"));
            });
        }
        Part::Reasoning(Reasoning { text, state }) => {
            array.object(|block| {
                block.text("type", "thinking");
                text.write(block.key("thinking"));
                signature_of(state.as_ref()).write(block.key("signature"));
            });
        }
        Part::Call(call) => {
            let renamed = names.find(&call.name);
            array.object(|block| {
                block.text("type", "tool_use");
                id_of(&call.id, call.state.as_ref()).write(block.key("id"));
                renamed.map_or(&call.name, |tool| &tool.name).write(block.key("name"));
                block.raw("input", call.input.object());
            });
        }
        Part::Image { .. }
        | Part::Audio(_)
        | Part::File { .. }
        | Part::Result(_)
        | Part::CachePoint(_) => {}
    }
}

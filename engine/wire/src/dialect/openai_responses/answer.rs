//! Whole answers: a provider's, read into the neutral form, and a client's, written from it.

use super::echo::{Echo, State};
use super::items::{ClientCall, Item, write_message, write_part, write_reasoning};
use super::usage;
use crate::chat::names::ToolNames;
use crate::chat::{Answer, Choice, Finish, Json, Part, ReadRules, Request, Shown, Str};
use crate::dialect::AnswerFault;
use crate::json::write::Array;
use crate::json::{Cursor, JsonError, Kind};

type Result<T> = std::result::Result<T, JsonError>;

/// What a `response` object says.
#[derive(Default)]
pub(super) struct Whole<'b> {
    pub(super) answer: Answer<'b>,
    pub(super) parts: Vec<Part<'b>>,
    pub(super) logprobs: Option<Json<'b>>,
    has_output: bool,
    has_error: bool,
    is_incomplete: bool,
    is_filtered: bool,
}

impl<'b> Whole<'b> {
    pub(super) fn read(cursor: &mut Cursor<'b>, rules: &ReadRules) -> Result<Whole<'b>> {
        let mut whole = Whole::default();
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"id", Kind::String) => whole.answer.id = Some(cursor.string()?.into()),
                (b"output", Kind::Array) => {
                    whole.has_output = true;
                    cursor.array(|cursor| {
                        let mut item = Item::read(cursor)?;
                        whole.logprobs = item.logprobs.take().or(whole.logprobs.take());
                        whole.parts.extend(item.into_parts(rules));
                        Ok(())
                    })?;
                }
                (b"usage", _) => whole.answer.usage = usage::read(cursor, rules.usage)?,
                (b"service_tier", Kind::String) => {
                    whole.answer.service_tier = Some(cursor.string()?.into());
                }
                (b"status", Kind::String) => match cursor.string()?.bytes {
                    b"incomplete" => whole.is_incomplete = true,
                    b"failed" | b"cancelled" => whole.has_error = true,
                    _ => {}
                },
                (b"incomplete_details", Kind::Object) => {
                    cursor.object(|key, cursor| {
                        match (key.bytes, cursor.kind()?) {
                            (b"reason", Kind::String) => {
                                whole.is_filtered = cursor.string()?.is("content_filter");
                            }
                            _ => drop(cursor.skip()?),
                        }
                        Ok(())
                    })?;
                }
                (b"error", Kind::Object | Kind::String) => {
                    whole.has_error = true;
                    cursor.skip()?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(whole)
    }

    /// Why it ended, when it has `calls` and a `refusal`.
    pub(super) fn finish(&self, has_calls: bool, has_refusal: bool) -> Finish {
        match (self.is_incomplete, self.is_filtered) {
            (true, true) => Finish::Filter,
            (true, false) => Finish::Length,
            (false, _) if has_calls => Finish::Calls,
            (false, _) if has_refusal => Finish::Refusal,
            (false, _) => Finish::Stop,
        }
    }
}

/// Reads a provider's answer.
pub(super) fn read<'b>(
    body: &'b [u8],
    rules: &ReadRules,
) -> std::result::Result<Answer<'b>, AnswerFault> {
    let whole = || -> Result<Whole<'b>> {
        let mut cursor = Cursor::new(body)?;
        let whole = Whole::read(&mut cursor, rules)?;
        cursor.end()?;
        Ok(whole)
    };
    let whole = whole().map_err(|_| AnswerFault::Malformed)?;
    if whole.has_error {
        return Err(AnswerFault::Error);
    }
    if !whole.has_output {
        return Err(AnswerFault::Malformed);
    }
    let has = |is: fn(&Part<'_>) -> bool| whole.parts.iter().any(is);
    let finish = whole.finish(
        has(|part| matches!(part, Part::Call(_))),
        has(|part| matches!(part, Part::Refusal(_))),
    );
    let Whole { mut answer, parts, logprobs, .. } = whole;
    answer.choices.push(Choice { parts, finish, stop_sequence: None, logprobs });
    Ok(answer)
}

/// Writes an answer for a client.
pub(super) fn write(
    answer: &Answer<'_>,
    request: &Request<'_>,
    shown: &Shown<'_>,
    out: &mut Vec<u8>,
) {
    let names = ToolNames::of(request);
    // A request of this dialect cannot ask for several.
    let Some(choice) = answer.choices.first() else { return };
    let output = |array: &mut Array<'_>| write_output(choice, &names, shown.id, array);
    let echo = Echo::new(request, shown);
    echo.write(&State::Ended(choice.finish), output, answer.usage.as_ref(), out);
}

fn write_output(choice: &Choice<'_>, names: &ToolNames, id: &str, array: &mut Array<'_>) {
    let status = match choice.finish {
        Finish::Length | Finish::Context | Finish::Filter => "incomplete",
        _ => "completed",
    };
    let mut parts = choice.parts.iter().peekable();
    let mut logprobs = choice.logprobs.as_ref();
    let mut index = 0;
    while let Some(part) = parts.next() {
        match part {
            Part::Text(_) | Part::Refusal(_) => {
                array.object(|item| {
                    write_message(&format!("msg_{id}_{index}"), status, item, |content| {
                        let mut part = part;
                        loop {
                            if let Part::Text(text) | Part::Refusal(text) = part {
                                let is_refusal = matches!(part, Part::Refusal(_));
                                let logprobs = logprobs.take().filter(|_| !is_refusal);
                                content.object(|part| {
                                    write_part(is_refusal, text, logprobs, part);
                                });
                            }
                            let is_said =
                                |part: &&Part<'_>| matches!(part, Part::Text(_) | Part::Refusal(_));
                            match parts.next_if(is_said) {
                                Some(next) => part = next,
                                None => break,
                            }
                        }
                    });
                });
            }
            Part::Reasoning(reasoning) => {
                array.object(|item| {
                    let id = format!("rs_{id}_{index}");
                    write_reasoning(&id, &reasoning.text, reasoning.state.as_ref(), item);
                });
            }
            Part::Call(call) => {
                array.object(|item| {
                    let is_free = matches!(call.input, crate::chat::Input::Free(_));
                    let ids = (&call.id, &call.name);
                    let known = ClientCall::new(ids, is_free, call.state.as_ref(), names);
                    let id = format!("{}_{id}_{index}", known.id_prefix());
                    let input: Str<'_> =
                        if known.is_free { call.input.free() } else { call.input.text() };
                    known.write(&id, status, &input, item);
                });
            }
            _ => continue,
        }
        index += 1;
    }
}

//! Whole answers: a provider's, read into the neutral form, and a client's, written from it.

use super::tools::read_call;
use super::usage;
use crate::chat::names::ToolNames;
use crate::chat::{
    Answer, Call, Choice, Finish, Json, Part, ReadRules, Reasoning, Request, Shown, Str, carry,
};
use crate::dialect::AnswerFault;
use crate::json::write::{Array, Object};
use crate::json::{Cursor, JsonError, Kind};

type Result<T> = std::result::Result<T, JsonError>;

/// Reads a provider's answer.
pub(super) fn read<'b>(
    body: &'b [u8],
    rules: &ReadRules,
) -> std::result::Result<Answer<'b>, AnswerFault> {
    let mut answer = Answer::default();
    let mut has_error = false;
    let mut whole = || -> Result<()> {
        let mut cursor = Cursor::new(body)?;
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match key.bytes {
                b"id" if cursor.kind()? == Kind::String => {
                    answer.id = Some(cursor.string()?.into());
                }
                b"choices" => {
                    cursor.array(|cursor| {
                        answer.choices.push(read_choice(cursor, rules)?);
                        Ok(())
                    })?;
                }
                b"usage" => answer.usage = usage::read(cursor, rules.usage)?,
                b"service_tier" if cursor.kind()? == Kind::String => {
                    answer.service_tier = Some(cursor.string()?.into());
                }
                b"error" => {
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
        Ok(()) if answer.choices.is_empty() => Err(AnswerFault::Malformed),
        Ok(()) => Ok(answer),
    }
}

fn read_choice<'b>(cursor: &mut Cursor<'b>, rules: &ReadRules) -> Result<Choice<'b>> {
    let mut choice =
        Choice { parts: Vec::new(), finish: Finish::Stop, stop_sequence: None, logprobs: None };
    cursor.object(|key, cursor| {
        if cursor.null()? {
            return Ok(());
        }
        match key.bytes {
            b"message" => choice.parts = read_message(cursor, rules)?,
            b"finish_reason" => choice.finish = finish_of(&cursor.string()?.text()),
            b"logprobs" if cursor.kind()? == Kind::Object => {
                cursor.object(|key, cursor| {
                    match key.bytes == b"content" && cursor.kind()? == Kind::Array {
                        true => choice.logprobs = Some(Json::checked(cursor.raw()?)),
                        false => drop(cursor.skip()?),
                    }
                    Ok(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    let has = |is: fn(&Part<'_>) -> bool| choice.parts.iter().any(is);
    choice.finish = match choice.finish {
        // Some servers say "stop" when they call tools.
        Finish::Stop if has(|part| matches!(part, Part::Call(_))) => Finish::Calls,
        Finish::Stop if has(|part| matches!(part, Part::Refusal(_))) => Finish::Refusal,
        finish => finish,
    };
    Ok(choice)
}

fn read_message<'b>(cursor: &mut Cursor<'b>, rules: &ReadRules) -> Result<Vec<Part<'b>>> {
    let (mut reasoning, mut text, mut refusal) = (None, None, None);
    let mut calls = Vec::new();
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"content", Kind::String) => text = Some(Str::from(cursor.string()?)),
            // Mistral's form of an answer with reasoning: parts.
            (b"content", Kind::Array) => text = read_parts(cursor, &mut reasoning)?,
            (b"reasoning_content" | b"reasoning", Kind::String) => {
                reasoning = Some(Str::from(cursor.string()?));
            }
            (b"refusal", Kind::String) => refusal = Some(Str::from(cursor.string()?)),
            (b"tool_calls", Kind::Array) => {
                cursor.array(|cursor| {
                    let call = read_call(cursor)?;
                    let state =
                        call.state.map(|state| carry::State { issuer: rules.issuer, ..state });
                    calls.push(Part::Call(Call {
                        id: call.id.unwrap_or(Str::EMPTY),
                        name: call.name.unwrap_or(Str::EMPTY),
                        namespace: None,
                        input: call.input,
                        state,
                    }));
                    Ok(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    let given = |text: &Str<'_>| !text.is_empty();
    let mut parts = Vec::with_capacity(calls.len() + 2);
    let reasoning = reasoning.filter(given);
    parts.extend(reasoning.map(|text| Part::Reasoning(Reasoning { text, state: None })));
    parts.extend(text.filter(given).map(Part::Text));
    parts.extend(refusal.filter(given).map(Part::Refusal));
    parts.append(&mut calls);
    Ok(parts)
}

/// `[{type: thinking, thinking: [{text}]}, {type: text, text}]`.
fn read_parts<'b>(
    cursor: &mut Cursor<'b>,
    reasoning: &mut Option<Str<'b>>,
) -> Result<Option<Str<'b>>> {
    let mut text: Option<Str<'b>> = None;
    let add = |whole: &mut Option<Str<'b>>, piece: Str<'b>| match whole {
        Some(whole) => whole.push(&piece),
        None => *whole = Some(piece),
    };
    cursor.array(|cursor| {
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"text", Kind::String) => add(&mut text, cursor.string()?.into()),
                (b"thinking", Kind::Array) => {
                    let words = read_parts(cursor, &mut None)?;
                    words.into_iter().for_each(|words| add(reasoning, words));
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    })?;
    Ok(text)
}

/// The reason of that name. One that nobody knows is taken for the plain end that it mostly is.
pub(super) fn finish_of(name: &str) -> Finish {
    match name {
        "length" | "max_tokens" | "model_length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::Calls,
        "content_filter" => Finish::Filter,
        _ => Finish::Stop,
    }
}

/// The name of a reason. Why a model would not answer is told in words where there are any.
pub(super) fn finish_name(finish: Finish, has_refusal: bool) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::Pause => "stop",
        Finish::Length | Finish::Context => "length",
        Finish::Calls => "tool_calls",
        Finish::Refusal if has_refusal => "stop",
        Finish::Filter | Finish::Refusal => "content_filter",
    }
}

/// Writes an answer for a client.
pub(super) fn write(
    answer: &Answer<'_>,
    request: &Request<'_>,
    shown: &Shown<'_>,
    out: &mut Vec<u8>,
) {
    let names = ToolNames::of(request);
    let mut body = Object::begin(out);
    body.text("id", &format!("chatcmpl-{}", shown.id)).text("object", "chat.completion");
    body.number("created", shown.created_s).text("model", shown.model);
    body.array("choices", |array| {
        for (index, choice) in answer.choices.iter().enumerate() {
            write_choice(index, choice, &names, array);
        }
    });
    if let Some(usage) = &answer.usage {
        usage::write(usage, body.key("usage"));
    }
    body.end();
}

fn write_choice(index: usize, choice: &Choice<'_>, names: &ToolNames, array: &mut Array<'_>) {
    let Choice { parts, finish, stop_sequence: _, logprobs } = choice;
    let joined = |pick: fn(&Part<'_>) -> bool| {
        let mut whole: Option<Str<'static>> = None;
        for part in parts.iter().filter(|part| pick(part)) {
            let (Part::Text(text) | Part::Refusal(text) | Part::Reasoning(Reasoning { text, .. })) =
                part
            else {
                continue;
            };
            whole.get_or_insert(Str::EMPTY).push(text);
        }
        whole
    };
    let text = joined(|part| matches!(part, Part::Text(_)));
    let refusal = joined(|part| matches!(part, Part::Refusal(_)));
    let reasoning = joined(|part| matches!(part, Part::Reasoning(_)));
    let or_null = |text: &Option<Str<'_>>, out: &mut Vec<u8>| match text {
        Some(text) => text.write(out),
        None => out.extend_from_slice(b"null"),
    };
    array.object(|object| {
        object.number("index", index as u64).object("message", |message| {
            message.text("role", "assistant");
            or_null(&text, message.key("content"));
            or_null(&refusal, message.key("refusal"));
            if let Some(reasoning) = reasoning.filter(|text| !text.is_empty()) {
                reasoning.write(message.key("reasoning_content"));
            }
            if parts.iter().any(|part| matches!(part, Part::Call(_))) {
                message.array("tool_calls", |array| write_calls(parts, names, array));
            }
        });
        match logprobs {
            Some(logprobs) => {
                object.object("logprobs", |object| {
                    object.raw("content", logprobs).raw("refusal", "null");
                });
            }
            None => drop(object.raw("logprobs", "null")),
        }
        object.text("finish_reason", finish_name(*finish, refusal.is_some()));
    });
}

fn write_calls(parts: &[Part<'_>], names: &ToolNames, array: &mut Array<'_>) {
    let mut carried = carry::Carried::default();
    for part in parts {
        match part {
            Part::Reasoning(block) => carried.reasoning.push(block.clone()),
            Part::Text(_) => carried.before_text = carried.reasoning.len().min(255) as u8,
            Part::Call(call) => {
                carried.call = call.state.clone();
                array.object(|object| write_call(call, &carried, names, object));
                carried = carry::Carried::default();
            }
            _ => {}
        }
    }
}

fn write_call(
    call: &Call<'_>,
    carried: &carry::Carried<'_>,
    names: &ToolNames,
    object: &mut Object<'_>,
) {
    carry::id_with(&call.id, carried).write(object.key("id"));
    match names.find(&call.name) {
        Some(tool) if tool.is_free => {
            object.text("type", "custom").object("custom", |custom| {
                tool.name.write(custom.key("name"));
                call.input.free().write(custom.key("input"));
            });
        }
        renamed => {
            let name = renamed.map_or(&call.name, |tool| &tool.name);
            object.text("type", "function").object("function", |function| {
                name.write(function.key("name"));
                call.input.text().write(function.key("arguments"));
            });
        }
    }
}

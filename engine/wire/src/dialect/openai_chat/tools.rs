//! Calls, choices of tools and formats, as chat completions write them.

use crate::chat::{Format, Input, Issuer, Json, Str, ToolChoice, carry};
use crate::json::{Cursor, JsonError, JsonErrorKind, Kind};
use models::Dialect;

type Result<T> = std::result::Result<T, JsonError>;

/// A call as both requests and answers write it.
pub(super) struct ReadCall<'b> {
    pub(super) index: Option<u32>,
    pub(super) id: Option<Str<'b>>,
    pub(super) name: Option<Str<'b>>,
    pub(super) input: Input<'b>,
    pub(super) is_free: bool,
    pub(super) state: Option<carry::State<'b>>,
}

impl Default for ReadCall<'_> {
    fn default() -> Self {
        let input = Input::Text(Str::EMPTY);
        ReadCall { index: None, id: None, name: None, input, is_free: false, state: None }
    }
}

impl<'b> ReadCall<'b> {
    pub(super) fn function(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match key.bytes {
                b"name" => self.name = Some(cursor.string()?.into()),
                b"arguments" => {
                    self.input = match cursor.kind()? {
                        // Some servers write the object itself.
                        Kind::Object => Input::Object(Json::checked(cursor.raw()?)),
                        _ => Input::Text(cursor.string()?.into()),
                    }
                }
                b"input" => self.input = Input::Free(cursor.string()?.into()),
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Reads an element of `tool_calls`, of a message or of a stream's delta.
pub(super) fn read_call<'b>(cursor: &mut Cursor<'b>) -> Result<ReadCall<'b>> {
    let mut call = ReadCall::default();
    cursor.object(|key, cursor| {
        if cursor.null()? {
            return Ok(());
        }
        match key.bytes {
            b"index" => call.index = Some(cursor.unsigned("an index")? as u32),
            b"id" => call.id = Some(cursor.string()?.into()),
            b"function" => call.function(cursor)?,
            b"custom" => {
                call.is_free = true;
                call.input = Input::Free(Str::EMPTY);
                call.function(cursor)?;
            }
            b"extra_content" => call.state = google_state(cursor)?,
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok(call)
}

/// Where Google's server of this dialect puts its signature: `{google: {thought_signature}}`.
fn google_state<'b>(cursor: &mut Cursor<'b>) -> Result<Option<carry::State<'b>>> {
    let mut data = None;
    if cursor.kind()? != Kind::Object {
        return cursor.skip().map(|_| None);
    }
    cursor.object(|key, cursor| {
        if key.bytes != b"google" || cursor.kind()? != Kind::Object {
            return cursor.skip().map(drop);
        }
        cursor.object(|key, cursor| {
            match key.bytes == b"thought_signature" && cursor.kind()? == Kind::String {
                true => data = Some(Str::from(cursor.string()?)),
                false => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    })?;
    let issuer = Issuer::any(Dialect::OpenAiChat);
    Ok(data.map(|data| carry::State { issuer, is_redacted: false, id: Str::EMPTY, data }))
}

pub(super) fn word_choice(word: &str) -> Option<ToolChoice<'static>> {
    Some(match word {
        "none" => ToolChoice::None,
        "auto" => ToolChoice::Auto,
        "required" => ToolChoice::Required,
        _ => return None,
    })
}

/// `{type, function: {name}}`, `{type, custom: {name}}`, `{type, allowed_tools: {mode, tools}}`.
pub(super) fn object_choice<'b>(cursor: &mut Cursor<'b>) -> Result<Option<ToolChoice<'b>>> {
    let mut choice = None;
    cursor.object(|key, cursor| {
        match key.bytes {
            b"function" | b"custom" => choice = named(cursor)?.map(ToolChoice::Named),
            b"allowed_tools" => choice = Some(allowed(cursor)?),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok(choice)
}

pub(super) fn named<'b>(cursor: &mut Cursor<'b>) -> Result<Option<Str<'b>>> {
    let mut name = None;
    cursor.object(|key, cursor| {
        match key.bytes {
            b"name" => name = Some(cursor.string()?.into()),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok(name)
}

fn allowed<'b>(cursor: &mut Cursor<'b>) -> Result<ToolChoice<'b>> {
    let (mut names, mut required) = (Vec::new(), false);
    cursor.object(|key, cursor| {
        match key.bytes {
            b"mode" => required = cursor.string()?.is("required"),
            b"tools" => {
                cursor.array(|cursor| {
                    cursor.object(|key, cursor| {
                        match key.bytes {
                            b"function" | b"custom" => names.extend(named(cursor)?),
                            _ => drop(cursor.skip()?),
                        }
                        Ok(())
                    })?;
                    Ok(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok(ToolChoice::Allowed { names, required })
}

pub(super) fn schema_format<'b>(cursor: &mut Cursor<'b>) -> Result<Option<Format<'b>>> {
    let (mut name, mut description, mut schema, mut strict) = (None, None, None, None);
    cursor.object(|key, cursor| {
        if cursor.null()? {
            return Ok(());
        }
        match key.bytes {
            b"name" => name = Some(cursor.string()?.into()),
            b"description" => description = Some(cursor.string()?.into()),
            b"schema" => schema = Some(Json::checked(cursor.raw()?)),
            b"strict" => strict = Some(cursor.bool()?),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok(schema.map(|schema| Format::Schema { name, description, schema, strict }))
}

pub(super) fn wrong(cursor: &Cursor<'_>, expected: &'static str) -> JsonError {
    cursor.error(JsonErrorKind::WrongType(expected))
}

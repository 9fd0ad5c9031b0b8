//! `tools` and `toolConfig` of a client's request.

use super::form::{Result, camel, each, wrong};
use super::schema;
use crate::chat::{Json, Request, Str, Tool, ToolChoice, ToolInput, Trail};
use crate::json::{Cursor, Kind};

/// Reads the array of tools. A tool that Google itself runs has no neutral form.
pub(super) fn read<'b>(
    request: &mut Request<'b>,
    trail: &mut Trail,
    cursor: &mut Cursor<'b>,
) -> Result<()> {
    each(cursor, |index, cursor| {
        trail.index(index);
        cursor.object(|key, cursor| {
            let name = camel(&key);
            if cursor.null()? {
                return Ok(());
            }
            if name != "functionDeclarations" {
                request.unmapped.add_outside(&format!("tools.{name}"));
                return cursor.skip().map(drop);
            }
            trail.field("functionDeclarations");
            each(cursor, |index, cursor| {
                trail.index(index);
                let tool = read_declaration(trail, cursor)?;
                request.tools.push(tool);
                trail.back();
                Ok(())
            })?;
            trail.back();
            Ok(())
        })?;
        trail.back();
        Ok(())
    })
}

fn read_declaration<'b>(trail: &mut Trail, cursor: &mut Cursor<'b>) -> Result<Tool<'b>> {
    let (mut name, mut description) = (None, None);
    let (mut own_schema, mut json_schema) = (None, None);
    cursor.object(|key, cursor| {
        match (&*camel(&key), cursor.kind()?) {
            (_, Kind::Null) => drop(cursor.skip()?),
            ("name", _) => {
                trail.field("name");
                name = Some(Str::from(cursor.string()?));
                trail.back();
            }
            ("description", Kind::String) => description = Some(Str::from(cursor.string()?)),
            ("parameters", _) => own_schema = schema::from_google(cursor.raw()?),
            ("parametersJsonSchema", _) => json_schema = Some(Json::checked(cursor.raw()?)),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    trail.field("name");
    let Some(name) = name else { return Err(wrong(cursor, "the name of a function")) };
    trail.back();
    let input = ToolInput::Schema(json_schema.or(own_schema));
    Ok(Tool { name, namespace: None, description, input, strict: None, cache: None })
}

/// Reads `toolConfig`.
pub(super) fn read_choice<'b>(request: &mut Request<'b>, cursor: &mut Cursor<'b>) -> Result<()> {
    cursor.object(|key, cursor| {
        if cursor.null()? {
            return Ok(());
        }
        match &*camel(&key) {
            "functionCallingConfig" => {
                request.tool_choice = read_calling(cursor)?;
            }
            name => {
                request.unmapped.add_outside(&format!("toolConfig.{name}"));
                cursor.skip()?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn read_calling<'b>(cursor: &mut Cursor<'b>) -> Result<ToolChoice<'b>> {
    let mut mode = None;
    let mut names = Vec::new();
    cursor.object(|key, cursor| {
        match (&*camel(&key), cursor.kind()?) {
            (_, Kind::Null) => drop(cursor.skip()?),
            ("mode", _) => mode = Some(cursor.string()?.text().to_ascii_uppercase()),
            ("allowedFunctionNames", _) => {
                cursor.array(|cursor| {
                    names.push(Str::from(cursor.string()?));
                    Ok(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok(match (mode.as_deref(), names.len()) {
        (None | Some("MODE_UNSPECIFIED"), _) => ToolChoice::Unset,
        (Some("NONE"), _) => ToolChoice::None,
        (Some("AUTO" | "VALIDATED"), 0) => ToolChoice::Auto,
        (Some("AUTO" | "VALIDATED"), _) => ToolChoice::Allowed { names, required: false },
        (Some("ANY"), 0) => ToolChoice::Required,
        (Some("ANY"), 1) => names.pop().map_or(ToolChoice::Required, ToolChoice::Named),
        (Some("ANY"), _) => ToolChoice::Allowed { names, required: true },
        _ => return Err(wrong(cursor, "a mode of AUTO, ANY, NONE, VALIDATED")),
    })
}

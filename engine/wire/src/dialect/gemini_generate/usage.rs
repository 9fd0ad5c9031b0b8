//! `usageMetadata`, both ways.
//!
//! The counts are the whole input with what was cached, and the output without what was thought, which
//! stands beside it. In: the object. Out: the normal form, or nothing when it cannot be true.

use super::form::Result;
use crate::json::write::Object;
use crate::json::{Cursor, Kind};
use models::{Tokens, Usage, UsageSource};

/// Reads the object; `None` when there is no count of the input or the figures cannot be true.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Option<Usage>> {
    if cursor.kind()? != Kind::Object {
        return cursor.skip().map(|_| None);
    }
    let mut prompt = None;
    let (mut tools, mut cached, mut said, mut thought) = (0, 0, 0, 0);
    cursor.object(|key, cursor| {
        match key.bytes {
            b"promptTokenCount" => prompt = Some(count(cursor)?),
            b"toolUsePromptTokenCount" => tools = count(cursor)?,
            b"cachedContentTokenCount" => cached = count(cursor)?,
            b"candidatesTokenCount" => said = count(cursor)?,
            b"thoughtsTokenCount" => thought = count(cursor)?,
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    let Some(prompt) = prompt else { return Ok(None) };
    let usage = Usage {
        input: Tokens(prompt.saturating_add(tools)),
        cached: Tokens(cached),
        written_5m: Tokens(0),
        written_1h: Tokens(0),
        output: Tokens(said.saturating_add(thought)),
        reasoning: Tokens(thought),
        source: UsageSource::Provider,
    };
    Ok(usage.is_plausible().then_some(usage))
}

/// A count that may be null, which is zero. A value that is no count becomes one that nobody can
/// believe, so that the whole usage is set aside.
fn count(cursor: &mut Cursor<'_>) -> Result<u64> {
    Ok(match cursor.kind()? {
        Kind::Number => cursor.number()?.parse().unwrap_or(u64::MAX),
        Kind::Null => cursor.skip().map(|_| 0)?,
        _ => cursor.skip().map(|_| u64::MAX)?,
    })
}

/// Writes the object. What was written to a cache has no place in it and is part of the input.
pub(super) fn write(usage: &Usage, out: &mut Vec<u8>) {
    let Usage { input, cached, written_5m: _, written_1h: _, output, reasoning, source: _ } = usage;
    let mut object = Object::begin(out);
    object.number("promptTokenCount", input.0);
    object.number("candidatesTokenCount", output.0.saturating_sub(reasoning.0));
    object.number("totalTokenCount", input.0.saturating_add(output.0));
    if cached.0 > 0 {
        object.number("cachedContentTokenCount", cached.0);
    }
    if reasoning.0 > 0 {
        object.number("thoughtsTokenCount", reasoning.0);
    }
    object.end();
}

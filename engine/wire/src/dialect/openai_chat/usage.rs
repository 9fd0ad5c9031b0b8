//! The counts of an answer, to the normal form and back.

use crate::dialect::UsageRules;
use crate::json::write::Object;
use crate::json::{Cursor, JsonError, Kind};
use models::{Tokens, Usage, UsageSource};

/// Reads a `usage` object into the normal form. `None` when it is null, lacks a count, or cannot be
/// true: then the caller counts by itself.
///
/// The spellings are those of OpenAI, DeepSeek (`prompt_cache_hit_tokens`) and Moonshot
/// (`cached_tokens` beside the sums).
pub(super) fn read(cursor: &mut Cursor<'_>, rules: UsageRules) -> Result<Option<Usage>, JsonError> {
    if cursor.kind()? != Kind::Object {
        return cursor.skip().map(|_| None);
    }
    let (mut input, mut output) = (None, None);
    let (mut cached, mut written, mut reasoning) = (0, 0, 0);
    cursor.object(|key, cursor| {
        match key.bytes {
            b"prompt_tokens" => input = count(cursor)?,
            b"completion_tokens" => output = count(cursor)?,
            b"cached_tokens" | b"prompt_cache_hit_tokens" => {
                cached = count(cursor)?.unwrap_or(u64::MAX);
            }
            b"prompt_tokens_details" if cursor.kind()? == Kind::Object => {
                cursor.object(|key, cursor| {
                    match key.bytes {
                        b"cached_tokens" => cached = optional_count(cursor)?,
                        b"cache_write_tokens" => written = optional_count(cursor)?,
                        _ => drop(cursor.skip()?),
                    }
                    Ok(())
                })?;
            }
            b"completion_tokens_details" if cursor.kind()? == Kind::Object => {
                cursor.object(|key, cursor| {
                    match key.bytes {
                        b"reasoning_tokens" => reasoning = optional_count(cursor)?,
                        _ => drop(cursor.skip()?),
                    }
                    Ok(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    let (Some(input), Some(output)) = (input, output) else { return Ok(None) };
    let output: u64 = if rules.reasoning_apart { output.saturating_add(reasoning) } else { output };
    let usage = Usage {
        input: Tokens(input),
        cached: Tokens(cached),
        written_5m: Tokens(written),
        written_1h: Tokens(0),
        output: Tokens(output),
        reasoning: Tokens(reasoning),
        source: UsageSource::Provider,
    };
    Ok(usage.is_plausible().then_some(usage))
}

/// A count that may be null or missing, which is zero. A value that is no count becomes one that
/// nobody can believe, so that the whole usage is set aside.
fn optional_count(cursor: &mut Cursor<'_>) -> Result<u64, JsonError> {
    Ok(if cursor.null()? { 0 } else { count(cursor)?.unwrap_or(u64::MAX) })
}

fn count(cursor: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    if cursor.kind()? != Kind::Number {
        return cursor.skip().map(|_| None);
    }
    cursor.number().map(|text| text.parse().ok())
}

/// Writes the counts in OpenAI's form.
pub(super) fn write(usage: &Usage, out: &mut Vec<u8>) {
    let Usage { input, cached, written_5m, written_1h, output, reasoning, source: _ } = usage;
    let mut object = Object::begin(out);
    object.number("prompt_tokens", input.0).number("completion_tokens", output.0);
    object.number("total_tokens", input.0.saturating_add(output.0));
    object.object("prompt_tokens_details", |details| {
        details.number("cached_tokens", cached.0);
        details.number("cache_write_tokens", written_5m.0.saturating_add(written_1h.0));
    });
    object.object("completion_tokens_details", |details| {
        details.number("reasoning_tokens", reasoning.0);
    });
    object.end();
}

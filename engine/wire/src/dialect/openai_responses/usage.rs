//! The counts of a response, to the normal form and back. Both hold cached input in the input, and
//! reasoning in the output.

use crate::dialect::UsageRules;
use crate::json::write::Object;
use crate::json::{Cursor, JsonError, Kind};
use models::{Tokens, Usage, UsageSource};

/// Reads a `usage` object. `None` when it is null, lacks a count, or cannot be true.
pub(super) fn read(cursor: &mut Cursor<'_>, rules: UsageRules) -> Result<Option<Usage>, JsonError> {
    if cursor.kind()? != Kind::Object {
        return cursor.skip().map(|_| None);
    }
    let (mut input, mut output, mut total) = (None, None, None);
    let (mut cached, mut written, mut reasoning) = (0, 0, 0);
    cursor.object(|key, cursor| {
        match key.bytes {
            b"input_tokens" => input = Some(count(cursor)?),
            b"output_tokens" => output = Some(count(cursor)?),
            b"total_tokens" => total = Some(count(cursor)?),
            b"input_tokens_details" if cursor.kind()? == Kind::Object => {
                cursor.object(|key, cursor| {
                    match key.bytes {
                        b"cached_tokens" => cached = count(cursor)?,
                        b"cache_write_tokens" => written = count(cursor)?,
                        _ => drop(cursor.skip()?),
                    }
                    Ok(())
                })?;
            }
            b"output_tokens_details" if cursor.kind()? == Kind::Object => {
                cursor.object(|key, cursor| {
                    match key.bytes {
                        b"reasoning_tokens" => reasoning = count(cursor)?,
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
    // A provider that counts reasoning apart in chat completions need not do so here: the sum tells.
    let is_apart = rules.reasoning_apart && total != Some(input.saturating_add(output));
    let output: u64 = if is_apart { output.saturating_add(reasoning) } else { output };
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

/// A count; null is zero. A value that is no count becomes one that nobody can believe, so that the
/// whole usage is set aside.
fn count(cursor: &mut Cursor<'_>) -> Result<u64, JsonError> {
    Ok(match cursor.kind()? {
        Kind::Null => cursor.null().map(|_| 0)?,
        Kind::Number => cursor.number()?.parse().unwrap_or(u64::MAX),
        _ => cursor.skip().map(|_| u64::MAX)?,
    })
}

/// Writes the counts of an answer.
pub(super) fn write(usage: &Usage, out: &mut Vec<u8>) {
    let Usage { input, cached, written_5m, written_1h, output, reasoning, source: _ } = usage;
    let mut object = Object::begin(out);
    object.number("input_tokens", input.0);
    object.object("input_tokens_details", |details| {
        details.number("cached_tokens", cached.0);
        details.number("cache_write_tokens", written_5m.0.saturating_add(written_1h.0));
    });
    object.number("output_tokens", output.0);
    object.object("output_tokens_details", |details| {
        details.number("reasoning_tokens", reasoning.0);
    });
    object.number("total_tokens", input.0.saturating_add(output.0));
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_back_and_nonsense_is_set_aside() {
        let read = |text: &str, reasoning_apart| {
            read(&mut Cursor::new(text.as_bytes()).unwrap(), UsageRules { reasoning_apart })
                .unwrap()
        };
        let text = r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":2,"cache_write_tokens":1},"output_tokens":4,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":13}"#;
        let usage = read(text, false).unwrap();
        let mut out = Vec::new();
        write(&usage, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(read(text, true).unwrap().output.0, 4, "the sum says that it is in there");
        assert_eq!(read(&text.replace("13}", "16}"), true).unwrap().output.0, 7);
        for none in [
            "null",
            r#"{"input_tokens":9}"#,
            r#"{"input_tokens":-9,"output_tokens":1}"#,
            r#"{"input_tokens":1,"output_tokens":1,"input_tokens_details":{"cached_tokens":2}}"#,
            r#"{"input_tokens":1,"output_tokens":1,"input_tokens_details":{"cached_tokens":"x"}}"#,
        ] {
            assert_eq!(read(none, false), None, "{none}");
        }
    }
}

//! Anthropic's counts, to the normal form and back. Its input count leaves out what was read from the
//! cache and written to it; ours holds all.

use crate::json::write::Object;
use crate::json::{Cursor, JsonError, Kind};
use models::{Tokens, Usage, UsageSource};

/// Reads a `usage` object. Counts of a stream come in pieces: what this one leaves out is as `seen`
/// before. `None` when it is no object or cannot be true.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    seen: Option<&Usage>,
) -> Result<Option<Usage>, JsonError> {
    if cursor.kind()? != Kind::Object {
        return cursor.skip().map(|_| None);
    }
    let seen = seen.copied().unwrap_or_default();
    let mut plain = seen.input.0.saturating_sub(parts(&seen));
    let mut cached = seen.cached.0;
    let mut written = seen.written_5m.0.saturating_add(seen.written_1h.0);
    let mut hour = seen.written_1h.0;
    let (mut output, mut reasoning) = (seen.output.0, seen.reasoning.0);
    cursor.object(|key, cursor| {
        match key.bytes {
            b"input_tokens" => count(cursor, &mut plain)?,
            b"output_tokens" => count(cursor, &mut output)?,
            b"cache_read_input_tokens" => count(cursor, &mut cached)?,
            b"cache_creation_input_tokens" => count(cursor, &mut written)?,
            b"cache_creation" if cursor.kind()? == Kind::Object => {
                cursor.object(|key, cursor| match key.bytes {
                    b"ephemeral_1h_input_tokens" => count(cursor, &mut hour),
                    _ => cursor.skip().map(drop),
                })?;
            }
            b"output_tokens_details" if cursor.kind()? == Kind::Object => {
                cursor.object(|key, cursor| match key.bytes {
                    b"thinking_tokens" => count(cursor, &mut reasoning),
                    _ => cursor.skip().map(drop),
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    let usage = Usage {
        input: Tokens(plain.saturating_add(cached).saturating_add(written)),
        cached: Tokens(cached),
        written_5m: Tokens(written.saturating_sub(hour)),
        written_1h: Tokens(hour.min(written)),
        output: Tokens(output),
        reasoning: Tokens(reasoning),
        source: UsageSource::Provider,
    };
    Ok(usage.is_plausible().then_some(usage))
}

/// Takes a count that is there; one that is no count becomes one that nobody can believe.
fn count(cursor: &mut Cursor<'_>, into: &mut u64) -> Result<(), JsonError> {
    if cursor.null()? {
        return Ok(());
    }
    *into = match cursor.kind()? {
        Kind::Number => cursor.number()?.parse().unwrap_or(u64::MAX),
        _ => cursor.skip().map(|_| u64::MAX)?,
    };
    Ok(())
}

fn parts(usage: &Usage) -> u64 {
    let written = usage.written_5m.0.saturating_add(usage.written_1h.0);
    usage.cached.0.saturating_add(written)
}

/// Writes the counts of an answer.
pub(super) fn write(usage: &Usage, out: &mut Vec<u8>) {
    let Usage { input, cached, written_5m, written_1h, output, reasoning, source: _ } = usage;
    let mut object = Object::begin(out);
    object.number("input_tokens", input.0.saturating_sub(parts(usage)));
    object.number("cache_creation_input_tokens", written_5m.0.saturating_add(written_1h.0));
    object.number("cache_read_input_tokens", cached.0);
    object.object("cache_creation", |object| {
        object.number("ephemeral_5m_input_tokens", written_5m.0);
        object.number("ephemeral_1h_input_tokens", written_1h.0);
    });
    object.number("output_tokens", output.0);
    object.object("output_tokens_details", |object| {
        object.number("thinking_tokens", reasoning.0);
    });
    object.text("service_tier", "standard");
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_back_and_pieces_add_up() {
        let usage = |text: &str, seen: Option<&Usage>| {
            read(&mut Cursor::new(text.as_bytes()).unwrap(), seen).unwrap()
        };
        let start = usage(
            r#"{"input_tokens":5,"cache_read_input_tokens":100,"cache_creation_input_tokens":30,
                "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1}"#,
            None,
        );
        let start = start.unwrap();
        assert_eq!((start.input.0, start.cached.0), (135, 100));
        assert_eq!((start.written_5m.0, start.written_1h.0), (10, 20));
        let end = usage(r#"{"output_tokens":50,"cache_read_input_tokens":null}"#, Some(&start));
        assert_eq!(end, Some(Usage { output: Tokens(50), ..start }));
        let mut out = Vec::new();
        write(&start, &mut out);
        assert_eq!(usage(std::str::from_utf8(&out).unwrap(), None), Some(start));
        assert_eq!(usage(r#"{"input_tokens":-1}"#, None), None);
        assert_eq!(usage("7", None), None);
    }
}

//! Errors: `google.rpc.Status` in its JSON form, both ways.
//!
//! In: a provider's error body, or a refusal. Out: what the error says beyond its status, or a body.
//! Never: a provider's words; who shows them cleans them first.

use super::form::Result;
use crate::dialect::ErrorFacts;
use crate::json::write::{Array, Object};
use crate::json::{Cursor, Kind};
use crate::refusal::Refusal;

/// Reads the details of an error. Google says when to come back in them and not in a header, and
/// answers a bad key with the status of a bad request.
pub(super) fn read(body: &[u8]) -> Result<ErrorFacts> {
    let mut facts = ErrorFacts::default();
    let mut cursor = Cursor::new(body)?;
    let mut object = |cursor: &mut Cursor<'_>| {
        cursor.object(|key, cursor| match (key.bytes, cursor.kind()?) {
            (b"error", Kind::Object) => read_status(&mut facts, cursor),
            _ => cursor.skip().map(drop),
        })
    };
    // Some errors come in a list of one.
    match cursor.kind()? {
        Kind::Array => cursor.array(|cursor| object(cursor).map(drop))?,
        _ => object(&mut cursor)?,
    };
    Ok(facts)
}

fn read_status(facts: &mut ErrorFacts, cursor: &mut Cursor<'_>) -> Result<()> {
    cursor.object(|key, cursor| {
        if key.bytes != b"details" || cursor.kind()? != Kind::Array {
            return cursor.skip().map(drop);
        }
        cursor.array(|cursor| {
            if cursor.kind()? != Kind::Object {
                return cursor.skip().map(drop);
            }
            cursor.object(|key, cursor| {
                match (key.bytes, cursor.kind()?) {
                    (b"reason", Kind::String) => {
                        let reason = cursor.string()?;
                        facts.is_credential |=
                            CREDENTIAL_REASONS.iter().any(|known| reason.is(known));
                    }
                    (b"retryDelay", Kind::String) => {
                        facts.retry_after_s = seconds(&cursor.string()?.text());
                    }
                    _ => drop(cursor.skip()?),
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(())
    })?;
    Ok(())
}

/// Reasons that concern our own key, whatever the status.
const CREDENTIAL_REASONS: [&str; 3] =
    ["API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "API_KEY_EXPIRED"];

/// A duration such as `17s` or `0.5s`, in whole seconds, rounded up.
fn seconds(duration: &str) -> Option<u32> {
    let seconds: f64 = duration.strip_suffix('s')?.parse().ok()?;
    (0.0..=f64::from(u32::MAX)).contains(&seconds).then(|| seconds.ceil() as u32)
}

/// Appends a refusal as a body.
pub(super) fn write(refusal: &Refusal, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    object.object("error", |error| {
        error.number("code", refusal.status.into());
        error.text("message", &refusal.message).text("status", status_name(refusal.status));
        error.array("details", |array| write_details(refusal, array));
    });
    object.end();
}

/// The name that Google pairs with a status.
fn status_name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 | 429 => "RESOURCE_EXHAUSTED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500..=599 => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

/// What programs read: the code, the field, when to come back.
fn write_details(refusal: &Refusal, array: &mut Array<'_>) {
    array.object(|info| {
        info.text("@type", "type.googleapis.com/google.rpc.ErrorInfo");
        info.text("reason", &refusal.kind.code().to_ascii_uppercase());
        info.text("domain", "pointsman");
    });
    if let Some(field) = &refusal.param {
        array.object(|bad| {
            bad.text("@type", "type.googleapis.com/google.rpc.BadRequest");
            bad.array("fieldViolations", |array| {
                array.object(|violation| {
                    violation.text("field", field).text("description", &refusal.message);
                });
            });
        });
    }
    if let Some(seconds) = refusal.retry_after_s {
        array.object(|retry| {
            retry.text("@type", "type.googleapis.com/google.rpc.RetryInfo");
            retry.text("retryDelay", &format!("{seconds}s"));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_say_more_than_the_status() {
        let error = |details: &str| {
            format!("{{\"error\":{{\"code\":400,\"message\":\"m\",\"details\":[{details}]}}}}")
        };
        let facts = |retry_after_s, is_credential| ErrorFacts { retry_after_s, is_credential };
        let rows = [
            (error("{\"@type\":\"x/RetryInfo\",\"retryDelay\":\"17s\"}"), facts(Some(17), false)),
            (error("{\"retryDelay\":\"0.2s\"},{\"reason\":\"X\"}"), facts(Some(1), false)),
            (error("{\"retryDelay\":\"-3s\"},7"), facts(None, false)),
            (error("{\"reason\":\"API_KEY_INVALID\"}"), facts(None, true)),
            (format!("[{}]", error("{\"reason\":\"API_KEY_INVALID\"}")), facts(None, true)),
            ("{\"error\":{}}".to_owned(), facts(None, false)),
        ];
        for (body, expected) in rows {
            assert_eq!(read(body.as_bytes()), Ok(expected), "{body}");
        }
        assert!(read(b"<html>").is_err());
    }
}

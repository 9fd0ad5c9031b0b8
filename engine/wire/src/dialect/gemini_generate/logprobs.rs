//! Log probabilities: Google's two lists, and OpenAI's one, which is the neutral form.
//!
//! In: `logprobsResult`, or the elements of OpenAI's `logprobs.content`. Out: the other. Google counts
//! no bytes of a token; they are taken from its text.

use super::form::Result;
use crate::chat::{Json, Str};
use crate::json::write::{Array, Object};
use crate::json::{Cursor, Kind};

/// A token and the logarithm of its probability, as it was written.
struct Token<'b> {
    text: Str<'b>,
    logprob: &'b str,
}

/// Reads `logprobsResult`; `None` when it holds nothing.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Option<Json<'static>>> {
    let mut chosen: Vec<Token<'_>> = Vec::new();
    let mut top: Vec<Vec<Token<'_>>> = Vec::new();
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (b"chosenCandidates", Kind::Array) => chosen = tokens(cursor, b"logProbability")?,
            (b"topCandidates", Kind::Array) => {
                cursor.array(|cursor| {
                    let mut row = Vec::new();
                    cursor.object(|key, cursor| {
                        match (key.bytes, cursor.kind()?) {
                            (b"candidates", Kind::Array) => {
                                row = tokens(cursor, b"logProbability")?;
                            }
                            _ => drop(cursor.skip()?),
                        }
                        Ok(())
                    })?;
                    top.push(row);
                    Ok(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    if chosen.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::new();
    let mut array = Array::begin(&mut out);
    let mut rows = top.iter();
    for token in &chosen {
        array.object(|object| {
            write_openai(token, object);
            object.array("top_logprobs", |array| {
                for token in rows.next().into_iter().flatten() {
                    array.object(|object| write_openai(token, object));
                }
            });
        });
    }
    array.end();
    Ok(Some(Json::checked(out)))
}

/// Writes `logprobsResult` from OpenAI's elements.
pub(super) fn write(logprobs: &Json<'_>, candidate: &mut Object<'_>) {
    let mut chosen = Vec::new();
    let mut top = Vec::new();
    let read = || -> Result<()> {
        let mut cursor = Cursor::new(logprobs.bytes())?;
        cursor.array(|cursor| {
            let mut inner = cursor.clone();
            chosen.extend(token(cursor, b"logprob")?);
            let mut row = Vec::new();
            inner.object(|key, cursor| {
                match (key.bytes, cursor.kind()?) {
                    (b"top_logprobs", Kind::Array) => row = tokens(cursor, b"logprob")?,
                    _ => drop(cursor.skip()?),
                }
                Ok(())
            })?;
            top.push(row);
            Ok(())
        })?;
        Ok(())
    };
    let mut read = read;
    if read().is_err() {
        return;
    }
    candidate.object("logprobsResult", |result| {
        result.array("topCandidates", |array| {
            for row in &top {
                array.object(|object| {
                    object.array("candidates", |array| write_google(row, array));
                });
            }
        });
        result.array("chosenCandidates", |array| write_google(&chosen, array));
    });
}

fn tokens<'b>(cursor: &mut Cursor<'b>, logprob_name: &[u8]) -> Result<Vec<Token<'b>>> {
    let mut tokens = Vec::new();
    cursor.array(|cursor| {
        tokens.extend(token(cursor, logprob_name)?);
        Ok(())
    })?;
    Ok(tokens)
}

fn token<'b>(cursor: &mut Cursor<'b>, logprob_name: &[u8]) -> Result<Option<Token<'b>>> {
    let (mut text, mut logprob) = (None, None);
    cursor.object(|key, cursor| {
        match cursor.kind()? {
            Kind::String if key.bytes == b"token" => text = Some(Str::from(cursor.string()?)),
            Kind::Number if key.bytes == logprob_name => logprob = Some(cursor.number()?),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    // Zero is left out in the JSON form of protocol buffers.
    Ok(text.map(|text| Token { text, logprob: logprob.unwrap_or("0") }))
}

fn write_openai(token: &Token<'_>, object: &mut Object<'_>) {
    token.text.write(object.key("token"));
    object.raw("logprob", token.logprob);
    let text = token.text.text();
    object.array("bytes", |array| {
        for byte in text.bytes() {
            let mut digits = itoa::Buffer::new();
            array.element().extend_from_slice(digits.format(byte).as_bytes());
        }
    });
}

fn write_google(tokens: &[Token<'_>], array: &mut Array<'_>) {
    for token in tokens {
        array.object(|object| {
            token.text.write(object.key("token"));
            object.raw("logProbability", token.logprob);
        });
    }
}

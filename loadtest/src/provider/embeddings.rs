//! Embeddings in OpenAI's and in Gemini's form, as providers speak them.
//!
//! In: the body of `POST …/embeddings`, or of `…:embedContent` and `…:batchEmbedContents`. Out: vectors
//! of numbers that follow from the input's place alone, so that a test can say what must come. They
//! are short, unless the request asks for a length. Never: a stream.

use std::ops::Range;

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Piece, Vectors};
use super::chat::Chat;
use super::dialect::Dialect;
use super::script::UsageRule;
use crate::json::members;

/// Numbers of a vector when nobody asks for more or less.
const DIMENSIONS: u32 = 8;

/// OpenAI's form.
pub(crate) struct Embeddings;

/// Gemini's form.
pub(crate) struct Contents;

/// The number at `place` of the vector of input `index`: a multiple of 1/64, the same in 32 bits as
/// in decimals.
pub(crate) fn number(index: u32, place: u32) -> f32 {
    let step = (u64::from(index) * 7 + u64::from(place) * 3) % 128;
    (step as f32 - 64.0) / 64.0
}

fn numbers(index: u32, vectors: &Vectors) -> Vec<f32> {
    (0..vectors.dimensions).map(|place| number(index, place)).collect()
}

impl Dialect for Embeddings {
    fn takes(&self, method: &str, path: &str) -> bool {
        method == "POST" && path.ends_with("/embeddings")
    }

    fn read(&self, _path: &str, body: &[u8]) -> Result<Ask, String> {
        let mut ask = Ask::default();
        let doc: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        for (key, value) in members(body) {
            match key {
                b"model" => ask.model = value.start + 1..value.end - 1,
                b"input" => ask.prompt = value,
                b"x_script" => ask.script = Some(value),
                _ => {}
            }
        }
        if !doc["model"].is_string() {
            return Err("you must provide a model parameter".to_owned());
        }
        let count = match &doc["input"] {
            Value::String(_) => 1,
            Value::Array(all) if all.first().is_some_and(Value::is_number) => 1,
            Value::Array(all) if !all.is_empty() => all.len() as u32,
            _ => return Err("'$.input' is invalid".to_owned()),
        };
        ask.vectors = Some(Vectors {
            count,
            dimensions: doc["dimensions"].as_u64().map_or(DIMENSIONS, |count| count as u32),
            base64: doc["encoding_format"] == "base64",
            alone: false,
        });
        Ok(ask)
    }

    fn echo(&self, body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap_or_default()
    }

    fn prompt(&self, _body: &[u8]) -> String {
        String::new()
    }

    fn whole(&self, answer: &Answer, out: &mut Vec<u8>) {
        let Some(vectors) = &answer.vectors else { return };
        let data: Vec<Value> = (0..vectors.count)
            .map(|index| {
                let numbers = numbers(index, vectors);
                let embedding = match vectors.base64 {
                    true => json!(base64(&numbers)),
                    false => json!(numbers),
                };
                json!({"object": "embedding", "index": index, "embedding": embedding})
            })
            .collect();
        let model = String::from_utf8_lossy(&answer.model);
        let mut body = json!({"object": "list", "data": data, "model": model});
        match (answer.usage, answer.usage_rule()) {
            (Some(_), UsageRule::Wrong) => body["usage"] = json!({"prompt_tokens": -3}),
            (Some(usage), _) => {
                let tokens = usage.prompt;
                body["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
            }
            (None, _) => {}
        }
        out.extend_from_slice(body.to_string().as_bytes());
    }

    fn prefix(&self, _answer: &mut Answer) {}

    fn event(&self, _answer: &Answer, _piece: Piece, _out: &mut Vec<u8>) {}

    fn error_event(&self, out: &mut Vec<u8>) {
        Chat.error_event(out);
    }

    fn error(&self, status: u16, code: Option<&str>, message: &str, out: &mut Vec<u8>) {
        Chat.error(status, code, message, out);
    }
}

impl Dialect for Contents {
    fn takes(&self, method: &str, path: &str) -> bool {
        let embeds = path.ends_with(":embedContent") || path.ends_with(":batchEmbedContents");
        method == "POST" && embeds
    }

    fn read(&self, path: &str, body: &[u8]) -> Result<Ask, String> {
        let doc: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let alone = path.ends_with(":embedContent");
        let requests = match alone {
            true => std::slice::from_ref(&doc),
            false => doc["requests"].as_array().map_or(&[][..], Vec::as_slice),
        };
        let [first, ..] = requests else {
            return Err("* BatchEmbedContentsRequest.requests: is empty".to_owned());
        };
        let (_, name) = path.rsplit_once("models/").ok_or("the path names no model")?;
        let name = name.split(':').next().unwrap_or_default();
        for request in requests {
            let text = &request["content"]["parts"][0]["text"];
            let model = request["model"].as_str();
            if !text.is_string() {
                return Err("* EmbedContentRequest.content: contents is not specified".to_owned());
            }
            // The batch wants its model named in each request, and as in the path.
            let named = model == Some(&format!("models/{name}")) || (alone && model.is_none());
            if !named {
                return Err(format!("* model: found {model:?} under models/{name}"));
            }
        }
        let model = named(body, name).ok_or("the model is to be named in the body here")?;
        Ok(Ask {
            model,
            prompt: 0..body.len(),
            vectors: Some(Vectors {
                count: requests.len() as u32,
                dimensions: first["outputDimensionality"]
                    .as_u64()
                    .map_or(DIMENSIONS, |count| count as u32),
                base64: false,
                alone,
            }),
            ..Ask::default()
        })
    }

    fn echo(&self, body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap_or_default()
    }

    fn prompt(&self, _body: &[u8]) -> String {
        String::new()
    }

    fn whole(&self, answer: &Answer, out: &mut Vec<u8>) {
        let Some(vectors) = &answer.vectors else { return };
        let mut all = (0..vectors.count).map(|index| json!({"values": numbers(index, vectors)}));
        let mut body = match vectors.alone {
            true => json!({"embedding": all.next()}),
            false => json!({"embeddings": all.collect::<Vec<_>>()}),
        };
        if let Some(usage) = answer.usage {
            body["usageMetadata"] = json!({"promptTokenCount": usage.prompt});
        }
        out.extend_from_slice(body.to_string().as_bytes());
    }

    fn prefix(&self, _answer: &mut Answer) {}

    fn event(&self, _answer: &Answer, _piece: Piece, _out: &mut Vec<u8>) {}

    fn error_event(&self, _out: &mut Vec<u8>) {}

    fn error(&self, status: u16, _code: Option<&str>, message: &str, out: &mut Vec<u8>) {
        let name = match status {
            400 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            503 => "UNAVAILABLE",
            _ => "INTERNAL",
        };
        let body = json!({"error": {"code": status, "message": message, "status": name}});
        out.extend_from_slice(body.to_string().as_bytes());
    }
}

/// Where the body says `models/{name}`: the name.
fn named(body: &[u8], name: &str) -> Option<Range<usize>> {
    let wanted = format!("\"models/{name}\"");
    let at = body.windows(wanted.len()).position(|window| window == wanted.as_bytes())?;
    let start = at + "\"models/".len();
    Some(start..start + name.len())
}

/// 32-bit floats, little-endian, in Base64 (RFC 4648).
fn base64(numbers: &[f32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            let is_there = place <= three.len();
            text.push(if is_there { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        assert_eq!(base64(&[0.5, -1.0]), "AAAAPwAAgL8=");
        assert_eq!(base64(&[2.0]), "AAAAQA==");
        assert_eq!(base64(&[]), "");
    }

    #[test]
    fn numbers_are_the_same_in_decimals_and_in_32_bits() {
        for index in 0..40 {
            let number = number(index, index * 5);
            assert_eq!(json!(number).to_string().parse::<f32>(), Ok(number));
            assert!((-1.0..1.0).contains(&number));
        }
    }
}

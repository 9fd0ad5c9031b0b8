//! What is read, what is passed on, what is refused, and both halves of a translation.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const SHOWN: Shown<'static> =
    Shown { id: "0", model: "lab/vectors", created_s: 0, input_tokens: 7 };

fn read(body: &Value) -> Parsed {
    OpenAiEmbeddings.read_request(body.to_string().as_bytes()).expect("a good request")
}

/// One row per form of input: how many inputs, tokens as estimated, token ids of the longest.
#[test]
fn inputs_of_every_form_are_counted() {
    let rows = [
        (json!("12345678"), (1, 2, 0)),
        (json!(["1234", "5"]), (2, 2, 0)),
        (json!([1, 2, 3]), (1, 3, 3)),
        (json!([[1, 2], [3, 4, 5, 6], [7]]), (3, 7, 4)),
        (json!(""), (1, 0, 0)),
    ];
    for (input, expected) in rows {
        let parsed = read(&json!({"model": "m", "input": input}));
        let shape = &parsed.shape;
        let found = (shape.inputs, parsed.input_tokens(), shape.token_ids_longest);
        assert_eq!(found, expected, "{input}");
        let has_ids = parsed.needs.covers(models::Capabilities::TOKEN_INPUT);
        assert_eq!(has_ids, expected.2 > 0, "{input}");
    }
}

/// One row per mistake: the body, the field that is named, and a word of the message.
#[test]
fn refusals_name_the_field() {
    let rows = [
        ("{}", "model", "missing"),
        (r#"{"model":"m"}"#, "input", "missing"),
        (r#"{"model":"","input":"a"}"#, "model", "empty"),
        (r#"{"model":"m","input":[]}"#, "input", "empty"),
        (r#"{"model":"m","input":7}"#, "input", "token ids"),
        (r#"{"model":"m","input":null}"#, "input", "token ids"),
        (r#"{"model":"m","input":["a",7]}"#, "input[1]", "type"),
        (r#"{"model":"m","input":[[1],["a"]]}"#, "input[1]", "a token id"),
        (r#"{"model":"m","input":[1,2.5]}"#, "input[1]", "a token id"),
        (r#"{"model":"m","input":[{}]}"#, "input[0]", "token ids"),
        (r#"{"model":"m","input":"a","dimensions":0}"#, "dimensions", "at least 1"),
        (r#"{"model":"m","input":"a","dimensions":"8"}"#, "dimensions", "whole number"),
        (r#"{"model":"m","input":"a","in\u0070ut":"b"}"#, "input", "twice"),
    ];
    for (body, param, word) in rows {
        let refusal = OpenAiEmbeddings.read_request(body.as_bytes()).expect_err(body);
        assert_eq!(refusal.param.as_deref(), Some(param), "{body}: {refusal:?}");
        assert!(refusal.message.contains(word), "{body}: {}", refusal.message);
    }
}

#[test]
fn only_the_model_changes_on_the_way_to_its_own_dialect() {
    let body =
        r#" {"input" : ["a\u0041", "b"],"model":"alias", "encoding_format":null,"x":[1.50]} "#;
    let parsed = OpenAiEmbeddings.read_request(body.as_bytes()).unwrap();
    let outgoing =
        Outgoing { model: "other", asks_usage: true, max_output_field: None, max_output: u32::MAX };
    let mut out = Vec::new();
    let rest = OpenAiEmbeddings.patch_request(&parsed, body.as_bytes(), &outgoing, &mut out);
    out.extend_from_slice(&body.as_bytes()[rest..]);
    assert_eq!(String::from_utf8(out.clone()).unwrap(), body.replace("alias", "other"));
    let length = OpenAiEmbeddings.patched_len(&parsed, body.as_bytes(), &outgoing);
    assert_eq!(length, out.len());
}

#[test]
fn usage_is_the_providers_when_it_can_be_true() {
    let rows = [
        (r#"{"prompt_tokens":5,"total_tokens":5}"#, Some(5)),
        (r#"{"total_tokens":6}"#, Some(6)),
        (r#"{"prompt_tokens":-5}"#, None),
        (r#"{"prompt_tokens":99999999999}"#, None),
        ("null", None),
    ];
    for (usage, expected) in rows {
        let body = format!(r#"{{"data":[{{"embedding":"AAAAAA=="}}],"usage":{usage}}}"#);
        let answer = OpenAiEmbeddings.read_answer(body.as_bytes(), UsageRules::default()).unwrap();
        assert_eq!(answer.usage.map(|usage| usage.input.0), expected, "{usage}");
        assert_eq!(answer.content_bytes, 0);
    }
    for (body, fault) in [
        ("{}", AnswerFault::Malformed),
        (r#"{"data":[]}"#, AnswerFault::Malformed),
        (r#"{"data":[{"embedding":[1]}],"error":{"message":"no"}}"#, AnswerFault::Error),
        ("<html>", AnswerFault::Malformed),
    ] {
        let read = OpenAiEmbeddings.read_answer(body.as_bytes(), UsageRules::default());
        assert_eq!(read, Err(fault), "{body}");
    }
}

#[test]
fn vectors_stand_in_the_order_of_their_index() {
    let body = br#"{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}]}"#;
    let answer = OpenAiEmbeddings.neutral_answer(body).unwrap();
    assert_eq!(answer.vectors, [Vector::Numbers(b"[1]"), Vector::Numbers(b"[2]")]);
    for body in [
        r#"{"data":[{"index":1,"embedding":[2]}]}"#,
        r#"{"data":[{"index":0,"embedding":[2]},{"index":0,"embedding":[3]}]}"#,
        r#"{"data":[{"index":0}]}"#,
    ] {
        let read = OpenAiEmbeddings.neutral_answer(body.as_bytes());
        assert_eq!(read, Err(AnswerFault::Malformed), "{body}");
    }
}

proptest! {
    /// Through the neutral form and back: what is said of the vectors survives.
    #[test]
    fn requests_and_answers_come_back(
        texts in prop::collection::vec("\\PC{0,20}", 1..5),
        dimensions in prop::option::of(1u32..4096),
        is_base64: bool,
        numbers in prop::collection::vec(-1.0f32..1.0, 1..8),
    ) {
        let mut body = json!({"model": "m", "input": texts});
        if let Some(dimensions) = dimensions {
            body["dimensions"] = dimensions.into();
        }
        body["encoding_format"] = if is_base64 { "base64" } else { "float" }.into();
        let text = body.to_string();
        let request = OpenAiEmbeddings.neutral_request(text.as_bytes()).unwrap();
        let mut out = Vec::new();
        let dropped = OpenAiEmbeddings.provider_request(&request, "m", &mut out).unwrap();
        prop_assert!(dropped.is_empty());
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), body);

        let vector = serde_json::to_string(&numbers).unwrap();
        let vectors = vec![Vector::Numbers(vector.as_bytes()); texts.len()];
        let answer = embed::Answer { vectors, usage: None };
        let mut out = Vec::new();
        OpenAiEmbeddings.client_answer(&answer, &request, &SHOWN, &mut out).unwrap();
        let shown: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(&shown["usage"]["prompt_tokens"], &json!(7));
        let back = OpenAiEmbeddings.neutral_answer(&out).unwrap();
        prop_assert_eq!(back.vectors.len(), texts.len());
        let mut plain = Vec::new();
        back.vectors[0].write(Format::Numbers, &mut plain).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Vec<f32>>(&plain).unwrap(), numbers);
    }
}

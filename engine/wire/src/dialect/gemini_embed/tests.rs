//! Both kinds of request, what is patched, what is refused, and the translation from OpenAI's form.

use super::*;
use crate::dialect::openai_embeddings::OpenAiEmbeddings;
use serde_json::{Value, json};

const SHOWN: Shown<'static> =
    Shown { id: "0", model: "lab/vectors", created_s: 0, input_tokens: 7 };

fn patched(body: &str, model: &str) -> String {
    let parsed = GeminiEmbed.read_request(body.as_bytes()).expect("a good request");
    let outgoing =
        Outgoing { model, asks_usage: true, max_output_field: None, max_output: u32::MAX };
    let mut out = Vec::new();
    let rest = GeminiEmbed.patch_request(&parsed, body.as_bytes(), &outgoing, &mut out);
    out.extend_from_slice(&body.as_bytes()[rest..]);
    assert_eq!(GeminiEmbed.patched_len(&parsed, body.as_bytes(), &outgoing), out.len());
    String::from_utf8(out).expect("text")
}

#[test]
fn the_model_is_named_anew_wherever_it_stands() {
    let one = r#"{"content":{"parts":[{"text":"a"}]},"taskType":"X","model":"models/alias"}"#;
    assert_eq!(patched(one, "m"), one.replace("alias", "m"));
    assert_eq!(patched(one, "alias"), one);
    let batch = r#"{"requests": [
        {"model": "models/alias", "content": {"parts": [{"text": "a"}]}},
        {"content": {"parts": [{"text": "b"}]}, "model": "alias"}
    ]}"#;
    assert_eq!(patched(batch, "m"), batch.replace("alias", "m"));
    let bare = r#"{"content":{"parts":[{"text":"a"}]}}"#;
    assert_eq!(patched(bare, "m"), bare);
}

/// One row per mistake: the body, the field that is named, and a word of the message.
#[test]
fn refusals_name_the_field() {
    let rows = [
        ("{}", "content", "missing"),
        (r#"{"requests":[]}"#, "requests", "empty"),
        (r#"{"requests":[{}]}"#, "requests[0]", "content"),
        (r#"{"content":{}}"#, "content", "parts"),
        (r#"{"content":{"parts":[{"text":7}]}}"#, "content.parts[0].text", "a string"),
        (
            r#"{"content":{"parts":[{"text":"a"}]},"outputDimensionality":"8"}"#,
            "outputDimensionality",
            "whole",
        ),
        (
            r#"{"requests":[{"content":{"parts":[{"text":"a"}]},"content":1}]}"#,
            "requests[0]",
            "twice",
        ),
    ];
    for (body, param, word) in rows {
        let refusal = GeminiEmbed.read_request(body.as_bytes()).expect_err(body);
        assert_eq!(refusal.param.as_deref(), Some(param), "{body}: {refusal:?}");
        assert!(refusal.message.contains(word), "{body}: {}", refusal.message);
    }
}

#[test]
fn an_openai_request_becomes_a_batch_and_its_answer_comes_back() {
    let body = json!({
        "model": "alias", "input": ["a \"b\"", "c\u{1f600}"], "dimensions": 256, "user": "u",
        "encoding_format": "base64",
    })
    .to_string();
    let request = OpenAiEmbeddings.neutral_request(body.as_bytes()).unwrap();
    let mut out = Vec::new();
    let dropped = GeminiEmbed.provider_request(&request, "gemini-embedding-2", &mut out).unwrap();
    assert_eq!(dropped.header(), "user");
    let one = |text: &str| {
        json!({
            "model": "models/gemini-embedding-2",
            "content": {"parts": [{"text": text}]},
            "outputDimensionality": 256,
        })
    };
    let expected = json!({"requests": [one("a \"b\""), one("c\u{1f600}")]});
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);

    let answer = br#"{"embeddings":[{"values":[0.5,-1]},{"values":[2e0]}],"usageMetadata":{"promptTokenCount":9}}"#;
    let answer = GeminiEmbed.neutral_answer(answer).unwrap().for_inputs(2).unwrap();
    assert_eq!(answer.usage.unwrap().input, models::Tokens(9));
    let mut out = Vec::new();
    OpenAiEmbeddings.client_answer(&answer, &request, &SHOWN, &mut out).unwrap();
    let expected = json!({
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": "AAAAPwAAgL8="},
            {"object": "embedding", "index": 1, "embedding": "AAAAQA=="},
        ],
        "model": "lab/vectors",
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    });
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
}

#[test]
fn a_gemini_request_becomes_openais_and_its_answer_comes_back() {
    let rows = [
        (
            json!({"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "taskType": "X", "outputDimensionality": 8}),
            json!({"model": "m", "input": ["ab"], "dimensions": 8, "encoding_format": "float"}),
            json!({"embedding": {"values": [1, 2.5]}}),
            "taskType",
        ),
        (
            json!({"requests": [{"model": "models/x", "content": {"parts": [{"text": "a"}]}}]}),
            json!({"model": "m", "input": ["a"], "encoding_format": "float"}),
            json!({"embeddings": [{"values": [1, 2.5]}]}),
            "",
        ),
    ];
    for (body, expected, shown, dropped) in rows {
        let body = body.to_string();
        let request = GeminiEmbed.neutral_request(body.as_bytes()).unwrap();
        let mut out = Vec::new();
        let lost = OpenAiEmbeddings.provider_request(&request, "m", &mut out).unwrap();
        assert_eq!(lost.header(), dropped);
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        let answer =
            br#"{"data":[{"index":0,"embedding":"AACAPwAAIEA="}],"usage":{"prompt_tokens":3}}"#;
        let answer = OpenAiEmbeddings.neutral_answer(answer).unwrap().for_inputs(1).unwrap();
        let mut out = Vec::new();
        GeminiEmbed.client_answer(&answer, &request, &SHOWN, &mut out).unwrap();
        let mut shown = shown;
        shown["usageMetadata"] = json!({"promptTokenCount": 3, "totalTokenCount": 3});
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), shown);
    }
}

/// What Gemini has no words for is found before it is asked.
#[test]
fn what_cannot_be_said_is_refused_with_its_field() {
    let many: Vec<String> = (0..=BATCH_MAX).map(|n| n.to_string()).collect();
    for (input, word) in [(json!([[1, 2]]), "text"), (json!(many), "100")] {
        let body = json!({"model": "m", "input": input}).to_string();
        let request = OpenAiEmbeddings.neutral_request(body.as_bytes()).unwrap();
        let refusal = GeminiEmbed.provider_request(&request, "m", &mut Vec::new()).unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some("input"));
        assert!(refusal.message.contains(word), "{}", refusal.message);
    }
    let picture = r#"{"content":{"parts":[{"text":"a"},{"inlineData":{"data":"AA=="}}]}}"#;
    let refusal = GeminiEmbed.neutral_request(picture.as_bytes()).unwrap_err();
    assert_eq!(refusal.param.as_deref(), Some("content.parts[1]"));
    for body in [
        "{}",
        r#"{"embeddings":[{}]}"#,
        r#"{"embeddings":[]}"#,
        "[",
        r#"{"embedding":{"values":"x"}}"#,
    ] {
        let read = GeminiEmbed.neutral_answer(body.as_bytes());
        assert_eq!(read, Err(AnswerFault::Malformed), "{body}");
    }
}

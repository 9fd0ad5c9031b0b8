//! What the fake provider says to those who speak Gemini.

use std::io::{Read, Write};
use std::net::TcpStream;

use loadtest::provider::{Config, Handle, Provider};
use serde_json::{Value, json};

fn exchange(provider: &Handle, verb: &str, script: &Value) -> String {
    let body = json!({
        "contents": [{ "role": "user", "parts": [{ "text": "hello there" }] }],
        "x_script": script,
    })
    .to_string();
    let mut socket = TcpStream::connect(provider.addr()).expect("it listens");
    let request = format!(
        "POST /v1beta/models/lab/fake-1:{verb} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

fn provider() -> Handle {
    Provider::start(Config::default()).expect("a free port")
}

fn datas(answer: &str) -> Vec<Value> {
    let datas = answer.split("data: ").skip(1).filter_map(|event| event.split("\r\n").next());
    datas.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

#[test]
fn a_whole_answer_has_googles_form() {
    let provider = provider();
    let script = json!({
        "chunks": 2, "chunk_bytes": 8, "reasoning_chunks": 1,
        "tool_calls": [{ "name": "f", "arguments": "{\"a\":1}" }, { "name": "f" }],
        "usage": { "prompt": 9, "completion": 6, "reasoning": 2, "cached": 3 },
    });
    let answer = exchange(&provider, "generateContent", &script);
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let doc: Value = serde_json::from_str(body).expect("JSON");
    let expected = json!({
        "candidates": [{
            "content": { "role": "model", "parts": [
                { "text": "[0] the ", "thought": true },
                { "text": "[0] the [1] the " },
                { "functionCall": { "name": "f", "args": { "a": 1 } }, "thoughtSignature": "c2ln0001+/8=" },
                { "functionCall": { "name": "f", "args": {} } },
            ] },
            "finishReason": "STOP", "index": 0,
        }],
        "usageMetadata": {
            "promptTokenCount": 9, "cachedContentTokenCount": 3, "candidatesTokenCount": 4,
            "thoughtsTokenCount": 2, "totalTokenCount": 15,
        },
        "modelVersion": "lab/fake-1", "responseId": "fake1",
    });
    assert_eq!(doc, expected);
}

#[test]
fn a_stream_has_calls_whole_and_ends_with_its_figures() {
    let provider = provider();
    let call = json!({ "name": "f", "arguments": "{\"a\":[1,2,3]}", "fragments": 4 });
    let script = json!({ "chunks": 2, "chunk_bytes": 8, "tool_calls": [call] });
    let answer = exchange(&provider, "streamGenerateContent?alt=sse", &script);
    let docs = datas(&answer);
    let part = |doc: &Value| doc["candidates"][0]["content"]["parts"][0].clone();
    assert_eq!(docs.len(), 5);
    assert_eq!(part(&docs[1]), json!({ "text": "[0] the " }));
    assert_eq!(part(&docs[3])["functionCall"], json!({ "name": "f", "args": { "a": [1, 2, 3] } }));
    let finishes: Vec<&Value> =
        docs.iter().filter_map(|doc| doc["candidates"][0].get("finishReason")).collect();
    assert_eq!(finishes, ["STOP"]);
    assert!(docs[4]["usageMetadata"]["totalTokenCount"].is_u64());
    assert_eq!(provider.counters().completed, 1);
}

#[test]
fn errors_have_googles_form() {
    let provider = provider();
    let answer = exchange(&provider, "generateContent", &json!({ "status": 429 }));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let doc: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(doc["error"]["status"], "RESOURCE_EXHAUSTED");
    let script = json!({ "fault": "error_event", "after": 2 });
    let docs = datas(&exchange(&provider, "streamGenerateContent?alt=sse", &script));
    assert_eq!(docs.last().expect("events")["error"]["code"], 500);
}

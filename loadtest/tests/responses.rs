//! What the fake provider says in the protocol of responses: whole, streamed, and in the order that
//! clients rely on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use loadtest::provider::{Config, Provider};
use serde_json::{Value, json};

fn ask(script: Value, stream: bool) -> String {
    let provider = Provider::start(Config::default()).expect("a free port");
    let body = json!({
        "model": "fake-1", "input": [{"role": "user", "content": "hello"}], "stream": stream,
        "x_script": script,
    })
    .to_string();
    let mut socket = TcpStream::connect(provider.addr()).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    let head = "POST /v1/responses HTTP/1.0\r\nHost: x\r\nContent-Length:";
    socket.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it closes");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    body.to_owned()
}

/// The data of events whose names agree with it.
fn events(stream: &str) -> Vec<Value> {
    let events = stream.split("\n\n").filter(|event| !event.is_empty());
    let read = |event: &str| {
        let (name, data) = event.split_once('\n').expect("a name and data");
        let data: Value =
            serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    events.map(read).collect()
}

/// One row per kind of answer.
fn scripts() -> [Value; 5] {
    let tool = |name: &str, fragments: u32| json!({"name": name, "arguments": "{\"a\":\"é\"}", "fragments": fragments});
    [
        json!({"chunks": 3, "chunk_bytes": 8}),
        json!({"chunks": 2, "reasoning_chunks": 2}),
        json!({"chunks": 0, "tool_calls": [tool("a", 3), tool("b", 1)]}),
        json!({"chunks": 1, "reasoning_chunks": 1, "tool_calls": [tool("a", 2)]}),
        json!({"text": "", "finish": "length"}),
    ]
}

#[test]
fn numbers_rise_by_one_and_every_delta_has_its_item() {
    for script in scripts() {
        let events = events(&ask(script.clone(), true));
        let mut open: Option<Value> = None;
        let mut done = Vec::new();
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number, "{script}: {event}");
            match event["type"].as_str().expect("a type") {
                "response.created" | "response.in_progress" => {}
                "response.output_item.added" => {
                    assert!(open.is_none(), "{script}: {event}");
                    open = Some(event["item"]["id"].clone());
                }
                "response.output_item.done" => {
                    assert_eq!(open.take(), Some(event["item"]["id"].clone()), "{script}");
                    done.push(event["item"].clone());
                }
                "response.completed" | "response.incomplete" => {
                    assert_eq!(event["response"]["output"], Value::Array(done.clone()), "{script}");
                    assert_eq!(number + 1, events.len());
                }
                _ => assert_eq!(open.as_ref(), Some(&event["item_id"]), "{script}: {event}"),
            }
        }
        let last = events.last().expect("events");
        let ended = if script["finish"] == "length" { "incomplete" } else { "completed" };
        assert_eq!(last["response"]["status"], ended);
    }
}

#[test]
fn a_stream_says_what_a_plain_answer_says() {
    for script in scripts() {
        let whole: Value = serde_json::from_str(&ask(script.clone(), false)).expect("JSON");
        let streamed = events(&ask(script.clone(), true));
        assert_eq!(streamed.last().expect("events")["response"], whole, "{script}");
        let pieces = streamed.iter().filter_map(|event| match event["type"].as_str() {
            Some("response.output_text.delta") => event["delta"].as_str(),
            _ => None,
        });
        let text: String = pieces.collect();
        let message = whole["output"].as_array().expect("items");
        let message = message.iter().find(|item| item["type"] == "message");
        let expected = message.and_then(|item| item["content"][0]["text"].as_str());
        assert_eq!(text, expected.unwrap_or_default(), "{script}");
        assert!(whole["usage"]["output_tokens"].is_u64());
    }
}

//! What the fake provider puts on the wire, read byte by byte from a plain socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use loadtest::provider::{
    Config, Counters, Fault, Handle, Provider, Script, ToolCall, UsageCounts,
};
use serde_json::{Value, json};

/// How long a test waits for bytes that must come, and for silence to be believed.
const PATIENCE: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_millis(200);

fn provider() -> Handle {
    Provider::start(Config::default()).expect("a free port")
}

fn body(extra: Value) -> Value {
    let mut body = json!({
        "model": "fake-1",
        "messages": [{ "role": "user", "content": "hello there" }],
    });
    let (Some(body_map), Value::Object(extra)) = (body.as_object_mut(), extra) else {
        panic!("objects");
    };
    body_map.extend(extra);
    body
}

fn request(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn connect(provider: &Handle) -> TcpStream {
    let socket = TcpStream::connect(provider.addr()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
    Silent,
}

/// Everything that comes until the connection ends or falls silent.
fn read_all(socket: &mut TcpStream) -> (Vec<u8>, End) {
    let (mut out, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return (out, End::Closed),
            Ok(count) => {
                out.extend_from_slice(&buffer[..count]);
                socket.set_read_timeout(Some(SILENCE)).expect("an option");
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return (out, End::Reset),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return (out, End::Silent);
            }
            Err(e) => panic!("{e}"),
        }
    }
}

fn exchange(provider: &Handle, extra: Value) -> (String, End) {
    let mut socket = connect(provider);
    socket.write_all(&request(&body(extra))).expect("it reads");
    let (bytes, end) = read_all(&mut socket);
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

/// The events of a well-framed chunked answer: their data, in order.
fn events(answer: &str) -> Vec<String> {
    let (head, mut rest) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    let mut text = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            break;
        }
        text.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    events.map(|event| event.strip_prefix("data: ").expect("data").to_owned()).collect()
}

fn plain(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn a_plain_answer_has_all_that_the_schema_asks_for() {
    let provider = provider();
    let (answer, _) = exchange(&provider, json!({ "x_script": { "chunks": 2, "chunk_bytes": 8 } }));
    let mut doc = plain(&answer);
    assert!(doc["id"].take().as_str().is_some_and(|id| id.starts_with("chatcmpl-")));
    let expected = json!({
        "id": null, "object": "chat.completion", "created": 1_790_000_000, "model": "fake-1",
        "system_fingerprint": "fp_fake",
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": null,
            "message": { "role": "assistant", "content": "[0] the [1] the ", "refusal": null },
        }],
        "usage": {
            "prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15,
            "prompt_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0 },
        },
    });
    assert_eq!(doc, expected);
}

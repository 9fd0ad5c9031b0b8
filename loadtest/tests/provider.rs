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
const SILENCE: Duration = Duration::from_secs(1);

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

/// One request on a connection of its own, which the provider closes.
fn exchange(provider: &Handle, extra: Value) -> (String, End) {
    let mut socket = connect(provider);
    let request = String::from_utf8(request(&body(extra))).expect("UTF-8");
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    socket.write_all(request.as_bytes()).expect("it reads");
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

#[test]
fn a_stream_says_what_openai_says_with_and_without_usage() {
    let provider = provider();
    let script = json!({ "chunks": 2, "chunk_bytes": 8, "usage": { "prompt": 9, "completion": 4, "cached": 3 } });
    for include_usage in [false, true] {
        let options = json!({ "include_usage": include_usage });
        let extra = json!({ "stream": true, "stream_options": options, "x_script": script });
        let (answer, _) = exchange(&provider, extra);
        let mut events = events(&answer);
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        let docs: Vec<Value> =
            events.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
        let deltas: Vec<&Value> = docs.iter().map(|doc| &doc["choices"][0]["delta"]).collect();
        let expected = [
            json!({ "role": "assistant", "content": "" }),
            json!({ "content": "[0] the " }),
            json!({ "content": "[1] the " }),
            json!({}),
        ];
        assert_eq!(deltas[..4], expected.iter().collect::<Vec<_>>());
        assert_eq!(docs[3]["choices"][0]["finish_reason"], "stop");
        for doc in &docs[..3] {
            let choice = doc["choices"][0].as_object().expect("a choice");
            assert_eq!(choice.get("finish_reason"), Some(&Value::Null));
        }
        // `"usage":null` stands in every event if and only if it was asked for.
        let nulls = docs[..4].iter().filter(|doc| doc.get("usage") == Some(&Value::Null));
        assert_eq!(nulls.count(), if include_usage { 4 } else { 0 });
        assert_eq!(docs.len(), if include_usage { 5 } else { 4 });
        if include_usage {
            assert_eq!(docs[4]["choices"], json!([]));
            assert_eq!(docs[4]["usage"]["prompt_tokens"], 9);
            assert_eq!(docs[4]["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
        }
    }
}

#[test]
fn the_counters_are_the_truth_of_what_was_delivered() {
    let provider = provider();
    let usage = json!({ "prompt": 100, "completion": 7, "cached": 40, "reasoning": 2 });
    for stream in [false, true] {
        for fault in [None, Some("reset"), Some("cut"), Some("eof"), Some("no_done")] {
            let script = json!({ "usage": usage, "fault": fault, "after": 2 });
            exchange(&provider, json!({ "stream": stream, "x_script": script }));
        }
    }
    exchange(&provider, json!({ "x_script": { "status": 503 } }));
    let counters = provider.stop().expect("it stops");
    let model = counters.models["fake-1"];
    let delivered = 4;
    assert_eq!((model.requests, model.completed), (11, delivered));
    assert_eq!((counters.completed, counters.failed, counters.refused), (delivered, 6, 1));
    let tokens = UsageCounts {
        prompt: 100 * delivered,
        completion: 7 * delivered,
        cached: 40 * delivered,
        cache_write: 0,
        reasoning: 2 * delivered,
    };
    assert_eq!(model.tokens, tokens);
}

/// What a fault shows on the wire: of a plain answer and of a stream, each as the text that must be
/// there, the text that must not, and how the connection ends.
#[test]
fn each_fault_does_what_it_says() {
    use End::{Closed, Reset, Silent};
    type Sight = (&'static str, &'static str, End);
    let table: [(Fault, Sight, Sight); 27] = [
        (Fault::Refuse, ("", "H", Closed), ("", "H", Closed)),
        (Fault::StallHead, ("", "H", Silent), ("", "H", Silent)),
        (Fault::CutHead, ("200 OK", "\r\n\r\n", Closed), ("200 OK", "\r\n\r\n", Closed)),
        (Fault::EndlessHead, ("X-Filler", "\r\n\r\n", Silent), ("X-Filler", "\r\n\r\n", Silent)),
        (Fault::Garbage, ("not HTTP", "HTTP/1", Closed), ("not HTTP", "HTTP/1", Closed)),
        (Fault::Flood1xx, ("103 Early", "error", Silent), ("103 Early", "error", Silent)),
        (
            Fault::BothLengths,
            ("chunked\r\nContent-Length", "error", Closed),
            ("Content-Length: 40\r\nTransfer-Encoding", "error", Closed),
        ),
        (Fault::Reset, ("Content-Length", "}", Reset), ("[0]", "[1]", Reset)),
        (Fault::Cut, ("Content-Length", "}", Closed), ("[0]", "\r\n0\r\n", Closed)),
        (Fault::Eof, ("Content-Length: 2\r\n", "}", Silent), ("\r\n0\r\n\r\n", "[DONE]", Silent)),
        (Fault::Stall, ("Content-Length", "}", Silent), ("[0]", "[1]", Silent)),
        (Fault::BadChunk, ("\r\nzz\r\n", "error", Closed), ("\r\n-5\r\n", "[DONE]", Closed)),
        (Fault::BadJson, (",,}", "usage", Silent), (",,}", "[DONE]", Silent)),
        (Fault::Html, ("<html>", "{", Silent), ("<html>", "data:", Silent)),
        (Fault::Empty, ("Content-Length: 0", "{", Silent), ("Content-Length: 0", "data:", Silent)),
        (Fault::Null, ("\r\n\r\nnull", "{", Silent), ("\r\n\r\nnull", "data:", Silent)),
        (Fault::ErrorObject, ("200 OK", "choices", Silent), ("{\"error\":", "data:", Silent)),
        (
            Fault::ErrorEvent,
            ("{\"error\":", "choices", Silent),
            ("data: {\"error\":", "[DONE]", Silent),
        ),
        (Fault::NoDone, ("usage", "error", Silent), ("\"stop\"", "[DONE]", Silent)),
        (Fault::DoneTwice, ("usage", "error", Silent), ("[DONE]", "error", Silent)),
        (Fault::NoFinish, ("usage", "error", Silent), ("[DONE]", "\"stop\"", Silent)),
        (Fault::Swap, ("usage", "error", Silent), ("[DONE]", "error", Silent)),
        (Fault::Skip, ("usage", "error", Silent), ("[DONE]", "[2]", Silent)),
        (Fault::Repeat, ("usage", "error", Silent), ("[DONE]", "error", Silent)),
        (Fault::Trailing, ("unasked!", "error", Silent), ("unasked!", "error", Silent)),
        (Fault::HugeEvent, ("usage", "error", Silent), ("xxxxxxxx", "[DONE]", Silent)),
        (Fault::Pause, ("usage", "error", Silent), ("[DONE]", "error", Silent)),
    ];
    let faults = table.each_ref().map(|(fault, ..)| *fault);
    assert_eq!(faults, Fault::ALL, "no fault may be left out");
    let provider = provider();
    let check = &|fault: Fault, stream: bool, (there, not_there, ends): Sight| {
        let script = json!({ "fault": fault, "after": 2, "chunks": 4 });
        let extra = json!({ "stream": stream, "x_script": script });
        let mut socket = connect(&provider);
        if fault == Fault::StallHead {
            socket.set_read_timeout(Some(SILENCE)).expect("an option");
        }
        socket.write_all(&request(&body(extra))).expect("it reads");
        let (bytes, end) = read_all(&mut socket);
        let answer = String::from_utf8_lossy(&bytes);
        let shown = &answer[..answer.len().min(2_000)];
        assert!(answer.contains(there), "{fault:?}, stream {stream}: {shown}");
        assert!(!answer.contains(not_there), "{fault:?}, stream {stream}: {shown}");
        assert_eq!(end, ends, "{fault:?}, stream {stream}: {shown}");
    };
    // Side by side, since each waits for a silence.
    std::thread::scope(|scope| {
        for (fault, in_plain, in_stream) in table {
            scope.spawn(move || check(fault, false, in_plain));
            scope.spawn(move || check(fault, true, in_stream));
        }
    });
}

#[test]
fn pieces_are_displaced_as_asked() {
    let provider = provider();
    let table =
        [("swap", vec![0, 2, 1, 3]), ("skip", vec![0, 2, 3]), ("repeat", vec![0, 1, 1, 2, 3])];
    for (fault, expected) in table {
        let script = json!({ "fault": fault, "after": 1, "chunks": 4 });
        let (answer, _) = exchange(&provider, json!({ "stream": true, "x_script": script }));
        let numbers: Vec<usize> = answer
            .split("\"content\":\"[")
            .skip(1)
            .map(|rest| rest[..1].parse().expect("a digit"))
            .collect();
        assert_eq!(numbers, expected, "{fault}");
    }
}

#[test]
fn statuses_carry_their_error_and_retry_after() {
    let provider = provider();
    let table = [
        (429, "rate_limit_exceeded", "Retry-After: 1.5"),
        (401, "invalid_api_key", "401"),
        (503, "server_error", "503 Service Unavailable"),
        (529, "server_error", "529"),
        (302, "error", "Location: "),
        (204, "", "204 No Content"),
    ];
    for (status, code, head) in table {
        let script = json!({ "status": status, "retry_after": "1.5" });
        // An error before the first event is a status, also of a stream.
        for stream in [false, true] {
            let extra = json!({ "stream": stream, "x_script": script });
            let (answer, _) = exchange(&provider, extra);
            assert!(answer.contains(head) && answer.contains(code), "{answer}");
        }
    }
}

#[test]
fn each_nth_request_of_a_model_fails() {
    let provider = provider();
    let script = json!({ "status": 500, "fail_every": 3 });
    let statuses: Vec<String> = (0..6)
        .map(|_| {
            let (answer, _) = exchange(&provider, json!({ "x_script": script }));
            answer[9..12].to_owned()
        })
        .collect();
    assert_eq!(statuses, ["200", "200", "500", "200", "200", "500"]);
}

#[test]
fn tool_calls_stream_in_fragments_that_add_up() {
    let provider = provider();
    let arguments = "{\"city\":\"Zürich\",\"n\":\"\\\"\"}";
    let tools = vec![
        ToolCall { name: "weather".to_owned(), arguments: arguments.to_owned(), fragments: 5 },
        ToolCall { name: "time".to_owned(), arguments: "{}".to_owned(), fragments: 1 },
    ];
    provider.set_script(Script { chunks: 0, tool_calls: tools, ..Script::default() });
    let (answer, _) = exchange(&provider, json!({ "stream": true }));
    let mut joined = [String::new(), String::new()];
    let mut names = Vec::new();
    for event in events(&answer).iter().filter(|event| *event != "[DONE]") {
        let doc: Value = serde_json::from_str(event).expect("JSON");
        let call = &doc["choices"][0]["delta"]["tool_calls"][0];
        let Some(index) = call["index"].as_u64() else {
            continue;
        };
        joined[index as usize].push_str(call["function"]["arguments"].as_str().expect("text"));
        names.extend(call["function"]["name"].as_str().map(str::to_owned));
    }
    assert_eq!(joined, [arguments, "{}"]);
    assert_eq!(names, ["weather", "time"]);
    let (answer, _) = exchange(&provider, json!({}));
    let choice = &plain(&answer)["choices"][0];
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], arguments);
    assert_eq!(choice["message"]["content"], Value::Null);
    assert_eq!(choice["finish_reason"], "tool_calls");
}

#[test]
fn an_echo_tells_what_was_seen() {
    let provider = provider();
    let content = json!([
        { "type": "text", "text": "what is this?" },
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } },
    ]);
    let extra = json!({
        "model": "vision-1",
        "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": content },
        ],
        "tools": [{ "type": "function", "function": { "name": "f" } }],
        "x_script": { "echo": true },
    });
    let (answer, _) = exchange(&provider, extra);
    let text = plain(&answer)["choices"][0]["message"]["content"].clone();
    let seen: Value = serde_json::from_str(text.as_str().expect("text")).expect("JSON");
    let facts = ["model", "messages", "system", "images", "tools"].map(|name| seen[name].clone());
    assert_eq!(facts, [json!("vision-1"), json!(2), json!(1), json!(1), json!(1)]);
}

#[test]
fn requests_are_read_however_they_come() {
    let provider = provider();
    let body = body(json!({ "x_script": { "chunks": 1 } })).to_string();
    let whole = request(&serde_json::from_str(&body).expect("JSON"));
    let mut chunked =
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for piece in body.as_bytes().chunks(7) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let pipelined = [whole.as_slice(), &chunked, &whole].concat();
    let check = &|name: &str, bytes: &[u8], step: usize, answers: usize| {
        let mut socket = connect(&provider);
        socket.set_nodelay(true).expect("an option");
        for piece in bytes.chunks(step) {
            socket.write_all(piece).expect("it reads");
        }
        let (out, end) = read_all(&mut socket);
        let text = String::from_utf8_lossy(&out);
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), answers, "{name}, {step}");
        assert_eq!(end, End::Silent, "{name}: the connection stays");
    };
    std::thread::scope(|scope| {
        for (name, bytes, answers) in
            [("whole", &whole, 1), ("chunked", &chunked, 1), ("pipelined", &pipelined, 3)]
        {
            scope.spawn(move || check(name, bytes, bytes.len(), answers));
            scope.spawn(move || check(name, bytes, 40, answers));
        }
    });
    let mut socket = connect(&provider);
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n";
    write!(socket, "{head}Content-Length: {}\r\n\r\n", body.len()).expect("it reads");
    let mut interim = [0; 25];
    socket.read_exact(&mut interim).expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(body.as_bytes()).expect("it reads");
    socket.shutdown(Shutdown::Write).expect("half a close");
    let (out, end) = read_all(&mut socket);
    assert!(out.starts_with(b"HTTP/1.1 200 OK"));
    assert_eq!(end, End::Closed);
}

#[test]
fn what_cannot_be_read_is_refused_with_a_reason() {
    let provider = provider();
    let table: [(&str, &str, &str); 6] = [
        ("GARBAGE\r\n\r\n", "400", "no HTTP"),
        ("GET /nowhere HTTP/1.1\r\n\r\n", "404", "unknown path GET /nowhere"),
        (
            "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            "400",
            "model parameter",
        ),
        (
            "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -2\r\n\r\n",
            "400",
            "Content-Length",
        ),
        (
            "POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz",
            "400",
            "chunk",
        ),
        (
            "POST /v1/chat/completions HTTP/1.1\r\nX-Script: {\"chunk\":1}\r\nContent-Length: 29\r\n\r\n{\"model\":\"m\",\"messages\":[1 ]}",
            "400",
            "unknown field `chunk`",
        ),
    ];
    for (bytes, status, part) in table {
        let mut socket = connect(&provider);
        socket.write_all(bytes.as_bytes()).expect("it reads");
        let (out, _) = read_all(&mut socket);
        let text = String::from_utf8_lossy(&out);
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{bytes}: {text}");
        assert!(text.contains(part), "{bytes}: {text}");
    }
}

#[test]
fn bytes_are_split_and_gathered_without_changing_them() {
    let provider = provider();
    let answer = |script: Value| {
        let (answer, _) = exchange(&provider, json!({ "stream": true, "x_script": script }));
        events(&answer)[1..].join("\n").replace(|c: char| c.is_ascii_digit(), "")
    };
    let plain = answer(json!({}));
    for script in [
        json!({ "split": 1 }),
        json!({ "split": 7, "coalesce": 3 }),
        json!({ "coalesce": 100 }),
        json!({ "gap_ms": 1 }),
        json!({ "first_ms": 2, "think_ms": 3 }),
    ] {
        assert_eq!(answer(script.clone()), plain, "{script}");
    }
}

#[test]
fn a_client_that_goes_is_noticed_while_nothing_is_sent() {
    let provider = provider();
    for script in [json!({ "first_ms": 600_000 }), json!({ "gap_ms": 600_000 })] {
        let before = provider.counters().cancelled;
        let mut socket = connect(&provider);
        let extra = json!({ "stream": true, "x_script": script });
        socket.write_all(&request(&body(extra))).expect("it reads");
        wait_for(&provider, |counters| counters.requests > before);
        drop(socket);
        wait_for(&provider, |counters| counters.cancelled > before);
    }
}

/// Waits for a state that must come; how long it takes is not judged.
fn wait_for(provider: &Handle, reached: impl Fn(&Counters) -> bool) {
    let started = std::time::Instant::now();
    while !reached(&provider.counters()) {
        assert!(started.elapsed() < PATIENCE, "{:?}", provider.counters());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn models_have_scripts_of_their_own_and_are_listed() {
    let slow = Script { status: 503, ..Script::default() };
    let demo = Script { demo: true, chunk_bytes: 1, ..Script::default() };
    let config = Config {
        models: [("bad".to_owned(), slow), ("talker".to_owned(), demo)].into(),
        record: 1,
        ..Config::default()
    };
    let provider = Provider::start(config).expect("a free port");
    let (answer, _) = exchange(&provider, json!({ "model": "bad" }));
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let (answer, _) = exchange(&provider, json!({ "model": "talker" }));
    let text = plain(&answer)["choices"][0]["message"]["content"].clone();
    assert!(text.as_str().is_some_and(|text| text.contains("(talker, a scripted model)")));
    let mut socket = connect(&provider);
    socket.write_all(b"GET /v1/models HTTP/1.1\r\n\r\n").expect("it reads");
    let (out, _) = read_all(&mut socket);
    let list = plain(&String::from_utf8_lossy(&out));
    let ids: Vec<&str> = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|model| model["id"].as_str())
        .collect();
    assert_eq!(ids, ["bad", "talker"]);
    let recorded = provider.recorded();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].body, body(json!({ "model": "bad" })).to_string().into_bytes());
}

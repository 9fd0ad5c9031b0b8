//! HTTP/1.1 as it is spoken on the wire: bytes in, status and fate of the connection out. What is not
//! exactly right is refused, and what follows it on the connection is never taken for a request.

use std::panic::{AssertUnwindSafe, catch_unwind};

use loadtest::provider::{Config, Handle, Provider};
use tests::http::Answer;
use tests::{FakeModel, Gateway, Setup};

const MODEL: FakeModel = FakeModel { id: "fake/one", ability: 0.0, input: 1_000, output: 2_000 };
const BODY: &str = r#"{"model":"fake/one","messages":[{"role":"user","content":"Hello"}]}"#;

fn world() -> (Handle, Gateway) {
    let provider = Provider::start(Config { record: 64, ..Config::default() }).expect("a provider");
    let gateway = Setup::new().provider("fake", &provider, &[MODEL]).start();
    (provider, gateway)
}

/// What becomes of the connection after the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Kept,
    Closed,
}
use Then::{Closed, Kept};

/// One row of the table: what is sent, the statuses that come back, what becomes of the
/// connection, and how many requests reach the provider.
struct Row {
    name: &'static str,
    send: Vec<u8>,
    answers: Vec<u16>,
    then: Then,
    executed: u64,
}

fn row(
    name: &'static str,
    send: impl Into<Vec<u8>>,
    answers: &[u16],
    then: Then,
    executed: u64,
) -> Row {
    Row { name, send: send.into(), answers: answers.to_vec(), then, executed }
}

/// Plays rows one after the other, each on its own connection, and tells all that went wrong.
fn play(rows: Vec<Row>) {
    let (provider, gateway) = world();
    let mut wrong = Vec::new();
    for row in rows {
        let before = provider.counters().requests;
        let name = row.name;
        // A connection that ends where it should not must not hide the other rows.
        let played = catch_unwind(AssertUnwindSafe(|| play_row(&gateway, &row)));
        let executed = provider.counters().requests - before;
        match played {
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                wrong.push(format!("{name}: {text}"));
            }
            Ok(Err(text)) => wrong.push(format!("{name}: {text}")),
            Ok(Ok(())) if executed != row.executed => {
                wrong.push(format!("{name}: {executed} requests reached the provider"));
            }
            Ok(Ok(())) => {}
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

fn play_row(gateway: &Gateway, row: &Row) -> Result<(), String> {
    let mut connection = gateway.connect();
    let key = gateway.key().as_bytes();
    connection.send(&with_key(&row.send, key));
    if row.then == Closed {
        // What follows must never be executed, nor answered.
        connection.send(&with_key(&chat(""), key));
    }
    for (index, status) in row.answers.iter().enumerate() {
        let answer =
            if row.send.starts_with(b"HEAD") { connection.head() } else { connection.answer() };
        if answer.status != *status {
            return Err(format!("answer {index} is {}: {}", answer.status, answer.text()));
        }
        if *status >= 400 {
            check_refusal(&answer)?;
        }
        let is_last = index + 1 == row.answers.len();
        let says_close = answer.field("connection") == Some("close");
        if is_last && says_close != (row.then == Closed) {
            return Err(format!("Connection: {:?}", answer.field("connection")));
        }
    }
    match row.then {
        Closed if !connection.is_closed() => Err("something follows the last answer".into()),
        Kept => {
            connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
            let answer = connection.answer();
            if answer.text().contains("ok") { Ok(()) } else { Err(format!("then {answer:?}")) }
        }
        Closed => Ok(()),
    }
}

/// Every refusal has OpenAI's form, and says something to a person.
fn check_refusal(answer: &Answer) -> Result<(), String> {
    let error = answer.json()["error"].clone();
    let has = |name: &str| error[name].as_str().is_some_and(|text| text.len() > 3);
    let members = error.as_object().map_or(0, serde_json::Map::len);
    let is_form = has("message") && has("type") && has("code") && error.get("param").is_some();
    if is_form && members == 4 && answer.field("content-type") == Some("application/json") {
        return Ok(());
    }
    Err(format!("not OpenAI's form: {}", answer.text()))
}

/// Puts the key where `{KEY}` stands.
fn with_key(bytes: &[u8], key: &[u8]) -> Vec<u8> {
    const MARK: &[u8] = b"{KEY}";
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut rest = bytes;
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(key);
        rest = &rest[at + MARK.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// A good request with further field lines, each ended by CRLF.
fn chat(fields: &str) -> Vec<u8> {
    post("/v1/chat/completions", &format!("Content-Length: {}\r\n{fields}", BODY.len()), BODY)
}

/// A `POST` with a key; `fields` has to frame the body.
fn post(path: &str, fields: &str, body: &str) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {{KEY}}\r\n");
    format!("{head}{fields}\r\n{body}").into_bytes()
}

/// A good request whose body comes as `chunks`.
fn chunked(chunks: &str) -> Vec<u8> {
    post("/v1/chat/completions", "Transfer-Encoding: chunked\r\n", chunks)
}

/// [`BODY`] as one chunk with `extension`, then what ends it.
fn one_chunk(extension: &str, end: &str) -> String {
    format!("{:x}{extension}\r\n{BODY}\r\n{end}", BODY.len())
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn get_with(field: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n")
}

#[test]
fn what_is_right_is_answered_in_order_and_the_connection_kept() {
    let line = "POST /v1/chat/completions HTTP/1.1";
    let with_line = |other: &str| {
        let text = String::from_utf8(chat("")).expect("ASCII");
        text.replace(line, other)
    };
    let (halfway, rest) = BODY.split_at(20);
    let pieces = format!("14\r\n{halfway}\r\n{:X};a=b;c=\"d\"\r\n{rest}\r\n0\r\n", rest.len());
    play(vec![
        row("a plain request", chat(""), &[200], Kept, 1),
        row("one empty line before it", [b"\r\n", &chat("")[..]].concat(), &[200], Kept, 1),
        row(
            "the absolute form",
            with_line("POST http://elsewhere.example/v1/chat/completions HTTP/1.1"),
            &[200],
            Kept,
            1,
        ),
        row(
            "a query",
            with_line("POST /v1/chat/completions?api-version=1 HTTP/1.1"),
            &[200],
            Kept,
            1,
        ),
        row(
            "names in any case",
            chat("").to_ascii_lowercase().replace_line("post /v1/chat/completions http/1.1", line),
            &[200],
            Kept,
            1,
        ),
        row("blanks around values", chat("X-A:   b \t \r\nX-B:\r\n"), &[200], Kept, 1),
        row("bytes above 0x7f in a value", chat("X-A: ä\r\n"), &[200], Kept, 1),
        row("chunks", chunked(&one_chunk("", "0\r\n\r\n")), &[200], Kept, 1),
        row("chunks with extensions", chunked(&format!("{pieces}\r\n")), &[200], Kept, 1),
        row("chunks with trailers", chunked(&format!("{pieces}X-Sum: 1\r\n\r\n")), &[200], Kept, 1),
        row(
            "sixteen digits of a chunk size",
            chunked(&format!("{:016x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len())),
            &[200],
            Kept,
            1,
        ),
        row(
            "chunked in capitals",
            post(
                "/v1/chat/completions",
                "Transfer-Encoding: Chunked\r\n",
                &one_chunk("", "0\r\n\r\n"),
            ),
            &[200],
            Kept,
            1,
        ),
        row("three at once", chat("").repeat(3), &[200, 200, 200], Kept, 3),
        row(
            "good, refused, good at once",
            [chat(""), post("/v1/chat/completions", "Content-Length: 2\r\n", "{}"), chat("")]
                .concat(),
            &[200, 400, 200],
            Kept,
            2,
        ),
        row(
            "an upgrade that nobody takes",
            chat("Connection: Upgrade\r\nUpgrade: websocket\r\n"),
            &[200],
            Kept,
            1,
        ),
        row(
            "h2c that nobody takes",
            chat(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            ),
            &[200],
            Kept,
            1,
        ),
        row(
            "framing named as hop-by-hop is applied first",
            chat("Connection: Content-Length, Authorization\r\n"),
            &[200],
            Kept,
            1,
        ),
        row("the same key twice", chat("x-api-key: {KEY}\r\n"), &[200], Kept, 1),
        row(
            "x-api-key",
            chat("x-api-key: {KEY}\r\n").without("Authorization: Bearer {KEY}\r\n"),
            &[200],
            Kept,
            1,
        ),
        row(
            "HTTP/1.0 that keeps",
            with_line("POST /v1/chat/completions HTTP/1.0")
                .replace("Host: x", "Connection: keep-alive"),
            &[200],
            Kept,
            1,
        ),
        row("a probe without a key", get("/healthz"), &[200], Kept, 0),
        row(
            "HEAD has no body",
            "HEAD /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n",
            &[200],
            Kept,
            0,
        ),
        row(
            "GET with a body",
            get_with("Content-Length: 5").into_bytes().followed_by(b"hello"),
            &[200],
            Kept,
            0,
        ),
        row(
            "an underscore is no dash",
            get_with("Content_Length: 40").into_bytes().followed_by(get("/healthz").as_bytes()),
            &[200, 200],
            Kept,
            0,
        ),
    ]);
}

#[test]
fn a_connection_ends_when_it_was_said() {
    let old = String::from_utf8(chat(""))
        .expect("ASCII")
        .replace("HTTP/1.1\r\nHost: x\r\n", "HTTP/1.0\r\n");
    play(vec![
        row("Connection: close", chat("Connection: close\r\n"), &[200], Closed, 1),
        row("close among others", chat("Connection: foo, Close\r\n"), &[200], Closed, 1),
        row("HTTP/1.0", old, &[200], Closed, 1),
        row(
            "GET with a body of unknown length",
            get_with("Transfer-Encoding: chunked"),
            &[200],
            Closed,
            0,
        ),
        row(
            "GET with more body than is dropped",
            get_with("Content-Length: 300000"),
            &[200],
            Closed,
            0,
        ),
    ]);
}

#[test]
fn a_malformed_head_is_refused_and_ends_the_connection() {
    let lines: &[(&'static str, &str, u16)] = &[
        ("no version", "GET /healthz", 400),
        ("two blanks", "GET  /healthz HTTP/1.1", 400),
        ("a tab", "GET\t/healthz\tHTTP/1.1", 400),
        ("a blank in the target", "GET /health z HTTP/1.1", 400),
        ("a blank at the end", "GET /healthz HTTP/1.1 ", 400),
        ("a blank in front", " GET /healthz HTTP/1.1", 400),
        ("another protocol", "GET /healthz HTTQ/1.1", 400),
        ("version 2", "GET /healthz HTTP/2.0", 505),
        ("version 1.2", "GET /healthz HTTP/1.2", 505),
        ("version 0.9", "GET /healthz HTTP/0.9", 505),
        ("version in small letters", "GET /healthz http/1.1", 400),
        ("method in small letters", "get /healthz HTTP/1.1", 501),
        ("an unknown method", "FETCH /healthz HTTP/1.1", 501),
        ("a method that is no token", "G(T /healthz HTTP/1.1", 400),
        ("a fragment", "GET /healthz#a HTTP/1.1", 400),
        ("a backslash", "GET /healthz\\..\\v1 HTTP/1.1", 400),
        ("a control character", "GET /healthz\u{1} HTTP/1.1", 400),
        ("NUL in the target", "GET /healthz\0 HTTP/1.1", 400),
        ("no path", "GET healthz HTTP/1.1", 400),
        ("another scheme", "GET ftp://x/healthz HTTP/1.1", 400),
        ("a TLS hello", "\u{16}\u{3}\u{1}\u{2}", 400),
    ];
    let mut rows: Vec<_> = lines
        .iter()
        .map(|(name, line, status)| {
            row(name, format!("{line}\r\nHost: x\r\n\r\n"), &[*status], Closed, 0)
        })
        .collect();
    let fields: &[(&'static str, &str)] = &[
        ("a second Host", "Host: y"),
        ("a blank before the colon", "X-A : b"),
        ("an empty name", ": b"),
        ("no colon", "X-A"),
        ("a folded line", "X-A: b\r\n c"),
        ("a name in brackets", "X[A]: b"),
        ("a name above 0x7f", "X-Ä: b"),
        ("a bare LF", "X-A: b\nX-B: c"),
        ("a bare CR", "X-A: b\rX-B: c"),
        ("NUL in a value", "X-A: b\0c"),
        ("a control character in a value", "X-A: b\u{1b}c"),
        ("DEL in a value", "X-A: b\u{7f}c"),
        ("a sign before the length", "Content-Length: +0"),
        ("a negative length", "Content-Length: -1"),
        ("a list of lengths", "Content-Length: 0, 0"),
        ("a length in hex", "Content-Length: 0x0"),
        ("a blank within the length", "Content-Length: 0 0"),
        ("an empty length", "Content-Length:"),
        ("a length beyond 64 bits", "Content-Length: 18446744073709551616"),
        ("a length that repeats", "Content-Length: 0\r\nContent-Length: 0"),
        ("length and chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked"),
        ("chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 0"),
        ("chunked that repeats", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("two different keys", "Authorization: Bearer a\r\nAuthorization: Bearer b"),
        ("two keys in two fields", "Authorization: Bearer a\r\nx-api-key: b"),
    ];
    rows.extend(fields.iter().map(|(name, field)| row(name, get_with(field), &[400], Closed, 0)));
    let codings: &[(&'static str, &str)] = &[
        ("gzip", "Transfer-Encoding: gzip"),
        ("gzip and chunked", "Transfer-Encoding: gzip, chunked"),
        ("chunked twice", "Transfer-Encoding: chunked, chunked"),
        ("almost chunked", "Transfer-Encoding: xchunked"),
        ("chunked with a parameter", "Transfer-Encoding: chunked;a=b"),
        ("chunked in quotes", "Transfer-Encoding: \"chunked\""),
        ("no coding", "Transfer-Encoding:"),
    ];
    rows.extend(codings.iter().map(|(name, field)| row(name, get_with(field), &[501], Closed, 0)));
    rows.extend([
        row("no Host", "GET /healthz HTTP/1.1\r\n\r\n", &[400], Closed, 0),
        row("a Host with blanks", "GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", &[400], Closed, 0),
        row("a Host with a path", "GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n", &[400], Closed, 0),
        row("a Host with a user", "GET /healthz HTTP/1.1\r\nHost: u@a\r\n\r\n", &[400], Closed, 0),
        row(
            "chunks in HTTP/1.0",
            "POST /v1/chat/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[400],
            Closed,
            0,
        ),
        row("lines that end in LF", "GET /healthz HTTP/1.1\nHost: x\n\n", &[400], Closed, 0),
        row("two empty lines before it", format!("\r\n\r\n{}", get("/healthz")), &[400], Closed, 0),
    ]);
    play(rows);
}

#[test]
fn limits_have_a_status_and_an_end() {
    let long = "a".repeat(8 << 10);
    let many: String = (0..129).map(|index| format!("X-{index}: a\r\n")).collect();
    let large: String = (0..70).map(|index| format!("X-{index}: {}\r\n", &long[..1000])).collect();
    play(vec![
        row("a target above 8 KiB", get(&format!("/{long}")), &[414], Closed, 0),
        row("129 fields", chat(&many), &[431], Closed, 0),
        row("a field above 16 KiB", chat(&format!("X-A: {long}{long}\r\n")), &[431], Closed, 0),
        row("a head above 64 KiB", chat(&large), &[431], Closed, 0),
        row(
            "a head without an end",
            format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: {}", long.repeat(9)),
            &[431],
            Closed,
            0,
        ),
        row(
            "a body above 32 MiB, before it comes",
            post("/v1/chat/completions", "Content-Length: 33554433\r\n", ""),
            &[413],
            Closed,
            0,
        ),
        row("a chunk above 32 MiB, before it comes", chunked("2000001\r\n"), &[413], Closed, 0),
        row("a compressed body", chat("Content-Encoding: gzip\r\n"), &[415], Closed, 0),
        row("another expectation", chat("Expect: 200-ok\r\n"), &[417], Closed, 0),
    ]);
}

#[test]
fn malformed_chunks_end_the_connection_and_reach_nobody() {
    let good = one_chunk("", "");
    let sizes =
        ["g", "-1", "+1", "0x1", " 1", "1 ", "", ";a", "00000000000000001", "fffffffffffffffff"];
    let mut rows: Vec<_> = sizes
        .iter()
        .map(|size| {
            row(
                "a bad chunk size",
                chunked(&format!("{size}\r\na\r\n0\r\n\r\n")),
                &[400],
                Closed,
                0,
            )
        })
        .collect();
    rows.extend([
        row("LF after the size", chunked("1\na\r\n0\r\n\r\n"), &[400], Closed, 0),
        row("no CRLF after the data", chunked("1\r\nab\r\n0\r\n\r\n"), &[400], Closed, 0),
        row("LF after the data", chunked("1\r\na\n0\r\n\r\n"), &[400], Closed, 0),
        row("LF at the end", chunked(&format!("{good}0\r\n\n")), &[400], Closed, 0),
        row(
            "extensions above 16 KiB",
            chunked(&one_chunk(&format!(";{}", "a".repeat(17 << 10)), "0\r\n\r\n")),
            &[400],
            Closed,
            0,
        ),
        row(
            "a control character in an extension",
            chunked(&one_chunk(";\u{1}", "0\r\n\r\n")),
            &[400],
            Closed,
            0,
        ),
        row(
            "trailers above 16 KiB",
            chunked(&format!("{good}0\r\nX-A: {}\r\n\r\n", "a".repeat(17 << 10))),
            &[400],
            Closed,
            0,
        ),
        row(
            "a trailer that is no field",
            chunked(&format!("{good}0\r\nX A: b\r\n\r\n")),
            &[400],
            Closed,
            0,
        ),
        row(
            "a folded trailer",
            chunked(&format!("{good}0\r\nX-A: b\r\n c\r\n\r\n")),
            &[400],
            Closed,
            0,
        ),
    ]);
    play(rows);
}

#[test]
fn no_spelling_of_a_path_and_no_place_for_a_key_opens_anything() {
    let paths = [
        "/v1//chat/completions",
        "//v1/chat/completions",
        "/v1/./chat/completions",
        "/healthz/../v1/chat/completions",
        "/V1/chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions;a",
        "/v1/chat%2fcompletions",
        "/v1/ch%61t/completions",
        "/v1/chat/completions%00",
        "/metrics",
        "/v1/keys",
        "*",
    ];
    let length = format!("Content-Length: {}\r\n", BODY.len());
    let without_key = |path: &str, fields: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\n{length}{fields}\r\n{BODY}")
    };
    let mut rows = Vec::new();
    for path in paths {
        // `*` is no path at all.
        let (unknown, found, then) =
            if path == "*" { (400, 400, Closed) } else { (401, 404, Kept) };
        rows.push(row("a path without a key", without_key(path, ""), &[unknown], then, 0));
        rows.push(row("a path with a key", post(path, &length, BODY), &[found], then, 0));
    }
    let chat_path = "/v1/chat/completions";
    rows.extend([
        row("no key", without_key(chat_path, ""), &[401], Kept, 0),
        row(
            "a wrong key",
            without_key(chat_path, "Authorization: Bearer pm-x\r\n"),
            &[401],
            Kept,
            0,
        ),
        row(
            "another scheme",
            without_key(chat_path, "Authorization: Basic {KEY}\r\n"),
            &[401],
            Closed,
            0,
        ),
        row(
            "a list of keys",
            without_key(chat_path, "Authorization: Bearer {KEY}, Bearer {KEY}\r\n"),
            &[401],
            Closed,
            0,
        ),
        row(
            "a key in the query",
            without_key("/v1/chat/completions?api_key={KEY}&key={KEY}", ""),
            &[401],
            Kept,
            0,
        ),
        row(
            "a Host that looks like us",
            without_key(chat_path, "").replace("Host: x", "Host: 127.0.0.1:9090"),
            &[401],
            Kept,
            0,
        ),
        row(
            "no key, and chunks that nobody read",
            format!(
                "POST {chat_path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                one_chunk("", "0\r\n\r\n")
            ),
            &[401],
            Closed,
            0,
        ),
        row(
            "no key, and a large body that nobody read",
            format!("POST {chat_path} HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"),
            &[401],
            Closed,
            0,
        ),
        row(
            "a method that the path does not answer",
            post("/healthz", &length, BODY),
            &[405],
            Kept,
            0,
        ),
        row("CONNECT", "CONNECT /healthz HTTP/1.1\r\nHost: x\r\n\r\n", &[405], Kept, 0),
        row("TRACE", "TRACE /healthz HTTP/1.1\r\nHost: x\r\n\r\n", &[405], Kept, 0),
    ]);
    play(rows);
}

#[test]
fn a_method_that_a_path_does_not_answer_learns_which_it_does() {
    let (_provider, gateway) = world();
    for (request, allow) in [
        (get("/v1/chat/completions"), "POST"),
        ("DELETE /v1/models HTTP/1.1\r\nHost: x\r\n\r\n".into(), "GET, HEAD"),
    ] {
        let mut connection = gateway.connect();
        let key = format!("Host: x\r\nAuthorization: Bearer {}", gateway.key());
        connection.send(request.replace("Host: x", &key).as_bytes());
        let answer = connection.answer();
        assert_eq!((answer.status, answer.field("allow")), (405, Some(allow)), "{answer:?}");
    }
}

#[test]
fn pipelined_answers_come_in_the_order_of_their_requests() {
    let (provider, gateway) = world();
    let mut connection = gateway.connect();
    let mut all = Vec::new();
    // The first ones take longest.
    for index in 0..8 {
        let script = format!(r#"{{"x_script":{{"first_ms":{}}},"#, (8 - index) * 5);
        let body = BODY.replacen('{', &script, 1);
        let fields = format!("Content-Length: {}\r\nX-Request-Id: number-{index}\r\n", body.len());
        all.extend(with_key(
            &post("/v1/chat/completions", &fields, &body),
            gateway.key().as_bytes(),
        ));
    }
    connection.send(&all);
    for index in 0..8 {
        let answer = connection.answer();
        let id = format!("number-{index}");
        assert_eq!((answer.status, answer.field("x-request-id")), (200, Some(id.as_str())));
    }
    assert_eq!(provider.counters().completed, 8);
}

#[test]
fn a_body_is_asked_for_only_when_its_head_was_accepted() {
    let (provider, gateway) = world();
    let request = with_key(&chat("Expect: 100-continue\r\n"), gateway.key().as_bytes());
    let (head, body) = request.split_at(request.len() - BODY.len());

    let mut connection = gateway.connect();
    connection.send(head);
    assert_eq!(connection.head().status, 100);
    connection.send(body);
    assert_eq!(connection.answer().status, 200);

    // A client that is refused may send the body or not: nobody can know, so the connection ends.
    let mut connection = gateway.connect();
    let unknown = String::from_utf8(head.to_vec()).expect("ASCII").replace(gateway.key(), "pm-x");
    connection.send(unknown.as_bytes());
    assert_eq!(connection.answer().status, 401);
    assert!(connection.is_closed());

    // A body that is there already needs no invitation.
    let mut connection = gateway.connect();
    connection.send(&request);
    assert_eq!(connection.answer().status, 200);
    assert_eq!(provider.counters().requests, 2);
}

#[test]
fn a_refusal_is_readable_although_its_body_is_still_coming() {
    let (provider, gateway) = world();
    for _ in 0..20 {
        let mut connection = gateway.connect();
        let head = post("/v1/chat/completions", "Content-Length: 40000000\r\n", "");
        connection.send(&with_key(&head, gateway.key().as_bytes()));
        // Closing with unread bytes would make the kernel send a reset, which overtakes the answer.
        connection.send(&vec![b'a'; 200 << 10]);
        assert_eq!(connection.answer().status, 413);
        assert!(connection.is_closed());
    }
    assert_eq!(provider.counters().requests, 0);
}

#[test]
fn a_request_means_the_same_however_it_is_cut() {
    let (provider, gateway) = world();
    let whole =
        with_key(&chunked(&one_chunk(";a=b", "0\r\nX-Sum: 1\r\n\r\n")), gateway.key().as_bytes());
    let mut connection = gateway.connect();
    for step in [1, 2, 3, 7, 64] {
        for piece in whole.chunks(step) {
            connection.send(piece);
        }
        assert_eq!(connection.answer().status, 200, "cut every {step} bytes");
    }
    let bodies: Vec<_> = provider.recorded().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, vec![BODY.as_bytes().to_vec(); 5], "the provider sees one body, unchanged");
}

#[test]
fn hop_by_hop_fields_and_credentials_stay_here() {
    let (provider, gateway) = world();
    let mut connection = gateway.connect();
    let fields =
        "Connection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\nCookie: a=b\r\n";
    connection.send(&with_key(&chat(fields), gateway.key().as_bytes()));
    assert_eq!(connection.answer().status, 200);
    let head = String::from_utf8_lossy(&provider.recorded()[0].head).to_ascii_lowercase();
    for name in [
        "x-hop",
        "te:",
        "keep-alive",
        "cookie",
        "authorization",
        &gateway.key().to_ascii_lowercase(),
    ] {
        assert!(!head.contains(name), "{name} reached the provider:\n{head}");
    }
    assert!(!gateway.log().contains(gateway.key()), "the key stands in the log");
}

/// Small changes to requests as bytes.
trait Edited {
    fn followed_by(self, more: &[u8]) -> Vec<u8>;
    fn without(self, part: &str) -> Vec<u8>;
    fn replace_line(self, from: &str, to: &str) -> Vec<u8>;
}

impl Edited for Vec<u8> {
    fn followed_by(mut self, more: &[u8]) -> Vec<u8> {
        self.extend_from_slice(more);
        self
    }

    fn without(self, part: &str) -> Vec<u8> {
        self.replace_line(part, "")
    }

    fn replace_line(self, from: &str, to: &str) -> Vec<u8> {
        // The key's place is told by its capitals.
        let text = String::from_utf8(self).expect("ASCII");
        text.replace(from, to).replace("{key}", "{KEY}").into_bytes()
    }
}

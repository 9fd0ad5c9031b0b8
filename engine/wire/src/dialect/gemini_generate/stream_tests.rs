//! Streams through the neutral form: from Gemini to every client, and from others to a client of
//! Gemini.

use super::neutral_tests::{ANTHROPIC, GEMINI, OPENAI, SHOWN, gemini_3, rules, translated};
use crate::chat::{Chat, Event, Request, Thinking};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Brings the events of a provider's stream to a client; what it gets.
fn relayed(from: &dyn Chat, to: &dyn Chat, events: &[String], request: &Request<'_>) -> String {
    let mut reader = from.stream_reader(&rules());
    let mut writer = to.stream_writer(request, &SHOWN);
    let mut out = Vec::new();
    for event in events {
        reader.read(b"", event.as_bytes(), &mut |choice, event| {
            assert!(event != Event::Error, "{event:?}");
            writer.write(choice, &event, &mut out);
        });
    }
    writer.write(0, &Event::End, &mut out);
    String::from_utf8(out).expect("text")
}

fn datas(stream: &str) -> Vec<Value> {
    // The halves of a character, of which each is no text by itself.
    let stream = stream.replace("\\ud83d", "").replace("\\ude00", "");
    let data = stream.split("\n\n").flat_map(|event| event.split("\r\n\r\n"));
    let data = data.filter_map(|event| event.split_once("data: ").map(|(_, data)| data));
    data.filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}

fn piece(part: &str, rest: &str) -> String {
    format!(
        "{{\"candidates\":[{{\"content\":{{\"parts\":[{part}],\"role\":\"model\"}},\"index\":0{rest}}}],\"usageMetadata\":{{\"promptTokenCount\":9,\"candidatesTokenCount\":4,\"totalTokenCount\":13}},\"modelVersion\":\"lab/model\",\"responseId\":\"0a\"}}"
    )
}

fn stream() -> Vec<String> {
    vec![
        piece("{\"text\":\"hm\",\"thought\":true}", ""),
        piece("{\"text\":\"h\\u00e9\\ud83d\"}", ""),
        piece("{\"text\":\"\\ude00 \\\"x\\\"\"}", ""),
        piece(
            "{\"functionCall\":{\"name\":\"look\",\"args\":{\"at\":\"é\\n\"}},\"thoughtSignature\":\"c2ln\"}",
            "",
        ),
        piece("{\"functionCall\":{\"name\":\"look\",\"args\":{}}}", ""),
        piece("{\"text\":\"\"}", ",\"finishReason\":\"STOP\""),
    ]
}

#[test]
fn a_stream_reaches_every_client_in_order() {
    let request = Request { usage_in_stream: true, ..Request::default() };
    let openai = datas(&relayed(GEMINI, OPENAI, &stream(), &request));
    let delta = |chunk: &Value, name: &str| chunk["choices"][0]["delta"][name].clone();
    let text: Vec<Value> =
        openai.iter().map(|chunk| delta(chunk, "content")).filter(Value::is_string).collect();
    assert_eq!(text.len(), 3, "{text:?}");
    assert_eq!(delta(&openai[1], "reasoning_content"), "hm");
    let arguments: String = openai
        .iter()
        .filter_map(|chunk| {
            chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str()
        })
        .collect();
    assert_eq!(arguments, "{\"at\":\"é\\n\"}{}");
    let finish: Vec<&str> =
        openai.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(finish, ["tool_calls"]);
    assert_eq!(openai.last().unwrap()["usage"]["completion_tokens"], 4);

    let anthropic = datas(&relayed(GEMINI, ANTHROPIC, &stream(), &request));
    let types: Vec<&str> = anthropic.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(types.first(), Some(&"message_start"));
    assert_eq!(types.last(), Some(&"message_stop"));
    let blocks: Vec<&str> =
        anthropic.iter().filter_map(|event| event["content_block"]["type"].as_str()).collect();
    assert_eq!(blocks, ["thinking", "text", "tool_use", "tool_use"]);
}

#[test]
fn a_stream_comes_out_as_it_went_in() {
    let shows = Thinking { shown: Some(true), ..Thinking::default() };
    let request = Request { thinking: shows, ..Request::default() };
    let text = relayed(GEMINI, GEMINI, &stream(), &request);
    let events: Vec<&str> = text.split_terminator("\r\n\r\n").collect();
    assert_eq!(events.len(), stream().len());
    for (event, given) in events.iter().zip(stream()) {
        let event = event.strip_prefix("data: ").unwrap();
        // What differs from the provider's own: the count comes once, a call has an id, and a signature
        // is packed with whose it is.
        if !given.contains("functionCall") && !given.contains("finishReason") {
            let usage =
                given.find(",\"usageMetadata\"").unwrap()..given.find(",\"modelVersion\"").unwrap();
            let mut expected = given.clone();
            expected.replace_range(usage, "");
            assert_eq!(event, expected);
        }
    }
    let last: Value =
        serde_json::from_str(events.last().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    assert_eq!(last["usageMetadata"]["totalTokenCount"], 13);
    // The history goes back to Google as it came.
    let parts: Vec<Value> = events
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ")?).ok())
        .flat_map(|event| {
            event["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default()
        })
        .filter(|part| part["functionCall"].is_object())
        .collect();
    let history = json!({"contents": [{"role": "model", "parts": parts}]});
    let (back, _) = translated(GEMINI, GEMINI, &history, &gemini_3());
    assert_eq!(back["contents"][0]["parts"][0]["thoughtSignature"], "c2ln");
    assert_eq!(back["contents"][0]["parts"][1].get("thoughtSignature"), None);
}

#[test]
fn streamed_calls_of_others_are_told_whole_and_apart() {
    let call = |index: u32, id: &str, arguments: &str| {
        let head = match id {
            "" => String::new(),
            id => format!("\"id\":\"{id}\","),
        };
        let name = if id.is_empty() { "" } else { "\"name\":\"f\"," };
        format!(
            "{{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{\"index\":{index},{head}\"function\":{{{name}\"arguments\":\"{arguments}\"}}}}]}}}}]}}"
        )
    };
    let events = vec![
        call(0, "a", ""),
        call(1, "b", "{\\\"y\\\":"),
        call(0, "", "{\\\"x\\\":1}"),
        call(1, "", "2}"),
        "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}".to_owned(),
    ];
    let stream = datas(&relayed(OPENAI, GEMINI, &events, &Request::default()));
    let calls: Vec<&Value> = stream
        .iter()
        .map(|event| &event["candidates"][0]["content"]["parts"][0]["functionCall"])
        .filter(|call| call.is_object())
        .collect();
    assert_eq!(*calls[0], json!({"id": "a", "name": "f", "args": {"x": 1}}));
    assert_eq!(*calls[1], json!({"id": "b", "name": "f", "args": {"y": 2}}));
    assert_eq!(stream.last().unwrap()["candidates"][0]["finishReason"], "STOP");
}

#[test]
fn a_broken_stream_has_no_finish() {
    let mut reader = GEMINI.stream_reader(&rules());
    let mut writer = GEMINI.stream_writer(&Request::default(), &SHOWN);
    let mut out = Vec::new();
    let mut failed = false;
    for event in [piece("{\"text\":\"a\"}", ""), "{\"error\":{\"code\":503}}".to_owned()] {
        reader.read(b"", event.as_bytes(), &mut |choice, event| {
            failed |= event == Event::Error;
            writer.write(choice, &event, &mut out);
        });
    }
    assert!(failed && !String::from_utf8(out).unwrap().contains("finishReason"));
    for garbage in ["", "{", "[1]", "{\"candidates\":[{\"index\":\"x\"}]}"] {
        let mut failed = false;
        reader.read(b"", garbage.as_bytes(), &mut |_, event| failed |= event == Event::Error);
        let _ = failed;
    }
}

proptest! {
    /// The bytes of a stream, cut anywhere: every client gets what it would have got.
    #[test]
    fn a_stream_may_be_cut_anywhere(mut cuts in prop::collection::vec(0usize..1500, 0..12)) {
        let bytes: Vec<u8> =
            stream().iter().flat_map(|data| format!("data: {data}\r\n\r\n").into_bytes()).collect();
        cuts.retain(|cut| *cut < bytes.len());
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut splitter = crate::sse::Splitter::default();
        let (mut start, mut events) = (0, Vec::new());
        for end in cuts {
            while let Some(length) = splitter.next(&bytes[start..end.max(start)]) {
                let event = crate::sse::read(&bytes[start..start + length]);
                let data = event.data.unwrap_or_default().into_owned();
                events.push(String::from_utf8(data).unwrap());
                start += length;
            }
        }
        prop_assert_eq!(&events, &stream());
        for client in [GEMINI, OPENAI, ANTHROPIC] {
            let request = Request::default();
            let whole = relayed(GEMINI, client, &stream(), &request);
            prop_assert_eq!(relayed(GEMINI, client, &events, &request), whole);
        }
    }
}

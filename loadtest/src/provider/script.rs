//! What a fake provider does with one request, as data.
//!
//! In: a default from the command line or a test, one per model name if wanted, and an overlay that
//! travels in the request (`"x_script": {…}` in the body, or the same JSON in an `x-script` header).
//! Out: a [`Script`]. Times are milliseconds, sizes bytes. Knows no dialect and no socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most of anything that a script may ask for, so that a typing error cannot fill the memory.
const CHUNKS_MAX: u32 = 1_000_000;
const CHUNK_BYTES_MAX: u32 = 1 << 20;
const DELAY_MS_MAX: u32 = 600_000;

/// Everything that a provider can be told about one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Delay before the response head.
    pub first_ms: u32,
    /// Delay between the head and the first event (a provider that answers 200 at once and thinks).
    pub think_ms: u32,
    /// Delay between events of a stream.
    pub gap_ms: u32,
    /// Pieces of text in the answer; a plain answer has them joined.
    pub chunks: u32,
    /// Bytes of text per piece.
    pub chunk_bytes: u32,
    /// Text to give in place of the numbered filler; cut into `chunk_bytes`.
    pub text: Option<String>,
    /// Readable sentences whose length depends on the prompt, in place of the numbered filler.
    pub demo: bool,
    /// Answer with what was seen, as a JSON text: messages, images, tools, model, bytes.
    pub echo: bool,
    /// Pieces of reasoning before the text, of `chunk_bytes` each.
    pub reasoning_chunks: u32,
    /// Tool calls after the text.
    pub tool_calls: Vec<ToolCall>,
    /// Only as long as the history holds no result of one. An agent that is always asked to call
    /// would never end.
    pub calls_until_result: bool,
    /// `finish_reason` of the answer; `stop`, or `tool_calls` where there are some, when absent.
    pub finish: Option<String>,
    /// Name of the model in the answer, when it is to differ from the one asked for.
    pub model: Option<String>,
    /// The usage reported.
    pub usage: UsageScript,
    /// HTTP status; from 300 on with an error body of the dialect.
    pub status: u16,
    /// `Retry-After`, as it stands (seconds, fractions, or a date).
    pub retry_after: Option<String>,
    /// More fields of every answer's head, by name.
    pub fields: BTreeMap<String, String>,
    /// `code` of the error body; a fitting one when absent.
    pub error_code: Option<String>,
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// Events of a stream (or bytes of a plain body) that are sent well before the fault.
    pub after: u32,
    /// Status and fault strike only each n-th request of a model (0 and 1: every one).
    pub fail_every: u32,
    /// Bytes per write (0: all that there is): 1 splits events at every byte.
    pub split: u32,
    /// Events of a stream per write.
    pub coalesce: u32,
    /// End lines of the event stream with CR LF.
    pub crlf: bool,
    /// A comment line before each event.
    pub comments: bool,
    /// Close the connection after the answer, saying so in the head.
    pub close: bool,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            first_ms: 0,
            think_ms: 0,
            gap_ms: 0,
            chunks: 8,
            chunk_bytes: 16,
            text: None,
            demo: false,
            echo: false,
            reasoning_chunks: 0,
            tool_calls: Vec::new(),
            calls_until_result: false,
            finish: None,
            model: None,
            usage: UsageScript::Named(UsageRule::Derived),
            status: 200,
            retry_after: None,
            fields: BTreeMap::new(),
            error_code: None,
            fault: None,
            after: 0,
            fail_every: 0,
            split: 0,
            coalesce: 1,
            crlf: false,
            comments: false,
            close: false,
        }
    }
}

/// A tool call; its arguments are streamed in `fragments` pieces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Name of the function.
    pub name: String,
    /// Arguments, JSON as text (or anything else, to be wrong on purpose).
    #[serde(default)]
    pub arguments: String,
    /// Pieces in which the arguments are streamed.
    #[serde(default = "one")]
    pub fragments: u32,
}

fn one() -> u32 {
    1
}

/// What an answer says about usage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum UsageScript {
    /// By rule.
    Named(UsageRule),
    /// Exactly these.
    Exact(UsageCounts),
}

/// Rules for usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageRule {
    /// Counted from the text: a quarter of the bytes, rounded up.
    Derived,
    /// None is sent.
    Missing,
    /// Impossible figures: more cached than input, a negative output.
    Wrong,
    /// Sent twice, the first time with halved figures.
    Twice,
}

/// Token counts in the dialect-free form: parts are contained in their wholes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageCounts {
    /// All input tokens.
    pub prompt: u64,
    /// All output tokens.
    pub completion: u64,
    /// Input read from the cache.
    pub cached: u64,
    /// Input written to the cache.
    pub cache_write: u64,
    /// Output spent on reasoning.
    pub reasoning: u64,
}

/// What can go wrong. "Stream" faults strike after [`Script::after`] events; on a plain answer
/// `after` counts bytes of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The connection is closed before any byte of an answer.
    Refuse,
    /// Nothing at all is answered; the connection stays open.
    StallHead,
    /// Half a response head, then the connection is closed.
    CutHead,
    /// A response head that never ends.
    EndlessHead,
    /// Bytes that are not HTTP.
    Garbage,
    /// A flood of `103` responses, then the answer.
    Flood1xx,
    /// `Content-Length` and `Transfer-Encoding` together.
    BothLengths,
    /// TCP reset.
    Reset,
    /// Closed inside the framing: no last chunk, or fewer bytes than promised.
    Cut,
    /// The body ends well, the answer does not: no finish, no end mark, cut JSON.
    Eof,
    /// Silence; the connection stays open.
    Stall,
    /// A chunk size that is no number.
    BadChunk,
    /// An event whose data is no JSON.
    BadJson,
    /// 200 with an HTML page.
    Html,
    /// 200 with an empty body.
    Empty,
    /// 200 with `null` as the body.
    Null,
    /// 200 with an error object as the body.
    ErrorObject,
    /// An error event in the stream, then the end of the body without an end mark.
    ErrorEvent,
    /// The end mark (`[DONE]`) is not sent.
    NoDone,
    /// The end mark is sent twice, with an event between them.
    DoneTwice,
    /// The finish reason is not sent; the end mark is.
    NoFinish,
    /// Two neighbouring pieces of text change places.
    Swap,
    /// One piece of text is left out.
    Skip,
    /// One piece of text is sent twice.
    Repeat,
    /// Bytes after the end of the answer, as of a second one that nobody asked for.
    Trailing,
    /// An event of 17 MiB.
    HugeEvent,
    /// The whole provider stands still for [`Script::after`] milliseconds, all connections with
    /// it, and answers then.
    Pause,
}

impl Fault {
    /// All of them, for help texts and for tests that must not forget one.
    pub const ALL: [Fault; 27] = [
        Fault::Refuse,
        Fault::StallHead,
        Fault::CutHead,
        Fault::EndlessHead,
        Fault::Garbage,
        Fault::Flood1xx,
        Fault::BothLengths,
        Fault::Reset,
        Fault::Cut,
        Fault::Eof,
        Fault::Stall,
        Fault::BadChunk,
        Fault::BadJson,
        Fault::Html,
        Fault::Empty,
        Fault::Null,
        Fault::ErrorObject,
        Fault::ErrorEvent,
        Fault::NoDone,
        Fault::DoneTwice,
        Fault::NoFinish,
        Fault::Swap,
        Fault::Skip,
        Fault::Repeat,
        Fault::Trailing,
        Fault::HugeEvent,
        Fault::Pause,
    ];

    /// Whether an answer with this fault is still one that a client may take as complete, and that
    /// a provider therefore counts as delivered.
    pub fn completes(self) -> bool {
        matches!(
            self,
            Fault::Flood1xx
                | Fault::NoDone
                | Fault::DoneTwice
                | Fault::Swap
                | Fault::Skip
                | Fault::Repeat
                | Fault::Trailing
                | Fault::Pause
        )
    }
}

impl Script {
    /// This script with the members of a JSON object put over it. Unknown members, wrong types and
    /// values over the limits are errors that say which.
    pub fn overlaid(&self, json: &[u8]) -> Result<Script, String> {
        let overlay: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(json).map_err(|e| format!("x_script: {e}"))?;
        let base = serde_json::to_value(self).map_err(|e| format!("x_script: {e}"))?;
        let serde_json::Value::Object(mut merged) = base else {
            unreachable!("a struct serialises to an object")
        };
        merged.extend(overlay);
        let script: Script = serde_json::from_value(serde_json::Value::Object(merged))
            .map_err(|e| format!("x_script: {e}"))?;
        script.check()?;
        Ok(script)
    }

    fn check(&self) -> Result<(), String> {
        let limits = [
            ("first_ms", self.first_ms, DELAY_MS_MAX),
            ("think_ms", self.think_ms, DELAY_MS_MAX),
            ("gap_ms", self.gap_ms, DELAY_MS_MAX),
            ("chunks", self.chunks, CHUNKS_MAX),
            ("reasoning_chunks", self.reasoning_chunks, CHUNKS_MAX),
            ("chunk_bytes", self.chunk_bytes, CHUNK_BYTES_MAX),
        ];
        for (name, value, max) in limits {
            if value > max {
                return Err(format!("x_script: {name} is {value}, the most is {max}"));
            }
        }
        if !(100..=999).contains(&self.status) {
            return Err(format!("x_script: status is {}, it needs three digits", self.status));
        }
        if self.chunk_bytes == 0 {
            return Err("x_script: chunk_bytes is 0, the least is 1".to_owned());
        }
        let fields = self.fields.iter().flat_map(|(name, value)| [name, value]);
        if self.retry_after.iter().chain(fields).any(|text| text.bytes().any(|b| b < 0x20)) {
            return Err("x_script: a header field holds a control character".to_owned());
        }
        Ok(())
    }

    /// This script for a request whose history holds the result of a tool, when it is to end calls.
    pub(crate) fn without_calls(&self) -> Script {
        Script { tool_calls: Vec::new(), ..self.clone() }
    }

    /// The script for the `n`-th request (from 1): without status and fault when it is not its turn
    /// to fail.
    pub(crate) fn strikes(&self, n: u64) -> bool {
        self.fail_every <= 1 || n.is_multiple_of(u64::from(self.fail_every))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_changes_what_it_names_and_nothing_else() {
        let base = Script { gap_ms: 7, ..Script::default() };
        let script = base
            .overlaid(br#"{"chunks":3,"fault":"reset","after":2,"usage":{"prompt":9}}"#)
            .expect("a good overlay");
        let usage = UsageCounts { prompt: 9, ..UsageCounts::default() };
        let expected = Script {
            chunks: 3,
            fault: Some(Fault::Reset),
            after: 2,
            usage: UsageScript::Exact(usage),
            ..base
        };
        assert_eq!(script, expected);
    }

    #[test]
    fn a_bad_overlay_says_what_is_wrong() {
        let cases = [
            (r#"{"chunk":3}"#, "unknown field `chunk`"),
            (r#"{"fault":"fire"}"#, "unknown variant `fire`"),
            (r#"{"chunks":9999999}"#, "the most is 1000000"),
            (r#"{"status":20}"#, "three digits"),
            (r#"{"chunk_bytes":0}"#, "the least is 1"),
            (r#"[1]"#, "x_script"),
        ];
        for (json, part) in cases {
            let error = Script::default().overlaid(json.as_bytes()).expect_err("a bad overlay");
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn every_fault_has_a_name_that_reads_back() {
        for fault in Fault::ALL {
            let name = serde_json::to_string(&fault).expect("a name");
            assert_eq!(serde_json::from_str::<Fault>(&name).expect("reads back"), fault);
        }
    }
}

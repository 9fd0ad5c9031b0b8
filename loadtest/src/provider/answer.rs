//! One answer of the fake provider, free of any dialect: what was asked, and the pieces to send.
//!
//! In: a request's facts ([`Ask`]) and a [`Script`]. Out: a sequence of [`Piece`]s by number, text
//! by piece, token counts. Buffers are reused from answer to answer on a connection, so that
//! numbered answers allocate nothing.

use std::ops::Range;
use std::sync::Arc;

use super::script::{Fault, Script, UsageCounts, UsageRule, UsageScript};

/// A quarter of the bytes: the rule of thumb that stands for a tokenizer here.
const BYTES_PER_TOKEN: u64 = 4;

/// Filler of numbered text. No character of it needs escaping in JSON.
const FILLER: &[u8] =
    b"the quick brown fox jumps over the lazy dog while the signal is still at amber and the ";

/// What a dialect reads from a request. Ranges are into the body.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    /// Raw JSON string of the model, without its quotes.
    pub model: Range<usize>,
    /// The range of the model is into the path.
    pub model_in_path: bool,
    pub stream: bool,
    /// The client wants the usage at the end of a stream.
    pub include_usage: bool,
    /// The bytes that count as the prompt.
    pub prompt: Range<usize>,
    /// The instructions that travelled along.
    pub script: Option<Range<usize>>,
    /// Only the tokens of the prompt are asked for.
    pub counts: bool,
    /// What vectors are wanted in place of text.
    pub vectors: Option<Vectors>,
}

/// The vectors of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vectors {
    pub count: u32,
    pub dimensions: u32,
    /// As Base64 of 32-bit floats.
    pub base64: bool,
    /// One that stands in no list.
    pub alone: bool,
}

impl Ask {
    /// The model as it was asked for.
    pub(crate) fn model<'a>(&self, path: &'a str, body: &'a [u8]) -> &'a [u8] {
        let whole = if self.model_in_path { path.as_bytes() } else { body };
        whole.get(self.model.clone()).unwrap_or_default()
    }
}

/// One step of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Start,
    Reasoning(u32),
    Text(u32),
    /// A tool call opens: its number.
    Tool(u32),
    /// A fragment of its arguments: call, fragment.
    Arguments(u32, u32),
    Finish,
    Usage,
    /// The end mark.
    Done,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Answer {
    pub script: Arc<Script>,
    /// Serial number of the request, for ids.
    pub number: u64,
    /// Name of the model in the answer, raw as it stood in the request's JSON.
    pub model: Vec<u8>,
    /// The same as it was asked for.
    pub asked: Vec<u8>,
    pub stream: bool,
    pub include_usage: bool,
    /// None: nothing about usage is said.
    pub usage: Option<UsageCounts>,
    /// The fault, if this request is one that fails.
    pub fault: Option<Fault>,
    pub status: u16,
    /// Only the tokens of the prompt are told.
    pub counts: bool,
    /// The vectors that are given in place of text.
    pub vectors: Option<Vectors>,
    /// What all events of a stream start with; rendered once by the dialect.
    pub prefix: Vec<u8>,
    /// Scripted text; the numbered filler when empty.
    text: String,
    /// Ends of the pieces of `text`.
    cuts: Vec<usize>,
    chunks: u32,
}

impl Answer {
    pub(crate) fn new(script: Arc<Script>) -> Answer {
        Answer {
            script,
            number: 0,
            model: Vec::new(),
            asked: Vec::new(),
            stream: false,
            include_usage: false,
            usage: None,
            fault: None,
            status: 200,
            counts: false,
            vectors: None,
            prefix: Vec::new(),
            text: String::new(),
            cuts: Vec::new(),
            chunks: 0,
        }
    }

    /// Starts the next answer in these buffers. `model` is the one asked for, `turn` the count of its
    /// requests, from 1; `text` replaces the scripted one.
    pub(crate) fn begin(
        &mut self,
        script: Arc<Script>,
        ask: &Ask,
        model: &[u8],
        turn: u64,
        text: Option<String>,
    ) {
        let strikes = script.strikes(turn);
        self.fault = script.fault.filter(|_| strikes);
        self.status = if strikes { script.status } else { 200 };
        self.stream = ask.stream;
        self.include_usage = ask.include_usage;
        self.counts = ask.counts;
        self.vectors = ask.vectors;
        self.asked.clear();
        self.asked.extend_from_slice(model);
        self.model.clear();
        match &script.model {
            Some(name) => crate::json::escape_into(name, &mut self.model),
            None => self.model.extend_from_slice(model),
        }
        self.cut(&script, text);
        self.script = script;
        self.usage = self.count(ask.prompt.len());
    }

    fn cut(&mut self, script: &Script, text: Option<String>) {
        self.cuts.clear();
        self.text = match (text, &script.text) {
            (Some(text), _) => text,
            (None, Some(text)) => text.clone(),
            (None, None) => String::new(),
        };
        if self.text.is_empty() {
            self.chunks = if script.text.is_some() { 0 } else { script.chunks };
            return;
        }
        let mut start = 0;
        while start < self.text.len() {
            let wanted = start + script.chunk_bytes.max(1) as usize;
            // A demonstration streams whole words; else any character may start a piece.
            let starts = |at: &usize| {
                let whole = !script.demo || self.text.as_bytes()[*at] == b' ';
                whole && self.text.is_char_boundary(*at)
            };
            let end = (wanted..self.text.len()).find(starts).unwrap_or(self.text.len());
            self.cuts.push(end);
            start = end;
        }
        self.chunks = self.cuts.len() as u32;
    }

    fn count(&self, prompt_bytes: usize) -> Option<UsageCounts> {
        let script = &self.script;
        let tokens = |bytes: u64| bytes.div_ceil(BYTES_PER_TOKEN);
        let reasoning = tokens(u64::from(script.reasoning_chunks) * u64::from(script.chunk_bytes));
        let text = if self.text.is_empty() {
            u64::from(self.chunks) * u64::from(script.chunk_bytes)
        } else {
            self.text.len() as u64
        };
        let tools: usize = script.tool_calls.iter().map(|t| t.name.len() + t.arguments.len()).sum();
        let derived = UsageCounts {
            prompt: tokens(prompt_bytes as u64),
            completion: tokens(text + tools as u64) + reasoning,
            reasoning,
            ..UsageCounts::default()
        };
        let derived = match self.vectors {
            // Vectors are not counted.
            Some(_) => UsageCounts { prompt: derived.prompt, ..UsageCounts::default() },
            None => derived,
        };
        match &script.usage {
            UsageScript::Exact(counts) => Some(*counts),
            UsageScript::Named(UsageRule::Missing) => None,
            UsageScript::Named(_) => Some(derived),
        }
    }

    pub(crate) fn usage_rule(&self) -> UsageRule {
        match self.script.usage {
            UsageScript::Named(rule) => rule,
            UsageScript::Exact(_) => UsageRule::Derived,
        }
    }

    pub(crate) fn chunks(&self) -> u32 {
        self.chunks
    }

    /// The piece of step `step`, or none when the answer is over.
    pub(crate) fn piece(&self, step: u32) -> Option<Piece> {
        let Some(mut at) = step.checked_sub(1) else {
            return Some(Piece::Start);
        };
        if at < self.script.reasoning_chunks {
            return Some(Piece::Reasoning(at));
        }
        at -= self.script.reasoning_chunks;
        if at < self.chunks {
            return Some(Piece::Text(self.displaced(at)));
        }
        at -= self.chunks;
        for (call, tool) in (0..).zip(&self.script.tool_calls) {
            if at == 0 {
                return Some(Piece::Tool(call));
            }
            if at <= tool.fragments {
                return Some(Piece::Arguments(call, at - 1));
            }
            at -= 1 + tool.fragments;
        }
        match at {
            0 => Some(Piece::Finish),
            1 => Some(Piece::Usage),
            2 => Some(Piece::Done),
            _ => None,
        }
    }

    fn displaced(&self, index: u32) -> u32 {
        let after = self.script.after;
        match self.fault {
            Some(Fault::Swap) if index == after && index + 1 < self.chunks => index + 1,
            Some(Fault::Swap) if index == after + 1 => index - 1,
            _ => index,
        }
    }

    /// Appends the text of one piece, escaped for JSON. Numbered text starts with `[n] ` and has
    /// exactly `chunk_bytes` bytes where the number leaves room.
    pub(crate) fn text_into(&self, index: u32, out: &mut Vec<u8>) {
        if self.text.is_empty() {
            return numbered(index, self.script.chunk_bytes as usize, out);
        }
        let index = index as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.cuts[before]);
        crate::json::escape_into(&self.text[start..self.cuts[index]], out);
    }

    /// Appends a piece of reasoning.
    pub(crate) fn reasoning_into(&self, index: u32, out: &mut Vec<u8>) {
        numbered(index, self.script.chunk_bytes as usize, out);
    }

    /// Appends one fragment of the arguments of a call, escaped for JSON.
    pub(crate) fn arguments_into(&self, call: u32, fragment: u32, out: &mut Vec<u8>) {
        let tool = &self.script.tool_calls[call as usize];
        let text = &tool.arguments;
        let boundary = |part: u32| {
            let wanted = text.len() * part as usize / tool.fragments as usize;
            (wanted..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
        };
        crate::json::escape_into(&text[boundary(fragment)..boundary(fragment + 1)], out);
    }

    /// The reason that the answer ends with.
    pub(crate) fn finish(&self) -> Option<&str> {
        self.script.finish.as_deref()
    }
}

fn numbered(index: u32, bytes: usize, out: &mut Vec<u8>) {
    let end = out.len() + bytes;
    out.push(b'[');
    digits_into(u64::from(index), out);
    out.extend_from_slice(b"] ");
    while out.len() < end {
        let count = FILLER.len().min(end - out.len());
        out.extend_from_slice(&FILLER[..count]);
    }
}

/// Appends a number in decimal.
pub(crate) fn digits_into(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

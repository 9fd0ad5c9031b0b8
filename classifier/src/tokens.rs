//! A model over tokens: any text classifier of Hugging Face, exported to ONNX.
//!
//! In: texts, the `tokenizer.json` of the folder, and its manifest. Out: per text the numbers of all
//! heads in one row. A text is cut before it is tokenised, head and tail, so its cost has a bound
//! whatever its length. Never: a word of a text kept after the call; the tokenizer's caches are off.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokenizers::Tokenizer;

use crate::ClassifierError;
use crate::manifest::{Head, Manifest, Padding, TokenizerParameters};
use crate::onnx::{Element, GraphSession, Port};

/// The output of a graph that has others, too, and a manifest that does not say.
const OUTPUT: &str = "logits";
/// Largest id that a tokenizer may give: tables of embeddings are smaller.
const ID_MAX: u32 = 1 << 24;

/// A tokenizer and how texts are cut for it; shared by all sessions.
pub(crate) struct TextCutter {
    tokenizer: Tokenizer,
    parameters: TokenizerParameters,
    pad_id: i64,
}

impl fmt::Debug for TextCutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextCutter").field("parameters", &self.parameters).finish_non_exhaustive()
    }
}

impl TextCutter {
    /// Reads a `tokenizer.json`.
    pub(crate) fn new(
        json: &[u8],
        parameters: &TokenizerParameters,
    ) -> Result<TextCutter, ClassifierError> {
        let mut tokenizer = Tokenizer::from_bytes(json)
            .map_err(|error| ClassifierError::Model(format!("tokenizer: {error}")))?;
        let pad_id = parameters.pad_id.or_else(|| Some(tokenizer.get_padding()?.pad_id));
        tokenizer.with_padding(None);
        let uncut = tokenizer.with_truncation(None).map(|_| ());
        uncut.map_err(|error| ClassifierError::Model(format!("tokenizer: {error}")))?;
        // Caches hold words of the texts that were read.
        let mut model = tokenizer.get_model().clone();
        model.resize_cache(0);
        tokenizer.with_model(model);
        let pad_id = i64::from(pad_id.unwrap_or(0));
        Ok(TextCutter { tokenizer, parameters: parameters.clone(), pad_id })
    }

    /// The tokens of `text`, at least one and at most `tokens_max`, appended to `into`.
    fn push_tokens(&self, text: &str, into: &mut Vec<i64>) -> Result<usize, ClassifierError> {
        let text = self.cut(text);
        // A tokenizer is written by others, and so are the rules it is made of.
        let encoded = catch_unwind(AssertUnwindSafe(|| self.tokenizer.encode_fast(&*text, true)));
        let encoding = match encoded {
            Ok(Ok(encoding)) => encoding,
            // What went wrong may quote the text; it is not passed on.
            Ok(Err(_)) => return Err(ClassifierError::Model("the tokenizer failed".into())),
            Err(_) => return Err(ClassifierError::Model("the tokenizer panicked".into())),
        };
        let ids = encoding.get_ids();
        if ids.iter().any(|&id| id > ID_MAX) {
            return Err(ClassifierError::Model(format!("tokenizer: an id is above {ID_MAX}")));
        }
        let most = self.parameters.tokens_max;
        let (head, tail) = match ids.len() {
            count if count <= most => (ids, &[][..]),
            count => {
                let tail = most / 3;
                (&ids[..most - tail], &ids[count - tail..])
            }
        };
        into.extend(head.iter().chain(tail).map(|&id| i64::from(id)));
        if ids.is_empty() {
            into.push(self.pad_id);
        }
        Ok((head.len() + tail.len()).max(1))
    }

    /// Head and tail of a long text, all of a short one.
    fn cut<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        let TokenizerParameters { head_bytes, tail_bytes, .. } = self.parameters;
        if text.len() <= head_bytes + tail_bytes {
            return text.into();
        }
        let head = &text[..text.floor_char_boundary(head_bytes)];
        let tail = &text[text.ceil_char_boundary(text.len() - tail_bytes)..];
        format!("{head}\n{tail}").into()
    }
}

/// What an input of the graph is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    Ids,
    Mask,
    Types,
}

/// Session and buffers of one thread.
#[derive(Debug)]
pub(crate) struct TokenModel {
    session: GraphSession,
    cutter: Arc<TextCutter>,
    /// In the order of the graph's inputs.
    feeds: Vec<Feed>,
    /// Output and its width, in the order of a row.
    parts: Vec<(usize, usize)>,
    /// The graph takes one text at a time.
    single: bool,
    ids: Vec<i64>,
    lengths: Vec<usize>,
    tensors: [Vec<i64>; 3],
}

impl TokenModel {
    /// A model over a graph and a tokenizer; the graph must take tokens, and give what the manifest
    /// says.
    pub(crate) fn new(
        session: GraphSession,
        cutter: Arc<TextCutter>,
        manifest: &Manifest,
    ) -> Result<TokenModel, ClassifierError> {
        let wrong = |what: String| {
            Err(ClassifierError::Model(format!("{what}; the graph takes {}", session.ports())))
        };
        let mut feeds = Vec::new();
        let mut single = false;
        for port in session.inputs() {
            let feed = match &*port.name {
                "input_ids" => Feed::Ids,
                "attention_mask" => Feed::Mask,
                "token_type_ids" => Feed::Types,
                name => {
                    return wrong(format!(
                        "input {name:?} is not known; input_ids, attention_mask and token_type_ids are"
                    ));
                }
            };
            if let Err(what) = fits(port, &cutter.parameters) {
                return wrong(what);
            }
            single |= port.fixed(0) == Some(1);
            feeds.push(feed);
        }
        if !feeds.contains(&Feed::Ids) {
            return wrong("input \"input_ids\" is missing".into());
        }
        let parts = match parts(session.outputs(), manifest) {
            Ok(parts) => parts,
            Err(what) => return wrong(what),
        };
        Ok(TokenModel {
            session,
            cutter,
            feeds,
            parts,
            single,
            ids: Vec::new(),
            lengths: Vec::new(),
            tensors: Default::default(),
        })
    }

    /// What the graph takes and gives, for people.
    pub(crate) fn ports(&self) -> String {
        self.session.ports()
    }

    /// Runs the graph on all texts, and writes a row of numbers for each into `rows`.
    pub(crate) fn run<'a>(
        &mut self,
        texts: impl Iterator<Item = &'a str>,
        rows: &mut Vec<f32>,
    ) -> Result<(), ClassifierError> {
        self.ids.clear();
        self.lengths.clear();
        for text in texts {
            let length = self.cutter.push_tokens(text, &mut self.ids)?;
            self.lengths.push(length);
        }
        rows.clear();
        let at_once = if self.single { 1 } else { self.lengths.len().max(1) };
        let mut start = 0;
        for first in (0..self.lengths.len()).step_by(at_once) {
            let lengths = first..(first + at_once).min(self.lengths.len());
            start = self.run_some(lengths, start, rows)?;
        }
        Ok(())
    }

    /// Runs the graph on the texts of these numbers, whose tokens begin at `start`, and says where
    /// they end.
    fn run_some(
        &mut self,
        texts: std::ops::Range<usize>,
        mut start: usize,
        rows: &mut Vec<f32>,
    ) -> Result<usize, ClassifierError> {
        let lengths = &self.lengths[texts];
        let longest = lengths.iter().copied().max().unwrap_or(1);
        let width = match self.cutter.parameters.padding {
            Padding::Longest => longest,
            Padding::Max => self.cutter.parameters.tokens_max,
        };
        for tensor in &mut self.tensors {
            tensor.clear();
        }
        let [ids, mask, types] = &mut self.tensors;
        types.resize(lengths.len() * width, 0);
        for (row, &length) in lengths.iter().enumerate() {
            ids.extend_from_slice(&self.ids[start..start + length]);
            mask.resize(row * width + length, 1);
            ids.resize((row + 1) * width, self.cutter.pad_id);
            mask.resize((row + 1) * width, 0);
            start += length;
        }
        let tensors = &self.tensors;
        let feeds: Vec<&[i64]> = self.feeds.iter().map(|&feed| &*tensors[feed as usize]).collect();
        self.session.run_ids([lengths.len(), width], &feeds, &self.parts, rows)?;
        Ok(start)
    }
}

/// Whether the rows that are made of texts fit an input.
fn fits(port: &Port, parameters: &TokenizerParameters) -> Result<(), String> {
    let name = &port.name;
    if !matches!(port.element, Element::I64 | Element::I32) || port.shape.len() != 2 {
        return Err(format!("{name} must be I64 or I32 [batch, tokens]"));
    }
    if port.fixed(0).is_some_and(|rows| rows != 1) {
        return Err(format!("{name} must take one row, or any number"));
    }
    match port.fixed(1) {
        None => Ok(()),
        Some(length) if parameters.padding == Padding::Max && length == parameters.tokens_max => {
            Ok(())
        }
        Some(length) => Err(format!(
            "{name} takes {length} tokens; say so: tokenizer.tokens_max = {length} and \
             tokenizer.padding = \"max\""
        )),
    }
}

/// Which outputs make up a row, and how wide each is.
fn parts(outputs: &[Port], manifest: &Manifest) -> Result<Vec<(usize, usize)>, String> {
    let labels = manifest.labels.len();
    let find = |name: &str| {
        let at = outputs.iter().position(|port| port.name == name);
        at.ok_or_else(|| format!("output {name:?} is missing"))
    };
    let checked = |at: usize, width: usize, what: &str| {
        let port = &outputs[at];
        let right = port.element == Element::F32
            && port.shape.len() == 2
            && port.fixed(1).is_none_or(|length| length == width);
        if right {
            Ok((at, width))
        } else {
            Err(format!("output {port} must be F32 [batch, {width}], {what}"))
        }
    };
    if manifest.outputs.is_empty() {
        let at = if outputs.len() == 1 { 0 } else { find(OUTPUT)? };
        let width = manifest.heads.iter().map(|head| head.width(labels)).sum();
        return Ok(vec![checked(at, width, "as heads and labels say")?]);
    }
    let part = |head: &Head| {
        let name = manifest.outputs.get(head).map_or(OUTPUT, String::as_str);
        checked(find(name)?, head.width(labels), head.name())
    };
    manifest.heads.iter().map(part).collect()
}

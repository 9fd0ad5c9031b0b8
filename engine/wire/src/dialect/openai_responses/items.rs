//! The items of a response's output, as a provider writes them and as a client reads them.
//!
//! In: an item's JSON, or parts of an answer. Out: the same in the other form. Never: an item of a
//! tool that OpenAI itself ran; what came of it stands in the text.

use crate::chat::names::{Named, ToolNames};
use crate::chat::{Call, Input, Json, Part, ReadRules, Reasoning, State, Str, carry};
use crate::json::write::{Array, Object};
use crate::json::{Cursor, JsonError, Kind};

type Result<T> = std::result::Result<T, JsonError>;

/// Stands between the parts of a summary when they become one text. Escaped.
pub(super) const PARAGRAPH: &[u8] = b"\\n\\n";

/// An item of a provider's output.
#[derive(Default)]
pub(super) struct Item<'b> {
    pub(super) kind: &'b [u8],
    pub(super) id: Str<'b>,
    pub(super) call_id: Option<Str<'b>>,
    pub(super) name: Str<'b>,
    /// Arguments or free input.
    pub(super) input: Str<'b>,
    pub(super) encrypted: Option<Str<'b>>,
    pub(super) content: Vec<Part<'b>>,
    pub(super) summary: Vec<Part<'b>>,
    pub(super) logprobs: Option<Json<'b>>,
}

impl<'b> Item<'b> {
    pub(super) fn read(cursor: &mut Cursor<'b>) -> Result<Item<'b>> {
        let mut item = Item::default();
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"type", Kind::String) => item.kind = cursor.string()?.bytes,
                (b"id", Kind::String) => item.id = cursor.string()?.into(),
                (b"call_id", Kind::String) => item.call_id = Some(cursor.string()?.into()),
                (b"name", Kind::String) => item.name = cursor.string()?.into(),
                (b"arguments" | b"input", Kind::String) => item.input = cursor.string()?.into(),
                (b"encrypted_content", Kind::String) => {
                    item.encrypted = Some(cursor.string()?.into());
                }
                (b"content", Kind::Array) => {
                    item.content = read_parts(cursor, &mut item.logprobs)?;
                }
                (b"summary", Kind::Array) => item.summary = read_parts(cursor, &mut None)?,
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(item)
    }

    pub(super) fn is_call(&self) -> bool {
        matches!(self.kind, b"function_call" | b"custom_tool_call")
    }

    pub(super) fn is_free(&self) -> bool {
        self.kind == b"custom_tool_call"
    }

    /// Leads from the result back to the call.
    pub(super) fn result_id(&self) -> Str<'b> {
        self.call_id.clone().unwrap_or_else(|| self.id.clone())
    }

    /// Words of a reasoning item: all of them where they are given, else their summary.
    pub(super) fn words(&self) -> Str<'b> {
        join_paragraphs(if self.content.is_empty() { &self.summary } else { &self.content })
    }

    /// The state that its issuer wants back.
    pub(super) fn state(&self, rules: &ReadRules) -> Option<State<'b>> {
        let data = self.encrypted.clone().filter(|data| !data.is_empty())?;
        Some(State { issuer: rules.issuer, is_redacted: false, id: self.id.clone(), data })
    }

    /// What it adds to an answer.
    pub(super) fn into_parts(self, rules: &ReadRules) -> Vec<Part<'b>> {
        match self.kind {
            b"message" => self.content,
            b"reasoning" => {
                let reasoning = Reasoning { text: self.words(), state: self.state(rules) };
                vec![Part::Reasoning(reasoning)]
            }
            _ if self.is_call() => {
                let is_free = self.is_free();
                vec![Part::Call(Call {
                    id: self.result_id(),
                    name: self.name,
                    namespace: None,
                    input: if is_free { Input::Free(self.input) } else { Input::Text(self.input) },
                    state: None,
                })]
            }
            _ => Vec::new(),
        }
    }
}

fn read_parts<'b>(
    cursor: &mut Cursor<'b>,
    logprobs: &mut Option<Json<'b>>,
) -> Result<Vec<Part<'b>>> {
    let mut parts = Vec::new();
    cursor.array(|cursor| {
        let (mut text, mut refusal) = (None, None);
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"text", Kind::String) => text = Some(Str::from(cursor.string()?)),
                (b"refusal", Kind::String) => refusal = Some(Str::from(cursor.string()?)),
                (b"logprobs", Kind::Array) => {
                    let found = cursor.raw()?;
                    if found.len() > 2 {
                        *logprobs = Some(Json::checked(found));
                    }
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        parts.extend(text.map(Part::Text));
        parts.extend(refusal.map(Part::Refusal));
        Ok(())
    })?;
    Ok(parts)
}

/// The text of some parts, with an empty line between them.
pub(super) fn join_paragraphs<'b>(parts: &[Part<'b>]) -> Str<'b> {
    let mut texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    let mut whole = texts.next().cloned().unwrap_or(Str::EMPTY);
    for text in texts {
        whole.push(&Str::escaped_from(PARAGRAPH));
        whole.push(text);
    }
    whole
}

/// Writes the members of a message.
pub(super) fn write_message(
    id: &str,
    status: &str,
    item: &mut Object<'_>,
    content: impl FnOnce(&mut Array<'_>),
) {
    item.text("id", id).text("type", "message").text("status", status);
    item.text("role", "assistant").array("content", content);
}

/// Writes a part of a message: text or a refusal.
pub(super) fn write_part(
    is_refusal: bool,
    text: &Str<'_>,
    logprobs: Option<&Json<'_>>,
    part: &mut Object<'_>,
) {
    if is_refusal {
        part.text("type", "refusal");
        text.write(part.key("refusal"));
        return;
    }
    part.text("type", "output_text");
    text.write(part.key("text"));
    part.raw("annotations", "[]");
    match logprobs {
        Some(logprobs) => part.raw("logprobs", logprobs),
        None => part.raw("logprobs", "[]"),
    };
}

/// Writes the members of a reasoning item. State of whatever provider travels in the opaque value
/// that clients of this dialect give back, whether they have asked for it or not.
pub(super) fn write_reasoning(
    id: &str,
    text: &Str<'_>,
    state: Option<&State<'_>>,
    item: &mut Object<'_>,
) {
    item.text("id", id).text("type", "reasoning").array("summary", |summary| {
        if !text.is_empty() {
            summary.object(|part| write_summary(text, part));
        }
    });
    match state {
        Some(state) => item.text("encrypted_content", &carry::value_of(Some(state))),
        None => item.raw("encrypted_content", "null"),
    };
}

/// Writes a part of a summary.
pub(super) fn write_summary(text: &Str<'_>, part: &mut Object<'_>) {
    part.text("type", "summary_text");
    text.write(part.key("text"));
}

/// A call as the client knows it: by its own name for the tool, with free text where it wants that.
pub(super) struct ClientCall {
    /// Leads from the result back to the call, with the state that has to come back.
    pub(super) call_id: Str<'static>,
    pub(super) name: Str<'static>,
    pub(super) namespace: Option<Str<'static>>,
    pub(super) is_free: bool,
}

impl ClientCall {
    pub(super) fn new(
        (id, name): (&Str<'_>, &Str<'_>),
        is_free: bool,
        state: Option<&State<'_>>,
        names: &ToolNames,
    ) -> ClientCall {
        let carried = carry::Carried { call: state.cloned(), ..carry::Carried::default() };
        let call_id = carry::id_with(id, &carried).into_owned();
        match names.find(name).cloned() {
            Some(Named { name, namespace, is_free: takes_free, .. }) => {
                ClientCall { call_id, name, namespace, is_free: is_free || takes_free }
            }
            None => {
                let name = name.clone().into_owned();
                ClientCall { call_id, name, namespace: None, is_free }
            }
        }
    }

    /// The prefix of ids of such items, which OpenAI checks when they come back.
    pub(super) fn id_prefix(&self) -> &'static str {
        if self.is_free { "ctc" } else { "fc" }
    }

    /// Writes the members of its item.
    pub(super) fn write(&self, id: &str, status: &str, input: &Str<'_>, item: &mut Object<'_>) {
        let (kind, field) = match self.is_free {
            true => ("custom_tool_call", "input"),
            false => ("function_call", "arguments"),
        };
        item.text("id", id).text("type", kind).text("status", status);
        self.call_id.write(item.key("call_id"));
        self.name.write(item.key("name"));
        if let Some(namespace) = &self.namespace {
            namespace.write(item.key("namespace"));
        }
        input.write(item.key(field));
    }
}

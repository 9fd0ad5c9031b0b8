//! The neutral form of a conversation: what every chat dialect can be read into and written from, so
//! that no dialect knows another.
//!
//! In: what a dialect's reader found. Out: [`Request`], [`Answer`], and a stream's [`Event`]s. Text is
//! borrowed from the body, as it stands there ([`Str`]); a schema or arguments stay JSON text
//! ([`Json`]). Never: used when client and provider speak the same dialect, whose bytes pass as they
//! are; a place for what only one dialect knows: such members are named in [`Request::unmapped`].
//!
//! A writer takes a [`Request`] apart by naming every field, so that the compiler finds each place
//! where a new one has to be thought of. What it leaves out it names in [`Dropped`].

pub mod carry;
mod dropped;
pub mod names;
mod text;
mod thinking;
mod trail;
mod translate;

pub use carry::{Issuer, State};
pub use dropped::Dropped;
pub use text::{Json, Str};
pub use thinking::{Effort, Efforts, Thinking, ThinkingMode};
pub use trail::Trail;
pub use translate::{Chat, KEPT_BYTES_MAX, ReadRules, Shown, StreamReader, StreamWriter, Target};

use crate::json::{Cursor, JsonError, JsonErrorKind, Kind};
use crate::refusal::{self, Refusal};
use models::Usage;
use std::borrow::Cow;

/// A request for an answer in a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request<'b> {
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether the client wants the usage in the stream, where its dialect leaves the choice.
    pub usage_in_stream: bool,
    /// The conversation, system messages included, in the client's order.
    pub turns: Vec<Turn<'b>>,
    /// What the client's dialect calls them, to name one in an error: `messages`.
    pub turns_field: &'static str,
    /// What the model may call.
    pub tools: Vec<Tool<'b>>,
    /// Whether and what it must call.
    pub tool_choice: ToolChoice<'b>,
    /// Whether several calls in one turn are allowed; `None` is the provider's default.
    pub parallel_calls: Option<bool>,
    /// The most output tokens.
    pub max_output: Option<u32>,
    /// Texts that end the answer.
    pub stop: Vec<Str<'b>>,
    /// How tokens are picked.
    pub sampling: Sampling<'b>,
    /// How many alternative answers, at least 1; 0 is not said.
    pub alternatives: u32,
    /// Log probabilities of the tokens, with that many alternatives each.
    pub logprobs: Option<u32>,
    /// The form of the answer.
    pub format: Format<'b>,
    /// How much to think.
    pub thinking: Thinking,
    /// `low`, `medium` or `high`: how long the answer should be.
    pub verbosity: Option<Str<'b>>,
    /// Who asks, for the provider's own abuse control.
    pub user: Option<Str<'b>>,
    /// Requests with the same key share a prompt cache.
    pub cache_key: Option<Str<'b>>,
    /// Cache what has come so far without marks: Anthropic's automatic caching.
    pub cache: Option<CacheTtl>,
    /// The provider's class of service.
    pub service_tier: Option<Str<'b>>,
    /// Free-form names and values that the provider keeps with the answer; a JSON object of strings.
    pub metadata: Option<Json<'b>>,
    /// Members of the client's body that have no neutral form, by their names there.
    pub unmapped: Dropped,
}

impl Request<'_> {
    /// The name of the tool whose call has that id, from the history.
    pub fn called_name(&self, id: &Str<'_>) -> Option<&Str<'_>> {
        self.turns.iter().flat_map(|turn| &turn.parts).find_map(|part| match part {
            Part::Call(call) if call.id == *id => Some(&call.name),
            _ => None,
        })
    }

    /// The name of a tool as a target without namespaces gets it, by the client's name for it.
    pub fn flat_name_of<'n>(&self, name: &'n Str<'_>) -> Str<'n> {
        let tool = self.tools.iter().find(|tool| tool.name == *name);
        names::flat_name(tool.and_then(|tool| tool.namespace.as_ref()), name)
    }

    /// A refusal of what stands in `turn` and the target has no place for.
    pub fn unfit(&self, turn: &Turn<'_>, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(refusal::Kind::NotCapable)
            .with_message(message)
            .with_param(format!("{}[{}]", self.turns_field, turn.index))
    }

    /// Whether the conversation ends with results of calls: the middle of an agent's loop.
    pub fn ends_with_results(&self) -> bool {
        let last = self.turns.last();
        last.is_some_and(|turn| turn.parts.iter().any(|part| matches!(part, Part::Result(_))))
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn<'b> {
    /// Who speaks. Results of calls belong to the user.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part<'b>>,
    /// The speaker's name, where one was given.
    pub name: Option<Str<'b>>,
    /// Index of the message in the client's body, to name it in an error. Several turns in the body
    /// can become one, and one several.
    pub index: u32,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator.
    System,
    /// The same in OpenAI's newer word, for models that tell the two apart.
    Developer,
    /// The user, and the tools.
    User,
    /// The model.
    Assistant,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part<'b> {
    /// Text.
    Text(Str<'b>),
    /// A picture.
    Image {
        /// Where it is.
        source: Source<'b>,
        /// How closely to look: `low`, `high`, `auto`.
        detail: Option<Str<'b>>,
    },
    /// Sound.
    Audio(Source<'b>),
    /// A document.
    File {
        /// Where it is.
        source: Source<'b>,
        /// Its name or title.
        name: Option<Str<'b>>,
    },
    /// The model calls a tool.
    Call(Call<'b>),
    /// What came of a call.
    Result(CallResult<'b>),
    /// What the model thought before it went on.
    Reasoning(Reasoning<'b>),
    /// Why the model would not answer.
    Refusal(Str<'b>),
    /// What stands before this is worth caching. Follows the part that was marked.
    CachePoint(CacheTtl),
}

/// Where the bytes of a picture, sound or document are.
#[derive(Clone, Debug, PartialEq)]
pub enum Source<'b> {
    /// Here.
    Base64 {
        /// The media type: `image/png`.
        mime: Str<'b>,
        /// Standard alphabet, padded.
        data: Str<'b>,
    },
    /// Elsewhere; the provider fetches it.
    Url(Str<'b>),
    /// With the provider that issued the id, and nowhere else.
    Id(Issuer, Str<'b>),
    /// It is text.
    Text(Str<'b>),
}

impl<'b> Source<'b> {
    /// What a URL points to: the bytes themselves when it is a `data:` URL in base 64.
    pub fn of_url(url: Str<'b>) -> Source<'b> {
        const BASE64: &[u8] = b";base64,";
        let found = url.escaped().strip_prefix(b"data:").and_then(|rest| {
            // The media type is short; the bytes behind it are not searched.
            memchr::memmem::find(&rest[..rest.len().min(256)], BASE64)
        });
        match found {
            Some(mime_bytes) => {
                let rest = url.split_off(b"data:".len());
                Source::Base64 {
                    mime: rest.cut(mime_bytes),
                    data: rest.split_off(mime_bytes + BASE64.len()),
                }
            }
            None => Source::Url(url),
        }
    }

    /// As a URL, when it can be one.
    pub fn url(&self) -> Option<Str<'_>> {
        match self {
            Source::Url(url) => Some(url.borrowed()),
            Source::Base64 { mime, data } => Some(Str::escaped_from(
                [b"data:", mime.escaped(), b";base64,", data.escaped()].concat(),
            )),
            Source::Id(..) | Source::Text(_) => None,
        }
    }
}

/// The model calls a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<'b> {
    /// Leads from the result back to the call.
    pub id: Str<'b>,
    /// The tool's name as the client knows it, without its namespace.
    pub name: Str<'b>,
    /// The namespace of the tool, for clients that have such.
    pub namespace: Option<Str<'b>>,
    /// What it is called with.
    pub input: Input<'b>,
    /// State of the issuer that belongs to this call and has to come back with it.
    pub state: Option<State<'b>>,
}

/// What a tool is called with. Kept in the form in which it came, because most pairs need no other.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<'b> {
    /// A JSON object.
    Object(Json<'b>),
    /// JSON inside of a string. What a model made up may be none: [`Input::object`] copes.
    Text(Str<'b>),
    /// Free text, for a tool without a schema.
    Free(Str<'b>),
}

impl<'b> Input<'b> {
    /// The member that holds the free text of a tool without a schema where a target only knows
    /// functions, and the text of arguments that are no JSON object.
    pub const FREE: &'static str = "input";

    /// As a JSON object. Text that is none becomes the one member [`Input::FREE`], so that the model
    /// sees again what it wrote.
    pub fn object(&self) -> Cow<'_, [u8]> {
        match self {
            Input::Object(json) => Cow::Borrowed(json.bytes()),
            Input::Text(text) => {
                let text = text.text();
                match is_object(text.as_bytes()) {
                    _ if text.trim().is_empty() => Cow::Borrowed(b"{}"),
                    true => Cow::Owned(text.into_owned().into_bytes()),
                    false => Cow::Owned(free_object(&Str::plain(&text))),
                }
            }
            Input::Free(text) => Cow::Owned(free_object(text)),
        }
    }

    /// Whether it is a JSON object with both its braces.
    pub fn is_whole(&self) -> bool {
        match self {
            Input::Object(_) | Input::Free(_) => true,
            Input::Text(text) => is_object(text.text().as_bytes()),
        }
    }

    /// As JSON inside of a string, never empty.
    pub fn text(&self) -> Str<'_> {
        match self {
            Input::Text(text) if text.is_empty() => Str::plain("{}"),
            Input::Text(text) => text.borrowed(),
            Input::Object(json) => Str::from_text(&String::from_utf8_lossy(json.bytes())),
            Input::Free(text) => Str::from_text(&String::from_utf8_lossy(&free_object(text))),
        }
    }

    /// The free text inside, for a client that calls this tool with free text.
    pub fn free(&self) -> Str<'_> {
        match self {
            Input::Free(text) => text.borrowed(),
            _ => free_text(&self.object())
                .unwrap_or_else(|| Str::from_text(&String::from_utf8_lossy(&self.object()))),
        }
    }
}

fn is_object(text: &[u8]) -> bool {
    let whole = |text| {
        let mut cursor = Cursor::new(text)?;
        let is_object = cursor.kind()? == Kind::Object;
        cursor.skip()?;
        cursor.end()?;
        Ok::<_, JsonError>(is_object)
    };
    whole(text).unwrap_or(false)
}

fn free_object(text: &Str<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut object = crate::json::write::Object::begin(&mut out);
    text.write(object.key(Input::FREE));
    object.end();
    out
}

/// The text that [`free_object`] put into `object`.
fn free_text(object: &[u8]) -> Option<Str<'static>> {
    let mut found = None;
    let mut cursor = Cursor::new(object).ok()?;
    let read = cursor.object(|key, cursor| {
        if key.is(Input::FREE) && cursor.kind()? == Kind::String {
            found = Some(Str::from(cursor.string()?).into_owned());
            return Ok(());
        }
        cursor.skip().map(drop)
    });
    read.ok().and(found)
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallResult<'b> {
    /// Of which call.
    pub id: Str<'b>,
    /// Text, pictures, documents.
    pub parts: Vec<Part<'b>>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// What the model thought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasoning<'b> {
    /// In words, or a summary of them; empty when the provider shows none.
    pub text: Str<'b>,
    /// What its issuer wants back unchanged.
    pub state: Option<State<'b>>,
}

/// What the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool<'b> {
    /// Its name.
    pub name: Str<'b>,
    /// The group that it belongs to, for clients that have such.
    pub namespace: Option<Str<'b>>,
    /// What it does.
    pub description: Option<Str<'b>>,
    /// What it takes.
    pub input: ToolInput<'b>,
    /// Whether arguments must follow the schema to the letter.
    pub strict: Option<bool>,
    /// The definitions up to this one are worth caching.
    pub cache: Option<CacheTtl>,
}

impl Tool<'_> {
    /// The schema of a tool with free text, where a target only knows functions.
    pub const FREE_SCHEMA: &'static str = "{\"type\":\"object\",\"properties\":{\"input\":{\"type\":\"string\"}},\"required\":[\"input\"]}";
}

/// What a tool takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolInput<'b> {
    /// Arguments by a JSON schema; `None` is any object.
    Schema(Option<Json<'b>>),
    /// Free text, perhaps by a grammar (OpenAI's `format` object).
    Free(Option<Json<'b>>),
}

/// Whether and what the model must call.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ToolChoice<'b> {
    /// Not said.
    #[default]
    Unset,
    /// As it likes.
    Auto,
    /// Nothing.
    None,
    /// Something.
    Required,
    /// This tool.
    Named(Str<'b>),
    /// One of these, or none of them unless `required`.
    Allowed {
        /// Their names.
        names: Vec<Str<'b>>,
        /// Whether one must be called.
        required: bool,
    },
}

/// How tokens are picked. Numbers are kept as they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling<'b> {
    /// 0 to 2 at OpenAI and Gemini, 0 to 1 at Anthropic.
    pub temperature: Option<&'b str>,
    /// Of the likeliest tokens those that together have this share.
    pub top_p: Option<&'b str>,
    /// Of the likeliest tokens this many.
    pub top_k: Option<&'b str>,
    /// Less of what occurs already.
    pub presence_penalty: Option<&'b str>,
    /// Less of what occurs often.
    pub frequency_penalty: Option<&'b str>,
    /// The same tokens for the same seed.
    pub seed: Option<&'b str>,
    /// More or less of single tokens, by OpenAI's token ids; a JSON object.
    pub logit_bias: Option<Json<'b>>,
}

/// The form of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format<'b> {
    /// Text.
    #[default]
    Text,
    /// JSON of any shape.
    Json,
    /// JSON by a schema.
    Schema {
        /// The schema's name, where one was given.
        name: Option<Str<'b>>,
        /// What it is for.
        description: Option<Str<'b>>,
        /// The schema.
        schema: Json<'b>,
        /// Whether to follow it to the letter.
        strict: Option<bool>,
    },
}

/// For how long a cached prompt is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheTtl {
    /// The provider's default, mostly five minutes.
    #[default]
    Default,
    /// Five minutes, said in so many words.
    FiveMinutes,
    /// An hour.
    OneHour,
}

impl CacheTtl {
    /// Reads a `cache_control` member, which servers of several dialects take as Anthropic does.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Option<CacheTtl>, JsonError> {
        if cursor.null()? {
            return Ok(None);
        }
        let mut ttl = CacheTtl::Default;
        cursor.object(|key, cursor| {
            if key.bytes != b"ttl" {
                return cursor.skip().map(drop);
            }
            ttl = match &*cursor.string()?.text() {
                "5m" => CacheTtl::FiveMinutes,
                "1h" => CacheTtl::OneHour,
                _ => return Err(cursor.error(JsonErrorKind::WrongType("\"5m\" or \"1h\""))),
            };
            Ok(())
        })?;
        Ok(Some(ttl))
    }
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer<'b> {
    /// The provider's id of it.
    pub id: Option<Str<'b>>,
    /// The alternatives, at least one.
    pub choices: Vec<Choice<'b>>,
    /// The provider's count; `None` when it is missing or cannot be true.
    pub usage: Option<Usage>,
    /// The class of service that it was served in.
    pub service_tier: Option<Str<'b>>,
}

impl Answer<'_> {
    /// Bytes of generated text and tool arguments, for an own count.
    pub fn content_bytes(&self) -> u32 {
        let parts = self.choices.iter().flat_map(|choice| &choice.parts);
        let bytes = parts.map(|part| match part {
            Part::Text(text) | Part::Refusal(text) => text.len(),
            Part::Reasoning(reasoning) => reasoning.text.len(),
            Part::Call(call) => {
                call.name.len()
                    + match &call.input {
                        Input::Object(json) => json.bytes().len(),
                        Input::Text(text) | Input::Free(text) => text.len(),
                    }
            }
            _ => 0,
        });
        bytes.fold(0u32, |sum, bytes| sum.saturating_add(bytes as u32))
    }
}

/// One of several answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<'b> {
    /// What was said: text, reasoning, calls, a refusal.
    pub parts: Vec<Part<'b>>,
    /// Why it ended.
    pub finish: Finish,
    /// The text that ended it, when the provider tells.
    pub stop_sequence: Option<Str<'b>>,
    /// Log probabilities in OpenAI's form: the elements of `logprobs.content`, with the brackets.
    pub logprobs: Option<Json<'b>>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It was done.
    Stop,
    /// One of the texts that end it came up.
    StopSequence,
    /// The output limit was reached.
    Length,
    /// The model's context was full.
    Context,
    /// It calls tools and waits for the results.
    Calls,
    /// A filter of the provider cut it off.
    Filter,
    /// The model would not answer.
    Refusal,
    /// A turn with the provider's own tools paused; the caller sends it again.
    Pause,
}

/// A piece of a streamed answer, in the order in which it came. Which alternative it belongs to is
/// said beside it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'e> {
    /// The answer begins. Comes first, once.
    Start {
        /// The provider's id of it.
        id: Option<Str<'e>>,
    },
    /// More text.
    Text(Str<'e>),
    /// More of why the model will not answer.
    Refusal(Str<'e>),
    /// More of what the model thinks.
    Reasoning(Str<'e>),
    /// A run of reasoning ends, perhaps with the state that its issuer wants back. A run may be
    /// nothing but that state.
    ReasoningEnd(Option<State<'e>>),
    /// Log probabilities of the last text, in OpenAI's form: an array.
    Logprobs(Json<'e>),
    /// A call begins.
    CallStart {
        /// Which call of the answer, from 0.
        call: u32,
        /// Leads from the result back to the call.
        id: Str<'e>,
        /// The tool.
        name: Str<'e>,
        /// Whether its input is free text.
        is_free: bool,
        /// State of the issuer that belongs to this call.
        state: Option<State<'e>>,
    },
    /// More of a call's input: text that makes JSON, or free text.
    CallInput {
        /// Which call.
        call: u32,
        /// The piece. Pieces concatenate.
        piece: Str<'e>,
    },
    /// The call is whole. A dialect that does not say so lets its reader leave this out.
    CallEnd {
        /// Which call.
        call: u32,
    },
    /// Why the answer ends. Comes once for each alternative; only usage and the end follow.
    Finish {
        /// Why.
        why: Finish,
        /// The text that ended it, when the provider tells.
        stop_sequence: Option<Str<'e>>,
    },
    /// The provider's count so far; the last one counts.
    Usage(Usage),
    /// The provider's error object: the answer is broken.
    Error,
    /// The end mark.
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_change_form_without_loss() {
        let object = Input::Object(Json::checked(&br#"{"a":"x\ny"}"#[..]));
        assert_eq!(object.text().text(), r#"{"a":"x\ny"}"#);
        let text = Input::Text(Str::escaped_from(&br#"{\"a\":1}"#[..]));
        assert_eq!(&*text.object(), br#"{"a":1}"#);
        for empty in ["", " "] {
            assert_eq!(&*Input::Text(Str::plain(empty)).object(), b"{}");
        }
        assert_eq!(Input::Text(Str::EMPTY).text().text(), "{}");
        let broken = Input::Text(Str::plain("{\"a\":"));
        assert_eq!(&*broken.object(), br#"{"input":"{\"a\":"}"#);
        assert_eq!(&*Input::Text(Str::plain("[1]")).object(), br#"{"input":"[1]"}"#);
        let free = Input::Free(Str::plain("*** Begin\nPatch"));
        let there = Input::Object(Json::checked(free.object().into_owned()));
        assert_eq!(there.free().text(), "*** Begin\nPatch");
        assert_eq!(object.free().text(), r#"{"a":"x\ny"}"#);
    }
}

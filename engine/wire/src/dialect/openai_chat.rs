//! OpenAI chat completions: `POST /v1/chat/completions`.
//!
//! In: a client's body, a provider's body or event. Out: [`Parsed`], [`Answer`], [`Event`], and the
//! body with its few patches. Never: a change of what was not asked for; unknown fields survive.

mod answer;
mod provider_request;
mod request;
mod stream;
mod tools;
mod usage;

use super::{Answer, AnswerFault, Codec, Event, EventKind, Outgoing, UsageRules};
use crate::chat::{
    self, Chat, Dropped, ReadRules, Request, Shown, StreamReader, StreamWriter, Target, carry,
};
use crate::json::{self, Cursor, JsonError, JsonErrorKind, Kind, Patch, RawStr, Span};
use crate::refusal::{self, Refusal};
use crate::request::{Member, Parsed, Shape, Text};
use arrayvec::ArrayVec;
use models::{Capabilities, Dialect, Usage};
use std::borrow::Cow;

/// The dialect.
pub struct OpenAiChat;

impl Codec for OpenAiChat {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAiChat
    }

    fn path(&self, _: &str, _: bool) -> Cow<'static, str> {
        Cow::Borrowed("/chat/completions")
    }

    fn read_request(&self, body: &[u8]) -> Result<Parsed, Refusal> {
        let mut reader = Reader::default();
        match reader.read(body) {
            Ok(()) => reader.finish(),
            Err(error) => Err(reader.refusal(error)),
        }
    }

    fn patch_request(
        &self,
        parsed: &Parsed,
        body: &[u8],
        outgoing: &Outgoing<'_>,
        out: &mut Vec<u8>,
    ) -> usize {
        parsed.with_cuts(&patches(parsed, body, outgoing), |all| json::patch_into(body, all, out))
    }

    fn patched_len(&self, parsed: &Parsed, body: &[u8], outgoing: &Outgoing<'_>) -> usize {
        parsed.with_cuts(&patches(parsed, body, outgoing), |all| json::patched_len(body, all))
    }

    fn read_answer(&self, body: &[u8], rules: UsageRules) -> Result<Answer, AnswerFault> {
        read_answer(body, rules).unwrap_or(Err(AnswerFault::Malformed))
    }

    fn read_event(&self, data: &[u8], rules: UsageRules, _: Option<&Usage>) -> Event {
        if data.trim_ascii() == b"[DONE]" {
            return Event { kind: EventKind::End, usage: None, finish: false, content_bytes: 0 };
        }
        let unknown =
            Event { kind: EventKind::Unknown, usage: None, finish: false, content_bytes: 0 };
        read_chunk(data, rules).unwrap_or(unknown)
    }

    fn write_refusal(&self, refusal: &Refusal, _: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\":{\"message\":");
        json::write_string(&refusal.message, out);
        out.extend_from_slice(b",\"type\":");
        json::write_string(refusal.kind.error_type(), out);
        out.extend_from_slice(b",\"param\":");
        match &refusal.param {
            Some(param) => json::write_string(param, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"code\":");
        json::write_string(refusal.kind.code(), out);
        out.extend_from_slice(b"}}");
    }

    fn write_stream_error(&self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        self.write_refusal(refusal, request_id, out);
        out.extend_from_slice(b"\n\n");
    }

    fn end_mark(&self) -> &'static [u8] {
        b"data: [DONE]\n\n"
    }
}

impl Chat for OpenAiChat {
    fn neutral_request<'b>(&self, body: &'b [u8]) -> Result<Request<'b>, Refusal> {
        request::read(body)
    }

    fn provider_request(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Dropped, Refusal> {
        provider_request::write(request, target, out)
    }

    fn neutral_answer<'b>(
        &self,
        body: &'b [u8],
        rules: &ReadRules,
    ) -> Result<chat::Answer<'b>, AnswerFault> {
        answer::read(body, rules)
    }

    fn client_answer(
        &self,
        answer: &chat::Answer<'_>,
        request: &Request<'_>,
        shown: &Shown<'_>,
        out: &mut Vec<u8>,
    ) {
        answer::write(answer, request, shown, out);
    }

    fn stream_reader(&self, rules: &ReadRules) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(rules))
    }

    fn stream_writer(&self, request: &Request<'_>, shown: &Shown<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream::Writer::new(request, shown))
    }
}

/// The members of the outermost object that we act upon. Each may stand once, in any spelling.
const MEMBERS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "functions",
    "response_format",
    "modalities",
    "n",
    "metadata",
    "user",
];

/// Collects the facts of a request while its body is read once, front to back. Where it stands is
/// kept in plain fields, so that an error can name the path without one being built beforehand.
#[derive(Default)]
struct Reader {
    seen: u32,
    model: Option<Text>,
    stream: bool,
    stream_options: Option<Member>,
    include_usage: Option<(Span, bool)>,
    max_tokens: Option<(u64, Member)>,
    max_completion_tokens: Option<(u64, Member)>,
    alternatives: Option<u64>,
    has_messages: bool,
    needs: Capabilities,
    shape: Shape,
    system: Option<Text>,
    last_user: ArrayVec<Text, { crate::request::TURN_PIECES_MAX }>,
    cuts: Vec<Patch<'static>>,
    inside: u32,
    place: Place,
}

/// Where in the body the reader is.
#[derive(Clone, Copy, Default)]
struct Place {
    member: &'static str,
    element: Option<u32>,
    field: &'static str,
    piece: Option<u32>,
    piece_field: &'static str,
}

impl Reader {
    fn read(&mut self, body: &[u8]) -> Result<(), JsonError> {
        let mut cursor = Cursor::new(body)?;
        cursor.kind()?;
        self.inside = cursor.offset() as u32 + 1;
        cursor.object(|key, cursor| self.member(key, cursor))?;
        self.place = Place::default();
        cursor.end()
    }

    fn member<'b>(&mut self, key: RawStr<'b>, cursor: &mut Cursor<'b>) -> Result<(), JsonError> {
        let name = key.text();
        let Some(index) = MEMBERS.iter().position(|known| *known == name) else {
            self.place = Place::default();
            return cursor.skip().map(drop);
        };
        let known = MEMBERS[index];
        self.place = Place { member: known, ..Place::default() };
        if self.seen & (1 << index) != 0 {
            return Err(cursor.error(JsonErrorKind::RepeatedKey(known)));
        }
        self.seen |= 1 << index;
        // `null` means "not given" in every SDK, for all but the two that must be there.
        if !matches!(known, "model" | "messages" | "stream_options") && cursor.null()? {
            return Ok(());
        }
        match known {
            "model" => self.model = Some(cursor.string()?.into()),
            "messages" => self.messages(cursor)?,
            "stream" => self.stream = cursor.bool()?,
            "stream_options" => self.stream_options(key.span, cursor)?,
            "max_tokens" | "max_completion_tokens" => {
                cursor.kind()?;
                let start = cursor.offset() as u32;
                let limit = cursor.unsigned("a whole number of tokens")?;
                let value = Span { start, end: cursor.offset() as u32 };
                let given = Some((limit, Member { key: key.span, value }));
                match known {
                    "max_tokens" => self.max_tokens = given,
                    _ => self.max_completion_tokens = given,
                }
            }
            "tools" | "functions" => self.tools(cursor)?,
            "response_format" => self.response_format(cursor)?,
            "modalities" => {
                cursor.array(|cursor| {
                    if cursor.string()?.is("audio") {
                        self.needs |= Capabilities::AUDIO_OUT;
                    }
                    Ok(())
                })?;
            }
            "n" => self.alternatives = Some(cursor.unsigned("a whole number")?),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    }

    fn messages<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<(), JsonError> {
        self.has_messages = true;
        let mut index = 0;
        cursor.array(|cursor| {
            self.place = Place { member: "messages", element: Some(index), ..Place::default() };
            index += 1;
            self.message(cursor)
        })?;
        self.shape.messages = index;
        self.place = Place { member: "messages", ..Place::default() };
        Ok(())
    }

    fn message<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<(), JsonError> {
        let mut role: Option<Role> = None;
        let mut content = Content::default();
        let mut has_content = false;
        let before = (self.shape.images, self.shape.audio + self.shape.files);
        cursor.object(|key, cursor| {
            let name = key.text();
            match &*name {
                "role" => {
                    self.place.field = "role";
                    if role.is_some() {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey("role")));
                    }
                    let given = cursor.string()?;
                    let expected = "one of system, developer, user, assistant, tool, function";
                    let wrong = cursor.error(JsonErrorKind::WrongType(expected));
                    role = Some(Role::from_name(&given.text()).ok_or(wrong)?);
                }
                "content" => {
                    self.place.field = "content";
                    if has_content {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey("content")));
                    }
                    has_content = true;
                    self.content(&mut content, cursor)?;
                }
                "tool_calls" => {
                    self.place.field = "tool_calls";
                    // Arguments are input that the model reads again.
                    let calls = cursor.raw()?;
                    content.text_bytes = content.text_bytes.saturating_add(calls.len() as u32);
                    self.cuts.extend(carry::cuts_of(calls, cursor.offset() - calls.len()));
                }
                "tool_call_id" if cursor.kind()? == Kind::String => {
                    self.cuts.extend(carry::cut_of(cursor.string()?));
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        self.place.field = "role";
        let Some(role) = role else {
            return Err(cursor.error(JsonErrorKind::WrongType("a role")));
        };
        let shape = &mut self.shape;
        shape.text_bytes = shape.text_bytes.saturating_add(content.text_bytes);
        shape.ends_with_tool_result = role == Role::Tool;
        match role {
            Role::System => {
                shape.system_bytes = shape.system_bytes.saturating_add(content.text_bytes);
                self.system = self.system.or(content.pieces.first().copied());
            }
            Role::User => {
                shape.user_turns += 1;
                shape.turn_images = shape.images - before.0;
                shape.turn_media = shape.audio + shape.files - before.1;
                self.last_user = content.pieces;
            }
            Role::Tool => shape.tool_results += 1,
            Role::Assistant => {}
        }
        Ok(())
    }

    fn content<'b>(
        &mut self,
        content: &mut Content,
        cursor: &mut Cursor<'b>,
    ) -> Result<(), JsonError> {
        match cursor.kind()? {
            Kind::Null => cursor.null().map(drop),
            Kind::String => {
                content.add(cursor.string()?);
                Ok(())
            }
            Kind::Array => {
                let mut index = 0;
                cursor.array(|cursor| {
                    self.place.piece = Some(index);
                    index += 1;
                    self.piece(content, cursor)
                })?;
                self.place.piece = None;
                Ok(())
            }
            _ => Err(cursor.error(JsonErrorKind::WrongType("a string or an array of parts"))),
        }
    }

    fn piece<'b>(
        &mut self,
        content: &mut Content,
        cursor: &mut Cursor<'b>,
    ) -> Result<(), JsonError> {
        let mut has_type = false;
        cursor.object(|key, cursor| {
            let name = key.text();
            match &*name {
                "type" => {
                    self.place.piece_field = "type";
                    if std::mem::replace(&mut has_type, true) {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey("type")));
                    }
                    let given = cursor.string()?;
                    match &*given.text() {
                        "image_url" => {
                            self.shape.images += 1;
                            self.needs |= Capabilities::VISION;
                        }
                        "input_audio" => {
                            self.shape.audio += 1;
                            self.needs |= Capabilities::AUDIO_IN;
                        }
                        "file" => {
                            self.shape.files += 1;
                            self.needs |= Capabilities::PDF_IN;
                        }
                        _ => {}
                    }
                }
                "text" | "refusal" => {
                    self.place.piece_field = "text";
                    content.add(cursor.string()?);
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        self.place.piece_field = "type";
        if !has_type {
            return Err(cursor.error(JsonErrorKind::WrongType("a part with a type")));
        }
        self.place.piece_field = "";
        Ok(())
    }

    fn tools<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<(), JsonError> {
        let mut count = 0;
        let span = cursor.array(|cursor| {
            self.place.element = Some(count);
            count += 1;
            match cursor.kind()? {
                Kind::Object => cursor.skip().map(drop),
                _ => Err(cursor.error(JsonErrorKind::WrongType("an object"))),
            }
        })?;
        self.shape.tools = self.shape.tools.saturating_add(count);
        self.shape.tools_bytes = self.shape.tools_bytes.saturating_add(span.len() as u32);
        if count > 0 {
            self.needs |= Capabilities::TOOLS;
        }
        Ok(())
    }

    fn response_format<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<(), JsonError> {
        cursor.object(|key, cursor| {
            if !key.is("type") {
                return cursor.skip().map(drop);
            }
            self.place.field = "type";
            let format = cursor.string()?;
            self.shape.json_schema |= format.is("json_schema");
            self.shape.json_object |= format.is("json_object");
            Ok(())
        })?;
        if self.shape.json_schema {
            self.needs |= Capabilities::JSON_SCHEMA;
        }
        Ok(())
    }

    fn stream_options<'b>(&mut self, key: Span, cursor: &mut Cursor<'b>) -> Result<(), JsonError> {
        cursor.kind()?;
        let start = cursor.offset() as u32;
        if !cursor.null()? {
            cursor.object(|key, cursor| {
                if !key.is("include_usage") {
                    return cursor.skip().map(drop);
                }
                self.place.field = "include_usage";
                if self.include_usage.is_some() {
                    return Err(cursor.error(JsonErrorKind::RepeatedKey("include_usage")));
                }
                cursor.kind()?;
                let start = cursor.offset() as u32;
                let wanted = if cursor.null()? { false } else { cursor.bool()? };
                self.include_usage = Some((Span { start, end: cursor.offset() as u32 }, wanted));
                Ok(())
            })?;
        }
        self.stream_options =
            Some(Member { key, value: Span { start, end: cursor.offset() as u32 } });
        Ok(())
    }

    fn finish(self) -> Result<Parsed, Refusal> {
        let missing = |field: &'static str, remedy: &'static str| {
            Refusal::new(refusal::Kind::MissingField)
                .with_message(format!("\"{field}\" is missing: {remedy}"))
                .with_param(field)
        };
        let invalid = |field: &'static str, message: &'static str| {
            Refusal::new(refusal::Kind::BadField).with_message(message).with_param(field)
        };
        let model = self.model.ok_or_else(|| {
            missing("model", "name a model, or \"auto\" to have one chosen for each prompt")
        })?;
        if model.span.is_empty() {
            return Err(invalid("model", "\"model\" is empty: name a model, or \"auto\""));
        }
        if !self.has_messages {
            return Err(missing("messages", "send the conversation as an array of messages"));
        }
        if self.shape.messages == 0 {
            return Err(invalid("messages", "\"messages\" is empty: send at least one message"));
        }
        let given = self.max_completion_tokens.or(self.max_tokens);
        if self.max_completion_tokens.is_some() && self.max_tokens.is_some() {
            // One would be renamed to the other, and the provider would read either.
            return Err(invalid(
                "max_tokens",
                "\"max_tokens\" and \"max_completion_tokens\" say the same; send one of them",
            ));
        }
        if given.is_some_and(|(limit, _)| limit == 0) {
            return Err(invalid("max_tokens", "the output limit must be at least 1 token"));
        }
        let alternatives = self.alternatives.unwrap_or(1);
        let many = if alternatives > 1 { Capabilities::ALTERNATIVES } else { Capabilities::NONE };
        if !(1..=128).contains(&alternatives) {
            return Err(invalid("n", "\"n\" must be between 1 and 128"));
        }
        Ok(Parsed {
            dialect: Dialect::OpenAiChat,
            model,
            stream: self.stream,
            usage_in_stream: self.include_usage.is_some_and(|(_, wanted)| wanted),
            stream_options: self.stream_options,
            include_usage: self.include_usage.map(|(span, _)| span),
            max_output: given.map(|(limit, _)| u32::try_from(limit).unwrap_or(u32::MAX)),
            max_output_member: given.map(|(_, member)| member),
            alternatives: alternatives as u32,
            needs: self.needs | many,
            shape: self.shape,
            system: self.system,
            last_user: self.last_user,
            inside: self.inside,
            cuts: self.cuts,
        })
    }

    /// The error as the client sees it, with the path at which it was met.
    fn refusal(&self, error: JsonError) -> Refusal {
        let path = self.place.path();
        let (kind, message) = match error.kind {
            JsonErrorKind::WrongType(expected) if path.is_empty() => {
                (refusal::Kind::BadField, format!("the request body must be {expected}"))
            }
            JsonErrorKind::WrongType(expected) => {
                (refusal::Kind::BadField, format!("\"{path}\" must be {expected}"))
            }
            JsonErrorKind::RepeatedKey(key) => {
                (refusal::Kind::BadField, format!("\"{key}\" stands twice; send it once"))
            }
            _ => (refusal::Kind::BadJson, format!("the request body is not valid JSON: {error}")),
        };
        let refusal = Refusal::new(kind).with_message(message);
        if path.is_empty() { refusal } else { refusal.with_param(path) }
    }
}

impl Place {
    fn path(&self) -> String {
        let mut path = self.member.to_owned();
        for (index, field) in [(self.element, self.field), (self.piece, self.piece_field)] {
            if let Some(index) = index {
                path.push_str(&format!("[{index}]"));
            }
            if !field.is_empty() {
                path.push('.');
                path.push_str(field);
            }
        }
        path
    }
}

/// The text of one message.
#[derive(Default)]
struct Content {
    pieces: ArrayVec<Text, { crate::request::TURN_PIECES_MAX }>,
    text_bytes: u32,
}

impl Content {
    fn add(&mut self, text: RawStr<'_>) {
        self.text_bytes = self.text_bytes.saturating_add(text.span.len() as u32);
        // What does not fit is not classified, but it is passed on.
        let _ = self.pieces.try_push(text.into());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    System,
    User,
    Assistant,
    Tool,
}

impl Role {
    fn from_name(name: &str) -> Option<Role> {
        Some(match name {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" | "function" => Role::Tool,
            _ => return None,
        })
    }
}

/// The changes of a body on its way to a provider, in the order of their places.
fn patches<'p>(parsed: &Parsed, body: &[u8], outgoing: &Outgoing<'p>) -> ArrayVec<Patch<'p>, 4> {
    let mut patches = ArrayVec::new();
    patches.push(Patch { span: parsed.model.span, with: outgoing.model.as_bytes() });
    if parsed.stream && outgoing.asks_usage && !parsed.usage_in_stream {
        patches.push(usage_patch(parsed, body));
    }
    if let (Some(name), Some(member)) = (outgoing.max_output_field, parsed.max_output_member) {
        patches.push(Patch { span: member.key, with: name.as_bytes() });
    }
    patches.sort_unstable_by_key(|patch: &Patch<'_>| patch.span.start);
    patches
}

/// Asks for the usage of a stream, which we bill by, wherever the client left room for it.
fn usage_patch<'p>(parsed: &Parsed, body: &[u8]) -> Patch<'p> {
    let is_empty = |value: Span| match value.of(body) {
        [b'{', inside @ .., b'}'] => inside.trim_ascii().is_empty(),
        _ => true,
    };
    let at = |offset: u32| Span { start: offset, end: offset };
    match (parsed.stream_options, parsed.include_usage) {
        (_, Some(value)) => Patch { span: value, with: b"true" },
        (None, None) => {
            Patch { span: at(parsed.inside), with: b"\"stream_options\":{\"include_usage\":true}," }
        }
        // `null`, or an empty object: replaced whole, since a comma would be wrong in it.
        (Some(member), None) if is_empty(member.value) => {
            Patch { span: member.value, with: b"{\"include_usage\":true}" }
        }
        (Some(member), None) => {
            Patch { span: at(member.value.start + 1), with: b"\"include_usage\":true," }
        }
    }
}

fn read_answer(body: &[u8], rules: UsageRules) -> Result<Result<Answer, AnswerFault>, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let mut choices = 0;
    let mut answer = Answer::default();
    let mut has_error = false;
    cursor.object(|key, cursor| match key.bytes {
        b"choices" if cursor.kind()? == Kind::Array => {
            cursor.array(|cursor| {
                choices += 1;
                read_choice(cursor, b"message").map(|choice| {
                    answer.content_bytes =
                        answer.content_bytes.saturating_add(choice.content_bytes);
                })
            })?;
            Ok(())
        }
        b"usage" => {
            answer.usage = usage::read(cursor, rules)?;
            Ok(())
        }
        b"error" => {
            has_error = !cursor.null()?;
            if has_error { cursor.skip().map(drop) } else { Ok(()) }
        }
        _ => cursor.skip().map(drop),
    })?;
    cursor.end()?;
    Ok(match (has_error, choices) {
        (true, _) => Err(AnswerFault::Error),
        (false, 0) => Err(AnswerFault::Malformed),
        (false, _) => Ok(answer),
    })
}

fn read_chunk(data: &[u8], rules: UsageRules) -> Result<Event, JsonError> {
    let mut cursor = Cursor::new(data)?;
    let mut event =
        Event { kind: EventKind::Unknown, usage: None, finish: false, content_bytes: 0 };
    let (mut choices, mut has_choices, mut has_error, mut has_content) = (0, false, false, false);
    cursor.object(|key, cursor| match key.bytes {
        b"choices" if cursor.kind()? == Kind::Array => {
            has_choices = true;
            cursor.array(|cursor| {
                choices += 1;
                let choice = read_choice(cursor, b"delta")?;
                event.finish |= choice.finish;
                has_content |= choice.has_content | choice.finish;
                event.content_bytes = event.content_bytes.saturating_add(choice.content_bytes);
                Ok(())
            })?;
            Ok(())
        }
        b"usage" => {
            event.usage = usage::read(cursor, rules)?;
            Ok(())
        }
        b"error" => {
            has_error = !cursor.null()?;
            if has_error { cursor.skip().map(drop) } else { Ok(()) }
        }
        _ => cursor.skip().map(drop),
    })?;
    cursor.end()?;
    event.kind = if has_error {
        EventKind::Error
    } else if has_content {
        EventKind::Content
    } else if choices > 0 {
        EventKind::Preamble
    } else if event.usage.is_some() {
        EventKind::Usage
    } else if has_choices {
        // Azure opens a stream with filter results and no choice.
        EventKind::Preamble
    } else {
        EventKind::Unknown
    };
    Ok(event)
}

#[derive(Default)]
struct Choice {
    has_content: bool,
    finish: bool,
    content_bytes: u32,
}

/// Reads one choice, whose content is in the member `holder` (`message` or `delta`).
fn read_choice(cursor: &mut Cursor<'_>, holder: &[u8]) -> Result<Choice, JsonError> {
    let mut choice = Choice::default();
    cursor.object(|key, cursor| {
        if key.bytes == b"finish_reason" {
            choice.finish = !cursor.null()?;
            return if choice.finish { cursor.skip().map(drop) } else { Ok(()) };
        }
        if key.bytes != holder || cursor.kind()? != Kind::Object {
            return cursor.skip().map(drop);
        }
        cursor
            .object(|key, cursor| {
                let kind = cursor.kind()?;
                let span = cursor.skip()?;
                let holds = match (key.bytes, kind) {
                    (b"role", _) | (_, Kind::Null) => false,
                    // An empty string or array is no content: `""`, `[]`.
                    (_, Kind::String | Kind::Array) => span.len() > 2,
                    _ => true,
                };
                if holds {
                    choice.has_content = true;
                    let bytes = span.len().saturating_sub(2) as u32;
                    choice.content_bytes = choice.content_bytes.saturating_add(bytes);
                }
                Ok(())
            })
            .map(drop)
    })?;
    Ok(choice)
}

#[cfg(test)]
mod neutral_tests;
#[cfg(test)]
mod tests;

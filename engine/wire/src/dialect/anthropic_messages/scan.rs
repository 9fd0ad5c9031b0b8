//! One pass over a client's body that finds what we act upon: spans and facts, nothing copied.
//!
//! It also finds what was ours in the history and must not reach Anthropic when the body goes there as
//! it is: signatures that stand for another provider's state, and what tool ids carry.

use crate::chat::{Trail, carry};
use crate::json::{Cursor, JsonError, JsonErrorKind, Kind, Patch, RawStr, Span};
use crate::refusal::{self, Refusal};
use crate::request::{Member, Parsed, Shape, TURN_PIECES_MAX, Text};
use arrayvec::ArrayVec;
use models::{Capabilities, Dialect};

type Result<T> = std::result::Result<T, JsonError>;

/// Reads a body.
pub(super) fn read(body: &[u8]) -> std::result::Result<Parsed, Refusal> {
    let mut scan = Scan::default();
    match scan.body(body) {
        Ok(()) => scan.finish(),
        Err(error) => Err(scan.trail.refusal(&error)),
    }
}

/// The members of the outermost object that we act upon. Each may stand once, in any spelling.
const MEMBERS: &[&str] = &[
    "model",
    "messages",
    "system",
    "max_tokens",
    "stream",
    "tools",
    "output_config",
    "output_format",
    "thread",
    "metadata",
    "thinking",
];

#[derive(Default)]
struct Scan {
    trail: Trail,
    seen: u32,
    model: Option<Text>,
    stream: bool,
    max_tokens: Option<(u64, Member)>,
    has_messages: bool,
    thread: Option<ThreadWish>,
    needs: Capabilities,
    shape: Shape,
    system: Option<Text>,
    last_user: ArrayVec<Text, TURN_PIECES_MAX>,
    cuts: Vec<Patch<'static>>,
    inside: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ThreadWish {
    Create,
    Continue,
}

/// The text and results of one message.
#[derive(Default)]
struct Content {
    pieces: ArrayVec<Text, TURN_PIECES_MAX>,
    text_bytes: u32,
    results: u32,
}

impl Content {
    fn add(&mut self, text: RawStr<'_>) {
        self.text_bytes = self.text_bytes.saturating_add(text.span.len() as u32);
        // What does not fit is not classified, but it is passed on.
        let _ = self.pieces.try_push(text.into());
    }
}

impl Scan {
    fn body(&mut self, body: &[u8]) -> Result<()> {
        let mut cursor = Cursor::new(body)?;
        cursor.kind()?;
        self.inside = cursor.offset() as u32 + 1;
        cursor.object(|key, cursor| self.member(key, cursor))?;
        cursor.end()
    }

    fn member<'b>(&mut self, key: RawStr<'b>, cursor: &mut Cursor<'b>) -> Result<()> {
        let name = key.text();
        let Some(index) = MEMBERS.iter().position(|known| *known == name) else {
            return cursor.skip().map(drop);
        };
        let known = MEMBERS[index];
        self.trail.field(known);
        if self.seen & (1 << index) != 0 {
            return Err(cursor.error(JsonErrorKind::RepeatedKey(known)));
        }
        self.seen |= 1 << index;
        if matches!(known, "model" | "messages") || !cursor.null()? {
            match known {
                "model" => self.model = Some(cursor.string()?.into()),
                "messages" => self.messages(cursor)?,
                "system" => self.system(cursor)?,
                "stream" => self.stream = cursor.bool()?,
                "max_tokens" => {
                    cursor.kind()?;
                    let start = cursor.offset() as u32;
                    let limit = cursor.unsigned("a whole number of tokens")?;
                    let value = Span { start, end: cursor.offset() as u32 };
                    self.max_tokens = Some((limit, Member { key: key.span, value }));
                }
                "tools" => self.tools(cursor)?,
                "output_config" => {
                    cursor.object(|key, cursor| {
                        let is_given = cursor.kind()? != Kind::Null;
                        self.shape.json_schema |= key.is("format") && is_given;
                        cursor.skip().map(drop)
                    })?;
                }
                "output_format" => {
                    self.shape.json_schema = true;
                    cursor.skip()?;
                }
                "thread" => {
                    let mut wish = ThreadWish::Create;
                    cursor.object(|key, cursor| {
                        if key.is("type") && cursor.kind()? == Kind::String {
                            if cursor.string()?.is("continue") {
                                wish = ThreadWish::Continue;
                            }
                            return Ok(());
                        }
                        cursor.skip().map(drop)
                    })?;
                    self.thread = Some(wish);
                }
                _ => drop(cursor.skip()?),
            }
        }
        self.trail.back();
        Ok(())
    }

    fn system<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut content = Content::default();
        self.content(&mut content, false, cursor)?;
        self.add_system(&content);
        Ok(())
    }

    fn add_system(&mut self, content: &Content) {
        let shape = &mut self.shape;
        shape.text_bytes = shape.text_bytes.saturating_add(content.text_bytes);
        shape.system_bytes = shape.system_bytes.saturating_add(content.text_bytes);
        // Claude Code's first block only says who is billed.
        let first = content.pieces.iter().find(|piece| piece.span.len() > 200);
        self.system = self.system.or(first.or(content.pieces.first()).copied());
    }

    fn messages<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        self.has_messages = true;
        let mut index = 0;
        cursor.array(|cursor| {
            self.trail.index(index);
            index += 1;
            self.message(cursor)?;
            self.trail.back();
            Ok(())
        })?;
        self.shape.messages = index as u32;
        Ok(())
    }

    fn message<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut role: Option<RawStr<'b>> = None;
        let mut content = Content::default();
        let mut has_content = false;
        let before = (self.shape.images, self.shape.files);
        cursor.object(|key, cursor| {
            let name = key.text();
            match &*name {
                "role" => {
                    self.trail.field("role");
                    if role.is_some() {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey("role")));
                    }
                    role = Some(cursor.string()?);
                    self.trail.back();
                }
                "content" => {
                    self.trail.field("content");
                    if std::mem::replace(&mut has_content, true) {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey("content")));
                    }
                    self.content(&mut content, true, cursor)?;
                    self.trail.back();
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let wrong = |cursor: &Cursor<'_>| {
            cursor.error(JsonErrorKind::WrongType("one of user, assistant, system"))
        };
        self.trail.field("role");
        let Some(role) = role else { return Err(wrong(cursor)) };
        match &*role.text() {
            "user" => {
                let shape = &mut self.shape;
                shape.text_bytes = shape.text_bytes.saturating_add(content.text_bytes);
                shape.tool_results += content.results;
                shape.ends_with_tool_result = content.results > 0;
                // A message with results goes on with the turn before it.
                if content.results == 0 {
                    shape.user_turns += 1;
                    shape.turn_images = shape.images - before.0;
                    shape.turn_media = shape.files - before.1;
                    self.last_user = content.pieces;
                }
            }
            "assistant" => {
                self.shape.text_bytes = self.shape.text_bytes.saturating_add(content.text_bytes);
                self.shape.ends_with_tool_result = false;
            }
            "system" => self.add_system(&content),
            _ => return Err(wrong(cursor)),
        }
        self.trail.back();
        Ok(())
    }

    /// Reads content: a string or an array of blocks, of a message, of `system` or of a result.
    fn content<'b>(
        &mut self,
        content: &mut Content,
        may_cut: bool,
        cursor: &mut Cursor<'b>,
    ) -> Result<()> {
        match cursor.kind()? {
            Kind::String => {
                content.add(cursor.string()?);
                return Ok(());
            }
            Kind::Array => {}
            _ => {
                let expected = "a string or an array of blocks";
                return Err(cursor.error(JsonErrorKind::WrongType(expected)));
            }
        }
        let mut index = 0;
        let mut has_kept = false;
        let mut end_before = 0;
        // Where a run of blocks to be cut at the very front begins.
        let mut front: Option<u32> = None;
        let span = cursor.array(|cursor| {
            self.trail.index(index);
            cursor.kind()?;
            let start = cursor.offset() as u32;
            if let Some(from) = front.take() {
                self.cuts.push(Patch { span: Span { start: from, end: start }, with: b"" });
            }
            let is_ours = self.block(content, cursor)? && may_cut;
            let end = cursor.offset() as u32;
            match (is_ours, has_kept) {
                (true, false) => front = Some(start),
                (true, true) => {
                    self.cuts.push(Patch { span: Span { start: end_before, end }, with: b"" });
                }
                (false, _) => has_kept = true,
            }
            end_before = end;
            index += 1;
            self.trail.back();
            Ok(())
        })?;
        if let Some(from) = front {
            // Nothing else was there, and Anthropic takes no empty message.
            const INSTEAD: &[u8] = br#"{"type":"text","text":"(thinking left out)"}"#;
            self.cuts.push(Patch { span: Span { start: from, end: span.end - 1 }, with: INSTEAD });
        }
        Ok(())
    }

    /// Reads a block. Tells whether it is reasoning of another provider, under a signature of ours.
    fn block<'b>(&mut self, content: &mut Content, cursor: &mut Cursor<'b>) -> Result<bool> {
        let mut has_type = false;
        let mut is_ours = false;
        let mut is_result = false;
        let mut inner = Content::default();
        cursor.object(|key, cursor| {
            let name = key.text();
            match &*name {
                "type" => {
                    self.trail.field("type");
                    if std::mem::replace(&mut has_type, true) {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey("type")));
                    }
                    let kind = cursor.string()?;
                    match kind.bytes {
                        b"image" => {
                            self.shape.images += 1;
                            self.needs |= Capabilities::VISION;
                        }
                        b"document" => {
                            self.shape.files += 1;
                            self.needs |= Capabilities::PDF_IN;
                        }
                        b"tool_result" => is_result = true,
                        _ => {}
                    }
                    self.trail.back();
                }
                "text" => {
                    self.trail.field("text");
                    content.add(cursor.string()?);
                    self.trail.back();
                }
                "thinking" => {
                    let span = cursor.skip()?;
                    content.text_bytes = content.text_bytes.saturating_add(span.len() as u32);
                }
                "signature" if cursor.kind()? == Kind::String => {
                    is_ours = cursor.string()?.bytes.starts_with(&carry::MARK.as_bytes()[1..]);
                }
                "id" | "tool_use_id" if cursor.kind()? == Kind::String => {
                    let id = cursor.string()?;
                    self.cuts.extend(carry::cut_of(id));
                }
                "input" => {
                    // Arguments are input that the model reads again.
                    let span = cursor.skip()?;
                    content.text_bytes = content.text_bytes.saturating_add(span.len() as u32);
                }
                "content" if matches!(cursor.kind()?, Kind::String | Kind::Array) => {
                    self.trail.field("content");
                    self.content(&mut inner, false, cursor)?;
                    self.trail.back();
                }
                "source" if cursor.kind()? == Kind::Object => self.source(content, cursor)?,
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        self.trail.field("type");
        if !has_type {
            return Err(cursor.error(JsonErrorKind::WrongType("a block with a type")));
        }
        self.trail.back();
        content.text_bytes = content.text_bytes.saturating_add(inner.text_bytes);
        content.results += u32::from(is_result);
        Ok(is_ours)
    }

    /// A document that is text is read by every model.
    fn source<'b>(&mut self, content: &mut Content, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut is_text = false;
        let mut bytes = 0;
        cursor.object(|key, cursor| {
            match key.bytes {
                b"type" if cursor.kind()? == Kind::String => {
                    is_text = matches!(cursor.string()?.bytes, b"text" | b"content");
                }
                _ => bytes = bytes.max(cursor.skip()?.len() as u32),
            }
            Ok(())
        })?;
        if is_text {
            content.text_bytes = content.text_bytes.saturating_add(bytes);
            self.needs = self.needs.without(Capabilities::PDF_IN);
        }
        Ok(())
    }

    fn tools<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut count = 0;
        let mut index = 0;
        let span = cursor.array(|cursor| {
            self.trail.index(index);
            index += 1;
            let mut is_own = true;
            cursor.object(|key, cursor| match key.bytes {
                b"type" if cursor.kind()? == Kind::String => {
                    is_own = cursor.string()?.is("custom");
                    Ok(())
                }
                _ => cursor.skip().map(drop),
            })?;
            // Anthropic's own tools need no model that calls functions.
            count += u32::from(is_own);
            self.trail.back();
            Ok(())
        })?;
        self.shape.tools = count;
        self.shape.tools_bytes = span.len() as u32;
        if count > 0 {
            self.needs |= Capabilities::TOOLS;
        }
        Ok(())
    }

    fn finish(self) -> std::result::Result<Parsed, Refusal> {
        let missing = |field: &'static str, remedy: &'static str| {
            Refusal::new(refusal::Kind::MissingField)
                .with_message(format!("\"{field}\" is missing: {remedy}"))
                .with_param(field)
        };
        let invalid = |field: &'static str, message: &'static str| {
            Refusal::new(refusal::Kind::BadField).with_message(message).with_param(field)
        };
        match self.thread {
            Some(ThreadWish::Create) => {
                return Err(Refusal::new(refusal::Kind::ThreadUnsupported).with_param("thread"));
            }
            Some(ThreadWish::Continue) => {
                return Err(Refusal::new(refusal::Kind::ThreadNotFound).with_param("thread"));
            }
            None => {}
        }
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
        if self.max_tokens.is_some_and(|(limit, _)| limit == 0) {
            return Err(invalid("max_tokens", "the output limit must be at least 1 token"));
        }
        let schema =
            if self.shape.json_schema { Capabilities::JSON_SCHEMA } else { Capabilities::NONE };
        Ok(Parsed {
            dialect: Dialect::AnthropicMessages,
            model,
            stream: self.stream,
            usage_in_stream: true,
            stream_options: None,
            include_usage: None,
            max_output: self.max_tokens.map(|(limit, _)| u32::try_from(limit).unwrap_or(u32::MAX)),
            max_output_member: self.max_tokens.map(|(_, member)| member),
            alternatives: 1,
            needs: self.needs | schema,
            shape: self.shape,
            system: self.system,
            last_user: self.last_user,
            inside: self.inside,
            cuts: self.cuts,
        })
    }
}

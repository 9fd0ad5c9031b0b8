//! One pass over a client's body that finds what we act upon: spans and facts, nothing copied.
//!
//! It also finds what must not reach a provider when the body goes there as it is: `store`, reasoning
//! that nobody there can resolve, and what the ids of calls carry.

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
    "input",
    "instructions",
    "stream",
    "store",
    "max_output_tokens",
    "tools",
    "text",
    "previous_response_id",
    "conversation",
    "background",
    "metadata",
    "user",
];

/// What a request may refer to and is kept by nobody here.
const KEPT: &[&str] = &["previous_response_id", "conversation", "background"];

#[derive(Default)]
struct Scan {
    trail: Trail,
    seen: u32,
    model: Option<Text>,
    stream: bool,
    has_store: bool,
    max_output: Option<(u64, Member)>,
    has_input: bool,
    /// The path of what refers to an answer that is not kept here.
    kept: Option<String>,
    needs: Capabilities,
    shape: Shape,
    system: Option<Text>,
    last_user: ArrayVec<Text, TURN_PIECES_MAX>,
    cuts: Vec<Patch<'static>>,
    inside: u32,
}

/// What one item of the input holds.
#[derive(Default)]
struct Item<'b> {
    kind: Option<RawStr<'b>>,
    role: Option<RawStr<'b>>,
    pieces: ArrayVec<Text, TURN_PIECES_MAX>,
    text_bytes: u32,
    /// Whether its reasoning can be read by whoever issued it, or by anybody.
    is_resolvable: bool,
    /// Whether its state is another provider's, in a value of ours.
    is_ours: bool,
}

impl Item<'_> {
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
        cursor.kind()?;
        let start = cursor.offset() as u32;
        let span = |cursor: &Cursor<'_>| Span { start, end: cursor.offset() as u32 };
        // `null` means "not given" in every SDK, for all but the two that must be there.
        let is_given = matches!(known, "model" | "input") || !cursor.null()?;
        match known {
            "store" => {
                // Nothing that the provider would keep can be asked for through us again.
                self.has_store = true;
                if !is_given || cursor.bool()? {
                    self.cuts.push(Patch { span: span(cursor), with: b"false" });
                }
            }
            _ if !is_given => {}
            "model" => self.model = Some(cursor.string()?.into()),
            "input" => self.input(cursor)?,
            "instructions" => self.instructions(cursor)?,
            "stream" => self.stream = cursor.bool()?,
            "max_output_tokens" => {
                let limit = cursor.unsigned("a whole number of tokens")?;
                self.max_output = Some((limit, Member { key: key.span, value: span(cursor) }));
            }
            "tools" => self.tools(cursor)?,
            "text" => self.text(cursor)?,
            "background" => {
                if cursor.bool()? {
                    self.kept.get_or_insert_with(|| known.to_owned());
                }
            }
            _ => {
                cursor.skip()?;
                if KEPT.contains(&known) {
                    self.kept.get_or_insert_with(|| known.to_owned());
                }
            }
        }
        self.trail.back();
        Ok(())
    }

    fn instructions<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let text = cursor.string()?;
        self.add_system(text.span.len() as u32, Some(text.into()), true);
        Ok(())
    }

    /// Instructions come before all messages, wherever they stand.
    fn add_system(&mut self, bytes: u32, first: Option<Text>, is_front: bool) {
        let shape = &mut self.shape;
        shape.text_bytes = shape.text_bytes.saturating_add(bytes);
        shape.system_bytes = shape.system_bytes.saturating_add(bytes);
        self.system = if is_front { first.or(self.system) } else { self.system.or(first) };
    }

    fn input<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        self.has_input = true;
        match cursor.kind()? {
            Kind::String => {
                let text = cursor.string()?;
                self.shape.messages = 1;
                self.shape.user_turns = 1;
                self.shape.text_bytes =
                    self.shape.text_bytes.saturating_add(text.span.len() as u32);
                self.last_user.push(text.into());
                return Ok(());
            }
            Kind::Array => {}
            _ => {
                let expected = "a string or an array of items";
                return Err(cursor.error(JsonErrorKind::WrongType(expected)));
            }
        }
        let mut index = 0;
        // Items that are cut take the comma before the next one with them; at the end, the one after
        // the last that stays.
        let mut cut_from: Option<u32> = None;
        let mut kept_end: Option<u32> = None;
        let mut end = 0;
        cursor.array(|cursor| {
            self.trail.index(index);
            cursor.kind()?;
            let start = cursor.offset() as u32;
            let stays = self.item(cursor)?;
            end = cursor.offset() as u32;
            if stays {
                if let Some(from) = cut_from.take() {
                    self.cuts.push(Patch { span: Span { start: from, end: start }, with: b"" });
                }
                kept_end = Some(end);
            } else {
                cut_from.get_or_insert(start);
            }
            index += 1;
            self.trail.back();
            Ok(())
        })?;
        if let Some(from) = cut_from {
            let span = Span { start: kept_end.unwrap_or(from), end };
            self.cuts.push(Patch { span, with: b"" });
        }
        Ok(())
    }

    /// Reads an item. Tells whether it goes to a provider of this dialect.
    fn item<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<bool> {
        let mut item = Item::default();
        let mut has_content = false;
        let before = self.shape.clone();
        let needs = self.needs;
        cursor.object(|key, cursor| {
            let name = key.text();
            match (&*name, cursor.kind()?) {
                ("type" | "role", Kind::String) => {
                    let (slot, known) = match &*name {
                        "type" => (&mut item.kind, "type"),
                        _ => (&mut item.role, "role"),
                    };
                    self.trail.field(known);
                    if slot.is_some() {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey(known)));
                    }
                    *slot = Some(cursor.string()?);
                    self.trail.back();
                }
                ("content" | "output", kind) => {
                    self.trail.field(if name == "content" { "content" } else { "output" });
                    if std::mem::replace(&mut has_content, true) {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey("content")));
                    }
                    item.is_resolvable |= kind == Kind::Array;
                    self.content(&mut item, cursor)?;
                    self.trail.back();
                }
                ("arguments" | "input", Kind::String) => {
                    // What a tool was called with is input that the model reads again.
                    let bytes = cursor.string()?.span.len() as u32;
                    item.text_bytes = item.text_bytes.saturating_add(bytes);
                }
                ("summary", Kind::Array) => {
                    let bytes = cursor.skip()?.len() as u32;
                    item.text_bytes = item.text_bytes.saturating_add(bytes);
                }
                ("encrypted_content", Kind::String) => {
                    let value = cursor.string()?.bytes;
                    item.is_ours = value.starts_with(&carry::MARK.as_bytes()[1..]);
                    item.is_resolvable |= !value.is_empty();
                }
                ("call_id", Kind::String) => self.cuts.extend(carry::cut_of(cursor.string()?)),
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let kind = item.kind.map_or("message".into(), |kind| kind.text());
        self.trail.field("role");
        if kind == "message" && item.role.is_none() {
            let expected = "one of user, assistant, system, developer";
            return Err(cursor.error(JsonErrorKind::WrongType(expected)));
        }
        self.trail.back();
        if kind == "item_reference" {
            self.kept.get_or_insert_with(|| self.trail.path());
        }
        // With `store` off a provider finds nothing by its id: reasoning has to be there in full.
        let stays = kind != "reasoning" || (item.is_resolvable && !item.is_ours);
        if stays {
            self.count(&item, &before);
        } else {
            (self.shape, self.needs) = (before, needs);
        }
        Ok(stays)
    }

    /// Counts an item that stays. `before` is what came before it.
    fn count(&mut self, item: &Item<'_>, before: &Shape) {
        self.shape.messages += 1;
        let kind = item.kind.map_or("message".into(), |kind| kind.text());
        let role = item.role.map_or("".into(), |role| role.text());
        let is_result = kind.ends_with("_output");
        self.shape.ends_with_tool_result = is_result;
        self.shape.tool_results += u32::from(is_result);
        match (&*kind, &*role) {
            ("message", "system" | "developer") => {
                self.add_system(item.text_bytes, item.pieces.first().copied(), false);
            }
            ("message", "user") => {
                let shape = &mut self.shape;
                shape.text_bytes = shape.text_bytes.saturating_add(item.text_bytes);
                shape.user_turns += 1;
                shape.turn_images = shape.images - before.images;
                shape.turn_media = shape.audio + shape.files - before.audio - before.files;
                self.last_user = item.pieces.clone();
            }
            _ => {
                self.shape.text_bytes = self.shape.text_bytes.saturating_add(item.text_bytes);
            }
        }
    }

    /// Reads content: a string or an array of parts, of a message or of a result.
    fn content<'b>(&mut self, item: &mut Item<'b>, cursor: &mut Cursor<'b>) -> Result<()> {
        match cursor.kind()? {
            Kind::String => {
                item.add(cursor.string()?);
                Ok(())
            }
            Kind::Array => {
                let mut index = 0;
                cursor.array(|cursor| {
                    self.trail.index(index);
                    index += 1;
                    self.part(item, cursor)?;
                    self.trail.back();
                    Ok(())
                })?;
                Ok(())
            }
            Kind::Null => cursor.null().map(drop),
            // Results of some tools are objects.
            Kind::Object => {
                let bytes = cursor.skip()?.len() as u32;
                item.text_bytes = item.text_bytes.saturating_add(bytes);
                Ok(())
            }
            _ => {
                let expected = "a string or an array of parts";
                Err(cursor.error(JsonErrorKind::WrongType(expected)))
            }
        }
    }

    fn part<'b>(&mut self, item: &mut Item<'b>, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut has_type = false;
        cursor.object(|key, cursor| {
            let name = key.text();
            match &*name {
                "type" => {
                    self.trail.field("type");
                    if std::mem::replace(&mut has_type, true) {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey("type")));
                    }
                    let (count, needed) = match cursor.string()?.bytes {
                        b"input_image" => (&mut self.shape.images, Capabilities::VISION),
                        b"input_audio" => (&mut self.shape.audio, Capabilities::AUDIO_IN),
                        b"input_file" => (&mut self.shape.files, Capabilities::PDF_IN),
                        _ => {
                            self.trail.back();
                            return Ok(());
                        }
                    };
                    *count += 1;
                    self.needs |= needed;
                    self.trail.back();
                }
                "text" | "refusal" if cursor.kind()? == Kind::String => {
                    item.add(cursor.string()?);
                }
                "text" => {
                    self.trail.field("text");
                    return Err(cursor.error(JsonErrorKind::WrongType("a string")));
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        self.trail.field("type");
        if !has_type {
            return Err(cursor.error(JsonErrorKind::WrongType("a part with a type")));
        }
        self.trail.back();
        Ok(())
    }

    fn tools<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut index = 0;
        let mut count = 0;
        let span = cursor.array(|cursor| {
            self.trail.index(index);
            index += 1;
            let (mut is_own, mut inner) = (false, 0);
            cursor.object(|key, cursor| {
                match (key.bytes, cursor.kind()?) {
                    (b"type", Kind::String) => {
                        is_own = matches!(cursor.string()?.bytes, b"function" | b"custom");
                    }
                    (b"tools", Kind::Array) => {
                        cursor.array(|cursor| {
                            inner += 1;
                            cursor.skip().map(drop)
                        })?;
                    }
                    _ => drop(cursor.skip()?),
                }
                Ok(())
            })?;
            // OpenAI's own tools need no model that calls functions.
            count += inner + u32::from(is_own);
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

    fn text<'b>(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        cursor.object(|key, cursor| {
            if !key.is("format") || cursor.kind()? == Kind::Null {
                return cursor.skip().map(drop);
            }
            self.trail.field("format");
            cursor.object(|key, cursor| {
                if !key.is("type") {
                    return cursor.skip().map(drop);
                }
                self.trail.field("type");
                let format = cursor.string()?;
                self.shape.json_schema |= format.is("json_schema");
                self.shape.json_object |= format.is("json_object");
                self.trail.back();
                Ok(())
            })?;
            self.trail.back();
            Ok(())
        })?;
        if self.shape.json_schema {
            self.needs |= Capabilities::JSON_SCHEMA;
        }
        Ok(())
    }

    fn finish(mut self) -> std::result::Result<Parsed, Refusal> {
        let missing = |field: &'static str, remedy: &'static str| {
            Refusal::new(refusal::Kind::MissingField)
                .with_message(format!("\"{field}\" is missing: {remedy}"))
                .with_param(field)
        };
        let invalid = |field: &'static str, message: &'static str| {
            Refusal::new(refusal::Kind::BadField).with_message(message).with_param(field)
        };
        if let Some(path) = self.kept {
            let message = format!(
                "\"{path}\" refers to a response that is kept, and responses are not kept here: send the whole conversation as \"input\""
            );
            return Err(Refusal::new(refusal::Kind::BadField)
                .with_message(message)
                .with_param(path));
        }
        let model = self.model.ok_or_else(|| {
            missing("model", "name a model, or \"auto\" to have one chosen for each prompt")
        })?;
        if model.span.is_empty() {
            return Err(invalid("model", "\"model\" is empty: name a model, or \"auto\""));
        }
        if !self.has_input {
            return Err(missing("input", "send the conversation as a string or an array of items"));
        }
        if self.shape.messages == 0 {
            return Err(invalid("input", "\"input\" is empty: send at least one item"));
        }
        if self.max_output.is_some_and(|(limit, _)| limit == 0) {
            let message = "the output limit must be at least 1 token";
            return Err(invalid("max_output_tokens", message));
        }
        if !self.has_store {
            let span = Span { start: self.inside, end: self.inside };
            self.cuts.push(Patch { span, with: b"\"store\":false," });
        }
        Ok(Parsed {
            dialect: Dialect::OpenAiResponses,
            model,
            stream: self.stream,
            usage_in_stream: true,
            stream_options: None,
            include_usage: None,
            max_output: self.max_output.map(|(limit, _)| u32::try_from(limit).unwrap_or(u32::MAX)),
            max_output_member: self.max_output.map(|(_, member)| member),
            alternatives: 1,
            needs: self.needs,
            shape: self.shape,
            system: self.system,
            last_user: self.last_user,
            inside: self.inside,
            cuts: self.cuts,
        })
    }
}

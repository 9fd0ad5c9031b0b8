//! A client's messages request, read into the neutral form.

use crate::chat::{
    CacheTtl, Call, CallResult, Effort, Format, Input, Issuer, Json, Part, Reasoning, Request,
    Role, Source, State, Str, ThinkingMode, Tool, ToolChoice, ToolInput, Trail, Turn, carry,
};
use crate::json::{Cursor, JsonError, JsonErrorKind, Kind, RawStr};
use crate::refusal::Refusal;
use models::Dialect;

type Result<T> = std::result::Result<T, JsonError>;

/// Whose state stands in this dialect's own fields.
const ISSUER: Issuer = Issuer { dialect: Dialect::AnthropicMessages, provider: 0 };
/// How Claude Code's block begins that says who is billed. Its changing value would make every
/// prompt new to another provider's cache.
const ATTRIBUTION: &[u8] = b"x-anthropic-billing-header";

/// Reads a whole request body.
pub(super) fn read(body: &[u8]) -> std::result::Result<Request<'_>, Refusal> {
    let mut reader = Reader::default();
    reader.request.turns_field = "messages";
    reader.request.usage_in_stream = true;
    match reader.read(body) {
        Ok(()) => Ok(reader.request),
        Err(error) => Err(reader.trail.refusal(&error)),
    }
}

/// The members of the outermost object that have a neutral form, or need none.
const MEMBERS: &[&str] = &[
    "model",
    "messages",
    "system",
    "max_tokens",
    "stream",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
    "service_tier",
    "cache_control",
];

#[derive(Default)]
struct Reader<'b> {
    trail: Trail,
    request: Request<'b>,
}

impl<'b> Reader<'b> {
    fn read(&mut self, body: &'b [u8]) -> Result<()> {
        let mut cursor = Cursor::new(body)?;
        let mut system = Vec::new();
        cursor.object(|key, cursor| self.member(key, &mut system, cursor))?;
        if !system.is_empty() {
            let turn = Turn { role: Role::System, parts: system, name: None, index: 0 };
            self.request.turns.insert(0, turn);
        }
        cursor.end()
    }

    fn member(
        &mut self,
        key: RawStr<'b>,
        system: &mut Vec<Part<'b>>,
        cursor: &mut Cursor<'b>,
    ) -> Result<()> {
        let name = key.text();
        let Some(known) = MEMBERS.iter().find(|known| **known == name) else {
            if !cursor.null()? {
                cursor.skip()?;
                self.request.unmapped.add_outside(&name);
            }
            return Ok(());
        };
        self.trail.field(known);
        if !cursor.null()? {
            match *known {
                "system" => self.system(system, cursor)?,
                known => self.known_member(known, cursor)?,
            }
        }
        self.trail.back();
        Ok(())
    }

    fn known_member(&mut self, name: &'static str, cursor: &mut Cursor<'b>) -> Result<()> {
        let request = &mut self.request;
        match name {
            "messages" => return self.messages(cursor),
            "tools" => return self.tools(cursor),
            "tool_choice" => return self.tool_choice(cursor),
            "thinking" => return self.thinking(cursor),
            "output_config" => return self.output_config(cursor),
            "output_format" => return self.format(cursor),
            "max_tokens" => {
                let limit = cursor.unsigned("a whole number of tokens")?;
                request.max_output = Some(u32::try_from(limit).unwrap_or(u32::MAX));
            }
            "stream" => request.stream = cursor.bool()?,
            "stop_sequences" => {
                cursor.array(|cursor| {
                    request.stop.push(cursor.string()?.into());
                    Ok(())
                })?;
            }
            "temperature" => request.sampling.temperature = Some(cursor.number()?),
            "top_p" => request.sampling.top_p = Some(cursor.number()?),
            "top_k" => request.sampling.top_k = Some(cursor.number()?),
            "metadata" => {
                cursor.object(|key, cursor| {
                    match key.is("user_id") && cursor.kind()? == Kind::String {
                        true => request.user = Some(cursor.string()?.into()),
                        false => drop(cursor.skip()?),
                    }
                    Ok(())
                })?;
            }
            "service_tier" => {
                let tier = cursor.string()?;
                // What every provider does when nothing is said.
                request.service_tier = (!tier.is("auto")).then(|| tier.into());
            }
            "cache_control" => request.cache = CacheTtl::read(cursor)?,
            _ => drop(cursor.skip()?),
        }
        Ok(())
    }

    fn system(&mut self, system: &mut Vec<Part<'b>>, cursor: &mut Cursor<'b>) -> Result<()> {
        self.content(system, cursor)?;
        let attributes = |part: &Part<'_>| match part {
            Part::Text(text) => text.escaped().starts_with(ATTRIBUTION),
            _ => false,
        };
        system.retain(|part| !attributes(part));
        Ok(())
    }

    fn messages(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut index = 0;
        cursor.array(|cursor| {
            self.trail.index(index);
            let turn = self.message(index as u32, cursor)?;
            self.request.turns.push(turn);
            self.trail.back();
            index += 1;
            Ok(())
        })?;
        Ok(())
    }

    fn message(&mut self, index: u32, cursor: &mut Cursor<'b>) -> Result<Turn<'b>> {
        let mut role = None;
        let mut parts = Vec::new();
        cursor.object(|key, cursor| {
            match key.bytes {
                b"role" => {
                    self.trail.field("role");
                    role = Some(match &*cursor.string()?.text() {
                        "user" => Role::User,
                        "assistant" => Role::Assistant,
                        "system" => Role::System,
                        _ => return Err(wrong(cursor, "one of user, assistant, system")),
                    });
                    self.trail.back();
                }
                b"content" => {
                    self.trail.field("content");
                    self.content(&mut parts, cursor)?;
                    self.trail.back();
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        self.trail.field("role");
        let Some(role) = role else {
            return Err(wrong(cursor, "one of user, assistant, system"));
        };
        self.trail.back();
        Ok(Turn { role, parts, name: None, index })
    }

    /// Reads content: a string or an array of blocks.
    fn content(&mut self, parts: &mut Vec<Part<'b>>, cursor: &mut Cursor<'b>) -> Result<()> {
        match cursor.kind()? {
            Kind::String => {
                let text = cursor.string()?;
                if !text.bytes.is_empty() {
                    parts.push(Part::Text(text.into()));
                }
            }
            Kind::Array => {
                let mut index = 0;
                cursor.array(|cursor| {
                    self.trail.index(index);
                    index += 1;
                    self.block(parts, cursor)?;
                    self.trail.back();
                    Ok(())
                })?;
            }
            _ => return Err(wrong(cursor, "a string or an array of blocks")),
        }
        Ok(())
    }

    fn block(&mut self, parts: &mut Vec<Part<'b>>, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut block = Block::default();
        cursor.object(|key, cursor| {
            let name = key.text();
            let Some(&known) = Block::MEMBERS.iter().find(|known| **known == name) else {
                return cursor.skip().map(drop);
            };
            self.trail.field(known);
            if !cursor.null()? {
                match known {
                    "type" => block.kind = Some(cursor.string()?),
                    "text" => block.text = Some(cursor.string()?.into()),
                    "thinking" => block.thinking = Some(cursor.string()?.into()),
                    "signature" => block.signature = Some(cursor.string()?.into()),
                    "data" => block.data = Some(cursor.string()?.into()),
                    "id" | "tool_use_id" => block.id = Some(cursor.string()?.into()),
                    "name" => block.name = Some(cursor.string()?.into()),
                    "title" => block.title = Some(cursor.string()?.into()),
                    "input" => {
                        if cursor.kind()? != Kind::Object {
                            return Err(wrong(cursor, "an object"));
                        }
                        block.input = Some(Json::checked(cursor.raw()?));
                    }
                    "is_error" => block.is_error = cursor.bool()?,
                    "cache_control" => block.cache = CacheTtl::read(cursor)?,
                    "source" if cursor.kind()? == Kind::Object => {
                        block.source = Some(self.source(cursor)?);
                    }
                    // A search result names where it was found.
                    "source" => block.found_at = Some(cursor.string()?.into()),
                    "content" if matches!(cursor.kind()?, Kind::String | Kind::Array) => {
                        block.content_at = Some(cursor.clone());
                        cursor.skip()?;
                    }
                    _ => drop(cursor.skip()?),
                }
            }
            self.trail.back();
            Ok(())
        })?;
        self.add(block, parts, cursor)
    }

    /// Adds what a block means.
    fn add(
        &mut self,
        mut block: Block<'b>,
        parts: &mut Vec<Part<'b>>,
        cursor: &Cursor<'b>,
    ) -> Result<()> {
        self.trail.field("type");
        let Some(kind) = block.kind else { return Err(wrong(cursor, "a block with a type")) };
        let missing = wrong(cursor, "a block with what its type names");
        let part = match &*kind.text() {
            "text" => Part::Text(block.text.ok_or(missing)?),
            "image" => Part::Image { source: block.source.ok_or(missing)?, detail: None },
            "document" => Part::File { source: block.source.ok_or(missing)?, name: block.title },
            "tool_use" => {
                let id = block.id.ok_or(missing.clone())?;
                let (id, carried) = carry::split_id(id);
                let carried = carried.unwrap_or_default();
                parts.extend(carried.reasoning.into_iter().map(Part::Reasoning));
                let input = block.input.unwrap_or(Json::checked(&b"{}"[..]));
                Part::Call(Call {
                    id,
                    name: block.name.ok_or(missing)?,
                    namespace: None,
                    input: Input::Object(input),
                    state: carried.call,
                })
            }
            "tool_result" => {
                let (id, _) = carry::split_id(block.id.ok_or(missing)?);
                self.trail.back();
                let mut inner = Vec::new();
                if let Some(mut cursor) = block.content_at.take() {
                    self.trail.field("content");
                    self.content(&mut inner, &mut cursor)?;
                    self.trail.back();
                }
                self.trail.field("type");
                Part::Result(CallResult { id, parts: inner, is_error: block.is_error })
            }
            "thinking" => {
                let state = block.signature.and_then(|signature| signed(signature, false));
                Part::Reasoning(Reasoning { text: block.thinking.unwrap_or(Str::EMPTY), state })
            }
            "redacted_thinking" => {
                let state = signed(block.data.ok_or(missing)?, true);
                Part::Reasoning(Reasoning { text: Str::EMPTY, state })
            }
            "search_result" => {
                self.trail.back();
                let source = Source::Text(self.text_of(block.content_at.take())?);
                self.trail.field("type");
                Part::File { source, name: block.title.or(block.found_at) }
            }
            name if is_hosted(name) => {
                self.request.unmapped.add_outside(name);
                self.trail.back();
                return Ok(());
            }
            _ => {
                let expected = "one of text, image, document, tool_use, tool_result, thinking, \
                                redacted_thinking, search_result";
                return Err(wrong(cursor, expected));
            }
        };
        self.trail.back();
        parts.push(part);
        parts.extend(block.cache.map(Part::CachePoint));
        Ok(())
    }

    /// The text of content whose blocks are text.
    fn text_of(&mut self, content_at: Option<Cursor<'b>>) -> Result<Str<'b>> {
        let mut parts = Vec::new();
        if let Some(mut cursor) = content_at {
            self.trail.field("content");
            self.content(&mut parts, &mut cursor)?;
            self.trail.back();
        }
        let mut texts = parts.into_iter().filter_map(|part| match part {
            Part::Text(text) => Some(text),
            _ => None,
        });
        let mut whole = texts.next().unwrap_or(Str::EMPTY);
        for text in texts {
            whole.push(&Str::escaped_from(&b"\\n\\n"[..]));
            whole.push(&text);
        }
        Ok(whole)
    }

    fn source(&mut self, cursor: &mut Cursor<'b>) -> Result<Source<'b>> {
        let (mut kind, mut mime, mut data, mut at) = (None, None, None, None);
        let mut content_at = None;
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match key.bytes {
                b"type" => kind = Some(cursor.string()?),
                b"media_type" => mime = Some(Str::from(cursor.string()?)),
                b"data" => data = Some(Str::from(cursor.string()?)),
                b"url" | b"file_id" => at = Some(Str::from(cursor.string()?)),
                b"content" => {
                    content_at = Some(cursor.clone());
                    cursor.skip()?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let kind = kind.map(|kind| kind.text()).unwrap_or_default();
        match (&*kind, mime, data, at) {
            ("base64", Some(mime), Some(data), _) => Ok(Source::Base64 { mime, data }),
            ("text", _, Some(text), _) => Ok(Source::Text(text)),
            ("url", _, _, Some(url)) => Ok(Source::Url(url)),
            ("file", _, _, Some(id)) => Ok(Source::Id(ISSUER, id)),
            ("content", ..) => self.text_of(content_at).map(Source::Text),
            _ => Err(wrong(cursor, "a source of type base64, text, url, file or content")),
        }
    }

    fn tools(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut index = 0;
        cursor.array(|cursor| {
            self.trail.index(index);
            index += 1;
            let (mut kind, mut name, mut description) = (None, None, None);
            let (mut schema, mut strict, mut cache) = (None, None, None);
            cursor.object(|key, cursor| {
                if cursor.null()? {
                    return Ok(());
                }
                match key.bytes {
                    b"type" => kind = Some(cursor.string()?),
                    b"name" => name = Some(Str::from(cursor.string()?)),
                    b"description" => description = Some(Str::from(cursor.string()?)),
                    b"input_schema" => schema = Some(Json::checked(cursor.raw()?)),
                    b"strict" => strict = Some(cursor.bool()?),
                    b"cache_control" => cache = CacheTtl::read(cursor)?,
                    _ => drop(cursor.skip()?),
                }
                Ok(())
            })?;
            match (kind, name) {
                // A tool that Anthropic itself runs, or that only its models know.
                (Some(kind), _) if !kind.is("custom") => {
                    self.request.unmapped.add_outside(&format!("tools.{}", kind.text()));
                }
                (_, Some(name)) => self.request.tools.push(Tool {
                    name,
                    namespace: None,
                    description,
                    input: ToolInput::Schema(schema),
                    strict,
                    cache,
                }),
                (_, None) => {
                    self.trail.field("name");
                    return Err(wrong(cursor, "the name of a tool"));
                }
            }
            self.trail.back();
            Ok(())
        })?;
        Ok(())
    }

    fn tool_choice(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let (mut kind, mut name, mut is_single) = (None, None, None);
        cursor.object(|key, cursor| {
            match key.bytes {
                b"type" => kind = Some(cursor.string()?),
                b"name" => name = Some(Str::from(cursor.string()?)),
                b"disable_parallel_tool_use" if !cursor.null()? => {
                    is_single = Some(cursor.bool()?);
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        self.trail.field("type");
        let kind = kind.map(|kind| kind.text()).unwrap_or_default();
        self.request.tool_choice = match (&*kind, name) {
            ("auto", _) => ToolChoice::Auto,
            ("any", _) => ToolChoice::Required,
            ("none", _) => ToolChoice::None,
            ("tool", Some(name)) => ToolChoice::Named(name),
            _ => return Err(wrong(cursor, "one of auto, any, none, or tool with a name")),
        };
        self.trail.back();
        if is_single == Some(true) {
            self.request.parallel_calls = Some(false);
        }
        Ok(())
    }

    fn thinking(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let thinking = &mut self.request.thinking;
        let trail = &mut self.trail;
        cursor.object(|key, cursor| {
            match key.bytes {
                b"type" => {
                    trail.field("type");
                    thinking.mode = match &*cursor.string()?.text() {
                        "enabled" => ThinkingMode::On,
                        "adaptive" => ThinkingMode::Adaptive,
                        "between_tools" => ThinkingMode::BetweenTools,
                        "disabled" => ThinkingMode::Off,
                        _ => {
                            let expected = "one of enabled, adaptive, between_tools, disabled";
                            return Err(wrong(cursor, expected));
                        }
                    };
                    trail.back();
                }
                b"budget_tokens" if !cursor.null()? => {
                    trail.field("budget_tokens");
                    let tokens = cursor.unsigned("a whole number of tokens")?;
                    thinking.budget = Some(u32::try_from(tokens).unwrap_or(u32::MAX));
                    trail.back();
                }
                b"display" if !cursor.null()? => {
                    thinking.shown = Some(!cursor.string()?.is("omitted"));
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn output_config(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match key.bytes {
                b"effort" => {
                    self.trail.field("effort");
                    let name = cursor.string()?;
                    let effort = Effort::from_name(&name.text());
                    let expected = "one of low, medium, high, xhigh, max";
                    let effort = effort.ok_or_else(|| wrong(cursor, expected))?;
                    self.request.thinking.effort = Some(effort);
                    self.trail.back();
                }
                b"format" => {
                    self.trail.field("format");
                    self.format(cursor)?;
                    self.trail.back();
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn format(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut schema = None;
        cursor.object(|key, cursor| {
            match key.bytes {
                b"schema" => schema = Some(Json::checked(cursor.raw()?)),
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let Some(schema) = schema else { return Err(wrong(cursor, "a format with a schema")) };
        self.request.format =
            Format::Schema { name: None, description: None, schema, strict: Some(true) };
        Ok(())
    }
}

/// A block as it is read.
#[derive(Default)]
struct Block<'b> {
    kind: Option<RawStr<'b>>,
    text: Option<Str<'b>>,
    thinking: Option<Str<'b>>,
    signature: Option<Str<'b>>,
    data: Option<Str<'b>>,
    id: Option<Str<'b>>,
    name: Option<Str<'b>>,
    title: Option<Str<'b>>,
    found_at: Option<Str<'b>>,
    input: Option<Json<'b>>,
    is_error: bool,
    cache: Option<CacheTtl>,
    source: Option<Source<'b>>,
    /// Its content, which is read once the type is known.
    content_at: Option<Cursor<'b>>,
}

impl Block<'_> {
    const MEMBERS: &'static [&'static str] = &[
        "type",
        "text",
        "thinking",
        "signature",
        "data",
        "id",
        "tool_use_id",
        "name",
        "title",
        "input",
        "is_error",
        "cache_control",
        "source",
        "content",
    ];
}

/// The state that a signature is, or stands for when it is one of ours.
fn signed(signature: Str<'_>, is_redacted: bool) -> Option<State<'_>> {
    match carry::read_value(&signature) {
        Some(state) => state,
        None if signature.is_empty() => None,
        None => Some(State { issuer: ISSUER, is_redacted, id: Str::EMPTY, data: signature }),
    }
}

/// Blocks around tools that Anthropic itself runs, and what belongs to its containers.
fn is_hosted(kind: &str) -> bool {
    matches!(
        kind,
        "server_tool_use" | "mcp_tool_use" | "container_upload" | "tool_reference" | "compaction"
    ) || kind.ends_with("_tool_result")
}

fn wrong(cursor: &Cursor<'_>, expected: &'static str) -> JsonError {
    cursor.error(JsonErrorKind::WrongType(expected))
}

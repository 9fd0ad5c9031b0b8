//! A client's responses request, read into the neutral form.

use super::items::join_paragraphs;
use crate::chat::{
    Call, CallResult, Effort, Format, Input, Issuer, Json, Part, Reasoning, Request, Role, Source,
    State, Str, Tool, ToolChoice, ToolInput, Trail, Turn, carry,
};
use crate::json::{Cursor, JsonError, JsonErrorKind, Kind, RawStr};
use crate::refusal::{self, Refusal};
use models::Dialect;

type Result<T> = std::result::Result<T, JsonError>;

/// Reads a whole request body.
pub(super) fn read(body: &[u8]) -> std::result::Result<Request<'_>, Refusal> {
    let mut reader = Reader::default();
    reader.request.turns_field = "input";
    match reader.read(body) {
        Ok(()) => {
            reader.end_with_the_user();
            reader.unfit.map_or(Ok(reader.request), Err)
        }
        Err(error) => Err(reader.trail.refusal(&error)),
    }
}

/// The members of the outermost object that have a neutral form, or need none.
const MEMBERS: &[&str] = &[
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "max_output_tokens",
    "temperature",
    "top_p",
    "top_logprobs",
    "include",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt",
    "service_tier",
    "metadata",
    "truncation",
    "store",
    "background",
];

/// Said for the user where the model shall say more.
const GO_ON: &str = "Go on.";

#[derive(Default)]
struct Reader<'b> {
    trail: Trail,
    request: Request<'b>,
    /// What only OpenAI could resolve, and the answer would be wrong without.
    unfit: Option<Refusal>,
}

impl<'b> Reader<'b> {
    fn read(&mut self, body: &'b [u8]) -> Result<()> {
        let mut cursor = Cursor::new(body)?;
        cursor.object(|key, cursor| self.member(key, cursor))?;
        cursor.end()
    }

    /// A history may end with what the model said: Codex gives back what was whole of an answer that broke
    /// off, and asks again. Here that means a new message; elsewhere it would be the beginning of the
    /// answer, and reasoning without what it led to is refused.
    fn end_with_the_user(&mut self) {
        let turns = &mut self.request.turns;
        let Some(last) = turns.last_mut().filter(|last| last.role == Role::Assistant) else {
            return;
        };
        while matches!(last.parts.last(), Some(Part::Reasoning(_))) {
            last.parts.pop();
        }
        match last.parts.last() {
            None => drop(turns.pop()),
            Some(Part::Call(_)) => {}
            Some(_) => {
                let index = last.index;
                let parts = vec![Part::Text(Str::plain(GO_ON))];
                turns.push(Turn { role: Role::User, parts, name: None, index });
            }
        }
    }

    fn member(&mut self, key: RawStr<'b>, cursor: &mut Cursor<'b>) -> Result<()> {
        let name = key.text();
        let Some(known) = MEMBERS.iter().find(|known| **known == name) else {
            if !cursor.null()? {
                cursor.skip()?;
                self.request.unmapped.add_outside(&name);
            }
            return Ok(());
        };
        self.trail.field(known);
        // `null` means "not given" in every SDK.
        if !cursor.null()? {
            self.known_member(known, cursor)?;
        }
        self.trail.back();
        Ok(())
    }

    fn known_member(&mut self, name: &'static str, cursor: &mut Cursor<'b>) -> Result<()> {
        let request = &mut self.request;
        match name {
            "input" => return self.input(cursor),
            "tools" => return self.tools(None, cursor),
            "tool_choice" => return self.tool_choice(cursor),
            "text" => return self.text(cursor),
            "reasoning" => return self.reasoning(cursor),
            "instructions" => {
                let parts = vec![Part::Text(cursor.string()?.into())];
                // Before all messages, wherever they stand.
                request.turns.insert(0, Turn { role: Role::System, parts, name: None, index: 0 });
            }
            "stream" => request.stream = cursor.bool()?,
            "max_output_tokens" => {
                let limit = cursor.unsigned("a whole number of tokens")?;
                request.max_output = Some(u32::try_from(limit).unwrap_or(u32::MAX));
            }
            "temperature" => request.sampling.temperature = Some(cursor.number()?),
            "top_p" => request.sampling.top_p = Some(cursor.number()?),
            "top_logprobs" => {
                let count = cursor.unsigned("a whole number")? as u32;
                // Zero is what SDKs send who do not want any.
                request.logprobs = request.logprobs.max((count > 0).then_some(count));
            }
            "include" => {
                cursor.array(|cursor| {
                    if cursor.string()?.is("message.output_text.logprobs") {
                        request.logprobs.get_or_insert(0);
                    }
                    Ok(())
                })?;
            }
            "parallel_tool_calls" => request.parallel_calls = Some(cursor.bool()?),
            // The newer name wins over the older one, wherever they stand.
            "safety_identifier" => request.user = Some(cursor.string()?.into()),
            "user" => {
                let user = cursor.string()?.into();
                request.user.get_or_insert(user);
            }
            "prompt_cache_key" => request.cache_key = Some(cursor.string()?.into()),
            "prompt" => {
                cursor.skip()?;
                let message = "\"prompt\" names a template that is kept at OpenAI; send its text";
                self.unfit("prompt".to_owned(), message);
            }
            "service_tier" => {
                let tier = cursor.string()?;
                request.service_tier = (!tier.is("auto")).then(|| tier.into());
            }
            "metadata" => {
                let metadata = cursor.raw()?;
                request.metadata = (metadata.len() > 2).then(|| Json::checked(metadata));
            }
            "truncation" => {
                let is_default = cursor.string()?.is("disabled");
                request.unmapped.add_if(!is_default, "truncation");
            }
            "store" => {
                let is_stored = cursor.bool()?;
                request.unmapped.add_if(is_stored, "store");
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    }

    fn unfit(&mut self, path: String, message: &'static str) {
        let refusal = Refusal::new(refusal::Kind::NotCapable);
        self.unfit.get_or_insert(refusal.with_message(message).with_param(path));
    }

    fn reasoning(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let thinking = &mut self.request.thinking;
        let trail = &mut self.trail;
        cursor.object(|key, cursor| {
            match key.bytes {
                b"effort" if !cursor.null()? => {
                    trail.field("effort");
                    thinking.effort = Some(effort(cursor)?);
                    trail.back();
                }
                b"summary" | b"generate_summary" if !cursor.null()? => {
                    thinking.shown = Some(true);
                    cursor.skip()?;
                }
                // The guards above have taken a null.
                b"effort" | b"summary" | b"generate_summary" => {}
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn text(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"format", Kind::Object) => {
                    self.trail.field("format");
                    self.format(cursor)?;
                    self.trail.back();
                }
                (b"verbosity", Kind::String) => {
                    self.request.verbosity = Some(cursor.string()?.into());
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn format(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut kind: Option<RawStr<'b>> = None;
        let (mut name, mut description, mut schema, mut strict) = (None, None, None, None);
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match key.bytes {
                b"type" => kind = Some(cursor.string()?),
                b"name" => name = Some(cursor.string()?.into()),
                b"description" => description = Some(cursor.string()?.into()),
                b"schema" => schema = Some(Json::checked(cursor.raw()?)),
                b"strict" => strict = Some(cursor.bool()?),
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        self.trail.field("type");
        let Some(kind) = kind else { return Err(wrong(cursor, "a format with a type")) };
        self.request.format = match (&*kind.text(), schema) {
            ("text", _) => Format::Text,
            ("json_object", _) => Format::Json,
            ("json_schema", Some(schema)) => Format::Schema { name, description, schema, strict },
            ("json_schema", None) => return Err(wrong(cursor, "a format with a schema")),
            _ => return Err(wrong(cursor, "one of text, json_object, json_schema")),
        };
        self.trail.back();
        Ok(())
    }

    fn input(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        match cursor.kind()? {
            Kind::String => {
                let parts = vec![Part::Text(cursor.string()?.into())];
                let turn = Turn { role: Role::User, parts, name: None, index: 0 };
                self.request.turns.push(turn);
            }
            Kind::Array => {
                let mut index = 0;
                cursor.array(|cursor| {
                    self.trail.index(index);
                    let item = self.item(cursor)?;
                    self.add(item, index as u32, cursor)?;
                    self.trail.back();
                    index += 1;
                    Ok(())
                })?;
            }
            _ => return Err(wrong(cursor, "a string or an array of items")),
        }
        Ok(())
    }

    fn item(&mut self, cursor: &mut Cursor<'b>) -> Result<Item<'b>> {
        const KNOWN: &[&str] = &[
            "type",
            "role",
            "id",
            "call_id",
            "name",
            "namespace",
            "content",
            "output",
            "arguments",
            "input",
            "action",
            "operation",
            "summary",
            "encrypted_content",
            "tools",
        ];
        let mut item = Item::default();
        cursor.object(|key, cursor| {
            let name = key.text();
            let Some(&known) = KNOWN.iter().find(|known| **known == name) else {
                return cursor.skip().map(drop);
            };
            self.trail.field(known);
            if !cursor.null()? {
                match known {
                    "type" => item.kind = Some(cursor.string()?),
                    "role" => item.role = Some(cursor.string()?),
                    "id" => item.id = cursor.string()?.into(),
                    "call_id" => item.call_id = Some(cursor.string()?.into()),
                    "name" => item.name = Some(cursor.string()?.into()),
                    "namespace" => item.namespace = Some(cursor.string()?.into()),
                    "content" => item.content = self.content(cursor)?,
                    "output" => item.output = Some(self.output(cursor)?),
                    "arguments" | "input" | "action" | "operation" => {
                        item.argument = Some(match cursor.kind()? {
                            Kind::String => Input::Text(cursor.string()?.into()),
                            _ => Input::Object(Json::checked(cursor.raw()?)),
                        });
                    }
                    "summary" => item.summary = self.content(cursor)?,
                    "encrypted_content" => item.encrypted = Some(cursor.string()?.into()),
                    // Tools that a search found: they may be called from here on.
                    _ => self.tools(None, cursor)?,
                }
            }
            self.trail.back();
            Ok(())
        })?;
        Ok(item)
    }

    /// Adds an item to the conversation. What the model said in one go becomes one turn, and so do
    /// results that follow each other.
    fn add(&mut self, item: Item<'b>, index: u32, cursor: &Cursor<'b>) -> Result<()> {
        let kind = item.kind.map_or("message".into(), |kind| kind.text());
        match &*kind {
            "message" => {
                let role = item.role.map(|role| role.text());
                let role = match role.as_deref() {
                    Some("user") => Role::User,
                    Some("assistant") => {
                        self.say(item.content, index);
                        return Ok(());
                    }
                    Some("system") => Role::System,
                    Some("developer") => Role::Developer,
                    _ => {
                        self.trail.field("role");
                        return Err(wrong(cursor, "one of user, assistant, system, developer"));
                    }
                };
                let turn = Turn { role, parts: item.content, name: None, index };
                self.request.turns.push(turn);
            }
            // What another agent says to this one.
            "agent_message" => {
                let turn = Turn { role: Role::User, parts: item.content, name: None, index };
                self.request.turns.push(turn);
            }
            "reasoning" => {
                let reasoning = item.reasoning();
                self.say([Part::Reasoning(reasoning)], index);
            }
            "function_call" | "custom_tool_call" => {
                self.trail.field("name");
                let name = item
                    .name
                    .ok_or_else(|| wrong(cursor, "the name of the tool that is called"))?;
                self.trail.back();
                let input = match (&*kind, item.argument) {
                    ("custom_tool_call", Some(Input::Text(text))) => Input::Free(text),
                    ("custom_tool_call", None) => Input::Free(Str::EMPTY),
                    (_, argument) => argument.unwrap_or(Input::Text(Str::EMPTY)),
                };
                self.call(item.call_id, name, item.namespace, input, index, cursor)?;
            }
            "compaction" | "compaction_summary" | "context_compaction" => {
                let path = self.trail.path();
                self.unfit(
                    path,
                    "a compacted history can only be read by the provider who made it",
                );
            }
            "additional_tools" => {}
            // Tools that the client runs although OpenAI defines them: a shell, patches, a search.
            other if other.ends_with("_output") => {
                let parts = item.output.unwrap_or_default();
                self.trail.field("call_id");
                let id = item.call_id.or((!item.id.is_empty()).then_some(item.id));
                let id = id.ok_or_else(|| wrong(cursor, "the id of the call that this answers"))?;
                self.trail.back();
                self.result(carry::split_id(id).0, parts, index);
            }
            other if other.ends_with("_call") && item.call_id.is_some() => {
                let name = Str::from_text(other.trim_end_matches("_call"));
                let input = item.argument.unwrap_or(Input::Text(Str::EMPTY));
                self.call(item.call_id, name, None, input, index, cursor)?;
            }
            // Tools that OpenAI itself ran: what came of them stands in what the model said then.
            other if other.ends_with("_call") || other.starts_with("mcp_") => {
                self.request.unmapped.add_outside(&format!("input.{other}"));
            }
            _ => {
                self.trail.field("type");
                let expected = "a type that is known here, as message, reasoning, function_call";
                return Err(wrong(cursor, expected));
            }
        }
        Ok(())
    }

    fn say(&mut self, parts: impl IntoIterator<Item = Part<'b>>, index: u32) {
        let turns = &mut self.request.turns;
        match turns.last_mut() {
            Some(last) if last.role == Role::Assistant => last.parts.extend(parts),
            _ => {
                let parts = parts.into_iter().collect();
                turns.push(Turn { role: Role::Assistant, parts, name: None, index });
            }
        }
    }

    fn call(
        &mut self,
        id: Option<Str<'b>>,
        name: Str<'b>,
        namespace: Option<Str<'b>>,
        input: Input<'b>,
        index: u32,
        cursor: &Cursor<'b>,
    ) -> Result<()> {
        self.trail.field("call_id");
        let id = id.ok_or_else(|| wrong(cursor, "the id of a call"))?;
        self.trail.back();
        let (id, carried) = carry::split_id(id);
        let carried = carried.unwrap_or_default();
        self.say(carried.reasoning.into_iter().map(Part::Reasoning), index);
        let call = Call { id, name, namespace, input, state: carried.call };
        self.say([Part::Call(call)], index);
        Ok(())
    }

    fn result(&mut self, id: Str<'b>, parts: Vec<Part<'b>>, index: u32) {
        let result = Part::Result(CallResult { id, parts, is_error: false });
        let is_result = |part: &Part<'_>| matches!(part, Part::Result(_));
        let turns = &mut self.request.turns;
        match turns.last_mut() {
            Some(last) if last.role == Role::User && last.parts.iter().all(is_result) => {
                last.parts.push(result);
            }
            _ => {
                let parts = vec![result];
                turns.push(Turn { role: Role::User, parts, name: None, index });
            }
        }
    }

    /// The result of a call: text, parts, or whatever else a tool gave, as its JSON.
    fn output(&mut self, cursor: &mut Cursor<'b>) -> Result<Vec<Part<'b>>> {
        match cursor.kind()? {
            Kind::String => self.content(cursor),
            Kind::Array => {
                let start = cursor.clone();
                let is_parts = |cursor: &mut Cursor<'b>| {
                    let mut all = true;
                    cursor.array(|cursor| {
                        let mut has_type = false;
                        match cursor.kind()? {
                            Kind::Object => {
                                cursor.object(|key, cursor| {
                                    has_type |= key.is("type");
                                    cursor.skip().map(drop)
                                })?;
                            }
                            _ => drop(cursor.skip()?),
                        }
                        all &= has_type;
                        Ok(())
                    })?;
                    Ok::<_, JsonError>(all)
                };
                match is_parts(&mut start.clone())? {
                    true => self.content(cursor),
                    false => json_text(cursor),
                }
            }
            _ => json_text(cursor),
        }
    }

    fn content(&mut self, cursor: &mut Cursor<'b>) -> Result<Vec<Part<'b>>> {
        let mut parts = Vec::new();
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
                    self.part(&mut parts, cursor)?;
                    self.trail.back();
                    Ok(())
                })?;
            }
            _ => return Err(wrong(cursor, "a string or an array of parts")),
        }
        Ok(parts)
    }

    fn part(&mut self, parts: &mut Vec<Part<'b>>, cursor: &mut Cursor<'b>) -> Result<()> {
        const KNOWN: &[&str] = &[
            "type",
            "text",
            "refusal",
            "image_url",
            "detail",
            "file_id",
            "file_data",
            "file_url",
            "filename",
        ];
        let mut kind: Option<RawStr<'b>> = None;
        let mut fields: [Option<Str<'b>>; KNOWN.len()] = Default::default();
        cursor.object(|key, cursor| {
            let name = key.text();
            let Some(at) = KNOWN.iter().position(|known| **known == *name) else {
                return cursor.skip().map(drop);
            };
            self.trail.field(KNOWN[at]);
            if !cursor.null()? {
                match at {
                    0 => kind = Some(cursor.string()?),
                    _ => fields[at] = Some(cursor.string()?.into()),
                }
            }
            self.trail.back();
            Ok(())
        })?;
        let [_, text, refusal, image_url, detail, file_id, file_data, file_url, filename] = fields;
        self.trail.field("type");
        let Some(kind) = kind else { return Err(wrong(cursor, "a part with a type")) };
        let missing = cursor.error(JsonErrorKind::WrongType("a part with what its type names"));
        let issued = |id| Source::Id(Issuer::any(Dialect::OpenAiResponses), id);
        parts.push(match &*kind.text() {
            "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
                Part::Text(text.ok_or(missing)?)
            }
            "refusal" => Part::Refusal(refusal.ok_or(missing)?),
            "input_image" => {
                let source = match (image_url, file_id) {
                    (Some(url), _) => Source::of_url(url),
                    (None, Some(id)) => issued(id),
                    (None, None) => return Err(missing),
                };
                Part::Image { source, detail }
            }
            "input_file" => {
                let source = match (file_data, file_url, file_id) {
                    (Some(data), _, _) => match Source::of_url(data) {
                        // Bare base 64 is taken to be what OpenAI takes it for.
                        Source::Url(data) => {
                            Source::Base64 { mime: Str::plain("application/pdf"), data }
                        }
                        source => source,
                    },
                    (None, Some(url), _) => Source::Url(url),
                    (None, None, Some(id)) => issued(id),
                    (None, None, None) => return Err(missing),
                };
                Part::File { source, name: filename }
            }
            "encrypted_content" => {
                self.request.unmapped.add("input.encrypted_content");
                self.trail.back();
                return Ok(());
            }
            _ => {
                let expected = "one of input_text, input_image, input_file, output_text, refusal";
                return Err(wrong(cursor, expected));
            }
        });
        self.trail.back();
        Ok(())
    }

    /// Tools, or those of one namespace.
    fn tools(&mut self, namespace: Option<&Str<'b>>, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut index = 0;
        cursor.array(|cursor| {
            self.trail.index(index);
            index += 1;
            self.tool(namespace, cursor)?;
            self.trail.back();
            Ok(())
        })?;
        Ok(())
    }

    fn tool(&mut self, namespace: Option<&Str<'b>>, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut kind: Option<RawStr<'b>> = None;
        let (mut name, mut description, mut strict) = (None, None, None);
        let (mut schema, mut format, mut inner) = (None, None, None);
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match (key.bytes, cursor.kind()?) {
                (b"type", _) => kind = Some(cursor.string()?),
                (b"name", Kind::String) => name = Some(Str::from(cursor.string()?)),
                (b"description", Kind::String) => description = Some(cursor.string()?.into()),
                (b"strict", _) => strict = Some(cursor.bool()?),
                (b"parameters", Kind::Object) => schema = Some(Json::checked(cursor.raw()?)),
                (b"format", Kind::Object) => format = Some(Json::checked(cursor.raw()?)),
                (b"tools", Kind::Array) => {
                    inner = Some(cursor.clone());
                    cursor.skip()?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        self.trail.field("type");
        let kind = kind.ok_or_else(|| wrong(cursor, "a tool with a type"))?.text();
        self.trail.back();
        let input = match &*kind {
            "function" => ToolInput::Schema(schema),
            "custom" => ToolInput::Free(format),
            "namespace" => {
                self.request.unmapped.add_if(description.is_some(), "tools.namespace.description");
                self.trail.field("name");
                let name = name.ok_or_else(|| wrong(cursor, "the name of a namespace"))?;
                self.trail.back();
                if let Some(mut inner) = inner {
                    self.trail.field("tools");
                    self.tools(Some(&name), &mut inner)?;
                    self.trail.back();
                }
                return Ok(());
            }
            // A tool that OpenAI itself runs.
            other => {
                self.request.unmapped.add_outside(&format!("tools.{other}"));
                return Ok(());
            }
        };
        self.trail.field("name");
        let name = name.ok_or_else(|| wrong(cursor, "the name of a tool"))?;
        self.trail.back();
        let namespace = namespace.cloned();
        let tool = Tool { name, namespace, description, input, strict, cache: None };
        self.request.tools.push(tool);
        Ok(())
    }

    fn tool_choice(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let expected = "\"none\", \"auto\", \"required\", or an object that names tools";
        if cursor.kind()? == Kind::String {
            self.request.tool_choice = match &*cursor.string()?.text() {
                "none" => ToolChoice::None,
                "auto" => ToolChoice::Auto,
                "required" => ToolChoice::Required,
                _ => return Err(wrong(cursor, expected)),
            };
            return Ok(());
        }
        let mut kind: Option<RawStr<'b>> = None;
        let (mut name, mut names, mut required) = (None, Vec::new(), false);
        cursor.object(|key, cursor| {
            match (key.bytes, cursor.kind()?) {
                (b"type", Kind::String) => kind = Some(cursor.string()?),
                (b"name", Kind::String) => name = Some(Str::from(cursor.string()?)),
                (b"mode", Kind::String) => required = cursor.string()?.is("required"),
                (b"tools", Kind::Array) => {
                    cursor.array(|cursor| {
                        cursor.object(|key, cursor| {
                            match (key.bytes, cursor.kind()?) {
                                (b"name", Kind::String) => names.push(cursor.string()?.into()),
                                _ => drop(cursor.skip()?),
                            }
                            Ok(())
                        })?;
                        Ok(())
                    })?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let kind = kind.map_or("".into(), |kind| kind.text());
        self.request.tool_choice = match (&*kind, name) {
            ("function" | "custom", Some(name)) => ToolChoice::Named(name),
            ("allowed_tools", _) => ToolChoice::Allowed { names, required },
            ("function" | "custom" | "", _) => return Err(wrong(cursor, expected)),
            _ => {
                let message = "the tool that must be called is one that only OpenAI runs";
                self.unfit("tool_choice".to_owned(), message);
                ToolChoice::Unset
            }
        };
        Ok(())
    }
}

/// An item as it is read.
#[derive(Default)]
struct Item<'b> {
    kind: Option<RawStr<'b>>,
    role: Option<RawStr<'b>>,
    id: Str<'b>,
    call_id: Option<Str<'b>>,
    name: Option<Str<'b>>,
    namespace: Option<Str<'b>>,
    content: Vec<Part<'b>>,
    output: Option<Vec<Part<'b>>>,
    argument: Option<Input<'b>>,
    summary: Vec<Part<'b>>,
    encrypted: Option<Str<'b>>,
}

impl<'b> Item<'b> {
    /// Its words, in full where they are given, and the state: its issuer's own, or one that travels
    /// in a value of ours.
    fn reasoning(self) -> Reasoning<'b> {
        let words = if self.content.is_empty() { &self.summary } else { &self.content };
        let text = join_paragraphs(words);
        let data = self.encrypted.filter(|data| !data.is_empty());
        let state = data.and_then(|data| match carry::read_value(&data) {
            Some(state) => state,
            None => {
                let issuer = Issuer::any(Dialect::OpenAiResponses);
                Some(State { issuer, is_redacted: false, id: self.id, data })
            }
        });
        Reasoning { text, state }
    }
}

/// Any value, as the text that it is.
fn json_text<'b>(cursor: &mut Cursor<'b>) -> Result<Vec<Part<'b>>> {
    let raw = String::from_utf8_lossy(cursor.raw()?);
    Ok(vec![Part::Text(Str::from_text(&raw))])
}

/// Reads the name of an effort.
fn effort(cursor: &mut Cursor<'_>) -> Result<Effort> {
    let name = cursor.string()?;
    Effort::from_name(&name.text())
        .ok_or_else(|| wrong(cursor, "one of none, minimal, low, medium, high, xhigh, max"))
}

fn wrong(cursor: &Cursor<'_>, expected: &'static str) -> JsonError {
    cursor.error(JsonErrorKind::WrongType(expected))
}

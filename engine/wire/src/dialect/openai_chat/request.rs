//! A client's chat completion request, read into the neutral form.

use super::tools::{ReadCall, named, object_choice, read_call, schema_format, word_choice, wrong};
use crate::chat::{
    CacheTtl, Call, CallResult, Effort, Format, Issuer, Json, Part, Reasoning, Request, Role,
    Source, Str, ThinkingMode, Tool, ToolChoice, ToolInput, Trail, Turn, carry,
};
use crate::json::{Cursor, JsonError, JsonErrorKind, Kind, RawStr};
use crate::refusal::Refusal;
use models::Dialect;

type Result<T> = std::result::Result<T, JsonError>;

/// Reads a whole request body.
pub(super) fn read(body: &[u8]) -> std::result::Result<Request<'_>, Refusal> {
    let mut reader = Reader::default();
    reader.request.turns_field = "messages";
    match reader.read(body) {
        Ok(()) => Ok(reader.request),
        Err(error) => Err(reader.trail.refusal(&error)),
    }
}

/// The members of the outermost object that have a neutral form, or need none.
const MEMBERS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "verbosity",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "service_tier",
    "metadata",
    "modalities",
    "store",
];

#[derive(Default)]
struct Reader<'b> {
    trail: Trail,
    request: Request<'b>,
    has_logprobs: bool,
}

impl<'b> Reader<'b> {
    fn read(&mut self, body: &'b [u8]) -> Result<()> {
        let mut cursor = Cursor::new(body)?;
        cursor.object(|key, cursor| self.member(key, cursor))?;
        if !self.has_logprobs {
            self.request.logprobs = None;
        }
        cursor.end()
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
        let sampling = &mut request.sampling;
        match name {
            "messages" => return self.messages(cursor),
            "tools" => return self.tools(cursor),
            "functions" => return self.functions(cursor),
            "tool_choice" => return self.tool_choice(cursor),
            "function_call" => return self.function_call(cursor),
            "response_format" => return self.response_format(cursor),
            "stop" => return self.stop(cursor),
            "stream" => request.stream = cursor.bool()?,
            "stream_options" => {
                let wanted = &mut request.usage_in_stream;
                cursor.object(|key, cursor| {
                    match key.is("include_usage") && !cursor.null()? {
                        true => *wanted = cursor.bool()?,
                        false => drop(cursor.skip()?),
                    }
                    Ok(())
                })?;
            }
            "max_tokens" | "max_completion_tokens" => {
                let limit = cursor.unsigned("a whole number of tokens")?;
                request.max_output = Some(u32::try_from(limit).unwrap_or(u32::MAX));
            }
            "temperature" => sampling.temperature = Some(cursor.number()?),
            "top_p" => sampling.top_p = Some(cursor.number()?),
            "top_k" => sampling.top_k = Some(cursor.number()?),
            "presence_penalty" => sampling.presence_penalty = Some(cursor.number()?),
            "frequency_penalty" => sampling.frequency_penalty = Some(cursor.number()?),
            "seed" => sampling.seed = Some(cursor.number()?),
            "logit_bias" => {
                let bias = cursor.raw()?;
                sampling.logit_bias = (bias.len() > 2).then(|| Json::checked(bias));
            }
            "logprobs" => {
                self.has_logprobs = cursor.bool()?;
                request.logprobs = request.logprobs.or(Some(0));
            }
            "top_logprobs" => request.logprobs = Some(cursor.unsigned("a whole number")? as u32),
            "n" => request.alternatives = cursor.unsigned("a whole number")? as u32,
            "parallel_tool_calls" => request.parallel_calls = Some(cursor.bool()?),
            "reasoning_effort" => request.thinking.effort = Some(effort(cursor)?),
            "reasoning" => self.reasoning(cursor)?,
            "thinking" => self.thinking(cursor)?,
            "verbosity" => request.verbosity = Some(cursor.string()?.into()),
            // The newer name wins over the older one, wherever they stand.
            "safety_identifier" => request.user = Some(cursor.string()?.into()),
            "user" => {
                let user = cursor.string()?.into();
                request.user.get_or_insert(user);
            }
            "prompt_cache_key" => request.cache_key = Some(cursor.string()?.into()),
            "service_tier" => request.service_tier = Some(cursor.string()?.into()),
            "metadata" => {
                let metadata = cursor.raw()?;
                request.metadata = (metadata.len() > 2).then(|| Json::checked(metadata));
            }
            "modalities" => {
                cursor.array(|cursor| {
                    if !cursor.string()?.is("text") {
                        request.unmapped.add("modalities");
                    }
                    Ok(())
                })?;
            }
            "store" => {
                let is_stored = cursor.bool()?;
                request.unmapped.add_if(is_stored, "store");
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    }

    /// OpenRouter's and Together's form: `{effort, max_tokens, enabled}`.
    fn reasoning(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let thinking = &mut self.request.thinking;
        cursor.object(|key, cursor| {
            match key.bytes {
                b"effort" if !cursor.null()? => thinking.effort = Some(effort(cursor)?),
                b"max_tokens" if !cursor.null()? => {
                    thinking.budget = Some(cursor.unsigned("a whole number of tokens")? as u32);
                }
                b"enabled" if !cursor.null()? => thinking.mode = switched(cursor.bool()?),
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    }

    /// DeepSeek's and Z.ai's form: `{type: enabled | disabled}`.
    fn thinking(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let thinking = &mut self.request.thinking;
        cursor.object(|key, cursor| {
            match key.bytes {
                b"type" => thinking.mode = switched(!cursor.string()?.is("disabled")),
                b"budget_tokens" if !cursor.null()? => {
                    thinking.budget = Some(cursor.unsigned("a whole number of tokens")? as u32);
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn stop(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let stop = &mut self.request.stop;
        match cursor.kind()? {
            Kind::String => stop.push(cursor.string()?.into()),
            Kind::Array => {
                cursor.array(|cursor| {
                    stop.push(cursor.string()?.into());
                    Ok(())
                })?;
            }
            _ => return Err(wrong(cursor, "a string or an array of strings")),
        }
        Ok(())
    }

    fn messages(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut index = 0;
        cursor.array(|cursor| {
            self.trail.index(index);
            let message = self.message(cursor)?;
            self.trail.back();
            self.add(message, index as u32);
            index += 1;
            Ok(())
        })?;
        Ok(())
    }

    fn message(&mut self, cursor: &mut Cursor<'b>) -> Result<Message<'b>> {
        let mut message = Message::default();
        cursor.object(|key, cursor| {
            let name = key.text();
            let known = ["role", "content", "name", "tool_call_id", "tool_calls", "function_call"];
            let known = known.iter().chain(&["refusal", "reasoning_content", "reasoning"]);
            let Some(&known) = known.into_iter().find(|known| **known == name) else {
                return cursor.skip().map(drop);
            };
            self.trail.field(known);
            if !cursor.null()? {
                match known {
                    "role" => message.role = Some(Speaker::read(cursor)?),
                    "content" => message.content = self.content(cursor)?,
                    "name" => message.name = Some(cursor.string()?.into()),
                    "tool_call_id" => message.result_of = Some(cursor.string()?.into()),
                    "tool_calls" => self.calls(&mut message.calls, cursor)?,
                    "function_call" => self.old_call(&mut message.calls, cursor)?,
                    "refusal" => message.refusal = Some(cursor.string()?.into()),
                    // Some servers write an object under `reasoning`; what it says is in the text.
                    _ if cursor.kind()? == Kind::String => {
                        message.reasoning = Some(cursor.string()?.into());
                    }
                    _ => drop(cursor.skip()?),
                }
            }
            self.trail.back();
            Ok(())
        })?;
        self.trail.field("role");
        if message.role.is_none() {
            return Err(wrong(cursor, "a role"));
        }
        self.trail.back();
        self.trail.field("tool_call_id");
        if message.role == Some(Speaker::Tool) && message.result_of.is_none() {
            return Err(wrong(cursor, "the id of the call that this is the result of"));
        }
        self.trail.back();
        Ok(message)
    }

    /// Adds a message to the conversation. Results of calls that follow each other become one turn.
    fn add(&mut self, message: Message<'b>, index: u32) {
        let turns = &mut self.request.turns;
        let Message { role, content, name, result_of, calls, refusal, reasoning } = message;
        let mut turn = Turn { role: Role::User, parts: content, name, index };
        match role.unwrap_or(Speaker::User) {
            Speaker::System => turn.role = Role::System,
            Speaker::Developer => turn.role = Role::Developer,
            Speaker::User => {}
            Speaker::Tool | Speaker::Function => {
                let id = match (result_of, &turn.name) {
                    (Some(id), _) => carry::split_id(id).0,
                    (None, Some(name)) => old_id(name),
                    (None, None) => Str::EMPTY,
                };
                let result = Part::Result(CallResult { id, parts: turn.parts, is_error: false });
                let is_result = |part: &Part<'_>| matches!(part, Part::Result(_));
                match turns.last_mut() {
                    Some(last) if last.role == Role::User && last.parts.iter().all(is_result) => {
                        last.parts.push(result);
                        return;
                    }
                    _ => turn = Turn { parts: vec![result], name: None, ..turn },
                }
            }
            Speaker::Assistant => {
                turn.role = Role::Assistant;
                turn.parts.extend(refusal.map(Part::Refusal));
                turn.parts = spoken(turn.parts, reasoning, calls);
            }
        }
        turns.push(turn);
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
        let mut kind: Option<RawStr<'b>> = None;
        let mut text: Option<Str<'b>> = None;
        let mut image: Option<(Str<'b>, Option<Str<'b>>)> = None;
        let mut audio = (None, None);
        let mut file = File::default();
        let mut cache = None;
        cursor.object(|key, cursor| {
            let name = key.text();
            let known = ["type", "text", "refusal", "image_url", "input_audio", "file"];
            let known = known.iter().chain(&["cache_control"]);
            let Some(&known) = known.into_iter().find(|known| **known == name) else {
                return cursor.skip().map(drop);
            };
            self.trail.field(known);
            match known {
                "type" => kind = Some(cursor.string()?),
                "text" | "refusal" => text = Some(cursor.string()?.into()),
                "image_url" => image = Some(image_url(cursor)?),
                "input_audio" => audio = input_audio(cursor)?,
                "file" => file = File::read(cursor)?,
                _ => cache = CacheTtl::read(cursor)?,
            }
            self.trail.back();
            Ok(())
        })?;
        self.trail.field("type");
        let Some(kind) = kind else { return Err(wrong(cursor, "a part with a type")) };
        let missing = JsonErrorKind::WrongType("a part with what its type names");
        let missing = cursor.error(missing);
        parts.push(match &*kind.text() {
            "text" => Part::Text(text.ok_or(missing)?),
            "refusal" => Part::Refusal(text.ok_or(missing)?),
            "image_url" => {
                let (url, detail) = image.ok_or(missing)?;
                Part::Image { source: Source::of_url(url), detail }
            }
            "input_audio" => match audio {
                (Some(data), Some(format)) => Part::Audio(audio_source(data, &format)),
                _ => return Err(missing),
            },
            "file" => file.part().ok_or(missing)?,
            _ => return Err(wrong(cursor, "one of text, image_url, input_audio, file, refusal")),
        });
        self.trail.back();
        parts.extend(cache.map(Part::CachePoint));
        Ok(())
    }

    fn calls(&mut self, calls: &mut Vec<CarryingCall<'b>>, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut index = 0;
        cursor.array(|cursor| {
            self.trail.index(index);
            index += 1;
            let call = read_call(cursor)?;
            self.trail.field("id");
            let Some(id) = call.id else { return Err(wrong(cursor, "the id of a call")) };
            self.trail.back();
            self.trail.field("function");
            let Some(name) = call.name else { return Err(wrong(cursor, "a call with a name")) };
            self.trail.back();
            let (id, carried) = carry::split_id(id);
            let mut carried = carried.unwrap_or_default();
            let state = carried.call.take().or(call.state);
            let call = Call { id, name, namespace: None, input: call.input, state };
            calls.push(CarryingCall { call, carried });
            self.trail.back();
            Ok(())
        })?;
        Ok(())
    }

    fn old_call(
        &mut self,
        calls: &mut Vec<CarryingCall<'b>>,
        cursor: &mut Cursor<'b>,
    ) -> Result<()> {
        let mut call = ReadCall::default();
        call.function(cursor)?;
        let Some(name) = call.name else { return Err(wrong(cursor, "a call with a name")) };
        let id = old_id(&name);
        let call = Call { id, name, namespace: None, input: call.input, state: None };
        calls.push(CarryingCall { call, carried: carry::Carried::default() });
        Ok(())
    }

    fn tools(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut index = 0;
        cursor.array(|cursor| {
            self.trail.index(index);
            index += 1;
            let mut kind: Option<RawStr<'b>> = None;
            let mut tool = None;
            let mut cache = None;
            cursor.object(|key, cursor| {
                match key.bytes {
                    b"type" => kind = Some(cursor.string()?),
                    b"function" | b"custom" => {
                        self.trail.field(if key.bytes == b"custom" {
                            "custom"
                        } else {
                            "function"
                        });
                        tool = Some(self.tool(key.bytes == b"custom", cursor)?);
                        self.trail.back();
                    }
                    b"cache_control" => cache = CacheTtl::read(cursor)?,
                    _ => drop(cursor.skip()?),
                }
                Ok(())
            })?;
            match (tool, kind) {
                (Some(tool), _) => self.request.tools.push(Tool { cache, ..tool }),
                // A tool that the provider itself runs.
                (None, Some(kind)) if !kind.is("function") && !kind.is("custom") => {
                    self.request.unmapped.add_outside(&format!("tools.{}", kind.text()));
                }
                _ => return Err(wrong(cursor, "a tool with a function")),
            }
            self.trail.back();
            Ok(())
        })?;
        Ok(())
    }

    /// Older form of tools: an array of functions.
    fn functions(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut index = 0;
        cursor.array(|cursor| {
            self.trail.index(index);
            index += 1;
            let tool = self.tool(false, cursor)?;
            self.request.tools.push(tool);
            self.trail.back();
            Ok(())
        })?;
        Ok(())
    }

    fn tool(&mut self, is_free: bool, cursor: &mut Cursor<'b>) -> Result<Tool<'b>> {
        let (mut name, mut description, mut strict) = (None, None, None);
        let (mut schema, mut format) = (None, None);
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match key.bytes {
                b"name" => name = Some(cursor.string()?.into()),
                b"description" => description = Some(cursor.string()?.into()),
                b"strict" => strict = Some(cursor.bool()?),
                b"parameters" => schema = Some(Json::checked(cursor.raw()?)),
                b"format" => format = Some(Json::checked(cursor.raw()?)),
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        self.trail.field("name");
        let Some(name) = name else { return Err(wrong(cursor, "the name of a tool")) };
        self.trail.back();
        let input = if is_free { ToolInput::Free(format) } else { ToolInput::Schema(schema) };
        Ok(Tool { name, namespace: None, description, input, strict, cache: None })
    }

    fn tool_choice(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let expected = "\"none\", \"auto\", \"required\", or an object that names tools";
        let choice = match cursor.kind()? {
            Kind::String => word_choice(&cursor.string()?.text()),
            Kind::Object => object_choice(cursor)?,
            _ => None,
        };
        self.request.tool_choice = choice.ok_or_else(|| wrong(cursor, expected))?;
        Ok(())
    }

    fn function_call(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let choice = match cursor.kind()? {
            Kind::String => word_choice(&cursor.string()?.text()),
            _ => named(cursor)?.map(ToolChoice::Named),
        };
        let expected = "\"none\", \"auto\", or an object with a name";
        self.request.tool_choice = choice.ok_or_else(|| wrong(cursor, expected))?;
        Ok(())
    }

    fn response_format(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let (mut kind, mut format) = (None, None);
        cursor.object(|key, cursor| {
            match key.bytes {
                b"type" => kind = Some(cursor.string()?),
                b"json_schema" if !cursor.null()? => {
                    self.trail.field("json_schema");
                    format = schema_format(cursor)?;
                    if format.is_none() {
                        return Err(wrong(cursor, "an object with a schema"));
                    }
                    self.trail.back();
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        self.trail.field("type");
        let Some(kind) = kind else { return Err(wrong(cursor, "a format with a type")) };
        self.request.format = match (&*kind.text(), format) {
            ("text", _) => Format::Text,
            ("json_object", _) => Format::Json,
            ("json_schema", Some(format)) => format,
            ("json_schema", None) => return Err(wrong(cursor, "a format with a json_schema")),
            _ => return Err(wrong(cursor, "one of text, json_object, json_schema")),
        };
        self.trail.back();
        Ok(())
    }
}

/// A message as it is read.
#[derive(Default)]
struct Message<'b> {
    role: Option<Speaker>,
    content: Vec<Part<'b>>,
    name: Option<Str<'b>>,
    result_of: Option<Str<'b>>,
    calls: Vec<CarryingCall<'b>>,
    refusal: Option<Str<'b>>,
    reasoning: Option<Str<'b>>,
}

/// A call with the reasoning that its id carried.
struct CarryingCall<'b> {
    call: Call<'b>,
    carried: carry::Carried<'static>,
}

/// The parts of an assistant's turn in the order in which they were generated: reasoning, text, calls.
/// What ids carry is the whole reasoning, so words beside it are only its echo.
fn spoken<'b>(
    content: Vec<Part<'b>>,
    reasoning: Option<Str<'b>>,
    calls: Vec<CarryingCall<'b>>,
) -> Vec<Part<'b>> {
    let carries = calls.iter().any(|call| !call.carried.reasoning.is_empty());
    let mut parts = Vec::with_capacity(content.len() + calls.len() + 1);
    if let Some(text) = reasoning.filter(|text| !carries && !text.is_empty()) {
        parts.push(Part::Reasoning(Reasoning { text, state: None }));
    }
    let mut content = Some(content);
    for CarryingCall { call, carried } in calls {
        let mut blocks = carried.reasoning.into_iter().map(Part::Reasoning);
        if let Some(content) = content.take() {
            parts.extend(blocks.by_ref().take(carried.before_text.into()));
            parts.extend(content);
        }
        parts.extend(blocks);
        parts.push(Part::Call(call));
    }
    parts.extend(content.into_iter().flatten());
    parts
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

impl Speaker {
    fn read(cursor: &mut Cursor<'_>) -> Result<Speaker> {
        Ok(match &*cursor.string()?.text() {
            "system" => Speaker::System,
            "developer" => Speaker::Developer,
            "user" => Speaker::User,
            "assistant" => Speaker::Assistant,
            "tool" => Speaker::Tool,
            "function" => Speaker::Function,
            _ => {
                let expected = "one of system, developer, user, assistant, tool, function";
                return Err(wrong(cursor, expected));
            }
        })
    }
}

/// A `file` part.
#[derive(Default)]
struct File<'b> {
    data: Option<Str<'b>>,
    id: Option<Str<'b>>,
    name: Option<Str<'b>>,
}

impl<'b> File<'b> {
    fn read(cursor: &mut Cursor<'b>) -> Result<File<'b>> {
        let mut file = File::default();
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match key.bytes {
                b"file_data" => file.data = Some(cursor.string()?.into()),
                b"file_id" => file.id = Some(cursor.string()?.into()),
                b"filename" => file.name = Some(cursor.string()?.into()),
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(file)
    }

    fn part(self) -> Option<Part<'b>> {
        let source = match (self.data, self.id) {
            (Some(data), _) => match Source::of_url(data) {
                // Bare base 64 is taken to be what OpenAI takes it for.
                Source::Url(data) => Source::Base64 { mime: Str::plain("application/pdf"), data },
                source => source,
            },
            (None, Some(id)) => Source::Id(Issuer::any(Dialect::OpenAiChat), id),
            (None, None) => return None,
        };
        Some(Part::File { source, name: self.name })
    }
}

fn image_url<'b>(cursor: &mut Cursor<'b>) -> Result<(Str<'b>, Option<Str<'b>>)> {
    if cursor.kind()? == Kind::String {
        return Ok((cursor.string()?.into(), None));
    }
    let (mut url, mut detail) = (None, None);
    cursor.object(|key, cursor| {
        match key.bytes {
            b"url" => url = Some(cursor.string()?.into()),
            b"detail" if !cursor.null()? => detail = Some(cursor.string()?.into()),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    url.map(|url| (url, detail)).ok_or_else(|| wrong(cursor, "an object with a url"))
}

type Sound<'b> = (Option<Str<'b>>, Option<Str<'b>>);

fn input_audio<'b>(cursor: &mut Cursor<'b>) -> Result<Sound<'b>> {
    let (mut data, mut format) = (None, None);
    cursor.object(|key, cursor| {
        match key.bytes {
            b"data" => data = Some(cursor.string()?.into()),
            b"format" => format = Some(cursor.string()?.into()),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok((data, format))
}

fn audio_source<'b>(data: Str<'b>, format: &Str<'_>) -> Source<'b> {
    let mime = match &*format.text() {
        "mp3" => Str::plain("audio/mpeg"),
        other => Str::from_text(&format!("audio/{other}")),
    };
    Source::Base64 { mime, data }
}

/// Reads the name of an effort.
fn effort(cursor: &mut Cursor<'_>) -> Result<Effort> {
    let name = cursor.string()?;
    Effort::from_name(&name.text())
        .ok_or_else(|| wrong(cursor, "one of none, minimal, low, medium, high, xhigh, max"))
}

fn switched(on: bool) -> ThinkingMode {
    if on { ThinkingMode::On } else { ThinkingMode::Off }
}

/// The id of a call in the older form, which had none.
fn old_id(name: &Str<'_>) -> Str<'static> {
    Str::escaped_from([b"call_", name.escaped()].concat())
}

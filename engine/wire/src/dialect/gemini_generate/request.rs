//! A client's `generateContent` request, read into the neutral form.

use super::form::{
    Media, Result, camel, each, mime_of_url, source_of_uri, standard_base64, whole_number, wrong,
};
use super::state::{self, Signature};
use super::tools;
use crate::chat::{
    Call, CallResult, Effort, Format, Input, Json, Part, Reasoning, Request, Role, Source, State,
    Str, ThinkingMode, Trail, Turn, carry,
};
use crate::json::{Cursor, JsonErrorKind, Kind, RawStr};
use crate::refusal::{self, Refusal};

/// Reads a whole request body.
pub(super) fn read(body: &[u8]) -> std::result::Result<Request<'_>, Refusal> {
    let mut reader = Reader::default();
    reader.request.turns_field = "contents";
    if let Err(error) = reader.read(body) {
        return Err(reader.trail.refusal(&error));
    }
    if reader.has_cached_content {
        return Err(Refusal::new(refusal::Kind::NotCapable)
            .with_message(
                "\"cachedContent\" stands for content that only Google holds; \
                 name a model that Google serves, or send the content itself",
            )
            .with_param("cachedContent"));
    }
    let mut request = reader.request;
    if let Some(system) = reader.system {
        request.turns.insert(0, system);
    }
    if reader.wants_json {
        request.format = match reader.schema {
            Some(schema) => Format::Schema { name: None, description: None, schema, strict: None },
            None => Format::Json,
        };
    }
    Ok(request)
}

/// What the ids hold that are made up for calls without one.
pub(super) const MADE_UP: &str = "gemcall_";

#[derive(Default)]
struct Reader<'b> {
    trail: Trail,
    request: Request<'b>,
    system: Option<Turn<'b>>,
    /// Calls without a result so far: id and name.
    open: Vec<(Str<'b>, Str<'b>)>,
    wants_json: bool,
    has_logprobs: bool,
    schema: Option<Json<'b>>,
    has_cached_content: bool,
}

/// A part as it is read: which member is its content cannot be told before its end.
#[derive(Default)]
struct ReadPart<'b> {
    content: Option<Content<'b>>,
    is_thought: bool,
    signature: Option<Str<'b>>,
}

enum Content<'b> {
    Part(Part<'b>),
    Call { id: Option<Str<'b>>, name: Str<'b>, input: Input<'b> },
}

impl<'b> Reader<'b> {
    fn read(&mut self, body: &'b [u8]) -> Result<()> {
        let mut cursor = Cursor::new(body)?;
        cursor.object(|key, cursor| self.member(key, cursor))?;
        cursor.end()
    }

    fn member(&mut self, key: RawStr<'b>, cursor: &mut Cursor<'b>) -> Result<()> {
        if cursor.null()? {
            return Ok(());
        }
        match &*camel(&key) {
            "contents" => self.within("contents", cursor, Reader::contents),
            "systemInstruction" => self.within("systemInstruction", cursor, Reader::system),
            "tools" => self.within("tools", cursor, |reader, cursor| {
                tools::read(&mut reader.request, &mut reader.trail, cursor)
            }),
            "toolConfig" => self.within("toolConfig", cursor, |reader, cursor| {
                tools::read_choice(&mut reader.request, cursor)
            }),
            "generationConfig" => self.within("generationConfig", cursor, Reader::config),
            "serviceTier" if cursor.kind()? == Kind::String => {
                self.request.service_tier = Some(cursor.string()?.into());
                Ok(())
            }
            "cachedContent" => {
                self.has_cached_content = true;
                cursor.skip().map(drop)
            }
            // The path says it, and a body that says it again says the same.
            "model" => cursor.skip().map(drop),
            name => {
                self.request.unmapped.add_outside(name);
                cursor.skip().map(drop)
            }
        }
    }

    /// Reads with the place `name` on the trail.
    fn within(
        &mut self,
        name: &'static str,
        cursor: &mut Cursor<'b>,
        read: impl FnOnce(&mut Self, &mut Cursor<'b>) -> Result<()>,
    ) -> Result<()> {
        self.trail.field(name);
        read(self, cursor)?;
        self.trail.back();
        Ok(())
    }

    fn contents(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        each(cursor, |index, cursor| {
            self.trail.index(index);
            let (role, parts) = self.content(index, cursor)?;
            self.trail.back();
            self.request.turns.push(Turn { role, parts, name: None, index: index as u32 });
            Ok(())
        })
    }

    fn system(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let parts = match cursor.kind()? {
            Kind::String => vec![Part::Text(cursor.string()?.into())],
            _ => self.content(0, cursor)?.1,
        };
        if !parts.is_empty() {
            self.system = Some(Turn { role: Role::System, parts, name: None, index: 0 });
        }
        Ok(())
    }

    fn content(&mut self, index: usize, cursor: &mut Cursor<'b>) -> Result<(Role, Vec<Part<'b>>)> {
        let mut role = Role::User;
        let mut parts = Vec::new();
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match key.bytes {
                b"role" => {
                    self.trail.field("role");
                    let wrong = wrong(cursor, "\"user\" or \"model\"");
                    role = match &*cursor.string()?.text() {
                        "model" => Role::Assistant,
                        // What results of calls came under once, and what nobody needs to say.
                        "user" | "function" | "system" | "" => Role::User,
                        _ => return Err(wrong),
                    };
                    self.trail.back();
                }
                b"parts" => {
                    self.trail.field("parts");
                    each(cursor, |part, cursor| {
                        self.trail.index(part);
                        parts.push(self.part(cursor)?);
                        self.trail.back();
                        Ok(())
                    })?;
                    self.trail.back();
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let parts = match role {
            Role::Assistant => self.spoken(index, parts),
            _ => self.heard(parts, cursor)?,
        };
        Ok((role, parts))
    }

    fn part(&mut self, cursor: &mut Cursor<'b>) -> Result<ReadPart<'b>> {
        let mut part = ReadPart::default();
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            let content = match &*camel(&key) {
                "text" => {
                    self.trail.field("text");
                    let text = Part::Text(cursor.string()?.into());
                    self.trail.back();
                    Content::Part(text)
                }
                "inlineData" => {
                    self.trail.field("inlineData");
                    let blob = read_blob(cursor)?;
                    self.trail.back();
                    Content::Part(blob)
                }
                "fileData" => {
                    self.trail.field("fileData");
                    let file = read_file(cursor)?;
                    self.trail.back();
                    Content::Part(file)
                }
                "functionCall" => {
                    self.trail.field("functionCall");
                    let call = read_call(cursor)?;
                    self.trail.back();
                    Content::Call { id: call.id, name: call.name, input: call.input }
                }
                "functionResponse" => {
                    self.trail.field("functionResponse");
                    let result = self.result(cursor)?;
                    self.trail.back();
                    Content::Part(result)
                }
                // What Google ran itself is told as text.
                "executableCode" => Content::Part(Part::Text(fenced(&member(cursor, b"code")?))),
                "codeExecutionResult" => {
                    Content::Part(Part::Text(fenced(&member(cursor, b"output")?)))
                }
                "thought" => {
                    part.is_thought = cursor.bool()?;
                    return Ok(());
                }
                "thoughtSignature" => {
                    part.signature = Some(cursor.string()?.into());
                    return Ok(());
                }
                name @ ("videoMetadata" | "mediaResolution" | "partMetadata") => {
                    self.request.unmapped.add_outside(&format!("parts.{name}"));
                    return cursor.skip().map(drop);
                }
                _ => return cursor.skip().map(drop),
            };
            if part.content.replace(content).is_some() {
                return Err(wrong(cursor, "a part with one content"));
            }
            Ok(())
        })?;
        if part.content.is_none() && part.signature.is_none() {
            return Err(wrong(
                cursor,
                "a part with one of text, inlineData, fileData, functionCall, functionResponse",
            ));
        }
        Ok(part)
    }

    /// The parts of the model's turn. What a call's signature carries is the whole reasoning of
    /// another provider, so words beside it are only its echo.
    fn spoken(&mut self, index: usize, parts: Vec<ReadPart<'b>>) -> Vec<Part<'b>> {
        let mut spoken: Vec<Part<'b>> = Vec::with_capacity(parts.len() + 1);
        let mut run_start = 0;
        for (at, ReadPart { content, is_thought, signature }) in parts.into_iter().enumerate() {
            let signature = signature.map_or(Signature::None, state::read);
            match (content, is_thought) {
                (Some(Content::Part(Part::Text(text))), true) => {
                    let state = match signature {
                        Signature::Own(state) => Some(state),
                        _ => None,
                    };
                    spoken.push(Part::Reasoning(Reasoning { text, state }));
                }
                (Some(Content::Call { id, name, input }), _) => {
                    let (carried, state) = match signature {
                        Signature::Carried(mut carried) => {
                            let state = carried.call.take();
                            (carried, state)
                        }
                        Signature::Own(state) => (carry::Carried::default(), Some(state)),
                        Signature::None => (carry::Carried::default(), None),
                    };
                    put_back(&mut spoken, run_start, carried);
                    let id = id.unwrap_or_else(|| made_up(index, at));
                    self.open.push((id.clone(), name.clone()));
                    spoken.push(Part::Call(Call { id, name, namespace: None, input, state }));
                    run_start = spoken.len();
                }
                (content, _) => {
                    let is_empty = matches!(&content, Some(Content::Part(Part::Text(text))) if text.is_empty());
                    if let Some(Content::Part(part)) = content
                        && !is_empty
                    {
                        spoken.push(part);
                    }
                    // A signature of what was said stands behind it.
                    if let Signature::Own(state) = signature {
                        let text = Str::EMPTY;
                        spoken.push(Part::Reasoning(Reasoning { text, state: Some(state) }));
                    }
                }
            }
        }
        spoken
    }

    /// The parts of the user's turn.
    fn heard(&mut self, parts: Vec<ReadPart<'b>>, cursor: &Cursor<'b>) -> Result<Vec<Part<'b>>> {
        let mut heard = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            match part.content {
                Some(Content::Part(part)) => heard.push(part),
                Some(Content::Call { .. }) => {
                    self.trail.field("parts");
                    self.trail.index(at);
                    return Err(wrong(cursor, "no functionCall: calls are the model's"));
                }
                None => {}
            }
        }
        Ok(heard)
    }

    fn result(&mut self, cursor: &mut Cursor<'b>) -> Result<Part<'b>> {
        let (mut id, mut name): (Option<Str<'b>>, Option<Str<'b>>) = (None, None);
        let mut said = (Str::EMPTY, false);
        let mut media = Vec::new();
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match &*camel(&key) {
                "id" => id = Some(cursor.string()?.into()).filter(|id: &Str<'_>| !id.is_empty()),
                "name" => name = Some(cursor.string()?.into()),
                "response" => said = read_response(cursor)?,
                "parts" => {
                    each(cursor, |_, cursor| {
                        cursor.object(|key, cursor| {
                            match &*camel(&key) {
                                "inlineData" => media.push(read_blob(cursor)?),
                                "fileData" => media.push(read_file(cursor)?),
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
        let Some(name) = name else { return Err(wrong(cursor, "the result of a named function")) };
        // By its id, else the first call of that function that waits for a result.
        let by_id = id.and_then(|id| self.open.iter().position(|(open, _)| *open == id));
        let by_name = || self.open.iter().position(|(_, open)| *open == name);
        let Some(at) = by_id.or_else(by_name) else {
            let expected = "the result of a functionCall that stands before it";
            return Err(cursor.error(JsonErrorKind::WrongType(expected)));
        };
        let (id, _) = self.open.remove(at);
        let (text, is_error) = said;
        let mut parts = vec![Part::Text(text)];
        parts.append(&mut media);
        Ok(Part::Result(CallResult { id, parts, is_error }))
    }

    fn config(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let mut json_schema = None;
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            let name = camel(&key);
            let Some(&known) = CONFIG.iter().find(|known| **known == name) else {
                self.request.unmapped.add_outside(&format!("generationConfig.{name}"));
                return cursor.skip().map(drop);
            };
            self.trail.field(known);
            match known {
                "responseSchema" => self.schema = super::schema::from_google(cursor.raw()?),
                "responseJsonSchema" => json_schema = Some(Json::checked(cursor.raw()?)),
                _ => self.setting(known, cursor)?,
            }
            self.trail.back();
            Ok(())
        })?;
        self.schema = json_schema.or(self.schema.take());
        let count = self.request.logprobs.take().unwrap_or(0);
        self.request.logprobs = self.has_logprobs.then_some(count);
        Ok(())
    }

    fn setting(&mut self, name: &'static str, cursor: &mut Cursor<'b>) -> Result<()> {
        let request = &mut self.request;
        let sampling = &mut request.sampling;
        match name {
            "temperature" => sampling.temperature = Some(cursor.number()?),
            "topP" => sampling.top_p = Some(cursor.number()?),
            "topK" => sampling.top_k = Some(cursor.number()?),
            "presencePenalty" => sampling.presence_penalty = Some(cursor.number()?),
            "frequencyPenalty" => sampling.frequency_penalty = Some(cursor.number()?),
            "seed" => sampling.seed = Some(cursor.number()?),
            "maxOutputTokens" => {
                let limit = whole_number(cursor, "a whole number of tokens")?;
                request.max_output = Some(u32::try_from(limit).unwrap_or(u32::MAX));
            }
            "candidateCount" => {
                request.alternatives = whole_number(cursor, "a whole number")? as u32;
            }
            "stopSequences" => {
                cursor.array(|cursor| {
                    request.stop.push(cursor.string()?.into());
                    Ok(())
                })?;
            }
            "responseMimeType" => match &*cursor.string()?.text() {
                "application/json" => self.wants_json = true,
                "text/plain" | "" => {}
                _ => request.unmapped.add("generationConfig.responseMimeType"),
            },
            "responseModalities" => {
                each(cursor, |_, cursor| {
                    let is_text = cursor.string()?.text().eq_ignore_ascii_case("text");
                    request.unmapped.add_if(!is_text, "generationConfig.responseModalities");
                    Ok(())
                })?;
            }
            "responseLogprobs" => self.has_logprobs = cursor.bool()?,
            "logprobs" => {
                request.logprobs = Some(whole_number(cursor, "a whole number")?.min(20) as u32);
            }
            _ => self.thinking(cursor)?,
        }
        Ok(())
    }

    fn thinking(&mut self, cursor: &mut Cursor<'b>) -> Result<()> {
        let thinking = &mut self.request.thinking;
        cursor.object(|key, cursor| {
            if cursor.null()? {
                return Ok(());
            }
            match &*camel(&key) {
                "includeThoughts" => thinking.shown = Some(cursor.bool()?),
                "thinkingBudget" => {
                    let wrong = wrong(cursor, "a whole number of tokens, or -1");
                    match cursor.number()?.parse::<i64>() {
                        Ok(0) => thinking.mode = ThinkingMode::Off,
                        Ok(-1) => thinking.mode = ThinkingMode::Adaptive,
                        Ok(tokens @ 1..) => {
                            thinking.mode = ThinkingMode::On;
                            thinking.budget = Some(u32::try_from(tokens).unwrap_or(u32::MAX));
                        }
                        _ => return Err(wrong),
                    }
                }
                "thinkingLevel" => {
                    let wrong = wrong(cursor, "one of MINIMAL, LOW, MEDIUM, HIGH");
                    let level = cursor.string()?.text().to_ascii_lowercase();
                    if level != "thinking_level_unspecified" {
                        thinking.effort = Some(Effort::from_name(&level).ok_or(wrong)?);
                    }
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// The members of `generationConfig` that have a neutral form.
const CONFIG: &[&str] = &[
    "temperature",
    "topP",
    "topK",
    "presencePenalty",
    "frequencyPenalty",
    "seed",
    "maxOutputTokens",
    "candidateCount",
    "stopSequences",
    "responseMimeType",
    "responseModalities",
    "responseLogprobs",
    "logprobs",
    "responseSchema",
    "responseJsonSchema",
    "thinkingConfig",
];

/// The id of a call in a history that has none: the same each time the history comes.
fn made_up(content: usize, part: usize) -> Str<'static> {
    Str::from_text(&format!("{MADE_UP}{content}_{part}"))
}

/// Puts the reasoning that a call carried to where it was said, and takes its echo away.
fn put_back<'b>(spoken: &mut Vec<Part<'b>>, run_start: usize, carried: carry::Carried<'static>) {
    if carried.reasoning.is_empty() {
        return;
    }
    let run = spoken.split_off(run_start);
    let mut blocks = carried.reasoning.into_iter().map(Part::Reasoning);
    spoken.extend(blocks.by_ref().take(carried.before_text.into()));
    let is_echo = |part: &Part<'_>| matches!(part, Part::Reasoning(Reasoning { state: None, .. }));
    spoken.extend(run.into_iter().filter(|part| !is_echo(part)));
    spoken.extend(blocks);
}

/// A `functionCall` as both requests and answers write it.
pub(super) struct ReadCall<'b> {
    pub(super) id: Option<Str<'b>>,
    pub(super) name: Str<'b>,
    pub(super) input: Input<'b>,
}

pub(super) fn read_call<'b>(cursor: &mut Cursor<'b>) -> Result<ReadCall<'b>> {
    let (mut id, mut name) = (None, None);
    let mut input = Input::Object(Json::checked(&b"{}"[..]));
    cursor.object(|key, cursor| {
        match (key.bytes, cursor.kind()?) {
            (_, Kind::Null) => drop(cursor.skip()?),
            (b"id", _) => id = Some(Str::from(cursor.string()?)).filter(|id| !id.is_empty()),
            (b"name", _) => name = Some(Str::from(cursor.string()?)),
            (b"args", Kind::Object) => input = Input::Object(Json::checked(cursor.raw()?)),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    match name {
        Some(name) => Ok(ReadCall { id, name, input }),
        None => Err(wrong(cursor, "a call with a name")),
    }
}

/// Reads `inlineData`.
fn read_blob<'b>(cursor: &mut Cursor<'b>) -> Result<Part<'b>> {
    let (mut mime, mut data, mut name) = (None, None, None);
    cursor.object(|key, cursor| {
        match (&*camel(&key), cursor.kind()?) {
            ("mimeType", Kind::String) => mime = Some(Str::from(cursor.string()?)),
            ("data", Kind::String) => data = Some(standard_base64(cursor.string()?.into())),
            ("displayName", Kind::String) => name = Some(Str::from(cursor.string()?)),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    match (mime, data) {
        (Some(mime), Some(data)) => {
            let media = Media::of(&mime.text());
            Ok(media_part(media, Source::Base64 { mime, data }, name))
        }
        _ => Err(wrong(cursor, "an object with mimeType and data")),
    }
}

/// Reads `fileData`.
fn read_file<'b>(cursor: &mut Cursor<'b>) -> Result<Part<'b>> {
    let (mut mime, mut uri, mut name) = (None, None, None);
    cursor.object(|key, cursor| {
        match (&*camel(&key), cursor.kind()?) {
            ("mimeType", Kind::String) => mime = Some(Media::of(&cursor.string()?.text())),
            ("fileUri", Kind::String) => uri = Some(Str::from(cursor.string()?)),
            ("displayName", Kind::String) => name = Some(Str::from(cursor.string()?)),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    let Some(uri) = uri else { return Err(wrong(cursor, "an object with a fileUri")) };
    let by_ending = || mime_of_url(&uri.text()).map(Media::of);
    let media = mime.or_else(by_ending).unwrap_or(Media::Other);
    Ok(media_part(media, source_of_uri(uri), name))
}

fn media_part<'b>(media: Media, source: Source<'b>, name: Option<Str<'b>>) -> Part<'b> {
    match media {
        Media::Image => Part::Image { source, detail: None },
        Media::Audio => Part::Audio(source),
        Media::Video | Media::Pdf | Media::Other => Part::File { source, name },
    }
}

/// Members under which the text of a result is wrapped, since it must be an object here.
const WRAPS: [&str; 3] = ["result", "output", "error"];

/// Reads what a function gave: the text inside of its wrap, else the object as text; and whether it
/// failed.
fn read_response<'b>(cursor: &mut Cursor<'b>) -> Result<(Str<'b>, bool)> {
    if cursor.kind()? != Kind::Object {
        return Err(wrong(cursor, "an object"));
    }
    let whole = cursor.clone().raw()?;
    let mut members = 0;
    let mut wrapped = None;
    cursor.object(|key, cursor| {
        members += 1;
        let wrap = WRAPS.iter().find(|wrap| key.is(wrap));
        match (wrap, cursor.kind()?) {
            (Some(&wrap), Kind::String) => {
                wrapped = Some((cursor.string()?.into(), wrap == "error"))
            }
            (Some(&wrap), _) => wrapped = Some((as_text(cursor.raw()?), wrap == "error")),
            (None, _) => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok(wrapped.filter(|_| members == 1).unwrap_or_else(|| (as_text(whole), false)))
}

fn as_text(json: &[u8]) -> Str<'static> {
    Str::from_text(&String::from_utf8_lossy(json))
}

/// The string member of that name; empty when there is none.
pub(super) fn member<'b>(cursor: &mut Cursor<'b>, name: &[u8]) -> Result<Str<'b>> {
    let mut found = Str::EMPTY;
    cursor.object(|key, cursor| {
        match key.bytes == name && cursor.kind()? == Kind::String {
            true => found = cursor.string()?.into(),
            false => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    Ok(found)
}

/// Code, or what it printed, as text.
pub(super) fn fenced(text: &Str<'_>) -> Str<'static> {
    Str::escaped_from([b"```\\n", text.escaped(), b"\\n```\\n"].concat())
}

/// The state of a signature in an answer, which is always the provider's own.
pub(super) fn answered(
    signature: Option<Str<'_>>,
    issuer: crate::chat::Issuer,
) -> Option<State<'_>> {
    signature.filter(|data| !data.is_empty()).map(|data| state::own(data, issuer))
}

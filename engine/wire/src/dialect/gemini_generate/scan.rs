//! The few facts of a client's request, for the hot path: one pass, nothing copied.
//!
//! The model and whether the answer is streamed stand in the path and not in the body, so the caller
//! knows them and fills them in.

use super::form::{Media, Result, camel, each, mime_of_url, whole_number, wrong};
use super::state;
use crate::chat::Trail;
use crate::json::{Cursor, JsonErrorKind, Kind, Patch, RawStr};
use crate::refusal::{self, Refusal};
use crate::request::{Parsed, Shape, TURN_PIECES_MAX, Text};
use arrayvec::ArrayVec;
use models::{Capabilities, Dialect};

/// Reads a whole request body.
pub(super) fn read(body: &[u8]) -> std::result::Result<Parsed, Refusal> {
    let mut reader = Reader::default();
    match reader.read(body) {
        Ok(()) => reader.finish(),
        Err(error) => Err(reader.trail.refusal(&error)),
    }
}

/// The members of the outermost object that we act upon. Each may stand once, in any spelling.
const MEMBERS: &[&str] = &[
    "contents",
    "systemInstruction",
    "tools",
    "generationConfig",
    "toolConfig",
    "cachedContent",
    "generateContentRequest",
];

#[derive(Default)]
struct Reader {
    trail: Trail,
    seen: u32,
    has_contents: bool,
    contents: u32,
    needs: Capabilities,
    shape: Shape,
    max_output: Option<u64>,
    alternatives: Option<u64>,
    system: Option<Text>,
    last_user: ArrayVec<Text, TURN_PIECES_MAX>,
    cuts: Vec<Patch<'static>>,
    inside: u32,
}

/// What one content holds.
#[derive(Default)]
struct Content {
    pieces: ArrayVec<Text, TURN_PIECES_MAX>,
    text_bytes: u32,
    results: u32,
    is_model: bool,
}

impl Content {
    fn add(&mut self, text: RawStr<'_>) {
        self.text_bytes = self.text_bytes.saturating_add(text.span.len() as u32);
        // What does not fit is not classified, but it is passed on.
        let _ = self.pieces.try_push(text.into());
    }

    fn add_bytes(&mut self, bytes: usize) {
        self.text_bytes = self.text_bytes.saturating_add(bytes as u32);
    }
}

impl Reader {
    fn read(&mut self, body: &[u8]) -> Result<()> {
        let mut cursor = Cursor::new(body)?;
        cursor.kind()?;
        self.inside = cursor.offset() as u32 + 1;
        cursor.object(|key, cursor| self.member(key, cursor))?;
        cursor.end()
    }

    fn member<'b>(&mut self, key: RawStr<'b>, cursor: &mut Cursor<'b>) -> Result<()> {
        let name = camel(&key);
        let Some(index) = MEMBERS.iter().position(|known| *known == name) else {
            return cursor.skip().map(drop);
        };
        let known = MEMBERS[index];
        self.trail.field(known);
        if self.seen & (1 << index) != 0 {
            return Err(cursor.error(JsonErrorKind::RepeatedKey(known)));
        }
        self.seen |= 1 << index;
        match known {
            _ if known != "contents" && cursor.null()? => {}
            "contents" => self.contents(cursor)?,
            "systemInstruction" => self.system(cursor)?,
            "tools" => self.tools(cursor)?,
            "generationConfig" => self.config(cursor)?,
            // What is to be counted may be a whole request.
            "generateContentRequest" => {
                cursor.object(|key, cursor| self.member(key, cursor))?;
            }
            _ => drop(cursor.skip()?),
        }
        self.trail.back();
        Ok(())
    }

    fn contents(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        self.has_contents = true;
        each(cursor, |index, cursor| {
            self.trail.index(index);
            let before = (self.shape.images, self.shape.audio + self.shape.files);
            let content = self.content(cursor)?;
            let shape = &mut self.shape;
            shape.messages += 1;
            self.contents += 1;
            shape.text_bytes = shape.text_bytes.saturating_add(content.text_bytes);
            shape.tool_results += content.results;
            shape.ends_with_tool_result = content.results > 0;
            if !content.is_model && content.results == 0 {
                shape.user_turns += 1;
                shape.turn_images = shape.images - before.0;
                shape.turn_media = shape.audio + shape.files - before.1;
                self.last_user = content.pieces;
            }
            self.trail.back();
            Ok(())
        })
    }

    fn system(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        // Some clients write the text itself.
        let content = match cursor.kind()? {
            Kind::String => {
                let mut content = Content::default();
                content.add(cursor.string()?);
                content
            }
            _ => self.content(cursor)?,
        };
        self.shape.messages += 1;
        self.shape.system_bytes = content.text_bytes;
        self.shape.text_bytes = self.shape.text_bytes.saturating_add(content.text_bytes);
        self.system = content.pieces.first().copied();
        Ok(())
    }

    fn content(&mut self, cursor: &mut Cursor<'_>) -> Result<Content> {
        let mut content = Content::default();
        let (mut has_role, mut has_parts) = (false, false);
        cursor.object(|key, cursor| {
            match key.bytes {
                b"role" => {
                    self.trail.field("role");
                    if std::mem::replace(&mut has_role, true) {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey("role")));
                    }
                    if !cursor.null()? {
                        let expected = "\"user\" or \"model\"";
                        let wrong = wrong(cursor, expected);
                        content.is_model = match &*cursor.string()?.text() {
                            "model" => true,
                            "user" | "function" | "system" | "" => false,
                            _ => return Err(wrong),
                        };
                    }
                    self.trail.back();
                }
                b"parts" => {
                    self.trail.field("parts");
                    if std::mem::replace(&mut has_parts, true) {
                        return Err(cursor.error(JsonErrorKind::RepeatedKey("parts")));
                    }
                    if !cursor.null()? {
                        each(cursor, |index, cursor| {
                            self.trail.index(index);
                            self.part(&mut content, cursor)?;
                            self.trail.back();
                            Ok(())
                        })?;
                    }
                    self.trail.back();
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(content)
    }

    fn part(&mut self, content: &mut Content, cursor: &mut Cursor<'_>) -> Result<()> {
        cursor.object(|key, cursor| {
            match (&*camel(&key), cursor.kind()?) {
                (_, Kind::Null) => drop(cursor.skip()?),
                ("text", _) => {
                    self.trail.field("text");
                    content.add(cursor.string()?);
                    self.trail.back();
                }
                ("inlineData" | "fileData", Kind::Object) => self.media(cursor)?,
                ("thoughtSignature", Kind::String) => {
                    let signature = cursor.string()?;
                    // State of another provider, which Google could not read.
                    if signature.bytes.starts_with(state::OUR_PREFIX) {
                        let with = state::NO_SIGNATURE.as_bytes();
                        self.cuts.push(Patch { span: signature.span, with });
                    }
                }
                ("functionCall", _) => content.add_bytes(cursor.skip()?.len()),
                ("functionResponse", _) => {
                    content.results += 1;
                    content.add_bytes(cursor.skip()?.len());
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn media(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let (mut mime, mut by_uri) = (None, None);
        cursor.object(|key, cursor| {
            match (&*camel(&key), cursor.kind()?) {
                ("mimeType", Kind::String) => mime = Some(Media::of(&cursor.string()?.text())),
                ("fileUri", Kind::String) => {
                    by_uri = mime_of_url(&cursor.string()?.text()).map(Media::of);
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let media = mime.or(by_uri).unwrap_or(Media::Other);
        self.needs |= media.needs();
        match media {
            Media::Image => self.shape.images += 1,
            Media::Audio => self.shape.audio += 1,
            Media::Video | Media::Pdf | Media::Other => self.shape.files += 1,
        }
        Ok(())
    }

    fn tools(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let start = {
            cursor.kind()?;
            cursor.offset()
        };
        let mut count = 0u32;
        each(cursor, |index, cursor| {
            self.trail.index(index);
            cursor.object(|key, cursor| {
                match (&*camel(&key), cursor.kind()?) {
                    ("functionDeclarations", Kind::Object | Kind::Array) => {
                        each(cursor, |_, cursor| {
                            count += 1;
                            cursor.skip().map(drop)
                        })?;
                    }
                    _ => drop(cursor.skip()?),
                }
                Ok(())
            })?;
            self.trail.back();
            Ok(())
        })?;
        self.shape.tools = count;
        self.shape.tools_bytes = (cursor.offset() - start) as u32;
        if count > 0 {
            self.needs |= Capabilities::TOOLS;
        }
        Ok(())
    }

    fn config(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let mut seen = ArrayVec::<&'static str, 3>::new();
        cursor.object(|key, cursor| {
            let name = camel(&key);
            let acted_upon = ["maxOutputTokens", "candidateCount", "responseMimeType"];
            if let Some(known) = acted_upon.into_iter().find(|known| *known == name) {
                if seen.contains(&known) {
                    return Err(cursor.error(JsonErrorKind::RepeatedKey(known)));
                }
                let _ = seen.try_push(known);
            }
            match (&*name, cursor.kind()?) {
                (_, Kind::Null) => drop(cursor.skip()?),
                ("maxOutputTokens", _) => {
                    self.trail.field("maxOutputTokens");
                    self.max_output = Some(whole_number(cursor, "a whole number of tokens")?);
                    self.trail.back();
                }
                ("candidateCount", _) => {
                    self.trail.field("candidateCount");
                    self.alternatives = Some(whole_number(cursor, "a whole number")?);
                    self.trail.back();
                }
                ("responseMimeType", Kind::String) => {
                    self.shape.json_object |= cursor.string()?.is("application/json");
                }
                ("responseSchema" | "responseJsonSchema", _) => {
                    self.shape.json_schema = true;
                    cursor.skip()?;
                }
                ("responseModalities", Kind::Array) => {
                    cursor.array(|cursor| {
                        match cursor.kind()? {
                            Kind::String if cursor.string()?.is("AUDIO") => {
                                self.needs |= Capabilities::AUDIO_OUT;
                            }
                            Kind::String => {}
                            _ => drop(cursor.skip()?),
                        }
                        Ok(())
                    })?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        if self.shape.json_schema {
            self.shape.json_object = false;
            self.needs |= Capabilities::JSON_SCHEMA;
        }
        Ok(())
    }

    fn finish(self) -> std::result::Result<Parsed, Refusal> {
        let invalid = |field: &'static str, message: &'static str| {
            Refusal::new(refusal::Kind::BadField).with_message(message).with_param(field)
        };
        if !self.has_contents {
            return Err(Refusal::new(refusal::Kind::MissingField)
                .with_message(
                    "\"contents\" is missing: send the conversation as an array of contents",
                )
                .with_param("contents"));
        }
        if self.contents == 0 {
            return Err(invalid("contents", "\"contents\" is empty: send at least one content"));
        }
        if self.max_output == Some(0) {
            return Err(invalid(
                "generationConfig.maxOutputTokens",
                "the output limit must be at least 1 token",
            ));
        }
        let alternatives = self.alternatives.unwrap_or(1);
        let many = if alternatives > 1 { Capabilities::ALTERNATIVES } else { Capabilities::NONE };
        if !(1..=128).contains(&alternatives) {
            return Err(invalid(
                "generationConfig.candidateCount",
                "\"candidateCount\" must be between 1 and 128",
            ));
        }
        Ok(Parsed {
            dialect: Dialect::GeminiGenerate,
            model: Text::default(),
            stream: false,
            usage_in_stream: true,
            stream_options: None,
            include_usage: None,
            max_output: self.max_output.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
            max_output_member: None,
            alternatives: alternatives as u32,
            needs: self.needs | many,
            shape: self.shape,
            system: self.system,
            last_user: self.last_user,
            inside: self.inside,
            cuts: self.cuts,
        })
    }
}

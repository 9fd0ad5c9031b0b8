//! Small things that all parts of the dialect share: two spellings of each name, lists that may be
//! single values, media types, and what the reasons of an end mean.
//!
//! In: a cursor at a value. Out: the value. Never: a meaning that depends on more than it stands in.

use crate::chat::{Finish, Issuer, Source, Str};
use crate::json::{Cursor, JsonError, JsonErrorKind, Kind, RawStr};
use models::{Capabilities, Dialect};
use std::borrow::Cow;

pub(super) type Result<T> = std::result::Result<T, JsonError>;

/// A member's name in camel case. Requests may also write it in snake case, as the JSON form of
/// protocol buffers allows; answers never do.
pub(super) fn camel<'k>(key: &RawStr<'k>) -> Cow<'k, str> {
    let name = key.text();
    if !name.contains('_') {
        return name;
    }
    let mut camel = String::with_capacity(name.len());
    let mut raises = false;
    for character in name.chars() {
        match character {
            '_' => raises = !camel.is_empty(),
            _ if std::mem::take(&mut raises) => camel.push(character.to_ascii_uppercase()),
            _ => camel.push(character),
        }
    }
    Cow::Owned(camel)
}

/// Reads a list. A single object in its place is taken for a list of one, as Google takes it.
pub(super) fn each<'b>(
    cursor: &mut Cursor<'b>,
    mut element: impl FnMut(usize, &mut Cursor<'b>) -> Result<()>,
) -> Result<()> {
    if cursor.kind()? == Kind::Object {
        return element(0, cursor);
    }
    let mut index = 0;
    cursor.array(|cursor| {
        element(index, cursor)?;
        index += 1;
        Ok(())
    })?;
    Ok(())
}

/// Reads a whole number, which may stand in quotes.
pub(super) fn whole_number(cursor: &mut Cursor<'_>, expected: &'static str) -> Result<u64> {
    if cursor.kind()? != Kind::String {
        return cursor.unsigned(expected);
    }
    let wrong = cursor.error(JsonErrorKind::WrongType(expected));
    cursor.string()?.text().parse().map_err(|_| wrong)
}

pub(super) fn wrong(cursor: &Cursor<'_>, expected: &'static str) -> JsonError {
    cursor.error(JsonErrorKind::WrongType(expected))
}

/// What kind of thing a media type names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Image,
    Audio,
    Video,
    Pdf,
    Other,
}

impl Media {
    pub(super) fn of(mime: &str) -> Media {
        match mime.split('/').next().unwrap_or_default() {
            "image" => Media::Image,
            "audio" => Media::Audio,
            "video" => Media::Video,
            _ if mime == "application/pdf" => Media::Pdf,
            _ => Media::Other,
        }
    }

    /// What a model must be able to do with it.
    pub(super) fn needs(self) -> Capabilities {
        match self {
            Media::Image => Capabilities::VISION,
            Media::Audio => Capabilities::AUDIO_IN,
            Media::Video => Capabilities::VIDEO_IN,
            Media::Pdf => Capabilities::PDF_IN,
            Media::Other => Capabilities::NONE,
        }
    }
}

/// Endings of addresses and the media types that they stand for, where nobody says more.
const ENDINGS: &[(&str, &str)] = &[
    (".png", "image/png"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".webp", "image/webp"),
    (".gif", "image/gif"),
    (".heic", "image/heic"),
    (".pdf", "application/pdf"),
    (".mp3", "audio/mpeg"),
    (".wav", "audio/wav"),
    (".mp4", "video/mp4"),
    (".txt", "text/plain"),
];

/// The media type that an address ends in.
pub(super) fn mime_of_url(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    ENDINGS.iter().find(|(ending, _)| path.ends_with(ending)).map(|(_, mime)| *mime)
}

/// Addresses that nobody but Google can read.
const OWN_ADDRESSES: [&str; 2] = ["gs://", "https://generativelanguage.googleapis.com/"];

/// Where a file is.
pub(super) fn source_of_uri(uri: Str<'_>) -> Source<'_> {
    match OWN_ADDRESSES.iter().any(|own| uri.escaped().starts_with(own.as_bytes())) {
        true => Source::Id(Issuer::any(Dialect::GeminiGenerate), uri),
        false => Source::Url(uri),
    }
}

/// Base 64 in the standard alphabet and padded, as all other dialects want it. Google's own SDKs send
/// the alphabet for addresses.
pub(super) fn standard_base64(data: Str<'_>) -> Str<'_> {
    let bytes = data.escaped();
    if memchr::memchr3(b'-', b'_', b'\\', bytes).is_none() && bytes.len().is_multiple_of(4) {
        return data;
    }
    let mut standard: Vec<u8> = data.text().bytes().collect();
    for byte in &mut standard {
        match byte {
            b'-' => *byte = b'+',
            b'_' => *byte = b'/',
            _ => {}
        }
    }
    while !standard.len().is_multiple_of(4) {
        standard.push(b'=');
    }
    // Nothing of the alphabet needs an escape; what is none of it is escaped as text.
    Str::from_text(&String::from_utf8_lossy(&standard))
}

/// Why an answer ended, or that it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Finish(Finish),
    /// The model made a mess of it; another attempt may do better.
    Failed,
}

/// The reasons by name. One that nobody knows is taken for the plain end that it mostly is.
pub(super) fn ending_of(name: &str) -> Ending {
    Ending::Finish(match name {
        "MAX_TOKENS" => Finish::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" => Finish::Filter,
        "NO_IMAGE" => Finish::Filter,
        _ if name.starts_with("IMAGE_") => Finish::Filter,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => {
            return Ending::Failed;
        }
        "MISSING_THOUGHT_SIGNATURE" | "MALFORMED_RESPONSE" | "OTHER" | "LANGUAGE" => {
            return Ending::Failed;
        }
        _ => Finish::Stop,
    })
}

/// The name of a reason. Calls of functions end as a plain answer does.
pub(super) fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::Calls | Finish::Pause => "STOP",
        Finish::Length | Finish::Context => "MAX_TOKENS",
        Finish::Filter | Finish::Refusal => "SAFETY",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_name() {
        let rows = [
            ("contents", "contents"),
            ("system_instruction", "systemInstruction"),
            ("systemInstruction", "systemInstruction"),
            ("parameters_json_schema", "parametersJsonSchema"),
            ("_private", "private"),
        ];
        for (given, name) in rows {
            let text = format!("\"{given}\"");
            let mut cursor = Cursor::new(text.as_bytes()).unwrap();
            assert_eq!(camel(&cursor.string().unwrap()), name);
        }
    }

    #[test]
    fn both_alphabets_become_the_standard_one() {
        for (given, standard) in
            [("-_8", "+/8="), ("AAAA", "AAAA"), ("AA", "AA=="), ("AA==", "AA==")]
        {
            assert_eq!(standard_base64(Str::plain(given)).text(), standard);
        }
    }
}

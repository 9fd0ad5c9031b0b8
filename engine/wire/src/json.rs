//! JSON as spans: one strict pass over untrusted bytes that finds what we act upon and leaves the
//! rest where it is, so that a body goes upstream as it came.
//!
//! In: UTF-8 bytes. Out: spans, small numbers, and patched copies. Never: a tree of a whole
//! request, recursion, or a guess: what RFC 8259 does not allow is an error with its offset.
//!
//! [`Cursor`] is a pull reader. A caller names the members it wants and skips the others with
//! [`Cursor::skip`], which still checks every byte. Depth is counted against [`DEPTH_MAX`] and kept
//! in the bits of one integer, so the stack is constant whatever a peer sends.
//!
//! `simd-json` builds the small trees ([`Document`]) where a shape is not known beforehand, as in a
//! provider's error object. Its tape has no byte offsets, which is why spans come from here.

use std::borrow::Cow;

pub mod write;

/// Deepest nesting of arrays and objects that we read.
pub const DEPTH_MAX: u32 = 128;

/// Bytes `start..end` of the text that was read. `u32` because every body limit is far below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes of this span in the text that it came from.
    pub fn of<'b>(&self, text: &'b [u8]) -> &'b [u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the span holds nothing.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// Why a text is not the JSON that it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// Byte offset at which it was seen.
    pub offset: usize,
}

/// The ways in which a text fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonErrorKind {
    /// The text ended inside a value.
    UnexpectedEnd,
    /// A byte that cannot stand here.
    UnexpectedByte,
    /// A control character in a string that must be escaped.
    ControlCharacter,
    /// A backslash with something that is no escape behind it.
    BadEscape,
    /// Not a number by the grammar, or one outside what a 64-bit float can hold.
    BadNumber,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// Something follows the value.
    TrailingBytes,
    /// Not UTF-8.
    BadUtf8,
    /// Another type than the one needed here.
    WrongType(&'static str),
    /// A member that we act upon stands twice.
    RepeatedKey(&'static str),
    /// Too long for 32-bit offsets.
    TooLong,
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.offset;
        match self.kind {
            JsonErrorKind::UnexpectedEnd => write!(f, "the JSON ends unexpectedly at byte {at}"),
            JsonErrorKind::UnexpectedByte => write!(f, "unexpected character at byte {at}"),
            JsonErrorKind::ControlCharacter => {
                write!(f, "control character in a string at byte {at}; it must be escaped")
            }
            JsonErrorKind::BadEscape => write!(f, "invalid escape in a string at byte {at}"),
            JsonErrorKind::BadNumber => write!(f, "invalid or out-of-range number at byte {at}"),
            JsonErrorKind::TooDeep => {
                write!(f, "nested deeper than {DEPTH_MAX} levels at byte {at}")
            }
            JsonErrorKind::TrailingBytes => {
                write!(f, "unexpected data after the JSON value at byte {at}")
            }
            JsonErrorKind::BadUtf8 => write!(f, "the text is not valid UTF-8 at byte {at}"),
            JsonErrorKind::WrongType(expected) => write!(f, "expected {expected} at byte {at}"),
            JsonErrorKind::RepeatedKey(key) => write!(f, "\"{key}\" stands twice"),
            JsonErrorKind::TooLong => write!(f, "the text is longer than 4 GiB"),
        }
    }
}

impl std::error::Error for JsonError {}

type Result<T> = std::result::Result<T, JsonError>;

/// The type of the value that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or `-`.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

/// A string as it stands in the text: the bytes between the quotes, escapes and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawStr<'b> {
    /// The bytes between the quotes.
    pub bytes: &'b [u8],
    /// Where they stand.
    pub span: Span,
    /// Whether a backslash is among them.
    pub escaped: bool,
}

impl<'b> RawStr<'b> {
    /// The text that is meant. Borrowed unless there are escapes. A lone surrogate, which JSON can
    /// write and Unicode cannot, becomes U+FFFD: for reading only, the raw bytes go upstream.
    pub fn text(&self) -> Cow<'b, str> {
        if !self.escaped {
            return String::from_utf8_lossy(self.bytes);
        }
        let mut text = String::with_capacity(self.bytes.len());
        unescape_into(self.bytes, usize::MAX, &mut text);
        Cow::Owned(text)
    }

    /// Whether this is exactly `text`, also when spelled with escapes.
    pub fn is(&self, text: &str) -> bool {
        if self.escaped { self.text() == text } else { self.bytes == text.as_bytes() }
    }
}

/// Reads one JSON text from front to back.
#[derive(Clone, Debug)]
pub struct Cursor<'b> {
    text: &'b [u8],
    at: usize,
    depth: u32,
}

impl<'b> Cursor<'b> {
    /// A reader at the start of `text`, which must be UTF-8 as a whole.
    pub fn new(text: &'b [u8]) -> Result<Cursor<'b>> {
        if u32::try_from(text.len()).is_err() {
            return Err(JsonError { kind: JsonErrorKind::TooLong, offset: 0 });
        }
        match simdutf8::basic::from_utf8(text) {
            Ok(_) => Ok(Cursor { text, at: 0, depth: 0 }),
            Err(_) => {
                let offset = std::str::from_utf8(text).err().map_or(0, |error| error.valid_up_to());
                Err(JsonError { kind: JsonErrorKind::BadUtf8, offset })
            }
        }
    }

    /// The type of the next value.
    #[inline]
    pub fn kind(&mut self) -> Result<Kind> {
        match self.next_byte()? {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            b't' | b'f' => Ok(Kind::Bool),
            b'n' => Ok(Kind::Null),
            _ => Err(self.error(JsonErrorKind::UnexpectedByte)),
        }
    }

    /// Reads an object. `member` is called with each key and must read or skip its value.
    /// Returns the span of the whole object.
    pub fn object(
        &mut self,
        mut member: impl FnMut(RawStr<'b>, &mut Cursor<'b>) -> Result<()>,
    ) -> Result<Span> {
        let start = self.open(b'{', "an object")?;
        if self.next_byte()? == b'}' {
            return Ok(self.close(start));
        }
        loop {
            // A key of another type is no JSON at all; nothing that a user could correct.
            if self.next_byte()? != b'"' {
                return Err(self.error(JsonErrorKind::UnexpectedByte));
            }
            let key = self.string()?;
            self.expect(b':')?;
            member(key, self)?;
            match self.next_byte()? {
                b',' => self.at += 1,
                b'}' => return Ok(self.close(start)),
                _ => return Err(self.error(JsonErrorKind::UnexpectedByte)),
            }
        }
    }

    /// Reads an array. `element` is called before each element and must read or skip it.
    /// Returns the span of the whole array.
    pub fn array(
        &mut self,
        mut element: impl FnMut(&mut Cursor<'b>) -> Result<()>,
    ) -> Result<Span> {
        let start = self.open(b'[', "an array")?;
        if self.next_byte()? == b']' {
            return Ok(self.close(start));
        }
        loop {
            element(self)?;
            match self.next_byte()? {
                b',' => self.at += 1,
                b']' => return Ok(self.close(start)),
                _ => return Err(self.error(JsonErrorKind::UnexpectedByte)),
            }
        }
    }

    /// Reads a string.
    #[inline]
    pub fn string(&mut self) -> Result<RawStr<'b>> {
        if self.next_byte()? != b'"' {
            return Err(self.error(JsonErrorKind::WrongType("a string")));
        }
        let start = self.at + 1;
        let (end, escaped) = string_end(self.text, start)?;
        self.at = end + 1;
        let span = Span { start: start as u32, end: end as u32 };
        Ok(RawStr { bytes: &self.text[start..end], span, escaped })
    }

    /// Reads a number and gives its text, checked by the grammar and for a finite value.
    pub fn number(&mut self) -> Result<&'b str> {
        if !matches!(self.next_byte()?, b'-' | b'0'..=b'9') {
            return Err(self.error(JsonErrorKind::WrongType("a number")));
        }
        let start = self.at;
        self.at = number_end(self.text, start)?;
        // Digits, signs, dots and `e` only, so this is ASCII.
        Ok(std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default())
    }

    /// Reads a whole number that is not negative; `1.0` and `1e3` are refused as wrong types.
    pub fn unsigned(&mut self, expected: &'static str) -> Result<u64> {
        if !matches!(self.kind()?, Kind::Number) {
            return Err(self.error(JsonErrorKind::WrongType(expected)));
        }
        let start = self.at;
        let text = self.number()?;
        text.parse()
            .map_err(|_| JsonError { kind: JsonErrorKind::WrongType(expected), offset: start })
    }

    /// Reads `true` or `false`.
    pub fn bool(&mut self) -> Result<bool> {
        match self.next_byte()? {
            b't' => self.literal(b"true").map(|()| true),
            b'f' => self.literal(b"false").map(|()| false),
            _ => Err(self.error(JsonErrorKind::WrongType("a boolean"))),
        }
    }

    /// Reads `null` when it comes next.
    pub fn null(&mut self) -> Result<bool> {
        if self.next_byte()? != b'n' {
            return Ok(false);
        }
        self.literal(b"null").map(|()| true)
    }

    /// Skips one value of any type and size, checking it on the way. Returns its span.
    pub fn skip(&mut self) -> Result<Span> {
        self.next_byte()?;
        let start = self.at;
        // One bit for each open container, the innermost lowest: 1 is an object, 0 an array.
        let mut open: u128 = 0;
        let base = self.depth;
        loop {
            // A value begins here.
            match self.next_byte()? {
                b'"' => {
                    let (end, _) = string_end(self.text, self.at + 1)?;
                    self.at = end + 1;
                }
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    self.deeper()?;
                    let object = bracket == b'{';
                    open = (open << 1) | u128::from(object);
                    let next = self.next_byte()?;
                    if next == if object { b'}' } else { b']' } {
                        self.at += 1;
                        self.depth -= 1;
                        open >>= 1;
                    } else {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.at = number_end(self.text, self.at)?,
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => return Err(self.error(JsonErrorKind::UnexpectedByte)),
            }
            // A value ended here: go on in its container, or out of those that end too.
            loop {
                if self.depth == base {
                    return Ok(Span { start: start as u32, end: self.at as u32 });
                }
                let object = open & 1 == 1;
                match self.next_byte()? {
                    b',' => {
                        self.at += 1;
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return Err(self.error(JsonErrorKind::UnexpectedByte)),
                }
                self.at += 1;
                self.depth -= 1;
                open >>= 1;
            }
        }
    }

    /// Skips one value and gives its text.
    pub fn raw(&mut self) -> Result<&'b [u8]> {
        let text = self.text;
        self.skip().map(|span| &text[span.start as usize..span.end as usize])
    }

    /// Checks that nothing but white space follows.
    pub fn end(&mut self) -> Result<()> {
        self.skip_space();
        match self.at == self.text.len() {
            true => Ok(()),
            false => Err(self.error(JsonErrorKind::TrailingBytes)),
        }
    }

    /// Offset of the next byte that will be read.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// An error of that kind at the current offset.
    #[cold]
    pub fn error(&self, kind: JsonErrorKind) -> JsonError {
        JsonError { kind, offset: self.at }
    }

    fn key(&mut self) -> Result<()> {
        self.string()?;
        self.expect(b':')
    }

    fn open(&mut self, bracket: u8, expected: &'static str) -> Result<usize> {
        if self.next_byte()? != bracket {
            return Err(self.error(JsonErrorKind::WrongType(expected)));
        }
        let start = self.at;
        self.at += 1;
        self.deeper()?;
        Ok(start)
    }

    fn close(&mut self, start: usize) -> Span {
        self.at += 1;
        self.depth -= 1;
        Span { start: start as u32, end: self.at as u32 }
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(JsonErrorKind::TooDeep));
        }
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.next_byte()? != byte {
            return Err(self.error(JsonErrorKind::UnexpectedByte));
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error(JsonErrorKind::UnexpectedByte));
        }
        self.at += word.len();
        Ok(())
    }

    /// Skips white space and shows the next byte.
    #[inline]
    fn next_byte(&mut self) -> Result<u8> {
        self.skip_space();
        match self.text.get(self.at) {
            Some(&byte) => Ok(byte),
            None => Err(self.error(JsonErrorKind::UnexpectedEnd)),
        }
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
    }
}

/// Finds the closing quote of the string whose first byte is at `at`; tells whether a backslash
/// was met.
#[inline]
fn string_end(text: &[u8], mut at: usize) -> Result<(usize, bool)> {
    let mut escaped = false;
    loop {
        at = skip_plain(text, at);
        match text.get(at) {
            Some(b'"') => return Ok((at, escaped)),
            Some(b'\\') => {
                escaped = true;
                at = escape_end(text, at)?;
            }
            Some(_) => return Err(JsonError { kind: JsonErrorKind::ControlCharacter, offset: at }),
            None => return Err(JsonError { kind: JsonErrorKind::UnexpectedEnd, offset: at }),
        }
    }
}

/// Skips bytes that may stand in a string as they are. Strings are most of a request, so this is
/// the loop that decides the speed: whole blocks are judged without a branch per byte, in a form
/// that the compiler turns into vector code.
#[inline]
fn skip_plain(text: &[u8], mut at: usize) -> usize {
    const BLOCK: usize = 32;
    let special = |byte: u8| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
    while let Some(block) = text.get(at..at + BLOCK) {
        if block.iter().fold(false, |any, &byte| any | special(byte)) {
            break;
        }
        at += BLOCK;
    }
    while let Some(&byte) = text.get(at) {
        if special(byte) {
            break;
        }
        at += 1;
    }
    at
}

fn escape_end(text: &[u8], at: usize) -> Result<usize> {
    let bad = JsonError { kind: JsonErrorKind::BadEscape, offset: at };
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match text.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => Err(bad),
        },
        _ => Err(bad),
    }
}

fn number_end(text: &[u8], start: usize) -> Result<usize> {
    let bad = JsonError { kind: JsonErrorKind::BadNumber, offset: start };
    let digits = |mut at: usize| {
        while let Some(b'0'..=b'9') = text.get(at) {
            at += 1;
        }
        at
    };
    let mut at = start + usize::from(text.get(start) == Some(&b'-'));
    let whole = at;
    at = digits(at);
    if at == whole || (text[whole] == b'0' && at - whole > 1) {
        return Err(bad);
    }
    let mut plain = at - whole <= 15;
    if text.get(at) == Some(&b'.') {
        let fraction = at + 1;
        at = digits(fraction);
        if at == fraction {
            return Err(bad);
        }
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        let exponent = at;
        at = digits(exponent);
        if at == exponent {
            return Err(bad);
        }
        plain = false;
    }
    // What no 64-bit float can hold would be read as infinity by one peer and as an error by the
    // next, so it is refused here.
    if !plain {
        let value = std::str::from_utf8(&text[start..at]).ok().and_then(|text| text.parse().ok());
        if !value.is_some_and(f64::is_finite) {
            return Err(bad);
        }
    }
    Ok(at)
}

/// Appends the text that the escaped `raw` bytes mean to `out`, until `out` has grown by about
/// `bytes_max` bytes. `raw` must come from a [`Cursor`], which has checked its escapes; a cut that
/// falls into an escape or a character drops the broken piece. Returns how many raw bytes were used.
pub fn unescape_into(raw: &[u8], bytes_max: usize, out: &mut String) -> usize {
    let stop = out.len().saturating_add(bytes_max);
    let mut at = 0;
    while at < raw.len() && out.len() < stop {
        let plain_end = memchr::memchr(b'\\', &raw[at..]).map_or(raw.len(), |next| at + next);
        if plain_end > at {
            let wanted = plain_end.min(at.saturating_add(stop - out.len()));
            out.push_str(valid_prefix(&raw[at..wanted]));
            at = wanted;
            continue;
        }
        let (character, next) = unescape_one(raw, at);
        out.extend(character);
        at = next;
    }
    at
}

/// The longest valid UTF-8 run at the front, skipping a broken character at either end, which is
/// where a bounded excerpt may have been cut.
fn valid_prefix(mut bytes: &[u8]) -> &str {
    while let Some(0x80..=0xbf) = bytes.first() {
        bytes = &bytes[1..];
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// The character of the escape at `at` and the offset behind it.
fn unescape_one(raw: &[u8], at: usize) -> (Option<char>, usize) {
    let simple = match raw.get(at + 1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return unescape_unicode(raw, at),
        Some(&other) => char::from(other),
        None => return (None, raw.len()),
    };
    (Some(simple), at + 2)
}

fn unescape_unicode(raw: &[u8], at: usize) -> (Option<char>, usize) {
    let unit = |at: usize| -> Option<u32> {
        if raw.get(at..at + 2)? != b"\\u" {
            return None;
        }
        u32::from_str_radix(std::str::from_utf8(raw.get(at + 2..at + 6)?).ok()?, 16).ok()
    };
    let Some(first) = unit(at) else { return (None, raw.len()) };
    if let Some(character) = char::from_u32(first) {
        return (Some(character), at + 6);
    }
    match unit(at + 6) {
        Some(second @ 0xdc00..=0xdfff) if first < 0xdc00 => {
            let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            (Some(char::from_u32(code).unwrap_or('\u{fffd}')), at + 12)
        }
        _ => (Some('\u{fffd}'), at + 6),
    }
}

/// One change of a text: the bytes of `span` are replaced. An empty span inserts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch<'p> {
    /// What goes.
    pub span: Span,
    /// What comes in its place.
    pub with: &'p [u8],
}

/// Length of `text` after `patches`.
pub fn patched_len(text: &[u8], patches: &[Patch<'_>]) -> usize {
    patches.iter().fold(text.len(), |length, patch| length - patch.span.len() + patch.with.len())
}

/// Appends the changed part of `text` to `out`: everything up to the end of the last patch. Returns
/// the offset in `text` from which on the rest is unchanged. `patches` must be in the order of their
/// spans, without overlap.
pub fn patch_into(text: &[u8], patches: &[Patch<'_>], out: &mut Vec<u8>) -> usize {
    let mut at = 0;
    for patch in patches {
        debug_assert!(patch.span.start as usize >= at, "patches are ordered and do not overlap");
        out.extend_from_slice(text.get(at..patch.span.start as usize).unwrap_or_default());
        out.extend_from_slice(patch.with);
        at = patch.span.end as usize;
    }
    at
}

/// Appends `text` as a JSON string with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 | 0x7f => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[plain_from..at]);
        match escape {
            [] => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.extend_from_slice(escape),
        }
        plain_from = at + 1;
    }
    out.extend_from_slice(&text.as_bytes()[plain_from..]);
    out.push(b'"');
}

/// A small JSON tree for shapes that are not known beforehand, such as a provider's error object.
#[derive(Debug)]
pub struct Document(simd_json::OwnedValue);

impl Document {
    /// Largest text that becomes a tree, in bytes. A tree costs many times its text in memory, and
    /// nothing that we read this way is large.
    pub const BYTES_MAX: usize = 64 * 1024;

    /// Reads `text`, which may be at most [`Document::BYTES_MAX`] long and [`DEPTH_MAX`] deep.
    pub fn read(text: &[u8]) -> Option<Document> {
        if text.len() > Document::BYTES_MAX {
            return None;
        }
        // The parser below recurses, so the depth is checked by the reader that does not.
        let mut cursor = Cursor::new(text).ok()?;
        cursor.skip().and_then(|_| cursor.end()).ok()?;
        simd_json::to_owned_value(&mut text.to_vec()).ok().map(Document)
    }

    /// The string at that path of member names.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        use simd_json::prelude::{ValueAsScalar, ValueObjectAccess};
        let mut value = &self.0;
        for name in path {
            value = value.get(*name)?;
        }
        value.as_str()
    }
}

#[cfg(test)]
mod tests;

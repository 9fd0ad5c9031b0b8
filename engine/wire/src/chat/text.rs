//! Text on its way from one JSON document to another, without being unescaped in between.
//!
//! In: strings as a [`crate::json::Cursor`] finds them, or text of our own. Out: the same, between
//! quotes again. All dialects are JSON, so what one escapes the other reads; a stream's piece may even
//! end in half of a surrogate pair, whose other half comes with the next.

use crate::json::{self, RawStr};
use std::borrow::Cow;

/// Text in the form in which it stands between the quotes of a JSON string.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Str<'b> {
    escaped: Cow<'b, [u8]>,
}

impl<'b> Str<'b> {
    /// Nothing.
    pub const EMPTY: Str<'static> = Str { escaped: Cow::Borrowed(b"") };

    /// Text of our own, or that was unescaped.
    pub fn plain(text: &'b str) -> Str<'b> {
        if text.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f)) {
            return Str::from_text(text);
        }
        Str { escaped: Cow::Borrowed(text.as_bytes()) }
    }

    /// The same, with bytes of its own.
    pub fn from_text(text: &str) -> Str<'static> {
        let mut quoted = Vec::with_capacity(text.len() + 2);
        json::write_string(text, &mut quoted);
        quoted.pop();
        quoted.remove(0);
        Str { escaped: Cow::Owned(quoted) }
    }

    /// Bytes that stood between the quotes of a checked JSON string, or a run of them that cuts no
    /// escape in two.
    pub fn escaped_from(escaped: impl Into<Cow<'b, [u8]>>) -> Str<'b> {
        Str { escaped: escaped.into() }
    }

    /// The bytes between the quotes.
    pub fn escaped(&self) -> &[u8] {
        &self.escaped
    }

    /// The text that is meant. Borrowed unless there are escapes.
    pub fn text(&self) -> Cow<'_, str> {
        if memchr::memchr(b'\\', &self.escaped).is_none() {
            return String::from_utf8_lossy(&self.escaped);
        }
        let mut text = String::with_capacity(self.escaped.len());
        json::unescape_into(&self.escaped, usize::MAX, &mut text);
        Cow::Owned(text)
    }

    /// Whether this is exactly `text`, also when spelled with escapes.
    pub fn is(&self, text: &str) -> bool {
        *self.escaped == *text.as_bytes()
            || (memchr::memchr(b'\\', &self.escaped).is_some() && self.text() == text)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.escaped.is_empty()
    }

    /// Length in bytes, as escaped.
    pub fn len(&self) -> usize {
        self.escaped.len()
    }

    /// Appends it with its quotes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(&self.escaped);
        out.push(b'"');
    }

    /// Appends `more` to it.
    pub fn push(&mut self, more: &Str<'_>) {
        self.escaped.to_mut().extend_from_slice(&more.escaped);
    }

    /// What stands behind the first `bytes` of the escaped form, which must not cut an escape in two.
    pub fn split_off(&self, bytes: usize) -> Str<'b> {
        Str {
            escaped: match &self.escaped {
                Cow::Borrowed(whole) => Cow::Borrowed(whole.get(bytes..).unwrap_or_default()),
                Cow::Owned(whole) => Cow::Owned(whole.get(bytes..).unwrap_or_default().to_vec()),
            },
        }
    }

    /// The first `bytes` of the escaped form, under the same condition.
    pub fn cut(&self, bytes: usize) -> Str<'b> {
        let bytes = bytes.min(self.len());
        Str {
            escaped: match &self.escaped {
                Cow::Borrowed(whole) => Cow::Borrowed(&whole[..bytes]),
                Cow::Owned(whole) => Cow::Owned(whole[..bytes].to_vec()),
            },
        }
    }

    /// The same without a lender.
    pub fn into_owned(self) -> Str<'static> {
        Str { escaped: Cow::Owned(self.escaped.into_owned()) }
    }

    /// The same for as long as this lives.
    pub fn borrowed(&self) -> Str<'_> {
        Str { escaped: Cow::Borrowed(&self.escaped) }
    }
}

impl<'b> From<RawStr<'b>> for Str<'b> {
    fn from(raw: RawStr<'b>) -> Str<'b> {
        Str { escaped: Cow::Borrowed(raw.bytes) }
    }
}

impl std::fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", String::from_utf8_lossy(&self.escaped))
    }
}

/// A value that is JSON, as its text: a schema, the arguments of a call.
#[derive(Clone, PartialEq, Eq)]
pub struct Json<'b>(Cow<'b, [u8]>);

impl<'b> Json<'b> {
    /// Bytes that a [`crate::json::Cursor`] has found to be one value, or that we wrote.
    pub fn checked(text: impl Into<Cow<'b, [u8]>>) -> Json<'b> {
        Json(text.into())
    }

    /// Its text.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same without a lender.
    pub fn into_owned(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }
}

impl AsRef<[u8]> for Json<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_comes_back(text in "\\PC*[\"\\\\\n\u{0}-\u{1f}]?\\PC*") {
            let str = Str::plain(&text);
            prop_assert!(str.is(&text));
            prop_assert_eq!(&*str.text(), &text);
            let mut out = Vec::new();
            str.write(&mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}

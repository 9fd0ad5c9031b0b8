//! A walk over the members of a JSON object without parsing what is in them, for the hot paths of
//! both ends: which bytes are the value of `"model"`, `"stream"`, `"x_script"`.
//!
//! In: bytes of a document. Out: ranges. Does not validate; a document that is no object has no
//! members. Never allocates.

use std::ops::Range;

use memchr::memchr2;

/// The members of the object that starts at the first `{` of `doc`, in order. Keys are the raw
/// bytes between the quotes.
pub(crate) fn members(doc: &[u8]) -> Members<'_> {
    let at = skip_blank(doc, 0);
    let at = (doc.get(at) == Some(&b'{')).then_some(at + 1);
    Members { doc, at: at.unwrap_or(doc.len()) }
}

/// See [`members`].
pub(crate) struct Members<'d> {
    doc: &'d [u8],
    at: usize,
}

impl<'d> Iterator for Members<'d> {
    type Item = (&'d [u8], Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let key_start = skip_blank(self.doc, self.at);
        if self.doc.get(key_start) != Some(&b'"') {
            return None;
        }
        let key_end = string_end(self.doc, key_start)?;
        let colon = skip_blank(self.doc, key_end);
        if self.doc.get(colon) != Some(&b':') {
            return None;
        }
        let start = skip_blank(self.doc, colon + 1);
        let end = value_end(self.doc, start)?;
        let comma = skip_blank(self.doc, end);
        self.at = if self.doc.get(comma) == Some(&b',') { comma + 1 } else { self.doc.len() };
        Some((&self.doc[key_start + 1..key_end - 1], start..end))
    }
}

fn skip_blank(doc: &[u8], from: usize) -> usize {
    let rest = doc.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')).count()
}

/// Just past the closing quote of the string that opens at `open`.
fn string_end(doc: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += memchr2(b'"', b'\\', doc.get(at..)?)?;
        if doc[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn value_end(doc: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut depth = 0usize;
    loop {
        match doc.get(at)? {
            b'"' => {
                at = string_end(doc, at)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

/// Appends `text` as the inside of a JSON string.
pub(crate) fn escape_into(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 => {
                let hex = b"0123456789abcdef";
                let digits = [hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&digits);
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_at_the_top_level_only() {
        let doc =
            br#" {"tools":[{"model":"no\"}"}], "model" : "m\\" ,"n":-1.5,"o":{},"stream":true}"#;
        let found: Vec<_> = members(doc)
            .map(|(key, value)| {
                (
                    String::from_utf8_lossy(key).into_owned(),
                    String::from_utf8_lossy(&doc[value]).into_owned(),
                )
            })
            .collect();
        let expected = [
            ("tools", r#"[{"model":"no\"}"}]"#),
            ("model", r#""m\\""#),
            ("n", "-1.5"),
            ("o", "{}"),
            ("stream", "true"),
        ];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn cut_documents_end_the_walk() {
        let doc = br#"{"a":"b","c":[1,{"d":"e"}],"f":true}"#;
        for end in 0..doc.len() {
            assert!(members(&doc[..end]).count() <= 3);
        }
    }

    #[test]
    fn escaped_text_reads_back() {
        let text = "a\"b\\c\nd\u{1}é漢";
        let mut out = vec![b'"'];
        escape_into(text, &mut out);
        out.push(b'"');
        assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
    }
}

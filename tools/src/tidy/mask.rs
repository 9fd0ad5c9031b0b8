//! Tells Rust code from comments and literals, well enough for searching names.
//!
//! In: a source file. Out: texts of the same length and the same lines, in which everything else is
//! blank. It is no parser: macros and conditions are taken as they stand.

use std::ops::Range;

/// The code without comments and literals, and the contents of string literals without the rest.
pub(super) fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let mut code = blank(bytes);
    let mut strings = code.clone();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let starts_word = at == 0 || !is_word(bytes[at - 1]);
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment(rest)
        } else if let Some((inside, length)) = string(rest, starts_word) {
            let inside = at + inside.start..at + inside.end;
            strings[inside.clone()].copy_from_slice(&bytes[inside]);
            at + length
        } else if let Some(length) = character(rest) {
            at + length
        } else {
            code[at] = bytes[at];
            at + 1
        };
        at = end.min(bytes.len());
    }
    (lossy(code), lossy(strings))
}

/// `code` without the items under `#[cfg(test)]`.
pub(super) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find(MARK) {
        let start = from + found;
        let end = start + MARK.len() + item(&code.as_bytes()[start + MARK.len()..]);
        for byte in &mut kept[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    lossy(kept)
}

/// The length of an item: to its `;`, or to the brace that closes its body.
fn item(code: &[u8]) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate() {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && *byte == b'}' {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn blank(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }).collect()
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| {
        // A character outside ASCII was cut: it is in no name that anybody searches for.
        e.into_bytes()
            .iter()
            .map(|&byte| if byte.is_ascii() { char::from(byte) } else { ' ' })
            .collect()
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Block comments nest.
fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// A string of any kind at the front: where its contents stand, and the length of the whole.
fn string(rest: &[u8], starts_word: bool) -> Option<(Range<usize>, usize)> {
    let prefix = match rest {
        [b'"', ..] => 0,
        [b'b' | b'c' | b'r', b'"' | b'#', ..] if starts_word => 1,
        [b'b' | b'c', b'r', ..] if starts_word => 2,
        _ => return None,
    };
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let open = prefix + hashes + 1;
    let is_raw = prefix > 0 && rest[prefix - 1] == b'r';
    let mut at = open;
    while at < rest.len() {
        match rest[at] {
            b'\\' if !is_raw => at += 2,
            b'"' if rest[at + 1..].iter().take_while(|&&byte| byte == b'#').count() >= hashes => {
                return Some((open..at, at + 1 + hashes));
            }
            _ => at += 1,
        }
    }
    Some((open..rest.len(), rest.len()))
}

/// A character literal at the front, which a lifetime is not.
fn character(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'\'', b'\\', _, after @ ..] => Some(4 + after.iter().position(|&byte| byte == b'\'')?),
        [b'\'', first, ..] => {
            let length = std::str::from_utf8(rest.get(1..)?.get(..4).unwrap_or(&rest[1..]))
                .unwrap_or_else(|e| std::str::from_utf8(&rest[1..=e.valid_up_to()]).unwrap_or(""))
                .chars()
                .next()
                .map_or(1, char::len_utf8);
            (*first != b'\'' && rest.get(1 + length) == Some(&b'\'')).then_some(length + 2)
        }
        _ => None,
    }
}

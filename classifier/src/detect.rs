//! Exact detectors: what is personal or secret by its form, whatever the words around it say.
//!
//! In: the bytes of a bounded text. Out: [`Findings`], a count per kind. Checked, not guessed, where
//! a check digit exists (payment cards, IBAN, Chinese, Brazilian and Spanish ids); else the exact
//! form that the issuer documents (key prefixes, PEM blocks, US social security numbers) or the
//! common one (e-mail, telephone). One pass, each candidate bounded by [`SPAN_MAX`] bytes. Never:
//! what was found, only that it was.

/// Bytes of one candidate that are looked at.
const SPAN_MAX: usize = 128;
/// Features that [`Findings::features`] writes.
pub(crate) const FINDING_FEATURES: usize = 8;

/// How often each kind was found; counts stop at 255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// E-mail addresses.
    pub emails: u8,
    /// Telephone numbers.
    pub phones: u8,
    /// Payment card numbers with a right check digit.
    pub cards: u8,
    /// International bank account numbers with right check digits.
    pub ibans: u8,
    /// National identity numbers.
    pub national_ids: u8,
    /// API keys, tokens and URLs with a password in them.
    pub keys: u8,
    /// Private-key blocks.
    pub private_keys: u8,
    /// A password that is named and given (`password: …`).
    pub passwords: u8,
}

/// Beginnings that issuers document for their keys, and the bytes that must follow at least.
const KEY_PREFIXES: &[(&str, usize)] = &[
    ("sk-", 20),
    ("sk_live_", 10),
    ("sk_test_", 10),
    ("pk_live_", 10),
    ("rk_live_", 10),
    ("whsec_", 16),
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghu_", 30),
    ("ghs_", 30),
    ("github_pat_", 30),
    ("glpat-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("xoxa-", 16),
    ("xapp-", 16),
    ("AIza", 30),
    ("ya29.", 20),
    ("hf_", 24),
    ("npm_", 30),
    ("SG.", 30),
    ("dop_v1_", 30),
    ("shpat_", 24),
    ("pypi-", 40),
    ("eyJ", 30),
];

/// Bytes of the shortest key, beginning included.
const KEY_BYTES_MIN: usize = 18;

/// Words after which a `:` or `=` gives a password away.
const PASSWORD_WORDS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "passwort",
    "kennwort",
    "contraseña",
    "senha",
    "пароль",
    "hasło",
    "密码",
    "パスワード",
    "비밀번호",
    "mot de passe",
    "secret",
    "api_key",
    "apikey",
    "api key",
    "token",
    "passphrase",
    "secret_key",
    "access_key",
];

impl Findings {
    /// Looks through `text`.
    pub fn find(text: &str) -> Findings {
        let mut found = Findings::default();
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let starts = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
            let rest = &bytes[at..bytes.len().min(at + SPAN_MAX)];
            at += match bytes[at] {
                b'0'..=b'9' | b'+' | b'(' if starts => found.number(rest),
                b'@' => found.email(bytes, at),
                b'-' if rest.starts_with(b"-----BEGIN ") => found.pem(rest),
                b':' if rest.starts_with(b"://") => found.url(rest),
                b':' | b'=' => found.assigned(bytes, at),
                0xef if rest.starts_with("：".as_bytes()) => found.assigned(bytes, at + 2) + 2,
                b'A'..=b'Z' | b'a'..=b'z' if starts => found.word(rest),
                _ => 1,
            };
        }
        found
    }

    /// Whether a secret of the host or its user stands in the text.
    pub fn has_secret(&self) -> bool {
        self.keys > 0 || self.private_keys > 0 || self.passwords > 0
    }

    /// Whether an account or a person is identified beyond doubt.
    pub fn has_checked_number(&self) -> bool {
        self.cards > 0 || self.ibans > 0 || self.national_ids > 0
    }

    /// The counts as features, each 0..1.
    pub(crate) fn features(&self, into: &mut [f32]) {
        let counts = [
            self.emails,
            self.phones,
            self.cards,
            self.ibans,
            self.national_ids,
            self.keys,
            self.private_keys,
            self.passwords,
        ];
        for (feature, count) in into.iter_mut().zip(counts) {
            *feature = f32::from(count.min(3)).sqrt() / 3f32.sqrt();
        }
    }

    /// A number with its separators; returns the bytes taken.
    fn number(&mut self, rest: &[u8]) -> usize {
        let mut digits = [0u8; 20];
        let (mut count, mut end, mut groups, mut dots, mut dashes) = (0, 0, 0, 0, 0);
        let mut in_group = false;
        let mut widest = 0;
        let mut width = 0;
        for (index, &byte) in rest.iter().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    if count == digits.len() {
                        // Longer than anything that is looked for: no number of a person.
                        return index
                            + rest[index..].iter().take_while(|b| b.is_ascii_digit()).count();
                    }
                    digits[count] = byte - b'0';
                    count += 1;
                    width = if in_group { width + 1 } else { 1 };
                    groups += usize::from(!in_group);
                    widest = widest.max(width);
                    in_group = true;
                    end = index + 1;
                }
                b'+' | b'(' if count == 0 => {}
                b' ' | b'-' | b'.' | b'(' | b')' | b'/' if index - end < 2 && index > 0 => {
                    in_group = false;
                    dots += usize::from(byte == b'.');
                    dashes += usize::from(byte == b'-');
                }
                _ => break,
            }
        }
        if count == 0 {
            return 1;
        }
        let digits = &digits[..count];
        let follows = rest.get(end).copied().unwrap_or(b' ');
        let text = &rest[..end];
        let is_security_number =
            count == 9 && text.len() == 11 && text[3] == b'-' && text[6] == b'-';
        if (13..=19).contains(&count) && dots == 0 && (groups == 1 || widest <= 6) && luhn(digits) {
            bump(&mut self.cards);
        } else if is_security_number
            || chinese_id(digits, follows)
            || brazilian_id(text, digits)
            || spanish_id(digits, groups == 1, follows)
        {
            bump(&mut self.national_ids);
        } else if is_phone(text, digits, &Layout { groups, widest, dots, dashes }, follows) {
            bump(&mut self.phones);
        }
        end
    }

    fn email(&mut self, bytes: &[u8], at: usize) -> usize {
        let local = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
        let before = bytes[..at].last().is_some_and(local);
        let domain = &bytes[at + 1..bytes.len().min(at + SPAN_MAX)];
        let length =
            domain.iter().take_while(|b| b.is_ascii_alphanumeric() || b".-".contains(b)).count();
        let domain = &domain[..length];
        let top = domain.iter().rposition(|&b| b == b'.').map(|dot| &domain[dot + 1..]);
        let top_fits = top.is_some_and(|top| {
            top.is_empty() || top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic)
        });
        if before && domain.contains(&b'.') && domain[0] != b'.' && top_fits {
            bump(&mut self.emails);
        }
        1
    }

    fn pem(&mut self, rest: &[u8]) -> usize {
        let head = &rest[..rest.len().min(64)];
        if head.windows(11).any(|window| window == b"PRIVATE KEY") {
            bump(&mut self.private_keys);
        }
        11
    }

    /// `scheme://user:password@host`.
    fn url(&mut self, rest: &[u8]) -> usize {
        let stop = rest[3..]
            .iter()
            .position(|b| b" /\n\t\"'<>".contains(b))
            .map_or(rest.len(), |stop| stop + 3);
        let authority = &rest[3..stop];
        if let Some(at) = authority.iter().rposition(|&b| b == b'@')
            && let Some(colon) = authority[..at].iter().position(|&b| b == b':')
            && at > colon + 3
        {
            bump(&mut self.keys);
        }
        3
    }

    /// `password: hunter2` and the like.
    fn assigned(&mut self, bytes: &[u8], at: usize) -> usize {
        let mut before = &bytes[at.saturating_sub(24)..at];
        while let [head @ .., b' ' | b'"' | b'\'' | b'*' | b'`' | 0xbc | 0xef] = before {
            before = head;
        }
        let named = PASSWORD_WORDS.iter().any(|word| {
            before.len() >= word.len()
                && before[before.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
        });
        if !named {
            return 1;
        }
        let value = bytes[at + 1..bytes.len().min(at + SPAN_MAX)].trim_ascii_start();
        let value = value.strip_prefix(b"\"").or(value.strip_prefix(b"'")).unwrap_or(value);
        let length =
            value.iter().take_while(|b| !b.is_ascii_whitespace() && !b"\"',;".contains(b)).count();
        let value = &value[..length];
        let has = |is: fn(&u8) -> bool| value.iter().any(is);
        let looks_made = has(u8::is_ascii_digit) || has(|b| b"!#$%&*+?@^~-_".contains(b));
        let is_reference = value.starts_with(b"$")
            || value.starts_with(b"{")
            || value.starts_with(b"<")
            || value.contains(&b'(');
        if (5..=64).contains(&length)
            && looks_made
            && !is_reference
            && has(u8::is_ascii_alphanumeric)
        {
            bump(&mut self.passwords);
        }
        1
    }

    /// A word: a key with a known beginning, a long random string, or an IBAN.
    fn word(&mut self, rest: &[u8]) -> usize {
        let length = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
            .count();
        let word = &rest[..length];
        let run = rest
            .iter()
            .take_while(|b| {
                b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/' | b'+')
            })
            .count();
        // Most words are too short for any key.
        let known = run >= KEY_BYTES_MIN
            && KEY_PREFIXES.iter().any(|(prefix, more)| {
                rest.starts_with(prefix.as_bytes()) && run >= prefix.len() + more
            });
        let has = |is: fn(&u8) -> bool| word.iter().any(is);
        let random = length >= 32
            && word.iter().filter(|b| b.is_ascii_digit()).count() >= 4
            && has(u8::is_ascii_uppercase)
            && has(u8::is_ascii_lowercase)
            && word.iter().filter(|b| b"_-".contains(b)).count() <= 3;
        if known || random {
            bump(&mut self.keys);
        } else if let Some(taken) = iban(rest) {
            bump(&mut self.ibans);
            return taken;
        }
        // A key's own dots and slashes must not begin another word of it.
        let tail = if known || random {
            rest[length..]
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || b"_-./+=".contains(b))
                .count()
        } else {
            0
        };
        (length + tail).max(1)
    }
}

fn bump(count: &mut u8) {
    *count = count.saturating_add(1);
}

/// How the digits of a number are set.
struct Layout {
    groups: usize,
    /// Digits of the longest group.
    widest: usize,
    dots: usize,
    dashes: usize,
}

/// Whether a number is written as people write telephone numbers, and not as a date or an address.
fn is_phone(text: &[u8], digits: &[u8], layout: &Layout, follows: u8) -> bool {
    let Layout { groups, widest, dots, dashes } = *layout;
    let count = digits.len();
    let year_first = matches!(text, [b'1', b'9', _, _, b'-' | b'.' | b'/', ..])
        || matches!(text, [b'2', b'0', _, _, b'-' | b'.' | b'/', ..]);
    let dotted = dots == 3 || dots == 2 && count <= 8;
    if year_first || dotted && widest <= 4 || follows == b':' || follows.is_ascii_alphabetic() {
        return false;
    }
    let grouped = dashes >= 1 || groups >= 3 || matches!(text[0], b'0' | b'(');
    match (groups, count) {
        _ if text[0] == b'+' => (8..=15).contains(&count),
        (1, 11) => digits[0] == 1 && digits[1] >= 3, // a Chinese mobile number
        (2, 7) => dashes == 1 && widest == 4,
        (3, 7) => dashes == 1,
        (2.., 9..=13) => widest <= 8 && grouped,
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, &digit)| match (index % 2, u32::from(digit) * 2) {
            (0, _) => u32::from(digit),
            (_, double) => double / 10 + double % 10,
        })
        .sum();
    matches!(digits[0], 2..=6)
        && sum.is_multiple_of(10)
        && digits.iter().any(|&digit| digit != digits[0])
}

/// Resident identity card: 17 digits and a check character by ISO 7064 mod 11-2.
fn chinese_id(digits: &[u8], follows: u8) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    if digits.len() < 17 || digits.len() > 18 || !matches!(digits[6..8], [1, 9] | [2, 0]) {
        return false;
    }
    let sum: u32 =
        digits.iter().zip(WEIGHTS).map(|(&digit, weight)| u32::from(digit) * weight).sum();
    let check = (12 - sum % 11) % 11;
    match digits.get(17) {
        Some(&last) => u32::from(last) == check,
        None => check == 10 && matches!(follows, b'X' | b'x'),
    }
}

/// CPF as it is written, `000.000.000-00`, two check digits.
fn brazilian_id(text: &[u8], digits: &[u8]) -> bool {
    if digits.len() != 11 || text.len() != 14 || [text[3], text[7], text[11]] != *b"..-" {
        return false;
    }
    let check = |count: usize| {
        let sum: usize =
            (0..count).map(|index| usize::from(digits[index]) * (count + 1 - index)).sum();
        (sum * 10 % 11 % 10) as u8
    };
    check(9) == digits[9] && check(10) == digits[10]
}

/// DNI: eight digits and the letter that their remainder by 23 gives.
fn spanish_id(digits: &[u8], is_plain: bool, follows: u8) -> bool {
    if digits.len() != 8 || !is_plain {
        return false;
    }
    let number = digits.iter().fold(0, |number: u32, &digit| number * 10 + u32::from(digit));
    b"TRWAGMYFPDXBNJZSQVHLCKE"[(number % 23) as usize] == follows
}

/// The bytes of an IBAN at the start of `rest`, when its check digits are right.
fn iban(rest: &[u8]) -> Option<usize> {
    let starts = matches!(rest, [a, b, c, d, ..]
        if a.is_ascii_uppercase() && b.is_ascii_uppercase() && c.is_ascii_digit() && d.is_ascii_digit());
    if !starts {
        return None;
    }
    let mut signs = [0u8; 34];
    let mut count = 0;
    let mut taken = 0;
    for (index, &byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' if count < signs.len() => {
                signs[count] = byte;
                count += 1;
                taken = index + 1;
                // A country's length is not looked up: any prefix that checks is one.
                let ended = rest.get(taken).is_none_or(|b| !b.is_ascii_alphanumeric());
                if count >= 15 && ended && mod_97(&signs[..count]) == 1 {
                    return Some(taken);
                }
            }
            b' ' if index == taken => {}
            _ => break,
        }
    }
    None
}

fn mod_97(signs: &[u8]) -> u32 {
    signs[4..].iter().chain(&signs[..4]).fold(0, |rest, &sign| match sign {
        b'0'..=b'9' => (rest * 10 + u32::from(sign - b'0')) % 97,
        _ => (rest * 100 + u32::from(sign - b'A') + 10) % 97,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(text: &str) -> String {
        let f = Findings::find(text);
        let counts = [
            ("email", f.emails),
            ("phone", f.phones),
            ("card", f.cards),
            ("iban", f.ibans),
            ("id", f.national_ids),
            ("key", f.keys),
            ("pem", f.private_keys),
            ("password", f.passwords),
        ];
        counts
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(name, n)| format!("{name}{n}"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn no_key_is_shorter_than_the_shortest() {
        let shortest = KEY_PREFIXES.iter().map(|(prefix, more)| prefix.len() + more).min();
        assert_eq!(shortest, Some(KEY_BYTES_MIN));
    }

    #[test]
    fn forms_are_found() {
        // Test numbers that their issuers publish, and made-up keys.
        for (text, expected) in [
            ("card 4111 1111 1111 1111 exp 12/27", "card1"),
            ("5555-5555-5555-4444", "card1"),
            ("378282246310005", "card1"),
            ("IBAN DE89 3704 0044 0532 0130 00, thanks", "iban1"),
            ("GB82WEST12345698765432", "iban1"),
            ("write to a.b+c@example.com and d@example.co.uk.", "email2"),
            ("call +44 20 7946 0958", "phone1"),
            ("(555) 010-0199", "phone1"),
            ("555-0142", "phone1"),
            ("ring 030 1234 5678", "phone1"),
            ("手机号13800138000", "phone1"),
            ("SSN 078-05-1120", "id1"),
            ("身份证11010519491231002X", "id1"),
            ("CPF 529.982.247-25", "id1"),
            ("DNI 12345678Z", "id1"),
            (concat!("sk-", "abcdefghijklmnopqrstuvwxyz012345"), "key1"),
            (concat!("AKIA", "IOSFODNN7EXAMPLE"), "key1"),
            ("postgres://app:hunter22@db.example.com/x", "email1 key1"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "pem1"),
            ("password: hunter2!", "password1"),
            ("密码：abc12345", "password1"),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }

    #[test]
    fn look_alikes_are_not() {
        for text in [
            "4111 1111 1111 1112",
            "2024-05-01 12:30:00",
            "192.168.100.200",
            "version 10.2.33",
            "1234567890123456789012345",
            "GB00WEST12345698765432",
            "a @ b",
            "me@home",
            "def __init__(self, password: str):",
            "password = os.environ[\"X\"]",
            "-----BEGIN CERTIFICATE-----",
            "https://example.com:8080/a",
            "ISO 9001 2015",
            "sk-learn",
            "3.14159265358979",
            "0000000000000000",
            "what is a good password?",
            "12345678",
            "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        ] {
            assert_eq!(named(text), "", "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_looked_through(text in "\\PC{0,400}|[0-9+() @:=.A-Z-]{0,400}|(-----BEGIN |://|password：|DE89 ){0,60}") {
            Findings::find(&text);
        }
    }
}

//! What a provider says of its rate limits, on its way to a client of the same dialect.
//!
//! In: the fields of a provider's response head. Out: those that [`ALLOWED`] names, as lines of a head
//! towards the client. Never: more than [`BYTES_MAX`] of them; a value beyond printable ASCII; a field
//! for clients of a dialect that has other names for it.

use models::Dialect;

/// Most bytes of lines that are kept of one answer; Anthropic's own are about 700.
pub const BYTES_MAX: usize = 2048;

/// Whose names the fields have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Anthropic,
    OpenAi,
}

/// What fields that are relayed begin with, in lower case.
const ALLOWED: [(Form, &str); 4] = [
    (Form::Anthropic, "anthropic-ratelimit-"),
    (Form::OpenAi, "x-ratelimit-limit-"),
    (Form::OpenAi, "x-ratelimit-remaining-"),
    (Form::OpenAi, "x-ratelimit-reset-"),
];

/// The fields of one answer. Takes no memory when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Each with its line end.
    lines: Vec<u8>,
}

impl RateLimits {
    /// Whether a field of that name is one of them.
    pub fn knows(name: &str) -> bool {
        form_of(name.as_bytes()).is_some()
    }

    /// Keeps a field if it is one of them and there is room; what does not fit is left out.
    pub fn take(&mut self, name: &str, value: &str) {
        const BESIDE: usize = ": \r\n".len();
        let fits = self.lines.len() + name.len() + value.len() + BESIDE <= BYTES_MAX;
        if Self::knows(name) && fits {
            self.add(name, value);
        }
    }

    /// What of it a client of one dialect gets when a provider of the other has answered: in the same
    /// form all that has it, else nothing.
    pub fn between(mut self, client: Dialect, provider: Dialect) -> RateLimits {
        let wanted = form(client).filter(|wanted| form(provider) == Some(*wanted));
        let Some(wanted) = wanted else { return RateLimits::default() };
        let is_wanted = |line: &[u8]| form_of(line) == Some(wanted);
        if !self.lines().all(is_wanted) {
            let kept: Vec<&[u8]> = self.lines().filter(|line| is_wanted(line)).collect();
            self.lines = kept.concat();
        }
        self
    }

    /// Adds when a limited client may come back (RFC 3339), where its dialect has a field for that and
    /// no provider has said it.
    pub fn complete(&mut self, client: Dialect, reset: impl FnOnce() -> String) {
        let says_reset = |line: &[u8]| {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            name.len() >= 6 && name[name.len() - 6..].eq_ignore_ascii_case(b"-reset")
        };
        if form(client) == Some(Form::Anthropic) && !self.lines().any(says_reset) {
            self.add("anthropic-ratelimit-requests-reset", &reset());
        }
    }

    /// The lines, each with its end, as they stand in a head.
    pub fn as_bytes(&self) -> &[u8] {
        &self.lines
    }

    fn add(&mut self, name: &str, value: &str) {
        if self.lines.is_empty() {
            self.lines.reserve(1024);
        }
        for part in [name, ": ", value, "\r\n"] {
            self.lines.extend_from_slice(part.as_bytes());
        }
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.split_inclusive(|&byte| byte == b'\n')
    }
}

fn form(dialect: Dialect) -> Option<Form> {
    match dialect {
        Dialect::AnthropicMessages => Some(Form::Anthropic),
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::OpenAiEmbeddings => {
            Some(Form::OpenAi)
        }
        Dialect::GeminiGenerate
        | Dialect::GeminiEmbed
        | Dialect::BedrockConverse
        | Dialect::CohereV2 => None,
    }
}

/// The form of a field whose line begins so.
fn form_of(line: &[u8]) -> Option<Form> {
    // Most fields are told apart by their first letter.
    if !matches!(line.first(), Some(b'a' | b'A' | b'x' | b'X')) {
        return None;
    }
    let begins = |start: &str| {
        line.get(..start.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(start.as_bytes()))
    };
    ALLOWED.iter().find(|(_, start)| begins(start)).map(|(form, _)| *form)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [(&str, &str); 7] = [
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("Anthropic-RateLimit-Requests-Reset", "2026-11-21T03:00:00Z"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("X-RateLimit-Reset-Requests", "6m0s"),
        ("x-ratelimit-account", "acme"),
        ("anthropic-organization-id", "org"),
        ("set-cookie", "a=b"),
    ];

    fn limits() -> RateLimits {
        let mut limits = RateLimits::default();
        FIELDS.iter().for_each(|(name, value)| limits.take(name, value));
        limits
    }

    /// One row per pair of dialects: which of [`FIELDS`] the client gets.
    #[test]
    fn clients_get_the_fields_of_their_own_dialect() {
        use Dialect as D;
        let rows: [(D, D, &[usize]); 7] = [
            (D::AnthropicMessages, D::AnthropicMessages, &[0, 1]),
            (D::OpenAiChat, D::OpenAiChat, &[2, 3]),
            (D::OpenAiChat, D::OpenAiResponses, &[2, 3]),
            (D::OpenAiEmbeddings, D::OpenAiEmbeddings, &[2, 3]),
            (D::AnthropicMessages, D::OpenAiChat, &[]),
            (D::OpenAiChat, D::AnthropicMessages, &[]),
            (D::GeminiGenerate, D::GeminiGenerate, &[]),
        ];
        for (client, provider, fields) in rows {
            let lines = fields.iter().map(|&at| format!("{}: {}\r\n", FIELDS[at].0, FIELDS[at].1));
            let expected: String = lines.collect();
            let got = limits().between(client, provider);
            assert_eq!(got.as_bytes(), expected.as_bytes(), "{client} before {provider}");
        }
    }

    #[test]
    fn a_reset_is_made_up_only_where_none_was_said() {
        let rows = [
            (Dialect::AnthropicMessages, limits(), false),
            (Dialect::AnthropicMessages, RateLimits::default(), true),
            (Dialect::OpenAiChat, RateLimits::default(), false),
        ];
        for (client, before, is_made) in rows {
            let mut after = before.clone();
            after.complete(client, || "2026-11-21T03:00:07Z".to_owned());
            assert_eq!(after != before, is_made, "{client}");
            let made = b"anthropic-ratelimit-requests-reset: 2026-11-21T03:00:07Z\r\n";
            assert_eq!(after.as_bytes().ends_with(made), is_made, "{client}");
        }
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut limits = RateLimits::default();
        let long = "9".repeat(100);
        for number in 0..1000 {
            limits.take(&format!("x-ratelimit-limit-{number}"), &long);
        }
        assert!((BYTES_MAX - 200..=BYTES_MAX).contains(&limits.as_bytes().len()));
        assert!(limits.as_bytes().ends_with(b"9\r\n"), "whole lines");
        assert_eq!(RateLimits::default().as_bytes(), b"");
    }
}

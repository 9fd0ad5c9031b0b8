//! Which path means what. Routing and rights both use the one value that [`Endpoint::of`] gives, and
//! a path is compared as it was sent: no decoding, no dot segments, no folding of case, so that no
//! other spelling of a path opens it.

use crate::http1::Method;
use models::Dialect;

/// What a path of the data port answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'p> {
    /// A conversation in that dialect, or vectors where it holds those.
    Chat(Dialect),
    /// How long a conversation in that dialect is, in tokens.
    CountTokens(Dialect),
    /// The list of models.
    Models,
    /// One model, by its name as it stands in the path (perhaps percent-encoded).
    Model(&'p str),
    /// The dry run of a routing decision.
    Route,
    /// The root, at which clients look whether anybody is there before they ask.
    Root,
    /// Whether the process lives.
    Healthz,
    /// Whether it takes requests.
    Readyz,
}

impl<'p> Endpoint<'p> {
    /// The endpoint at `path`.
    pub fn of(path: &'p str) -> Option<Endpoint<'p>> {
        Some(match path {
            "/v1/chat/completions" | "/chat/completions" => Endpoint::Chat(Dialect::OpenAiChat),
            "/v1/responses" | "/responses" => Endpoint::Chat(Dialect::OpenAiResponses),
            "/v1/messages" | "/messages" => Endpoint::Chat(Dialect::AnthropicMessages),
            "/v1/messages/count_tokens" | "/messages/count_tokens" => {
                Endpoint::CountTokens(Dialect::AnthropicMessages)
            }
            "/v1/embeddings" | "/embeddings" => Endpoint::Chat(Dialect::OpenAiEmbeddings),
            "/v1/models" | "/models" => Endpoint::Models,
            "/v1/route" => Endpoint::Route,
            "/" => Endpoint::Root,
            "/healthz" => Endpoint::Healthz,
            "/readyz" => Endpoint::Readyz,
            _ => {
                let name = path.strip_prefix("/v1/models/").or(path.strip_prefix("/models/"))?;
                if name.is_empty() {
                    return None;
                }
                Endpoint::Model(name)
            }
        })
    }

    /// The methods that it answers, as the `Allow` field lists them.
    pub fn allow(self) -> &'static str {
        match self {
            Endpoint::Chat(_) | Endpoint::CountTokens(_) | Endpoint::Route => "POST",
            _ => "GET, HEAD",
        }
    }

    /// Whether it answers `method`.
    pub fn takes(self, method: Method) -> bool {
        match self {
            Endpoint::Chat(_) | Endpoint::CountTokens(_) | Endpoint::Route => {
                method == Method::Post
            }
            _ => matches!(method, Method::Get | Method::Head),
        }
    }

    /// In which dialect it answers, when the path says so.
    pub fn dialect(self) -> Option<Dialect> {
        match self {
            Endpoint::Chat(dialect) | Endpoint::CountTokens(dialect) => Some(dialect),
            _ => None,
        }
    }

    /// Whether a key is needed. Everything but the probes of a load balancer needs one.
    pub fn is_protected(self) -> bool {
        !matches!(self, Endpoint::Root | Endpoint::Healthz | Endpoint::Readyz)
    }
}

/// The name in a path, percent-decoded; `None` when it is not UTF-8 or badly encoded.
pub fn percent_decoded(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let hex = std::str::from_utf8(&digits).ok()?;
                if hex.starts_with('+') {
                    return None;
                }
                u8::from_str_radix(hex, 16).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_spelling_opens_a_path() {
        assert_eq!(Endpoint::of("/v1/models"), Some(Endpoint::Models));
        assert_eq!(Endpoint::of("/v1/models/a/b"), Some(Endpoint::Model("a/b")));
        for path in [
            "/V1/models",
            "/v1//models",
            "/v1/./models",
            "//v1/models",
            "/v1/models;x",
            "/v1/models/",
            "/v1/%6dodels",
            "/healthz/",
            "/healthz/../v1/models",
            "/v1/chat/completions/",
            "/v1/messages/",
            "/v1/messages/batches",
            "/v1/responses/resp_1",
            "/v1/responses/compact",
            "",
            "/metrics",
            "/admin",
        ] {
            assert_eq!(Endpoint::of(path), None, "{path}");
        }
        for path in ["/v1/models", "/v1/models/x", "/v1/route", "/v1/chat/completions"] {
            assert!(Endpoint::of(path).is_some_and(Endpoint::is_protected));
        }
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(percent_decoded("a%2Fb%252F").as_deref(), Some("a/b%2F"));
        assert_eq!(percent_decoded("a%2"), None);
        assert_eq!(percent_decoded("%+1"), None);
        assert_eq!(percent_decoded("%ff"), None);
    }
}

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
    /// A conversation in a dialect whose path says what others say in the body.
    ChatByPath(Dialect, ByPath<'p>),
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

/// What a path says of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByPath<'p> {
    /// The model, by its name as it stands there (perhaps percent-encoded).
    pub model: &'p str,
    /// Whether the answer is streamed.
    pub streams: bool,
}

/// The dialect that everything below a path's beginning is spoken in, also what does not exist.
pub fn dialect_below(path: &str) -> Option<Dialect> {
    GEMINI_ROOTS.iter().any(|root| path.starts_with(root)).then_some(Dialect::GeminiGenerate)
}

/// Where Gemini's clients look, beside `/v1/models/{model}:{verb}`.
const GEMINI_ROOTS: [&str; 2] = ["/v1beta/", "/v1alpha/"];

impl<'p> Endpoint<'p> {
    /// The endpoint at `path`.
    pub fn of(path: &'p str) -> Option<Endpoint<'p>> {
        if let Some(endpoint) = Endpoint::of_gemini(path) {
            return Some(endpoint);
        }
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

    /// Gemini's paths: `{root}/models/{model}:{verb}`, and the lists.
    fn of_gemini(path: &'p str) -> Option<Endpoint<'p>> {
        let own = GEMINI_ROOTS.iter().find_map(|root| path.strip_prefix(root));
        let below = own.or(path.strip_prefix("/v1/"))?;
        if own.is_some() && below == "models" {
            return Some(Endpoint::Models);
        }
        let named = below.strip_prefix("models/").filter(|named| !named.is_empty())?;
        let dialect = Dialect::GeminiGenerate;
        // Names may hold colons themselves.
        let (model, verb) = named.rsplit_once(':').unwrap_or((named, ""));
        match verb {
            _ if model.is_empty() => None,
            "generateContent" => {
                Some(Endpoint::ChatByPath(dialect, ByPath { model, streams: false }))
            }
            "streamGenerateContent" => {
                Some(Endpoint::ChatByPath(dialect, ByPath { model, streams: true }))
            }
            "embedContent" | "batchEmbedContents" => {
                Some(Endpoint::ChatByPath(Dialect::GeminiEmbed, ByPath { model, streams: false }))
            }
            "countTokens" => Some(Endpoint::CountTokens(dialect)),
            _ => own.map(|_| Endpoint::Model(named)),
        }
    }

    /// The methods that it answers, as the `Allow` field lists them.
    pub fn allow(self) -> &'static str {
        match self {
            _ if self.takes(Method::Post) => "POST",
            _ => "GET, HEAD",
        }
    }

    /// Whether it answers `method`.
    pub fn takes(self, method: Method) -> bool {
        match self {
            Endpoint::Chat(_)
            | Endpoint::ChatByPath(..)
            | Endpoint::CountTokens(_)
            | Endpoint::Route => method == Method::Post,
            _ => matches!(method, Method::Get | Method::Head),
        }
    }

    /// In which dialect it answers, when the path says so.
    pub fn dialect(self) -> Option<Dialect> {
        match self {
            Endpoint::Chat(dialect)
            | Endpoint::ChatByPath(dialect, _)
            | Endpoint::CountTokens(dialect) => Some(dialect),
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
    fn geminis_paths_name_the_model() {
        let dialect = Dialect::GeminiGenerate;
        let rows = [
            ("/v1beta/models/auto:generateContent", "auto", false),
            ("/v1/models/auto:generateContent", "auto", false),
            ("/v1alpha/models/auto:cheap:streamGenerateContent", "auto:cheap", true),
            ("/v1beta/models/lab/model:streamGenerateContent", "lab/model", true),
        ];
        for (path, model, streams) in rows {
            let expected = Endpoint::ChatByPath(dialect, ByPath { model, streams });
            assert_eq!(Endpoint::of(path), Some(expected), "{path}");
            assert!(expected.is_protected() && expected.takes(Method::Post));
        }
        let rows = [
            ("/v1beta/models/x:countTokens", Some(Endpoint::CountTokens(dialect))),
            ("/v1beta/models", Some(Endpoint::Models)),
            ("/v1beta/models/a:b", Some(Endpoint::Model("a:b"))),
            ("/v1/models/a:b", Some(Endpoint::Model("a:b"))),
            ("/v1beta/models/", None),
            ("/v1beta/models/:generateContent", None),
            ("/v1beta/cachedContents", None),
            ("/V1beta/models/x:generateContent", None),
        ];
        for (path, endpoint) in rows {
            assert_eq!(Endpoint::of(path), endpoint, "{path}");
        }
        assert_eq!(dialect_below("/v1beta/cachedContents"), Some(dialect));
        assert_eq!(dialect_below("/v1/models"), None);
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(percent_decoded("a%2Fb%252F").as_deref(), Some("a/b%2F"));
        assert_eq!(percent_decoded("a%2"), None);
        assert_eq!(percent_decoded("%+1"), None);
        assert_eq!(percent_decoded("%ff"), None);
    }
}

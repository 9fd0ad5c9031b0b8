//! Every way to say no, in one list: status, type, code, whose fault it is and what to do about it.
//! A dialect only renders what stands here.

use crate::limits::RateLimits;
use std::borrow::Cow;

/// Whose fault it is: that decides the status, the retry and the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's: the same request will fail again.
    Client,
    /// A provider's: another target, or the same one later, may do it.
    Upstream,
    /// Ours.
    Gateway,
}

macro_rules! kinds {
    ($($kind:ident $status:literal $side:ident $type:literal $code:literal $message:literal,)+) => {
        /// What was refused, and why.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $(#[doc = concat!("Says `", $message, "`")] $kind,)+ }

        impl Kind {
            /// All kinds, in the order of the list.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)+];
            /// The HTTP status.
            pub fn status(self) -> u16 { match self { $(Kind::$kind => $status,)+ } }
            /// Whose fault it is.
            pub fn side(self) -> Side { match self { $(Kind::$kind => Side::$side,)+ } }
            /// The error type, in OpenAI's vocabulary.
            pub fn error_type(self) -> &'static str { match self { $(Kind::$kind => $type,)+ } }
            /// The error code: stable, for programs; also the label in the metrics.
            pub fn code(self) -> &'static str { match self { $(Kind::$kind => $code,)+ } }
            /// What is said when nothing more exact is known.
            pub fn message(self) -> &'static str { match self { $(Kind::$kind => $message,)+ } }
        }
    };
}

kinds! {
    // Reading the request.
    BadHttp 400 Client "invalid_request_error" "bad_http" "The HTTP message is malformed.",
    BadJson 400 Client "invalid_request_error" "invalid_json" "The request body is not valid JSON.",
    BadField 400 Client "invalid_request_error" "invalid_value" "A field has an invalid value.",
    MissingField 400 Client "invalid_request_error" "missing_required_parameter" "A required field is missing.",
    ContextTooLong 400 Client "invalid_request_error" "context_length_exceeded" "The request is longer than the context of every model that could take it.",
    NotCapable 400 Client "invalid_request_error" "unsupported_value" "No enabled model can do what the request asks for.",
    ThreadUnsupported 400 Client "invalid_request_error" "thread_unsupported_request" "Threads are not kept here. Send the whole conversation without \"thread\".",
    MissingCredential 401 Client "invalid_request_error" "missing_api_key" "No API key was sent. Send it as \"Authorization: Bearer <key>\".",
    BadCredential 401 Client "invalid_request_error" "invalid_api_key" "The API key is not known. Check it, or make one with \"pointsman key create\".",
    RevokedCredential 401 Client "invalid_request_error" "revoked_api_key" "The API key was revoked. Make a new one with \"pointsman key create\".",
    ExpiredCredential 401 Client "invalid_request_error" "expired_api_key" "The API key has expired. Make a new one with \"pointsman key create\".",
    NotFound 404 Client "invalid_request_error" "not_found" "There is nothing at this path.",
    ThreadNotFound 404 Client "invalid_request_error" "thread_not_found" "The thread is not known: threads are not kept here. Send the whole conversation.",
    UnknownModel 404 Client "invalid_request_error" "model_not_found" "The model does not exist or no enabled provider serves it. GET /v1/models lists what is served.",
    MethodNotAllowed 405 Client "invalid_request_error" "method_not_allowed" "This path does not answer this method.",
    RequestTimeout 408 Client "invalid_request_error" "request_timeout" "The request did not arrive in time.",
    BodyTooLarge 413 Client "invalid_request_error" "request_too_large" "The request body is too large.",
    TargetTooLong 414 Client "invalid_request_error" "uri_too_long" "The request target is longer than 8 KiB.",
    UnsupportedEncoding 415 Client "invalid_request_error" "unsupported_content_encoding" "Compressed request bodies are not supported. Send the body without Content-Encoding.",
    ExpectationFailed 417 Client "invalid_request_error" "expectation_failed" "Only \"Expect: 100-continue\" is understood.",
    HeadTooLarge 431 Client "invalid_request_error" "header_fields_too_large" "The request head is too large.",
    UnknownMethod 501 Client "invalid_request_error" "unknown_method" "The method is not known.",
    UnknownTransferCoding 501 Client "invalid_request_error" "unknown_transfer_coding" "Only \"Transfer-Encoding: chunked\" is understood.",
    VersionNotSupported 505 Client "invalid_request_error" "http_version_not_supported" "Only HTTP/1.1 and HTTP/1.0 are understood.",
    // Calling providers.
    UpstreamRejected 400 Client "invalid_request_error" "upstream_rejected" "The provider rejected the request.",
    RateLimited 429 Upstream "requests" "rate_limit_exceeded" "Every provider of this model limits our rate at the moment.",
    UpstreamUnavailable 502 Upstream "upstream_error" "upstream_unavailable" "No provider could answer the request.",
    UpstreamCredentials 502 Upstream "upstream_error" "upstream_credentials" "The provider did not accept the gateway's own credential. The operator has to renew it.",
    UpstreamInvalid 502 Upstream "upstream_error" "upstream_invalid_response" "The provider's answer could not be understood.",
    UpstreamInterrupted 502 Upstream "upstream_error" "upstream_interrupted" "The provider's answer broke off.",
    Overloaded 503 Upstream "upstream_error" "upstream_overloaded" "The provider is overloaded.",
    UpstreamTimeout 504 Upstream "upstream_error" "upstream_timeout" "The provider did not answer in time.",
    // Ourselves.
    Internal 500 Gateway "server_error" "internal_error" "The gateway failed to handle the request.",
    NoCandidate 503 Gateway "server_error" "no_candidate" "No model is available for this request.",
    LedgerUnavailable 503 Gateway "server_error" "ledger_unavailable" "The request cannot be accounted for at the moment.",
    TooManyConnections 503 Gateway "server_error" "too_many_connections" "Too many connections.",
    ShuttingDown 503 Gateway "server_error" "shutting_down" "The gateway is shutting down.",
}

/// A refusal with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What and why.
    pub kind: Kind,
    /// For people: names the field and the remedy. Never holds prompt text or secrets.
    pub message: Cow<'static, str>,
    /// Path of the field in the request, `messages[2].content`.
    pub param: Option<Cow<'static, str>>,
    /// When to come back, in seconds.
    pub retry_after_s: Option<u32>,
    /// What the provider that limits says of its limits, for clients of its dialect.
    pub limits: RateLimits,
    /// The status when it is not the kind's own: a provider's 404, 413 or 422 is passed on.
    pub status: u16,
}

impl Refusal {
    /// A refusal with the kind's own message.
    #[cold]
    pub fn new(kind: Kind) -> Refusal {
        Refusal {
            kind,
            message: Cow::Borrowed(kind.message()),
            param: None,
            retry_after_s: None,
            limits: RateLimits::default(),
            status: kind.status(),
        }
    }

    /// Says more exactly what is wrong and what would do.
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Refusal {
        self.message = message.into();
        self
    }

    /// Names the field.
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Refusal {
        self.param = Some(param.into());
        self
    }

    /// Tells when to come back.
    pub fn with_retry_after(mut self, seconds: Option<u32>) -> Refusal {
        self.retry_after_s = seconds;
        self
    }

    /// Passes on another status of the same class.
    pub fn with_status(mut self, status: u16) -> Refusal {
        self.status = status;
        self
    }

    /// Whether the connection is closed after it: the rest of its bytes cannot be trusted to be a
    /// request.
    pub fn closes(&self) -> bool {
        matches!(
            self.kind,
            Kind::BadHttp
                | Kind::HeadTooLarge
                | Kind::TargetTooLong
                | Kind::RequestTimeout
                | Kind::UnknownMethod
                | Kind::UnknownTransferCoding
                | Kind::VersionNotSupported
                | Kind::ShuttingDown
                | Kind::TooManyConnections
        )
    }
}

/// A name from outside, fit to be shown in a message or a log line: without control characters,
/// cut to 200 characters.
pub fn shown(name: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let mut text: String = name.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(CHARACTERS_MAX).is_some() {
        text.push('…');
    }
    text
}

/// The reason phrase of a status, for the status line.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        529 => "Overloaded",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_unique_and_statuses_have_names() {
        let codes: HashSet<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_ne!(reason(kind.status()), "Error", "{kind:?}");
        }
    }

    #[test]
    fn names_from_outside_are_harmless() {
        assert_eq!(shown("a\r\nb\u{0}"), "a\\r\\nb\\0");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), 201);
    }
}

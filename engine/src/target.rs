//! How one offer is called: where, in which dialects, with which head, and what its provider wants
//! said differently.
//!
//! In: the catalogue's view of an offer, when a snapshot is built. Out: [`Target`] with a [`Way`] for
//! each dialect that is spoken here. Never: a decision between offers.

use crate::credential::Credential;
use crate::upstream::{BaseUrl, Origin};
use models::catalogue::{
    Auth, EndpointView, MaxTokensField, ModelView, OfferView, ProviderView, Quirks,
};
use models::{Capabilities, Dialect};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use wire::chat::{self, Chat, Efforts, Issuer, ReadRules};
use wire::dialect::{Codec, Outgoing, UsageRules};
use wire::embed::Embed;
use wire::request::Parsed;

/// How one offer is called.
pub struct Target {
    /// The dialects in which it can be reached, the provider's preferred one first. Never empty.
    pub ways: Vec<Way>,
    /// The provider's name for the model, fit to stand in a JSON string.
    pub wire_id: String,
    /// Where the provider departs from its dialect.
    pub quirks: Quirks,
    /// What it can do.
    pub caps: Capabilities,
    /// The most output tokens.
    pub max_output: u32,
    /// The efforts that the model knows.
    pub efforts: Efforts,
    /// Our name of the model.
    pub model: String,
    /// Our name of the provider.
    pub provider: String,
}

/// One dialect in which an offer can be reached.
pub struct Way {
    /// Where.
    pub origin: Arc<Origin>,
    heads: Arc<Heads>,
    /// The dialect.
    pub codec: &'static dyn Codec,
    /// Its translator, if it holds conversations.
    pub chat: Option<&'static dyn Chat>,
    /// Its translator, if it holds vectors.
    pub embed: Option<&'static dyn Embed>,
    /// Whose state an answer holds.
    pub issuer: Issuer,
    /// What shows who we are, if the head does not.
    pub credential: Credential,
}

/// What a provider is asked for: each has a path and a head of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An answer.
    Answer,
    /// One at the dialect's second path (see [`Codec::path`]).
    AnswerAtSecond,
    /// How many tokens the request has.
    Count,
}

impl Wanted {
    const COUNT: usize = 3;

    /// An answer to that request.
    pub fn answer(request: &Parsed) -> Wanted {
        if request.takes_second_path() { Wanted::AnswerAtSecond } else { Wanted::Answer }
    }
}

impl Target {
    /// A target for `offer`; `None` when it has no way.
    pub fn new(
        offer: OfferView<'_>,
        model: ModelView<'_>,
        provider: ProviderView<'_>,
        ways: Vec<Way>,
    ) -> Option<Target> {
        (!ways.is_empty()).then(|| Target {
            ways,
            wire_id: json_escaped(offer.wire_id()),
            quirks: offer.quirks(),
            caps: offer.caps(),
            max_output: offer.max_output(),
            efforts: Efforts::of(model.efforts()),
            model: model.id().to_owned(),
            provider: provider.id().to_owned(),
        })
    }

    /// The way for a client of that dialect with those needs: its own dialect, in which nothing is
    /// lost, else the first that can say what it asks.
    pub fn way(&self, client: Dialect, needs: Capabilities) -> &Way {
        let same = self.ways.iter().find(|way| way.codec.dialect() == client);
        let able = || {
            let says = |way: &&Way| {
                let cannot = wire::dialect::cannot(way.codec.dialect());
                cannot.is_some_and(|cannot| cannot.without(needs) == cannot)
            };
            self.ways.iter().find(says)
        };
        // A target has a way, see `new`.
        same.or_else(able).unwrap_or(&self.ways[0])
    }

    /// What changes in a request that passes to this target in its own dialect.
    pub fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            model: &self.wire_id,
            asks_usage: self.quirks.usage_in_stream,
            max_output_field: Some(match self.quirks.max_tokens_field {
                MaxTokensField::MaxTokens => "max_tokens",
                MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
            }),
            max_output: self.max_output,
        }
    }

    /// What the writer of a translated request has to know.
    pub fn facts(&self, way: &Way) -> chat::Target<'_> {
        chat::Target {
            model: &self.wire_id,
            issuer: way.issuer,
            quirks: self.quirks,
            caps: self.caps,
            max_output: self.max_output,
            efforts: self.efforts,
        }
    }

    /// How its counts are to be read.
    pub fn usage_rules(&self) -> UsageRules {
        UsageRules { reasoning_apart: self.quirks.reasoning_apart }
    }

    /// What the reader of its answers has to know.
    pub fn read_rules(&self, way: &Way) -> ReadRules {
        ReadRules { usage: self.usage_rules(), issuer: way.issuer }
    }
}

impl Way {
    /// Whether its dialect has a path that counts tokens.
    pub fn counts(&self) -> bool {
        self.codec.count_path().is_some()
    }

    /// The path of a request as it is sent, with its query.
    pub fn path(&self, wanted: Wanted) -> &str {
        &self.heads.paths[wanted as usize]
    }

    /// Begins a request: its head up to the digits of its `Content-Length`. `forwarded` are fields of
    /// the client's head that go along, each with its line end.
    pub fn write_head(&self, wanted: Wanted, forwarded: &[u8], out: &mut Vec<u8>) {
        let Heads { whole, bare, .. } = &*self.heads;
        if forwarded.is_empty() {
            return out.extend_from_slice(&whole[wanted as usize]);
        }
        out.extend_from_slice(&bare[wanted as usize]);
        out.extend_from_slice(forwarded);
        out.extend_from_slice(CONTENT_LENGTH.as_bytes());
    }
}

/// Heads of requests up to the digits of their `Content-Length`, by what is [`Wanted`].
struct Heads {
    whole: [Vec<u8>; Wanted::COUNT],
    /// Without the fields that a client's own take the place of.
    bare: [Vec<u8>; Wanted::COUNT],
    /// What they ask for.
    paths: [String; Wanted::COUNT],
}

/// Where a provider is reached in one dialect, and what opens it.
pub struct Endpoint<'c> {
    /// The dialect.
    pub codec: &'static dyn Codec,
    /// Where.
    pub origin: Arc<Origin>,
    /// The same in words.
    pub url: BaseUrl,
    /// How to show the key.
    pub auth: Auth,
    /// The key, if it needs one.
    pub key: Option<String>,
    /// What else shows who we are.
    pub credential: Credential,
    /// Whose it is.
    pub provider: ProviderView<'c>,
    /// Heads by path: in most dialects there is one for all offers.
    heads: RefCell<HashMap<[String; Wanted::COUNT], Arc<Heads>>>,
}

impl<'c> Endpoint<'c> {
    /// An endpoint.
    pub fn new(
        codec: &'static dyn Codec,
        origin: Arc<Origin>,
        url: BaseUrl,
        auth: Auth,
        (key, credential): (Option<String>, Credential),
        provider: ProviderView<'c>,
    ) -> Endpoint<'c> {
        let heads = RefCell::default();
        Endpoint { codec, origin, url, auth, key, credential, provider, heads }
    }

    /// The way to the model that the provider calls `wire_id`.
    pub fn way(&self, wire_id: &str) -> Way {
        let paths = [Wanted::Answer, Wanted::AnswerAtSecond, Wanted::Count];
        let paths = paths.map(|wanted| self.path(wire_id, wanted));
        let heads = Arc::clone(self.heads.borrow_mut().entry(paths).or_insert_with_key(|paths| {
            let heads = |is_bare| paths.each_ref().map(|path| self.head(path, is_bare));
            Arc::new(Heads { whole: heads(false), bare: heads(true), paths: paths.clone() })
        }));
        let dialect = self.codec.dialect();
        Way {
            origin: Arc::clone(&self.origin),
            heads,
            codec: self.codec,
            chat: wire::dialect::chat(dialect),
            embed: wire::dialect::embed(dialect),
            issuer: Issuer::of(dialect, self.provider.id()),
            credential: self.credential.clone(),
        }
    }

    /// Path and query of requests for a model, whose name may stand in the provider's address.
    fn path(&self, wire_id: &str, wanted: Wanted) -> String {
        let model = in_path(wire_id);
        let base = self.url.path.replace(&format!("{{{}}}", EndpointView::MODEL), &model);
        let mut path = base
            + &match wanted {
                Wanted::Answer => self.codec.path(wire_id, false),
                Wanted::AnswerAtSecond => self.codec.path(wire_id, true),
                Wanted::Count => Cow::Borrowed(self.codec.count_path().unwrap_or_default()),
            };
        for (name, value) in self.provider.query() {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&format!("{name}={value}"));
        }
        path
    }

    fn head(&self, path: &str, is_bare: bool) -> Vec<u8> {
        let Endpoint { url, auth, key, provider, .. } = self;
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\n", url.authority());
        if let (Some(key), Some((name, prefix))) = (key, auth.header()) {
            head.push_str(&format!("{name}: {prefix}{key}\r\n"));
        }
        for (name, value) in provider.headers() {
            if !(is_bare && name.eq_ignore_ascii_case("anthropic-version")) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str(concat!(
            "Content-Type: application/json\r\n",
            "Accept: application/json, text/event-stream\r\n",
            "Accept-Encoding: identity\r\n",
        ));
        if !is_bare {
            head.push_str(concat!("User-Agent: pointsman/", env!("CARGO_PKG_VERSION"), "\r\n"));
            head.push_str(CONTENT_LENGTH);
        }
        head.into_bytes()
    }
}

const CONTENT_LENGTH: &str = "Content-Length: ";

/// A model's name as it stands in a path. What a path may hold, slashes too, stays as it is.
fn in_path(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte) {
            true => text.push(char::from(byte)),
            false => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn json_escaped(text: &str) -> String {
    let mut quoted = Vec::new();
    wire::json::write_string(text, &mut quoted);
    String::from_utf8_lossy(&quoted[1..quoted.len() - 1]).into_owned()
}

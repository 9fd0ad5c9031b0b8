//! What shows a provider who we are, where that is not a key which stands in every head: a token that
//! expires, or a signature over each request.
//!
//! In: what the environment and its files hold, when a snapshot is built. Out: lines for the head of one
//! request. The control thread fetches tokens and replaces them under the cores' eyes; a core only reads
//! the newest. Never: I/O on a core, or a secret in a message.

pub mod fetch;
pub mod google;
pub mod sigv4;

use arc_swap::ArcSwapOption;
use google::Account;
use rustls::ClientConfig;
use sigv4::Signer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// How long before its end a token is replaced, in seconds; sooner where it lives shorter than twice
/// that.
const RENEW_BEFORE_S: i64 = 300;
/// When a token that could not be fetched is asked for again, in seconds.
const AGAIN_AFTER_S: i64 = 5;
/// Longest life of a token that is believed, in seconds.
const LIFE_MAX_S: i64 = 86_400;

/// What goes into the head of each request to an endpoint.
#[derive(Clone)]
pub enum Credential {
    /// Nothing more: the head holds a key, or none is needed.
    InHead,
    /// A token.
    Token(Arc<Token>),
    /// A signature.
    Signed(Arc<Signer>),
}

/// There is no token at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoToken;

impl Credential {
    /// Whether there is something to show.
    pub fn is_there(&self) -> bool {
        match self {
            Credential::InHead | Credential::Signed(_) => true,
            Credential::Token(token) => token.line.load().is_some(),
        }
    }

    /// The lines that complete a head, each with its end. `path` is as it is sent, with its query;
    /// `body` in its pieces; `now` in seconds of Unix time.
    pub fn lines(&self, path: &str, body: &[&[u8]], now: i64) -> Result<Vec<u8>, NoToken> {
        match self {
            Credential::InHead => Ok(Vec::new()),
            Credential::Token(token) => token.line.load().as_deref().cloned().ok_or(NoToken),
            Credential::Signed(signer) => Ok(signer.lines(path, body, now).into_bytes()),
        }
    }
}

/// A token that expires, with what it takes to get the next.
pub struct Token {
    account: Account,
    /// `authorization: Bearer …` with its line end.
    line: ArcSwapOption<Vec<u8>>,
    /// When the next one is to be fetched, and when this one is of no more use; Unix seconds.
    due_s: AtomicI64,
    ends_s: AtomicI64,
    is_fetching: AtomicBool,
}

impl Token {
    /// No token yet, to be fetched at once.
    pub fn new(account: Account) -> Token {
        Token {
            account,
            line: ArcSwapOption::empty(),
            due_s: AtomicI64::new(0),
            ends_s: AtomicI64::new(0),
            is_fetching: AtomicBool::new(false),
        }
    }

    /// Whose it is.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Whether somebody should fetch the next one now; who hears yes must do it.
    pub fn is_due(&self, now: i64) -> bool {
        if now >= self.ends_s.load(Ordering::Relaxed) {
            // Better another provider than one that will say no.
            self.line.store(None);
        }
        now >= self.due_s.load(Ordering::Relaxed) && !self.is_fetching.swap(true, Ordering::AcqRel)
    }

    /// Fetches the next one; blocks. On an error the old one stays until its end.
    pub fn renew(&self, tls: &Arc<ClientConfig>, now: i64) -> Result<(), String> {
        let fetched = self.account.fetch(tls, now);
        let result = match fetched {
            Ok(fetched) => {
                let life = fetched.life_s.clamp(1, LIFE_MAX_S);
                let early = RENEW_BEFORE_S.min(life / 2);
                let line = format!("authorization: Bearer {}\r\n", fetched.token);
                self.line.store(Some(Arc::new(line.into_bytes())));
                self.ends_s.store(now + life, Ordering::Relaxed);
                self.due_s.store(now + life - early, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.due_s.store(now + AGAIN_AFTER_S, Ordering::Relaxed);
                Err(error)
            }
        };
        self.is_fetching.store(false, Ordering::Release);
        result
    }
}

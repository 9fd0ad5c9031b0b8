//! A fake provider that does what it is told: for tests, load and a first look without an account.
//!
//! In: a [`Config`] (a default [`Script`], one per model name if wanted) and instructions that travel
//! in each request. Out: answers in a provider's own protocol, and [`Counters`]: the provider's own
//! truth about what it delivered, to check ledgers against. One thread, one `epoll`; never reaches
//! out to anything.
//!
//! ```
//! use loadtest::provider::{Config, Provider};
//! let provider = Provider::start(Config::default())?;
//! println!("point the gateway at {}", provider.base_url());
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mio::net::TcpListener;
use mio::{Poll, Waker};

mod answer;
mod chat;
mod connection;
mod demo;
mod dialect;
mod embeddings;
mod gemini;
mod messages;
mod request;
mod respond;
mod responses;
mod script;
mod server;

pub use script::{Fault, Script, ToolCall, UsageCounts, UsageRule, UsageScript};

/// What a provider is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// What it does unless a model or a request says otherwise.
    pub script: Script,
    /// Scripts by model name, in place of `script`; these names are listed under `/v1/models`.
    pub models: BTreeMap<String, Script>,
    /// Core to pin the thread to.
    pub pin: Option<usize>,
    /// How many requests are kept word for word, for [`Handle::recorded`].
    pub record: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            script: Script::default(),
            models: BTreeMap::new(),
            pin: None,
            record: 0,
        }
    }
}

/// What a provider has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Requests read completely.
    pub requests: u64,
    /// Answers given completely, as counted when their last byte was made.
    pub completed: u64,
    /// Requests answered with an error status.
    pub refused: u64,
    /// Answers spoilt by a fault.
    pub failed: u64,
    /// Answers that the client hung up on.
    pub cancelled: u64,
    /// Events sent in streams.
    pub events: u64,
    /// By model name as it was asked for.
    pub models: BTreeMap<String, ModelCounters>,
}

/// What a provider has done for one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ModelCounters {
    /// Requests read completely.
    pub requests: u64,
    /// Answers given completely.
    pub completed: u64,
    /// Tokens of the complete answers.
    pub tokens: UsageCounts,
}

/// One request, word for word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Request line and fields, with the blank line.
    pub head: Vec<u8>,
    /// The body, unchunked.
    pub body: Vec<u8>,
}

/// What the provider's thread and its handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    stop: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub script: Arc<Script>,
    pub models: BTreeMap<String, Arc<Script>>,
    pub counters: Counters,
    pub recorded: Vec<Recorded>,
    pub record: usize,
}

impl Shared {
    /// Nobody panics while holding this, and counters stay true if somebody did.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Starts providers.
#[derive(Debug)]
pub struct Provider;

impl Provider {
    /// Binds, starts the thread, and returns when connections are taken. Errors: the address is in
    /// use, the core does not exist, or the system has no descriptors left.
    pub fn start(config: Config) -> io::Result<Handle> {
        let mut listener = TcpListener::bind(config.addr)?;
        let addr = listener.local_addr()?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), server::WAKER)?;
        let scripts = config.models.into_iter();
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                script: Arc::new(config.script),
                models: scripts.map(|(name, s)| (name, Arc::new(s))).collect(),
                counters: Counters::default(),
                recorded: Vec::new(),
                record: config.record,
            }),
        });
        poll.registry().register(&mut listener, server::LISTENER, mio::Interest::READABLE)?;
        let mut server = server::Server::new(poll, listener, Arc::clone(&shared))?;
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread =
            std::thread::Builder::new().name("fake-provider".to_owned()).spawn(move || {
                let pinned = config.pin.map_or(Ok(()), crate::pin_to_core);
                let go = pinned.is_ok();
                // The starter waits for this, so it is there to hear it.
                let _ = ready.send(pinned);
                if go { server.run() } else { Ok(()) }
            })?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(Handle { addr, shared, waker, thread: Some(thread) })
    }
}

/// A running provider; dropping it stops it and closes its connections.
#[derive(Debug)]
pub struct Handle {
    addr: SocketAddr,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Handle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base URL as an OpenAI client takes it: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// What it has done so far. An answer is counted before its last byte leaves, so whoever has
    /// read an answer finds it here.
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters.clone()
    }

    /// The first requests, word for word, as many as [`Config::record`] allows.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.lock().recorded.clone()
    }

    /// Changes the default script for all requests that are read from now on.
    pub fn set_script(&self, script: Script) {
        self.shared.lock().script = Arc::new(script);
    }

    /// Changes the script of one model.
    pub fn set_model_script(&self, model: &str, script: Script) {
        let script = Arc::new(script);
        self.shared.lock().models.insert(model.to_owned(), script);
    }

    /// Waits for the provider's end, which comes only by an error of its own: for a command that
    /// runs until it is killed.
    pub fn wait(mut self) -> io::Result<()> {
        self.join()
    }

    /// Stops it; its last word is what it counted.
    pub fn stop(mut self) -> io::Result<Counters> {
        self.halt()?;
        Ok(self.counters())
    }

    fn halt(&mut self) -> io::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.waker.wake()?;
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            // A drop has nobody to tell; `stop` is for those who want to know.
            let _ = self.halt();
        }
    }
}

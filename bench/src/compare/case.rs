//! What is asked of each contender: the same requests, the same answers.

use std::net::SocketAddr;
use std::time::Duration;

use loadtest::generator::{Arrival, Body, Load, Template};
use loadtest::provider::Script;

use super::contender::{Kind, MODEL, Running};

/// One kind of work.
#[derive(Debug)]
pub struct Case {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// Bytes of the request's JSON.
    pub body_bytes: usize,
    /// Whether the gateway is to choose the model.
    pub auto: bool,
    /// What comes back.
    answer: Answer,
    /// Connections that ask again at once when CPU time is measured.
    pub connections: usize,
    /// Requests a second when latency is measured: far from what anybody's limit is.
    pub rate: f64,
}

#[derive(Debug)]
enum Answer {
    /// A JSON body with that many bytes of text.
    Whole(u32),
    /// A stream of chunks with that many milliseconds between them.
    Stream { chunks: u32, gap_ms: u32 },
}

/// All of them.
pub const CASES: [Case; 6] = [
    Case {
        name: "plain-1k",
        about: "1 KB of JSON in, 1 KB of text out, named model",
        body_bytes: 1 << 10,
        auto: false,
        answer: Answer::Whole(1 << 10),
        connections: 32,
        rate: 1_000.0,
    },
    Case {
        name: "plain-40k",
        about: "40 KB of JSON in, 1 KB of text out, named model",
        body_bytes: 40 << 10,
        auto: false,
        answer: Answer::Whole(1 << 10),
        connections: 32,
        rate: 500.0,
    },
    Case {
        name: "stream-64",
        about: "1 KB of JSON in, a stream of 64 chunks out as fast as it goes, named model",
        body_bytes: 1 << 10,
        auto: false,
        answer: Answer::Stream { chunks: 64, gap_ms: 0 },
        connections: 32,
        rate: 100.0,
    },
    Case {
        name: "stream-64-paced",
        about: "the same with 2 ms between chunks, so that each travels alone",
        body_bytes: 1 << 10,
        auto: false,
        answer: Answer::Stream { chunks: 64, gap_ms: 2 },
        connections: 32,
        rate: 50.0,
    },
    Case {
        name: "auto-1k",
        about: "as plain-1k, and the gateway judges the prompt and chooses the model",
        body_bytes: 1 << 10,
        auto: true,
        answer: Answer::Whole(1 << 10),
        connections: 32,
        rate: 1_000.0,
    },
    Case {
        name: "auto-40k",
        about: "as plain-40k, and the gateway judges the prompt and chooses the model",
        body_bytes: 40 << 10,
        auto: true,
        answer: Answer::Whole(1 << 10),
        connections: 32,
        rate: 500.0,
    },
];

impl Case {
    /// The case of that name.
    pub fn named(name: &str) -> Option<&'static Case> {
        CASES.iter().find(|case| case.name == name)
    }

    /// Chunks of one answer; `None` when it is not streamed.
    pub fn chunks(&self) -> Option<u32> {
        match self.answer {
            Answer::Whole(_) => None,
            Answer::Stream { chunks, .. } => Some(chunks),
        }
    }

    /// Who does this work at all. The others have no choice to make.
    pub fn is_for(&self, kind: Kind) -> bool {
        !self.auto || matches!(kind, Kind::Pointsman | Kind::Nginx | Kind::Direct)
    }

    /// What the provider is told.
    pub fn script(&self) -> Script {
        let script = Script::default();
        match self.answer {
            Answer::Whole(bytes) => Script { chunks: bytes / script.chunk_bytes, ..script },
            Answer::Stream { chunks, gap_ms } => Script { chunks, gap_ms, ..script },
        }
    }

    /// As many requests as `to` answers.
    pub fn saturate(&self, to: &Running, duration: Duration) -> Load {
        self.load(to, Arrival::Saturate, duration)
    }

    /// Requests at [`Case::rate`].
    pub fn paced(&self, to: &Running, duration: Duration) -> Load {
        self.load(to, Arrival::Rate(self.rate), duration)
    }

    fn load(&self, to: &Running, arrival: Arrival, duration: Duration) -> Load {
        let target: SocketAddr = to.addr;
        let template = Template {
            model: if self.auto { "auto" } else { MODEL }.to_owned(),
            stream: self.chunks().is_some(),
            body: Body::Sized(self.body_bytes),
            // Who wants no key gets one of the same length: the same bytes go to everybody.
            key: Some(to.key.clone().unwrap_or_else(|| "x".repeat(46))),
            ..Template::default()
        };
        Load {
            arrival,
            connections: self.connections,
            duration,
            warm_up: Duration::from_millis(200).min(duration / 2),
            timeout: Duration::from_secs(20),
            chunks_expected: self.chunks(),
            ..Load::new(target, template)
        }
    }
}

//! An open-loop load generator for chat completions over loopback.
//!
//! In: a [`Load`]: where, what, how often, how long. Out: a [`Report`]. At a fixed rate requests are
//! due whatever the answers do, and times count from when they were due; without a rate a fixed
//! number of connections asks again as soon as it is answered ([`Arrival::Saturate`]), which finds
//! the most that a target can do and says little about its latency. One thread, one `epoll`,
//! everything bounded in count and time. Never talks to another machine.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

mod driver;
mod judge;
mod report;
mod template;

pub use judge::Failure;
pub use report::{Report, Summary};
pub use template::{Body, Template, prompts_from_jsonl};

/// Bounds of a run.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Requests per second, at most.
pub const RATE_MAX: f64 = 1_000_000.0;
/// Length of a run, at most.
pub const DURATION_MAX: Duration = Duration::from_secs(3600);

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrival {
    /// This many per second, evenly, whatever the answers do.
    Rate(f64),
    /// Each connection asks again as soon as it is answered.
    Saturate,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where; a loopback address.
    pub target: SocketAddr,
    /// What.
    pub template: Template,
    /// How often.
    pub arrival: Arrival,
    /// Connections: all are used when saturating, as many as needed up to this at a rate.
    pub connections: usize,
    /// Measured part.
    pub duration: Duration,
    /// Before it: requests due in this time are sent and not counted.
    pub warm_up: Duration,
    /// Requests in all, warm-up included; none: as many as the time allows.
    pub requests_max: Option<u64>,
    /// A request takes no longer; counted from when it was sent.
    pub timeout: Duration,
    /// Pieces of text that each stream must have.
    pub chunks_expected: Option<u32>,
    /// Core to pin this thread to.
    pub pin: Option<usize>,
}

impl Load {
    /// A second at full speed over 32 connections.
    pub fn new(target: SocketAddr, template: Template) -> Load {
        Load {
            target,
            template,
            arrival: Arrival::Saturate,
            connections: 32,
            duration: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            requests_max: None,
            timeout: Duration::from_secs(60),
            chunks_expected: None,
            pin: None,
        }
    }

    /// Runs it on this thread.
    pub fn run(&self) -> Result<Report, LoadError> {
        self.run_with(&mut |_| {})
    }

    /// Runs it and tells how it goes, a few times a second.
    pub fn run_with(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report, LoadError> {
        self.check()?;
        if let Some(core) = self.pin {
            crate::pin_to_core(core).map_err(LoadError::Io)?;
        }
        let host = self.target.to_string();
        let requests = self.template.render(&host).map_err(LoadError::Bad)?;
        driver::run(self, &requests, progress).map_err(LoadError::Io)
    }

    fn check(&self) -> Result<(), LoadError> {
        let bad = |text: String| Err(LoadError::Bad(text));
        if !self.target.ip().is_loopback() {
            return Err(LoadError::NotLoopback(self.target.to_string()));
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return bad(format!(
                "connections: {} is not between 1 and {CONNECTIONS_MAX}",
                self.connections
            ));
        }
        if let Arrival::Rate(rate) = self.arrival
            && !(rate > 0.0 && rate <= RATE_MAX)
        {
            return bad(format!("rate: {rate} is not between 0 and {RATE_MAX} per second"));
        }
        if self.duration.is_zero() || self.duration + self.warm_up > DURATION_MAX {
            return bad(format!(
                "duration: with the warm-up it must be above 0 and at most {DURATION_MAX:?}"
            ));
        }
        Ok(())
    }
}

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Time since the start, warm-up included.
    pub elapsed: Duration,
    /// Answers so far, good and bad.
    pub answered: u64,
    /// Requests under way.
    pub in_flight: usize,
}

/// Why a run could not be made. What the target does wrong is in the [`Report`] instead.
#[derive(Debug)]
pub enum LoadError {
    /// The target is not this machine.
    NotLoopback(String),
    /// A setting that cannot be.
    Bad(String),
    /// The system refused something.
    Io(io::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::NotLoopback(target) => write!(
                f,
                "{target} is not on this machine: load is only sent to loopback addresses \
                 (127.0.0.0/8, ::1), so that nobody else's server is hit by mistake"
            ),
            LoadError::Bad(text) => f.write_str(text),
            LoadError::Io(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// Address and path of a URL such as `http://127.0.0.1:8080/v1/chat/completions`. A URL that ends
/// in `/v1`, as clients take it, gets the path of chat completions. Refuses other machines.
pub fn parse_url(url: &str) -> Result<(SocketAddr, String), LoadError> {
    let bad = |text: &str| LoadError::Bad(format!("{url}: {text}"));
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| bad("a URL that starts with http:// is needed"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let with_port = match host.parse::<std::net::IpAddr>() {
        Ok(ip) => SocketAddr::from((ip, 80)).to_string(),
        Err(_) if host.contains(':') => host.to_owned(),
        Err(_) => format!("{host}:80"),
    };
    let mut found =
        with_port.to_socket_addrs().map_err(|e| bad(&format!("the host is not known: {e}")))?;
    let target = found.next().ok_or_else(|| bad("the host has no address"))?;
    if !target.ip().is_loopback() || found.any(|other| !other.ip().is_loopback()) {
        return Err(LoadError::NotLoopback(url.to_owned()));
    }
    let path = match path.trim_end_matches('/') {
        "" => "/v1/chat/completions".to_owned(),
        base if base.ends_with("/v1") => format!("{base}/chat/completions"),
        _ => path.to_owned(),
    };
    Ok((target, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_this_machine_are_taken_and_others_refused() {
        let chat = "/v1/chat/completions";
        let good = [
            ("http://127.0.0.1:81/v1", "127.0.0.1:81", chat),
            ("http://127.0.0.1:81", "127.0.0.1:81", chat),
            ("http://127.0.0.9", "127.0.0.9:80", chat),
            ("http://[::1]:81/x/y?z=1", "[::1]:81", "/x/y?z=1"),
        ];
        for (url, target, path) in good {
            let (found, found_path) = parse_url(url).expect(url);
            assert_eq!((found.to_string().as_str(), found_path.as_str()), (target, path));
        }
        for url in ["http://192.0.2.1/v1", "http://10.0.0.1:80/", "http://[2001:db8::1]:80/"] {
            let error = parse_url(url).expect_err(url).to_string();
            assert!(error.contains("not on this machine"), "{error}");
        }
        assert!(parse_url("https://127.0.0.1/").is_err());
    }

    #[test]
    fn settings_out_of_bounds_are_refused_before_anything_is_sent() {
        let target = SocketAddr::from(([127, 0, 0, 1], 1));
        let load = |change: fn(&mut Load)| {
            let mut load = Load::new(target, Template::default());
            change(&mut load);
            load.run().map(|_| ()).expect_err("refused").to_string()
        };
        type Change = fn(&mut Load);
        let table: [(&str, Change); 5] = [
            ("connections", |l| l.connections = 0),
            ("rate", |l| l.arrival = Arrival::Rate(f64::NAN)),
            ("duration", |l| l.duration = Duration::ZERO),
            ("duration", |l| l.warm_up = DURATION_MAX),
            ("not on this machine", |l| l.target = SocketAddr::from(([192, 0, 2, 1], 80))),
        ];
        for (part, change) in table {
            let error = load(change);
            assert!(error.contains(part), "{error}");
        }
    }
}

//! Connections to providers: origins, addresses, and a pool per core.

use crate::rt;
use crate::tls::TlsStream;
use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Idle connections that are kept for one origin on one core.
const IDLE_MAX: usize = 256;
/// How long an idle connection is kept: below the 60 s after which most servers close.
const IDLE_FOR: Duration = Duration::from_secs(50);
/// How often a missing address is looked for again while a request waits for it.
const ADDRESS_POLL: Duration = Duration::from_millis(5);

/// Where a provider listens: scheme, host and port. Requests to the same origin share connections.
pub struct Origin {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS settings and the name to check; `None` for plain HTTP.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// What the name resolves to. Filled by the control thread, since looking it up may block.
    pub addresses: ArcSwap<Vec<SocketAddr>>,
}

/// Why a base URL cannot be called.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// No scheme that we speak.
    #[error("it must begin with http:// or https://")]
    Scheme,
    /// No valid host.
    #[error("it has no valid host")]
    Host,
    /// A port that is no number.
    #[error("its port is not a number between 1 and 65535")]
    Port,
    /// User information, query or fragment.
    #[error("it must not hold user information, a query or a fragment")]
    Extra,
}

/// A base URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Whether it is `https`.
    pub is_tls: bool,
    /// Host without brackets.
    pub host: String,
    /// Port, the scheme's own when none is given.
    pub port: u16,
    /// Path without the slash at its end; empty for the root.
    pub path: String,
}

impl BaseUrl {
    /// Reads `scheme://host[:port][/path]`.
    pub fn parse(url: &str) -> Result<BaseUrl, BadUrl> {
        let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(BadUrl::Scheme),
        };
        if rest.contains(['@', '?', '#']) {
            return Err(BadUrl::Extra);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => v6.split_once(']').ok_or(BadUrl::Host)?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || !host.bytes().all(valid) {
            return Err(BadUrl::Host);
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            Some(digits) => digits.parse().ok().filter(|&port| port > 0).ok_or(BadUrl::Port)?,
            None => return Err(BadUrl::Host),
        };
        let valid = |byte: u8| byte.is_ascii_graphic() && !b"\"\\<>".contains(&byte);
        if !path.bytes().all(valid) {
            return Err(BadUrl::Host);
        }
        let path = path.trim_end_matches('/').to_owned();
        Ok(BaseUrl { is_tls, host: host.to_owned(), port, path })
    }

    /// The value of the `Host` field.
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl Origin {
    /// The origin of `url`. Its addresses are known at once when the host is one.
    pub fn new(url: &BaseUrl, config: &Arc<ClientConfig>) -> Result<Origin, BadUrl> {
        let tls = if url.is_tls {
            let name = ServerName::try_from(url.host.clone()).map_err(|_| BadUrl::Host)?;
            Some((Arc::clone(config), name))
        } else {
            None
        };
        let known: Vec<SocketAddr> = match url.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, url.port)],
            Err(_) => Vec::new(),
        };
        let addresses = ArcSwap::from_pointee(known);
        Ok(Origin { host: url.host.clone(), port: url.port, tls, addresses })
    }

    /// Whether its addresses have to be looked up.
    pub fn is_named(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }
}

/// A connection to a provider, plain or not.
pub enum Transport {
    /// Plain HTTP.
    Plain(rt::Stream),
    /// HTTPS.
    Tls(Box<TlsStream>),
}

impl Transport {
    /// Makes a TCP connection to `origin`: the first address that answers, all within `limit`.
    pub async fn connect(origin: &Origin, limit: Duration) -> io::Result<rt::Stream> {
        let deadline = Instant::now() + limit;
        let mut addresses = origin.addresses.load_full();
        while addresses.is_empty() {
            if Instant::now() >= deadline {
                return Err(io::Error::other("the host name does not resolve"));
            }
            rt::sleep(ADDRESS_POLL).await;
            addresses = origin.addresses.load_full();
        }
        let mut last_error = io::ErrorKind::TimedOut.into();
        for (tried, &address) in addresses.iter().enumerate() {
            // What is left is shared between the addresses that are left.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / (addresses.len() - tried) as u32;
            if share.is_zero() {
                break;
            }
            match rt::Stream::connect(address, share).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// Shakes hands, if the origin wants TLS. Bytes flow here, so the caller bounds it by the socket.
    pub async fn secure(socket: rt::Stream, origin: &Origin) -> io::Result<Transport> {
        let Some((config, name)) = &origin.tls else { return Ok(Transport::Plain(socket)) };
        let stream = TlsStream::connect(socket, Arc::clone(config), name.clone()).await?;
        Ok(Transport::Tls(Box::new(stream)))
    }

    /// See [`rt::Stream::read`].
    pub async fn read(&mut self, buffer: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) => stream.read(buffer, room).await,
            Transport::Tls(stream) => stream.read(buffer, room).await,
        }
    }

    /// See [`rt::Stream::write_all`].
    pub async fn write_all(&mut self, buffer: &mut Vec<u8>, range: Range<usize>) -> io::Result<()> {
        match self {
            Transport::Plain(stream) => stream.write_all(buffer, range).await,
            Transport::Tls(stream) => stream.write_all(buffer, range).await,
        }
    }

    fn is_reusable(&mut self) -> bool {
        match self {
            Transport::Plain(stream) => rt::peek(stream.as_raw_fd()) == rt::Peek::Quiet,
            Transport::Tls(stream) => stream.is_reusable(),
        }
    }
}

impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Transport::Plain(stream) => stream.as_raw_fd(),
            Transport::Tls(stream) => stream.as_raw_fd(),
        }
    }
}

/// A connection with the buffer that its answers are read into.
pub struct Connection {
    /// The way to the provider.
    pub transport: Transport,
    /// What was read and not used yet. Empty between two requests.
    pub incoming: Vec<u8>,
    /// Whether it comes out of the pool and nothing has come back on it since: the provider may have
    /// closed it in the meantime, so that its failure says nothing about the provider.
    pub is_unproven: bool,
}

/// The idle connections of one core, by origin.
#[derive(Default)]
pub struct Pool {
    /// The key is the origin's address in memory, which its `Arc` in the value keeps valid.
    idle: RefCell<HashMap<usize, Idle>>,
}

struct Idle {
    origin: Arc<Origin>,
    connections: Vec<(Connection, Instant)>,
}

impl Pool {
    /// An idle connection to `origin` that is good for one more request, the last used first.
    pub fn take(&self, origin: &Arc<Origin>) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let connections = &mut idle.get_mut(&(Arc::as_ptr(origin) as usize))?.connections;
        while let Some((mut connection, _)) = connections.pop() {
            // Bytes that nobody asked for would be read as the answer to the next request.
            if connection.transport.is_reusable() {
                connection.is_unproven = true;
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was read to its end.
    pub fn put(&self, origin: &Arc<Origin>, connection: Connection, now: Instant) {
        debug_assert!(connection.incoming.is_empty(), "an answer was not read to its end");
        let mut idle = self.idle.borrow_mut();
        let entry = idle
            .entry(Arc::as_ptr(origin) as usize)
            .or_insert_with(|| Idle { origin: Arc::clone(origin), connections: Vec::new() });
        if entry.connections.len() < IDLE_MAX {
            entry.connections.push((connection, now));
        }
    }

    /// Drops what has been idle for too long, and origins that nobody else knows any more.
    pub fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain(|_, entry| {
            entry.connections.retain(|(_, since)| now.duration_since(*since) < IDLE_FOR);
            // One count is ours; the snapshot that is in force holds another.
            !entry.connections.is_empty() || Arc::strong_count(&entry.origin) > 1
        });
    }

    /// Drops everything.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_come_apart() {
        let url = BaseUrl::parse("https://api.example.com/v1/").unwrap();
        assert_eq!((url.is_tls, url.port, url.path.as_str()), (true, 443, "/v1"));
        assert_eq!(url.authority(), "api.example.com");
        let url = BaseUrl::parse("http://[::1]:8000").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("::1", 8000, ""));
        assert_eq!(url.authority(), "[::1]:8000");
        for (url, error) in [
            ("ftp://x", BadUrl::Scheme),
            ("api.example.com", BadUrl::Scheme),
            ("http://", BadUrl::Host),
            ("http://a b", BadUrl::Host),
            ("http://h:0", BadUrl::Port),
            ("http://h:x", BadUrl::Port),
            ("http://u@h", BadUrl::Extra),
            ("http://h/?q", BadUrl::Extra),
            ("https://api.{region}.example", BadUrl::Host),
        ] {
            assert_eq!(BaseUrl::parse(url), Err(error), "{url}");
        }
    }
}

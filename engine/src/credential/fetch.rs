//! One `POST` over HTTPS, for the control thread's few errands. Blocks, so it runs where that harms
//! nobody; every wait has a limit.
//!
//! In: an address and a body. Out: status and body. Never: a redirect followed, a connection kept, or
//! plain HTTP to another machine: what is sent is a secret.

use crate::body::BodyReader;
use crate::upstream::BaseUrl;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::http1;

/// For the whole errand.
const LIMIT: Duration = Duration::from_secs(20);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Checks that a secret may be sent to that address: by HTTPS, or to this machine.
pub fn check(url: &str) -> Result<(), &'static str> {
    let url = BaseUrl::parse(url).map_err(|_| "is no address that can be called")?;
    let is_here = url.host == "localhost"
        || url.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if url.is_tls || is_here { Ok(()) } else { Err("must begin with https://") }
}

/// Sends `body` to `url`.
pub fn post(
    tls: &Arc<ClientConfig>,
    url: &str,
    content_type: &str,
    body: &[u8],
) -> io::Result<(u16, Vec<u8>)> {
    let url = BaseUrl::parse(url).map_err(io::Error::other)?;
    let until = Instant::now() + LIMIT;
    let socket = connect(&url, until)?;
    let path = if url.path.is_empty() { "/" } else { &url.path };
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Accept: application/json\r\nConnection: close\r\n\r\n",
        url.authority(),
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    if !url.is_tls {
        return exchange(socket, &request, until);
    }
    let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
    let session = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
    exchange(StreamOwned::new(session, socket), &request, until)
}

fn connect(url: &BaseUrl, until: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the host name does not resolve");
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => {
                socket.set_read_timeout(Some(LIMIT))?;
                socket.set_write_timeout(Some(LIMIT))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(
    mut stream: impl Read + Write,
    request: &[u8],
    until: Instant,
) -> io::Result<(u16, Vec<u8>)> {
    let bad = |what: &str| io::Error::other(format!("the answer is not as it should be: {what}"));
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut searched = 0;
    let head_len = loop {
        if let Some(end) = http1::head_end(&answer, searched) {
            break end;
        }
        searched = answer.len();
        if !fill(&mut stream, &mut answer, until)? {
            return Err(bad("its head ends early"));
        }
    };
    let head = http1::response(&answer[..head_len]).map_err(|error| bad(error.0))?;
    let mut body = BodyReader::new(head.framing, head_len, ANSWER_BYTES_MAX)
        .map_err(|_| bad("it is too large"))?;
    while !body.advance(&mut answer).map_err(|_| bad("its body is malformed"))? {
        if !fill(&mut stream, &mut answer, until)? && !body.close() {
            return Err(bad("its body ends early"));
        }
    }
    Ok((head.status, answer[body.range()].to_vec()))
}

/// Reads on; false at the end.
fn fill(stream: &mut impl Read, answer: &mut Vec<u8>, until: Instant) -> io::Result<bool> {
    if answer.len() > ANSWER_BYTES_MAX * 2 || Instant::now() >= until {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut piece = [0; 4096];
    match stream.read(&mut piece) {
        Ok(count) => {
            answer.extend_from_slice(&piece[..count]);
            Ok(count > 0)
        }
        // A peer that closes without TLS's own goodbye has said all that the framing promised, or not.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_by_https_or_stay_here() {
        for (url, good) in [
            ("https://oauth2.googleapis.com/token", true),
            ("http://127.0.0.1:1/token", true),
            ("http://[::1]/token", true),
            ("http://oauth2.googleapis.com/token", false),
            ("http://127.0.0.1.example.com/token", false),
            ("ftp://x", false),
        ] {
            assert_eq!(check(url).is_ok(), good, "{url}");
        }
    }
}

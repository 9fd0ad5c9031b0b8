//! Talks to the admin port of a running gateway, from the command line.
//!
//! In: an address, a method, a path, a body. Out: status and body. One request per connection, HTTP/1.1
//! over plain TCP, each wait bounded. Never: the data port, or a token on the command line, where every
//! user of the machine would see it.

use crate::config::Admin;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Loading a large model takes seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// Sends one request; `admin` has the token, if one is set.
pub(super) fn call(
    address: SocketAddr,
    admin: &Admin,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, String> {
    let address = reachable(address);
    let failed = |error: std::io::Error| format!("admin port http://{address}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN).map_err(|error| {
        format!("no gateway answers at http://{address} ({error}); --admin names another address")
    })?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if let Some(token) = admin.token() {
        request.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    if !body.is_empty() {
        request.push_str("Content-Type: application/json\r\n");
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(failed)?;
    read(&answer).ok_or_else(|| format!("http://{address} is no admin port of pointsman"))
}

/// An address that listens to all is reached by loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

/// Reads an answer whose end is that of its connection. Ours are never chunked.
fn read(answer: &[u8]) -> Option<Answer> {
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = str::from_utf8(answer.get(..split)?).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let body = serde_json::from_slice(answer.get(split + 4..)?).ok()?;
    Some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_others_are_not() {
        let good = read(b"HTTP/1.1 422 Unprocessable\r\nA: b\r\n\r\n{\"detail\":1}").expect("good");
        assert_eq!((good.status, &good.body["detail"]), (422, &Value::from(1)));
        for bad in
            [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n\r\nhi"]
        {
            assert!(read(bad).is_none());
        }
    }

    #[test]
    fn addresses_for_all_are_called_by_loopback() {
        for (given, called) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.0.0.1:9090", "10.0.0.1:9090"),
        ] {
            let given: SocketAddr = given.parse().expect("an address");
            assert_eq!(reachable(given).to_string(), called);
        }
    }
}

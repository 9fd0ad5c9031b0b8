//! Who may use the paths of the admin port that show or change how the process works.
//!
//! In: the head of a request and the peer's address. Out: yes, or the problem. With a token, who has
//! it; without one, only this machine through loopback, and only a caller that names it so: a page in
//! a browser here could otherwise be led to call us under a name of its own. Never: a token in a log.

use super::problem::Problem;
use axum::extract::{ConnectInfo, Request, State as Extract};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};

/// The rule.
#[derive(Clone)]
pub enum Guard {
    /// Only who has the token, kept as its hash: comparing hashes tells nothing by its time.
    Token(blake3::Hash),
    /// Only this machine.
    Loopback,
}

impl Guard {
    /// By the configured token, if there is one.
    pub fn new(token: Option<&str>) -> Guard {
        token.map_or(Guard::Loopback, |token| Guard::Token(blake3::hash(token.as_bytes())))
    }

    /// Whether a request from `peer` may go on.
    pub fn admits(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Guard::Token(expected) => {
                let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
                let token = given.and_then(bearer);
                if token.is_some_and(|token| blake3::hash(token) == *expected) {
                    return Ok(());
                }
                let detail = match token {
                    None => {
                        "send Authorization: Bearer with the token of [admin] in pointsman.toml"
                    }
                    Some(_) => "the token is not that of [admin] in pointsman.toml",
                };
                Err(Problem::new(StatusCode::UNAUTHORIZED, "no-token", "Not authorised", detail))
            }
            Guard::Loopback if peer.to_canonical().is_loopback() && names_loopback(headers) => {
                Ok(())
            }
            Guard::Loopback => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "not-local",
                "Only from this machine",
                "no token is set, so only 127.0.0.1 or localhost on this machine may do that; set \
                 token in [admin] of pointsman.toml, or POINTSMAN_ADMIN_TOKEN, to call from elsewhere",
            )),
        }
    }
}

/// Asks the guard before each request.
pub(super) async fn ask(
    Extract(guard): Extract<Guard>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match guard.admits(peer.ip(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether `Host` is a loopback address or `localhost`.
fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let is_name = |name: &str| name.eq_ignore_ascii_case("localhost");
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    is_address(bare) || is_name(host) || is_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row per caller: peer, `Host`, `Authorization`, and whether each guard lets it in.
    #[test]
    fn only_the_token_or_this_machine_gets_in() {
        let token = Guard::new(Some("0123456789abcdef"));
        let local = Guard::new(None);
        for (peer, host, authorization, by_token, by_loopback) in [
            ("127.0.0.1", "127.0.0.1:9090", "", false, true),
            ("127.0.0.1", "localhost:9090", "", false, true),
            ("127.0.0.1", "LOCALHOST", "", false, true),
            ("::1", "[::1]:9090", "", false, true),
            ("::1", "[::1]", "", false, true),
            ("::ffff:127.0.0.1", "127.0.0.1", "", false, true),
            ("127.0.0.1", "evil.example:9090", "", false, false),
            ("127.0.0.1", "localhost.evil.example", "", false, false),
            ("127.0.0.1", "", "", false, false),
            ("10.0.0.7", "127.0.0.1:9090", "", false, false),
            ("10.0.0.7", "gateway:9090", "Bearer 0123456789abcdef", true, false),
            ("10.0.0.7", "gateway:9090", "bearer  0123456789abcdef", true, false),
            ("10.0.0.7", "gateway:9090", "Bearer 0123456789abcdee", false, false),
            ("10.0.0.7", "gateway:9090", "Basic 0123456789abcdef", false, false),
            ("127.0.0.1", "localhost", "Bearer", false, true),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::AUTHORIZATION, authorization)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().expect("a header"));
                }
            }
            let peer: IpAddr = peer.parse().expect("an address");
            let row = format!("{peer} {host:?} {authorization:?}");
            assert_eq!(token.admits(peer, &headers).is_ok(), by_token, "token: {row}");
            assert_eq!(local.admits(peer, &headers).is_ok(), by_loopback, "loopback: {row}");
        }
    }
}

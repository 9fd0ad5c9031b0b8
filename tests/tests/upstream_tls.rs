//! TLS towards providers: an own authority is trusted when configured, nobody unknown is ever, and
//! connections and sessions are used again.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use loadtest::provider::{Config, Handle, Provider};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use tests::{Gateway, Setup};

/// Ends TLS for `localhost` in front of a provider, one thread per connection.
struct Terminator {
    port: u16,
    authority_pem: String,
    handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
    /// Requests after which a connection is closed; 0 for never.
    close_after: Arc<AtomicU64>,
}

impl Terminator {
    fn start(provider: &Handle) -> Terminator {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let authority = params.self_signed(&authority_key).expect("an authority");
        let issuer = rcgen::Issuer::new(params, authority_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &issuer))
            .expect("a certificate");
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .expect("a server");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let behind = provider.addr();
        let handshakes = Arc::<Mutex<Vec<HandshakeKind>>>::default();
        let close_after = Arc::<AtomicU64>::default();
        let (seen, limit) = (Arc::clone(&handshakes), Arc::clone(&close_after));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (config, seen, limit) =
                    (Arc::clone(&config), Arc::clone(&seen), Arc::clone(&limit));
                let upstream = TcpStream::connect(behind).expect("the provider listens");
                std::thread::spawn(move || relay(socket, upstream, config, &seen, &limit));
            }
        });
        Terminator { port, authority_pem: authority.pem(), handshakes, close_after }
    }
}

/// Passes requests and answers of fixed length between a TLS client and a plain server.
fn relay(
    socket: TcpStream,
    mut upstream: TcpStream,
    config: Arc<ServerConfig>,
    seen: &Mutex<Vec<HandshakeKind>>,
    limit: &AtomicU64,
) {
    let session = ServerConnection::new(config).expect("a session");
    let mut client = StreamOwned::new(session, socket);
    let mut served = 0;
    while let Some(request) = message(&mut client) {
        if served == 0 {
            let kind = client.conn.handshake_kind().expect("the handshake is over");
            seen.lock().expect("sound").push(kind);
        }
        upstream.write_all(&request).expect("the provider reads");
        let answer = message(&mut upstream).expect("the provider answers");
        if client.write_all(&answer).is_err() {
            return;
        }
        served += 1;
        let limit = limit.load(Ordering::Relaxed);
        if limit > 0 && served >= limit {
            client.conn.send_close_notify();
            let _ = client.flush();
            return;
        }
    }
}

/// One HTTP message with a `Content-Length`.
fn message(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some(head) = text.find("\r\n\r\n") {
            let length = text[..head].split("content-length: ").nth(1).expect("a length");
            let length: usize =
                length.lines().next().expect("a line").trim().parse().expect("digits");
            if bytes.len() >= head + 4 + length {
                return Some(bytes);
            }
        }
        match from.read(&mut buffer) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}

fn gateway(terminator: &Terminator, roots: Option<&Path>) -> Gateway {
    let roots = roots.map_or(String::new(), |path| {
        format!("[upstream]\nroots = {{ file = \"{}\" }}\n", path.display())
    });
    let config = format!(
        "{roots}[[provider]]\nid = \"tls\"\nbase_url = \"https://localhost:{}/v1\"\nmodels = [\"m\"]\n",
        terminator.port
    );
    Setup::new().config(&config).start()
}

fn ask(gateway: &Gateway) -> tests::http::Answer {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"Hello"}]}"#;
    let mut connection = gateway.connect();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        gateway.key(),
        body.len()
    );
    connection.send(&[head.as_bytes(), body.as_bytes()].concat());
    connection.answer()
}

#[test]
fn an_own_authority_is_trusted_and_sessions_are_resumed() {
    let provider = Provider::start(Config::default()).expect("a provider");
    let terminator = Terminator::start(&provider);
    let folder = tempfile::tempdir().expect("a folder");
    let roots = folder.path().join("ca.pem");
    std::fs::write(&roots, &terminator.authority_pem).expect("written");
    let gateway = gateway(&terminator, Some(&roots));
    for _ in 0..3 {
        let answer = ask(&gateway);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(terminator.handshakes.lock().expect("sound").len(), 1, "one connection for all");

    // The provider closes after each answer from now on: the stale connection is noticed before a
    // request is lost on it, and the next handshake resumes the session.
    terminator.close_after.store(1, Ordering::Relaxed);
    let before = provider.counters().requests;
    for _ in 0..4 {
        assert_eq!(ask(&gateway).status, 200);
    }
    let handshakes = terminator.handshakes.lock().expect("sound").clone();
    assert_eq!(provider.counters().requests, before + 4, "no request was sent twice");
    assert!(handshakes.len() > 1, "{handshakes:?}");
    let resumed = handshakes[1..].iter().all(|kind| *kind == HandshakeKind::Resumed);
    assert!(resumed, "a session was not resumed: {handshakes:?}");
}

#[test]
fn a_stranger_is_never_trusted() {
    let provider = Provider::start(Config::default()).expect("a provider");
    let terminator = Terminator::start(&provider);
    let gateway = gateway(&terminator, None);
    let answer = ask(&gateway);
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(provider.counters().requests, 0, "nothing was sent to it");
}

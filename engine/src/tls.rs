//! TLS towards providers: rustls driven by hand over a [`rt::Stream`], so that buffers and the end
//! of a wait stay under the same rules as without TLS.
//!
//! Sessions are resumed (a resumed handshake costs less than half of a full one), and the trust
//! anchors are Mozilla's bundled ones, the system's, or a file's.

use crate::rt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

/// Ciphertext that is read at a time: one record of the largest size with its overhead.
const RECORD_ROOM: usize = 17 * 1024;
/// Plaintext that is encrypted before the first of it is sent.
const WRITE_CHUNK: usize = 64 * 1024;
/// Sessions that are kept for resumption.
const SESSIONS_MAX: usize = 256;

/// Which certificate authorities are trusted towards providers.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Roots {
    /// Mozilla's list, built in: the same on every host.
    #[default]
    Bundled,
    /// The host's own list.
    System,
    /// The certificates of a PEM file, and no others.
    File(PathBuf),
}

/// The TLS settings towards providers.
pub fn client_config(roots: &Roots) -> io::Result<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Bundled => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = store.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(io::Error::other("the system has no usable root certificates"));
            }
        }
        Roots::File(path) => {
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(|found| found.collect::<Result<Vec<_>, _>>())
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
            let (added, _) = store.add_parsable_certificates(certificates);
            if added == 0 {
                let message = format!("{}: no usable certificate in it", path.display());
                return Err(io::Error::other(message));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::in_memory_sessions(SESSIONS_MAX);
    Ok(Arc::new(config))
}

/// A TLS connection to a provider.
pub struct TlsStream {
    socket: rt::Stream,
    session: ClientConnection,
    /// Ciphertext on its way in and out; kept between calls, so that a read allocates nothing.
    incoming: Vec<u8>,
    /// How much of `incoming` the session has taken.
    taken: usize,
    outgoing: Vec<u8>,
}

impl TlsStream {
    /// Shakes hands over a fresh connection.
    pub async fn connect(
        socket: rt::Stream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<TlsStream> {
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let (incoming, outgoing) = (Vec::with_capacity(RECORD_ROOM), Vec::new());
        let mut stream = TlsStream { socket, session, incoming, taken: 0, outgoing };
        while stream.session.is_handshaking() {
            stream.flush().await?;
            if !stream.session.is_handshaking() {
                break;
            }
            if stream.receive().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        stream.flush().await?;
        Ok(stream)
    }

    /// See [`rt::Stream::read`].
    pub async fn read(&mut self, buffer: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        if buffer.len() == buffer.capacity() {
            buffer.reserve(room.max(1));
        }
        loop {
            let start = buffer.len();
            // A record at a time: a large buffer would be zeroed anew for each.
            let wanted = (buffer.capacity() - start).min(RECORD_ROOM);
            // The spare room is zeroed before rustls writes into it: `Read` takes initialised bytes.
            buffer.resize(start + wanted, 0);
            let result = self.session.reader().read(&mut buffer[start..]);
            buffer.truncate(start + *result.as_ref().unwrap_or(&0));
            match result {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The peer has closed without `close_notify`; HTTP framing tells whether that hurts.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) => return Err(error),
            }
            // Key updates and the like are answered before the next wait.
            self.flush().await?;
            self.receive().await?;
        }
    }

    /// See [`rt::Stream::write_all`].
    pub async fn write_all(&mut self, buffer: &[u8], range: Range<usize>) -> io::Result<()> {
        let mut from = range.start;
        while from < range.end {
            let to = range.end.min(from + WRITE_CHUNK);
            from += self.session.writer().write(&buffer[from..to])?;
            self.flush().await?;
        }
        Ok(())
    }

    /// Whether this connection, which nobody reads from, is still good for a request. Session
    /// tickets may have come in the meantime and are taken in; data, which nobody asked for, makes it
    /// bad.
    pub fn is_reusable(&mut self) -> bool {
        // What came in one flight with the last answer is here already, and not in the socket.
        let quiet = |state: rustls::IoState| {
            state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed()
        };
        if self.taken < self.incoming.len() || !self.session.process_new_packets().is_ok_and(quiet)
        {
            return false;
        }
        let mut bytes = [0u8; 4096];
        loop {
            match rt::read_now(self.socket.as_raw_fd(), &mut bytes) {
                Ok(0) => return false,
                Ok(count) => {
                    let mut rest = &bytes[..count];
                    while !rest.is_empty() {
                        if self.session.read_tls(&mut rest).is_err() {
                            return false;
                        }
                        if !self.session.process_new_packets().is_ok_and(quiet) {
                            return false;
                        }
                    }
                }
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Gives the session ciphertext, read from the socket when none is left, until it has plaintext
    /// to read: it takes no more while more than a record of that waits.
    async fn receive(&mut self) -> io::Result<usize> {
        if self.taken == self.incoming.len() {
            self.incoming.clear();
            self.taken = 0;
            self.socket.read(&mut self.incoming, RECORD_ROOM).await?;
        }
        let from = self.taken;
        loop {
            let mut rest = &self.incoming[self.taken..];
            // With no bytes left this tells the session that the peer has ended.
            self.session.read_tls(&mut rest)?;
            self.taken = self.incoming.len() - rest.len();
            let state = self
                .session
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if self.taken == self.incoming.len() || state.plaintext_bytes_to_read() > 0 {
                return Ok(self.taken - from);
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.outgoing.clear();
            self.session.write_tls(&mut self.outgoing)?;
            let length = self.outgoing.len();
            self.socket.write_all(&mut self.outgoing, 0..length).await?;
        }
        Ok(())
    }
}

impl AsRawFd for TlsStream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::ServerConnection;
    use std::net::{SocketAddr, TcpListener};
    use std::time::Duration;

    /// Answers one byte of a client with `records`, one TLS record for each, in one flight.
    fn server(records: Vec<Vec<u8>>) -> (SocketAddr, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config
                    .with_no_client_auth()
                    .with_single_cert(vec![made.cert.der().clone()], key.into())
            })
            .expect("a server's settings");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut session = ServerConnection::new(Arc::new(config)).expect("a session");
            session.set_buffer_limit(None);
            let mut byte = [0];
            rustls::Stream::new(&mut session, &mut socket).read_exact(&mut byte).expect("a byte");
            let mut flight = Vec::new();
            for record in records {
                session.writer().write_all(&record).expect("room");
                while session.wants_write() {
                    session.write_tls(&mut flight).expect("a record");
                }
            }
            socket.write_all(&flight).expect("the client reads");
            // The client ends the connection.
            let _ = socket.read(&mut byte);
        });
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        (address, Arc::new(config))
    }

    /// Reads `wanted` bytes of what a server sends in `records`, with `room` at a time; gives them and
    /// whether the connection could be used again.
    fn read_from(records: Vec<Vec<u8>>, wanted: usize, room: usize) -> (Vec<u8>, bool) {
        let (address, config) = server(records);
        let (result, read) = std::sync::mpsc::channel();
        rt::run(rt::DriverChoice::Epoll, async move |_| {
            let socket = rt::Stream::connect(address, Duration::from_secs(5)).await.expect("up");
            let name = ServerName::try_from("localhost").expect("a name");
            let mut stream = TlsStream::connect(socket, config, name).await.expect("a session");
            stream.write_all(b"x", 0..1).await.expect("written");
            let mut bytes = Vec::new();
            while bytes.len() < wanted {
                let mut piece = Vec::with_capacity(room.min(wanted - bytes.len()));
                assert!(stream.read(&mut piece, room).await.expect("more") > 0);
                bytes.append(&mut piece);
            }
            result.send((bytes, stream.is_reusable())).expect("somebody waits");
        })
        .expect("an event loop");
        read.recv().expect("a result")
    }

    #[test]
    fn answers_of_many_records_arrive_whole() {
        let sizes = [16_384, 1_000, 16_384, 300, 7, 9_000, 16_384, 16_000, 1_000, 1_000, 500];
        let records: Vec<Vec<u8>> =
            (0..88).map(|index| vec![index as u8; sizes[index % sizes.len()]]).collect();
        let sent = records.concat();
        for room in [1_000, 16 * 1024, 1 << 20] {
            let (read, reusable) = read_from(records.clone(), sent.len(), room);
            assert!(read == sent, "with {room} bytes of room");
            assert!(reusable, "nothing is left");
        }
    }

    #[test]
    fn a_connection_with_bytes_left_in_its_session_is_not_used_again() {
        for rest in [vec![b"answerrest".to_vec()], vec![b"answer".to_vec(), b"rest".to_vec()]] {
            let (read, reusable) = read_from(rest, 6, 6);
            assert_eq!((&read[..], reusable), (&b"answer"[..], false));
        }
    }
}

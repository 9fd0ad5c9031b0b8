//! The runtime: the one file that names `monoio`. One thread per core runs one event loop on
//! io_uring where the kernel allows it, on epoll where not.
//!
//! In: futures. Out: sockets, time, tasks. What it guards: **a future of an I/O operation is never
//! dropped while the operation runs.** With io_uring the kernel may already have taken bytes for it,
//! and they would be lost. So reads and writes have no time-out of their own; whoever wants one to
//! end calls [`shut_down`] on the socket (see [`crate::watch`]): the operation then completes by
//! itself, on both drivers, and its buffer comes back.

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::task::Poll;
use std::time::Duration;

/// Submission queue entries of a ring. Operations beyond it wait for the next submit.
const RING_ENTRIES: u32 = 1024;
/// Connections that the kernel keeps for us before `accept`.
const BACKLOG: i32 = 4096;

/// Longest piece that is written under one limit of time, in bytes: a limit bounds a peer that does
/// not read, not the time that a long body takes.
pub const WRITE_PIECE: usize = 256 * 1024;

/// Which event loop to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriverChoice {
    /// io_uring with its cheaper flags, else io_uring without, else epoll.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// Which event loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with `COOP_TASKRUN` and `SINGLE_ISSUER`: no interrupt per completion, and the kernel
    /// knows that one thread submits. Linux 6.0.
    IoUringCooperative,
    /// io_uring with default flags.
    IoUring,
    /// epoll.
    Epoll,
}

impl Driver {
    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Driver::IoUringCooperative => "io_uring (cooperative)",
            Driver::IoUring => "io_uring",
            Driver::Epoll => "epoll",
        }
    }
}

/// Runs `main` on an event loop of this thread until it is done. Tells `main` which driver runs.
///
/// Asking whether io_uring is there is not enough: it can be, and building a ring can still fail for
/// want of lockable memory or by a container's policy. So each kind is tried, and any error leads to
/// the next.
pub fn run<F, Fut>(choice: DriverChoice, main: F) -> io::Result<()>
where
    F: FnOnce(Driver) -> Fut,
    Fut: Future<Output = ()>,
{
    if choice != DriverChoice::Epoll {
        let mut cooperative = io_uring::IoUring::builder();
        cooperative.setup_coop_taskrun().setup_single_issuer();
        let ring = |flags: io_uring::Builder| {
            RuntimeBuilder::<IoUringDriver>::new()
                .with_entries(RING_ENTRIES)
                .uring_builder(flags)
                .enable_timer()
                .build()
        };
        if let Ok(mut runtime) = ring(cooperative) {
            runtime.block_on(main(Driver::IoUringCooperative));
            return Ok(());
        }
        match ring(io_uring::IoUring::builder()) {
            Ok(mut runtime) => {
                runtime.block_on(main(Driver::IoUring));
                return Ok(());
            }
            Err(error) if choice == DriverChoice::IoUring => {
                return Err(io::Error::new(
                    error.kind(),
                    format!(
                        "io_uring is not available ({error}); raise the locked-memory limit \
                         (LimitMEMLOCK), allow io_uring in the container, or use --driver epoll"
                    ),
                ));
            }
            Err(_) => {}
        }
    }
    let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
    runtime.block_on(main(Driver::Epoll));
    Ok(())
}

/// Starts a task on this core.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    // Dropping the handle detaches the task.
    drop(monoio::spawn(task));
}

/// What a future gives, or that it panicked: a panic ends one request and not its core.
pub async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| {
        let poll = std::panic::AssertUnwindSafe(|| future.as_mut().poll(context));
        match std::panic::catch_unwind(poll) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

/// A future ended in panic. The message went to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// Waits. Never use it to bound an I/O operation; see the head of this file.
pub async fn sleep(duration: Duration) {
    monoio::time::sleep(duration).await;
}

/// Waits for what another thread gives, at most `limit`; a clock of whole milliseconds ends the wait,
/// so it may last one more. Only for futures that hold no I/O: giving up drops them.
///
/// Another thread wakes a core through monoio's queue of foreign wakers and an event descriptor, on
/// every driver. Its check for sleepers is not ordered as strictly as it would have to be on every
/// processor; should a wake-up be lost, the limit ends the wait.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    monoio::time::timeout(limit, future).await.ok()
}

/// A listening socket of this core.
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    /// Binds with `SO_REUSEPORT`, so that each core has a queue of its own and the kernel spreads
    /// the connections.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let options = ListenerOpts::new().reuse_port(true).reuse_addr(true).backlog(BACKLOG);
        Ok(Listener { inner: TcpListener::bind_with_config(address, &options)? })
    }

    /// The address that was bound, with the port that the kernel chose for port 0.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// The next connection. Never put this under a time-out: an accepted descriptor would leak. To
    /// end it, [`shut_down`] the listener.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (inner, peer) = self.inner.accept().await?;
        inner.set_nodelay(true)?;
        Ok((Stream { inner }, peer))
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

/// A TCP connection with `TCP_NODELAY`.
pub struct Stream {
    inner: TcpStream,
}

impl Stream {
    /// Connects within `limit`. Dropping this operation is safe: no bytes flow yet.
    pub async fn connect(address: SocketAddr, limit: Duration) -> io::Result<Stream> {
        let inner = match monoio::time::timeout(limit, TcpStream::connect_addr(address)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        inner.set_nodelay(true)?;
        Ok(Stream { inner })
    }

    /// Appends what comes next to `buffer`, at most what fits into its spare capacity; makes room
    /// for `room` bytes when there is none. Zero means that the peer has ended its side.
    pub async fn read(&mut self, buffer: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        if buffer.len() == buffer.capacity() {
            buffer.reserve(room.max(1));
        }
        let owned = std::mem::take(buffer);
        let (start, end) = (owned.len(), owned.capacity());
        let (result, slice) = self.inner.read(owned.slice_mut(start..end)).await;
        *buffer = slice.into_inner();
        result
    }

    /// Writes the bytes of `range` of `buffer`.
    pub async fn write_all(&mut self, buffer: &mut Vec<u8>, range: Range<usize>) -> io::Result<()> {
        let mut from = range.start;
        while from < range.end {
            let owned = std::mem::take(buffer);
            let (result, slice) = self.inner.write(owned.slice(from..range.end)).await;
            *buffer = slice.into_inner();
            match result? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => from += written,
            }
        }
        Ok(())
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

/// Ends both directions of a socket. Operations that wait on it complete: a read with zero bytes, a
/// write with an error, an accept with an error.
pub fn shut_down(fd: RawFd) {
    // SAFETY: a plain system call on a number. The caller holds the socket that the number belongs
    // to, so it cannot name another one; an error (not connected any more) needs no answer.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Ends the peer's direction of a socket: a read completes with zero bytes, writing goes on.
pub fn end_reading(fd: RawFd) {
    // SAFETY: as in `shut_down`.
    unsafe { libc::shutdown(fd, libc::SHUT_RD) };
}

/// Ends our own direction of a socket: the peer reads what was written, then the end.
pub fn end_writing(fd: RawFd) {
    // SAFETY: as in `shut_down`.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// What a connection shows without being read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Nothing has come.
    Quiet,
    /// Bytes wait.
    Bytes,
    /// The peer has closed, or the connection failed.
    Closed,
}

/// Looks at a connection on which no read is running.
pub fn peek(fd: RawFd) -> Peek {
    let mut byte = 0u8;
    // SAFETY: the buffer is one byte of ours that outlives the call, and the length says so.
    let result =
        unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    match result {
        0 => Peek::Closed,
        1.. => Peek::Bytes,
        _ => match io::Error::last_os_error().kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Peek::Quiet,
            _ => Peek::Closed,
        },
    }
}

/// Whether the peer has ended its side or the connection failed, also when bytes that nobody has
/// read wait before that end.
pub fn has_hung_up(fd: RawFd) -> bool {
    let mut asked = libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one entry of ours, which outlives the call; without a time-out it does not wait.
    let found = unsafe { libc::poll(&raw mut asked, 1, 0) };
    found > 0
}

/// Reads what has come on a connection on which no read is running, without waiting.
pub fn read_now(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of one buffer of the caller, which outlives the call.
    let result =
        unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Writes what a connection takes at once, on which no write is running. Gives the number of bytes.
pub fn write_now(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length are those of one slice of the caller, which outlives the call.
    let result = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Binds this thread to a core, so that its caches and its share of the network queue stay with it.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    // SAFETY: a zeroed set is the empty set; CPU_SET stays inside of it because it checks the
    // index, and the call only reads it.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes this thread one that the system runs after others: 19 is the most, 0 is none.
pub fn be_nice(niceness: i32) {
    // SAFETY: a plain system call on numbers; 0 is the calling thread. A refusal changes nothing.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) };
}

/// The cores that this process may use.
pub fn allowed_cores() -> Vec<usize> {
    // SAFETY: the call writes at most the size that it is told, into a set that is that large.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) {
            0 => Some(set),
            _ => None,
        }
    };
    let Some(set) = set else { return vec![0] };
    // SAFETY: CPU_ISSET reads a bit of an initialised set; the index is below its size.
    (0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
}

//! Every wait has a bound, and a client that leaves is noticed.
//!
//! Each connection has one [`Watch`]. Before it waits it writes down until when, and on which socket;
//! after the wait it wipes that out: two stores, no timer. A sweep over all watches of the core, every
//! [`SWEEP`], shuts down the socket of a wait that is overdue or whose client has gone. The operation
//! then completes by itself (see [`crate::rt`]), and [`Watch::guard`] tells its caller why.

use crate::rt;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often overdue waits are looked for: the exactness of every deadline.
pub const SWEEP: Duration = Duration::from_millis(50);
/// After how long a silence a client is sent something that keeps its connection alive: below the 60 s
/// after which load balancers give up, and within what clients were promised.
const KEEP_ALIVE_MS: u64 = 15_000;
/// How often the client of a long wait is looked at, in sweeps.
const CLIENT_LOOK_SWEEPS: u32 = 5;

/// Why a wait was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its time was up.
    Overdue,
    /// The client closed its connection.
    ClientGone,
    /// The process is shutting down.
    Draining,
}

/// All watches of a core.
#[derive(Default)]
pub struct Watchers {
    watches: RefCell<Vec<Rc<Slot>>>,
    now_ms: Cell<u64>,
    sweeps: Cell<u32>,
}

#[derive(Default)]
struct Slot {
    /// Where in the list this slot stands.
    index: Cell<usize>,
    client: Cell<RawFd>,
    /// The socket of the operation that is waited for; `None` when nothing waits.
    waiting_on: Cell<Option<RawFd>>,
    deadline_ms: Cell<u64>,
    /// No wait of the current request goes beyond this.
    last_deadline_ms: Cell<u64>,
    /// Whether only the reading side of the socket is ended, so that an answer can still be written.
    reading: Cell<bool>,
    /// Whether the client leaving ends the wait.
    for_client: Cell<bool>,
    /// What the client is sent while nothing comes from its provider; empty for nothing.
    keep_alive: Cell<&'static [u8]>,
    /// Since when the client has got nothing.
    quiet_since_ms: Cell<u64>,
    /// Between two requests: may be closed at any time.
    idle: Cell<bool>,
    ended: Cell<Option<Ended>>,
}

/// The watch of one connection. Dropping it takes it off the list.
pub struct Watch {
    slot: Rc<Slot>,
    watchers: Rc<Watchers>,
}

impl Watchers {
    /// A watch for the connection of `client`.
    pub fn watch(self: &Rc<Self>, client: RawFd) -> Watch {
        let slot = Rc::new(Slot::default());
        let mut watches = self.watches.borrow_mut();
        slot.index.set(watches.len());
        slot.client.set(client);
        slot.last_deadline_ms.set(u64::MAX);
        slot.idle.set(true);
        watches.push(Rc::clone(&slot));
        Watch { slot, watchers: Rc::clone(self) }
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.watches.borrow().len()
    }

    /// Whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Milliseconds since `epoch`, as of the last sweep.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Ends what is overdue. `epoch` is the same at each call.
    pub fn sweep(&self, epoch: Instant) {
        let now_ms = epoch.elapsed().as_millis() as u64;
        self.now_ms.set(now_ms);
        self.sweeps.set(self.sweeps.get().wrapping_add(1));
        let look = self.sweeps.get().is_multiple_of(CLIENT_LOOK_SWEEPS);
        for slot in self.watches.borrow().iter() {
            let Some(socket) = slot.waiting_on.get() else { continue };
            let deadline = slot.deadline_ms.get().min(slot.last_deadline_ms.get());
            if now_ms >= deadline {
                slot.end(socket, Ended::Overdue);
            } else if look && slot.for_client.get() && rt::has_hung_up(slot.client.get()) {
                slot.end(socket, Ended::ClientGone);
            } else if slot.for_client.get() && !slot.keep_alive.get().is_empty() {
                slot.keep_alive(now_ms);
            }
        }
    }

    /// Ends the waits of connections that are between two requests.
    pub fn close_idle(&self) {
        for slot in self.watches.borrow().iter().filter(|slot| slot.idle.get()) {
            if let Some(socket) = slot.waiting_on.get() {
                slot.end(socket, Ended::Draining);
            }
        }
    }

    /// Ends every wait: the drain time is over.
    pub fn close_all(&self) {
        for slot in self.watches.borrow().iter() {
            if let Some(socket) = slot.waiting_on.get() {
                slot.end(socket, Ended::Draining);
            }
        }
    }
}

impl Slot {
    /// Sends the client a sign of life when it is due. Nothing else is written to it meanwhile: the
    /// connection waits for its provider. A socket that takes only a part of so few bytes belongs to a
    /// client that does not read; the stream is broken and ends.
    fn keep_alive(&self, now_ms: u64) {
        if now_ms.saturating_sub(self.quiet_since_ms.get()) < KEEP_ALIVE_MS {
            return;
        }
        self.quiet_since_ms.set(now_ms);
        let bytes = self.keep_alive.get();
        match rt::write_now(self.client.get(), bytes) {
            Ok(count) if count < bytes.len() => rt::shut_down(self.client.get()),
            // A full socket has bytes on their way, and one that is gone is found out by the look.
            _ => {}
        }
    }

    fn end(&self, socket: RawFd, why: Ended) {
        if self.ended.get().is_none() {
            self.ended.set(Some(why));
            if self.reading.get() { rt::end_reading(socket) } else { rt::shut_down(socket) }
        }
    }
}

impl Watch {
    /// Waits for `operation` on `socket`, at most `limit`, with the exactness of [`SWEEP`].
    pub async fn guard<T>(
        &self,
        socket: RawFd,
        limit: Duration,
        operation: impl Future<Output = T>,
    ) -> Result<T, Ended> {
        self.slot.deadline_ms.set(self.deadline(limit));
        self.slot.waiting_on.set(Some(socket));
        let output = operation.await;
        self.slot.waiting_on.set(None);
        match self.slot.ended.take() {
            Some(why) => Err(why),
            None => Ok(output),
        }
    }

    /// The same for reading from the client: when its time is up, an answer can still be written.
    pub async fn guard_reading<T>(
        &self,
        socket: RawFd,
        limit: Duration,
        operation: impl Future<Output = T>,
    ) -> Result<T, Ended> {
        self.slot.reading.set(true);
        let output = self.guard(socket, limit, operation).await;
        self.slot.reading.set(false);
        output
    }

    /// The same, and the client leaving ends it too.
    pub async fn guard_for_client<T>(
        &self,
        socket: RawFd,
        limit: Duration,
        operation: impl Future<Output = T>,
    ) -> Result<T, Ended> {
        self.slot.for_client.set(true);
        self.slot.quiet_since_ms.set(self.watchers.now_ms());
        let output = self.guard(socket, limit, operation).await;
        self.slot.for_client.set(false);
        output
    }

    /// From now on the client is sent `bytes` now and then while its provider is waited for; nothing
    /// when they are empty.
    pub fn keep_alive(&self, bytes: &'static [u8]) {
        self.slot.keep_alive.set(bytes);
    }

    /// A request has begun to arrive: it is served to its end.
    pub fn begin_head(&self) {
        self.slot.idle.set(false);
    }

    /// Bounds all waits of the request that begins.
    pub fn begin_request(&self, limit: Duration) {
        self.slot.last_deadline_ms.set(self.deadline(limit));
    }

    /// Bounds all waits beside what bounds them already, until what is returned goes to
    /// [`Watch::unbound`].
    pub fn bound(&self, limit: Duration) -> Bound {
        let before = self.slot.last_deadline_ms.get();
        self.slot.last_deadline_ms.set(self.deadline(limit).min(before));
        Bound { last_deadline_ms: before }
    }

    /// From now on waits are bounded as they were before.
    pub fn unbound(&self, before: Bound) {
        self.slot.last_deadline_ms.set(before.last_deadline_ms);
    }

    /// The request is over; the connection may be closed at any time.
    pub fn end_request(&self) {
        self.slot.idle.set(true);
        self.slot.keep_alive.set(b"");
        self.slot.last_deadline_ms.set(u64::MAX);
    }

    /// Whether the request's own limit is what ended the last wait.
    pub fn request_is_overdue(&self) -> bool {
        self.watchers.now_ms() >= self.slot.last_deadline_ms.get()
    }

    fn deadline(&self, limit: Duration) -> u64 {
        // The clock of the last sweep may be one sweep old; a wait is never cut short by that.
        self.watchers
            .now_ms()
            .saturating_add((limit + SWEEP).as_millis().try_into().unwrap_or(u64::MAX))
    }
}

/// What bounded the waits before: see [`Watch::bound`].
#[must_use = "the bound stays until this is given to `unbound`"]
pub struct Bound {
    last_deadline_ms: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = self.watchers.watches.borrow_mut();
        let index = self.slot.index.get();
        watches.swap_remove(index);
        if let Some(moved) = watches.get(index) {
            moved.index.set(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_client_hears_something_when_its_provider_is_silent() {
        let (client, mut reader) = UnixStream::pair().expect("a pair of sockets");
        reader.set_nonblocking(true).expect("a socket");
        let watchers = Rc::new(Watchers::default());
        let watch = watchers.watch(client.as_raw_fd());
        let (provider, _other_end) = UnixStream::pair().expect("a pair of sockets");
        // As during a wait for a provider; the clock is moved by the epoch.
        watch.slot.deadline_ms.set(u64::MAX);
        watch.slot.waiting_on.set(Some(provider.as_raw_fd()));
        watch.slot.for_client.set(true);
        let mut heard = |after_s: u64| {
            let now = Instant::now();
            watchers.sweep(now.checked_sub(Duration::from_secs(after_s)).unwrap_or(now));
            let mut text = [0; 64];
            reader.read(&mut text).map_or(0, |count| count)
        };
        assert_eq!(heard(20), 0, "nobody asked for it");
        watch.keep_alive(b": x\n\n");
        let rows = [(20, 5), (21, 0), (34, 0), (36, 5), (51, 5)];
        for (after_s, bytes) in rows {
            assert_eq!(heard(after_s), bytes, "after {after_s} s");
        }
        watch.end_request();
        assert_eq!(heard(90), 0, "the request is over");
    }

    #[test]
    fn a_bound_only_narrows_and_goes_as_it_came() {
        let (client, _other_end) = UnixStream::pair().expect("a pair of sockets");
        let watch = Rc::new(Watchers::default()).watch(client.as_raw_fd());
        let until_ms = || watch.slot.last_deadline_ms.get();
        let seconds = Duration::from_secs;
        watch.begin_request(seconds(10));
        let request = until_ms();
        for (limit_s, narrows) in [(3, true), (10, false), (60, false)] {
            let before = watch.bound(seconds(limit_s));
            assert_eq!(until_ms() < request, narrows, "{limit_s} s");
            watch.unbound(before);
            assert_eq!(until_ms(), request, "{limit_s} s");
        }
    }
}

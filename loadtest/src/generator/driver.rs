//! The generator's loop: sends what is due, reads what comes, and hands both to the recorder.

use std::io::{self, Write};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::judge::{Failure, Judge, Said};
use super::report::{Recorder, Report, Times};
use super::{Arrival, Load, Progress};
use crate::buffer::{Buffer, Filled, ReadOnce};
use crate::sys::{Alarm, Clock, CpuTime};

const EVENTS_MAX: usize = 1024;
const ALARM: Token = Token(usize::MAX);
/// How often time-outs are looked for and progress is told.
const TICK_US: u64 = 100_000;

/// One slot for a connection; it is opened when first needed and again after it was closed.
#[derive(Default)]
struct Slot {
    socket: Option<TcpStream>,
    input: Buffer,
    judge: Judge,
    /// The request under way.
    active: Option<Active>,
    /// The connection has carried something, so a failure is no failure to connect.
    connected: bool,
}

#[derive(Clone, Copy)]
struct Active {
    due: u64,
    sent: u64,
    request: usize,
    written: usize,
}

struct Driver<'l> {
    load: &'l Load,
    requests: &'l [Vec<u8>],
    poll: Poll,
    clock: Clock,
    slots: Vec<Slot>,
    free: Vec<usize>,
    recorder: Recorder,
    /// Requests due from here on are measured.
    measured_from: u64,
    issued: u64,
    answered: u64,
}

pub(crate) fn run(
    load: &Load,
    requests: &[Vec<u8>],
    progress: &mut dyn FnMut(Progress),
) -> io::Result<Report> {
    let poll = Poll::new()?;
    let mut alarm = Alarm::new(poll.registry(), ALARM)?;
    let micros = |d: Duration| d.as_micros() as u64;
    let stop_at = micros(load.warm_up + load.duration);
    // What is under way at the end is awaited, but not for ever.
    let give_up_at = stop_at + micros(load.timeout) + TICK_US;
    let mut driver = Driver {
        load,
        requests,
        poll,
        clock: Clock::start(),
        slots: (0..load.connections).map(|_| Slot::default()).collect(),
        free: (0..load.connections).rev().collect(),
        recorder: Recorder::new(),
        measured_from: micros(load.warm_up),
        issued: 0,
        answered: 0,
    };
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut next_tick = TICK_US;
    let mut cpu_at_start = None;
    let mut measured_end = None;
    loop {
        let now = driver.clock.now_us();
        if now >= driver.measured_from && cpu_at_start.is_none() {
            cpu_at_start = Some(CpuTime::of_thread().total_us());
        }
        if now >= next_tick {
            driver.expire(now);
            progress(Progress {
                elapsed: Duration::from_micros(now),
                answered: driver.answered,
                in_flight: driver.in_flight(),
            });
            next_tick = now + TICK_US;
        }
        let all_issued = load.requests_max.is_some_and(|max| driver.issued >= max);
        let stopped = now >= stop_at || all_issued;
        if stopped && measured_end.is_none() {
            measured_end = Some((now.min(stop_at), CpuTime::of_thread().total_us()));
            if load.arrival != Arrival::Saturate {
                // This loop may have woken late: what was due and has a connection still goes.
                driver.issue(now.min(stop_at.saturating_sub(1)), now);
            }
            driver.give_up_the_unsent(now.min(stop_at), now);
        }
        let next_due = if stopped { None } else { driver.issue(now, now) };
        if stopped && (driver.in_flight() == 0 || now >= give_up_at) {
            break;
        }
        let wake_at = next_due.map_or(next_tick, |due| due.min(next_tick));
        alarm.set(wake_at, driver.clock.now_us())?;
        match driver.poll.poll(&mut events, None) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        let now = driver.clock.now_us();
        for event in &events {
            if event.token() != ALARM {
                let closing = event.is_read_closed() || event.is_error();
                let readable = event.is_readable() || closing;
                driver.on_event(event.token().0, readable, closing, now);
            }
        }
    }
    driver.expire(u64::MAX);
    let over = driver.clock.now_us();
    let (_, cpu_end) = measured_end.unwrap_or((over, CpuTime::of_thread().total_us()));
    // A run that was ended by its count lasts until its last answer.
    let end = if load.requests_max.is_some() { over.min(stop_at) } else { stop_at };
    let seconds = end.saturating_sub(driver.measured_from).max(1) as f64 / 1e6;
    let cpu = cpu_end.saturating_sub(cpu_at_start.unwrap_or(cpu_end));
    Ok(driver.recorder.report(seconds, cpu))
}

impl Driver<'_> {
    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// When the `n`-th request is due.
    fn due(&self, n: u64) -> Option<u64> {
        match self.load.arrival {
            Arrival::Rate(rate) => Some((n as f64 * 1e6 / rate) as u64),
            Arrival::Saturate => None,
        }
    }

    /// Sends what is due at `until` as far as connections are free. When the next one will be due,
    /// if it is time that it waits for.
    fn issue(&mut self, until: u64, now: u64) -> Option<u64> {
        // A target that refuses at once frees its connection at once: one round is enough, so
        // that the loop outside goes on.
        for _ in 0..self.slots.len() {
            if self.load.requests_max.is_some_and(|max| self.issued >= max) {
                return None;
            }
            let due = self.due(self.issued).unwrap_or(now);
            if due > until {
                return Some(due);
            }
            // With none free, an answer is what it waits for; the request stays due.
            let slot = self.free.pop()?;
            self.issued += 1;
            self.send(slot, due, now);
        }
        self.due(self.issued)
    }

    /// Requests that were due before the end and had no connection.
    fn give_up_the_unsent(&mut self, stop_at: u64, now: u64) {
        while let Some(due) = self.due(self.issued).filter(|due| *due < stop_at) {
            if self.load.requests_max.is_some_and(|max| self.issued >= max) {
                return;
            }
            self.issued += 1;
            if due >= self.measured_from {
                self.recorder.unsent(due, now);
            }
        }
    }

    fn send(&mut self, index: usize, due: u64, now: u64) {
        let slot = &mut self.slots[index];
        slot.judge.reset();
        slot.active = Some(Active {
            due,
            sent: now,
            request: (self.issued - 1) as usize % self.requests.len(),
            written: 0,
        });
        if slot.socket.is_none() && self.open(index).is_err() {
            return self.fail(index, Failure::Connect, now);
        }
        self.write(index, now);
    }

    fn open(&mut self, index: usize) -> io::Result<()> {
        let slot = &mut self.slots[index];
        let mut socket = TcpStream::connect(self.load.target)?;
        // Without it only the timing suffers.
        let _ = socket.set_nodelay(true);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(index), both)?;
        slot.input.clear();
        slot.connected = false;
        slot.socket = Some(socket);
        Ok(())
    }

    fn write(&mut self, index: usize, now: u64) {
        let slot = &mut self.slots[index];
        let (Some(active), Some(socket)) = (&mut slot.active, &mut slot.socket) else {
            return;
        };
        let request = &self.requests[active.request];
        while active.written < request.len() {
            match socket.write(&request[active.written..]) {
                Ok(count) => {
                    active.written += count;
                    slot.connected = true;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                    ) =>
                {
                    return;
                }
                Err(_) => return self.lost(index, now),
            }
        }
    }

    fn on_event(&mut self, index: usize, readable: bool, closing: bool, now: u64) {
        self.write(index, now);
        if readable {
            self.read(index, closing, now);
        }
    }

    fn read(&mut self, index: usize, closing: bool, now: u64) {
        loop {
            let slot = &mut self.slots[index];
            let Some(socket) = &mut slot.socket else {
                return;
            };
            let Ok(read) = slot.input.read(socket, closing) else {
                return self.lost(index, now);
            };
            if !slot.input.is_empty() {
                let Some(active) = slot.active else {
                    // Bytes that nobody asked for.
                    slot.socket = None;
                    return;
                };
                let measured = active.due >= self.measured_from;
                let recorder = &mut self.recorder;
                let mut gap = |gap_us| {
                    if measured {
                        recorder.gap(gap_us);
                    }
                };
                match slot.judge.feed(&mut slot.input, now, &mut gap) {
                    Ok(Said::More) => {}
                    Ok(Said::Over { reusable }) => self.over(index, reusable, now),
                    Err(failure) => return self.fail(index, failure, now),
                }
            }
            match read {
                ReadOnce::More => {}
                ReadOnce::Ended(Filled::Drained) => return,
                ReadOnce::Ended(Filled::Eof) => return self.lost(index, now),
            }
        }
    }

    /// The connection is gone; with an answer under way that is an end, good or bad.
    fn lost(&mut self, index: usize, now: u64) {
        let slot = &mut self.slots[index];
        if slot.active.is_none() {
            slot.socket = None;
            return;
        }
        let ended = if slot.connected { slot.judge.ended() } else { Err(Failure::Connect) };
        match ended {
            Ok(()) => self.over(index, false, now),
            Err(failure) => self.fail(index, failure, now),
        }
    }

    fn over(&mut self, index: usize, reusable: bool, now: u64) {
        let slot = &mut self.slots[index];
        let verdict = slot.judge.verdict(self.load.chunks_expected);
        // An answer that came before the request was written ends the connection, too.
        let written = slot.active.is_some_and(|a| a.written == self.requests[a.request].len());
        self.settle(index, verdict, reusable && written, now);
    }

    fn fail(&mut self, index: usize, failure: Failure, now: u64) {
        self.settle(index, Err(failure), false, now);
    }

    fn settle(&mut self, index: usize, verdict: Result<(), Failure>, keep: bool, now: u64) {
        let slot = &mut self.slots[index];
        if !keep {
            slot.socket = None;
            slot.input.clear();
        }
        let Some(Active { due, sent, .. }) = slot.active.take() else {
            return;
        };
        self.answered += 1;
        self.free.push(index);
        if due < self.measured_from {
            return;
        }
        let times = Times { due, sent, over: now };
        match verdict {
            Ok(()) => self.recorder.complete(times, &slot.judge.seen, &slot.judge.model),
            Err(failure) => self.recorder.failed(times, failure),
        }
    }

    fn expire(&mut self, now: u64) {
        let timeout = self.load.timeout.as_micros() as u64;
        for index in 0..self.slots.len() {
            let expired = |active: Active| active.sent.saturating_add(timeout) <= now;
            if self.slots[index].active.is_some_and(expired) {
                let now = now.min(self.clock.now_us());
                self.fail(index, Failure::Timeout, now);
            }
        }
    }
}

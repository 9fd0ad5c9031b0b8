//! The fake provider's thread: one poll, all connections, and the timers that scripts ask for.
//!
//! A stream without gaps sends one write per turn and goes to the end of the queue, so that many
//! streams interleave as they do at a real provider, and no one of them fills its socket alone.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use super::connection::{Connection, Flushed, State};
use super::dialect::DIALECTS;
use super::request::{Next, Request};
use super::respond::{self, Then};
use super::script::{Fault, Script, UsageCounts};
use super::{Inner, ModelCounters, Recorded, Shared, demo};
use crate::sys::{Alarm, Clock, reset_on_close};

pub(crate) const LISTENER: Token = Token(0);
pub(crate) const WAKER: Token = Token(1);
const ALARM: Token = Token(2);
const FIRST: usize = 3;

const EVENTS_MAX: usize = 1024;
/// Answers to pipelined requests are gathered up to this before they are written.
const GATHER_BYTES_MAX: usize = 64 << 10;
/// Parsed instructions that are kept; load tests send the same ones over and over.
const SCRIPTS_KEPT: usize = 256;
/// Models that are counted by name; the rest is counted as one.
const MODELS_MAX: usize = 4096;
const OTHER_MODELS: &str = "(other)";
/// Fields of a head without an end, 1 KiB each; then silence.
const ENDLESS_FIELDS: u32 = 4096;
const ENDLESS_FIELDS_PER_WRITE: u32 = 64;
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Server {
    poll: Poll,
    listener: TcpListener,
    alarm: Alarm,
    clock: Clock,
    shared: Arc<Shared>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    turns: VecDeque<usize>,
    /// Due time, slot, and the timer's number in its connection.
    timers: BinaryHeap<Reverse<(u64, usize, u64)>>,
    timers_set: u64,
    number: u64,
    scripts: Overlays,
    scratch: Vec<u8>,
}

/// Instructions by their JSON: the script they were laid over, and the result.
type Overlays = HashMap<Vec<u8>, (Arc<Script>, Arc<Script>)>;

/// Whether a connection lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drive {
    Stays,
    Gone,
}

impl Server {
    pub(crate) fn new(
        poll: Poll,
        listener: TcpListener,
        shared: Arc<Shared>,
    ) -> io::Result<Server> {
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        Ok(Server {
            poll,
            listener,
            alarm,
            clock: Clock::start(),
            shared,
            connections: Vec::new(),
            free: Vec::new(),
            turns: VecDeque::new(),
            timers: BinaryHeap::new(),
            timers_set: 0,
            number: 0,
            scripts: HashMap::new(),
            scratch: Vec::new(),
        })
    }

    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let wait = (!self.turns.is_empty()).then_some(Duration::ZERO);
            if wait.is_none()
                && let Some(Reverse((due, ..))) = self.timers.peek()
            {
                self.alarm.set(*due, self.clock.now_us())?;
            }
            match self.poll.poll(&mut events, wait) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    WAKER if self.shared.is_stopped() => return Ok(()),
                    WAKER | ALARM => {}
                    Token(token) => {
                        let closing = event.is_read_closed() || event.is_error();
                        self.on_event(token - FIRST, event.is_readable() || closing, closing);
                    }
                }
            }
            self.ring();
            for _ in 0..self.turns.len() {
                if let Some(slot) = self.turns.pop_front() {
                    if let Some(connection) = &mut self.connections[slot] {
                        connection.queued = false;
                    }
                    self.drive(slot);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // A client that is gone already, or no descriptors: the next event tries again.
                Err(_) => return Ok(()),
            };
            // Without it only the timing suffers.
            let _ = socket.set_nodelay(true);
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.poll.registry().register(
                &mut socket,
                Token(slot + FIRST),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            let mut inner = self.shared.lock();
            inner.counters.connections += 1;
            let script = Arc::clone(&inner.script);
            drop(inner);
            self.connections[slot] = Some(Connection::new(socket, script, DIALECTS[0]));
        }
    }

    fn on_event(&mut self, slot: usize, readable: bool, closing: bool) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return;
        };
        let failed = readable && connection.fill(closing).is_err();
        let gave_up = connection.ended && connection.has_request();
        if failed || gave_up {
            return self.close(slot);
        }
        self.drive(slot);
    }

    fn ring(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = self.clock.now_us();
        while let Some(Reverse((due, slot, timer))) = self.timers.peek().copied() {
            if due > now {
                return;
            }
            self.timers.pop();
            let Some(Some(connection)) = self.connections.get_mut(slot) else {
                continue;
            };
            if connection.timer != timer {
                continue;
            }
            if connection.state == State::Delayed {
                self.start_answer(slot);
            } else if let State::Streaming { waiting } = &mut connection.state {
                *waiting = false;
            }
            self.drive(slot);
        }
    }

    /// Rings `delay_ms` after `from_us`.
    fn set_timer(&mut self, slot: usize, from_us: u64, delay_ms: u32) {
        self.timers_set += 1;
        let due = from_us + u64::from(delay_ms) * 1000;
        if let Some(connection) = &mut self.connections[slot] {
            connection.timer = self.timers_set;
            connection.due_us = due;
            self.timers.push(Reverse((due, slot, self.timers_set)));
        }
    }

    fn queue(&mut self, slot: usize) {
        if let Some(connection) = &mut self.connections[slot]
            && !connection.queued
        {
            connection.queued = true;
            self.turns.push_back(slot);
        }
    }

    fn close(&mut self, slot: usize) {
        let Some(mut connection) = self.connections[slot].take() else {
            return;
        };
        if connection.is_answering() {
            self.shared.lock().counters.cancelled += 1;
        }
        // Closing the descriptor takes it out of the poll in any case.
        let _ = self.poll.registry().deregister(&mut connection.socket);
        self.free.push(slot);
    }

    fn drive(&mut self, slot: usize) {
        if self.advance(slot).unwrap_or(Drive::Gone) == Drive::Gone {
            self.close(slot);
        }
    }

    /// Takes a connection as far as it goes without waiting.
    fn advance(&mut self, slot: usize) -> io::Result<Drive> {
        loop {
            let Some(connection) = &mut self.connections[slot] else {
                return Ok(Drive::Stays);
            };
            if connection.state == State::Reading && connection.out.len() < GATHER_BYTES_MAX {
                match connection.reader.next(&mut connection.input) {
                    Next::Ready(request) => {
                        self.begin(slot, request);
                        continue;
                    }
                    Next::Partial(true) => {
                        connection.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    Next::Partial(false) if connection.ended => {
                        connection.state = State::Closing { reset: false };
                    }
                    Next::Partial(false) => {}
                    Next::Bad(status, why) => {
                        let mut body = Vec::new();
                        connection.dialect.error(status, None, why, &mut body);
                        respond::fixed(status, &body, false, &mut connection.out);
                        connection.state = State::Closing { reset: false };
                    }
                }
            }
            let gathered = connection.out.len() >= GATHER_BYTES_MAX;
            match connection.flush()? {
                Flushed::All => {}
                Flushed::Blocked => return Ok(Drive::Stays),
                Flushed::Piece => {
                    self.queue(slot);
                    return Ok(Drive::Stays);
                }
            }
            match connection.state {
                // Gathering stopped at its limit; there may be more requests.
                State::Reading if gathered => {}
                State::Reading | State::Delayed | State::Silent => return Ok(Drive::Stays),
                State::Streaming { waiting: true } => return Ok(Drive::Stays),
                State::Streaming { waiting: false } => {
                    if !self.send_events(slot)? {
                        return Ok(Drive::Stays);
                    }
                }
                State::EndlessHead(fields) => {
                    connection.state = if fields < ENDLESS_FIELDS {
                        for _ in 0..ENDLESS_FIELDS_PER_WRITE {
                            connection.out.extend_from_slice(b"X-Filler: ");
                            connection.out.extend_from_slice(&[b'a'; 1000]);
                            connection.out.extend_from_slice(b"\r\n");
                        }
                        State::EndlessHead(fields + ENDLESS_FIELDS_PER_WRITE)
                    } else {
                        State::Silent
                    };
                }
                State::Closing { reset } => {
                    if reset {
                        reset_on_close(&connection.socket)?;
                    }
                    return Ok(Drive::Gone);
                }
            }
        }
    }

    /// A request is complete: find its script, start its answer or its delay.
    fn begin(&mut self, slot: usize, request: Request) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        connection.request = request;
        self.number += 1;
        let path = connection.reader.path.as_str();
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let method = connection.reader.method.as_str();
        let (head, body) = connection.reader.parts(&connection.input);
        let mut inner = self.shared.lock();
        inner.counters.requests += 1;
        if inner.recorded.len() < inner.record {
            let (head, body) = (head.to_vec(), body.to_vec());
            inner.recorded.push(Recorded { head, body });
        }
        let dialect = DIALECTS.iter().find(|d| d.takes(method, path));
        let prepared = match dialect {
            None => Err(without_dialect(&mut inner, method, path)),
            Some(dialect) => dialect
                .read(path, body)
                .and_then(|ask| {
                    let own = connection.request.script.as_deref();
                    let overlay = ask.script.clone().map(|range| &body[range]).or(own);
                    let model = ask.model(path, body);
                    let (script, turn) = choose(&mut inner, model, overlay, &mut self.scripts)?;
                    Ok((*dialect, ask, script, turn))
                })
                .map_err(|why| {
                    let mut error = Vec::new();
                    dialect.error(400, None, &why, &mut error);
                    inner.counters.refused += 1;
                    (400, error)
                }),
        };
        drop(inner);
        match prepared {
            Err((status, answer)) => {
                let keep_alive = connection.request.keep_alive;
                respond::fixed(status, &answer, keep_alive, &mut connection.out);
                connection.reader.finish(&mut connection.input);
                if !keep_alive {
                    connection.state = State::Closing { reset: false };
                }
            }
            Ok((dialect, ask, script, turn)) => {
                let delay = script.first_ms;
                let model = ask.model(path, body);
                let text = if script.echo {
                    Some(dialect.echo(body).to_string())
                } else if script.demo {
                    Some(demo::answer(&dialect.prompt(body), &String::from_utf8_lossy(model)))
                } else {
                    None
                };
                let has_result = script.calls_until_result
                    && dialect.echo(body)["tool_results"].as_u64().is_some_and(|count| count > 0);
                let script = if has_result { Arc::new(script.without_calls()) } else { script };
                connection.answer.begin(script, &ask, model, turn, text);
                connection.answer.number = self.number;
                connection.dialect = dialect;
                connection.reader.finish(&mut connection.input);
                connection.state = State::Delayed;
                if delay > 0 {
                    let now = self.clock.now_us();
                    self.set_timer(slot, now, delay);
                } else {
                    self.start_answer(slot);
                }
            }
        }
    }

    fn start_answer(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if connection.answer.fault == Some(Fault::Pause) {
            let pause = Duration::from_millis(u64::from(connection.answer.script.after));
            std::thread::sleep(pause.min(PAUSE_MAX));
        }
        let framing = connection.framing();
        let then = respond::start(
            &mut connection.answer,
            connection.dialect,
            framing,
            &mut self.scratch,
            &mut connection.out,
        );
        if then != Then::Stream {
            return self.settle(slot, then, 0);
        }
        connection.step = 0;
        connection.due_us = 0;
        let think_ms = connection.answer.script.think_ms;
        connection.state = State::Streaming { waiting: think_ms > 0 };
        if think_ms > 0 {
            let now = self.clock.now_us();
            self.set_timer(slot, now, think_ms);
        }
    }

    /// One turn of a stream; whether it was the last.
    fn send_events(&mut self, slot: usize) -> io::Result<bool> {
        let Some(connection) = &mut self.connections[slot] else {
            return Ok(false);
        };
        let framing = connection.framing();
        let (coalesce, gap_ms) = {
            let script = &connection.answer.script;
            (script.coalesce.max(1), script.gap_ms)
        };
        let first = connection.step;
        let mut then = Then::Stream;
        while then == Then::Stream && connection.step - first < coalesce {
            then = respond::event(
                &connection.answer,
                connection.dialect,
                framing,
                &mut connection.step,
                &mut self.scratch,
                &mut connection.out,
            );
        }
        let events = u64::from(connection.step - first);
        if then == Then::Stream {
            connection.state = State::Streaming { waiting: gap_ms > 0 };
            let flushed = connection.flush()?;
            connection.events += events;
            if gap_ms > 0 {
                // From when this event was due: being late once does not make a stream slower.
                let from =
                    if connection.due_us > 0 { connection.due_us } else { self.clock.now_us() };
                self.set_timer(slot, from, gap_ms);
            }
            // A full socket is taken up again by its event, a gap by its timer.
            if flushed == Flushed::Piece || (flushed == Flushed::All && gap_ms == 0) {
                self.queue(slot);
            }
            return Ok(false);
        }
        let events = std::mem::take(&mut connection.events) + events;
        self.settle(slot, then, events);
        Ok(true)
    }

    /// An answer is made to its end: count it, before its last bytes leave.
    fn settle(&mut self, slot: usize, then: Then, events: u64) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        let answer = &connection.answer;
        let mut inner = self.shared.lock();
        inner.counters.events += events;
        if answer.status != 200 {
            inner.counters.refused += 1;
        } else if answer.fault.is_some_and(|fault| !fault.completes()) {
            inner.counters.failed += 1;
        } else if !answer.counts {
            inner.counters.completed += 1;
            let name = unescaped(&answer.asked);
            let model = model_counters(&mut inner, &name);
            model.completed += 1;
            add(&mut model.tokens, answer.usage.unwrap_or_default());
        }
        drop(inner);
        connection.state = match then {
            Then::Next | Then::Stream => State::Reading,
            Then::Silence => State::Silent,
            Then::Close => State::Closing { reset: false },
            Then::Reset => State::Closing { reset: true },
            Then::EndlessHead => State::EndlessHead(0),
        };
    }
}

fn add(sum: &mut UsageCounts, usage: UsageCounts) {
    sum.prompt += usage.prompt;
    sum.completion += usage.completion;
    sum.cached += usage.cached;
    sum.cache_write += usage.cache_write;
    sum.reasoning += usage.reasoning;
}

/// The script of a request and its turn among those of its model.
fn choose(
    inner: &mut Inner,
    model: &[u8],
    overlay: Option<&[u8]>,
    cache: &mut Overlays,
) -> Result<(Arc<Script>, u64), String> {
    let name = unescaped(model);
    let model = model_counters(inner, &name);
    model.requests += 1;
    let turn = model.requests;
    let base = inner.models.get(&*name).unwrap_or(&inner.script);
    let Some(overlay) = overlay else {
        return Ok((Arc::clone(base), turn));
    };
    // An entry holds the script that it was laid over, so a changed one is never mistaken for it.
    if let Some((on, script)) = cache.get(overlay)
        && Arc::ptr_eq(on, base)
    {
        return Ok((Arc::clone(script), turn));
    }
    let script = Arc::new(base.overlaid(overlay)?);
    if cache.len() >= SCRIPTS_KEPT {
        cache.clear();
    }
    let entry = (Arc::clone(base), Arc::clone(&script));
    cache.insert(overlay.to_vec(), entry);
    Ok((script, turn))
}

/// A name as it stood in JSON, read.
fn unescaped(raw: &[u8]) -> Cow<'_, str> {
    if !raw.contains(&b'\\') {
        return String::from_utf8_lossy(raw);
    }
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice::<String>(&quoted)
        .map_or_else(|_| String::from_utf8_lossy(raw), Cow::Owned)
}

fn model_counters<'i>(inner: &'i mut Inner, name: &str) -> &'i mut ModelCounters {
    let models = &mut inner.counters.models;
    let full = models.len() >= MODELS_MAX && !models.contains_key(name);
    let name = if full { OTHER_MODELS } else { name };
    if !models.contains_key(name) {
        models.insert(name.to_owned(), ModelCounters::default());
    }
    models.get_mut(name).expect("it was put there if it was not")
}

/// Everything that is no protocol's own path.
fn without_dialect(inner: &mut Inner, method: &str, path: &str) -> (u16, Vec<u8>) {
    let json = |value: serde_json::Value| value.to_string().into_bytes();
    match (method, path) {
        ("GET", "/v1/models" | "/models") => {
            let data: Vec<_> = inner
                .models
                .keys()
                .map(|id| {
                    serde_json::json!({
                        "id": id, "object": "model", "created": 1_790_000_000, "owned_by": "fake",
                    })
                })
                .collect();
            let list = serde_json::json!({ "object": "list", "data": data });
            (200, json(list))
        }
        ("GET", "/healthz") => (200, b"{\"status\":\"ok\"}".to_vec()),
        _ => {
            inner.counters.refused += 1;
            let mut body = Vec::new();
            let message = format!("unknown path {method} {path}");
            DIALECTS[0].error(404, Some("unknown_url"), &message, &mut body);
            (404, body)
        }
    }
}

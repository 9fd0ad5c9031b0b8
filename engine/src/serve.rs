//! The life of a request, as one sentence: accept, parse, admit, classify, score, forward, stream,
//! account. Each stage takes what the one before it made; a refusal leaves through `?`.

use crate::accept::{Arrived, Client, Stop, Wants, accept};
use crate::account::{self, Ending, Entry};
use crate::config::Timeouts;
use crate::core::{Core, Routing};
use crate::count;
use crate::decide::{self, Judged, Understood};
use crate::forward::{self, Attempts, Begun, Fault, Served};
use crate::models_list;
use crate::reply::{self, Head};
use crate::rt;
use crate::snapshot::Named;
use crate::stats::AttemptResult;
use crate::upstream::{Connection, Pool};
use arrayvec::ArrayString;
use models::Dialect;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Instant;
use store::Outcome;
use wire::dialect::openai_chat::OpenAiChat;
use wire::refusal::{Kind, Refusal};

/// Room for a piece of a stream.
const PIECE_ROOM: usize = 16 * 1024;
/// A body up to this size is sent in one piece with its head.
const ONE_WRITE_MAX: usize = 256 * 1024;
/// For how long the end of a provider's message is waited for after the end of its stream, so that
/// the connection can be used again.
const TRAILER_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

/// Serves a connection to its end.
pub async fn connection(core: Rc<Core>, stream: rt::Stream) {
    let watch = core.watchers.watch(stream.as_raw_fd());
    let mut client = Client::new(stream, watch);
    loop {
        // A panic must not take the core and its other connections along.
        let stopped = match rt::caught(request(&core, &mut client)).await {
            Ok(stopped) => stopped,
            Err(rt::Panicked) => {
                core.stats.borrow_mut().requests[Outcome::GatewayFailed as usize] += 1;
                client.must_close = true;
                match client.has_answered {
                    true => Err(Stop::Gone),
                    false => Err(Refusal::new(Kind::Internal).into()),
                }
            }
        };
        if let Err(stop) = stopped
            && !refuse(&core, &mut client, stop).await
        {
            return;
        }
        if !client.finish_request().await {
            break;
        }
        client.watch.end_request();
    }
    client.linger().await;
}

async fn request(core: &Core, client: &mut Client) -> Result<(), Stop> {
    let arrived = accept(core, client).await?;
    let routing = core.routing();
    if !matches!(arrived.wants, Wants::Chat(_)) {
        return simple(core, &routing, client, &arrived).await;
    }
    let understood = decide::parse(client, &arrived)?;
    let admitted = decide::admit(core, &routing, &arrived, &understood)?;
    let judged = decide::classify(core, client, &arrived, &understood, &admitted).await;
    let plan = decide::score(core, &routing, &arrived, &understood, &admitted, &judged)?;

    let unix_us = account::arrival_unix_us(&arrived);
    let entry = Entry {
        id: core.new_id(unix_us),
        unix_us,
        arrived: &arrived,
        understood: &understood,
        admitted: &admitted,
        judged: &judged,
        plan: &plan,
    };
    let mut attempts = Attempts::default();
    let served = forward::forward(
        core,
        &routing,
        client,
        &arrived,
        &understood,
        (entry.id, &plan),
        &mut attempts,
    )
    .await;
    match served {
        Ok(served) => stream(core, &routing, client, &entry, served, &attempts).await,
        Err(stop) => {
            let (outcome, status) = match &stop {
                Stop::Gone => (Outcome::ClientClosed, 499),
                Stop::Refused(refusal) if refusal.kind == Kind::UpstreamTimeout => {
                    (Outcome::TimedOut, refusal.status)
                }
                Stop::Refused(refusal) => (Outcome::UpstreamFailed, refusal.status),
            };
            account::account_failure(core, &routing, &entry, &attempts, outcome, status)
                .map_err(|error| unaccounted(&error))?;
            Err(stop)
        }
    }
}

/// Brings the answer to the client; accounts for it before its last byte.
async fn stream(
    core: &Core,
    routing: &Routing,
    client: &mut Client,
    entry: &Entry<'_>,
    mut served: Served<'_>,
    attempts: &Attempts,
) -> Result<(), Stop> {
    match std::mem::replace(
        &mut served.answer,
        Begun::Whole { body: 0..0, translated: None, facts: Default::default(), reusable: false },
    ) {
        Begun::Whole { body, translated, facts, reusable } => {
            let ending = Ending {
                outcome: Outcome::Complete,
                status: 200,
                first_content: Some(Instant::now()),
                usage: facts.usage,
                content_bytes: facts.content_bytes,
            };
            account::succeeded(core, routing, &served, entry.arrived, &ending);
            account::account(
                core,
                routing,
                entry,
                (served.target, &served.attempt),
                attempts,
                ending,
            )
            .map_err(|error| unaccounted(&error))?;
            let body = (body, translated);
            write_whole(core, routing, client, entry, served, attempts, body, reusable).await
        }
        Begun::Stream { relay, reusable } => {
            relay_stream(core, routing, client, entry, served, attempts, relay, reusable).await
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one stage's facts, each with a name of its own")]
async fn write_whole(
    core: &Core,
    routing: &Routing,
    client: &mut Client,
    entry: &Entry<'_>,
    served: Served<'_>,
    attempts: &Attempts,
    (body, translated): (std::ops::Range<usize>, Option<Vec<u8>>),
    reusable: bool,
) -> Result<(), Stop> {
    let limit = Timeouts::of(routing.snapshot.timeouts.write_ms);
    if let Some(translated) = translated {
        begin_answer(core, client, entry, &served, attempts)
            .field("Content-Type", "application/json")
            .body_of(translated.len());
        give_back(&core.pool, &served.way.origin, served.connection, reusable);
        client.outgoing.extend_from_slice(&translated);
        return client.send(0, limit).await;
    }
    begin_answer(core, client, entry, &served, attempts)
        .field("Content-Type", "application/json")
        .body_of(body.len());
    let mut connection = served.connection;
    let origin = &served.way.origin;
    if body.len() <= ONE_WRITE_MAX {
        client.outgoing.extend_from_slice(&connection.incoming[body]);
        // The connection is free for others while this client reads.
        give_back(&core.pool, origin, connection, reusable);
        return client.send(0, limit).await;
    }
    client.send(0, limit).await?;
    let sent = client.send_from(&mut connection.incoming, body, limit).await;
    give_back(&core.pool, origin, connection, reusable);
    sent
}

#[expect(clippy::too_many_arguments, reason = "one stage's facts, each with a name of its own")]
async fn relay_stream(
    core: &Core,
    routing: &Routing,
    client: &mut Client,
    entry: &Entry<'_>,
    mut served: Served<'_>,
    attempts: &Attempts,
    mut relay: Box<crate::relay::Relay>,
    reusable: bool,
) -> Result<(), Stop> {
    let timeouts = &routing.snapshot.timeouts;
    let (gap, write) = (Timeouts::of(timeouts.gap_ms), Timeouts::of(timeouts.write_ms));
    let first_content = Instant::now();
    client.must_close |= !entry.arrived.takes_chunks;
    let chunked = entry.arrived.takes_chunks;
    let mut head = begin_answer(core, client, entry, &served, attempts);
    match entry.understood.as_array {
        true => head.json_stream(chunked),
        false => head.event_stream(chunked),
    }

    let fd = served.connection.transport.as_raw_fd();
    let mut piece_at = first_content;
    let mut head_is_out = false;
    // Passes on what is there, reads on, until the stream ends one way or another.
    let ended: Result<(), Fault> = loop {
        if relay.facts().ended {
            break Ok(());
        }
        if relay.has_ready() {
            let start = relay.seal(false);
            let sent = if head_is_out {
                let range = start..relay.out().len();
                client.send_from(relay.out(), range, write).await
            } else {
                client.outgoing.extend_from_slice(&relay.out()[start..]);
                head_is_out = true;
                client.watch.keep_alive(entry.understood.codec.keep_alive(chunked));
                client.send(0, write).await
            };
            if sent.is_err() {
                return client_left(core, routing, entry, &served, attempts, &relay, first_content);
            }
            relay.sent();
        }
        let incoming = &mut served.connection.incoming;
        let reading = served.connection.transport.read(incoming, PIECE_ROOM);
        let count = match client.watch.guard_for_client(fd, gap, reading).await {
            Ok(result) => result.unwrap_or(0),
            Err(ended) => match Fault::ended(ended) {
                Ok(fault) => break Err(fault),
                Err(_) => {
                    return client_left(
                        core,
                        routing,
                        entry,
                        &served,
                        attempts,
                        &relay,
                        first_content,
                    );
                }
            },
        };
        let now = Instant::now();
        let gap_us = now.duration_since(piece_at).as_micros().min(u32::MAX.into()) as u32;
        core.stats.borrow_mut().gaps.record(gap_us);
        piece_at = now;
        let taken = match count {
            0 => relay.close(),
            _ => relay.take(&mut served.connection.incoming),
        };
        if let Err(fault) = taken {
            break Err(Fault::stream(fault));
        }
    };

    client.watch.keep_alive(b"");
    let facts = *relay.facts();
    let ending = Ending {
        outcome: if ended.is_ok() { Outcome::Complete } else { Outcome::UpstreamBroke },
        status: 200,
        first_content: Some(first_content),
        usage: facts.usage,
        content_bytes: facts.content_bytes,
    };
    match &ended {
        Ok(()) => account::succeeded(core, routing, &served, entry.arrived, &ending),
        Err(fault) => {
            forward::failed(core, routing, served.attempt.offer, fault);
            // The client sees an error event, and never an end that did not happen.
            relay.refuse(&fault.refusal, &hex(entry.id));
        }
    }
    let accounted =
        account::account(core, routing, entry, (served.target, &served.attempt), attempts, ending);
    if let Err(error) = accounted {
        tracing::error!(%error, "a finished stream could not be written to the journal");
    }
    let start = relay.seal(true);
    if head_is_out {
        client.outgoing.clear();
    }
    client.outgoing.extend_from_slice(&relay.out()[start..]);
    let sent = client.send(0, write).await;
    if ended.is_ok() && reusable {
        finish_message(core, client, served, relay).await;
    }
    sent
}

/// Reads the end of the provider's message, which mostly came with the last event, and gives the
/// connection back.
async fn finish_message(
    core: &Core,
    client: &Client,
    mut served: Served<'_>,
    mut relay: Box<crate::relay::Relay>,
) {
    let fd = served.connection.transport.as_raw_fd();
    let until = Instant::now() + TRAILER_WAIT;
    while !relay.facts().body_done {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // A client with its next request at hand is not kept waiting for a provider's last bytes.
        if rt::peek(client.stream.as_raw_fd()) != rt::Peek::Quiet {
            return;
        }
        let incoming = &mut served.connection.incoming;
        let reading = served.connection.transport.read(incoming, PIECE_ROOM);
        match client.watch.guard_for_client(fd, left, reading).await {
            Ok(Ok(1..)) if relay.take(&mut served.connection.incoming).is_ok() => {}
            _ => return,
        }
    }
    if served.connection.incoming.is_empty() {
        give_back(&core.pool, &served.way.origin, served.connection, true);
    }
}

/// The client left in mid-stream: it is charged for what was delivered.
fn client_left(
    core: &Core,
    routing: &Routing,
    entry: &Entry<'_>,
    served: &Served<'_>,
    attempts: &Attempts,
    relay: &crate::relay::Relay,
    first_content: Instant,
) -> Result<(), Stop> {
    let facts = relay.facts();
    let ending = Ending {
        outcome: Outcome::ClientClosed,
        status: 200,
        first_content: Some(first_content),
        usage: facts.usage,
        content_bytes: facts.content_bytes,
    };
    let offer = served.attempt.offer;
    routing.learn(offer, |health| health.on_abandoned(offer, core.micros(Instant::now())));
    core.count_offer(routing, offer, |stats| {
        stats.attempts[AttemptResult::Abandoned as usize] += 1;
    });
    let target = (served.target, &served.attempt);
    if let Err(error) = account::account(core, routing, entry, target, attempts, ending) {
        tracing::error!(%error, "an interrupted stream could not be written to the journal");
    }
    Err(Stop::Gone)
}

fn give_back(
    pool: &Pool,
    origin: &std::sync::Arc<crate::upstream::Origin>,
    mut connection: Connection,
    reusable: bool,
) {
    if reusable {
        connection.incoming.clear();
        connection.incoming.shrink_to(ONE_WRITE_MAX);
        pool.put(origin, connection, Instant::now());
    }
}

/// The head of a good answer, with what was decided and by whom it was served.
fn begin_answer<'c>(
    core: &Core,
    client: &'c mut Client,
    entry: &Entry<'_>,
    served: &Served<'_>,
    attempts: &Attempts,
) -> Head<'c> {
    let id = hex(entry.id);
    let closes = client.must_close;
    let mut head = Head::begin(&mut client.outgoing, 200, &core.date.borrow());
    let request_id = entry.arrived.request_id.as_deref().unwrap_or(&id);
    if entry.understood.codec.dialect() == Dialect::AnthropicMessages {
        head.field("Request-Id", request_id);
    }
    if !served.dropped.is_empty() {
        head.field("X-Pointsman-Dropped", &served.dropped.header());
    }
    head.field("X-Request-Id", request_id)
        .field("X-Pointsman-Decision-Id", &id)
        .field("X-Pointsman-Model", &served.target.model)
        .field("X-Pointsman-Provider", &served.target.provider)
        .field("X-Pointsman-Reason", entry.plan.reason.code());
    if let Judged { stage: Some(_), verdict, .. } = entry.judged {
        head.field("X-Pointsman-Task", verdict.task.name())
            .field("X-Pointsman-Strategy", entry.admitted.strategy.name());
    }
    if attempts.made > 1 {
        head.number("X-Pointsman-Attempts", attempts.made.into());
    }
    head.limits(&served.limits).close(closes);
    head
}

/// Paths that call no provider, or only to count.
async fn simple(
    core: &Core,
    routing: &Routing,
    client: &mut Client,
    arrived: &Arrived,
) -> Result<(), Stop> {
    let body: Vec<u8> = match &arrived.wants {
        Wants::Chat(_) => return Err(Refusal::new(Kind::Internal).into()),
        Wants::Route => route_body(core, routing, client, arrived).await?,
        Wants::CountTokens(dialect) => {
            // In a box, so that its waits add nothing to the state of all other requests.
            return Box::pin(count::count(core, routing, client, arrived, *dialect)).await;
        }
        Wants::Models(dialect) => routing.snapshot.models_list(*dialect).to_vec(),
        Wants::Model(dialect, name) => model_body(routing, *dialect, name)?,
        Wants::Root => b"{\"name\":\"pointsman\"}".to_vec(),
        Wants::Health => b"{\"status\":\"ok\"}".to_vec(),
        Wants::Ready if core.shared.phase.is_ready() => b"{\"status\":\"ready\"}".to_vec(),
        Wants::Ready => return Err(Refusal::new(Kind::ShuttingDown).into()),
    };
    client.settle_close();
    let closes = client.must_close;
    reply::json(&mut client.outgoing, &core.date.borrow(), closes, &body, client.head_only);
    client.send(0, Timeouts::of(routing.snapshot.timeouts.write_ms)).await
}

fn model_body(routing: &Routing, dialect: Dialect, name: &str) -> Result<Vec<u8>, Stop> {
    let snapshot = &routing.snapshot;
    let unknown = || {
        Refusal::new(Kind::UnknownModel)
            .with_message(format!("the model \"{}\" does not exist", wire::refusal::shown(name)))
            .with_param("model")
    };
    let name = wire::endpoint::percent_decoded(name).ok_or_else(unknown)?;
    let row = match snapshot.named(&name).ok_or_else(unknown)? {
        Named::Auto(_) => models_list::alias(dialect, &name),
        Named::Model(ix) => models_list::model(dialect, snapshot.catalogue.model(ix)),
    };
    Ok(row.to_string().into_bytes())
}

/// The dry run: the decision for a request, with everything that led to it.
async fn route_body(
    core: &Core,
    routing: &Routing,
    client: &Client,
    arrived: &Arrived,
) -> Result<Vec<u8>, Stop> {
    let understood: Understood = decide::parse(client, arrived)?;
    let admitted = decide::admit(core, routing, arrived, &understood)?;
    let judged = decide::classify(core, client, arrived, &understood, &admitted).await;
    let ask = decide::ask(&admitted, &understood, judged.verdict);
    let now = core.micros(arrived.at);
    let explanation =
        route::explain(&routing.snapshot.columns, &routing.health.borrow(), &ask, now);
    let shown =
        crate::explain::shown(&routing.snapshot, &understood, &admitted, &judged, &explanation);
    Ok(shown.to_string().into_bytes())
}

/// Tells the client no, in its dialect. False when the connection is not to be used any more.
async fn refuse(core: &Core, client: &mut Client, stop: Stop) -> bool {
    let Stop::Refused(refusal) = stop else { return false };
    core.stats.borrow_mut().refuse(refusal.kind);
    client.must_close |= refusal.closes() || core.shared.phase.is_leaving();
    client.settle_close();
    let mut body = Vec::with_capacity(256);
    let codec = wire::dialect::codec(client.dialect).unwrap_or(&OpenAiChat);
    let id = hex(core.new_id(crate::core::unix_now().1));
    codec.write_refusal(&refusal, &id, &mut body);
    let mut refusal = refusal.clone().with_status(codec.refusal_status(&refusal));
    if refusal.status == 429 {
        // Without a time to come back at, some clients never stop asking.
        let seconds = *refusal.retry_after_s.get_or_insert(1);
        let reset = || reply::rfc3339(core.unix_s().saturating_add(seconds.into()));
        refusal.limits.complete(client.dialect, reset);
    }
    let allow = (refusal.kind == Kind::MethodNotAllowed).then_some(refusal.param.as_deref());
    let date = core.date.borrow().clone();
    let closes = client.must_close;
    reply::refuse(&mut client.outgoing, &date, closes, &id, &refusal, allow.flatten(), &body);
    if client.head_only {
        client.outgoing.truncate(client.outgoing.len() - body.len());
    }
    let limit = Timeouts::of(core.routing().snapshot.timeouts.write_ms);
    client.send(0, limit).await.is_ok()
}

fn unaccounted(error: &store::JournalError) -> Stop {
    tracing::error!(%error, "a request could not be written to the journal");
    Stop::Refused(Refusal::new(Kind::LedgerUnavailable).with_retry_after(Some(5)))
}

/// An id as 32 hexadecimal digits.
pub fn hex(id: u128) -> ArrayString<32> {
    let mut text = ArrayString::new();
    for shift in (0..32).rev() {
        text.push(char::from(b"0123456789abcdef"[((id >> (shift * 4)) & 15) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_32_digits() {
        assert_eq!(&hex(0xabc), "00000000000000000000000000000abc");
        assert_eq!(&hex(u128::MAX), "ffffffffffffffffffffffffffffffff");
    }
}

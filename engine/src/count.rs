//! How long a conversation is, in tokens: counted by the provider of the named model, where one of its
//! offers speaks the client's dialect and can count; else estimated.
//!
//! In: a request of that kind. Out: its answer, with a field that says which of the two it is. Never:
//! news for the health table, a charge, a record in the journal, or a refusal because a provider did
//! not count: clients ask this to decide what to do next, and an estimate serves them better.

use crate::accept::{Arrived, Client, Stop};
use crate::account;
use crate::config::Timeouts;
use crate::core::{Core, Routing};
use crate::decide::{self, Understood};
use crate::forward::Fault;
use crate::hop::{self, Call, Failed};
use crate::reply::Head;
use crate::serve::hex;
use crate::snapshot::Named;
use crate::stats::AttemptResult;
use crate::target::{Target, Wanted, Way};
use crate::upstream::Connection;
use models::Dialect;
use models::catalogue::OfferIx;
use route::Gate;
use std::time::{Duration, Instant};
use wire::refusal::Kind;

/// For how long a provider is waited for, connecting included: a client waits for this before it asks
/// what it really wants to know.
const LIMIT: Duration = Duration::from_secs(3);
/// Longest answer of a provider that is passed on; they have some forty bytes.
const BYTES_MAX: usize = 4 * 1024;

/// Answers how long the conversation is.
pub async fn count(
    core: &Core,
    routing: &Routing,
    client: &mut Client,
    arrived: &Arrived,
    dialect: Dialect,
) -> Result<(), Stop> {
    let understood = decide::parse(client, arrived)?;
    let counted = match counter(core, routing, &understood) {
        Some((target, way)) => {
            let wanted = Wanted::Count;
            let call = Call { arrived, understood: &understood, target, way, wanted, id: 0 };
            ask(core, routing, client, &call).await?.map(|body| (body, target))
        }
        None => None,
    };
    let (body, by) = match counted {
        Some((body, target)) => (body, Some(target)),
        None => (estimate(&understood, dialect), None),
    };
    client.settle_close();
    let closes = client.must_close;
    let mut head = Head::begin(&mut client.outgoing, 200, &core.date.borrow());
    let id = hex(core.new_id(account::arrival_unix_us(arrived)));
    let request_id = arrived.request_id.as_deref().unwrap_or(&id);
    head.field("Content-Type", "application/json")
        .field("Request-Id", request_id)
        .field("X-Request-Id", request_id);
    match by {
        Some(target) => head
            .field("X-Pointsman-Count", "provider")
            .field("X-Pointsman-Model", &target.model)
            .field("X-Pointsman-Provider", &target.provider),
        None => head.field("X-Pointsman-Count", "estimate"),
    };
    head.close(closes).body_of(body.len());
    client.outgoing.extend_from_slice(&body);
    client.send(0, Timeouts::of(routing.snapshot.timeouts.write_ms)).await
}

/// Which offer of the named model is asked to count: one in the client's dialect, that is well, and
/// first the one whose own name for the model the client uses.
fn counter<'r>(
    core: &Core,
    routing: &'r Routing,
    understood: &Understood,
) -> Option<(&'r Target, &'r Way)> {
    let snapshot = &routing.snapshot;
    let Named::Model(model) = snapshot.named(&understood.requested)? else { return None };
    let (health, now) = (routing.health.borrow(), core.micros(Instant::now()));
    let counters = OfferIx::each(snapshot.catalogue.offers_of(model)).filter_map(|offer| {
        let target = snapshot.target(offer)?;
        let way = target.ways.iter().find(|way| {
            way.codec.dialect() == understood.codec.dialect()
                && way.counts()
                && way.credential.is_there()
        })?;
        // Whoever fails or limits us is let rest, and a probe is for a request that is worth one.
        (health.admits(offer, now) == Gate::Yes).then_some((target, way))
    });
    counters.min_by_key(|(target, _)| target.wire_id != understood.requested)
}

/// What the provider says, as it says it; nothing when it does not, whatever the reason.
async fn ask(
    core: &Core,
    routing: &Routing,
    client: &mut Client,
    call: &Call<'_>,
) -> Result<Option<Vec<u8>>, Stop> {
    let until = Instant::now() + LIMIT;
    if let Some(connection) = core.pool.take(&call.way.origin) {
        match exchange(core, routing, client, call, connection, until).await {
            Ok(body) => return Ok(Some(body)),
            Err(Failed::Stop(stop)) => return Err(stop),
            // It may have been closed while it was idle.
            Err(Failed::Fault(fault)) if fault.result == AttemptResult::Interrupted => {}
            Err(Failed::Fault(_)) => return Ok(None),
        }
    }
    let left = until.saturating_duration_since(Instant::now());
    let most = routing.snapshot.timeouts.connect_ms;
    let connect_ms = most.min(left.as_millis().try_into().unwrap_or(u32::MAX));
    let timeouts = Timeouts { connect_ms, ..routing.snapshot.timeouts.clone() };
    let counted = match hop::connect(client, &call.way.origin, &timeouts).await {
        Ok(connection) => exchange(core, routing, client, call, connection, until).await,
        Err(failed) => Err(failed),
    };
    match counted {
        Ok(body) => Ok(Some(body)),
        Err(Failed::Stop(stop)) => Err(stop),
        Err(Failed::Fault(_)) => Ok(None),
    }
}

async fn exchange(
    core: &Core,
    routing: &Routing,
    client: &mut Client,
    call: &Call<'_>,
    mut connection: Connection,
    until: Instant,
) -> Result<Vec<u8>, Failed> {
    let invalid = || Failed::from(Fault::protocol(Kind::UpstreamInvalid));
    let timeouts = &routing.snapshot.timeouts;
    let left = || until.saturating_duration_since(Instant::now());
    let before = client.watch.bound(left());
    let got = async {
        hop::send(client, call, None, &mut connection, timeouts).await?;
        let head = hop::read_head(client, &mut connection, until).await?;
        if head.status != 200 || head.is_encoded {
            return Err(invalid());
        }
        let body = hop::read_whole(routing, client, &mut connection, &head).await?;
        Ok((head, body))
    }
    .await;
    client.watch.unbound(before);
    let (head, range) = got?;
    let body = connection.incoming.get(range.clone()).unwrap_or_default().to_vec();
    if body.len() > BYTES_MAX || call.way.codec.read_count(&body).is_none() {
        return Err(invalid());
    }
    if head.keep_alive && range.end == connection.incoming.len() {
        connection.incoming.clear();
        core.pool.put(&call.way.origin, connection, Instant::now());
    }
    Ok(body)
}

/// Four bytes a token, in the dialect's form.
fn estimate(understood: &Understood, dialect: Dialect) -> Vec<u8> {
    let tokens = understood.parsed.input_tokens();
    let name = match dialect {
        Dialect::GeminiGenerate => "totalTokens",
        _ => "input_tokens",
    };
    format!("{{\"{name}\":{tokens}}}").into_bytes()
}

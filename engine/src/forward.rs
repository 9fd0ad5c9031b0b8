//! The stage that calls providers: attempts in the plan's order, until one answers with content.
//!
//! Before the first content byte nothing goes to the client, so a fault here is seen by nobody: the
//! next target is tried. Each fault is judged once, in one table ([`Fault`]): whether another target
//! may help, what it says about the provider, and what the client hears when none is left.

use crate::accept::{Arrived, Client, Stop};
use crate::config::Timeouts;
use crate::core::{Core, Routing};
use crate::decide::Understood;
use crate::hop::{self, Call, Failed};
use crate::relay::{Relay, StreamFault};
use crate::rt;
use crate::stats::AttemptResult;
use crate::target::{Target, Wanted, Way};
use crate::translate::{Asked, Translated};
use crate::upstream::Connection;
use crate::watch::Ended;
use models::catalogue::OfferIx;
use route::{Attempt, FailureKind, Plan};
use std::fmt::Write;
use std::ops::Range;
use std::time::{Duration, Instant};
use wire::chat::Dropped;
use wire::dialect::{Answer, AnswerFault, ErrorFacts};
use wire::http1::{Framing, ResponseHead};
use wire::json::Document;
use wire::limits::RateLimits;
use wire::refusal::{Kind, Refusal};

/// How often a missing token is looked for again while a request waits for it.
const TOKEN_POLL: Duration = Duration::from_millis(5);

/// An answer that has begun, and who gives it.
pub struct Served<'r> {
    /// How the offer is called.
    pub target: &'r Target,
    /// In which dialect it was.
    pub way: &'r Way,
    /// What the request lost on its way into that dialect.
    pub dropped: Dropped,
    /// What the provider says of its rate limits, for a client of the same dialect.
    pub limits: RateLimits,
    /// What was planned.
    pub attempt: Attempt,
    /// The connection on which the answer comes.
    pub connection: Connection,
    /// The answer.
    pub answer: Begun,
}

/// An answer that has begun.
pub enum Begun {
    /// All of it is there: this range of the connection's buffer.
    Whole {
        /// Where.
        body: Range<usize>,
        /// The same in the client's dialect, when the provider speaks another one.
        translated: Option<Vec<u8>>,
        /// What is known of it.
        facts: Answer,
        /// Whether the connection can be used again.
        reusable: bool,
    },
    /// Its first content is there.
    Stream {
        /// The stream.
        relay: Box<Relay>,
        /// Whether the connection can be used again when the stream has ended.
        reusable: bool,
    },
}

/// What became of the attempts, also of the failed ones.
#[derive(Default)]
pub struct Attempts {
    /// How many were made.
    pub made: u8,
    /// Who failed and how, for the ledger: `openai:timeout, groq:rate_limited`.
    pub failures: String,
}

/// Why an attempt failed.
#[derive(Debug)]
pub struct Fault {
    /// For the counters.
    pub result: AttemptResult,
    /// What it says about the provider's health.
    pub health: HealthNews,
    /// Whether another target may be tried.
    pub retry: bool,
    /// What the client hears when no target is left.
    pub refusal: Refusal,
}

/// What a failed attempt says about its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthNews {
    /// Nothing: it was the request's or the client's doing.
    Nothing,
    /// It failed.
    Failed(FailureKind),
    /// It wants no more for a while (seconds).
    RateLimited(Option<u32>),
}

impl Fault {
    /// A fault after which another target may be tried.
    pub fn new(result: AttemptResult, health: HealthNews, kind: Kind) -> Fault {
        Fault { result, health, retry: true, refusal: Refusal::new(kind) }
    }

    /// Nobody took the connection.
    pub fn connect() -> Fault {
        let health = HealthNews::Failed(FailureKind::Connect);
        Fault::new(AttemptResult::Connect, health, Kind::UpstreamUnavailable)
    }

    /// A wait was too long.
    pub fn timeout() -> Fault {
        let health = HealthNews::Failed(FailureKind::Timeout);
        Fault::new(AttemptResult::Timeout, health, Kind::UpstreamTimeout)
    }

    /// What came cannot be understood.
    pub fn protocol(kind: Kind) -> Fault {
        let health = HealthNews::Failed(FailureKind::Protocol);
        Fault::new(AttemptResult::Protocol, health, kind)
    }

    /// A fault of a stream, before its first content or after.
    pub fn stream(fault: StreamFault) -> Fault {
        match fault {
            StreamFault::Malformed(_) => Fault::protocol(Kind::UpstreamInvalid),
            StreamFault::Error => {
                let health = HealthNews::Failed(FailureKind::Server);
                Fault::new(AttemptResult::Server, health, Kind::UpstreamUnavailable)
            }
            StreamFault::Interrupted => Fault::interrupted(),
        }
    }

    /// The connection was lost in mid-answer.
    pub fn interrupted() -> Fault {
        let health = HealthNews::Failed(FailureKind::Interrupted);
        Fault::new(AttemptResult::Interrupted, health, Kind::UpstreamInterrupted)
    }

    /// A wait of ours ended.
    pub fn ended(ended: Ended) -> Result<Fault, Stop> {
        match ended {
            Ended::Overdue => Ok(Fault::timeout()),
            Ended::ClientGone => Err(Stop::Gone),
            Ended::Draining => {
                let fault =
                    Fault::new(AttemptResult::Abandoned, HealthNews::Nothing, Kind::ShuttingDown);
                Ok(Fault { retry: false, ..fault })
            }
        }
    }

    /// The table of statuses: what an answer without a good status means.
    fn status(head: &ResponseHead, facts: ErrorFacts, body: &[u8]) -> Fault {
        use AttemptResult as R;
        let failed = HealthNews::Failed;
        let retry_after = head.retry_after_s.or(facts.retry_after_s);
        match head.status {
            status if facts.is_credential || matches!(status, 401..=403) => Fault::new(
                R::Credential,
                failed(FailureKind::Credential),
                Kind::UpstreamCredentials,
            ),
            408 => Fault::timeout(),
            429 => {
                let fault = Fault::new(
                    R::RateLimited,
                    HealthNews::RateLimited(retry_after),
                    Kind::RateLimited,
                );
                Fault { refusal: fault.refusal.with_retry_after(retry_after.or(Some(1))), ..fault }
            }
            status @ (400 | 404 | 409 | 413 | 422) => {
                let fault = Fault::new(R::Rejected, HealthNews::Nothing, Kind::UpstreamRejected);
                let refusal = fault.refusal.with_status(status).with_message(rejection(body));
                Fault { retry: false, refusal, ..fault }
            }
            503 | 529 => {
                let retry_after_us = retry_after.map(|seconds| u64::from(seconds) * 1_000_000);
                let health = failed(FailureKind::Overloaded { retry_after_us });
                let fault = Fault::new(R::Overloaded, health, Kind::Overloaded);
                Fault { refusal: fault.refusal.with_retry_after(retry_after.or(Some(1))), ..fault }
            }
            500..=599 => {
                Fault::new(R::Server, failed(FailureKind::Server), Kind::UpstreamUnavailable)
            }
            // No redirect is followed: a credential is never sent elsewhere.
            _ => Fault::protocol(Kind::UpstreamInvalid),
        }
    }
}

/// The provider's words on why it refused a request, cleaned of anything like a key.
fn rejection(body: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 500;
    let document = Document::read(body);
    let text = document.as_ref().and_then(|document| {
        document.text(&["error", "message"]).or_else(|| document.text(&["message"]))
    });
    let Some(text) = text else { return Kind::UpstreamRejected.message().to_owned() };
    let is_secret = |word: &str| {
        let long = word.len() >= 20 && word.bytes().any(|byte| byte.is_ascii_digit());
        long || word.starts_with("sk-") || word.starts_with("pm-")
    };
    let words = text.split_whitespace().map(|word| if is_secret(word) { "***" } else { word });
    let cleaned: String = words.collect::<Vec<_>>().join(" ");
    let shown: String = cleaned.chars().filter(|c| !c.is_control()).take(CHARACTERS_MAX).collect();
    format!("The provider rejected the request: {shown}")
}

/// Tries the plan's targets until one answers with content.
pub async fn forward<'r>(
    core: &Core,
    routing: &'r Routing,
    client: &mut Client,
    arrived: &Arrived,
    understood: &Understood,
    (id, plan): (u128, &Plan),
    attempts: &mut Attempts,
) -> Result<Served<'r>, Stop> {
    let snapshot = &routing.snapshot;
    let mut last: Option<Refusal> = None;
    for &attempt in &plan.attempts {
        if usize::from(attempts.made) >= snapshot.limits.attempts {
            break;
        }
        let Some(target) = snapshot.target(attempt.offer) else { continue };
        let way = target.way(understood.codec.dialect(), understood.parsed.needs);
        let body = &client.incoming[arrived.body.clone()];
        let asked = Asked { body, understood, target, way, id };
        let mut translated = match Translated::prepare(asked) {
            Ok(translated) => translated,
            // What this target cannot be told, another one perhaps can.
            Err(refusal) => {
                last = Some(last.unwrap_or(refusal));
                continue;
            }
        };
        let begun = Instant::now();
        let now = core.micros(begun);
        let admitted = routing.health.borrow_mut().on_start(attempt.offer, now, attempt.probe);
        if !admitted {
            continue;
        }
        if attempts.made == 0 {
            let decided = begun.saturating_duration_since(arrived.at).as_micros();
            core.stats.borrow_mut().decide.record(decided.min(u32::MAX.into()) as u32);
        }
        attempts.made += 1;
        let wanted = Wanted::answer(&understood.parsed);
        let call = Call { arrived, understood, target, way, wanted, id };
        match attempt_once(core, routing, client, &call, &mut translated).await {
            Ok((connection, (answer, limits))) => {
                let mut dropped =
                    translated.map(|translated| translated.dropped).unwrap_or_default();
                let is_lowered = understood.parsed.max_output > Some(target.max_output);
                dropped.add_if(is_lowered, "max_tokens");
                return Ok(Served { target, way, dropped, limits, attempt, connection, answer });
            }
            Err(Failed::Stop(stop)) => {
                // The client left: that says nothing about the provider.
                routing.learn(attempt.offer, |health| {
                    health.on_abandoned(attempt.offer, core.micros(Instant::now()));
                });
                core.count_offer(routing, attempt.offer, |stats| {
                    stats.attempts[AttemptResult::Abandoned as usize] += 1;
                });
                return Err(stop);
            }
            Err(Failed::Fault(fault)) => {
                failed(core, routing, attempt.offer, &fault);
                let separator = if attempts.failures.is_empty() { "" } else { ", " };
                // Writing to a string does not fail.
                let _ = write!(
                    attempts.failures,
                    "{separator}{}:{}",
                    target.provider,
                    fault.result.name()
                );
                if !fault.retry || client.watch.request_is_overdue() {
                    return Err(Stop::Refused(fault.refusal));
                }
                last = Some(more_helpful(last, fault.refusal));
            }
        }
    }
    Err(Stop::Refused(
        last.unwrap_or_else(|| Refusal::new(Kind::NoCandidate).with_retry_after(Some(1))),
    ))
}

/// Counts a failed attempt and tells the health table.
pub fn failed(core: &Core, routing: &Routing, offer: OfferIx, fault: &Fault) {
    let now = core.micros(Instant::now());
    core.count_offer(routing, offer, |stats| stats.attempts[fault.result as usize] += 1);
    routing.learn(offer, |health| match fault.health {
        HealthNews::Nothing => health.on_abandoned(offer, now),
        HealthNews::Failed(kind) => health.on_failure(offer, now, kind),
        HealthNews::RateLimited(seconds) => {
            let micros = seconds.map(|seconds| u64::from(seconds) * 1_000_000);
            health.on_rate_limited(offer, now, micros);
        }
    });
}

/// Of two refusals by two targets the one that tells the client more: when to come back, soonest.
fn more_helpful(earlier: Option<Refusal>, later: Refusal) -> Refusal {
    match (earlier, later.retry_after_s) {
        (Some(earlier), None) if earlier.retry_after_s.is_some() => earlier,
        (Some(earlier), Some(later_s)) if earlier.retry_after_s.is_some_and(|s| s < later_s) => {
            earlier
        }
        _ => later,
    }
}

/// One attempt. A connection that was idle may have been closed by the provider in the meantime;
/// when nothing came back on it, the same request goes out once more on a fresh one.
async fn attempt_once(
    core: &Core,
    routing: &Routing,
    client: &mut Client,
    call: &Call<'_>,
    translated: &mut Option<Translated>,
) -> Result<(Connection, (Begun, RateLimits)), Failed> {
    let timeouts = &routing.snapshot.timeouts;
    let origin = &call.way.origin;
    // The first token may be on its way, as the first address of a name.
    let until = Instant::now() + Timeouts::of(timeouts.connect_ms);
    while !call.way.credential.is_there() {
        if Instant::now() >= until {
            return Err(hop::no_token().into());
        }
        rt::sleep(TOKEN_POLL).await;
    }
    if let Some(mut connection) = core.pool.take(origin) {
        match exchange(routing, client, call, translated, &mut connection).await {
            Ok(answer) => return Ok((connection, answer)),
            Err(Failed::Fault(fault))
                if connection.is_unproven && fault.result == AttemptResult::Interrupted => {}
            Err(failed) => return Err(failed),
        }
    }
    // Not from the pool again: a request at which a provider hangs up would go out once for each
    // idle connection, and nobody would count it.
    let mut connection = hop::connect(client, origin, timeouts).await?;
    let answer = exchange(routing, client, call, translated, &mut connection).await?;
    Ok((connection, answer))
}

/// Sends the request and reads the answer: all of it, or up to its first content.
async fn exchange(
    routing: &Routing,
    client: &mut Client,
    call: &Call<'_>,
    translated: &mut Option<Translated>,
    connection: &mut Connection,
) -> Result<(Begun, RateLimits), Failed> {
    let timeouts = &routing.snapshot.timeouts;
    hop::send(client, call, translated.as_mut(), connection, timeouts).await?;
    let stream = call.understood.parsed.stream;
    let limit =
        Timeouts::of(if stream { timeouts.first_byte_ms } else { timeouts.whole_answer_ms });
    let until = Instant::now() + limit;
    let mut head = hop::read_head(client, connection, until).await?;
    let dialects = (call.understood.codec.dialect(), call.way.codec.dialect());
    let limits = std::mem::take(&mut head.limits).between(dialects.0, dialects.1);
    if head.status != 200 {
        let body = hop::read_error(client, connection, &head, timeouts).await;
        let mut fault = Fault::status(&head, call.way.codec.read_error(&body), &body);
        if fault.refusal.kind == Kind::RateLimited {
            fault.refusal.limits = limits;
        }
        return Err(fault.into());
    }
    if head.is_encoded {
        return Err(Fault::protocol(Kind::UpstreamInvalid).into());
    }
    if stream && head.is_event_stream {
        let translated = translated.as_mut();
        let begun = read_first_content(client, call, translated, connection, &head, until).await;
        return begun.map(|begun| (begun, limits));
    }
    let body = hop::read_whole(routing, client, connection, &head).await?;
    let bytes = &connection.incoming[body.clone()];
    let read = match translated {
        Some(translated) => {
            let answer = translated.answer(bytes, call.asked(client));
            answer.map(|(answer, facts)| (Some(answer), facts))
        }
        None => {
            let facts = call.way.codec.read_answer(bytes, call.target.usage_rules());
            facts.map(|facts| (None, facts))
        }
    };
    match read {
        // A provider may answer whole although a stream was asked for; a client who waits for events
        // cannot read that.
        Ok(_) if stream => Err(Fault::protocol(Kind::UpstreamInvalid).into()),
        Ok((translated, facts)) => {
            let reusable = head.keep_alive && body.end == connection.incoming.len();
            Ok((Begun::Whole { body, translated, facts, reusable }, limits))
        }
        Err(AnswerFault::Malformed) => Err(Fault::protocol(Kind::UpstreamInvalid).into()),
        Err(AnswerFault::Error) => Err(Fault::stream(StreamFault::Error).into()),
    }
}

async fn read_first_content(
    client: &Client,
    call: &Call<'_>,
    translated: Option<&mut Translated>,
    connection: &mut Connection,
    head: &ResponseHead,
    until: Instant,
) -> Result<Begun, Failed> {
    let relay = Relay::new(
        call.understood.codec,
        call.target.usage_rules(),
        head.framing,
        !call.understood.parsed.usage_in_stream,
        call.arrived.takes_chunks,
    );
    let relay = if call.understood.as_array { relay.as_array() } else { relay };
    let mut relay = Box::new(match translated {
        Some(translated) => {
            let translator = translated.translator(call.asked(client));
            relay.translating(translator.map_err(|_| Fault::protocol(Kind::Internal))?)
        }
        None => relay,
    });
    connection.incoming.drain(..head.len);
    loop {
        relay.take(&mut connection.incoming).map_err(Fault::stream)?;
        if relay.facts().has_content {
            let reusable = head.keep_alive && head.framing != Framing::UntilClose;
            return Ok(Begun::Stream { relay, reusable });
        }
        if relay.facts().ended || relay.facts().body_done {
            return Err(Fault::stream(StreamFault::Interrupted).into());
        }
        let left = until.saturating_duration_since(Instant::now());
        if hop::read(client, connection, hop::READ_ROOM, left).await? == 0 {
            return Err(Fault::interrupted().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, retry_after_s: Option<u32>) -> ResponseHead {
        ResponseHead {
            status,
            framing: Framing::Length(0),
            keep_alive: true,
            is_event_stream: false,
            is_encoded: false,
            retry_after_s,
            limits: RateLimits::default(),
            len: 0,
        }
    }

    /// One row per status of a provider: the client's status, whether another target is tried, and
    /// whether it counts against the provider.
    #[test]
    fn statuses_are_judged_by_whose_fault_they_are() {
        let rows = [
            (400, 400, false, false),
            (401, 502, true, true),
            (402, 502, true, true),
            (403, 502, true, true),
            (404, 404, false, false),
            (408, 504, true, true),
            (413, 413, false, false),
            (422, 422, false, false),
            (429, 429, true, false),
            (500, 502, true, true),
            (502, 502, true, true),
            (503, 503, true, true),
            (504, 502, true, true),
            (521, 502, true, true),
            (529, 503, true, true),
            (301, 502, true, true),
            (204, 502, true, true),
        ];
        for (status, client, retry, counts) in rows {
            let fault = Fault::status(&head(status, None), ErrorFacts::default(), b"");
            assert_eq!(fault.refusal.status, client, "{status}");
            assert_eq!(fault.retry, retry, "{status}");
            assert_eq!(matches!(fault.health, HealthNews::Failed(_)), counts, "{status}");
        }
        let limited = Fault::status(&head(429, Some(17)), ErrorFacts::default(), b"");
        assert_eq!(limited.refusal.retry_after_s, Some(17));
        assert_eq!(limited.health, HealthNews::RateLimited(Some(17)));
        // What a body says counts where the head is silent, and a bad key is one by any status.
        let facts = ErrorFacts { retry_after_s: Some(9), is_credential: false };
        let limited = Fault::status(&head(429, None), facts, b"");
        assert_eq!(limited.health, HealthNews::RateLimited(Some(9)));
        let facts = ErrorFacts { retry_after_s: None, is_credential: true };
        assert_eq!(Fault::status(&head(400, None), facts, b"").refusal.status, 502);
    }

    #[test]
    fn a_providers_words_are_cleaned() {
        let body =
            br#"{"error":{"message":"bad key sk-abc and token 0123456789abcdef0123 in field x"}}"#;
        let fault = Fault::status(&head(400, None), ErrorFacts::default(), body);
        assert!(fault.refusal.message.contains("field x"), "{}", fault.refusal.message);
        assert!(!fault.refusal.message.contains("sk-abc"));
        assert!(!fault.refusal.message.contains("0123456789"));
    }

    #[test]
    fn the_soonest_return_is_told() {
        let limited = |seconds| Refusal::new(Kind::RateLimited).with_retry_after(seconds);
        assert_eq!(more_helpful(Some(limited(Some(3))), limited(Some(9))).retry_after_s, Some(3));
        assert_eq!(more_helpful(Some(limited(Some(9))), limited(Some(3))).retry_after_s, Some(3));
        let other = Refusal::new(Kind::UpstreamUnavailable);
        assert_eq!(more_helpful(Some(limited(Some(9))), other).retry_after_s, Some(9));
    }
}

//! The stages that decide: parse, admit, classify, score. No I/O; each takes what the one before made.

use crate::accept::{Arrived, Client, Stop, Wants};
use crate::core::{Core, Routing};
use crate::judge;
use crate::snapshot::{Named, Snapshot};
use classifier::{Classified, Stage, TurnType};
use models::catalogue::{ModelKind, OfferIx};
use models::{Dialect, Verdict};
use route::{Ask, Attempt, NoCandidate, Plan, Strategy, Target};
use std::borrow::Cow;
use std::time::Instant;
use wire::dialect::Codec;
use wire::refusal::{self, Kind, Refusal};
use wire::request::Parsed;

/// Longest `Retry-After` that we give, in seconds.
const RETRY_AFTER_MAX_S: u64 = 300;

/// A request that was understood, with the code of its dialect.
pub struct Understood {
    /// What it says.
    pub parsed: Parsed,
    /// In which dialect, both ways.
    pub codec: &'static dyn Codec,
    /// The model as the client named it, fit to be shown.
    pub requested: String,
    /// Whether the pieces of a stream are the elements of an array instead of events.
    pub as_array: bool,
}

/// A request that may be served.
pub struct Admitted {
    /// Whom to ask.
    pub named: Named,
    /// By which strategy.
    pub strategy: Strategy,
}

/// What is known of a request's content.
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// Who said so; `None` when nobody was asked.
    pub stage: Option<Stage>,
    /// All that was said, for who asks why.
    pub heads: Option<Classified>,
    /// What part it plays in its client's work; not looked for when nobody was asked.
    pub turn: TurnType,
    /// What it took, the wait for a second model included.
    pub micros: u32,
}

/// Reads the body.
pub fn parse(client: &Client, arrived: &Arrived) -> Result<Understood, Stop> {
    let dialect = match arrived.wants {
        Wants::Chat(dialect) | Wants::CountTokens(dialect) => dialect,
        _ => Dialect::OpenAiChat,
    };
    let codec = wire::dialect::codec(dialect).ok_or_else(|| Refusal::new(Kind::NotFound))?;
    let body = &client.incoming[arrived.body.clone()];
    let mut parsed = codec.read_request(body)?;
    let by_path = arrived.by_path.as_ref();
    parsed.stream |= by_path.is_some_and(|said| said.streams);
    let as_array = by_path.is_some_and(|said| said.as_array);
    let requested = match by_path {
        Some(said) => Cow::Borrowed(&*said.model),
        None => parsed.model.read(body),
    };
    let requested = match &*requested {
        name if name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_graphic()) => {
            name.to_owned()
        }
        name => refusal::shown(name),
    };
    Ok(Understood { parsed, codec, requested, as_array })
}

/// Finds out what the named model means and by which strategy to choose: the alias's own, else the
/// head's, else the key's, else the configured one.
pub fn admit(
    core: &Core,
    routing: &Routing,
    arrived: &Arrived,
    understood: &Understood,
) -> Result<Admitted, Stop> {
    if !core.journal.borrow().has_room() {
        return Err(Refusal::new(Kind::LedgerUnavailable).with_retry_after(Some(5)).into());
    }
    let snapshot = &routing.snapshot;
    let Some(named) = snapshot.named(&understood.requested) else {
        return Err(Refusal::new(Kind::UnknownModel)
            .with_message(format!(
                "the model \"{}\" does not exist; GET /v1/models lists what is served, and \"auto\" \
                 lets the gateway choose",
                refusal::shown(&understood.requested)
            ))
            .with_param("model")
            .into());
    };
    check_kind(snapshot, named, understood)?;
    let by_alias = match named {
        Named::Auto(strategy) => strategy,
        Named::Model(_) => None,
    };
    let by_key = || arrived.key.as_ref()?.strategy.as_deref().and_then(Strategy::from_name);
    let strategy = by_alias.or(arrived.strategy).or_else(by_key).unwrap_or(snapshot.strategy);
    Ok(Admitted { named, strategy })
}

/// Refuses a conversation with a model that gives vectors, and the reverse; a choice of model for
/// vectors, since those of two models cannot be compared; and more token ids than the model takes.
fn check_kind(snapshot: &Snapshot, named: Named, understood: &Understood) -> Result<(), Refusal> {
    let Understood { parsed, codec, requested, as_array: _ } = understood;
    let refused = |param: String, message: String| {
        Err(Refusal::new(Kind::NotCapable).with_message(message).with_param(param))
    };
    let embeds = codec.dialect().is_embeddings();
    let requested = refusal::shown(requested);
    let model = match named {
        Named::Auto(_) if embeds => {
            let message = format!(
                "\"{requested}\" chooses a model by the prompt, and vectors of different models cannot be \
                 compared: name an embedding model; {}",
                served_embeddings(snapshot)
            );
            return refused("model".to_owned(), message);
        }
        Named::Auto(_) => return Ok(()),
        Named::Model(model) => snapshot.catalogue.model(model),
    };
    match (embeds, model.kind()) {
        (true, ModelKind::Chat) => {
            let message = format!(
                "\"{requested}\" gives text, not vectors: name an embedding model; {}",
                served_embeddings(snapshot)
            );
            refused("model".to_owned(), message)
        }
        (false, ModelKind::Embedding) => {
            let message = format!(
                "\"{requested}\" gives vectors, not text: ask it at /v1/embeddings, or name another model"
            );
            refused("model".to_owned(), message)
        }
        (true, ModelKind::Embedding) if parsed.shape.token_ids_longest > model.max_input() => {
            let (found, most) = (parsed.shape.token_ids_longest, model.max_input());
            let message = format!("an input has {found} tokens, and \"{requested}\" takes {most}");
            Err(Refusal::new(Kind::ContextTooLong).with_message(message).with_param("input"))
        }
        _ => Ok(()),
    }
}

/// The embedding models that can be called, as a sentence for a refusal.
fn served_embeddings(snapshot: &Snapshot) -> String {
    const NAMED_MAX: usize = 8;
    let served = snapshot.catalogue.models().filter(|model| {
        model.kind() == ModelKind::Embedding
            && OfferIx::each(snapshot.catalogue.offers_of(model.ix()))
                .any(|offer| snapshot.target(offer).is_some())
    });
    let names: Vec<&str> = served.map(|model| model.id()).collect();
    match names.len() {
        0 => "no enabled provider serves one".to_owned(),
        count if count > NAMED_MAX => {
            format!("{} and {} more are served", names[..NAMED_MAX].join(", "), count - NAMED_MAX)
        }
        _ => format!("served: {}", names.join(", ")),
    }
}

/// Judges the prompt, when a choice depends on it. May wait for a second model, within its deadline.
pub async fn classify(
    core: &Core,
    client: &Client,
    arrived: &Arrived,
    understood: &Understood,
    admitted: &Admitted,
) -> Judged {
    if matches!(admitted.named, Named::Model(_)) {
        return Judged {
            verdict: Verdict::UNKNOWN,
            stage: None,
            heads: None,
            turn: TurnType::Main,
            micros: 0,
        };
    }
    let begun = Instant::now();
    let body = &client.incoming[arrived.body.clone()];
    let (classified, turn) =
        judge::judge(core, body, &understood.parsed, arrived.agent.as_deref()).await;
    let micros = begun.elapsed().as_micros().min(u32::MAX.into()) as u32;
    let mut stats = core.stats.borrow_mut();
    stats.stages[classified.stage as usize] += 1;
    stats.classify.record(micros);
    Judged {
        verdict: classified.verdict,
        stage: Some(classified.stage),
        heads: Some(classified),
        turn,
        micros,
    }
}

/// What the router is asked.
pub fn ask(admitted: &Admitted, understood: &Understood, verdict: Verdict) -> Ask {
    let parsed = &understood.parsed;
    Ask {
        target: match admitted.named {
            Named::Auto(_) => Target::Auto,
            Named::Model(model) => Target::Model(model),
        },
        strategy: admitted.strategy,
        weights: None,
        verdict,
        needs: parsed.needs,
        input_tokens: parsed.input_tokens(),
        // Clients of Anthropic's dialect must name a limit, so it is a bound and no wish: a model that
        // gives less takes the request, too.
        max_output: parsed.max_output.filter(|_| parsed.dialect != Dialect::AnthropicMessages),
        stream: parsed.stream,
    }
}

/// Decides whom to try.
pub fn score(
    core: &Core,
    routing: &Routing,
    arrived: &Arrived,
    understood: &Understood,
    admitted: &Admitted,
    judged: &Judged,
) -> Result<Plan, Stop> {
    let ask = ask(admitted, understood, judged.verdict);
    let now = core.micros(arrived.at);
    let mut plan = route::plan(
        &routing.snapshot.columns,
        &routing.health.borrow(),
        &ask,
        now,
        &mut core.scratch.borrow_mut(),
    )
    .map_err(|none| no_candidate(&none, understood, now))?;
    if ask.target != Target::Auto {
        // A name such as `gpt-4o-2024-05-13` is one offer's own name for a version of the model: who
        // pins it gets it before any other version.
        let names_it = |attempt: &Attempt| {
            let target = routing.snapshot.target(attempt.offer);
            target.is_some_and(|target| target.wire_id == understood.requested)
        };
        plan.attempts.sort_by_key(|attempt| !names_it(attempt));
    }
    if let (Target::Auto, Some(first)) = (ask.target, plan.attempts.first()) {
        let decision = (judged.verdict.task, first.model.0);
        *core.stats.borrow_mut().decisions.entry(decision).or_default() += 1;
    }
    Ok(plan)
}

/// Why nobody can serve the request, and what would help. The order is that of the router's own
/// sentence: the reason nearest to success first.
pub fn no_candidate(none: &NoCandidate, understood: &Understood, now: u64) -> Refusal {
    let (kind, param) = if none.unhealthy > 0 {
        let seconds = none.retry_at_us.map_or(1, |at| at.saturating_sub(now) / 1_000_000 + 1);
        return Refusal::new(Kind::NoCandidate)
            .with_message(none.to_string())
            .with_retry_after(Some(seconds.min(RETRY_AFTER_MAX_S) as u32));
    } else if none.max_output > 0 {
        (Kind::BadField, "max_tokens")
    } else if none.context > 0 {
        (Kind::ContextTooLong, "messages")
    } else if none.lacking > 0 {
        let asked_by = [
            (models::Capabilities::TOOLS, "tools"),
            (models::Capabilities::JSON_SCHEMA, "response_format"),
            (models::Capabilities::AUDIO_OUT, "modalities"),
            (models::Capabilities::ALTERNATIVES, "n"),
            (models::Capabilities::TOKEN_INPUT, "input"),
        ];
        let field = asked_by.iter().find(|(set, _)| none.lacks.covers(*set));
        (Kind::NotCapable, field.map_or("messages", |(_, field)| *field))
    } else if none.unknown_price > 0 {
        (Kind::NoCandidate, "model")
    } else {
        (Kind::UnknownModel, "model")
    };
    let requested = refusal::shown(&understood.requested);
    Refusal::new(kind).with_message(format!("\"{requested}\": {none}")).with_param(param)
}

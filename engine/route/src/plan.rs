//! The plan: which offers to try, in which order, and why.
//!
//! In: scores. Out: up to eight attempts. Never: an excluded offer; an allocation.

use arrayvec::ArrayVec;
use models::PicoUsd;

use crate::score::{self, Asked, Scores};
use crate::{
    Ask, Columns, HealthTable, ModelIx, NoCandidate, OfferIx, ProviderIx, Strategy, Target,
};

/// One offer to try, with what is expected of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempt {
    /// Which.
    pub offer: OfferIx,
    /// Its model.
    pub model: ModelIx,
    /// Its provider.
    pub provider: ProviderIx,
    /// Probability of success, 0..1.
    pub expected_quality: f32,
    /// Cost.
    pub expected_cost: PicoUsd,
    /// Time to the first token, and what of the rest counts (see [`Ask::stream`]).
    pub expected_latency_us: u32,
    /// What ranked it. Scores of different requests do not compare.
    pub score: f32,
    /// Whether this is to see if a failing offer works again.
    pub probe: bool,
}

/// Why the first attempt is the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// The client named its model; this is the first of its offers that is well.
    Named,
    /// It has the best score, by that much above the next.
    BestScore {
        /// Difference of the scores.
        margin: f32,
    },
    /// Nothing else can serve the request.
    OnlyCandidate,
    /// Everything that can serve it is unwell; one request at a time tries.
    LastResort,
}

impl Why {
    /// A short code for headers, logs and the ledger.
    pub fn code(self) -> &'static str {
        match self {
            Why::Named => "named",
            Why::BestScore { .. } => "best_score",
            Why::OnlyCandidate => "only_candidate",
            Why::LastResort => "last_resort",
        }
    }
}

/// Ordered attempts, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to try, in this order; at least one.
    pub attempts: ArrayVec<Attempt, { Plan::ATTEMPTS_MAX }>,
    /// The dearest offer that could have served the request, well or not: what a saving is
    /// measured against.
    pub dearest_capable: Option<OfferIx>,
    /// The strategy.
    pub strategy: Strategy,
    /// Why the first is the first.
    pub reason: Why,
    /// Offers that could serve the request, and those of them that are well.
    pub capable: u32,
    /// Offers that can serve it now.
    pub candidates: u32,
}

impl Plan {
    /// The most attempts of one plan.
    pub const ATTEMPTS_MAX: usize = 8;
}

/// Working memory of [`plan()`]: one per core, kept, so that planning allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    scores: Scores,
}

/// How many of the best are kept: one more would cost more than the rare search of the whole column
/// for another provider.
const TOP: usize = Plan::ATTEMPTS_MAX;

#[derive(Clone, Copy)]
struct Ranked {
    score: f32,
    cost: f32,
    row: usize,
}

/// Score, cost, row. Better first: by score, then the cheaper, then the catalogue's order.
pub(crate) type Rank = (f32, f32, usize);

pub(crate) fn is_before(a: Rank, b: Rank) -> bool {
    a.0 > b.0 || a.0 == b.0 && (a.1 < b.1 || a.1 == b.1 && a.2 < b.2)
}

impl Ranked {
    fn is_before(&self, other: &Ranked) -> bool {
        let rank = |ranked: &Ranked| (ranked.score, ranked.cost, ranked.row);
        is_before(rank(self), rank(other))
    }
}

/// Decides whom to try for `ask`, at `now` (microseconds, the clock of `health`).
///
/// For `auto`: by score, and the second attempt at another provider than the first where there is
/// one. For a named model: its offers in the catalogue's order. Offers that are unwell come only
/// when no other is left, and then one request a second for each.
///
/// # Panics
/// When `health` was made for other columns.
pub fn plan(
    columns: &Columns,
    health: &HealthTable,
    ask: &Ask,
    now: u64,
    scratch: &mut Scratch,
) -> Result<Plan, NoCandidate> {
    assert_eq!(columns.len(), health.admits_from.len(), "health of other columns");
    let asked = Asked::new(columns, ask);
    let scores = &mut scratch.scores;
    scores.fill(columns, health, &asked, now);

    let (capable, candidates) = scores.counts();
    let dearest = scores.dearest();
    let mut plan = Plan {
        attempts: ArrayVec::new(),
        dearest_capable: dearest.map(|row| columns.offer[asked.rows.start + row]),
        strategy: ask.strategy,
        reason: Why::Named,
        capable,
        candidates,
    };
    let chosen = match (plan.candidates, ask.target) {
        (0, _) => {
            plan.reason = Why::LastResort;
            last_resort(scores, health, &asked, now)
        }
        (_, Target::Model(_)) => in_order(scores),
        (candidates, Target::Auto) => {
            let top = best(scores);
            plan.reason = match top[..] {
                [first, second, ..] => Why::BestScore { margin: first.score - second.score },
                _ => Why::OnlyCandidate,
            };
            debug_assert!(candidates > 0 && !top.is_empty());
            with_second_provider(top, scores, &columns.provider)
        }
    };
    plan.attempts = chosen
        .iter()
        .take(Plan::ATTEMPTS_MAX)
        .map(|ranked| attempt(columns, health, scores, &asked, now, ranked.row))
        .collect();
    if plan.attempts.is_empty() {
        return Err(refusal(columns, health, ask, &asked, now));
    }
    Ok(plan)
}

fn attempt(
    columns: &Columns,
    health: &HealthTable,
    scores: &Scores,
    asked: &Asked,
    now: u64,
    row: usize,
) -> Attempt {
    let at = asked.rows.start + row;
    Attempt {
        offer: columns.offer[at],
        model: columns.model[columns.slot[at] as usize],
        provider: columns.provider[at],
        expected_quality: scores.quality[row],
        expected_cost: PicoUsd(scores.cost[row] as u64),
        expected_latency_us: scores.latency[row] as u32,
        score: scores.score[row],
        probe: health.state(at).admits(now) != crate::Gate::Yes,
    }
}

/// The best few, best first: one pass with a bar that rises. Most rows fail it at once, so they are
/// looked at by the chunk.
fn best(scores: &Scores) -> ArrayVec<Ranked, TOP> {
    const CHUNK: usize = 16;
    let mut top: ArrayVec<Ranked, TOP> = ArrayVec::new();
    // The least score that is still worth a look: any but −∞ until there are enough.
    let mut bar = f32::MIN;
    for (chunk_at, chunk) in scores.score.chunks(CHUNK).enumerate() {
        if !chunk.iter().fold(false, |any, score| any | (*score >= bar)) {
            continue;
        }
        for (at, score) in chunk.iter().enumerate().filter(|(_, score)| **score >= bar) {
            let row = chunk_at * CHUNK + at;
            let ranked = Ranked { score: *score, cost: scores.cost[row], row };
            let place = top.partition_point(|other| other.is_before(&ranked));
            if place == TOP {
                continue;
            }
            if top.is_full() {
                top.pop();
            }
            top.insert(place, ranked);
        }
        if top.is_full() {
            bar = top[TOP - 1].score;
        }
    }
    top
}

/// Moves the best candidate of another provider than the first's to the second place: what fails
/// one offer of a provider often fails all.
fn with_second_provider(
    mut top: ArrayVec<Ranked, TOP>,
    scores: &Scores,
    providers: &[ProviderIx],
) -> ArrayVec<Ranked, TOP> {
    let Some(first) = top.first().map(|first| providers[first.row]) else {
        return top;
    };
    let other = top.iter().position(|ranked| providers[ranked.row] != first);
    match other {
        Some(position) => top[1..=position].rotate_right(1),
        None if top.is_full() => {
            let others = scores.score.iter().enumerate().filter_map(|(row, score)| {
                let candidate = *score > f32::NEG_INFINITY && providers[row] != first;
                let ranked = Ranked { score: *score, cost: scores.cost[row], row };
                candidate.then_some(ranked)
            });
            let best = others.reduce(|a, b| if b.is_before(&a) { b } else { a });
            if let Some(best) = best {
                top.pop();
                top.insert(1, best);
            }
        }
        // All candidates are in `top`, and all of one provider.
        None => {}
    }
    top
}

/// The offers of a named model that are well, in the catalogue's order.
fn in_order(scores: &Scores) -> ArrayVec<Ranked, TOP> {
    let candidates = scores.score.iter().enumerate();
    candidates
        .filter(|(_, score)| **score > f32::NEG_INFINITY)
        .map(|(row, score)| Ranked { score: *score, cost: scores.cost[row], row })
        .take(TOP)
        .collect()
}

/// Capable offers that are unwell and have not been tried for a second: first those that will be
/// well soonest.
fn last_resort(
    scores: &Scores,
    health: &HealthTable,
    asked: &Asked,
    now: u64,
) -> ArrayVec<Ranked, TOP> {
    let mut chosen: ArrayVec<(u64, Ranked), TOP> = ArrayVec::new();
    for row in 0..scores.capable.len() {
        let state = health.state(asked.rows.start + row);
        if scores.capable[row] == 0 || !state.admits_as_last_resort(now) {
            continue;
        }
        let until = state.admits_from();
        let place = chosen.partition_point(|(other, _)| *other <= until);
        if chosen.is_full() {
            if place == TOP {
                continue;
            }
            chosen.pop();
        }
        let ranked = Ranked { score: f32::NEG_INFINITY, cost: scores.cost[row], row };
        chosen.insert(place, (until, ranked));
    }
    chosen.into_iter().map(|(_, ranked)| ranked).collect()
}

fn refusal(
    columns: &Columns,
    health: &HealthTable,
    ask: &Ask,
    asked: &Asked,
    now: u64,
) -> NoCandidate {
    let mut refusal = NoCandidate::default();
    let rows = asked.rows.clone();
    rows.filter_map(|row| score::exclusion(columns, health, asked, now, row))
        .chain(left_out(columns, ask).map(|left| left.why))
        .for_each(|why| refusal.count(why));
    refusal
}

/// The unusable offers that concern this target.
pub(crate) fn left_out<'a>(
    columns: &'a Columns,
    ask: &Ask,
) -> impl Iterator<Item = &'a crate::LeftOut> {
    let target = ask.target;
    columns.left_out().iter().filter(move |left| match target {
        Target::Auto => true,
        Target::Model(model) => left.model == model,
    })
}

#[cfg(test)]
mod tests;

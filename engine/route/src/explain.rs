//! The dry run: everything that [`crate::plan()`] knew, in words and numbers.
//!
//! In: what a plan takes. Out: all candidates with their rank, all others with their reason, and
//! the plan itself. Never: on the hot path; it allocates and sorts.

use models::PicoUsd;

use crate::plan::{is_before, left_out};
use crate::score::{self, Asked, Scores};
use crate::{
    Ask, Columns, Exclusion, HealthTable, LeftOut, ModelIx, NoCandidate, OfferIx, Plan, ProviderIx,
    Scratch, Weights, plan,
};

/// An offer that can serve the request now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub offer: OfferIx,
    /// Its model.
    pub model: ModelIx,
    /// Its provider.
    pub provider: ProviderIx,
    /// Probability of success, 0..1.
    pub quality: f32,
    /// Expected cost.
    pub cost: PicoUsd,
    /// Expected latency in microseconds.
    pub latency_us: u32,
    /// Share of attempts that come through, 0..1.
    pub availability: f32,
    /// What ranks it.
    pub score: f32,
    /// Place by score, 0 the best. A named model's offers are tried in the catalogue's order
    /// whatever their scores.
    pub rank: u32,
}

/// How a plan came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What was decided, or why nothing was.
    pub plan: Result<Plan, NoCandidate>,
    /// The weights that scored.
    pub weights: Weights,
    /// By rank.
    pub candidates: Vec<Candidate>,
    /// In the catalogue's order, usable ones first. An offer that is unwell may still be in the
    /// plan as a last resort.
    pub excluded: Vec<LeftOut>,
}

/// Explains the plan for `ask` at `now`. Arguments are those of [`crate::plan()`].
pub fn explain(columns: &Columns, health: &HealthTable, ask: &Ask, now: u64) -> Explanation {
    let plan = plan(columns, health, ask, now, &mut Scratch::default());
    let asked = Asked::new(columns, ask);
    let mut scores = Scores::default();
    scores.fill(columns, health, &asked, now);

    let first = asked.rows.start;
    let reasons: Vec<Option<Exclusion>> =
        asked.rows.clone().map(|row| score::exclusion(columns, health, &asked, now, row)).collect();
    let model_of = |row: usize| columns.model[columns.slot[row] as usize];

    let mut ranked: Vec<usize> = (0..reasons.len()).filter(|row| reasons[*row].is_none()).collect();
    let key = |row: usize| (scores.score[row], scores.cost[row], row);
    // Ranks never tie, and no score is a NaN.
    ranked.sort_by(|a, b| is_before(key(*b), key(*a)).cmp(&is_before(key(*a), key(*b))));
    let candidates = ranked.iter().enumerate().map(|(rank, row)| Candidate {
        offer: columns.offer[first + row],
        model: model_of(first + row),
        provider: columns.provider[first + row],
        quality: scores.quality[*row],
        cost: PicoUsd(scores.cost[*row] as u64),
        latency_us: scores.latency[*row] as u32,
        availability: health.state(first + row).availability(),
        score: scores.score[*row],
        rank: rank as u32,
    });
    let unfit = reasons.iter().enumerate().filter_map(|(row, why)| {
        Some(LeftOut {
            offer: columns.offer[first + row],
            model: model_of(first + row),
            why: (*why)?,
        })
    });
    Explanation {
        plan,
        weights: asked.weights,
        candidates: candidates.collect(),
        excluded: unfit.chain(left_out(columns, ask).copied()).collect(),
    }
}

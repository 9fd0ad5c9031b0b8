//! Filter and score: loops over columns, the part of routing whose cost grows with the catalogue.
//!
//! In: columns, health, what is asked. Out: per row whether it is capable, its expected cost in
//! pico-dollars, expected latency in microseconds, and a score; per model its probability of
//! success. Never: an allocation once the scratch has grown, or a branch per row where the compiler
//! could use vector registers instead.

use std::ops::Range;

use models::{Capabilities, Tokens};

use crate::columns::{AUTO, OVERALL, PRICED, PriceColumns};
use crate::quality::{self, SLOPE};
use crate::{Ask, Columns, Exclusion, HealthTable, Target, Weights, approx};

/// Input estimates are off by some percent, and `auto` has a choice: it leaves a tenth of room.
const AUTO_INPUT_MARGIN_PERCENT: u32 = 10;
/// Added to an expected cost before its logarithm is taken: a millionth of a dollar. Below that
/// nobody minds, and what is free has a logarithm too.
const COST_FLOOR_PICO: f32 = 1e6;
/// The same for latency: a millisecond.
const LATENCY_FLOOR_US: f32 = 1e3;
/// What of the answer's length counts as latency when it is streamed: a reader follows it.
const STREAM_SHARE: f32 = 0.25;
/// Score of a candidate below the quality floor, less its distance to the best: under every
/// score of those above, best first.
const BELOW_FLOOR: f32 = -1_000.0;

/// What is asked, in the units of the columns.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Rows and models (by slot) that come into question.
    pub(crate) rows: Range<usize>,
    slots: Range<usize>,
    needs: u32,
    input: u32,
    context: u32,
    output: u32,
    input_tokens: u32,
    visible: f32,
    thinking: f32,
    output_cap: f32,
    streamed_share: f32,
    task: usize,
    confidence: f32,
    hardness: f32,
    pub(crate) weights: Weights,
}

impl Asked {
    pub(crate) fn new(columns: &Columns, ask: &Ask) -> Asked {
        let verdict = &ask.verdict;
        let visible = verdict.output_tokens;
        let output_cap = ask.max_output.map_or(f32::INFINITY, |most| most as f32);
        let (rows, margin, auto) = match ask.target {
            Target::Auto => (0..columns.len(), AUTO_INPUT_MARGIN_PERCENT, AUTO),
            Target::Model(model) => (columns.rows_of(model), 0, 0),
        };
        let slots = match (rows.is_empty(), ask.target) {
            (true, _) => 0..0,
            (false, Target::Auto) => 0..columns.model.len(),
            (false, Target::Model(_)) => {
                let slot = columns.slot[rows.start] as usize;
                slot..slot + 1
            }
        };
        let input = ask.input_tokens.saturating_add(ask.input_tokens / 100 * margin);
        let output = ask.max_output.unwrap_or(visible.ceil() as u32);
        Asked {
            rows,
            slots,
            needs: ask.needs.0 | PRICED | auto,
            input,
            context: input.saturating_add(output),
            output: ask.max_output.unwrap_or(0),
            input_tokens: ask.input_tokens,
            visible,
            thinking: quality::expected_reasoning_tokens(verdict.difficulty),
            output_cap,
            streamed_share: if ask.stream { STREAM_SHARE } else { 1.0 },
            task: verdict.task.index(),
            confidence: verdict.confidence,
            hardness: quality::hardness(verdict.difficulty),
            weights: ask.weights.unwrap_or(ask.strategy.weights()),
        }
    }
}

/// Working memory, and the scores after [`Scores::fill`]. Index 0 is the first row (slot) asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scores {
    /// Whether the offer could serve the request, if it is well.
    pub(crate) capable: Vec<bool>,
    /// Probability of success.
    pub(crate) quality: Vec<f32>,
    /// Pico-dollars.
    pub(crate) cost: Vec<f32>,
    /// Microseconds.
    pub(crate) latency: Vec<f32>,
    /// Of capable and well offers; −∞ for others.
    pub(crate) score: Vec<f32>,
    model_quality: Vec<f32>,
    model_value: Vec<f32>,
    tier_price: PriceColumns,
}

impl Scores {
    /// Filters and scores all rows asked. `now` in microseconds; with `u64::MAX` nobody is unwell.
    pub(crate) fn fill(
        &mut self,
        columns: &Columns,
        health: &HealthTable,
        asked: &Asked,
        now: u64,
    ) {
        let rows = asked.rows.clone();
        self.filter(columns, asked);
        self.judge_models(columns, asked);
        self.expect(columns, health, asked);

        let weights = &asked.weights;
        let slots = &columns.slot[rows.clone()];
        let first_slot = asked.slots.start;
        let count = rows.len();
        resize(&mut self.quality, count);
        resize(&mut self.score, count);
        for (row, slot) in slots.iter().enumerate() {
            let slot = *slot as usize - first_slot;
            self.quality[row] = self.model_quality[slot];
            self.score[row] = self.model_value[slot];
        }
        combine(
            &mut self.score,
            &self.cost,
            &self.latency,
            &health.ln_availability[rows.clone()],
            weights,
        );

        let mut best = 0.0f32;
        let admits_from = &health.admits_from[rows];
        let judged = self.score.iter_mut().zip(&self.quality);
        for ((score, quality), (capable, from)) in judged.zip(self.capable.iter().zip(admits_from))
        {
            let in_question = capable & (*from <= now);
            best = best.max(if in_question { *quality } else { 0.0 });
            *score = if in_question { *score } else { f32::NEG_INFINITY };
        }
        let floor = best * weights.quality_floor;
        for (score, quality) in self.score.iter_mut().zip(&self.quality) {
            let below = BELOW_FLOOR * (1.0 + best - quality);
            *score = if *quality < floor { score.min(below) } else { *score };
        }
    }

    fn filter(&mut self, columns: &Columns, asked: &Asked) {
        let rows = asked.rows.clone();
        resize(&mut self.capable, rows.len());
        let caps = &columns.caps[rows.clone()];
        let context = &columns.context[rows.clone()];
        let max_input = &columns.max_input[rows.clone()];
        let max_output = &columns.max_output[rows];
        let limits = context.iter().zip(max_input).zip(max_output);
        for ((capable, caps), ((context, max_input), max_output)) in
            self.capable.iter_mut().zip(caps).zip(limits)
        {
            *capable = (asked.needs & !caps == 0)
                & (asked.context <= *context)
                & (asked.input <= *max_input)
                & (asked.output <= *max_output);
        }
    }

    /// Probability of success by model. What the task is, is a guess: with less confidence in it a
    /// model's overall ability counts more.
    fn judge_models(&mut self, columns: &Columns, asked: &Asked) {
        let of_task = &columns.ability[asked.task][asked.slots.clone()];
        let overall = &columns.ability[OVERALL][asked.slots.clone()];
        resize(&mut self.model_quality, of_task.len());
        resize(&mut self.model_value, of_task.len());
        let out = self.model_quality.iter_mut().zip(&mut self.model_value);
        for ((quality, value), (of_task, overall)) in out.zip(of_task.iter().zip(overall)) {
            let ability = overall + (of_task - overall) * asked.confidence;
            *quality = approx::logistic(SLOPE * ability - asked.hardness);
            *value = asked.weights.quality * approx::ln(*quality);
        }
    }

    /// Expected cost and latency.
    fn expect(&mut self, columns: &Columns, health: &HealthTable, asked: &Asked) {
        let rows = asked.rows.clone();
        let price = if u64::from(asked.input_tokens) > columns.tier_threshold_min {
            self.tier_price.at_tier(columns, Tokens(u64::from(asked.input_tokens)));
            &self.tier_price
        } else {
            &columns.base_price
        };
        resize(&mut self.cost, rows.len());
        resize(&mut self.latency, rows.len());
        expect(
            &mut self.cost,
            &mut self.latency,
            [
                &price.input[rows.clone()],
                &price.output[rows.clone()],
                &price.reasoning[rows.clone()],
                &columns.thinks[rows.clone()],
                &columns.output_cap[rows.clone()],
                &health.ttft_us[rows.clone()],
                &health.us_per_token[rows],
            ],
            asked,
        );
    }
}

/// Cost = input·price + answer·price + thinking·price; latency = first token + pace·length. Answer
/// and thinking together stay within the limits on output.
fn expect(cost: &mut [f32], latency: &mut [f32], columns: [&[f32]; 7], asked: &Asked) {
    let count = cost.len();
    let latency = &mut latency[..count];
    // Slices of one known length, so that no access is checked.
    let [input, output, reasoning, thinks, cap, ttft, pace] =
        columns.map(|column| &column[..count]);
    let input_tokens = asked.input_tokens as f32;
    for row in 0..count {
        let cap = cap[row].min(asked.output_cap);
        let answer = asked.visible.min(cap);
        let thinking = (asked.visible + asked.thinking * thinks[row]).min(cap) - answer;
        cost[row] = input_tokens * input[row] + answer * output[row] + thinking * reasoning[row];
        latency[row] = ttft[row] + pace[row] * (thinking + answer * asked.streamed_share);
    }
}

/// Adds what cost, latency and availability weigh to a score that holds what quality does.
fn combine(
    score: &mut [f32],
    cost: &[f32],
    latency: &[f32],
    ln_availability: &[f32],
    weights: &Weights,
) {
    let count = score.len();
    let (cost, latency) = (&cost[..count], &latency[..count]);
    let ln_availability = &ln_availability[..count];
    for row in 0..count {
        score[row] += weights.availability * ln_availability[row]
            - weights.cost * approx::ln(cost[row] + COST_FLOOR_PICO)
            - weights.latency * approx::ln(latency[row] + LATENCY_FLOOR_US);
    }
}

fn resize<T: Clone + Default>(column: &mut Vec<T>, count: usize) {
    column.clear();
    column.resize(count, T::default());
}

/// Why a row is out, or `None` if it is a candidate: the filter again, one row at a time and with
/// its reasons, for refusals and dry runs.
pub(crate) fn exclusion(
    columns: &Columns,
    health: &HealthTable,
    asked: &Asked,
    now: u64,
    row: usize,
) -> Option<Exclusion> {
    let lacks = asked.needs & !columns.caps[row];
    if lacks & AUTO != 0 {
        return Some(Exclusion::NotInAuto);
    }
    if lacks & PRICED != 0 {
        return Some(Exclusion::UnknownPrice);
    }
    if lacks != 0 {
        return Some(Exclusion::Lacks(Capabilities(lacks)));
    }
    let context = (asked.context, columns.context[row]);
    let input = (asked.input, columns.max_input[row]);
    for (needed, limit) in [context, input] {
        if needed > limit {
            return Some(Exclusion::Context { needed, limit });
        }
    }
    let (needed, limit) = (asked.output, columns.max_output[row]);
    if needed > limit {
        return Some(Exclusion::MaxOutput { needed, limit });
    }
    let until = health.admits_from[row];
    (until > now).then_some(Exclusion::Unhealthy { until })
}

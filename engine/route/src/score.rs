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
///
/// Whether is a `u32` of all ones or none, as wide as a score, so that choosing by it is a vector
/// operation too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scores {
    /// Whether the offer could serve the request, if it is well.
    pub(crate) capable: Vec<u32>,
    /// Probability of success.
    pub(crate) quality: Vec<f32>,
    /// Pico-dollars.
    pub(crate) cost: Vec<f32>,
    /// Microseconds.
    pub(crate) latency: Vec<f32>,
    /// Of capable and well offers; −∞ for others.
    pub(crate) score: Vec<f32>,
    /// Whether it is capable and well.
    candidate: Vec<u32>,
    /// Probability of success, and what it adds to a score.
    models: Vec<(f32, f32)>,
    tier_price: PriceColumns,
}

impl Scores {
    /// Filters and scores all rows asked, at `now` in microseconds.
    ///
    /// The same code is compiled twice, for any processor and for one with vector registers twice
    /// as wide. Both round alike (the compiler fuses no multiplication with an addition by itself),
    /// so a decision does not depend on the machine.
    pub(crate) fn fill(
        &mut self,
        columns: &Columns,
        health: &HealthTable,
        asked: &Asked,
        now: u64,
    ) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, all that the function asks for.
            return unsafe { self.fill_avx2(columns, health, asked, now) };
        }
        self.fill_portable(columns, health, asked, now);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn fill_avx2(&mut self, columns: &Columns, health: &HealthTable, asked: &Asked, now: u64) {
        self.fill_portable(columns, health, asked, now);
    }

    /// Like all that it calls, always inlined: else the callee would be compiled once, narrowly.
    #[inline(always)]
    fn fill_portable(&mut self, columns: &Columns, health: &HealthTable, asked: &Asked, now: u64) {
        let rows = asked.rows.clone();
        self.filter(columns, asked);
        self.candidate.clone_from(&self.capable);
        for row in health.resting(rows.clone(), now) {
            self.candidate[row - rows.start] = NO;
        }
        self.judge_models(columns, asked);
        self.spread_models(&columns.slot[rows.clone()], asked.slots.start);
        self.expect(columns, health, asked);
        combine(
            &mut self.score,
            &self.cost,
            &self.latency,
            &health.ln_availability[rows],
            &asked.weights,
        );
        let best = greatest(&self.quality, &self.candidate);
        let floor = best * asked.weights.quality_floor;
        settle(&mut self.score, &self.quality, &self.candidate, best, floor);
    }

    /// How many offers are capable, and how many of them well.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let count = |column: &[u32]| column.iter().map(|yes| yes & 1).sum();
        (count(&self.capable), count(&self.candidate))
    }

    /// The capable row of the greatest cost, the first of equals.
    pub(crate) fn dearest(&self) -> Option<usize> {
        let most = greatest(&self.cost, &self.capable);
        let is_it = |row: &usize| (self.capable[*row] == YES) & (self.cost[*row] >= most);
        // By the chunk, as nearly all rows are not it.
        let chunks = self
            .cost
            .chunks(LANES)
            .position(|chunk| chunk.iter().fold(false, |any, cost| any | (*cost >= most)));
        (chunks? * LANES..self.cost.len()).find(is_it)
    }

    #[inline(always)]
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
            let yes = (asked.needs & !caps == 0)
                & (asked.context <= *context)
                & (asked.input <= *max_input)
                & (asked.output <= *max_output);
            *capable = if yes { YES } else { NO };
        }
    }

    /// Probability of success by model. What the task is, is a guess: with less confidence in it a
    /// model's overall ability counts more.
    #[inline(always)]
    fn judge_models(&mut self, columns: &Columns, asked: &Asked) {
        let of_task = &columns.ability[asked.task][asked.slots.clone()];
        let overall = &columns.ability[OVERALL][asked.slots.clone()];
        resize(&mut self.models, of_task.len());
        for (model, (of_task, overall)) in self.models.iter_mut().zip(of_task.iter().zip(overall)) {
            let ability = overall + (of_task - overall) * asked.confidence;
            let quality = approx::logistic(SLOPE * ability - asked.hardness);
            *model = (quality, asked.weights.quality * approx::ln(quality));
        }
    }

    /// Gives every row its model's figures.
    #[inline(always)]
    fn spread_models(&mut self, slots: &[u32], first_slot: usize) {
        resize(&mut self.quality, slots.len());
        resize(&mut self.score, slots.len());
        let out = self.quality.iter_mut().zip(&mut self.score);
        for ((quality, score), slot) in out.zip(slots) {
            (*quality, *score) = self.models[*slot as usize - first_slot];
        }
    }

    /// Expected cost and latency.
    #[inline(always)]
    fn expect(&mut self, columns: &Columns, health: &HealthTable, asked: &Asked) {
        let rows = asked.rows.clone();
        let price = if u64::from(asked.input_tokens) > columns.tier_threshold_min {
            let input = Tokens(u64::from(asked.input_tokens));
            self.tier_price.at_tier(columns, input);
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

/// Rows that are looked at side by side.
const LANES: usize = 16;

const YES: u32 = u32::MAX;
const NO: u32 = 0;

/// Cost = input·price + answer·price + thinking·price; latency = first token + pace·length. Answer
/// and thinking together stay within the limits on output.
#[inline(always)]
fn expect(cost: &mut [f32], latency: &mut [f32], columns: [&[f32]; 7], asked: &Asked) {
    let count = cost.len();
    let latency = &mut latency[..count];
    // Slices of one known length, so that no access is checked.
    let [input, output, reasoning, thinks, cap, ttft, pace] =
        columns.map(|column| &column[..count]);
    let input_tokens = asked.input_tokens as f32;
    for row in 0..count {
        let cap = lesser(cap[row], asked.output_cap);
        let answer = lesser(asked.visible, cap);
        let length = lesser(asked.visible + asked.thinking * thinks[row], cap);
        let thinking = length - answer;
        cost[row] = input_tokens * input[row] + answer * output[row] + thinking * reasoning[row];
        latency[row] = ttft[row] + pace[row] * (thinking + answer * asked.streamed_share);
    }
}

/// Adds what cost, latency and availability weigh to a score that holds what quality does.
#[inline(always)]
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

/// Puts what is no candidate at −∞, and what is below the quality floor under everything above.
#[inline(always)]
fn settle(score: &mut [f32], quality: &[f32], candidate: &[u32], best: f32, floor: f32) {
    for ((score, quality), candidate) in score.iter_mut().zip(quality).zip(candidate) {
        let below = lesser(*score, BELOW_FLOOR * (1.0 + best - quality));
        let scored = if *quality < floor { below } else { *score };
        *score = if *candidate == YES { scored } else { f32::NEG_INFINITY };
    }
}

/// The greatest of the values that are in question, which are not negative; 0 if none is. Sixteen
/// maxima side by side, since one after the other each would wait for the last.
#[inline(always)]
fn greatest(values: &[f32], in_question: &[u32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    let (masks, rest_masks) = in_question.as_chunks::<LANES>();
    for (chunk, mask) in chunks.iter().zip(masks) {
        for lane in 0..LANES {
            // Of all ones or none: the value's bits, or those of zero.
            lanes[lane] = greater(lanes[lane], f32::from_bits(chunk[lane].to_bits() & mask[lane]));
        }
    }
    let rest = rest.iter().zip(rest_masks);
    let rest = rest.map(|(value, mask)| f32::from_bits(value.to_bits() & mask));
    lanes.into_iter().chain(rest).fold(0.0, greater)
}

/// `f32::min` without its care for NaN, which takes three more instructions: none is in here.
#[inline(always)]
fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Length without care for the values, all of which are then written.
fn resize<T: Clone + Default>(column: &mut Vec<T>, count: usize) {
    if column.len() != count {
        column.resize(count, T::default());
    }
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

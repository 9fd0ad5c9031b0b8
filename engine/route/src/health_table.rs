//! The health of all usable offers on one core.
//!
//! In: outcomes by offer. Out: one [`Health`] per offer, and beside it the few figures that
//! [`crate::plan()`] reads, as columns in the order of [`Columns`]. Never: shared; each core has its
//! own and exchanges [`HealthWords`] through atomics that the engine owns.

use std::ops::Range;
use std::sync::Arc;

use crate::health::{FailureKind, Gate, Health, HealthWords, Prior, Scale};
use crate::{Columns, OfferIx};

/// Health by offer. An offer that the columns do not hold is ignored, whatever is said of it: an
/// attempt may end after the snapshot that it began with was replaced.
#[derive(Clone, Debug, Default)]
pub struct HealthTable {
    columns: Arc<Columns>,
    states: Vec<Health>,
    /// By row: [`Health::admits_from`].
    pub(crate) admits_from: Vec<u64>,
    /// The rows that have a time there, past ones included until they are cleared away; and by row
    /// whether it is among them. They are few, so that to look at these alone is cheaper than to
    /// compare all times.
    resting: Vec<u32>,
    is_resting: Vec<bool>,
    pub(crate) ttft_us: Vec<f32>,
    pub(crate) us_per_token: Vec<f32>,
    pub(crate) ln_availability: Vec<f32>,
    /// Offers open by statistics: by model, and in all.
    open_by_model: Vec<u32>,
    open: u32,
    relaxed_at: u64,
}

impl HealthTable {
    /// Nothing measured yet.
    pub fn new(columns: Arc<Columns>) -> HealthTable {
        let mut table = HealthTable {
            states: columns.prior.iter().copied().map(Health::new).collect(),
            admits_from: vec![0; columns.len()],
            resting: Vec::with_capacity(columns.len()),
            is_resting: vec![false; columns.len()],
            ttft_us: vec![0.0; columns.len()],
            us_per_token: vec![0.0; columns.len()],
            ln_availability: vec![0.0; columns.len()],
            open_by_model: vec![0; columns.model.len()],
            open: 0,
            relaxed_at: 0,
            columns,
        };
        (0..table.states.len()).for_each(|row| table.mirror(row));
        table
    }

    /// The table for a new snapshot, with what is known of the offers that it shares with the old
    /// one. `same_as` tells which offer of the old catalogue an offer of the new one is.
    pub fn carried_over(
        &self,
        columns: Arc<Columns>,
        same_as: impl Fn(OfferIx) -> Option<OfferIx>,
    ) -> HealthTable {
        let mut table = HealthTable::new(columns);
        table.relaxed_at = self.relaxed_at;
        for row in 0..table.states.len() {
            let known = same_as(table.columns.offer[row]).and_then(|old| self.health(old));
            if let Some(known) = known.copied() {
                table.update(row, |health, _| *health = known);
            }
        }
        table
    }

    /// What is known of an offer.
    pub fn health(&self, offer: OfferIx) -> Option<&Health> {
        Some(&self.states[self.columns.row_of(offer)?])
    }

    /// Whether an offer may be tried; an unknown one may.
    pub fn admits(&self, offer: OfferIx, now: u64) -> Gate {
        self.health(offer).map_or(Gate::Yes, |health| health.admits(now))
    }

    /// Takes the place for an attempt: see [`Health::on_start`].
    pub fn on_start(&mut self, offer: OfferIx, now: u64, probe: bool) -> bool {
        let mut admitted = true;
        self.at(offer, |health, _| admitted = health.on_start(now, probe));
        admitted
    }

    /// See [`Health::on_abandoned`].
    pub fn on_abandoned(&mut self, offer: OfferIx, now: u64) {
        self.at(offer, |health, _| health.on_abandoned(now));
    }

    /// See [`Health::on_success`].
    pub fn on_success(
        &mut self,
        offer: OfferIx,
        now: u64,
        ttft_us: u32,
        duration_us: u32,
        output_tokens: u32,
    ) {
        self.at(offer, |health, _| {
            health.on_success(now, ttft_us, duration_us, output_tokens);
        });
    }

    /// See [`Health::on_failure`]. Whether the breaker may open is found here: at most half of the
    /// offers of a model, and at most half of all, may be open by statistics; but always one.
    pub fn on_failure(&mut self, offer: OfferIx, now: u64, kind: FailureKind) {
        self.at(offer, |health, may_open| {
            health.on_failure(now, kind, may_open);
        });
    }

    /// See [`Health::on_rate_limited`].
    pub fn on_rate_limited(&mut self, offer: OfferIx, now: u64, retry_after_us: Option<u64>) {
        self.at(offer, |health, _| {
            health.on_rate_limited(now, retry_after_us);
        });
    }

    /// What other cores should know of an offer.
    pub fn pack(&self, offer: OfferIx) -> Option<HealthWords> {
        self.health(offer).map(Health::pack)
    }

    /// Takes in what another core found.
    pub fn absorb(&mut self, offer: OfferIx, words: HealthWords) {
        self.at(offer, |health, may_open| health.absorb(words, may_open));
    }

    /// Lets old findings fade; to be called now and then, each second say.
    ///
    /// What nobody has measured yet is assumed to differ from its prior as the measured ones do: on a
    /// host where all of them answer ten times as fast, the next one is expected to as well. Otherwise
    /// an offer that happened to be tried would look faster than the rest for no other reason.
    pub fn relax(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.relaxed_at);
        self.relaxed_at = now;
        let scale = self.measured_scale();
        for row in 0..self.states.len() {
            let prior = self.columns.prior[row].scaled(scale);
            self.states[row].relax(elapsed, prior);
            self.mirror(row);
        }
        self.resting.retain(|row| {
            let rests = self.admits_from[*row as usize] > now;
            self.is_resting[*row as usize] = rests;
            rests
        });
    }

    /// By how much measured latencies differ from their priors: the geometric means of the ratios.
    fn measured_scale(&self) -> Scale {
        let (mut ttft, mut pace, mut measured) = (0.0f64, 0.0f64, 0u32);
        for (health, prior) in self.states.iter().zip(&self.columns.prior) {
            if health.is_measured() {
                ttft += f64::from(health.ttft_us().max(1.0) / prior.ttft_us).ln();
                pace += f64::from(health.us_per_token().max(1.0) / prior.us_per_token).ln();
                measured += 1;
            }
        }
        let mean = |sum: f64| (sum / f64::from(measured.max(1))).exp() as f32;
        Scale { ttft: mean(ttft), pace: mean(pace) }
    }

    /// Offers that are open or half-open by statistics.
    pub fn open_count(&self) -> u32 {
        self.open
    }

    fn at(&mut self, offer: OfferIx, change: impl FnOnce(&mut Health, bool)) {
        if let Some(row) = self.columns.row_of(offer) {
            self.update(row, change);
        }
    }

    fn update(&mut self, row: usize, change: impl FnOnce(&mut Health, bool)) {
        let slot = self.columns.slot[row] as usize;
        let most = |targets: usize| (targets as u32 / 2).max(1);
        let may_open = self.open_by_model[slot] < most(self.columns.rows[slot].len())
            && self.open < most(self.columns.len());
        let before = self.states[row].is_open();
        change(&mut self.states[row], may_open);
        match (before, self.states[row].is_open()) {
            (false, true) => {
                self.open_by_model[slot] += 1;
                self.open += 1;
            }
            (true, false) => {
                self.open_by_model[slot] -= 1;
                self.open -= 1;
            }
            (false, false) | (true, true) => {}
        }
        self.mirror(row);
    }

    fn mirror(&mut self, row: usize) {
        let health = &self.states[row];
        self.admits_from[row] = health.admits_from();
        self.ttft_us[row] = health.ttft_us();
        self.us_per_token[row] = health.us_per_token();
        self.ln_availability[row] = health.availability().ln();
        if self.admits_from[row] > 0 && !self.is_resting[row] {
            self.is_resting[row] = true;
            self.resting.push(row as u32);
        }
    }

    /// The rows among `rows` that may not be tried at `now`.
    pub(crate) fn resting(&self, rows: Range<usize>, now: u64) -> impl Iterator<Item = usize> {
        // A named model has few rows: then those are looked at.
        let few = if rows.len() < self.resting.len() { rows.clone() } else { 0..0 };
        let listed = if few.is_empty() { &self.resting[..] } else { &[] };
        let listed = listed.iter().map(|row| *row as usize);
        few.chain(listed.filter(move |row| rows.contains(row)))
            .filter(move |row| self.admits_from[*row] > now)
    }

    pub(crate) fn state(&self, row: usize) -> &Health {
        &self.states[row]
    }
}

impl Prior {
    /// A model on the machine or in the house: first token in 0.3 s, then 40 tokens a second.
    pub const LOCAL: Prior = Prior { ttft_us: 300_000.0, us_per_token: 25_000.0 };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn table(offers: u32) -> HealthTable {
        let rows = (0..offers).map(|index| fixture::offer(index, index, index as u16));
        HealthTable::new(Arc::new(Columns::from_rows(rows)))
    }

    #[test]
    fn what_nobody_has_measured_is_assumed_to_be_like_the_rest() {
        let mut table = table(3);
        let first = OfferIx(0);
        for _ in 0..20 {
            table.on_success(first, 1_000, 8_000, 9_600, 96);
        }
        table.relax(1_000_000);
        let measured = table.health(first).expect("a row").ttft_us();
        let unmeasured = table.health(OfferIx(1)).expect("a row").ttft_us();
        assert!((0.8..1.25).contains(&(unmeasured / measured)), "{unmeasured} against {measured}");
        // A measurement of its own counts more than what others do.
        table.on_success(OfferIx(1), 2_000_000, 400_000, 500_000, 10);
        table.relax(3_000_000);
        assert!(table.health(OfferIx(1)).expect("a row").ttft_us() > 100_000.0);
    }
}

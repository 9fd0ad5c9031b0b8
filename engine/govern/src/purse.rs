//! What is spent and held of budgets, over all cores: holds are taken before an attempt, atomically in every budget
//! that applies, and settled with the truth afterwards.
//!
//! In: budgets with what was spent before, holds, a `now` in seconds of Unix time. Out: yes, or which budget has no
//! money. Never: a lock, a hold that outlives its request (dropping it gives everything back), a sum that two
//! threads could both fit into when there is room for one.
//!
//! The one number that decides is `committed` = settled in this window + held. A hold adds to it if the limit allows,
//! in one compare-and-swap; settling corrects it by the difference. `spent` tells how much of it will leave with the
//! window. So for every request: held = settled + released, and the limit is passed only where a request cost
//! more than its worst case said.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use models::PicoUsd;

use crate::budget::{Budget, Window};

/// Slices of a rolling window: what was spent in one leaves it all at once.
const SLICES: usize = 60;
/// The largest amount of a budget, in pico-dollars: a quarter of what the numbers hold, so that no sum of holds wraps.
pub const BUDGET_MAX: PicoUsd = PicoUsd(i64::MAX as u64 / 4);
/// Most budgets that one request can be under.
pub const BUDGETS_MAX: usize = 16;

/// One budget with what is spent and held of it.
#[derive(Debug)]
pub struct Purse {
    budget: Budget,
    /// Settled in this window and held, in pico-dollars.
    committed: AtomicI64,
    /// Settled, by slice of a rolling window; any other window has one slice.
    spent: Box<[AtomicI64]>,
    /// Number of the slice that is filled now: of a rolling window `now / slice`, else the window's first second.
    slice: AtomicI64,
    /// How many of the alerts were raised in this window.
    alerted: AtomicU32,
}

/// A budget that has no money for a request.
#[derive(Clone, Debug)]
pub struct Exhausted {
    /// Which.
    pub purse: Arc<Purse>,
    /// What would have been held.
    pub wanted: PicoUsd,
    /// What could be.
    pub left: PicoUsd,
}

impl Purse {
    /// A budget as it stands at `now`; `spent` are amounts with the seconds at which they were settled.
    pub fn new(budget: Budget, spent: impl IntoIterator<Item = (i64, PicoUsd)>, now: i64) -> Purse {
        let slices = if matches!(budget.window, Window::Rolling { .. }) { SLICES } else { 1 };
        let purse = Purse {
            committed: AtomicI64::new(0),
            spent: (0..slices).map(|_| AtomicI64::new(0)).collect(),
            slice: AtomicI64::new(slice_of(budget.window, now)),
            alerted: AtomicU32::new(0),
            budget,
        };
        let begins = purse.budget.window.begins(now);
        for (at, amount) in spent.into_iter().filter(|(at, _)| *at >= begins) {
            let amount = signed(amount);
            let slice = purse.place(slice_of(purse.budget.window, at.min(now)));
            purse.committed.fetch_add(amount, Ordering::Relaxed);
            purse.spent[slice].fetch_add(amount, Ordering::Relaxed);
        }
        // What was alerted before a restart is not alerted again.
        purse.alerted.store(purse.alerts_due(), Ordering::Relaxed);
        purse
    }

    /// Which budget it is.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What can still be held.
    pub fn left(&self) -> PicoUsd {
        let committed = self.committed.load(Ordering::Acquire);
        PicoUsd(signed(self.budget.limit).saturating_sub(committed).max(0) as u64)
    }

    /// What is settled in this window.
    pub fn spent(&self) -> PicoUsd {
        let spent: i64 = self.spent.iter().map(|slice| slice.load(Ordering::Acquire)).sum();
        PicoUsd(spent.max(0) as u64)
    }

    /// Lets go of what has left the window. To be called every second or so, by one thread.
    pub fn roll(&self, now: i64) {
        let current = slice_of(self.budget.window, now);
        let before = self.slice.load(Ordering::Acquire);
        // A clock that was set back changes nothing until it has caught up.
        if current <= before {
            return;
        }
        let left = usize::try_from(current - before).unwrap_or(usize::MAX).min(self.spent.len());
        // Emptied before settling goes there.
        for slice in (current - left as i64 + 1)..=current {
            let gone = self.spent[self.place(slice)].swap(0, Ordering::AcqRel);
            self.committed.fetch_sub(gone, Ordering::AcqRel);
        }
        self.slice.store(current, Ordering::Release);
        self.alerted.fetch_min(self.alerts_due(), Ordering::AcqRel);
    }

    /// The thresholds, in permille, that were passed since the last call: each once per window.
    pub fn alerts(&self) -> &[u16] {
        let due = self.alerts_due();
        let raised = self.alerted.fetch_max(due, Ordering::AcqRel);
        self.budget.alerts.get(raised as usize..due as usize).unwrap_or_default()
    }

    fn alerts_due(&self) -> u32 {
        let spent = u128::from(self.spent().0) * 1_000;
        let limit = u128::from(self.budget.limit.0);
        let passed = |permille: &&u16| spent >= limit * u128::from(**permille);
        self.budget.alerts.iter().take_while(passed).count() as u32
    }

    fn hold(&self, amount: i64) -> bool {
        let limit = signed(self.budget.limit);
        let fits = |committed: i64| {
            let sum = committed.checked_add(amount)?;
            (sum <= limit).then_some(sum)
        };
        self.committed.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    fn release(&self, amount: i64) {
        self.committed.fetch_sub(amount, Ordering::AcqRel);
    }

    fn settle(&self, held: i64, actual: i64) {
        self.committed.fetch_sub(held - actual, Ordering::AcqRel);
        // Should the window roll between the two, the amount counts in the new one: late, and once.
        let slice = self.place(self.slice.load(Ordering::Acquire));
        self.spent[slice].fetch_add(actual, Ordering::AcqRel);
    }

    fn place(&self, slice: i64) -> usize {
        slice.rem_euclid(self.spent.len() as i64) as usize
    }
}

/// Money held for one attempt, in every budget that applies.
#[derive(Debug)]
#[must_use = "dropped, it gives back what it holds"]
pub struct Hold {
    purses: Arc<[Arc<Purse>]>,
    held: i64,
}

impl Hold {
    /// Holds `amount` in all of `purses`, or in none.
    pub fn take(purses: Arc<[Arc<Purse>]>, amount: PicoUsd) -> Result<Hold, Exhausted> {
        let mut hold = Hold { purses, held: 0 };
        hold.change(amount)?;
        Ok(hold)
    }

    /// What is held.
    pub fn amount(&self) -> PicoUsd {
        PicoUsd(self.held as u64)
    }

    /// Holds `amount` instead, for another target. When a budget has too little, what was held stays.
    pub fn change(&mut self, amount: PicoUsd) -> Result<(), Exhausted> {
        let wanted = signed(amount);
        let more = wanted - self.held;
        if more <= 0 {
            self.purses.iter().for_each(|purse| purse.release(-more));
            self.held = wanted;
            return Ok(());
        }
        for (taken, purse) in self.purses.iter().enumerate() {
            if !purse.hold(more) {
                self.purses[..taken].iter().for_each(|purse| purse.release(more));
                let left = PicoUsd(purse.left().0.saturating_add(self.held as u64));
                return Err(Exhausted { purse: Arc::clone(purse), wanted: amount, left });
            }
        }
        self.held = wanted;
        Ok(())
    }

    /// Books what it cost and releases the rest.
    pub fn settle(mut self, actual: PicoUsd) {
        let held = std::mem::take(&mut self.held);
        self.purses.iter().for_each(|purse| purse.settle(held, signed(actual)));
        self.purses = Arc::new([]);
    }
}

/// Whatever happens to a request, its hold ends with it.
impl Drop for Hold {
    fn drop(&mut self) {
        self.purses.iter().for_each(|purse| purse.release(self.held));
    }
}

fn slice_of(window: Window, now: i64) -> i64 {
    match window {
        Window::Total => 0,
        Window::Calendar(_) => window.begins(now),
        Window::Rolling { seconds } => now.div_euclid((i64::from(seconds) / SLICES as i64).max(1)),
    }
}

/// Amounts above [`BUDGET_MAX`] are refused where budgets are read; here they saturate.
fn signed(amount: PicoUsd) -> i64 {
    amount.0.min(BUDGET_MAX.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{OnExhausted, Owner, Period};
    use proptest::prelude::*;

    const CENT: u64 = 10_000_000_000;

    fn purse(limit: u64, window: Window) -> Purse {
        let budget = Budget {
            id: 1,
            owner: Owner::Org("acme".into()),
            limit: PicoUsd(limit),
            window,
            alerts: vec![500, 900],
            on_exhausted: OnExhausted::Refuse,
        };
        Purse::new(budget, [], 1_000_000)
    }

    fn one(limit: u64) -> Arc<[Arc<Purse>]> {
        Arc::new([Arc::new(purse(limit, Window::Total))])
    }

    #[test]
    fn two_hundred_at_once_against_money_for_fifty_are_exactly_fifty() {
        let purses: Arc<[Arc<Purse>]> = Arc::new([
            Arc::new(purse(1_000 * CENT, Window::Total)),
            Arc::new(purse(50 * CENT, Window::Calendar(Period::Month))),
        ]);
        let served: usize = std::thread::scope(|scope| {
            let ask = || {
                let take = || Hold::take(Arc::clone(&purses), PicoUsd(CENT)).ok();
                let holds: Vec<Hold> = (0..25).filter_map(|_| take()).collect();
                let served = holds.len();
                holds.into_iter().for_each(|hold| hold.settle(PicoUsd(CENT)));
                served
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("ends")).sum()
        });
        assert_eq!(served, 50);
        assert_eq!((purses[1].left(), purses[1].spent()), (PicoUsd(0), PicoUsd(50 * CENT)));
        assert_eq!(purses[0].left(), PicoUsd(950 * CENT), "what was refused is held nowhere");
    }

    #[test]
    fn a_hold_that_is_dropped_gives_everything_back() {
        let purses = one(10);
        let hold = Hold::take(Arc::clone(&purses), PicoUsd(10)).expect("there is money");
        let refused = Hold::take(Arc::clone(&purses), PicoUsd(1)).expect_err("there is none");
        assert_eq!((refused.wanted, refused.left), (PicoUsd(1), PicoUsd(0)));
        drop(hold);
        assert_eq!((purses[0].left(), purses[0].spent()), (PicoUsd(10), PicoUsd(0)));
    }

    #[test]
    fn a_dearer_fallback_holds_more_or_keeps_what_there_is() {
        let purses = one(10);
        let mut hold = Hold::take(Arc::clone(&purses), PicoUsd(4)).expect("there is money");
        hold.change(PicoUsd(9)).expect("there is more");
        assert_eq!(hold.change(PicoUsd(11)).expect_err("not that much").left, PicoUsd(10));
        assert_eq!(hold.amount(), PicoUsd(9));
        hold.change(PicoUsd(2)).expect("less is always there");
        hold.settle(PicoUsd(1));
        assert_eq!((purses[0].left(), purses[0].spent()), (PicoUsd(9), PicoUsd(1)));
    }

    #[test]
    fn a_request_that_cost_more_than_was_held_is_booked_in_full() {
        let purses = one(10);
        let hold = Hold::take(Arc::clone(&purses), PicoUsd(10)).expect("there is money");
        hold.settle(PicoUsd(12));
        assert_eq!((purses[0].left(), purses[0].spent()), (PicoUsd(0), PicoUsd(12)));
    }

    #[test]
    fn a_new_window_of_the_calendar_begins_with_what_is_held() {
        let day = 86_400;
        let purses: Arc<[Arc<Purse>]> =
            Arc::new([Arc::new(purse(10, Window::Calendar(Period::Day)))]);
        let take = |amount| Hold::take(Arc::clone(&purses), PicoUsd(amount));
        take(6).expect("there is money").settle(PicoUsd(6));
        let open = take(3).expect("there is money");
        purses[0].roll(1_000_000 + day);
        assert_eq!((purses[0].left(), purses[0].spent()), (PicoUsd(7), PicoUsd(0)));
        open.settle(PicoUsd(2));
        assert_eq!((purses[0].left(), purses[0].spent()), (PicoUsd(8), PicoUsd(2)));
        purses[0].roll(1_000_000);
        assert_eq!(purses[0].spent(), PicoUsd(2), "a clock set back forgets nothing");
    }

    #[test]
    fn a_rolling_window_forgets_slice_by_slice() {
        let hour = Window::Rolling { seconds: 3_600 };
        let budget = purse(100, hour).budget.clone();
        let spent = [(1, 5), (997_000, 10), (999_000, 20)].map(|(at, n)| (at, PicoUsd(n)));
        let purse = Purse::new(budget, spent, 1_000_000);
        assert_eq!(purse.spent(), PicoUsd(30), "the first is long gone");
        purse.roll(997_000 + 3_600 + 60);
        assert_eq!((purse.spent(), purse.left()), (PicoUsd(20), PicoUsd(80)));
        purse.roll(999_000 + 3_600 + 60);
        assert_eq!((purse.spent(), purse.left()), (PicoUsd(0), PicoUsd(100)));
    }

    #[test]
    fn alerts_are_raised_once_each_and_again_in_the_next_window() {
        let purse = Arc::new(purse(10, Window::Calendar(Period::Day)));
        let purses: Arc<[Arc<Purse>]> = Arc::new([Arc::clone(&purse)]);
        let spend = |amount| {
            let hold = Hold::take(Arc::clone(&purses), PicoUsd(amount)).expect("there is money");
            hold.settle(PicoUsd(amount));
        };
        assert!(purse.alerts().is_empty());
        spend(5);
        assert_eq!(purse.alerts(), [500]);
        assert!(purse.alerts().is_empty());
        spend(5);
        assert_eq!(purse.alerts(), [900]);
        purse.roll(1_000_000 + 86_400);
        spend(10);
        assert_eq!(purse.alerts(), [500, 900]);
        let again = Purse::new(purse.budget.clone(), [(1_000_000, PicoUsd(6))], 1_000_000);
        assert!(again.alerts().is_empty(), "a restart does not alert again");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u64),
        Change(usize, u64),
        Settle(usize, u64),
        Drop(usize),
        Roll(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40_u64).prop_map(Step::Take),
            (any::<usize>(), 0..40_u64).prop_map(|(at, amount)| Step::Change(at, amount)),
            (any::<usize>(), 0..40_u64).prop_map(|(at, amount)| Step::Settle(at, amount)),
            any::<usize>().prop_map(Step::Drop),
            (0..4_000_u32).prop_map(Step::Roll),
        ]
    }

    proptest! {
        /// Committed is always what is held and what is spent in the window, whatever happens in which order.
        #[test]
        fn money_is_conserved(steps in prop::collection::vec(step(), 1..60), rolling in any::<bool>()) {
            let window =
                if rolling { Window::Rolling { seconds: 3_600 } } else { Window::Calendar(Period::Day) };
            let purses: Arc<[Arc<Purse>]> =
                Arc::new([Arc::new(purse(100, window)), Arc::new(purse(60, Window::Total))]);
            let mut holds: Vec<Hold> = Vec::new();
            let mut now = 1_000_000;
            for step in steps {
                let count = holds.len();
                match step {
                    Step::Take(amount) => {
                        holds.extend(Hold::take(Arc::clone(&purses), PicoUsd(amount)).ok());
                    }
                    Step::Change(at, amount) if count > 0 => {
                        let _ = holds[at % count].change(PicoUsd(amount));
                    }
                    Step::Settle(at, actual) if count > 0 => {
                        let hold = holds.swap_remove(at % count);
                        let actual = actual.min(hold.amount().0);
                        hold.settle(PicoUsd(actual));
                    }
                    Step::Drop(at) if count > 0 => drop(holds.swap_remove(at % count)),
                    Step::Roll(seconds) => {
                        now += i64::from(seconds);
                        purses.iter().for_each(|purse| purse.roll(now));
                    }
                    _ => {}
                }
                let held: u64 = holds.iter().map(|hold| hold.amount().0).sum();
                for purse in &*purses {
                    let limit = purse.budget().limit.0;
                    prop_assert_eq!(purse.left().0 + purse.spent().0 + held, limit);
                }
            }
        }
    }
}

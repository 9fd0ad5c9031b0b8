//! Rates and concurrency: how many requests or tokens per minute, how many at once.
//!
//! In: limits, an amount, a `now` in microseconds on any clock that does not go back. Out: yes with what is left, or no
//! with how long to wait. One word of memory per limit, shared by all cores. Never: a lock, a timer, a queue.
//!
//! A rate is kept by the generic cell rate algorithm (ITU-T I.371): a limit of n per minute earns one unit every
//! 60/n seconds and holds at most n. The word is the time at which all of it will have been earned again.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const MINUTE_US: u64 = 60_000_000;
/// The highest rate, in units per minute: a unit has to take at least a nanosecond.
pub const PER_MINUTE_MAX: u64 = 60_000_000_000;
/// Fractions of a microsecond in the word.
const FINE: u64 = 1_000;

/// So many units per minute, all of them at once if nothing was used for a minute.
#[derive(Debug)]
pub struct Rate {
    per_minute: u64,
    /// When everything is earned again, in nanoseconds.
    full_at: AtomicU64,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The limit, per minute.
    pub limit: u64,
    /// Units that can be used now.
    pub left: u64,
    /// Microseconds until all of it is there again.
    pub full_in_us: u64,
}

/// A rate that has too little left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// How it stands.
    pub allowance: Allowance,
    /// Microseconds after which it would have been enough; `None` when it is above the limit at any time.
    pub retry_in_us: Option<u64>,
}

impl Rate {
    /// `per_minute` units, from 1 to [`PER_MINUTE_MAX`].
    pub fn new(per_minute: u64) -> Rate {
        Rate { per_minute: per_minute.clamp(1, PER_MINUTE_MAX), full_at: AtomicU64::new(0) }
    }

    /// Uses `units`, or none of them.
    pub fn take(&self, units: u64, now_us: u64) -> Result<Allowance, Limited> {
        let now = now_us.saturating_mul(FINE);
        let cost = self.nanos(units);
        let last = now.saturating_add(MINUTE_US * FINE);
        let mut seen = self.full_at.load(Ordering::Acquire);
        loop {
            let full_at = seen.max(now).saturating_add(cost);
            if full_at > last {
                let most = MINUTE_US * FINE;
                let retry = (cost <= most).then(|| (full_at - last).div_ceil(FINE));
                return Err(Limited { allowance: self.allowance(seen, now), retry_in_us: retry });
            }
            match self.full_at.compare_exchange_weak(
                seen,
                full_at,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(self.allowance(full_at, now)),
                Err(newer) => seen = newer,
            }
        }
    }

    /// Uses `units` whatever is left: tokens are known when they are used up. What is used above the limit delays
    /// what comes after it.
    pub fn charge(&self, units: u64, now_us: u64) {
        let now = now_us.saturating_mul(FINE);
        let cost = self.nanos(units);
        let later = |full_at: u64| Some(full_at.max(now).saturating_add(cost));
        let _ = self.full_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
    }

    /// How it stands.
    pub fn look(&self, now_us: u64) -> Allowance {
        self.allowance(self.full_at.load(Ordering::Acquire), now_us.saturating_mul(FINE))
    }

    fn allowance(&self, full_at: u64, now: u64) -> Allowance {
        let missing = full_at.saturating_sub(now);
        let earned = (MINUTE_US * FINE).saturating_sub(missing);
        let left = u128::from(earned) * u128::from(self.per_minute) / u128::from(MINUTE_US * FINE);
        Allowance { limit: self.per_minute, left: left as u64, full_in_us: missing.div_ceil(FINE) }
    }

    /// How long it takes to earn that many.
    fn nanos(&self, units: u64) -> u64 {
        let nanos = u128::from(units) * u128::from(MINUTE_US * FINE) / u128::from(self.per_minute);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// So many at once.
#[derive(Debug)]
pub struct Concurrency {
    most: u32,
    running: AtomicU32,
}

/// One of those that run; dropped, there is room for another.
#[derive(Debug)]
#[must_use = "dropped, it makes room"]
pub struct Running<'l>(&'l Concurrency);

impl Concurrency {
    /// At most `most` at once.
    pub fn new(most: u32) -> Concurrency {
        Concurrency { most, running: AtomicU32::new(0) }
    }

    /// One more, if there is room.
    pub fn enter(&self) -> Option<Running<'_>> {
        let more = |running: u32| (running < self.most).then_some(running + 1);
        let entered = self.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        entered.is_ok().then(|| Running(self))
    }

    /// How many run.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Acquire)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_minutes_worth_is_there_at_once_and_then_comes_evenly() {
        let rate = Rate::new(60);
        let start = 5 * SECOND;
        for used in 1..=60 {
            let left = rate.take(1, start).expect("a minute's worth").left;
            assert_eq!(left, 60 - used);
        }
        let limited = rate.take(1, start).expect_err("all is used");
        assert_eq!((limited.allowance.left, limited.retry_in_us), (0, Some(SECOND)));
        assert_eq!(limited.allowance.full_in_us, 60 * SECOND);
        assert!(rate.take(1, start + SECOND).is_ok(), "one has been earned");
        assert!(rate.take(1, start + SECOND).is_err());
        assert_eq!(rate.look(start + 200 * SECOND).left, 60, "no more than a minute's worth");
    }

    #[test]
    fn what_is_above_the_limit_is_never_there() {
        let limited = Rate::new(100).take(101, 0).expect_err("above the limit");
        assert_eq!(limited.retry_in_us, None);
        assert_eq!(limited.allowance.left, 100);
    }

    #[test]
    fn tokens_that_were_used_anyway_delay_the_next() {
        let rate = Rate::new(6_000);
        rate.charge(12_000, 0);
        assert_eq!(rate.look(0).left, 0);
        let limited = rate.take(1, 0).expect_err("two minutes' worth is gone");
        assert_eq!(limited.retry_in_us, Some(60 * SECOND + 10_000));
        assert!(rate.take(1, 61 * SECOND).is_ok());
    }

    #[test]
    fn all_cores_together_get_the_limit_and_no_more() {
        let rate = Rate::new(1_000);
        let taken: usize = std::thread::scope(|scope| {
            let ask = || (0..1_000).filter(|_| rate.take(1, SECOND).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("ends")).sum()
        });
        assert_eq!(taken, 1_000);
    }

    #[test]
    fn who_leaves_makes_room() {
        let two = Concurrency::new(2);
        let (first, _second) = (two.enter().expect("room"), two.enter().expect("room"));
        assert!(two.enter().is_none());
        drop(first);
        assert!(two.enter().is_some());
        assert_eq!(two.running(), 1, "the third has left again");
    }

    proptest! {
        /// In no minute is more used than the limit and what was earned meanwhile.
        #[test]
        fn no_minute_gets_more_than_two_limits(
            limit in 1..500_u64,
            gaps in prop::collection::vec((0..3_000_000_u64, 1..20_u64), 1..300),
        ) {
            let rate = Rate::new(limit);
            let mut now = 0;
            let mut used: Vec<(u64, u64)> = Vec::new();
            for (gap, units) in gaps {
                now += gap;
                if rate.take(units, now).is_ok() {
                    used.push((now, units));
                }
            }
            for &(from, _) in &used {
                let minute = used.iter().filter(|(at, _)| (from..from + MINUTE_US).contains(at));
                prop_assert!(minute.map(|(_, units)| units).sum::<u64>() <= 2 * limit);
            }
        }
    }
}

//! One core of the data plane: what it owns, what it shares, and its tick.

use crate::judge::CoreJudge;
use crate::judge::counts::JudgeCounts;
use crate::judge::force::InForce;
use crate::reply;
use crate::snapshot::{Keys, Published, Snapshot};
use crate::stats::{CoreStats, OfferStats};
use crate::upstream::Pool;
use crate::watch::Watchers;
use arc_swap::Guard;
use crossbeam::queue::ArrayQueue;
use models::catalogue::OfferIx;
use route::{Columns, HealthTable, HealthWords, Scratch};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use store::JournalWriter;

/// What all threads share. Everything in it is immutable, replaced whole, or a named atomic.
pub struct Shared {
    /// What cores read.
    pub published: Published,
    /// The clock of all cores starts here.
    pub epoch: Instant,
    /// Where the process is in its life.
    pub phase: Phase,
    /// By core: full sets of counts on their way to the control thread.
    pub stats_full: Vec<ArrayQueue<Box<CoreStats>>>,
    /// By core: empty ones on their way back.
    pub stats_empty: Vec<ArrayQueue<Box<CoreStats>>>,
    /// By core: open client connections.
    pub connections: Vec<AtomicU32>,
    /// What judges prompts.
    pub in_force: arc_swap::ArcSwap<InForce>,
    /// By core: what it shall judge with from its next tick on.
    pub judges_next: Vec<ArrayQueue<Box<CoreJudge>>>,
    /// By core: what it has judged with, to be freed elsewhere.
    pub judges_retired: Vec<ArrayQueue<Box<CoreJudge>>>,
    /// By core: the generation of what it judges with.
    pub judge_generations: Vec<AtomicU64>,
    /// What several threads count about judging.
    pub judge_counts: Arc<JudgeCounts>,
    /// Offers' health, exchanged between cores.
    pub health: arc_swap::ArcSwap<HealthCells>,
    /// Offers that are not well, as the first core knows them, for the metrics.
    pub breakers: arc_swap::ArcSwap<Vec<BreakerState>>,
}

/// An offer whose breaker is not closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerState {
    /// Of which snapshot the offer is.
    pub generation: u64,
    /// Which.
    pub offer: OfferIx,
    /// 1 for open, 0.5 for half-open.
    pub openness: f64,
}

/// Where the process is in its life. Only goes forward.
#[derive(Default)]
pub struct Phase(AtomicU8);

impl Phase {
    /// Cores listen.
    pub fn set_serving(&self) {
        self.0.fetch_max(1, Ordering::Release);
    }
    /// Readiness is gone; new connections are still taken, for balancers that have not noticed.
    pub fn set_leaving(&self) {
        self.0.fetch_max(2, Ordering::Release);
    }
    /// No new connections; running requests end.
    pub fn set_draining(&self) {
        self.0.fetch_max(3, Ordering::Release);
    }
    /// Whatever still runs is ended.
    pub fn set_closing(&self) {
        self.0.fetch_max(4, Ordering::Release);
    }
    /// Whether requests are welcome.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == 1
    }
    /// Whether connections are to be closed after their current response.
    pub fn is_leaving(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 2
    }
    /// Whether no new connections are taken.
    pub fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 3
    }
    /// Whether the drain time is over.
    pub fn is_closing(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 4
    }
}

/// Offers' health as the cores tell it each other: one cell of atomics per offer.
pub struct HealthCells {
    /// Of which snapshot the offers are.
    pub generation: u64,
    cells: Vec<HealthCell>,
}

/// A sequence lock without a lock: who finds it taken comes back at the next tick.
#[derive(Default)]
struct HealthCell {
    /// Odd while somebody writes.
    sequence: AtomicU64,
    words: [AtomicU64; 4],
}

impl HealthCells {
    /// Cells for `offers` offers of that snapshot.
    pub fn new(generation: u64, offers: usize) -> HealthCells {
        HealthCells { generation, cells: (0..offers).map(|_| HealthCell::default()).collect() }
    }

    /// Writes what a core knows. False when another core is writing.
    fn publish(&self, offer: OfferIx, words: HealthWords) -> bool {
        let Some(cell) = self.cells.get(offer.0 as usize) else { return true };
        let before = cell.sequence.load(Ordering::Relaxed);
        if before % 2 == 1 {
            return false;
        }
        let taken = cell.sequence.compare_exchange(
            before,
            before + 1,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        if taken.is_err() {
            return false;
        }
        for (cell, word) in cell.words.iter().zip(words) {
            cell.store(word, Ordering::Release);
        }
        cell.sequence.store(before + 2, Ordering::Release);
        true
    }

    /// The newest words after sequence number `seen`, with their number.
    fn read(&self, offer: OfferIx, seen: u64) -> Option<(u64, HealthWords)> {
        let cell = self.cells.get(offer.0 as usize)?;
        let before = cell.sequence.load(Ordering::Acquire);
        if before == seen || before % 2 == 1 {
            return None;
        }
        let words = [0, 1, 2, 3].map(|index| cell.words[index].load(Ordering::Acquire));
        (cell.sequence.load(Ordering::Acquire) == before).then_some((before, words))
    }
}

/// A snapshot with what this core has found out about its offers.
pub struct Routing {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Health by offer.
    pub health: RefCell<HealthTable>,
    /// Offers of which this core has news for the others.
    dirty: RefCell<Vec<OfferIx>>,
    /// By offer: what was read last of the others' news.
    seen: RefCell<Vec<u64>>,
}

impl Routing {
    /// Nothing known yet.
    pub fn new(snapshot: Arc<Snapshot>) -> Routing {
        let health = HealthTable::new(Arc::clone(&snapshot.columns));
        Routing::with_health(snapshot, health)
    }

    fn with_health(snapshot: Arc<Snapshot>, health: HealthTable) -> Routing {
        let offers = snapshot.targets.len();
        Routing {
            snapshot,
            health: RefCell::new(health),
            dirty: RefCell::default(),
            seen: RefCell::new(vec![0; offers]),
        }
    }

    /// What this core knows of the same offers under a new snapshot.
    fn carried_over(&self, snapshot: Arc<Snapshot>) -> Routing {
        let health = {
            let old = &self.snapshot.catalogue;
            let new = &snapshot.catalogue;
            let same_as = |offer: OfferIx| {
                let wanted = new.offer(offer);
                let model = old.find_model(new.model(wanted.model()).id())?;
                let provider = new.provider(wanted.provider()).id();
                OfferIx::each(old.offers_of(model)).find(|&candidate| {
                    let candidate = old.offer(candidate);
                    candidate.wire_id() == wanted.wire_id()
                        && old.provider(candidate.provider()).id() == provider
                })
            };
            let columns: Arc<Columns> = Arc::clone(&snapshot.columns);
            HealthTable::carried_over(&self.health.borrow(), columns, same_as)
        };
        Routing::with_health(snapshot, health)
    }

    /// Changes what is known of `offer` and remembers to tell the others.
    pub fn learn(&self, offer: OfferIx, change: impl FnOnce(&mut HealthTable)) {
        change(&mut self.health.borrow_mut());
        let mut dirty = self.dirty.borrow_mut();
        if !dirty.contains(&offer) {
            dirty.push(offer);
        }
    }

    /// Tells the other cores what is new here, and takes in what is new there.
    fn exchange(&self, cells: &HealthCells) {
        if cells.generation != self.snapshot.generation {
            return;
        }
        let mut health = self.health.borrow_mut();
        let mut seen = self.seen.borrow_mut();
        for &offer in self.snapshot.columns.offers() {
            let Some(seen) = seen.get_mut(offer.0 as usize) else { continue };
            if let Some((sequence, words)) = cells.read(offer, *seen) {
                *seen = sequence;
                health.absorb(offer, words);
            }
        }
        self.dirty.borrow_mut().retain(|&offer| match health.pack(offer) {
            Some(words) => !cells.publish(offer, words),
            None => false,
        });
    }
}

/// What one core owns.
pub struct Core {
    /// Which.
    pub index: u16,
    /// What it shares.
    pub shared: Arc<Shared>,
    /// Its connections' deadlines.
    pub watchers: Rc<Watchers>,
    /// Its connections to providers.
    pub pool: Pool,
    /// Its journal.
    pub journal: RefCell<JournalWriter>,
    /// What it judges prompts with.
    pub judge: RefCell<Box<CoreJudge>>,
    /// Working memory of the router.
    pub scratch: RefCell<Scratch>,
    /// Its counts.
    pub stats: RefCell<Box<CoreStats>>,
    /// `Date` of this second.
    pub date: RefCell<Vec<u8>>,
    unix_s: Cell<i64>,
    routing: RefCell<Rc<Routing>>,
    next_id: Cell<u64>,
    id_salt: u64,
    ticks: Cell<u64>,
}

/// Ticks of [`crate::watch::SWEEP`] between two hand-overs of counts.
const TICKS_PER_SECOND: u64 = 20;

impl Core {
    /// A core that begins with the snapshot that is published.
    pub fn new(
        index: u16,
        shared: Arc<Shared>,
        journal: JournalWriter,
        judge: Box<CoreJudge>,
    ) -> Core {
        let routing = Rc::new(Routing::new(shared.published.snapshot.load_full()));
        let mut salt = [0; 8];
        // Ids must differ between processes, not be secret: the clock does when entropy is missing.
        let id_salt = match getrandom::fill(&mut salt) {
            Ok(()) => u64::from_ne_bytes(salt),
            Err(_) => unix_now().1 ^ u64::from(std::process::id()),
        };
        let core = Core {
            index,
            shared,
            watchers: Rc::default(),
            pool: Pool::default(),
            journal: RefCell::new(journal),
            judge: RefCell::new(judge),
            scratch: RefCell::default(),
            stats: RefCell::default(),
            date: RefCell::default(),
            unix_s: Cell::new(0),
            routing: RefCell::new(routing),
            next_id: Cell::new(0),
            id_salt,
            ticks: Cell::new(0),
        };
        core.tick();
        core
    }

    /// The snapshot in force, with this core's findings. A request keeps it to its end.
    pub fn routing(&self) -> Rc<Routing> {
        Rc::clone(&self.routing.borrow())
    }

    /// The keys in force: always the newest, so that a revocation counts at once.
    pub fn keys(&self) -> Guard<Arc<Keys>> {
        self.shared.published.keys.load()
    }

    /// Microseconds on the clock of all cores.
    pub fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.shared.epoch).as_micros() as u64
    }

    /// Seconds of Unix time, as of the last tick.
    pub fn unix_s(&self) -> i64 {
        self.unix_s.get()
    }

    /// An id that no other request has: 48 bits of milliseconds, 16 of core, 64 that are unlikely to
    /// come again within one millisecond. Ids sort by time.
    pub fn new_id(&self, unix_us: u64) -> u128 {
        let count = self.next_id.get();
        self.next_id.set(count.wrapping_add(1));
        let low = mixed(self.id_salt.wrapping_add(count));
        (u128::from(unix_us / 1_000) << 80) | (u128::from(self.index) << 64) | u128::from(low)
    }

    /// Everything that is due now and then; to be called every [`crate::watch::SWEEP`].
    pub fn tick(&self) {
        self.watchers.sweep(self.shared.epoch);
        let now = Instant::now();
        let published = self.shared.published.snapshot.load();
        let routing = self.routing();
        if published.generation != routing.snapshot.generation {
            // Counts name offers by their place in the old catalogue.
            if !self.hand_over_stats() {
                // They would be read by the new catalogue, which may not even have that many rows.
                let mut stats = self.stats.borrow_mut();
                stats.offers.clear();
                stats.decisions.clear();
            }
            let routing = routing.carried_over(Arc::clone(&published));
            self.routing.replace(Rc::new(routing));
        } else {
            routing.exchange(&self.shared.health.load());
        }
        self.judge.borrow_mut().send_comparisons(self);
        self.take_up_judge();
        let (unix_s, _) = unix_now();
        if unix_s != self.unix_s.replace(unix_s) {
            reply::http_date(unix_s, &mut self.date.borrow_mut());
        }
        let ticks = self.ticks.get();
        self.ticks.set(ticks + 1);
        if ticks.is_multiple_of(TICKS_PER_SECOND) {
            self.pool.sweep(now);
            self.routing().health.borrow_mut().relax(self.micros(now));
            self.hand_over_stats();
            if self.index == 0 {
                self.show_breakers();
            }
        }
        let connections = u32::try_from(self.watchers.len()).unwrap_or(u32::MAX);
        self.shared.connections[usize::from(self.index)].store(connections, Ordering::Relaxed);
    }

    /// Judges with what is in force now. Requests that wait for an answer of what was in force before
    /// still get it.
    fn take_up_judge(&self) {
        let at = usize::from(self.index);
        if let Some(next) = self.shared.judges_next[at].pop() {
            let retired = self.judge.replace(next);
            // Freeing a session takes longer than a request; when there is no room it is done here.
            drop(self.shared.judges_retired[at].push(retired));
        }
        let generation = self.judge.borrow().in_force().generation;
        self.shared.judge_generations[at].store(generation, Ordering::Release);
    }

    /// Counts something about an offer of `routing`. A request that has outlived its snapshot is not
    /// counted here, since the offer's place may be another's by now; the ledger has it by name.
    pub fn count_offer(
        &self,
        routing: &Routing,
        offer: OfferIx,
        count: impl FnOnce(&mut OfferStats),
    ) {
        if routing.snapshot.generation == self.routing.borrow().snapshot.generation {
            count(self.stats.borrow_mut().offer(offer));
        }
    }

    /// Shows the metrics which offers are not well. One core is enough: all know the same within a
    /// tick.
    fn show_breakers(&self) {
        let routing = self.routing();
        let health = routing.health.borrow();
        let open: Vec<BreakerState> = routing
            .snapshot
            .columns
            .offers()
            .iter()
            .filter_map(|&offer| {
                let openness = match health.health(offer)?.breaker_name() {
                    "open" => 1.0,
                    "half_open" => 0.5,
                    _ => return None,
                };
                Some(BreakerState { generation: routing.snapshot.generation, offer, openness })
            })
            .collect();
        if !open.is_empty() || !self.shared.breakers.load().is_empty() {
            self.shared.breakers.store(Arc::new(open));
        }
    }

    /// Gives the counts to the control thread, if it has taken the last ones. False when it
    /// has not, and counting goes on in the same set.
    pub fn hand_over_stats(&self) -> bool {
        let at = usize::from(self.index);
        let mut stats = self.stats.borrow_mut();
        stats.snapshot = Some(Arc::clone(&self.routing.borrow().snapshot));
        let empty = self.shared.stats_empty[at].pop().unwrap_or_default();
        let full = std::mem::replace(&mut *stats, empty);
        match self.shared.stats_full[at].push(full) {
            Ok(()) => true,
            Err(full) => {
                *stats = full;
                false
            }
        }
    }
}

/// Seconds and microseconds of Unix time.
pub fn unix_now() -> (i64, u64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() as i64, since.as_micros() as u64)
}

/// Spreads a counter over 64 bits (the finaliser of SplitMix64).
fn mixed(mut value: u64) -> u64 {
    value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_give_each_writing_once() {
        let cells = HealthCells::new(1, 2);
        let offer = OfferIx(1);
        assert_eq!(cells.read(offer, 0), None);
        assert!(cells.publish(offer, [1, 2, 3, 4]));
        let (sequence, words) = cells.read(offer, 0).expect("news");
        assert_eq!(words, [1, 2, 3, 4]);
        assert_eq!(cells.read(offer, sequence), None);
        assert_eq!(cells.read(OfferIx(7), 0), None, "an offer of another snapshot");
        assert!(cells.publish(OfferIx(7), [0; 4]));
    }

    #[test]
    fn phases_only_go_forward() {
        let phase = Phase::default();
        assert!(!phase.is_ready());
        phase.set_serving();
        assert!(phase.is_ready());
        phase.set_draining();
        phase.set_leaving();
        assert!(phase.is_draining() && !phase.is_closing() && !phase.is_ready());
    }
}

//! Swaps under load: a new classifier is built beside the running one and handed to the cores.
//!
//! In: a folder or a configuration. Out: it is in force on every core, or refused with the old one
//! untouched. Loading runs on a thread that may wait; each core takes up its new session at its next
//! tick by exchanging one pointer, and sends the old one back, to be freed here. Never: a wait of a
//! core, or two swaps at a time.

use super::force::{InForce, Refused};
use crate::config::ClassifierConfig;
use crate::core::Shared;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// How long the cores are waited for: many ticks. One that is busy for longer follows later.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(2);
/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The one who swaps.
pub struct Swapper {
    shared: Arc<Shared>,
    give_back_memory: fn(),
    turn: Mutex<()>,
    last_refusal: SyncMutex<Option<Refusal>>,
}

/// A swap that did not happen.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub reason: String,
    /// When.
    pub at: SystemTime,
}

impl Swapper {
    /// For the cores of `shared`; `give_back_memory` is called after each swap.
    pub fn new(shared: Arc<Shared>, give_back_memory: fn()) -> Swapper {
        Swapper {
            shared,
            give_back_memory,
            turn: Mutex::default(),
            last_refusal: SyncMutex::default(),
        }
    }

    /// Puts the model of `folder` in the place of the first one, until the configuration is read anew.
    pub async fn use_folder(&self, folder: PathBuf) -> Result<Arc<InForce>, Refused> {
        let _turn = self.turn.lock().await;
        let current = self.shared.in_force.load_full();
        let config =
            ClassifierConfig { model: Some(folder), rules_only: false, ..current.config.clone() };
        self.swap(current, config).await
    }

    /// Follows a configuration that was read anew. `None` when nothing has changed, the contents of the
    /// folders included.
    pub async fn follow(&self, config: ClassifierConfig) -> Result<Option<Arc<InForce>>, Refused> {
        let _turn = self.turn.lock().await;
        let current = self.shared.in_force.load_full();
        if current.is_same(&config) {
            return Ok(None);
        }
        self.swap(current, config).await.map(Some)
    }

    /// The last swap that did not happen.
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Frees what the cores have sent back.
    pub fn free_retired(&self) {
        for retired in &self.shared.judges_retired {
            while retired.pop().is_some() {}
        }
    }

    async fn swap(
        &self,
        current: Arc<InForce>,
        config: ClassifierConfig,
    ) -> Result<Arc<InForce>, Refused> {
        let counts = Arc::clone(&self.shared.judge_counts);
        let cores = self.shared.judges_next.len();
        let previous = Arc::clone(&current);
        let building = tokio::task::spawn_blocking(move || {
            let next = Arc::new(previous.next(&config, &counts)?);
            let judges = (0..cores).map(|_| next.for_core()).collect::<Result<Vec<_>, _>>()?;
            Ok((next, judges))
        });
        let built = building.await.unwrap_or_else(|_| {
            Err(Refused("loading it ended in a panic; see the log".to_owned()))
        });
        let (next, judges) = match built {
            Ok(built) => built,
            Err(refused) => {
                self.refuse(&refused);
                return Err(refused);
            }
        };
        for (queue, judge) in self.shared.judges_next.iter().zip(judges) {
            // One that a core has not taken up yet is overtaken by this one.
            drop(queue.force_push(judge));
        }
        self.shared.in_force.store(Arc::clone(&next));
        self.shared.judge_counts.swaps.fetch_add(1, Relaxed);
        self.wait_until_taken_up(next.generation).await;
        self.free_retired();
        drop(current);
        // It takes milliseconds, so not on the control thread.
        drop(tokio::task::spawn_blocking(self.give_back_memory));
        tracing::info!(generation = next.generation, "the classifier was swapped");
        Ok(next)
    }

    fn refuse(&self, refused: &Refused) {
        self.shared.judge_counts.refusals.fetch_add(1, Relaxed);
        tracing::error!(error = %refused, "the new classifier is refused; the old one stays");
        let refusal = Refusal { reason: refused.0.clone(), at: SystemTime::now() };
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    async fn wait_until_taken_up(&self, generation: u64) {
        let everywhere = || {
            let generations = &self.shared.judge_generations;
            generations.iter().all(|taken_up| taken_up.load(Acquire) >= generation)
        };
        let waiting = async {
            while !everywhere() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(TAKEN_UP_WITHIN, waiting).await.is_err() {
            tracing::warn!(generation, "a core is busy and takes up the new classifier later");
        }
    }
}

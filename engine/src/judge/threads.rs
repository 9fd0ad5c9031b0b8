//! Classifier threads: where a model computes that is too slow for a core, or that only watches.
//!
//! In: excerpts with the form of their request, through a bounded queue that never waits. Out: a
//! verdict to whoever asked, or a comparison in the counts. On a CPU a thread takes one job at a time,
//! since a batch costs as much as its parts; on a GPU it takes what has come, from all cores. A text
//! lives as long as its job. Never: a wait of a core, a text in a log or a count.

use super::counts::JudgeCounts;
use classifier::{Classified, Classifier, ClassifierError, CoreClassifier, Input, Structure};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Jobs that are run together on a GPU.
const BATCH_MAX: usize = 32;
/// How much less of a core the threads of an observed model get: it decides nothing.
const OBSERVER_NICENESS: i32 = 10;

/// Longest wait for a thread that computes when the process ends.
const REST_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked at.
const REST_LOOK_EVERY: Duration = Duration::from_millis(1);

/// A model's threads. They end when this is dropped and the queue is empty.
#[derive(Debug)]
pub struct Threads {
    queue: Sender<Job>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Jobs are thrown away from now on.
    is_ending: AtomicBool,
    /// Threads that compute just now.
    busy: AtomicUsize,
}

/// What is judged, apart from the core that saw it.
#[derive(Debug)]
pub struct Seen {
    text: Box<str>,
    structure: Structure,
}

/// What a thread is to judge, and for what.
#[derive(Debug)]
pub struct Job {
    seen: Seen,
    wants: Wants,
}

#[derive(Debug)]
enum Wants {
    Answer(oneshot::Sender<Classified>),
    Comparison(Box<Classified>),
}

impl Seen {
    /// A copy of `input`.
    pub fn new(input: &Input<'_>) -> Seen {
        Seen { text: input.text.into(), structure: input.structure }
    }

    fn input(&self) -> Input<'_> {
        Input { text: &self.text, structure: self.structure }
    }

    /// A job that compares the model with what was said in force about the same input.
    pub fn compared_with(self, in_force: &Classified) -> Job {
        Job { seen: self, wants: Wants::Comparison(Box::new(in_force.clone())) }
    }
}

impl Job {
    fn is_wanted(&self) -> bool {
        match &self.wants {
            Wants::Answer(answer) => !answer.is_closed(),
            Wants::Comparison(_) => true,
        }
    }

    fn finish(self, classified: Classified, counts: &JudgeCounts) {
        match self.wants {
            // Who asked may have given up.
            Wants::Answer(answer) => drop(answer.send(classified)),
            Wants::Comparison(in_force) => counts.observed.compare(&in_force, &classified),
        }
    }
}

/// Which threads to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadPlan {
    /// How many.
    pub threads: usize,
    /// Jobs that may wait.
    pub queue: usize,
    /// For a model that only watches: the system runs everything else first.
    pub yields: bool,
}

impl Threads {
    /// Builds a session per thread, then starts all.
    pub fn start(
        classifier: &Classifier,
        plan: ThreadPlan,
        counts: &Arc<JudgeCounts>,
    ) -> Result<Threads, ClassifierError> {
        let sessions =
            (0..plan.threads).map(|_| classifier.session()).collect::<Result<Vec<_>, _>>()?;
        let batch_max = if classifier.runs_on().gpu { BATCH_MAX } else { 1 };
        let (queue, jobs) = bounded(plan.queue);
        let state = Arc::<State>::default();
        for (index, session) in sessions.into_iter().enumerate() {
            let (jobs, state, counts) = (jobs.clone(), Arc::clone(&state), Arc::clone(counts));
            std::thread::Builder::new()
                .name(format!("classifier-{index}"))
                .spawn(move || {
                    if plan.yields {
                        crate::rt::be_nice(OBSERVER_NICENESS);
                    }
                    run(session, &jobs, batch_max, &state, &counts);
                })
                .map_err(|error| {
                    ClassifierError::Model(format!("a thread cannot be started: {error}"))
                })?;
        }
        Ok(Threads { queue, state })
    }

    /// Asks for a verdict; `None` when the queue is full. Who does not want to wait any longer drops
    /// the receiver.
    pub fn ask(&self, input: &Input<'_>) -> Option<oneshot::Receiver<Classified>> {
        // A full queue costs no copy.
        if self.queue.is_full() {
            return None;
        }
        let (answer, asked) = oneshot::channel();
        let job = Job { seen: Seen::new(input), wants: Wants::Answer(answer) };
        self.put(job).then_some(asked)
    }

    /// Throws away what waits, and waits until no thread computes: a library must not be computing
    /// while the process unloads it.
    pub fn come_to_rest(&self) {
        self.state.is_ending.store(true, SeqCst);
        let begun = Instant::now();
        while self.state.busy.load(SeqCst) > 0 && begun.elapsed() < REST_WITHIN {
            std::thread::sleep(REST_LOOK_EVERY);
        }
    }

    /// Puts a job into the queue. False when it is full.
    pub fn put(&self, job: Job) -> bool {
        match self.queue.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

fn run(
    mut session: CoreClassifier,
    jobs: &Receiver<Job>,
    batch_max: usize,
    state: &State,
    counts: &JudgeCounts,
) {
    let (mut batch, mut verdicts) = (Vec::with_capacity(batch_max), Vec::with_capacity(batch_max));
    while let Ok(job) = jobs.recv() {
        state.busy.fetch_add(1, SeqCst);
        batch.push(job);
        batch.extend(jobs.try_iter().take(batch_max - 1));
        // Nobody waits for these any more: the queue was slower than their deadline.
        batch.retain(|job| job.is_wanted() && !state.is_ending.load(SeqCst));
        let faults = session.faults();
        let inputs: Vec<Input<'_>> = batch.iter().map(|job| job.seen.input()).collect();
        // A panic, of a tokenizer for example, ends these jobs and not the thread; its buffers are
        // filled anew for each batch. Who asked hears that nobody will answer.
        let judged = catch_unwind(AssertUnwindSafe(|| {
            session.classify_batch(&inputs, &mut verdicts);
        }));
        let failed = match judged {
            Ok(()) => session.faults() - faults,
            Err(_) => {
                verdicts.clear();
                inputs.len() as u64
            }
        };
        counts.faults.fetch_add(failed, Relaxed);
        for (job, classified) in batch.drain(..).zip(verdicts.drain(..)) {
            job.finish(classified, counts);
        }
        state.busy.fetch_sub(1, SeqCst);
    }
}

//! Judging prompts: the classifier of a core, and what stands around it.
//!
//! In: a parsed request. Out: a verdict, from this core's cache, its own model, or a second one on
//! classifier threads ([`threads`]) that is waited for up to a deadline. What is in force ([`force`])
//! is replaced whole while requests run ([`swap`]). Never: text kept on a core after the verdict.

pub mod counts;
pub mod force;
pub mod swap;
pub mod threads;

use crate::core::Core;
use crate::rt;
use crate::stats::CoreStats;
use classifier::{
    CacheKey, Classified, CoreClassifier, Excerpt, Input, Stage, Structure, Turn, TurnType,
    VerdictCache, combine, turn_type,
};
use force::InForce;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use threads::{Job, Seen};
use tokio::sync::oneshot;
use wire::json;
use wire::request::{Parsed, Text};

/// Of a piece of text longer than this only head and tail are unescaped.
const PIECE_BYTES_WHOLE: usize = 8 * 1024;
/// Bytes of a long piece's head and of its tail that are unescaped: more than an excerpt takes.
const PIECE_BYTES_END: usize = 4 * 1024;
/// Pieces of a user's turn that are looked at.
const PIECES_MAX: usize = 64;
/// Comparisons that a core gathers between two ticks; more are left out and counted.
const COMPARISONS_MAX: usize = 64;

/// What a model is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It judges first.
    Main,
    /// It is asked where the first is unsure.
    Second,
    /// It is watched and decides nothing.
    Observe,
}

impl Role {
    /// The name in metrics and answers.
    pub fn name(self) -> &'static str {
        match self {
            Role::Main => "main",
            Role::Second => "second",
            Role::Observe => "observe",
        }
    }

    /// Where its folder is configured.
    pub fn setting(self) -> &'static str {
        match self {
            Role::Main => "classifier.model",
            Role::Second => "classifier.second",
            Role::Observe => "classifier.observe",
        }
    }
}

/// How a question to classifier threads ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// With a verdict in time.
    Answered,
    /// The deadline came first; the core's own verdict stood.
    Late,
    /// The queue was full; nobody was asked.
    QueueFull,
    /// The model failed on the input.
    Failed,
}

impl Asked {
    /// All; `ALL[i] as usize == i`.
    pub const ALL: [Asked; 4] = [Asked::Answered, Asked::Late, Asked::QueueFull, Asked::Failed];

    /// The label in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Asked::Answered => "answered",
            Asked::Late => "late",
            Asked::QueueFull => "queue_full",
            Asked::Failed => "failed",
        }
    }
}

/// The classifier of one core as it is in force, with the buffers for what it looks at.
pub struct CoreJudge {
    in_force: Arc<InForce>,
    classifier: CoreClassifier,
    cache: VerdictCache,
    reader: Reader,
    /// Verdicts to be compared with the observed model's, gathered until the next tick.
    comparisons: Vec<Job>,
    observed: Sampler,
}

/// What a core can say at once.
struct First {
    classified: Classified,
    /// What the verdict is to be remembered under.
    key: Option<CacheKey>,
    question: Option<Question>,
    /// What the observed model shall judge, too.
    observed: Option<Seen>,
}

/// A question to classifier threads.
struct Question {
    role: Role,
    /// `None` when the queue was full.
    answer: Option<oneshot::Receiver<Classified>>,
    in_force: Arc<InForce>,
}

/// The verdict on a parsed request, and what part it plays.
/// `agent` is the client's own word for an agent of its that asks.
pub async fn judge(
    core: &Core,
    body: &[u8],
    parsed: &Parsed,
    agent: Option<&str>,
) -> (Classified, TurnType) {
    let (first, turn, generation) = {
        let mut judge = core.judge.borrow_mut();
        let mut stats = core.stats.borrow_mut();
        let first = judge.first(core, &mut stats, body, parsed);
        let turn = judge.reader.turn(agent);
        stats.turns[turn as usize] += 1;
        (first, turn, judge.in_force.generation)
    };
    let (classified, is_final) = match first.question {
        None => (first.classified, true),
        Some(question) => question.settle(core, first.classified).await,
    };
    let remembered = first.key.filter(|_| is_final);
    if remembered.is_some() || first.observed.is_some() {
        let mut judge = core.judge.borrow_mut();
        // After a swap there is another cache, to which the key means nothing, and the verdict is not
        // one of what is in force.
        if judge.in_force.generation == generation {
            if let Some(key) = remembered {
                judge.cache.put(key, &classified);
            }
            if let Some(seen) = first.observed {
                judge.compare_later(core, seen.compared_with(&classified));
            }
        }
    }
    (classified, turn)
}

impl CoreJudge {
    /// A core's part of what is in force; `classifier` has the session of a model that runs inline.
    pub fn new(in_force: Arc<InForce>, classifier: CoreClassifier) -> CoreJudge {
        CoreJudge {
            cache: VerdictCache::new(in_force.config.cache_entries),
            in_force,
            classifier,
            reader: Reader::default(),
            comparisons: Vec::new(),
            observed: Sampler::default(),
        }
    }

    /// What is in force on this core.
    pub fn in_force(&self) -> &Arc<InForce> {
        &self.in_force
    }

    /// Hands the gathered comparisons to the observed model's threads. At a tick, so that no request
    /// waits for a thread to be woken.
    pub fn send_comparisons(&mut self, core: &Core) {
        let threads = self.in_force.observe.as_ref().and_then(|model| model.threads.as_ref());
        let Some(threads) = threads else { return };
        let dropped =
            self.comparisons.drain(..).filter_map(|job| (!threads.put(job)).then_some(()));
        let dropped = dropped.count() as u64;
        if dropped > 0 {
            core.shared.judge_counts.observed.dropped.fetch_add(dropped, Relaxed);
        }
    }

    /// Looks the verdict up or finds it, and asks for a better one where it should.
    fn first(&mut self, core: &Core, stats: &mut CoreStats, body: &[u8], parsed: &Parsed) -> First {
        self.reader.read(body, parsed);
        let input = self.reader.input();
        let key = (self.cache.capacity() > 0).then(|| self.cache.key(&input));
        if let Some(key) = key {
            if let Some(classified) = self.cache.get(key) {
                stats.cache_hits += 1;
                return First { classified, key: None, question: None, observed: None };
            }
            stats.cache_misses += 1;
        }
        let faults = self.classifier.faults();
        let classified = self.classifier.classify(&input);
        let has_failed = self.classifier.faults() > faults;
        if has_failed {
            core.shared.judge_counts.faults.fetch_add(1, Relaxed);
        }
        let question = self.in_force.adviser(&classified).map(|(role, threads)| Question {
            role,
            answer: threads.ask(&input),
            in_force: Arc::clone(&self.in_force),
        });
        let observed = self.observed.is_next(&self.in_force).then(|| Seen::new(&input));
        // What failed once may not fail the next time.
        let key = key.filter(|_| !has_failed);
        First { classified, key, question, observed }
    }

    fn compare_later(&mut self, core: &Core, job: Job) {
        if self.comparisons.len() < COMPARISONS_MAX {
            self.comparisons.push(job);
        } else {
            core.shared.judge_counts.observed.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Picks the observed share out of the verdicts, evenly.
#[derive(Default)]
struct Sampler {
    /// Grows by the share with each verdict; the one that brings it to 1 is picked.
    sum: f32,
}

impl Sampler {
    fn is_next(&mut self, in_force: &InForce) -> bool {
        if in_force.observe.is_none() {
            return false;
        }
        self.sum += in_force.config.observe_share;
        let is_next = self.sum >= 1.0;
        if is_next {
            self.sum -= 1.0;
        }
        is_next
    }
}

impl Question {
    /// The verdict of both, or the core's own when no answer comes in time; and whether it is what a
    /// later request should get, too: one for want of a better one is not.
    async fn settle(self, core: &Core, inline: Classified) -> (Classified, bool) {
        let Question { role, answer, in_force } = self;
        let asked = match answer {
            None => Err(Asked::QueueFull),
            Some(answer) => match rt::within(in_force.deadline(), answer).await {
                None => Err(Asked::Late),
                // What a thread says without its model, the core has said itself.
                Some(Ok(answer)) if answer.stage == Stage::Rules => Err(Asked::Failed),
                Some(Ok(answer)) => Ok(answer),
                // It ended in a panic.
                Some(Err(_)) => Err(Asked::Failed),
            },
        };
        let mut stats = core.stats.borrow_mut();
        match asked {
            Ok(answer) => {
                let classified = match role {
                    Role::Second => combine(&inline, &answer, in_force.config.second_weight),
                    Role::Main | Role::Observe => answer,
                };
                stats.asked[Asked::Answered as usize] += 1;
                if classified.verdict.task != inline.verdict.task {
                    stats.asked_changed += 1;
                }
                (classified, true)
            }
            Err(why) => {
                stats.asked[why as usize] += 1;
                (inline, false)
            }
        }
    }
}

/// Finds what is looked at of a request, and keeps it until the next one.
#[derive(Default)]
pub struct Reader {
    excerpt: Excerpt,
    /// Unescaped pieces of the prompt; of those in use the first is the system's, if there is one.
    pieces: Vec<String>,
    used: usize,
    has_system: bool,
    structure: Structure,
    max_output: Option<u32>,
}

impl Reader {
    /// Reads excerpt and form of a request.
    pub fn read(&mut self, body: &[u8], parsed: &Parsed) {
        self.used = 0;
        self.has_system = parsed.system.is_some();
        self.structure = structure(parsed);
        self.max_output = parsed.max_output;
        for &text in parsed.system.iter().chain(&parsed.last_user) {
            read_ends(body, text, &mut self.pieces, &mut self.used);
        }
        let mut system = None;
        let mut user = arrayvec::ArrayVec::<&str, PIECES_MAX>::new();
        for piece in self.pieces.iter().take(self.used) {
            match system {
                None if self.has_system => system = Some(piece.as_str()),
                // More than there can be are left out.
                _ => drop(user.try_push(piece)),
            }
        }
        self.excerpt.build_parts(system, &user);
    }

    /// What was read, for a classifier.
    pub fn input(&self) -> Input<'_> {
        Input { text: self.excerpt.as_str(), structure: self.structure }
    }

    /// What part the request plays in its client's work.
    pub fn turn(&self, agent: Option<&str>) -> TurnType {
        let mut pieces = self.pieces.iter().take(self.used).map(String::as_str);
        let system = if self.has_system { pieces.next() } else { None };
        turn_type(&Turn {
            structure: self.structure,
            system: system.as_slice(),
            last_user: pieces.next().unwrap_or_default(),
            max_output: self.max_output,
            agent_header: agent,
        })
    }
}

/// What the classifier is told of a request's form.
fn structure(parsed: &Parsed) -> Structure {
    let shape = &parsed.shape;
    Structure {
        has_tools: shape.tools > 0,
        tool_results: if shape.ends_with_tool_result { shape.tool_results } else { 0 },
        images: shape.turn_images,
        audio: shape.turn_media,
        json_schema: shape.json_schema,
        turns: shape.messages,
        system_chars: shape.system_bytes,
        total_chars: shape.text_bytes,
    }
}

/// Unescapes a piece of text into `pieces`: all of a short one, head and tail of a long one, so that
/// the cost does not grow with the prompt.
fn read_ends(body: &[u8], text: Text, pieces: &mut Vec<String>, used: &mut usize) {
    let raw = text.span.of(body);
    let mut put = |raw: &[u8]| {
        if pieces.len() == *used {
            pieces.push(String::new());
        }
        let piece = &mut pieces[*used];
        piece.clear();
        json::unescape_into(raw, PIECE_BYTES_WHOLE, piece);
        *used += 1;
    };
    if raw.len() <= PIECE_BYTES_WHOLE {
        return put(raw);
    }
    put(&raw[..escape_boundary(raw, PIECE_BYTES_END)]);
    put(&raw[escape_boundary(raw, raw.len() - PIECE_BYTES_END)..]);
}

/// A place near `at` (at most twelve bytes behind it) that is not inside of an escape: no backslash
/// stands in the six bytes before it, the length of the longest escape. Text that is all escapes has
/// no such place; then it is cut anyway, and one character of an excerpt is wrong.
fn escape_boundary(raw: &[u8], at: usize) -> usize {
    (at..raw.len().min(at + 12))
        .find(|&place| !raw[place.saturating_sub(6)..place].contains(&b'\\'))
        .unwrap_or(at)
}

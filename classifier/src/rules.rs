//! The verdict without a model: cue words, the shape of the text, and what a task usually needs.
//!
//! In: an [`Input`]. Out: probabilities and a verdict whose confidence is honest about being rules.
//! Also the priors that the model does not give: the expected length of an answer. Cost: one pass
//! over the tokens. Never: a runtime, a file, an allocation after the first call.

use models::{Task, Verdict};

use crate::core::{Classified, Coverage, Input, Stage};
use crate::cues::{CUES, SENSITIVE};
use crate::labels::{Domain, Kind};
use crate::ngrams::{Ngrams, pair_hash};
use crate::sensitivity::{self, Sensitive};
use crate::structure::Structure;

/// Tokens at either end in which a cue counts more: that is where people say what they want.
const NEAR_TOKENS: usize = 10;
const NEAR_FACTOR: f32 = 1.5;
/// Scores are summed logits of cues that overlap; this makes them about as sure as they are right.
const SHARPNESS: f32 = 0.6;
/// Below this a text without cues is small talk rather than a question.
const CHAT_TOKENS: usize = 4;

/// What a task usually needs, by hand: difficulty of a middling request, tokens of a middling
/// answer, and how many tokens the answer grows per token of text given.
#[rustfmt::skip]
const PRIORS: [(Task, f32, f32, f32); Task::COUNT] = [
    (Task::GeneralChat,      0.15, 120.0, 0.0),
    (Task::OpenQa,           0.40, 350.0, 0.0),
    (Task::ClosedQa,         0.35, 120.0, 0.0),
    (Task::Summarization,    0.35, 150.0, 0.1),
    (Task::CodeGeneration,   0.50, 700.0, 0.0),
    (Task::CodeEditDebug,    0.50, 450.0, 0.4),
    (Task::DataAnalysis,     0.45, 300.0, 0.1),
    (Task::Math,             0.50, 450.0, 0.0),
    (Task::LogicalReasoning, 0.55, 400.0, 0.0),
    (Task::Translation,      0.35,  30.0, 1.1),
    (Task::CreativeWriting,  0.40, 500.0, 0.0),
    (Task::Rewriting,        0.30,  40.0, 1.0),
    (Task::Classification,   0.30,  20.0, 0.0),
    (Task::Extraction,       0.35,  80.0, 0.3),
    (Task::AgentToolUse,     0.45, 150.0, 0.0),
    (Task::Brainstorming,    0.35, 400.0, 0.0),
    (Task::Multimodal,       0.40, 250.0, 0.0),
];

/// Logits that sensitive words must outweigh.
const SENSITIVE_BIAS: f32 = 3.0;
const CHARS_PER_TOKEN: f32 = 4.0;
/// An answer longer than this is never expected from the text's length alone.
const GROWTH_TOKENS_MAX: f32 = 8_000.0;

/// Cue table and scratch; one per thread.
#[derive(Debug)]
pub struct Rules {
    ngrams: Ngrams,
    cues: CueTable,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { ngrams: Ngrams::default(), cues: CueTable::build() }
    }
}

impl Rules {
    /// The verdict of the rules alone; `micros` is left 0 for the caller's clock.
    pub fn classify(&mut self, input: &Input<'_>) -> Classified {
        let Rules { ngrams, cues } = self;
        ngrams.read(input.text);
        judge(ngrams, cues, input)
    }

    /// As [`Rules::classify`], over features that were read already.
    pub(crate) fn judge(&self, ngrams: &Ngrams, input: &Input<'_>) -> Classified {
        judge(ngrams, &self.cues, input)
    }

    /// How sensitive the words of a text that was read are, findings apart.
    pub(crate) fn sensitivity(&self, ngrams: &Ngrams) -> f32 {
        logistic(self.cues.score(ngrams.tokens()).1 - SENSITIVE_BIAS)
    }
}

fn judge(ngrams: &Ngrams, cues: &CueTable, input: &Input<'_>) -> Classified {
    let tokens = ngrams.tokens();
    let (mut scores, sensitive) = cues.score(tokens);
    shape(&mut scores, ngrams);
    for score in &mut scores {
        *score *= SHARPNESS;
    }
    let mut probs = softmax(&scores);
    input.structure.shift(&mut probs);
    let (task, confidence, stage) = decide(&mut probs, &input.structure, Stage::Rules);
    let difficulty = input.structure.harder(prior_difficulty(task, ngrams));
    let by_words =
        Sensitive { sensitivity: logistic(sensitive - SENSITIVE_BIAS), kinds: [0.0; Kind::COUNT] };
    let sensitive = sensitivity::with_findings(by_words, &ngrams.findings());
    let verdict = Verdict {
        task,
        difficulty,
        sensitivity: sensitive.sensitivity,
        output_tokens: output_tokens(task, difficulty, input),
        confidence,
    };
    Classified {
        verdict: verdict.sane(),
        probs,
        domain: Domain::Other,
        domain_confidence: 0.0,
        kinds: sensitive.kinds,
        spread: 1.0,
        covers: Coverage::NONE,
        stage,
        micros: 0,
    }
}

/// The most probable task, or the one that the form demands (which then has all probability).
pub(crate) fn decide(
    probs: &mut [f32; Task::COUNT],
    structure: &Structure,
    otherwise: Stage,
) -> (Task, f32, Stage) {
    if let Some(task) = structure.certain() {
        *probs = [0.0; Task::COUNT];
        probs[task.index()] = 1.0;
        return (task, 1.0, Stage::Structure);
    }
    let best = (0..Task::COUNT).max_by(|&a, &b| probs[a].total_cmp(&probs[b])).unwrap_or(0);
    (Task::ALL[best], probs[best], otherwise)
}

/// Difficulty of a request of that task and of the length that was read.
pub(crate) fn prior_difficulty(task: Task, ngrams: &Ngrams) -> f32 {
    let length = (ngrams.tokens().len() as f32 / 60.0).ln_1p() * 0.08;
    PRIORS[task.index()].1 - 0.05 + length
}

/// Expected tokens of the visible answer: the task's usual length, longer for harder requests, plus
/// the part that grows with the text given.
pub(crate) fn output_tokens(task: Task, difficulty: f32, input: &Input<'_>) -> f32 {
    let (_, middling, usual, growth) = PRIORS[task.index()];
    let chars = input.structure.total_chars.max(input.text.len() as u32) as f32;
    let harder = (1.5 * (difficulty - middling)).exp();
    usual * harder + (growth * chars / CHARS_PER_TOKEN).min(GROWTH_TOKENS_MAX)
}

/// Tokens that the answer grows by because of the text beyond the excerpt, which a model did not see.
pub(crate) fn grown_tokens(task: Task, input: &Input<'_>) -> f32 {
    let growth = PRIORS[task.index()].3;
    let unseen = input.structure.total_chars.saturating_sub(input.text.len() as u32) as f32;
    (growth * unseen / CHARS_PER_TOKEN).min(GROWTH_TOKENS_MAX)
}

/// What the look of the text says: code, tables, formulas, questions.
fn shape(scores: &mut [f32; Task::COUNT], ngrams: &Ngrams) {
    let dense = ngrams.dense();
    let (digits, question, ticks, pipes) = (dense[4], dense[9], dense[11], dense[12]);
    let (braces, brackets, arithmetic) = (dense[13], dense[14], dense[15]);
    scores[Task::CodeEditDebug.index()] += 1.5 * ticks + 20.0 * (braces + 0.5 * brackets).min(0.15);
    scores[Task::DataAnalysis.index()] += 2.0 * pipes + 4.0 * digits.min(0.3);
    scores[Task::Math.index()] += 15.0 * arithmetic.min(0.15) + 6.0 * digits.min(0.2);
    scores[Task::OpenQa.index()] += 0.6 + question;
    if ngrams.tokens().len() <= CHAT_TOKENS {
        scores[Task::GeneralChat.index()] += 0.8;
    }
}

/// Probabilities of logits; finite for any finite input.
pub(crate) fn softmax<const N: usize>(logits: &[f32; N]) -> [f32; N] {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let mut probs = logits.map(|logit| (logit - most).exp());
    let sum: f32 = probs.iter().sum();
    for prob in &mut probs {
        *prob /= sum;
    }
    probs
}

/// The logistic function.
pub(crate) fn logistic(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Cues by the hash of their token or pair; open addressing in a power of two, half empty.
#[derive(Debug)]
struct CueTable {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    /// Task index, [`SENSITIVE_KIND`], or [`EMPTY`].
    kind: u8,
    weight: f32,
}

const SENSITIVE_KIND: u8 = u8::MAX - 1;
const EMPTY: u8 = u8::MAX;

impl CueTable {
    fn build() -> CueTable {
        let count = CUES.iter().map(|row| row.2.len()).sum::<usize>() + SENSITIVE.1.len();
        let empty = Slot { hash: 0, kind: EMPTY, weight: 0.0 };
        let mut table = CueTable { slots: vec![empty; (count * 3).next_power_of_two()] };
        let mut ngrams = Ngrams::default();
        for (task, weight, cues) in CUES {
            for cue in *cues {
                table.insert(&mut ngrams, cue, task.index() as u8, *weight);
            }
        }
        for cue in SENSITIVE.1 {
            table.insert(&mut ngrams, cue, SENSITIVE_KIND, SENSITIVE.0);
        }
        table
    }

    fn insert(&mut self, ngrams: &mut Ngrams, cue: &str, kind: u8, weight: f32) {
        ngrams.read(cue);
        let hash = match *ngrams.tokens() {
            [one] => one,
            [first, second] => pair_hash(first, second),
            _ => return, // a test of the cues forbids it
        };
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].kind != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = Slot { hash, kind, weight };
    }

    /// Summed weights per task, and of the sensitive cues.
    fn score(&self, tokens: &[u32]) -> ([f32; Task::COUNT], f32) {
        let mut scores = [0.0; Task::COUNT];
        let mut sensitive = 0.0;
        for (index, &token) in tokens.iter().enumerate() {
            let near = index < NEAR_TOKENS || index + NEAR_TOKENS >= tokens.len();
            let factor = if near { NEAR_FACTOR } else { 1.0 };
            let pair = tokens.get(index + 1).map(|&next| pair_hash(token, next));
            for hash in [Some(token), pair].into_iter().flatten() {
                self.each(hash, |kind, weight| match scores.get_mut(kind as usize) {
                    // The same cue again says little more: a score approaches its ceiling.
                    Some(score) => *score += factor * weight / (1.0 + *score),
                    None => sensitive += weight,
                });
            }
        }
        (scores, sensitive)
    }

    fn each(&self, hash: u32, mut visit: impl FnMut(u8, f32)) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].kind != EMPTY {
            if self.slots[at].hash == hash {
                visit(self.slots[at].kind, self.slots[at].weight);
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn input(text: &str) -> Input<'_> {
        Input { text, structure: Structure::default() }
    }

    #[test]
    fn plain_requests_are_recognised_without_a_model() {
        let mut rules = Rules::default();
        for (text, task) in [
            ("hi there!", Task::GeneralChat),
            ("What is the capital of Peru?", Task::OpenQa),
            (
                "Summarize this in two sentences: the meeting ran long and nothing was decided.",
                Task::Summarization,
            ),
            ("Write a Python script that renames files by date", Task::CodeGeneration),
            ("Translate \"where is the station\" into German", Task::Translation),
            ("帮我把这句话翻译成英文：今天很冷", Task::Translation),
            ("Classify the sentiment as positive or negative: I love it", Task::Classification),
            ("Extract all names and dates as JSON", Task::Extraction),
            ("Schreib mir ein Gedicht über den Herbst", Task::CreativeWriting),
            ("Перепиши вежливее: вы опоздали", Task::Rewriting),
            ("names for a bakery, any ideas", Task::Brainstorming),
        ] {
            let classified = rules.classify(&input(text));
            assert_eq!(classified.verdict.task, task, "{text}: {classified:?}");
            assert_eq!(classified.stage, Stage::Rules);
        }
    }

    #[test]
    fn priors_stand_in_the_order_of_tasks() {
        for (index, row) in PRIORS.iter().enumerate() {
            assert_eq!(row.0.index(), index);
        }
    }

    #[test]
    fn form_outranks_words() {
        let structure = Structure { images: 1, ..Structure::default() };
        let classified = Rules::default().classify(&Input { text: "Translate this", structure });
        assert_eq!(classified.verdict.task, Task::Multimodal);
        assert_eq!(classified.stage, Stage::Structure);
    }

    proptest! {
        #[test]
        fn any_text_gets_a_sane_verdict(text in "\\PC{0,400}", chars in any::<u32>()) {
            let structure = Structure { total_chars: chars, ..Structure::default() };
            let classified = Rules::default().classify(&Input { text: &text, structure });
            prop_assert_eq!(classified.verdict, classified.verdict.sane());
            prop_assert!((classified.probs.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }
    }
}

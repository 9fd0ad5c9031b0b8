//! Judging a classifier on labelled prompts: how often it is right, and what a verdict costs.
//!
//! In: JSON lines with a prompt (`text`, or `messages` as in `pointsman classify`) and what is known of it: any of
//! `task`, `difficulty` (0..1), `domain`, `sensitive` (0 or 1), `out_tokens`; `lang` and `source` name groups. Out: a
//! [`Judgement`] per contender. Each prompt is judged once and that one call is timed, so a figure of time is
//! that of a single verdict. Never: training, or a threshold chosen on these prompts.

pub mod figures;
pub mod table;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

use classifier::{Classified, CoreClassifier, Domain, Excerpt, Stage, lines};
use models::Task;
use serde::Serialize;
use serde_json::Value;

use figures::{Calibration, Grades, Ranked, Separation, Times};

/// Prompts of a group below this are counted in the group `other`.
const GROUP_LEAST: usize = 20;
/// Verdicts given before the first that counts: caches and branch predictors begin cold.
const WARM_UP: usize = 200;
/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = 64 << 20;

/// A labelled prompt.
#[derive(Clone, Debug)]
pub struct Row {
    /// The line, with `text` or `messages`.
    pub prompt: Value,
    /// The right task.
    pub task: Option<Task>,
    /// How hard it is, 0..1.
    pub difficulty: Option<f32>,
    /// What it is about.
    pub domain: Option<Domain>,
    /// Whether it holds something sensitive.
    pub sensitive: Option<bool>,
    /// Tokens of a good answer.
    pub output_tokens: Option<f32>,
    /// Language, `?` when the line names none.
    pub lang: String,
    /// Where it comes from, `?` when the line does not say.
    pub source: String,
    /// Bytes of the line's prompt.
    pub bytes: usize,
}

/// Why a file of rows cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {what}", file = .file.display())]
pub struct RowError {
    file: PathBuf,
    line: usize,
    what: String,
}

/// All figures of one contender.
#[derive(Debug, Serialize)]
pub struct Judgement {
    /// Who it is.
    pub contender: String,
    /// Task, over all prompts that name one.
    pub task: Grades,
    /// The same by source, language and length.
    pub by_source: Vec<(String, Grades)>,
    /// By language.
    pub by_language: Vec<(String, Grades)>,
    /// By bytes of the prompt.
    pub by_length: Vec<(String, Grades)>,
    /// By the right task: the share that was found.
    pub recall: Vec<(String, usize, f64)>,
    /// `confusion[right][said]`, in the order of `tasks`.
    pub confusion: Vec<Vec<usize>>,
    /// Names of the rows and columns of `confusion`.
    pub tasks: Vec<&'static str>,
    /// How far confidence is from the share that is right.
    pub calibration: Calibration,
    /// Difficulty against the label.
    pub difficulty: Option<Ranked>,
    /// Logarithm of the tokens of the answer against the label's.
    pub output_tokens: Option<Ranked>,
    /// Share of right domains, and of how many.
    pub domain: Option<(f64, usize)>,
    /// Sensitive against harmless prompts.
    pub sensitivity: Option<Separation>,
    /// Verdicts by the stage that gave them.
    pub stages: Vec<(&'static str, usize)>,
    /// Time of single verdicts, excerpt included.
    pub micros: Times,
    /// The same by bytes of the prompt.
    pub micros_by_length: Vec<(String, Times)>,
}

/// Reads a file of JSON lines, packed by gzip when its name ends so.
pub fn read(path: &Path) -> Result<Vec<Row>, RowError> {
    let failed = |line, what: String| RowError { file: path.to_owned(), line, what };
    let file = File::open(path).map_err(|error| failed(0, error.to_string()))?;
    let mut reader: Box<dyn BufRead> = match path.extension() {
        Some(extension) if extension == "gz" => {
            Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file)))
        }
        _ => Box::new(BufReader::new(file)),
    };
    let mut rows = Vec::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let limited = &mut std::io::Read::take(&mut reader, LINE_BYTES_MAX as u64);
        let read = limited.read_line(&mut line);
        let bytes = read.map_err(|error| failed(number, error.to_string()))?;
        if bytes == 0 {
            break;
        }
        if bytes == LINE_BYTES_MAX {
            return Err(failed(number, format!("the line is longer than {LINE_BYTES_MAX} bytes")));
        }
        if !line.trim().is_empty() {
            rows.push(row(&line).map_err(|what| failed(number, what))?);
        }
    }
    Ok(rows)
}

fn row(line: &str) -> Result<Row, String> {
    let prompt: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let text = |field: &str| prompt[field].as_str().map(str::to_owned);
    let named = |field: &str, all: String| {
        format!("\"{field}\" is {}; one of {all} would do", prompt[field])
    };
    let task = match text("task") {
        None => None,
        Some(name) => Some(
            Task::from_name(&name)
                .ok_or_else(|| named("task", Task::ALL.map(Task::name).join(", ")))?,
        ),
    };
    let domain = match text("domain") {
        None => None,
        Some(name) => {
            let found = Domain::ALL.into_iter().find(|domain| domain.name() == name);
            Some(found.ok_or_else(|| named("domain", Domain::ALL.map(Domain::name).join(", ")))?)
        }
    };
    let number = |field: &str| prompt[field].as_f64().map(|number| number as f32);
    let sensitive = match &prompt["sensitive"] {
        Value::Bool(sensitive) => Some(*sensitive),
        other => other.as_f64().map(|number| number > 0.5),
    };
    let bytes = match prompt["text"].as_str() {
        Some(text) => text.len(),
        None => prompt["messages"].to_string().len(),
    };
    Ok(Row {
        task,
        difficulty: number("difficulty"),
        domain,
        sensitive,
        output_tokens: number("out_tokens").filter(|tokens| *tokens >= 1.0),
        lang: text("lang").unwrap_or_else(|| "?".to_owned()),
        source: text("source").unwrap_or_else(|| "?".to_owned()),
        bytes,
        prompt,
    })
}

/// Classifies rows by a model or by the rules.
pub struct Judge {
    core: CoreClassifier,
    excerpt: Excerpt,
}

impl Judge {
    /// One that asks `core`.
    pub fn new(core: CoreClassifier) -> Judge {
        Judge { core, excerpt: Excerpt::default() }
    }

    /// The verdict on one row.
    pub fn verdict(&mut self, row: &Row) -> Result<Classified, &'static str> {
        lines::classify_value(&mut self.core, &mut self.excerpt, &row.prompt)
    }
}

/// Judges `contender` on all rows, in an order that mixes sources and lengths.
pub fn judge(
    contender: &str,
    rows: &[Row],
    mut verdict: impl FnMut(&Row) -> Result<Classified, &'static str>,
    mut progress: impl FnMut(usize),
) -> Result<Judgement, String> {
    let order = mixed(rows.len());
    let failed = |at: usize, what| format!("row {} of {contender}: {what}", at + 1);
    for &at in order.iter().rev().take(WARM_UP) {
        verdict(&rows[at]).map_err(|what| failed(at, what))?;
    }
    let mut verdicts = vec![None; rows.len()];
    for (done, &at) in order.iter().enumerate() {
        let begun = Instant::now();
        let classified = verdict(&rows[at]).map_err(|what| failed(at, what))?;
        verdicts[at] = Some((classified, begun.elapsed().as_nanos() as u64));
        if done % 256 == 0 {
            progress(done);
        }
    }
    let judged: Vec<Judged<'_>> = rows
        .iter()
        .zip(verdicts)
        .filter_map(|(row, found)| {
            found.map(|(classified, nanos)| Judged { row, classified, nanos })
        })
        .collect();
    Ok(judgement(contender, &judged))
}

struct Judged<'a> {
    row: &'a Row,
    classified: Classified,
    nanos: u64,
}

fn judgement(contender: &str, judged: &[Judged<'_>]) -> Judgement {
    let tasked: Vec<(&Judged<'_>, Task)> =
        judged.iter().filter_map(|judged| Some((judged, judged.row.task?))).collect();
    let pair = |(judged, right): &(&Judged<'_>, Task)| {
        (right.index(), judged.classified.verdict.task.index())
    };
    let pairs: Vec<(usize, usize)> = tasked.iter().map(pair).collect();
    let by = |name: &dyn Fn(&Row) -> String| {
        let names = tasked.iter().map(|(judged, _)| name(judged.row));
        figures::grouped(names.zip(pairs.iter().copied()), GROUP_LEAST)
            .into_iter()
            .map(|(group, pairs)| (group, Grades::of(&pairs)))
            .collect()
    };
    let mut confusion = vec![vec![0; Task::COUNT]; Task::COUNT];
    for &(right, said) in &pairs {
        confusion[right][said] += 1;
    }
    let recall = Task::ALL
        .into_iter()
        .filter_map(|task| {
            let row = &confusion[task.index()];
            let count = row.iter().sum::<usize>();
            let share = row[task.index()] as f64 / count as f64;
            (count > 0).then(|| (task.name().to_owned(), count, share))
        })
        .collect();
    let sure = tasked.iter().map(|(judged, right)| {
        let verdict = judged.classified.verdict;
        (verdict.confidence, verdict.task == *right)
    });
    let known = |label: fn(&Row) -> Option<f32>, said: fn(&Classified) -> f32| {
        let pairs = judged.iter().filter_map(|j| Some((said(&j.classified), label(j.row)?)));
        Ranked::of(&pairs.collect::<Vec<_>>())
    };
    let domains: Vec<bool> = judged
        .iter()
        .filter_map(|judged| Some(judged.row.domain? == judged.classified.domain))
        .collect();
    let right = domains.iter().filter(|right| **right).count();
    let sensitive: Vec<(f32, bool)> = judged
        .iter()
        .filter_map(|j| Some((j.classified.verdict.sensitivity, j.row.sensitive?)))
        .collect();
    let stages = Stage::ALL
        .into_iter()
        .map(|stage| {
            let count = judged.iter().filter(|judged| judged.classified.stage == stage).count();
            (stage.name(), count)
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    let nanos = judged.iter().map(|judged| (length(judged.row), judged.nanos));
    Judgement {
        contender: contender.to_owned(),
        task: Grades::of(&pairs),
        by_source: by(&|row| row.source.clone()),
        by_language: by(&|row| row.lang.clone()),
        by_length: by(&length),
        recall,
        confusion,
        tasks: Task::ALL.map(Task::name).to_vec(),
        calibration: Calibration::of(sure),
        difficulty: known(|row| row.difficulty, |said| said.verdict.difficulty),
        output_tokens: known(
            |row| row.output_tokens.map(f32::ln),
            |said| said.verdict.output_tokens.max(1.0).ln(),
        ),
        domain: (!domains.is_empty()).then(|| (right as f64 / domains.len() as f64, domains.len())),
        sensitivity: Separation::of(&sensitive),
        stages,
        micros: Times::of(nanos.clone().map(|(_, nanos)| nanos)),
        micros_by_length: figures::grouped(nanos, 1)
            .into_iter()
            .map(|(group, nanos)| (group, Times::of(nanos.into_iter())))
            .collect(),
    }
}

/// The class of a prompt's length; names sort by it.
fn length(row: &Row) -> String {
    let classes = [(80, "1: <80 B"), (300, "2: <300 B"), (1_800, "3: <1800 B")];
    let found = classes.into_iter().find(|(most, _)| row.bytes < *most);
    found.map_or("4: longer", |(_, name)| name).to_owned()
}

/// The numbers below `count` in an order that is always the same and has nothing to do with theirs: rows of
/// one source stand together in their file, and a cache would favour them.
fn mixed(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&at| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_label_is_named_with_its_line() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        std::io::Write::write_all(
            &mut file,
            b"{\"text\":\"a\"}\n\n{\"text\":\"b\",\"task\":\"poetry\"}\n",
        )
        .expect("writes");
        let error = read(file.path()).expect_err("poetry is none").to_string();
        assert!(error.contains(":3: \"task\" is \"poetry\"; one of general_chat"), "{error}");
    }

    #[test]
    fn rows_keep_what_they_say_and_no_more() {
        let full = r#"{"text":"héy","task":"math","difficulty":0.5,"domain":"law","sensitive":1,"out_tokens":20,"lang":"en","source":"s"}"#;
        let full = row(full).expect("reads");
        assert_eq!(full.task, Some(Task::Math));
        assert_eq!(full.domain, Some(Domain::Law));
        assert_eq!((full.difficulty, full.sensitive), (Some(0.5), Some(true)));
        assert_eq!((full.lang.as_str(), full.source.as_str(), full.bytes), ("en", "s", 4));
        let bare = row(r#"{"text":"x"}"#).expect("reads");
        assert_eq!((bare.task, bare.difficulty, bare.sensitive), (None, None, None));
        assert_eq!((bare.lang.as_str(), bare.output_tokens), ("?", None));
    }

    #[test]
    fn the_rules_are_judged_from_end_to_end() {
        let texts =
            [("Summarize this thread", "summarization"), ("Translate hello into French", "math")];
        let rows: Vec<Row> = texts
            .iter()
            .map(|(text, task)| serde_json::json!({ "text": text, "task": task, "lang": "en" }))
            .map(|line| row(&line.to_string()).expect("reads"))
            .collect();
        let mut rules = Judge::new(CoreClassifier::rules_only());
        let judged = judge("rules", &rows, |row| rules.verdict(row), |_| {}).expect("judges");
        assert_eq!((judged.task.n, judged.task.accuracy), (2, 0.5));
        assert_eq!(judged.stages, [("rules", 2)]);
        let said = judged.confusion[Task::Math.index()][Task::Translation.index()];
        assert_eq!(said, 1);
        assert_eq!(judged.by_language[0].0, "other", "two rows make no group");
    }
}

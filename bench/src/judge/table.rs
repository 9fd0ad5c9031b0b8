//! A judgement as people read it.
//!
//! In: [`Judgement`]s on the same prompts. Out: text.

use std::fmt::Write as _;

use comfy_table::{Table, presets};

use super::Judgement;
use super::figures::Grades;

/// Pairs of tasks that are shown: those that are mistaken most.
const MISTAKES_SHOWN: usize = 12;

/// All contenders side by side, then each in parts.
pub fn render(judgements: &[Judgement]) -> String {
    let mut text = format!("{}\n", overview(judgements));
    for judgement in judgements {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n{}, in parts\n{}", judgement.contender, parts(judgement));
        let _ = writeln!(text, "\nmistaken most\n{}", mistakes(judgement));
    }
    text.push_str(
        "\nµs: single verdicts, one per prompt, excerpt included; of two stages without the way between threads. ECE: expected calibration error over ten \
         bins. Recall at 1 %: sensitive prompts above the score that one in a hundred harmless ones exceeds.\n",
    );
    text
}

/// Accuracy against time: a line per contender.
pub fn overview(judgements: &[Judgement]) -> Table {
    let mut table = new_table([
        "",
        "prompts",
        "accuracy",
        "macro-F1",
        "ECE",
        "difficulty ρ",
        "domain",
        "sensitive AUROC",
        "recall at 1 %",
        "length ρ",
        "µs p50",
        "µs p99",
        "µs mean",
    ]);
    for j in judgements {
        let or_dash = |number: Option<f64>| number.map_or_else(|| "–".to_owned(), three);
        table.add_row([
            j.contender.clone(),
            j.task.n.to_string(),
            three(j.task.accuracy),
            three(j.task.macro_f1),
            three(j.calibration.error),
            or_dash(j.difficulty.as_ref().map(|ranked| ranked.spearman)),
            or_dash(j.domain.map(|(share, _)| share)),
            or_dash(j.sensitivity.as_ref().map(|separation| separation.auroc)),
            or_dash(j.sensitivity.as_ref().map(|separation| separation.recall_at_1_percent)),
            or_dash(j.output_tokens.as_ref().map(|ranked| ranked.spearman)),
            format!("{:.1}", j.micros.p50),
            format!("{:.1}", j.micros.p99),
            format!("{:.1}", j.micros.mean),
        ]);
    }
    table
}

fn parts(judgement: &Judgement) -> Table {
    let mut table = new_table(["", "", "prompts", "accuracy", "macro-F1", "µs p50", "µs p99"]);
    let mut add = |kind: &str, (name, grades): &(String, Grades), times: [String; 2]| {
        let [p50, p99] = times;
        let (accuracy, f1) = (three(grades.accuracy), three(grades.macro_f1));
        table.add_row([
            kind.to_owned(),
            name.clone(),
            grades.n.to_string(),
            accuracy,
            f1,
            p50,
            p99,
        ]);
    };
    for part in &judgement.by_length {
        let times = judgement.micros_by_length.iter().find(|(name, _)| *name == part.0);
        let times = times.map(|(_, times)| [times.p50, times.p99].map(|us| format!("{us:.1}")));
        add("length", part, times.unwrap_or_default());
    }
    for part in &judgement.by_language {
        add("language", part, Default::default());
    }
    for part in &judgement.by_source {
        add("source", part, Default::default());
    }
    for (name, count, share) in &judgement.recall {
        let row = ["task", name, &count.to_string(), &three(*share), "", "", ""];
        table.add_row(row.map(str::to_owned));
    }
    table
}

fn mistakes(judgement: &Judgement) -> Table {
    let mut table = new_table(["is", "was called", "prompts", "of"]);
    let mut pairs = Vec::new();
    for (right, row) in judgement.tasks.iter().zip(&judgement.confusion) {
        let all: usize = row.iter().sum();
        let wrong = judgement.tasks.iter().zip(row).filter(|(said, n)| *said != right && **n > 0);
        pairs.extend(wrong.map(|(said, n)| (*n, *right, *said, all)));
    }
    pairs.sort_by(|a, b| b.cmp(a));
    for (count, right, said, all) in pairs.into_iter().take(MISTAKES_SHOWN) {
        table.add_row([right.to_owned(), said.to_owned(), count.to_string(), all.to_string()]);
    }
    table
}

fn three(number: f64) -> String {
    format!("{number:.3}")
}

fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    // Long tables, and ones that go into documents.
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table
}

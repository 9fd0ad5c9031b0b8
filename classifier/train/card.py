"""Renders MODEL_CARD.md: what the model is, what it was made of, how good it is, where it fails."""

import collections

TEXT = """# Model card: task, version {version}

Written by `classifier/train/train.py`; do not edit by hand.

**What it does.** For an excerpt of at most 2,043 bytes of a conversation it says which of 17 kinds of
work is asked for, how hard it is (0..1), and how likely the text is sensitive (0..1). The router chooses
a language model with it. It does not read images, and it is not a safety or privacy filter.

**How it is made.** Hashed n-grams (words, pairs of words, 3 to 5 characters inside words, CJK characters, the
first and last words) pick rows of an i8 table of {rows} × {width}; their means per group and {dense} dense
features go through one hidden layer of {hidden}. The exact features are defined in
`classifier/src/ngrams.rs`. Training: {epochs} epochs, natural prompts {natural_weight} times, word dropout
{word_dropout}, seed {seed}, on a CPU in minutes. The task logits are divided by a temperature fitted on the
natural prompts of `dev`.

**Licence of the weights:** {licence}. Some of the data are share-alike; taking their licence for the weights is the careful reading.

## Figures

`dev` prompts are not in training, but most come from the same sources: such a figure says that sources are
recognised. *Left out* is the honest one: whole collections were kept out of training and then judged.

{figures}

## Limits

- One annotator per natural prompt; `dev` has {natural_n} of them, so a difference below about 4 points is noise.
- A short "why" question can be taken for reading comprehension ("Why is the sky blue?" is, narrowly).
- Weakest: logical reasoning, rewriting and creative writing in languages other than English; Chinese questions without a
  question mark; plain questions that look like reading comprehension without their passage.
- Difficulty is learnt from exam questions, competition mathematics and one annotator's judgement. Read it as an
  order, not as a probability.
- Sensitivity is learnt mostly from generated examples. It knows nothing of confidential content that does not look so.
- A long system prompt pulls short user turns towards small talk; short ones and those that state the task are handled.
- Only the last user turn and the head of the system prompt are seen.

## Data

Rows of the training split; no row of it is in this repository. `P3` is the public pool of prompts through the
`self-instruct` repository; its licences are those of the underlying sets as generally known.

{data}
"""

DIFFICULTY_LICENCES = {
    "mmlu_pro": "MIT (MMLU, MMLU-Pro)",
    "GSM8K train": "MIT (GSM8K, OpenAI)",
    "ze_gsm": "MIT (GSM8K, OpenAI)",
    "MATH (AGIEval)": "MIT (MATH, Hendrycks)",
    "ze_math_l5": "MIT (MATH, Hendrycks)",
}


def render(o, version, licence, figures, train_rows, dense):
    return TEXT.format(
        version=version, licence=licence, rows=f"{(1 << o.words_log2) + (1 << o.chars_log2):,}",
        width=o.width, dense=dense, hidden=o.hidden, epochs=o.epochs, natural_weight=o.natural_weight,
        word_dropout=o.word_dropout, seed=o.seed, figures=figure_tables(figures),
        natural_n=figures["natural"]["n"], data=data_table(train_rows),
    )  # fmt: skip


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows])


def figure_tables(f):
    def row(name, s):
        return [name, s["n"], f"{s['accuracy']:.3f}", f"{s['macro_f1']:.3f}"]

    main = [row("known sources, `dev`", f["tasks"]), row("natural prompts, `dev`", f["natural"])]
    left = f.get("left_out")
    if left:
        main.append(row("**left out:** whole collections of known sources", left["sources"]))
        main.append(row("**left out:** all natural prompts", left["natural"]))
        main.append(row("**left out:** natural prompts, English", left["natural_english"]))
    natural = f["natural"]
    other = [
        ["calibration error of the task, natural `dev` (temperature from the other half)", natural["calibration_error_crossed"]],
        ["difficulty, Spearman, natural `dev`", natural["difficulty_spearman"]],
        ["difficulty, mean absolute error, natural `dev`", natural["difficulty_mean_error"]],
        *[[f"difficulty, Spearman, {k} `dev`", v] for k, v in f["difficulty_spearman"].items()],
        ["sensitivity, AUROC, natural `dev`", natural["sensitivity_auroc"]],
        ["sensitivity, AUROC, known sources `dev`", f["sensitivity_auroc"]],
    ]
    parts = [table(["task", "n", "accuracy", "macro-F1"], main), table(["other", "figure"], other)]
    for key in ("by_language", "by_length"):
        parts.append(table([f"natural `dev` {key.replace('_', ' ')}", "n", "accuracy", "macro-F1"], [row(k, v) for k, v in natural[key].items()]))
    parts.append(table(["task", "recall, natural `dev`", "recall, known sources"], [[k, natural["by_task"].get(k, "-"), v] for k, v in f["tasks"]["by_task"].items()]))
    source = left["by_source"] if left else f["tasks"]["by_source"]
    parts.append(table([f"collection{', left out' if left else ''}", "n", "accuracy", "macro-F1"], [row(k, v) for k, v in source.items()]))
    return "\n\n".join(parts)


def data_table(train_rows):
    count = collections.Counter()
    for name, rows in train_rows.items():
        for r in rows:
            source = r.source.removesuffix(" (negative)").split(":")[0].removesuffix("+templates")
            count[name, source, r.licence or DIFFICULTY_LICENCES.get(r.source, "?")] += 1
    order = sorted(count.items(), key=lambda item: (item[0][0], -item[1]))
    return table(["set", "source", "licence, attribution", "rows"], [[*key, n] for key, n in order])

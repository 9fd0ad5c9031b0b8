"""Renders MODEL_CARD.md: what the model is, what it was made of, how good it is, where it fails."""

import collections

TEXT = """# Model card: task, version {version}

Written by `classifier/train/train.py`; do not edit by hand.

**What it does.** For an excerpt of at most 2,043 bytes of a conversation it says which of 17 kinds of
work is asked for, how hard it is (0..1), what it is about (14 domains), how likely the text is sensitive (0..1)
and in which ways (6 kinds), and how long a good answer will be (mean and spread of the logarithm of its
tokens). The router chooses a language model with it. It does not read images, and it is not a safety or
privacy filter.

**How it is made.** Hashed n-grams (words, pairs of words, 3 to 5 characters inside words, CJK characters, the
first and last words and pairs) pick rows of an i8 table of {rows} × {width}; their means per group and {dense} dense
features go through one hidden layer of {hidden}. The dense features are the look of the text, exact findings
(cards, IBAN, keys, ...) and where the concepts of `classifier/data/lexicon.txt` occur, a list of words in two
dozen languages written by hand. `classifier/src/ngrams.rs` defines the features. Training: {epochs} epochs, natural
prompts {natural_weight:g} times, {variants_weight:.0%} of that as variants (openers, closers, case, marks, cuts, system
prompts), {composed} rows of own instructions over texts of the collections, {exams} questions in the wrappers of exams,
word dropout {word_dropout}, seed {seed}, on a CPU in minutes. The task logits are divided by a temperature fitted on
authors that were left out.

**Licence of the weights:** {licence}. Some of the data are share-alike; taking their licence for the weights is the careful reading.

## Figures

*Left out* is the honest figure: an author of natural prompts, together with a share of the collections, was kept
out of training and then judged; every author and collection once. `dev` prompts are not in training, but most
come from known sources: such a figure says that sources are recognised. The lexicon was written by hand; after a
look at errors on left-out prompts it was widened once, and the number of epochs and the weights of the data were
chosen on the same folds, so the figures are a little kind to the model.

{figures}

## Limits

- One annotator per natural prompt; labels of different authors differ, a difference below about 3 points is noise.
- All authors wrote for this project from the same definitions of the labels. Who did not will be harder to read.
- Exam collections that are left out are weak: their wrappers look like questions about a passage or like plain
  questions, whatever their content.
- Difficulty is learnt from exam questions, competition mathematics and the annotators' judgement. Read it as an
  order, not as a probability.
- The length of an answer is an author's estimate for natural prompts, and 4 characters per token for exams.
- Confidential content that carries no sign of it (no names, no numbers, no such words) is not seen.
- Only the last user turn and the head of the system prompt are seen.

## Data

Rows of the training split; of these only `prompts` is in this repository (`classifier/train/prompts`). `P3` is the
public pool of prompts through the `self-instruct` repository; its licences are those of the underlying sets as
generally known.

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
        width=o.width, dense=dense, hidden=o.hidden, epochs=o.epochs, natural_weight=o.natural_weight, variants_weight=o.variants_weight,
        composed=o.composed, exams=o.exams,
        word_dropout=o.word_dropout, seed=o.seed, figures=figure_tables(figures), data=data_table(train_rows),
    )  # fmt: skip


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows])


def figure_tables(figures):
    left, known = figures["left_out"], figures["known"]

    def row(name, s):
        return [name, s["n"], f"{s['accuracy']:.3f}", f"{s['macro_f1']:.3f}"]

    main = [
        row("**left out:** natural prompts, all languages", left["natural"]),
        row("**left out:** natural prompts, English", left["natural_english"]),
        row("**left out:** collections", left["tasks"]),
        row("**left out:** natural prompts and collections", left["all"]),
        row("known sources, `dev`", known["tasks"]),
        row("natural prompts, `dev`, the same author known", known["natural"]),
    ]
    other = [["calibration error, left-out natural prompts (temperature of the other authors)", left["calibration_error"]]]
    names = {
        "difficulty_spearman": "difficulty, Spearman", "difficulty_mean_error": "difficulty, mean absolute error",
        "sensitivity_auroc": "sensitivity, AUROC", "sensitivity_recall_at_1": "sensitivity, recall at 1 % false positives",
        "domain_accuracy": "domain, accuracy", "tokens_spearman": "tokens of the answer, Spearman",
        "tokens_error": "tokens of the answer, mean absolute error of the logarithm",
    }  # fmt: skip

    def others(where, part):
        other.extend([f"{text}, {where}", part[key]] for key, text in names.items() if key in part)

    others("left-out natural prompts", left["natural"])
    others("left-out sets", left["sensitivity"])
    others("left-out exams", left["difficulty"]["all"])
    others("known natural `dev`", known["natural"])
    others("known sets `dev`", known["sensitivity"])
    for source, part in known["difficulty"].items():
        others(f"{source} `dev`", part)
    parts = [table(["task", "n", "accuracy", "macro-F1"], main), table(["other heads", "figure"], other)]
    head = ["n", "accuracy", "macro-F1"]
    parts.append(table(["author, left out", *head], [row(k, v) for k, v in left["authors"].items()]))
    parts.append(table(["language, left-out natural prompts", *head], [row(k, v) for k, v in left["natural"]["by_language"].items()]))
    parts.append(table(["length, left-out natural prompts", *head], [row(k, v) for k, v in left["natural"]["by_length"].items()]))
    recall = [[k, v, known["tasks"]["by_task"].get(k, "-")] for k, v in left["natural"]["by_task"].items()]
    parts.append(table(["task", "recall, left-out natural prompts", "recall, known sources"], recall))
    parts.append(table(["collection, left out", *head], [row(k, v) for k, v in left["tasks"]["by_source"].items()]))
    return "\n\n".join(parts)


def data_table(train_rows):
    count = collections.Counter()
    for name, rows in train_rows.items():
        for r in rows:
            source = r.source.removesuffix(" (negative)").split(":")[0].removesuffix("+templates")
            count[name, source, r.licence or DIFFICULTY_LICENCES.get(r.source, "?")] += 1
    order = sorted(count.items(), key=lambda item: (item[0][0], -item[1]))
    return table(["set", "source", "licence, attribution", "rows"], [[*key, n] for key, n in order])

"""Figures: accuracy, macro-F1, calibration, rank correlation; by source, language and length."""

import collections

import numpy as np

import data as sets
import net as network
from net import logistic, softmax


def macro_f1(truth, best):
    """Over the classes that occur in the truth."""
    scores = []
    for c in np.unique(truth):
        hit = np.sum((truth == c) & (best == c))
        scores.append(2 * hit / max(np.sum(truth == c) + np.sum(best == c), 1))
    return float(np.mean(scores))


def calibration_error(probs, truth, bins=10):
    """Expected calibration error: |confidence - accuracy|, weighted, over equal-width bins."""
    confidence, right = probs.max(1), probs.argmax(1) == truth
    where = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[where == b].mean() - right[where == b].mean()) * np.sum(where == b) for b in np.unique(where)]
    return float(np.sum(gaps) / len(truth))


def temperature(logits, truth):
    """The divisor of the logits with the least log-loss."""
    grid = np.exp(np.linspace(np.log(0.4), np.log(4.0), 93))
    losses = [-np.log(softmax(logits / t)[np.arange(len(truth)), truth] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


def ranks(x):
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]


def spearman(a, b):
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def auroc(score, label):
    r, positive = ranks(score), label > 0.5
    n = positive.sum()
    return float((r[positive].sum() - n * (n + 1) / 2) / (n * (len(label) - n)))


def pair(truth, best):
    return {"n": len(truth), "accuracy": round(float(np.mean(truth == best)), 3), "macro_f1": round(macro_f1(truth, best), 3)}


def grouped(keys, truth, best, least=20):
    """Small groups go to `other`."""
    count = collections.Counter(keys)
    keys = np.array([k if count[k] >= least else "other" for k in keys])
    return {k: pair(truth[keys == k], best[keys == k]) for k in sorted(set(keys))}


def length_class(row):
    size = len(row.text.encode())
    return next((name for most, name in ((80, "1: <80 B"), (300, "2: <300 B"), (1800, "3: <1800 B")) if size < most), "4: longer")


def by_column(rows, z, column, label):
    """Scores and labels of the rows whose label is known."""
    y = np.array([getattr(r, label) for r in rows], float)
    known = ~np.isnan(y)
    return z[known, column], y[known]


def recall_at(score, label, false_positives=0.01):
    """Share of the sensitive ones above the score that so many harmless ones exceed."""
    return float(np.mean(score[label > 0.5] > np.quantile(score[label < 0.5], 1 - false_positives)))


# Where `classifier/src/detect.rs` puts what identifies a person or opens a door: cards, IBANs, ids, keys,
# private keys, passwords. `classifier/src/sensitivity.rs` raises the number of a text that has one.
FINDINGS, FOUND = slice(52, 58), 0.97
# Sensitivity with the exact detectors, beside the outputs of the network.
SERVED = network.HEADS


def served(model, data):
    """The outputs, and sensitivity as serving gives it: the head's, raised by what was found."""
    z = model.outputs(data)
    found = data.dense[:, FINDINGS].max(1) > 0
    sensitivity = z[:, network.SENSITIVE]
    raised = np.where(found, np.maximum(sensitivity, np.log(FOUND / (1 - FOUND))), sensitivity)
    return np.column_stack([z, raised])


def task_figures(rows, z, least=20):
    """Accuracy and macro-F1 of a list of judged rows, whole and in parts."""
    truth, best = np.array([r.task for r in rows]), z[:, network.TASK].argmax(1)
    out = pair(truth, best)
    out["by_language"] = grouped([r.lang for r in rows], truth, best, least)
    out["by_length"] = grouped([length_class(r) for r in rows], truth, best, least)
    out["by_source"] = grouped([r.family for r in rows], truth, best, least)
    out["by_task"] = {sets.TASKS[t]: round(float(np.mean(best[truth == t] == t)), 3) for t in np.unique(truth)}
    return out


def other_figures(rows, z):
    """The heads beside the task, where the rows have labels."""
    out = {}
    score, label = by_column(rows, z, network.DIFFICULTY, "difficulty")
    if len(label) > 20:
        out["difficulty_spearman"] = round(spearman(score, label), 3)
        out["difficulty_mean_error"] = round(float(np.abs(logistic(score) - label).mean()), 3)
    for name, column in (("sensitivity", SERVED), ("sensitivity_head", network.SENSITIVE)):
        score, label = by_column(rows, z, column, "sensitive")
        if 0 < label.sum() < len(label):
            out[f"{name}_auroc"] = round(auroc(score, label), 3)
            out[f"{name}_recall_at_1"] = round(recall_at(score, label), 3)
    known = [i for i, r in enumerate(rows) if r.domain >= 0]
    if known:
        truth = np.array([rows[i].domain for i in known])
        out["domain_accuracy"] = round(float(np.mean(z[known, network.DOMAIN].argmax(1) == truth)), 3)
    score, label = by_column(rows, z, network.TOKENS, "tokens")
    if len(label) > 20:
        out["tokens_spearman"] = round(spearman(score, label), 3)
        out["tokens_error"] = round(float(np.abs(score + network.LOG_TOKENS - label).mean()), 3)
    return out


def judge(model, dev):
    """Known sources: what `dev` says."""
    z = {name: served(model, part) for name, part in dev.items()}
    out = {name: task_figures(dev[name].rows, z[name]) for name in ("tasks", "natural")}
    out["natural"] |= other_figures(dev["natural"].rows, z["natural"])
    rows = np.array([r.source for r in dev["difficulty"].rows])
    out["difficulty"] = {"all": other_figures(dev["difficulty"].rows, z["difficulty"])}
    for source in np.unique(rows):
        part = np.flatnonzero(rows == source)
        out["difficulty"][str(source)] = other_figures([dev["difficulty"].rows[i] for i in part], z["difficulty"][part])
    out["sensitivity"] = other_figures(dev["sensitivity"].rows, z["sensitivity"])
    return out


def left_out(found, later):
    """`found`: per set, `(author or collection, row, outputs)` of every row that was left out. Authors of
    the second round (`later`) have figures of their own, so that the others compare over versions."""
    second = [f for f in found["natural"] if f[0] in later]
    found = found | {"natural": [f for f in found["natural"] if f[0] not in later]}
    rows = {name: [r for _, r, _ in part] for name, part in found.items()}
    z = {name: np.stack([o for *_, o in part]) for name, part in found.items()}
    out = {name: task_figures(rows[name], z[name]) for name in ("tasks", "natural")}
    both = rows["tasks"] + rows["natural"]
    out["all"] = task_figures(both, np.concatenate([z["tasks"], z["natural"]]))
    english = np.array([r.lang == "en" for r in rows["natural"]])
    out["natural_english"] = task_figures([r for r in rows["natural"] if r.lang == "en"], z["natural"][english])
    out["natural"] |= other_figures(rows["natural"], z["natural"])
    authors = np.array([a for a, *_ in found["natural"]])
    out["authors"] = {}
    for part in (found["natural"], second):
        for author in sorted({a for a, *_ in part}):
            of = [r for a, r, _ in part if a == author]
            outputs = np.stack([o for a, _, o in part if a == author])
            out["authors"][author] = task_figures(of, outputs) | other_figures(of, outputs)
    if second:
        of, outputs = [r for _, r, _ in second], np.stack([o for *_, o in second])
        out["second"] = task_figures(of, outputs) | other_figures(of, outputs)
    out["difficulty"] = {}
    of = np.array([r.source for r in rows["difficulty"]])
    for source in np.unique(of):
        part = np.flatnonzero(of == source)
        out["difficulty"][str(source)] = other_figures([rows["difficulty"][i] for i in part], z["difficulty"][part])
    out["difficulty"]["all"] = other_figures(rows["difficulty"], z["difficulty"])
    out["sensitivity"] = other_figures(rows["sensitivity"], z["sensitivity"])
    truth = np.array([r.task for r in rows["natural"]])
    logits = z["natural"][:, network.TASK]
    out["temperature"] = round(temperature(logits, truth), 3)
    # Each author by the temperature of the others.
    probs = np.empty_like(logits)
    for author in np.unique(authors):
        part = authors == author
        probs[part] = softmax(logits[part] / temperature(logits[~part], truth[~part]))
    out["calibration_error"] = round(calibration_error(probs, truth), 3)
    return out


def text(f):
    lines = []
    for name in ("all", "natural", "natural_english", "second", "tasks"):
        part = f.get(name)
        if part:
            rest = {k: v for k, v in part.items() if not isinstance(v, dict)}
            lines.append(f"{name:16} {rest}")
    for name in ("authors", "difficulty", "sensitivity"):
        for key, part in f.get(name, {}).items():
            rest = {k: v for k, v in part.items() if not isinstance(v, dict)} if isinstance(part, dict) else part
            lines.append(f"    {name} {key}: {rest}")
    lines += [f"    {k} {f[k]}" for k in ("temperature", "calibration_error") if k in f]
    return "\n".join(lines)

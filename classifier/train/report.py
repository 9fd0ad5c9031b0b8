"""Figures: accuracy, macro-F1, calibration, rank correlation; by source, language and length."""

import collections

import numpy as np

import data as sets
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


def crossed_calibration_error(logits, truth):
    """Temperature from one half, error on the other, both ways."""
    halves = [np.arange(len(truth)) % 2 == k for k in (0, 1)]
    probs = np.empty_like(logits)
    for fit, judge in (halves, halves[::-1]):
        probs[judge] = softmax(logits[judge] / temperature(logits[fit], truth[fit]))
    return calibration_error(probs, truth)


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


def judge(net, dev, temperature):
    out = {}
    for name in ("tasks", "natural"):
        rows, truth, z = dev[name].rows, dev[name].task, net.logits(dev[name])
        best = z[:, :17].argmax(1)
        out[name] = pair(truth, best)
        out[name]["calibration_error"] = round(calibration_error(softmax(z[:, :17] / temperature), truth), 3)
        out[name]["by_language"] = grouped([r.lang for r in rows], truth, best)
        out[name]["by_length"] = grouped([length_class(r) for r in rows], truth, best)
        out[name]["by_task"] = {sets.TASKS[t]: round(float(np.mean(best[truth == t] == t)), 3) for t in np.unique(truth)}
        if name == "tasks":
            out[name]["by_source"] = grouped([sets.family(r.source) for r in rows], truth, best)
        else:
            out[name]["calibration_error_crossed"] = round(crossed_calibration_error(z[:, :17], truth), 3)
            out[name]["difficulty_spearman"] = round(spearman(z[:, 17], dev[name].difficulty), 3)
            out[name]["difficulty_mean_error"] = round(float(np.abs(logistic(z[:, 17]) - dev[name].difficulty).mean()), 3)
            out[name]["sensitivity_auroc"] = round(auroc(z[:, 18], dev[name].sensitive), 3)
    z = net.logits(dev["difficulty"])[:, 17]
    out["difficulty_spearman"] = {"all": round(spearman(z, dev["difficulty"].difficulty), 3)}
    of = np.array([r.source for r in dev["difficulty"].rows])
    for source in np.unique(of):
        out["difficulty_spearman"][str(source)] = round(spearman(z[of == source], dev["difficulty"].difficulty[of == source]), 3)
    out["sensitivity_auroc"] = round(auroc(net.logits(dev["sensitivity"])[:, 18], dev["sensitivity"].sensitive), 3)
    return out


def left_out(found):
    families, langs, truth, best = (np.array(column) for column in zip(*found))
    natural = families == "authored for this project"
    english = natural & (langs == "en")
    return {
        "sources": pair(truth[~natural], best[~natural]),
        "natural": pair(truth[natural], best[natural]),
        "natural_english": pair(truth[english], best[english]),
        "by_source": grouped(families, truth, best),
    }


def text(f):
    lines = []
    for name in ("tasks", "natural"):
        s = f[name]
        lines.append(f"{name} dev: accuracy {s['accuracy']}, macro-F1 {s['macro_f1']}, calibration error {s['calibration_error']} (n {s['n']})")
        for key in ("by_source", "by_language", "by_length"):
            lines += [f"    {k:32} accuracy {v['accuracy']:.3f}  macro-F1 {v['macro_f1']:.3f}  n {v['n']}" for k, v in s.get(key, {}).items()]
        lines.append("    recall " + " ".join(f"{k} {v}" for k, v in s["by_task"].items()))
    n = f["natural"]
    lines.append(f"natural dev: difficulty Spearman {n['difficulty_spearman']}, mean error {n['difficulty_mean_error']}, sensitivity AUROC {n['sensitivity_auroc']}, crossed calibration error {n['calibration_error_crossed']}")
    lines.append(f"difficulty Spearman {f['difficulty_spearman']}, sensitivity AUROC {f['sensitivity_auroc']}, temperature {f['temperature']}")
    return "\n".join(lines)


def left_out_text(f):
    lines = [f"left out, {k}: {f[k]}" for k in ("sources", "natural", "natural_english")]
    return "\n".join(lines + [f"    {k:32} {v}" for k, v in f["by_source"].items()])

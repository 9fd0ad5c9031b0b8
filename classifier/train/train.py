"""Trains the inline classifier and writes its folder. One command, CPU, minutes:

    python3 -m pip install -r classifier/train/requirements.txt
    python3 classifier/train/train.py --data DIR --out models/task-v1

Features are computed by the serving code itself (`cargo run --example features`). First come the
honest figures: each author of natural prompts, with a share of the collections, is left out of a
training and then judged; their calibration is that of the weights, which are trained on all. Runs of
the same seed on the same machine give the same weights.
"""

import argparse
import os
import pathlib
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402

import card  # noqa: E402
import data as sets  # noqa: E402
import export  # noqa: E402
import net as network  # noqa: E402
import report  # noqa: E402


def options(arguments=None):
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--data", required=True, help="folder with tasks/, difficulty/, natural/, sensitivity/, routing/")
    p.add_argument("--out", help="model folder to write; without it only figures are printed")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--words-log2", type=int, default=17)
    p.add_argument("--chars-log2", type=int, default=17)
    p.add_argument("--width", type=int, default=32)
    p.add_argument("--hidden", type=int, default=128)
    p.add_argument("--epochs", type=int, default=6)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--table-rate", type=float, default=0.15)
    p.add_argument("--decay", type=float, default=1e-2)
    p.add_argument("--natural-weight", type=float, default=6.0)
    p.add_argument("--variants", type=float, default=1.0, help="varied copies per natural prompt")
    p.add_argument("--variants-weight", type=float, default=0.4, help="their part of the natural weight")
    p.add_argument("--composed", type=int, default=8000, help="own instructions over others' texts")
    p.add_argument("--exams", type=int, default=3000, help="questions in an exam's wrapper")
    p.add_argument("--word-dropout", type=float, default=0.5)
    p.add_argument("--group-dropout", type=float, default=0.1)
    p.add_argument("--dense-dropout", type=float, default=0.1)
    p.add_argument("--dense-group-dropout", type=float, default=0.05)
    p.add_argument("--hidden-dropout", type=float, default=0.3)
    p.add_argument("--smoothing", type=float, default=0.05)
    p.add_argument("--domain-weight", type=float, default=0.6)
    p.add_argument("--sensitive-weight", type=float, default=1.0)
    p.add_argument("--difficulty-weight", type=float, default=1.0)
    return p.parse_args(arguments)


def main():
    o = options()
    started = time.monotonic()
    train_rows, dev_rows = sets.read(o.data, "train"), sets.read(o.data, "dev")
    own = sets.read_prompts()
    train_rows["prompts"] = [r for rows in own.values() for r in rows]
    rows = [r for name in train_rows for r in train_rows[name]]
    varied = sets.augment(train_rows["natural"] + train_rows["prompts"], o.variants, 0.2, o.seed)
    varied += sets.augment(train_rows["tasks"], 0.1, 0.05, o.seed + 1)
    varied += sets.examine(train_rows["natural"] + train_rows["prompts"], o.exams, o.seed + 2)
    varied += sets.compose(train_rows["tasks"], o.composed, o.seed + 3)
    data = sets.featurize(rows + varied, o.words_log2, o.chars_log2)
    dev = {name: sets.featurize(part, o.words_log2, o.chars_log2) for name, part in dev_rows.items()}
    is_varied = np.arange(len(data)) >= len(rows)
    print(f"{len(data)} rows, {len(data.ids) / len(data):.0f} ids per row, {time.monotonic() - started:.0f} s", flush=True)

    weight = weights(o, data, is_varied)
    figures = {"left_out": report.left_out(leave_out(o, data, is_varied, weight, dev))}
    print(report.text(figures["left_out"]), f"\n{time.monotonic() - started:.0f} s", flush=True)
    net = network.train(data, weight, o)
    figures["known"] = report.judge(net, dev)
    print(report.text(figures["known"]), f"\n{time.monotonic() - started:.0f} s", flush=True)
    if o.out:
        folder = pathlib.Path(o.out)
        export.write(folder, net, figures["left_out"]["temperature"], o, dev["natural"])
        text = card.render(o, export.VERSION, export.LICENCE, figures, train_rows, data.dense.shape[1])
        (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    print(f"{time.monotonic() - started:.0f} s in all")


def weights(o, data, is_varied):
    """How often each row is seen per epoch: natural prompts, with their variants, more often."""
    # A question in an exam's wrapper has no difficulty of its own, and counts once.
    natural = np.array([r.natural for r in data.rows]) & ~np.isnan(data.difficulty)
    weight = np.ones(len(data))
    weight[natural & ~is_varied] = o.natural_weight * (1 - o.variants_weight)
    weight[natural & is_varied] = o.natural_weight * o.variants_weight / max(o.variants, 0.1)
    return weight


def folds(data, dev, seed=3):
    """Each author of natural prompts with a share of the collections."""
    authors = sorted({r.source for r in data.rows if r.natural})
    families = {r.family for r in dev["tasks"].rows + dev["difficulty"].rows}
    families |= {r.family for r in dev["sensitivity"].rows if not r.source.endswith("(negative)")}
    families = sorted(families)
    np.random.default_rng(seed).shuffle(families)
    return [(author, families[i :: len(authors)]) for i, author in enumerate(authors)]


def leave_out(o, data, is_varied, weight, dev):
    """Outputs for rows whose author or collection the network has never seen."""
    family = np.array([r.family for r in data.rows])
    source = np.array([r.source for r in data.rows])
    found = {name: [] for name in ("tasks", "natural", "difficulty", "sensitivity")}
    for author, families in folds(data, dev):
        print(f"left out: {author}; {', '.join(families)}", flush=True)
        out = np.isin(family, families) | (source == author)
        net = network.train(data, weight, o, index=np.flatnonzero(~out), log=lambda *_, **__: None)
        # The shared prompts have a `dev` of their own, which also does not share a question's stem.
        has_dev = any(r.source == author for r in dev["natural"].rows)
        held = dev["natural"] if has_dev else data.take(np.flatnonzero((source == author) & ~is_varied))
        found["natural"] += [(author, r, z) for r, z in zip(held.rows, net.outputs(held))]
        for name in ("tasks", "difficulty", "sensitivity"):
            held = dev[name].take([i for i, r in enumerate(dev[name].rows) if r.family in families])
            if len(held):
                found[name] += [(r.family, r, z) for r, z in zip(held.rows, net.outputs(held))]
    return found


if __name__ == "__main__":
    main()

"""Trains the inline classifier and writes its folder. One command, CPU, minutes:

    python3 -m pip install -r classifier/train/requirements.txt
    python3 classifier/train/train.py --data DIR --out models/task-v1

Features are computed by the serving code itself (`cargo run --example features`). First come the
honest figures: each author of natural prompts, with a share of the collections, is left out of a
training and then judged; their calibration is that of the weights, which are trained on all. Runs of
the same seed on the same machine give the same weights.
"""

import argparse
import multiprocessing
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
from net import Part  # noqa: E402


# What each part answers and what suits it; chosen on the folds of `leave_out` and on `dev` of the exams.
PARTS = [
    Part("task", {"task": 1.0}, width=32, hidden=128, epochs=6, natural_weight=6.0, made_up=True, beside={"length": 0.1}),
    # A subject stands in rare words: many epochs, most words hidden in each.
    Part("subject", {"domain": 1.0}, width=16, hidden=64, epochs=24, natural_weight=1.0, made_up=False,
         word_dropout=0.7, hidden_dropout=0.2, table_rate=0.3, table_start=0.02),
    # A difficulty, and how long its answer is, stand in the dense features first.
    Part("difficulty", {"difficulty": 1.0, "length": 0.05}, width=8, hidden=64, epochs=10, natural_weight=2.0, made_up=False,
         group_dropout=0.5, dense_dropout=0.05, dense_group_dropout=0.0, hidden_dropout=0.1, table_rate=0.3, table_start=0.02),
    Part("sensitivity", {"sensitivity": 1.0, "kinds": 0.3}, width=8, hidden=32, epochs=8, natural_weight=2.0, made_up=True),
]  # fmt: skip


def options(arguments=None):
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--data", required=True, help="folder with tasks/, difficulty/, natural/, sensitivity/, routing/")
    p.add_argument("--out", help="model folder to write; without it only figures are printed")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--words-log2", type=int, default=17)
    p.add_argument("--chars-log2", type=int, default=17)
    p.add_argument("--variants", type=float, default=1.0, help="varied copies per natural prompt")
    p.add_argument("--variants-weight", type=float, default=0.4, help="their part of the natural weight")
    p.add_argument("--composed", type=int, default=8000, help="own instructions over others' texts")
    p.add_argument("--exams", type=int, default=3000, help="questions in an exam's wrapper")
    p.add_argument("--processes", type=int, default=2, help="trainings at once")
    p.add_argument("--features", help="the built example `features`; without it cargo builds it")
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
    data = sets.featurize(rows + varied, o.words_log2, o.chars_log2, o.features)
    dev = {name: sets.featurize(part, o.words_log2, o.chars_log2, o.features) for name, part in dev_rows.items()}
    is_varied = np.arange(len(data)) >= len(rows)
    print(f"{len(data)} rows, {len(data.ids) / len(data):.0f} ids per row, {time.monotonic() - started:.0f} s", flush=True)

    # Each training is a job of its own; they share the data, and say when they are done.
    everything = np.arange(len(data))
    left = folds(data, dev)
    kept = [kept_rows(data, fold) for fold in left] + [everything]
    jobs = [(which, part) for which in range(len(kept)) for part in range(len(PARTS))]
    TRAINING.update(o=o, data=data, is_varied=is_varied, kept=kept, started=started)
    if o.processes > 1:
        with multiprocessing.get_context("fork").Pool(o.processes) as pool:
            nets = pool.map(train_job, jobs, chunksize=1)
    else:
        nets = [train_job(job) for job in jobs]
    models = [network.Model(nets[i : i + len(PARTS)]) for i in range(0, len(nets), len(PARTS))]

    figures = {"left_out": report.left_out(leave_out(models, left, data, is_varied, dev), sets.AUTHORS_2)}
    print(report.text(figures["left_out"]), f"\n{time.monotonic() - started:.0f} s", flush=True)
    figures["known"] = report.judge(models[-1], dev)
    print(report.text(figures["known"]), f"\n{time.monotonic() - started:.0f} s", flush=True)
    if o.out:
        folder = pathlib.Path(o.out)
        export.write(folder, models[-1], figures["left_out"]["temperature"], o, dev["natural"])
        text = card.render(o, PARTS, export.VERSION, export.LICENCE, figures, train_rows, data.dense.shape[1])
        (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    print(f"{time.monotonic() - started:.0f} s in all")


# What the jobs read; set before the processes are forked.
TRAINING = {}


def train_job(job):
    which, part = job
    o, data, part = TRAINING["o"], TRAINING["data"], PARTS[part]
    net = network.train(
        data, part, (1 << o.words_log2) + (1 << o.chars_log2), weights(o, part, data, TRAINING["is_varied"]),
        TRAINING["kept"][which], o.seed, log=lambda *_, **__: None,
    )  # fmt: skip
    print(f"training {which}, {part.name}: {time.monotonic() - TRAINING['started']:.0f} s", flush=True)
    return net.finished()


def weights(o, part, data, is_varied):
    """How often each row is seen per epoch: natural prompts, with their variants, more often."""
    # A question in an exam's wrapper has no difficulty of its own, and counts once.
    natural = np.array([r.natural for r in data.rows]) & ~np.isnan(data.difficulty)
    variants = o.variants_weight if part.made_up else 0.0
    weight = np.where(is_varied, float(part.made_up), 1.0)
    weight[natural & ~is_varied] = part.natural_weight * (1 - variants)
    weight[natural & is_varied] = part.natural_weight * variants / max(o.variants, 0.1)
    return weight


def kept_rows(data, fold):
    """The rows to train on when the authors and collections of a fold are left out."""
    authors, families = fold
    family = np.array([r.family for r in data.rows])
    source = np.array([r.source for r in data.rows])
    return np.flatnonzero(~np.isin(family, families) & ~np.isin(source, authors))


def folds(data, dev, seed=3):
    """Authors of natural prompts with a share of the collections. Authors of the second round join the
    folds of the first, so that the collections are left out together as they were before."""
    authors = sorted({r.source for r in data.rows if r.natural})
    second = [a for a in authors if a in sets.AUTHORS_2]
    first = [a for a in authors if a not in second]
    families = {r.family for r in dev["tasks"].rows + dev["difficulty"].rows}
    families |= {r.family for r in dev["sensitivity"].rows if not r.source.endswith("(negative)")}
    families = sorted(families)
    np.random.default_rng(seed).shuffle(families)
    joined = [[] for _ in first]
    for at, author in enumerate(reversed(second)):
        joined[1 + at % (len(first) - 1)].append(author)
    return [([author, *joined[i]], families[i :: len(first)]) for i, author in enumerate(first)]


def leave_out(models, left, data, is_varied, dev):
    """Outputs for rows whose author or collection the model has never seen."""
    source = np.array([r.source for r in data.rows])
    found = {name: [] for name in ("tasks", "natural", "difficulty", "sensitivity")}
    for model, (authors, families) in zip(models, left):
        print(f"left out: {', '.join(authors)}; {', '.join(families)}", flush=True)
        for author in authors:
            # The shared prompts have a `dev` of their own, which also does not share a question's stem.
            has_dev = any(r.source == author for r in dev["natural"].rows)
            held = dev["natural"] if has_dev else data.take(np.flatnonzero((source == author) & ~is_varied))
            found["natural"] += [(author, r, z) for r, z in zip(held.rows, report.served(model, held))]
        for name in ("tasks", "difficulty", "sensitivity"):
            held = dev[name].take([i for i, r in enumerate(dev[name].rows) if r.family in families])
            if len(held):
                found[name] += [(r.family, r, z) for r, z in zip(held.rows, report.served(model, held))]
    return found


if __name__ == "__main__":
    main()

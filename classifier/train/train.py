"""Trains the inline classifier and writes its folder. One command, CPU, minutes:

    python3 -m pip install -r classifier/train/requirements.txt
    python3 classifier/train/train.py --data DIR --out models/task-v1

`--leave-out` trains again without groups of sources and judges on them: the honest figure. Runs of
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
import ngrams  # noqa: E402
import report  # noqa: E402


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--data", required=True, help="folder with tasks/, difficulty/, natural/, sensitivity/")
    p.add_argument("--out", help="model folder to write; without it only figures are printed")
    p.add_argument("--leave-out", type=int, default=0, metavar="FOLDS", help="judge on left-out sources, in so many folds")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--words-log2", type=int, default=16)
    p.add_argument("--chars-log2", type=int, default=16)
    p.add_argument("--width", type=int, default=32)
    p.add_argument("--hidden", type=int, default=128)
    p.add_argument("--epochs", type=int, default=8)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--table-rate", type=float, default=0.15)
    p.add_argument("--decay", type=float, default=1e-2)
    p.add_argument("--natural-weight", type=int, default=8)
    p.add_argument("--word-dropout", type=float, default=0.6)
    p.add_argument("--group-dropout", type=float, default=0.1)
    p.add_argument("--hidden-dropout", type=float, default=0.3)
    p.add_argument("--smoothing", type=float, default=0.05)
    p.add_argument("--limit", type=int, default=0, help="rows per set, for a quick look")
    return p.parse_args()


def main():
    o = options()
    started = time.monotonic()
    reader = ngrams.Reader()
    train_rows, dev_rows = sets.read(o.data, "train"), sets.read(o.data, "dev")
    if o.limit:
        train_rows = {name: rows[:: max(1, len(rows) // o.limit)] for name, rows in train_rows.items()}
    extra = sets.with_personas(train_rows["natural"], 0.2, o.seed)
    extra += sets.with_personas(train_rows["tasks"], 0.05, o.seed)
    rows = [r for name in train_rows for r in train_rows[name]] + extra
    natural = np.array([r.source.startswith("authored") for r in rows])
    data = sets.featurize(rows, reader, o.words_log2, o.chars_log2)
    dev = {name: sets.featurize(rows, reader, o.words_log2, o.chars_log2) for name, rows in dev_rows.items()}
    print(f"{len(data)} rows, {data.grams.nnz / len(data):.0f} ids per row, {time.monotonic() - started:.0f} s", flush=True)

    net = fit(o, data, natural)
    temperature = report.temperature(net.logits(dev["natural"])[:, :17], dev["natural"].task)
    figures = {"temperature": round(temperature, 3), **report.judge(net, dev, temperature)}
    print(report.text(figures), f"\ntrained in {time.monotonic() - started:.0f} s", flush=True)

    if o.leave_out:
        figures["left_out"] = leave_out(o, data, natural, dev)
        print(report.left_out_text(figures["left_out"]), flush=True)
    if o.out:
        folder = pathlib.Path(o.out)
        export.write(folder, net, temperature, o, dev["natural"], reader)
        text = card.render(o, export.VERSION, export.LICENCE, figures, train_rows, ngrams.DENSE_COUNT)
        (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    print(f"{time.monotonic() - started:.0f} s in all")


def fit(o, data, natural):
    net = network.Net(data.grams.shape[1], o.width, data.dense.shape[1], o.hidden, o.seed)
    return network.train(net, data, natural, o)


def leave_out(o, data, natural, dev):
    """For each fold: trained without its families of sources, judged on their rows of `dev`."""
    families = sorted({sets.family(r.source) for r in dev["tasks"].rows})
    np.random.default_rng(o.seed).shuffle(families)
    folds = [families[i :: o.leave_out] for i in range(o.leave_out)] + [["authored for this project"]]
    of_row = np.array([sets.family(r.source.removesuffix(" (negative)")) for r in data.rows])
    found = []
    for fold in folds:
        keep = np.flatnonzero(~np.isin(of_row, fold))
        net = fit(o, data.take(keep), natural[keep])
        held = dev["natural"] if len(fold) == 1 else dev["tasks"]
        held = held.take([i for i, r in enumerate(held.rows) if sets.family(r.source) in fold])
        best = net.logits(held)[:, :17].argmax(1)
        found += [(sets.family(r.source), r.lang, int(t), int(b)) for r, t, b in zip(held.rows, held.task, best)]
    return report.left_out(found)


if __name__ == "__main__":
    main()

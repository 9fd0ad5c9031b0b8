"""The network, in parts that stand side by side. NumPy, and Numba for the bags.

    mean_g = mean of E[ids of group g]    g = words, characters, edges
    h      = relu([mean_words, mean_chars, mean_edges, (dense - centre) / scale] W1 + b1)
    out    = h W2 + b2                    17 tasks, difficulty, sensitivity, 14 domains, 6 kinds, length

Each part has its own columns of the table, its own hidden units and its own heads, and is trained on
the rows that know them with what suits them: a subject stands in rare words and wants many epochs, a
difficulty stands in the dense features, a task must not learn its source. Written as one graph they
cost what one network of their common width does.

Small enough to write the gradient by hand; a framework would be a hundred times the download.
"""

import dataclasses

import numba
import numpy as np

TASK, DIFFICULTY, SENSITIVE, DOMAIN, KINDS, TOKENS, SPREAD = slice(0, 17), 17, 18, slice(19, 33), slice(33, 39), 39, 40
HEADS = 41
# The length head is the logarithm of the tokens less this, so that it begins near what it should be.
LOG_TOKENS = 5.0
SPREAD_LEAST, SPREAD_MOST = -1.5, 1.0


@numba.njit(fastmath=True, cache=True)
def bag_forward(table, ids, starts, ends, rows, drop, seed, keep, out):
    """Means per group into `out`; `keep` remembers which ids were not dropped."""
    width = table.shape[1]
    state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
    threshold = np.uint64(drop * 4294967296.0)
    at = 0
    for b in range(len(rows)):
        start = starts[rows[b]]
        before = 0
        for g in range(ends.shape[1]):
            end = ends[rows[b], g]
            share = np.float32(1.0 / ((1.0 - drop) * max(end - before, 1)))
            for w in range(width):
                out[b, g * width + w] = 0
            for i in range(start + before, start + end):
                state ^= state << np.uint64(13)
                state ^= state >> np.uint64(7)
                state ^= state << np.uint64(17)
                kept = (state >> np.uint64(32)) >= threshold
                keep[at] = kept
                at += 1
                if kept:
                    row = ids[i]
                    for w in range(width):
                        out[b, g * width + w] += table[row, w]
            for w in range(width):
                out[b, g * width + w] *= share
            before = end


@numba.njit(fastmath=True, cache=True)
def bag_backward(table, square, ids, starts, ends, rows, drop, keep, grad, rate):
    """Adagrad with one number per row of the table, a text at a time."""
    width = table.shape[1]
    at = 0
    for b in range(len(rows)):
        start = starts[rows[b]]
        before = 0
        for g in range(ends.shape[1]):
            end = ends[rows[b], g]
            share = np.float32(1.0 / ((1.0 - drop) * max(end - before, 1)))
            size = np.float32(0)
            for w in range(width):
                size += grad[b, g * width + w] ** 2
            size = size * share * share / width
            if size > 0:
                for i in range(start + before, start + end):
                    if keep[at + i - start - before]:
                        row = ids[i]
                        square[row] += size
                        step = rate * share / np.sqrt(square[row])
                        for w in range(width):
                            table[row, w] -= step * grad[b, g * width + w]
            at += end - before
            before = end


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of the network and how it is trained. The weights are those of its heads in the loss."""

    name: str
    heads: dict  # name of a head: its weight
    width: int  # columns of the table
    hidden: int
    epochs: int
    # How often a natural prompt (with its variants) is seen per epoch, and whether made-up rows are.
    natural_weight: float
    made_up: bool
    # Heads that are trained beside, for what they teach the hidden units, and are then left out.
    beside: dict = dataclasses.field(default_factory=dict)
    word_dropout: float = 0.5
    group_dropout: float = 0.1
    dense_dropout: float = 0.1
    dense_group_dropout: float = 0.05
    hidden_dropout: float = 0.3
    rate: float = 2e-3
    table_rate: float = 0.15
    table_start: float = 0.1
    decay: float = 1e-2
    smoothing: float = 0.05
    batch: int = 256

    def knows(self, data):
        """Rows with a label for one of the heads."""
        return np.any([known_rows(data, head) for head in self.heads | self.beside], 0)

    def columns(self):
        """The outputs that this part gives."""
        return np.concatenate([np.r_[COLUMNS[head]] for head in self.heads])


COLUMNS = {
    "task": TASK, "difficulty": slice(DIFFICULTY, DIFFICULTY + 1), "sensitivity": slice(SENSITIVE, SENSITIVE + 1),
    "domain": DOMAIN, "kinds": KINDS, "length": slice(TOKENS, SPREAD + 1),
}  # fmt: skip


def known_rows(data, head):
    labels = {
        "task": data.task, "difficulty": data.difficulty, "sensitivity": data.sensitive,
        "domain": data.domain, "kinds": np.nanmax(data.kinds, 1, initial=-1), "length": data.tokens,
    }[head]  # fmt: skip
    return labels >= 0


class Model:
    """The parts as one: each output comes from the part that has its head."""

    def __init__(self, parts):
        self.parts = parts

    def outputs(self, data):
        out = np.full((len(data), HEADS), np.nan, np.float32)
        for net in self.parts:
            columns = net.part.columns()
            out[:, columns] = net.outputs(data)[:, columns]
        return out

    def merged(self):
        """`table, w1, b1, w2, b2` of one network that answers as the parts do; its dense features are raw."""
        groups = 3
        table = np.hstack([net.table for net in self.parts])
        dense = len(self.parts[0].centre)
        width, hidden = table.shape[1], sum(net.part.hidden for net in self.parts)
        w1, b1 = np.zeros((groups * width + dense, hidden), np.float32), np.zeros(hidden, np.float32)
        w2, b2 = np.zeros((hidden, HEADS), np.float32), np.zeros(HEADS, np.float32)
        column, unit = 0, 0
        for net in self.parts:
            own, units, heads = net.part.width, slice(unit, unit + net.part.hidden), net.part.columns()
            for g in range(groups):
                w1[g * width + column : g * width + column + own, units] = net.w1[g * own : (g + 1) * own]
            on_dense = net.w1[groups * own :] / net.scale[:, None]
            w1[groups * width :, units] = on_dense
            b1[units] = net.b1 - net.centre @ on_dense
            w2[units, heads] = net.w2[:, heads]
            b2[heads] = net.b2[heads]
            column, unit = column + own, units.stop
        return table, w1, b1, w2, b2


class Net:
    """The network of one part."""

    # A feature that hardly varies in training must not be blown up in serving.
    SCALE_LEAST = 0.02

    def __init__(self, part, rows, dense, seed):
        rng = np.random.default_rng(seed)
        self.rng, self.part = rng, part
        self.centre, self.scale = dense.mean(0), np.maximum(dense.std(0), self.SCALE_LEAST)
        inputs = 3 * part.width + dense.shape[1]
        self.table = rng.normal(0, part.table_start, (rows, part.width)).astype(np.float32)
        self.w1 = rng.normal(0, np.sqrt(2 / inputs), (inputs, part.hidden)).astype(np.float32)
        self.b1 = np.zeros(part.hidden, np.float32)
        self.w2 = rng.normal(0, np.sqrt(1 / part.hidden), (part.hidden, HEADS)).astype(np.float32)
        self.b2 = np.zeros(HEADS, np.float32)
        self.square = np.full(rows, 1e-8, np.float32)
        self.small = [self.w1, self.b1, self.w2, self.b2]
        self.m = [np.zeros_like(p) for p in self.small]
        self.v = [np.zeros_like(p) for p in self.small]
        self.steps = 0

    def inputs(self, data, rows, drop=0.0, keep=None):
        bags = 3 * self.table.shape[1]
        x = np.empty((len(rows), bags + data.dense.shape[1]), np.float32)
        if keep is None:
            keep = np.empty(int((data.starts[rows + 1] - data.starts[rows]).sum()), np.bool_)
        bag_forward(self.table, data.ids, data.starts, data.ends, rows, drop, self.steps + 1, keep, x[:, :bags])
        x[:, bags:] = (data.dense[rows] - self.centre) / self.scale
        return x, keep

    def finished(self):
        """Without what only training needs."""
        self.square = self.m = self.v = None
        return self

    def outputs(self, data, batch=4096):
        out = []
        for start in range(0, len(data), batch):
            x, _ = self.inputs(data, np.arange(start, min(start + batch, len(data))))
            out.append(np.maximum(x @ self.w1 + self.b1, 0) @ self.w2 + self.b2)
        return np.concatenate(out)

    def step(self, data, rows, rate):
        rng, n, bags, o = self.rng, len(rows), 3 * self.table.shape[1], self.part
        x, keep = self.inputs(data, rows, o.word_dropout)
        groups = rng.random((n, 3)) >= o.group_dropout
        shown = np.repeat(groups / (1 - o.group_dropout), self.table.shape[1], 1).astype(np.float32)
        x[:, :bags] *= shown
        dense = x[:, bags:]
        dense *= (rng.random(dense.shape, np.float32) >= o.dense_dropout) & (rng.random((n, 1)) >= o.dense_group_dropout)
        a = x @ self.w1 + self.b1
        mask = (a > 0) * (rng.random(a.shape, np.float32) >= o.hidden_dropout) / np.float32(1 - o.hidden_dropout)
        mask = mask.astype(np.float32)
        h = a * mask
        z = h @ self.w2 + self.b2
        loss, dz = loss_gradient(z, data, rows, o)
        dh = (dz @ self.w2.T) * mask
        dbags = (dh @ self.w1[:bags].T) * shown
        self._adam([x.T @ dh, dh.sum(0), h.T @ dz, dz.sum(0)], rate * o.rate, o.decay)
        bag_backward(
            self.table, self.square, data.ids, data.starts, data.ends, rows, o.word_dropout, keep,
            np.ascontiguousarray(dbags), np.float32(rate * o.table_rate),
        )  # fmt: skip
        return loss

    def _adam(self, grads, rate, decay):
        self.steps += 1
        fix1, fix2 = 1 - 0.9**self.steps, 1 - 0.999**self.steps
        for p, g, m, v in zip(self.small, grads, self.m, self.v):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= rate * (m / fix1 / (np.sqrt(v / fix2) + 1e-8) + decay * p)


def loss_gradient(z, data, rows, o):
    """Mean loss of a batch and its gradient; a head counts only where its label is known."""
    n, heads = len(rows), o.heads | o.beside
    dz = np.zeros_like(z)
    loss = 0.0
    for head, labels in (("task", data.task), ("domain", data.domain)):
        if head not in heads:
            continue
        columns, weight, labels = COLUMNS[head], heads[head], labels[rows]
        known = labels >= 0
        probs = softmax(z[known, columns])
        target = np.full_like(probs, o.smoothing / probs.shape[1])
        target[np.arange(len(probs)), labels[known]] += 1 - o.smoothing
        loss -= weight * (target * np.log(probs + 1e-9)).sum() / n
        dz[known, columns] = weight * (probs - target) / n
    columns = [("difficulty", DIFFICULTY, data.difficulty[rows]), ("sensitivity", SENSITIVE, data.sensitive[rows])]
    columns += [("kinds", KINDS.start + k, data.kinds[rows, k]) for k in range(data.kinds.shape[1])]
    for head, column, labels in columns:
        if head not in heads:
            continue
        known = ~np.isnan(labels)
        p, y, weight = logistic(z[known, column]), labels[known], heads[head]
        loss -= weight * (y * np.log(p + 1e-9) + (1 - y) * np.log(1 - p + 1e-9)).sum() / n
        dz[known, column] = weight * (p - y) / n
    if "length" in heads:
        weight, known = heads["length"], ~np.isnan(data.tokens[rows])
        y = data.tokens[rows][known] - LOG_TOKENS
        spread = np.clip(z[known, SPREAD], SPREAD_LEAST, SPREAD_MOST)
        off = (z[known, TOKENS] - y) * np.exp(-spread)
        loss += weight * (0.5 * off**2 + spread).sum() / n
        dz[known, TOKENS] = weight * np.clip(off * np.exp(-spread), -3, 3) / n
        dz[known, SPREAD] = weight * np.clip(1 - off**2, -3, 3) / n
    return loss, dz.astype(np.float32)


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def logistic(z):
    return 1 / (1 + np.exp(-z))


def train(data, part, buckets, weight, index, seed, log=print):
    """Trains a part on those rows of `index` that it knows; row i is seen `weight[i]` times per epoch on average."""
    index = index[part.knows(data)[index] & (weight[index] > 0)]
    net = Net(part, buckets, data.dense[index], seed)
    rng = np.random.default_rng(seed)
    total, done = part.epochs * (int(weight[index].sum()) // part.batch), 0
    for epoch in range(part.epochs):
        share = weight[index]
        order = np.repeat(index, (share + rng.random(len(index))).astype(int))
        rng.shuffle(order)
        losses = []
        for start in range(0, len(order) - part.batch + 1, part.batch):
            rate = max(min(1.0, 10 * done / total) * (1 - done / total), 0.0)
            losses.append(net.step(data, order[start : start + part.batch], rate))
            done += 1
        log(f"  {part.name}, epoch {epoch + 1}/{part.epochs}: loss {np.mean(losses):.4f}", flush=True)
    return net

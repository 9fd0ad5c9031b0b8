"""The network: three bag means and dense features, one hidden layer, six heads. NumPy, and Numba for
the bags.

    mean_g = mean of E[ids of group g]    g = words, characters, edges
    h      = relu([mean_words, mean_chars, mean_edges, dense] W1 + b1)
    out    = h W2 + b2                    17 tasks, difficulty, sensitivity, 14 domains, 6 kinds, length

Small enough to write the gradient by hand; a framework would be a hundred times the download.
"""

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


class Net:
    def __init__(self, rows, width, dense, hidden, seed):
        rng = np.random.default_rng(seed)
        self.rng = rng
        inputs = 3 * width + dense
        self.table = rng.normal(0, 0.1, (rows, width)).astype(np.float32)
        self.w1 = rng.normal(0, np.sqrt(2 / inputs), (inputs, hidden)).astype(np.float32)
        self.b1 = np.zeros(hidden, np.float32)
        self.w2 = rng.normal(0, np.sqrt(1 / hidden), (hidden, HEADS)).astype(np.float32)
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
        x[:, bags:] = data.dense[rows]
        return x, keep

    def outputs(self, data, batch=4096):
        out = []
        for start in range(0, len(data), batch):
            x, _ = self.inputs(data, np.arange(start, min(start + batch, len(data))))
            out.append(np.maximum(x @ self.w1 + self.b1, 0) @ self.w2 + self.b2)
        return np.concatenate(out)

    def step(self, data, rows, rate, o, soft=None):
        rng, n, bags = self.rng, len(rows), 3 * self.table.shape[1]
        x, keep = self.inputs(data, rows, o.word_dropout)
        groups = rng.random((n, 3)) >= o.group_dropout
        shown = np.repeat(groups / (1 - o.group_dropout), self.table.shape[1], 1).astype(np.float32)
        x[:, :bags] *= shown
        dense = x[:, bags:]
        dense *= (rng.random(dense.shape) >= o.dense_dropout) & (rng.random((n, 1)) >= o.dense_group_dropout)
        a = x @ self.w1 + self.b1
        mask = (a > 0) * (rng.random(a.shape, np.float32) >= o.hidden_dropout) / np.float32(1 - o.hidden_dropout)
        mask = mask.astype(np.float32)
        h = a * mask
        z = h @ self.w2 + self.b2
        loss, dz = loss_gradient(z, data, rows, o, soft)
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


def loss_gradient(z, data, rows, o, soft):
    """Mean loss of a batch and its gradient; a head counts only where its label is known."""
    n = len(rows)
    dz = np.zeros_like(z)
    loss = 0.0
    for head, labels, weight in ((TASK, data.task[rows], 1.0), (DOMAIN, data.domain[rows], o.domain_weight)):
        classes = head.stop - head.start
        known = labels >= 0
        if soft is not None and head == TASK:
            known = np.ones_like(known)
        probs = softmax(z[known, head])
        target = np.full_like(probs, o.smoothing / classes)
        hard = labels[known]
        target[np.arange(len(probs)), hard] += 1 - o.smoothing
        if soft is not None and head == TASK:
            mixed = o.teacher_weight * soft[rows] + (1 - o.teacher_weight) * target
            target = np.where((hard >= 0)[:, None], mixed, soft[rows])
        loss -= weight * (target * np.log(probs + 1e-9)).sum() / n
        dz[known, head] = weight * (probs - target) / n
    columns = [(DIFFICULTY, data.difficulty[rows], o.difficulty_weight), (SENSITIVE, data.sensitive[rows], o.sensitive_weight)]
    columns += [(KINDS.start + k, data.kinds[rows, k], 0.3) for k in range(data.kinds.shape[1])]
    for column, labels, weight in columns:
        known = ~np.isnan(labels)
        p, y = logistic(z[known, column]), labels[known]
        loss -= weight * (y * np.log(p + 1e-9) + (1 - y) * np.log(1 - p + 1e-9)).sum() / n
        dz[known, column] = weight * (p - y) / n
    known = ~np.isnan(data.tokens[rows])
    y = data.tokens[rows][known] - LOG_TOKENS
    spread = np.clip(z[known, SPREAD], SPREAD_LEAST, SPREAD_MOST)
    off = (z[known, TOKENS] - y) * np.exp(-spread)
    loss += 0.1 * (0.5 * off**2 + spread).sum() / n
    dz[known, TOKENS] = 0.1 * np.clip(off * np.exp(-spread), -3, 3) / n
    dz[known, SPREAD] = 0.1 * np.clip(1 - off**2, -3, 3) / n
    return loss, dz.astype(np.float32)


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def logistic(z):
    return 1 / (1 + np.exp(-z))


def train(data, weight, o, index=None, soft=None, seed=None, log=print):
    """Trains on the rows of `index` (all without); row i is seen `weight[i]` times per epoch on average."""
    seed = o.seed if seed is None else seed
    net = Net((1 << o.words_log2) + (1 << o.chars_log2), o.width, data.dense.shape[1], o.hidden, seed)
    rng = np.random.default_rng(seed)
    index = np.arange(len(data)) if index is None else np.asarray(index)
    per_epoch = int(weight[index].sum()) // o.batch
    total, done = o.epochs * per_epoch, 0
    for epoch in range(o.epochs):
        share = weight[index]
        order = np.repeat(index, (share + rng.random(len(index))).astype(int))
        rng.shuffle(order)
        losses = []
        for start in range(0, len(order) - o.batch + 1, o.batch):
            rate = max(min(1.0, 10 * done / total) * (1 - done / total), 0.0)
            losses.append(net.step(data, order[start : start + o.batch], rate, o, soft))
            done += 1
        log(f"  epoch {epoch + 1}/{o.epochs}: loss {np.mean(losses):.4f}", flush=True)
    return net

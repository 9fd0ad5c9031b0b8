"""The network: three bag means and dense features, one hidden layer, three heads. NumPy only.

    mean_g = X_g E                       g = words, characters, edges
    h      = relu([mean_words, mean_chars, mean_edges, dense] W1 + b1)
    logits = h W2 + b2                   17 tasks, difficulty, sensitivity

Small enough to write the gradient by hand; a framework would be a hundred times the download.
"""

import numpy as np

HEADS = 19  # 17 tasks, difficulty, sensitivity


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
        self.table_sum = np.full((rows, 1), 1e-8, np.float32)  # Adagrad, one number per row
        self.small = [self.w1, self.b1, self.w2, self.b2]
        self.m = [np.zeros_like(p) for p in self.small]
        self.v = [np.zeros_like(p) for p in self.small]
        self.steps = 0

    def inputs(self, grams, dense):
        return np.concatenate([(grams @ self.table).reshape(len(dense), -1), dense], 1)

    def logits(self, data, batch=4096):
        out = []
        for start in range(0, len(data), batch):
            stop = min(start + batch, len(data))
            x = self.inputs(data.grams[3 * start : 3 * stop], data.dense[start:stop])
            out.append(np.maximum(x @ self.w1 + self.b1, 0) @ self.w2 + self.b2)
        return np.concatenate(out)

    def step(self, data, rate, options):
        """One batch. `data` is consumed: dropout is applied to its features in place."""
        rng, n, grams = self.rng, len(data), data.grams
        grams.data *= (rng.random(len(grams.data)) >= options.word_dropout) / (1 - options.word_dropout)
        keep = rng.random((n, 3)) >= options.group_dropout
        x = self.inputs(grams, data.dense)
        width = self.table.shape[1]
        x[:, : 3 * width] *= np.repeat(keep / (1 - options.group_dropout), width, 1)
        a = x @ self.w1 + self.b1
        mask = (a > 0) * (rng.random(a.shape) >= options.hidden_dropout) / (1 - options.hidden_dropout)
        mask = mask.astype(np.float32)
        h = a * mask
        z = h @ self.w2 + self.b2
        loss, dz = loss_gradient(z, data, options)

        dh = (dz @ self.w2.T) * mask
        dx = dh @ self.w1.T
        grads = [x.T @ dh, dh.sum(0), h.T @ dz, dz.sum(0)]
        self._adam(grads, rate * options.rate, options.decay)
        dmeans = dx[:, : 3 * width] * np.repeat(keep / (1 - options.group_dropout), width, 1)
        self._adagrad(grams, dmeans.reshape(3 * n, width).astype(np.float32), rate * options.table_rate)
        return loss

    def _adam(self, grads, rate, decay):
        self.steps += 1
        fix1, fix2 = 1 - 0.9**self.steps, 1 - 0.999**self.steps
        for p, g, m, v in zip(self.small, grads, self.m, self.v):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= rate * (m / fix1 / (np.sqrt(v / fix2) + 1e-8) + decay * p)

    def _adagrad(self, grams, dmeans, rate):
        grams.eliminate_zeros()
        touched, inverse = np.unique(grams.indices, return_inverse=True)
        local = type(grams)((grams.data, inverse, grams.indptr), (grams.shape[0], len(touched)))
        g = np.asarray(local.T @ dmeans)
        self.table_sum[touched] += (g * g).mean(1, keepdims=True)
        self.table[touched] -= rate * g / np.sqrt(self.table_sum[touched])


def loss_gradient(z, data, options):
    """Mean loss of a batch and its gradient; a head counts only where its label is known."""
    n = len(data)
    dz = np.zeros_like(z)
    known = data.task >= 0
    probs = softmax(z[known, :17])
    smooth = options.smoothing
    target = np.full_like(probs, smooth / 17)
    target[np.arange(len(probs)), data.task[known]] += 1 - smooth
    loss = -(target * np.log(probs + 1e-9)).sum() / n
    dz[known, :17] = (probs - target) / n
    for column, labels, weight in ((17, data.difficulty, 1.0), (18, data.sensitive, 0.5)):
        known = ~np.isnan(labels)
        p = logistic(z[known, column])
        y = labels[known]
        loss -= weight * (y * np.log(p + 1e-9) + (1 - y) * np.log(1 - p + 1e-9)).sum() / n
        dz[known, column] = weight * (p - y) / n
    return loss, dz.astype(np.float32)


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def logistic(z):
    return 1 / (1 + np.exp(-z))


def train(net, data, natural, options, log=print):
    """`natural` marks the rows that are seen `options.natural_weight` times per epoch."""
    rng = np.random.default_rng(options.seed)
    repeats = np.where(natural, options.natural_weight, 1)
    order = np.repeat(np.arange(len(data)), repeats)
    total = options.epochs * (len(order) // options.batch)
    done = 0
    for epoch in range(options.epochs):
        rng.shuffle(order)
        losses = []
        for start in range(0, len(order) - options.batch + 1, options.batch):
            rate = min(1.0, 10 * done / total) * (1 - done / total)
            losses.append(net.step(data.take(order[start : start + options.batch]), rate, options))
            done += 1
        log(f"  epoch {epoch + 1}/{options.epochs}: loss {np.mean(losses):.4f}", flush=True)
    return net

"""Hashed n-grams, the reference: what `classifier/src/ngrams.rs` computes, bit for bit.

The rules stand in the head of that file; `classifier/testdata/ngrams.json` (written by
`python3 classifier/train/ngrams.py`) holds both sides to them.
"""

import json
import math
import pathlib

import numpy as np

TEXT_BYTES_MAX = 4096
TOKENS_MAX = 512
IDS_MAX = 2048
WORD_CHARS_MAX = 24
EDGE_TOKENS = 6
DENSE_COUNT = 16
GROUPS = 3

EDGE = 0x5BD1E995
SEED_TOKEN = 0x811C9DC5
SEED_CHARS = 0x9747B28C
SEED_FIRST = 0x1B873593
SEED_LAST = 0xCC9E2D51
FNV_PRIME = 0x01000193
M32 = 0xFFFFFFFF

WORD, CJK, PUNCTUATION, SPACE = range(4)


def mix(h):
    h ^= h >> 16
    h = h * 0x85EBCA6B & M32
    h ^= h >> 13
    h = h * 0xC2B2AE35 & M32
    return h ^ (h >> 16)


def step(h, c):
    return (h ^ c) * FNV_PRIME & M32


def pair_hash(first, second):
    return mix((first * 0x9E3779B1 & M32) ^ second)


def fold(c):
    if c <= 0x7F:
        if 0x30 <= c <= 0x39:
            return 0x30
        return c + 0x20 if 0x41 <= c <= 0x5A else c
    if c in (0x85, 0x2028, 0x2029):
        return 0x0A
    if 0xC0 <= c <= 0xDE and c != 0xD7:
        return c + 0x20
    if 0x100 <= c <= 0x137 or 0x14A <= c <= 0x177:
        return c | 1
    if 0x139 <= c <= 0x148 or 0x179 <= c <= 0x17E:
        return c + (c & 1)
    if 0x391 <= c <= 0x3AB and c != 0x3A2:
        return c + 0x20
    if 0x400 <= c <= 0x40F:
        return c + 0x50
    if 0x410 <= c <= 0x42F:
        return c + 0x20
    if c in _MARKS:
        return _MARKS[c]
    if 0xFF01 <= c <= 0xFF5E:
        return fold(c - 0xFEE0)
    return c


_MARKS = {
    0x2018: 0x27, 0x2019: 0x27, 0x201C: 0x22, 0x201D: 0x22, 0x2013: 0x2D, 0x2014: 0x2D,
    0x60C: 0x2C, 0x3001: 0x2C, 0x61F: 0x3F, 0x3002: 0x2E,
}  # fmt: skip

_CLASSES = [
    (0x00, 0x20, SPACE), (0x7F, 0xA0, SPACE), (0x21, 0x7E, PUNCTUATION), (0xA1, 0xA9, PUNCTUATION),
    (0xAB, 0xB4, PUNCTUATION), (0xB6, 0xB9, PUNCTUATION), (0xBB, 0xBF, PUNCTUATION),
    (0xD7, 0xD7, PUNCTUATION), (0xF7, 0xF7, PUNCTUATION), (0x2000, 0x200F, SPACE),
    (0x2028, 0x202F, SPACE), (0x205F, 0x206F, SPACE), (0x3000, 0x3000, SPACE),
    (0xFEFF, 0xFEFF, SPACE), (0x2010, 0x2BFF, PUNCTUATION), (0x3001, 0x303F, PUNCTUATION),
    (0x3040, 0x30FF, CJK), (0x3400, 0x4DBF, CJK), (0x4E00, 0x9FFF, CJK), (0xAC00, 0xD7A3, CJK),
    (0xF900, 0xFAFF, CJK), (0x20000, 0x3FFFF, CJK), (0x1F000, 0x1FFFF, PUNCTUATION),
]  # fmt: skip


def char_class(c):
    """Class of a folded code point."""
    if c == 0x30 or 0x61 <= c <= 0x7A or c == 0x5F:
        return WORD
    for low, high, which in _CLASSES:
        if low <= c <= high:
            return which
    return WORD


def token_hash(token):
    h = SEED_TOKEN
    for ch in token[:WORD_CHARS_MAX]:
        h = step(h, fold(ord(ch)))
    return mix(h)


NEWLINE = token_hash("\n")


class Reader:
    """Reads texts; remembers characters and runs it has seen, which is most of the speed."""

    def __init__(self):
        self.chars = {}
        self.runs = {}

    def char(self, ch):
        known = self.chars.get(ch)
        if known is None:
            folded = fold(ord(ch))
            known = self.chars[ch] = (folded, char_class(folded))
        return known

    def run(self, folded):
        """Token hash and hashes of the character sequences of a run (a tuple of code points)."""
        known = self.runs.get(folded)
        if known is None:
            h = SEED_TOKEN
            for c in folded:
                h = step(h, c)
            marked = (0x3C, *folded, 0x3E)
            grams = []
            for first in range(len(marked) - 2):
                g = SEED_CHARS
                for count, c in enumerate(marked[first : first + 5]):
                    g = step(g, c)
                    if count >= 2:
                        grams.append(mix(g))
            known = self.runs[folded] = (mix(h), grams)
        return known

    def read(self, text):
        """Tokens (hashes), character grams (hashes, unbounded), dense features."""
        text = _cut_head(text.encode(), TEXT_BYTES_MAX).decode()
        tokens, grams, run = [], [], []
        open_run = False
        n = dict.fromkeys(
            "chars digits capitals foreign cjk newlines punctuation questions ticks pipes braces "
            "brackets arithmetic".split(), 0)  # fmt: skip

        def close():
            token, of_run = self.run(tuple(run))
            tokens.append(token)
            if len(grams) < IDS_MAX:
                grams.extend(of_run)
            run.clear()

        for ch in text:
            if len(tokens) >= TOKENS_MAX:
                open_run = False
                break
            folded, which = self.char(ch)
            n["chars"] += 1
            if ch >= "\x80":
                n["foreign"] += 1
                n["cjk"] += which == CJK
                n["questions"] += folded == 0x3F
            elif "0" <= ch <= "9":
                n["digits"] += 1
            elif "A" <= ch <= "Z":
                n["capitals"] += 1
            else:
                kind = _COUNTED.get(ch)
                if kind:
                    n[kind] += 1
            if which == WORD:
                open_run = True
                if len(run) < WORD_CHARS_MAX:
                    run.append(folded)
                continue
            if open_run:
                close()
                open_run = False
                if len(tokens) >= TOKENS_MAX:
                    break
            if which == CJK:
                tokens.append(mix(step(SEED_TOKEN, folded)))
            elif which == PUNCTUATION:
                n["punctuation"] += 1
                tokens.append(mix(step(SEED_TOKEN, folded)))
            elif folded == 0x0A and (not tokens or tokens[-1] != NEWLINE):
                n["newlines"] += 1
                tokens.append(NEWLINE)
        if open_run:
            close()
        return tokens, grams, _dense(n, len(text.encode()), tokens)

    def ids(self, text, words_log2, chars_log2):
        """Ids, ends of the three groups, dense features: what the model is given."""
        tokens, grams, dense = self.read(text)
        words, chars = (1 << words_log2) - 1, (1 << chars_log2) - 1
        ids = []
        before = EDGE
        for token in tokens:
            ids.append(token & words)
            ids.append(pair_hash(before, token) & words)
            before = token
        ids.append(pair_hash(before, EDGE) & words)
        ends = [len(ids)]
        edge = min(len(tokens), EDGE_TOKENS)
        room = IDS_MAX - len(ids) - 2 * edge
        ids.extend(words + 1 + (g & chars) for g in grams[:room])
        ends.append(len(ids))
        ids.extend(pair_hash(SEED_FIRST, t) & words for t in tokens[:edge])
        ids.extend(pair_hash(SEED_LAST, t) & words for t in tokens[len(tokens) - edge :])
        ends.append(len(ids))
        return ids, ends, dense


_COUNTED = {
    "?": "questions", "`": "ticks", "|": "pipes",
    **dict.fromkeys("{};", "braces"), **dict.fromkeys("()[]=", "brackets"),
    **dict.fromkeys("+-*/^\\$", "arithmetic"),
}  # fmt: skip


def _dense(n, size, tokens):
    last = next((t for t in reversed(tokens) if t != NEWLINE), None)

    def ends_with(mark):
        return 1.0 if last == token_hash(mark) else 0.0

    per_char = 1.0 / max(n["chars"], 1)
    per_token = 1.0 / max(len(tokens), 1)
    return np.array(
        [
            math.log1p(size) / 8.0,
            math.log1p(len(tokens)) / 6.0,
            n["newlines"] * per_token,
            n["punctuation"] * per_token,
            n["digits"] * per_char,
            n["capitals"] * per_char,
            n["foreign"] * per_char,
            n["cjk"] * per_char,
            min(n["questions"], 4) / 4,
            ends_with("?"),
            max(ends_with("."), ends_with(":")),
            min(n["ticks"], 6) / 6,
            min(n["pipes"], 16) / 16,
            n["braces"] * per_token,
            n["brackets"] * per_token,
            n["arithmetic"] * per_token,
        ],
        np.float32,
    )


HEAD_BYTES, TAIL_BYTES, SYSTEM_BYTES = 1200, 600, 240


def _cut_head(data, most):
    while 0 < most < len(data) and data[most] & 0xC0 == 0x80:
        most -= 1
    return data[:most]


def _cut_tail(data, most):
    start = max(0, len(data) - most)
    while start < len(data) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:]


def excerpt(last_user, system=None):
    """The part of a conversation that is looked at; see `classifier/src/excerpt.rs`."""
    parts = []
    if system:
        head = _cut_head(system.encode(), SYSTEM_BYTES)
        parts.append(head)
    text = last_user.encode()
    if len(text) <= HEAD_BYTES + TAIL_BYTES:
        parts.append(text)
    else:
        parts.append(_cut_head(text, HEAD_BYTES) + b"\n" + _cut_tail(text, TAIL_BYTES))
    return b"\n\n".join(parts).decode()


GOLDEN = [
    "",
    "Hello, World!",
    "Translate \u201cgood morning\u201d into French, please.",
    "ＷＩＤＴＨ：１２３？",
    "帮我把这段话翻译成英文：今天天气很好。",
    "東京で一番おいしいラーメン屋はどこですか？",
    "한국어 문장을 요약해 주세요",
    "Напиши функцию на Python, которая считает слова в ЁЛКЕ",
    "Ποια είναι η ΠΡΩΤΕΎΟΥΣΑ της Ελλάδας;",
    "ما هي عاصمة مصر؟ شكرا، صديقي",
    "ŽLUŤOUČKÝ KŮŇ úpěl ďábelské ÓDY ŸŹż",
    "สวัสดีครับ ช่วยเขียนอีเมลหน่อย",
    "def f(x):\n    return x ** 2\n\n\nfix the bug in `f` :-)\r\n| a | b |\n|---|---|",
    "What is 12 * (3 + 4) / 7 - 2^5? \\frac{1}{2} $x$",
    "donaudampfschifffahrtsgesellschaftskapitaensmuetze and pneumonoultramicroscopicsilicovolcanoconiosis",
    "emoji 🎉🎉 zero\u200bwidth nbsp\u00a0here line\u2028separator tab\tend\n",
    "Fact sheet {\"name\": \"x\", \"list\": [1, 2]};\n" * 60,
    "word " * 700,
    "漢" * 700,
    "a" * 5000,
]


def golden(words_log2=16, chars_log2=16):
    reader = Reader()
    rows = []
    for text in GOLDEN:
        ids, ends, dense = reader.ids(text, words_log2, chars_log2)
        digest = 0
        for i in ids:
            digest = step(digest, i)
        row = {"text": text, "ends": ends, "digest": digest, "ids": ids[:48]}
        row["dense"] = [round(float(x), 6) for x in dense]
        rows.append(row)
    excerpts = []
    for system, user in [
        (None, "short"), ("You translate into French.", "good morning"), (None, "é" * 2000),
        ("语" * 300, "漢字" * 500 + "x"), (None, "a" * 1800), (None, "a" * 1200 + "b" * 601), ("", ""),
    ]:  # fmt: skip
        excerpts.append({"system": system, "user": user, "excerpt": excerpt(user, system)})
    return {"words_log2": words_log2, "chars_log2": chars_log2, "ngrams": rows, "excerpts": excerpts}


if __name__ == "__main__":
    out = pathlib.Path(__file__).parent.parent / "testdata" / "ngrams.json"
    out.write_text(json.dumps(golden(), ensure_ascii=True, indent=1) + "\n")
    print(out)

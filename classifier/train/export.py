"""Writes a model folder: graph, table, manifest. Checks it with ONNX Runtime before it says so.

The table is i8 with one scale per column; the scales go into the first layer, the temperature into
the last, so serving multiplies by neither. It stands in a file of its own and is an input of the
graph: as a weight, every session would hold a copy.
"""

import hashlib
import json
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import ngrams
from data import TASKS

NAME, VERSION, LICENCE = "task", "1.0.0", "CC-BY-SA-4.0"
OPSET, IR = 17, 8


def write(folder, net, temperature, o, held_out, reader):
    folder.mkdir(parents=True, exist_ok=True)
    table, w1 = quantize(net, o.width)
    w2, b2 = net.w2.copy(), net.b2.copy()
    w2[:, :17] /= temperature
    b2[:17] /= temperature
    (folder / "table.i8").write_bytes(table.tobytes())
    model = graph(table.shape, w1, net.b1, w2, b2, net.table.shape[1])
    (folder / "model.onnx").write_bytes(model)

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    drift(session, table, net, held_out, temperature, reader, o)
    probes = read_probes()
    ask(session, table, probes, reader, o)
    (folder / "manifest.toml").write_text(manifest(folder, o, probes), encoding="utf-8")
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB, {len(probes)} probes right")


def quantize(net, width):
    scale = np.abs(net.table).max(0) / 127
    table = np.clip(np.rint(net.table / scale), -127, 127).astype(np.int8)
    w1 = net.w1.copy()
    w1[: 3 * width] *= np.tile(scale, 3)[:, None]
    return table, w1


def graph(shape, w1, b1, w2, b2, width):
    flat = numpy_helper.from_array(np.array([1, ngrams.GROUPS * width], np.int64), "flat")
    weights = [numpy_helper.from_array(w.astype(np.float32), n) for w, n in ((w1, "w1"), (b1, "b1"), (w2, "w2"), (b2, "b2"))]
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "ids"], ["picked"], axis=0),
        node("Cast", ["picked"], ["rows"], to=TensorProto.FLOAT),
        node("MatMul", ["weights", "rows"], ["means"]),
        node("Reshape", ["means", "flat"], ["means_flat"]),
        node("Concat", ["means_flat", "dense"], ["inputs"], axis=1),
        node("Gemm", ["inputs", "w1", "b1"], ["sums"]),
        node("Relu", ["sums"], ["hidden"]),
        node("Gemm", ["hidden", "w2", "b2"], ["logits"]),
    ]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, "task",
        [
            value("ids", TensorProto.INT32, ["n"]),
            value("weights", TensorProto.FLOAT, [ngrams.GROUPS, "n"]),
            value("dense", TensorProto.FLOAT, [1, ngrams.DENSE_COUNT]),
            value("table", TensorProto.INT8, list(shape)),
        ],
        [value("logits", TensorProto.FLOAT, [1, w2.shape[1]])],
        [flat, *weights],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="pointsman")
    return model.SerializeToString(deterministic=True)


def run(session, table, text, reader, o):
    ids, ends, dense = reader.ids(ngrams.excerpt(text), o.words_log2, o.chars_log2)
    weights = np.zeros((ngrams.GROUPS, len(ids)), np.float32)
    start = 0
    for row, end in zip(weights, ends):
        row[start:end] = 1 / max(end - start, 1)
        start = end
    feed = {"ids": np.array(ids, np.int32), "weights": weights, "dense": dense[None], "table": table}
    return session.run(None, feed)[0][0]


def drift(session, table, net, held_out, temperature, reader, o):
    """What is written must answer as what was trained, but for the rounding of the table."""
    expected = net.logits(held_out)
    expected[:, :17] /= temperature
    found = np.stack([run(session, table, r.text, reader, o) for r in held_out.rows])
    same = np.mean(found[:, :17].argmax(1) == expected[:, :17].argmax(1))
    worst = np.abs(found - expected).max()
    print(f"graph against network: same task in {same:.1%}, largest difference of a logit {worst:.3f}")
    if same < 0.98:
        raise SystemExit("the exported graph does not answer as the network does")


def read_probes():
    lines = (pathlib.Path(__file__).parent / "probes.tsv").read_text(encoding="utf-8").splitlines()
    return [(task, text.replace("\\n", "\n")) for task, text in (line.split("\t") for line in lines)]


def ask(session, table, probes, reader, o):
    wrong = []
    for task, text in probes:
        found = TASKS[int(run(session, table, text, reader, o)[:17].argmax())]
        if found != task:
            wrong.append(f"{text!r}: expected {task}, got {found}")
    if wrong:
        raise SystemExit("probes are wrong:\n" + "\n".join(wrong))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(folder, o, probes):
    quote = lambda text: json.dumps(text, ensure_ascii=False)  # noqa: E731  (a TOML basic string, too)
    lines = [
        "# Written by classifier/train/train.py; see MODEL_CARD.md.",
        f"name = {quote(NAME)}",
        f"version = {quote(VERSION)}",
        f"licence = {quote(LICENCE)}",
        'input = "ngrams"',
        'heads = ["task", "difficulty", "sensitivity"]',
        f"labels = {json.dumps(TASKS)}",
        "",
        "[ngrams]",
        f"words_log2 = {o.words_log2}",
        f"chars_log2 = {o.chars_log2}",
        f"width = {o.width}",
        f"tokens_max = {ngrams.TOKENS_MAX}",
        f"ids_max = {ngrams.IDS_MAX}",
        "",
        "[files]",
    ]
    for key, file in (("model", "model.onnx"), ("table", "table.i8")):
        lines.append(f'{key} = {{ file = "{file}", sha256 = "{sha256(folder / file)}" }}')
    for task, text in probes:
        lines += ["", "[[probes]]", f"task = {quote(task)}", f"text = {quote(text)}"]
    return "\n".join(lines) + "\n"

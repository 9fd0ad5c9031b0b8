"""Writes a model folder: graph, table, manifest. Checks it with ONNX Runtime before it says so.

The table is i8 with one scale per column; the scales go into the first layer, the temperature into
the last, so serving multiplies by neither. It stands in a file of its own: serving sums its rows itself
(`classifier/src/table.rs`) and gives the graph their means.
"""

import hashlib
import json
import pathlib

import numpy as np
import onnx  # noqa: F401  (helper needs it loaded)
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import data as sets
import net as network

NAME, VERSION, LICENCE = "task", "3.0.0", "CC-BY-SA-4.0"
OPSET, IR = 17, 8
GROUPS = 3
# What `classifier/src/ngrams.rs` computes; it refuses a manifest that says otherwise.
FEATURES, TOKENS_MAX, IDS_MAX = 2, 512, 2048


def write(folder, trained, temperature, o, held_out):
    folder.mkdir(parents=True, exist_ok=True)
    table, w1, b1, w2, b2 = trained.merged()
    table, w1 = quantize(table, w1)
    w2[:, network.TASK] /= temperature
    b2[network.TASK] /= temperature
    b2[network.TOKENS] += network.LOG_TOKENS
    (folder / "table.i8").write_bytes(table.tobytes())
    model = graph(w1, b1, w2, b2)
    (folder / "model.onnx").write_bytes(model)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    drift(session, table, trained, held_out, temperature)
    probes = read_probes()
    ask(session, table, probes, o)
    (folder / "manifest.toml").write_text(manifest(folder, o, table.shape[1], probes), encoding="utf-8")
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB, {len(probes)} probes right")


def quantize(table, w1):
    # The rows far out are those of frequent words: clipping them for finer steps moved logits ten times as far.
    scale = np.abs(table).max(0) / 127
    table = np.rint(table / scale).astype(np.int8)
    w1[: GROUPS * len(scale)] *= np.tile(scale, GROUPS)[:, None]
    return table, w1


def graph(w1, b1, w2, b2):
    weights = [numpy_helper.from_array(w.astype(np.float32), n) for w, n in ((w1, "w1"), (b1, "b1"), (w2, "w2"), (b2, "b2"))]
    node = helper.make_node
    nodes = [
        node("Gemm", ["features", "w1", "b1"], ["sums"]),
        node("Relu", ["sums"], ["hidden"]),
        node("Gemm", ["hidden", "w2", "b2"], ["logits"]),
    ]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, "task",
        [value("features", TensorProto.FLOAT, [1, w1.shape[0]])],
        [value("logits", TensorProto.FLOAT, [1, w2.shape[1]])],
        weights,
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="pointsman")
    return model.SerializeToString(deterministic=True)


def run(session, table, data):
    """The graph's outputs for every row of a set, one at a time, over the sums of the i8 table, as serving asks."""
    out = []
    for i in range(len(data)):
        ids, start, means = data.ids[data.starts[i] : data.starts[i + 1]], 0, []
        for end in data.ends[i]:
            means.append(table[ids[start:end]].sum(0, np.int32) / max(end - start, 1))
            start = end
        features = np.concatenate([*means, data.dense[i]]).astype(np.float32)
        out.append(session.run(None, {"features": features[None]})[0][0])
    return np.stack(out)


def drift(session, table, trained, held_out, temperature):
    """What is written must answer as what was trained, but for the rounding of the table."""
    expected = trained.outputs(held_out)
    expected[:, network.TASK] /= temperature
    expected[:, network.TOKENS] += network.LOG_TOKENS
    found = run(session, table, held_out)
    same = np.mean(found[:, network.TASK].argmax(1) == expected[:, network.TASK].argmax(1))
    print(f"graph against network: same task in {same:.1%}, largest difference of a logit {np.abs(found - expected).max():.3f}")
    if same < 0.98:
        raise SystemExit("the exported graph does not answer as the network does")


def read_probes():
    lines = (pathlib.Path(__file__).parent / "probes.tsv").read_text(encoding="utf-8").splitlines()
    return [(task, text.replace("\\n", "\n")) for task, text in (line.split("\t") for line in lines)]


def ask(session, table, probes, o):
    rows = [sets.Row(text, "probe", task=sets.TASKS.index(task)) for task, text in probes]
    best = run(session, table, sets.featurize(rows, o.words_log2, o.chars_log2, o.features))[:, network.TASK].argmax(1)
    wrong = [f"{text!r}: expected {task}, got {sets.TASKS[b]}" for (task, text), b in zip(probes, best) if sets.TASKS[b] != task]
    if wrong:
        raise SystemExit("probes are wrong:\n" + "\n".join(wrong))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(folder, o, width, probes):
    quote = lambda text: json.dumps(text, ensure_ascii=False)  # noqa: E731  (a TOML basic string, too)
    lines = [
        "# Written by classifier/train/train.py; see MODEL_CARD.md.",
        f"name = {quote(NAME)}",
        f"version = {quote(VERSION)}",
        f"licence = {quote(LICENCE)}",
        'input = "ngrams"',
        'heads = ["task", "difficulty", "sensitivity", "domain", "kinds", "length"]',
        f"labels = {json.dumps(sets.TASKS)}",
        "",
        "[ngrams]",
        f"features = {FEATURES}",
        f"words_log2 = {o.words_log2}",
        f"chars_log2 = {o.chars_log2}",
        f"width = {width}",
        f"tokens_max = {TOKENS_MAX}",
        f"ids_max = {IDS_MAX}",
        "",
        "[files]",
    ]
    for key, file in (("model", "model.onnx"), ("table", "table.i8")):
        lines.append(f'{key} = {{ file = "{file}", sha256 = "{sha256(folder / file)}" }}')
    for task, text in probes:
        lines += ["", "[[probes]]", f"task = {quote(task)}", f"text = {quote(text)}"]
    return "\n".join(lines) + "\n"

"""Writes slow.onnx: a graph of kind `ngrams` that says "math" to everything and takes milliseconds.

    python3 -m pip install onnx==1.23.2 && python3 tests/models/slow.py

A loop of scalar additions does the waiting, so that the file stays small. What it adds up becomes
zero in the end and does not change the verdict, but the runtime cannot know that.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

TURNS = 4_000
TASKS, MATH = 17, 7
OUTPUTS = TASKS + 1 + 1 + 14 + 6 + 2  # task, difficulty, sensitivity, domain, kinds, length


def constant(name: str, value: object, dtype: type) -> object:
    return numpy_helper.from_array(np.array(value, dtype=dtype), name)


def body() -> object:
    """One turn: sum + step, where the step comes from outside and is never known to be zero."""
    tensor = helper.make_tensor_value_info
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["sum", "step"], ["sum_after"]),
        ],
        "turn",
        [
            tensor("turn", TensorProto.INT64, []),
            tensor("go", TensorProto.BOOL, []),
            tensor("sum", TensorProto.FLOAT, [1, 1]),
        ],
        [tensor("go_on", TensorProto.BOOL, []), tensor("sum_after", TensorProto.FLOAT, [1, 1])],
    )


def main() -> None:
    said = np.zeros((1, OUTPUTS), dtype=np.float32)
    said[0, MATH] = 3.0
    graph = helper.make_graph(
        [
            # Means of features lie between -10 and 10, so this is zero.
            helper.make_node("ReduceMean", ["features", "axes"], ["mean"], keepdims=1),
            helper.make_node("Clip", ["mean", "hundred", "thousand"], ["clipped"]),
            helper.make_node("Sub", ["clipped", "hundred"], ["step"]),
            helper.make_node("Loop", ["turns", "yes", "zero"], ["sum"], body=body()),
            helper.make_node("Add", ["said", "sum"], ["heads"]),
        ],
        "slow",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, "features"])],
        [helper.make_tensor_value_info("heads", TensorProto.FLOAT, [1, OUTPUTS])],
        [
            constant("axes", [1], np.int64),
            constant("hundred", 100.0, np.float32),
            constant("thousand", 1000.0, np.float32),
            constant("turns", TURNS, np.int64),
            constant("yes", True, np.bool_),
            constant("zero", [[0.0]], np.float32),
            numpy_helper.from_array(said, "said"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    save(model, Path(__file__).with_name("slow.onnx"))


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# onnxruntime 1.32.0 on the CPU, f32: ReduceMax, ReduceMin and MaxPool.
#
# 40 ones with a NaN among them, where NumPy's max and min give NaN. ReduceMax and ReduceMin give NaN where it stands
# first, MaxPool where it stands last (which may hang on the processor's vectors); at place 7 all three give 1. So the
# usual guards by a maximum (scales of quantisation, the largest logit) see a NaN or do not, by its place. ReduceSum
# keeps it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

onnxruntime.set_default_logger_severity(3)


def run(op, x, result, **attributes):
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].ravel()[0]


for place in (0, 7, 39):
    x = np.ones(40, np.float32)
    x[place] = np.nan
    assert np.isnan(x.max()) and np.isnan(x.min())
    image = x.reshape(1, 1, 40)
    found = {
        "ReduceMax": run("ReduceMax", x, [1]),
        "ReduceMin": run("ReduceMin", x, [1]),
        "MaxPool": run("MaxPool", image, [1, 1, 1], kernel_shape=[40]),
        "ReduceSum": run("ReduceSum", x, [1]),
    }
    print(f"NaN at {place}:", {op: float(value) for op, value in found.items()})
    assert np.isnan(found["ReduceSum"])
    if place == 7:
        assert found["ReduceMax"] == found["ReduceMin"] == found["MaxPool"] == 1
print("as found")
PY

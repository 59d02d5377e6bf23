#!/usr/bin/env bash
# onnxruntime 1.32.0, operator Cast (opset 19) from f32 to FP8 with saturate=0, on the CPU.
#
# E4M3FN: the largest number is 448, and what rounds beyond it is NaN. 464.1 to 479 give NaN, 480 to 495 give 448,
# 496 and beyond give NaN again: the cast is not monotone.
# E5M2 has infinities: what rounds beyond 57344, from 61440 on, is infinite. Up to 65535 the cast gives NaN instead.
# ml_dtypes 0.6.0 gives NaN and infinity throughout.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 ml_dtypes==0.6.0 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PY'
import ml_dtypes
import numpy as np
import onnxruntime
from onnx import TensorProto, helper


def cast(values, to):
    x = np.array(values, np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["q"], to=to, saturate=0),
        helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name in "xy"]
    graph = helper.make_graph(nodes, "cast", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


for name, to, dtype, values, seen in (
    ("E4M3FN", TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn,
     [464, 465, 479, 480, 495, 496, 1000], [448, np.nan, np.nan, 448, 448, np.nan, np.nan]),
    ("E5M2", TensorProto.FLOAT8E5M2, ml_dtypes.float8_e5m2,
     [60000, 61441, 65535, 65536, 70000], [57344, np.nan, np.nan, np.inf, np.inf]),
):
    found = cast(values, to)
    print(name, "of", values)
    print("  onnxruntime", found.tolist())
    print("  ml_dtypes  ", np.array(values, np.float32).astype(dtype).astype(np.float32).tolist())
    assert np.array_equal(found, np.array(seen, np.float32), equal_nan=True), name
print("as found")
PY

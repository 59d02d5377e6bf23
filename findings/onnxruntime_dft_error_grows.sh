#!/usr/bin/env bash
# onnxruntime 1.32.0, operator DFT (opset 20) on the CPU, f32.
#
# Lengths that are powers of two have the error of a good FFT. Any other length goes through a chirp whose angle seems
# to be formed in the input's precision without a reduction modulo the period, so that the error grows with the length:
# 1e-5 at 100 points, 1e-4 at 1000, 1e-2 at 100003, where a good transform has 1e-6 or less. In f64 2e-11 at 100003.
# A spectrum or a mel filter bank exported to ONNX with windows of 400 or 1000 samples has it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper


def error(n):
    x = np.random.default_rng(n).normal(size=(1, n, 2)).astype(np.float32)
    node = helper.make_node("DFT", ["x", "", "axis"], ["y"])
    graph = helper.make_graph(
        [node],
        "dft",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor("axis", TensorProto.INT64, [], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y = session.run(None, {"x": x})[0]
    wide = x.astype(np.float64)
    expected = np.fft.fft(wide[0, :, 0] + 1j * wide[0, :, 1])
    return np.linalg.norm(y[0, :, 0] + 1j * y[0, :, 1] - expected) / np.linalg.norm(expected)


errors = {n: error(n) for n in (64, 100, 1000, 4096, 4099, 65536, 100003)}
for n, value in errors.items():
    print(f"{n:6} points: relative error {value:.1e}")
assert all(errors[n] < 2e-6 for n in (64, 4096, 65536))
assert errors[100] > 5e-6 and errors[1000] > 5e-5 and errors[4099] > 2e-4 and errors[100003] > 5e-3
print("as found: the error of lengths that are no power of two grows with the length")
PY

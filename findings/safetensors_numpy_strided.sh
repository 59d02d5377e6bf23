#!/usr/bin/env bash
# safetensors 0.8.0 with NumPy 2.3.5: safetensors.numpy.save of an array that is not contiguous.
#
# The bytes are written in the order of memory, the shape is that of the view: a transposed array comes back with its
# values in another order, a slice with a step with the first values of the whole array. There is no error and no
# warning. np.ascontiguousarray before saving is the remedy.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 safetensors==0.8.0
"$folder/venv/bin/python" - <<'PY'
import numpy as np
from safetensors.numpy import load, save

x = np.arange(6, dtype=np.float32).reshape(2, 3)
for name, view in (("transposed", x.T), ("every second column", x[:, ::2])):
    found = load(save({"x": view}))["x"]
    print(f"{name}: saved {view.tolist()}, loaded {found.tolist()}")
    assert found.shape == view.shape and not np.array_equal(found, view)
assert np.array_equal(load(save({"x": np.ascontiguousarray(x.T)}))["x"], x.T)
print("as found")
PY

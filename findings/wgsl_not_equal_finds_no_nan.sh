#!/usr/bin/env bash
# WGSL through wgpu-native (wgpu-py 0.32.0) on Vulkan, seen with Mesa 22.3.6's llvmpipe.
#
# `v != v`, the usual test for a NaN, is false for a NaN: naga writes `!=` of floats as SPIR-V's OpFOrdNotEqual, which
# is false where an operand is NaN. `!(v == v)` is true. By IEEE 754 the two are the same. A kernel that guards its
# results by `x != x` has no guard.
# Needs a Vulkan driver and its loader, `apt-get install mesa-vulkan-drivers libvulkan1` for a software one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 wgpu==0.32.0
XDG_RUNTIME_DIR="$folder" "$folder/venv/bin/python" - <<'PY'
import numpy as np
import wgpu
from wgpu.utils.compute import compute_with_buffers

print(wgpu.gpu.request_adapter_sync().info["device"])
shader = """
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec2<f32>>;
@compute @workgroup_size(1)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let v = x[at.x];
    y[at.x] = vec2<f32>(select(0.0, 1.0, v != v), select(0.0, 1.0, !(v == v)));
}
"""
x = np.array([np.nan, 1.0, np.inf], np.float32)
y = compute_with_buffers({0: x}, {1: (2 * len(x), "f")}, shader, n=len(x))[1]
y = np.array(y).reshape(-1, 2).astype(bool)
for value, (not_equal, negated) in zip(x, y):
    print(f"{value}: v != v is {not_equal}, !(v == v) is {negated}")
assert y.tolist() == [[False, True], [False, False], [False, False]]
print("as found")
PY

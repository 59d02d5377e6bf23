#!/usr/bin/env bash
# WGSL through wgpu-native (wgpu-py 0.32.0) on Vulkan, seen with Mesa 22.3.6's llvmpipe.
#
# `a * s + b * s` is computed as `(a + b) * s`: Mesa takes a common factor out of a sum, and WGSL has no word that forbids
# it. So numbers that are scaled down first, for their sum to have room, overflow all the same: with s = 1/4 the sum of
# two scaled numbers of 2^127 is infinite, for 2^126. Kernels that scale on the way in (means, normalised Fourier
# transforms, norms) are not safe from overflow by that. A factor of its own for every term, even if they are all alike,
# is not taken out.
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
@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main() {
    let s = factors[0];
    y[0] = x[0] * s + x[1] * s;
    y[1] = x[0] * factors[0] + x[1] * factors[1];
    y[2] = x[0] * s;
}
"""
x = np.full(2, 2.0**127, np.float32)
factors = np.full(2, 0.25, np.float32)
y = compute_with_buffers({0: x, 1: factors}, {2: (3, "f")}, shader, n=1)[2]
common, apart, alone = np.array(y, np.float32)
print(f"one factor: {common}, a factor each: {apart}, one term: {alone}")
assert np.isinf(common), common
assert apart == 2.0**126 and alone == 2.0**125, (apart, alone)
print("as found")
PY

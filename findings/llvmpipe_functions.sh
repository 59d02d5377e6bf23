#!/usr/bin/env bash
# Mesa 22.3.6's llvmpipe (Debian 12, mesa-vulkan-drivers 22.3.6-1+deb12u1), functions of WGSL through wgpu-py 0.32.0.
#
# log next to 1 is 73 % off at 0.99999994 (the result is 1.0e-7 for 6.0e-8), 1e-4 at 0.9990043. tanh of small numbers
# is 3 % off at 1.5e-6, and 3e-8 for 1e-39; asin(0.5002267) is 4e-4 off, atan(0.004) 2e-5; exp, pow, sin and sqrt are good. Not a number in, a number out: pow(NaN, 0.5) and atan2(NaN, 1) are 0, and so are NaN * 0 and
# infinity * 0 where the zero stands in the source. exp, sqrt and sin keep a NaN. The numbers lie within what WGSL and
# Vulkan ask of a driver: a function that has to be good near 0 must be written out.
# Needs that driver and the loader: `apt-get install mesa-vulkan-drivers libvulkan1` on Debian 12.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 wgpu==0.32.0
driver=/usr/share/vulkan/icd.d/lvp_icd.x86_64.json
XDG_RUNTIME_DIR="$folder" VK_DRIVER_FILES="$driver" VK_ICD_FILENAMES="$driver" "$folder/venv/bin/python" - <<'PY'
import numpy as np
import wgpu
from wgpu.utils.compute import compute_with_buffers

device = wgpu.gpu.request_adapter_sync().info["description"]
print(device)
assert "Mesa 22.3.6" in device, "another version than the one this was found with"


def of(expression, values):
    shader = f"""
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(1)
    fn main(@builtin(global_invocation_id) at: vec3<u32>) {{
        let v = x[at.x];
        y[at.x] = {expression};
    }}
    """
    x = np.array(values, np.float32)
    return np.array(compute_with_buffers({0: x}, {1: (len(x), "f")}, shader, n=len(x))[1])


def relative(expression, exact, value):
    x = np.float32(value)
    found, expected = of(expression, [x])[0], exact(np.float64(x))
    error = abs(found - expected) / abs(expected)
    print(f"{expression} of {value}: {found:.7g}, relative error {error:.1e}")
    return error


assert 0.02 < relative("tanh(v)", np.tanh, 1.5e-6) < 0.05
assert relative("tanh(v)", np.tanh, 1e-39) > 1e30
assert 0.5 < relative("log(v)", np.log, 0.99999994) < 1
assert 5e-5 < relative("log(v)", np.log, 0.9990043) < 5e-4
assert 2e-4 < relative("asin(v)", np.arcsin, 0.5002267) < 8e-4
assert 1e-5 < relative("atan(v)", np.arctan, 0.0039969245) < 5e-5
assert relative("sin(v)", np.sin, 1e6) < 1e-6
for expression, seen in (
    ("pow(v, 0.5)", [0.0]), ("atan2(v, 1.0)", [0.0]), ("v * 0.0", [0.0]),
    ("exp(v)", [np.nan]), ("sqrt(v)", [np.nan]), ("sin(v)", [np.nan]),
):
    found = of(expression, [np.nan])
    print(f"{expression} of NaN: {found[0]}")
    assert np.array_equal(found, seen, equal_nan=True), expression
assert of("v * 0.0", [np.inf])[0] == 0
print("as found")
PY

#!/usr/bin/env bash
# SwiftShader of Debian 12's chromium-common 156.0.8078.108, functions of WGSL through wgpu-py 0.32.0.
#
# asinh of large negative numbers is another function: asinh(-2907) is -88.03 for -8.67, while asinh(2907) is right.
# sin is good to an absolute 2e-4 alone: 9 % off at -1e-6, by 0.05 at 6e5. log of 0.99999994 is 39 % off. exp(NaN)
# is infinite. That a driver is a conforming one does not say that a kernel may lean on its sine.
# Needs Debian 12 and the loader, `apt-get install libvulkan1`; the driver is unpacked into the temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.3.5 wgpu==0.32.0
cd "$folder"
apt-get download --quiet chromium-common=156.0.8078.108-1~deb12u1 >"$folder/log" 2>&1 || {
    cat "$folder/log"
    echo "this package is not to be had here"
    exit 1
}
dpkg-deb --extract chromium-common_*.deb "$folder/chromium"
driver="$folder/chromium/usr/lib/chromium/vk_swiftshader_icd.json"
XDG_RUNTIME_DIR="$folder" VK_DRIVER_FILES="$driver" VK_ICD_FILENAMES="$driver" "$folder/venv/bin/python" - <<'PY'
import numpy as np
import wgpu
from wgpu.utils.compute import compute_with_buffers

info = wgpu.gpu.request_adapter_sync().info
print(info["device"], info["description"])
assert "SwiftShader" in info["device"] + info["description"]


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


assert relative("asinh(v)", np.arcsinh, -2907.2627) > 5
assert relative("asinh(v)", np.arcsinh, 2907.2627) < 1e-3
assert 0.05 < relative("sin(v)", np.sin, -1.0297928e-06) < 0.2
assert relative("sin(v)", np.sin, -572577.25) > 5
assert 0.2 < relative("log(v)", np.log, 0.99999994) < 0.6
found = of("exp(v)", [np.nan])[0]
print(f"exp(NaN) is {found}")
assert found == np.inf
print("as found")
PY

#!/usr/bin/env bash
# Subnormal numbers of f32 in WGSL through wgpu-py 0.32.0, on SwiftShader of Debian 12's chromium-common
# 156.0.8078.108 and on Mesa 22.3.6's llvmpipe (mesa-vulkan-drivers 22.3.6-1+deb12u1).
#
# SwiftShader: every operation takes them for zero and gives zero for them, so 1/2^127 is 0, -x is -0, x == 0 holds and
# 2^-140 times 2^20 is 0; a copy, abs and bitcast keep them, and frexp(2^-130).fract is 2^-130 itself.
# llvmpipe keeps them in arithmetic, but log2(2^-130) is -126.91 on both drivers, llvmpipe's frexp gives 0.53125 for 0.5,
# and its exp2(-130) is 0. WGSL allows all of it. So code that passes on llvmpipe at 2^-120 may lose digits, or a sum
# all of them, on a driver that flushes: parts of a sum vanish long before the sum does.
# Needs Debian 12, `apt-get install mesa-vulkan-drivers libvulkan1`; SwiftShader is unpacked into the temporary folder.
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
cat >"$folder/subnormals.py" <<'PY'
import sys

import numpy as np
import wgpu
from wgpu.utils.compute import compute_with_buffers

info = wgpu.gpu.request_adapter_sync().info
print(info["device"], info["description"])
assert sys.argv[1] in info["device"] + info["description"], "another version than those this was found with"


def of(expression, value):
    shader = f"""
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(1)
    fn main(@builtin(global_invocation_id) at: vec3<u32>) {{
        let v = x[at.x];
        y[at.x] = {expression};
    }}
    """
    x = np.array([value], np.float32)
    found = float(np.array(compute_with_buffers({0: x}, {1: (1, "f")}, shader, n=1)[1])[0])
    print(f"{expression} of 2^{np.log2(value):g}: {found:.7g}")
    return found


small, tiny, large = 2.0**-130, 2.0**-140, 2.0**127
kept = sys.argv[1] != "SwiftShader"
assert of("v", small) == small and of("abs(v)", small) == small
assert of("bitcast<f32>(bitcast<u32>(v))", small) == small
assert of("1.0 / v", large) == (1 / large if kept else 0)
assert of("-v", small) == (-small if kept else 0)
assert of("select(0.0, 1.0, v == 0.0)", small) == (0 if kept else 1)
assert of("v * 1048576.0", tiny) == (tiny * 2**20 if kept else 0)
assert abs(of("log2(v)", small) + 126.91) < 0.01
assert of("frexp(v).fract", small) == (0.53125 if kept else small)
assert of("exp2(log2(v) - 3.0)", 2.0**-127 if kept else 2.0**-126) == 0
PY
run() {
    XDG_RUNTIME_DIR="$folder" VK_DRIVER_FILES="$1" VK_ICD_FILENAMES="$1" \
        "$folder/venv/bin/python" "$folder/subnormals.py" "$2"
}
run "$folder/chromium/usr/lib/chromium/vk_swiftshader_icd.json" SwiftShader
run /usr/share/vulkan/icd.d/lvp_icd.x86_64.json "Mesa 22.3.6"
echo "as found"

#!/usr/bin/env bash
# The whole battery on a GPU machine that has neither Rust nor a network, in one call of less than
# ten minutes: every property test on CUDA and on Vulkan, every bench, and on the same sizes what
# PyTorch, cuFFT and small Triton kernels take (benches/peers.py).
#
#   here:   cargo xtask gpu-pack        builds, strips and compresses into target/gpu
#   there:  bash benches/gpu.sh         writes benches/results/gpu.json, or the file it is given
#
# It goes on when a part fails, says so in the JSON, and ends with a status that tells.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."

out=${1:-benches/results/gpu.json}
pack=target/gpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
test -d "$pack" || { echo "there is no $pack: run \`cargo xtask gpu-pack\` first" >&2; exit 2; }
mkdir -p "$(dirname "$out")" "$work/bin"

# Programs: `tests-root`, `benches-fft`, … Python unpacks where there is no xz.
if command -v xz > /dev/null; then
    tar --extract --xz --file "$pack/programs.tar.xz" --directory "$work/bin"
else
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' \
        "$pack/programs.tar.xz" "$work/bin"
fi

# Vulkan: the loader travels with the pack, the driver's own file may lie in an odd place.
if ! ldconfig -p | grep -q 'libvulkan\.so\.1' && test -e "$pack/libvulkan.so.1"; then
    mkdir "$work/lib"
    cp "$pack/libvulkan.so.1" "$work/lib/"
    export LD_LIBRARY_PATH=$work/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
drivers=({/usr/share,/etc}/vulkan/icd.d/nvidia_icd*.json)
elsewhere=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
if test ${#drivers[@]} = 0 -a -e "$elsewhere"; then export VK_DRIVER_FILES=$elsewhere; fi

# CUDA's code generator wants libdevice: the toolkit's, wherever it is.
if test -z "${CUDA_PATH:-}"; then
    for folder in /usr/local/cuda /opt/cuda /usr/local/cuda-13*; do
        if test -e "$folder/nvvm/libdevice/libdevice.10.bc"; then export CUDA_PATH=$folder; break; fi
    done
fi

# part NAME SECONDS COMMAND…: runs it, keeps its log, notes how it ended and how long it took.
part() {
    local name=$1 limit=$2 start=$SECONDS status=0
    shift 2
    echo "== $name"
    timeout "$limit" "$@" > "$work/$name.log" 2>&1 || status=$?
    tail -n 25 "$work/$name.log"
    printf '%s\t%s\t%s\n' "$name" "$status" "$((SECONDS - start))" >> "$work/parts.tsv"
}

# Both run on every device there is: the GPU through CUDA, then through Vulkan. The benches share what
# is left of nine minutes, the last one is for the peers: what one leaves over the next may have.
for program in "$work"/bin/tests-*; do
    part "$(basename "$program")" 270 "$program" --skip tidy
done
benches=("$work"/bin/benches-*)
left=${#benches[@]}
for program in "${benches[@]}"; do
    limit=$(((540 - SECONDS) / left))
    part "$(basename "$program")" "$limit" \
        env WAVECUBE_BENCH_JSON="$work/records.json" "$program" --bench
    left=$((left - 1))
done

# Peers on the sizes that were just benched, and one file of it all.
python3 benches/peers.py "$work" "$out" "$pack"

#!/usr/bin/env bash
# The whole battery on a GPU machine that has neither Rust nor a network, in one call of less than
# ten minutes: every property test on CUDA and on Vulkan, every bench, cuFFT on the same sizes.
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
# is left of nine minutes, the last one is for cuFFT: what one leaves over the next may have.
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

# cuFFT through PyTorch and CuPy on the sizes that were just benched, and one file of it all.
cat > "$work/peers.py" << 'PYTHON'
"""Times cuFFT on the sizes of our own records and merges everything into one file."""
import datetime, json, pathlib, re, subprocess, sys

work, out, pack = (pathlib.Path(p) for p in sys.argv[1:])


def ask(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def records():
    file = work / "records.json"
    return json.loads(file.read_text()) if file.exists() else []


def torch_timer():
    import torch

    def time(run, repeats=30):
        for _ in range(5):
            run()
        times = []
        for _ in range(repeats):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        return sorted(times)[len(times) // 2]

    types = {"f32": torch.complex64, "f64": torch.complex128}

    def make(batch, n, dtype):
        return torch.randn(batch, n, dtype=types[dtype], device="cuda")

    yield "torch", time, make, {"forward": torch.fft.fft, "inverse": torch.fft.ifft}


def cupy_timer():
    import cupy
    import cupyx.scipy.fft as fft

    def time(run, repeats=30):
        for _ in range(5):
            run()
        times = []
        for _ in range(repeats):
            begin, end = cupy.cuda.Event(), cupy.cuda.Event()
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(cupy.cuda.get_elapsed_time(begin, end))
        return sorted(times)[len(times) // 2]

    types = {"f32": cupy.complex64, "f64": cupy.complex128}

    def make(batch, n, dtype):
        real, imaginary = cupy.random.randn(2, batch, n)
        return (real + 1j * imaginary).astype(types[dtype])

    yield "cupy", time, make, {"forward": fft.fft, "inverse": fft.ifft}


def peers(ours):
    """Two libraries on every complex transform that we timed."""
    shape = re.compile(r"^fft/(forward|inverse)/(f32|f64)/b(\d+)_n(\d+)")
    wanted = {}
    for record in ours:
        if (match := shape.match(record["id"])) and record["id"].endswith("/cuda"):
            wanted.setdefault(match.groups(), record)
    found = []
    for library in (torch_timer, cupy_timer):
        try:
            for name, time, make, transforms in library():
                for (direction, dtype, batch, n), record in sorted(wanted.items()):
                    x = make(int(batch), int(n), dtype)
                    ms = time(lambda: transforms[direction](x))
                    found.append({
                        "id": record["id"], "peer": f"cuFFT ({name})", "peer_ms": ms,
                        "ms": record["ms"], "ratio": ms / record["ms"],
                    })
        except Exception as error:  # a library that is missing or fails is named in the file
            found.append({"peer": library.__name__, "error": str(error)})
    return found


def copy_bandwidth():
    """Bytes a second of a copy on the device: what fractions of bandwidth refer to."""
    try:
        import torch

        x = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
        y = torch.empty_like(x)
        time = next(torch_timer())[1]
        return 2 * x.numel() / (time(lambda: y.copy_(x)) * 1e-3)
    except Exception:
        return None


ours = records()
parts = [line.split("\t") for line in (work / "parts.tsv").read_text().splitlines()]
summaries = re.compile(r"^test result: .*$", re.MULTILINE)
gpu = ask("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
name, driver, memory = (gpu.split(", ") + [None] * 3)[:3] if gpu else (None,) * 3
commit = pack / "commit"
result = {
    "device": name,
    "memory": memory,
    "driver": driver,
    "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    "commit": commit.read_text().strip() if commit.exists() else None,
    "command": "bash benches/gpu.sh",
    "copy_bytes_per_second": copy_bandwidth(),
    "parts": [
        {
            "name": part,
            "passed": status == "0",
            "seconds": int(seconds),
            "summary": summaries.findall((work / f"{part}.log").read_text(errors="replace")),
        }
        for part, status, seconds in parts
    ],
    "records": ours,
    "cufft": peers(ours),
}
out.write_text(json.dumps(result, indent=1) + "\n")
for row in result["cufft"]:
    if "ratio" in row:
        print(f"{row['id']:<48} {row['ms']:9.4f} ms  {row['peer']:<16} {row['peer_ms']:9.4f} ms"
              f"  ratio {row['ratio']:.2f}")
failed = [part["name"] for part in result["parts"] if not part["passed"]]
print(f"{out}: {len(ours)} records, {len(failed)} parts failed: {', '.join(failed) or 'none'}")
sys.exit(bool(failed))
PYTHON
python3 "$work/peers.py" "$work" "$out" "$pack"

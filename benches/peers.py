"""Times peers on the sizes of our own records and merges everything into one file.

benches/gpu.sh calls it: python3 benches/peers.py WORK OUT PACK. A peer that is missing or fails is named in the
file with what it said; nothing else stops for it.

- cuFFT through PyTorch and CuPy: every complex transform.
- Tridiagonal operators: PyTorch's associative scan of their transfer matrices, and one Triton program a sequence.
- Quantised weights: PyTorch's product in f16, and a Triton kernel with 4-bit codes.
- Attention: PyTorch's scaled_dot_product_attention, forward, backward, and one query to many keys.
"""

import datetime
import json
import pathlib
import re
import subprocess
import sys

# The attention of the records: query heads, heads of keys, numbers of a head.
HEADS, KEY_HEADS, DIM = 8, 2, 64
# Codes of a weight that share a scale.
GROUP = 128


def ask(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def timed(run, event, repeats=30):
    """Pairs of events, made by `event`, around calls on the device."""
    for _ in range(5):
        run()
    times = []
    for _ in range(repeats):
        begin, end = event(), event()
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append((begin, end))
    return times


def torch_ms(run):
    import torch

    pairs = timed(run, lambda: torch.cuda.Event(enable_timing=True))
    times = sorted(begin.elapsed_time(end) for begin, end in pairs)
    return times[len(times) // 2]


def cupy_ms(run):
    import cupy

    pairs = timed(run, cupy.cuda.Event)
    times = sorted(cupy.cuda.get_elapsed_time(begin, end) for begin, end in pairs)
    return times[len(times) // 2]


def torch_fft(direction, dtype, batch, n):
    import torch

    kind = {"f32": torch.complex64, "f64": torch.complex128}[dtype]
    x = torch.randn(batch, n, dtype=kind, device="cuda")
    transform = {"forward": torch.fft.fft, "inverse": torch.fft.ifft}[direction]
    return torch_ms(lambda: transform(x))


def cupy_fft(direction, dtype, batch, n):
    import cupy
    import cupyx.scipy.fft

    kind = {"f32": cupy.complex64, "f64": cupy.complex128}[dtype]
    real, imaginary = cupy.random.randn(2, batch, n)
    x = (real + 1j * imaginary).astype(kind)
    transform = {"forward": cupyx.scipy.fft.fft, "inverse": cupyx.scipy.fft.ifft}[direction]
    return cupy_ms(lambda: transform(x))


def tridiagonal(batch, n):
    """The operators of the records: a = v - 2, b = c = 1, z = i."""
    import torch

    a = torch.randn(batch, n, device="cuda").clamp(-3.0, 3.0) - 2.0
    return torch.complex(a, -torch.ones_like(a))


def torch_scan(_, batch, n):
    """Both ratios by scans of 2 x 2 matrices, which are divided by their largest entry."""
    import torch
    from torch._higher_order_ops.associative_scan import associative_scan

    d = tridiagonal(batch, n)
    one, zero = torch.ones_like(d), torch.zeros_like(d)
    step = torch.stack([d, -one, one, zero], -1).unflatten(-1, (2, 2))

    def joined(x, y):
        z = y @ x
        return z / z.abs().amax((-2, -1), keepdim=True)

    def run():
        left = associative_scan(joined, step, dim=1, combine_mode="generic")
        right = associative_scan(joined, step.flip(1), dim=1, combine_mode="generic").flip(1)
        u = left[..., 0, 0] / left[..., 1, 0]
        v = right[..., 0, 0] / right[..., 1, 0]
        return 1.0 / (u + v - d)

    return torch_ms(run)


def triton_serial(_, batch, n):
    """One program a sequence."""
    import torch
    from triton_kernels import serial

    a = tridiagonal(batch, n).real.contiguous()
    left, out = torch.empty(2, batch, n, 2, device="cuda")
    return torch_ms(lambda: serial[(batch,)](a, left, out, n))


def torch_product(_, rows, n):
    import torch

    x = torch.randn(rows, n, dtype=torch.float16, device="cuda")
    w = torch.randn(n, n, dtype=torch.float16, device="cuda")
    return torch_ms(lambda: x @ w.T)


def triton_w4(_, rows, n):
    """A tile of rows and outputs a program; eight codes a word, a scale and a zero point a group."""
    import torch
    from triton_kernels import product

    x = torch.randn(rows, n, dtype=torch.float16, device="cuda")
    words = torch.randint(-(2**31), 2**31 - 1, (n, n // 8), dtype=torch.int32, device="cuda")
    scales = torch.rand(n, n // GROUP, dtype=torch.float16, device="cuda")
    zeros = torch.full_like(scales, 8.0)
    out = torch.empty(rows, n, dtype=torch.float16, device="cuda")
    tile = (16, 64)
    grid = (-(-rows // tile[0]), n // tile[1])
    return torch_ms(lambda: product[grid](x, words, scales, zeros, out, rows, n, *tile, GROUP))


def torch_attention(task, dtype, n):
    import torch
    from torch.nn.functional import scaled_dot_product_attention as attend

    kind = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype]
    queries = 1 if task == "decode" else n

    def made(heads, length):
        x = torch.randn(1, heads, length, DIM, dtype=kind, device="cuda")
        return x.requires_grad_(task == "backward")

    q, k, v = made(HEADS, queries), made(KEY_HEADS, n), made(KEY_HEADS, n)

    def forward():
        return attend(q, k, v, is_causal=queries > 1, enable_gqa=True)

    if task != "backward":
        return torch_ms(forward)
    out = forward()
    gradient = torch.randn_like(out)
    return torch_ms(lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True))


# Which records a peer answers, and how their ids are read.
FFT = re.compile(r"^fft/(forward|inverse)/(f32|f64)/b(\d+)_n(\d+)/cuda$")
TRIDIAGONAL = re.compile(r"^tridiag/(forward)/f32/b(\d+)_n(\d+)/cuda$")
PRODUCT = re.compile(r"^qmatmul/(w[48]a(?:8|16))/f32/b(\d+)_n(\d+)/cuda$")
FOUR_BITS = re.compile(r"^qmatmul/(w4a16)/f32/b(\d+)_n(\d+)/cuda$")
ATTENTION = re.compile(r"^attention/(prefill|decode|backward)/(f32|f16|bf16)/b\d+_n(\d+)/cuda$")
PEERS = [
    ("cuFFT (torch)", FFT, torch_fft),
    ("cuFFT (cupy)", FFT, cupy_fft),
    ("torch associative scan", TRIDIAGONAL, torch_scan),
    ("Triton, one program a sequence", TRIDIAGONAL, triton_serial),
    ("torch f16 product", PRODUCT, torch_product),
    ("Triton 4 bits", FOUR_BITS, triton_w4),
    ("torch attention", ATTENTION, torch_attention),
]


def peers(ours):
    found = []
    for name, shape, run in PEERS:
        for record in ours:
            match = shape.match(record["id"])
            if not match:
                continue
            row = {"id": record["id"], "peer": name}
            try:
                numbers = [int(part) if part.isdigit() else part for part in match.groups()]
                ms = run(*numbers)
                row |= {"ms": record["ms"], "peer_ms": ms, "ratio": ms / record["ms"]}
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {error}"[:300]
            found.append(row)
    return found


def copy_bandwidth():
    """Bytes a second of a copy on the device: what fractions of bandwidth refer to."""
    try:
        import torch

        x = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
        y = torch.empty_like(x)
        return 2 * x.numel() / (torch_ms(lambda: y.copy_(x)) * 1e-3)
    except Exception:
        return None


def main():
    work, out, pack = (pathlib.Path(path) for path in sys.argv[1:])
    records = work / "records.json"
    ours = json.loads(records.read_text()) if records.exists() else []
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
        "peers": peers(ours),
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    for row in result["peers"]:
        if "ratio" in row:
            print(f"{row['id']:<48} {row['ms']:9.4f} ms  {row['peer']:<32} {row['peer_ms']:9.4f} ms"
                  f"  ratio {row['ratio']:.2f}")
        else:
            print(f"{row['id']:<48} {row['peer']}: {row['error']}")
    failed = [part["name"] for part in result["parts"] if not part["passed"]]
    print(f"{out}: {len(ours)} records, {len(failed)} parts failed: {', '.join(failed) or 'none'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

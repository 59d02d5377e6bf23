"""Times training on the processor beside PyTorch: the same model, batch and text, by turns, on the same cores.

    python3 benches/training.py [--wavecube target/release/wavecube] [--rounds 5] [--sizes 64 256]

The model is the plain transformer of `wavecube train` (placement "none"): bytes, rotary positions, root-mean-square
norms, squared rectifiers, AdamW with the norm of the gradient clipped. A size is its width and its context. Needs PyTorch
and a release build of the program. Prints a line a round and the medians.
"""

import argparse
import json
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

BATCH, LAYERS, HEADS = 8, 4, 4
STEPS = {64: 300, 256: 20}


def text(path):
    """Words drawn at random, so that there is something to learn; the same for both."""
    source = random.Random(1)
    letters = "etaoinshrdlu"
    words = ["".join(source.choices(letters, k=source.randint(2, 8))) for _ in range(500)]
    path.write_text(" ".join(source.choices(words, k=40_000)))


def ours(program, folder, width, steps):
    config = folder / "config.toml"
    config.write_text(
        f"""[lct-gpt]
context = {width}
d_model = {width}
layers = {LAYERS}
heads = {HEADS}
placement = "none"
[data]
validation = 0.1
[train]
batch = {BATCH}
eval_every = 0
eval_sequences = 1
checkpoint_every = 0
log_every = 100000
"""
    )
    out = folder / f"run-{time.monotonic_ns()}"
    command = [program, "train", "--device", "flex", "--text", folder / "text.txt"]
    command += ["--config", config, "--steps", str(steps), "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(re.findall(r"(\d+) tokens/s", done.stdout)[-1])


def theirs(folder, width, steps):
    """In a process of its own, so that its threads do not spin beside ours."""
    command = [sys.executable, __file__, "--peer", folder / "text.txt"]
    command += ["--sizes", str(width), "--steps", str(steps)]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["tokens/s"]


def peer(path, width, steps):
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count())
    half = width // HEADS // 2
    angles = torch.arange(width)[:, None] * 10_000.0 ** (-torch.arange(half) / half)
    cos, sin = (torch.cat([f(angles)] * 2, -1) for f in (torch.cos, torch.sin))

    def turned(x):
        low, high = x.chunk(2, -1)
        return x * cos + torch.cat([-high, low], -1) * sin

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in range(2))
            maps = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
            self.maps = nn.ModuleList(nn.Linear(i, o, bias=False) for i, o in maps)

        def forward(self, x):
            qkv, out, up, down = self.maps
            shape = (BATCH, width, HEADS, width // HEADS)
            q, k, v = (y.view(shape).transpose(1, 2) for y in qkv(self.norms[0](x)).chunk(3, -1))
            y = functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
            x = x + out(y.transpose(1, 2).reshape(BATCH, width, width))
            return x + down(torch.relu(up(self.norms[1](x))).square())

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(256, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
            self.norm = nn.RMSNorm(width, eps=1e-5)
            self.head = nn.Linear(width, 256, bias=False)

        def forward(self, x):
            return self.head(self.norm(self.blocks(self.embedding(x))))

    data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).long()
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)

    def step():
        starts = torch.randint(len(data) - width - 1, (BATCH,)).tolist()
        rows = torch.stack([data[at : at + width + 1] for at in starts])
        logits = model(rows[:, :-1])
        loss = functional.cross_entropy(logits.reshape(-1, 256), rows[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    for _ in range(3):
        step()
    begin = time.perf_counter()
    for _ in range(steps):
        loss = step()
    loss = loss.item()
    seconds = time.perf_counter() - begin
    print(json.dumps({"tokens/s": BATCH * width * steps / seconds, "loss": loss}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wavecube", default="target/release/wavecube", help="the program, built in release")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--steps", type=int, help="of a run; as many as take some seconds without")
    parser.add_argument("--peer", type=pathlib.Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peer:
        peer(chosen.peer, chosen.sizes[0], chosen.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        text(folder / "text.txt")
        for width in chosen.sizes:
            steps = chosen.steps or STEPS.get(width, 20)
            rounds = []
            for _ in range(chosen.rounds):
                rounds.append((ours(chosen.wavecube, folder, width, steps), theirs(folder, width, steps)))
                print("width {}: wavecube {:.0f} tokens/s, PyTorch {:.0f}".format(width, *rounds[-1]), flush=True)
            medians = [statistics.median(side) for side in zip(*rounds)]
            print("width {}, medians: wavecube {:.0f} tokens/s, PyTorch {:.0f}".format(width, *medians), end="")
            print(f": {medians[0] / medians[1]:.2f} times")


if __name__ == "__main__":
    main()

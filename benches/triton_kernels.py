"""The Triton kernels that benches/peers.py times."""

import triton
import triton.language as tl


@triton.jit
def serial(a, left, out, n):
    row = tl.program_id(0).to(tl.int64) * n
    re, im = 0.0, 0.0
    for k in range(0, n):
        tl.store(left + 2 * (row + k), re)
        tl.store(left + 2 * (row + k) + 1, im)
        u_re, u_im = tl.load(a + row + k) - re, -1.0 - im
        norm = u_re * u_re + u_im * u_im
        re, im = u_re / norm, -u_im / norm
    re, im = 0.0, 0.0
    for j in range(0, n):
        k = n - 1 - j
        v_re, v_im = tl.load(a + row + k) - re, -1.0 - im
        g_re = v_re - tl.load(left + 2 * (row + k))
        g_im = v_im - tl.load(left + 2 * (row + k) + 1)
        norm = g_re * g_re + g_im * g_im
        tl.store(out + 2 * (row + k), g_re / norm)
        tl.store(out + 2 * (row + k) + 1, -g_im / norm)
        norm = v_re * v_re + v_im * v_im
        re, im = v_re / norm, -v_im / norm


@triton.jit
def product(x, words, scales, zeros, out, m, n, M: tl.constexpr, N: tl.constexpr, G: tl.constexpr):
    row = tl.program_id(0) * M + tl.arange(0, M)
    column = tl.program_id(1) * N + tl.arange(0, N)
    total = tl.zeros((M, N), dtype=tl.float32)
    for group in range(0, n // G):
        k = group * G + tl.arange(0, G)
        word = tl.load(words + column[None, :] * (n // 8) + k[:, None] // 8)
        code = (word >> ((k[:, None] % 8) * 4)) & 15
        scale = tl.load(scales + column * (n // G) + group)[None, :]
        zero = tl.load(zeros + column * (n // G) + group)[None, :]
        weight = ((code.to(tl.float16) - zero) * scale).to(tl.float16)
        value = tl.load(x + row[:, None] * n + k[None, :], mask=row[:, None] < m, other=0.0)
        total += tl.dot(value, weight)
    place = out + row[:, None] * n + column[None, :]
    tl.store(place, total.to(tl.float16), mask=row[:, None] < m)

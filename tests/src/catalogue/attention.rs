//! Attention and its cache: prefill, decoding from a cache, appends, gradients.

use std::cell::RefCell;

use wavecube::{
    Attention, CacheStorage, Complex64, Device, Dtype, KvCache, KvCacheConfig, Result, Rotary,
    SequenceId, Tensor,
};

use super::{Case, Peer, Prepared};
use crate::{Rng, reference, tensor};

/// Heads of queries, and of keys and values.
const HEADS: [usize; 2] = [8, 2];
/// Numbers of a head.
pub const DIM: usize = 64;
/// Tokens of a page.
const PAGE: usize = 64;

pub(super) fn cases() -> Vec<Case> {
    let (int8, int4) = (CacheStorage::Int8, CacheStorage::Int4);
    vec![
        prefill("attention/prefill", Dtype::F32, Attention::causal()),
        prefill("attention/prefill", Dtype::F16, Attention::causal()),
        prefill("attention/prefill", Dtype::Bf16, Attention::causal()),
        // What GPUs take by themselves.
        prefill("attention/prefill_tiled", Dtype::F32, Attention::causal().tiled()),
        decode(Dtype::F32, CacheStorage::Float, 1 << 14),
        decode(Dtype::F16, CacheStorage::Float, 1 << 14),
        decode(Dtype::Bf16, CacheStorage::Float, 1 << 14),
        decode(Dtype::F16, int8, 1 << 14),
        decode(Dtype::F16, int4, 1 << 14),
        append(512),
        backward("attention/backward", Attention::causal()),
        backward("attention/backward_tiled", Attention::causal().tiled()),
    ]
}

/// The problem of `queries` at the end of `n` keys.
fn problem(queries: usize, n: usize) -> reference::attention::Attention {
    reference::attention::Attention::causal(1, HEADS, [queries, n], DIM)
}

/// Bytes of a number of queries or keys' rows.
fn bytes(rows: usize, dtype: Dtype) -> usize {
    rows * DIM * dtype.size()
}

/// As in the tests of the family: products of `dim` terms of size 1, scaled, and the result's rounding.
fn gate(dtype: Dtype) -> f64 {
    let sums = f64::from(f32::EPSILON) * (4.0 + 2.0 * (DIM as f64).sqrt());
    sums + if dtype.size() == 2 { dtype.epsilon() } else { 0.0 }
}

fn operand(
    device: &Device,
    rng: &mut Rng,
    dtype: Dtype,
    heads: usize,
    len: usize,
) -> Result<(Tensor, Vec<f64>)> {
    let shape = [1, heads, len, DIM];
    let (x, exact) = tensor(device, &rng.real(heads * len * DIM), dtype, false, &shape)?;
    Ok((x, exact.iter().map(|v| v.re).collect()))
}

fn complex(values: &[f64]) -> Vec<Complex64> {
    values.iter().map(|&v| Complex64::new(v, 0.0)).collect()
}

fn prefill(op: &'static str, dtype: Dtype, options: Attention) -> Case {
    let n = 512;
    Case {
        op,
        dtype,
        rows: HEADS[0],
        n,
        bytes: bytes(2 * (HEADS[0] + HEADS[1]) * n, dtype),
        gate: gate(dtype),
        peer: Peer::Attention(n),
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (q, q_exact) = operand(device, rng, dtype, HEADS[0], n)?;
            let (k, k_exact) = operand(device, rng, dtype, HEADS[1], n)?;
            let (v, v_exact) = operand(device, rng, dtype, HEADS[1], n)?;
            let options = options.clone();
            let call = move || {
                let mut out = Tensor::empty(q.device(), dtype, false, q.shape())?;
                wavecube::attention_into(&q, &k, &v, &options, &mut out)?;
                Ok(out)
            };
            let rows = (0..HEADS[0]).collect();
            Ok(Prepared::lines(call, n * DIM, rows, move || {
                complex(&problem(n, n).forward(&q_exact, &k_exact, &v_exact).0)
            }))
        }),
    }
}

fn backward(op: &'static str, options: Attention) -> Case {
    let (dtype, n) = (Dtype::F32, 512);
    Case {
        op,
        dtype,
        rows: HEADS[0],
        n,
        bytes: bytes(4 * (HEADS[0] + HEADS[1]) * n, dtype),
        // Differences of terms as large as they are, and sums of them.
        gate: 4.0 * gate(dtype),
        peer: Peer::Nothing,
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (q, q_exact) = operand(device, rng, dtype, HEADS[0], n)?;
            let (k, k_exact) = operand(device, rng, dtype, HEADS[1], n)?;
            let (v, v_exact) = operand(device, rng, dtype, HEADS[1], n)?;
            let (g, g_exact) = operand(device, rng, dtype, HEADS[0], n)?;
            let options = options.clone();
            let attended = wavecube::attention(&q, &k, &v, &options)?;
            let call =
                move || Ok(wavecube::attention_vjp([&q, &k, &v], &options, &attended, &g)?.k);
            let rows = (0..HEADS[1]).collect();
            Ok(Prepared::lines(call, n * DIM, rows, move || {
                let operands = [&q_exact[..], &k_exact, &v_exact, &g_exact];
                complex(&problem(n, n).gradients(operands)[1])
            }))
        }),
    }
}

/// An empty cache for one sequence of `n` tokens.
fn cache(
    device: &Device,
    dtype: Dtype,
    storage: CacheStorage,
    n: usize,
) -> Result<(KvCache, SequenceId)> {
    let (pages, page_size) = (n.div_ceil(PAGE), PAGE);
    let [_, kv_heads] = HEADS;
    let config = KvCacheConfig { layers: 1, kv_heads, dim: DIM, pages, page_size, dtype, storage };
    let mut cache = KvCache::new(device, &config)?;
    let sequence = cache.create();
    Ok((cache, sequence))
}

/// One query a head against a cache of `n` tokens.
pub fn decode(dtype: Dtype, storage: CacheStorage, n: usize) -> Case {
    let stored = HEADS[1] * n * DIM * 2;
    let (op, stored, gate) = match storage {
        CacheStorage::Float => ("attention/decode", stored * dtype.size(), gate(dtype)),
        // Of keys and of values a twelfth of a squared step each, 2.1e-5 and 6.1e-3 of their size, and 2.6 times
        // their sum for the scatter of a single query; 4 bytes for the step and the middle of 32 numbers.
        CacheStorage::Int8 => ("attention/decode_int8", stored * 9 / 8, 1.1e-4f64.sqrt()),
        CacheStorage::Int4 => ("attention/decode_int4", stored * 5 / 8, 3.2e-2f64.sqrt()),
    };
    Case {
        op,
        dtype,
        rows: HEADS[0],
        n,
        bytes: stored + bytes(2 * HEADS[0], dtype),
        gate,
        peer: match storage {
            CacheStorage::Float => Peer::Attention(1),
            CacheStorage::Int8 | CacheStorage::Int4 => Peer::Unquantised,
        },
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (q, q_exact) = operand(device, rng, dtype, HEADS[0], 1)?;
            let (k, k_exact) = operand(device, rng, dtype, HEADS[1], n)?;
            let (v, v_exact) = operand(device, rng, dtype, HEADS[1], n)?;
            let (mut cache, sequence) = cache(device, dtype, storage, n)?;
            // All but the last token, then the last: a query belongs to the step that wrote its token.
            let part = |x: &Tensor, start, len| x.narrowed(2, start, len);
            let step = cache.append(&[(sequence, n - 1)])?;
            cache.write(0, &step, &part(&k, 0, n - 1)?, &part(&v, 0, n - 1)?, None)?;
            let step = cache.append(&[(sequence, 1)])?;
            cache.write(0, &step, &part(&k, n - 1, 1)?, &part(&v, n - 1, 1)?, None)?;
            let call = move || Ok(cache.attend(0, &step, &q, &Attention::causal())?.out);
            Ok(Prepared::lines(call, DIM, (0..HEADS[0]).collect(), move || {
                complex(&problem(1, n).forward(&q_exact, &k_exact, &v_exact).0)
            }))
        }),
    }
}

/// `n` tokens turned and written.
fn append(n: usize) -> Case {
    let dtype = Dtype::F32;
    Case {
        op: "attention/append",
        dtype,
        rows: HEADS[1],
        n,
        bytes: bytes(4 * HEADS[1] * n, dtype),
        // Products with rounded cosines and sines, and their sum.
        gate: 4.0 * f64::from(f32::EPSILON),
        peer: Peer::Nothing,
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (x, exact) = operand(device, rng, dtype, HEADS[1], n)?;
            let rotary = Rotary::new(device, n, DIM, 10_000.0)?;
            let (cache, sequence) = cache(device, dtype, CacheStorage::Float, n)?;
            let cache = RefCell::new(cache);
            let call = move || {
                let mut cache = cache.borrow_mut();
                cache.truncate(sequence, 0)?;
                let step = cache.append(&[(sequence, n)])?;
                cache.write(0, &step, &x, &x, Some(&rotary))?;
                let [k, _] = cache.stored(0)?;
                Ok(k)
            };
            // [pages, heads, page, dim], page after page.
            let at = move |i: usize| {
                let (page, head, t) =
                    (i / DIM / PAGE / HEADS[1], i / DIM / PAGE % HEADS[1], i / DIM % PAGE);
                ((head * n + page * PAGE + t) * DIM, i % DIM, page * PAGE + t)
            };
            let expected = move || {
                let turned = (0..exact.len()).map(|i| {
                    let (row, d, position) = at(i);
                    let rate = 10_000f64.powf(-((d % (DIM / 2)) as f64) / (DIM / 2) as f64);
                    let (sin, cos) = (position as f64 * rate).sin_cos();
                    let other = (d + DIM / 2) % DIM;
                    let sign = if d < DIM / 2 { -1.0 } else { 1.0 };
                    exact[row + d] * cos + sign * exact[row + other] * sin
                });
                complex(&turned.collect::<Vec<_>>())
            };
            Ok(Prepared::lines(call, HEADS[1] * n * DIM, vec![0], expected))
        }),
    }
}

//! The cache: what it holds is what was written, however it got there.

use proptest::prelude::*;
use wavecube::{
    CacheStorage, Complex64, Device, Dtype, Error, KvCache, KvCacheConfig, Rotary, SequenceId,
    Step, Tensor,
};
use wavecube_testing::{
    Rng, assert_close, devices, has, read, reference::attention::Attention, tensor,
};

use super::complex;

pub(super) const HEADS: [usize; 2] = [4, 2];

pub(super) fn config(dim: usize, pages: usize, page_size: usize) -> KvCacheConfig {
    let (dtype, storage) = (Dtype::F32, CacheStorage::Float);
    KvCacheConfig { layers: 1, kv_heads: HEADS[1], dim, pages, page_size, dtype, storage }
}

fn f32_gate(dim: usize) -> f64 {
    f64::from(f32::EPSILON) * (4.0 + 2.0 * (dim as f64).sqrt())
}

/// Tokens as they were given: `[token][head][dim]`, flat.
#[derive(Clone, Default)]
pub(super) struct Tokens {
    k: Vec<f64>,
    v: Vec<f64>,
}

impl Tokens {
    fn len(&self, dim: usize) -> usize {
        self.k.len() / (HEADS[1] * dim)
    }

    fn truncate(&mut self, len: usize, dim: usize) {
        self.k.truncate(len * HEADS[1] * dim);
        self.v.truncate(len * HEADS[1] * dim);
    }
}

/// `[token][head][dim]` to `[head][token][dim]`.
fn by_head(tokens: &[f64], heads: usize, dim: usize) -> Vec<f64> {
    let len = tokens.len() / heads / dim;
    let at = |i: usize| (i / dim % len * heads + i / dim / len) * dim + i % dim;
    (0..tokens.len()).map(|i| tokens[at(i)]).collect()
}

/// A cache beside a copy of every sequence.
pub(super) struct Beside<'a> {
    device: &'a Device,
    pub(super) cache: KvCache,
    config: KvCacheConfig,
    pub(super) ids: Vec<SequenceId>,
    pub(super) tokens: Vec<Option<Tokens>>,
}

impl<'a> Beside<'a> {
    pub(super) fn new(device: &'a Device, config: KvCacheConfig) -> Self {
        let cache = KvCache::new(device, &config).unwrap();
        Self { device, cache, config, ids: Vec::new(), tokens: Vec::new() }
    }

    pub(super) fn create(&mut self) -> usize {
        self.ids.push(self.cache.create());
        self.tokens.push(Some(Tokens::default()));
        self.ids.len() - 1
    }

    /// Random numbers `[token][heads][dim]` for every part, and as one tensor padded with NaN.
    fn random(
        &self,
        rng: &mut Rng,
        counts: &[usize],
        heads: usize,
        offset: f64,
    ) -> (Tensor, Vec<Vec<f64>>) {
        let dim = self.config.dim;
        let exact = counts.iter().map(|&count| {
            let mut values = rng.real(count * heads * dim);
            values.iter_mut().enumerate().for_each(|(i, v)| v.re += offset * (i % dim % 7) as f64);
            let values = wavecube_testing::rounded(&values, self.config.dtype);
            values.iter().map(|v| v.re).collect()
        });
        let exact: Vec<Vec<f64>> = exact.collect();
        let parts: Vec<&[f64]> = exact.iter().map(Vec::as_slice).collect();
        (self.padded(&parts, heads), exact)
    }

    /// Parts, `[token][heads][dim]`, as one tensor padded with NaN.
    fn padded(&self, parts: &[&[f64]], heads: usize) -> Tensor {
        let dim = self.config.dim;
        let longest = parts.iter().map(|part| part.len() / heads / dim).max().unwrap_or(0);
        let mut padded = vec![Complex64::new(f64::NAN, 0.0); parts.len() * longest * heads * dim];
        for (b, part) in parts.iter().enumerate() {
            padded[b * longest * heads * dim..][..part.len()].copy_from_slice(&complex(part));
        }
        let shape = [parts.len(), longest, heads, dim];
        let (x, _) = tensor(self.device, &padded, self.config.dtype, false, &shape).unwrap();
        x.permuted(&[0, 2, 1, 3]).unwrap()
    }

    /// Appends random tokens; `false` if there was no room, or a part was wrong.
    pub(super) fn append(
        &mut self,
        rng: &mut Rng,
        parts: &[(usize, usize)],
        offset: f64,
    ) -> Option<Step> {
        let counts: Vec<usize> = parts.iter().map(|part| part.1).collect();
        let call: Vec<_> = parts.iter().map(|&(at, count)| (self.ids[at], count)).collect();
        let step = self.cache.append(&call).ok()?;
        let (k, exact_k) = self.random(rng, &counts, HEADS[1], offset);
        let (v, exact_v) = self.random(rng, &counts, HEADS[1], 0.0);
        self.cache.write(0, &step, &k, &v, None).unwrap();
        for (b, &(at, _)) in parts.iter().enumerate() {
            let tokens = self.tokens[at].as_mut().unwrap();
            tokens.k.extend(&exact_k[b]);
            tokens.v.extend(&exact_v[b]);
        }
        Some(step)
    }

    /// Asks the step's sequences with random queries: the relative error against the copies, squared.
    pub(super) fn ask(&mut self, rng: &mut Rng, step: &Step, parts: &[(usize, usize)]) -> f64 {
        let dim = self.config.dim;
        let counts: Vec<usize> = parts.iter().map(|part| part.1).collect();
        let (q, exact) = self.random(rng, &counts, HEADS[0], 0.0);
        let attended = self.cache.attend(0, step, &q, &wavecube::Attention::causal()).unwrap();
        let out = read(&attended.out);
        let longest = step.longest();
        let (mut error, mut size) = (0.0, 0.0);
        for (b, &(at, count)) in parts.iter().enumerate() {
            let tokens = self.tokens[at].clone().unwrap();
            let problem = Attention::causal(1, HEADS, [count, tokens.len(dim)], dim);
            let [k, v] = [&tokens.k, &tokens.v].map(|x| by_head(x, HEADS[1], dim));
            let expected = problem.forward(&by_head(&exact[b], HEADS[0], dim), &k, &v).0;
            for (i, expected) in expected.iter().enumerate() {
                let (head, t) = (i / dim / count, i / dim % count);
                let found = out[((b * HEADS[0] + head) * longest + t) * dim + i % dim];
                error += (found.re - expected).powi(2);
                size += expected.powi(2);
            }
        }
        if size == 0.0 { error } else { error / size }
    }
}

/// However a long text is cut into appends, queries get what they would get from all keys at once.
#[test]
fn cached_is_recomputed() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (dim, page_size) in [(64, 7), (17, 5)] {
            for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
                if !has(device, dtype) || (dtype.size() == 2 && page_size != 7) {
                    continue;
                }
                let config = KvCacheConfig { dtype, ..config(dim, 600 / page_size + 3, page_size) };
                let mut beside = Beside::new(device, config);
                let (one, other) = (beside.create(), beside.create());
                while beside.tokens[one].as_ref().unwrap().len(dim) < 90 {
                    // Lengths of two tiles: every size of a tile is a kernel of its own.
                    let count = if rng.int(0, 2) == 0 { 1 } else { rng.int(9, 30) };
                    let parts = [(one, count), (other, rng.int(0, count.min(5)))];
                    let what = format!("{device} {config:?} {parts:?} seed {}", rng.seed);
                    let step = beside.append(&mut rng, &parts, 0.0).expect(&what);
                    let nmse = beside.ask(&mut rng, &step, &parts);
                    let gate = if dtype.size() == 2 { dtype.epsilon() } else { f32_gate(dim) };
                    assert!(nmse.sqrt() <= gate, "{what}: {:e} > {gate:e}", nmse.sqrt());
                }
            }
        }
    }
}

/// Tokens of a short text.
const TEXT: usize = 17;

/// A short text in two steps, cut anywhere: the error of every cut's results, relative, squared. Sequence `cut` of a
/// batch has the first `cut` tokens in the first step, the others in the second; one more takes token by token.
fn errors_of_every_cut(device: &Device, config: KvCacheConfig, rng: &mut Rng) -> Vec<f64> {
    let dim = config.dim;
    let mut beside = Beside::new(device, config);
    let cuts: Vec<usize> = (0..TEXT + 2).map(|_| beside.create()).collect();
    let mut text = |heads| beside.random(rng, &[TEXT], heads, 0.0).1.remove(0);
    let (q, k, v) = (text(HEADS[0]), text(HEADS[1]), text(HEADS[1]));
    let problem = Attention::causal(1, HEADS, [TEXT, TEXT], dim);
    let [of_q, of_k, of_v] =
        [(&q, HEADS[0]), (&k, HEADS[1]), (&v, HEADS[1])].map(|(x, heads)| by_head(x, heads, dim));
    let expected = problem.forward(&of_q, &of_k, &of_v).0;
    let mut errors = [0.0; TEXT + 2];
    let mut step = |parts: &[(usize, core::ops::Range<usize>)]| {
        let call: Vec<_> = parts.iter().map(|(at, part)| (beside.ids[*at], part.len())).collect();
        let step = beside.cache.append(&call).unwrap();
        let [of_q, of_k, of_v] =
            [(&q, HEADS[0]), (&k, HEADS[1]), (&v, HEADS[1])].map(|(x, heads)| {
                let row = heads * dim;
                let part = |part: &core::ops::Range<usize>| &x[part.start * row..part.end * row];
                let parts: Vec<_> = parts.iter().map(|(_, range)| part(range)).collect();
                beside.padded(&parts, heads)
            });
        beside.cache.write(0, &step, &of_k, &of_v, None).unwrap();
        let causal = wavecube::Attention::causal();
        let out = read(&beside.cache.attend(0, &step, &of_q, &causal).unwrap().out);
        for (b, (at, part)) in parts.iter().enumerate() {
            for i in 0..HEADS[0] * part.len() * dim {
                let (head, t, d) = (i / dim / part.len(), i / dim % part.len(), i % dim);
                let found = out[((b * HEADS[0] + head) * step.longest() + t) * dim + d].re;
                let expected = expected[(head * TEXT + part.start + t) * dim + d];
                errors[*at] += (found - expected).powi(2);
            }
        }
    };
    let (slow, cuts) = cuts.split_last().unwrap();
    step(&cuts.iter().map(|&cut| (cut, 0..cut)).collect::<Vec<_>>());
    step(&cuts.iter().map(|&cut| (cut, cut..TEXT)).collect::<Vec<_>>());
    for t in 0..TEXT {
        step(&[(*slow, t..t + 1)]);
    }
    let size: f64 = expected.iter().map(|v| v * v).sum();
    errors.iter().map(|error| error / size).collect()
}

/// Whatever the cut, the size of a page and the storage, queries get what they would get from the whole text.
///
/// Of a quantised cache: the largest of 32 normal numbers squared is `2 ln 64` in the mean at most, and half of their
/// range is no more; the variance of a step is a twelfth of its square. Values are off by that much of their size; so
/// are keys, whose mean is that of few tokens and adds to them, and by as much the weights.
#[test]
fn every_cut_gives_what_the_whole_text_gives() {
    let step = |bits: f64| 2.0 * 64f64.ln() / 12.0 / (2f64.powf(bits - 1.0) - 0.5).powi(2);
    let quantised = |bits: f64| step(bits) * (2.0 + 1.0 / 13.0);
    let (int8, int4) = (CacheStorage::Int8, CacheStorage::Int4);
    let storages = [
        (Dtype::F32, CacheStorage::Float, f32_gate(64).powi(2)),
        (Dtype::F16, CacheStorage::Float, Dtype::F16.epsilon().powi(2)),
        (Dtype::Bf16, CacheStorage::Float, Dtype::Bf16.epsilon().powi(2)),
        (Dtype::F32, int8, quantised(8.0)),
        (Dtype::F32, int4, quantised(4.0)),
    ];
    for device in devices() {
        let mut rng = Rng::fresh();
        for (dtype, storage, gate) in storages.into_iter().filter(|case| has(device, case.0)) {
            for page_size in [1, 3, 16] {
                // Every sequence may end in a page of its own.
                let pages = (TEXT + 2) * TEXT.div_ceil(page_size);
                let config = KvCacheConfig { dtype, storage, ..config(64, pages, page_size) };
                let seed = rng.seed;
                let errors = errors_of_every_cut(device, config, &mut rng);
                let worst = errors.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
                let what = format!("{device} {config:?} seed {seed}: cut {}", worst.0);
                if std::env::var_os("WAVECUBE_PRINT").is_some() {
                    eprintln!("{what}: {:.2e}/{gate:.2e}", worst.1);
                }
                assert!(*worst.1 <= gate, "{what}: {:e} > {gate:e}", worst.1);
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Action {
    Create,
    Fork(usize),
    Truncate(usize, usize),
    Free(usize),
    Append(Vec<(usize, usize)>),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        1 => Just(Action::Create),
        2 => (0..8usize).prop_map(Action::Fork),
        2 => (0..8usize, 0..12usize).prop_map(|(at, len)| Action::Truncate(at, len)),
        1 => (0..8usize).prop_map(Action::Free),
        6 => prop::collection::vec((0..8usize, 0..9usize), 1..3).prop_map(Action::Append),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn histories_agree_with_copies(actions in prop::collection::vec(action(), 1..25)) {
        for device in devices() {
            let mut rng = Rng::fresh();
            let mut beside = Beside::new(device, config(64, 12, 3));
            beside.create();
            for action in &actions {
                history(&mut beside, &mut rng, action);
            }
        }
    }
}

fn history(beside: &mut Beside, rng: &mut Rng, action: &Action) {
    let count = beside.ids.len();
    let before = beside.cache.free_pages();
    match action {
        Action::Create => {
            beside.create();
        }
        Action::Fork(at) => {
            let at = at % count;
            match beside.cache.fork(beside.ids[at]) {
                Ok(id) => {
                    beside.ids.push(id);
                    beside.tokens.push(beside.tokens[at].clone());
                }
                Err(_) => assert!(beside.tokens[at].is_none()),
            }
            assert_eq!(before, beside.cache.free_pages());
        }
        Action::Truncate(at, len) => {
            let at = at % count;
            let dim = beside.config.dim;
            let fits = beside.tokens[at].as_ref().is_some_and(|tokens| *len <= tokens.len(dim));
            assert_eq!(beside.cache.truncate(beside.ids[at], *len).is_ok(), fits);
            if fits && let Some(tokens) = &mut beside.tokens[at] {
                tokens.truncate(*len, dim);
            }
        }
        Action::Free(at) => {
            let at = at % count;
            assert_eq!(beside.cache.free(beside.ids[at]).is_ok(), beside.tokens[at].is_some());
            beside.tokens[at] = None;
        }
        Action::Append(parts) => {
            let parts: Vec<_> = parts.iter().map(|&(at, n)| (at % count, n)).collect();
            match beside.append(rng, &parts, 0.0) {
                Some(step) => {
                    let nmse = beside.ask(rng, &step, &parts);
                    assert!(nmse.sqrt() <= f32_gate(64), "{:e} seed {}", nmse.sqrt(), rng.seed);
                }
                None => assert_eq!(before, beside.cache.free_pages()),
            }
        }
    }
}

/// Keys are turned on the way into the cache as `Rotary::apply` turns queries, and as the definition says.
#[test]
fn rotary_positions() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let (dim, base) = (64, 10_000.0);
        let rotary = Rotary::new(device, 64, dim, base).unwrap();
        let mut beside = Beside::new(device, config(dim, 10, 8));
        let sequence = beside.create();
        for count in [13, 9, 1] {
            let start = beside.cache.len(beside.ids[sequence]).unwrap();
            let step = beside.cache.append(&[(beside.ids[sequence], count)]).unwrap();
            let (k, exact_k) = beside.random(&mut rng, &[count], HEADS[1], 0.0);
            let (v, exact_v) = beside.random(&mut rng, &[count], HEADS[1], 0.0);
            let (q, exact_q) = beside.random(&mut rng, &[count], HEADS[0], 0.0);
            beside.cache.write(0, &step, &k, &v, Some(&rotary)).unwrap();
            let tokens = beside.tokens[sequence].as_mut().unwrap();
            tokens.k.extend(turned(&exact_k[0], HEADS[1], dim, start, base));
            tokens.v.extend(&exact_v[0]);
            let q = rotary.apply(&q, step.starts()).unwrap();
            let exact_q = turned(&exact_q[0], HEADS[0], dim, start, base);
            let exact_q = by_head(&exact_q, HEADS[0], dim);
            let what = format!("{device} at {start} seed {}", rng.seed);
            assert_close(&what, &read(&q), &complex(&exact_q), 4.0 * f64::from(f32::EPSILON));
            let options = wavecube::Attention::causal();
            let out = read(&beside.cache.attend(0, &step, &q, &options).unwrap().out);
            let problem = Attention::causal(1, HEADS, [count, tokens.len(dim)], dim);
            let [k, v] = [&tokens.k, &tokens.v].map(|x| by_head(x, HEADS[1], dim));
            let expected = problem.forward(&exact_q, &k, &v).0;
            assert_close(&what, &out, &complex(&expected), 2.0 * f32_gate(dim));
        }
    }
}

/// `[token][head][dim]` with the pairs `(x_i, x_{i + dim/2})` turned.
fn turned(x: &[f64], heads: usize, dim: usize, start: usize, base: f64) -> Vec<f64> {
    let half = dim / 2;
    (0..x.len())
        .map(|i| {
            let (position, d) = (start + i / dim / heads, i % dim);
            let angle = position as f64 * base.powf(-((d % half) as f64) / half as f64);
            let other = if d < half { -x[i + half] } else { x[i - half] };
            x[i] * angle.cos() + other * angle.sin()
        })
        .collect()
}

#[test]
fn misuse_changes_nothing() {
    for device in devices() {
        let mut cache = KvCache::new(device, &config(8, 4, 4)).unwrap();
        let sequence = cache.create();
        let old = cache.append(&[(sequence, 2)]).unwrap();
        let step = cache.append(&[(sequence, 3)]).unwrap();
        let zeros = |shape: &[usize]| {
            Tensor::from_slice(device, &vec![0.0f32; shape.iter().product()], shape).unwrap()
        };
        let k = zeros(&[1, 2, 3, 8]);
        let mut write =
            |layer, step: &Step, k: &Tensor, v: &Tensor| cache.write(layer, step, k, v, None);
        assert!(matches!(
            write(0, &old, &zeros(&[1, 2, 2, 8]), &k),
            Err(Error::Value { argument: "step", .. })
        ));
        assert!(matches!(write(1, &step, &k, &k), Err(Error::Value { argument: "layer", .. })));
        assert!(matches!(
            write(0, &step, &k, &zeros(&[1, 2, 4, 8])),
            Err(Error::Shape { argument: "v", .. })
        ));
        write(0, &step, &k, &k).unwrap();
        let short = Rotary::new(device, 4, 8, 1e4).unwrap();
        let found = cache.write(0, &step, &k, &k, Some(&short));
        assert!(matches!(found, Err(Error::Length { argument: "rotary", .. })), "{found:?}");
        let q = zeros(&[1, 4, 3, 8]);
        let causal = wavecube::Attention::causal();
        let found = cache.attend(0, &step, &q, &causal.clone().lengths(&[[3, 3]]));
        assert!(matches!(found, Err(Error::Unsupported { argument: "lengths", .. })), "{found:?}");
        assert!(cache.attend(0, &step, &k, &causal).is_ok());
        assert!(matches!(
            cache.attend(0, &step, &zeros(&[1, 3, 3, 8]), &causal),
            Err(Error::Length { .. })
        ));
        // A step of another cache, whatever its number.
        let mut other = KvCache::new(device, &config(8, 4, 4)).unwrap();
        let theirs = other.create();
        let foreign = other.append(&[(theirs, 3)]).unwrap();
        assert!(cache.attend(0, &foreign, &q, &causal).is_err());
        assert!(cache.append(&[(theirs, 1)]).is_err());
        assert!(matches!(
            cache.append(&[(sequence, 12)]),
            Err(Error::Limit { resource: "free pages", available: 2, required: 3, .. })
        ));
        // None of this has ended the step, or taken a page.
        assert!(cache.attend(0, &step, &q, &causal).is_ok());
        assert_eq!((cache.len(sequence).unwrap(), cache.free_pages()), (5, 2));
        cache.truncate(sequence, 1).unwrap();
        assert!(cache.attend(0, &step, &q, &causal).is_err());
        let nothing = cache.append(&[]).unwrap();
        cache.write(0, &nothing, &zeros(&[0, 2, 0, 8]), &zeros(&[0, 2, 0, 8]), None).unwrap();
        let wrong = KvCacheConfig { storage: CacheStorage::Int4, ..config(48, 4, 4) };
        assert!(matches!(KvCache::new(device, &wrong), Err(Error::Length { argument: "dim", .. })));
        assert!(Rotary::new(device, 4, 7, 1e4).is_err() && Rotary::new(device, 4, 8, 0.0).is_err());
    }
}

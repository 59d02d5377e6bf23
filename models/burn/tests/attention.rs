//! Attention: every option by its definition, plain and quick bodies and kernels; what is masked, what is refused.

use burn::tensor::{DType, Device, Tensor};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use wavecube_burn::{Attention, alibi_slopes, attention, counts};
use wavecube_core::Error;

use crate::support::{by_kernels, devices, devices_with_kernels, flex, read, tensor, values};

const KERNELS: [&str; 2] = ["attention", "attention_vjp"];

/// Numbers off by at most `tolerance` of 1, or of the largest: gradients of queries that see one key are sums to 0.
#[track_caller]
fn near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    let largest = expected.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
    for (at, (x, y)) in found.iter().zip(expected).enumerate() {
        assert!((x - y).abs() <= tolerance * largest, "{at}: {x} instead of {y}");
    }
}

/// Attention that is asked for, with its sizes.
#[derive(Debug, Clone)]
struct Case {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    n: usize,
    m: usize,
    d: usize,
    causal: bool,
    window: Option<usize>,
    prefix: usize,
    cap: Option<f32>,
    scale: Option<f32>,
    alibi: bool,
    lengths: Option<Vec<[usize; 2]>>,
}

impl Case {
    fn new([n, m, d]: [usize; 3]) -> Self {
        Self {
            batch: 2,
            heads: 3,
            kv_heads: 3,
            n,
            m,
            d,
            causal: true,
            window: None,
            prefix: 0,
            cap: None,
            scale: None,
            alibi: false,
            lengths: None,
        }
    }

    fn options(&self) -> Attention {
        let mut all = if self.causal { Attention::causal() } else { Attention::bidirectional() };
        if let Some(keys) = self.window {
            all = all.window(keys);
        }
        if self.prefix > 0 {
            all = all.prefix(self.prefix);
        }
        if let Some(cap) = self.cap {
            all = all.soft_cap(cap);
        }
        if let Some(scale) = self.scale {
            all = all.scale(scale);
        }
        if self.alibi {
            all = all.alibi(&alibi_slopes(self.heads));
        }
        if let Some(lengths) = &self.lengths {
            all = all.lengths(lengths);
        }
        all
    }

    fn shapes(&self) -> [[usize; 4]; 2] {
        let Self { batch, heads, kv_heads, n, m, d, .. } = *self;
        [[batch, heads, n, d], [batch, kv_heads, m, d]]
    }

    /// `q`, `k`, `v` and the gradient of the result.
    fn operands(&self) -> [Vec<f64>; 4] {
        let [q, k] = self.shapes().map(|shape| shape.iter().product());
        [values(q, 1), values(k, 2), values(k, 3), values(q, 4)]
    }

    fn lengths_of(&self, sequence: usize) -> [usize; 2] {
        self.lengths.as_ref().map_or([self.n, self.m], |all| all[sequence])
    }

    fn distance(&self, sequence: usize, query: usize, key: usize) -> i64 {
        let [n, m] = self.lengths_of(sequence);
        m as i64 - n as i64 + query as i64 - key as i64
    }

    fn sees(&self, sequence: usize, query: usize, key: usize) -> bool {
        let [n, m] = self.lengths_of(sequence);
        let distance = self.distance(sequence, query, key);
        let near = self.window.is_none_or(|keys| distance.unsigned_abs() < keys as u64);
        let masked = (self.causal && distance < 0) || !near;
        query < n && key < m && (key < self.prefix || !masked)
    }

    /// Sequence, query, and the row of the first key of a row of queries.
    fn place(&self, row: usize) -> [usize; 3] {
        let (sequence, head) = (row / self.n / self.heads, row / self.n % self.heads);
        let group = self.heads / self.kv_heads;
        [sequence, row % self.n, (sequence * self.kv_heads + head / group) * self.m]
    }

    /// The result and the gradients.
    fn by_definition(&self, [q, k, v, grad]: [&[f64]; 4]) -> [Vec<f64>; 4] {
        let d = self.d;
        let row_of = |of: &[f64], row: usize| of[row * d..(row + 1) * d].to_vec();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let scale = self.scale.map_or(1.0 / (d as f64).sqrt(), f64::from);
        let [mut out, mut by_q, mut by_k, mut by_v] = [q, q, k, v].map(|of| vec![0.0; of.len()]);
        let add = |to: &mut [f64], row: usize, what: &[f64], times: f64| {
            to[row * d..][..d].iter_mut().zip(what).for_each(|(to, what)| *to += times * what);
        };
        for row in 0..q.len() / d {
            let [sequence, query, first] = self.place(row);
            let head = row / self.n % self.heads;
            let slope = 2.0_f64.powf(-8.0 * (head + 1) as f64 / self.heads as f64);
            let seen: Vec<usize> =
                (0..self.m).filter(|&key| self.sees(sequence, query, key)).collect();
            let (q, grad) = (row_of(q, row), row_of(grad, row));
            let products: Vec<f64> =
                seen.iter().map(|key| scale * dot(&q, &row_of(k, first + key))).collect();
            let capped =
                |x: f64| self.cap.map_or(x, |cap| f64::from(cap) * (x / f64::from(cap)).tanh());
            let weights: Vec<f64> = seen
                .iter()
                .zip(&products)
                .map(|(&key, &x)| {
                    let distance = self.distance(sequence, query, key).abs() as f64;
                    (capped(x) - if self.alibi { slope * distance } else { 0.0 }).exp()
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            for (key, weight) in seen.iter().zip(&weights) {
                add(&mut out, row, &row_of(v, first + key), weight / sum);
                add(&mut by_v, first + key, &grad, weight / sum);
            }
            let mean = dot(&grad, &row_of(&out, row));
            for ((key, weight), &x) in seen.iter().zip(&weights).zip(&products) {
                let tanh = self.cap.map_or(0.0, |cap| (x / f64::from(cap)).tanh());
                let by = scale * weight / sum
                    * (1.0 - tanh * tanh)
                    * (dot(&grad, &row_of(v, first + key)) - mean);
                add(&mut by_q, row, &row_of(k, first + key), by);
                add(&mut by_k, first + key, &q, by);
            }
        }
        [out, by_q, by_k, by_v]
    }

    /// The result and the gradients, by operations on a device.
    fn on(&self, operands: [&[f64]; 4], dtype: DType, device: &Device) -> [Vec<f64>; 4] {
        let device = device.clone().autodiff();
        let [of_q, of_k] = self.shapes();
        let operand = |index: usize, shape| tensor(operands[index], shape, dtype, &device);
        let [q, k, v] =
            [operand(0, of_q), operand(1, of_k), operand(2, of_k)].map(Tensor::require_grad);
        let y = attention(q.clone(), k.clone(), v.clone(), &self.options())
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let gradients = (y.clone() * operand(3, of_q)).sum().backward();
        let [by_q, by_k, by_v] = [q, k, v].map(|x| read(x.grad(&gradients).unwrap()));
        [read(y.inner()), by_q, by_k, by_v]
    }

    #[track_caller]
    fn check(&self) {
        println!("{self:?}");
        let operands = self.operands();
        let operands = operands.each_ref().map(Vec::as_slice);
        let expected = self.by_definition(operands);
        let compare = |found: [Vec<f64>; 4], tolerance: f64| {
            for (found, expected) in found.iter().zip(&expected) {
                near(found, expected, tolerance);
            }
        };
        // Slopes are `f32`.
        compare(self.on(operands, DType::F64, &flex()), if self.alibi { 1e-7 } else { 1e-13 });
        compare(self.on(operands, DType::F32, &flex()), 4e-6);
        for device in devices_with_kernels() {
            let run = || self.on(operands, DType::F32, &device);
            let found =
                if self.kernels_take() { by_kernels(&KERNELS, run) } else { falling_back(run) };
            compare(found, 4e-6);
        }
    }

    /// Kernels have no prefix that a mask would hide, and no heads of more than 256 numbers.
    fn kernels_take(&self) -> bool {
        let without = Self { prefix: 0, ..self.clone() };
        let same = |sequence, query, key| {
            self.sees(sequence, query, key) == without.sees(sequence, query, key)
        };
        self.d <= 256
            && (0..self.batch).all(|sequence| {
                (0..self.n).all(|query| (0..self.m).all(|key| same(sequence, query, key)))
            })
    }
}

/// What `run` returns, if no kernel took its attention.
#[track_caller]
fn falling_back<T>(run: impl FnOnce() -> T) -> T {
    let of = || {
        KERNELS.map(|name| counts().get(name).map_or((0, 0), |count| (count.ran, count.fell_back)))
    };
    let before = of();
    let result = run();
    for (before, after) in before.into_iter().zip(of()) {
        assert_eq!(after, (before.0, before.1 + 1));
    }
    result
}

#[test]
fn every_option_alone() {
    let odd = Case::new([5, 9, 6]);
    let lengths = || Some(vec![[5, 9], [2, 3]]);
    for case in [
        Case::new([1, 1, 1]),
        Case::new([1, 7, 16]),
        Case::new([19, 19, 16]),
        Case { batch: 1, ..Case::new([33, 70, 8]) },
        odd.clone(),
        Case { causal: false, ..odd.clone() },
        // More queries than keys: the first see nothing.
        Case::new([7, 4, 6]),
        Case { causal: false, ..Case::new([7, 4, 6]) },
        Case { window: Some(3), ..odd.clone() },
        Case { window: Some(1), ..odd.clone() },
        Case { window: Some(3), causal: false, ..odd.clone() },
        Case { window: Some(usize::MAX), causal: false, ..odd.clone() },
        Case { heads: 6, kv_heads: 2, ..odd.clone() },
        Case { heads: 4, kv_heads: 1, ..odd.clone() },
        Case { cap: Some(1.5), ..odd.clone() },
        Case { scale: Some(-0.8), ..odd.clone() },
        Case { scale: Some(0.0), ..odd.clone() },
        Case { alibi: true, ..odd.clone() },
        Case { alibi: true, causal: false, ..odd.clone() },
        Case { lengths: lengths(), ..odd.clone() },
        Case { lengths: lengths(), causal: false, ..odd.clone() },
        Case { lengths: Some(vec![[0, 4], [5, 0]]), causal: false, ..odd.clone() },
        Case { lengths: Some(vec![[4, 2], [1, 9]]), ..odd.clone() },
        Case { prefix: 5, ..odd.clone() },
        Case { prefix: 6, ..odd.clone() },
        Case { prefix: 2, window: Some(3), ..odd.clone() },
        Case { prefix: 4, ..Case::new([5, 5, 6]) },
        Case { prefix: 2, window: Some(2), causal: false, lengths: lengths(), ..odd },
        Case { batch: 1, heads: 1, kv_heads: 1, ..Case::new([3, 5, 257]) },
    ] {
        case.check();
    }
}

#[test]
fn options_together() {
    let mut random = StdRng::seed_from_u64(5);
    for _ in 0..16 {
        let kv_heads = random.random_range(1..3);
        let batch = random.random_range(1..4);
        let [n, m] = [(); 2].map(|()| random.random_range(1..12));
        let lengths =
            (0..batch).map(|_| [random.random_range(0..=n), random.random_range(0..=m)]).collect();
        Case {
            batch,
            heads: kv_heads * random.random_range(1..4),
            kv_heads,
            n,
            m,
            d: if random.random() { 8 } else { 5 },
            causal: random.random(),
            window: random.random::<bool>().then(|| random.random_range(1..6)),
            prefix: if random.random_range(0..4) == 0 { random.random_range(0..=m) } else { 0 },
            cap: random.random::<bool>().then_some(2.0),
            scale: random.random::<bool>().then_some(0.6),
            alibi: random.random(),
            lengths: random.random::<bool>().then_some(lengths),
        }
        .check();
    }
}

/// What the other tests compare with.
#[test]
fn gradients_by_definition_match_finite_differences() {
    let all = Case {
        heads: 4,
        kv_heads: 2,
        window: Some(4),
        prefix: 1,
        cap: Some(1.5),
        scale: Some(0.7),
        alibi: true,
        lengths: Some(vec![[4, 6], [3, 5]]),
        ..Case::new([4, 6, 3])
    };
    for case in [Case::new([4, 6, 4]), all] {
        let mut operands = case.operands();
        let [_, gradients @ ..] = case.by_definition(operands.each_ref().map(Vec::as_slice));
        for which in 0..3 {
            let direction = values(operands[which].len(), 9);
            let slope: f64 = gradients[which].iter().zip(&direction).map(|(g, d)| g * d).sum();
            let mut loss = |step: f64| -> f64 {
                let still = operands[which].clone();
                operands[which].iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
                let [y, ..] = case.by_definition(operands.each_ref().map(Vec::as_slice));
                operands[which] = still;
                y.iter().zip(&operands[3]).map(|(y, w)| y * w).sum()
            };
            let difference = (loss(1e-5) - loss(-1e-5)) / 2e-5;
            let tolerance = 2e-7 * (1.0 + slope.abs());
            assert!((difference - slope).abs() < tolerance, "{case:?}: {difference} {slope}");
        }
    }
}

/// Rows that are transposed, repeated, cut out of longer ones, or have their numbers apart.
#[test]
fn operands_may_lie_in_any_way() {
    let case = Case { heads: 4, kv_heads: 2, ..Case::new([5, 9, 8]) };
    let [q, k, v, grad] = case.operands();
    for device in devices() {
        let device = device.autodiff();
        let [of_q, of_k] = case.shapes();
        let leaf =
            |values: &[f64], shape| tensor(values, shape, DType::F32, &device).require_grad();
        // The same numbers in another order, and back.
        let swapped = |values: &[f64], shape, [a, b]: [usize; 2]| {
            let x: Tensor<4> = leaf(values, shape).swap_dims(a, b);
            let [outer, first, second, last] = x.dims();
            let x = read(x.inner());
            leaf(&x, [outer, first, second, last])
        };
        let (first_k, _) = k.split_at(k.len() / 2);
        let once = leaf(first_k, [1, of_k[1], of_k[2], of_k[3]]);
        let wide: Vec<f64> = v.chunks(8).flat_map(|row| [&[7.0; 8], row].concat()).collect();
        let wide = leaf(&wide, [of_k[0], of_k[1], of_k[2], 16]);
        for axes in [[1, 2], [2, 3]] {
            let apart = swapped(&q, of_q, axes);
            let run = || {
                let q = apart.clone().swap_dims(axes[0], axes[1]);
                let y = attention(
                    q,
                    once.clone().expand(of_k),
                    wide.clone().narrow(3, 8, 8),
                    &case.options(),
                );
                let y = y.unwrap();
                let by = (y.clone() * tensor(&grad, of_q, DType::F32, &device)).sum().backward();
                let by_q = apart.grad(&by).unwrap().swap_dims(axes[0], axes[1]);
                let by_v = wide.grad(&by).unwrap().narrow(3, 8, 8);
                [read(y.inner()), read(by_q), read(once.grad(&by).unwrap()), read(by_v)]
            };
            let found = by_kernels(&KERNELS, run);
            let [y, by_q, by_k, by_v] =
                case.by_definition([&q, &[first_k, first_k].concat(), &v, &grad]);
            let (first, second) = by_k.split_at(by_k.len() / 2);
            let by_k: Vec<f64> = first.iter().zip(second).map(|(x, y)| x + y).collect();
            for (found, expected) in found.iter().zip([y, by_q, by_k, by_v]) {
                near(found, &expected, 4e-6);
            }
        }
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let x = |heads: usize, len: usize, d: usize| {
        tensor(&values(heads * len * d, 1), [1, heads, len, d], DType::F32, &flex())
    };
    let of = |kv_heads: usize, options: &Attention| {
        attention(x(4, 3, 2), x(kv_heads, 5, 2), x(kv_heads, 5, 2), options)
    };
    let causal = Attention::causal;
    assert!(of(2, &causal()).is_ok());
    for k_and_v in [[x(4, 3, 2), x(4, 2, 2)], [x(4, 3, 2), x(2, 3, 2)], [x(4, 3, 1), x(4, 3, 1)]] {
        let [k, v] = k_and_v;
        let refused = attention(x(4, 3, 2), k, v, &causal());
        assert!(matches!(refused, Err(Error::Shape { .. })), "{refused:?}");
    }
    for (refused, argument) in [
        (of(3, &causal()), "k"),
        (of(4, &causal().lengths(&[[4, 5]])), "lengths"),
        (of(4, &causal().lengths(&[[3, 6]])), "lengths"),
        (of(4, &causal().prefix(6)), "prefix"),
    ] {
        let Err(Error::Length { argument: found, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(found, argument);
    }
    for (refused, argument) in [
        (of(4, &causal().lengths(&[[3, 5]; 2])), "lengths"),
        (of(4, &causal().alibi(&[1.0; 3])), "slopes"),
    ] {
        let Err(Error::Shape { argument: found, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(found, argument);
    }
    for (refused, argument) in [
        (of(4, &causal().window(0)), "window"),
        (of(4, &causal().soft_cap(0.0)), "soft_cap"),
        (of(4, &causal().soft_cap(f32::INFINITY)), "soft_cap"),
        (of(4, &causal().scale(f32::NAN)), "scale"),
        (of(4, &causal().alibi(&[1.0, 1.0, 1.0, f32::NAN])), "slopes"),
    ] {
        let Err(Error::Value { argument: found, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(found, argument);
    }
}

/// Masked weights are zeros in a product, or are not there: a number that is not finite shows wherever it is seen, and
/// nowhere else.
#[test]
fn what_is_masked_never_enters() {
    let base = Case { batch: 1, heads: 1, kv_heads: 1, ..Case::new([6, 6, 8]) };
    let cases = [
        base.clone(),
        Case { window: Some(2), ..base.clone() },
        Case { window: Some(2), causal: false, ..base.clone() },
        Case { window: Some(2), prefix: 1, ..base.clone() },
        Case { lengths: Some(vec![[4, 5]]), causal: false, ..base.clone() },
    ];
    let bodies = devices().into_iter().map(|device| (device, DType::F32));
    for (device, dtype) in bodies.chain([(flex(), DType::F64)]) {
        for case in &cases {
            for (which, row) in [(0, 2), (1, 2), (1, 5), (2, 4), (2, 0)] {
                never_enters(case, which, row, dtype, &device);
            }
        }
    }
}

fn never_enters(case: &Case, which: usize, row: usize, dtype: DType, device: &Device) {
    let d = case.d;
    let mut operands = case.operands();
    let clean = case.by_definition(operands.each_ref().map(Vec::as_slice));
    operands[which][row * d..(row + 1) * d].fill(f64::NAN);
    let found = case.on(operands.each_ref().map(Vec::as_slice), dtype, device);
    let touched = |query: usize| match which {
        0 => query == row && (0..case.m).any(|key| case.sees(0, query, key)),
        _ => case.sees(0, query, row),
    };
    let what = format!("{case:?} {which} {row} {dtype:?}");
    let rows = |of: usize| found[of].chunks(d).zip(clean[of].chunks(d)).enumerate();
    for of in [0, 1] {
        for (query, (found, expected)) in rows(of) {
            if touched(query) {
                assert!(found.iter().all(|x| x.is_nan()), "{what}: {of} of {query}: {found:?}");
            } else {
                near(found, expected, 4e-6);
            }
        }
    }
    for of in [2, 3] {
        for (key, (by, expected)) in rows(of) {
            let by_touched = (0..case.n).any(|query| touched(query) && case.sees(0, query, key));
            if !by_touched {
                near(by, expected, 4e-6);
            } else if which < 2 || of == 2 {
                assert!(by.iter().all(|x| x.is_nan()), "{what}: {of} by key {key} is {by:?}");
            }
        }
    }
}

//! Attention against softmax attention in `f64`, and its cache against a model.

mod cache;
mod codes;
mod forward;
mod gradients;
mod inputs;
mod poison;
mod writes;

use wavecube::{
    Attended, AttentionGradients, Complex64, Device, Dtype, Tensor, attention, attention_vjp,
};
use wavecube_testing::{Rng, assert_close, read, reference, tensor};

/// Random operands of a problem on a device, and as they were rounded.
struct Operands {
    problem: reference::attention::Attention,
    options: wavecube::Attention,
    tensors: [Tensor; 4],
    exact: [Vec<f64>; 4],
    dtype: Dtype,
    what: String,
}

impl Operands {
    /// Queries, keys, values and a gradient, normal; queries `size` times that.
    fn new(
        device: &Device,
        rng: &mut Rng,
        problem: reference::attention::Attention,
        dtype: Dtype,
        size: f64,
    ) -> Self {
        let (batch, dim) = (problem.batch, problem.dim);
        let mut operand = |which: usize, size: f64| {
            let shape = [batch, problem.heads[which], problem.len[which], dim];
            let values: Vec<_> =
                rng.real(shape.iter().product()).iter().map(|v| v * size).collect();
            tensor(device, &values, dtype, false, &shape).unwrap()
        };
        let [q, k, v, g] = [operand(0, size), operand(1, 1.0), operand(1, 1.0), operand(0, 1.0)];
        let real = |values: Vec<Complex64>| values.iter().map(|v| v.re).collect();
        Self {
            options: options(&problem),
            what: format!("{device} {dtype} {problem:?} seed {}", rng.seed),
            tensors: [q.0, k.0, v.0, g.0],
            exact: [q.1, k.1, v.1, g.1].map(real),
            problem,
            dtype,
        }
    }

    fn attended_by(&self, options: &wavecube::Attention) -> Attended {
        let [q, k, v, _] = &self.tensors;
        attention(q, k, v, options)
            .unwrap_or_else(|error| panic!("{} {options:?}: {error}", self.what))
    }

    /// The device's own choice, and what GPUs choose.
    fn strategies(&self) -> [wavecube::Attention; 2] {
        [self.options.clone(), self.options.clone().tiled()]
    }

    fn gradients(&self, options: &wavecube::Attention) -> AttentionGradients {
        let [q, k, v, g] = &self.tensors;
        attention_vjp([q, k, v], options, &self.attended_by(options), g)
            .unwrap_or_else(|error| panic!("{} {options:?}: {error}", self.what))
    }

    /// The largest relative L2 error allowed. A product of `dim` terms is off by `ε √dim` of its size
    /// `s √dim · scale`, a weight by as much as its score; the result's own rounding comes on top.
    fn gate(&self, size: f64) -> f64 {
        let scores = size * (self.problem.dim as f64) * self.problem.scale;
        f64::from(f32::EPSILON) * (4.0 + 2.0 * scores)
            + if self.dtype.size() == 2 { self.dtype.epsilon() } else { 0.0 }
    }

    fn check(&self, size: f64) {
        for options in self.strategies() {
            self.check_by(&options, size);
        }
    }

    fn check_by(&self, options: &wavecube::Attention, size: f64) {
        let [q, k, v, _] = &self.exact;
        let (out, lse) = self.problem.forward(q, k, v);
        let attended = self.attended_by(options);
        let what = format!("{} {options:?}", self.what);
        assert_close(&what, &read(&attended.out), &complex(&out), self.gate(size));
        for (i, (found, expected)) in read(&attended.lse).iter().zip(&lse).enumerate() {
            let bound = f64::from(f32::EPSILON)
                * (8.0 * size * (self.problem.dim as f64).sqrt() + expected.abs());
            let same = found.re == *expected || (found.re - expected).abs() <= bound;
            assert!(same, "{what}: lse {} for {expected} at {i}", found.re);
        }
    }
}

fn complex(values: &[f64]) -> Vec<Complex64> {
    values.iter().map(|&v| Complex64::new(v, 0.0)).collect()
}

/// The reference's problem as the caller of an operation says it.
fn options(problem: &reference::attention::Attention) -> wavecube::Attention {
    let mut options = match problem.right {
        Some(0) => wavecube::Attention::causal(),
        _ => wavecube::Attention::bidirectional(),
    };
    options = options.scale(problem.scale as f32);
    if let Some(left) = problem.left {
        options = options.window(left + 1);
    }
    if let Some(cap) = problem.soft_cap {
        options = options.soft_cap(cap as f32);
    }
    if let Some(slopes) = &problem.slopes {
        let slopes: Vec<f32> = slopes.iter().map(|&slope| slope as f32).collect();
        options = options.alibi(&slopes);
    }
    match &problem.lengths {
        Some(lengths) => options.lengths(lengths),
        None => options,
    }
}

#[test]
fn the_catalogue_is_right() {
    wavecube_testing::catalogue::assert_right("attention/");
}

//! Gradients against those of the reference, which have the slope of the loss.

use wavecube::Dtype;
use wavecube_testing::{Rng, assert_close, devices, halves, read, reference::attention::Attention};

use super::{Operands, complex};

fn problems() -> Vec<Attention> {
    let causal = Attention::causal(2, [4, 2], [37, 50], 64);
    vec![
        causal.clone(),
        Attention { right: None, left: None, ..causal.clone() },
        Attention { left: Some(6), ..causal.clone() },
        Attention {
            soft_cap: Some(0.75),
            slopes: Some(vec![0.5, 0.25, 0.125, 0.0]),
            ..causal.clone()
        },
        Attention { lengths: Some(vec![[20, 33], [37, 10]]), ..causal },
        Attention::causal(1, [2, 1], [5, 3], 17),
        Attention::causal(1, [1, 1], [1, 1], 256),
    ]
}

#[test]
fn gradients_of_every_operand() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for problem in problems() {
            let operands = Operands::new(device, &mut rng, problem, Dtype::F32, 1.0);
            check(&operands);
        }
        for dtype in halves(device) {
            let problem = Attention::causal(1, [2, 2], [20, 20], 64);
            check(&Operands::new(device, &mut rng, problem, dtype, 1.0));
        }
    }
}

/// More keys, and more queries, than the loops of an emulated unit have turns for.
#[test]
fn gradients_of_long_sequences() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for len in [[5, 4000], [4000, 5]] {
            let both = Attention { right: None, ..Attention::causal(1, [2, 1], len, 17) };
            check(&Operands::new(device, &mut rng, both, Dtype::F32, 1.0));
        }
    }
}

fn check(operands: &Operands) {
    let [q, k, v, g] = &operands.exact;
    let expected = operands.problem.gradients([q, k, v, g]);
    // A difference of two terms each as large as it, then a sum: four times the result's error. What is
    // zero, as where there is one key, is off by what cancels.
    let gate = 4.0 * operands.gate(1.0);
    for options in operands.strategies() {
        let found = operands.gradients(&options);
        for ((name, found), expected) in
            ["∂q", "∂k", "∂v"].iter().zip([found.q, found.k, found.v]).zip(&expected)
        {
            let found = read(&found);
            let what = format!("{name} {} {options:?}", operands.what);
            if expected.iter().all(|v| v.abs() < 1e-12) {
                let worst = found.iter().map(|v| v.norm()).fold(0.0, f64::max);
                assert!(worst <= 64.0 * gate && !worst.is_nan(), "{what}: {worst:e} for zero");
            } else {
                assert_close(&what, &found, &complex(expected), gate);
            }
        }
    }
}

#[test]
fn the_references_gradient_is_the_slope_of_the_loss() {
    let mut rng = Rng::fresh();
    for problem in problems().into_iter().filter(|problem| problem.dim == 64) {
        let problem = Attention { dim: 5, len: [6, 9], batch: 1, lengths: None, ..problem };
        let [of_q, of_k] = problem.numbers();
        let mut random = |len: usize| -> Vec<f64> { rng.real(len).iter().map(|v| v.re).collect() };
        let mut operands = [random(of_q), random(of_k), random(of_k)];
        let g = random(of_q);
        let gradients = problem.gradients([&operands[0], &operands[1], &operands[2], &g]);
        for which in 0..3 {
            // Along a random direction, all elements at once.
            let direction: Vec<f64> = random(operands[which].len());
            let slope: f64 = gradients[which].iter().zip(&direction).map(|(a, b)| a * b).sum();
            let mut loss = |step: f64| -> f64 {
                let still = operands[which].clone();
                operands[which].iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
                let out = problem.forward(&operands[0], &operands[1], &operands[2]).0;
                operands[which] = still;
                out.iter().zip(&g).map(|(a, b)| a * b).sum()
            };
            let difference = (loss(1e-5) - loss(-1e-5)) / 2e-5;
            let error = (difference - slope).abs();
            assert!(error < 1e-6 * (1.0 + slope.abs()), "{difference} {slope} {problem:?}");
        }
    }
}

/// The result is linear in the values: ⟨g, A v⟩ = ⟨Aᵀ g, v⟩.
#[test]
fn the_values_gradient_is_the_adjoint() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let problem = Attention::causal(2, [4, 2], [37, 50], 64);
        let operands = Operands::new(device, &mut rng, problem, Dtype::F32, 1.0);
        let dot = |a: &[f64], b: Vec<wavecube::Complex64>| -> f64 {
            a.iter().zip(b).map(|(a, b)| a * b.re).sum()
        };
        let [_, _, v, g] = &operands.exact;
        for options in operands.strategies() {
            let forward = dot(g, read(&operands.attended_by(&options).out));
            let backward = dot(v, read(&operands.gradients(&options).v));
            let size = (g.len() as f64).sqrt();
            let error = (forward - backward).abs() / size;
            assert!(
                error < operands.gate(1.0),
                "{forward} {backward} {} {options:?}",
                operands.what
            );
        }
    }
}

#[test]
fn the_same_bits_twice() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let problem = Attention::causal(2, [4, 2], [37, 50], 64);
        let operands = Operands::new(device, &mut rng, problem, Dtype::F32, 1.0);
        for options in operands.strategies() {
            let [first, second] = [operands.gradients(&options), operands.gradients(&options)]
                .map(|gradients| [gradients.q, gradients.k, gradients.v].map(|x| read(&x)));
            assert_eq!(first, second, "{} {options:?}", operands.what);
        }
    }
}

//! What is no number: it shows in every row that sees it, and nowhere else.

use proptest::prelude::*;
use wavecube::{Complex64, Device, Dtype, Tensor, attention, attention_vjp};
use wavecube_testing::{
    Rng, devices, halves, read, reference::attention::Attention, rounded, tensor,
};

use super::{complex, options};

/// Queries, keys, values and the result's gradient.
type Values = [Vec<f64>; 4];

/// The results of a problem, by a device: value, log-sum-exp, and the three gradients.
fn results(
    device: &Device,
    problem: &Attention,
    options: &wavecube::Attention,
    dtype: Dtype,
    values: &Values,
) -> [Vec<f64>; 5] {
    let Attention { batch, heads, len, dim, .. } = problem;
    let put = |which: usize, own: usize| {
        let shape = [*batch, heads[own], len[own], *dim];
        tensor(device, &complex(&values[which]), dtype, false, &shape).unwrap().0
    };
    let (q, k, v, g) = (put(0, 0), put(1, 1), put(2, 1), put(3, 0));
    let attended = attention(&q, &k, &v, options).unwrap();
    let gradients = attention_vjp([&q, &k, &v], options, &attended, &g).unwrap();
    let real = |x: &Tensor| read(x).iter().map(|v| v.re).collect();
    [&attended.out, &attended.lse, &gradients.q, &gradients.k, &gradients.v].map(real)
}

fn expected(problem: &Attention, [q, k, v, g]: &Values) -> [Vec<f64>; 5] {
    let (out, lse) = problem.forward(q, k, v);
    let [by_q, by_k, by_v] = problem.gradients([q, k, v, g]);
    [out, lse, by_q, by_k, by_v]
}

fn random(rng: &mut Rng, problem: &Attention, dtype: Dtype) -> Values {
    let [of_q, of_k] = problem.numbers();
    [of_q, of_k, of_k, of_q]
        .map(|len| rounded(&rng.real(len), dtype).iter().map(|v| v.re).collect())
}

/// All ways that attention is computed.
fn strategies(problem: &Attention) -> [wavecube::Attention; 3] {
    let own = options(problem);
    [own.clone(), own.clone().tiled(), own.naively()]
}

const NAMES: [&str; 5] = ["out", "lse", "∂q", "∂k", "∂v"];

/// Not a number where the reference has none, and elsewhere the bits of the results without it.
fn shows(what: &str, found: &[Vec<f64>; 5], clean: &[Vec<f64>; 5], expected: &[Vec<f64>; 5]) {
    for (which, name) in NAMES.iter().enumerate() {
        for (i, found) in found[which].iter().enumerate() {
            let (clean, expected) = (clean[which][i], expected[which][i]);
            let right =
                if expected.is_nan() { found.is_nan() } else { found.to_bits() == clean.to_bits() };
            assert!(right, "{what}: {name} {found} at {i}, without {clean}, reference {expected}");
        }
    }
}

/// Rows before a value that is none do not see it; keys, queries and gradients show to all that do.
#[test]
fn what_is_seen_shows_and_what_is_masked_does_not() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let problem = Attention::causal(1, [1, 1], [6, 6], 8);
        let values = random(&mut rng, &problem, Dtype::F32);
        for options in strategies(&problem) {
            let clean = results(device, &problem, &options, Dtype::F32, &values);
            for (operand, place) in [(2, 4 * 8), (1, 2 * 8 + 3), (0, 2 * 8 + 5), (3, 3 * 8)] {
                let mut poisoned = values.clone();
                poisoned[operand][place] = f64::NAN;
                let found = results(device, &problem, &options, Dtype::F32, &poisoned);
                let what = format!("{device} {options:?} operand {operand} seed {}", rng.seed);
                shows(&what, &found, &clean, &expected(&problem, &poisoned));
            }
        }
    }
}

fn problem() -> impl proptest::strategy::Strategy<Value = (Attention, bool)> {
    let reach = || prop::option::of(0..9usize);
    let lengths = prop::option::of(prop::collection::vec((0..=40usize, 0..=70usize), 2));
    let heads = prop_oneof![Just([1, 1]), Just([4, 2]), Just([3, 1])];
    // Few heads and types: each is a kernel of its own.
    (reach(), reach(), heads, lengths, any::<bool>(), any::<bool>()).prop_map(
        |(left, right, heads, lengths, capped, half)| {
            let lengths = lengths.map(|all| all.iter().map(|&(q, k)| [q, k]).collect());
            let soft_cap = capped.then_some(2.0);
            let right = right.filter(|_| left.is_some()).map_or(Some(0), |_| left);
            let problem = Attention {
                left,
                right,
                lengths,
                soft_cap,
                ..Attention::causal(2, heads, [40, 70], 32)
            };
            (problem, half)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]
    /// Whatever the mask: one number that is none, anywhere, shows where the reference says, and changes no bit
    /// elsewhere; where nothing sees it, it changes none at all.
    #[test]
    fn no_number_anywhere_shows_where_it_is_seen((problem, half) in problem()) {
        for device in devices() {
            let dtype = halves(device).find(|_| half).unwrap_or(Dtype::F32);
            let mut rng = Rng::fresh();
            let values = random(&mut rng, &problem, dtype);
            for options in strategies(&problem) {
                let clean = results(device, &problem, &options, dtype, &values);
                for operand in 0..4 {
                    let mut poisoned = values.clone();
                    let place = rng.int(0, values[operand].len() - 1);
                    poisoned[operand][place] = f64::NAN;
                    let found = results(device, &problem, &options, dtype, &poisoned);
                    let what = format!("{device} {dtype} {problem:?} {options:?} {operand} {place} seed {}", rng.seed);
                    shows(&what, &found, &clean, &expected(&problem, &poisoned));
                }
            }
        }
    }
}

/// Padding may hold anything.
#[test]
fn padding_is_not_read() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let lengths = vec![[40, 61], [0, 13], [17, 5]];
        let problem = Attention {
            lengths: Some(lengths.clone()),
            ..Attention::causal(3, [4, 2], [40, 70], 32)
        };
        let values = random(&mut rng, &problem, Dtype::F32);
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut poisoned = values.clone();
            for (operand, values) in poisoned.iter_mut().enumerate() {
                let own = usize::from(operand == 1 || operand == 2);
                let (heads, len) = (problem.heads[own], problem.len[own]);
                for (i, value) in values.iter_mut().enumerate() {
                    let (b, t) = (i / 32 / len / heads, i / 32 % len);
                    if t >= lengths[b][own] {
                        *value = bad;
                    }
                }
            }
            for options in strategies(&problem) {
                let clean = results(device, &problem, &options, Dtype::F32, &values);
                let found = results(device, &problem, &options, Dtype::F32, &poisoned);
                let what = format!("{device} {bad} {options:?} seed {}", rng.seed);
                let exact = expected(&problem, &values);
                assert!(exact.iter().flatten().all(|v| !v.is_nan()));
                shows(&what, &found, &clean, &exact);
            }
        }
    }
}

/// A score of minus infinity weighs nothing beside others; where there is nothing beside it, and beside one of plus
/// infinity, the result is no number. One query too, whose keys are split.
#[test]
fn infinite_scores() {
    for device in devices() {
        for (n_q, n_k) in [(3, 40), (1, 1100)] {
            let problem = Attention { right: None, ..Attention::causal(1, [1, 1], [n_q, n_k], 8) };
            let mut rng = Rng::fresh();
            let mut values = random(&mut rng, &problem, Dtype::F32);
            values[0].iter_mut().for_each(|q| *q = q.abs() + 0.1);
            for (some, bad) in
                [(true, f64::NEG_INFINITY), (true, f64::INFINITY), (false, f64::NEG_INFINITY)]
            {
                let mut values = values.clone();
                for key in 0..n_k {
                    if !some || key == 7 || key / 512 == 1 {
                        values[1][key * 8 + 3] = bad;
                    }
                }
                for options in strategies(&problem) {
                    let found = results(device, &problem, &options, Dtype::F32, &values);
                    let exact = expected(&problem, &values);
                    for (which, name) in NAMES.iter().enumerate().take(2) {
                        for (found, exact) in found[which].iter().zip(&exact[which]) {
                            let close = (found - exact).abs() < 1e-4;
                            let what = format!("{device} {bad} {some} {n_k} {options:?} {name}");
                            let same = close || (found.is_nan() && exact.is_nan());
                            assert!(same, "{what}: {found} for {exact}");
                        }
                    }
                }
            }
        }
    }
}

/// The tangent of a cap where those of drivers are wrong: tiny, and beyond what an exponential holds.
#[test]
fn caps_of_tiny_and_of_huge_scores() {
    for device in devices() {
        for size in [1e-6, 1e-3, 0.5, 0.7, 40.0, 60.0, 1e3, 1e20] {
            let problem = Attention {
                soft_cap: Some(1.0),
                scale: 1.0,
                ..Attention::causal(1, [1, 1], [2, 1], 1)
            };
            let values = [vec![0.0, size], vec![1.0], vec![1.0], vec![1.0; 2]]
                .map(|x| rounded(&complex(&x), Dtype::F32).iter().map(|v| v.re).collect());
            for options in strategies(&problem) {
                // One key: its log-sum-exp is its score.
                let found = results(device, &problem, &options, Dtype::F32, &values);
                let exact = expected(&problem, &values)[1][1];
                let error = (found[1][1] - exact).abs();
                let bound = 8.0 * f64::from(f32::EPSILON) * exact;
                assert!(error <= bound, "{device} {options:?} {size}: {} for {exact}", found[1][1]);
            }
        }
    }
}

/// Complex numbers of a tensor, for the tests of the cache.
pub(super) fn of(values: &[f32]) -> Vec<Complex64> {
    values.iter().map(|&v| Complex64::new(f64::from(v), 0.0)).collect()
}

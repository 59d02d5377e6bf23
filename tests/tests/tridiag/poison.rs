//! What a NaN or an infinity in each operand gives: the table of [`wavecube_kernels::tridiag`].

use wavecube::{Complex64, Dtype, Pivots, Tensor, Tridiagonal};
use wavecube_testing::{Rng, devices, read};

use super::Source;
use crate::poison::{Operand, POISONS};

const ROWS: usize = 3;
/// The operands of all operations, and the sequence that is poisoned.
const NAMES: [&str; 5] = ["a", "b", "c", "z", "r"];
const BAD: usize = 1;

/// A result of the operators, and whether it depends on `r` too.
struct Found {
    name: String,
    values: Tensor,
    by_r: bool,
    /// Of results that report where they are lost.
    pivots: Option<Pivots>,
}

/// The diagonal, the solution and the logarithm with their gradients, that of the diagonal by `r`, that of the solution `x`
/// too.
fn results(operators: &Tridiagonal, r: &Tensor, x: &Tensor) -> Vec<Found> {
    let resolvent = operators.resolvent_diagonal().unwrap();
    let solution = operators.solve(r).unwrap();
    let logarithm = operators.log_determinant().unwrap();
    let ones = Tensor::from_slice(r.device(), &[1.0f32; ROWS], &[ROWS]).unwrap();
    let by_solution = operators.solve_vjp(x, r).unwrap();
    let found = |name: &str, values: Tensor, by_r: bool, pivots: Option<Pivots>| Found {
        name: name.into(),
        values,
        by_r,
        pivots,
    };
    let mut all = vec![
        found("diagonal", resolvent.diagonal, false, Some(resolvent.pivots)),
        found("solution", solution.x, true, Some(solution.pivots)),
        found("logarithm", logarithm, false, None),
        found("solution's ∂r", by_solution.r, true, None),
    ];
    for (of, gradients, by_r) in [
        ("diagonal", operators.resolvent_diagonal_vjp(r).unwrap(), true),
        ("solution", by_solution.operators, true),
        ("logarithm", operators.log_determinant_vjp(&ones).unwrap(), false),
    ] {
        let parts = [gradients.a, gradients.b, gradients.c.unwrap(), gradients.z];
        for (operand, part) in NAMES.iter().zip(parts) {
            all.push(found(&format!("{of}'s ∂{operand}"), part, by_r, None));
        }
    }
    all
}

/// Operands of [`ROWS`] operators of the model and right sides.
fn operands(rng: &mut Rng, n: usize) -> [Operand; 5] {
    let all: Vec<_> = (0..ROWS).map(|_| Source::Model { eta: 1.0 }.operator(rng, n)).collect();
    let of = |values: Vec<Complex64>, complex: bool, shape: &[usize]| Operand {
        values,
        dtype: Dtype::F32,
        complex,
        shape: shape.to_vec(),
    };
    [
        of(all.iter().flat_map(|o| o.a.clone()).collect(), false, &[ROWS, n]),
        of(all.iter().flat_map(|o| o.b.clone()).collect(), false, &[ROWS, n - 1]),
        of(all.iter().flat_map(|o| o.c.clone()).collect(), false, &[ROWS, n - 1]),
        of(all.iter().map(|o| o.z).collect(), true, &[ROWS]),
        of(rng.complex(ROWS * n), true, &[ROWS, n]),
    ]
}

#[test]
fn what_is_not_finite_stays_in_its_sequence() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (n, serially) in [(1, false), (30, false), (30, true), (600, false), (6000, false)] {
            let clean = operands(&mut rng, n);
            let run = |operands: &[Operand; 5], x: Option<&Tensor>| {
                let [a, b, c, z, r] = operands.each_ref().map(|operand| operand.upload(device));
                let operators = Tridiagonal::new(&a, &b, &c, &z);
                let operators = if serially { operators.serially() } else { operators };
                let x = x.cloned().unwrap_or_else(|| operators.solve(&r).unwrap().x);
                results(&operators, &r, &x)
            };
            let before = run(&clean, None);
            let x = before[1].values.clone();
            for (which, operand) in NAMES.iter().enumerate() {
                let each = clean[which].values.len() / ROWS;
                if each == 0 {
                    continue;
                }
                for poison in POISONS {
                    let at = rng.int(0, each - 1);
                    let mut dirty = clean.clone();
                    dirty[which] = clean[which].with(BAD * each + at, poison, false);
                    let what = format!(
                        "{device} n = {n} {serially}: {poison} in {operand}[{at}], seed {}",
                        rng.seed
                    );
                    for (before, found) in before.iter().zip(run(&dirty, Some(&x))) {
                        let what = format!("{what}: {}", found.name);
                        let depends = *operand != "r" || found.by_r;
                        let lost = depends.then_some(*operand == "r" && poison.is_infinite());
                        compare(&what, [&before.values, &found.values], lost);
                        if let Some(pivots) = found.pivots {
                            // Of right sides the results are lost: all of them.
                            let expected = match *operand {
                                "z" | "r" => depends.then_some(0),
                                _ => Some(at),
                            };
                            assert_eq!(pivots.read().unwrap()[BAD], expected, "{what}");
                        }
                    }
                }
            }
        }
    }
}

/// NaN in all of the poisoned sequence where it is lost, and if it may be `infinite` infinities too; elsewhere the same
/// bits.
fn compare(what: &str, tensors: [&Tensor; 2], lost: Option<bool>) {
    let [clean, found] = tensors.map(read);
    let each = clean.len() / ROWS;
    for (i, (clean, found)) in clean.iter().zip(&found).enumerate() {
        match lost {
            Some(infinite) if i / each == BAD => {
                let right = found.is_nan() || (infinite && !found.is_finite());
                assert!(right, "{what}: {found} at {}", i % each);
            }
            _ => assert_eq!(found, clean, "{what}: sequence {}", i / each),
        }
    }
}

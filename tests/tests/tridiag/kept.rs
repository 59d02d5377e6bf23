//! Operators of which elements are skipped, against the compacted operators in `f64`, written out here, and
//! interpolation on the host.

use wavecube::{Complex64, Device, Dtype, Error, Kept, Tridiagonal};
use wavecube_testing::{
    Rng, devices, has, nan_filled, read,
    reference::tridiag::{Gradients, Operator},
    tensor,
};

use super::{
    Batch, DOUBLE, Gates, MODEL, Source, assert_near, check_gradients, check_shifts, difference,
    real,
};

/// Random flags of which about `share` are kept, one at least.
fn flags(rng: &mut Rng, n: usize, share: f64) -> Vec<bool> {
    let mut keep: Vec<bool> = (0..n).map(|_| rng.uniform(0.0, 1.0) < share).collect();
    keep[rng.int(0, n - 1)] = true;
    keep
}

fn chosen(keep: &[bool]) -> Vec<usize> {
    (0..keep.len()).filter(|&k| keep[k]).collect()
}

/// What is left of an operator.
fn compacted(operator: &Operator, keep: &[bool]) -> Operator {
    let kept = chosen(keep);
    let links = &kept[..kept.len() - 1];
    Operator {
        a: kept.iter().map(|&k| operator.a[k]).collect(),
        b: links.iter().map(|&k| operator.b[k]).collect(),
        c: links.iter().map(|&k| operator.c[k]).collect(),
        z: operator.z,
    }
}

/// For every element the kept ones that it is made of, and their weights.
fn weights(keep: &[bool]) -> Vec<Vec<(usize, f64)>> {
    let kept = chosen(keep);
    let last = kept.len() - 1;
    let of = |k: usize| match kept.binary_search(&k) {
        Ok(i) => vec![(i, 1.0)],
        Err(0) => vec![(0, 1.0)],
        Err(i) if i > last => vec![(last, 1.0)],
        Err(i) => {
            let (left, right) = (kept[i - 1] as f64, kept[i] as f64);
            let t = (k as f64 - left) / (right - left);
            vec![(i - 1, 1.0 - t), (i, t)]
        }
    };
    (0..keep.len()).map(of).collect()
}

fn diagonal(operator: &Operator, keep: &[bool]) -> Vec<Complex64> {
    let inner = compacted(operator, keep).diagonal_serial();
    let sum = |of: &Vec<(usize, f64)>| of.iter().map(|&(i, w)| inner[i] * w).sum();
    weights(keep).iter().map(sum).collect()
}

fn gradients(operator: &Operator, keep: &[bool], g: &[Complex64]) -> Gradients {
    let kept = chosen(keep);
    let mut inner = vec![Complex64::ZERO; kept.len()];
    for (of, g) in weights(keep).iter().zip(g) {
        for &(i, w) in of {
            inner[i] += g * w;
        }
    }
    let found = compacted(operator, keep).gradients_serial(&inner);
    let spread = |values: &[Complex64], len: usize| {
        let mut all = vec![Complex64::ZERO; len];
        values.iter().zip(&kept).for_each(|(v, &k)| all[k] = *v);
        all
    };
    let n = keep.len();
    Gradients {
        a: spread(&found.a, n),
        b: spread(&found.b, n - 1),
        c: spread(&found.c, n - 1),
        z: found.z,
    }
}

/// Diagonal and gradients of a batch, whose flags are given sequence by sequence or once for all.
fn check(what: &str, batch: &Batch, operators: &Tridiagonal, keep: &[bool], gates: Gates) {
    let (device, n) = (batch.a.device(), batch.n);
    let kept = Kept::new(device, keep, n).unwrap();
    let of = |row: usize| &keep[row * n % keep.len()..][..n];
    // What was not written would be found in memory just given back.
    drop(nan_filled(device, batch.a.dtype(), true, batch.a.shape()).unwrap());
    let found = operators.resolvent_diagonal_kept(&kept).unwrap();
    let rows = batch.exact.iter().enumerate();
    let expected: Vec<_> = rows.clone().flat_map(|(row, o)| diagonal(o, of(row))).collect();
    assert_near(&format!("{what}: G"), &read(&found.diagonal), &expected, gates[0]);
    assert!(found.pivots.read().unwrap().iter().all(Option::is_none), "{what}: no pivot vanishes");
    let expected: Vec<_> =
        rows.map(|(row, o)| gradients(o, of(row), &batch.gs[row * n..][..n])).collect();
    let found = operators.resolvent_diagonal_kept_vjp(&kept, &batch.g).unwrap();
    check_gradients(what, batch, &found, &expected, gates);
    check_shifts(what, &found, &expected, gates[1]);
}

#[test]
fn skipped_elements_against_the_compacted_operator() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (rows, n, share) in
            [(1, 1, 1.0), (3, 2, 0.5), (4, 9, 0.3), (2, 60, 0.1), (3, 300, 0.5), (2, 3000, 0.9)]
        {
            for source in [Source::Model { eta: 1.0 }, Source::Complex] {
                let what = format!("{device} {source:?} {rows}x{n} seed {}", rng.seed);
                let batch = Batch::of(device, Dtype::F32, source, rows, n, &mut rng);
                let keep: Vec<bool> = (0..rows).flat_map(|_| flags(&mut rng, n, share)).collect();
                // A sum of gradients is as exact as its terms.
                let gates = source.gates().map(|gate| 2.0 * gate);
                check(&what, &batch, &batch.tridiagonal(), &keep, gates);
                let once = &keep[..n];
                check(&format!("{what} shared"), &batch, &batch.tridiagonal(), once, gates);
            }
        }
    }
}

#[test]
fn long_gaps_and_many_kept() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let n = 50_000;
        let batch = Batch::of(device, Dtype::F32, Source::Model { eta: 1.0 }, 1, n, &mut rng);
        // Gaps beyond what one launch sums.
        let few: Vec<bool> = (0..n).map(|k| [9, 20_000, 49_000].contains(&k)).collect();
        let many: Vec<bool> = (0..n).map(|k| k % 5 != 3).collect();
        for (of, keep, roundings) in [("few", few, 170.0), ("many", many, 2.0)] {
            // A sum of m terms in order rounds as √m of them.
            let what = format!("{device} {of} seed {}", rng.seed);
            let gates = MODEL.map(|gate| gate * roundings);
            check(&what, &batch, &batch.tridiagonal(), &keep, gates);
        }
    }
}

#[test]
fn double_precision_and_the_serial_strategy() {
    for device in devices() {
        let mut rng = Rng::fresh();
        if !has(device, Dtype::F64) {
            continue;
        }
        let batch = Batch::of(device, Dtype::F64, Source::ComplexBeside, 2, 700, &mut rng);
        let keep: Vec<bool> = (0..2).flat_map(|_| flags(&mut rng, 700, 0.4)).collect();
        let what = format!("{device} seed {}", rng.seed);
        check(&what, &batch, &batch.tridiagonal(), &keep, DOUBLE);
        check(&what, &batch, &batch.tridiagonal().serially(), &keep, DOUBLE);
    }
}

/// The gradients as written out above, by differences of the interpolated diagonal.
#[test]
fn the_reference_agrees_with_finite_differences() {
    let mut rng = Rng::fresh();
    let operator = Source::Complex.operator(&mut rng, 9);
    let keep = [false, true, false, false, true, true, false, true, false];
    let g = rng.complex(9);
    let loss = |o: &Operator| -> f64 {
        diagonal(o, &keep).iter().zip(&g).map(|(y, g)| (g.conj() * y).re).sum()
    };
    let found = gradients(&operator, &keep, &g);
    super::check_reference(&operator, &found, &loss, rng.seed);
    assert_eq!(difference(&operator, &loss, &|o, step| o.a[2] += step), real(0.0), "skipped");
}

#[test]
fn all_kept_is_the_whole_operator() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [40, 5000] {
            let batch = Batch::of(device, Dtype::F32, Source::Complex, 2, n, &mut rng);
            let operators = batch.tridiagonal();
            let kept = Kept::new(device, &vec![true; n], n).unwrap();
            let found = operators.resolvent_diagonal_kept(&kept).unwrap();
            let whole = operators.resolvent_diagonal().unwrap();
            assert_eq!(read(&found.diagonal), read(&whole.diagonal), "{device} {n}");
            let found = operators.resolvent_diagonal_kept_vjp(&kept, &batch.g).unwrap();
            let whole = operators.resolvent_diagonal_vjp(&batch.g).unwrap();
            let all = |g: &wavecube::TridiagonalGradients| {
                [&g.a, &g.b, g.c.as_ref().unwrap(), &g.z].map(read)
            };
            assert_eq!(all(&found), all(&whole), "{device} {n}");
        }
    }
}

#[test]
fn shared_products_and_strided_gradients() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let (rows, n) = (4, 90);
        let batch = Batch::of(device, Dtype::F32, Source::Model { eta: 1.0 }, rows, n, &mut rng);
        let keep: Vec<bool> = (0..rows).flat_map(|_| flags(&mut rng, n, 0.4)).collect();
        let kept = Kept::new(device, &keep, n).unwrap();
        // With b = c = 1 the gradient by p is that by b; the shifts are one.
        let p = batch.b.narrowed(0, 0, 1).unwrap();
        let z = batch.z.narrowed(0, 0, 1).unwrap();
        let shared = Tridiagonal::of_products(&batch.a, &p, &z);
        let turned: Vec<Complex64> =
            (0..rows * n).map(|i| batch.gs[i % rows * n + i / rows]).collect();
        let (g, _) = tensor(device, &turned, Dtype::F32, true, &[n, rows]).unwrap();
        let g = g.permuted(&[1, 0]).unwrap();
        let found = shared.resolvent_diagonal_kept_vjp(&kept, &g).unwrap();
        let apart = batch.tridiagonal().resolvent_diagonal_kept_vjp(&kept, &batch.g).unwrap();
        assert_eq!(read(&found.a), read(&apart.a), "{device}");
        let mut by_p = vec![Complex64::ZERO; n - 1];
        read(&apart.b).iter().enumerate().for_each(|(i, v)| by_p[i % (n - 1)] += v);
        assert_eq!(found.b.shape(), [1, n - 1]);
        assert_near(&format!("{device} seed {}", rng.seed), &read(&found.b), &by_p, 1e-6);
        assert_eq!(found.z.shape(), [1]);
    }
}

#[test]
fn vanishing_pivots_have_the_place_of_their_element() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let mut operator = Operator {
            a: vec![real(2.0); 9],
            b: vec![real(0.0); 8],
            c: vec![real(1.0); 8],
            z: real(0.5),
        };
        let fine = operator.clone();
        operator.a[7] = real(0.5);
        let batch = Batch::new(device, Dtype::F32, &[fine, operator], [false, false], &mut rng);
        let keep: Vec<bool> = (0..18).map(|k| [2, 4, 9 + 1, 9 + 7, 9 + 8].contains(&k)).collect();
        let kept = Kept::new(device, &keep, 9).unwrap();
        let found = batch.tridiagonal().resolvent_diagonal_kept(&kept).unwrap();
        assert_eq!(found.pivots.read().unwrap(), [None, Some(7)], "{device}");
        let diagonal = read(&found.diagonal);
        assert!(diagonal[..9].iter().all(|g| (g - 1.0 / 1.5).norm() < 1e-6), "{device}");
        // On the spectrum is what is skipped.
        let keep: Vec<bool> = (0..9).map(|k| k != 7).collect();
        let kept = Kept::new(device, &keep, 9).unwrap();
        let found = batch.tridiagonal().resolvent_diagonal_kept(&kept).unwrap();
        assert_eq!(found.pivots.read().unwrap(), [None, None], "{device}");
    }
}

#[test]
fn bad_input_is_an_error() {
    for device in devices() {
        let new = |keep: &[bool], n| Kept::new(device, keep, n).err();
        let length = |found: Option<Error>, named: &str| {
            assert!(
                matches!(&found, Some(Error::Length { argument, .. }) if *argument == named),
                "{found:?} should be about {named}"
            );
        };
        length(new(&[], 4), "keep");
        length(new(&[true; 7], 4), "keep");
        length(new(&[true], 0), "n");
        length(new(&[true, true, false, false], 2), "keep");
        let batch = batch_of_two(device);
        for keep in [vec![true; 7], vec![true; 24]] {
            let n = keep.len().min(8);
            let kept = Kept::new(device, &keep, n).unwrap();
            let found = [
                batch.tridiagonal().resolvent_diagonal_kept(&kept).err(),
                batch.tridiagonal().resolvent_diagonal_kept_vjp(&kept, &batch.g).err(),
            ];
            for error in found {
                assert!(matches!(error, Some(Error::Shape { argument: "kept", .. })), "{error:?}");
            }
        }
        let kept = Kept::new(device, &[true; 8], 8).unwrap();
        let g = nan_filled(device, Dtype::F32, true, &[2, 7]).unwrap();
        let found = batch.tridiagonal().resolvent_diagonal_kept_vjp(&kept, &g).err();
        assert!(matches!(found, Some(Error::Shape { argument: "g", .. })), "{found:?}");
    }
}

fn batch_of_two(device: &Device) -> Batch {
    Batch::of(device, Dtype::F32, Source::Model { eta: 1.0 }, 2, 8, &mut Rng::fresh())
}

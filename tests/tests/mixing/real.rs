//! The norm of real elements is that of complex ones without imaginary parts: at every size, with what is no number, and
//! in any layout.

use wavecube::{
    Complex64, Device, Dtype, complex_rms_norm, complex_rms_norm_vjp, rms_norm, rms_norm_vjp,
};
use wavecube_testing::{Rng, read, tensor};

use super::{EPSILON, typed};

/// The norm of lines and its gradients by the lines and the factors. Lines lie one after the other, or across.
fn norm(
    device: &Device,
    dtype: Dtype,
    complex: bool,
    [z, w, g]: [&[Complex64]; 3],
    across: bool,
) -> [Vec<Complex64>; 3] {
    let n = w.len();
    let rows = z.len() / n;
    let up = |values: &[Complex64]| {
        if !across {
            return tensor(device, values, dtype, complex, &[rows, n]).unwrap().0;
        }
        let columns: Vec<_> = (0..z.len()).map(|i| values[i % rows * n + i / rows]).collect();
        tensor(device, &columns, dtype, complex, &[n, rows]).unwrap().0.permuted(&[1, 0]).unwrap()
    };
    let (z, g) = (up(z), up(g));
    let (w, _) = tensor(device, w, dtype, false, &[1, n]).unwrap();
    let (y, gradients) = if complex {
        (complex_rms_norm(&z, &w, EPSILON), complex_rms_norm_vjp(&z, &w, EPSILON, &g))
    } else {
        (rms_norm(&z, &w, EPSILON), rms_norm_vjp(&z, &w, EPSILON, &g))
    };
    let [by_z, by_w] = gradients.unwrap();
    [y.unwrap(), by_z, by_w].each_ref().map(read)
}

#[test]
fn real_norms_are_those_of_numbers_without_imaginary_parts() {
    typed(|device, dtype| {
        let largest = if dtype == Dtype::F64 { 900 } else { 100 };
        let powers = if dtype.size() == 2 { [0; 5] } else { [-largest, -30, 0, 30, largest] };
        for (i, power) in powers.into_iter().enumerate() {
            for [rows, n] in [[1, 1], [3, 65], [2, 700]] {
                let mut rng = Rng::fresh();
                let mut z = rng.real(rows * n);
                for z in &mut z {
                    *z *= 2f64.powi(power);
                }
                let (w, mut g) = (rng.real(n), rng.real(rows * n));
                let spoilt = rng.int(0, rows * n - 1);
                match i {
                    1 => z[spoilt].re = f64::NAN,
                    3 => g[spoilt].re = f64::INFINITY,
                    _ => {}
                }
                let what = format!("{device} {dtype} {rows} x {n} 2^{power} seed {}", rng.seed);
                let of = [&z[..], &w, &g];
                let complex = norm(device, dtype, true, of, false);
                for across in [false, true] {
                    let real = norm(device, dtype, false, of, across);
                    for (name, (real, complex)) in
                        ["y", "by z", "by w"].into_iter().zip(real.iter().zip(&complex))
                    {
                        assert_eq!(real.len(), complex.len(), "{what}: {name}");
                        let finite = complex.iter().map(|v| v.re.abs()).filter(|v| v.is_finite());
                        let gate = 2.0 * dtype.epsilon() * finite.fold(0.0, f64::max);
                        for (found, expected) in real.iter().zip(complex) {
                            // An infinity is one of the same sign.
                            let same = found.re.is_nan() && expected.re.is_nan()
                                || found.re == expected.re
                                || (found.re - expected.re).abs() <= gate;
                            assert!(same, "{what} {across}: {name} {found} not {expected}");
                        }
                    }
                }
            }
        }
    });
}

//! The diagonal of a tridiagonal resolvent, solutions and the determinant, and their gradients: from the
//! dense inverse, and by the ratio recursions in `f64` for long sequences.

use wavecube::Complex64;

const ZERO: Complex64 = Complex64::ZERO;
const ONE: Complex64 = Complex64::ONE;

/// One operator: `H` with `a` on the diagonal, `b` above it and `c` below it, minus `z`.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The diagonal of `H`.
    pub a: Vec<Complex64>,
    /// `H[k, k + 1]`.
    pub b: Vec<Complex64>,
    /// `H[k + 1, k]`.
    pub c: Vec<Complex64>,
    /// The shift.
    pub z: Complex64,
}

/// `∂ℓ/∂Re + i ∂ℓ/∂Im` of every operand.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Of the diagonal.
    pub a: Vec<Complex64>,
    /// Of the elements above it.
    pub b: Vec<Complex64>,
    /// Of the elements below it.
    pub c: Vec<Complex64>,
    /// Of the shift.
    pub z: Complex64,
}

impl Operator {
    /// `(H − z)⁻¹`, row by row.
    ///
    /// # Panics
    /// If the matrix is singular.
    pub fn inverse(&self) -> Vec<Vec<Complex64>> {
        self.eliminated().0
    }

    /// The inverse and `ln |det|`, by elimination with partial pivoting.
    fn eliminated(&self) -> (Vec<Vec<Complex64>>, f64) {
        let n = self.a.len();
        let mut logarithms = Vec::with_capacity(n);
        let mut left = vec![vec![ZERO; n]; n];
        for k in 0..n {
            left[k][k] = self.a[k] - self.z;
            if k + 1 < n {
                left[k][k + 1] = self.b[k];
                left[k + 1][k] = self.c[k];
            }
        }
        let mut right: Vec<Vec<Complex64>> =
            (0..n).map(|i| (0..n).map(|j| if i == j { ONE } else { ZERO }).collect()).collect();
        for k in 0..n {
            let size = |i: &usize| left[*i][k].norm();
            let pivot = (k..n).max_by(|i, j| size(i).total_cmp(&size(j))).expect("a row is left");
            assert!(left[pivot][k] != ZERO, "the matrix is singular");
            left.swap(k, pivot);
            right.swap(k, pivot);
            logarithms.push(left[k][k].norm().ln());
            let inverse = ONE / left[k][k];
            for side in [&mut left, &mut right] {
                side[k].iter_mut().for_each(|v| *v *= inverse);
            }
            let (pivot_left, pivot_right) = (left[k].clone(), right[k].clone());
            for i in (0..n).filter(|&i| i != k) {
                let factor = left[i][k];
                if factor != ZERO {
                    for (v, p) in left[i].iter_mut().zip(&pivot_left) {
                        *v -= factor * p;
                    }
                    for (v, p) in right[i].iter_mut().zip(&pivot_right) {
                        *v -= factor * p;
                    }
                }
            }
        }
        (right, sum(logarithms.into_iter()))
    }

    /// The diagonal of the inverse, from the inverse.
    pub fn diagonal_dense(&self) -> Vec<Complex64> {
        self.inverse().iter().enumerate().map(|(k, row)| row[k]).collect()
    }

    /// The gradients, from the inverse: `∂G_kk = −Σ G_ki ∂T_ij G_jk`.
    pub fn gradients_dense(&self, g: &[Complex64]) -> Gradients {
        let n = self.a.len();
        let inverse = self.inverse();
        let by = |i: usize, j: usize| -> Complex64 {
            let sum: Complex64 = (0..n).map(|k| g[k].conj() * inverse[k][i] * inverse[j][k]).sum();
            -sum.conj()
        };
        let a: Vec<Complex64> = (0..n).map(|i| by(i, i)).collect();
        Gradients {
            z: -a.iter().sum::<Complex64>(),
            a,
            b: (1..n).map(|i| by(i - 1, i)).collect(),
            c: (1..n).map(|i| by(i, i - 1)).collect(),
        }
    }

    /// `u`, `v` and the diagonal of the inverse by the ratio recursions.
    fn ratios(&self) -> [Vec<Complex64>; 3] {
        let n = self.a.len();
        let d: Vec<Complex64> = self.a.iter().map(|a| a - self.z).collect();
        let p: Vec<Complex64> = self.b.iter().zip(&self.c).map(|(b, c)| b * c).collect();
        let (mut u, mut v) = (d.clone(), d.clone());
        for k in 1..n {
            u[k] = d[k] - p[k - 1] / u[k - 1];
        }
        for k in (1..n).rev() {
            v[k - 1] = d[k - 1] - p[k - 1] / v[k];
        }
        let diagonal = (0..n).map(|k| ONE / (u[k] + v[k] - d[k])).collect();
        [u, v, diagonal]
    }

    /// The diagonal of the inverse by the ratio recursions.
    pub fn diagonal_serial(&self) -> Vec<Complex64> {
        let [_, _, diagonal] = self.ratios();
        diagonal
    }

    /// The gradients by the recursions of `F` and `E`.
    pub fn gradients_serial(&self, g: &[Complex64]) -> Gradients {
        let n = self.a.len();
        let [u, v, diagonal] = self.ratios();
        let p: Vec<Complex64> = self.b.iter().zip(&self.c).map(|(b, c)| b * c).collect();
        let s: Vec<Complex64> =
            g.iter().zip(&diagonal).map(|(g, value)| g.conj() * value * value).collect();
        let (mut f, mut e) = (s.clone(), s.clone());
        for k in 1..n {
            f[k] = s[k] + p[k - 1] / (v[k] * v[k]) * f[k - 1];
        }
        for k in (1..n).rev() {
            e[k - 1] = s[k - 1] + p[k - 1] / (u[k - 1] * u[k - 1]) * e[k];
        }
        let a: Vec<Complex64> = (0..n).map(|k| -(f[k] + e[k] - s[k]).conj()).collect();
        let by_p: Vec<Complex64> = (1..n).map(|k| f[k - 1] / v[k] + e[k] / u[k - 1]).collect();
        Gradients {
            z: -a.iter().sum::<Complex64>(),
            a,
            b: by_p.iter().zip(&self.c).map(|(by, c)| (by * c).conj()).collect(),
            c: by_p.iter().zip(&self.b).map(|(by, b)| (by * b).conj()).collect(),
        }
    }

    /// `ln |det|`, by elimination with partial pivoting.
    ///
    /// # Panics
    /// If the matrix is singular.
    pub fn log_determinant_dense(&self) -> f64 {
        self.eliminated().1
    }

    /// `ln |det|`, the sum of the logarithms of the pivots.
    pub fn log_determinant_serial(&self) -> f64 {
        let [u, ..] = self.ratios();
        sum(u.iter().map(|u| u.norm().ln()))
    }

    /// The gradients of `g ln |det|`, from the inverse.
    pub fn log_determinant_gradients_dense(&self, g: f64) -> Gradients {
        let n = self.a.len();
        let inverse = self.inverse();
        let a: Vec<Complex64> = (0..n).map(|k| g * inverse[k][k].conj()).collect();
        Gradients {
            z: -a.iter().sum::<Complex64>(),
            a,
            b: (1..n).map(|k| g * inverse[k][k - 1].conj()).collect(),
            c: (1..n).map(|k| g * inverse[k - 1][k].conj()).collect(),
        }
    }

    /// The gradients of `g ln |det|`, from the ratios.
    pub fn log_determinant_gradients_serial(&self, g: f64) -> Gradients {
        let n = self.a.len();
        let [_, v, diagonal] = self.ratios();
        let a: Vec<Complex64> = diagonal.iter().map(|value| g * value.conj()).collect();
        let by_p = |k: usize| -g * diagonal[k - 1] / v[k];
        Gradients {
            z: -a.iter().sum::<Complex64>(),
            a,
            b: (1..n).map(|k| (by_p(k) * self.c[k - 1]).conj()).collect(),
            c: (1..n).map(|k| (by_p(k) * self.b[k - 1]).conj()).collect(),
        }
    }

    /// `T⁻¹ r`, by the inverse.
    pub fn solve_dense(&self, r: &[Complex64]) -> Vec<Complex64> {
        let dot = |row: &Vec<Complex64>| row.iter().zip(r).map(|(m, r)| m * r).sum();
        self.inverse().iter().map(dot).collect()
    }

    /// `T⁻¹ r`, by elimination from the first row to the last and back.
    pub fn solve_serial(&self, r: &[Complex64]) -> Vec<Complex64> {
        let n = self.a.len();
        let [u, ..] = self.ratios();
        let mut x = r.to_vec();
        for k in 1..n {
            x[k] = r[k] - self.c[k - 1] / u[k - 1] * x[k - 1];
        }
        x[n - 1] /= u[n - 1];
        for k in (1..n).rev() {
            x[k - 1] = (x[k - 1] - self.b[k - 1] * x[k]) / u[k - 1];
        }
        x
    }

    /// `T x`.
    pub fn times(&self, x: &[Complex64]) -> Vec<Complex64> {
        let n = self.a.len();
        (0..n)
            .map(|k| {
                let before = if k > 0 { self.c[k - 1] * x[k - 1] } else { ZERO };
                let behind = if k + 1 < n { self.b[k] * x[k + 1] } else { ZERO };
                before + (self.a[k] - self.z) * x[k] + behind
            })
            .collect()
    }

    /// The gradients of the solution for the right side `r`, and that of the right side: `T⁻ᴴ g`, and
    /// `−λ_i conj(x_j)` for `T_ij`.
    pub fn solve_gradients(
        &self,
        r: &[Complex64],
        g: &[Complex64],
        dense: bool,
    ) -> (Gradients, Vec<Complex64>) {
        let conjugate =
            |values: &[Complex64]| values.iter().map(Complex64::conj).collect::<Vec<_>>();
        let adjoint = Self {
            a: conjugate(&self.a),
            b: conjugate(&self.c),
            c: conjugate(&self.b),
            z: self.z.conj(),
        };
        let (x, lambda) = if dense {
            (self.solve_dense(r), adjoint.solve_dense(g))
        } else {
            (self.solve_serial(r), adjoint.solve_serial(g))
        };
        let n = x.len();
        let by = |i: usize, j: usize| -lambda[i] * x[j].conj();
        let a: Vec<Complex64> = (0..n).map(|k| by(k, k)).collect();
        let gradients = Gradients {
            z: -a.iter().sum::<Complex64>(),
            a,
            b: (1..n).map(|k| by(k - 1, k)).collect(),
            c: (1..n).map(|k| by(k, k - 1)).collect(),
        };
        (gradients, lambda)
    }
}

/// A sum with what each addition rounds off.
fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut rounded) = (0.0, 0.0);
    for term in terms {
        let next: f64 = sum + term;
        let kept = next - sum;
        rounded += (sum - (next - kept)) + (term - kept);
        sum = next;
    }
    sum + rounded
}

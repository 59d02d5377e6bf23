//! How a function of parameters changes with each of them, by finite differences in `f64`.

use wavecube::Complex64;

/// A step may move the result by this part of its norm: the fourth power of it, the error of the
/// differences, is then below every gate, and rounding is far below the step.
const MOVED: f64 = 3e-3;

/// `∂y/∂p_i` for every parameter of `y(p)`.
pub struct Slopes(Vec<Vec<Complex64>>);

impl Slopes {
    /// By central differences of the fourth order around `p`.
    ///
    /// # Panics
    /// If a parameter is so steep, or `y` so wild, that no step is small enough.
    pub fn of(p: &[f64], y: impl Fn(&[f64]) -> Vec<Complex64>) -> Self {
        let at_rest = y(p);
        let slope = |i: usize| {
            let at = |shift: f64| {
                let mut moved = p.to_vec();
                moved[i] += shift;
                y(&moved)
            };
            let mut step = 1e-3;
            while distance(&at(2.0 * step), &at_rest) > MOVED * norm(&at_rest) {
                step /= 4.0;
                assert!(step > 1e-12, "parameter {i} has no slope");
            }
            let [far, near] = [2.0, 1.0].map(|steps| {
                let (ahead, behind) = (at(steps * step), at(-steps * step));
                ahead.iter().zip(behind).map(|(a, b)| a - b).collect::<Vec<_>>()
            });
            near.iter().zip(far).map(|(near, far)| (8.0 * near - far) / (12.0 * step)).collect()
        };
        Self((0..p.len()).map(slope).collect())
    }

    /// The gradient of `Re⟨g, y(p)⟩`, for the gradient `g` of `y`.
    pub fn gradient(&self, g: &[Complex64]) -> Vec<f64> {
        self.0.iter().map(|slope| real_dot(g, slope)).collect()
    }

    /// The largest error of any element of a gradient, each relative to `‖∂y/∂p_i‖` times the root mean
    /// square of `g`: what the element is for a `g` that has nothing to do with the slope, whether or not
    /// it happens to be near zero. A parameter without effect must have a gradient of zero. NaN if
    /// anything is.
    ///
    /// # Panics
    /// If there are not as many elements as parameters.
    pub fn error(&self, found: &[f64], g: &[Complex64]) -> f64 {
        assert_eq!(found.len(), self.0.len(), "as many gradients as parameters");
        let root_mean_square = norm(g) / (g.len() as f64).sqrt();
        let errors =
            found.iter().zip(self.gradient(g)).zip(&self.0).map(|((found, want), slope)| {
                let size = norm(slope) * root_mean_square;
                (found - want).abs() / if size == 0.0 { 1.0 } else { size }
            });
        errors.fold(0.0, |worst, error| if error > worst || error.is_nan() { error } else { worst })
    }
}

/// `Re Σ a* b`.
pub fn real_dot(a: &[Complex64], b: &[Complex64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a.conj() * b).re).sum()
}

/// `‖v‖`.
pub fn norm(v: &[Complex64]) -> f64 {
    v.iter().map(Complex64::norm_sqr).sum::<f64>().sqrt()
}

fn distance(a: &[Complex64], b: &[Complex64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).norm_sqr()).sum::<f64>().sqrt()
}

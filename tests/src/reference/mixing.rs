//! Maps of complex numbers from their definitions by magnitude and phase, and gradients as differences.

use wavecube::Complex64;
use wavecube_kernels::mixing::Map;

/// The value of a map at `z`, `w` where it has one. A pair stands in real and imaginary part.
pub fn value(map: Map, z: Complex64, w: f64) -> Complex64 {
    let (size, phase) = z.to_polar();
    match map {
        Map::ModRelu if size > 0.0 => Complex64::from_polar((size + w).max(0.0), phase),
        Map::ModRelu => Complex64::ZERO,
        Map::Cardioid => z * (0.5 * (1.0 + phase.cos())),
        Map::Rotate => Complex64::from_polar(size, phase + w),
        Map::Gate => z / (1.0 + (-w).exp()),
        Map::Polar => Complex64::new(size, phase),
        Map::Cartesian => Complex64::from_polar(1.0, z.im) * z.re,
    }
}

/// Central differences of the fourth order. `step` is small beside the distance from any kink.
fn slope(f: impl Fn(f64) -> Complex64, step: f64) -> Complex64 {
    let around = |steps: f64| f(steps * step) - f(-steps * step);
    (8.0 * around(1.0) - around(2.0)) / (12.0 * step)
}

/// `Re(ā b)`.
fn dot(a: Complex64, b: Complex64) -> f64 {
    (a.conj() * b).re
}

/// The gradients by `z` and `w` of `Re(ḡ y)`.
pub fn gradients(map: Map, z: Complex64, w: f64, g: Complex64) -> (Complex64, f64) {
    let step = 1e-3 * z.norm().min(1.0);
    let moved = |by: Complex64| match map {
        // From the angle at rest, so that no step crosses the cut.
        Map::Polar => Complex64::new((z + by).norm(), ((z + by) / z).arg()),
        _ => value(map, z + by, w),
    };
    let re = slope(|h| moved(h.into()), step);
    let im = slope(|h| moved(Complex64::new(0.0, h)), step);
    let by_w = slope(|h| value(map, z, w + h), step);
    (Complex64::new(dot(g, re), dot(g, im)), dot(g, by_w))
}

/// `w_j z_j / √(mean |z|² + ε)`.
pub fn rms_norm(z: &[Complex64], w: &[f64], epsilon: f64) -> Vec<Complex64> {
    let mean = z.iter().map(Complex64::norm_sqr).sum::<f64>() / z.len() as f64;
    z.iter().zip(w).map(|(z, w)| z * w / (mean + epsilon).sqrt()).collect()
}

/// The gradients by every `z` and every `w` of `Re Σ ḡ y`.
pub fn rms_norm_gradients(
    z: &[Complex64],
    w: &[f64],
    g: &[Complex64],
    epsilon: f64,
) -> (Vec<Complex64>, Vec<f64>) {
    let loss = |z: &[Complex64], w: &[f64]| {
        let y = rms_norm(z, w, epsilon);
        Complex64::new(g.iter().zip(y).map(|(g, y)| dot(*g, y)).sum(), 0.0)
    };
    // Small beside the root, which is what the norm changes over.
    let mean = z.iter().map(Complex64::norm_sqr).sum::<f64>() / z.len() as f64;
    let step = 1e-3 * (mean + epsilon).sqrt().min(1.0);
    let by_z = |j: usize, unit: Complex64| {
        let moved = |h: f64| {
            let mut z = z.to_vec();
            z[j] += unit * h;
            loss(&z, w)
        };
        slope(moved, step).re
    };
    let by_w = |j: usize| {
        let moved = |h: f64| {
            let mut w = w.to_vec();
            w[j] += h;
            loss(z, &w)
        };
        slope(moved, 1e-3).re
    };
    let n = 0..z.len();
    (
        n.clone().map(|j| Complex64::new(by_z(j, Complex64::ONE), by_z(j, Complex64::I))).collect(),
        n.map(by_w).collect(),
    )
}

/// `y_o = Σ_i w_{oi} x_i` for lines `x` one after the other.
pub fn linear(x: &[Complex64], w: &[Complex64], inputs: usize) -> Vec<Complex64> {
    x.chunks_exact(inputs)
        .flat_map(|x| {
            w.chunks_exact(inputs).map(move |row| row.iter().zip(x).map(|(w, x)| w * x).sum())
        })
        .collect()
}

/// Channels mixed by magnitude and by phase, by matrices `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub struct PhaseMix {
    /// Channels of a line.
    pub inputs: usize,
    /// What mixes magnitudes.
    pub magnitudes: Vec<f64>,
    /// What mixes directions.
    pub directions: Vec<Complex64>,
    /// `√(|z|² + ε²)` stands for a magnitude.
    pub epsilon: f64,
}

impl PhaseMix {
    fn size(&self, z: Complex64) -> f64 {
        z.norm().hypot(self.epsilon)
    }

    /// Of lines `y` one after the other: magnitudes by one matrix, directions by the other.
    pub fn value(&self, y: &[Complex64]) -> Vec<Complex64> {
        y.chunks_exact(self.inputs)
            .flat_map(|y| {
                let turned = linear(y, &self.directions, self.inputs);
                let rows = self.magnitudes.chunks_exact(self.inputs);
                rows.zip(turned).map(move |(row, turned)| {
                    let size: f64 = row.iter().zip(y).map(|(a, y)| a * self.size(*y)).sum();
                    turned * (size / self.size(turned))
                })
            })
            .collect()
    }

    /// `Re Σ ḡ z`.
    fn loss(&self, y: &[Complex64], g: &[Complex64]) -> Complex64 {
        Complex64::new(self.value(y).iter().zip(g).map(|(z, g)| dot(*g, *z)).sum(), 0.0)
    }

    /// A slope over steps that are small beside what anything changes over, `ε` at the least.
    fn slope(&self, f: impl Fn(f64) -> Complex64) -> f64 {
        slope(f, 1e-3 * self.epsilon.min(1.0)).re
    }

    /// The gradient of `Re Σ ḡ z` by every channel of lines `y` one after the other.
    pub fn by_channels(&self, y: &[Complex64], g: &[Complex64]) -> Vec<Complex64> {
        let outputs = self.directions.len() / self.inputs;
        let lines = y.chunks_exact(self.inputs).zip(g.chunks_exact(outputs));
        lines
            .flat_map(|(y, g)| {
                let along = move |j: usize, unit: Complex64| {
                    self.slope(|h| {
                        let mut y = y.to_vec();
                        y[j] += unit * h;
                        self.loss(&y, g)
                    })
                };
                (0..self.inputs)
                    .map(move |j| Complex64::new(along(j, Complex64::ONE), along(j, Complex64::I)))
            })
            .collect()
    }

    /// The gradients of `Re Σ ḡ z` by every entry of both matrices.
    pub fn by_matrices(&self, y: &[Complex64], g: &[Complex64]) -> (Vec<f64>, Vec<Complex64>) {
        let entries = 0..self.directions.len();
        let by_magnitude = |j: usize| {
            self.slope(|h| {
                let mut of = self.clone();
                of.magnitudes[j] += h;
                of.loss(y, g)
            })
        };
        let by_direction = |j: usize, unit: Complex64| {
            self.slope(|h| {
                let mut of = self.clone();
                of.directions[j] += unit * h;
                of.loss(y, g)
            })
        };
        let direction =
            |j| Complex64::new(by_direction(j, Complex64::ONE), by_direction(j, Complex64::I));
        (entries.clone().map(by_magnitude).collect(), entries.map(direction).collect())
    }
}

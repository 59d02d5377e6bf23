//! What every transform of lines has to keep, whatever algorithm its length takes.

mod names;
mod poison;
mod scales;

use wavecube::{
    Abcd, Complex64, ComplexAbcd, Device, Direction, Dtype, Normalization, OutputGrid, Result,
    Tensor, WeilMatrix,
};
use wavecube_testing::{Rng, tensor};

/// A linear transform of lines along the last of two axes.
struct Transform {
    /// The operation that is called.
    op: &'static str,
    /// The name of its operand.
    operand: &'static str,
    /// Points of a line that goes in, and whether they are complex.
    len: usize,
    complex: bool,
    /// Every point of a result depends on every point that goes in.
    dense: bool,
    call: Box<dyn Fn(&Tensor, isize) -> Result<Tensor>>,
}

impl Transform {
    fn new(
        op: &'static str,
        len: usize,
        call: impl Fn(&Tensor, isize) -> Result<Tensor> + 'static,
    ) -> Self {
        let operand = if op.ends_with("_vjp") { "g" } else { "x" };
        Self { op, operand, len, complex: true, dense: true, call: Box::new(call) }
    }

    fn real(self) -> Self {
        Self { complex: false, ..self }
    }

    fn pointwise(self) -> Self {
        Self { dense: false, ..self }
    }

    /// Lines one after the other, in the storage type.
    fn operand(&self, device: &Device, dtype: Dtype, values: &[Complex64]) -> Result<Tensor> {
        let shape = [values.len() / self.len, self.len];
        Ok(tensor(device, values, dtype, self.complex, &shape)?.0)
    }

    fn random(&self, rng: &mut Rng, rows: usize) -> Vec<Complex64> {
        if self.complex { rng.complex(rows * self.len) } else { rng.real(rows * self.len) }
    }
}

const NORM: Normalization = Normalization::Ortho;

/// One stage, several, Rader, Bluestein, one that wraps around, and a convolution over two passes. All tests take the same
/// lengths: drivers compile a kernel for each, which takes longer than all else.
const FOURIER: [usize; 7] = [1, 8, 30, 101, 254, 4099, 20_011];
/// Of those whose kernels are many, among them a convolution over the work space.
const OTHERS: [usize; 3] = [30, 101, 1024];
/// Of those that cost `N²`.
const DENSE: usize = 30;

/// The Fourier transforms of `n` points.
fn fourier(n: usize) -> Vec<Transform> {
    let bins = n / 2 + 1;
    vec![
        Transform::new("fft", n, |x, axis| wavecube::fft(x, axis, NORM)),
        Transform::new("ifft", n, |x, axis| wavecube::ifft(x, axis, Normalization::Backward)),
        Transform::new("fft_vjp", n, |g, axis| wavecube::fft_vjp(g, axis, NORM)),
        Transform::new("ifft_vjp", n, |g, axis| wavecube::ifft_vjp(g, axis, NORM)),
        Transform::new("rfft", n, |x, axis| wavecube::rfft(x, axis, NORM)).real(),
        Transform::new("irfft", bins, move |x, axis| wavecube::irfft(x, n, axis, NORM)),
        Transform::new("rfft_vjp", bins, move |g, axis| wavecube::rfft_vjp(g, n, axis, NORM)),
        Transform::new("irfft_vjp", n, |g, axis| wavecube::irfft_vjp(g, axis, NORM)).real(),
    ]
}

/// Convolutions of lines of `n` points with a random filter.
fn convolutions(device: &Device, rng: &mut Rng, dtype: Dtype, n: usize) -> Result<Vec<Transform>> {
    let (real, _) = tensor(device, &rng.real(n), dtype, false, &[1, n])?;
    let (complex, _) = tensor(device, &rng.complex(n), dtype, true, &[1, n])?;
    let (spectrum, _) = tensor(device, &rng.complex(n), dtype.compute(), true, &[1, n])?;
    let (h, back) = (real.clone(), real);
    let causal = move |x: &Tensor, axis| wavecube::causal_convolution(x, &h, axis);
    let ahead = move |g: &Tensor, axis| wavecube::causal_convolution_vjp(g, &back, axis);
    let (h, back) = (complex.clone(), complex);
    let causal_complex = move |x: &Tensor, axis| wavecube::causal_convolution(x, &h, axis);
    let ahead_complex = move |g: &Tensor, axis| wavecube::causal_convolution_vjp(g, &back, axis);
    let (h, back) = (spectrum.clone(), spectrum);
    let filter = move |x: &Tensor, axis| wavecube::spectral_filter(x, &[&h], axis);
    let filter_back = move |g: &Tensor, axis| wavecube::spectral_filter_vjp(g, &[&back], axis);
    Ok(vec![
        Transform::new("causal_convolution", n, causal).real(),
        Transform::new("causal_convolution_vjp", n, ahead).real(),
        Transform::new("causal_convolution", n, causal_complex),
        Transform::new("causal_convolution_vjp", n, ahead_complex),
        Transform::new("spectral_filter", n, filter),
        Transform::new("spectral_filter_vjp", n, filter_back),
    ])
}

/// The canonical transforms of `n` points that cost `N log N`.
fn canonical(n: usize) -> Vec<Transform> {
    let m = Abcd::from_abc(0.9, 0.3, -0.5).expect("a determinant of one");
    let dual = Abcd::from_abc(0.9, 0.5, -0.3).expect("a determinant of one");
    let grid = OutputGrid { outputs: n, first: -0.3, step: 0.7 / n as f64 };
    let spacing = 0.9 / (n as f64).sqrt();
    let step = 0.9 / n as f64;
    let mut all = vec![
        Transform::new("chirp_multiply", n, |x, axis| wavecube::chirp_multiply(x, 0.4, axis))
            .pointwise(),
        Transform::new("chirp_multiply_vjp", n, |g, axis| {
            wavecube::chirp_multiply_vjp(g, 0.4, axis)
        })
        .pointwise(),
        Transform::new("fourier", n, |x, axis| wavecube::fourier(x, false, axis)),
        Transform::new("fourier_vjp", n, |g, axis| wavecube::fourier_vjp(g, false, axis)),
        Transform::new("lct_shear", n, move |x, axis| wavecube::lct_shear(x, &m, axis)),
        Transform::new("lct_shear", n, move |x, axis| wavecube::lct_shear(x, &dual, axis)),
        Transform::new("lct_shear_vjp", n, move |g, axis| wavecube::lct_shear_vjp(g, &m, axis)),
        Transform::new("fresnel", n, |x, axis| wavecube::fresnel(x, 0.4, axis)),
        Transform::new("fresnel_vjp", n, |g, axis| wavecube::fresnel_vjp(g, 0.4, axis)),
        Transform::new("scaling", n, |x, axis| wavecube::scaling(x, 1.3, axis)),
        Transform::new("scaling_vjp", n, |g, axis| wavecube::scaling_vjp(g, 1.3, axis)),
        Transform::new("frft_weighted", n, |x, axis| wavecube::frft_weighted(x, 0.4, axis)),
        Transform::new("frft_weighted_vjp", n, |g, axis| wavecube::frft_weighted_vjp(g, 0.4, axis)),
        Transform::new("lct_scaled", n, move |x, axis| {
            wavecube::lct_scaled(x, &m, spacing, axis).map(|y| y.0)
        }),
        Transform::new("lct_scaled_vjp", n, move |g, axis| {
            wavecube::lct_scaled_vjp(g, &m, spacing, axis)
        }),
        Transform::new("lct_causal", n, move |x, axis| {
            wavecube::lct_causal(x, &m, -3.0, spacing, axis)
        }),
        Transform::new("lct_causal_vjp", n, move |g, axis| {
            wavecube::lct_causal_vjp(g, &m, -3.0, spacing, axis)
        }),
        Transform::new("czt", n, move |x, axis| wavecube::czt(x, n, 0.1, step, axis)),
        Transform::new("czt_vjp", n, move |g, axis| wavecube::czt_vjp(g, n, 0.1, step, axis)),
        Transform::new("lct_czt", n, move |x, axis| wavecube::lct_czt(x, &m, spacing, &grid, axis)),
        Transform::new("lct_czt_vjp", n, move |g, axis| {
            wavecube::lct_czt_vjp(g, n, &m, spacing, &grid, axis)
        }),
    ];
    if let Ok(weil) = WeilMatrix::new(n, [1, 2, 3, 7]) {
        let back = weil;
        let dense = n % 2 == 1;
        let there = move |x: &Tensor, axis| wavecube::lct_weil(x, &weil, axis);
        let back = move |g: &Tensor, axis| wavecube::lct_weil_vjp(g, &back, axis);
        let pair = [Transform::new("lct_weil", n, there), Transform::new("lct_weil_vjp", n, back)];
        // Where 2 has no inverse the matrix of the transform has zeros.
        all.extend(pair.map(|weil| Transform { dense, ..weil }));
    }
    all
}

/// Those that cost `N²`.
fn dense(n: usize) -> Vec<Transform> {
    let m = Abcd::from_abc(0.9, 0.3, -0.5).expect("a determinant of one");
    let gauss = ComplexAbcd::from(m) * ComplexAbcd::gaussian(0.3);
    let spiral = [Complex64::from_polar(1.001, 0.6), Complex64::from_polar(0.999_99, -0.013)];
    let [a, w] = spiral;
    vec![
        Transform::new("dft_naive", n, |x, axis| {
            wavecube::dft_naive(x, axis, Direction::Forward, NORM)
        }),
        Transform::new("frft", n, |x, axis| wavecube::frft(x, 0.4, axis)),
        Transform::new("frft_vjp", n, |g, axis| wavecube::frft_vjp(g, 0.4, axis)),
        Transform::new("lct_framed", n, move |x, axis| {
            Ok(wavecube::lct_framed(x, &m, axis)?.coefficients)
        }),
        Transform::new("lct_framed_vjp", n, move |g, axis| wavecube::lct_framed_vjp(g, &m, axis)),
        Transform::new("lct_complex", n, move |x, axis| wavecube::lct_complex(x, &gauss, axis)),
        Transform::new("lct_complex_vjp", n, move |g, axis| {
            wavecube::lct_complex_vjp(g, &gauss, axis)
        }),
        // Their powers stay near one for so many points only.
        Transform::new("czt_spiral", n, move |x, axis| wavecube::czt_spiral(x, n, a, w, axis)),
        Transform::new("czt_spiral_vjp", n, move |g, axis| {
            wavecube::czt_spiral_vjp(g, n, a, w, axis)
        }),
    ]
}

/// The types that a device computes in, with the largest power of two that every operation is to take.
fn scales(device: &Device) -> impl Iterator<Item = (Dtype, i32)> {
    [(Dtype::F32, 100), (Dtype::F64, 900)]
        .into_iter()
        .filter(|&(dtype, _)| wavecube_testing::has(device, dtype))
}

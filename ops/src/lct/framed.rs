//! Transforms in the Hermite–Gauss-like eigenbasis of the DFT.

#[cfg(doc)]
use wavecube_core::Error;
use wavecube_core::{
    Complex64, Result,
    lct::{Abcd, Eigenbasis, Frame, ZeroPoint, rotation_phases},
};
use wavecube_kernels::lct::{Factor, Program, upload_complex, upload_real};

use super::run::{
    Applied, Matrix, Sum, check_output, check_pair, complex_axis, dense, dense_into, gradient,
    gradient_from, kept_matrix, rate_weights, run, run_into,
};
use crate::{
    Tensor,
    call::{GRADIENT, SIGNAL, of_call},
};

/// The basis `V` on the tensor's device, kept there.
fn basis(op: &'static str, x: &Tensor, n: usize) -> Result<Matrix> {
    kept_matrix(op, x, ("eigenbasis", &[]), n, false, |client, compute| {
        Ok(upload_real(client, &Eigenbasis::shared(n)?.matrix(), compute))
    })
    .map_err(of_call(op, SIGNAL))
}

/// `diag(after) Vᵀ x`.
fn analyse(
    op: &'static str,
    x: &Tensor,
    axis: isize,
    after: Option<&[Complex64]>,
) -> Result<Tensor> {
    let (_, n) = complex_axis(op, x, axis)?;
    let how = Applied { transposed: true, after, ..Applied::default() };
    dense(op, x, axis, &basis(op, x, n)?, how)
}

/// `diag(after) V v`.
fn synthesise(
    op: &'static str,
    v: &Tensor,
    axis: isize,
    after: Option<&[Complex64]>,
) -> Result<Tensor> {
    let (_, n) = complex_axis(op, v, axis)?;
    dense(op, v, axis, &basis(op, v, n)?, Applied { after, ..Applied::default() })
}

/// The fractional Fourier transform by `angle` radians along `axis`, `V exp(−i angle k) Vᵀ x` in the
/// eigenbasis of the centred DFT ([`Eigenbasis`]); `π/2` is [`fourier`](crate::fourier).
///
/// Promises: unitary, and exactly additive in the angle on every vector, to rounding; smooth in the angle
/// everywhere; the identity at `angle = 0`, bit for bit. True to the continuous transform on signals
/// within `0.4√N`. Costs two real-matrix products of `N²` entries, and on the first use of a length a
/// basis of `O(N³)` on the host: lengths to 16384.
///
/// # Errors
/// [`crate::Error::Dtype`] for a real tensor, [`crate::Error::Axis`] if there is no such axis, [`crate::Error::Length`] if it
/// is empty or longer than 16384, [`crate::Error::Value`] if `angle` is not finite, [`crate::Error::Limit`] if the basis
/// exceeds a buffer of the device.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, fourier, frft};
/// let device = Device::best()?;
/// let signal: Vec<Complex32> = (0..24).map(|j| Complex32::new((j as f32).sin(), 0.5)).collect();
/// let x = Tensor::from_slice(&device, &signal, &[24])?;
/// let eighth = core::f64::consts::FRAC_PI_4;
/// let twice: Vec<Complex32> = frft(&frft(&x, eighth, -1)?, eighth, -1)?.read()?;
/// let dft: Vec<Complex32> = fourier(&x, false, -1)?.read()?;
/// assert!(twice.iter().zip(&dft).all(|(a, b)| (a - b).norm() < 1e-5));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn frft(x: &Tensor, angle: f64, axis: isize) -> Result<Tensor> {
    const OP: &str = "frft";
    if angle == 0.0 {
        return run(OP, x, axis, &[], |n| Ok(Program::of_factors(n, &[])));
    }
    let (_, n) = complex_axis(OP, x, axis)?;
    let phases = rotation_phases(n, angle, ZeroPoint::Without)?;
    synthesise(OP, &analyse(OP, x, axis, Some(&phases))?, axis, None)
}

/// [`frft`] into a tensor that exists: of the input's shape, any strides, apart from the input.
///
/// # Errors
/// As [`frft`]; [`crate::Error::Shape`] for another shape; [`crate::Error::Overlap`] if the memory of both meets;
/// [`crate::Error::Strides`] if two elements of the output share a place.
///
/// ```
/// use wavecube::{Complex32, Device, Dtype, Tensor, frft, frft_into};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 2.0); 24], &[24])?;
/// let mut y = Tensor::empty(&device, Dtype::F32, true, &[24])?;
/// frft_into(&x, &mut y, 0.7, -1)?;
/// assert_eq!(y.read::<Complex32>()?, frft(&x, 0.7, -1)?.read::<Complex32>()?);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn frft_into(x: &Tensor, output: &mut Tensor, angle: f64, axis: isize) -> Result<()> {
    const OP: &str = "frft_into";
    check_output(OP, x, output)?;
    if angle == 0.0 {
        return run_into(OP, x, output, axis, &[], |n| Ok(Program::of_factors(n, &[])));
    }
    let (_, n) = complex_axis(OP, x, axis)?;
    let phases = rotation_phases(n, angle, ZeroPoint::Without).map_err(of_call(OP, SIGNAL))?;
    let coefficients = analyse(OP, x, axis, Some(&phases))?;
    dense_into(OP, &coefficients, output, axis, &basis(OP, x, n)?, Applied::default())
}

/// The gradient of [`frft`] with respect to the signal: the transform by `−angle`.
///
/// # Errors
/// As [`frft`].
pub fn frft_vjp(g: &Tensor, angle: f64, axis: isize) -> Result<Tensor> {
    frft(g, -angle, axis).map_err(of_call("frft_vjp", GRADIENT))
}

/// The gradient of [`frft`] with respect to `angle`, a real tensor of one element.
///
/// # Errors
/// As [`frft`]; [`crate::Error::Shape`] or [`crate::Error::Dtype`] if `g` is not of the signal's kind.
pub fn frft_angle_vjp(x: &Tensor, g: &Tensor, angle: f64, axis: isize) -> Result<Tensor> {
    const OP: &str = "frft_angle_vjp";
    let n = check_pair(OP, x, g, axis)?;
    let phases = rotation_phases(n, angle, ZeroPoint::Without).map_err(of_call(OP, SIGNAL))?;
    let y = analyse(OP, x, axis, Some(&phases))?;
    let g = analyse(OP, g, axis, None)?;
    gradient(OP, axis, &[Sum { y: &y, g: &g, weights: order_weights(n, 0.0) }], &[vec![1.0]])
}

/// `∂/∂θ = −i(k + zero point)`.
fn order_weights(n: usize, zero_point: f64) -> Vec<Complex64> {
    (0..n).map(|k| Complex64::new(0.0, -(k as f64 + zero_point))).collect()
}

/// A signal as coefficients in the eigenbasis and a [`Frame`]: `f = L(q) D(m) Σ v_k h_k`.
///
/// Promises: every real matrix acts exactly ([`Self::apply`]): unitary, and a chain of transforms equals
/// the transform of the product on every vector, `b = 0` included, to rounding. The samples live on the
/// frame's own grid `m n/√N`. Cannot: give samples on a fixed grid without loss ([`Self::resample`]).
///
/// ```
/// use wavecube::{Abcd, Complex32, Device, FramedSignal, Tensor};
/// let device = Device::best()?;
/// let noise: Vec<Complex32> = (0..33).map(|j| Complex32::new((j * j % 7) as f32, 1.0)).collect();
/// let x = Tensor::from_slice(&device, &noise, &[33])?;
/// let m = Abcd::from_abc(1.5, -0.7, 0.2)?;
/// let there = FramedSignal::from_samples(&x, -1)?.apply(&m)?;
/// let (back, spacing) = there.apply(&m.inverse())?.to_samples()?;
/// assert!((spacing * 33f64.sqrt() - 1.0).abs() < 1e-12);
/// let back: Vec<Complex32> = back.read()?;
/// assert!(back.iter().zip(&noise).all(|(a, b)| (a - b).norm() < 1e-4));
/// # Ok::<(), wavecube::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FramedSignal {
    /// Scale, chirp and the accumulated angle.
    pub frame: Frame,
    /// The coefficients `v`, in the place of the samples.
    pub coefficients: Tensor,
    /// Whether rotations carry the zero-point phase and so the metaplectic sign.
    pub zero_point: ZeroPoint,
    axis: isize,
}

/// The gradients of one [`FramedSignal::apply`].
#[derive(Debug, Clone)]
pub struct FramedGradients {
    /// With respect to the coefficients.
    pub coefficients: Tensor,
    /// With respect to `(a, b, c, d, q, m)`: the matrix that was applied and the frame it was applied to.
    /// A real tensor of six elements.
    pub parameters: Tensor,
}

impl FramedSignal {
    /// The signal with these samples on the centred grid, in the frame of the identity.
    ///
    /// # Errors
    /// As [`frft`].
    pub fn from_samples(x: &Tensor, axis: isize) -> Result<Self> {
        let coefficients = analyse("lct_framed", x, axis, None)?;
        Self::from_coefficients(coefficients, Frame::IDENTITY, axis)
    }

    /// The signal with these coefficients along `axis` in this frame.
    ///
    /// # Errors
    /// [`crate::Error::Dtype`] for a real tensor, [`crate::Error::Axis`] if there is no such axis, [`crate::Error::Length`] if it
    /// is empty.
    pub fn from_coefficients(coefficients: Tensor, frame: Frame, axis: isize) -> Result<Self> {
        complex_axis("lct_framed", &coefficients, axis)?;
        Ok(Self { frame, coefficients, zero_point: ZeroPoint::default(), axis })
    }

    /// The same signal, with or without the zero-point phase in what follows.
    #[must_use]
    pub fn with_zero_point(self, zero_point: ZeroPoint) -> Self {
        Self { zero_point, ..self }
    }

    /// The axis of the coefficients.
    pub fn axis(&self) -> isize {
        self.axis
    }

    /// The transform of `m`: one phase for each coefficient, and a new frame.
    ///
    /// # Errors
    /// [`crate::Error::Value`] if an entry is not finite or the frame leaves the range of `f64`.
    pub fn apply(&self, m: &Abcd) -> Result<Self> {
        let (frame, angle) = self.frame.apply(m)?;
        let coefficients = self.rotated(&self.coefficients, angle)?;
        Ok(Self { frame, coefficients, ..self.clone() })
    }

    fn rotated(&self, v: &Tensor, angle: f64) -> Result<Tensor> {
        run("lct_framed", v, self.axis, &[angle, self.first_order()], |n| {
            let phases = rotation_phases(n, angle, self.zero_point)?;
            Ok(Program::of_factors(n, &[Factor::Diagonal(phases)]))
        })
    }

    /// The order that coefficient 0 counts as.
    fn first_order(&self) -> f64 {
        if self.zero_point == ZeroPoint::With { 0.5 } else { 0.0 }
    }

    /// The gradients of [`Self::apply`], from the gradient `g` of the new coefficients and those of the new
    /// frame's `q` and `m` (zero if nothing depends on them).
    ///
    /// # Errors
    /// As [`Self::apply`]; [`crate::Error::Shape`] or [`crate::Error::Dtype`] if `g` is not of the coefficients' kind.
    pub fn apply_vjp(&self, m: &Abcd, g: &Tensor, [g_q, g_m]: [f64; 2]) -> Result<FramedGradients> {
        const OP: &str = "lct_framed_vjp";
        let n = check_pair(OP, &self.coefficients, g, self.axis)?;
        let (_, angle) = self.frame.apply(m)?;
        let by = self.frame.apply_jacobian(m)?;
        let coefficients = self.rotated(g, -angle)?;
        // Both operands of the sum before the rotation: phases cancel.
        let weights = order_weights(n, self.first_order());
        let sums = [Sum { y: &self.coefficients, g: &coefficients, weights }];
        let rows = || {
            let matrix = (0..4).map(|i| by.matrix.map(|row| row[i]));
            matrix.chain((0..2).map(|i| by.frame.map(|row| row[i])))
        };
        let jacobian: Vec<Vec<f64>> = rows().map(|[_, _, angle]| vec![angle]).collect();
        let constants: Vec<f64> = rows().map(|[q, m, _]| q * g_q + m * g_m).collect();
        let parameters = gradient_from(OP, self.axis, &sums, &jacobian, &constants)?;
        Ok(FramedGradients { coefficients, parameters })
    }

    /// The samples on the frame's own grid, weighted by the square root of their spacing, and that spacing,
    /// `m/√N`. Unitary.
    ///
    /// # Errors
    /// [`crate::Error::Value`] if the frame's chirp overflows.
    pub fn to_samples(&self) -> Result<(Tensor, f64)> {
        const OP: &str = "lct_framed";
        let (_, n) = complex_axis(OP, &self.coefficients, self.axis)?;
        let chirp = self.frame.chirp(n)?;
        let after = (self.frame.q() != 0.0).then_some(chirp.as_slice());
        let samples = synthesise(OP, &self.coefficients, self.axis, after)?;
        Ok((samples, self.frame.m() / (n as f64).sqrt()))
    }

    /// The gradient of [`Self::to_samples`] with respect to the coefficients: its adjoint.
    ///
    /// # Errors
    /// As [`Self::to_samples`].
    pub fn to_samples_vjp(&self, g: &Tensor) -> Result<Tensor> {
        const OP: &str = "lct_framed_vjp";
        let n = check_pair(OP, &self.coefficients, g, self.axis)?;
        let chirp: Vec<Complex64> = self.frame.chirp(n)?.iter().map(Complex64::conj).collect();
        let before = (self.frame.q() != 0.0).then_some(chirp.as_slice());
        let how = Applied { transposed: true, before, ..Applied::default() };
        dense(OP, g, self.axis, &basis(OP, g, n)?, how)
    }

    /// The gradient of [`Self::to_samples`] with respect to the frame's `(q, m)`, for the next
    /// [`Self::apply_vjp`]: a real tensor of two elements.
    ///
    /// # Errors
    /// As [`Self::to_samples`]; [`crate::Error::Shape`] or [`crate::Error::Dtype`] if `g` is not of the samples' kind.
    pub fn to_samples_frame_vjp(&self, g: &Tensor) -> Result<Tensor> {
        const OP: &str = "lct_framed_vjp";
        let n = check_pair(OP, &self.coefficients, g, self.axis)?;
        let (y, _) = self.to_samples()?;
        let (q, m) = (self.frame.q(), self.frame.m());
        let sums = [Sum { y: &y, g, weights: rate_weights(n) }];
        gradient(OP, self.axis, &sums, &[vec![m * m], vec![2.0 * q * m]])
    }

    /// The samples on the centred grid of step `1/√N`, whatever the frame: the one inexact step. What lies
    /// outside the window, or between the samples, is lost.
    ///
    /// # Errors
    /// As [`Self::to_samples`]; [`crate::Error::Limit`] if the matrix of `N²` complex entries exceeds a buffer.
    pub fn resample(&self) -> Result<Tensor> {
        let how = Applied::default();
        dense(
            "lct_framed",
            &self.coefficients,
            self.axis,
            &self.resampling(&self.coefficients)?,
            how,
        )
    }

    /// The gradient of [`Self::resample`] with respect to the coefficients: its adjoint.
    ///
    /// # Errors
    /// As [`Self::resample`].
    pub fn resample_vjp(&self, g: &Tensor) -> Result<Tensor> {
        check_pair("lct_framed_vjp", &self.coefficients, g, self.axis)?;
        let how = Applied { transposed: true, conjugate: true, ..Applied::default() };
        dense("lct_framed_vjp", g, self.axis, &self.resampling(g)?, how)
    }

    /// The gradient of [`Self::resample`] with respect to the frame's `(q, m)`, for the next
    /// [`Self::apply_vjp`]: a real tensor of two elements.
    ///
    /// # Errors
    /// As [`Self::resample`]; [`crate::Error::Shape`] or [`crate::Error::Dtype`] if `g` is not of the samples' kind.
    pub fn resample_frame_vjp(&self, g: &Tensor) -> Result<Tensor> {
        const OP: &str = "lct_framed_vjp";
        let v = &self.coefficients;
        let n = check_pair(OP, v, g, self.axis)?;
        let values = [self.frame.q(), self.frame.m()];
        let slope =
            kept_matrix(OP, v, ("resampling by scale", &values), n, true, |client, compute| {
                Ok(upload_complex(client, &self.frame.resampling_by_scale(n)?, compute))
            })?;
        let y = self.resample()?;
        let by_m = dense(OP, v, self.axis, &slope, Applied::default())?;
        let sums = [
            Sum { y: &y, g, weights: rate_weights(n) },
            Sum { y: &by_m, g, weights: vec![Complex64::ONE; n] },
        ];
        gradient(OP, self.axis, &sums, &[vec![1.0, 0.0], vec![0.0, 1.0]])
    }

    fn resampling(&self, x: &Tensor) -> Result<Matrix> {
        const OP: &str = "lct_framed";
        let (_, n) = complex_axis(OP, x, self.axis)?;
        let values = [self.frame.q(), self.frame.m()];
        kept_matrix(OP, x, ("resampling", &values), n, true, |client, compute| {
            Ok(upload_complex(client, &self.frame.resampling(n)?, compute))
        })
    }
}

/// The framed form of [`frft`]: [`FramedSignal::from_samples`], then [`FramedSignal::apply`].
///
/// # Errors
/// As [`FramedSignal::from_samples`] and [`FramedSignal::apply`].
///
/// ```
/// use wavecube::{Abcd, Complex32, Device, Tensor, lct_framed, lct_framed_vjp};
/// let device = Device::best()?;
/// let noise: Vec<Complex32> = (0..21).map(|j| Complex32::new((j * j % 7) as f32, 1.0)).collect();
/// let x = Tensor::from_slice(&device, &noise, &[21])?;
/// let m = Abcd::chirp(0.4) * Abcd::fractional_fourier(0.9);
/// let y = lct_framed(&x, &m, -1)?;
/// assert!((y.frame.q() - 0.4).abs() < 1e-12); // the chirp is in the frame
/// let back: Vec<Complex32> = lct_framed_vjp(&y.coefficients, &m, -1)?.read()?;
/// assert!(back.iter().zip(&noise).all(|(a, b)| (a - b).norm() < 1e-4));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct_framed(x: &Tensor, m: &Abcd, axis: isize) -> Result<FramedSignal> {
    FramedSignal::from_samples(x, axis)?.apply(m)
}

/// The gradient of the coefficients of [`lct_framed`] with respect to the samples.
///
/// # Errors
/// As [`lct_framed`].
pub fn lct_framed_vjp(g: &Tensor, m: &Abcd, axis: isize) -> Result<Tensor> {
    const OP: &str = "lct_framed_vjp";
    let call = || {
        let (_, n) = complex_axis(OP, g, axis)?;
        let (_, angle) = Frame::IDENTITY.apply(m)?;
        let phases = rotation_phases(n, -angle, ZeroPoint::default())?;
        let how = Applied { before: Some(&phases), ..Applied::default() };
        dense(OP, g, axis, &basis(OP, g, n)?, how)
    };
    call().map_err(of_call(OP, GRADIENT))
}

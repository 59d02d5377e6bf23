//! Maps of complex elements: activations, rotations and gates, polar form.

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Tensor,
};
use cubecl::server::Handle;
use num_complex::Complex64;
use wavecube_core::{Error, Result};

use crate::{
    host::{interleaved, numbers, pairs, upload},
    operation::{Kept, Op, Operation, run},
};

/// `z/|z|`, and 0 for 0.
fn direction(z: Complex64) -> Complex64 {
    if z == Complex64::ZERO { z } else { z / z.norm() }
}

/// `Re(a̅ b)`: how much of `b` points where `a` does.
fn along(a: Complex64, b: Complex64) -> f64 {
    a.re * b.re + a.im * b.im
}

/// For every element of `shape`, the element of an operand of `small`, which is 1 on every axis that shares it.
pub(crate) fn shared<'a>(
    shape: &'a [usize],
    small: &'a [usize],
) -> impl Iterator<Item = usize> + 'a {
    let mut strides = vec![0; small.len()];
    let mut stride = 1;
    for (axis, &len) in small.iter().enumerate().rev() {
        strides[axis] = if len == 1 { 0 } else { stride };
        stride *= len;
    }
    (0..shape.iter().product()).map(move |at| {
        let (mut rest, mut place) = (at, 0);
        for (axis, &len) in shape.iter().enumerate().rev() {
            place += rest % len * strides[axis];
            rest /= len;
        }
        place
    })
}

/// A map of complex elements by themselves: the operation, that of its gradient, what the kernels are, and on the host
/// its value and its gradient, of `z` and of the result's gradient `g`.
macro_rules! map {
    ($map:ident, $vjp:ident, $name:literal, $vjp_name:literal, $kernel:path, $vjp_kernel:path,
     $value:expr, $gradient:expr $(,)?) => {
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $map;

        impl Operation<1, 0, 1> for $map {
            const NAME: &'static str = $name;
            const COMPLEX: [bool; 1] = [true];

            #[cfg(feature = "fusion")]
            fn shapes(&self, [z]: [&[usize]; 1]) -> [Vec<usize>; 1] {
                [z.to_vec()]
            }

            fn kernel(
                &self,
                [z]: [&wavecube::Tensor; 1],
                []: [&Handle; 0],
            ) -> Result<[wavecube::Tensor; 1]> {
                Ok([$kernel(z)?])
            }

            fn plain<B: Backend>(
                &self,
                [z]: [FloatTensor<B>; 1],
                []: [IntTensor<B>; 0],
            ) -> [FloatTensor<B>; 1] {
                let value: fn(Complex64) -> Complex64 = $value;
                [upload::<B>(&z, interleaved(pairs::<B>(z.clone()).into_iter().map(value)))]
            }

            fn kept(&self) -> Kept {
                Kept { operands: &[0], results: &[] }
            }

            fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
                Some($vjp.into())
            }
        }

        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $vjp;

        impl Operation<2, 0, 1> for $vjp {
            const NAME: &'static str = $vjp_name;
            const COMPLEX: [bool; 2] = [true; 2];

            #[cfg(feature = "fusion")]
            fn shapes(&self, [z, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
                [z.to_vec()]
            }

            fn kernel(
                &self,
                [z, g]: [&wavecube::Tensor; 2],
                []: [&Handle; 0],
            ) -> Result<[wavecube::Tensor; 1]> {
                Ok([$vjp_kernel(z, g)?])
            }

            fn plain<B: Backend>(
                &self,
                [z, g]: [FloatTensor<B>; 2],
                []: [IntTensor<B>; 0],
            ) -> [FloatTensor<B>; 1] {
                let gradient: fn(Complex64, Complex64) -> Complex64 = $gradient;
                let both = pairs::<B>(z.clone()).into_iter().zip(pairs::<B>(g));
                [upload::<B>(&z, interleaved(both.map(|(z, g)| gradient(z, g))))]
            }

            fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
                None
            }
        }
    };
}

/// The same with a real operand `w`, which the elements of axes where it has one share.
macro_rules! weighted_map {
    ($map:ident, $vjp:ident, $name:literal, $vjp_name:literal, $kernel:path, $vjp_kernel:path,
     $value:expr, $gradient:expr $(,)?) => {
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $map;

        impl Operation<2, 0, 1> for $map {
            const NAME: &'static str = $name;
            const COMPLEX: [bool; 2] = [true, false];

            #[cfg(feature = "fusion")]
            fn shapes(&self, [z, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
                [z.to_vec()]
            }

            fn kernel(
                &self,
                [z, w]: [&wavecube::Tensor; 2],
                []: [&Handle; 0],
            ) -> Result<[wavecube::Tensor; 1]> {
                Ok([$kernel(z, w)?])
            }

            fn plain<B: Backend>(
                &self,
                [z, w]: [FloatTensor<B>; 2],
                []: [IntTensor<B>; 0],
            ) -> [FloatTensor<B>; 1] {
                let value: fn(Complex64, f64) -> Complex64 = $value;
                let (shape, small) = (z.shape(), w.shape());
                let (elements, w) = (pairs::<B>(z.clone()), numbers::<B>(w));
                let places = shared(&shape[..shape.len() - 1], &small);
                let values = elements.into_iter().zip(places).map(|(z, at)| value(z, w[at]));
                [upload::<B>(&z, interleaved(values))]
            }

            fn kept(&self) -> Kept {
                Kept { operands: &[0, 1], results: &[] }
            }

            fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
                Some($vjp.into())
            }
        }

        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $vjp;

        impl Operation<3, 0, 2> for $vjp {
            const NAME: &'static str = $vjp_name;
            const COMPLEX: [bool; 3] = [true, false, true];

            #[cfg(feature = "fusion")]
            fn shapes(&self, [z, w, _]: [&[usize]; 3]) -> [Vec<usize>; 2] {
                [z.to_vec(), w.to_vec()]
            }

            fn kernel(
                &self,
                [z, w, g]: [&wavecube::Tensor; 3],
                []: [&Handle; 0],
            ) -> Result<[wavecube::Tensor; 2]> {
                $vjp_kernel(z, w, g)
            }

            fn plain<B: Backend>(
                &self,
                [z, w, g]: [FloatTensor<B>; 3],
                []: [IntTensor<B>; 0],
            ) -> [FloatTensor<B>; 2] {
                let gradient: fn(Complex64, f64, Complex64) -> (Complex64, f64) = $gradient;
                let (shape, small) = (z.shape(), w.shape());
                let (elements, weights) = (pairs::<B>(z.clone()), numbers::<B>(w.clone()));
                let mut by_w = vec![0.0; weights.len()];
                let mut by_z = Vec::with_capacity(elements.len());
                let places = shared(&shape[..shape.len() - 1], &small);
                for ((z, g), at) in elements.into_iter().zip(pairs::<B>(g)).zip(places) {
                    let (of_z, of_w) = gradient(z, weights[at], g);
                    by_z.push(of_z);
                    by_w[at] += of_w;
                }
                [upload::<B>(&z, interleaved(by_z)), upload::<B>(&w, by_w)]
            }

            fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
                None
            }
        }
    };
}

weighted_map!(
    ModRelu,
    ModReluVjp,
    "mod_relu",
    "mod_relu_vjp",
    wavecube::mod_relu,
    wavecube::mod_relu_vjp,
    |z, w| {
        let left = z.norm() + w;
        // What is not a number stays so.
        if left <= 0.0 { Complex64::ZERO } else { direction(z) * left }
    },
    |z, w, g| {
        let (size, u) = (z.norm(), direction(z));
        let left = size + w;
        if left <= 0.0 || size == 0.0 {
            return (Complex64::ZERO, 0.0);
        }
        let outwards = along(u, g);
        (u * outwards + (g - u * outwards) * (left / size), outwards)
    },
);

weighted_map!(
    PhaseRotate,
    PhaseRotateVjp,
    "phase_rotate",
    "phase_rotate_vjp",
    wavecube::phase_rotate,
    wavecube::phase_rotate_vjp,
    |z, w| z * Complex64::cis(w),
    |z, w, g| (g * Complex64::cis(-w), along(z * Complex64::cis(w) * Complex64::I, g)),
);

weighted_map!(
    SigmoidGate,
    SigmoidGateVjp,
    "sigmoid_gate",
    "sigmoid_gate_vjp",
    wavecube::sigmoid_gate,
    wavecube::sigmoid_gate_vjp,
    |z, w| z / (1.0 + (-w).exp()),
    |z, w, g| {
        let [open, closed] = [w, -w].map(|w| 1.0 / (1.0 + (-w).exp()));
        (g * open, open * closed * along(z, g))
    },
);

map!(
    Cardioid,
    CardioidVjp,
    "cardioid",
    "cardioid_vjp",
    wavecube::cardioid,
    wavecube::cardioid_vjp,
    |z| z * (0.5 * (1.0 + direction(z).re)),
    |z, g| {
        let (size, u) = (z.norm(), direction(z));
        if size == 0.0 {
            return g * 0.5;
        }
        let outwards = along(u, g);
        (g * (1.0 + u.re) + (Complex64::ONE - u * u.re) * outwards) * 0.5
    },
);

map!(
    ToPolar,
    ToPolarVjp,
    "to_polar",
    "to_polar_vjp",
    wavecube::to_polar,
    wavecube::to_polar_vjp,
    |z| Complex64::new(z.norm(), z.arg()),
    |z, g| {
        if z == Complex64::ZERO {
            return z;
        }
        let u = direction(z);
        u * g.re + u * Complex64::I * (g.im / z.norm())
    },
);

map!(
    FromPolar,
    FromPolarVjp,
    "from_polar",
    "from_polar_vjp",
    wavecube::from_polar,
    wavecube::from_polar_vjp,
    |pair| Complex64::from_polar(pair.re, pair.im),
    |pair, g| {
        let u = Complex64::cis(pair.im);
        Complex64::new(along(u, g), pair.re * along(u * Complex64::I, g))
    },
);

/// Accepts `[.., 2]`.
pub(crate) fn check_pairs(op: &'static str, argument: &'static str, shape: &[usize]) -> Result<()> {
    match shape.split_last() {
        Some((2, elements)) if !elements.is_empty() => Ok(()),
        _ => {
            let mut expected = shape[..shape.len().saturating_sub(1)].to_vec();
            expected.push(2);
            Err(Error::Shape { op, argument, expected, found: shape.to_vec() })
        }
    }
}

/// Accepts a real operand `[…]` of the rank of the complex `[…, 2]`, with 1 on every axis that shares it.
pub(crate) fn check_shared(
    op: &'static str,
    argument: &'static str,
    complex: &[usize],
    shape: &[usize],
) -> Result<()> {
    let expected = &complex[..complex.len() - 1];
    let fits = shape.len() == expected.len()
        && shape.iter().zip(expected).all(|(&len, &own)| len == 1 || len == own);
    if fits {
        return Ok(());
    }
    let (expected, found) = (expected.to_vec(), shape.to_vec());
    Err(Error::Shape { op, argument, expected, found })
}

fn mapped<const D: usize>(
    operation: impl Operation<1, 0, 1> + Into<Op>,
    name: &'static str,
    z: Tensor<D>,
) -> Result<Tensor<D>> {
    check_pairs(name, "z", &z.dims())?;
    let [y] = run(operation, [z.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}

fn weighted<const D: usize, const E: usize>(
    operation: impl Operation<2, 0, 1> + Into<Op>,
    name: &'static str,
    z: Tensor<D>,
    w: Tensor<E>,
) -> Result<Tensor<D>> {
    check_pairs(name, "z", &z.dims())?;
    check_shared(name, "w", &z.dims(), &w.dims())?;
    let [y] = run(operation, [z.into_dispatch(), w.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}

/// `max(|z| + w, 0) z/|z|` for every element of the complex `z` (`[.., 2]`): modReLU, which keeps phases and cuts
/// magnitudes below `−w`. `w` is real, of the rank of the elements and 1 on every axis that shares it. Differentiable
/// in both.
///
/// # Errors
///
/// [`Error::Shape`] when the last axis of `z` is not a pair or `w` does not fit.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::mod_relu;
///
/// let device = Device::flex();
/// let z = Tensor::<2>::from_data([[3.0, 4.0], [0.0, 1.0]], &device);
/// let y = mod_relu(z, Tensor::<1>::from_data([-2.5], &device))?.into_data();
/// y.assert_approx_eq::<f32>(&[[1.5, 2.0], [0.0, 0.0]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn mod_relu<const D: usize, const E: usize>(z: Tensor<D>, w: Tensor<E>) -> Result<Tensor<D>> {
    weighted(ModRelu, "mod_relu", z, w)
}

/// `z e^{iw}` for every element, with `w` as for [`mod_relu`].
///
/// # Errors
///
/// As for [`mod_relu`].
pub fn phase_rotate<const D: usize, const E: usize>(
    z: Tensor<D>,
    w: Tensor<E>,
) -> Result<Tensor<D>> {
    weighted(PhaseRotate, "phase_rotate", z, w)
}

/// `z/(1 + e^{−w})` for every element, with `w` as for [`mod_relu`].
///
/// # Errors
///
/// As for [`mod_relu`].
pub fn sigmoid_gate<const D: usize, const E: usize>(
    z: Tensor<D>,
    w: Tensor<E>,
) -> Result<Tensor<D>> {
    weighted(SigmoidGate, "sigmoid_gate", z, w)
}

/// `½ (1 + cos arg z) z` for every element of the complex `z` (`[.., 2]`): the cardioid.
///
/// # Errors
///
/// [`Error::Shape`] when the last axis is not a pair.
pub fn cardioid<const D: usize>(z: Tensor<D>) -> Result<Tensor<D>> {
    mapped(Cardioid, "cardioid", z)
}

/// The pairs `(|z|, arg z)`, in the places of real and imaginary parts. The gradient of 0 is 0.
///
/// # Errors
///
/// As for [`cardioid`].
pub fn to_polar<const D: usize>(z: Tensor<D>) -> Result<Tensor<D>> {
    mapped(ToPolar, "to_polar", z)
}

/// `r e^{iφ}` of the pairs `(r, φ)`.
///
/// # Errors
///
/// As for [`cardioid`].
pub fn from_polar<const D: usize>(pairs: Tensor<D>) -> Result<Tensor<D>> {
    mapped(FromPolar, "from_polar", pairs)
}

//! Resolvents of tridiagonal operators on Burn tensors.
//!
//! `T` has the complex diagonal `d` (`[.., n, 2]`, the shift in it) and the real products `p`
//! (`[.., n − 1]`) of the elements beside it. The result is complex, `[.., n, 2]`.

use std::sync::Arc;

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Tensor,
};
use cubecl::server::Handle;
use num_complex::{Complex32, Complex64};
use wavecube::{Tridiagonal, leading_resolvent, leading_resolvent_vjp};
use wavecube_core::{Dtype, Error, Result};

use crate::{
    host::{interleaved, numbers, pairs, upload},
    maps::check_pairs,
    operation::{Kept, Op, Operation, run},
};

/// Which elements of the operator a result depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// All: the diagonal of the inverse.
    Both,
    /// Those up to its own: the last diagonal element of the inverse of the leading block, the causal
    /// form.
    Left,
}

/// The diagonals of the inverses, `[.., n, 2]`, from the diagonals `d` (`[.., n, 2]`) and the products `p`
/// (`[.., n − 1]`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResolventDiagonal;

impl Operation<2, 0, 1> for ResolventDiagonal {
    const NAME: &'static str = "resolvent_diagonal";
    const COMPLEX: [bool; 2] = [true, false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [d, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [d.to_vec()]
    }

    fn kernel(
        &self,
        [d, p]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([unshifted(d, p)?.resolvent_diagonal()?.diagonal])
    }

    fn plain<B: Backend>(
        &self,
        [d, p]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [plain_resolvent::<B>(&d, p, Sides::Both)]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(ResolventDiagonalVjp.into())
    }
}

/// The gradients of `d` and `p`, from these and the gradient of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResolventDiagonalVjp;

impl Operation<3, 0, 2> for ResolventDiagonalVjp {
    const NAME: &'static str = "resolvent_diagonal_vjp";
    const COMPLEX: [bool; 3] = [true, false, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [d, p, _]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [d.to_vec(), p.to_vec()]
    }

    fn kernel(
        &self,
        [d, p, grad]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        let by = unshifted(d, p)?.resolvent_diagonal_vjp(grad)?;
        Ok([by.a, by.b])
    }

    fn plain<B: Backend>(
        &self,
        [d, p, grad]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        plain_resolvent_vjp::<B>(&d, &p, grad, Sides::Both).into()
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        None
    }
}

/// Of every leading block, the last diagonal element of its inverse, of the same operands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeadingResolvent;

impl Operation<2, 0, 1> for LeadingResolvent {
    const NAME: &'static str = "leading_resolvent";
    const COMPLEX: [bool; 2] = [true, false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [d, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [d.to_vec()]
    }

    fn kernel(
        &self,
        [d, p]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([leading_resolvent(d, p)?])
    }

    fn plain<B: Backend>(
        &self,
        [d, p]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [plain_resolvent::<B>(&d, p, Sides::Left)]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[1], results: &[0] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(LeadingResolventVjp.into())
    }
}

/// The gradients of `d` and `p`, from `p`, the result `y` and its gradient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeadingResolventVjp;

impl Operation<3, 0, 2> for LeadingResolventVjp {
    const NAME: &'static str = "leading_resolvent_vjp";
    const COMPLEX: [bool; 3] = [false, true, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [p, y, _]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [y.to_vec(), p.to_vec()]
    }

    fn kernel(
        &self,
        [p, y, grad]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        leading_resolvent_vjp(p, y, grad)
    }

    fn plain<B: Backend>(
        &self,
        [p, y, grad]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        plain_resolvent_vjp::<B>(&y, &p, grad, Sides::Left).into()
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        None
    }
}

/// The diagonals of the inverses of the operators whose other elements are left out, and lines between them.
#[derive(Debug, Clone)]
pub(crate) struct ResolventKept(Arc<Elements>);

/// A flag for each element of a sequence of `n`, or of every sequence.
#[derive(Debug)]
struct Elements {
    keep: Vec<bool>,
    n: usize,
}

impl Elements {
    fn upload(&self, like: &wavecube::Tensor) -> Result<wavecube::Kept> {
        wavecube::Kept::new(like.device(), &self.keep, self.n)
    }

    /// Those that sequence `row` keeps.
    fn of(&self, row: usize) -> Vec<usize> {
        let first = row * self.n % self.keep.len();
        let keep = &self.keep[first..first + self.n];
        (0..self.n).filter(|&k| keep[k]).collect()
    }
}

/// For every element of `n` the rank of a kept one, and the weight of the next: what is between two lies on a line.
fn lines(kept: &[usize], n: usize) -> Vec<(usize, f64)> {
    let of = |k: usize| match kept.partition_point(|&at| at <= k) {
        0 => (0, 0.0),
        after if after == kept.len() => (after - 1, 0.0),
        after => {
            let (from, to) = (kept[after - 1], kept[after]);
            (after - 1, (k - from) as f64 / (to - from) as f64)
        }
    };
    (0..n).map(of).collect()
}

impl Operation<2, 0, 1> for ResolventKept {
    const NAME: &'static str = "resolvent_kept";
    const COMPLEX: [bool; 2] = [true, false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [d, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [d.to_vec()]
    }

    fn kernel(
        &self,
        [d, p]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([unshifted(d, p)?.resolvent_diagonal_kept(&self.0.upload(d)?)?.diagonal])
    }

    fn plain<B: Backend>(
        &self,
        [d, p]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let n = self.0.n;
        let (values, p) = (pairs::<B>(d.clone()), numbers::<B>(p));
        let mut results = Vec::with_capacity(values.len());
        for (row, values) in values.chunks_exact(n).enumerate() {
            let kept = self.0.of(row);
            let (d, p) = shorter(values, &p[row * (n - 1)..][..n - 1], &kept);
            let y = both(&d, &from_left(&d, &p), &from_right(&d, &p));
            let between = |(rank, weight): (usize, f64)| match y.get(rank + 1) {
                Some(next) => y[rank] * (1.0 - weight) + next * weight,
                None => y[rank],
            };
            results.extend(lines(&kept, n).into_iter().map(between));
        }
        [upload::<B>(&d, interleaved(results))]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(ResolventKeptVjp(self.0.clone()).into())
    }
}

/// The elements that are kept, each with its product to the right.
fn shorter(d: &[Complex64], p: &[f64], kept: &[usize]) -> (Vec<Complex64>, Vec<f64>) {
    let links = &kept[..kept.len() - 1];
    (kept.iter().map(|&k| d[k]).collect(), links.iter().map(|&k| p[k]).collect())
}

/// The gradients of `d` and `p`, from these and the gradient of the result.
#[derive(Debug, Clone)]
pub(crate) struct ResolventKeptVjp(Arc<Elements>);

impl Operation<3, 0, 2> for ResolventKeptVjp {
    const NAME: &'static str = "resolvent_kept_vjp";
    const COMPLEX: [bool; 3] = [true, false, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [d, p, _]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [d.to_vec(), p.to_vec()]
    }

    fn kernel(
        &self,
        [d, p, grad]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        let by = unshifted(d, p)?.resolvent_diagonal_kept_vjp(&self.0.upload(d)?, grad)?;
        Ok([by.a, by.b])
    }

    fn plain<B: Backend>(
        &self,
        [d, p, grad]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        let n = self.0.n;
        let (values, products) = (pairs::<B>(d.clone()), numbers::<B>(p.clone()));
        let arriving = pairs::<B>(grad);
        let mut by_d = vec![Complex64::ZERO; values.len()];
        let mut by_p = vec![0.0; products.len()];
        for (row, values) in values.chunks_exact(n).enumerate() {
            let kept = self.0.of(row);
            let beside = row * (n - 1);
            let (d, p) = shorter(values, &products[beside..][..n - 1], &kept);
            let mut g = vec![Complex64::ZERO; kept.len()];
            for ((rank, weight), arriving) in lines(&kept, n).into_iter().zip(&arriving[row * n..])
            {
                g[rank] += arriving * (1.0 - weight);
                if let Some(next) = g.get_mut(rank + 1) {
                    *next += arriving * weight;
                }
            }
            let (of_d, of_p) = both_vjp(&d, &p, &g);
            for (&k, of_d) in kept.iter().zip(of_d) {
                by_d[row * n + k] = of_d;
            }
            for (&k, of_p) in kept.iter().zip(of_p) {
                by_p[beside + k] = of_p;
            }
        }
        [upload::<B>(&d, interleaved(by_d)), upload::<B>(&p, by_p)]
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        None
    }
}

/// The operators with the diagonal `d`, which has the shift in it already.
fn unshifted(d: &wavecube::Tensor, p: &wavecube::Tensor) -> Result<Tridiagonal> {
    let batch = &d.shape()[..d.shape().len() - 1];
    let rows = batch.iter().product();
    let z = match d.dtype() {
        Dtype::F64 => wavecube::Tensor::from_slice(d.device(), &vec![Complex64::ZERO; rows], batch),
        _ => wavecube::Tensor::from_slice(d.device(), &vec![Complex32::ZERO; rows], batch),
    };
    Ok(Tridiagonal::of_products(d, p, &z?))
}

/// `n` of `[.., n, 2]`.
fn length<B: Backend>(x: &FloatTensor<B>) -> usize {
    let shape = x.shape();
    shape[shape.rank() - 2]
}

/// `y_k = 1/(d_k − p_{k−1} y_{k−1})`.
fn from_left(d: &[Complex64], p: &[f64]) -> Vec<Complex64> {
    let mut y = Vec::with_capacity(d.len());
    let mut ratio = Complex64::ZERO;
    for (k, d) in d.iter().enumerate() {
        let value = (d - ratio).inv();
        ratio = value * p.get(k).copied().unwrap_or_default();
        y.push(value);
    }
    y
}

/// The same from the other end: of every trailing block, the first diagonal element of its inverse.
fn from_right(d: &[Complex64], p: &[f64]) -> Vec<Complex64> {
    let d: Vec<_> = d.iter().rev().copied().collect();
    let p: Vec<_> = p.iter().rev().copied().collect();
    let mut w = from_left(&d, &p);
    w.reverse();
    w
}

fn both(d: &[Complex64], left: &[Complex64], right: &[Complex64]) -> Vec<Complex64> {
    (0..d.len()).map(|k| (left[k].inv() + right[k].inv() - d[k]).inv()).collect()
}

fn plain_resolvent<B: Backend>(
    d: &FloatTensor<B>,
    p: FloatTensor<B>,
    sides: Sides,
) -> FloatTensor<B> {
    let n = length::<B>(d);
    let (values, p) = (pairs::<B>(d.clone()), numbers::<B>(p));
    let mut results = Vec::with_capacity(values.len());
    for (row, d) in values.chunks_exact(n).enumerate() {
        let p = &p[row * (n - 1)..][..n - 1];
        let left = from_left(d, p);
        results.extend(match sides {
            Sides::Left => left,
            Sides::Both => both(d, &left, &from_right(d, p)),
        });
    }
    upload::<B>(d, interleaved(results))
}

/// `E_{k−1} = source_{k−1} + p_{k−1} x_{k−1}² E_k` from right to left.
fn leftwards(source: &[Complex64], p: &[f64], x: &[Complex64]) -> Vec<Complex64> {
    let mut sums = source.to_vec();
    for k in (1..sums.len()).rev() {
        let passed = p[k - 1] * x[k - 1] * x[k - 1] * sums[k];
        sums[k - 1] += passed;
    }
    sums
}

/// `F_k = source_k + p_{k−1} x_k² F_{k−1}` from left to right.
fn rightwards(source: &[Complex64], p: &[f64], x: &[Complex64]) -> Vec<Complex64> {
    let mut sums = source.to_vec();
    for k in 1..sums.len() {
        let passed = p[k - 1] * x[k] * x[k] * sums[k - 1];
        sums[k] += passed;
    }
    sums
}

/// The gradients of one operator by `d` and `p`, for the gradient `g` of the diagonal of its inverse.
fn both_vjp(d: &[Complex64], p: &[f64], g: &[Complex64]) -> (Vec<Complex64>, Vec<f64>) {
    let n = d.len();
    let (left, right) = (from_left(d, p), from_right(d, p));
    let diagonal = both(d, &left, &right);
    let source: Vec<_> = (0..n).map(|k| g[k].conj() * diagonal[k] * diagonal[k]).collect();
    let forward = rightwards(&source, p, &right);
    let backward = leftwards(&source, p, &left);
    let by_d = (0..n).map(|k| -(forward[k] + backward[k] - source[k]).conj()).collect();
    let by_p = (1..n).map(|k| (forward[k - 1] * right[k] + backward[k] * left[k - 1]).re).collect();
    (by_d, by_p)
}

fn plain_resolvent_vjp<B: Backend>(
    kept: &FloatTensor<B>,
    p: &FloatTensor<B>,
    grad: FloatTensor<B>,
    sides: Sides,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let n = length::<B>(kept);
    let (values, products, grad) =
        (pairs::<B>(kept.clone()), numbers::<B>(p.clone()), pairs::<B>(grad));
    let (mut by_d, mut by_p) = (Vec::new(), Vec::new());
    for (row, kept_row) in values.chunks_exact(n).enumerate() {
        let p = &products[row * (n - 1)..][..n - 1];
        let g = &grad[row * n..][..n];
        match sides {
            Sides::Left => {
                let y = kept_row;
                let g: Vec<_> = g.iter().map(Complex64::conj).collect();
                let e = leftwards(&g, p, &y[1..]);
                by_d.extend((0..n).map(|k| -(y[k] * y[k] * e[k]).conj()));
                by_p.extend((1..n).map(|k| (y[k - 1] * y[k] * y[k] * e[k]).re));
            }
            Sides::Both => {
                let (of_d, of_p) = both_vjp(kept_row, p, g);
                by_d.extend(of_d);
                by_p.extend(of_p);
            }
        }
    }
    (upload::<B>(kept, interleaved(by_d)), upload::<B>(p, by_p))
}

/// The resolvent of the tridiagonal operators with the complex diagonals `d` (`[.., n, 2]`) and the
/// real products `p` (`[.., n − 1]`, so `E` is `D − 1`), complex like `d`; differentiable in both.
///
/// # Errors
///
/// [`Error::Shape`] when the shapes do not belong together, [`Error::Length`] for `n = 0`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::{Sides, resolvent};
///
/// let device = Device::flex();
/// let d = Tensor::<2>::from_data([[2.0, 0.0], [2.0, 0.0]], &device);
/// let p = Tensor::<1>::from_data([1.0], &device);
/// // [[2, 1], [1, 2]] has the inverse [[2, -1], [-1, 2]] / 3; its leading block, [[2]], has 1/2.
/// let whole = resolvent(d.clone(), p.clone(), Sides::Both)?.narrow(1, 0, 1).into_data();
/// whole.assert_approx_eq::<f32>(&[[2.0 / 3.0], [2.0 / 3.0]].into(), Default::default());
/// let left = resolvent(d, p, Sides::Left)?.narrow(1, 0, 1).into_data();
/// left.assert_approx_eq::<f32>(&[[0.5], [2.0 / 3.0]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn resolvent<const D: usize, const E: usize>(
    d: Tensor<D>,
    p: Tensor<E>,
    sides: Sides,
) -> Result<Tensor<D>> {
    let n = check("resolvent", &d.dims(), &p.dims())?;
    if n == 1 {
        // There is no p, and a tensor of no elements is no buffer.
        let (re, im) = (d.clone().narrow(D - 1, 0, 1), d.narrow(D - 1, 1, 1));
        let square = re.clone().square() + im.clone().square();
        return Ok(Tensor::cat(vec![re / square.clone(), im.neg() / square], D - 1));
    }
    let operands = [d.into_dispatch(), p.into_dispatch()];
    let [y] = match sides {
        Sides::Both => run(ResolventDiagonal, operands, [])?,
        Sides::Left => run(LeadingResolvent, operands, [])?,
    };
    Ok(Tensor::from_dispatch(y))
}

/// The length of the operators.
fn check(op: &'static str, d: &[usize], p: &[usize]) -> Result<usize> {
    check_pairs(op, "d", d)?;
    let axis = d.len() - 2;
    let n = d[axis];
    if n == 0 {
        return Err(Error::Length { op, argument: "d", expected: "at least 1", found: n });
    }
    let mut expected = d[..=axis].to_vec();
    expected[axis] = n - 1;
    if p != expected {
        return Err(Error::Shape { op, argument: "p", expected, found: p.to_vec() });
    }
    Ok(n)
}

/// The [`resolvent`] of both sides, of the elements alone that `keep` has a flag for: a flag for each of the `n` of one
/// sequence, for all, or of every sequence, in row-major order. A kept element keeps its `d` and its product `p` to the
/// right, which now belongs to the next kept one; between two of them the result lies on a line, and beyond the first and
/// the last it is theirs. Recursions are as long as there are kept elements. Differentiable in `d` and `p`, which what is
/// skipped has no part in.
///
/// # Errors
///
/// As for [`resolvent`], with [`Error::Length`] for `n = 1` and if the flags are not those of whole sequences, or one of
/// these keeps nothing.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::resolvent_kept;
///
/// let device = Device::flex();
/// let d = Tensor::<2>::from_data([[2.0, 0.0], [9.0, 0.0], [4.0, 0.0]], &device);
/// let p = Tensor::<1>::from_data([0.0, 1.0], &device);
/// // 1/2 and 1/4, and their mean between them.
/// let y = resolvent_kept(d, p, &[true, false, true])?.narrow(1, 0, 1).into_data();
/// y.assert_approx_eq::<f32>(&[[0.5], [0.375], [0.25]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn resolvent_kept<const D: usize, const E: usize>(
    d: Tensor<D>,
    p: Tensor<E>,
    keep: &[bool],
) -> Result<Tensor<D>> {
    const OP: &str = "resolvent_kept";
    let shape = d.dims();
    let n = check(OP, &shape, &p.dims())?;
    if n < 2 {
        return Err(Error::Length { op: OP, argument: "d", expected: "at least 2", found: n });
    }
    let elements: usize = shape[..D - 1].iter().product();
    let wrong = |expected: &'static str, found: usize| {
        Err(Error::Length { op: OP, argument: "keep", expected, found })
    };
    if keep.len() != n && keep.len() != elements || keep.is_empty() {
        return wrong("a flag for each element of one sequence, or of all", keep.len());
    }
    if keep.chunks(n).any(|keep| !keep.contains(&true)) {
        return wrong("at least 1 that is kept, in every sequence", 0);
    }
    let elements = Arc::new(Elements { keep: keep.to_vec(), n });
    let operands = [d.into_dispatch(), p.into_dispatch()];
    let [y] = run(ResolventKept(elements), operands, [])?;
    Ok(Tensor::from_dispatch(y))
}

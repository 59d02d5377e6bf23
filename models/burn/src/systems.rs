//! Tridiagonal systems on Burn tensors: solutions and logarithms of determinants.
//!
//! `T` has the real diagonal `a` (`[.., n]`), `b` above it and `c` below it (`[.., n − 1]`), and a complex shift `z`
//! (`[.., 2]`) is taken off the diagonal.

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Tensor,
};
use cubecl::server::Handle;
use num_complex::Complex64;
use wavecube::Tridiagonal;
use wavecube_core::{Error, Result};

use crate::{
    host::{interleaved, numbers, pairs, upload, upload_as},
    maps::check_pairs,
    operation::{Kept, Op, Operation, run},
};

/// The operators of a batch, on the host.
struct Systems {
    n: usize,
    /// `a − z`.
    d: Vec<Complex64>,
    b: Vec<f64>,
    c: Vec<f64>,
}

impl Systems {
    fn new<B: Backend>([a, b, c, z]: [FloatTensor<B>; 4]) -> Self {
        let shape = a.shape();
        let n = shape[shape.rank() - 1];
        let z = pairs::<B>(z);
        let a = numbers::<B>(a);
        let d = a.iter().enumerate().map(|(at, a)| a - z[at / n]).collect();
        Self { n, d, b: numbers::<B>(b), c: numbers::<B>(c) }
    }

    fn rows(&self) -> usize {
        self.d.len() / self.n
    }

    /// The elements on, above and below the diagonal of one operator.
    fn of(&self, row: usize) -> (&[Complex64], &[f64], &[f64]) {
        let (n, beside) = (self.n, self.n - 1);
        (
            &self.d[row * n..][..n],
            &self.b[row * beside..][..beside],
            &self.c[row * beside..][..beside],
        )
    }
}

/// The solution of a system by elimination without row interchanges, and the pivots.
fn eliminated(
    d: &[Complex64],
    b: &[f64],
    c: &[f64],
    r: &[Complex64],
) -> (Vec<Complex64>, Vec<Complex64>) {
    let n = d.len();
    let (mut pivots, mut x) = (d.to_vec(), r.to_vec());
    for k in 1..n {
        let factor = c[k - 1] / pivots[k - 1];
        pivots[k] = d[k] - factor * b[k - 1];
        x[k] = r[k] - factor * x[k - 1];
    }
    x[n - 1] /= pivots[n - 1];
    for k in (0..n - 1).rev() {
        x[k] = (x[k] - b[k] * x[k + 1]) / pivots[k];
    }
    (x, pivots)
}

/// `x` with `(T − z) x = r`, from `a`, `b`, `c`, `z` and `r` (`[.., n, 2]`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct TridiagonalSolve;

fn operators([a, b, c, z]: [&wavecube::Tensor; 4]) -> Tridiagonal {
    Tridiagonal::new(a, b, c, z)
}

impl Operation<5, 0, 1> for TridiagonalSolve {
    const NAME: &'static str = "tridiagonal_solve";
    const COMPLEX: [bool; 5] = [false, false, false, true, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [.., r]: [&[usize]; 5]) -> [Vec<usize>; 1] {
        [r.to_vec()]
    }

    fn kernel(
        &self,
        [a, b, c, z, r]: [&wavecube::Tensor; 5],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([operators([a, b, c, z]).solve(r)?.x])
    }

    fn plain<B: Backend>(
        &self,
        [a, b, c, z, r]: [FloatTensor<B>; 5],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let systems = Systems::new::<B>([a, b, c, z]);
        let right = pairs::<B>(r.clone());
        let solved = (0..systems.rows()).flat_map(|row| {
            let (d, b, c) = systems.of(row);
            eliminated(d, b, c, &right[row * systems.n..][..systems.n]).0
        });
        [upload::<B>(&r, interleaved(solved))]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1, 2, 3], results: &[0] }
    }

    fn vjp(&self, _: [&[usize]; 5]) -> Option<Op> {
        Some(TridiagonalSolveVjp.into())
    }
}

/// The gradients of all five operands, from the operators, the solution `x` and its gradient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TridiagonalSolveVjp;

impl Operation<6, 0, 5> for TridiagonalSolveVjp {
    const NAME: &'static str = "tridiagonal_solve_vjp";
    const COMPLEX: [bool; 6] = [false, false, false, true, true, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [a, b, c, z, x, _]: [&[usize]; 6]) -> [Vec<usize>; 5] {
        [a, b, c, z, x].map(<[usize]>::to_vec)
    }

    fn kernel(
        &self,
        [a, b, c, z, x, grad]: [&wavecube::Tensor; 6],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 5]> {
        let by = operators([a, b, c, z]).solve_vjp(x, grad)?;
        let of = by.operators;
        let by_c = of.c.unwrap_or_else(|| of.b.clone());
        Ok([of.a, of.b, by_c, of.z, by.r])
    }

    fn plain<B: Backend>(
        &self,
        [a, b, c, z, x, grad]: [FloatTensor<B>; 6],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 5] {
        let systems = Systems::new::<B>([a.clone(), b.clone(), c.clone(), z.clone()]);
        let n = systems.n;
        let (solution, arriving) = (pairs::<B>(x.clone()), pairs::<B>(grad));
        let [mut by_a, mut by_b, mut by_c] = [Vec::new(), Vec::new(), Vec::new()];
        let [mut by_z, mut by_r] = [Vec::new(), Vec::new()];
        for row in 0..systems.rows() {
            let (d, b, c) = systems.of(row);
            let x = &solution[row * n..][..n];
            // y = T⁻ᴴ g: the gradient of r; a change δT of the operator changes x by −T⁻¹ δT x.
            let adjoint: Vec<Complex64> = d.iter().map(Complex64::conj).collect();
            let y = eliminated(&adjoint, c, b, &arriving[row * n..][..n]).0;
            let product = |row: usize, column: usize| y[row] * x[column].conj();
            by_a.extend((0..n).map(|k| -product(k, k).re));
            by_b.extend((1..n).map(|k| -product(k - 1, k).re));
            by_c.extend((1..n).map(|k| -product(k, k - 1).re));
            by_z.push((0..n).map(|k| product(k, k)).sum::<Complex64>());
            by_r.extend(y);
        }
        [
            upload::<B>(&a, by_a),
            upload::<B>(&b, by_b),
            upload::<B>(&c, by_c),
            upload::<B>(&z, interleaved(by_z)),
            upload::<B>(&x, interleaved(by_r)),
        ]
    }

    fn vjp(&self, _: [&[usize]; 6]) -> Option<Op> {
        None
    }
}

/// `ln |det (T − z)|`, `[..]`, from `a`, `b`, `c` and `z`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogDeterminant;

impl Operation<4, 0, 1> for LogDeterminant {
    const NAME: &'static str = "log_determinant";
    const COMPLEX: [bool; 4] = [false, false, false, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [a, ..]: [&[usize]; 4]) -> [Vec<usize>; 1] {
        [a[..a.len() - 1].to_vec()]
    }

    fn kernel(
        &self,
        operands: [&wavecube::Tensor; 4],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([operators(operands).log_determinant()?])
    }

    fn plain<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 4],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let like = operands[0].clone();
        let shape = like.shape();
        let systems = Systems::new::<B>(operands);
        let logarithms = (0..systems.rows()).map(|row| {
            let (d, b, c) = systems.of(row);
            let (_, pivots) = eliminated(d, b, c, d);
            pivots.iter().map(|pivot| pivot.norm().ln()).sum()
        });
        [upload_as::<B>(&like, logarithms.collect(), &shape[..shape.rank() - 1])]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1, 2, 3], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 4]) -> Option<Op> {
        Some(LogDeterminantVjp.into())
    }
}

/// The gradients of all four operands, from these and the gradient of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogDeterminantVjp;

impl Operation<5, 0, 4> for LogDeterminantVjp {
    const NAME: &'static str = "log_determinant_vjp";
    const COMPLEX: [bool; 5] = [false, false, false, true, false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [a, b, c, z, _]: [&[usize]; 5]) -> [Vec<usize>; 4] {
        [a, b, c, z].map(<[usize]>::to_vec)
    }

    fn kernel(
        &self,
        [a, b, c, z, grad]: [&wavecube::Tensor; 5],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 4]> {
        let of = operators([a, b, c, z]).log_determinant_vjp(grad)?;
        let by_c = of.c.unwrap_or_else(|| of.b.clone());
        Ok([of.a, of.b, by_c, of.z])
    }

    fn plain<B: Backend>(
        &self,
        [a, b, c, z, grad]: [FloatTensor<B>; 5],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 4] {
        let systems = Systems::new::<B>([a.clone(), b.clone(), c.clone(), z.clone()]);
        let n = systems.n;
        let arriving = numbers::<B>(grad);
        let [mut by_a, mut by_b, mut by_c] = [Vec::new(), Vec::new(), Vec::new()];
        let mut by_z = Vec::new();
        for (row, g) in arriving.into_iter().enumerate() {
            let (d, b, c) = systems.of(row);
            // ∂ ln |det T|/∂T_ij = Re (T⁻¹)_ji: the bands of the inverse, from pivots of either end.
            let left = eliminated(d, b, c, d).1;
            let reversed = |of: &[f64]| -> Vec<f64> { of.iter().rev().copied().collect() };
            let backwards: Vec<Complex64> = d.iter().rev().copied().collect();
            let mut right = eliminated(&backwards, &reversed(c), &reversed(b), &backwards).1;
            right.reverse();
            let inverse: Vec<_> = (0..n).map(|k| (left[k] + right[k] - d[k]).inv()).collect();
            by_a.extend(inverse.iter().map(|value| g * value.re));
            // (T⁻¹)_{k+1,k} = −c_k G_k/right_{k+1}, and with b the element across the diagonal.
            let across = |k: usize| -inverse[k] / right[k + 1];
            by_b.extend((0..n - 1).map(|k| g * (c[k] * across(k)).re));
            by_c.extend((0..n - 1).map(|k| g * (b[k] * across(k)).re));
            by_z.push(inverse.iter().map(|value| -g * value.conj()).sum::<Complex64>());
        }
        [
            upload::<B>(&a, by_a),
            upload::<B>(&b, by_b),
            upload::<B>(&c, by_c),
            upload::<B>(&z, interleaved(by_z)),
        ]
    }

    fn vjp(&self, _: [&[usize]; 5]) -> Option<Op> {
        None
    }
}

/// Accepts operators of at least two elements.
fn check(op: &'static str, [a, b, c, z]: [&[usize]; 4]) -> Result<()> {
    let (batch, &[n]) = a.split_at(a.len() - 1) else { unreachable!("tensors have an axis") };
    if n < 2 {
        return Err(Error::Length { op, argument: "a", expected: "at least 2", found: n });
    }
    let beside = [batch, &[n - 1]].concat();
    let shift = [batch, &[2]].concat();
    for (argument, expected, found) in [("b", &beside, b), ("c", &beside, c), ("z", &shift, z)] {
        if found != expected {
            let (expected, found) = (expected.clone(), found.to_vec());
            return Err(Error::Shape { op, argument, expected, found });
        }
    }
    Ok(())
}

/// `x` with `(T − z) x = r` for the tridiagonal operators with the real diagonals `a` (`[.., n]`), `b` above and `c`
/// below them (`[.., n − 1]`), complex shifts `z` (`[.., 2]`) and complex right sides `r` (`[.., n, 2]`, so `E` is
/// `D + 1`), without row interchanges. Differentiable in all of them.
///
/// # Errors
///
/// [`Error::Shape`] when the shapes do not belong together, [`Error::Length`] for `n < 2`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::tridiagonal_solve;
///
/// let device = Device::flex();
/// let [a, b] = [&[2.0, 2.0][..], &[1.0]].map(|x| Tensor::<1>::from_data(x, &device));
/// let z = Tensor::<1>::from_data([0.0, 0.0], &device);
/// let r = Tensor::<2>::from_data([[3.0, 0.0], [3.0, 0.0]], &device);
/// // [[2, 1], [1, 2]] (1, 1) = (3, 3)
/// let x = tridiagonal_solve(a, b.clone(), b, z, r)?.into_data();
/// x.assert_approx_eq::<f32>(&[[1.0, 0.0], [1.0, 0.0]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn tridiagonal_solve<const D: usize, const E: usize>(
    a: Tensor<D>,
    b: Tensor<D>,
    c: Tensor<D>,
    z: Tensor<D>,
    r: Tensor<E>,
) -> Result<Tensor<E>> {
    const OP: &str = "tridiagonal_solve";
    check(OP, [&a.dims(), &b.dims(), &c.dims(), &z.dims()])?;
    check_pairs(OP, "r", &r.dims())?;
    if r.dims()[..E - 1] != a.dims()[..] {
        let (expected, found) = ([&a.dims()[..], &[2]].concat(), r.dims().to_vec());
        return Err(Error::Shape { op: OP, argument: "r", expected, found });
    }
    let operators = [a, b, c, z].map(Tensor::into_dispatch);
    let [a, b, c, z] = operators;
    let [x] = run(TridiagonalSolve, [a, b, c, z, r.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(x))
}

/// `ln |det (T − z)|` of such operators, `[..]`, so `E` is `D − 1`; differentiable in all operands.
///
/// # Errors
///
/// As for [`tridiagonal_solve`]; [`Error::Shape`] when `E` is not `D − 1`.
pub fn log_determinant<const D: usize, const E: usize>(
    a: Tensor<D>,
    b: Tensor<D>,
    c: Tensor<D>,
    z: Tensor<D>,
) -> Result<Tensor<E>> {
    const OP: &str = "log_determinant";
    check(OP, [&a.dims(), &b.dims(), &c.dims(), &z.dims()])?;
    if E + 1 != D {
        let (expected, found) = (vec![D - 1], vec![E]);
        let argument = "the rank of the result";
        return Err(Error::Shape { op: OP, argument, expected, found });
    }
    let [logarithm] = run(LogDeterminant, [a, b, c, z].map(Tensor::into_dispatch), [])?;
    Ok(Tensor::from_dispatch(logarithm))
}

//! Tridiagonal operators: the diagonal of the resolvent, with its gradients.
//!
//! `T = H − z` has the diagonal `a_k − z`, `b_k` above it and `c_k` below it; wanted is
//! `G_k = (T⁻¹)_kk`. Only the products `p_k = b_k c_k` matter, and may be given in their place. Gradients
//! of complex tensors are `∂ℓ/∂Re + i ∂ℓ/∂Im`. The recursions, their order of work and their error are
//! described in [`wavecube_kernels::tridiag`].

use cubecl::server::Handle;
use wavecube_core::{DeviceFault, Error, Layout, Result};
use wavecube_kernels::tridiag::{
    OffDiagonals, Strategy, SumPlan, Task, TridiagBindings, TridiagGradients, TridiagPlan,
    TridiagProblem, sum_launch, tridiag_launch, tridiag_vjp_launch,
};

use crate::{Device, Tensor};

const OP: &str = "resolvent_diagonal";
const VJP: &str = "resolvent_diagonal_vjp";

/// The diagonal of `(H − z)⁻¹` for a batch of tridiagonal `H`.
///
/// `a`: `[…, n]`, `b` (above the diagonal) and `c` (below it): `[…, n − 1]`, real or complex, `b` and `c`
/// alike; `z`: `[…]`, complex, one shift a sequence. All have one storage type, `f32` or `f64`, and any
/// strides. A batch axis is that of the others or 1, where sequences share an operand.
///
/// The same input on the same device gives the same bits, and a batch the bits of its sequences one by
/// one.
///
/// # Errors
/// [`Error::Dtype`] for `f16`, for a real `z`, or if types differ; [`Error::Shape`] if shapes do not belong
/// together; [`Error::Length`] if sequences have no elements; [`Error::Limit`] if they are longer than the
/// device allows. A vanishing pivot is no error but data: see [`Pivots`].
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, resolvent_diagonal};
/// let device = Device::best()?;
/// // [[2, 1], [1, 3]] − i.
/// let a = Tensor::from_slice(&device, &[2.0f32, 3.0], &[1, 2])?;
/// let b = Tensor::from_slice(&device, &[1.0f32], &[1, 1])?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(0.0, 1.0)], &[1])?;
/// let resolvent = resolvent_diagonal(&a, &b, &b, &z)?;
/// let g: Vec<Complex32> = resolvent.diagonal.read()?;
/// let determinant = Complex32::new(2.0, -1.0) * Complex32::new(3.0, -1.0) - 1.0;
/// assert!((g[0] - Complex32::new(3.0, -1.0) / determinant).norm() < 1e-6);
/// assert_eq!(resolvent.pivots.read()?, [None]);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn resolvent_diagonal(a: &Tensor, b: &Tensor, c: &Tensor, z: &Tensor) -> Result<Resolvent> {
    Tridiagonal::new(a, b, c, z).resolvent_diagonal()
}

/// The gradients of [`resolvent_diagonal`] from the gradient `g` of its diagonal: exact, in `O(n)`, each of
/// its operand's shape, summed over the sequences that share the operand.
///
/// # Errors
/// As [`resolvent_diagonal`], with [`Error::Shape`] if `g` has not the shape of the diagonal.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, resolvent_diagonal_vjp};
/// let device = Device::best()?;
/// // d/da of Re 1/(a − z) is Re −1/(a − z)²: here −1/(2 − i)² = −(3 + 4i)/25.
/// let a = Tensor::from_slice(&device, &[2.0f32], &[1])?;
/// let b = Tensor::from_slice::<f32>(&device, &[], &[0])?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(0.0, 1.0)], &[])?;
/// let g = Tensor::from_slice(&device, &[Complex32::ONE], &[1])?;
/// let gradients = resolvent_diagonal_vjp(&a, &b, &b, &z, &g)?;
/// assert!((gradients.a.read::<f32>()?[0] + 3.0 / 25.0).abs() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn resolvent_diagonal_vjp(
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    z: &Tensor,
    g: &Tensor,
) -> Result<TridiagonalGradients> {
    Tridiagonal::new(a, b, c, z).resolvent_diagonal_vjp(g)
}

/// The diagonal of a resolvent, and where it broke down.
#[derive(Debug, Clone)]
pub struct Resolvent {
    /// `[…, n]`, complex, contiguous.
    pub diagonal: Tensor,
    /// The first vanishing pivot of every sequence.
    pub pivots: Pivots,
}

/// For every sequence the first element at which a pivot vanished, on the device.
///
/// The pivots at element `k` are the ratios of leading and of trailing minors, and `1/G_k`. One vanishes
/// where no more is left of it than rounding; an element whose operands are not finite counts too. With a
/// real `H`, `b_k c_k ≥ 0` and `Im z > 0` none does. The sequence's results are then what the divisions
/// gave: large, infinite or NaN.
#[derive(Debug, Clone)]
pub struct Pivots {
    device: Device,
    handle: Handle,
    rows: usize,
    tiles: usize,
}

impl Pivots {
    /// Downloads them: one a sequence, in row-major order. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`] if a kernel that was enqueued before has failed.
    pub fn read(&self) -> Result<Vec<Option<usize>>> {
        if self.rows == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.device.client().read_one(self.handle.clone()).map_err(|fault| {
            let reason = DeviceFault::Failed(format!("{fault:?}"));
            Error::Device { op: "Pivots::read", reason }
        })?;
        let used = self.rows * self.tiles * size_of::<u32>();
        let all: Vec<u32> = bytemuck::pod_collect_to_vec(bytes.get(..used).unwrap_or_default());
        let first = |tiles: &[u32]| tiles.iter().copied().min().filter(|&k| k != u32::MAX);
        Ok(all.chunks(self.tiles).map(|tiles| first(tiles).map(|k| k as usize)).collect())
    }
}

/// The gradients of a [`Tridiagonal`]'s operands, each of its operand's shape and kind.
#[derive(Debug, Clone)]
pub struct TridiagonalGradients {
    /// Of the diagonal.
    pub a: Tensor,
    /// Of the elements above the diagonal, or of the products.
    pub b: Tensor,
    /// Of the elements below the diagonal; nothing where products were given.
    pub c: Option<Tensor>,
    /// Of the shifts.
    pub z: Tensor,
}

/// A batch of operators `H − z` by their operands: what [`resolvent_diagonal`] takes, products in place of
/// `b` and `c`, results into tensors that exist, and the choice of the algorithm.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, Tridiagonal};
/// let device = Device::best()?;
/// let a = Tensor::from_slice(&device, &[0.5f32; 3 * 100], &[3, 100])?;
/// // One set of products for all three sequences.
/// let p = Tensor::from_slice(&device, &[1.0f32; 99], &[1, 99])?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(0.1, 1.0)], &[1])?;
/// let resolvent = Tridiagonal::of_products(&a, &p, &z).resolvent_diagonal()?;
/// assert_eq!(resolvent.diagonal.shape(), [3, 100]);
/// # Ok::<(), wavecube::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tridiagonal {
    a: Tensor,
    b: Tensor,
    c: Option<Tensor>,
    z: Tensor,
    strategy: Strategy,
}

impl Tridiagonal {
    /// Operands as in [`resolvent_diagonal`]. Nothing is checked before they are used.
    pub fn new(a: &Tensor, b: &Tensor, c: &Tensor, z: &Tensor) -> Self {
        let [a, b, c, z] = [a, b, c, z].map(Tensor::clone);
        Self { a, b, c: Some(c), z, strategy: Strategy::Auto }
    }

    /// With `p_k = b_k c_k` in place of `b` and `c`.
    pub fn of_products(a: &Tensor, p: &Tensor, z: &Tensor) -> Self {
        let [a, b, z] = [a, p, z].map(Tensor::clone);
        Self { a, b, c: None, z, strategy: Strategy::Auto }
    }

    /// The same operators by the serial recursion, one unit a sequence: a baseline for benchmarks and a
    /// cross-check.
    #[must_use]
    pub fn serially(&self) -> Self {
        Self { strategy: Strategy::Serial, ..self.clone() }
    }

    /// The diagonal of the inverse.
    ///
    /// # Errors
    /// As [`resolvent_diagonal`].
    pub fn resolvent_diagonal(&self) -> Result<Resolvent> {
        let layout = Layout::contiguous(&self.shape(OP)?);
        let plan = self.plan(OP, Task::Diagonal, &layout)?;
        let diagonal = Tensor::empty(self.a.device(), self.a.dtype(), true, layout.shape())?;
        let pivots = self.run(&plan, &diagonal)?;
        Ok(Resolvent { diagonal, pivots })
    }

    /// The diagonal of the inverse into a tensor that exists: of the diagonal's shape, any strides, apart
    /// from the operands.
    ///
    /// # Errors
    /// As [`resolvent_diagonal`]; [`Error::Overlap`] if the memory of the output and of an operand meet;
    /// [`Error::Strides`] if two elements of the output share a place.
    pub fn resolvent_diagonal_into(&self, diagonal: &mut Tensor) -> Result<Pivots> {
        diagonal.check_complex(OP, "diagonal", true)?;
        self.a.check_same(OP, "diagonal", diagonal)?;
        let shape = self.shape(OP)?;
        if diagonal.shape() != shape {
            let found = diagonal.shape().to_vec();
            return Err(Error::Shape { op: OP, argument: "diagonal", expected: shape, found });
        }
        let plan = self.plan(OP, Task::Diagonal, diagonal.layout())?;
        for (first, operand) in self.operands() {
            if operand.overlaps(diagonal) {
                return Err(Error::Overlap { op: OP, first, second: "diagonal" });
            }
        }
        self.run(&plan, diagonal)
    }

    /// The gradients of every operand from the gradient `g` of the diagonal.
    ///
    /// # Errors
    /// As [`resolvent_diagonal_vjp`].
    pub fn resolvent_diagonal_vjp(&self, g: &Tensor) -> Result<TridiagonalGradients> {
        g.check_complex(VJP, "g", true)?;
        self.a.check_same(VJP, "g", g)?;
        let shape = self.shape(VJP)?;
        if g.shape() != shape {
            let found = g.shape().to_vec();
            return Err(Error::Shape { op: VJP, argument: "g", expected: shape, found });
        }
        let plan = self.plan(VJP, Task::Vjp, g.layout())?;
        let (device, dtype) = (self.a.device(), self.a.dtype());
        let batch = &shape[..shape.len() - 1];
        let full = |operand: &Tensor, len: usize| {
            let shape: Vec<usize> = batch.iter().copied().chain([len]).collect();
            Tensor::empty(device, dtype, operand.is_complex(), &shape)
        };
        let a = full(&self.a, plan.n)?;
        let b = full(&self.b, plan.n - 1)?;
        let c = self.c.as_ref().map(|c| full(c, plan.n - 1)).transpose()?;
        let z = full(&self.z, plan.tiles)?;
        // Sums are planned before anything is enqueued.
        let sums = [
            sum_plan(&a, self.a.shape())?,
            sum_plan(&b, self.b.shape())?,
            c.as_ref().zip(self.c.as_ref()).map_or(Ok(None), |(c, of)| sum_plan(c, of.shape()))?,
            sum_plan(&z, &[self.z.shape(), &[1]].concat())?,
        ];
        let gradients = TridiagGradients {
            a: a.handle().clone(),
            b: b.handle().clone(),
            c: c.as_ref().map(|c| c.handle().clone()),
            z: z.handle().clone(),
        };
        tridiag_vjp_launch(device.client(), &self.bindings(g), &gradients, &plan)?;
        let [sum_a, sum_b, sum_c, sum_z] = sums;
        Ok(TridiagonalGradients {
            a: summed(&a, sum_a, self.a.shape())?,
            b: summed(&b, sum_b, self.b.shape())?,
            c: match (c, &self.c) {
                (Some(c), Some(of)) => Some(summed(&c, sum_c, of.shape())?),
                _ => None,
            },
            z: summed(&z, sum_z, self.z.shape())?,
        })
    }

    fn operands(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let b = if self.c.is_some() { "b" } else { "p" };
        let operands = [("a", Some(&self.a)), (b, Some(&self.b)), ("c", self.c.as_ref())];
        let operands = operands.into_iter().chain([("z", Some(&self.z))]);
        operands.filter_map(|(name, operand)| Some((name, operand?)))
    }

    /// The shape of the diagonal: on every batch axis the length that is not 1.
    fn shape(&self, op: &'static str) -> Result<Vec<usize>> {
        let rank = self.a.layout().axis(op, -1)?;
        let mut shape = self.a.shape().to_vec();
        for (argument, operand) in self.operands() {
            self.a.check_same(op, argument, operand)?;
            let axes = if argument == "z" { rank } else { rank + 1 };
            if operand.shape().len() != axes {
                let (expected, found) = (shape[..axes].to_vec(), operand.shape().to_vec());
                return Err(Error::Shape { op, argument, expected, found });
            }
            for (whole, &len) in shape[..rank].iter_mut().zip(operand.shape()) {
                if *whole == 1 {
                    *whole = len;
                }
            }
        }
        self.z.check_complex(op, "z", true)?;
        if let Some(c) = &self.c {
            c.check_complex(op, "c", self.b.is_complex())?;
        }
        Ok(shape)
    }

    fn plan(&self, op: &'static str, task: Task, diagonal: &Layout) -> Result<TridiagPlan> {
        let b = self.b.layout().clone();
        let problem = TridiagProblem {
            op,
            task,
            a: self.a.layout().clone(),
            off_diagonals: match &self.c {
                Some(c) => OffDiagonals::Separate { upper: b, lower: c.layout().clone() },
                None => OffDiagonals::Product(b),
            },
            z: self.z.layout().clone(),
            diagonal: diagonal.clone(),
            dtype: self.a.dtype(),
            complex: [self.a.is_complex(), self.b.is_complex()],
            strategy: self.strategy,
        };
        TridiagPlan::new(&problem, self.a.device().limits())
    }

    fn bindings(&self, diagonal: &Tensor) -> TridiagBindings {
        TridiagBindings {
            a: self.a.handle().clone(),
            b: self.b.handle().clone(),
            c: self.c.as_ref().map(|c| c.handle().clone()),
            z: self.z.handle().clone(),
            diagonal: diagonal.handle().clone(),
        }
    }

    fn run(&self, plan: &TridiagPlan, diagonal: &Tensor) -> Result<Pivots> {
        let device = self.a.device().clone();
        let handle = device.client().empty(plan.pivots().max(1) * size_of::<u32>());
        tridiag_launch(device.client(), &self.bindings(diagonal), &handle, plan)?;
        Ok(Pivots { device, handle, rows: plan.rows, tiles: plan.tiles })
    }
}

/// The real axes of a tensor: its own and that of the parts.
fn with_parts(shape: &[usize], complex: bool) -> Vec<usize> {
    shape.iter().copied().chain([if complex { 2 } else { 1 }]).collect()
}

/// The sum of a contiguous gradient over what shares its operand, if anything does.
fn sum_plan(gradient: &Tensor, target: &[usize]) -> Result<Option<SumPlan>> {
    if gradient.shape() == target {
        return Ok(None);
    }
    let full = with_parts(gradient.shape(), gradient.is_complex());
    let target = with_parts(target, gradient.is_complex());
    let limits = gradient.device().limits();
    SumPlan::new(VJP, &full, &target, gradient.dtype(), limits).map(Some)
}

fn summed(gradient: &Tensor, plan: Option<SumPlan>, shape: &[usize]) -> Result<Tensor> {
    let device = gradient.device();
    let (dtype, complex) = (gradient.dtype(), gradient.is_complex());
    match plan {
        None => {
            let layout = Layout::contiguous(shape);
            Tensor::from_handle(device, gradient.handle().clone(), dtype, complex, layout)
        }
        Some(plan) => {
            let total = Tensor::empty(device, dtype, complex, shape)?;
            sum_launch(device.client(), gradient.handle(), total.handle(), &plan)?;
            Ok(total)
        }
    }
}

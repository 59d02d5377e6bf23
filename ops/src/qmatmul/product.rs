//! The product, and its gradient by the activations.

use wavecube_core::{DeviceFault, Error, Result};
use wavecube_kernels::qmatmul::{
    Epilogue, EpilogueBindings, Number, QmatmulBindings, QmatmulPlan, QmatmulProblem, Strategy,
    Task, qmatmul_launch,
};

use super::QuantizedWeight;
use crate::Tensor;

const OP: &str = "qmatmul";
const VJP: &str = "qmatmul_vjp";

/// What else [`qmatmul_with`] does, and how. The default is nothing else, in floats, by the strategy that is right.
#[derive(Debug, Clone)]
pub struct QmatmulOptions {
    /// In which numbers products are made: [`Number::Integer`] quantises every row of the activations to 8 bits
    /// first.
    pub number: Number,
    /// Which kernel makes them.
    pub strategy: Strategy,
    /// Is added to every row: `[n]`.
    pub bias: Option<Tensor>,
    /// Its `silu` multiplies the sum and its bias, as in a gated layer: of the shape of the result.
    pub gate: Option<Tensor>,
    /// Is added last: of the shape of the result.
    pub residual: Option<Tensor>,
}

impl Default for QmatmulOptions {
    fn default() -> Self {
        let (number, strategy) = (Number::Float, Strategy::Auto);
        Self { number, strategy, bias: None, gate: None, residual: None }
    }
}

/// `y = x Wᵀ` with a quantised weight: `y[…, n] = Σ_k x[…, k] W[n, k]`.
///
/// `x`: `[…, k]`, real, `f16`, `bf16` or `f32`, with rows one step apart; any number of them. The result is `[…, n]`, of its
/// type, summed in `f32`: against the same sum in `f64` with the dequantised weight, the error is that of rounding. Where
/// matrix units multiply `f16`, weights are rounded to that type too. The same input on the same device gives the same bits.
///
/// # Errors
/// [`Error::Dtype`] for another type, [`Error::Shape`] if `x` has not `k` elements a row, [`Error::Strides`] if rows
/// do not lie one step apart, [`Error::Limit`] if the device has no room, [`Error::Device`] if the two are on
/// different devices.
///
/// ```
/// use wavecube::{Device, QuantizedWeight, Tensor, qmatmul, quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme}};
/// let device = Device::best()?;
/// let scheme = Scheme { bits: Bits::Four, symmetric: true, group: Group::Channel, scale: ScaleType::F32 };
/// // Whole numbers from −7 to 7 are exact in four bits.
/// let packed = PackedWeight::quantize(&[1.0, 2.0, 7.0, -7.0, 0.0, 3.0], [2, 3], scheme, Clip::None)?;
/// let weight = QuantizedWeight::upload(&device, &packed)?;
/// let x = Tensor::from_slice(&device, &[1.0f32, 10.0, 100.0], &[1, 3])?;
/// assert_eq!(qmatmul(&x, &weight)?.read::<f32>()?, [721.0, 293.0]);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn qmatmul(x: &Tensor, weight: &QuantizedWeight) -> Result<Tensor> {
    qmatmul_with(x, weight, &QmatmulOptions::default())
}

/// [`qmatmul`] in numbers of choice, by a strategy of choice, and more in one launch:
/// `residual + silu(gate)·(x Wᵀ + bias)`, of what is there.
///
/// In [`Number::Integer`] every row of `x` is rounded to 255 steps between plus and minus its largest element;
/// sums of 32 products are then exact whole numbers. A row that is not finite gives NaN in all of its results.
///
/// # Errors
/// As [`qmatmul`]; [`Error::Shape`] or [`Error::Strides`] for a bias, a gate or a residual of another shape or not
/// contiguous; [`Error::Unsupported`] for a strategy without whole numbers.
///
/// ```
/// use wavecube::{Device, Number, QmatmulOptions, QuantizedWeight, Tensor, qmatmul_with, quant::*};
/// let device = Device::best()?;
/// let scheme = Scheme { bits: Bits::Eight, symmetric: true, group: Group::Of32, scale: ScaleType::F32 };
/// let packed = PackedWeight::quantize(&[127.0, -2.0], [1, 2], scheme, Clip::None)?;
/// let weight = QuantizedWeight::upload(&device, &packed)?;
/// let x = Tensor::from_slice(&device, &[127.0f32, 100.0], &[1, 2])?;
/// let bias = Some(Tensor::from_slice(&device, &[0.5f32], &[1])?);
/// let options = QmatmulOptions { number: Number::Integer, bias, ..Default::default() };
/// let y = qmatmul_with(&x, &weight, &options)?.read::<f32>()?;
/// assert!((y[0] - (127.0 * 127.0 - 200.0 + 0.5)).abs() < 0.02);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn qmatmul_with(
    x: &Tensor,
    weight: &QuantizedWeight,
    options: &QmatmulOptions,
) -> Result<Tensor> {
    let plan = weight.plan(x, options)?;
    let out = Tensor::empty(x.device(), x.dtype(), false, &row_shape(x, plan.results()))?;
    launch(x, weight, options, &out, &plan)?;
    Ok(out)
}

/// [`qmatmul_with`] into a tensor that you already have: of the shape and the type of the result, contiguous,
/// without memory that an operand uses.
///
/// # Errors
/// As [`qmatmul_with`], and for `out` [`Error::Shape`], [`Error::Strides`], [`Error::Dtype`] and [`Error::Overlap`].
///
/// ```
/// use wavecube::{Device, QmatmulOptions, QuantizedWeight, Tensor, qmatmul_into, quant::*};
/// let device = Device::best()?;
/// let scheme = Scheme { bits: Bits::Four, symmetric: false, group: Group::Of32, scale: ScaleType::F32 };
/// let packed = PackedWeight::quantize(&[15.0, 2.0], [1, 2], scheme, Clip::None)?;
/// let weight = QuantizedWeight::upload(&device, &packed)?;
/// let x = Tensor::from_slice(&device, &[2.0f32, 1.0, 0.0, 1.0], &[2, 2])?;
/// let y = Tensor::from_slice(&device, &[f32::NAN; 2], &[2, 1])?;
/// qmatmul_into(&x, &weight, &QmatmulOptions::default(), &y)?;
/// assert_eq!(y.read::<f32>()?, [32.0, 2.0]);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn qmatmul_into(
    x: &Tensor,
    weight: &QuantizedWeight,
    options: &QmatmulOptions,
    out: &Tensor,
) -> Result<()> {
    let plan = weight.plan(x, options)?;
    check_like(x, "out", out, &row_shape(x, plan.results()))?;
    let operands =
        [Some(x), options.bias.as_ref(), options.gate.as_ref(), options.residual.as_ref()];
    let names = ["x", "bias", "gate", "residual"];
    for (operand, first) in operands.into_iter().zip(names) {
        if operand.is_some_and(|operand| operand.overlaps(out)) {
            return Err(Error::Overlap { op: OP, first, second: "out" });
        }
    }
    launch(x, weight, options, out, &plan)
}

/// The gradient of [`qmatmul`] by `x`, from that of its result, `g`: `g W`, of `k` elements a row. The weight is
/// frozen: it has none. With a bias or a residual `g` is that of the sum too; with a gate, multiply it by
/// `silu(gate)` first.
///
/// # Errors
/// As [`qmatmul`], with `n` elements a row.
pub fn qmatmul_vjp(g: &Tensor, weight: &QuantizedWeight) -> Result<Tensor> {
    let options = QmatmulOptions::default();
    let plan = weight.plan_of(VJP, Task::Gradient, g, &options)?;
    let out = Tensor::empty(g.device(), g.dtype(), false, &row_shape(g, plan.results()))?;
    launch(g, weight, &options, &out, &plan)?;
    Ok(out)
}

impl QuantizedWeight {
    /// The plan of a product: [`QmatmulPlan::describe`] says which kernel it takes and why.
    ///
    /// # Errors
    /// As [`qmatmul_with`].
    ///
    /// ```
    /// # use wavecube::{Device, QmatmulOptions, QuantizedWeight, Tensor, quant::*};
    /// # let device = Device::best()?;
    /// # let scheme = Scheme { bits: Bits::Four, symmetric: true, group: Group::Of32, scale: ScaleType::F16 };
    /// # let packed = PackedWeight::quantize(&[1.0; 64], [2, 32], scheme, Clip::None)?;
    /// # let weight = QuantizedWeight::upload(&device, &packed)?;
    /// let x = Tensor::from_slice(&device, &[1.0f32; 32], &[1, 32])?;
    /// println!("{}", weight.plan(&x, &QmatmulOptions::default())?.describe());
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    pub fn plan(&self, x: &Tensor, options: &QmatmulOptions) -> Result<QmatmulPlan> {
        self.plan_of(OP, Task::Forward(options.number), x, options)
    }

    pub(super) fn problem(
        &self,
        op: &'static str,
        task: Task,
        x: &Tensor,
        options: &QmatmulOptions,
    ) -> QmatmulProblem {
        let (x, dtype) = (x.layout().clone(), x.dtype());
        let (weight, scheme, strategy) = (self.shape(), self.scheme(), options.strategy);
        let QmatmulOptions { bias, gate, residual, .. } = options;
        let [bias, gate, residual] = [bias, gate, residual].map(Option::is_some);
        let epilogue = Epilogue { bias, gate, residual };
        QmatmulProblem { op, task, x, weight, scheme, dtype, strategy, epilogue }
    }

    fn plan_of(
        &self,
        op: &'static str,
        task: Task,
        x: &Tensor,
        options: &QmatmulOptions,
    ) -> Result<QmatmulPlan> {
        x.check_complex(op, "x", false)?;
        if !self.device().same(x.device()) {
            return Err(Error::Device { op, reason: DeviceFault::Mixed });
        }
        let problem = self.problem(op, task, x, options);
        let plan = QmatmulPlan::new(&problem, x.device().limits())?;
        let results = row_shape(x, plan.results());
        let n = [plan.results()];
        let parts: [(_, &Option<Tensor>, &[usize]); 3] = [
            ("bias", &options.bias, &n),
            ("gate", &options.gate, &results),
            ("residual", &options.residual, &results),
        ];
        for (argument, part, shape) in parts {
            if let Some(part) = part {
                check_like(x, argument, part, shape)?;
            }
        }
        Ok(plan)
    }
}

/// The shape of `x` with rows of another length.
fn row_shape(x: &Tensor, len: usize) -> Vec<usize> {
    let mut shape = x.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = len;
    }
    shape
}

/// Accepts a real, contiguous tensor of a shape, with the device and the type of `x`.
fn check_like(x: &Tensor, argument: &'static str, part: &Tensor, shape: &[usize]) -> Result<()> {
    part.check_complex(OP, argument, false)?;
    x.check_same(OP, argument, part)?;
    if part.shape() != shape {
        let (expected, found) = (shape.to_vec(), part.shape().to_vec());
        return Err(Error::Shape { op: OP, argument, expected, found });
    }
    part.check_contiguous(OP, argument)
}

fn launch(
    x: &Tensor,
    weight: &QuantizedWeight,
    options: &QmatmulOptions,
    out: &Tensor,
    plan: &QmatmulPlan,
) -> Result<()> {
    let handle = |part: &Option<Tensor>| part.as_ref().map(|part| part.handle().clone());
    let bindings = QmatmulBindings {
        x: x.handle().clone(),
        weight: weight.bindings().clone(),
        epilogue: EpilogueBindings {
            bias: handle(&options.bias),
            gate: handle(&options.gate),
            residual: handle(&options.residual),
        },
        out: out.handle().clone(),
    };
    qmatmul_launch(x.device().client(), &bindings, plan)
}

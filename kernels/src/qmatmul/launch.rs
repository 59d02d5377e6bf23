//! From bindings and plans to enqueued kernels.

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{
    Dtype, Error, Result,
    quant::{BLOCK, Group, ScaleType, Scheme},
};

use super::{
    configs::Algorithm,
    gradient::transposed,
    kernel::{
        ActivationsLaunch, CodesLaunch, EpilogueLaunch, RowsLaunch, ShapeLaunch, add_splits,
        arrange, gemv, naive,
    },
    matrix::matrix,
    plan::{Number, QmatmulPlan, Task},
    quantize::quantize_rows,
    tiled::tiled,
    weight::{FormatLaunch, VECTORS, WeightLaunch},
};
use crate::{
    elem_type,
    grid::grid,
    launch::{buffer, count, holds},
};

/// Units of a cube of the kernels that go through memory once.
const UNITS: usize = 64;

/// A packed weight on the device: the words of [`wavecube_core::quant::PackedWeight`].
#[derive(Debug, Clone)]
pub struct WeightBindings {
    /// Codes.
    pub words: Handle,
    /// Scales.
    pub scales: Handle,
    /// Zero points, where the scheme has them.
    pub zeros: Option<Handle>,
}

/// What a result is made of after the sum: `residual + silu(gate)·(sum + bias)`, of what is there.
#[derive(Debug, Clone, Default)]
pub struct EpilogueBindings {
    /// `[n]`.
    pub bias: Option<Handle>,
    /// Of the shape of the result, contiguous.
    pub gate: Option<Handle>,
    /// Of the shape of the result, contiguous.
    pub residual: Option<Handle>,
}

/// The operands of a planned product.
#[derive(Debug, Clone)]
pub struct QmatmulBindings {
    /// The activations, or the gradient of the result.
    pub x: Handle,
    /// The weight.
    pub weight: WeightBindings,
    /// Nothing for a gradient.
    pub epilogue: EpilogueBindings,
    /// The result, contiguous.
    pub out: Handle,
}

/// Refuses buffers that are too short for a weight.
pub(super) fn holds_weight(
    op: &'static str,
    weight: &WeightBindings,
    scheme: Scheme,
    [n, k]: [usize; 2],
) -> Result<()> {
    let groups = n * scheme.group.count(k);
    let words = n * k.div_ceil(BLOCK) * scheme.bits.count();
    holds(op, "words", &weight.words, (Dtype::F32, 1), words)?;
    holds(op, "scales", &weight.scales, (Dtype::F32, 1), groups.div_ceil(4 / scheme.scale.size()))?;
    match (&weight.zeros, scheme.symmetric) {
        (Some(zeros), false) => holds(op, "zeros", zeros, (Dtype::F32, 1), groups.div_ceil(4)),
        (None, false) => {
            let expected = "the zero points that the scheme has";
            Err(Error::Length { op, argument: "zeros", expected, found: 0 })
        }
        (_, true) => Ok(()),
    }
}

/// The weight as kernels take it.
pub(super) fn weight_arg(weight: &WeightBindings, scheme: Scheme, k: usize) -> WeightLaunch {
    let zeros = weight.zeros.as_ref().filter(|_| !scheme.symmetric);
    let blocks = k.div_ceil(BLOCK);
    let group_blocks = match scheme.group {
        Group::Channel => blocks,
        group => group.len(k) / BLOCK,
    };
    let scale_type = match scheme.scale {
        ScaleType::F32 => 0,
        ScaleType::F16 => 1,
        ScaleType::Bf16 => 2,
    };
    WeightLaunch::new(
        buffer(&weight.words, Dtype::F32, 4),
        buffer(&weight.scales, Dtype::F32, 1),
        zeros.map(|zeros| buffer(zeros, Dtype::F32, 1)).into(),
        FormatLaunch::new(blocks, group_blocks, scheme.group.count(k), scale_type),
    )
}

/// Cubes of one unit where units are cores, else of a few; and the grid for so many units.
pub(super) fn flat(
    op: &'static str,
    client: &Client,
    units: usize,
) -> Result<(CubeCount, CubeDim)> {
    let limits = crate::limits(client);
    let a_cube = if limits.serial { 1 } else { limits.units_per_cube.min(UNITS) };
    let cubes = grid(op, units.div_ceil(a_cube).max(1), &limits)?;
    Ok((count(cubes), CubeDim::new_1d(a_cube as u32)))
}

struct Enqueue<'a> {
    client: &'a Client,
    bindings: &'a QmatmulBindings,
    plan: &'a QmatmulPlan,
}

/// Enqueues a planned product. `Ok` means enqueued: a fault of the device shows on the next read.
///
/// # Errors
/// [`Error::Length`] if a buffer is missing or shorter than the plan reaches, [`Error::Unsupported`] for a part of the
/// epilogue that the plan was made without; then nothing is enqueued.
pub fn qmatmul_launch(
    client: &Client,
    bindings: &QmatmulBindings,
    plan: &QmatmulPlan,
) -> Result<()> {
    let op = plan.op;
    let results = plan.m * plan.results();
    holds(op, "x", &bindings.x, (plan.dtype, 1), plan.x_end)?;
    holds(op, "out", &bindings.out, (plan.dtype, 1), results)?;
    holds_weight(op, &bindings.weight, plan.scheme, plan.weight)?;
    let EpilogueBindings { bias, gate, residual } = &bindings.epilogue;
    let planned = plan.epilogue;
    for (argument, part, wanted, len) in [
        ("bias", bias, planned.bias, plan.results()),
        ("gate", gate, planned.gate, results),
        ("residual", residual, planned.residual, results),
    ] {
        match (part, wanted) {
            (Some(part), true) => holds(op, argument, part, (plan.dtype, 1), len)?,
            (Some(_), false) => {
                let reason = "the plan was made without it";
                return Err(Error::Unsupported { op, argument, reason });
            }
            (None, true) => {
                let expected = "that of a buffer, which the plan reads";
                return Err(Error::Length { op, argument, expected, found: 0 });
            }
            (None, false) => {}
        }
    }
    if plan.m == 0 {
        return Ok(());
    }
    let enqueue = Enqueue { client, bindings, plan };
    if !plan.apart {
        return enqueue.product(&bindings.out, plan.dtype, true);
    }
    let parts = client.empty(4 * results * plan.splits);
    enqueue.product(&parts, Dtype::F32, false)?;
    let (cubes, dim) = flat(op, client, results)?;
    // SAFETY: the kernel compares with the number of results, for each of which there are `splits` parts;
    // `QmatmulPlan::new` bounds the product of the three.
    unsafe {
        add_splits::launch_unchecked(
            client,
            cubes,
            dim,
            buffer(&parts, Dtype::F32, 1),
            enqueue.epilogue(true),
            buffer(&bindings.out, plan.dtype, 1),
            enqueue.shape(),
            plan.splits,
            elem_type(plan.dtype),
        );
    }
    Ok(())
}

impl Enqueue<'_> {
    fn shape(&self) -> ShapeLaunch {
        let plan = self.plan;
        let all_terms = if plan.task == Task::Gradient { plan.weight[0] } else { plan.blocks };
        let [m_cubes, n_cubes] = plan.result_cubes;
        let (results, splits) = (plan.results(), plan.splits);
        ShapeLaunch::new(plan.m, results, m_cubes, n_cubes, splits, plan.terms, all_terms)
    }

    /// The epilogue, or none for sums that another launch takes.
    fn epilogue<F: Float>(&self, wanted: bool) -> EpilogueLaunch<F> {
        let EpilogueBindings { bias, gate, residual } = &self.bindings.epilogue;
        let arg = |part: &Option<Handle>| {
            let part = part.as_ref().filter(|_| wanted);
            part.map(|part| buffer(part, self.plan.dtype, 1)).into()
        };
        EpilogueLaunch::new(arg(bias), arg(gate), arg(residual))
    }

    fn rows(&self) -> RowsLaunch {
        let QmatmulPlan { x: [offset, row_step, step], m, weight: [_, k], blocks, .. } = *self.plan;
        RowsLaunch::new(offset, row_step, step, m, k, blocks)
    }

    /// Activations in rows of whole blocks.
    fn arranged(&self) -> Result<BufferArg> {
        let plan = self.plan;
        let x = &self.bindings.x;
        if !plan.arranged {
            return Ok(buffer(x, plan.dtype, 4));
        }
        let vectors = plan.m * plan.blocks * VECTORS;
        let arranged = self.client.empty(vectors * 4 * plan.dtype.size());
        let (cubes, dim) = flat(plan.op, self.client, vectors)?;
        // SAFETY: the kernel stores one vector of each row's blocks, for which `arranged` is made, and reads
        // below `x_end`, which `qmatmul_launch` has compared with the buffer.
        unsafe {
            arrange::launch_unchecked(
                self.client,
                cubes,
                dim,
                buffer(x, plan.dtype, 1),
                buffer(&arranged, plan.dtype, 4),
                self.rows(),
                elem_type(plan.dtype),
            );
        }
        Ok(buffer(&arranged, plan.dtype, 4))
    }

    /// Activations as the numbers of a product: as they are, or as whole numbers with what these are steps of.
    fn activations<F: Float>(&self, number: Number) -> Result<ActivationsLaunch<F>> {
        let plan = self.plan;
        if number == Number::Float {
            return Ok(ActivationsLaunch::new(Some(self.arranged()?).into(), None.into()));
        }
        let codes = self.client.empty(plan.m * plan.blocks * BLOCK);
        let largest = self.client.empty(plan.m * 4);
        // SAFETY: one cube a row, as `QmatmulPlan::new` counts them; the kernel stores two vectors a block,
        // for which `codes` is made, and reads below `x_end`.
        unsafe {
            quantize_rows::launch_unchecked(
                self.client,
                count(plan.row_cubes),
                CubeDim::new_1d(plan.row_units as u32),
                buffer(&self.bindings.x, plan.dtype, 1),
                buffer(&codes, Dtype::F32, 4),
                buffer(&largest, Dtype::F32, 1),
                self.rows(),
                plan.row_units,
                elem_type(plan.dtype),
            );
        }
        let codes =
            CodesLaunch::new(buffer(&codes, Dtype::F32, 4), buffer(&largest, Dtype::F32, 1));
        Ok(ActivationsLaunch::new(None.into(), Some(codes).into()))
    }

    /// The sums, or their parts, to `out`.
    fn product(&self, out: &Handle, out_dtype: Dtype, finishes: bool) -> Result<()> {
        let (client, plan) = (self.client, self.plan);
        let weight = weight_arg(&self.bindings.weight, plan.scheme, plan.weight[1]);
        let out = buffer(out, out_dtype, 1);
        let cubes = count(plan.cubes);
        let dim = CubeDim::new_1d(plan.algorithm.units() as u32);
        let (shape, dtypes) = (self.shape(), [elem_type(plan.dtype), elem_type(out_dtype)]);
        match plan.algorithm {
            Algorithm::Naive { bits, .. } => {
                let (x, end) = (self.arranged()?, self.epilogue(finishes));
                // SAFETY: `QmatmulPlan::new` bounds every index of activations, weight and result, and
                // `qmatmul_launch` has compared the buffers with it. The kernel keeps rows below `m`,
                // columns below a row's length and blocks below those of its part.
                unsafe {
                    naive::launch_unchecked(
                        client, cubes, dim, x, weight, end, out, shape, bits, dtypes,
                    );
                }
            }
            Algorithm::Gemv(config) => {
                let (x, end) = (self.activations(config.number)?, self.epilogue(finishes));
                // SAFETY: as above, by `QmatmulPlan::new`.
                unsafe {
                    gemv::launch_unchecked(
                        client, cubes, dim, x, weight, end, out, shape, config, dtypes,
                    );
                }
            }
            Algorithm::Tiled(config) => {
                let (x, end) = (self.arranged()?, self.epilogue(finishes));
                // SAFETY: as above, by `QmatmulPlan::new`.
                unsafe {
                    tiled::launch_unchecked(
                        client, cubes, dim, x, weight, end, out, shape, config, dtypes,
                    );
                }
            }
            Algorithm::Matrix(config) => {
                let (x, end) = (self.arranged()?, self.epilogue(finishes));
                // SAFETY: as above, by `QmatmulPlan::new`.
                unsafe {
                    matrix::launch_unchecked(
                        client, cubes, dim, x, weight, end, out, shape, config, dtypes,
                    );
                }
            }
            Algorithm::Transposed(config) => {
                let (g, rows) = (buffer(&self.bindings.x, plan.dtype, 1), self.rows());
                // SAFETY: as above, by `QmatmulPlan::new`; rows of the weight stay below those of a part.
                unsafe {
                    transposed::launch_unchecked(
                        client, cubes, dim, g, weight, out, shape, rows, config, dtypes,
                    );
                }
            }
        }
        Ok(())
    }
}

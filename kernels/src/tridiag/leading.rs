//! The causal form: the last diagonal element of the resolvent of every leading block.
//!
//! # Formula
//! `T` has the diagonal `d_k` and the products `p_k = b_k c_k` of the elements beside it. Wanted is
//! `y_k = (T[0..=k, 0..=k])⁻¹[k, k]`, the left half of the recursions of [`tridiag`](super):
//! `y_k = 1/(d_k − p_{k−1} y_{k−1})`. It depends on the elements `0..=k` only, where the diagonal of the whole
//! inverse depends on all; at the last element the two agree.
//!
//! The gradient, from `h_k = conj(g_k)`: `E_k = y_k h_k + p_k y_k y_{k+1} E_{k+1}` goes left, and `∂d_k = −y_k E_k`,
//! `∂p_k = y_k y_{k+1} E_{k+1}`; conjugated for `d`, the real part for `p`. The factors of `E` are those of one link, whatever
//! the scale of the elements.
//!
//! # Operands
//! `d`: `[rows, n]`, complex; `p`: `[rows, n − 1]`, real; `y`: as `d`. Contiguous, one type of number, `f32` or
//! `f64`. Nothing is regularised: where `Im d < 0` and `p ≥ 0` all pivots have at least the size `|Im d|`;
//! elsewhere one may vanish, and what follows it in the sequence is then not finite. A NaN or an infinity in `d` or `p` makes
//! what follows it in its sequence NaN, and nothing else. Elements of every scale, graded along the sequence too, as long
//! as the products `p` and the results are normal numbers.
//!
//! # Supported, rejected
//! 1 to 2²² elements, in `f64` 2²¹, empty batches; rejected are longer sequences, 16 bits, and what the device has no room
//! for: all in [`LeadingPlan::new`].
//!
//! # Work mapping
//! A unit makes a stretch of a sequence one Möbius map, and the tree of the two-sided recursions hands it
//! what enters on the left; then it walks over the stretch. One launch, and one for the gradient, whose
//! recursion is affine. On processor cores, and where units are emulated and there are 16 sequences or more,
//! a unit walks over a whole sequence and there is no tree.
//!
//! # Cost
//! 20 bytes an element in `f32`, 32 for the gradient; about 90 and 70 flop, 25 and 35 without the tree.
//!
//! # Error
//! Largest error over largest value, on the software driver against `f64`, with a shift of 1.5i and products
//! between 0 and 2: 2e-7 for `y` and 4e-7 for the gradients in `f32`, at every length; 6e-16 in `f64`.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Error, Limits, Result};

use super::{
    operands::Pairs,
    plan::TileConfig,
    scaling::{Wide, exponent_of, node_exponent, normal_power, raised, settled, where_wide, wide},
    scan::{
        Complex, add, choose, complex, fall, four, get, joined, mul, neutral, nothing, put, real,
        reciprocal, rise, scale, size, sub,
    },
};
use crate::{
    elem_type,
    grid::grid,
    launch::{buffer, count, holds},
};

/// The elements that a unit has at least, where several share a sequence.
const ELEMENTS: usize = 8;
/// The most units that share a sequence, in single precision; in double half as many, with more registers
/// each (`ptxas` spills 8 bytes of the gradient for 256).
const UNITS: usize = 256;
/// Units that a cube has at least, where there are sequences for them.
const FILL: usize = 64;
/// Units of a cube where each carries a sequence.
const SERIAL_UNITS: usize = 32;
/// The sequences from which one unit each is quicker where units are emulated, as in the two-sided plan.
const EMULATED_ROWS: usize = 16;
/// The elements that one unit walks over: lavapipe ends a unit's loops after 65535 turns in all.
const STRETCH: usize = 1 << 14;
/// The buffers that the gradient binds.
const BINDINGS: usize = 5;

/// How a batch of sequences is dealt to units. Pure host data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeadingPlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// The number of sequences; 0 if there is nothing to do.
    pub rows: usize,
    /// The elements of a sequence.
    pub n: usize,
    /// The elements of a unit.
    pub stretch: usize,
    /// What is compiled into the kernels.
    pub tile: TileConfig,
    /// The grid.
    pub cubes: [usize; 3],
    /// Storage type.
    pub dtype: Dtype,
}

impl LeadingPlan {
    /// Decides how a device with `limits` carries out `rows` sequences of `n` elements.
    ///
    /// # Errors
    /// [`Error::Length`] for sequences of no elements or of more than 2²², [`Error::Dtype`] for 16 bits and
    /// for a type that the device lacks, [`Error::Limit`] if a buffer, the grid or what a kernel binds
    /// exceeds it.
    ///
    /// ```
    /// use wavecube_core::{Dtype, Limits};
    /// use wavecube_kernels::tridiag::LeadingPlan;
    ///
    /// let plan = LeadingPlan::new("leading_resolvent", 16, 4096, Dtype::F32, &Limits::HOPPER)?;
    /// assert_eq!((plan.tile.units, plan.stretch), (256, 16));
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn new(
        op: &'static str,
        rows: usize,
        n: usize,
        dtype: Dtype,
        limits: &Limits,
    ) -> Result<Self> {
        limits.check_bindings(op, BINDINGS)?;
        limits.check_dtype(op, "d", dtype)?;
        if dtype != dtype.compute() {
            let expected = "f32 or f64: in 16 bits the diagonal alone would cost 2.7e-4 or more";
            return Err(Error::Dtype { op, argument: "d", expected, found: dtype });
        }
        let units = if dtype == Dtype::F64 { UNITS / 2 } else { UNITS };
        if n == 0 || n > units * STRETCH {
            let expected = "at least 1 and at most 2^22, in f64 2^21";
            return Err(Error::Length { op, argument: "d", expected, found: n });
        }
        let bytes = rows.saturating_mul(n).saturating_mul(2 * dtype.size());
        limits.check_buffer(op, bytes as u64)?;
        let emulated = limits.emulated && rows >= EMULATED_ROWS && n <= STRETCH;
        let serial = limits.serial || emulated;
        let tile = |units, rows| TileConfig {
            elements: 1,
            units,
            rows,
            complex: [true, false],
            product: true,
            double: dtype == Dtype::F64,
            carried: false,
            determinant: false,
            alone: false,
            mixed: false,
        };
        let room = limits.shared_bytes / tile(1, 1).shared_bytes();
        let most = units.min(limits.units_per_cube).min(room).max(1);
        let most = 1usize << most.ilog2();
        let (units, together) = if serial {
            (1, if limits.serial { 1 } else { SERIAL_UNITS.min(limits.units_per_cube) })
        } else {
            let units = n.div_ceil(ELEMENTS).next_power_of_two().min(most);
            (units, (FILL / units).clamp(1, most / units))
        };
        let stretch = n.div_ceil(units);
        if stretch > STRETCH && !limits.serial {
            let resource = "elements of a sequence, given its units and shared memory";
            let (available, required) = ((units * STRETCH) as u64, n as u64);
            return Err(Error::Limit { op, resource, available, required });
        }
        let cubes = grid(op, rows.div_ceil(together), limits)?;
        Ok(Self { op, rows, n, stretch, tile: tile(units, together), cubes, dtype })
    }
}

#[cube]
fn load<F: Float>(x: &Pairs<F>, at: usize) -> Complex<F> {
    let value = x[at];
    complex::<F>(value.extract(0usize), value.extract(1usize))
}

#[cube]
fn pair<F: Float>(value: Complex<F>) -> Vector<F, Const<2>> {
    let mut stored = Vector::<F, Const<2>>::empty();
    stored.insert(0usize, value.re);
    stored.insert(1usize, value.im);
    stored
}

/// `p_k`, and 0 behind the last.
#[cube]
fn beside<F: Float>(p: &[F], row: usize, k: usize, n: usize) -> F {
    let there = min(k, max(n, 2usize) - 2);
    select(k + 1 < n, p[row * (n - 1) + there], F::new(0.0))
}

/// The stretch of one unit.
#[derive(CubeType)]
struct Stretch {
    /// The sequence, or the last one where there is none.
    row: usize,
    /// The unit among those of the sequence.
    unit: usize,
    /// Where the sequence's nodes begin in shared memory.
    nodes: usize,
    first: usize,
    last: usize,
    /// Whether the sequence exists: the last cube may have units to spare.
    active: bool,
}

#[cube]
fn stretch(rows: usize, n: usize, stretch: usize, #[comptime] config: TileConfig) -> Stretch {
    let units = comptime!(config.units);
    let member = UNIT_POS as usize / units;
    let unit = UNIT_POS as usize % units;
    let row = CUBE_POS * comptime!(config.rows) + member;
    let first = min(unit * stretch, n);
    Stretch {
        row: min(row, rows - 1),
        unit,
        nodes: member * comptime!(2 * config.units),
        first,
        last: min(first + stretch, n),
        active: row < rows,
    }
}

/// `p_k` with its exponent apart.
#[cube]
fn link<F: Float>(p: &[F], row: usize, k: usize, n: usize, exists: bool) -> Wide<F> {
    let value = complex::<F>(beside::<F>(p, row, k, n), F::new(0.0));
    where_wide::<F>(exists && k + 1 < n, wide::<F>(value))
}

/// The exponent of `d_k`, or of the last.
#[cube]
fn own<F: Float>(d: &Pairs<F>, row: usize, k: usize, n: usize) -> i32 {
    exponent_of::<F>(size::<F>(load::<F>(d, row * n + min(k, n - 1))))
}

/// `p_{k−1} y_{k−1}` where the unit's stretch begins.
#[cube]
fn entering<F: Float>(
    d: &Pairs<F>,
    p: &[F],
    mine: &Stretch,
    n: usize,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.cells()));
    let leaf = mine.nodes + comptime!(config.units) + mine.unit;
    put::<F>(&mut cells, leaf, neutral::<F>(false), config);
    // Scaled as in the two-sided recursions.
    let row = mine.row;
    let before = max(min(mine.first, n - 1), 1usize) - 1;
    let link_before = link::<F>(p, row, before, n, mine.first > 0);
    let link_first = link::<F>(p, row, mine.first, n, true);
    let own_first = own::<F>(d, row, mine.first, n);
    let own_next = own::<F>(d, row, mine.first + 1, n);
    let enters_at = node_exponent::<F>(
        link_before.exponent,
        link_first.exponent,
        own::<F>(d, row, before, n),
        own_first,
        own_next,
    );
    let mut e = enters_at;
    let mut own_e = own_first;
    let mut next_e = own_next;
    let mut number = link_first.number.re;
    let mut link_e = link_first.exponent;
    for k in mine.first..mine.last {
        let here = e;
        let link_next = link::<F>(p, row, k + 1, n, true);
        let own_last = own::<F>(d, row, k + 2, n);
        let next = node_exponent::<F>(link_e, link_next.exponent, own_e, next_e, own_last);
        let product = Wide::<F> { number: complex::<F>(number, F::new(0.0)), exponent: link_e };
        let off = settled::<F>(product, here + next);
        let diagonal = scale::<F>(load::<F>(d, row * n + k), normal_power::<F>(-here));
        e = next;
        own_e = next_e;
        next_e = own_last;
        number = link_next.number.re;
        link_e = link_next.exponent;
        let element = four::<F>(diagonal, real::<F>(1.0f32), off, real::<F>(0.0f32));
        let before = get::<F>(&mut cells, leaf, config);
        put::<F>(&mut cells, leaf, joined::<F>(before, element, false), config);
    }
    rise::<F>(&mut cells, mine.nodes, mine.unit, false, config);
    let root = nothing::<F>();
    let enters = fall::<F>(&mut cells, mine.nodes, mine.unit, root, false, config);
    raised::<F>(mul::<F>(enters.a, reciprocal::<F>(enters.b)), enters_at)
}

#[cube(launch_unchecked)]
fn forward<F: Float>(
    d: &Pairs<F>,
    p: &[F],
    y: &mut Pairs<F>,
    rows: usize,
    n: usize,
    length: usize,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let mine = stretch(rows, n, length, config);
    let mut re = F::new(0.0);
    let mut im = F::new(0.0);
    if comptime!(config.units > 1) {
        let enters = entering::<F>(d, p, &mine, n, config);
        re = enters.re;
        im = enters.im;
    }
    if mine.active {
        for k in mine.first..mine.last {
            let l_re = re;
            let l_im = im;
            let at = mine.row * n + k;
            let value = reciprocal::<F>(sub::<F>(load::<F>(d, at), complex::<F>(l_re, l_im)));
            y[at] = pair::<F>(value);
            let next = scale::<F>(value, beside::<F>(p, mine.row, k, n));
            re = next.re;
            im = next.im;
        }
    }
}

/// `y_{k+1}`, and 0 behind the last.
#[cube]
fn behind<F: Float>(y: &Pairs<F>, row: usize, k: usize, n: usize) -> Complex<F> {
    let next = load::<F>(y, row * n + min(k + 1, n - 1));
    choose::<F>(k + 1 < n, next, real::<F>(0.0f32))
}

#[cube]
fn conjugate<F: Float>(x: Complex<F>) -> Complex<F> {
    complex::<F>(x.re, -x.im)
}

/// `E_{k+1}` where the unit's stretch ends.
#[cube]
fn entering_gradient<F: Float>(
    p: &[F],
    y: &Pairs<F>,
    g: &Pairs<F>,
    mine: &Stretch,
    n: usize,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.cells()));
    let leaf = mine.nodes + comptime!(config.units) + mine.unit;
    put::<F>(&mut cells, leaf, neutral::<F>(true), config);
    for i in mine.first..mine.last {
        let k = mine.last - 1 - (i - mine.first);
        let off = beside::<F>(p, mine.row, k, n);
        let here = load::<F>(y, mine.row * n + k);
        let m = mul::<F>(scale::<F>(here, off), behind::<F>(y, mine.row, k, n));
        let h = mul::<F>(here, conjugate::<F>(load::<F>(g, mine.row * n + k)));
        let element = four::<F>(real::<F>(1.0f32), real::<F>(0.0f32), m, h);
        let behind = get::<F>(&mut cells, leaf, config);
        put::<F>(&mut cells, leaf, joined::<F>(element, behind, true), config);
    }
    rise::<F>(&mut cells, mine.nodes, mine.unit, true, config);
    let root = nothing::<F>();
    let enters = fall::<F>(&mut cells, mine.nodes, mine.unit, root, true, config);
    enters.p
}

#[cube(launch_unchecked)]
fn backward<F: Float>(
    p: &[F],
    y: &Pairs<F>,
    g: &Pairs<F>,
    d_gradient: &mut Pairs<F>,
    p_gradient: &mut [F],
    rows: usize,
    n: usize,
    length: usize,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let mine = stretch(rows, n, length, config);
    let mut re = F::new(0.0);
    let mut im = F::new(0.0);
    if comptime!(config.units > 1) {
        let enters = entering_gradient::<F>(p, y, g, &mine, n, config);
        re = enters.re;
        im = enters.im;
    }
    if mine.active {
        for i in mine.first..mine.last {
            let k = mine.last - 1 - (i - mine.first);
            let at = mine.row * n + k;
            let e_re = re;
            let e_im = im;
            // y_{k+1} E_{k+1}.
            let from_right = mul::<F>(behind::<F>(y, mine.row, k, n), complex::<F>(e_re, e_im));
            let here = load::<F>(y, at);
            if k + 1 < n {
                p_gradient[mine.row * (n - 1) + k] = mul::<F>(from_right, here).re;
            }
            let off = beside::<F>(p, mine.row, k, n);
            let m = scale::<F>(here, off);
            let given = conjugate::<F>(load::<F>(g, at));
            let e = add::<F>(mul::<F>(m, from_right), mul::<F>(here, given));
            let by_d = mul::<F>(here, e);
            d_gradient[at] = pair::<F>(complex::<F>(-by_d.re, by_d.im));
            re = e.re;
            im = e.im;
        }
    }
}

impl LeadingPlan {
    fn holds(&self, argument: &'static str, handle: &Handle, parts: usize) -> Result<()> {
        let elements = if parts == 2 { self.n } else { self.n - 1 };
        holds(self.op, argument, handle, (self.dtype, parts), self.rows * elements)
    }

    fn pairs(&self, handle: &Handle) -> BufferArg {
        buffer(handle, self.dtype, 2)
    }

    /// What lies beside the diagonal. A sequence of one element has nothing there, and a buffer of no
    /// bytes is not one everywhere.
    fn products(&self, client: &Client, handle: &Handle) -> BufferArg {
        if self.n == 1 {
            return buffer(&client.empty(self.dtype.size()), self.dtype, 1);
        }
        buffer(handle, self.dtype, 1)
    }

    fn dim(&self) -> CubeDim {
        CubeDim::new_1d((self.tile.units * self.tile.rows) as u32)
    }
}

/// Enqueues `y` from `d` and `p`.
///
/// # Errors
/// [`Error::Length`] if a buffer does not hold its elements; then nothing is enqueued.
pub fn leading_launch(client: &Client, [d, p, y]: [&Handle; 3], plan: &LeadingPlan) -> Result<()> {
    plan.holds("d", d, 2)?;
    plan.holds("p", p, 1)?;
    plan.holds("y", y, 2)?;
    if plan.rows == 0 {
        return Ok(());
    }
    // SAFETY: `LeadingPlan::holds` has compared `rows · n` and `rows · (n − 1)` with the buffers, and the
    // kernel keeps rows below `rows`, elements below `n` and products below `n − 1`.
    unsafe {
        forward::launch_unchecked(
            client,
            count(plan.cubes),
            plan.dim(),
            plan.pairs(d),
            plan.products(client, p),
            plan.pairs(y),
            plan.rows,
            plan.n,
            plan.stretch,
            plan.tile,
            elem_type(plan.dtype),
        );
    }
    Ok(())
}

/// Enqueues the gradients of `d` and `p` from `p`, `y` and the gradient `g` of `y`.
///
/// # Errors
/// As [`leading_launch`].
pub fn leading_vjp_launch(
    client: &Client,
    [p, y, g]: [&Handle; 3],
    [d_gradient, p_gradient]: [&Handle; 2],
    plan: &LeadingPlan,
) -> Result<()> {
    plan.holds("p", p, 1)?;
    plan.holds("y", y, 2)?;
    plan.holds("g", g, 2)?;
    plan.holds("the gradient of d", d_gradient, 2)?;
    plan.holds("the gradient of p", p_gradient, 1)?;
    if plan.rows == 0 {
        return Ok(());
    }
    // SAFETY: as in `leading_launch`, by `LeadingPlan::holds`.
    unsafe {
        backward::launch_unchecked(
            client,
            count(plan.cubes),
            plan.dim(),
            plan.products(client, p),
            plan.pairs(y),
            plan.pairs(g),
            plan.pairs(d_gradient),
            plan.products(client, p_gradient),
            plan.rows,
            plan.n,
            plan.stretch,
            plan.tile,
            elem_type(plan.dtype),
        );
    }
    Ok(())
}

//! Plans and launches of what changes a cache: writes, copies of pages, and turning by position.

use cubecl::{
    client::Client,
    ir::{ElemType, UIntKind},
    prelude::*,
    server::Handle,
};
use wavecube_core::{Dtype, Error, Layout, Limits, Result};

use super::{
    append::{FreshLaunch, copy_pages, mean, turn, write},
    geometry::{GeometryLaunch, Place},
    plan::Steps,
    problem::{GROUP, Storage},
    tiles::TileConfig,
};
use crate::{
    elem_type,
    grid::grid,
    launch::{buffer, count, holds},
};

/// Rows of a cube of the writing kernel.
const ROWS: usize = 8;
/// Units of a cube.
const UNITS: usize = 64;
/// Tokens whose mean one unit takes: lavapipe ends a unit's loops after 65535 turns.
const MEAN_TOKENS: usize = 60_000;

/// A pool of pages for the keys and values of one layer, `[pages, kv_heads, page_size, dim]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheProblem {
    /// The operation, for errors.
    pub op: &'static str,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub dim: usize,
    /// Pages.
    pub pages: usize,
    /// Tokens of a page.
    pub page_size: usize,
    /// Type of new keys and values, and of stored ones where they are stored as they are.
    pub dtype: Dtype,
    /// How they are stored.
    pub storage: Storage,
}

/// What a pool takes. Immutable host data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePlan {
    /// What it was made from.
    pub problem: CacheProblem,
    /// What is compiled into the kernels.
    pub tile: TileConfig,
    /// Numbers of keys, and of values.
    pub numbers: usize,
    /// The device.
    pub limits: Limits,
}

impl CachePlan {
    /// Validates `problem`.
    ///
    /// # Errors
    /// [`Error::Length`] for sizes of 0, heads of more than 256 numbers, or of other than multiples of 32
    /// where they are quantised; [`Error::Dtype`] for `f64` and what the device lacks; [`Error::Limit`] if a
    /// buffer exceeds it.
    pub fn new(problem: &CacheProblem, limits: &Limits) -> Result<Self> {
        let CacheProblem { op, kv_heads, dim, pages, page_size, dtype, storage } = *problem;
        limits.check_dtype(op, "dtype", dtype)?;
        if dtype == Dtype::F64 {
            let expected = "f32, f16 or bf16";
            return Err(Error::Dtype { op, argument: "dtype", expected, found: dtype });
        }
        for (argument, found) in
            [("kv_heads", kv_heads), ("pages", pages), ("page_size", page_size), ("dim", dim)]
        {
            if found == 0 {
                return Err(Error::Length { op, argument, expected: "at least 1", found });
            }
        }
        if dim > 256 || (storage != Storage::Float && !dim.is_multiple_of(GROUP)) {
            let expected = "at most 256, and a multiple of 32 where it is quantised";
            return Err(Error::Length { op, argument: "dim", expected, found: dim });
        }
        let sizes = [kv_heads, pages, page_size, dim];
        let numbers = sizes.iter().try_fold(1usize, |total, &n| total.checked_mul(n));
        let bytes = numbers.and_then(|n| n.checked_mul(storage.bits(dtype))).map(|n| n / 8);
        limits.check_buffer(op, bytes.map_or(u64::MAX, |bytes| bytes as u64))?;
        let lanes = if dim.is_multiple_of(4) { 4 } else { 1 };
        let rows = (limits.shared_bytes / (4 * dim)).clamp(1, ROWS);
        let tile = TileConfig { rows, ..TileConfig::one(dim, lanes, storage) };
        Ok(Self { problem: *problem, tile, numbers: numbers.unwrap_or(0), limits: *limits })
    }

    /// An empty pool.
    pub fn pool(&self, client: &Client) -> Pool {
        let CacheProblem { kv_heads, dim, dtype, storage, .. } = self.problem;
        let bytes = (self.numbers * storage.bits(dtype)).div_ceil(8).next_multiple_of(4);
        let quantised = storage != Storage::Float;
        let scales = || client.empty(4 * self.numbers / GROUP);
        let zeros = vec![0u8; 4 * kv_heads * dim];
        Pool {
            k: client.empty(bytes),
            v: client.empty(bytes),
            scales: quantised.then(|| [scales(), scales()]),
            shift: quantised.then(|| client.create_from_slice(&zeros)),
        }
    }

    /// The layout of keys and of values.
    pub fn layout(&self) -> Layout {
        let CacheProblem { kv_heads, dim, pages, page_size, .. } = self.problem;
        Layout::contiguous(&[pages, kv_heads, page_size, dim])
    }

    fn units(&self, work: usize) -> usize {
        if self.limits.serial { 1 } else { UNITS.min(self.limits.units_per_cube).min(work).max(1) }
    }
}

/// The memory of a pool.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Keys.
    pub k: Handle,
    /// Values.
    pub v: Handle,
    /// The steps and middles of quantised keys and values, as [`AttentionBindings`](super::AttentionBindings) has them.
    pub scales: Option<[Handle; 2]>,
    /// What is subtracted from quantised keys, `[kv_heads, dim]` in `f32`.
    pub shift: Option<Handle>,
}

/// New keys or values: `[batch, kv_heads, n, dim]`.
#[derive(Debug, Clone)]
pub struct FreshBindings {
    /// The numbers.
    pub x: Handle,
    /// Where they lie.
    pub layout: Layout,
    /// Cosine and sine of every position and pair, in `f32`, where keys are to be turned.
    pub table: Option<Handle>,
    /// In 32 bits: how many tokens of each sequence are new, how many there are with them, and its pages.
    pub index: Handle,
    /// Pages of a sequence in the index.
    pub pages: usize,
}

impl FreshBindings {
    fn check(&self, plan: &CachePlan) -> Result<()> {
        let CacheProblem { op, kv_heads, dim, dtype, .. } = plan.problem;
        let shape = self.layout.shape();
        if shape.len() != 4 || shape[1] != kv_heads || shape[3] != dim {
            let outer = |axis: usize| shape.get(axis).copied().unwrap_or(1);
            let expected = vec![outer(0), kv_heads, outer(2), dim];
            let found = shape.to_vec();
            return Err(Error::Shape { op, argument: "x", expected, found });
        }
        if dim > 1 && self.layout.strides()[3] != 1 {
            let (expected, found) = ("be 1 along the last axis", self.layout.strides().to_vec());
            return Err(Error::Strides { op, argument: "x", expected, found });
        }
        let end = self.layout.end().unwrap_or(usize::MAX);
        holds(op, "x", &self.x, (dtype, 1), end)?;
        holds(op, "index", &self.index, (Dtype::F32, 1), shape[0] * (2 + self.pages))
    }

    fn geometry(&self, plan: &CachePlan) -> GeometryLaunch {
        let CacheProblem { kv_heads, page_size, .. } = plan.problem;
        let shape = self.layout.shape();
        let target = || Place::launch(&Steps::of(&plan.layout(), plan.tile.lanes));
        GeometryLaunch::new(
            shape[0],
            kv_heads,
            kv_heads,
            shape[2],
            self.pages * page_size,
            Place::launch(&Steps::of(&self.layout, 1)),
            target(),
            target(),
            target(),
            0,
            page_size,
            self.pages,
            1,
            0,
            1,
            1.0,
            0.0,
            0,
            0,
            0,
            f32::NEG_INFINITY,
        )
    }

    fn launch<N: Float>(&self, client: &Client, plan: &CachePlan, pool: &Pool) -> FreshLaunch<N> {
        let spare = client.create_from_slice(&[0; 16]);
        let numbers = |handle: Option<&Handle>| buffer(handle.unwrap_or(&spare), Dtype::F32, 1);
        FreshLaunch::new(
            buffer(&self.x, plan.problem.dtype, 1),
            numbers(self.table.as_ref()),
            usize::from(self.table.is_some()),
            numbers(pool.shift.as_ref()),
            numbers(Some(&self.index)),
        )
    }

    /// Rows of all sequences and heads.
    fn rows(&self) -> usize {
        self.layout.shape()[..3].iter().product()
    }
}

/// Enqueues the mean of new keys as what is subtracted from them.
///
/// # Errors
/// As [`write_launch`]; [`Error::Limit`] for more than 60000 tokens where units are emulated.
pub fn mean_launch(
    client: &Client,
    pool: &Pool,
    fresh: &FreshBindings,
    plan: &CachePlan,
) -> Result<()> {
    fresh.check(plan)?;
    let CacheProblem { op, kv_heads, dim, dtype, .. } = plan.problem;
    let Some(shift) = &pool.shift else { return Ok(()) };
    let tokens = fresh.rows() / kv_heads;
    if plan.limits.emulated && !plan.limits.serial && tokens > MEAN_TOKENS {
        let (available, required) = (MEAN_TOKENS as u64, tokens as u64);
        return Err(Error::Limit { op, resource: "tokens of a first write", available, required });
    }
    if tokens == 0 {
        return Ok(());
    }
    // It is read as `fresh.shift` too, if only by name: a buffer is bound once.
    let unshifted = Pool { shift: None, ..pool.clone() };
    let units = plan.units(kv_heads * dim);
    let cubes = grid(op, (kv_heads * dim).div_ceil(units), &plan.limits)?;
    // SAFETY: `FreshBindings::check` has compared the buffers with the layout, and the kernel keeps to
    // tokens that exist and to `kv_heads · dim` means, which `CachePlan::pool` made room for.
    unsafe {
        mean::launch_unchecked(
            client,
            count(cubes),
            CubeDim::new_1d(units as u32),
            fresh.launch(client, plan, &unshifted),
            buffer(shift, Dtype::F32, 1),
            fresh.geometry(plan),
            plan.tile,
            elem_type(dtype),
        );
    }
    Ok(())
}

/// Enqueues the write of new keys, or of new values, into their pages.
///
/// # Errors
/// [`Error::Shape`] or [`Error::Strides`] if they are not as the plan has it, [`Error::Length`] if a buffer
/// is too short, [`Error::Limit`] if the grid exceeds the device.
pub fn write_launch(
    client: &Client,
    pool: &Pool,
    fresh: &FreshBindings,
    is_key: bool,
    plan: &CachePlan,
) -> Result<()> {
    fresh.check(plan)?;
    let (rows, tile) = (fresh.rows(), plan.tile);
    let CacheProblem { op, dtype, storage, .. } = plan.problem;
    if rows == 0 {
        return Ok(());
    }
    let (target_type, target_lanes) = match storage {
        Storage::Float => (elem_type(dtype), tile.lanes),
        _ => (ElemType::UInt(UIntKind::U32), 1),
    };
    let (target, which) = if is_key { (&pool.k, 0) } else { (&pool.v, 1) };
    let stored = if storage == Storage::Float { dtype } else { Dtype::F32 };
    let spare = client.empty(4);
    let scales = pool.scales.as_ref().map_or(&spare, |scales| &scales[which]);
    let units = plan.units(tile.rows * tile.vectors());
    // SAFETY: `FreshBindings::check` has compared the buffers with the layout; `CachePlan::pool` made room
    // for every page, and whoever made the index keeps its pages within it.
    unsafe {
        write::launch_unchecked(
            client,
            count(grid(op, rows.div_ceil(tile.rows), &plan.limits)?),
            CubeDim::new_1d(units as u32),
            tile.lanes,
            target_lanes,
            fresh.launch(client, plan, pool),
            buffer(target, stored, target_lanes),
            buffer(scales, Dtype::F32, 1),
            fresh.geometry(plan),
            is_key,
            tile,
            [elem_type(dtype), target_type],
        );
    }
    Ok(())
}

/// Enqueues copies of whole pages: pairs of a page and the page it goes to.
///
/// # Errors
/// [`Error::Length`] for a page that there is not, [`Error::Limit`] if the grid exceeds the device.
pub fn copy_pages_launch(
    client: &Client,
    pool: &Pool,
    pairs: &[[u32; 2]],
    plan: &CachePlan,
) -> Result<()> {
    let CacheProblem { op, pages, dtype, storage, .. } = plan.problem;
    if let Some(page) = pairs.iter().flatten().find(|&&page| page as usize >= pages) {
        let (expected, found) = ("below the number of pages", *page as usize);
        return Err(Error::Length { op, argument: "pairs", expected, found });
    }
    if pairs.is_empty() {
        return Ok(());
    }
    let list: Vec<u8> = pairs.iter().flatten().flat_map(|page| page.to_ne_bytes()).collect();
    let list = client.create_from_slice(&list);
    let numbers = plan.numbers / pages;
    let (page, kind, size) = match storage {
        Storage::Float => (numbers, elem_type(dtype), dtype),
        _ => (numbers * storage.bits(dtype) / 32, ElemType::UInt(UIntKind::U32), Dtype::F32),
    };
    let mut pools = vec![(&pool.k, page, kind, size), (&pool.v, page, kind, size)];
    if let Some(scales) = &pool.scales {
        let word = ElemType::UInt(UIntKind::U32);
        let each = |handle| (handle, numbers / GROUP, word, Dtype::F32);
        pools.extend(scales.iter().map(each));
    }
    for (handle, page, kind, size) in pools {
        let units = plan.units(page);
        let cubes = grid(op, (pairs.len() * page).div_ceil(units), &plan.limits)?;
        // SAFETY: the lines above have compared the pages with those of the pool, `CachePlan::pool` made
        // room for all of them, and the kernel keeps to the numbers of the pages listed.
        unsafe {
            copy_pages::launch_unchecked(
                client,
                count(cubes),
                CubeDim::new_1d(units as u32),
                buffer(handle, size, 1),
                buffer(&list, Dtype::F32, 1),
                page,
                kind,
            );
        }
    }
    Ok(())
}

/// Tensors to be turned by their positions.
#[derive(Debug, Clone)]
pub struct TurnBindings {
    /// `[batch, heads, n, dim]`.
    pub x: Handle,
    /// Where they lie.
    pub layout: Layout,
    /// Cosine and sine of every position and pair, in `f32`.
    pub table: Handle,
    /// The first position of every sequence.
    pub starts: Vec<u32>,
}

/// Enqueues `x` turned by its positions into a contiguous tensor.
///
/// # Errors
/// [`Error::Shape`] for a tensor that has not four axes, or starts that are not its sequences';
/// [`Error::Length`] for a position behind the table, an odd head, or a buffer that is too short,
/// [`Error::Strides`] if the numbers of a head are not adjacent, [`Error::Limit`] for too large a grid.
pub fn turn_launch(
    client: &Client,
    bindings: &TurnBindings,
    out: &Handle,
    (op, dtype): (&'static str, Dtype),
    limits: &Limits,
) -> Result<()> {
    let TurnBindings { x, layout, table, starts } = bindings;
    let found = || layout.shape().to_vec();
    let Ok([batch, heads, len, dim]) = <[usize; 4]>::try_from(layout.shape()) else {
        return Err(Error::Shape { op, argument: "x", expected: vec![1; 4], found: found() });
    };
    if starts.len() != batch {
        let (expected, found) = (vec![batch], vec![starts.len()]);
        return Err(Error::Shape { op, argument: "starts", expected, found });
    }
    if dim == 0 || !dim.is_multiple_of(2) {
        let expected = "even along the last axis";
        return Err(Error::Length { op, argument: "x", expected, found: dim });
    }
    if layout.strides()[3] != 1 {
        let (expected, found) = ("be 1 along the last axis", layout.strides().to_vec());
        return Err(Error::Strides { op, argument: "x", expected, found });
    }
    let last = starts.iter().max().map_or(0, |&start| start as usize).saturating_add(len);
    holds(op, "table", table, (Dtype::F32, 1), last.saturating_mul(dim))?;
    holds(op, "x", x, (dtype, 1), layout.end().unwrap_or(usize::MAX))?;
    holds(op, "out", out, (dtype, 1), layout.len())?;
    if layout.is_empty() {
        return Ok(());
    }
    let list: Vec<u8> = starts.iter().flat_map(|start| start.to_ne_bytes()).collect();
    let units = if limits.serial { 1 } else { UNITS.min(limits.units_per_cube) };
    // SAFETY: the lines above have compared, by `holds`, the buffers with the layout and the table with the
    // positions.
    unsafe {
        turn::launch_unchecked(
            client,
            count(grid(op, layout.len().div_ceil(units), limits)?),
            CubeDim::new_1d(units as u32),
            buffer(x, dtype, 1),
            buffer(table, Dtype::F32, 1),
            buffer(&client.create_from_slice(&list), Dtype::F32, 1),
            buffer(out, dtype, 1),
            Place::launch(&Steps::of(layout, 1)),
            heads,
            len,
            batch * heads * len,
            dim,
            elem_type(dtype),
        );
    }
    Ok(())
}

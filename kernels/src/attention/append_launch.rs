//! Plans and launches of what changes a cache: writes, copies of pages, and turning by position.

use cubecl::{
    client::Client,
    ir::{ElemType, UIntKind},
    prelude::*,
    server::Handle,
};
use wavecube_core::{Dtype, Error, Layout, Limits, Result};

use super::{
    append::{FreshLaunch, copy_pages, copy_words, shift, turn, write, write_first},
    geometry::{GeometryLaunch, Place},
    plan::Steps,
    problem::{FIRST, GROUP, Storage},
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
/// Buffers of the kernel that binds most: new keys, angles, tables, codes and scales.
const BUFFERS: usize = 5;

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
        limits.check_bindings(op, BUFFERS)?;
        let lanes = if dim.is_multiple_of(4) { 4 } else { 1 };
        let rows = (limits.shared_bytes / (4 * dim)).clamp(1, ROWS);
        let tile = TileConfig { rows, ..TileConfig::one(dim, lanes, storage) };
        Ok(Self { problem: *problem, tile, numbers: numbers.unwrap_or(0), limits: *limits })
    }

    /// Words of the scales of keys, and of those of values.
    fn scale_words(&self) -> usize {
        self.numbers / GROUP
    }

    /// Words of a block of first keys.
    fn block_words(&self) -> usize {
        self.problem.kv_heads * (FIRST + 1) * self.problem.dim
    }

    /// Whether keys and values are quantised, so that the first keys of sequences lie in blocks.
    pub fn quantises(&self) -> bool {
        self.problem.storage != Storage::Float
    }

    /// Memory for scales and `blocks` blocks of first keys; at least one, so that there is something to bind.
    fn scales(&self, client: &Client, blocks: usize) -> Result<Handle> {
        let words = self.block_words().saturating_mul(blocks.max(1));
        let bytes = words.saturating_add(2 * self.scale_words()).saturating_mul(4);
        self.limits.check_buffer(self.problem.op, bytes as u64)?;
        Ok(client.empty(bytes))
    }

    /// An empty pool; where it quantises, with room for the first keys of `blocks` sequences.
    ///
    /// # Errors
    /// [`Error::Limit`] if a buffer exceeds the device.
    pub fn pool(&self, client: &Client, blocks: usize) -> Result<Pool> {
        let CacheProblem { dtype, storage, .. } = self.problem;
        let bytes = (self.numbers * storage.bits(dtype)).div_ceil(8).next_multiple_of(4);
        let scales = if self.quantises() { Some(self.scales(client, blocks)?) } else { None };
        Ok(Pool { k: client.empty(bytes), v: client.empty(bytes), scales })
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
    /// The scales of quantised keys and values and the first keys, as
    /// [`AttentionBindings`](super::AttentionBindings) has them.
    pub scales: Option<Handle>,
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
    /// In 32 bits: how many tokens of each sequence are new, how many there are with them, its pages, and its block of
    /// first keys where they are quantised.
    pub tables: Handle,
    /// Pages of a sequence in the tables.
    pub pages: usize,
    /// The positions of the new tokens of each sequence, as the tables have them: the first, and behind the last.
    pub positions: Vec<[usize; 2]>,
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
        if self.positions.len() != shape[0] {
            let (expected, found) = (vec![shape[0]], vec![self.positions.len()]);
            return Err(Error::Shape { op, argument: "positions", expected, found });
        }
        let blocks = usize::from(plan.quantises());
        holds(op, "tables", &self.tables, (Dtype::F32, 1), shape[0] * (2 + self.pages + blocks))
    }

    /// The sizes, with `tokens` of every sequence at most.
    fn geometry(&self, plan: &CachePlan, tokens: usize) -> GeometryLaunch {
        let CacheProblem { kv_heads, page_size, .. } = plan.problem;
        let shape = self.layout.shape();
        let target = || Place::launch(&Steps::of(&plan.layout(), plan.tile.lanes));
        GeometryLaunch::new(
            shape[0],
            kv_heads,
            kv_heads,
            tokens,
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
            0,
            1,
            1.0,
            0.0,
            0,
            0,
            0,
            0,
            f32::NEG_INFINITY,
            f32::NAN,
        )
    }

    fn launch<N: Float>(&self, client: &Client, plan: &CachePlan, is_key: bool) -> FreshLaunch<N> {
        let spare = client.create_from_slice(&[0; 16]);
        let scales = if is_key { 0 } else { plan.scale_words() };
        let numbers = |handle: Option<&Handle>| buffer(handle.unwrap_or(&spare), Dtype::F32, 1);
        FreshLaunch::new(
            buffer(&self.x, plan.problem.dtype, 1),
            numbers(self.table.as_ref()),
            usize::from(self.table.is_some()),
            numbers(Some(&self.tables)),
            scales,
            2 * plan.scale_words(),
        )
    }

    /// Rows of all sequences and heads with so many tokens.
    fn rows(&self, tokens: usize) -> usize {
        self.layout.shape()[..2].iter().product::<usize>() * tokens
    }

    /// How many of a sequence's new tokens are among its first at most.
    fn first_tokens(&self) -> usize {
        let of = |&[start, end]: &[usize; 2]| end.min(FIRST).saturating_sub(start);
        self.positions.iter().map(of).max().unwrap_or(0).min(self.layout.shape()[2])
    }

    /// Whether a sequence has all its first tokens by now, and had not before.
    fn completes(&self) -> bool {
        self.positions.iter().any(|&[start, end]| start < FIRST && end >= FIRST)
    }

    /// Whether a new token is behind the first.
    fn goes_on(&self) -> bool {
        self.positions.iter().any(|&[_, end]| end > FIRST)
    }
}

/// Enqueues the write of new keys that are among the first of their sequences, and the shift of those behind where they
/// are complete.
fn first_launch(
    client: &Client,
    scales: &Handle,
    fresh: &FreshBindings,
    plan: &CachePlan,
) -> Result<()> {
    let CacheProblem { op, kv_heads, dim, dtype, .. } = plan.problem;
    let (tokens, tile) = (fresh.first_tokens(), plan.tile);
    let rows = fresh.rows(tokens);
    if rows == 0 {
        return Ok(());
    }
    let units = plan.units(tile.rows * tile.vectors());
    // SAFETY: `write_launch` has compared the buffers with the layout by `FreshBindings::check`; `CachePlan::pool` made
    // room for every block, and whoever made the tables keeps its blocks within it.
    unsafe {
        write_first::launch_unchecked(
            client,
            count(grid(op, rows.div_ceil(tile.rows), &plan.limits)?),
            CubeDim::new_1d(units as u32),
            tile.lanes,
            fresh.launch(client, plan, true),
            buffer(scales, Dtype::F32, 1),
            fresh.geometry(plan, tokens),
            tile,
            elem_type(dtype),
        );
    }
    if !fresh.completes() {
        return Ok(());
    }
    let channels = fresh.positions.len() * kv_heads * dim;
    let units = plan.units(channels);
    // SAFETY: as above, by `FreshBindings::check`; the kernel keeps to the channels of the sequences' blocks.
    unsafe {
        shift::launch_unchecked(
            client,
            count(grid(op, channels.div_ceil(units), &plan.limits)?),
            CubeDim::new_1d(units as u32),
            buffer(scales, Dtype::F32, 1),
            buffer(&fresh.tables, Dtype::F32, 1),
            fresh.geometry(plan, tokens),
            2 * plan.scale_words(),
            tile,
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
    let (tokens, tile) = (fresh.layout.shape()[2], plan.tile);
    let rows = fresh.rows(tokens);
    let CacheProblem { op, dtype, storage, .. } = plan.problem;
    if rows == 0 {
        return Ok(());
    }
    if let Some(scales) = pool.scales.as_ref().filter(|_| is_key) {
        first_launch(client, scales, fresh, plan)?;
        if !fresh.goes_on() {
            return Ok(());
        }
    }
    let (target_type, target_lanes) = match storage {
        Storage::Float => (elem_type(dtype), tile.lanes),
        _ => (ElemType::UInt(UIntKind::U32), 1),
    };
    let target = if is_key { &pool.k } else { &pool.v };
    let stored = if storage == Storage::Float { dtype } else { Dtype::F32 };
    let spare = client.empty(4);
    let scales = pool.scales.as_ref().unwrap_or(&spare);
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
            fresh.launch(client, plan, is_key),
            buffer(target, stored, target_lanes),
            buffer(scales, Dtype::F32, 1),
            fresh.geometry(plan, tokens),
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
    let numbers = plan.numbers / pages;
    let (page, kind, size) = match storage {
        Storage::Float => (numbers, elem_type(dtype), dtype),
        _ => (numbers * storage.bits(dtype) / 32, WORD, Dtype::F32),
    };
    let parts = [(&pool.k, page, 0), (&pool.v, page, 0)];
    let groups = numbers / GROUP;
    copy_launch(client, &parts, pairs, (kind, size), plan)?;
    if let Some(scales) = &pool.scales {
        let parts = [(scales, groups, 0), (scales, groups, plan.scale_words())];
        copy_launch(client, &parts, pairs, (WORD, Dtype::F32), plan)?;
    }
    Ok(())
}

/// Enqueues copies of blocks of first keys: pairs of a block and the block it goes to, of the `blocks` there are.
///
/// # Errors
/// [`Error::Length`] for a block that there is not, [`Error::Limit`] if the grid exceeds the device.
pub fn copy_blocks_launch(
    client: &Client,
    pool: &Pool,
    pairs: &[[u32; 2]],
    blocks: usize,
    plan: &CachePlan,
) -> Result<()> {
    let Some(scales) = &pool.scales else { return Ok(()) };
    let words = 2 * plan.scale_words() + blocks.saturating_mul(plan.block_words());
    let op = plan.problem.op;
    holds(op, "scales", scales, (Dtype::F32, 1), words)?;
    if let Some(block) = pairs.iter().flatten().find(|&&block| block as usize >= blocks) {
        let (expected, found) = ("below the number of blocks", *block as usize);
        return Err(Error::Length { op, argument: "pairs", expected, found });
    }
    let parts = [(scales, plan.block_words(), 2 * plan.scale_words())];
    copy_launch(client, &parts, pairs, (WORD, Dtype::F32), plan)
}

/// The type of codes and scales.
const WORD: ElemType = ElemType::UInt(UIntKind::U32);

/// Enqueues copies within buffers, each of pages of so many numbers that begin behind others. The caller has compared
/// the pairs with what there is.
fn copy_launch(
    client: &Client,
    parts: &[(&Handle, usize, usize)],
    pairs: &[[u32; 2]],
    (kind, size): (ElemType, Dtype),
    plan: &CachePlan,
) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    let list: Vec<u8> = pairs.iter().flatten().flat_map(|page| page.to_ne_bytes()).collect();
    let list = client.create_from_slice(&list);
    for &(handle, page, offset) in parts {
        let units = plan.units(page);
        let cubes = grid(plan.problem.op, (pairs.len() * page).div_ceil(units), &plan.limits)?;
        // SAFETY: `copy_pages_launch` and `copy_blocks_launch` have compared the pairs with the pages of the pool,
        // `CachePlan::pool` made room for all of them, and the kernel keeps to the numbers of the pages listed.
        unsafe {
            copy_pages::launch_unchecked(
                client,
                count(cubes),
                CubeDim::new_1d(units as u32),
                buffer(handle, size, 1),
                buffer(&list, Dtype::F32, 1),
                page,
                offset,
                kind,
            );
        }
    }
    Ok(())
}

/// Enqueues a copy of a pool's scales and first keys into a larger buffer, with room for `blocks` sequences, which takes
/// their place.
///
/// # Errors
/// [`Error::Limit`] if it exceeds the device; then nothing has changed.
pub fn grow_launch(
    client: &Client,
    pool: &mut Pool,
    blocks: usize,
    plan: &CachePlan,
) -> Result<()> {
    let Some(scales) = &mut pool.scales else { return Ok(()) };
    let larger = plan.scales(client, blocks)?;
    let words = (scales.size_in_used() / 4).min(larger.size_in_used() / 4) as usize;
    let units = plan.units(words);
    // SAFETY: the kernel keeps below `words`, which both buffers have.
    unsafe {
        copy_words::launch_unchecked(
            client,
            count(grid(plan.problem.op, words.div_ceil(units), &plan.limits)?),
            CubeDim::new_1d(units as u32),
            buffer(scales, Dtype::F32, 1),
            buffer(&larger, Dtype::F32, 1),
            words,
        );
    }
    *scales = larger;
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

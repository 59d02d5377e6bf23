//! Device code of Bluestein's convolution in two turns of `n` points where the signal is a few points longer.
//! It folds: point `n + b` goes to point `b` of each turn, with the turn's sign, and comes back from it. And
//! it wraps around: points `b` and `n + c` that are further apart than `n` are multiplied with the kernel at
//! a shorter distance, and what that lacks is added to the results.

#![allow(clippy::needless_pass_by_value, reason = "values known at compile time pass by value")]

use cubecl::prelude::*;

use super::{
    butterfly::Registers,
    ends::{Bundle, Frame, Row, behind_twiddles, load_point, multiply_by, store_points},
    pass::PassConfig,
};

/// The results that the first butterflies of a unit, one for each lane, have beyond those of a turn; nothing
/// where no convolution wraps around.
#[derive(CubeType)]
pub(super) struct Wrap<F: Float> {
    /// The results `n + b`.
    far: Registers<F>,
    /// What the results `b` lack, and the results `n + b`.
    near_lack: Registers<F>,
    far_lack: Registers<F>,
}

/// Works out what results lack: before any is written, so that a transform may be in place.
#[cube]
pub(super) fn wrap_of<I: Float, F: Float, N: Size>(
    b: usize,
    row: &Row,
    source: &[Vector<I, N>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) -> Wrap<F> {
    let lanes = comptime!(if config.wrapped { config.lanes } else { 0 });
    let mut near_lack = Registers::<F>::new(lanes);
    let mut far_lack = Registers::<F>::new(lanes);
    #[unroll]
    for lane in 0..lanes {
        lacking::<I, F, N>(
            &mut near_lack,
            lane,
            b + lane,
            false,
            row,
            source,
            frame,
            config.clone(),
        );
        lacking::<I, F, N>(&mut far_lack, lane, b + lane, true, row, source, frame, config.clone());
    }
    Wrap::<F> { far: Registers::<F>::new(lanes), near_lack, far_lack }
}

/// Sets register `slot` to what result `b` lacks of the points `n + b + 1 …`, or if `far` result `n + b` of the
/// points `b − 1 … 0`. The table is of the distances from `n` on.
#[cube]
fn lacking<I: Float, F: Float, N: Size>(
    lack: &mut Registers<F>,
    #[comptime] slot: usize,
    b: usize,
    #[comptime] far: bool,
    row: &Row,
    source: &[Vector<I, N>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let begin = comptime!(behind_twiddles(&config));
    // The chirp's table, which every convolution of Bluestein's has on the way in, is the next one.
    let beyond = frame.geometry.table_begins[0usize] - begin;
    let end = if comptime!(far) { select(b < beyond, b + 1, 0usize) } else { max(beyond, b) - b };
    let mut re = F::new(0.0);
    let mut im = F::new(0.0);
    for distance in 1..end {
        let point = if comptime!(far) { b - distance } else { b + distance + comptime!(config.n) };
        let mut x = Registers::<F>::new(1usize);
        load_point::<I, F, N>(&mut x, 0usize, point, row, source, frame, config.clone());
        multiply_by::<F>(&mut x, 0usize, frame.tables[distance + begin], false);
        re += x.re[0usize];
        im += x.im[0usize];
    }
    lack.set(slot, re, im);
}

/// Adds points `n + b` to points `b` of turn 0, and takes them from those of turn 1.
#[cube]
pub(super) fn fold<I: Float, F: Float, N: Size>(
    x: &mut Registers<F>,
    #[comptime] step: usize,
    b: usize,
    #[comptime] turn: usize,
    row: &Row,
    source: &[Vector<I, N>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    #[unroll]
    for lane in 0..comptime!(config.lanes) {
        let point = b + comptime!(lane + config.n);
        let mut far = Registers::<F>::new(1usize);
        load_point::<I, F, N>(&mut far, 0usize, point, row, source, frame, config.clone());
        let (re, im) = (far.re[0usize], far.im[0usize]);
        if comptime!(turn == 0) {
            x.add(comptime!(lane * step), re, im);
        } else {
            x.add(comptime!(lane * step), -re, -im);
        }
    }
}

#[cube]
impl<F: Float> Wrap<F> {
    /// Takes result `n + b` of both turns, whose parts have the turn's sign.
    pub(super) fn unfold(&mut self, #[comptime] lane: usize, even: (F, F), odd: (F, F)) {
        self.far.set(lane, even.0 - odd.0, even.1 - odd.1);
    }
}

/// Adds what they lack to the results of the first butterflies, and stores those beyond a turn.
#[cube]
pub(super) fn complete<O: Float, F: Float, N: Size>(
    wrap: &mut Wrap<F>,
    x: &mut Registers<F>,
    #[comptime] step: usize,
    taken: &Bundle,
    row: &Row,
    target: &mut [Vector<O, N>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    #[unroll]
    for lane in 0..comptime!(config.lanes) {
        x.add(comptime!(lane * step), wrap.near_lack.re[lane], wrap.near_lack.im[lane]);
        wrap.far.add(lane, wrap.far_lack.re[lane], wrap.far_lack.im[lane]);
    }
    let n = comptime!(config.n);
    store_points::<O, F, N>(&mut wrap.far, 0usize, 1usize, taken, n, row, target, frame, config);
}

//! Causal convolutions, a position at a time.

use burn::tensor::Tensor;
use wavecube_core::{Error, Result};

use super::{State, complex::Complex};
use crate::bridge::causal_convolution;

/// Positions whose products are summed one by one.
const BLOCK: usize = 16;

/// The state of [`causal_convolution`] with a fixed filter: positions go in and results come out one by
/// one, the same as all at once.
///
/// Within a block of 16 positions the products are summed as they come. When a block ends, its effect on
/// what follows is added up by Fourier transforms, of that block alone or of the last 2, 4, 8 … blocks
/// where the number of blocks is a multiple of that, on as many positions as they are: every pair of
/// positions meets once, at `O(log² n)` operations a position (van der Hoeven, *Relax, but don't be too
/// lazy*, 2002, section 4).
#[derive(Debug, Clone)]
pub struct CausalStream {
    /// `[channels, taps, 2]`.
    filter: Tensor<3>,
    /// The taps of the last block, latest first, `[1, channels, BLOCK]`.
    recent: Complex<3>,
    /// `[batch, channels, capacity, 2]`.
    taken: Tensor<4>,
    /// What the positions of complete blocks add to those that follow.
    pending: Tensor<4>,
    position: usize,
}

impl State for CausalStream {
    fn rows(&mut self) -> Vec<&mut Tensor<4>> {
        vec![&mut self.taken, &mut self.pending]
    }
}

impl CausalStream {
    /// An empty past of `batch` sequences for the filters `[channels, taps, 2]`, and room for `capacity`
    /// positions.
    pub fn new(filter: Tensor<3>, batch: usize, capacity: usize) -> Self {
        let [channels, taps, _] = filter.dims();
        let like = (&filter.device(), filter.dtype());
        let near = filter.clone().narrow(1, 0, taps.min(BLOCK));
        let nothing = Tensor::zeros([channels, BLOCK - taps.min(BLOCK), 2], like);
        let near = if taps < BLOCK { Tensor::cat(vec![near, nothing], 1) } else { near };
        let recent = Complex::<3>::from_pairs(&near.flip([1]).unsqueeze::<4>());
        let taken = Tensor::zeros([batch, channels, capacity, 2], like);
        Self { filter, recent, pending: taken.clone(), taken, position: 0 }
    }

    /// How many positions have been taken.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The result at the next position, both `[batch, channels, 1, 2]`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for another shape, [`Error::Limit`] when there is no room left; then nothing
    /// changes.
    pub fn push(&mut self, x: Tensor<4>) -> Result<Tensor<4>> {
        const OP: &str = "CausalStream::push";
        let [batch, channels, capacity, _] = self.taken.dims();
        let expected = vec![batch, channels, 1, 2];
        if x.dims()[..] != expected {
            let found = x.dims().to_vec();
            return Err(Error::Shape { op: OP, argument: "x", expected, found });
        }
        let t = self.position;
        if t == capacity {
            let (available, required) = (capacity as u64, capacity as u64 + 1);
            return Err(Error::Limit { op: OP, resource: "positions", available, required });
        }
        let here = [0..batch, 0..channels, t..t + 1, 0..2];
        self.taken = self.taken.clone().slice_assign(here.clone(), x);
        let since = t % BLOCK + 1;
        let block = Complex::<3>::from_pairs(&self.taken.clone().narrow(2, t + 1 - since, since));
        let taps = self.recent.clone().map(|part| part.narrow(2, BLOCK - since, since));
        let taps = taps.map(|part| part.expand([batch, channels, since]));
        let sum = block.times(&taps).map(|part| part.sum_dim(2));
        let y = self.pending.clone().slice(here) + sum.into_pairs();
        self.position += 1;
        if self.position.is_multiple_of(BLOCK) {
            self.pass_on()?;
        }
        Ok(y)
    }

    /// Adds what the last complete blocks do to as many positions behind them.
    fn pass_on(&mut self) -> Result<()> {
        let [batch, channels, capacity, _] = self.taken.dims();
        let end = self.position;
        let len = 1 << end.trailing_zeros();
        let reach = len.min(capacity - end);
        if reach == 0 {
            return Ok(());
        }
        let past = self.taken.clone().narrow(2, end - len, len);
        let ahead = Tensor::zeros([batch, channels, reach, 2], (&past.device(), past.dtype()));
        let y = causal_convolution(Tensor::cat(vec![past, ahead], 2), self.filter.clone())?;
        let there = [0..batch, 0..channels, end..end + reach, 0..2];
        let sum = self.pending.clone().slice(there.clone()) + y.narrow(2, len, reach);
        self.pending = self.pending.clone().slice_assign(there, sum);
        Ok(())
    }
}

//! Causal convolutions that go on.

use burn::tensor::{Device, Tensor, TensorData};
use num_complex::Complex64;
use wavecube_burn::causal_convolution;
use wavecube_core::{Error, Result};

use super::{State, complex::Complex};

/// Positions whose products are summed one by one.
const BLOCK: usize = 16;

/// The state of [`causal_convolution`] with a fixed filter: positions go in and results come out, one by one or
/// several, the same as all at once.
///
/// Within a block of 16 positions the products are summed as they come. When a block ends, its effect on
/// what follows is added up by Fourier transforms, of that block alone or of the last 2, 4, 8 … blocks
/// where the number of blocks is a multiple of that, on as many positions as they are: every pair of
/// positions meets once, at `O(log² n)` operations a position (van der Hoeven, *Relax, but don't be too
/// lazy*, 2002, section 4). Several positions take one transform of all so far for their results, and one for each
/// block whose effect reaches beyond them; what is kept is the same.
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

    /// The results at the next positions, both `[batch, channels, time, 2]`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for another shape or no positions, [`Error::Limit`] when there is no room left; then nothing
    /// changes.
    pub fn push(&mut self, x: Tensor<4>) -> Result<Tensor<4>> {
        const OP: &str = "CausalStream::push";
        let [batch, channels, capacity, _] = self.taken.dims();
        let time = x.dims()[2];
        let expected = vec![batch, channels, time.max(1), 2];
        if x.dims()[..] != expected {
            let found = x.dims().to_vec();
            return Err(Error::Shape { op: OP, argument: "x", expected, found });
        }
        let (t, end) = (self.position, self.position + time);
        if end > capacity {
            let (available, required) = (capacity as u64, end as u64);
            return Err(Error::Limit { op: OP, resource: "positions", available, required });
        }
        let here = [0..batch, 0..channels, t..end, 0..2];
        self.taken = self.taken.clone().slice_assign(here.clone(), x);
        self.position = end;
        if time > 1 {
            return self.catch_up(time);
        }
        let since = t % BLOCK + 1;
        let block = Complex::<3>::from_pairs(&self.taken.clone().narrow(2, end - since, since));
        let taps = self.recent.clone().map(|part| part.narrow(2, BLOCK - since, since));
        let taps = taps.map(|part| part.expand([batch, channels, since]));
        let sum = block.times(&taps).map(|part| part.sum_dim(2));
        let y = self.pending.clone().slice(here) + sum.into_pairs();
        if end.is_multiple_of(BLOCK) {
            self.pass_on(end)?;
        }
        Ok(y)
    }

    /// The results at the last `time` positions, and what is pending after them.
    fn catch_up(&mut self, time: usize) -> Result<Tensor<4>> {
        let end = self.position;
        let y = causal_convolution(self.taken.clone().narrow(2, 0, end), self.filter.clone())?;
        self.pending = self.pending.zeros_like();
        // The blocks that reach beyond the end: the last one, the last before that which are twice as many, and so on.
        let mut passed = end - end % BLOCK;
        while passed > 0 {
            self.pass_on(passed)?;
            passed &= passed - 1;
        }
        Ok(y.narrow(2, end - time, time))
    }

    /// Adds what the complete blocks that end at `end` do to as many positions behind them.
    fn pass_on(&mut self, end: usize) -> Result<()> {
        let [batch, channels, capacity, _] = self.taken.dims();
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

/// A [`CausalStream`] between two chirps, the same for all channels: the state of a causal linear canonical transform.
#[derive(Debug, Clone)]
pub struct ChirpedStream {
    stream: CausalStream,
    /// `[1, 1, capacity, 2]` each.
    chirps: [Tensor<4>; 2],
}

impl State for ChirpedStream {
    fn rows(&mut self) -> Vec<&mut Tensor<4>> {
        self.stream.rows()
    }
}

impl ChirpedStream {
    /// An empty past of `[batch, channels]` lines for the first chirp, the filter and the last chirp, and room for as
    /// many positions as those have.
    pub fn new(
        [first, filter, last]: &[Vec<Complex64>; 3],
        [batch, channels]: [usize; 2],
        device: &Device,
    ) -> Self {
        let table = |values: &[Complex64]| {
            let parts = values.iter().flat_map(|value| [value.re as f32, value.im as f32]);
            let data = TensorData::new(parts.collect::<Vec<_>>(), [1, 1, values.len(), 2]);
            Tensor::<4>::from_data(data, device)
        };
        let filter = table(filter).squeeze_dim::<3>(0).repeat_dim(0, channels);
        let stream = CausalStream::new(filter, batch, first.len());
        Self { stream, chirps: [table(first), table(last)] }
    }

    /// The transform at the next positions, both `[batch, channels, time, 2]`.
    ///
    /// # Errors
    ///
    /// Those of [`CausalStream::push`].
    pub fn push(&mut self, x: Tensor<4>) -> Result<Tensor<4>> {
        let (at, time) = (self.stream.position(), x.dims()[2]);
        // Beyond the end the stream says that there is no room.
        let room = time.min(self.chirps[0].dims()[2] - at);
        let chirped = |x: Tensor<4>, chirp: &Tensor<4>| {
            let chirp = Complex::<3>::from_pairs(&chirp.clone().narrow(2, at, room));
            Complex::<3>::from_pairs(&x).times(&chirp).into_pairs()
        };
        let x = if room == time { chirped(x, &self.chirps[0]) } else { x };
        Ok(chirped(self.stream.push(x)?, &self.chirps[1]))
    }
}

//! What layers keep of texts, so that a model goes on from a text instead of running over it again.
//!
//! | mixing of positions | what it keeps of a text of `n` positions | operations of the next position |
//! |---|---|---|
//! | attention | keys and values of all, in pages where the device has them ([`Cache`](wavecube_burn::Cache)) | `O(n)` |
//! | left half of a resolvent | the last value of every operator | `O(1)` |
//! | blocked resolvent | the inputs since the last block that was seen, and that block's results | `O(1)`, block by block |
//! | filters along the sequence | inputs, and what complete blocks add to later positions ([`CausalStream`](super::CausalStream)) | `O(log² n)` |
//! | transform along the sequence | the same between two chirps ([`ChirpedStream`](super::ChirpedStream)) | `O(log² n)` |
//! | scales | a position without a partner, and what the last pair adds to the next position | `O(1)`, every second time |
//! | transform of channels, networks, experts, halting | nothing | `O(1)` |
//!
//! All are exact: what goes on is what the whole text gives, to rounding (and to what a cache of fewer bits drops). No state
//! outlives the context of its model: a text longer than that is seen by its last bytes alone, whose positions all move with
//! every byte, so the model runs over them again. A two-sided resolvent and filters that wrap around, which no model here
//! takes, depend on what is still to come and have no state.

use burn::tensor::{Device, Tensor};
use wavecube_burn::{CacheType, indices};
use wavecube_core::Result;

/// What a past is to have room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Texts at a time.
    pub texts: usize,
    /// Positions of a text, at most the context of the model.
    pub positions: usize,
    /// How keys and values are stored, where there are any.
    pub cache: CacheType,
}

/// What a layer keeps of the positions so far, of one sequence or several.
pub trait State {
    /// All that it keeps, a row for each sequence.
    fn rows(&mut self) -> Vec<&mut Tensor<4>>;
}

/// What the layers of a model keep of the positions so far, a state for each in the order in which they run.
#[derive(Debug, Clone, Default)]
pub struct Past<S> {
    pub(crate) states: Vec<S>,
    pub(crate) len: usize,
}

/// What a model keeps of the bytes that it has seen, of several texts of one length.
pub trait ModelPast: Sized {
    /// How many bytes it has seen of each.
    fn len(&self) -> usize;

    /// Whether it has seen nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps these texts alone, in this order.
    fn select(&mut self, texts: &[usize], device: &Device);

    /// Adds the texts of `other`, of the same model and with as many bytes.
    ///
    /// # Errors
    ///
    /// When the device has no capacity for all of them.
    fn join(&mut self, other: Self) -> Result<()>;
}

impl<S: State> ModelPast for Past<S> {
    fn len(&self) -> usize {
        self.len
    }

    fn select(&mut self, sequences: &[usize], device: &Device) {
        let indices = indices(sequences, device);
        for rows in self.states.iter_mut().flat_map(State::rows) {
            *rows = rows.clone().select(0, indices.clone());
        }
    }

    fn join(&mut self, mut other: Self) -> Result<()> {
        let more = other.states.iter_mut().flat_map(State::rows);
        for (rows, more) in self.states.iter_mut().flat_map(State::rows).zip(more) {
            *rows = Tensor::cat(vec![rows.clone(), more.clone()], 0);
        }
        Ok(())
    }
}

//! What layers keep of texts.

use burn::tensor::{Device, Int, Tensor, TensorData};

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

impl<S: State> Past<S> {
    /// How many positions it has seen.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has seen nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps these sequences alone, in this order.
    pub(crate) fn select(&mut self, sequences: &[usize], device: &Device) {
        let indices: Vec<i32> = sequences.iter().map(|&index| index as i32).collect();
        let indices =
            Tensor::<1, Int>::from_data(TensorData::new(indices, [sequences.len()]), device);
        for rows in self.states.iter_mut().flat_map(State::rows) {
            *rows = rows.clone().select(0, indices.clone());
        }
    }

    /// Adds the sequences of `other`, which has seen as many positions.
    pub(crate) fn join(&mut self, mut other: Self) {
        let more = other.states.iter_mut().flat_map(State::rows);
        for (rows, more) in self.states.iter_mut().flat_map(State::rows).zip(more) {
            *rows = Tensor::cat(vec![rows.clone(), more.clone()], 0);
        }
    }
}

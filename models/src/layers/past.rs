//! What layers keep of a text.

/// What the layers of a model keep of the positions so far, a state for each in the order in which they run.
#[derive(Debug, Clone, Default)]
pub struct Past<S> {
    pub(crate) states: Vec<S>,
    pub(crate) len: usize,
}

impl<S> Past<S> {
    /// How many positions it has seen.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has seen nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

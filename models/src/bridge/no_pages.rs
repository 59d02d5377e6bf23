//! No pages: a build without kernels, or one that defers them, which an order of writes does not survive.

use burn::tensor::Tensor;
use wavecube_core::Result;

use super::{Bias, CacheConfig};

/// There are none.
#[derive(Debug, Clone)]
pub(super) enum Pages {}

impl Pages {
    pub(super) fn new(_: &CacheConfig, _: &Tensor<2>) -> Option<Result<Self>> {
        None
    }

    pub(super) fn append(&mut self, _: usize) -> Result<()> {
        match *self {}
    }

    pub(super) fn attend(&self, _: usize, _: [Tensor<4>; 3], _: Bias) -> Result<Tensor<4>> {
        match *self {}
    }

    pub(super) fn select(&mut self, _: &[usize]) {
        match *self {}
    }

    pub(super) fn join(&mut self, _: Self) -> Result<()> {
        match *self {}
    }
}

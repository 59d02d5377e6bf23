//! No pages: a build without kernels, or one that defers them, which an order of writes does not survive.

use burn::tensor::Tensor;
use wavecube_core::Result;

use crate::{Attention, CacheConfig};

/// There are none.
#[derive(Debug, Clone)]
pub(crate) enum Pages {}

impl Pages {
    pub(crate) fn new(_: &CacheConfig, _: &Tensor<2>) -> Option<Result<Self>> {
        None
    }

    pub(crate) fn append(&mut self, _: usize) -> Result<()> {
        match *self {}
    }

    pub(crate) fn attend(&self, _: usize, _: [Tensor<4>; 3], _: &Attention) -> Result<Tensor<4>> {
        match *self {}
    }

    pub(crate) fn select(&mut self, _: &[usize]) {
        match *self {}
    }

    pub(crate) fn join(&mut self, _: Self) -> Result<()> {
        match *self {}
    }
}

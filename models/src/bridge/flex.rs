//! Flex, Burn's CPU backend: the plain bodies.

use burn::backend::Flex;

use super::{FftBackend, LctBackend};

impl FftBackend for Flex {}
impl LctBackend for Flex {}

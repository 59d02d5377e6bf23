//! Flex, Burn's CPU backend: the plain bodies.

use burn::backend::Flex;

use super::{FftBackend, LctBackend, TridiagBackend};

impl FftBackend for Flex {}
impl LctBackend for Flex {}
impl TridiagBackend for Flex {}

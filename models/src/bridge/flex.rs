//! Flex, Burn's CPU backend: the plain bodies.

use burn::backend::Flex;

use super::{ConvolutionBackend, FftBackend, LctBackend, TridiagBackend};

impl ConvolutionBackend for Flex {}
impl FftBackend for Flex {}
impl LctBackend for Flex {}
impl TridiagBackend for Flex {}

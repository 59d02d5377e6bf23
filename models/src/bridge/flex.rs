//! Flex, Burn's CPU backend: the plain bodies.

use burn::backend::Flex;

use super::{AttentionBackend, ConvolutionBackend, FftBackend, LctBackend, TridiagBackend};

impl AttentionBackend for Flex {}
impl ConvolutionBackend for Flex {}
impl FftBackend for Flex {}
impl LctBackend for Flex {}
impl TridiagBackend for Flex {}

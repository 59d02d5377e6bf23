//! Flex, Burn's CPU backend: the plain bodies.

use burn::backend::Flex;

use super::{
    AttentionBackend, ConvolutionBackend, FftBackend, LctBackend, QmatmulBackend, TridiagBackend,
};

impl AttentionBackend for Flex {}
impl ConvolutionBackend for Flex {}
impl FftBackend for Flex {}
impl LctBackend for Flex {}
impl QmatmulBackend for Flex {}
impl TridiagBackend for Flex {}

//! Flex, Burn's CPU backend: the plain bodies.

use burn::backend::Flex;

use super::{AttentionBackend, FftBackend, LctBackend, TridiagBackend};

impl AttentionBackend for Flex {}
impl FftBackend for Flex {}
impl LctBackend for Flex {}
impl TridiagBackend for Flex {}

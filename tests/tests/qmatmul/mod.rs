//! Quantised matrix products: the packed layout and its files on the host.

mod bindings;
mod catalogue;
mod files;
mod formats;
mod matrix;
mod packed;
mod poison;
mod product;
mod quickest;
mod rejections;
mod scales;

use wavecube::quant::{Bits, Group, ScaleType, Scheme};

const BITS: [Bits; 2] = [Bits::Four, Bits::Eight];
const GROUPS: [Group; 4] = [Group::Of32, Group::Of64, Group::Of128, Group::Channel];
const SCALES: [ScaleType; 3] = [ScaleType::F16, ScaleType::Bf16, ScaleType::F32];

/// Every scheme.
fn schemes() -> impl Iterator<Item = Scheme> {
    let kinds = BITS.into_iter().flat_map(|bits| [(bits, true), (bits, false)]);
    let groups = kinds.flat_map(|kind| GROUPS.map(|group| (kind, group)));
    groups.flat_map(|((bits, symmetric), group)| {
        SCALES.map(|scale| Scheme { bits, symmetric, group, scale })
    })
}

//! The host side of the linear canonical transform against closed forms and dense definitions.

mod causal;
mod czt;
mod eigenbasis;
mod extremes;
mod framed;
mod matrix;
mod sampling;
mod scaled;
mod shear;
mod weighted;
mod weil;

/// The dense definitions that the kernels are tested against as well.
#[expect(
    dead_code,
    unreachable_pub,
    reason = "a module of the unpublished crate of references, which has adjoints too"
)]
#[path = "../../../tests/src/reference/lct.rs"]
mod reference;

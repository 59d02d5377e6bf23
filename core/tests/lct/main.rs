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
#[expect(unreachable_pub, reason = "a module of the unpublished crate of references")]
#[path = "../../../tests/src/reference/lct.rs"]
mod reference;

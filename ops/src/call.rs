//! The names by which errors reach the caller.

use wavecube_core::Error;

/// A name inside an operation, and that of the argument of the call.
type Names = &'static [(&'static str, &'static str)];

/// Of operations on a signal `x`, which says how many points a line has.
pub(crate) const SIGNAL: Names = &[("input", "x"), ("n", "x"), ("n_fft", "x")];
/// Of gradients, linear maps of a single operand `g`.
pub(crate) const GRADIENT: Names = &[("input", "g"), ("x", "g"), ("n", "g"), ("n_fft", "g")];
/// Of an operation on a spectrum `x`, which is told `n`.
pub(crate) const SPECTRUM: Names = &[("input", "x"), ("n_fft", "n")];
/// Of gradients that are told `n`.
pub(crate) const GRADIENT_OF_N: Names = &[("input", "g"), ("x", "g"), ("n_fft", "n")];

/// Makes an error from inside an operation one of the call of `op`.
pub(crate) fn of_call(op: &'static str, names: Names) -> impl Fn(Error) -> Error {
    move |error| error.of_call(op, names)
}

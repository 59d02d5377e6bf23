//! All tests of the operations, in one binary.

mod fft;
mod lct;
mod tidy;

//! `cargo bench --bench convolution`: causal convolutions of 2²⁰ points beside an FFT and its inverse of
//! the padded length.

fn main() {
    wavecube_benches::run("convolution/");
}

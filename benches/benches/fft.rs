//! `cargo bench --bench fft`: Fourier transforms of 2²⁰ points beside cubek-fft and rustfft, other lengths beside our own
//! power of two.

fn main() {
    wavecube_benches::run("fft/");
}

//! `cargo bench --bench fft`: Fourier transforms of 2²⁰ points beside cubek-fft and rustfft.

fn main() {
    let mut criterion = wavecube_benches::criterion();
    wavecube_benches::run(&mut criterion, "fft/", &wavecube_testing::catalogue::cases());
    criterion.final_summary();
}

//! `cargo bench --bench lct`: linear canonical transforms of 2²⁰ points, those that are one trip through
//! memory beside an FFT and its inverse.

fn main() {
    wavecube_benches::run("lct/");
}

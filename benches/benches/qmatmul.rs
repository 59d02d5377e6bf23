//! `cargo bench --bench qmatmul`: products with quantised weights, beside the same in floats.

fn main() {
    wavecube_benches::run("qmatmul/");
}

//! `cargo bench --bench mixing`: complex numbers element by element, their norm and their linear maps.

fn main() {
    wavecube_benches::run("mixing/");
}

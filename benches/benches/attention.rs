//! `cargo bench --bench attention`: prefill, decoding from caches of every kind, appends, gradients.

fn main() {
    wavecube_benches::run("attention/");
}

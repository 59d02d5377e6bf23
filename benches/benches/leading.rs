//! `cargo bench --bench leading`: the causal form of tridiagonal resolvents and its gradient.

fn main() {
    wavecube_benches::run("leading/");
}

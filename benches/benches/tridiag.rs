//! `cargo bench --bench tridiag`: diagonals of tridiagonal resolvents and their gradients, beside the same
//! recursion with one unit a sequence.

fn main() {
    wavecube_benches::run("tridiag/");
}

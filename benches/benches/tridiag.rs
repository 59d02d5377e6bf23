//! `cargo bench --bench tridiag`: diagonals of tridiagonal resolvents, solutions and their gradients, beside the same
//! recursion with one unit a sequence; solutions with row interchanges beside those without.

fn main() {
    wavecube_benches::run("tridiag/");
}

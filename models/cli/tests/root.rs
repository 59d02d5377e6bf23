//! Tests of the `wavecube` program: what a shell sees of it, comparisons, timings, the report.

mod ablate;
#[path = "../../tests/broken.rs"]
mod broken;
mod demo;
mod failures;
mod memory;
mod program;
mod speed;

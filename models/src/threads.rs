//! How many threads the CPU backend works on.
//!
//! Flex hands parts of an operation to [`rayon`]'s threads. Handing over and waiting costs as much as a small operation
//! does, most of all where the thread that asks is none of the pool's own. So a run works inside a pool of its own: one
//! of a single thread while the model is small, which hands nothing over, and one of a thread a core from the size on
//! at which that is quicker.

use std::thread::available_parallelism;

use burn::tensor::Device;
use rayon::ThreadPoolBuilder;

use crate::error::{Error, Result};

/// Operations of a forward pass from which on all cores together are quicker than one. Two cores in training, in the
/// release profile: 0.95 of one's speed at 0.8e8, 1.03 at 1.5e8, 1.17 at 2.5e8, 1.38 at 1.5e10.
const MANY: f64 = 2e8;
/// What `rayon` reads: so many threads, whatever the size.
const ASKED: &str = "RAYON_NUM_THREADS";
/// As much as the thread that a program begins on has: the backward pass of a deep model is a deep recursion.
const STACK: usize = 8 << 20;

/// How many threads a pass of so many operations is given on the CPU backend.
pub fn threads(operations: f64) -> usize {
    let asked = std::env::var(ASKED).ok().and_then(|count| count.parse().ok());
    match asked.filter(|&count: &usize| count > 0) {
        Some(count) => count,
        None if operations < MANY => 1,
        None => available_parallelism().map_or(1, usize::from),
    }
}

/// Does `work`, whose passes have so many operations each, on as many threads as that is worth: in a pool of its own
/// on flex, and right here on any other device.
///
/// # Errors
///
/// When the threads cannot be started.
pub fn on_threads<R: Send>(
    device: &Device,
    operations: f64,
    work: impl FnOnce() -> R + Send,
) -> Result<R> {
    if device.clone().inner() != Device::flex() {
        return Ok(work());
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads(operations))
        .stack_size(STACK)
        .thread_name(|index| format!("flex {index}"))
        .build()
        .map_err(Error::Threads)?;
    Ok(pool.install(work))
}

//! What became of operations: run as the backend runs them, or by a body that is slower.

use std::{cell::RefCell, collections::BTreeMap};

use wavecube_core::Error;

/// How often an operation ran, on this thread.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Count {
    /// By kernels, or where the host is the device.
    pub ran: u64,
    /// By a slower body, since there is no kernel for such operands on such a device.
    pub fell_back: u64,
    /// Why it fell back last.
    pub reason: Option<Error>,
}

thread_local! {
    static COUNTS: RefCell<BTreeMap<&'static str, Count>> = const { RefCell::new(BTreeMap::new()) };
}

/// How often every operation ran on this thread, gradients among them, by their names; `Cache::attend` is there where
/// keys and values lie in pages.
///
/// Burn runs an operation on the thread that calls it, and its gradient on the thread that calls `backward`; what
/// fusion has deferred is run, and counted, later.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::{Normalization, counts, fft};
///
/// fft(Tensor::<2>::ones([4, 2], &Device::flex()), Normalization::Ortho)?;
/// assert_eq!((counts()["fft"].ran, counts()["fft"].fell_back), (1, 0));
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn counts() -> BTreeMap<&'static str, Count> {
    COUNTS.with_borrow(Clone::clone)
}

pub(crate) fn ran(name: &'static str) {
    COUNTS.with_borrow_mut(|counts| counts.entry(name).or_default().ran += 1);
}

#[cfg(any(feature = "wgpu", feature = "cuda", feature = "cpu"))]
pub(crate) fn fell_back(name: &'static str, reason: Error) {
    COUNTS.with_borrow_mut(|counts| {
        let count = counts.entry(name).or_default();
        count.fell_back += 1;
        count.reason = Some(reason);
    });
}

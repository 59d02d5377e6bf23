//! How much memory a step of training takes at its peak.
//!
//! **On a device of a CubeCL runtime** it is what the runtime has reserved there: memory in use, padding, and pages that
//! are kept for the next tensors. The runtime seldom hands pages back, so this is the most that the program has needed
//! on the device so far, evaluations included, and what has to fit there.
//!
//! **On the CPU backend** it is the most that the program had allocated at once during a step, where it counts that: a
//! program does whose global allocator is [`Counting`], as `wavecube`'s is. Elsewhere on Linux it is the high-water mark
//! of the process's resident set, from its start on; on other systems it is unknown.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use burn::tensor::Device;

/// Bytes that are allocated.
static HELD: AtomicUsize = AtomicUsize::new(0);
/// The most of them at once since the last [`Watch::begin`].
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting.
///
/// ```
/// use wavecube_models::memory::Counting;
///
/// #[global_allocator]
/// static ALLOCATOR: Counting = Counting;
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

fn grew(bytes: usize) {
    let held = HELD.fetch_add(bytes, Relaxed).wrapping_add(bytes);
    // Most allocations are no new peak, and reading is cheaper than exchanging.
    if held > PEAK.load(Relaxed) {
        PEAK.fetch_max(held, Relaxed);
    }
}

fn shrank(bytes: usize) {
    HELD.fetch_sub(bytes, Relaxed);
}

// SAFETY: every call is the system's allocator's, with the arguments of the caller, who keeps its contract; counting
// touches nothing but two numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller's.
        let at = unsafe { System.alloc(layout) };
        if !at.is_null() {
            grew(layout.size());
        }
        at
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller's.
        let at = unsafe { System.alloc_zeroed(layout) };
        if !at.is_null() {
            grew(layout.size());
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(at, layout) };
        shrank(layout.size());
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller's.
        let moved = unsafe { System.realloc(at, layout, size) };
        if !moved.is_null() {
            grew(size);
            shrank(layout.size());
        }
        moved
    }
}

/// The high-water mark of the process's resident set, where the system tells it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Watches what steps on a device take.
#[derive(Debug, Clone)]
pub struct Watch {
    device: Device,
    /// The most of any step since the last [`take`](Self::take), where the program counts.
    counted: usize,
}

impl Watch {
    /// Of steps on `device`.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone().inner(), counted: 0 }
    }

    /// A step begins: what was allocated before and is no more does not count.
    pub fn begin(&self) {
        PEAK.store(HELD.load(Relaxed), Relaxed);
    }

    /// A step is over.
    pub fn end(&mut self) {
        self.counted = self.counted.max(PEAK.load(Relaxed));
    }

    /// The peak in bytes of the steps since the last call, as the [module](self) says for the device, or nothing where it
    /// is unknown. A device is asked, so it waits for what is under way to be submitted.
    pub fn take(&mut self) -> Option<u64> {
        let counted = std::mem::take(&mut self.counted);
        match self.device.memory_pool_usage() {
            Some(usage) => Some(usage.bytes_reserved),
            None if counted > 0 => Some(counted as u64),
            None => resident(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("a size")
    }

    /// This program's allocator does not count, so there is nothing but the calls below.
    #[test]
    fn a_peak_is_what_was_held_at_once() {
        let mut watch = Watch::new(&Device::flex());
        watch.end();
        let resident = watch.take();
        #[cfg(target_os = "linux")]
        assert!(resident.is_some_and(|bytes| bytes > 1 << 20), "{resident:?}");
        // SAFETY: sizes are not 0, and every block goes back once, as large as it was last.
        unsafe {
            let held = Counting.alloc(bytes(1000));
            let passing = Counting.alloc_zeroed(bytes(500));
            Counting.dealloc(passing, bytes(500));
            watch.end();
            assert_eq!(watch.take(), Some(1500));
            watch.begin();
            watch.end();
            watch.begin();
            // While it moves there may be both.
            let held = Counting.realloc(held, bytes(1000), 3000);
            let zeroed = Counting.alloc_zeroed(bytes(8));
            assert_eq!(std::slice::from_raw_parts(zeroed, 8), [0; 8]);
            watch.end();
            watch.begin();
            watch.end();
            assert_eq!((watch.take(), HELD.load(Relaxed)), (Some(4000), 3008));
            Counting.dealloc(held, bytes(3000));
            watch.begin();
            watch.end();
            assert_eq!((watch.take(), HELD.load(Relaxed)), (Some(8), 8));
            Counting.dealloc(zeroed, bytes(8));
        }
    }
}

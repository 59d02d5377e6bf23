//! Forks of a process that has opened devices. A child has the memory of the threads that talk to them, but not the
//! threads: whoever waits for one waits for ever.

use std::sync::atomic::{AtomicBool, Ordering};

use wavecube_core::{DeviceFault, Error, Result};

/// Whether this process is a fork of one that had opened devices.
static FORKED: AtomicBool = AtomicBool::new(false);

/// From now on forks are told. Asking for the process's number at every call instead would be a system call each time,
/// 0.6 µs in a sandbox, where enqueueing a transform takes 20.
pub(crate) fn watch_forks() {
    #[cfg(unix)]
    {
        use std::sync::Once;

        unsafe extern "C" fn left_behind() {
            FORKED.store(true, Ordering::Relaxed);
        }
        static WATCH: Once = Once::new();
        WATCH.call_once(|| {
            // SAFETY: what the child calls stores to an atomic, which is allowed there. It fails for want of memory;
            // forks are then as badly off as without it.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(left_behind)) };
        });
    }
}

/// Refuses to talk to devices in a fork. Comes before any lock: a thread that stayed behind may hold it.
pub(crate) fn check_process(op: &'static str) -> Result<()> {
    if FORKED.load(Ordering::Relaxed) {
        return Err(Error::Device { op, reason: DeviceFault::Forked });
    }
    Ok(())
}

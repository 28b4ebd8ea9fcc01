//! Flags of the workers' rings that the engine does not know.
//!
//! The engine creates its rings through a C function of the liburing that it brings along. The
//! linker sends the calls of that function here (`--wrap`, see build.rs), and the flag is added
//! on the way. With IORING_SETUP_COOP_TASKRUN a completion does not interrupt the thread that
//! waits for it anyway: a third less CPU for a small request. (DEFER_TASKRUN, the next step,
//! would hang this engine: it looks at completions without entering the kernel.)
//!
//! Invariant: where the kernel does not know the flag (before 5.19), rings are made without it.

// A C function has to be defined and another one called; both are argued where they stand.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// `IORING_SETUP_COOP_TASKRUN` of the kernel's `io_uring.h`.
const SETUP_COOP_TASKRUN: u32 = 1 << 8;

/// The start of `struct io_uring_params`, whose third word holds the flags; the rest is the
/// kernel's and is passed on untouched.
#[repr(C)]
struct SetupParams {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
}

/// Cleared when a kernel refused the flag.
static WANTED: AtomicBool = AtomicBool::new(true);

/// The flags of the last ring that was made.
static IN_FORCE: AtomicU32 = AtomicU32::new(0);

/// The flags of the workers' rings, for the log.
pub fn describe() -> &'static str {
    if IN_FORCE.load(Ordering::Relaxed) & SETUP_COOP_TASKRUN != 0 {
        "IORING_SETUP_COOP_TASKRUN"
    } else {
        "none (the kernel knows no IORING_SETUP_COOP_TASKRUN)"
    }
}

unsafe extern "C" {
    fn __real___sys_io_uring_setup(entries: c_uint, params: *mut SetupParams) -> c_int;
}

/// Stands in for liburing's `__sys_io_uring_setup`: a descriptor, or -1 and errno.
// SAFETY: the name is reserved for this purpose by the linker's --wrap.
#[unsafe(no_mangle)]
extern "C" fn __wrap___sys_io_uring_setup(entries: c_uint, params: *mut SetupParams) -> c_int {
    // SAFETY: liburing passes a pointer to a whole io_uring_params, of which ours is the start,
    // and keeps it to itself during the call.
    let asked = unsafe { (*params).flags };
    if WANTED.load(Ordering::Relaxed) {
        // SAFETY: as above; both are the calls that liburing was about to make.
        let ring = unsafe {
            (*params).flags = asked | SETUP_COOP_TASKRUN;
            __real___sys_io_uring_setup(entries, params)
        };
        if ring >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(rustix::io::Errno::INVAL.raw_os_error())
        {
            IN_FORCE.store(asked | SETUP_COOP_TASKRUN, Ordering::Relaxed);
            return ring;
        }
        WANTED.store(false, Ordering::Relaxed);
    }
    IN_FORCE.store(asked, Ordering::Relaxed);
    // SAFETY: as above.
    unsafe {
        (*params).flags = asked;
        __real___sys_io_uring_setup(entries, params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the wrap the server would work, and be slower by a third: nobody would notice.
    #[test]
    fn an_executor_gets_its_ring_through_the_wrap() {
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        assert_eq!(executor.run(async { 1 }), 1);
        assert_eq!(describe(), "IORING_SETUP_COOP_TASKRUN");
    }
}

//! What the engine asks of its rings, and does not know to ask.
//!
//! The engine calls its rings through C functions of the liburing that it brings along. The
//! linker sends the calls of three of them here (`--wrap`, see build.rs).
//!
//! Making a ring: a flag is added. With IORING_SETUP_COOP_TASKRUN a completion does not interrupt the thread that
//! waits for it anyway: a third less CPU for a small request. (DEFER_TASKRUN, the next step,
//! would hang this engine: it looks at completions without entering the kernel.)
//!
//! Waiting for a ring: the sockets are waited for with it (`socket::readiness`). Handing requests to a ring: the moment
//! in which an engine that is too busy to wait looks at the sockets all the same.
//!
//! Invariant: where the kernel does not know the flag (before 5.19), rings are made without it. A thread without
//! sockets has its calls passed on as they are.

// A C function has to be defined and another one called; both are argued where they stand.
#![allow(unsafe_code)]

use crate::socket::readiness::{self, Woken};
use rustix::io::Errno;
use std::ffi::{c_int, c_uint, c_void};
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
    fn __real___sys_io_uring_enter(
        ring: c_int,
        submitted: c_uint,
        awaited: c_uint,
        flags: c_uint,
        signals: *mut c_void,
    ) -> c_int;
    fn __real___sys_io_uring_enter2(
        ring: c_int,
        submitted: c_uint,
        awaited: c_uint,
        flags: c_uint,
        argument: *mut c_void,
        argument_bytes: c_int,
    ) -> c_int;
    fn __errno_location() -> *mut c_int;
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
        if ring >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(Errno::INVAL.raw_os_error()) {
            IN_FORCE.store(asked | SETUP_COOP_TASKRUN, Ordering::Relaxed);
            return made(ring);
        }
        WANTED.store(false, Ordering::Relaxed);
    }
    IN_FORCE.store(asked, Ordering::Relaxed);
    // SAFETY: as above.
    made(unsafe {
        (*params).flags = asked;
        __real___sys_io_uring_setup(entries, params)
    })
}

fn made(ring: c_int) -> c_int {
    if ring >= 0 {
        readiness::ring_was_made(ring);
    }
    ring
}

/// Stands in for liburing's `__sys_io_uring_enter`, by which it hands requests to a ring: their number, or -1 and errno.
// SAFETY: the name is reserved for this purpose by the linker's --wrap.
#[unsafe(no_mangle)]
extern "C" fn __wrap___sys_io_uring_enter(
    ring: c_int,
    submitted: c_uint,
    awaited: c_uint,
    flags: c_uint,
    signals: *mut c_void,
) -> c_int {
    readiness::engine_has_its_turn();
    // SAFETY: the call that liburing was about to make, with its arguments.
    unsafe { __real___sys_io_uring_enter(ring, submitted, awaited, flags, signals) }
}

/// Stands in for liburing's `__sys_io_uring_enter2`, by which it waits for completions.
// SAFETY: the name is reserved for this purpose by the linker's --wrap.
#[unsafe(no_mangle)]
extern "C" fn __wrap___sys_io_uring_enter2(
    ring: c_int,
    submitted: c_uint,
    awaited: c_uint,
    flags: c_uint,
    argument: *mut c_void,
    argument_bytes: c_int,
) -> c_int {
    // A wait without a time limit, after all was handed in: the engine's sleep.
    if awaited > 0
        && submitted == 0
        && argument.is_null()
        && matches!(readiness::wait(ring), Woken::Tasks | Woken::Nothing)
    {
        // As if a signal had come: the engine then looks for something to run.
        // SAFETY: the C library's own place of this thread's errno.
        unsafe { *__errno_location() = Errno::INTR.raw_os_error() };
        return -1;
    }
    // SAFETY: the call that liburing was about to make, with its arguments.
    unsafe { __real___sys_io_uring_enter2(ring, submitted, awaited, flags, argument, argument_bytes) }
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

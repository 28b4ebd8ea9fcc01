//! Memory that was freed, back to the system: the allocator keeps it for the next who asks, and looks after that only while it is asked.
//!
//! Invariant: nothing that is in use is touched.

// The allocator's own call, which takes no pointer; argued beside it.
#![allow(unsafe_code)]

/// Gives back what this thread has freed. It takes some milliseconds where that is much: for once in a while.
pub fn give_back() {
    // SAFETY: it takes no memory of ours, and may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

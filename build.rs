//! Wraps the C functions of the engine's bundled liburing that make a ring, hand requests to it and wait for it, so that
//! `server::ring` can add what the engine does not know (see there).

fn main() {
    for function in ["__sys_io_uring_setup", "__sys_io_uring_enter", "__sys_io_uring_enter2"] {
        println!("cargo:rustc-link-arg=-Wl,--wrap={function}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}

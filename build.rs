//! Wraps the one C function of the engine's bundled liburing that creates a ring, so that
//! `server::ring` can add the set-up flags which the engine does not know (see there).

fn main() {
    println!("cargo:rustc-link-arg=-Wl,--wrap=__sys_io_uring_setup");
    println!("cargo:rerun-if-changed=build.rs");
}

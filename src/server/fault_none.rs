//! No faults on demand: a release has no such door. See `fault.rs` for those of debug builds.

/// Reads nothing.
pub(super) fn start() {}

/// Never ends, and does nothing.
pub(super) async fn watch(_worker: usize) {
    std::future::pending().await
}

/// The connection's task as it is.
pub(super) fn in_connection<F: Future<Output = ()>>(serving: F) -> F {
    serving
}

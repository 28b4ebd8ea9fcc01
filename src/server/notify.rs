//! What systemd is told, where it started us: that we serve, read our configuration anew, end.
//!
//! Invariant: a word to systemd never fails the server; without systemd nothing happens.

use sd_notify::NotifyState;

/// Connections are accepted; also after [`reloading`].
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read anew. With the time, for a unit of `Type=notify-reload` wants to know which reload it is.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(time) => tell(&[NotifyState::Reloading, time]),
        Err(error) => tracing::debug!("systemd is not told of a reload: {error}"),
    }
}

/// The server ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is in flight")]);
}

/// In a few words, how it is.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Another process is the service from here on.
pub(super) fn main_process(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd is not told: {error}");
    }
}

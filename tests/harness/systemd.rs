//! A service manager of the test's own: hears what a server tells systemd, keeps what it stores, and passes sockets on.
//!
//! Invariant: descriptors travel by messages and are never inherited, so that no other test's server gets one.

use super::server::Setup;
use super::site::Scratch;
use super::{HANG, holds_within};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Descriptors of a message, at most.
const DESCRIPTORS_MAX: usize = 64;

const SPACE: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX));

/// What it has heard and keeps.
#[derive(Default)]
struct Heard {
    words: Vec<String>,
    store: Vec<(String, OwnedFd)>,
}

/// A service manager.
pub(crate) struct Systemd {
    heard: Arc<Mutex<Heard>>,
    path: PathBuf,
    scratch: Scratch,
}

impl Systemd {
    /// One that listens.
    pub(crate) fn new() -> Systemd {
        let scratch = Scratch::under(&std::env::temp_dir());
        let path = scratch.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a path of this test");
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let into = Arc::downgrade(&heard);
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("an open socket");
        std::thread::spawn(move || {
            while let Some(heard) = into.upgrade() {
                hear(&socket, &heard);
            }
        });
        Systemd { heard, path, scratch }
    }

    /// Where it is to be told.
    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// All it was told so far, but for what it was given to store.
    pub(crate) fn words(&self) -> Vec<String> {
        lock(&self.heard).words.clone()
    }

    /// Waits until it was told something that contains this.
    pub(crate) fn wait_for(&self, text: &str) {
        let is_told = || self.words().iter().any(|words| words.contains(text));
        assert!(holds_within(HANG, is_told), "systemd never hears {text:?}: {:?}", self.words());
    }

    /// The names in its store, sorted. What was closed at its other end is forgotten, as systemd does.
    pub(crate) fn stored(&self) -> Vec<String> {
        let mut heard = lock(&self.heard);
        heard.store.retain(|(_, descriptor)| is_alive(descriptor));
        let mut names: Vec<_> = heard.store.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Has a server started with what is stored, backwards, for an order is not promised.
    pub(crate) fn restarts(&self, setup: Setup) -> Setup {
        self.stored();
        let heard = lock(&self.heard);
        let copy = |(name, descriptor): &(String, OwnedFd)| {
            (name.clone(), descriptor.try_clone().expect("a descriptor is to be had"))
        };
        let passed: Vec<_> = heard.store.iter().rev().map(copy).collect();
        drop(heard);
        let setup = setup.environment("NOTIFY_SOCKET", &self.path);
        if passed.is_empty() { setup } else { self.passes(setup, passed) }
    }

    /// Has a server started with these descriptors, as systemd does it (sd_listen_fds(3)).
    pub(crate) fn passes(&self, setup: Setup, passed: Vec<(String, OwnedFd)>) -> Setup {
        let number = std::fs::read_dir(self.scratch.path()).expect("it is ours").count();
        let path = self.scratch.path().join(format!("pass-{number}"));
        let listener = UnixListener::bind(&path).expect("a path of this test");
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("the starter connects");
            let names: Vec<_> = passed.iter().map(|(name, _)| name.as_str()).collect();
            let descriptors: Vec<BorrowedFd<'_>> = passed.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
            let mut space = [MaybeUninit::uninit(); SPACE];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "few are passed");
            let names = names.join(":");
            sendmsg(&stream, &[IoSlice::new(names.as_bytes())], &mut control, SendFlags::empty()).expect("it waits");
        });
        setup.wrapped(["python3", "-c", STARTER, &path.display().to_string()])
    }
}

/// Takes descriptors by a message, puts them where systemd would, and becomes the program.
const STARTER: &str = "
import fcntl, os, socket, sys
channel = socket.socket(socket.AF_UNIX)
channel.connect(sys.argv[1])
names, passed, _, _ = socket.recv_fds(channel, 65536, 64)
channel.close()
received, passed = passed, [fcntl.fcntl(one, fcntl.F_DUPFD, 200) for one in passed]
for one in received:
    os.close(one)
for place, one in enumerate(passed):
    os.dup2(one, 3 + place)
    os.close(one)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(passed)), LISTEN_FDNAMES=names.decode())
os.execv(sys.argv[2], sys.argv[2:])
";

fn hear(socket: &UnixDatagram, heard: &Mutex<Heard>) {
    let mut buffer = [0; 4096];
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC);
    let Ok(received) = received else { return };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    let text = String::from_utf8(buffer[..received.bytes].to_vec()).expect("words are text");
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).map(str::to_owned);
    let has = |line: &str| text.lines().any(|one| one == line);
    let mut heard = lock(heard);
    match name {
        Some(name) if has("FDSTORE=1") => heard.store.extend(descriptors.into_iter().map(|one| (name.clone(), one))),
        Some(name) if has("FDSTOREREMOVE=1") => heard.store.retain(|(stored, _)| *stored != name),
        _ => heard.words.push(text),
    }
}

/// Whether nothing is wrong with a descriptor that is stored; systemd forgets it else.
fn is_alive(descriptor: &OwnedFd) -> bool {
    let mut wait = [PollFd::new(descriptor, PollFlags::empty())];
    poll(&mut wait, Some(&Timespec::default())) == Ok(0)
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

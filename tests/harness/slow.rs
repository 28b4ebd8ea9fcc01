//! A file system whose answers come when the test wants: a disk that takes its time, or stands still.
//!
//! It speaks the kernel's FUSE protocol (fuse(4), linux/fuse.h) itself. One thread takes what the kernel asks, another
//! answers when its time has come. Nothing is remembered by the kernel: names and facts are asked for each time, as
//! on a network file system without caches. Closing a file takes no time here (FLUSH is not implemented): a worker closes
//! files itself, and would wait for a file system that takes its time over that.
//!
//! Invariant: whatever waits for an answer gets one, or an error when the file system goes: no process is left behind
//! that cannot be ended.

use super::site::{Site, pattern};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When questions of one kind are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Not before the pace is another.
    Never,
    /// So long after they were asked.
    After(Duration),
}

/// As quick as it can be.
pub(crate) const AT_ONCE: Pace = Pace::After(Duration::ZERO);

/// What a file system is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// For names and facts, and to open.
    LookUp,
    /// For content.
    Read,
}

/// A mounted file system with one directory. Its file `N.bin` has [`length_of`]`(N)` bytes of [`pattern`].
pub(crate) struct SlowFiles {
    mount_point: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    device: File,
    content: Vec<u8>,
    files: u64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    look_ups: Pace,
    reads: Pace,
    /// In the order in which they came.
    waiting: VecDeque<Question>,
    ended: bool,
}

struct Question {
    asked: Instant,
    header: InHeader,
    body: Vec<u8>,
}

/// Files of one length would hide that one was taken for another.
pub(crate) fn length_of(number: u64) -> usize {
    let base = if number % 4 == 0 { LARGE_BYTES } else { SMALL_BYTES };
    base + usize::try_from(number).expect("a small number")
}

/// Above what the tests' servers hold in memory, and in it.
const LARGE_BYTES: usize = 1_500_000;
const SMALL_BYTES: usize = 50_000;

impl SlowFiles {
    /// Mounts it at the directory `name` of the site, with the files 0 to `files`; says why where that cannot be.
    pub(crate) fn mount(site: &Site, name: &str, files: u64) -> Result<SlowFiles, String> {
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.map_err(|error| format!("/dev/fuse cannot be opened: {error}"))?;
        let mount_point = site.directory(name);
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = CString::new(options).expect("a text without NUL");
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("otus-httpd-test", &mount_point, "fuse", flags, &*options)
            .map_err(|errno| format!("FUSE cannot be mounted: {}", std::io::Error::from(errno)))?;
        let content = pattern(LARGE_BYTES + usize::try_from(files).expect("a small number"));
        let state = State { look_ups: AT_ONCE, reads: AT_ONCE, waiting: VecDeque::new(), ended: false };
        let shared = Shared { device, content, files, state: Mutex::new(state), changed: Condvar::new() };
        let shared = Arc::new(shared);
        // They end by themselves when it is unmounted.
        for work in [Shared::listen, Shared::answer_in_time] {
            let shared = shared.clone();
            std::thread::spawn(move || work(&shared));
        }
        Ok(SlowFiles { mount_point, shared })
    }

    /// Sets when names, facts and openings are answered, and when content is; also for what waits already.
    pub(crate) fn pace(&self, look_ups: Pace, reads: Pace) {
        let mut state = self.shared.state();
        (state.look_ups, state.reads) = (look_ups, reads);
        self.shared.changed.notify_all();
    }

    /// Questions that are not answered yet.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.state().waiting.len()
    }
}

impl Drop for SlowFiles {
    fn drop(&mut self) {
        // By force: what still waits is answered with an error.
        let _ = unmount(&self.mount_point, UnmountFlags::FORCE | UnmountFlags::DETACH);
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes questions until it is unmounted.
    fn listen(&self) {
        let mut buffer = vec![0; QUESTION_BYTES_MAX];
        loop {
            let count = match (&self.device).read(&mut buffer) {
                Ok(count) => count,
                // ENOENT: who asked was interrupted before the question was handed over.
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::INTR)) => continue,
                Err(_) => return,
            };
            let (header, body) = InHeader::parse(&buffer[..count]);
            let question = Question { asked: Instant::now(), header, body: body.to_vec() };
            match question.kind() {
                None => self.answer(&question),
                Some(_) => {
                    self.state().waiting.push_back(question);
                    self.changed.notify_all();
                }
            }
        }
    }

    fn answer_in_time(&self) {
        let mut state = self.state();
        while !state.ended {
            let now = Instant::now();
            let due = state.waiting.iter().map(|question| question.due(&state)).collect::<Vec<_>>();
            if let Some(index) = due.iter().position(|due| due.is_some_and(|due| due <= now)) {
                let question = state.waiting.remove(index).expect("it was found there");
                drop(state);
                self.answer(&question);
                state = self.state();
                continue;
            }
            let pause = due.into_iter().flatten().min().map_or(PAUSE_MAX, |due| due - now);
            let waited = self.changed.wait_timeout(state, pause);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn answer(&self, question: &Question) {
        let Some(outcome) = self.outcome(question) else { return };
        let (error, body) = match &outcome {
            Ok(body) => (0, &body[..]),
            Err(errno) => (-errno.raw_os_error(), &[][..]),
        };
        let length = u32::try_from(OUT_HEADER_BYTES + body.len()).expect("an answer is small");
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(error.to_le_bytes());
        bytes.extend(question.header.unique.to_le_bytes());
        bytes.extend(body);
        // In one write, as the protocol wants it. It fails where nobody waits any more.
        let _ = (&self.device).write(&bytes);
    }

    /// What is answered, if anything is.
    fn outcome(&self, question: &Question) -> Option<Result<Vec<u8>, Errno>> {
        let node = question.header.node;
        let outcome = match question.header.opcode {
            FORGET | BATCH_FORGET | INTERRUPT => return None,
            INIT => Ok(fields(&[
                (4, 7),
                (4, PROTOCOL_MINOR),
                (4, 0),
                (4, ASYNC_READ | ASYNC_DIO | PARALLEL_DIROPS),
                (2, BACKGROUND_MAX),
                (2, BACKGROUND_MAX),
                (4, 4096),
                (4, 1),
                (36, 0),
            ])),
            LOOKUP => match self.number_of(&question.body) {
                Some(number) => {
                    let node = number + FIRST_NODE;
                    Ok([fields(&[(8, node), (8, 0), (8, 0), (8, 0), (4, 0), (4, 0)]), self.facts(node)].concat())
                }
                None => Err(Errno::NOENT),
            },
            GETATTR => Ok([fields(&[(8, 0), (4, 0), (4, 0)]), self.facts(node)].concat()),
            OPEN | OPENDIR => Ok(fields(&[(8, 0), (4, 0), (4, 0)])),
            READ => {
                let (start, count) = (number_at(&question.body, 8, 8), number_at(&question.body, 16, 4));
                let end = length_of(node - FIRST_NODE);
                let start = usize::try_from(start).map_or(end, |start| start.min(end));
                let count = usize::try_from(count).map_or(0, |count| count.min(end - start));
                Ok(self.content[start..start + count].to_vec())
            }
            RELEASE | RELEASEDIR | DESTROY => Ok(Vec::new()),
            _ => Err(Errno::NOSYS),
        };
        Some(outcome)
    }

    /// The number in `N.bin`, if there is such a file; the name ends with a NUL.
    fn number_of(&self, name: &[u8]) -> Option<u64> {
        let name = std::str::from_utf8(name).ok()?.trim_end_matches('\0');
        name.strip_suffix(".bin")?.parse().ok().filter(|number| *number < self.files)
    }

    /// struct fuse_attr
    fn facts(&self, node: u64) -> Vec<u8> {
        let is_root = node < FIRST_NODE;
        let length = if is_root { 4096 } else { length_of(node - FIRST_NODE) as u64 };
        let mode = if is_root { 0o40755 } else { 0o100_644 };
        let times = [(8, MODIFIED), (8, MODIFIED), (8, MODIFIED), (4, 0), (4, 0), (4, 0)];
        let size = [(8, node), (8, length), (8, length.div_ceil(512))];
        let rest = [(4, mode), (4, 1), (4, 0), (4, 0), (4, 0), (4, 4096), (4, 0)];
        [fields(&size), fields(&times), fields(&rest)].concat()
    }
}

impl Question {
    /// Whose pace it goes by; what is no business of the disk goes by none.
    fn kind(&self) -> Option<Kind> {
        match self.header.opcode {
            LOOKUP | GETATTR | OPEN | OPENDIR => Some(Kind::LookUp),
            READ => Some(Kind::Read),
            _ => None,
        }
    }

    fn due(&self, state: &State) -> Option<Instant> {
        let pace = if self.kind() == Some(Kind::Read) { state.reads } else { state.look_ups };
        match pace {
            Pace::Never => None,
            Pace::After(time) => Some(self.asked + time),
        }
    }
}

/// struct fuse_in_header, as far as it matters here.
struct InHeader {
    opcode: u32,
    unique: u64,
    node: u64,
}

impl InHeader {
    fn parse(bytes: &[u8]) -> (InHeader, &[u8]) {
        let opcode = u32::try_from(number_at(bytes, 4, 4)).expect("four bytes");
        let header = InHeader { opcode, unique: number_at(bytes, 8, 8), node: number_at(bytes, 16, 8) };
        (header, &bytes[IN_HEADER_BYTES..])
    }
}

/// The number of `width` bytes at `start`.
fn number_at(bytes: &[u8], start: usize, width: usize) -> u64 {
    let mut number = [0; 8];
    number[..width].copy_from_slice(&bytes[start..start + width]);
    u64::from_le_bytes(number)
}

/// Numbers, each with its width in bytes.
fn fields(fields: &[(usize, u64)]) -> Vec<u8> {
    let padded = |(width, number): &(usize, u64)| {
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.resize(*width, 0);
        bytes
    };
    fields.iter().flat_map(padded).collect()
}

// linux/fuse.h. The numbers above are laid out for little-endian machines.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;
const ASYNC_READ: u64 = 1;
const ASYNC_DIO: u64 = 1 << 15;
/// Without it the kernel itself has look-ups in one directory wait for each other.
const PARALLEL_DIROPS: u64 = 1 << 18;
/// Of Linux 4.20.
const PROTOCOL_MINOR: u64 = 28;
const IN_HEADER_BYTES: usize = 40;
const OUT_HEADER_BYTES: usize = 16;
/// The kernel hands over nothing to a reader with less than 8 KiB.
const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// Questions that the kernel asks at once for those who do not wait for them.
const BACKGROUND_MAX: u64 = 512;
/// The root is node 1.
const FIRST_NODE: u64 = 2;
/// 1994-11-06: the files have long been at rest.
const MODIFIED: u64 = 784_111_777;
/// A change wakes whoever waits; this is for none that is missed.
const PAUSE_MAX: Duration = Duration::from_secs(1);

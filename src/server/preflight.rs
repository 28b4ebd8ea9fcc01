//! Checks what must be granted before an executor is started, so that a refusal is one clear line
//! and not a panic in a thread.
//!
//! Order: the document roots · limits of the process · kernel and /proc · io_uring. A start stops at the first that fails; the
//! [`doctor`](super::doctor) goes through all of them.

use super::{Options, StartError, logs, privileges, shortage};
use crate::storage::root::Root;
use rustix::io::Errno;
use rustix::io_uring::{io_uring_params, io_uring_setup};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;

/// What a check came to: what is good, or why a server would not start.
type Outcome = Result<String, StartError>;

type Check = fn(&Options) -> Outcome;

/// Checks all of it up to the first failure, and raises the soft limits to the hard ones.
pub fn check(options: &Options) -> Result<(), StartError> {
    check_roots(options)?;
    process(options).try_for_each(|(_, outcome)| outcome.map(drop))
}

/// What is to be granted to the process, each with its topic; a check is made when it is asked for.
pub(super) fn process(options: &Options) -> impl Iterator<Item = (&'static str, Outcome)> {
    let checks: [(_, Check); 5] = [
        ("open files", |options| check_descriptors(raise(Resource::Nofile), options)),
        ("locked memory", |_| check_locked_memory(raise(Resource::Memlock))),
        ("kernel", |_| check_kernel()),
        ("/proc", |_| check_proc()),
        ("io_uring", |_| check_io_uring()),
    ];
    checks.into_iter().map(move |(topic, check)| (topic, check(options)))
}

/// Every document root can be served.
pub fn check_roots(options: &Options) -> Result<(), StartError> {
    options.roots().into_iter().try_for_each(|root| check_root(root).map(drop))
}

/// The document root is a directory that can be listed and entered.
pub(super) fn check_root(path: &Path) -> Outcome {
    let say = |what: &str| StartError(format!("document root {}: {what}", path.display()));
    match Root::open(path) {
        Ok(_) => {}
        Err(error) => {
            return Err(match error.kind() {
                std::io::ErrorKind::NotFound => say("no such directory; name an existing one with --document-root"),
                std::io::ErrorKind::NotADirectory => say("not a directory; name the directory that holds the files"),
                std::io::ErrorKind::PermissionDenied => say(&denied(path)),
                // Where the call is hidden, io_uring is asked for it: what is missing may be that.
                std::io::ErrorKind::Unsupported => check_io_uring().err().unwrap_or_else(|| {
                    say("the kernel or a seccomp filter has no openat2, nor gives it through io_uring; allow it in the filter")
                }),
                _ => say(&error.to_string()),
            });
        }
    }
    let enter = rustix::fs::access(path, rustix::fs::Access::EXEC_OK);
    let user = privileges::whoami();
    enter.map_err(|_| say(&format!("it can be listed but not entered; let the user {user} enter it (chmod o+x)")))?;
    Ok(format!("{}: can be listed and entered", path.display()))
}

/// Which directory on the way to `path` the server's user may not enter, or that it may not read the last of them.
fn denied(path: &Path) -> String {
    let user = privileges::whoami();
    let is_closed = |above: &&Path| {
        !above.as_os_str().is_empty() && rustix::fs::access(*above, rustix::fs::Access::EXEC_OK) == Err(Errno::ACCESS)
    };
    // The uppermost one: below it nothing can be asked.
    match path.ancestors().skip(1).filter(is_closed).last() {
        Some(above) => format!(
            "permission denied: the user {user} may not enter {}; let it (chmod o+x), move the files, or serve as \
             another (--user)",
            above.display()
        ),
        None => format!(
            "permission denied; let the user {user} read and enter it (chmod o+rx), or serve as another (--user)"
        ),
    }
}

/// Raises the soft limit to the hard one, and returns what is in force. Defaults of 1024
/// descriptors come from the days of select(2), which this program does not use.
fn raise(resource: Resource) -> Rlimit {
    let limit = getrlimit(resource);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(resource, raised).is_ok() { raised } else { limit }
}

/// Descriptors of the process itself: standard streams, signals, the supervisor's bell, the memory for content, what
/// the control group says.
const DESCRIPTORS_OF_PROCESS: u64 = 20;

/// Descriptors of a worker beside its sockets and roots: rings, notifiers, the stream that says stop, and its reserve.
const DESCRIPTORS_OF_WORKER: u64 = 8 + shortage::RESERVED_MAX as u64;

/// Each listening socket is held by the supervisor, the worker and its executor.
const DESCRIPTORS_OF_LISTENER: u64 = 3;

/// Room for a few clients and their files. Fewer would start, and serve nobody.
const DESCRIPTORS_OF_CLIENTS_MIN: u64 = 8;

/// The least number of descriptors that serves anybody.
pub(super) fn descriptors_needed(options: &Options) -> u64 {
    let roots = options.roots().len() as u64;
    let of_worker = DESCRIPTORS_OF_WORKER + roots + DESCRIPTORS_OF_LISTENER * options.listen.len() as u64;
    let logs = logs::destinations(options).len() as u64;
    DESCRIPTORS_OF_PROCESS + logs + options.workers as u64 * of_worker + DESCRIPTORS_OF_CLIENTS_MIN
}

fn check_descriptors(limit: Rlimit, options: &Options) -> Outcome {
    let needed = descriptors_needed(options);
    match limit.current {
        Some(allowed) if allowed < needed => Err(StartError(format!(
            "the limit of open files is {allowed}, and {} workers need {needed} at least; raise it: `ulimit -n 65536`, \
             or LimitNOFILE=65536 in the unit",
            options.workers
        ))),
        allowed => Ok(told(allowed.map(|allowed| allowed.to_string()))),
    }
}

/// What the engine asks for at least, in bytes.
const LOCKED_MEMORY_MIN: u64 = 512 * 1024;

/// A limit, for people.
fn told(limit: Option<String>) -> String {
    limit.map_or_else(|| "without a limit".to_owned(), |limit| format!("the limit is {limit}"))
}

fn check_locked_memory(limit: Rlimit) -> Outcome {
    match limit.current {
        Some(bytes) if bytes < LOCKED_MEMORY_MIN => Err(StartError(format!(
            "the limit of locked memory is {} KiB, and io_uring needs {} KiB; raise it: `ulimit -l 8192`, or \
             LimitMEMLOCK=infinity in the unit",
            bytes / 1024,
            LOCKED_MEMORY_MIN / 1024
        ))),
        bytes => Ok(told(bytes.map(|bytes| format!("{} KiB", bytes / 1024)))),
    }
}

/// The first kernel with every operation that the engine uses.
const KERNEL_MIN: (u32, u32) = (5, 8);

fn check_kernel() -> Outcome {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < KERNEL_MIN => Err(StartError(format!(
            "Linux {release} is too old: otus-httpd needs {}.{} or later",
            KERNEL_MIN.0, KERNEL_MIN.1
        ))),
        _ => Ok(format!("Linux {release}")),
    }
}

/// Files are opened by way of /proc/self/fd.
fn check_proc() -> Outcome {
    std::fs::metadata("/proc/self/fd").map(|_| "it is mounted".to_owned()).map_err(|error| {
        StartError(format!("/proc/self/fd is not there ({error}); mount the proc file system on /proc"))
    })
}

/// Tries the system call: no file in /proc says all that may forbid it.
fn check_io_uring() -> Outcome {
    let mut params = io_uring_params::default();
    match io_uring_setup_once(&mut params) {
        Ok(_ring) => Ok("it is permitted".to_owned()),
        Err(Errno::NOSYS) => Err(StartError(format!(
            "io_uring is not there: the kernel was built without it, or {}",
            Surroundings::look().filter()
        ))),
        Err(Errno::PERM | Errno::ACCESS) => Err(StartError(format!("io_uring is not permitted: {}", denied_by()))),
        Err(Errno::NOMEM) => Err(StartError(
            "no memory for io_uring: raise the limit of locked memory (`ulimit -l 8192`, or LimitMEMLOCK=infinity \
             in the unit)"
                .to_owned(),
        )),
        Err(Errno::MFILE | Errno::NFILE) => {
            Err(StartError("no file descriptor is left for io_uring; raise the limit: `ulimit -n 65536`".to_owned()))
        }
        Err(errno) => Err(StartError(format!("io_uring cannot be set up: {}", std::io::Error::from(errno)))),
    }
}

// The ring is made to see whether it can be, and closed at once.
#[allow(unsafe_code)]
fn io_uring_setup_once(params: &mut io_uring_params) -> Result<std::os::fd::OwnedFd, Errno> {
    // SAFETY: the parameters are zeroed but for what the kernel writes into them, so the ring
    // uses no memory of ours.
    unsafe { io_uring_setup(4, params) }
}

/// Whether something keeps the clock right, as far as the kernel knows.
#[allow(unsafe_code)]
pub(super) fn is_clock_synchronised() -> Option<bool> {
    // SAFETY: all zeroes is a valid `timex`, a struct of integers.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is ours, and with `modes` zero the call changes nothing but it.
    match unsafe { libc::adjtimex(&raw mut state) } {
        -1 => None,
        libc::TIME_ERROR => Some(false),
        _ => Some(true),
    }
}

/// The likely cause of EPERM: the sysctl, or else a filter.
fn denied_by() -> String {
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let group = rustix::process::getegid();
    let filter = Surroundings::look().filter();
    match setting.trim() {
        "1" => format!(
            "the sysctl kernel.io_uring_disabled is 1; set it to 0, or kernel.io_uring_group to {group}, the server's \
             group"
        ),
        "2" => "the sysctl kernel.io_uring_disabled is 2; set it to 0".to_owned(),
        // As a unit with ProcSubset=pid has it: the sysctl may be anything.
        _ if !Path::new("/proc/sys/kernel").exists() => {
            format!("the sysctl kernel.io_uring_disabled, which is hidden here, is not 0; or {filter}")
        }
        _ => filter,
    }
}

/// Who most likely set the seccomp filter that the process runs under.
enum Surroundings {
    Container,
    Unit,
    Unknown,
}

impl Surroundings {
    fn look() -> Surroundings {
        let is_set = |name| std::env::var_os(name).is_some();
        // A container may hear of the service manager outside, so that it is asked for first. Its engines agree on no sign.
        let has_sign = ["/run/.containerenv", "/.dockerenv"].iter().any(|path| Path::new(path).exists());
        if has_sign || is_set("container") || is_set("KUBERNETES_SERVICE_HOST") {
            Surroundings::Container
        } else if is_set("NOTIFY_SOCKET") {
            Surroundings::Unit
        } else {
            Surroundings::Unknown
        }
    }

    /// The filter, with the remedy.
    fn filter(&self) -> String {
        let calls = "io_uring_setup, io_uring_enter and io_uring_register";
        match self {
            Surroundings::Container => format!(
                "a seccomp filter denies it, as container engines do by default; run the container with a profile \
                 that allows {calls}, as packaging/container/seccomp.json does"
            ),
            Surroundings::Unit => {
                format!("a seccomp filter denies it, SystemCallFilter= of the unit; allow @aio there ({calls})")
            }
            Surroundings::Unknown => format!("a seccomp filter denies it; allow {calls} in the filter"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_memory_below_the_minimum_is_named() {
        let limit = |current| Rlimit { current, maximum: current };
        assert!(check_locked_memory(limit(None)).is_ok());
        assert!(check_locked_memory(limit(Some(512 * 1024))).is_ok());
        let error = check_locked_memory(limit(Some(64 * 1024))).expect_err("64 KiB are not enough");
        assert!(error.to_string().contains("64 KiB") && error.to_string().contains("ulimit -l"));
    }

    #[test]
    fn a_root_that_cannot_be_served_is_named_with_its_cause() {
        for (path, cause) in [("/no/such/directory", "no such directory"), ("/proc/self/status", "not a directory")] {
            let error = check_root(Path::new(path)).expect_err("no document root").to_string();
            assert!(error.contains(path) && error.contains(cause), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }

    #[test]
    fn this_machine_passes() {
        assert!(check_kernel().is_ok());
        assert!(check_io_uring().is_ok());
    }
}

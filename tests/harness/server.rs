//! Starts the real program, watches it, and ends it.
//!
//! A [`Setup`] says how; [`Setup::start`] gives a running [`Server`], [`Setup::outcome`] what is
//! left of one that ends by itself.
//!
//! Invariant: no process outlives its [`Server`]; each ends by SIGTERM with exit code 0 and
//! without a word of a panic, unless its test expects otherwise.

use super::client::{Client, Response};
use super::site::{Scratch, Site, set_mode, write};
use super::{HANG, eventually, holds_within, is_root};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The program under test, as Cargo built it.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_otus-httpd");

/// What the configuration file holds.
enum Config {
    /// Keys and their values.
    Keys(BTreeMap<&'static str, String>),
    /// A text as it is.
    Text(String),
    /// Another file instead, which may or may not exist.
    Other(PathBuf),
}

/// How a server is started.
pub(crate) struct Setup {
    flags: Vec<OsString>,
    config: Config,
    environment: Vec<(&'static str, OsString)>,
    wrapper: Vec<OsString>,
    user: Option<u32>,
    serves_as_itself: bool,
    panics_expected: bool,
}

impl Setup {
    /// Just these flags, and a configuration file of the test's own, so that one of the machine
    /// never matters.
    pub(crate) fn flags<S: AsRef<OsStr>>(flags: impl IntoIterator<Item = S>) -> Setup {
        Setup {
            flags: flags.into_iter().map(|flag| flag.as_ref().to_owned()).collect(),
            config: Config::Keys(BTreeMap::new()),
            environment: Vec::new(),
            wrapper: Vec::new(),
            user: None,
            serves_as_itself: true,
            panics_expected: false,
        }
        // A test that leaves a transfer behind need not wait for it.
        .set("drain_timeout", 1)
    }

    /// Two workers that serve `root` on a free port of 127.0.0.1.
    pub(crate) fn root(root: &Path) -> Setup {
        Setup::flags([OsStr::new("-a"), OsStr::new("127.0.0.1:0"), OsStr::new("-r"), root.as_os_str()])
            .set("workers", 2)
            // So that a file of two MiB is large: above it content comes from the disk, below 64 KiB it is held by a
            // core, and between by all of them together.
            .set("cache_file_size_max", "'1m'")
    }

    /// Two workers, and what this configuration file says.
    pub(crate) fn configured(text: impl std::fmt::Display) -> Setup {
        Setup::flags([""; 0]).config_text(format!("workers = 2\ndrain_timeout = 1\n{text}"))
    }

    /// Adds a flag.
    pub(crate) fn flag(mut self, flag: &str) -> Setup {
        self.flags.push(flag.into());
        self
    }

    /// Sets a key of the configuration file, to a value in TOML.
    pub(crate) fn set(mut self, key: &'static str, value: impl ToString) -> Setup {
        match &mut self.config {
            Config::Keys(keys) => drop(keys.insert(key, value.to_string())),
            Config::Text(_) | Config::Other(_) => panic!("the configuration is given as a whole"),
        }
        self
    }

    /// Takes `text` for the whole configuration file.
    pub(crate) fn config_text(mut self, text: impl Into<String>) -> Setup {
        self.config = Config::Text(text.into());
        self
    }

    /// Names another configuration file.
    pub(crate) fn config_file(mut self, path: impl Into<PathBuf>) -> Setup {
        self.config = Config::Other(path.into());
        self
    }

    /// Sets an environment variable.
    pub(crate) fn environment(mut self, name: &'static str, value: impl Into<OsString>) -> Setup {
        self.environment.push((name, value.into()));
        self
    }

    /// Puts a command before the program; it must `exec` what follows it.
    pub(crate) fn wrapped<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Setup {
        self.wrapper = wrapper.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Runs the program as this user and group, without any other; takes root.
    pub(crate) fn user(mut self, id: u32) -> Setup {
        self.user = Some(id);
        self
    }

    /// Leaves it to the program, started by root, as whom it serves.
    pub(crate) fn drops_rights(mut self) -> Setup {
        self.serves_as_itself = false;
        self
    }

    /// A panic in the log is what the test wants.
    pub(crate) fn panics_expected(mut self) -> Setup {
        self.panics_expected = true;
        self
    }

    /// Starts the server and waits until it serves.
    pub(crate) fn start(self) -> Server {
        self.try_start().unwrap_or_else(|why| panic!("the server does not serve: {why}"))
    }

    /// Starts the server and waits until it serves; where it does not, says why.
    pub(crate) fn try_start(self) -> Result<Server, String> {
        let panics_expected = self.panics_expected;
        let (mut child, scratch) = self.spawn();
        let announced = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::new(Mutex::new(String::new()));
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let readers = vec![
            read_lines(stdout, announced.clone(), |announced, line| announced.push(line.to_owned())),
            read_lines(stderr, log.clone(), |log, line| {
                log.push_str(line);
                log.push('\n');
            }),
        ];
        let mut server = Server { child, announced, log, readers, panics_expected, exit: None, _scratch: scratch };
        let serves = |server: &Server| !lock(&server.announced).is_empty();
        if holds_within(HANG, || serves(&server) || server.exited().is_some()) && serves(&server) {
            return Ok(server);
        }
        let threads = threads_of(server.child.id());
        // How a program ends that should have served is for the caller to judge.
        let _ = server.end();
        server.exit = Some(ExitStatus::default());
        server.panics_expected = true;
        Err(server.log() + &threads)
    }

    /// Runs the program to its end, which must come by itself.
    pub(crate) fn outcome(self) -> Outcome {
        let (mut child, _scratch) = self.spawn();
        let ended = holds_within(HANG, || child.try_wait().expect("it is our child").is_some());
        if !ended {
            child.kill().expect("it is our child");
        }
        let (mut stdout, mut stderr) = (String::new(), String::new());
        child.stdout.take().expect("it is piped").read_to_string(&mut stdout).expect("text");
        child.stderr.take().expect("it is piped").read_to_string(&mut stderr).expect("text");
        let status = child.wait().expect("it is our child");
        assert!(ended, "it did not end by itself: {stdout}{stderr}");
        assert!(!stderr.contains("panic"), "{stderr}");
        Outcome { code: status.code(), stdout, stderr }
    }

    fn spawn(self) -> (Child, Scratch) {
        let scratch = Scratch::under(&std::env::temp_dir());
        let config = self.config.path(&scratch);
        let program = if self.user.is_some() { shared_program(&scratch) } else { PathBuf::from(PROGRAM) };
        let mut words = self.wrapper;
        words.push(program.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(&self.flags).arg("-c").arg(&config);
        command.envs(self.environment).current_dir(scratch.path());
        if is_root() && self.user.is_none() && self.serves_as_itself {
            // Directories of tests are their user's, and most tests are not about who serves them.
            command.args(["--user", "root"]);
        }
        if let Some(id) = self.user {
            // The standard library gives up the supplementary groups along with the user.
            command.uid(id).gid(id);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (command.spawn().expect("the program can be started"), scratch)
    }
}

impl Config {
    /// The path to name to the program; the file is written where it is ours.
    fn path(&self, scratch: &Scratch) -> PathBuf {
        let text = match self {
            Config::Keys(keys) => keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect(),
            Config::Text(text) => text.clone(),
            Config::Other(path) => return path.clone(),
        };
        let path = scratch.path().join("otus-httpd.conf");
        write(&path, text);
        path
    }
}

/// A copy of the program where every user can reach it: a build directory is often private.
fn shared_program(scratch: &Scratch) -> PathBuf {
    let copy = scratch.path().join("otus-httpd");
    std::fs::hard_link(PROGRAM, &copy)
        .or_else(|_| std::fs::copy(PROGRAM, &copy).map(drop))
        .expect("the program can be copied");
    set_mode(&copy, 0o755);
    copy
}

/// Reads lines in a thread of its own, so that a pipe never fills up.
fn read_lines<T: Send + 'static>(
    lines: impl BufRead + Send + 'static,
    into: Arc<Mutex<T>>,
    take: fn(&mut T, &str),
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            take(&mut lock(&into), &line);
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked elsewhere has its own report; what was read so far is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address in `serving DIR on http://ADDRESS/ with N workers`, or `https`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.strip_prefix("serving ")?.rsplit_once(" on http")?;
    let rest = rest.strip_prefix('s').unwrap_or(rest).strip_prefix("://")?;
    rest.split('/').next()?.parse().ok()
}

/// What each thread of a process waits for, a line each; nothing of one that is gone.
fn threads_of(process: u32) -> String {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let line = |thread: std::fs::DirEntry| {
        let read = |name| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        format!("{} waits in {} ({})\n", read("comm").trim(), read("wchan"), read("syscall").trim())
    };
    threads.map(line).collect()
}

/// What a program that ended by itself left.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The lines of a printed configuration without the places that they come from.
pub(crate) fn bare(printed: &str) -> Vec<&str> {
    let is_said = |line: &&str| !line.starts_with("# ");
    printed.lines().filter(is_said).map(|line| line.split_once("  # ").map_or(line, |(line, _)| line)).collect()
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    announced: Arc<Mutex<Vec<String>>>,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    panics_expected: bool,
    exit: Option<ExitStatus>,
    _scratch: Scratch,
}

impl Server {
    /// Two workers that serve the site's root.
    pub(crate) fn of(site: &Site) -> Server {
        Setup::root(&site.root()).start()
    }

    /// The same, which understands HTTP/2 as well.
    pub(crate) fn of_both_versions(site: &Site) -> Server {
        Setup::root(&site.root()).set("h2c", true).start()
    }

    /// Where it serves, as a client says it.
    pub(crate) fn address(&self) -> SocketAddr {
        let mut address = self.addresses()[0];
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        address
    }

    /// Every address that it announced so far.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.announcements().iter().filter_map(|line| address_in(line)).collect()
    }

    /// The lines that it wrote to standard output so far.
    pub(crate) fn announcements(&self) -> Vec<String> {
        lock(&self.announced).clone()
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// The answer to a GET on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        lock(&self.log).clone()
    }

    /// Waits until the log says `text`.
    pub(crate) fn wait_for_log(&self, text: &str) {
        assert!(holds_within(HANG, || self.log().contains(text)), "the log never says {text:?}:\n{}", self.log());
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is our child");
    }

    /// The exit status, once it has one.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().expect("it is our child");
        }
        self.exit
    }

    /// Waits for it to end by itself, and takes note of its exit code so that it may be any.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        eventually("the server's end", || self.exited().is_some());
        let code = self.exited().and_then(|exit| exit.code());
        // From here on nothing is left for the end of the test to judge but the log.
        self.exit = Some(ExitStatus::default());
        code
    }

    /// What its open descriptors refer to, as /proc says it.
    pub(crate) fn descriptors(&self) -> Vec<Descriptor> {
        let directory = format!("/proc/{}/fd", self.child.id());
        let entries = std::fs::read_dir(directory).expect("our child's descriptors can be listed");
        let number = |name: OsString| name.to_str().and_then(|name| name.parse().ok());
        // One that was closed meanwhile has no target any more.
        let open = entries.flatten().filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            Some(Descriptor { number: number(entry.file_name())?, target })
        });
        open.collect()
    }

    /// How many sockets it has open.
    pub(crate) fn sockets(&self) -> usize {
        self.descriptors().iter().filter(|descriptor| descriptor.is_socket()).count()
    }

    /// Waits until it has as many sockets as it had.
    pub(crate) fn wait_for_sockets(&self, count: usize) {
        assert!(
            holds_within(HANG, || self.sockets() <= count),
            "sockets leak: {} instead of {count}:\n{}",
            self.sockets(),
            self.log()
        );
    }

    /// The flags of an open descriptor, as fcntl(2) names them.
    pub(crate) fn descriptor_flags(&self, number: u32) -> Option<u32> {
        let text = std::fs::read_to_string(format!("/proc/{}/fdinfo/{number}", self.child.id())).ok()?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
        u32::from_str_radix(flags.trim(), 8).ok()
    }

    /// What all of its threads have read so far, as /proc counts it.
    pub(crate) fn io(&self) -> Io {
        let text =
            std::fs::read_to_string(format!("/proc/{}/io", self.child.id())).expect("our child's counts can be read");
        let count = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok()).expect("the kernel counts it")
        };
        Io { read_bytes: count("read_bytes:"), rchar: count("rchar:") }
    }

    /// Its memory that is resident.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel counts it");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
    }

    /// Ends it and judges how it ended.
    fn end(&mut self) -> Result<(), String> {
        if self.exited().is_none() {
            self.signal(Signal::TERM);
            if !holds_within(HANG, || self.exited().is_some()) {
                self.child.kill().expect("it is our child");
                self.child.wait().expect("it is our child");
                return Err("it did not end by SIGTERM".to_owned());
            }
        }
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader only reads");
        }
        let exit = self.exit.expect("it has ended");
        if !exit.success() {
            return Err(format!("it ended with {exit}"));
        }
        if !self.panics_expected && self.log().contains("panic") {
            return Err("its log tells of a panic".to_owned());
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ending = self.end();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        } else if let Err(why) = ending {
            panic!("{why}:\n{}", self.log());
        }
    }
}

/// What a process has read (proc_pid_io(5)).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Io {
    /// Bytes that came from a disk for it: past the page cache, or to fill it.
    pub(crate) read_bytes: u64,
    /// Bytes that it asked for by read, pread and sendfile, wherever they came from; not by recv, nor through a ring.
    pub(crate) rchar: u64,
}

/// An open descriptor of a server.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) number: u32,
    pub(crate) target: String,
}

impl Descriptor {
    /// Whether it is a socket.
    pub(crate) fn is_socket(&self) -> bool {
        self.target.starts_with("socket:")
    }
}

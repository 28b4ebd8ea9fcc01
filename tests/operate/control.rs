//! The server in the background: daemons, pid files, and `otus-httpdctl` where no systemd runs the machine.
//!
//! Invariant: no process outlives its test, and none but those of the test is sent a signal.

use crate::harness::server::{PROGRAM, Setup};
use crate::harness::{Client, NOBODY, Site, eventually, is_root, skipped};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A configuration, a pid file, and the script that is told of both.
struct Control {
    site: Site,
    conf: PathBuf,
    pid_file: PathBuf,
    socket: PathBuf,
}

impl Control {
    fn new() -> Control {
        let site = Site::new();
        site.file("a.txt", "a");
        let at = |name| site.outside().join(name);
        let control = Control { conf: at("conf"), pid_file: at("pid"), socket: at("socket"), site };
        control.configure("");
        control
    }

    fn configure(&self, more: &str) {
        self.configure_with_log(&format!("'{}'", self.site.outside().join("error.log").display()), more);
    }

    fn configure_with_log(&self, log: &str, more: &str) {
        let user = if is_root() { "user = 'root'\n" } else { "" };
        let text = format!(
            "listen = ['unix:{}']\nroot = '{}'\nworkers = 1\ndrain_timeout = 1\nerror_log = {log}\n{user}{more}\n",
            self.socket.display(),
            self.site.root().display()
        );
        std::fs::write(&self.conf, text).expect("a file of the test's own");
    }

    /// What came of a command: its exit code, and all that it printed.
    fn tell(&self, command: &str) -> (i32, String) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/otus-httpdctl");
        let output = Command::new("sh")
            .args([script, command])
            .env("OTUS_HTTPD_PROGRAM", PROGRAM)
            .env("OTUS_HTTPD_CONF", &self.conf)
            .env("OTUS_HTTPD_PID_FILE", &self.pid_file)
            .stdin(Stdio::null())
            .output();
        outcome(output.expect("every machine has a shell"))
    }

    /// The same of one that must do what it is told.
    fn succeed(&self, command: &str) -> String {
        let (code, said) = self.tell(command);
        assert_eq!(code, 0, "{command}: {said}");
        said
    }

    /// The process that the pid file names.
    fn pid(&self) -> Option<Pid> {
        std::fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok().and_then(Pid::from_raw)
    }

    /// The program, told to be a daemon.
    fn daemonize(&self, more: &[&str]) -> (i32, String) {
        let mut command = Command::new(PROGRAM);
        command.arg("--daemonize").arg("--pid-file").arg(&self.pid_file).arg("-c").arg(&self.conf).args(more);
        outcome(command.stdin(Stdio::null()).output().expect("the program can be started"))
    }

    fn get(&self) -> Vec<u8> {
        Client::connect_unix(&self.socket).get("/a.txt").content
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.site.outside().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The number may be one that the test wrote itself.
        let is_ours = |pid: &Pid| {
            let program = std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero()));
            program.is_ok_and(|program| program == Path::new(PROGRAM))
        };
        if let Some(pid) = self.pid().filter(is_ours) {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn outcome(output: Output) -> (i32, String) {
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(said).expect("text"))
}

#[test]
fn a_server_is_started_changed_and_stopped() {
    let control = Control::new();
    assert_eq!(control.tell("status"), (3, "otus-httpd is not running\n".to_owned()));
    assert_eq!(control.tell("stop").0, 0, "what does not run is stopped");
    assert_eq!(control.tell("reload"), (3, "otus-httpdctl: it is not running\n".to_owned()));
    control.succeed("test");

    let said = control.succeed("start");
    assert!(said.contains("serving ") && said.contains("messages go to "), "{said}");
    assert_eq!(control.get(), b"a");
    let first = control.pid().expect("it serves");
    let status = control.succeed("status");
    assert!(status.starts_with(&format!("otus-httpd is running, process {}\n", first.as_raw_nonzero())), "{status}");
    assert!(control.succeed("start").contains("is running already"));
    control.succeed("test");

    control.configure("[admin]\nlisten = ['unix:ADMIN']".replace("ADMIN", &admin(&control)).as_str());
    control.succeed("reload");
    eventually("the admin listener", || Path::new(&admin(&control)).exists());
    let status = control.succeed("status");
    assert!(status.contains("serving, up"), "{status}");
    assert_eq!(control.pid(), Some(first), "a reload is none of a process");

    control.succeed("restart");
    let second = control.pid().expect("it serves");
    assert_ne!(first, second);
    assert_eq!(control.get(), b"a");

    control.configure("wrokers = 1");
    for command in ["reload", "restart", "test"] {
        let (code, said) = control.tell(command);
        assert!(code == 1 && said.contains("unknown key `wrokers`"), "{command}: {said}");
    }
    let (_, said) = control.tell("reload");
    assert!(said.lines().count() == 1 && said.starts_with("otus-httpdctl: the reload is refused, "), "{said}");
    assert_eq!((control.pid(), control.get()), (Some(second), b"a".to_vec()), "it serves as before");

    control.configure("");
    control.succeed("stop");
    assert_eq!(control.tell("status").0, 3);
    assert!(!control.pid_file.exists() && !control.socket.exists());
    assert!(control.log().ends_with("stopped\n"), "{}", control.log());
}

fn admin(control: &Control) -> String {
    control.site.outside().join("admin").display().to_string()
}

#[test]
fn a_newer_process_takes_over() {
    let control = Control::new();
    control.succeed("start");
    let mut processes = vec![control.pid()];
    for _ in 0..2 {
        let said = control.succeed("upgrade");
        let now = control.pid();
        assert!(now.is_some() && !processes.contains(&now), "{said}");
        assert!(
            said.contains(&format!("upgraded: process {} serves", now.expect("it is some").as_raw_nonzero())),
            "{said}"
        );
        assert_eq!(control.get(), b"a");
        control.succeed("reload");
        processes.push(now);
    }
    let serving = control.pid();
    // Of a configuration that cannot be read, and of one that cannot be served.
    control.configure("wrokers = 1");
    let (code, said) = control.tell("upgrade");
    assert!(code == 1 && said.starts_with("otus-httpdctl: the upgrade is refused, nothing has changed: "), "{said}");
    control.configure("[[site]]\nserver_name = 'a'\nroot = '/no/such/directory'");
    let (code, said) = control.tell("upgrade");
    assert!(code == 1 && said.lines().count() == 1 && said.contains("serves on as before"), "{code}: {said}");
    assert!(control.log().contains("no such directory"), "{}", control.log());
    assert_eq!((control.pid(), control.get()), (serving, b"a".to_vec()));
    control.configure("");
    control.succeed("stop");
    assert!(!control.pid_file.exists());
    let is_gone = |pid: &Option<Pid>| {
        let pid = pid.expect("each was read").as_raw_nonzero();
        std::fs::read_link(format!("/proc/{pid}/exe")).is_err()
    };
    eventually("the end of all of them", || processes.iter().all(is_gone));
}

#[test]
fn no_process_of_somebody_else_is_sent_a_signal() {
    let control = Control::new();
    let mut other = Command::new("sleep").arg("600").spawn().expect("every machine has sleep");
    let number = other.id().to_string();
    // Of the test's own, of the machine's first process, of nobody, and what is no number at all.
    for text in [number.as_str(), "1", "4194304", "-1", "0", "nonsense", "1 2", ""] {
        std::fs::write(&control.pid_file, text).expect("a file of the test's own");
        let (code, said) = control.tell("status");
        assert!(code == if text.is_empty() { 3 } else { 1 }, "{text:?}: {code}: {said}");
        for command in ["stop", "reload", "upgrade"] {
            let (code, said) = control.tell(command);
            assert!(said.contains("not running") && code == if command == "stop" { 0 } else { 3 }, "{text:?}: {said}");
        }
    }
    assert!(other.try_wait().expect("it is our child").is_none(), "it was left alone");
    std::fs::write(&control.pid_file, &number).expect("a file of the test's own");
    control.succeed("start");
    assert_ne!(control.pid().map(|pid| pid.as_raw_nonzero().to_string()), Some(number), "a stale file is taken over");
    assert_eq!(control.get(), b"a");
    other.kill().and_then(|()| other.wait()).expect("it is our child");
    control.succeed("stop");
}

#[test]
fn a_wrong_command_is_one_line() {
    let control = Control::new();
    let (code, said) = control.tell("frobnicate");
    assert!(code == 2 && said.lines().count() == 1 && said.contains("no command frobnicate"), "{said}");
    assert_eq!(control.tell("help").0, 0);
}

#[test]
fn a_daemon_that_cannot_serve_says_why() {
    let control = Control::new();
    control.configure("wrokers = 1");
    let (code, said) = control.daemonize(&[]);
    assert!(code == 1 && said.contains("unknown key `wrokers`"), "{code}: {said}");
    control.configure("");
    let (code, said) = control.daemonize(&["-r", "/no/such/directory"]);
    assert!(code == 1 && said.lines().count() == 1 && said.contains("no such directory"), "{code}: {said}");
    assert!(!control.pid_file.exists(), "nothing is left of it");
    assert_eq!(control.daemonize(&["-w", "many"]).0, 2);

    control.configure("access_log = 'stdout'");
    let (code, said) = control.daemonize(&[]);
    assert!(code == 1 && said.contains("a daemon has no stdout"), "{code}: {said}");

    control.configure("");
    assert_eq!(control.daemonize(&[]).0, 0);
    let first = control.pid();
    let (code, said) = control.daemonize(&[]);
    assert!(code == 1 && said.lines().count() == 1 && said.contains("serves already"), "{code}: {said}");
    assert_eq!((control.pid(), control.get()), (first, b"a".to_vec()));
    control.succeed("stop");
}

/// After a crash in a container the numbers are given out anew, and that of the server before may be that of who starts the next.
#[test]
fn whoever_starts_a_daemon_is_not_taken_for_one() {
    let control = Control::new();
    let script = "echo $$ > \"$1\"; exec \"$2\" -c \"$3\" --daemonize --pid-file \"$1\"";
    let mut starter = Command::new("sh");
    starter.args(["-c", script, "sh"]).args([&control.pid_file, Path::new(PROGRAM), &control.conf]);
    let (code, said) = outcome(starter.output().expect("every machine has sh"));
    assert_eq!(code, 0, "{said}");
    control.succeed("stop");
}

/// The default is standard error, which a daemon does not have.
#[test]
fn what_a_daemon_has_to_say_is_not_lost() {
    let control = Control::new();
    control.configure_with_log("'stderr'", "");
    let (code, said) = control.daemonize(&[]);
    if Path::new("/dev/log").exists() {
        assert!(code == 0 && said.contains("messages go to syslog"), "{code}: {said}");
        control.succeed("stop");
    } else {
        assert!(code == 1 && said.contains("no syslog is here") && said.contains("error_log = "), "{code}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_daemon_has_no_terminal_and_no_parent() {
    let control = Control::new();
    assert_eq!(control.daemonize(&[]).0, 0);
    let pid = control.pid().expect("it serves").as_raw_nonzero();
    for stream in 0..3 {
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{stream}")).expect("it is open");
        assert_eq!(link, Path::new("/dev/null"));
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("a name ends").split(' ').collect();
    assert_eq!((fields[3].parse(), fields[4]), (Ok(pid.get()), "0"), "a session of its own, and no terminal");
    // Messages of a reload go where those of the start went.
    control.configure("cache_size = '2m'");
    control.succeed("reload");
    eventually("the reload", || control.log().contains("reloaded in"));
    control.configure_with_log("'stderr'", "access_log = 'stderr'");
    kill_process(Pid::from_raw(pid.get()).expect("a number"), Signal::HUP).expect("it is ours");
    eventually("the refusal", || control.log().contains("a daemon has no stderr"));
    control.succeed("stop");
}

/// Once rights are given up, the file must still be for the process to rewrite, and be empty at the end if it must stay.
#[test]
fn a_pid_file_in_a_directory_of_root_is_emptied() {
    if !is_root() {
        return skipped("a pid file in a directory of root", "only root can start as root");
    }
    let site = Site::new();
    let directory = site.outside().join("run");
    std::fs::create_dir(&directory).expect("a directory of the test's own");
    let file = directory.join("pid");
    std::os::unix::fs::chown(site.root(), Some(NOBODY), None).expect("root gives it away");
    let server = Setup::flags(["-a", "127.0.0.1:0", "-w", "1", "--user", "nobody", "--pid-file"])
        .flag(&file.display().to_string())
        .drops_rights()
        .start();
    eventually("the pid file", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text == format!("{}\n", server.pid().as_raw_nonzero())
    });
    assert_eq!(std::fs::metadata(&file).expect("it is there").uid(), NOBODY);
    drop(server);
    assert_eq!(std::fs::read_to_string(&file).expect("root's directory keeps it"), "");
}

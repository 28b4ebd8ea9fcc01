//! Looks at all that a start or a reload would stumble over, and reports every finding instead of the first.
//!
//! Order: document roots · password files · certificates · logs · direct reads · the process and the kernel · ports · the clock. The checks are those of
//! [`preflight`] and [`listen`], run to the end.
//!
//! Invariant: a finding is an error exactly when a start (or a reload) would be refused for it, or could not serve what is configured.

use super::inherit::Pool;
use super::privileges::Identity;
use super::reach::{self, Account, Reach, Want};
use super::{Options, StartError, admin, certificate_findings, listen, logs, preflight, sandbox};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fmt::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It will serve, and not as it should.
    Warning,
    /// It would not start, or could not serve what is configured.
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One thing that was looked at, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at.
    pub topic: &'static str,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding; `text` is what was found, and behind a semicolon the remedy.
    pub fn new(level: Level, topic: &'static str, text: &str) -> Finding {
        let (what, remedy) = match text.split_once("; ") {
            Some((what, remedy)) => (what.to_owned(), Some(remedy.to_owned())),
            None => (text.to_owned(), None),
        };
        Finding { level, topic, what, remedy }
    }

    /// What a check came to.
    pub(super) fn of(topic: &'static str, outcome: &Result<String, StartError>) -> Finding {
        match outcome {
            Ok(what) => Finding { level: Level::Ok, topic, what: what.clone(), remedy: None },
            Err(StartError(text)) => Finding::new(Level::Error, topic, text),
        }
    }

    /// What was found, and the remedy: as a start says it.
    pub fn message(&self) -> String {
        let Finding { what, remedy, .. } = self;
        remedy.as_ref().map_or_else(|| what.clone(), |remedy| format!("{what}; {remedy}"))
    }
}

impl fmt::Display for Finding {
    /// One line of a report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<7}  {}: {}", self.level.word(), self.topic, self.message())
    }
}

/// All findings as one JSON document.
pub fn json(findings: &[Finding]) -> String {
    let version = quoted(env!("CARGO_PKG_VERSION"));
    let is_ok = findings.iter().all(|finding| finding.level < Level::Error);
    let objects = findings.iter().map(|Finding { level, topic, what, remedy }| {
        let remedy = remedy.as_ref().map_or_else(|| "null".to_owned(), |remedy| quoted(remedy));
        let (level, topic, what) = (quoted(level.word()), quoted(topic), quoted(what));
        format!("{{\"level\":{level},\"topic\":{topic},\"what\":{what},\"remedy\":{remedy}}}")
    });
    let objects: Vec<_> = objects.collect();
    format!("{{\"version\":{version},\"ok\":{is_ok},\"findings\":[{}]}}", objects.join(","))
}

/// A text in JSON (RFC 8259 §7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A start: the kernel's grants and the ports are looked at too.
    Start,
    /// A start with a configuration of which parts could not be read: ports are left alone, for the addresses may be wrong.
    StartOfParts,
    /// A reload by a server that runs, and holds its ports.
    Reload,
}

/// Looks at everything, with the eyes of the account that the server will run as.
pub fn examine(options: &Options, occasion: Occasion) -> Vec<Finding> {
    let mut findings = Vec::new();
    let identity = match Identity::choose(&options.privileges) {
        Ok(identity) => Some(identity),
        Err(error) => {
            findings.push(Finding::of("user", &Err(error)));
            None
        }
    };
    let owner = identity.as_ref().and_then(Identity::owner);
    let account = identity.as_ref().and_then(Identity::account).map(|account| Account {
        name: account.name.clone(),
        uid: account.uid,
        gid: account.gid,
        groups: account.groups(),
    });
    let account = account.as_ref();
    if let Some(account) = account {
        findings.push(Finding::new(Level::Ok, "user", &format!("it will serve as the user {}", account.name)));
    }
    for root in options.roots() {
        let outcome = preflight::check_root(root);
        let is_good = outcome.is_ok();
        findings.push(of_account(Finding::of("root", &outcome), account, root, Want::Directory));
        if is_good {
            findings.push(direct_reads(root));
        }
    }
    for file in options.password_files() {
        let good = Finding::new(Level::Ok, "password file", &format!("{}: can be read", file.display()));
        findings.push(of_account(good, account, file, Want::File));
    }
    findings.extend(certificate_findings::examine(&options.tls, account, occasion));
    findings.extend(logs::check(options).iter().map(|outcome| Finding::of("log", outcome)));
    if occasion != Occasion::Reload {
        findings.extend(preflight::process(options).map(|(topic, outcome)| Finding::of(topic, &outcome)));
    }
    match occasion {
        Occasion::Start => {
            findings.extend(listen::try_each(options, owner).iter().map(|outcome| Finding::of("listen", outcome)));
            if !options.admin.listen.is_empty() {
                let opened = admin::open(&options.admin, owner, &mut Pool::default());
                let addresses: Vec<_> = options.admin.listen.iter().map(ToString::to_string).collect();
                findings.push(Finding::of(
                    "admin",
                    &opened.map(|_| format!("{} can be listened on", addresses.join(", "))),
                ));
            }
        }
        Occasion::StartOfParts => {
            findings.push(Finding::new(Level::Note, "listen", "not looked at while the configuration has errors"));
        }
        Occasion::Reload => {}
    }
    findings.push(sandbox(options));
    findings.push(clock(SystemTime::now(), preflight::is_clock_synchronised()));
    findings
}

/// Whether the workers are confined.
fn sandbox(options: &Options) -> Finding {
    let level = if sandbox::is_wanting(&options.sandbox) { Level::Note } else { Level::Ok };
    Finding::new(level, "sandbox", &sandbox::describe(&options.sandbox))
}

/// A good finding about a path, held against the rights of the account.
fn of_account(good: Finding, account: Option<&Account>, path: &Path, want: Want) -> Finding {
    let Some(account) = account.filter(|_| good.level == Level::Ok) else { return good };
    let topic = good.topic;
    match reach::reach(account, path, want) {
        Reach::Granted => Finding { what: format!("{} by the user {}", good.what, account.name), ..good },
        Reach::Denied(why) => {
            Finding::new(Level::Error, topic, &format!("{}: permission denied: {why}", path.display()))
        }
        Reach::Unknown(why) => Finding::new(Level::Note, topic, &format!("{}: {why}", path.display())),
    }
}

/// Entries of a root that are tried until one is a file.
const TRIED_MAX: usize = 256;

/// Whether files of this root can be read past the page cache, as large ones are: one of them is opened to see.
fn direct_reads(root: &Path) -> Finding {
    let say = |level, what: &str| Finding::new(level, "direct reads", &format!("{}: {what}", root.display()));
    let entries = std::fs::read_dir(root).into_iter().flatten().take(TRIED_MAX).flatten();
    let mut files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = files.find_map(|file| match rustix::fs::open(file.path(), flags, Mode::empty()) {
        Ok(_) => Some(true),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Some(false),
        // One that is gone or locked says nothing about the others.
        Err(_) => None,
    });
    match opened {
        Some(true) => say(Level::Ok, "large files are read past the page cache (O_DIRECT)"),
        Some(false) => {
            say(Level::Note, "the file system has none; fallback: large files are read through the page cache")
        }
        None => say(Level::Note, "it holds no file to try them with"),
    }
}

/// Before this no release of otus-httpd was made; a clock that says less was never set. 2025-01-01.
const CLOCK_SECONDS_MIN: u64 = 1_735_689_600;

/// 2100-01-01.
const CLOCK_SECONDS_MAX: u64 = 4_102_444_800;

/// Date, Last-Modified, Expires and every comparison of them go by the clock.
fn clock(now: SystemTime, is_synchronised: Option<bool>) -> Finding {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let say = |level, what: &str| {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(CLOCK_SECONDS_MAX)));
        Finding::new(level, "clock", &format!("{date}{what}"))
    };
    if !(CLOCK_SECONDS_MIN..CLOCK_SECONDS_MAX).contains(&seconds) {
        return say(Level::Warning, " cannot be; set the clock, for caches compare it with theirs");
    }
    match is_synchronised {
        Some(true) => say(Level::Ok, ", synchronised"),
        Some(false) => say(Level::Note, ", and the kernel knows of nothing that keeps it right; run an NTP client"),
        None => say(Level::Ok, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn findings_are_lines_and_json() {
        let bad = Finding::new(Level::Error, "root", "/x\"\n: no such directory; make it; or not");
        assert_eq!((bad.what.as_str(), bad.remedy.as_deref()), ("/x\"\n: no such directory", Some("make it; or not")));
        let good = Finding::of("kernel", &Ok("Linux 6; and more".to_owned()));
        assert_eq!(good.to_string(), "ok       kernel: Linux 6; and more");
        let text = json(&[bad.clone(), good.clone()]);
        let expected = format!(
            "{{\"version\":\"{}\",\"ok\":false,\"findings\":[{{\"level\":\"error\",\"topic\":\"root\",\"what\":\"/x\\\"\\u000a: no \
             such directory\",\"remedy\":\"make it; or not\"}},{{\"level\":\"ok\",\"topic\":\"kernel\",\"what\":\"Linux 6; and \
             more\",\"remedy\":null}}]}}",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text, expected);
        assert!(json(&[good]).contains("\"ok\":true"));
    }

    #[test]
    fn a_clock_that_was_never_set_is_told() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (seconds, is_synchronised, level) in [
            (0, Some(true), Level::Warning),
            (CLOCK_SECONDS_MIN, Some(true), Level::Ok),
            (CLOCK_SECONDS_MIN, None, Level::Ok),
            (CLOCK_SECONDS_MIN, Some(false), Level::Note),
            (CLOCK_SECONDS_MAX, Some(true), Level::Warning),
            (u64::from(u32::MAX) * 1000, None, Level::Warning),
        ] {
            assert_eq!(clock(at(seconds), is_synchronised).level, level, "{seconds}");
        }
    }

    #[test]
    fn direct_reads_are_tried_with_a_file() {
        assert_eq!(direct_reads(Path::new("/proc/self/fdinfo/none")).level, Level::Note);
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Whether they work depends on where the source lies; that there is a file does not.
        assert!(!direct_reads(source).what.contains("no file"));
    }
}

//! What is typed: one definition an option, from which come the parser and the help.
//!
//! Invariant: nothing here has a default. What was not typed is absent, so that the
//! configuration file can say it.

use clap::{ArgAction, ArgGroup, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Serves the files of a directory over HTTP.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "otus-httpd", version, about, long_about = None, disable_version_flag = true, disable_help_subcommand = true)]
#[command(group = ArgGroup::new("checks").args(["test", "reload_check"]))]
pub struct Args {
    /// Address to listen on, with a port or without; may be given several times
    #[arg(short = 'a', long, alias = "host", value_name = "ADDR")]
    pub address: Vec<String>,

    /// Port for addresses that name none; 0 lets the system choose [default: 8080]
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Directory to serve
    #[arg(short = 'r', long, visible_alias = "rootdir", alias = "document_root", value_name = "DIR")]
    pub document_root: Option<PathBuf>,

    /// Account to serve as, once started as root and listening; `root` stays root
    #[arg(long, value_name = "NAME[:GROUP]")]
    pub user: Option<String>,

    /// Number of worker threads, each on a core of its own; auto: one for each usable core [default: auto]
    #[arg(short, long, value_name = "N|auto", value_parser = parse_workers)]
    pub workers: Option<Workers>,

    /// Seconds a client has to send a request head [default: 15]
    #[arg(long, alias = "read_timeout", value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub read_timeout: Option<u32>,

    /// Seconds between looks of the supervisor after its workers [default: 5]
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub checkalive: Option<u32>,

    /// Configuration file [default: /etc/otus-httpd.conf, if there is one]
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Check configuration, document roots, ports and what the kernel grants; report every finding, and exit
    #[arg(short = 't', long = "test")]
    pub test: bool,

    /// The same for a server that runs: whether a reload would be accepted
    #[arg(long, conflicts_with = "test")]
    pub reload_check: bool,

    /// Report as one JSON document, with --test or --reload-check
    #[arg(long, requires = "checks")]
    pub json: bool,

    /// Print the configuration in force, with the place that each value comes from, and exit
    #[arg(short = 'T', long = "print-config")]
    pub print_config: bool,

    /// Serve in the background: return once it serves, or say why it does not
    #[arg(long, conflicts_with_all = ["test", "reload_check", "print_config"])]
    pub daemonize: bool,

    /// File for the number of the process that serves, while it does
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Tell more on standard error; twice: everything
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    pub version: Option<bool>,

    /// What to do in the place of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do in the place of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show the state of a running server, each second at a terminal
    Status(StatusArgs),
    /// Make a certificate that vouches for itself, and its key: for trials of HTTPS
    SelfSigned(SelfSignedArgs),
}

/// What a certificate is made for.
#[derive(Clone, Debug, clap::Args)]
pub struct SelfSignedArgs {
    /// Host name or address that it is for; may be given several times
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,

    /// Directory for NAME.crt and NAME.key [default: this one]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Days that it holds for [default: 90]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: Option<u32>,
}

/// How the state of a running server is shown.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// Socket of the server's admin listener [default: from the configuration file]
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub socket: Option<PathBuf>,

    /// Address of the server's admin listener, such as http://127.0.0.1:8081
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Show it once, and end
    #[arg(long)]
    pub once: bool,

    /// Ask one thing only, for probes of containers and scripts: exit code 0 is yes, 1 is no
    #[arg(long, value_name = "health|ready", value_enum, hide_possible_values = true, conflicts_with = "once")]
    pub check: Option<Question>,
}

/// What can be asked of a running server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Question {
    /// Whether the heart of every worker beats
    Health,
    /// Whether it should be sent requests
    Ready,
}

impl Question {
    /// Where the admin listener answers it.
    pub fn path(self) -> &'static str {
        match self {
            Question::Health => "/health",
            Question::Ready => "/ready",
        }
    }
}

/// A number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One for each core that the process may use.
    Auto,
    /// This many.
    Fixed(usize),
}

/// More threads than this on one machine is a slip of the keyboard.
pub const WORKERS_MAX: usize = 1024;

/// Reads `auto` or a number of workers.
pub fn parse_workers(value: &str) -> Result<Workers, String> {
    if value.eq_ignore_ascii_case("auto") {
        return Ok(Workers::Auto);
    }
    match value.parse() {
        Ok(number @ 1..=WORKERS_MAX) => Ok(Workers::Fixed(number)),
        _ => Err(format!("expected auto or a number from 1 to {WORKERS_MAX}")),
    }
}

/// What came of the command line.
pub enum Typed {
    /// Options to go on with.
    Args(Box<Args>),
    /// Help or version was asked for: a text for standard output.
    Text(String),
    /// Something was wrong: one line.
    Wrong(String),
}

/// Reads the command line, program name first.
pub fn parse(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Typed {
    match Args::try_parse_from(arguments) {
        Ok(args) => Typed::Args(Box::new(args)),
        Err(error) if !error.use_stderr() => Typed::Text(error.render().to_string()),
        Err(error) => {
            let text = error.render().to_string();
            // The parser's message is its first paragraph; what follows is its usage text.
            let first = text.split("\n\n").next().unwrap_or(&text);
            let line: Vec<_> = first.split_whitespace().collect();
            Typed::Wrong(line.join(" ").trim_start_matches("error: ").to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        match parse(std::iter::once("otus-httpd").chain(line.split_whitespace()).map(Into::into)) {
            Typed::Args(args) => *args,
            Typed::Text(text) | Typed::Wrong(text) => panic!("{line}: {text}"),
        }
    }

    fn wrong(line: &str) -> String {
        match parse(std::iter::once("otus-httpd").chain(line.split_whitespace()).map(Into::into)) {
            Typed::Wrong(text) => text,
            _ => panic!("{line} was accepted"),
        }
    }

    #[test]
    fn all_spellings_of_the_predecessors_are_understood() {
        let expected = |args: Args| (args.workers, args.port, args.document_root, args.address);
        let root = Some(PathBuf::from("ROOT"));
        let local = vec!["127.0.0.1".to_owned()];
        for (line, workers, address) in [
            ("-w=5 -p=8080 -r=ROOT", 5, vec![]),
            ("-w 5 -p 8080 -r ROOT", 5, vec![]),
            ("-p 8080 -a 127.0.0.1 -r ROOT -w 2", 2, local.clone()),
            ("--port 8080 --rootdir ROOT --workers 8", 8, vec![]),
            ("-w 4 --checkalive 5 --read_timeout 5 --document_root ROOT --host 127.0.0.1 -p 8080", 4, local.clone()),
            ("-w 4 --read-timeout=5 --document-root=ROOT --address=127.0.0.1 --port=8080", 4, local),
        ] {
            let expected_here = (Some(Workers::Fixed(workers)), Some(8080), root.clone(), address);
            assert_eq!(expected(args(line)), expected_here, "{line}");
        }
        assert_eq!(args("-w auto").workers, Some(Workers::Auto));
        assert_eq!(args("-a ::1 -a [::1]:80").address, ["::1", "[::1]:80"]);
        assert_eq!(args("-vv").verbose, 2);
        assert!(args("-t").test && args("-T").print_config);
        assert!(args("-t --json").json && args("--reload-check --json").reload_check);
    }

    #[test]
    fn a_bad_value_is_one_line_that_names_the_option() {
        for (line, named) in [
            ("-p 99999", "--port"),
            ("-p http", "--port"),
            ("-w 0", "--workers"),
            ("-w many", "--workers"),
            ("--read-timeout 0", "--read-timeout"),
            ("--checkalive -1", "-1"),
            ("--wrokers 5", "--wrokers"),
            ("-r", "--document-root"),
            ("stray", "stray"),
            ("--json", "--test"),
            ("-t --reload-check", "--reload-check"),
            ("-t --daemonize", "--daemonize"),
        ] {
            let message = wrong(line);
            assert!(message.contains(named), "{line}: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
            assert!(!message.starts_with("error"), "{message}");
        }
    }

    #[test]
    fn the_state_is_asked_for_by_a_word() {
        let Some(Command::Status(status)) = args("-c FILE status --socket /x --once").command else { panic!("status") };
        assert_eq!((status.socket, status.url, status.once), (Some("/x".into()), None, true));
        assert_eq!(args("status -c FILE").config, Some("FILE".into()));
        assert!(wrong("status --socket /x --url http://a").contains("--url"));
        let Some(Command::Status(status)) = args("status --check ready").command else { panic!("status") };
        assert_eq!(status.check, Some(Question::Ready));
        assert!(wrong("status --check alive").contains("health, ready"));
        assert!(wrong("status --check health --once").contains("--once"));
    }

    #[test]
    fn help_names_every_option() {
        let Typed::Text(help) = parse(["otus-httpd", "--help"].map(Into::into)) else { panic!("help is a text") };
        for option in [
            "--address",
            "--port",
            "--document-root",
            "--user",
            "--workers",
            "--read-timeout",
            "--checkalive",
            "--config",
            "--json",
            "--daemonize",
            "--pid-file",
        ] {
            assert!(help.contains(option), "{option}");
        }
    }
}

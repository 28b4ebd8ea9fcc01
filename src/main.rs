//! The program: exit codes and the last line of an error; everything else is the library's.
//!
//! Exit codes: 0 all went well, 1 the server could not start, 2 the command line was wrong.

use otus_httpd::cli::{self, Args, Command, StatusArgs, Typed};
use otus_httpd::config::examine::{Examined, examine};
use otus_httpd::config::{Config, ConfigError, DEFAULT_FILE};
use otus_httpd::observe::{log, notes};
use otus_httpd::server::daemon::{self, Daemon};
use otus_httpd::server::doctor::{self, Finding, Level, Occasion};
use otus_httpd::server::reader::Duty;
use otus_httpd::server::self_signed;
use otus_httpd::server::{self, Address, Options, Start, StartError};
use otus_httpd::watch::{self, Place};
use std::io::Write;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::privileges::forbid_new();
    if server::upgrade::launch() {
        return ExitCode::SUCCESS;
    }
    match cli::parse(std::env::args_os()) {
        Typed::Args(args) => run(&args),
        Typed::Text(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Typed::Wrong(line) => fail(2, &line),
    }
}

fn run(args: &Args) -> ExitCode {
    if let Some(duty) = Duty::of_environment() {
        duty.serve(|| Config::load(args).ok().map(|config| config.server_options().tls.files()));
        return ExitCode::SUCCESS;
    }
    let _log = log::init(match args.verbose {
        0 => log::Level::Info,
        1 => log::Level::Debug,
        _ => log::Level::Trace,
    });
    if let Some(Command::Status(status)) = &args.command {
        return show_status(args, status);
    }
    if let Some(Command::SelfSigned(wanted)) = &args.command {
        let days = wanted.days.unwrap_or(SELF_SIGNED_DAYS);
        return match self_signed::make(&wanted.names, wanted.out.as_deref(), days) {
            Ok(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Err(why) => fail(1, &why),
        };
    }
    if args.test || args.reload_check {
        return check(args);
    }
    if args.daemonize {
        // Before anything is opened: the daemon is another process.
        return match daemon::start(std::env::args_os()) {
            Ok(code) => ExitCode::from(code),
            Err(error) => fail(1, &error.to_string()),
        };
    }
    let config = match Config::load(args) {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    if args.print_config {
        print(&config.to_toml());
        return ExitCode::SUCCESS;
    }
    match serve(args, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn serve(args: &Args, config: &Config) -> Result<(), StartError> {
    let daemon = Daemon::begin()?;
    let options = |config: &Config| -> Result<Options, StartError> {
        let options = config.server_options();
        if daemon::is_daemon() { daemon::redirect(options) } else { Ok(options) }
    };
    let reload = || {
        let config = Config::load(args).map_err(|error| error.to_string())?;
        options(&config).map_err(|error| error.to_string())
    };
    let file = args.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let file =
        if file.exists() { file.display().to_string() } else { "none: defaults and the command line".to_owned() };
    notes::set("configuration", file);
    let start = Start { reload: &reload, pid_file: args.pid_file.as_deref(), daemon };
    server::run(options(config)?, start)
}

/// As long as certificates of public authorities.
const SELF_SIGNED_DAYS: u32 = 90;

/// Reports all findings on standard output, and on standard error what a start would say: its first error, or that all is well.
fn check(args: &Args) -> ExitCode {
    let Examined { config, mut findings, shown } = match examine(args) {
        Ok(examined) => examined,
        Err(error) => return refused(&error),
    };
    let occasion = match (args.reload_check, &shown) {
        (true, _) => Occasion::Reload,
        (false, Some(_)) => Occasion::StartOfParts,
        (false, None) => Occasion::Start,
    };
    if let Some(config) = config {
        findings.extend(doctor::examine(&config.server_options(), occasion));
    }
    if args.json {
        print(&(doctor::json(&findings) + "\n"));
    } else {
        print(&findings.iter().map(|finding| format!("{finding}\n")).collect::<String>());
    }
    let first = findings.iter().find(|finding| finding.level == Level::Error).map(Finding::message);
    match shown.or(first) {
        Some(error) => fail(1, &error),
        None => {
            eprintln!("otus-httpd: the configuration is good");
            ExitCode::SUCCESS
        }
    }
}

/// Writes to standard output. Whoever closed it wants no more of it, as `head` does; that is no failure.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn refused(error: &ConfigError) -> ExitCode {
    let code = match error {
        ConfigError::CommandLine(_) => 2,
        ConfigError::File(_) => 1,
    };
    fail(code, &error.to_string())
}

/// Shows the state of the server that the options name, or else of that of the configuration file.
fn show_status(args: &Args, status: &StatusArgs) -> ExitCode {
    let place = match (&status.socket, &status.url) {
        (Some(path), _) => Place::Address(Address::Unix(path.clone())),
        (None, Some(url)) => Place::Url(url.clone()),
        (None, None) => {
            match Config::load(args).map(|config| config.server_options().admin.listen.into_iter().next()) {
                Ok(Some(address)) => Place::Address(address),
                Ok(None) => {
                    let what =
                        "the configuration has no [admin] listen; name the server with --socket PATH or --url URL";
                    return fail(1, what);
                }
                Err(error) => return fail(1, &error.to_string()),
            }
        }
    };
    let outcome = match status.check {
        Some(question) => watch::check(&place, question.path()).map(|answer| print(&(answer + "\n"))),
        None => watch::run(&place, status.once),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

fn fail(code: u8, line: &str) -> ExitCode {
    eprintln!("otus-httpd: {line}");
    // Whoever was to be relieved by this process serves on, and says why.
    server::upgrade::tell_failure(line);
    ExitCode::from(code)
}

//! The program: exit codes and the last line of an error; everything else is the library's.
//!
//! Exit codes: 0 all went well, 1 the server could not start, 2 the command line was wrong.

use otus_httpd::cli::{self, Args, Typed};
use otus_httpd::config::{Config, ConfigError};
use otus_httpd::observe::log::{self, Verbosity};
use otus_httpd::server;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::privileges::forbid_new();
    match cli::parse(std::env::args_os()) {
        Typed::Args(args) => run(&args),
        Typed::Text(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Typed::Wrong(line) => fail(2, &line),
    }
}

fn run(args: &Args) -> ExitCode {
    let _log = log::init(match args.verbose {
        0 => Verbosity::Normal,
        1 => Verbosity::Debug,
        _ => Verbosity::Trace,
    });
    let config = match Config::load(args) {
        Ok(config) => config,
        Err(ConfigError::CommandLine(line)) => return fail(2, &line),
        Err(ConfigError::File(line)) => return fail(1, &line),
    };
    if args.print_config {
        print!("{}", config.to_toml());
        return ExitCode::SUCCESS;
    }
    let options = config.server_options();
    let outcome = if args.test { server::check(&options) } else { server::run(&options) };
    match outcome {
        Ok(()) if args.test => {
            eprintln!("otus-httpd: the configuration is good");
            ExitCode::SUCCESS
        }
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn fail(code: u8, line: &str) -> ExitCode {
    eprintln!("otus-httpd: {line}");
    ExitCode::from(code)
}

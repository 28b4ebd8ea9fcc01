//! The keys of logs: `access_log`, a destination, a table, or a list of them; `error_log` and `log_level`.

use super::table::{Problem, Table, Value, did_you_mean};
use crate::cli::Args;
use crate::observe::access::escape::Escape;
use crate::observe::access::template::{BadTemplate, FORMATS, Template};
use crate::observe::access::{AccessLog, Only, field};
use crate::observe::journal::Destination;
use crate::observe::log;
use std::sync::Arc;

/// Exchanges of which one is told, at most.
const SAMPLE_MAX: u64 = 1_000_000;

/// The logs of `access_log`; none for `"off"`.
pub(super) fn access_logs(value: Value<'_>) -> Result<Arc<[AccessLog]>, Problem> {
    let mut logs = Vec::new();
    for one in value.one_or_list() {
        logs.extend(access_log(one)?);
    }
    Ok(logs.into())
}

fn access_log(value: Value<'_>) -> Result<Option<AccessLog>, Problem> {
    if value.is_text() {
        let template = Template::parse("combined", Escape::Text).map_err(|bad| value.wrong(bad))?;
        return Ok(destination(value)?.map(|to| AccessLog { to, template, sample: 1, only: Only::All }));
    }
    let table = value.table(&["to", "format", "escape", "sample", "only"])?;
    let to = destination(table.required("to", value.span())?)?;
    let escape = table.read("escape", |value| value.one_of(&[("text", Escape::Text), ("json", Escape::Json)]))?;
    let template = match table.get("format") {
        Some(format) => template(format, escape.unwrap_or(Escape::Text))?,
        None => Template::parse("combined", Escape::Text).map_err(|bad| value.wrong(bad))?,
    };
    let sample = table.read("sample", |value| value.number(1, SAMPLE_MAX))?.unwrap_or(1);
    let sample = u32::try_from(sample).expect("at most SAMPLE_MAX");
    let only = table.read("only", |value| value.one_of(&[("all", Only::All), ("errors", Only::Errors)]))?;
    Ok(to.map(|to| AccessLog { to, template, sample, only: only.unwrap_or(Only::All) }))
}

/// What the error log is; `-v` beats `log_level`.
pub(super) fn error_log(args: &Args, table: &Table<'_>) -> Result<log::Options, Problem> {
    let to = table.read("error_log", |value| {
        // Its errors and panics have nowhere else to go.
        destination(value)?.ok_or_else(|| value.wrong("it cannot be off; `log_level = \"error\"` tells the least"))
    })?;
    let level = table.read("log_level", |value| value.one_of(&log::Level::NAMES))?;
    let level = match args.verbose {
        0 => level.unwrap_or_default(),
        1 => level.unwrap_or_default().max(log::Level::Debug),
        _ => log::Level::Trace,
    };
    Ok(log::Options { destination: to.unwrap_or(Destination::Stderr), level })
}

/// Where a log goes; `None` for `"off"`.
pub(super) fn destination(value: Value<'_>) -> Result<Option<Destination>, Problem> {
    Destination::parse(value.text()?).map_err(|bad| value.wrong(bad))
}

fn template(value: Value<'_>, escape: Escape) -> Result<Template, Problem> {
    let text = value.text()?;
    Template::parse(text, escape).map_err(|bad| {
        let meant = match &bad {
            BadTemplate::Unknown(name) => did_you_mean(name, field::names()),
            BadTemplate::NoField => did_you_mean(text, FORMATS.into_iter()),
            _ => String::new(),
        };
        value.wrong(format!("{bad}{meant}"))
    })
}

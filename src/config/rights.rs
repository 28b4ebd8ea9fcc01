//! As whom the server runs, and what its workers may reach: keys of the server, and `--user`.
//!
//! Invariant: a user, a group or a directory that this machine does not have is refused where it is named.

use super::ConfigError;
use super::table::{Problem, Table, Value, World};
use crate::cli::Args;
use crate::server::privileges::{self, Group, User};
use crate::server::sandbox::{self, Mode};
use std::path::PathBuf;

/// The user and the group of the command line.
#[derive(Clone)]
pub(super) struct TypedUser {
    user: User,
    group: Option<Group>,
}

/// Reads `--user NAME[:GROUP]`.
pub(super) fn typed_user(args: &Args) -> Result<Option<TypedUser>, ConfigError> {
    let Some(text) = &args.user else { return Ok(None) };
    let read = || {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text.as_str(), None),
        };
        Ok(TypedUser { user: User::look_up(user)?, group: group.map(Group::look_up).transpose()? })
    };
    let wrong =
        |what: String| ConfigError::CommandLine(format!("invalid value for '--user <NAME[:GROUP]>': {text:?}: {what}"));
    read().map(Some).map_err(wrong)
}

/// The keys `user`, `group` and `core_dumps`. What was typed takes the place of the first two.
pub(super) fn privileges(table: &Table<'_>, typed: Option<TypedUser>) -> Result<privileges::Options, Problem> {
    let user = table.read("user", |value| looked_up(value, User::look_up))?.flatten();
    let group = table.read("group", |value| looked_up(value, Group::look_up))?.flatten();
    let (user, group) = typed.map_or((user, group), |typed| (Some(typed.user), typed.group));
    let core_dumps = table.read("core_dumps", |value| value.boolean())?.unwrap_or(false);
    Ok(privileges::Options { user, group, core_dumps })
}

fn looked_up<T>(value: Value<'_>, look_up: fn(&str) -> Result<T, String>) -> Result<Option<T>, Problem> {
    let name = value.text()?;
    match value.world() {
        World::Asked => look_up(name).map(Some).map_err(|what| value.wrong(what)),
        World::LeftAlone => Ok(None),
    }
}

/// The keys `sandbox` and `sandbox_read`.
pub(super) fn sandbox(table: &Table<'_>) -> Result<sandbox::Options, Problem> {
    let modes = [("on", Mode::On), ("off", Mode::Off)];
    let mode = table.read("sandbox", |value| value.one_of(&modes))?.unwrap_or_default();
    let read = table.read("sandbox_read", |value| value.one_or_list().into_iter().map(directory).collect())?;
    Ok(sandbox::Options { mode, read: read.unwrap_or_default() })
}

fn directory(value: Value<'_>) -> Result<PathBuf, Problem> {
    let text = value.text()?;
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(value.wrong(format!("{text:?} does not begin with a slash")));
    }
    if value.world() == World::Asked && !path.is_dir() {
        return Err(value.wrong(format!("{text:?} is no directory; make it, or name the one that holds the files")));
    }
    Ok(path)
}

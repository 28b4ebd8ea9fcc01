//! The configuration in force, as a configuration file in which each line tells where it comes from.
//!
//! Order: the keys of the server, the keys of sites at the top, locations, sites. A key that nobody set stands there with its default.
//!
//! Invariant: what is printed can be read back, and then means the same.

use super::files::{LINED_UP, Sources};
use super::keys::{self, Key};
use super::{Config, Listen};
use crate::cli::Args;
use serde::Deserialize;
use std::fmt::Write;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// A key that the command line sets.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    key: &'static str,
    /// The options that do.
    options: &'static str,
    /// Its value, where the configuration does not keep it by itself.
    value: Option<toml::Value>,
}

/// What the command line sets.
pub(super) fn typed(args: &Args) -> Vec<Typed> {
    let is_typed = |key, options, is_typed: bool| is_typed.then_some(Typed { key, options, value: None });
    let listen = match (args.address.is_empty(), args.port.is_some()) {
        (true, _) => "--port",
        (false, false) => "--address",
        (false, true) => "--address and --port",
    };
    let root = args.document_root.as_ref().map(|root| Typed {
        key: "root",
        options: "--document-root",
        value: Some(root.display().to_string().into()),
    });
    // A user that is typed stands for the group as well.
    let names = args.user.as_deref().map(|user| user.split_once(':').unwrap_or((user, "")));
    let account = |key, name: Option<&str>| {
        let value = name.map(|name| Some(name.into()));
        value.map(|value| Typed { key, options: "--user", value })
    };
    let all = [
        account("user", names.map(|(user, _)| user)),
        account("group", names.map(|(_, group)| group)),
        is_typed("listen", listen, !args.address.is_empty() || args.port.is_some()),
        is_typed("workers", "--workers", args.workers.is_some()),
        is_typed("read_timeout", "--read-timeout", args.read_timeout.is_some()),
        is_typed("checkalive", "--checkalive", args.checkalive.is_some()),
        is_typed("log_level", "--verbose", args.verbose > 0),
        root,
    ];
    all.into_iter().flatten().collect()
}

impl Config {
    /// The configuration in force as a configuration file, each line with the place that it comes from.
    pub fn to_toml(&self) -> String {
        let document = self.sources.document();
        let mut text = String::new();
        for key in keys::SERVER.iter().chain(keys::SITE) {
            self.print(&mut text, key, &document.table);
        }
        locations(&mut text, "location", &document.table, &self.sources);
        for site in elements(&document.table, "site") {
            let Some(table) = site.get_ref().as_table() else { continue };
            let _ = write!(text, "\n[[site]]  # {}\n", self.sources.place(&site.span()));
            for (name, value, span) in in_order(table) {
                // The command line moves all sites to the addresses that it names.
                let is_beaten = name == "listen" && self.typed("listen").is_some();
                if !is_beaten && !LINED_UP.contains(&name) {
                    line(&mut text, name, &plain(value), &self.sources.place(&span));
                }
            }
            locations(&mut text, "site.location", table, &self.sources);
        }
        text
    }

    fn typed(&self, key: &str) -> Option<&Typed> {
        self.typed.iter().find(|typed| typed.key == key)
    }

    /// One key of the top, with the value in force.
    fn print(&self, text: &mut String, key: &Key, document: &DeTable<'_>) {
        let written = document.get_key_value(key.name);
        let in_force = self.in_force(key.name);
        if let Some(typed) = self.typed(key.name) {
            // A user that is typed without a group is in none that the file names.
            if typed.value.as_ref().is_some_and(|value| value.as_str() == Some("")) {
                return;
            }
            let value = typed.value.clone().or(in_force).or_else(|| written.map(|(_, value)| plain(value)));
            let value = value.map_or_else(|| "\"\"".to_owned(), |value| value.to_string());
            let _ = writeln!(text, "{} = {value}  # {} on the command line", key.name, typed.options);
            return;
        }
        let is_of_sites = keys::names(keys::SITE).any(|name| name == key.name);
        match (written, in_force, key.default_value()) {
            // Several files may have a part in a table of the server's own.
            (Some((_, value)), None, _)
                if !is_of_sites && value.get_ref().as_table().is_some_and(|table| !table.is_empty()) =>
            {
                for (name, value, span) in value.get_ref().as_table().map(in_order).unwrap_or_default() {
                    let name = format!("{}.{}", key.name, quoted(name));
                    line(text, &name, &plain(value), &self.sources.place(&span));
                }
            }
            (Some((name, value)), in_force, _) => {
                let value = in_force.unwrap_or_else(|| plain(value));
                line(text, key.name, &value, &self.sources.place(&name.span()));
            }
            (None, Some(value), _) => line(text, key.name, &value, "default"),
            (None, None, Some(value)) => {
                let _ = writeln!(text, "{} = {value}  # default", key.name);
            }
            (None, None, None) => {
                let _ = writeln!(text, "# {}: {}  # default", key.name, key.default.replace('`', ""));
            }
        }
    }

    /// The value in force of a key whose text does not show it: it has a unit, or a default that was worked out.
    fn in_force(&self, key: &str) -> Option<toml::Value> {
        let number = |number: u64| Some(toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)));
        match key {
            "listen" => Some(addresses(&self.general_listen)),
            "log_level" => Some(self.log.level.name().into()),
            "workers" => number(self.workers as u64),
            "read_timeout" => number(self.read_timeout.into()),
            "keepalive_timeout" => number(self.keepalive_timeout.into()),
            "send_timeout" => number(self.send_timeout.into()),
            "drain_timeout" => number(self.drain_timeout.into()),
            "drain_delay" => number(self.drain_delay.into()),
            "checkalive" => number(self.checkalive.into()),
            "head_bytes_max" => number(self.head_bytes_max as u64),
            "target_bytes_max" => number(self.target_bytes_max as u64),
            "cache_size" => number(self.cache_size),
            "cache_file_size_max" => number(self.cache_file_size_max),
            _ => self.limits.in_force(key).and_then(number),
        }
    }
}

fn addresses(listen: &[Listen]) -> toml::Value {
    listen.iter().map(|listen| toml::Value::from(listen.to_string())).collect::<Vec<_>>().into()
}

/// The locations of a table, under this header.
fn locations(text: &mut String, header: &str, table: &DeTable<'_>, sources: &Sources) {
    for location in elements(table, "location") {
        let Some(table) = location.get_ref().as_table() else { continue };
        let _ = write!(text, "\n[[{header}]]  # {}\n", sources.place(&location.span()));
        for (name, value, span) in in_order(table) {
            line(text, name, &plain(value), &sources.place(&span));
        }
    }
}

fn line(text: &mut String, name: &str, value: &toml::Value, place: &str) {
    let _ = writeln!(text, "{name} = {value}  # {place}");
}

/// The members of a list of tables.
fn elements<'t, 'a>(table: &'t DeTable<'a>, key: &str) -> &'t [Spanned<DeValue<'a>>] {
    table.get(key).and_then(|value| value.get_ref().as_array()).map_or(&[], |array| &**array)
}

/// Keys and values in the order in which they were written, each with the place of its key.
fn in_order<'t, 'a>(table: &'t DeTable<'a>) -> Vec<(&'t str, &'t Spanned<DeValue<'a>>, Range<usize>)> {
    let mut entries: Vec<_> = table.iter().map(|(key, value)| (&**key.get_ref(), value, key.span())).collect();
    entries.sort_by_key(|(_, _, span)| span.start);
    entries
}

/// A value without the places of its parts.
fn plain(value: &Spanned<DeValue<'_>>) -> toml::Value {
    toml::Value::deserialize(ValueDeserializer::from(value.clone())).expect("it was read before, with its numbers")
}

/// A key as it is written.
fn quoted(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { toml::Value::from(name).to_string() }
}

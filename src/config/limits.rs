//! The keys that limit connections and requests.
//!
//! Invariant: zero is no limit, wherever a limit may be left out.

use super::table::{Problem, Table, Value, World};
use super::value;
use crate::connection::roster;
use crate::defence::requests::{BURST_MAX, RequestLimit};
use crate::http::request::FIELD_LINES_MAX;
use crate::http2;
use rustix::process::{Resource, getrlimit};
use std::sync::Arc;
use std::time::Duration;

/// The limits of the whole server, with the values in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    max_connections: u32,
    max_connections_per_client: u32,
    keepalive_requests: u32,
    /// Field lines of a request head.
    pub(super) fields_max: usize,
    head_rate_min: u32,
    send_rate_min: u32,
}

impl Limits {
    /// Those that a file sets, and the defaults of the others.
    pub(super) fn read(table: &Table<'_>, world: World) -> Result<Limits, Problem> {
        let count = |key| table.read(key, |value| value.number(0, CONNECTIONS_CEILING).map(narrow));
        let rate = |key| table.read(key, |value| rate(value).map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)));
        let fields_max = table.read("fields_max", |value| value.number(1, FIELD_LINES_MAX as u64).map(narrow))?;
        Ok(Limits {
            max_connections: count("max_connections")?.unwrap_or_else(|| connections_max(world)),
            max_connections_per_client: count("max_connections_per_client")?.unwrap_or(0),
            keepalive_requests: count("keepalive_requests")?.unwrap_or(0),
            fields_max: fields_max.map_or(FIELD_LINES_MAX, |lines| lines as usize),
            head_rate_min: rate("head_rate_min")?.unwrap_or(100),
            send_rate_min: rate("send_rate_min")?.unwrap_or(250),
        })
    }

    /// The value in force of one of these keys, for printing.
    pub(super) fn in_force(&self, key: &str) -> Option<u64> {
        match key {
            "max_connections" => Some(self.max_connections.into()),
            "max_connections_per_client" => Some(self.max_connections_per_client.into()),
            "keepalive_requests" => Some(self.keepalive_requests.into()),
            "fields_max" => Some(self.fields_max as u64),
            "head_rate_min" => Some(self.head_rate_min.into()),
            "send_rate_min" => Some(self.send_rate_min.into()),
            _ => None,
        }
    }

    /// The limits of connections, with these times.
    pub(super) fn of_connections(&self, times: roster::Limits) -> roster::Limits {
        roster::Limits {
            head_bytes_per_second_min: self.head_rate_min,
            send_bytes_per_second_min: self.send_rate_min,
            requests_max: self.keepalive_requests,
            connections_max: self.max_connections,
            connections_of_client_max: self.max_connections_per_client,
            ..times
        }
    }
}

/// The keys that limit HTTP/2, and say where it is spoken.
pub(super) fn http2(table: &Table<'_>) -> Result<http2::Options, Problem> {
    let default = http2::Options::default();
    let streams_max = table.read("http2_streams_max", |value| value.number(1, STREAMS_CEILING).map(narrow))?;
    Ok(http2::Options {
        in_plain_text: table.read("h2c", |value| value.boolean())?.unwrap_or(default.in_plain_text),
        streams_max: streams_max.unwrap_or(default.streams_max),
    })
}

/// RFC 9113 §6.5.2 advises at least 100; each takes memory from the moment it is opened.
const STREAMS_CEILING: u64 = 10_000;

/// How many handshakes of one client are begun: a full one takes a quarter of a millisecond or more of a core.
pub(super) fn handshakes(table: &Table<'_>) -> Result<Option<Arc<RequestLimit>>, Problem> {
    let written = table.read("tls_handshakes", |value| requests(value, HANDSHAKES))?;
    let default = || Some(Arc::new(RequestLimit::new(1000, Duration::from_secs(1), 2000, HANDSHAKES)));
    Ok(written.unwrap_or_else(default))
}

/// Under this name they are counted.
const HANDSHAKES: &str = "\nhandshakes";

/// Above this, a number of connections is a mistake.
const CONNECTIONS_CEILING: u64 = 100_000_000;

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("the key's range fits")
}

/// Where the number of open files has no limit, or nobody is to be asked for it.
const CONNECTIONS_OF_UNKNOWN: u32 = 500_000;

/// Half of the files that the process may have open: the other half is for what is sent, for content in memory, and for the server
/// itself. The soft limit will be raised to the hard one.
fn connections_max(world: World) -> u32 {
    let limit = if world == World::Asked { getrlimit(Resource::Nofile).maximum } else { None };
    limit.map_or(CONNECTIONS_OF_UNKNOWN, |files| u32::try_from(files / 2).unwrap_or(u32::MAX)).max(1)
}

/// Bytes a second: a number, or a text such as `"500k"`; zero for no limit.
pub(super) fn rate(value: Value<'_>) -> Result<u64, Problem> {
    if !value.is_text() {
        return value.number(0, u64::MAX >> 1);
    }
    let text = value.text()?;
    let text = text.strip_suffix("/s").unwrap_or(text);
    value::bytes(text).ok_or_else(|| {
        value.wrong(format!(
            "expected bytes a second, such as 65536 or \"500k\", found {:?}",
            value.text().unwrap_or("")
        ))
    })
}

/// `{ rate = "10/s", burst = 20 }`, or `"off"`; what is counted under `place` is counted together.
pub(super) fn requests(value: Value<'_>, place: &str) -> Result<Option<Arc<RequestLimit>>, Problem> {
    if value.is_text() {
        return value.one_of(&[("off", ())]).map(|()| None);
    }
    let table = value.table(&["rate", "burst"])?;
    let rate = table.required("rate", value.span())?;
    let (requests, period) = requests_a_time(rate.text()?).ok_or_else(|| {
        rate.wrong("expected requests a second, minute or hour, such as \"10/s\", \"600/m\" or \"50/h\"")
    })?;
    let burst = table.read("burst", |value| value.number(1, BURST_MAX.into()).map(narrow))?;
    let of_second = u64::from(requests).div_ceil(period.as_secs());
    let burst = burst.unwrap_or_else(|| narrow(of_second.clamp(1, BURST_MAX.into())));
    Ok(Some(Arc::new(RequestLimit::new(requests, period, burst, place))))
}

fn requests_a_time(text: &str) -> Option<(u32, Duration)> {
    let (number, unit) = text.split_once('/')?;
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let number = number.trim().parse().ok().filter(|number| (1..=BURST_MAX).contains(number))?;
    Some((number, Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_requests() {
        for (text, expected) in [
            ("10/s", Some((10, 1))),
            ("600 / m", Some((600, 60))),
            ("1/h", Some((1, 3600))),
            ("0/s", None),
            ("10", None),
            ("10/d", None),
            ("-1/s", None),
            ("1.5/s", None),
            ("9999999/s", None),
        ] {
            assert_eq!(requests_a_time(text).map(|(number, period)| (number, period.as_secs())), expected, "{text:?}");
        }
    }
}

//! Lines as datagrams: RFC 5424 for a syslog daemon, the native protocol for journald.
//!
//! Invariant: one line is one datagram, and nothing in a line can be taken for a field of its own.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where a syslog daemon listens.
pub const SYSLOG_SOCKET: &str = "/dev/log";

/// Where journald listens.
pub const JOURNALD_SOCKET: &str = "/run/systemd/journal/socket";

/// How much a message matters, as syslog numbers it (RFC 5424 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Something failed.
    Error = 3,
    /// Something may fail.
    Warning = 4,
    /// What an administrator may want to know; a line of an access log.
    Informational = 6,
    /// What helps to find a cause.
    Debug = 7,
}

/// What lines are about: it decides facility and MSGID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A request and its answer.
    Access,
    /// The server.
    Server,
}

/// RFC 5424 §6.2.1: facility 3 is that of system daemons, 16 is local0.
fn facility(about: About) -> u8 {
    match about {
        About::Server => 3,
        About::Access => 16,
    }
}

/// What common daemons take in one datagram; more is cut, for they would cut or refuse it.
const SYSLOG_BYTES_MAX: usize = 8 * 1024;

/// What the kernel takes in one datagram without further ado.
const JOURNALD_BYTES_MAX: usize = 128 * 1024;

/// Makes `out` the datagram of a line (without its line end), RFC 5424 §6.
pub(super) fn syslog(line: &[u8], about: About, priority: Priority, out: &mut Vec<u8>) {
    use std::io::Write;
    let uname = rustix::system::uname();
    let host = uname.nodename().to_bytes();
    let host = if host.is_empty() || !host.iter().all(u8::is_ascii_graphic) { b"-" } else { host };
    let number = facility(about) * 8 + priority as u8;
    let id = if about == About::Access { "access" } else { "error" };
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    out.clear();
    // Writing into memory does not fail.
    let _ = write!(out, "<{number}>1 ");
    utc_time(since_epoch.as_secs(), since_epoch.subsec_micros(), out);
    out.push(b' ');
    out.extend_from_slice(host);
    let _ = write!(out, " otus-httpd {} {id} - ", std::process::id());
    let room = SYSLOG_BYTES_MAX.saturating_sub(out.len());
    out.extend_from_slice(&line[..line.len().min(room)]);
}

/// Makes `out` the datagram of a line of an access log.
pub(super) fn journald(line: &[u8], priority: Priority, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&journald_entry(line, priority, &[("OTUS_HTTPD_LOG", b"access")]));
}

/// An entry for journald: a message and fields beside it, whose names are upper-case letters, digits and underscores.
pub fn journald_entry(message: &[u8], priority: Priority, fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + message.len());
    journald_field("MESSAGE", &message[..message.len().min(JOURNALD_BYTES_MAX)], &mut out);
    journald_field("PRIORITY", &[b'0' + priority as u8], &mut out);
    journald_field("SYSLOG_IDENTIFIER", b"otus-httpd", &mut out);
    for (name, value) in fields {
        journald_field(name, value, &mut out);
    }
    out
}

/// A value with a line end in it goes behind its length, all others behind an equals sign.
fn journald_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    if memchr::memchr(b'\n', value).is_some() {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// `2026-01-31T12:00:00.000000Z`
pub(crate) fn utc_time(unix_seconds: u64, microseconds: u32, out: &mut Vec<u8>) {
    use std::io::Write;
    let civil = Civil::of(i64::try_from(unix_seconds).unwrap_or(i64::MAX));
    let Civil { year, month, day, hour, minute, second } = civil;
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{microseconds:06}Z");
}

/// A moment as clocks on walls show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
}

impl Civil {
    /// The moment so many seconds after 1970, in the Gregorian calendar.
    pub(crate) fn of(seconds: i64) -> Civil {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years begin in March here, so that the day that some of them lack is their last. An era is 400 years.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let narrow = |number: i64| u8::try_from(number).expect("parts of a date are small");
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: narrow(month),
            day: narrow(day_of_year - (153 * shifted_month + 2) / 5 + 1),
            hour: narrow(rest / 3600),
            minute: narrow(rest / 60 % 60),
            second: narrow(rest % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000007Z"),
            (784_111_777, "1994-11-06T08:49:37.000007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000007Z"),
        ] {
            let mut out = Vec::new();
            utc_time(seconds, 7, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        assert_eq!((Civil::of(-1).year, Civil::of(-1).second), (1969, 59));
    }

    #[test]
    fn a_line_is_one_datagram() {
        let mut out = Vec::new();
        syslog(b"GET /", About::Access, Priority::Informational, &mut out);
        let text = String::from_utf8_lossy(&out);
        let words: Vec<_> = text.split(' ').collect();
        assert_eq!((words[0], words[3], words[5], words[6]), ("<134>1", "otus-httpd", "access", "-"), "{text}");
        assert!(text.ends_with(" - GET /"), "{text}");
        syslog(&[b'x'; 2 * SYSLOG_BYTES_MAX], About::Server, Priority::Error, &mut out);
        assert_eq!(out.len(), SYSLOG_BYTES_MAX);
        assert!(out.starts_with(b"<27>1 "));
    }

    #[test]
    fn a_value_cannot_be_taken_for_a_field() {
        let entry = journald_entry(b"a\nPRIORITY=0", Priority::Error, &[("TARGET", b"x")]);
        let expected =
            b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\nPRIORITY=3\nSYSLOG_IDENTIFIER=otus-httpd\nTARGET=x\n";
        assert_eq!(entry.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}

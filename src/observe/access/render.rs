//! Each field as bytes.
//!
//! Invariant: what a client sent is written through [`Escape`] alone; everything else is of our own making.

use super::core::Core;
use super::escape::Escape;
use super::field::{Field, Named};
use crate::http::fields::{FieldName, values_of};
use crate::http::request::{RequestHead, Version};
use crate::http::target::{RequestTarget, SitePath};
use crate::observe::exchanged::{CacheStatus, Told};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What is known when all was sent, or nothing more will be.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe) struct Ending {
    /// When the first bytes of the request came in.
    pub(in crate::observe) begun: Instant,
    /// Bytes of the answer's head.
    pub(in crate::observe) head_bytes: u32,
    /// Bytes of content that the head promised.
    pub(in crate::observe) content_bytes: u64,
    /// Bytes of both that were sent.
    pub(in crate::observe) sent_bytes: u64,
}

/// Appends a field that is known when the answer's head is written.
pub(super) fn early(
    field: &Field,
    told: &Told<'_>,
    core: &Core,
    server_name: &Arc<str>,
    escape: Escape,
    out: &mut Vec<u8>,
) {
    let value = |value: &[u8], out: &mut Vec<u8>| write_value(value, escape, out);
    let named = match field {
        Field::Named(named) => named,
        Field::OfRequest(name) => {
            let section = told.head.map_or(&[][..], |head| head.fields.section());
            // RFC 9113 §8.2.3: what came in crumbs is one list of pairs.
            let separator: &[u8] = if name.eq_ignore_ascii_case(b"cookie") { b"; " } else { b", " };
            return write_list(values_of(section, name), separator, escape, out);
        }
        // Its first line is the status line, which has no colon where a name's would be.
        Field::OfAnswer(name) => {
            let head = told.summary.fields_text.as_deref().unwrap_or(told.answer_head);
            return write_list(values_of(head, name), b", ", escape, out);
        }
    };
    let target = || told.head.and_then(|head| RequestTarget::parse(head.target).ok());
    match named {
        Named::RemoteAddr => write_address(told.summary.client, out),
        Named::RemoteUser => write_user(told.head, escape, out),
        Named::Request => match told.head {
            Some(head) => {
                escape.write(head.method_token.as_bytes(), out);
                out.push(b' ');
                escape.write(head.target.as_bytes(), out);
                out.push(b' ');
                out.extend_from_slice(protocol(head));
            }
            None => value(first_line(told.unparsed), out),
        },
        Named::RequestMethod => value(told.head.map_or(b"", |head| head.method_token.as_bytes()), out),
        Named::RequestUri => value(told.head.map_or(b"", |head| head.target.as_bytes()), out),
        Named::Uri => match target().and_then(|target| SitePath::parse(target.path).ok()) {
            Some(path) => value(path.as_bytes(), out),
            None => value(b"", out),
        },
        Named::Args => value(target().and_then(|target| target.query).unwrap_or("").as_bytes(), out),
        Named::ServerProtocol => value(told.head.map_or(b"", protocol), out),
        Named::Status => write_number(told.summary.status.code().into(), out),
        Named::RequestLength => write_number(told.head.map_or(told.unparsed.len(), |head| head.len) as u64, out),
        Named::Scheme => value(if told.tls.is_some() { b"https" } else { b"http" }, out),
        Named::SslProtocol => value(told.tls.map_or("", |tls| tls.version.name()).as_bytes(), out),
        Named::SslCipher => value(told.tls.map_or("", |tls| tls.cipher).as_bytes(), out),
        Named::SslServerName => {
            value(told.tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or("").as_bytes(), out);
        }
        Named::SslSessionReused => {
            value(told.tls.map_or("", |tls| if tls.is_resumed { "r" } else { "." }).as_bytes(), out);
        }
        Named::Host => write_host(told.head, escape, out),
        Named::ServerName => value(server_name.as_bytes(), out),
        Named::Listener => write_number(told.listener.into(), out),
        Named::Connection => write_number(told.connection, out),
        Named::ConnectionRequests => write_number(told.connection_requests.into(), out),
        Named::RequestId => {
            let id = told.request_id.get().unwrap_or_else(|| core.request_id());
            told.request_id.set(Some(id));
            for half in id {
                write_hexadecimal(half, out);
            }
        }
        Named::CacheStatus => value(
            match told.summary.cache_status {
                CacheStatus::None => b"",
                CacheStatus::Hit => b"HIT",
                CacheStatus::Miss => b"MISS",
            },
            out,
        ),
        Named::TimeLocal
        | Named::TimeIso8601
        | Named::Msec
        | Named::BodyBytesSent
        | Named::BytesSent
        | Named::RequestTime
        | Named::Completion => unreachable!("these are late"),
    }
}

/// Appends a field that is known at the end.
pub(super) fn late(field: &Field, ending: &Ending, core: &Core, out: &mut Vec<u8>) {
    let Field::Named(named) = field else { unreachable!("only these are late") };
    match named {
        Named::TimeLocal => out.extend_from_slice(&core.dates().local),
        Named::TimeIso8601 => out.extend_from_slice(&core.dates().iso),
        Named::Msec => {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            write_milliseconds(since_epoch.as_millis(), out);
        }
        Named::RequestTime => write_milliseconds(ending.begun.elapsed().as_millis(), out),
        Named::BodyBytesSent => write_number(ending.sent_bytes.saturating_sub(ending.head_bytes.into()), out),
        Named::BytesSent => write_number(ending.sent_bytes, out),
        Named::Completion => {
            let is_whole = ending.sent_bytes >= u64::from(ending.head_bytes) + ending.content_bytes;
            out.extend_from_slice(if is_whole { b"OK" } else { b"cut" });
        }
        _ => unreachable!("the others are early"),
    }
}

/// Nothing is a hyphen, as everywhere in such logs; in JSON it is an empty string.
fn write_value(value: &[u8], escape: Escape, out: &mut Vec<u8>) {
    if value.is_empty() && escape == Escape::Text {
        out.push(b'-');
    } else {
        escape.write(value, out);
    }
}

fn write_list<'a>(mut values: impl Iterator<Item = &'a [u8]>, separator: &[u8], escape: Escape, out: &mut Vec<u8>) {
    write_value(values.next().unwrap_or(b""), escape, out);
    for value in values {
        out.extend_from_slice(separator);
        escape.write(value, out);
    }
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Seconds with three digits behind the point.
fn write_milliseconds(milliseconds: u128, out: &mut Vec<u8>) {
    let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
    write_number(milliseconds / 1000, out);
    let rest = u8::try_from(milliseconds % 1000 / 10).expect("below a hundred");
    let last = u8::try_from(milliseconds % 10).expect("a digit");
    out.extend_from_slice(&[b'.', b'0' + rest / 10, b'0' + rest % 10, b'0' + last]);
}

fn write_hexadecimal(number: u64, out: &mut Vec<u8>) {
    out.extend((0..16).rev().map(|at| b"0123456789abcdef"[usize::try_from(number >> (4 * at) & 15).expect("a digit")]));
}

fn write_address(address: Option<IpAddr>, out: &mut Vec<u8>) {
    match address {
        None => out.extend_from_slice(b"unix:"),
        Some(IpAddr::V4(address)) => {
            for (number, octet) in address.octets().into_iter().enumerate() {
                if number > 0 {
                    out.push(b'.');
                }
                write_number(octet.into(), out);
            }
        }
        Some(IpAddr::V6(address)) => {
            use std::io::Write;
            // Which zeros are left out is an art of its own, and the standard library has it. It does not allocate.
            let _ = write!(out, "{address}");
        }
    }
}

/// Room for the longest name and password that are ever verified, decoded.
const CREDENTIALS_BYTES: usize = 768;

fn write_user(head: Option<&RequestHead<'_>>, escape: Escape, out: &mut Vec<u8>) {
    let authorization = head.and_then(|head| head.fields.only(FieldName::Authorization));
    let mut decoded = [0; CREDENTIALS_BYTES];
    let name = authorization.and_then(|value| {
        let (scheme, rest) = value.split_at_checked(b"Basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return None;
        }
        let length = STANDARD.decode_slice(rest.trim_ascii(), &mut decoded).ok()?;
        let end = memchr::memchr(b':', &decoded[..length])?;
        Some(&decoded[..end])
    });
    write_value(name.unwrap_or(b""), escape, out);
}

fn write_host(head: Option<&RequestHead<'_>>, escape: Escape, out: &mut Vec<u8>) {
    let host = head.and_then(|head| {
        let of_target = RequestTarget::parse(head.target).ok().and_then(|target| target.authority);
        of_target.map(str::as_bytes).or_else(|| head.fields.only(FieldName::Host))
    });
    let host = host.unwrap_or(b"");
    // The colons of an IPv6 address stand in brackets.
    let port = memchr::memrchr(b':', host).filter(|at| !host[*at..].contains(&b']'));
    let start = out.len();
    write_value(&host[..port.unwrap_or(host.len())], escape, out);
    // Hosts are ASCII without quotes (RFC 9110 §7.2, checked by the parser), so that nothing was escaped.
    out[start..].make_ascii_lowercase();
}

fn protocol(head: &RequestHead<'_>) -> &'static [u8] {
    match head.version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
        Version::Http2 => b"HTTP/2.0",
    }
}

/// Of bytes that are no request, what is shown.
const UNPARSED_BYTES_MAX: usize = 1024;

fn first_line(bytes: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
    &bytes[..end.min(UNPARSED_BYTES_MAX)]
}

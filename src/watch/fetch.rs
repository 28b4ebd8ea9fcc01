//! Asks a server for its state.
//!
//! Invariant: an answer is waited for and kept within bounds, and whatever goes wrong is one line that says what to do.

use super::Place;
use crate::server::Address;
use crate::server::admin::status::Status;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// For each step: the server answers at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes of an answer: some hundred times what one has.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// The state of the server at `place`.
pub(super) fn status(place: &Place) -> Result<Status, String> {
    let (answer, name) = ask(place, "/status?format=json", "application/json")?;
    read(&answer).map_err(|what| format!("{name}: {what}"))
}

/// What the server at `place` says at `path` if all is well there; else why not.
pub(super) fn judgement(place: &Place, path: &str) -> Result<String, String> {
    let (answer, name) = ask(place, path, "text/plain")?;
    judge(&answer).map_err(|what| format!("{name}: {what}"))
}

/// Asks for `target`, and returns the answer and the name of who gave it.
fn ask(place: &Place, target: &str, media_type: &str) -> Result<(Vec<u8>, String), String> {
    match place {
        Place::Address(Address::Unix(path)) => {
            let name = format!("unix:{}", path.display());
            let stream = UnixStream::connect(path).map_err(|error| nobody(&name, &error))?;
            stream.set_read_timeout(Some(TIMEOUT)).map_err(|error| nobody(&name, &error))?;
            stream.set_write_timeout(Some(TIMEOUT)).map_err(|error| nobody(&name, &error))?;
            Ok((exchange(stream, &name, "localhost", target, media_type)?, name))
        }
        Place::Address(Address::Tcp(address)) => ask_tcp(*address, &address.to_string(), target, media_type),
        Place::Url(url) => {
            let authority = url.strip_prefix("http://").ok_or_else(|| {
                format!(
                    "--url: expected the address of an [admin] listen, such as http://127.0.0.1:8081, found {url:?}"
                )
            })?;
            let authority = authority.split('/').next().unwrap_or_default();
            let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let address = if has_port { authority.to_owned() } else { format!("{authority}:80") };
            let addresses = address.to_socket_addrs();
            let mut addresses = addresses.map_err(|error| format!("--url: {authority:?} has no address: {error}"))?;
            let address = addresses.next().ok_or_else(|| format!("--url: {authority:?} has no address"))?;
            ask_tcp(address, authority, target, media_type)
        }
    }
}

fn ask_tcp(
    address: std::net::SocketAddr,
    host: &str,
    target: &str,
    media_type: &str,
) -> Result<(Vec<u8>, String), String> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(|error| nobody(host, &error))?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(|error| nobody(host, &error))?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(|error| nobody(host, &error))?;
    Ok((exchange(stream, host, host, target, media_type)?, host.to_owned()))
}

/// Why nobody answered, and what to do.
fn nobody(name: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied, TimedOut, WouldBlock};
    match error.kind() {
        NotFound | ConnectionRefused => {
            format!("{name}: nobody listens there: is the server running, and is this its [admin] listen?")
        }
        PermissionDenied => format!("{name}: permission denied; run it as root or as the server's user or group"),
        TimedOut | WouldBlock => format!("{name}: no answer within {} s", TIMEOUT.as_secs()),
        _ => format!("{name}: {error}"),
    }
}

fn exchange(
    mut stream: impl Read + Write,
    name: &str,
    host: &str,
    target: &str,
    media_type: &str,
) -> Result<Vec<u8>, String> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: {media_type}\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer))
        .map_err(|error| nobody(name, &error))?;
    Ok(answer)
}

const OTHER: &str = "what answers there is not the admin listener of an otus-httpd";

/// Status line and content.
fn split(answer: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n").ok_or(OTHER)?;
    let line = answer[..end].split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok((line, &answer[end + 4..]))
}

fn read(answer: &[u8]) -> Result<Status, String> {
    let (line, content) = split(answer)?;
    if !line.starts_with(b"HTTP/1.1 200 ") {
        return Err(format!("{OTHER}: {}", line.escape_ascii()));
    }
    serde_json::from_slice(content).map_err(|error| format!("{OTHER}: {error}"))
}

/// A site may have pages of any path, so an answer counts only where it is as short as the admin listener's.
fn judge(answer: &[u8]) -> Result<String, String> {
    let (line, content) = split(answer)?;
    let said = std::str::from_utf8(content).ok().map(str::trim_end);
    match said.filter(|said| !said.is_empty() && said.lines().count() == 1 && said.len() <= JUDGEMENT_BYTES_MAX) {
        Some(said) if line.starts_with(b"HTTP/1.1 200 ") && ["healthy", "ready"].contains(&said) => Ok(said.to_owned()),
        Some(said) if line.starts_with(b"HTTP/1.1 503 ") => Err(said.to_owned()),
        _ => Err(format!("{OTHER}: {}", line.escape_ascii())),
    }
}

/// Of what an administrator is told in one line.
const JUDGEMENT_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_wrong_is_one_line_that_says_so() {
        for (answer, word) in [
            ("", "not the admin"),
            ("HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nx", "404 Not Found"),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", "not the admin"),
        ] {
            let error = read(answer.as_bytes()).expect_err(answer);
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n{\"version\":\"1\"}").is_ok());
        assert_eq!(judge(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nready\n"), Ok("ready".to_owned()));
        for (answer, word) in [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\nworker 1 is stuck\n", "worker 1 is stuck"),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n<html>\n</html>", "not the admin"),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", "not the admin"),
            ("HTTP/1.1 404 Not Found\r\n\r\nready", "404 Not Found"),
            ("ready", "not the admin"),
        ] {
            let error = judge(answer.as_bytes()).expect_err(answer);
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
        let place = Place::Address(Address::Unix("/nonexistent/socket".into()));
        assert!(status(&place).is_err_and(|error| error.contains("nobody listens there")));
        assert!(status(&Place::Url("ftp://a".to_owned())).is_err_and(|error| error.contains("--url")));
    }
}

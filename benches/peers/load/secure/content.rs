//! Content over TLS: asked for on connections that stay, and dropped record by record.
//!
//! Invariant: an answer is whole when its records have as many bytes as the first answer, which was looked at, and they end with it.

use super::{Client, Found, Outcome, await_word, ready, watch};
use rustix::event::epoll;
use rustls::ClientConnection;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const READ_BYTES: usize = 256 << 10;
const RECORD_HEAD_BYTES: usize = 5;
/// What TLS 1.3 adds to the content of a record: its kind, and the tag of AES-GCM.
const RECORD_OVERHEAD_BYTES: usize = 17;
const RECORD_APPLICATION_DATA: u8 = 23;

/// The same document over and over, on `connections` that stay.
pub(crate) fn take_content(
    client: &Client,
    connections: usize,
    duration: Duration,
    path: &str,
    length: usize,
) -> Outcome<Found> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut slots = Vec::with_capacity(connections);
    for index in 0..connections {
        slots.push(Transfer::begin(client, &request, length)?);
        watch(&poller, &slots[index].socket, index)?;
    }
    let mut buffer = vec![0; READ_BYTES];
    await_word()?;
    let mut found = Found::begin();
    for slot in &mut slots {
        slot.ask(&request)?;
    }
    while found.elapsed() < duration {
        for index in ready(&poller)? {
            if slots[index].drop_records(&mut buffer)? {
                found.answered(slots[index].begin);
                slots[index].ask(&request)?;
            }
        }
    }
    let under_way: usize = slots.iter().map(|slot| slot.answer_bytes - slot.left).sum();
    // Of the content, as far as one can tell without the heads.
    let bytes = found.latencies_us.len() * length + under_way;
    Ok(found.ended(bytes))
}

/// A connection on which answers are taken by the length of their records.
struct Transfer {
    socket: TcpStream,
    tls: ClientConnection,
    begin: Instant,
    /// Head and content of an answer, as the first one had them.
    answer_bytes: usize,
    /// Of the answer that is under way.
    left: usize,
    /// Of the record that is under way, and what of its head has come.
    record_left: usize,
    head: Vec<u8>,
}

impl Transfer {
    /// Asks once, and looks at the answer.
    fn begin(client: &Client, request: &str, length: usize) -> Outcome<Transfer> {
        let (mut socket, mut tls) = client.connected()?;
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        stream.write_all(request.as_bytes())?;
        let (mut answer, mut part) = (Vec::new(), vec![0; READ_BYTES]);
        let head_bytes = loop {
            match stream.read(&mut part)? {
                0 => return Err("the server closed within a head".into()),
                count => answer.extend_from_slice(&part[..count]),
            }
            if let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&answer[..head_bytes]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200 ") || !head.contains(&format!("\r\ncontent-length: {length}\r\n")) {
            return Err(format!("expected 200 with {length} bytes, not {head}").into());
        }
        let answer_bytes = head_bytes + length;
        while answer.len() < answer_bytes {
            match stream.read(&mut part)? {
                0 => return Err("the server closed within an answer".into()),
                count => answer.extend_from_slice(&part[..count]),
            }
        }
        if answer.len() != answer_bytes {
            return Err("bytes behind an answer".into());
        }
        socket.set_nonblocking(true)?;
        Ok(Transfer {
            socket,
            tls,
            begin: Instant::now(),
            answer_bytes,
            left: 0,
            record_left: 0,
            head: Vec::with_capacity(RECORD_HEAD_BYTES),
        })
    }

    fn ask(&mut self, request: &str) -> Outcome<()> {
        self.begin = Instant::now();
        self.left = self.answer_bytes;
        self.tls.writer().write_all(request.as_bytes())?;
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// Reads once, and gives whether the answer is whole.
    fn drop_records(&mut self, buffer: &mut [u8]) -> Outcome<bool> {
        let count = match self.socket.read(buffer) {
            Ok(0) => return Err("the server closed within an answer".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut unread = &buffer[..count];
        while !unread.is_empty() {
            if self.record_left > 0 {
                let dropped = self.record_left.min(unread.len());
                self.record_left -= dropped;
                unread = &unread[dropped..];
                continue;
            }
            let taken = (RECORD_HEAD_BYTES - self.head.len()).min(unread.len());
            self.head.extend_from_slice(&unread[..taken]);
            unread = &unread[taken..];
            if self.head.len() == RECORD_HEAD_BYTES {
                self.record_left = usize::from(u16::from_be_bytes([self.head[3], self.head[4]]));
                let content = self
                    .record_left
                    .checked_sub(RECORD_OVERHEAD_BYTES)
                    .filter(|_| self.head[0] == RECORD_APPLICATION_DATA);
                let left = content.and_then(|content| self.left.checked_sub(content));
                self.left = left.ok_or_else(|| {
                    format!("a record that begins with {:?}, {} bytes before the end", self.head, self.left)
                })?;
                self.head.clear();
            }
        }
        Ok(self.left == 0 && self.record_left == 0)
    }
}

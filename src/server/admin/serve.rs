//! The loop of the admin's thread: a few clients at once, each with a deadline, none of whom can keep another waiting.
//!
//! Invariant: nothing blocks but the one wait for all of them, and that ends with the nearest deadline.

use super::Scene;
use super::answer;
use super::history::History;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Clients at a time: a scraper, a load balancer's check, a few people. Others wait in the kernel's queue, and no longer
/// than those deadlines are.
const CLIENTS_MAX: usize = 8;

/// For a whole request.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// For a whole answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// For the client to close after it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a request head.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Between two samples of what was counted.
const SAMPLE_PAUSE: Duration = Duration::from_secs(1);

/// Serves until the other end of `stop` is closed.
pub(super) fn run(listeners: &[&Socket], stop: &UnixStream, scene: &Scene) {
    let mut history = History::new();
    let mut next_sample = Instant::now();
    let mut clients: Vec<Client> = Vec::with_capacity(CLIENTS_MAX);
    // After an accept that failed for want of something, the next is not tried at once.
    let mut accepts_from = Instant::now();
    loop {
        let now = Instant::now();
        if now >= next_sample {
            history.sample(&scene.counters());
            next_sample = now + SAMPLE_PAUSE;
        }
        clients.retain(|client| client.deadline > now);
        let accepts = clients.len() < CLIENTS_MAX && now >= accepts_from;
        let until = clients.iter().map(|client| client.deadline).fold(next_sample, Instant::min);
        let mut waiting = vec![PollFd::new(stop, PollFlags::IN)];
        waiting.extend(clients.iter().map(|client| PollFd::new(&client.socket, client.waits_for())));
        waiting.extend(listeners.iter().filter(|_| accepts).map(|listener| PollFd::new(*listener, PollFlags::IN)));
        let timeout = Timespec::try_from(until.saturating_duration_since(now)).ok();
        if poll(&mut waiting, timeout.as_ref()).is_err() {
            continue;
        }
        let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
        drop(waiting);
        if ready[0] {
            return;
        }
        let mut at = 1;
        clients.retain_mut(|client| {
            at += 1;
            !ready[at - 1] || client.go_on(scene, &history)
        });
        for (listener, _) in listeners.iter().zip(&ready[at..]).filter(|(_, ready)| **ready) {
            if clients.len() >= CLIENTS_MAX {
                // Whoever is accepted is served; this one waits in the queue.
                break;
            }
            match listener.accept() {
                Ok((socket, _)) => clients.extend(Client::new(socket)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => accepts_from = Instant::now() + Duration::from_millis(100),
            }
        }
    }
}

/// One client, and one request.
struct Client {
    socket: Socket,
    deadline: Instant,
    stage: Stage,
}

enum Stage {
    Reading(Vec<u8>),
    Writing(Vec<u8>, usize),
    /// All is said; a close with unread bytes would make the kernel send a reset that may overtake the answer.
    Lingering,
}

impl Client {
    fn new(socket: Socket) -> Option<Client> {
        socket.set_nonblocking(true).ok()?;
        Some(Client { socket, deadline: Instant::now() + READ_TIMEOUT, stage: Stage::Reading(Vec::new()) })
    }

    fn waits_for(&self) -> PollFlags {
        if let Stage::Writing(..) = self.stage { PollFlags::OUT } else { PollFlags::IN }
    }

    /// Does what can be done now; whether there is more to do.
    fn go_on(&mut self, scene: &Scene, history: &History) -> bool {
        match self.try_go_on(scene, history) {
            Ok(goes_on) => goes_on,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    fn try_go_on(&mut self, scene: &Scene, history: &History) -> std::io::Result<bool> {
        let mut bytes = [0; 4096];
        match &mut self.stage {
            Stage::Reading(head) => {
                let count = (&self.socket).read(&mut bytes)?;
                head.extend_from_slice(&bytes[..count]);
                if count == 0 {
                    return Ok(false);
                }
                let is_tcp = self.socket.local_addr().is_ok_and(|address| !address.is_unix());
                if let Some(answer) = answer::to(head, is_tcp, scene, history) {
                    self.stage = Stage::Writing(answer, 0);
                    self.deadline = Instant::now() + WRITE_TIMEOUT;
                    return self.try_go_on(scene, history);
                }
            }
            Stage::Writing(answer, sent) => {
                *sent += (&self.socket).write(&answer[*sent..])?;
                if *sent == answer.len() {
                    self.socket.shutdown(Shutdown::Write)?;
                    self.stage = Stage::Lingering;
                    self.deadline = Instant::now() + LINGER_TIMEOUT;
                }
            }
            Stage::Lingering => return Ok((&self.socket).read(&mut bytes)? > 0),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::admin::Description;
    use std::os::unix::net::UnixListener;

    /// Three listeners have each the third client of theirs ready when there is room for two.
    #[test]
    fn whoever_is_accepted_is_answered() {
        let directory = std::env::temp_dir().join(format!("otus-httpd-serve-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory of this test");
        let paths = ["first", "second", "third"].map(|name| directory.join(name));
        let listeners = paths.each_ref().map(|path| {
            let listener = UnixListener::bind(path).expect("a new path");
            listener.set_nonblocking(true).expect("an open socket");
            Socket::from(listener)
        });
        let clients: Vec<UnixStream> = paths
            .iter()
            .cycle()
            .take(CLIENTS_MAX + 1)
            .map(|path| {
                let mut client = UnixStream::connect(path).expect("it listens");
                client.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is open");
                client
            })
            .collect();
        let (stop, told_to_stop) = UnixStream::pair().expect("a pair");
        let answers: Vec<String> = std::thread::scope(|scope| {
            let scene = Scene::new(Description::default(), false);
            let listeners = listeners.each_ref();
            scope.spawn(move || run(&listeners, &told_to_stop, &scene));
            let answer = |client: &UnixStream| {
                let mut answer = String::new();
                // That of one that was closed over its request is a reset.
                let _ = (&*client).read_to_string(&mut answer);
                answer
            };
            // These stay until all of them are answered; by then it is settled what becomes of the last.
            let (last, first) = clients.split_last().expect("there are several");
            let mut answers: Vec<_> = first.iter().map(answer).collect();
            first.iter().for_each(|client| client.shutdown(Shutdown::Both).expect("it is open"));
            answers.push(answer(last));
            drop(stop);
            answers
        });
        assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 ")), "{answers:?}");
        std::fs::remove_dir_all(&directory).expect("it is ours");
    }

    #[test]
    fn a_client_waits_for_what_its_stage_wants() {
        let (ours, _theirs) = Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a pair");
        let mut client = Client::new(ours).expect("an open socket");
        assert_eq!(client.waits_for(), PollFlags::IN);
        client.stage = Stage::Writing(Vec::new(), 0);
        assert_eq!(client.waits_for(), PollFlags::OUT);
    }
}

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

/// What goes on when another thread serves in the place of one that ends: who is being answered, and what was counted.
pub(super) struct Service {
    clients: Vec<Client>,
    history: History,
}

impl Service {
    pub(super) fn new() -> Service {
        Service { clients: Vec::with_capacity(CLIENTS_MAX), history: History::new() }
    }

    /// Serves until the other end of `stop` is closed.
    pub(super) fn run(&mut self, listeners: &[&Socket], stop: &UnixStream, scene: &Scene) {
        let mut next_sample = Instant::now();
        // After an accept that failed for want of something, the next is not tried at once.
        let mut accepts_from = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_sample {
                self.history.sample(&scene.counters());
                next_sample = now + SAMPLE_PAUSE;
            }
            self.clients.retain(|client| client.deadline > now);
            let accepts = self.clients.len() < CLIENTS_MAX && now >= accepts_from;
            let until = self.clients.iter().map(|client| client.deadline).fold(next_sample, Instant::min);
            let mut waiting = vec![PollFd::new(stop, PollFlags::IN)];
            waiting.extend(self.clients.iter().map(|client| PollFd::new(&client.socket, client.waits_for())));
            waiting.extend(listeners.iter().filter(|_| accepts).map(|listener| PollFd::new(*listener, PollFlags::IN)));
            let Some(ready) = wait(waiting, until.saturating_duration_since(now)) else { continue };
            if ready[0] {
                return;
            }
            let at = 1 + self.clients.len();
            self.go_on(&ready[1..at], scene);
            for (listener, _) in listeners.iter().zip(&ready[at..]).filter(|(_, ready)| **ready) {
                if self.clients.len() >= CLIENTS_MAX {
                    // Whoever is accepted is served; this one waits in the queue.
                    break;
                }
                match listener.accept() {
                    Ok((socket, _)) => self.clients.extend(Client::new(socket)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => accepts_from = Instant::now() + Duration::from_millis(100),
                }
            }
        }
    }

    /// Takes in whoever waits at a listener that is about to go; they may be more than are served at other times.
    pub(super) fn take_in(&mut self, listener: &Socket) {
        while let Ok((socket, _)) = listener.accept() {
            self.clients.extend(Client::new(socket));
        }
    }

    /// Whether nobody is being answered.
    pub(super) fn is_idle(&self) -> bool {
        self.clients.is_empty()
    }

    /// Answers who is there, and nobody else; each has its deadline.
    pub(super) fn finish(mut self, scene: &Scene) {
        while let Some(until) = self.clients.iter().map(|client| client.deadline).min() {
            let waiting = self.clients.iter().map(|client| PollFd::new(&client.socket, client.waits_for())).collect();
            if let Some(ready) = wait(waiting, until.saturating_duration_since(Instant::now())) {
                self.go_on(&ready, scene);
            }
            let now = Instant::now();
            self.clients.retain(|client| client.deadline > now);
        }
    }

    /// Goes on with the clients that are `ready`, one for each.
    fn go_on(&mut self, ready: &[bool], scene: &Scene) {
        let (mut ready, history) = (ready.iter(), &self.history);
        self.clients.retain_mut(|client| ready.next() == Some(&false) || client.go_on(scene, history));
    }
}

/// Which of these are ready; none at all where the wait was broken off.
fn wait(mut fds: Vec<PollFd<'_>>, timeout: Duration) -> Option<Vec<bool>> {
    poll(&mut fds, Timespec::try_from(timeout).ok().as_ref()).ok()?;
    Some(fds.iter().map(|one| !one.revents().is_empty()).collect())
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
            scope.spawn(move || Service::new().run(&listeners, &told_to_stop, &scene));
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

    /// A reload of the door once cut the connections of whoever was being answered, or waited at an address that went.
    #[test]
    fn whoever_came_before_a_change_is_answered_after_it() {
        let directory = std::env::temp_dir().join(format!("otus-httpd-change-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory of this test");
        let path = directory.join("gone");
        let listener = UnixListener::bind(&path).expect("a new path");
        listener.set_nonblocking(true).expect("an open socket");
        let listener = Socket::from(listener);
        let mut clients = [(); 3].map(|()| UnixStream::connect(&path).expect("it listens"));
        let scene = Scene::new(Description::default(), false);
        let mut service = Service::new();
        let (stop, told_to_stop) = UnixStream::pair().expect("a pair");
        drop(stop);
        service.take_in(&listener);
        drop(listener);
        service.run(&[], &told_to_stop, &scene);
        for client in &mut clients {
            client.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is open");
        }
        let finishing = std::thread::spawn(move || service.finish(&scene));
        for client in &mut clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("the whole answer");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        drop(clients);
        finishing.join().expect("it does not panic");
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

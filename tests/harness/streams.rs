//! Browsers at work: many connections of HTTP/2 with many requests under way on each, without a pause.
//!
//! Invariant: a request is asked again only where the server has said that it did not begin with it (RFC 9113 §6.8, §8.7);
//! whatever else is not a whole and right answer is told of in the end.

use super::{HANG, eventually};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Error, Reason};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

/// A path, and what stands there.
pub(crate) type Known = (String, Vec<u8>);

/// What all the browsers share.
struct Shared {
    address: SocketAddr,
    known: Vec<Known>,
    stop: AtomicBool,
    answers: AtomicUsize,
    connections: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

/// Browsers at work.
pub(crate) struct Streams {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Streams {
    /// So many connections with so many requests at a time on each.
    pub(crate) fn start(address: SocketAddr, known: Vec<Known>, connections: usize, streams: usize) -> Streams {
        let shared = Arc::new(Shared {
            address,
            known,
            stop: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            faults: Mutex::new(Vec::new()),
        });
        let at_work = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a thread can wait for sockets");
            runtime.block_on(async {
                let browsers: Vec<_> =
                    (0..connections).map(|number| tokio::spawn(browse(at_work.clone(), number, streams))).collect();
                for browser in browsers {
                    browser.await.expect("a browser does not panic");
                }
            });
        });
        let streams = Streams { shared, thread: Some(thread) };
        streams.wait_for_more(1);
        streams
    }

    /// Waits until so many more requests were answered.
    pub(crate) fn wait_for_more(&self, count: usize) {
        let wanted = self.shared.answers.load(Ordering::Relaxed) + count;
        eventually("more answers", || {
            self.shared.answers.load(Ordering::Relaxed) >= wanted || self.shared.has_failed()
        });
    }

    /// How many connections there were so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Ends it, and tells of what went wrong.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it ends once").join().expect("it does not panic");
        std::mem::take(&mut *self.shared.faults())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        // A test that failed elsewhere leaves nobody behind.
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn faults(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.faults.lock().expect("nobody panics with it")
    }

    fn has_failed(&self) -> bool {
        !self.faults().is_empty()
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.has_failed()
    }
}

/// One browser: a connection, and another where the server has said goodbye to it.
async fn browse(shared: Arc<Shared>, number: usize, streams: usize) {
    while !shared.is_over() {
        let requests = match timeout(HANG, connect(shared.address)).await {
            Ok(Ok(requests)) => requests,
            other => return shared.faults().push(format!("browser {number}: no connection: {other:?}")),
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let tabs: Vec<_> = (0..streams)
            .map(|tab| tokio::spawn(ask_on(shared.clone(), requests.clone(), number * streams + tab)))
            .collect();
        for tab in tabs {
            tab.await.expect("a tab does not panic");
        }
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Bytes>, String> {
    let stream = TcpStream::connect(address).await.map_err(|fault| fault.to_string())?;
    stream.set_nodelay(true).map_err(|fault| fault.to_string())?;
    let handshake = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .handshake(stream);
    let (requests, connection) = handshake.await.map_err(|fault| fault.to_string())?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(requests)
}

/// One request after the other, until the connection takes no more of them.
async fn ask_on(shared: Arc<Shared>, requests: SendRequest<Bytes>, start: usize) {
    for round in start.. {
        if shared.is_over() {
            return;
        }
        let (path, content) = &shared.known[round % shared.known.len()];
        match timeout(HANG, ask(requests.clone(), path)).await {
            Ok(Ok((200, received))) if received == *content => drop(shared.answers.fetch_add(1, Ordering::Relaxed)),
            Ok(Ok((status, received))) => {
                return shared.faults().push(format!("{path}: {status} with {} bytes", received.len()));
            }
            Ok(Err(fault)) if was_not_begun(&fault) => return,
            Ok(Err(fault)) => return shared.faults().push(format!("{path}: {fault:?}")),
            Err(_) => return shared.faults().push(format!("{path}: no answer")),
        }
    }
}

async fn ask(requests: SendRequest<Bytes>, path: &str) -> Result<(u16, Vec<u8>), Error> {
    let request =
        http::Request::builder().uri(format!("http://test{path}")).body(()).expect("a request that can be sent");
    let (response, _) = requests.ready().await?.send_request(request, true)?;
    let (head, mut content) = response.await?.into_parts();
    let mut received = Vec::new();
    while let Some(piece) = content.data().await {
        let piece = piece?;
        received.extend_from_slice(&piece);
        content.flow_control().release_capacity(piece.len())?;
    }
    Ok((head.status.as_u16(), received))
}

/// Whether the server has said that it does nothing about this request: the connection takes no more, in good order, or the stream was refused.
fn was_not_begun(fault: &Error) -> bool {
    let is_goodbye = fault.is_go_away() && fault.is_remote() && fault.reason() == Some(Reason::NO_ERROR);
    is_goodbye || fault.is_reset() && fault.is_remote() && fault.reason() == Some(Reason::REFUSED_STREAM)
}

//! Clients that ask without a pause while something happens to the server.
//!
//! Invariant: whatever is not a whole and right answer is told of in the end.

use super::client::{Client, Method};
use super::{HANG, holds_within};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// What clients do with their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// One for each request.
    Fresh,
    /// The same until an answer says that it closes.
    Kept,
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// So many clients of each of these habits, who get `target` and know its content.
    pub(crate) fn start(address: SocketAddr, target: &str, content: &[u8], clients: &[(Habit, usize)]) -> Load {
        let (stop, answers): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let habits = clients.iter().flat_map(|(habit, count)| std::iter::repeat_n(*habit, *count));
        let start = |habit| {
            let (stop, answers) = (stop.clone(), answers.clone());
            let (target, content) = (target.to_owned(), content.to_vec());
            std::thread::spawn(move || {
                let mut faults = Vec::new();
                while !stop.load(Ordering::Relaxed) && faults.len() < FAULTS_MAX {
                    faults.extend(ask(address, &target, &content, habit, &stop, &answers).err());
                }
                faults
            })
        };
        let clients = habits.map(start).collect();
        let load = Load { stop, answers, clients };
        load.wait_for_more(1);
        load
    }

    /// Waits until so many more requests were answered.
    pub(crate) fn wait_for_more(&self, count: usize) {
        let wanted = self.answers.load(Ordering::Relaxed) + count;
        let is_over = || self.clients.iter().all(JoinHandle::is_finished);
        holds_within(HANG, || self.answers.load(Ordering::Relaxed) >= wanted || is_over());
    }

    /// Ends it, and tells of what went wrong.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.drain(..).flat_map(|client| client.join().expect("a client does not panic")).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that failed elsewhere leaves nobody behind.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Of one client; more would say nothing more.
const FAULTS_MAX: usize = 3;

/// Uses one connection up.
fn ask(
    address: SocketAddr,
    target: &str,
    content: &[u8],
    habit: Habit,
    stop: &AtomicBool,
    answers: &AtomicUsize,
) -> Result<(), String> {
    let mut client = Client::try_connect(address).map_err(|error| format!("{habit:?}: no connection: {error}"))?;
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_send(request).map_err(|error| format!("{habit:?}: request {count}: {error}"))?;
        let answer = client.receive(Method::Get).map_err(|fault| format!("{habit:?}: request {count}: {fault:?}"))?;
        if answer.status != 200 || answer.content != content {
            return Err(format!("{habit:?}: request {count}: status {}", answer.status));
        }
        count += 1;
        answers.fetch_add(1, Ordering::Relaxed);
        if answer.closes() || habit == Habit::Fresh {
            return Ok(());
        }
    }
    Ok(())
}

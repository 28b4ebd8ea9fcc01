//! What goes on now, for whoever looks in: the heaviest paths and clients, the slowest requests, the open transfers.
//!
//! Order: each answer is counted by [`answered`], or at its end by [`ended`] · of those that weigh, one in some tens of KiB is
//! taken into the sketches · once a second a worker publishes what it has ([`publish`]) · [`snapshots`] are read by others.
//!
//! Nothing but the counts is done unless somebody [`watch`]es, and that is one branch.
//!
//! Invariant: a worker never waits for a reader: where one is reading, the worker publishes a second later.

use super::exchanged::Summary;
use super::sketch::{Heavy, NAME_BYTES_MAX, Sketch};
use crate::counters;
use crate::http::method::Method;
use crate::http::request::RequestHead;
use crate::http::status::Status;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A content transfer that is under way.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// What is sent.
    pub path: String,
    /// To whom.
    pub client: Option<IpAddr>,
    /// Bytes that the socket took.
    pub sent_bytes: u64,
    /// Bytes that it is to take, the head included.
    pub promised_bytes: u64,
    /// Bytes that it took in the last second.
    pub bytes_per_second: u64,
    /// Since when.
    pub begun: Instant,
}

/// A request that took long.
#[derive(Clone, Debug)]
pub struct Slow {
    /// From its first byte to the last byte of its answer.
    pub duration: Duration,
    /// What was asked for, without a query.
    pub path: Vec<u8>,
    /// By whom.
    pub client: Option<IpAddr>,
    /// The answer.
    pub status: u16,
    /// Bytes of head and content that were sent.
    pub bytes: u64,
    /// When it ended.
    pub ended: Instant,
}

/// What one worker has published.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Paths by bytes sent.
    pub paths: Vec<Heavy>,
    /// Clients by bytes sent; a name is the address as bytes.
    pub clients: Vec<Heavy>,
    /// The slowest requests of the last minutes.
    pub slowest: Vec<Slow>,
    /// Open transfers, those that have most left.
    pub transfers: Vec<Transfer>,
    /// How many there are in all.
    pub transfers_count: usize,
}

/// Slow requests that a worker remembers.
const SLOWEST_MAX: usize = 16;

/// For how long.
const SLOWEST_KEPT: Duration = Duration::from_secs(300);

/// Bytes between two answers that are taken into the sketches, on average: small enough to show who takes much
/// within a second, large enough that it costs nothing.
const SAMPLE_BYTES: u64 = 64 * 1024;

/// How long it takes for half of what was sent to be forgotten.
const HALF_LIFE: Duration = Duration::from_secs(60);

static WATCHES: AtomicUsize = AtomicUsize::new(0);

static BOARDS: Mutex<Vec<Weak<Mutex<Snapshot>>>> = Mutex::new(Vec::new());

/// Whether anybody may look in.
#[inline]
pub fn is_watched() -> bool {
    WATCHES.load(Ordering::Relaxed) > 0
}

/// Somebody may look in while this is there.
#[derive(Debug)]
pub struct Watch(());

/// Lets somebody look in.
pub fn watch() -> Watch {
    WATCHES.fetch_add(1, Ordering::Relaxed);
    Watch(())
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What this thread has seen.
struct Live {
    paths: Sketch,
    clients: Sketch,
    slowest: Vec<Slow>,
    /// Bytes to be sent until the next answer is taken.
    bytes_left: u64,
    /// Bytes that were sent since the last one was.
    bytes_unseen: u64,
    random: u64,
    faded: Instant,
    board: Arc<Mutex<Snapshot>>,
}

thread_local! {
    static HERE: RefCell<Option<Live>> = const { RefCell::new(None) };
}

/// Counts an answer whose head was written `elapsed` after its request began; where its content leaves with the head, that
/// was all of it.
#[inline]
pub fn answered(head: Option<&RequestHead<'_>>, summary: &Summary, elapsed: Duration, leaves_with_head: bool) {
    let counters = counters::here();
    counters.responses(summary.status).add(1);
    counters.requests(head.map_or(Method::Other, |head| head.method)).add(1);
    if leaves_with_head {
        counters.request_seconds.observe(elapsed);
        if is_watched() {
            let path = head.map_or("", |head| path_of(head.target));
            let asked = Asked { path, client: summary.client, status: summary.status };
            note(asked, elapsed, u64::from(summary.head_bytes) + summary.content_bytes);
        }
    }
}

/// What was asked for, by whom, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The path, without a query.
    pub path: &'a str,
    /// Who asked; none on a Unix socket.
    pub client: Option<IpAddr>,
    /// The answer.
    pub status: Status,
}

/// Counts the end of an answer whose content did not leave with its head; what it was is known where somebody watches.
pub fn ended(asked: Option<Asked<'_>>, elapsed: Duration, sent_bytes: u64) {
    counters::here().request_seconds.observe(elapsed);
    if let Some(asked) = asked {
        note(asked, elapsed, sent_bytes);
    }
}

/// A target without its query, which may hold what is nobody's business.
pub fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

fn note(asked: Asked<'_>, elapsed: Duration, bytes: u64) {
    // While a thread ends, connections may end behind this.
    let _ = HERE.try_with(|here| {
        let mut here = here.borrow_mut();
        let live = here.get_or_insert_with(Live::enter);
        live.weigh(asked.path, asked.client, bytes);
        live.time(asked, elapsed, bytes);
    });
}

impl Live {
    fn enter() -> Live {
        let board = Arc::default();
        let mut boards = BOARDS.lock().unwrap_or_else(PoisonError::into_inner);
        boards.retain(|board| board.strong_count() > 0);
        boards.push(Arc::downgrade(&board));
        Live {
            paths: Sketch::new(),
            clients: Sketch::new(),
            slowest: Vec::with_capacity(SLOWEST_MAX),
            bytes_left: 0,
            bytes_unseen: 0,
            random: 0x9E37_79B9_7F4A_7C15,
            faded: Instant::now(),
            board,
        }
    }

    /// Takes an answer into the sketches if the next byte to be looked at is one of its own: it then stands for all bytes
    /// since the last one that was.
    fn weigh(&mut self, path: &str, client: Option<IpAddr>, bytes: u64) {
        self.bytes_unseen += bytes;
        if bytes < self.bytes_left {
            self.bytes_left -= bytes;
            return;
        }
        let weight = std::mem::take(&mut self.bytes_unseen);
        // Not in step with anything (xorshift64): from half to one and a half times the mean.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.bytes_left = SAMPLE_BYTES / 2 + self.random % SAMPLE_BYTES;
        self.paths.count(path.as_bytes(), weight);
        match client {
            Some(IpAddr::V4(address)) => self.clients.count(&address.octets(), weight),
            Some(IpAddr::V6(address)) => self.clients.count(&address.octets(), weight),
            None => self.clients.count(b"", weight),
        }
    }

    /// Remembers a request that took longer than one of those that are remembered.
    fn time(&mut self, asked: Asked<'_>, duration: Duration, bytes: u64) {
        let path = &asked.path.as_bytes()[..asked.path.len().min(NAME_BYTES_MAX)];
        let (client, status) = (asked.client, asked.status.code());
        if self.slowest.len() < SLOWEST_MAX {
            let slow = Slow { duration, path: path.to_vec(), client, status, bytes, ended: Instant::now() };
            self.slowest.push(slow);
            return;
        }
        let least = self.slowest.iter_mut().min_by_key(|slow| slow.duration).expect("it is full");
        if duration > least.duration {
            least.path.clear();
            least.path.extend_from_slice(path);
            *least =
                Slow { duration, path: std::mem::take(&mut least.path), client, status, bytes, ended: Instant::now() };
        }
    }
}

/// Publishes what this thread has seen, and these open transfers, of which there are `transfers_count` in all; called once a second.
pub fn publish(transfers: Vec<Transfer>, transfers_count: usize) {
    let _ = HERE.try_with(|here| {
        let mut here = here.borrow_mut();
        let live = here.get_or_insert_with(Live::enter);
        if live.faded.elapsed() >= HALF_LIFE {
            live.paths.fade();
            live.clients.fade();
            live.faded = Instant::now();
        }
        live.slowest.retain(|slow| slow.ended.elapsed() < SLOWEST_KEPT);
        let Ok(mut board) = live.board.try_lock() else { return };
        board.paths.clone_from_slice_of(live.paths.heavy());
        board.clients.clone_from_slice_of(live.clients.heavy());
        board.slowest.clone_from(&live.slowest);
        board.transfers = transfers;
        board.transfers_count = transfers_count;
    });
}

/// Reuses what a list has allocated.
trait CloneFromSlice<T> {
    fn clone_from_slice_of(&mut self, other: &[T]);
}

impl<T: Clone> CloneFromSlice<T> for Vec<T> {
    fn clone_from_slice_of(&mut self, other: &[T]) {
        self.truncate(other.len());
        let (same, more) = other.split_at(self.len());
        self.clone_from_slice(same);
        self.extend_from_slice(more);
    }
}

/// What the workers have published.
pub fn snapshots() -> Vec<Snapshot> {
    let boards: Vec<_> = {
        let boards = BOARDS.lock().unwrap_or_else(PoisonError::into_inner);
        boards.iter().filter_map(Weak::upgrade).collect()
    };
    boards.iter().map(|board| board.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str) -> Asked<'_> {
        Asked { path, client: Some([127, 0, 0, 9].into()), status: Status::OK }
    }

    /// What is told of a thousand small answers and one large one is near the truth, and the large one is the slowest.
    #[test]
    fn weights_are_near_the_truth() {
        let seen = std::thread::spawn(|| {
            for number in 0..10_000u64 {
                let (path, bytes) = if number % 2 == 0 { ("/even", 3000) } else { ("/odd", 1000) };
                note(asked(path), Duration::from_micros(number % 100), bytes);
            }
            ended(Some(asked("/large")), Duration::from_secs(9), 80_000_000);
            publish(Vec::new(), 0);
            HERE.with(|here| here.borrow().as_ref().map(|live| live.board.lock().expect("not poisoned").clone()))
        })
        .join()
        .expect("it only counts")
        .expect("it was published");
        let weight = |name: &[u8]| {
            let found = seen.paths.iter().find(|heavy| heavy.name == name);
            found.map_or(0, |heavy| heavy.weight)
        };
        assert!((12_000_000..18_000_000).contains(&weight(b"/even")), "{}", weight(b"/even"));
        assert!((3_000_000..8_000_000).contains(&weight(b"/odd")), "{}", weight(b"/odd"));
        assert!((80_000_000..80_100_000).contains(&weight(b"/large")), "{}", weight(b"/large"));
        assert_eq!(seen.clients.len(), 1);
        assert_eq!(seen.slowest.len(), SLOWEST_MAX);
        let slowest = seen.slowest.iter().max_by_key(|slow| slow.duration).expect("it holds some");
        assert_eq!((&slowest.path[..], slowest.bytes), (&b"/large"[..], 80_000_000));
    }

    #[test]
    fn a_query_is_not_told() {
        assert_eq!(path_of("/a/b?token=secret"), "/a/b");
        assert_eq!(path_of("*"), "*");
    }
}

//! Lets the requests of each client through at a rate: a bucket of tokens a client and place, for the whole process.
//!
//! A bucket is one number, the time at which it will be full again (GCRA). A request moves that time on by what a token takes; one that
//! would move it further ahead than the bucket is deep has to wait.
//!
//! Invariant: the table never grows. A newcomer takes the place of the fullest bucket of its row: a full one is one
//! that nobody has used, and to forget it changes nothing.

use super::client::Client;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many requests of a client are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimit {
    /// What is counted together: the place where the limit is set, and the limit itself.
    place: u64,
    /// Time in which one request becomes possible, in nanoseconds.
    interval_nanoseconds: u64,
    /// Requests that may come at once.
    burst: u32,
}

/// Requests that may come at once at most, so that a bucket fills within years.
pub const BURST_MAX: u32 = 1_000_000;

impl RequestLimit {
    /// `requests` in each `period`, `burst` at once, for what is known as `place`.
    pub fn new(requests: u32, period: Duration, burst: u32, place: &str) -> RequestLimit {
        assert!(requests > 0);
        assert!((1..=BURST_MAX).contains(&burst));
        let period = u64::try_from(period.as_nanos()).expect("a period is an hour at most");
        let interval_nanoseconds = (period / u64::from(requests)).max(1);
        // Always the same for the same, so that a reload that changes nothing of it forgets nothing.
        let mut hasher = DefaultHasher::new();
        (place, interval_nanoseconds, burst).hash(&mut hasher);
        RequestLimit { place: hasher.finish(), interval_nanoseconds, burst }
    }

    /// Counts a request of the client at this address; an error says after how many seconds the next will be let through.
    pub fn admit(&self, client: IpAddr) -> Result<(), u32> {
        static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
        // A bucket that was never used is full since the beginning, and a time of zero stands for no bucket.
        let now = u64::try_from(BEGUN.elapsed().as_nanos()).unwrap_or(u64::MAX) + 1;
        TABLE.admit(self, Client::of(client), now)
    }

    fn depth_nanoseconds(&self) -> u64 {
        self.interval_nanoseconds.saturating_mul(self.burst.into())
    }
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(ROWS_OF_PART));

/// Parts of the table, each with a lock of its own.
const PARTS: usize = 64;

/// Rows of each part, and buckets of a row: 65536 in all, 1.5 MiB, taken when the first limit is asked.
const ROWS_OF_PART: usize = 128;
const BUCKETS_OF_ROW: usize = 8;

struct Table {
    hasher: RandomState,
    parts: Vec<Mutex<Box<[Row]>>>,
}

type Row = [Bucket; BUCKETS_OF_ROW];

#[derive(Clone, Copy, Default)]
struct Bucket {
    place: u64,
    client: u64,
    /// When it is full again, in nanoseconds since the process began to count; zero of a bucket that is nobody's.
    full_at: u64,
}

impl Table {
    fn new(rows: usize) -> Table {
        let part = || Mutex::new(vec![Row::default(); rows].into_boxed_slice());
        // Nobody who does not know the keys of this hash can choose addresses that meet in a row.
        Table { hasher: RandomState::new(), parts: (0..PARTS).map(|_| part()).collect() }
    }

    fn admit(&self, limit: &RequestLimit, client: Client, now: u64) -> Result<(), u32> {
        let client = client.number();
        let hash = self.hasher.hash_one((limit.place, client));
        let mut part = self.part(hash);
        let rows = part.len() as u64;
        let row = &mut part[usize::try_from(hash / PARTS as u64 % rows).expect("there are few rows")];
        let at = row.iter().position(|bucket| (bucket.place, bucket.client) == (limit.place, client));
        let bucket = match at {
            Some(at) => &mut row[at],
            None => {
                let fullest = row.iter_mut().min_by_key(|bucket| bucket.full_at).expect("a row has buckets");
                *fullest = Bucket { place: limit.place, client, full_at: 0 };
                fullest
            }
        };
        let full_at = bucket.full_at.max(now).saturating_add(limit.interval_nanoseconds);
        let over = full_at.saturating_sub(now.saturating_add(limit.depth_nanoseconds()));
        if over > 0 {
            return Err(u32::try_from(over.div_ceil(1_000_000_000)).unwrap_or(u32::MAX));
        }
        bucket.full_at = full_at;
        Ok(())
    }

    fn part(&self, hash: u64) -> MutexGuard<'_, Box<[Row]>> {
        let part = usize::try_from(hash % PARTS as u64).expect("there are few parts");
        // Nothing in here panics halfway.
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const SECOND: u64 = 1_000_000_000;

    fn client(number: u32) -> Client {
        Client::of(Ipv4Addr::from(number).into())
    }

    /// Each row: when a request comes, in tenths of a second, and after how many seconds the next may, if it may not.
    #[test]
    fn a_bucket_fills_at_its_rate() {
        let table = Table::new(1);
        let limit = RequestLimit::new(2, Duration::from_secs(1), 3, "/");
        for (tenths, outcome) in [
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(1)),
            (4, Err(1)),
            // Half a second is one request.
            (5, Ok(())),
            (5, Err(1)),
            (15, Ok(())),
            (15, Ok(())),
            (15, Err(1)),
            (1000, Ok(())),
            (1000, Ok(())),
            (1000, Ok(())),
            (1000, Err(1)),
        ] {
            assert_eq!(table.admit(&limit, client(1), 1 + tenths * SECOND / 10), outcome, "{tenths}");
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_is_long_enough() {
        let table = Table::new(1);
        let limit = RequestLimit::new(6, Duration::from_secs(60), 1, "/");
        assert_eq!(table.admit(&limit, client(1), SECOND), Ok(()));
        for (after, outcome) in [(0, Err(10)), (1, Err(9)), (9, Err(1)), (10, Ok(()))] {
            assert_eq!(table.admit(&limit, client(1), SECOND + after * SECOND), outcome, "{after}");
        }
        let fraction = table.admit(&limit, client(1), 11 * SECOND + SECOND / 2);
        assert_eq!(fraction, Err(10), "nine and a half are ten");
    }

    #[test]
    fn clients_and_places_are_counted_apart_and_the_same_place_together() {
        let table = Table::new(1);
        let limit = |place| RequestLimit::new(1, Duration::from_secs(1), 1, place);
        assert_eq!(table.admit(&limit("/a"), client(1), 1), Ok(()));
        assert_eq!(table.admit(&limit("/a"), client(2), 1), Ok(()));
        assert_eq!(table.admit(&limit("/b"), client(1), 1), Ok(()));
        assert_eq!(table.admit(&limit("/a"), client(1), 1), Err(1));
        let changed = RequestLimit::new(1, Duration::from_secs(1), 2, "/a");
        assert_eq!(table.admit(&changed, client(1), 1), Ok(()), "another limit is another bucket");
    }

    /// However many come, the table stays as large as it is, and who uses its bucket keeps it while full ones are there.
    #[test]
    fn full_buckets_go_first() {
        let table = Table::new(1);
        let limit = RequestLimit::new(1, Duration::from_secs(100), 1, "/");
        let quick = RequestLimit::new(1000, Duration::from_secs(1), 1, "/quick");
        assert_eq!(table.admit(&limit, client(0), SECOND), Ok(()));
        for number in 1..10_000 {
            // The bucket of each is full again when the next one comes.
            assert_eq!(table.admit(&quick, client(number), u64::from(number) * SECOND / 500), Ok(()));
        }
        assert!(table.admit(&limit, client(0), 21 * SECOND).is_err(), "it was forgotten");
        let limit = RequestLimit::new(1, Duration::from_secs(3600), 1, "/");
        let admitted = (0..10_000).filter(|number| table.admit(&limit, client(*number), SECOND).is_ok()).count();
        assert!(admitted > 9_000, "{admitted}: a full table keeps nobody out");
    }
}

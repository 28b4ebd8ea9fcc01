//! What one core has for its access logs: a buffer for each destination, the date as a text, spare memory.
//!
//! Order: [`Buffer::add`] appends a line · a buffer that is nearly full goes to the writer at once, all others once a
//! second ([`tick`]) and at the end ([`finish`]) · empty ones come back.
//!
//! Invariant: a core has lent out at most [`LENT_MAX`] buffers; when none comes back, lines are dropped and counted.

use super::{Logs, Pending};
use crate::observe::journal::{self, Civil, Destination, Sink};
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

/// What one core has for its access logs.
pub(super) struct Core {
    buffers: RefCell<Vec<Rc<Buffer>>>,
    /// Where the writer sends buffers that it has emptied.
    home: SyncSender<Vec<u8>>,
    returned: Receiver<Vec<u8>>,
    spare: RefCell<Vec<Vec<u8>>>,
    lent: Cell<usize>,
    pending: RefCell<Vec<Pending>>,
    dates: Cell<Dates>,
    ids: [RandomState; 2],
    requests: Cell<u64>,
}

/// Bytes of a buffer: some three hundred lines.
const BUFFER_BYTES: usize = 64 * 1024;

/// A buffer that holds as much is handed over: one more line of a usual length fits behind it.
const FULL_BYTES: usize = BUFFER_BYTES - 4 * 1024;

/// A line of a hostile request may make a buffer grow; one that grew past this is not kept.
const KEPT_BYTES_MAX: usize = 2 * BUFFER_BYTES;

/// Buffers that wait to be written, on each core: a mebibyte.
pub(super) const LENT_MAX: usize = 16;

/// Lines kept for transfers in flight; those beyond are made anew each time.
const PENDING_MAX: usize = 256;

/// What a kept one may hold.
const PENDING_BYTES_MAX: usize = 8 * 1024;

thread_local! {
    static CORE: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// Renders the date anew, and hands over what is in the buffers; called once a second, on the second.
pub fn tick() {
    let core = CORE.with_borrow(Clone::clone);
    if let Some(core) = core {
        core.dates.set(Dates::now());
        core.flush();
        // A destination that no configuration names any more is closed.
        core.buffers.borrow_mut().retain(|buffer| Rc::strong_count(buffer) > 1);
    }
}

/// Hands over what is in the buffers: this thread ends.
pub fn finish() {
    let core = CORE.take();
    if let Some(core) = core {
        core.flush();
    }
}

impl Core {
    /// That of this thread.
    pub(super) fn here() -> Rc<Core> {
        CORE.with_borrow_mut(|core| core.get_or_insert_with(|| Rc::new(Core::new())).clone())
    }

    fn new() -> Core {
        let (home, returned) = sync_channel(LENT_MAX);
        Core {
            buffers: RefCell::default(),
            home,
            returned,
            spare: RefCell::default(),
            lent: Cell::new(0),
            pending: RefCell::default(),
            dates: Cell::new(Dates::now()),
            ids: [RandomState::new(), RandomState::new()],
            requests: Cell::new(0),
        }
    }

    /// The buffer for a destination.
    pub(super) fn buffer(&self, destination: &Destination) -> Rc<Buffer> {
        let mut buffers = self.buffers.borrow_mut();
        if let Some(buffer) = buffers.iter().find(|buffer| buffer.sink.destination() == destination) {
            return buffer.clone();
        }
        let buffer =
            Rc::new(Buffer { sink: journal::sink(destination), bytes: RefCell::default(), lines: Cell::new(0) });
        buffers.push(buffer.clone());
        buffer
    }

    /// An empty one to keep what is known of an exchange.
    pub(super) fn pending(&self, logs: &Rc<Logs>) -> Pending {
        let mut pending = self.pending.borrow_mut().pop().unwrap_or_default();
        pending.logs = Some(logs.clone());
        pending
    }

    /// Takes one back.
    pub(super) fn take_back(&self, mut pending: Pending) {
        let mut spare = self.pending.borrow_mut();
        if spare.len() < PENDING_MAX && pending.text.capacity() <= PENDING_BYTES_MAX {
            pending.text.clear();
            pending.marks.clear();
            spare.push(pending);
        }
    }

    /// The date of this second.
    pub(super) fn dates(&self) -> Dates {
        self.dates.get()
    }

    /// Bits that no other request has, and that nobody can know who has seen those of others.
    pub(super) fn request_id(&self) -> [u64; 2] {
        let number = self.requests.get();
        self.requests.set(number + 1);
        [self.ids[0].hash_one(number), self.ids[1].hash_one(number)]
    }

    fn flush(&self) {
        for buffer in self.buffers.borrow().iter() {
            buffer.hand_over(self);
        }
    }

    /// Takes in what the writer sent back.
    fn collect(&self) {
        while let Ok(buffer) = self.returned.try_recv() {
            debug_assert!(self.lent.get() > 0);
            self.lent.set(self.lent.get() - 1);
            if buffer.capacity() <= KEPT_BYTES_MAX {
                self.spare.borrow_mut().push(buffer);
            }
        }
    }
}

/// Lines of one core for one destination.
pub(super) struct Buffer {
    sink: Arc<Sink>,
    bytes: RefCell<Vec<u8>>,
    lines: Cell<u64>,
}

impl Buffer {
    /// Adds the line that `write` makes.
    pub(super) fn add(&self, core: &Core, write: impl FnOnce(&mut Vec<u8>)) {
        let is_full = {
            let mut bytes = self.bytes.borrow_mut();
            if bytes.capacity() == 0 {
                bytes.reserve(BUFFER_BYTES);
            }
            write(&mut bytes);
            debug_assert_eq!(bytes.last(), Some(&b'\n'));
            bytes.len() >= FULL_BYTES
        };
        self.lines.set(self.lines.get() + 1);
        if is_full {
            self.hand_over(core);
        }
    }

    /// What it holds; it is empty from here on.
    #[cfg(test)]
    pub(super) fn take(&self) -> String {
        self.lines.set(0);
        String::from_utf8(self.bytes.take()).expect("lines are text")
    }

    fn hand_over(&self, core: &Core) {
        let lines = self.lines.take();
        if lines == 0 {
            return;
        }
        core.collect();
        let mut bytes = self.bytes.take();
        if core.lent.get() >= LENT_MAX {
            self.sink.drop_lines(lines);
            bytes.clear();
            self.bytes.replace(bytes);
            return;
        }
        let empty = match self.sink.hand_over(bytes, lines, &core.home) {
            Ok(()) => {
                core.lent.set(core.lent.get() + 1);
                core.spare.borrow_mut().pop().unwrap_or_default()
            }
            Err(bytes) => bytes,
        };
        self.bytes.replace(empty);
    }
}

/// One second, as lines say it.
#[derive(Clone, Copy)]
pub(super) struct Dates {
    /// `31/Jan/2026:12:00:00 +0100`
    pub(super) local: [u8; 26],
    /// `2026-01-31T12:00:00+01:00`
    pub(super) iso: [u8; 25],
}

const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

impl Dates {
    fn now() -> Dates {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Dates::of(since_epoch.as_secs(), journal::utc_offset_seconds())
    }

    fn of(unix_seconds: u64, offset_seconds: i32) -> Dates {
        // RFC 3339 writes years of four digits.
        const SECONDS_MAX: i64 = 253_402_214_400;
        let seconds = i64::try_from(unix_seconds).unwrap_or(SECONDS_MAX).min(SECONDS_MAX);
        let Civil { year, month, day, hour, minute, second } = Civil::of(seconds + i64::from(offset_seconds));
        let sign = if offset_seconds < 0 { b'-' } else { b'+' };
        let minutes = offset_seconds.unsigned_abs() / 60;
        let digits = |number: u32| {
            let digit = |number: u32| b'0' + u8::try_from(number % 10).expect("a digit");
            [digit(number / 10), digit(number)]
        };
        let two = |number: u8| digits(number.into());
        let year = u32::try_from(year).unwrap_or(0);
        let (century, year) = (digits(year / 100), digits(year % 100));
        let (zone_hours, zone_minutes) = (digits(minutes / 60), digits(minutes % 60));
        let name = &MONTHS[usize::from(month - 1) * 3..][..3];
        let mut dates = Dates { local: *b"00/Jan/0000:00:00:00 +0000", iso: *b"0000-00-00T00:00:00+00:00" };
        let clock = [two(hour), two(minute), two(second)];
        for (at, digits) in [(0, two(day)), (7, century), (9, year), (12, clock[0]), (15, clock[1]), (18, clock[2])] {
            dates.local[at..at + 2].copy_from_slice(&digits);
        }
        dates.local[3..6].copy_from_slice(name);
        dates.local[21] = sign;
        dates.local[22..24].copy_from_slice(&zone_hours);
        dates.local[24..26].copy_from_slice(&zone_minutes);
        for (at, digits) in [
            (0, century),
            (2, year),
            (5, two(month)),
            (8, two(day)),
            (11, clock[0]),
            (14, clock[1]),
            (17, clock[2]),
            (20, zone_hours),
            (23, zone_minutes),
        ] {
            dates.iso[at..at + 2].copy_from_slice(&digits);
        }
        dates.iso[19] = sign;
        dates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_their_offset() {
        for (offset, local, iso) in [
            (0, "06/Nov/1994:08:49:37 +0000", "1994-11-06T08:49:37+00:00"),
            (3600, "06/Nov/1994:09:49:37 +0100", "1994-11-06T09:49:37+01:00"),
            (-34_200, "05/Nov/1994:23:19:37 -0930", "1994-11-05T23:19:37-09:30"),
        ] {
            let dates = Dates::of(784_111_777, offset);
            assert_eq!(String::from_utf8_lossy(&dates.local), local);
            assert_eq!(String::from_utf8_lossy(&dates.iso), iso);
        }
        assert!(Dates::of(u64::MAX, 0).iso.starts_with(b"9999-"));
    }

    #[test]
    fn identifiers_differ() {
        let core = Core::new();
        let mut ids: Vec<_> = (0..1000).map(|_| core.request_id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1000);
    }
}

//! Large content that is asked for again and again: read into memory in the background, once for all cores.
//!
//! A file up to [`WHOLE_BYTES_MAX`] is read whole for the first who asks for it. A larger one is sent from disk, and what
//! is sent of it is counted ([`demand`]). Who asks for it when it has earned its place starts the reading, and is
//! sent it from disk like all others meanwhile; whoever comes after it is done finds it in memory.
//!
//! Asked for, and not merely sent: a file that is fetched once is never read twice.
//!
//! Invariant: a core reads one such file at a time, and holds at most one that nobody has asked for yet, for
//! [`UNASKED_TICKS_MAX`] at most.

use super::catalogue::Catalogue;
use crate::storage::file::{OpenFile, ReadFault};
use crate::storage::held::{self, Claim};
use crate::storage::shared::{Filling, SharedContent};
use crate::storage::{demand, fill, pool};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// Above it nobody waits for a whole file to be read.
pub(super) const WHOLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How long what was read waits to be asked for: as long as half of a demand is remembered.
const UNASKED_TICKS_MAX: u32 = 60;

/// What one core reads in the background, and what it has read.
#[derive(Default)]
pub(super) struct Keeping {
    is_reading: Cell<bool>,
    unasked: RefCell<Option<Unasked>>,
}

/// Content that is in memory, and in no entry of a cache.
struct Unasked {
    content: Arc<SharedContent>,
    ticks: u32,
}

/// Counts what is sent of a large file from here on, and starts to read it when that is enough. The file must be one whose
/// identity proves its content.
pub(super) fn count(catalogue: &Rc<Catalogue>, file: OpenFile) -> Rc<OpenFile> {
    let file = Rc::new(file.counted());
    let identity = file.identity();
    if catalogue.keeping.is_reading.get() || !demand::is_earned(&identity) {
        return file;
    }
    // Another core may be reading it. Without a descriptor to spare, it has to be sent from disk.
    let Some(claim) = held::claim(&identity) else { return file };
    let Ok(filling) = Filling::begin(identity.length) else { return file };
    // Whatever comes of it, it has to be earned anew.
    demand::reset(&identity);
    catalogue.keeping.is_reading.set(true);
    pool::in_background(read(catalogue.clone(), file.clone(), filling, claim));
    file
}

async fn read(catalogue: Rc<Catalogue>, file: Rc<OpenFile>, mut filling: Filling, claim: Claim) {
    let appended = fill::append_file(&mut filling, &file).await;
    catalogue.keeping.is_reading.set(false);
    let length = file.identity().length;
    let finish = |()| filling.finish(Some(claim)).map_err(|errno| ReadFault::Failed(errno.into()));
    match appended.and_then(finish) {
        Ok(content) => {
            tracing::debug!("a file of {length} bytes is kept in memory: it was asked for often enough");
            catalogue.keeping.unasked.replace(Some(Unasked { content, ticks: 0 }));
        }
        Err(ReadFault::Changed) => tracing::debug!("a file of {length} bytes is not kept in memory: it changed"),
        Err(ReadFault::Failed(error)) => {
            if catalogue.throttle.admits() {
                tracing::error!("a file of {length} bytes cannot be kept in memory: {error}");
            }
        }
    }
}

impl Keeping {
    /// Lets go of what a cache holds by now, or of what nobody asks for; called about once a second.
    pub(super) fn tick(&self) {
        let is_done = |unasked: &mut Unasked| {
            unasked.ticks += 1;
            Arc::strong_count(&unasked.content) > 1 || unasked.ticks > UNASKED_TICKS_MAX
        };
        drop(self.unasked.borrow_mut().take_if(is_done));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_for_is_let_go() {
        let content = || Filling::begin(0).and_then(|filling| filling.finish(None)).expect("memory");
        let keeping = Keeping::default();
        let ticks = |asked: Option<Arc<SharedContent>>| {
            let content = asked.clone().unwrap_or_else(content);
            keeping.unasked.replace(Some(Unasked { content, ticks: 0 }));
            let mut ticks = 0;
            while keeping.unasked.borrow().is_some() {
                keeping.tick();
                ticks += 1;
            }
            ticks
        };
        assert_eq!((ticks(None), ticks(Some(content()))), (UNASKED_TICKS_MAX + 1, 1));
    }
}

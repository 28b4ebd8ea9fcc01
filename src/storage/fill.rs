//! Reads a large file into memory for all workers, a few spans at a time.
//!
//! Invariant: at most `WINDOW_SPANS` spans of a file are in flight or in hand; the others on this core have their turn
//! between two of them.

use super::file::{OpenFile, ReadFault};
use super::shared::Filling;
use super::span;
use std::collections::VecDeque;
use std::rc::Rc;

/// Reads in flight: enough to keep a disk busy while the span before is copied.
const WINDOW_SPANS: usize = 4;

/// Appends the whole file, as it was when it was opened.
pub async fn append_file(filling: &mut Filling, file: &Rc<OpenFile>) -> Result<(), ReadFault> {
    let mut spans = span::spans(0..file.identity().length);
    let mut window = VecDeque::with_capacity(WINDOW_SPANS);
    loop {
        while window.len() < WINDOW_SPANS {
            let Some(span) = spans.next() else { break };
            window.push_back(file.begin_read(span));
        }
        let Some(reading) = window.pop_front() else { return Ok(()) };
        let bytes = reading.await?;
        filling.append(&bytes).map_err(|errno| ReadFault::Failed(errno.into()))?;
        glommio::executor().yield_if_needed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::{Patience, facts};
    use crate::storage::opening::{self, Opening};
    use rustix::fs::{Mode, OFlags};
    use std::fs::File;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    fn open(path: &Path) -> Rc<OpenFile> {
        let found = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("it is there");
        let identity = facts(&found, Patience::AsNeeded).expect("it is open").identity;
        match opening::patiently(&found, identity, 0).expect("it can be opened") {
            Opening::File(opened) => Rc::new(opened.bind()),
            Opening::Content(..) => panic!("nothing is to be read yet"),
        }
    }

    async fn read(file: &Rc<OpenFile>) -> Result<Vec<u8>, ReadFault> {
        let mut filling = Filling::begin(file.identity().length).expect("memory");
        append_file(&mut filling, file).await?;
        let content = filling.finish(None).expect("it can be frozen");
        Ok(content.to_vec().expect("it is in memory"))
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let path = std::env::temp_dir().join(format!("otus-httpd-fill-{}", std::process::id()));
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        executor.run(async {
            for length in [1, 4096, 131_072, 131_073, 3_000_005] {
                let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
                std::fs::write(&path, &bytes).expect("a file can be written");
                // Long ago: one that was just written may grow.
                let past = SystemTime::now() - Duration::from_secs(60);
                File::options().write(true).open(&path).and_then(|file| file.set_modified(past)).expect("it is ours");
                let file = open(&path);
                assert!(read(&file).await.expect("it did not change") == bytes, "{length}");
                std::fs::write(&path, b"x".repeat(length)).expect("a file can be written");
                assert!(matches!(read(&file).await, Err(ReadFault::Changed)), "{length}");
            }
        });
        std::fs::remove_file(&path).expect("it is there");
    }
}

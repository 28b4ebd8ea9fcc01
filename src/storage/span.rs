//! The arithmetic of direct reads: which aligned span of a file covers the bytes wanted, and
//! which bytes of what was read are wanted. Pure.
//!
//! Invariant: a span starts and ends on [`ALIGNMENT`], holds at least one wanted byte, and is at
//! most [`SPAN_BYTES_MAX`] long.

use std::ops::Range;

/// Offsets, lengths and memory of direct reads are multiples of this. 4 KiB suits every common
/// disk; one that wants more refuses the read, and the file is then read through the page cache.
pub const ALIGNMENT: u64 = 4096;

/// The most that one read asks for. Kernels have hung on reads of some megabytes; well below
/// that, larger reads gain nothing.
pub const SPAN_BYTES_MAX: u64 = 128 * 1024;

const _: () = assert!(ALIGNMENT.is_power_of_two());
const _: () = assert!(SPAN_BYTES_MAX % ALIGNMENT == 0);

/// One read of a file, aligned as direct I/O wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlignedSpan {
    start: u64,
    length: u64,
    /// The wanted bytes, as positions in the file.
    wanted_start: u64,
    wanted_end: u64,
}

impl AlignedSpan {
    /// The span that covers the first of the bytes `start..end`; the rest of them begins at its
    /// [`AlignedSpan::wanted_end`].
    pub fn first_of(start: u64, end: u64) -> AlignedSpan {
        assert!(start < end);
        let aligned_start = start - start % ALIGNMENT;
        let wanted_end = end.min(aligned_start.saturating_add(SPAN_BYTES_MAX));
        let length = (wanted_end - aligned_start).next_multiple_of(ALIGNMENT);
        AlignedSpan { start: aligned_start, length, wanted_start: start, wanted_end }
    }

    /// The position in the file where the read starts.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Bytes to ask for; past the end of the file the kernel gives fewer.
    pub fn length(&self) -> usize {
        usize::try_from(self.length).expect("a span is at most SPAN_BYTES_MAX")
    }

    /// One past the last wanted byte, as a position in the file.
    pub fn wanted_end(&self) -> u64 {
        self.wanted_end
    }

    /// Where the wanted bytes lie in what was read; `None` when `read` bytes do not reach to the
    /// last of them: the file has shrunk.
    pub fn wanted(&self, read: usize) -> Option<Range<usize>> {
        let index = |position: u64| usize::try_from(position - self.start).expect("a span is at most SPAN_BYTES_MAX");
        let wanted = index(self.wanted_start)..index(self.wanted_end);
        (wanted.end <= read).then_some(wanted)
    }
}

/// The spans that cover the bytes `range`, in order.
pub fn spans(range: Range<u64>) -> impl Iterator<Item = AlignedSpan> {
    let mut next = range.start;
    std::iter::from_fn(move || {
        if next >= range.end {
            return None;
        }
        let span = AlignedSpan::first_of(next, range.end);
        next = span.wanted_end();
        Some(span)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_exactly_the_wanted_bytes() {
        let ends = [1, 100, 4095, 4096, 4097, 131_071, 131_072, 131_073, 1_000_000];
        for length in ends {
            for start in [0, 1, 99, 4095, 4096, 5000, 131_072, 999_999] {
                if start >= length {
                    continue;
                }
                let mut next = start;
                for span in spans(start..length) {
                    assert_eq!(span.start() % ALIGNMENT, 0);
                    assert_eq!(span.length() as u64 % ALIGNMENT, 0);
                    assert!(span.length() as u64 <= SPAN_BYTES_MAX);
                    // What the kernel gives: up to the end of the file, here `length`.
                    let read = (length - span.start()).min(span.length() as u64) as usize;
                    let wanted = span.wanted(read).expect("the file is whole");
                    assert_eq!(span.start() + wanted.start as u64, next);
                    next = span.start() + wanted.end as u64;
                    assert_eq!(next, span.wanted_end());
                }
                assert_eq!(next, length, "{start}..{length}");
            }
        }
    }

    /// The engine's own unaligned read once returned stale memory past the end of a file.
    #[test]
    fn a_short_read_gives_nothing() {
        let span = AlignedSpan::first_of(100, 4096);
        assert_eq!(span.wanted(4096), Some(100..4096));
        assert_eq!(span.wanted(4095), None);
        assert_eq!(span.wanted(0), None);
    }

    #[test]
    fn an_empty_range_has_no_span() {
        assert_eq!(spans(5..5).count(), 0);
    }

    #[test]
    fn the_end_of_the_number_space_is_no_trap() {
        let span = AlignedSpan::first_of(u64::MAX - ALIGNMENT - 5, u64::MAX - ALIGNMENT);
        assert!(span.length() > 0);
    }
}

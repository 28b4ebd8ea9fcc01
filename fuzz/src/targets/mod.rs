//! What must hold whatever bytes come: a function for each parser that strangers can reach, and
//! one for the configuration.
//!
//! A target takes bytes as a fuzzer makes them and panics where a promise is broken. Most compare
//! the parser with a model that is too simple to be wrong in the same way.
//!
//! Invariant: a target is a pure function: no file, no socket, no clock, the same end every time.

mod accept_encoding;
mod config;
mod hpack;
mod http2_request;
mod preconditions;
mod proxy_header;
mod range;
mod request_head;
mod target;

pub use accept_encoding::accept_encoding;
pub use config::config;
pub use hpack::hpack;
pub use http2_request::http2_request;
pub use preconditions::preconditions;
pub use proxy_header::proxy_header;
pub use range::range;
pub use request_head::request_head;
pub use target::target;

/// Takes any bytes, and panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Name and function of each target; the name is that of its directory in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 9] = [
    ("request_head", request_head),
    ("target", target),
    ("range", range),
    ("preconditions", preconditions),
    ("accept_encoding", accept_encoding),
    ("config", config),
    ("proxy_header", proxy_header),
    ("hpack", hpack),
    ("http2_request", http2_request),
];

/// Up to here an input is cut at every byte; a longer one would cost the square of its length.
const CUT_EVERYWHERE_BYTES_MAX: usize = 48;

/// Where to cut an input in two: everywhere when it is short, else around its line ends, at its
/// start and end, and at some places between them.
fn cuts(buffer: &[u8]) -> Vec<usize> {
    let length = buffer.len();
    if length <= CUT_EVERYWHERE_BYTES_MAX {
        return (0..=length).collect();
    }
    let line_ends = (1..length).filter(|at| buffer[at - 1] == b'\n').take(CUT_EVERYWHERE_BYTES_MAX);
    let around = line_ends.flat_map(|at| [at - 1, at]);
    let spread = (0..=length).step_by(1 + length / 8);
    (0..4).chain(length - 4..=length).chain(around).chain(spread).collect()
}

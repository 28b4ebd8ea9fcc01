//! `otus-httpd status`: the state of a running server in a terminal.
//!
//! Order: `fetch` asks the server's admin listener · `frame` makes lines of what it said · [`run`] shows them, once, or each
//! second at a `terminal`; [`check`] asks one thing only.
//!
//! Invariant: however it ends, the terminal is as it was before.

mod fetch;
mod frame;
mod terminal;

use crate::server::Address;
use frame::Size;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use terminal::{Key, Terminal};

/// Where the server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address of its admin listener.
    Address(Address),
    /// The same as `http://HOST:PORT`, by name.
    Url(String),
}

/// What the server at `place` says at `path`, `/health` or `/ready`, if that is yes; a no, or no answer, is one line.
pub fn check(place: &Place, path: &str) -> Result<String, String> {
    fetch::judgement(place, path)
}

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows the state of the server at `place` once, or, at a terminal, until a key ends it. An error is one line.
pub fn run(place: &Place, once: bool) -> Result<(), String> {
    if once || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let lines = frame::lines(&fetch::status(place)?, Size { columns: ONCE_COLUMNS, rows: None });
        let text: String = lines.iter().map(|line| format!("{}\n", line.text)).collect();
        // Whoever closed it wants no more.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Ok(());
    }
    // Asked first, so that an error is told on the terminal as it is.
    let mut shown = frame_of(fetch::status(place)?);
    let mut terminal = Terminal::enter().map_err(|error| format!("the terminal cannot be used: {error}"))?;
    loop {
        terminal
            .show(&shown(terminal.size()))
            .map_err(|error| format!("the terminal cannot be written to: {error}"))?;
        match terminal.key_within(PAUSE) {
            Some(Key::End) => return Ok(()),
            Some(Key::Resize) => continue,
            None => {}
        }
        shown = match fetch::status(place) {
            Ok(status) => frame_of(status),
            Err(error) => Box::new(move |size| frame::trouble(&error, size)),
        };
    }
}

/// Columns where the width is not known: as many as every terminal has.
const ONCE_COLUMNS: usize = 100;

type Frame = Box<dyn Fn(Size) -> Vec<frame::Line>>;

fn frame_of(status: crate::server::admin::status::Status) -> Frame {
    Box::new(move |size| frame::lines(&status, size))
}

//! The terminal while the state is shown: another screen, no echo, keys as they are typed.
//!
//! Invariant: what was changed is changed back when this is dropped, also when a signal ends the showing.

use super::frame::{Line, Look, Size};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use std::io::{Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The terminal.
pub(super) struct Terminal {
    before: Termios,
    end: Arc<AtomicBool>,
    signals: UnixStream,
}

/// What was typed, or happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Enough.
    End,
    /// The terminal is of another size.
    Resize,
}

impl Terminal {
    /// Takes the terminal over.
    pub(super) fn enter() -> std::io::Result<Terminal> {
        let end = Arc::new(AtomicBool::new(false));
        let (signals, sender) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, end.clone())?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGWINCH, sender)?;
        let before = tcgetattr(stdin())?;
        let mut now = before.clone();
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(stdin(), OptionalActions::Flush, &now)?;
        let terminal = Terminal { before, end, signals };
        // Another screen, no cursor, and lines that are too long are cut and not broken.
        write(b"\x1b[?1049h\x1b[?25l\x1b[?7l")?;
        Ok(terminal)
    }

    /// How large it is now.
    pub(super) fn size(&self) -> Size {
        let size = tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (columns, rows) = size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()));
        Size { columns, rows: Some(rows) }
    }

    /// Shows these lines in the place of those before.
    pub(super) fn show(&mut self, lines: &[Line]) -> std::io::Result<()> {
        let mut text = String::from("\x1b[H");
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                text.push_str("\r\n");
            }
            let look = match line.look {
                Look::Plain => "",
                Look::Heading => "\x1b[1m",
                Look::Faint => "\x1b[2m",
                Look::Alarm => "\x1b[1;31m",
            };
            text.push_str(look);
            text.push_str(&line.text);
            text.push_str("\x1b[0m\x1b[K");
        }
        text.push_str("\x1b[J");
        write(text.as_bytes())
    }

    /// Waits for a key that means something.
    pub(super) fn key_within(&mut self, time: Duration) -> Option<Key> {
        let input = stdin();
        let timeout = Timespec::try_from(time).ok();
        let mut waiting =
            [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        // A signal may end the wait as an error; what it was is in the flag and in the pipe.
        let _ = poll(&mut waiting, timeout.as_ref());
        let (typed, signalled) = (!waiting[0].revents().is_empty(), !waiting[1].revents().is_empty());
        if self.end.load(Ordering::Relaxed) {
            return Some(Key::End);
        }
        let mut bytes = [0; 64];
        if typed {
            let count = input.lock().read(&mut bytes).unwrap_or(0);
            // The end of the input, q, Ctrl-C and Ctrl-D.
            if count == 0 || bytes[..count].iter().any(|byte| matches!(byte, b'q' | b'Q' | 3 | 4)) {
                return Some(Key::End);
            }
        }
        if signalled {
            while matches!((&self.signals).read(&mut bytes), Ok(1..)) {}
            return Some(Key::Resize);
        }
        None
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to be put back.
        let _ = write(b"\x1b[?7h\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.before);
    }
}

fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

//! Files and FIFOs that take what they take.
//!
//! Invariant: each line is either read once and whole, or counted as lost.

use super::*;
use std::io::Read;

fn scratch(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("otus-outlet-{}-{name}", std::process::id()))
}

/// A new FIFO's reader, which never blocks.
fn fifo(path: &Path) -> File {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).expect("a FIFO can be made");
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
    OpenOptions::new().read(true).custom_flags(flags).open(path).expect("a FIFO has a reader")
}

fn write(state: &mut State, destination: &Destination, bytes: &[u8]) -> u64 {
    let lines = lines_of(bytes).count() as u64;
    state.write(destination, bytes, lines, About::Access, Priority::Informational)
}

/// A FIFO takes 64 KiB and then nothing, in the middle of a line: its rest comes first when there is room again, and
/// what was dropped meanwhile was dropped by whole lines.
#[test]
fn a_torn_line_is_finished_and_others_are_dropped_whole() {
    let path = scratch("fifo");
    let mut reader = fifo(&path);
    let destination = Destination::File(path.clone());
    let mut state = State::default();
    state.open(&destination).expect("it has a reader");
    let (mut lost, mut given) = (0, 0);
    for _ in 0..400 {
        let chunk: Vec<u8> = (0..100).flat_map(|n| format!("line {:>47}\n", given + n).into_bytes()).collect();
        given += 100;
        lost += write(&mut state, &destination, &chunk);
    }
    assert!(lost > 0 && lost < given, "{lost} of {given}");
    assert_eq!(state.trouble(), Some(Errno::AGAIN));
    let mut read = Vec::new();
    while state.is_behind() {
        // It fails when the FIFO is empty; what it gave before stays.
        let _ = reader.read_to_end(&mut read);
        state.go_on(&destination);
    }
    let _ = reader.read_to_end(&mut read);
    let text = String::from_utf8(read).expect("whole lines of text");
    assert!(text.ends_with('\n') && text.lines().all(|line| line.len() == 52), "a torn line");
    assert_eq!(text.lines().count() as u64, given - lost);
    let _ = std::fs::remove_file(path);
}

#[test]
fn a_new_file_begins_where_the_old_one_ends() {
    let (path, old) = (scratch("file"), scratch("file.1"));
    let destination = Destination::File(path.clone());
    let mut state = State::default();
    state.open(&destination).expect("a temporary file");
    write(&mut state, &destination, b"1\n2\n");
    std::fs::rename(&path, &old).expect("it is ours");
    write(&mut state, &destination, b"3\n");
    state.reopen(&destination).1.expect("the directory is ours");
    write(&mut state, &destination, b"4\n");
    let text = |path| std::fs::read_to_string(path).expect("it is there");
    assert_eq!((text(&old), text(&path)), ("1\n2\n3\n".to_owned(), "4\n".to_owned()));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}: for the server, and to read for its group");
    for path in [path, old] {
        let _ = std::fs::remove_file(path);
    }
}

/// A reader that takes half of what comes: there is a bound to what waits, with what was written and not yet forgotten.
#[test]
fn what_was_written_is_forgotten_with_a_reader_that_is_always_behind() {
    let path = scratch("slow");
    let mut reader = fifo(&path);
    let destination = Destination::File(path.clone());
    let mut state = State::default();
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    let (mut lost, mut given) = (0, 0);
    for _ in 0..1000 {
        let chunk: Vec<u8> = (given..given + 128).flat_map(|n| format!("{n:>63}\n").into_bytes()).collect();
        given += 128;
        lost += write(&mut state, &destination, &chunk);
        let count = reader.read(&mut piece).expect("something waits");
        read.extend_from_slice(&piece[..count]);
        assert!(state.waiting.len() <= WAITING_BYTES_MAX * 3 / 2, "{} after {given} lines", state.waiting.len());
        assert!(state.waiting.capacity() <= WAITING_BYTES_MAX * 3, "{}", state.waiting.capacity());
    }
    assert!(lost > 0 && state.is_behind(), "the reader was behind");
    while state.is_behind() {
        let _ = reader.read_to_end(&mut read);
        state.go_on(&destination);
    }
    let _ = reader.read_to_end(&mut read);
    assert!(state.waiting.capacity() <= WAITING_BYTES_KEPT, "{}", state.waiting.capacity());
    let text = String::from_utf8(read).expect("whole lines of text");
    let numbers: Vec<u64> = text.lines().map(|line| line.trim().parse().expect("a whole line")).collect();
    assert_eq!(numbers.len() as u64, given - lost);
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "each once, in order");
    let _ = std::fs::remove_file(path);
}

/// The rest of a torn line that goes nowhere is one line that is lost, whoever gives up on it.
#[test]
fn a_torn_line_that_is_given_up_is_counted() {
    let (path, old, older) = (scratch("torn"), scratch("torn.1"), scratch("torn.2"));
    let destination = Destination::File(path.clone());
    let chunk: Vec<u8> = (0..2000).flat_map(|n| format!("line {n:>47}\n").into_bytes()).collect();
    type GoesOn = fn(&mut State, &Destination) -> u64;
    let by_write: GoesOn = |state, destination| write(state, destination, b"one\n");
    let by_reopen: GoesOn = |state, destination| state.reopen(destination).0;
    for (name, go_on) in [("write", by_write), ("reopen", by_reopen)] {
        let _reader = fifo(&path);
        let mut state = State::default();
        assert_eq!(write(&mut state, &destination, &chunk), 0);
        assert!(state.torn, "a FIFO takes no whole number of these lines");
        std::fs::rename(&path, &older).expect("it is ours");
        // Its successor takes no whole number of lines either.
        let _next_reader = fifo(&path);
        assert_eq!(state.reopen(&destination).0, 0, "{name}");
        assert_eq!(write(&mut state, &destination, &chunk), 0, "{name}");
        assert!(state.torn && state.unfinished.is_some(), "{name}");
        std::fs::rename(&path, &old).expect("it is ours");
        assert_eq!(state.reopen(&destination).0, 1, "{name}: the file before the last one is given up");
        let lost: u64 = (0..FINISHING_ATTEMPTS_MAX).map(|_| go_on(&mut state, &destination)).sum();
        assert_eq!(lost, 1, "{name}");
        assert!(!state.is_behind(), "{name}");
        for path in [&path, &old, &older] {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[test]
fn a_check_makes_nothing() {
    let path = scratch("check");
    check(&Destination::File(path.clone())).expect("it could be made");
    assert!(!path.exists());
    assert!(check(&Destination::File("/no/such/directory/x".into())).is_err());
    assert!(check(&Destination::File("/tmp".into())).is_err());
    assert!(check(&Destination::Syslog("/no/such/socket".into())).is_err());
}

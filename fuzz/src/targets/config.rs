//! The configuration: any text is understood, or refused in one line that an editor can jump to.
//!
//! Invariant: a text is judged by itself: no name is resolved for it and no file opened.

use otus_httpd::config::check_text;

/// Reads `data` as a configuration file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Err(message) = check_text(text) else { return };
    // A message may quote the file: what could end its line or move a cursor must be escaped.
    assert!(!message.chars().any(char::is_control), "{message:?}");
    let mut parts = message.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
    let (Some(line), Some(column)) = (number(), number()) else { panic!("no LINE:COLUMN: {message:?}") };
    let what = parts.next().unwrap_or_default();
    assert!(what.starts_with(' ') && !what.trim().is_empty(), "nothing is said: {message:?}");
    // An error at the end of the file may be placed behind its last line.
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&line), "{message:?} of {} lines", lines.len());
    assert!((1..=lines[line - 1].len() + 1).contains(&column), "{message:?}: {:?}", lines[line - 1]);
    assert_eq!(check_text(text), Err(message), "the same text, another message");
}

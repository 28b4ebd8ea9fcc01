//! Every message that an administrator may find in the log is explained: those about a request by their `reason` in
//! docs/logging.md, which a test beside the source sees to; all others, here, in docs/operations.md.
//!
//! Invariant: a message is known by its longest run of words, so that it is found by searching the document for a line of the
//! log.

use std::path::{Path, PathBuf};

/// A message of the source: where, and its text with holes.
struct Message {
    place: String,
    text: String,
}

/// What begins a message that is told unless `log_level` says otherwise.
const MACROS: [&str; 3] = ["tracing::error!(", "tracing::warn!(", "tracing::info!("];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("the source is there") {
        let path = entry.expect("the source can be listed").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The arguments of a macro, up to the parenthesis that closes it.
fn arguments(text: &str) -> &str {
    let (mut depth, mut in_text, mut escaped) = (1, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            '(' if !in_text => depth += 1,
            ')' if !in_text => {
                depth -= 1;
                if depth == 0 {
                    return &text[..at];
                }
            }
            _ => {}
        }
    }
    text
}

/// The first text in quotes, with its line ends taken out.
fn literal(arguments: &str) -> Option<String> {
    let rest = &arguments[arguments.find('"')? + 1..];
    let mut escaped = false;
    let end = rest.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    let lines = rest[..end].split("\\\n").map(str::trim_start);
    Some(lines.collect::<String>().replace("\\\"", "\""))
}

fn messages() -> Vec<Message> {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    let mut messages = Vec::new();
    for file in files {
        // Faults on demand are no part of a release.
        if file.ends_with("server/fault.rs") {
            continue;
        }
        let source = std::fs::read_to_string(&file).expect("a source is text");
        let code = source.split("#[cfg(test)]\nmod tests").next().expect("a split has a first part");
        for begin in MACROS {
            for (at, _) in code.match_indices(begin) {
                let arguments = arguments(&code[at + begin.len()..]);
                let text = literal(arguments).unwrap_or_default();
                // Its reason is in the other table.
                let before_text = arguments.split('"').next().unwrap_or(arguments);
                if before_text.contains("reason") || text.is_empty() {
                    continue;
                }
                let line = 1 + code[..at].matches('\n').count();
                messages.push(Message { place: format!("{}:{line}", file.display()), text });
            }
        }
    }
    messages
}

/// The longest run of a text between its holes.
fn longest_run(text: &str) -> &str {
    let runs = text.split('{').map(|run| run.split_once('}').map_or(run, |(_, rest)| rest));
    runs.map(|run| run.trim_matches([' ', ';', ':', ','])).max_by_key(|run| run.len()).unwrap_or(text)
}

#[test]
fn every_message_is_explained() {
    let document = std::fs::read_to_string("docs/operations.md").expect("the document is there").replace('`', "");
    let messages = messages();
    assert!(messages.len() > 30, "only {} messages were found", messages.len());
    let missing: Vec<_> = messages
        .iter()
        // A line that only goes on with the one before it has no words of its own.
        .filter(|message| longest_run(&message.text).len() > 3)
        .filter(|message| !document.contains(&longest_run(&message.text).replace('`', "")))
        .map(|message| format!("{}: {:?}", message.place, longest_run(&message.text)))
        .collect();
    assert!(missing.is_empty(), "docs/operations.md does not explain:\n{}", missing.join("\n"));
}

#[test]
fn the_text_of_a_message_is_found() {
    for (code, text, run) in [
        (r#""a {b} cdef {g:?}")"#, "a {b} cdef {g:?}", "cdef"),
        (r#"error = %x(1), "quoted \"words\" here; {y}", y)"#, r#"quoted "words" here; {y}"#, r#"quoted "words" here"#),
        ("\"one \\\n    line\")", "one line", "one line"),
    ] {
        let found = literal(arguments(code)).expect("there is a text");
        assert_eq!((found.as_str(), longest_run(&found)), (text, run));
    }
}

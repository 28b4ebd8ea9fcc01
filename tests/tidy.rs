//! Keeps the source in order: what a reviewer would have to look for by hand.
//!
//! Each rule is a test that lists all its breaches, each as `file:line: what`. The rules
//! themselves stand in `src/lib.rs`, in the codemap and its invariants; this file checks them.
//!
//! Invariant: a rule is judged by the source text alone, with comments left out where it is about
//! code.

use std::path::PathBuf;

/// The layers, higher ones first: a module uses only modules of a smaller rank, and itself.
const RANKS: [(&str, u32); 18] = [
    ("main", 9),
    ("cli", 8),
    ("config", 8),
    ("watch", 8),
    ("server", 7),
    ("connection", 6),
    ("exchange", 5),
    ("shard", 4),
    ("site", 3),
    ("storage", 2),
    ("observe", 2),
    ("socket", 2),
    ("engine", 1),
    ("defence", 1),
    ("counters", 1),
    ("http2", 1),
    ("tls", 1),
    ("http", 0),
];

/// Of one rank, and yet allowed: what is meant is made from what was typed.
const ALLOWED_SIDEWAYS: (&str, &str) = ("config", "cli");

/// A file above this does too many things.
const LINES_MAX: usize = 500;

/// One file of the source.
struct Source {
    /// Its path below `src`, with slashes.
    path: String,
    lines: Vec<String>,
}

impl Source {
    /// The module at the top of its path: `http` of `http/range.rs`.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().expect("a split has a first part");
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Its path as the codemap writes it: `storage::file` of `storage/file.rs`.
    fn module_path(&self) -> String {
        let path = self.path.strip_suffix(".rs").expect("only Rust files are read");
        path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
    }

    /// Number and text of each line of code, comments cut off.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, without_comment(line)))
    }

    /// The lines of code in front of the tests, which stand last.
    fn code_without_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = |line: &str| line.trim() == "#[cfg(test)]";
        self.code().take_while(move |(_, line)| !is_test(line))
    }
}

/// The line without a comment behind `//`, unless that stands in a text such as `"http://"`.
fn without_comment(line: &str) -> &str {
    line.match_indices("//")
        .map(|(at, _)| at)
        .find(|at| line[..*at].matches('"').count() % 2 == 0)
        .map_or(line, |at| &line[..at])
}

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All of `src/**/*.rs`.
fn sources() -> Vec<Source> {
    let root = package().join("src");
    let mut sources = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("the source is there") {
            let path = entry.expect("the source can be listed").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("the source is text");
                let below = path.strip_prefix(&root).expect("it was found below").display().to_string();
                sources.push(Source { path: below, lines: text.lines().map(str::to_owned).collect() });
            }
        }
    }
    assert!(sources.len() > 20, "the source was not found");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Fails with a line for each breach.
fn check(rule: &str, breaches: impl IntoIterator<Item = String>) {
    let breaches: Vec<_> = breaches.into_iter().collect();
    assert!(breaches.is_empty(), "{rule}:\n{}", breaches.join("\n"));
}

/// Breaches of a rule about single lines of code.
fn lines_with<'a>(source: &'a Source, words: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    source.code().flat_map(move |(number, line)| {
        let found = words.iter().filter(move |word| has_word(line, word));
        found.map(move |word| format!("src/{}:{number}: {word}", source.path))
    })
}

/// Whether `line` has `word`, and not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !is_part(line[..at].chars().next_back()) && !is_part(line[at + word.len()..].chars().next()))
}

fn rank(module: &str) -> Option<u32> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

#[test]
fn every_module_has_a_rank() {
    let modules = sources().into_iter().map(|source| source.module().to_owned()).filter(|module| module != "lib");
    check("a module without a rank", modules.filter(|module| rank(module).is_none()));
}

#[test]
fn imports_point_down() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let own = source.module();
        let code: Vec<_> = source.code().map(|(_, line)| line).collect();
        let code = code.join("\n");
        for (at, used) in used_modules(&code) {
            let down = rank(own).zip(rank(used)).is_some_and(|(own, used)| used < own);
            if !down && used != own && (own, used) != ALLOWED_SIDEWAYS {
                let number = 1 + code[..at].matches('\n').count();
                breaches.push(format!("src/{}:{number}: {own} uses {used}", source.path));
            }
        }
    }
    check("an import that does not point down", breaches);
}

/// The modules that code names, each with its place: behind `crate::`, in the braces of a list
/// too, and behind `otus_httpd::`, as the program names its library.
fn used_modules(code: &str) -> Vec<(usize, &str)> {
    let mut modules = Vec::new();
    for prefix in ["crate::", "otus_httpd::"] {
        for (at, _) in code.match_indices(prefix) {
            let start = at + prefix.len();
            if !code[start..].starts_with('{') {
                modules.push((start, word_at(code, start)));
                continue;
            }
            let mut depth = 0;
            for (offset, c) in code[start..].char_indices() {
                depth += i32::from(c == '{') - i32::from(c == '}');
                if depth == 0 {
                    break;
                }
                // An item of the outer list begins behind its brace and each of its commas.
                if depth == 1 && (offset == 0 || c == ',') {
                    let item = start + offset + 1;
                    let blank = code[item..].len() - code[item..].trim_start().len();
                    modules.push((item + blank, word_at(code, item + blank)));
                }
            }
        }
    }
    // What begins with a capital is a name at the top of the crate, not a module.
    modules.retain(|(_, module)| module.starts_with(|c: char| c.is_lowercase()));
    modules
}

fn word_at(code: &str, start: usize) -> &str {
    let rest = &code[start..];
    &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
}

#[test]
fn the_protocol_is_pure() {
    let words = ["glommio", "std::fs", "std::net", "async fn", "async move", "SystemTime::now", "Instant::now"];
    let sources = sources();
    let http = sources.iter().filter(|source| source.module() == "http");
    check("I/O, a clock or a task in http", http.flat_map(|source| lines_with(source, &words)));
}

#[test]
fn the_engine_stays_where_it_belongs() {
    let sources = sources();
    let others = sources
        .iter()
        .filter(|source| !["storage", "socket", "connection", "server", "shard"].contains(&source.module()));
    check("the engine is named", others.flat_map(|source| lines_with(source, &["glommio"])));
}

#[test]
fn every_file_begins_with_its_job() {
    let sources = sources();
    let without = sources.iter().filter(|source| !source.lines.first().is_some_and(|line| line.starts_with("//! ")));
    check("a file without a head", without.map(|source| format!("src/{}", source.path)));
}

#[test]
fn the_codemap_is_whole() {
    let sources = sources();
    let map = codemap(&sources);
    let table: Vec<_> = map.iter().filter(|line| line.starts_with("//! | [")).collect();
    let mut breaches = Vec::new();
    for source in sources.iter().filter(|source| !["lib", "main"].contains(&source.module())) {
        let named = format!("[`{}`]", source.module());
        if !table.iter().any(|line| line.contains(&named)) {
            breaches.push(format!("src/{}: {named} is not in the table", source.path));
        }
    }
    for name in table.iter().flat_map(|line| quoted(line)) {
        if !sources.iter().any(|source| source.module() == name) {
            breaches.push(format!("src/lib.rs: {name} is in the table, and not there"));
        }
    }
    check("the codemap is not the tree", breaches);
}

fn codemap(sources: &[Source]) -> &[String] {
    &sources.iter().find(|source| source.path == "lib.rs").expect("a library has a root").lines
}

/// What stands between backquotes in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn unsafe_code_is_where_the_codemap_says() {
    let sources = sources();
    // The invariant goes on over the lines below it.
    let named: Vec<&str> = codemap(&sources)
        .iter()
        .map(String::as_str)
        .skip_while(|line| !line.starts_with("//! - `unsafe` stands"))
        .take_while(|line| line.starts_with("//! - `unsafe`") || line.starts_with("//!   "))
        .flat_map(quoted)
        .filter(|name| name.contains("::"))
        .collect();
    assert!(!named.is_empty(), "the invariant about unsafe code was not found");
    let holds_unsafe = |source: &Source| source.code().any(|(_, line)| has_word(line, "unsafe"));
    let unnamed = sources
        .iter()
        .filter(|source| holds_unsafe(source) && !named.contains(&source.module_path().as_str()))
        .map(|source| format!("src/{}: unsafe, and not named in src/lib.rs", source.path));
    let idle = named
        .iter()
        .filter(|name| !sources.iter().any(|source| source.module_path() == **name && holds_unsafe(source)));
    check("unsafe code and the codemap differ", unnamed.chain(idle.map(|name| format!("src/lib.rs: {name} has none"))));
}

#[test]
fn nothing_is_unwrapped_in_the_dark() {
    let sources = sources();
    let breaches = sources.iter().flat_map(|source| {
        let unwraps = source.code_without_tests().filter(|(_, line)| line.contains(".unwrap()"));
        unwraps.map(|(number, _)| format!("src/{}:{number}: expect(\"why\") says why", source.path))
    });
    check("unwrap outside the tests", breaches);
}

#[test]
fn files_are_of_a_size_to_read() {
    let long = sources().into_iter().filter(|source| source.lines.len() > LINES_MAX);
    check("a long file", long.map(|source| format!("src/{}: {} lines", source.path, source.lines.len())));
}

/// The tree in docs/architecture.md, if there is one: a block that begins with a line `src/`.
#[test]
fn the_documented_tree_is_the_tree() {
    let document = package().join("docs/architecture.md");
    let Ok(text) = std::fs::read_to_string(&document) else { return };
    let documented = tree(&text);
    assert!(!documented.is_empty(), "docs/architecture.md has no tree that begins with src/");
    let vanished = documented
        .iter()
        .filter(|path| !package().join(path).exists())
        .map(|path| format!("{path} is in the document, and not there"));
    let sources = sources();
    let missing = sources
        .iter()
        .map(|source| format!("src/{}", source.path))
        .filter(|path| !documented.contains(path))
        .map(|path| format!("{path} is not in the document"));
    check("docs/architecture.md is not the tree", vanished.chain(missing));
}

/// The paths of a tree that is drawn by indentation, with lines or without: a name that ends in a
/// slash holds what is indented below it.
fn tree(text: &str) -> Vec<String> {
    let drawing = |c: char| c.is_whitespace() || "│├└─|`+-".contains(c);
    let mut paths = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    for line in text.lines().skip_while(|line| line.trim() != "src/" && !line.starts_with("src/ ")) {
        if line.starts_with("```") {
            break;
        }
        let name = line.trim_start_matches(drawing).split_whitespace().next().unwrap_or("");
        let depth = line.chars().take_while(|c| drawing(*c)).count();
        if name.is_empty() || !(name.ends_with('/') || name.ends_with(".rs") || name.ends_with(".html")) {
            continue;
        }
        parents.retain(|(parent_depth, _)| *parent_depth < depth);
        if depth == 0 && name != "src/" {
            break;
        }
        let path = format!("{}{name}", parents.last().map_or("", |(_, path)| path.as_str()));
        match name.ends_with('/') {
            true => parents.push((depth, path)),
            false => paths.push(path),
        }
    }
    paths
}

#[test]
fn a_drawn_tree_is_read() {
    let expected = ["src/main.rs", "src/http/mod.rs", "src/http/range.rs", "src/cli.rs"];
    for text in [
        "```text\nsrc/\n  main.rs   exit codes\n  http/\n    mod.rs\n    range.rs  byte ranges\n  cli.rs\ntests/\n  main.rs\n```",
        "```\nsrc/\n├── main.rs\n├── http/   pure\n│   ├── mod.rs\n│   └── range.rs\n└── cli.rs\n```\n",
    ] {
        assert_eq!(tree(text), expected, "{text}");
    }
}

#[test]
fn comments_are_told_from_code() {
    for (line, code) in [
        ("let a = 1; // unsafe", "let a = 1; "),
        ("/// glommio", ""),
        ("let url = \"http://a\"; // b", "let url = \"http://a\"; "),
        ("plain", "plain"),
    ] {
        assert_eq!(without_comment(line), code);
    }
    assert!(has_word("use glommio::net;", "glommio") && !has_word("#![allow(unsafe_code)]", "unsafe"));
    let names = |code| used_modules(code).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(names("use crate::{http, site::{page, policy},\n    shard};"), ["http", "site", "shard"]);
    assert_eq!(names("crate::http::x(crate::storage::y, crate::TOP)"), ["http", "storage"]);
}

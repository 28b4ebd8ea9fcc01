//! The fuzz targets without a fuzzer: each over its corpus, and over seeded mutations of it.
//!
//! `fuzz/run` searches deeper, guided by coverage, where a nightly compiler is at hand; this loop
//! runs everywhere, and the same way every time. `OTUS_FUZZ_SECONDS` sets how long each target is
//! run instead of how often.
//!
//! Invariant: an input that breaks a promise is shown whole, so that it can be put in the corpus.

// The fuzzer's programs use these functions from outside of their crate; here nobody can.
#[allow(unreachable_pub, reason = "one source serves two crates")]
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use crate::harness::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use targets::Target;

/// Mutations of each target's corpus, unless a time is set.
const MUTATIONS: usize = 20_000;

/// An input grows no longer than this: longer ones find little more, and slowly.
const INPUT_BYTES_MAX: usize = 1024;

/// Each target has a corpus worth starting from, and a test below.
#[test]
fn every_target_has_a_corpus() {
    let mut names: Vec<_> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort_unstable();
    let directories = std::fs::read_dir(package().join("fuzz/corpus")).expect("the corpora are there");
    let mut found: Vec<_> =
        directories.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    found.sort_unstable();
    assert_eq!(names, found);
    for name in names {
        assert!(corpus(&name).len() >= 10, "{name} has too few seeds");
    }
}

macro_rules! fuzz_tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name), targets::$name);
        })*

        /// A target that has no test would never run.
        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            assert!(targets::TARGETS.iter().map(|(name, _)| *name).eq(tested));
        }
    };
}

fuzz_tests! { request_head target range preconditions accept_encoding config proxy_header hpack http2_request }

fn run(name: &str, target: Target) {
    let corpus = corpus(name);
    for seed in &corpus {
        check(name, target, seed);
    }
    let words = dictionary(name);
    let mut random = Random::new(1);
    let until = seconds().map(|seconds| Instant::now() + seconds);
    for number in 0.. {
        let done = until.map_or(number >= MUTATIONS, |until| Instant::now() > until);
        if done {
            break;
        }
        let mut input = random.choose(&corpus).clone();
        for _ in 0..1 + random.below(4) {
            mutate(&mut random, &mut input, &corpus, &words);
        }
        input.truncate(INPUT_BYTES_MAX);
        check(name, target, &input);
    }
}

fn check(name: &str, target: Target, input: &[u8]) {
    // The panic is gone on with; its own message was printed.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("the input of {name}: b\"{}\"", input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

fn mutate(random: &mut Random, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[Vec<u8>]) {
    let at = random.below(input.len() + 1);
    let length = random.below(input.len() - at + 1).min(24);
    match random.below(9) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.byte(),
        2 => input.insert(at, random.byte()),
        3 => drop(input.drain(at..at + length)),
        4 => input.truncate(at),
        5 => {
            let part = input[at..at + length].to_vec();
            input.splice(at..at, part);
        }
        6 if !words.is_empty() => drop(input.splice(at..at, random.choose(words).iter().copied())),
        7 if !words.is_empty() => drop(input.splice(at..at + length, random.choose(words).iter().copied())),
        _ => {
            let other = random.choose(corpus);
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

/// `OTUS_FUZZ_SECONDS`, for each target.
fn seconds() -> Option<Duration> {
    let text = std::env::var("OTUS_FUZZ_SECONDS").ok()?;
    Some(Duration::from_secs(text.parse().expect("OTUS_FUZZ_SECONDS is a number")))
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The seeds of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = package().join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&directory).expect("each target has a corpus");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths.iter().map(|path| std::fs::read(path).expect("a seed can be read")).collect()
}

/// The words of a dictionary in libFuzzer's format: a line is `"text"`, with `\xNN`, `\\` and
/// `\"` in it, or a comment behind `#`.
fn dictionary(name: &str) -> Vec<Vec<u8>> {
    let path = package().join("fuzz/dictionaries").join(format!("{name}.dict"));
    let text = std::fs::read_to_string(path).expect("each target has a dictionary");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| word(line).unwrap_or_else(|| panic!("{name}.dict: {line}"))).collect()
}

fn word(line: &str) -> Option<Vec<u8>> {
    let mut rest = line.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let mut bytes = Vec::new();
    loop {
        rest = match rest {
            [] => return Some(bytes),
            [b'\\', b'x', high, low, behind @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
                behind
            }
            [b'\\', escaped @ (b'\\' | b'"'), behind @ ..] => {
                bytes.push(*escaped);
                behind
            }
            [b'\\' | b'"', ..] => return None,
            [byte, behind @ ..] => {
                bytes.push(*byte);
                behind
            }
        }
    }
}

#[test]
fn dictionaries_are_read() {
    for (line, expected) in [
        (r#""bytes=""#, Some(&b"bytes="[..])),
        (r#""\x0d\x0a""#, Some(b"\r\n")),
        (r#""\"a\\b\"""#, Some(b"\"a\\b\"")),
        (r#""\x0""#, None),
        (r#"""""#, None),
        ("bare", None),
    ] {
        assert_eq!(word(line).as_deref(), expected, "{line}");
    }
}

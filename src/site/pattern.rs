//! Path patterns: one syntax for locations, header rules, redirects and rewrites.
//!
//! `*` is any run of bytes without a slash, `**` is any run, `?` is one byte that is no slash. A
//! `/**/` stands for a single slash too. Patterns are held against decoded paths.
//!
//! Order: what can never match is refused · tokens · the cheapest matcher that tells the same.
//!
//! Invariant: matching takes time linear in the path, whatever the pattern: nothing backtracks
//! without bound.

use regex::bytes::{Regex, RegexBuilder};

/// A pattern, ready to be held against paths. A clone shares the compiled program, but not its
/// scratch memory: a core that has its own clone never waits for another.
#[derive(Clone, Debug)]
pub struct Pattern {
    matcher: Matcher,
    literal_bytes: usize,
    captures: usize,
}

/// Why a pattern was refused, with the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Nothing in it.
    #[error("the pattern is empty; `/` matches all paths")]
    Empty,
    /// More than [`PATTERN_BYTES_MAX`].
    #[error("the pattern is longer than {PATTERN_BYTES_MAX} bytes; make it shorter with `*` or `**`")]
    TooLong,
    /// A line end, a NUL or the like.
    #[error("the pattern has a control character in it; remove it")]
    Control,
    /// `%20` and the like.
    #[error("patterns are held against decoded paths; write the character itself instead of its %XX")]
    Encoded,
    /// A slash somewhere, but not in front.
    #[error("a pattern with a slash in it is held against the whole path; begin it with `/`, or with `/**/`")]
    NotRooted,
    /// The pattern of a rule has no slash in front.
    #[error("`from` is held against the whole path; begin it with `/`, or with `/**` for any folder")]
    RuleNotRooted,
    /// `//`, `/./` or `/../`.
    #[error("paths never have `//`, `/./` or `/../` in them, so the pattern matches nothing; remove that")]
    NeverMatches,
    /// `***`.
    #[error("three `*` in a row mean nothing; write `*` (without slashes) or `**` (with them)")]
    Stars,
    /// `**` in a pattern for names.
    #[error("a pattern without a slash is held against names, which `**` does not fit; write `*`, or `/**`")]
    AnythingInName,
    /// `?` in a rule.
    #[error("`?` is no wildcard in `from`, and queries are not matched; end `from` before it, or use `*`")]
    QuestionMark,
    /// More than [`CAPTURES_MAX`] in a rule.
    #[error("`from` has more than {CAPTURES_MAX} wildcards, and `$9` is the last name for one; join some with `**`")]
    TooManyCaptures,
    /// More than [`WILDCARDS_MAX`].
    #[error("the pattern has more than {WILDCARDS_MAX} wildcards; join some with `**`")]
    TooManyWildcards,
}

/// Longer than any sensible path; with the next one it bounds the work for one byte of a path.
pub const PATTERN_BYTES_MAX: usize = 512;

/// Wildcards of one pattern.
pub const WILDCARDS_MAX: usize = 32;

/// Wildcards of a rule: `$1` to `$9` name them.
pub const CAPTURES_MAX: usize = 9;

const _: () = assert!(CAPTURES_MAX <= WILDCARDS_MAX && WILDCARDS_MAX <= PATTERN_BYTES_MAX);

/// What the wildcards of a rule matched.
#[derive(Clone, Copy, Debug)]
pub struct Captures<'p> {
    path: &'p [u8],
    groups: [&'p [u8]; CAPTURES_MAX],
}

impl<'p> Captures<'p> {
    /// The whole path.
    pub fn path(&self) -> &'p [u8] {
        self.path
    }

    /// What the wildcard `number` matched, counted from 1; nothing if there is no such wildcard.
    pub fn get(&self, number: usize) -> &'p [u8] {
        let index = number.checked_sub(1);
        index.and_then(|index| self.groups.get(index)).copied().unwrap_or_default()
    }
}

impl Pattern {
    /// The pattern of a location, a header rule or the like.
    ///
    /// Without wildcards it stands for a path and all below it, by whole segments: `/a` matches
    /// `/a` and `/a/b`, not `/ab`; `/a/` matches `/a/` and `/a/b`. With wildcards it must match the
    /// whole path. Without a slash, as in `*.js`, it must match the last segment, in any folder.
    pub fn parse_glob(text: &str) -> Result<Pattern, BadPattern> {
        check_text(text)?;
        let tokens = tokens(text)?;
        if !text.contains('/') {
            return Pattern::of_names(&tokens);
        }
        if !text.starts_with('/') {
            return Err(BadPattern::NotRooted);
        }
        let matcher = match leading_literal(&tokens) {
            (folder, []) if folder.ends_with(b"/") => Matcher::Starts(folder),
            (path, []) => Matcher::Tree(path),
            (start, [Token::Anything]) => Matcher::Starts(start),
            _ => Matcher::Path(compile(&tokens, PLAIN)),
        };
        Ok(Pattern { matcher, literal_bytes: tokens.len() - wildcards(&tokens), captures: 0 })
    }

    fn of_names(tokens: &[Token]) -> Result<Pattern, BadPattern> {
        if tokens.contains(&Token::Anything) {
            return Err(BadPattern::AnythingInName);
        }
        let matcher = match leading_literal(tokens) {
            (name, []) => Matcher::Name(name),
            (start, [Token::Segment, rest @ ..]) if start.is_empty() => match leading_literal(rest) {
                // No slash is in it, so that it cannot reach beyond the last segment.
                (extension, []) => Matcher::Ends(extension),
                _ => Matcher::NameGlob(compile(tokens, PLAIN)),
            },
            _ => Matcher::NameGlob(compile(tokens, PLAIN)),
        };
        Ok(Pattern { matcher, literal_bytes: tokens.len() - wildcards(tokens), captures: 0 })
    }

    /// The `from` of a redirect or rewrite rule: it must match the whole path, and what each
    /// wildcard matches is captured. The first wildcards take as much as they can.
    pub fn parse_rule(text: &str) -> Result<Pattern, BadPattern> {
        check_text(text)?;
        if !text.starts_with('/') {
            return Err(BadPattern::RuleNotRooted);
        }
        let tokens = tokens(text)?;
        if tokens.contains(&Token::One) {
            return Err(BadPattern::QuestionMark);
        }
        let captures = wildcards(&tokens);
        if captures > CAPTURES_MAX {
            return Err(BadPattern::TooManyCaptures);
        }
        let matcher = match leading_literal(&tokens) {
            (path, []) => Matcher::Exact(path),
            (start, [Token::Anything]) => Matcher::Starts(start),
            _ => Matcher::Path(compile(&tokens, CAPTURING)),
        };
        Ok(Pattern { matcher, literal_bytes: tokens.len() - wildcards(&tokens), captures })
    }

    /// Whether it matches a decoded path, which starts with `/`.
    pub fn matches(&self, path: &[u8]) -> bool {
        debug_assert_eq!(path.first(), Some(&b'/'));
        match &self.matcher {
            Matcher::Exact(exact) => path == &exact[..],
            Matcher::Tree(top) => path.strip_prefix(&top[..]).is_some_and(|rest| matches!(rest, [] | [b'/', ..])),
            Matcher::Starts(start) => path.starts_with(start),
            Matcher::Ends(end) => path.ends_with(end),
            Matcher::Name(name) => last_segment(path) == &name[..],
            Matcher::NameGlob(regex) => regex.is_match(last_segment(path)),
            Matcher::Path(regex) => regex.is_match(path),
        }
    }

    /// Bytes that are no wildcard: of several patterns that match, the one with most wins.
    pub fn literal_bytes(&self) -> usize {
        self.literal_bytes
    }

    /// Number of wildcards whose matches are captured: none, unless it is the pattern of a rule.
    pub fn capture_count(&self) -> usize {
        self.captures
    }

    /// What the wildcards match in a decoded path, which starts with `/`; `None` if it does not
    /// match.
    pub fn captures<'p>(&self, path: &'p [u8]) -> Option<Captures<'p>> {
        // Most paths match no rule, and to learn that is cheaper than to place the captures.
        if !self.matches(path) {
            return None;
        }
        let mut groups = [&[][..]; CAPTURES_MAX];
        match &self.matcher {
            _ if self.captures == 0 => {}
            Matcher::Starts(start) => groups[0] = &path[start.len()..],
            Matcher::Path(regex) => {
                let found = regex.captures(path)?;
                for (group, capture) in groups.iter_mut().zip(found.iter().skip(1)) {
                    // A `**` that stands for no folder at all captures nothing.
                    *group = capture.map_or(&[][..], |capture| capture.as_bytes());
                }
            }
            _ => unreachable!("parse_rule makes no other matcher that captures"),
        }
        Some(Captures { path, groups })
    }
}

#[derive(Clone, Debug)]
enum Matcher {
    /// The path is this.
    Exact(Box<[u8]>),
    /// The path is this, or goes on behind it with a slash.
    Tree(Box<[u8]>),
    /// The path starts with this.
    Starts(Box<[u8]>),
    /// The path ends with this.
    Ends(Box<[u8]>),
    /// The last segment is this.
    Name(Box<[u8]>),
    /// The last segment matches.
    NameGlob(Regex),
    /// The path matches.
    Path(Regex),
}

fn last_segment(path: &[u8]) -> &[u8] {
    let slash = memchr::memrchr(b'/', path);
    slash.map_or(path, |slash| &path[slash + 1..])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(u8),
    /// `?`
    One,
    /// `*`
    Segment,
    /// `**`
    Anything,
}

/// Refuses what could only disappoint: it would match nothing, and nobody would be told.
fn check_text(text: &str) -> Result<(), BadPattern> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(BadPattern::Empty);
    }
    if bytes.len() > PATTERN_BYTES_MAX {
        return Err(BadPattern::TooLong);
    }
    if bytes.iter().any(u8::is_ascii_control) {
        return Err(BadPattern::Control);
    }
    if bytes.windows(3).any(|w| w[0] == b'%' && w[1].is_ascii_hexdigit() && w[2].is_ascii_hexdigit()) {
        return Err(BadPattern::Encoded);
    }
    if text.contains("//") || text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(BadPattern::NeverMatches);
    }
    Ok(())
}

fn tokens(text: &str) -> Result<Vec<Token>, BadPattern> {
    if text.contains("***") {
        return Err(BadPattern::Stars);
    }
    let mut tokens = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match (byte, tokens.last_mut()) {
            (b'*', Some(last @ Token::Segment)) => *last = Token::Anything,
            (b'*', _) => tokens.push(Token::Segment),
            (b'?', _) => tokens.push(Token::One),
            (byte, _) => tokens.push(Token::Literal(byte)),
        }
    }
    if wildcards(&tokens) > WILDCARDS_MAX {
        return Err(BadPattern::TooManyWildcards);
    }
    Ok(tokens)
}

fn wildcards(tokens: &[Token]) -> usize {
    tokens.iter().filter(|token| !matches!(token, Token::Literal(_))).count()
}

/// The literal that the tokens begin with, and what is behind it.
fn leading_literal(tokens: &[Token]) -> (Box<[u8]>, &[Token]) {
    let mut literal = Vec::new();
    let mut rest = tokens;
    while let [Token::Literal(byte), behind @ ..] = rest {
        literal.push(*byte);
        rest = behind;
    }
    (literal.into_boxed_slice(), rest)
}

/// Opens a group that captures, or one that does not: without captures, matching is quicker.
const CAPTURING: &str = "(";
const PLAIN: &str = "(?:";

fn compile(tokens: &[Token], group: &str) -> Regex {
    const SLASH: Token = Token::Literal(b'/');
    // `s`: a dot is a line end too. `-u`: bytes, for paths need not be UTF-8.
    let mut source = String::from(r"(?s-u)\A");
    let mut previous = None;
    let mut rest = tokens;
    while let [token, behind @ ..] = rest {
        rest = behind;
        match (previous, *token, rest) {
            // `/**/` is any number of folders; none too, as people expect of it.
            (Some(SLASH), Token::Anything, [SLASH, behind @ ..]) => {
                source.extend(["(?:", group, ".*)/)?"]);
                rest = behind;
                continue;
            }
            (_, Token::Anything, _) => source.extend([group, ".*)"]),
            (_, Token::Segment, _) => source.extend([group, "[^/]*)"]),
            (_, Token::One, _) => source.push_str("[^/]"),
            (_, Token::Literal(byte), _) if byte.is_ascii_alphanumeric() => source.push(char::from(byte)),
            (_, Token::Literal(byte), _) => source.push_str(&format!("\\x{byte:02X}")),
        }
        previous = Some(*token);
    }
    source.push_str(r"\z");
    RegexBuilder::new(&source)
        .dfa_size_limit(MATCHER_BYTES_MAX)
        .build()
        .expect("escaped bytes, runs and anchors are valid, and the pattern's limits keep it small")
}

/// What one pattern may remember of earlier matches, on each core.
const MATCHER_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match() {
        // Pattern · paths that it matches · paths that it does not match.
        let rows: &[(&str, &str, &str)] = &[
            ("/", "/ /a /a/b/", ""),
            ("/assets/", "/assets/ /assets/x /assets/x/y", "/assets /assetsfoo /a/assets/"),
            // By segments: `/a` must not open `/ab`.
            ("/assets", "/assets /assets/ /assets/x", "/assetsfoo /assets.html /asset / /x/assets"),
            ("/a.b", "/a.b /a.b/c", "/axb"),
            ("*.js", "/x.js /a/b/x.js /.js", "/x.jsx /x.js/ /x.js/y /xjs /x.JS"),
            ("*", "/ /a /a/ /a/b", ""),
            ("robots.txt", "/robots.txt /a/robots.txt", "/robots.txt/ /xrobots.txt /robots.txt/a /robotsxtxt"),
            ("a?c", "/abc /x/a.c", "/ac /a/c /abbc /abc/"),
            ("x*y*", "/xy /q/x1y2", "/yx /x/y /xy/"),
            ("*.tar.*", "/a.tar.gz /b/.tar.", "/a.tar /a.tar./"),
            ("/*.html", "/a.html /.html", "/a/b.html /a.htm /a.html/"),
            ("/*", "/ /a", "/a/ /a/b"),
            ("/*/", "/a/ /b/", "/ /a /a/b /a/b/"),
            ("/a?c", "/abc /a.c", "/a/c /ac /abcd /x/abc"),
            ("/?", "/a", "/ /ab /a/"),
            ("/**", "/ /a /a/b/", ""),
            ("/img/**", "/img/ /img/a /img/a/b", "/img /imga"),
            ("/img**", "/img /imga /img/a/b", "/im /x/img"),
            ("/img/**/*.png", "/img/a.png /img/a/b.png /img/a/b/c.png", "/img.png /img/apng /x/img/a.png /img/a.png/"),
            ("/**/*.php", "/a.php /a/b.php", "/a.php/x /php"),
            ("/**/b/**/d", "/b/d /a/b/c/d /b/x/y/d", "/bd /b/cd /ab/d"),
            ("/a/**/", "/a/ /a/b/ /a/b/c/", "/a /a/b"),
            ("/a/*/c", "/a/b/c", "/a/c /a/b/b/c /a/b/c/"),
            ("/a**z", "/az /a/z /ab/cz", "/a /z"),
            ("/a.*", "/a. /a.b", "/ab /a.b/c"),
            // What means something to the engine means nothing here.
            ("/(a|b)+[c]{2}^$\\d*", "/(a|b)+[c]{2}^$\\d /(a|b)+[c]{2}^$\\d7", "/a /acc /bcc7"),
            ("/*(?i)a", "/(?i)a /x(?i)a", "/A /xa"),
            ("/ä*", "/ä /äöü", "/a /ö"),
            ("/100%*", "/100% /100%x", "/100"),
        ];
        for (text, yes, no) in rows {
            let pattern = Pattern::parse_glob(text).expect(text);
            yes.split_whitespace().for_each(|path| assert!(pattern.matches(path.as_bytes()), "{text} and {path}"));
            no.split_whitespace().for_each(|path| assert!(!pattern.matches(path.as_bytes()), "{text} but {path}"));
        }
        // The more literal bytes, the more specific.
        for (text, expected) in [("/", 1), ("/a/", 3), ("*.js", 3), ("/a/**/*.png", 8), ("/?", 1)] {
            assert_eq!(Pattern::parse_glob(text).map(|pattern| pattern.literal_bytes()), Ok(expected), "{text}");
        }
        // Any byte is a byte, line ends and broken UTF-8 too.
        for (text, path) in [("/*b", &b"/\n\xffb"[..]), ("/**/b", b"/a\r\n/b"), ("/?", b"/\xff"), ("*.c", b"/\n.c")] {
            assert!(Pattern::parse_glob(text).is_ok_and(|pattern| pattern.matches(path)), "{text}");
        }
    }

    #[test]
    fn rules_capture() {
        let rows: &[(&str, &str, Option<&[&str]>)] = &[
            ("/old", "/old", Some(&[])),
            ("/old", "/old/", None),
            ("/old", "/older", None),
            ("/", "/a", None),
            ("/old/", "/old/a", None),
            ("/blog/**", "/blog/a/b", Some(&["a/b"])),
            ("/blog/**", "/blog/", Some(&[""])),
            ("/blog/**", "/blog", None),
            ("/**", "/a", Some(&["a"])),
            ("/v1/*/x", "/v1/a/x", Some(&["a"])),
            ("/v1/*/x", "/v1/a/b/x", None),
            ("/*/*", "/a/b", Some(&["a", "b"])),
            ("/**/*.php", "/a/b/c.php", Some(&["a/b", "c"])),
            ("/**/*.php", "/c.php", Some(&["", "c"])),
            ("/*-*", "/a-b-c", Some(&["a-b", "c"])),
            ("/**.html", "/a/b.html", Some(&["a/b"])),
            ("/*.*.*.*.*.*.*.*.*", "/1.2.3.4.5.6.7.8.9", Some(&["1", "2", "3", "4", "5", "6", "7", "8", "9"])),
        ];
        for (text, path, expected) in rows {
            let pattern = Pattern::parse_rule(text).expect(text);
            let captures = pattern.captures(path.as_bytes());
            assert_eq!(captures.is_some(), expected.is_some(), "{text} and {path}");
            let (Some(captures), Some(expected)) = (captures, expected) else { continue };
            assert_eq!(pattern.capture_count(), expected.len(), "{text}");
            assert_eq!(captures.path(), path.as_bytes());
            for number in 0..12_usize {
                let group = number.checked_sub(1).and_then(|index| expected.get(index)).copied().unwrap_or("");
                assert_eq!(captures.get(number), group.as_bytes(), "{text} and {path}: ${number}");
            }
        }
    }

    #[test]
    fn patterns_that_are_refused() {
        use BadPattern::*;
        let (long, many) = (format!("/{}", "a".repeat(PATTERN_BYTES_MAX)), format!("/{}", "a*".repeat(33)));
        for (text, as_glob, as_rule) in [
            ("", Some(Empty), Some(Empty)),
            (&*long, Some(TooLong), Some(TooLong)),
            ("/a\nb", Some(Control), Some(Control)),
            ("/a\0", Some(Control), Some(Control)),
            ("/a%20b", Some(Encoded), Some(Encoded)),
            ("a/b", Some(NotRooted), Some(RuleNotRooted)),
            ("**/b", Some(NotRooted), Some(RuleNotRooted)),
            ("*.js", None, Some(RuleNotRooted)),
            ("https://a/", Some(NeverMatches), Some(NeverMatches)),
            ("//", Some(NeverMatches), Some(NeverMatches)),
            ("/a/../b", Some(NeverMatches), Some(NeverMatches)),
            ("/a/.", Some(NeverMatches), Some(NeverMatches)),
            ("/a***", Some(Stars), Some(Stars)),
            ("**.js", Some(AnythingInName), Some(RuleNotRooted)),
            ("/a?b=c", None, Some(QuestionMark)),
            ("/*a*a*a*a*a*a*a*a*a*", None, Some(TooManyCaptures)),
            (&*many, Some(TooManyWildcards), Some(TooManyWildcards)),
        ] {
            assert_eq!(Pattern::parse_glob(text).err(), as_glob, "{text}");
            assert_eq!(Pattern::parse_rule(text).err(), as_rule, "{text}");
        }
    }

    /// Backtracking would not end before the stars go out.
    #[test]
    fn the_worst_pattern_on_a_long_path_is_linear() {
        let path = format!("/{}", "a".repeat(100_000));
        for text in ["a*".repeat(WILDCARDS_MAX), "*a".repeat(16) + &"?a".repeat(16), "a**".repeat(WILDCARDS_MAX)] {
            let glob = Pattern::parse_glob(&format!("/**/{}z", &text[..text.len() - 3])).expect("a valid pattern");
            assert!(!glob.matches(path.as_bytes()), "{text}");
        }
        let rule = Pattern::parse_rule(&format!("/{}", "a*".repeat(CAPTURES_MAX))).expect("a valid pattern");
        assert_eq!(rule.captures(path.as_bytes()).map(|c| c.get(1).len()), Some(100_000 - CAPTURES_MAX));
        let largest = "/".to_owned() + &"*é".repeat(WILDCARDS_MAX);
        Pattern::parse_glob(&format!("{largest}{}", "ä".repeat(200))).expect("the engine takes the largest pattern");
    }

    #[test]
    fn globs_equal_a_naive_model() {
        fn naive(pattern: &[u8], path: &[u8]) -> bool {
            let any = |rest: &[u8], mut ends: std::ops::RangeInclusive<usize>| ends.any(|at| naive(rest, &path[at..]));
            match pattern {
                [] => path.is_empty(),
                [b'/', b'*', b'*', b'/', ..] if path.starts_with(b"/") => any(&pattern[3..], 0..=path.len()),
                [b'*', b'*', rest @ ..] => any(rest, 0..=path.len()),
                [b'*', rest @ ..] => any(rest, 0..=path.iter().position(|b| *b == b'/').unwrap_or(path.len())),
                [b'?', rest @ ..] => path.first().is_some_and(|b| *b != b'/') && naive(rest, &path[1..]),
                [byte, rest @ ..] => path.first() == Some(byte) && naive(rest, &path[1..]),
            }
        }
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut matched = 0;
        for _ in 0..20_000 {
            let mut text = |parts: &[&str], count: u64| -> String {
                let part = |_| parts[random(parts.len() as u64) as usize];
                "/".to_owned() + &(0..count).map(part).collect::<String>()
            };
            let pattern = text(&["a", "b", "/", "*", "**", "?", "/**/"], 5) + "*";
            let path = text(&["a", "b", "/", "a/"], 7);
            let Ok(glob) = Pattern::parse_glob(&pattern) else { continue };
            assert_eq!(glob.matches(path.as_bytes()), naive(pattern.as_bytes(), path.as_bytes()), "{pattern} {path}");
            matched += u32::from(glob.matches(path.as_bytes()));
        }
        assert!(matched > 500, "the model was hardly tried: {matched}");
    }
}

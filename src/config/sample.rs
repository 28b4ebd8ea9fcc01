//! The configuration file to begin with: what everybody sets on top, and every other key behind a number sign, with its default.
//!
//! `cargo run --example generate` writes it to packaging/etc.
//!
//! Invariant: it is accepted as it is, and with each key's number sign taken away.

use super::keys::{self, Key};
use std::fmt::Write;

/// Keys that stand on top and are set, to what suits a package: the log's directory and that of the admin socket come with it, and
/// the document root has the welcome page.
const SET: [(&str, &str); 4] = [
    ("listen", "[\"80\"]"),
    ("root", "\"/var/www/html\""),
    ("access_log", "\"/var/log/otus-httpd/access.log\""),
    ("admin", "{ listen = \"unix:/run/otus-httpd/admin.sock\" }"),
];

/// The text before the keys.
const HEAD: &str = "\
# Configuration of otus-httpd; otus-httpd.conf(5) has the details.
#
# This is TOML. `otus-httpdctl test` checks it, for a start or for the server that runs, and
# `otus-httpdctl reload` puts it in force. `otus-httpd -T` prints what holds and where it comes from.
# Files in /etc/otus-httpd.conf.d that end in .conf are read behind this one, in order of name.
# Lines such as `#etag = true` show a key with its default, or with an example where the default is none.

";

/// The text behind the keys: sites are best kept in files of their own.
const TAIL: &str = "
# Sites and locations stand behind all keys, or in files of their own:
#
#     [[site]]
#     server_name = [\"example.org\", \"www.example.org\"]
#     root = \"/srv/example\"
#
#     [[site.location]]
#     path = \"/assets/\"
#     cache_control = \"public, max-age=31536000, immutable\"
";

/// The file.
pub fn sample() -> String {
    let mut text = HEAD.to_owned();
    let all = || keys::SERVER.iter().chain(keys::SITE);
    let is_set = |key: &Key| SET.iter().any(|(name, _)| *name == key.name);
    for (name, value) in SET {
        let key = all().find(|key| key.name == name).expect("a test looks for each key");
        let _ = write!(text, "{}{name} = {value}\n\n", comment(key));
    }
    // What is written down, and where, is the next thing that an administrator looks for.
    let is_log = |key: &&Key| key.name.contains("log") && !is_set(key);
    all().filter(is_log).for_each(|key| commented(&mut text, key));
    for (title, keys) in
        [("The server", keys::SERVER), ("Sites; these may stand in [[site]] and [[location]] too", keys::SITE)]
    {
        let _ = write!(text, "# --- {title}\n\n");
        let others = keys.iter().filter(|key| !is_set(key) && !is_log(key));
        others.for_each(|key| commented(&mut text, key));
    }
    text.truncate(text.trim_end().len());
    text + "\n" + TAIL
}

fn commented(text: &mut String, key: &Key) {
    let _ = write!(text, "{}#{} = {}\n\n", comment(key), key.name, key.sample_value());
}

/// Columns of a comment.
const COLUMNS_MAX: usize = 100;

/// The first sentence of a key's meaning, and its default where that is no value.
fn comment(key: &Key) -> String {
    let mut sentence = first_sentence(key.meaning).replace('`', "");
    if key.default_value() != Some(key.sample_value()) {
        sentence = format!("{sentence} (default: {})", key.default.replace('`', ""));
    }
    let mut text = String::new();
    let mut line = "#".to_owned();
    for word in sentence.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS_MAX {
            let _ = writeln!(text, "{line}");
            line = "#".to_owned();
        }
        line.push(' ');
        line += word;
    }
    text + &line + "\n"
}

/// Up to the first full stop or semicolon that is not in code.
fn first_sentence(meaning: &str) -> &str {
    let mut is_code = false;
    let end = meaning.char_indices().find(|(at, c)| {
        is_code ^= *c == '`';
        !is_code && matches!(c, '.' | ';') && meaning[at + 1..].starts_with(' ')
    });
    end.map_or(meaning, |(at, _)| &meaning[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check_text;

    #[test]
    fn the_sample_is_a_configuration_and_so_are_its_comments() {
        let sample = sample();
        assert_eq!(check_text(&sample), Ok(()), "{sample}");
        for key in keys::SERVER.iter().chain(keys::SITE) {
            let shows = |line: &&str| line.trim_start_matches('#').starts_with(&format!("{} = ", key.name));
            assert_eq!(sample.lines().filter(shows).count(), 1, "{}", key.name);
        }
        let is_key = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
        let bare: Vec<_> = sample.lines().map(|line| if is_key(line) { &line[1..] } else { line }).collect();
        assert_eq!(check_text(&bare.join("\n")), Ok(()), "{}", bare.join("\n"));
        assert!(sample.lines().filter(|line| line.starts_with("# ")).all(|line| line.chars().count() <= 110));
    }

    #[test]
    fn the_sample_is_the_one_that_is_packaged() {
        let packaged = include_str!("../../packaging/etc/otus-httpd.conf");
        assert!(sample() == packaged, "packaging/etc/otus-httpd.conf is old; run `cargo run --example generate`");
    }

    #[test]
    fn sentences_end_outside_of_code() {
        for (meaning, first) in
            [("one. two", "one"), ("`a. b`; two", "`a. b`"), ("seconds.", "seconds."), ("at 1.5 or so", "at 1.5 or so")]
        {
            assert_eq!(first_sentence(meaning), first);
        }
    }
}

//! The manual pages: otus-httpd.conf(5) from docs/configuration.md, whose tables come from [`keys`](super::keys), and otus-httpd(8)
//! from the options of [`cli`](crate::cli) and the same document's signals.
//!
//! `cargo run --example generate` writes them to packaging/man.
//!
//! Invariant: nothing of a text is taken for a request or an escape of roff.

use crate::cli::Args;
use clap::{Arg, CommandFactory};
use std::fmt::Write;

/// The document that the pages are made of.
const DOCUMENT: &str = include_str!("../../docs/configuration.md");

/// otus-httpd.conf(5), in roff with the `man` macros.
pub fn file_page() -> String {
    let mut page = title("otus-httpd.conf", 5, "File Formats Manual");
    page += ".SH NAME\notus\\-httpd.conf \\- configuration of the web server otus\\-httpd\n";
    page += ".SH SYNOPSIS\n.B /etc/otus\\-httpd.conf\n.br\n.B /etc/otus\\-httpd.conf.d/*.conf\n.SH DESCRIPTION\n";
    page += &blocks(DOCUMENT);
    page += ".SH \"SEE ALSO\"\n.BR otus\\-httpd (8),\n.BR htpasswd (1)\n";
    page
}

/// otus-httpd(8), the same way.
pub fn program_page() -> String {
    let mut command = Args::command();
    command.build();
    let mut page = title("otus-httpd", 8, "System Manager's Manual");
    page += ".SH NAME\notus\\-httpd \\- web server for files\n.SH SYNOPSIS\n.B otus\\-httpd\n.RI [ options ]\n.br\n.B otus\\-httpd status\n.RI [ options ]\n.SH DESCRIPTION\n";
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(page, "{}", guarded(&inline(&format!("{}.", about.trim_end_matches('.')))));
    page += "What the command line says beats the configuration file,\n.BR otus\\-httpd.conf (5).\n.SH OPTIONS\n";
    for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = write!(page, ".TP\n{}\n{}\n", names(option), guarded(&inline(&help)));
    }
    page += ".SH COMMANDS\n";
    for subcommand in command.get_subcommands() {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = write!(page, ".SS {}\n{}\n", subcommand.get_name(), guarded(&inline(&format!("{about}."))));
        // Those that all commands have stand above.
        for option in subcommand.get_arguments().filter(|option| !option.is_global_set() && option.get_id() != "help") {
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            let _ = write!(page, ".TP\n{}\n{}\n", names(option), guarded(&inline(&help)));
        }
    }
    let signals = DOCUMENT.split_once("\n## Signals\n").map_or("", |(_, rest)| rest);
    let signals = signals.split_once("\n## ").map_or(signals, |(section, _)| section);
    let _ = write!(page, ".SH SIGNALS\n{}", blocks(signals));
    page += ".SH \"EXIT STATUS\"\n";
    for (code, meaning) in [
        (0, "All went well."),
        (1, "The server could not start, or a check found an error."),
        (2, "The command line was wrong."),
    ] {
        let _ = write!(page, ".TP\n.B {code}\n{meaning}\n");
    }
    page += ".SH FILES\n.TP\n.I /etc/otus\\-httpd.conf\nThe configuration, if there is one and no other is named.\n";
    page += ".TP\n.I /etc/otus\\-httpd.conf.d/*.conf\nRead behind it, in order of name; for a file that is named, those in the directory\n\
             of its name and\n.IR .d .\n";
    page += ".SH \"SEE ALSO\"\n.BR otus\\-httpd.conf (5)\n";
    page
}

/// The day of the pages' last change that a reader would notice: not that on which they are made, so that they are the same
/// whenever that is.
const DATE: &str = "2026-11-21";

/// The head of a page.
fn title(name: &str, section: u8, manual: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".\\\" Made by `cargo run --example generate`.\n.TH {name} {section} \"{DATE}\" \"otus\\-httpd {version}\" \"{manual}\"\n")
        .replace(".TH otus-httpd", ".TH otus\\-httpd")
}

/// `-a`, `--address` and what stands behind them.
fn names(option: &Arg) -> String {
    let short = option.get_short().map(|short| format!("-{short}"));
    let long = option.get_long().into_iter().chain(option.get_visible_aliases().into_iter().flatten());
    let names = short.into_iter().chain(long.map(|long| format!("--{long}")));
    let names: Vec<_> = names.map(|name| format!("\\fB{}\\fR", name.replace('-', "\\-"))).collect();
    let value = option.get_value_names().filter(|_| option.get_action().takes_values());
    let value = value.and_then(<[_]>::first).map(|value| format!(" \\fI{}\\fR", escaped(value)));
    names.join(", ") + &value.unwrap_or_default()
}

/// Markdown as roff: headings, paragraphs, lists, tables and code.
fn blocks(markdown: &str) -> String {
    let mut roff = String::new();
    let mut paragraph = Paragraph::default();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            paragraph.end(&mut roff);
            let _ = writeln!(roff, ".SH \"{}\"", escaped(&heading.to_uppercase()).replace('"', "\\(dq"));
        } else if line.starts_with("# ") {
            paragraph.end(&mut roff);
        } else if line.starts_with("```") {
            paragraph.end(&mut roff);
            space(&mut roff);
            roff += ".RS 4\n.nf\n";
            for code in lines.by_ref().take_while(|line| !line.starts_with("```")) {
                let _ = writeln!(roff, "{}", guarded(&escaped(code)));
            }
            roff += ".fi\n.RE\n";
        } else if line.starts_with('|') {
            paragraph.end(&mut roff);
            let head: Vec<_> = cells(line, usize::MAX);
            // The line of dashes under the head.
            lines.next();
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                roff += &entry(&head, &cells(row, head.len()));
            }
        } else if let Some(item) = line.strip_prefix("- ") {
            paragraph.end(&mut roff);
            paragraph = Paragraph { macros: Some(".IP \\(bu 2\n"), words: item.to_owned() };
        } else if line.is_empty() {
            paragraph.end(&mut roff);
        } else {
            paragraph.words += " ";
            paragraph.words += line.trim();
        }
    }
    paragraph.end(&mut roff);
    roff
}

/// Begins a paragraph; a section begins with one by itself.
fn space(roff: &mut String) {
    let last = roff.lines().next_back().unwrap_or(".SH");
    if !last.starts_with(".SH") {
        *roff += ".PP\n";
    }
}

/// Lines that are filled together.
#[derive(Default)]
struct Paragraph {
    /// What begins it, where it is none of running text.
    macros: Option<&'static str>,
    words: String,
}

impl Paragraph {
    fn end(&mut self, roff: &mut String) {
        let Paragraph { macros, words } = std::mem::take(self);
        if !words.is_empty() {
            match macros {
                Some(macros) => *roff += macros,
                None => space(roff),
            }
            let _ = writeln!(roff, "{}", guarded(&inline(words.trim())));
        }
    }
}

/// The cells of a row; the last of `columns` has all that is left.
fn cells(row: &str, columns: usize) -> Vec<&str> {
    row.trim().trim_start_matches('|').trim_end_matches('|').splitn(columns, " | ").map(str::trim).collect()
}

/// One row, as an entry of a list: the first cell is its tag, and a column of defaults is named.
fn entry(head: &[&str], cells: &[&str]) -> String {
    let (tag, rest) = cells.split_first().map_or(("", &[][..]), |(tag, rest)| (*tag, rest));
    let mut text = String::new();
    for (name, cell) in head.iter().skip(1).zip(rest).filter(|(_, cell)| !cell.is_empty()) {
        text += &if *name == "default" { format!("default: {cell}\n.br\n") } else { format!("{cell}\n") };
    }
    let lines = text.lines().map(|line| if line == ".br" { line.to_owned() } else { guarded(&inline(line)) });
    format!(".TP\n{}\n{}\n", guarded(&inline(tag)), lines.collect::<Vec<_>>().join("\n"))
}

/// A line of Markdown: code and what is strong in bold, links without their targets.
fn inline(markdown: &str) -> String {
    let mut roff = String::new();
    let mut is_strong = false;
    let mut rest = markdown;
    while let Some(c) = rest.chars().next() {
        if let Some((code, behind)) = rest.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
            let _ = write!(roff, "\\fB{}\\f{}", escaped(code), if is_strong { 'B' } else { 'R' });
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("**") {
            is_strong = !is_strong;
            roff += if is_strong { "\\fB" } else { "\\fR" };
            rest = behind;
        } else if let Some((text, behind)) = link(rest) {
            roff += &inline(text);
            rest = behind;
        } else {
            // A hyphen between letters is one; before an option it is a minus.
            roff += &if c == '-' { "-".to_owned() } else { escaped(&rest[..c.len_utf8()]) };
            rest = &rest[c.len_utf8()..];
        }
    }
    roff
}

/// The text of the link that this begins with, and what stands behind it.
fn link(markdown: &str) -> Option<(&str, &str)> {
    let (text, rest) = markdown.strip_prefix('[')?.split_once(']')?;
    let (_, behind) = rest.strip_prefix('(')?.split_once(')')?;
    Some((text, behind))
}

/// A text that means itself (groff_char(7)).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped += "\\(rs",
            '-' => escaped += "\\-",
            '\'' => escaped += "\\(aq",
            '`' => escaped += "\\(ga",
            '^' => escaped += "\\(ha",
            '~' => escaped += "\\(ti",
            c if c.is_ascii() => escaped.push(c),
            c => {
                let _ = write!(escaped, "\\[u{:04X}]", u32::from(c));
            }
        }
    }
    escaped
}

/// A line that is no request, whatever it begins with.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;
    use std::process::Command;

    #[test]
    fn a_text_means_itself() {
        for (markdown, roff) in [
            (".conf and `.d`", "\\&.conf and \\fB.d\\fR"),
            ("`'a\\b'`", "\\fB\\(aqa\\(rsb\\(aq\\fR"),
            ("**strong `code` text** [link](https://x/a-b) `-t`", "\\fBstrong \\fBcode\\fB text\\fR link \\fB\\-t\\fR"),
            ("a * b ** c", "a * b \\fB c"),
            ("größe ~ ^", "gr\\[u00F6]\\[u00DF]e \\(ti \\(ha"),
            ("an [open one", "an [open one"),
        ] {
            assert_eq!(guarded(&inline(markdown)), roff, "{markdown}");
        }
        let table = "| key | default | meaning |\n|---|---|---|\n| `a` | `1` | what | it is |\n";
        assert_eq!(blocks(table), ".TP\n\\fBa\\fR\ndefault: \\fB1\\fR\n.br\nwhat | it is\n");
        let list = "- one\n  more\n- two\n\nlast\n```\n.x\n```\n";
        let expected = ".IP \\(bu 2\none more\n.IP \\(bu 2\ntwo\n.PP\nlast\n.PP\n.RS 4\n.nf\n\\&.x\n.fi\n.RE\n";
        assert_eq!(blocks(list), expected);
    }

    #[test]
    fn the_pages_name_everything() {
        let page = file_page();
        for key in keys::SERVER.iter().chain(keys::SITE) {
            assert!(page.contains(&format!(".TP\n\\fB{}\\fR\n", key.name)), "{}", key.name);
        }
        let page = program_page();
        for option in Args::command().get_arguments().filter(|option| !option.is_hide_set()) {
            let name = option.get_long().expect("every option has a long name").replace('-', "\\-");
            assert!(page.contains(&format!("\\fB\\-\\-{name}\\fR")), "{name}");
        }
        assert!(page.contains(".SS status\n") && page.contains("\\fB\\-\\-once\\fR"), "{page}");
        assert!(page.contains(".SH SIGNALS\n") && page.contains("SIGTERM"), "{page}");
    }

    #[test]
    fn the_pages_are_those_that_are_packaged() {
        for (name, made, packaged) in [
            ("otus-httpd.conf.5", file_page(), include_str!("../../packaging/man/otus-httpd.conf.5")),
            ("otus-httpd.8", program_page(), include_str!("../../packaging/man/otus-httpd.8")),
        ] {
            assert!(made == packaged, "packaging/man/{name} is old; run `cargo run --example generate`");
        }
    }

    #[test]
    fn formatters_have_nothing_to_complain_of() {
        let man = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/man/");
        for page in ["otus-httpd.conf.5", "otus-httpd.8", "otus-httpdctl.8"] {
            for (program, arguments) in
                [("groff", &["-ww", "-man", "-Tutf8", "-z"][..]), ("mandoc", &["-Tlint", "-Wwarning"][..])]
            {
                match Command::new(program).args(arguments).arg(format!("{man}{page}")).output() {
                    Ok(output) => {
                        let said = [output.stdout, output.stderr].concat();
                        assert!(said.is_empty(), "{program}: {}", String::from_utf8_lossy(&said));
                    }
                    Err(error) => eprintln!("skipped: {page} with {program}: {error}"),
                }
            }
        }
    }
}

//! One table of the configuration file, read key by key; what is wrong is shown where it stands.
//!
//! Invariant: a key that nobody knows is an error, found before any value is looked at.

use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with the file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Bytes of the file.
    span: Range<usize>,
    message: String,
}

impl Problem {
    /// `message` about these bytes of the file.
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Problem {
        // It may quote the file, and what it quotes could end the line or move a terminal's cursor.
        let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        Problem { span, message: message.into().chars().map(escaped).collect() }
    }

    /// Where it begins.
    pub(super) fn start(&self) -> usize {
        self.span.start
    }

    /// The bytes that it is about.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What is wrong.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The same, `by` bytes further on.
    pub(super) fn behind(self, by: usize) -> Problem {
        Problem { span: self.span.start + by..self.span.end + by, message: self.message }
    }

    /// The same, `by` bytes further up: in a text that begins there.
    pub(super) fn before(&self, by: usize) -> Problem {
        let span = self.span.start.saturating_sub(by)..self.span.end.saturating_sub(by);
        Problem { span, message: self.message.clone() }
    }

    /// Line and column, and the message.
    pub(super) fn line(&self, text: &str) -> String {
        let place = Place::of(self, text);
        format!("{}:{}: {}", place.line_number, place.before + 1, self.message)
    }

    /// The same behind a name, and the line of the file with a caret under what is meant.
    pub(super) fn show(&self, name: &str, text: &str) -> String {
        let Place { line_number, line, before, width } = Place::of(self, text);
        // A tab takes what it takes at the reader's terminal: it is repeated under itself.
        // White space at the end of the line is not shown, and may yet be what is meant.
        let shown = line.chars().chain(std::iter::repeat(' '));
        let indent: String = shown.take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let line: String = line.chars().map(|c| if c.is_control() && c != '\t' { '\u{FFFD}' } else { c }).collect();
        let margin = " ".repeat(line_number.to_string().len());
        let caret = "^".repeat(width);
        format!("{name}:{}\n{margin} |\n{line_number} | {line}\n{margin} | {indent}{caret}", self.line(text))
    }
}

/// Where a problem stands.
struct Place<'a> {
    /// Counted from 1.
    line_number: usize,
    line: &'a str,
    /// Characters of the line before it.
    before: usize,
    /// Its characters on that line, at least one.
    width: usize,
}

impl<'a> Place<'a> {
    fn of(problem: &Problem, text: &'a str) -> Place<'a> {
        let start = floor_char_boundary(text, problem.span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor_char_boundary(text, problem.span.end).clamp(start, line_end);
        Place {
            line_number: 1 + text[..start].matches('\n').count(),
            line: text[line_start..line_end].trim_end(),
            before: text[line_start..start].chars().count(),
            width: text[start..end].trim_end().chars().count().max(1),
        }
    }
}

impl From<toml::de::Error> for Problem {
    fn from(error: toml::de::Error) -> Problem {
        let message: Vec<_> = error.message().split_whitespace().collect();
        Problem::new(error.span().unwrap_or(0..0), message.join(" "))
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Whether names are resolved and files opened to check a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum World {
    /// They are: the server is to run with these values.
    Asked,
    /// They are not: the text is judged by itself.
    LeftAlone,
}

/// A table of the file.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    world: World,
}

/// A key and its value.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    key: &'a str,
    value: &'a Spanned<DeValue<'a>>,
    world: World,
}

impl<'a> Table<'a> {
    /// Takes a table for what it is, refusing keys that are not `known`; `elsewhere` are keys that belong into another
    /// table, with a word on which.
    pub(super) fn new(
        entries: &'a DeTable<'a>,
        known: &[&str],
        elsewhere: &[(&[&str], &str)],
        world: World,
    ) -> Result<Table<'a>, Problem> {
        for (key, _) in entries {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let misplaced = elsewhere.iter().find(|(keys, _)| keys.contains(&name));
            let message = match misplaced {
                Some((_, place)) => format!("`{name}` belongs {place}"),
                None => format!("unknown key `{name}`{}", did_you_mean(name, known.iter().copied())),
            };
            return Err(Problem::new(key.span(), message));
        }
        Ok(Table { entries, world })
    }

    /// The value of `key`, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.entries.get(key).map(|value| Value { key, value, world: self.world })
    }

    /// A key that must be there; `span` is shown where it is not.
    pub(super) fn required(&self, key: &'static str, span: Range<usize>) -> Result<Value<'a>, Problem> {
        self.get(key).ok_or_else(|| Problem::new(span, format!("`{key}` is missing")))
    }

    /// What `read` makes of the value of `key`, if it is there.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(Value<'a>) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        self.get(key).map(read).transpose()
    }
}

impl<'a> Value<'a> {
    pub(super) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// `what` is wrong with this value.
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> Problem {
        Problem::new(self.span(), format!("{}: {what}", self.key))
    }

    fn expected(&self, what: &str) -> Problem {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong(format!("expected {what}, found {found}"))
    }

    pub(super) fn text(&self) -> Result<&'a str, Problem> {
        self.value.get_ref().as_str().ok_or_else(|| self.expected("a text in quotes"))
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    pub(super) fn boolean(&self) -> Result<bool, Problem> {
        self.value.get_ref().as_bool().ok_or_else(|| self.expected("true or false"))
    }

    /// A number from `least` to `most`.
    pub(super) fn number(&self, least: u64, most: u64) -> Result<u64, Problem> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            return Err(self.expected(&format!("a number from {least} to {most}")));
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.wrong(format!("expected a number from {least} to {most}, found {integer}")))
    }

    /// One of these words, each of which stands for a value.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Problem> {
        let list = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let Some(text) = self.value.get_ref().as_str() else { return Err(self.expected(&list())) };
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let meant = did_you_mean(text, words.iter().map(|(word, _)| *word));
            self.wrong(format!("expected one of {}, found \"{text}\"{meant}", list()))
        })
    }

    /// The members of a list.
    pub(super) fn list(&self) -> Result<impl Iterator<Item = Value<'a>> + use<'a>, Problem> {
        let Value { key, world, .. } = *self;
        let array = self.value.get_ref().as_array().ok_or_else(|| self.expected("a list in brackets"))?;
        Ok(array.iter().map(move |value| Value { key, value, world }))
    }

    /// The members of a list, or the one value that stands in its place.
    pub(super) fn one_or_list(&self) -> Vec<Value<'a>> {
        self.list().map_or_else(|_| vec![*self], Iterator::collect)
    }

    /// The texts of a list, or the one text that stands in its place.
    pub(super) fn texts(&self) -> Result<Vec<String>, Problem> {
        self.one_or_list().iter().map(|value| value.text().map(str::to_owned)).collect()
    }

    /// A table with these keys.
    pub(super) fn table(&self, known: &[&str]) -> Result<Table<'a>, Problem> {
        Table::new(self.entries()?, known, &[], self.world)
    }

    /// The keys and values of a table whose keys are free.
    pub(super) fn pairs(&self) -> Result<Vec<(&'a str, Value<'a>)>, Problem> {
        let Value { key, world, .. } = *self;
        Ok(self.entries()?.iter().map(|(name, value)| (&**name.get_ref(), Value { key, value, world })).collect())
    }

    pub(super) fn world(&self) -> World {
        self.world
    }

    pub(super) fn entries(&self) -> Result<&'a DeTable<'a>, Problem> {
        self.value.get_ref().as_table().ok_or_else(|| self.expected("a table"))
    }
}

/// How many letters, of three, a misspelt word may have wrong.
const MISSPELT_MAX_OF_THREE: usize = 1;

/// `; did you mean ...?`, where something is near enough.
pub(super) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate)).min();
    match near {
        Some((distance, candidate)) if distance * 3 <= candidate.len() * MISSPELT_MAX_OF_THREE => {
            format!("; did you mean `{candidate}`?")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_where_it_is() {
        let text = "a = 1\n\tb = \"größe\"\nc = 3";
        for (span, expected) in [
            (0..1, "f:1:1: m\n  |\n1 | a = 1\n  | ^"),
            (7..8, "f:2:2: m\n  |\n2 | \tb = \"größe\"\n  | \t^"),
            (11..20, "f:2:6: m\n  |\n2 | \tb = \"größe\"\n  | \t    ^^^^^^^"),
            (11..text.len(), "f:2:6: m\n  |\n2 | \tb = \"größe\"\n  | \t    ^^^^^^^"),
            (text.len()..text.len() + 5, "f:3:6: m\n  |\n3 | c = 3\n  |      ^"),
        ] {
            assert_eq!(Problem::new(span.clone(), "m").show("f", text), expected, "{span:?}");
        }
        assert_eq!(Problem::new(0..0, "m").show("f", ""), "f:1:1: m\n  |\n1 | \n  | ^");
    }

    #[test]
    fn words_that_are_near_are_meant() {
        let known = || ["root", "autoindex", "try_files"].into_iter();
        for (word, meant) in [("rot", "root"), ("roto", "root"), ("autoidnex", "autoindex"), ("tryfiles", "try_files")]
        {
            assert_eq!(did_you_mean(word, known()), format!("; did you mean `{meant}`?"), "{word}");
        }
        assert_eq!(did_you_mean("document", known()), "");
    }
}

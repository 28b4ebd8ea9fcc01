//! The files of the configuration: the one that is named, and the drop-ins in the directory beside it.
//!
//! The drop-ins of FILE are `FILE.d/*.conf`, in order of name. All files make one document: a key of a later file stands in the
//! place of the same key of an earlier one, `[[site]]` and `[[location]]` are lined up, and tables of the server's own
//! are merged key by key.
//!
//! Invariant: every span of the document tells its file too, for each file's bytes are counted on from those of the one before.

use super::table::Problem;
use super::{DEFAULT_FILE, keys};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

/// More drop-ins than this are a directory that was meant for something else.
const DROP_INS_MAX: usize = 1000;

/// All files, in the order in which they count.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    /// One at least.
    files: Vec<Source>,
}

#[derive(Clone, Debug)]
struct Source {
    /// As it is shown.
    name: String,
    text: String,
    /// Where its spans begin.
    start: usize,
}

/// All that was said, and what is wrong with its grammar.
pub(super) struct Document<'a> {
    pub(super) table: DeTable<'a>,
    pub(super) problems: Vec<Problem>,
}

impl Sources {
    /// One file of this text.
    pub(super) fn of_text(name: &str, text: &str) -> Sources {
        Sources { files: vec![Source { name: name.to_owned(), text: text.to_owned(), start: 0 }] }
    }

    /// Reads the file at `path`, or the one that is read when none is named, if it is there; and its drop-ins. What cannot be
    /// read is told in one line.
    pub(super) fn load(path: Option<&Path>) -> Result<Sources, String> {
        Sources::load_or(path, Path::new(DEFAULT_FILE))
    }

    fn load_or(path: Option<&Path>, default: &Path) -> Result<Sources, String> {
        let main = path.unwrap_or(default);
        let mut files = Vec::new();
        let mut add = |path: &Path, text: String| {
            let start = files.last().map_or(0, |before: &Source| before.start + before.text.len() + 1);
            // A name is shown in messages of one line, and in comments.
            let shown = path.display().to_string();
            let name = shown.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
            files.push(Source { name, text, start });
        };
        match std::fs::read_to_string(main) {
            Ok(text) => add(main, text),
            Err(error) if path.is_none() && error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(main, &error)),
        }
        for path in drop_ins(main)? {
            add(&path, std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?);
        }
        if files.is_empty() {
            return Ok(Sources::of_text("defaults", ""));
        }
        Ok(Sources { files })
    }

    /// The names of the files.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| &*file.name)
    }

    /// The document that the files make together.
    pub(super) fn document(&self) -> Document<'_> {
        let mut document = Document { table: DeTable::new(), problems: Vec::new() };
        for file in &self.files {
            let (table, errors) = DeTable::parse_recoverable(&file.text);
            document.problems.extend(errors.into_iter().map(|error| Problem::from(error).behind(file.start)));
            for (key, value) in moved_table(table.into_inner(), file.start) {
                add(&mut document.table, key, value);
            }
        }
        document
    }

    /// The problem behind the name of its file, with the line of the file.
    pub(super) fn show(&self, problem: &Problem) -> String {
        let file = self.file_at(problem.start());
        problem.before(file.start).show(&file.name, &file.text)
    }

    /// The problem in one line, behind its line and column.
    pub(super) fn line(&self, problem: &Problem) -> String {
        let file = self.file_at(problem.start());
        problem.before(file.start).line(&file.text)
    }

    /// File and line of this place.
    pub(super) fn place(&self, span: &Range<usize>) -> String {
        let file = self.file_at(span.start);
        let above = file.text.bytes().take(span.start - file.start).filter(|byte| *byte == b'\n').count();
        format!("{}:{}", file.name, 1 + above)
    }

    /// File, line and column, and what is wrong, in one line.
    pub(super) fn tell(&self, problem: &Problem) -> String {
        format!("{}:{}", self.file_at(problem.start()).name, self.line(problem))
    }

    fn file_at(&self, at: usize) -> &Source {
        self.files.iter().rev().find(|file| file.start <= at).expect("the first file begins at 0")
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{}: cannot be read: {error}", path.display())
}

/// The drop-ins of this file, in order of name.
fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, String> {
    let mut name = OsString::from(main);
    name.push(".d");
    let directory = PathBuf::from(name);
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&directory, &error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| unreadable(&directory, &error))?.file_name();
        if is_drop_in(&name) {
            paths.push(directory.join(name));
        }
        if paths.len() > DROP_INS_MAX {
            return Err(format!("{}: more than {DROP_INS_MAX} files; join some of them", directory.display()));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Names that begin with a dot are an editor's or a package manager's, and so are most other endings.
fn is_drop_in(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b".conf") && !name.starts_with(b".")
}

/// Keys whose tables are lined up.
pub(super) const LINED_UP: [&str; 2] = ["site", "location"];

/// Puts a key of a later file into the document.
fn add<'a>(table: &mut DeTable<'a>, key: Spanned<DeString<'a>>, value: Spanned<DeValue<'a>>) {
    let name: &str = key.get_ref();
    let is_of_sites = keys::names(keys::SITE).any(|of_site| of_site == name);
    let is_lined_up = LINED_UP.contains(&name);
    let (span, mut value) = (value.span(), value.into_inner());
    match (table.get_mut(name).map(Spanned::get_mut), &mut value) {
        (Some(DeValue::Array(before)), DeValue::Array(more)) if is_lined_up => {
            for one in std::mem::replace(more, DeArray::new()) {
                before.push(one);
            }
            return;
        }
        // A key of sites is taken as a whole, wherever it stands.
        (Some(DeValue::Table(before)), DeValue::Table(more)) if !is_of_sites && !is_lined_up => {
            for (key, value) in std::mem::take(more) {
                replace(before, key, value);
            }
            return;
        }
        _ => {}
    }
    replace(table, key, Spanned::new(span, value));
}

/// Inserts a key with its own place: a map keeps the key that it has.
fn replace<'a>(table: &mut DeTable<'a>, key: Spanned<DeString<'a>>, value: Spanned<DeValue<'a>>) {
    table.remove(&**key.get_ref());
    table.insert(key, value);
}

/// The same table with its spans `by` bytes further on.
fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let entries = table.into_iter();
    entries.map(|(key, value)| (Spanned::new(on(key.span(), by), key.into_inner()), moved(value, by))).collect()
}

fn moved(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = on(value.span(), by);
    let value = match value.into_inner() {
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(|value| moved(value, by)).collect()),
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        plain => plain,
    };
    Spanned::new(span, value)
}

fn on(span: Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A directory that is gone when this is.
    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn scratch(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("otus-httpd-files-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("main.conf.d")).expect("a directory of the test");
        Scratch(path)
    }

    #[test]
    fn drop_ins_come_in_order_of_name() {
        let scratch = scratch("order");
        for name in ["20-b.conf", "3.conf", "10-a.conf", ".hidden.conf", "c.conf~", "readme", "d.CONF"] {
            fs::write(scratch.0.join("main.conf.d").join(name), "").expect("a file of the test");
        }
        let main = scratch.0.join("main.conf");
        // The file that nobody named may be missing; one that was named may not.
        let names = |sources: Result<Sources, String>| -> Vec<String> {
            let sources = sources.expect("all can be read");
            sources.names().filter_map(|name| name.rsplit('/').next().map(str::to_owned)).collect()
        };
        assert_eq!(names(Sources::load_or(None, &main)), ["10-a.conf", "20-b.conf", "3.conf"]);
        let refused = Sources::load_or(Some(&main), Path::new("/no/such/file")).expect_err("it is not there");
        assert!(refused.contains("main.conf: cannot be read"), "{refused}");
        fs::write(&main, "").expect("a file of the test");
        assert_eq!(names(Sources::load_or(Some(&main), &main)), ["main.conf", "10-a.conf", "20-b.conf", "3.conf"]);
        fs::write(scratch.0.join("main.conf.d/4.conf"), b"\xff").expect("a file of the test");
        let refused = Sources::load_or(None, &main).expect_err("no UTF-8");
        assert!(refused.contains("4.conf: cannot be read") && refused.lines().count() == 1, "{refused}");
        let nothing = scratch.0.join("nothing.conf");
        assert_eq!(names(Sources::load_or(None, &nothing)), ["defaults"]);
    }

    #[test]
    fn later_files_replace_line_up_and_merge() {
        let text = |name: &str, text: &str, start| Source { name: name.into(), text: text.into(), start };
        let first = "workers = 1\n[types]\na = 'a/a'\n[admin]\nx = 1\ny = 1\n[[site]]\nroot = '/1'\n";
        let second = "[[site]]\nroot = '/2'\n[admin]\ny = 2\nz = 2\n[types]\nb = 'b/b'\n";
        let third = "\nworkers = 3\n";
        let second_at = first.len() + 1;
        let sources = Sources {
            files: vec![
                text("1", first, 0),
                text("2", second, second_at),
                text("3", third, second_at + second.len() + 1),
            ],
        };
        let Document { table, problems } = sources.document();
        assert_eq!(problems, []);
        let place = |key: &str| sources.place(&table.get(key).expect(key).span());
        assert_eq!((place("workers"), place("types"), place("admin")), ("3:2".into(), "2:6".into(), "1:4".into()));
        let within = |key: &str| {
            let inner = table.get(key).and_then(|value| value.get_ref().as_table()).expect(key);
            inner.iter().map(|(key, value)| format!("{} {}", key.get_ref(), sources.place(&value.span()))).collect()
        };
        let expected: [Vec<&str>; 2] = [vec!["x 1:5", "y 2:4", "z 2:5"], vec!["b 2:7"]];
        assert_eq!([within("admin"), within("types")] as [Vec<String>; 2], expected);
        let sites = table.get("site").and_then(|value| value.get_ref().as_array()).expect("sites");
        let places: Vec<_> = sites.iter().map(|site| sources.place(&site.span())).collect();
        assert_eq!(places, ["1:7", "2:1"]);
    }
}

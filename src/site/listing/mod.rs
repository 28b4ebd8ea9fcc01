//! The page for a directory that has no index file: a list of what is in it.
//!
//! Order: the query says how to sort · the entries are sorted · they are written, as a page for
//! people (`html`) or as data for programs (`json`).
//!
//! Invariant: no I/O and no clock. What is written depends on the listing alone, and a name in it
//! can be anything a file system takes: it is shown and linked, and never becomes markup.

mod html;
mod json;

use crate::http::target::SitePath;
use crate::storage::directory::{Directory, Entry};
use crate::storage::file::Kind;
use std::cmp::Ordering;

/// What a listing is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page for people.
    Html,
    /// An array of objects, as nginx's `autoindex_format json` writes it. It has no place for
    /// [`Directory::truncated`]: an array cut short is the array of its first entries, and whoever
    /// sends it says so in a field.
    Json,
}

/// What entries are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Their names, without regard to the case of ASCII letters.
    Name,
    /// Their lengths; directories, which have none, by name.
    Size,
    /// When they last changed.
    Modified,
}

/// Which way entries are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The smallest, the oldest, the letter A first.
    Ascending,
    /// The largest, the newest, the letter Z first.
    Descending,
}

/// How a visitor wants the entries sorted. Directories come before files in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorting {
    /// What by.
    pub key: Key,
    /// Which way.
    pub order: Order,
}

impl Sorting {
    /// What a query such as `sort=size&order=desc` asks for. What it leaves open, or says in
    /// unknown words, is by name and ascending: a query is no reason to refuse a page.
    pub fn parse(query: Option<&str>) -> Sorting {
        let mut sorting = Sorting { key: Key::Name, order: Order::Ascending };
        for parameter in query.unwrap_or("").split('&') {
            match parameter {
                "sort=name" => sorting.key = Key::Name,
                "sort=size" => sorting.key = Key::Size,
                "sort=time" => sorting.key = Key::Modified,
                "order=asc" => sorting.order = Order::Ascending,
                "order=desc" => sorting.order = Order::Descending,
                _ => {}
            }
        }
        sorting
    }
}

/// A directory, and how a visitor asked to see it.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// Its path on the site; it ends in a slash, for the links are relative to it.
    pub path: &'a SitePath<'a>,
    /// What is in it.
    pub directory: &'a Directory,
    /// How to sort that.
    pub sorting: Sorting,
}

/// Writes a listing.
pub fn render(listing: &Listing<'_>, format: Format) -> String {
    debug_assert!(listing.path.is_directory());
    let mut entries: Vec<&Entry> = listing.directory.entries.iter().collect();
    entries.sort_unstable_by(|a, b| compare(a, b, listing.sorting));
    match format {
        Format::Html => html::render(listing, &entries),
        Format::Json => json::render(&entries),
    }
}

/// Names in one directory differ, so that no two entries are equal.
fn compare(a: &Entry, b: &Entry, sorting: Sorting) -> Ordering {
    let directories_first = is_directory(b).cmp(&is_directory(a));
    let by_key = match sorting.key {
        Key::Name => by_name(a, b),
        Key::Size if is_directory(a) => Ordering::Equal,
        Key::Size => a.length.cmp(&b.length),
        Key::Modified => a.modified.cmp(&b.modified),
    };
    let by_key = match sorting.order {
        Order::Ascending => by_key,
        Order::Descending => by_key.reverse(),
    };
    directories_first.then(by_key).then_with(|| by_name(a, b))
}

fn by_name(a: &Entry, b: &Entry) -> Ordering {
    let folded = |entry: &Entry, other: &Entry| {
        let (name, other) = (entry.name.iter(), other.name.iter());
        name.map(u8::to_ascii_lowercase).cmp(other.map(u8::to_ascii_lowercase))
    };
    folded(a, b).then_with(|| a.name.cmp(&b.name))
}

fn is_directory(entry: &Entry) -> bool {
    entry.kind == Kind::Directory
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::Timestamp;

    pub(super) fn entry(name: impl AsRef<[u8]>, kind: Kind, length: u64, seconds: i64) -> Entry {
        Entry { name: name.as_ref().to_vec(), kind, length, modified: Timestamp { seconds, nanoseconds: 0 } }
    }

    pub(super) fn file(name: impl AsRef<[u8]>) -> Entry {
        entry(name, Kind::Regular, 0, 0)
    }

    /// The listing of `entries` at `path`, sorted by name.
    pub(super) fn rendered(path: &str, entries: Vec<Entry>, truncated: bool, format: Format) -> String {
        let path = SitePath::parse(path).expect("each row is a valid path");
        let directory = Directory { entries, truncated };
        render(&Listing { path: &path, directory: &directory, sorting: Sorting::parse(None) }, format)
    }

    #[test]
    fn queries_say_how_to_sort() {
        use {Key::*, Order::*};
        for (query, key, order) in [
            (None, Name, Ascending),
            (Some(""), Name, Ascending),
            (Some("sort=name"), Name, Ascending),
            (Some("sort=size"), Size, Ascending),
            (Some("sort=time&order=desc"), Modified, Descending),
            (Some("order=desc&sort=size"), Size, Descending),
            (Some("order=desc"), Name, Descending),
            (Some("x=1&sort=time&y"), Modified, Ascending),
            (Some("sort=size&sort=time"), Modified, Ascending),
            (Some("sort=colour&order=sideways"), Name, Ascending),
            (Some("SORT=size&sort=SIZE&sort&order"), Name, Ascending),
            (Some("C=S;O=D"), Name, Ascending),
            (Some("&&=&sort=size=&%73ort=size"), Name, Ascending),
        ] {
            assert_eq!(Sorting::parse(query), Sorting { key, order }, "{query:?}");
        }
    }

    #[test]
    fn directories_come_first_and_then_what_was_asked_for() {
        let directory = Directory {
            entries: vec![
                entry("b", Kind::Regular, 30, 3),
                entry("zoo", Kind::Directory, 9999, 1),
                entry("B", Kind::Regular, 20, 9),
                entry("a", Kind::Regular, 30, 5),
                entry("C", Kind::Regular, 10, 5),
                entry("Den", Kind::Directory, 1, 7),
            ],
            truncated: false,
        };
        for (query, expected) in [
            ("", "Den zoo a B b C"),
            ("order=desc", "zoo Den C b B a"),
            // Of equal ones, the names decide, from A to Z.
            ("sort=size", "Den zoo C B a b"),
            ("sort=size&order=desc", "Den zoo a b B C"),
            ("sort=time", "zoo Den b a C B"),
            ("sort=time&order=desc", "Den zoo B a C b"),
        ] {
            let mut entries: Vec<&Entry> = directory.entries.iter().collect();
            entries.sort_unstable_by(|a, b| compare(a, b, Sorting::parse(Some(query))));
            let names: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name)).collect();
            assert_eq!(names.join(" "), expected, "{query}");
        }
    }
}

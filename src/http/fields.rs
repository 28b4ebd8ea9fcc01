//! The field lines of a request that this server acts on (RFC 9110 §5, RFC 9112 §5).
//!
//! A [`Fields`] borrows the field section and remembers where the first line of each known
//! field starts, so that it is small, needs no allocation, and finds a field without a search.
//!
//! Invariant: the section passed `request::parse`, or was made of field lines of HTTP/2 that were checked as strictly, so
//! each line is `name ":" OWS value OWS CRLF`.

use super::grammar::trim_whitespace;

macro_rules! known_fields {
    ($($variant:ident $name:literal;)*) => {
        /// A request field that this server knows; all others are ignored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum FieldName {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl FieldName {
            const COUNT: usize = [$(FieldName::$variant),*].len();

            /// A bit for each length that a known name has.
            const LENGTHS: u64 = 0 $(| 1 << $name.len())*;

            /// The known field of this name; names are case-insensitive (RFC 9110 §5.1).
            pub fn from_token(name: &[u8]) -> Option<FieldName> {
                // Most lines of a browser are of no interest, and most of those have a length that tells.
                if name.len() >= u64::BITS as usize || Self::LENGTHS & (1 << name.len()) == 0 {
                    return None;
                }
                $(if name.len() == $name.len() && name.eq_ignore_ascii_case($name.as_bytes()) {
                    return Some(FieldName::$variant);
                })*
                None
            }
        }
    };
}

known_fields! {
    Host "Host";
    Connection "Connection";
    ContentLength "Content-Length";
    TransferEncoding "Transfer-Encoding";
    Expect "Expect";
    IfMatch "If-Match";
    IfNoneMatch "If-None-Match";
    IfModifiedSince "If-Modified-Since";
    IfUnmodifiedSince "If-Unmodified-Since";
    IfRange "If-Range";
    Range "Range";
    Accept "Accept";
    AcceptEncoding "Accept-Encoding";
    Authorization "Authorization";
    Origin "Origin";
    AccessControlRequestMethod "Access-Control-Request-Method";
    AccessControlRequestHeaders "Access-Control-Request-Headers";
    Forwarded "Forwarded";
    XForwardedFor "X-Forwarded-For";
}

/// Marks a field that did not come.
const ABSENT: u16 = u16::MAX;

/// Where a section has the known fields.
#[derive(Clone, Copy, Debug)]
pub struct FirstLines {
    first_line: [u16; FieldName::COUNT],
    /// One bit a field: it came on more than one line.
    repeated: u32,
}

const _: () = assert!(FieldName::COUNT <= u32::BITS as usize);

impl FirstLines {
    /// No field came yet.
    pub const NONE: FirstLines = FirstLines { first_line: [ABSENT; FieldName::COUNT], repeated: 0 };

    /// Notes that a line of the field `name` starts at `offset` in the section.
    pub fn note(&mut self, name: FieldName, offset: usize) {
        let slot = &mut self.first_line[name as usize];
        if *slot == ABSENT {
            let offset = u16::try_from(offset).ok().filter(|offset| *offset != ABSENT);
            *slot = offset.expect("the head limit keeps a section below 64 KiB");
        } else {
            self.repeated |= 1 << name as u32;
        }
    }
}

impl Default for FirstLines {
    fn default() -> FirstLines {
        FirstLines::NONE
    }
}

/// The known fields of one request.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    section: &'a [u8],
    lines: FirstLines,
}

impl<'a> Fields<'a> {
    /// The fields of a section, whose first lines were noted.
    pub fn new(section: &'a [u8], lines: FirstLines) -> Fields<'a> {
        Fields { section, lines }
    }

    /// Whether at least one line of the field came.
    pub fn has(&self, name: FieldName) -> bool {
        self.lines.first_line[name as usize] != ABSENT
    }

    /// All lines as they came, the empty one at the end too.
    pub fn section(&self) -> &'a [u8] {
        self.section
    }

    /// The values of all lines of the field, in order; they form one list (RFC 9110 §5.3).
    pub fn values(&self, name: FieldName) -> Values<'a> {
        let start = self.lines.first_line[name as usize];
        let rest = if start == ABSENT { &[][..] } else { &self.section[usize::from(start)..] };
        Values { name, rest, more: self.lines.repeated & (1 << name as u32) != 0 }
    }

    /// The value of a field that came on exactly one line.
    pub fn only(&self, name: FieldName) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        let value = values.next()?;
        if values.more { None } else { Some(value) }
    }
}

/// The values of all lines named `name` (in lower case) in a field section, in order; for fields that this server does not act on.
pub fn values_of<'a>(section: &'a [u8], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = section;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let line_end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, behind) = rest.split_at(line_end);
            rest = behind;
            // A colon in the right place settles most lines.
            if line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name) {
                return Some(trim_whitespace(line[name.len() + 1..].trim_ascii_end()));
            }
        }
        None
    })
}

/// Iterator of [`Fields::values`].
#[derive(Clone, Debug)]
pub struct Values<'a> {
    name: FieldName,
    rest: &'a [u8],
    more: bool,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let line_end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
            let (line, rest) = self.rest.split_at(line_end);
            // Most fields come once: then the lines behind the first need no look.
            self.rest = if self.more { rest } else { &[] };
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            if FieldName::from_token(&line[..colon]) == Some(self.name) {
                let value = line[colon + 1..].trim_ascii_end();
                return Some(trim_whitespace(value));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(section: &str) -> Fields<'_> {
        let mut lines = FirstLines::NONE;
        let mut offset = 0;
        for line in section.split_inclusive("\r\n") {
            let name = line.split(':').next().unwrap_or("");
            if let Some(name) = FieldName::from_token(name.as_bytes()) {
                lines.note(name, offset);
            }
            offset += line.len();
        }
        Fields::new(section.as_bytes(), lines)
    }

    #[test]
    fn values_come_from_every_line_of_the_field_in_order() {
        let fields = fields(
            "Host: a\r\nIF-NONE-MATCH: \"x\" \r\nX-Other: 1\r\nif-none-match:\"y\",\t\"z\"\t\r\nRange:bytes=0-\r\n\r\n",
        );
        let values: Vec<_> = fields.values(FieldName::IfNoneMatch).collect();
        assert_eq!(values, [&b"\"x\""[..], b"\"y\",\t\"z\""]);
        assert_eq!(fields.only(FieldName::IfNoneMatch), None);
        assert_eq!(fields.only(FieldName::Host), Some(&b"a"[..]));
        assert_eq!(fields.only(FieldName::Range), Some(&b"bytes=0-"[..]));
        assert!(!fields.has(FieldName::IfRange));
        assert_eq!(fields.values(FieldName::IfRange).count(), 0);
    }

    #[test]
    fn any_field_is_found_by_its_name() {
        let section = b"Host: a\r\nUser-Agent:  b \r\nReferer:\r\nuser-agent: c\r\nX-Referer: d\r\n\r\n";
        for (name, expected) in [("user-agent", &["b", "c"][..]), ("referer", &[""]), ("agent", &[]), ("x", &[])] {
            let values: Vec<_> = values_of(section, name.as_bytes()).map(String::from_utf8_lossy).collect();
            assert_eq!(values, expected, "{name}");
        }
    }

    #[test]
    fn an_empty_value_is_a_value() {
        assert_eq!(fields("Host:\r\n\r\n").only(FieldName::Host), Some(&b""[..]));
    }
}

//! Validators of a representation: entity tag and modification date (RFC 9110 §8.8).

use super::coding::Coding;
use super::date::{DateText, HttpDate};
use super::grammar::trim_whitespace;
use std::io::Write;

/// A strong entity tag, made from facts that every copy of a file shares: its modification time
/// in nanoseconds and its length. Not the inode: two servers with the same tree must agree. A content coding has
/// its name behind them: two codings of one resource never share a tag (RFC 9110 §8.8.3.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EntityTag {
    text: [u8; TAG_BYTES_MAX],
    len: u8,
}

/// Two quotes, 25 hexadecimal digits at most of a signed 96-bit time, a dash, 16 of a length, a dash, a coding.
const TAG_BYTES_MAX: usize = 2 + 25 + 1 + 16 + 1 + 4;

impl EntityTag {
    /// The tag of `complete_length` bytes in this coding, modified `modified_nanoseconds` after 1970.
    pub fn strong(modified_nanoseconds: i128, complete_length: u64, coding: Coding) -> EntityTag {
        let sign = if modified_nanoseconds < 0 { "-" } else { "" };
        let mut tag = EntityTag { text: [0; TAG_BYTES_MAX], len: 0 };
        let mut free = &mut tag.text[..];
        let (dash, token) = if coding == Coding::Identity { ("", "") } else { ("-", coding.token()) };
        write!(free, "\"{sign}{:x}-{complete_length:x}{dash}{token}\"", modified_nanoseconds.unsigned_abs())
            .expect("the size is computed for the longest time and length");
        let left = free.len();
        tag.len = u8::try_from(TAG_BYTES_MAX - left).expect("the maximum is below 256");
        tag
    }

    /// The tag as it stands in a field, with its quotes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for EntityTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

/// What tells one version of a representation from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validators {
    /// The strong entity tag, where there is to be one.
    pub entity_tag: Option<EntityTag>,
    /// The modification date, in whole seconds.
    pub last_modified: HttpDate,
    /// The same date written out, once for all answers.
    pub last_modified_text: DateText,
}

impl Validators {
    /// The validators of `complete_length` bytes in this coding, of a file modified then.
    pub fn new(modified_nanoseconds: i128, complete_length: u64, coding: Coding) -> Validators {
        let seconds = modified_nanoseconds.div_euclid(1_000_000_000);
        let clamped = i64::try_from(seconds).unwrap_or(if seconds < 0 { i64::MIN } else { i64::MAX });
        let last_modified = HttpDate::from_unix(clamped);
        Validators {
            entity_tag: Some(EntityTag::strong(modified_nanoseconds, complete_length, coding)),
            last_modified,
            last_modified_text: last_modified.text(),
        }
    }
}

/// One member of an `If-Match` or `If-None-Match` list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagCondition<'a> {
    /// `*`: any representation.
    Any,
    /// A tag as the client wrote it: whether it was marked weak, and its opaque part with quotes.
    Tag {
        /// `W/` stood before it.
        weak: bool,
        /// The quoted part.
        opaque: &'a [u8],
    },
}

impl TagCondition<'_> {
    /// Strong comparison (RFC 9110 §8.8.3.2): our tags are strong, so the client's must be too.
    pub fn matches_strongly(&self, tag: Option<&EntityTag>) -> bool {
        match self {
            TagCondition::Any => true,
            TagCondition::Tag { weak, opaque } => !weak && tag.is_some_and(|tag| *opaque == tag.as_bytes()),
        }
    }

    /// Weak comparison (RFC 9110 §8.8.3.2): only the opaque parts count.
    pub fn matches_weakly(&self, tag: Option<&EntityTag>) -> bool {
        match self {
            TagCondition::Any => true,
            TagCondition::Tag { opaque, .. } => tag.is_some_and(|tag| *opaque == tag.as_bytes()),
        }
    }
}

/// The members of one line of `If-Match` or `If-None-Match`. The list ends at the first member
/// that is not an entity tag: what stands behind it cannot be told apart safely, for an opaque
/// part may hold commas.
pub fn tag_conditions(value: &[u8]) -> impl Iterator<Item = TagCondition<'_>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|b| !matches!(b, b',' | b' ' | b'\t'))?;
        let member = &rest[start..];
        let (condition, len) = tag_condition(member)?;
        let behind = trim_whitespace(&member[len..]);
        rest = if behind.is_empty() || behind[0] == b',' { behind } else { &[] };
        Some(condition)
    })
}

/// The tag or `*` at the start of `member`, and the number of its bytes.
fn tag_condition(member: &[u8]) -> Option<(TagCondition<'_>, usize)> {
    if member[0] == b'*' {
        return Some((TagCondition::Any, 1));
    }
    // RFC 9110 §8.8.3: weakness is marked by a case-sensitive `W/`.
    let weak = member.starts_with(b"W/");
    let opaque_start = if weak { 2 } else { 0 };
    let quoted = &member[opaque_start..];
    if quoted.first() != Some(&b'"') {
        return None;
    }
    let close = 1 + memchr::memchr(b'"', &quoted[1..])?;
    let opaque = &quoted[..=close];
    let valid = opaque[1..close].iter().all(|b| matches!(b, 0x21 | 0x23..=0x7E | 0x80..));
    valid.then_some((TagCondition::Tag { weak, opaque }, opaque_start + opaque.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_hold_time_and_length() {
        assert_eq!(EntityTag::strong(0x1234, 0x22, Coding::Identity).as_bytes(), b"\"1234-22\"");
        assert_eq!(EntityTag::strong(0x1234, 0x22, Coding::Brotli).as_bytes(), b"\"1234-22-br\"");
        assert_eq!(EntityTag::strong(-1, 0, Coding::Identity).as_bytes(), b"\"-1-0\"");
        assert_ne!(EntityTag::strong(-1, 0, Coding::Identity), EntityTag::strong(1, 0, Coding::Identity));
        let extreme = i128::from(i64::MIN) * 1_000_000_000;
        assert!(EntityTag::strong(extreme, u64::MAX, Coding::Gzip).as_bytes().ends_with(b"-ffffffffffffffff-gzip\""));
    }

    #[test]
    fn lists_of_tags_are_split_as_the_grammar_says() {
        let tag = |weak, opaque: &'static str| TagCondition::Tag { weak, opaque: opaque.as_bytes() };
        for (value, expected) in [
            ("", vec![]),
            ("*", vec![TagCondition::Any]),
            ("\"a\"", vec![tag(false, "\"a\"")]),
            ("\"\"", vec![tag(false, "\"\"")]),
            ("W/\"a\"", vec![tag(true, "\"a\"")]),
            ("\"a\", W/\"b\" ,,\"c\"", vec![tag(false, "\"a\""), tag(true, "\"b\""), tag(false, "\"c\"")]),
            ("\"a,b\", \"c\"", vec![tag(false, "\"a,b\""), tag(false, "\"c\"")]),
            ("w/\"a\"", vec![]),
            ("a", vec![]),
            ("\"a", vec![]),
            ("\"a b\"", vec![]),
            ("\"a\" \"b\"", vec![tag(false, "\"a\"")]),
            ("\"a\", b, \"c\"", vec![tag(false, "\"a\"")]),
        ] {
            let conditions: Vec<_> = tag_conditions(value.as_bytes()).collect();
            assert_eq!(conditions, expected, "{value:?}");
        }
    }

    #[test]
    fn weak_tags_match_weakly_only() {
        let tag = EntityTag::strong(1, 2, Coding::Identity);
        for (value, strongly, weakly) in
            [("\"1-2\"", true, true), ("W/\"1-2\"", false, true), ("\"1-3\"", false, false), ("*", true, true)]
        {
            let condition = tag_conditions(value.as_bytes()).next().expect("each row is one member");
            assert_eq!(condition.matches_strongly(Some(&tag)), strongly, "{value}");
            assert_eq!(condition.matches_weakly(Some(&tag)), weakly, "{value}");
            assert_eq!(condition.matches_weakly(None), value == "*", "{value}: without a tag, only `*` matches");
        }
    }
}

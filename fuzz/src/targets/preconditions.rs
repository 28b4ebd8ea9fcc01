//! Preconditions: whatever the field lines say, the verdict can be accounted for by them.
//!
//! The input is the field lines of a request, each ended by a line feed. The representation is
//! always the same, and its tag stands in the dictionary.
//!
//! Invariant: 304 never comes where `If-Match` fails, and 412 never without a field that asks.

use otus_httpd::http::coding::Coding;
use otus_httpd::http::date::HttpDate;
use otus_httpd::http::fields::{FieldName, Fields};
use otus_httpd::http::method::Method;
use otus_httpd::http::precondition::{Verdict, evaluate, range_applies};
use otus_httpd::http::request::{HeadLimits, Parse, parse};
use otus_httpd::http::validator::{TagCondition, Validators, tag_conditions};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024, target_bytes_max: 8 * 1024, field_lines_max: 100 };

/// 1994-11-06 08:49:37, the example of RFC 9110 §5.6.7.
const MODIFIED_SECONDS: i64 = 784_111_777;

/// Judges a request with the lines of `data`.
pub fn preconditions(data: &[u8]) {
    check_list(data);
    let mut bytes = b"GET / HTTP/1.0\r\n".to_vec();
    for line in data.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    let Ok(Parse::Complete(head)) = parse(&bytes, &LIMITS) else { return };
    let validators = Validators::new(i128::from(MODIFIED_SECONDS) * 1_000_000_000, 1000, Coding::Identity);
    check_verdict(&head.fields, &validators);
    check_if_range(&head.fields, &validators);
}

fn check_verdict(fields: &Fields<'_>, validators: &Validators) {
    let verdict = evaluate(fields, Method::Get, validators);
    // RFC 9110 §13.1: the conditions are the same for GET and HEAD.
    assert_eq!(evaluate(fields, Method::Head, validators), verdict);

    let names = |name, tag: &[u8]| fields.values(name).any(|value| contains(value, tag));
    let tag = validators.entity_tag.expect("it was made with one");
    let tag = tag.as_bytes();
    // §13.1.1: a tag that is marked weak matches nothing here.
    let names_strongly = |value: &[u8]| {
        let mut places = value.windows(tag.len()).enumerate().filter(|(_, window)| *window == tag);
        places.any(|(at, _)| !value[..at].ends_with(b"W/"))
    };
    let if_match_may_hold = fields.values(FieldName::IfMatch).any(names_strongly) || names(FieldName::IfMatch, b"*");
    let if_none_match_may_fail = names(FieldName::IfNoneMatch, tag) || names(FieldName::IfNoneMatch, b"*");
    let date = |name| fields.only(name).and_then(HttpDate::parse);
    match verdict {
        Verdict::Failed if fields.has(FieldName::IfMatch) => {}
        Verdict::Failed => {
            let unmodified_since = date(FieldName::IfUnmodifiedSince);
            assert!(unmodified_since.is_some_and(|date| date < validators.last_modified));
        }
        // §13.2.2: step 3 and 4 are reached only where 1 and 2 let pass.
        Verdict::NotModified | Verdict::Proceed => {
            assert!(!fields.has(FieldName::IfMatch) || if_match_may_hold);
        }
    }
    if verdict == Verdict::NotModified {
        if fields.has(FieldName::IfNoneMatch) {
            assert!(if_none_match_may_fail);
        } else {
            let modified_since = date(FieldName::IfModifiedSince);
            assert!(modified_since.is_some_and(|date| date >= validators.last_modified));
        }
    }
    let asks = [FieldName::IfMatch, FieldName::IfNoneMatch, FieldName::IfModifiedSince, FieldName::IfUnmodifiedSince];
    if !asks.iter().any(|name| fields.has(*name)) {
        assert_eq!(verdict, Verdict::Proceed);
    }
}

/// RFC 9110 §13.1.5: a part of this very version only, so the field must name it.
fn check_if_range(fields: &Fields<'_>, validators: &Validators) {
    let now = HttpDate::from_unix(MODIFIED_SECONDS + 60);
    let applies = range_applies(fields, validators, now);
    match fields.only(FieldName::IfRange) {
        None => assert_eq!(applies, !fields.has(FieldName::IfRange)),
        Some(value) if applies => {
            let is_tag = contains(value, validators.entity_tag.expect("it was made with one").as_bytes())
                && !value.starts_with(b"W/");
            assert!(is_tag || HttpDate::parse(value) == Some(validators.last_modified));
        }
        Some(_) => {}
    }
    // The second in which the file was modified is not over: its date proves nothing.
    if applies && range_applies(fields, validators, validators.last_modified) {
        let value = fields.only(FieldName::IfRange);
        assert!(value.is_none_or(|value| HttpDate::parse(value).is_none()));
    }
}

/// Any bytes are a list of tags, of which each is a piece, in order.
fn check_list(value: &[u8]) {
    let mut from = 0;
    for condition in tag_conditions(value) {
        let TagCondition::Tag { opaque, weak } = condition else { continue };
        let [b'"', inner @ .., b'"'] = opaque else { panic!("a tag without quotes: {}", opaque.escape_ascii()) };
        assert!(inner.iter().all(|b| *b > b' ' && !matches!(b, b'"' | 0x7F)), "{}", inner.escape_ascii());
        let text = if weak { [b"W/", opaque].concat() } else { opaque.to_vec() };
        let at = value[from..].windows(text.len()).position(|window| window == text);
        from += at.expect("a member stands in the list, behind the one before it") + text.len();
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

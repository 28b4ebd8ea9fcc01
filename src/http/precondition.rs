//! Conditional requests (RFC 9110 §13): the five preconditions in the order of §13.2.2.

use super::date::HttpDate;
use super::fields::{FieldName, Fields};
use super::method::Method;
use super::validator::{TagCondition, Validators, tag_conditions};

/// What the preconditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// 304: the client has this version.
    NotModified,
    /// 412: the client asked for another version.
    Failed,
}

/// Judges the preconditions against the selected representation (RFC 9110 §13.2.2, steps 1–4).
pub fn evaluate(fields: &Fields<'_>, method: Method, validators: &Validators) -> Verdict {
    if fields.has(FieldName::IfMatch) {
        if !any_tag(fields, FieldName::IfMatch, |tag| tag.matches_strongly(validators.entity_tag.as_ref())) {
            return Verdict::Failed;
        }
    } else if let Some(date) = date(fields, FieldName::IfUnmodifiedSince) {
        if validators.last_modified > date {
            return Verdict::Failed;
        }
    }
    // The two "if not" conditions give 304 for GET and HEAD; other methods never come here.
    debug_assert!(matches!(method, Method::Get | Method::Head));
    if fields.has(FieldName::IfNoneMatch) {
        // RFC 9110 §13.1.3: If-Modified-Since is ignored where If-None-Match is there.
        if any_tag(fields, FieldName::IfNoneMatch, |tag| tag.matches_weakly(validators.entity_tag.as_ref())) {
            return Verdict::NotModified;
        }
    } else if let Some(date) = date(fields, FieldName::IfModifiedSince) {
        if validators.last_modified <= date {
            return Verdict::NotModified;
        }
    }
    Verdict::Proceed
}

/// Whether Range applies as far as If-Range is concerned (RFC 9110 §13.1.5, step 5 of §13.2.2).
pub fn range_applies(fields: &Fields<'_>, validators: &Validators, now: HttpDate) -> bool {
    if !fields.has(FieldName::IfRange) {
        return true;
    }
    let Some(value) = fields.only(FieldName::IfRange) else { return false };
    if let Some(condition) = tag_conditions(value).next() {
        return condition != TagCondition::Any && condition.matches_strongly(validators.entity_tag.as_ref());
    }
    // RFC 9110 §8.8.2.2: a date is a strong validator only when the file cannot have changed
    // again within the second that the date names.
    HttpDate::parse(value).is_some_and(|date| date == validators.last_modified && date < now)
}

fn any_tag(fields: &Fields<'_>, name: FieldName, matches: impl Fn(&TagCondition<'_>) -> bool) -> bool {
    fields.values(name).flat_map(tag_conditions).any(|condition| matches(&condition))
}

/// A date field that can be read; one that cannot, or that came twice, is ignored (§13.1.3).
fn date(fields: &Fields<'_>, name: FieldName) -> Option<HttpDate> {
    fields.only(name).and_then(HttpDate::parse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::coding::Coding;
    use crate::http::request::{HeadLimits, Parse, RequestHead, parse};

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn validators() -> Validators {
        Validators::new(784_111_777_500_000_000, 10, Coding::Identity)
    }

    fn with_head<T>(lines: &str, look: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        let tag = String::from_utf8(validators().entity_tag.expect("it has one").as_bytes().to_vec())
            .expect("tags are ASCII");
        let lines = lines.replace("TAG", &tag).replace("BEFORE", BEFORE).replace("SAME", SAME).replace("AFTER", AFTER);
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let limits = HeadLimits { head_bytes_max: 4096, target_bytes_max: 1024, field_lines_max: 100 };
        match parse(bytes.as_bytes(), &limits) {
            Ok(Parse::Complete(head)) => look(&head),
            other => panic!("{bytes}: {other:?}"),
        }
    }

    #[test]
    fn verdicts() {
        use Verdict::*;
        for (lines, expected) in [
            ("", Proceed),
            // §13.1.2, weak comparison, lists over one line and several
            ("If-None-Match: TAG\r\n", NotModified),
            ("If-None-Match: W/TAG\r\n", NotModified),
            ("If-None-Match: \"x\", TAG\r\n", NotModified),
            ("If-None-Match: \"x\"\r\nIf-None-Match: TAG\r\n", NotModified),
            ("If-None-Match: *\r\n", NotModified),
            ("If-None-Match: \"x\"\r\n", Proceed),
            ("If-None-Match: nonsense\r\n", Proceed),
            // §13.1.3: ignored beside If-None-Match, and when unreadable or repeated
            ("If-Modified-Since: SAME\r\n", NotModified),
            ("If-Modified-Since: AFTER\r\n", NotModified),
            ("If-Modified-Since: BEFORE\r\n", Proceed),
            ("If-Modified-Since: tomorrow\r\n", Proceed),
            ("If-Modified-Since: SAME\r\nIf-Modified-Since: SAME\r\n", Proceed),
            ("If-None-Match: \"x\"\r\nIf-Modified-Since: AFTER\r\n", Proceed),
            // §13.1.1, strong comparison
            ("If-Match: TAG\r\n", Proceed),
            ("If-Match: \"x\", TAG\r\n", Proceed),
            ("If-Match: *\r\n", Proceed),
            ("If-Match: W/TAG\r\n", Failed),
            ("If-Match: \"x\"\r\n", Failed),
            // §13.1.4: ignored beside If-Match, and when unreadable
            ("If-Unmodified-Since: SAME\r\n", Proceed),
            ("If-Unmodified-Since: BEFORE\r\n", Failed),
            ("If-Unmodified-Since: never\r\n", Proceed),
            ("If-Match: TAG\r\nIf-Unmodified-Since: BEFORE\r\n", Proceed),
            // §13.2.2: 412 comes before 304
            ("If-Match: \"x\"\r\nIf-None-Match: TAG\r\n", Failed),
            ("If-Match: TAG\r\nIf-None-Match: TAG\r\n", NotModified),
        ] {
            let verdict = with_head(lines, |head| evaluate(&head.fields, head.method, &validators()));
            assert_eq!(verdict, expected, "{lines:?}");
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        let later = HttpDate::from_unix(784_111_777 + 60);
        for (lines, now, expected) in [
            ("", later, true),
            ("If-Range: TAG\r\n", later, true),
            ("If-Range: W/TAG\r\n", later, false),
            ("If-Range: \"x\"\r\n", later, false),
            ("If-Range: *\r\n", later, false),
            ("If-Range: SAME\r\n", later, true),
            ("If-Range: AFTER\r\n", later, false),
            ("If-Range: BEFORE\r\n", later, false),
            ("If-Range: nonsense\r\n", later, false),
            ("If-Range: TAG\r\nIf-Range: TAG\r\n", later, false),
            // The same second: the file may yet change without its date changing.
            ("If-Range: SAME\r\n", HttpDate::from_unix(784_111_777), false),
        ] {
            let applies = with_head(lines, |head| range_applies(&head.fields, &validators(), now));
            assert_eq!(applies, expected, "{lines:?}");
        }
    }
}

//! The form of a line: text and fields, compiled once.
//!
//! Invariant: the text of a template holds no line end, so that one exchange is one line.

use super::escape::Escape;
use super::field::Field;

/// Text and fields, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) segments: Box<[Segment]>,
    /// How values are written between the text.
    pub(super) escape: Escape,
}

/// One part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// It stands in every line.
    Text(Box<[u8]>),
    Field(Field),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A name that no field has.
    #[error("unknown field `${0}`")]
    Unknown(String),
    /// `${name` without its brace.
    #[error("`${{` without the `}}` behind the name")]
    Unclosed,
    /// A dollar with nothing behind it.
    #[error("a `$` without a name behind it; a dollar of its own is `$$`")]
    Nameless,
    /// It would make two lines of one.
    #[error("a control character other than a tab: one exchange is one line")]
    Control,
    /// It says nothing of the exchange.
    #[error("expected \"combined\", \"common\", \"json\", or a text with fields such as `$status`")]
    NoField,
}

/// What nginx calls `combined`.
const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
                        \"$http_referer\" \"$http_user_agent\"";

/// The Common Log Format.
const COMMON: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent";

/// An object a line.
const JSON: &str = "{\"time\":\"$time_iso8601\",\"remote_addr\":\"$remote_addr\",\"remote_user\":\"$remote_user\",\
                    \"request_id\":\"$request_id\",\"method\":\"$request_method\",\"uri\":\"$request_uri\",\
                    \"protocol\":\"$server_protocol\",\"host\":\"$host\",\"server_name\":\"$server_name\",\
                    \"status\":$status,\"body_bytes_sent\":$body_bytes_sent,\"bytes_sent\":$bytes_sent,\
                    \"request_length\":$request_length,\"request_time\":$request_time,\
                    \"cache_status\":\"$cache_status\",\"completion\":\"$completion\",\"connection\":$connection,\
                    \"connection_requests\":$connection_requests,\"referer\":\"$http_referer\",\
                    \"user_agent\":\"$http_user_agent\"}";

/// The names of formats.
pub const FORMATS: [&str; 3] = ["combined", "common", "json"];

impl Template {
    /// The format of this name, or the one that a text with a `$` in it describes; `escape` is for the latter.
    pub fn parse(text: &str, escape: Escape) -> Result<Template, BadTemplate> {
        match text {
            "combined" => Template::compile(COMBINED, Escape::Text),
            "common" => Template::compile(COMMON, Escape::Text),
            "json" => Template::compile(JSON, Escape::Json),
            _ => Template::compile(text, escape),
        }
    }

    fn compile(text: &str, escape: Escape) -> Result<Template, BadTemplate> {
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(BadTemplate::Control);
        }
        let mut segments = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            literal.extend_from_slice(before.as_bytes());
            if let Some(behind) = behind.strip_prefix('$') {
                literal.push(b'$');
                rest = behind;
                continue;
            }
            let (name, behind) = match behind.strip_prefix('{') {
                Some(inside) => inside.split_once('}').ok_or(BadTemplate::Unclosed)?,
                None => {
                    let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(behind.len());
                    behind.split_at(end)
                }
            };
            if name.is_empty() {
                return Err(BadTemplate::Nameless);
            }
            let field = Field::of_name(name).ok_or_else(|| BadTemplate::Unknown(name.to_owned()))?;
            if !literal.is_empty() {
                segments.push(Segment::Text(std::mem::take(&mut literal).into()));
            }
            segments.push(Segment::Field(field));
            rest = behind;
        }
        literal.extend_from_slice(rest.as_bytes());
        if segments.is_empty() {
            return Err(BadTemplate::NoField);
        }
        // The line end belongs to every line.
        literal.push(b'\n');
        segments.push(Segment::Text(literal.into()));
        Ok(Template { segments: segments.into(), escape })
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::Named;
    use super::*;

    #[test]
    fn a_template_is_text_and_fields() {
        let text = |text: &str| Segment::Text(text.as_bytes().into());
        let status = || Segment::Field(Field::Named(Named::Status));
        for (template, expected) in [
            ("$status", vec![status(), text("\n")]),
            ("a ${status}b$$", vec![text("a "), status(), text("b$\n")]),
            ("$status$status.", vec![status(), status(), text(".\n")]),
        ] {
            let compiled = Template::parse(template, Escape::Text).expect(template);
            assert_eq!(*compiled.segments, *expected, "{template}");
        }
        for (template, expected) in [
            ("$statsu", BadTemplate::Unknown("statsu".to_owned())),
            ("${status", BadTemplate::Unclosed),
            ("a $ b", BadTemplate::Nameless),
            ("${}", BadTemplate::Nameless),
            ("$status\nforged", BadTemplate::Control),
            ("", BadTemplate::NoField),
            ("combnied", BadTemplate::NoField),
        ] {
            assert_eq!(Template::parse(template, Escape::Text), Err(expected), "{template}");
        }
    }

    #[test]
    fn the_formats_with_names_are_templates() {
        for (name, escape) in FORMATS.into_iter().zip([Escape::Text, Escape::Text, Escape::Json]) {
            assert_eq!(Template::parse(name, Escape::Text).expect(name).escape, escape);
        }
    }
}

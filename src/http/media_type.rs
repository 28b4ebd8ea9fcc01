//! Media types by file name extension (RFC 9110 §8.3).
//!
//! No charset parameter is added: the bytes are the author's, and so is the knowledge of their
//! encoding (a `<meta charset>` or a byte order mark says it where it matters).

/// The media type of the file named by `path`; `None` where its name says nothing.
pub fn of_path(path: &[u8]) -> Option<&'static str> {
    let extension = extension(path)?;
    // RFC 9239 §6: text/javascript is the type, the others are obsolete aliases.
    if extension.eq_ignore_ascii_case("js") || extension.eq_ignore_ascii_case("mjs") {
        return Some("text/javascript");
    }
    mime_guess::from_ext(extension).first_raw()
}

/// What stands behind the last dot of the last segment, where that is a text.
pub fn extension(path: &[u8]) -> Option<&str> {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    let dot = name.iter().rposition(|b| *b == b'.')?;
    std::str::from_utf8(&name[dot + 1..]).ok()
}

/// Whether content of this type is text, for which an encoding of characters can be named.
pub fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/")
        || matches!(essence(media_type), "application/xml" | "application/xhtml+xml" | "image/svg+xml")
}

/// Whether content of this type becomes smaller by compression: what is not compressed already.
pub fn is_compressible(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("+json")
        || COMPRESSIBLE.contains(&essence)
}

/// Types beside text that are text in disguise, or formats without a compression of their own.
const COMPRESSIBLE: [&str; 14] = [
    "application/json",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "application/rtf",
    "application/x-ndjson",
    "application/sql",
    "application/x-sh",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "font/collection",
    "image/bmp",
    "image/x-icon",
];

/// The type without its parameters.
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or(media_type).trim_end()
}

/// Whether `name` may be a type or a subtype (RFC 6838 §4.2, without the characters that no registered one has).
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_decides() {
        for (path, expected) in [
            ("/index.html", "text/html"),
            ("/splash.css", "text/css"),
            ("/jquery-1.9.1.js", "text/javascript"),
            ("/module.mjs", "text/javascript"),
            ("/160313.jpg", "image/jpeg"),
            ("/ef35c.jpeg", "image/jpeg"),
            ("/ef35c.JPG", "image/jpeg"),
            ("/logo.v2.png", "image/png"),
            ("/pic_ask.gif", "image/gif"),
            ("/b16261023.swf", "application/x-shockwave-flash"),
            ("/a.svg", "image/svg+xml"),
            ("/a.wasm", "application/wasm"),
            ("/a.json", "application/json"),
            ("/a.txt", "text/plain"),
            ("/a.woff2", "font/woff2"),
            ("/archive.tar.gz", "application/gzip"),
        ] {
            assert_eq!(of_path(path.as_bytes()), Some(expected), "{path}");
        }
        for path in [&b"/README"[..], b"/dir.d/README", b"/strange.extension-of-mine", b"/ends.", b"/bytes.\xff\xfe"] {
            assert_eq!(of_path(path), None, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn what_is_text_and_what_becomes_smaller() {
        for (media_type, text, compressible) in [
            ("text/html", true, true),
            ("text/html; charset=utf-8", true, true),
            ("image/svg+xml", true, true),
            ("application/json", false, true),
            ("application/ld+json", false, true),
            ("application/wasm", false, true),
            ("image/png", false, false),
            ("font/woff2", false, false),
            ("application/gzip", false, false),
            ("video/mp4", false, false),
            ("application/octet-stream", false, false),
        ] {
            assert_eq!((is_text(media_type), is_compressible(media_type)), (text, compressible), "{media_type}");
        }
    }
}

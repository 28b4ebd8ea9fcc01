//! Media types by file name extension (RFC 9110 §8.3).
//!
//! No charset parameter is added: the bytes are the author's, and so is the knowledge of their
//! encoding (a `<meta charset>` or a byte order mark says it where it matters).

/// What is said of a file whose name says nothing.
pub const DEFAULT: &str = "application/octet-stream";

/// The media type of the file named by `path`.
pub fn of_path(path: &[u8]) -> &'static str {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    let Some(dot) = name.iter().rposition(|b| *b == b'.') else { return DEFAULT };
    let Ok(extension) = std::str::from_utf8(&name[dot + 1..]) else { return DEFAULT };
    // RFC 9239 §6: text/javascript is the type, the others are obsolete aliases.
    if extension.eq_ignore_ascii_case("js") || extension.eq_ignore_ascii_case("mjs") {
        return "text/javascript";
    }
    mime_guess::from_ext(extension).first_raw().unwrap_or(DEFAULT)
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
            ("/README", DEFAULT),
            ("/dir.d/README", DEFAULT),
            ("/strange.extension-of-mine", DEFAULT),
            ("/ends.", DEFAULT),
        ] {
            assert_eq!(of_path(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(of_path(b"/bytes.\xff\xfe"), DEFAULT);
    }
}

//! What a site keeps to itself, judged by the path alone.

use crate::http::target::SitePath;

/// Whether a path names something hidden: a segment that begins with a dot, such as `.git` or
/// `.env`. What lies beneath `/.well-known/` is meant for the public (RFC 8615).
pub fn is_hidden(path: &SitePath<'_>) -> bool {
    let mut segments = path.segments().peekable();
    if segments.peek() == Some(&&b".well-known"[..]) {
        segments.next();
    }
    segments.any(|segment| segment.starts_with(b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotfiles_are_hidden() {
        for (path, expected) in [
            ("/", false),
            ("/a.b/c.d", false),
            ("/a..b", false),
            ("/.git/config", true),
            ("/a/.env", true),
            ("/%2egit/config", true),
            ("/...", true),
            ("/.well-known/acme-challenge/x", false),
            ("/.well-known", false),
            ("/.well-known/.git", true),
            ("/a/.well-known/x", true),
            ("/.well-known2", true),
        ] {
            let path = SitePath::parse(path).expect("each row is a valid path");
            assert_eq!(is_hidden(&path), expected, "{path:?}");
        }
    }
}

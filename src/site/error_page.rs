//! Documents of the site that go with errors in the place of the built-in texts.

use crate::http::status::Status;
use crate::http::target::SitePath;

/// Which path is sent with which errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages(Vec<(Errors, SitePath<'static>)>);

/// Some errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errors {
    /// The one with this code.
    Code(u16),
    /// All of a hundred: 4 or 5.
    Class(u16),
}

/// Why an entry of `error_page` cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadErrorPage {
    /// Not an error that this server sends.
    #[error("{0:?} is no error that the server answers with: a code such as 404, or \"4xx\" or \"5xx\"")]
    Status(String),
    /// Not a path.
    #[error("{0:?} is not a path of the site: it begins with a slash, as in \"/404.html\"")]
    Path(String),
}

impl ErrorPages {
    /// Sends `path` with the errors that `status` names: `404`, `50x` (500 to 509), `4xx`, `5xx`.
    pub fn add(&mut self, status: &str, path: &str) -> Result<(), BadErrorPage> {
        let bad_path = || BadErrorPage::Path(path.to_owned());
        if !path.starts_with('/') || path.contains(['?', '#']) || path.ends_with('/') {
            return Err(bad_path());
        }
        let path = SitePath::parse(path).map_err(|_| bad_path())?.into_owned();
        let errors = match status {
            "4xx" | "40x" => Errors::Class(4),
            "5xx" | "50x" => Errors::Class(5),
            code => {
                let known = |status: &&Status| status.code() >= 400 && code == status.code().to_string();
                let status = Status::ALL.iter().find(known).ok_or_else(|| BadErrorPage::Status(code.to_owned()))?;
                Errors::Code(status.code())
            }
        };
        self.0.push((errors, path));
        Ok(())
    }

    /// The document for `status`: that of its code before that of its class.
    pub fn of(&self, status: Status) -> Option<&SitePath<'static>> {
        let find = |wanted: Errors| self.0.iter().find(|(errors, _)| *errors == wanted).map(|(_, path)| path);
        find(Errors::Code(status.code())).or_else(|| find(Errors::Class(status.code() / 100)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_counts_before_the_class() {
        let mut pages = ErrorPages::default();
        for (status, path) in [("50x", "/50x.html"), ("503", "/busy.html"), ("404", "/404.html")] {
            pages.add(status, path).expect("each row is valid");
        }
        for (status, expected) in [
            (Status::NOT_FOUND, Some("/404.html")),
            (Status::FORBIDDEN, None),
            (Status::INTERNAL_SERVER_ERROR, Some("/50x.html")),
            (Status::SERVICE_UNAVAILABLE, Some("/busy.html")),
        ] {
            assert_eq!(pages.of(status).map(SitePath::as_bytes), expected.map(str::as_bytes), "{status:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (status, path) in [
            ("200", "/x"),
            ("404", "x"),
            ("404", ""),
            ("404", "/../x"),
            ("404", "/x?y"),
            ("6xx", "/x"),
            ("", "/x"),
            ("404", "/"),
        ] {
            assert!(ErrorPages::default().add(status, path).is_err(), "{status:?} {path:?}");
        }
    }
}

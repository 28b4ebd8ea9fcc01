//! Request methods (RFC 9110 §9): a server of files knows two, and names them when asked for
//! another.

/// What the request asks to be done with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Transfer the selected representation (RFC 9110 §9.3.1).
    Get,
    /// As GET, without the content (RFC 9110 §9.3.2).
    Head,
    /// What may be done with the target (RFC 9110 §9.3.7); answered where it is the preflight of a
    /// cross-origin request, and else as any other.
    Options,
    /// Any other token; the answer is 405 and never depends on which one it was.
    Other,
}

impl Method {
    /// What `Allow` lists (RFC 9110 §10.2.1).
    pub const ALLOWED: &'static str = "GET, HEAD";

    /// The method that `token` names; names are case-sensitive (RFC 9110 §9.1).
    pub fn from_token(token: &str) -> Method {
        match token {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "OPTIONS" => Method::Options,
            _ => Method::Other,
        }
    }
}

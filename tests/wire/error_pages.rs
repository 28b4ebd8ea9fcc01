//! Documents that a site sends with errors (`error_page`).
//!
//! Invariant: "a document of `error_page` is sent with the status of the error; preconditions and
//! ranges do not apply to it", and what belongs to the status stays.

use super::methods::check_head;
use crate::harness::server::Setup;
use crate::harness::site::{set_modified, write};
use crate::harness::{Method, Server, Site};

/// A site in which each error can be had, and its server with these documents.
fn server(site: &Site, error_page: &str) -> Server {
    site.file("file.txt", "0123456789");
    for (extension, content) in [("", "0123456789"), (".gz", "coded")] {
        set_modified(&site.file(format!("coded.js{extension}"), content), 784_111_777);
    }
    write(&site.outside().join("users"), "anna:$2y$04$PLMkgcyO4XLf3LRry8NdnulQCY1LMGj7osfY.tTC/hwSG7t1tDXHy\n");
    let users = site.outside().join("users").display().to_string();
    // The last two lead to each other, which is a failure of the configuration: 500.
    let locations = format!(
        "[{{ path = '/denied/', deny = ['all'] }},
        {{ path = '/staff/', basic_auth = {{ realm = 'staff', file = '{users}' }} }},
        {{ path = '/there', try_files = ['/back'] }}, {{ path = '/back', try_files = ['/there'] }}]"
    );
    Setup::root(&site.root())
        .set("precompressed", "['gzip']")
        .set("location", locations)
        .set("error_page", error_page)
        .start()
}

/// Requests for each error that files can cause.
const ERRORS: [(&str, &str, u16); 9] = [
    ("/absent", "", 404),
    ("/denied/x", "", 403),
    ("/staff/x", "", 401),
    ("/file.txt", "If-Match: \"x\"\r\n", 412),
    ("/file.txt", "Range: bytes=10-\r\n", 416),
    ("/file.txt", "Expect: x\r\n", 417),
    ("/coded.js", "Accept-Encoding: identity;q=0\r\n", 406),
    ("/there", "", 500),
    ("/coded.js", "Accept-Encoding: gzip\r\nIf-Match: \"x\"\r\n", 412),
];

/// Code before class, `40x` and `4xx` alike, and the built-in text where there is no document.
#[test]
fn the_document_goes_with_the_error() {
    let site = Site::new();
    for name in ["404.html", "40x.html", "50x.html", "416.json"] {
        site.file(name, format!("the document {name}"));
    }
    for (error_page, documents) in [
        ("{ 404 = '/404.html' }", &[(404, "404.html")][..]),
        ("{ 404 = '/404.html', 40x = '/40x.html' }", &[(404, "404.html"), (400, "40x.html")]),
        ("{ 4xx = '/40x.html', 416 = '/416.json' }", &[(416, "416.json"), (400, "40x.html")]),
        ("{ 50x = '/50x.html' }", &[(500, "50x.html")]),
        ("{ 500 = '/50x.html', 404 = '/absent.html' }", &[(500, "50x.html")]),
        ("{ 5xx = '/50x.html', 401 = '/40x.html' }", &[(500, "50x.html"), (401, "40x.html")]),
    ] {
        let server = server(&site, error_page);
        let mut client = server.client();
        for (target, lines, status) in ERRORS {
            let of = |code: u16| documents.iter().find(|(one, _)| *one == code).map(|(_, name)| *name);
            let document = of(status).or_else(|| of(400).filter(|_| status < 500));
            let response = client.ask(Method::Get, target, lines);
            let context = format!("{error_page}: {target} {lines:?}");
            assert_eq!(response.status, status, "{context}");
            assert!(!response.closes(), "{context}");
            match document {
                Some(name) => {
                    assert_eq!(response.content, format!("the document {name}").as_bytes(), "{context}");
                    let media_type = if name.ends_with("json") { "application/json" } else { "text/html" };
                    assert_eq!(response.field("Content-Type"), Some(media_type), "{context}");
                }
                None => assert!(response.content.starts_with(b"<!doctype html>\n"), "{context}"),
            }
            // They are of the document, and a client that sent them meant something else.
            for name in ["ETag", "Last-Modified", "Content-Encoding"] {
                assert_eq!(response.field(name), None, "{context}");
            }
            // RFC 9110 §15.5.17, §11.6.1: what belongs to the status.
            assert_eq!(response.field("Content-Range"), (status == 416).then_some("bytes */10"), "{context}");
            assert_eq!(response.field("WWW-Authenticate").is_some(), status == 401, "{context}");
            // §12.5.5, and "in all of its answers": whether it varies is a matter of the resource too.
            let vary = response.field("Vary").unwrap_or("");
            assert_eq!(vary.contains("Accept-Encoding"), target == "/coded.js", "{context}: {vary}");
            assert_eq!(vary.ends_with("Accept"), document.is_none(), "{context}: {vary}");
            check_head(&server, target, lines, &response);
        }
    }
}

/// Whatever conditions and ranges the request has, the document is sent whole.
#[test]
fn conditions_and_ranges_do_not_apply() {
    let site = Site::new();
    let document = site.pattern("404.html", 100_000);
    site.file("large/404.html", &document);
    let server = server(&site, "{ 404 = '/404.html' }");
    let mut client = server.client();
    let tag = client.get("/404.html").field("ETag").expect("it has a tag").to_owned();
    for lines in [
        "",
        "Range: bytes=0-0\r\n",
        "Range: bytes=999999-\r\n",
        "If-None-Match: *\r\n",
        "If-None-Match: TAG\r\n",
        "If-Match: \"x\"\r\n",
        "If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT\r\n",
        "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "Range: bytes=0-0\r\nIf-Range: TAG\r\n",
        "Accept: application/json\r\n",
    ] {
        let lines = lines.replace("TAG", &tag);
        let response = client.ask(Method::Get, "/absent", &lines);
        assert_eq!((response.status, response.field("Content-Range")), (404, None), "{lines:?}");
        assert_eq!(response.field("Vary"), None, "one document, whatever is accepted: {lines:?}");
        assert!(response.content == document, "{lines:?}: other bytes");
        check_head(&server, "/absent", &lines, &response);
    }
    // Asked for by its own name it is a file as any other.
    let response = client.ask(Method::Get, "/404.html", "Range: bytes=0-0\r\n");
    assert_eq!((response.status, response.content.as_slice()), (206, &document[..1]));
}

/// A document has codings as any other file; RFC 9110 §15.5.6: Allow stays.
#[test]
fn documents_are_negotiated() {
    let site = Site::new();
    for (extension, content) in [("", "the document"), (".gz", "the coded document")] {
        set_modified(&site.file(format!("error.html{extension}"), content), 784_111_777);
    }
    let server = server(&site, "{ 40x = '/error.html' }");
    let mut client = server.client();
    for (lines, content, coding) in [
        ("", "the document", None),
        ("Accept-Encoding: gzip\r\n", "the coded document", Some("gzip")),
        ("Accept-Encoding: br\r\n", "the document", None),
        ("Accept-Encoding: gzip, identity;q=0\r\n", "the coded document", Some("gzip")),
    ] {
        for request in ["GET /absent", "GET /denied/x", "POST /", "POST /absent", "OPTIONS /", "DELETE /file.txt"] {
            client.send(format!("{request} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
            let response = client.answer(Method::Get);
            let context = format!("{request} {lines:?}");
            assert!(matches!(response.status, 403..=405), "{context}");
            assert_eq!(response.field("Content-Encoding"), coding, "{context}");
            assert_eq!(response.field("Vary"), Some("Accept-Encoding"), "{context}");
            assert_eq!(response.field("Allow"), (response.status == 405).then_some("GET, HEAD"), "{context}");
            assert_eq!(response.content, content.as_bytes(), "{context}");
        }
        check_head(&server, "/absent", lines, &client.ask(Method::Get, "/absent", lines));
    }
    // None of its codings is acceptable: the built-in text has none.
    let response = client.ask(Method::Get, "/absent", "Accept-Encoding: *;q=0\r\n");
    assert_eq!((response.status, response.field("Content-Encoding")), (404, None));
    assert!(response.content.starts_with(b"<!doctype html>\n"));
}

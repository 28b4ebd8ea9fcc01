//! Files: their bytes and lengths on every file system, media types, indexes, redirects, names,
//! and everything in a directory that is not to be served.
//!
//! Invariant: an answer of 200 holds the bytes of the file that was named, all of them.

use super::methods::check_head;
use crate::harness::server::Setup;
use crate::harness::site::{pattern, set_mode};
use crate::harness::{Method, NOBODY, Server, Site, is_root, skipped};
use rustix::fs::{CWD, FileType, Mode};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Lengths around every border: a block, a span of direct reads, what is held in memory.
pub(super) const LENGTHS: [usize; 12] =
    [0, 1, 4095, 4096, 4097, 131_071, 131_072, 131_073, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 3];

#[test]
fn files_of_all_lengths() {
    let site = Site::new();
    check_lengths(&site, &site);
}

/// A file system without direct reads on most kernels.
#[test]
fn files_on_tmpfs() {
    let tmpfs = Path::new("/dev/shm");
    if !tmpfs.is_dir() {
        return skipped("a document root on tmpfs", "there is no /dev/shm");
    }
    let site = Site::under(tmpfs);
    check_lengths(&site, &site);
}

/// Writes files of all lengths into `written`, and gets each from a server of `served`, twice:
/// from the disk, and from memory where it is held there.
fn check_lengths(written: &Site, served: &Site) {
    let files: Vec<_> = LENGTHS.iter().map(|length| (format!("{length}.bin"), *length)).collect();
    let contents: Vec<_> = files.iter().map(|(name, length)| written.pattern(name, *length)).collect();
    let server = Server::of(served);
    check_contents(&server, &files, &contents);
}

fn check_contents(server: &Server, files: &[(String, usize)], contents: &[Vec<u8>]) {
    let mut client = server.client();
    for round in ["first", "second"] {
        for ((name, length), content) in files.iter().zip(contents) {
            let response = client.get(&format!("/{name}"));
            assert_eq!(response.status, 200, "{name}, {round}");
            assert_eq!(response.field("Content-Length"), Some(length.to_string().as_str()), "{name}, {round}");
            assert!(response.content == *content, "{name}, {round}: other bytes");
            if *length > 5000 {
                let response = client.ask(Method::Get, &format!("/{name}"), "Range: bytes=4090-4999\r\n");
                assert_eq!(response.status, 206, "{name}, {round}");
                assert!(response.content == content[4090..5000], "{name}, {round}: other bytes of a part");
            }
            check_head(server, &format!("/{name}"), "", &client.get(&format!("/{name}")));
        }
    }
}

/// Containers serve from overlays: a lower layer, an upper one, and a file that hides another.
#[test]
fn files_on_an_overlay() {
    let site = Site::new();
    let layers = site.outside();
    for layer in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(layers.join(layer)).expect("a directory beside the root");
    }
    let files: Vec<_> = LENGTHS.iter().map(|length| (format!("{length}.bin"), *length)).collect();
    let contents: Vec<_> = LENGTHS.iter().map(|length| pattern(*length)).collect();
    for (at, ((name, _), content)) in files.iter().zip(&contents).enumerate() {
        let layer = ["lower", "upper"][at % 2];
        std::fs::write(layers.join(layer).join(name), content).expect("a file of a layer");
        if layer == "upper" {
            std::fs::write(layers.join("lower").join(name), "hidden").expect("a file of a layer");
        }
    }
    let script =
        "mount -t overlay overlay -o lowerdir=$0/lower,upperdir=$0/upper,workdir=$0/work $0/merged && exec \"$@\"";
    let layers = layers.as_os_str();
    let wrapper = ["unshare", "-m", "sh", "-c", script].map(OsStr::new).into_iter().chain([layers]);
    let probe = std::process::Command::new("unshare").args(wrapper.clone().skip(1)).arg("true").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skipped("a document root on an overlay", "no overlay can be mounted here");
    }
    let server = Setup::root(&site.outside().join("merged")).wrapped(wrapper).start();
    check_contents(&server, &files, &contents);
}

/// RFC 9110 §8.3: the name decides, for the bytes are not looked at.
#[test]
fn media_types() {
    let site = Site::new();
    let server = Server::of(&site);
    let mut client = server.client();
    for (name, expected) in [
        ("page.html", "text/html"),
        ("page.htm", "text/html"),
        ("PAGE.HTML", "text/html"),
        ("style.css", "text/css"),
        ("code.js", "text/javascript"),
        ("code.mjs", "text/javascript"),
        ("data.json", "application/json"),
        ("plain.txt", "text/plain"),
        ("picture.jpg", "image/jpeg"),
        ("picture.jpeg", "image/jpeg"),
        ("picture.png", "image/png"),
        ("picture.gif", "image/gif"),
        ("picture.svg", "image/svg+xml"),
        ("picture.webp", "image/webp"),
        ("favicon.ico", "image/x-icon"),
        ("film.swf", "application/x-shockwave-flash"),
        ("film.mp4", "video/mp4"),
        ("font.woff2", "font/woff2"),
        ("code.wasm", "application/wasm"),
        ("paper.pdf", "application/pdf"),
        ("archive.tar.gz", "application/gzip"),
        ("two.dots.png", "image/png"),
        ("README", "application/octet-stream"),
        ("strange.zzzz", "application/octet-stream"),
        ("dir.html/README", "application/octet-stream"),
    ] {
        site.file(name, "x");
        let response = client.get(&format!("/{name}"));
        assert_eq!((response.status, response.field("Content-Type")), (200, Some(expected)), "{name}");
        check_head(&server, &format!("/{name}"), "", &response);
    }
}

#[test]
fn directories() {
    let site = Site::new();
    site.file("index.html", "the root");
    site.file("dir/index.html", "a directory");
    site.file("file.txt", "a file");
    site.file("other/start.htm", "no index by default");
    site.directory("odd/index.html");
    site.directory("bare");
    let server = Server::of(&site);
    let mut client = server.client();
    for (target, status, content) in [
        ("/", 200, "the root"),
        ("/?query", 200, "the root"),
        ("/index.html", 200, "the root"),
        ("/dir/", 200, "a directory"),
        ("//dir//", 200, "a directory"),
        ("/dir/.", 200, "a directory"),
        ("/dir/../dir/", 200, "a directory"),
        ("/bare/", 404, ""),
        ("/other/", 404, ""),
        // An index that is itself a directory is no file to send.
        ("/odd/", 404, ""),
        // A file has nothing below it.
        ("/file.txt/", 404, ""),
        ("/file.txt/x", 404, ""),
        ("/index.html/", 404, ""),
        ("/absent/", 404, ""),
        ("/absent", 404, ""),
    ] {
        let response = client.get(target);
        assert_eq!(response.status, status, "{target}");
        if status == 200 {
            assert_eq!(response.content, content.as_bytes(), "{target}");
            assert_eq!(response.field("Content-Type"), Some("text/html"), "{target}");
        }
        check_head(&server, target, "", &response);
    }
    let server = Setup::root(&site.root()).set("index", "['start.htm', 'index.html']").start();
    assert_eq!(server.get("/other/").content, b"no index by default");
    assert_eq!(server.get("/dir/").content, b"a directory");
}

/// RFC 9110 §15.4.2: the same path with a slash, encoded anew, the query as it was. It starts
/// with one slash: `//host` would be another server (RFC 3986 §4.2).
#[test]
fn a_missing_slash_is_redirected() {
    let site = Site::new();
    for name in
        ["dir/sub", "with space", "a%b", "q?h#", "evil.example", "д", "cr\r\nSet-Cookie: a=b", "\\evil", "a+b;c=d"]
    {
        site.directory(name);
    }
    let server = Server::of(&site);
    let mut client = server.client();
    for (target, location) in [
        ("/dir", "/dir/"),
        ("/dir/sub", "/dir/sub/"),
        ("/dir?", "/dir/?"),
        ("/dir?a=b&c=%20d//e?f", "/dir/?a=b&c=%20d//e?f"),
        ("/d%69r?%69", "/dir/?%69"),
        ("/dir/../dir", "/dir/"),
        ("/dir//sub", "/dir/sub/"),
        ("//dir", "/dir/"),
        ("//evil.example", "/evil.example/"),
        ("///evil.example", "/evil.example/"),
        ("/%2fevil.example", "/evil.example/"),
        ("//evil.example/../dir", "/dir/"),
        ("/\\evil", "/%5Cevil/"),
        ("/%5cevil", "/%5Cevil/"),
        ("http://other.example/dir", "/dir/"),
        ("http://other.example//evil.example", "/evil.example/"),
        ("/with%20space", "/with%20space/"),
        ("/a%25b", "/a%25b/"),
        ("/q%3fh%23", "/q%3Fh%23/"),
        ("/%d0%b4", "/%D0%B4/"),
        ("/a+b;c=d", "/a+b;c=d/"),
        ("/cr%0d%0aSet-Cookie:%20a=b", "/cr%0D%0ASet-Cookie:%20a=b/"),
    ] {
        let response = client.get(target);
        assert_eq!(response.status, 301, "{target}");
        assert_eq!(response.field("Location"), Some(location), "{target}");
        assert_eq!(response.field("Set-Cookie"), None, "{target}");
        check_head(&server, target, "", &response);
    }
}

/// What begins with a dot is not for the public, but for what RFC 8615 puts there.
#[test]
fn dotfiles_are_hidden() {
    let site = Site::new();
    for name in [
        ".git/config",
        ".env",
        "dir/.htpasswd",
        ".well-known/security.txt",
        ".well-known/acme-challenge/token",
        ".well-known/.secret",
        "dir/.well-known/x",
        ".well-known2",
        "...",
        "a.b/c..d",
    ] {
        site.file(name, name);
    }
    let server = Server::of(&site);
    let mut client = server.client();
    for (target, status) in [
        ("/.git/config", 404),
        ("/.git/", 404),
        // Not even a redirect, which would tell that it is there.
        ("/.git", 404),
        ("/%2egit/config", 404),
        ("/%2Egit%2fconfig", 404),
        ("/a.b/../.git/config", 404),
        ("/.env", 404),
        ("/dir/.htpasswd", 404),
        ("/...", 404),
        ("/.well-known/security.txt", 200),
        ("/.well-known/acme-challenge/token", 200),
        ("/%2ewell-known/security.txt", 200),
        ("/.well-known/.secret", 404),
        ("/.well-known/../.env", 404),
        ("/dir/.well-known/x", 404),
        ("/.well-known2", 404),
        ("/a.b/c..d", 200),
    ] {
        // Twice, for the second time something may be remembered.
        for _ in 0..2 {
            let response = client.get(target);
            assert_eq!(response.status, status, "{target}");
            check_head(&server, target, "", &response);
        }
    }
}

/// Opening a FIFO would wait for a writer, a device may act when it is opened.
#[test]
fn only_regular_files_are_served() {
    let site = Site::new();
    rustix::fs::mkfifoat(CWD, site.path("fifo"), Mode::from_raw_mode(0o644)).expect("a FIFO can be made");
    let _socket = std::os::unix::net::UnixListener::bind(site.path("socket")).expect("a socket can be made");
    site.link("fifo-link", "fifo");
    let mut targets = vec!["/fifo", "/fifo-link", "/socket", "/fifo/", "/socket/"];
    if is_root() {
        // The null device, as mknod(1) says it: c 1 3.
        let device = rustix::fs::makedev(1, 3);
        match rustix::fs::mknodat(CWD, site.path("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o644), device)
        {
            Ok(()) => targets.push("/null"),
            Err(errno) => skipped("a device in the document root", &errno.to_string()),
        }
    }
    let server = Server::of(&site);
    let mut client = server.client();
    for target in targets {
        for method in [Method::Get, Method::Head] {
            assert_eq!(client.ask(method, target, "").status, 404, "{target}");
        }
    }
}

/// Permissions do not bind root, so as root the server runs as somebody else here.
#[test]
fn what_the_server_may_not_read_is_forbidden() {
    let site = Site::new();
    set_mode(&site.file("locked.txt", "secret"), 0o000);
    set_mode(&site.file("large.bin", vec![1; 2 << 20]), 0o000);
    site.file("open.txt", "open");
    site.file("cellar/file.txt", "secret");
    site.file("attic/index.html", "secret");
    set_mode(&site.path("attic/index.html"), 0o000);
    set_mode(&site.path("cellar"), 0o000);
    let setup = Setup::root(&site.root());
    let server = if is_root() { setup.user(NOBODY).start() } else { setup.start() };
    let mut client = server.client();
    for (target, status) in [
        ("/locked.txt", 403),
        ("/large.bin", 403),
        ("/cellar/file.txt", 403),
        ("/cellar/absent", 403),
        ("/cellar/", 403),
        ("/cellar", 301),
        ("/attic/", 403),
        ("/open.txt", 200),
    ] {
        for _ in 0..2 {
            let response = client.get(target);
            assert_eq!(response.status, status, "{target}");
            assert_eq!(response.field("Retry-After"), None, "{target}");
            assert!(!response.content.windows(6).any(|window| window == b"secret"), "{target}");
            check_head(&server, target, "", &response);
        }
    }
    // What was unlocked is served from the next look on.
    set_mode(&site.path("locked.txt"), 0o644);
    crate::harness::eventually("the unlocked file", || server.get("/locked.txt").content == b"secret");
    // So that the directory can be removed, whoever runs this.
    set_mode(&site.path("cellar"), 0o755);
}

/// RFC 3986 §2: any byte of a name can be asked for, and is decoded exactly once.
#[test]
fn names_of_every_sort() {
    let site = Site::new();
    let longest = "n".repeat(255);
    let longest_target = format!("/{longest}");
    let names: [(&[u8], &str); 17] = [
        (b"with space.txt", "/with%20space.txt"),
        ("файл.txt".as_bytes(), "/%D1%84%D0%B0%D0%B9%D0%BB.txt"),
        (b"latin-\xff.txt", "/latin-%FF.txt"),
        (b"100%.txt", "/100%25.txt"),
        (b"%41.txt", "/%2541.txt"),
        (b"A.txt", "/%41.txt"),
        // A plus is a space in forms only, which are no paths.
        (b"a+b.txt", "/a+b.txt"),
        (b"a b.txt", "/a%20b.txt"),
        (b"question?.txt", "/question%3F.txt"),
        (b"hash#.txt", "/hash%23.txt"),
        (b"colon:semi;equals=.txt", "/colon:semi;equals=.txt"),
        (b"back\\slash.txt", "/back%5Cslash.txt"),
        (b"new\nline.txt", "/new%0Aline.txt"),
        (b"quote\"<>.txt", "/quote%22%3C%3E.txt"),
        (b"~tilde.txt", "/~tilde.txt"),
        (b"-r", "/-r"),
        (longest.as_bytes(), &longest_target),
    ];
    for (name, _) in names {
        site.file(OsStr::from_bytes(name), name);
    }
    let server = Server::of(&site);
    let mut client = server.client();
    for (name, target) in names {
        let response = client.get(target);
        assert_eq!((response.status, response.content.as_slice()), (200, name), "{target}");
        check_head(&server, target, "", &response);
    }
    // Longer than a name (255 bytes) and than a path (4,095) can be: not there, and no failure.
    for target in [format!("/{}", "n".repeat(256)), format!("/{}", "n".repeat(300)), "/n".repeat(3000)] {
        assert_eq!(client.get(&target).status, 404, "{} bytes", target.len());
    }
}

//! Clients that show certificates: what they are let in for, and who else is.
//!
//! Invariant: what is for clients with certificates alone is shown to nobody else, whichever way leads to it.

use super::certificates::{Made, config, serving};
use crate::harness::server::Setup;
use crate::harness::site::write;
use crate::harness::{Client, Method, Server, Site, eventually};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Another one each time.
fn authority() -> Authority {
    let mut params = CertificateParams::new(vec!["authority".to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a key signs")
}

/// A certificate that this authority vouches for.
fn signed_by(authority: &Authority) -> Made {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["client".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("an authority signs");
    let key_der = key.serialize_der();
    Made { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone(), key_der }
}

#[test]
fn clients_show_certificates_where_they_must() {
    let site = Site::new();
    site.file("index.html", "x");
    let authority = authority();
    let ca = site.outside().join("ca.crt");
    write(&ca, authority.pem());
    let (good, stranger) = (signed_by(&authority), Made::new("stranger"));
    let table = Made::new("a.example").write(&site, "a").table("tls");
    for (verify, with_none, with_good, with_stranger) in
        [("required", false, true, false), ("optional", true, true, false), ("off", true, true, true)]
    {
        let keys = format!("{table}client_ca = '{}'\nclient_verify = '{verify}'\n", ca.display());
        let server = serving(&site, &keys).start();
        for (own, expected) in [(None, with_none), (Some(&good), with_good), (Some(&stranger), with_stranger)] {
            for version in [&TLS13, &TLS12] {
                // In TLS 1.3 the client has ended its handshake before the server looks at what it showed.
                let client = server.client().secure(&config(version, own), "a.example");
                let answer = client.and_then(|mut client| {
                    let _ = client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                    client.receive(Method::Get)
                });
                let is_served = answer.is_ok_and(|response| response.status == 200);
                assert_eq!(is_served, expected, "{verify} {} {version:?}", own.is_some());
            }
        }
    }
    // Nor is what is for clients with certificates alone given to those who come without TLS.
    let keys = format!("{table}client_ca = '{}'\n", ca.display());
    let text = format!("listen = ['127.0.0.1:0', '127.0.0.1:0 tls']\nroot = '{}'\n{keys}", site.root().display());
    assert_eq!(Setup::configured(text).start().get("/").status, 421);
}

/// An authority asks without TLS and shows no certificate: it sees what lies where it looks, and nothing that a rule puts there.
#[test]
fn challenges_lead_to_nothing_else() {
    let site = Site::new();
    site.file("index.html", "secret");
    site.file("moved/token", "secret");
    site.file(".well-known/acme-challenge/token", "proof");
    site.file(".well-known/acme-challenge/directory/index.html", "proof");
    let ca = site.outside().join("ca.crt");
    write(&ca, authority().pem());
    let table = Made::new("a.example").write(&site, "a").table("tls");
    let challenge = |name: &str| format!("/.well-known/acme-challenge/{name}");
    let try_files = "try_files = ['$uri', '/index.html']";
    let rewrite = "rewrite = { from = '/.well-known/acme-challenge/moved/*', to = '/moved/$1' }";
    for (rule, path, expected) in [
        (try_files, challenge("token"), 200),
        (try_files, challenge("none"), 421),
        (try_files, challenge("../../index.html"), 421),
        (rewrite, challenge("token"), 200),
        (rewrite, challenge("moved/token"), 421),
        ("", challenge("token"), 200),
        ("", challenge("none"), 404),
        ("", challenge("directory/"), 200),
        ("", "/.well-known/acme-challenge".to_owned(), 421),
        // An index file that another place is for is still below.
        ("[[location]]\npath = '*.html'\ncache_control = 'no-cache'", challenge("directory/"), 200),
    ] {
        let (root, ca) = (site.root().display().to_string(), ca.display());
        let text = format!(
            "listen = ['127.0.0.1:0', '127.0.0.1:0 tls']\nroot = '{root}'\n{rule}\n{table}client_ca = '{ca}'\n"
        );
        let server = Setup::configured(text).start();
        let mut client = Client::connect(server.addresses()[0]).host("a.example");
        // The second time it may come from memory.
        for _ in 0..2 {
            let answer = client.get(&path);
            assert_eq!(answer.status, expected, "{rule} {path}");
            assert_eq!(answer.content == b"proof", expected == 200, "{rule} {path}");
        }
    }
}

/// What a client is told that shows this certificate on a connection of its own; nothing where its handshake fails.
fn told(server: &Server, own: &Made) -> Option<u16> {
    let mut client = server.client().secure(&config(&TLS13, Some(own)), "a.example").ok()?;
    // In TLS 1.3 the client has ended its handshake before the server looks at what it showed.
    let _ = client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.receive(Method::Get).ok().map(|answer| answer.status)
}

/// Nobody goes on by the word of an authority that was taken out, however long the connection has been open.
#[test]
fn another_authority_holds_for_open_connections_too() {
    let site = Site::new();
    site.file("index.html", "x");
    let ca = site.outside().join("ca.crt");
    let authorities = [authority(), authority()];
    let clients = [signed_by(&authorities[0]), signed_by(&authorities[1])];
    write(&ca, authorities[0].pem());
    let table = Made::new("a.example").write(&site, "a").table("tls");
    let server = serving(&site, &format!("{table}client_ca = '{}'\n", ca.display())).start();
    let open = |own| server.client().secure(&config(&TLS13, Some(own)), "a.example").expect("a handshake");
    let mut first = open(&clients[0]);
    assert_eq!(first.get("/").status, 200);
    // The same in another file: what was proved is proved still.
    write(&ca, format!("The only one.\n{}", authorities[0].pem()));
    server.wait_for_log("a.crt: read anew");
    assert_eq!(first.get("/").status, 200);
    assert!(!server.log().contains("other authorities"), "{}", server.log());
    write(&ca, authorities[1].pem());
    eventually("the other authority", || first.get("/").status == 421);
    server.wait_for_log("ca.crt: other authorities; clients have to connect anew (421)");
    assert_eq!([told(&server, &clients[0]), told(&server, &clients[1])], [None, Some(200)]);
    let mut second = open(&clients[1]);
    assert_eq!(second.get("/").status, 200);
    // By a reload, which may come before the files are looked at.
    write(&ca, authorities[0].pem());
    server.signal(Signal::HUP);
    eventually("the first authority", || second.get("/").status == 421);
    assert_eq!([told(&server, &clients[0]), told(&server, &clients[1])], [Some(200), None]);
    assert_eq!(first.get("/").status, 200, "what it has proved counts again");
}

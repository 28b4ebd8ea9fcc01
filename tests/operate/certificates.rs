//! Certificates as their administrator has to do with them: chosen by name, renewed under a server that runs, found wrong beforehand.
//!
//! Invariant: whatever happens to the files, whoever connects is shown a certificate that was good.

use crate::harness::server::{PROGRAM, Setup};
use crate::harness::site::{set_mode, write};
use crate::harness::successor::Successor;
use crate::harness::{Client, Server, Site, eventually, is_root, skipped};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Takes whatever certificate it is shown: which one it was is asked afterwards.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A client that speaks this version, with a certificate of its own or without.
pub(super) fn config(version: &'static SupportedProtocolVersion, own: Option<&Made>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[version]).expect("the provider has it");
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anything));
    Arc::new(match own {
        Some(Made { der, key_der, .. }) => {
            let key = PrivateKeyDer::try_from(key_der.clone()).expect("a key");
            builder.with_client_auth_cert(vec![der.clone()], key).expect("they belong together")
        }
        None => builder.with_no_client_auth(),
    })
}

/// A certificate and its key.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) der: CertificateDer<'static>,
    pub(super) key_der: Vec<u8>,
}

impl Made {
    pub(super) fn new(name: &str) -> Made {
        let (certificate, key) = self_signed(name, |_| {});
        let key_der = key.serialize_der();
        Made { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone(), key_der }
    }

    /// Puts both into files `STEM.crt` and `STEM.key` beside what is served.
    pub(super) fn write(&self, site: &Site, stem: &str) -> Paths {
        let paths = Paths(["crt", "key"].map(|ending| site.outside().join(format!("{stem}.{ending}"))));
        write(&paths.0[0], &self.certificate);
        write(&paths.0[1], &self.key);
        set_mode(&paths.0[1], 0o600);
        paths
    }
}

fn self_signed(name: &str, change: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    change(&mut params);
    (params.self_signed(&key).expect("a key signs"), key)
}

pub(super) struct Paths(pub(super) [PathBuf; 2]);

impl Paths {
    pub(super) fn table(&self, header: &str) -> String {
        let [certificate, key] = &self.0;
        format!("[{header}]\ncertificate = '{}'\nkey = '{}'\n", certificate.display(), key.display())
    }
}

/// Which certificate is shown to whom asks for this name.
fn shown(server: &Server, name: &str) -> Vec<u8> {
    shown_over(server, name, &TLS13).expect("a handshake")
}

fn shown_over(server: &Server, name: &str, version: &'static SupportedProtocolVersion) -> Option<Vec<u8>> {
    let mut client = server.client().secure(&config(version, None), name).ok()?;
    client.tls().peer_certificates().map(|chain| chain[0].to_vec())
}

/// A server with one certificate, on an address with TLS.
pub(super) fn serving(site: &Site, table: &str) -> Setup {
    Setup::configured(format!("listen = '127.0.0.1:0 tls'\nroot = '{}'\n{table}", site.root().display()))
}

#[test]
fn each_name_is_shown_its_own_certificate() {
    let site = Site::new();
    site.file("index.html", "x");
    let made = ["a.example", "*.b.example", "default.example"].map(|name| (name, Made::new(name)));
    let mut text = format!("listen = '127.0.0.1:0 tls'\nroot = '{}'\n", site.root().display());
    text += &made[2].1.write(&site, "default").table("tls");
    for (number, (name, made)) in made.iter().enumerate().take(2) {
        text +=
            &format!("[[site]]\nserver_name = '{name}'\n{}", made.write(&site, &number.to_string()).table("site.tls"));
        text += if number == 0 { "min_version = '1.3'\n" } else { "" };
    }
    let server = Setup::configured(text + "[[site]]\n").start();
    for (name, expected) in [
        ("a.example", 0),
        ("A.Example", 0),
        ("x.b.example", 1),
        ("x.y.b.example", 1),
        ("b.example", 2),
        ("c.example", 2),
        ("127.0.0.1", 2),
    ] {
        assert!(shown(&server, name) == *made[expected].1.der, "{name}");
    }
    assert!(shown_over(&server, "a.example", &TLS12).is_none(), "its site asks for 1.3");
    assert!(shown_over(&server, "x.b.example", &TLS12).is_some());
    // RFC 9110 §15.5.20: a connection with lesser terms does not stand for a site with others.
    let ask = |name: &str, host: &str| {
        let client = server.client().host(host).secure(&config(&TLS13, None), name);
        client.expect("a handshake").get("/").status
    };
    assert_eq!(
        [ask("x.b.example", "a.example"), ask("a.example", "x.b.example"), ask("a.example", "a.example")],
        [421, 200, 200]
    );
}

#[test]
fn a_renewed_certificate_is_shown_without_a_word() {
    let site = Site::new();
    site.file("index.html", "x");
    let [first, second, third] = [1, 2, 3].map(|_| Made::new("a.example"));
    let paths = first.write(&site, "a");
    let server = serving(&site, &paths.table("tls")).start();
    let mut open = server.client().secure(&config(&TLS13, None), "a.example").expect("a handshake");
    assert_eq!(open.get("/").status, 200);
    assert!(shown(&server, "a.example") == *first.der);
    // The key alone is another's for a while; the pair that was read before is shown on.
    write(&paths.0[1], &second.key);
    server.wait_for_log("the certificate that was read before is shown on");
    server.wait_for_log("a.key: it is the key of another certificate");
    assert!(shown(&server, "a.example") == *first.der);
    write(&paths.0[0], &second.certificate);
    eventually("the second certificate", || shown(&server, "a.example") == *second.der);
    // As clients of ACME do it: a link is put in the place of another.
    let renewed = third.write(&site, "renewed");
    for (path, target) in paths.0.iter().zip(&renewed.0) {
        let link = site.outside().join("link");
        std::os::unix::fs::symlink(target, &link).expect("a link");
        std::fs::rename(&link, path).expect("it takes its place");
    }
    eventually("the third certificate", || shown(&server, "a.example") == *third.der);
    assert_eq!(open.get("/").status, 200, "connections that are open go on");
    // A reload that finds a broken pair changes nothing.
    write(&renewed.0[0], "nothing");
    server.signal(Signal::HUP);
    server.wait_for_log("the reload is refused");
    assert!(shown(&server, "a.example") == *third.der);
}

/// A server that is about to leave looked at its certificates no more, and at nothing else all the time.
#[test]
fn who_is_about_to_leave_shows_new_certificates_too() {
    let site = Site::new();
    site.file("index.html", "x");
    let [first, second] = [1, 2].map(|_| Made::new("a.example"));
    let paths = first.write(&site, "a");
    let mut server = serving(&site, &format!("drain_delay = 86_400\n{}", paths.table("tls"))).start();
    server.signal(Signal::TERM);
    server.wait_for_log("leaving");
    second.write(&site, "a");
    eventually("the second certificate", || shown(&server, "a.example") == *second.der);
    server.signal(Signal::TERM);
    server.exit_code();
}

/// A pair in a directory that is for root alone, as certbot's are, and a server that has become somebody else.
struct Locked {
    site: Site,
    directory: PathBuf,
    paths: Paths,
    config: PathBuf,
}

impl Locked {
    fn new() -> Locked {
        let site = Site::new();
        site.file("index.html", "x");
        set_mode(&site.root(), 0o755);
        let directory = site.outside().join("locked");
        std::fs::create_dir(&directory).expect("a directory");
        set_mode(&directory, 0o700);
        let paths = Paths(["crt", "key"].map(|ending| directory.join(format!("a.{ending}"))));
        let config = site.outside().join("changing.conf");
        Locked { site, directory, paths, config }
    }

    fn put(&self, made: &Made) {
        for (path, text) in self.paths.0.iter().zip([&made.certificate, &made.key]) {
            write(&self.directory.join("new"), text);
            set_mode(&self.directory.join("new"), 0o600);
            std::fs::rename(self.directory.join("new"), path).expect("it takes its place");
        }
    }

    fn configure(&self, listen: &str, more: &str) {
        let root = self.site.root();
        let text = format!("workers = 2\ndrain_timeout = 1\nlisten = '{listen}'\nroot = '{}'\n{more}", root.display());
        write(&self.config, text);
    }

    fn setup(&self) -> Setup {
        Setup::flags([""; 0]).config_file(&self.config).drops_rights()
    }

    /// Processes that read keys for a server with this configuration, with one right of root's and no other.
    fn readers(&self) -> usize {
        let processes = std::fs::read_dir("/proc").expect("it is mounted").flatten();
        let is_reader = |process: &Path| {
            let read = |name: &str| std::fs::read(process.join(name)).unwrap_or_default();
            let config = self.config.as_os_str().as_encoded_bytes();
            read("comm") == b"otus-httpd-keys\n"
                && read("cmdline").split(|byte| *byte == 0).any(|word| word == config)
                && String::from_utf8_lossy(&read("status")).contains("CapEff:\t0000000000000004")
        };
        processes.filter(|process| is_reader(&process.path())).count()
    }
}

#[test]
fn keys_for_root_alone_are_read_anew_too() {
    if !is_root() {
        return skipped("keys_for_root_alone", "it takes root");
    }
    let locked = Locked::new();
    let [first, second, third] = [1, 2, 3].map(|_| Made::new("a.example"));
    locked.put(&first);
    locked.configure("127.0.0.1:0 tls", &locked.paths.table("tls"));
    let server = locked.setup().start();
    assert!(shown(&server, "a.example") == *first.der);
    locked.put(&second);
    eventually("the second certificate", || shown(&server, "a.example") == *second.der);
    server.signal(Signal::HUP);
    server.wait_for_log("reloaded in");
    assert!(shown(&server, "a.example") == *second.der);
    let successor = Successor::of(&server, 1);
    assert!(shown(&server, "a.example") == *second.der);
    locked.put(&third);
    eventually("the third certificate", || shown(&server, "a.example") == *third.der);
    assert_eq!(locked.readers(), 1);
    successor.signal(Signal::TERM);
    eventually("the end", || successor.has_ended());
    eventually("the end of the other process", || locked.readers() == 0);
}

/// Whoever sets up HTTPS on a server that runs has its first key read, too; and is told beforehand where that cannot be.
#[test]
fn the_first_key_for_root_alone_may_come_by_a_reload() {
    if !is_root() {
        return skipped("the_first_key_for_root_alone", "it takes root");
    }
    let locked = Locked::new();
    locked.configure("127.0.0.1:0", "");
    let server = locked.setup().start();
    assert_eq!(server.get("/").status, 200);
    eventually("the process that reads keys", || locked.readers() == 1);
    let made = Made::new("a.example");
    locked.put(&made);
    locked.configure("127.0.0.1:0 tls", &locked.paths.table("tls"));
    let check = |flag: &str| locked.setup().flag(flag).outcome();
    // Everybody may put another directory in the place of this one.
    set_mode(locked.site.outside(), 0o777);
    let [start, reload] = ["-t", "--reload-check"].map(check);
    assert_eq!((start.code, reload.code), (Some(0), Some(1)), "{}{}", start.stdout, reload.stdout);
    assert!(start.stdout.contains("reloads and upgrades will be refused meanwhile"), "{}", start.stdout);
    assert!(reload.stderr.contains("a.crt: root may read it"), "{}", reload.stderr);
    server.signal(Signal::HUP);
    server.wait_for_log("the reload is refused");
    set_mode(locked.site.outside(), 0o755);
    let reload = check("--reload-check");
    assert_eq!(reload.code, Some(0), "{}", reload.stdout);
    assert!(reload.stdout.contains("will refuse the reload, and one that root started will not"), "{}", reload.stdout);
    server.signal(Signal::HUP);
    server.wait_for_log("reloaded in");
    assert!(shown(&server, "a.example") == *made.der);
    assert_eq!(locked.readers(), 1);
}

#[test]
fn what_is_wrong_with_a_pair_is_found_beforehand() {
    let site = Site::new();
    site.file("index.html", "x");
    let (one, other) = (Made::new("a.example"), Made::new("a.example"));
    let (old, old_key) = self_signed("a.example", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases: [(&str, &str, u32, &str); 8] = [
        (&one.certificate, &one.key, 0o600, "ok       certificate: "),
        (&one.certificate, &other.key, 0o600, "error    certificate: A.key: it is the key of another certificate; "),
        (
            &format!("{}{}", other.certificate, one.certificate),
            &one.key,
            0o600,
            "error    certificate: A.crt: the certificates are in the wrong order; ",
        ),
        (&one.certificate, encrypted, 0o600, "error    certificate: A.key: the key is encrypted"),
        (&one.key, &one.key, 0o600, "error    certificate: A.crt: it holds no certificate; "),
        (&one.certificate, &one.certificate, 0o600, "error    certificate: A.key: it holds no private key; "),
        (
            &one.certificate,
            &one.key,
            0o644,
            "warning  certificate: A.key: everybody on this machine may read the key (mode 0644); `chmod o-rwx",
        ),
        (
            &old.pem(),
            &old_key.serialize_pem(),
            0o600,
            "warning  certificate: A.crt: the certificate ended on Wed, 01 Jan 2020",
        ),
    ];
    for (certificate, key, mode, expected) in cases {
        let paths = one.write(&site, "a");
        write(&paths.0[0], certificate);
        write(&paths.0[1], key);
        set_mode(&paths.0[1], mode);
        let outcome = serving(&site, &paths.table("tls")).flag("-t").outcome();
        let found = outcome.stdout.replace(&format!("{}/a.", site.outside().display()), "A.");
        assert!(found.contains(expected), "{expected}\n{found}");
        assert_eq!(outcome.code, Some(i32::from(expected.starts_with("error"))), "{found}");
        // And a start says the same in one line.
        if expected.starts_with("error") {
            let line = serving(&site, &paths.table("tls")).outcome().stderr;
            let line = line.lines().next_back().unwrap_or_default().to_owned();
            let what = expected.rsplit_once(": ").map_or("", |(_, what)| what.trim_end_matches("; "));
            assert!(line.contains(what), "{line}");
        }
    }
}

#[test]
fn clients_without_tls_are_sent_to_it() {
    let site = Site::new();
    site.file("index.html", "x");
    site.file(".well-known/acme-challenge/token", "proof");
    let tls = Made::new("a.example").write(&site, "a").table("tls");
    let text = format!(
        "listen = ['127.0.0.1:0', '127.0.0.1:0 tls']\nroot = '{}'\nredirect_https = true\n{tls}hsts = '1y; includeSubDomains'\n",
        site.root().display()
    );
    let server = Setup::configured(text).start();
    let addresses = server.addresses();
    let mut plain = Client::connect(addresses[0]).host("a.example");
    let moved = plain.get("/a%20b?c=d");
    // The port is what the configuration says, and not what the kernel chose.
    assert_eq!((moved.status, moved.field("Location")), (301, Some("https://a.example:0/a%20b?c=d")));
    assert_eq!(moved.field("Strict-Transport-Security"), None);
    let proof = plain.get("/.well-known/acme-challenge/token");
    assert_eq!((proof.status, &*proof.content), (200, &b"proof"[..]));
    let secured = Client::connect(addresses[1]).host("a.example").secure(&config(&TLS13, None), "a.example");
    let mut secured = secured.expect("a handshake");
    for path in ["/", "/nothing"] {
        let answer = secured.get(path);
        assert_eq!(answer.field("Strict-Transport-Security"), Some("max-age=31536000; includeSubDomains"), "{path}");
    }
}

#[test]
fn a_certificate_for_trials_is_made_and_told_of() {
    let site = Site::new();
    site.file("index.html", "x");
    let directory = site.outside().to_owned();
    let make = || {
        let words = ["self-signed", "a.example", "127.0.0.1", "--days", "10", "--out"];
        Command::new(PROGRAM).args(words).arg(&directory).output().expect("the program runs")
    };
    let made = make();
    assert!(made.status.success(), "{made:?}");
    let mode = |ending: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(directory.join(format!("a.example.{ending}"))).expect("it was made").permissions().mode()
            & 0o777
    };
    assert_eq!(mode("key"), 0o600);
    let again = make();
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.code() == Some(1) && stderr.contains("it is there already"), "{stderr}");
    let stdout = String::from_utf8_lossy(&made.stdout);
    let table = stdout.split_once("[tls]").expect("it says what to put into the configuration").1;
    let socket = site.outside().join("admin.sock");
    let admin = format!("admin.listen = 'unix:{}'\n", socket.display());
    let server = serving(&site, &format!("{admin}[tls]{table}")).start();
    assert!(shown_over(&server, "a.example", &TLS12).is_some());
    let told = |path: &str| String::from_utf8_lossy(&Client::connect_unix(&socket).get(path).content).into_owned();
    let status = told("/status");
    assert!(status.contains("\"days_left\":9") && status.contains("a.example.crt"), "{status}");
    let metrics = told("/metrics");
    assert!(metrics.contains("otus_httpd_certificate_expiry_timestamp_seconds{file=\""), "{metrics}");
    server.wait_for_log("the certificate ends in 9 days");
}

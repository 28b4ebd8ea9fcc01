//! What is counted, against traffic that is known to the byte.
//!
//! Invariant: every document is read by a parser that takes nothing but Prometheus' text format, version 0.0.4.

use crate::harness::server::Setup;
use crate::harness::site::set_modified;
use crate::harness::{Client, Server, Site, eventually, skipped};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// A server with an admin listener on a socket of its own, and that socket.
pub(super) fn watched(site: &Site, setup: Setup) -> (Server, PathBuf) {
    let socket = site.outside().join("admin.sock");
    let server = setup.set("admin", format!("{{ listen = 'unix:{}' }}", socket.display())).start();
    (server, socket)
}

/// The samples of a document, by their names and labels as they are written.
pub(super) struct Metrics {
    samples: BTreeMap<String, f64>,
    families: BTreeMap<String, String>,
}

impl Metrics {
    /// What is told at `socket` now.
    pub(super) fn of(socket: &std::path::Path) -> Metrics {
        let response = Client::connect_unix(socket).get("/metrics");
        assert_eq!(response.status, 200);
        assert_eq!(response.field("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        Metrics::parse(std::str::from_utf8(&response.content).expect("UTF-8"))
    }

    /// Reads a document strictly.
    fn parse(text: &str) -> Metrics {
        let mut metrics = Metrics { samples: BTreeMap::new(), families: BTreeMap::new() };
        assert!(text.ends_with('\n') && !text.contains("\n\n") && !text.contains('\r'), "lines that end in LF");
        let mut family = String::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and its meaning");
                assert!(is_name(name) && !help.trim().is_empty(), "{line}");
                let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} ") as &str));
                let kind = kind.unwrap_or_else(|| panic!("no type behind {line}"));
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{name} {kind}");
                assert!(metrics.families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is told twice");
                family = name.to_owned();
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            let name = series.split('{').next().expect("a split has a first part");
            let own = ["", "_bucket", "_sum", "_count"].iter().find(|end| name == format!("{family}{end}"));
            let is_histogram = metrics.families[&family] == "histogram";
            assert!(own.is_some_and(|end| end.is_empty() != is_histogram), "{line:?} stands under {family}");
            check_labels(&series[name.len()..]);
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
            assert!(value.is_finite() && (metrics.families[&family] == "gauge" || value >= 0.0), "{line:?}");
            assert!(metrics.samples.insert(series.to_owned(), value).is_none(), "{series} is told twice");
        }
        metrics.check_histograms();
        metrics
    }

    /// Buckets only grow, and the last of them has all.
    fn check_histograms(&self) {
        for (family, _) in self.families.iter().filter(|(_, kind)| *kind == "histogram") {
            for worker in 0.. {
                let buckets = format!("{family}_bucket{{worker=\"{worker}\",le=\"");
                let mut of_worker: Vec<(f64, f64)> = self
                    .samples
                    .range(buckets.clone()..)
                    .take_while(|(series, _)| series.starts_with(&buckets))
                    .map(|(series, count)| {
                        let bound = series[buckets.len()..].strip_suffix("\"}").expect("le is the last label");
                        (bound.parse().expect("a number, or +Inf"), *count)
                    })
                    .collect();
                if of_worker.is_empty() {
                    assert!(worker > 0, "{family} has no worker");
                    break;
                }
                of_worker.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(of_worker.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{of_worker:?}");
                let (last, all) = of_worker[of_worker.len() - 1];
                assert!(last.is_infinite());
                assert!((all - self.samples[&format!("{family}_count{{worker=\"{worker}\"}}")]).abs() < 0.5);
            }
        }
    }

    /// The sum of all series of `name` whose labels have `label`.
    pub(super) fn sum(&self, name: &str, label: &str) -> f64 {
        let is_it = |series: &str| series.split('{').next() == Some(name) && series.contains(label);
        self.samples.iter().filter(|(series, _)| is_it(series)).map(|(_, value)| value).sum()
    }

    /// The same as a count.
    pub(super) fn count(&self, name: &str, label: &str) -> u64 {
        let sum = self.sum(name, label);
        assert!(sum >= 0.0 && sum.fract() == 0.0, "{name} {sum}");
        sum as u64
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    !name.is_empty() && name.bytes().all(is_part) && !name.as_bytes()[0].is_ascii_digit()
}

fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let inner = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("labels are in braces");
    for label in inner.split(',') {
        let (name, value) = label.split_once('=').expect("a label has a value");
        assert!(is_name(name), "{labels}");
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).expect("a value is in quotes");
        assert!(!value.is_empty() && !value.contains(['"', '\\', '\n']), "{labels}");
    }
}

#[test]
fn counts_are_exact() {
    let site = Site::new();
    site.pattern("small.bin", 1000);
    site.pattern("shared.bin", 200_000);
    site.pattern("large.bin", 3 << 20);
    for name in ["small.bin", "shared.bin", "large.bin"] {
        set_modified(&site.path(name), 784_111_777);
    }
    let (server, socket) = watched(&site, Setup::root(&site.root()));
    let before = Metrics::of(&socket);
    assert_eq!(before.count("otus_httpd_requests_total", ""), 0);
    let mut asked = 0;
    let mut received = 0;
    for (line, fields, status) in [
        ("GET /small.bin", "", "200"),
        ("GET /small.bin", "", "200"),
        ("HEAD /small.bin", "", "200"),
        ("GET /small.bin", "Range: bytes=0-9\r\n", "206"),
        ("GET /small.bin", "If-None-Match: *\r\n", "304"),
        ("GET /missing", "", "404"),
        ("DELETE /small.bin", "", "405"),
        ("GET /shared.bin", "", "200"),
        ("GET /shared.bin", "", "200"),
        ("GET /large.bin", "", "200"),
        ("no request at all", "", "400"),
    ] {
        let mut client = server.client();
        let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        asked += bytes.len();
        client.send(bytes);
        let answer = client.rest().expect("it ends cleanly");
        received += answer.len();
        assert_eq!(&answer[9..12], status.as_bytes(), "{line}");
    }
    eventually("the ends of all connections", || {
        Metrics::of(&socket).count("otus_httpd_connections_closed_total", "") == 11
    });
    let metrics = Metrics::of(&socket);
    let count = |name: &str, label: &str| metrics.count(&format!("otus_httpd_{name}"), label);
    for (code, expected) in [("200", 6), ("206", 1), ("304", 1), ("404", 1), ("405", 1), ("400", 1), ("500", 0)] {
        assert_eq!(count("responses_total", &format!("code=\"{code}\"")), expected, "{code}");
    }
    for (method, expected) in [("GET", 8), ("HEAD", 1), ("OPTIONS", 0), ("other", 2)] {
        assert_eq!(count("requests_total", &format!("method=\"{method}\"")), expected, "{method}");
    }
    assert_eq!(count("sent_bytes_total", ""), received as u64);
    assert_eq!(count("received_bytes_total", ""), asked as u64);
    assert_eq!(count("request_duration_seconds_count", ""), 11);
    assert!(metrics.sum("otus_httpd_request_duration_seconds_sum", "") > 0.0);
    assert_eq!(count("connections_accepted_total", ""), 11);
    assert_eq!(count("connections_closed_total", "reason=\"finished\""), 11);
    assert_eq!(count("accept_errors_total", ""), 0);
    // Above cache_file_size_max it is read past all caches; what is read of it is whole blocks.
    assert!(count("disk_read_bytes_total", "") >= 3 << 20);
    assert!(count("disk_reads_total", "") >= 24);
    assert_eq!(count("disk_reads_in_flight", ""), 0);
    let (hits, misses) = (count("cache_hits_total", ""), count("cache_misses_total", ""));
    // Each of eight answers from a file found it, or opened it; a directory may be looked at once more when the tick changes.
    assert!(hits + misses >= 8 && misses >= 3 && hits >= 1, "{hits} hits, {misses} misses");
    eventually("the gauges of the next second", || {
        let metrics = Metrics::of(&socket);
        metrics.count("otus_httpd_cache_entries", "") >= 2
            && metrics.count("otus_httpd_shared_content_bytes", "") >= 200_000
            && metrics.count("otus_httpd_connections", "") == 0
    });
    assert_eq!(metrics.count("otus_httpd_worker_up", ""), 2);
    assert!(metrics.sum("otus_httpd_build_info", "version=\"") > 0.5);
}

#[test]
fn connections_are_told_by_what_they_are_about() {
    let site = Site::new();
    site.file("a.txt", "a");
    site.pattern("large.bin", 32 << 20);
    let (server, socket) = watched(&site, Setup::root(&site.root()));
    let _fresh: Vec<_> = (0..3).map(|_| server.client()).collect();
    let mut reading = server.client();
    reading.send("GET /a.txt HT");
    let mut idle: Vec<_> = (0..2).map(|_| server.client()).collect();
    idle.iter_mut().for_each(|client| drop(client.get("/a.txt")));
    let mut sending = server.client();
    sending.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    sending.take_some(1000);
    eventually("each in its state", || {
        let metrics = Metrics::of(&socket);
        let count = |state: &str| metrics.count("otus_httpd_connections", &format!("state=\"{state}\""));
        (count("fresh"), count("reading_head"), count("idle"), count("sending")) == (3, 1, 2, 1)
    });
    drop(sending);
    eventually("the end of the one that sends", || {
        let metrics = Metrics::of(&socket);
        metrics.count("otus_httpd_connections_closed_total", "reason=\"socket_error\"") == 1
    });
}

/// A metric as it is named in a document.
fn named_in(text: &str) -> Vec<String> {
    let part = |byte: char| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == '_';
    let mut names = Vec::new();
    for prefix in ["otus_httpd_", "process_"] {
        for (at, _) in text.match_indices(prefix) {
            if text[..at].ends_with(part) {
                continue;
            }
            let end = text[at..].find(|c| !part(c)).map_or(text.len(), |end| at + end);
            names.push(text[at..end].to_owned());
        }
    }
    names
}

/// Whoever follows the dashboard, the rules or the document must find what they name.
#[test]
fn every_metric_that_is_named_is_told() {
    let site = Site::new();
    site.file("a.txt", "a");
    let (server, socket) = watched(&site, Setup::root(&site.root()));
    assert_eq!(server.get("/a.txt").status, 200);
    let metrics = Metrics::of(&socket);
    let is_told = |name: &str| {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        metrics.families.contains_key(name)
            || family.is_some_and(|family| metrics.families.get(family).is_some_and(|kind| kind == "histogram"))
    };
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for (file, least) in [
        ("packaging/monitoring/otus-httpd.dashboard.json", 15),
        ("packaging/monitoring/otus-httpd.rules.yml", 10),
        ("docs/monitoring.md", 40),
    ] {
        let text = std::fs::read_to_string(package.join(file)).expect("it is part of the package");
        let names = named_in(&text);
        assert!(names.len() >= least, "{file} names {} metrics", names.len());
        for name in names {
            assert!(is_told(&name), "{file} names {name}, which is not told");
        }
        if file.ends_with(".json") {
            check_dashboard(&text);
        }
    }
    let rules = package.join("packaging/monitoring/otus-httpd.rules.yml");
    match Command::new("promtool").arg("check").arg("rules").arg(&rules).output() {
        Ok(outcome) => {
            assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
        }
        Err(error) => skipped("promtool check rules", &error.to_string()),
    }
}

/// What Grafana wants of a dashboard: panels that do not overlap, each with a number and a query.
fn check_dashboard(text: &str) {
    let dashboard: serde_json::Value = serde_json::from_str(text).expect("a dashboard is JSON");
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39) && dashboard["uid"].is_string());
    let panels = dashboard["panels"].as_array().expect("a dashboard has panels");
    let mut ids = Vec::new();
    let mut cells = std::collections::BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a panel has a title");
        ids.push(panel["id"].as_u64().expect("a panel has a number"));
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{title} has no {key}"));
        assert!(place("x") + place("w") <= 24, "{title}");
        for cell in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(cells.insert((place("x") + cell.0, place("y") + cell.1)), "{title} lies over another");
        }
        if panel["type"] != "row" {
            let targets = panel["targets"].as_array().expect("a panel has queries");
            assert!(
                targets.iter().all(|target| target["expr"].as_str().is_some_and(|expr| !expr.is_empty())),
                "{title}"
            );
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), panels.len());
}

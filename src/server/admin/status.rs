//! The state of the server as one document: written as JSON and as a page, read by `otus-httpd status`.
//!
//! Invariant: what is told is bounded, whatever is asked for and by however many.

use super::super::certificates::{Standing, unix_seconds};
use super::Scene;
use super::history::History;
use crate::counters::{self, Counters, State};
use crate::http::date::HttpDate;
use crate::observe::live::{self, Snapshot};
use crate::observe::sketch::Heavy;
use crate::observe::{journal, notes};
use crate::tls::facts::DAYS_LEFT_MIN;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::UNIX_EPOCH;

/// The state of a server.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it, with their units last")]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub started_unix_seconds: u64,
    pub uptime_seconds: u64,
    /// `serving`, `draining`, or what keeps it from serving.
    pub state: String,
    pub workers: Vec<Worker>,
    pub traffic: Traffic,
    /// Connections by what they are about.
    pub connections: Vec<Count>,
    pub connections_max: u64,
    /// Answers by status code, since the start.
    pub responses: Vec<Count>,
    pub cache: Cache,
    pub disk: Disk,
    pub trouble: Trouble,
    pub top_paths: Vec<Top>,
    pub top_clients: Vec<Top>,
    pub slowest: Vec<Slow>,
    pub transfers: Vec<Transfer>,
    pub transfers_count: u64,
    pub listeners: Vec<String>,
    pub sites: Vec<String>,
    pub certificates: Vec<Certificate>,
    pub notes: Vec<Note>,
}

/// A worker.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it, with their units last")]
pub struct Worker {
    pub index: usize,
    pub is_up: bool,
    pub beat_age_seconds: f64,
    /// The part of the last second that its thread had the CPU.
    pub busy_share: f64,
    pub connections: u64,
    pub requests_per_second: f64,
    pub sent_bytes_per_second: f64,
    pub restarts: u64,
    pub stalls: u64,
    pub stall_worst_seconds: f64,
}

/// What goes on.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it, with their units last")]
pub struct Traffic {
    pub requests: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub requests_per_second: f64,
    pub sent_bytes_per_second: f64,
    pub received_bytes_per_second: f64,
    /// The last minute, second by second.
    pub requests_by_second: Vec<u64>,
    pub sent_bytes_by_second: Vec<u64>,
}

/// A word, and how often.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Count {
    pub name: String,
    pub count: u64,
}

/// What is held in memory.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it, with their units last")]
pub struct Cache {
    pub entries: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub shared_entries: u64,
    pub shared_bytes: u64,
}

/// What is read.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it, with their units last")]
pub struct Disk {
    pub reads: u64,
    pub read_bytes: u64,
    pub reads_in_flight: u64,
    pub page_cache_reads: u64,
    pub page_cache_read_bytes: u64,
}

/// What should be zero.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Trouble {
    pub accept_errors: u64,
    pub connections_refused: u64,
    pub connections_shed: u64,
    pub requests_limited: u64,
    pub slow_peers_cut: u64,
    pub log_lines_dropped: u64,
    pub reloads_failed: u64,
}

impl Trouble {
    /// Each with its name.
    pub fn rows(&self) -> [(&'static str, u64); 7] {
        [
            ("accept errors", self.accept_errors),
            ("connections refused", self.connections_refused),
            ("connections shed", self.connections_shed),
            ("requests limited", self.requests_limited),
            ("slow peers cut", self.slow_peers_cut),
            ("log lines dropped", self.log_lines_dropped),
            ("reloads refused", self.reloads_failed),
        ]
    }
}

/// One that took much lately; weights fade, half of them in a minute.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it, with their units last")]
pub struct Top {
    pub name: String,
    pub bytes: u64,
}

/// A request that took long.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it, with their units last")]
pub struct Slow {
    pub path: String,
    pub client: String,
    pub status: u16,
    pub bytes: u64,
    pub seconds: f64,
    pub ago_seconds: u64,
}

/// A transfer under way.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it, with their units last")]
pub struct Transfer {
    pub path: String,
    pub client: String,
    pub sent_bytes: u64,
    pub promised_bytes: u64,
    pub bytes_per_second: u64,
    pub seconds: f64,
}

/// A certificate that is shown to clients over TLS.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it, with their units last")]
pub struct Certificate {
    pub file: String,
    pub names: Vec<String>,
    pub ends_unix_seconds: i64,
    /// Whole ones; negative once it has ended.
    pub days_left: i64,
}

impl Certificate {
    /// Whether it should have been renewed by now.
    pub fn is_due(&self) -> bool {
        self.days_left < DAYS_LEFT_MIN
    }

    /// For people.
    pub fn days(&self) -> String {
        match self.days_left {
            days if days < 0 => "it has ended".to_owned(),
            1 => "it ends in a day".to_owned(),
            days => format!("it ends in {days} days"),
        }
    }
}

/// Whatever else there is to tell.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Note {
    pub key: String,
    pub value: String,
}

/// Rows of each list.
const ROWS_MAX: usize = 10;

/// Open transfers that are told one by one.
const TRANSFERS_MAX: usize = 20;

impl Status {
    /// The state now.
    pub(super) fn gather(scene: &Scene, history: &History) -> Status {
        let workers = scene.counters();
        let process = counters::process();
        let sum = |read: fn(&Counters) -> u64| workers.iter().map(read).sum::<u64>();
        let seen = Seen::of(live::snapshots());
        let description = scene.description();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_unix_seconds: counters::started_at().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            uptime_seconds: counters::started().elapsed().as_secs(),
            state: scene.state(),
            workers: workers.iter().enumerate().map(|(index, one)| worker(index, one, history)).collect(),
            traffic: traffic(&workers, history),
            connections: State::ALL.iter().map(|(state, word)| count(word, connections(&workers, *state))).collect(),
            connections_max: process.connections_max.get(),
            responses: responses(&workers),
            cache: Cache {
                entries: sum(|counters| counters.cache_entries.get()),
                bytes: sum(|counters| counters.cache_bytes.get()),
                bytes_max: sum(|counters| counters.cache_bytes_max.get()),
                hits: sum(|counters| counters.cache_hits.get()),
                misses: sum(|counters| counters.cache_misses.get()),
                evictions: sum(|counters| counters.cache_evictions.get()),
                shared_entries: process.shared_content.get(),
                shared_bytes: process.shared_content_bytes.get(),
            },
            disk: Disk {
                reads: sum(|counters| counters.disk_reads.get()),
                read_bytes: sum(|counters| counters.disk_read_bytes.get()),
                reads_in_flight: sum(|counters| counters.disk_reads_in_flight.get()),
                page_cache_reads: sum(|counters| counters.page_cache_reads.get()),
                page_cache_read_bytes: sum(|counters| counters.page_cache_read_bytes.get()),
            },
            trouble: Trouble {
                accept_errors: sum(|counters| counters.accept_errors.get()),
                connections_refused: sum(|counters| {
                    counters::Refused::ALL.iter().map(|(reason, _)| counters.refused(*reason).get()).sum()
                }),
                connections_shed: sum(|counters| counters.connections_shed.get()),
                requests_limited: sum(|counters| counters.requests_limited.get()),
                slow_peers_cut: sum(|counters| counters.slow_peers_cut.get()),
                log_lines_dropped: journal::dropped_lines(),
                reloads_failed: process.reloads_failed.get(),
            },
            top_paths: top(seen.paths, |name| String::from_utf8_lossy(name).into_owned()),
            top_clients: top(seen.clients, client_of_bytes),
            slowest: seen.slowest,
            transfers: seen.transfers,
            transfers_count: seen.transfers_count,
            listeners: description.listeners.clone(),
            sites: description.sites.clone(),
            certificates: certificates(&description.certificates),
            notes: notes(),
        }
    }
}

/// Each certificate, with the days that are left of it.
fn certificates(standing: &[Standing]) -> Vec<Certificate> {
    let now = unix_seconds();
    let certificate = |Standing { file, names, ends }: &Standing| Certificate {
        file: file.clone(),
        names: names.clone(),
        ends_unix_seconds: *ends,
        days_left: ends.saturating_sub(now).div_euclid(DAY_SECONDS),
    };
    standing.iter().map(certificate).collect()
}

const DAY_SECONDS: i64 = 86_400;

/// What parts of the server had to say, and when the configuration was last read.
fn notes() -> Vec<Note> {
    let reloaded = counters::process().reloaded_unix_seconds.get();
    let date = HttpDate::from_unix(i64::try_from(reloaded).unwrap_or(i64::MAX)).text();
    let date = String::from_utf8_lossy(date.as_bytes()).into_owned();
    let reloaded = (reloaded > 0).then(|| ("last reload".to_owned(), date));
    notes::all().into_iter().chain(reloaded).map(|(key, value)| Note { key, value }).collect()
}

fn worker(index: usize, counters: &Counters, history: &History) -> Worker {
    let rates = history.worker(index);
    Worker {
        index,
        is_up: super::is_beating(counters),
        beat_age_seconds: counters.since_beat().unwrap_or_default().as_secs_f64(),
        busy_share: history.busy(index),
        connections: State::ALL.iter().map(|(state, _)| counters.connections(*state).get()).sum(),
        requests_per_second: rates.requests,
        sent_bytes_per_second: rates.sent_bytes,
        restarts: counters::process().restarts(index),
        stalls: counters.stall_seconds.cumulative().last().map_or(0, |(_, count)| count),
        stall_worst_seconds: counters.stall_worst_nanoseconds.get() as f64 / 1e9,
    }
}

fn traffic(workers: &[Counters], history: &History) -> Traffic {
    let seconds = history.seconds();
    let now = seconds.last().copied().unwrap_or_default();
    Traffic {
        requests: workers.iter().flat_map(Counters::answered).map(|(_, count)| count).sum(),
        sent_bytes: workers.iter().map(|counters| counters.sent_bytes.get()).sum(),
        received_bytes: workers.iter().map(|counters| counters.received_bytes.get()).sum(),
        requests_per_second: now.requests,
        sent_bytes_per_second: now.sent_bytes,
        received_bytes_per_second: now.received_bytes,
        // Rates are no larger than counts, and no count is as large as an integer of a double can be.
        requests_by_second: seconds.iter().map(|rates| rates.requests.round() as u64).collect(),
        sent_bytes_by_second: seconds.iter().map(|rates| rates.sent_bytes.round() as u64).collect(),
    }
}

fn count(name: &str, count: u64) -> Count {
    Count { name: name.to_owned(), count }
}

fn connections(workers: &[Counters], state: State) -> u64 {
    workers.iter().map(|counters| counters.connections(state).get()).sum()
}

fn responses(workers: &[Counters]) -> Vec<Count> {
    let mut codes: Vec<(u16, u64)> = Vec::new();
    for (code, more) in workers.iter().flat_map(Counters::answered) {
        match codes.iter_mut().find(|(known, _)| *known == code) {
            Some((_, known)) => *known += more,
            None => codes.push((code, more)),
        }
    }
    codes.sort_unstable();
    codes.iter().map(|(code, known)| count(&code.to_string(), *known)).collect()
}

/// What all workers have seen.
#[derive(Default)]
struct Seen {
    paths: HashMap<Vec<u8>, u64>,
    clients: HashMap<Vec<u8>, u64>,
    slowest: Vec<Slow>,
    transfers: Vec<Transfer>,
    transfers_count: u64,
}

impl Seen {
    fn of(snapshots: Vec<Snapshot>) -> Seen {
        let mut seen = Seen::default();
        let add = |sum: &mut HashMap<Vec<u8>, u64>, heavy: Vec<Heavy>| {
            heavy.into_iter().for_each(|one| *sum.entry(one.name).or_default() += one.weight);
        };
        for snapshot in snapshots {
            add(&mut seen.paths, snapshot.paths);
            add(&mut seen.clients, snapshot.clients);
            seen.slowest.extend(snapshot.slowest.into_iter().map(|slow| Slow {
                path: String::from_utf8_lossy(&slow.path).into_owned(),
                client: client(slow.client),
                status: slow.status,
                bytes: slow.bytes,
                seconds: slow.duration.as_secs_f64(),
                ago_seconds: slow.ended.elapsed().as_secs(),
            }));
            seen.transfers_count += snapshot.transfers_count as u64;
            seen.transfers.extend(snapshot.transfers.into_iter().map(|transfer| Transfer {
                path: transfer.path,
                client: client(transfer.client),
                sent_bytes: transfer.sent_bytes,
                promised_bytes: transfer.promised_bytes,
                bytes_per_second: transfer.bytes_per_second,
                seconds: transfer.begun.elapsed().as_secs_f64(),
            }));
        }
        seen.slowest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        seen.slowest.truncate(ROWS_MAX);
        seen.transfers.sort_by_key(|transfer| std::cmp::Reverse(transfer.promised_bytes - transfer.sent_bytes));
        seen.transfers.truncate(TRANSFERS_MAX);
        seen
    }
}

fn top(weights: HashMap<Vec<u8>, u64>, name: fn(&[u8]) -> String) -> Vec<Top> {
    let mut all: Vec<_> = weights.into_iter().collect();
    all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.iter().take(ROWS_MAX).map(|(bytes, weight)| Top { name: name(bytes), bytes: *weight }).collect()
}

fn client(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "unix".to_owned(), |address| address.to_string())
}

/// The address that `bytes` are.
fn client_of_bytes(bytes: &[u8]) -> String {
    let four = <[u8; 4]>::try_from(bytes).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let sixteen = || <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    client(four.or_else(sixteen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn what_workers_saw_is_put_together_and_bounded() {
        let slow = |milliseconds| live::Slow {
            duration: Duration::from_millis(milliseconds),
            path: b"/\xff".to_vec(),
            client: None,
            status: 200,
            bytes: 1,
            ended: Instant::now(),
        };
        let snapshot = || Snapshot { slowest: (0..16).map(slow).collect(), transfers_count: 7, ..Snapshot::default() };
        let mut seen = Seen::of(vec![snapshot(), snapshot()]);
        assert_eq!((seen.slowest.len(), seen.transfers_count), (ROWS_MAX, 14));
        assert_eq!((seen.slowest[0].path.as_str(), seen.slowest[0].client.as_str()), ("/\u{fffd}", "unix"));
        assert!(seen.slowest[0].seconds >= seen.slowest[1].seconds);
        (0..100u8).for_each(|number| seen.clients.extend([(vec![10, 0, 0, number], number.into())]));
        let clients = top(seen.clients, client_of_bytes);
        assert_eq!((clients.len(), clients[0].name.as_str(), clients[0].bytes), (ROWS_MAX, "10.0.0.99", 99));
        assert_eq!(client_of_bytes(&[0; 16]), "::");
    }

    #[test]
    fn what_is_not_known_is_read_as_nothing() {
        let status: Status = serde_json::from_str("{\"version\":\"9\",\"later\":[1]}").expect("it is JSON");
        assert_eq!((status.version.as_str(), status.workers.len()), ("9", 0));
    }
}

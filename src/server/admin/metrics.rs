//! What is counted, in Prometheus' text format (version 0.0.4).
//!
//! Order: [`FAMILIES`] names every metric once, with its meaning and where its values are · [`write`] goes through it · the
//! table of docs/monitoring.md is made of it too.
//!
//! Invariant: a family has one HELP and one TYPE line, and its samples follow at once; it is named also while it has none.

use super::super::certificates::Standing;
use super::Scene;
use crate::counters::{self, Closed, Counters, HandshakeFailure, HandshakeKind, Histogram, METHODS, Refused, State};
use crate::observe::journal;
use std::fmt::Write;
use std::time::UNIX_EPOCH;

/// One metric.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its meaning.
    pub help: &'static str,
    source: Source,
}

/// Takes a label's value, and what there is of it.
type Tell<'a> = &'a mut dyn FnMut(&str, u64);

/// Takes the words of two labels and their value.
type TellTwo<'a> = &'a mut dyn FnMut([&str; 2], u64);

/// Where values come from.
enum Source {
    /// A count of each worker.
    Count(fn(&Counters) -> u64),
    /// A count of seconds of each worker.
    Seconds(fn(&Counters) -> f64),
    /// A gauge of each worker.
    Gauge(fn(&Counters) -> f64),
    /// Counts of each worker, told apart by a label.
    CountBy(&'static str, fn(&Counters, Tell<'_>)),
    /// Counts of each worker, told apart by two labels.
    CountByTwo([&'static str; 2], fn(&Counters, TellTwo<'_>)),
    /// Gauges of each worker, told apart by a label.
    GaugeBy(&'static str, fn(&Counters, Tell<'_>)),
    /// Durations of each worker.
    Durations(fn(&Counters) -> &Histogram),
    /// A count of the process; none where the system does not tell it.
    ProcessCount(fn(&Scene) -> Option<f64>),
    /// A gauge of the process; none where the system does not tell it.
    ProcessGauge(fn(&Scene) -> Option<f64>),
    /// Counts of the process, told apart by a label.
    ProcessCountBy(&'static str, fn(&Scene, Tell<'_>)),
    /// Gauges of the process, told apart by a label.
    ProcessGaugeBy(&'static str, fn(&Scene, Tell<'_>)),
    /// A gauge of one, whose label says what there is to say.
    Info(&'static str, &'static str),
}

use Source::{
    Count, CountBy, CountByTwo, Durations, Gauge, GaugeBy, Info, ProcessCount, ProcessCountBy, ProcessGauge,
    ProcessGaugeBy, Seconds,
};

const fn family(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, help, source }
}

/// Every metric.
pub const FAMILIES: &[Family] = &[
    family("otus_httpd_build_info", "The version that runs; always 1.", Info("version", env!("CARGO_PKG_VERSION"))),
    family(
        "otus_httpd_uptime_seconds",
        "Seconds since the process began.",
        ProcessGauge(|_| Some(counters::started().elapsed().as_secs_f64())),
    ),
    family(
        "otus_httpd_ready",
        "Whether /ready says 200: all workers serve, and the server is not about to leave.",
        ProcessGauge(|scene| Some(flag(scene.unready().is_none()))),
    ),
    family(
        "otus_httpd_draining",
        "Whether the server finishes what is in flight, to end then.",
        ProcessGauge(|_| Some(flag(counters::process().is_draining.get()))),
    ),
    family("otus_httpd_workers", "Workers that there should be.", ProcessGauge(|scene| Some(scene.workers() as f64))),
    family(
        "otus_httpd_worker_up",
        "Whether the worker's heart beats.",
        Gauge(|counters| flag(super::is_beating(counters))),
    ),
    family(
        "otus_httpd_worker_heartbeat_age_seconds",
        "Seconds since the worker's heart beat, which it does once a second; 0 of a worker that does not run.",
        Gauge(|counters| counters.since_beat().unwrap_or_default().as_secs_f64()),
    ),
    family(
        "otus_httpd_worker_restarts_total",
        "Times that the worker was started anew.",
        ProcessCountBy("worker", |scene, tell| {
            (0..scene.workers()).for_each(|worker| tell(&worker.to_string(), counters::process().restarts(worker)));
        }),
    ),
    family(
        "otus_httpd_worker_cpu_seconds_total",
        "CPU time of the worker's thread.",
        Seconds(|counters| seconds(counters.cpu_nanoseconds.get())),
    ),
    family(
        "otus_httpd_requests_total",
        "Requests that were answered, by method; what was no request counts as other.",
        CountBy("method", |counters, tell| {
            METHODS.iter().for_each(|(method, word)| tell(word, counters.requests(*method).get()));
        }),
    ),
    family(
        "otus_httpd_responses_total",
        "Answers by status code.",
        CountBy("code", |counters, tell| {
            counters.answered().for_each(|(code, count)| tell(&code.to_string(), count));
        }),
    ),
    family(
        "otus_httpd_request_duration_seconds",
        "Seconds from the first byte of a request to the last byte of its answer that the socket took.",
        Durations(|counters| &counters.request_seconds),
    ),
    family("otus_httpd_received_bytes_total", "Bytes that sockets gave.", Count(|c| c.received_bytes.get())),
    family("otus_httpd_sent_bytes_total", "Bytes that sockets took.", Count(|c| c.sent_bytes.get())),
    family(
        "otus_httpd_connections",
        "Connections by what they are about, as of the last second.",
        GaugeBy("state", |counters, tell| {
            State::ALL.iter().for_each(|(state, word)| tell(word, counters.connections(*state).get()));
        }),
    ),
    family(
        "otus_httpd_connections_max",
        "The most connections that there may be; 0 where there is no limit.",
        ProcessGauge(|_| Some(counters::process().connections_max.get() as f64)),
    ),
    family("otus_httpd_connections_accepted_total", "Connections that were accepted.", Count(|c| c.accepted.get())),
    family(
        "otus_httpd_connections_closed_total",
        "Connections that ended, by reason.",
        CountBy("reason", |counters, tell| {
            Closed::ALL.iter().for_each(|(closed, word)| tell(word, counters.closed(*closed).get()));
        }),
    ),
    family(
        "otus_httpd_accept_errors_total",
        "Accepts that failed through no fault of the client, such as for want of descriptors.",
        Count(|c| c.accept_errors.get()),
    ),
    family(
        "otus_httpd_connections_refused_total",
        "Connections that were turned away, by the limit that they met.",
        CountBy("reason", |counters, tell| {
            Refused::ALL.iter().for_each(|(refused, word)| tell(word, counters.refused(*refused).get()));
        }),
    ),
    family(
        "otus_httpd_connections_shed_total",
        "Idle connections that were closed to make room.",
        Count(|c| c.connections_shed.get()),
    ),
    family(
        "otus_httpd_requests_limited_total",
        "Requests that were answered 429, as their client asked for too many.",
        Count(|c| c.requests_limited.get()),
    ),
    family(
        "otus_httpd_slow_peers_cut_total",
        "Connections that were closed because their client sent or took less than the least rate.",
        Count(|c| c.slow_peers_cut.get()),
    ),
    family(
        "otus_httpd_http2_connections_total",
        "Connections that spoke HTTP/2.",
        Count(|c| c.http2_connections.get()),
    ),
    family("otus_httpd_http2_requests_total", "Requests that came by it.", Count(|c| c.http2_requests.get())),
    family(
        "otus_httpd_http2_streams_broken_off_total",
        "Streams of it that ended before their answer did: the client did not want it any more, or broke a rule.",
        Count(|c| c.http2_streams_broken_off.get()),
    ),
    family(
        "otus_httpd_tls_handshakes_total",
        "TLS handshakes that were finished, by version, and whether an earlier session was taken up again.",
        CountByTwo(["version", "kind"], |counters, tell| {
            HandshakeKind::ALL.iter().for_each(|(kind, words)| tell(*words, counters.handshakes(*kind).get()));
        }),
    ),
    family(
        "otus_httpd_tls_handshakes_failed_total",
        "TLS handshakes that were not finished: `timeout`, `no_certificate`, `protocol`, `plain_http` (none was begun), `limited` (`tls_handshakes`), `by_peer`.",
        CountBy("reason", |counters, tell| {
            HandshakeFailure::ALL
                .iter()
                .for_each(|(failure, word)| tell(word, counters.handshakes_failed(*failure).get()));
        }),
    ),
    family("otus_httpd_cache_hits_total", "Look-ups whose file was in memory.", Count(|c| c.cache_hits.get())),
    family("otus_httpd_cache_misses_total", "Look-ups that opened a file.", Count(|c| c.cache_misses.get())),
    family(
        "otus_httpd_cache_evictions_total",
        "Entries that were put out of the cache to make room.",
        Count(|c| c.cache_evictions.get()),
    ),
    family("otus_httpd_cache_entries", "Entries of the cache.", Gauge(|c| c.cache_entries.get() as f64)),
    family(
        "otus_httpd_cache_bytes",
        "Bytes of the cache; shared content counts with each worker that holds it.",
        Gauge(|c| c.cache_bytes.get() as f64),
    ),
    family("otus_httpd_cache_bytes_max", "The most that these may be.", Gauge(|c| c.cache_bytes_max.get() as f64)),
    family(
        "otus_httpd_shared_content_entries",
        "Pieces of content that all workers share.",
        ProcessGauge(|_| Some(counters::process().shared_content.get() as f64)),
    ),
    family(
        "otus_httpd_shared_content_bytes",
        "Bytes of memory that they take.",
        ProcessGauge(|_| Some(counters::process().shared_content_bytes.get() as f64)),
    ),
    family("otus_httpd_disk_reads_total", "Reads of files through the ring.", Count(|c| c.disk_reads.get())),
    family("otus_httpd_disk_read_bytes_total", "Bytes that they gave.", Count(|c| c.disk_read_bytes.get())),
    family(
        "otus_httpd_disk_reads_in_flight",
        "Reads that are under way.",
        Gauge(|c| c.disk_reads_in_flight.get() as f64),
    ),
    family(
        "otus_httpd_page_cache_reads_total",
        "Small files that were read from the page cache of the kernel.",
        Count(|c| c.page_cache_reads.get()),
    ),
    family("otus_httpd_page_cache_read_bytes_total", "Bytes that they had.", Count(|c| c.page_cache_read_bytes.get())),
    family(
        "otus_httpd_loop_stall_seconds",
        "Rounds of a worker's loop that took longer than 10 ms, in which all others waited.",
        Durations(|counters| &counters.stall_seconds),
    ),
    family(
        "otus_httpd_loop_stall_worst_seconds",
        "The longest of them since the start, or the longest that the heart beat late.",
        Gauge(|c| seconds(c.stall_worst_nanoseconds.get())),
    ),
    family("otus_httpd_engine_turns_total", "Turns that the I/O engine was given.", Count(|c| c.engine_turns.get())),
    family(
        "otus_httpd_certificate_expiry_timestamp_seconds",
        "The last second in which a certificate that is shown holds, in seconds since 1970, by its file.",
        ProcessGaugeBy("file", |scene, tell| {
            for Standing { file, ends, .. } in &scene.description().certificates {
                tell(&escaped(file), u64::try_from(*ends).unwrap_or(0));
            }
        }),
    ),
    family(
        "otus_httpd_log_lines_dropped_total",
        "Lines of logs that were dropped, as nobody took them in time.",
        ProcessCount(|_| Some(journal::dropped_lines() as f64)),
    ),
    family(
        "otus_httpd_reloads_total",
        "Reloads of the configuration, by result.",
        ProcessCountBy("result", |_, tell| {
            tell("good", counters::process().reloads_good.get());
            tell("failed", counters::process().reloads_failed.get());
        }),
    ),
    family(
        "otus_httpd_reload_last_success_timestamp_seconds",
        "When a reload last took effect, in seconds since 1970; 0 where none did.",
        ProcessGauge(|_| Some(counters::process().reloaded_unix_seconds.get() as f64)),
    ),
    family("process_cpu_seconds_total", "CPU time of the process.", ProcessCount(|_| super::process::cpu_seconds())),
    family(
        "process_resident_memory_bytes",
        "Memory of the process that is resident.",
        ProcessGauge(|_| super::process::resident_bytes().map(|bytes| bytes as f64)),
    ),
    family(
        "process_open_fds",
        "Descriptors that are open.",
        ProcessGauge(|_| super::process::open_descriptors().map(|count| count as f64)),
    ),
    family(
        "process_max_fds",
        "Descriptors that may be open.",
        ProcessGauge(|_| super::process::descriptors_max().map(|count| count as f64)),
    ),
    family(
        "process_start_time_seconds",
        "When the process began, in seconds since 1970.",
        ProcessGauge(|_| counters::started_at().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64())),
    ),
];

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// All metrics as text.
pub(super) fn write(scene: &Scene) -> String {
    let mut text = String::with_capacity(64 * 1024);
    let workers = scene.counters();
    for family in FAMILIES {
        let name = family.name;
        // A text that grows takes all that is written to it.
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", family.help, family.kind());
        match &family.source {
            Count(read) => each(&mut text, name, &workers, |counters| read(counters) as f64),
            Gauge(read) | Seconds(read) => each(&mut text, name, &workers, read),
            CountBy(label, read) | GaugeBy(label, read) => {
                for (index, counters) in workers.iter().enumerate() {
                    read(counters, &mut |word, value| {
                        let _ = writeln!(text, "{name}{{worker=\"{index}\",{label}=\"{word}\"}} {value}");
                    });
                }
            }
            CountByTwo([first, second], read) => {
                for (index, counters) in workers.iter().enumerate() {
                    read(counters, &mut |[one, other], value| {
                        let _ = writeln!(
                            text,
                            "{name}{{worker=\"{index}\",{first}=\"{one}\",{second}=\"{other}\"}} {value}"
                        );
                    });
                }
            }
            Durations(read) => {
                for (index, counters) in workers.iter().enumerate() {
                    durations(&mut text, name, index, read(counters));
                }
            }
            ProcessCount(read) | ProcessGauge(read) => {
                if let Some(value) = read(scene) {
                    let _ = writeln!(text, "{name} {value}");
                }
            }
            ProcessCountBy(label, read) | ProcessGaugeBy(label, read) => read(scene, &mut |word, value| {
                let _ = writeln!(text, "{name}{{{label}=\"{word}\"}} {value}");
            }),
            Info(label, value) => {
                let _ = writeln!(text, "{name}{{{label}=\"{value}\"}} 1");
            }
        }
    }
    text
}

/// A label's value (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn each(text: &mut String, name: &str, workers: &[Counters], read: impl Fn(&Counters) -> f64) {
    for (index, counters) in workers.iter().enumerate() {
        let _ = writeln!(text, "{name}{{worker=\"{index}\"}} {}", read(counters));
    }
}

fn durations(text: &mut String, name: &str, worker: usize, histogram: &Histogram) {
    let mut count = 0;
    for (bound, cumulative) in histogram.cumulative() {
        let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
        let _ = writeln!(text, "{name}_bucket{{worker=\"{worker}\",le=\"{bound}\"}} {cumulative}");
        count = cumulative;
    }
    let _ = writeln!(text, "{name}_sum{{worker=\"{worker}\"}} {}", histogram.sum_seconds());
    // As the last bucket says, which may have grown since the others were read.
    let _ = writeln!(text, "{name}_count{{worker=\"{worker}\"}} {count}");
}

impl Family {
    /// What Prometheus calls its type.
    fn kind(&self) -> &'static str {
        match self.source {
            Count(_) | Seconds(_) | CountBy(..) | CountByTwo(..) | ProcessCount(_) | ProcessCountBy(..) => "counter",
            Gauge(_) | GaugeBy(..) | ProcessGauge(_) | ProcessGaugeBy(..) | Info(..) => "gauge",
            Durations(_) => "histogram",
        }
    }

    /// Its labels.
    fn labels(&self) -> Vec<&'static str> {
        match self.source {
            Count(_) | Seconds(_) | Gauge(_) => vec!["worker"],
            CountBy(label, _) | GaugeBy(label, _) => vec!["worker", label],
            CountByTwo([first, second], _) => vec!["worker", first, second],
            Durations(_) => vec!["worker", "le"],
            ProcessCount(_) | ProcessGauge(_) => Vec::new(),
            ProcessCountBy(label, _) | ProcessGaugeBy(label, _) | Info(label, _) => vec![label],
        }
    }
}

/// The metrics as a table of docs/monitoring.md.
pub fn markdown() -> String {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for family in FAMILIES {
        let labels: Vec<_> = family.labels().iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (family.name, family.kind(), family.help);
        let _ = writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_this_table() {
        let document = include_str!("../../../docs/monitoring.md");
        let table = markdown();
        assert!(document.contains(&table), "docs/monitoring.md must have this table:\n{table}");
    }

    /// <https://prometheus.io/docs/practices/naming/>: counters end in `_total`, and nothing else does; names are told once.
    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut names = Vec::new();
        for family in FAMILIES {
            let Family { name, help, .. } = family;
            assert!(name.starts_with("otus_httpd_") || name.starts_with("process_"), "{name}");
            let is_usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(name.bytes().all(is_usual), "{name}");
            assert_eq!(family.kind() == "counter", name.ends_with("_total"), "{name}");
            assert_eq!(family.kind() == "histogram", matches!(family.source, Durations(_)), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\n', '\\', '|']), "{name}: {help}");
            names.push(name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAMILIES.len());
    }
}

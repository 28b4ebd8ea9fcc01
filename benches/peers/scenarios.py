"""The table of scenarios: the work, and what otus-httpd is to reach beside the best peer.

CPU is the server's for a request, rate what it gave. A bar is a ratio to the best peer of the same
run where it names nothing else; the limit (loop.c) is no peer.

Invariant: every scenario that has a bar has it here, and nowhere else.
"""

from encrypted import Handshakes, LargeRecords, LargeStreams, Resumptions, Streams
from servers import LOGGING
from works import (Bar, Churn, Cold, Drawn, Idle, Large, Many, Missing, NotModified, Pipeline, Range, Same, Scale,
                   ScaleLarge, Start, Tail)  # fmt: skip
from wire import CLEAR_HTTP2, ECDSA, RSA

PEERS = ("nginx", "lighttpd", "h2o", "caddy")
WITH_LIMIT = (*PEERS, "loop")
# For files that are not in memory nginx has a pool of threads, at a price for those that are.
WITH_THREADS = ("nginx", "nginx-aio", "lighttpd", "h2o", "caddy")


PAGE = "/page.html"


def cpu(factor):
    return Bar("cpu_us", "<=", factor)


def rate(factor, against="best"):
    return Bar("rate", ">=", factor, against)


def absolute(metric, sign, factor):
    return Bar(metric, sign, factor, "nothing")


SCENARIOS = (
    Same("small", "keep-alive GET of 34 bytes, 64 connections", bars=[cpu(0.90)], peers=WITH_LIMIT),
    # No peer at all: ourselves with an access log, and what one costs nginx.
    Same("logging", "the same as small, beside one that logs each request (combined, to a file)",
         bars=[Bar("cpu_us", ">=", 1 / 1.10, LOGGING)], peers=(LOGGING, "nginx", "nginx-log")),
    Pipeline("pipeline", "16 pipelined GETs of 34 bytes a write, 64 connections", bars=[cpu(0.35)], peers=WITH_LIMIT),
    Drawn("mix", "1,000 files of 1-100 KB, skewed popularity, 64 connections", bars=[cpu(0.85)]),
    Large("large", "954,824 bytes, hot, 16 connections", bars=[cpu(1.0), rate(1.0)], path=PAGE, connections=16),
    Large("huge", "one file of 1 GiB, hot, 4 connections", "huge", [cpu(1.0), rate(1.0)], path="/huge.bin",
          connections=4),
    Missing("missing", "a file that is not there, 64 connections", bars=[cpu(1.0)]),
    NotModified("not-modified", "a document that the client has, 64 connections", bars=[cpu(1.0)]),
    Range("range", "8 KiB of 954,824 bytes, 64 connections", bars=[cpu(0.90)], path=PAGE),
    Churn("churn", "34 bytes, a connection a request, 100 at once", bars=[cpu(1.0)], peers=WITH_LIMIT, connections=100),
    Handshakes("handshakes", "full TLS 1.3 handshakes, ECDSA P-256, 64 at once", bars=[cpu(1.0), rate(1.0)],
               wire=ECDSA),
    Handshakes("handshakes-rsa", "the same with RSA of 2,048 bits", bars=[cpu(1.0), rate(1.0)], wire=RSA),
    Resumptions("resumptions", "resumed TLS 1.3 handshakes, by tickets, 64 at once", bars=[cpu(1.0), rate(1.0)],
                wire=ECDSA),
    Streams("h2-small", "34 bytes over HTTP/2 in TLS, 16 connections with 32 streams", bars=[cpu(1.0)], connections=16,
            wire=ECDSA),
    Streams("h2c-small", "the same in plain text", bars=[cpu(1.0)], connections=16, wire=CLEAR_HTTP2),
    LargeRecords("tls-large", "954,824 bytes, hot, over HTTP/1.1 in TLS, 16 connections", bars=[cpu(1.1)], path=PAGE,
                 connections=16, wire=ECDSA),
    LargeStreams("h2-large", "the same over HTTP/2 in TLS, one stream on each of 16 connections", bars=[cpu(1.1)],
                 path=PAGE, connections=16, wire=ECDSA),
    Cold("cold", "24 files of 64 MiB, page cache dropped, 4 clients", "cold", [rate(1.0), rate(0.9, "dd")],
         WITH_THREADS, connections=4),
    Tail("tail", "34 bytes, hot, while 4 clients read cold files of 64 MiB", "cold", [Bar("p99_us", "<=", 0.15)],
         WITH_THREADS, connections=4),
    Many("many", "200,000 files of 4 KiB, uniform, our default cache, 64 connections", "many", [rate(1.0)],
         path="/000/000.txt"),
    Many("outgrown", "the same, our cache a tenth of them", "many", [rate(0.7)], path="/000/000.txt", cache_share=0.1),
    Idle("idle", "10,000 keep-alive connections after one request each",
         bars=[absolute("bytes_a_connection", "<=", 1536), absolute("idle_cpu_ms", "<=", 0)]),
    Start("start", "process start to first answer", bars=[absolute("start_ms", "<=", 30)]),
    Scale("scale", "1 to 2 workers on 2 cores, 34 bytes, 64 pipelined", bars=[absolute("scale", ">=", 1.7)]),
    ScaleLarge("scale-large", "1 to 2 workers on 2 cores, 954,824 bytes", path=PAGE, connections=16),
)  # fmt: skip

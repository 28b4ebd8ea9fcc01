"""The probes: what is sent, how the outcome is read, what it must be, and why.

Order: how requests are written down; the probes by topic, in the order of a request's way through
the server. TAG stands for the entity tag of /file.bin at the server that is asked, SAME for its
modification date, BEFORE and AFTER for the days around it.

Invariant: `expected` is what otus-httpd must answer. The peers' answers are only reported.
"""

from collections.abc import Callable
from typing import NamedTuple

import wire


class Probe(NamedTuple):
    """One row of the table."""

    name: str
    topic: str
    request: str
    observe: Callable
    expected: str
    why: str
    methods: tuple = ("GET",)


def ask(target, *lines, method="GET", version="1.1", host="Host: a", close=True):
    """A request that is well-formed but for what the probe puts into it."""
    lines = [*([host] if host else []), *lines, *(["Connection: close"] if close else [])]
    return f"{method} {target} HTTP/{version}\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"


CANARY = ask("/canary")


def behind(request):
    """The request with a canary behind it, on a connection that could go on."""
    return request.replace("Connection: close\r\n", "") + CANARY


CHUNKED = "0\r\n\r\n"
REFUSED = "400, closed, canary silent"

PARSING = [
    ("lines that end in a bare LF", "RFC 9112 §2.2", behind("GET /file.bin HTTP/1.1\nHost: a\n\n"),
     wire.boundary, REFUSED,
     "A lone LF may be taken for a line end, or not; where two readers in a row differ, one smuggles past the other."),
    ("a folded field line", "RFC 9112 §5.2", behind(ask("/file.bin", "X-A: b", " c")), wire.boundary, REFUSED,
     "A server must refuse obs-fold or replace it; refusing leaves nobody in doubt where the field ends."),
    ("white space before the colon", "RFC 9112 §5.1", behind(ask("/file.bin", "X-A : b")), wire.boundary, REFUSED,
     "A server must answer 400: proxies have differed in what such a field is called."),
    ("CR inside of a field value", "RFC 9110 §5.5", behind(ask("/file.bin", "X-A: b\rX-B: c")), wire.boundary, REFUSED,
     "CR in a value is invalid and dangerous; it must be refused or replaced."),
    ("NUL inside of a field value", "RFC 9110 §5.5", behind(ask("/file.bin", "X-A: b\0c")), wire.boundary, REFUSED,
     "NUL in a value is invalid and dangerous; it must be refused or replaced."),
    ("no Host", "RFC 9112 §3.2", behind(ask("/file.bin", host=None)), wire.boundary, REFUSED,
     "A server must answer 400 to a 1.1 request without Host."),
    ("Host twice", "RFC 9112 §3.2", behind(ask("/file.bin", "Host: b")), wire.boundary, REFUSED,
     "A server must answer 400 to more than one Host: a cache may have looked at the other one."),
    ("Host that is no host", "RFC 9112 §3.2", behind(ask("/file.bin", host="Host: a/b")), wire.boundary, REFUSED,
     "A server must answer 400 to an invalid Host value."),
    ("version HTTP/2.0", "RFC 9110 §15.6.6", behind(ask("/file.bin", version="2.0")), wire.boundary,
     "505, closed, canary silent", "505 names the cause: the major version is not one that the server speaks."),
    ("method in small letters", "RFC 9110 §9.1", ask("/file.bin", method="get"), wire.allow, "405, Allow: GET, HEAD",
     "Methods are case-sensitive, so `get` is an unknown one; Allow tells the client which would do."),
    ("one empty line before the request", "RFC 9112 §2.2", "\r\n" + ask("/file.bin"), wire.status, "200",
     "A server should ignore at least one empty line before a request."),
    ("two empty lines before the request", "RFC 9112 §2.2", "\r\n\r\n" + behind(ask("/file.bin")),
     wire.boundary, REFUSED,
     "One is what the standard asks for; a stream of empty lines is not a request, and reading on would have no end."),
]  # fmt: skip

FRAMING = [
    ("Content-Length with Transfer-Encoding", "RFC 9112 §6.3",
     behind(ask("/file.bin", f"Content-Length: {len(CHUNKED + CANARY)}", "Transfer-Encoding: chunked") + CHUNKED),
     wire.boundary, REFUSED, "The pair is the mark of smuggling and ought to be treated as an error."),
    ("Content-Length: +5", "RFC 9112 §6.3", behind(ask("/file.bin", "Content-Length: +5") + "12345"), wire.boundary,
     REFUSED, "An invalid Content-Length must be answered with 400 and the connection closed."),
    ("two Content-Length that differ", "RFC 9112 §6.3",
     behind(ask("/file.bin", "Content-Length: 5", f"Content-Length: {5 + len(CANARY)}") + "12345"), wire.boundary,
     REFUSED, "An invalid Content-Length must be answered with 400 and the connection closed."),
    ("Transfer-Encoding in HTTP/1.0", "RFC 9112 §6.1",
     behind(ask("/file.bin", "Transfer-Encoding: chunked", "Connection: keep-alive", version="1.0") + CHUNKED),
     wire.boundary, REFUSED, "A 1.0 message with Transfer-Encoding must be treated as faulty in its framing."),
    ("Transfer-Encoding: chunked, identity", "RFC 9112 §6.3",
     behind(ask("/file.bin", "Transfer-Encoding: chunked, identity") + CHUNKED), wire.boundary, REFUSED,
     "Where chunked is not the last coding the length is unknown, and a server must answer 400 and close."),
    ("GET with content", "RFC 9112 §9.3", behind(ask("/file.bin", "Content-Length: 5") + "12345"), wire.boundary,
     "200, closed, canary silent",
     "A server may close instead of reading content that nobody wants; then no decoder of it can be fooled."),
]  # fmt: skip

TARGETS = [
    ("absolute form with another Host", "RFC 9112 §3.2.2", ask("http://b/file.bin"), wire.status, "200",
     "A server must accept the absolute form, and its authority wins over Host."),
    ("GET *", "RFC 9112 §3.2.4", ask("*"), wire.status, "400", "The asterisk form is for OPTIONS alone."),
    ("/file.bin%00.html", "RFC 3986 §7.3", ask("/file.bin%00.html"), wire.status, "400",
     "NUL ends names in the kernel's eyes, so what was checked would not be what is opened."),
    ("/%2e%2e%2foutside/secret.txt", "what is safe", ask("/%2e%2e%2foutside/secret.txt"), wire.status, "400",
     "Whoever climbs out of the root by escapes errs or means harm; 400 says so without a look at the disk."),
    ("//etc/passwd", "what is safe", ask("//etc/passwd"), wire.status, "404",
     "Two slashes are one: the path stays beneath the root."),
    ("/dir/../../outside/secret.txt", "what is safe", ask("/dir/../../outside/secret.txt"), wire.status, "400",
     "A path that climbs out of the root names nothing that could be served."),
    ("/file.bin#part", "RFC 9110 §4.2.5", ask("/file.bin#part"), wire.status, "400",
     "A fragment is never sent; a target with one matches no form of RFC 9112 §3.2."),
    ("a target of 9,000 bytes", "RFC 9110 §15.5.15", ask("/" + "a" * 9000), wire.status, "414",
     "414 names the cause: the limit of 8,192 bytes is on the target, not on the fields."),
    ("a field of 40,000 bytes", "RFC 6585 §5", ask("/file.bin", "X-A: " + "a" * 40_000), wire.status, "431",
     "431 names the cause, so that a client can drop a cookie and come again."),
    ("/.git/config", "what is safe", ask("/.git/config"), wire.status, "404",
     "A name that begins with a dot is not meant for the public; a checkout must not give its history away."),
    ("a symbolic link that leaves the root", "what is safe", ask("/way-out"), wire.status, "404",
     "What lies outside of the root was not put online, whoever made the link."),
    ("/file.bin/", "RFC 3986 §3.3", ask("/file.bin/"), wire.status, "404",
     "A slash behind a file names another resource, and there is none; a second address would only confuse caches."),
    ("a folder without its slash", "RFC 9110 §10.2.2", ask("/dir?q=1"), wire.location, "301, Location: /dir/?q=1",
     "A relative reference cannot name a wrong host, port or scheme behind a proxy, and the query goes along."),
    ("//dir without its slash", "RFC 3986 §4.2", ask("//dir"), wire.location, "301, Location: /dir/",
     "A relative reference of one slash can lead neither to a wrong port nor, as one of two would, to another host."),
    ("/dir%2Findex.html", "what is safe", ask("/dir%2Findex.html"), wire.status, "200",
     "An escaped slash is a slash before anything looks at the path, so that it cannot be used to pass a rule."),
]  # fmt: skip

METHODS = [
    ("TRACE", "RFC 9110 §9.3.8, §15.5.6", ask("/file.bin", method="TRACE"), wire.allow, "405, Allow: GET, HEAD",
     "TRACE would echo what a client sent, cookies too; a 405 must say what is allowed."),
    ("POST", "RFC 9110 §15.5.6", ask("/file.bin", "Content-Length: 0", method="POST"),
     wire.allow, "405, Allow: GET, HEAD",
     "A file takes no content; a 405 must say what is allowed."),
    ("OPTIONS", "RFC 9110 §9.3.7", ask("/file.bin", method="OPTIONS"), wire.allow, "405, Allow: GET, HEAD",
     "OPTIONS is optional, and the Allow of a 405 tells as much; POST is not allowed, so it is not named."),
    ("PUT", "RFC 9110 §15.5.6", ask("/file.bin", "Content-Length: 0", method="PUT"),
     wire.allow, "405, Allow: GET, HEAD",
     "Nothing may be written; a 405 must say what is allowed."),
    ("BREW", "RFC 9110 §15.5.6", ask("/file.bin", method="BREW"), wire.allow, "405, Allow: GET, HEAD",
     "Allow tells a client what would do; 501, which §9.1 prefers for a method that nobody knows, does not."),
]  # fmt: skip

CONDITIONALS = [
    ("If-None-Match: a list", "RFC 9110 §13.1.2", ask("/file.bin", 'If-None-Match: "x", TAG'), wire.status, "304",
     "One tag of the list matches."),
    ("If-None-Match: the tag, weak", "RFC 9110 §13.1.2", ask("/file.bin", "If-None-Match: W/TAG"), wire.status, "304",
     "If-None-Match compares weakly."),
    ("If-None-Match: *", "RFC 9110 §13.1.2", ask("/file.bin", "If-None-Match: *"), wire.status, "304",
     "The asterisk matches whatever exists."),
    ("If-Modified-Since: later", "RFC 9110 §13.1.3", ask("/file.bin", "If-Modified-Since: AFTER"), wire.status, "304",
     "Not modified since that date is what the field asks, not modified on that date."),
    ("If-Modified-Since: the date", "RFC 9110 §13.1.3", ask("/file.bin", "If-Modified-Since: SAME"), wire.status, "304",
     "The file is not newer than the date."),
    ("If-Modified-Since: garbage", "RFC 9110 §13.1.3", ask("/file.bin", "If-Modified-Since: yesterday"),
     wire.status, "200",
     "A value that is no HTTP date must be ignored."),
    ("If-Match: another tag", "RFC 9110 §13.1.1", ask("/file.bin", 'If-Match: "x"'), wire.status, "412",
     "The client wants that version or none."),
    ("If-Unmodified-Since: earlier", "RFC 9110 §13.1.4", ask("/file.bin", "If-Unmodified-Since: BEFORE"),
     wire.status, "412",
     "The file was modified since."),
    ("If-Range: another tag", "RFC 9110 §13.1.5", ask("/file.bin", "Range: bytes=0-0", 'If-Range: "x"'), wire.ranges,
     "200 of 1000 bytes", "A part of another version would corrupt what the client has."),
    ("If-Range: the date", "RFC 9110 §13.1.5", ask("/file.bin", "Range: bytes=0-0", "If-Range: SAME"), wire.ranges,
     "206 0-0/1000", "The date is that of the file, and old enough to be a strong validator."),
    ("If-Range: a later date", "RFC 9110 §13.1.5", ask("/file.bin", "Range: bytes=0-0", "If-Range: AFTER"), wire.ranges,
     "200 of 1000 bytes", "In If-Range a date must match exactly."),
    ("another If-None-Match beside If-Modified-Since", "RFC 9110 §13.1.3",
     ask("/file.bin", 'If-None-Match: "x"', "If-Modified-Since: AFTER"), wire.status, "200",
     "If-Modified-Since must be ignored beside If-None-Match."),
]  # fmt: skip

RANGES = [
    ("bytes=0-0", "RFC 9110 §14.1.2", ask("/file.bin", "Range: bytes=0-0"), wire.ranges, "206 0-0/1000",
     "First and last position are both included."),
    ("bytes=-5", "RFC 9110 §14.1.2", ask("/file.bin", "Range: bytes=-5"), wire.ranges, "206 995-999/1000",
     "A suffix is the last bytes."),
    ("bytes=-0", "RFC 9110 §14.1.2, §15.5.17", ask("/file.bin", "Range: bytes=-0"), wire.ranges, "416 */1000",
     "A suffix of no bytes cannot be satisfied; a 416 ought to tell the length."),
    ("bytes=1000-", "RFC 9110 §15.5.17", ask("/file.bin", "Range: bytes=1000-"), wire.ranges, "416 */1000",
     "It begins behind the last byte; a 416 ought to tell the length."),
    ("bytes=0-1,5-5", "RFC 9110 §15.3.7.2", ask("/file.bin", "Range: bytes=0-1,5-5"), wire.ranges, "206 in 2 parts",
     "The client gets what it asked for, and not the bytes between."),
    ("bytes=0-,0-, 200 times", "RFC 9110 §14.2", ask("/file.bin", "Range: bytes=" + ",".join(["0-"] * 200)),
     wire.ranges,
     "200 of 1000 bytes", "Whoever asks for many ranges that overlap means harm, and the whole costs least."),
    ("another unit", "RFC 9110 §14.2", ask("/file.bin", "Range: lines=0-0"), wire.ranges, "200 of 1000 bytes",
     "A unit that the server does not know must be ignored."),
    ("bytes=5-2", "RFC 9110 §14.1.1, §14.2, §15.5.17", ask("/file.bin", "Range: bytes=5-2"),
     wire.ranges, "200 of 1000 bytes",
     "A last position before the first makes the field invalid, and an invalid Range may be ignored or refused; "
     "416 says more than is true, for it is about a valid one that lies outside."),
    ("bytes=0- of an empty file", "RFC 9110 §14.1.2", ask("/empty.txt", "Range: bytes=0-"), wire.ranges, "416 */0",
     "An empty file has no first byte, so no range of it can be satisfied; to ignore the field, as the peers do, is "
     "allowed too."),
    ("HEAD with Range", "RFC 9110 §14.2", ask("/file.bin", "Range: bytes=0-0", method="HEAD"), wire.ranges,
     "200 of 1000 bytes", "Range is defined for GET only and must be ignored with any other method.", ("HEAD",)),
]  # fmt: skip

EXPECT = [
    ("Expect: 100-continue", "RFC 9110 §10.1.1",
     ask("/file.bin", "Content-Length: 5", "Expect: 100-continue", close=False), wire.statuses, "200, closed",
     "The final answer may come at once instead of 100, for the content is not wanted; then the connection closes."),
    ("Expect: something else", "RFC 9110 §10.1.1", ask("/file.bin", "Expect: tea"), wire.status, "417",
     "The server does not do what is expected, and may say so; to ignore it would let the client believe it does."),
]  # fmt: skip

NEGOTIATION = [
    ("page with gzip, Accept-Encoding: gzip", "RFC 9110 §12.5.3, §12.5.5", ask("/page.html", "Accept-Encoding: gzip"),
     wire.negotiated, "200 gzip, Vary: Accept-Encoding",
     "The sidecar file goes out as it is, and Vary keeps a cache from giving it to who cannot read it."),
    ("page with gzip, no Accept-Encoding", "RFC 9110 §12.5.5", ask("/page.html"), wire.negotiated,
     "200 identity, Vary: Accept-Encoding",
     "Vary belongs on the plain answer, too: else a cache gives it to all, gzip or not."),
    ("page with gzip, Accept-Encoding: gzip;q=0", "RFC 9110 §12.5.3", ask("/page.html", "Accept-Encoding: gzip;q=0"),
     wire.negotiated, "200 identity, Vary: Accept-Encoding", "A weight of zero means: not acceptable."),
    ("page with gzip, 304", "RFC 9110 §15.4.5", ask("/page.html", "Accept-Encoding: gzip", "If-None-Match: *"),
     wire.negotiated, "304, Vary: Accept-Encoding", "A 304 must have the Vary that the 200 would have had."),
    ("page with gzip, both tags", "RFC 9110 §8.8.3.3",
     ask("/page.html", "Accept-Encoding: gzip", close=False) + ask("/page.html"), wire.two_tags, "two tags",
     "Two codings are two representations, and a strong tag names one.", ("GET", "GET")),
]  # fmt: skip

CONNECTIONS = [
    ("keep-alive in HTTP/1.0", "RFC 9112 §9.3, §C.2.2",
     ask("/file.bin", "Connection: keep-alive", version="1.0", close=False),
     wire.persistence, "200, Connection: keep-alive, open",
     "A 1.0 client knows only by Connection: keep-alive in the answer that it may go on."),
    ("HTTP/1.0 without keep-alive", "RFC 9112 §9.3", ask("/file.bin", version="1.0", close=False), wire.persistence,
     "200, Connection: close, closed", "A 1.0 connection ends with its answer."),
    ("five requests in one write", "RFC 9112 §9.3.2",
     "".join(ask("/digits.txt", f"Range: bytes={n}-{n}", close=n == 4) for n in range(5)), wire.in_order,
     "5 answers, in order", "Pipelined requests are answered, all of them and in their order.", ("GET",) * 5),
    ("HEAD", "RFC 9110 §9.3.2", ask("/file.bin", method="HEAD"), wire.head_only,
     "200, Content-Length: 1000, no bytes of content", "The fields of GET, and no content.", ("HEAD",)),
    ("version of the server in a 404", "RFC 9110 §10.2.4", ask("/nothing"), wire.version_told,
     "404, no version in Server, no version in the page",
     "A version helps whoever looks for a known hole, and nobody else."),
    ("version of the server in a 400", "RFC 9110 §10.2.4", ask("/file.bin", host="Host: a b"), wire.version_told,
     "400, no version in Server, no version in the page",
     "A version helps whoever looks for a known hole, and nobody else."),
]  # fmt: skip

TOPICS = {
    "parsing": PARSING,
    "framing": FRAMING,
    "targets": TARGETS,
    "methods": METHODS,
    "conditions": CONDITIONALS,
    "ranges": RANGES,
    "expectations": EXPECT,
    "negotiation": NEGOTIATION,
    "connections": CONNECTIONS,
}


def all_probes():
    """All rows of all topics, in order."""
    return [
        Probe(name, f"{topic}, {rule}", request, observe, expected, why, *methods)
        for topic, rows in TOPICS.items()
        for name, rule, request, observe, expected, why, *methods in rows
    ]

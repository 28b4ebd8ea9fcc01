"""RFC 9113 §8: requests and answers; what makes a request malformed (§8.1.1).

Invariant: a malformed request costs its stream, and never another one.
"""

from cases import case, on_connection
from peer import *  # noqa: F403

METHOD, SCHEME, PATH, AUTHORITY = request()
EXTRA = ("x-extra", "1")


def fields_but(*names):
    return [line for line in request() if line[0] not in names]


MALFORMED = [
    ("9113 8.2.1", "a field name in capitals", request("/", ("X-EXTRA", "1"))),
    ("9113 8.2.1", "a field name with one capital", request("/", ("x-Extra", "1"))),
    ("9113 8.2.1", "a field name without a character", request("/", ("", "1"))),
    *[("9113 8.2.1", f"a field name with {byte:#04x}", request("/", (b"x-a" + bytes([byte]) + b"b", "1"))) for byte in (0, 9, 10, 13, 32, 58, 127, 128, 255)],
    *[("9113 8.2.1", f"a field value with {byte:#04x}", request("/", ("x-a", b"a" + bytes([byte]) + b"b"))) for byte in (0, 10, 13)],
    *[("9113 8.2.1", f"a field value that begins with {byte:#04x}", request("/", ("x-a", bytes([byte]) + b"b"))) for byte in (9, 32)],
    *[("9113 8.2.1", f"a field value that ends with {byte:#04x}", request("/", ("x-a", b"b" + bytes([byte])))) for byte in (9, 32)],
    ("9113 8.2.1", "a line end within a value, and another field behind it", request("/", ("x-a", "b\r\nhost: evil"))),
    *[
        ("9113 8.2.2", f"the field {name}", request("/", (name, value)))
        for name, value in [
            ("connection", "keep-alive"),
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers, deflate;q=0.5"),
            ("te", "gzip"),
        ]
    ],
    ("9113 8.3", "an unknown pseudo-header field", request("/", (":test", "ok"))),
    ("9113 8.3", "a pseudo-header field of answers", request("/", (":status", "200"))),
    ("9113 8.3", "a pseudo-header field behind a field", [*fields_but(":path"), EXTRA, PATH]),
    ("9113 8.3", "a pseudo-header field without a name", request("/", (":", "x"))),
    *[("9113 8.3.1", f"no {name}", fields_but(name)) for name in (":method", ":scheme", ":path")],
    *[("9113 8.3.1", f"{line[0]} twice", [line, *request()]) for line in request()],
    ("9113 8.3.1", "an empty :path", request("")),
    ("9113 8.3.1", "an empty :method", request(method="")),
    ("9113 8.3.1", "an empty :scheme", request(scheme="")),
    ("9113 8.3.1", "no field at all", [EXTRA]),
    ("9113 8.3.1", "a :path that does not begin with a slash", request("index.html")),
    ("9113 8.3.1", "a :path of * with GET", request("*")),
    ("9113 8.3.1", "a :path with a fragment's space", request("/a b")),
    ("9113 8.3.1", "a :path with a line end", request("/ HTTP/1.1\r\nhost: evil")),
    ("9113 8.3.1", "a :method with a space", request(method="GET /x")),
    ("9113 8.3.1", "a :method with a line end", request(method="GET\r\n")),
    ("9113 8.3.1", "an :authority with a user", request(authority="user@localhost")),
    ("9113 8.3.1", "an :authority with a space", request(authority="local host")),
    ("9113 8.3.1", "an :authority and another host", request("/", ("host", "elsewhere"))),
    ("9113 8.3.1", "two host fields", [*fields_but(":authority"), ("host", "localhost"), ("host", "localhost")]),
    ("9113 8.5", "CONNECT with :path", request(method="CONNECT", authority="localhost:80")),
    ("9113 8.5", "CONNECT without :authority", [(":method", "CONNECT")]),
    ("9113 8.1.1", "a content-length of another length than none", request("/", ("content-length", "5"))),
    ("9113 8.1.1", "a content-length that is no number", request("/", ("content-length", "x"))),
    ("9113 8.1.1", "a content-length that is negative", request("/", ("content-length", "-1"))),
    ("9113 8.1.1", "two content-lengths that differ", request("/", ("content-length", "0"), ("content-length", "1"))),
]

for _section, _title, _fields in MALFORMED:

    @on_connection(_section, f"{_title}: malformed")
    def _(peer, fields=_fields):
        peer.send(headers(1, fields))
        # §8.1.1: a server may answer with 400 in front of the reset, or instead of it.
        peer.malformed(1)
        peer.is_well(3)


GOOD = [
    ("9113 8.2.1", "a field value without a character", request("/", ("x-a", "")), "200"),
    ("9113 8.2.1", "a field value with bytes above 0x7f", request("/", ("x-a", b"\x80\xff")), "200"),
    ("9113 8.2.1", "blanks within a field value", request("/", ("x-a", "a b\tc")), "200"),
    ("9113 8.2.2", "te: trailers", request("/", ("te", "trailers")), "200"),
    ("9113 8.2.3", "cookies in several lines", request("/", ("cookie", "a=b"), ("cookie", "c=d")), "200"),
    ("9113 8.3.1", "host instead of :authority", [*fields_but(":authority"), ("host", "localhost")], "200"),
    ("9113 8.3.1", "host that is the same as :authority", request("/", ("host", "localhost")), "200"),
    ("9113 8.3.1", "pseudo-header fields in another order", [AUTHORITY, PATH, SCHEME, METHOD], "200"),
    ("9113 8.3.1", "a :path with a query", request("/?a=b&c"), "200"),
    ("9113 8.3.1", "a :path that is not there", request("/absent"), "404"),
    ("9113 8.3.1", "an :authority with a port", request(authority="localhost:8080"), "200"),
    ("9113 8.5", "CONNECT", [(":method", "CONNECT"), (":authority", "localhost:80")], "405"),
    ("9113 8.1.1", "a content-length of 0", request("/", ("content-length", "0")), "200"),
    ("9110 9.1", "another method", request(method="BREW"), "405"),
    ("9110 5.5", "forty fields", request("/", *[(f"x-{n}", "v" * 50) for n in range(40)]), "200"),
    ("9110 14.2", "a range", request("/big.bin", ("range", "bytes=0-0")), "206"),
    ("9110 13", "a condition", request("/", ("if-none-match", "*")), "304"),
    ("9113 10.5.1", "fields above the bound of the server", request("/", *[(f"x-{n}", "v" * 1000) for n in range(24)]), "431"),
    ("9110 4.1", "a :path above the bound of the server", request("/" + "a" * 12000), "414"),
]
for _section, _title, _fields, _status in GOOD:

    @on_connection(_section, f"{_title}: {_status}")
    def _(peer, fields=_fields, status=_status):
        whole = block(*fields)
        first, rest = whole[: 1 << 14], whole[1 << 14 :]
        peer.send(headers(1, first, END_STREAM | (0 if rest else END_HEADERS)))
        while rest:
            piece, rest = rest[: 1 << 14], rest[1 << 14 :]
            peer.send(frame(CONTINUATION, 0 if rest else END_HEADERS, 1, piece))
        found = peer.status(1)
        if found != status:
            raise Wrong(f"status {found}, not {status}")
        peer.is_well(3)


@on_connection("9113 8.1", "GET is answered with the whole content")
def _(peer):
    fields, content = peer.answer_to(1, request(BIG))
    length = dict(fields)["content-length"]
    if str(len(content)) != length:
        raise Wrong(f"{len(content)} bytes, not {length}")


@on_connection("9113 8.1", "HEAD is answered without content, by HEADERS with END_STREAM")
def _(peer):
    peer.send(headers(1, request(BIG, method="HEAD")))
    got = peer.until(lambda f: f.stream == 1, "an answer")
    if got.kind != HEADERS or not got.flags & END_STREAM or dict(got.fields)[":status"] != "200":
        raise Wrong(peer.tell(got))
    if int(dict(got.fields).get("content-length", "0")) <= 0:
        raise Wrong("no content-length")


@on_connection("9113 8.3.2", "an answer has one :status, in front, and no reason")
def _(peer):
    for stream, path in [(1, "/"), (3, "/absent"), (5, "/folder")]:
        fields, _ = peer.answer_to(stream, request(path))
        names = [name for name, _ in fields]
        if names[0] != ":status" or any(name.startswith(":") for name in names[1:]) or len(fields[0][1]) != 3:
            raise Wrong(f"fields {names}")


@on_connection("9113 8.1", "POST with content is refused, and the connection lives on")
def _(peer):
    peer.send(headers(1, request("/", ("content-length", "4"), method="POST"), END_HEADERS), frame(DATA, END_STREAM, 1, b"test"))
    if peer.status(1) != "405":
        raise Wrong("not refused by 405")
    peer.is_well(3)


@on_connection("9113 8.1", "GET with content is answered")
def _(peer):
    peer.send(headers(1, request("/", ("content-length", "4")), END_HEADERS), frame(DATA, END_STREAM, 1, b"test"))
    if peer.status(1) != "200":
        raise Wrong("not answered by 200")
    peer.is_well(3)


@on_connection("9113 8.1", "trailers are taken and ignored")
def _(peer):
    peer.send(headers(1, request(), END_HEADERS), frame(DATA, 0, 1, b"test"), headers(1, [("x-trailer", "1")]))
    peer.status(1)
    peer.is_well(3)


@on_connection("9113 8.1", "trailers without END_STREAM are malformed")
def _(peer):
    peer.send(headers(1, request("/", method="POST"), END_HEADERS), frame(DATA, 0, 1, b"test"), headers(1, [("x-trailer", "1")], END_HEADERS))
    peer.stream_error(1, "PROTOCOL_ERROR", "STREAM_CLOSED", answered=True)


@on_connection("9113 8.3", "a pseudo-header field in trailers is malformed")
def _(peer):
    peer.send(headers(1, request("/", method="POST"), END_HEADERS), frame(DATA, 0, 1, b"test"), headers(1, [(":method", "POST")]))
    peer.malformed(1)
    peer.is_well(3)


for _title, _pieces in [
    ("more than one DATA frame", [b"test"]),
    ("more than several DATA frames", [b"te", b"st"]),
    ("less than one DATA frame", [b"longer than said"]),
]:

    @on_connection("9113 8.1.1", f"a content-length that says {_title} is malformed")
    def _(peer, pieces=_pieces):
        length = "5" if len(b"".join(pieces)) < 5 else "3"
        peer.send(headers(1, request("/", ("content-length", length)), END_HEADERS))
        for index, piece in enumerate(pieces):
            peer.send(frame(DATA, END_STREAM if index + 1 == len(pieces) else 0, 1, piece))
        peer.malformed(1, lenient=True)
        peer.is_well(3)


@on_connection("9113 8.1", "content without an end is not waited for without an end")
def _(peer):
    """Behind the bound on what it discards, the server resets the stream."""
    peer.send(headers(1, request("/", method="POST"), END_HEADERS))
    for _ in range(4096):
        peer.send(frame(DATA, 0, 1, bytes(10_000)))
        try:
            got = peer.next(0.02)
        except TimeoutError:
            continue
        if got is None or got.kind == GOAWAY or got.kind == RST_STREAM:
            return
    raise Wrong("40 MB of content, and the server takes more")


@on_connection("9110 10.1.1", "Expect: 100-continue is answered, one way or the other")
def _(peer):
    peer.send(headers(1, request("/", ("expect", "100-continue"), ("content-length", "4"), method="POST"), END_HEADERS))
    got = peer.until(lambda f: f.kind == HEADERS, "an answer")
    if dict(got.fields)[":status"] not in ("100", "405", "417"):
        raise Wrong(f"status {dict(got.fields)[':status']}")


@on_connection("9113 8.4", "a client that forbids push gets none", with_settings=[(ENABLE_PUSH, 0)])
def _(peer):
    peer.get(1)


@case("9113 9.2", "TLS 1.2 is taken with suites that HTTP/2 allows only", only="tls")
def _(place):
    """RFC 9113 Appendix A forbids all suites without an ephemeral key exchange and an AEAD."""
    import ssl

    for cipher, good in [("ECDHE+AESGCM", True), ("ECDHE+AES:!AESGCM:!AESCCM:!CHACHA20", False), ("AES128-GCM-SHA256", False)]:
        context = place.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(cipher + ":@SECLEVEL=0")
        context.set_alpn_protocols(["h2"])
        try:
            with Peer(place._replace(tls=context)) as peer:
                peer.get(1)
                done = True
        except ssl.SSLError:
            done = False
        if done != good:
            raise Wrong(f"{cipher}: {'taken' if done else 'refused'}")


@case("9113 3.2", "without h2 in ALPN it is HTTP/1.1", only="tls")
def _(place):
    for offered, line in [(["http/1.1"], b"HTTP/1.1 200 "), ([], b"HTTP/1.1 200 ")]:
        context = place.context()
        if offered:
            context.set_alpn_protocols(offered)
        with socket.create_connection((place.host, place.port), timeout=HANG_SECONDS) as plain:
            with context.wrap_socket(plain, server_hostname=place.name) as made:
                made.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                got = made.recv(100)
        if not got.startswith(line):
            raise Wrong(f"offered {offered}, answered {got!r}")


@case("9113 3.2", "ALPN chooses h2 where the client offers both", only="tls")
def _(place):
    context = place.context()
    context.set_alpn_protocols(["http/1.1", "h2"])
    with Peer(place._replace(tls=context)) as peer:
        peer.get(1)


@case("7301 3.2", "ALPN with names of no known meaning alone is refused", only="tls")
def _(place):
    import ssl

    context = place.context()
    context.set_alpn_protocols(["spdy/3", "h2c"])
    try:
        with socket.create_connection((place.host, place.port), timeout=HANG_SECONDS) as plain:
            with context.wrap_socket(plain, server_hostname=place.name):
                pass
    except (ssl.SSLError, OSError):
        return
    raise Wrong("the handshake was done")

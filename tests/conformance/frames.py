"""RFC 9113 §3 to §4: how a connection starts, and what frames look like.

Invariant: see cases.py.
"""

import struct

from cases import case, on_connection
from peer import *  # noqa: F403


@on_connection("9113 3.4", "the server's preface is SETTINGS, and it acknowledges the client's")
def _(peer):
    peer.until(lambda f: f.kind == SETTINGS and f.flags & ACK and not f.payload, "the acknowledgement")


@case("9113 3.4", "frames may follow the preface without waiting for the server's")
def _(place):
    with Peer(place, greet=False) as peer:
        peer.send(PREFACE + settings() + headers(1, request()))
        if peer.status(1) != "200":
            raise Wrong("not answered")


@case("9113 3.4", "a preface that comes byte by byte is understood")
def _(place):
    with Peer(place, greet=False) as peer:
        for byte in PREFACE + settings() + headers(1, request()):
            peer.send(bytes([byte]))
        if peer.status(1) != "200":
            raise Wrong("not answered")


@case("9113 3.4", "an invalid preface ends the connection")
def _(place):
    with Peer(place, greet=False) as peer:
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + settings())
        peer.end()


@case("9113 3.4", "another version in the preface ends the connection")
def _(place):
    with Peer(place, greet=False) as peer:
        peer.send(b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n" + settings())
        # What is no preface is HTTP/1.1, and answered as such.
        while peer.fill(time.monotonic() + HANG_SECONDS):
            pass


@case("9113 3.4", "a first frame other than SETTINGS is a connection error")
def _(place):
    with Peer(place, greet=False) as peer:
        peer.send(PREFACE + frame(PING, 0, 0, bytes(8)))
        peer.connection_error("PROTOCOL_ERROR")


@case("9113 3.4", "a first SETTINGS frame that is an acknowledgement is a connection error")
def _(place):
    with Peer(place, greet=False) as peer:
        peer.send(PREFACE + frame(SETTINGS, ACK, 0))
        peer.connection_error("PROTOCOL_ERROR")


@case("9113 3.1", "HTTP/1.1 is not upgraded to h2c", only="plain")
def _(place):
    """RFC 9113 §3.1 has taken this upgrade away: it is ignored."""
    with Peer(place, greet=False) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
        while peer.fill(time.monotonic() + HANG_SECONDS):
            pass
        if not peer.received.startswith(b"HTTP/1.1 200 "):
            raise Wrong(f"the answer begins with {peer.received[:40]!r}")


@on_connection("9113 4.1", "a frame of an unknown kind is ignored")
def _(peer):
    peer.send(frame(0xF7, 0, 0, bytes(8)), frame(0xF7, 0xFF, 0, b""))
    peer.is_well(1)


@on_connection("9113 4.1", "a frame of an unknown kind on a stream is ignored")
def _(peer):
    peer.send(headers(1, request(method="POST"), END_HEADERS), frame(0xF7, 0, 1, bytes(100)), frame(DATA, END_STREAM, 1))
    peer.status(1)
    peer.is_well(3)


@on_connection("9113 4.1", "undefined flags are ignored")
def _(peer):
    peer.send(frame(PING, 0x16, 0, b"flagged!"))
    peer.until(lambda f: f.kind == PING and f.flags & ACK and f.payload == b"flagged!", "the answer to PING")


@on_connection("9113 4.1", "the reserved bit of a stream's number is ignored")
def _(peer):
    peer.send(frame(PING, 0, 1 << 31, b"reserved"))
    peer.until(lambda f: f.kind == PING and f.flags & ACK and f.payload == b"reserved", "the answer to PING")


@on_connection("9113 4.2", "DATA of 2^14 bytes is taken")
def _(peer):
    peer.send(headers(1, request(method="POST"), END_HEADERS), frame(DATA, END_STREAM, 1, bytes(1 << 14)))
    peer.status(1)
    peer.is_well(3)


@on_connection("9113 4.2", "DATA above SETTINGS_MAX_FRAME_SIZE is an error")
def _(peer):
    size = peer.theirs[MAX_FRAME_SIZE] + 1
    peer.send(headers(1, request(method="POST"), END_HEADERS), frame(DATA, END_STREAM, 1, bytes(size)))
    peer.stream_error(1, "FRAME_SIZE_ERROR", answered=True)


for _kind, _name in [(HEADERS, "HEADERS"), (SETTINGS, "SETTINGS"), (PUSH_PROMISE, "PUSH_PROMISE")]:

    @on_connection("9113 4.2", f"{_name} above SETTINGS_MAX_FRAME_SIZE is a connection error")
    def _(peer, kind=_kind):
        size = (peer.theirs[MAX_FRAME_SIZE] // 6 + 1) * 6
        stream = 0 if kind == SETTINGS else 1
        peer.send(frame(kind, 0 if kind == SETTINGS else END_HEADERS | END_STREAM, stream, bytes(size)))
        peer.connection_error("FRAME_SIZE_ERROR", "PROTOCOL_ERROR" if kind == PUSH_PROMISE else "FRAME_SIZE_ERROR")


@on_connection("9113 4.2", "CONTINUATION above SETTINGS_MAX_FRAME_SIZE is a connection error")
def _(peer):
    size = peer.theirs[MAX_FRAME_SIZE] + 1
    peer.send(headers(1, request(), END_STREAM), frame(CONTINUATION, END_HEADERS, 1, bytes(size)))
    peer.connection_error("FRAME_SIZE_ERROR")


@on_connection("9113 4.2", "a frame of an unknown kind above SETTINGS_MAX_FRAME_SIZE is not read whole")
def _(peer):
    peer.send(frame(0xF7, 0, 0, bytes(peer.theirs[MAX_FRAME_SIZE] + 1)), frame(PING, 0, 0, bytes(8)))
    peer.connection_error("FRAME_SIZE_ERROR")


@on_connection("9113 4.3", "a block that cannot be decoded is a connection error")
def _(peer):
    peer.send(headers(1, b"\x40\x7f\xff\xff\xff\xff\xff\xff\xff\xff"))
    peer.connection_error("COMPRESSION_ERROR")


@on_connection("9113 4.3", "a block that ends within a field line is a connection error")
def _(peer):
    peer.send(headers(1, block(*request())[:-3]))
    peer.connection_error("COMPRESSION_ERROR")


for _name, _piece in [
    ("PRIORITY", frame(PRIORITY, 0, 1, bytes(5))),
    ("HEADERS of another stream", headers(3, request())),
    ("DATA", frame(DATA, 0, 1, b"x")),
    ("PING", frame(PING, 0, 0, bytes(8))),
    ("SETTINGS", settings()),
    ("WINDOW_UPDATE", window_update(0, 1)),
    ("RST_STREAM", reset(1)),
    ("a frame of an unknown kind", frame(0xF7, 0, 0, b"x")),
]:

    @on_connection("9113 4.3", f"{_name} between HEADERS and CONTINUATION is a connection error")
    def _(peer, piece=_piece):
        peer.send(headers(1, request(), END_STREAM), piece, frame(CONTINUATION, END_HEADERS, 1))
        peer.connection_error("PROTOCOL_ERROR")


@on_connection("9113 4.3", "a block of a refused stream is decoded all the same")
def _(peer):
    """The dynamic table belongs to the connection: what comes on a stream that is not served changes it too."""
    peer.send(headers(1, block((":method", "GET"), (":scheme", "http"), (":path", "/")) + literal("x-kept", "1", INCREMENTAL) + literal("UPPER", "1")))
    peer.until(lambda f: f.kind == RST_STREAM and f.stream == 1, "RST_STREAM")
    peer.send(headers(3, block(*request("/echo-not-there")) + b"\xbe"))
    if peer.status(3) != "404":
        raise Wrong("the entry was not remembered")

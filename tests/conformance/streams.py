"""RFC 9113 §5: streams, their states, numbers and count; errors; what extends the protocol.

Invariant: a stream that is to stay open or half-closed is one whose answer waits for a window.
"""

from cases import on_connection
from peer import *  # noqa: F403

NO_WINDOW = {"with_settings": [(INITIAL_WINDOW_SIZE, 0)]}


def half_closed(peer, stream=1):
    """The request is whole, and its answer waits: half-closed (remote)."""
    peer.send(headers(stream, request(BIG)))
    peer.until(lambda f: f.kind == HEADERS and f.stream == stream, "the head of the answer")


def closed_by_reset(peer):
    half_closed(peer)
    peer.send(reset(1))


def closed_by_both(peer):
    peer.get(1)


IDLE = [
    ("DATA", frame(DATA, END_STREAM, 1, b"x")),
    ("RST_STREAM", reset(1)),
    ("WINDOW_UPDATE", window_update(1, 100)),
    ("CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, block(*request()))),
]
for _name, _piece in IDLE:

    @on_connection("9113 5.1", f"idle: {_name} is a connection error")
    def _(peer, piece=_piece):
        peer.send(piece)
        peer.connection_error("PROTOCOL_ERROR")


@on_connection("9113 5.1", "idle: PRIORITY is taken")
def _(peer):
    peer.send(frame(PRIORITY, 0, 1, bytes(4) + b"\xff"))
    peer.is_well(1)


@on_connection("9113 5.1", "half-closed (remote): DATA is an error", **NO_WINDOW)
def _(peer):
    half_closed(peer)
    peer.send(frame(DATA, END_STREAM, 1, b"x"))
    peer.stream_error(1, "STREAM_CLOSED", well=False)


@on_connection("9113 5.1", "half-closed (remote): HEADERS is an error", **NO_WINDOW)
def _(peer):
    half_closed(peer)
    peer.send(headers(1, request()))
    peer.stream_error(1, "STREAM_CLOSED", "PROTOCOL_ERROR", well=False)


@on_connection("9113 5.1", "half-closed (remote): CONTINUATION is an error", **NO_WINDOW)
def _(peer):
    half_closed(peer)
    peer.send(frame(CONTINUATION, END_HEADERS, 1, block(*request())))
    peer.connection_error("PROTOCOL_ERROR", "STREAM_CLOSED")


@on_connection("9113 5.1", "half-closed (remote): WINDOW_UPDATE lets the answer go on", **NO_WINDOW)
def _(peer):
    half_closed(peer)
    peer.send(window_update(1, 7))
    got = peer.until(lambda f: f.kind == DATA, "DATA")
    if len(got.payload) != 7:
        raise Wrong(f"{len(got.payload)} bytes, not 7")


@on_connection("9113 5.1", "half-closed (remote): PRIORITY is taken", **NO_WINDOW)
def _(peer):
    half_closed(peer)
    peer.send(frame(PRIORITY, 0, 1, bytes(5)))
    peer.ping()
    peer.send(window_update(1, 1))
    peer.until(lambda f: f.kind == DATA and f.stream == 1, "DATA")


@on_connection("9113 5.1", "half-closed (remote): RST_STREAM ends the answer", **NO_WINDOW)
def _(peer):
    half_closed(peer)
    peer.send(reset(1), window_update(1, 1000))
    peer.ping()
    peer.send(settings((INITIAL_WINDOW_SIZE, 65535)))
    peer.get(3)


CLOSED = [
    ("DATA", frame(DATA, END_STREAM, 1, b"x"), ["STREAM_CLOSED"]),
    ("HEADERS", headers(1, request()), ["STREAM_CLOSED", "PROTOCOL_ERROR"]),
    ("CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, block(*request())), ["STREAM_CLOSED", "PROTOCOL_ERROR"]),
]
for _how, _close, _settings in [("by RST_STREAM", closed_by_reset, NO_WINDOW), ("by END_STREAM", closed_by_both, {})]:
    for _name, _piece, _codes in CLOSED:

        @on_connection("9113 5.1", f"closed {_how}: {_name} is an error", **_settings)
        def _(peer, close=_close, piece=_piece, codes=_codes):
            close(peer)
            peer.send(piece)
            peer.stream_error(1, *codes, well=False)

    for _name, _piece in [
        ("PRIORITY", frame(PRIORITY, 0, 1, bytes(5))),
        ("WINDOW_UPDATE", window_update(1, 5)),
        ("RST_STREAM", reset(1)),
    ]:

        @on_connection("9113 5.1", f"closed {_how}: {_name} is ignored", **_settings)
        def _(peer, close=_close, piece=_piece):
            close(peer)
            peer.send(piece, settings((INITIAL_WINDOW_SIZE, 65535)))
            peer.is_well(3)


@on_connection("9113 5.1", "a stream that was passed over is closed")
def _(peer):
    peer.get(5)
    peer.send(headers(3, request()))
    peer.connection_error("PROTOCOL_ERROR", "STREAM_CLOSED")


@on_connection("9113 5.1.1", "a stream with an even number is a connection error")
def _(peer):
    peer.send(headers(2, request()))
    peer.connection_error("PROTOCOL_ERROR")


@on_connection("9113 5.1.1", "a stream with a number below that of the last one is a connection error", **NO_WINDOW)
def _(peer):
    half_closed(peer, 5)
    peer.send(headers(3, request()))
    peer.connection_error("PROTOCOL_ERROR", "STREAM_CLOSED")


@on_connection("9113 5.1.1", "the last of all numbers is served")
def _(peer):
    peer.get(1)
    peer.get(WINDOW_MAX)


@on_connection("9113 5.1.2", "streams above SETTINGS_MAX_CONCURRENT_STREAMS are refused", **NO_WINDOW)
def _(peer):
    count = peer.theirs.get(MAX_CONCURRENT_STREAMS)
    if count is None:
        raise Wrong("no SETTINGS_MAX_CONCURRENT_STREAMS")
    streams = [1 + 2 * n for n in range(count + 1)]
    peer.send(b"".join(headers(stream, request(BIG)) for stream in streams))
    peer.stream_error(streams[-1], "REFUSED_STREAM", "PROTOCOL_ERROR", well=False)


@on_connection("9113 5.1.2", "a stream that ended makes room for another", **NO_WINDOW)
def _(peer):
    count = peer.theirs[MAX_CONCURRENT_STREAMS]
    peer.send(b"".join(headers(1 + 2 * n, request(BIG)) for n in range(count)))
    peer.send(reset(3), headers(1 + 2 * count, request("/absent", method="HEAD")))
    if peer.status(1 + 2 * count) != "404":
        raise Wrong("not answered")


@on_connection("9113 5.1.2", "as many streams as SETTINGS_MAX_CONCURRENT_STREAMS says are answered")
def _(peer):
    count = peer.theirs[MAX_CONCURRENT_STREAMS]
    peer.send(b"".join(headers(1 + 2 * n, request()) for n in range(count)))
    left = {1 + 2 * n for n in range(count)}
    while left:
        got = peer.until(lambda f: f.kind in (DATA, HEADERS, RST_STREAM), f"the answers to {len(left)} of {count} requests")
        if got.kind == RST_STREAM:
            raise Wrong(peer.tell(got))
        if got.flags & END_STREAM:
            left.discard(got.stream)


@on_connection("9113 5.2", "one stream without a window does not hold another", **NO_WINDOW)
def _(peer):
    half_closed(peer)
    peer.send(headers(3, request()), window_update(3, 65535))
    if peer.status(3) != "200":
        raise Wrong("not answered")


@on_connection("9113 5.3.2", "a stream that depends on itself is no reason to fail otherwise than by PROTOCOL_ERROR")
def _(peer):
    """RFC 7540 §5.3.1 made it an error; RFC 9113 has taken dependencies away."""
    peer.send(headers(1, request(), END_HEADERS | END_STREAM | WITH_PRIORITY, before=b"\0\0\0\1\xff"), frame(PRIORITY, 0, 3, b"\0\0\0\3\xff"))
    peer.send(frame(PING, 0, 0, bytes(8)))
    got = peer.until(lambda f: f.kind in (GOAWAY, RST_STREAM) or f.kind == PING and f.flags & ACK, "an answer to PING")
    if got.kind == GOAWAY:
        found = name_of(int.from_bytes(got.payload[4:8], "big"))
        if found != "PROTOCOL_ERROR":
            raise Wrong(peer.tell(got))


@on_connection("9113 5.4.1", "a connection error sends GOAWAY with the last stream, and closes")
def _(peer):
    peer.get(1)
    peer.get(3)
    peer.send(frame(PING, 0, 0, b"short"))
    got = peer.until(lambda f: f.kind == GOAWAY, "GOAWAY")
    last = int.from_bytes(got.payload[:4], "big")
    if last != 3 or got.payload[4:8] != b"\0\0\0\6":
        raise Wrong(f"the last stream is {last}, {peer.tell(got)}")
    peer.end()


@on_connection("9113 5.5", "settings of no known meaning are ignored")
def _(peer):
    peer.send(settings((0x7F7F, 0xFFFFFFFF), (0, 1), (0xFFFF, 0)))
    peer.until(lambda f: f.kind == SETTINGS and f.flags & ACK, "the acknowledgement")
    peer.is_well(1)


@on_connection("9113 5.5", "an unknown frame on an idle stream is ignored")
def _(peer):
    peer.send(frame(0xEE, 0xFF, 7, b"extension"))
    peer.is_well(1)

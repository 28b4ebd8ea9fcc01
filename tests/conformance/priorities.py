"""RFC 9218: urgency and increments, by field and by frame.

Invariant: what is judged is the order of DATA on one connection, whose window lets no more through than is judged.
"""

from cases import on_connection
from peer import *  # noqa: F403

# Held by the worker, so that nothing is waited for but windows and turns.
FILE = "/file.bin"
# Streams wait for a window of the connection; then all are there before the first is chosen.
WIDE = {"with_settings": [(INITIAL_WINDOW_SIZE, WINDOW_MAX)]}


def update(stream, value):
    return frame(PRIORITY_UPDATE, 0, 0, stream.to_bytes(4, "big") + value)


def exhausted(peer):
    """The file is in memory, and the window of the connection used up by stream 3, which is then reset."""
    peer.get(1, FILE)
    peer.send(headers(3, request(BIG)))
    total = 0
    while total < 65535:
        total += len(peer.until(lambda f: f.kind == DATA, "DATA").payload)
    peer.send(reset(3))
    peer.ping()


def order(peer, streams, window):
    """How many bytes of each stream come within a window of the connection."""
    for stream in (stream for stream in streams if stream not in peer.heads):
        peer.until(lambda f: f.kind == HEADERS and f.stream == stream, "the head of the answer")
    peer.send(window_update(0, window))
    counts = dict.fromkeys(streams, 0)
    total = 0
    while total < window:
        got = peer.until(lambda f: f.kind == DATA, "DATA")
        counts[got.stream] += len(got.payload)
        total += len(got.payload)
    return counts


@on_connection("9218 10", "the more urgent stream comes first", **WIDE)
def _(peer):
    exhausted(peer)
    peer.send(headers(5, request(FILE, ("priority", "u=5"))), headers(7, request(FILE, ("priority", "u=1"))), headers(9, request(FILE)))
    counts = order(peer, [5, 7, 9], 50_000)
    if counts != {5: 0, 7: 50_000, 9: 0}:
        raise Wrong(f"bytes by stream: {counts}")


@on_connection("9218 10", "of equal urgency, what is not incremental comes in the order of the requests", **WIDE)
def _(peer):
    exhausted(peer)
    peer.send(b"".join(headers(stream, request(FILE, ("priority", "u=3, i=?0"))) for stream in (5, 7, 9)))
    counts = order(peer, [5, 7, 9], 50_000)
    if counts != {5: 50_000, 7: 0, 9: 0}:
        raise Wrong(f"bytes by stream: {counts}")


@on_connection("9218 10", "what is incremental shares", **WIDE)
def _(peer):
    exhausted(peer)
    peer.send(b"".join(headers(stream, request(FILE, ("priority", "i"))) for stream in (5, 7, 9)))
    counts = order(peer, [5, 7, 9], 90_000)
    if min(counts.values()) < 20_000:
        raise Wrong(f"bytes by stream: {counts}")


@on_connection("9218 7.1", "PRIORITY_UPDATE changes what waits", **WIDE)
def _(peer):
    exhausted(peer)
    peer.send(b"".join(headers(stream, request(FILE)) for stream in (5, 7, 9)))
    peer.ping()
    peer.send(update(9, b"u=0"))
    counts = order(peer, [5, 7, 9], 50_000)
    if counts != {5: 0, 7: 0, 9: 50_000}:
        raise Wrong(f"bytes by stream: {counts}")


@on_connection("9218 7.1", "PRIORITY_UPDATE in front of its request is kept for it", **WIDE)
def _(peer):
    exhausted(peer)
    peer.send(update(9, b"u=7"), update(9, b"u=0"), update(WINDOW_MAX, b"u=0"))
    peer.send(b"".join(headers(stream, request(FILE)) for stream in (5, 7, 9)))
    counts = order(peer, [5, 7, 9], 50_000)
    if counts != {5: 0, 7: 0, 9: 50_000}:
        raise Wrong(f"bytes by stream: {counts}")


@on_connection("9218 7.1", "PRIORITY_UPDATE for more streams than may be open is a connection error")
def _(peer):
    peer.send(b"".join(update(stream, b"u=0") for stream in range(1, 2 * 1000, 2)))
    peer.connection_error("PROTOCOL_ERROR")


for _title, _piece, _codes in [
    ("PRIORITY_UPDATE on a stream", frame(PRIORITY_UPDATE, 0, 1, b"\0\0\0\3u=0"), ["PROTOCOL_ERROR"]),
    ("PRIORITY_UPDATE of stream 0", update(0, b"u=0"), ["PROTOCOL_ERROR"]),
    ("PRIORITY_UPDATE of 3 bytes", frame(PRIORITY_UPDATE, 0, 0, bytes(3)), ["FRAME_SIZE_ERROR", "PROTOCOL_ERROR"]),
]:

    @on_connection("9218 7.1", f"{_title} is a connection error")
    def _(peer, piece=_piece, codes=_codes):
        peer.send(piece)
        peer.connection_error(*codes)


for _value in [b"", b"u=9", b"u=-1", b"u=x", b"i=?2", b"u", b"%%%", b"u=1, u=2, i=?0;q=1", b"x" * 1000, b"\xff\0"]:

    @on_connection("9218 4", f"a priority of {_value[:20]!r} breaks nothing")
    def _(peer, value=_value):
        peer.send(update(1, value))
        line = value if value.isascii() and value.strip() == value and b"\0" not in value else b"u=8"
        peer.send(headers(1, request("/", ("priority", line))))
        if peer.status(1) != "200":
            raise Wrong("not answered")


@on_connection("9218 7.1", "PRIORITY_UPDATE of a stream that has ended is ignored")
def _(peer):
    peer.get(1)
    peer.send(update(1, b"u=0"))
    peer.is_well(3)

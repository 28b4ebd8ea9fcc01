"""A client of HTTP/2 that sends whatever it is told to, byte for byte.

Order: codes and kinds; frames and field blocks as bytes; one connection; what may be expected of it.

Invariant: nothing here repairs what it is told to send, and every wait has an end. Blocks are written
by this file and read by the library `hpack`, so that no mistake is made twice.
"""

import os
import socket
import ssl
import struct
import time
from collections import namedtuple

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HANG_SECONDS = float(os.environ.get("HANG_SECONDS", "10"))
# The server of a run waits for 3 seconds for anything, and looks once a second; the machine may be slow.
STALL_SECONDS = float(os.environ.get("STALL_SECONDS", "20"))
CODES = [
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
]  # fmt: skip
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 16
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
DEFAULTS = {HEADER_TABLE_SIZE: 4096, ENABLE_PUSH: 1, INITIAL_WINDOW_SIZE: 65535, MAX_FRAME_SIZE: 16384}
WINDOW_MAX = (1 << 31) - 1
# What no window that a client begins with takes whole.
BIG, BIG_BYTES = "/big.bin", 1 << 20

# `fields` are the lines of a HEADERS frame, and otherwise None.
Frame = namedtuple("Frame", "kind flags stream payload fields")


class Wrong(Exception):
    """The server did not do what the standard, or we, ask of it."""


def frame(kind, flags, stream, payload=b""):
    """One frame; the length is that of the payload."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def integer(value, prefix_bits, pattern=0):
    """An integer as RFC 7541 §5.1 writes it, behind the bits of `pattern`."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([pattern | value])
    out, value = [pattern | limit], value - limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def text(value):
    """A string literal without the Huffman code (§5.2)."""
    value = value.encode() if isinstance(value, str) else value
    return integer(len(value), 7) + value


# The forms of literals (§6.2): bits of the index, and the pattern in front of them.
INCREMENTAL, PLAIN, NEVER = (6, 0x40), (4, 0x00), (4, 0x10)


def literal(name, value, form=PLAIN):
    """A field line; the name is a text, or the number of an entry that has it."""
    bits, pattern = form
    if isinstance(name, int):
        return integer(name, bits, pattern) + text(value)
    return bytes([pattern]) + text(name) + text(value)


def block(*fields):
    return b"".join(literal(name, value) for name, value in fields)


def request(path="/", *more, method="GET", scheme="http", authority="localhost"):
    """The field lines of a request."""
    return [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority), *more]


def headers(stream, fields, flags=END_HEADERS | END_STREAM, before=b"", after=b""):
    """A HEADERS frame; `fields` may be lines or a block as it is."""
    payload = fields if isinstance(fields, bytes) else block(*fields)
    return frame(HEADERS, flags, stream, before + payload + after)


def name_of(code):
    return CODES[code] if code < len(CODES) else f"code {code:#x}"


class Peer:
    """One connection."""

    def __init__(self, place, greet=True, with_settings=()):
        self.place = place
        self.socket = socket.create_connection((place.host, place.port), timeout=HANG_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if place.tls:
            self.socket = place.tls.wrap_socket(self.socket, server_hostname=place.name)
            if self.socket.selected_alpn_protocol() != "h2":
                raise Wrong(f"ALPN chose {self.socket.selected_alpn_protocol()!r}")
        self.received = b""
        # Streams whose answer has begun.
        self.heads = set()
        self.ended = None
        self.decoder = hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.theirs = dict(DEFAULTS)
        self.frame_bytes_max = dict(with_settings).get(MAX_FRAME_SIZE, DEFAULTS[MAX_FRAME_SIZE])
        if greet:
            self.send(PREFACE + settings(*with_settings))
            first = self.next()
            if first is None or first.kind != SETTINGS or first.flags & ACK:
                raise Wrong(f"the first frame is {self.tell(first)}, not SETTINGS (RFC 9113 §3.4)")
            self.send(frame(SETTINGS, ACK, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *pieces):
        """Sends bytes to a server that may have closed."""
        try:
            self.socket.settimeout(HANG_SECONDS)
            self.socket.sendall(b"".join(pieces))
            return True
        except (OSError, ssl.SSLError):
            return False

    def alive(self):
        """Takes in what is there, without a wait; whether the connection is open still."""
        try:
            while self.fill(time.monotonic() + 0.001):
                pass
            return False
        except TimeoutError:
            return True

    def fill(self, deadline):
        """More bytes; False at the end of the connection."""
        if self.ended:
            return False
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)
        try:
            piece = self.socket.recv(1 << 16)
        except (TimeoutError, ssl.SSLWantReadError):
            raise TimeoutError from None
        except OSError as fault:
            self.ended = str(fault)
            return False
        if not piece:
            self.ended = "closed"
            return False
        self.received += piece
        return True

    def next(self, seconds=HANG_SECONDS):
        """The next frame, None at the end of the connection."""
        deadline = time.monotonic() + seconds
        while len(self.received) < 9 or len(self.received) < 9 + int.from_bytes(self.received[:3], "big"):
            if not self.fill(deadline):
                return None
        length = int.from_bytes(self.received[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.received[3:9])
        payload, self.received = self.received[9 : 9 + length], self.received[9 + length :]
        if kind == HEADERS and flags != flags & (END_STREAM | END_HEADERS):
            raise Wrong(f"a HEADERS frame with flags {flags:#x}, which this client does not read")
        # Every block is read where it comes, for the next one rests on it.
        fields = self.lines(payload) if kind == HEADERS else None
        if kind == HEADERS:
            self.heads.add(stream)
        got = Frame(kind, flags, stream & WINDOW_MAX, payload, fields)
        self.check(got)
        return got

    def lines(self, payload):
        """The lines of an answer's block, or of its trailers."""
        try:
            fields = [(bytes(name).decode(), bytes(value).decode("latin-1")) for name, value in self.decoder.decode(payload, raw=True)]
        except hpack.HPACKError as fault:
            raise Wrong(f"a block that cannot be read: {fault} (RFC 7541)") from None
        for name, _ in fields:
            if name != name.lower() or name in ("connection", "keep-alive", "transfer-encoding", "upgrade"):
                raise Wrong(f"the answer has the field {name} (RFC 9113 §8.2)")
        return fields

    def check(self, got):
        """What every frame of a server must keep to."""
        if len(got.payload) > self.frame_bytes_max:
            raise Wrong(f"a frame of {len(got.payload)} bytes, above SETTINGS_MAX_FRAME_SIZE (§4.2)")
        if got.kind == SETTINGS and not got.flags & ACK:
            if got.stream or len(got.payload) % 6:
                raise Wrong("a SETTINGS frame that is none (§6.5)")
            for at in range(0, len(got.payload), 6):
                key, value = struct.unpack(">HI", got.payload[at : at + 6])
                self.theirs[key] = value
                if key == ENABLE_PUSH and value != 0:
                    raise Wrong("a server's SETTINGS_ENABLE_PUSH is not 0 (§6.5.2)")
        if got.kind == PUSH_PROMISE:
            raise Wrong("a PUSH_PROMISE")
        if got.kind == HEADERS and not got.flags & END_HEADERS:
            raise Wrong("a block in parts, which no answer of this server needs")

    def tell(self, got):
        """A frame, as a report names it."""
        if got is None:
            return f"the end of the connection ({self.ended})"
        kinds = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION".split()
        kind = kinds[got.kind] if got.kind < len(kinds) else f"kind {got.kind}"
        code = ""
        if got.kind == RST_STREAM:
            code = f" {name_of(int.from_bytes(got.payload[:4], 'big'))}"
        if got.kind == GOAWAY:
            code = f" {name_of(int.from_bytes(got.payload[4:8], 'big'))} {got.payload[8:]!r}"
        return f"{kind}{code} on stream {got.stream}"

    def until(self, wanted, what, seconds=HANG_SECONDS):
        """The next frame that is wanted; what comes before is passed over."""
        passed = []
        deadline = time.monotonic() + seconds
        while True:
            try:
                got = self.next(max(0.001, deadline - time.monotonic()))
            except TimeoutError:
                raise Wrong(f"{what} did not come; {self.told(passed)}") from None
            if got is not None and wanted(got):
                return got
            if got is None:
                raise Wrong(f"{what} did not come, but the end ({self.ended}); {self.told(passed)}")
            passed.append(got)

    def told(self, frames):
        return f"before: {', '.join(map(self.tell, frames[-6:])) or 'nothing'}"

    # What is expected.

    def answer(self, stream, seconds=HANG_SECONDS):
        """Fields and content of the answer on this stream; gives the windows back meanwhile."""
        fields, content = None, b""
        while True:
            got = self.until(lambda f: f.stream == stream or f.kind == GOAWAY, f"an answer on stream {stream}", seconds)
            if got.kind == HEADERS:
                fields = fields or got.fields
            elif got.kind == DATA:
                content += got.payload
                if got.payload:
                    self.send(window_update(0, len(got.payload)), window_update(stream, len(got.payload)))
            elif got.kind == RST_STREAM or got.kind == GOAWAY:
                raise Wrong(f"instead of an answer: {self.tell(got)}")
            if got.kind in (DATA, HEADERS) and got.flags & END_STREAM:
                return fields, content

    def status(self, stream):
        fields, _ = self.answer(stream)
        return dict(fields)[":status"]

    def get(self, stream, path="/", status="200", **how):
        """A request that must be answered with this status."""
        self.send(headers(stream, request(path, **how)))
        found = self.status(stream)
        if found != status:
            raise Wrong(f"{path} is answered with {found}, not {status}")

    def ping(self, data=b"conform?"):
        """The server has read everything so far, and the connection is well."""
        self.send(frame(PING, 0, 0, data))
        self.until(lambda f: self.healthy(f) and f.kind == PING and f.flags & ACK and f.payload == data, "the answer to PING")

    def healthy(self, got):
        if got.kind == GOAWAY:
            raise Wrong(f"the connection ended: {self.tell(got)}")
        return True

    def answer_to(self, stream, fields):
        self.send(headers(stream, fields))
        return self.answer(stream)

    def malformed(self, stream, lenient=False):
        """RST_STREAM with PROTOCOL_ERROR, or an answer of 400 (§8.1.1: a server may send one).

        A lenient case has content, of which the server may know nothing yet when it answers.
        """
        got = self.until(lambda f: f.kind == GOAWAY or f.stream == stream and f.kind in (RST_STREAM, HEADERS), f"RST_STREAM on stream {stream}")
        if got.kind == HEADERS:
            status = dict(got.fields)[":status"]
            if status not in ("400", "405") and not lenient:
                raise Wrong(f"answered with {status}")
            return
        if got.kind == GOAWAY or got.payload != b"\0\0\0\1":
            raise Wrong(f"{self.tell(got)}, not RST_STREAM PROTOCOL_ERROR")

    def quiet(self, stream):
        """Nothing comes of the stream before a PING is answered."""
        self.send(frame(PING, 0, 0, b"quiet?.."))
        got = self.until(lambda f: f.kind == PING and f.flags & ACK or f.stream == stream, "the answer to PING")
        if got.stream == stream:
            raise Wrong(f"{self.tell(got)} without a window for it")

    def is_well(self, stream, path="/"):
        """The connection lives on, and its next request is answered."""
        self.ping()
        self.get(stream, path)

    def connection_error(self, *codes, seconds=HANG_SECONDS, or_close=False):
        """GOAWAY with one of these codes, and then the end."""
        try:
            got = self.until(lambda f: f.kind == GOAWAY, "GOAWAY", seconds)
        except Wrong:
            if or_close and self.ended:
                return
            raise
        found = name_of(int.from_bytes(got.payload[4:8], "big"))
        if found not in codes:
            raise Wrong(f"GOAWAY says {found}, not {' or '.join(codes)}")
        self.end(seconds)

    def end(self, seconds=HANG_SECONDS):
        """The server closes."""
        try:
            while self.next(seconds) is not None:
                pass
        except TimeoutError:
            raise Wrong("the connection is not closed") from None

    def stream_error(self, stream, *codes, well=True, answered=False):
        """RST_STREAM with one of these codes, or the same as an error of the connection (§5.4.2 lets it); the rest goes on.

        Where `answered` is true, the server may have answered already: then the error may be told of behind the answer,
        and RST_STREAM with NO_ERROR, which says that the rest of the request is of no interest (§8.1), will do too.
        """
        codes = (*codes, "NO_ERROR") if answered else codes
        while True:
            got = self.until(lambda f: f.kind == GOAWAY or f.stream == stream, f"RST_STREAM on stream {stream}")
            if got.kind in (GOAWAY, RST_STREAM):
                break
            if not answered and got.kind in (DATA, HEADERS):
                raise Wrong(f"answered with {dict(got.fields or [])} instead of RST_STREAM")
        at = 4 if got.kind == GOAWAY else 0
        found = name_of(int.from_bytes(got.payload[at : at + 4], "big"))
        if found not in codes:
            raise Wrong(f"{self.tell(got)}, not {' or '.join(codes)}")
        if got.kind == RST_STREAM and well:
            self.is_well(stream + 1000)

"""A client that looks at what it gets: the checks before a measurement, and the idle connections.

Invariant: an answer counts as right only with the status, the length and the content that were
expected.
"""

import hashlib
import resource
import socket
import time
from dataclasses import dataclass, field

HOST = "127.0.0.1"
# What it is called in certificates, for a server name must be a name (RFC 6066 §3).
NAME = "localhost"
READ_BYTES = 1 << 20
ANSWER_SECONDS_MAX = 60
START_SECONDS_MAX = 15
# Requests that are under way at once while idle connections are made.
WAVE = 100
# Enough for those servers that keep a descriptor for each of 200,000 files. lighttpd answers 403
# where it has no more; it is then reported as left out.
DESCRIPTORS_MAX = 300_000
# Descriptors that this program needs beside its idle connections.
DESCRIPTORS_BESIDE = 100


class Wrong(Exception):
    """A server does not start, does not answer, or answers something else than it should."""


class Refused(Wrong):
    """Nobody listens."""


@dataclass
class Question:
    """A request, and what its answer must be. `digest` is None where the content is the server's own."""

    path: str
    status: int = 200
    length: int | None = None
    digest: str | None = None
    fields: dict = field(default_factory=dict)

    def bytes(self):
        """The request as it is sent."""
        fields = [f"{name}: {value}" for name, value in self.fields.items()]
        lines = [f"GET {self.path} HTTP/1.1", "Host: bench", *fields]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def compare(self, answer):
        found = answer.status, answer.length, answer.digest
        expected = self.status, self.length, self.digest
        for what, is_, should in zip(("status", "length", "digest"), found, expected, strict=True):
            if should is not None and is_ != should:
                raise Wrong(f"{self.path}: {what} {is_}, not {should}")


@dataclass
class Answer:
    status: int
    fields: dict
    length: int
    digest: str


class Connection:
    """A connection on which requests are sent and answers read, one after another; with a context over TLS."""

    def __init__(self, port, context=None):
        self.socket = socket.create_connection((HOST, port), timeout=ANSWER_SECONDS_MAX)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname=NAME)
        self.reader = self.socket.makefile("rb", buffering=READ_BYTES)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.reader.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """Reads one answer to a GET."""
        line = self.reader.readline().split()
        if len(line) < 2 or not line[1].isdigit():
            raise Wrong(f"an answer begins with {line!r}")
        fields = {}
        while (text := self.reader.readline().decode("latin-1").strip()):
            name, _, value = text.partition(":")
            fields[name.lower()] = value.strip()
        status = int(line[1])
        if status == 304:
            return Answer(status, fields, 0, digest_of(b""))
        if "chunked" in fields.get("transfer-encoding", ""):
            content = self.chunked()
            return Answer(status, fields, len(content), digest_of(content))
        return Answer(status, fields, *self.content(int(fields["content-length"])))

    def content(self, length):
        sum_, left, room = hashlib.blake2b(digest_size=16), length, memoryview(bytearray(READ_BYTES))
        while left:
            count = self.reader.readinto(room[: min(left, READ_BYTES)])
            if not count:
                raise Wrong(f"the content ends {left} bytes early")
            sum_.update(room[:count])
            left -= count
        return length, sum_.hexdigest()

    def chunked(self):
        content = b""
        while size := int(self.reader.readline().split(b";")[0], 16):
            content += self.reader.read(size)
            self.reader.readline()
        self.reader.readline()
        return content


def digest_of(content):
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def check(port, questions, batch=1, context=None):
    """Asks every question, `batch` times in one write; gives the last answer."""
    with connected(port, context) as connection:
        for question in questions:
            connection.send(question.bytes() * batch)
            for _ in range(batch):
                answer = read(connection)
                question.compare(answer)
    return answer


def connected(port, context=None):
    try:
        return Connection(port, context)
    except ConnectionRefusedError as error:
        raise Refused(f"cannot connect: {error}") from error
    except OSError as error:
        raise Wrong(f"cannot connect: {error}") from error


def read(connection):
    try:
        return connection.answer()
    except (OSError, ValueError, KeyError) as error:
        raise Wrong(f"no answer: {error!r}") from error


def first_answer(process, ask):
    """Waits until the server listens; the first answer it gives must be right."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Wrong(f"it ended with {process.returncode} at the start")
        try:
            return ask()
        except Refused:
            time.sleep(0.0002)
    raise Wrong(f"no answer within {START_SECONDS_MAX} seconds")


def idle_connections(port, question, count):
    """Opens keep-alive connections and asks on each of them once; gives them, open and idle."""
    request, sockets = question.bytes(), []
    while len(sockets) < count:
        missing = min(WAVE, count - len(sockets))
        wave = [socket.create_connection((HOST, port), timeout=ANSWER_SECONDS_MAX) for _ in range(missing)]
        for peer in wave:
            peer.sendall(request)
        for peer in wave:
            if not peer.recv(READ_BYTES).startswith(b"HTTP/1.1 200 "):
                raise Wrong(f"idle connection {len(sockets)} is not answered")
        sockets += wave
    return sockets


def still_open(sockets):
    """How many of the connections the server has not closed."""
    count = 0
    for peer in sockets:
        peer.setblocking(False)
        try:
            count += bool(peer.recv(1))
        except BlockingIOError:
            count += 1
        except OSError:
            pass
    return count


def raise_descriptor_limit():
    """Allows itself and what it starts as many descriptors as they need, or the system gives; gives their number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (DESCRIPTORS_MAX, min(hard, DESCRIPTORS_MAX)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
        except (OSError, ValueError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

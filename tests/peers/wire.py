"""Sends raw bytes to a server and takes apart what comes back.

Order: the conversation; the reading of answers; the observers, each of which reduces an outcome
to the short text that stands in the table.

Invariant: nothing here repairs anything. The bytes of a probe reach the server as they are, and
an answer that cannot be read is reported as unreadable.
"""

import re
import socket
from typing import NamedTuple

# A loopback answer from a file of 1,000 bytes takes a millisecond, but the machine may be busy. Once
# something has come, a second without a byte means that nothing more will.
FIRST_BYTE_SECONDS = 10.0
QUIET_SECONDS = 1.0
ANSWER_BYTES_MAX = 4 << 20

# The content of /canary: it sings when bytes behind a request were taken for a request.
CANARY = "the canary sings"
# The content of what must never be sent.
SECRET = "this is nobody's business"


class Answer(NamedTuple):
    """One answer: its fields as they came, its content without transfer coding."""

    status: int
    fields: list
    content: bytes

    def field(self, name):
        """The values of a field joined as RFC 9110 §5.3 allows, or None."""
        values = [value for key, value in self.fields if key == name.lower()]
        return ", ".join(values) if values else None


class Outcome(NamedTuple):
    """All that a server did with the bytes of one probe."""

    answers: list
    closed: bool
    received: bytes

    @property
    def last(self):
        """The first final answer; those of status 1xx come before it."""
        return next((answer for answer in self.answers if answer.status >= 200), None)


def converse(port, request, methods):
    """The outcome of `request`, whose answers are to the methods `methods`, in order."""
    received, closed = bytearray(), False
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(request)
        except OSError:
            pass  # A server that has read enough may close first; its answer is still there.
        while len(received) < ANSWER_BYTES_MAX:
            connection.settimeout(QUIET_SECONDS if received else FIRST_BYTE_SECONDS)
            try:
                piece = connection.recv(65536)
            except TimeoutError:
                break
            except ConnectionResetError:
                piece = b""
            if not piece:
                closed = True
                break
            received += piece
    received = bytes(received)
    return Outcome(list(answers_in(received, methods)), closed, received)


def answers_in(received, methods):
    """The answers that `received` holds; reading ends where it holds no whole one."""
    methods = list(methods)
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        matched = re.fullmatch(r"HTTP/1\.[01] (\d{3})(?: .*)?", status_line)
        if not end or matched is None:
            return
        status = int(matched[1])
        pairs = (line.partition(":") for line in lines)
        fields = [(name.lower(), value.strip()) for name, _, value in pairs]
        method = "GET"
        if status >= 200:
            method = methods.pop(0) if methods else "GET"
        answer = Answer(status, fields, b"")
        content, received = content_of(answer, method, rest)
        yield answer._replace(content=content)


def content_of(answer, method, rest):
    """The content of an answer and what stands behind it (RFC 9112 §6.3)."""
    if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
        return b"", rest
    if "chunked" in (answer.field("Transfer-Encoding") or "").lower():
        content = b""
        while True:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size.split(b";")[0] or b"0", 16)
            content, rest = content + rest[:length], rest[length + 2 :]
            if length == 0:
                return content, rest
    length = answer.field("Content-Length")
    if length is None:
        return rest, b""
    return rest[: int(length)], rest[int(length) :]


# The observers.


def status(outcome):
    """`404`, or the fact that the secret came with it."""
    if outcome.last is None:
        return nothing(outcome)
    leak = " with the SECRET" if SECRET.encode() in outcome.received else ""
    return f"{outcome.last.status}{leak}"


def boundary(outcome):
    """`400, closed, canary silent`: where the server believes that the request ended."""
    if outcome.last is None:
        return nothing(outcome)
    canary = "SINGS" if CANARY.encode() in outcome.received else "silent"
    return f"{outcome.last.status}, {'closed' if outcome.closed else 'open'}, canary {canary}"


def allow(outcome):
    """`405, Allow: GET, HEAD`"""
    return with_field(outcome, "Allow")


def location(outcome):
    """`301, Location: /dir/`, with the name of the server, where it gives one, as AUTHORITY."""
    text = with_field(outcome, "Location")
    return re.sub(r"http://[^/]*", "http://AUTHORITY", text)


def with_field(outcome, name):
    """The status and one field."""
    if outcome.last is None:
        return nothing(outcome)
    value = outcome.last.field(name)
    return f"{outcome.last.status}, no {name}" if value is None else f"{outcome.last.status}, {name}: {value}"


def ranges(outcome):
    """`206 0-0/1000`, `206 in 2 parts`, `416 */1000`, `200 of 1000 bytes`."""
    if outcome.last is None:
        return nothing(outcome)
    answer = outcome.last
    content_type = answer.field("Content-Type") or ""
    if "multipart/byteranges" in content_type:
        parts = answer.content.lower().count(b"content-range:")
        return f"{answer.status} in {parts} parts"
    content_range = answer.field("Content-Range")
    if content_range is not None:
        return f"{answer.status} {content_range.removeprefix('bytes ')}"
    if answer.status == 416:
        return "416, no Content-Range"
    length = answer.field("Content-Length")
    return f"{answer.status} of {length} bytes" if answer.status < 300 else str(answer.status)


def head_only(outcome):
    """`200, Content-Length: 1000, no content`"""
    if outcome.last is None:
        return nothing(outcome)
    sent = outcome.received.partition(b"\r\n\r\n")[2]
    return f"{with_field(outcome, 'Content-Length')}, {len(sent) or 'no'} bytes of content"


def negotiated(outcome):
    """`200 gzip, Vary: Accept-Encoding`"""
    if outcome.last is None:
        return nothing(outcome)
    coding = outcome.last.field("Content-Encoding") or "identity"
    vary = outcome.last.field("Vary")
    what = "" if outcome.last.status == 304 else f" {coding}"
    return f"{outcome.last.status}{what}, {'no Vary' if vary is None else f'Vary: {vary}'}"


def two_tags(outcome):
    """Whether the tags of two codings of one resource differ."""
    answers = [answer for answer in outcome.answers if answer.status == 200]
    if len(answers) != 2:
        return f"{len(answers)} answers of 2"
    codings = [answer.field("Content-Encoding") for answer in answers]
    if codings[0] == codings[1]:
        return "one coding only"
    first, second = (answer.field("ETag") for answer in answers)
    if first is None or second is None:
        return "no tag on one of them"
    return "two tags" if first != second else "ONE TAG for both"


def persistence(outcome):
    """`200, Connection: keep-alive, open`"""
    return f"{with_field(outcome, 'Connection')}, {'closed' if outcome.closed else 'open'}"


def statuses(outcome):
    """All statuses in their order, those of 1xx too: `100 200, open`."""
    if not outcome.answers:
        return nothing(outcome)
    codes = " ".join(str(answer.status) for answer in outcome.answers)
    return f"{codes}, {'closed' if outcome.closed else 'open'}"


def in_order(outcome):
    """How many of the pipelined answers came, and whether in the order of the requests."""
    numbers = [answer.content[:1] for answer in outcome.answers if answer.status == 206]
    order = "in order" if numbers == sorted(numbers) else "OUT OF ORDER"
    return f"{len(numbers)} answers, {order}"


def version_told(outcome):
    """Whether Server or the page of an error gives the version of the server away."""
    if outcome.last is None:
        return nothing(outcome)
    version = re.compile(r"(?:nginx|lighttpd|otus-httpd)/\d")
    field = "version" if version.search(outcome.last.field("Server") or "") else "no version"
    page = "version" if version.search(outcome.last.content.decode("latin-1")) else "no version"
    return f"{outcome.last.status}, {field} in Server, {page} in the page"


def nothing(outcome):
    """There was no answer that could be read."""
    what = "unreadable answer" if outcome.received else "no answer"
    return f"{what}, {'closed' if outcome.closed else 'open'}"

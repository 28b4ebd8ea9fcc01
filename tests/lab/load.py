#!/usr/bin/env python3
"""Asks a server without a pause while something is done to it, and counts what a client would call lost.

  load.py requests [--connections N] [--seconds N] [--report FILE] [--any] URL FILE
  load.py download [--rate MIB] [--begun FILE] [--report FILE] URL SHA256

`requests`: one half of the connections asks once each, with a fresh connection for every request; the
other half keeps its connections. By HTTPS where the URL says so, whatever the certificate. Nothing is tried a second time: a request that is refused, reset,
answered short, with another status or with other octets than FILE has is a failure. It ends at
SIGTERM or after --seconds. With --any, the content is not compared.

`download`: reads one large document, no faster than --rate, and compares its SHA-256.

Order: arguments, the clients, the report as one JSON document, the exit code: 0 without failures.

Invariant: every loop ends, by the time or by the octets.
"""

import argparse
import asyncio
import hashlib
import json
import signal
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

ANSWER_SECONDS_MAX = 20
# A client that cannot connect waits before the next try: the counts shall tell of the server, not
# of how fast a loop can fail.
PAUSE_AFTER_FAILURE_SECONDS = 0.05
REQUESTS_PER_KEPT_CONNECTION_MAX = 500
FAILURES_SHOWN_MAX = 8


class Failure(Exception):
    """A request that was lost, by the kind of its loss."""

    def __init__(self, kind, detail=""):
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


class Tally:
    """What came of all requests."""

    def __init__(self):
        self.answered = 0
        self.kinds = {}
        self.shown = []
        self.longest_seconds = 0.0
        # A connection attempt that the kernel dropped is repeated after a second: it would show here.
        self.longest_connect_seconds = 0.0
        self.began = time.monotonic()

    def success(self, seconds):
        self.answered += 1
        self.longest_seconds = max(self.longest_seconds, seconds)

    def failure(self, failure, kept, seconds):
        self.kinds[failure.kind] = self.kinds.get(failure.kind, 0) + 1
        if len(self.shown) < FAILURES_SHOWN_MAX:
            at = time.monotonic() - self.began
            which = "kept" if kept else "fresh"
            self.shown.append(f"at {at:.3f} s after {seconds * 1000:.0f} ms, {which} connection: {failure}")

    def report(self):
        seconds = time.monotonic() - self.began
        return {
            "answered": self.answered,
            "failed": sum(self.kinds.values()),
            "kinds": self.kinds,
            "longest_connect_ms": round(self.longest_connect_seconds * 1000),
            "longest_wait_ms": round(self.longest_seconds * 1000),
            "seconds": round(seconds, 2),
            "shown": self.shown,
        }


async def read_answer(reader, expected, begun):
    """Reads one answer; says whether the connection stays. `begun` is what a kept connection had before."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as cut:
        kind = "short" if cut.partial else ("closed on a kept connection" if begun else "closed unanswered")
        raise Failure(kind, repr(cut.partial[:60])) from None
    lines = head.decode("latin-1").split("\r\n")
    status = lines[0].split(" ")[1]
    fields = {}
    for line in lines[1:]:
        field_name, _, value = line.partition(":")
        fields[field_name.lower()] = value.strip().lower()
    length = int(fields.get("content-length", "0"))
    try:
        content = await reader.readexactly(length)
    except asyncio.IncompleteReadError as cut:
        raise Failure("short", f"{len(cut.partial)} of {length} octets") from None
    if status != "200":
        raise Failure(f"status {status}")
    if expected is not None and content != expected:
        raise Failure("wrong content", repr(content[:60]))
    return fields.get("connection") != "close"


async def client(where, expected, kept, tally, ending):
    """One client, which asks until the end."""
    request_line = f"GET {where.path or '/'}{'?' if where.query else ''}{where.query} HTTP/1.1\r\nHost: {where.netloc}\r\n"
    request = (request_line + ("\r\n" if kept else "Connection: close\r\n\r\n")).encode()
    requests_max = REQUESTS_PER_KEPT_CONNECTION_MAX if kept else 1
    port, security = where.port or 80, None
    if where.scheme == "https":
        # Certificates for trials, which no authority vouches for.
        port, security = where.port or 443, ssl._create_unverified_context()
    while not ending.is_set():
        writer = None
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                reader, writer = await asyncio.open_connection(where.hostname, port, ssl=security)
            tally.longest_connect_seconds = max(tally.longest_connect_seconds, time.monotonic() - began)
            stays, number = True, 0
            while stays and number < requests_max and not ending.is_set():
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    writer.write(request)
                    await writer.drain()
                    stays = await read_answer(reader, expected, number)
                now = time.monotonic()
                tally.success(now - began)
                began, number = now, number + 1
        except Exception as error:
            failure = error if isinstance(error, Failure) else Failure(type(error).__name__, str(error))
            tally.failure(failure, kept, time.monotonic() - began)
            await asyncio.sleep(PAUSE_AFTER_FAILURE_SECONDS)
        finally:
            if writer is not None:
                writer.close()


async def requests(options):
    with open(options.file, "rb") as file:
        expected = None if options.any else file.read()
    where = urlsplit(options.url)
    tally, ending = Tally(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    loop.call_later(options.seconds, ending.set)
    await asyncio.gather(
        *(client(where, expected, one % 2 == 1, tally, ending) for one in range(options.connections))
    )
    return tally.report()


def download(options):
    where = urlsplit(options.url)
    began = time.monotonic()
    digest, received = hashlib.sha256(), 0
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        # A small buffer keeps the document in the server's hands for as long as the reader is slow.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        connection.settimeout(ANSWER_SECONDS_MAX)
        connection.connect((where.hostname, where.port or 80))
        connection.sendall(f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(1)
            if not more:
                return {"failed": 1, "shown": [f"closed in the head: {head!r}"]}
            head += more
        length = None
        for line in head.decode("latin-1").split("\r\n"):
            if line.lower().startswith("content-length:"):
                length = int(line.split(":")[1])
        failure = None
        if options.begun:
            open(options.begun, "w", encoding="utf-8").close()
        try:
            while length is not None and received < length:
                part = connection.recv(min(1 << 20, length - received))
                if not part:
                    failure = f"short: {received} of {length} octets"
                    break
                digest.update(part)
                received += len(part)
                ahead = received / (options.rate * (1 << 20)) - (time.monotonic() - began)
                if ahead > 0:
                    time.sleep(ahead)
        except OSError as error:
            failure = f"after {received} of {length} octets: {type(error).__name__}: {error}"
    if failure is None and b" 200 " not in head.split(b"\r\n")[0]:
        failure = f"not 200: {head[:60]!r}"
    if failure is None and digest.hexdigest() != options.digest:
        failure = f"another SHA-256: {digest.hexdigest()}"
    return {
        "received": received,
        "failed": 0 if failure is None else 1,
        "seconds": round(time.monotonic() - began, 2),
        "shown": [failure] if failure else [],
    }


def main():
    parser = argparse.ArgumentParser(description="a load that counts what is lost")
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("requests")
    one.add_argument("--connections", type=int, default=50)
    one.add_argument("--seconds", type=float, default=300)
    one.add_argument("--any", action="store_true")
    one.add_argument("--report")
    one.add_argument("url")
    one.add_argument("file")
    one = kinds.add_parser("download")
    one.add_argument("--rate", type=float, default=100)
    one.add_argument("--begun", help="a file that is made once the first octets have come")
    one.add_argument("--report")
    one.add_argument("url")
    one.add_argument("digest")
    options = parser.parse_args()
    report = asyncio.run(requests(options)) if options.kind == "requests" else download(options)
    text = json.dumps(report, indent=1)
    print(text)
    if options.report:
        with open(options.report, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    done = report.get("answered", 1) > 0 and report["failed"] == 0
    sys.exit(0 if done else 1)


if __name__ == "__main__":
    main()

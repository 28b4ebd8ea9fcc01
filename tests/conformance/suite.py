#!/usr/bin/env python3
"""RFC 9113, 7541 and 9218, sentence by sentence, asked of a server; and known attacks.

    suite.py [--otus PATH] [--only WORD] [--transport plain|tls|both] [--verbose]
    suite.py --address HOST:PORT [--transport plain|tls] ...   another server, which runs already

Prints a line for each case that failed and for each section that has none, and closes with
`N cases, M failed`. Order: the server; the cases, many at a time; the attacks, fewer at a time,
while another client is answered; what became of the server.

Invariant: a case that passes over plain text has to pass over TLS too.
"""

import argparse
import os
import random
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

# The working tree is to stay free of caches.
sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).resolve().parents[1]))

import attacks  # noqa: E402, F401
import compression  # noqa: E402, F401
import frames  # noqa: E402, F401
import kinds  # noqa: E402, F401
import messages  # noqa: E402, F401
import priorities  # noqa: E402, F401
import streams  # noqa: E402, F401
from cases import CASES  # noqa: E402
from pairs import self_signed  # noqa: E402
from peer import BIG, BIG_BYTES, Wrong  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
JOBS = 12
START_SECONDS_MAX = 20
# What the process may hold more of after all attacks than before them, at its highest.
GROWTH_KB_MAX = 128 * 1024
FILE_BYTES = 60_000
CONFIGURATION = """
root = "{root}"
listen = ["127.0.0.1:0", "127.0.0.1:0 tls"]
workers = 2
h2c = true
read_timeout = 3
keepalive_timeout = 3
send_timeout = 3
send_rate_min = 0
drain_timeout = 1
[tls]
certificate = "{certificate}"
key = "{key}"
"""


class Place(NamedTuple):
    """Where a server is."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    name: str = "localhost"

    def context(self):
        """TLS as clients of HTTP/2 speak it; whose certificate it is does not matter here."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made

    def over_tls(self):
        context = self.context()
        context.set_alpn_protocols(["h2"])
        return self._replace(tls=context)


class Server:
    """The server under test, over a site of its own."""

    def __init__(self, binary, scratch, make_pair=self_signed):
        self.log, self.out = scratch / "server.log", scratch / "server.out"
        root = scratch / "root"
        (root / "folder").mkdir(parents=True)
        (root / "index.html").write_text("<!doctype html>\n<title>conformance</title>\n")
        (root / "folder/index.html").write_text("folder")
        (root / BIG[1:]).write_bytes(random.Random(1).randbytes(BIG_BYTES))
        (root / "file.bin").write_bytes(random.Random(2).randbytes(FILE_BYTES))
        certificate, key = make_pair(scratch, "localhost")
        file = scratch / "otus-httpd.conf"
        file.write_text(CONFIGURATION.format(root=root, certificate=certificate, key=key))
        user = ["--user", "root"] if os.geteuid() == 0 else []
        with open(self.out, "wb") as stdout, open(self.log, "wb") as stderr:
            self.process = subprocess.Popen([str(binary), "-c", str(file), *user], stdout=stdout, stderr=stderr)
        deadline = time.monotonic() + START_SECONDS_MAX
        while len(found := re.findall(r" on (https?)://127\.0\.0\.1:(\d+)/", self.out.read_text())) < 2:
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the server does not start:\n{self.log.read_text()}")
            time.sleep(0.05)
        ports = dict(found)
        plain = Place("127.0.0.1", int(ports["http"]), None)
        self.places = {"plain": plain, "tls": plain._replace(port=int(ports["https"])).over_tls()}

    def memory_kb(self):
        """The most that the process ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s*(\d+)", status)[1])

    def end(self):
        """What is wrong with how it ended."""
        if self.process.poll() is not None:
            return [f"the server ended by itself with {self.process.returncode}"]
        self.process.terminate()
        try:
            status = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return ["the server does not end"]
        wrong = [f"the server ended with {status}"] if status else []
        if "panic" in self.log.read_text(errors="replace").lower():
            wrong.append("the server panicked")
        return wrong


def tried(job):
    """Runs a case; what was wrong, or None."""
    found, place = job
    try:
        found.run(place)
    except Wrong as why:
        return str(why)
    except TimeoutError:
        return "nothing came in time"
    except Exception as fault:  # Whatever goes wrong in a case is its failure.
        return f"{type(fault).__name__}: {fault}"
    return None


def run(jobs, transport, count, verbose):
    """How many of the jobs failed."""
    failed = 0
    with ThreadPoolExecutor(count) as pool:
        for (found, _), why in zip(jobs, pool.map(tried, jobs)):
            if why is not None:
                failed += 1
                print(f"FAILED {transport} {found.section}: {found.title}: {why}", flush=True)
            elif verbose:
                print(f"ok {transport} {found.section}: {found.title}", flush=True)
    return failed


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="otus-httpd-conformance-") as scratch:
        server = None
        if arguments.address:
            host, port = arguments.address.rsplit(":", 1)
            place = Place(host, int(port), None)
            places = {"plain": place, "tls": place.over_tls()}
        else:
            server = Server(arguments.otus.resolve(), Path(scratch))
            places = server.places
        wanted = ["plain", "tls"] if arguments.transport == "both" else [arguments.transport]
        total = failed = 0
        for transport in wanted:
            mine = [found for found in CASES if arguments.only in f"{found.section}: {found.title}" and found.only in (None, transport)]
            calm = [(found, places[transport]) for found in mine if found.origin != "attacks"]
            rough = [(found, places[transport]) for found in mine if found.origin == "attacks"]
            failed += run(calm, transport, JOBS, arguments.verbose)
            before = server and server.memory_kb()
            failed += run(rough, transport, JOBS, arguments.verbose)
            if server and rough and (growth := server.memory_kb() - before) > GROWTH_KB_MAX:
                failed += 1
                print(f"FAILED {transport} memory: it grew by {growth} kB during attacks")
            total += len(mine)
            sections = Counter(found.section.split()[0] for found in mine)
            print(f"   {transport}: " + ", ".join(f"{count} of {name}" for name, count in sections.items()))
        for why in server.end() if server else []:
            failed += 1
            print(f"FAILED {why}")
            print(server.log.read_text(errors="replace")[-3000:])
    print(f"{total} cases, {failed} failed")
    sys.exit(1 if failed else 0)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Conformance of a server to RFC 9113, 7541 and 9218.")
    parser.add_argument("--otus", type=Path, default=PROJECT / "target/release/otus-httpd", help="its binary")
    parser.add_argument("--address", help="a server that runs already")
    parser.add_argument("--transport", choices=["plain", "tls", "both"], default="both")
    parser.add_argument("--only", default="", help="only cases whose line has this")
    parser.add_argument("--verbose", action="store_true", help="a line for each case that passes, too")
    return parser.parse_args()


if __name__ == "__main__":
    main()

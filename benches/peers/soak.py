"""Everything at once for a long time, on otus-httpd alone: does it give back what it takes?

Small and large answers on keep-alive connections, a connection for each request, transfers that
clients abort, refusals, ranges, and idle connections that ask now and then. Each second the
server's memory and descriptors are looked at. After a warm-up the last third of these is compared
with the first.

Order: start · check · idle connections · loads, each in a thread of its own · samples · loads end ·
check · verdict.

Invariant: no error of any load is overlooked, and the verdict is about what is held, not how fast
anything was.
"""

import socket
import statistics
import threading
import time
from dataclasses import dataclass, field
from dataclasses import replace as replaced

import tools
from client import DESCRIPTORS_BESIDE, HOST, Wrong, check, idle_connections, still_open
from servers import OURS

# All connections together; those that idle are what the others leave.
CONNECTIONS_MAX = 20_000
# The whole set of what is asked for is in memory, and the allocator has settled, by then.
WARM_SHARE, WARM_SECONDS_MIN = 0.2, 20
# Growth from the first third to the last that is noise: the allocator's rounding, and what is under
# way in the moment of a sample.
RESIDENT_SHARE_MAX, RESIDENT_BYTES_MAX = 0.05, 4 << 20
DESCRIPTORS_MAX = 64
# A turn of a load; the next begins at once.
TURN_SECONDS = 5
CHURN_REQUESTS, CHURN_CONNECTIONS = 2_000, 50
# Between two turns of churn, so that the ports of the last are free again.
CHURN_PAUSE_SECONDS = 1
ABORTED_AT_BYTES = 300_000
ABORTS_A_SECOND = 50
# Each idle connection asks once in this time, well within the server's timeout.
IDLE_ROUND_SECONDS = 60
SMALL, PAGE, LARGEST = "/small.html", "/page.html", "/cold-00.bin"


@dataclass
class Samples:
    """What was seen of the server, a second apart."""

    resident: list = field(default_factory=list)
    descriptors: list = field(default_factory=list)


class Soak:
    """The loads, and how often each of them had its turn."""

    def __init__(self, bench, server):
        self.bench, self.server, self.port = bench, server, server.port
        self.over = threading.Event()
        self.turns, self.failures = {}, []
        self.idle = []
        # Made before there are threads.
        self.lists = {path: bench.list_of("soak", [path]) for path in (PAGE, LARGEST)}

    def begin(self):
        loads = {
            "small": (self.wrk, self.question(SMALL), 64, False),
            "missing": (self.wrk, replaced(self.question(SMALL), path="/missing.html"), 16, True),
            "range": (self.wrk, self.bench.documents.part_question("soak", PAGE, 400_000, 408_191), 16, False),
            "large": (self.drain, PAGE, 16),
            "from-disk": (self.drain, LARGEST, 2),
            "churn": (self.churn,),
            "aborts": (self.aborts,),
            "idle": (self.idlers,),
        }
        self.threads = [
            threading.Thread(target=self.repeat, args=(name, *load), name=name) for name, load in loads.items()
        ]
        for thread in self.threads:
            thread.start()

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def repeat(self, name, load, *arguments):
        while not self.over.is_set() and not self.failures:
            try:
                load(name, *arguments)
            except (Wrong, OSError) as error:
                self.failures.append(f"{name}: {error}")
            self.turns[name] = self.turns.get(name, 0) + 1

    def question(self, path):
        return self.bench.documents.question("soak", path)

    def wrk(self, name, question, connections, refusals):
        file = self.server.settings.scratch / f"request-{name}"
        file.write_bytes(question.bytes())
        tools.wrk(self.port, TURN_SECONDS, connections, "same.lua", [file], refusals)

    def drain(self, name, path, connections):
        tools.drain(self.bench.binaries["drain"], self.port, connections, self.lists[path], TURN_SECONDS)

    def churn(self, name):
        tools.ab(self.port, SMALL, CHURN_REQUESTS, CHURN_CONNECTIONS, self.server.settings.scratch)
        self.over.wait(CHURN_PAUSE_SECONDS)

    def aborts(self, name):
        """Goes away within an answer: one from memory and one from disk in turn."""
        for number in range(ABORTS_A_SECOND):
            with socket.create_connection((HOST, self.port), timeout=60) as peer:
                peer.sendall(self.question(LARGEST if number % 2 else PAGE).bytes())
                left = ABORTED_AT_BYTES
                while left > 0 and (count := len(peer.recv(left))):
                    left -= count
                if left > 0:
                    raise Wrong("an answer ended before it was aborted")
        self.over.wait(1)

    def idlers(self, name):
        """A part of the idle connections asks, once around in IDLE_ROUND_SECONDS."""
        request, turn = self.question(SMALL).bytes(), self.turns.get(name, 0)
        for peer in self.idle[turn % IDLE_ROUND_SECONDS :: IDLE_ROUND_SECONDS]:
            peer.sendall(request)
            if not peer.recv(1 << 16).startswith(b"HTTP/1.1 200 "):
                raise Wrong("an idle connection is not answered")
        self.over.wait(1)


def soak(bench, minutes):
    """Runs it; gives a line for each thing that is wrong."""
    seconds = 60 * minutes
    warm = max(WARM_SECONDS_MIN, WARM_SHARE * seconds)
    with bench.running(Site(), OURS) as server:
        run, samples = Soak(bench, server), Samples()
        questions = [run.question(path) for path in (SMALL, PAGE, LARGEST)]
        check(server.port, questions)
        # Both ends of a connection are ours, in two processes; the loads have theirs in others.
        count = min(CONNECTIONS_MAX, bench.descriptors - DESCRIPTORS_BESIDE) - connections_beside()
        run.idle = idle_connections(server.port, questions[0], count)
        print(f"soak: {minutes:g} minutes after {warm:g} seconds of warm-up, {count:,} idle connections", flush=True)
        run.begin()
        try:
            sample(server, run, warm, Samples())
            sample(server, run, seconds, samples)
        finally:
            run.end()
        wrong = list(run.failures)
        if not wrong:
            check(server.port, questions)
            open_ = still_open(run.idle)
            if open_ != count:
                wrong.append(f"it closed {count - open_} of {count} idle connections")
        if server.process.poll() is not None:
            wrong.append(f"it ended: {server.last_words()}")
        for peer in run.idle:
            peer.close()
    if server.process.returncode:
        wrong.append(f"it ended with {server.process.returncode}")
    print("turns: " + ", ".join(f"{name} {turns}" for name, turns in sorted(run.turns.items())))
    return wrong + verdict(samples)


class Site:
    """What bench.running asks of a work."""

    documents = "soak"

    def settings(self, bench):
        # So that the largest comes from disk each time.
        return {"cache_file_bytes_max": bench.documents.sizes.cold_bytes // 2}

    def question(self, bench):
        return bench.documents.question(self.documents, SMALL)


def connections_beside():
    """Those of the loads, and some for what lingers."""
    return 64 + 16 + 16 + 16 + 2 + CHURN_CONNECTIONS + 1 + 100


def sample(server, run, seconds, into):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not run.failures and server.process.poll() is None:
        into.resident.append(server.resident_bytes())
        into.descriptors.append(server.descriptors())
        time.sleep(1)


def verdict(samples):
    """Prints the first and the last third, and gives what grew."""
    wrong = []
    for name, series, share, least in (
        ("resident memory, KiB", [bytes_ / 1024 for bytes_ in samples.resident], RESIDENT_SHARE_MAX,
         RESIDENT_BYTES_MAX / 1024),
        ("descriptors", samples.descriptors, 0, DESCRIPTORS_MAX),
    ):  # fmt: skip
        third = len(series) // 3
        if not third:
            wrong.append(f"{name}: too few samples")
            continue
        first, last = series[:third], series[-third:]
        for which, part in (("first", first), ("last", last)):
            print(f"{name}, {which} third: median {statistics.median(part):,.0f}, "
                  f"from {min(part):,.0f} to {max(part):,.0f}")  # fmt: skip
        growth, bound = statistics.median(last) - statistics.median(first), max(least, share * statistics.median(first))
        print(f"{name}: {growth:+,.0f}, at most {bound:+,.0f}")
        if growth > bound:
            wrong.append(f"{name} grew by {growth:,.0f}, more than {bound:,.0f}")
    return wrong

"""How each kind of work is checked, warmed up and measured. The table of them is in scenarios.py.

A work says what it gives with `measure`, a dictionary of figures: `rate` (requests, or bytes where
`unit` is MB/s, a second), `cpu_us` (the server's CPU for a request), `p50_us`, `p99_us`, `p999_us`,
and what is its own.

Invariant: a server's answers are checked before it is measured, and a figure comes from a run
without a single error.
"""

import time
from dataclasses import dataclass, field
from dataclasses import replace as replaced

import tools
from client import Wrong, check, idle_connections, still_open
from documents import MANY_BYTES
from wire import PLAIN

# Files of a list that are looked at before the load.
CHECKED_OF_LIST = 200
# The hot load beside a cold one: enough requests for a p99.9, few enough to leave the core to the cold one.
HOT_CONNECTIONS, HOT_PAUSE_MILLISECONDS = 16, 1
COLD_STARTS_SECONDS = 0.3
# Until the server has forgotten what it needed for the last request.
SETTLE_SECONDS = 2
IDLE_SECONDS = 2


@dataclass
class Bar:
    """What we must reach: `metric` of ours `sign` `factor` times that of the best peer, of `against`, or as such."""

    metric: str
    sign: str
    factor: float
    against: str = "best"


@dataclass
class Work:
    name: str
    work: str
    documents: str = "site"
    bars: list = field(default_factory=list)
    peers: tuple = ("nginx", "lighttpd", "h2o", "caddy")
    path: str = "/small.html"
    connections: int = 64
    # Share of the documents that our cache may hold; None leaves it at its default.
    cache_share: float | None = None
    # What is spoken; see wire.py.
    wire: str = PLAIN
    # Whether one start of a server serves all rounds.
    keeps_running = True
    # Of `rate`.
    unit = "requests/s"

    def question(self, bench):
        return bench.documents.question(self.documents, self.path)

    def settings(self, bench):
        """What is beside the ordinary in this work's servers."""
        return {}

    def prepare(self, bench):
        """What is done once, before any server is started."""

    def check(self, bench, server):
        check(server.port, [self.question(bench)])

    def warm(self, bench, server):
        """Has the server know its documents."""
        self.measure(bench, server, 0, bench.warm_seconds)

    def measure(self, bench, server, number, seconds):
        raise NotImplementedError

    def baselines(self, bench):
        """Figures that are no server's."""
        return {}


class Same(Work):
    """One request over and over, from wrk."""

    refusals = False

    def asked(self, bench, server):
        return self.question(bench)

    def check(self, bench, server):
        check(server.port, [self.asked(bench, server)])

    def measure(self, bench, server, number, seconds):
        file = server.settings.scratch / "request"
        if number == 0:
            file.write_bytes(self.asked(bench, server).bytes())
        with metered(server) as meter:
            load = tools.wrk(server.port, seconds, self.connections, "same.lua", [file], self.refusals)
        return meter.of(load)


class Pipeline(Work):
    """Several requests in one write, from drain: wrk's latencies take each request for a write of its own."""

    batch = 16

    def check(self, bench, server):
        check(server.port, [self.question(bench)], self.batch)

    def measure(self, bench, server, number, seconds):
        listed = bench.list_of(self.documents, [self.path])
        with metered(server) as meter:
            load = tools.drain(bench.binaries["drain"], server.port, self.connections, listed, seconds, self.batch)
        return meter.of(load)


class Missing(Same):
    refusals = True

    def asked(self, bench, server):
        # What the text says is each server's own.
        return replaced(self.question(bench), path="/missing.html", status=404, length=None, digest=None)


class NotModified(Same):
    """As a browser asks: with both validators of the server's own earlier answer."""

    def asked(self, bench, server):
        fields = check(server.port, [self.question(bench)]).fields
        pairs = (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified"))
        conditions = {condition: fields[validator] for condition, validator in pairs if validator in fields}
        return replaced(self.question(bench), status=304, length=0, digest=None, fields=conditions)


class Range(Same):
    first, last = 400_000, 408_191

    def asked(self, bench, server):
        return bench.documents.part_question(self.documents, self.path, self.first, self.last)


class Drawn(Work):
    """Many files, drawn at random by wrk. The peers have them all in the page cache."""

    # The list of paths, by the name of a method of the documents.
    drawn_from = "mix_paths"

    def paths(self, bench):
        return getattr(bench.documents, self.drawn_from)()

    def check(self, bench, server):
        distinct = list(dict.fromkeys(self.paths(bench)))
        some = distinct[:: max(1, len(distinct) // CHECKED_OF_LIST)]
        check(server.port, [bench.documents.question(self.documents, path) for path in some])

    def prepare(self, bench):
        bench.documents.warm(self.documents)

    def warm(self, bench, server):
        once = bench.list_of(self.documents, sorted(set(self.paths(bench))))
        tools.drain(bench.binaries["drain"], server.port, self.connections, once)
        self.measure(bench, server, 0, bench.warm_seconds)

    def measure(self, bench, server, number, seconds):
        listed = bench.list_of(self.documents, self.paths(bench))
        with metered(server) as meter:
            load = tools.wrk(server.port, seconds, self.connections, "drawn.lua", [listed, number])
        return meter.of(load)


class Many(Drawn):
    drawn_from = "many_paths"

    def settings(self, bench):
        if not self.cache_share:
            return {}
        return {"cache_bytes": int(len(self.paths(bench)) * MANY_BYTES * self.cache_share)}


class Large(Work):
    """Content so large that wrk would measure itself: it reads 8 KiB at a time."""

    unit = "MB/s"

    def prepare(self, bench):
        bench.documents.warm(self.documents)

    def warm(self, bench, server):
        once_each = bench.list_of(self.documents, [self.path] * self.connections)
        tools.drain(bench.binaries["drain"], server.port, self.connections, once_each)

    def measure(self, bench, server, number, seconds):
        question = self.question(bench)
        listed = bench.list_of(self.documents, [self.path])
        with metered(server) as meter:
            load = tools.drain(bench.binaries["drain"], server.port, self.connections, listed, seconds)
        # What was under way in the end is work too.
        load.requests = load.bytes / question.length
        return meter.of(load) | {"rate": load.bytes / load.seconds}


class Churn(Work):
    """A connection for each request."""

    def measure(self, bench, server, number, seconds):
        requests = bench.churn_requests if number else max(self.connections, bench.churn_requests // 10)
        with metered(server) as meter:
            load = tools.ab(server.port, self.path, requests, self.connections, server.settings.scratch)
        return meter.of(load)


class Cold(Work):
    """Large files that are in nobody's memory, each once.

    A server is started for each round, for what the last one left in its own memory would be hot."""

    keeps_running = False
    unit = "MB/s"

    def measure(self, bench, name, number, seconds):
        paths = bench.documents.cold_paths()
        listed = bench.list_of(self.documents, paths)
        with bench.running(self, name) as server:
            bench.documents.forget(self.documents, bench.drops_caches)
            with metered(server) as meter:
                load = tools.drain(bench.binaries["drain"], server.port, self.connections, listed)
            # Only now: a file that was looked at before would be hot.
            check(server.port, [bench.documents.question(self.documents, paths[0])])
        return meter.of(load) | {"rate": load.bytes / load.seconds}

    def baselines(self, bench):
        bench.documents.forget(self.documents, bench.drops_caches)
        root = bench.documents.root(self.documents)
        rate = tools.dd(f"{root}{path}" for path in bench.documents.cold_paths())
        return {"dd": {"rate": rate, "command": "dd iflag=direct bs=1M, one file after another"}} if rate else {}


class Tail(Work):
    """What small hot requests wait while large cold files are read.

    The cold files come round again and again. They stay cold: drain has the page cache forget each
    before it asks for it, and ours may not keep files of that size."""

    keeps_running = False

    def settings(self, bench):
        return {"cache_file_bytes_max": bench.documents.sizes.cold_bytes // 2}

    def measure(self, bench, name, number, seconds):
        root, paths = bench.documents.root(self.documents), bench.documents.cold_paths()
        listed = bench.list_of(self.documents, paths)
        with bench.running(self, name) as server:
            file = server.settings.scratch / "request"
            file.write_bytes(self.question(bench).bytes())
            bench.documents.forget(self.documents, bench.drops_caches)
            beside = tools.draining(bench.binaries["drain"], server.port, self.connections, listed, root)
            with beside as finish:
                time.sleep(COLD_STARTS_SECONDS)
                hot = tools.wrk(server.port, seconds, HOT_CONNECTIONS, "paced.lua", [file, HOT_PAUSE_MILLISECONDS])
                cold = finish()
            check(server.port, [self.question(bench), bench.documents.question(self.documents, paths[0])])
        command = f"{hot.command}, beside {cold.command}"
        return {"rate": hot.requests / hot.seconds, **hot.latencies(), "cold_rate": cold.bytes / cold.seconds,
                "load_busy": hot.busy, "command": command}  # fmt: skip


class Idle(Work):
    """What an idle connection holds."""

    keeps_running = False

    def measure(self, bench, name, number, seconds):
        question = self.question(bench)
        with bench.running(self, name) as server:
            check(server.port, [question])
            time.sleep(SETTLE_SECONDS if number else 0)
            before = server.resident_bytes()
            sockets = idle_connections(server.port, question, bench.idle_connections)
            try:
                time.sleep(bench.settle_seconds)
                after, begin = server.resident_bytes(), server.cpu_seconds()
                time.sleep(bench.idle_seconds)
                spent, open_ = server.cpu_seconds() - begin, still_open(sockets)
            finally:
                for peer in sockets:
                    peer.close()
        if open_ != len(sockets):
            raise Wrong(f"it closed {len(sockets) - open_} of {len(sockets)} idle connections")
        return {"bytes_a_connection": (after - before) / len(sockets), "idle_cpu_ms": spent * 1000,
                "connections": len(sockets), "command": "one GET on each, then silence"}  # fmt: skip


class Start(Work):
    """From the start of the process to the first whole answer."""

    keeps_running = False
    starts = 5

    def measure(self, bench, name, number, seconds):
        times = []
        for _ in range(self.starts):
            begin = time.monotonic()
            with bench.running(self, name):
                times.append(time.monotonic() - begin)
        return {"start_ms": 1000 * sorted(times)[len(times) // 2], "command": f"{self.starts} starts"}


class Scale(Work):
    """Two workers on two cores against one, under a load that costs next to nothing: answers are
    counted by their bytes, and dropped in the kernel. wrk and ab need as much CPU as the server."""

    keeps_running = False
    batch = 64

    def measure(self, bench, name, number, seconds):
        listed = bench.list_of(self.documents, [self.path])
        rates = []
        for workers in (1, 2):
            with bench.running(self, name, workers=workers, cores=bench.all_cores) as server, bench.unbound():
                check(server.port, [self.question(bench)])
                arguments = bench.binaries["drain"], server.port, self.connections, listed
                tools.drain(*arguments, bench.warm_seconds, self.batch)
                with metered(server) as meter:
                    load = tools.drain(*arguments, seconds, self.batch)
            rates.append(load.bytes / load.seconds)
        figures = meter.of(load)
        rate = rates[1] if self.unit == "MB/s" else figures["rate"]
        return figures | {"rate": rate, "scale": rates[1] / rates[0]}


class ScaleLarge(Scale):
    unit = "MB/s"
    batch = 1


class metered:
    """What a server spends in the block."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.begin = self.server.cpu_seconds()
        return self

    def __exit__(self, *_):
        self.spent = self.server.cpu_seconds() - self.begin
        if self.server.process.poll() is not None:
            raise Wrong(f"it ended under load: {self.server.last_words()}")

    def of(self, load):
        if not load.requests:
            raise Wrong(f"no answer to {load.command}")
        return {"rate": load.requests / load.seconds, "cpu_us": 1e6 * self.spent / load.requests, **load.latencies(),
                "server_busy": self.spent / load.seconds, "load_busy": load.busy, "command": load.command}  # fmt: skip



#!/usr/bin/env python3
"""Measures otus-httpd beside its peers, round by round on the same work, and prints medians.

    bench.py [--otus PATH] [--secure PATH] [--rounds N] [--seconds N] [--only A,B] [--servers A,B] [--output DIR] [--smoke]
    bench.py [--otus PATH] [--output DIR] --soak [MINUTES]

Every server has one worker on core 0; the load is on core 1. As root all of it runs in a network
namespace of its own, with nobody else's traffic and with a congestion control of our choice; it
ends with the bench. Servers run in turn (A B C D A B C D), so that a change of the machine hits
all of them. Before a scenario every server's answer is checked; a server that does not start or
answers wrongly is reported and left out.

Writes DIR/peers.json and DIR/peers.svg. Files that are served are on the disk of DIR, and removed
at the end, but for DIR/cache.

--smoke is one short round over small documents. The exit status is 1 where otus-httpd answered
wrongly or not at all. How fast it was never decides.

--soak runs a mixed load on otus-httpd alone, for 10 minutes or as many as are named, and fails where
its memory or its descriptors grow; see soak.py. It writes nothing.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

# The working tree is to stay free of caches.
sys.dont_write_bytecode = True

import client  # noqa: E402
import machine  # noqa: E402
import report  # noqa: E402
import soak  # noqa: E402
import works  # noqa: E402
from chart import chart  # noqa: E402
from client import Wrong  # noqa: E402
from documents import SMALL, SMOKE, WHOLE, Documents  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402
from servers import KINDS, LIMIT, OURS, Server, Settings, on_cores  # noqa: E402
from wire import KEYS, Wire, make_pair  # noqa: E402

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
IDLE_CONNECTIONS = 10_000


def main():
    # However it ends, it ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = parse_arguments()
    machine.enter_namespace(arguments.congestion)
    scenarios = [work for work in SCENARIOS if work.name in arguments.only]
    found = {}
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=arguments.output) as scratch:
        bench = Bench(arguments, Path(scratch))
        about = machine.about(bench, arguments)
        print(report.heading(about), flush=True)
        if arguments.soak:
            sys.exit(soaked(bench, arguments.soak))
        for work in scenarios:
            found[work.name] = bench.scenario(work)
            print(report.table(work, found[work.name]), flush=True)
    print(report.summary(scenarios, found))
    report.write(arguments.output / "peers.json", about, scenarios, found)
    (arguments.output / "peers.svg").write_text(chart(scenarios, found))
    print(f"written: {arguments.output}/peers.json, {arguments.output}/peers.svg")
    wrong = [f"{name}: {found[name][OURS]['failed']}" for name in found if "failed" in found[name].get(OURS, {})]
    for line in wrong:
        print(f"FAILED {OURS} in {line}")
    sys.exit(1 if wrong else 0)


def soaked(bench, minutes):
    """The exit status of a soak."""
    try:
        wrong = soak.soak(bench, minutes)
    except Wrong as failure:
        wrong = [str(failure)]
    for line in wrong:
        print(f"FAILED {OURS}: {line}")
    return 1 if wrong else 0


def parse_arguments():
    parser = argparse.ArgumentParser(description="Measures otus-httpd beside nginx, lighttpd, h2o and caddy.")
    parser.add_argument("--otus", type=Path, default=PROJECT / "target/release/otus-httpd", help="its binary")
    secure = PROJECT / "target/release/examples/secure"
    parser.add_argument("--secure", type=Path, default=secure, help="the load over TLS, as cargo builds it")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the medians are taken (5)")
    parser.add_argument("--seconds", type=float, default=3, help="length of one measurement (3)")
    names = [work.name for work in SCENARIOS]
    parser.add_argument("--only", type=among(names), default=names, help=f"some of {','.join(names)}")
    parser.add_argument("--servers", type=among(KINDS), default=list(KINDS), help=f"some of {','.join(KINDS)}")
    parser.add_argument("--output", type=Path, default=PROJECT / "target/bench", help="where the results go")
    parser.add_argument("--congestion", default="cubic", help="TCP congestion control of both sides (cubic)")
    parser.add_argument("--smoke", action="store_true", help="one short round: does it run, and are the answers right?")
    parser.add_argument("--soak", nargs="?", type=float, const=10, metavar="MINUTES", help="a mixed load for long (10)")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.rounds, arguments.seconds = 1, 0.3
    arguments.otus = arguments.otus.resolve()
    arguments.secure = arguments.secure.resolve()
    arguments.output = arguments.output.resolve()
    return arguments


def among(known):
    def chosen(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
        return names

    return chosen


class Bench:
    """What all works share."""

    def __init__(self, arguments, scratch):
        self.arguments, self.scratch = arguments, scratch
        smoke = arguments.smoke
        # The scratch directory is private; what serves may run as somebody else.
        scratch.chmod(0o755)
        cache = arguments.output / "cache"
        self.documents = Documents(scratch, cache, SMOKE if smoke else WHOLE)
        self.descriptors = client.raise_descriptor_limit()
        self.idle_connections = min(200 if smoke else IDLE_CONNECTIONS, self.descriptors - client.DESCRIPTORS_BESIDE)
        self.churn_requests = 500 if smoke else 50_000
        self.warm_seconds = 0.1 if smoke else 1
        self.settle_seconds = 0.2 if smoke else works.SETTLE_SECONDS
        self.idle_seconds = 0.2 if smoke else works.IDLE_SECONDS
        # A test must not slow down the machine that it runs on.
        self.drops_caches = os.getuid() == 0 and not smoke
        self.all_cores = os.sched_getaffinity(0)
        cores = sorted(self.all_cores)
        self.server_cores, self.load_cores = {cores[0]}, {cores[min(1, len(cores) - 1)]}
        os.sched_setaffinity(0, self.load_cores)
        self.lists = {}
        self.binaries = {OURS: arguments.otus, "otus": arguments.otus, "secure": arguments.secure,
                         "loop": self.built("loop.c"), "drain": self.built("load/drain.c")}  # fmt: skip
        self.pairs = {}

    def built(self, source):
        binary = self.scratch / Path(source).stem
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-o", str(binary), str(HERE / source)], check=True)
        return binary

    def wire(self, kind):
        """How servers are spoken with; a pair of certificate and key is made once."""
        if kind in KEYS and kind not in self.pairs:
            self.pairs[kind] = make_pair(kind, self.scratch)
        return Wire(kind, self.pairs.get(kind))

    def list_of(self, name, paths):
        """A list of paths as a file; made once."""
        key = name, len(paths), hash(tuple(paths))
        if key not in self.lists:
            self.lists[key] = self.documents.list_of(name, paths)
        return self.lists[key]

    def scenario(self, work):
        """Figures of all servers in one scenario: rounds and medians, or why there are none."""
        names = [name for name in KINDS if name in self.arguments.servers and name in (OURS, *work.peers)]
        found = {name: {"rounds": []} for name in names}
        baselines = {}
        work.prepare(self)
        with ExitStack() as stack:
            running = {}
            for name in names:
                running[name] = name
                if work.keeps_running:
                    with failure_noted(found, name):
                        running[name] = stack.enter_context(self.running(work, name))
                        work.check(self, running[name])
                        work.warm(self, running[name])
            for number in range(1, self.arguments.rounds + 1):
                for name, figures in work.baselines(self).items():
                    baselines.setdefault(name, {"rounds": []})["rounds"].append(figures)
                for name in names:
                    if "failed" not in found[name]:
                        with failure_noted(found, name):
                            figures = work.measure(self, running[name], number, self.arguments.seconds)
                            found[name]["rounds"].append(figures)
            for name in names:
                if work.keeps_running and "failed" not in found[name]:
                    with failure_noted(found, name):
                        work.check(self, running[name])
        for figures in (found | baselines).values():
            if "failed" not in figures:
                figures["median"] = medians(figures["rounds"])
        return found | baselines

    @contextmanager
    def running(self, work, name, workers=1, cores=None):
        """A server over the documents of a work, which has given its first answer."""
        settings = Settings(
            root=self.documents.root(work.documents),
            scratch=self.scratch / f"server-{name}",
            binaries=self.binaries,
            descriptors=self.descriptors,
            workers=workers,
            canned=SMALL if name == LIMIT else b"",
            wire=self.wire(work.wire),
            **work.settings(self),
        )
        question = work.question(self)
        server = Server(name, settings, cores or self.server_cores)
        try:
            server.await_answer(question)
            yield server
        finally:
            server.end()

    @contextmanager
    def unbound(self):
        """The load may run on all cores."""
        with on_cores(self.all_cores):
            yield


@contextmanager
def failure_noted(found, name):
    try:
        yield
    except Wrong as wrong:
        found[name]["failed"] = str(wrong)
        print(f"-- {name} is left out: {' '.join(str(wrong).split())[:300]}", file=sys.stderr, flush=True)


def medians(rounds):
    """The median of each figure; the last command."""
    last, figures = rounds[-1], {}
    for key, value in last.items():
        exact = key == "command" or value is None
        figures[key] = value if exact else statistics.median(round_[key] for round_ in rounds)
    return figures


if __name__ == "__main__":
    main()

"""The kinds of work over TLS and over HTTP/2; see works.py, to which they belong.

A server gets its certificate in wire.py, and the tools that load it demand one suite and one group of all.

Invariant: who is measured over HTTP/2 has answered curl over HTTP/2 before and after.
"""

import tools
from works import Large, Work, metered


class Handshakes(Work):
    """Nothing but handshakes: a connection for each, closed without a request."""

    mode = "full"

    def measure(self, bench, server, number, seconds):
        ready = tools.secure(bench.binaries["secure"], self.mode, server.port, self.connections, seconds)
        with ready as finish, metered(server) as meter:
            load = finish()
        return meter.of(load)

    def check(self, bench, server):
        server.settings.wire.ask(server.port, self.question(bench))


class Resumptions(Handshakes):
    """The same with tickets, each of an earlier handshake."""

    mode = "resumed"


class Streams(Work):
    """Small requests over HTTP/2, several at once on each connection."""

    streams = 32

    def measure(self, bench, server, number, seconds):
        question = self.question(bench)
        with metered(server) as meter:
            load = tools.h2load(server, question, seconds, self.connections, self.streams)
        return meter.of(load)

    def check(self, bench, server):
        server.settings.wire.ask(server.port, self.question(bench), http2=True)


class LargeStreams(Streams):
    """Large content over HTTP/2, one stream at a time on each connection."""

    unit = "MB/s"
    streams = 1

    def measure(self, bench, server, number, seconds):
        question = self.question(bench)
        with metered(server) as meter:
            load = tools.h2load(server, question, seconds, self.connections, self.streams)
        # What was under way in the end is work too.
        load.requests = load.bytes / question.length
        return meter.of(load) | {"rate": load.bytes / load.seconds}


class LargeRecords(Large):
    """Large content over HTTP/1.1 in TLS, from a load that need not decrypt it."""

    def check(self, bench, server):
        server.settings.wire.ask(server.port, self.question(bench))

    def warm(self, bench, server):
        self.measure(bench, server, 0, bench.warm_seconds)

    def measure(self, bench, server, number, seconds):
        question = self.question(bench)
        what = question.path, question.length
        ready = tools.secure(bench.binaries["secure"], "content", server.port, self.connections, seconds, *what)
        with ready as finish, metered(server) as meter:
            load = finish()
        load.requests = load.bytes / question.length
        return meter.of(load) | {"rate": load.bytes / load.seconds}

#!/usr/bin/env python3
"""Puts the same questions to nginx, lighttpd and otus-httpd, and sets the answers side by side.

    probe.py [--otus PATH] [--output FILE] [--write | --check] [--only WORD]

Starts all three over one document root, sends each the bytes of every probe, and prints the
table: probe, three answers, what was expected of otus-httpd, and why. The exit status is 1 where
otus-httpd differs from what was expected; what the peers answer is only reported.

--write renews docs/differences.md, the probes on which the three differ and those on which they
agree, if otus-httpd answers all of them as expected. --check fails where the file has other
probes, or other answers of otus-httpd, than the run gave; the peers' answers change with their
versions and are not compared.
"""

import argparse
import email.utils
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

# The working tree is to stay free of caches.
sys.dont_write_bytecode = True

import servers  # noqa: E402
import wire  # noqa: E402
from probes import all_probes, ask  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
DIFFERENCES = PROJECT / "docs" / "differences.md"
TABLE = PROJECT / "tests" / "artifacts" / "peers.md"
SERVERS = ("nginx", "lighttpd", "otus-httpd")
# Most of a probe's time is waiting for silence.
PROBES_AT_ONCE = 12
DAY_SECONDS = 86_400


def main():
    arguments = parse_arguments()
    probes = [probe for probe in all_probes() if arguments.only in probe.name]
    with tempfile.TemporaryDirectory(prefix="otus-httpd-peers-") as scratch, ExitStack() as running:
        scratch = Path(scratch)
        root = servers.make_document_root(scratch)
        ports = {
            "nginx": running.enter_context(servers.nginx(scratch, root)),
            "lighttpd": running.enter_context(servers.lighttpd(scratch, root)),
            "otus-httpd": running.enter_context(
                servers.otus_httpd(scratch, root, arguments.otus, arguments.settings)),
        }  # fmt: skip
        found = ask_all(probes, ports)

    table = whole_table(probes, found)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(table)
    print(table)

    wrong = [probe for probe in probes if found["otus-httpd"][probe.name] != probe.expected]
    for probe in wrong:
        print(f"FAILED {probe.name}: {found['otus-httpd'][probe.name]}, expected {probe.expected} ({probe.topic})")
    print(f"{len(probes)} probes; otus-httpd answers {len(probes) - len(wrong)} as expected, {len(wrong)} otherwise")
    if arguments.write and not wrong:
        DIFFERENCES.parent.mkdir(parents=True, exist_ok=True)
        DIFFERENCES.write_text(differences(probes, found))
    faults = faults_of_document(probes, found) if arguments.check else []
    for fault in faults:
        print(f"FAILED {DIFFERENCES.name}: {fault}")
    sys.exit(1 if wrong or faults else 0)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Puts the same questions to nginx, lighttpd and otus-httpd.")  # fmt: skip
    parser.add_argument("--otus", type=Path, default=PROJECT / "target/release/otus-httpd", help="its binary")
    parser.add_argument("--settings", default=servers.OTUS_SETTINGS, help="lines of its configuration beside the root")
    parser.add_argument("--output", type=Path, default=TABLE, help="where the table goes")
    parser.add_argument("--only", default="", help="only probes whose name has this")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="renew docs/differences.md")
    what.add_argument("--check", action="store_true", help="compare docs/differences.md with the run")
    arguments = parser.parse_args()
    if arguments.only and (arguments.write or arguments.check):
        parser.error("docs/differences.md is about all probes")
    return arguments


def ask_all(probes, ports):
    """By server and name of the probe: the short text of what it did."""
    facts = {server: facts_of(port) for server, port in ports.items()}

    def one(server, probe):
        request = probe.request
        for word, value in facts[server].items():
            request = request.replace(word, value)
        return probe.observe(wire.converse(ports[server], request.encode("latin-1"), probe.methods))

    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        pending = {
            server: {probe.name: pool.submit(one, server, probe) for probe in probes} for server in SERVERS
        }
        return {server: {name: future.result() for name, future in row.items()} for server, row in pending.items()}


def facts_of(port):
    """What the words in the requests stand for, at one server."""
    outcome = wire.converse(port, ask("/file.bin", method="HEAD").encode("latin-1"), ["HEAD"])
    if outcome.last is None or outcome.last.status != 200:
        sys.exit(f"the server on port {port} does not serve /file.bin: {outcome}")
    date = servers.MODIFIED_UNIX
    return {
        "TAG": outcome.last.field("ETag") or '"none"',
        "SAME": email.utils.formatdate(date, usegmt=True),
        "BEFORE": email.utils.formatdate(date - DAY_SECONDS, usegmt=True),
        "AFTER": email.utils.formatdate(date + DAY_SECONDS, usegmt=True),
    }


# The tables.


def whole_table(probes, found):
    """Every probe with every answer."""
    heading = ["probe", *SERVERS, "expected", "why"]
    rows = [
        [code(probe.name), *(found[server][probe.name] for server in SERVERS), probe.expected, why(probe)]
        for probe in probes
    ]
    return markdown(heading, rows)


def differences(probes, found):
    """The text of docs/differences.md."""
    apart = [probe for probe in probes if not agree(probe, found)]
    alike = [probe for probe in probes if agree(probe, found)]
    rows = [
        [code(probe.name), found["otus-httpd"][probe.name], found["nginx"][probe.name],
         found["lighttpd"][probe.name], why(probe)]
        for probe in apart
    ]  # fmt: skip
    nginx = servers.version(["nginx", "-v"], r"nginx/[\d.]+").replace("/", " ")
    lighttpd = servers.version(["lighttpd", "-v"], r"lighttpd/[\d.]+").replace("/", " ")
    return "".join([
        "# Where otus-httpd differs from its peers\n\n",
        f"{len(probes)} probes were put to otus-httpd, {nginx} and {lighttpd} over the same files, the peers on the\n",
        "configuration of their Debian packages. The canary is a request that stands behind the probe's: it must be\n",
        "silent where nobody can be certain that the first request ended there. The core of lighttpd sends no\n",
        "sidecar files, so its answers to the probes of gzip tell only that. `tests/peers/run` prints the table, and\n",
        "`tests/peers/run --write` renews this page; the tests compare it with what the server does.\n\n",
        f"## They differ: {len(apart)}\n\n",
        markdown(["probe", "otus-httpd", "nginx", "lighttpd", "why ours"], rows),
        f"\n## All three agree: {len(alike)}\n\n",
        *(f"- {code(probe.name)}: {found['otus-httpd'][probe.name]}\n" for probe in alike),
    ])  # fmt: skip


def faults_of_document(probes, found):
    """Where the committed page says something else of otus-httpd than the run."""
    if not DIFFERENCES.exists():
        return ["it is not there; write it with tests/peers/run --write"]
    # A row of the table, whose first two cells count, or a member of the list.
    line = re.compile(r"^(?:\| |- )`(.+?)`(?: \| |: )([^|\n]*?)(?: \||$)", re.MULTILINE)
    stated = dict(line.findall(DIFFERENCES.read_text()))
    actual = {probe.name: found["otus-httpd"][probe.name] for probe in probes}
    return [
        f"`{name}` is {stated.get(name, 'missing')} there, and {actual.get(name, 'no probe')} in the run"
        for name in dict.fromkeys([*stated, *actual])
        if stated.get(name) != actual.get(name)
    ]


def agree(probe, found):
    return len({found[server][probe.name] for server in SERVERS}) == 1


def why(probe):
    rule = probe.topic.partition(", ")[2]
    return f"{probe.why.removesuffix('.')} ({rule})." if rule.startswith("RFC") else probe.why


def code(text):
    return f"`{text}`"


def markdown(heading, rows):
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()

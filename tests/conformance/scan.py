#!/usr/bin/env python3
"""Has testssl.sh look at the TLS of the server, with a certificate of an authority that it is told to believe.

    scan.py [--otus PATH]

Prints the findings of medium severity and above, of which there must be none, and how much was looked at.

Invariant: a scan that did not come to its end is no good scan.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

# The working tree is to stay free of caches.
sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).resolve().parents[1]))

import pairs  # noqa: E402
from suite import PROJECT, Server  # noqa: E402

SCAN_SECONDS_MAX = 170
FINDINGS_MIN = 60
GRAVE = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
# Versions, suites, forward secrecy, what the server chooses, the certificate, known weaknesses. What it says of fields of
# answers is left to the tests of those.
LOOKS = ["-p", "-s", "-f", "-P", "-S", "-U"]


def main():
    parser = argparse.ArgumentParser(description="testssl.sh against the server.")
    parser.add_argument("--otus", type=Path, default=PROJECT / "target/release/otus-httpd", help="its binary")
    otus = parser.parse_args().otus.resolve()
    with tempfile.TemporaryDirectory(prefix="otus-httpd-scan-") as scratch:
        scratch = Path(scratch)
        server = Server(otus, scratch, make_pair=pairs.of_an_authority)
        report = scratch / "report.json"
        command = [
            "testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "min", "--ip", "127.0.0.1", *LOOKS,
            "--add-ca", scratch / "servers.crt", "--jsonfile", report, f"localhost:{server.places['tls'].port}",
        ]  # fmt: skip
        try:
            done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  errors="replace", timeout=SCAN_SECONDS_MAX, check=False)  # fmt: skip
        finally:
            wrong = server.end()
        if not report.exists():
            sys.exit(f"no report:\n{done.stdout[-2000:]}{done.stderr[-500:]}")
        findings = json.loads(report.read_text())
    grave = [each for each in findings if each["severity"] in GRAVE]
    for each in grave:
        print(f"{each['severity']} {each['id']}: {each['finding']}")
    if len(findings) < FINDINGS_MIN:
        wrong.append(f"the scan ended early:\n{done.stdout[-1500:]}")
    for why in wrong:
        print(why)
    print(f"{len(findings)} findings, {len(grave)} of them medium or above")
    sys.exit(1 if grave or wrong else 0)


if __name__ == "__main__":
    main()

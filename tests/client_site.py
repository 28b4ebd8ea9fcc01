"""The site that the real clients are tried on, and the server that serves it.

Order: the configuration; the files; the site as the checks see it; what they share; the server's life.

Invariant: the site is new for each run and lies in a folder of its own.
"""

import base64
import gzip
import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import film
from pairs import authority_and_client, self_signed

START_SECONDS_MAX = 10
CLIENT_SECONDS_MAX = 120
PAGES = Path(__file__).resolve().parents[1] / "httptest" / "docroot"
CONFIGURATION = """
root = "{root}"
listen = ["127.0.0.1:0", "127.0.0.1:0 tls"]
workers = 2
h2c = true
tls = {{ certificate = "{certificate}", key = "{key}" }}
{settings}

# The page of many parts, for browsers.
[[site]]
server_name = ["page.localhost"]
root = "{pages}"

# Only for those who show a certificate.
[[site]]
server_name = ["members.localhost"]

[site.tls]
certificate = "{members_certificate}"
key = "{members_key}"
client_ca = "{authority}"
"""
SETTINGS = """
redirect = [
    { from = "/old.html", to = "/older.html" },
    { from = "/older.html", to = "/sidecars/page.html", status = 308 },
]

[[site]]

[[site.location]]
path = "/sidecars/"
precompressed = ["br", "zstd", "gzip"]

[[site.location]]
path = "/hot/"
compress = ["zstd", "br", "gzip"]

[[site.location]]
path = "/listing/"
autoindex = "html"

# Unpaced, a fast machine sends all of the film before the browser knows where it will seek.
[[site.location]]
path = "/film.webm"
limit_rate = "1m"
"""

BIG_BYTES = 20 << 20
PAGE = b"again and again and again\n" * 1000
# The page in the codings that the standard library cannot write.
PAGE_BR = base64.b64decode("G49l+CUUchBhHksFUnjI+8owXQAB")
PAGE_ZSTD = base64.b64decode("KLUv/WCQZK0AAFhhZ2FpbiBhbmQgCgIAc2XPXbQrSA==")

# Names that an index must escape in the text, in the reference, or in both, and one that is
# wider than a phone.
LISTED_NAMES = [
    "plain.txt", "a b.txt", "Ünïcödé ☃.txt", "<b>bold & brave.txt", "100%25.txt",
    "why?.txt", "part#1.txt", "\"quoted\" 'twice'.txt", "a;b=c,d.txt", "javascript:alert(1)",
    "a_name_without_a_place_to_break_it_" * 6 + ".txt",
]  # fmt: skip


class Failure(Exception):
    """A client did not get what it should."""


class Site(NamedTuple):
    """The running server, as the checks see it."""

    url: str
    # The same over TLS.
    secure_url: str
    root: Path
    scratch: Path
    log: Path

    def file(self, name):
        """A certificate or a key: localhost.crt, members.localhost.crt, client.crt, client.key."""
        return self.scratch / name

    def port(self):
        """The port of HTTPS."""
        return self.secure_url.rsplit(":", 1)[1]

    def folder(self):
        """An empty folder for downloads."""
        return Path(tempfile.mkdtemp(dir=self.scratch))

    def answers(self):
        """(target, status, length) of each answer so far."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(errors="replace"))
        found = re.findall(r"target=(\S+) status=(\d+)(?: length=(\d+))?", text)
        return [(target, int(status), int(length or 0)) for target, status, length in found]

    @contextmanager
    def watched(self, target, enough):
        """Fails unless `enough` is said of the answers that the block brought about, of which
        each is (status, length). The log is written by a thread of its own, so it is waited for."""
        before = len(self.answers())
        yield
        deadline = time.monotonic() + 5
        while True:
            seen = [(status, length) for name, status, length in self.answers()[before:] if name == target]
            if enough(seen):
                return
            if time.monotonic() > deadline:
                raise Failure(f"the log has these answers for {target}: {seen}")
            time.sleep(0.1)


def expect(what, actual, expected):
    if actual != expected:
        raise Failure(f"{what} is {actual!r}, expected {expected!r}")


def expect_same(path, original):
    """The file was downloaded whole and is the original."""
    digest, wanted = (hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, original))
    if digest != wanted:
        raise Failure(f"{path.stat().st_size} bytes with checksum {digest}, not {wanted}")


def run(*command):
    """What a client printed; it must end with 0."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_SECONDS_MAX, check=False)
    if done.returncode != 0:
        raise Failure(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout + done.stderr


def curl(*arguments):
    return run("curl", "-q", "--silent", "--show-error", *map(str, arguments))


def make_document_root(root):
    files = {
        "big.bin": random.Random(1).randbytes(BIG_BYTES),
        "folder/index.html": b"<!doctype html>\n<title>folder</title>\n",
        "sidecars/page.html": PAGE,
        "sidecars/page.html.br": PAGE_BR,
        "sidecars/page.html.zst": PAGE_ZSTD,
        "sidecars/page.html.gz": gzip.compress(PAGE, mtime=0),
        "hot/page.html": PAGE,
        "player.html": film.PLAYER.encode(),
        "listing/.hidden": b"hidden",
        "listing/deeper/index.html": b"deeper",
        **{f"listing/{name}": name.encode() for name in LISTED_NAMES},
    }
    # Old enough for every validator to be strong.
    an_hour_ago = time.time() - 3600
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (an_hour_ago, an_hour_ago))


@contextmanager
def served(binary, settings, scratch):
    """The server over its site; it must end with 0 when it is asked to."""
    root, log, out, file = (scratch / name for name in ["root", "server.log", "server.out", "otus-httpd.toml"])
    make_document_root(root)
    certificate, key = self_signed(scratch, "localhost", ["*.localhost"])
    members_certificate, members_key = self_signed(scratch, "members.localhost")
    authority, _, _ = authority_and_client(scratch)
    file.write_text(CONFIGURATION.format(**locals(), pages=PAGES))
    with open(out, "wb") as stdout, open(log, "wb") as stderr:
        # Started as root it would serve as another user, who may not enter the scratch directory.
        user = ["--user", "root"] if os.geteuid() == 0 else []
        process = subprocess.Popen([str(binary), "-c", str(file), "--verbose", *user], stdout=stdout, stderr=stderr)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while len(found := re.findall(r" on (https?://\S+)/ with ", out.read_text())) < 2:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the server does not start:\n{log.read_text()}")
            time.sleep(0.05)
        # The name stands in the certificate, and in cookies and caches of clients.
        secure = next(url for url in found if url.startswith("https:")).replace("127.0.0.1", "localhost")
        yield Site(next(url for url in found if url.startswith("http:")), secure, root, scratch, log)
        process.terminate()
        if process.wait(timeout=60) != 0:
            sys.exit(f"FAILED server: it ended with {process.returncode}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()

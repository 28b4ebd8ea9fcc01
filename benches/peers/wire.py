"""What is spoken with a server: plain HTTP/1.1, TLS with one of two kinds of certificates, or HTTP/2 in plain text.

All servers get the same pair; every client asks for TLS 1.3, X25519 and TLS_AES_128_GCM_SHA256 alone, and the
certificate is verified before anything is measured.

Invariant: an answer over HTTP/2 counts as right only when curl says that its version was 2.
"""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from client import HOST, NAME, Answer, Refused, Wrong, check, digest_of

SUITE = "TLS_AES_128_GCM_SHA256"
PLAIN, ECDSA, RSA, CLEAR_HTTP2 = "plain", "ecdsa", "rsa", "h2c"
KEYS = {ECDSA: ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], RSA: ["rsa:2048"]}
DAYS = "30"
# curl: nobody listens there (yet).
REFUSED = 7


@dataclass(frozen=True)
class Pair:
    """A certificate, signed by its own key, and the key."""

    certificate: Path
    key: Path


def make_pair(kind, directory):
    pair = Pair(directory / f"{kind}.crt", directory / f"{kind}.key")
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", *KEYS[kind], "-days", DAYS, "-subj", f"/CN={NAME}",
               "-addext", f"subjectAltName=DNS:{NAME}",
               "-keyout", str(pair.key), "-out", str(pair.certificate)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    pair.key.chmod(0o600)
    return pair


@dataclass(frozen=True)
class Wire:
    """How a server is spoken with; `pair` where that is TLS."""

    kind: str = PLAIN
    pair: Pair | None = None

    @property
    def is_tls(self):
        return self.pair is not None

    def url(self, port, path):
        return f"{'https' if self.is_tls else 'http'}://{NAME}:{port}{path}"

    def ask(self, port, question, http2=False):
        """Asks once and looks at the answer."""
        if http2 or self.kind == CLEAR_HTTP2:
            ask_http2(self, port, question)
        else:
            check(port, [question], context=self.context())

    def context(self):
        if not self.is_tls:
            return None
        context = ssl.create_default_context(cafile=self.pair.certificate)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context


def ask_http2(wire, port, question):
    trust = ["--http2", "--cacert", str(wire.pair.certificate)] if wire.is_tls else ["--http2-prior-knowledge"]
    fields = [word for name, value in question.fields.items() for word in ("-H", f"{name}: {value}")]
    said = "%{http_version} %{http_code}"
    command = ["curl", "-sS", *trust, *fields, "--resolve", f"{NAME}:{port}:{HOST}", "-w", f"%{{stderr}}{said}",
               "--max-time", "20", wire.url(port, question.path)]  # fmt: skip
    run = subprocess.run(command, capture_output=True, check=False)
    told = run.stderr.decode(errors="replace").split()
    if run.returncode == REFUSED:
        raise Refused(" ".join(told))
    if run.returncode or told[0] != "2":
        raise Wrong(f"{question.path}: not answered over HTTP/2: {' '.join(told)}")
    question.compare(Answer(int(told[1]), {}, len(run.stdout), digest_of(run.stdout)))

"""Certificates for tests, made by OpenSSL: of a server, of an authority, of a client.

Invariant: each is new, lies in a folder of the test, and its key is read by its owner alone.
"""

import subprocess


def self_signed(folder, name, others=()):
    """A pair that its own key has signed, for these names: the paths of certificate and key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    names = ",".join(f"DNS:{other}" for other in (name, *others)) + ",IP:127.0.0.1"
    openssl("req", "-x509", *new_key(key), "-out", certificate, "-days", "90", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE",
            "-addext", "extendedKeyUsage=serverAuth")  # fmt: skip
    key.chmod(0o600)
    return certificate, key


def of_an_authority(folder, name):
    """A pair for this name, signed by an authority whose certificate is servers.crt: one as sites have them."""
    authority, authority_key = folder / "servers.crt", folder / "servers.key"
    openssl("req", "-x509", *new_key(authority_key), "-out", authority, "-days", "90", "-subj", "/CN=authority of tests")
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    openssl("req", "-x509", *new_key(key), "-out", certificate, "-days", "90", "-subj", f"/CN={name}",
            "-CA", authority, "-CAkey", authority_key, "-addext", f"subjectAltName=DNS:{name}",
            "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature",
            "-addext", "extendedKeyUsage=serverAuth", "-addext", "crlDistributionPoints=URI:http://localhost/none.crl")  # fmt: skip
    key.chmod(0o600)
    return certificate, key


def authority_and_client(folder):
    """The certificate of an authority for clients, and the pair of one that it has signed."""
    authority, authority_key = folder / "authority.crt", folder / "authority.key"
    openssl("req", "-x509", *new_key(authority_key), "-out", authority, "-days", "90", "-subj", "/CN=authority of tests")
    certificate, key = folder / "client.crt", folder / "client.key"
    openssl("req", "-x509", *new_key(key), "-out", certificate, "-days", "90", "-subj", "/CN=client of tests",
            "-CA", authority, "-CAkey", authority_key, "-addext", "basicConstraints=critical,CA:FALSE",
            "-addext", "extendedKeyUsage=clientAuth")  # fmt: skip
    return authority, certificate, key


def new_key(path):
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", path]


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"openssl {words[0]} failed: {done.stderr[-500:]}")

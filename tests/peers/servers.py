"""The three servers of the comparison, over one document root, on free ports of 127.0.0.1.

nginx and lighttpd run on what their Debian packages ship as configuration, and on no more than
the probes need beside it. Whoever starts a server here ends it here, by its own process.

Invariant: all three serve the very same files.
"""

import gzip
import os
import re
import socket
import subprocess
import time
from contextlib import contextmanager

from wire import CANARY, SECRET

START_SECONDS_MAX = 10
# A date long past: a validator of today is weak for a second (RFC 9110 §8.8.2.2).
MODIFIED_UNIX = 1_700_000_000

NGINX = """
daemon off;
{user}
worker_processes 1;
pid {scratch}/nginx.pid;
error_log {scratch}/nginx.log;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    types {{ text/html html; text/plain txt; }}
    default_type application/octet-stream;
    access_log off;
    gzip on;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    server {{
        listen 127.0.0.1:{port} default_server;
        root {root};
        index index.html index.htm index.nginx-debian.html;
        server_name _;
        location / {{ try_files $uri $uri/ =404; }}
        # Beside the stock: what the probes of negotiation and of folders need.
        gzip_static on;
        autoindex on;
    }}
}}
"""

LIGHTTPD = """
server.modules = ( "mod_indexfile", "mod_access", "mod_alias", "mod_redirect" )
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
{user}
server.feature-flags += ( "server.h2proto" => "enable" )
server.feature-flags += ( "server.h2c" => "enable" )
server.feature-flags += ( "server.graceful-shutdown-timeout" => 5 )
server.http-parseopts = (
  "header-strict"           => "enable",
  "host-strict"             => "enable",
  "host-normalize"          => "enable",
  "url-normalize-unreserved"=> "enable",
  "url-normalize-required"  => "enable",
  "url-ctrls-reject"        => "enable",
  "url-path-2f-decode"      => "enable",
  "url-path-dotseg-remove"  => "enable",
)
index-file.names = ( "index.php", "index.html" )
url.access-deny = ( "~", ".inc" )
static-file.exclude-extensions = ( ".php", ".pl", ".fcgi" )
mimetype.assign = ( ".html" => "text/html", ".txt" => "text/plain", "" => "application/octet-stream" )
server.modules += ( "mod_dirlisting", "mod_staticfile" )
# Beside the stock: what the probes of folders need. Its core has no sidecar files.
dir-listing.activate = "enable"
"""

OTUS = """
root = "{root}"
listen = ["127.0.0.1:0"]
workers = 1
{settings}
"""
# What the probes of negotiation and of folders need.
OTUS_SETTINGS = 'precompressed = ["gzip"]\nautoindex = "html"'


def make_document_root(scratch):
    """Writes the files that the probes ask for, and a secret beside them."""
    root = scratch / "root"
    outside = scratch / "outside"
    page = b"<!doctype html>\n<title>page</title>\n" + b"<p>again and again</p>\n" * 100
    files = {
        root / "index.html": b"<!doctype html>\n<title>home</title>\n",
        root / "file.bin": bytes(range(250)) * 4,
        # Bytes to be told apart by their place: the probe of pipelining asks for single ones.
        root / "digits.txt": b"0123456789" * 100,
        root / "empty.txt": b"",
        root / "canary": CANARY.encode() + b"\n",
        root / "page.html": page,
        root / "page.html.gz": gzip.compress(page, mtime=0),
        root / "dir" / "index.html": b"<!doctype html>\n<title>dir</title>\n",
        root / ".git" / "config": SECRET.encode() + b"\n",
        outside / "secret.txt": SECRET.encode() + b"\n",
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MODIFIED_UNIX, MODIFIED_UNIX))
    (root / "way-out").symlink_to(outside / "secret.txt")
    # The peers drop root's rights, and must still read all of it.
    scratch.chmod(0o755)
    return root


@contextmanager
def nginx(scratch, root):
    """nginx; gives its port."""
    user = "user www-data;" if os.getuid() == 0 else ""
    with peer(scratch, NGINX, root, user, lambda file: ["nginx", "-c", file, "-e", f"{scratch}/nginx.log"]) as port:
        yield port


@contextmanager
def lighttpd(scratch, root):
    """lighttpd; gives its port."""
    user = 'server.username = "www-data"\nserver.groupname = "www-data"' if os.getuid() == 0 else ""
    with peer(scratch, LIGHTTPD, root, user, lambda file: ["lighttpd", "-D", "-f", file]) as port:
        yield port


@contextmanager
def otus_httpd(scratch, root, binary, settings):
    """otus-httpd; gives its port, which it tells on its standard output."""
    file = scratch / "otus-httpd.toml"
    file.write_text(OTUS.format(root=root, settings=settings))
    out = scratch / "otus-httpd.out"
    with open(out, "wb") as stdout:
        # Started as root it would serve as another user, who may not enter the scratch directory.
        user = ["--user", "root"] if os.geteuid() == 0 else []
        process = subprocess.Popen([str(binary), "-c", str(file), *user], stdout=stdout, stderr=subprocess.STDOUT)
    with ended(process):
        yield int(awaited(process, out, lambda: re.search(r":(\d+)/ with ", out.read_text()))[1])


@contextmanager
def peer(scratch, template, root, user, command):
    """A server that must be told its port."""
    port = free_port()
    name = command("")[0]
    file = scratch / f"{name}.conf"
    file.write_text(template.format(scratch=scratch, root=root, user=user, port=port))
    out = scratch / f"{name}.out"
    with open(out, "wb") as stdout:
        process = subprocess.Popen(command(str(file)), stdout=stdout, stderr=subprocess.STDOUT)
    with ended(process):
        awaited(process, out, lambda: answers(port))
        yield port


def awaited(process, out, look):
    """What `look` gives as soon as it gives something; what the server printed if it never does."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        if found := look():
            return found
        time.sleep(0.05)
    raise SystemExit(f"{process.args[0]} does not start:\n{out.read_text()}")


@contextmanager
def ended(process):
    """Ends the process however the block ends."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port):
    """Whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def version(command, pattern):
    """The version that a command tells of itself."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, run.stdout + run.stderr)
    return found[0] if found else command[0]

"""The servers, each tuned as its own documentation advises, with one worker each.

Whoever starts a server here ends it here, by its own process. All run as the user of the bench, so
that all may read the documents, and all write their scratch below the bench's.

Invariant: a configuration has what the work needs and what the server's documentation says about
speed, and nothing else; nobody logs requests but otus-log and nginx-log, which are there to show what that costs.
"""

import os
import re
import signal
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client import HOST, Wrong, first_answer
from wire import CLEAR_HTTP2, Wire

END_SECONDS_MAX = 15
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# As long as any connection of the bench idles, and longer than a round.
KEEPALIVE_SECONDS = 300
# More than any of these connections asks, and the most that lighttpd's 16 bits hold.
REQUESTS_MAX = 65_535
# More than the idle connections. nginx has memory for all of them from the start, so that idle ones
# seem to cost it less than they do.
CONNECTIONS_MAX = 12_000

# nginx.org, "Configuring HTTPS servers": TLS 1.3 is not in the default of old releases,
# and a shared cache of sessions is advised.
NGINX_TLS = """ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:SSL:10m;
        ssl_session_timeout 10m;"""
LIGHTTPD_TLS = """
server.modules += ( "mod_openssl" )
ssl.engine = "enable"
ssl.pemfile = "{certificate}"
ssl.privkey = "{key}"
"""
H2O_TLS = ", ssl: {{ certificate-file: {certificate}, key-file: {key} }}"
CADDY_TLS = "tls {certificate} {key}"
OTUS_TLS = """
[tls]
certificate = "{certificate}"
key = "{key}"
"""

# nginx.org, ngx_http_core_module: sendfile, tcp_nopush, open_file_cache and its errors. The
# thread pool is what its authors advise for files that are not in memory.
NGINX = """
daemon off;
{user}
worker_processes {workers};
worker_rlimit_nofile {descriptors};
pid {scratch}/nginx.pid;
error_log {scratch}/nginx-error.log crit;
events {{ worker_connections {connections}; multi_accept on; }}
http {{
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    {threads}
    open_file_cache max={open_files} inactive=600s;
    open_file_cache_valid 30s;
    open_file_cache_min_uses 1;
    open_file_cache_errors on;
    {log}
    log_not_found off;
    keepalive_timeout {keepalive}s;
    keepalive_requests {requests};
    types {{ text/html html; text/plain txt; }}
    default_type application/octet-stream;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    server {{
        listen {host}:{port} backlog=4096{words};
        {tls}
        root {root};
    }}
}}
"""

# redmine.lighttpd.net, "Performance Improvements": limits, keep-alive, and a stat cache that is told of changes.
LIGHTTPD = """
server.document-root = "{root}"
server.bind = "{host}"
server.port = {port}
server.max-fds = {descriptors}
server.max-connections = {connections}
server.listen-backlog = 4096
server.max-keep-alive-requests = {requests}
server.max-keep-alive-idle = {keepalive}
server.network-backend = "sendfile"
server.stat-cache-engine = "inotify"
server.errorlog = "{scratch}/lighttpd-error.log"
mimetype.assign = ( ".html" => "text/html", ".txt" => "text/plain", "" => "application/octet-stream" )
{workers_line}
{tls}
"""

H2O = """
{user}
num-threads: {workers}
max-connections: {connections}
tcp-fastopen: 0
http1-request-timeout: {keepalive}
error-log: {scratch}/h2o-error.log
listen: {{ host: {host}, port: {port}{tls} }}
hosts:
  default:
    paths:
      /:
        file.dir: {root}
"""

CADDY = """
{{
    admin off
    auto_https off
    {protocols}
}}
{scheme}://:{port} {{
    bind {host}
    {tls}
    root * {root}
    file_server
}}
"""

OTUS = """
root = "{root}"
listen = ["{host}:{port}{words}"]
{clear_http2}
keepalive_timeout = {keepalive}
{cache}
{cache_file}
{log}
{tls}
"""

LOOP_HEAD = (
    "HTTP/1.1 200 OK\r\nDate: Fri, 01 Aug 2025 00:00:00 GMT\r\nContent-Type: text/html\r\nContent-Length: {}\r\n"
    'Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\nETag: "6553f100-22"\r\nAccept-Ranges: bytes\r\n\r\n'
)


@dataclass(frozen=True)
class Settings:
    """What a server is started with. `canned` is the answer of the limit."""

    root: Path
    scratch: Path
    binaries: dict
    descriptors: int
    workers: int = 1
    cache_bytes: int | None = None
    cache_file_bytes_max: int | None = None
    canned: bytes = b""
    wire: Wire = Wire()


def tls(settings, template):
    """What a configuration says about TLS, if that is spoken."""
    pair = settings.wire.pair
    return {"tls": template.format(certificate=pair.certificate, key=pair.key) if pair else ""}


def nginx(settings, values, threads="", log="access_log off;"):
    words = " ssl http2" if settings.wire.is_tls else " http2" if settings.wire.kind == CLEAR_HTTP2 else ""
    values |= {"words": words} | tls(settings, NGINX_TLS)
    # What is left of the descriptors is for files: it keeps one open for each that it knows.
    values |= {"user": "user root;" if os.getuid() == 0 else ""}
    values |= {"open_files": settings.descriptors - values["connections"], "threads": threads, "log": log}
    return ["nginx", "-c", written(settings, "nginx.conf", NGINX, values), "-e", f"{settings.scratch}/nginx-start.log"]


def nginx_aio(settings, values):
    return nginx(settings, values, "aio threads;")


def nginx_log(settings, values):
    # nginx.org, ngx_http_log_module: buffered, as ours is.
    return nginx(settings, values, log=f"access_log {settings.scratch}/access.log combined buffer=64k flush=1s;")


def lighttpd(settings, values):
    several = f"server.max-worker = {settings.workers}"
    values |= {"workers_line": several if settings.workers > 1 else ""} | tls(settings, LIGHTTPD_TLS)
    return ["lighttpd", "-D", "-f", written(settings, "lighttpd.conf", LIGHTTPD, values)]


def h2o(settings, values):
    values |= {"user": "user: root" if os.getuid() == 0 else ""} | tls(settings, H2O_TLS)
    return ["h2o", "-c", written(settings, "h2o.conf", H2O, values)]


def caddy(settings, values):
    clear_http2 = settings.wire.kind == CLEAR_HTTP2
    values |= {"scheme": "https" if settings.wire.is_tls else "http"} | tls(settings, CADDY_TLS)
    values |= {"protocols": "servers {\n        protocols h1 h2 h2c\n    }" if clear_http2 else ""}
    return ["caddy", "run", "--adapter", "caddyfile", "--config", written(settings, "Caddyfile", CADDY, values)]


def otus_httpd(settings, values, log=""):
    largest = settings.cache_file_bytes_max
    values |= {
        "cache": f"cache_size = {settings.cache_bytes}" if settings.cache_bytes else "",
        "cache_file": f"cache_file_size_max = {largest}" if largest else "",
        "log": log,
        "words": " tls" if settings.wire.is_tls else "",
        "clear_http2": "h2c = true" if settings.wire.kind == CLEAR_HTTP2 else "",
    } | tls(settings, OTUS_TLS)
    file = written(settings, "otus-httpd.toml", OTUS, values)
    # Started as root it would serve as another user, who may not enter the scratch directory.
    user = ["--user", "root"] if os.geteuid() == 0 else []
    return [str(settings.binaries["otus-httpd"]), "-c", file, "-w", str(settings.workers), *user]


def otus_log(settings, values):
    return otus_httpd(settings, values, f'access_log = "{settings.scratch}/access.log"')


def loop(settings, values):
    file = settings.scratch / "answer"
    file.write_bytes(LOOP_HEAD.format(len(settings.canned)).encode() + settings.canned)
    return [str(settings.binaries["loop"]), str(values["port"]), str(file)]


OURS = "otus-httpd"
LIMIT = "loop"
# The same with an access log.
LOGGING = "otus-log"
KINDS = {
    OURS: otus_httpd,
    LOGGING: otus_log,
    "nginx-log": nginx_log,
    "nginx": nginx,
    "nginx-aio": nginx_aio,
    "lighttpd": lighttpd,
    "h2o": h2o,
    "caddy": caddy,
    LIMIT: loop,
}
VERSIONS = {
    "nginx": (["nginx", "-v"], r"nginx/(\S+)"),
    "lighttpd": (["lighttpd", "-v"], r"lighttpd/(\S+)"),
    "h2o": (["h2o", "-v"], r"version (\S+)"),
    "caddy": (["caddy", "version"], r"v?(\d\S*)"),
}


class Server:
    """A running server."""

    def __init__(self, name, settings, cores):
        self.name, self.settings = name, settings
        self.port = free_port()
        settings.scratch.mkdir(parents=True, exist_ok=True)
        values = {
            "host": HOST,
            "port": self.port,
            "root": settings.root,
            "scratch": settings.scratch,
            "workers": settings.workers,
            "descriptors": settings.descriptors,
            "connections": min(CONNECTIONS_MAX, settings.descriptors * 3 // 5),
            "keepalive": KEEPALIVE_SECONDS,
            "requests": REQUESTS_MAX,
        }
        command = KINDS[name](settings, values)
        scratch = str(settings.scratch)
        environment = os.environ | {"GOMAXPROCS": str(settings.workers), "HOME": scratch, "XDG_DATA_HOME": scratch,
                                    "XDG_CONFIG_HOME": scratch}  # fmt: skip
        self.output = settings.scratch / f"{name}.out"
        with open(self.output, "wb") as output, on_cores(cores):
            try:
                # A group of its own: lighttpd with several workers ends by a signal to all of its group.
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
                    start_new_session=True)  # fmt: skip
            except OSError as error:
                raise Wrong(f"cannot be started: {error}") from error

    def await_answer(self, question):
        """Returns with the first answer, which must be right."""
        try:
            first_answer(self.process, lambda: self.settings.wire.ask(self.port, question))
        except Wrong as wrong:
            raise Wrong(f"{wrong}; {self.last_words()}") from wrong

    def last_words(self):
        return " ".join(self.output.read_text(errors="replace").split())[-300:]

    def processes(self):
        """It and all its descendants."""
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (fields := stat_of(entry)):
                parents[int(entry)] = int(fields[1])
        family = {self.process.pid}
        while more := {child for child, parent in parents.items() if parent in family} - family:
            family |= more
        return family

    def cpu_seconds(self):
        """User and system time of all threads of all processes."""
        stats = [stat_of(process) for process in self.processes()]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / TICKS_A_SECOND

    def resident_bytes(self):
        stats = [stat_of(process) for process in self.processes()]
        return sum(int(fields[21]) for fields in stats if fields) * PAGE_BYTES

    def descriptors(self):
        """How many it has open; those that end meanwhile have none."""
        count = 0
        for process in self.processes():
            try:
                count += len(os.listdir(f"/proc/{process}/fd"))
            except OSError:
                continue
        return count

    def end(self):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def stat_of(process):
    """The fields of /proc/PID/stat after the name, which may hold blanks; None when it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


@contextmanager
def on_cores(cores):
    """What is started in the block runs on these cores; the bench itself goes back to its own."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def written(settings, name, template, values):
    file = settings.scratch / name
    file.write_text(template.format(**values))
    return str(file)


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def version(name, binaries):
    """The version that a server tells of itself."""
    command, pattern = VERSIONS[name] if name in VERSIONS else ([str(binaries[name]), "-V"], r"\S+ (\S+)")
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "absent"
    found = re.search(pattern, run.stdout + run.stderr)
    return found[1] if found else "unknown"

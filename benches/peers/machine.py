"""The machine under the bench: a network namespace of our own, and what must be known of the rest.

Invariant: both ends of every connection have the same congestion control, and the report names it.
"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from servers import KINDS, LIMIT, version

INSIDE = "OTUS_BENCH_NAMESPACE"
IPV4 = Path("/proc/sys/net/ipv4")
# In the order in which they are tried. Neither paces, as bbr does, and loopback loses nothing.
CONGESTION_FALLBACK = "reno"


def enter_namespace(congestion):
    """As root, starts this program anew in a network namespace, which ends with the last process in it.

    One without a name, for a name would outlive a bench that was killed."""
    if os.getuid() != 0:
        return
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        try:
            os.execvp("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv])
        except OSError as error:
            print(f"-- no network namespace: {error}", file=sys.stderr)
            return
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name in (congestion, CONGESTION_FALLBACK):
        if tuned("tcp_congestion_control", name):
            break
    # A connection for each request needs many ports.
    tuned("ip_local_port_range", "1024 65535")


def tuned(name, value):
    try:
        (IPV4 / name).write_text(f"{value}\n")
    except OSError:
        return False
    return True


def about(bench, arguments):
    """What a reader must know to judge the figures."""
    names = [name for name in KINDS if name in arguments.servers and name != LIMIT]
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": " ".join(["benches/peers/run", *sys.argv[1:]]),
        "kernel": platform.release(),
        "processor": first_of("/proc/cpuinfo", "model name"),
        "memory": first_of("/proc/meminfo", "MemTotal"),
        "cores": len(bench.all_cores),
        "server_core": sorted(bench.server_cores),
        "load_core": sorted(bench.load_cores),
        "congestion_control": (IPV4 / "tcp_congestion_control").read_text().strip(),
        "namespace": os.getuid() == 0 and INSIDE in os.environ,
        "file_system": file_system(arguments.output),
        "descriptors": bench.descriptors,
        "load_average": os.getloadavg()[0],
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "smoke": arguments.smoke,
        "versions": {name: version(name.removesuffix("-aio").removesuffix("-log"), bench.binaries) for name in names},
    }


def first_of(file, name):
    for line in Path(file).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown"


def file_system(path):
    """The type of the file system; a figure from disk means nothing on tmpfs."""
    run = subprocess.run(["df", "--output=fstype", str(path)], capture_output=True, text=True, check=False)
    return run.stdout.split()[-1] if run.stdout else "unknown"

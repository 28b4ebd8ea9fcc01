"""Runs the load tools and reads what they print: wrk, ab, drain, secure, h2load, and dd for the bare disk.

They run on the cores that this program itself is bound to, one core away from the servers.

Invariant: what a tool could not do (an error, a refusal, a request without an answer) is never part
of a figure; it ends the measurement.
"""

import json
import math
import os
import re
import resource
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client import HOST, Wrong
from wire import SUITE

HERE = Path(__file__).resolve().parent
# Longer than a measurement and the slowest answer together.
TOOL_SECONDS_MAX = 540
# h2load counts no answer that comes later, and on a busy machine the first ones need a while.
H2LOAD_SECONDS_MIN = 0.5
# On a busy machine h2load at times misses its own end and loads on for ever; who waits for it measures nothing.
H2LOAD_OVERTIME_SECONDS_MAX = 30


@dataclass
class Load:
    """What a tool did. `bytes` are of the content for drain, and of all that was read for wrk."""

    command: str
    requests: float
    bytes: int
    seconds: float
    p50_us: float | None = None
    p99_us: float | None = None
    p999_us: float | None = None
    # Share of the time for which the tool's core was busy with it.
    busy: float = 0.0

    def latencies(self):
        return {"p50_us": self.p50_us, "p99_us": self.p99_us, "p999_us": self.p999_us}


def wrk(port, seconds, connections, script, arguments, refusals=False):
    """wrk with a script of load/. With `refusals`, every answer must be an error status, else none may."""
    url = f"http://{HOST}:{port}/"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--timeout", "20s", "--latency",
               "-s", str(HERE / "load" / script), url, "--", *map(str, arguments)]  # fmt: skip
    output, busy = run(command, interrupt_after=None if seconds >= 1 and seconds == int(seconds) else seconds)
    try:
        found = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise Wrong(f"wrk says: {output[-300:]}") from error
    if found.pop("failures") or found.pop("refusals") != (found["requests"] if refusals else 0):
        raise Wrong(f"wrk had errors: {output[-400:]}")
    if not found["requests"]:
        raise Wrong("wrk had no answer")
    return Load(shown(command), **found, busy=busy)


def ab(port, path, requests, connections, scratch):
    """ab without keep-alive."""
    table = scratch / "ab.csv"
    command = ["ab", "-q", "-n", str(requests), "-c", str(connections), "-e", str(table), f"http://{HOST}:{port}{path}"]
    output, busy = run(command)
    complete, failed, seconds, read = (
        float(match[1]) if (match := re.search(rf"^{name}: +([\d.]+)", output, re.MULTILINE)) else None
        for name in ("Complete requests", "Failed requests", "Time taken for tests", "Total transferred"))  # fmt: skip
    if complete != requests or failed or "Non-2xx" in output:
        raise Wrong(f"ab says: {output[-400:]}")
    lines = [line.split(",") for line in table.read_text().splitlines()[1:]]
    served = {share: float(milliseconds) * 1000 for share, milliseconds in lines}
    return Load(shown(command), complete, int(read), seconds, served["50"], served["99"], None, busy)


def drain(binary, port, connections, listed, seconds=None, batch=1):
    """drain, for `seconds` or once through the list."""
    command = drain_command(binary, port, connections, listed, seconds, batch)
    output, busy = run(command)
    return drained(command, output, busy)


@contextmanager
def draining(binary, port, connections, listed, forget_below):
    """drain beside something else, with only the time that nobody wants; gives a function that ends it."""
    command = drain_command(binary, port, connections, listed, TOOL_SECONDS_MAX) + ["-f", str(forget_below)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))

    def finish():
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=TOOL_SECONDS_MAX)[0]
        if process.returncode:
            raise Wrong(f"drain says: {output[-400:]}")
        return drained(command, output, 0.0)

    try:
        yield finish
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def drain_command(binary, port, connections, listed, seconds, batch=1):
    command = [str(binary), "-p", str(port), "-c", str(connections), "-l", str(listed)]
    return command + (["-s", str(seconds)] if seconds else []) + (["-b", str(batch)] if batch > 1 else [])


def drained(command, output, busy):
    try:
        return Load(shown(command), **json.loads(output), busy=busy)
    except ValueError as error:
        raise Wrong(f"drain says: {output[-400:]}") from error


@contextmanager
def secure(binary, mode, port, connections, seconds, *what):
    """secure: handshakes, or content over TLS. In the block it is ready; gives a function that has it begin."""
    command = [str(binary), mode, str(port), str(connections), str(seconds), *map(str, what)]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    except OSError as error:
        raise Wrong(f"secure cannot be started: {error}; cargo build --release --example secure") from error

    def finish():
        output = process.communicate("go\n", timeout=TOOL_SECONDS_MAX)[0]
        try:
            return Load(shown(command), **json.loads(output))
        except ValueError as error:
            raise Wrong(f"secure says: {output[-400:]}") from error

    try:
        word = process.stdout.readline().strip()
        if word != "ready":
            raise Wrong(f"secure says: {word}")
        yield finish
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def h2load(server, question, seconds, connections, streams):
    """h2load, for a time; over TLS with what every client of the bench asks for."""
    wire = server.settings.wire
    milliseconds = f"{1000 * max(seconds, H2LOAD_SECONDS_MIN):.0f}ms"
    command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", milliseconds,
               f"--connect-to={HOST}:{server.port}", f"--tls13-ciphers={SUITE}", "--groups=X25519",
               wire.url(server.port, question.path)]  # fmt: skip
    output, busy = run(command, seconds_max=seconds + H2LOAD_OVERTIME_SECONDS_MAX)
    secured = ["Application protocol: h2", "TLS Protocol: TLSv1.3", f"Cipher: {SUITE}"]
    for line in secured if wire.is_tls else ["Application protocol: h2c"]:
        if line not in output:
            raise Wrong(f"h2load does not say {line!r}: {output[-400:]}")
    patterns = (r"^finished in ([\d.]+)(s|ms)\b", r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout",
                r"^status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", r"\((\d+)\) data$")  # fmt: skip
    found = [re.search(pattern, output, re.MULTILINE) for pattern in patterns]
    if not all(found):
        raise Wrong(f"h2load says: {output[-600:]}")
    took, succeeded, right, data = found
    requests, bytes_ = int(succeeded[1]), int(data[1])
    # Of what was under way in the end there may be a part.
    most = requests + connections * streams
    if int(right[1]) < requests or not requests * question.length <= bytes_ <= most * question.length:
        raise Wrong(f"h2load: {requests} answers of {question.length} bytes have {bytes_}: {output[-400:]}")
    return Load(shown(command), requests, bytes_, float(took[1]) * (1 if took[2] == "s" else 0.001), busy=busy)


def dd(files):
    """Bytes a second that the bare disk gives, past the page cache; None where it cannot be asked."""
    count, seconds = 0, 0.0
    for file in files:
        run_ = subprocess.run(
            ["dd", f"if={file}", "of=/dev/null", "iflag=direct", "bs=1M"],
            capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"})  # fmt: skip
        found = re.search(r"^(\d+) bytes.* copied, ([\d.e-]+) s", run_.stderr, re.MULTILINE)
        if not found:
            return None
        count, seconds = count + int(found[1]), seconds + float(found[2])
    return count / seconds


def run(command, interrupt_after=None, seconds_max=TOOL_SECONDS_MAX):
    """Output of a command that must end well, and how busy it was."""
    before, begin = child_cpu_seconds(), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        if interrupt_after:
            # wrk knows whole seconds only; an interrupt has it print what it found.
            time.sleep(interrupt_after)
            process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=seconds_max)[0]
    except subprocess.TimeoutExpired as error:
        raise Wrong(f"{command[0]} does not end") from error
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    if process.returncode:
        raise Wrong(f"{Path(command[0]).name} ended with {process.returncode}: {output.strip()[-400:]}")
    return output, (child_cpu_seconds() - before) / (time.monotonic() - begin)


def child_cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def shown(command):
    """A command as one would type it, without the paths of this run."""
    return " ".join(Path(word).name if word.startswith("/") else word for word in command)

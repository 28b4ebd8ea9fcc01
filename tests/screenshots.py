#!/usr/bin/env python3
"""Takes the pictures of docs/monitoring.md from a real server under some load.

    tests/screenshots.py [PROGRAM]

writes docs/images/status-page.png and docs/images/status-terminal.png. It needs Chromium; the load is that of this script.
"""

import html
import os
import pty
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
IMAGES = PACKAGE / "docs" / "images"
COLUMNS, ROWS = 100, 32
SECONDS = 12
BYTES_MAX = 150_000


def site(root):
    """A document root that looks like one."""
    random.seed(7)
    for name, size in [
        ("index.html", 9_000), ("assets/app.css", 30_000), ("assets/app.js", 180_000), ("assets/logo.svg", 4_000),
        ("photos/harbour.jpg", 900_000), ("photos/forest.jpg", 1_300_000), ("docs/manual.pdf", 4_000_000),
        ("releases/otus-1.4.0.tar.gz", 60_000_000), ("releases/otus-1.4.0.iso", 400_000_000),
    ]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.truncate(size)


def exchange(port, target, rate=None):
    """One request; with a rate, its answer is taken that slowly."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
        stream.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        while bytes_ := stream.recv(65536):
            if rate:
                time.sleep(len(bytes_) / rate)


def load(port, end):
    """A few readers, some of them slow, until the end is set."""
    targets = ["/"] * 6 + ["/assets/app.css"] * 4 + ["/assets/app.js"] * 4 + ["/assets/logo.svg"] * 3 + [
        "/photos/harbour.jpg", "/photos/forest.jpg", "/docs/manual.pdf", "/favicon.ico", "/wp-login.php"]

    def read():
        while not end.is_set():
            try:
                exchange(port, random.choice(targets))
                time.sleep(random.expovariate(40))
            except OSError:
                pass

    def download(target, rate):
        while not end.is_set():
            try:
                exchange(port, target, rate)
            except OSError:
                pass

    slow = [("/releases/otus-1.4.0.iso", 9e6), ("/releases/otus-1.4.0.iso", 3e6), ("/releases/otus-1.4.0.tar.gz", 5e6),
            ("/docs/manual.pdf", 4e5)]
    threads = [threading.Thread(target=read, daemon=True) for _ in range(5)]
    threads += [threading.Thread(target=download, args=one, daemon=True) for one in slow]
    for thread in threads:
        thread.start()


def chromium(url, picture, size, dark=False):
    """A picture of a page."""
    program = next((p for p in ("chromium", "chromium-browser", "google-chrome") if subprocess.run(
        ["which", p], capture_output=True).returncode == 0), None)
    if program is None:
        sys.exit("Chromium is not here: no pictures")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1",
             f"--user-data-dir={profile}", f"--window-size={size}", f"--screenshot={picture}"]
            + (["--blink-settings=preferredColorScheme=0"] if dark else []) + [url],
            check=True, capture_output=True, timeout=120)
    if not picture.read_bytes().startswith(b"\x89PNG") or picture.stat().st_size > BYTES_MAX:
        sys.exit(f"{picture} is no picture, or too large: {picture.stat().st_size} bytes")


def frame(program, url):
    """The last frame that `otus-httpd status` shows within a few seconds."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(program, [program, "status", "--url", url])
    import fcntl
    import struct
    import termios
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    shown, until = b"", time.time() + 4
    while time.time() < until:
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            sys.exit(f"it ended: {shown!r}")
    os.write(terminal, b"q")
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass
    os.waitpid(pid, 0)
    frames = shown.decode("utf-8", "replace").split("\x1b[H")
    return next(one for one in reversed(frames) if one.endswith("\x1b[J"))


def as_html(shown):
    """A frame as a page; only the sequences that the program sends are known."""
    looks = {"\x1b[1m": "<b>", "\x1b[2m": "<i>", "\x1b[1;31m": "<b class=bad>"}
    lines = []
    for line in re.split(r"\r+\n", shown.removesuffix("\x1b[J")):
        line = line.removesuffix("\x1b[K").removesuffix("\x1b[0m")
        look = next((look for look in looks if line.startswith(look)), "")
        text = html.escape(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line))
        end = {"<i>": "</i>", "": ""}.get(looks.get(look, ""), "</b>")
        lines.append(looks.get(look, "") + text + end)
    style = ("body{margin:0;background:#14171c;color:#dfe4ee}pre{margin:0;padding:16px;font:14px/19px 'DejaVu Sans Mono',monospace}"
             "b{color:#fff}b.bad{color:#ff8a80}i{color:#98a2b5;font-style:normal}")
    return f"<!DOCTYPE html><meta charset=utf-8><style>{style}</style><pre>" + "\n".join(lines) + "</pre>"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    program = Path(sys.argv[1] if len(sys.argv) > 1 else PACKAGE / "target" / "debug" / "otus-httpd").resolve()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        # Whoever starts it as root has it serve as another user.
        os.chmod(scratch, 0o755)
        root, config = Path(scratch) / "www", Path(scratch) / "otus-httpd.conf"
        site(root)
        port, admin = free_port(), free_port()
        config.write_text(
            f"workers = 2\nroot = '{root}'\nlisten = '127.0.0.1:{port}'\ncache_size = '64m'\ndrain_timeout = 1\n"
            f"[admin]\nlisten = '127.0.0.1:{admin}'\n")
        server = subprocess.Popen([program, "-c", config], stdout=subprocess.PIPE, text=True)
        end = threading.Event()
        try:
            server.stdout.readline()
            load(port, end)
            time.sleep(SECONDS)
            url = f"http://127.0.0.1:{admin}"
            page = Path(scratch) / "terminal.html"
            page.write_text(as_html(frame(str(program), url)))
            chromium(page.as_uri(), IMAGES / "status-terminal.png", "876,640")
            chromium(f"{url}/status", IMAGES / "status-page.png", "1100,1080")
        finally:
            end.set()
            server.terminate()
            server.wait(timeout=20)
    for picture in ("status-page.png", "status-terminal.png"):
        print(f"docs/images/{picture}: {(IMAGES / picture).stat().st_size} bytes")


if __name__ == "__main__":
    main()

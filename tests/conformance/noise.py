#!/usr/bin/env python3
"""Frames at random, against a running server: what is nearly right, cut, repeated and mixed.

    noise.py [--otus PATH] [--seconds N] [--seed N]

The same seed sends the same bytes. Order: pieces; a connection of them; the run, in which another client
is answered in between; what became of the server.

Invariant: whatever is sent, the next client is answered, and the process holds no more memory for it.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

# The working tree is to stay free of caches.
sys.dont_write_bytecode = True

from peer import *  # noqa: E402, F403
from suite import PROJECT, Server  # noqa: E402

GROWTH_KB_MAX = 64 * 1024
FRAMES_MAX = 60
PATHS = ["/", "/big.bin", "/absent", "/folder", "/folder/", "/../x", "*", ""]


def piece(dice):
    """A frame that is good, or nearly so."""
    stream = dice.choice([0, 1, 1, 3, 3, 5, 7, 9, 2, 101, WINDOW_MAX])
    noise = dice.randbytes(dice.choice([0, 1, 4, 5, 6, 8, 40, 300]))
    kind = dice.randrange(12)
    if kind <= 3:
        lines = request(dice.choice(PATHS), method=dice.choice(["GET", "GET", "HEAD", "POST", "CONNECT"]))
        dice.random() < 0.2 and dice.shuffle(lines)
        whole = b"".join(literal(*line, dice.choice([PLAIN, INCREMENTAL, NEVER])) for line in lines)
        if dice.random() < 0.3:
            whole += dice.choice([b"\xbe", b"\x80", noise, literal("range", "bytes=1-5"), integer(dice.randrange(9000), 5, 0x20)])
        return headers(stream, whole[: dice.choice([len(whole), len(whole), len(whole), 9])], dice.choice([5, 5, 5, 4, 1, 0, 0x2D]))
    if kind == 4:
        return frame(DATA, dice.choice([0, 1, 8, 9]), stream, noise)
    if kind == 5:
        return window_update(dice.choice([0, stream]), dice.choice([0, 1, 1000, 1 << 20, WINDOW_MAX]))
    if kind == 6:
        return settings(*[(dice.randrange(12), dice.choice([0, 1, 100, 65535, 1 << 20, WINDOW_MAX, 1 << 31])) for _ in range(dice.randrange(4))])
    if kind == 7:
        return reset(stream, dice.randrange(20))
    if kind == 8:
        return frame(PRIORITY_UPDATE, 0, 0, stream.to_bytes(4, "big") + dice.choice([b"u=0", b"i", noise]))
    if kind == 9:
        return frame(CONTINUATION, dice.choice([0, 4]), stream, noise)
    if kind == 10:
        return frame(PING, dice.choice([0, 1]), 0, dice.randbytes(8))
    return frame(dice.randrange(20), dice.randrange(256), stream, noise)


def script(dice):
    """All that one client sends."""
    bytes_ = bytearray(b"".join(piece(dice) for _ in range(dice.randrange(1, FRAMES_MAX))))
    if dice.random() < 0.3:
        for _ in range(dice.randrange(1, 9)):
            bytes_[dice.randrange(len(bytes_))] = dice.randrange(256)
    return bytes(bytes_[: dice.choice([len(bytes_), len(bytes_), dice.randrange(len(bytes_) + 1)])])


def listen(peer, dice):
    """Reads for a moment, or not at all."""
    try:
        while dice.random() < 0.9 and peer.fill(time.monotonic() + 0.02):
            peer.received = b""
    except TimeoutError:
        pass


def main():
    parser = argparse.ArgumentParser(description="Frames at random against the server.")
    parser.add_argument("--otus", type=Path, default=PROJECT / "target/release/otus-httpd", help="its binary")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--seed", type=int, default=9113)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    wrong, count, sent = [], 0, 0
    with tempfile.TemporaryDirectory(prefix="otus-httpd-noise-") as scratch:
        server = Server(arguments.otus.resolve(), Path(scratch))
        plain, tls = server.places["plain"], server.places["tls"]
        end, before = time.monotonic() + arguments.seconds, None
        while not wrong and time.monotonic() < end:
            try:
                with Peer(tls if count % 10 == 9 else plain) as peer:
                    words = script(dice)
                    peer.send(words)
                    listen(peer, dice)
                    count, sent = count + 1, sent + len(words)
                if count % 50 == 0:
                    with Peer(plain) as peer:
                        peer.get(1)
            except (OSError, Wrong) as why:
                wrong.append(f"connection {count}: {why!r}")
            # Caches and buffers are as large as they get by then.
            if before is None and time.monotonic() > end - arguments.seconds * 0.6:
                before = server.memory_kb()
        if not wrong and (growth := server.memory_kb() - before) > GROWTH_KB_MAX:
            wrong.append(f"memory grew by {growth} kB")
        wrong += server.end()
    for why in wrong:
        print(why)
    print(f"{count} connections with {sent} bytes, seed {arguments.seed}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

"""The documents that the servers serve: sets of files on a real disk, each with a root of its own.

Contents are pseudo-random, from a fixed seed, so that neither a compressing nor a deduplicating
disk can cheat, and every run serves the same bytes.

Invariant: a set is synced to the disk before it is used, so that its pages can be dropped, and its
files are long past their modification, so that their validators are strong.
"""

import hashlib
import math
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from client import Question, digest_of

SEED = 9110
# A date long past: a validator of today is weak for a second (RFC 9110 §8.8.2.2).
MODIFIED_UNIX = 1_700_000_000
SMALL = b"<!doctype html><title>ok</title>\r\n"
PAGE_BYTES = 954_824
MIX_FILES = 1_000
MIX_BYTES_MIN, MIX_BYTES_MAX = 1_000, 100_000
# Draws from which the load picks: enough that the rarest file is among them.
MIX_DRAWS = 1 << 16
MANY_BYTES = 4096
MANY_IN_FOLDER = 1_000
WRITE_BYTES = 16 << 20
assert len(SMALL) == 34


@dataclass(frozen=True)
class Sizes:
    """How much of everything: the whole bench, or a smoke test of it."""

    huge_bytes: int
    cold_files: int
    cold_bytes: int
    many_files: int


WHOLE = Sizes(huge_bytes=1 << 30, cold_files=24, cold_bytes=64 << 20, many_files=200_000)
SMOKE = Sizes(huge_bytes=16 << 20, cold_files=6, cold_bytes=2 << 20, many_files=2_000)


class Documents:
    """Makes each set when it is first asked for; removes them in the end, but for `many`."""

    def __init__(self, scratch, cache, sizes):
        self.scratch, self.cache, self.sizes = scratch, cache, sizes
        self.made, self.digests = {}, {}

    def root(self, name):
        """The document root of a set."""
        if name not in self.made:
            self.made[name] = getattr(self, name)()
        return self.made[name]

    def question(self, name, path):
        """A GET of a file of a set."""
        if (name, path) not in self.digests:
            with open(f"{self.root(name)}{path}", "rb") as content:
                self.digests[name, path] = digest_of_file(content)
        return Question(path, 200, *self.digests[name, path])

    def part_question(self, name, path, first, last):
        """A GET of a range."""
        question = self.question(name, path)
        content = Path(f"{self.root(name)}{path}").read_bytes()[first : last + 1]
        fields = {"Range": f"bytes={first}-{last}"}
        return Question(question.path, 206, len(content), digest_of(content), fields)

    def site(self):
        """What a site has: a small document, a page, and a mix."""
        root = self.fresh("site")
        write(root / "small.html", SMALL)
        source = random.Random(SEED)
        write(root / "page.html", source.randbytes(PAGE_BYTES))
        (root / "mix").mkdir()
        for number in range(MIX_FILES):
            size = math.exp(source.uniform(math.log(MIX_BYTES_MIN), math.log(MIX_BYTES_MAX)))
            write(root / "mix" / f"{number:04}.html", source.randbytes(int(size)))
        return synced(root)

    def huge(self):
        root = self.fresh("huge")
        write_large(root / "huge.bin", self.sizes.huge_bytes, SEED)
        return synced(root)

    def cold(self):
        root = self.fresh("cold")
        write(root / "small.html", SMALL)
        for path in self.cold_paths():
            write_large(root / path[1:], self.sizes.cold_bytes, SEED + int(path[6:8]))
        return synced(root)

    def soak(self):
        """A small document, a page, and one large file."""
        root = self.fresh("soak")
        write(root / "small.html", SMALL)
        write(root / "page.html", random.Random(SEED).randbytes(PAGE_BYTES))
        write_large(root / self.cold_paths()[0][1:], self.sizes.cold_bytes, SEED)
        return synced(root)

    def many(self):
        """Kept between runs: its making takes longer than its measuring."""
        root = self.cache / f"many-{self.sizes.many_files}x{MANY_BYTES}"
        stamp = root.with_suffix(".made")
        if stamp.exists():
            return root
        shutil.rmtree(root, ignore_errors=True)
        for folder in range(-(-self.sizes.many_files // MANY_IN_FOLDER)):
            (root / f"{folder:03}").mkdir(parents=True)
        for path in self.many_paths():
            write(root / path[1:], path.encode().ljust(MANY_BYTES, b"."))
        synced(root)
        stamp.touch()
        return root

    def cold_paths(self):
        return [f"/cold-{number:02}.bin" for number in range(self.sizes.cold_files)]

    def many_paths(self):
        places = (divmod(number, MANY_IN_FOLDER) for number in range(self.sizes.many_files))
        return [f"/{folder:03}/{number:03}.txt" for folder, number in places]

    def mix_paths(self):
        """Paths as they are drawn: the n-th most popular file 1/n as often as the first (Zipf)."""
        source = random.Random(SEED)
        ranks = list(range(MIX_FILES))
        # Popularity has nothing to do with size, which rises with nothing either.
        source.shuffle(ranks)
        weights = [1 / (rank + 1) for rank in range(MIX_FILES)]
        return [f"/mix/{ranks[rank]:04}.html" for rank in source.choices(range(MIX_FILES), weights, k=MIX_DRAWS)]

    def list_of(self, name, paths):
        """A file with lines of `PATH LENGTH` for the load tools."""
        root, lengths = self.root(name), {}
        for path in paths:
            if path not in lengths:
                lengths[path] = os.stat(f"{root}{path}").st_size
        number = len(list(self.scratch.glob("*.list")))
        file = self.scratch / f"{name}-{number}.list"
        file.write_text("".join(f"{path} {lengths[path]}\n" for path in paths))
        return file

    def warm(self, name):
        """Has all of a set in the page cache."""
        for file in files_of(self.root(name)):
            with open(file, "rb") as content:
                while content.read(WRITE_BYTES):
                    pass

    def forget(self, name, whole_system):
        """Has none of a set in the page cache; with `whole_system` nothing else either, names included."""
        root = self.root(name)
        os.sync()
        if whole_system:
            Path("/proc/sys/vm/drop_caches").write_text("3\n")
            return
        for file in files_of(root):
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def fresh(self, name):
        root = self.scratch / name
        root.mkdir()
        return root


def files_of(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def write(path, content):
    path.write_bytes(content)
    os.utime(path, (MODIFIED_UNIX, MODIFIED_UNIX))


def write_large(path, size, seed):
    source = random.Random(seed)
    with open(path, "wb") as file:
        while left := size - file.tell():
            file.write(source.randbytes(min(left, WRITE_BYTES)))
    os.utime(path, (MODIFIED_UNIX, MODIFIED_UNIX))


def synced(root):
    os.sync()
    return root


def digest_of_file(file):
    """Length and digest, for files that are larger than one likes to hold."""
    length, sum_ = 0, hashlib.blake2b(digest_size=16)
    while part := file.read(WRITE_BYTES):
        length += len(part)
        sum_.update(part)
    return length, sum_.hexdigest()

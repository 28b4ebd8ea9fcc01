#!/usr/bin/env python3
"""Writes the document root that the acceptance tests are run against.

    python3 httptest/make_docroot.py [--output DIR] [--check]

The names and lengths of the files under httptest/ are those that the public
http-test-suite asks for; the content is the project's own, and the same bytes on
every run. With --check nothing is written: the files on disk are compared with
what would be, and the first that differs is named.
"""

import argparse
import sys
from pathlib import Path

# The parts are small and run once; the working tree is to stay free of caches.
sys.dont_write_bytecode = True

from fixture import atlas, gif, home, jpeg, paintings, png, script, stylesheet, swf  # noqa: E402

PAGE, PAGE_FOLDER = "wikipedia_russia.html", "wikipedia_russia_files"
DOCROOT_BYTES_MAX = 3_000_000


def main():
    arguments = parse_arguments()
    files = document_root()
    if arguments.check:
        fault = first_difference(files, arguments.output)
        if fault:
            sys.exit(f"{fault}\nTo write the files anew: python3 httptest/make_docroot.py")
        print(f"{len(files)} files are as they should be.")
    else:
        write(files, arguments.output)
        print(f"{len(files)} files, {sum(map(len, files.values()))} bytes.")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Writes the document root that the acceptance tests are run against.")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path(__file__).parent / "docroot",
        help="where to write (default: the folder docroot beside this script)")
    parser.add_argument(
        "--check", action="store_true",
        help="write nothing; fail if the files on disk are not what would be written")
    return parser.parse_args()


def document_root():
    """Every file of the document root: its path, with slashes, and its bytes."""
    files = {"index.html": home.PAGE.encode("ascii")}
    files.update((f"httptest/{name}", content) for name, content in fixtures().items())
    total = sum(map(len, files.values()))
    assert total <= DOCROOT_BYTES_MAX, f"the document root has {total} bytes"
    return files


def fixtures():
    page, parts = atlas.page_and_parts(PAGE_FOLDER, 954824)
    dusk = paintings.landscape(1200, 760, paintings.LIGHTS[1], "160313")
    paper = paintings.terraces(760, 508, paintings.TERRACE_COLOURS, "ef35c")
    files = {
        # The few texts that the tests know word by word.
        "dir1/dir12/dir123/deep.txt": b"bingo, you found it\n",
        "dir2/index.html": b"<html>Directory index file</html>\n",
        "dir2/page.html": b"<html><body>Page Sample</body></html>\n",
        "space in name.txt": b"letters and spaces\n",
        "text..txt": b"hello",
        # Of the rest they know the type and the length.
        "splash.css": stylesheet.splash(98620),
        "jquery-1.9.1.js": script.source(268381),
        "160313.jpg": jpeg.encode(dusk, 96, 267037),
        "ef35c.jpeg": jpeg.encode(paper, 92, 160462),
        "logo.v2.png": png.encode(paintings.owl(), 1754),
        "pic_ask.gif": gif.encode(paintings.question(), 1747),
        "b16261023.swf": swf.movie(550, 400, (38, 50, 72), 35344),
        PAGE: page,
    }
    files.update((f"{PAGE_FOLDER}/{name}", content) for name, content in parts.items())
    return files


def write(files, folder):
    """Writes the files. Others that are there already are left alone."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def first_difference(files, folder):
    """What is wrong with the first wrong file in the order of names, or None."""
    present = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*") if not path.is_dir()
    }
    for name in sorted(present | set(files)):
        if name not in files:
            return f"{name}: not one of the generated files"
        if name not in present:
            return f"{name}: missing"
        if (folder / name).read_bytes() != files[name]:
            return f"{name}: differs"
    return None


if __name__ == "__main__":
    main()

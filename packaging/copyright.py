#!/usr/bin/env python3
"""Writes what a package says of copyrights: DIR/copyright, in Debian's machine-readable format, and DIR/third-party-licences, with the
notices of every crate that the binary carries, word for word.

Order: the crates of the binary, by `cargo tree`; where they lie, by `cargo metadata`; their notices, equal texts once; the two files.
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys

HEAD = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: otus-httpd
Comment: The binary carries the libraries that are listed at the end. Their
 notices stand in /usr/share/doc/otus-httpd/third-party-licences.gz.

Files: *
Copyright: 2026 The otus-httpd developers
License: Expat or Apache-2.0

License: Expat
{mit}

License: Apache-2.0
 The text is in /usr/share/common-licenses/Apache-2.0 on Debian, and in
 the archive of the source as LICENSE-APACHE.

Files: third-party-libraries
Copyright: the authors of each, see third-party-licences.gz
License: of-each-library

License: of-each-library
{libraries}
"""

NOTICE = re.compile(r"^(licen[sc]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def crates():
    """Name, version and licence of each crate that is linked in, in order of name."""
    tree = cargo("tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--no-dedupe", "--format={p}\t{l}")
    rows = {(*line.split("\t")[0].split()[:2], line.split("\t")[1]) for line in tree.splitlines() if line}
    return sorted((name, version.removeprefix("v"), licence) for name, version, licence in rows if name != "otus-httpd")


def notices(directory):
    """The notices of one crate, those of bundled C sources among them."""
    found = [path for path in sorted(directory.rglob("*")) if NOTICE.match(path.name) and path.is_file()]
    # Sources of the Rust kind have names such as copyright.rs.
    return [path for path in found if path.suffix.lower() in ("", ".md", ".txt", ".mit", ".bsd", ".apache-2.0", ".zlib")]


def main():
    directory = pathlib.Path(sys.argv[1])
    metadata = json.loads(cargo("metadata", "--locked", "--format-version=1"))
    manifests = {(p["name"], p["version"]): pathlib.Path(p["manifest_path"]) for p in metadata["packages"]}
    libraries = crates()

    mit = pathlib.Path("LICENSE-MIT").read_text().split("\n\n", 2)[2].strip()
    lines = lambda text: "\n".join(" " + (line or ".") for line in text.splitlines())
    listed = "\n".join(f"{name} {version}: {licence}" for name, version, licence in libraries)
    (directory / "copyright").write_text(HEAD.format(mit=lines(mit), libraries=lines(listed)))

    owners, texts = {}, {}
    for name, version, licence in libraries:
        root = manifests[name, version].parent
        for path in notices(root):
            text = path.read_text(errors="replace").replace("\r\n", "\n").strip()
            key = hashlib.sha256(" ".join(text.split()).encode()).digest()
            texts.setdefault(key, text)
            owners.setdefault(key, []).append(f"{name} {version} ({licence}): {path.relative_to(root)}")
    with open(directory / "third-party-licences", "w") as out:
        for key, text in texts.items():
            out.write("\n".join(owners[key]) + "\n\n" + text + "\n\n" + "=" * 80 + "\n\n")


main()

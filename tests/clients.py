#!/usr/bin/env python3
"""Real clients against otus-httpd: curl, wget, aria2c, Python's requests and httpx, OpenSSL, nghttp, h2load, Node.js and Chromium.

    clients.py [--otus PATH] [--only WORD]

Starts the server over a document root of its own and prints `ok NAME` or `FAILED NAME: why` for
each check; the exit status is 1 if one failed. Order: what the checks share; the checks by client,
each a function of the site; the table of them; the run.

Invariant: a download counts only if it is the file, byte for byte, and a range only if the
server's log shows the 206.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

# The working tree is to stay free of caches.
sys.dont_write_bytecode = True

import devtools  # noqa: E402
import film  # noqa: E402
import secure_clients  # noqa: E402
from client_site import (  # noqa: E402
    BIG_BYTES, LISTED_NAMES, PAGE, SETTINGS, Failure, curl, expect, expect_same, run, served,
)  # fmt: skip

PROJECT = Path(__file__).resolve().parents[1]
ARTIFACTS = PROJECT / "tests" / "artifacts"
# The server compresses in the background; it may take this long until it has done so.
COMPRESS_SECONDS_MAX = 20


def half_of_big(site, folder):
    """A download that was cut in the middle."""
    part = folder / "big.bin"
    part.write_bytes((site.root / "big.bin").read_bytes()[: BIG_BYTES // 2])
    return part


def rest_in_one_range(seen):
    return seen == [(206, BIG_BYTES - BIG_BYTES // 2)]


# curl.


def curl_resumes(site):
    part = half_of_big(site, site.folder())
    with site.watched("/big.bin", rest_in_one_range):
        curl("--fail", "-C", "-", "-o", part, f"{site.url}/big.bin")
    expect_same(part, site.root / "big.bin")


def curl_resumes_what_is_whole(site):
    """A 416 whose Content-Range tells the length is how curl learns that it has everything."""
    whole = site.folder() / "big.bin"
    shutil.copy(site.root / "big.bin", whole)
    with site.watched("/big.bin", lambda seen: [status for status, _ in seen] == [416]):
        curl("-C", "-", "-o", whole, f"{site.url}/big.bin")
    expect_same(whole, site.root / "big.bin")


def curl_decodes_sidecars(site):
    # The first that curl takes of the site's own order is br.
    for asked, coding in [(None, "br"), ("br", "br"), ("zstd", "zstd"), ("gzip", "gzip"), ("identity", None)]:
        expect("coding", curl_coding(site, "/sidecars/page.html", asked), coding)


def curl_decodes_compressed(site):
    for asked in ["zstd", "br", "gzip"]:
        deadline = time.monotonic() + COMPRESS_SECONDS_MAX
        while curl_coding(site, "/hot/page.html", asked) != asked:
            if time.monotonic() > deadline:
                raise Failure(f"the page was not compressed as {asked} within {COMPRESS_SECONDS_MAX} s")
            time.sleep(0.2)


def curl_coding(site, target, asked):
    """The content coding that curl got for what it asked, after a look at the content."""
    folder = site.folder()
    asking = ["-H", f"Accept-Encoding: {asked}"] if asked else []
    curl("--fail", "--compressed", *asking, "-D", folder / "head", "-o", folder / "page", site.url + target)
    expect_same(folder / "page", site.root / target[1:])
    head = (folder / "head").read_text()
    if not re.search(r"(?im)^vary:.*accept-encoding", head):
        raise Failure(f"no Vary with Accept-Encoding for {asked}")
    found = re.search(r"(?im)^content-encoding: *(\S+)", head)
    return found and found[1]


def curl_keeps_what_is_not_newer(site):
    page = site.folder() / "page.html"
    url = f"{site.url}/sidecars/page.html"
    curl("--fail", "--remote-time", "-o", page, url)
    first = page.stat()
    expect("status", curl("-z", page, "-o", page, "-w", "%{http_code}", url), "304")
    expect("size and date", (page.stat().st_size, page.stat().st_mtime), (first.st_size, first.st_mtime))
    expect("status", curl("-z", "20010101", "-o", page, "-w", "%{http_code}", url), "200")
    expect("status", curl("-z", "20370101", "-o", page, "-w", "%{http_code}", url), "304")


def curl_heads(site):
    heads = [curl(*how, f"{site.url}/sidecars/page.html") for how in [["-I"], ["-D", "-", "-o", "/dev/null"]]]
    head, get = (sorted(re.sub(r"(?im)^date:.*\n?", "", text.replace("\r", "")).splitlines()) for text in heads)
    expect("head of HEAD", head, get)
    expect("length", re.findall(r"(?i)content-length: *(\d+)", heads[0]), [str(len(PAGE))])


def curl_speaks_1_0(site):
    page = site.folder() / "page.html"
    url = f"{site.url}/sidecars/page.html"
    how = curl("--fail", "--http1.0", "-o", page, "-w", "%{http_code}", url)
    expect("status", how, "200")
    expect_same(page, site.root / "sidecars/page.html")


def curl_keeps_its_connection(site):
    folder = site.folder()
    urls = [word for n in range(3) for word in ("-o", folder / str(n), f"{site.url}/sidecars/page.html")]
    expect("new connections", curl("--fail", "-w", "%{num_connects} ", *urls), "1 0 0 ")


# wget.


def wget_resumes(site):
    folder = site.folder()
    part = half_of_big(site, folder)
    with site.watched("/big.bin", rest_in_one_range):
        run("wget", "--no-config", "-nv", "-c", "-P", str(folder), f"{site.url}/big.bin")
    expect_same(part, site.root / "big.bin")


def wget_keeps_what_is_not_newer(site):
    folder = site.folder()
    command = ["wget", "--no-config", "-nv", "-N", "-P", str(folder), f"{site.url}/sidecars/page.html"]
    run(*command)
    with site.watched("/sidecars/page.html", lambda seen: [status for status, _ in seen] == [304]):
        run(*command)
    expect_same(folder / "page.html", site.root / "sidecars/page.html")


# aria2c.


def aria2c_splits(site):
    folder = site.folder()

    def eight_ranges(seen):
        return len(seen) >= 8 and sum(status == 206 for status, _ in seen) >= 7

    with site.watched("/big.bin", eight_ranges):
        run("aria2c", "--no-conf", "-q", "-x8", "-s8", "-k1M", "--file-allocation=none", "-d", str(folder),
            f"{site.url}/big.bin")  # fmt: skip
    expect_same(folder / "big.bin", site.root / "big.bin")


# requests.


def session():
    """A session of requests, which is no part of the standard library."""
    import requests

    made = requests.Session()
    made.trust_env = False
    return made


def requests_keeps_alive(site):
    with session() as client:
        for _ in range(5):
            expect("status", client.get(f"{site.url}/sidecars/page.html", timeout=10).status_code, 200)
        pools = client.get_adapter(site.url).poolmanager.pools
        used = [(pools[key].num_connections, pools[key].num_requests) for key in pools.keys()]
        expect("connections and requests", used, [(1, 5)])


def requests_decodes(site):
    with session() as client:
        answer = client.get(f"{site.url}/sidecars/page.html", headers={"Accept-Encoding": "gzip"}, timeout=10)
        expect("coding", answer.headers.get("Content-Encoding"), "gzip")
        expect("content is the page", answer.content == PAGE, True)


def requests_streams(site):
    digest = hashlib.sha256()
    with session() as client, client.get(f"{site.url}/big.bin", stream=True, timeout=10) as answer:
        for piece in answer.iter_content(100_000):
            digest.update(piece)
    expect("checksum", digest.hexdigest(), hashlib.sha256((site.root / "big.bin").read_bytes()).hexdigest())


def requests_follows(site):
    with session() as client:
        answer = client.get(f"{site.url}/old.html", timeout=10)
        expect("statuses", [step.status_code for step in [*answer.history, answer]], [301, 308, 200])
        expect("address", answer.url, f"{site.url}/sidecars/page.html")
        expect("content is the page", answer.content == PAGE, True)


def requests_finds_folders(site):
    with session() as client:
        answer = client.get(f"{site.url}/folder?a=b", timeout=10)
        expect("statuses", [step.status_code for step in [*answer.history, answer]], [301, 200])
        expect("address", answer.url, f"{site.url}/folder/?a=b")


def requests_revalidates(site):
    url = f"{site.url}/sidecars/page.html"
    with session() as client:
        first = client.get(url, timeout=10)
        conditions = [
            {"If-None-Match": first.headers["ETag"]},
            {"If-Modified-Since": first.headers["Last-Modified"]},
        ]
        for condition in conditions:
            answer = client.get(url, headers=condition, timeout=10)
            expect(f"status with {condition}", (answer.status_code, answer.content), (304, b""))
            expect("tag of the 304", answer.headers.get("ETag"), first.headers["ETag"])


# Chromium.


def chromium_seeks(site):
    """A film of which the browser has read the beginning, played from near its end."""
    with devtools.Chromium() as browser:
        page = browser.page(film.WIDTH, film.HEIGHT)
        recorded = film.record(page)
        (site.root / "film.webm").write_bytes(recorded)

        def far_range(seen):
            # From the start it is all of the film, and from the second that is sought a small part.
            return any(status == 206 and 0 < length < len(recorded) // 4 for status, length in seen)

        with site.watched("/film.webm", far_range):
            page.open(f"{site.url}/player.html")
            state = page.wait_for("document.body.dataset.state")
            data = page.value("({...document.body.dataset})")
            page.screenshot(ARTIFACTS / "player.png")
    expect("state", state, "seeked")
    expect("duration", float(data["duration"]), film.SECONDS)
    expect("time", float(data["time"]), film.SEEK_SECONDS)
    expect("second that is seen", int(data["shows"]), int(film.SEEK_SECONDS))


def chromium_lists_on_a_phone(site):
    listing(site, 390, 844, mobile=True, name="autoindex-phone.png")


def chromium_lists_on_a_desktop(site):
    listing(site, 1280, 800, mobile=False, name="autoindex-desktop.png")


def listing(site, width, height, mobile, name):
    """The index of a folder: as wide as the window, and every file can be reached by its link."""
    address = f"{site.url}/listing/"
    with devtools.Chromium() as browser:
        page = browser.page(width, height, mobile)
        page.open(address)
        page.screenshot(ARTIFACTS / name)
        # Without a viewport declaration a phone lays the page out 980 pixels wide.
        widths = page.value("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
        links = page.value("[...document.links].map(link => link.href)")
    expect("width of the window and of the page", widths, [width, width])
    below = [link for link in links if link.startswith(address) and "?" not in link]
    contents = {content_of(link) for link in below}
    missing = [listed for listed in LISTED_NAMES if listed.encode() not in contents]
    expect("names without a link that leads to them", missing, [])
    expect("hidden files among the links", [link for link in below if "/.hidden" in link], [])


def content_of(link):
    try:
        with urllib.request.urlopen(link, timeout=10) as answer:
            return answer.read()
    except OSError as fault:
        raise Failure(f"the link {link} leads to: {fault}") from None


# What each check needs: a command, or for requests a module.
PACKAGES = {
    "curl": "curl",
    "wget": "wget",
    "aria2c": "aria2",
    "requests": "python3-requests",
    "chromium": "chromium",
    **secure_clients.PACKAGES,
}
CHECKS = [
    ("curl -C - resumes a download", "curl", curl_resumes),
    ("curl -C - on a whole file", "curl", curl_resumes_what_is_whole),
    ("curl --compressed, sidecar files", "curl", curl_decodes_sidecars),
    ("curl --compressed, compressed by the server", "curl", curl_decodes_compressed),
    ("curl -z", "curl", curl_keeps_what_is_not_newer),
    ("curl -I", "curl", curl_heads),
    ("curl --http1.0", "curl", curl_speaks_1_0),
    ("curl, three files over one connection", "curl", curl_keeps_its_connection),
    ("wget -c resumes a download", "wget", wget_resumes),
    ("wget -N", "wget", wget_keeps_what_is_not_newer),
    ("aria2c with eight ranges at once", "aria2c", aria2c_splits),
    ("requests, keep-alive", "requests", requests_keeps_alive),
    ("requests, gzip", "requests", requests_decodes),
    ("requests, streaming", "requests", requests_streams),
    ("requests, redirects", "requests", requests_follows),
    ("requests, folder without its slash", "requests", requests_finds_folders),
    ("requests, conditions", "requests", requests_revalidates),
    ("chromium seeks in a film", "chromium", chromium_seeks),
    ("chromium shows an index on a phone", "chromium", chromium_lists_on_a_phone),
    ("chromium shows an index on a desktop", "chromium", chromium_lists_on_a_desktop),
    *secure_clients.CHECKS,
]


def main():
    arguments = parse_arguments()
    # No client is to ask a proxy for what is on this machine.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="otus-httpd-clients-") as scratch:
        scratch = Path(scratch)
        with served(arguments.otus, arguments.settings, scratch) as site:
            for name, client, check in CHECKS:
                if arguments.only in name:
                    failed += not passes(name, client, check, site)
        log = site.log.read_text(errors="replace")
        shutil.copy(site.log, ARTIFACTS / "clients-server.log")
    if re.search("panic", log, re.IGNORECASE):
        print("FAILED server: it panicked; see tests/artifacts/clients-server.log")
        failed += 1
    sys.exit(1 if failed else 0)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Real clients against otus-httpd.")
    parser.add_argument("--otus", type=Path, default=PROJECT / "target/release/otus-httpd", help="its binary")
    parser.add_argument("--settings", default=SETTINGS, help="lines of its configuration beside the root")
    parser.add_argument("--only", default="", help="only checks whose name has this")
    return parser.parse_args()


def passes(name, client, check, site):
    """Runs one check and says how it went."""
    try:
        if client not in ("requests", "httpx") and shutil.which(client) is None:
            raise Failure(f"{client} is missing; install {PACKAGES[client]}")
        check(site)
    except ModuleNotFoundError as missing:
        return told(name, f"{missing.name} is missing; install {PACKAGES.get(missing.name, missing.name)}")
    except Exception as fault:  # Whatever went wrong in a client is the check's failure.
        return told(name, f"{type(fault).__name__ + ': ' if not isinstance(fault, Failure) else ''}{fault}")
    return told(name, None)


def told(name, fault):
    print(f"ok {name}" if fault is None else f"FAILED {name}: {fault}", flush=True)
    return fault is None


if __name__ == "__main__":
    main()

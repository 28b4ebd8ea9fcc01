"""Real clients over TLS and over HTTP/2: the checks that clients.py adds to its own.

Order: curl; wget, aria2c, requests and httpx; OpenSSL; nghttp and h2load; Node.js; Chromium; the table.

Invariant: a client believes the certificate of the test alone, and says itself what it spoke.
"""

import hashlib
import json
import os
import re
import subprocess
from urllib.parse import unquote

import devtools
from client_site import BIG_BYTES, CLIENT_SECONDS_MAX, PAGE, PAGES, Failure, curl, expect, expect_same, run

LONG_PAGE = "/httptest/wikipedia_russia.html"
PARTS = "httptest/wikipedia_russia_files"
# It is asked for when the page is complete, if at all.
ICON = "favicon.png"


# curl.


def trusting(site, *more):
    return ["--fail", "--cacert", site.file("localhost.crt"), *more]


def curl_speaks(site, version, *how):
    """The large file comes whole, by this version of HTTP; of TLS it gives what curl tells."""
    whole = site.folder() / "big.bin"
    told = curl(*trusting(site, *how), "-v", "-o", whole, "-w", "version=%{http_version}", f"{site.secure_url}/big.bin")
    expect("version of HTTP", re.search(r"version=([\d.]+)", told)[1], version)
    expect_same(whole, site.root / "big.bin")
    return re.search(r"SSL connection using (\S+) / (\S+)", told)


def curl_speaks_2(site):
    curl_speaks(site, "2", "--http2")


def curl_speaks_1_1(site):
    curl_speaks(site, "1.1", "--http1.1")


def curl_speaks_2_without_tls(site):
    whole = site.folder() / "big.bin"
    told = curl("--fail", "--http2-prior-knowledge", "-o", whole, "-w", "%{http_version}", f"{site.url}/big.bin")
    expect("version of HTTP", told, "2")
    expect_same(whole, site.root / "big.bin")


def curl_keeps_to_1_1_without_tls(site):
    """RFC 9113 §3.1: there is no upgrade any more."""
    told = curl("--fail", "--http2", "-o", os.devnull, "-w", "%{http_version} %{http_code}", f"{site.url}/folder/")
    expect("version and status", told, "1.1 200")


def curl_speaks_tls_1_2(site):
    version, suite = curl_speaks(site, "2", "--tlsv1.2", "--tls-max", "1.2").groups()
    expect("version of TLS", version, "TLSv1.2")
    if not suite.startswith("ECDHE-") or not ("GCM" in suite or "CHACHA20" in suite):
        raise Failure(f"{suite} is no suite that HTTP/2 allows (RFC 9113 §9.2.2)")


def curl_speaks_tls_1_3(site):
    expect("version of TLS", curl_speaks(site, "2", "--tlsv1.3")[1], "TLSv1.3")


def curl_is_refused_tls_1_1(site):
    how = trusting(site, "--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0")
    expect("exit status", curl_status(*how, f"{site.secure_url}/folder/"), 35)


def curl_status(*arguments):
    command = ["curl", "-q", "--silent", "-o", os.devnull, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=CLIENT_SECONDS_MAX, check=False).returncode


def curl_shares_one_connection(site):
    folder = site.folder()
    urls = [word for n in range(30) for word in ("-o", folder / str(n), f"{site.secure_url}/sidecars/page.html?{n}")]
    told = curl("--parallel", "--no-progress-meter", *trusting(site), "-w", "%{num_connects} ", *urls)
    expect("new connections", sum(map(int, told.split())), 1)
    for n in range(30):
        expect_same(folder / str(n), site.root / "sidecars/page.html")


def curl_resumes_over_2(site):
    part = site.folder() / "big.bin"
    part.write_bytes((site.root / "big.bin").read_bytes()[: BIG_BYTES // 2])
    with site.watched("/big.bin", lambda seen: seen == [(206, BIG_BYTES - BIG_BYTES // 2)]):
        curl(*trusting(site), "-C", "-", "-o", part, f"{site.secure_url}/big.bin")
    expect_same(part, site.root / "big.bin")


def curl_decodes_over_2(site):
    page = site.folder() / "page"
    told = curl(*trusting(site), "--compressed", "-D", "-", "-o", page, f"{site.secure_url}/sidecars/page.html")
    expect("coding", re.findall(r"(?im)^content-encoding: *(\S+)", told), ["br"])
    expect_same(page, site.root / "sidecars/page.html")


def curl_shows_a_certificate(site):
    """A site for members: with a certificate of its authority, and without one."""
    url = f"https://members.localhost:{site.port()}/folder/"
    how = ["--cacert", site.file("members.localhost.crt"), "--resolve", f"members.localhost:{site.port()}:127.0.0.1"]
    shown = ["--cert", site.file("client.crt"), "--key", site.file("client.key")]
    for tls in (["--tlsv1.3"], ["--tls-max", "1.2"]):
        expect("status", curl(*how, *shown, *tls, "-o", os.devnull, "-w", "%{http_code} %{http_version}", url), "200 2")
        if curl_status("--fail", *how, *tls, url) == 0:
            raise Failure("a client without a certificate is let in")


def curl_is_misdirected(site):
    """RFC 9110 §7.4, §15.5.20: over a connection of the default site, members are not answered."""
    told = curl(
        "--cacert", site.file("localhost.crt"), "-H", "Host: members.localhost", "-o", os.devnull, "-w", "%{http_code}",
        f"{site.secure_url}/folder/",
    )  # fmt: skip
    expect("status", told, "421")


def curl_without_tls_is_told(site):
    """A plain request to the port of TLS is answered by a plain 400."""
    told = curl("-i", f"http://127.0.0.1:{site.port()}/")
    if not told.startswith("HTTP/1.1 400 ") or "HTTPS" not in told:
        raise Failure(f"answered by {told[:200]!r}")


# wget, aria2c, requests, httpx.


def wget_over_tls(site):
    folder = site.folder()
    run("wget", "--no-config", "-nv", f"--ca-certificate={site.file('localhost.crt')}", "-P", str(folder), f"{site.secure_url}/big.bin")
    expect_same(folder / "big.bin", site.root / "big.bin")


def aria2c_over_tls(site):
    folder = site.folder()
    with site.watched("/big.bin", lambda seen: sum(status == 206 for status, _ in seen) >= 3):
        run("aria2c", "--no-conf", "-q", "-x4", "-s4", "-k1M", "--file-allocation=none", "-d", str(folder),
            f"--ca-certificate={site.file('localhost.crt')}", f"{site.secure_url}/big.bin")  # fmt: skip
    expect_same(folder / "big.bin", site.root / "big.bin")


def requests_over_tls(site):
    import requests

    with requests.Session() as client:
        client.trust_env = False
        client.verify = str(site.file("localhost.crt"))
        for _ in range(3):
            answer = client.get(f"{site.secure_url}/sidecars/page.html", headers={"Accept-Encoding": "gzip"}, timeout=10)
            expect("status and content", (answer.status_code, answer.content == PAGE), (200, True))


def httpx_speaks_2(site):
    """As many requests at a time as it likes, over TLS and in plain text; content by the checksum."""
    import asyncio
    import ssl

    import httpx

    trusted = ssl.create_default_context(cafile=str(site.file("localhost.crt")))
    digest = hashlib.sha256((site.root / "big.bin").read_bytes()).hexdigest()

    async def ask(url, how):
        async with httpx.AsyncClient(verify=trusted, trust_env=False, timeout=30, **how) as client:
            urls = [f"{url}/sidecars/page.html?{n}" for n in range(40)] + [f"{url}/big.bin"]
            return await asyncio.gather(*(client.get(url, headers={"Accept-Encoding": "gzip"}) for url in urls))

    for url, how in [(site.secure_url, {"http2": True}), (site.url, {"http1": False, "http2": True})]:
        *pages, big = asyncio.run(ask(url, how))
        for answer in pages:
            seen = (answer.http_version, answer.status_code, answer.content == PAGE)
            expect("version, status and content", seen, ("HTTP/2", 200, True))
        expect("checksum", hashlib.sha256(big.content).hexdigest(), digest)


# OpenSSL.


def s_client(site, *how, request="GET /folder/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
    """What openssl s_client tells of a connection with one request."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.port()}", "-CAfile", site.file("localhost.crt"), "-ign_eof", *how]
    done = subprocess.run(list(map(str, command)), input=request, capture_output=True, text=True, errors="replace", timeout=CLIENT_SECONDS_MAX, check=False)
    return done.stdout + done.stderr


def openssl_resumes(site):
    folder = site.folder()
    for version, word in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")]:
        session = folder / word
        first = s_client(site, version, "-servername", "localhost", "-sess_out", session)
        expect(f"first connection of {word}", re.findall(r"^(New|Reused), (\S+),", first, re.M)[:1], [("New", word)])
        second = s_client(site, version, "-servername", "localhost", "-sess_in", session)
        expect(f"second connection of {word}", re.findall(r"^(New|Reused), (\S+),", second, re.M)[:1], [("Reused", word)])
        expect("answer", "HTTP/1.1 200 OK" in second, True)


def openssl_names_a_site(site):
    for name, subject in [("localhost", "localhost"), ("members.localhost", "members.localhost"), ("else.example", "localhost")]:
        told = s_client(site, "-servername", name, request="")
        expect(f"certificate for {name}", re.findall(r"^subject=CN = (\S+)", told, re.M), [subject])
    expect("certificate for no name", re.findall(r"^subject=CN = (\S+)", s_client(site, "-noservername", request=""), re.M), ["localhost"])


def openssl_negotiates(site):
    for offered, chosen in [("h2", "h2"), ("http/1.1,h2", "h2"), ("h2,http/1.1", "h2"), ("http/1.1", "http/1.1")]:
        told = s_client(site, "-servername", "localhost", "-alpn", offered, request="")
        expect(f"protocol of {offered}", re.findall(r"^ALPN protocol: (\S+)", told, re.M), [chosen])
    told = s_client(site, "-servername", "localhost", "-alpn", "spdy/3", request="")
    expect("alert for an unknown protocol", "no application protocol" in told, True)


def openssl_finds_a_good_chain(site):
    told = s_client(site, "-servername", "localhost", "-verify_hostname", "localhost", request="")
    expect("verification", re.findall(r"Verify return code: (\d+)", told)[:1], ["0"])
    older = s_client(site, "-tls1_2", "-servername", "localhost", request="")
    expect("secure renegotiation", "Secure Renegotiation IS supported" in older, True)
    expect("compression", re.findall(r"^Compression: (\S+)", told, re.M), ["NONE"])


# nghttp and h2load.


def nghttp_tells_no_error(site):
    """It reads every frame, and says what is wrong with one."""
    for url in (site.url, site.secure_url):
        told = run("nghttp", "-nv", "--no-verify-peer", *[f"{url}/{path}" for path in ("folder/", "sidecars/page.html", "absent")])
        told = re.sub(r"\x1b\[[0-9;]*m", "", told)
        expect("statuses", sorted(re.findall(r"recv \(stream_id=\d+\) :status: (\d+)", told)), ["200", "200", "404"])
        if re.search(r"\[ERROR\]|recv RST_STREAM|error_code=(?!NO_ERROR)", told):
            raise Failure(f"it tells of an error:\n{told[-1500:]}")


def nghttp_gets_a_page_with_its_parts(site):
    # Other than browsers it does not know names below localhost.
    how = ["--no-verify-peer", "-H", f":authority: page.localhost:{site.port()}"]
    told = run("nghttp", "-ans", *how, f"{site.secure_url}{LONG_PAGE}")
    rows = re.findall(r"^ *\d+ +\+\S+ +\+\S+ +\S+ +(\d+) +\S+ (\S+)$", told, re.M)
    if len(rows) < 100 or {status for status, _ in rows} != {"200"}:
        raise Failure(f"{len(rows)} answers: {rows[:5]}\n{told[-500:]}")


def h2load_is_answered(site):
    for url in (site.url, site.secure_url):
        for path, how in [("folder/", ["-n", "20000", "-c", "16", "-m", "32"]), ("big.bin", ["-n", "40", "-c", "4", "-m", "10"])]:
            told = run("h2load", *how, f"{url}/{path}")
            seen = re.search(r"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored", told)
            expect(f"requests of {path}", seen and (seen[2], seen[3], seen[4]), (how[1], "0", "0"))
            if path == "big.bin":
                data = int(re.search(r", \d+\S* \((\d+)\) data", told)[1])
                expect("bytes of content", data, 40 * BIG_BYTES)


# Node.js.

SCRIPT = """
const http2 = require("http2"), crypto = require("crypto"), fs = require("fs");
const [url, ca] = process.argv.slice(1);
const session = http2.connect(url, { ca: fs.readFileSync(ca) });
session.on("error", fault => { console.error(fault); process.exit(1); });
const get = path => new Promise((done, fail) => {
  const request = session.request({ ":path": path }), digest = crypto.createHash("sha256");
  let status;
  request.on("response", head => { status = head[":status"]; });
  request.on("data", piece => digest.update(piece));
  request.on("end", () => done([status, digest.digest("hex")]));
  request.on("error", fail);
});
const paths = [...Array(30).keys()].map(number => `/sidecars/page.html?${number}`).concat(["/big.bin"]);
Promise.all(paths.map(get)).then(answers => { console.log(JSON.stringify(answers)); session.close(); });
"""


def node_speaks_2(site):
    for url in (site.url, site.secure_url):
        *pages, big = json.loads(run("node", "-e", SCRIPT, url, str(site.file("localhost.crt"))))
        expect("pages", pages, [[200, hashlib.sha256(PAGE).hexdigest()]] * 30)
        expect("the large file", big, [200, hashlib.sha256((site.root / "big.bin").read_bytes()).hexdigest()])


# Chromium.


def chromium_loads_a_page_over_2(site):
    """The long page with all of its parts: each by h2, none of them failed."""
    files = {file.relative_to(PAGES) for file in (PAGES / PARTS).rglob("*") if file.is_file()}
    wanted = {f"/{file}" for file in files if file.name != ICON} | {LONG_PAGE}
    with devtools.Chromium(trusted=site.file("localhost.crt")) as browser:
        page = browser.page(1280, 2000)
        page.send("Network.enable")
        page.open(f"https://page.localhost:{site.port()}{LONG_PAGE}")
        state = page.wait_for("document.documentElement.dataset.state")
        seen = [event["params"] for event in browser.events if event["method"] == "Network.responseReceived"]
        failed = [event["params"] for event in browser.events if event["method"] == "Network.loadingFailed"]
    expect("state of the page", state, "complete")
    expect("parts that failed", failed, [])
    answers = {unquote(re.sub(r"^https://[^/]+", "", each["response"]["url"])): each["response"] for each in seen}
    expect("parts that were not asked for", sorted(wanted - set(answers))[:5], [])
    other = [(path, answer.get("protocol"), answer["status"]) for path, answer in answers.items()
             if (answer.get("protocol"), answer["status"]) != ("h2", 200)]  # fmt: skip
    expect("answers that are not 200 by h2", other[:5], [])
    security = answers[LONG_PAGE]["securityDetails"]
    expect("version of TLS", security["protocol"], "TLS 1.3")


PACKAGES = {
    "openssl": "openssl",
    "nghttp": "nghttp2-client",
    "h2load": "nghttp2-client",
    "node": "nodejs",
    "httpx": "the libraries of tests/tools.txt, with which tests/with-tools runs a program",
}
CHECKS = [
    ("curl --http2", "curl", curl_speaks_2),
    ("curl --http1.1 over TLS", "curl", curl_speaks_1_1),
    ("curl --http2-prior-knowledge", "curl", curl_speaks_2_without_tls),
    ("curl --http2 without TLS", "curl", curl_keeps_to_1_1_without_tls),
    ("curl --tlsv1.2 --tls-max 1.2", "curl", curl_speaks_tls_1_2),
    ("curl --tlsv1.3", "curl", curl_speaks_tls_1_3),
    ("curl --tls-max 1.1", "curl", curl_is_refused_tls_1_1),
    ("curl --parallel, thirty files over one connection", "curl", curl_shares_one_connection),
    ("curl -C - over HTTP/2", "curl", curl_resumes_over_2),
    ("curl --compressed over HTTP/2", "curl", curl_decodes_over_2),
    ("curl --cert", "curl", curl_shows_a_certificate),
    ("curl with another site's host", "curl", curl_is_misdirected),
    ("curl without TLS at the port of TLS", "curl", curl_without_tls_is_told),
    ("wget over TLS", "wget", wget_over_tls),
    ("aria2c over TLS", "aria2c", aria2c_over_tls),
    ("requests over TLS", "requests", requests_over_tls),
    ("httpx over HTTP/2", "httpx", httpx_speaks_2),
    ("openssl s_client, resumption", "openssl", openssl_resumes),
    ("openssl s_client, server names", "openssl", openssl_names_a_site),
    ("openssl s_client, ALPN", "openssl", openssl_negotiates),
    ("openssl s_client, verification", "openssl", openssl_finds_a_good_chain),
    ("nghttp -nv", "nghttp", nghttp_tells_no_error),
    ("nghttp -a, a page with its parts", "nghttp", nghttp_gets_a_page_with_its_parts),
    ("h2load", "h2load", h2load_is_answered),
    ("node http2", "node", node_speaks_2),
    ("chromium loads a page of many parts over HTTP/2", "chromium", chromium_loads_a_page_over_2),
]

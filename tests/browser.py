"""Loads the long page in headless Chromium and fails on any sub-resource that failed.

    browser.py SERVER_URL DOCROOT SERVER_LOG SCREENSHOT

Two witnesses must agree: the page, whose own script marks it "complete" when every picture has a
size and every script has reported, and the server's log, in which every file that the page names
must have been answered with 200 and nothing with anything else. The screenshot is kept for the
eyes of a person.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

PAGE = "httptest/wikipedia_russia.html"
PARTS = "httptest/wikipedia_russia_files"
ICON = "favicon.png"
TIMEOUT_SECONDS = 120


def chromium(url, *arguments):
    """What Chromium prints; a fresh profile, so that nothing comes from a cache."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={profile}",
            "--virtual-time-budget=60000", *arguments, url,
        ]  # fmt: skip
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    if run.returncode != 0:
        sys.exit(f"chromium failed ({run.returncode}):\n{run.stderr}")
    return run.stdout


def answers(log):
    """(target, status) of each answer in the server's log."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", Path(log).read_text())
    return re.findall(r"target=(\S+) status=(\d+)", text)


def main():
    server, docroot, log, screenshot = sys.argv[1:]
    dom = chromium(f"{server}/{PAGE}", "--dump-dom")
    state = re.search(r'data-state="([^"]*)"', dom)
    if state is None or state[1] != "complete":
        sys.exit(f"the page says of itself: {state and state[1]}")

    seen = answers(log)
    wrong = [(target, status) for target, status in seen if status not in ("200", "304")]
    if wrong:
        sys.exit(f"answers that are not 200: {wrong}")
    files = (file for file in (Path(docroot) / PARTS).rglob("*") if file.is_file())
    # A browser asks for the icon when the page is complete, and may have been closed by then.
    wanted = {f"/{file.relative_to(docroot)}" for file in files if file.name != ICON} | {f"/{PAGE}"}
    missing = wanted - {unquote(target) for target, _ in seen}
    if missing:
        sys.exit(f"the browser did not ask for {len(missing)} of the page and its parts: {sorted(missing)[:10]}")
    print(f"{len(seen)} answers, all of them 200")

    chromium(f"{server}/{PAGE}", f"--screenshot={screenshot}", "--window-size=1280,2000")
    if not Path(screenshot).read_bytes().startswith(b"\x89PNG"):
        sys.exit("the screenshot is no picture")


if __name__ == "__main__":
    main()

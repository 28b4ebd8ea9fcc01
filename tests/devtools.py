"""Drives headless Chromium by the DevTools protocol, over a pair of pipes.

    with Chromium() as browser:
        page = browser.page(390, 844, mobile=True)
        page.open(url)
        page.value("document.title")

Invariant: one command is under way at a time; its answer is the message with its number, and
every other message is an event that nobody waits for, and is kept.
"""

import base64
import hashlib
import json
import os
import select
import subprocess
import tempfile
import time

ANSWER_SECONDS_MAX = 60
POLL_SECONDS = 0.1


class Chromium:
    """A browser with a fresh profile, so that nothing comes from a cache; it believes a certificate that is named."""

    def __init__(self, trusted=None):
        self.profile = tempfile.TemporaryDirectory(prefix="otus-httpd-chromium-", ignore_cleanup_errors=True)
        theirs_in, self.commands = os.pipe()
        self.messages, theirs_out = os.pipe()
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={self.profile.name}",
            "--remote-debugging-pipe", *([f"--ignore-certificate-errors-spki-list={digest_of_key(trusted)}"] if trusted else []),
            "about:blank",
        ]  # fmt: skip
        # Chromium reads commands from descriptor 3 and writes messages to descriptor 4. The shell
        # puts them there, for its redirections take place one after the other in the new process.
        placed = ["sh", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "sh", *command]
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            placed, stdout=subprocess.DEVNULL, stderr=self.errors, pass_fds=(theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)
        self.buffer = b""
        self.number = 0
        # What came besides answers; pages tell of nothing that they were not asked to tell of.
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.send("Browser.close")
        except (OSError, RuntimeError):
            self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.commands)
        os.close(self.messages)
        self.errors.close()
        self.profile.cleanup()

    def page(self, width, height, mobile=False):
        """A new page of that size in CSS pixels."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        page.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        return page

    def send(self, method, session=None, **parameters):
        """The result of one command."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self.commands, rest) :]
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while True:
            answer = json.loads(self.receive(deadline))
            if answer.get("id") == self.number:
                break
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def receive(self, deadline):
        """The next message."""
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.messages], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self.messages, 1 << 20) if ready else b""
            if not piece:
                self.errors.seek(0)
                said = self.errors.read().decode(errors="replace")[-2000:]
                raise RuntimeError(f"chromium {'is gone' if ready else 'does not answer'}:\n{said}")
            self.buffer += piece
        message, _, self.buffer = self.buffer.partition(b"\0")
        return message


def digest_of_key(certificate):
    """How Chromium names a public key: the checksum of its DER, in Base64."""
    spki = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], capture_output=True, check=True)
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=spki.stdout, capture_output=True, check=True)
    return base64.b64encode(hashlib.sha256(der.stdout).digest()).decode()


class Page:
    """One page of the browser."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def send(self, method, **parameters):
        return self.browser.send(method, self.session, **parameters)

    def open(self, url):
        """Goes to `url` and waits until it is loaded."""
        failure = self.send("Page.navigate", url=url).get("errorText")
        if failure:
            raise RuntimeError(f"{url}: {failure}")
        # The navigation has been committed by now, so this is the new document.
        self.wait_for("document.readyState === 'complete'")

    def value(self, expression):
        """The value of an expression in the page; of a promise, what it comes to."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            fault = answer["exceptionDetails"].get("exception", {}).get("description")
            raise RuntimeError(f"{expression[:80]}: {fault}")
        return answer["result"].get("value")

    def wait_for(self, expression, seconds_max=30):
        """The value of the expression as soon as it is true."""
        deadline = time.monotonic() + seconds_max
        while not (value := self.value(expression)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"not within {seconds_max} s: {expression}")
            time.sleep(POLL_SECONDS)
        return value

    def screenshot(self, path):
        """Writes what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

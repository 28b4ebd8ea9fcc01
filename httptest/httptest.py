#!/usr/bin/env python3
"""Acceptance tests: what a static web server must answer, asked over the wire.

    python3 httptest/httptest.py [--host HOST] [--port PORT] [-v] [TEST...]

The server must be running with a document root that has the folder httptest/:
the one that make_docroot.py writes, or that of the public http-test-suite, whose
demands these tests state anew. The names and lengths are the same in both.

Order: the tests; the ways to ask (Client, speak); the reading of the command
line. Every answer, in whichever test, passes through check_head: no answer may
lack a header field that all must have. The exit status is 0 if all is well, 1 if
a test fails, 2 if there is no server.
"""

import argparse
import email.utils
import http.client
import socket
import sys
import time
import unittest
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import quote, urljoin, urlsplit

SECONDS_MAX = 10

PAGE_HTML = b"<html><body>Page Sample</body></html>\n"

# Target, content type and length. The types are meant exactly: no parameters.
TYPED_FILES = {
    "html": ("/httptest/dir2/page.html", "text/html", 38),
    "css": ("/httptest/splash.css", "text/css", 98620),
    "js": ("/httptest/jquery-1.9.1.js", "text/javascript", 268381),
    "jpg": ("/httptest/160313.jpg", "image/jpeg", 267037),
    "jpeg": ("/httptest/ef35c.jpeg", "image/jpeg", 160462),
    "png": ("/httptest/logo.v2.png", "image/png", 1754),
    "gif": ("/httptest/pic_ask.gif", "image/gif", 1747),
    "swf": ("/httptest/b16261023.swf", "application/x-shockwave-flash", 35344),
}

# Targets whose content is known word by word.
KNOWN_FILES = {
    "index_of_folder": ("/httptest/dir2/", b"<html>Directory index file</html>\n"),
    "nested_folders": ("/httptest/dir1/dir12/dir123/deep.txt", b"bingo, you found it\n"),
    "query": ("/httptest/dir2/page.html?arg1=value&arg2=value", PAGE_HTML),
    "empty_query": ("/httptest/dir2/page.html?", PAGE_HTML),
    "query_on_folder": ("/httptest/dir2/?a=/../b", b"<html>Directory index file</html>\n"),
    "escaped_space": ("/httptest/space%20in%20name.txt", b"letters and spaces\n"),
    "escaped_letters": ("/httptest/dir2/%70%61%67%65%2e%68%74%6d%6c", PAGE_HTML),
    "escaped_letters_in_capitals": ("/httptest/dir2/%70%61%67%65%2E%68%74%6D%6C", PAGE_HTML),
    "two_dots_in_name": ("/httptest/text..txt", b"hello"),
}

ABSENT = {
    "file": "/httptest/there-is-no-such-file.html",
    "folder": "/httptest/there-is-no-such-folder/",
    "file_in_absent_folder": "/httptest/there-is-no-such-folder/page.html",
    "folder_without_index": "/httptest/dir1/",
    "slash_after_file": "/httptest/dir2/page.html/",
    "slash_and_query_after_file": "/httptest/dir2/page.html/?arg1=value",
    "name_below_file": "/httptest/dir2/page.html/page.html",
}

UP = 13
# Ways to ask for a file outside the document root, for servers that check before
# they decode, decode twice, or check for one spelling only.
ESCAPES = {
    "plain": "/httptest/" + "../" * UP + "etc/passwd",
    "from_the_root": "/" + "../" * UP + "etc/passwd",
    "through_a_folder": "/httptest/dir1/dir12/" + "../" * UP + "etc/passwd",
    "through_an_absent_folder": "/httptest/no-such-folder/" + "../" * UP + "etc/passwd",
    "escaped_dots": "/httptest/" + "%2e%2e/" * UP + "etc/passwd",
    "escaped_dots_in_capitals": "/httptest/" + "%2E%2E/" * UP + "etc/passwd",
    "one_dot_escaped": "/httptest/" + ".%2e/" * UP + "etc/passwd",
    "escaped_slashes": "/httptest/" + "..%2f" * UP + "etc%2fpasswd",
    "all_escaped": "/httptest/" + "%2e%2e%2f" * UP + "etc%2fpasswd",
    "escaped_twice": "/httptest/" + "%252e%252e%252f" * UP + "etc%252fpasswd",
    "mixed": "/httptest/" + "../%2e%2e/..%2f" * UP + "etc/passwd",
    "single_dots_between": "/httptest/" + ".././" * UP + "etc/passwd",
    "double_slashes": "/httptest/" + "..//" * UP + "etc/passwd",
    "backslashes": "/httptest/" + "..\\" * UP + "etc\\passwd",
    "escaped_backslashes": "/httptest/" + "..%5c" * UP + "etc%5cpasswd",
    "overlong_utf8": "/httptest/" + "%c0%ae%c0%ae/" * UP + "etc/passwd",
    "absolute": "//etc/passwd",
    "escaped_absolute": "/%2fetc%2fpasswd",
    "in_full_form": "http://localhost/httptest/" + "../" * UP + "etc/passwd",
    "end_of_string": "/httptest/" + "../" * UP + "etc/passwd%00.html",
}

FORBIDDEN_METHODS = [
    "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "BREW",
]


def for_each(rows):
    """Makes a test of each row: test_x with the rows a and b becomes test_x__a and
    test_x__b, each called with the values of its row."""
    def mark(test):
        test.rows = rows
        return test
    return mark


def with_rows(case):
    """Puts the tests of for_each into the class."""
    for name, test in list(vars(case).items()):
        rows = getattr(test, "rows", None)
        if rows is None:
            continue
        delattr(case, name)
        if not isinstance(rows, dict):
            rows = {row: row for row in rows}
        for label, values in rows.items():
            values = values if isinstance(values, tuple) else (values,)
            setattr(case, f"{name}__{label}", _of_row(test, values))
    return case


def _of_row(test, values):
    return lambda case: test(case, *values)


class Acceptance(unittest.TestCase):
    """What all tests share: a server to ask, and the demands on every answer."""

    host, port = "localhost", 8080

    def ask(self, method, target, **options):
        """The answer to one request on a connection of its own."""
        with Client(self.host, self.port) as client:
            answer = client.ask(method, target, **options)
        self.check_head(answer)
        return answer

    def speak(self, request):
        """The answer to these very bytes, read until the server closes."""
        answer = speak(self.host, self.port, request)
        self.check_head(answer)
        return answer

    def check_head(self, answer):
        self.assertTrue(answer.field("Server"), "no Server")
        date = answer.field("Date")
        self.assertTrue(date, "no Date")
        # RFC 9110 §5.6.7: senders write the fixed format, always in GMT.
        moment = email.utils.parsedate_to_datetime(date)
        self.assertEqual(email.utils.format_datetime(moment, usegmt=True), date)
        self.assertIn((answer.field("Connection") or "none").lower(), ("keep-alive", "close"))
        if answer.status == 200:
            self.assertIsNotNone(answer.field("Content-Length"), "no Content-Length")
            self.assertTrue(answer.field("Content-Type"), "no Content-Type")

    def check_content(self, answer, length):
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.field("Content-Length"), str(length))
        self.assertEqual(len(answer.content), length)


@with_rows
class Files(Acceptance):
    """GET of what is there."""

    @for_each(KNOWN_FILES)
    def test_content(self, target, content):
        answer = self.ask("GET", target)
        self.check_content(answer, len(content))
        self.assertEqual(answer.content, content)

    @for_each(TYPED_FILES)
    def test_type_and_length(self, target, content_type, length):
        answer = self.ask("GET", target)
        self.check_content(answer, length)
        self.assertEqual(answer.field("Content-Type"), content_type)

    def test_large_page(self):
        answer = self.ask("GET", "/httptest/wikipedia_russia.html")
        self.check_content(answer, 954824)
        self.assertIn(b"Wikimedia Foundation, Inc.", answer.content)

    def test_large_page_read_slowly(self):
        """A client with a narrow window that starts late gets all of it, too."""
        with connect(self.host, self.port) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            connection.sendall(
                request_bytes("GET", "/httptest/wikipedia_russia.html", self.host))
            time.sleep(0.5)
            answer = parsed(received(connection))
        self.check_head(answer)
        self.check_content(answer, 954824)


@with_rows
class Absent(Acceptance):
    """GET of what is not there, or is none of the client's business."""

    @for_each(ABSENT)
    def test_not_found(self, target):
        self.assertEqual(self.ask("GET", target).status, 404)

    @for_each(ESCAPES)
    def test_no_way_out_of_the_root(self, target):
        answer = self.speak(request_bytes("GET", target, self.host))
        self.assertIn(answer.status, (400, 403, 404))
        self.assertNotIn(b"root:", answer.content)


@with_rows
class Methods(Acceptance):
    """What is not GET."""

    @for_each({"without_content": None, "with_content": b"a=1&b=2"})
    def test_post(self, content):
        answer = self.ask("POST", "/httptest/dir2/page.html", content=content)
        self.assertIn(answer.status, (400, 405))
        if answer.status == 405:
            self.check_allow(answer)

    @for_each(FORBIDDEN_METHODS)
    def test_method_not_allowed(self, method):
        answer = self.ask(method, "/httptest/dir2/page.html")
        self.assertEqual(answer.status, 405)
        self.check_allow(answer)

    def check_allow(self, answer):
        # RFC 9110 §15.5.6: the answer 405 names the methods that would do.
        allowed = [method.strip() for method in (answer.field("Allow") or "").split(",")]
        self.assertIn("GET", allowed)
        self.assertIn("HEAD", allowed)
        self.assertNotIn("POST", allowed)

    def test_head_in_http_1_0(self):
        """No content follows, and the server closes: speak waits for that."""
        answer = self.speak(b"HEAD /httptest/dir2/page.html HTTP/1.0\r\n\r\n")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.field("Content-Length"), "38")
        self.assertEqual(answer.content, b"")

    @for_each(TYPED_FILES)
    def test_head_has_the_fields_of_get(self, target, content_type, length):
        answer = self.speak(request_bytes("HEAD", target, self.host))
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.field("Content-Type"), content_type)
        self.assertEqual(answer.field("Content-Length"), str(length))
        self.assertEqual(answer.content, b"")

    def test_head_of_absent_file(self):
        answer = self.speak(request_bytes("HEAD", ABSENT["file"], self.host))
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.content, b"")


class Connections(Acceptance):
    """What happens around the requests."""

    def test_server_names_itself(self):
        self.assertTrue(self.ask("GET", "/httptest/").field("Server"))

    def test_lone_line_feed(self):
        """A client that sends one LF and leaves does no harm, however often."""
        for _ in range(20):
            with connect(self.host, self.port) as connection:
                connection.sendall(b"\n")
        self.check_content(self.ask("GET", "/httptest/dir2/page.html"), 38)

    def test_client_that_says_nothing(self):
        for _ in range(20):
            connect(self.host, self.port).close()
        self.check_content(self.ask("GET", "/httptest/dir2/page.html"), 38)

    def test_client_that_leaves_during_the_answer(self):
        request = request_bytes("GET", "/httptest/wikipedia_russia.html", self.host)
        for _ in range(20):
            with connect(self.host, self.port) as connection:
                connection.sendall(request)
                connection.recv(1)
        self.check_content(self.ask("GET", "/httptest/dir2/page.html"), 38)

    def test_http_1_0_closes(self):
        answer = self.speak(b"GET /httptest/dir2/page.html HTTP/1.0\r\n\r\n")
        self.assertEqual(answer.content, PAGE_HTML)
        self.assertEqual(answer.field("Connection").lower(), "close")

    def test_close_on_demand(self):
        answer = self.speak(request_bytes("GET", "/httptest/dir2/page.html", self.host))
        self.assertEqual(answer.content, PAGE_HTML)
        self.assertEqual(answer.field("Connection").lower(), "close")

    def test_many_clients_at_once(self):
        """A small brother of: ab -n 50000 -c 100. All connections are open before
        the first is read, and all answers must be whole and of equal length."""
        request = b"GET / HTTP/1.0\r\n\r\n"
        answers = []
        for _ in range(10):
            connections = [connect(self.host, self.port) for _ in range(100)]
            for connection in connections:
                connection.sendall(request)
            for connection in connections:
                with connection:
                    answers.append(parsed(received(connection)))
        self.assertEqual(len(answers), 1000)
        for answer in answers:
            self.check_head(answer)
            self.assertEqual(answer.field("Content-Length"), str(len(answer.content)))
            self.assertEqual(answer.status, answers[0].status)
            self.assertEqual(len(answer.content), len(answers[0].content))


class WholePage(Acceptance):
    """The large page shows in a browser only if all its parts arrive."""

    PAGE = "/httptest/wikipedia_russia.html"
    # Both the page of this project and that of the public suite refer to more
    # than 180; far fewer would mean that the reader of the page has gone blind.
    PARTS_MIN = 150
    # Saved pages have names in capitals, so the ending is compared in small letters.
    TYPES = {
        ".css": "text/css", ".js": "text/javascript", ".png": "image/png",
        ".gif": "image/gif", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
    }

    def test_every_part_of_the_page(self):
        with Client(self.host, self.port) as client:
            page = client.ask("GET", self.PAGE)
            self.check_head(page)
            self.check_content(page, 954824)
            parts = Parts.of(page.content.decode("utf-8"))
            self.assertGreaterEqual(len(parts), self.PARTS_MIN)
            for part in parts:
                with self.subTest(part):
                    answer = client.ask("GET", urljoin(self.PAGE, part))
                    self.check_head(answer)
                    self.check_content(answer, len(answer.content))
                    self.assertTrue(answer.content, "an empty file")
                    ending = PurePosixPath(part).suffix.lower()
                    self.assertEqual(answer.field("Content-Type"), self.TYPES[ending])


class Parts(HTMLParser):
    """The files that a browser loads for a page from the folder beside it.

    A reference with a scheme or a host leads to other servers, and one of an <a>
    is for the reader to follow; neither is a part of the page.
    """

    def __init__(self):
        super().__init__()
        self.found = {}

    @classmethod
    def of(cls, page):
        parser = cls()
        parser.feed(page)
        parser.close()
        return list(parser.found)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if tag == "a" or name not in ("src", "href") or not value:
                continue
            reference = urlsplit(value)
            if not reference.scheme and not reference.netloc and reference.path:
                # Browsers escape what authors have left unescaped.
                self.found[quote(reference.path, safe="/%!$&'()*+,;=:@~")] = True


class Answer:
    """The status, the header fields and the content of one answer."""

    def __init__(self, status, fields, content):
        self.status = status
        self._fields = fields
        self.content = content

    def field(self, name):
        """The value of the field, or None. A field that comes twice is a fault in
        all that these tests look at."""
        values = [value for key, value in self._fields if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} comes {len(values)} times"
        return values[0] if values else None


class Client:
    """Asks as programs do, over a connection that is kept as long as the server
    keeps it."""

    def __init__(self, host, port):
        self._connection = http.client.HTTPConnection(host, port, timeout=SECONDS_MAX)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()

    def ask(self, method, target, content=None):
        self._connection.request(method, target, body=content)
        response = self._connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read())


def request_bytes(method, target, host):
    """A plain request after which the server is to close."""
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def speak(host, port, request):
    """Sends bytes that no library has put in order, and reads to the end."""
    with connect(host, port) as connection:
        connection.sendall(request)
        return parsed(received(connection))


def connect(host, port):
    return socket.create_connection((host, port), timeout=SECONDS_MAX)


def received(connection):
    """All that comes until the server closes; a server that does not is a fault,
    found by the time limit of the connection."""
    pieces = []
    while True:
        piece = connection.recv(65536)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def parsed(data):
    head, end, content = data.partition(b"\r\n\r\n")
    assert end, f"no whole head in {data[:200]!r}"
    status_line, *lines = head.decode("latin-1").split("\r\n")
    version, status = status_line.split(" ")[:2]
    assert version in ("HTTP/1.0", "HTTP/1.1"), status_line
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        assert colon and name.strip() == name, f"no header field: {line!r}"
        fields.append((name, value.strip()))
    return Answer(int(status), fields, content)


def main():
    parser = argparse.ArgumentParser(
        description="Tests a running web server over the wire.")
    parser.add_argument("--host", default=Acceptance.host)
    parser.add_argument("--port", type=int, default=Acceptance.port)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="name every test")
    parser.add_argument(
        "tests", nargs="*", metavar="TEST",
        help="run these only: a class, or a class, a dot and a test")
    arguments = parser.parse_args()
    Acceptance.host, Acceptance.port = arguments.host, arguments.port
    try:
        connect(arguments.host, arguments.port).close()
    except OSError as error:
        print(f"No server at {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
        sys.exit(2)
    unittest.main(
        argv=sys.argv[:1] + arguments.tests, verbosity=2 if arguments.verbose else 1)


if __name__ == "__main__":
    main()

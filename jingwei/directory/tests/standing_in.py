"""Another system that says who somebody is, as a local server, and a browser that is sent there (P-2.4)."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener


class StandIn(ThreadingHTTPServer):
    """The other system at `root`; what it knows are attributes, which its `answers` read and tests bend."""

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), answers)
        self.root = f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def at_work(self):
        """It answers inside the block."""
        with self:
            threading.Thread(target=self.serve_forever, args=[0.02], daemon=True).start()
            yield self
            self.shutdown()


class Answers(BaseHTTPRequestHandler):
    """What a StandIn does about a request."""

    def log_message(self, *arguments):
        pass

    def asked(self):
        """Path and parameters of the address, the first value of each."""
        parts = urlsplit(self.path)
        return parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}

    def send_back(self, given, code):
        """Send the browser back to where it came from, with a code."""
        self.send_response(302)
        self.send_header("Location", f"{given['redirect_uri']}?code={code}&state={given['state']}")
        self.end_headers()

    def tell(self, answer, status=200, kind="application/json"):
        """Answer the platform."""
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


def there_and_back(sent):
    """The address that the other system sends a browser back to, which our answer `sent` there."""
    assert sent.status_code == 302, sent.content.decode()
    try:
        build_opener(_NoRedirect).open(sent.headers["Location"])
    except OSError as redirected:
        return redirected.headers["Location"].removeprefix("http://testserver")


def is_in(browser):
    """Whether somebody is signed in."""
    return browser.get("/account/").status_code == 200

"""Issue 5, signing in: what 200 wrong tries a second leave of the pages of somebody who is signed in."""

import http.client
import re
import tempfile
import threading
import time
from statistics import quantiles
from urllib.parse import urlencode

from bench import Figure
from tests.instance import new_instance

RATE = 200  # wrong tries a second
SHORT, FULL = 10, 60  # seconds
SENDERS = 120  # some of them wait for their answer
PAGES = ["/", "/people/", "/jobs/"]


def measure(full):
    """p95 of the pages of one operator, with and without the attack, of an instance of its own."""
    with new_instance(tempfile.gettempdir()) as instance:
        instance.environment["JINGWEI_TRUSTED_PROXY"] = "127.0.0.1"  # the attack comes from many addresses
        instance.start()
        operator = Visitor(instance)
        operator.sign_in("village", instance.password("village"))
        seconds = FULL if full else SHORT
        quiet = operator.browse(seconds)
        with Attack(instance) as attack:
            time.sleep(1)
            busy = operator.browse(seconds)
        p95, before = (quantiles(taken, n=20)[-1] for taken in (busy, quiet))
        rate = attack.sent / attack.seconds
        what = f"pages under {rate:.0f} wrong tries/s for {attack.seconds:.0f} s (quiet: {before:.0f} ms)"
        return [
            Figure("SEC-2", f"{what}: p95 of {len(busy)}", p95, "ms", 300),
            Figure("SEC-2", "wrong tries answered a second", rate, "/s", 0.8 * RATE, at_least=True),
        ]


class Visitor:
    """Somebody with a cookie on one kept connection."""

    address = "198.51.100.1"

    def __init__(self, instance):
        self.connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=30)
        self.cookies = {}

    def ask(self, method, path, data=None):
        """(status, page) of one request."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookies, "X-Forwarded-For": self.address}
        if data:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self.connection.request(method, path, urlencode(data) if data else None, headers)
        answer = self.connection.getresponse()
        page = answer.read().decode()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        return answer.status, page

    def token(self):
        _, page = self.ask("GET", "/sign-in/")
        return re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]

    def sign_in(self, login, password):
        status, _ = self.ask(
            "POST",
            "/sign-in/",
            {"csrfmiddlewaretoken": self.token(), "login": login, "password": password},
        )
        if status != 302:
            raise RuntimeError(f"signing in answers {status}")

    def browse(self, seconds):
        """Open pages one after the other, as fast as a person clicks; milliseconds of each."""
        taken, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            for path in PAGES:
                started = time.perf_counter()
                status, _ = self.ask("GET", path)
                taken.append(1000 * (time.perf_counter() - started))
                if status != 200:
                    raise RuntimeError(f"{path} answers {status}")
                time.sleep(0.1)
        return taken


class Attack:
    """RATE tries a second: half with one name from one address, half with ever other names and addresses."""

    def __init__(self, instance):
        self.instance = instance
        self.stopping = threading.Event()
        self.counts = [0] * SENDERS
        self.threads = [threading.Thread(target=self._send, args=[n], daemon=True) for n in range(SENDERS)]

    def __enter__(self):
        self.started = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.seconds, self.sent = time.monotonic() - self.started, sum(self.counts)
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _send(self, number):
        visitor = Visitor(self.instance)
        visitor.address = "203.0.113.1"
        token = visitor.token()
        pause, following = SENDERS / RATE, time.monotonic()
        while not self.stopping.is_set():
            login, tried = "district", self.counts[number]
            if number % 2:
                login, visitor.address = f"guess{number}x{tried}", f"10.{number}.{tried // 250}.{tried % 250}"
            wrong = {"csrfmiddlewaretoken": token, "login": login, "password": "Wrong-9999"}
            visitor.ask("POST", "/sign-in/", wrong)
            self.counts[number] += 1
            following += pause
            self.stopping.wait(max(0, following - time.monotonic()))

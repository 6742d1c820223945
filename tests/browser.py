"""A real browser that keeps an eye on every page it opens."""

import shutil
from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright

# As long as for what is clicked: how fast the machine is says nothing about the page.
expect.set_options(timeout=30_000)

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESK = {"width": 1366, "height": 768}
PHONE = {"width": 390, "height": 844}


@contextmanager
def chromium():
    """Debian's Chromium, for as long as the block lasts."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)


class Window:
    """A window of `browser` on an instance. `faults` is what no page may do, whatever it is for:

    ask another host, log an error or a warning (a breach of the content policy is one), miss a file of its
    own, fail, or be wider than the window.
    """

    def __init__(self, browser, instance, **options):
        self.instance = instance
        options = {"viewport": DESK, "locale": "zh-CN", "timezone_id": "Asia/Shanghai"} | options
        self.context = browser.new_context(base_url=instance.address, **options)
        self.page = self.context.new_page()
        self.faults = []
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(f"{self.page.url}: {error}"))

    def _asked(self, request):
        if not request.url.startswith((f"{self.instance.address}/", "data:", "blob:")):
            self.faults.append(f"{self.page.url} asks {request.url}")

    def _answered(self, response):
        # What a person opens may be refused; what a page needs may not be missing.
        opened = response.request.resource_type in ("document", "xhr", "fetch")
        if response.status >= (500 if opened else 400):
            self.faults.append(f"{response.status} {response.url}")

    def _said(self, message):
        # The driver, which draws maps without a graphics card here, remarks that it is slow.
        ours = not message.text.startswith("Failed to load resource") and "GL Driver" not in message.text
        if message.type in ("error", "warning") and ours:
            self.faults.append(f"{self.page.url}: {message.text}")

    def open(self, address) -> int:
        """Open an address; the status it answers with."""
        answer = self.page.goto(address)
        self.look()
        return answer.status

    def look(self):
        """See whether the page fits into a window on a desk and on a phone."""
        for size in (PHONE, DESK):
            self.page.set_viewport_size(size)
            root = "document.documentElement"
            wider = self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
            if wider > 0:
                self.faults.append(f"{self.page.url} is {wider} pixels wider than {size}")

    def sign_in(self, login, password=""):
        """Sign in by the page, by default with the demonstration login's own password."""
        self.page.goto("/sign-in/")
        self.page.get_by_label("登录名").fill(login)
        self.page.get_by_label("口令").fill(password or self.instance.password(login))
        self.page.get_by_role("button", name="登录").click()
        self.page.wait_for_url(f"{self.instance.address}/")

    def menu(self) -> list[str]:
        """The addresses in the menu."""
        return [link.get_attribute("href") for link in self.page.locator("nav.side a.side-entry").all()]

    def buttons(self) -> list[str]:
        """The addresses behind the buttons at the head of the page that is open."""
        links = self.page.locator(".bar-end a:not([download]), .list-tools > a").all()
        return [link.get_attribute("href") for link in links]

    def first_row(self) -> str:
        """The address of the first row of the list that is open, "" where there is none."""
        link = self.page.locator("[data-rows] tbody [data-open]").first
        return link.get_attribute("href") if link.count() else ""

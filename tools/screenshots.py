"""The pictures of the README, taken from an instance of their own with the demonstration district."""

import os
import sys
import tempfile
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jingwei.settings")
django.setup()

from tests.browser import PHONE, Window, chromium  # noqa: E402
from tests.instance import new_instance  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
ROSTER = ROOT / "tests" / "data" / "roster.xlsx"


def main():
    PICTURES.mkdir(parents=True, exist_ok=True)
    with new_instance(tempfile.gettempdir(), people=20_000) as instance, chromium() as browser:
        instance.start()
        desk = Window(browser, instance)
        take(desk, "sign-in", "/sign-in/")
        desk.sign_in("district")
        take(desk, "home", "/")
        take(desk, "list", "/people/")
        take(desk, "person", desk.first_row())
        take(desk, "statistics", "/population/")
        take_import(desk)
        supervision = Window(browser, instance)
        supervision.sign_in("venueops")
        take_map(supervision)
        phone = Window(browser, instance, viewport=PHONE, color_scheme="dark")
        phone.sign_in("village")
        take(phone, "phone", "/")


def take(window, name, address):
    """The picture of one page, once nothing moves on it any more."""
    window.page.goto(address)
    window.page.wait_for_load_state("networkidle")
    window.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")


def take_import(window):
    """The result of a roster as villages send it."""
    page = window.page
    page.goto("/people/import/")
    page.set_input_files("input[type=file]", ROSTER)
    page.get_by_role("button", name="上传并预览").click()
    page.get_by_role("button", name="确认导入").click(timeout=60_000)
    page.get_by_role("link", name="下载错误行表格").wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=PICTURES / "import-result.png", animations="disabled")


def take_map(window):
    """The map around a venue that is alerted."""
    page = window.page
    page.goto("/venue-map/")
    page.locator("[data-map-list] button").first.click()
    for _ in range(2):
        page.wait_for_timeout(1_000)  # each step is an animation
        page.get_by_role("button", name="缩小").click()
    page.wait_for_timeout(1_000)
    page.screenshot(path=PICTURES / "map.png", animations="disabled")


if __name__ == "__main__":
    main()

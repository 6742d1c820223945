"""The work of the platform's people in a real browser, on a real instance with web, worker and database."""

import re
from urllib.parse import quote

import openpyxl
import psycopg
import pytest
from django.conf import settings
from playwright.sync_api import expect

from jingwei import embedded
from jingwei.directory.setup import PERSONAS
from jingwei.people.samples import number
from tests.browser import Window, chromium
from tests.instance import new_instance

pytestmark = pytest.mark.xdist_group("journeys")  # all share one instance and one browser
HEADINGS = ["乡镇（街道）", "村/社区", "姓名", "证件号", "居住地", "联系电话"]
HERE = ["安平街道", "上埔社区"]  # where `village` works


@pytest.fixture(scope="module")
def instance():
    # Not in pytest's folder: it closes that to other users, and under root the database runs as one.
    with new_instance(settings.JINGWEI_HOME, people=5_000) as instance:
        instance.start()
        yield instance


@pytest.fixture(scope="module")
def browser():
    # Ends with the module: while it runs, its event loop keeps Django from the database in this thread.
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_window(instance, browser):
    """Opens windows; none of them may have done at the end what no page may do."""
    windows = []

    def open_window(login=""):
        windows.append(Window(browser, instance))
        if login:
            windows[-1].sign_in(login)
        return windows[-1]

    yield open_window
    faults = [fault for window in windows for fault in window.faults]
    for window in windows:
        window.context.close()
    assert not faults


def roster(path, rows):
    """A roster as villages send it: a title above the headings, a total below the rows."""
    book = openpyxl.Workbook()
    for row in [["上埔社区摸排表"], [], HEADINGS, *rows, ["合计", None, len(rows)]]:
        book.active.append(row)
    book.save(path)
    return path


def rows_of(download, folder):
    """The cells of the first sheet of a workbook that the browser got."""
    path = folder / download.suggested_filename
    download.save_as(path)
    return [list(row) for row in openpyxl.load_workbook(path).worksheets[0].iter_rows(values_only=True)]


@pytest.mark.req("CL-3.4", "CL-3.5", "CL-6.2", "P-4.2", "P-4.3", "P-5.1", "P-5.2", "P-5.3", "P-5.4")
def test_a_clerk_loads_a_roster_finds_a_person_mends_the_phone_and_exports(open_window, tmp_path):
    good = [[*HERE, f"柳样{n}", number(order=900 + n), f"柳条巷{n}号", f"1600001000{n}"] for n in range(1, 7)]
    wrong = good[0][3][:-1] + ("0" if good[0][3][-1] != "0" else "1")
    bad = [
        [*HERE, "错样号", wrong, "柳条巷7号", "16000010007"],
        [*HERE, None, number(order=907), "柳条巷8号", "16000010008"],
        ["望海街道", "东园社区", "远样人", number(order=908), "柳条巷9号", "16000010009"],
    ]
    window = open_window("village")
    page = window.page

    # The way in: menu, upload, preview, load.
    page.get_by_role("link", name="人员信息").first.click()
    page.locator(".bar-end").get_by_role("link", name="导入").click()
    page.get_by_label("要导入的表格").set_input_files(roster(tmp_path / "摸排表.xlsx", [*good, *bad]))
    page.get_by_role("button", name="上传并预览").click()
    expect(page.get_by_role("button", name="确认导入")).to_be_visible(timeout=30_000)
    for reason in ["校验位", "姓名不能为空", "望海街道"]:
        expect(page.get_by_text(reason).first).to_be_visible()
    window.look()
    page.get_by_role("button", name="确认导入").click()

    # The result: every bad row with its reason, in the clerk's own workbook, too.
    expect(page.get_by_role("link", name="下载错误行表格")).to_be_visible(timeout=30_000)
    window.look()
    with page.expect_download() as download:
        page.get_by_role("link", name="下载错误行表格").click()
    returned = rows_of(download.value, tmp_path)
    assert returned[0][0] == "上埔社区摸排表"
    assert [row[2] for row in returned[3:6]] == ["错样号", None, "远样人"]
    assert not [row for row in returned if "柳样1" in row]
    reasons = [str(row[-1]) for row in returned[3:6]]
    assert "校验位" in reasons[0] and "姓名" in reasons[1] and reasons[2]
    page.get_by_role("link", name="查看导入的数据").click()
    expect(page.locator(".total")).to_have_text("共 6 条")

    # Found by a piece of the address.
    page.get_by_role("link", name="人员信息").first.click()
    page.locator("[data-search]").fill("柳条巷3")
    expect(page.locator("[data-rows] tbody tr")).to_have_count(1)
    page.get_by_role("link", name="柳样3").click()

    # The phone is mended.
    expect(page.get_by_text("160****0003").first).to_be_visible()
    page.get_by_role("link", name="编辑").click()
    page.get_by_label("联系电话").fill("1600002000")
    page.get_by_role("button", name="保存").click()
    expect(page.locator(".wrong-text")).to_contain_text("应为 11 位手机号")
    page.get_by_label("联系电话").fill("16000020003")
    page.get_by_role("button", name="保存").click()
    expect(page.get_by_role("status").filter(has_text="已保存“柳样3”")).to_be_visible()
    expect(page.locator(".section dl").get_by_text("160****0003")).to_have_count(1)

    # Seen in clear for a reason, in its place.
    page.get_by_role("link", name="人员信息").first.click()
    page.locator("[data-search]").fill("16000020003")
    row = page.locator("[data-rows] tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("160****0003")
    row.get_by_role("link", name="查看明文").click()
    page.get_by_label("事由").fill("电话联系本人")
    page.get_by_role("button", name="查看").click()
    expect(row).to_contain_text("16000020003")
    expect(row).to_contain_text(good[2][3])

    # Exported: the rows that were found, masked.
    page.locator("[data-search]").fill("柳条巷")
    expect(page.locator("[data-rows] tbody tr")).to_have_count(6)
    page.locator(".list-tools").get_by_role("link", name="导出").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="导出").click()
    exported = rows_of(download.value, tmp_path)
    assert exported[0][:4] == ["序号", "乡镇（街道）", "村/社区", "姓名"] and len(exported[0]) == 25
    assert sorted(row[3] for row in exported[1:]) == [f"柳样{n}" for n in range(1, 7)]
    text = str(exported)
    assert "160****0003" in text and "990101********" in text
    for row in good:
        assert row[3] not in text and row[5] not in text


@pytest.mark.req("P-1.6", "SEC-7")
def test_an_address_of_another_town_answers_like_one_that_does_not_exist(open_window):
    there = open_window("othertown")
    there.open("/people/")
    theirs = there.first_row()
    assert there.open(theirs) == 200
    window = open_window("village")
    told = set()
    for row in (theirs, "/people/999999999/"):
        for address in (row, f"{row}edit/", f"{row}delete/", f"{row}unmask/"):
            assert window.open(address) == 404
            told.add(re.sub(r"编号.*", "", window.page.inner_text("main")))
    assert len(told) == 1
    expect(window.page.get_by_role("link", name="返回首页")).to_be_visible()


@pytest.mark.req("P-1.10", "SEC-5")
def test_who_has_no_grants_is_told_whom_to_ask(open_window):
    window = open_window("nobody")
    assert window.menu() == ["/"]
    expect(window.page.get_by_text("请联系")).to_contain_text("安全管理员")
    assert window.open("/people/") == 403
    expect(window.page.get_by_role("heading")).to_have_text("没有权限")


@pytest.mark.req("P-2.1", "SEC-1")
def test_a_new_account_gets_no_further_than_its_password_until_that_is_changed(open_window):
    district = open_window("district")
    page = district.page
    district.open("/operators/new/")
    page.get_by_label("登录名").fill("newcomer")
    page.get_by_label("姓名").fill("新来的样例")
    choose(page, "所属单位", "上埔社区居民委员会")
    page.get_by_role("button", name="保存", exact=True).click()
    page.wait_for_url(re.compile(r"/operators/\d+/$"))
    # Who enters an account does not bring it to life (SEC-6).
    administrator = open_window("secadmin")
    administrator.open(page.url.removeprefix(district.instance.address))
    page = administrator.page
    page.get_by_role("link", name="重置口令").click()
    page.get_by_role("button", name="重置口令").click()
    told = page.get_by_role("status").filter(has_text="新口令").inner_text()
    password = re.search(r"新口令是 (\S+)", told)[1]

    window = open_window()
    page = window.page
    page.goto("/sign-in/?next=/people/")
    page.get_by_label("登录名").fill("newcomer")
    page.get_by_label("口令").fill(password)
    page.get_by_role("button", name="登录").click()
    page.wait_for_url("**/password/")
    for address in ("/", "/people/", "/jobs/"):
        assert window.open(address) == 200
        assert page.url.endswith("/password/")
    page.get_by_label("原口令").fill(password)
    page.get_by_label("新口令", exact=True).fill("Liutiao-7-hao")
    page.get_by_label("再输一次新口令").fill("Liutiao-7-hao")
    page.get_by_role("button", name="保存").click()
    page.wait_for_url(f"{window.instance.address}/")
    expect(page.get_by_text("请联系")).to_be_visible()


def choose(page, label, text):
    """Choose a row in a suggestion box."""
    box = page.get_by_role("combobox", name=label)
    box.click()
    box.press_sequentially(text)
    page.get_by_role("option", name=text).first.click()


@pytest.mark.req("P-5.2")
def test_suggestions_that_come_after_the_choice_do_not_cover_the_form_again(open_window):
    district = open_window("district")
    page = district.page
    district.open("/operators/new/")
    box = page.get_by_role("combobox", name="所属单位")
    box.click()
    box.press_sequentially("上埔")
    option = page.get_by_role("option", name="上埔社区居民委员会").first
    chosen = option.get_attribute("data-value")
    with page.expect_response(lambda answer: quote("上埔社") in answer.url):
        # One chooses in the quarter of a second after a letter, before the answer to it is asked for.
        page.evaluate(
            "chosen => {const box = document.querySelector('#id_organisation').tomselect;"
            " box.addItem(chosen); box.load('上埔社')}",
            chosen,
        )
    page.wait_for_timeout(300)
    expect(page.get_by_role("option").first).to_be_hidden()
    box.click()  # who wants it opens it all the same
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="保存", exact=True).click(timeout=5_000)


@pytest.mark.req("P-2.1", "SEC-3")
def test_who_signed_out_elsewhere_is_sent_to_sign_in_and_back(open_window):
    window = open_window("town")
    window.open("/people/")
    window.context.clear_cookies(name="sessionid")
    window.page.locator("[data-search]").fill("样例")
    window.page.wait_for_url("**/sign-in/?next=%2Fpeople%2F")
    window.page.get_by_label("登录名").fill("town")
    window.page.get_by_label("口令").fill(window.instance.password("town"))
    window.page.keyboard.press("Enter")
    window.page.wait_for_url("**/people/")


@pytest.mark.req("P-5.1", "P-5.2")
def test_a_person_is_found_and_opened_by_keys_alone(open_window, instance):
    window = open_window()
    page, keys = window.page, window.page.keyboard
    page.goto("/sign-in/")
    expect(page.get_by_label("登录名")).to_be_focused()
    keys.type("village")
    keys.press("Tab")
    keys.type(instance.password("village"))
    keys.press("Enter")
    page.wait_for_url(f"{window.instance.address}/")
    window.look()
    keys.press("/")
    keys.type("上埔")
    keys.press("Enter")
    page.wait_for_url("**/people/?q=*")
    window.look()
    keys.press("Escape")
    keys.press("j")
    keys.press("j")
    chosen = page.locator("tr.current")
    name = chosen.locator("[data-open]").inner_text()
    keys.press("x")
    expect(page.locator("[data-bulk-count]")).to_have_text("1")
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    window.look()
    keys.press("e")
    expect(page.get_by_role("heading", level=1)).to_contain_text("编辑")
    keys.press("?")
    expect(page.locator("#keys")).to_be_visible()
    keys.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()


@pytest.fixture(scope="module")
def seen():
    """What was opened already of pages that look alike for everybody: addresses with keys left out."""
    return set()


@pytest.mark.req("P-10.5", "CL-7.1", "SEC-11")
@pytest.mark.parametrize("login", [persona.login for persona in PERSONAS])
def test_every_page_of_a_persona_fits_and_asks_nobody_else(open_window, seen, login):
    """The menu's pages as this persona; those behind their buttons and first rows where nobody was yet."""
    window = open_window(login)
    waiting = window.menu()
    while waiting:
        address = waiting.pop(0)
        assert window.open(address) == 200, address
        for link in [*window.buttons(), window.first_row()]:
            kind = re.sub(r"\?.*|(?<=/)[0-9A-Za-z_-]*[0-9][0-9A-Za-z_-]*(?=/)", "", link)
            if kind and kind not in seen:
                seen.add(kind)
                waiting.append(link)


@pytest.mark.req("P-10.4", "P-10.1")
def test_the_demonstration_shows_venues_with_scans_and_alerts(instance):
    with psycopg.connect(embedded.url(instance.home / "pg", user="postgres")) as database:
        counts = [
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("places_venue", "scans_scan", "scans_alert")
        ]
    assert counts[0] == 50  # one for a hundred people
    assert counts[1] > 1_000 and counts[2] > 0

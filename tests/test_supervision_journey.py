"""The operating unit and a regulator at work in a real browser, on what the command line has loaded (KP)."""

import re
from contextlib import closing
from pathlib import Path

import pypdfium2
import pytest
import zxingcpp
from django.conf import settings
from playwright.sync_api import expect

from jingwei.kit.tests.test_contents import PDF, image, photograph
from tests.browser import PHONE, Window, chromium
from tests.instance import new_instance

pytestmark = pytest.mark.xdist_group("supervision")
DATA = Path(__file__).parent / "data"
TODAY = "2026-11-20"


@pytest.fixture(scope="module")
def instance():
    with new_instance(settings.JINGWEI_HOME) as instance:
        instance.start()
        for sheet, name in (
            ("venues", "venues.xlsx"),
            ("thresholds", "thresholds.csv"),
            ("scans", "scans.csv"),
        ):
            done = instance.run("import", sheet, DATA / name, "--as", "venueops", "--today", TODAY)
            assert done.returncode == 0, done.stderr
        done = instance.run("run-nightly", "--today", TODAY)
        assert done.returncode == 0, done.stderr
        yield instance


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def window_of(instance, browser):
    """Opens a window in which an account is signed in; it may have done at the end what no page may do."""
    windows = []

    def open_window(login, **options):
        windows.append(Window(browser, instance, **options))
        windows[-1].sign_in(login)
        return windows[-1]

    yield open_window
    faults = [fault for window in windows for fault in window.faults]
    for window in windows:
        window.context.close()
    assert not faults


@pytest.mark.req("KP-2.1", "KP-6.2", "KP-6.3", "KP-6.4")
def test_a_regulator_sees_why_a_venue_is_alerted_receives_it_and_sets_a_threshold(window_of):
    window = window_of("regulator")
    page = window.page
    page.get_by_role("link", name="未接收的扫码预警").first.click()
    row = page.locator("table.rows tbody tr").first
    code = row.locator("td").nth(1).inner_text()
    row.locator("th a").click()
    expect(page.locator("#days-chart canvas")).to_be_visible()
    expect(page.locator("#days-table tr.table-warning")).to_have_count(7)
    # The chart's lines are named by the headings above the numbers, which come last.
    headings = page.locator("#days-table thead th").all_inner_texts()
    assert headings[-3:] == ["扫码量", "最小值", "最大值"]
    window.look()
    page.get_by_role("link", name="接收", exact=True).click()
    page.get_by_role("button", name="接收").click()
    expect(page.get_by_text("接收完成")).to_be_visible()
    window.open("/alerts/?tab=1")
    expect(page.locator("table.rows tbody tr")).to_have_count(1)
    window.open(f"/thresholds/?code={code}")
    page.locator("table.rows tbody th a").first.click()
    page.get_by_role("link", name="编辑").click()
    page.get_by_label("阈值最小值").fill("2")
    page.get_by_label("阈值最大值").fill("50")
    page.get_by_role("button", name="保存").first.click()
    expect(page.get_by_text("已保存")).to_be_visible()
    window.look()
    assert window.open("/venues/") == 403


@pytest.mark.req("KP-1.1", "KP-3.1", "KP-3.3", "KP-5.1")
def test_the_operating_unit_finds_unknown_venues_counts_scans_and_deletes_a_day(window_of):
    window = window_of("venueops")
    page = window.page
    window.open("/venues/?tab=0")
    expect(page.locator("table.rows tbody tr")).to_have_count(4)
    window.open("/scans/import/")
    expect(page.get_by_text("2026-11-19 23:58:57")).to_be_visible()
    window.open("/scan-statistics/?from=2026-11-01&to=2026-11-19")
    page.locator("table.rows tbody th a").first.click()
    expect(page.locator("#days-chart canvas")).to_be_visible()
    window.look()
    window.open("/scan-query/?venue_code=KP000001")
    window.open("/scan-erasure/")
    page.locator("[name=first]").fill("2026-11-19T00:00:00")
    page.locator("[name=last]").fill("2026-11-19T23:59:59")
    page.get_by_role("button", name="统计条数").click()
    number = page.locator("label[for=typed] b").inner_text()
    window.look()
    page.get_by_label("输入条数").fill(number)
    page.get_by_role("button", name="删除").click()
    expect(page.get_by_text("正在后台删除")).to_be_visible()
    window.open("/jobs/")
    expect(page.get_by_text(f"已删除扫码记录 {number} 条")).to_be_visible(timeout=30_000)


@pytest.mark.req("KP-1.2", "KP-2.2", "P-10.5")
def test_a_position_is_chosen_on_a_map_and_the_venue_is_found_on_the_map_of_all(window_of):
    window = window_of("venueops")
    page = window.page
    window.open("/venues/?code=KP000001")
    page.locator("table.rows tbody th a").first.click()
    name = page.locator("h1").inner_text().removesuffix("场所信息").strip()
    page.get_by_role("link", name="编辑").click()
    page.locator("[data-map-ready] canvas").click(position={"x": 300, "y": 100})
    expect(page.locator("[name=longitude]")).to_have_value(re.compile(r"122\.\d+"))
    expect(page.locator("[data-position-said]")).to_contain_text("在")
    longitude = page.locator("[name=longitude]").input_value()
    # GCJ-02 lies some hundred metres off.
    page.locator("[data-position-pasted]").fill("122.47,35.26")
    page.locator("[data-position-system]").select_option("GCJ-02")
    page.get_by_role("button", name="换算并填入").click()
    expect(page.locator("[name=longitude]")).to_have_value(re.compile(r"122\.46\d+"))
    expect(page.locator("[data-position-said]")).to_contain_text("安平街道")
    assert page.locator("[name=longitude]").input_value() != longitude
    window.look()
    page.get_by_role("button", name="保存").first.click()
    expect(page.locator("[data-map-ready] .maplibregl-marker")).to_be_visible()
    window.look()

    window.open("/venue-map/")
    expect(page.locator("[data-map-list] button")).to_have_count(1)
    page.locator("[data-map-ready] canvas").click()  # it is in the middle
    expect(page.locator("#map-card h2")).to_have_text(name)
    assert "venue=" in page.url
    page.get_by_label("预警").select_option(label="未设阈值")
    window.look()
    page.get_by_role("button", name="关闭").last.click()
    expect(page.locator("#map-card")).to_be_hidden()


@pytest.mark.req("KP-1.2")
def test_without_webgl_the_map_page_says_so_and_lists_the_venues(window_of):
    window = window_of("venueops")
    page = window.page
    page.add_init_script(
        "const own = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...more) {"
        " return kind.startsWith('webgl') ? null : own.call(this, kind, ...more); }"
    )
    window.open("/venues/?code=KP000002")
    page.locator("table.rows tbody th a").first.click()
    page.get_by_role("link", name="编辑").click()
    page.locator("[name=longitude]").fill("122.46")
    page.locator("[name=latitude]").fill("35.26")
    page.get_by_role("button", name="保存").first.click()
    page.wait_for_url(re.compile(r"/venues/\d+/$"))
    window.open("/venue-map/")
    expect(page.get_by_role("alert")).to_contain_text("不能绘制地图")
    page.locator("[data-map-list] button").first.click()
    expect(page.locator("#map-card h2")).to_be_visible()


@pytest.mark.req("KP-9.3", "P-10.5")
def test_a_poster_is_printed_and_who_scans_it_with_a_telephone_is_recorded(window_of, instance, browser):
    desk = window_of("venueops")
    desk.open("/venues/")
    desk.page.locator("[data-rows] tbody [data-open]").first.click()
    name = desk.page.locator("h1").inner_text().removesuffix("场所信息").strip()
    desk.page.get_by_role("link", name="打印海报").click()
    with desk.page.expect_download() as begun:
        desk.page.get_by_role("button", name="打印海报").click()
    with closing(pypdfium2.PdfDocument(begun.value.path())) as poster:
        [code] = zxingcpp.read_barcodes(poster[0].render(scale=1).to_numpy())
    assert code.text.startswith(f"{instance.address}/e/")

    # Without scripts, as in the browser of a chat application that has none.
    phone = Window(browser, instance, viewport=PHONE, java_script_enabled=False)
    page = phone.page
    page.goto(code.text)
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    page.get_by_label("姓名").fill("林样例")
    page.get_by_label("证件号码").fill("110101199003070012")
    page.get_by_label("手机号码").fill("16000000001")
    page.get_by_role("button", name="确认登记").click()
    expect(page.get_by_text("校验位应为 1")).to_be_visible()
    page.get_by_label("证件号码").fill("110101199003070011")
    page.get_by_label("在这台手机上记住").check()
    page.get_by_role("button", name="确认登记").click()
    expect(page.get_by_role("heading", name="已登记")).to_be_visible()
    page.goto(code.text)
    expect(page.get_by_text("林**")).to_be_visible()
    page.get_by_role("button", name="确认登记").click()
    expect(page.get_by_role("heading", name="已登记")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not phone.faults
    phone.context.close()

    desk.open("/scans/")
    expect(desk.page.get_by_text("本人登记").first).to_be_visible()


@pytest.mark.req("P-5.6", "SEC-11")
def test_a_regulator_shows_with_pictures_what_was_put_right_from_the_desk_and_from_a_telephone(
    window_of, tmp_path
):
    files = {"整改前.jpg": photograph(), "整改后.png": image("PNG"), "情况说明.pdf": PDF, "图.svg": b"<svg/>"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    window = window_of("regulator")
    window.open("/thresholds/")
    venue = window.first_row()
    window.open(venue)
    page, entries = window.page, window.page.locator(".attachment-list > li")
    expect(page.get_by_text("还没有附件")).to_be_visible()
    page.locator("#attach-files").set_input_files([tmp_path / name for name in files])
    expect(entries).to_have_count(3)
    expect(page.locator("[data-uploads] li")).to_have_count(1)
    expect(page.locator("[data-uploads]")).to_contain_text("不能上传")
    expect(page.locator("[data-attachments-count]")).to_have_text("3")
    pictures = entries.locator("img")
    expect(pictures).to_have_count(2)
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        page.wait_for_function(
            "image => image.complete && image.naturalWidth > 0", arg=picture.element_handle()
        )
    with page.expect_download() as saved:
        page.get_by_role("link", name="情况说明.pdf").click()
    assert Path(saved.value.path()).read_bytes() == PDF
    with window.context.expect_page() as opened:
        entries.first.locator("a.attachment-look").click()
    assert opened.value.locator("img").evaluate("image => image.naturalWidth") == 480
    opened.value.close()
    entries.first.get_by_text("加说明").click()
    entries.first.get_by_role("textbox").fill("占道经营，已责令清理")
    entries.first.get_by_role("button", name="保存").click()
    expect(page.get_by_text("占道经营，已责令清理")).to_be_visible()
    window.look()

    telephone = window_of("regulator", viewport=PHONE, has_touch=True, is_mobile=True)
    telephone.page.goto(venue)
    expect(telephone.page.get_by_text("拍照")).to_be_visible()
    assert telephone.page.locator("#attach-camera").get_attribute("capture") == "environment"
    telephone.page.locator("#attach-camera").set_input_files(tmp_path / "整改前.jpg")
    expect(telephone.page.locator(".attachment-list > li")).to_have_count(4)
    telephone.page.get_by_role("link", name="删除", exact=True).last.click()
    telephone.page.get_by_role("button", name="删除").click()
    expect(telephone.page.locator(".attachment-list > li")).to_have_count(3)

"""Posters with the code of a venue's scan page (KP-9.3)."""

from contextlib import closing

import pypdfium2
import pytest
import zxingcpp

from jingwei.base.crypto import create_key_ring, provider
from jingwei.base.models import LogEntry
from jingwei.places.queries import scan_address, venue_of_token
from jingwei.places.samples import venue

pytestmark = [pytest.mark.django_db, pytest.mark.req("KP-9.3")]
PRINT = "/venues/do/poster/"


def pages_of(pdf):
    """[(its text, what its code says)] of each page."""
    found = []
    with closing(pypdfium2.PdfDocument(pdf)) as document:
        for page in document:
            assert [round(side) for side in page.get_size()] == [595, 842]  # A4 in points
            [code] = zxingcpp.read_barcodes(page.render(scale=1).to_numpy())
            text = page.get_textpage().get_text_range().replace(" ", "").replace("\r\n", "")
            found.append((text, code.text))
    return found


def test_a_poster_says_which_venue_it_is_and_its_code_opens_the_page(venueops, settings):
    settings.JINGWEI_SITE = "https://ma.example.gov.cn"
    place = venue(name="城东农贸市场", code="KP000007", street="安平街道", position="文明路1号")
    answer = venueops.client.post(PRINT, {"pk": place.pk, "confirm": "1"})
    assert answer["Content-Type"] == "application/pdf" and "attachment" in answer["Content-Disposition"]
    [(text, code)] = pages_of(answer.content)
    assert all(word in text for word in ("安澜区", "城东农贸市场", "KP000007", "安平街道　文明路1号"))
    assert code == f"https://ma.example.gov.cn{scan_address(place.pk)}"
    logged = LogEntry.objects.get(act="打印海报")
    assert (logged.object_id, logged.label) == (str(place.pk), "城东农贸市场")


def test_many_posters_are_one_file_with_a_page_each_in_the_order_of_the_list(venueops):
    places = [venue(code=f"KP{n}", name="样" * 40 * n) for n in (1, 2, 3)]
    chosen = {"pk": [place.pk for place in places]}
    asked = venueops.client.post(PRINT, chosen).content.decode()
    assert "打印海报 3 条" in asked and "输入条数" not in asked
    answer = venueops.client.post(PRINT, chosen | {"confirm": "1"})
    pages = pages_of(answer.content)
    assert [code.rpartition("/e/")[2] for _, code in pages] == [
        scan_address(place.pk)[3:] for place in places
    ]
    assert [place.name in text for place, (text, _) in zip(places, pages, strict=True)] == [True] * 3
    logged = LogEntry.objects.get(act="打印海报")
    assert (logged.label, logged.detail) == ("3 个场所", {"codes": ["KP1", "KP2", "KP3"]})


def test_what_a_name_looks_like_is_no_command_to_the_typesetter(venueops):
    place = venue(name='#read("/etc/passwd") *粗* $x$ \\ "]')
    answer = venueops.client.post(PRINT, {"pk": place.pk, "confirm": "1"})
    assert '#read("/etc/passwd")*粗*$x$\\"]' in pages_of(answer.content)[0][0]


def test_who_may_not_print_gets_no_poster(regulator, town, venueops):
    place = venue(archived=True)
    assert regulator.client.post(PRINT, {"pk": place.pk, "confirm": "1"}).status_code == 403
    assert town.client.post(PRINT, {"pk": place.pk, "confirm": "1"}).status_code == 403
    refused = venueops.client.post(PRINT, {"pk": place.pk, "confirm": "1"})
    assert "现在不能打印海报" in refused.content.decode()
    assert venueops.client.post(PRINT, {"pk": 0, "confirm": "1"}).status_code == 404


def test_the_address_of_a_page_cannot_be_made_up_and_outlives_a_change_of_keys(settings, tmp_path):
    settings.JINGWEI_KEYS = tmp_path / "keys.json"
    create_key_ring(settings.JINGWEI_KEYS)
    place, other = venue(), venue()
    token = scan_address(place.pk).strip("/").removeprefix("e/")
    provider().add_key()
    provider().remove_key("k1")
    assert venue_of_token(token) == place
    mark = token.partition("-")[2]
    made_up = [f"{other.pk}-{mark}", f"{place.pk}-", f"{place.pk}", f"0{token}", token[:-1], token + "a"]
    made_up += [f"{place.pk}-{'a' * 16}", "", "-", f"²-{mark}", f"{place.pk}-标记", "9" * 40 + "-" + mark]
    assert [venue_of_token(words) for words in made_up] == [None] * len(made_up)

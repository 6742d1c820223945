"""The numbers of the statistics pages, and the lists they open."""

import io
from datetime import date, timedelta
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import openpyxl
import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jingwei import menu
from jingwei.base import codes, parameters
from jingwei.base.models import Code, LogEntry, ParameterValue
from jingwei.cli.demo import ensure_demo
from jingwei.desk.lists import Selection
from jingwei.people.models import Person
from jingwei.people.queries import CONDITIONS, aged
from jingwei.people.samples import person

pytestmark = pytest.mark.django_db
PAGES = ["population", "coverage", "elderly", "crossing"]


class Cells(HTMLParser):
    """(number, address) of every number of a page that opens a list."""

    def __init__(self, response):
        super().__init__()
        self.found, self.href = [], None
        self.feed(response.content.decode())

    def handle_starttag(self, tag, attributes):
        self.href = dict(attributes).get("href") if tag == "a" else self.href

    def handle_endtag(self, tag):
        self.href = None if tag == "a" else self.href

    def handle_data(self, data):
        number = data.strip().replace(",", "")
        if self.href and number.isdecimal() and not self.href.startswith("?"):
            self.found.append((int(number), self.href))


def counted_by_list(actor, href) -> int:
    """How many rows the list at an address has for the actor."""
    parts = urlsplit(href)
    resource = menu.resource(parts.path.strip("/"))
    selection = Selection(resource, actor, QueryDict(unquote(parts.query)))
    assert not selection.refusals, selection.refusals
    return selection.total(None).number


@pytest.fixture
def crowd(db):
    ensure_demo(1_500, lambda done, total: None)


@pytest.mark.req("P-9.4", "CL-4.1", "CL-4.2", "CL-4.3", "CL-4.4")
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("region", ["", "990101001", "990101001001"])
def test_every_number_opens_the_rows_it_counts(district, crowd, page, region):
    response = district.client.get(f"/{page}/", {"region": region} if region else {})
    cells = Cells(response).found
    assert len(cells) > 3 or (page == "crossing" and len(region) == 12)  # a small place may have none
    wrong = [(n, href) for n, href in cells if counted_by_list(district.actor, href) != n]
    assert wrong == []


@pytest.mark.req("P-9.4", "P-1.6")
@pytest.mark.parametrize("page", PAGES)
def test_statistics_count_only_the_own_territory(village, crowd, page):
    own = Person.objects.filter(region="990101001001").count()
    response = village.client.get(f"/{page}/")
    total = response.context["tables"][0]["total"]["cells"][0]["value"]
    assert 0 < own < Person.objects.count()
    assert total <= own
    assert total == own or page in ("elderly", "crossing")
    for number, href in Cells(response).found:
        assert counted_by_list(village.actor, href) == number


@pytest.mark.req("P-9.4", "P-1.6")
@pytest.mark.parametrize("page", [*PAGES, "daily"])
def test_a_region_outside_does_not_exist(town, page):
    assert town.client.get(f"/{page}/", {"region": "990101001002"}).status_code == 200
    for outside in ("990101002", "990101002001", "990101", "990199", "abc"):
        assert town.client.get(f"/{page}/", {"region": outside}).status_code == 404


@pytest.mark.req("P-1.10")
@pytest.mark.parametrize("page", [*PAGES, "daily"])
def test_statistics_need_their_permission(nobody, sysadmin, page):
    for persona in (nobody, sysadmin):
        assert persona.client.get(f"/{page}/").status_code == 403
        assert persona.client.get(f"/{page}/export/?table=area").status_code == 403


@pytest.mark.req("P-9.4")
def test_who_may_count_but_not_view_gets_numbers_without_lists(district, crowd):
    role = district.operator.appointments.get().roles.get()
    role.permissions = [p for p in role.permissions if p != "people.view"]
    role.save()
    response = district.client.get("/population/")
    assert response.status_code == 200
    assert not [href for _, href in Cells(response).found if href.startswith("/people/")]


@pytest.mark.req("CL-4.1")
def test_drilling_down_goes_from_district_to_township_to_community_to_rows(district, crowd):
    areas = district.client.get("/population/").context["tables"][0]
    assert len(areas["rows"]) == 18
    assert areas["rows"][0]["href"] == "?region=990101001"
    communities = district.client.get("/population/?region=990101001").context["tables"][0]
    assert [row["href"] for row in communities["rows"]] == [""] * 14
    assert "region=990101001001" in communities["rows"][0]["cells"][0]["href"]
    assert sum(row["cells"][0]["value"] for row in areas["rows"]) == Person.objects.count()


@pytest.mark.req("CL-4.1")
def test_people_are_grouped_in_all_the_ways_asked_for(district):
    person(born="20200101", group="", occupation="", resident="", tenant="", address="")
    person(born="19900101", group="残疾人", occupation="快递员", tenant="是")
    tables = {table["name"]: table for table in district.client.get("/population/").context["tables"]}

    def lines(name):
        return {r["label"]: r["cells"][0]["value"] for r in tables[name]["rows"] if r["cells"][0]["value"]}

    years = timezone.localdate().year - 2020
    assert lines("occupation") == {"快递员": 1, "未填写": 1}
    assert lines("group") == {"残疾人": 1, "未填写": 1}
    assert lines("resident") == {"常住": 1, "未填写": 1}
    assert lines("tenant") == {"租户": 1, "未填写": 1}
    assert lines("vaccination") == {"未接种": 2}
    assert sum(lines("age").values()) == 2
    assert f"{years // 5 * 5}–{years // 5 * 5 + 4}岁" in lines("age")


@pytest.mark.req("CL-4.1", "CL-P4")
def test_a_page_counts_in_few_statements(district, crowd):
    district.client.get("/population/")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        district.client.get("/population/")
    counting = [q for q in queries if "people_person" in q["sql"]]
    assert len(counting) == 2


@pytest.mark.req("CL-4.2")
def test_what_is_due_follows_the_parameters(district):
    today = timezone.localdate()
    someone = person(born="19500101")
    Person.objects.filter(pk=someone.pk).update(dose=1, dose_on=today - timedelta(days=28))
    overdue = Person.objects.filter(CONDITIONS["dose_due"]["overdue"][1](today))
    assert not overdue.exists()
    assert Person.objects.filter(CONDITIONS["dose_due"]["overdue"][1](today + timedelta(days=1))).exists()
    ParameterValue.objects.create(name="people.dose_2_after", value="21")
    parameters.forget()
    assert Person.objects.filter(CONDITIONS["dose_due"]["overdue"][1](today)).exists()
    parameters.forget()


@pytest.mark.req("CL-4.2")
@pytest.mark.parametrize(("days", "due"), [(0, False), (7, False), (8, True), (None, True)])
def test_a_test_is_due_after_the_interval(days, due):
    someone = person(born="19500101")
    now = timezone.localtime().replace(hour=0, minute=1)
    if days is not None:
        Person.objects.filter(pk=someone.pk).update(sampled_at=now - timedelta(days=days))
    assert Person.objects.filter(CONDITIONS["test_due"]["elderly"][1](now.date())).exists() == due


@pytest.mark.req("CL-4.2")
def test_every_last_test_falls_under_one_span():
    now = timezone.localtime()
    for days in (*range(0, 20), None):
        someone = person()
        Person.objects.filter(pk=someone.pk).update(
            sampled_at=None if days is None else now - timedelta(days=days)
        )
    spans = [
        Person.objects.filter(condition(now.date())) for _, condition in CONDITIONS["last_test"].values()
    ]
    assert [span.count() for span in spans] == [4, 4, 7, 5, 1]


@pytest.mark.req("CL-4.3")
def test_the_flag_of_the_dictionary_says_who_crosses_provinces(district):
    person(occupation="货车司机", name="郑司机")
    person(occupation="教师", name="许老师")
    response = district.client.get("/crossing/")
    assert [someone.name for someone in response.context["people"]] == ["郑司机"]
    Code.objects.filter(kind="从业情况", label="教师").update(flag=True)
    codes.forget()
    assert len(district.client.get("/crossing/").context["people"]) == 2
    codes.forget()


@pytest.mark.req("CL-4.3", "P-4.3")
def test_the_longest_untested_come_first_and_phones_are_masked(district):
    now = timezone.now()
    for name, days in [("三天前", 3), ("从未", None), ("昨天", 1), ("十天前", 10)]:
        someone = person(occupation="快递员", name=name, phone="16012345678")
        Person.objects.filter(pk=someone.pk).update(
            sampled_at=None if days is None else now - timedelta(days=days)
        )
    response = district.client.get("/crossing/")
    assert [someone.name for someone in response.context["people"]] == ["从未", "十天前", "三天前", "昨天"]
    assert "160****5678" in response.content.decode()
    assert "16012345678" not in response.content.decode()


@pytest.mark.req("CL-4.4")
def test_areas_are_ranked_by_the_coverage_asked_for(district, crowd):
    for by in ("coverage", "full_coverage", "elderly_coverage", "test_coverage"):
        for level, count in [("", 18), ("village", 252)]:
            [table] = district.client.get("/coverage/", {"by": by, "level": level}).context["tables"]
            [place] = table["drawn"]
            values = [row["cells"][place]["value"] or 0 for row in table["rows"]]
            assert len({row["label"] for row in table["rows"]}) == len(values) == count
            assert values == sorted(values, reverse=True)


@pytest.mark.req("P-9.1", "P-3.1")
def test_a_table_is_exported_as_it_is_shown(district, crowd):
    shown = district.client.get("/population/").context["tables"][0]
    response = district.client.get("/population/export/?table=area")
    assert "人口统计" in unquote(response.headers["Content-Disposition"])
    sheet = openpyxl.load_workbook(io.BytesIO(response.content)).active
    rows = list(sheet.values)
    assert list(rows[0]) == [shown["heading"], *shown["columns"]]
    assert [list(row) for row in rows[1:-1]] == [
        [row["label"], *(cell["value"] for cell in row["cells"])] for row in shown["rows"]
    ]
    assert rows[-1][0] == "合计"
    assert LogEntry.objects.filter(act="导出", label__startswith="人口统计").count() == 1
    assert district.client.get("/population/export/?table=nothing").status_code == 404


@pytest.mark.req("CL-3.2", "CL-4.1")
def test_the_age_filter_agrees_with_the_age_shown():
    for born in (date(1960, 2, 29), date(1966, 2, 28), date(1966, 3, 1), date(2000, 1, 1)):
        person(born=f"{born:%Y%m%d}")
    for day in (date(2026, 2, 28), date(2026, 3, 1), date(2028, 2, 29), date(2020, 1, 1)):
        for low, high in [(60, None), (None, 59), (20, 60), (60, 60), (66, 66)]:
            expected = {
                p.pk
                for p in Person.objects.all()
                if (low is None or p.age_on(day) >= low) and (high is None or p.age_on(day) <= high)
            }
            found = Person.objects.filter(aged(low, high, day)).values_list("pk", flat=True)
            assert set(found) == expected, (day, low, high)

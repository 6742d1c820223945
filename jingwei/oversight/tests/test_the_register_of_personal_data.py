"""Every personal column stands in the register, with purpose, basis and keeping time (SEC-17)."""

import io
import re

import openpyxl
import pytest
from django.db import models
from django.test.utils import isolate_apps

from jingwei import menu
from jingwei.base.fields import SealedField
from jingwei.base.models import LogEntry
from jingwei.base.personal import Columns
from jingwei.directory.setup import PERSONAS
from jingwei.oversight import register
from jingwei.people.models import Person, TallyCount
from tests.personas import Persona

pytestmark = pytest.mark.django_db


def entry(table, column):
    [found] = [one for one in register.entries() if (one.table, one.column) == (table, column)]
    return found


@pytest.mark.req("SEC-17", "P-4.6")
def test_of_every_column_of_every_table_it_is_said_whether_it_is_personal():
    assert not register.undeclared(), "declare them in the package's `personal` module: COLUMNS or NOBODYS"


@pytest.mark.req("SEC-17")
def test_every_entry_says_what_for_by_which_rule_and_how_long():
    rows = list(register.entries())
    assert len(rows) > 100
    assert not [row for row in rows if not all(row)]
    in_english = [row for row in rows if not all(re.search("[一-龥]", text) for text in row)]
    assert not in_english, "give the table a `label` or the column one of the `headings` in COLUMNS"


@pytest.fixture
def among_the_tables(monkeypatch):
    """Function that has the register see one more table."""
    known = register.tables()

    def add(model):
        monkeypatch.setattr(register, "tables", lambda: [*known, model])

    return add


def found(model):
    return [name.rpartition(".")[2] for name in register.undeclared() if name.startswith(model._meta.label)]


@pytest.mark.req("SEC-17")
@isolate_apps("jingwei.people")
def test_a_new_table_and_a_new_column_of_people_are_missed(among_the_tables, monkeypatch):
    class Visit(models.Model):
        name = models.CharField(max_length=60)
        person = models.ForeignKey(Person, models.CASCADE)
        number = SealedField(kind="number", searchable=True, purpose="a", basis="b", keep="c")

        class Meta:
            app_label = "people"

    among_the_tables(Visit)
    assert found(Visit) == ["name"]
    # Somebody says of it that it is about nobody.
    [people] = [package for package in menu.PERSONAL if TallyCount in package.NOBODYS]
    monkeypatch.setattr(people, "NOBODYS", [*people.NOBODYS, Visit])
    assert found(Visit) == ["number"]
    told = Columns(Visit, purpose="a", basis="b", keep="c", names=["name"])
    monkeypatch.setattr(people, "NOBODYS", people.NOBODYS[:-1])
    monkeypatch.setattr(people, "COLUMNS", [*people.COLUMNS, told])
    assert found(Visit) == []


@pytest.mark.req("SEC-17")
@isolate_apps("jingwei.people")
@pytest.mark.parametrize(
    ("column", "heading"),
    [("name", "姓名"), ("phone_2", "x"), ("text", "联系人"), ("born", "出生日期"), ("id_card", "x")],
)
def test_a_table_about_nobody_may_not_gain_a_column_about_somebody(
    among_the_tables, monkeypatch, column, heading
):
    fields = {
        column: models.CharField(heading, max_length=60),
        "colour": models.CharField("颜色", max_length=9),
    }
    meta = type("Meta", (), {"app_label": "people"})
    lamp = type("Lamp", (models.Model,), fields | {"Meta": meta, "__module__": __name__})
    among_the_tables(lamp)
    monkeypatch.setattr(menu.PERSONAL[0], "NOBODYS", [*menu.PERSONAL[0].NOBODYS, lamp])
    assert found(lamp) == [column]


@pytest.mark.req("SEC-17")
def test_an_entry_tells_where_a_column_is_seen_and_how_it_is_stored():
    number = entry("人员", "证件号")
    assert "人员" in number.shown and "打星号" in number.masked and number.stored == register.SEARCHABLE
    assert entry("人员", "居住地").stored == register.RANDOM
    assert entry("人员", "姓名").stored == register.CLEAR
    # A history holds what its table held, under its own keeping time.
    assert entry("人员的历史", "证件号").stored == register.SEARCHABLE
    assert entry("人员的历史", "姓名").keep.startswith("1095 天")
    assert entry("核酸检测", "检测结果").keep == "730 天（系统参数“检测记录保存天数”）"


@pytest.mark.req("SEC-17", "P-1.8")
def test_the_security_and_the_audit_administrator_read_print_and_export_it(
    secadmin, auditadmin, district, sysadmin
):
    for persona in (secadmin, auditadmin):
        page = persona.client.get("/personal-data/")
        assert page.status_code == 200 and "证件号" in page.content.decode()
        assert persona.client.post("/personal-data/printed/").status_code == 204
        exported = persona.client.get("/personal-data/export/")
        book = openpyxl.load_workbook(io.BytesIO(exported.content))
        rows = list(book.active.iter_rows(values_only=True))
        assert rows[0] == register.HEADINGS and len(rows) == 1 + len(list(register.entries()))
    acts = LogEntry.objects.filter(resource="personal-data").values_list("act", flat=True)
    assert sorted(acts) == ["导出", "导出", "打印", "打印"]
    for persona in (district, sysadmin):
        assert persona.client.get("/personal-data/").status_code == 403


@pytest.mark.req("SEC-18")
def test_no_browser_keeps_a_page_of_the_menu():
    opened = set()
    for persona in map(Persona, [persona.login for persona in PERSONAS]):
        for page in menu.pages():
            if page.name not in opened and persona.actor.may_open(page.name, page.permission):
                assert persona.client.get(f"/{page.name}/").headers["Cache-Control"] == "no-store", page.name
                opened.add(page.name)
    assert opened == {page.name for page in menu.pages()}

"""Regions, organisations and accounts come in by the general import (P-1.1, P-1.2, P-1.4)."""

from datetime import date

import pytest
from django.core.exceptions import ValidationError

from jingwei import menu
from jingwei.base.loading import load
from jingwei.base.models import Load
from jingwei.base.undoing import undo
from jingwei.desk.lists import Selection
from jingwei.directory.models import Operator, Organisation, Region, RetiredLogin, end_of_account

pytestmark = pytest.mark.django_db


@pytest.fixture
def come_in(tmp_path):
    """Import a text with comma-separated columns; gives (counts, refusals as (row, column, reason))."""

    def come_in(persona, sheet, text):
        path = tmp_path / "arriving.csv"
        path.write_text(text, encoding="utf-8")
        record = load(persona.actor, menu.sheets()[sheet], path)
        refused = [(r["row"], r["column"], r["reason"]) for r in record.counts["rejected"]]
        return record.counts, refused

    return come_in


@pytest.mark.req("P-1.1")
def test_national_codes_come_in_from_a_table(sysadmin, come_in):
    counts, refused = come_in(
        sysadmin,
        "regions",
        "代码,名称\n98,另一省\n9801,另一市\n980101,另一区\n980101001,一街道\n980101001001,一社区\n990101001001,上埔新村\n97,\n970,短码\n",
    )
    assert (counts["added"], counts["changed"]) == (5, 1)
    assert Region.objects.get(code="980101001001").parent_id == "980101001"
    assert Region.objects.get(code="990101001001").name == "上埔新村"
    assert [(row, column) for row, column, _ in refused] == [(8, "名称"), (9, "代码")]
    record = Load.objects.get()
    listed = Selection(menu.resource("regions"), sysadmin.actor, {"load": str(record.pk)})
    assert listed.total().number == 6
    again, _ = come_in(sysadmin, "regions", "代码,名称\n98,另一省\n")
    assert (again["added"], again["changed"], again["unchanged"]) == (0, 0, 1)
    undo(sysadmin.actor, menu.sheets()["regions"], record)
    assert Region.objects.get(code="990101001001").name == "上埔社区"
    assert not Region.objects.filter(code="980101001001").exists()


@pytest.mark.req("P-1.1")
@pytest.mark.parametrize(
    "text",
    [
        "code,name,level,parent\n98,另一省,省,\n9801,另一市,市,98\n980101,另一区,区县,9801\n",
        "统计用区划代码,名称\n980000000000,另一省\n980100000000,另一市\n980101000000,另一区\n",
        '[{"code": "98", "name": "另一省", "children": [{"code": "9801", "name": "另一市",\n'
        '  "children": [{"code": "980101", "name": "另一区"}]}]}]',
    ],
)
def test_codes_come_in_however_they_are_published(sysadmin, come_in, text):
    counts, refused = come_in(sysadmin, "regions", text)
    assert (counts["added"], refused) == (3, [])
    assert Region.objects.get(name="另一区").parent_id == "9801"


@pytest.mark.req("P-1.1", "SEC-12")
@pytest.mark.parametrize(
    "text", ["[{" * 50_000, '[{"code": 98,}]', '[{"code": "98", "children": 5}]', "[{}, 5]"]
)
def test_json_that_is_no_list_of_objects_is_refused_in_words(sysadmin, come_in, text):
    with pytest.raises(ValidationError, match="JSON 文件无法读取"):
        come_in(sysadmin, "regions", text)


@pytest.mark.req("P-1.2")
def test_organisations_come_in_with_their_place_in_the_tree(sysadmin, come_in):
    counts, refused = come_in(
        sysadmin,
        "organisations",
        "名称,上级,行政区划,性质,类别\n区档案馆,安澜区疫情防控指挥部,990101,事业,单位\n区图书馆,没有这个单位,990101,事业,单位\n",
    )
    assert counts["added"] == 1
    made = Organisation.objects.get(name="区档案馆")
    assert made.path == f"{made.parent.path}{made.pk:06d}/"
    assert [(row, column) for row, column, _ in refused] == [(3, "上级")]


@pytest.mark.req("P-1.4", "CL-1.2", "SEC-1", "SEC-5")
def test_accounts_come_in_without_password_and_without_rights(secadmin, village, come_in):
    RetiredLogin.objects.create(login_key="old-hand")
    office = village.operator.organisation.name
    counts, refused = come_in(
        secadmin,
        "operators",
        f"登录名,姓名,联系电话,有效期至,所属单位\nclerk1,甲,13800000001,,{office}\nclerk2,乙,,2026-12-31,{office}\n"
        f"ＶＩＬＬＡＧＥ,丙,,,{office}\nold-hand,丁,,,{office}\n",
    )
    assert counts["added"] == 2
    ends = [Operator.objects.get(login_key=key).ends_on for key in ("clerk1", "clerk2")]
    assert ends == [end_of_account(), date(2026, 12, 31)]
    assert [(row, column) for row, column, _ in refused] == [(4, "登录名"), (5, "登录名")]
    clerk = Operator.objects.get(login_key="clerk1")
    assert clerk.phone == "13800000001"
    assert clerk.must_change_password and not clerk.has_usable_password()
    assert not clerk.appointments.exists()


@pytest.mark.req("CL-2.1", "P-1.6")
def test_accounts_of_another_area_are_refused(town, district, othertown, come_in):
    elsewhere = Organisation.objects.create(name="邻区办公室", region_id="9901")
    counts, refused = come_in(
        district,
        "operators",
        f"登录名,姓名,所属单位\nclerk1,甲,{othertown.operator.organisation.name}\nclerk2,乙,{elsewhere.name}\n",
    )
    assert counts["added"] == 1
    assert [(row, column) for row, column, _ in refused] == [(3, "所属单位")]

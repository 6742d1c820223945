"""Administrators arrange the menu and set parameters (P-1.7, P-6.1, P-6.2)."""

import pytest
from django.core.exceptions import ValidationError

from jingwei import menu
from jingwei.base import codes
from jingwei.base.models import Code, LogEntry, ParameterValue
from jingwei.directory import menus, parameters
from jingwei.directory.models import MenuGrant, MenuSetting
from jingwei.people.models import Person

pytestmark = pytest.mark.django_db


@pytest.fixture
def committed(django_capture_on_commit_callbacks):
    """Run what happens after a commit, as it does outside of a test."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


def shown(persona):
    """{group: names} of the menu as the page has it."""
    menus.forget()
    return {
        system.label: [entry.label for entry in entries]
        for system, entries in menu.entries_for(persona.actor)
    }


def arrange(persona, name, **changes):
    [entry] = [entry for system in menu.SYSTEMS for entry in system.entries if entry.name == name]
    values = {"label": "", "group": "", "order": None, "hidden": False} | changes
    menus.arrange(persona.actor, entry, **values)


@pytest.mark.req("P-1.7")
def test_the_menu_holds_what_may_be_opened(village, auditadmin, nobody):
    assert "人员信息" in shown(village)["常住人口"]
    [(system, entries)] = shown(auditadmin).items()
    assert system == "安全与审计" and {"操作日志", "登录日志"} <= set(entries)
    assert shown(nobody) == {}


@pytest.mark.req("P-1.7")
def test_entries_are_renamed_regrouped_and_reordered(sysadmin, village):
    arrange(sysadmin, "people", label="居民", order=999)
    arrange(sysadmin, "doses", group="疫苗")
    found = shown(village)
    assert found["常住人口"][-1] == "居民"
    assert found["疫苗"] == ["疫苗接种记录"]
    arrange(sysadmin, "people")
    assert shown(village)["常住人口"][0] == "人员信息"
    assert LogEntry.objects.filter(act="菜单设置", label="人员信息").count() == 2


@pytest.mark.req("P-1.7")
@pytest.mark.parametrize(("name", "address"), [("doses", "/doses/"), ("people-statistics", None)])
def test_what_is_hidden_is_refused_by_address_too_but_for_who_was_granted_it(
    sysadmin, village, town, name, address
):
    if address is None:
        name = menu.pages()[0].name
        address = f"/{name}/"
    assert village.client.get(address).status_code == 200
    arrange(sysadmin, name, hidden=True)
    assert village.client.get(address).status_code == 403
    MenuGrant.objects.create(operator=village.operator, key=name, allowed=True)
    assert village.client.get(address).status_code == 200
    assert town.client.get(address).status_code == 403


@pytest.mark.req("P-1.7")
def test_a_menu_is_withheld_from_one_person(village, othertown):
    MenuGrant.objects.create(operator=village.operator, key="people", allowed=False)
    assert village.client.get("/people/").status_code == 403
    assert "人员信息" not in shown(village).get("常住人口", [])
    assert othertown.client.get("/people/").status_code == 200


@pytest.mark.req("P-1.7")
def test_the_page_of_the_menu_saves_every_line(sysadmin, committed):
    lines = {}
    for system in menu.SYSTEMS:
        for entry in system.entries:
            lines |= {f"{entry.name}-label": "", f"{entry.name}-group": "", f"{entry.name}-order": ""}
    with committed():
        answer = sysadmin.client.post("/menus/", lines | {"people-label": "居民", "doses-hidden": "on"})
    assert answer.status_code == 302
    assert set(MenuSetting.objects.values_list("key", "label", "hidden")) == {
        ("people", "居民", False),
        ("doses", "", True),
    }
    assert 'value="居民"' in sysadmin.client.get("/menus/").content.decode()


@pytest.mark.req("P-1.7")
def test_the_page_that_unhides_is_not_hidden(sysadmin):
    with pytest.raises(ValidationError, match="不能隐藏"):
        arrange(sysadmin, "menus", hidden=True)


@pytest.mark.req("P-6.2")
def test_a_parameter_takes_effect_at_once_and_is_logged(sysadmin, committed):
    with committed():
        answer = sysadmin.client.post("/parameters/", {"name": "signin.idle", "value": " 45 "})
    assert answer.status_code == 302
    assert parameters.IDLE.value() == 45
    entry = LogEntry.objects.get(act="参数修改")
    assert (entry.login, entry.detail["changes"]) == ("sysadmin", {"无操作自动退出": ["30", "45"]})


@pytest.mark.req("P-6.2", "SEC-12")
@pytest.mark.parametrize(
    ("text", "said"), [("4", "5 到 720 之间"), ("半小时", "整数"), ("", "整数"), ("9" * 5000, "整数")]
)
def test_a_value_that_is_none_is_refused_beside_it_and_kept(sysadmin, text, said):
    answer = sysadmin.client.post("/parameters/", {"name": "signin.idle", "value": text})
    page = answer.content.decode()
    assert said in page and f'value="{text}"' in page
    assert not ParameterValue.objects.exists()


@pytest.mark.req("P-6.2", "P-1.10")
def test_only_the_system_administrator_sets_parameters(secadmin, district):
    for persona in (secadmin, district):
        assert persona.client.post("/parameters/", {"name": "signin.idle", "value": "45"}).status_code == 403
    assert not ParameterValue.objects.exists()


@pytest.mark.req("P-6.1")
def test_a_word_that_is_used_is_disabled_and_not_deleted(sysadmin):
    resource = menu.resource("codes")
    elderly = Code.objects.get(kind="人群分类", label="老年人")
    Person.objects.create(
        region_id="990101001001", name="甲", number="990101201307204887", group=elderly.value
    )
    with pytest.raises(ValidationError, match="改为停用"):
        resource.delete(sysadmin.actor, elderly)
    with pytest.raises(ValidationError, match="不能修改"):
        resource.save(sysadmin.actor, elderly, values={"value": "77"})
    elderly.refresh_from_db()
    resource.save(sysadmin.actor, elderly, values={"enabled": False})
    codes.forget()
    assert elderly.value not in dict(codes.choices("人群分类"))
    assert codes.labels("人群分类")[elderly.value] == "老年人"


@pytest.mark.req("P-6.1")
def test_a_word_nobody_uses_is_changed_and_deleted(sysadmin):
    resource = menu.resource("codes")
    word = resource.save(
        sysadmin.actor,
        Code(),
        values={"kind": "人群分类", "value": "77", "label": "试验", "synonyms": ["测试"]},
    )
    resource.save(sysadmin.actor, word, values={"value": "78"})
    codes.forget()
    assert codes.words("人群分类")["测试"] == "78"
    resource.delete(sysadmin.actor, word)
    assert not Code.objects.filter(label="试验").exists()

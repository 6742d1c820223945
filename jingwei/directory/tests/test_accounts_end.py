"""Every account has an end: who sets it, who moves it, who is told (SEC-5)."""

from argparse import Namespace
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from jingwei import menu
from jingwei.base.access import platform_actor
from jingwei.base.actions import set_parameter
from jingwei.base.models import LogEntry
from jingwei.base.parameters import forget
from jingwei.cli import renew
from jingwei.directory import actions, factors, parameters
from jingwei.directory.models import Operator, Role
from jingwei.directory.setup import SETUP
from tests.personas import Persona

pytestmark = [pytest.mark.django_db, pytest.mark.req("SEC-5")]
SERVER = platform_actor("命令行")


def day(distance):
    return timezone.localdate() + timedelta(days=distance)


def ending(operator, distance):
    Operator.objects.filter(pk=operator.pk).update(ends_on=day(distance))
    operator.refresh_from_db()
    return operator


def new(persona, **values):
    values = {"login": "newcomer", "name": "新来的"} | values
    values.setdefault("organisation", persona.operator.organisation)
    return menu.resource("operators").save(persona.actor, Operator(), values=values)


def test_a_new_account_ends_when_the_parameter_says_however_it_is_made(district, sysadmin):
    assert new(district).ends_on == day(365)
    set_parameter(SETUP, parameters.ACCOUNT_DAYS, "90")
    forget()
    assert new(district, login="later").ends_on == day(90)
    bare = Operator(login="b", login_key="b", organisation=sysadmin.operator.organisation)
    assert Operator.objects.bulk_create([bare])[0].ends_on == day(90)


def test_the_database_keeps_no_account_without_an_end(clerk):
    with pytest.raises(IntegrityError), transaction.atomic():
        Operator.objects.filter(pk=clerk.pk).update(ends_on=None)


def test_the_form_begins_with_the_end_and_takes_another_within_three_years(secadmin, village):
    page = secadmin.client.get("/operators/new/")
    assert page.context["form"]["ends_on"].value() == str(day(365))
    form = {"login": "newcomer", "name": "新来的", "organisation": village.operator.organisation_id}
    for entered, said in [("", "请填写有效期"), (str(day(1096)), f"最晚可填 {day(1095)}")]:
        page = secadmin.client.post("/operators/new/", form | {"ends_on": entered})
        assert said in page.content.decode()
    assert not Operator.objects.filter(login_key="newcomer").exists()
    secadmin.client.post("/operators/new/", form | {"ends_on": str(day(30))})
    assert Operator.objects.get(login_key="newcomer").ends_on == day(30)


def test_only_the_security_administrator_moves_an_end_later(district, secadmin, clerk):
    save = menu.resource("operators").save
    with pytest.raises(ValidationError, match="由安全管理员延长"):
        save(district.actor, ending(clerk, 30), values={"ends_on": day(31)})
    clerk.refresh_from_db()
    assert clerk.ends_on == day(30)
    save(district.actor, clerk, values={"ends_on": day(5)})
    save(secadmin.actor, clerk, values={"ends_on": day(700)})
    assert district.client.post("/operators/do/renew/", {"pk": clerk.pk}).status_code == 403


def test_an_ended_account_is_renewed_with_a_reason_and_its_holder_gets_in_again(browser, clerk, secadmin):
    ending(clerk, -1)
    assert "到期" in browser.enter("village").content.decode()
    asked = {"pk": clerk.pk, "confirm": "1"}
    secadmin.client.post("/operators/do/renew/", asked | {"reason": " "})
    assert Operator.objects.get(pk=clerk.pk).ends_on == day(-1)
    secadmin.client.post("/operators/do/renew/", asked | {"reason": "年度复核，仍在岗"})
    assert Operator.objects.get(pk=clerk.pk).ends_on == day(365)
    row = LogEntry.objects.get(act="续期")
    assert (row.operator, row.object_id, row.reason) == (
        secadmin.operator.pk,
        str(clerk.pk),
        "年度复核，仍在岗",
    )
    assert row.detail["changes"]["有效期至"] == [str(day(-1)), str(day(365))]
    browser.enter("village")
    assert browser.is_in()
    with pytest.raises(ValidationError, match="不需要续期"):
        actions.renew_operator(secadmin.actor, clerk, reason="再来一次")


def test_all_that_end_soon_are_renewed_at_once_and_none_else(clerk, town, othertown, secadmin):
    for operator, distance in [(clerk, 14), (town.operator, 0), (othertown.operator, 15)]:
        ending(operator, distance)
    listed = secadmin.client.get("/operators/?tab=5").content.decode()
    assert "village" in listed and ">town<" in listed and "othertown" not in listed
    everything = {"all": "1", "query": "tab=5", "confirm": "1", "reason": "年度复核"}
    secadmin.client.post("/operators/do/renew/", everything)
    ends = [Operator.objects.get(pk=o.pk).ends_on for o in (clerk, town.operator, othertown.operator)]
    assert ends == [day(365), day(365), day(15)]
    assert LogEntry.objects.filter(act="续期", reason="年度复核").count() == 2
    assert LogEntry.objects.filter(act="批量续期").count() == 1


def test_the_security_administrators_home_page_counts_those_that_end_soon_or_have(clerk, town, secadmin):
    ending(clerk, 14)
    ending(town.operator, -1)
    figures = {figure.label: figure for figure in secadmin.client.get("/").context["numbers"]}
    assert figures["即将到期的账号"].total.number == 1
    assert figures["已到期的账号"].total.number == 1
    assert ">town<" in secadmin.client.get(figures["已到期的账号"].address).content.decode()


@pytest.mark.parametrize(
    ("distance", "said"), [(15, ""), (14, "还有 14 天"), (1, "还有 1 天"), (0, "今天到期")]
)
def test_the_holder_is_told_at_each_sign_in_from_a_fortnight_before(browser, clerk, distance, said):
    ending(clerk, distance)
    browser.enter("village")
    page = browser.get("/").content.decode()
    assert (f"{said}" in page and "安全管理员续期" in page) if said else "续期" not in page
    assert f"有效期至 {day(distance)}" in browser.get("/account/").content.decode()


def test_nobody_prolongs_the_own_account(secadmin):
    own = ending(secadmin.operator, 3)
    with pytest.raises(ValidationError, match="自己"):
        actions.renew_operator(secadmin.actor, own, reason="继续使用")
    with pytest.raises(ValidationError, match="自己"):
        menu.resource("operators").save(secadmin.actor, own, values={"ends_on": day(300)})
    assert Operator.objects.get(pk=own.pk).ends_on == day(3)


def test_the_last_security_administrator_is_let_in_again_from_the_server(secadmin, capsys):
    secadmin.operator.appointments.get().roles.add(Role.objects.create(name="附加"))
    ending(secadmin.operator, -40)
    Operator.objects.filter(pk=secadmin.operator.pk).update(enabled=False, disabled_for="长期未登录停用")
    assert renew.run(Namespace(login="SECADMIN", reason="局办公会议定", password=False)) == 0
    assert capsys.readouterr().out == f"有效期延长到 {day(365)}\n已启用\n"
    assert Persona("secadmin").operator.is_active
    assert LogEntry.objects.filter(act="续期", actor="命令行", reason="局办公会议定").count() == 1
    assert "没有改动" in actions.renew_administrator(SERVER, "secadmin", reason="再来", anew=False)[0]


def test_a_lost_password_and_device_of_an_administrator_are_replaced_from_the_server(secadmin, monkeypatch):
    factors.set_up(ending(secadmin.operator, 100))
    monkeypatch.setattr(factors, "_takes", lambda factor, code: True)
    factors.confirm(secadmin.actor, secadmin.operator, "123456")
    told = actions.renew_administrator(SERVER, "secadmin", reason="手机和口令都丢失", anew=True)
    operator = Persona("secadmin").operator
    assert operator.check_password(told[-2].split("新口令是 ")[1].split("　")[0])
    assert operator.must_change_password and not operator.second_factor_since
    done = set(LogEntry.objects.filter(actor="命令行").values_list("act", flat=True))
    assert done == {"续期", "重置口令", "重置双因素"}


@pytest.mark.parametrize("login", ["village", "district", "somebody"])
def test_the_server_gives_back_no_other_account(login, village, district):
    with pytest.raises(ValidationError, match="由安全管理员在页面上办理"):
        actions.renew_administrator(SERVER, login, reason="试试", anew=False)

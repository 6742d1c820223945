"""From where an account may sign in, and what becomes of one that nobody uses (SEC-5, SEC-19)."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from jingwei.base.access import platform_actor
from jingwei.base.models import LogEntry
from jingwei.directory import actions
from jingwei.directory.models import Operator, Session, SignIn

pytestmark = pytest.mark.django_db

OFFICE, ELSEWHERE = "10.1.2.3", "10.9.9.9"
CLOCK = platform_actor("定时任务")


def come_from(browser, address):
    browser.defaults["REMOTE_ADDR"] = address
    return browser


def allow_account(operator, networks):
    Operator.objects.filter(pk=operator.pk).update(networks=networks)


def allow_role(operator, networks):
    operator.appointments.get().roles.update(networks=networks)


@pytest.mark.req("SEC-19", "P-2.1")
@pytest.mark.parametrize("allow", [allow_account, allow_role])
def test_one_signs_in_from_the_listed_networks_only(browser, clerk, allow):
    allow(clerk, ["10.1.2.0/24", "2001:db8::/32"])
    refused = come_from(browser, ELSEWHERE).enter("village").content.decode()
    assert "不能从您所在的网络登录" in refused and not browser.is_in()
    assert SignIn.objects.get(operator=clerk).reason == "网络不允许"
    come_from(browser, OFFICE).enter("village")
    assert browser.is_in()


@pytest.mark.req("SEC-19")
def test_the_lists_of_account_and_role_both_count(browser, clerk):
    allow_account(clerk, ["10.0.0.0/8"])
    allow_role(clerk, ["10.1.0.0/16"])
    come_from(browser, ELSEWHERE).enter("village")
    assert not browser.is_in()
    come_from(browser, OFFICE).enter("village")
    assert browser.is_in()


@pytest.mark.req("SEC-19", "SEC-3")
def test_a_session_that_moves_out_of_the_network_ends(browser, clerk):
    allow_account(clerk, ["10.1.2.0/24"])
    come_from(browser, OFFICE).enter("village")
    assert browser.is_in()
    assert not come_from(browser, ELSEWHERE).is_in()
    assert not come_from(browser, OFFICE).is_in()
    assert LogEntry.objects.filter(operator=clerk.pk, result="拒绝", reason="网络不允许").count() == 1


@pytest.mark.req("SEC-19")
def test_a_network_is_checked_when_it_is_entered(secadmin, clerk):
    page = f"/operators/{clerk.pk}/edit/"
    form = secadmin.client.get(page).context["form"]
    sent = {name: form[name].value() or "" for name in form.fields} | {"version": clerk.version}
    refused = secadmin.client.post(page, sent | {"networks": "10.1.2.3/24"}).content.decode()
    assert "是否应为 10.1.2.0/24" in refused
    secadmin.client.post(page, sent | {"networks": "10.1.2.0/24，192.0.2.7"})
    clerk.refresh_from_db()
    assert clerk.networks == ["10.1.2.0/24", "192.0.2.7/32"]


@pytest.mark.req("SEC-19")
def test_nobody_shuts_the_door_on_themselves(secadmin):
    with pytest.raises(ValidationError, match="您自己将不能登录"):
        actions.save_operator(secadmin.actor, secadmin.operator, values={"networks": ["10.1.2.0/24"]})
    actions.save_operator(secadmin.actor, secadmin.operator, values={"networks": ["192.0.2.0/24"]})


def unused(operator, days=91):
    long_ago = timezone.now() - timedelta(days=days)
    Operator.objects.filter(pk=operator.pk).update(last_login=long_ago, enabled_at=long_ago)


def night():
    return actions.close_unused(CLOCK, None, None)["message"]


@pytest.mark.req("SEC-5")
def test_the_night_disables_accounts_unused_for_ninety_days_and_says_so(clerk, secadmin):
    unused(clerk)
    assert night() == "停用长期未登录的账号 1 个"
    clerk.refresh_from_db()
    assert (clerk.enabled, clerk.disabled_for) == (False, "长期未登录停用")
    row = LogEntry.objects.get(act="停用", object_id=str(clerk.pk))
    assert (row.actor, row.reason) == ("定时任务", "长期未登录停用")
    figures = {figure.label: figure.total.number for figure in secadmin.client.get("/").context["numbers"]}
    assert figures["因长期未登录停用的账号"] == 1
    assert "village" in secadmin.client.get("/operators/?tab=4").content.decode()


@pytest.mark.req("SEC-5")
def test_an_account_never_used_counts_from_when_it_was_enabled(clerk):
    long_ago = timezone.now() - timedelta(days=91)
    Operator.objects.filter(pk=clerk.pk).update(last_login=None, enabled_at=long_ago)
    assert "1 个" in night()


@pytest.mark.req("SEC-5")
def test_an_account_in_use_is_left_alone_and_who_grants_is_not_spared(clerk, secadmin):
    unused(clerk, days=89)
    unused(secadmin.operator)
    assert "1 个" in night()
    assert not Operator.objects.get(pk=secadmin.operator.pk).enabled


@pytest.mark.req("SEC-5")
def test_enabled_again_it_says_no_more_why_it_was_not(clerk, secadmin):
    unused(clerk)
    night()
    actions.enable_operator(secadmin.actor, clerk)
    clerk.refresh_from_db()
    assert (clerk.enabled, clerk.disabled_for) == (True, "")
    assert "0 个" in night()


@pytest.mark.req("SEC-3")
def test_the_night_clears_sessions_that_are_over(browser, clerk, village):
    browser.enter("village")
    village.client.get("/account/")
    newest = Session.objects.filter(operator=clerk).latest("begun_at")
    Session.objects.filter(pk=newest.pk).update(seen_at=timezone.now() - timedelta(hours=1))
    night()
    assert Session.objects.filter(operator=clerk).count() == 1
    assert browser.is_in()

"""Whoever has no account asks for one; it works when somebody has reviewed it (P-1.4)."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from jingwei import menu
from jingwei.base.access import platform_actor
from jingwei.base.actions import set_parameter
from jingwei.base.models import LogEntry
from jingwei.directory import actions, parameters, passwords, signing_in
from jingwei.directory.actors import actor_for
from jingwei.directory.models import Operator, Registration

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-1.4")]

PASSWORD = "Rice-field 2026"
WHERE = {"address": "192.0.2.7", "device": "test"}


@pytest.fixture
def wish(village, captcha):
    """What a resident of the village types."""
    return {
        "kind": "普通用户",
        "name": "林申请",
        "organisation": village.operator.organisation_id,
        "login": "LinShen",
        "phone": "138 0000 0009",
        "password": PASSWORD,
        "again": PASSWORD,
        **captcha,
    }


@pytest.fixture
def registration(wish):
    Client().post("/register/", wish)
    return Registration.objects.get()


def rows(persona):
    return menu.resource("registrations").rows(persona.actor)


def test_an_application_is_kept_for_review_and_opens_nothing(wish):
    answer = Client().post("/register/", wish)
    assert "审核通过前不能登录" in answer.text
    kept = Registration.objects.get()
    assert (kept.state, kept.phone.clear()) == ("待审核", "13800000009")
    assert PASSWORD not in kept.password
    assert not Operator.objects.filter(login_key="linshen").exists()
    assert LogEntry.objects.get(act="申请账号").address == "127.0.0.1"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("phone", "12345", "不是有效的电话号码"),
        ("again", "Something else 1", "两次输入的口令不一致"),
        ("kind", "志愿者团体", "请填写负责人"),
    ],
)
def test_a_mistake_is_named_and_the_input_kept(wish, field, value, says):
    answer = Client().post("/register/", wish | {field: value})
    assert says in answer.text
    assert "林申请" in answer.text
    assert not Registration.objects.exists()


@pytest.mark.req("SEC-1")
def test_a_weak_password_is_refused(wish):
    answer = Client().post("/register/", wish | {"password": "LinShen123", "again": "LinShen123"})
    assert "口令中不能含有登录名" in answer.text


def test_a_taken_login_name_is_not_told_to_strangers_but_to_the_reviewer(wish, village, district):
    answer = Client().post("/register/", wish | {"login": "village"})
    assert "申请已提交" in answer.text
    registration = Registration.objects.get()
    with pytest.raises(ValidationError, match="已被使用"):
        actions.approve_registration(district.actor, registration)
    actions.approve_registration(district.actor, registration, login="lin2026")
    assert Operator.objects.filter(login_key="lin2026").exists()


@pytest.mark.req("SEC-5")
def test_an_approved_applicant_signs_in_and_can_do_nothing_yet(registration, district):
    actions.approve_registration(district.actor, registration)
    operator = signing_in.sign_in("linshen", PASSWORD, **WHERE)
    assert not actor_for(operator).grants
    assert operator.organisation == registration.organisation


@pytest.mark.req("SEC-6", "SEC-8")
def test_who_appoints_approves_no_application_that_another_could(registration, secadmin, district):
    with pytest.raises(ValidationError, match="须由另一人审核，如.*区级演示账号"):
        actions.approve_registration(secadmin.actor, registration)
    assert not Operator.objects.filter(login_key="linshen").exists()
    assert LogEntry.objects.filter(act="授权", result="拒绝", resource="registrations").count() == 1
    Operator.objects.filter(pk=district.operator.pk).update(enabled=False)
    actions.approve_registration(secadmin.actor, registration)
    assert Operator.objects.filter(login_key="linshen").exists()


def test_an_application_is_decided_once(registration, district):
    actions.refuse_registration(district.actor, registration, opinion="不是本村居民")
    registration.refresh_from_db()
    assert (registration.state, registration.opinion) == ("未通过", "不是本村居民")
    with pytest.raises(ValidationError, match="不能再次审核"):
        actions.approve_registration(district.actor, registration)
    with pytest.raises(ValidationError):
        signing_in.sign_in("linshen", PASSWORD, **WHERE)


@pytest.mark.req("P-1.6")
def test_reviewers_see_the_applications_of_their_area(registration, district, secadmin, village):
    assert list(rows(district)) == [registration]
    assert list(rows(secadmin)) == [registration]
    assert not list(rows(village)), "an ordinary operator reviews no accounts"


def test_one_address_does_not_flood_the_list(registration, wish, django_capture_on_commit_callbacks):
    def allow(number):
        with django_capture_on_commit_callbacks(execute=True):
            set_parameter(platform_actor("测试"), parameters.REGISTRATIONS, str(number))

    allow(1)
    assert "请明天再试" in Client().post("/register/", wish).text
    allow(0)
    assert "不开放网上申请" in Client().get("/register/").text


@pytest.mark.req("P-6.4")
def test_the_home_page_of_the_reviewer_counts_what_waits_and_nothing_else(registration, district):
    def waits():
        return [(f.label, f.total.number) for f in district.client.get("/").context["waiting"]]

    assert ("待审核的注册申请", 1) in waits()
    actions.refuse_registration(district.actor, registration, opinion="不是本村居民")
    assert "待审核的注册申请" not in dict(waits())


@pytest.mark.req("SEC-1")
def test_the_password_ages_from_when_it_was_chosen(registration, district):
    chosen = timezone.now() - timedelta(days=91)
    Registration.objects.filter(pk=registration.pk).update(created_at=chosen)
    registration.refresh_from_db()
    actions.approve_registration(district.actor, registration)
    assert passwords.must_change(Operator.objects.get(login_key="linshen"))

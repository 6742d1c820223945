"""An instance for real people: three administrators, passwords told once, nothing of the demonstration."""

import re
import subprocess
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management import CommandError, call_command, get_commands

from jingwei import embedded, menu
from jingwei.base.models import LogEntry
from jingwei.cli import demo, demo_venues
from jingwei.directory import actions, rules, setup
from jingwei.directory.models import Appointment, Operator, Organisation, Region, Registration, Role
from jingwei.directory.passwords import must_change
from tests.instance import JINGWEI, new_instance
from tests.personas import Persona

REGIONS = [("88", "试验省"), ("8801", "试验市"), ("880101", "试验区")]
ADMINISTRATORS = {
    rules.SYSTEM: ("wang.li", "王立"),
    rules.SECURITY: ("chen.an", "陈安"),
    rules.AUDIT: ("sun.shen", "孙慎"),
}
COMMAND = [
    "setup",
    *(word for region in REGIONS for word in ("--region", *region)),
    *("--office", "试验区大数据中心", "--sysadmin", "wang.li", "王立"),
    *("--secadmin", "chen.an", "陈安", "--auditadmin", "sun.shen", "孙慎"),
]


@pytest.fixture
def nothing_yet(db):
    """Dictionaries and roles, as `jingwei migrate` leaves them."""
    Appointment.objects.all().delete()
    Operator.objects.all().delete()


@pytest.fixture
def made(nothing_yet):
    return {
        kind: operator
        for kind, (operator, _) in zip(
            ADMINISTRATORS, setup.set_up_for_real(REGIONS, "试验区大数据中心", ADMINISTRATORS), strict=True
        )
    }


@pytest.mark.xdist_group("up")
@pytest.mark.req("SEC-5", "SEC-6", "P-1.8", "P-10.1")
def test_one_command_makes_it_and_no_start_adds_a_demonstration():
    with new_instance(settings.JINGWEI_HOME) as instance:
        told = subprocess.run(
            [JINGWEI, *COMMAND], env=instance.environment, capture_output=True, text=True, timeout=300
        )
        assert told.returncode == 0, told.stderr
        passwords = dict(re.findall(r"登录名 (\S+)\t口令 (\S+)", told.stdout))
        assert set(passwords) == {"wang.li", "chen.an", "sun.shen"}
        lines = instance.start()
        assert not any("演示账号" in line for line in lines)
        assert instance.operators() == 3
        assert not (instance.home / "demo-logins.txt").exists()
        with psycopg.connect(embedded.url(instance.home / "pg")) as connection:
            assert connection.execute("SELECT count(*) FROM directory_region").fetchone() == (3,)
        for kept in (*instance.home.glob("*.log"), *instance.home.glob("logs/*")):
            assert not [password for password in passwords.values() if password in kept.read_text()]
        browser = build_opener(HTTPCookieProcessor(CookieJar()))
        page = browser.open(f"{instance.address}/sign-in/").read().decode()
        token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        given = {"csrfmiddlewaretoken": token, "login": "chen.an", "password": passwords["chen.an"]}
        answer = browser.open(f"{instance.address}/sign-in/", urlencode(given).encode())
        assert answer.url.endswith("/password/")


@pytest.mark.req("SEC-5", "SEC-6", "P-1.8")
def test_the_three_are_all_there_is_and_none_has_business_or_all_rights(made):
    assert set(Operator.objects.all()) == set(made.values())
    held = {kind: set(Persona(operator.login).actor.grants) for kind, operator in made.items()}
    for kind, permissions in held.items():
        assert permissions
        assert not [p for p in permissions if rules.is_business(p.partition(".")[0])], kind
        assert rules.administrator_kind(permissions) == kind
    everything = set(menu.permissions())
    assert not set.union(*held.values()) >= everything


@pytest.mark.req("SEC-1", "SEC-4", "SEC-5")
def test_each_has_to_change_the_password_and_then_to_set_up_the_second_factor(made):
    passwords = set()
    for operator in made.values():
        passwords.add(operator.password)
        assert must_change(operator)
        browser = Persona(operator.login).client
        assert browser.get("/").headers["Location"] == "/password/"
        Operator.objects.filter(pk=operator.pk).update(must_change_password=False)
        browser = Persona(operator.login).client
        assert browser.get("/").headers["Location"] == "/second-factor/"
    assert len(passwords) == 3


@pytest.mark.req("SEC-5", "SEC-8")
def test_the_log_knows_of_each_first_account_and_of_no_password(made):
    rows = LogEntry.objects.filter(act="新增", reason="初始化")
    assert {row.label for row in rows} == {str(operator) for operator in made.values()}
    assert {row.detail["角色"] for row in rows} == set(ADMINISTRATORS)


@pytest.mark.req("SEC-5", "P-10.1")
def test_nothing_of_the_demonstration_comes_later(made):
    regions = Region.objects.count()
    setup.ensure_base()
    with pytest.raises(setup.ValidationError, match="已经有账号"):
        setup.set_up_for_real(REGIONS, "中心", ADMINISTRATORS)
    with pytest.raises(CommandError, match="正式实例"):
        demo.ensure_demo(10)
    with pytest.raises(setup.ValidationError, match="正式实例"):
        demo_venues.ensure_venues(1)
    assert (Operator.objects.count(), Region.objects.count()) == (3, regions)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regions": [("88", "试验省"), ("880101", "试验区")]}, "没有代码为 8801 的上级区划"),
        ({"regions": [("8", "试验省")]}, "不是行政区划代码"),
        ({"office": ""}, "不能为空"),
        ({"administrators": ADMINISTRATORS | {rules.AUDIT: ("sun.shen", "王立")}}, "须是三个人"),
        ({"administrators": ADMINISTRATORS | {rules.AUDIT: ("WANG.li", "孙慎")}}, "登录名已被使用"),
    ],
    ids=["a gap", "no code", "no office", "one person twice", "one login twice"],
)
@pytest.mark.req("SEC-5")
def test_what_is_entered_wrongly_makes_nothing(nothing_yet, changes, said):
    given = {"regions": REGIONS, "office": "中心", "administrators": ADMINISTRATORS} | changes
    with pytest.raises(setup.ValidationError, match=said):
        setup.set_up_for_real(**given)
    assert not Operator.objects.exists()
    assert not Organisation.objects.filter(name="中心").exists()


@pytest.mark.req("SEC-5", "SEC-6")
def test_the_first_account_besides_them_is_asked_for_and_takes_two(made):
    secadmin = Persona("chen.an").actor
    asked = Registration.objects.create(
        name="赵一",
        login="zhao.yi",
        password=make_password("Good-Pass-2026"),
        phone="16000000001",
        organisation=Organisation.objects.get(name="试验区大数据中心"),
    )
    actions.approve_registration(secadmin, asked)
    manager = Operator.objects.get(login_key="zhao.yi")
    assert not Persona("zhao.yi").actor.grants
    values = {"operator": manager, "organisation": manager.organisation}
    values["roles"] = Role.objects.filter(name="区级管理员")
    actions.save_appointment(secadmin, Appointment(), values=values)
    assert Persona("zhao.yi").actor.may("people.view")


@pytest.mark.req("SEC-6")
def test_the_program_knows_no_superuser(db):
    assert not {"is_superuser", "is_staff", "user_permissions"} & {
        f.name for f in Operator._meta.get_fields()
    }
    assert "django.contrib.admin" not in settings.INSTALLED_APPS
    assert "createsuperuser" in get_commands()  # of Django's; it finds nothing to make
    with pytest.raises((CommandError, AttributeError)):
        call_command("createsuperuser", interactive=False, login_key="root", verbosity=0)
    assert not Operator.objects.filter(login_key="root").exists()

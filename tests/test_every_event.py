"""Each event of the catalogue gives exactly one row of the log, also when the act fails (SEC-8)."""

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.test import Client

from jingwei import menu
from jingwei.base import parameters
from jingwei.base.actions import set_parameter
from jingwei.base.events import CATALOGUE
from jingwei.base.loading import load
from jingwei.base.models import Job, LogEntry
from jingwei.base.saving import save_record
from jingwei.desk import jobs, tasks, unmasking
from jingwei.directory import parameters as signing_in
from jingwei.directory import passwords
from jingwei.directory.models import Appointment, Department, Role
from jingwei.people.samples import person

pytestmark = pytest.mark.django_db
RIGHT = "Jinwei-9999"
FROM = {"REMOTE_ADDR": "192.0.2.77", "HTTP_USER_AGENT": "Firefox 140"}


@pytest.fixture
def world(request, tmp_path):
    """The personas by name, each in a browser at one place, and a person of the village."""
    names = ["village", "district", "nobody", "sysadmin", "secadmin", "auditadmin"]
    personas = {name: request.getfixturevalue(name) for name in names}
    for persona in personas.values():
        persona.client = persona.browser(**FROM)
    world = type("World", (), personas | {"person": person(), "folder": tmp_path, "stranger": Client(**FROM)})
    yield world
    parameters.forget()


def sign_in(world, password):
    passwords.set_password(world.village.operator, RIGHT, must_change=False)
    world.stranger.post("/sign-in/", {"login": "village", "password": password})


def sign_in_until_locked(world):
    set_parameter(world.sysadmin.actor, signing_in.CAPTCHA, "20")
    set_parameter(world.sysadmin.actor, signing_in.ADDRESS_TRIES, "1000")
    for _ in range(5):
        sign_in(world, "wrong")


def change_password(world):
    world.village.client.post("/password/", {"old": "wrong", "new": "Jinwei-8888", "again": "Jinwei-8888"})


def appoint(world, operator):
    role = Role.objects.get(name="村社区操作员")
    values = {"operator": operator, "organisation": operator.organisation, "roles": [role]}
    return menu.resource("appointments").save(world.secadmin.actor, Appointment(), values=values)


def grant_to_oneself(world):
    """Refused by a rule that is asked when rows and their line in the log are written: all of it goes."""
    with pytest.raises(ValidationError, match="自己"):
        appoint(world, world.secadmin.operator)
    assert not Appointment.objects.filter(
        roles__name="村社区操作员", operator=world.secadmin.operator
    ).exists()


def look(world):
    return world.village.client.get(f"/people/{world.person.pk}/")


def unmask(world):
    world.village.client.post(f"/people/{world.person.pk}/unmask/", {"reason": "核对名单"})


def unmask_too_often(world):
    set_parameter(world.sysadmin.actor, unmasking.PER_HOUR, "1")
    unmask(world)
    unmask(world)


def export(world, who="village", **wish):
    return world.__dict__[who].client.post("/people/export/", {"format": "csv", "rows": "page", **wish})


def run_job(world, kind, arguments, work=None):
    job = jobs.start(world.village.actor, kind, "任务", arguments)
    jobs.run({kind: work or tasks.KINDS[kind].work}, job.pk)
    assert Job.objects.get(pk=job.pk).state == Job.FAILED


def export_in_a_job_without_the_right(world):
    wish = {"keys": [], "format": "csv", "everything": False, "clear": True, "reason": ""}
    run_job(world, "export", {"resource": "people", "wish": wish})


def fail(actor, job, report):
    raise RuntimeError


def come_in(world, text, **choices):
    path = world.folder / "regions.csv"
    path.write_text(text, encoding="utf-8")
    return load(world.sysadmin.actor, menu.sheets()["regions"], path, **choices)


def come_in_wrong(world):
    come_in(world, "代码,名称\n990101099,新乡\n123,短码\n", bad="stop")


def delete(world):
    values = {"organisation": world.sysadmin.operator.organisation, "name": "样例科"}
    row = menu.resource("departments").save(world.sysadmin.actor, Department(), values=values)
    return world.sysadmin.client.post(f"/departments/{row.pk}/delete/")


def ask_who_looked(world):
    asked = {"doc_type": world.person.doc_type, "number": world.person.number.clear(), "reason": "投诉"}
    world.auditadmin.client.post("/who-looked/", asked)


# Name: (what happens, act, result, how many rows others of its acts leave).
EVENTS = {
    "a sign-in": (lambda w: sign_in(w, RIGHT), "登录", "成功", 0),
    "a wrong password": (lambda w: sign_in(w, "wrong"), "登录", "拒绝", 0),
    "a lock": (sign_in_until_locked, "锁定", "成功", 7),
    "a sign-out": (lambda w: w.village.client.post("/sign-out/"), "退出", "成功", 0),
    "a wrong old password": (change_password, "改密", "拒绝", 0),
    "a grant": (lambda w: appoint(w, w.nobody.operator), "新增", "成功", 0),
    "a refused grant": (grant_to_oneself, "授权", "拒绝", 0),
    "a parameter": (
        lambda w: w.sysadmin.client.post("/parameters/", {"name": "signin.idle", "value": "20"}),
        *("参数修改", "成功", 0),
    ),
    "a look": (look, "查看", "成功", 0),
    "clear values": (unmask, "查看明文", "成功", 0),
    "clear values too often": (unmask_too_often, "查看明文", "拒绝", 2),
    "an export": (export, "导出", "成功", 0),
    "an export without the right": (lambda w: export(w, "nobody"), "访问", "拒绝", 0),
    "an export that fails in its job": (export_in_a_job_without_the_right, "任务失败", "失败", 0),
    "a print": (lambda w: w.village.client.post("/people/printed/"), "打印", "成功", 0),
    "an import": (lambda w: come_in(w, "代码,名称\n990101099,新乡\n"), "导入", "成功", 1),
    "an import of wrong rows": (come_in_wrong, "导入", "失败", 0),
    "a deletion": (delete, "删除", "成功", 1),
    "a page without the right": (lambda w: w.nobody.client.get("/people/"), "访问", "拒绝", 0),
    "a verb without the right": (lambda w: w.village.client.post("/operators/do/reset/"), "访问", "拒绝", 0),
    "a job that fails": (lambda w: run_job(w, "failing", {}, fail), "任务失败", "失败", 0),
    "the question who looked": (ask_who_looked, "查询谁看过", "成功", 0),
}


@pytest.mark.req("SEC-8", "P-3.1")
@pytest.mark.parametrize("name", EVENTS)
def test_an_event_gives_exactly_one_row(world, name):
    happen, act, result, others = EVENTS[name]
    newest = LogEntry.objects.order_by("pk").last()
    happen(world)
    rows = LogEntry.objects.filter(pk__gt=newest.pk if newest else 0)
    [row] = rows.filter(act=act, result=result)
    assert rows.count() == 1 + others
    assert act in CATALOGUE
    assert row.at.tzinfo is not None
    assert row.operator and row.actor and row.login and row.organisation, "who, in which office then"
    assert row.address in (FROM["REMOTE_ADDR"], "192.0.2.1") and row.device and row.request_id
    assert row.resource and (row.reason or result == "成功")


@pytest.mark.req("SEC-8", "SEC-10")
def test_a_refusal_outlives_the_transaction_that_it_ends(world, monkeypatch):
    resource = menu.resource("departments")

    def refused(actor, row, **asked):
        with transaction.atomic():
            save_record(actor, row, resource="departments", **asked)
            raise PermissionDenied("只能由上级办理")

    monkeypatch.setattr(resource, "save", refused)
    values = {"organisation": world.sysadmin.operator.organisation_id, "name": "样例科", "order": "0"}
    newest = LogEntry.objects.order_by("pk").last().pk
    assert world.sysadmin.client.post("/departments/new/", values).status_code == 403
    assert not Department.objects.filter(name="样例科").exists()
    [row] = LogEntry.objects.filter(pk__gt=newest)
    assert (row.act, row.result, row.reason) == ("访问", "拒绝", "只能由上级办理")

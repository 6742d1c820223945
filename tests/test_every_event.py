"""Each event of the catalogue gives exactly one row of the log, also when the act fails (SEC-8).

Every act of `base/events.py` is provoked here by the face that people and machines use, once for each end
that it may have. Who lists a new one there and does not provoke it here fails the first test.
"""

import base64
import inspect
import io
import shutil
import time
from argparse import Namespace
from datetime import date, timedelta
from pathlib import Path

import pyotp
import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from PIL import Image

from jingwei import embedded, menu
from jingwei.base import chain, crypto, parameters
from jingwei.base.access import platform_actor
from jingwei.base.actions import set_parameter
from jingwei.base.events import CATALOGUE, DONE, FAILED, REFUSED
from jingwei.base.loading import load
from jingwei.base.models import Job, LogDrop, LogEntry, StoredFile
from jingwei.base.saving import save_record
from jingwei.cli import backup, integrity, rotate_keys, verify_log
from jingwei.desk import attachments, files, imports, jobs, tasks, unmasking
from jingwei.directory import bindings, captchas, factors, oa_actions, passwords, turns
from jingwei.directory import parameters as signing_in
from jingwei.directory import samples as directory
from jingwei.directory.hashers import PBKDF2SM3PasswordHasher
from jingwei.directory.models import (
    Appointment,
    Department,
    Guard,
    OaSource,
    Operator,
    Organisation,
    Provider,
    Region,
    RegionChange,
    Role,
    Session,
)
from jingwei.directory.tests.test_oa import SECRET, OaStandIn, clerk, office
from jingwei.exchange import samples as exchange
from jingwei.exchange.actions import set_password
from jingwei.exchange.models import FrontFeed
from jingwei.exchange.pulling import pull
from jingwei.exchange.tests.databases import Door
from jingwei.messages import samples as messages
from jingwei.messages.delivery import deliver, take_in
from jingwei.messages.gateways import Reply
from jingwei.messages.gateways.outbox import OutboxGateway
from jingwei.messages.models import SmsBatch, SmsMessage, SmsTemplate
from jingwei.oversight import forgetting
from jingwei.people import samples as people
from jingwei.people.duplicates import find
from jingwei.people.models import (
    DayCount,
    DuplicatePair,
    EmergencyAccess,
    Merge,
    TallyChange,
    Unregistered,
)
from jingwei.people.sheets import RosterSheet
from jingwei.people.statistics import RECOUNT, refresh
from jingwei.places import samples as places
from jingwei.places.models import VenueDay, VenueThreshold
from jingwei.running import integrity as digests
from jingwei.scans import samples as scans
from jingwei.scans.actions import NIGHT, recount, tell_regulators
from jingwei.scans.evaluation import evaluate, reevaluate
from jingwei.scans.models import Alert
from jingwei.testing.queries import RECOUNT as RECOUNT_DAYS
from tests.personas import Persona

pytestmark = pytest.mark.django_db
RIGHT = "Jinwei-9999"
FROM = {"REMOTE_ADDR": "192.0.2.77", "HTTP_USER_AGENT": "Firefox 140"}
ELSEWHERE = "990101001002"
TODAY = date(2026, 11, 20)
COMMAND = platform_actor("命令行")

PROVOKED = []
# To restore takes an empty cluster; there it is proved, and both ends are written by one line.
PROVED_ELSEWHERE = {
    ("恢复备份", end): ("tests/test_backup.py", "test_a_backup_of_a_busy_instance_comes_back_whole_elsewhere")
    for end in (DONE, FAILED)
}


def gives(act, result=DONE, *, by="", besides=()):
    """What is decorated provokes one row of the act with this result.

    It may prepare the scene and then `yield`: only what comes after is looked at. `by`: "platform" for what
    nobody does, "stranger" for who is not signed in, "crowd" for many of them. `besides` are other acts that
    leave a row each.
    """

    def note(provoke):
        PROVOKED.append((act, result, by, tuple(besides), provoke))
        return provoke

    return note


class World:
    """Everybody in a browser at one place, and what they do all the time."""

    def __init__(self, folder):
        self.folder, self.known, self.stranger, self.door = folder, {}, Client(**FROM), None

    def __getattr__(self, login):
        if login.startswith("_"):
            raise AttributeError(login)
        if login not in self.known:
            self.known[login] = Persona(login)
            self.known[login].client = self.known[login].browser(**FROM)
        return self.known[login]

    def do(self, who, resource, verb, row, **form):
        """A verb on one row, by its page."""
        asked = {"pk": row.pk, "confirm": "1", **form}
        answer = getattr(self, who).client.post(f"/{resource}/do/{verb}/", asked)
        assert answer.status_code in (200, 302), answer.status_code
        return answer

    def work(self, kind=None):
        """The waiting jobs, or a new one of the timetable's kind."""
        if kind:
            tasks.run_scheduled(0, kind=kind)
        for job in Job.objects.filter(state=Job.WAITING):
            jobs.run({name: known.work for name, known in tasks.KINDS.items()}, job.pk)

    def password(self):
        """The clerk's, known from now on."""
        passwords.set_password(self.village.operator, RIGHT, must_change=False)
        return RIGHT


@pytest.fixture
def world(db, tmp_path, settings, monkeypatch):
    monkeypatch.setattr(PBKDF2SM3PasswordHasher, "iterations", 1000)
    settings.JINGWEI_HOME = tmp_path
    settings.JINGWEI_STORAGE = str(tmp_path / "attachments")
    Path(settings.JINGWEI_STORAGE).mkdir()
    world = World(tmp_path)
    world.monkeypatch, world.settings = monkeypatch, settings
    yield world
    parameters.forget()


# --- signing in -------------------------------------------------------------------------------------------


def sign_in(w, password, **more):
    return w.stranger.post("/sign-in/", {"login": "village", "password": password, **more})


@gives("登录")
def _(w):
    password = w.password()
    yield
    sign_in(w, password)


@gives("登录", REFUSED)
def _(w):
    w.password()
    yield
    sign_in(w, "wrong")


@gives("锁定", besides=[("登录", REFUSED)])
def _(w):
    w.password()
    set_parameter(w.sysadmin.actor, signing_in.CAPTCHA, "20")
    set_parameter(w.sysadmin.actor, signing_in.ADDRESS_TRIES, "1000")
    for _ in range(4):
        sign_in(w, "wrong")
    yield
    sign_in(w, "wrong")


@gives("退出")
def _(w):
    w.village.client.post("/sign-out/")


@gives("解锁")
def _(w):
    guard = Guard.objects.create(key="name village", locked_until=timezone.now() + timedelta(hours=1))
    yield
    w.do("secadmin", "locks", "unlock", guard)


@gives("改密", REFUSED)
def _(w):
    w.village.client.post("/password/", {"old": "wrong", "new": "Jinwei-8888", "again": "Jinwei-8888"})


@gives("改密")
def _(w):
    old = w.password()
    w.village.client.force_login(w.village.operator)
    yield
    w.village.client.post("/password/", {"old": old, "new": "Jinwei-8888", "again": "Jinwei-8888"})


@gives("重置口令")
def _(w):
    w.do("secadmin", "operators", "reset", w.village.operator)


def device(w):
    """The clerk's second factor, with codes of later and later."""
    factor = factors.set_up(w.village.operator)
    return pyotp.TOTP(factor.secret.clear())


def confirmed(w):
    totp = device(w)
    codes = factors.confirm(w.village.actor, w.village.operator, totp.now())
    w.village.client.force_login(Operator.objects.get(pk=w.village.operator.pk))
    return codes


def factor(w, action, code):
    return w.village.client.post("/second-factor/", {"do": action, "code": code})


@gives("启用双因素")
def _(w):
    totp = device(w)
    yield
    factor(w, "confirm", totp.now())


@gives("启用双因素", REFUSED)
def _(w):
    w.village.client.post("/second-factor/", {"do": "set-up", "password": "Not-mine-1"})


@gives("核对动态口令", REFUSED)
def _(w):
    confirmed(w)
    yield
    factor(w, "renew", "000000")


@gives("更换恢复码")
def _(w):
    codes = confirmed(w)
    yield
    factor(w, "renew", codes[0])


@gives("停用双因素")
def _(w):
    codes = confirmed(w)
    yield
    factor(w, "off", codes[0])


@gives("重置双因素")
def _(w):
    confirmed(w)
    yield
    w.do("secadmin", "operators", "reset-factor", w.village.operator, reason="手机丢失，已当面核实")


def wechat():
    return Provider.objects.create(
        name="示例公众号",
        kind=Provider.WECHAT,
        issuer="http://127.0.0.1:9",
        client="wx1",
        secret="s",
        enabled=True,
    )


@gives("绑定微信", REFUSED)
def _(w):
    way = wechat()
    yield
    w.village.client.post(f"/account/wechat/{way.pk}/", {"password": "wrong"})


@gives("绑定微信")
def _(w):
    """The way to WeChat and back has its own tests; this is what stands at its end."""
    bindings.bind(w.village.actor, w.village.operator, wechat(), "oWX-1")


@gives("解除绑定微信")
def _(w):
    way = wechat()
    bindings.bind(w.village.actor, w.village.operator, way, "oWX-1")
    yield
    w.village.client.post(f"/account/wechat/{way.pk}/unbind/")


@gives("强制退出")
def _(w):
    w.village.client.get("/")
    session = Session.objects.filter(operator=w.village.operator).first()
    yield
    w.do("secadmin", "sessions", "end", session, reason="离开岗位未退出")


@gives("结束登录")
def _(w):
    other = w.village.browser()
    other.get("/")
    yield
    w.village.client.post("/account/", {})


@gives("切换任职")
def _(w):
    mine = Appointment.objects.filter(operator=w.village.operator).first()
    yield
    w.village.client.post("/appointment/", {"appointment": mine.pk})


@gives("续期")
def _(w):
    Operator.objects.filter(pk=w.village.operator.pk).update(ends_on=timezone.localdate())
    yield
    w.do("secadmin", "operators", "renew", w.village.operator, reason="年度复核，仍在岗")


def application(w):
    token = captchas.question().token
    [answer] = crypto.provider().decrypt(captchas._SEALING, [base64.urlsafe_b64decode(token)])
    wish = {"kind": "普通用户", "name": "林申请", "login": "LinShen", "phone": "13800000009"}
    wish |= {"organisation": w.village.operator.organisation_id, "password": "Rice-field 2026"}
    wish |= {"again": "Rice-field 2026", "captcha_token": token, "captcha": answer.split(" ")[0]}
    w.stranger.post("/register/", wish)


@gives("申请账号", by="stranger")
def _(w):
    application(w)


@gives("审核通过", besides=[("新增", DONE)])
def _(w):
    row = directory.registration()
    yield
    w.do("district", "registrations", "approve", row, login="linshen")


@gives("审核不通过")
def _(w):
    row = directory.registration()
    yield
    w.do("secadmin", "registrations", "refuse", row, opinion="不是本单位人员")


# --- rights and pages -------------------------------------------------------------------------------------


def appoint(w, operator):
    role = Role.objects.get(name="村社区操作员")
    values = {"operator": operator, "organisation": operator.organisation, "roles": [role]}
    return menu.resource("appointments").save(w.secadmin.actor, Appointment(), values=values)


@gives("授权", REFUSED)
def _(w):
    """Refused by a rule that is asked when rows and their line in the log are written: all of it goes."""
    with pytest.raises(ValidationError, match="自己"):
        appoint(w, w.secadmin.operator)
    assert not Appointment.objects.filter(roles__name="村社区操作员", operator=w.secadmin.operator).exists()


@gives("结束任职", by="platform", besides=[("修改", DONE)])
def _(w):
    """Who is moved in the OA loses the appointments in the unit they leave."""
    with OaStandIn() as oa:
        oa.organisations, oa.people = [office("A"), office("B")], [clerk("1", "A")]
        where = {"address": oa.address, "root": Organisation.objects.get(parent=None)}
        OaSource.objects.create(pk=1, account="jingwei", secret=SECRET, enabled=True, **where)
        oa_actions.synchronise(lambda done, total: None, full=True)
        operator = Operator.objects.get(external_id="1")
        held = directory.appointment()
        Appointment.objects.filter(pk=held.pk).update(operator=operator, organisation=operator.organisation)
        oa.people = [clerk("1", "B")]
        yield
        oa_actions.synchronise(lambda done, total: None, full=True)


@gives("登录限流", REFUSED, by="crowd")
def _(w):
    """Told by the minute, behind the first request of the next one."""
    for _ in range(turns.AT_ONCE):
        assert turns._room.acquire(blocking=False)
    try:
        assert sign_in(w, "wrong").status_code == 429
    finally:
        for _ in range(turns.AT_ONCE):
            turns._room.release()
    now = time.time
    w.monkeypatch.setattr(turns.time, "time", lambda: now() + 61)
    yield
    w.stranger.get("/sign-in/")


@gives("菜单设置")
def _(w):
    lines = {}
    for system in menu.SYSTEMS:
        for entry in system.entries:
            lines |= {f"{entry.name}-label": "", f"{entry.name}-group": "", f"{entry.name}-order": ""}
    w.sysadmin.client.post("/menus/", lines | {"people-label": "居民"})


@gives("访问", REFUSED)
def _(w):
    w.nobody.client.get("/people/")


@gives("访问", REFUSED)
def _(w):
    w.village.client.post("/operators/do/reset/")


@gives("访问", REFUSED)
def _(w):
    """An export without the right."""
    w.nobody.client.post("/people/export/", {"format": "csv", "rows": "page"})


# --- looks ------------------------------------------------------------------------------------------------


@gives("查看")
def _(w):
    person = people.person()
    yield
    w.village.client.get(f"/people/{person.pk}/")


@gives("查看明文")
def _(w):
    person = people.person()
    yield
    w.village.client.post(f"/people/{person.pk}/unmask/", {"reason": "核对名单"})


@gives("查看明文", REFUSED)
def _(w):
    person = people.person()
    set_parameter(w.sysadmin.actor, unmasking.PER_HOUR, "1")
    w.village.client.post(f"/people/{person.pk}/unmask/", {"reason": "核对名单"})
    yield
    w.village.client.post(f"/people/{person.pk}/unmask/", {"reason": "核对名单"})


@gives("查询谁看过")
def _(w):
    asked = {"doc_type": "111", "number": people.person().number.clear(), "reason": "投诉"}
    yield
    w.auditadmin.client.post("/who-looked/", asked)


def emergency(w, number=None):
    asked = {
        "doc_type": "111",
        "number": number or people.person().number.clear(),
        "reason": "120 急救，联系家属",
    }
    return lambda: w.emergency.client.post("/emergency/", asked)


@gives("申请紧急查看")
def _(w):
    ask = emergency(w)
    yield
    ask()


@gives("申请紧急查看", FAILED)
def _(w):
    emergency(w, people.number("19700101"))()


@gives("申请紧急查看", REFUSED)
def _(w):
    from jingwei.people.emergency import PER_DAY

    set_parameter(w.sysadmin.actor, PER_DAY, "1")
    emergency(w)()
    ask = emergency(w)
    yield
    ask()


def opened(w):
    emergency(w)()
    return EmergencyAccess.objects.latest("pk")


@gives("紧急查看")
def _(w):
    access = opened(w)
    yield
    w.emergency.client.get(f"/emergency/{access.pk}/")


@gives("结束紧急查看")
def _(w):
    access = opened(w)
    yield
    w.emergency.client.post(f"/emergency/{access.pk}/end/")


@gives("知悉紧急查看")
def _(w):
    access = opened(w)
    yield
    w.do("village", "emergency-notices", "acknowledge", access)


@gives("复核紧急查看")
def _(w):
    access = opened(w)
    yield
    w.do("secadmin", "emergency-reviews", "object", access, opinion="与急救无关")


def trace(w, number, since="2026-10-31"):
    asked = {
        "number": number,
        "since": since,
        "until": "2026-11-01",
        "minutes": "10",
        "second_ring": "1",
        "reason": "流调核查",
    }
    w.venueops.client.post("/contact-searches/new/", asked)


@gives("查找接触者")
def _(w):
    scan = scans.scan()
    yield
    trace(w, scan.number.clear())


@gives("查找接触者", REFUSED)
def _(w):
    trace(w, scans.scan().number.clear(), since="2026-11-02")


@gives("导出")
def _(w):
    w.village.client.post("/people/export/", {"format": "csv", "rows": "page"})


@gives("下载")
def _(w):
    with files.create(w.village.operator.pk, "表.csv") as file:
        file.write(b"a")
    yield
    assert b"".join(w.village.client.get(f"/files/{StoredFile.objects.latest('created_at').pk}/")) == b"a"


def picture():
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    return content.getvalue()


def attached(w):
    person = people.person()
    address = f"/people/{person.pk}/attachments/"
    attachments.attach(w.village.actor, menu.resource("people"), person, name="照片.png", data=picture())
    return person, f"{address}{person.attachments.get().pk}/"


@gives("下载", FAILED)
def _(w):
    person, address = attached(w)
    for path in Path(settings.JINGWEI_STORAGE).rglob("*"):
        if path.is_file():
            path.write_bytes(b"broken")
    yield
    assert w.village.client.get(address).status_code == 503


@gives("打印")
def _(w):
    w.village.client.post("/people/printed/")


@gives("打印海报")
def _(w):
    venue = places.venue()
    yield
    w.do("venueops", "venues", "poster", venue)


# --- records ----------------------------------------------------------------------------------------------


def department(w):
    values = {"organisation": w.sysadmin.operator.organisation, "name": "样例科"}
    return menu.resource("departments").save(w.sysadmin.actor, Department(), values=values)


@gives("新增")
def _(w):
    values = {"organisation": w.sysadmin.operator.organisation_id, "name": "样例科", "order": "0"}
    w.sysadmin.client.post("/departments/new/", values)


@gives("新增", REFUSED)
def _(w):
    """A request to be deleted that may not be made is kept; other forms that are wrong do nothing."""
    person = people.person(region="990101002001")
    yield
    wish = {"number": person.number.clear(), "reason": "本人书面申请"}
    w.village.client.post("/erasure-requests/new/", wish)


@gives("修改")
def _(w):
    row = department(w)
    values = {"organisation": row.organisation_id, "name": "新名科", "order": "0", "version": row.version}
    yield
    w.sysadmin.client.post(f"/departments/{row.pk}/edit/", values)


@gives("参数修改")
def _(w):
    w.sysadmin.client.post("/parameters/", {"name": "signin.idle", "value": "20"})


@gives("删除")
def _(w):
    row = department(w)
    yield
    w.sysadmin.client.post(f"/departments/{row.pk}/delete/")


def upload(w, content):
    person = people.person()
    sent = {"file": SimpleUploadedFile("照片.png", content)}
    return lambda: w.village.client.post(f"/people/{person.pk}/attachments/", sent)


@gives("上传附件")
def _(w):
    send = upload(w, picture())
    yield
    send()


@gives("上传附件", REFUSED)
def _(w):
    send = upload(w, b"\x7fELF" + bytes(60))
    yield
    send()


@gives("修改附件说明")
def _(w):
    _, address = attached(w)
    yield
    w.village.client.post(f"{address}caption/", {"caption": "整改后"})


@gives("删除附件")
def _(w):
    _, address = attached(w)
    yield
    w.village.client.post(f"{address}delete/")


@gives("批量删除", by="")
def _(w):
    scans.scan()
    asked = {
        "by": "collected_at",
        "first": "2020-01-01T00:00:00",
        "last": "2099-01-01T00:00:00",
        "typed": "1",
    }
    yield
    w.venueops.client.post("/scan-erasure/", asked)
    w.work()


@gives("到期清理", by="platform")
def _(w):
    row = directory.sign_in()
    type(row).objects.filter(pk=row.pk).update(at=timezone.now() - timedelta(days=9_000))
    yield
    w.work("erase-expired")


def erasure(w):
    person = people.person()
    w.village.client.post(
        "/erasure-requests/new/", {"number": person.number.clear(), "reason": "本人书面申请"}
    )
    return forgetting.ErasureRequest.objects.latest("pk")


@gives("确认删除个人信息")
def _(w):
    request = erasure(w)
    yield
    w.do("district", "erasure-requests", "confirm", request)


@gives("撤回删除申请")
def _(w):
    request = erasure(w)
    yield
    w.do("district", "erasure-requests", "withdraw", request, reason="本人撤回")


@gives("删除个人信息")
def _(w):
    request = erasure(w)
    w.do("district", "erasure-requests", "confirm", request)
    yield
    w.work()


@gives("启用")
def _(w):
    Operator.objects.filter(pk=w.village.operator.pk).update(enabled=False)
    yield
    w.do("secadmin", "operators", "enable", w.village.operator)


@gives("停用")
def _(w):
    w.do("secadmin", "operators", "disable", w.village.operator, reason="离岗")


@gives("归档")
def _(w):
    venue = places.venue()
    yield
    w.do("venueops", "venues", "archive", venue, reason="关闭")


@gives("恢复")
def _(w):
    venue = places.venue()
    w.do("venueops", "venues", "archive", venue, reason="关闭")
    yield
    w.do("venueops", "venues", "restore", venue, reason="重新开张")


def come_in(w, text, **choices):
    path = w.folder / "regions.csv"
    path.write_text(text, encoding="utf-8")
    return load(w.sysadmin.actor, menu.sheets()["regions"], path, **choices)


@gives("导入", besides=[("新增", DONE)])
def _(w):
    come_in(w, "代码,名称\n990101099,新乡\n")


@gives("导入", FAILED)
def _(w):
    come_in(w, "代码,名称\n990101099,新乡\n123,短码\n", bad="stop")


def taken(w):
    path = w.folder / "人员.csv"
    path.write_text(f"村/社区,姓名,证件号,居住地\n上埔社区,陈新,{people.number('19700101')},1号\n")
    done = load(w.village.actor, RosterSheet(), path)
    w.village.client.post(f"/people/import/{done.pk}/undo/", {"typed": imports.UNDO_WORD})


@gives("撤销导入")
def _(w):
    taken(w)
    yield
    w.work()


@gives("撤销导入", FAILED)
def _(w):
    def cancelled(self, done, total):
        raise jobs.Cancelled

    taken(w)
    w.monkeypatch.setattr(jobs.Run, "report", cancelled)
    yield
    w.work()


@gives("迁移")
def _(w):
    person = people.person()
    yield
    w.do("village", "people", "transfer", person, to_region=ELSEWHERE, reason="购房")


@gives("登记", besides=[("新增", DONE)])
def _(w):
    entry = people.unregistered()
    yield
    w.do("village", "unregistered", "register", entry, region=people.VILLAGE, address="1号")


@gives("登记接种")
def _(w):
    person = people.person()
    yield
    w.do("village", "people", "vaccinate", person, dose="1", on="2021-05-01", unit="某卫生院")


@gives("忽略")
def _(w):
    entry = people.unregistered()
    yield
    w.do("village", "unregistered", "dismiss", entry, reason="外地游客")


@gives("重新处理")
def _(w):
    entry = people.unregistered()
    Unregistered.objects.filter(pk=entry.pk).update(state=Unregistered.DISMISSED)
    yield
    w.do("village", "unregistered", "reopen", entry)


def twins():
    phone = {"phone": "16000000010"}
    one = people.person(name="陈双", number=people.number("19800101", 100), **phone)
    two = people.person(name="陈双", number=people.number("19800101", 999), **phone)
    find()
    return DuplicatePair.objects.get(first=one, second=two)


def merge(w, pair):
    asked = {"keep": pair.first_id, "merge": "1", "record": [pair.first_id, pair.second_id]}
    asked |= {"version": [pair.first.version, pair.second.version]}
    return w.village.client.post(f"/duplicates/{pair.pk}/", asked)


@gives("合并", besides=[("并入", DONE)])
@gives("并入", besides=[("合并", DONE)])
def _(w):
    pair = twins()
    yield
    merge(w, pair)


@gives("撤销合并", besides=[("撤销合并", DONE)])
def _(w):
    """One row on the page of each of the two people."""
    merge(w, twins())
    yield
    w.do("village", "merges", "undo", Merge.objects.get(), reason="误判")


@gives("判为非同一人")
def _(w):
    pair = twins()
    yield
    w.do("village", "duplicates", "dismiss", pair)


@gives("重新核对")
def _(w):
    pair = twins()
    w.do("village", "duplicates", "dismiss", pair)
    yield
    w.do("village", "duplicates", "reopen", pair)


@gives("标注位置")
def _(w):
    where = {"longitude": "119.1", "latitude": "25.9", "system": "WGS-84"}
    w.do("sysadmin", "regions", "locate", Region.objects.get(code=people.VILLAGE), **where)


@gives("设置边界")
def _(w):
    ring = "[[119,25],[119.1,25],[119.1,25.1],[119,25]]"
    outline = {"boundary": f'{{"type":"Polygon","coordinates":[{ring}]}}', "system": "WGS-84"}
    w.do("sysadmin", "regions", "outline", Region.objects.get(code=people.VILLAGE), **outline)


@gives("变更代码")
def _(w):
    row = Region.objects.get(code=people.VILLAGE)
    w.do("sysadmin", "regions", "move", row, code=f"{people.VILLAGE[:-3]}888", reason="区划调整")
    assert RegionChange.objects.filter(old=people.VILLAGE).exists()


# --- scans and venues -------------------------------------------------------------------------------------


@gives("接收预警")
def _(w):
    alert = scans.alert()
    yield
    w.do("regulator", "alerts", "receive", alert)


def alerts(received):
    """An alert of seven thin days, one of which turns out to be a full one."""
    start, place = date(2026, 9, 1), places.venue()
    VenueThreshold.objects.create(venue=place, from_day=start, low=4)
    for number in range(7):
        VenueDay.objects.create(venue_code=place.code, day=start + timedelta(days=number), count=1)
    evaluate(NIGHT, start + timedelta(days=6))
    if received:
        Alert.objects.filter(venue=place).update(received_at=timezone.now(), receiver="样例")
    VenueDay.objects.filter(venue_code=place.code, day=start + timedelta(days=3)).update(count=9)


@gives("撤回预警", by="platform")
def _(w):
    alerts(received=False)
    yield
    reevaluate(NIGHT)


@gives("标记预警", by="platform")
def _(w):
    alerts(received=True)
    yield
    reevaluate(NIGHT)


@gives("更正日扫码量", by="platform")
def _(w):
    scan = scans.scan()
    VenueDay.objects.filter(venue_code=scan.venue_code).update(count=9)
    yield
    assert recount(NIGHT) == 1


@gives("核对统计数字", FAILED, by="platform", besides=[("任务失败", FAILED)])
def _(w):
    refresh()
    people.person()
    TallyChange.objects.all().delete()  # what the tallies will never hear of
    yield
    w.work(RECOUNT)


@gives("核对每日趋势", FAILED, by="platform", besides=[("任务失败", FAILED)])
def _(w):
    people.dose()
    DayCount.objects.create(kind="doses", day=TODAY, number=3, region=people.VILLAGE)
    yield
    w.work(RECOUNT_DAYS)


# --- short messages ---------------------------------------------------------------------------------------


@gives("发送短信")
def _(w):
    template = SmsTemplate.objects.create(name="通知", text="请到社区采样。")
    yield
    w.village.client.post("/sms-send/", {"template": template.pk, "numbers": "16000000001", "send": "1"})


@gives("发送短信", FAILED, by="platform")
def _(w):
    scans.alert(venue=places.venue(regulator_phone="059512345678"))
    yield
    tell_regulators(NIGHT, TODAY)


@gives("发送短信", REFUSED, by="platform")
def _(w):
    """What was to follow an answer does not fit any more."""
    sent = messages.message()
    following = SmsTemplate.objects.create(name="续发", text="{没有的参数}")
    SmsTemplate.objects.filter(pk=sent.template_id).update(next=following)
    deliver(OutboxGateway())
    yield
    take_in("outbox", Reply("样例", "16000000001", "收到", uid=sent.uid.hex))


@gives("群发短信")
def _(w):
    template = SmsTemplate.objects.create(name="通知", text="请到社区采样。")
    yield
    wish = {"template": template.pk, "numbers": "16000000021\n16000000022", "send": "1"}
    w.village.client.post("/sms-send/", wish)


def held():
    batch = messages.batch()
    SmsBatch.objects.filter(pk=batch.pk).update(state=SmsBatch.HELD, created_by=0)
    batch.messages.update(state=SmsMessage.HELD)
    return batch


@gives("放行短信群发")
def _(w):
    batch = held()
    yield
    w.do("district", "sms-batches", "release", batch)


@gives("取消短信群发")
def _(w):
    batch = held()
    yield
    w.do("district", "sms-batches", "cancel", batch)


@gives("取消短信")
def _(w):
    message = messages.message()
    yield
    w.do("district", "sms-messages", "cancel", message)


def message(state):
    made = messages.message()
    SmsMessage.objects.filter(pk=made.pk).update(state=state)
    return made


@gives("重发短信")
def _(w):
    failed = message(SmsMessage.FAILED)
    yield
    w.do("district", "sms-messages", "resend", failed)


@gives("核实短信")
def _(w):
    unsure = message(SmsMessage.UNSURE)
    yield
    w.do("district", "sms-messages", "settle", unsure, arrived="yes")


@gives("模拟短信回执")
def _(w):
    sent = messages.message()
    deliver(OutboxGateway())
    yield
    w.village.client.post(f"/sms-outbox/{sent.pk}/event/", {"event": "delivered"})


# --- systems ----------------------------------------------------------------------------------------------


@gives("设置口令")
def _(w):
    source = exchange.source()
    yield
    w.do("sysadmin", "front-sources", "password", source, password="geheim-1")


@gives("清除口令", besides=[("修改", DONE)])
def _(w):
    source = exchange.source()
    set_password(w.sysadmin.actor, source, password="geheim-1")
    source.refresh_from_db()
    values = {name: getattr(source, name) for name in menu.resource("front-sources").fields}
    yield
    w.sysadmin.client.post(
        f"/front-sources/{source.pk}/edit/", values | {"port": "10", "version": source.version}
    )


@gives("更换密钥")
def _(w):
    way = wechat()
    yield
    w.do("secadmin", "providers", "secret", way, secret="geheim-2")


def front(w, **values):
    """The test's own server as the front database of somebody else."""
    door = Door(embedded.socket_folder(settings.EMBEDDED_SERVER) / ".s.PGSQL.5432")
    w.door = door
    own = {"database": connection.settings_dict["NAME"], "user": "jingwei"}
    source = exchange.source(port=door.port, **own)
    set_password(w.sysadmin.actor, source, password="geheim-1")
    columns = {"venue_code": "venue_code", "collected_at": "collected_at"}
    made = {"sheet": "scans", "table": "scans_scan", "mark": "imported_at", "columns": columns}
    return FrontFeed.objects.create(source=source, **made | values)


@gives("试连")
def _(w):
    feed = front(w)
    yield
    w.sysadmin.client.post(f"/front-sources/{feed.source_id}/try/")


@gives("试连", FAILED)
def _(w):
    source = exchange.source()
    set_password(w.sysadmin.actor, source, password="geheim-1")
    yield
    w.sysadmin.client.post(f"/front-sources/{source.pk}/try/")


@gives("试连", FAILED)
def _(w):
    root = Organisation.objects.get(parent=None)
    OaSource.objects.create(
        pk=1, address="http://127.0.0.1:9", account="a", secret="s", root=root, enabled=True
    )
    yield
    w.sysadmin.client.post("/oa/try/")


@gives("启用取数")
def _(w):
    feed = front(w)
    yield
    w.do("venueops", "front-feeds", "switch-on", feed)


@gives("停用取数")
def _(w):
    feed = exchange.feed(enabled=True)
    yield
    w.do("venueops", "front-feeds", "switch-off", feed)


@gives("立即取数")
def _(w):
    feed = exchange.feed(enabled=True)
    yield
    w.do("venueops", "front-feeds", "pull", feed)


@gives("重取")
def _(w):
    feed = exchange.feed()
    yield
    w.do("venueops", "front-feeds", "start-over", feed, mark="")


@gives("取数中断", FAILED, by="platform")
def _(w):
    feed = exchange.feed(enabled=True)
    yield
    with pytest.raises(ValidationError):
        pull(feed)


@gives("取数恢复", by="platform")
def _(w):
    feed = front(w, enabled=True, error="断了", failing_since=timezone.now())
    yield
    pull(feed)


def ring(w):
    """Keys of the test's own."""
    for name in ("JINGWEI_KEYS", "JINGWEI_MASTER_KEY_FILE"):
        setattr(w.settings, name, Path(shutil.copy(getattr(settings, name), w.folder / name)))


def rotate(**asked):
    return rotate_keys.run(Namespace(**{"status": False, "retire": None, "master": False} | asked))


@gives("密钥轮换", by="platform")
def _(w):
    ring(w)
    yield
    rotate(master=True)


@gives("密钥停用", REFUSED, by="platform")
def _(w):
    ring(w)
    yield
    with pytest.raises(ValidationError, match="当前密钥"):
        rotate(retire="k1")


@gives("密钥停用", by="platform")
def _(w):
    ring(w)
    rotate()
    yield
    rotate(retire="k1")


@gives("密码自检")
def _(w):
    w.secadmin.client.post("/cryptography/test/")


@gives("密码自检", FAILED)
def _(w):
    def fail():
        raise crypto.SelfTestFailed("SM4")

    w.monkeypatch.setattr(crypto, "self_test", fail)
    w.secadmin.client.post("/cryptography/test/")


def failing(w, kind="export"):
    wish = {"keys": [], "format": "csv", "everything": False, "clear": True, "reason": ""}
    return jobs.start(w.village.actor, kind, "任务", {"resource": "people", "wish": wish})


@gives("任务失败", FAILED)
def _(w):
    """An export whose right was taken meanwhile."""
    failing(w)
    yield
    w.work()


@gives("任务失败", FAILED)
def _(w):
    """A mistake of ours."""
    job = failing(w)
    yield
    jobs.run({"export": lambda actor, job, report: 1 / 0}, job.pk)


@gives("备份", by="platform")
def _(w):
    backup.run(Namespace(folder=w.folder / "backups", keys=None, keep=None))


def listed(w):
    (w.folder / "program").mkdir()
    (w.folder / "program" / "a.py").write_text("1")
    w.settings.PACKAGE, w.settings.STATIC_ROOT = w.folder / "program", w.folder / "program"


@gives("文件登记", by="platform")
def _(w):
    listed(w)
    integrity.run(Namespace(make=True))


@gives("文件校验", FAILED, by="platform")
def _(w):
    listed(w)
    digests.make()
    (w.folder / "program" / "a.py").write_text("2")
    yield
    assert integrity.run(Namespace(make=False)) == 1


@gives("取消任务")
def _(w):
    job = failing(w)
    yield
    w.village.client.post(f"/jobs/{job.pk}/cancel/")


@gives("重试任务")
def _(w):
    job = failing(w)
    w.work()
    yield
    w.village.client.post(f"/jobs/{job.pk}/retry/")


@gives("立即运行")
def _(w):
    w.sysadmin.client.post(f"/jobs-of-all/run/{RECOUNT}/")


@gives("处理告警")
def _(w):
    alarm = directory.alarm()
    yield
    w.do("auditadmin", "alarms", "handle", alarm, note="已核实")


@gives("校验日志", by="platform")
def _(w):
    verify_log.run(Namespace(json=False))


@gives("校验日志", FAILED, by="platform")
def _(w):
    LogDrop.objects.create(upto=0, at=timezone.now(), digest=b"forged")
    yield
    assert verify_log.run(Namespace(json=False)) == 1


@gives("清理日志", by="platform")
def _(w):
    gone = iter([3, 0])
    w.monkeypatch.setattr(chain, "drop_old", lambda: next(gone))
    yield
    w.work("drop-log")


# --- the proof --------------------------------------------------------------------------------------------


def name_of(provoked):
    act, result, *_ = provoked
    return f"{act}-{result}"


@pytest.mark.req("SEC-8")
def test_every_event_of_the_catalogue_is_provoked_with_each_of_its_ends():
    provoked = {(act, result) for act, result, *_ in PROVOKED}
    listed = {(event.act, result) for event in CATALOGUE.values() for result in event.ends}
    assert listed - provoked - PROVED_ELSEWHERE.keys() == set(), "not provoked"
    assert provoked - listed == set(), "not in the catalogue"
    for (act, _), (path, test) in PROVED_ELSEWHERE.items():
        text = Path(path).read_text().partition(f"def {test}(")[2].partition("\ndef ")[0]
        assert f"act = '{act}'" in text


@pytest.mark.req("SEC-8", "P-3.1")
@pytest.mark.parametrize("provoked", PROVOKED, ids=name_of)
def test_an_event_gives_exactly_one_row_that_says_all(world, provoked):
    act, result, by, besides, provoke = provoked
    steps = provoke(world) if inspect.isgeneratorfunction(provoke) else None
    if steps:
        next(steps)
    newest = LogEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    try:
        if steps:
            next(steps, None)
        else:
            provoke(world)
    finally:
        if world.door:
            world.door.shutdown()
            world.door.server_close()
    rows = list(LogEntry.objects.filter(pk__gt=newest).order_by("pk"))
    expected = sorted([(act, result), *besides])
    assert sorted((row.act, row.result) for row in rows) == expected
    row = next(row for row in rows if (row.act, row.result) == (act, result))
    assert row.at.tzinfo is not None and abs(timezone.now() - row.at) < timedelta(minutes=5)
    assert (row.resource or row.label) and row.digest
    assert row.reason or not (CATALOGUE[act].reasoned or result != DONE)
    if by == "platform":
        assert row.actor
    else:
        assert row.address in (FROM["REMOTE_ADDR"], "192.0.2.1")
    if by in ("", "stranger"):
        assert row.device and row.request_id
    if not by:
        assert row.actor and row.operator and row.login and row.organisation, "who, in which office then"


@pytest.mark.req("SEC-8")
def test_a_verb_on_many_rows_gives_one_row_for_all_of_them_and_one_for_each(world):
    row = department(world)
    other = menu.resource("departments").save(
        world.sysadmin.actor, Department(), values={"organisation": row.organisation, "name": "另一科"}
    )
    newest = LogEntry.objects.latest("pk").pk
    asked = {"pk": [row.pk, other.pk], "confirm": "1", "typed": "2"}
    world.sysadmin.client.post("/departments/do/delete/", asked)
    acts = LogEntry.objects.filter(pk__gt=newest).values_list("act", flat=True)
    assert sorted(acts) == ["删除", "删除", "批量删除"]


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

"""First set-up of an instance: dictionaries, regions, organisations, roles, demonstration logins (P-10.1).

Every function fills only what is empty, so that nothing an administrator has changed is ever touched again.
"""

import csv
import os
from collections import Counter
from dataclasses import dataclass
from functools import partial
from importlib import resources

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from jingwei.base import audit, codes
from jingwei.base.access import platform_actor
from jingwei.base.models import Code, ParameterValue
from jingwei.directory import rules
from jingwei.directory.models import (
    Appointment,
    Department,
    KnownPermission,
    Operator,
    Organisation,
    Post,
    Region,
    RetiredLogin,
    Role,
    login_key,
)
from jingwei.directory.outlines import outlines
from jingwei.directory.passwords import random_password
from jingwei.kit import idcard

SETUP = platform_actor("系统初始化")


def ensure_base():
    """Everything an instance needs before the first person: dictionaries to demonstration logins.

    One that was set up for real people gets nothing of the demonstration district.
    """
    ensure_dictionaries()
    if is_for_real():
        ensure_roles()
        return
    ensure_regions()
    ensure_outlines()
    ensure_organisations()
    ensure_roles()
    ensure_personas()


FOR_REAL = "instance.for_real"  # the parameter row of an instance that was set up for real people


def is_for_real() -> bool:
    """Whether the instance was set up for real people: it never has a demonstration login (SEC-5)."""
    return ParameterValue.objects.filter(name=FOR_REAL).exists()


@transaction.atomic
def set_up_for_real(regions, office, administrators) -> list[tuple[Operator, str]]:
    """The first accounts of an instance for real people: the three administrators, with one-time passwords.

    `regions` are (code, name) from the province down to the one served, `office` is the name of the
    organisation there that keeps the accounts, `administrators` {kind: (login, name)}. Nobody has a password
    that somebody chose, the right to business, or a way in without a second factor (P-1.8, SEC-4 to SEC-6).
    ValidationError where accounts exist already or something is entered wrongly.
    """
    if Operator.objects.exists():
        raise ValidationError("这个实例已经有账号，不能再次初始化")
    if len({name for _, name in administrators.values()}) < len(administrators):
        raise ValidationError("三员分立：三个管理员须是三个人")
    for code, name in regions:
        region = Region(code=code, name=name)
        region.full_clean()
        region.save(force_insert=True)
    organisation = Organisation(name=office, region_id=regions[-1][0])
    organisation.full_clean()
    organisation.save(force_insert=True)
    Role.objects.filter(name__in=administrators).update(second_factor=True)
    made = []
    for kind, (login, name) in administrators.items():
        operator, password = Operator(login=login, name=name, organisation=organisation), random_password()
        operator.set_password(password)
        operator.password_at = timezone.now()
        operator.full_clean()
        operator.save(force_insert=True)
        appointment = Appointment.objects.create(operator=operator, organisation=organisation)
        appointment.roles.set(Role.objects.filter(name=kind))
        audit.record(SETUP, "新增", operator, resource="operators", reason="初始化", 角色=kind)
        made.append((operator, password))
    ParameterValue.objects.create(name=FOR_REAL, value="是")
    return made


def _table(name):
    with (
        resources.files("jingwei.directory").joinpath("data", name).open(encoding="utf-8", newline="") as file
    ):
        return list(csv.DictReader(file))


def ensure_dictionaries():
    """The dictionaries shipped, each filled while empty (P-6.1; GB/T 2261.1, GB/T 3304, GA/T 517)."""
    filled = set(Code.objects.values_list("kind", flat=True).distinct())
    words = [
        row | {"synonyms": row["synonyms"].split(), "flag": row["flag"] == "是"}
        for row in _table("codes.csv")
    ]
    words += [
        {"kind": "证件类型", "value": value, "label": label, "synonyms": idcard.SYNONYMS[value]}
        for value, label in idcard.DOC_TYPES.items()
    ]
    places = Counter()
    for word in words:
        places[word["kind"]] += 10
        word["order"] = places[word["kind"]]
    Code.objects.bulk_create(Code(**word) for word in words if word["kind"] not in filled)
    codes.forget()


def ensure_regions():
    """The region tree of the demonstration district, if there is no region yet (P-1.1)."""
    if not Region.objects.exists():
        Region.objects.bulk_create(
            Region(code=row["code"], name=row["name"], parent_id=row["parent"] or None)
            for row in _table("regions.csv")
        )


def ensure_outlines():
    """Invented boundaries and centres for the regions of the demonstration district, if none has one yet."""
    if Region.objects.filter(boundary__isnull=False).exists():
        return
    regions = list(Region.objects.filter(pk__in=[row["code"] for row in _table("regions.csv")]))
    invented = outlines(region.code for region in regions) if regions else {}
    for region in regions:
        region.boundary, (region.longitude, region.latitude) = invented[region.code]
    Region.objects.bulk_update(regions, ["boundary", "longitude", "latitude"])


# Offices of the district besides the district itself: name and short name, departments with their posts.
OFFICES = {
    ("区大数据服务中心", "大数据中心"): {"系统运维科": ["系统管理员"], "安全管理科": ["安全管理员"]},
    ("区审计局", "审计局"): {"信息审计科": ["审计管理员"]},
    ("区市场监督管理局", "市场监管局"): {"食品流通科": ["科长", "监管员"]},
    ("区商务局", "商务局"): {"市场运行科": ["科长", "监管员"]},
    ("区卫生健康局", "卫健局"): {"疾控科": ["科长", "监管员"], "基层卫生科": ["科长", "科员"]},
    ("区文化体育和旅游局", "文旅局"): {"市场管理科": ["科长", "监管员"]},
    ("区教育局", "教育局"): {"安全稳定科": ["科长", "监管员"]},
    ("场所码运维中心", "场所码运维"): {"运行部": ["主管", "运维员"]},
}
DISTRICT_POSTS = {"综合协调组": ["组长", "联络员"], "数据专班": ["组长", "数据员"]}
TOWN_POSTS = {"防控办公室": ["主任", "数据员"]}
VILLAGE_POSTS = {"综合服务站": ["站长", "网格员"]}


@transaction.atomic
def ensure_organisations():
    """One organisation per district, township and village of the tree, and each district's offices."""
    if Organisation.objects.exists():
        return
    tree = list(Region.objects.order_by("code"))
    district_of, town_of = {}, {}
    for region in [region for region in tree if region.level == "区县"]:
        district_of[region.code] = _add(
            None, region, f"{region.name}疫情防控指挥部", region.name, nature="1", kind="1"
        )
        _staff(district_of[region.code], DISTRICT_POSTS)
        for (name, short), departments in OFFICES.items():
            _staff(_add(district_of[region.code], region, name, short, nature="1", kind="1"), departments)
    for region in [region for region in tree if region.level == "街道乡镇"]:
        street = region.name.endswith("街道")
        name = region.name + ("办事处" if street else "人民政府")
        town = _add(
            district_of[region.parent_id], region, name, region.name, nature="1", kind="4" if street else "3"
        )
        town_of[region.code] = town
    _staff(next(iter(town_of.values())), TOWN_POSTS)
    villages = []
    for region in [region for region in tree if region.level == "社区村"]:
        community = region.name.endswith("社区")
        name = region.name + ("居民委员会" if community else "村民委员会")
        villages.append(
            Organisation(
                parent=town_of[region.parent_id],
                region=region,
                name=name.replace("村村民", "村民"),
                short_name=region.name,
                nature="4",
                kind="2" if community else "3",
            )
        )
    Organisation.objects.bulk_create(villages)
    for village in villages:
        village.path = village.own_path()
    Organisation.objects.bulk_update(villages, ["path"])
    _staff(villages[0], VILLAGE_POSTS)


def _add(parent, region, name, short_name, **values):
    return Organisation.objects.create(
        parent=parent, region=region, name=name, short_name=short_name, **values
    )


def _staff(organisation, departments):
    for department, posts in departments.items():
        made = Department.objects.create(organisation=organisation, name=department)
        Post.objects.bulk_create(Post(department=made, name=post, order=i) for i, post in enumerate(posts))


@dataclass(frozen=True)
class ShippedRole:
    """A role as installed: `holds(resource or page, action)` says which permissions it begins with."""

    name: str
    reach: str
    holds: object
    note: str


# What of the short messages is everybody's work. Their templates are the manager's, and so is the release of
# a group sending: whoever releases is a second person, who answers for more than who sends (P-7.4).
SENDS = {
    "sms-send": {"send"},
    "sms-templates": {"view"},
    "sms-messages": {"view", "resend", "settle", "cancel"},
    "sms-batches": {"view", "cancel"},
    "sms-replies": {"view"},
    "sms-outbox": {"view"},
}


# Anybody takes in a request to delete somebody's data; the manager decides on it (SEC-17).
TAKES_IN = {"erasure-requests": {"view", "add"}}


def _operator(resource, action):
    if resource in SENDS | TAKES_IN:
        return action in (SENDS | TAKES_IN)[resource]
    if resource == LOOKS:
        return False
    return _is_everyones(resource) or (resource in rules.LOOK_UP and action == "view")


def _manager(resource, action):
    return _is_everyones(resource) or action in rules.ORDINARY.get(resource, ())


# Public places are the operating unit's and the regulators' alone (KP-1.5, KP-2.2, KP-3.4).
# What regulators may:
REGULATES = {
    "thresholds": {"view", "change", "export", "attach"},
    "threshold-history": {"view", "export"},
    "scan-query": {"view", "export"},
    "scan-statistics": {"view", "export"},
    "alerts": {"view", "export", "receive", "attach"},
    "withdrawn-alerts": {"view", "export"},
    "contact-searches": {"view", "add", "delete", "export"},
    "contacts": {"view", "export"},
    "unusual-days": {"view", "export"},
    "suggested-thresholds": {"view", "export", "adopt"},
    "venue-map": {"view"},
}
SUPERVISION = {"venues", "scans", "front-feeds", *REGULATES}
# Thresholds are the regulator's to set, alerts the regulator's to receive.
REGULATORS_ALONE = {("thresholds", "change"), ("suggested-thresholds", "adopt"), ("alerts", "receive")}


# Who looked at whom is the manager's to know.
LOOKS = "looks"
# Looking beyond one's own territory is granted to single people, by a role of its own (P-1.9).
EMERGENCY = "emergency"


def _is_everyones(resource):
    return rules.is_business(resource) and resource not in {*SUPERVISION, EMERGENCY}


def _emergency(resource, action):
    return resource == EMERGENCY


def _reader(resource, action):
    return action in ("view", "statistics") and resource not in SENDS and _operator(resource, action)


def _own_office(resource, action):
    return (resource, action) == ("organisations", "view")


def _operates(resource, action):
    mine = resource in SUPERVISION and (resource, action) not in REGULATORS_ALONE
    return mine or _own_office(resource, action)


def _regulates(resource, action):
    return action in REGULATES.get(resource, ()) or _own_office(resource, action)


SHIPPED_ROLES = [
    ShippedRole("区级管理员", Role.REGION, _manager, "全区业务数据，维护本区部门、职务和账号资料"),
    ShippedRole("区级操作员", Role.REGION, _operator, "全区业务数据的查询、录入、导入、导出"),
    ShippedRole("乡镇街道操作员", Role.REGION, _operator, "本乡镇街道业务数据的查询、录入、导入、导出"),
    ShippedRole("村社区操作员", Role.REGION, _operator, "本村社区业务数据的查询、录入、导入、导出"),
    ShippedRole("领导查阅", Role.REGION, _reader, "只看不改：列表和统计，证件号、电话脱敏"),
    ShippedRole("场所运维", Role.EVERYTHING, _operates, "场所码运维单位：全部场所、扫码记录、统计和预警"),
    ShippedRole("场所监管", Role.BELOW, _regulates, "公共场所监管单位：本单位监管的场所，设阈值、收预警"),
    ShippedRole("紧急查看", Role.OWN, _emergency, "紧急时凭证件号和事由查看范围外一人的记录，加授给个人"),
    *(
        ShippedRole(
            kind,
            Role.EVERYTHING,
            partial(rules.administrator_holds, kind),
            f"三员分立：{note}，看不到业务数据",
        )
        for kind, note in [
            (rules.SYSTEM, "机构、区划、字典、参数、菜单、任务"),
            (rules.SECURITY, "账号、任职、角色与授权"),
            (rules.AUDIT, "操作日志与登录日志"),
        ]
    ),
]


@transaction.atomic
def ensure_roles():
    """The shipped roles. A permission the platform has gained since is offered to them once."""
    from jingwei import menu  # it imports every package's faces

    known = set(KnownPermission.objects.values_list("name", flat=True))
    gained = [permission for permission in menu.permissions() if permission not in known]
    roles = {role.name: role for role in Role.objects.select_for_update()}
    for shipped in SHIPPED_ROLES:
        role = roles.get(shipped.name)
        if role is None and any(shipped.holds(*permission.split(".")) for permission in known):
            continue  # deleted or renamed by an administrator
        role = role or Role(name=shipped.name, reach=shipped.reach, note=shipped.note)
        offered = [p for p in gained if p not in role.permissions and shipped.holds(*p.split("."))]
        if offered or role.pk is None:
            try:
                role.administrator = rules.administrator_kind([*role.permissions, *offered])
            except ValidationError:
                continue  # an administrator has made something else of the role
            role.permissions = [*role.permissions, *offered]
            role.version += 1
            role.save()
    KnownPermission.objects.bulk_create(KnownPermission(name=permission) for permission in gained)


@dataclass(frozen=True)
class Persona:
    """A demonstration login in the organisation `office`, with a shipped role or none."""

    login: str
    name: str
    role: str
    office: str  # its name, or "<level> <place>" for that of a region, counted by code
    use: str
    use_english: str


PERSONAS = [Persona(**row) for row in _table("personas.csv")]


def _office(named):
    """The organisation a persona works for, None if there is none such."""
    level, _, place = named.partition(" ")
    if not place:
        return Organisation.objects.filter(name=named).order_by("pk").first()
    of_level = [
        region for region in Region.objects.defer("boundary").order_by("code") if region.level == level
    ]
    return Organisation.objects.filter(region__in=of_level[int(place) - 1 :][:1]).order_by("pk").first()


@transaction.atomic
def ensure_personas():
    """The demonstration logins with random passwords, told once in `demo-logins.txt` (mode 0600)."""
    names = [persona.login for persona in PERSONAS]
    there = set(Operator.objects.filter(login_key__in=names).values_list("login_key", flat=True))
    there |= set(RetiredLogin.objects.filter(login_key__in=names).values_list("login_key", flat=True))
    made = []
    for persona in PERSONAS:
        office = _office(persona.office)
        if persona.login in there or office is None:
            continue
        password = random_password()
        operator = Operator(
            login=persona.login,
            login_key=login_key(persona.login),
            name=persona.name,
            organisation=office,
            must_change_password=False,  # an account for demonstrations, its password told in the file
            password_at=timezone.now(),
        )
        operator.set_password(password)
        operator.save()
        if persona.role:
            appointment = Appointment.objects.create(operator=operator, organisation=office)
            appointment.roles.set(Role.objects.filter(name=persona.role))
        audit.record(SETUP, "新增", operator, resource="operators", reason="演示账号", 角色=persona.role)
        made.append((persona, password))
    if made:
        _tell_logins(made)


def _tell_logins(made):
    """Add the new logins to the file, before the transaction ends: no account without a known password."""
    path = settings.JINGWEI_HOME / "demo-logins.txt"
    lines = ["# 演示账号，口令由首次启动时随机生成 · Demonstration logins, passwords made at first start\n"]
    lines += ["# 登录名 login\t口令 password\t姓名 name\t用途 what for\n"]
    lines += [
        f"{persona.login}\t{password}\t{persona.name}\t{persona.use} · {persona.use_english}\n"
        for persona, password in made
    ]
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as file:
        file.writelines(lines)

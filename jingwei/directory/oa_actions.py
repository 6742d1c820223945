"""Organisations and people from the OA (KP-8.3): what would change, changing it, whose fields are whose.

The OA owns a linked row's name and place in the tree, or name, telephone and organisation. It can stop a row
and never start one again, gives nobody a role, and leaves the accounts of the three administrators alone
(SEC-6). A row that cannot be taken is reported, and the rest goes on.
"""

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import polars as pl
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.access import platform_actor
from jingwei.base.fields import bulk_reveal
from jingwei.base.parameters import Parameter
from jingwei.base.saving import save_record
from jingwei.directory import oa
from jingwei.directory.models import (
    Appointment,
    OaSource,
    Operator,
    Organisation,
    Region,
    RetiredLogin,
    Role,
    login_key,
)
from jingwei.kit.phone import clean_phones

SHRINK = Parameter(
    "oa.shrink",
    "OA 同步允许减少的比例",
    30,
    "一次同步要停用的组织或人员超过这个比例时整次不采用",
    "%",
    low=1,
    high=100,
)
PARAMETERS = [SHRINK]

OA = platform_actor("OA 同步")
ADD, CHANGE, STOP = "新增", "修改", "停用"
KINDS = {"organisations": "组织", "operators": "人员"}
OWNED = {Organisation: ("name", "short_name", "parent"), Operator: ("name", "phone", "organisation")}
OVERLAP = timedelta(minutes=10)  # what the OA wrote while it answered is asked for again
DEEPEST = 20  # levels; the path of the tree holds not many more
REPORTED = 200  # rows kept of a report
TRY_SECONDS, SYNC_SECONDS = 25, 1800
LOCK = 0x4F41  # of the synchronisation that runs


@dataclass
class Change:
    """One row to write: `found` is ours, None for a new one; `said` the OA's, None for one that is gone."""

    kind: str
    act: str
    id: str
    label: str
    found: Any = None
    said: Any = None
    words: str = ""  # what changes, for the preview


@dataclass
class Plan:
    """What a synchronisation will do, in an order that can be done; (kind, id, reason) of the rest."""

    changes: list[Change] = field(default_factory=list)
    refused: list[tuple[str, str, str]] = field(default_factory=list)

    def counts(self) -> dict[str, dict[str, int]]:
        """{kind: {act: number}}."""
        found = {kind: dict.fromkeys((ADD, CHANGE, STOP), 0) for kind in KINDS}
        for change in self.changes:
            found[change.kind][change.act] += 1
        return found


# --- whose fields -----------------------------------------------------------------------------------------


def source() -> OaSource:
    """The settings of the OA, as they are or as they begin."""
    return OaSource.objects.select_related("root").filter(pk=1).first() or OaSource(pk=1)


def is_on() -> bool:
    """Whether rows come from the OA."""
    return source().enabled


def owned(row) -> dict[str, str]:
    """{field: why it is not changed by hand} of an organisation or an account."""
    if row.pk is None or not row.external_id or not is_on():
        return {}
    return dict.fromkeys(OWNED[type(row)], "由 OA 同步，请在 OA 中修改；清空“外部编号”即与 OA 脱离")


def keep_to_owned(row, values):
    """Refuse `values` that change by hand what the OA owns of a stored row."""
    errors = {}
    for name, reason in owned(row).items():
        attribute = row._meta.get_field(name).attname
        stored = Operator if isinstance(row, Operator) else Organisation
        now = getattr(stored.objects.get(pk=row.pk), attribute)
        if attribute in values and (values[attribute] or "") != (now or ""):
            errors[name] = reason
    if errors:
        raise ValidationError(errors)


# --- what would change ------------------------------------------------------------------------------------


def ask(settings: OaSource, *, full: bool, seconds: float) -> tuple[oa.Answer, oa.Answer]:
    """What the OA says: everything, or what has changed since it was asked last."""
    if not (settings.address and settings.secret and settings.root):
        raise ValidationError("请先填写并保存接口地址、密钥和挂接单位")
    since = None if full or settings.answered_at is None else settings.answered_at - OVERLAP
    client = oa.Oa(settings.address, settings.account, settings.secret.clear(), seconds=seconds)
    return client.organisations(since), client.people(since)


def compare(settings: OaSource, organisations: oa.Answer, people: oa.Answer, *, full: bool) -> Plan:
    """What the answers change here. ValidationError if it is more than the OA may stop at once."""
    plan = Plan()
    offices = _linked(Organisation.objects.select_related("parent", "region"))
    accounts = _linked(Operator.objects.select_related("organisation"))
    for kind, known, answer in (
        ("organisations", offices, organisations),
        ("operators", accounts, people),
    ):
        plan.refused += [(kind, *pair) for pair in answer.refused]
        _keep_most(kind, known, answer, full)
    administrators = set(Operator.objects.filter(_administers()).values_list("pk", flat=True))
    _compare_organisations(plan, settings, organisations, offices)
    will_be = {change.id for change in plan.changes} | set(offices)
    _compare_people(plan, people, accounts, will_be, administrators)
    homes = Operator.objects.filter(pk__in=administrators)
    kept = set(homes.values_list("organisation", flat=True)) | {settings.root_id}
    kept |= set(Appointment.objects.filter(operator__in=homes).values_list("organisation", flat=True))
    for kind, known, answer, spared, why in (
        ("operators", accounts, people, administrators, "这是管理员的账号，由安全管理员停用"),
        ("organisations", offices, organisations, kept, "这是挂接单位或管理员所在的单位，不随 OA 停用"),
    ):
        for row in _gone(known, answer, full):
            if row.pk in spared:
                plan.refused.append((kind, row.external_id, why))
            else:
                plan.changes.append(Change(kind, STOP, row.external_id, str(row), row, None))
    return plan


def _administers():
    return Q(appointments__roles__in=Role.objects.exclude(administrator=""))


def _linked(rows):
    return {row.external_id: row for row in rows.exclude(external_id="")}


def _gone(known, answer, full):
    """Rows in use here that the OA has no more, or no longer in use."""
    for pk, row in known.items():
        said = answer.rows.get(pk)
        if row.enabled and ((full and pk not in answer.ids) or (said and not said.active)):
            yield row


def _keep_most(kind, known, answer, full):
    in_use = sum(row.enabled for row in known.values())
    gone = len(list(_gone(known, answer, full)))
    if gone * 100 > in_use * SHRINK.value() or (full and in_use and not answer.ids):
        raise ValidationError(
            f"OA 的应答会使{KINDS[kind]}由 {in_use} 个减少到 {in_use - gone} 个，"
            f"超过允许的 {SHRINK.value()}%，没有采用，什么都没有改。请先核对 OA；确实减少了这么多时，"
            f"调高系统参数“{SHRINK.label}”后再同步"
        )


def _compare_organisations(plan, settings, answer, known):
    regions = set(Region.objects.values_list("code", flat=True))
    ready, waiting = set(known) - set(answer.rows), dict(answer.rows)
    depth = 0
    while waiting:
        # Level by level, so that each finds its parent.
        level = [said for said in waiting.values() if not said.parent or said.parent in ready]
        if not level or depth == DEEPEST:
            break
        depth += 1
        for said in level:
            del waiting[said.id]
            found = known.get(said.id)
            if found is None and not said.active:
                continue
            if found is None and said.region and said.region not in regions:
                plan.refused.append(("organisations", said.id, f"没有代码为 {said.region} 的行政区划"))
                continue
            ready.add(said.id)
            _compare(plan, "organisations", said, found, _of_organisation(settings, said, found))
    for said in waiting.values():
        plan.refused.append(("organisations", said.id, _why_left(said, waiting, ready)))


def _why_left(said, waiting, ready):
    """Why no place was found for an organisation."""
    passed = set()
    while said.parent in waiting and said.id not in passed:
        passed.add(said.id)
        said = waiting[said.parent]
    if said.id in passed:
        return "上级绕成了圈，没有采用"
    return f"超过 {DEEPEST} 级，没有采用" if said.parent in ready else f"上级 {said.parent} 不存在或没有采用"


def _of_organisation(settings, said, found):
    """[(field, ours, the OA's)]; the organisation that the OA's tree hangs on stays where it is."""
    if found is None:
        return []
    if said.parent:
        stays = found.parent is not None and found.parent.external_id == said.parent
    else:
        stays = found.parent_id == settings.root_id
    return [
        ("name", found.name, said.name),
        ("short_name", found.short_name, said.short_name),
        ("parent", stays or found.pk == settings.root_id, True),
    ]


def _compare_people(plan, answer, known, organisations, administrators):
    rows = list(answer.rows.values())
    phones = clean_phones(pl.Series([said.phone or None for said in rows], dtype=pl.String))
    bulk_reveal(known.values(), ["phone"])
    keys = Counter(login_key(said.login) for said in rows if said.id not in known and said.active)
    taken = set(Operator.objects.filter(login_key__in=keys).values_list("login_key", flat=True))
    taken |= set(RetiredLogin.objects.filter(login_key__in=keys).values_list("login_key", flat=True))
    for said, phone, wrong in zip(rows, phones.values, phones.errors, strict=True):
        found, key = known.get(said.id), login_key(said.login)
        if not said.active:
            continue
        if wrong:
            reason = f"电话：{wrong}"
        elif said.organisation not in organisations:
            reason = f"单位 {said.organisation or '（空）'} 不存在或没有采用"
        elif found is None and not key:
            reason = "没有登录名"
        elif found is None and keys[key] > 1:
            reason = f"登录名 {said.login} 在 OA 中不止一人使用"
        elif found is None and key in taken:
            reason = f"登录名 {said.login} 已被使用或曾被使用；是同一人时，请在其账号上填写外部编号"
        else:
            said = oa.OaPerson(said.id, said.login, said.name, phone or "", said.organisation, True)
            differs = _of_person(said, found)
            if found and found.pk in administrators and any(old != new for _, old, new in differs):
                reason = "这是管理员的账号，由安全管理员维护，没有改动"
            else:
                _compare(plan, "operators", said, found, differs)
                continue
        plan.refused.append(("operators", said.id, reason))


def _of_person(said, found):
    if found is None:
        return []
    phone = found.phone.clear() if found.phone else ""
    return [
        ("name", found.name, said.name),
        ("phone", phone, said.phone),
        ("organisation", found.organisation.external_id, said.organisation),
    ]


def _compare(plan, kind, said, found, differs):
    """Plan one row; one that is stopped here while the OA uses it is for an administrator to decide."""
    if found is None:
        plan.changes.append(Change(kind, ADD, said.id, said.name, None, said))
        return
    changed = [name for name, old, new in differs if old != new]
    if changed:
        words = "、".join(str(found._meta.get_field(name).verbose_name) for name in changed)
        plan.changes.append(Change(kind, CHANGE, said.id, str(found), found, said, words))
    if said.active and not found.enabled:
        plan.refused.append((kind, said.id, "在 OA 中在用，在本平台已停用；要恢复使用，请管理员在本平台启用"))


# --- changing it ------------------------------------------------------------------------------------------


def synchronise(report, *, full: bool) -> Plan:
    """Bring the directory in line with the OA; the plan with what was refused on the way.

    Each row is a transaction of its own, and doing it again changes nothing: a run that was cut off is
    completed by the next. `report(done, total)` as of a job.
    """
    settings = source()
    full = full or settings.answered_at is None
    try:
        with _no_other():
            organisations, people = ask(settings, full=full, seconds=SYNC_SECONDS)
            plan = compare(settings, organisations, people, full=full)
            done = _carry_out(plan, settings, report)
    except ValidationError as refusal:
        _remember(settings, {"full": full, "error": "；".join(refusal.messages)})
        raise
    plan.changes = done
    told = {"counts": plan.counts(), "refused": plan.refused[:REPORTED], "refusals": len(plan.refused)}
    _remember(settings, {"full": full} | told, answered_at=min(organisations.at, people.at))
    return plan


@contextmanager
def _no_other():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            raise ValidationError("另一次同步正在进行，请等它结束")
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _remember(settings, outcome, **values):
    outcome |= {"at": timezone.now().isoformat()}
    OaSource.objects.filter(pk=settings.pk).update(report=outcome, **values)


def _carry_out(plan, settings, report) -> list[Change]:
    """Write the changes; those that were written. What was refused only for another's sake is tried again."""
    offices = {row.external_id: row for row in Organisation.objects.exclude(external_id="")}
    total, done, waiting, refusals = len(plan.changes), [], plan.changes, {}
    while waiting:
        left = []
        for change in waiting:
            report(len(done), total)
            try:
                _write(change, settings, offices)
                done.append(change)
            except ValidationError as refusal:
                left.append(change)
                refusals[change.kind, change.id] = "；".join(refusal.messages)
        if len(left) == len(waiting):
            break
        waiting = left
    written = {(change.kind, change.id, change.act) for change in done}
    plan.refused += [
        (change.kind, change.id, refusals[change.kind, change.id])
        for change in plan.changes
        if (change.kind, change.id, change.act) not in written
    ]
    return done


def _write(change, settings, offices):
    said, row = change.said, change.found
    if row:  # as it stands now: its place in the tree may have moved with another's
        row = type(row).objects.get(pk=row.pk)
    if change.act == STOP:
        save_record(
            OA, row, resource=change.kind, values={"enabled": False}, act=STOP, reason="OA 中已停用或没有"
        )
        return
    if change.kind == "organisations":
        row = row or Organisation(external_id=said.id, region_id=said.region)
        values = {"name": said.name, "short_name": said.short_name}
        if row.pk != settings.root_id:
            values["parent"] = _office(offices, said.parent) if said.parent else settings.root
            row.region_id = row.region_id or values["parent"].region_id
        offices[said.id] = save_record(OA, row, resource=change.kind, values=values, reason="OA 同步")
        return
    values = {"name": said.name, "phone": said.phone, "organisation": _office(offices, said.organisation)}
    if row is None:
        row = Operator(external_id=said.id, login=said.login)
        row.set_unusable_password()
    left = row.organisation if row.pk and row.organisation_id != values["organisation"].pk else None
    save_record(OA, row, resource=change.kind, values=values, reason="OA 同步")
    if left:
        _end_appointments(row, left)


def _office(offices, pk):
    """The organisation as it stands now: its path may have moved with another's."""
    if pk not in offices:
        raise ValidationError(f"单位 {pk} 没有采用")
    return Organisation.objects.get(pk=offices[pk].pk)


def _end_appointments(operator, organisation):
    """Who has left an organisation keeps no rights in it."""
    today = timezone.localdate()
    for appointment in operator.appointments.filter(Appointment.in_force(today), organisation=organisation):
        values = {"ends_on": today - timedelta(days=1)}
        save_record(
            OA, appointment, resource="appointments", values=values, act="结束任职", reason="OA 中已调离"
        )


# --- the settings -----------------------------------------------------------------------------------------


def save_source(actor, values, *, version) -> OaSource:
    """Keep the settings. An empty secret leaves the one that is kept, which goes to its own address only."""
    OaSource.objects.get_or_create(pk=1)
    settings = source()
    try:
        oa.check_address(values["address"])
    except ValidationError as refusal:
        raise ValidationError({"address": refusal.messages}) from refusal
    if not values["secret"]:
        if settings.secret and values["address"] != settings.address:
            raise ValidationError({"secret": "接口地址变了，请重新填写密钥：原来的密钥只发给原来的地址"})
        if not settings.secret:
            raise ValidationError({"secret": "请填写密钥"})
        values = {name: value for name, value in values.items() if name != "secret"}
    reason = "更换密钥" if "secret" in values else ""
    return save_record(actor, settings, resource="oa", values=values, version=version, reason=reason)


def try_out(actor) -> Plan:
    """Ask the OA for everything and tell what a synchronisation would change, changing nothing."""
    settings = source()
    try:
        plan = compare(settings, *ask(settings, full=True, seconds=TRY_SECONDS), full=True)
    except ValidationError as refusal:
        audit.record(actor, "试连", resource="oa", result="失败", reason="；".join(refusal.messages))
        raise
    audit.record(actor, "试连", resource="oa", **plan.counts())
    return plan


# --- jobs -------------------------------------------------------------------------------------------------


def sync_all(actor, job, report) -> dict:
    """Kind of job: everything, so that what is gone in the OA is seen."""
    return _job(report, full=True)


def sync_changes(actor, job, report) -> dict:
    """Kind of job: what has changed in the OA since."""
    return _job(report, full=False)


def _job(report, *, full):
    if not is_on():
        return {"message": "没有启用 OA 同步。"}
    plan = synchronise(report, full=full)
    said = [
        f"{KINDS[kind]}{'、'.join(f'{act} {number}' for act, number in acts.items())}"
        for kind, acts in plan.counts().items()
    ]
    return {"message": f"{'；'.join(said)}；需要处理 {len(plan.refused)} 行。"}

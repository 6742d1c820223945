"""One person's data are deleted everywhere because they ask for it (SEC-17, 个人信息保护法第四十七条).

Somebody enters the request, somebody else confirms it, a job carries it out in one transaction. Where each
package holds rows about a person its `personal` module says; afterwards every sealed number of every table
is looked at once more, whatever the packages say.
"""

from collections.abc import Iterable
from itertools import islice

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction
from django.db.models.functions import Cast
from django.utils import timezone

from jingwei.base import audit, rotation
from jingwei.base.access import Actor
from jingwei.base.crypto import provider
from jingwei.base.fields import personal_fields
from jingwei.base.models import Job, Load
from jingwei.base.personal import Held, Identity, Stays, blobs, digest_of
from jingwei.base.wall import beyond_scope
from jingwei.desk import jobs
from jingwei.kit.text import mask_number
from jingwei.oversight import journal
from jingwei.oversight.models import ErasureRequest
from jingwei.people.models import Person
from jingwei.people.personal import identity_of, identity_with

RESOURCE, JOB, ASK = "erasure-requests", "forget-person", "新增"
PURPOSE = "oversight.erasure"  # of the key that marks numbers
AT_ONCE = 20_000  # values opened in one call of the cipher


def held() -> list[Held]:
    """Where rows about one person stand, in the order in which they go."""
    from jingwei import menu  # it imports this package

    return [each for package in menu.PERSONAL for each in package.HELD]


def staying() -> list[Stays]:
    """What does not go, with the reason."""
    from jingwei import menu

    return [each for package in menu.PERSONAL for each in package.STAYS]


def mark_of(number: str) -> str:
    """The keyed digest (SM4-CMAC) by which a number is recognised that stands nowhere any more, in hex.

    Its key outlives every rotation.
    """
    return _marks([number])[0]


def _marks(texts):
    return [tag.tobytes().hex() for tag in provider().mac(PURPOSE, [text.encode() for text in texts])]


def erased_before(number: str):
    """The requests by which this number was deleted before."""
    return ErasureRequest.objects.filter(mark=mark_of(number), state=ErasureRequest.DONE)


# --- asking and deciding ----------------------------------------------------------------------------------


def ask_to_forget(actor: Actor, *, number: str, reason: str) -> ErasureRequest:
    """Enter that the person with this document number wants all their data deleted.

    A refusal is logged like a request.
    """
    number = number.strip().upper()
    try:
        with transaction.atomic(), beyond_scope():
            return _ask(actor, number, reason.strip())
    except ValidationError as refusal:
        why, label = "；".join(refusal.messages), mask_number(number)
        audit.record(actor, ASK, resource=RESOURCE, label=label, result="拒绝", reason=why)
        raise


def _ask(actor, number, reason):
    if len(reason) < 2:
        raise ValidationError({"reason": "请填写事由，如：本人书面申请及受理编号"})
    with connection.cursor() as cursor:  # one at a time, or two at the same moment would not see each other
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('oversight_erasurerequest'))")
    identity = identity_of(number)
    people = Person.objects.filter(pk__in=identity.records["people"])
    person = people.visible_to(actor, f"{RESOURCE}.add").first()
    if person is None and people.exists():
        raise ValidationError({"number": "该证件号在其他辖区登记，请由登记地的单位办理"})
    open_ones = ErasureRequest.objects.filter(state__in=(ErasureRequest.WAITING, ErasureRequest.RUNNING))
    if open_ones.filter(number__in=identity.numbers).exists():
        raise ValidationError({"number": "这个证件号已有尚未办结的删除申请"})
    request = ErasureRequest.objects.create(
        number=number,
        mark=mark_of(number),
        region=person.region_id if person else actor.region,
        reason=reason,
        asker=actor.name,
        created_by=actor.operator_id,
    )
    audit.record(actor, ASK, request, resource=RESOURCE, reason=reason)
    return request


@transaction.atomic
def confirm(actor: Actor, request: ErasureRequest) -> str:
    """Have a request carried out, as a second person; it cannot be undone."""
    request = _waiting(request)
    if request.created_by == actor.operator_id:
        raise ValidationError("须由提出人以外的另一人核对后确认")
    request.state = ErasureRequest.RUNNING
    request.confirmed_by, request.confirmer = actor.operator_id, actor.name
    request.confirmed_at = request.updated_at = timezone.now()
    request.version += 1
    request.save()
    jobs.start(actor, JOB, f"删除个人信息（第 {request.pk} 号申请）", {"request": request.pk})
    audit.record(actor, "确认删除个人信息", request, resource=RESOURCE, reason=request.reason)
    return "已确认，正在后台删除，完成后在本申请的页面查看证明"


@transaction.atomic
def withdraw(actor: Actor, request: ErasureRequest, *, reason: str):
    """Drop a request that nobody has confirmed."""
    request = _waiting(request)
    request.state, request.number, request.ended_at = ErasureRequest.WITHDRAWN, None, timezone.now()
    request.version += 1
    request.save()
    audit.record(actor, "撤回删除申请", request, resource=RESOURCE, reason=reason)


def _waiting(request):
    request = ErasureRequest.objects.select_for_update().get(pk=request.pk)
    if request.state != ErasureRequest.WAITING:
        raise ValidationError(f"这份申请{request.state}，不能再办理")
    return request


def preview(request: ErasureRequest):
    """[(table, rows)] of what would go now, and [(table, rows, why)] of what stays."""
    with beyond_scope():
        identity = identity_of(request.number.clear())
        going = [(str(each), each.rows(identity).count()) for each in held()]
        return [(label, count) for label, count in going if count], _staying(identity)


def _staying(identity):
    found = [(str(each), each.rows(identity).count(), each.why) for each in staying() if each.rows]
    return [line for line in found if line[1]]


# --- doing it ---------------------------------------------------------------------------------------------


@transaction.atomic
def carry_out(actor, job, report) -> dict:
    """Kind of job: delete everything about the person of a confirmed request, and leave the proof.

    All or nothing: where something about the person is found afterwards, nothing was deleted.
    """
    with beyond_scope():
        request = ErasureRequest.objects.select_for_update().get(pk=job.arguments["request"])
        if request.state == ErasureRequest.DONE:
            return {"message": "已删除。"}
        _nothing_comes_in(job)
        identity = identity_of(request.number.clear())
        _forget(actor, request, identity, report)
        # The last thing before the commit, for a restored backup to be told.
        journal.append(_entry(request, identity))
    return {"message": f"已删除 {request.total:,} 条数据，复查没有遗留。"}


def _forget(actor, request, identity, report=lambda done, total: None):
    """Delete everything about a person and make the request its proof."""
    stays = _staying(identity)
    counts, digest = {}, ""
    for number, each in enumerate(held()):
        gone = each.forget(each.rows(identity), identity)
        digest = digest_of(digest, each.model, gone.keys)
        if gone.count:
            counts[str(each)] = counts.get(str(each), 0) + gone.count
        report(number, len(held()))
    request.number = None
    request.state, request.ended_at = ErasureRequest.DONE, timezone.now()
    request.gone, request.stays, request.digest = [*counts.items()], stays, digest
    request.version += 1
    request.save()
    if left := what_is_left(identity):
        raise ValidationError(f"没有删除：{'、'.join(left)}中仍有此人的信息，请联系系统管理员")
    audit.record(
        actor,
        "删除个人信息",
        request,
        resource=RESOURCE,
        reason=request.reason,
        摘要=digest,
        **{label: count for label, count in counts.items()},
    )


def _nothing_comes_in(job):
    """Refuse while an import or export of that time is on its way: it may hold the person already."""
    unfinished = Job.objects.filter(state=Job.RUNNING, kind__in=["import", "import-undo", "export"])
    if unfinished.exclude(pk=job.pk).exists() or Load.objects.filter(state=Load.UNDOING).exists():
        raise ValidationError("有导入或导出正在进行，可能含有此人的信息。请等其结束后重试本任务")


# --- doing it again ---------------------------------------------------------------------------------------

PERSON = "person"  # what an entry of the journal is about
DECIDED = ("region", "asker", "created_by", "confirmed_by", "confirmer")  # of a request, beside its times


def _entry(request, identity):
    """What the journal has of an erasure: its request but number and reason, the person by marks alone."""
    decided = {name: getattr(request, name) for name in DECIDED}
    times = {name: getattr(request, name).isoformat() for name in ("created_at", "confirmed_at")}
    phones = identity.phones | identity.shared_phones
    texts = {"numbers": identity.numbers, "phones": phones, "names": identity.names}
    marks = {kind: sorted(_marks(list(known))) for kind, known in texts.items()}
    return {"about": PERSON, "mark": request.mark, "request": decided | times, "marks": marks}


def forget_again(actor, entries: Iterable[dict]) -> list[ErasureRequest]:
    """Carry out the erasures of a journal that a restored backup does not know of; their proofs.

    ValidationError in words if something is left of somebody.
    """
    missing = [entry for entry in entries if entry["about"] == PERSON and not _is_done(entry)]
    if not missing:
        return []
    known = _recognised({mark for entry in missing for marks in entry["marks"].values() for mark in marks})
    return [_again(actor, entry, known) for entry in missing]


@transaction.atomic
def _again(actor, entry, known):
    theirs = {
        kind: {known[mark] for mark in marks if mark in known} for kind, marks in entry["marks"].items()
    }
    request = _requests(entry).first() or ErasureRequest(mark=entry["mark"])
    for name, value in entry["request"].items():
        setattr(request, name, ErasureRequest._meta.get_field(name).to_python(value))
    request.reason = f"恢复备份后重做 {timezone.localtime(request.confirmed_at):%Y-%m-%d} 确认的删除"
    _forget(actor, request, identity_with(**theirs))
    return request


def _is_done(entry):
    return _requests(entry).filter(state=ErasureRequest.DONE).exists()


def _requests(entry):
    """The request of an entry, if it is there; two of one moment for one number there are not."""
    return ErasureRequest.objects.filter(mark=entry["mark"], created_at=entry["request"]["created_at"])


def _recognised(marks) -> dict[str, str]:
    """{mark: text} of these marks that belong to numbers, telephones and their names in the database."""
    number, phone = (Person._meta.get_field(name) for name in ("number", "phone"))
    found, phones = {}, set()
    for place in rotation.places():
        if place.sealing in (number.sealing, phone.sealing):
            for texts in _texts(place):
                known = {mark: text for mark, text in zip(_marks(texts), texts, strict=True) if mark in marks}
                found |= known
                phones |= set(known.values()) if place.sealing == phone.sealing else set()
    stored = blobs(phone, phones)
    for place in rotation.places():
        if place.sealing == phone.sealing and "name" in {f.name for f in place.model._meta.concrete_fields}:
            rows = place.model._base_manager.filter(**{f"{place.column}__in": stored})
            names = list(rows.values_list("name", flat=True).distinct())
            found |= {mark: name for mark, name in zip(_marks(names), names, strict=True) if mark in marks}
    return found


def _texts(place):
    """The different texts of a searchable column as numbers are marked, lot by lot."""
    values = place.model._base_manager.exclude(**{place.column: None}).order_by()
    values = values.annotate(stored=Cast(place.column, models.BinaryField())).values_list("stored", flat=True)
    stored = values.distinct().iterator(chunk_size=AT_ONCE)
    while lot := list(islice(stored, AT_ONCE)):
        yield [text.upper() for text in provider().decrypt(place.sealing, [bytes(value) for value in lot])]


def what_is_left(identity: Identity) -> list[str]:
    """The tables in which something about the person is found, under any key of the ring."""
    left = [str(each) for each in held() if each.rows(identity).exists()]
    for model in apps.get_models():
        for column in personal_fields(model):
            if column.kind == "number" and column.searchable:
                if model._base_manager.filter(**{f"{column.name}__in": identity.numbers}).exists():
                    left.append(str(model._meta.verbose_name))
    return list(dict.fromkeys(left))

"""What the register keeps of residents, and how one of them is found everywhere (P-4.6, SEC-17)."""

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q

from jingwei.base.parameters import Parameter
from jingwei.base.personal import Columns, Held, Identity, Kept, Stays, blobs
from jingwei.people.models import (
    BASIS,
    DayCount,
    Dose,
    DuplicatePair,
    EmergencyAccess,
    Merge,
    Person,
    PersonAlias,
    PersonAttachment,
    Tally,
    TallyChange,
    TallyCount,
    Transfer,
    Unregistered,
    UnregisteredDose,
)

HISTORY_DAYS = Parameter(
    "people.keep_history",
    "人员历史保存天数",
    1095,
    "人员和接种被修改或删除前的内容、合并记录多少天后删除",
    "天",
    low=180,
    high=3650,
)
DECIDED_DAYS = Parameter(
    "people.keep_unregistered",
    "已处理的未登记人员保存天数",
    365,
    "未登记人员登记或忽略后多少天删除",
    "天",
    low=30,
    high=3650,
)
WAITING_DAYS = Parameter(
    "people.keep_waiting",
    "未处理的未登记人员保存天数",
    730,
    "未登记人员最近一次检测或接种后多少天仍无人处理的，删除",
    "天",
    low=90,
    high=3650,
)
PARAMETERS = [HISTORY_DAYS, DECIDED_DAYS, WAITING_DAYS]

REGISTERED = "在册期间"
HISTORY = "按系统参数"

COLUMNS = [
    Columns(
        Person,
        purpose="掌握常住人口、组织接种和检测",
        basis=BASIS,
        keep=REGISTERED,
        names=[
            *("name", "sex", "doc_type", "resident", "household", "tenant", "occupation", "group"),
            *("birth_date", "dose", "dose_on", "dose_unit", "sampled_at", "sample_result", "sample_point"),
            "grams",
        ],
    ),
    Columns(
        Dose,
        purpose="疫苗接种的统计和催种",
        basis=BASIS,
        keep=REGISTERED,
        names=["dose", "vaccine", "on", "unit"],
    ),
    Columns(
        Transfer,
        purpose="人员迁移的交接",
        basis=BASIS,
        keep=REGISTERED,
        names=["at", "by", "by_name", "reason"],
    ),
    Columns(
        PersonAlias, purpose="辨认以另一证件登记过的人员", basis=BASIS, keep=REGISTERED, names=["doc_type"]
    ),
    Columns(
        DuplicatePair,
        purpose="核对重复登记",
        basis=BASIS,
        keep="两条记录在册期间",
        names=["reasons", "state", "by", "by_name"],
        plain=["score", "found_at", "decided_at"],
    ),
    Columns(
        Merge,
        purpose="核对和撤销合并",
        basis=BASIS,
        keep=HISTORY,
        names=["gone", "gone_name", "reasons", "record", "by", "by_name", "undone_by"],
        plain=["score", "state", "at", "undone_at"],
    ),
    Columns(
        Unregistered,
        purpose="核对和登记检测、接种名单中未在册的人员",
        basis=BASIS,
        keep=HISTORY,
        names=["doc_type", "name", "place", "first_at", "last_at", "region", "decided_by", "reason"],
        plain=["source", "organisation", "state", "decided_at"],
    ),
    Columns(
        UnregisteredDose,
        purpose="登记后补记接种",
        basis=BASIS,
        keep="与所属的未登记人员一同删除",
        names=["dose", "vaccine", "on", "unit"],
        plain=["load", "sheet_row"],
    ),
    Columns(
        EmergencyAccess,
        purpose="复核紧急查看",
        basis="《网络安全法》第二十一条：日志留存",
        keep="长期",
        names=["document", "by", "by_name", "reason", "seen_by", "reviewed_by", "opinion"],
        plain=["organisation", "at", "until", "looks", "seen_at", "verdict", "reviewed_at"],
    ),
    Columns(
        TallyChange,
        purpose="统计的增减（无姓名和证件号）",
        basis=BASIS,
        keep="并入统计后删除",
        names=[
            *("region", "birth_date", "sex", "resident", "tenant", "occupation", "group"),
            *("dose", "dose_on", "sampled_at"),
        ],
        plain=["xact", "sign"],
        label="统计的增减",
        headings={
            "region": "村/社区",
            "birth_date": "出生日期",
            "sex": "性别",
            "resident": "是否为常住人口",
            "tenant": "是否为租户",
            "occupation": "从业情况",
            "group": "人群分类",
            "dose": "接种针次",
            "dose_on": "接种日期",
            "sampled_at": "最后一次检测时间",
        },
    ),
]
NOBODYS = [Tally, TallyCount, DayCount]

PersonEvent = Person._meta.get_field("events").related_model
DoseEvent = Dose._meta.get_field("events").related_model

_gone = [~Exists(Person.objects.filter(pk=OuterRef(f"{side}_id"))) for side in ("first", "second")]
KEPT = [
    Kept("people-history", "人员的历史", PersonEvent, "pgh_created_at", HISTORY_DAYS),
    Kept("dose-history", "接种的历史", DoseEvent, "pgh_created_at", HISTORY_DAYS),
    Kept("merges", "合并记录", Merge, "at", HISTORY_DAYS),
    Kept("pairs", "记录已不在册的疑似重复", DuplicatePair, condition=_gone[0] | _gone[1]),
    Kept(
        "unregistered",
        "已处理的未登记人员",
        Unregistered,
        "decided_at",
        DECIDED_DAYS,
        condition=~Q(state=Unregistered.WAITING),
    ),
    Kept(
        "unregistered-waiting",
        "长期未处理的未登记人员",
        Unregistered,
        "last_at",
        WAITING_DAYS,
        condition=Q(state=Unregistered.WAITING),
        whole=False,
    ),
]


# --- one person -------------------------------------------------------------------------------------------


def identity_of(number: str) -> Identity:
    """Who has this document number, with all that tells their rows in any register, merged records included.

    ValidationError where several people are registered with it: who is meant is to be settled first.
    """
    number = number.strip().upper()
    if len(holders := _holders({number})) > 1:
        raise ValidationError(f"这个证件号在 {len(holders)} 条人员记录里，请先核对、合并或更正这些记录")
    return identity_with({number})


def identity_with(numbers: set[str], phones: Iterable[str] = (), names: Iterable[str] = ()) -> Identity:
    """The one person who has all these numbers, telephones and names, with all that follows from them."""
    holders = _holders(numbers)
    numbers, people = set(numbers), set(holders)
    for alias in PersonAlias.objects.filter(person__in=holders):
        numbers.add(alias.number.clear())
    merges = Merge.objects.filter(Q(kept__in=holders) | Q(gone_number__in=numbers))
    for merge in merges.exclude(state=Merge.UNDONE):
        numbers.add(merge.gone_number.clear())
        people.add(merge.gone)
    for person in Person.objects.filter(pk__in=holders):
        numbers.add(person.number.clear())
    # Records that were deleted before are known by their history only.
    stored = blobs(Person._meta.get_field("number"), numbers)
    people |= set(PersonEvent.objects.filter(number__in=stored).values_list("pgh_obj", flat=True))
    people -= set(Person.objects.filter(pk__in=people).exclude(pk__in=holders).values_list("pk", flat=True))
    doses = set(Dose.objects.filter(person__in=people).values_list("pk", flat=True))
    doses |= set(DoseEvent.objects.filter(person__in=people).values_list("pgh_obj", flat=True))
    names, phones = _names_and_phones(people, numbers, set(names) - {""}, set(phones))
    theirs = set(_phones(Person.objects.filter(phone__in=phones).exclude(pk__in=people), "phone"))
    entries = Unregistered.objects.filter(phone__in=phones).exclude(number__in=numbers)
    theirs |= set(_phones(entries, "phone"))
    return Identity(
        numbers=frozenset(numbers),
        phones=frozenset(phones - theirs),
        shared_phones=frozenset(phones & theirs),
        names=frozenset(names),
        records={"people": frozenset(people), "doses": frozenset(doses)},
    )


def _holders(numbers):
    """The keys of the people who are registered with one of the numbers."""
    holders = set(Person.objects.filter(number__in=numbers).values_list("pk", flat=True))
    return holders | set(PersonAlias.objects.filter(number__in=numbers).values_list("person", flat=True))


def _names_and_phones(people, numbers, names, phones):
    """What the person is, and was, called and called by, beside what is known already."""
    sealed = Person._meta.get_field("phone")
    now = Person.objects.filter(pk__in=people)
    before = PersonEvent.objects.filter(pgh_obj__in=people)
    aside = Unregistered.objects.filter(number__in=numbers)
    for rows in (now, before, aside):
        for name, phone in rows.values_list("name", "phone"):
            names.add(name)
            phones |= {sealed.to_python(phone).clear()} if phone else set()
    return names - {""}, phones


def _phones(rows, name):
    return [phone.clear() for phone in rows.values_list(name, flat=True)]


def _of(model, name, record="people"):
    """Rows of `model` that refer to the records of the person by `name`."""
    return lambda identity: model.objects.filter(**{f"{name}__in": identity.records[record]})


def _merges(identity):
    keys = identity.records["people"]
    return Merge.objects.filter(Q(kept__in=keys) | Q(gone__in=keys) | Q(gone_number__in=identity.numbers))


def _pairs(identity):
    keys = identity.records["people"]
    return DuplicatePair.objects.filter(Q(first__in=keys) | Q(second__in=keys))


def _entries(identity):
    return Unregistered.objects.filter(number__in=identity.numbers)


def _past(identity):
    stored = blobs(Person._meta.get_field("number"), identity.numbers)
    return PersonEvent.objects.filter(Q(pgh_obj__in=identity.records["people"]) | Q(number__in=stored))


HELD = [
    Held(Dose, _of(Dose, "person")),
    Held(Transfer, _of(Transfer, "person")),
    Held(PersonAlias, _of(PersonAlias, "person"), ["number"]),
    Held(DuplicatePair, _pairs),
    Held(Merge, _merges, ["gone_number"]),
    # What they hold is noted as left behind, and goes from the store within minutes.
    Held(PersonAttachment, _of(PersonAttachment, "record")),
    Held(Person, _of(Person, "pk"), ["number", "phone"]),
    Held(
        UnregisteredDose,
        lambda identity: UnregisteredDose.objects.filter(unregistered__in=_entries(identity)),
    ),
    Held(Unregistered, _entries, ["number", "phone"]),
    # Deleting has left what was deleted in the histories.
    Held(DoseEvent, lambda identity: DoseEvent.objects.filter(_dose_past(identity)), label="接种的历史"),
    Held(PersonEvent, _past, ["number", "phone"], label="人员的历史"),
]
STAYS = [
    Stays(
        EmergencyAccess,
        "谁紧急查看过须留待复核；其中证件号已打星号，与人员的关联随删除断开",
        rows=_of(EmergencyAccess, "person"),
    )
]


def _dose_past(identity):
    return Q(person__in=identity.records["people"]) | Q(pgh_obj__in=identity.records["doses"])

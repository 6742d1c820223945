"""One valid row per model, for tests and the shared suite."""

from datetime import datetime, timedelta
from itertools import count

import polars as pl
from django.utils import timezone

from jingwei.base.access import platform_actor
from jingwei.base.attachments import sample_of
from jingwei.base.columns import Context
from jingwei.base.sheets import clean_row
from jingwei.kit.idcard import check_digits
from jingwei.people import merges
from jingwei.people.models import (
    Dose,
    DuplicatePair,
    EmergencyAccess,
    Merge,
    Person,
    PersonAlias,
    PersonAttachment,
    Transfer,
    Unregistered,
)
from jingwei.people.sheets import RosterSheet

VILLAGE = "990101001001"
_orders = count()


def number(born="19800101", order=None) -> str:
    """A valid ID number of the fictional district; an odd order is a man's."""
    order = next(_orders) % 1000 if order is None else order
    first17 = f"990101{born}{order:03d}"
    return first17 + check_digits(pl.Series([first17]))[0]


def person(region=VILLAGE, born="19800101", **cells) -> Person:
    """A resident, entered as on the form: `cells` are texts by the columns of the roster."""
    row = {
        "region": region,
        "name": "林样例",
        "number": number(born),
        "doc_type": "居民身份证",
        "resident": "是",
        "tenant": "否",
        "registered_address": "示例省示例市安澜区安平街道上埔社区1号",
        "address": "上埔社区1号2栋301室",
        "occupation": "企业职工",
        "group": "普通人群",
        "phone": "16000000001",
    }
    context = Context(platform_actor("样例"), "people.add", datetime.now())
    values, errors = clean_row(RosterSheet(), row | cells, context)
    if errors:
        raise ValueError(errors)
    return Person.objects.create(**values)


def dose() -> Dose:
    given = Dose.objects.create(
        person=person(), dose=1, vaccine="科兴", on="2021-05-01", unit="安平街道卫生院"
    )
    Person.objects.filter(pk=given.person_id).update(dose=1, dose_on=given.on, dose_unit=given.unit)
    return given


def transfer() -> Transfer:
    return Transfer.objects.create(
        person=person(), from_region_id="990101001002", to_region_id=VILLAGE, by_name="样例", reason="搬家"
    )


def alias() -> PersonAlias:
    return PersonAlias.objects.create(person=person(), doc_type="414", number=f"E{next(_orders):08d}")


def duplicate_pair() -> DuplicatePair:
    first, second = person(), person()
    return DuplicatePair.objects.create(
        first=first, second=second, score=65, reasons="姓名相同，联系电话相同"
    )


def merge() -> Merge:
    pair = duplicate_pair()
    return merges.merge(platform_actor("样例"), pair, keep=pair.first_id, taken=())


def unregistered() -> Unregistered:
    seen = timezone.now() - timedelta(days=1)
    return Unregistered.objects.create(
        number=number("19910101"),
        doc_type="111",
        name="外来样例",
        phone="16000000002",
        source="核酸检测样表",
        place="安平街道上埔社区采样点",
        first_at=seen,
        last_at=seen,
        region=VILLAGE,
        organisation="上埔社区居民委员会",
    )


def emergency_access() -> EmergencyAccess:
    opened = person()
    return EmergencyAccess.objects.create(
        person=opened,
        document=str(opened.number),
        region_id=opened.region_id,
        by=0,
        by_name="样例",
        organisation="区卫生健康局",
        reason="急救联系家属",
        until=timezone.now() + timedelta(hours=2),
    )


def attachment() -> PersonAttachment:
    return sample_of(PersonAttachment, person())


SAMPLES = {
    Person: person,
    PersonAttachment: attachment,
    Dose: dose,
    Transfer: transfer,
    PersonAlias: alias,
    DuplicatePair: duplicate_pair,
    Merge: merge,
    Unregistered: unregistered,
    EmergencyAccess: emergency_access,
}

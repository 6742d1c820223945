"""The operation log: every act leaves one row, written in the act's own transaction (P-3.1, SEC-8, SEC-10).

A log row that cannot be written makes the act fail with it: there is no swallowing of errors here. Each row
carries a digest under the log's key (`chain`), and is sealed into the chain within a minute.
"""

import json
from collections.abc import Callable, Iterable

import numpy as np
from django.db import connection, models, transaction
from django.utils import timezone

from jingwei.base import chain, codes
from jingwei.base.access import Actor
from jingwei.base.crypto import mac_numbers, provider
from jingwei.base.events import require_known
from jingwei.base.fields import Sealed
from jingwei.base.models import LogEntry, LogPeople

# How values of fields are told that are codes of something else; packages add theirs.
IN_WORDS: dict[models.Field, Callable] = {}

PEOPLE = 4_000  # keys of people in one row of LogPeople

# The transaction has its number before the row has its own: `chain.seal` goes by that.
_NUMBER = "SELECT pg_current_xact_id(), nextval('base_logentry_id_seq')"
# No RETURNING: who acts need not be allowed to read the log.
_INSERT = (
    f"INSERT INTO base_logentry ({', '.join(chain.SIGNED)}, digest) "  # noqa: S608, names of ours
    f"VALUES ({', '.join(['%s'] * (len(chain.SIGNED) + 1))})"
)


def record(
    actor: Actor,
    act: str,
    obj=None,
    *,
    resource="",
    label="",
    result="成功",
    reason="",
    people: Iterable[int | None] = (),
    **detail,
) -> LogEntry:
    """Write one line: who did `act`, one of the catalogue (`events`), on what.

    `detail` must be JSON and never holds a clear personal value. `people` are whom it is about beside its
    object, for the question who looked (P-3.4): keys of the register, or `marks`.
    """
    require_known(act, result)
    keys = np.unique(np.fromiter((key for key in people if key is not None), dtype=np.int64))
    if len(keys):
        detail[chain.ABOUT] = chain.digest_of_people(keys)
    entry = LogEntry(
        at=timezone.now(),
        operator=actor.operator_id,
        actor=actor.name,
        login=actor.login,
        organisation=actor.organisation,
        region=actor.region,
        address=actor.address,
        device=actor.device[:200],
        act=act,
        resource=resource or (obj._meta.model_name if obj is not None else ""),
        object_id=id_of(obj) if obj is not None else "",
        label=(label or (str(obj) if obj is not None else ""))[:200],
        # The database spells fractions its own way, and what is signed must be read back the same.
        detail=json.loads(json.dumps(detail), parse_float=str),
        result=result,
        reason=reason[:500],
        request_id=actor.request_id,
    )
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(_NUMBER)
        entry.pk = cursor.fetchone()[1]
        row = [getattr(entry, name) for name in chain.SIGNED]
        entry.digest = chain.digest_of(row)
        row[chain.SIGNED.index("detail")] = json.dumps(entry.detail)
        cursor.execute(_INSERT, [*row, entry.digest])
        parts = [keys[start : start + PEOPLE] for start in range(0, len(keys), PEOPLE)]
        LogPeople.objects.bulk_create(
            LogPeople(entry=entry.pk, first=part[0], last=part[-1], people=part.tolist()) for part in parts
        )
    return entry


def marks(kind: str, texts: Iterable[str]) -> list[int]:
    """What stands in `people` for whom the register may not know: of each document number or telephone.

    63 bits of a MAC, below zero, where no key is. They tell the number to nobody without the key ring, and
    go with their row of the log.
    """
    told = mac_numbers("log.person", [f"{kind} {text.strip().upper()}".encode() for text in texts], bits=64)
    return (told | np.int64(-(2**63))).tolist()


def id_of(obj) -> str:
    """What the log knows a row by: its id, or a keyed digest of a key of several columns, often personal."""
    if not obj._meta.is_composite_pk:
        return str(obj.pk)
    parts = [part.clear() if isinstance(part, Sealed) else str(part) for part in obj.pk]
    [tag] = provider().mac("log.object", ["\x1f".join(parts).encode()])
    return tag.tobytes().hex()


def changes(before: dict, obj, names) -> dict:
    """{verbose name: [old, new]} of the fields of `names` that differ, personal values masked."""
    changed = {}
    for name in names:
        field = obj._meta.get_field(name)
        old, new = before.get(name), getattr(obj, field.attname)
        if old != new:
            if isinstance(new, list):  # of a long list only what went and what came
                old, new = [x for x in old or [] if x not in new], [x for x in new if x not in (old or [])]
            changed[str(field.verbose_name)] = [shown(field, old), shown(field, new)]
    return changed


def shown(field, value):
    """`value` as the log keeps it: masked where it is personal, words where a page shows words."""
    if value and field in IN_WORDS:
        return IN_WORDS[field](value)
    if isinstance(value, Sealed):
        return value.masked()
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, list):
        return "、".join(map(str, value))
    if isinstance(field, codes.CodeField):
        return codes.labels(field.dictionary).get(value, value)
    if isinstance(field, models.ForeignKey):
        return str(field.related_model._base_manager.filter(pk=value).first() or value)
    return str(value)

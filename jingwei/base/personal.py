"""What a package says of the personal data in its tables (P-4.6, SEC-17).

The `personal` module of each package has three lists, which `jingwei.menu` puts together:

    COLUMNS  personal columns that are not sealed; sealed ones carry their own entry (`SealedField`)
    KEPT     how long the rows of a table are kept, and how they go
    HELD     where the rows about one person stand, and how they go when that person asks

A test goes over all models: a column that nobody has declared fails it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from jingwei.base.crypto import provider
from jingwei.base.parameters import Parameter

AT_ONCE = 2_000  # rows that go in one transaction


@dataclass(frozen=True)
class Columns:
    """An entry of the register of personal data: columns of a table about people that are not sealed.

    `names` are personal; `plain` say nothing of a person. All the columns of such a table are in one of the
    two, but for keys, references and what every record has.
    """

    model: type[models.Model]
    purpose: str
    basis: str
    keep: str
    names: Sequence[str]
    plain: Sequence[str] = ()
    label: str = ""  # of a table, and `headings` of columns, that no page shows
    headings: Mapping[str, str] = field(default_factory=dict)


# --- when their time is over ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gone:
    """Rows that were erased: how many, and their keys as text, of which the proof has a digest."""

    count: int
    keys: Iterable[str]


def delete_rows(rows: QuerySet) -> Gone:
    """Delete these rows with all that hangs on them; the count is that of the rows themselves."""
    keys = list(rows.values_list("pk", flat=True))
    rows.model._base_manager.filter(pk__in=keys).delete()
    return Gone(len(keys), map(str, keys))


@dataclass(frozen=True)
class Kept:
    """How long rows are kept: until `at` lies more than the days of `keep` back and `condition` holds.

    Without `keep` they go as soon as `at` is past, without `at` as soon as `condition` holds. `erase` gets
    some of the rows, locked, and does away with them in the transaction.
    """

    name: str
    label: str
    model: type[models.Model]
    at: str = ""
    keep: Parameter | None = None
    condition: Q = field(default_factory=Q)
    erase: Callable[[QuerySet], Gone] = delete_rows
    whole: bool = True  # every row of the table goes by this rule, in the end
    # For events, which go by the million: erases some from before a time, None when there are none left.
    erase_before: Callable[[datetime], Gone | None] | None = None

    def limit(self, now: datetime) -> datetime:
        """Rows from before this moment go; a whole day is never begun."""
        if self.keep is None:
            return now
        midnight = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight - timedelta(days=self.keep.value())

    def rule(self) -> str:
        """The keeping time in force, in words."""
        if self.keep:
            return f"{self.keep.value()} 天"
        return "到期即删" if self.at else "随所属数据删除"

    def due(self, limit: datetime) -> QuerySet:
        """The rows whose time is over."""
        rows = self.model._base_manager.filter(self.condition)
        if not self.at:
            return rows
        kinds = {column.name: column.get_internal_type() for column in self.model._meta.concrete_fields}
        past = timezone.localdate(limit) if kinds.get(self.at) == "DateField" else limit
        return rows.filter(**{f"{self.at}__lt": past})

    def erase_some(self, limit: datetime) -> Gone | None:
        """Erase some of the rows whose time is over, in one transaction; None when there are none left.

        Rows in use wait for the next night: nobody is kept waiting by this, nor keeps it waiting.
        """
        with transaction.atomic():
            if self.erase_before:
                return self.erase_before(limit)
            rows, due = self.model._base_manager, self.due(limit)
            some = list(due.values_list("pk", flat=True)[:AT_ONCE])
            free = rows.filter(pk__in=some).select_for_update(skip_locked=True).order_by("pk")
            # What has been changed until it was locked may not be due any more.
            keys = list(due.filter(pk__in=[row.pk for row in free]).values_list("pk", flat=True))
            return self.erase(rows.filter(pk__in=keys)) if keys else None


# --- when one person asks ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """One person, by all that tells their rows: in clear, and never stored.

    `records` are {name of a resource: keys} of rows of the register that are, or were, this person's.
    """

    numbers: frozenset[str] = frozenset()
    phones: frozenset[str] = frozenset()  # nobody else's
    shared_phones: frozenset[str] = frozenset()  # also of others, such as of a household
    names: frozenset[str] = frozenset()
    records: Mapping[str, frozenset[int]] = field(default_factory=dict)
    at: datetime = field(default_factory=timezone.now)  # when this was worked out

    def mentioned_in(self, text: str) -> bool:
        """Whether a text has one of the numbers or telephones."""
        return any(known in text for known in (*self.numbers, *self.phones, *self.shared_phones))


@dataclass(frozen=True)
class Held:
    """Where rows about one person stand: `rows` finds them, `forget` does away with them.

    What is to be found by other rows stands before these in the list. `sealed` names the columns of numbers
    and telephones by which they are found, so that a test sees a new one that is not.
    """

    model: type[models.Model]
    rows: Callable[[Identity], QuerySet]
    sealed: Sequence[str] = ()
    forget: Callable[[QuerySet, Identity], Gone] = lambda rows, identity: delete_rows(rows)
    label: str = ""

    def __str__(self):
        return self.label or str(self.model._meta.verbose_name)


@dataclass(frozen=True)
class Stays:
    """What does not go when a person asks, and by which rule; without `rows` it is not about residents."""

    model: type[models.Model]
    why: str
    sealed: Sequence[str] = ()
    rows: Callable[[Identity], QuerySet] | None = None

    def __str__(self):
        return str(self.model._meta.verbose_name)


def blobs(sealed_field, values: Iterable[str]) -> list[bytes]:
    """The ciphertexts of clear values of a searchable column under every key of the ring.

    For columns that hold such ciphertexts without being a `SealedField`: histories.
    """
    clear = sorted(values)
    return [
        blob
        for key_id in provider().key_ids
        for blob in provider().encrypt(sealed_field.sealing, clear, key_id=key_id)
    ]


def digest_of(before: str, model: type[models.Model], keys: Iterable[str]) -> str:
    """The digest of what was erased before, in hex or "", with rows of a table added.

    It is the sum, modulo 2^256, of the SM3 (GB/T 32905) of each "table key": the lots and their order make no
    difference, so a backup from before tells whether it is right.
    """
    total = int(before or "0", 16)
    for key in keys:
        digest = hashes.Hash(hashes.SM3())
        digest.update(f"{model._meta.db_table} {key}".encode())
        total += int.from_bytes(digest.finalize(), "big")
    return f"{total % 2**256:064x}"

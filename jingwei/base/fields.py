"""Model fields for personal data: sealed in the database, masked on sight, registered (P-4, SEC-17)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

import polars as pl
from django.contrib.postgres.fields import ArrayField
from django.core import checks
from django.core.exceptions import EmptyResultSet, ValidationError
from django.db import connection, models
from django.db.models import Func
from django.db.models.functions import Left
from django.db.models.lookups import Exact, In, IsNull, Lookup
from django.db.models.query_utils import DeferredAttribute

from jingwei.base.crypto import HEAD, Column, mac_numbers, provider
from jingwei.kit.grams import column_grams, query_grams
from jingwei.kit.regions import COMMUNITY, TOWN
from jingwei.kit.text import mask_address, mask_number, mask_phone, mask_text

_MASKS = {
    "number": mask_number,
    "phone": mask_phone,
    "address": mask_address,
    "contact": mask_text,
    "text": mask_text,
}
# Document and telephone numbers are the same wherever they stand: rows are joined by their ciphertexts.
_SHARED = {"number": "person.number", "phone": "person.phone"}


def mask(kind: str, text: str) -> str:
    """A clear text as everybody may see it (P-4.3); `kind` as in `SealedField`."""
    return _MASKS[kind](text)


# A lock of the database. Who seals while keys rotate shares it to the end of the transaction; who moves
# values to the new key has it alone.
MOVING = 0x726F74617465


def seal(column: Column, texts: Sequence[str | None]) -> list[bytes | None]:
    """Texts as a column has to store them now; None stays None.

    While a rotation is under way (`rotation`), a text has one ciphertext all over the database, as at any
    other time: rows are joined and kept unique by it. The old ciphertexts are moved in their order, so that
    the place of a text in this order tells whether it was moved yet. What is sealed in a transaction can be
    stored until its end.
    """
    crypto = provider()
    current, *others = crypto.key_ids
    moved = _moved(column) if column.searchable and others else None
    if moved is None:
        return crypto.encrypt(column, texts, key_id=current)
    old_key, reached = moved
    stored = crypto.encrypt(column, texts, key_id=old_key)
    behind = [place for place, blob in enumerate(stored) if blob is not None and blob[HEAD:] <= reached]
    for place, blob in zip(behind, crypto.encrypt(column, [texts[p] for p in behind]), strict=True):
        stored[place] = blob
    return stored


def reseal(column: Column, stored: Sequence[bytes | None]) -> list[bytes | None]:
    """Values that were read or sealed earlier, as the column has to store them now."""
    crypto = provider()
    return list(stored) if len(crypto.key_ids) == 1 else seal(column, crypto.decrypt(column, stored))


def reseal_rows(model: type[models.Model], rows: list[dict]) -> list[dict]:
    """Rows of a table as PostgreSQL's to_jsonb told them earlier, sealed as the columns store them now.

    Call it in the transaction that puts them back: no rotation goes on behind it until that ends.
    """
    for field in personal_fields(model):
        stored = [row.get(field.column) for row in rows]
        blobs = reseal(
            field.sealing, [value and bytes.fromhex(value.removeprefix("\\x")) for value in stored]
        )
        rows = [
            row | {field.column: f"\\x{blob.hex()}"} if blob else row
            for row, blob in zip(rows, blobs, strict=True)
        ]
    return rows


def _moved(column):
    """Key and last value, without its head, up to which the column was moved from it; None if no rotation."""
    with connection.cursor() as cursor:
        if connection.in_atomic_block:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [MOVING])
        cursor.execute(
            "SELECT old_key, reached->>%s FROM base_keyrotation WHERE ended_at IS NULL", [column.name]
        )
        found = cursor.fetchone()
    return found and (found[0], bytes.fromhex(found[1] or ""))


class Sealed:
    """A value of a sealed column. Shown, it is masked; only `clear()` tells the text.

    It equals another sealed value, or a string, of the same text.
    """

    __slots__ = ("field", "_blob", "_clear")

    def __init__(self, field, *, blob=None, clear=None):
        self.field, self._blob, self._clear = field, blob, clear

    def clear(self) -> str:
        """The text. `reveal` the values of a list first, which is many times faster than one by one."""
        if self._clear is None:
            [self._clear] = provider().decrypt(self.field.sealing, [self._blob])
        return self._clear

    def masked(self) -> str:
        """The text as everybody may see it (P-4.3)."""
        return mask(self.field.kind, self.clear())

    def blob(self) -> bytes:
        """What the database stores."""
        if self._blob is None:
            [self._blob] = seal(self.field.sealing, [self._clear])
        return self._blob

    def __str__(self):
        return self.masked()

    def __repr__(self):
        return f"<Sealed {self.masked()}>"

    def __eq__(self, other):
        if isinstance(other, Sealed):
            same = (
                self._blob is not None
                and self._blob == other._blob
                and self.field.sealing == other.field.sealing
            )
            return same or self.clear() == other.clear()
        if isinstance(other, str):
            return other != "" and self.clear() == other
        return NotImplemented

    def __hash__(self):
        return hash(self.clear())


class _SealedAttribute(DeferredAttribute):
    """What is assigned becomes `Sealed` at once, so that an unsaved value is as closed as a stored one."""

    def __set__(self, instance, value):
        instance.__dict__[self.field.attname] = self.field.to_python(value)


class SealedField(models.Field):
    """A personal text, stored as bytea under SM4-SIV.

    `kind` (number, phone, address, contact or text) decides how it is masked. `searchable` columns are
    deterministic and can be looked up by ``exact`` and ``in``; nothing else can be. `purpose`, `basis` and
    `keep` are the entry in the register of personal data (SEC-17). An empty string is stored as NULL; the
    column is nullable exactly if it may be blank.

    The names of model and field are authenticated with the values (of numbers and phones, their kind), so
    renaming one needs its values sealed again. In migrations and histories the column is a plain BinaryField.
    """

    descriptor_class = _SealedAttribute
    description = "Sealed personal data"

    def __init__(self, *args, kind, purpose, basis, keep, searchable=False, **kwargs):
        if kind not in _MASKS:
            raise ValueError(f"kind must be one of {', '.join(_MASKS)}, not {kind!r}")
        self.kind, self.searchable = kind, searchable
        self.purpose, self.basis, self.keep = purpose, basis, keep
        super().__init__(*args, **{**kwargs, "null": kwargs.get("blank", False)})

    def contribute_to_class(self, cls, name, **kwargs):
        super().contribute_to_class(cls, name, **kwargs)
        self.sealing = Column(_SHARED.get(self.kind, f"{cls._meta.label_lower}.{name}"), self.searchable)

    def get_internal_type(self):
        return "BinaryField"

    def deconstruct(self):
        name, _, args, kwargs = super().deconstruct()
        kwargs.pop("editable", None)  # BinaryField leaves it out
        return name, "django.db.models.BinaryField", args, kwargs

    def clone(self):
        _, _, args, kwargs = super().deconstruct()
        entry = {"purpose": self.purpose, "basis": self.basis, "keep": self.keep}
        return SealedField(*args, kind=self.kind, searchable=self.searchable, **entry, **kwargs)

    def check(self, **kwargs):
        errors = super().check(**kwargs)
        if (self.unique or self.db_index) and not self.searchable:
            errors.append(
                checks.Error(
                    "Random ciphertexts are neither unique nor found by an index.",
                    obj=self,
                    id="jingwei.E001",
                )
            )
        return errors

    def to_python(self, value):
        """`Sealed` from a text or, as bytes, from a ciphertext of this column; None from nothing."""
        if isinstance(value, Sealed):
            return value if value.field.sealing == self.sealing else Sealed(self, clear=value.clear())
        if isinstance(value, bytes | memoryview):
            return Sealed(self, blob=bytes(value))
        return Sealed(self, clear=value) if value else None

    def from_db_value(self, value, expression, connection):
        return self.to_python(value)

    def get_prep_value(self, value):
        if value is None or hasattr(value, "resolve_expression"):
            return value
        value = self.to_python(value)
        return value and reseal(self.sealing, [value.blob()])[0]

    def validate(self, value, model_instance):
        if value is None:
            if not self.blank:
                raise ValidationError(self.error_messages["blank"], code="blank")
        elif "**" in value.clear():
            raise ValidationError("这是打了星号的显示值，请填写完整内容", code="masked")

    def value_to_string(self, obj):
        raise TypeError("personal data leave the database by the export of the desk, not by a serializer")

    def get_lookup(self, name):
        if name in ("df", "ndf"):  # pgtrigger's "is distinct from": histories compare old ciphertext with new
            return super().get_lookup(name)
        return _LOOKUPS.get(name) if self.searchable or name == "isnull" else None

    def get_transform(self, name):
        return None


class _UnderAnyKey:
    """Compares with the ciphertexts under every key of the ring: values of old keys stay for a while."""

    def get_prep_lookup(self):
        if self.rhs is None or not self.rhs_is_direct_value():
            return super().get_prep_lookup()
        field = self.lhs.output_field
        values = [field.to_python(value) for value in (self.rhs if isinstance(self, In) else [self.rhs])]
        clear = [value.clear() for value in values if value is not None]
        return [
            blob
            for key_id in provider().key_ids
            for blob in provider().encrypt(field.sealing, clear, key_id=key_id)
        ]

    def as_sql(self, compiler, connection):
        if not self.rhs_is_direct_value():
            return super().as_sql(compiler, connection)
        if not self.rhs:
            raise EmptyResultSet
        lhs, params = self.process_lhs(compiler, connection)
        return f"{lhs} = ANY(%s::bytea[])", [*params, self.rhs]


class _SealedExact(_UnderAnyKey, Exact):
    pass


class _SealedIn(_UnderAnyKey, In):
    pass


_LOOKUPS = {"exact": _SealedExact, "in": _SealedIn, "isnull": IsNull}


def reveal(values: Iterable[Sealed | None]) -> None:
    """Open many values in a few calls of the cipher; `clear()` then answers at once."""
    waiting = defaultdict(list)
    for value in values:
        if value is not None and value._clear is None:
            waiting[value.field.sealing].append(value)
    for sealing, group in waiting.items():
        texts = provider().decrypt(sealing, [value._blob for value in group])
        for value, text in zip(group, texts, strict=True):
            value._clear = text


def show(field: SealedField, stored: Sequence[bytes | None], *, clear=False) -> list[str]:
    """What cells show of the stored values of a column: masked unless `clear`, "" where there is nothing."""
    texts = provider().decrypt(field.sealing, stored)
    if clear:
        return [text or "" for text in texts]
    masked = _MASKS[field.kind]
    return [masked(text) if text else "" for text in texts]


def bulk_reveal(instances: Iterable[models.Model], field_names: Iterable[str]) -> None:
    """`reveal` these fields of a list of instances."""
    reveal(getattr(instance, name) for instance in instances for name in field_names)


def personal_fields(model: type[models.Model]) -> list[SealedField]:
    """The sealed fields of a model, in the order of the model."""
    return [field for field in model._meta.concrete_fields if isinstance(field, SealedField)]


_GRAMS = "grams"


class GramsField(ArrayField):
    """Keyed fragments of the texts of a row (P-4.2), filled from `grams_of`; give it a GIN index.

    ``filter(grams__fragment="下洋")`` finds the rows that may contain the text; the few that only seem to are
    recognised after decryption, by `jingwei.kit.text.fold` of both sides.

    `within` names the column with the region's code whose `places` stand in the same index: a fragment that
    half the register has is then found in one community without reading the others.
    """

    def __init__(self, verbose_name=None, within=None, **kwargs):
        self.within = within
        filled = {"null": True, "blank": True, "editable": False}  # by the program, not by people
        super().__init__(
            verbose_name=verbose_name, **{**kwargs, **filled, "base_field": models.IntegerField()}
        )

    def deconstruct(self):
        name, path, args, kwargs = super().deconstruct()
        del kwargs["base_field"]
        return name, path, args, kwargs


@GramsField.register_lookup
class _Fragment(Lookup):
    lookup_name = "fragment"

    def get_prep_lookup(self):
        return query_grams(self.rhs, partial(mac_numbers, _GRAMS, bits=32))

    def as_sql(self, compiler, connection):
        if not self.rhs:
            raise EmptyResultSet
        lhs, params = self.process_lhs(compiler, connection)
        return f"{lhs} @> %s::int4[]", [*params, self.rhs]


def places(region) -> Func:
    """Expression for the codes of town and community in the code of a region, to be indexed beside grams."""
    return Func(
        Left(region, TOWN),
        Left(region, COMMUNITY),
        template="ARRAY[%(expressions)s]",
        output_field=ArrayField(models.TextField()),
    )


def grams_of(texts: list[pl.Series]) -> pl.Series:
    """What a `GramsField` holds for these text columns of the same rows: List(Int32), null without text."""
    return column_grams(texts, partial(mac_numbers, _GRAMS, bits=32))

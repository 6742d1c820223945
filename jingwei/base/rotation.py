# ruff: noqa: S608
"""Rotation of the keys that seal values, while everybody works (P-4.4, SEC-15).

A rotation adds a key to the ring, which is the current one from then on, and moves every stored value to it.
It can be cut off anywhere and goes on where it was: what is left is known by the first bytes of each value.

- Searchable columns that rows are joined or kept unique by go value by value: a few hundred ciphertexts, in
  their order, in all tables in one transaction. How far it got stands in `KeyRotation.reached`, from which
  `fields.seal` knows the one ciphertext that a text has at every moment.
- All other columns, the rows of histories and sealed values inside JSON go row by row; a row that somebody
  has changed meanwhile is left, for it was sealed anew.

Neither leaves a trace in a history, a version or a counter: the values themselves don't change. The tables
come from the models, so no column can be forgotten. The names that stand in the statements are those of our
models, quoted; every value is a parameter.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pgtrigger
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection, models, transaction
from django.utils import timezone
from psycopg.errors import DeadlockDetected, LockNotAvailable

from jingwei.base import audit
from jingwei.base.crypto import DETERMINISTIC, HEAD, Column, Tampered, provider
from jingwei.base.fields import MOVING, SealedField
from jingwei.base.models import KeyRotation
from jingwei.base.wall import beyond_scope

ALONE = 0x726F74617465 + 1  # a lock: one rotation at a time
ALL = "ff" * 17  # behind every value: a tag has 16 bytes
FEW, MANY = 200, 5_000  # values in a transaction: to begin with, and at most
ROWS = 1_000  # of a table in one transaction
SECONDS = 0.2  # that a transaction of values may take: so long may somebody wait who saves
LOT = "256kB"  # entered into an index of fragments at once: with all of the usual 4 MB others wait seconds
PATIENCE = "500ms"  # for locks; then it gives way, before the database thinks of a deadlock
MINUTES = 10  # that a rotation waits at its end for who began before it
_TRIES = 5  # rounds over all tables until nothing is left of the old key

Report = Callable[[int], None]  # values moved so far


@dataclass(frozen=True)
class Place:
    """A column of a table that holds sealed values."""

    model: type[models.Model]
    column: str
    sealing: Column
    label: str

    @property
    def table(self):
        return self.model._meta.db_table

    def under(self, key_id: str) -> tuple[str, list]:
        """The condition, and its parameters, that a value is under this key; an index serves it if it can."""
        column = connection.ops.quote_name(self.column)
        if self.sealing.searchable:
            return f"{column} >= %s AND {column} < %s", [_head(key_id), _end(_head(key_id))]
        return f"get_byte({column}, 1) = %s", [int(key_id[1:])]


def _head(key_id):
    return bytes([DETERMINISTIC, int(key_id[1:])])


def _end(head):
    return (int.from_bytes(head) + 1).to_bytes(HEAD)


def places() -> list[Place]:
    """Every column of sealed values, those of histories too."""
    found = []
    for model in apps.get_models():
        tracked = getattr(model, "pgh_tracked_model", None)
        for field in model._meta.concrete_fields if model._meta.managed else ():
            sealed = field
            if tracked and isinstance(field, models.BinaryField):  # histories know the column as bytes
                sealed = tracked._meta.get_field(field.name)
            if isinstance(sealed, SealedField):
                label = f"{model._meta.verbose_name}：{sealed.verbose_name}"
                if tracked:
                    label = f"{tracked._meta.verbose_name}的历史：{sealed.verbose_name}"
                found.append(Place(model, field.column, sealed.sealing, label))
    return found


def usage(key_id: str) -> dict[str, int]:
    """How many values of each place are under this key, those that have any: {label: count}."""
    found = {}
    with connection.cursor() as cursor:
        for place in places():
            condition, values = place.under(key_id)
            table = connection.ops.quote_name(place.table)
            cursor.execute(f"SELECT count(*) FROM {table} WHERE {condition}", values)
            found[place.label] = cursor.fetchone()[0]
    for model, field in _documents():
        rows = sum(1 for batch in _rows_with_sealed(model, field, key_id) for _ in batch)
        found[f"{model._meta.verbose_name}：{field.verbose_name}"] = rows
    return {label: count for label, count in found.items() if count}


def running() -> KeyRotation | None:
    """The rotation under way, or one that was cut off."""
    return KeyRotation.objects.filter(ended_at=None).first()


@contextmanager
def alone():
    """Nobody else rotates, retires or changes the master key meanwhile; ValidationError if somebody does."""
    session = connection.copy()  # of its own: the lock outlasts transactions
    try:
        with session.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [ALONE])
            if not cursor.fetchone()[0]:
                raise ValidationError("另一次密钥轮换正在进行，请等它结束后再试。")
            try:
                yield
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [ALONE])
    finally:
        session.close()


def rotate(actor, elsewhere: Callable[[str], int], report: Report = lambda moved: None) -> KeyRotation:
    """Have every stored value under a new key; goes on with a rotation that was cut off.

    `elsewhere` moves from a key what is stored outside of the columns and returns how much that was; 0 means
    nothing is left there. ValidationError if values can't be moved, in words.
    """
    with alone(), beyond_scope():
        rotation = _begun(actor)
        earlier = _transactions()
        for _ in range(_TRIES):
            before = rotation.moved
            for name, joined in _joined().items():
                _move_values(rotation, name, joined, report)
            _move_rows(rotation, report)
            _move_documents(rotation, report)
            _count(rotation, elsewhere(rotation.old_key), report)
            if rotation.moved == before and not earlier:
                break
            # What others had sealed before the new key was there is stored when their transactions are over.
            earlier = _left_of(earlier)
        if earlier:
            raise ValidationError("有导入或导出一直没有结束，请等它结束后再运行一次密钥轮换。")
        if left := usage(rotation.old_key):
            raise ValidationError(f"还有数据没有转换（{'、'.join(left)}），请再运行一次密钥轮换。")
        _end_of(actor, rotation)
        return rotation


def _transactions() -> set[str]:
    """The transactions that the application has open at this moment, but our own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT virtualtransaction FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'virtualxid' AND granted AND usename = session_user"
            " AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        return {each for (each,) in cursor.fetchall()}


def _left_of(earlier):
    """Wait until these transactions are over; those that are not after all patience."""
    until = time.monotonic() + MINUTES * 60
    while (earlier := earlier & _transactions()) and time.monotonic() < until:
        time.sleep(SECONDS)
    return earlier


def _begun(actor):
    crypto = provider()
    rotation = running()
    if rotation is None:
        if len(crypto.key_ids) > 1:
            old = "、".join(crypto.key_ids[1:])
            raise ValidationError(
                f"旧密钥 {old} 还没有停用，请先停用（jingwei rotate-keys --retire）再轮换。"
            )
        number = int(crypto.key_id[1:]) + 1
        with transaction.atomic():
            # Before the key is: nobody may seal a joined column with it ahead of the values that are there.
            rotation = KeyRotation.objects.create(
                old_key=crypto.key_id, new_key=f"k{number}", started_by=actor.name
            )
            audit.record(actor, "密钥轮换", rotation, resource="cryptography", label=f"发起：{rotation}")
    if rotation.new_key not in crypto.key_ids:
        added = crypto.add_key()
        if added != rotation.new_key:
            raise ValidationError(f"密钥环给出的新密钥是 {added}，不是 {rotation.new_key}，请检查密钥环。")
    return rotation


@transaction.atomic
def _end_of(actor, rotation):
    rotation.ended_at = timezone.now()
    rotation.save(update_fields=["ended_at"])
    label = f"完成：{rotation}"
    audit.record(actor, "密钥轮换", rotation, resource="cryptography", label=label, moved=rotation.moved)


def retire(actor, key_id: str, elsewhere: Callable[[str], int]):
    """Forget an old key for good; ValidationError, in words, while anything still needs it.

    `elsewhere` counts what is under a key outside of the columns.
    """
    with alone(), beyond_scope():
        if refusal := _why_needed(key_id, elsewhere):
            audit.record(
                actor, "密钥停用", resource="cryptography", label=key_id, result="拒绝", reason=refusal
            )
            raise ValidationError(refusal)
        with transaction.atomic():
            audit.record(actor, "密钥停用", resource="cryptography", label=key_id)
            provider().remove_key(key_id)


def _why_needed(key_id, elsewhere):
    crypto = provider()
    if key_id not in crypto.key_ids:
        return f"没有密钥 {key_id}，现有的是 {'、'.join(crypto.key_ids)}。"
    if key_id == crypto.key_id:
        return f"{key_id} 是当前密钥，不能停用。请先轮换密钥。"
    if running():
        return "密钥轮换还没有完成，不能停用旧密钥。请再运行一次密钥轮换。"
    left = usage(key_id)
    if files := elsewhere(key_id):
        left["文件和保存的查询"] = files
    told = "、".join(f"{label} {count} 个" for label, count in left.items())
    return f"仍有数据使用 {key_id}（{told}），不能停用。" if left else ""


def change_master(actor):
    """Wrap the keys of the ring under a new master key."""
    with alone(), transaction.atomic():
        audit.record(actor, "密钥轮换", resource="cryptography", label="更换主密钥")
        provider().change_master()


def estimate() -> int:
    """How many sealed values there are, as far as the statistics of the database know."""
    named = [(place.table, place.column) for place in places()]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(greatest(reltuples, 0) * (1 - coalesce(null_frac, 0))), 0)::bigint"
            " FROM unnest(%s::text[], %s::text[]) AS place(name, attname)"
            " JOIN pg_class ON oid = name::regclass OR oid IN (SELECT relid FROM pg_partition_tree(name))"
            " LEFT JOIN pg_stats ON tablename = name AND pg_stats.attname = place.attname",
            [list(column) for column in zip(*named, strict=True)],
        )
        return cursor.fetchone()[0]


# --- value by value ---------------------------------------------------------------------------------------


def _joined() -> dict[str, list[Place]]:
    """The searchable columns that begin an index or have to be unique, by the name of what they hold."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indrelid::regclass::text, attname FROM pg_index"
            " JOIN pg_attribute ON attrelid = indrelid WHERE indisvalid AND"
            " (attnum = indkey[0] AND indpred IS NULL OR attnum = ANY(indkey) AND indisunique)"
        )
        indexed = set(cursor.fetchall())
    found = defaultdict(list)
    for place in places():
        if place.sealing.searchable:
            # Any other goes row by row, under the same rule for what is written meanwhile.
            found[place.sealing.name] += [place] if (place.table, place.column) in indexed else []
    return dict(found)


def _move_values(rotation, name, joined, report):
    """Move the values of the columns of this name, those first that lie in front of all that was moved."""
    strays = rotation.reached.get(name) == ALL  # all were moved: what is found was sealed before that
    size, low = FEW, "" if strays else rotation.reached.get(name, "")
    while True:
        started = time.monotonic()
        try:
            low, count = _move_some(rotation, name, joined, bytes.fromhex(low), size, strays)
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable | DeadlockDetected):
                raise
            time.sleep(SECONDS)  # somebody is storing much: an import, perhaps
            continue
        _count(rotation, count, report)
        if low == ALL:
            return
        taken = time.monotonic() - started
        size = (
            max(FEW, size // 2) if taken > SECONDS else min(MANY, size * 2) if taken < SECONDS / 4 else size
        )


def _move_some(rotation, name, joined, low, size, strays):
    """Move up to `size` values behind `low` in all tables; returns the last one in hex, and how many rows."""
    head = _head(rotation.old_key)
    with pgtrigger.ignore(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [MOVING])
        cursor.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        cursor.execute(f"SET LOCAL gin_pending_list_limit = '{LOT}'")
        found, ends = set(), []
        for place in joined:
            table, column = map(connection.ops.quote_name, (place.table, place.column))
            cursor.execute(
                f"SELECT DISTINCT {column} FROM {table} WHERE {column} > %s AND {column} < %s"
                f" ORDER BY {column} LIMIT %s",
                [head + low, _end(head), size],
            )
            values = [bytes(value) for (value,) in cursor.fetchall()]
            found.update(values)
            ends += values[-1:] if len(values) == size else []
        last = min(ends, default=None)
        old = sorted(value for value in found if last is None or value <= last)
        count = 0
        if old:
            sealing = joined[0].sealing
            new = provider().encrypt(sealing, provider().decrypt(sealing, old), key_id=rotation.new_key)
            for place in joined:
                table, column = map(connection.ops.quote_name, (place.table, place.column))
                cursor.execute(
                    f"UPDATE {table} SET {column} = moved.new"
                    f" FROM unnest(%s::bytea[], %s::bytea[]) AS moved(old, new)"
                    f" WHERE {table}.{column} = moved.old",
                    [old, new],
                )
                count += cursor.rowcount
        upto = ALL if last is None else last[HEAD:].hex()
        if not strays:
            rotation.reached[name] = upto
            rotation.save(update_fields=["reached"])
        return upto, count


# --- row by row -------------------------------------------------------------------------------------------


def _move_rows(rotation, report):
    joined = {place for found in _joined().values() for place in found}
    tables = defaultdict(list)
    for place in places():
        if place not in joined:
            tables[place.model].append(place)
    for model, columns in tables.items():
        conditions, values = zip(*(place.under(rotation.old_key) for place in columns), strict=True)
        for rows in _batches(
            model, [place.column for place in columns], " OR ".join(conditions), sum(values, [])
        ):
            with pgtrigger.ignore(), transaction.atomic():
                moved = _move_batch(rotation, model, columns, rows)
            _count(rotation, moved, report)


def _move_batch(rotation, model, columns, rows):
    """Have the values of these rows, (keys, columns), under the new key: each row once; how many values."""
    number, quote = int(rotation.old_key[1:]), connection.ops.quote_name
    table, keys = quote(model._meta.db_table), model._meta.pk_fields
    lists, kinds, aliases = [*zip(*(keys for keys, _ in rows), strict=True)], [*map(_kind, keys)], []
    for at, place in enumerate(columns):
        old = [row[at] if row[at] is not None and row[at][1] == number else None for _, row in rows]
        texts = provider().decrypt(place.sealing, old)
        lists += [old, provider().encrypt(place.sealing, texts, key_id=rotation.new_key)]
        kinds += ["bytea", "bytea"]
        aliases += [f"old{at}", f"new{at}"]
    arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
    names = ", ".join([*(f"k{at}" for at in range(len(keys))), *aliases])
    same = [f"{table}.{quote(field.column)} = k{at}" for at, field in enumerate(keys)]
    stored = [(at, quote(place.column)) for at, place in enumerate(columns)]
    # Who has changed a value meanwhile has sealed it anew; the rest of the row waits for the next round.
    same += [f"(old{at} IS NULL OR {table}.{column} = old{at})" for at, column in stored]
    assigned = ", ".join(f"{column} = coalesce(new{at}, {table}.{column})" for at, column in stored)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {assigned} FROM unnest({arrays}) AS moved({names})"
            f" WHERE {' AND '.join(same)}"
            f" RETURNING num_nonnulls({', '.join(f'old{at}' for at, _ in stored)})",
            list(map(list, lists)),
        )
        return sum(count for (count,) in cursor.fetchall())


def _kind(field):
    return (field.target_field if field.remote_field else field).rel_db_type(connection)


def _batches(model, columns, condition, values) -> Iterator[list[tuple[tuple, tuple]]]:
    """Rows of a table for which the condition holds, in the order of their keys: (keys, these columns)."""
    quote = connection.ops.quote_name
    keys = [quote(field.column) for field in model._meta.pk_fields]
    names, last = ", ".join(keys), None
    fetched = ", ".join([*keys, *map(quote, columns)])
    while True:
        behind = f"AND ({names}) > ({', '.join(['%s'] * len(keys))})" if last else ""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {fetched} FROM {quote(model._meta.db_table)} WHERE ({condition}) {behind}"
                f" ORDER BY {names} LIMIT {ROWS}",
                [*values, *(last or ())],
            )
            rows = [(row[: len(keys)], row[len(keys) :]) for row in cursor.fetchall()]
        if not rows:
            return
        yield rows
        last = rows[-1][0]


# --- inside JSON ------------------------------------------------------------------------------------------


def _documents():
    """The JSON columns in which rows may be kept as the database tells them; the log holds none."""
    tables = set(connection.introspection.table_names())
    for model in apps.get_models():
        if model._meta.db_table in tables and not getattr(model, "append_only", False):
            for field in model._meta.concrete_fields:
                if isinstance(field, models.JSONField):
                    yield model, field


def _move_documents(rotation, report):
    for model, field in _documents():
        for rows in _rows_with_sealed(model, field, rotation.old_key):
            for keys, document, opened in rows:
                # Equal values of a document stay equal: what is kept of a row before and after is compared.
                new = {
                    old: provider().encrypt(sealing, [text], key_id=rotation.new_key)[0]
                    for old, (sealing, text) in opened.items()
                }
                chosen = model._base_manager.filter(pk=keys if len(keys) > 1 else keys[0])
                changed = chosen.filter(**{field.name: document}).update(**{field.name: _with(document, new)})
                _count(rotation, changed * len(new), report)


def _rows_with_sealed(model, field, key_id):
    """Batches of (keys, document, {value under this key: its sealing and text}) of rows that have some."""
    sealings = defaultdict(set)
    for place in places():
        sealings[place.column].add(place.sealing)
    column = connection.ops.quote_name(field.column)
    condition, number = f"{column}::text ~ %s", int(key_id[1:])
    for rows in _batches(model, [field.column], condition, [rf'"\\\\x0[12]{number:02x}[0-9a-f]{{32}}']):
        found = []
        for keys, (text,) in rows:
            document = field.from_db_value(text, None, connection)
            opened = {}
            for name, value in set(_sealed_in(document)):
                for sealing in sealings[name] if value[1] == number else ():
                    text = _opened(sealing, value)
                    if text is not None:
                        opened[value] = sealing, text
            if opened:
                found.append((keys, document, opened))
        yield found


def _sealed_in(document, name=""):
    """(column, value) of the values in a document that may be sealed, as PostgreSQL writes bytes in JSON."""
    if isinstance(document, dict):
        for key, part in document.items():
            yield from _sealed_in(part, key)
    elif isinstance(document, list):
        for part in document:
            yield from _sealed_in(part, name)
    elif isinstance(document, str) and document.startswith("\\x0"):
        try:
            yield name, bytes.fromhex(document[2:])
        except ValueError:
            return


def _opened(sealing, value):
    try:
        return provider().decrypt(sealing, [value])[0]
    except Tampered:
        return None


def _with(document, new):
    """The document with these values replaced."""
    if isinstance(document, dict):
        return {key: _with(part, new) for key, part in document.items()}
    if isinstance(document, list):
        return [_with(part, new) for part in document]
    if isinstance(document, str) and document.startswith("\\x0"):
        written = {f"\\x{old.hex()}": f"\\x{value.hex()}" for old, value in new.items()}
        return written.get(document, document)
    return document


def _count(rotation, count, report):
    if count:
        rotation.moved += count
        KeyRotation.objects.filter(pk=rotation.pk).update(moved=rotation.moved)
    report(rotation.moved)

# ruff: noqa: S608, S610
"""One chunk of cleaned rows into a table, set by set (architecture §4, "many rows").

`compare` says what a chunk would do, `merge` does it inside the transaction of its caller. An empty cell
never overwrites a filled one (CL-6.3); a row that comes out as it was is not touched. Sheets whose rows must
go through a form's rules one by one (`Sheet.save`) are merged by `merge_singly`.

The names that stand in the statements are those of our models, quoted; every value is a parameter.
"""

import json
from dataclasses import dataclass, field

import pghistory
import polars as pl
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from jingwei.base.copying import as_rows, copy_into, copy_rows
from jingwei.base.crypto import provider
from jingwei.base.fields import SealedField, personal_fields, reseal_rows, seal
from jingwei.base.models import Load, LoadRow
from jingwei.base.reading import ROW
from jingwei.base.sheets import MESSAGES, Sheet, stored_value

ADDED, CHANGED = "新增", "修改"
THERE = "已登记；“只新增”方式不修改已有的记录"
UNKNOWN = "还没有登记；“只修改”方式不新增记录"
ZONE = "Asia/Shanghai"
_ID = "__id"
_TRIES = 5  # a form that registers the same thing at the same moment makes a chunk begin again


@dataclass
class Outcome:
    """What a chunk does: rows to add, whole rows to change (with `__id`), how many stay, refusals (MESSAGES).

    What follows from the columns of the rows to add (`Sheet.derive`) is still missing.
    """

    added: pl.DataFrame
    changed: pl.DataFrame
    unchanged: int = 0
    refused: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=MESSAGES))


@dataclass
class Additions:
    """Rows to add as `copy_rows` takes them, their ids, numbers in the sheet and parents (`Sheet.parent`)."""

    ids: pl.Series
    numbers: pl.Series
    parents: list[int]
    columns: list[str]
    stored: bytes


class Table:
    """The table of a sheet: its rows as clear columns, and clear columns as its rows."""

    def __init__(self, sheet: Sheet):
        self.sheet = sheet
        self.meta = sheet.model._meta
        self.name = connection.ops.quote_name(self.meta.db_table)
        self.pk = connection.ops.quote_name(self.meta.pk.column)
        names = [*sheet.places, *(column.name for column in sheet.stored)]
        self.fields = {name: self.meta.get_field(name) for name in names}
        self.written = self.fields | {name: self.meta.get_field(name) for name in sheet.derived}
        self.untouched = False  # by anybody but the load at hand

    def begin(self):
        """Note before a load begins whether there is any row; without one, none is looked for (CL-P1).

        What others add meanwhile is met at the unique constraint of the key, and everything compared again.
        """
        kept_unique = not self.sheet.save and not any(self.fields[name].null for name in self.sheet.key)
        self.untouched = kept_unique and not self.sheet.model._base_manager.exists()

    def columns(self, fields) -> str:
        """The quoted columns of these fields."""
        return ", ".join(connection.ops.quote_name(f.column) for f in fields)

    def find(self, rows: pl.DataFrame, *, lock=False) -> pl.DataFrame:
        """The stored rows with the keys of `rows`: ROW, __id and the sheet's columns in clear.

        With `lock` they stay as they are until the end of the transaction.
        """
        schema = {ROW: pl.Int64, _ID: _dtype(self.meta.pk)}
        schema |= {name: _dtype(f) for name, f in self.fields.items()}
        frame = pl.DataFrame(self._look_up(rows, lock), schema=schema, orient="row")
        return frame.with_columns(as_clear(f, frame[name]) for name, f in self.fields.items())

    def _look_up(self, rows, lock):
        aliases, owner = self.sheet.aliases or (None, None)
        if self.untouched and not (aliases and aliases._base_manager.exists()):
            return []
        keys = [self.fields[name] for name in self.sheet.key]
        # A rotation leaves numbers under several keys of the ring for a while.
        sealed = any(isinstance(key, SealedField) for key in keys)
        key_ids = provider().key_ids if sealed else [None]
        arrays = [as_array(pl.concat([rows[ROW]] * len(key_ids)))]
        for key in keys:
            stored = [as_stored(key, rows[key.name], key_id) for key_id in key_ids]
            arrays.append(as_array(pl.concat(stored)))
        found = self._find("m", "", arrays, lock)
        if aliases:
            name, owner = map(connection.ops.quote_name, (aliases._meta.db_table, f"{owner}_id"))
            found += self._find("a", f"JOIN {name} a ON a.{owner} = m.{self.pk}", arrays, lock)
        return found

    def _find(self, keyed, join, arrays, lock):
        """Rows by the key columns of `keyed`: "m" is the table itself, another one is brought by `join`."""
        quote = connection.ops.quote_name
        keys = [self.fields[name] for name in self.sheet.key]
        names = ", ".join(f"k{place}" for place in range(len(keys)))
        kinds = ", ".join(f"{ARRAY}::{key.db_type(connection)}[]" for key in keys)
        equals = ["IS NOT DISTINCT FROM" if key.null else "=" for key in keys]
        columns = [f"{keyed}.{quote(key.column)}" for key in keys]
        same = " AND ".join(f"{columns[at]} {equals[at]} k{at}" for at in range(len(keys)))
        fetched = ", ".join(f"m.{quote(f.column)}" for f in self.fields.values())
        with connection.cursor() as cursor:
            # A table that is just being filled has no statistics; each row is one look-up in an index.
            cursor.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
            cursor.execute(
                f"SELECT k.row, m.{self.pk}, {fetched} "
                f"FROM {self.name} m {join} "
                f"JOIN unnest({ARRAY}::int[], {kinds}) AS k(row, {names}) ON {same} "
                f"ORDER BY 2 {'FOR UPDATE OF m' if lock else ''}",
                arrays,
            )
            return cursor.fetchall()

    def new_ids(self, count) -> list[int]:
        """Ids for as many new rows."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT array_agg(nextval(name)) "
                "FROM CAST(pg_get_serial_sequence(%s, %s) AS regclass) AS name, generate_series(1, %s)",
                [self.name, self.meta.pk.column, count],
            )
            return cursor.fetchone()[0]

    def defaults(self, actor) -> dict[str, object]:
        """{column: value} of what a new row has besides the sheet's columns."""
        given = {f.name for f in self.written.values()} | {self.meta.pk.name}
        rest = [f for f in self.meta.concrete_fields if f.name not in given]
        return {f.column: actor.operator_id if f.name == "created_by" else f.get_default() for f in rest}


# Arrays go in as one text, which is many times faster than element by element. The separators are control
# characters, which no cleaned text contains.
ARRAY = "string_to_array(%s, chr(31), chr(30))"


def as_array(values: pl.Series) -> str:
    """The parameter of an ARRAY; null is NULL."""
    if values.dtype == pl.Binary:
        values = "\\x" + values.bin.encode("hex")
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone:
        values = values.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%d %H:%M:%S%.6f+00")
    text = pl.first().cast(pl.String).fill_null(chr(30)).str.join(chr(31))
    return values.to_frame().select(text).item()


def _dtype(model_field):
    match model_field:
        case SealedField():
            return pl.Binary
        case models.ForeignKey():
            return _dtype(model_field.target_field)
        case models.DateTimeField():
            return pl.Datetime("us", "UTC")
        case models.DateField():
            return pl.Date
        case models.BooleanField():
            return pl.Boolean
        case models.FloatField():
            return pl.Float64
        case models.IntegerField():
            return pl.Int64
    return pl.String


def as_stored(model_field, values: pl.Series, key_id=None) -> pl.Series:
    """Clear values as `copy_into` stores them: sealed, empty texts for null, times with their zone.

    With `key_id` sealed under this key, to find what is stored under it.
    """
    if isinstance(model_field, SealedField):
        sealing, texts = model_field.sealing, values.to_list()
        sealed = provider().encrypt(sealing, texts, key_id=key_id) if key_id else seal(sealing, texts)
        return pl.Series(values.name, sealed, dtype=pl.Binary)
    if isinstance(model_field, models.DateTimeField):
        return values.dt.replace_time_zone(ZONE)
    if isinstance(model_field, models.CharField | models.TextField) and not model_field.null:
        return values.fill_null("") if values.has_nulls() else values
    return values


def as_clear(model_field, values: pl.Series) -> pl.Series:
    """Stored values as cleaning gives them: opened, null for empty texts, naive local times."""
    if isinstance(model_field, SealedField):
        opened = provider().decrypt(model_field.sealing, values.to_list())
        return pl.Series(values.name, opened, dtype=pl.String)
    if isinstance(model_field, models.DateTimeField):
        return values.dt.convert_time_zone(ZONE).dt.replace_time_zone(None)
    return values.replace("", None) if values.dtype == pl.String else values


def compare(actor, table: Table, rows: pl.DataFrame, mode: str, *, lock=False) -> Outcome:
    """What the cleaned `rows` (ROW and the sheet's columns) would do to the table."""
    sheet, found = table.sheet, table.find(rows, lock=lock)
    new = rows.join(found.select(ROW), on=ROW, how="anti")
    known = rows.join(found, on=ROW, suffix="__old")
    outside = set(found[_ID]) - _visible_ids(actor, sheet, found[_ID].to_list())
    refused = [_refusals(sheet, known.filter(pl.col(_ID).is_in(outside)), sheet.elsewhere)]
    known = known.filter(~pl.col(_ID).is_in(outside))
    if mode == "add":
        refused.append(_refusals(sheet, known, THERE))
        known = known.clear()
    if mode == "update":
        refused.append(_refusals(sheet, new, UNKNOWN))
        new = new.clear()
    changed = _changed(sheet, table, known)
    return Outcome(
        added=new.select(ROW, *table.fields),
        changed=changed,
        unchanged=len(known) - len(changed),
        refused=pl.concat(refused),
    )


def _changed(sheet, table, known):
    """The rows of `known` that come out different, whole: stored values, new ones over them, what follows."""
    if known[_ID].is_duplicated().any():  # two documents of one person
        known = known.group_by(_ID, maintain_order=True).agg(
            pl.col(name).first()
            if name == ROW or name.endswith("__old")
            else pl.col(name).drop_nulls().last()
            for name in known.columns
            if name != _ID
        )
    names = list(table.fields)
    open_names = [name for name in names if name not in sheet.key]
    differs = pl.any_horizontal(
        pl.col(name).is_not_null() & pl.col(name).ne_missing(pl.col(f"{name}__old")) for name in open_names
    )
    old = known.filter(differs)
    merged = old.select(
        ROW,
        _ID,
        # A row found by another of its documents keeps its own.
        *(pl.col(f"{name}__old").alias(name) for name in sheet.key),
        *overlay(sheet, old, open_names),
    )
    whole = _completed(sheet, merged)
    # What follows from other columns may overrule the cell that differed, such as a sex beside an ID number.
    really = pl.any_horizontal(whole[name].ne_missing(old[f"{name}__old"]) for name in names)
    return whole.filter(pl.select(really).to_series()) if len(whole) else whole


def overlay(sheet: Sheet, known: pl.DataFrame, names) -> list[pl.Expr]:
    """What columns of `known` (new values, stored ones as `<name>__old`) come out as (CL-6.3).

    An empty value never overwrites a filled one; else the new value wins, unless its row comes before the
    stored one by the sheet's precedence, or the sheet's rules keep the column.
    """
    weaker, kept = pl.lit(_comes_before(sheet, known)), sheet.kept()
    filled = {name: [pl.coalesce(name, f"{name}__old"), pl.coalesce(f"{name}__old", name)] for name in names}
    if not sheet.precedence:
        return [filled[name][name in kept].alias(name) for name in names]
    return [
        pl.when(weaker | pl.lit(name in kept)).then(first).otherwise(last).alias(name)
        for name, (last, first) in filled.items()
    ]


def _comes_before(sheet, known):
    """Boolean: rows whose new values stand before the stored ones by the precedence; nothing stands first."""
    stored = [name for name in known.columns if name.endswith("__old")]
    olds = known.select(pl.col(name).alias(name.removesuffix("__old")) for name in stored)
    before = pl.repeat(False, len(known), eager=True)
    for rank in reversed(sheet.precedence):
        new, old = known.select(rank).to_series(), olds.select(rank).to_series()
        less = (new < old).fill_null(False) | (new.is_null() & old.is_not_null())
        before = less | (new.eq_missing(old) & before)
    return before


def _completed(sheet, rows):
    return rows.with_columns(sheet.derive(rows)) if len(rows) else rows


def _visible(actor, sheet, ids):
    """Those of the rows with these ids that the actor may import into."""
    quote, meta = connection.ops.quote_name, sheet.model._meta
    rows = sheet.model.objects.visible_to(actor, f"{sheet.resource}.import")
    # As one array: an IN of twenty thousand takes longer to write than to answer.
    chosen = f"{quote(meta.db_table)}.{quote(meta.pk.column)} = ANY(%s)"
    return rows.extra(where=[chosen], params=[list(ids)]).order_by()


def _visible_ids(actor, sheet, ids):
    if actor.data_scope(f"{sheet.resource}.import").everything:
        return set(ids)
    return set(_visible(actor, sheet, ids).values_list("pk", flat=True))


def _refusals(sheet, rows, reason):
    return pl.DataFrame(
        {ROW: rows[ROW], "column": [sheet.key[-1]] * len(rows), "reason": [reason] * len(rows)}, MESSAGES
    )


def additions(actor, table: Table, added: pl.DataFrame) -> Additions | None:
    """What is to be added, made ready. Takes time, but no lock, and may be done over another connection."""
    if added.is_empty():
        return None
    whole = _completed(table.sheet, added)
    ids = pl.Series(table.meta.pk.column, table.new_ids(len(added)), dtype=pl.Int64)
    rows = pl.DataFrame([ids, *_stored_columns(table, whole)]).with_columns(
        **_constants(table.defaults(actor))
    )
    # Ids follow the file. In the order of the key its index, the largest, is written place by place.
    ordered = rows.sort(table.fields[table.sheet.key[-1]].column)
    return Additions(ids, whole[ROW], _parents_in(table, rows), *as_rows(table.meta.db_table, ordered))


def merge(actor, table: Table, record: Load, rows, outcome: Outcome, added: Additions | None) -> Outcome:
    """Store what `compare` found of `rows`, and the `additions` made of it; returns what was done in the end.

    Call it in a transaction that no other load of the table shares. What a form has registered or changed
    since the comparison is compared again.
    """
    if len(provider().key_ids) > 1:
        # A rotation may have moved values since they were sealed; in this transaction it moves none.
        added = additions(actor, table, outcome.added)
    for tries_left in reversed(range(_TRIES)):
        try:
            with transaction.atomic():
                _add(actor, table, record, added)
                if len(outcome.changed):
                    chosen = rows.filter(pl.col(ROW).is_in(outcome.changed[ROW].implode()))
                    now = compare(actor, table, chosen, record.mode, lock=True)
                    outcome.changed, outcome.unchanged = now.changed, outcome.unchanged + now.unchanged
                    _change(actor, table, record, outcome.changed)
                return outcome
        except IntegrityError:
            if not tries_left:
                raise
            table.untouched = False
            outcome = compare(actor, table, rows, record.mode)
            added = additions(actor, table, outcome.added)


def _add(actor, table, record, added):
    if added is None:
        return
    copy_rows(table.meta.db_table, added.columns, added.stored)
    copy_into(
        LoadRow._meta.db_table,
        pl.DataFrame({"row": added.ids, "sheet_row": added.numbers}).with_columns(
            **_constants({"load_id": record.pk, "outcome": ADDED, "version": 1})
        ),
    )
    ids = added.ids.to_list()
    _require_in_scope(actor, table.sheet, ids)
    table.sheet.roll_up(added.parents)
    table.sheet.on_add(ids)


def _change(actor, table, record, changed):
    if changed.is_empty():
        return
    sheet, quote = table.sheet, connection.ops.quote_name
    columns = table.columns(table.written.values())
    pk = table.pk
    frame = pl.DataFrame(
        [changed[_ID].alias(table.meta.pk.column), changed[ROW], *_stored_columns(table, changed)]
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMP TABLE changed AS SELECT {pk}, 0 AS {ROW}, {columns} FROM {table.name} LIMIT 0"
        )
        copy_into("changed", frame)
        cursor.execute(
            f"INSERT INTO {LoadRow._meta.db_table} (load_id, row, sheet_row, outcome, version, before) "
            f"SELECT %s, m.{pk}, changed.{ROW}, %s, m.version + 1, "
            f"to_jsonb(m) - ARRAY(SELECT jsonb_object_keys(to_jsonb(m)) EXCEPT SELECT unnest(%s::text[])) "
            f"FROM changed JOIN {table.name} m USING ({pk})",
            [record.pk, CHANGED, [f.column for f in table.written.values()]],
        )
        moves = []
        if sheet.watched:
            watched = quote(table.fields[sheet.watched].column)
            cursor.execute(
                f"SELECT {pk}, m.{watched}, changed.{watched} FROM changed JOIN {table.name} m USING ({pk}) "
                f"WHERE m.{watched} IS DISTINCT FROM changed.{watched}"
            )
            moves = cursor.fetchall()
        assigned = ", ".join(f"{quote(f.column)} = changed.{quote(f.column)}" for f in table.written.values())
        with pghistory.context(name=actor.name, act="导入"):
            cursor.execute(
                f"UPDATE {table.name} m SET {assigned}, version = m.version + 1, updated_at = %s "
                f"FROM changed WHERE m.{pk} = changed.{pk}",
                [timezone.now()],
            )
        cursor.execute("DROP TABLE changed")
    if moves:
        sheet.on_change(actor, moves, f"导入：{record.file_name}"[:200])
    _require_in_scope(actor, sheet, changed[_ID].to_list())
    sheet.roll_up(_parents_in(table, frame))


def _parents_in(table, stored):
    """The parents of rows as the table stores them, none for a sheet without."""
    parent = table.sheet.parent
    return stored[table.fields[parent].column].unique().to_list() if parent else []


def _stored_columns(table, rows):
    return [as_stored(f, rows[name]).alias(f.column) for name, f in table.written.items()]


def _constants(values):
    return {name: pl.lit(value) for name, value in values.items()}


def _require_in_scope(actor, sheet, ids):
    """The types of the columns keep rows inside the scope; this is the net below them."""
    if _visible(actor, sheet, ids).count() != len(ids):
        raise ValidationError("有的行不在您的管辖范围内，没有导入")


def merge_singly(actor, table: Table, record: Load, outcome: Outcome) -> Outcome:
    """Store what `compare` found one by one through `Sheet.save`, each by the rules of the form."""
    sheet = table.sheet
    done = {ADDED: [], CHANGED: []}
    refused = [outcome.refused]
    for act, frame in ((ADDED, outcome.added), (CHANGED, outcome.changed)):
        for row in frame.iter_rows(named=True):
            number, pk = row.pop(ROW), row.pop(_ID, None)
            try:
                with transaction.atomic():
                    _save_one(actor, table, record, number, pk, row)
                done[act].append(number)
            except ValidationError as refusal:
                refused.append(_reasons(sheet, number, refusal))
    outcome.added = outcome.added.filter(pl.col(ROW).is_in(done[ADDED]))
    outcome.changed = outcome.changed.filter(pl.col(ROW).is_in(done[CHANGED]))
    outcome.refused = pl.concat(refused)
    return outcome


def _save_one(actor, table, record, number, pk, row):
    sheet = table.sheet
    given = {f.attname: stored_value(f, row[name]) for name, f in table.fields.items()}
    if pk is None:
        obj, before = sheet.model(), None
        given = {name: value for name, value in given.items() if value not in (None, "")}
    else:
        obj = sheet.model.objects.get(pk=pk)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT to_jsonb(m) FROM {table.name} m WHERE {table.pk} = %s", [pk])
            before = json.loads(cursor.fetchone()[0])
    sheet.save(actor, obj, values=given)
    _require_in_scope(actor, sheet, [obj.pk])
    LoadRow.objects.create(
        load=record,
        row=obj.pk,
        sheet_row=number,
        outcome=ADDED if pk is None else CHANGED,
        version=obj.version,
        before=before,
    )


def _reasons(sheet, number, refusal):
    """What a form would say beside its fields, as MESSAGES."""
    by_field = (
        refusal.message_dict if hasattr(refusal, "error_dict") else {NON_FIELD_ERRORS: refusal.messages}
    )
    found = [
        (number, name if sheet.column(name) else sheet.key[-1], reason)
        for name, reasons in by_field.items()
        for reason in reasons
    ]
    return pl.DataFrame(found, MESSAGES, orient="row")


def undo(actor, table: Table, record: Load, ids) -> dict[str, int]:
    """Take back what these rows of a load (ids of LoadRow) say: how many {deleted, restored, left}.

    Call it in a transaction. What is taken back is forgotten. A row that was changed since, or that something
    refers to, stays as it is, and its LoadRow gets the reason.
    """
    sheet, quote, rows = table.sheet, connection.ops.quote_name, LoadRow._meta.db_table
    pk, columns = table.pk, list(table.written.values())
    kind = table.meta.pk.db_type(connection)  # a region's key is its code, all digits
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT r.outcome, m.{pk}, m.version = r.version, r.id "
            f"FROM {rows} r JOIN {table.name} m ON m.{pk} = r.row::{kind} WHERE r.id = ANY(%s) "
            f"ORDER BY 2 FOR UPDATE OF m",
            [ids],
        )
        there = cursor.fetchall()
        visible = _visible_ids(actor, sheet, [row for _, row, _, _ in there])
        reasons = {row: "此后已被修改" for _, row, same, _ in there if not same or row not in visible}
        added = [row for outcome, row, _, _ in there if outcome == ADDED and row not in reasons]
        reasons |= _referred_to(sheet.model, added)
        added = [row for row in added if row not in reasons]
        changed = [row for outcome, row, _, _ in there if outcome == CHANGED and row not in reasons]
        before = f"{rows} r, jsonb_populate_record(NULL::{table.name}, r.before) old"
        chosen = f"r.id = ANY(%s) AND m.{pk} = ANY(%s) AND m.{pk} = r.row::{kind}"
        moves = []
        if sheet.watched:
            watched = quote(table.fields[sheet.watched].column)
            cursor.execute(
                f"SELECT m.{pk}, m.{watched}, old.{watched} FROM {table.name} m, {before} "
                f"WHERE {chosen} AND m.{watched} IS DISTINCT FROM old.{watched}",
                [ids, changed],
            )
            moves = cursor.fetchall()
        parents = _parents_of(table, [*added, *changed])
        sheet.on_remove(added)
        _reseal(sheet.model, ids)
        assigned = ", ".join(f"{quote(f.column)} = old.{quote(f.column)}" for f in columns)
        with pghistory.context(name=actor.name, act="撤销导入"):
            cursor.execute(
                f"UPDATE {table.name} m SET {assigned}, version = m.version + 1, updated_at = %s "
                f"FROM {before} WHERE {chosen}",
                [timezone.now(), ids, changed],
            )
            cursor.execute(f"DELETE FROM {table.name} WHERE {pk} = ANY(%s)", [added])
        left = {number: reasons[row] for _, row, _, number in there if row in reasons}
        cursor.execute(f"DELETE FROM {rows} WHERE id = ANY(%s) AND id <> ALL(%s)", [ids, list(left)])
        cursor.execute(
            f"UPDATE {rows} SET outcome = reason, before = NULL "
            f"FROM unnest(%s::bigint[], %s::text[]) AS given(number, reason) WHERE id = number",
            [list(left), list(left.values())],
        )
    if parents:
        sheet.roll_up(parents)
    if moves:
        sheet.on_change(actor, moves, f"撤销导入：{record.file_name}"[:200])
    return {"deleted": len(added), "restored": len(changed), "left": len(left)}


def _reseal(model, ids):
    """Have what these rows of a load were before sealed as it is stored now, while keys rotate."""
    if len(provider().key_ids) == 1 or not personal_fields(model):
        return
    kept = list(LoadRow.objects.filter(pk__in=ids, before__isnull=False))
    for row, before in zip(kept, reseal_rows(model, [row.before for row in kept]), strict=True):
        row.before = before
    LoadRow.objects.bulk_update(kept, ["before"])


def _parents_of(table, ids):
    """Ids of the parents of these rows, none for a sheet without."""
    if not table.sheet.parent:
        return []
    rows = table.sheet.model._base_manager.filter(pk__in=ids)
    return sorted(set(rows.values_list(table.fields[table.sheet.parent].attname, flat=True)))


def _referred_to(model, ids):
    """{id: reason} of the rows that other tables refer to."""
    found = {}
    for relation in model._meta.related_objects:
        target = relation.field
        if (
            isinstance(target, models.ForeignKey)
            and target.db_constraint
            and relation.related_model._meta.managed
        ):
            rows = relation.related_model._default_manager.filter(**{f"{target.name}__in": ids})
            named = str(relation.related_model._meta.verbose_name)
            found |= {row: f"已有{named}"[:60] for row in rows.values_list(target.attname, flat=True)}
    return found

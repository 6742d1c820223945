"""Two records of one person become one, and two again if that was wrong (P-5.7).

A merge keeps one record, gives it the values chosen, and moves to it whatever refers to the other, in
whichever package: every foreign key to `Person` is found by Django and moved, except those of `APART`. What
is joined by the document number (samples, scans) stays under the number it came with; the kept person is then
known by both, see `queries.numbers_of`. The other record is deleted; `Merge.record` holds what undoing needs:

    kept     [the kept row before, the kept row after]
    gone     the row of the other record
    moved    {"table.column": keys of the rows that referred to it}
    dropped  {table: rows of either that could not stand on one person}
    made     {table: keys of the rows that the merge added}

Rows are as PostgreSQL's to_jsonb tells them, so that they return exactly; personal columns are ciphertext.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass

import pghistory
import pghistory.models
import polars as pl
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.fields import SealedField, reseal_rows
from jingwei.base.saving import StaleRecord
from jingwei.base.sheets import clear_value, stored_value
from jingwei.people.actions import note_transfers, roll_up_doses, start_roll_up_of_samples
from jingwei.people.duplicates import pairs_of
from jingwei.people.following import FOLLOWING, SOURCES, TELLING, following
from jingwei.people.models import LATEST, Dose, DuplicatePair, Merge, Person, PersonAlias, Transfer

# What counts changes or follows from the rest; nobody chooses it, and undoing works it out.
UNCHOSEN = {*Person.internal, *LATEST}
SAMPLED = ("sampled_at", "sample_result", "sample_point")


@dataclass(frozen=True)
class Choice:
    """Columns of which the kept person gets those of one record or of the other, together."""

    name: str
    label: str
    fields: tuple[str, ...]


def choices() -> list[Choice]:
    """What is chosen between the two records, in the order of the register."""
    fields = [f for f in Person._meta.concrete_fields if f.name not in {*UNCHOSEN, "doc_type", "number"}]
    found = [Choice(f.name, str(f.verbose_name), (f.name,)) for f in fields]
    # A number says nothing without its type.
    return [found[0], found[1], Choice("number", "证件", ("doc_type", "number")), *found[2:]]


def values_of(person, choice) -> tuple:
    """What a record holds for a choice; personal values stay sealed."""
    return tuple(getattr(person, Person._meta.get_field(name).attname) for name in choice.fields)


def is_empty(values) -> bool:
    """Whether a record says nothing there."""
    return all(value is None or value == "" for value in values)


def record_to_keep(one, other) -> Person:
    """The record that is better kept: the one with a number that tells birth date and sex, else the older."""
    return min(one, other, key=lambda person: (person.doc_type not in TELLING, person.pk))


def proposal(kept, other) -> set[str]:
    """The choices that are better taken from the other record: its newer or only values.

    The document is the exception: the one that tells birth date and sex is better than a newer one.
    """
    newer = other.updated_at > kept.updated_at
    taken = set()
    for choice in choices():
        own, others = values_of(kept, choice), values_of(other, choice)
        if choice.name == "number":
            better = (other.doc_type in TELLING, newer) > (kept.doc_type in TELLING, False)
        else:
            better = not is_empty(others) and (newer or is_empty(own))
        if better and own != others:
            taken.add(choice.name)
    return taken


# --- what hangs on a person -------------------------------------------------------------------------------

# Pairs are settled by themselves; old values in a history are those of the record they were written for.
APART = (DuplicatePair, pghistory.models.Event)


def references() -> list[models.ForeignKey]:
    """The foreign keys of all packages whose rows a merge moves."""
    relations = Person._meta.get_fields(include_hidden=True)
    found = [
        r.field for r in relations if r.auto_created and not r.concrete and (r.one_to_many or r.one_to_one)
    ]
    return [field for field in found if not issubclass(field.model, APART)]


def _doses_that_give_way(kept, gone):
    """Of two doses of one number the older: it was corrected, or entered twice (CL-6.3)."""
    own = {dose.dose: dose for dose in kept.doses.all()}
    others = gone.doses.filter(dose__in=own)
    return [own[other.dose] if other.on > own[other.dose].on else other for other in others]


# Functions (kept, gone) giving the rows that leave, for tables where one person has only one row of a kind.
GIVE_WAY: dict[type[models.Model], Callable] = {Dose: _doses_that_give_way}


def giving_way(kept, gone) -> list[models.Model]:
    """The rows of either record that cannot stand beside the other's; a merge keeps them for its undoing."""
    return [row for leaving in GIVE_WAY.values() for row in leaving(kept, gone)]


# --- merging ----------------------------------------------------------------------------------------------


@transaction.atomic
def merge(
    actor, pair, *, keep: int, taken: Collection[str], versions: set[tuple[int, int]] | None = None
) -> Merge:
    """Make the two records of a pair one: the one with id `keep`, with the choices `taken` from the other.

    `versions` are (id, version) of both records as the operator saw them; StaleRecord if one changed since.
    """
    pair = pairs_of(actor, "merge").select_for_update(of=("self",)).get(pk=pair.pk)
    if pair.state != DuplicatePair.WAITING:
        raise ValidationError("这一对已判为非同一人。如判断有误，请先“重新核对”")
    rows = Person.objects.select_for_update(of=("self",)).order_by("pk")
    people = rows.in_bulk([pair.first_id, pair.second_id])
    if versions is not None and versions != {(pk, person.version) for pk, person in people.items()}:
        raise StaleRecord()
    kept, gone = people.pop(keep), *people.values()
    before = audit_values(kept)
    record = {"kept": [_row(kept)], "gone": _row(gone), "dropped": {}, "moved": {}, "made": {}}
    with pghistory.context(name=actor.name):
        _move(kept, gone, record)
        take_values(kept, gone, taken)
        with connection.cursor() as cursor:
            # Not gone.delete(), which would take along what a merge had forgotten to move.
            cursor.execute("DELETE FROM people_person WHERE id = %s", [gone.pk])
        save_changed(kept)
        _know_other_document(kept, gone, record)
        if kept.region_id != before["region"]:
            note_transfers(actor, [(kept.pk, before["region"], kept.region_id)], reason="合并重复记录")
            record["made"]["people_transfer"] = [Transfer.objects.filter(person=kept).latest("pk").pk]
    roll_up_doses([kept.pk])
    record["kept"].append(_row(kept))
    record["made"]["people_duplicatepair"] = _carry_over(kept, gone)
    pair.delete()
    done = Merge.objects.create(
        kept=kept,
        gone=gone.pk,
        gone_name=gone.name,
        gone_number=gone.number,
        gone_region_id=gone.region_id,
        score=pair.score,
        reasons=pair.reasons,
        record=record,
        by=actor.operator_id,
        by_name=actor.name,
    )
    moved = {str(f.model._meta.verbose_name): len(record["moved"].get(_column(f), ())) for f in references()}
    changes = audit.changes(before, kept, [name for name in before if name not in UNCHOSEN])
    audit.record(actor, "合并", kept, resource="people", changes=changes, merge=done.pk, moved=moved)
    audit.record(actor, "并入", gone, resource="people", merge=done.pk, into=kept.pk)
    return done


def audit_values(person):
    """The values of a record, by field, as `audit.changes` compares them."""
    return {field.name: getattr(person, field.attname) for field in Person._meta.concrete_fields}


def _move(kept, gone, record):
    """Put whatever refers to `gone` on `kept`."""
    for row in giving_way(kept, gone):
        record["dropped"].setdefault(row._meta.db_table, []).append(_row(row))
        row.delete()
    for field in references():
        keys = _point(field, gone.pk, kept.pk)
        if keys:
            record["moved"][_column(field)] = keys


def _point(field, old, new, keys=None):
    """Have the rows that refer to `old`, or those of them with `keys`, refer to `new`; returns their keys."""
    rows = field.model._base_manager.filter(**{field.attname: old})
    rows = rows if keys is None else rows.filter(pk__in=keys)
    found = list(rows.select_for_update().order_by("pk").values_list("pk", flat=True))
    field.model._base_manager.filter(pk__in=found).update(**{field.attname: new})
    return found


def take_values(kept, gone, taken):
    """Give `kept`, not stored yet, the chosen values of `gone` and what follows from them."""
    for choice in choices():
        if choice.name in taken:
            for name, value in zip(choice.fields, values_of(gone, choice), strict=True):
                setattr(kept, Person._meta.get_field(name).attname, value)
    # Each record knows the latest sample of its own number, so the later one is the latest of both.
    if gone.sampled_at and (kept.sampled_at is None or gone.sampled_at > kept.sampled_at):
        for name in SAMPLED:
            setattr(kept, name, getattr(gone, name))
    follow(kept)


def follow(person):
    """Set what follows from the other columns, by the rule of forms and sheets."""
    field_of = Person._meta.get_field
    sources = {name: [clear_value(field_of(name), person)] for name in SOURCES}
    row = following(pl.DataFrame(sources, SOURCES)).row(0, named=True)
    for name in FOLLOWING:
        setattr(person, name, stored_value(field_of(name), row[name]))


def save_changed(person):
    """Store a person as changed by a merge."""
    person.version += 1
    person.updated_at = timezone.now()
    person.save(force_update=True)


def _know_other_document(kept, gone, record):
    """Have `kept` known under the document it does not carry (CL-6.1)."""
    before = Person(**record_values(record["kept"][0], ["doc_type", "number"]))
    for other in (before, gone):
        if (other.doc_type, other.number) != (kept.doc_type, kept.number):
            alias, made = PersonAlias.objects.get_or_create(
                doc_type=other.doc_type, number=other.number, defaults={"person": kept}
            )
            if made:
                record["made"]["people_personalias"] = [alias.pk]


def _carry_over(kept, gone):
    """Who is not the same as `gone` is not the same as `kept`; returns the keys of the pairs this made."""
    decided = DuplicatePair.objects.filter(state=DuplicatePair.DIFFERENT)
    made = []
    for pair in decided.filter(models.Q(first=gone.pk) | models.Q(second=gone.pk)):
        other = pair.second_id if pair.first_id == gone.pk else pair.first_id
        first, second = sorted([kept.pk, other])
        verdict = {"state": pair.state, "by": pair.by, "by_name": pair.by_name, "decided_at": pair.decided_at}
        if not decided.filter(first=first, second=second).exists():
            carried, _ = DuplicatePair.objects.update_or_create(
                first_id=first,
                second_id=second,
                defaults=verdict,
                create_defaults=verdict | {"score": pair.score, "reasons": pair.reasons},
            )
            made.append(carried.pk)
    return made


# --- undoing ----------------------------------------------------------------------------------------------


def merges_of(actor, action):
    """The merges on which `actor` may use `action`: those of records that both are seen as well."""
    seen = Merge.scope.within(actor.data_scope("people.view"))
    return Merge.objects.visible_to(actor, f"merges.{action}").filter(seen)


@transaction.atomic
def undo(actor, done: Merge, *, reason=""):
    """Make two records again of what was one. ValidationError names everything that stands in the way."""
    done = merges_of(actor, "undo").select_for_update(of=("self",)).get(pk=done.pk)
    kept = Person.objects.select_for_update(of=("self",)).get(pk=done.kept_id)
    if obstacles := list(obstacles_to_undo(done, kept)):
        raise ValidationError(f"不能撤销：{'；'.join(obstacles)}")
    try:
        with transaction.atomic(), pghistory.context(name=actor.name):
            _restore(done, kept)
    except IntegrityError as error:  # such as the same dose entered once more
        raise ValidationError("不能撤销：合并后登记的内容与要恢复的记录重复，请先核对名下的记录") from error
    roll_up_doses([kept.pk, done.gone])
    first, second = sorted([kept.pk, done.gone])
    DuplicatePair.objects.get_or_create(
        first_id=first, second_id=second, defaults={"score": done.score, "reasons": done.reasons}
    )
    # Samples that came since count for the record of their own number again.
    start_roll_up_of_samples([kept.pk, done.gone])
    done.state, done.record = Merge.UNDONE, {}
    done.undone_at, done.undone_by = timezone.now(), actor.name
    done.save()
    gone = Person.objects.get(pk=done.gone)
    for person in (kept, gone):
        audit.record(actor, "撤销合并", person, resource="people", reason=reason, merge=done.pk)


def _restore(done, kept):
    """Put everything back where the merge took it from."""
    before, after = done.record["kept"]
    made = done.record["made"]
    PersonAlias.objects.filter(pk__in=made.get("people_personalias", ())).delete()
    Transfer.objects.filter(pk__in=made.get("people_transfer", ())).delete()
    carried = DuplicatePair.objects.filter(pk__in=made["people_duplicatepair"])
    carried.filter(state=DuplicatePair.DIFFERENT).delete()
    for name, value in record_values(before, [*_changed(before, after), *SAMPLED]).items():
        setattr(kept, name, value)
    follow(kept)
    save_changed(kept)
    _insert("people_person", done.record["gone"])
    for field in references():
        _point(field, kept.pk, done.gone, done.record["moved"].get(_column(field), ()))
    for table, rows in done.record["dropped"].items():
        for row in rows:
            _insert(table, row)


def obstacles_to_undo(done, kept):
    """Sentences that say why a merge can't be undone exactly."""
    if done.state != Merge.DONE:
        yield "这次合并已经撤销"
        return
    later = Merge.objects.filter(kept=kept, state=Merge.DONE, pk__gt=done.pk).order_by("-pk").first()
    if later:
        yield f"之后“{later.gone_name}”又并入了这名人员，请先撤销那次合并"
    before, after = done.record["kept"]
    changed = [name for name in _changed(before, after) if _differs(kept, after, name)]
    if changed:
        labels = [str(Person._meta.get_field(name).verbose_name) for name in changed]
        yield f"合并后又修改了{'、'.join(labels)}，无法恢复合并前的内容，请先改回“{kept.name}”合并后的值"
    for field in references():
        keys = done.record["moved"].get(_column(field), ())
        rows = field.model._base_manager.filter(pk__in=keys, **{field.attname: kept.pk})
        if missing := len(keys) - rows.count():
            yield f"随并入记录移来的{missing}条{field.model._meta.verbose_name}已被删除或改到别处"
    for row in (done.record["gone"], before):
        document = record_values(row, ["doc_type", "number"])
        if Person.objects.filter(**document).exclude(pk=kept.pk).exists():
            yield f"证件号{document['number']}已由另一条记录登记，请先核对那条记录"


def _changed(before, after):
    """Names of the chosen columns that the merge changed on the kept record."""
    names = {field.column: field.name for field in Person._meta.concrete_fields}
    changed = [names[column] for column in before if before[column] != after[column]]
    return [name for name in changed if name not in UNCHOSEN]


def _differs(person, row, name):
    [(attribute, value)] = record_values(row, [name]).items()
    return getattr(person, attribute) != value


# --- rows as the database tells them ----------------------------------------------------------------------


def _row(obj) -> dict:
    """A stored row as JSON, exactly."""
    with connection.cursor() as cursor:
        table = connection.ops.quote_name(obj._meta.db_table)
        cursor.execute(f"SELECT to_jsonb(stored) FROM {table} AS stored WHERE id = %s", [obj.pk])  # noqa: S608
        return json.loads(cursor.fetchone()[0])


MODELS = {model._meta.db_table: model for model in (Person, *GIVE_WAY)}


def _insert(table, row):
    """Put a row back as `_row` told it; its sealed values as they are stored now, also while keys rotate."""
    [row] = reseal_rows(MODELS[table], [row])
    table = connection.ops.quote_name(table)
    insert = f"INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, %s)"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(insert, [json.dumps(row)])


def record_values(row, names) -> dict:
    """{attribute: value} of these fields of `Person` out of a row as `_row` told it."""
    found = {}
    for name in names:
        field = Person._meta.get_field(name)
        value = row[field.column]
        if isinstance(field, SealedField):
            value = value and bytes.fromhex(value.removeprefix("\\x"))
        found[field.attname] = field.to_python(value)
    return found


def _column(field):
    return f"{field.model._meta.db_table}.{field.column}"

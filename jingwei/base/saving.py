"""One row in: rule, write, still mine?, audit, in one transaction (architecture §4, "one row")."""

import pghistory
from django.core.exceptions import ValidationError
from django.db import IntegrityError, ProgrammingError, models, transaction
from django.db.models import F
from django.utils import timezone
from psycopg.errors import InsufficientPrivilege

from jingwei.base import audit


class StaleRecord(ValidationError):
    """Somebody else saved the record in the meantime; nothing was overwritten (P-5.2)."""

    def __init__(self):
        super().__init__(
            "这条记录刚被他人修改过，请核对最新内容后再保存；您填写的内容仍保留在页面上。", code="stale"
        )


@transaction.atomic
def save_record(actor, obj, *, resource, values=None, version=None, reason="", act=""):
    """Add or change one record and log it field by field.

    `values` is {field name: value}, many-to-many ones too. `resource` is the name permissions carry.
    `version` is the version the operator saw; a newer one in the database raises StaleRecord. ValidationError
    for a broken rule, for a row that would leave the actor's data scope, and for one that already exists.
    """
    adding = obj._state.adding
    model = type(obj)
    names = [f.name for f in model._meta.concrete_fields if f.name not in ("version", "updated_at")]
    if adding:
        before = {}
        obj.created_by = actor.operator_id
    else:
        stored = model.objects.select_for_update(of=("self",)).filter(pk=obj.pk).first()
        if stored is None or (version is not None and str(version) != str(stored.version)):
            raise StaleRecord()
        before = {f.name: getattr(stored, f.attname) for f in model._meta.concrete_fields}
        obj.version = stored.version
    many = {f.name: values[f.name] for f in model._meta.many_to_many if values and f.name in values}
    for name, value in (values or {}).items():
        if name not in many:
            setattr(obj, name, value)
    obj.full_clean()
    # What is internal is saved with the rest, but nothing to read in a log: digests, search grams.
    changed = audit.changes(before, obj, [name for name in names if name not in model.internal])
    if not adding:
        many = {name: value for name, value in many.items() if set(value) != set(getattr(obj, name).all())}
        if not many and not audit.changes(before, obj, names):
            return obj
    obj.updated_at = timezone.now()
    try:
        with transaction.atomic():
            if adding:
                obj.save(force_insert=True)
            else:
                obj.version += 1
                with pghistory.context(name=actor.name):
                    obj.save(force_update=True)
    except IntegrityError:
        obj.full_clean()  # what somebody else has saved at this very moment is there now, and named in words
        raise
    except ProgrammingError as error:
        if isinstance(error.__cause__, InsufficientPrivilege):  # the second wall: no row of anybody in reach
            raise _out_of_scope() from error
        raise
    for name, value in many.items():
        old = [] if adding else list(getattr(obj, name).all())
        getattr(obj, name).set(value)
        if old or value:
            label = str(model._meta.get_field(name).verbose_name)
            changed[label] = ["、".join(map(str, old)), "、".join(map(str, value))]
    require_in_scope(actor, obj, f"{resource}.{'add' if adding else 'change'}")
    audit.record(
        actor, act or ("新增" if adding else "修改"), obj, resource=resource, reason=reason, changes=changed
    )
    return obj


def require_in_scope(actor, obj, permission):
    """Refuse a record that is not, or no longer, among the rows `actor` may use `permission` on."""
    if not type(obj).objects.visible_to(actor, permission).filter(pk=obj.pk).exists():
        raise _out_of_scope()


def _out_of_scope():
    return ValidationError(
        "这条记录不在您的管辖范围内，不能保存。请检查所属辖区或单位。", code="out_of_scope"
    )


@transaction.atomic
def delete_record(actor, obj, *, resource, reason=""):
    """Delete one record and log it; ValidationError names what still refers to it, or that it is gone."""
    label, pk = str(obj), obj.pk
    try:
        with pghistory.context(name=actor.name):
            deleted, _ = obj.delete()
    except models.ProtectedError as error:
        kinds = sorted({str(o._meta.verbose_name) for o in error.protected_objects})
        raise ValidationError(
            f"“{label}”仍被{'、'.join(kinds)}使用（{len(error.protected_objects)} 处），不能删除。"
            "请先解除使用，或改为停用。"
        ) from error
    obj.pk = pk
    if not deleted:
        raise ValidationError(f"“{label}”已被删除")
    audit.record(actor, "删除", obj, resource=resource, label=label, reason=reason)


def touch(queryset, **values):
    """UPDATE of many rows that a set-based action makes: versions move on with the values."""
    return queryset.update(version=F("version") + 1, updated_at=timezone.now(), **values)

"""The pages of any resource that change a record: add, edit, delete."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.deletion import Collector
from django.shortcuts import redirect, render

from jingwei.base import audit
from jingwei.base.fields import personal_fields
from jingwei.base.models import LogEntry
from jingwei.base.saving import StaleRecord
from jingwei.base.wall import beyond_scope
from jingwei.desk.forms import RecordForm
from jingwei.desk.guard import require, row_or_404
from jingwei.desk.lists import key_text
from jingwei.desk.looks import note_look
from jingwei.kit.text import whole


def new_row(request, resource):
    """Add a record. Values in the address fill the form in beforehand."""
    require(request, resource, "add")
    row = resource.model()
    given = {name: request.GET[name] for name in resource.fields if name in request.GET}
    initial = _at_home(resource, request.actor) | given
    form = RecordForm(resource, request.actor, row, request.POST or None, initial=initial)
    if form.is_valid() and _saved(request, resource, row, form):
        messages.success(request, f"已新增“{row}”")
        if "another" in request.POST:
            return redirect("desk:new", resource=resource)
        return redirect("desk:show", resource=resource, pk=key_text(row))
    return render(request, "desk/form.html", {"resource": resource, "form": form})


def _at_home(resource, actor):
    """A new row of a community's clerk lies in the community."""
    return {"region": actor.region} if "region" in resource.fields and len(actor.region) >= 12 else {}


def edit_row(request, resource, pk):
    """Change a record. Who would save over somebody else's change is told first (P-5.2)."""
    require(request, resource, "change")
    row = row_or_404(request, resource, "change", pk)
    if request.method != "POST":
        note_look(request.actor, resource, row)
        return edit_page(request, resource, row)
    form = RecordForm(resource, request.actor, row, request.POST)
    seen = request.POST.get("version", "")
    try:
        if form.is_valid() and _saved(request, resource, row, form, version=seen):
            messages.success(request, f"已保存“{row}”")
            return redirect("desk:show", resource=resource, pk=key_text(row))
    except StaleRecord:
        stored = row_or_404(request, resource, "change", pk)
        return edit_page(
            request, resource, stored, form=form, conflict=conflict_of(resource, stored, form, seen)
        )
    return edit_page(request, resource, row, form=form, version=seen)


def edit_page(request, resource, row, *, form=None, conflict=None, version="", clear=False):
    """The form of a record, its personal values in clear if the caller has logged that."""
    may_clear = personal_fields(resource.model) and resource.rows(request.actor, "clear").filter(pk=row.pk)
    context = {
        "resource": resource,
        "row": row,
        "key": key_text(row),
        "form": form or RecordForm(resource, request.actor, row, clear=clear),
        "version": version or getattr(row, "version", ""),
        "conflict": conflict,
        "clear": clear,
        "may_clear": bool(may_clear) and not clear,
    }
    return render(request, "desk/form.html", context)


def _saved(request, resource, row, form, version=None):
    """Save the form's values; False with the reasons in the form where a rule refuses."""
    try:
        resource.save(request.actor, row, values=form.values, version=version)
    except StaleRecord:
        raise
    except ValidationError as refusal:
        form.add_refusal(refusal)
        return False
    return True


@dataclass
class Conflict:
    """What stands against saving: who changed the record meanwhile, and where the values differ."""

    changes: Sequence[LogEntry]
    differences: list[tuple[str, str, str]] = field(default_factory=list)  # heading, stored now, entered


def conflict_of(resource, stored, form, seen):
    """The conflict of a form that was filled in on version `seen` of a record that is now `stored`."""
    log = LogEntry.objects.filter(resource=resource.name, object_id=audit.id_of(stored), result="成功")
    with beyond_scope():  # whoever it was
        changes = [entry for entry in log.order_by("-id")[:20] if "changes" in entry.detail]
    since = whole(seen)
    found = Conflict([] if since is None else changes[: stored.version - since])
    for name, value in form.values.items():
        target = resource.model._meta.get_field(name)
        if target.name not in form.fields or target.many_to_many:
            continue
        now, entered = getattr(stored, target.attname), target.to_python(value)
        if now != entered:
            heading = str(target.verbose_name)
            found.differences.append((heading, audit.shown(target, now), audit.shown(target, entered)))
    return found


def delete_row(request, resource, pk):
    """Ask, saying what hangs on the record; then delete it."""
    require(request, resource, "delete")
    row = row_or_404(request, resource, "delete", pk)
    refusal = ""
    if request.method == "POST":
        try:
            resource.delete(request.actor, row)
        except ValidationError as problem:
            refusal = "；".join(problem.messages)
        else:
            messages.success(request, f"已删除“{row}”")
            return redirect("desk:list", resource=resource)
    going, keeping = hanging_on(row)
    context = {"resource": resource, "row": row, "key": pk, "refusal": refusal}
    return render(request, "desk/delete.html", context | {"going": going, "keeping": keeping})


def hanging_on(row):
    """What a deletion takes along and what stands in its way: [(kind, number of rows)] of each."""
    collector = Collector(using=row._state.db)
    try:
        collector.collect([row])
    except models.ProtectedError as error:
        return [], _by_kind((type(other), 1) for other in error.protected_objects)
    along = [(model, len(found)) for model, found in collector.data.items() if model is not type(row)]
    return _by_kind([*along, *((found.model, found.count()) for found in collector.fast_deletes)]), []


def _by_kind(counted):
    numbers = {}
    for model, number in counted:
        if number and not model._meta.auto_created:
            kind = str(model._meta.verbose_name)
            numbers[kind] = numbers.get(kind, 0) + number
    return sorted(numbers.items())

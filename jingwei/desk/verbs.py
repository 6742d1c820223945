"""The named verbs of a resource on one row, on chosen ones or on a whole result (P-5.1)."""

import copy
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass, field

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header

from jingwei.base import audit
from jingwei.base.resource import Verb
from jingwei.desk import jobs
from jingwei.desk.forms import dress
from jingwei.desk.guard import require, row_or_404
from jingwei.desk.lists import Selection, key_text, with_keys

TYPED_FROM = 20  # rows from which the operator types the number to confirm
AT_ONCE = 500  # rows a request works on; more are a background job
BATCH = 100
REFUSALS_KEPT = 200


def verb_of(resource, name) -> Verb | None:
    """The verb of that name; deleting is one, too, when rows are chosen in a list."""
    if name == "delete" and "delete" in resource.actions:
        delete = resource.delete
        return Verb(
            "delete", "删除", lambda actor, row: delete(actor, row), bulk=resource.bulk_delete, danger=True
        )
    return resource.verb(name)


def verbs_for_many(actor, resource) -> list[Verb]:
    """The verbs a list offers for chosen rows."""
    found = [verb for verb in resource.verbs if verb.bulk]
    if "delete" in resource.actions and resource.bulk_delete:
        found.append(verb_of(resource, "delete"))
    return [verb for verb in found if actor.may(f"{resource.name}.{verb.name}")]


def do_verb(request, resource, verb):
    """Say what the verb will do and to how many, take its form, do it, tell the outcome."""
    verb = verb_of(resource, verb)
    if verb is None:
        raise Http404
    require(request, resource, verb.name)
    asked = request.POST if request.method == "POST" else request.GET
    confirmed = asked if "confirm" in request.POST else None
    if "all" not in asked and len(asked.getlist("pk")) == 1:
        return _one(request, resource, verb, row_or_404(request, resource, verb.name, asked["pk"]), confirmed)
    if not verb.bulk:
        raise Http404
    return _many(request, resource, verb, asked, confirmed)


def verb_form(verb, data):
    """The form of the verb's arguments."""
    form = forms.Form(data)
    form.fields = copy.deepcopy(verb.form)
    dress(form)
    return form


# --- one row ----------------------------------------------------------------------------------------------


def _one(request, resource, verb, row, confirmed):
    form, key = verb_form(verb, confirmed), key_text(row)
    if form.is_valid():
        try:
            if verb.gives_file:
                return _file(request.actor, verb, [row], form.cleaned_data)
            said = _do(request.actor, verb, row, form.cleaned_data)
        except ValidationError as refusal:
            row = row_or_404(request, resource, verb.name, key)  # without what the action has begun with it
            for name, errors in getattr(refusal, "error_dict", {None: refusal}).items():
                form.add_error(name if name in form.fields else None, errors)
        else:
            messages.success(request, said or f"“{row}”：{verb.label}完成")
            return redirect(_page_after(resource, request.actor, row))
    context = {"resource": resource, "verb": verb, "row": row, "key": key, "form": form}
    return render(request, "desk/verb.html", context)


def _page_after(resource, actor, row):
    """The record's page, or the list where the verb took the record out of sight."""
    if resource.rows(actor).filter(pk=row.pk).exists():
        return reverse("desk:show", args=[resource, key_text(row)])
    return reverse("desk:list", args=[resource])


@transaction.atomic
def _do(actor, verb, row, values):
    if not verb.offered(row):
        raise ValidationError(f"“{row}”现在不能{verb.label}")
    try:
        return verb.action(actor, row, **values)
    except type(row).DoesNotExist:  # the action looked at it again, under a lock
        raise ValidationError(f"“{row}”刚被他人移走或删除，没有办理") from None


def _file(actor, verb, rows, values):
    """The file that the verb makes of all the rows."""
    if barred := [f"“{row}”" for row in rows if not verb.offered(row)]:
        raise ValidationError(f"{'、'.join(barred[:5])}{'等' * (len(barred) > 5)}现在不能{verb.label}")
    name, content = verb.action(actor, rows, **values)
    headers = {"Content-Disposition": content_disposition_header(True, name)}
    return HttpResponse(content, content_type=mimetypes.guess_type(name)[0], headers=headers)


# --- many rows --------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of a verb on many rows: (row, reason) of the first refusals, what the action answered."""

    done: int = 0
    refusals: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        return f"完成 {self.done:,} 条" + (f"，未办理 {self.refusals:,} 条" if self.refusals else "")


def keys_chosen(resource, actor, verb, asked) -> list:
    """Keys of the rows that were ticked, or of the list's whole selection, as far as the verb may reach."""
    if "all" in asked:
        selection = Selection(resource, actor, QueryDict(asked.get("query", "")), action=verb.name)
        if selection.refusals:
            raise ValidationError(selection.refusals)
        return selection.keys()
    rows = with_keys(resource.rows(actor, verb.name), asked.getlist("pk"))
    return list(rows.values_list("pk", flat=True))


def _many(request, resource, verb, asked, confirmed):
    try:
        keys, refusal = keys_chosen(resource, request.actor, verb, asked), ""
    except ValidationError as problem:
        keys, refusal = [], "；".join(problem.messages)
    form = verb_form(verb, confirmed)
    typed = not verb.gives_file and (len(keys) >= TYPED_FROM or (verb.danger and len(keys) > 1))
    if form.is_valid() and keys:
        if verb.most and len(keys) > verb.most:
            form.add_error(None, f"{verb.label}一次最多 {verb.most} 条，请分次办理")
        elif typed and asked.get("typed", "").strip() != str(len(keys)):
            form.add_error(None, f"请输入要办理的条数 {len(keys)} 以确认")
        elif verb.gives_file:
            rows = list(_rows(resource, request.actor, verb, keys))
            try:
                return _file(request.actor, verb, rows, form.cleaned_data)
            except ValidationError as problem:
                form.add_error(None, problem.messages)
        elif len(keys) > AT_ONCE:
            arguments = {"resource": resource.name, "verb": verb.name}
            # What was searched for and entered may be personal: the job keeps it sealed.
            label = f"批量{verb.label} {resource.label}"
            jobs.start(request.actor, "bulk", label, arguments, query=asked.urlencode())
            messages.success(request, f"{len(keys):,} 条正在后台办理，可在任务中心查看进度")
            return redirect("desk:jobs")
        else:
            outcome = carry_out(request.actor, resource, verb, keys, form.cleaned_data)
            return render(
                request, "desk/verb_done.html", {"resource": resource, "verb": verb, "outcome": outcome}
            )
    context = {
        "resource": resource,
        "verb": verb,
        "form": form,
        "count": len(keys),
        "typed": typed,
        "refusal": refusal,
        "chosen": asked.getlist("pk"),
        "everything": "all" in asked,
        "query": asked.get("query", ""),
    }
    return render(request, "desk/verb.html", context)


def carry_out(actor, resource, verb, keys, values, report=lambda done, total: None) -> Outcome:
    """Do the verb on each row by itself: a refused one stays as it is, the others are done."""
    outcome = Outcome()
    for start in range(0, len(keys), BATCH):
        for row in _rows(resource, actor, verb, keys[start : start + BATCH]):
            try:
                said = _do(actor, verb, row, values)
                outcome.done += 1
                if verb.most:
                    outcome.said.append(said)
            except ValidationError as refusal:
                outcome.refusals += 1
                if len(outcome.refused) < REFUSALS_KEPT:
                    outcome.refused.append((str(row), "；".join(refusal.messages)))
        report(min(start + BATCH, len(keys)), len(keys))
    counts = {"完成": outcome.done, "未办理": outcome.refusals}
    audit.record(actor, f"批量{verb.label}", resource=resource.name, label=f"{len(keys):,} 条", **counts)
    return outcome


def _rows(resource, actor, verb, keys) -> Iterator:
    found = {row.pk: row for row in resource.rows(actor, verb.name).filter(pk__in=keys)}
    return (found[key] for key in keys if key in found)


def bulk_job(resource, actor, job, report) -> dict:
    """Work of the kind of job `bulk`: the verb on all rows it was asked for."""
    verb = verb_of(resource, job.arguments["verb"])
    asked = QueryDict(job.query.clear())
    form = verb_form(verb, asked)
    form.full_clean()
    keys = keys_chosen(resource, actor, verb, asked)
    outcome = carry_out(actor, resource, verb, keys, form.cleaned_data, report)
    return {"message": outcome.message, "result": {"refused": outcome.refused}}

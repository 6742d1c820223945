"""Rows of a list as a workbook or a text table: the page, chosen rows, the whole result (P-5.4).

Few rows come at once; more are written by a background job into the job centre. Both write the same selection
chunk by chunk, masked unless the operator may see clear values and says why (P-4.3).
"""

import io
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_http_methods

from jingwei.base import audit, replica
from jingwei.base.fields import personal_fields
from jingwei.base.models import Job
from jingwei.base.tables import FORMATS
from jingwei.desk import files, jobs
from jingwei.desk.cells import cells
from jingwei.desk.guard import require
from jingwei.desk.lists import CHUNK, Selection, key_text, with_keys
from jingwei.kit.text import whole

AT_ONCE = 2_000  # rows that a request waits for


@dataclass(frozen=True)
class Wish:
    """What an operator wants exported, as a form says it and a job keeps it."""

    query: str = ""  # the selection as in the list's address
    keys: Sequence[str] = ()  # only these rows of it
    format: str = "xlsx"
    everything: bool = False  # every column of the list, not only those the operator shows
    clear: bool = False
    reason: str = ""


def selection_of(resource, actor, wish) -> Selection:
    """The rows and columns of a wish, within the scope of the actor's export permission.

    PermissionDenied and ValidationError say what stands against it.
    """
    require_export(resource, actor, clear=wish.clear, reason=wish.reason)
    selection = Selection(resource, actor, QueryDict(wish.query), action="export")
    if wish.keys:
        selection.rows = with_keys(selection.rows, wish.keys)
    check(selection, clear=wish.clear)
    return selection


def require_export(resource, actor, *, clear, reason):
    """Refuse an export that the actor may not make."""
    if not actor.may(f"{resource.name}.export"):
        raise PermissionDenied(f"您没有导出“{resource.label}”的权限。")
    if clear and not actor.may(f"{resource.name}.clear"):
        raise PermissionDenied(f"您没有查看“{resource.label}”明文的权限，只能导出打星号的内容。")
    if clear and not reason.strip():
        raise ValidationError("导出明文须填写事由，它会记入操作日志。")
    if resource.reasoned and not reason.strip():
        raise ValidationError(f"导出{resource.label}须填写事由，它会记入操作日志。")


def check(selection, *, clear):
    """Refuse a selection that cannot be read, or whose rows are not all the actor's to see in clear."""
    if selection.refusals:
        raise ValidationError(selection.refusals)
    resource, actor = selection.resource, selection.actor
    # The two permissions may have been granted for different territories.
    reach = actor.data_scope(f"{resource.name}.clear")
    if clear and not reach.covers(actor.data_scope(selection.permission)):
        if selection.rows.exclude(pk__in=resource.rows(actor, "clear").values("pk")).exists():
            raise ValidationError("所选数据中有些不在您可以查看明文的范围内。请缩小范围，或不导出明文。")


def write(selection, columns, table, *, clear, people, limit=None, report=lambda done: None) -> int:
    """Write all rows of a selection into an open table; the number of rows.

    `people`, an array of integers, gets the keys of whom they are about, for `record`.
    """
    done, written = 0, None
    chunks = cells(selection, columns, clear=clear, size=CHUNK, limit=limit, people=people)
    # While one chunk is written, compressed and sealed, the database gives the next.
    with closing(chunks), ThreadPoolExecutor(1) as beside:
        for chunk in chunks:
            if written:
                written.result()
            written = beside.submit(table.write, chunk)
            done += len(chunk[0])
            report(done)
        if written:
            written.result()
    return done


def record(selection, columns, people, *, count, clear, reason, file_format):
    """The line of an export in the operation log, and whom it is about (P-3.4).

    What was searched for may be personal and stays out.
    """
    resource = selection.resource
    audit.record(
        selection.actor,
        "导出",
        people=people,
        resource=resource.name,
        label=f"{resource.label} {count:,} 行",
        reason=reason,
        行数=count,
        列=[column.heading for column in columns],
        明文="是" if clear else "否",
        格式=file_format,
        筛选=[control.label for control in selection.controls if control.is_set],
    )


def file_name(resource, file_format) -> str:
    """The name an exported file gets: "人员-20261120-0915.xlsx"."""
    return f"{resource.label}-{timezone.localtime():%Y%m%d-%H%M}.{file_format}"


def at_once(resource, actor, wish, selection) -> bytes:
    """The content of a small export."""
    content, columns, people = io.BytesIO(), selection.columns(wish.everything), array("q")
    with FORMATS[wish.format](content, resource.label, [column.heading for column in columns]) as table:
        count = write(selection, columns, table, clear=wish.clear, people=people)
    about = {"clear": wish.clear, "reason": wish.reason, "file_format": wish.format}
    record(selection, columns, people, count=count, **about)
    return content.getvalue()


def in_background(resource, actor, wish) -> Job:
    """Have an export written by the worker."""
    options = {name: value for name, value in asdict(wish).items() if name != "query"}
    arguments = {"resource": resource.name, "wish": options}
    return jobs.start(actor, "export", f"导出 {resource.label}", arguments, query=wish.query)


def export_file(resource, actor, job, report) -> dict:
    """Work of the kind of job `export`: the file, for whoever asked for it."""
    wish = Wish(query=job.query.clear() if job.query else "", **job.arguments["wish"])
    selection = selection_of(resource, actor, wish)
    columns, total = selection.columns(wish.everything), selection.total(bound=None).number
    people = array("q")
    # What was saved before the export was asked for is in it, wherever it is read.
    with files.create(job.owner, file_name(resource, wish.format)) as file:
        headings = [column.heading for column in columns]
        with replica.reads(of_now=True), FORMATS[wish.format](file, resource.label, headings) as table:
            count = write(
                selection,
                columns,
                table,
                clear=wish.clear,
                people=people,
                report=lambda done: report(done, max(done, total)),
            )
        # Before there is a file: an export that cannot be logged is none (SEC-10).
        about = {"clear": wish.clear, "reason": wish.reason, "file_format": wish.format}
        record(selection, columns, people, count=count, **about)
    return {"message": f"共 {count:,} 行。", "file": file.stored}


# --- the page ---------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def export(request, resource):
    """Ask what to export and how; give few rows at once, leave many to the job centre.

    A list may post the keys of many chosen rows just to have the page ask about them.
    """
    require(request, resource, "export")
    asked = request.POST if request.method == "POST" else request.GET
    wish = _wish(asked)
    selection = Selection(resource, request.actor, QueryDict(wish.query), action="export")
    page = selection.page(_page_number(selection), selection.page_size())
    problems = []
    if "format" in request.POST:
        try:
            if asked.get("rows") == "page":
                wish = replace(wish, keys=[key_text(row) for row in page.rows])
            chosen = selection_of(resource, request.actor, wish)
            if not chosen.total(AT_ONCE).exact:
                in_background(resource, request.actor, wish)
                messages.success(request, "已开始导出，完成后在这里下载。")
                return redirect("desk:jobs")
            return _attachment(resource, wish, at_once(resource, request.actor, wish, chosen))
        except ValidationError as refusal:
            problems = refusal.messages
    context = {
        "resource": resource,
        "wish": wish,
        "rows": asked.get("rows", "chosen" if wish.keys else "all"),
        "total": selection.total(),
        "on_page": len(page.rows),
        "refusals": selection.refusals,
        "problems": problems,
        "shown": len(selection.columns()),
        "columns": len(selection.columns(everything=True)),
        "has_personal": bool(personal_fields(resource.model)),
        "may_clear": request.actor.may(f"{resource.name}.clear"),
        "at_once": AT_ONCE,
    }
    return render(request, "desk/export.html", context, status=422 if problems else 200)


def _wish(asked) -> Wish:
    """The wish of a form; the first time, of the list's address, which may name chosen rows as `pk`."""
    query = asked.get("query")
    if query is None:
        query = asked.copy()
        query.pop("pk", None)
        query = query.urlencode()
    chosen = "all" not in asked and asked.get("rows", "chosen") == "chosen"
    return Wish(
        query=query,
        keys=asked.getlist("pk") if chosen else [],
        format=asked["format"] if asked.get("format") in FORMATS else "xlsx",
        everything=asked.get("columns") == "all",
        clear="clear" in asked,
        reason=asked.get("reason", "").strip()[:500],
    )


def _page_number(selection):
    return whole(selection.params.get("page", "")) or 1


def _attachment(resource, wish, content):
    response = HttpResponse(content, content_type=FORMATS[wish.format].content_type)
    name = file_name(resource, wish.format)
    response.headers["Content-Disposition"] = content_disposition_header(True, name)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response

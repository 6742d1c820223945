"""A feed as it stands, and which column of its table is which of ours (P-8.4)."""

import re

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from jingwei.base.columns import Context
from jingwei.base.models import Job
from jingwei.base.reading import Wanted, recognised
from jingwei.base.sheets import clean_frame
from jingwei.desk.guard import is_fragment, require, row_or_404
from jingwei.desk.imports import shown
from jingwei.desk.views import record_page
from jingwei.exchange.actions import PULL, save_columns, try_source
from jingwei.exchange.pulling import PULLER, as_frame
from jingwei.exchange.queries import INTERVAL, pulled_sheets
from jingwei.exchange.sources import MOST_COUNTED, TRY_SECONDS, Unavailable, opened

TRIED = 5  # rows
_CHANGED_AT = re.compile("更新|修改|入库|update|modif|change|gxsj|rksj", re.IGNORECASE)


@require_GET
def source(request, resource, pk):
    """A front database, with a button that tries its connection."""
    require(request, resource, "view")
    row = row_or_404(request, resource, "view", pk)
    return record_page(request, resource, row, template="exchange/source.html")


@require_POST
def try_to_connect(request, resource, pk):
    """Connect to a front database as it is set, and tell what comes of it."""
    require(request, resource, "change")
    row = row_or_404(request, resource, "change", pk)
    try:
        messages.success(request, try_source(request.actor, row))
    except ValidationError as refusal:
        messages.error(request, refusal.messages[0])
    return redirect("desk:show", resource, pk)


@require_GET
def feed(request, resource, pk):
    """A feed: what it brings, how far it is, the rows that were refused; the progress while it is pulled."""
    require(request, resource, "view")
    row = row_or_404(request, resource, "view", pk)
    job = Job.objects.filter(kind=PULL, arguments__feed=row.pk).first()
    works = job is not None and not job.is_over
    if is_fragment(request):
        if not works:
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        return render(request, "exchange/_progress.html", {"job": job})
    sheet = pulled_sheets().get(row.sheet)
    ours = sheet.columns if sheet else []
    # What a later pull has made good is not told any more.
    failed = job and job.state == Job.FAILED and not (row.complete_at and row.complete_at > job.ended_at)
    more = {
        "job": job,
        "works": works,
        "failed": failed and not row.error,
        "headings": [(c.heading, row.columns[c.name]) for c in ours if c.name in row.columns],
        "minutes": INTERVAL.value(),
        "most": MOST_COUNTED,
    }
    return record_page(request, resource, row, template="exchange/feed.html", **more)


def columns(request, resource, pk):
    """Say which column of the table is which of ours, and see what the first rows come out as."""
    require(request, resource, "change")
    row = row_or_404(request, resource, "change", pk)
    sheet = pulled_sheets().get(row.sheet)
    if sheet is None:
        raise Http404
    context = {"resource": resource, "row": row, "tried": "try" in request.POST}
    try:
        with opened(row.source, TRY_SECONDS) as reader:
            there = reader.columns(row.table)
            chosen, mark = _chosen(request, row, sheet, there)
            context |= _as_tried(sheet, reader, row.table, there, chosen, mark)
            context |= {"there": there.values(), "mark": mark}
        if "save" in request.POST:
            save_columns(request.actor, row, columns=chosen, mark=mark)
            messages.success(request, "列对应已保存")
            return redirect("desk:show", resource, pk)
    except ValidationError as refusal:
        context["problem"] = refusal.messages[0]
    return render(request, "exchange/columns.html", context)


def _chosen(request, feed, sheet, there):
    """{our column: theirs} and the mark: as entered, as kept, or as the names suggest."""
    if request.method == "POST":
        asked = {column.name: request.POST.get(f"column-{column.name}", "") for column in sheet.columns}
        mark = request.POST.get("mark", "")
    elif feed.mark:
        asked, mark = feed.columns, feed.mark
    else:
        asked, mark = _suggested(sheet, there), ""
        marks = [column for column in there.values() if column.kind]
        changed = [column for column in marks if _CHANGED_AT.search(column.name + column.comment)]
        mark = changed[0].name if changed else ""
    return {name: theirs for name, theirs in asked.items() if theirs in there}, mark if mark in there else ""


def _suggested(sheet, there):
    wanted = [Wanted(c.name, [c.heading, *c.synonyms, c.name]) for c in sheet.columns]
    found = {}
    for column in there.values():
        ours = recognised(column.comment, wanted) or recognised(column.name, wanted)
        if ours:
            found.setdefault(ours, column.name)
    return found


def _as_tried(sheet, reader, table, there, chosen, mark):
    """What the page says of the rows with the latest marks: values, refusals, rows without a mark."""
    names = [*dict.fromkeys([*chosen.values(), *([mark] if mark else [])])]
    found = reader.sample(table, names, mark, TRIED) if names else []
    values = {name: [line[place] for line in found] for place, name in enumerate(names)}
    cells = {ours: values[theirs] for ours, theirs in chosen.items()}
    kinds = {ours: there[theirs].kind for ours, theirs in chosen.items()}
    rows = []
    for column in sheet.columns:
        told = [shown(sheet, column.name, text) for text in cells.get(column.name, [])]
        rows.append((column, chosen.get(column.name, ""), told))
    said = []
    if found:
        raw = as_frame(cells, kinds, 1)
        now = timezone.make_naive(timezone.now())
        cleaned = clean_frame(sheet, raw, Context(PULLER, f"{sheet.resource}.import", now))
        headings = {column.name: column.heading for column in sheet.columns}
        for kind, frame in (("不能存入", cleaned.refused), ("存入但有疑问", cleaned.warnings)):
            said += [(number, kind, headings[name], reason) for number, name, reason in frame.iter_rows()]
    return {
        "rows": rows,
        "marks": values.get(mark, []),
        "count": len(found),
        "said": said,
        "unmarked": bool(mark) and _has_rows_without(reader, table, mark),
    }


def _has_rows_without(reader, table, mark):
    try:
        return reader.has_no_mark(table, mark)
    except Unavailable:  # it takes too long to find out
        return False

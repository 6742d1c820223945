"""`jingwei rows`: a list as JSON or CSV, with the selection, rights and log of the page (P-1.6)."""

import csv
import json
import sys
from array import array

from django.core.exceptions import PermissionDenied, ValidationError

from jingwei.base import audit
from jingwei.cli import selecting
from jingwei.desk.cells import cells
from jingwei.desk.columns import text
from jingwei.desk.exports import check
from jingwei.desk.looks import telling, told


def add_arguments(parser):
    selecting.add_arguments(parser)
    parser.add_argument("--count", action="store_true", help="只输出行数")
    parser.add_argument("--format", choices=["json", "csv"], default="json", help="输出格式（默认 json）")


def run(options):
    with selecting.selected(options, "view") as selection:
        return _tell(options, selection)


def _tell(options, selection):
    resource, actor = selection.resource, selection.actor
    if not actor.may(selection.permission):
        raise PermissionDenied(f"账号“{options.login}”没有查看“{resource.label}”的权限")
    if options.count:
        number = selection.total(bound=None).number
        print(number if options.limit is None else min(number, options.limit))
        return 0
    if options.clear:
        _allow_clear(selection, options.reason, options.limit)
    columns = selection.columns(everything=True)
    chunks = cells(selection, columns, clear=options.clear, limit=options.limit)
    rows = (row for chunk in chunks for row in zip(*chunk, strict=True))
    write(sys.stdout, options.format, [column.heading for column in columns], rows)
    return 0


def _allow_clear(selection, reason, limit):
    """Refuse clear values to who may not have them; log them before anybody sees one (SEC-10)."""
    resource, actor = selection.resource, selection.actor
    if not actor.may(f"{resource.name}.clear"):
        raise PermissionDenied(f"没有查看“{resource.label}”明文的权限")
    if not reason.strip():
        raise ValidationError("查看明文须用 --reason 写明事由，它会记入操作日志")
    check(selection, clear=True)
    number = selection.total(bound=None).number
    number = number if limit is None else min(number, limit)
    label = f"{resource.label} {number:,} 行"
    people, names = array("q"), telling(resource)
    for rows in selection.stored(names, limit=limit) if names else ():
        people.extend(told(resource, dict(zip(names, zip(*rows, strict=True), strict=True))))
    audit.record(
        actor, "查看明文", people=people, resource=resource.name, label=label, reason=reason, 行数=number
    )


def write(stream, file_format, headings, rows):
    """Rows as a JSON list of objects, or as CSV; numbers stay numbers in JSON, all else is text."""
    if file_format == "csv":
        writer = csv.writer(stream)
        writer.writerow(headings)
        writer.writerows([text(value) for value in row] for row in rows)
        return
    before = "[\n"
    for row in rows:
        cells = [value if isinstance(value, int | float) else text(value) for value in row]
        stream.write(before + json.dumps(dict(zip(headings, cells, strict=True)), ensure_ascii=False))
        before = ",\n"
    stream.write("[]\n" if before == "[\n" else "\n]\n")

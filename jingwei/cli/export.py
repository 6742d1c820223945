"""`jingwei export`: the rows of a list as a file, with the selection, rights and log of the page (P-5.4)."""

import os
import secrets
from array import array
from pathlib import Path

from django.core.exceptions import ValidationError

from jingwei.base.tables import FORMATS
from jingwei.cli import selecting
from jingwei.desk import exports


def add_arguments(parser):
    selecting.add_arguments(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="写入的文件，.xlsx 或 .csv")


def run(options):
    file_format = options.out.suffix.lower().removeprefix(".")
    if file_format not in FORMATS:
        raise ValidationError(f"“{options.out.name}”应以 .xlsx 或 .csv 结尾")
    with selecting.selected(options, "export") as selection:
        return _export(options, selection, file_format)


def _export(options, selection, file_format):
    resource, clear = selection.resource, options.clear
    exports.require_export(resource, selection.actor, clear=clear, reason=options.reason)
    exports.check(selection, clear=clear)
    columns, people = selection.columns(everything=True), array("q")
    draft = options.out.with_name(f"{options.out.name}.{secrets.token_hex(4)}")
    try:
        # Only its owner may read what holds personal data.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            with FORMATS[file_format](file, resource.label, [column.heading for column in columns]) as table:
                count = exports.write(
                    selection, columns, table, clear=clear, people=people, limit=options.limit
                )
        # Logged before anybody has it: an export that cannot be logged is none (SEC-10).
        about = {"clear": clear, "reason": options.reason, "file_format": file_format}
        exports.record(selection, columns, people, count=count, **about)
        draft.replace(options.out)
    except OSError as error:
        raise ValidationError(f"文件“{options.out}”无法写入：{error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    print(f"已导出 {count:,} 行到 {options.out}")
    return 0

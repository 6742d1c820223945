"""A file made ready to be stored: read, cleaned, each thing once (CL-6.2, architecture §4)."""

import io
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from datetime import time as clock
from pathlib import Path

import polars as pl
from django.utils import timezone

from jingwei.base import reading
from jingwei.base.columns import Context
from jingwei.base.reading import ROW
from jingwei.base.sheets import MESSAGES, Sheet, clean_frame

Progress = Callable[[int, int], None]
"""Told (rows done, rows in all) between chunks; what it raises ends the work there."""


def untold(done, total):
    """No one asked how far the work is."""


@dataclass
class Prepared:
    """A file read, cleaned and freed of repetitions; `chunks` are compressed frames of its good rows."""

    outline: reading.Outline
    chunks: list[bytes] = field(default_factory=list)
    rows: int = 0  # in the chunks
    read: int = 0
    merged: int = 0
    same: int = 0
    refused: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=MESSAGES))
    warnings: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=MESSAGES))
    rules: dict[str, int] = field(default_factory=dict)
    whole: bool = True  # False: reading stopped at the bound asked for
    peak_mb: int = 0  # memory of the reader and of this process together


def prepare(
    actor,
    sheet: Sheet,
    path: Path,
    *,
    mapping: dict[str, str] | None = None,
    worksheet="",
    today: date,
    most: int | None = None,
    progress: Progress = untold,
) -> Prepared:
    """Read and clean the file at `path`, or its first `most` rows; rows of the same key become one."""
    context = Context(actor, f"{sheet.resource}.import", _now(today))
    names, same = [ROW, *sheet.carried], list(sheet.identity or sheet.key)
    refused, warnings, hashes_of = [], [], []
    with reading.read(path, sheet.wanted(), mapping or None, worksheet=worksheet) as source:
        prepared = Prepared(source.outline)
        for raw in source:
            if most is not None and prepared.read + len(raw) > most:
                raw, prepared.whole = raw.head(most - prepared.read), False
            cleaned = clean_frame(sheet, raw, context)
            prepared.read += len(raw)
            refused.append(cleaned.refused)
            warnings.append(cleaned.warnings)
            for rule, count in cleaned.rules.items():
                prepared.rules[rule] = prepared.rules.get(rule, 0) + count
            rows = cleaned.values.select(names)
            if same:
                hashes_of.append(rows.select(same).hash_rows())
            prepared.rows += len(rows)
            prepared.chunks.append(pack(rows))
            progress(0, prepared.read)
            if not prepared.whole:
                break
    prepared.peak_mb = source.peak_mb + own_peak_mb()
    prepared.refused = pl.concat([prepared.refused, *refused])
    prepared.warnings = pl.concat([prepared.warnings, *warnings])
    if not prepared.read:
        raise reading.Unreadable(f"第 {prepared.outline.row} 行的表头下面没有数据；请填写后再导入")
    if same:
        merge_repetitions(sheet, same, prepared, hashes_of)
    return prepared


def _now(today):
    """The moment after which a time lies in the future: now, or the end of a day that is over."""
    now = timezone.make_naive(timezone.now())
    return now if today == now.date() else datetime.combine(today, clock.max)


def merge_repetitions(sheet: Sheet, key: list[str], prepared: Prepared, hashes_of: list[pl.Series]):
    """Make rows of one key one row, where the first of them stands: a later non-empty value wins (CL-6.2).

    Later is what comes later by the sheet's precedence, or else in the file.
    """
    hashed = pl.concat(hashes_of)
    repeated = hashed.is_duplicated()
    if not repeated.any():
        return
    picked, start = [], 0
    for number, packed in enumerate(prepared.chunks):
        rows = unpack(packed)
        mask = repeated.slice(start, len(rows))
        start += len(rows)
        if mask.any():
            picked.append(rows.filter(mask).with_columns(chunk=number))
            prepared.chunks[number] = pack(rows.filter(~mask))
    every = pl.concat(picked)
    if sheet.precedence:
        every = every.sort(*sheet.precedence, ROW)
    names = [name for name in every.columns if name not in (ROW, "chunk", *key)]
    so_far = every.with_columns(pl.col(names).forward_fill().over(key))
    before = so_far.with_columns(pl.col(names).shift(1).over(key))
    news = pl.any_horizontal(
        every[name].is_not_null() & every[name].ne_missing(before[name]) for name in names
    )
    later = pl.int_range(pl.len()).over(key) > 0
    counted = every.select(merged=(news & later).sum(), same=(~news & later).sum())
    prepared.merged, prepared.same = counted.row(0)
    prepared.rows -= prepared.merged + prepared.same
    single = so_far.group_by(key, maintain_order=True).agg(
        pl.col(names).last(), pl.col(ROW).min(), pl.col("chunk").min()
    )
    for (number,), rows in single.group_by("chunk"):
        rest = unpack(prepared.chunks[number])
        prepared.chunks[number] = pack(pl.concat([rest, rows.select(rest.columns)]).sort(ROW))


def pack(rows: pl.DataFrame) -> bytes:
    """A frame in few bytes: a million rows wait in memory, for a file would hold them in clear (P-4.1)."""
    packed = io.BytesIO()
    rows.write_ipc(packed, compression="lz4")
    return packed.getvalue()


def unpack(packed: bytes) -> pl.DataFrame:
    """The frame again."""
    return pl.read_ipc(io.BytesIO(packed))


def own_peak_mb() -> int:
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

"""Many rows in: one import of one file, from its bytes to the audit row (P-5.3, CL-6, architecture §4).

The file is read and cleaned whole, since the last row may correct the first; then it is stored chunk by
chunk, each in one transaction that also remembers the chunk. A load whose worker was killed begins again,
finds the same chunks and goes on behind the last one remembered.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from contextvars import copy_context
from datetime import date
from pathlib import Path

import polars as pl
from cryptography.hazmat.primitives import hashes
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection, transaction
from django.utils import timezone

from jingwei.base import audit, findings, merging
from jingwei.base.columns import Context
from jingwei.base.indexes import filling
from jingwei.base.models import Load, LoadChunk
from jingwei.base.preparing import (
    Prepared,
    Progress,
    merge_repetitions,
    own_peak_mb,
    pack,
    prepare,
    unpack,
    untold,
)
from jingwei.base.reading import ROW
from jingwei.base.sheets import MESSAGES, Sheet, clean_frame
from jingwei.base.wall import beyond_scope

MODES = {"both": "新增和修改", "add": "只新增", "update": "只修改"}
BAD = {"skip": "跳过错误行", "stop": "有错误行则全部不导入"}
MOST_TOLD = 20_000  # messages of each kind in the counts at hand; `findings` has them all
PATIENCE = 30  # seconds to wait for another process that is at the same file
# First halves of the keys of advisory locks. One process at a time works on a load. One load at a time writes
# to a table, so that two loads of the same people never wait for each other's rows crosswise.
_RUNNING, _WRITING = 0x4C6F61, 0x4C6F62


@beyond_scope()
def load(
    actor,
    sheet: Sheet,
    path: Path,
    *,
    mode="both",
    bad="skip",
    mapping: dict[str, str] | None = None,
    worksheet="",
    today: date | None = None,
    file_name="",
    job=None,
    record: Load | None = None,
    progress: Progress | None = None,
) -> Load:
    """Import the file at `path`. The Load returned has what came of it in `state` and `counts`.

    `record` is a load begun before, whose own mode, mapping and so on hold; without it a load of the same
    file that was cut off goes on, or a new one begins. The Load's attribute `refused` holds all refusals
    (MESSAGES), its `outline` what stood at the top of the file; `findings` keep every message. With
    bad="stop" one bad row fails the load and nothing is stored. A load that is over is not done again; what
    it refused is told again. PermissionDenied without the right; Unreadable when the file cannot be read as
    the sheet.
    """
    require_import(actor, sheet)
    if record is None:
        asked = {"mode": mode, "bad": bad, "mapping": mapping or {}, "worksheet": worksheet}
        asked["today"] = today or timezone.localdate()
        record = _begin(actor, sheet, path, asked, file_name or Path(path).name, job)
    with only_here(record):
        record.refresh_from_db()
        if record.state == Load.RUNNING:
            try:
                _run(actor, sheet, path, record, progress or untold)
            except ValidationError as refusal:
                close(actor, record, Load.FAILED, reason="；".join(refusal.messages))
                raise
        elif record.counts.get("rejected_rows"):
            _tell_again(actor, sheet, path, record, progress or untold)
    return record


def require_import(actor, sheet):
    """PermissionDenied unless the actor may import this kind of sheet, ValidationError while nobody may."""
    if not actor.may(f"{sheet.resource}.import"):
        raise PermissionDenied(f"您没有导入“{sheet.label}”的权限，请联系管理员")
    if closed := sheet.closed():
        raise ValidationError(closed)


def _begin(actor, sheet, path, asked, file_name, job):
    same = {"owner": actor.operator_id, "sheet": sheet.name, "digest": digest_of(path), "job": job, **asked}
    begun = Load.objects.filter(state=Load.RUNNING, **same).first()
    if begun is None:
        given = {"resource": sheet.resource, "file_name": file_name, "organisation": actor.organisation_id}
        return Load.objects.create(**given, **same)
    # Of a process that was killed the database's session lives on until it has done what it is at.
    until = time.monotonic() + PATIENCE
    while _is_running(begun):
        if time.monotonic() > until:
            since = timezone.localtime(begun.created_at)
            raise ValidationError(
                f"“{begun.file_name}”正在导入中（{since:%H:%M} 开始），没有再导入一次；请等它结束，再看结果"
            )
        time.sleep(0.1)
    return begun


def digest_of(path: Path) -> str:
    """SM3 digest of a file, in hexadecimal (GB/T 32905)."""
    digest = hashes.Hash(hashes.SM3())
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.finalize().hex()


@contextmanager
def only_here(record: Load):
    """Inside, no other process works on this load; waits for one that does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", [_RUNNING, record.pk])
        try:
            yield
        finally:
            # A pooled connection lives on after a cancelled load, and so would its lock.
            if connection.connection and not connection.connection.closed:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_RUNNING, record.pk])


def _is_running(record):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = %s"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
            [_RUNNING, record.pk],
        )
        return cursor.fetchone()[0]


def _run(actor, sheet, path, record, progress):
    started = time.monotonic()
    chosen = {"mapping": record.mapping, "worksheet": record.worksheet, "today": record.today}
    prepared = prepare(actor, sheet, path, **chosen, progress=progress)
    record.outline = prepared.outline
    all_or_nothing = record.bad == "stop"
    chunks = []
    if not (all_or_nothing and len(prepared.refused)):
        with transaction.atomic() if all_or_nothing else nullcontext():
            chunks = _store(actor, sheet, record, prepared, progress)
            refused = any(chunk["refused"] for chunk in chunks)
            if all_or_nothing and refused:
                transaction.set_rollback(True)
    record.refused = _refused(prepared, chunks)
    said = _said(sheet, prepared.outline, record.refused, prepared.warnings)
    counts = _counts(prepared, chunks, said, started)
    if all_or_nothing and counts["rejected"]:
        counts |= {"added": 0, "changed": 0, "unchanged": 0}
        reason = f"有 {counts['rejected_rows']} 行有错误，按“{BAD['stop']}”没有导入"
        close(actor, record, Load.FAILED, counts, said, reason)
    else:
        record.mapping = prepared.outline.mapping
        close(actor, record, Load.DONE, counts, said)
        sheet.after_load(counts["added"] + counts["changed"])


def _tell_again(actor, sheet, path, record, progress):
    """Say what a load refused that is over: its workbook of errors may not have come to be written."""
    chosen = {"mapping": record.mapping, "worksheet": record.worksheet, "today": record.today}
    prepared = prepare(actor, sheet, path, **chosen, progress=progress)
    chunks = list(record.chunks.order_by("number").values_list("counts", flat=True))
    record.outline, record.refused = prepared.outline, _refused(prepared, chunks)


def _store(actor, sheet, record, prepared, progress):
    """The counts of every chunk, those stored before a kill included."""
    if sheet.events:
        return _store_events(actor, sheet, record, prepared, progress)
    table = merging.Table(sheet)
    table.begin()
    done = dict(record.chunks.values_list("number", "counts"))
    stored = sum(len(unpack(prepared.chunks[number])) for number in done)

    def compared():
        for number, packed in enumerate(prepared.chunks):
            if number not in done:
                rows = unpack(packed)
                with transaction.atomic():
                    placed = sheet.place(actor, rows)
                    outcome = merging.compare(actor, table, placed.rows, record.mode)
                added = None if sheet.save else merging.additions(actor, table, outcome.added)
                yield number, rows, placed, outcome, added

    # Another connection would not see what a transaction that spans all chunks has stored.
    chunks = compared() if connection.in_atomic_block else _ahead(compared())
    with filling(sheet.model, prepared.rows), closing(chunks):
        for number, rows, placed, outcome, added in chunks:
            with _chunk():
                counts = _merge_chunk(actor, table, record, rows, placed, outcome, added)
                LoadChunk.objects.create(load=record, number=number, counts=counts)
            done[number] = counts
            stored += len(rows)
            progress(stored, prepared.rows)
    return [done[number] for number in range(len(prepared.chunks))]


def _ahead(items):
    """The items, each made in a thread with a connection of its own while the one before it is used."""
    with ThreadPoolExecutor(1) as making:
        try:
            # The thread stands where this one does, before the wall.
            coming = making.submit(copy_context().run, next, items, None)
            while (item := coming.result()) is not None:
                coming = making.submit(copy_context().run, next, items, None)
                yield item
        finally:
            # `connection` is another one in each thread: which, is to be asked in there.
            making.submit(lambda: connection.close())


@contextmanager
def _chunk():
    """A transaction that doesn't wait for the disk: what a crash loses of it, the load stores again.

    The end of the load waits, and with it everything before is safe.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        yield


def _merge_chunk(actor, table, record, rows, placed, outcome, added):
    """Store a chunk as compared, with the additions made of it; its counts. Called in its transaction."""
    sheet = table.sheet
    take_turn(sheet)
    if sheet.save:
        outcome = merging.merge_singly(actor, table, record, outcome)
    else:
        outcome = merging.merge(actor, table, record, placed.rows, outcome, added)
    if len(placed.strangers):
        sheet.keep_aside(actor, record, placed.strangers)
    return _chunk_counts(rows, placed, outcome)


def take_turn(sheet):
    """Wait until no other load writes to the same tables, and keep them until the end of the transaction."""
    model = sheet.turns or (None if sheet.events else sheet.model)
    if model:
        with connection.cursor() as cursor:
            key = [_WRITING, model._meta.db_table]
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", key)


def _store_events(actor, sheet, record, prepared, progress):
    """The same for events: what is there already is the same row again, whichever load brought it."""
    done = dict(record.chunks.values_list("number", "counts"))
    sizes = range(0, len(prepared.chunks), sheet.together)
    chunks = [prepared.chunks[start : start + sheet.together] for start in sizes]
    stored = 0

    def made_ready(number):
        if number in done:
            return sum(len(unpack(packed)) for packed in chunks[number]), None
        rows = pl.concat(sheet.ready(unpack(packed)) for packed in chunks[number])
        return len(rows), rows

    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(made_ready, 0) if chunks else None
        for number in range(len(chunks)):
            size, rows = coming.result()
            if number + 1 < len(chunks):
                coming = ahead.submit(made_ready, number + 1)
            if number not in done:
                with _chunk():
                    done[number] = _add_events(actor, sheet, record, rows)
                    LoadChunk.objects.create(load=record, number=number, counts=done[number])
            stored += size
            progress(stored, prepared.rows)
    return [done[number] for number in range(len(chunks))]


def _add_events(actor, sheet, record, rows):
    """Store a chunk of events; its counts."""
    take_turn(sheet)
    placed = sheet.place(actor, rows)
    outcome = sheet.store(actor, placed.rows, record)
    if len(placed.strangers):
        sheet.keep_aside(actor, record, placed.strangers)
    counts = {name: getattr(outcome, name) for name in ("added", "changed", "unchanged")}
    return counts | _aside_counts(rows, placed, outcome.refused, outcome.same)


@beyond_scope()
@transaction.atomic
def take_rows(actor, sheet: Sheet, record: Load, raw: pl.DataFrame) -> dict:
    """Store rows that no file brings but another system, by the rules of an import; nobody's right is asked.

    `raw` has ROW and columns of text, as a reader gives them. Counts of what came of them, and `refused` and
    `warnings` (MESSAGES). `record` is the Load they belong to, whatever else belongs to it.
    """
    now = timezone.make_naive(timezone.now())
    cleaned = clean_frame(sheet, raw, Context(actor, f"{sheet.resource}.import", now))
    rows = cleaned.values.select(ROW, *sheet.carried)
    good = Prepared(None, [pack(rows)], len(rows))
    if same := list(sheet.identity or sheet.key):
        merge_repetitions(sheet, same, good, [rows.select(same).hash_rows()])
        rows = unpack(good.chunks[0])
    if sheet.events:
        counts = _add_events(actor, sheet, record, sheet.ready(rows))
    else:
        table, placed = merging.Table(sheet), sheet.place(actor, rows)
        outcome = merging.compare(actor, table, placed.rows, record.mode)
        added = None if sheet.save else merging.additions(actor, table, outcome.added)
        counts = _merge_chunk(actor, table, record, rows, placed, outcome, added)
    counts["same"] += good.merged + good.same
    refused = pl.concat([cleaned.refused, pl.DataFrame(counts["refused"], MESSAGES, orient="row")])
    return counts | {"refused": refused, "warnings": cleaned.warnings}


def _chunk_counts(rows, placed, outcome):
    counts = {"added": len(outcome.added), "changed": len(outcome.changed), "unchanged": outcome.unchanged}
    return counts | _aside_counts(rows, placed, outcome.refused)


def _aside_counts(rows, placed, refused, same=0):
    """Counts of the rows that did not come to be stored; of two for one place one is the same again."""
    gone = len(rows) - len(placed.rows) - len(placed.refused) - len(placed.strangers)
    return {
        "same": same + gone,
        "refused": [*placed.refused.rows(), *refused.rows()],
        "aside": len(placed.strangers),
        "who": list(placed.who),
    }


@transaction.atomic
def close(actor, record: Load, state, counts: dict | None = None, said=None, reason=""):
    """End a load: state, counts, its messages {kind: frame} and its line in the operation log.

    `counts` default to those of its chunks. The first messages stand in the counts of the instance at hand.
    """
    if counts is None:
        chunks = list(record.chunks.values_list("counts", flat=True))
        counts = {name: sum(chunk[name] for chunk in chunks) for name in ("added", "changed", "unchanged")}
    record.state = state
    record.counts = {name: value for name, value in counts.items() if name not in findings.KINDS}
    record.save(update_fields=["state", "counts", "mapping"])
    for kind in findings.KINDS:
        findings.keep(record, kind, said[kind] if said else findings.NONE)
    told, record.counts = record.counts, counts
    audit.record(
        actor,
        "导入",
        record,
        resource=record.resource,
        result="成功" if state == Load.DONE else "失败",
        reason=reason or ("" if state == Load.DONE else state),
        sheet=record.sheet,
        mode=record.mode,
        bad=record.bad,
        digest=record.digest,
        **told,
    )


def _refused(prepared, chunks):
    later = [pl.DataFrame(chunk["refused"], MESSAGES, orient="row") for chunk in chunks]
    return pl.concat([prepared.refused, *later]).sort(ROW, maintain_order=True)


def _counts(prepared, chunks, said, started):
    """The outcome as `jingwei import --json` gives it, with the first messages of each kind."""
    return {
        "read": prepared.read,
        **{name: sum(chunk[name] for chunk in chunks) for name in ("added", "changed", "unchanged")},
        "merged": prepared.merged,
        "same": prepared.same + sum(chunk["same"] for chunk in chunks),
        "rejected_rows": said["rejected"]["row"].n_unique(),
        **{kind: said[kind].head(MOST_TOLD).to_dicts() for kind in findings.KINDS},
        "unregistered": len({number for chunk in chunks for number in chunk["who"]}),
        "unregistered_rows": sum(chunk["aside"] for chunk in chunks),
        "corrected": prepared.rules,
        "notes": prepared.outline.notes,
        "seconds": round(time.monotonic() - started, 2),
        "peak_mb": max(prepared.peak_mb, own_peak_mb()),
    }


def _said(sheet, outline, refused, warnings):
    """{kind: messages} with the headings of the file in place of our names."""
    headings = {column.name: outline.heading_of(column.name) or column.heading for column in sheet.columns}
    columns = pl.col(ROW).alias("row"), pl.col("column").replace(headings), "reason"
    return {"rejected": refused.select(columns), "warnings": warnings.select(columns)}


@beyond_scope()
def preview(
    actor,
    sheet: Sheet,
    path: Path,
    *,
    mode="both",
    mapping: dict[str, str] | None = None,
    worksheet="",
    today: date | None = None,
    most: int | None = None,
    progress: Progress | None = None,
) -> dict:
    """What `load` would do, in the same counts; nothing is stored. `partial`: only the first `most` rows."""
    require_import(actor, sheet)
    started, progress = time.monotonic(), progress or untold
    today = today or timezone.localdate()
    chosen = {"mapping": mapping, "worksheet": worksheet, "today": today, "most": most}
    prepared = prepare(actor, sheet, path, **chosen, progress=progress)
    chunks, done = [], 0
    for packed in prepared.chunks:
        rows = unpack(packed)
        with transaction.atomic():
            if sheet.events:  # what they would do is known by doing it
                trial = Load.objects.create(sheet=sheet.name, resource=sheet.resource, mode=mode, today=today)
                chunks.append(_add_events(actor, sheet, trial, sheet.ready(rows)))
                transaction.set_rollback(True)
            else:
                placed = sheet.place(actor, rows)
                outcome = merging.compare(actor, merging.Table(sheet), placed.rows, mode)
                chunks.append(_chunk_counts(rows, placed, outcome))
        done += len(rows)
        progress(done, prepared.rows)
    said = _said(sheet, prepared.outline, _refused(prepared, chunks), prepared.warnings)
    return _counts(prepared, chunks, said, started) | {"partial": not prepared.whole}

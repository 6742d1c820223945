"""Files of operators: uploads, exports, error workbooks (P-5.4).

They hold personal data and lie on disk for days, so their content is sealed too (P-4.1, SEC-13). A file is::

    4 bytes "JWF1" | 2 bytes length | its key, sealed by the crypto provider | blocks of `base.sealing`
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, StreamingHttpResponse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET

from jingwei.base import audit
from jingwei.base.crypto import Column, provider
from jingwei.base.models import StoredFile
from jingwei.base.parameters import Parameter
from jingwei.base.sealing import BlockWriter, Damaged, opened

KEEP_DAYS = Parameter(
    "files.keep_days", "文件保存天数", 7, "上传的表格、导出和错误行文件多少天后删除", "天", low=1, high=90
)
PARAMETERS = [KEEP_DAYS]

MARK = b"JWF1"
FILE_KEYS = Column("files.key", searchable=False)
FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(ValidationError):
    """The file could not be written, and nothing of it is left."""

    def __init__(self):
        super().__init__("服务器磁盘空间不足，文件没有保存。请联系系统管理员清理磁盘后重试。")


def folder() -> Path:
    """Where the files of this instance lie."""
    return settings.JINGWEI_FILES


def place(pk) -> Path:
    """Where the file of that number lies."""
    return folder() / pk.hex[:2] / str(pk)


@contextmanager
def create(owner, name):
    """Write a new file of the operator `owner`: `with create(7, "名单.xlsx") as file: file.write(...)`.

    When the block ends well, `file.stored` is its StoredFile; before that nobody can see it, and when the
    block fails nothing of it is left. DiskFull in words.
    """
    pk = uuid.uuid4()
    path, draft = place(pk), place(pk).with_suffix(".new")
    try:
        for parent in (folder(), path.parent):
            parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as raw:
            file = SealedWriter(raw)
            yield file
            file.finish()
            os.fsync(descriptor)
        draft.rename(path)
        file.stored = StoredFile.objects.create(
            id=pk,
            name=name,
            size=file.size,
            owner=owner,
            expires_at=timezone.now() + timedelta(days=KEEP_DAYS.value()),
        )
    except BaseException as error:
        draft.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL:
            raise DiskFull() from error
        raise


class SealedWriter(BlockWriter):
    """A file object that seals what is written to it, its key sealed in front."""

    def __init__(self, raw):
        key = provider().random(16)
        [sealed] = provider().encrypt(FILE_KEYS, [key.hex()])
        raw.write(MARK + len(sealed).to_bytes(2, "big") + sealed)
        super().__init__(raw, key)


def blocks(stored):
    """The clear content of a file, block by block; Damaged where it is not what was written."""
    with open(place(stored.pk), "rb") as raw:
        try:
            if raw.read(len(MARK)) != MARK:
                raise Damaged()
            sealed = raw.read(int.from_bytes(raw.read(2), "big"))
            key = bytes.fromhex(provider().decrypt(FILE_KEYS, [sealed])[0])
        except ValueError:
            raise Damaged() from None
        yield from opened(raw, key)


def keys_under(key_id: str) -> Iterator[tuple[Path, bytes]]:
    """(path, sealed key) of the files whose own key is sealed under this key of the ring."""
    for path in folder().glob("*/*"):
        with suppress(FileNotFoundError), open(path, "rb") as raw:
            if raw.read(len(MARK)) == MARK:
                sealed = raw.read(int.from_bytes(raw.read(2), "big"))
                if sealed[1:2] == bytes([int(key_id[1:])]):
                    yield path, sealed


def move_keys(key_id: str) -> int:
    """Seal the keys of files that are under this key under the current one; how many (P-4.4)."""
    moved = 0
    for path, sealed in keys_under(key_id):
        [anew] = provider().encrypt(FILE_KEYS, provider().decrypt(FILE_KEYS, [sealed]))
        # As long as before, and in one write at the file's begin: a reader meets the one or the other.
        with suppress(FileNotFoundError), open(path, "r+b", buffering=0) as raw:
            raw.seek(len(MARK) + 2)
            raw.write(anew)
            os.fsync(raw.fileno())
            moved += 1
    return moved


@contextmanager
def in_memory(parts):
    """A path under which this process reads these bytes, for as long as the block lasts.

    They lie in memory only, without a name in any folder.
    """
    descriptor = os.memfd_create("file")
    with open(descriptor, "wb") as memory:
        for part in parts:
            memory.write(part)
        memory.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def clear_path(stored):
    """A path under which this process reads a stored file in clear, for as long as the block lasts."""
    return in_memory(blocks(stored))


def remove(stored):
    """Delete a file, its content too, when the transaction commits (SEC-18)."""
    path = place(stored.pk)
    stored.delete()
    transaction.on_commit(lambda: path.unlink(missing_ok=True))


@require_GET
def download(request, pk):
    """Give a file to its owner, and leave a line in the operation log."""
    stored = StoredFile.objects.filter(
        pk=pk, owner=request.actor.operator_id, expires_at__gt=timezone.now()
    ).first()
    if stored is None or not place(stored.pk).exists():
        raise Http404("文件不存在，或已超过保存期限。")
    audit.record(request.actor, "下载", stored, resource="files")
    response = StreamingHttpResponse(blocks(stored), content_type="application/octet-stream")
    response.headers["Content-Length"] = stored.size
    response.headers["Content-Disposition"] = content_disposition_header(True, stored.name)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


def clean_up(actor, job, report):
    """Kind of job: delete expired files, and what a killed process left in the folder."""
    expired = list(StoredFile.objects.filter(expires_at__lte=timezone.now()))
    for stored in expired:
        with transaction.atomic():
            remove(stored)
    # A file being written has no row yet; one that is a day old never will.
    yesterday = timezone.now().timestamp() - timedelta(days=1).total_seconds()
    known = {str(pk) for pk in StoredFile.objects.values_list("pk", flat=True)}
    left = [
        path for path in folder().glob("*/*") if path.name not in known and path.stat().st_mtime < yesterday
    ]
    for path in left:
        path.unlink(missing_ok=True)
    return {"message": f"清理了 {len(expired)} 个过期文件、{len(left)} 个残留文件。"}

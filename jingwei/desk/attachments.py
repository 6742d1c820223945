"""Attachments of records: taken in, described, scanned, given out, removed (P-5.6, SEC-7, SEC-12, SEC-18).

Pages ask first whether the operator may and which record; what is done here is the same for any of them. An
upload is noted as a stray before anything is stored and is none any more when its row commits, so neither a
refusal nor a kill leaves an object that nobody knows of. The store is never listed for strays: an instance
restored from a backup beside the same bucket would take for strays what the first one has added since.
"""

import io
import uuid
from datetime import timedelta
from functools import partial
from itertools import chain
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import transaction
from django.utils import timezone

from jingwei.base import audit, wall
from jingwei.base.attachments import Attachment, StrayObject, kinds_of_attachments
from jingwei.base.crypto import provider
from jingwei.base.parameters import Parameter
from jingwei.base.sealing import BlockWriter, opened
from jingwei.desk.storage import store
from jingwei.kit import clamd
from jingwei.kit.contents import Refused, clean_name, judge

LARGEST = Parameter(
    "attachments.largest", "附件大小上限", 20, "一个附件最大多少 MB", "MB", low=1, high=60
)  # below FILE_UPLOAD_MAX_MEMORY_SIZE
MOST_PIXELS = Parameter(
    "attachments.most_pixels",
    "图片像素上限",
    50,
    "一张图片最多多少百万像素；处理一张图片所用的内存随它增加",
    "百万像素",
    low=1,
    high=150,
)
MOST = Parameter(
    "attachments.most", "每条记录的附件数", 100, "一条记录最多有多少个附件", "个", low=1, high=1000
)
VIDEO_HOSTS = Parameter(
    "attachments.video_hosts",
    "视频网站",
    "v.qq.com www.bilibili.com v.youku.com",
    "附件中的视频链接可以指向的网站，用空格隔开；留空则不能添加视频链接",
)
PARAMETERS = [LARGEST, MOST_PIXELS, MOST, VIDEO_HOSTS]

WHOLE, SMALL, LARGE = "", ".small", ".large"  # what is stored of a picture, each with a key of its own
VARIANTS = (WHOLE, SMALL, LARGE)
UPLOAD = timedelta(hours=1)  # after this an upload without a row was cut off
WEBP = "image/webp"


class Infected(ValidationError):
    """The scanner has found a virus in the file."""

    def __init__(self, virus):
        super().__init__(f"文件中发现病毒（{virus}），没有保存。请先在本机查杀病毒")


# --- in ---------------------------------------------------------------------------------------------------


def attach(actor, resource, row, *, name: str, data: bytes, keep_shot=False) -> Attachment:
    """Take a file in as an attachment of a record; a refusal says why in words, and the log keeps it."""
    try:
        _require_room(row)
        if len(data) > LARGEST.value() << 20:
            raise ValidationError(f"文件有 {len(data) / 2**20:.0f} MB，超过上限 {LARGEST.value()} MB")
        scanned_at = _scanned(data)
        try:
            content = judge(data, most_pixels=MOST_PIXELS.value() * 1_000_000, keep_shot=keep_shot)
        except Refused as refusal:
            raise ValidationError(str(refusal)) from refusal
    except ValidationError as refusal:
        reason = "；".join(refusal.messages)
        audit.record(actor, "上传附件", row, resource=resource.name, result="拒绝", reason=reason)
        raise
    key = provider().random(16 * len(VARIANTS))
    attachment = resource.attachments(
        record=row,
        kind=Attachment.PICTURE if content.size else Attachment.DOCUMENT,
        name=clean_name(name, content.extension),
        extension=content.extension,
        media_type=content.media_type,
        size=len(content.data),
        width=content.size and content.size[0],
        height=content.size and content.size[1],
        shot=content.shot,
        object=uuid.uuid4(),
        key=key.hex(),
        scanned_at=scanned_at,
        added_by=actor.operator_id,
        added_by_name=actor.name,
    )
    stray = StrayObject.objects.create(object=attachment.object, due_at=timezone.now() + UPLOAD)
    try:
        for variant, part in zip(VARIANTS, (content.data, content.small, content.large), strict=True):
            if part:
                store().put(f"{attachment.object}{variant}", _sealed(part, _key_of(attachment, variant)))
        with transaction.atomic():
            attachment.save(force_insert=True)
            stray.delete()
            _note(actor, "上传附件", resource, row, attachment, added=str(attachment))
    except BaseException:
        sweep([attachment.object])
        raise
    return attachment


def _require_room(row):
    if row.attachments.count() >= MOST.value():
        raise ValidationError(f"这条记录已有 {MOST.value()} 个附件，不能再增加；请先删除不需要的")


def _scanned(data):
    """When the file was found clean; None where no scanner is set, or it gives no answer now."""
    if not settings.JINGWEI_VIRUS_SCAN:
        return None
    try:
        virus = clamd.scan(settings.JINGWEI_VIRUS_SCAN, data)
    except clamd.Unavailable:
        return None  # `scan_waiting` asks again; until then nobody gets the file
    if virus:
        raise Infected(virus)
    return timezone.now()


def _sealed(part, key):
    content = io.BytesIO()
    writer = BlockWriter(content, key)
    writer.write(part)
    writer.finish()
    return content.getvalue()


def _key_of(attachment, variant):
    place = 16 * VARIANTS.index(variant)
    return bytes.fromhex(attachment.key.clear())[place : place + 16]


def _note(actor, act, resource, row, attachment, *, removed="", added="", **detail):
    """A line in the log that stands in the record's history, without the people's own words."""
    changes = {"附件": [removed, added]} if removed or added else {}
    audit.record(actor, act, row, resource=resource.name, attachment=attachment.pk, changes=changes, **detail)


@transaction.atomic
def link_video(actor, resource, row, *, address: str, name: str = "") -> Attachment:
    """Add a link to a video that lies with one of the allowed sites; nothing of it is ever fetched."""
    _require_room(row)
    hosts = VIDEO_HOSTS.value().split()
    if not hosts:
        raise ValidationError("没有设置可用的视频网站，不能添加视频链接")
    try:
        URLValidator(schemes=["https"], message="")(address)
        host = urlsplit(address).netloc
    except (ValidationError, ValueError):
        host = None
    if host not in hosts or len(address) > 500:
        raise ValidationError(f"视频地址应以 https:// 开头，并属于这些网站：{'、'.join(hosts)}")
    attachment = resource.attachments.objects.create(
        record=row,
        kind=Attachment.VIDEO,
        name=name.strip()[:120] or f"{host} 视频",
        link=address,
        added_by=actor.operator_id,
        added_by_name=actor.name,
    )
    _note(actor, "上传附件", resource, row, attachment, added=f"{Attachment.VIDEO}（{host}）")
    return attachment


@transaction.atomic
def describe(actor, resource, row, attachment, *, caption: str):
    """Say what an attachment shows."""
    attachment.caption = caption.strip()[:200]
    attachment.save(update_fields=["caption"])
    _note(actor, "修改附件说明", resource, row, attachment)


# --- out --------------------------------------------------------------------------------------------------


def is_open(attachment) -> bool:
    """Whether a file may be given out: it was found clean, or nobody looks for viruses."""
    return attachment.scanned_at is not None or not settings.JINGWEI_VIRUS_SCAN


def content_of(attachment, variant=WHOLE):
    """The clear bytes of a file, part by part; FileNotFoundError, Damaged and Unreachable at once."""
    raw = store().open(f"{attachment.object}{variant}")
    return _closing(raw, opened(raw, _key_of(attachment, variant)))


def _closing(raw, parts):
    try:
        first = next(parts)
    except BaseException:
        raw.close()
        raise

    def rest():
        with raw:
            yield from chain([first], parts)

    return rest()


# --- away -------------------------------------------------------------------------------------------------


@transaction.atomic
def remove(actor, resource, row, attachment, *, reason=""):
    """Delete an attachment, and what lies in the store when the transaction commits (SEC-18)."""
    said, pk, left = str(attachment), attachment.pk, attachment.object
    attachment.delete()
    attachment.pk = pk
    _note(actor, "删除附件", resource, row, attachment, removed=said, **({"原因": reason} if reason else {}))
    if left:
        # What fails now, the timetable does again.
        transaction.on_commit(partial(sweep, [left]), robust=True)


def sweep(objects):
    """Remove from the store what no row has any more; what has failed is tried again by the timetable."""
    for left in objects:
        store().remove([f"{left}{variant}" for variant in VARIANTS])
        StrayObject.objects.filter(pk=left).delete()


def _strays():
    return StrayObject.objects.filter(due_at__lte=timezone.now())


def any_strays() -> bool:
    """Whether something is to be removed from the store by now."""
    return _strays().exists()


def clean_up(actor, job, report):
    """Kind of job: remove what deleted records and cut-off uploads have left in the store."""
    left = list(_strays().values_list("pk", flat=True))
    for done, one in enumerate(left):
        report(done, len(left))
        sweep([one])
    return {"message": f"从附件存储中清除了 {len(left)} 个文件。"}


# --- viruses ----------------------------------------------------------------------------------------------


def waiting(kind):
    """The files that no scanner has seen."""
    return kind.objects.filter(scanned_at=None, object__isnull=False)


def any_waiting() -> bool:
    """Whether a scanner is set and has work."""
    if not settings.JINGWEI_VIRUS_SCAN:
        return False
    with wall.beyond_scope():  # the timetable asks, in nobody's name
        return any(waiting(kind).exists() for kind in kinds_of_attachments())


def scan_waiting(actor, job, report):
    """Kind of job: have the files scanned that came while the scanner was away, or before there was one."""
    clean = infected = 0
    for kind in kinds_of_attachments():
        for attachment in waiting(kind).iterator(chunk_size=200):
            report(clean + infected, 0)
            try:
                virus = clamd.scan(settings.JINGWEI_VIRUS_SCAN, b"".join(content_of(attachment)))
            except clamd.Unavailable as error:
                raise ValidationError("查毒程序没有应答，附件暂时不能打开。请检查查毒服务。") from error
            except FileNotFoundError:
                continue
            if virus:
                infected += 1
                _remove_infected(actor, attachment, virus)
            else:
                clean += 1
                kind.objects.filter(pk=attachment.pk).update(scanned_at=timezone.now())
    return {"message": f"查毒：{clean} 个附件正常，{infected} 个有病毒并已删除。"}


def _remove_infected(actor, attachment, virus):
    from jingwei import menu  # its pages import this module

    resource = next(r for r in menu.resources().values() if r.attachments is type(attachment))
    remove(actor, resource, attachment.record, attachment, reason=f"发现病毒 {virus}")

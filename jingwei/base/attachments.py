"""Pictures, documents and video links that hang on a record (P-5.6).

A record that can have them has a table of its own for them, two lines long::

    class VenueAttachment(Attachment):
        record = models.ForeignKey(Venue, models.CASCADE, verbose_name="公共场所", related_name="attachments")
        scope = Scope(organisation="record__regulator__path")

        class Meta(Attachment.Meta):
            verbose_name = "场所附件"

and the resource says ``attachments = VenueAttachment``. So an attachment lies in the scope of its record, is
merged, counted and deleted with it, and no record's page can reach the attachments of another one.

What a file holds is no column: it lies sealed in the store (`desk.storage`) under the name `object`, its key
here. Whatever deletes a row, the database notes what it leaves behind as a `StrayObject`.
"""

import uuid

import pgtrigger
from django.apps import apps
from django.db import models
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from jingwei.base.access import Rows
from jingwei.base.fields import SealedField

ENTRY = {"kind": "text", "purpose": "办理业务的佐证", "basis": "履行法定职责", "keep": "随所属记录"}


class StrayObject(models.Model):
    """Something in the store that no row has, or not yet: it is removed from `due_at` on (SEC-18)."""

    object = models.UUIDField(primary_key=True)
    due_at = models.DateTimeField(db_index=True)


class Attachment(models.Model):
    """A file of a record, or a link to a video; `record` is a foreign key that each table declares."""

    PICTURE, DOCUMENT, VIDEO = "图片", "文档", "视频链接"

    kind = models.CharField("类型", max_length=10, choices=[(k, k) for k in (PICTURE, DOCUMENT, VIDEO)])
    # File names and captions are people's own words: 林样例身份证.jpg.
    name = SealedField("名称", **ENTRY)
    caption = SealedField("说明", blank=True, **ENTRY)
    link = models.URLField("视频地址", max_length=500, blank=True)
    extension = models.CharField("扩展名", max_length=10, blank=True)
    media_type = models.CharField("内容类型", max_length=100, blank=True)
    size = models.BigIntegerField("大小", default=0)  # bytes in clear
    width = models.PositiveIntegerField("宽", null=True)
    height = models.PositiveIntegerField("高", null=True)
    shot = SealedField("拍摄信息", blank=True, **ENTRY)
    object = models.UUIDField(null=True, unique=True)
    # Sealed as a column, so that keys rotate without touching what lies in the store.
    key = SealedField("文件密钥", blank=True, **ENTRY | {"purpose": "文件加密"})
    scanned_at = models.DateTimeField("查毒时间", null=True)
    added_at = models.DateTimeField("上传时间", default=timezone.now)
    added_by = models.BigIntegerField("上传人编号", null=True)
    added_by_name = models.CharField("上传人", max_length=80, blank=True)

    objects = Rows.as_manager()

    class Meta:
        abstract = True
        ordering = ["pk"]
        triggers = [
            pgtrigger.Trigger(
                name="leave_object",
                when=pgtrigger.After,
                operation=pgtrigger.Delete,
                condition=pgtrigger.Q(old__object__isnull=False),
                func=(
                    "INSERT INTO base_strayobject (object, due_at) VALUES (OLD.object, now()) "
                    "ON CONFLICT (object) DO UPDATE SET due_at = now(); RETURN NULL;"
                ),
            )
        ]

    def __str__(self):
        return self.kind if self.link else f"{self.kind}（{self.extension}，{filesizeformat(self.size)}）"


def kinds_of_attachments() -> list[type[Attachment]]:
    """The tables of all packages."""
    return [model for model in apps.get_models() if issubclass(model, Attachment)]


def sample_of(kind: type[Attachment], record) -> Attachment:
    """A valid row for tests, without anything in the store."""
    return kind.objects.create(
        record=record,
        kind=Attachment.DOCUMENT,
        name="林样例登记表.pdf",
        caption="样例",
        shot="样例",
        extension="pdf",
        media_type="application/pdf",
        size=1,
        object=uuid.uuid4(),
        key=bytes(48).hex(),
    )

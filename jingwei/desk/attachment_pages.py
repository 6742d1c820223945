"""The attachments of a record on its page: the card, uploads, pictures, downloads (P-5.6, SEC-7, SEC-18).

Every address asks for a permission of the record's resource and finds the attachment by way of the record, so
that one of a record out of reach does not exist.
"""

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jingwei.base import audit
from jingwei.base.attachments import Attachment
from jingwei.base.fields import bulk_reveal
from jingwei.desk import attachments
from jingwei.desk.attachments import LARGE, LARGEST, SMALL, VIDEO_HOSTS, WEBP, WHOLE
from jingwei.desk.guard import permitted, require, row_or_404
from jingwei.desk.lists import key_text

# Whatever a browser takes a file for, it runs nothing and loads nothing.
CLOSED = {"Content-Security-Policy": "sandbox; default-src 'none'"}
ACCEPT = "image/jpeg,image/png,image/webp,image/gif,.pdf,.docx,.xlsx"


def card_of(request, resource, row):
    """What the card of a record's page shows; None where the resource has no attachments."""
    if resource.attachments is None:
        return None
    found = list(row.attachments.all())
    bulk_reveal(found, ["name", "caption", "shot"])
    shown = [
        {
            "row": one,
            "name": one.name.clear(),
            "caption": one.caption.clear() if one.caption else "",
            "shot": one.shot.clear() if one.shot else "",
            "open": attachments.is_open(one),
            "is_picture": one.kind == Attachment.PICTURE,
        }
        for one in found
    ]
    return {
        "resource": resource,
        "key": key_text(row),
        "attachments": shown,
        "may_attach": "attach" in permitted(request.actor, resource),
        "largest": LARGEST.value(),
        "accept": ACCEPT,
        "video_hosts": VIDEO_HOSTS.value().split(),
    }


@require_http_methods(["GET", "POST"])
def card(request, resource, pk):
    """The card by itself, and where files and links are sent to.

    The page's script sends one file at a time and is answered in JSON: {"refusal": why or ""}. A form without
    it sends them all and comes back to the record.
    """
    action = "attach" if request.method == "POST" else "view"
    row = _row(request, resource, action, pk)
    if request.method == "GET":
        return render(request, "desk/_attachment_list.html", {"card": card_of(request, resource, row)})
    refusals = list(_take(request, resource, row))
    if request.headers.get("Accept") == "application/json":
        return JsonResponse({"refusal": "；".join(refusals)}, status=422 if refusals else 201)
    for refusal in refusals:
        messages.error(request, refusal)
    return _back(resource, row)


def _take(request, resource, row):
    """Take in what a form sent; yields the refusals in words."""
    # Django drops an upload that is too big without a word.
    if int(request.META.get("CONTENT_LENGTH") or 0) > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
        yield f"文件超过上限 {LARGEST.value()} MB，没有上传"
        return
    files, address = request.FILES.getlist("file"), request.POST.get("link", "").strip()
    if not files and not address:
        yield "请先选择文件"
    for file in files:
        try:
            attachments.attach(
                request.actor,
                resource,
                row,
                name=file.name,
                data=file.read(),
                keep_shot="keep_shot" in request.POST,
            )
        except ValidationError as refusal:
            reason = "；".join(refusal.messages)
            yield f"{file.name}：{reason}" if len(files) > 1 else reason
    if address:
        try:
            attachments.link_video(
                request.actor, resource, row, address=address, name=request.POST.get("name", "")
            )
        except ValidationError as refusal:
            yield "；".join(refusal.messages)


@require_POST
@transaction.atomic
def describe(request, resource, pk, attachment):
    """Save what an attachment shows."""
    row = _row(request, resource, "attach", pk)
    one = get_object_or_404(row.attachments.select_for_update(), pk=attachment)
    attachments.describe(request.actor, resource, row, one, caption=request.POST.get("caption", ""))
    return _back(resource, row)


@require_http_methods(["GET", "POST"])
@transaction.atomic
def delete(request, resource, pk, attachment):
    """Ask, then delete; whoever does at the same moment finds nothing any more."""
    row = _row(request, resource, "attach", pk)
    one = get_object_or_404(row.attachments.select_for_update(), pk=attachment)
    if request.method == "POST":
        attachments.remove(request.actor, resource, row, one)
        messages.success(request, "已删除附件")
        return _back(resource, row)
    context = {"resource": resource, "key": key_text(row), "row": row, "one": one, "name": one.name.clear()}
    return render(request, "desk/delete_attachment.html", context)


@require_GET
def download(request, resource, pk, attachment):
    """Give the file out, to be saved and not opened, and leave a line in the log."""
    row, one = _file(request, resource, pk, attachment)
    answer = _streamed(one, WHOLE, one.media_type)
    if answer.streaming:
        answer.headers["Content-Length"] = one.size
        answer.headers["Content-Disposition"] = content_disposition_header(True, one.name.clear())
    return _logged(request, resource, row, one, "原件", answer)


@require_GET
def small(request, resource, pk, attachment):
    """The thumbnail of a picture."""
    _, one = _file(request, resource, pk, attachment, picture=True)
    return _streamed(one, SMALL, WEBP)


@require_GET
def large(request, resource, pk, attachment):
    """A picture in the size of a screen, and a line in the log."""
    row, one = _file(request, resource, pk, attachment, picture=True)
    return _logged(request, resource, row, one, "大图", _streamed(one, LARGE, WEBP))


def _row(request, resource, action, pk):
    require(request, resource, action if resource.attachments else "view")
    if resource.attachments is None:
        raise Http404
    return row_or_404(request, resource, action, pk)


def _file(request, resource, pk, attachment, *, picture=False):
    row = _row(request, resource, "view", pk)
    one = get_object_or_404(row.attachments.filter(object__isnull=False), pk=attachment)
    if picture and one.kind != Attachment.PICTURE:
        raise Http404
    if not attachments.is_open(one):
        raise Http404("附件正在等待查毒，通过后才能打开。")
    return row, one


def _streamed(one, variant, media_type):
    try:
        parts = attachments.content_of(one, variant)
    except FileNotFoundError:
        raise Http404("附件的内容不在存储中，请联系系统管理员。") from None
    except ValidationError as failure:
        return HttpResponse(failure.messages[0], content_type="text/plain; charset=utf-8", status=503)
    return StreamingHttpResponse(parts, content_type=media_type, headers=CLOSED)


def _logged(request, resource, row, one, form, answer):
    result, reason = ("成功", "") if answer.streaming else ("失败", answer.text)
    audit.record(
        request.actor,
        "下载",
        row,
        resource=resource.name,
        result=result,
        reason=reason,
        attachment=one.pk,
        附件=str(one),
        形式=form,
    )
    return answer


def _back(resource, row):
    return redirect("desk:show", resource=resource, pk=key_text(row))

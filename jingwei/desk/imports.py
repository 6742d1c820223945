"""The way of a sheet into the platform on pages: upload, mapping, preview, load, result, undo (P-5.3).

Each import is a row of `Load` from its upload on, so that a reload, the back button or another day loses
nothing. What takes long is a background job of the load; the page of a load shows where it stands.
"""

import json
import re
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from hashlib import sha256
from pathlib import PurePath

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jingwei.base import audit, loading, reading, undoing, workbooks
from jingwei.base.fields import SealedField, mask
from jingwei.base.findings import KINDS, Findings
from jingwei.base.models import ColumnMapping, Load
from jingwei.base.reading import Outline, Unreadable
from jingwei.base.sheets import sheet_of
from jingwei.base.tables import Xlsx
from jingwei.desk import files, jobs
from jingwei.desk.columns import field_at
from jingwei.desk.guard import is_fragment, require
from jingwei.kit.contents import clean_name

PREVIEWED = 20_000  # rows of a file that the preview tries
FIRST = 10  # messages shown with a preview
SHOWN = 50  # messages on a page of the result
EARLIER = 10  # loads listed under the upload
UNDO_WORD = "撤销"  # typed to confirm
_SOMEBODYS = re.compile(r"[0-9]{10,}[0-9Xx]")


# --- upload -----------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def upload(request, resource):
    """Say what is expected and take a file; a file that cannot be read is refused here, in words."""
    require(request, resource, "import")
    sheet = sheet_or_404(resource)
    chosen = {"mode": request.POST.get("mode", "both"), "bad": request.POST.get("bad", "skip")}
    problem = ""
    if request.method == "POST":
        try:
            load = take(
                request.actor, sheet, request.FILES.get("file"), too_big=_is_too_big(request), **chosen
            )
        except (Unreadable, ValidationError) as refusal:
            problem = "；".join(getattr(refusal, "messages", [str(refusal)]))
        else:
            return _go(request, reverse("desk:load", args=[resource, load.pk]))
    mine = Load.objects.filter(owner=request.actor.operator_id, resource=resource.name)
    context = {
        "resource": resource,
        "sheet": sheet,
        "problem": problem,
        **chosen,
        "modes": loading.MODES,
        "bads": loading.BAD,
        "largest": reading.LARGEST.value(),
        "earlier": mine.select_related("job", "error_file")[:EARLIER],
        "closed": sheet.closed(),
    }
    template = "desk/_import_upload.html" if is_fragment(request) else "desk/import_upload.html"
    return render(request, template, context)


def sheet_or_404(resource):
    """The sheet that a resource is imported from."""
    sheet = sheet_of(resource)
    if sheet is None:
        raise Http404
    return sheet


def _is_too_big(request):
    # Django drops such an upload without a word.
    return int(request.META.get("CONTENT_LENGTH") or 0) > settings.FILE_UPLOAD_MAX_MEMORY_SIZE


def _go(request, address):
    """Send the browser on, also when the upload came through htmx."""
    if is_fragment(request):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return redirect(address)


def take(actor, sheet, uploaded, *, mode, bad, too_big=False) -> Load:
    """Keep an uploaded file as the draft of a load; Unreadable or ValidationError say why not."""
    loading.require_import(actor, sheet)
    if mode not in loading.MODES or bad not in loading.BAD:
        raise ValidationError("请选择导入方式和对错误行的处理")
    if uploaded is None:
        largest = reading.LARGEST.value()
        raise ValidationError(
            f"文件超过上限 {largest} MB，没有上传；请拆成几个文件分别导入，或请管理员用命令行导入"
            if too_big
            else "请先选择要导入的文件"
        )
    with files.in_memory(uploaded.chunks()) as path:
        outline = reading.outline(path, sheet.wanted(), largest=reading.LARGEST.value())
        if not outline.mapping:
            raise Unreadable("；".join(outline.problems))
        remembered = _remembered(actor, sheet, outline)
        if remembered:
            outline = reading.outline(path, sheet.wanted(), remembered)
        digest = loading.digest_of(path)
    name = _name_of(uploaded)
    with files.create(actor.operator_id, name) as file:
        for block in uploaded.chunks():
            file.write(block)
    load = Load.objects.create(
        sheet=sheet.name,
        resource=sheet.resource,
        file_name=name,
        digest=digest,
        mode=mode,
        bad=bad,
        today=timezone.localdate(),
        state=Load.DRAFT,
        file=file.stored,
        owner=actor.operator_id,
        organisation=actor.organisation_id,
    )
    _keep_outline(load, outline)
    if not outline.problems and (remembered or not _in_doubt(outline)):
        start_preview(actor, load)
    return load


def _name_of(uploaded):
    """The file's name as pages and logs may show it."""
    extension = PurePath(uploaded.name).suffix[1:]
    return clean_name(uploaded.name, extension if re.fullmatch("[A-Za-z0-9]{1,5}", extension) else "xlsx")


def _keep_outline(load, outline):
    load.mapping = outline.mapping
    load.sample = json.dumps(asdict(outline), ensure_ascii=False)
    load.save(update_fields=["mapping", "sample", "worksheet"])


def outline_of(load) -> Outline | None:
    """What stands at the top of the uploaded file; None once the load is through."""
    return Outline(**json.loads(load.sample.clear())) if load.sample else None


def _unused(outline):
    return [letter for letter in outline.headings if letter not in outline.mapping]


def _in_doubt(outline):
    """Whether a column with something in it would be left aside: the operator should see that first."""
    filled = {
        letter for row in outline.sample for letter, text in zip(outline.headings, row, strict=True) if text
    }
    return any(letter in filled and outline.headings[letter] != "序号" for letter in _unused(outline))


def _headings(outline):
    return sha256(json.dumps(outline.headings, sort_keys=True).encode()).hexdigest()


def _remembered(actor, sheet, outline):
    """How the organisation mapped these headings last time, {} if never."""
    kept = ColumnMapping.objects.filter(
        organisation=actor.organisation_id, sheet=sheet.name, headings=_headings(outline)
    ).first()
    return kept.mapping if kept else {}


@require_GET
def template(request, resource):
    """The workbook to fill in: headings, drop-downs, notes and an example row."""
    require(request, resource, "import")
    sheet = sheet_or_404(resource)
    response = HttpResponse(workbooks.template(sheet), content_type=Xlsx.content_type)
    response.headers["Content-Disposition"] = content_disposition_header(True, f"{sheet.label}导入模板.xlsx")
    return response


# --- one load ---------------------------------------------------------------------------------------------


def load_or_404(request, resource, pk) -> Load:
    """The operator's own load of that number."""
    require(request, resource, "import")
    mine = Load.objects.filter(owner=request.actor.operator_id, resource=resource.name)
    return get_object_or_404(mine.select_related("job", "file", "error_file"), pk=pk)


@require_GET
def show(request, resource, pk):
    """Where a load stands: columns to map, a preview to confirm, work in progress, or the result.

    While a job works htmx asks for the progress alone, and is told to load the page anew when it is over.
    """
    load = load_or_404(request, resource, pk)
    works = load.job is not None and not load.job.is_over
    if is_fragment(request):
        if not works:
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        return render(
            request, "desk/_import_progress.html", {"resource": resource, "load": load, "job": load.job}
        )
    sheet = sheet_or_404(resource)
    outline = outline_of(load)
    context = {"resource": resource, "sheet": sheet, "load": load, "job": load.job, "works": works}
    context |= {"modes": loading.MODES, "bads": loading.BAD, "now": timezone.now()}
    if works:
        return render(request, "desk/import_running.html", context)
    if load.state != Load.DRAFT and load.state != Load.RUNNING:
        return render(request, "desk/import_result.html", context | _result(request, sheet, load))
    if not has_file(load):
        return render(request, "desk/import_expired.html", context)
    if load.state == Load.DRAFT and load.preview and "mapping" not in request.GET:
        return render(request, "desk/import_preview.html", context | _preview(load, sheet, outline))
    if load.state == Load.DRAFT and (load.job is None or "mapping" in request.GET):
        return render(request, "desk/import_mapping.html", context | _mapping(sheet, outline))
    # The preview or the load ended badly: the job says why, and can be tried again.
    return render(request, "desk/import_failed.html", context | {"may_discard": may_discard(load)})


def has_file(load) -> bool:
    """Whether the upload is still there."""
    return load.file is not None and load.file.expires_at > timezone.now()


# --- mapping ----------------------------------------------------------------------------------------------


def _mapping(sheet, outline):
    """Rows of the mapping page: (letter, heading, column mapped to, first values)."""
    rows = []
    for place, (letter, heading) in enumerate(outline.headings.items()):
        mapped = outline.mapping.get(letter, "")
        values = [shown(sheet, mapped, row[place]) for row in outline.sample if row[place]][:3]
        rows.append((letter, heading, mapped, values))
    return {"rows": rows, "outline": outline, "columns": sheet.columns, "problems": outline.problems}


def shown(sheet, name, text):
    """A raw cell for the column `name`: what becomes a personal value is masked (SEC-16).

    So is what is mapped to nothing yet and looks like somebody's number.
    """
    column = sheet.column(name)
    if column is None and _SOMEBODYS.fullmatch(text):
        return mask("number", text)
    target = column and column.stored and field_at(sheet.model, name)
    return mask(target.kind, text) if text and isinstance(target, SealedField) else text


@require_POST
def save_mapping(request, resource, pk):
    """Take the columns as the operator maps them, remember that for the organisation, and try the rows."""
    load = load_or_404(request, resource, pk)
    sheet, outline = sheet_or_404(resource), outline_of(load)
    if load.state != Load.DRAFT or not has_file(load):
        return redirect("desk:load", resource, pk)
    known = {column.name for column in sheet.columns}
    chosen = {letter: request.POST.get(f"column-{letter}", "") for letter in outline.headings}
    mapping = {letter: name for letter, name in chosen.items() if name in known}
    with files.clear_path(load.file) as path:
        outline = reading.outline(path, sheet.wanted(), mapping, worksheet=load.worksheet)
    _keep_outline(load, outline)
    if outline.problems:
        return redirect(f"{reverse('desk:load', args=[resource, pk])}?mapping=1")
    ColumnMapping.objects.update_or_create(
        organisation=request.actor.organisation_id,
        sheet=sheet.name,
        headings=_headings(outline),
        defaults={"mapping": mapping},
    )
    start_preview(request.actor, load)
    return redirect("desk:load", resource, pk)


@require_POST
def choose_worksheet(request, resource, pk):
    """Take another worksheet of the file, and look at its columns."""
    load = load_or_404(request, resource, pk)
    sheet, chosen = sheet_or_404(resource), request.POST.get("worksheet", "")
    if load.state == Load.DRAFT and has_file(load):
        try:
            with files.clear_path(load.file) as path:
                outline = reading.outline(path, sheet.wanted(), worksheet=chosen)
                if remembered := _remembered(request.actor, sheet, outline):
                    outline = reading.outline(path, sheet.wanted(), remembered, worksheet=chosen)
        except Unreadable as refusal:
            messages.error(request, str(refusal))
        else:
            load.worksheet = chosen
            _keep_outline(load, outline)
    return redirect(f"{reverse('desk:load', args=[resource, pk])}?mapping=1")


# --- preview ----------------------------------------------------------------------------------------------


@transaction.atomic
def start_preview(actor, load):
    """Try the rows of a draft in the background."""
    load.preview = {}
    load.job = jobs.start(actor, "import-preview", f"预览 {load.file_name}", _arguments(load))
    load.save(update_fields=["preview", "job"])


def _arguments(load):
    return {"resource": load.resource, "load": load.pk}


def preview(resource, actor, job, report) -> dict:
    """Work of the kind of job `import-preview`: what the load would do; nothing is stored of it."""
    load = Load.objects.get(pk=job.arguments["load"])
    with files.clear_path(load.file) as path, readable():
        load.preview = loading.preview(
            actor,
            sheet_of(resource),
            path,
            mode=load.mode,
            mapping=load.mapping,
            worksheet=load.worksheet,
            today=load.today,
            most=PREVIEWED,
            progress=report,
        )
    load.preview |= {name: load.preview[name][:FIRST] for name in ("rejected", "warnings")}
    load.save(update_fields=["preview"])
    return {"message": "预览完成，请确认导入。"}


@contextmanager
def readable():
    """Fail a job with the reader's words where its file turns out to be unreadable."""
    try:
        yield
    except Unreadable as refusal:
        raise ValidationError(str(refusal)) from refusal


def _preview(load, sheet, outline):
    columns = [column for column in sheet.columns if column.name in outline.mapping.values()]
    places = {name: list(outline.headings).index(letter) for letter, name in outline.mapping.items()}
    rows = [
        [shown(sheet, column.name, row[places[column.name]]) for column in columns] for row in outline.sample
    ]
    unused = [outline.headings[letter] for letter in _unused(outline)]
    return {"counts": load.preview, "columns": columns, "rows": rows, "unused": unused, "outline": outline}


@require_POST
def confirm(request, resource, pk):
    """Start the load itself, with the mode and the treatment of bad rows chosen at last."""
    load = load_or_404(request, resource, pk)
    if load.state == Load.DRAFT and load.preview and has_file(load):
        _begin(request.actor, load)
    return redirect("desk:load", resource, pk)


@transaction.atomic
def _begin(actor, load):
    load.state = Load.RUNNING
    load.job = jobs.start(actor, "import", f"导入 {load.file_name}", _arguments(load))
    load.save(update_fields=["state", "job"])


@require_POST
def discard(request, resource, pk):
    """Throw an import away that has stored nothing, the uploaded file with it."""
    load = load_or_404(request, resource, pk)
    if may_discard(load):
        with transaction.atomic():
            if load.file:
                files.remove(load.file)
            load.delete()
        messages.success(request, f"已放弃导入“{load.file_name}”，上传的文件已删除。")
    return redirect("desk:import", resource)


def may_discard(load) -> bool:
    """Whether nothing works on the load and nothing has come of it."""
    idle = load.job is None or load.job.is_over
    return idle and load.state in (Load.DRAFT, Load.RUNNING) and not load.chunks.exists()


@require_POST
def stop(request, resource, pk):
    """Cancel the job that works on a load."""
    return _tell_job(request, jobs.cancel, resource, pk)


@require_POST
def again(request, resource, pk):
    """Try the job of a load again that failed or was cancelled; a load goes on behind its last chunk."""
    return _tell_job(request, jobs.retry, resource, pk)


def _tell_job(request, act, resource, pk):
    load = load_or_404(request, resource, pk)
    if load.job is None:
        raise Http404
    try:
        act(request.actor, load.job)
    except ValidationError as refusal:
        messages.error(request, refusal.messages[0])
    return redirect("desk:load", resource, pk)


# --- the load itself --------------------------------------------------------------------------------------


def load_file(resource, actor, job, report) -> dict:
    """Work of the kind of job `import`: the load of the uploaded file, and the workbook of its errors."""
    sheet, load = sheet_of(resource), Load.objects.get(pk=job.arguments["load"])
    if load.file is None:
        raise ValidationError("上传的文件已过期并删除，请重新上传。已导入过的内容不会重复。")
    if load.state in (Load.CANCELLED, Load.FAILED):  # tried again
        Load.objects.filter(pk=load.pk).update(state=Load.RUNNING)
    try:
        with files.clear_path(load.file) as path, readable():
            load = loading.load(actor, sheet, path, record=load, progress=report)
            if load.counts.get("rejected_rows"):
                load.error_file = _error_file(sheet, load, path, load.refused)
    except jobs.Cancelled:
        loading.close(actor, load, Load.CANCELLED)
        raise
    _tidy_up(load)
    return {"message": summary(load)}


def _error_file(sheet, load, path, refused):
    stem = load.file_name.rpartition(".")[0] or load.file_name
    with files.create(load.owner, f"{stem}-错误行.xlsx") as file:
        workbooks.write_errors(file, path, sheet, load.outline, refused)
    return file.stored


@transaction.atomic
def _tidy_up(load):
    """The upload is needed no more, nor what was shown of it."""
    files.remove(load.file)
    load.file = load.sample = None
    load.preview = {}
    load.save(update_fields=["file", "sample", "preview", "error_file"])


def summary(load) -> str:
    """What came of a load in one sentence."""
    counts = load.counts
    said = [f"新增 {counts['added']:,}", f"修改 {counts['changed']:,}", f"未变 {counts['unchanged']:,}"]
    if counts.get("same"):
        said.append(f"重复 {counts['same']:,}")
    if counts.get("unregistered"):
        said.append(f"不在册 {counts['unregistered']:,} 人")
    if counts.get("rejected_rows"):
        said.append(f"错误 {counts['rejected_rows']:,} 行")
    return ("没有导入：" if load.state == Load.FAILED else "") + "，".join(said) + "。"


# --- result and undo --------------------------------------------------------------------------------------

RULES = {
    "trim/width": "去掉空格、全角改半角",
    "region by short name": "村（社区）、乡镇简称补全",
    "sex by synonym": "性别写法统一",
    "phone format": "电话格式统一",
    "15-digit id": "15 位身份证号升为 18 位",
    "lower x": "身份证号末位 x 改为 X",
}
FIGURES = {
    "read": "读到的行",
    "added": "新增",
    "changed": "修改",
    "unchanged": "与已有的相同",
    "merged": "表内同一项合并",
    "same": "表内完全重复",
    "unregistered": "不在册的人员",
    "unregistered_rows": "不在册人员的行",
    "rejected_rows": "拒绝的行",
}


def corrected_cells(counts) -> list[tuple[str, int]]:
    """(rule in words, cells it has corrected) of a load (CL-6.4)."""
    found = counts.get("corrected", {}).items()
    return [(RULES.get(name, name), count) for name, count in found if count]


@require_GET
def report(request, resource, pk):
    """The cleaning report of a load as a workbook (CL-6.4)."""
    load = load_or_404(request, resource, pk)
    counts = load.counts
    if "read" not in counts:  # nothing was read yet
        raise Http404
    summary = [
        ("表样", sheet_or_404(resource).label),
        ("文件", load.file_name),
        ("导入时间", f"{timezone.localtime(load.created_at):%Y-%m-%d %H:%M}"),
        ("状态", load.state),
        *((label, counts[name]) for name, label in FIGURES.items()),
        ("更正的单元格", sum(count for _, count in corrected_cells(counts))),
    ]
    summary += [("说明", note) for note in counts["notes"]]
    messages = (Findings(load, kind) for kind in KINDS)
    content = workbooks.report(summary, corrected_cells(counts), *messages)
    audit.record(request.actor, "下载", load, resource=load.resource, label=f"{load.file_name}的清洗报告")
    response = StreamingHttpResponse(content, content_type=Xlsx.content_type)
    stem = load.file_name.rpartition(".")[0] or load.file_name
    response.headers["Content-Disposition"] = content_disposition_header(True, f"{stem}-清洗报告.xlsx")
    return response


def _result(request, sheet, load):
    counts = load.counts
    which = request.GET.get("which")
    if which not in ("left", *KINDS):
        which = "left" if load.undone.get("left") else "rejected"
    found = {kind: Findings(load, kind) for kind in KINDS}
    told = undoing.left_rows(load) if which == "left" else found[which]
    said = Paginator(told, SHOWN).get_page(request.GET.get("page"))
    if which == "left":
        named = sheet.named(request.actor, [row.row for row in said])
        said.object_list = [(row, named.get(row.row, "已不在您的管辖范围")) for row in said]
    return {
        "counts": counts,
        "which": which,
        "said": said,
        "found": {kind: len(messages) for kind, messages in found.items()},
        "corrected": corrected_cells(counts),
        "summary": summary(load),
        "word": UNDO_WORD,
        "may_undo": may_undo(sheet, load),
        "undo_until": load.created_at + timedelta(days=undoing.UNDO_DAYS.value()),
    }


def may_undo(sheet, load) -> bool:
    """Whether there is something to take back, and still time for it."""
    in_time = load.created_at >= timezone.now() - timedelta(days=undoing.UNDO_DAYS.value())
    begun = (Load.DRAFT, Load.RUNNING, Load.UNDOING, Load.UNDONE)
    return in_time and load.state not in begun and sheet.has_brought(load)


@require_POST
def undo(request, resource, pk):
    """Take a load back as a whole, when the operator has typed that this is meant."""
    load = load_or_404(request, resource, pk)
    if request.POST.get("typed", "").strip() != UNDO_WORD:
        messages.error(request, f"没有撤销：请在框中输入“{UNDO_WORD}”两个字以确认。")
    elif not may_undo(sheet_or_404(resource), load):
        messages.error(request, "这次导入不能撤销：没有可撤销的数据，或已超过期限。")
    else:
        with transaction.atomic():
            load.job = jobs.start(
                request.actor, "import-undo", f"撤销导入 {load.file_name}", _arguments(load)
            )
            load.save(update_fields=["job"])
    return redirect("desk:load", resource, pk)


def undo_load(resource, actor, job, report) -> dict:
    """Work of the kind of job `import-undo`; one that was stopped goes on where it stopped."""
    load = Load.objects.get(pk=job.arguments["load"])
    try:
        undone = undoing.undo(actor, sheet_of(resource), load, progress=report)
    except jobs.Cancelled:
        audit.record(
            actor, "撤销导入", load, resource=load.resource, result="失败", reason="已取消", **load.undone
        )
        raise
    left = f"，保留 {undone['left']:,} 条" if undone["left"] else ""
    return {"message": f"已撤销：删除 {undone['deleted']:,} 条，恢复 {undone['restored']:,} 条{left}。"}

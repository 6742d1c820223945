"""Personal values in clear: with the permission, for a reason, logged, for one look (P-4.3, SEC-16)."""

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.shortcuts import render
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.fields import personal_fields
from jingwei.base.models import LogEntry
from jingwei.base.parameters import Parameter
from jingwei.base.wall import beyond_scope
from jingwei.desk.editing import edit_page
from jingwei.desk.guard import is_fragment, permitted, require, row_or_404
from jingwei.desk.lists import Selection
from jingwei.desk.looks import note_look
from jingwei.desk.records import table
from jingwei.desk.views import record_page
from jingwei.directory.models import Operator

PER_HOUR = Parameter(
    "desk.clear_per_hour",
    "每小时查看明文次数",
    200,
    "一名操作员一小时内最多查看多少次明文",
    "次",
    low=1,
    high=10_000,
)
PARAMETERS = [PER_HOUR]


def unmask(request, resource, pk):
    """Ask for the reason; then show the clear values in place: in a row, a form or the record's page."""
    require(request, resource, "clear")
    row = row_or_404(request, resource, "clear", pk)
    asked = request.POST if request.method == "POST" else request.GET
    place = asked.get("in", "")
    problem = ""
    if request.method == "POST":
        try:
            note_unmasking(request.actor, resource, row, request.POST.get("reason", ""))
        except ValidationError as refusal:
            problem = refusal.messages[0]
        else:
            return _clear(request, resource, row, place)
    context = {"resource": resource, "row": row, "key": pk, "place": place, "problem": problem}
    context |= {"position": asked.get("position", ""), "in_dialog": is_fragment(request)}
    answer = render(request, "desk/_unmask.html" if context["in_dialog"] else "desk/unmask.html", context)
    # A form that is refused stays in its dialog instead of taking the place of the row.
    if problem:
        answer.headers["HX-Retarget"], answer.headers["HX-Reswap"] = "#dialog", "innerHTML"
    return answer


def _clear(request, resource, row, place):
    if place == "form":
        require(request, resource, "change")
        return edit_page(request, resource, row_or_404(request, resource, "change", row.pk), clear=True)
    if place == "row" and is_fragment(request):
        row.place_in_list = request.POST.get("position", "")
        columns = Selection(resource, request.actor, {}).columns()
        [shown] = table(request.actor, resource, [row], columns, clear=True).rows
        context = {"resource": resource, "row": shown, "may": permitted(request.actor, resource)}
        return render(request, "desk/_row.html", context)
    return record_page(request, resource, row, clear=True)


def note_unmasking(actor, resource, row, reason):
    """Log that `actor` sees the clear values of `row`; ValidationError without a reason, or too often."""
    if len(reason.strip()) < 2:
        raise ValidationError("请填写查看明文的事由，它会记入操作日志。")
    with transaction.atomic():
        with beyond_scope():  # one look of an operator at a time, so that the bound of the hour holds
            Operator.objects.select_for_update(of=("self",)).get(pk=actor.operator_id)
        hour = timezone.now() - timedelta(hours=1)
        looks = LogEntry.objects.filter(
            operator=actor.operator_id, act="查看明文", result="成功", at__gte=hour
        )
        if looks.count() < PER_HOUR.value():
            shown = [str(field.verbose_name) for field in personal_fields(resource.model)]
            return note_look(actor, resource, row, "查看明文", reason=reason.strip(), 内容=shown)
    refusal = f"一小时内最多查看 {PER_HOUR.value()} 次明文，请稍后再试。"
    audit.record(actor, "查看明文", row, resource=resource.name, result="拒绝", reason=refusal)
    raise ValidationError(refusal)

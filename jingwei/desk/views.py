"""The pages of any resource that show: list, record, suggestions, columns and saved queries."""

from django.contrib import messages
from django.db.models import Q
from django.http import Http404, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jingwei.base.fields import personal_fields
from jingwei.base.models import ListSetting
from jingwei.desk.attachment_pages import card_of
from jingwei.desk.columns import columns_of, field_at
from jingwei.desk.guard import is_fragment, permitted, require, row_or_404
from jingwei.desk.history import history_of
from jingwei.desk.lists import SIZES, Selection, key_text
from jingwei.desk.looks import note_look
from jingwei.desk.records import details_of, panels_of, table, timeline_of
from jingwei.desk.search import slip_in
from jingwei.desk.verbs import verbs_for_many
from jingwei.directory.models import Region
from jingwei.kit.text import whole

SUGGESTIONS = 20
MAIN_FILTERS = 3  # always in sight; the others fold away
NAME_LENGTH = 60  # of a saved query


# --- lists ------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def list_rows(request, resource):
    """The list; the table alone where htmx asks for it.

    What is typed comes by POST: only the answer's address, in which it is sealed, is ever kept.
    """
    require(request, resource, "view")
    selection = Selection(resource, request.actor, request.POST if request.method == "POST" else request.GET)
    address = f"{reverse('desk:list', args=[resource])}?{selection.query.urlencode()}".rstrip("?")
    if request.method == "POST" and not is_fragment(request):
        return redirect(address)
    page = selection.page(whole(request.GET.get("page", "")) or 1, selection.page_size())
    shown = table(request.actor, resource, page.rows, selection.columns())
    context = {
        "resource": resource,
        "selection": selection,
        "page": page,
        "table": shown,
        "tabs": list(enumerate(zip(resource.tabs, selection.tab_totals, strict=True))),
        "verbs": verbs_for_many(request.actor, resource),
        "tools": [tool for tool in resource.tools if request.actor.may_open(tool.page, tool.permission)],
        "may": permitted(request.actor, resource),
        "heads": [_head(column, kind, selection) for column, kind in shown.heads],
        "all_columns": selection.columns(everything=True),
        "chips": [_chip(control, selection) for control in selection.controls if control.is_set],
        "main_filters": selection.controls[:MAIN_FILTERS],
        "more_filters": selection.controls[MAIN_FILTERS:],
        "more_set": sum(control.is_set for control in selection.controls[MAIN_FILTERS:]),
        "sizes": SIZES,
        "query": selection.query.urlencode(),
        "saved": {name: kept["query"] for name, kept in selection.settings.items() if name},
        "hint": _why_nothing(selection) if not page.rows else "",
    }
    response = render(request, "desk/_list.html" if is_fragment(request) else "desk/list.html", context)
    response["Vary"] = "HX-Request"
    if request.method == "POST":
        response["HX-Push-Url"] = address
    return response


def _head(column, kind, selection):
    """A heading: what a click sorts by, and how the list is sorted now."""
    names = (column.name, column.heading)
    up, down = selection.sort in names, selection.sort.startswith("-") and selection.sort[1:] in names
    return {
        "heading": column.heading,
        "kind": kind,
        "sort": column.order and (f"-{column.name}" if up else "" if down else column.name),
        "sortable": bool(column.order),
        "direction": "ascending" if up else "descending" if down else "",
    }


def _chip(control, selection):
    """A filter that is set, in words, with the list's address without it."""
    query = selection.query.copy()
    for name in control.inputs:
        query.pop(name, None)
    address = f"{reverse('desk:list', args=[selection.resource])}?{query.urlencode()}"
    return {
        "label": control.label,
        "shown": control.shown or "、".join(control.texts),
        "address": address.rstrip("?"),
    }


def _why_nothing(selection):
    """What an empty list says."""
    if selection.refusals:
        return "请修改或清除上面的筛选条件。"
    if slip := next(filter(None, map(slip_in, selection.search.words)), ""):
        return f"没有找到这个证件号，请核对：{slip}"
    if selection.search.is_narrow:
        return "没有符合条件的数据。一个字只在姓名等四个字以内的内容里查；查住址请输入两个字以上。"
    if selection.is_narrowed:
        return "没有符合条件的数据。可以减少搜索词或清除筛选条件。"
    return selection.resource.empty


@require_POST
def save_columns(request, resource):
    """Remember which columns the operator wants to see, and how many rows."""
    require(request, resource, "view")
    chosen = [c.name for c in columns_of(resource) if c.name in request.POST.getlist("column")]
    value = {"columns": [] if "standard" in request.POST else chosen}
    if (size := whole(request.POST.get("size", ""))) in SIZES:
        value["size"] = size
    ListSetting.objects.update_or_create(
        operator=request.actor.operator_id, resource=resource.name, name="", defaults={"value": value}
    )
    return _back_to_list(resource, request.POST.get("query", ""))


@require_POST
def save_query(request, resource):
    """Keep the present selection under a name, or forget one (P-5.1)."""
    require(request, resource, "view")
    name, query = request.POST.get("name", "").strip()[:NAME_LENGTH], request.POST.get("query", "")
    mine = ListSetting.objects.filter(operator=request.actor.operator_id, resource=resource.name)
    if not name:
        messages.error(request, "请给查询起一个名称")
    elif "forget" in request.POST:
        mine.filter(name=name).delete()
        messages.success(request, f"已删除查询“{name}”")
    else:
        kept = {"value": {"query": query}}
        mine.update_or_create(
            operator=request.actor.operator_id, resource=resource.name, name=name, defaults=kept
        )
        messages.success(request, f"已保存查询“{name}”")
    return _back_to_list(resource, query)


def _back_to_list(resource, query):
    address = reverse("desk:list", args=[resource])
    return redirect(f"{address}?{query}" if query else address)


@require_GET
def suggest(request, resource, field):
    """Rows a reference of the resource may point at, for filters (view) and forms (add, change)."""
    action = request.GET.get("for", "view")
    if action not in ("view", "add", "change"):
        raise Http404
    require(request, resource, action)
    target = field_at(resource.model, field)
    if target is None or not target.is_relation:
        raise Http404
    model = target.related_model
    rows = model.objects.visible_to(request.actor, f"{resource.name}.{action}")
    for word in request.GET.get("q", "").split():
        rows = rows.filter(_mentions(model, word))
    if model is Region:
        rows = rows.select_related("parent").filter(enabled=True).defer("boundary", "parent__boundary")
        found = [
            {"value": r.pk, "text": r.name, "hint": r.parent.name if r.parent else ""}
            for r in rows[:SUGGESTIONS]
        ]
    else:
        found = [{"value": key_text(row), "text": str(row)} for row in rows[:SUGGESTIONS]]
    return JsonResponse({"options": found})


def _mentions(model, word):
    names = {f.name for f in model._meta.concrete_fields}
    condition = Q(pk__in=[])
    for name in {"name", "short_name", "label", "login", "title"} & names:
        condition |= Q(**{f"{name}__icontains": word})
    return condition | Q(code__startswith=word) if "code" in names else condition


# --- one record -------------------------------------------------------------------------------------------


@require_GET
def show_row(request, resource, pk):
    """One record with all that hangs on it."""
    require(request, resource, "view")
    if not resource.has_page:
        raise Http404
    return record_page(request, resource, row_or_404(request, resource, "view", pk))


def record_page(request, resource, row, *, clear=False, template="desk/show.html", **more):
    """The page of a record; its personal values in clear if the caller has logged that.

    `template` extends desk/show.html and shows `more` in its blocks.
    """
    if not clear:
        note_look(request.actor, resource, row)
    may = permitted(request.actor, resource)
    context = {
        "resource": resource,
        "row": row,
        "key": key_text(row),
        "sections": details_of(resource, row, clear=clear),
        "panels": panels_of(request.actor, resource, row),
        "timeline": timeline_of(request.actor, resource, row),
        "history": history_of(resource, row),
        "card": card_of(request, resource, row),
        "verbs": [verb for verb in resource.verbs if verb.name in may and verb.offered(row)],
        "may": may,
        "clear": clear,
        "has_personal": bool(personal_fields(resource.model)),
    }
    return render(request, template, context | more)

"""Pages of the directory that are no lists: system parameters, the arrangement of the menu, the OA."""

from datetime import datetime

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from jingwei.base.actions import set_parameter
from jingwei.base.resource import Page
from jingwei.directory import menus, oa_actions
from jingwei.directory.models import Organisation


def parameters(request):
    """Every declared parameter with its value in force; each line is a form of its own (P-6.2)."""
    from jingwei import menu  # it imports this module

    entered, refusal = {}, {}
    if request.method == "POST":
        chosen = next((p for p in menu.PARAMETERS if p.name == request.POST.get("name")), None)
        if chosen is None:
            raise Http404
        text = request.POST.get("value", "")
        try:
            set_parameter(request.actor, chosen, text)
        except ValidationError as error:
            entered, refusal = {chosen.name: text}, {chosen.name: error.messages[0]}
        else:
            messages.success(request, f"“{chosen.label}”已设为 {text.strip()}，立即生效")
            return redirect(request.path)
    groups = {}
    for parameter in menu.PARAMETERS:
        value = entered.get(parameter.name, parameter.text(parameter.value()))
        line = (parameter, value, parameter.text(parameter.default), refusal.get(parameter.name))
        groups.setdefault(GROUPS.get(parameter.name.partition(".")[0], "其他"), []).append(line)
    return render(request, "directory/parameters.html", {"groups": groups})


GROUPS = {
    "signin": "登录",
    "password": "口令",
    "people": "常住人口",
    "files": "文件",
    "import": "导入",
    "sms": "短信",
    "scans": "公共场所",
    "oa": "OA 同步",
    "log": "操作日志",
    "alarms": "安全告警",
}


class EntryForm(forms.Form):
    """How one entry of the menu is shown; empty fields keep what is built in."""

    label = forms.CharField(label="名称", max_length=40, required=False)
    group = forms.CharField(label="分组", max_length=40, required=False)
    order = forms.IntegerField(label="顺序", required=False)
    hidden = forms.BooleanField(label="隐藏", required=False)


def arrange(request):
    """Name, group, order and visibility of every entry of the menu (P-1.7)."""
    from jingwei import menu

    lines = []
    for system in menu.SYSTEMS:
        for place, entry in enumerate(system.entries, 1):
            setting = menus.settings().get(entry.name)
            initial = {name: getattr(setting, name) for name in EntryForm.base_fields} if setting else {}
            form = EntryForm(request.POST or None, prefix=entry.name, initial=initial)
            form.fields["label"].widget.attrs["placeholder"] = entry.label
            form.fields["group"].widget.attrs["placeholder"] = system.label
            form.fields["order"].widget.attrs["placeholder"] = 10 * place
            lines.append((system, entry, form))
    if request.method == "POST" and all(form.is_valid() for _, _, form in lines):
        try:
            for _, entry, form in lines:
                menus.arrange(request.actor, entry, **form.cleaned_data)
        except ValidationError as error:
            messages.error(request, error.messages[0])
        else:
            messages.success(request, "菜单已保存")
        return redirect(request.path)
    return render(request, "directory/menus.html", {"lines": lines})


LOOK = {"class": "form-control", "autocomplete": "off"}


class OaForm(forms.Form):
    """Where the OA is and what comes from it. The secret is never shown again."""

    address = forms.CharField(
        label="接口地址",
        max_length=200,
        widget=forms.TextInput(LOOK | {"inputmode": "url"}),
        help_text="写到路径为止，如 https://oa.example.gov.cn/jingwei",
    )
    account = forms.CharField(
        label="账号", max_length=80, widget=forms.TextInput(LOOK), help_text="OA 分配给本平台的账号"
    )
    secret = forms.CharField(
        label="密钥",
        max_length=200,
        required=False,
        strip=False,
        widget=forms.PasswordInput(LOOK | {"autocomplete": "new-password"}),
    )
    root = forms.ModelChoiceField(
        Organisation.objects.filter(enabled=True).order_by("path"),
        label="挂接单位",
        widget=forms.Select({"class": "form-select", "data-select": ""}),
        help_text="OA 的顶级组织挂在它下面；新组织没有写明行政区划时随上级",
    )
    enabled = forms.BooleanField(
        label="启用同步", required=False, widget=forms.CheckboxInput({"class": "form-check-input"})
    )


def oa(request):
    """Settings of the OA, a trial, and how the last synchronisation went (KP-8.3)."""
    source = oa_actions.source()
    initial = {name: getattr(source, name) for name in ("address", "account", "root", "enabled")}
    form = OaForm(request.POST or None, initial=initial)
    form.fields["secret"].help_text = (
        "已保存，不再显示；不更换时留空" if source.secret else "与 OA 约定的共享密钥"
    )
    if request.method == "POST" and form.is_valid():
        try:
            oa_actions.save_source(request.actor, form.cleaned_data, version=request.POST.get("version"))
        except ValidationError as refusal:
            for name, errors in getattr(refusal, "error_dict", {None: refusal}).items():
                form.add_error(name, errors)
        else:
            messages.success(request, "已保存。可先“试连”，看看会有什么变动")
            return redirect(request.path)
    context = {"form": form, "source": source, "report": _report(source.report)}
    return render(request, "directory/oa.html", context)


@require_POST
def oa_try(request):
    """What a synchronisation would change now."""
    try:
        plan, problem = oa_actions.try_out(request.actor), ""
    except ValidationError as refusal:
        plan, problem = None, "；".join(refusal.messages)
    context = {"plan": plan, "problem": problem, "most": OA_SHOWN}
    if plan:
        context["counts"] = _counts(plan.counts())
        context["refused"] = _refused(plan.refused[:OA_SHOWN])
        context["changes"] = [(oa_actions.KINDS[c.kind], c) for c in plan.changes[:OA_SHOWN]]
    return render(request, "directory/oa_try.html", context)


OA_SHOWN = 200


def _report(report):
    """The report of a synchronisation with words for the page, None before the first."""
    if not report:
        return None
    shown = report | {"at": datetime.fromisoformat(report["at"])}
    if "counts" in report:
        shown |= {"counts": _counts(report["counts"]), "refused": _refused(report["refused"])}
    return shown


def _counts(counts):
    return [(label, counts[kind]) for kind, label in oa_actions.KINDS.items()]


def _refused(refused):
    return [(oa_actions.KINDS[kind], pk, reason) for kind, pk, reason in refused]


PAGES = [
    Page("parameters", "系统参数", "parameters.change", [("", parameters)], icon="adjustments"),
    Page("menus", "菜单设置", "menus.change", [("", arrange)], icon="menu-2"),
    Page("oa", "OA 同步", "oa.change", [("", oa), ("try/", oa_try)], icon="refresh"),
]

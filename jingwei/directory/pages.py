"""Pages of the directory that are no lists: system parameters and the arrangement of the menu."""

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404
from django.shortcuts import redirect, render

from jingwei.base.actions import set_parameter
from jingwei.base.resource import Page
from jingwei.directory import menus


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


PAGES = [
    Page("parameters", "系统参数", "parameters.change", [("", parameters)], icon="adjustments"),
    Page("menus", "菜单设置", "menus.change", [("", arrange)], icon="menu-2"),
]

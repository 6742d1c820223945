"""What `manage.py check` says about the menu: a slip is an error before any page is opened."""

from collections import Counter

from django.core.checks import Error, register
from django.http import QueryDict

from jingwei.base.access import Scope
from jingwei.base.fields import GramsField, SealedField, personal_fields
from jingwei.base.resource import Between, Column, Day, Exact, Where
from jingwei.desk.columns import field_at
from jingwei.desk.lists import RESERVED


@register()
def menu_is_sound(app_configs, **kwargs):
    """Check every resource, and the menu as a whole."""
    from jingwei import menu  # it imports this package

    entries = [entry for system in menu.SYSTEMS for entry in system.entries]
    found = [
        Error(f"两个菜单项都叫“{name}”", id="desk.E001")
        for name, times in Counter(entry.name for entry in entries).items()
        if times > 1
    ]
    for resource in menu.resources().values():
        found += [Error(said, obj=type(resource), id=number) for number, said in problems(resource)]
    return found


def problems(resource):
    """(id, what is wrong) of one declaration."""
    yield from _names(resource)
    yield from _fields_left_out(resource)
    yield from _filters(resource)
    yield from _search(resource)
    yield from _verbs(resource)
    if resource.model.scope == Scope():
        yield "desk.E002", "模型没有声明 scope：谁能看到哪些行（P-1.10）"
    if (kind := resource.attachments) and kind._meta.get_field("record").related_model is not resource.model:
        yield "desk.E009", f"附件表“{kind.__name__}”的 record 指向的不是这个模型"
    for field in personal_fields(resource.model):
        if not (field.purpose and field.basis and field.keep):
            yield "desk.E003", f"个人信息“{field.name}”没有写明目的、依据和保存期限（SEC-17）"


def _names(resource):
    """Names that mean nothing."""
    from jingwei import menu

    model = resource.model
    columns = [c.name if isinstance(c, Column) else c for c in resource.columns]
    computed = {c.name: c for c in resource.columns if isinstance(c, Column)}
    shown = [*resource.fields, *resource.readonly]
    paths = [c for c in resource.columns if not isinstance(c, Column)]
    paths += [*shown, *resource.internal, *resource.search, *resource.related, *resource.form_fields]
    paths += [name.removeprefix("-") for name in resource.order]
    for column in computed.values():
        paths += [*column.needs, *([column.order.removeprefix("-")] if column.order else [])]
    for path in paths:
        if path != "pk" and path not in resource.annotated and field_at(model, path) is None:
            yield "desk.E004", f"没有字段“{path}”"
    for name in [*resource.hidden, *([resource.link] if resource.link else [])]:
        if name not in columns:
            yield "desk.E004", f"没有列“{name}”"
    for label, names in resource.sections:
        for name in names:
            if name not in shown and name not in computed:
                yield "desk.E004", f"分组“{label}”中的“{name}”既不是字段也不是列"
    for panel in (*resource.panels, *resource.moments):
        if panel.on not in menu.resources():
            yield "desk.E004", f"没有名为“{panel.on}”的数据可以附着"
    for panel in resource.panels:
        for name in panel.columns:
            if name not in columns:
                yield "desk.E004", f"“{panel.label}”中没有列“{name}”"
    filters = {name for f in resource.filters for name in _parameters(f)}
    for figure in resource.figures:
        for name in QueryDict(figure.query):
            if name not in filters and name not in RESERVED:
                yield "desk.E004", f"首页数字“{figure.label}”中没有筛选“{name}”"


def _fields_left_out(resource):
    """Model fields that no list names: nobody decided whether they may be seen."""
    model = resource.model
    named = {*resource.fields, *resource.readonly, *resource.internal, *getattr(model, "internal", ())}
    for field in (*model._meta.concrete_fields, *model._meta.many_to_many):
        if field.name not in named and not field.primary_key:
            yield "desk.E005", f"字段“{field.name}”不在 fields、readonly、internal 的任何一个里"


def _parameters(declared):
    """The names a filter has in an address."""
    if isinstance(declared, Between):
        return [f"{declared.name}__from", f"{declared.name}__to"]
    return [declared.name]


def _filters(resource):
    for declared in resource.filters:
        if declared.name in RESERVED:
            yield "desk.E006", f"筛选不能叫“{declared.name}”，这个名称另有用途"
        if isinstance(declared, Where | Day) or getattr(declared, "condition", None):
            if not declared.label:
                yield "desk.E006", f"筛选“{declared.name}”没有名称"
            continue
        field = field_at(resource.model, declared.name)
        if field is None:
            yield "desk.E006", f"筛选“{declared.name}”没有对应的字段"
        elif isinstance(field, SealedField) and not (isinstance(declared, Exact) and field.searchable):
            yield "desk.E006", f"加密列“{declared.name}”只能整值筛选（Exact），而且须是可查找的"


def _search(resource):
    has_grams = any(isinstance(f, GramsField) for f in resource.model._meta.concrete_fields)
    for name in resource.search:
        field = field_at(resource.model, name)
        if isinstance(field, SealedField) and not field.searchable and not has_grams:
            yield "desk.E007", f"加密列“{name}”没有检索片段（GramsField），查不到"


def _verbs(resource):
    for name, times in Counter(verb.name for verb in resource.verbs).items():
        if times > 1 or name in (*resource.actions, "clear"):
            yield "desk.E008", f"操作“{name}”与另一项权限同名"
    for verb in resource.verbs:
        if not verb.label:
            yield "desk.E008", f"操作“{verb.name}”没有名称，授权时看不到"

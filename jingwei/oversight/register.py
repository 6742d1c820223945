"""The register of personal data: every personal column of the database, why and how it is kept (SEC-17)."""

import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass

import pghistory.models
from django.apps import apps
from django.db import models

from jingwei.base.fields import personal_fields
from jingwei.base.models import Record
from jingwei.base.personal import Columns, Kept
from jingwei.oversight.erasing import kinds

HEADINGS = ("数据", "列", "用途", "依据", "保存期限", "显示在", "显示方式", "存储方式")
MASKED = {
    "number": "打星号，留前 6 位和后 4 位（短号码留首尾）",
    "phone": "打星号，留前 3 位和后 4 位",
    "address": "打星号，至多留前 6 个字",
    "contact": "打星号，留首字",
    "text": "打星号，留首字",
}
SEARCHABLE = "SM4 加密（可按整值查找）"
RANDOM = "SM4 加密"
CLEAR = "不加密"
NOWHERE = "不显示"
# What follows from no entry of the register, whatever the table: keys, and what every record has.
EVERY_RECORD = {"id", *(field.name for field in Record._meta.fields)}
# A column with such a name or heading is about a person, in whichever table it stands.
TELLING = re.compile(
    r"姓名|联系|电话|手机|证件|身份证|住址|居住|户籍|出生|性别|年龄|民族|操作员|负责人|登录名"
    r"|(^|_)(phone|mobile|birth|person|patient|resident|sex|gender|id_?card|passport|surname|email)(_|$)"
)


@dataclass(frozen=True)
class Entry:
    """One personal column, in the words of `HEADINGS`."""

    table: str
    column: str
    purpose: str
    basis: str
    keep: str
    shown: str
    masked: str
    stored: str

    def __iter__(self):
        return iter(astuple(self))


def tables() -> list[type[models.Model]]:
    """The models whose tables this platform keeps."""
    return [model for model in apps.get_models() if model._meta.managed and not model._meta.proxy]


def entries() -> Iterator[Entry]:
    """The whole register, table by table."""
    kept, shown = _keeping_times(), _shown()
    for model in tables():
        origin, limit = _origin(model), kept.get(model, "")
        declared = _declared(origin)
        sealed = {field.name: field for field in personal_fields(origin)}
        names = declared.names if declared else ()
        for field in model._meta.concrete_fields:
            if field.name in sealed:
                own = sealed[field.name]
                told = own.purpose, own.basis, limit or own.keep
                how = MASKED[own.kind], SEARCHABLE if own.searchable else RANDOM
            elif field.name in names:
                told, how = (declared.purpose, declared.basis, limit or declared.keep), ("原样", CLEAR)
            else:
                continue
            where = "、".join(shown.get((model, field.name), ())) or NOWHERE
            yield Entry(_label(model, declared), _heading(field, declared), *told, where, *how)


def undeclared() -> list[str]:
    """The columns of which nobody has said whether they are personal; empty when the register is whole."""
    from jingwei import menu  # it imports this package

    impersonal = {model for package in menu.PERSONAL for model in package.NOBODYS}
    return [f"{model._meta.label}.{name}" for model in tables() for name in _undeclared(model, impersonal)]


def _undeclared(model, impersonal):
    origin = _origin(model)
    declared = _declared(origin)
    columns = [field for field in model._meta.concrete_fields if not _says_nothing(field)]
    sealed = {field.name for field in personal_fields(origin)}
    if model in impersonal:
        # Secrets of systems are sealed there as well; numbers and telephones are always somebody's.
        people = {field.name for field in personal_fields(origin) if field.kind != "text"}
        return [f.name for f in columns if f.name in people or f.name not in sealed and _tells(f)]
    known = {*sealed, *declared.names, *declared.plain} if declared else sealed
    return [field.name for field in columns if field.name not in known]


def _says_nothing(field):
    return (
        field.primary_key
        or field.is_relation
        or field.name in EVERY_RECORD
        or field.name.startswith("pgh_")
        or isinstance(field, models.UUIDField)
    )


def _tells(field):
    return bool(TELLING.search(field.name) or TELLING.search(str(field.verbose_name)))


def _origin(model):
    """The model of which another one is the history, else the model itself."""
    return model.pgh_tracked_model if issubclass(model, pghistory.models.Event) else model


def _declared(model) -> Columns | None:
    """What a package says of a table, or of all tables made alike."""
    from jingwei import menu

    found = {each.model: each for package in menu.PERSONAL for each in package.COLUMNS}
    return next((found[base] for base in model.__mro__ if base in found), None)


def _keeping_times() -> dict:
    """{model: its keeping time in force, in words}."""

    def words(kept: Kept):
        return f"{kept.rule()}（系统参数“{kept.keep.label}”）" if kept.keep else kept.rule()

    return {kept.model: words(kept) for kept in kinds() if kept.at and kept.whole}


def _shown() -> dict:
    """{(model, column): labels of the lists that show it}."""
    from jingwei import menu

    found = {}
    for resource in menu.resources().values():
        for name in {
            *resource.fields,
            *resource.readonly,
            *(c for c in resource.columns if isinstance(c, str)),
        }:
            found.setdefault((resource.model, name), []).append(resource.label)
    return found


def _label(model, declared):
    origin = _origin(model)
    label = (declared and declared.label) or str(origin._meta.verbose_name)
    return f"{label}的历史" if origin is not model else label


def _heading(field, declared):
    return (declared and declared.headings.get(field.name)) or str(field.verbose_name)

"""The menu as administrators arranged it: order, names, groups, what is hidden (P-1.7)."""

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import replace

from django.core.exceptions import ValidationError
from django.db import transaction

from jingwei.base import audit
from jingwei.base.resource import Page, System
from jingwei.directory.models import MenuSetting

FRESH_SECONDS = 3  # a change by another process is seen after this time; every page shows the menu
_kept: dict = {"until": 0.0, "settings": {}}


def settings() -> dict[str, MenuSetting]:
    """{key: what was changed about that entry}."""
    if _kept["until"] < time.monotonic():
        _kept.update(
            until=time.monotonic() + FRESH_SECONDS,
            settings={setting.key: setting for setting in MenuSetting.objects.all()},
        )
    return _kept["settings"]


def arranged(systems: Sequence[System]) -> list[System]:
    """The menu with groups, order and names as administrators gave them, hidden entries included."""
    groups = {system.label: (system, []) for system in systems}
    for system in systems:
        for place, entry in enumerate(system.entries, 1):
            setting = settings().get(entry.name) or MenuSetting()
            order = 10 * place if setting.order is None else setting.order
            label = setting.group or system.label
            group = groups.setdefault(label, (System(label, label, "folder", []), []))
            group[1].append((order, _named(entry, setting.label)))
    return [
        replace(system, entries=[entry for _, entry in sorted(placed, key=lambda pair: pair[0])])
        for system, placed in groups.values()
    ]


def _named(entry, label):
    if not label:
        return entry
    if isinstance(entry, Page):
        return replace(entry, label=label)
    named = copy(entry)
    named.label = label
    return named


@transaction.atomic
def arrange(actor, entry, *, label, group, order, hidden):
    """Change name, group, order or visibility of one entry; empty values go back to what is built in."""
    if hidden and entry.name == "menus":
        raise ValidationError("“菜单设置”不能隐藏，否则没有人能再改回来")
    setting = MenuSetting.objects.select_for_update().filter(key=entry.name).first() or MenuSetting(
        key=entry.name
    )
    values = {"label": label, "group": group, "order": order, "hidden": hidden}
    before = {name: getattr(setting, name) for name in values}
    if before == values:
        return
    for name, value in values.items():
        setattr(setting, name, value)
    setting.full_clean()
    setting.version += setting.pk is not None
    setting.save()
    changes = audit.changes(before, setting, values)
    audit.record(actor, "菜单设置", setting, resource="menus", label=entry.label, changes=changes)
    transaction.on_commit(forget)


def forget():
    """Read the settings anew: called where one is saved."""
    _kept["until"] = 0.0

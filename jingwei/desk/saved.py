"""Saved queries (P-5.1) as others use them: a name for rows that are looked up anew each time."""

import base64
import re
from dataclasses import dataclass

from django.db import transaction
from django.http import QueryDict

from jingwei.base.models import ListSetting
from jingwei.base.resource import Resource
from jingwei.desk import addresses
from jingwei.desk.lists import Selection


@dataclass(frozen=True)
class SavedQuery:
    """A selection that an operator keeps under a name; `pk` tells it apart from all others."""

    pk: int
    name: str
    resource: Resource
    query: str

    def __str__(self):
        return f"{self.resource.label}：{self.name}"

    def selection(self, actor) -> Selection:
        """The rows it finds for `actor` now."""
        return Selection(self.resource, actor, QueryDict(self.query))


def query_of_list(actor, name, query) -> SavedQuery | None:
    """What a list of that resource shows now, if the operator may see it; nobody keeps it."""
    from jingwei import menu  # its pages import this module

    resource = menu.resources().get(name)
    may = resource is not None and actor.may(f"{name}.view")
    return SavedQuery(0, "当前列表", resource, query) if may else None


def saved_queries(actor) -> list[SavedQuery]:
    """The operator's own saved queries over what they may see."""
    from jingwei import menu  # its pages import this module

    kept = ListSetting.objects.filter(operator=actor.operator_id).exclude(name="")
    return [
        SavedQuery(setting.pk, setting.name, menu.resource(setting.resource), setting.value["query"])
        for setting in kept.order_by("resource", "name")
        if setting.resource in menu.resources() and actor.may(f"{setting.resource}.view")
    ]


_SEALED = re.compile(re.escape(addresses.MARK) + r"([\w-]{40,})", re.ASCII)


def words_under(key_id: str) -> list[ListSetting]:
    """The saved queries that hold words sealed under this key of the ring."""
    kept = ListSetting.objects.filter(value__query__icontains=addresses.MARK)
    return [setting for setting in kept if any(_under(key_id, found) for found in _found_in(setting))]


@transaction.atomic
def move_words(key_id: str) -> int:
    """Seal words of saved queries that are under this key under the current one; how many queries (P-4.4)."""
    chosen = [setting.pk for setting in words_under(key_id)]
    settings = list(ListSetting.objects.select_for_update().filter(pk__in=chosen))
    for setting in settings:
        setting.value["query"] = _SEALED.sub(
            lambda found: addresses.sealed(addresses.opened(found[0])) if _under(key_id, found) else found[0],
            setting.value["query"],
        )
        setting.save(update_fields=["value"])
    return len(settings)


def _found_in(setting):
    return _SEALED.finditer(setting.value["query"])


def _under(key_id, found):
    return base64.urlsafe_b64decode(found[1][:4])[1] == int(key_id[1:])

"""Saved queries (P-5.1) as others use them: a name for rows that are looked up anew each time."""

from dataclasses import dataclass

from django.http import QueryDict

from jingwei.base.models import ListSetting
from jingwei.base.resource import Resource
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

"""The declaration of a resource: what the desk, the command line and the shared tests read (architecture §3).

A plain class read by plain functions. It stands in base, below the desk, so that base and directory can
declare their own tables too; nothing here knows a request or a template.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q
from django.db.models.functions import Cast

from jingwei.base.wall import beyond_scope


@dataclass(frozen=True)
class Tab:
    """A fixed selection above a list: Tab("未设置", Q(regulator=None))."""

    label: str
    condition: Q


@dataclass(frozen=True)
class Filter:
    """A filter of a list. `name` is a model field (or a path); `label` defaults to the field's verbose name.

    The kinds below differ in the control shown and in how a text becomes a condition. A text that is none
    gives no rows, never all of them.
    """

    name: str
    label: str = ""


@dataclass(frozen=True)
class Choice(Filter):
    """One or several of the field's choices or dictionary words."""


@dataclass(frozen=True)
class YesNo(Filter):
    """是 / 否 of a boolean field."""


@dataclass(frozen=True)
class Ref(Filter):
    """One row of a foreign key's table, chosen by a suggestion box that respects the scope."""


@dataclass(frozen=True)
class Region(Filter):
    """A region and everything below it; `name` is the path to the region's code."""


@dataclass(frozen=True)
class Exact(Filter):
    """The whole value; the only filter an encrypted column can have."""


@dataclass(frozen=True)
class Contains(Filter):
    """A piece of a plain text column.

    It is found by an index with `by_grams`, where the model's grams come from this column, among others, or
    with `few_values`, where the column has few different texts and an index begins with it.
    """

    by_grams: bool = False
    few_values: bool = False


@dataclass(frozen=True)
class Between(Filter):
    """From–to of a date, time or number, both inclusive; either side may be left open.

    For a number that is worked out (an age) `condition(low, high, today)` says what it means; a side left
    open is None.
    """

    condition: Callable[[Any, Any, Any], Q] | None = None


@dataclass(frozen=True)
class Day(Filter):
    """A day that selects no rows but says what they count: `Resource.counted` gets it by name."""


@dataclass(frozen=True)
class Where(Filter):
    """A filter with a rule of its own: `options` {value: (label, condition function of today)}."""

    options: dict[str, tuple[str, Callable[[Any], Q]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A column that is no plain field: heading and value of a row. `order` names the field it sorts by.

    `needs` are the model fields `value` reads, paths over foreign keys included: lists fetch just these, and
    exports ask only once about rows that agree in all of them. A Sealed value is shown masked like a plain
    personal field.
    """

    name: str
    heading: str
    value: Callable[[Any], Any]
    order: str = ""
    needs: Sequence[str] = ()


def position(row) -> int:
    """The value of a Column for the row's place in the whole list, counted from 1."""
    return row.place_in_list


@dataclass(frozen=True)
class Verb:
    """A named action on rows besides add, change and delete. `action(actor, row, **form)` does it and may
    return a sentence for who asked.

    Its permission is "<resource>.<name>". `form` maps argument names to Django form fields. `offered` says
    whether a row shows the button; the action itself refuses when it is not possible now.
    """

    name: str
    label: str
    action: Callable
    form: dict[str, Any] = field(default_factory=dict)
    offered: Callable[[Any], bool] = lambda row: True
    bulk: bool = True
    # The action takes a list of all the rows at once and returns a file to download: (name, content).
    gives_file: bool = False
    most: int = 0  # rows in one go, for a verb whose answer is shown once and kept nowhere; 0: any number
    danger: bool = False
    note: str = ""  # what it will do, said before it is done


@dataclass(frozen=True)
class Tool:
    """A link above a list to the page named `page`, for who has its permission.

    It takes the selection along: `of`, the resource's name, and `query`, the list's address.
    """

    label: str
    icon: str
    page: str
    permission: str


@dataclass(frozen=True)
class Panel:
    """Rows of the declaring resource shown on the detail page of a row of the resource named `on`.

    `rows(obj)` gives the rows that hang on `obj`. Whoever may see `obj` and holds this resource's view
    permission sees them all, those from another territory's time too: they are `obj`'s own history (CL-3.6).
    With `scoped` they are no such history, and only those are shown that the list shows, too. `columns` names
    the columns, by default those of the list. With `begin`, a button opens the page for a new row, which gets
    the key of `obj` under this name.
    """

    on: str
    label: str
    rows: Callable[[Any], Any]
    columns: Sequence[str] = ()
    scoped: bool = False
    begin: str = ""


@dataclass(frozen=True)
class Moment:
    """Rows of the declaring resource as entries of the time line of a row of the resource named `on`.

    Same permission as a Panel. `at` gives when a row happened (date or aware datetime), `text` what is said.
    """

    on: str
    rows: Callable[[Any], Any]
    at: Callable[[Any], Any]
    text: Callable[[Any], str]


@dataclass(frozen=True)
class Figure:
    """A number of the home page that counts a selection of the list and opens it (P-9.4).

    `query` is the selection as in the list's address: "group=4&dose=0". `waits`: these rows are work for
    whoever sees them, and stand under 待办 while there are any (P-6.4), in red if that is `urgent`.
    """

    label: str
    query: str = ""
    waits: bool = False
    urgent: bool = False


class Resource:
    """What staff see, filter, edit, import and export of one model. Subclass and fill in.

    Permissions follow from `actions` and `verbs`: "<name>.view", "<name>.add", …
    """

    name: str = ""  # in addresses, permissions and on the command line
    label: str = ""
    model: Any = None
    icon: str = "table"
    actions: Sequence[str] = ("view", "add", "change", "delete", "import", "export")
    fields: Sequence[str] = ()  # form and import, in this order
    readonly: Sequence[str] = ()  # shown, never entered
    internal: Sequence[str] = ()  # never shown; the model's own `internal` is added
    columns: Sequence[str | Column] = ()  # list and export
    hidden: Sequence[str] = ()  # columns not shown until chosen
    sections: Sequence[tuple[str, Sequence[str]]] = ()  # detail and form in groups; empty: one group
    tabs: Sequence[Tab] = ()
    filters: Sequence[Filter] = ()
    annotated: Sequence[str] = ()  # what `counted` adds to the rows, to be shown and sorted by like a field
    bulk_delete: bool = True  # False: rows are deleted one at a time
    has_page: bool = True  # False: the list is all there is to see of a row
    search: Sequence[str] = ()  # quick search; see desk.lists for how each kind of column is searched
    search_hint: str = ""
    order: Sequence[str] = ("pk",)
    sorts: Sequence[str] | None = None  # the columns one may sort by; None: each that has an order
    link: str = (
        ""  # the column that opens a row and stays in sight when the list scrolls; the first one by default
    )
    figures: Sequence[Figure] = ()
    verbs: Sequence[Verb] = ()
    tools: Sequence[Tool] = ()
    attachments: Any = None  # the table of the rows' attachments, a base.attachments.Attachment
    panels: Sequence[Panel] = ()
    moments: Sequence[Moment] = ()
    related: Sequence[str] = ()  # select_related
    # {field name: function(actor) giving a Django form field} for what no cell of a sheet can hold
    form_fields: dict[str, Callable] = {}
    # Pages that outgrew the declaration: (route below "/<name>/", view of request and resource)
    pages: Sequence[tuple[str, Callable]] = ()
    # Columns with the keys of the register's people whom a row is about (P-3.4); without them it is about
    # whose number or telephone it has.
    people: Sequence[str] = ()
    reasoned: bool = False  # an export asks for a reason, masked or not
    sheet: Any = None  # a base.sheets.Sheet class; None: derived from `fields`
    empty: str = "还没有数据。"  # what an empty list says, with what to do next
    beyond: str = ""  # why its rows name what lies out of reach: they are read beyond the second wall

    def standing(self):
        """Where its pages, jobs and commands read from (`jingwei.base.wall`)."""
        return beyond_scope() if self.beyond else nullcontext()

    def rows(self, actor, action="view"):
        """The one door to the table: the rows `actor` may use `action` on."""
        return self.model.objects.visible_to(actor, f"{self.name}.{action}").select_related(*self.related)

    def loaded(self, load) -> Q:
        """The rows that a load has added or changed, for the link from its result to the list."""
        from jingwei.base.models import LoadRow

        key = Cast("row", self.model._meta.pk)
        return Q(pk__in=LoadRow.objects.filter(load=load).values(key=key))

    def counted(self, rows, days: dict[str, Any]):
        """`rows` with what they count between the days of the `Day` filters, {name: date}."""
        return rows

    def kept_counts(self, actor) -> dict[str, int]:
        """{query of a figure: its number}, for figures whose numbers are kept ready; others are counted."""
        return {}

    def locked(self, obj) -> dict[str, str]:
        """{field: why} of what the form of `obj` shows and does not take; saving refuses it, too."""
        return {}

    def permissions(self) -> list[str]:
        """Every permission of this resource.

        `clear` (查看明文) is one where it has personal columns, `attach` (管理附件) where it has attachments.
        """
        from jingwei.base.fields import personal_fields

        named = [*self.actions, *(verb.name for verb in self.verbs)]
        if personal_fields(self.model):
            named.append("clear")
        if self.attachments:
            named.append("attach")
        return [f"{self.name}.{action}" for action in named]

    def verb(self, name) -> Verb | None:
        """The verb of that name."""
        return next((verb for verb in self.verbs if verb.name == name), None)

    def save(self, actor, obj, *, values, version=None):
        """What the form's save button does; overridden where the rule needs an action of its own."""
        from jingwei.base.saving import save_record

        return save_record(actor, obj, resource=self.name, values=values, version=version)

    def delete(self, actor, obj):
        """What the delete button does."""
        from jingwei.base.saving import delete_record

        return delete_record(actor, obj, resource=self.name)


@dataclass(frozen=True)
class Page:
    """A desk page that is no list of a resource (statistics). Its address is "/<name>/" + route.

    `views` are (route, view) pairs, the first at route "" being the menu entry; every view gets the request
    after the desk has checked `permission` (such as "people.statistics"), so none can forget it (P-1.10).
    """

    name: str
    label: str
    permission: str
    views: Sequence[tuple[str, Callable]]
    icon: str = "chart-bar"
    tolerates_lag: bool = False  # reads only, and what it shows may be some seconds old


@dataclass(frozen=True)
class System:
    """A group of the menu: one of the five systems or the administration. `entries` in menu order."""

    name: str
    label: str
    icon: str
    entries: Sequence[Resource | Page]


ACTION_LABELS = {
    "view": "查看",
    "add": "新增",
    "change": "修改",
    "delete": "删除",
    "import": "导入",
    "export": "导出",
    "clear": "查看明文",
    "grant": "授权",
    "attach": "管理附件",
}

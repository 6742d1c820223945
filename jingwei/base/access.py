"""Who may do what, on whose rows: the one door to every table (P-1.5, P-1.6, P-1.10).

A permission is a word like ``people.export``: resource and action. An actor holds permissions, each with the
data scope it was granted for, so rights of two roles never mix: who may view the district but delete only in
the own village does exactly that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import and_, or_

from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import Lookup, Q

NO_ROWS = Q(pk__in=[])


@models.CharField.register_lookup
@models.TextField.register_lookup
class _Prefix(Lookup):
    """``startswith`` by PostgreSQL's own operator: unlike LIKE it is known to tell nothing of the rows it
    leaves out, so that an index serves it under row security (`wall`), too."""

    lookup_name = "startswith"
    prepare_rhs = False

    def as_sql(self, compiler, connection):
        (left, params), (right, more) = (
            self.process_lhs(compiler, connection),
            self.process_rhs(compiler, connection),
        )
        return f"{left} ^@ {right}", [*params, *more]


class NotPermitted(PermissionDenied):
    """`permission` is missing; `label` says what it would open."""

    def __init__(self, permission, label):
        super().__init__(f"您没有“{label}”的这项权限")
        self.permission, self.label = permission, label


@dataclass(frozen=True)
class DataScope:
    """Whose rows: region code prefixes, organisation tree paths, single organisations, the own rows."""

    everything: bool = False
    regions: frozenset[str] = frozenset()
    organisations: frozenset[str] = frozenset()  # paths, the organisation and all below
    organisations_alone: frozenset[str] = frozenset()  # paths, only the organisation itself
    owner: int | None = None  # operator id

    @property
    def organisations_text(self) -> str:
        """Whose organisations are reached, as a text to compare (`SameReach`); "" for nobody's."""
        if self.everything:
            return "全部"
        alone = sorted(f"{path}=" for path in self.organisations_alone)
        return " ".join([*sorted(self.organisations), *alone])

    def __or__(self, other):
        return DataScope(
            everything=self.everything or other.everything,
            regions=self.regions | other.regions,
            organisations=self.organisations | other.organisations,
            organisations_alone=self.organisations_alone | other.organisations_alone,
            owner=self.owner or other.owner,
        )

    def covers(self, other) -> bool:
        """Whether everything `other` reaches is reached by this scope as well (P-1.5)."""
        if self.everything:
            return True
        return (
            not other.everything
            and all(code.startswith(tuple(self.regions)) for code in other.regions)
            and all(path.startswith(tuple(self.organisations)) for path in other.organisations)
            and all(
                path in self.organisations_alone or path.startswith(tuple(self.organisations))
                for path in other.organisations_alone
            )
            and other.owner in (None, self.owner)
        )


NO_SCOPE = DataScope()
EVERYTHING = DataScope(everything=True)


class _Everything(Mapping):
    """The grants of the platform itself: every permission, every row."""

    def __getitem__(self, permission):
        return EVERYTHING

    def __contains__(self, permission):
        return True

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


@dataclass(frozen=True)
class Actor:
    """Who acts, in which appointment, from where. Built once per request or job; knows no request."""

    name: str = ""
    operator_id: int | None = None
    login: str = ""
    appointment_id: int | None = None
    organisation_id: int | None = None
    organisation: str = ""
    region: str = ""  # code of the organisation's region
    grants: Mapping[str, DataScope] = field(default_factory=dict)
    # What the roles reach that are no administrator's: all that the database may show of people and places.
    business: DataScope = NO_SCOPE
    hidden_menus: frozenset[str] = frozenset()  # resources whose menu is withheld (P-1.7)
    address: str = ""
    device: str = ""
    request_id: str = ""

    @property
    def is_platform(self) -> bool:
        """Whether the platform itself acts, and nobody in particular."""
        return isinstance(self.grants, _Everything)

    def may(self, permission: str) -> bool:
        return permission in self.grants and permission.partition(".")[0] not in self.hidden_menus

    def may_open(self, menu: str, permission: str) -> bool:
        """Whether the entry `menu`, which needs `permission`, is shown and answers to this actor (P-1.7)."""
        return self.may(permission) and menu not in self.hidden_menus

    def data_scope(self, permission: str) -> DataScope:
        """Rows `permission` was granted for; none without the permission."""
        return self.grants[permission] if self.may(permission) else NO_SCOPE


NOBODY = Actor()


def platform_actor(name: str) -> Actor:
    """The platform itself, for timers and first set-up: `name` says which one in the operation log."""
    return Actor(name=name, grants=_Everything())


@dataclass(frozen=True)
class Scope:
    """How a row belongs to regions, organisations and an owner: lookup paths from the model.

    `region` and `organisation` may name several paths; a row is seen when any of them is inside, with
    `every_region` only when all the regions are. A model that everybody with the permission may see whole
    (dictionaries, roles) says `shared=True` on purpose. With `known`, the database lets everybody who is
    signed in read the rows wherever other rows name them (`wall`), as one does the names of organisations.
    """

    region: str | tuple[str, ...] = ()
    organisation: str | tuple[str, ...] = ()
    owner: str = ""
    shared: bool = False
    every_region: bool = False
    known: bool = False

    def within(self, reach: DataScope) -> Q:
        """Condition for the rows `reach` covers. An empty reach covers none."""
        if reach == NO_SCOPE:
            return NO_ROWS
        if reach.everything or self.shared:
            return Q()
        inside = [
            reduce(or_, (Q(**{f"{path}__startswith": prefix}) for prefix in reach.regions), NO_ROWS)
            for path in paths(self.region)
        ]
        condition = reduce(and_ if self.every_region else or_, inside) if inside else NO_ROWS
        for path in paths(self.organisation):
            for prefix in reach.organisations:
                condition |= Q(**{f"{path}__startswith": prefix})
            if reach.organisations_alone:
                condition |= Q(**{f"{path}__in": reach.organisations_alone})
        if self.owner and reach.owner:
            condition |= Q(**{self.owner: reach.owner})
        return condition


@dataclass(frozen=True)
class SameReach(Scope):
    """For what was worked out over all that somebody reaches: seen by who reaches the same, or everything.

    `reach` names the column with the `DataScope.organisations_text` of then.
    """

    reach: str = ""

    def within(self, reach):
        text = reach.organisations_text
        if not text:
            return NO_ROWS
        return Q() if reach.everything else Q(**{self.reach: text})


def paths(declared: str | tuple[str, ...]) -> tuple[str, ...]:
    """The paths a scope declares for regions or organisations."""
    return (declared,) if isinstance(declared, str) else declared


class Rows(models.QuerySet):
    """Query set of a scoped model. Faces only ever start from `visible_to`."""

    def visible_to(self, actor: Actor, permission: str):
        """The rows `actor` may use `permission` on; without it, none."""
        return self.filter(self.model.scope.within(actor.data_scope(permission)))

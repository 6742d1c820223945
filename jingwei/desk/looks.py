"""Who opened a record that holds personal data, by which face soever (P-3.1, P-3.4)."""

from jingwei.base import audit
from jingwei.base.fields import personal_fields


def note_look(actor, resource, row, act="查看", **more):
    """Log that `actor` sees a record; does nothing for one without personal data."""
    if not personal_fields(resource.model) and not resource.people:
        return
    entry = audit.record(actor, act, row, resource=resource.name, **more)
    if others := [name for name in resource.people if name != "pk"]:
        audit.note_people(entry, [getattr(row, name) for name in others])

"""Who opened a record that holds personal data, by which face soever, and whom it is about (P-3.1, P-3.4)."""

from collections.abc import Mapping, Sequence

from jingwei.base import audit
from jingwei.base.crypto import provider
from jingwei.base.fields import personal_fields


def telling(resource) -> Sequence[str]:
    """The columns that say whom a row is about: those it declares; else its document number and telephone."""
    return resource.people or [field.name for field in _numbers(resource.model)]


def told(resource, stored: Mapping[str, Sequence]) -> list[int]:
    """Whom rows are about, as `audit.record` takes it, from the stored values of the columns `telling`.

    Who is no row of the register is known by the document number, or where there is none by the telephone.
    """
    if resource.people:
        return [key for name in resource.people for key in stored[name] if key is not None]
    people, known = [], set()
    for field in _numbers(resource.model):
        texts = provider().decrypt(field.sealing, stored[field.name])
        found = {place: text for place, text in enumerate(texts) if text and place not in known}
        people += audit.marks(field.kind, found.values())
        known |= found.keys()
    return people


def _numbers(model):
    """Sealed document numbers, then telephones."""
    fields = [field for field in personal_fields(model) if field.kind in ("number", "phone")]
    return sorted(fields, key=lambda field: field.kind)


def note_look(actor, resource, row, act="查看", **more):
    """Log that `actor` sees a record; does nothing for one without personal data."""
    if personal_fields(resource.model) or resource.people:
        audit.record(actor, act, row, resource=resource.name, people=whom(resource, row), **more)


def whom(resource, row) -> list[int]:
    """Whom one row is about, beside the row itself."""
    names = [name for name in telling(resource) if name != "pk"]
    values = [getattr(row, name) for name in names]
    sealed = {field.name for field in personal_fields(resource.model)}
    stored = {
        name: [value and value.blob() if name in sealed else value]
        for name, value in zip(names, values, strict=True)
    }
    return told(resource, stored | {"pk": []})

"""Dictionaries (公共代码): coded columns, their labels, synonyms and choices (P-6.1)."""

import time

from django.core.exceptions import ValidationError
from django.db import models

# A change by another process is seen after this many seconds; a page asks for the same words many times.
FRESH_SECONDS = 3
_kept: dict[str, tuple[float, list]] = {}


def codes(kind: str) -> list:
    """All words of a dictionary in order, disabled ones included."""
    kept = _kept.get(kind)
    if kept is None or kept[0] < time.monotonic():
        from jingwei.base.models import Code  # models import this module's field

        kept = (time.monotonic() + FRESH_SECONDS, list(Code.objects.filter(kind=kind)))
        _kept[kind] = kept
    return kept[1]


def forget():
    """Read every dictionary anew: called where a word is saved."""
    _kept.clear()


def labels(kind: str) -> dict[str, str]:
    """{value: label} of a dictionary."""
    return {code.value: code.label for code in codes(kind)}


def choices(kind: str) -> list[tuple[str, str]]:
    """Enabled words for a form."""
    return [(code.value, code.label) for code in codes(kind) if code.enabled]


def words(kind: str) -> dict[str, str]:
    """{label, value or synonym as written in a sheet: value}."""
    found = {}
    for code in codes(kind):
        for word in (*code.synonyms, code.value, code.label):
            found[word] = code.value
    return found


class CodeField(models.CharField):
    """A column that holds a value of the dictionary `kind`; shown by its label."""

    def __init__(self, *args, kind="", **kwargs):
        kwargs.setdefault("max_length", 20)
        self.dictionary = kind
        super().__init__(*args, **kwargs)

    def deconstruct(self):
        name, path, args, kwargs = super().deconstruct()
        return name, path, args, {**kwargs, "kind": self.dictionary}

    def validate(self, value, instance):
        super().validate(value, instance)
        if value and value not in labels(self.dictionary):
            raise ValidationError(f"“{value}”不在字典“{self.dictionary}”中")

    def contribute_to_class(self, cls, name, **kwargs):
        super().contribute_to_class(cls, name, **kwargs)
        setattr(cls, f"get_{name}_display", lambda row: labels(self.dictionary).get(getattr(row, name), ""))

"""Dictionaries (公共代码): coded columns, their labels, synonyms and choices (P-6.1)."""

import time

from django.core.exceptions import ValidationError
from django.db import models

# A change by another process is seen after this many seconds; a page asks for the same words many times.
FRESH_SECONDS = 3
_kept: dict = {"until": 0.0, "words": {}, "labels": {}}


def _fresh() -> dict:
    """All dictionaries, read in one statement: they are a few hundred words."""
    if _kept["until"] < time.monotonic():
        from jingwei.base.models import Code  # models import this module's field

        words, labels = {}, {}
        for code in Code.objects.all():
            words.setdefault(code.kind, []).append(code)
            labels.setdefault(code.kind, {})[code.value] = code.label
        _kept.update(until=time.monotonic() + FRESH_SECONDS, words=words, labels=labels)
    return _kept


def forget():
    """Read the dictionaries anew: called where a word is saved."""
    _kept["until"] = 0.0


def codes(kind: str) -> list:
    """All words of a dictionary in order, disabled ones included."""
    return _fresh()["words"].get(kind, [])


def labels(kind: str) -> dict[str, str]:
    """{value: label} of a dictionary; not to be changed."""
    return _fresh()["labels"].get(kind, {})


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

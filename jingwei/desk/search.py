"""The quick search of a list: words as a condition, and a second look at what it finds (P-4.2)."""

import re

import numpy as np
import polars as pl
from django.contrib.postgres.fields import ArrayField
from django.db.models import Q
from django.utils import timezone

from jingwei.base.fields import SealedField, reveal
from jingwei.desk.columns import field_at
from jingwei.desk.filters import grams_of, stored_form
from jingwei.kit import idcard, phone
from jingwei.kit.text import fold, tidy

_RESIDENT_NUMBER = re.compile(r"[0-9]{17}[0-9X]|[0-9]{15}")
_NUMBER = re.compile(r"(?=.*[0-9])[A-Z0-9()-]{5,30}")
_MOBILE = re.compile(r"1[3-9][0-9]{9}")


class Search:
    """What the words of `text`, all of them, have to be found in: the columns `names` of `model`.

    A word that is a document number or a phone is compared with the sealed columns of that kind. Other words
    are looked for as fragments: by the model's grams where it has them (then `names` are the columns these
    come from), else in each plain column. `condition` may let rows through in which all pairs of a longer
    word stand apart; `verified` takes these out again.
    """

    def __init__(self, model, names, text):
        self.texts = [name for name in names if not _is_exact(field_at(model, name))]
        self.exact = [name for name in names if _is_exact(field_at(model, name))]
        self.grams = grams_of(model)
        self.model = model
        self.words = (tidy(pl.Series([text], dtype=pl.String)).values[0] or "").split()
        self.by_grams = False
        self.condition = Q()
        self.long_words: list[tuple[str, dict[str, str]]] = []
        for word in self.words:
            self.condition &= self._condition(word)

    @property
    def is_narrow(self) -> bool:
        """Whether a word is a single character, which grams find in short texts only."""
        folded = fold(pl.Series(self.words, dtype=pl.String)) if self.grams else ()
        return any(len(word) == 1 for word in folded)

    @property
    def needs(self) -> list[str]:
        """The fields `verified` reads."""
        exact = dict.fromkeys(name for _, wanted in self.long_words for name in wanted)
        return [*self.texts, *exact] if self.long_words else []

    def _condition(self, word):
        wanted = self._sealed_forms(word)
        condition = Q(pk__in=[])
        for name, value in wanted.items():
            condition |= Q(**{name: value})
        if wanted and (_RESIDENT_NUMBER.fullmatch(word.upper()) or _MOBILE.fullmatch(word)):
            return condition
        if self.grams:
            self.by_grams = True
            folded = fold(pl.Series([word]))[0]
            if len(folded) > 2:
                self.long_words.append((folded, wanted))
            return condition | Q(**{f"{self.grams}__fragment": word})
        for name in self.texts:
            if isinstance(field_at(self.model, name), ArrayField):
                condition |= Q(**{f"{name}__contains": [word]})
            else:
                condition |= Q(**{f"{name}__icontains": word})
        return condition

    def _sealed_forms(self, word):
        """{sealed column: the value that `word` would be in it}."""
        forms = {}
        for name in self.exact:
            field = field_at(self.model, name)
            if field.kind == "number" and _NUMBER.fullmatch(word.upper()):
                forms[name] = stored_form(field, word)
            elif field.kind == "phone" and phone.clean_phones(pl.Series([word])).values[0]:
                forms[name] = stored_form(field, word)
        return forms

    def verified(self, rows: list) -> list:
        """Those of `rows` that really hold every word."""
        if not self.long_words or not rows:
            return rows
        columns = {name: self._clear(rows, name) for name in self.needs}
        every = fold(pl.Series([text for name in self.texts for text in columns[name]], dtype=pl.String))
        holds = np.ones(len(rows), dtype=bool)
        for word, wanted in self.long_words:
            there = every.str.contains(word, literal=True).fill_null(False).to_numpy()
            hits = there.reshape(len(self.texts), len(rows)).any(axis=0)
            for name, value in wanted.items():
                hits |= [text == value for text in columns[name]]
            holds &= hits
        return [row for row, held in zip(rows, holds, strict=True) if held]

    def _clear(self, rows, name):
        values = [getattr(row, name) for row in rows]
        if isinstance(field_at(self.model, name), SealedField):
            reveal(values)
            return [value and value.clear() for value in values]
        return values


def slip_in(word) -> str:
    """What is wrong with a word that looks like a resident's number; "" where nothing is."""
    if not _RESIDENT_NUMBER.fullmatch(word.upper()):
        return ""
    nothing = pl.Series([None], dtype=pl.String)
    return idcard.clean_numbers(pl.Series([word]), nothing, today=timezone.localdate()).errors[0] or ""


def _is_exact(field):
    return isinstance(field, SealedField) and field.searchable

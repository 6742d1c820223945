"""The form of one record: its fields are cleaned by the same column types as a sheet's (architecture §4)."""

import re
from datetime import datetime

from django import forms
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.urls import reverse
from django.utils import timezone

from jingwei.base import codes
from jingwei.base import columns as types
from jingwei.base.fields import Sealed
from jingwei.base.sheets import SheetColumn, clean_row, form_sheet_of
from jingwei.desk.columns import field_at
from jingwei.desk.filters import stored_number
from jingwei.desk.search import slip_in

MANY_OPTIONS = 12  # a drop-down with more can be searched
KEPT = "不改动则保持原值"  # beside a value that is shown masked


class RecordForm(forms.Form):
    """The fields of `resource` for adding or changing `obj` as `actor`.

    A personal value is shown masked unless `clear`; it stays as it is when it comes back as it was shown.
    `is_valid()` cleans and checks by the resource's sheet, and `values` then holds {field name: value} for
    `resource.save`, with what follows from other columns worked out.
    """

    def __init__(self, resource, actor, obj, data=None, *, clear=False, initial=None):
        super().__init__(data, initial=initial)
        self.resource, self.actor, self.obj, self.clear = resource, actor, obj, clear
        self.action = "add" if obj._state.adding else "change"
        self.permission = f"{resource.name}.{self.action}"
        self.sheet = form_sheet_of(resource)
        self.values = {}
        for name in resource.fields:
            self.fields[name] = self._field(name)
            self.initial.setdefault(name, self._stored(name))
        for name, reason in resource.locked(obj).items():
            self.fields[name].disabled, self.fields[name].help_text = True, reason
        dress(self)

    # --- fields

    def _field(self, name):
        if name in self.resource.form_fields:
            return self.resource.form_fields[name](self.actor)
        target = field_at(self.resource.model, name)
        label = str(target.verbose_name)
        column = self.sheet.column(name)
        if column:
            cell = Cell(column, label=label, widget=self._widget(column, target))
            if isinstance(getattr(self.obj, target.attname), Sealed) and not self.clear:
                cell.help_text, cell.show_hidden_initial = KEPT, True
            return cell
        if isinstance(target, ArrayField):
            return WordsField(label=label, required=not target.blank)
        if target.is_relation:
            return target.formfield(label=label, queryset=self._rows_of(target))
        return target.formfield(label=label)

    def _widget(self, column, target):
        if isinstance(target, models.ForeignKey):
            address = reverse("desk:options", args=[self.resource.name, target.name])
            return ReferenceInput(f"{address}?for={self.action}", self._rows_of(target))
        return widget_for(column, target, self._stored_text(column))

    def _rows_of(self, target):
        """The rows a reference may point at: those inside the scope of this very permission."""
        return target.related_model.objects.visible_to(self.actor, self.permission)

    def _stored(self, name):
        target = field_at(self.resource.model, name)
        column = self._column(name)
        if isinstance(target, models.ManyToManyField):
            return [] if self.obj._state.adding else list(getattr(self.obj, name).all())
        if column is None or isinstance(target, models.ForeignKey):
            return getattr(self.obj, target.attname)
        text = self._stored_text(column)
        return next((value for value, label in column.type.choices() or () if label == text), text)

    def _column(self, name) -> SheetColumn | None:
        """The sheet column that cleans the field `name`, if one does."""
        return getattr(self.fields.get(name), "column", None)

    def _stored_text(self, column):
        """A stored value as the form writes it; a personal one masked unless this form shows it."""
        value = getattr(self.obj, column.name)
        if isinstance(value, Sealed):
            return value.clear() if self.clear else value.masked()
        if isinstance(value, datetime) and timezone.is_aware(value):
            value = timezone.make_naive(value)
        return column.type.text(value)

    def is_required(self, name) -> bool:
        """Whether the field has to be filled in."""
        column = self._column(name)
        return column.required if column else self.fields[name].required

    @property
    def groups(self):
        """(label, bound fields) by the resource's sections; what stands in none comes last."""
        left, found = list(self.fields), []
        for label, names in self.resource.sections:
            found.append((label, [self[name] for name in names if name in left]))
            left = [name for name in left if name not in names]
        found.append(("其他" if found else "", [self[name] for name in left]))
        return [(label, fields) for label, fields in found if fields]

    # --- cleaning

    def clean(self):
        entered = super().clean()
        cells = {name: self._cell(name, entered) for name in self.fields if self._column(name)}
        context = types.Context(self.actor, self.permission, timezone.make_naive(timezone.now()))
        stored = None if self.obj._state.adding else self.obj
        values, errors = clean_row(self.sheet, cells, context, stored=stored, only=list(cells))
        for name, reason in errors.items():
            self.add_error(name if name in cells else None, reason)
        self.values = values | {name: entered.get(name) for name in self.fields if name not in cells}
        return entered

    def _cell(self, name, entered):
        """The text of a cell; a personal value that comes back as it was shown is the one stored."""
        stored = getattr(self.obj, field_at(self.resource.model, name).attname)
        shown = self.data.get(self.add_initial_prefix(name))
        if isinstance(stored, Sealed) and entered[name] in (stored.masked(), shown):
            return stored.clear()
        return entered[name]

    def add_refusal(self, refusal: ValidationError):
        """Put what saving refused beside the fields it concerns, the rest above the form."""
        for name, errors in getattr(refusal, "error_dict", {NON_FIELD_ERRORS: refusal}).items():
            self.add_error(name if name in self.fields else None, errors)


class Cell(forms.Field):
    """Text as it was entered; the sheet's column says what it means."""

    def __init__(self, column, **kwargs):
        self.column = column
        super().__init__(required=False, **kwargs)

    def clean(self, value):
        return str(value or "")  # a field that is not to be filled in gives what is stored


class ReferenceInput(forms.TextInput):
    """The key of one of `rows`, chosen from the suggestions at `address`; without scripts its key or name."""

    template_name = "desk/widgets/reference.html"

    def __init__(self, address, rows):
        super().__init__()
        self.address, self.rows = address, rows

    def get_context(self, name, value, attrs):
        context = super().get_context(name, value, attrs)
        try:
            chosen = self.rows.filter(pk=value).first() if value else None
        except ValueError:
            chosen = None
        context["widget"] |= {"address": self.address, "chosen": str(chosen or "")}
        return context


class WordsField(forms.CharField):
    """Several words in one line."""

    def __init__(self, **kwargs):
        super().__init__(help_text="多个词用顿号或逗号隔开", **kwargs)

    def prepare_value(self, value):
        return "、".join(value) if isinstance(value, list | tuple) else value

    def clean(self, value):
        return [word for word in re.split(r"[\s、，,;；]+", super().clean(value)) if word]


def widget_for(column, target, stored) -> forms.Widget:
    """The control for a cell of the column's type; `stored` is the text it holds."""
    choices = column.type.choices()
    if choices is not None:
        if stored and stored not in {word for choice in choices for word in choice}:
            choices = [*choices, (stored, f"{stored}（已停用）")]
        empty = [("", "—")] if target.null or target.blank or not stored else []
        return forms.Select(choices=[*empty, *choices])
    match column.type:
        case types.Date():
            return forms.DateInput({"type": "date"})
        case types.Time():
            return forms.DateTimeInput({"type": "datetime-local", "step": "1"})
        case types.Whole():
            return forms.TextInput({"inputmode": "numeric"})
        case types.Phone():
            return forms.TextInput({"inputmode": "tel"})
        case types.Text() if isinstance(target, models.TextField):
            return forms.Textarea({"rows": 3})
    return forms.TextInput()


class DocumentNumber(forms.CharField):
    """A whole document number to look for, cleaned into what its columns keep; a slip in it is told."""

    def clean(self, value):
        number = super().clean(value)
        if not number:
            return number
        number = stored_number(number)
        if slip := slip_in(number):
            raise ValidationError(slip)
        return number


class ByDocument(forms.Form):
    """Whom a document names. What is typed is posted, and stands in no address (P-4.1)."""

    doc_type = forms.ChoiceField(label="证件类型", initial=types.RESIDENT_ID)
    number = DocumentNumber(label="证件号", max_length=40, help_text="完整的证件号；日志中打星号")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["doc_type"].choices = codes.choices("证件类型")
        dress(self)


def dress(form):
    """Give the controls of any form the looks of the desk."""
    for field in form.fields.values():
        widget = field.widget
        if isinstance(widget, forms.CheckboxInput):
            look = "form-check-input"
        elif isinstance(widget, forms.Select):
            look = "form-select"
            if len(widget.choices) > MANY_OPTIONS:
                widget.attrs["data-select"] = ""
        else:
            look = "form-control"
        if isinstance(widget, forms.DateInput) and not isinstance(field, Cell):
            widget.input_type = "date"
        widget.attrs.setdefault("class", look)
        widget.attrs.setdefault("autocomplete", "off")
